"""One tiny transformer with every number in sight: point at a number, and the numbers that it was made of light up."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy import ndarray

from bigmodel_lib.by_hand.model import causal_mask, layer_norm, softmax
from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.plots import BLUE, DARK, GREEN, GREY, RED, new_canvas
from bigmodel_lib.viz.widgets import Toy

FOLDER = pathlib.Path(__file__).resolve().parent
TOY = json.loads((FOLDER / "every_number.json").read_text(encoding="utf-8"))
WORDS = TOY["words"]
FEATURES = TOY["features"]  # what the columns of the stream mean
# Set by hand. The last column of the stream balances the others, so that a norm only rescales.
TINY = {name: np.array(matrix) for name, matrix in TOY["given"].items()}

# Each matrix: its name; how it is made ("given", or one of OPERATIONS) of which inputs; its label; its poster's line.
STEPS = [SimpleNamespace(**step) for step in TOY["steps"]]
OPERATIONS: dict[str, Any] = {
    "norm": layer_norm,
    "matmul": np.matmul,
    "add": np.add,
    "relu": lambda x: np.maximum(0, x),
    "softmax": softmax,
    "scores": lambda q, k: q @ k.T / q.shape[1] ** 0.5 + causal_mask(len(q)),
}


def trace(sentence: str, weights: Mapping[str, ndarray] = TINY) -> dict[str, ndarray]:
    """Every matrix of the tiny transformer on a sentence of three of WORDS, {name in STEPS: matrix}.

    weights: TINY, or a copy in which something was changed. Raises CourseError for another sentence.
    """
    words = sentence.split()
    if len(words) != 3 or not set(words) <= set(WORDS):
        raise CourseError(f"three words from {', '.join(WORDS)} were wanted, {sentence!r} was given")
    found: dict[str, ndarray] = dict(weights)
    for step in STEPS:
        if step.how == "embed":
            found[step.name] = found["E"][[WORDS.index(word) for word in words]] + found["P"]
        elif step.how != "given":
            found[step.name] = OPERATIONS[step.how](*(found[name] for name in step.inputs))
    return found


def poster_data() -> dict:
    """What the widget draws, as JSON has it, -∞ as null: TOY, and `values` {sentence: {name: matrix}} of four words."""

    def rounded(matrix: ndarray) -> list:
        return [[None if np.isinf(v) else round(float(v), 4) for v in row] for row in matrix]

    values = {}
    for sentence in map(" ".join, product(WORDS[:4], repeat=3)):
        values[sentence] = {name: rounded(m) for name, m in trace(sentence).items() if name not in TINY}
    return TOY | {"values": values}


# What the rows of a matrix stand for: these, or else the words of the sentence.
ROWS = {"E": WORDS, "W_O": "12", "W_down": "1234"} | dict.fromkeys(("W_Q", "W_K", "W_V", "W_up", "W_out"), FEATURES)
COLOURS = {"Q": RED, "W_Q": RED, "K": BLUE, "W_K": BLUE, "V": GREEN, "W_V": GREEN}
SIGNS = LinearSegmentedColormap.from_list("signs", [RED, "white", BLUE])
CELL_WIDTH, CELL_HEIGHT, MARGIN = 0.46, 0.23, 0.82  # inches; the margin holds the names of the rows


def _number(v: float, given: bool) -> str:
    """A number as the poster shows it: a zero is a dot."""
    if np.isinf(v):
        return "−∞"
    if round(float(v), 2) == 0:
        return "·" if v == 0 else "0.00"
    return (f"{v:.3g}" if given else f"{v:.2f}").replace("-", "−")


def _draw_matrix(ax: Axes, corner: tuple[float, float], step: Any, matrix: ndarray, rows: Sequence[str]) -> None:
    """A matrix as a table of numbers below its label, shaded by size."""
    (x, y), width, height = corner, matrix.shape[1] * CELL_WIDTH, len(matrix) * CELL_HEIGHT
    given = step.how == "given"
    colour = COLOURS.get(step.name, GREY if given else "black")
    table = ax.inset_axes((x, y - height, width, height), transform=ax.transData)
    finite = np.nan_to_num(matrix, neginf=0.0)
    table.imshow(finite, cmap=SIGNS, vmin=-2.4, vmax=2.4, alpha=0.36, aspect="auto")
    for (i, j), v in np.ndenumerate(matrix):
        table.text(j, i, _number(v, given), ha="center", va="center", fontsize=10)
    weight = "normal" if given else "bold"
    table.set_title(step.label, loc="left", fontsize=11, color=colour, weight=weight)
    columns = WORDS if step.name == "p" else []
    table.set_xticks(range(len(columns)), columns)
    table.set_yticks(range(len(rows)), rows)
    table.tick_params(length=0, labelsize=10, labelcolor=DARK)
    table.spines[:].set(color=colour, linewidth=2.2 if step.name.startswith("x") else 0.8)


def draw_poster(sentence: str) -> Axes:
    """Every number of the tiny transformer on one sentence, as a poster that can be printed."""
    found, words = trace(sentence), sentence.split()
    lines = [[step for step in STEPS if step.line == n] for n in range(1 + STEPS[-1].line)]
    heights = [max(len(found[step.name]) for step in line) * CELL_HEIGHT + 0.55 for line in lines]
    best = WORDS[int(found["p"][-1].argmax())]
    title = f"“{sentence}” → “{best}” ({found['p'][-1].max():.0%}), in every number"
    ax = new_canvas(title, 9.8, sum(heights) + 0.7, y=(-sum(heights), 0.3))
    ax.text(0.1, 0.1, f"five columns in the stream: {', '.join(FEATURES)}", fontsize=10, color=DARK)
    y = -0.3
    for n, (line, height) in enumerate(zip(lines, heights, strict=True)):
        stage = TOY["stages"].get(str(n), "")
        ax.text(0.1, y + 0.08, stage, fontsize=10, color=DARK, rotation=90, va="top", style="italic")
        x = 0.25
        for step in line:
            _draw_matrix(ax, (x + MARGIN, y), step, found[step.name], ROWS.get(step.name, words))
            x += MARGIN + found[step.name].shape[1] * CELL_WIDTH
        y -= height
    return ax


class EveryNumber(Toy):
    """The tiny transformer to play with: `EveryNumber("not very good")`.

    `sentence`: three of the first four WORDS, can be set; `chosen`: [matrix, row, column] that is pinned, or [].
    """

    caption = "Point at a number to see what it was made of; click to keep it; choose other words above."
    data = traitlets.Unicode().tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.List([]).tag(sync=True)

    def __init__(self, sentence: str = "not very good"):
        trace(sentence)  # refuses other words at once
        super().__init__(data=json.dumps(poster_data()), sentence=sentence)

    def picture(self) -> tuple[Any, str]:
        p = trace(self.sentence)["p"][-1]
        alt = f"Poster of every matrix of a tiny transformer on “{self.sentence}”; the last row of p says "
        alt += f"“{WORDS[int(p.argmax())]}” with {p.max():.2f}."
        return draw_poster(self.sentence).figure, alt
