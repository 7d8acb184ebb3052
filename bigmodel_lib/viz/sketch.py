"""A sheet to draw on with the mouse, and what a model makes of the drawing. Its script is beside it."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from matplotlib.colors import to_rgba_array
from numpy import ndarray
from torch import Tensor

from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.vision.glyphs import fitted
from bigmodel_lib.viz.plots import BLUE, ORANGE, RED, draw_bars
from bigmodel_lib.viz.widgets import Toy

SIDE, PEN = 28, 1.3  # pixels of the sheet's side, and the pen's radius
SEVEN = ((6, 7), (21, 7), (15, 15), (12, 23))  # corners of a 7, (x, y)
UPPER_THREE = ((8, 9), (11, 5), (17, 5), (20, 9), (17, 13), (13, 14))  # the upper half of a 3


def stroke(corners: Sequence[tuple[float, float]]) -> ndarray:
    """A line through these places, drawn with the sheet's pen: (28, 28), ink 1."""
    y, x = np.mgrid[:SIDE, :SIDE]
    ink = np.zeros((SIDE, SIDE))
    for (ax, ay), (bx, by) in zip(corners, corners[1:], strict=False):
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        ink = np.maximum(ink, np.clip(PEN + 0.5 - np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)), 0, 1))
    return ink


class Sketch(Toy):
    """A sheet of 28 × 28 pixels; `answer` (the sheet (28, 28), ink 1) -> {what is to be shown: its values}.

    bars    [[name, share], …], the longest first
    seen    an image (28, 28) that the model looked at, whose patches can be pointed at
    maps    attention maps (L, H, N, N) over its N patches, row by row
    drawn   images (n, s, s) that the model drew
    """

    caption = "In JupyterLab: draw with the mouse. Then point at a patch on the right to see where it looks."
    pixels = traitlets.Bytes(bytes(SIDE * SIDE)).tag(sync=True, from_json=lambda value, _: bytes(value))
    bars = traitlets.List([]).tag(sync=True)
    seen = traitlets.Bytes(b"").tag(sync=True)
    maps = traitlets.Bytes(b"").tag(sync=True)
    grid = traitlets.List([0, 0, 0]).tag(sync=True)  # layers, heads, patches along a side
    drawn = traitlets.Bytes(b"").tag(sync=True)
    drawn_side = traitlets.Int(8).tag(sync=True)
    point = traitlets.List([0, 0, -1]).tag(sync=True)  # layer, head, patch

    def __init__(self, answer: Callable[[ndarray], dict], sheet: ndarray | None = None, title: str = "", **more: Any):
        self.answer, self.title = answer, title
        drawing = stroke(SEVEN) if sheet is None else sheet
        super().__init__(pixels=as_bytes(drawing), **more)
        self.observe(lambda _: self.look(), "pixels")
        self.look()

    @property
    def sheet(self) -> ndarray:
        """What has been drawn: (28, 28), ink 1."""
        return np.frombuffer(self.pixels, np.uint8).reshape(SIDE, SIDE) / 255

    def look(self) -> None:
        """Ask the model, and show what it says; an empty sheet is not shown to it."""
        found = self.found = self.answer(self.sheet) if any(self.pixels) else {}
        self.bars = [[name, float(share)] for name, share in found.get("bars", [])]
        if "drawn" in found:
            self.drawn_side = found["drawn"].shape[-1]
        if "maps" in found:
            layers, heads, patches, _ = found["maps"].shape
            self.grid = [layers, heads, round(patches**0.5)]
        self.seen, self.drawn, self.maps = (as_bytes(found.get(name, [])) for name in ("seen", "drawn", "maps"))

    def picture(self) -> tuple[Any, str]:
        panels = 1 + bool(self.seen) + bool(self.bars)
        images = self.found.get("drawn", [])
        n, size = panels + len(images), (2.9 * panels + 1.3 * len(images), 2.9)
        figure, grid = plt.subplots(1, n, figsize=size, layout="constrained", squeeze=False)
        axes = list(grid[0])
        figure.suptitle(self.title, x=0.01, ha="left", fontsize=12)
        for ax, image in zip(axes, [self.sheet, *([self.found["seen"]] if self.seen else []), *images], strict=False):
            ax.imshow(np.asarray(image), cmap="gray_r")
            ax.set_axis_off()
        axes[0].set_title("the sheet", fontsize=10.5)
        if self.seen:
            axes[1].set_title("what it reads, and where one patch looks", fontsize=10.5)
            self.draw_look(axes[1])
        if self.bars:
            names, shares = zip(*self.bars, strict=True)
            draw_bars(names, shares, axes[-1], BLUE)
            axes[-1].set(xlim=(0, 1), xlabel="probability")
        made = "images that the model drew from it" if self.drawn else "bars of what the model takes it for"
        return figure, f"A digit drawn with a thick line, and {made}."

    def draw_look(self, ax: Any) -> None:
        """Where the patch at `point` looks, in colour over the image, a frame around it."""
        (layer, head, patch), side, size = self.point, self.grid[2], len(self.found["seen"])
        patch = patch if patch >= 0 else side * (side // 2) + side // 2
        weights = np.asarray(self.found["maps"][layer, head, patch])
        colours = to_rgba_array(RED, 0.8 * np.sqrt(weights / weights.max())).reshape(side, side, 4)
        ax.imshow(colours, extent=(-0.5, size - 0.5, size - 0.5, -0.5))
        p = size / side
        corner = (p * (patch % side) - 0.5, p * (patch // side) - 0.5)
        ax.add_patch(plt.Rectangle(corner, p, p, fill=False, edgecolor=ORANGE, linewidth=2))


def as_bytes(values: Any) -> bytes:
    """Numbers from 0 to 1 as bytes."""
    return np.rint(255 * np.clip(np.asarray(values, dtype=float), 0, 1)).astype(np.uint8).tobytes()


def reads(model: Any, names: str) -> Callable[[ndarray], dict]:
    """What a reader of images says of a sheet: the drawing is put in the middle, 20 pixels long, as in training.

    Its five likeliest of the first ten names, the digits, with their shares among these.
    """

    def answer(sheet: ndarray) -> dict:
        image = fitted(torch.from_numpy(sheet).float(), SIDE, 20)[None]
        with torch.no_grad():
            chances: Tensor = model(image)[0, :10].softmax(dim=-1)
        best = chances.topk(5)
        bars = [(names[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
        return {"bars": bars, "seen": image[0], "maps": record(model, image, "weights")[:, 0]}

    return answer
