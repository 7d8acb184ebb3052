"""The exercises of 01_attention_formula."""

import math

import numpy as np

from bigmodel_lib.by_hand import model as ours
from bigmodel_lib.by_hand.model import softmax
from bigmodel_lib.exercises.engine import Exercise


def _attended(rng):
    """q, k, v and a mask: none, one or two axes in front; one to five tokens; no mask, a causal one, or any numbers."""
    shape = ((), (2,), (2, 3))[rng.integers(3)]
    length, d_k, d_v = rng.integers(1, 6, size=3)
    q, k = rng.normal(scale=rng.choice([0.3, 1.0, 3.0]), size=(2, *shape, length, d_k))
    v = rng.normal(size=(*shape, length, d_v))
    masks = 0.0, ours.causal_mask(length), rng.normal(size=(length, length))
    return q, k, v, masks[rng.integers(3)]


def _scores(q, k):
    return q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])


def _attention(q, k, v, mask=0.0):
    return softmax(_scores(q, k) + mask) @ v


def _attention_by_einsum(q, k, v, mask=0.0):
    scores = np.einsum("...ik,...jk->...ij", q, k) / math.sqrt(k.shape[-1]) + mask
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("...ij,...jd->...id", powers, v) / powers.sum(axis=-1, keepdims=True)


def _attention_by_rows(q, k, v, mask=0.0):
    if q.ndim > 2:
        return np.stack([_attention_by_rows(*one, mask) for one in zip(q, k, v, strict=True)])
    scores = [k @ row / len(row) ** 0.5 for row in q] + np.asarray(mask)
    return np.stack([softmax(row) @ v for row in scores])


def _unscaled(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) + mask) @ v


def _divided_by_d_k(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) / q.shape[-1] + mask) @ v


def _divided_by_root_of_tokens(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-2]) + mask) @ v


def _divided_by_root_of_d_v(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(v.shape[-1]) + mask) @ v


def _multiplied_by_root(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) * np.sqrt(q.shape[-1]) + mask) @ v


def _turned_by_t(q, k, v, mask=0.0):
    return softmax(q @ k.T / np.sqrt(k.shape[-1]) + mask) @ v


def _first_two_swapped(q, k, v, mask=0.0):
    return softmax(q @ k.swapaxes(0, 1) / np.sqrt(k.shape[-1]) + mask) @ v


def _not_turned(q, k, v, mask=0.0):
    return softmax(q @ k / np.sqrt(k.shape[-1]) + mask) @ v


def _root_of_2(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(2) + mask) @ v


def _root_of_first_axis(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(len(q)) + mask) @ v


def _sum_over_axis_1(q, k, v, mask=0.0):
    powers = np.exp(_scores(q, k) + mask)
    return powers / powers.sum(axis=1, keepdims=True) @ v


def _columns(scores):
    return np.swapaxes(softmax(np.swapaxes(scores, -1, -2)), -1, -2)


def _over_keys_that_ask(q, k, v, mask=0.0):
    return _columns(_scores(q, k) + mask) @ v


def _roles_swapped(q, k, v, mask=0.0):
    return softmax(_scores(k, q) + mask) @ v


def _weights_alone(q, k, v, mask=0.0):
    return softmax(_scores(q, k) + mask)


def _without_softmax(q, k, v, mask=0.0):
    return (_scores(q, k) + mask) @ v


def _divided_by_sums(q, k, v, mask=0.0):
    scores = _scores(q, k) + mask
    return scores / scores.sum(axis=-1, keepdims=True) @ v


def _mask_afterwards(q, k, v, mask=0.0):
    return (softmax(_scores(q, k)) + mask) @ v


def _mask_multiplied(q, k, v, mask=0.0):
    return softmax(_scores(q, k) * mask) @ v


def _mask_ignored(q, k, v, mask=0.0):
    return softmax(_scores(q, k)) @ v


def _mask_rescaled(q, k, v, mask=0.0):
    return softmax((q @ np.swapaxes(k, -1, -2) + mask) / np.sqrt(q.shape[-1])) @ v


def _weights_rescaled(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) + mask) / np.sqrt(q.shape[-1]) @ v


def _second_axis(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[1]) + mask) @ v


def _mask_subtracted(q, k, v, mask=0.0):
    return softmax(_scores(q, k) - mask) @ v


def _one_sum_for_all(q, k, v, mask=0.0):
    powers = np.exp(_scores(q, k) + mask)
    return powers / powers.sum() @ v


