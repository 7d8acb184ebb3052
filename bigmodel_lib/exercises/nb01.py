"""The exercises of 01_attention_formula."""

import math

import numpy as np

from bigmodel_lib.by_hand.model import softmax
from bigmodel_lib.exercises.engine import Exercise, Wrong


def _scores(rng):
    """Scores of one to four axes, some far apart, some tied."""
    shape = tuple(rng.integers(1, 6, size=rng.integers(1, 5)))
    scores = rng.normal(scale=rng.choice([0.1, 1.0, 5.0]), size=shape)
    return (np.round(scores) if rng.random() < 0.2 else scores,)


def _square_scores(rng):
    length = rng.integers(1, 8)
    return (rng.normal(scale=rng.choice([0.1, 1.0, 5.0]), size=(length, length)),)


def _another_softmax(scores):
    shifted = scores - np.amax(scores, -1)[..., None]
    return np.exp(shifted - np.log(np.exp(shifted).sum(-1))[..., None])


def _rows_that_do_not_sum_to_1(inputs, given, wanted):
    sums = given.sum(axis=-1).ravel()
    return f"softmax runs over axis 0: a row of your weights sums to {sums[np.abs(sums - 1).argmax()]:.2g}, not 1"


def _softmax_by_rows(scores):
    rows = [np.exp(row - max(row)) for row in np.reshape(scores, (-1, scores.shape[-1]))]
    return np.stack([row / sum(row) for row in rows]).reshape(scores.shape)


