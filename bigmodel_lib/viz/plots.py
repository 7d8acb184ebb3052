"""Pictures: each function returns the matplotlib `Axes` it drew on; `show` puts a finished figure into the notebook."""

import base64
import io
import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# Okabe & Ito's colours, told apart by readers with any colour vision.
BLUE, ORANGE, GREEN, RED, SKY, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#666666"
DARK = "#444444"  # small print
Limits = tuple[float, float] | None


def bundle(figure: Any, alt: str) -> tuple[dict, dict]:
    """What Jupyter displays for a figure, which is closed: (the picture and a line that says it in words, its alt)."""
    buffer = io.BytesIO()  # without the date and versions that would make equal pictures differ
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": f"Picture: {alt}"}
    return data, {"image/png": {"alt": alt}}


def display_bundle(data: dict, metadata: dict, caption: str, **more: Any) -> Any:
    """Display what `bundle` returns, and a caption below it; returns IPython's handle if display_id=True is given."""
    from IPython.display import Markdown, display

    handle = display(data, raw=True, metadata=metadata, **more)
    if caption:
        display(Markdown(f"*{caption}*"))
    return handle


def show(ax: Axes, caption: str, alt: str) -> None:
    """Display the figure of `ax` with a caption (what to see) and alt text (what is there), and close it.

    Raises ValueError for an empty caption or alt text, a figure without title, or axes without labels.
    """
    if not caption.strip() or not alt.strip():
        raise ValueError("a caption and an alt text were wanted: say in words what to see and what is there")
    figure: Any = ax.figure
    for axes in figure.axes:
        if axes.axison and axes.get_label() != "<colorbar>" and not (axes.get_xlabel() and axes.get_ylabel()):
            raise ValueError("labelled axes were wanted: set_xlabel and set_ylabel with units, or turn the axes off")
    if not any(axes.get_title(loc="left") or axes.get_title() for axes in figure.axes):
        raise ValueError("a title was wanted: ax.set_title")
    display_bundle(*bundle(figure, alt), caption)


def new_axes(title: str, x: str, y: str, width: float = 7.0, height: float = 3.6) -> Axes:
    """One labelled pair of axes in the course's style; width and height of the figure in inches."""
    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.set_title(title, loc="left", fontsize=12)
    ax.set(xlabel=x, ylabel=y)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def new_canvas(title: str, width: float, height: float, x: Limits = None, y: Limits = None) -> Axes:
    """Axes for a diagram, without lines or numbers; its units are inches unless x and y say what its edges are."""
    ax = new_axes(title, "", "", width, height)
    ax.set_axis_off()
    ax.set(xlim=x or (0, width), ylim=y or (0, height))
    return ax


def readable(token: str) -> str:
    """A token as a label: blanks and line ends are shown as signs."""
    return {" ": "␣", "\n": "⏎", "\t": "⇥", "\ufffd": "·"}.get(token, token)


def draw_bars(names: Sequence[str], values: Any, ax: Axes, colour: str = BLUE) -> Axes:
    """Horizontal bars, the first on top."""
    ax.barh(range(len(names)), values, color=colour)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    return ax


class LiveCurve:
    """Training and validation loss, drawn anew in place while a run goes on, with lines {name: loss} to compare."""

    def __init__(self, caption: str, references: dict[str, float]):
        self.caption, self.references = caption, references
        self.handle: Any = None

    def draw(self, rows: list[dict], status: str) -> Axes:
        """The rows so far, {"step", "loss"} and sometimes "val_loss", with a line about the run as its title."""
        ax = new_axes(status, "step", "loss (nats per token)")
        steps = [row["step"] for row in rows]
        ax.plot(steps, [row["loss"] for row in rows], color=BLUE, label="training, mean of 10 steps")
        held_out = [(row["step"], row["val_loss"]) for row in rows if "val_loss" in row]
        if held_out:
            ax.plot(*zip(*held_out, strict=True), color=RED, marker="o", linestyle="--", label="validation")
        styles = itertools.cycle((":", "-.", (0, (5, 1))))
        for (name, loss), style in zip(self.references.items(), styles, strict=False):
            ax.axhline(loss, color=GREY, linestyle=style, linewidth=1.2, label=name)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, edgecolor="none", fontsize=9)
        return ax

    def update(self, rows: list[dict], status: str) -> None:
        """Draw over the last picture."""
        alt = f"Line chart of the loss against steps, from {rows[0]['loss']:.2f} to {rows[-1]['loss']:.2f} now."
        data, metadata = bundle(self.draw(rows, status).figure, alt)
        if self.handle is None:
            self.handle = display_bundle(data, metadata, self.caption, display_id=True)
        else:
            self.handle.update(data, raw=True, metadata=metadata)
