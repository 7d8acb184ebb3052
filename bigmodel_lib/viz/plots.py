"""Pictures: each function takes and returns matplotlib `ax`; `show` puts a finished figure into the notebook."""

import base64
import io
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by readers with any colour vision.
BLUE, ORANGE, GREEN, RED, SKY, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#666666"
_numbers = itertools.count(1)


def png(figure: Figure) -> bytes:
    """The figure as PNG, without the date and versions that would make equal pictures differ."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def bundle(figure: Figure, caption: str, alt: str) -> tuple[dict, dict]:
    """What Jupyter displays for a figure: the picture with its alt text, and a line for readers without pictures."""
    data = {"image/png": base64.b64encode(png(figure)).decode(), "text/plain": f"Picture: {alt}"}
    return data, {"image/png": {"alt": alt}}


def show(ax, caption: str, alt: str, handle=None) -> None:
    """Display the figure of `ax` with a caption below it, and close it.

    caption says what to see; alt says what is there, for those who cannot see. A `handle` from an earlier call of
    IPython's display is drawn over instead of adding a picture.
    Raises ValueError for an empty caption or alt text, a figure without title, or axes without labels.
    """
    from IPython.display import Markdown, display

    figure = ax.figure
    if not caption.strip() or not alt.strip():
        raise ValueError("a caption and an alt text were wanted: say in words what to see and what is there")
    for axes in figure.axes:
        if axes.axison and axes.get_label() != "<colorbar>" and not (axes.get_xlabel() and axes.get_ylabel()):
            raise ValueError("labelled axes were wanted: set_xlabel and set_ylabel with units, or turn the axes off")
    if not any(axes.get_title(loc="left") or axes.get_title() for axes in figure.axes):
        raise ValueError("a title was wanted: ax.set_title")
    data, metadata = bundle(figure, caption, alt)
    plt.close(figure)
    if handle is not None:
        handle.update(data, raw=True, metadata=metadata)
        return
    display(data, raw=True, metadata=metadata)
    display(Markdown(f"*{caption}*"))


def new_axes(title: str, x: str, y: str, width: float = 7.0, height: float = 3.6):
    """One labelled pair of axes in the course's style."""
    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.set_title(title, loc="left", fontsize=12)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def draw_curve(rows: list, references: dict | None = None, ax=None):
    """Training and validation loss against steps. rows as in `Pretraining.curve`; references {name: loss} are lines."""
    ax = ax or new_axes("Loss while training", "step", "loss (nats per token)")
    ax.plot(
        [row["step"] for row in rows], [row["loss"] for row in rows], color=BLUE, label="training, mean of 10 steps"
    )
    held_out = [(row["step"], row["val_loss"]) for row in rows if "val_loss" in row]
    if held_out:
        ax.plot(*zip(*held_out, strict=True), color=RED, marker="o", linestyle="--", label="validation")
    for (name, loss), style in zip((references or {}).items(), itertools.cycle((":", "-.", (0, (5, 1)))), strict=False):
        ax.axhline(loss, color=GREY, linestyle=style, linewidth=1.2, label=name)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, edgecolor="none", fontsize=9)
    return ax


class LiveCurve:
    """A curve that is drawn again in place while a run goes on: `curve.update(run.curve)`."""

    def __init__(self, caption: str, references: dict | None = None, title: str = "Loss while training"):
        self.caption, self.references, self.title, self.handle = caption, references, title, None

    def update(self, rows: list, status: str = "") -> None:
        """Draw the rows so far over the last picture, with a line about the run as its title."""
        from IPython.display import DisplayHandle, Markdown, display

        ax = draw_curve(rows, self.references, new_axes(status or self.title, "step", "loss (nats per token)"))
        alt = f"Line chart of the loss against steps, from {rows[0]['loss']:.2f} to {rows[-1]['loss']:.2f} now."
        if self.handle is None:
            self.handle = DisplayHandle(f"live-curve-{next(_numbers)}")
            data, metadata = bundle(ax.figure, self.caption, alt)
            plt.close(ax.figure)
            display(data, raw=True, metadata=metadata, display_id=self.handle.display_id)
            display(Markdown(f"*{self.caption}*"))
        else:
            show(ax, self.caption, alt, self.handle)


def draw_bars(names: list, values, ax, colour: str = BLUE):
    """Horizontal bars, the first on top."""
    places = np.arange(len(names))
    ax.barh(places, values, color=colour)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    return ax