def _over_axis_0(scores):
    powers = np.exp(scores - scores.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


def _powers(scores):
    return np.exp(scores - scores.max(axis=-1, keepdims=True))


def _shifted_by_the_mean(scores):
    powers = np.exp(scores - scores.mean(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _naive(scores):
    return np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)


def _over_all(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def _shifted_by_all(scores):
    powers = np.exp(scores - scores.max())
    return powers / np.maximum(powers.sum(-1, keepdims=True), 1e-300)


def _hidden(scores):
    """Softmax over the scores of the past, by loops."""
    weights = np.zeros_like(scores)
    for t, row in enumerate(scores):
        weights[t, : t + 1] = softmax(row[: t + 1])
    return weights


def _renormalised(scores):
    weights = np.tril(softmax(scores))
    return weights / weights.sum(axis=-1, keepdims=True)


def _another_hide(scores):
    return softmax(np.where(np.tri(len(scores), dtype=bool), scores, -1e300))


def _hide_with_minus_infinity(scores):
    future = np.triu(np.ones(scores.shape), k=1)
    return softmax(np.where(future == 1, -np.inf, scores))


def _past_hidden(scores):
    return softmax(scores + np.tril(np.full(scores.shape, -np.inf), -1))


def _own_hidden_too(scores):
    return softmax(scores + np.triu(np.full(scores.shape, -np.inf), 0))


def _infinity_multiplied(scores):
    return softmax(scores * np.triu(np.full(scores.shape, -np.inf), 1))


def _minus_ten(scores):
    return softmax(scores + np.triu(np.full(scores.shape, -10.0), 1))


def _columns(scores):
    return _hidden(scores.T).T


def _check_stays(attempt):
    try:
        rows = {int(row) for row in attempt}
    except (TypeError, ValueError):
        raise Wrong(f"a list of row numbers was wanted, {attempt!r} was given") from None
    if rows == {0, 1, 2}:
        return "the first three see neither of the two; the last two are the ones that moved"
    if rows == set(range(5)):
        raise Wrong("all five would mean that order never matters: rows 3 and 4 now hold other tokens")
    if not rows:
        raise Wrong("some do stay: which rows see neither position 3 nor position 4?")
    if rows == {1, 2, 3}:
        raise Wrong("rows are counted from 0")
    if rows == {3, 4}:
        raise Wrong("those are the rows that change: which ones stay?")
    if 3 in rows or 4 in rows:
        raise Wrong(f"row {max(rows)} holds another token now: its output cannot be counted on to stay")
    raise Wrong("some are missing: row t sees only rows 0 … t, and what changes later cannot reach it")


EXERCISES = [
    Exercise(
        id="01-lookup", title="a soft look-up by hand", minutes=4, difficulty=1,
        task="""
Two keys have the scores ln 3 and 0, and hold the values 8 and 4. On paper: what does the soft look-up return, if the
weights are in proportion to $e^{score}$?""",
        stub="looked_up = ...  # a number", name="looked_up",
        hints=(
            "e to the power of ln 3 is 3. And e to the power of 0?",
            "The weights must sum to 1: divide each power by the sum of both.",
            "The weights are 3/4 and 1/4. Mix the two values with them.",
        ),
        answer=7, another=((3 * 8 + 4) / 4, np.array(7.0)), tolerance=0.0051,
        wrong=(
            (6, "6 is the plain average: the weights are e^(ln 3) : e^0, not equal"),
            (8, "8 is the value of the best key alone: a soft look-up takes some of the other too"),
            (28, "28 is 3 · 8 + 1 · 4: divide by the sum of the powers, 3 + 1, and the weights sum to 1"),
            (5, "5 mixes the weights up: the key with the higher score has the value 8"),
            (8 * math.log(3), "that weighs with the scores themselves: take e to the power of each first"),
        ),
        right="weights 3/4 and 1/4, so 3/4 · 8 + 1/4 · 4",
    ),
    Exercise(
        id="01-entropy", title="how undecided?", minutes=3, difficulty=1,
        task="""
A token spreads its weight evenly over 4 of the 8 tokens of a sentence and ignores the other 4. On paper: what is the
entropy of its weights, in nats, to two digits after the point?""",
        stub="undecided = ...  # a number", name="undecided",
        hints=(
            "How many tokens get any weight, and how much does each of them get?",
            "Entropy is −Σ p ln p. A weight of 0 adds nothing to it.",
            "Four times −¼ · ln ¼.",
        ),
        answer=math.log(4), another=(1.386, -4 * 0.25 * math.log(0.25)), tolerance=0.0051,
        wrong=(
            (2, "2 is in bits: the natural logarithm gives nats"),
            (4, "4 is how many tokens share the weight: entropy is its logarithm"),
            (math.log(8), "that is ln 8: four of the eight tokens have weight 0 and add nothing"),
            (-math.log(4), "the sum of p ln p is negative: entropy is minus that sum"),
            (0.25, "1/4 is the weight of each"),
            (math.log(4) / 4, "that is one token's share: there are four"),
        ),
        right="ln 4: as undecided as a fair choice among four",
    ),
    Exercise(
        id="01-softmax", title="build softmax", minutes=12, difficulty=2,
        task="""
Build one: `softmax(scores)` returns $p_i = e^{s_i} / \\sum_j e^{s_j}$ over the *last* axis, for an array of any number of
axes. It must not overflow at scores of 1000, and a score of −∞ must get weight 0. The notebook goes on with yours if it
passes, with ours if not.""",
        stub="""
def softmax(scores):
    # scores (..., T) -> weights (..., T), each row sums to 1
    return ...
""",
        name="softmax",
        hints=(
            "Subtracting the same number from all scores of a row changes no weight. Which number keeps exp small?",
            "Each row needs its own largest score and its own sum. What shape lets them go with (…, T)? `keepdims` keeps it.",
            "`scores.max(axis=-1, keepdims=True)` has one number a row. Subtract it, take `np.exp`, divide by each row's sum.",
        ),
        answer=softmax, another=(_another_softmax, _softmax_by_rows),
        inputs=_scores,
        special=(
            ("scores of 1000", np.array([1000.0, 1001.0, -1000.0])),
            ("a row of −1000 beside a row of 1", np.array([[-1000.0, -1001.0], [0.0, 1.0]])),
            ("a score of −∞", np.array([0.0, -np.inf])),
        ),
        partial=((_naive, "ordinary scores come out right; at 1000 exp overflows: subtract the row's largest score first"),),
        wrong=(
            (_over_axis_0, _rows_that_do_not_sum_to_1),
            (_over_all, "all of your weights together sum to 1: each row should, so use axis=-1 and keepdims=True"),
            (_powers, "these are the powers: divide each row by its sum"),
            (np.exp, "these are the powers: divide each row by its sum, and subtract its largest score before exp"),
            (lambda s: s / s.sum(-1, keepdims=True), "the scores themselves were divided by their sum: take e to the power of each first"),
            (lambda s: np.eye(s.shape[-1])[s.argmax(-1)], "all weight is on the largest score: that is the hard look-up again"),
            (_shifted_by_all, "a row of −1000 beside a row of 1 goes wrong: each row needs a shift of its own, by its own largest score"),
            (_shifted_by_the_mean, "it overflows: subtract the row's largest score, not its mean (which may even be −∞)"),
        ),
        right="it also survives scores of 1000, and −∞",
        ours="bigmodel_lib.by_hand.model:softmax",
    ),
    Exercise(
        id="01-variance", title="another kind of vector", minutes=5, difficulty=2,
        task="""
The components of q and k are drawn evenly between −1 and 1 (variance 1/3, mean 0), independently; each vector has 12 of
them. On paper: what is the variance of q · k, to two digits after the point?""",
        stub="variance = ...  # a number", name="variance",
        hints=(
            "What is the variance of one product q₁k₁, when both factors have mean 0?",
            "Variances of independent numbers multiply in a product (with means of 0) and add in a sum.",
            "Twelve products, each of variance 1/3 · 1/3.",
        ),
        answer=4 / 3, another=(1.333, 12 / 9), tolerance=0.0051,
        wrong=(
            (4, "4 is 12 · 1/3: a product of two has the variance 1/3 · 1/3"),
            (12, "12 would need components of variance 1: between −1 and 1 it is 1/3"),
            (1 / 9, "1/9 is one product's: there are twelve of them in the sum"),
            (math.sqrt(4 / 3), "that is the standard deviation: the variance is its square"),
            (1 / 3, "1/3 is the variance of one component"),
        ),
        right="12 · (1/3)²: what you divide the scores by is its root",
    ),
    Exercise(
        id="01-hide", title="hide the future", minutes=8, difficulty=2,
        task="""
Write `hide(scores)`: scores of shape (T, T) in, causal attention weights of shape (T, T) out. Row t may have weight in
columns 0 … t only, and each row sums to 1.""",
        stub="""
def hide(scores):
    # scores (T, T) -> weights (T, T), zero above the diagonal, rows sum to 1
    return ...
""",
        name="hide",
        hints=(
            "What score makes softmax give exactly 0?",
            "The future of row t is above the diagonal. Which NumPy function gives you that triangle, without the diagonal?",
            "`np.triu(np.full((T, T), -np.inf), k=1)` can be added to the scores; softmax comes after that.",
        ),
        answer=_hidden, another=(_another_hide, _hide_with_minus_infinity),
        inputs=_square_scores,
        special=(("a future token with a score of 2000", np.array([[0.0, 2000.0], [0.0, 0.0]])),),
        wrong=(
            (lambda s: np.tril(softmax(s)), lambda inputs, given, wanted: f"the future is zeroed after softmax: your first row sums to {given[0].sum():.2g}, and that number knows the future"),
            (softmax, "nothing is hidden: the first token still looks at the last"),
            (lambda s: softmax(np.tril(s)), "a score of 0 is not “nothing”: e⁰ is 1; the future's scores must be −∞"),
            (_past_hidden, "the past is hidden and the future is seen: turn the triangle over"),
            (_own_hidden_too, "a token may look at itself: the first row sees nothing now, and becomes nan (k=1 spares the diagonal)"),
            (_infinity_multiplied, "there is nan in your weights: −∞ was multiplied, and 0 · ∞ is nan; add it"),
            (_renormalised, "a future token with a score of 2000 still disturbs the past: hide it before softmax, with a score of −∞"),
            (lambda s: np.where(np.tri(len(s)) == 1, s, -np.inf), "these are scores: softmax comes after the mask"),
            (_minus_ten, "the future still has a little weight, e⁻¹⁰ of its own: its score must be −∞"),
            (_columns, "your columns sum to 1, not your rows: softmax runs over axis 0"),
        ),
        right="the future has weight 0, and each row still sums to 1",
    ),
    Exercise(
        id="01-parameters", title="count the heads", minutes=4, difficulty=2,
        task="""
A multi-head attention has D = 64 and H = 8 heads, with the four matrices of this notebook and no biases. On paper: how many
parameters are that?""",
        stub="parameters = ...  # a number", name="parameters",
        hints=(
            "Do more heads need larger matrices?",
            "Name the four matrices and write down the shape of each.",
            "Four matrices of shape (64, 64).",
        ),
        answer=4 * 64 * 64, another=(16384, 16384.0), tolerance=0.5,
        wrong=(
            (4 * 64 * 64 * 8, "eight times too many: the heads share the matrices, each has 8 of the 64 columns"),
            (3 * 64 * 64, "that leaves W_o out, the matrix after the heads"),
            (64 * 64, "that is one matrix: there are W_q, W_k, W_v and W_o"),
            (4 * 64 * 8, "that is what one head has: there are eight"),
            (4 * 64 * 64 + 4 * 64, "that counts biases: this notebook's projections have none"),
        ),
        right="four matrices of 64 · 64, however many heads they are cut into",
    ),
    Exercise(
        id="01-stays", title="who notices?", minutes=6, difficulty=3,
        task="""
Five tokens, causal attention, no positions. The last two tokens (3 and 4) change places. On paper: which rows of the
output are *surely* as before? (Without a mask the same rows stay, and rows 3 and 4 just change places. Here they do not: token
4 used to see token 3, and no longer does. So masked attention is not equivariant.)""",
        stub="stays = ...  # a list of row numbers, counted from 0", name="stays",
        hints=(
            "On which rows of the input does row t of the output depend?",
            "Row t sees rows 0 … t. Ask for each t: has anything changed there?",
            "Row 3 sees the token that has moved. Which rows see neither place 3 nor place 4?",
        ),
        check=_check_stays, answer=[0, 1, 2], another=(range(3), {2, 1, 0}),
        wrong=(([0, 1, 2, 3, 4], "order never matters"), ([], "some do stay"), ([1, 2, 3], "counted from 0"),
               ([0, 1, 2, 3], "holds another token"), ([0, 1], "some are missing"), ([3, 4], "those are the rows that change"),
               (3, "a list of row numbers")),
    ),
    Exercise(
        id="01-rope", title="turning by hand", minutes=5, difficulty=2,
        task="""
A head of two numbers turns its vectors by 30 degrees a position, from the first axis towards the second. Before turning, q is
(1, 0) and k is (0, 1). On paper: what is the dot product of the
*turned* two (not divided by a root) when q stands at position 7 and k at position 6?""",
        stub="score = ...  # a number", name="score",
        hints=(
            "How far from the first axis do the two point after turning? q by 7 · 30°. And k?",
            "k began 90° ahead. The dot product of two vectors of length 1 is the cosine of the angle between them.",
            "q points at 7 · 30°, k at 90° + 6 · 30°. Take the cosine of the difference.",
        ),
        answer=0.5, another=(math.cos(math.pi / 3), 0.4999), tolerance=0.0051,
        wrong=(
            (-0.5, "the sign is turned round: q is turned one step *further* than k, so k is 90° − 30° ahead, not 90° + 30°"),
            (0, "0 is the score without positions: 90° apart"),
            (math.cos(math.radians(30)), "the two started 90° apart: 90° − 30° is left"),
            (-math.cos(math.radians(30)), "only the offset counts, and the two started 90° apart"),
            (math.cos(1), "that is cos of 1 radian: the angles are in degrees"),
            (60, "60° is the angle between the two: the score is its cosine"),
            (1, "1 would need both to point the same way"),
        ),
        right="cos 60°: positions 107 and 106 would score the same, 6 and 7 would not",
    ),
]  # fmt: skip
