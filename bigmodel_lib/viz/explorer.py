"""The interactive map: a text, all heads small, one large, and where each token looks. Its script is beside it."""

import base64
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor

from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability import interventions, maps
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.tokenizers import token_groups
from bigmodel_lib.viz.attention import draw_explorer
from bigmodel_lib.viz.widgets import Toy

METHODS = ("weights", "rollout", "gradient", "knockout")


def maps_by(method: str, model: LanguageModel, tokens: Tensor) -> Tensor:
    """What one of METHODS says about each pair of tokens (T,): (rows, columns, T, T), each from 0 to 1, queries × keys.

    "weights": (L, H), as they are. "rollout": (L, 1), up to each layer. "gradient": (1, 1), each row's
    shares of the slopes. "knockout": (L, H), how many nats the token after each query (for an encoder: the query)
    costs more if this head must not look at that key, cut off at 0 and 1.
    """
    tokens = targets = tokens.to(model.device)
    if method in ("weights", "rollout"):
        weights = maps.record(model, tokens[None], "weights")[:, 0]
        return weights if method == "weights" else maps.rollout(weights)[:, None]
    if model.config.causal:  # what comes next is asked for, after the last token the model's own guess
        best = maps.record(model, tokens[None], "logits")[-1, :, -1].argmax(dim=-1)
        targets = torch.cat([tokens[1:], best])
    L, H, T = model.config.n_layers, model.config.n_heads, len(tokens)
    if method == "gradient":
        places = torch.arange(T, device=model.device)
        given = maps.gradient_norms(model, tokens.expand(T, T), places, targets)
        return (given / given.sum(dim=-1, keepdim=True).clamp(min=1e-12))[None, None]
    effects = [interventions.knockout_effects(model, tokens, targets, {head}) for head in np.ndindex(L, H)]
    return torch.stack(effects).clamp(0, 1).view(L, H, T, T)


