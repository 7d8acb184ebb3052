"""A model's writing, token by token: to step through (its script is beside it), and to take part in."""

import html
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from bigmodel_lib.errors import CourseError
from bigmodel_lib.generation import Sampling, check_settings, generate, next_logits, sampling_distribution
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.tokenizers import Tokenizer, token_labels
from bigmodel_lib.viz.plots import bundle, draw_bars, new_axes, readable
from bigmodel_lib.viz.widgets import Toy, display_with_twin

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
        step, columns, x, line = self.steps[self.position], 84, 0, 0
        figure, (text, bars) = plt.subplots(2, figsize=(8, 4.4), height_ratios=(1, 2), layout="constrained")
        for each in self.steps:
            label, surprise = readable(each["text"]), -math.log2(each["p"])
            if x + len(label) > columns:
                x, line = 0, line + 1
            shade = plt.get_cmap("Oranges")(surprise / 10)
            text.add_patch(Rectangle((x, line), len(label), 1, facecolor=shade))
            dark = dict(color="white" if surprise > 7 else "black", family="monospace", fontsize=9.5)
            text.text(x, line + 0.5, label, va="center", **dark)
            x += len(label)
        text.set(xlim=(0, columns), ylim=(max(3, line + 1), 0))
        text.set_axis_off()
        text.set_title(f"After “{self.prompt}”: the darker, the more it surprised the model", loc="left", fontsize=12)
        bars.set(xlabel="probability", ylabel=f"token {self.position + 1}")
        draw_bars([readable(name) for name in step["names"]], step["ps"], bars)
        alt = "A text, shaded where it surprised the model; below it bars, the likeliest tokens at one of its places."
        return figure, alt


def _button(name: str, *actions: Callable[[], Any]) -> Any:
    """A button that does one thing after another."""
    button = ipywidgets.Button(description=name)
    for action in actions:
        button.on_click(lambda _, action=action: action())
    return button


class WriteWithMe:
    """Writing together: a model shows its candidates for the next token, the reader chooses one or lets it draw.

    `price`: -ln of the choices' probabilities, in nats. Raises CourseError for an empty prompt.
    """

    def __init__(self, model: LanguageModel, tokenizer: Any, prompt: str, shown: int = 8):
        self.model, self.tokenizer, self.shown = model, tokenizer, shown
        self.start = tokenizer.encode(prompt).tolist()
        check_settings(model, self.start, 1, Sampling())
        self.generator = torch.Generator().manual_seed(0)
        self.temperature, self.top_k, self.top_p = 1.0, 0, 1.0
        self.written: list[int] = []
        self.prices: list[float] = []

    @property
    def text(self) -> str:
        return self.tokenizer.decode([*self.start, *self.written])

    @property
    def price(self) -> float:
        return math.fsum(self.prices)

    def distribution(self) -> Tensor:
        """What the next token is drawn from, by the settings of now, (V,); the model sees the last T tokens."""
        window = [*self.start, *self.written][-self.model.config.context_length :]
        logits = next_logits(self.model, torch.tensor([window], device=self.model.device))[0].cpu()
        return sampling_distribution(logits, self.temperature, self.top_k, self.top_p)

    def candidates(self) -> list[tuple[int, str, float]]:
        """[(token, its text, its probability)], the likeliest first; none of those that the settings cut off."""
        best = self.distribution().topk(min(self.shown, self.model.config.vocab_size))
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(token, self.tokenizer.decode([token]), p) for token, p in rows if p > 0]

    def choose(self, place: int) -> str:
        """Append the candidate at a place of the list; returns its text. Raises CourseError for one not shown."""
        shown = self.candidates()
        if not 0 <= place < len(shown):
            raise CourseError(f"candidate {place} is not shown: choose 0 to {len(shown) - 1}")
        token, text, p = shown[place]
        self.written.append(token)
        self.prices.append(-math.log(p))
        return text

    def draw(self, n: int = 1) -> None:
        """Let the model draw n tokens."""
        for _ in range(n):
            p = self.distribution()
            token = int(p.multinomial(1, generator=self.generator))
            self.written.append(token)
            self.prices.append(-math.log(p[token]))

    def undo(self) -> None:
        """Take the last token back, if there is one."""
        self.written, self.prices = self.written[:-1], self.prices[:-1]

    def draw_on(self) -> Axes:
        """The candidates as bars, with the end of the text so far as title."""
        end = self.text if len(self.text) <= 60 else "… " + self.text[-60:].partition(" ")[2]
        ax = new_axes(end.replace("\n", "⏎") + " …?", "probability", "next token (␣ blank, ⏎ line end)", height=3)
        shown = self.candidates()
        return draw_bars([f"“{readable(text)}”" for _, text, _ in shown], [p for _, _, p in shown], ax)

    def _ipython_display_(self) -> None:
        caption = "Choose the next word by its button, or let the model draw it; the sliders change what it draws from."
        twin = bundle(self.draw_on().figure, "Bar chart of the likeliest next words after the text in the title.")
        display_with_twin(_writing_panel(self), *twin, caption)


def _writing_panel(pen: WriteWithMe) -> Any:
    """The buttons and sliders of one who writes with a model."""

    def show() -> None:
        text.value = f"<p>{html.escape(pen.text)}▏</p><p>what the choices cost: {pen.price:.2f} nats</p>"
        shown = pen.candidates()
        for place, (button, bar) in enumerate(rows):
            word, p = shown[place][1:] if place < len(shown) else ("", 0.0)
            button.description = readable(word)
            button.disabled = p == 0
            bar.value, bar.description = p, f"{p:.2f}" if p else ""

    def set_and_show(temperature: float = pen.temperature, top_k: int = pen.top_k, top_p: float = pen.top_p) -> None:
        pen.temperature, pen.top_k, pen.top_p = temperature, top_k, top_p
        show()

    text = ipywidgets.HTML()
    buttons = [_button("", partial(pen.choose, place), show) for place in range(pen.shown)]
    rows = [(button, ipywidgets.FloatProgress(max=1.0, style={"description_width": "9em"})) for button in buttons]
    actions: dict[str, Callable[[], Any]] = {"draw 1": pen.draw, "draw 20": partial(pen.draw, 20), "undo": pen.undo}
    below = [_button(name, action, show) for name, action in actions.items()]
    sliders = ipywidgets.interactive(
        set_and_show,
        temperature=(0.0, max(2.0, pen.temperature), 0.1),
        top_k=(0, max(50, pen.top_k)),
        top_p=(min(0.05, pen.top_p), 1.0, 0.05),
    )
    return ipywidgets.VBox([text, *map(ipywidgets.HBox, rows), ipywidgets.HBox(below), sliders])
