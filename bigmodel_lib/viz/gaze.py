"""Anna's gaze: two sentences, the plane of their words, and a query to drag. Its script is beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from bigmodel_lib.by_hand.model import softmax
from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.attention import power_scale
from bigmodel_lib.viz.plots import BLUE, GREEN, GREY, RED
from bigmodel_lib.viz.widgets import Toy

Plane = Mapping[str, Any]  # each word's two numbers: how much a person, how much a thing
ALT = "Both sentences with arcs from the pronoun: from “{}” the thickest goes to “{}”, from “{}” to “{}”."


class AnnasGaze(Toy):
    """Where a pronoun looks: `AnnasGaze(plane, {"she": words, "it": words}, wishes)`.

    shows: "scores", or "weights" with the average that they give. What is chosen can be read as `gaze.selection`.
    Raises CourseError for a word that the plane doesn't have.
    """

    caption = "Swap the pronoun, or drag the query (arrow keys work, too): arcs, bars and output move with it."
    sentences = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    points = traitlets.List(traitlets.List(traitlets.List(traitlets.Float()))).tag(sync=True)
    places = traitlets.List(traitlets.Int()).tag(sync=True)  # of the pronouns
    wishes = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)  # the query that each begins with
    chosen = traitlets.Int(0).tag(sync=True)
    query = traitlets.List(traitlets.Float()).tag(sync=True)
    tau = traitlets.Float(1.0).tag(sync=True)
    shows = traitlets.Enum(("scores", "weights"), "scores").tag(sync=True)

    def __init__(self, plane: Plane, sentences: Mapping[str, Sequence[str]], wishes: Plane, shows: str = "scores"):
        if unknown := [word for words in sentences.values() for word in words if word not in plane]:
            raise CourseError(f"the word {unknown[0]!r} has no place in the plane: give it two numbers")
        asked = [[float(v) for v in wishes[pronoun]] for pronoun in sentences]
        super().__init__(
            sentences=[list(words) for words in sentences.values()],
            points=[[[float(v) for v in plane[word]] for word in words] for words in sentences.values()],
            places=[list(words).index(pronoun) for pronoun, words in sentences.items()],
            wishes=asked, query=asked[0], shows=shows,
        )  # fmt: skip

    def look(self, sentence: int, query: Sequence[float]) -> dict:
        """What follows from a query in a sentence: pronoun, query, scores, weights, output."""
        keys, pronoun = np.array(self.points[sentence]), self.sentences[sentence][self.places[sentence]]
        scores = keys @ np.array(query)
        weights = softmax(scores / self.tau)
        return dict(pronoun=pronoun, query=query, scores=scores, weights=weights, output=weights @ keys)

    @property
    def selection(self) -> dict:
        """What is chosen, and what follows from it, as `look` says."""
        return self.look(self.chosen, self.query)

    def picture(self) -> tuple[Figure, str]:
        figure, axes = plt.subplots(2, 2, figsize=(10.4, 5.2), width_ratios=(2.5, 1), layout="constrained")
        found, weighing = [], self.shows == "weights"
        for i, (words, wish) in enumerate(zip(self.sentences, self.wishes, strict=True)):
            seen = self.look(i, wish)
            draw_arcs(axes[i, 0], words, self.places[i], seen[self.shows], 1.0 if weighing else 6.0)
            plane = dict(zip(words, self.points[i], strict=True))
            draw_plane(axes[i, 1], plane, wish, seen["pronoun"], seen["output"] if weighing else None)
            found += [seen["pronoun"], words[int(seen["scores"].argmax())]]
        title = f"One changed query sends the attention somewhere else; the numbers are the {self.shows}"
        axes[0, 0].set_title(title, loc="left", fontsize=12)
        return figure, ALT.format(*found)


def draw_arcs(ax: Axes, words: Sequence[str], place: int, values: Any, largest: float = 1.0) -> None:
    """One sentence with arcs from the word at a place, as thick as values / largest, and the values below the words."""
    ax.set_axis_off()
    ends = np.cumsum([0.0, *(len(word) + 2.6 for word in words)])
    middles = (ends[:-1] + ends[1:]) / 2
    ax.set(xlim=(0, ends[-1]), ylim=(-1.5, 5.0))
    for i, value in enumerate(values):
        share = min(max(value / largest, 0.0), 1.0)
        style: dict[str, Any] = dict(color=RED, weight="bold") if i == place else {}
        ax.text(middles[i], 0, words[i], ha="center", fontsize=12, **style)
        ax.text(middles[i], -0.95, f"{value:.2f}".replace("-", "−"), ha="center", fontsize=9.5, color=GREY)
        if share < 0.01:
            continue
        start, end = (middles[i] - 0.9, middles[i] + 0.9) if i == place else sorted((middles[i], middles[place]))
        style = dict(arrowstyle="-", color=RED, linewidth=0.6 + 8 * share, alpha=0.25 + 0.75 * share)
        curve = "arc3,rad=-1.1" if i == place else f"arc3,rad=-{min(0.42, 6.0 / (end - start)):.2f}"
        ax.add_patch(FancyArrowPatch((start, 0.85), (end, 0.85), connectionstyle=curve, **style))


def draw_plane(ax: Axes, plane: Plane, query: Any = None, asks: str = "", output: Any = None) -> None:
    """The person–thing plane: blue keys, a red query, and the average of the values as a green square."""
    ax.set(xlim=(-0.7, 2.9), ylim=(-0.6, 2.7), aspect="equal", xlabel="person", ylabel="thing")
    ax.spines[["top", "right"]].set_visible(False)
    for word, key in plane.items():
        if np.hypot(*key) < 0.7:
            ax.plot(*key, "o", color=BLUE, markersize=4)
            continue
        ax.annotate("", key, (0, 0), arrowprops=dict(arrowstyle="-|>", color=BLUE, linewidth=1.6))
        beside = (0.12, -0.06) if np.hypot(*key) > 1.5 or key[1] > key[0] else (-0.15, -0.34)
        ax.text(key[0] + beside[0], key[1] + beside[1], word, color=BLUE, fontsize=11)
    if query is not None:
        ax.annotate("", query, (0, 0), arrowprops=dict(arrowstyle="-|>", color=RED, linewidth=3, alpha=0.75))
        ax.text(max(query[0] - 1.0, 0.12), query[1] + 0.25, f"query of “{asks}”", color=RED, fontsize=11)
    if output is not None:
        ax.add_patch(Rectangle((output[0] - 0.07, output[1] - 0.07), 0.14, 0.14, color=GREEN, zorder=5))
        beside = (-0.2, -0.5) if output[0] > output[1] else (0.15, -0.08)
        ax.text(output[0] + beside[0], output[1] + beside[1], "output", color=GREEN, fontsize=11)


def draw_maps(maps: Mapping[str, tuple[Any, Sequence[str], int]], title: str) -> Axes:
    """Attention maps two a row, {name: (weights (T, T), words, row to frame and to number)}, coloured by weight^0.5."""
    rows = len(maps) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(10.4, 4.9 * rows), layout="constrained", squeeze=False)
    for place, (ax, (name, (weights, words, framed))) in enumerate(zip(axes.flat, maps.items(), strict=True)):
        image = ax.imshow(weights, **power_scale(1.0))
        ax.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor", fontsize=10)
        ax.set_yticks(range(len(words)), words, fontsize=10)
        ax.set(xlabel="key: the word looked at" if place >= 2 * rows - 2 else " ")
        ax.set(ylabel=" " if place % 2 else "query: the word that looks")
        ax.set_title(name, fontsize=11, loc="left")
        for key, weight in enumerate(weights[framed]):
            ink = "black" if weight > 0.4 else "white"
            ax.text(key, framed, f"{weight:.2f}"[1:] if weight < 0.995 else "1", ha="center", va="center", color=ink)
        ax.add_patch(Rectangle((-0.5, framed - 0.5), len(words), 1, fill=False, edgecolor=RED, linewidth=2))
    figure.colorbar(image, ax=axes, label="weight (power-law colours)", shrink=0.6, ticks=(0, 0.05, 0.2, 0.5, 1))
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return axes[0, 0]