def readable(token: str) -> str:
    """A token as a label: blanks and line ends are shown as signs."""
    return {" ": "␣", "\n": "⏎", "\t": "⇥", "\ufffd": "·"}.get(token, token)


def draw_attention(weights, tokens: list, ax=None, title: str = "Attention weights"):
    """One attention map: weights (T, T), row = query (who looks), column = key (at whom), on the scale 0 to 1."""
    if np.shape(weights) != (len(tokens), len(tokens)):
        raise ValueError(
            f"weights {np.shape(weights)} do not fit {len(tokens)} tokens: give one (T, T) map with its tokens"
        )
    ax = ax or new_axes(title, "key: the token looked at", "query: the token that looks", 6.4, 5.4)
    image = ax.imshow(weights, cmap="cividis", vmin=0.0, vmax=1.0)
    labels, places = [readable(token) for token in tokens], range(len(tokens))
    ax.set_xticks(places, labels, fontsize=9)
    ax.set_yticks(places, labels, fontsize=9)
    ax.figure.colorbar(image, ax=ax, label="weight (each row sums to 1)")
    return ax


def draw_pipeline(ax=None):
    """The course's pipeline: phases in time, and the one set of weights that runs through them."""
    if ax is None:
        _, ax = plt.subplots(figsize=(9.2, 3.4), layout="constrained")
    ax.set_axis_off()
    ax.set_xlim(0, 9.2)
    ax.set_ylim(0, 3.3)
    ax.set_title("The pipeline: four phases in time, one set of weights", loc="left", fontsize=12)
    phases = [
        ("data input", "text becomes\nnumbers", "02", SKY),
        ("pretraining", "guess the next token,\nmillions of times", "06", BLUE),
        ("finetuning", "a little more training,\non one task", "07", GREEN),
        ("output", "probabilities\nbecome text", "08", ORANGE),
    ]
    for i, (name, work, notebooks, colour) in enumerate(phases):
        x = 0.1 + 2.32 * i
        ax.add_patch(
            plt.Rectangle((x, 1.45), 1.95, 1.45, facecolor=colour, alpha=0.25, edgecolor=colour, linewidth=1.5)
        )
        ax.text(x + 0.975, 2.62, name, ha="center", va="center", fontsize=12, weight="bold")
        ax.text(x + 0.975, 2.15, work, ha="center", va="center", fontsize=9)
        ax.text(x + 0.975, 1.63, f"notebook {notebooks}", ha="center", va="center", fontsize=8.5, color="#444444")
        if i < 3:
            ax.annotate("", (x + 2.3, 2.17), (x + 1.97, 2.17), arrowprops={"arrowstyle": "-|>", "color": "black"})
    ax.annotate("", (9.0, 0.75), (2.42, 0.75), arrowprops={"arrowstyle": "-|>", "color": RED, "linewidth": 2})
    ax.text(2.45, 0.95, "random at first", fontsize=9, color=RED)
    ax.text(4.75, 0.95, "can write", fontsize=9, color=RED)
    ax.text(7.05, 0.95, "does the task, in use", fontsize=9, color=RED)
    ax.text(
        2.42, 0.35, "the model's weights: the same numbers, changed by training, then kept still", fontsize=9, color=RED
    )
    return ax


