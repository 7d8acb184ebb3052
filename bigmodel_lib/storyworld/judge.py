"""A judge of stories that were written by someone else: grammar sentence by sentence, and truth by the parser."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.scene import Scene
from bigmodel_lib.storyworld.sentences import Construction, Filling
from bigmodel_lib.storyworld.story import END, START, Text, words_of
from bigmodel_lib.storyworld.world import NotInLanguage, StoryWorld


class Verdict(NamedTuple):
    """What the judge says of one text: every sentence can be said; the whole story can be told; ln p of it, or -∞."""

    grammatical: bool
    true: bool
    log_prob: float
    reason: str


def readings(world: StoryWorld, sentence: list[str]) -> Iterator[Filling]:
    """Yield what fills the slots for each way to read a sentence (its tokens), in any scene."""
    here = [word for word, forms in said.ENGLISH.items() if any(form in sentence for form in forms.values())]
    for c in world.constructions:
        if c.fits(sentence):
            words = [[word for word in said.words_for(world, slot) if word in here] for slot in c.slots]
            for filling, pronoun in itertools.product(itertools.product(*words), (False, True)):
                if (c.subject is not None or not pronoun) and c.tell(filling, pronoun).split() == sentence:
                    yield filling


def grammatical(world: StoryWorld, sentence: list[str]) -> bool:
    """Whether a sentence (its tokens) can be said in this world, in some scene."""
    return any(True for _ in readings(world, sentence))


def sentences_of(text: Text) -> list[list[str]]:
    """The tokens of each sentence of a text, without the marks of start and end."""
    words = [word for word in words_of(text) if word not in (START, END)]
    ends = [i + 1 for i, word in enumerate(words) if word == "."]
    return [words[start:end] for start, end in itertools.pairwise([0, *ends, len(words)]) if start < end]


def fitting(world: StoryWorld, scene: Scene, sentence: list[str]) -> Iterator[tuple[Construction, Filling, bool]]:
    """Yield each way to read a sentence that fits a scene: first those that come next, then any, out of turn."""
    text = " ".join(sentence)
    yield from (step[:3] for told, step in world.tellings(scene, sentence) if told == text)
    answers = () if scene.asked else world.tables["ANSWERS"]  # which can't be tried where nothing was asked
    for c in world.constructions:
        if c.fits(sentence) and c not in answers:
            for filling, pronoun in itertools.product(c.when(scene), (False, True)[: 1 + (c.subject is not None)]):
                if c.tell(filling, pronoun) == text:
                    yield c, filling, pronoun


def misfit(world: StoryWorld, text: Text) -> str:
    """The first thing that is wrong with what a text says, whatever the order and the turns in which it is told.

    "broken": a sentence that nobody can say; "from nowhere": somebody or something that was never mentioned;
    "does not fit": a sentence whose conditions (who is where, who has what, what was asked) don't hold; else "".
    """
    scene = Scene(world)
    for sentence in sentences_of(text):
        if step := next(fitting(world, scene, sentence), None):
            scene.after(*step)
            continue
        found = [{*filling} for filling in readings(world, sentence)]
        known = {*scene.places, *scene.place, *scene.at, *said.LOOKS, *said.FEELINGS}
        return "broken" if not found else "does not fit" if any(words <= known for words in found) else "from nowhere"
    return ""


def judge(world: StoryWorld, text: Text) -> Verdict:
    """Grammar and truth of a story, a text or a list of tokens, with what speaks against it in words.

    Grammatical: every sentence is some construction with some filling. True: the parser derives the whole story.
    """
    sentences = sentences_of(text)
    broken = next((sentence for sentence in sentences if not grammatical(world, sentence)), None)
    try:
        log_prob, reason = world.parse([word for sentence in sentences for word in sentence]).log_prob, ""
    except NotInLanguage as error:
        log_prob, reason = -math.inf, str(error)
    if broken is not None:
        reason = f"nobody says {' '.join(broken)!r}"
    return Verdict(broken is None and bool(sentences), log_prob > -math.inf, log_prob, reason)
