"""The exercises of 04_backprop_numpy."""

import numpy as np

from bigmodel_lib.by_hand.backprop import softmax_backward
from bigmodel_lib.by_hand.model import softmax
from bigmodel_lib.exercises.engine import Exercise, Wrong, choose_letter, close, diagnose, number


def _check_chain(attempt):
    diagnose(number(attempt), 24, {
        12.0: "the square's slope is 2 h, not h",
        6.0: "that is 2 h · w₂ without the slope of h = w₁ x, which is x",
        8.0: "that is 2 h x without w₂, the slope of what comes after",
        48.0: "one factor 2 too many: the slope of h² is 2 h",
        36.0: "that is the slope with respect to x: w₁ where x should stand",
        18.0: "that looks like w₂ h²: the value, not its slope",
        3.0: "3 is w₂, the last link alone: multiply by the slopes of the links before it",
    }, tolerance=0.01)  # fmt: skip
    return "3 · 2 · 2 · 2: the slopes along the road from w₁ to the loss, multiplied"


def _check_transpose(attempt):
    if not isinstance(attempt, str):
        raise Wrong(f"one of the five expressions was wanted, as text; {attempt!r} was given")
    said = attempt.replace(" ", "")
    shapes = {
        "x@dy": "(6, 3) times (6, 2) does not fit",
        "dy.T@x": "that has the shape (2, 3): the right numbers, lying on their side",
        "x.T*dy": "* multiplies number by number: (3, 6) and (6, 2) do not fit",
        "x@dy.T": "(6, 3) times (2, 6) does not fit",
    }
    if said in shapes:
        raise Wrong(shapes[said])
    if said != "x.T@dy":
        raise Wrong(f"{attempt!r} is none of the five")
    return "(3, 6) times (6, 2) gives (3, 2), W's shape, and the product sums over the six rows"


def _check_embedding(attempt):
    try:
        given = np.asarray(attempt, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"a list of two numbers was wanted, {attempt!r} was given") from None
    if given.shape != (2,):
        raise Wrong(f"two numbers were wanted, the gradient of row 5; the shape {given.shape} was given")
    for wrong, words in (
        ((1, 2), "that is the first place alone: token 5 stands at the third place too"),
        ((10, 20), "that is the last place alone: later places do not overwrite earlier ones, they add up"),
        ((5.5, 11), "the sum, not the mean: the loss feels each place"),
        ((100, 200), "that is the gradient of row 2"),
        ((111, 222), "that is the sum over all places: only those where token 5 stands count"),
    ):
        if close(given, wrong):
            raise Wrong(words)
    if not close(given, (11, 22)):
        raise Wrong(f"({given[0]:g}, {given[1]:g}) is not the sum of the rows of dy at the places of token 5")
    return "(1, 2) + (10, 20): a table's row gets all that its places send back"


def _check_softmax_backward(attempt):
    rng = np.random.default_rng(0)
    for shape in ((4,), (3, 5), (2, 2, 3, 4)):
        p, dp = softmax(rng.normal(size=shape)), rng.normal(size=shape)
        try:
            got, wanted = attempt(dp.copy(), p.copy()), softmax_backward(dp, p)
        except ValueError as error:
            raise Wrong(f"shapes do not fit ({error}): does a sum lack keepdims=True?") from None
        if np.shape(got) != shape:
            raise Wrong(f"dp and p have the shape {shape} and so must the result, yours gives {np.shape(got)}")
        if close(got, wanted, 1e-9):
            continue
        for wrong, words in (
            (p * dp, "that is p · dp: it forgets that raising one score lowers all other weights"),
            (p * (dp - dp.sum(axis=-1, keepdims=True)), "the mean that is taken away must be weighted: Σ_j p_j dp_j"),
            (p * (dp - dp.mean(axis=-1, keepdims=True)), "the mean that is taken away is weighted by p: Σ_j p_j dp_j, not Σ_j dp_j / T"),
            (dp - (p * dp).sum(axis=-1, keepdims=True), "the factor p_i in front is missing"),
            (p * (dp - (p * dp).sum()), "the sum runs over the last axis only, each row for itself: axis=-1, keepdims=True"),
            (p * dp - (p * dp).sum(axis=-1, keepdims=True), "the row's sum must be multiplied by p_j too"),
            (p * (1 - p) * dp, "that is the diagonal of the Jacobian only"),
            (-wanted, "the sign is turned round"),
            (p * ((p * dp).sum(axis=-1, keepdims=True) - dp), "the sign is turned round"),
        ):  # fmt: skip
            if close(got, wrong, 1e-9):
                raise Wrong(words)
        raise Wrong(f"for p = {p.ravel()[:2].round(2)} … the values differ by up to {np.abs(got - wanted).max():.3g}")
    return "each score is paid for how much better its word is than the average, in proportion to its weight"


