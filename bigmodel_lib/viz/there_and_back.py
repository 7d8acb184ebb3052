"""A layer's forward pass above, its backward pass below: what goes where, and what is kept for the way back."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from bigmodel_lib.viz.plots import BLUE, DARK, RED, new_axes


def draw_there_and_back(
    title: str, values: Sequence[str], steps: Sequence[str], slopes: Sequence[str], kept: Sequence[str]
) -> Axes:
    """Boxes `steps` in a row; `values` flow to the right, `slopes` to the left, what is `kept` hangs from each box.

    values and slopes have one entry more than steps and kept.
    """
    ax = new_axes(title, "", "", 1.6 + 1.9 * len(steps), 2.9)
    ax.set_axis_off()
    for place, (step, cache) in enumerate(zip(steps, kept, strict=True)):
        x = 1.9 * place + 0.95
        ax.text(x, 1.0, step, ha="center", va="center", fontsize=11.5,
                bbox=dict(boxstyle="round,pad=0.5", facecolor="white", edgecolor=DARK))  # fmt: skip
        ax.text(x, 0.08, f"keeps {cache}", ha="center", fontsize=9.5, color=DARK)
        ax.plot([x, x], [0.28, 0.62], color=DARK, linestyle=":", linewidth=1)
    for place, (value, slope) in enumerate(zip(values, slopes, strict=True)):
        x = 1.9 * place
        _arrow(ax, (x - 0.3, 1.25), (x + 0.3, 1.25), BLUE)
        _arrow(ax, (x + 0.3, 0.75), (x - 0.3, 0.75), RED)
        ax.text(x, 1.38, value, ha="center", color=BLUE, fontsize=12)
        ax.text(x, 0.45, slope, ha="center", color=RED, fontsize=12)
    ax.set(xlim=(-0.6, 1.9 * len(steps) + 0.6), ylim=(-0.05, 1.85))
    return ax


def _arrow(ax: Axes, start: tuple, end: tuple, colour: str) -> None:
    ax.annotate("", end, start, arrowprops=dict(arrowstyle="-|>", color=colour, linewidth=2))
