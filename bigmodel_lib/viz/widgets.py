"""What a reader plays with in a notebook: built on ipywidgets, each with a form that works without a screen."""

import html
import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
from IPython.utils.capture import capture_output
from matplotlib.axes import Axes

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.plots import bundle, display_bundle, draw_bars, new_axes, readable

if TYPE_CHECKING:  # the notebooks without PyTorch have widgets, too
    from torch import Tensor

    from bigmodel_lib.model.transformer import LanguageModel


class Toy(anywidget.AnyWidget):
    """A widget whose script and style are beside its module, under its name, on top of what all of them share."""

    def __init_subclass__(cls, **options: Any) -> None:
        own, folder = pathlib.Path(sys.modules[cls.__module__].__file__ or ""), pathlib.Path(__file__).parent
        for name, suffix in (("_esm", ".js"), ("_css", ".css")):
            if not hasattr(cls, name):  # it has when traitlets makes a class of a widget
                files = folder / f"common{suffix}", own.with_suffix(suffix)
                setattr(cls, name, "\n".join(file.read_text(encoding="utf-8") for file in files))
        super().__init_subclass__(**options)


def display_with_twin(widget: Any, data: dict, metadata: dict | None = None, caption: str = "") -> None:
    """Display a widget, beside it its twin for pages where no kernel runs, data by type, and a caption below both."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display_bundle({**data, "application/vnd.jupyter.widget-view+json": view}, metadata or {}, caption)


def interact(draw: Callable[..., None], **controls: Any) -> None:
    """`ipywidgets.interact`, its first picture beside it where no kernel runs. Raises CourseError if there is none."""
    widget = ipywidgets.interactive(draw, **controls)
    with capture_output() as first:
        draw(**widget.kwargs)
    picture = next((output for output in first.outputs if "image/png" in output.data), None)
    if picture is None:
        raise CourseError(f"{draw.__name__} shows no picture: let it call plots.show")
    caption = f"In JupyterLab, change {', '.join(controls)}, and the picture follows."
    display_with_twin(widget, picture.data, picture.metadata, caption)


def switches(write: Callable[[list[str]], str], rows: Sequence[Sequence[str]], tried: Sequence[list[str]]) -> None:
    """A switch for each name in rows, and what `write(names that are off)` says; its twin, a table of those `tried`."""
    names = [name for row in rows for name in row]
    buttons = {name: ipywidgets.ToggleButton(True, description=name, icon="check") for name in names}
    text = ipywidgets.HTML()

    def again(change: Any = None) -> None:
        if change:
            change.owner.icon = "check" if change.new else "times"
        story = write([name for name in names if not buttons[name].value])
        text.value = f"<p style='font-size: 120%'>{html.escape(story)}</p>"

    for button in buttons.values():
        button.observe(again, "value")
    again()
    lines = [f"| {', '.join(off) or 'nothing'} | {write(off)} |" for off in tried]
    table = "\n".join(["| switched off | what it writes |", "| --- | --- |", *lines])
    panel = ipywidgets.VBox([*(ipywidgets.HBox([buttons[name] for name in row]) for row in rows), text])
    caption = "In JupyterLab, click on what you want to switch off or on, and the story is written anew."
    display_with_twin(panel, {"text/markdown": table, "text/plain": table}, caption=caption)


def _bar(words: str = "", p: float = 0.0) -> Any:
    return ipywidgets.FloatProgress(p, max=1.0, description=words, style={"description_width": "9em"})


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

    def __init__(self, model: "LanguageModel", tokenizer: Any, prompt: str, seed: int = 0, shown: int = 8):
        import torch

        from bigmodel_lib.generation import Sampling, check_settings

        self.model, self.tokenizer, self.shown = model, tokenizer, shown
        self.start = tokenizer.encode(prompt).tolist()
        check_settings(model, self.start, 1, Sampling())
        self.generator = torch.Generator().manual_seed(seed)
        self.temperature, self.top_k, self.top_p = 1.0, 0, 1.0
        self.written: list[int] = []
        self.prices: list[float] = []

    @property
    def text(self) -> str:
        return self.tokenizer.decode([*self.start, *self.written])

    @property
    def price(self) -> float:
        return math.fsum(self.prices)

    def distribution(self) -> "Tensor":
        """What the next token is drawn from, by the settings of now, (V,); the model sees the last T tokens."""
        import torch

        from bigmodel_lib.generation import next_logits, sampling_distribution

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
        figure: Any = self.draw_on().figure
        twin = bundle(figure, "Bar chart of the likeliest next words after the text in the title.")
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
    rows = [(_button("", partial(pen.choose, place), show), _bar()) for place in range(pen.shown)]
    actions: dict[str, Callable[[], Any]] = {"draw 1": pen.draw, "draw 20": partial(pen.draw, 20), "undo": pen.undo}
    buttons = [_button(name, action, show) for name, action in actions.items()]
    sliders = ipywidgets.interactive(
        set_and_show,
        temperature=(0.0, max(2.0, pen.temperature), 0.1),
        top_k=(0, max(50, pen.top_k)),
        top_p=(min(0.05, pen.top_p), 1.0, 0.05),
    )
    return ipywidgets.VBox([text, *map(ipywidgets.HBox, rows), ipywidgets.HBox(buttons), sliders])
