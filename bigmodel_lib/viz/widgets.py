"""What a reader plays with in a notebook: built on ipywidgets, each with a form that works without a screen."""

import html
import math

import numpy as np

from bigmodel_lib.errors import CourseError


def display_with_twin(widget, data: dict, metadata: dict | None = None) -> None:
    """Display a widget, and beside it what stands for it where no kernel runs: data by type, such as "image/png"."""
    from IPython.display import display

    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({**data, "application/vnd.jupyter.widget-view+json": view}, raw=True, metadata=metadata)


def interact(draw, **controls) -> None:
    """`ipywidgets.interact`, with its first picture as the twin for pages where no kernel runs.

    draw(**values) shows a picture; controls are as in ipywidgets.interact, such as tau=(0.1, 10.0, 0.1).
    """
    import ipywidgets
    from IPython.display import Markdown, display
    from IPython.utils.capture import capture_output

    widget = ipywidgets.interactive(draw, **controls)
    with capture_output() as first:
        draw(**widget.kwargs)
    picture = next((output for output in first.outputs if "image/png" in output.data), None)
    if picture is None:
        raise CourseError(f"{draw.__name__} shows no picture: let it call plots.show")
    display_with_twin(widget, picture.data, picture.metadata)
    display(Markdown(f"*In JupyterLab, change {', '.join(controls)}, and the picture follows.*"))


class GuessTheNextWord:
    """A game on the story world: the reader guesses the next word, beside one who knows the exact distribution.

    `guess(word)` plays one turn and returns what to say; shown in a notebook, it is a field and a button. The first
    sentence, and words that can only be one, are told without asking. After Shannon 1951, who had people guess English.
    """

    def __init__(self, world, seed: int = 0):
        self.world, self.story = world, world.sample(np.random.default_rng(seed))
        self.position = len(self.story.sentences[0])
        self.turns, self.hits, self.best_hits, self.nats = 0, 0, 0, 0.0
        self._skip()

    def _skip(self) -> None:
        """Go on to the next word that could be another one."""
        self.probs = {}
        while self.position < len(self.story.tokens):
            self.probs = self.world.next_token_probs(self.story.tokens[: self.position])
            if len(self.probs) > 1:
                break
            self.position += 1

    @property
    def over(self) -> bool:
        return self.position >= len(self.story.tokens)

    def told(self) -> str:
        """The story so far."""
        from bigmodel_lib.storyworld import text_of

        return text_of(self.story.tokens[: self.position])

    def guess(self, word: str) -> str:
        """Play one turn: what came, how probable it was, and the score so far."""
        if self.over:
            return "The story is over: start another with another seed."
        came, best = self.story.tokens[self.position], max(self.probs, key=self.probs.get)
        p, word = self.probs[came], word.strip()
        self.turns += 1
        self.hits += word == came
        self.best_hits += best == came
        self.nats -= math.log(p)
        possible = "" if word in self.probs else f"“{word}” could not have come here. "
        self.position += 1
        self._skip()
        return (
            f"{possible}It was “{came}”, with probability {p:.2f}; the likeliest was “{best}”. "
            f"Right so far: you {self.hits}, the likeliest word {self.best_hits}, of {self.turns}. "
            f"Surprise on average: {self.nats / self.turns:.2f} nats."
        )

    def _bars(self, probs: dict) -> str:
        rows = sorted(probs.items(), key=lambda row: -row[1])[:6]
        cells = "".join(
            f'<div><span style="display:inline-block;width:6em">{html.escape(word)}</span>'
            f'<span style="display:inline-block;height:0.7em;background:#0072B2;'
            f'width:{12 * p:.2f}em"></span> {p:.2f}</div>'
            for word, p in rows
        )
        return f"<div>What could have come:</div>{cells}"

    def _ipython_display_(self) -> None:
        import ipywidgets

        text, answer = ipywidgets.HTML(), ipywidgets.HTML()
        words = sorted(set(self.world.tokenizer().vocabulary))
        field = ipywidgets.Combobox(options=words, placeholder="your word", description="next word")
        button = ipywidgets.Button(description="guess")

        def draw(said: str = "", probs: dict | None = None):
            text.value = f"<p>{html.escape(self.told())} <b>{'' if self.over else '…?'}</b></p>"
            answer.value = f"<p>{html.escape(said)}</p>{self._bars(probs) if probs else ''}"
            field.value, button.disabled = "", self.over

        def play(_):
            if field.value.strip() and not self.over:
                probs = self.probs
                draw(self.guess(field.value), probs)

        button.on_click(play)
        draw()
        twin = {"text/markdown": f"{self.told()} **…?**", "text/plain": f"{self.told()} …?"}
        display_with_twin(ipywidgets.VBox([text, ipywidgets.HBox([field, button]), answer]), twin)


