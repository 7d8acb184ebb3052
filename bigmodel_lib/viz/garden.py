"""The garden of futures: what a model could say next, as a tree; a branch is as wide as its token is likely there.

The tree is a beam's, so likely ways that begin modestly may be missing. Its script is beside it.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from torch import Tensor

from bigmodel_lib.errors import CourseError
from bigmodel_lib.generation import Sampling, check_settings, generate, next_logits
from bigmodel_lib.model.cache import KVCache
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.tokenizers import Tokenizer
from bigmodel_lib.viz.plots import DARK, SKY, new_canvas, readable
from bigmodel_lib.viz.widgets import Toy

SHOWN, FUTURES, DEPTH = 24, 10, 5  # candidates kept of a place, paths drawn, tokens in each
ROUNDING = 1e-5  # of what is kept: a sum this close to top-p has reached it
WARM = [round(0.1 * n, 1) for n in range(1, 17)]  # temperatures of the slider, above 0
Node = dict[str, Any]  # ids, names and ln p of the likeliest tokens of a place; ln Σ p^(1/τ) for WARM; next places
Way = tuple[int, ...]  # candidates, one a place


def place_of(logits: Tensor, tokenizer: Tokenizer) -> Node:
    """What the tree keeps of one place, from its logits (V,)."""
    logs = logits.log_softmax(dim=-1)
    best = logs.topk(min(SHOWN, len(logs)))
    ids = best.indices.tolist()
    return {
        "ids": ids,
        "names": [tokenizer.decode([token]) for token in ids],
        "logs": [round(log, 6) for log in best.values.tolist()],
        "sums": [round((logs / tau).logsumexp(dim=-1).item(), 6) for tau in WARM],
        "next": {},
    }


def shares(node: Node, temperature: float, top_p: float) -> list[float]:
    """The candidates' probabilities after temperature and top-p; 0 for those that are cut off.

    Where the kept tokens aren't all among the candidates, they're taken to have `top_p` together.
    """
    if temperature == 0:
        return [1.0] + [0.0] * (len(node["ids"]) - 1)
    total = node["sums"][WARM.index(round(temperature, 1))]
    chances = [math.exp(log / temperature - total) for log in node["logs"]]
    kept, likelier = [], 0.0
    for chance in chances:
        kept.append(chance if likelier < top_p - ROUNDING or not kept else 0.0)
        likelier += kept[-1]
    whole = 1.0 if top_p >= 1 else max(likelier, top_p)
    return [chance / whole for chance in kept]


def follow(root: Node, way: Way) -> Node | None:
    """The place at the end of a way, or None where the tree hasn't grown yet."""
    node: Node | None = root
    for candidate in way:
        node = node["next"].get(str(candidate)) if node else None
    return node


def ways(root: Node, temperature: float, top_p: float, depth: int = DEPTH) -> list[tuple[Way, float]]:
    """Likely ways of up to `depth` tokens with their probabilities, the likeliest first: those of a beam of FUTURES."""
    found: list[tuple[Way, float]] = [((), 1.0)]
    for _ in range(depth):
        longer = []
        for way, p in found:
            node = follow(root, way)
            steps = enumerate(shares(node, temperature, top_p)) if node else ()
            longer += [((*way, i), p * share) for i, share in steps if share > 0] or [(way, p)]
        found = sorted(longer, key=lambda pair: -pair[1])[:FUTURES]
    return found


def said_of(p: float) -> str:
    """A probability as readers like it: "12 %", "1 in 840"."""
    return f"{100 * p:.0f} %" if p >= 0.095 else f"1 in {1 / p:,.0f}"


