"""The exercises of 01_attention_formula."""

import math

import numpy as np

from bigmodel_lib.by_hand.model import softmax
from bigmodel_lib.exercises.engine import Exercise, Wrong, close, diagnose, number


def _array(value, shape):
    if np.shape(value) != shape:
        raise Wrong(f"an array of shape {shape} was wanted, yours has shape {np.shape(value)}")
    return np.asarray(value, dtype=float)


def _check_lookup(attempt):
    diagnose(number(attempt), 7.0, {
        6.0: "6 is the plain average: the weights are e^(ln 3) : e^0, not equal",
        8.0: "8 is the value of the best key alone: a soft look-up takes some of the other too",
        28.0: "28 is 3 · 8 + 1 · 4: divide by the sum of the powers, 3 + 1, so that the weights sum to 1",
        5.0: "5 mixes the weights up: the key with the higher score has the value 8",
        8 * math.log(3): "that weighs with the scores themselves: take e to the power of each first",
    }, tolerance=0.0051)  # fmt: skip
    return "weights 3/4 and 1/4, so 3/4 · 8 + 1/4 · 4"


def _check_entropy(attempt):
    diagnose(number(attempt), math.log(4), {
        2.0: "2 is in bits: the natural logarithm gives nats",
        4.0: "4 is how many tokens share the weight: entropy is its logarithm",
        math.log(8): "that is ln 8: four of the eight tokens have weight 0 and add nothing",
        -math.log(4): "the sum of p ln p is negative: entropy is minus that sum",
        0.25: "1/4 is the weight of each",
        math.log(4) / 4: "that is one token's share: there are four",
    }, tolerance=0.0051)  # fmt: skip
    return "ln 4: as undecided as a fair choice among four"


def _check_softmax(attempt):
    scores = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]])
    given = _array(attempt(scores), scores.shape)
    wanted = softmax(scores)
    if close(given, softmax(scores.T).T, 1e-9):
        raise Wrong(
            f"softmax runs over axis 0: the rows of yours sum to {given[0].sum():.3g} and {given[1].sum():.3g}, not 1"
        )
    if close(given, np.exp(scores), 1e-9) or close(given, np.exp(scores - scores.max(-1, keepdims=True)), 1e-9):
        raise Wrong(f"these are the powers: divide each row by its sum, {given[0].sum():.3g} in the first")
    if close(given.sum(), 1.0, 1e-9):
        raise Wrong("all of your weights together sum to 1: each row should, use axis=-1 and keepdims=True in the sum")
    if close(given, scores / scores.sum(-1, keepdims=True), 1e-9):
        raise Wrong("the scores themselves were divided by their sum: take e to the power of each first")
    if close(given, np.eye(3)[scores.argmax(-1)], 1e-9):
        raise Wrong("all weight lies on the largest score: that is the hard look-up again")
    if not close(given, wanted, 1e-9):
        raise Wrong(
            f"for scores 1, 2, 3 the weights {np.round(wanted[0], 3).tolist()} were wanted, yours are {np.round(given[0], 3).tolist()}"
        )
    with np.errstate(all="ignore"):
        large = _array(attempt(np.array([1000.0, 1001.0, -1000.0])), (3,))
    if not np.isfinite(large).all():
        raise Wrong("scores of 1000 give nan: exp(1000) overflows; subtract the row's largest score first")
    low = _array(attempt(np.array([[-1000.0, -1001.0], [0.0, 1.0]])), (2, 2))
    if not close(low, softmax(np.array([[-1000.0, -1001.0], [0.0, 1.0]])), 1e-9):
        raise Wrong(
            "a row of -1000 beside a row of 1 goes wrong: each row needs a shift of its own, by its own largest score"
        )
    cube = np.arange(24.0).reshape(2, 3, 4)
    if not close(attempt(cube), softmax(cube), 1e-9):
        raise Wrong("with a third axis (heads) it goes wrong: use axis=-1, the last, whatever comes before")
    if not close(_array(attempt(np.array([0.0, -np.inf])), (2,)), [1.0, 0.0]):
        raise Wrong(
            "a score of -∞ must get weight 0, and the others the rest: subtract the largest score, which is never -∞ (a mean would be)"
        )
    return "it also survives scores of 1000, and -∞"


