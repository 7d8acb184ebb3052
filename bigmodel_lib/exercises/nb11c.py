"""The exercises of 11c_scenes."""

import itertools

import numpy as np
import torch

from bigmodel_lib.exercises.engine import Exercise, Tolerance
from bigmodel_lib.vision.detection import average_precision, box_iou

# 11-iou


def _boxes(rng):
    n, m = (int(x) for x in rng.integers(1, 6, size=2))
    a, b = (
        torch.from_numpy(np.concatenate([rng.uniform(0.2, 0.8, (k, 2)), rng.uniform(0.05, 0.6, (k, 2))], 1)).float()
        for k in (n, m)
    )
    return a, b


def _box(*numbers):
    return torch.tensor([list(numbers)])


def _sides(a, b):
    """Both boxes' left, top, right, bottom, broadcast against each other."""
    ca = torch.cat([a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2], 1)[:, None]
    cb = torch.cat([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], 1)[None]
    return ca, cb


def _iou(a, b, low=0.0, corners=_sides, over=lambda both, one, other: both / (one + other - both)):
    ca, cb = corners(a, b)
    sides = torch.minimum(ca[..., 2:], cb[..., 2:]) - torch.maximum(ca[..., :2], cb[..., :2])
    both = (sides if low is None else sides.clamp(min=low)).prod(-1)
    one, other = (ca[..., 2:] - ca[..., :2]).prod(-1), (cb[..., 2:] - cb[..., :2]).prod(-1)
    return over(both, one, other)


def _iou_by_loops(a, b):
    out = torch.zeros(len(a), len(b))
    for i, (ax, ay, aw, ah) in enumerate(a.tolist()):
        for j, (bx, by, bw, bh) in enumerate(b.tolist()):
            wide = max(0.0, min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2))
            high = max(0.0, min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2))
            out[i, j] = wide * high / (aw * ah + bw * bh - wide * high)
    return out


def _as_corners(a, b):
    return a[:, None], b[None]


def _from_corner(a, b):
    return tuple(torch.cat([x[:, :2], x[:, :2] + x[:, 2:]], 1) for x in (a, b))[0][:, None], torch.cat(
        [b[:, :2], b[:, :2] + b[:, 2:]], 1
    )[None]


def _double(a, b):
    return torch.cat([a[:, :2] - a[:, 2:], a[:, :2] + a[:, 2:]], 1)[:, None], torch.cat(
        [b[:, :2] - b[:, 2:], b[:, :2] + b[:, 2:]], 1
    )[None]


# 11-cheapest


def _costs(rng):
    n = int(rng.integers(1, 4))
    q = int(rng.integers(n, 6))
    return (rng.normal(1, 2, size=(q, n)).round(2).tolist(),)


def cheapest(cost):
    """The lowest total cost of a pairing in which each glyph has a query of its own; cost: Q rows of n numbers."""
    queries, n = range(len(cost)), len(cost[0])
    return min(sum(cost[q][glyph] for glyph, q in enumerate(chosen)) for chosen in itertools.permutations(queries, n))


def _cheapest_by_recursion(cost, glyph=0, taken=()):
    if glyph == len(cost[0]):
        return 0.0
    return min(
        cost[q][glyph] + _cheapest_by_recursion(cost, glyph + 1, (*taken, q))
        for q in range(len(cost))
        if q not in taken
    )


def _cheapest_by_scipy(cost):
    from scipy.optimize import linear_sum_assignment

    table = np.array(cost)
    return table[linear_sum_assignment(table)].sum()


def _greedy(cost):
    left, total = {(q, g) for q in range(len(cost)) for g in range(len(cost[0]))}, 0.0
    while left:
        q, g = min(left, key=lambda pair: cost[pair[0]][pair[1]])
        total += cost[q][g]
        left = {pair for pair in left if pair[0] != q and pair[1] != g}
    return total


def _in_turn(cost):
    taken, total = set(), 0.0
    for g in range(len(cost[0])):
        q = min((q for q in range(len(cost)) if q not in taken), key=lambda q: cost[q][g])
        taken.add(q)
        total += cost[q][g]
    return total


# 11-ap


def _ranking(rng):
    n = int(rng.integers(1, 12))
    hits = rng.random(n) < 0.6
    scores = rng.permutation(np.linspace(0.05, 0.95, n)).round(3)
    return scores, hits, int(hits.sum() + rng.integers(0, 3)) or 1


def _ap(scores, hits, n_true, order=lambda s: np.argsort(-s), best=True, total=None, pick=None):
    hits = hits[order(scores)]
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(found) + 1)
    if best:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = found / (n_true if total is None else max(1, total(hits)))
    if pick is not None:
        return pick(precision, recall, hits, n_true)
    return float(np.append(precision, 0.0)[np.searchsorted(recall, np.linspace(0, 1, 101))].mean())


