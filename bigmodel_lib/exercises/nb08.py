"""The exercises of 08_generation."""

import math

from bigmodel_lib.exercises.engine import Exercise, Wrong, close, diagnose, number, number_given
from bigmodel_lib.finetuning.dpo import dpo_loss
from bigmodel_lib.generation import keep_top_p
from bigmodel_lib.model.layers import attention


def _check_temperature(attempt):
    diagnose(number(attempt), 16 / 17, {
        0.8: "that is the probability at temperature 1: here the logits are doubled",
        1.6: "a probability is at most 1: divide by the sum of both afterwards",
        0.64: "that is 0.8²: the other one is squared as well, and both must sum to 1",
        0.4: "the temperature divides the logits, not the probabilities",
        2 / 3: "that is temperature 2, the square roots: 0.5 makes the likelier one likelier",
        1.0: "only temperature 0 leaves nothing for the other one",
        1 / 17: "that is what is left for the other token",
    }, tolerance=0.003)  # fmt: skip
    return "dividing logits by 1/2 squares the odds: 4 to 1 becomes 16 to 1"


def _check_top_p(attempt):
    import torch

    p = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15], dtype=torch.float64)
    logits = p.log() + 3.0

    def kept_of(top_p, given=logits):
        result = attempt(given.clone(), top_p)
        if not torch.is_tensor(result) or result.shape != given.shape:
            raise Wrong(
                f"a tensor of the shape of the logits was wanted, yours gives {getattr(result, 'shape', result)!r}"
            )
        return result, {i for i, x in enumerate(result.reshape(-1).tolist()) if x > -math.inf}

    result, kept = kept_of(0.6)
    if close(result[1], 0.4, 1e-9):
        raise Wrong("yours gives probabilities: logits were wanted, those that are cut at -inf")
    if kept == {1}:
        raise Wrong(
            "p = 0.6 was wanted and 0.4 is kept: the token that crosses p belongs to the set, so two stay (0.4 and 0.3)"
        )
    if kept in ({0, 1, 2, 3}, {0, 1, 2}):
        raise Wrong("you went through the tokens in the order of their ids: begin with the likeliest")
    if kept == {2, 0, 4, 3}:
        raise Wrong("you began with the least likely tokens: sort with descending=True")
    if kept == {0, 1, 2, 3, 4}:
        raise Wrong("nothing was cut: at p = 0.6 only 0.4 and 0.3 stay")
    if kept != {1, 3}:
        raise Wrong(f"at p = 0.6 the tokens 1 and 3 stay (0.4 and 0.3); yours keeps {sorted(kept)}")
    if not close(result[[1, 3]], logits[[1, 3]], 1e-9):
        raise Wrong("the logits of the tokens that stay must not change")
    for top_p, wanted in ((0.05, {1}), (0.75, {1, 3, 4}), (0.9, {1, 3, 4, 0}), (1.0, {0, 1, 2, 3, 4})):
        if kept_of(top_p)[1] != wanted:
            raise Wrong(f"at p = {top_p} the tokens {sorted(wanted)} stay; yours keeps {sorted(kept_of(top_p)[1])}")
    certain = torch.tensor([0.0, -30.0, -40.0])  # float32: the first has probability 1 after rounding
    if len(kept_of(1.0, certain)[1]) != 3:
        raise Wrong(
            "at p = 1 all tokens stay, but rounding makes the running sum 1 too early: give the logits back as they are"
        )
    two = torch.stack([logits, logits.flip(0)])
    if kept_of(0.6, two)[1] != {1, 3, 6, 8}:
        raise Wrong("with two rows each has its own order: work along the last axis (dim=-1)")
    return "a token stays while the likelier ones have not reached p, so the one that crosses it stays"


def _another_top_p(logits, p):
    import torch

    rows = logits.reshape(-1, logits.shape[-1]).clone()
    for row in rows:
        total, probabilities = 0.0, row.softmax(dim=-1)
        for place in probabilities.argsort(descending=True).tolist():
            if p < 1 and total >= p:
                row[place] = -torch.inf
            total += probabilities[place].item()
    return rows.view_as(logits)