def by_characters(shown: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Maps of tokens as maps of runs of tokens: keys of a run are added up, its queries averaged.

    So the bytes of a Chinese character become one row and one column. Shapes: (..., T, T), N sizes -> (..., N, N).
    """
    starts = np.cumsum([0, *sizes[:-1]])
    by_key = np.add.reduceat(shown, starts, axis=-1)
    return np.add.reduceat(by_key, starts, axis=-2) / np.array(sizes)[:, None]


def _as_bytes(shown: np.ndarray) -> bytes:
    return np.rint(65_535 * np.sqrt(shown.clip(0, 1))).astype("<u2").tobytes()


class AttentionExplorer(Toy):
    """What a model looks at, to play with: `AttentionExplorer(model, tokenizer, {"title": "text", …})`.

    What is chosen can be read as `explorer.selection`, and set: `layer`, `head`, `query`, `method`, `story`, `text`;
    `only` shows the rows that matter alone. `explorer.saved_page()` is a page that works offline.
    """

    caption = "Click a small map to enlarge it; move over a token, or walk with the arrow keys, to see where it looks. "
    caption += "+ and − zoom, and the buttons on the right save what you see."
    titles = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    grid = traitlets.List(traitlets.Int(), [1, 1]).tag(sync=True)  # rows and columns of maps
    maps = traitlets.Bytes(b"").tag(sync=True)  # rows × columns × T × T, 65,535 times the root of each, 16 bits
    method = traitlets.Enum(METHODS, "weights").tag(sync=True)
    layer = traitlets.Int(0, min=0).tag(sync=True)
    head = traitlets.Int(0, min=0).tag(sync=True)
    query = traitlets.Int(0, min=0).tag(sync=True)
    story = traitlets.Int(0, min=0).tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    only = traitlets.Bool(False).tag(sync=True)  # show the rows that matter alone
    kept = traitlets.Dict().tag(sync=True)  # {method: [grid, its maps in base64]} of a saved page, which has no kernel

    def __init__(self, model: LanguageModel, tokenizer: Any, texts: Mapping[str, str], **chosen: Any):
        self.model, self.tokenizer, self.texts = model, tokenizer, dict(texts)
        super().__init__(titles=list(self.texts))
        self.read(next(iter(self.texts.values())))
        self.observe(lambda change: self.read(list(self.texts.values())[change["new"]]), "story")
        self.observe(lambda change: self.read(change["new"]), "text")
        self.observe(self._draw, "method")
        self.on_msg(self._asked)
        for name, value in chosen.items():
            setattr(self, name, value)

    def read(self, text: str) -> None:
        """Show another text. One that the tokenizer or the context cannot hold leaves a message and the old text."""
        try:
            ids = torch.as_tensor(np.asarray(self.tokenizer.encode(text)), dtype=torch.long)
            if not 2 <= len(ids) <= self.model.config.context_length:
                raise CourseError(f"{len(ids)} tokens were given: 2 to {self.model.config.context_length} were wanted")
        except CourseError as error:
            self.message = str(error)
            return
        self.ids = ids
        self.found: dict[str, np.ndarray] = {}  # maps by method
        self.message = ""
        with self.hold_sync():
            groups = token_groups(self.tokenizer, ids.tolist())
            self.tokens, self.sizes = [text for text, _ in groups], [size for _, size in groups]
            self.query = len(groups) - 1
            self._draw()

    def _draw(self, _: Any = None) -> None:
        if self.method not in self.found:
            found = maps_by(self.method, self.model, self.ids).float().cpu().numpy()
            self.found[self.method] = by_characters(found, self.sizes)
        shown = self.found[self.method]
        with self.hold_sync():
            self.grid = list(shown.shape[:2])
            self.maps = _as_bytes(shown)

    def _asked(self, _: Any, content: dict, buffers: Any) -> None:
        """The browser asks for the page that it saves."""
        if content.get("wanted") == "page":
            self.send({"page": self.saved_page()})

    def saved_page(self) -> str:
        """One HTML page of what is shown, with all methods that were looked at: it needs neither kernel nor network."""
        kept = {method: [list(shown.shape[:2]), base64.b64encode(_as_bytes(shown)).decode()]
                for method, shown in self.found.items()}  # fmt: skip
        names = ("titles", "tokens", "method", "layer", "head", "query", "story", "message", "only")
        state = json.dumps({name: getattr(self, name) for name in names} | {"kept": kept}).replace("</", "<\\/")
        esm = str(self._esm).replace("export default", "const explorer =")
        page = pathlib.Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
        return page % dict(esm=esm, css=self._css, state=state)

    @property
    def shown(self) -> np.ndarray:
        """The map that is shown large, (T, T)."""
        rows, columns, _, _ = self.found[self.method].shape
        return self.found[self.method][min(self.layer, rows - 1), min(self.head, columns - 1)]

    @property
    def selection(self) -> dict:
        """What is chosen: method, layer, head, the query's place and token, and the three keys it looks at most."""
        place = min(self.query, len(self.tokens) - 1)
        row = self.shown[place]
        best = [int(i) for i in np.argsort(-row, kind="stable")[:3]]
        return {
            "method": self.method, "layer": self.layer, "head": self.head, "query": place, "token": self.tokens[place],
            "looks at": [(i, self.tokens[i], round(float(row[i]), 3)) for i in best],
        }  # fmt: skip

    def picture(self) -> tuple[Any, str]:
        chosen = self.selection
        n, token, most = len(self.tokens), chosen["token"], chosen["looks at"][0][1]
        where, small = f"{self.method}, layer {self.layer}, head {self.head}", self.found[self.method]
        alt = f"Explorer of attention maps: {where}; the token {token!r} of a text of {n} looks most at {most!r}."
        return draw_explorer(small, self.shown, self.tokens, chosen["query"], f"Attention explorer: {where}"), alt
