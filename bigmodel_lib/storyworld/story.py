"""One story, and all that is known of it: its probability, its facts, questions with answers, its twin in Chinese."""

import collections
import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.scene import Scene
from bigmodel_lib.storyworld.sentences import Construction, Filling
from bigmodel_lib.text.tokenizers import text_of

if TYPE_CHECKING:
    from bigmodel_lib.storyworld.world import StoryWorld

Text = str | Sequence[str]  # a text, or its tokens
Fact = tuple[str, ...]  # its kind, and who or what it is about

START, END = "<story>", "<end>"


class Step(NamedTuple):
    """One sentence of a story as it was chosen."""

    construction: Construction
    filling: Filling
    pronoun: bool
    log_prob: float


class Question(NamedTuple):
    """A question about a story, its answer, both in Chinese, and the positions of the tokens that carry the answer."""

    kind: str
    text: str
    answer: str
    chinese: str
    chinese_answer: str
    support: tuple[int, ...]


def words_of(text: Text) -> list[str]:
    """The tokens of a text in English: words, signs and marks such as START. A list comes back as a copy."""
    return re.findall(r"<[a-z]+>|[A-Za-z]+|[^\sA-Za-z]", text) if isinstance(text, str) else list(text)


def say(template: str, language: dict[str, dict[str, str]], words: dict[str, str]) -> str:
    """The text of a template with its slots filled; language: said.ENGLISH or said.CHINESE, words: {slot: word}."""
    told = said.SLOT.sub(lambda slot: language[words[slot[1]]][slot[2]], template)
    return text_of(told.split()) if language is said.ENGLISH else told.replace(" ", "")


def next_tokens(possible: Mapping[tuple[str, ...], Step], begun: tuple[str, ...]) -> dict[str, float]:
    """{token: p} of the token after the first ones of a sentence; possible: {sentence that may come: its step}."""
    found: dict[str, float] = collections.defaultdict(float)
    for sentence, step in possible.items():
        if sentence[: len(begun)] == begun:
            found[sentence[len(begun)]] += math.exp(step.log_prob)
    total = sum(found.values())
    return {token: p / total for token, p in found.items()}


