"""Every check is checked: right answers pass, wrong ones fail with their own words, a blank one is not attempted."""

import ast
import importlib
import pathlib
import types

import numpy as np
import pytest

from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises import calls, engine, nb04, record

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUMBERS = sorted(path.stem[2:] for path in (ROOT / "bigmodel_lib/exercises").glob("nb*.py"))
ALL = [exercise for number in NUMBERS for exercise in engine.entries(number).values()]


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(record, "kept_in", lambda: None)


def each(values):
    return pytest.mark.parametrize("exercise", values, ids=lambda exercise: exercise.id)


@each(ALL)
def test_the_model_answer_and_two_other_right_ones_pass(exercise):
    for attempt in (exercise.answer, *exercise.another):
        verdict, words = engine.judge(exercise.id, attempt)
        assert verdict == "right" and len(words) > 10, words
    assert len(exercise.another) >= 2


@each([exercise for exercise in ALL if exercise.inputs])
def test_the_model_answer_stops_on_no_generated_input_and_inputs_differ(exercise):
    cases = [calls.drawn(exercise, seed) for seed in range(calls.TRIES)]
    outcomes = [calls.call(exercise.answer, case, exercise.changes) for case in cases]
    assert not any(outcome.error for outcome in outcomes)
    assert len({case.size for case in cases}) > 1 or len({repr(case.arguments) for case in cases}) == calls.TRIES


@each(ALL)
def test_the_stub_is_blank_and_says_so(exercise):
    namespace = types.SimpleNamespace()
    exec(exercise.stub, vars(namespace))  # noqa: S102 (the project's own stub)
    attempt = getattr(namespace, exercise.name)
    assert engine.judge(exercise.id, attempt)[0] == "not attempted"
    assert engine.judge(exercise.id, ...)[0] == "not attempted"
    assert "..." in exercise.stub


@each(ALL)
def test_typical_wrong_answers_each_get_their_own_diagnosis(exercise):
    said = []
    for attempt, fragment in (*exercise.partial, *exercise.wrong):
        verdict, words = engine.judge(exercise.id, attempt)
        assert verdict == "not yet" and words, (attempt, words)
        if callable(fragment):
            assert "example(" not in words, f"{words}: what it says was not verified"
        else:
            assert fragment in words, (fragment, words)
        said.append(words)
    letter = isinstance(exercise.answer, str) and len(exercise.answer) == 1
    assert len(said) >= (3 if letter else 4) and len(set(said)) > 1


@each([exercise for exercise in ALL if not exercise.check])
def test_no_two_mistakes_are_called_the_same(exercise):
    said = [words for _, words in (*exercise.partial, *exercise.wrong) if isinstance(words, str)]
    assert len(set(said)) == len(said)


@each([exercise for exercise in ALL if callable(exercise.answer)])
def test_an_attempt_that_crashes_is_shown_as_it_crashed(exercise):
    def crash(*_):
        raise ZeroDivisionError("by zero")

    verdict, words = engine.judge(exercise.id, crash)
    assert verdict == "not yet" and "ZeroDivisionError: by zero" in words
    assert 'raise ZeroDivisionError("by zero")' in words


@each([exercise for exercise in ALL if exercise.ours])
def test_yours_is_used_if_right_and_ours_if_not(exercise, capsys):
    assert engine.yours_or_ours(exercise.id, exercise.another[0]) is exercise.another[0]
    assert "uses yours" in capsys.readouterr().out
    ours = engine.yours_or_ours(exercise.id, ...)
    assert engine.judge(exercise.id, ours)[0] == "right" and ours.__name__ == exercise.name
    assert engine.yours_or_ours(exercise.id, exercise.wrong[0][0]) is ours
    assert capsys.readouterr().out.count("uses ours") == 2


def test_what_has_nothing_of_ours_says_what_to_call():
    exercise = next(exercise for exercise in ALL if exercise.ours is None)
    with pytest.raises(CourseError, match=f"{exercise.id} has no function of ours: call check"):
        engine.yours_or_ours(exercise.id, exercise.answer)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_notebooks_exercises_can_be_told_apart_and_some_ask_to_build(number):
    entries = importlib.import_module(f"bigmodel_lib.exercises.nb{number}").EXERCISES
    ids = [exercise.id for exercise in entries]
    assert len(set(ids)) == len(ids) and all(name.startswith((f"{number}-", number[:2] + "-")) for name in ids)
    assert any(exercise.ours is not None for exercise in entries)


@each(ALL)
def test_an_exercise_shows_its_task_with_every_hint_folded_away(exercise):
    cell = engine.task_cell(exercise)
    assert len(set(exercise.hints)) == 3 and all(hint in cell for hint in exercise.hints)
    assert cell.count("<details>") == cell.count("</details>") == len(exercise.hints)
    assert exercise.minutes > 0 and exercise.difficulty in (1, 2, 3)
    ast.parse(exercise.stub)


def test_a_check_that_runs_twice_does_not_call_ours_yours(capsys):
    ours = engine.yours_or_ours("00-copy", ...)
    capsys.readouterr()
    assert engine.yours_or_ours("00-copy", ours) is ours
    said = capsys.readouterr().out
    assert "not attempted" in said and "is ours by now" in said and "right" not in said


@pytest.mark.parametrize("guess, among", [(90, (0, 1)), (-1, (0, 1)), ("0.9", (0, 1)), ("maybe", ["yes", "no"])])
def test_a_prediction_that_cannot_be_is_not_kept(guess, among, capsys):
    engine.predict("it", among[0], among=among)
    engine.predict("it", guess, among=among)
    engine.compare("it", among[1])
    kept, refused, result = capsys.readouterr().out.splitlines()
    assert "you say" in kept and f"was wanted, {guess!r} was given" in refused and "you made no prediction" in result


def test_predictions_are_kept_and_compared(capsys):
    engine.predict("loss", 4.0)
    engine.compare("loss", 4.5)
    engine.predict("letter", "e")
    engine.compare("letter", "t")
    engine.predict("nothing")
    engine.compare("nothing", 1)
    engine.compare("never asked", 1)
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "loss: you said 4, it is 4.5, off by 0.5"
    assert said[3] == "letter: you said e, it is t: not as predicted"
    assert "no prediction yet" in said[4] and said[5:] == [
        "nothing: you made no prediction",
        "never asked: you made no prediction",
    ]


def test_unknown_exercises_are_refused():
    with pytest.raises(CourseError, match="choose one of .*00-copy"):
        engine.find("00-nothing")
    with pytest.raises(CourseError, match="notebook 99 has no exercises"):
        engine.find("99-x")


def test_unseen_stories_come_with_shifted_targets_and_their_own_floor():
    world = nb04.small_world()
    words = world.tokenizer()
    stories, x, y, floor = nb04.unseen_stories(world, words, np.random.default_rng(0), n=5)
    counts = y >= 0
    assert (x[:, 1:][counts[:, 1:]] == y[:, :-1][counts[:, 1:]]).all()
    assert list(counts.sum(axis=1)) == [len(story.tokens) + 1 for story in stories]
    assert floor == pytest.approx(-sum(story.log_prob for story in stories) / sum(len(s.tokens) + 1 for s in stories))
