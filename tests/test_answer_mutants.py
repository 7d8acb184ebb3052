"""What breaks model answers, on a small one; the mutants of all answers are for `make mutants ONLY=exercises`."""

import dataclasses

import numpy as np
import pytest

from bigmodel_lib.exercises.engine import Exercise
from tools import answer_mutants

pytest.importorskip("cosmic_ray")


def _halved(x: np.ndarray) -> np.ndarray:
    """Half of it, at least 1."""
    return np.maximum(x / 2, 1)


def _entry(*inputs):
    return Exercise(
        id="99-half", title="", minutes=1, difficulty=1, task="", stub="def f(x):\n    return ...", name="f",
        hints=("", "", ""), answer=_halved, another=(), wrong=(), right="right, and that is all",
        special=tuple((str(x), x) for x in inputs),
    )  # fmt: skip


def accepted(entry):
    return {change.after for change, refused in answer_mutants.try_out(entry) if not refused}


def test_a_source_is_read_without_types_and_docstring():
    assert answer_mutants.plain_source(_halved) == "def _halved(x):\n    return np.maximum(x / 2, 1)\n"


def test_each_change_comes_once_and_runs_where_the_answer_ran():
    found = list(answer_mutants.changes(answer_mutants.plain_source(_halved)))
    after = [change.after for change in found]
    assert "return np.maximum(x * 2, 1)" in after and len(set(after)) == len(after) > 10
    assert answer_mutants.built(found[0].text, _halved)(np.ones(1)) is not None
    assert answer_mutants.built("def _halved(x) return x", _halved) is None


def test_what_the_inputs_do_not_tell_apart_is_accepted():
    assert "return np.maximum(x * 2, 1)" in accepted(_entry(np.zeros(1)))
    assert not accepted(_entry(np.zeros(1), np.array([3.0, 7.0, -2.5, 0.125])))


def test_an_answer_that_is_refused_itself_proves_nothing():
    entry = dataclasses.replace(_entry(np.zeros(1)), right="", answer=_halved, seconds=1.0)
    broken = dataclasses.replace(
        entry, special=(("it", np.zeros(1)),), changes=(0,), view=lambda result, x: np.random.rand(1)
    )
    with pytest.raises(SystemExit, match="99-half does not take its own answer"):
        answer_mutants.try_out(broken)


def test_the_report_names_what_is_accepted_and_excuses_what_is_equivalent(monkeypatch, capsys):
    monkeypatch.setattr(answer_mutants, "judged", lambda: [_entry(np.zeros(1))])
    answer_mutants.main()
    said = capsys.readouterr().out
    assert "  - return np.maximum(x / 2, 1)\n  + return np.maximum(x * 2, 1)" in said and "score 100.0 %" not in said
    entry = ("99-half", "return np.maximum(x / 2, 1)", "return np.maximum(x * 2, 1)")
    monkeypatch.setattr(answer_mutants, "reasons", lambda: {entry: "because"})
    answer_mutants.main()
    assert "+ return np.maximum(x * 2, 1)" not in (again := capsys.readouterr().out) and "1 equivalent" in again


def test_own_checks_are_left_out_and_functions_are_not():
    ids = [exercise.id for exercise in answer_mutants.judged()]
    assert "05-merge" in ids and "08-greedy" not in ids and "07-reverse" not in ids


def test_equivalent_mutants_are_of_answers_that_are_there():
    answers = {exercise.id: exercise.answer for exercise in answer_mutants.judged()}
    for (exercise_id, before, after), reason in answer_mutants.reasons().items():
        assert before in answer_mutants.plain_source(answers[exercise_id]) and before != after and len(reason) > 20