def _powers_alone(q, k, v, mask=0.0):
    return np.exp(_scores(q, k) + mask) @ v


def _weights_turned(q, k, v, mask=0.0):
    return np.swapaxes(softmax(_scores(q, k) + mask), -1, -2) @ v


def _softmax_at_the_end(q, k, v, mask=0.0):
    return softmax((_scores(q, k) + mask) @ v)


def _neither_rescaled_nor_masked(q, k, v, mask=0.0):
    return softmax(q @ np.swapaxes(k, -1, -2)) @ v


_Q = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
_V = np.array([[10.0, 0.0, 1.0], [0.0, 20.0, 1.0], [5.0, 5.0, 1.0]])


def _mask_by_where(n_tokens):
    return np.where(np.arange(n_tokens)[:, None] >= np.arange(n_tokens), 0.0, -np.inf)


def _mask_by_loops(n_tokens):
    mask = np.zeros((n_tokens, n_tokens))
    for t in range(n_tokens):
        mask[t, t + 1 :] = -math.inf
    return mask


def _mask_with_nan(n_tokens):
    with np.errstate(invalid="ignore"):
        return np.triu(np.ones((n_tokens, n_tokens)), k=1) * -np.inf


def _columns_and_heads(rng):
    tokens, heads, width = (int(n) for n in rng.integers(1, 5, size=3))
    return rng.normal(size=(tokens, heads * width)), heads


