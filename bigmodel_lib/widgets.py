"""What a reader plays with in a notebook: built on ipywidgets, each with a form that works without a screen."""

import html
import math

import numpy as np


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
        from IPython.display import display

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
        display(ipywidgets.VBox([text, ipywidgets.HBox([field, button]), answer]))
