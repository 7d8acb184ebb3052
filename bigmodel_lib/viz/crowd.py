"""Glyphs to push together with the mouse, and what a detector still finds in the scene. Its script is beside it."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from torch import Tensor

from bigmodel_lib.config import require
from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.vision.glyphs import draw
from bigmodel_lib.viz.plots import BLUE
from bigmodel_lib.viz.sketch import as_bytes
from bigmodel_lib.viz.widgets import Toy

Answer = Callable[[Tensor], tuple[list, Tensor]]


class Crowd(Toy):
    """A scene whose glyphs can be moved: `Crowd(finds(detector, CLASSES), ink, where)`.

    answer  the scene (S, S) -> ([name, score, cx, cy, w, h] for each query, where each looks (Q, n, n), 0 to 1)
    ink (n, 32, 32) and where (n, 2, 3) are the glyphs and their poses, as `draw` takes them.
    """

    caption = "In JupyterLab: drag the glyphs. Boxes follow; click a name to see where its query looks."
    side = traitlets.Int(48).tag(sync=True)
    pixels = traitlets.Bytes(b"").tag(sync=True)
    places = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)  # x, y of each glyph's middle, in pixels
    found = traitlets.List(traitlets.List()).tag(sync=True)
    looks = traitlets.Bytes(b"").tag(sync=True)
    threshold = traitlets.Float(0.5).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)  # the query whose look is shown; -1: none

    def __init__(self, answer: Answer, ink: Tensor, where: Tensor, title: str = "", **more: Any):
        require(len(ink) == len(where), f"as many poses as glyphs were wanted: {len(ink)}, {len(where)}")
        self.answer, self.ink, self.linear, self.title = answer, ink, where[:, :, :2], title
        super().__init__(**more)
        middles = -torch.linalg.solve(self.linear, where[:, :, 2:])[..., 0]
        self.places = ((middles + 1) * self.side / 2).tolist()
        self.noise = 0.1 * torch.randn(self.side, self.side, generator=torch.Generator().manual_seed(0))
        self.observe(lambda _: self.look(), "places")
        self.look()

    def scene(self) -> Tensor:
        """The glyphs where they have been put: (S, S), ink 1."""
        shift = -self.linear @ (2 * torch.tensor(self.places)[..., None] / self.side - 1)
        return draw(self.ink, torch.cat([self.linear, shift], dim=-1), self.side).amax(dim=0) + self.noise

    def look(self) -> None:
        """Ask the detector, and show what it finds."""
        scene = self.scene()
        rows, self.maps = self.answer(scene)
        self.looks, self.pixels, self.found = as_bytes(self.maps), as_bytes((scene + 0.3) / 1.5), rows

    def sure(self) -> list[int]:
        """The queries that are at least as sure as the threshold asks, the surest first."""
        order = sorted(range(len(self.found)), key=lambda query: -self.found[query][1])
        return [query for query in order if self.found[query][1] >= self.threshold]

    def picture(self) -> tuple[Any, str]:
        sure = self.sure()
        chosen = self.chosen if self.chosen >= 0 else (sure or [0])[0]
        figure, axes = plt.subplots(1, 2, figsize=(7.6, 4.0), layout="constrained")
        figure.suptitle(self.title, x=0.01, ha="left", fontsize=12)
        panels = (axes[0], "what it finds", sure), (axes[1], f"where query {chosen} looks", [chosen])
        for ax, name, queries in panels:
            ax.imshow(self.scene().numpy(), cmap="gray_r", vmin=-0.3, vmax=1.2)
            ax.set_title(name, fontsize=11)
            ax.set_axis_off()
            for place, query in enumerate(queries):
                draw_box(ax, self.found[query], self.side, below=place % 2 == 1)
        edge = (-0.5, self.side - 0.5, self.side - 0.5, -0.5)
        axes[1].imshow(np.asarray(self.maps[chosen]), cmap="Oranges", alpha=0.55, extent=edge)
        said = ", ".join(f"{self.found[query][0]} {self.found[query][1]:.2f}" for query in sure)
        return figure, f"A scene of glyphs with boxes: {said or 'none'}; beside it the cells that one query looks at."


def draw_box(ax: Any, row: list, side: int, below: bool = False) -> None:
    """A frame with its name and score above or below it: [name, score, cx, cy, w, h], the box in shares of the side."""
    name, score, cx, cy, w, h = row
    left, top = side * (cx - w / 2) - 0.5, side * (cy - h / 2) - 0.5
    ax.add_patch(plt.Rectangle((left, top), side * w, side * h, fill=False, edgecolor=BLUE, linewidth=1.8))
    at = top + side * h + 2.6 if below else max(top, 2) - 0.6
    paper = dict(facecolor="white", alpha=0.8, linewidth=0, pad=0.8)
    ax.text(left, at, f"{name} {score:.2f}", color=BLUE, fontsize=10, weight="bold", bbox=paper)


def finds(detector: Any, names: str) -> Answer:
    """What a detector finds in a scene, and where its queries look in the last layer, mean over the heads."""

    def answer(scene: Tensor) -> tuple[list, Tensor]:
        (scores,), (kinds,), (boxes,) = detector.find(scene[None])
        rows = zip(kinds.tolist(), scores.tolist(), boxes.tolist(), strict=True)
        weights = record(detector, scene[None], "weights")[-1, 0, :, -len(scores) :, : detector.side**2].mean(dim=0)
        looks = (weights / weights.amax(dim=-1, keepdim=True)).view(-1, detector.side, detector.side)
        return [[names[kind], score, *box] for kind, score, box in rows], looks

    return answer