class Story:
    """A story of a world. `steps` are its sentences as chosen; what is written below is found when it is asked for."""

    def __init__(self, world: "StoryWorld", steps: list[Step]):
        self.world = world
        self.steps = steps
        self.log_prob = sum(step.log_prob for step in steps)

    @functools.cached_property
    def sentences(self) -> list[list[str]]:
        """The tokens of each sentence."""
        return [c.tell(filling, pronoun).split() for c, filling, pronoun, _ in self.steps]

    @functools.cached_property
    def tokens(self) -> list[str]:
        """All tokens in English, without the marks of start and end."""
        return [token for sentence in self.sentences for token in sentence]

    @property
    def text(self) -> str:
        return text_of(self.tokens)

    @functools.cached_property
    def chinese_tokens(self) -> list[str]:
        """The tokens of the same story in Chinese, a function of the English one."""
        return [token for c, filling, pronoun, _ in self.steps for token in c.tell_chinese(filling, pronoun).split()]

    @property
    def chinese(self) -> str:
        return "".join(self.chinese_tokens)

    def token_probs(self) -> list[dict[str, float]]:
        """{token: p(token | those before it)}, exactly, at each place of the story, the mark of the end included."""
        scene, found = Scene(self.world), []
        for step, sentence in zip(self.steps, self.sentences, strict=True):
            possible = self.world.sentences(scene)
            found += [next_tokens(possible, tuple(sentence[:place])) for place in range(len(sentence))]
            scene.after(*step[:3])
        return [*found, {END: 1.0}]

    def token_log_probs(self) -> np.ndarray:
        """ln p of each token given those before it, the mark of the end included; the sum is `log_prob`; (N + 1,)."""
        return np.log([p[token] for p, token in zip(self.token_probs(), [*self.tokens, END], strict=True)])

    @functools.cached_property
    def _history(self) -> list:
        """(facts, {fact: positions of the tokens that carry it}) after each sentence."""
        scene, history = Scene(self.world), []
        facts: dict[Fact, Any] = {}
        carried: dict[Fact, set[int]] = {}
        for start, step in zip(itertools.accumulate(map(len, self.sentences), initial=0), self.steps, strict=False):
            scene.after(*step[:3])
            before, facts = facts, scene.facts()
            here: dict[str, set[int]] = {}
            for position, slot in step.construction.marks:
                here.setdefault(step.filling[slot], set()).add(start + position)
            kept = {}
            for fact, value in facts.items():
                about = (*fact[1:], *(value if fact[0] == "feels" else [value]))
                words = [w for w in about if w in said.ENGLISH and w not in said.FEELINGS]
                if fact not in before or before[fact] != value:
                    kept[fact] = set().union(*(here.get(w) or self._carriers(w, step, scene, carried) for w in words))
                else:
                    kept[fact] = carried[fact]
                    if all(w in here for w in words) and not said.HEARSAY.search(step.construction.english):
                        kept[fact] = kept[fact].union(*(here[w] for w in words))
            carried = kept
            history.append((facts, carried))
        return history

    @staticmethod
    def _carriers(word: str, step: Step, scene: Scene, carried: dict) -> set:
        """The tokens that carry a word which a sentence means but does not say: a place through who is there."""
        if word in scene.places:
            there = [p for p in step.filling if scene.place.get(p) == word and ("person", p) in carried]
            return carried[("person", there[0])] if there else set()
        return carried.get(("thing", word)) or carried.get(("person", word)) or set()

    @property
    def facts(self) -> list[dict[Fact, Any]]:
        """What is the case after each sentence, {(kind, who or what): where or what}."""
        return [facts for facts, _ in self._history]

    @functools.cached_property
    def antecedents(self) -> dict[int, int]:
        """{position of a pronoun at the start of a sentence: position of the name that it stands for}."""
        found, last = {}, {}  # last: {name: where it was said last}
        for start, step in zip(itertools.accumulate(map(len, self.sentences), initial=0), self.steps, strict=False):
            if step.pronoun:
                found[start] = last[step.filling[step.construction.subject or 0]]
            for position, slot in step.construction.marks:
                if self.tokens[start + position] == step.filling[slot]:
                    last[step.filling[slot]] = start + position
        return found

    def questions(self, after: int | None = None) -> list[Question]:
        """Every question that the story answers after a sentence (by default the last), with answers and support."""
        facts, carried = self._history[-1 if after is None else after]
        found = []
        for (kind, *who), value in facts.items():
            support = carried[kind, *who]
            if kind == "person":
                found.append(self._question(kind, {"A": who[0], "x": value}, support))
            elif kind == "thing" and value in said.PEOPLE:
                holder = ("person", value)
                found.append(self._question("holder", {"T": who[0], "A": value}, support))
                found.append(self._question(kind, {"T": who[0], "x": facts[holder]}, support | carried[holder]))
            elif kind == "thing":
                found.append(self._question(kind, {"T": who[0], "x": value}, support))
            elif kind == "thinks" and value in said.PLACES:
                found.append(self._question(kind, {"A": who[0], "T": who[1], "x": value}, support))
            elif kind == "feels":
                feeling, reason, *others = value
                words = {"A": who[0], "F": feeling, "T": others[-1], "B": others[0]}
                found += [self._question(asked, words, support) for asked in (kind, reason)]
        return found

    def _question(self, kind: str, words: dict[str, str], support: set[int]) -> Question:
        languages = (said.ENGLISH, said.ENGLISH, said.CHINESE, said.CHINESE)
        texts = zip(said.QUESTIONS[kind], languages, strict=True)
        text, answer, chinese, chinese_answer = (say(template, language, words) for template, language in texts)
        sources = {self.antecedents[p] for p in support if p in self.antecedents}
        return Question(kind, text, answer, chinese, chinese_answer, tuple(sorted(support | sources)))

    def summary(self) -> tuple[str, str]:
        """(English, Chinese): one true sentence about what became of the story's first thing."""
        thing, start = next((fact, facts[fact]) for facts in self.facts for fact in facts if fact[0] == "thing")
        end = self.facts[-1][thing]
        kind = ("same " if start == end else "") + ("place" if end in said.PLACES else "person")
        english, chinese = said.SUMMARIES[kind]
        words = {"T": thing[1], "A": end, "x": end}
        return say(english, said.ENGLISH, words), say(chinese, said.CHINESE, words)