def _ap_by_loops(scores, hits, n_true):
    found, lists = 0, []
    for rank, place in enumerate(np.argsort(-scores), 1):
        found += bool(hits[place])
        lists.append((found / n_true, found / rank))
    levels = [max((p for r, p in lists if r >= level - 1e-12), default=0.0) for level in np.linspace(0, 1, 101)]
    return sum(levels) / 101


def _ap_by_table(scores, hits, n_true):
    ranked = hits[np.argsort(scores)[::-1]].astype(float)
    found = ranked.cumsum()
    precision, recall = found / (1 + np.arange(len(ranked))), found / n_true
    reached = recall[None] >= np.linspace(0, 1, 101)[:, None] - 1e-12
    return np.where(reached, precision, 0.0).max(axis=1).mean()


def _ap_by_levels(scores, hits, n_true, levels=101, strict=False, skipped=False):
    found = np.cumsum(hits[np.argsort(-scores)])
    precision, recall = found / np.arange(1, len(found) + 1), found / n_true
    best = []
    for level in np.linspace(0, 1, levels):
        reached = recall > level if strict else recall >= level
        if reached.any() or not skipped:
            best.append(precision[reached].max() if reached.any() else 0.0)
    return float(np.mean(best)) if best else 0.0


EXERCISES = [
    Exercise(
        id="11-slots", title="queries with nothing to say", minutes=3, difficulty=1,
        task="On paper. A batch has 8 scenes with 24 glyphs in all, and each scene gets 16 answers. Every glyph is answered for by one query of its own. How many answers of the batch should be \"nothing\"?",
        stub="nothing = ...  # a whole number", name="nothing",
        hints=(
            "How many answers does the batch get in all?",
            "One answer for each glyph has a class. What should all the others say?",
            "8 · 16 answers, and 24 of them have a class.",
        ),
        answer=104, another=(104.0, 8 * 16 - 24),
        wrong=(
            (128, "that's all answers: 24 of them name a glyph"),
            (24, "that's how many name a glyph: the others are asked for"),
            (13, "that's for one scene, on average: the batch has 8"),
            (-8, "you took the glyphs of all 8 scenes from the answers of one"),
            (8, "16 answers are what *each* scene gets: there are 8 scenes"),
            (3, "that's how many glyphs a scene has on average"),
        ),
        right="13 of 16 say \"nothing\", so in the loss a \"nothing\" counts for less: a fifth, here",
    ),
    Exercise(
        id="11-iou", title="how well two boxes fit", minutes=10, difficulty=2,
        task="Write `box_iou(a, b)`: for every box of `a` (N, 4) and every box of `b` (M, 4), the area of their overlap divided by the area that they cover together, (N, M). "
        "A box is (cx, cy, w, h): its middle, width and height. Boxes that don't meet get 0.",
        stub="def box_iou(a, b):\n    # a (N, 4), b (M, 4), boxes as cx, cy, w, h -> (N, M)\n    return ...", name="box_iou",
        hints=(
            "Where does the overlap begin on the left, and where does it end on the right? What if it ends before it begins?",
            "Left is cx − w/2. The overlap's left side is the larger of the two lefts, its right side the smaller of the two rights. `a[:, None]` and `b[None]` meet as (N, M, …).",
            "sides = (smaller right/bottom − larger left/top).clamp(min=0); both = sides.prod(-1); union = area of a + area of b − both.",
        ),
        answer=box_iou, another=(_iou_by_loops, lambda a, b: _iou(a, b)),
        inputs=_boxes,
        special=(("two boxes that don't meet", _box(0.2, 0.2, 0.1, 0.1), _box(0.8, 0.8, 0.1, 0.1)), ("the same box twice", _box(0.5, 0.5, 0.2, 0.4), _box(0.5, 0.5, 0.2, 0.4))),
        wrong=(
            (lambda a, b: _iou(a, b, low=None), "boxes that don't meet: their sides come out negative, and two negative sides make a positive area. Clamp each at 0 first"),
            (lambda a, b: _iou(a, b, over=lambda both, one, other: both / (one + other)), "the overlap is counted twice in what they cover together: take it away once"),
            (lambda a, b: _iou(a, b, over=lambda both, one, other: both), "that's the overlap's area: divide it by the area that they cover together"),
            (lambda a, b: _iou(a, b, over=lambda both, one, other: both / one.expand_as(both)), "you divide by the area of a's box alone"),
            (lambda a, b: _iou(a, b, over=lambda both, one, other: both / torch.minimum(one, other)), "you divide by the smaller box: a small box inside a large one would fit perfectly"),
            (lambda a, b: _iou(a, b, corners=_as_corners), "a box is (cx, cy, w, h): you took its numbers for left, top, right and bottom"),
            (lambda a, b: _iou(a, b, corners=_from_corner), "(cx, cy) is the middle of the box, not its corner: left is cx − w/2"),
            (lambda a, b: _iou(a, b, corners=_double), "left is cx − w/2: you took the whole width to each side"),
            (lambda a, b: _iou(a, b).T, "the axes are swapped: a row for each box of a"),
            (lambda a, b: 100 * _iou(a, b), "right in per cent: a number from 0 to 1 was wanted"),
            (lambda a, b: 1 - _iou(a, b), "that's 1 − IoU: a perfect fit is 1"),
        ),
        right="intersection over union: 1 for a perfect fit, 0 for boxes that don't meet",
        ours="bigmodel_lib.vision.detection:box_iou",
    ),
    Exercise(
        id="11-pairs", title="who answers for whom?", minutes=4, difficulty=2,
        task="On paper. Two queries, two glyphs. The costs are: query 1 with glyph A 1, with glyph B 2; query 2 with glyph A 3, with glyph B 9. Each query answers for one glyph. What's the lowest total cost?",
        stub="lowest = ...  # a number", name="lowest",
        hints=(
            "There are only two ways to pair them. What does each cost?",
            "The cheapest single pair, 1, isn't part of the best pairing. What's left for the other query if you take it?",
            "1 + 9 against 2 + 3.",
        ),
        answer=5, another=(5.0, 2 + 3),
        wrong=(
            (10, "that's greedy: it takes the cheapest pair first, 1, and then has to pay 9"),
            (3, "1 + 2 lets query 1 answer for both glyphs: each query answers for one"),
            (4, "1 + 3 pairs both queries with glyph A"),
            (1, "that's one pair: both glyphs have to be answered for"),
            (15, "that's the sum of all four costs"),
            (11, "2 + 9 pairs both queries with glyph B"),
        ),
        right="1-B and 2-A: the best pairing gives up the cheapest pair",
    ),
    Exercise(
        id="11-cheapest", title="the cheapest pairing", minutes=8, difficulty=2,
        task="Write `cheapest(cost)`. `cost` is a list of Q rows, one a query, each a list of n costs, one a glyph, and there are at least as many queries as glyphs. Give every glyph a query of its own, in the cheapest way. Return the total cost. Just try them all: `itertools.permutations(range(Q), n)` gives every way to choose n different queries, in order.",
        stub="def cheapest(cost):\n    # cost: Q lists of n numbers -> the lowest total, a number\n    return ...", name="cheapest",
        hints=(
            "A permutation like (4, 0, 2) can be read as: query 4 for glyph 0, query 0 for glyph 1, query 2 for glyph 2. What does it cost?",
            "For one `chosen`, `enumerate(chosen)` gives pairs of glyph and query. Sum `cost[query][glyph]`.",
            "min(sum(cost[q][g] for g, q in enumerate(chosen)) for chosen in itertools.permutations(range(len(cost)), len(cost[0]))).",
        ),
        answer=cheapest, another=(_cheapest_by_recursion, _cheapest_by_scipy), inputs=_costs,
        special=(("greed costs more", [[1.0, 2.0], [3.0, 9.0]]), ("one glyph, three queries", [[2.0], [-1.0], [0.5]])),
        tolerance=Tolerance(absolute=1e-9),
        wrong=(
            (_greedy, "that's greedy: the cheapest pair of all comes first, and the last glyph pays for it. Try all ways"),
            (_in_turn, "each glyph takes the cheapest query that's left, one after the other: what's best for the first may be dear for the next"),
            (lambda cost: sum(min(row[g] for row in cost) for g in range(len(cost[0]))), "each glyph got its cheapest query, and two may have got the same one: a query answers once"),
            (lambda cost: sum(sorted(min(row) for row in cost)[: len(cost[0])]), "each query got its cheapest glyph, and a glyph may have been answered for twice"),
            (lambda cost: sum(min(row) for row in cost), "every query answers here: only as many as there are glyphs should"),
            (lambda cost: min(sum(cost[q][g] for g, q in enumerate(way)) for way in itertools.combinations(range(len(cost)), len(cost[0]))), "`combinations` gives each choice of queries in one order only: the second glyph may want the first query"),
            (lambda cost: min(min(row) for row in cost), "that's the cheapest single pair: every glyph needs a query"),
            (lambda cost: sum(cost[g][g] for g in range(len(cost[0]))), "that's one pairing, query 0 for glyph 0 and so on: try the others, too"),
            (lambda cost: max(sum(cost[q][g] for g, q in enumerate(way)) for way in itertools.permutations(range(len(cost)), len(cost[0]))), "that's the dearest pairing: `min`, not `max`"),
            (lambda cost: cheapest(cost) / len(cost[0]), "that's the mean cost of a pair: the total was wanted"),
            (lambda cost: min(itertools.permutations(range(len(cost)), len(cost[0])), key=lambda way: sum(cost[q][g] for g, q in enumerate(way))), "you return who answers for whom: the total cost was wanted"),
        ),
        right="sixteen queries and five glyphs would make half a million ways: that's what the Hungarian method is for",
        ours="bigmodel_lib.exercises.nb11c:cheapest",
    ),
    Exercise(
        id="11-ap", title="average precision", minutes=12, difficulty=3,
        task="Write `average_precision(scores, hits, n_true)`. A detector put out P boxes of one class. `scores` (P,) says how sure it was of each, `hits` (P,) whether the box is right, and there are `n_true` glyphs to be found. "
        "Go down the list, the surest first. After each box you have a *precision*, the share of boxes so far that are right, and a *recall*, the share of the glyphs that have been found. "
        "For each recall level 0, 0.01, …, 1 take the best precision at any point of the list whose recall is at least that level, and 0 if there's none. Return the mean of these 101 numbers.",
        stub="def average_precision(scores, hits, n_true):\n    # scores (P,), hits (P,) True or False, n_true > 0 -> a number\n    return ...", name="average_precision",
        hints=(
            "Sort first. With `hits` in that order, what's the number of right boxes after each step?",
            "`found = np.cumsum(hits[np.argsort(-scores)])`, precision is found / (1, 2, 3, …), recall is found / n_true. Then a loop over `np.linspace(0, 1, 101)`.",
            "For a level: `precision[recall >= level].max()` if any, else 0. Then the mean of all.",
        ),
        answer=average_precision, another=(_ap_by_loops, _ap_by_table), inputs=_ranking,
        special=(
            ("all found, none wrong", np.array([0.9, 0.8]), np.array([True, True]), 2),
            ("a wrong box in front", np.array([0.9, 0.8]), np.array([False, True]), 1),
            ("half of them found", np.array([0.9]), np.array([True]), 2),
            ("none right", np.array([0.9, 0.3]), np.array([False, False]), 3),
        ),
        tolerance=Tolerance(absolute=1e-9),
        wrong=(
            (lambda s, h, n: _ap(s, h, n, order=lambda s: np.argsort(s)), "you begin with the least sure box: the surest comes first"),
            (lambda s, h, n: _ap(s, h, n, order=lambda s: np.arange(len(s))), "sort by the scores first"),
            (lambda s, h, n: _ap(s, h, n, total=lambda h: h.sum()), "recall is a share of all glyphs that are there, n_true, also of those that weren't found"),
            (lambda s, h, n: _ap(s, h, n, total=lambda h: len(h)), "recall is a share of the glyphs, n_true, not of the boxes"),
            (lambda s, h, n: float(np.mean(h)), "that's the share of right boxes: it doesn't know how sure the detector was of which"),
            (lambda s, h, n: _ap(s, h, n, best=False), "at each level the *best* precision counts, of all lists that reach it, also longer ones"),
            (lambda s, h, n: _ap(s, h, n, pick=lambda p, r, h, n: float(p.mean())), "that's the mean over the boxes: take it over the 101 levels of recall"),
            (lambda s, h, n: _ap(s, h, n, pick=lambda p, r, h, n: float((p * h).sum() / n)), "close: that's the mean over the glyphs. Over the 101 levels 0, 0.01, …, 1 was wanted, as COCO does it"),
            (lambda s, h, n: float(h.sum() / n), "that's the recall at the end of the list: precision counts, too"),
            (lambda s, h, n: _ap_by_levels(s, h, n, strict=True), "a level that's reached exactly counts as reached: `>=`"),
            (lambda s, h, n: _ap_by_levels(s, h, n, skipped=True), "a level that no list reaches counts as 0: you left it out of the mean"),
            (lambda s, h, n: _ap_by_levels(s, h, n, levels=11), "that's the mean over 11 levels, as contests had it before: take the 101 levels 0, 0.01, …, 1"),
            (lambda s, h, n: 100 * average_precision(s, h, n), "right in per cent: a number from 0 to 1 was wanted"),
        ),
        right="surest first, and every wrong box in front of a right one costs",
        ours="bigmodel_lib.vision.detection:average_precision",
    ),
]  # fmt: skip