def _check_slips(attempt):
    rng = np.random.default_rng(1)
    p, dp = softmax(rng.normal(size=(3, 5))), rng.normal(size=(3, 5))
    ones, random = attempt(np.ones((3, 5)), p.copy()), attempt(dp.copy(), p.copy())
    if np.shape(random) != (3, 5):
        raise Wrong(f"it must give back the shape of p, (3, 5); yours gives {np.shape(random)}")
    if not close(ones, np.zeros((3, 5)), 1e-9):
        raise Wrong(
            "with the upstream gradient 1 everywhere the true answer is 0 everywhere, and yours is not: it is caught"
        )
    if close(random, softmax_backward(dp, p), 1e-9):
        raise Wrong("yours is right for a random upstream gradient too: a *wrong* one was wanted")
    if close(random, np.zeros((3, 5)), 1e-12):
        raise Wrong("all zeros pass, but teach nothing: find one that answers to dp")
    return "the uniform gradient sees nothing of it, and the random one does"


def _check_adamw(attempt):
    diagnose(number(attempt), 2.08, {
        2.1: "the weight decay is missing: 0.1 · 0.1 · 2 = 0.02",
        2.12: "the decay pulls towards zero: minus 0.02",
        1.88: "the step goes against the gradient: -5 pushes the weight up",
        2.5: "that is the plain step -rate · gradient: AdamW divides by the gradient's own size",
        2.48: "that is the plain step -rate · gradient: AdamW divides by the gradient's own size",
        1.98: "that is the decay alone: the step of 0.1 is missing",
        2.0: "something moves: the step of size 0.1 and the decay",
        1.9: "the step goes against the gradient: -5 pushes the weight up; and the decay is missing",
    }, tolerance=0.001)  # fmt: skip
    return "2 - 0.1 · 0.1 · 2 + 0.1: in step 1 the gradient's size cancels, only its sign counts"


def _check_blind(attempt):
    choose_letter(attempt, "b", {
        "a": "central differences compare the backward with *your own* forward: here these two agree",
        "c": "a random upstream gradient makes the comparison sharper, but it still compares with your own forward",
        "d": "smaller steps make the same comparison more exact; it still asks your own forward",
    })  # fmt: skip
    return "only someone else's forward can say that yours computes the wrong thing"


def _softmax_backward_by_jacobian(dp, p):
    jacobian = p[..., :, None] * np.eye(p.shape[-1]) - p[..., :, None] * p[..., None, :]
    return (jacobian @ dp[..., None])[..., 0]


