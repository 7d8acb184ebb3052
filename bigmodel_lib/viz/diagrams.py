"""Diagrams: where we are in the model, shapes through Q, K and V, heads, a layer's way back, the pipeline, memory."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array

from bigmodel_lib.viz.plots import BLUE, DARK, GREEN, GREY, ORANGE, PINK, RED, SKY, new_canvas

Point = tuple[float, float]
Words = Sequence[str]
CELL = 0.15  # side of one number's square, in inches
STRIP = ("text", "tokens", "embedding", "attention", "MLP", "logits", "next word")
YELLOW, PALE, OFF = "#F0E442", "#D6D6D6", "#BBBBBB"
PARTS = {"embedding": PALE, "positions": PINK, "norm": YELLOW, "attention": ORANGE, "mlp": SKY, "stream": DARK,
         "output": PALE}  # fmt: skip


def _arrow(ax: Axes, start: Point, end: Point, colour: str = "black", linewidth: float = 1.4) -> None:
    style: dict[str, Any] = dict(arrowstyle="-|>", color=colour, linewidth=linewidth, shrinkA=0, shrinkB=0)
    ax.annotate("", end, start, arrowprops=style)


def _box(ax: Axes, centre: Point, words: str, face: Any, edge: str, size: Point, **font: Any) -> None:
    """A rectangle with words in the middle."""
    (x, y), (width, height) = centre, size
    corner = x - width / 2, y - height / 2
    ax.add_patch(plt.Rectangle(corner, width, height, facecolor=face, edgecolor=edge, linewidth=1.4, zorder=3))
    ax.text(x, y, words, ha="center", va="center", zorder=4, **{"fontsize": 9.5, **font})


def _matrix(ax: Axes, corner: Point, rows: int, colours: Words, name: str, below: str, framed: int = -1) -> None:
    """A matrix as squares, its lower left corner given; a colour for each column, and a frame around one row."""
    x, y = corner
    edges = x + CELL * np.arange(len(colours) + 1), y + CELL * np.arange(rows + 1)
    ax.pcolormesh(*edges, [to_rgba_array(colours, 0.45)] * rows, edgecolors="white", linewidth=0.7)
    if framed >= 0:
        frame = (x, y + CELL * (rows - 1 - framed))
        ax.add_patch(plt.Rectangle(frame, CELL * len(colours), CELL, fill=False, edgecolor="black", linewidth=1.6))
    middle = x + CELL * len(colours) / 2
    ax.text(middle, y + CELL * rows + 0.07, name, ha="center", fontsize=10.5)
    ax.text(middle, y - 0.06, below, ha="center", va="top", fontsize=9, color=GREY)


def draw_map(lit: str) -> Axes:
    """The model as a strip of parts with some of `STRIP` lit, such as "tokens, logits": where the reader is."""
    ax = new_canvas(f"You are here: {lit}", 9.4, 1.2)
    for place, name in enumerate(STRIP):
        x, on = 0.05 + 1.35 * place, name in lit.split(", ")
        face, edge, weight = ((RED, 0.3), RED, "bold") if on else ("white", GREY, "normal")
        _box(ax, (x + 0.525, 0.7), name, face, edge, (1.05, 0.5), fontsize=10.5, weight=weight)
        if place:
            _arrow(ax, (x - 0.28, 0.7), (x - 0.03, 0.7), GREY)
    ax.plot((4.1, 4.1, 6.5, 6.5), (0.38, 0.28, 0.28, 0.38), color=GREY, linewidth=1.2)
    ax.text(5.3, 0.03, "a block, repeated", ha="center", fontsize=9.5, color=GREY)
    return ax


def draw_qkv(n_tokens: int, d_model: int, d_k: int, d_v: int, row: int) -> Axes:
    """Attention as shapes: X to Q, K and V, to scores, to weights, to the output; one token's row is framed."""
    T = n_tokens
    ax = new_canvas("One row of Q becomes one row of scores, of weights, of output", 9.6, 5.4)
    _matrix(ax, (0.3, 2.1), T, [GREY] * d_model, "X", f"({T}, {d_model})")
    _matrix(ax, (2.5, 3.9), T, [RED] * d_k, "Q", f"({T}, {d_k})", row)
    _matrix(ax, (2.5, 2.1), T, [BLUE] * d_k, "K", f"({T}, {d_k})")
    _matrix(ax, (2.5, 0.3), T, [GREEN] * d_v, "V", f"({T}, {d_v})")
    for end, words in ((4.5, "$W_Q$"), (2.7, "$W_K$"), (0.9, "$W_V$")):
        _arrow(ax, (1.05, 2.7), (2.35, end))
        ax.text(1.7, (2.7 + end) / 2, words, ha="center", va="center", fontsize=10.5, backgroundcolor="white")
    _matrix(ax, (4.3, 2.9), T, [PINK] * T, "$QK^\\top/\\sqrt{d_k}$", f"scores ({T}, {T})", row)
    _matrix(ax, (6.4, 2.9), T, [ORANGE] * T, "softmax", f"weights ({T}, {T})", row)
    _matrix(ax, (8.5, 1.5), T, [GREEN] * d_v, "output", f"({T}, {d_v})", row)
    _arrow(ax, (2.95, 4.5), (4.2, 3.7), RED)
    _arrow(ax, (2.95, 2.7), (4.2, 3.3), BLUE)
    _arrow(ax, (5.6, 3.5), (6.3, 3.5))
    _arrow(ax, (7.7, 3.3), (8.4, 2.3), ORANGE)
    _arrow(ax, (2.95, 0.9), (8.4, 1.9), GREEN)
    return ax


