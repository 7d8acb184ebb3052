"""The exercises of 04b_transformer_backward."""

import numpy as np

from bigmodel_lib.by_hand import backprop
from bigmodel_lib.by_hand.model import causal_mask, softmax
from bigmodel_lib.exercises.engine import Exercise

# 04-softmax


def _weights(rng):
    shape = ((4,), (3, 5), (2, 2, 3, 4), (2, 1))[rng.integers(4)]
    return rng.normal(size=shape), softmax(rng.normal(size=shape) * rng.choice([0.5, 1.0, 4.0]))


def _softmax_by_jacobian(dp, p):
    jacobian = p[..., :, None] * np.eye(p.shape[-1]) - p[..., :, None] * p[..., None, :]
    return (jacobian @ dp[..., None])[..., 0]


def _softmax_in_two_parts(dp, p):
    blame = p * dp
    return blame - p * np.sum(blame, axis=-1)[..., None]


# 04-norm


def _normed(rng):
    shape = ((4,), (3, 5), (2, 3, 8), (2, 2, 1, 4))[rng.integers(4)]
    x = rng.normal(size=shape) * rng.choice([0.3, 1.0, 5.0]) + rng.normal()
    return rng.normal(size=shape), backprop.norm_forward(x)[1]


def _norm_by_jacobian(dy, cache):
    y, sigma, _ = cache
    D = y.shape[-1]
    jacobian = (np.eye(D) - 1 / D - y[..., :, None] * y[..., None, :] / D) / sigma[..., None]
    return (jacobian @ dy[..., None])[..., 0]


def _norm_by_sums(dy, cache):
    y, sigma, _ = cache
    D = y.shape[-1]
    return (D * dy - dy.sum(axis=-1, keepdims=True) - y * (dy * y).sum(axis=-1, keepdims=True)) / (D * sigma)


def _sigma_held(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.mean(axis=-1, keepdims=True)) / sigma


def _mean_held(dy, cache):
    y, sigma, _ = cache
    return (dy - y * (dy * y).mean(axis=-1, keepdims=True)) / sigma


def _both_held(dy, cache):
    return dy / cache[1]


def _not_divided(dy, cache):
    return backprop.norm_backward(dy, cache) * cache[1]


def _last_divided(dy, cache):
    y, sigma = cache[:2]
    return dy - dy.mean(axis=-1, keepdims=True) - y * (dy * y).mean(axis=-1, keepdims=True) / sigma


def _added_back(dy, cache):
    y, sigma = cache[:2]
    return (dy - dy.mean(axis=-1, keepdims=True) + y * (dy * y).mean(axis=-1, keepdims=True)) / sigma


def _norm_of_all(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.mean() - y * (dy * y).mean()) / sigma


def _norm_sum(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.sum(axis=-1, keepdims=True) - y * (dy * y).sum(axis=-1, keepdims=True)) / sigma


def _dy_for_y(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.mean(axis=-1, keepdims=True) - dy * (dy * y).mean(axis=-1, keepdims=True)) / sigma


def _no_y(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.mean(axis=-1, keepdims=True) - (dy * y).mean(axis=-1, keepdims=True)) / sigma


def _plus(dy, cache):
    y, sigma, _ = cache
    return (dy + dy.mean(axis=-1, keepdims=True) + y * (dy * y).mean(axis=-1, keepdims=True)) / sigma


def _norm_over_tokens(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.mean(axis=0) - y * (dy * y).mean(axis=0)) / sigma


def _times_sigma(dy, cache):
    return backprop.norm_backward(dy, cache) * cache[1] ** 2


# 04-attention


def _looks(rng):
    heads = ((), (2,), (2, 2))[rng.integers(3)]
    T, K = int(rng.integers(1, 5)), int(rng.choice([2, 3, 8]))
    q, k, v = rng.normal(size=(3, *heads, T, K))
    mask = causal_mask(T) if rng.integers(2) else 0.0
    y, cache = backprop.attention_forward(q, k, v, mask)
    return rng.normal(size=y.shape), cache


def _attention_by_einsum(dy, cache):
    q, k, v, weights = cache
    dweights = np.einsum("...td,...sd->...ts", dy, v)
    dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return (
        np.einsum("...ts,...sd->...td", dscores, k),
        np.einsum("...ts,...td->...sd", dscores, q),
        np.einsum("...ts,...td->...sd", weights, dy),
    )


