"""The exercises of 08_generation."""

import math

import numpy as np
import torch
from torch.nn import functional

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance, Wrong
from bigmodel_lib.finetuning.dpo import dpo_loss
from bigmodel_lib.generation import keep_top_p
from bigmodel_lib.model.layers import attention

# 08-top-p


def _logits(rng):
    """Logits of one row or of several, in any order, and a p."""
    lead = ((), (), (2,), (2, 3))[rng.integers(4)]
    logits = torch.from_numpy(rng.normal(scale=rng.choice([0.3, 1.0, 4.0]), size=(*lead, rng.integers(1, 9)))).float()
    return logits, float(rng.choice([rng.uniform(0.02, 0.99), 1.0], p=[0.9, 0.1]))


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
    T = keys.shape[-2]
    attend_to_cache(q, k, v, keys, values, position)
    scores = (q @ keys.mT / 2).masked_fill(torch.arange(T) > position, -math.inf)
    return scores.softmax(dim=-1) @ values


def _cache_joined(q, k, v, keys, values, position):
    T = keys.shape[-2]
    return _plain(q, torch.cat([keys, k], -2)[..., -T:, :], torch.cat([values, v], -2)[..., -T:, :])


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
    return f"greedy ends at {greedy:.2f}, and the likeliest text has {best:.2f}"


# 08-dpo


def _four_texts(rng):
    """ln p of B chosen and B rejected texts, now and before; gradients go to the first two."""
    n_pairs = int(rng.integers(1, 9))
    four = [torch.from_numpy(-rng.exponential(rng.choice([1.0, 20.0]), size=n_pairs)).float() for _ in range(4)]
    return *(x.requires_grad_(i < 2) for i, x in enumerate(four)), float(rng.uniform(0.05, 2.0))


def _very_wrong_pair():
    chosen = torch.tensor([-2000.0], requires_grad=True)
    zeros = [torch.zeros(1) for _ in range(3)]
    return chosen, zeros[0].requires_grad_(), *zeros[1:], 1.0


def _dpo_by_hand(chosen, rejected, chosen_before, rejected_before, beta):
    margin = beta * (chosen - rejected - chosen_before + rejected_before)
    return torch.log1p(torch.exp(-margin.abs())).mean() + torch.relu(-margin).mean()


def _wrong_dpo(inside, sign=-1.0, reduce="mean"):
    def loss(w, r, w0, r0, beta):
        return sign * getattr(functional.logsigmoid(inside(w, r, w0, r0, beta)), reduce)()

    return loss


def _dpo_by_softplus(chosen, rejected, chosen_before, rejected_before, beta):
    return functional.softplus(beta * (chosen_before - chosen + rejected - rejected_before)).sum() / len(chosen)


