"""The exercises of 08_generation."""

import math

import numpy as np
import torch
from torch.nn import functional

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance, Wrong
from bigmodel_lib.generation import keep_top_p
from bigmodel_lib.model.layers import attention

# 08-top-p


def _logits(rng):
    """Logits of one row or of several, in any order, and a p."""
    lead = ((), (), (2,), (2, 3))[rng.integers(4)]
    logits = torch.from_numpy(rng.normal(scale=rng.choice([0.3, 1.0, 4.0]), size=(*lead, rng.integers(1, 9)))).float()
    return logits, float(rng.uniform(0.02, 0.99))


def _by_rank(result, logits, p):
    """The result from the likeliest token to the least likely, of equally likely ones the kept first."""
    order = torch.stack([logits, result.to(logits.dtype)], dim=-1)
    rows = [sorted(row.tolist(), reverse=True) for row in order.reshape(-1, *order.shape[-2:])]
    return torch.tensor(rows)[..., 1]


def _another_top_p(logits, p):
    rows = logits.reshape(-1, logits.shape[-1]).clone()
    for row in rows:
        total, probabilities = 0.0, row.softmax(dim=-1)
        for place in probabilities.argsort(descending=True).tolist():
            if p < 1 and total >= p:
                row[place] = -torch.inf
            total += probabilities[place].item()
    return rows.view_as(logits)


def _top_p_by_counting(logits, p):
    probabilities = logits.softmax(dim=-1)
    values, places = probabilities.sort(dim=-1, descending=True, stable=True)
    sums = values.double().cumsum(dim=-1)
    n_kept = (sums < p - 1e-12).sum(dim=-1, keepdim=True) + 1 if p < 1 else torch.tensor(logits.shape[-1])
    rank = places.argsort(dim=-1)
    return torch.where(rank < n_kept, logits, torch.tensor(-math.inf, dtype=logits.dtype))


def _sorted_back(logits, leaves, descending=True):
    """Flags by `leaves(running sum, probability)` in sorted order, back at their places."""
    p, order = logits.softmax(dim=-1).sort(dim=-1, descending=descending)
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, leaves(p.cumsum(dim=-1), p))


def _crossing_one_leaves(logits, p):
    return logits.masked_fill(_sorted_back(logits, lambda sums, own: sums > p), -math.inf)


def _crossing_one_leaves_but_the_first(logits, p):
    leaves = _sorted_back(logits, lambda sums, own: sums > p)
    leaves = leaves.scatter(-1, logits.argmax(dim=-1, keepdim=True), torch.tensor(False).expand(*logits.shape[:-1], 1))
    return logits.masked_fill(leaves, -math.inf)


def _in_order_of_ids(logits, p):
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities.cumsum(dim=-1) - probabilities >= p, -math.inf)


def _from_the_least_likely(logits, p):
    return logits.masked_fill(_sorted_back(logits, lambda sums, own: sums - own >= p, False), -math.inf)


def _rounding_at_1(logits, p):
    return logits.masked_fill(_sorted_back(logits, lambda sums, own: sums - own >= p), -math.inf)


def _sums_of_logits(logits, p):
    values, places = logits.sort(dim=-1, descending=True)
    stays = values.cumsum(dim=-1) < p
    return logits.masked_fill(~torch.zeros_like(stays).scatter(-1, places, stays), -math.inf)


def _sums_of_logits_before(logits, p):
    values, places = logits.sort(dim=-1, descending=True)
    leaves = values.cumsum(dim=-1) - values >= p
    return logits.masked_fill(torch.zeros_like(leaves).scatter(-1, places, leaves), -math.inf)


def _along_the_first_axis(logits, p):
    return keep_top_p(logits.movedim(0, -1), p).movedim(-1, 0)


def _flags_in_sorted_order(logits, p):
    probabilities = logits.softmax(dim=-1).sort(dim=-1, descending=True).values
    return logits.masked_fill(probabilities.cumsum(dim=-1) - probabilities >= p, -math.inf)


def _cut_probabilities(logits, p):
    return logits.softmax(dim=-1).masked_fill(keep_top_p(logits, p) == -math.inf, -math.inf)


def _one_too_many(logits, p):
    return logits.masked_fill(_sorted_back(logits, lambda sums, own: sums - own > p), -math.inf)


def _in_sorted_order(logits, p):
    values = logits.sort(dim=-1, descending=True).values
    probabilities = values.softmax(dim=-1)
    return values.masked_fill(probabilities.cumsum(dim=-1) - probabilities >= p, -math.inf) if p < 1 else values