def draw_residual_stream(config, n_tokens: int, ax=None):
    """The decoder as one stream with branches that read from it and add to it, and the shape at each place.

    config: a ModelConfig; of more than two blocks the first and the last are drawn. n_tokens: T in the shapes.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(9.4, 4.4), layout="constrained")
    ax.set_axis_off()
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 4.6)
    ax.set_title(f"The residual stream of a decoder with {config.n_layers} blocks", loc="left", fontsize=12)
    T, D, V = n_tokens, config.d_model, config.vocab_size
    ax.annotate("", (8.78, 1.1), (1.25, 1.1), arrowprops={"arrowstyle": "-|>", "color": BLUE, "linewidth": 5})
    ax.text(
        5.1, 0.68, f"the stream x: ({T}, {D}), one row of {D} numbers a token", ha="center", color=BLUE, fontsize=10
    )

    def box(x, y, words, colour, width=1.2, height=0.62):
        style = dict(facecolor=colour, alpha=0.25, edgecolor=colour, linewidth=1.4)
        ax.add_patch(plt.Rectangle((x - width / 2, y - height / 2), width, height, **style))
        ax.text(x, y, words, ha="center", va="center", fontsize=9)

    box(0.65, 1.1, f"embedding\n{V} × {D}", GREY)
    box(9.4, 1.1, f"norm, output\n{D} × {V}", GREY)
    ax.text(0.65, 0.45, f"tokens ({T},)", ha="center", fontsize=9)
    ax.text(9.4, 0.45, f"logits ({T}, {V})", ha="center", fontsize=9)
    first = "shift, " if config.token_shift else ""
    branches = [
        (first + "attention", ORANGE, f"weights ({config.n_heads}, {T}, {T})"),
        (first + "MLP", GREEN, f"inside ({T}, {config.d_ff})"),
    ]
    drawn = min(config.n_layers, 2)
    for place, (name, colour, inside) in zip((2.3, 4.0, 6.0, 7.7)[: 2 * drawn], branches * drawn, strict=True):
        left, right = place - 0.55, place + 0.55
        arrow = dict(arrowstyle="-|>", color=colour, linewidth=1.6)
        ax.annotate("", (left, 1.9), (left, 1.15), arrowprops=arrow)
        box(left + 0.1, 2.15, "norm", GREY, 0.6, 0.42)
        ax.annotate("", (left + 0.2, 2.9), (left + 0.1, 2.4), arrowprops=arrow)
        box(place, 3.2, name, colour)
        ax.annotate("", (right, 1.22), (right, 2.85), arrowprops=arrow)
        ax.text(right, 1.1, "+", ha="center", va="center", fontsize=12, weight="bold", color="white")
        ax.text(place, 3.65, inside, ha="center", fontsize=8.5, color="#444444")
    for middle, which in ((3.15, "block 0"), (6.85, f"block {config.n_layers - 1}"))[:drawn]:
        ax.text(middle, 4.1, which, ha="center", fontsize=10, weight="bold")
    if config.n_layers > 2:
        ax.text(5.0, 2.2, "…", ha="center", fontsize=18)
    return ax


def draw_graph(node, names: dict, ax=None):
    """PyTorch's record of a computation: what will run backwards, in which order, and the shapes that it has kept.

    node: the result's `grad_fn`. names {name: tensor} labels the leaves, the tensors with a gradient of their own.
    """
    depth, queue = {node: 0}, [node]
    while queue:  # a node stands below all that call it
        parent = queue.pop(0)
        for child, _ in parent.next_functions:
            if child is not None and depth.get(child, -1) <= depth[parent]:
                depth[child] = depth[parent] + 1
                queue.append(child)
    if ax is None:
        _, ax = plt.subplots(figsize=(8.4, 0.85 * (2 + max(depth.values()))), layout="constrained")
    ax.set_axis_off()
    ax.set_title("What autograd has recorded, from the result down to the leaves", loc="left", fontsize=12)
    wanted, places = {node: [0.0]}, {}
    for level in range(max(depth.values()) + 1):
        edge = -math.inf
        for n in sorted((n for n, d in depth.items() if d == level), key=lambda n: float(np.mean(wanted[n]))):
            edge = max(edge + 2.1, float(np.mean(wanted[n])))  # below its parents, and beside its neighbour
            places[n] = edge, -level
            children = [child for child, _ in n.next_functions if child is not None]
            for i, child in enumerate(children):
                wanted.setdefault(child, []).append(edge + 2.4 * (i - (len(children) - 1) / 2))
    for n, (x, y) in places.items():
        leaf = next((name for name, t in names.items() if getattr(n, "variable", None) is t), None)
        kept = [getattr(n, a) for a in dir(n) if a.startswith("_saved_")] if leaf is None else []
        shapes = ", ".join(str(tuple(t.shape)) for t in kept if getattr(t, "ndim", 0))
        words = leaf or n.name().replace("Backward0", "") + (f"\nkeeps {shapes}" if shapes else "")
        colour = "#BFE5DA" if leaf else "#F9E3B4" if shapes else "white"
        box = dict(boxstyle="round", facecolor=colour, edgecolor=GREY)
        ax.text(x, y, words, ha="center", va="center", fontsize=8.5, bbox=box, zorder=3)
        for child, _ in n.next_functions:
            if child is not None:
                arrow = dict(arrowstyle="-|>", color=RED, shrinkA=0, shrinkB=0)
                ax.annotate("", (places[child][0], places[child][1] + 0.26), (x, y - 0.26), arrowprops=arrow, zorder=4)
    ax.set_xlim(min(x for x, _ in places.values()) - 1.4, max(x for x, _ in places.values()) + 1.4)
    ax.set_ylim(-max(depth.values()) - 0.6, 0.6)
    return ax
