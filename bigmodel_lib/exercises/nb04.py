"""The exercises of 04_backprop_numpy, the run that it opens with, and the small world that 04b goes on with."""

import numpy as np

from bigmodel_lib.by_hand import backprop
from bigmodel_lib.by_hand.model import softmax
from bigmodel_lib.exercises.engine import Exercise
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld.story import Story
from bigmodel_lib.text.batches import document_batch
from bigmodel_lib.text.tokenizers import WordTokenizer


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


PATIENT: backprop.Pair = (backprop.block_forward, _block_backward_without_a_plus)  # 04 opens with its training run


def small_world() -> StoryWorld:
    """The world of 04 and 04b: six people, four rooms, six things, stories of up to 40 words."""
    people = ["Anna", "Mei", "Lena", "Ben", "Omar", "Tom"]
    things = ["lamp", "book", "cup", "ball", "drum", "shoes"]
    return StoryWorld(people, ["kitchen", "hall", "garage", "attic"], things, longest=40)


def unseen_stories(
    world: StoryWorld, words: WordTokenizer, draws: np.random.Generator, n: int = 400
) -> tuple[list[Story], np.ndarray, np.ndarray, float]:
    """n stories of a world, their inputs and targets (n, T), -1 where none is, and their floor in nats per token."""
    stories = [world.sample(draws) for _ in range(n)]
    coded = [words.encode(f"{START} {story.text} {END}") for story in stories]
    longest = max(map(len, coded)) - 1
    rows = [document_batch([ids], 1, draws, longest) for ids in coded]
    x, y = (np.concatenate(arrays) for arrays in zip(*rows, strict=True))
    return stories, x, y, float(-sum(story.log_prob for story in stories) / (y >= 0).sum())


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


def _times_what_it_has(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] += slope * slopes[source]
    return slopes


def _all_begin_at_1(graph):
    slopes = [1.0] * len(graph)
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] += slopes[place] * slope
    return slopes


