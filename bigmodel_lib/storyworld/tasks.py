"""Language tasks on a story as text to text: what is given, what is wanted, and one vocabulary for both languages."""

from typing import NamedTuple

import numpy as np

from bigmodel_lib.storyworld.story import END, START, Story, words_of
from bigmodel_lib.tokenizers import WordTokenizer

QUESTION, ANSWER, SUMMARY, CHINESE = "<question>", "<answer>", "<summary>", "<chinese>"
MARKS = (QUESTION, ANSWER, SUMMARY, CHINESE)


class Task(NamedTuple):
    """One exercise for a language model: the loss counts on `wanted` alone. Both are lists of tokens."""

    kind: str  # "continue", "question", "summary" or "chinese"
    given: list
    wanted: list


def task_tokenizer(world) -> WordTokenizer:
    """The words of a world's English, then what its Chinese adds, then the marks of the tasks."""
    english, chinese = world.tokenizer().vocabulary, world.tokenizer("chinese").vocabulary
    return WordTokenizer([*english, *(word for word in chinese if word not in set(english)), *MARKS])


def tasks_of(story: Story, rng) -> list:
    """A Task of each kind: how a story goes on, one of its questions, its summary and its translation.

    Where to cut and which question are drawn by `rng`, a numpy Generator; a story without questions has three tasks.
    """
    cut = sum(len(sentence) for sentence in story.sentences[: int(rng.integers(2, len(story.sentences)))])
    told = [START, *story.tokens]
    found = [
        Task("continue", told[: cut + 1], [*story.tokens[cut:], END]),
        Task("summary", [*told, SUMMARY], [*words_of(story.summary()[0]), END]),
        Task("chinese", [*told, CHINESE], [*story.chinese_tokens, END]),
    ]
    questions = story.questions()
    if questions:
        one = questions[int(rng.integers(len(questions)))]
        found.append(Task("question", [*told, QUESTION, *words_of(one.text), ANSWER], [*words_of(one.answer), END]))
    return found


def task_batch(tasks, tokenizer: WordTokenizer) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of whole tasks: y is the next token where it is wanted, and -1 elsewhere: the loss mask.

    Shapes: x and y (B, T), int64, with T the longest task less one; padding is 0 in x and -1 in y.
    """
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    length = max(len(task.given) + len(task.wanted) for task in tasks) - 1
    x = np.zeros((len(tasks), length), dtype=np.int64)
    y = np.full_like(x, -1)
    for row, task in enumerate(tasks):
        tokens = [ids[word] for word in (*task.given, *task.wanted)]
        x[row, : len(tokens) - 1] = tokens[:-1]
        y[row, len(task.given) - 1 : len(tokens) - 1] = tokens[len(task.given) :]
    return x, y
