"""Minimal pairs: questions about two stories that differ in one word, and with it in the answer."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from bigmodel_lib.storyworld import NotInLanguage, StoryWorld
from bigmodel_lib.storyworld.story import START, Question, Story, words_of
from bigmodel_lib.storyworld.tasks import ANSWER, MARKS, QUESTION
from bigmodel_lib.text.tokenizers import WordTokenizer


def small_world() -> tuple[StoryWorld, WordTokenizer]:
    """(world, tokenizer) of short stories with few names, so that a small model learns to answer soon."""
    world = StoryWorld(
        people=("Anna", "Mei", "Lena", "Ben", "Omar", "Tom"), places=("kitchen", "hall", "garage", "attic"),
        things=("lamp", "book", "cup", "ball", "shoes"), shortest=4, longest=24,
    )  # fmt: skip
    return world, WordTokenizer([*world.tokenizer().vocabulary, *MARKS])


class MinimalPair(NamedTuple):
    """A story with a question, twice: exactly one word differs, and with it the answer."""

    clean: list[str]  # up to the word that answers
    corrupt: list[str]
    place: int  # of the word that differs
    answer: str  # after `clean`
    rival: str  # after `corrupt`
    support: frozenset[int]  # places of all words that the world knows to carry the answer
    candidates: int  # places 0 … candidates - 1 may be named: those of the story


def asked(story: Story, question: Question) -> tuple[list[str], str]:
    """(a story with a question, up to the word that answers it; that word)."""
    *begun, target = words_of(question.answer)
    return [START, *story.tokens, QUESTION, *words_of(question.text), ANSWER, *begun], target


def minimal_pair(story: Story, question: Question) -> MinimalPair | None:
    """The question, and a story in which one word alone makes its answer another one; None if there is none.

    The world could tell the second story, too: it's one that could have happened, and its answer is known as well.
    """
    clean, answer = asked(story, question)
    kinds = (story.world.places, story.world.people, story.world.things)
    peers = next((names for names in kinds if answer in names), ())
    others = [token for token in dict.fromkeys(story.tokens) if token in peers and token != answer]
    places = [place for place in sorted(question.support, reverse=True) if story.tokens[place] == answer]
    for place, other in itertools.product(places, others):
        try:
            new = story.world.parse([*story.tokens[:place], other, *story.tokens[place + 1 :]])
        except NotInLanguage:
            continue
        for same in new.questions():
            corrupt, rival = asked(new, same)
            alike = (same.kind, same.text) == (question.kind, question.text) and len(corrupt) == len(clean)
            if alike and rival != answer and [i for i, w in enumerate(clean) if w != corrupt[i]] == [place + 1]:
                support = frozenset(1 + i for i in question.support)
                return MinimalPair(clean, corrupt, place + 1, answer, rival, support, 1 + len(story.tokens))
    return None


def ids_of(words: list[str], tokenizer: WordTokenizer) -> Tensor:
    """Words as token ids, (T,)."""
    return torch.tensor(tokenizer.encode(" ".join(words)).tolist())


def swapped(pair: MinimalPair, world: StoryWorld) -> tuple[list[int], list[list[str]]]:
    """(places of the story's names, things and rooms; the text with that word alone made the next one of its kind)."""
    kinds, places, texts = (world.places, world.people, world.things), [], []
    for place, word in enumerate(pair.clean[: pair.candidates]):
        for names in kinds:
            if word in names:
                other = names[(names.index(word) + 1) % len(names)]
                places.append(place)
                texts.append([*pair.clean[:place], other, *pair.clean[place + 1 :]])
    return places, texts
