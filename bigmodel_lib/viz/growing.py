"""Scrub through a model's training: what it wrote, expected and looked at in each frame of a film.

A film is what data/recipes/novelist/film.py writes: prompts, sentences, next words, frames in order of time, and
bookmarks [name, frame, prompt].
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import traitlets
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from bigmodel_lib.viz.plots import BLUE, DARK, draw_bars, readable
from bigmodel_lib.viz.widgets import Toy


def duration(seconds: float) -> str:
    """Time as people say it: "40 s", "5 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def moments(film: dict) -> list[int]:
    """Four frames for print: the first, the last, those of two bookmarks, others in between where these are too few."""
    last = len(film["frames"]) - 1
    marked = [frame for _, frame, _ in film["bookmarks"]]
    by_rank = dict.fromkeys([0, last, *marked[:2], round(last / 3), round(2 * last / 3), *range(last)])
    return sorted(list(by_rank)[:4])


class GrowingUp(Toy):
    """A model's training to scrub through: `GrowingUp(film)`. Samples, map, next words and losses share a slider."""

    caption = "In JupyterLab: drag the slider, or jump to a bookmark. In print: four moments, each with a sample, "
    caption += "where the model looks (dark: much; the colour follows the root of the weight), and the next words it "
    caption += "expects."
    film = traitlets.Dict().tag(sync=True)
    frame = traitlets.Int(0, min=0).tag(sync=True)
    prompt = traitlets.Int(0, min=0).tag(sync=True)
    sentence = traitlets.Int(0, min=0).tag(sync=True)  # its map, and the next words

    def __init__(self, film: dict, **chosen: int):
        super().__init__(film=film, **chosen)

    def picture(self) -> tuple[Any, str]:
        """Four moments, one a row, each with its sample, map and next words."""
        chosen = moments(self.film)
        figure = plt.figure(figsize=(9.6, 2.0 * len(chosen)), layout="constrained")
        rows: Any = figure.subplots(len(chosen), 3, width_ratios=(2.3, 1, 1.1), squeeze=False)
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
        for name, frame, _ in sorted(self.film["bookmarks"], key=lambda mark: mark[1]):
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