def _check_cache(attempt):
    for position in (2, 4, 5, 7, 16, 0):
        _check_step(attempt, position)
    out = _try_step(attempt, 2, math.nan)[0]
    if not out.isfinite().all():
        raise Wrong(
            "a slot not yet written may hold anything, even NaN, and a weight of 0 does not help: 0 · NaN is NaN. Leave "
            "such slots out by a slice"
        )
    return "one slot written, one query, all slots that are full, no mask: what comes later has not been written yet"


def _step_given(position, filling):
    """One token's q, k, v (2, 3, 1, 4), and rings (2, 3, 5, 4) of those before it, with noise in the empty slots."""
    import torch

    draw = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 17, 4, dtype=torch.float64, generator=draw)
    keys, values = filling * torch.randn(2, 2, 3, 5, 4, dtype=torch.float64, generator=draw)
    for t in range(position):
        keys[..., t % 5, :], values[..., t % 5, :] = k[..., t, :], v[..., t, :]
    return *(x[..., position : position + 1, :].clone() for x in (q, k, v)), keys, values


def _try_step(attempt, position, filling=100.0):
    """(what the attempt gives, the rings after it): one tensor of the right shape, or Wrong."""
    import torch

    *given, keys, values = _step_given(position, filling)
    try:
        out = attempt(*given, keys, values, position)
    except (IndexError, RuntimeError) as error:
        said = f"at position {position} of a ring of 5 slots it stopped with {type(error).__name__}: {error}"
        if position >= 5:
            raise Wrong(f"{said}. The slots are 0 to T - 1: take the position modulo T") from None
        raise Wrong(f"{said}. Mind the axes: `keys[..., slot : slot + 1, :]` has the shape of k") from None
    if isinstance(out, tuple | list):
        raise Wrong(
            f"{len(out)} things were given: the attention alone was wanted, since the rings are changed in place"
        )
    if not torch.is_tensor(out):
        raise Wrong(f"a tensor (B, H, 1, K) was wanted, yours gives a {type(out).__name__}")
    if out.shape == (2, 3, 6, 4):
        raise Wrong("that is a longer ring, joined by `torch.cat`: the attention (B, H, 1, K) was wanted")
    if out.shape != (2, 3, 1, 4):
        raise Wrong(f"one vector a head, (2, 3, 1, 4), was wanted, yours gives {tuple(out.shape)}")
    if out.dtype != torch.float64:
        raise Wrong(f"the inputs are float64, yours gives {out.dtype}: leave the type as it is")
    return out, keys, values


def _check_step(attempt, position):
    q, k, v, old_keys, old_values = _step_given(position, 100.0)
    out, keys, values = _try_step(attempt, position)
    slot, full, at = position % 5, min(position + 1, 5), f"at position {position} of a ring of 5 slots"
    changed = [
        [s for s in range(5) if not close(now[..., s, :], before[..., s, :], 0)]
        for now, before in ((keys, old_keys), (values, old_values))
    ]
    if not any(changed):
        _say_why_nothing_was_written(out, _step_given(position, 100.0), position, at)
    for places, other, name in ((changed[0], changed[1], "key"), (changed[1], changed[0], "value")):
        if not places and other:
            raise Wrong(f"the {name} is missing from its ring: the next token will want it, too")
        if places == [0] and slot:
            raise Wrong(f"{at} yours writes the {name} to slot 0, where the first one lies: slot {slot} was wanted")
        if places == [4] and position < 4:
            raise Wrong(f"{at} yours writes the {name} to the last slot: slot {slot} was wanted, the next that is free")
        if places == [4] and slot != 4:
            raise Wrong(
                f"{at} yours writes the {name} to the last slot again: slot {slot} was wanted, where the oldest one lies"
            )
        if len(places) > 1:
            raise Wrong(f"{at} the {name}s in the slots {places} have changed: only slot {slot} should, the rest stays")
        if places != [slot]:
            raise Wrong(f"{at} yours writes the {name} to slot {places[0]}: slot {slot} was wanted, counted from 0")
    wrote_key, wrote_value = (close(now[..., slot : slot + 1, :], k, 0) for now in (keys, values))
    if wrote_value:
        raise Wrong("you write the key to both rings" if wrote_key else "you write the key to the ring of the values")
    if not (wrote_key and close(values[..., slot : slot + 1, :], v, 0)):
        raise Wrong(f"{at} slot {slot} should hold the key and the value of the token, of each text and each head")

    def over(keys, values, scale=2.0):
        return (q @ keys.mT / scale).softmax(dim=-1) @ values

    def first(n, **scale):
        return over(keys[..., :n, :], values[..., :n, :], **scale)

    if close(out, first(full), 1e-9):
        return
    for mistake, words in (
        (first(full - 1), "the token does not see itself: with its own, min(position + 1, T) slots are full"),
        (over(old_keys[..., :full, :], old_values[..., :full, :]), "you attend before you write: write first, so that the token "
         "sees itself and no longer the one whose slot it takes"),
        (first(5), "you look at empty slots, too: only the first min(position + 1, T) hold a key"),
        (first(slot + 1), "from the second turn on all slots are full, not only those up to the one just written"),
        (values[..., :1, :], "the mask of a causal attention takes the one query for the first token, which sees slot 0 alone: "
         "all full slots lie in its past, so causal=False"),
        (first(full, scale=1.0), "the scores are not divided by √K: use `attention`, or divide by `q.shape[-1] ** 0.5`"),
        (first(full, scale=4.0), "the scores are divided by K: its root was wanted"),
    ):  # fmt: skip
        if close(out, mistake, 1e-9):
            raise Wrong(words)
    raise Wrong(f"{at} the result is not the attention over the {full} slots that are full")


