"""The roofline to play with: one product of matrices, and what holds it up on a card. Its script is beside it."""

from typing import Any

import numpy as np
import traitlets

from bigmodel_lib.viz.plots import BLUE, GREEN, GREY, RED, new_axes
from bigmodel_lib.viz.widgets import Toy

BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2}
COLOURS = {"float32": BLUE, "tf32": GREEN, "bfloat16": RED}


def least_times(m: int, k: int, n: int, size: int, peak: float, bandwidth: float) -> tuple[float, float]:
    """The least seconds that an (m, k) @ (k, n) product needs: (for moving its numbers, for its arithmetic).

    size (m k + k n + m n) / bandwidth and 2 m k n / peak, each number of `size` bytes moved once; the longer one bounds
    the product. peak in operations a second, bandwidth in bytes a second. Source: Williams et al. 2009.
    """
    moved = size * (m * k + k * n + m * n)
    operations = 2 * m * k * n
    return moved / bandwidth, operations / peak


class Roofline(Toy):
    """A product whose sizes, format and card the reader sets."""

    caption = "In JupyterLab: drag the star, or set the sizes. Rings are measured square products of 1024 to 8192."
    cards = traitlets.Dict().tag(sync=True)  # {name: {"bandwidth", "peaks" and "measured", both by format}}
    card = traitlets.Unicode().tag(sync=True)
    format = traitlets.Unicode("bfloat16").tag(sync=True)
    m = traitlets.Int(256).tag(sync=True)
    k = traitlets.Int(4096).tag(sync=True)
    n = traitlets.Int(4096).tag(sync=True)

    def __init__(self, measured: dict[str, dict], **more: Any):
        cards = {}
        for name, found in measured.items():
            rows = found["products"]["products"]
            peaks = {kind: 1e12 * found["card"]["peak_tflops"][kind] for kind in BYTES}
            dots = {kind: [[r["size"], 1e12 * r["tflops"]] for r in rows if r["format"] == kind] for kind in BYTES}
            bandwidth = found["products"]["copied_bytes_per_second"]
            cards[name] = {"bandwidth": bandwidth, "peaks": peaks, "measured": dots}
        super().__init__(cards=cards, **{"card": next(iter(cards)), **more})

    def times(self) -> tuple[float, float]:
        """`least_times` of the product as it is set."""
        card = self.cards[self.card]
        size, peak = BYTES[self.format], card["peaks"][self.format]
        return least_times(self.m, self.k, self.n, size, peak, card["bandwidth"])

    def picture(self) -> tuple[Any, str]:
        card = self.cards[self.card]
        moving, computing = self.times()
        pace = "memory sets the pace" if moving > computing else "arithmetic sets the pace"
        title = f"({self.m}, {self.k}) @ ({self.k}, {self.n}) on an {self.card}: {pace}"
        ax = new_axes(title, "operations for each byte moved", "10¹² operations a second", 7.0, 4.2)
        x = np.geomspace(0.1, 1e4, 200)
        for kind, peak in card["peaks"].items():
            style = dict(color=COLOURS[kind], linewidth=2.4 if kind == self.format else 1.0)
            ax.loglog(x, np.minimum(peak, card["bandwidth"] * x) / 1e12, **style)
            ax.text(1.1e4, peak / 1e12, kind.replace("tf", "TF"), color=COLOURS[kind], va="center", fontsize=10)
        dots = np.array(card["measured"][self.format])
        ax.plot(dots[:, 0] * 2 / 3 / BYTES[self.format], dots[:, 1] / 1e12, "o", color="none", markeredgecolor=GREY)
        ax.text(9e3, 0.3, "○ measured, n³, n = 1024 to 8192", color=GREY, ha="right", fontsize=10)
        operations = 2.0 * self.m * self.k * self.n
        intensity = operations / (moving * card["bandwidth"])
        ax.plot(intensity, operations / max(moving, computing) / 1e12, "*", color="black", markersize=15)
        alt = "Three roofs on logarithmic axes, each rising with operations per byte until it is flat; a star on one."
        return ax.figure, alt