def _attention_by_differences(dy, cache):
    q, k, v, weights = cache
    scale = q.shape[-1] ** -0.5
    dweights = dy @ np.swapaxes(v, -1, -2)
    centred = dweights - np.sum(dweights * weights, axis=-1)[..., None]
    return (
        (weights * centred) @ (scale * k),
        np.swapaxes(weights * centred, -1, -2) @ (scale * q),
        np.swapaxes(weights, -1, -2) @ dy,
    )


def _with(scale=True, softmax_part=True, transpose_v=True, transpose_k=True):
    """attention_backward with one thing left out."""

    def wrong(dy, cache):
        q, k, v, weights = cache
        dscores = dy @ v.swapaxes(-2, -1)
        dscores = backprop.softmax_backward(dscores, weights) if softmax_part else dscores
        dscores = dscores / q.shape[-1] ** 0.5 if scale else dscores
        dk = (dscores.swapaxes(-2, -1) if transpose_k else dscores) @ q
        return dscores @ k, dk, (weights.swapaxes(-2, -1) if transpose_v else weights) @ dy

    return wrong


def _scaled_in_one(dq_too):
    def wrong(dy, cache):
        q, k, v, weights = cache
        dscores = backprop.softmax_backward(dy @ v.swapaxes(-2, -1), weights)
        scale = q.shape[-1] ** 0.5
        first, second = (scale, 1) if dq_too else (1, scale)
        return dscores @ k / first, dscores.swapaxes(-2, -1) @ q / second, weights.swapaxes(-2, -1) @ dy

    return wrong


def _dq_transposed(dy, cache):
    q, k, v, weights = cache
    dscores = backprop.softmax_backward(dy @ v.swapaxes(-2, -1), weights) / q.shape[-1] ** 0.5
    return dscores.swapaxes(-2, -1) @ k, dscores.swapaxes(-2, -1) @ q, weights.swapaxes(-2, -1) @ dy


def _arguments_swapped(dy, cache):
    q, k, v, weights = cache
    dscores = backprop.softmax_backward(weights, dy @ v.swapaxes(-2, -1)) / q.shape[-1] ** 0.5
    return dscores @ k, dscores.swapaxes(-2, -1) @ q, weights.swapaxes(-2, -1) @ dy


def _order(*places):
    return lambda dy, cache: tuple(backprop.attention_backward(dy, cache)[i] for i in places)


def _times_root(dy, cache):
    dq, dk, dv = backprop.attention_backward(dy, cache)
    d_k = dq.shape[-1]
    return dq * d_k, dk * d_k, dv


def _v_scaled_too(dy, cache):
    dq, dk, dv = backprop.attention_backward(dy, cache)
    return dq, dk, dv / dq.shape[-1] ** 0.5


def _q_for_k(dy, cache):
    q, k, v, weights = cache
    dscores = backprop.softmax_backward(dy @ v.swapaxes(-2, -1), weights) / q.shape[-1] ** 0.5
    return dscores @ q, dscores.swapaxes(-2, -1) @ k, weights.swapaxes(-2, -1) @ dy


def _by_k(dy, cache):
    q, k, v, weights = cache
    dscores = backprop.softmax_backward(dy @ v.swapaxes(-2, -1), weights) / q.shape[-1]
    return dscores @ k, dscores.swapaxes(-2, -1) @ q, weights.swapaxes(-2, -1) @ dy


