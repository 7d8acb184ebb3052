"""The exercises of 04_backprop_numpy, and the two suspects that it opens with."""

import numpy as np

from bigmodel_lib.by_hand import backprop
from bigmodel_lib.by_hand.model import causal_mask, softmax
from bigmodel_lib.exercises.engine import Exercise


def _block_backward_without_a_plus(dy, cache):
    norm_1, attention, norm_2, mlp = cache
    dbranch, dmlp = backprop.mlp_backward(dy, mlp)
    dbranch, dgain_2 = backprop.normalise_backward(dbranch, norm_2)
    dx = dbranch
    dbranch, dattention = backprop.attention_layer_backward(dx, attention)
    dbranch, dgain_1 = backprop.normalise_backward(dbranch, norm_1)
    gradients = {f"attention.{name}": dw for name, dw in (dattention | dgain_1).items()}
    gradients |= {f"mlp.{name}": dw for name, dw in (dmlp | dgain_2).items()}
    return dx + dbranch, gradients


SUSPECTS = {"A": (backprop.block_forward, _block_backward_without_a_plus), "B": backprop.BLOCK}


# 04-paths


def backpropagate(graph: list[list[tuple[int, float]]]) -> list[float]:
    """The slope of the last value of a graph with respect to each of its values.

    slope[i] = Σ over all roads from i to the end of the product of the slopes along the road.
    graph: for each value the (place, slope) of what it was made from, made before it. Built by the reader in 04.
    """
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] += slope * slopes[place]
    return slopes


def _all_roads(graph):
    def roads(start, end):
        if start == end:
            return 1.0
        return sum(slope * roads(start, source) for source, slope in graph[end])

    return [float(roads(start, len(graph) - 1)) for start in range(len(graph))]


def _matrix_of_slopes(graph):
    local = np.zeros((len(graph), len(graph)))
    for place, sources in enumerate(graph):
        for source, slope in sources:
            local[source, place] += slope
    total = np.linalg.inv(np.eye(len(graph)) - local)
    return total[:, -1].tolist()


def _overwrites(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] = slope * slopes[place]
    return slopes


def _forgets_what_came_later(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] += slope
    return slopes


def _in_forward_order(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place, sources in enumerate(graph):
        for source, slope in sources:
            slopes[source] += slope * slopes[place]
    return slopes


def _no_start(graph):
    slopes = [0.0] * len(graph)
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] += slope * slopes[place]
    return slopes


def _adds_along_a_road(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] += slope + slopes[place]
    return slopes


def _graphs(rng):
    length = int(rng.integers(1, 7))
    graph = [[]]
    for place in range(1, length):
        sources = rng.integers(place, size=rng.integers(1, 3))
        graph.append([(int(source), float(rng.integers(-3, 4))) for source in sources])
    return (graph,)


# 04-linear


def _rows(rng):
    shape = ((3,), (2, 3), (2, 2, 3), (1, 1))[rng.integers(4)]
    n_in, n_out = rng.permutation(5)[:2] + 1
    x, w = rng.normal(size=(*shape, n_in)), rng.normal(size=(n_in, n_out))
    return rng.normal(size=(*shape, n_out)), (x, w)


def _linear_by_einsum(dy, cache):
    x, w = cache
    rows = (x.reshape(-1, w.shape[0]), dy.reshape(-1, w.shape[1]))
    return np.einsum("...o,io->...i", dy, w), np.einsum("ri,ro->io", *rows)


def _linear_by_tensordot(dy, cache):
    x, w = cache
    axes = list(range(dy.ndim - 1))
    return np.matmul(dy, w.T), np.tensordot(x, dy, (axes, axes))


def _mean_over_rows(dy, cache):
    dx, dw = backprop.linear_backward(dy, cache)
    return dx, dw / max(1, dy[..., 0].size)


def _first_text_only(dy, cache):
    x, w = cache
    if dy.ndim == 2:
        return backprop.linear_backward(dy, cache)
    return dy @ w.T, x[0].reshape(-1, w.shape[0]).T @ dy[0].reshape(-1, w.shape[1])


def _swapped(dy, cache):
    return backprop.linear_backward(dy, cache)[::-1]


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


def _norm_of_all(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.mean() - y * (dy * y).mean()) / sigma