def draw_heads(n_tokens: int, d_model: int) -> Axes:
    """Two heads as slices of the columns: split, attend each for itself, merge, mix."""
    T, half = n_tokens, d_model // 2
    first, second = [SKY] * half, [PINK] * half
    ax = new_canvas("A head is a slice of the columns, with a softmax of its own", 9.6, 4.0)
    _matrix(ax, (0.3, 1.25), T, first + second, "Q, K and V, each", f"({T}, {d_model})")
    for y, colours, name in ((2.36, first, "head 0"), (0.4, second, "head 1")):
        _matrix(ax, (2.4, y), T, colours, name, f"({T}, {half})")
        _matrix(ax, (4.2, y), T, [colours[0]] * T, f"weights of {name}", f"({T}, {T})\nfrom its q and k")
        _matrix(ax, (6.6, y), T, colours, "output", f"({T}, {half})\nweights × its v")
        _arrow(ax, (1.0, 1.85), (2.3, y + 0.6))
        _arrow(ax, (2.8, y + 0.6), (4.1, y + 0.6))
        _arrow(ax, (5.5, y + 0.6), (6.5, y + 0.6))
        _arrow(ax, (7.0, y + 0.6), (8.2, 1.85))
    _matrix(ax, (8.35, 1.25), T, first + second, "merged", f"({T}, {d_model}), then $W_O$")
    ax.text(1.55, 3.2, "split_heads", ha="center", fontsize=10, family="monospace")
    ax.text(7.75, 3.2, "merge_heads", ha="center", fontsize=10, family="monospace")
    return ax


def draw_model_map(title: str, lit: Collection[str] = tuple(PARTS)) -> Axes:
    """GPT-2's architecture from tokens to the next token, one block drawn; only the parts `lit` have their colours.

    lit: some of PARTS. Source: Radford et al. 2019, section 2.3, drawn after Elhage et al. 2021 as one stream.
    """
    ax = new_canvas(title, 9.4, 2.9, y=(-0.1, 2.3))
    colour = {part: shade if part in lit else OFF for part, shade in PARTS.items()}
    _arrow(ax, (1.9, 0.55), (7.68, 0.55), colour["stream"], 5)
    ax.text(4.85, 0.14, "residual stream: one row of numbers a token", ha="center", fontsize=9.5, color=DARK)
    ax.add_patch(plt.Rectangle((2.3, -0.02), 5.0, 2.12, fill=False, edgecolor=DARK, linestyle="--", linewidth=0.9))
    ax.text(7.2, 1.9, "a block, × L", ha="right", fontsize=9.5, color=DARK)
    ax.text(0.36, 0.55, "tokens", ha="center", va="center", fontsize=10)
    _part(ax, (1.35, 0.55), "embedding\nrow", colour["embedding"], (1.0, 0.62))
    _arrow(ax, (1.35, 1.15), (1.35, 0.86), colour["positions"], 1.8)
    _arrow(ax, (0.68, 0.55), (0.85, 0.55), colour["stream"], 1.8)
    _arrow(ax, (8.28, 0.55), (8.46, 0.55), colour["stream"], 1.8)
    _part(ax, (1.35, 1.35), "+ position", colour["positions"], (1.0, 0.4))
    for left, name in ((2.5, "attention"), (4.9, "mlp")):
        _branch(ax, left, name, colour)
    _part(ax, (7.98, 0.55), "norm", colour["norm"], (0.6, 0.45))
    _part(ax, (8.9, 0.55), "output\n+ softmax", colour["output"], (0.88, 0.62))
    ax.text(8.9, 0.02, "next token", ha="center", fontsize=10)
    return ax


def _part(ax: Axes, centre: Point, words: str, colour: str, size: Point) -> None:
    """A box in its colour, white if it is off."""
    off = colour == OFF
    _box(ax, centre, words, "white" if off else colour, colour, size, color=DARK if off else "black")


def _branch(ax: Axes, left: float, name: str, colour: dict[str, str]) -> None:
    """Reads the stream on the left, computes above it, adds to it on the right."""
    right = left + 2.0
    ax.plot([left, left, right], [0.55, 1.35, 1.35], color=colour[name], linewidth=1.8, zorder=2)
    _arrow(ax, (right, 1.37), (right, 0.64), colour[name], 1.8)
    _part(ax, (left + 0.32, 1.35), "norm", colour["norm"], (0.6, 0.45))
    _part(ax, (left + 1.28, 1.35), {"mlp": "MLP"}.get(name, name), colour[name], (0.95, 0.62))
    ax.plot(right, 0.55, "o", markersize=13, color="white", markeredgecolor=DARK, zorder=4)
    ax.text(right, 0.55, "+", ha="center", va="center_baseline", fontsize=12, weight="bold", color=DARK, zorder=5)


