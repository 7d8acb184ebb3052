"""Diagrams of attention: where we are in the model, shapes through Q, K and V, and heads as slices."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from bigmodel_lib.viz.plots import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, new_axes

Point = tuple[float, float]
CELL = 0.15  # side of one number's square, in inches
PARTS = ("text", "tokens", "embedding", "attention", "MLP", "logits", "next word")


def _canvas(title: str, width: float, height: float) -> Axes:
    ax = new_axes(title, "", "", width, height)
    ax.set_axis_off()
    ax.set(xlim=(0, width), ylim=(0, height))
    return ax


def _arrow(ax: Axes, start: Point, end: Point, colour: str = "black") -> None:
    style: dict[str, Any] = dict(arrowstyle="-|>", color=colour, linewidth=1.4, shrinkA=0, shrinkB=0)
    ax.annotate("", end, start, arrowprops=style)


def _matrix(
    ax: Axes, corner: Point, rows: int, colours: Sequence[str], name: str, below: str, framed: int | None = None
) -> None:
    """A matrix as squares, its lower left corner given; a colour for each column, and a frame around one row."""
    x, y = corner
    for column, colour in enumerate(colours):
        for row in range(rows):
            square = (x + CELL * column, y + CELL * row)
            style: dict[str, Any] = dict(facecolor=to_rgba(colour, 0.45), edgecolor="white", linewidth=0.7)
            ax.add_patch(plt.Rectangle(square, CELL, CELL, **style))
    if framed is not None:
        frame = (x, y + CELL * (rows - 1 - framed))
        ax.add_patch(plt.Rectangle(frame, CELL * len(colours), CELL, fill=False, edgecolor="black", linewidth=1.6))
    middle = x + CELL * len(colours) / 2
    ax.text(middle, y + CELL * rows + 0.07, name, ha="center", fontsize=10.5)
    ax.text(middle, y - 0.2, below, ha="center", fontsize=9, color=GREY)


def draw_map(lit: str) -> Axes:
    """The model as a strip of parts with some of `PARTS` lit, such as "tokens, logits": where the reader is."""
    ax = _canvas(f"You are here: {lit}", 9.4, 1.2)
    for place, name in enumerate(PARTS):
        x, on = 0.05 + 1.35 * place, name in lit.split(", ")
        face, edge = (to_rgba(RED, 0.3), RED) if on else ("white", GREY)
        style: dict[str, Any] = dict(facecolor=face, edgecolor=edge, linewidth=1.6)
        ax.add_patch(plt.Rectangle((x, 0.45), 1.05, 0.5, **style))
        ax.text(x + 0.525, 0.7, name, ha="center", va="center", fontsize=10.5, weight="bold" if on else "normal")
        if place:
            _arrow(ax, (x - 0.28, 0.7), (x - 0.03, 0.7), GREY)
    ax.plot((4.1, 4.1, 6.5, 6.5), (0.38, 0.28, 0.28, 0.38), color=GREY, linewidth=1.2)
    ax.text(5.3, 0.03, "a block, repeated", ha="center", fontsize=9.5, color=GREY)
    return ax


def draw_qkv(n_tokens: int, d_model: int, d_k: int, d_v: int, row: int) -> Axes:
    """Attention as shapes: X to Q, K and V, to scores, to weights, to the output; one token's row is framed."""
    T = n_tokens
    ax = _canvas("One row of Q becomes one row of scores, of weights, of output", 9.6, 5.4)
    _matrix(ax, (0.3, 2.1), T, [GREY] * d_model, "X", f"({T}, {d_model})")
    _matrix(ax, (2.5, 3.9), T, [RED] * d_k, "Q", f"({T}, {d_k})", row)
    _matrix(ax, (2.5, 2.1), T, [BLUE] * d_k, "K", f"({T}, {d_k})")
    _matrix(ax, (2.5, 0.3), T, [GREEN] * d_v, "V", f"({T}, {d_v})")
    for end, words in ((4.5, "$W_Q$"), (2.7, "$W_K$"), (0.9, "$W_V$")):
        _arrow(ax, (1.05, 2.7), (2.35, end))
        ax.text(1.5, 2.7 + 0.38 * (end - 2.7) + 0.16, words, ha="center", fontsize=10.5)
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
    ax = _canvas("A head is a slice of the columns, with a softmax of its own", 9.6, 3.9)
    _matrix(ax, (0.3, 1.25), T, first + second, "Q, K or V", f"({T}, {d_model})")
    for y, colours, name in ((2.2, first, "head 0"), (0.35, second, "head 1")):
        _matrix(ax, (2.4, y), T, colours, name, f"({T}, {half})")
        _matrix(ax, (4.2, y), T, [colours[0]] * T, f"weights of {name}", f"({T}, {T})")
        _matrix(ax, (6.6, y), T, colours, "output", f"({T}, {half})")
        _arrow(ax, (1.0, 1.85), (2.3, y + 0.6))
        _arrow(ax, (2.8, y + 0.6), (4.1, y + 0.6))
        _arrow(ax, (5.5, y + 0.6), (6.5, y + 0.6))
        _arrow(ax, (7.0, y + 0.6), (8.2, 1.85))
    _matrix(ax, (8.35, 1.25), T, first + second, "merged", f"({T}, {d_model}), then $W_O$")
    ax.text(1.55, 3.2, "split_heads", ha="center", fontsize=10, family="monospace")
    ax.text(7.75, 3.2, "merge_heads", ha="center", fontsize=10, family="monospace")
    return ax