def _sets_the_link(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place in reversed(range(len(graph))):
        for source, slope in graph[place]:
            slopes[source] = slope
    return slopes


def _graphs(rng):
    length = int(rng.integers(1, 7))
    graph = [[]]
    for place in range(1, length):
        sources = rng.choice(place, size=min(place, rng.integers(1, 3)), replace=False)
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


def _not_summed(dy, cache):
    x, w = cache
    return dy @ w.T, x.swapaxes(-2, -1) @ dy if x.ndim > 1 else np.outer(x, dy)


def _summed_over_texts(dy, cache):
    dx, dw = _not_summed(dy, cache)
    return dx, dw.sum(axis=0)


def _swapped(dy, cache):
    return backprop.linear_backward(dy, cache)[::-1]


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


def _one_less_everywhere(dloss, cache):
    p, targets = cache
    counted = targets >= 0
    return dloss * (p - 1) * counted[..., None] / counted.sum()


def _minus_the_id(dloss, cache):
    p, targets = cache
    counted = targets >= 0
    return dloss * (p - targets[..., None]) * counted[..., None] / counted.sum()


def _last_word_where_none_counts(dloss, cache):
    p, targets = cache
    return dloss * (p - np.eye(p.shape[-1])[targets]) / (targets >= 0).sum()


def _only_the_target(dloss, cache):
    p, targets = cache
    hit = np.arange(p.shape[-1]) == targets[..., None]
    return dloss * (p - 1) * hit / (targets >= 0).sum()


def _to_the_probability(dloss, cache):
    p, targets = cache
    hit = np.arange(p.shape[-1]) == targets[..., None]
    return -dloss * hit / p / (targets >= 0).sum()


def _loss(dloss, cache, count="counted", drop=True, hit=True, sign=1.0):
    p, targets = cache
    counted = targets >= 0
    dlogits = p.copy()
    if hit:
        dlogits = dlogits - (np.arange(p.shape[-1]) == targets[..., None])
    if drop:
        dlogits = dlogits * counted[..., None]
    n = {"counted": counted.sum(), "all": targets.size, "none": 1, "numbers": p.size, "texts": len(targets)}[count]
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
                _times_what_it_has,
                "only the loss keeps a slope: follow its own links as well, and multiply by the slope of place, not of source",
            ),
            (_all_begin_at_1, "only the loss's own slope begins at 1: all others begin at 0 and collect"),
            (_sets_the_link, "each value gets its link's own slope: multiply by the slope of place, and add"),
            (
                _in_forward_order,
                "only the loss hands anything back: do you go from the front, or does return stand inside the loop?",
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
this order, in the shapes of `x` and `w`. Careful: `x` and `dy` may have leading axes, such as (B, T, n_in). All those rows share one `w`,
so add up their shares.
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
            "Which numbers of y does one weight move, and by how much? And one number of x?",
            "Look at the shapes: dw is (n_in, n_out) however many axes x has. Something has to turn all leading axes into one.",
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
                    cache[0].reshape(cache[0].shape[-1], -1) @ dy.reshape(-1, dy.shape[-1]),
                ),
                "dw: reshape to (n_in, rows) scrambles x; make plain rows first, then transpose",
            ),
            (
                lambda dy, cache: (
                    dy.reshape(-1, dy.shape[-1]) @ cache[1].T,
                    backprop.linear_backward(dy, cache)[1],
                ),
                "dw is right; dx is left as plain rows: give it x's shape",
            ),
            (
                lambda dy, cache: (dy @ cache[1].T, cache[0].T @ dy),
                "x.T turns all axes round, those of texts as well: make plain rows of x and dy first, with reshape",
            ),
            (_not_summed, "dw has one matrix for each text: they share one w, so add them up"),
            (
                _summed_over_texts,
                "dw is summed over axis 0 alone: x may have more leading axes, or none. Reshape to rows first",
            ),
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
            ([1, 2, 10, 20], "that joins the two lists: add them number by number"),
            ([5.5, 11], "that's the mean: the loss feels both places in full"),
            ([100, 200], "that's the gradient of row 2"),
            ([22, 11], "the numbers are right, in the wrong order: column by column"),
            ([10, 40], "that multiplies the places: gradients of one row add up"),
            ([111, 222], "that's the sum over all places: only those of token 5 count"),
        ),
        right="(1, 2) + (10, 20): two roads again",
    ),
    Exercise(
        id="04-loss",
        title="what it said minus what came",
        minutes=6,
        difficulty=2,
        task=r"""
Write `cross_entropy_backward(dloss, cache)`. The cache holds `p` (..., V), the probabilities, and `targets` (...), the ids of the tokens
that came. The loss was the *mean* of $-\ln p$(target) over all places, except those whose target is -1: they don't count.
Return the gradient with respect to the logits, in p's shape. `dloss` is the gradient that arrives from above, a number.
""",
        stub="""
def cross_entropy_backward(dloss, cache):
    p, targets = cache
    return ...
""",
        name="cross_entropy_backward",
        hints=(
            "What it said is p. What came is 1 at the target and 0 elsewhere. And what does the mean do to each place's share?",
            "Comparing `np.arange(V)` with the targets can give you ones and zeros in p's shape. Mind the axes. And 0 at places that don't count.",
            "`hit = np.arange(V) == targets[..., None]`; `counted = targets >= 0`; then (p − hit), times `counted[..., None]`, over `counted.sum()`, times dloss.",
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
            (
                lambda dloss, cache: _loss(dloss, (cache[0], np.where(cache[1] > 0, cache[1], -1))),
                "token 0 is a word like any other: only targets of -1 don't count",
            ),
            (_only_the_target, "only the target gets a gradient: the other words get p, divided like the rest"),
            (_to_the_probability, "that's the gradient of p at the target: go on through softmax, to the logits"),
            (lambda dloss, cache: _loss(dloss, cache, hit=False), "the 1 at the target isn't subtracted"),
            (
                lambda dloss, cache: _loss(dloss, cache, sign=-1.0),
                "the sign is the wrong way round: what it said minus what came",
            ),
            (lambda dloss, cache: _loss(1.0, cache), "dloss isn't used: multiply by it"),
            (
                lambda dloss, cache: cache[0] - np.eye(cache[0].shape[-1])[cache[1]],
                "p minus what came is right for one place; mind the mean, the places that don't count, and dloss",
            ),
            (_one_less_everywhere, "you subtract 1 everywhere: only at the target"),
            (_minus_the_id, "you subtract the target's id: 1 at that place of the vocabulary was wanted"),
            (
                _last_word_where_none_counts,
                "index -1 is the last word of the vocabulary: at a place that doesn't count, the gradient is 0",
            ),
            (
                lambda dloss, cache: _loss(dloss, cache, count="numbers"),
                "you divide by p.size: the mean is over places",
            ),
            (
                lambda dloss, cache: _loss(dloss, cache, count="texts"),
                "you divide by len(targets): count the places of all texts",
            ),
        ),
        right="what it said minus what came: the numbers of each place add up to 0",
        ours="bigmodel_lib.by_hand.backprop:cross_entropy_backward",
    ),
]
