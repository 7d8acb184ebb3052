"""The world that tells stories: what may come next, how probable it is, and what a text that was told means."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.scene import SLOT, Construction, Scene
from bigmodel_lib.storyworld.story import END, START, Filling, Step, Story, Text, words_of
from bigmodel_lib.text.tokenizers import WordTokenizer

DRAWS = 120  # random numbers set aside for one story, at most three a sentence


class Option(NamedTuple):
    """One construction that a scene allows: its probability, and the fillings, each as probable as the others."""

    probability: float
    construction: Construction
    fillings: list[Filling]


class StoryWorld:
    """Stories about some of the people, places and things.

    p(story) = Π over its sentences of p(construction | scene) · 1/(its fillings) · (1/2 where a pronoun may stand).
    After `shortest` sentences each next one is an ending with probability `stop`; from `longest` tokens on it must be.
    people, places, things: names from `sentences`; constructions: a test for those to keep, by their
    English. Raises CourseError for fewer than 3 places, 2 people or 1 thing, or for a name that is not known.
    """

    def __init__(
        self,
        people: Iterable[str] | None = None,
        places: Iterable[str] | None = None,
        things: Iterable[str] | None = None,
        *,
        shortest: int = 5,
        longest: int = 88,
        stop: float = 0.14,
        keep: Callable[[str], bool] | None = None,
    ):
        self.people, self.places, self.things = (
            tuple(known) if names is None else tuple(names)
            for names, known in ((people, said.PEOPLE), (places, said.PLACES), (things, said.THINGS))
        )
        for names, known, least in ((self.people, said.PEOPLE, 2), (self.places, said.PLACES, 3),
                                    (self.things, said.THINGS, 1)):  # fmt: skip
            unknown = [name for name in names if name not in known]
            if unknown or len(set(names)) < max(least, len(names)):
                raise CourseError(
                    f"at least {least} different names from {', '.join(known)} were wanted, {', '.join(names)} given"
                )
        self.shortest, self.longest, self.stop = shortest, longest, stop
        count = itertools.count()
        self.tables = {
            name: [c for c in (Construction(next(count), *row) for row in getattr(said, name))
                   if keep is None or keep(c.english)]
            for name in ("SETTING", "FIRST_PERSON", "SECOND_PERSON", "FIRST_THING", "FREE", "ANSWERS", "ENDINGS")
        }  # fmt: skip
        self.constructions = [c for table in self.tables.values() for c in table]

    def tokenizer(self, language: str = "english") -> WordTokenizer:
        """The closed vocabulary of the world's stories, questions, answers and summaries, with the marks START and END.

        language: "english" or "chinese"; raises CourseError for another one.
        """
        if language not in ("english", "chinese"):
            raise CourseError(f"language {language!r} was given: choose english or chinese")
        english = language == "english"
        templates = [c.english if english else c.chinese for c in self.constructions]
        templates += [part for row in said.QUESTIONS.values() for part in (row[:2] if english else row[2:])]
        templates += [row[0 if english else 1] for row in said.SUMMARIES.values()]
        forms = {form for template in templates for _, form in SLOT.findall(template)} | {"He" if english else "he"}
        named = {*self.people, *self.places, *self.things, *said.LOOKS, *said.FEELINGS}
        words = {word for template in templates for word in SLOT.sub("", template).split()}
        for name, how in (said.ENGLISH if english else said.CHINESE).items():
            if name in named:
                words.update(word for form in forms & set(how) for word in how[form].split())
        return WordTokenizer([START, END, *sorted(words)], blanks=english)

    # the choices

    def table(self, scene: Scene) -> str:
        """Which table the next sentence comes from, if it is no ending."""
        if not scene.places:
            return "SETTING"
        if len(scene.place) < 2:
            return "SECOND_PERSON" if scene.place else "FIRST_PERSON"
        if not scene.at:
            return "FIRST_THING"
        return "ANSWERS" if scene.asked else "FREE"

    def options(self, scene: Scene) -> list[Option]:
        """Every construction that may come next, with its probability and fillings; none after an ending."""
        if scene.over:
            return []
        scene.look_around()
        name = self.table(scene)
        ending = 0.0
        if name == "FREE" and scene.sentences >= self.shortest:
            ending = 1.0 if scene.tokens >= self.longest else self.stop
        more = [(c, fillings) for c in self.tables[name]
                if (name == "ANSWERS" or c.index not in scene.recent) and (fillings := c.when(scene))]  # fmt: skip
        if not more and name == "FREE":
            ending = 1.0
        last = [(c, fillings) for c in self.tables["ENDINGS"] if ending and (fillings := c.when(scene))]
        found = []
        for allowed, share in ((more, 1.0 - ending), (last, ending)):
            if share:
                total = sum(c.weight for c, _ in allowed) / share
                found += [Option(c.weight / total, c, fillings) for c, fillings in allowed]
        return found

    def sentences(self, scene: Scene) -> dict[tuple[str, ...], Step]:
        """Every sentence that may come next, {its tokens: the step that tells it}; they are all different."""
        found = {}
        for probability, c, fillings in self.options(scene):
            for filling in fillings:
                p = probability / len(fillings)
                if c.subject is not None and filling[c.subject] == scene.topic:
                    p /= 2
                    found[tuple(c.tell(filling, True).split())] = Step(c, filling, True, math.log(p))
                found[tuple(c.tell(filling).split())] = Step(c, filling, False, math.log(p))
        return found

    # telling and scoring

    def sample(self, rng: np.random.Generator) -> Story:
        """A story drawn from the world. Every story takes as many numbers from `rng` as any other."""
        draws = iter(rng.random(DRAWS).tolist())
        scene, steps = Scene(self), []
        while not scene.over:
            u = next(draws)
            for option in self.options(scene):
                u -= option.probability
                if u < 0:
                    break
            probability, c, fillings = option
            filling = fillings[int(next(draws) * len(fillings))]
            p, pronoun = probability / len(fillings), False
            if c.subject is not None and filling[c.subject] == scene.topic:
                pronoun = next(draws) < 0.5
                p /= 2
            steps.append(Step(c, filling, pronoun, math.log(p)))
            scene.after(c, filling, pronoun)
        return Story(self, steps)

    def _follow(self, tokens):
        """(steps, scene, position, left): the whole sentences, where the rest begins, if a sentence did not fit."""
        scene, steps, position = Scene(self), [], 0
        while not scene.over and "." in tokens[position:]:
            end = tokens.index(".", position) + 1
            sentence = tokens[position:end]
            step = self._recognise(scene, sentence)
            if step is None:
                return steps, scene, position, True
            steps.append(step)
            scene.after(*step[:3])
            position = end
        return steps, scene, position, False

    def _recognise(self, scene, sentence):
        """The step that tells this sentence in this scene, or None."""
        text = " ".join(sentence)
        for probability, c, fillings in self.options(scene):
            if not c.fits(sentence):
                continue
            for filling in fillings:
                p = probability / len(fillings)
                may = c.subject is not None and filling[c.subject] == scene.topic
                for pronoun in (False, True)[: 1 + may]:
                    if c.tell(filling, pronoun) == text:
                        return Step(c, filling, pronoun, math.log(p / (1 + may)))
        return None

    def parse(self, text: Text) -> Story:
        """The story that a text tells. Raises NotInLanguage, which says at which token the text leaves the language."""
        tokens = words_of(text)
        steps, scene, position, left = self._follow(tokens)
        if scene.over and position == len(tokens):
            return Story(self, steps)
        if not scene.over:
            rest, nexts = tokens[position:], self.sentences(scene)
            position += max(sum(1 for _ in itertools.takewhile(lambda p: p[0] == p[1], zip(rest, s, strict=False)))
                            for s in nexts)  # fmt: skip
        raise NotInLanguage(tokens, position)

    def log_prob(self, text: Text) -> float:
        """ln p(text), exactly; -inf for a text outside the language (`parse` says where it leaves it)."""
        try:
            return self.parse(text).log_prob
        except NotInLanguage:
            return -math.inf

    def next_token_probs(self, prefix: Text) -> dict[str, float]:
        """{token: probability} of the token after a prefix, exactly. Raises NotInLanguage for an illegal prefix."""
        tokens = words_of(prefix)
        _, scene, position, left = self._follow(tokens)
        if scene.over and position == len(tokens):
            return {END: 1.0}
        rest = tuple(tokens[position:])
        found: dict[str, float] = {}
        if not (left or scene.over):
            for sentence, step in self.sentences(scene).items():
                if sentence[: len(rest)] == rest:
                    token = sentence[len(rest)]
                    found[token] = found.get(token, 0.0) + math.exp(step.log_prob)
        if not found:
            self.parse(tokens)
        total = sum(found.values())
        return {token: p / total for token, p in found.items()}


class NotInLanguage(CourseError):
    """A text that the world does not tell. `position` is the first token that no story has after those before it."""

    def __init__(self, tokens: list[str], position: int):
        self.position = position
        given = repr(tokens[position]) if position < len(tokens) else "the end of the text"
        before = " ".join(tokens[max(0, position - 8) : position])
        super().__init__(f"no story has {given} as token {position}, after {before!r}")
