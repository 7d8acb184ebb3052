"""Language tasks on a story: nothing is lost, only what is wanted counts, and one vocabulary holds it all."""

import numpy as np
import pytest

from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld import tasks as made
from bigmodel_lib.storyworld.story import words_of


@pytest.fixture(scope="module")
def world():
    return StoryWorld(longest=40)


@pytest.fixture(scope="module")
def told(world):
    """Thirty stories, each with its tasks."""
    rng = np.random.default_rng(0)
    stories = [world.sample(rng) for _ in range(30)]
    return [(story, {task.kind: task for task in made.tasks_of(story, rng)}) for story in stories]


def test_the_vocabulary_holds_both_languages_and_the_marks_and_keeps_the_ids_of_english(world):
    words = made.task_tokenizer(world).vocabulary
    english = world.tokenizer().vocabulary
    assert words[: len(english)] == english and words[-len(made.MARKS) :] == made.MARKS
    assert set(words) == set(english) | set(world.tokenizer("chinese").vocabulary) | set(made.MARKS)


def test_a_story_is_cut_between_sentences_and_goes_on_where_it_was_cut(told):
    cuts = set()
    for story, tasks in told:
        task = tasks["continue"]
        assert task.given + task.wanted == [START, *story.tokens, END]
        ends = np.cumsum([len(sentence) for sentence in story.sentences])
        assert len(task.given) - 1 in ends[1:-1]
        cuts.add(list(ends).index(len(task.given) - 1))
    assert len(cuts) > 2


def test_the_other_tasks_give_the_whole_story_and_want_its_truth(told):
    asked = 0
    for story, tasks in told:
        whole = [START, *story.tokens]
        assert tasks["summary"] == ("summary", [*whole, made.SUMMARY], [*words_of(story.summary()[0]), END])
        assert tasks["chinese"] == ("chinese", [*whole, made.CHINESE], [*story.chinese_tokens, END])
        if "question" in tasks:
            _, given, wanted = tasks["question"]
            pairs = [(words_of(q.text), [*words_of(q.answer), END]) for q in story.questions()]
            assert given[: len(whole) + 1] == [*whole, made.QUESTION] and given[-1] == made.ANSWER
            assert (given[len(whole) + 1 : -1], wanted) in pairs
            asked += 1
        else:
            assert not story.questions()
    assert asked > 20


def test_only_what_is_wanted_counts_and_it_stands_one_later(world, told):
    tokenizer = made.task_tokenizer(world)
    tasks = [task for _, kinds in told for task in kinds.values()]
    x, y = made.task_batch(tasks, tokenizer)
    assert x.shape == y.shape == (len(tasks), max(len(t.given) + len(t.wanted) for t in tasks) - 1)
    for row, task in enumerate(tasks):
        places = np.flatnonzero(y[row] >= 0)
        assert [tokenizer.vocabulary[i] for i in y[row, places]] == task.wanted
        assert list(places) == list(range(len(task.given) - 1, len(task.given) + len(task.wanted) - 1))
        whole = [tokenizer.vocabulary[i] for i in x[row, : places[-1] + 1]]
        assert whole == [*task.given, *task.wanted][:-1] and not x[row, places[-1] + 1 :].any()
