"""Scrub through a model's training: what it wrote, expected and looked at in each frame of a film.

A film is what data/recipes/novelist/film.py writes: prompts, sentences, next words, and frames in order of time.
"""

import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import traitlets
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from bigmodel_lib.viz.plots import BLUE, DARK, draw_bars, readable
from bigmodel_lib.viz.widgets import Toy

SPEECH = re.compile(r'"[^"\n]*[a-z][^"\n]*"')  # opened and closed in one paragraph
SENTENCE = re.compile(r'(?:^|[\n"]|[.!?]"? )[A-Z][a-z]*(?: [a-z,;\'-]+){4,}[.!?]')  # five words up to a full stop
REAL = 0.9  # the share of words that are some, from which on it writes words
MOST = 0.8  # the share of quotations that are closed: marks strewn at random, two a paragraph, close 0.6


class Bookmark(NamedTuple):
    """A moment worth seeing: the frame, and which of its samples shows it."""

    name: str
    frame: int
    prompt: int


def bookmarks(film: dict) -> list[Bookmark]:
    """The first frames in which samples hold words, a closed quotation and a sentence; what never comes is left out."""
    kinds = {
        "first words": lambda frame, text: frame["real_words"] >= REAL,
        "first closed quotation mark": lambda frame, text: (frame["closed_quotes"] or 0) > MOST and SPEECH.search(text),
        "first sentence": lambda frame, text: frame["real_words"] >= REAL and SENTENCE.search(text),
    }
    found = []
    for name, shows in kinds.items():
        samples = ((i, j, f, text) for i, f in enumerate(film["frames"]) for j, text in enumerate(f["samples"]))
        first = next(((i, j) for i, j, frame, text in samples if shows(frame, text)), None)
        if first:
            found.append(Bookmark(name, *first))
    return found


def duration(seconds: float) -> str:
    """Time as people say it: "40 s", "5 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def moments(film: dict, marked: Sequence[Bookmark], wanted: int = 4) -> list[int]:
    """Frames for print: the first, those of bookmarks and the last, others in between where that makes too few."""
    last = len(film["frames"]) - 1
    chosen = {0, last, *[mark.frame for mark in marked][: wanted - 2]}
    spread = [round(last * i / (wanted - 1)) for i in range(wanted)]
    for frame in [*spread, *range(last)]:
        if len(chosen) < min(wanted, last + 1):
            chosen.add(frame)
    return sorted(chosen)


class GrowingUp(Toy):
    """A model's training to scrub through: `GrowingUp(film)`. Samples, map, next words and losses share a slider."""

    caption = (
        "In JupyterLab: drag the slider, or jump to a bookmark. In print: four moments, each with a sample, where "
    )
    caption += "the model looks (dark: much; the colour follows the root of the weight), and the next words it expects."
    film = traitlets.Dict().tag(sync=True)
    bookmarks = traitlets.List().tag(sync=True)  # [name, frame, prompt]
    frame = traitlets.Int(0, min=0).tag(sync=True)
    prompt = traitlets.Int(0, min=0).tag(sync=True)
    sentence = traitlets.Int(0, min=0).tag(sync=True)  # its map, and the next words

    def __init__(self, film: dict, **chosen: int):
        super().__init__(film=film, bookmarks=[list(mark) for mark in bookmarks(film)], **chosen)

    def picture(self) -> tuple[Any, str]:
        """Four moments, one a row, each with its sample, map and next words."""
        chosen = moments(self.film, [Bookmark(*mark) for mark in self.bookmarks])
        layout: dict[str, Any] = dict(width_ratios=(2.3, 1, 1.1), layout="constrained", squeeze=False)
        figure, rows = plt.subplots(len(chosen), 3, figsize=(9.6, 2.0 * len(chosen)), **layout)
        prompt = self.film["prompts"][self.prompt]
        figure.suptitle(f"{self._order()}: what follows “{prompt}”", fontsize=11, x=0.01, ha="left")
        for number, axes in zip(chosen, rows, strict=True):
            self._draw_moment(self.film["frames"][number], axes)
        words = [readable(token).strip() for token in self.film["sentences"][self.sentence]]
        rows[-1][1].set_xticks(range(len(words)), words, rotation=90, fontsize=9)
        rows[-1][2].set_xlabel("probability", fontsize=9)
        rows[0][1].set_title("where it looks", loc="left", fontsize=9.5)
        for axes in rows[:-1]:
            axes[2].tick_params(labelbottom=False)
        alt = "Rows from the beginning of training to its end, each with a sample of the model's writing, "
        return figure, alt + "an attention map over a sentence, and bars for the probabilities of eight next words."

    def _order(self) -> str:
        """The bookmarks in order of time: "First words, then first sentence"; those of one frame share a place."""
        places: dict[int, list[str]] = {}
        for name, frame, _ in sorted(self.bookmarks, key=lambda mark: mark[1]):
            places.setdefault(frame, []).append(name)
        words = ", then ".join(" and ".join(names) for names in places.values()) or "from the beginning to the end"
        return words[0].upper() + words[1:]

    def _draw_moment(self, frame: dict, axes: Sequence[Axes]) -> None:
        text, look, bars = axes
        text.set_axis_off()
        title = f"after {duration(frame['seconds'])}, {frame['tokens']:,} tokens: "
        title += f"{frame['val_nats_per_char']:.2f} nats per character"
        text.set_title(title, loc="left", fontsize=10, color=DARK)
        lines = [textwrap.wrap(line, 58) for line in frame["samples"][self.prompt].strip().split("\n")]
        shown = "\n".join([line for paragraph in lines for line in paragraph][:8])
        text.text(0, 1, shown, va="top", fontsize=9.5, transform=text.transAxes, parse_math=False)
        tokens, rows = self.film["sentences"][self.sentence], frame["maps"][self.sentence]
        square = [row + [0.0] * (len(tokens) - len(row)) for row in rows]
        look.imshow(square, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
        look.set_xticks([])
        look.set_yticks([len(tokens) - 1], [readable(tokens[-1]).strip()], fontsize=9)
        prompt, words = self.film["next"][self.sentence]
        draw_bars([readable(w).strip() or readable(w) for w in words], frame["next"][self.sentence], bars, BLUE)
        bars.set_xlim(0, 1.08 * max(max(each["next"][self.sentence]) for each in self.film["frames"]))
        bars.tick_params(labelsize=9)
        bars.set_title(f"“… {' '.join(prompt.split()[-3:])}” and then?", loc="left", fontsize=9.5)