class Garden(Toy):
    """The futures of a text: `Garden(model, tokenizer, "Anna opened the door and")`; at `stop`, a future ends.

    Raises CourseError for an empty prompt.
    """

    caption = "In JupyterLab: move the sliders, click a word to write up to it, let the model draw, undo. "
    caption += "A branch is as wide as its token is likely there; the odds of all five tokens are on the right. "
    caption += "The ten futures are those that a beam finds: at each token it keeps the ten likeliest beginnings."
    prompt = traitlets.Unicode().tag(sync=True)
    written = traitlets.List().tag(sync=True)  # one a step: {ids, text, log, drawn}
    tree = traitlets.Dict().tag(sync=True)
    temperature = traitlets.Float(1.0, min=0, max=1.6).tag(sync=True)
    top_p = traitlets.Float(1.0, min=0.05, max=1).tag(sync=True)
    ask = traitlets.Dict().tag(sync=True)  # {do, way or text, count}

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, prompt: str, stop: int | None = None, **more: float):
        self.model, self.tokenizer, self.stop, self.seed = model, tokenizer, stop, 0
        check_settings(model, tokenizer.encode(prompt), 1, Sampling())
        super().__init__(prompt=prompt, **more)
        self.start_again()
        self.observe(self.grow, ["temperature", "top_p"])
        self.observe(self._do, "ask")

    @property
    def tokens(self) -> list[int]:
        """The prompt's ids and those that were written."""
        written = [token for step in self.written for token in step["ids"]]
        return [*self.tokenizer.encode(self.prompt).tolist(), *written]

    @property
    def text(self) -> str:
        """Prompt and what was written."""
        return self.tokenizer.decode(self.tokens)

    def start_again(self) -> None:
        """Grow the tree anew from the end of the text."""
        room = self.model.config.context_length - DEPTH
        self.cache = KVCache(self.model)
        read = torch.tensor([self.tokens[-room:]], device=self.model.device)
        self.root = place_of(next_logits(self.model, read, self.cache)[0], self.tokenizer)
        self.grow()

    def grow(self, change: Any = None) -> None:
        """Add what the settings of now need, and a cold and a warm tree for the sliders."""
        for temperature, top_p in ((self.temperature, self.top_p), (0.0, 1.0), (0.5, 1.0), (1.5, 1.0)):
            for depth in range(1, DEPTH):
                found = [way for way, _ in ways(self.root, temperature, top_p, depth)]
                goes_on = [way for way in found if self._ids(way)[-1] != self.stop]
                self._add([way for way in goes_on if follow(self.root, way) is None])
        self.tree = copy.deepcopy(self.root)  # another object, so that it is sent

    def _add(self, missing: Sequence[Way]) -> None:
        """Let the model read each of some ways of one length, and keep the places at their ends."""
        if not missing:
            return
        cache = copy.copy(self.cache)
        cache.keep([0] * len(missing))
        read = torch.tensor([self._ids(way) for way in missing], device=self.model.device)
        for way, logits in zip(missing, next_logits(self.model, read, cache), strict=True):
            before = follow(self.root, way[:-1])
            assert before is not None
            before["next"][str(way[-1])] = place_of(logits, self.tokenizer)

    def _ids(self, way: Way) -> list[int]:
        places = [follow(self.root, way[:depth]) for depth in range(len(way))]
        return [place["ids"][i] for place, i in zip(places, way, strict=True) if place]

    def write(self, way: Sequence[int]) -> None:
        """Write the words of a way through the tree. Raises CourseError for a way that isn't in it."""
        known = follow(self.root, tuple(way[:-1])) is not None
        if not (way and known and 0 <= way[-1] < len(self.root["ids"])):
            raise CourseError(f"no branch goes along {list(way)}: take candidates of the tree, such as [0]")
        self._append(self._ids(tuple(way)), drawn=False)

    def draw(self, n_tokens: int = 40) -> None:
        """Let the model draw on with the settings of now, to the end of a sentence or for n tokens."""
        self.seed += 1
        ids: list[int] = []
        how = dict(temperature=self.temperature, top_p=self.top_p)
        for token in generate(self.model, self.tokens, n_tokens, self.seed, **how):
            ids.append(token)
            if token == self.stop or any(mark in self.tokenizer.decode([token]) for mark in ".!?\n"):
                break
        self._append(ids, drawn=True)

    def _append(self, ids: list[int], drawn: bool) -> None:
        context = torch.tensor([[*self.tokens, *ids][-self.model.config.context_length :]], device=self.model.device)
        n = min(len(ids), context.shape[1] - 1)  # of a draw beyond the context only its end is scored
        with torch.inference_mode():
            logs = self.model(context[:, :-1])[0, -n:].log_softmax(dim=-1)
        log = logs[torch.arange(n), context[0, -n:]].sum().item()
        text = self.tokenizer.decode([*self.tokens, *ids])[len(self.text) :]
        self.written = [*self.written, {"ids": ids, "text": text, "log": log, "drawn": drawn}]
        self.start_again()

    def undo(self) -> None:
        """Take back the last step, if there is one."""
        self.written = self.written[:-1]
        self.start_again()

    def again(self) -> None:
        """Take back what the model drew last, and let it draw anew."""
        if self.written and self.written[-1]["drawn"]:
            self.undo()
        self.draw()

    def begin(self, prompt: str) -> None:
        """Begin another text; an empty one changes nothing."""
        if prompt:
            self.written, self.prompt = [], prompt
            self.start_again()

    def _do(self, change: Any) -> None:
        wish = change["new"]
        doing = {
            "draw": self.draw, "word": lambda: self.draw(1), "undo": self.undo, "again": self.again,
            "write": lambda: self.write(wish["way"]), "begin": lambda: self.begin(wish["text"]),
        }  # fmt: skip
        doing[wish["do"]]()

    def draw_on(self, title: str = "") -> Axes:
        """The tree as a picture: ways, one a row; where they share a beginning, they share its branch."""
        found = sorted(ways(self.root, self.temperature, self.top_p))
        end = self.text if len(self.text) <= 60 else "… " + self.text[-60:].partition(" ")[2]
        whole = said_of(sum(p for _, p in found))
        message = f"“{end} …”: {len(found)} futures, together {whole}".replace("\n", "⏎")
        edges = (-0.3, DEPTH + 0.4), (max(len(found), 4) - 0.4, -1.2)
        ax = new_canvas(title or message, 9.4, 4.4, *edges)
        rows: dict[Way, list[int]] = {(): [0, len(found) - 1]}
        for row, (way, p) in enumerate(found):
            for depth in range(1, len(way) + 1):
                rows.setdefault(way[:depth], []).append(row)
            ax.text(len(way) + 0.02, row, said_of(p), va="center", fontsize=9.5, color=DARK)
        middle = {way: (at[0] + at[-1]) / 2 for way, at in rows.items()}
        for way in list(rows)[1:]:
            self._draw_branch(ax, way, middle[way[:-1]], middle[way])
        said = f"Temperature {self.temperature:g}, top-p {self.top_p:g}. These {len(found)} together: {whole}"
        ax.text(DEPTH + 0.4, -1, said, color=DARK, fontsize=9.5, ha="right")
        return ax

    def _draw_branch(self, ax: Axes, way: Way, start: float, end: float) -> None:
        """A branch from one height to another, as wide as its token is likely there, its word on it."""
        x = len(way) - 1
        points = [(x - 0.22, start), (x - 0.1, start), (x - 0.12, end), (x, end), (x + 0.8, end)]
        codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO]
        place = follow(self.root, way[:-1])
        assert place is not None
        width = 1 + 20 * shares(place, self.temperature, self.top_p)[way[-1]]
        ax.add_patch(PathPatch(Path(points, codes), fill=False, edgecolor=SKY, linewidth=width, alpha=0.6))
        rise = -4 if width > 14 else 2 + width / 2  # the word is on a wide branch, or else above it
        where: dict[str, Any] = dict(xytext=(0, rise), textcoords="offset points", fontsize=10.5)
        ax.annotate(readable(place["names"][way[-1]]), (x + 0.02, end), **where)

    def picture(self) -> tuple[Any, str]:
        alt = "A tree of the likeliest next words, from left to right: a word on each branch, wider where likelier."
        return self.draw_on().figure, alt