def _split(x, n_heads):
    return x.reshape(len(x), n_heads, x.shape[1] // n_heads).swapaxes(0, 1)


def _split_by_slices(x, n_heads):
    width = x.shape[1] // n_heads
    return np.array([x[:, h * width : (h + 1) * width] for h in range(n_heads)])


def _split_by_splitting(x, n_heads):
    return np.stack(np.split(x, n_heads, axis=-1))


def _split_interleaved(x, n_heads):
    return np.array([x[:, h::n_heads] for h in range(n_heads)])


def _split_transposed(x, n_heads):
    return x.T.reshape(n_heads, -1, len(x))


def _heads(rng):
    return (rng.normal(size=tuple(rng.integers(1, 5, size=3))),)


def _merge(x):
    return x.swapaxes(0, 1).reshape(x.shape[1], len(x) * x.shape[2])


_X = np.arange(1.0, 13.0).reshape(3, 4)  # three words of four numbers


EXERCISES = [
    Exercise(
        id="01-lookup", title="a soft look-up by hand", minutes=3, difficulty=1,
        task="""
Two keys have the scores ln 3 and 0, and their words hold the values 8 and 20. The first step is done: e to the power of
ln 3 is 3, and e to the power of 0 is 1. On paper: what's the output?""",
        stub="looked_up = ...  # a number", name="looked_up",
        hints=(
            "3 and 1 aren't weights yet. What must weights add up to?",
            "Divide both by their sum. Then each value counts in proportion to its weight.",
            "The weights are 3/4 and 1/4. Multiply each by its value and add up.",
        ),
        answer=11, another=((3 * 8 + 20) / 4, np.array(11.0)), tolerance=0.0051,
        wrong=(
            (14, "14 is the plain average: the first word weighs three times as much as the second"),
            (6, "that's the first word's share alone: the second one counts, too"),
            (8, "8 is the best word's value alone: take e to the power of each score first, then both have a share"),
            (44, "44 is 3 · 8 + 1 · 20: those are no shares yet, divide by their sum"),
            (28, "28 adds the two values: each counts only by its share"),
            (17, "that gives the larger weight to the lower score"),
            (8 * math.log(3), "that weighs with the scores themselves: take e to the power of each first"),
            ((0.75, 0.25), "those are the weights: each word's value still has to be multiplied by its own, and added up"),
            ((6, 5), "those are both shares of the output: add them"),
            (22, "22 is half of 3 · 8 + 1 · 20: divide by what the weights 3 and 1 add up to"),
            ((8 * math.exp(3) + 20) / (math.exp(3) + 1), "that takes 3 for the first score: it's ln 3, and 3 is e to its power"),
        ),
        right="weights 3/4 and 1/4, output 6 + 5.",
    ),
    Exercise(
        id="01-attention", title="build attention", minutes=10, difficulty=2,
        task="""
Write `attention(q, k, v, mask=0.0)`, the whole formula: compare, rescale, normalise, average. `softmax` is there for you.
Two requests for later: add `mask` to the rescaled scores (0 does nothing), and touch only the *last two* axes of q, k
and v, since there may be more in front. The notebook goes on with your function if it's right, with ours if not.""",
        stub="""
def attention(q, k, v, mask=0.0):
    # q and k (..., T, K), v (..., T, d_v) -> (..., T, d_v)
    # 1 compare, 2 rescale and add the mask, 3 normalise, 4 average
    return ...
""",
        name="attention",
        hints=(
            "Follow the framed row in the diagram. Each step is one line, and the last one is a product of two matrices.",
            "All scores at once are Q times K turned on its side. With more axes in front, `.T` turns too many: "
            "look for a function that swaps two axes. And which axis of q says how many numbers a word has?",
            "`q @ np.swapaxes(k, -1, -2)` compares everything with everything; divide by `np.sqrt(q.shape[-1])`, add "
            "the mask. Softmax takes the last axis by itself. Weights `@` values is the average.",
        ),
        answer=_attention, another=(_attention_by_einsum, _attention_by_rows),
        inputs=_attended,
        special=(
            ("no mask given", _Q, _Q.copy(), _V),
            ("a causal mask", _Q, _Q.copy(), _V, ours.causal_mask(3)),
            ("one word", _Q[:1], _Q[:1].copy(), _V[:1], 0.0),
            ("two heads in front", np.stack([_Q, -_Q]), np.stack([_Q, _Q + 1]), np.stack([_V, 2 * _V]), 0.0),
        ),
        partial=(
            (_unscaled, "compare, normalise and average are right; the scores aren't divided by √d_k yet"),
            (_weights_alone, "the weights are right; they still have to be multiplied by V"),
            (_mask_ignored, "compare, rescale, normalise and average are right; the mask isn't added to the scores yet"),
            (_neither_rescaled_nor_masked, "compare, normalise and average are right; dividing by √d_k and adding the mask are missing"),
            (_turned_by_t, "right without axes in front; with them, `.T` turns all axes: swap only the last two"),
            (_first_two_swapped, "right without axes in front; with them, count axes from the end: swap the last two"),
            (_sum_over_axis_1, "right without axes in front; with them, axis 1 isn't the last: sum over axis=-1"),
            (_second_axis, "right without axes in front; with them, `q.shape[1]` counts words: count axes from the end, `q.shape[-1]`"),
        ),
        wrong=(
            (_not_turned, "q @ k compares nothing yet: k has to be turned on its side first"),
            (_root_of_2, "√2 was for the example with two numbers per word: take the root of how many q and k have"),
            (_root_of_first_axis, "you divide by the root of len(q), the size of its first axis: the last one says how many numbers a key has"),
            (_divided_by_d_k, "you divide by d_k itself: its square root was wanted"),
            (_divided_by_root_of_tokens, "you divide by the root of how many words there are: it's how many numbers a key has"),
            (_divided_by_root_of_d_v, "you divide by the root of V's width: the scores come from q and k, so theirs counts"),
            (_multiplied_by_root, "you multiply by √d_k: divide"),
            (_over_keys_that_ask, "softmax runs over the wrong axis: the columns of your weights sum to 1, not the rows"),
            (_roles_swapped, "queries and keys have changed places: row i must be the scores of query i"),
            (_without_softmax, "softmax is missing: these are scores times V"),
            (_divided_by_sums, "you divide the scores by their sum: softmax was wanted, which takes e to their power first"),
            (_one_sum_for_all, "one sum for the whole table: each row must sum to 1 by itself"),
            (_powers_alone, "e to the power of the scores is there; each row still has to be divided by its sum"),
            (_weights_turned, "the table of weights is turned on its side: row i must belong to query i"),
            (_softmax_at_the_end, "softmax comes too late: it makes weights of the scores, and the weights average V"),
            (_mask_afterwards, "the mask comes too late: add it to the scores, before softmax"),
            (_mask_rescaled, "the mask is divided by √d_k, too: rescale first, then add it"),
            (_weights_rescaled, "the weights are divided by √d_k: the scores should be, before softmax"),
            (_mask_multiplied, "the mask is multiplied: add it to the scores"),
            (_mask_subtracted, "the mask is subtracted: add it"),
        ),
        right="compare, rescale, normalise, average.",
        ours="bigmodel_lib.by_hand.model:attention",
    ),
    Exercise(
        id="01-mask", title="build the causal mask", minutes=5, difficulty=1,
        task="""
Write `causal_mask(n_tokens)`: an array of shape (T, T) to add to the scores, with 0 where row t may look (columns
0 … t) and −∞ everywhere else.""",
        stub="""
def causal_mask(n_tokens):
    # -> (T, T)
    return ...
""",
        name="causal_mask",
        hints=(
            "Draw the one for four words on paper. What shape do the −∞ form, and is the diagonal part of it?",
            "NumPy can cut triangles out of a full table: look at `np.triu` and its `k`.",
            "`np.full((n, n), -np.inf)` is a table full of −∞; keep what's strictly above the diagonal, `k=1`.",
        ),
        answer=ours.causal_mask, another=(_mask_by_where, _mask_by_loops),
        special=(("three words", 3), ("two words", 2), ("seven words", 7), ("one word", 1)),
        wrong=(
            (lambda n: np.triu(np.full((n, n), -np.inf)), "the diagonal is hidden too: a word may look at itself, "
             "and the first one has nobody else"),
            (lambda n: np.tril(np.full((n, n), -np.inf), -1), "the past is hidden and the future is seen: turn the triangle over"),
            (lambda n: np.tril(np.full((n, n), -np.inf)), "the past is hidden, and the word itself: turn the triangle over, "
             "and leave the diagonal at 0"),
            (lambda n: np.tri(n), "those are 1 and 0: added to scores, a 1 hides nothing"),
            (lambda n: np.triu(np.ones((n, n)), 1), "those are 0 and 1: added to a score, 1 hides nothing; it takes −∞"),
            (lambda n: np.triu(np.full((n, n), -1e9), 1), "−10⁹ works until a score is larger still: −∞ was wanted"),
            (lambda n: np.full((n, n), -np.inf), "everything is hidden: row t must be 0 in columns 0 to t"),
            (lambda n: np.zeros((n, n)), "nothing is hidden yet: the future needs −∞"),
            (lambda n: np.triu(-np.ones((n, n)), 1), "−1 only makes the future a little less likely: −∞ was wanted"),
            (lambda n: np.triu(np.full((n, n), np.nan), 1), "that isn't a number, and one of them spoils a whole row: −∞ was wanted"),
            (lambda n: np.triu(np.full((n, n), np.finfo(float).min), 1), "the smallest number there is works until another is added: −∞ was wanted"),
            (lambda n: np.triu(np.full((n, n), -100.0), 1), "−100 leaves a little weight: −∞ was wanted"),
            (lambda n: np.triu(np.full((n, n), np.inf), 1), "+∞ would give the future all the weight: −∞ was wanted"),
            (lambda n: np.triu(np.full((n, n), -np.inf), 2), "each word still sees the next one: start one column further left"),
            (_mask_with_nan, "0 times −∞ isn't a number"),
        ),
        right="the diagonal stays: every word may look at itself.",
        ours="bigmodel_lib.by_hand.model:causal_mask",
    ),
    Exercise(
        id="01-split", title="split into heads", minutes=6, difficulty=2,
        task="""
Write `split_heads(x, n_heads)`: x (T, D) in, (H, T, K) out, with K = D / H. Head h gets columns h·K … (h + 1)·K − 1 of
every word, and the words keep their order.""",
        stub="""
def split_heads(x, n_heads):
    # x (T, D) -> (H, T, K)
    return ...
""",
        name="split_heads",
        hints=(
            "Each word's row is to be cut into H pieces that stay whole. Where would the new axis appear if you cut "
            "every row first?",
            "Cutting each row gives (T, H, K). Only then change the order of the axes.",
            "`x.reshape(len(x), n_heads, -1)` cuts each row; `.swapaxes(0, 1)` brings the heads to the front.",
        ),
        answer=_split, another=(_split_by_slices, _split_by_splitting),
        inputs=_columns_and_heads,
        special=(("one head", _X, 1), ("three words, two heads", _X, 2), ("as many heads as columns", _X, 4)),
        partial=((lambda x, n: x.reshape(len(x), n, -1), "every row is cut into heads, (T, H, K); the heads aren't in front yet"),),
        wrong=(
            (lambda x, n: x.reshape(n, len(x), -1), "the words are scrambled: head 0 holds all numbers of the first "
             "words, instead of the first numbers of all words"),
            (_split_interleaved, "head 0 has every H-th column: it should have the first K side by side"),
            (_split_transposed, "the last two axes have changed places: (H, K, T) instead of (H, T, K)"),
            (lambda x, n: x.T.reshape(n, len(x), -1), "the words are scrambled: turning x over doesn't cut its rows"),
            (lambda x, n: x.reshape(len(x), -1, n).transpose(1, 0, 2), "the rows are cut into K pieces of H: H pieces of K were wanted"),
            (lambda x, n: _split(x, n)[::-1], "the heads come in reverse order"),
            (lambda x, n: np.stack([x] * n), "every head has all the columns: each gets K = D / H of them"),
        ),
        right="each head has its own columns of all words.",
        ours="bigmodel_lib.by_hand.model:split_heads",
    ),
    Exercise(
        id="01-merge", title="merge the heads", minutes=4, difficulty=2,
        task="""
Write `merge_heads(x)`: x (H, T, K) in, (T, D) out, with D = H·K. It undoes `split_heads`: each word gets back its
pieces, head 0's first.""",
        stub="""
def merge_heads(x):
    # x (H, T, K) -> (T, D)
    return ...
""",
        name="merge_heads",
        hints=(
            "Walk back the way you came, in reverse order.",
            "Words first: bring the axes into the order (T, H, K). Then each word's H pieces can be joined.",
            "`x.swapaxes(0, 1)` is (T, H, K); `.reshape(x.shape[1], -1)` joins the last two axes.",
        ),
        answer=_merge, another=(np.hstack, lambda x: np.concatenate(list(x), axis=-1)),
        inputs=_heads,
        special=(("one head", _split(_X, 1)), ("two heads", _split(_X, 2))),
        wrong=(
            (lambda x: x.reshape(x.shape[1], -1), "the words are scrambled: swap the heads and the words before you reshape"),
            (lambda x: x.transpose(1, 2, 0).reshape(x.shape[1], -1), "the heads' numbers alternate: all of head 0's come first"),
            (lambda x: _merge(x[::-1]), "the heads come in reverse order: head 0's numbers first"),
            (lambda x: x.sum(axis=0), "the heads are added: they go side by side"),
            (lambda x: x.swapaxes(0, 1).reshape(len(x), -1), "len(x) is the number of heads here: one row for each word was wanted"),
            (lambda x: x.mean(axis=0), "the heads are averaged: they go side by side"),
            (lambda x: x.swapaxes(1, 2).reshape(x.shape[1], -1), "the wrong two axes are swapped: bring words to the front, not numbers"),
            (lambda x: x.swapaxes(0, 2).reshape(x.shape[1], -1), "the numbers are in front now: it's the words that belong there"),
            (lambda x: x.reshape(-1, x.shape[-1]), "the heads are stacked on top of each other: side by side was wanted"),
            (lambda x: x.swapaxes(0, 1), "(T, H, K) is halfway: join the last two axes"),
        ),
        right="what was split is whole again.",
        ours="bigmodel_lib.by_hand.model:merge_heads",
    ),
    Exercise(
        id="01-parameters", title="what do heads cost?", minutes=3, difficulty=2,
        task="""
A multi-head attention with D = 64 has four matrices of 64 × 64: $W_Q$, $W_K$, $W_V$ and $W_O$. A friend changes it from
1 head to 8. On paper: how many numbers does it have to learn now?""",
        stub="parameters = ...  # a number", name="parameters",
        hints=(
            "What exactly is cut into slices? Does cutting add anything?",
            "The matrices keep their size: a head gets 8 of the 64 columns.",
            "Four times 64 times 64.",
        ),
        answer=16384, another=(4 * 64**2, 16384.0), tolerance=0.5,
        wrong=(
            (131072, "eight times too many: the heads share the columns, 8 each"),
            (12288, "that leaves out W_O, the matrix after the heads"),
            (4096, "that's one matrix: there are four"),
            (512, "that's one matrix of one head: there are four matrices and eight heads"),
            (256, "that's four times 64: each matrix has 64 rows of 64 numbers"),
            (32768, "that's eight times one matrix: there are four, and slicing doesn't add to them"),
            (2048, "that's one head's share: there are eight heads"),
            ((16, 384), "a number without a comma was wanted: in Python, a comma makes two numbers of it"),
            (4 * 64 * 64 + 3 * 7 * 64 * 64, "that gives every head its own full W_Q, W_K and W_V: the heads share the columns of one"),
            (16640, "that counts biases: there are none here"),
        ),
        right="the same as with one head: slicing adds no parameters.",
    ),
]  # fmt: skip