EXERCISES = [
    Exercise(
        id="08-temperature", title="temperature on paper", minutes=3, difficulty=1,
        task="Two tokens have the probabilities 0.8 and 0.2 at temperature 1. What is the probability of the first at temperature 0.5?",
        stub="at_half = ...  # a number", name="at_half",
        hints=(
            "Probabilities are proportional to e^logit. What does dividing a logit by 0.5 do to e^logit?",
            "Both tokens' powers change in the same way, and afterwards both probabilities must sum to 1 again.",
            "The powers are squared: 0.64 and 0.04. Divide the first by the sum of the two.",
        ),
        answer=16 / 17, another=(0.94, 0.64 / 0.68), tolerance=0.003,
        wrong=(
            (0.8, "that is the probability at temperature 1: here the logits are doubled"),
            (1.6, "a probability is at most 1: divide by the sum of both afterwards"),
            (0.64, "that is 0.8²: the other one is squared as well, and both must sum to 1"),
            (0.4, "the temperature divides the logits, not the probabilities"),
            (2 / 3, "that is temperature 2, the square roots: 0.5 makes the likelier one likelier"),
            (1.0, "only temperature 0 leaves nothing for the other one"),
            (1 / 17, "that is what is left for the other token"),
        ),
        right="dividing logits by 1/2 squares the odds: 4 to 1 becomes 16 to 1",
    ),
    Exercise(
        id="08-top-p", title="the fewest that reach p", minutes=10, difficulty=2,
        task="Build one. Of the likeliest tokens, keep the fewest whose probabilities together reach `p`, and put the logits of the others at "
        "`-math.inf`. The token that crosses p stays: with probabilities 0.4, 0.3, 0.15, … and p = 0.6 there are two. "
        "0 < p ≤ 1, and at p = 1 all tokens stay, whatever rounding does to the sum.\n\n"
        "Useful: `x.sort(dim=-1, descending=True)` gives (sorted values, their places), `x.cumsum(dim=-1)` the running sum, and "
        "`torch.zeros_like(places, dtype=torch.bool).scatter(-1, places, flags)` puts flags back from sorted order to their places. "
        "The pictures below use yours if it passes.",
        stub="def keep_top_p(logits, p):\n    # logits (..., V), 0 < p <= 1 -> (..., V)\n    return ...", name="keep_top_p",
        hints=(
            "Go through the tokens from the likeliest down. When does one of them no longer belong to the set?",
            "A token leaves if those that are likelier have reached p without it. Which running sum tells what the likelier ones have?",
            "`leaves = sums - probabilities >= p`, in sorted order; scatter that back to the tokens' places and `masked_fill`. "
            "Give the logits back unchanged where p is 1.",
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
            (_all_rows_as_one, "each row has its own order and its own sum: work along the last axis (dim=-1)"),
            (_in_sorted_order, "your result is in sorted order: put the logits (or the flags) back to the tokens' places"),
            (_those_above_p, "p is what the kept ones have *together*: yours keeps those that have p each"),
        ),
        right="a token stays while the likelier ones have not reached p, so the one that crosses it stays",
        ours="bigmodel_lib.generation:keep_top_p",
    ),
    Exercise(
        id="08-cache", title="one step with a cache", minutes=12, difficulty=3,
        task="Build one. The keys and values of a layer lie in two rings of T slots. Now comes the token at `position`, counted from 0, with its "
        "query, key and value. Write its key and its value to slot position mod T of their rings, *in place*, and give its attention over all "
        "slots that are full: min(position + 1, T), its own included.\n\n"
        "Shapes: q, k, v (B, H, 1, K); keys, values (B, H, T, K), changed in place -> (B, H, 1, K). "
        "`attention(q, keys, values, causal=…)` from notebook 05 is imported: softmax(q kᵀ / √K) v.",
        stub="def attend_to_cache(q, k, v, keys, values, position):\n    return ...  # out", name="attend_to_cache",
        hints=(
            "What must be in the rings when the query looks? And how many slots hold anything by then?",
            "`position % T` is the slot. `keys = …` would only give the name to another tensor: which way of writing changes the ring itself? "
            "And what would a causal mask hide from a single query, all of whose keys are in the past?",
            "`keys[..., slot : slot + 1, :] = k`, the same for the value, and then `attention` over the slices `[..., :full, :]`, causal=False.",
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
            (_wrong_cache(full=lambda t, T: T), "what you write is right; you look at empty slots, too: only the first min(position + 1, T) hold a key"),
            (_wrong_cache(full=lambda t, T: t % T + 1), "what you write is right; from the second turn on all slots are full, not only those up to the one just written"),
            (_wrong_cache(attend=_first_key_alone), "what you write is right; the mask of a causal attention takes the one query for the first token, which sees slot 0 alone: all full slots are in its past, so causal=False"),
            (_wrong_cache(attend=lambda *given: _plain(*given, scale=1.0)), "what you write is right; the scores are not divided by √K: use `attention`, or divide by `q.shape[-1] ** 0.5`"),
            (_wrong_cache(attend=lambda q, *given: _plain(q, *given, scale=q.shape[-1])), "what you write is right; the scores are divided by K: its root was wanted"),
            (_cache_masked, "a weight of 0 does not help where the slot holds nan: 0 · nan is nan. Leave such slots out by a slice"),
        ),
        wrong=(
            (_wrong_cache(slot=lambda t, T: t), _say_which_slot),
            (_cache_indexed, "the slots are 0 to T − 1: take the position modulo T"),
            (_cache_axes, "mind the axes: `keys[..., slot : slot + 1, :]` has the shape of k"),
            (_wrong_cache(both=lambda k, v: (k, k)), "you write the key to both rings"),
            (_wrong_cache(both=lambda k, v: (k, None)), "the value is missing from its ring: the next token will want it, too"),
            (_wrong_cache(both=lambda k, v: (None, v)), "the key is missing from its ring: the next token will want it, too"),
            (_wrong_cache(both=lambda k, v: (v, k)), "the two have changed places: you write the key to the ring of the values"),
            (_wrong_cache(both=lambda k, v: (k[:1], v[:1])), "each text and each head has its own key: yours writes the first text's to all of them"),
            (_wrong_cache(slot=lambda t, T: 0), "yours writes to slot 0 each time, over the first key: slot position mod T was wanted"),
            (_wrong_cache(slot=lambda t, T: T - 1), "yours writes to the last slot each time: slot position mod T was wanted, the next that is free"),
            (_wrong_cache(slot=lambda t, T: min(t, T - 1)), "once the ring is full, yours writes to the last slot again and again: slot position mod T was wanted, where the oldest is"),
            (_wrong_cache(slot=lambda t, T: (t + 1) % T), "yours writes one slot too far: slots are counted from 0"),
            (_cache_rolled, "yours moves all keys when the ring is full: only slot position mod T should change, the rest stays"),
            (_cache_joined, "`torch.cat` makes a longer copy and leaves the ring as it was: write to a slot of the ring itself"),
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
        task="On paper. A model of 2 layers without token shift writes with rings of 4 slots: each token sees the last 4 keys, its own among "
        "them. How many places before the newest token lies the oldest one that can still change the newest logits?",
        stub="places_back = ...  # a whole number", name="places_back",
        hints=(
            "In layer 2 the newest token looks at keys up to 3 places back. What have the tokens seen from which those keys are made?",
            "They were made in layer 1, where each of their tokens looked back in its turn. How far did the oldest of them look?",
            "3 places back in layer 2, and from there 3 more in layer 1.",
        ),
        answer=6, another=(6.0, 2 * (4 - 1)), tolerance=0.4,
        wrong=(
            (3, "that is what one layer sees: the keys of the second layer have seen others themselves"),
            (4, "a ring of 4 slots holds the token itself and 3 before it, and there are two layers"),
            (8, "each layer reaches back over the 3 tokens before, not over 4"),
            (7, "that counts the token itself: how far back is the oldest?"),
            (9, "the reach of two layers adds up, it does not multiply"),
            (5, "layer 2 sees 3 back, and each of those had seen 3 further back"),
        ),
        right="each layer adds T - 1: what a key has seen stays in it when the slot of the token that it saw has been written over",
    ),
    Exercise(
        id="08-memory", title="the cache of GPT-2's small one", minutes=4, difficulty=1,
        task="GPT-2's smallest model has 12 layers of 12 heads, a width of 768, a context of 1024 tokens and no token shift. How many bytes does its full "
        "cache take for one text, in float16 (2 bytes a number)?",
        stub="cache_bytes = ...  # a number", name="cache_bytes",
        hints=(
            "What is kept for one token in one layer?",
            "A key and a value. All heads together share the width; then count layers, tokens and bytes.",
            "2 · 768 numbers for each token in each layer, times 12 layers, 1024 tokens, 2 bytes.",
        ),
        answer=2 * 12 * 1024 * 768 * 2, another=(37.7e6, 37_748_736.0), tolerance=Tolerance(relative=0.01),
        wrong=(
            (12 * 1024 * 768 * 2, "that is half of it: both keys and values are kept, and each number takes two bytes"),
            (12 * 1024 * 768, "both keys and values are kept, and that counts numbers: each takes two bytes"),
            (2 * 12 * 1024 * 768 * 4, "four bytes a number is float32: here it is float16"),
            (2 * 12 * 1024 * 768 * 2 * 12, "the heads share the 768 numbers among them: do not multiply by the heads again"),
            (2 * 1024 * 768 * 2, "that is one layer: there are twelve"),
            (2 * 12 * 1024 * 1024 * 2, "the cache holds vectors of the model's width, not a T × T map"),
            (2 * 12 * 768 * 2, "that is one token: there are 1024"),
            (37.748736, "right in megabytes: bytes were wanted"),
        ),
        right="keys and values, 12 layers, 1024 tokens, 768 numbers, 2 bytes: about 38 MB for each text that is being written",
    ),
    Exercise(
        id="08-greedy", title="a step that is best and wrong", minutes=6, difficulty=2,
        task="Find a counterexample to “the likeliest token at each step gives the likeliest text”. A text is A or B, and then X or Y. "
        "Choose the probabilities such that always taking the likeliest does *not* end at the likeliest of the four texts.",
        stub="choices = ...  # [p(A), [p(X|A), p(Y|A)], [p(X|B), p(Y|B)]]", name="choices",
        hints=(
            "Let the likelier first token be unsure of what comes next.",
            "If both ways after the likelier token are even, greedy ends at half of its probability. How sure must the other token be of its next?",
            "Say p(A) = 0.6, then X and Y even: greedy ends at 0.3. After B, at 0.4, one way must have more than 3/4.",
        ),
        check=_check_greedy, answer=[0.6, [0.5, 0.5], [0.9, 0.1]],
        another=((0.4, (1.0, 0.0), (0.45, 0.55)), [0.55, [0.4, 0.6], [0.0, 1.0]]),
        wrong=(([0.6, [0.9, 0.1], [0.9, 0.1]], "greedy finds the likeliest"), ([0.5, [0.5, 0.5], [1, 0]], "equally likely: say which"),
               ([0.6, [0.5, 0.6], [0.9, 0.1]], "must sum to 1"), ([1.6, [0.5, 0.5], [0.9, 0.1]], "from 0 to 1"),
               (0.6, "was wanted"), ([0.6, [0.5, 0.5], [0.75, 0.25]], "equally likely: let")),
    ),
    Exercise(
        id="08-dpo", title="the loss of preferring", minutes=8, difficulty=2,
        task="Build one: $-\\frac{1}{B}\\sum \\ln \\sigma\\bigl(\\beta\\,[(\\ln \\pi(y_w) - \\ln \\pi_\\text{ref}(y_w)) - (\\ln \\pi(y_l) - "
        "\\ln \\pi_\\text{ref}(y_l))]\\bigr)$, the mean over B pairs. `torch.nn.functional.logsigmoid` is $\\ln \\sigma$, "
        "safe for large numbers. The training below uses yours if it passes.",
        stub="def dpo_loss(chosen, rejected, chosen_before, rejected_before, beta):\n"
        "    # ln p of each text (B,), under the model and under the reference -> one number\n    return ...", name="dpo_loss",
        hints=(
            "First the margin of each pair: what the chosen gained, less what the rejected gained.",
            "Then β times the margin goes through ln σ. Is the loss high or low where the margin is high? And how do B numbers become one?",
            "`margin = (chosen - chosen_before) - (rejected - rejected_before)`, then minus the mean of `logsigmoid(beta * margin)`.",
        ),
        answer=dpo_loss, another=(_dpo_by_hand, _dpo_by_softplus),
        inputs=_four_texts, special=(("a very wrong pair", *_very_wrong_pair()),),
        partial=(
            (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).sigmoid().log().mean(), "for ordinary pairs it is right; for a very wrong one, sigmoid is 0 and its logarithm infinite: use functional.logsigmoid"),
        ),
        wrong=(
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - r)), "the reference is missing: what counts is how far each has moved from where it was"),
            (_wrong_dpo(lambda w, r, w0, r0, b: -b * (w - w0 - r + r0)), "the sign is turned: this prefers the rejected"),
            (_wrong_dpo(lambda w, r, w0, r0, b: w - w0 - r + r0), "beta is missing"),
            (_wrong_dpo(lambda w, r, w0, r0, b: (w - w0 - r + r0) / b), "beta multiplies the margin, it does not divide it"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 - r + r0), sign=1.0), "the minus is missing: a loss falls as the margin grows"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 - r + r0), reduce="sum"), "the mean over the pairs was wanted, not the sum"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 + r - r0)), "what the rejected gained counts against: its gain is taken away"),
            (_wrong_dpo(lambda w, r, w0, r0, b: (b * (w - w0 - r + r0)).mean()), "the mean came too early: first ln σ of each pair, then the mean"),
            (lambda w, r, w0, r0, b: (b * (w - w0 - r + r0)).sigmoid().mean(), "that is the probability: the loss is minus its logarithm"),
            (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).sigmoid().mean().log(), "take the logarithm of each pair, then the mean"),
            (lambda w, r, w0, r0, b: -functional.logsigmoid(b * (w - w0 - r + r0)), "one number was wanted, the mean over the pairs"),
            (lambda w, r, w0, r0, b: dpo_loss(w, r, w0, r0, b).item(), "the value is right, but `.item()` makes a plain number of it: the loss must stay a tensor, for backward()"),
            (lambda w, r, w0, r0, b: dpo_loss(w.detach(), r, w0, r0, b), "the value is right, but no gradient reaches `chosen`: don't detach it"),
        ),
        right="minus the log-probability, by Bradley and Terry, that the chosen one wins",
        ours="bigmodel_lib.finetuning.dpo:dpo_loss",
    ),
    Exercise(
        id="08-pull", title="how hard does a pair pull?", minutes=5, difficulty=2,
        task="On paper. The derivative of the loss of one pair by $\\ln \\pi(y_w)$ is $-\\beta\\,\\sigma(-\\beta\\,m)$ with the margin m: what "
        "the chosen gained less what the rejected gained. With β = 0.5, the chosen text has gained 1 nat and the rejected one has lost "
        "1. What is $\\beta\\,\\sigma(-\\beta\\,m)$ now? **Its size is wanted, without the minus sign.**",
        stub="pull = ...  # a number", name="pull",
        hints=(
            "The margin is what the chosen gained less what the rejected gained; losing is gaining with a minus.",
            "Multiply the margin by −β and take σ(x) = 1/(1 + e^−x) of it. What is left to do after that?",
            "The margin is 1 − (−1) = 2, so it is σ(−1), times the β in front.",
        ),
        answer=0.5 / (1 + math.e), another=(0.1345, 0.134), tolerance=0.002,
        wrong=(
            (1 / (1 + math.e), "the factor β in front is missing"),
            (0.5 / (1 + 1 / math.e), "the argument is −β times the margin: a pair with a margin above 0 pulls less"),
            (0.25, "that is the weight at the start, with a margin of 0"),
            (0.5 / (1 + math.exp(2)), "inside the sigmoid is β times the margin as well"),
            (1 / (1 + 1 / math.e), "that is how sure the model is that the chosen one wins; the pull is what is missing to 1, times β"),
            (0.5 / (1 + math.exp(0.5)), "the margin is 1 − (−1) = 2, not 1"),
            (-0.5 / (1 + math.e), "its size was wanted, without the minus sign"),
        ),
        right="it began at β/2 = 0.25: as its margin grows a pair pulls less and less, but never with 0",
    ),
]  # fmt: skip
