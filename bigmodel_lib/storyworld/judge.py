"""A judge of stories that were written by someone else: grammar sentence by sentence, and truth by the parser."""

import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.scene import SLOT, Construction
from bigmodel_lib.storyworld.story import END, START, Text, words_of
from bigmodel_lib.storyworld.world import NotInLanguage, StoryWorld


class Verdict(NamedTuple):
    """What the judge says of one text: every sentence can be said; the whole story can be told; ln p of it, or -∞."""

    grammatical: bool
    true: bool
    log_prob: float
    reason: str


def words_for(world: StoryWorld, slot: str) -> Iterable[str]:
    """What may stand in a slot: people in A, B, C, things in T, U, places in x, y, z, a look in L, a feeling in F."""
    kinds = {"ABC": world.people, "TU": world.things, "xyz": world.places, "L": said.LOOKS, "F": said.FEELINGS}
    return tuple(next(words for slots, words in kinds.items() if slot in slots))


def reads_as(world: StoryWorld, construction: Construction, sentence: list[str]) -> bool:
    """Whether a sentence (its tokens) is a construction with words that agree in all their places, as “Anna … she”."""
    if not construction.fits(sentence):
        return False
    possible: dict[str, set[str]] = {}
    position = 0
    for part in construction.english.split():
        slot = SLOT.fullmatch(part)
        n = 2 if slot and slot[2] == "a" else 1
        given, position = " ".join(sentence[position : position + n]), position + n
        if slot:
            forms = [slot[2], "He"] if position == 1 and construction.subject is not None else [slot[2]]
            agree = {w for w in words_for(world, slot[1]) for form in forms if said.ENGLISH[w][form] == given}
            possible[slot[1]] = possible.get(slot[1], agree) & agree
    return all(possible.values())


def grammatical(world: StoryWorld, sentence: list[str]) -> bool:
    """Whether a sentence (its tokens) can be said in this world, in some scene."""
    return any(reads_as(world, construction, sentence) for construction in world.constructions)


def judge(world: StoryWorld, text: Text) -> Verdict:
    """Grammar and truth of a story, a text or a list of tokens, with what speaks against it in words.

    Grammatical: every sentence is some construction with some filling. True: the parser derives the whole story.
    """
    if isinstance(text, str):
        text = text.replace(START, "").replace(END, "")
    words = [word for word in words_of(text) if word not in (START, END)]
    ends = [i + 1 for i, word in enumerate(words) if word == "."]
    sentences = [words[start:end] for start, end in itertools.pairwise([0, *ends, len(words)]) if start < end]
    broken = next((sentence for sentence in sentences if not grammatical(world, sentence)), None)
    try:
        log_prob, reason = world.parse(words).log_prob, ""
    except NotInLanguage as error:
        log_prob, reason = -math.inf, str(error)
    if broken is not None:
        reason = f"nobody says {' '.join(broken)!r}"
    return Verdict(broken is None and bool(sentences), log_prob > -math.inf, log_prob, reason)
