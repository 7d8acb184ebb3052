"""The surgeon: silence a head, or carry what it brings over from another sentence, and watch the next word change."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from numpy import ndarray

from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability.interventions import ablate, patch
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.tokenizers import Tokenizer, token_labels
from bigmodel_lib.viz.plots import DARK
from bigmodel_lib.viz.widgets import Toy


class Surgeon(Toy):
    """Every single ablation and every single patch of a model's heads, on two sentences of one length, to click at.

    sentences: {name: text}, two; words: tokens to watch, first the one that fits the first sentence, then its rival.
    The logit difference is that of these two. Raises CourseError for sentences of two lengths, or a word of two tokens.
    """

    caption = "In JupyterLab: click a head to silence it, or to carry over what it brings in the other sentence. "
    caption += "The numbers are changes of the logit difference."
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tokens = traitlets.List().tag(sync=True)  # [the first sentence's, the second's]
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    before = traitlets.List().tag(sync=True)  # probabilities [sentence][word]
    after = traitlets.List().tag(sync=True)  # [sentence][act][layer][head][word]
    sentence = traitlets.Int(1, min=0, max=1).tag(sync=True)  # the one on the table
    act = traitlets.Enum(("silence", "carry"), "silence").tag(sync=True)
    head = traitlets.List(traitlets.Int()).tag(sync=True)  # [layer, head], or nothing
    seen = traitlets.Bool(False).tag(sync=True)  # whether all heads show what they do

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, sentences: Mapping[str, str], words: list[str]):
        ids = [torch.tensor(tokenizer.encode(text).tolist())[None] for text in sentences.values()]
        targets = [tokenizer.encode(word).tolist() for word in words]
        if len(ids) != 2 or ids[0].shape != ids[1].shape or any(len(target) != 1 for target in targets):
            raise CourseError("two sentences of as many tokens were wanted, and words that are one token each")
        watched = [target[0] for target in targets]

        def of_words(logits: torch.Tensor) -> ndarray:
            return logits[0, -1].softmax(dim=-1)[watched].numpy()

        grid = model.config.n_layers, model.config.n_heads
        after = np.zeros((2, 2, *grid, len(words)))
        for i, layer, head in np.ndindex(2, *grid):
            after[i, 0, layer, head] = of_words(ablate(model, ids[i], layer, head))
            after[i, 1, layer, head] = of_words(patch(model, ids[i], ids[1 - i], layer, head))
        with torch.no_grad():
            before = [of_words(model(text)).tolist() for text in ids]
        labels = [token_labels(tokenizer, text[0].tolist()) for text in ids]
        names = dict(names=list(sentences), words=[word.strip() for word in words], tokens=labels)
        super().__init__(before=before, after=after.tolist(), **names)

    def differences(self) -> tuple[ndarray, ndarray]:
        """(logit difference of each sentence, (2,); its change [sentence, act, layer, head], (2, 2, L, H))."""
        before, after = (np.log(np.array(p)[..., :2]) for p in (self.before, self.after))
        start = before[..., 0] - before[..., 1]
        return start, after[..., 0] - after[..., 1] - start[:, None, None, None]

    def picture(self) -> tuple[Any, str]:
        start, change = self.differences()
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained", sharey=True)
        here, other = self.names[self.sentence], self.names[1 - self.sentence]
        limit = float(np.abs(change[self.sentence]).max())
        titles = (f"silence a head in the “{here}” sentence", f"or carry it over from the “{other}” sentence")
        for ax, title, values in zip(axes, titles, change[self.sentence], strict=True):
            image = ax.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
            for (layer, head), value in np.ndenumerate(values):
                colour = "white" if abs(value) > 0.7 * limit else DARK
                ax.text(head, layer, f"{value:+.2f}", ha="center", va="center", fontsize=10, color=colour)
            ax.set_title(title, loc="left", fontsize=11)
            ax.set(xlabel="head", ylabel="layer", xticks=range(values.shape[1]), yticks=range(values.shape[0]))
            ax.label_outer()
        watched = f"“{self.words[0]}” minus “{self.words[1]}”"
        figure.colorbar(image, ax=axes, label=f"change of d, {watched}", shrink=0.8)
        heads = [np.unravel_index(np.abs(values).argmax(), values.shape) for values in change[self.sentence]]
        silenced, carried = (f"head {layer}.{head}" for layer, head in heads)
        both = f"H{silenced[1:]} moves d most, silenced or carried over"
        title = both if silenced == carried else f"Silenced, {silenced} moves d most; carried over, {carried}"
        figure.suptitle(f"{title} (before: {start[self.sentence]:+.2f})", x=0.01, ha="left", fontsize=12)
        alt = f"Two grids of layers by heads: the change of {watched} when a head is silenced, or carried over."
        return figure, alt
