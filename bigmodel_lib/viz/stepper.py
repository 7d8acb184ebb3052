"""A model's writing, token by token, to step through (its script is beside it)."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from bigmodel_lib.generation import Sampling, check_settings, generate, sampling_distribution
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.tokenizers import Tokenizer, token_labels
from bigmodel_lib.viz.plots import ORANGE, draw_bars, readable
from bigmodel_lib.viz.text_pictures import draw_pieces
from bigmodel_lib.viz.widgets import Toy

SHOWN = 8  # candidates


class TokenStepper(Toy):
    """What a model wrote after a prompt, with the candidates at each token: `TokenStepper(model, tokenizer, "The ")`.

    how: temperature (0.8) and seed (0). `position` is the token being chosen; choosing another candidate there makes
    the model write on from it.
    Raises CourseError where prompt and tokens together exceed the context, and for an empty prompt.
    """

    caption = "In JupyterLab: press play, or click a letter of the text; "
    caption += "click a bar to let the story go that way instead."
    prompt = traitlets.Unicode().tag(sync=True)
    steps = traitlets.List().tag(sync=True)  # one a token: {text, p, names, ps}
    position = traitlets.Int(0, min=0).tag(sync=True)
    choice = traitlets.List(traitlets.Int()).tag(sync=True)  # [position, candidate]

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, prompt: str, n_tokens: int = 60, **how: Any):
        self.model, self.tokenizer, self.how = model, tokenizer, {"temperature": 0.8, "seed": 0, **how}
        self.start = tokenizer.encode(prompt).tolist()
        self.n_tokens = min(n_tokens, model.config.context_length - len(self.start))
        check_settings(model, self.start, self.n_tokens, Sampling(self.how["temperature"]))
        super().__init__(prompt=prompt)
        self.written: list[int] = []
        self.write_on()
        self.observe(self._choose, "choice")

    @torch.inference_mode()
    def write_on(self) -> None:
        """Let the model write what is missing, and look up what it could have written at each place."""
        known = [*self.start, *self.written]
        missing = self.n_tokens - len(self.written)
        self.written += list(generate(self.model, known, missing, **self.how))
        tokens = torch.tensor([[*self.start, *self.written]], device=self.model.device)
        with evaluating(self.model):
            logits = self.model(tokens[:, :-1])[0, len(self.start) - 1 :].float().cpu()
        chances = sampling_distribution(logits, self.how["temperature"])
        best = chances.topk(min(SHOWN, chances.shape[1]))
        self.candidates = best.indices.tolist()
        labels = token_labels(self.tokenizer, self.written)
        names = [[self.tokenizer.decode([token]) for token in row] for row in self.candidates]
        ps, taken = best.values.numpy().round(4).tolist(), chances[range(self.n_tokens), self.written].tolist()
        rows = zip(labels, taken, names, ps, strict=True)
        self.steps = [dict(zip(("text", "p", "names", "ps"), row, strict=True)) for row in rows]

    def _choose(self, change: Any) -> None:
        position, candidate = change["new"]
        self.written = [*self.written[:position], self.candidates[position][candidate]]
        self.write_on()

    @property
    def text(self) -> str:
        """What the model wrote, without the prompt."""
        return self.tokenizer.decode(self.written)

    def picture(self) -> tuple[Any, str]:
        step = self.steps[self.position]
        figure, (text, bars) = plt.subplots(2, figsize=(8, 4.4), height_ratios=(1, 2), layout="constrained")
        text.set_xlim(0, 84)
        shades = np.clip(-np.log2([each["p"] for each in self.steps]), 0, 6) / 10
        pieces = [(readable(each["text"]), [(ORANGE, shade)]) for each, shade in zip(self.steps, shades, strict=True)]
        text.set_ylim(max(3, draw_pieces(text, pieces, fontsize=9.5)), 0)
        text.set_axis_off()
        text.set_title(f"After “{self.prompt}”: the darker, the more it surprised the model", loc="left", fontsize=12)
        bars.set(xlabel="probability", ylabel=f"token {self.position + 1}")
        draw_bars([readable(name) for name in step["names"]], step["ps"], bars)
        alt = "A text, shaded where it surprised the model; below it bars, the likeliest tokens at one of its places."
        return figure, alt
