"""A course for nbgrader, made and graded headlessly: who gets which points, and what a release gives away.

Skipped where nbgrader isn't installed (`pip install -e .[classroom]`).
"""

import ast
import copy
import csv
import importlib.util
import inspect
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import nbformat
import pytest
from test_classroom import RIGHT, WRONG

from bigmodel_lib.exercises import engine
from tools.classroom import course, course_checks, guide

ROOT = pathlib.Path(__file__).resolve().parent.parent
NBGRADER = importlib.util.find_spec("nbgrader") is not None
POINTS = {exercise_id: engine.find(exercise_id).difficulty for exercise_id in RIGHT}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    course.build(folder, ["06"], homework=True)
    config = folder / "nbgrader_config.py"
    config.write_text(config.read_text().replace("timeout = 300", "timeout = 60"))
    return folder


def nbgrader(folder, *words):
    python = pathlib.Path(sys.executable).parent
    environment = dict(os.environ, PATH=f"{python}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "nbgrader", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=1800)
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
        "loops": (
            with_codes(released, {**RIGHT, "06-hidden": "while True:\n    pass"}),
            sum(POINTS.values()) - POINTS["06-hidden"],
        ),
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


@pytest.mark.xdist_group("graded")
@pytest.mark.skipif(not NBGRADER, reason="nbgrader isn't installed: pip install -e .[classroom]")
def test_each_submission_gets_its_points(graded, made):
    given, wanted = graded
    assert given == wanted
    feedback = (made / "feedback" / "wrong" / "06" / "06_pretraining.html").read_text(encoding="utf-8")
    assert "100 is the number of choices" in feedback, "the diagnosis is what a student reads"


@pytest.mark.xdist_group("graded")
@pytest.mark.skipif(not NBGRADER, reason="nbgrader isn't installed: pip install -e .[classroom]")
def test_a_release_has_stubs_and_hints_and_no_hidden_tests(graded, made):
    released = (made / "release" / "06" / "06_pretraining.ipynb").read_text(encoding="utf-8")
    assert "HIDDEN" not in released and "first_seed" not in released
    assert released.count("Hint 3") == len(engine.entries("06"))


WHOLE = {  # right answers to two whole notebooks, as a student would write them
    "01": {
        "01-lookup": "looked_up = (3 * 8 + 20) / 4",
        "01-attention": """def attention(q, k, v, mask=0.0):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    return softmax(scores + mask) @ v""",
        "01-mask": "def causal_mask(n_tokens):\n    return np.triu(np.full((n_tokens, n_tokens), -np.inf), k=1)",
        "01-split": "def split_heads(x, n_heads):\n    return x.reshape(len(x), n_heads, -1).transpose(1, 0, 2)",
        "01-merge": "def merge_heads(x):\n    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)",
        "01-parameters": "parameters = 4 * 64 * 64",
    },
    "04": {
        "04-paths": """def backpropagate(graph):
    slopes = [0.0] * len(graph)
    slopes[-1] = 1.0
    for place in range(len(graph) - 1, -1, -1):
        for source, slope in graph[place]:
            slopes[source] = slopes[source] + slope * slopes[place]
    return slopes""",
        "04-linear": """def linear_backward(dy, cache):
    x, w = cache
    return dy @ w.T, x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])""",
        "04-embedding": "row_5 = [11, 22]",
        "04-loss": """def cross_entropy_backward(dloss, cache):
    p, targets = cache
    counted = targets >= 0
    hit = np.arange(p.shape[-1]) == targets[..., None]
    return dloss * (p - hit) * counted[..., None] / counted.sum()""",
    },
}


def whole_class(number):
    """{student: (answers, points)}: right, blank, each answer wrong, and one cell that stops."""
    exercises, right = engine.entries(number), WHOLE[number]
    points = {exercise_id: exercise.difficulty for exercise_id, exercise in exercises.items()}
    wrong = {
        exercise_id: f"def {exercise.name}(*arguments):\n    return 0.5"
        if callable(exercise.answer)
        else f"{exercise.name} = {next(value for value, _ in exercise.wrong)!r}"
        for exercise_id, exercise in exercises.items()
    }
    stops = next(exercise_id for exercise_id, exercise in exercises.items() if exercise.ours)
    left = sum(points.values()) - points[stops]
    return {
        "right": (right, sum(points.values())),
        "wrong": (wrong, 0),
        "blank": ({}, 0),
        "stops": (right | {stops: "1 / 0"}, left),
    }


@pytest.mark.skipif(not NBGRADER, reason="nbgrader isn't installed: pip install -e .[classroom]")
@pytest.mark.parametrize("number", WHOLE)
def test_a_whole_notebook_is_graded_to_its_end(number, tmp_path):
    """What follows an exercise runs with ours where the student's isn't right, or isn't there."""
    course.build(tmp_path, [number], homework=False)
    nbgrader(tmp_path, "generate_assignment", number, "--create")
    released = next((tmp_path / "release" / number).glob("*.ipynb"))
    students = whole_class(number)
    for student, (codes, _) in students.items():
        handed = tmp_path / "submitted" / student / number
        shutil.copytree(released.parent, handed)
        nbformat.write(with_codes(nbformat.read(released, as_version=4), codes), handed / released.name)
    for command in ("autograde", "generate_feedback"):
        nbgrader(tmp_path, command, number)
    nbgrader(tmp_path, "export")
    rows = list(csv.DictReader((tmp_path / "grades.csv").open(encoding="utf-8", newline="")))
    assert {row["student_id"]: float(row["score"]) for row in rows} == {
        s: points for s, (_, points) in students.items()
    }
    for student in students:
        assert (tmp_path / "feedback" / student / number / f"{released.stem}.html").exists()
        graded = nbformat.read(tmp_path / "autograded" / student / number / released.name, as_version=4)
        stopped = [c for c in graded.cells if any(o.output_type == "error" for o in c.get("outputs", []))]
        assert all(cell.metadata.get("exercise") for cell in stopped), "nothing stops but exercises"


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


def lines_of(code):
    """The statements of a function's body, without blanks; what is short stands anywhere."""
    body = ast.parse(textwrap.dedent(code)).body[0].body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    lines = [line for statement in body for line in ast.unparse(statement).splitlines()]
    return [line for line in ("".join(line.split()) for line in lines) if len(line) > 12]


def test_no_release_holds_an_answer_to_any_exercise():
    """Not in its own notebook, and not in another, where the course shows its own function."""
    answers = {}
    for number in engine.record.notebooks():
        for exercise in engine.entries(number).values():
            for answer in (exercise.answer, *exercise.another):
                if callable(answer) and inspect.isfunction(answer) and answer.__name__ != "<lambda>":
                    answers.setdefault(exercise.id, []).append(lines_of(inspect.getsource(answer)))
    assert len(answers) > 60
    found = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in course.as_source(nbformat.read(path, as_version=4), homework=False).cells:
            text = "".join(cell.source.split("### BEGIN HIDDEN")[0].split())
            tasks = {cell.metadata.get("exercise")} if cell.metadata.get("part") in ("task", "stub") else set()
            for exercise_id in answers.keys() - tasks:
                for lines in answers[exercise_id]:
                    if len(lines) > 2 and all(line in text for line in lines):
                        found.add((path.name, exercise_id))
    assert not found


@pytest.mark.parametrize("exercise_id", ["06-rate", "06-quintic", "01-attention"])
def test_recorded_checks_know_right_from_wrong(exercise_id, monkeypatch):
    exercise = engine.find(exercise_id)
    cases = json.loads(json.dumps(course.recorded(exercise)))
    assert len(cases) >= 6
    for right in (exercise.answer, *exercise.another):
        assert course_checks.what_fails(cases, right) == ""
    found = [course_checks.what_fails(cases, wrong) for wrong, _ in exercise.wrong if callable(wrong)]
    assert sum(map(bool, found)) >= len(found) - 1, found


def test_a_check_leaves_the_notebooks_own_names_alone():
    for number in engine.record.notebooks():
        for exercise in engine.entries(number).values():
            tree = ast.parse(course.check_of(exercise))
            names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            names |= {alias.asname or alias.name for n in ast.walk(tree) for alias in getattr(n, "names", ())}
            assert all(name.startswith("_") for name in names - {exercise.name}), exercise.id


def test_hidden_tests_draw_other_inputs():
    exercise = engine.find("06-rate")
    first, hidden = (course.cases_of(exercise, seed) for seed in (0, course.HIDDEN_SEED))
    assert {case.seed for case in first}.isdisjoint({case.seed for case in hidden} - {None})
    right, wrong = exercise.answer, exercise.wrong[0][0]
    assert engine.judge("06-rate", right, first_seed=course.HIDDEN_SEED)[0] == "right"
    assert engine.judge("06-rate", wrong, first_seed=course.HIDDEN_SEED)[0] == "not yet"


def test_what_json_cannot_hold_is_not_recorded():
    assert course.recorded(engine.find("06-step")) == [] and course.recorded(engine.find("06-hidden")) == []


def test_the_teachers_guide_says_what_was_counted_and_measured_and_names_exercises_that_exist():
    text = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
    assert text == guide.filled(text), "python -m tools.classroom.guide writes the tables anew"
    assert all(f"<!-- {name} -->" in text for name in guide.TABLES)
    for exercise_id in re.findall(r"\b\d\d[bc]?-[a-z-]+", text):
        engine.find(exercise_id)


def test_an_unknown_notebook_gets_one_line(capsys):
    assert course.main(["77"]) == 2
    assert capsys.readouterr().err.startswith("77: no notebook with exercises; there are 00, 01")