def _norm_sum(dy, cache):
    y, sigma, _ = cache
    return (dy - dy.sum(axis=-1, keepdims=True) - y * (dy * y).sum(axis=-1, keepdims=True)) / sigma


def _times_sigma(dy, cache):
    return backprop.norm_backward(dy, cache) * cache[1] ** 2


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


def _q_for_k(dy, cache):
    q, k, v, weights = cache
    dscores = backprop.softmax_backward(dy @ v.swapaxes(-2, -1), weights) / q.shape[-1] ** 0.5
    return dscores @ q, dscores.swapaxes(-2, -1) @ k, weights.swapaxes(-2, -1) @ dy


def _by_k(dy, cache):
    q, k, v, weights = cache
    dscores = backprop.softmax_backward(dy @ v.swapaxes(-2, -1), weights) / q.shape[-1]
    return dscores @ k, dscores.swapaxes(-2, -1) @ q, weights.swapaxes(-2, -1) @ dy


# 04-loss


def _said(rng):
    shape = ((3,), (2, 4), (2, 1))[rng.integers(3)]
    V = int(rng.integers(2, 6))
    targets = rng.integers(V, size=shape)
    targets[rng.random(shape) < 0.25] = -1
    targets.flat[0] = abs(targets.flat[0])
    p = softmax(rng.normal(size=(*shape, V)))
    return float(rng.choice([1.0, 2.0])), (p, targets)


def _loss_by_one_hot(dloss, cache):
    p, targets = cache
    one_hot = np.eye(p.shape[-1])[targets]
    counted = (targets >= 0)[..., None]
    return dloss * (p - one_hot) * counted / counted.sum()


def _loss_by_where(dloss, cache):
    p, targets = cache
    hit = np.arange(p.shape[-1]) == targets[..., None]
    each = np.where((targets < 0)[..., None], 0.0, p - hit)
    return each * (dloss / np.count_nonzero(targets >= 0))


def _loss(dloss, cache, count="counted", drop=True, hit=True, sign=1.0):
    p, targets = cache
    counted = targets >= 0
    dlogits = p.copy()
    if hit:
        dlogits = dlogits - (np.arange(p.shape[-1]) == targets[..., None])
    if drop:
        dlogits = dlogits * counted[..., None]
    n = {"counted": counted.sum(), "all": targets.size, "none": 1}[count]
    return sign * dloss * dlogits / n