def _those_above_p(logits, p):
    return logits.masked_fill(logits.softmax(dim=-1) < p, -math.inf)


def _all_that_tie(logits, p):
    probabilities = logits.softmax(dim=-1)
    kept = keep_top_p(logits, p) > -math.inf
    lowest = probabilities.masked_fill(~kept, 2.0).amin(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < lowest, -math.inf)


def _gathered(logits, p):
    if p >= 1:
        return logits
    probabilities, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    leaves = probabilities.cumsum(dim=-1) - probabilities >= p
    return logits.masked_fill(leaves.gather(-1, order), -math.inf)


def _other_way_round(logits, p):
    return logits if p >= 1 else logits.masked_fill(keep_top_p(logits, p) > -math.inf, -math.inf)


def _all_rows_as_one(logits, p):
    return keep_top_p(logits.reshape(-1), p).reshape(logits.shape)


# 08-cache


def _ring(rng, filling=100.0, position=None):
    """One token's q, k, v (B, H, 1, K), rings (B, H, T, K) of those before it with noise in empty slots, its position."""
    n_texts, n_heads, n_slots, width = (int(n) for n in rng.integers((1, 1, 2, 2), (4, 4, 7, 7)))
    position = int(rng.integers(0, 3 * n_slots)) if position is None else position
    q, k, v = (torch.from_numpy(rng.normal(size=(n_texts, n_heads, position + 1, width))).float() for _ in "qkv")
    keys, values = (
        torch.from_numpy(filling * rng.normal(size=(n_texts, n_heads, n_slots, width))).float() for _ in "kv"
    )
    for t in range(position):
        keys[..., t % n_slots, :], values[..., t % n_slots, :] = k[..., t, :], v[..., t, :]
    return *(x[..., position:, :].clone() for x in (q, k, v)), keys, values, position


def _a_ring(position, filling=100.0):
    return _ring(np.random.default_rng(0), filling, position)


def _another_cache(q, k, v, keys, values, position):
    n_slots = keys.size(2)
    place = torch.tensor([position % n_slots])
    keys.index_copy_(2, place, k)
    values.index_copy_(2, place, v)
    seen = range(position + 1) if position < n_slots else range(n_slots)
    scores = torch.stack([(q[:, :, 0] * keys[:, :, s]).sum(-1) for s in seen], dim=-1) / q.shape[-1] ** 0.5
    odds = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    mixed = sum(odds[..., i, None] * values[:, :, s] for i, s in enumerate(seen))
    return (mixed / odds.sum(-1, keepdim=True))[:, :, None]


def _plain(q, keys, values, scale=None):
    return (q @ keys.mT / (scale or math.sqrt(q.shape[-1]))).softmax(dim=-1) @ values


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
    return functional.scaled_dot_product_attention(q, keys, values, is_causal=True)


def _cache_axes(q, k, v, keys, values, position):
    keys[..., position, :] = k
    return attend_to_cache(q, k, v, keys, values, position)


def _cache_axes_modulo(q, k, v, keys, values, position):
    keys[..., position % keys.shape[-2], :] = k
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


def _cache_alone(q, k, v, keys, values, position):
    attend_to_cache(q, k, v, keys, values, position)
    return _plain(q, k, v)


def _cache_masked(q, k, v, keys, values, position):
    T = keys.shape[-2]
    attend_to_cache(q, k, v, keys, values, position)
    scores = (q @ keys.mT / q.shape[-1] ** 0.5).masked_fill(torch.arange(T) > position, -math.inf)
    return scores.softmax(dim=-1) @ values


def _cache_joined(q, k, v, keys, values, position):
    T = keys.shape[-2]
    return _plain(q, torch.cat([keys, k], -2)[..., -T:, :], torch.cat([values, v], -2)[..., -T:, :])


def _cache_grown(q, k, v, keys, values, position):
    return _plain(q, torch.cat([keys, k], dim=-2), torch.cat([values, v], dim=-2))


def _cache_copied(q, k, v, keys, values, position):
    return attend_to_cache(q, k, v, keys.clone(), values.clone(), position)


def _cache_returned(q, k, v, keys, values, position):
    return torch.cat([keys, k], dim=-2)