EXERCISES = [
    Exercise(
        "04-chain", "three links", 4, 1,
        "On paper: $h = w_1 x$, $a = h^2$, $\\text{loss} = w_2 a$, with $x = 2$, $w_1 = 1$, $w_2 = 3$. "
        "How large is the slope ∂loss/∂w₁?",
        "slope = ...  # a number", "slope",
        ("Write the slope of each link: loss by a, a by h, h by w₁.", "w₂ · 2h · x, and h = 2."),
        check=_check_chain, answer=24, another=(24.0,),
        wrong=((12, "2 h, not h"), (8, "without w₂"), (36, "with respect to x"), (3, "the last link alone"), (100, "too large")),
    ),
    Exercise(
        "04-transpose", "which product?", 2, 1,
        "x has the shape (6, 3), W (3, 2), and y = x W, so dy has (6, 2). Which expression is dW? One of\n\n"
        '`"x @ dy"` · `"dy.T @ x"` · `"x.T @ dy"` · `"x.T * dy"` · `"x @ dy.T"`',
        "product = ...  # one of the five, as text", "product",
        ("dW has W's shape.", "Which of them is (3, 2), and sums over the rows?"),
        check=_check_transpose, answer="x.T @ dy", another=("x.T@dy",),
        wrong=(("x @ dy", "(6, 3) times (6, 2)"), ("dy.T @ x", "lying on their side"), ("x.T * dy", "number by number"),
         ("x @ dy.T", "(6, 3) times (2, 6)"), ("W", "none of the five")),
    ),
    Exercise(
        "04-embedding", "a token that stands twice", 3, 1,
        "tokens = (5, 2, 5), and dy has the rows (1, 2), (100, 200), (10, 20). What is the gradient of the table's row 5?",
        "row_5 = ...  # a list of two numbers", "row_5",
        ("Which places read row 5?", "If row 5 changes, both places change, and the loss feels both."),
        check=_check_embedding, answer=[11, 22], another=((11.0, 22.0),),
        wrong=(([1, 2], "first place alone"), ([10, 20], "last place alone"), ([5.5, 11], "the sum, not the mean"),
         ([111, 222], "over all places"), (11, "two numbers were wanted"), ([0, 0], "is not the sum")),
    ),
    Exercise(
        "04-softmax", "softmax, backwards", 8, 3,
        "$p = \\text{softmax}(s)$, and the gradient dp with respect to p is given. With the Jacobian from 01, "
        "$\\partial p_i/\\partial s_j = p_i(\\delta_{ij} - p_j)$, find ds.\n\n"
        "`dp` and `p` have the shape (..., T), softmax ran over the last axis. Give back (..., T), without building the T × T matrix.",
        "def softmax_backward(dp, p):\n    return ...", "softmax_backward",
        ("ds_j = Σ_i dp_i p_i (δ_ij − p_j). Take the sum apart.",
         "One part is p_j dp_j, the other p_j times a number that is the same for all j of a row."),
        check=_check_softmax_backward, answer=softmax_backward, another=(_softmax_backward_by_jacobian,),
        wrong=((lambda dp, p: p * dp, "lowers all other weights"),
         (lambda dp, p: p * (dp - dp.mean(axis=-1, keepdims=True)), "not Σ_j dp_j / T"),
         (lambda dp, p: dp - (p * dp).sum(axis=-1, keepdims=True), "factor p_i in front"),
         (lambda dp, p: p * (1 - p) * dp, "diagonal of the Jacobian"),
         (lambda dp, p: -softmax_backward(dp, p), "sign is turned round"),
         (lambda dp, p: (p * dp).sum(axis=-1), "so must the result"),
         (lambda dp, p: p * (dp - (p * dp).sum()) if p.ndim > 1 else softmax_backward(dp, p), "each row for itself")),
        ours="bigmodel_lib.by_hand.backprop:softmax_backward",
    ),
    Exercise(
        "04-slips", "a wrong backward that looks right", 6, 3,
        "Softmax's weights sum to 1 whatever the scores are. So with an upstream gradient of 1 everywhere the true ds is 0. "
        "Write a *wrong* `softmax_backward` that gives 0 there too, and that answers to other upstream gradients, but not with the truth.",
        "def slips_through(dp, p):\n    return ...", "slips_through",
        ("What becomes 0 when all dp are equal?", "A difference of two dp's, or dp minus some mean of dp."),
        check=_check_slips, answer=lambda dp, p: p * (dp - dp.mean(axis=-1, keepdims=True)), another=(lambda dp, p: dp - dp[..., ::-1],),
        wrong=((softmax_backward, "a *wrong* one was wanted"), (lambda dp, p: p * dp, "it is caught"),
         (lambda dp, p: 0.0, "the shape of p"), (lambda dp, p: p[..., 0] * 0, "yours gives (3,)"), (lambda dp, p: 0 * p, "teach nothing"),
         (lambda dp, p: [[1, 2]], "yours gives (1, 2)")),
    ),
    Exercise(
        "04-adamw", "the first step", 4, 2,
        "A weight of 2 has the gradient −5. AdamW takes its first step with rate 0.1, weight decay 0.1, and eps near 0. "
        "Where is the weight afterwards?",
        "weight = ...  # a number", "weight",
        ("In step 1, m / (1 − β₁) is the gradient itself, and s / (1 − β₂) its square.",
         "So the step is rate · sign, against the gradient. Then the decay: rate · decay · weight."),
        check=_check_adamw, answer=2.08, another=(2 * (1 - 0.01) + 0.1,),
        wrong=((2.1, "weight decay is missing"), (1.88, "against the gradient"), (2.5, "by the gradient's own size"),
         (1.98, "decay alone"), (2.3, "too large")),
    ),
    Exercise(
        "04-blind", "what central differences cannot see", 3, 2,
        "A layer's forward sets masked weights to 0 *after* softmax, and its backward is the exact gradient of that. "
        "What shows that the layer is wrong?\n\n"
        "**a** central differences · **b** another implementation of attention, or changing a future token · **c** a random upstream "
        "gradient · **d** central differences with a smaller step",
        "shows_it = ...  # a letter, as text", "shows_it",
        ("What do central differences compare with what?", "Both sides of that comparison share the same forward."),
        check=_check_blind, answer="b", another=("B",),
        wrong=(("a", "these two agree"), ("c", "makes the comparison sharper"), ("d", "the same comparison more exact"),
         ("e", "from a to d")),
    ),
]  # fmt: skip