EXERCISES = [
    Exercise(
        id="04-norm",
        title="back through a norm",
        minutes=10,
        difficulty=3,
        task=r"""
Write `norm_backward(dy, cache)`. For one token with D numbers, each y moves with each x like this:

$$\frac{\partial y_i}{\partial x_j} = \frac1\sigma\Big(\delta_{ij} - \frac1D - \frac{y_i\,y_j}{D}\Big)$$

Multiply by $dy_i$ and add up over i, on paper: three terms come out, and no D × D matrix is left. The cache holds `y`, `sigma` and the
kind of norm, which you can ignore. Each token (last axis) by itself; `sigma` has that axis with length 1.
""",
        stub="""
def norm_backward(dy, cache):
    y, sigma, kind = cache
    return ...
""",
        name="norm_backward",
        hints=(
            "δ picks out one term of the sum. What are Σ dy_i / D and Σ dy_i y_i / D called?",
            "Two means, of dy and of something else, each for its own token: `axis=-1, keepdims=True`. Which of them has y_j in front?",
            "`dy.mean(axis=-1, keepdims=True)` is one; the other is the same of `dy * y`, times y. Subtract both from dy, then divide.",
        ),
        answer=backprop.norm_backward,
        another=(_norm_by_jacobian, _norm_by_sums),
        inputs=_normed,
        special=(
            ("dy the same everywhere", np.ones((2, 4)), backprop.norm_forward(np.arange(8.0).reshape(2, 4) ** 2)[1]),
        ),
        partial=(
            (_sigma_held, "the road through the mean is right; the road through σ is missing"),
            (_mean_held, "the road through σ is right; the road through the mean is missing"),
        ),
        wrong=(
            (_both_held, "that holds the mean and σ still, but both depend on x: two terms are missing"),
            (_not_divided, "all three terms are right: divide by σ"),
            (_last_divided, "only the last term is divided by σ: mind the brackets"),
            (_added_back, "the last term is added: subtract it"),
            (_norm_of_all, "your means run over everything: each token has its own, axis=-1 with keepdims=True"),
            (_norm_sum, "those are sums: means were wanted, over the D numbers"),
            (_dy_for_y, "the last term is y times mean(dy · y): yours has dy in front"),
            (_no_y, "the factor y in front of mean(dy · y) is missing"),
            (_plus, "the two means are subtracted: yours are added"),
            (_norm_over_tokens, "your means run over axis 0: each token has its own, axis=-1 with keepdims=True"),
            (_times_sigma, "divide by σ: you multiply"),
        ),
        right="three roads from x to y, three terms",
        ours="bigmodel_lib.by_hand.backprop:norm_backward",
    ),
    Exercise(
        id="04-softmax",
        title="back through softmax",
        minutes=8,
        difficulty=3,
        task=r"""
Write `softmax_backward(dp, p)`. Softmax ran over the last axis and gave `p`; `dp` is the loss's gradient with respect to p. Return the
gradient with respect to the scores, in the same shape (..., T). From notebook 01: $\partial p_i/\partial s_j = p_i(\delta_{ij} - p_j)$,
where $\delta_{ij}$ is 1 if $i = j$, else 0. You don't need the T × T matrix.
""",
        stub="""
def softmax_backward(dp, p):
    return ...
""",
        name="softmax_backward",
        hints=(
            "Score j moves every weight of its row. So its slope is a sum over i of dp_i times ∂p_i/∂s_j. Take that sum apart.",
            "One part is p_j dp_j. The other is p_j times a number that's the same for all j of a row: which?",
            "That number is the average of dp, weighted by p: `(p * dp).sum(axis=-1, keepdims=True)`. Subtract it from dp before you "
            "multiply by p.",
        ),
        answer=backprop.softmax_backward,
        another=(_softmax_by_jacobian, _softmax_in_two_parts),
        inputs=_weights,
        special=(("dp the same everywhere", np.ones((2, 3)), softmax(np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]))),),
        wrong=(
            (lambda dp, p: p * dp, "p · dp forgets that raising one score lowers all the other weights"),
            (
                lambda dp, p: p * (dp - dp.mean(axis=-1, keepdims=True)),
                "the average that you subtract must be weighted by p",
            ),
            (
                lambda dp, p: p * (dp - dp.sum(axis=-1, keepdims=True)),
                "that subtracts the sum of dp: its average, weighted by p, was wanted",
            ),
            (lambda dp, p: dp - (p * dp).sum(axis=-1, keepdims=True), "the factor p in front is missing"),
            (
                lambda dp, p: p * (dp - (p * dp).sum()),
                "your sum runs over all rows: each row by itself, axis=-1 with keepdims=True",
            ),
            (lambda dp, p: p * (1 - p) * dp, "that's what each score does to its own weight; it moves the others too"),
            (lambda dp, p: -backprop.softmax_backward(dp, p), "the sign is the wrong way round"),
            (
                lambda dp, p: p * (dp - (p * dp).mean(axis=-1, keepdims=True)),
                "p already adds up to 1: the average weighted by p is a sum of p · dp, not its mean",
            ),
            (
                lambda dp, p: p * dp - (p * dp).sum(axis=-1, keepdims=True),
                "the average must be multiplied by p as well: mind the brackets",
            ),
            (
                lambda dp, p: p * (dp - (p * dp).sum(axis=0)),
                "your sum runs over axis 0, across the rows: each row by itself, axis=-1 with keepdims=True",
            ),
        ),
        right="what counts is whether a word raises the loss more than the average word does",
        ours="bigmodel_lib.by_hand.backprop:softmax_backward",
    ),
    Exercise(
        id="04-attention",
        title="back through attention",
        minutes=12,
        difficulty=3,
        task=r"""
Write `attention_backward(dy, cache)`. The forward pass computed $S = QK^\top/\sqrt{d_k}$, then $A = \operatorname{softmax}(S)$ (with a
mask, perhaps), then $y = AV$, and kept `q, k, v, weights`. Return `dq, dk, dv`, in this order. All have the shape (..., T, d_k), with
leading axes for texts and heads, so transpose with `swapaxes(-2, -1)`.
""",
        stub="""
def attention_backward(dy, cache):
    q, k, v, weights = cache
    dv = ...
    # on the way to dq and dk: dweights, then dscores by softmax_backward(dp, p), which is there for you
    dq = ...
    dk = ...
    return dq, dk, dv
""",
        name="attention_backward",
        hints=(
            "Go backwards, one step at a time: first through y = A V, then softmax, then Q Kᵀ. Each product is a linear layer whose two "
            "sides both get a gradient.",
            "For a product Y = M N: dM = dY Nᵀ and dN = Mᵀ dY. Don't forget that the scores were divided by something.",
            "dv is `weights` transposed times dy; dweights is dy times v transposed. With dscores divided by √d_k, dq is dscores times k, "
            "and dk is dscores transposed times q.",
        ),
        answer=backprop.attention_backward,
        another=(_attention_by_einsum, _attention_by_differences),
        inputs=_looks,
        partial=(
            (_with(scale=False), "all the products are right; dq and dk aren't divided by √d_k yet"),
            (_with(transpose_k=False), "dq and dv are right; dk needs dscores transposed"),
            (_with(transpose_v=False), "dq and dk are right; dv needs the weights transposed"),
        ),
        wrong=(
            (_with(softmax_part=False), "softmax's backward pass is missing between dweights and dq, dk"),
            (_order(1, 0, 2), "dq and dk have changed places: the order is dq, dk, dv"),
            (_times_root, "dq and dk are multiplied by √d_k: divide, as the scores were"),
            (_v_scaled_too, "dv is divided by √d_k, too: V never met the root"),
            (_q_for_k, "dq needs k and dk needs q: yours are swapped"),
            (_by_k, "dq and dk are divided by d_k: its root was wanted"),
            (_scaled_in_one(True), "dq is divided by √d_k, dk isn't yet"),
            (_scaled_in_one(False), "dk is divided by √d_k, dq isn't yet"),
            (_dq_transposed, "dq takes dscores as it is, not transposed"),
            (_arguments_swapped, "softmax_backward takes the gradient first, then the weights: yours are swapped"),
            (lambda dy, cache: backprop.attention_backward(dy, cache)[::-1], "the order is dq, dk, dv"),
        ),
        right="two products and a softmax, walked backwards",
        ours="bigmodel_lib.by_hand.backprop:attention_backward",
    ),
    Exercise(
        id="04-stream",
        title="two roads, twice",
        minutes=3,
        difficulty=1,
        task="""
Two blocks, one number wide: y = x + 3x, then z = y + 2y. By how much does z rise when x rises by 1? (Worked: through the first block alone
it's 1 + 3 = 4, the straight road plus the branch.)
""",
        stub="rise = ...",
        name="rise",
        hints=(
            "Draw it: two roads from x to y, two from y to z. How many roads lead from x to z?",
            "Four roads. Multiply along each, then add; or take the blocks one after the other.",
            "(1 + 3) for the first block, (1 + 2) for the second: multiply.",
        ),
        answer=12,
        another=(12.0, (1 + 3) * (1 + 2)),
        wrong=(
            (8, "the second block's straight road is missing"),
            (9, "the first block's straight road is missing"),
            (6, "that's the two branches alone: the straight roads are missing"),
            (7, "that adds the blocks up: along a road slopes are multiplied"),
            (5, "that adds the branches: multiply along a road, and there are straight roads too"),
            (4, "that's the first block alone"),
            (3, "that's the second block alone"),
            (1, "that's the straight road alone: the branches count as well"),
        ),
        right="four roads: 1·1 + 3·1 + 1·2 + 3·2",
    ),
]