EXERCISES = [
    Exercise(
        id="04-paths",
        title="all roads lead back",
        minutes=8,
        difficulty=2,
        task="""
Write `backpropagate(graph)`. The graph lists values in the order in which they were made; the last one is the loss. For each value it
holds a list of `(place, slope)`: which earlier values it was made from, and how steeply it rises with each. For the picture above that's

`[[], [(0, 1.0)], [(0, 2.0)], [(1, 6.0), (2, 4.0)]]`, and the answer is `[14.0, 6.0, 4.0, 1.0]`.

Return the loss's slope with respect to every value, as a list: multiply along a road, add where roads meet.
""",
        stub="""
def backpropagate(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0  # the loss's slope with respect to itself
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] = slope * ...
    return slopes
""",
        name="backpropagate",
        hints=(
            "When the loop reaches a value, its own slope is complete: everything made from it came later in the list. What does it pass "
            "on to each value that it was made from?",
            "It passes on the product of two numbers. And a value may be passed something more than once, so what happens to what it "
            "already has?",
            "Add, don't replace: `slopes[source] = slopes[source] + (slope of this link) * (slope of the value at place)`.",
        ),
        answer=backpropagate,
        another=(_all_roads, _matrix_of_slopes),
        inputs=_graphs,
        special=(
            ("the picture", [[], [(0, 1.0)], [(0, 2.0)], [(1, 6.0), (2, 4.0)]]),
            ("one value alone", [[]]),
            ("the same value used twice at once", [[], [(0, 3.0), (0, 3.0)]]),
            ("a value that the loss doesn't use", [[], [(0, 2.0)], [(0, 5.0)]]),
        ),
        wrong=(
            (_overwrites, "where two roads meet, the second replaces the first: add it"),
            (
                _forgets_what_came_later,
                "each link's own slope is added, without the slope of what comes after it: multiply by it",
            ),
            (
                _in_forward_order,
                "you go through the graph from the front, when the slopes that you multiply by aren't known yet",
            ),
            (_no_start, "all slopes are 0: begin with 1 for the loss itself"),
            (_adds_along_a_road, "along a road slopes are multiplied; yours adds them"),
        ),
        right="you've just written the heart of PyTorch's autograd",
        ours="bigmodel_lib.exercises.nb04:backpropagate",
    ),
    Exercise(
        id="04-linear",
        title="back through a matrix",
        minutes=6,
        difficulty=2,
        task="""
Write `linear_backward(dy, cache)`. The forward pass was `y = x @ w` and kept `x, w = cache`. Return the two gradients `dx` and `dw`, in
this order, in the shapes of `x` and `w`. Careful: `x` and `dy` may have leading axes, such as (B, T, n_in). Then `w` served all those
rows.
""",
        stub="""
def linear_backward(dy, cache):
    x, w = cache
    dx = ...
    dw = ...
    return dx, dw
""",
        name="linear_backward",
        hints=(
            "Look at the shapes: dw must be (n_in, n_out), and the only things you have are x, w and dy. Which product fits?",
            "For dw, first turn x and dy into plain tables, one row for each token of each text, with `reshape(-1, …)`. dx needs no reshape.",
            "`dy @ w.T` is dx. For dw it's x's table, transposed, times dy's table: `x.reshape(-1, n_in).T @ …`.",
        ),
        answer=backprop.linear_backward,
        another=(_linear_by_einsum, _linear_by_tensordot),
        inputs=_rows,
        special=(
            (
                "a square matrix",
                np.arange(6.0).reshape(3, 2),
                (np.arange(6.0).reshape(3, 2) - 2, np.array([[1.0, 2.0], [0.0, 3.0]])),
            ),
        ),
        wrong=(
            (
                lambda dy, cache: (dy @ cache[1], backprop.linear_backward(dy, cache)[1]),
                "dx: back through a matrix is its transpose",
            ),
            (_mean_over_rows, "dw is averaged over the rows: each row's share counts in full, so add them"),
            (_first_text_only, "dw hears the first text of the batch only: w served all of them"),
            (_swapped, "dx comes first, then dw"),
            (
                lambda dy, cache: (
                    dy @ cache[1].T,
                    dy.reshape(-1, dy.shape[-1]).T @ cache[0].reshape(-1, cache[0].shape[-1]),
                ),
                "dw is transposed",
            ),
        ),
        right="dx = dy Wᵀ and dW = xᵀ dy, added up over all rows",
        ours="bigmodel_lib.by_hand.backprop:linear_backward",
    ),
    Exercise(
        id="04-embedding",
        title="a token that occurs twice",
        minutes=3,
        difficulty=1,
        task="""
An embedding looks up row `tokens[t]` of its table. Say the tokens are (5, 2, 5), and `dy` has the rows (1, 2), (100, 200), (10, 20). What
is the gradient of the table's row 5?
""",
        stub="row_5 = ...  # a list of two numbers",
        name="row_5",
        hints=(
            "Which places of the text look up row 5?",
            "Nudge row 5 a little: two places change at once, and the loss feels both. What do you do where two roads meet?",
            "Add the two rows of dy that belong to the places of token 5, number by number.",
        ),
        answer=[11, 22],
        another=((11.0, 22.0), np.array([11, 22])),
        wrong=(
            ([1, 2], "that's the first place alone: token 5 also stands third"),
            ([10, 20], "that's the last place alone: it doesn't replace the first, it adds to it"),
            ([5.5, 11], "that's the mean: the loss feels both places in full"),
            ([100, 200], "that's the gradient of row 2"),
            ([111, 222], "that's the sum over all places: only those of token 5 count"),
        ),
        right="(1, 2) + (10, 20): two roads again",
    ),
    Exercise(
        id="04-norm",
        title="back through a norm",
        minutes=10,
        difficulty=3,
        task=r"""
Write `norm_backward(dy, cache)` from

$$dx = \frac{1}{\sigma}\Big(dy - \operatorname{mean}(dy) - y\cdot\operatorname{mean}(dy\cdot y)\Big)$$

The cache holds `y`, `sigma` and the kind of norm, which you can ignore. Means run over the last axis, for each token by itself; `sigma`
has that axis with length 1.
""",
        stub="""
def norm_backward(dy, cache):
    y, sigma, kind = cache
    return ...
""",
        name="norm_backward",
        hints=(
            "Three terms, and the formula names them all. Which axis do the two means run over, and which shape must they have to be subtracted?",
            "`axis=-1, keepdims=True` keeps a mean beside its own token.",
            "`dy.mean(axis=-1, keepdims=True)` is one; the other is the same of `dy * y`, times y. Subtract both from dy, then divide.",
        ),
        answer=backprop.norm_backward,
        another=(_norm_by_jacobian, _norm_by_sums),
        inputs=_normed,
        special=(
            ("dy the same everywhere", np.ones((2, 4)), backprop.norm_forward(np.arange(8.0).reshape(2, 4) ** 2)[1]),
        ),
        partial=(
            (_sigma_held, "the road through the mean is right; the road through σ, y · mean(dy · y), is missing"),
            (_mean_held, "the road through σ is right; the road through the mean, mean(dy), is missing"),
        ),
        wrong=(
            (_both_held, "that holds the mean and σ still, but both depend on x: two terms are missing"),
            (_norm_of_all, "your means run over everything: each token has its own, axis=-1 with keepdims=True"),
            (_norm_sum, "those are sums: means were wanted, over the D numbers"),
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
        ),
        right="a score is paid for how much better its word is than the average",
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
    dweights = ...
    dscores = ...  # softmax_backward(dp, p) is there for you
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
            (_q_for_k, "dq needs k and dk needs q: yours are swapped"),
            (_by_k, "dq and dk are divided by d_k: its root was wanted"),
            (lambda dy, cache: backprop.attention_backward(dy, cache)[::-1], "the order is dq, dk, dv"),
        ),
        right="two products and a softmax, walked backwards",
        ours="bigmodel_lib.by_hand.backprop:attention_backward",
    ),
    Exercise(
        id="04-loss",
        title="what it said minus what came",
        minutes=6,
        difficulty=2,
        task="""
Write `cross_entropy_backward(dloss, cache)`. The cache holds `p` (..., V), the probabilities, and `targets` (...), the tokens that
came. Return the gradient with respect to the logits: at each place p, minus 1 at the target, divided by the number of places that
count, times `dloss`. A target of -1 marks a place that doesn't count: its gradient is 0.
""",
        stub="""
def cross_entropy_backward(dloss, cache):
    p, targets = cache
    counted = targets >= 0
    return ...
""",
        name="cross_entropy_backward",
        hints=(
            "You need an array of p's shape that is 1 at each target and 0 elsewhere. How can you make it without a loop?",
            "`np.arange(V) == targets[..., None]` is such an array. Then: which places must become 0, and how many are left?",
            "(p − that array), times `counted[..., None]`, over `counted.sum()`, times dloss.",
        ),
        answer=backprop.cross_entropy_backward,
        another=(_loss_by_one_hot, _loss_by_where),
        inputs=_said,
        special=(
            ("a place that doesn't count", 1.0, (np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, -1]))),
            ("dloss = 3", 3.0, (np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))),
        ),
        wrong=(
            (
                lambda dloss, cache: _loss(dloss, cache, count="none"),
                "the loss is a mean, so divide by how many places count",
            ),
            (
                lambda dloss, cache: _loss(dloss, cache, count="all"),
                "divide by the number of places that count, not of all places",
            ),
            (
                lambda dloss, cache: _loss(dloss, cache, drop=False),
                "places with target -1 get a gradient: it must be 0",
            ),
            (lambda dloss, cache: _loss(dloss, cache, hit=False), "the 1 at the target isn't subtracted"),
            (
                lambda dloss, cache: _loss(dloss, cache, sign=-1.0),
                "the sign is the wrong way round: what it said minus what came",
            ),
            (lambda dloss, cache: _loss(1.0, cache), "dloss isn't used: multiply by it"),
        ),
        right="the gradient of the loss is simply the surprise, spread over the vocabulary",
        ours="bigmodel_lib.by_hand.backprop:cross_entropy_backward",
    ),
]