def _say_why_nothing_was_written(out, given, position, at):
    import torch

    if position >= 5:
        raise Wrong(f"{at} nothing was written: there is no slot {position}, take the position modulo T")
    q, k, v, keys, values = given
    longer, too = torch.cat([keys, k], dim=-2), torch.cat([values, v], dim=-2)
    if any(close(out, _plain(q, longer[..., i:, :], too[..., i:, :]), 1e-9) for i in (0, 1)):
        raise Wrong("`torch.cat` makes a longer copy and leaves the ring as it was: write to a slot of the ring itself")
    raise Wrong(
        "the rings are as before: they are to change in place. `keys[..., slot : slot + 1, :] = …` writes to the ring; "
        "`keys = …` gives the name to another tensor"
    )


def _another_cache(q, k, v, keys, values, position):
    import torch

    n_slots = keys.size(2)
    place = torch.tensor([position % n_slots])
    keys.index_copy_(2, place, k)
    values.index_copy_(2, place, v)
    seen = range(position + 1) if position < n_slots else range(n_slots)
    scores = torch.stack([(q[:, :, 0] * keys[:, :, s]).sum(-1) for s in seen], dim=-1) / q.shape[-1] ** 0.5
    odds = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    mixed = sum(odds[..., i, None] * values[:, :, s] for i, s in enumerate(seen))
    return (mixed / odds.sum(-1, keepdim=True))[:, :, None]


def _plain(q, keys, values, scale=2.0):
    return (q @ keys.mT / scale).softmax(dim=-1) @ values


def _wrong_cache(slot=lambda t, T: t % T, full=lambda t, T: min(t + 1, T), both=lambda k, v: (k, v), attend=_plain):
    """An attempt with one thing changed: the slot, how many are seen, what is written, or how one attends."""

    def attempt(q, k, v, keys, values, position):
        T = keys.shape[-2]
        at, n = slot(position, T), full(position, T)
        for ring, new in zip((keys, values), both(k, v), strict=True):
            if new is not None:
                ring[..., at : at + 1, :] = new
        return attend(q, keys[..., :n, :], values[..., :n, :])

    return attempt


def _cache_indexed(q, k, v, keys, values, position):
    keys[..., position, :], values[..., position, :] = k[..., 0, :], v[..., 0, :]
    return _plain(q, keys[..., : position + 1, :], values[..., : position + 1, :])


def attend_to_cache(q, k, v, keys, values, position):
    """The attention of the token at `position` to itself and those before it, whose keys and values are in two rings.

    What `KVCache.extend` and `attention` do together for one token. Built by the reader in 08_generation.
    """
    T = keys.shape[-2]
    slot, full = position % T, min(position + 1, T)
    keys[..., slot : slot + 1, :], values[..., slot : slot + 1, :] = k, v
    return attention(q, keys[..., :full, :], values[..., :full, :], causal=False)


