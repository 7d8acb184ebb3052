"""Several glyphs in a scene: boxes, a transformer whose queries find a set of them, a heat map, and how good they are.

Shapes: B scenes, Q queries, M places for glyphs (label -1: none there), C classes; boxes (…, 4) as cx, cy, w, h in
shares of the image's side. Found are always (scores (B, Q), labels (B, Q), boxes (B, Q, 4)).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model.layers import Hooks
from bigmodel_lib.vision.models import PatchTransformer, convolutions, grid_places

Found = tuple[Tensor, Tensor, Tensor]
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU, for the mean AP


def corners(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) -> (left, top, right, bottom)."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """The intersection over the union of every box of a with every box of b: (…, N, 4), (…, M, 4) -> (…, N, M)."""
    a, b = corners(a)[..., :, None, :], corners(b)[..., None, :, :]
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    both = sides.clamp(min=0).prod(dim=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1)
    return both / (areas - both).clamp(min=1e-9)


def box_cost(a: Tensor, b: Tensor) -> Tensor:
    """5 · ‖a - b‖₁ + 2 · (1 - GIoU) of every pair of boxes: (…, N, 4), (…, M, 4) -> (…, N, M).

    GIoU = IoU - (hull - union) / hull, with the smallest box around both as hull (Rezatofighi et al. 2019): it still
    has a slope where boxes do not meet. Source: Carion et al. 2020, eq. 9.
    """
    far = (a[..., :, None, :] - b[..., None, :, :]).abs().sum(dim=-1)
    ca, cb = corners(a)[..., :, None, :], corners(b)[..., None, :, :]
    hull = (torch.maximum(ca[..., 2:], cb[..., 2:]) - torch.minimum(ca[..., :2], cb[..., :2])).prod(dim=-1)
    iou, areas = box_iou(a, b), a[..., 2:].prod(dim=-1)[..., :, None] + b[..., 2:].prod(dim=-1)[..., None, :]
    union = areas / (1 + iou)  # since iou · union = areas - union
    return 5 * far + 2 * (1 - iou + (hull - union) / hull.clamp(min=1e-9))


def pair_cost(logits: Tensor, boxes: Tensor, labels: Tensor, true: Tensor) -> Tensor:
    """What it costs to let a query answer for a glyph: the box's cost minus p(the glyph's class): (B, Q, M)."""
    p = logits.softmax(dim=-1)
    of_class = p.gather(2, labels.clamp(min=0)[:, None].expand(-1, p.shape[1], -1))
    return box_cost(boxes, true) - of_class


def match(cost: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cheapest one-to-one pairing in every scene: (scenes, queries, places), one row a glyph (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment

    costs, there = cost.detach().float().cpu().numpy(), (labels >= 0).cpu().numpy()
    found: list[tuple[int, int, int]] = []
    for scene, (one, here) in enumerate(zip(costs, there, strict=True)):
        places = np.flatnonzero(here)
        queries, columns = linear_sum_assignment(one[:, places])
        found += zip([scene] * len(queries), queries.tolist(), places[columns].tolist(), strict=True)
    rows = torch.tensor(found, device=cost.device).view(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


class Detector(PatchTransformer):
    """images (B, S, S) -> (logits (B, Q, C + 1), boxes (B, Q, 4)): learned queries beside the cells of a feature map.

    The last class is "nothing". Convolutions make the cells, 4 × 4 pixels each, in place of patches. Each of 16 queries
    has a home on a 4 × 4 grid, from which its box is measured, and is turned by it as cells are by their places.
    Queries see the cells and each other by plain attention, as in YOLOS (Fang et al. 2021); in DETR (Carion et al.
    2020) they do so in a decoder with cross-attention.
    """

    def __init__(self, config: ModelConfig, width: int = 16):
        super().__init__(config, 4)
        D, channels = config.d_model, 4 * width
        self.body = convolutions(width, (1, 2, 1, 2))
        self.w_patch = nn.Parameter(torch.randn(channels, D) / channels**0.5)
        self.queries = nn.Parameter(0.5 * torch.randn(16, D))
        homes = (grid_places(4).flip(-1) + 0.5) / 4  # x, y
        self.register_buffer("homes", torch.cat([homes, torch.full((16, 2), 0.33)], dim=-1).logit())
        self.to_box = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, 4))
        nn.init.zeros_(self.to_box[2].weight)  # type: ignore[arg-type]
        self.w_heat = nn.Parameter(torch.zeros(D, config.vocab_size + 3))  # in training alone

    def places(self) -> Tensor:
        homes = self.homes[:, :2].sigmoid().flip(-1) * self.side - 0.5  # type: ignore[operator,index]
        return torch.cat([super().places(), homes])

    def embed(self, images: Tensor) -> Tensor:
        cells = self.body(images[:, None]).flatten(2).transpose(1, 2) @ self.w_patch
        return torch.cat([cells, self.queries.expand(len(images), -1, -1)], dim=1)

    def every_layer(self, images: Tensor, hooks: Hooks = None) -> tuple[Tensor, Tensor, Tensor]:
        """What the queries would answer after each block, by the same heads, and a heat map of the first block's cells.

        Shapes: (L, B, Q, C + 1), (L, B, Q, 4), (B, C + 4, n, n).
        """
        states = torch.stack(self.states(images, hooks))
        cells, mine = states[0, :, : -len(self.queries)], states[:, :, -len(self.queries) :]
        heat = (cells @ self.w_heat).transpose(1, 2).unflatten(2, (self.side, self.side)).float()
        return (mine @ self.w_out).float(), (self.to_box(mine).float() + self.homes).sigmoid(), heat

    def forward(self, images: Tensor, hooks: Hooks = None) -> Any:
        logits, boxes, _ = self.every_layer(images, hooks)
        return logits[-1], boxes[-1]

    @torch.no_grad()
    def find(self, images: Tensor) -> Found:
        """Each query's likeliest class other than "nothing", with its probability as score, and its box."""
        logits, boxes = self(images)
        scores, labels = logits.softmax(dim=-1)[..., :-1].max(dim=-1)
        return scores, labels, boxes