class WriteWithMe:
    """Writing together: a model shows its candidates for the next token, the reader chooses one or lets it draw.

    `candidates()`, `choose(place)`, `draw(n)`, `undo()` and the settings temperature, top_k, top_p are all there is; in
    a notebook they are buttons and sliders, and `draw_on(ax)` is the same as a picture. `price`: what the choices cost,
    -ln of their probabilities, in nats. Raises CourseError for an empty prompt.
    """

    def __init__(self, model, tokenizer, prompt: str, seed: int = 0, shown: int = 8):
        import torch

        from bigmodel_lib.generation import check_settings

        self.model, self.tokenizer, self.shown = model, tokenizer, shown
        self.prompt, self.start = prompt, tokenizer.encode(prompt).tolist()
        check_settings(model, self.start, 1, 1.0, 0, 1.0)
        self.generator = torch.Generator().manual_seed(seed)
        self.temperature, self.top_k, self.top_p = 1.0, 0, 1.0
        self.written, self.prices = [], []

    @property
    def text(self) -> str:
        return self.tokenizer.decode([*self.start, *self.written])

    @property
    def price(self) -> float:
        return math.fsum(self.prices)

    def distribution(self):
        """What the next token is drawn from, by the settings of now, (V,); the model sees the last T tokens."""
        import torch

        from bigmodel_lib.generation import next_logits, sampling_distribution

        window = [*self.start, *self.written][-self.model.config.context_length :]
        tokens = torch.tensor([window], device=self.model.token_embedding.device)
        logits = next_logits(self.model, tokens)[0]
        return sampling_distribution(logits, self.temperature, self.top_k, self.top_p)

    def candidates(self) -> list:
        """[(token, its text, its probability)], the likeliest first; none of those that the settings cut off."""
        best = self.distribution().topk(min(self.shown, self.model.config.vocab_size))
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(token, self.tokenizer.decode([token]), p) for token, p in rows if p > 0]

    def _append(self, token: int, p: float) -> None:
        self.written.append(token)
        self.prices.append(-math.log(p))

    def choose(self, place: int) -> str:
        """Append the candidate at a place of the list; returns its text. Raises CourseError for one not shown."""
        shown = self.candidates()
        if not 0 <= place < len(shown):
            raise CourseError(f"candidate {place} is not shown: choose 0 to {len(shown) - 1}")
        token, text, p = shown[place]
        self._append(token, p)
        return text

    def draw(self, n: int = 1) -> None:
        """Let the model draw n tokens."""
        for _ in range(n):
            p = self.distribution()
            token = int(p.multinomial(1, generator=self.generator))
            self._append(token, float(p[token]))

    def undo(self) -> None:
        """Take the last token back, if there is one."""
        self.written, self.prices = self.written[:-1], self.prices[:-1]

    def draw_on(self, ax=None):
        """The candidates as bars, with the end of the text so far as title."""
        from bigmodel_lib.viz.plots import draw_bars, new_axes, readable

        end = self.text if len(self.text) <= 60 else "… " + self.text[-60:].partition(" ")[2]
        title = end.replace("\n", "⏎") + " …?"
        ax = ax or new_axes(title, "probability", "next token (␣ blank, ⏎ line end)", height=3)
        shown = self.candidates()
        return draw_bars([f"“{readable(text)}”" for _, text, _ in shown], [p for _, _, p in shown], ax)

    def _ipython_display_(self) -> None:
        import ipywidgets
        import matplotlib.pyplot as plt
        from IPython.display import Markdown, display

        from bigmodel_lib.viz.plots import bundle, readable

        text, slider = ipywidgets.HTML(), ipywidgets.FloatSlider
        rows = [(ipywidgets.Button(), ipywidgets.HTML()) for _ in range(self.shown)]
        settings = [
            slider(value=self.temperature, min=0.0, max=2.0, step=0.1, description="temperature"),
            ipywidgets.IntSlider(value=self.top_k, min=0, max=50, description="top k"),
            slider(value=self.top_p, min=0.05, max=1.0, step=0.05, description="top p"),
        ]

        def show(_=None):
            self.temperature, self.top_k, self.top_p = (setting.value for setting in settings)
            text.value = f"<p>{html.escape(self.text)}▏</p><p>what the choices cost: {self.price:.2f} nats</p>"
            shown = self.candidates()
            for place, (button, bar) in enumerate(rows):
                word, p = shown[place][1:] if place < len(shown) else ("", 0.0)
                button.description, button.disabled = readable(word), p == 0
                style = f"display:inline-block;height:0.8em;background:#0072B2;width:{14 * p:.2f}em"
                bar.value = f'<span style="{style}"></span> {p:.2f}' if p else ""

        def after(action, *given):
            return lambda _: (action(*given), show())

        for place, (button, _) in enumerate(rows):
            button.on_click(after(self.choose, place))
        actions = []
        for name, action in (("draw 1", (self.draw,)), ("draw 20", (self.draw, 20)), ("undo", (self.undo,))):
            actions.append(ipywidgets.Button(description=name))
            actions[-1].on_click(after(*action))
        for setting in settings:
            setting.observe(show, "value")
        show()
        bars = [ipywidgets.HBox(row) for row in rows]
        figure = self.draw_on().figure
        caption = "Choose the next word by its button, or let the model draw it; the sliders change what it draws from."
        twin = bundle(figure, caption, "Bar chart of the likeliest next words after the text in the title.")
        plt.close(figure)
        display_with_twin(ipywidgets.VBox([text, *bars, ipywidgets.HBox(actions), *settings]), *twin)
        display(Markdown(f"*{caption}*"))