def _first_key_alone(q, keys, values):
    from torch.nn import functional

    return functional.scaled_dot_product_attention(q, keys, values, is_causal=True)


def _cache_axes(q, k, v, keys, values, position):
    keys[..., position, :] = k
    return attend_to_cache(q, k, v, keys, values, position)


def _cache_late(q, k, v, keys, values, position):
    T = keys.shape[-2]
    out = _plain(q, *(x[..., : min(position + 1, T), :] for x in (keys, values)))
    attend_to_cache(q, k, v, keys, values, position)
    return out


def _cache_rolled(q, k, v, keys, values, position):
    if position < keys.shape[-2]:
        return attend_to_cache(q, k, v, keys, values, position)
    for ring, new in ((keys, k), (values, v)):
        ring[..., :-1, :] = ring[..., 1:, :].clone()
        ring[..., -1:, :] = new
    return _plain(q, keys, values)


def _cache_masked(q, k, v, keys, values, position):
    import torch

    T = keys.shape[-2]
    attend_to_cache(q, k, v, keys, values, position)
    scores = (q @ keys.mT / 2).masked_fill(torch.arange(T) > position, -math.inf)
    return scores.softmax(dim=-1) @ values


def _cache_joined(q, k, v, keys, values, position):
    import torch

    T = keys.shape[-2]
    return _plain(q, torch.cat([keys, k], -2)[..., -T:, :], torch.cat([values, v], -2)[..., -T:, :])


def _cache_copied(q, k, v, keys, values, position):
    return attend_to_cache(q, k, v, keys.clone(), values.clone(), position)


def _cache_returned(q, k, v, keys, values, position):
    import torch

    return torch.cat([keys, k], dim=-2)


def _check_reach(attempt):
    diagnose(number(attempt), 6, {
        3: "that is what one layer sees: the keys of the second layer have seen others themselves",
        4: "a ring of 4 slots holds the token itself and 3 before it, and there are two layers",
        8: "each layer reaches back over the 3 tokens before, not over 4",
        7: "that counts the token itself: how far back is the oldest?",
        9: "the reach of two layers adds up, it does not multiply",
        5: "layer 2 sees 3 back, and each of those had seen 3 further back",
    })  # fmt: skip
    return "each layer adds T - 1: what a key has seen stays in it when the slot of the token that it saw has been written over"


def _check_greedy(attempt):
    try:
        p_a, after_a, after_b = attempt
        p_a, after_a, after_b = float(p_a), [float(x) for x in after_a], [float(x) for x in after_b]
    except (TypeError, ValueError):
        raise Wrong("[p(A), [p(X|A), p(Y|A)], [p(X|B), p(Y|B)]] was wanted") from None
    if len(after_a) != 2 or len(after_b) != 2 or not all(0 <= x <= 1 for x in (p_a, *after_a, *after_b)):
        raise Wrong("probabilities from 0 to 1 were wanted, two after each first token")
    for name, row in (("A", after_a), ("B", after_b)):
        if abs(sum(row) - 1) > 1e-6:
            raise Wrong(f"what follows {name} must sum to 1, yours sums to {sum(row):g}")
    if abs(p_a - 0.5) < 1e-9:
        raise Wrong("A and B are equally likely: say which one greedy takes")
    first, other = (after_a, after_b) if p_a > 0.5 else (after_b, after_a)
    greedy, best = max(p_a, 1 - p_a) * max(first), max(p_a * max(after_a), (1 - p_a) * max(after_b))
    if abs(first[0] - first[1]) < 1e-9 and greedy < best - 1e-9:
        return f"greedy ends at {greedy:.2f} (whichever of the two it takes), and the likeliest text has {best:.2f}"
    if greedy > best - 1e-9:
        tie = abs((1 - max(p_a, 1 - p_a)) * max(other) - greedy) < 1e-9
        words = "both ways end equally likely" if tie else f"greedy finds the likeliest text, {greedy:.2f}"
        raise Wrong(
            f"{words}: let the likelier first token split its share more evenly, or make it less sure of itself"
        )
    return f"greedy ends at {greedy:.2f}, and the likeliest text has {best:.2f}"


