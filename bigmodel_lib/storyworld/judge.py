"""A judge of stories that were written by someone else: grammar sentence by sentence, and truth by the parser."""

import itertools
import math
from typing import NamedTuple

from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.story import END, START, Text, words_of
from bigmodel_lib.storyworld.world import NotInLanguage, StoryWorld


class Verdict(NamedTuple):
    """What the judge says of one text: every sentence can be said; the whole story can be told; ln p of it, or -∞."""

    grammatical: bool
    true: bool
    log_prob: float
    reason: str


def grammatical(world: StoryWorld, sentence: list[str]) -> bool:
    """Whether a sentence (its tokens) can be said in this world, in some scene: a construction with some filling."""
    here = [word for word, forms in said.ENGLISH.items() if any(form in sentence for form in forms.values())]
    for c in world.constructions:
        if c.fits(sentence):
            words = [[word for word in said.words_for(world, slot) if word in here] for slot in c.slots]
            ways = (False, True) if c.subject is not None else (False,)
            if any(c.tell(filling, way).split() == sentence for filling in itertools.product(*words) for way in ways):
                return True
    return False


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
