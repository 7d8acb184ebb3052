"""The guessing game: the reader bets on the next word of stories whose exact probabilities are known."""

import collections
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from bigmodel_lib.storyworld import StoryWorld, text_of
from bigmodel_lib.storyworld.story import Story
from bigmodel_lib.viz.plots import ORANGE, draw_bars, new_axes
from bigmodel_lib.viz.widgets import Toy

OFFERED = 8  # words to bet on
APART = 3  # tokens from one bet to the next, at least; the first comes after two sentences


def offered(q: Mapping[str, float], words: Sequence[str]) -> list[float]:
    """The probabilities of the words on offer, for a player who gives {word: probability} to all words."""
    total = sum(q.get(word, 0.0) for word in words) or 1.0
    return [q.get(word, 0.0) / total for word in words]


def turns_of(story: Story, after: Mapping[str, collections.Counter], rng: np.random.Generator) -> Iterator[dict]:
    """The bets on a story: what is said before, the words on offer with their probabilities, and which one came.

    On offer are the word that came and seven drawn from all others that could come, or, where fewer could, those and
    words that merely sound right. The draw favours none, hence p(word | offer) = p(word) / Σ p(words on offer).
    """
    place = sum(map(len, story.sentences[:2]))
    while place < len(story.tokens):
        before, came = story.tokens[:place], story.tokens[place]
        p = story.world.next_token_probs(before)
        sounds = [word for word, _ in after[before[-1]].most_common() if word not in p]
        others = [word for word in [*p, *sounds[: max(0, OFFERED - len(p))]] if word != came]
        if len(others) < OFFERED - 1:
            place += 1
            continue
        words = sorted([came, *rng.choice(others, OFFERED - 1, replace=False).tolist()])
        yield dict(before=text_of(before), place=place, words=words, came=words.index(came), p=offered(p, words))
        place += APART


class GuessingGame(Toy):
    """Bets on the next word: `GuessingGame(world, seeds)`. Each click doubles a word's odds.

    `bets` holds [story, turn, clicks of each word] of what was revealed.
    Sources: Shannon 1951 (guesses of letters); Cover & King 1978 (bets).
    """

    caption = "In JupyterLab, click a word to double its odds, then reveal what came."
    stories = traitlets.List().tag(sync=True)
    bets = traitlets.List().tag(sync=True)

    def __init__(self, world: StoryWorld, seeds: Sequence[int]):
        after: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        rng = np.random.default_rng(0)
        for word, following in itertools.chain(*(itertools.pairwise(world.sample(rng).tokens) for _ in range(150))):
            after[word][following] += 1
        self.told = [world.sample(np.random.default_rng(seed)) for seed in seeds]
        super().__init__(stories=[{"text": s.text, "turns": list(turns_of(s, after, rng))} for s in self.told])

    def score(self, player: Callable[[list[str]], Mapping[str, float]], story: int) -> dict[int, float]:
        """{turn: its surprise in bits} on a story, for a player that gives {word: probability} after some tokens."""
        turns, tokens = self.stories[story]["turns"], self.told[story].tokens
        shares = [offered(player(tokens[: turn["place"]]), turn["words"])[turn["came"]] for turn in turns]
        return {number: 0 - math.log2(share) if share else math.inf for number, share in enumerate(shares)}

    def yours(self, story: int) -> dict[int, float]:
        """{turn: the reader's own surprise in bits} of the bets on a story so far."""
        came = [turn["came"] for turn in self.stories[story]["turns"]]
        bets = sorted((turn, clicks) for number, turn, clicks in self.bets if number == story)
        return {turn: math.log2(np.exp2(clicks).sum()) - clicks[came[turn]] for turn, clicks in bets}

    def picture(self) -> tuple[Any, str]:
        now = self.stories[0]["turns"][0]
        title = "Where would you put your money?\n" + " ".join(now["before"].split()[-12:]) + " …?"
        ax = new_axes(title, "your probability before you click", "next word", height=3.0)
        draw_bars(now["words"], [1 / OFFERED] * OFFERED, ax, ORANGE)
        return ax.figure, "A betting game: eight words that may come next, with equal bars before a click."
