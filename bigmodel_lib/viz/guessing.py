"""The guessing game: the reader bets on the next word of stories whose exact probabilities are known."""

import collections
import itertools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import anywidget
import numpy as np
import traitlets

from bigmodel_lib.storyworld import StoryWorld, text_of
from bigmodel_lib.viz.plots import ORANGE, bundle, draw_bars, new_axes
from bigmodel_lib.viz.widgets import display_with_twin

FOLDER = pathlib.Path(__file__).resolve().parent
OTHER = "something else"
SHOWN = 7  # words to bet on; all others are OTHER
TRUE = 5  # of them, those that the world finds likeliest; the rest only sound right after the last word
TOLD = 2  # sentences before the first bet
APART = 3  # tokens from one bet to the next, at least
CAPTION = "In JupyterLab, click a word to double its odds, then reveal what came. Your score reaches the kernel."
Player = Callable[[list[str]], Mapping[str, float]]


class Turn(NamedTuple):
    """One bet: the tokens before it, {word that can come: exact probability}, the words shown, and which one came."""

    before: list[str]
    possible: dict[str, float]
    words: list[str]
    came: int

    def shares(self, q: Mapping[str, float]) -> list[float]:
        """A player's probabilities of the words shown, (len(words),), over what can come or is shown."""
        allowed = {word: q.get(word, 0.0) for word in [*self.possible, *self.words] if word != OTHER}
        total = sum(allowed.values()) or 1.0
        allowed[OTHER] = sum(p for word, p in allowed.items() if word not in self.words)
        return [allowed[word] / total for word in self.words]

    def surprise(self, q: Mapping[str, float]) -> float:
        """−log₂ of the share that a player put on what came, in bits."""
        share = self.shares(q)[self.came]
        return -math.log2(share) if share > 0 else math.inf


def words_after(world: StoryWorld, n_stories: int = 150) -> dict[str, collections.Counter]:
    """{word: what follows it, and how often} in some stories: what sounds right to someone who forgets the rest."""
    after: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    rng = np.random.default_rng(0)
    for _ in range(n_stories):
        for word, following in itertools.pairwise(world.sample(rng).tokens):
            after[word][following] += 1
    return after


def turns_of(world: StoryWorld, tokens: list[str], start: int, after: Mapping[str, collections.Counter]) -> list[Turn]:
    """The bets on a story, from `start` on: places where the last word alone leaves the next one open."""
    turns: list[Turn] = []
    for place in range(start, len(tokens)):
        if turns and place - len(turns[-1].before) < APART:
            continue
        sounds = [word for word, _ in after[tokens[place - 1]].most_common()]
        if len(sounds) < SHOWN:
            continue
        possible = world.next_token_probs(tokens[:place])
        likeliest = sorted(possible, key=lambda word: (-possible[word], word))[:TRUE]
        shown = [*likeliest, *(word for word in sounds if word not in likeliest)][:SHOWN]
        words = [*sorted(shown), OTHER]
        came = tokens[place] if tokens[place] in words else OTHER
        turns.append(Turn(tokens[:place], possible, words, words.index(came)))
    return turns


class GuessingGame(anywidget.AnyWidget):
    """Bets on the next word: `GuessingGame(world, seeds)`. Each click doubles a word's odds.

    `bets` holds [story, turn, clicks of each word] of what was revealed.
    Sources: Shannon 1951 (guesses of letters); Cover & King 1978 (bets).
    """

    _esm = (FOLDER / "guessing.js").read_text(encoding="utf-8")
    _css = (FOLDER / "guessing.css").read_text(encoding="utf-8")
    stories = traitlets.List().tag(sync=True)
    bets = traitlets.List().tag(sync=True)

    def __init__(self, world: StoryWorld, seeds: Sequence[int]):
        self.told = [world.sample(np.random.default_rng(seed)) for seed in seeds]
        after = words_after(world)
        self.turns = [turns_of(world, s.tokens, sum(map(len, s.sentences[:TOLD])), after) for s in self.told]
        shown = [
            {
                "turns": [
                    {
                        "before": text_of(turn.before),
                        "words": turn.words,
                        "p": turn.shares(turn.possible),
                        "came": turn.came,
                        "word": story.tokens[len(turn.before)],
                    }
                    for turn in turns
                ],
                "text": story.text,
            }
            for story, turns in zip(self.told, self.turns, strict=True)
        ]
        super().__init__(stories=shown)

    def score(self, player: Player, story: int | None = 0) -> list[float]:
        """The surprise of each turn, in bits, for a player that gives {word: probability} after some tokens.

        story: whose turns; None: those that the reader has bet on.
        """
        turns = self.turns[story] if story is not None else [self.turns[s][t] for s, t, _ in self.bets]
        return [turn.surprise(player(turn.before)) for turn in turns]

    def yours(self, story: int | None = None) -> list[float]:
        """The reader's own surprises, in bits, on one story or on all; empty before the first bet."""
        found = []
        for number, turn, clicks in self.bets:
            if story is None or number == story:
                came = self.turns[number][turn].came
                found.append(math.log2(sum(2.0**n for n in clicks)) - clicks[came])
        return found

    def draw(self, turn: int = 0) -> Any:
        """One turn as a figure, before any click."""
        now = self.turns[0][turn]
        title = "Where would you put your money?\n" + " ".join(text_of(now.before).split()[-12:]) + " …?"
        ax = new_axes(title, "your probability before you click", "next word", height=3.0)
        return draw_bars(now.words, [1 / len(now.words)] * len(now.words), ax, ORANGE).figure

    def _ipython_display_(self) -> None:
        alt = f"A betting game: {len(self.turns[0][0].words)} words that may come next, with equal bars before a click."
        display_with_twin(self, *bundle(self.draw(), alt), CAPTION)
