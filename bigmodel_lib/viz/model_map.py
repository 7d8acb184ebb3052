"""The map of the whole model, with the part that a section is about in colour: “you are here”."""

from collections.abc import Collection

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bigmodel_lib.viz.plots import DARK, ORANGE, PINK, SKY

YELLOW, PALE = "#F0E442", "#D6D6D6"  # the colours of queries, keys and values are not used here
PARTS = {"embedding": PALE, "positions": PINK, "norm": YELLOW, "attention": ORANGE, "mlp": SKY, "stream": DARK,
         "output": PALE}  # fmt: skip
OFF = "#BBBBBB"


def draw_model_map(title: str, lit: Collection[str] = tuple(PARTS)) -> Axes:
    """GPT-2's architecture from tokens to the next token, one block drawn; only the parts `lit` have their colours.

    lit: some of PARTS. Source: Radford et al. 2019, section 2.3, drawn after Elhage et al. 2021 as one stream.
    """
    figure = plt.figure(figsize=(9.4, 2.9))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(0, 9.4), ylim=(-0.25, 2.65))
    ax.set_title(title, loc="left", fontsize=12, y=0.9, x=0.01)
    colour = {part: shade if part in lit else OFF for part, shade in PARTS.items()}
    ax.annotate("", (7.68, 0.55), (1.9, 0.55), arrowprops=dict(arrowstyle="-|>", color=colour["stream"], linewidth=5))
    ax.text(4.85, 0.14, "residual stream: one row of numbers a token", ha="center", fontsize=9.5, color=DARK)
    ax.add_patch(
        plt.Rectangle((2.3, -0.02), 5.0, 2.12, facecolor="none", edgecolor=DARK, linestyle="--", linewidth=0.9)
    )
    ax.text(7.2, 1.9, "a block, × L", ha="right", fontsize=9.5, color=DARK)
    ax.text(0.42, 0.55, "tokens", ha="center", va="center", fontsize=10)
    _part(ax, 1.35, 0.55, "embedding\nrow", colour["embedding"], 1.0)
    arrow = dict(arrowstyle="-|>", linewidth=1.8, shrinkA=0, shrinkB=0)
    ax.annotate("", (1.35, 0.86), (1.35, 1.15), arrowprops={**arrow, "color": colour["positions"]})
    ax.annotate("", (0.85, 0.55), (0.68, 0.55), arrowprops={**arrow, "color": colour["stream"]})
    ax.annotate("", (8.46, 0.55), (8.28, 0.55), arrowprops={**arrow, "color": colour["stream"]})
    _part(ax, 1.35, 1.35, "+ position", colour["positions"], 1.0, 0.4)
    for left, name in ((2.5, "attention"), (4.9, "mlp")):
        _branch(ax, left, name, colour)
    _part(ax, 7.98, 0.55, "norm", colour["norm"], 0.6, 0.45)
    _part(ax, 8.9, 0.55, "output\n+ softmax", colour["output"], 0.88)
    ax.text(8.9, 0.02, "next token", ha="center", fontsize=10)
    return ax


def _part(ax: Axes, x: float, y: float, words: str, colour: str, width: float, height: float = 0.62) -> None:
    """A box in its colour, around x and y."""
    box = (x - width / 2, y - height / 2), width, height
    off = colour == OFF
    ax.add_patch(plt.Rectangle(*box, facecolor="white" if off else colour, edgecolor=colour, linewidth=1.4, zorder=3))
    ax.text(x, y, words, ha="center", va="center", fontsize=9.5, zorder=4, color=DARK if off else "black")


def _branch(ax: Axes, left: float, name: str, colour: dict[str, str]) -> None:
    """Reads the stream on the left, computes above it, adds to it on the right."""
    right = left + 2.0
    ax.plot([left, left, right], [0.55, 1.35, 1.35], color=colour[name], linewidth=1.8, zorder=2)
    ax.annotate("", (right, 0.64), (right, 1.37), arrowprops=dict(arrowstyle="-|>", color=colour[name], linewidth=1.8))
    _part(ax, left + 0.32, 1.35, "norm", colour["norm"], 0.6, 0.45)
    _part(ax, left + 1.28, 1.35, {"mlp": "MLP"}.get(name, name), colour[name], 0.95)
    ax.plot(right, 0.55, "o", markersize=13, color="white", markeredgecolor=DARK, zorder=4)
    ax.text(right, 0.55, "+", ha="center", va="center_baseline", fontsize=12, weight="bold", color=DARK, zorder=5)