def set_loss(model: Detector, images: Tensor, labels: Tensor, boxes: Tensor, helped: float = 1.0) -> Tensor:
    """The loss of a set: cross-entropy of all queries (weight 0.2 for "nothing") and the cost of the matched boxes.

    The pairing comes from the last layer and serves all; every layer's loss counts. Source: Carion et al. 2020.
    """
    logits, found, heat = model.every_layer(images)
    scene, query, place = match(pair_cost(logits[-1], found[-1], labels, boxes), labels)
    L, B, Q, n_classes = logits.shape
    target = torch.full((B, Q), n_classes - 1, device=images.device)
    target[scene, query] = labels[scene, place]
    weight = torch.ones(n_classes, device=images.device)
    weight[-1] = 0.2
    named = functional.cross_entropy(logits.flatten(0, 2), target.flatten().repeat(L), weight)
    pairs = box_cost(found[:, scene, query][..., None, :], boxes[scene, place][None, :, None])
    heat = torch.cat([heat[:, :-4] - 4, heat[:, -4:]], dim=1)  # at first, nothing is likely anywhere
    return named + pairs.mean() + helped * heat_cost(heat, labels, boxes)


class HeatMap(nn.Module):
    """images (B, S, S) -> (B, C + 4, S/4, S/4): a map of centres for each class, and a box at each cell.

    The rival: convolutions alone, one answer for every 4 × 4 pixels. Source: Zhou et al. 2019 (CenterNet).
    """

    def __init__(self, n_classes: int, width: int = 24):
        super().__init__()
        self.body = convolutions(width, (1, 2, 1, 2, 1))
        self.head = nn.Conv2d(4 * width, n_classes + 4, 1)
        nn.init.constant_(self.head.bias, -4.0)  # type: ignore[arg-type]  # at first, nothing is likely anywhere

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images[:, None])).float()

    @torch.no_grad()
    def find(self, images: Tensor, most: int = 16) -> Found:
        """The highest peaks: cells that no neighbour of their class exceeds."""
        out = self(images)
        heat, side = out[:, :-4].sigmoid(), out.shape[-1]
        heat = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)
        scores, place = heat.flatten(1).topk(most)
        label, cell = place // side**2, place % side**2
        boxes = out[:, -4:].flatten(2).gather(2, cell[:, None].expand(-1, 4, -1)).transpose(1, 2)
        return scores, label, box_of(boxes, torch.stack([cell % side, cell // side], dim=-1), side)


def box_of(raw: Tensor, cell: Tensor, side: int) -> Tensor:
    """A cell's four numbers as a box: its middle off the cell's, at most by a cell, and its size. (…, 4), (…, 2)."""
    centre = (cell + 0.5 + raw[..., :2].tanh()) / side
    return torch.cat([centre, (raw[..., 2:] + 3).sigmoid()], dim=-1)


def heat_loss(model: HeatMap, images: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
    """The loss of the maps that a model draws, as `heat_cost` has it."""
    return heat_cost(model(images), labels, boxes)


def heat_cost(out: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss of the maps, softer near a centre (Zhou et al. 2019, eq. 1), and the boxes' cost at the centres.

    out (B, C + 4, n, n): logits of a centre, for each class, and a box's four numbers for `box_of`.
    """
    side = out.shape[-1]
    scene, place = (labels >= 0).nonzero(as_tuple=True)
    kind, true = labels[scene, place], boxes[scene, place]
    cell = (true[:, :2] * side).long().clamp(max=side - 1)
    places = grid_places(side, out.device).flip(-1).view(side, side, 2)  # x, y
    near = torch.exp(-(places - cell[:, None, None]).square().sum(dim=-1) / 1.5)
    soft = torch.zeros_like(out[:, :-4])
    soft.index_put_((scene, kind), near, accumulate=True)
    logits, p = out[:, :-4], out[:, :-4].sigmoid()
    at = (scene, kind, cell[:, 1], cell[:, 0])
    hit = (-(1 - p[at]).square() * functional.logsigmoid(logits[at])).sum()
    miss = -p.square() * functional.logsigmoid(-logits) * (1 - soft.clamp(max=1)).pow(4)
    raw = out[scene, -4:, cell[:, 1], cell[:, 0]]
    return (hit + miss.sum()) / len(scene) + box_cost(box_of(raw, cell, side)[:, None], true[:, None]).mean()


def average_precision(scores: ndarray, hits: ndarray, n_true: int) -> float:
    """The mean precision at recalls 0, 0.01, …, 1: of the shortest lists, best scores first, that reach each recall.

    At a recall the best precision of any list that reaches it counts, and 0 where none does. Shapes: scores and hits
    (P,). Source: Everingham et al. 2010, with COCO's 101 recalls (Lin et al. 2014).
    """
    found = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    precision = found / np.arange(1, len(found) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(found / n_true, np.linspace(0, 1, 101))
    return float(np.append(best, 0.0)[place].mean())


def hits_of(iou: ndarray, scores: ndarray, threshold: float) -> ndarray:
    """Which boxes of one class in one scene are right: best score first, each takes the free glyph that it fits best.

    Shapes: iou (P, G), scores (P,) -> (P,), True if the fit is at least `threshold`.
    """
    free, hits = np.ones(iou.shape[1], dtype=bool), np.zeros(len(iou), dtype=bool)
    for row in np.argsort(-scores, kind="stable"):
        fits = np.where(free & (iou[row] >= threshold), iou[row], -1.0)
        if len(fits) and fits.max() >= 0:
            hits[row], free[fits.argmax()] = True, False
    return hits


def mean_ap(found: Found, labels: Tensor, boxes: Tensor, thresholds: Sequence[float] | ndarray = THRESHOLDS) -> ndarray:
    """The mean over the classes that occur of `average_precision`, at each threshold of the IoU: (len(thresholds),)."""
    scores, kinds, _ = (part.cpu().numpy() for part in found)
    iou, true = box_iou(found[2].cpu(), boxes.cpu()).numpy(), labels.cpu().numpy()
    rows = []
    for kind in np.unique(true[true >= 0]):
        mine, its, row = kinds == kind, true == kind, []
        for threshold in thresholds:
            hits = np.zeros_like(mine)
            for scene in np.flatnonzero(mine.any(axis=1)):
                fits, sure = iou[scene][mine[scene]][:, its[scene]], scores[scene][mine[scene]]
                hits[scene, mine[scene]] = hits_of(fits, sure, threshold)
            row.append(average_precision(scores[mine], hits[mine], its.sum()))
        rows.append(row)
    return np.mean(rows, axis=0)