def draw_forward_backward(title: str, values: Words, steps: Words, slopes: Words, kept: Words) -> Axes:
    """Boxes `steps`, from each what is `kept`; around them (one more) `values` flow right and `slopes` left."""
    ax = new_canvas(title, 1.6 + 1.9 * len(steps), 2.9, (-0.6, 1.9 * len(steps) + 0.6), (-0.05, 1.85))
    for place, (step, cache) in enumerate(zip(steps, kept, strict=True)):
        x = 1.9 * place + 0.95
        ax.text(x, 1.0, step, ha="center", va="center", fontsize=11.5,
                bbox=dict(boxstyle="round,pad=0.5", facecolor="white", edgecolor=DARK))  # fmt: skip
        ax.text(x, 0.08, f"keeps {cache}", ha="center", fontsize=9.5, color=DARK)
        ax.plot([x, x], [0.28, 0.62], color=DARK, linestyle=":", linewidth=1)
    for place, (value, slope) in enumerate(zip(values, slopes, strict=True)):
        x = 1.9 * place
        _arrow(ax, (x - 0.3, 1.25), (x + 0.3, 1.25), BLUE, 2)
        _arrow(ax, (x + 0.3, 0.75), (x - 0.3, 0.75), RED, 2)
        ax.text(x, 1.38, value, ha="center", color=BLUE, fontsize=12)
        ax.text(x, 0.45, slope, ha="center", color=RED, fontsize=12)
    return ax


def draw_pipeline(here: str = "") -> Axes:
    """The course's pipeline: phases in time, and the one set of weights that runs through them.

    here: the phase that the reader is in; the others are pale.
    """
    ax = new_canvas("The pipeline: four phases in time, one set of weights", 9.2, 3.4)
    phases = (  # name, what is done, where, colour, what the weights are good for
        ("data input", "text becomes\nnumbers", "02", SKY, ""),
        ("pretraining", "guess the next token,\nmillions of times", "06", BLUE, "random at first"),
        ("fine-tuning", "a little more training,\non one task", "07", GREEN, "can write"),
        ("output", "probabilities\nbecome text", "08", ORANGE, "does the task, in use"),
    )
    for place, (name, work, notebook, colour, weights) in enumerate(phases):
        left, middle = 0.1 + 2.32 * place, 1.075 + 2.32 * place
        off = here not in ("", name)
        face, edge, ink = ("white", OFF, DARK) if off else ((colour, 0.45 if here else 0.25), colour, "black")
        _box(ax, (middle, 2.175), work, face, edge, (1.95, 1.45), color=ink)
        ax.text(middle, 2.62, name, ha="center", va="center", fontsize=12, weight="bold", color=ink)
        ax.text(middle, 1.63, f"notebook {notebook}", ha="center", va="center", fontsize=9, color=DARK)
        ax.text(left, 0.95, weights, fontsize=9, color=RED)
        if place:
            _arrow(ax, (left - 0.33, 2.17), (left - 0.04, 2.17))
    _arrow(ax, (2.42, 0.75), (9.0, 0.75), RED, 2)
    words = "the model's weights: the same numbers, changed by training, then kept still"
    ax.text(2.42, 0.35, words, fontsize=9, color=RED)
    return ax


def draw_traffic(title: str, ways: Mapping[str, Sequence[tuple[str, int, bool, str]]]) -> Axes:
    """Trips between a GPU's large memory (HBM) and its small one (SRAM): up to read, down to write, width by bytes.

    ways: {name: [(what, bytes, whether it is written, colour)]}, side by side.
    """
    ax = new_canvas(title, 9.8, 3.3)
    most = max(count for trips in ways.values() for _, count, _, _ in trips)
    left = 0.1
    for name, trips in ways.items():
        width = 1.02 * len(trips)
        for y, words, face in ((2.51, "SRAM: small and fast", YELLOW), (0.46, "HBM: large and slow", PALE)):
            _box(ax, (left + width / 2, y), words, (face, 0.6), DARK, (width, 0.42))
        for place, (what, count, written, colour) in enumerate(trips):
            x = left + 1.02 * (place + 0.4)
            y, length = (2.27, -1.57) if written else (0.7, 1.57)
            shaft = 0.02 + 0.26 * count / most
            ax.arrow(x, y, 0, length, width=shaft, head_width=shaft + 0.14, head_length=0.2, color=colour,
                     length_includes_head=True, linewidth=0)  # fmt: skip
            ax.text(x + shaft / 2 + 0.05, 1.48, f"{what}\n{count / 1e6:.2f} MB", va="center", fontsize=9)
        total = sum(count for _, count, _, _ in trips) / 1e6
        ax.text(left + width / 2, 2.85, f"{name}: {total:.1f} MB", ha="center", fontsize=11, weight="bold")
        left += width + 0.35
    return ax
