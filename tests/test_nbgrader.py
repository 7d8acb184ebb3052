"""A course for nbgrader, made and graded headlessly: who gets which points, and what a release gives away.

Skipped where nbgrader isn't installed (`pip install -e .[classroom]`).
"""

import copy
import csv
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import nbformat
import pytest
from test_classroom import RIGHT, WRONG

from bigmodel_lib.exercises import engine
from tools.classroom import course, course_checks

ROOT = pathlib.Path(__file__).resolve().parent.parent
NBGRADER = importlib.util.find_spec("nbgrader") is not None
POINTS = {exercise_id: engine.find(exercise_id).difficulty for exercise_id in RIGHT}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    course.build(folder, ["06"], homework=True)
    return folder


def nbgrader(folder, *words):
    python = pathlib.Path(sys.executable).parent
    environment = dict(os.environ, PATH=f"{python}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "nbgrader", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def with_codes(released, codes):
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        if cell.metadata.get("part") == "stub":
            cell.source = codes.get(cell.metadata["exercise"], cell.source)
    return notebook


def submissions(released):
    """{student: (a notebook, the points it is worth)}."""
    copied = with_codes(released, RIGHT)
    place = next(i for i, cell in enumerate(copied.cells) if cell.metadata.get("part") == "stub")
    copied.cells.insert(place + 1, copy.deepcopy(copied.cells[place]))
    return {
        "right": (with_codes(released, RIGHT), sum(POINTS.values())),
        "wrong": (with_codes(released, WRONG), 0),
        "blank": (copy.deepcopy(released), 0),
        "copied": (copied, sum(POINTS.values())),
        "crashing": (with_codes(released, {**RIGHT, "06-rate": "1 / 0"}), sum(POINTS.values()) - POINTS["06-rate"]),
    }


@pytest.fixture(scope="module")
def graded(made):
    """{student: points}, and the folder, after all four commands."""
    nbgrader(made, "generate_assignment", "06", "--create")
    released = nbformat.read(made / "release" / "06" / "06_pretraining.ipynb", as_version=4)
    handed = submissions(released)
    for student, (notebook, _) in handed.items():
        path = made / "submitted" / student / "06" / "06_pretraining.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
        for name in ("course_checks.py", "recorded.json"):
            (path.parent / name).write_bytes((made / "release" / "06" / name).read_bytes())
    for command in ("autograde", "generate_feedback"):
        nbgrader(made, command, "06")
    nbgrader(made, "export")
    rows = list(csv.DictReader((made / "grades.csv").open(encoding="utf-8", newline="")))
    return {row["student_id"]: float(row["score"]) for row in rows}, {s: p for s, (_, p) in handed.items()}


@pytest.mark.skipif(not NBGRADER, reason="nbgrader isn't installed: pip install -e .[classroom]")
def test_each_submission_gets_its_points(graded, made):
    given, wanted = graded
    assert given == wanted
    feedback = (made / "feedback" / "wrong" / "06" / "06_pretraining.html").read_text(encoding="utf-8")
    assert "100 is the number of choices" in feedback, "the diagnosis is what a student reads"


@pytest.mark.skipif(not NBGRADER, reason="nbgrader isn't installed: pip install -e .[classroom]")
def test_a_release_has_stubs_and_hints_and_no_hidden_tests(graded, made):
    released = (made / "release" / "06" / "06_pretraining.ipynb").read_text(encoding="utf-8")
    assert "HIDDEN" not in released and "first_seed" not in released
    assert released.count("Hint 3") == len(engine.entries("06"))


def test_the_source_has_no_outputs_and_no_versions_of_ours(tmp_path):
    course.build(tmp_path, ["06"], homework=False)
    notebook = nbformat.read(tmp_path / "source" / "06" / "06_pretraining.ipynb", as_version=4)
    text = json.dumps(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    for exercise in engine.entries("06").values():
        if exercise.ours:
            assert f"Ours: <code>{exercise.name}</code>" not in text
    worth = [cell.metadata["nbgrader"]["points"] for cell in notebook.cells if cell.metadata.get("part") == "check"]
    assert sum(worth) == sum(exercise.difficulty for exercise in engine.entries("06").values())


@pytest.mark.parametrize("exercise_id", ["06-rate", "06-quintic", "01-attention"])
def test_recorded_checks_know_right_from_wrong(exercise_id, monkeypatch):
    exercise = engine.find(exercise_id)
    cases = json.loads(json.dumps(course.recorded(exercise)))
    assert len(cases) >= 6
    for right in (exercise.answer, *exercise.another):
        assert course_checks.what_fails(cases, right) == ""
    found = [course_checks.what_fails(cases, wrong) for wrong, _ in exercise.wrong if callable(wrong)]
    assert sum(map(bool, found)) >= len(found) - 1, found


def test_hidden_tests_draw_other_inputs():
    exercise = engine.find("06-rate")
    first, hidden = (course.cases_of(exercise, seed) for seed in (0, course.HIDDEN_SEED))
    assert {case.seed for case in first}.isdisjoint({case.seed for case in hidden} - {None})
    right, wrong = exercise.answer, exercise.wrong[0][0]
    assert engine.judge("06-rate", right, first_seed=course.HIDDEN_SEED)[0] == "right"
    assert engine.judge("06-rate", wrong, first_seed=course.HIDDEN_SEED)[0] == "not yet"


def test_what_json_cannot_hold_is_not_recorded():
    assert course.recorded(engine.find("06-step")) == [] and course.recorded(engine.find("06-hidden")) == []


def test_the_teachers_guide_has_the_minutes_of_now_and_names_exercises_that_exist():
    guide = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- minutes -->\n(.*?)\n?<!-- end -->", guide, re.S)[1]
    assert table == course.minutes_table()
    for exercise_id in re.findall(r"\b\d\d-[a-z-]+", guide):
        engine.find(exercise_id)


def test_an_unknown_notebook_gets_one_line(capsys):
    assert course.main(["77"]) == 2
    assert capsys.readouterr().err.startswith("77: no notebook with exercises; there are 00, 01")
