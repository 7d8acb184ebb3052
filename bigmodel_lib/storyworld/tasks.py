"""Language tasks on a story as text to text: what is given, what is wanted, and one vocabulary for both languages."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bigmodel_lib.storyworld.story import END, START, Story, words_of
from bigmodel_lib.storyworld.world import StoryWorld
from bigmodel_lib.text.batches import Arrays, pad
from bigmodel_lib.text.tokenizers import WordTokenizer

QUESTION, ANSWER, SUMMARY, CHINESE = "<question>", "<answer>", "<summary>", "<chinese>"
MARKS = (QUESTION, ANSWER, SUMMARY, CHINESE)
Pair = tuple[list[int], list[int]]  # (x, y) of one task


class Task(NamedTuple):
    """One exercise for a language model: the loss counts on `wanted` alone. Both are lists of tokens."""

    kind: str  # "continue", "question", "summary" or "chinese"
    given: list[str]
    wanted: list[str]


def task_tokenizer(world: StoryWorld) -> WordTokenizer:
    """The words of a world's English, then what its Chinese adds, then the marks of the tasks."""
    english, chinese = world.tokenizer().vocabulary, world.tokenizer("chinese").vocabulary
    return WordTokenizer([*english, *(word for word in chinese if word not in set(english)), *MARKS])


def tasks_of(story: Story, rng: np.random.Generator) -> list[Task]:
    """A Task of each kind that a story has; `rng` draws where to cut it and which of its questions is asked, if any."""
    cut = sum(len(sentence) for sentence in story.sentences[: int(rng.integers(2, len(story.sentences)))])
    told = [START, *story.tokens]
    found = [
        Task("continue", told[: cut + 1], [*story.tokens[cut:], END]),
        Task("summary", [*told, SUMMARY], [*words_of(story.summary()[0]), END]),
        Task("chinese", [*told, CHINESE], [*story.chinese_tokens, END]),
    ]
    if questions := story.questions():
        one = questions[int(rng.integers(len(questions)))]
        found.append(Task("question", [*told, QUESTION, *words_of(one.text), ANSWER], [*words_of(one.answer), END]))
    return found


def masked_pair(given: Sequence[int], wanted: Sequence[int]) -> Pair:
    """(x, y) of one task: x its tokens but the last, y the next token where it is wanted and -1 elsewhere."""
    return [*given, *wanted][:-1], [-1] * (len(given) - 1) + [*wanted]


def task_batch(tasks: Sequence[Task], tokenizer: WordTokenizer, pair: Callable[..., Pair] = masked_pair) -> Arrays:
    """(x, y) of whole tasks, (B, T) each, as `pair` makes them; padding is 0 in x and -1 in y."""
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    pairs = [pair([ids[word] for word in task.given], [ids[word] for word in task.wanted]) for task in tasks]
    x, y = zip(*pairs, strict=True)
    return pad(x, 0), pad(y, -1)