def _attended_by_hand(q, k, v, keys, values, position):
    slot = position % keys.shape[2]
    keys[:, :, slot], values[:, :, slot] = k[:, :, 0], v[:, :, 0]
    full = min(position + 1, keys.shape[2])
    weights = torch.softmax(torch.einsum("bhqk,bhtk->bhqt", q, keys[:, :, :full]) / math.sqrt(q.shape[-1]), dim=-1)
    return torch.einsum("bhqt,bhtk->bhqk", weights, values[:, :, :full])


def _say_which_slot(inputs, given, wanted):
    position, n_slots = inputs[5], inputs[3].shape[-2]
    return f"at position {position} of a ring of {n_slots} slots nothing was written: there is no slot {position}, take the position modulo T"


# 08-greedy


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
    digits = 2 if best - greedy >= 0.01 else 4
    return f"greedy ends at {greedy:.{digits}f}, and the likeliest text has {best:.{digits}f}"


EXERCISES = [
    Exercise(
        id="08-temperature", title="temperature on paper", minutes=3, difficulty=1,
        task="At temperature 1, two tokens have probabilities 0.8 and 0.2. What's the first one's probability at temperature 0.5?",
        stub="at_half = ...  # a number", name="at_half",
        hints=(
            "A probability is proportional to e^logit. What does dividing the logit by 0.5 do to that?",
            "The same thing happens to both tokens. Afterwards their probabilities must sum to 1 again.",
            "Both get squared: 0.64 and 0.04. Now make them sum to 1.",
        ),
        answer=16 / 17, another=(0.94, 0.64 / 0.68), tolerance=0.003,
        wrong=(
            (0.8, "that is the probability at temperature 1: here the logits are doubled"),
            (1.6, "a probability is at most 1: divide by the sum of both afterwards"),
            (0.64, "that is 0.8²: the other one is squared as well, and both must sum to 1"),
            (0.4, "the temperature divides the logits, not the probabilities"),
            (0.7685, "you divided the probabilities and took softmax of that: the *logits* are divided, ln 0.8 and ln 0.2"),
            (0.8944, "that is √0.8: at τ = 2 one takes roots, here squares, and both must sum to 1"),
            (94.1, "right in per cent: give a probability between 0 and 1"),
            (8 / 9, "you doubled the odds, 4 to 1 becoming 8 to 1: dividing logits by 1/2 *squares* them"),
            (16.0, "those are the odds, 16 to 1: what's the probability?"),
            (2 / 3, "that is temperature 2, the square roots: 0.5 makes the likelier one likelier"),
            (1.0, "only temperature 0 leaves nothing for the other one"),
            (1 / 17, "that is what is left for the other token"),
        ),
        right="dividing logits by 1/2 squares the odds: 4 to 1 becomes 16 to 1",
    ),
    Exercise(
        id="08-top-p", title="the fewest that reach p", minutes=10, difficulty=2,
        task="Write `keep_top_p(logits, p)`. Going down from the likeliest token, keep tokens until their probabilities add up to `p` or more. Set every "
        "other logit to `-math.inf`. The token with which the sum reaches p is kept: with 0.4, 0.3, 0.15, … and p = 0.6, two stay; with p = 0.7, too. "
        "At p = 1 everything stays, whatever rounding does to the sum.\n\n"
        "You may want `values, places = x.sort(dim=-1, descending=True)` and `x.cumsum(dim=-1)`. And this puts flags from sorted order back where they "
        "belong: `torch.zeros_like(places, dtype=torch.bool).scatter(-1, places, flags)`.",
        stub="def keep_top_p(logits, p):\n    # logits (..., V), 0 < p <= 1 -> (..., V)\n    return ...", name="keep_top_p",
        hints=(
            "Walk through the tokens from the likeliest down. At which of them do you stop needing more?",
            "A token goes if the likelier ones have reached p without it. How do you get their sum from a running sum that includes the token?",
            "In sorted order, `leaves = sums - probabilities >= p`. Scatter that back to the tokens' places, then `masked_fill`. "
            "For p = 1, return the logits as they came.",
        ),
        answer=keep_top_p, another=(_another_top_p, _top_p_by_counting),
        inputs=_logits, view=_by_rank,
        special=(
            ("a p that is reached exactly", torch.zeros(4), 0.5),
            ("equally likely tokens", torch.zeros(2, 4), 0.6),
            ("a p that one token reaches", torch.tensor([0.0, 3.0, 1.0]), 0.05),
            ("p = 1 in float32, where the first token has probability 1 after rounding", torch.tensor([0.0, -30.0, -40.0]), 1.0),
        ),
        partial=(
            (_rounding_at_1, "below p = 1 it is right; at p = 1 all tokens stay, but rounding makes the running sum 1 too early: give the logits back as they are"),
            (_one_too_many, "where p is passed it is right; where it is reached exactly, the next token must leave: ≥, not >"),
            (_all_that_tie, "without ties it is right; of equally likely tokens only as many stay as are needed: don't compare with the lowest probability that stays"),
        ),
        wrong=(
            (_crossing_one_leaves, "the token that crosses p belongs to the set: it stays, since those before it have not reached p"),
            (_crossing_one_leaves_but_the_first, "the token that crosses p belongs to the set, also when it isn't the likeliest"),
            (_in_order_of_ids, "you went through the tokens in the order of their ids: begin with the likeliest"),
            (_from_the_least_likely, "you began with the least likely tokens: sort with descending=True"),
            (lambda x, p: x.clone(), "nothing was cut: those that are not needed to reach p must be at −∞"),
            (lambda x, p: keep_top_p(x, p).softmax(dim=-1), "yours gives probabilities: logits were wanted, those that are cut at −∞"),
            (lambda x, p: keep_top_p(x, p) * 2, "the logits of the tokens that stay must not change"),
            (lambda x, p: keep_top_p(x, p).nan_to_num(neginf=0.0), "a logit of 0 is not “nothing”: e⁰ is 1; those that are cut go to −∞"),
            (_sums_of_logits_before, "what the likelier ones have together is counted in logits: take softmax first"),
            (_along_the_first_axis, "each row has its own order: softmax, sort and cumsum run along the last axis (dim=-1)"),
            (_sums_of_logits, "your running sum adds up logits: softmax makes probabilities of them first"),
            (_flags_in_sorted_order, "your flags are in sorted order, the logits in the order of their ids: `scatter` puts each flag back to its token"),
            (_cut_probabilities, "the right ones are cut, but yours are probabilities: cut the *logits*, softmax comes later"),
            (_gathered, "`gather` takes flags from the tokens' places to sorted order: `scatter` puts them from sorted order back to their places"),
            (_other_way_round, "your flags are the wrong way round: those that should stay are cut"),
            (lambda x, p: keep_top_p(x, p).log_softmax(dim=-1), "the right ones are cut, but the others are rescaled: leave the logits that stay as they are"),
            (_all_rows_as_one, "each row has its own order and its own sum: work along the last axis (dim=-1)"),
            (_in_sorted_order, "your result is in sorted order: put the logits (or the flags) back to the tokens' places"),
            (_those_above_p, "p is what the kept ones have *together*: yours keeps those that have p each"),
        ),
        right="a token stays while the likelier ones have not reached p, so the one that crosses it stays",
        ours="bigmodel_lib.generation:keep_top_p",
    ),
    Exercise(
        id="08-cache", title="one step with a cache", minutes=12, difficulty=3,
        task="Write `attend_to_cache(q, k, v, keys, values, position)`: one token's step in one layer. `keys` and `values` are the cache, two rings of T "
        "slots. The token at `position` (counted from 0) brings its query, key and value. Write key and value into slot `position % T`, *in place*. "
        "Then return the token's attention to all full slots, its own included: the first min(position + 1, T). The rest may hold anything.\n\n"
        "Shapes: q, k, v (B, H, 1, K); keys, values (B, H, T, K); result (B, H, 1, K). You have `attention(q, keys, values, causal=…)`.",
        stub="def attend_to_cache(q, k, v, keys, values, position):\n    return ...  # out", name="attend_to_cache",
        hints=(
            "What must already be in the cache when the query looks? And how many slots are full by then?",
            "`keys = …` only gives the name to another tensor. Which assignment changes the tensor itself? "
            "And is there anything that a causal mask should hide from this one query?",
            "`keys[..., slot : slot + 1, :] = k`, the same for the value, then `attention` over the slices `[..., :full, :]` with causal=False.",
        ),
        answer=attend_to_cache, another=(_another_cache, _attended_by_hand),
        inputs=_ring, changes=(3, 4), gives=Gives(dtype=True),
        special=(
            ("the first token", *_a_ring(0)),
            ("a slot not yet written, which may hold anything, even nan", *_a_ring(1, math.nan)),
        ),
        partial=(
            (_cache_late, "what you write is right; you attend before you write: write first, and the token sees itself and no longer the one whose slot it takes"),
            (_wrong_cache(full=lambda t, T: min(t, T)), "what you write is right; the token does not see itself: with its own, min(position + 1, T) slots are full"),
            (_wrong_cache(full=lambda t, T: max(min(t, T), 1)), "what you write is right; after the first token, `position` slots are full *before* this one: its own makes position + 1, up to T"),
            (_wrong_cache(full=lambda t, T: T), "what you write is right; you look at empty slots, too: only the first min(position + 1, T) hold a key"),
            (_wrong_cache(full=lambda t, T: t % T + 1), "what you write is right; from the second turn on all slots are full, not only those up to the one just written"),
            (_wrong_cache(attend=_first_key_alone), "what you write is right; the mask of a causal attention takes the one query for the first token, which sees slot 0 alone: all full slots are in its past, so causal=False"),
            (_wrong_cache(attend=lambda *given: _plain(*given, scale=1.0)), "what you write is right; the scores are not divided by √K: use `attention`, or divide by `q.shape[-1] ** 0.5`"),
            (_wrong_cache(attend=lambda q, *given: _plain(q, *given, scale=q.shape[-1])), "what you write is right; the scores are divided by K: its root was wanted"),
            (_cache_alone, "what you write is right; the token attends to its own key and value alone: give `attention` the full slots of the ring"),
            (_cache_masked, "a weight of 0 does not help where the slot holds nan: 0 · nan is nan. Leave such slots out by a slice"),
        ),
        wrong=(
            (_wrong_cache(attend=lambda q, keys, values: _plain(q, values, keys)), "what you write is right; keys and values have changed places in the call of `attention`"),
            (_wrong_cache(slot=lambda t, T: t), _say_which_slot),
            (_cache_indexed, "the slots are 0 to T − 1: take the position modulo T"),
            (_cache_axes_modulo, "mind the axes: `keys[..., slot : slot + 1, :]` has the shape of k, `keys[..., slot, :]` has one axis less"),
            (_cache_axes, "mind the axes: `keys[..., slot : slot + 1, :]` has the shape of k"),
            (_wrong_cache(both=lambda k, v: (k, k)), "you write the key to both rings"),
            (_wrong_cache(both=lambda k, v: (k, None)), "the value is missing from its ring: the next token will want it, too"),
            (_wrong_cache(both=lambda k, v: (None, v)), "the key is missing from its ring: the next token will want it, too"),
            (_wrong_cache(both=lambda k, v: (v, k)), "the two have changed places: you write the key to the ring of the values"),
            (_wrong_cache(both=lambda k, v: (k[:1], v[:1])), "each text and each head has its own key: yours writes the first text's to all of them"),
            (_wrong_cache(slot=lambda t, T: 0), "yours writes to slot 0 each time, over the first key: slot position mod T was wanted"),
            (_wrong_cache(slot=lambda t, T: T - 1), "yours writes to the last slot each time: slot position mod T was wanted, the next that is free"),
            (_wrong_cache(slot=lambda t, T: min(t, T - 1)), "once the ring is full, yours writes to the last slot again and again: slot position mod T was wanted, where the oldest is"),
            (_wrong_cache(slot=lambda t, T: (t - 1) % T), "yours writes one slot too early: `position` is counted from 0, as slots are"),
            (_wrong_cache(slot=lambda t, T: (t + 1) % T), "yours writes one slot too far: slots are counted from 0"),
            (_cache_rolled, "yours moves all keys when the ring is full: only slot position mod T should change, the rest stays"),
            (_cache_joined, "`torch.cat` makes a longer copy and leaves the ring as it was: write to a slot of the ring itself"),
            (_cache_grown, "`torch.cat` makes longer copies, in which the oldest key is still there: write to slot `position % T` of the ring itself"),
            (_cache_copied, "the rings are as before: they are to change in place. `keys[..., slot : slot + 1, :] = …` writes to the ring, `keys = …` gives the name to another tensor"),
            (_cache_returned, "that is a longer ring, joined by `torch.cat`: the attention (B, H, 1, K) was wanted"),
            (lambda *given: (attend_to_cache(*given), *given[3:5]), "three things came back: give the attention alone, the rings are changed in place"),
            (lambda *given: attend_to_cache(*given).double(), "leave the dtype as it is: the inputs are float32, and yours gives float64"),
        ),
        right="one slot written, one query, all slots that are full, no mask: what comes later has not been written yet",
        ours="bigmodel_lib.exercises.nb08:attend_to_cache",
    ),
    Exercise(
        id="08-reach", title="how far back?", minutes=5, difficulty=2,
        task="On paper. A model has 2 layers and a cache of 4 slots, so each token sees its own key and the 3 before it. (No token shift.) "
        "How many places back is the oldest token that can still change the newest logits?",
        stub="places_back = ...  # a whole number", name="places_back",
        hints=(
            "In layer 2 the newest token sees keys up to 3 places back. What had the tokens there seen when those keys were made?",
            "Layer 1 made them, and there each token looked back as well. How far did the oldest of them look?",
            "3 places back in layer 2, and from there 3 more in layer 1.",
        ),
        answer=6, another=(6.0, 2 * (4 - 1)), tolerance=0.4,
        wrong=(
            (3, "that is what one layer sees: the keys of the second layer have seen others themselves"),
            (4, "a ring of 4 slots holds the token itself and 3 before it, and there are two layers"),
            (8, "each layer reaches 3 places back, not 4"),
            (7, "that counts the token itself too: how far *back* is the oldest?"),
            (9, "the reach of two layers adds up, it does not multiply"),
            (5, "layer 2 sees 3 back, and each of those had seen 3 further back"),
        ),
        right="each layer adds T − 1: a key remembers what its token saw, even after that has been overwritten",
    ),
    Exercise(
        id="08-memory", title="the cache of the smallest GPT-2", minutes=4, difficulty=1,
        task="The smallest GPT-2 has 12 layers of 12 heads, width 768 and a context of 1,024 tokens. How many bytes does its cache take when it's full, "
        "for one text, at 2 bytes a number?",
        stub="cache_bytes = ...  # a number", name="cache_bytes",
        hints=(
            "What does the cache keep of one token in one layer?",
            "Two things, and the heads share the width among them. Then count layers, tokens and bytes.",
            "2 · 768 numbers a token in each layer; times 12 layers, 1,024 tokens and 2 bytes.",
        ),
        answer=2 * 12 * 1024 * 768 * 2, another=(37.7e6, 37_748_736.0), tolerance=Tolerance(relative=0.01),
        wrong=(
            (12 * 1024 * 768 * 2, "that is half of it: both keys and values are kept, and each number takes two bytes"),
            (12 * 1024 * 768, "both keys and values are kept, and that counts numbers: each takes two bytes"),
            (36, "36 MiB is right: give it in bytes"),
            (8 * 2 * 12 * 1024 * 768 * 2, "that's in bits: bytes were asked for"),
            (2 * 12 * 1024 * 768 * 4, "four bytes a number is float32: here it is float16"),
            (2 * 12 * 1024 * 768 * 2 * 12, "the heads share the 768 numbers among them: do not multiply by the heads again"),
            (2 * 1024 * 768 * 2, "that is one layer, or one head in all layers: there are twelve of each"),
            (2 * 12 * 1024 * 1024 * 2, "the cache holds vectors of the model's width, not a T × T map"),
            (2 * 12 * 768 * 2, "that is one token: there are 1024"),
            (37.748736, "right in megabytes: bytes were wanted"),
        ),
        right="keys and values, 12 layers, 1,024 tokens, 768 numbers, 2 bytes: about 38 MB, for every single conversation",
    ),
    Exercise(
        id="08-greedy", title="best step, worst path", minutes=6, difficulty=2,
        task="Is the likeliest text the one where every token is the likeliest? Find a counterexample. A text is A or B, followed by X or Y. "
        "Choose probabilities so that greedy does *not* end at the likeliest of the four texts.",
        stub="choices = ...  # [p(A), [p(X|A), p(Y|A)], [p(X|B), p(Y|B)]]", name="choices",
        hints=(
            "Make the likelier first token a bad investment.",
            "Say X and Y are even after the likelier token. Then greedy ends with half its probability. How sure must the other token be?",
            "With p(A) = 0.6 and X, Y even, greedy ends at 0.3. After B, which has 0.4, one way needs more than 3/4.",
        ),
        check=_check_greedy, answer=[0.6, [0.5, 0.5], [0.9, 0.1]],
        another=((0.4, (1.0, 0.0), (0.45, 0.55)), [0.55, [0.4, 0.6], [0.0, 1.0]]),
        wrong=(([0.6, [0.9, 0.1], [0.9, 0.1]], "greedy finds the likeliest"), ([0.5, [0.5, 0.5], [1, 0]], "equally likely: say which"),
               ([0.6, [0.5, 0.6], [0.9, 0.1]], "must sum to 1"), ([1.6, [0.5, 0.5], [0.9, 0.1]], "from 0 to 1"),
               (0.6, "was wanted"), ([0.6, [0.5, 0.5], [0.75, 0.25]], "equally likely: let")),
    ),
]  # fmt: skip