def _check_memory(attempt):
    diagnose(number(attempt), 2 * 12 * 1024 * 768 * 2, {
        12 * 1024 * 768 * 2: "that is half of it: both keys and values are kept, and each number takes two bytes",
        12 * 1024 * 768: "both keys and values are kept, and that counts numbers: each takes two bytes",
        2 * 12 * 1024 * 768 * 4: "four bytes a number is float32: here it is float16",
        2 * 12 * 1024 * 768 * 2 * 12: "the heads share the 768 numbers among them: do not multiply by the heads again",
        2 * 1024 * 768 * 2: "that is one layer: there are twelve",
        2 * 12 * 1024 * 1024 * 2: "the cache holds vectors of the model's width, not a T × T map",
        2 * 12 * 768 * 2: "that is one token: there are 1024",
        37.748736: "right in megabytes: bytes were wanted",
    }, tolerance=4e5)  # fmt: skip
    return (
        "keys and values, 12 layers, 1024 tokens, 768 numbers, 2 bytes: about 38 MB for each text that is being written"
    )


def _check_dpo(attempt):
    import torch

    given = torch.tensor([[-3.0, -6.0], [-4.0, -2.0], [-3.5, -5.0], [-3.0, -3.0]], dtype=torch.float64)
    chosen, rejected, chosen_before, rejected_before = given
    beta = 0.5
    result = attempt(*given, beta)
    value = float(result) if torch.is_tensor(result) and result.ndim == 0 else None
    if value is None:
        if torch.is_tensor(result):
            raise Wrong(f"one number was wanted, the mean over the pairs; yours has shape {tuple(result.shape)}")
        value = number_given(result)
    margin = (chosen - chosen_before) - (rejected - rejected_before)

    def of(inside):
        return float(-torch.nn.functional.logsigmoid(inside).mean())

    diagnose(value, float(dpo_loss(*given, beta)), {
        of(beta * (chosen - rejected)): "the reference is missing: what counts is how far each has moved from where it was",
        of(-beta * margin): "the sign is turned: this prefers the rejected",
        of(margin): "beta is missing",
        of(margin / beta): "beta multiplies the margin, it does not divide it",
        -of(beta * margin): "the minus is missing: a loss falls as the margin grows",
        2 * of(beta * margin): "the mean over the pairs was wanted, not the sum",
        float(torch.sigmoid(beta * margin).mean()): "that is the probability: the loss is minus its logarithm",
        float(-torch.log(torch.sigmoid(beta * margin).mean())): "take the logarithm of each pair, then the mean",
        of(beta * ((chosen - chosen_before) + (rejected - rejected_before))): "what the rejected gained counts against",
    })  # fmt: skip
    far = torch.tensor([-2000.0], dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    if not math.isfinite(float(attempt(far, zero, zero, zero, 1.0))):
        raise Wrong("for a very wrong pair, sigmoid is 0 and its logarithm infinite: use functional.logsigmoid")
    return "minus the log-probability, by Bradley and Terry, that the chosen one wins"


def _dpo_by_hand(chosen, rejected, chosen_before, rejected_before, beta):
    import torch

    margin = beta * (chosen - rejected - chosen_before + rejected_before)
    return torch.log1p(torch.exp(-margin.abs())).mean() + torch.relu(-margin).mean()


def _wrong_dpo(inside, sign=-1.0, reduce="mean"):
    import torch

    def loss(w, r, w0, r0, beta):
        return sign * getattr(torch.nn.functional.logsigmoid(inside(w, r, w0, r0, beta)), reduce)()

    return loss


def _check_pull(attempt):
    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    diagnose(number(attempt), 0.5 * sigmoid(-1), {
        sigmoid(-1): "the factor β in front is missing",
        0.5 * sigmoid(1): "the argument is -β times the margin: a pair with a margin above 0 pulls less",
        0.25: "that is the weight at the start, with a margin of 0",
        0.5 * sigmoid(-2): "inside the sigmoid stands β times the margin as well",
        sigmoid(1): "that is how sure the model is that the chosen one wins; the pull is what is missing to 1, times β",
        0.5 * sigmoid(-0.5): "the margin is 1 - (-1) = 2, not 1",
    }, tolerance=0.002)  # fmt: skip
    return "it began at β/2 = 0.25: as its margin grows a pair pulls less and less, but never with 0"


EXERCISES = [
    Exercise(
        "08-temperature", "temperature on paper", 3, 1,
        "Two tokens have the probabilities 0.8 and 0.2 at temperature 1. What is the probability of the first at temperature 0.5?",
        "at_half = ...  # a number", "at_half",
        ("Probabilities are proportional to e^logit. What does dividing a logit by 0.5 do to e^logit?",
         "It is squared. Do so for both tokens, then see to it that they sum to 1."),
        check=_check_temperature, answer=16 / 17, another=(0.94,),
        wrong=((0.8, "temperature 1"), (0.64, "must sum to 1"), (0.4, "not the probabilities"), (0.667, "square roots"),
         (1, "only temperature 0"), (1.6, "at most 1"), (0.0588, "left for the other")),
    ),
    Exercise(
        "08-top-p", "the fewest that reach p", 10, 2,
        "Build one. Of the likeliest tokens, keep the fewest whose probabilities together reach `p`, and put the logits of the others at "
        "`-math.inf`. The token that crosses p stays: with probabilities 0.4, 0.3, 0.15, … and p = 0.6 there are two. "
        "0 < p ≤ 1, and at p = 1 all tokens stay, whatever rounding does to the sum.\n\n"
        "Useful: `x.sort(dim=-1, descending=True)` gives (sorted values, their places), `x.cumsum(dim=-1)` the running sum, and "
        "`torch.zeros_like(places, dtype=torch.bool).scatter(-1, places, flags)` puts flags back from sorted order to their places. "
        "The pictures below use yours if it passes.",
        "def keep_top_p(logits, p):\n    # logits (..., V), 0 < p <= 1 -> (..., V)\n    return ...", "keep_top_p",
        ("Sort the probabilities. A token leaves if those that are likelier have reached p without it.",
         "The running sum less a token's own probability is what the likelier ones have together: compare that with p. Give the "
         "logits back unchanged where p is 1."),
        check=_check_top_p, answer=keep_top_p, another=(_another_top_p,),
        wrong=((lambda x, p: x.masked_fill(_sorted_back(x, lambda c, q: c > p), -math.inf), "the token that crosses p"),
         (lambda x, p: x.masked_fill(x.softmax(-1).cumsum(-1) - x.softmax(-1) >= p, -math.inf), "order of their ids"),
         (lambda x, p: x.masked_fill(_sorted_back(x, lambda c, q: c - q >= p, False), -math.inf), "least likely"),
         (lambda x, p: x.masked_fill(_sorted_back(x, lambda c, q: c - q >= p), -math.inf), "rounding makes"),
         (lambda x, p: x, "nothing was cut"),
         (lambda x, p: keep_top_p(x, p).softmax(-1) * 0.7, "yours gives probabilities"),
         (lambda x, p: keep_top_p(x, p) * 2, "must not change"),
         (lambda x, p: keep_top_p(x.reshape(-1), p if x.ndim == 1 else 0.9).reshape(x.shape), "each has its own order")),
        ours="bigmodel_lib.generation:keep_top_p",
    ),
    Exercise(
        "08-cache", "one step with a cache", 12, 3,
        "Build one. The keys and values of a layer lie in two rings of T slots. Now comes the token at `position`, counted from 0, with its "
        "query, key and value. Write its key and its value to slot position mod T of their rings, *in place*, and give its attention over all "
        "slots that are full: min(position + 1, T), its own included.\n\n"
        "Shapes: q, k, v (B, H, 1, K); keys, values (B, H, T, K), changed in place -> (B, H, 1, K). "
        "`attention(q, keys, values, causal=…)` from notebook 05 is imported: softmax(q kᵀ / √K) v.",
        "def attend_to_cache(q, k, v, keys, values, position):\n    return ...  # out", "attend_to_cache",
        ("`position % T` is the slot, and `keys[..., slot : slot + 1, :] = k` changes the ring itself, where `keys = …` would only give the "
         "name to another tensor.",
         "Write first, attend then, to a slice of the rings: `[..., :full, :]`. What would a causal mask hide from a single query, all of "
         "whose keys lie in the past?"),
        check=_check_cache, answer=attend_to_cache, another=(_another_cache,),
        wrong=((_wrong_cache(slot=lambda t, T: t), "nothing was written: there is no slot 5"), (_cache_indexed, "take the position modulo T"),
         (_cache_axes, "Mind the axes"), (_wrong_cache(full=lambda t, T: min(t, T)), "does not see itself"),
         (_cache_late, "you attend before you write"), (_wrong_cache(full=lambda t, T: T), "empty slots"), (_cache_masked, "0 · NaN is NaN"),
         (_wrong_cache(full=lambda t, T: t % T + 1), "from the second turn on"), (_wrong_cache(attend=_first_key_alone), "causal=False"),
         (_wrong_cache(attend=lambda *given: _plain(*given, scale=1.0)), "not divided by √K"),
         (_wrong_cache(attend=lambda *given: _plain(*given, scale=4.0)), "its root was wanted"),
         (_wrong_cache(both=lambda k, v: (k, k)), "the key to both rings"), (_wrong_cache(both=lambda k, v: (k, None)), "the value is missing"),
         (_wrong_cache(both=lambda k, v: (None, v)), "the key is missing"), (_wrong_cache(both=lambda k, v: (v, k)), "to the ring of the values"),
         (_wrong_cache(both=lambda k, v: (k[:1], v[:1])), "of each text and each head"),
         (_wrong_cache(slot=lambda t, T: 0), "to slot 0"), (_wrong_cache(slot=lambda t, T: T - 1), "to the last slot:"),
         (_wrong_cache(slot=lambda t, T: min(t, T - 1)), "to the last slot again"), (_wrong_cache(slot=lambda t, T: (t + 1) % T), "counted from 0"),
         (_cache_rolled, "have changed: only slot 0"), (_cache_joined, "leaves the ring as it was"), (_cache_copied, "in place. `keys"),
         (_cache_returned, "that is a longer ring"), (lambda *given: (attend_to_cache(*given), *given[3:5]), "3 things were given"),
         (lambda *given: attend_to_cache(*given).float(), "the inputs are float64")),
        changes=(3, 4), ours="bigmodel_lib.exercises.nb08:attend_to_cache",
    ),
    Exercise(
        "08-reach", "how far back?", 5, 2,
        "On paper. A model of 2 layers without token shift writes with rings of 4 slots: each token sees the last 4 keys, its own among "
        "them. How many places before the newest token lies the oldest one that can still change the newest logits?",
        "places_back = ...  # a whole number", "places_back",
        ("In layer 2 the newest token looks at keys up to 3 places back. What have the tokens seen from which those keys are made?",
         "They were made in layer 1, where each of their tokens looked back in its turn: add up the two steps."),
        check=_check_reach, answer=6, another=(6.0,),
        wrong=((3, "one layer sees"), (4, "3 before it"), (8, "not over 4"), (7, "counts the token itself"), (9, "does not multiply")),
    ),
    Exercise(
        "08-memory", "the cache of GPT-2's small one", 4, 1,
        "GPT-2's smallest model has 12 layers of 12 heads, a width of 768, a context of 1024 tokens and no token shift. How many bytes does its full "
        "cache take for one text, in float16 (2 bytes a number)?",
        "cache_bytes = ...  # a number", "cache_bytes",
        ("What is kept for one token in one layer?", "A key and a value. All heads together share the width; then count layers, tokens and bytes."),
        check=_check_memory, answer=2 * 12 * 1024 * 768 * 2, another=(37.7e6,),
        wrong=((12 * 1024 * 768 * 2, "half of it"), (12 * 1024 * 768, "counts numbers"), (75.5e6, "is float32"),
         (2 * 12 * 1024 * 768 * 2 * 12, "by the heads again"), (2 * 1024 * 768 * 2, "that is one layer"), (1e9, "too large")),
    ),
    Exercise(
        "08-greedy", "a step that is best and wrong", 6, 2,
        "Find a counterexample to “the likeliest token at each step gives the likeliest text”. A text is A or B, and then X or Y. "
        "Choose the probabilities such that always taking the likeliest does *not* end at the likeliest of the four texts.",
        "choices = ...  # [p(A), [p(X|A), p(Y|A)], [p(X|B), p(Y|B)]]", "choices",
        ("Let the likelier first token be unsure of what comes next.", "If both ways after the likelier token are even, greedy ends at half of its probability. What must the other token lead to?"),
        check=_check_greedy, answer=[0.6, [0.5, 0.5], [0.9, 0.1]], another=((0.4, (1.0, 0.0), (0.45, 0.55)),),
        wrong=(([0.6, [0.9, 0.1], [0.9, 0.1]], "greedy finds the likeliest"), ([0.5, [0.5, 0.5], [1, 0]], "equally likely: say which"),
         ([0.6, [0.5, 0.6], [0.9, 0.1]], "must sum to 1"), ([1.6, [0.5, 0.5], [0.9, 0.1]], "from 0 to 1"),
         (0.6, "was wanted"), ([0.6, [0.5, 0.5], [0.75, 0.25]], "equally likely: let")),
    ),
    Exercise(
        "08-dpo", "the loss of preferring", 8, 2,
        "Build one: $-\\frac{1}{B}\\sum \\ln \\sigma\\bigl(\\beta\\,[(\\ln \\pi(y_w) - \\ln \\pi_\\text{ref}(y_w)) - (\\ln \\pi(y_l) - "
        "\\ln \\pi_\\text{ref}(y_l))]\\bigr)$, the mean over B pairs. `torch.nn.functional.logsigmoid` is $\\ln \\sigma$, "
        "safe for large numbers. The training below uses yours if it passes.",
        "def dpo_loss(chosen, rejected, chosen_before, rejected_before, beta):\n"
        "    # ln p of each text (B,), under the model and under the reference -> one number\n    return ...", "dpo_loss",
        ("First the margin of each pair: what the chosen gained, less what the rejected gained.",
         "Then β times the margin goes through ln σ; mind the sign and the mean."),
        check=_check_dpo, answer=dpo_loss, another=(_dpo_by_hand,),
        wrong=((_wrong_dpo(lambda w, r, w0, r0, b: b * (w - r)), "reference is missing"),
         (_wrong_dpo(lambda w, r, w0, r0, b: -b * (w - w0 - r + r0)), "prefers the rejected"),
         (_wrong_dpo(lambda w, r, w0, r0, b: w - w0 - r + r0), "beta is missing"),
         (_wrong_dpo(lambda w, r, w0, r0, b: (w - w0 - r + r0) / b), "does not divide"),
         (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 - r + r0), sign=1.0), "the minus is missing"),
         (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 - r + r0), reduce="sum"), "not the sum"),
         (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).sigmoid().log(), "one number was wanted"),
         (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).sigmoid().log().mean(), "use functional.logsigmoid")),
        ours="bigmodel_lib.finetuning.dpo:dpo_loss",
    ),
    Exercise(
        "08-pull", "how hard does a pair pull?", 5, 2,
        "On paper. The derivative of the loss of one pair by $\\ln \\pi(y_w)$ is $-\\beta\\,\\sigma(-\\beta\\,m)$ with the margin m: what "
        "the chosen gained less what the rejected gained. With β = 0.5, the chosen text has gained 1 nat and the rejected one has lost "
        "1. What is $\\beta\\,\\sigma(-\\beta\\,m)$ now? **Its size is wanted, without the minus sign.**",
        "pull = ...  # a number", "pull",
        ("The margin is what the chosen gained less what the rejected gained; losing is gaining with a minus.",
         "Multiply the margin by -β, take σ(x) = 1/(1 + e^-x) of it, and do not forget the β in front."),
        check=_check_pull, answer=0.1345, another=(0.5 / (1 + math.e),),
        wrong=((0.269, "factor β in front"), (0.3655, "pulls less"), (0.25, "at the start"), (0.0596, "as well"),
         (0.731, "missing to 1"), (0.1888, "not 1")),
    ),
]  # fmt: skip


def _sorted_back(logits, leaves, descending=True):
    """Flags by `leaves(running sum, probability)` in sorted order, back at their places."""
    import torch

    p, order = logits.softmax(dim=-1).sort(dim=-1, descending=descending)
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, leaves(p.cumsum(dim=-1), p))