def _another_softmax(scores):
    shifted = scores - np.amax(scores, -1)[..., None]
    return np.exp(shifted - np.log(np.exp(shifted).sum(-1))[..., None])


def _over_axis_0(scores):
    return softmax(scores.T).T


def _naive(scores):
    return np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)


def _over_all(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def _shifted_by_all(scores):
    powers = np.exp(scores - scores.max())
    return powers / np.maximum(powers.sum(-1, keepdims=True), 1e-300)


def _check_variance(attempt):
    diagnose(number(attempt), 4 / 3, {
        4.0: "4 is 12 · 1/3: a product of two has the variance 1/3 · 1/3",
        12.0: "12 would need components of variance 1: between -1 and 1 it is 1/3",
        1 / 9: "1/9 is one product's: there are twelve of them in the sum",
        math.sqrt(4 / 3): "that is the standard deviation: the variance is its square",
        1 / 3: "1/3 is the variance of one component",
    }, tolerance=0.0051)  # fmt: skip
    return "12 · (1/3)²: what you divide the scores by is its root"


_W = np.random.default_rng(1).normal(size=(5, 5))


def _hidden(scores):
    """Softmax over the scores of the past, by loops."""
    weights = np.zeros_like(scores)
    for t, row in enumerate(scores):
        weights[t, : t + 1] = softmax(row[: t + 1])
    return weights


def _check_hide(attempt):
    given, wanted = _array(attempt(_W.copy()), (5, 5)), _hidden(_W)
    if close(given, wanted, 1e-9):
        with np.errstate(all="ignore"):
            far = _array(attempt(np.array([[0.0, 2000.0], [0.0, 0.0]])), (2, 2))
        if not close(far, [[1.0, 0.0], [0.5, 0.5]]):
            raise Wrong(
                "a future token with a score of 2000 still disturbs the past: hide it before softmax, with a score of -∞"
            )
        return "the future has weight 0, and each row still sums to 1"
    if close(given, np.tril(softmax(_W)), 1e-9):
        raise Wrong(
            f"the future is zeroed after softmax: your first row sums to {given[0].sum():.2f}, and that number knows the future"
        )
    if close(given, softmax(_W), 1e-9):
        raise Wrong("nothing is hidden: the first token still looks at the last")
    if np.isnan(given).any():
        raise Wrong(
            "there is nan in your weights: either a row sees nothing, not even itself (mask with k=1), or −∞ was multiplied (add it)"
        )
    if not np.isfinite(given).all() or (given < 0).any():
        raise Wrong("these are scores: softmax comes after the mask")
    if close(given, softmax(np.tril(_W)), 1e-9):
        raise Wrong("a score of 0 is not “nothing”: e⁰ is 1; the future's scores must be -∞")
    if np.allclose(np.tril(given, -1), 0) and np.abs(np.triu(given, 1)).max() > 0:
        raise Wrong("the past is hidden and the future is seen: turn the triangle over")
    if not np.allclose(given.sum(axis=1), 1) and np.allclose(given.sum(axis=0), 1):
        raise Wrong("your columns sum to 1, not your rows: softmax runs over axis 0")
    if np.triu(given, 1).max() > 1e-12:
        t, j = np.argwhere(np.triu(given, 1) > 1e-12)[0]
        raise Wrong(f"row {t} has weight {given[t, j]:.2g} in column {j}, the future: its score must be -∞")
    t = int(np.argmax(np.abs(given - wanted).max(axis=1) > 1e-9))
    raise Wrong(
        f"row {t} should be softmax of scores 0 … {t}, {np.round(wanted[t], 3).tolist()}; yours is {np.round(given[t], 3).tolist()}"
    )


def _renormalised(scores):
    weights = np.tril(softmax(scores))
    return weights / weights.sum(axis=-1, keepdims=True)


def _another_hide(scores):
    return softmax(np.where(np.tri(len(scores), dtype=bool), scores, -1e300))


def _check_parameters(attempt):
    diagnose(number(attempt), 4 * 64 * 64, {
        4 * 64 * 64 * 8: "eight times too many: the heads share the matrices, each has 8 of the 64 columns",
        3 * 64 * 64: "that leaves W_o out, the matrix after the heads",
        64 * 64: "that is one matrix: there are W_q, W_k, W_v and W_o",
        4 * 64 * 8: "that is what one head has: there are eight",
        4 * 64 * 64 + 4 * 64: "that counts biases: this notebook's projections have none",
    }, tolerance=0.5)  # fmt: skip
    return "four matrices of 64 · 64, however many heads they are cut into"


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
    raise Wrong(
        f"{sorted({0, 1, 2} - rows)} missing: row t sees only rows 0 … t, so what changes later cannot reach it"
    )


def _check_rope(attempt):
    diagnose(number(attempt), 0.5, {
        -0.5: "the sign is turned round: q is turned one step *further* than k, so k lies 90° − 30° ahead, not 90° + 30°",
        0.0: "0 is the score without positions: 90° apart",
        math.cos(math.radians(30)): "the two started 90° apart: 90° − 30° is left",
        -math.cos(math.radians(30)): "only the offset counts, and the two started 90° apart",
        math.cos(1): "that is cos of 1 radian: the angles are in degrees",
        60.0: "60° is the angle between the two: the score is its cosine",
        1.0: "1 would need both to point the same way",
    }, tolerance=0.0051)  # fmt: skip
    return "cos 60°: positions 107 and 106 would score the same, 6 and 7 would not"


EXERCISES = [
    Exercise(
        id="01-lookup", title="a soft look-up by hand", minutes=4, difficulty=1,
        task="""
Two keys have the scores ln 3 and 0, and hold the values 8 and 4. On paper: what does the soft look-up return, if the
weights are in proportion to $e^{score}$?""",
        stub="looked_up = ...  # a number", name="looked_up",
        hints=("e to the power of ln 3 is 3.", "The powers are 3 and 1. Divide each by their sum to get the weights."),
        check=_check_lookup, answer=7, another=(3 * 8 + 4) / 4,
        wrong=((6, "plain average"), (8, "best key alone"), (28, "divide by the sum"), (5, "mixes the weights up"),
               (8 * math.log(3), "the scores themselves"), ("x", "a number was wanted")),
    ),
    Exercise(
        id="01-entropy", title="how undecided?", minutes=3, difficulty=1,
        task="""
A token spreads its weight evenly over 4 of the 8 tokens of a sentence and ignores the other 4. On paper: what is the
entropy of its weights, in nats, to two digits after the point?""",
        stub="undecided = ...  # a number", name="undecided",
        hints=("A weight of 0 adds nothing to the sum.", "Four times −¼ · ln ¼."),
        check=_check_entropy, answer=1.386, another=-4 * 0.25 * math.log(0.25),
        wrong=((2, "in bits"), (4, "its logarithm"), (2.079, "ln 8"), (-1.386, "minus that sum"), (0.25, "weight of each")),
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
            "`scores.max(axis=-1, keepdims=True)` has one number a row, in a shape that can be subtracted.",
        ),
        check=_check_softmax, answer=softmax, another=_another_softmax,
        wrong=(
            (_over_axis_0, "runs over axis 0"), (_naive, "exp(1000) overflows"), (_over_all, "all of your weights together"),
            (np.exp, "these are the powers"), (lambda s: s / s.sum(-1, keepdims=True), "themselves were divided"),
            (lambda s: np.eye(s.shape[-1])[s.argmax(-1)], "hard look-up"), (_shifted_by_all, "a shift of its own"),
            (lambda s: softmax(s)[0], "an array of shape"), (lambda s: softmax(2 * s), "were wanted"),
        ),
        ours="bigmodel_lib.by_hand.model:softmax",
    ),
    Exercise(
        id="01-variance", title="another kind of vector", minutes=5, difficulty=2,
        task="""
The components of q and k are drawn evenly between −1 and 1 (variance 1/3, mean 0), independently; each vector has 12 of
them. On paper: what is the variance of q · k, to two digits after the point?""",
        stub="variance = ...  # a number", name="variance",
        hints=("What is the variance of one product q₁k₁, when both factors have mean 0?", "Twelve products, each of variance 1/3 · 1/3."),
        check=_check_variance, answer=1.333, another=12 / 9,
        wrong=((4, "1/3 · 1/3"), (12, "components of variance 1"), (1 / 9, "there are twelve"), (1.1547, "standard deviation"),
               (1 / 3, "one component"), (100, "too large")),
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
        hints=("What score makes softmax give exactly 0?", "`np.triu(np.full((T, T), -np.inf), k=1)` can be added to the scores."),
        check=_check_hide, answer=_hidden, another=_another_hide,
        wrong=(
            (lambda s: np.tril(softmax(s)), "zeroed after softmax"), (softmax, "nothing is hidden"),
            (lambda s: softmax(np.tril(s)), "e⁰ is 1"),
            (lambda s: softmax(s + np.tril(np.full(s.shape, -np.inf), -1)), "turn the triangle over"),
            (lambda s: softmax(s * np.triu(np.full(s.shape, -np.inf), 1)), "−∞ was multiplied"),
            (lambda s: _renormalised(s), "score of 2000"), (lambda s: np.tril(s) - 9, "softmax comes after"),
            (lambda s: softmax(s + np.triu(np.full(s.shape, -10.0), 1)), "the future: its score"),
            (lambda s: _hidden(2 * s), "should be softmax of scores"), (lambda s: s[0], "an array of shape"),
        ),
    ),
    Exercise(
        id="01-parameters", title="count the heads", minutes=4, difficulty=2,
        task="""
A multi-head attention has D = 64 and H = 8 heads, with the four matrices of this notebook and no biases. On paper: how many
parameters are that?""",
        stub="parameters = ...  # a number", name="parameters",
        hints=("Do more heads need larger matrices?", "Four matrices of shape (64, 64)."),
        check=_check_parameters, answer=16384, another=4 * 64**2,
        wrong=((131072, "eight times too many"), (12288, "leaves W_o out"), (4096, "one matrix"), (2048, "what one head has"),
               (16640, "counts biases")),
    ),
    Exercise(
        id="01-stays", title="who notices?", minutes=6, difficulty=3,
        task="""
Five tokens, causal attention, no positions. The last two tokens (3 and 4) change places. On paper: which rows of the
output are *surely* as before? (Without a mask the same rows stay, and rows 3 and 4 just change places. Here they do not: token
4 used to see token 3, and no longer does. So masked attention is not equivariant.)""",
        stub="stays = ...  # a list of row numbers, counted from 0", name="stays",
        hints=("Which rows of the input does row t of the output hang on?", "Row t sees rows 0 … t. For which t is everything there as before?"),
        check=_check_stays, answer=[0, 1, 2], another=range(3),
        wrong=(([0, 1, 2, 3, 4], "order never matters"), ([], "some do stay"), ([1, 2, 3], "counted from 0"),
               ([0, 1, 2, 3], "holds another token"), ([0, 1], "missing"), ([3, 4], "those are the rows that change"), (3, "a list of row numbers")),
    ),
    Exercise(
        id="01-rope", title="turning by hand", minutes=5, difficulty=2,
        task="""
A head of two numbers turns its vectors by 30 degrees a position, from the first axis towards the second. Before turning, q is
(1, 0) and k is (0, 1). On paper: what is the dot product of the
*turned* two (not divided by a root) when q stands at position 7 and k at position 6?""",
        stub="score = ...  # a number", name="score",
        hints=("How far from the first axis do the two point after turning? q by 7 · 30°, k by 90° + 6 · 30°.", "The dot product of two vectors of length 1 is the cosine of the angle between them."),
        check=_check_rope, answer=0.5, another=math.cos(math.pi / 3),
        wrong=((-0.5, "sign is turned"), (0, "without positions"), (0.866, "started 90° apart"), (0.54, "1 radian"), (60, "its cosine"),
               (1, "the same way"), ("half", "a number was wanted")),
    ),
]  # fmt: skip
