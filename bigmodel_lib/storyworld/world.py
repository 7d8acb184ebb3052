"""The world that tells stories: what may come next, how probable it is, and what a text that was told means."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.scene import Scene
from bigmodel_lib.storyworld.sentences import Construction, Filling
from bigmodel_lib.storyworld.story import END, START, Step, Story, Text, next_tokens, words_of
from bigmodel_lib.text.tokenizers import WordTokenizer

DRAWS = 120  # random numbers set aside for one story, at most three a sentence
Names = Iterable[str] | None
Option = tuple[float, Construction, list[Filling]]


def _chosen(names: Names, known: Iterable[str], least: int) -> tuple[str, ...]:
    """The names, by default all that are known."""
    known, chosen = tuple(known), tuple(known if names is None else names)
    if not set(chosen) <= set(known) or len(set(chosen)) < max(least, len(chosen)):
        wanted = f"at least {least} different names from {', '.join(known)} were wanted"
        raise CourseError(f"{wanted}, {', '.join(chosen)} given")
    return chosen


class StoryWorld:
    """Stories about some of the people, places and things.

    p(story) = Π over its sentences of p(construction | scene) · 1/(its fillings) · (1/2 where a pronoun may stand).
    After `shortest` sentences each next one is an ending with probability `stop`; from `longest` tokens on it must be.
    people, places, things: names from `sentences`, by default all. Raises CourseError for fewer than 2 people, 3 places
    or 1 thing, and for a name that is not known.
    """

    def __init__(
        self, people: Names = None, places: Names = None, things: Names = None, shortest: int = 5, longest: int = 88
    ):
        self.people = _chosen(people, said.PEOPLE, 2)
        self.places = _chosen(places, said.PLACES, 3)
        self.things = _chosen(things, said.THINGS, 1)
        self.shortest, self.longest, self.stop = shortest, longest, 0.14
        self.tables = {name: [Construction(*row) for row in rows] for name, rows in said.TABLES.items()}
        self.constructions = [c for table in self.tables.values() for c in table]

    def tokenizer(self, language: str = "english") -> WordTokenizer:
        """START, END and the words of all stories, questions, answers and summaries, in "english" or "chinese"."""
        if language not in ("english", "chinese"):
            raise CourseError(f"language {language!r} was given: choose english or chinese")
        english = language == "english"
        templates = [c.english if english else c.chinese for c in self.constructions]
        for row in (*said.QUESTIONS.values(), *said.SUMMARIES.values()):
            templates += row[: len(row) // 2] if english else row[len(row) // 2 :]
        text = " ".join(templates)
        forms = {"He" if english else "he", *(form for _, form in said.SLOT.findall(text))}
        words = {*said.SLOT.sub("", text).split()}
        for name in (*self.people, *self.places, *self.things, *said.LOOKS, *said.FEELINGS):
            how = (said.ENGLISH if english else said.CHINESE)[name]
            words.update(word for form in forms & set(how) for word in how[form].split())
        return WordTokenizer([START, END, *sorted(words)], blanks=english)

    def options(self, scene: Scene) -> list[Option]:
        """Every construction that may come next: (probability, construction, its fillings, all as probable)."""
        if scene.over:
            return []
        name = said.table(scene)
        ending = 0.0
        if name == "FREE" and scene.sentences >= self.shortest:
            ending = 1.0 if scene.tokens >= self.longest else self.stop
        more = [(c, fillings) for c in self.tables[name]
                if (name == "ANSWERS" or c not in scene.recent) and (fillings := c.when(scene))]  # fmt: skip
        if not more and name == "FREE":
            ending = 1.0
        last = [(c, fillings) for c in self.tables["ENDINGS"] if ending and (fillings := c.when(scene))]
        found: list[Option] = []
        for allowed, share in ((more, 1.0 - ending), (last, ending)):
            if share:
                total = sum(c.weight for c, _ in allowed) / share
                found += [(c.weight / total, c, fillings) for c, fillings in allowed]
        return found

    def tellings(self, scene: Scene, like: list[str] | None = None) -> Iterator[tuple[str, Step]]:
        """Yield (sentence, step) for all that may come next; like: only constructions that these tokens fit."""
        for probability, c, fillings in self.options(scene):
            if like is None or c.fits(like):
                for filling in fillings:
                    ways = scene.ways(c, filling)
                    log_prob = math.log(probability / len(fillings) / len(ways))
                    for pronoun in ways:
                        yield c.tell(filling, pronoun), Step(c, filling, pronoun, log_prob)

    def sentences(self, scene: Scene) -> dict[tuple[str, ...], Step]:
        """Every sentence that may come next, {its tokens: the step that tells it}; they are all different."""
        return {tuple(told.split()): step for told, step in self.tellings(scene)}

    def sample(self, rng: np.random.Generator) -> Story:
        """A story drawn from the world. Every story takes as many numbers from `rng` as any other."""
        draws = iter(rng.random(DRAWS).tolist())
        scene, steps = Scene(self), []
        while not scene.over:
            u = next(draws)
            for option in self.options(scene):
                u -= option[0]
                if u < 0:
                    break
            probability, c, fillings = option
            filling = fillings[int(next(draws) * len(fillings))]
            ways = scene.ways(c, filling)
            pronoun = len(ways) == 2 and next(draws) < 0.5
            steps.append(Step(c, filling, pronoun, math.log(probability / len(fillings) / len(ways))))
            scene.after(c, filling, pronoun)
        return Story(self, steps)

    def _follow(self, tokens: list[str]) -> tuple[list[Step], Scene, int]:
        """(steps, scene, position): the sentences that can be told, what they lead to, and where the rest begins."""
        scene, steps, position = Scene(self), [], 0
        while not scene.over and "." in tokens[position:]:
            sentence = tokens[position : tokens.index(".", position) + 1]
            text = " ".join(sentence)
            step = next((step for told, step in self.tellings(scene, sentence) if told == text), None)
            if step is None:
                break
            steps.append(step)
            scene.after(*step[:3])
            position += len(sentence)
        return steps, scene, position

    def parse(self, text: Text) -> Story:
        """The story that a text tells. Raises NotInLanguage, which says at which token the text leaves the language."""
        tokens = words_of(text)
        steps, scene, position = self._follow(tokens)
        if scene.over and position == len(tokens):
            return Story(self, steps)
        rest = tokens[position:]
        equal = [[a == b for a, b in zip(rest, sentence, strict=False)] for sentence in self.sentences(scene)]
        position += max(([*pairs, False].index(False) for pairs in equal), default=0)
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
        _, scene, position = self._follow(tokens)
        if scene.over and position == len(tokens):
            return {END: 1.0}
        found = next_tokens(self.sentences(scene), tuple(tokens[position:]))
        if not found:
            self.parse(tokens)
        return found


class NotInLanguage(CourseError):
    """A text that the world does not tell. `position` is the first token that no story has after those before it."""

    def __init__(self, tokens: list[str], position: int):
        self.position = position
        given = repr(tokens[position]) if position < len(tokens) else "the end of the text"
        before = " ".join(tokens[max(0, position - 8) : position])
        super().__init__(f"no story has {given} as token {position}, after {before!r}")
