"""A class of thirty, made by a script, on the class sheet: the verdicts, limits that hold, bad files."""

import copy
import csv
import json
import pathlib
import subprocess
import sys

import pytest

from bigmodel_lib.exercises import engine
from tools.classroom import limits, submissions

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOK = json.loads((ROOT / "notebooks" / "06_pretraining.ipynb").read_text(encoding="utf-8"))
STEP = """def train_step(model, x, y, optimizers):
    guess = model(x)
    loss = cross_entropy(guess, y)
    loss.backward()
    for o in optimizers:
        o.step()
    for o in optimizers:
        o.zero_grad()
    return float(loss)"""
RIGHT = {
    "06-first-loss": "loss_of_ignorance = np.log(100)",
    "06-step": STEP,
    "06-rate": "def linear_lr(fraction, step, n):\n    return min(1, (step + 1) / n) * (1 - fraction)",
    "06-orthogonal": "step_direction = [[0.6, -0.8], [0.8, 0.6]]",
    "06-hidden": 'which = "c"',
}
WRONG = {
    "06-first-loss": "loss_of_ignorance = 100",
    "06-step": STEP.replace("    for o in optimizers:\n        o.zero_grad()\n", ""),
    "06-rate": "def linear_lr(fraction, step, warmup_steps):\n    return 1 - fraction",
    "06-orthogonal": "step_direction = 3 +",
    "06-hidden": 'which = "a"',
}
HOSTILE = {
    "06-first-loss": "import os\nos._exit(0)",
    "06-step": "import socket\nsocket.create_connection(('192.0.2.1', 80), 2)",
    "06-rate": "while True:\n    pass",
    "06-orthogonal": "step_direction = bytearray(10**11)",
    "06-hidden": "open('large', 'wb').write(bytes(10**8))\nwhich = 'c'",
}
COPIED = {
    "06-step": "from bigmodel_lib.exercises.nb06 import train_step",
    "06-rate": "from bigmodel_lib.training.optimizers import linear_lr",
}


def with_code(codes):
    notebook = copy.deepcopy(NOTEBOOK)
    for cell in notebook["cells"]:
        if cell["metadata"].get("part") == "stub":
            cell["source"] = codes.get(cell["metadata"]["exercise"], "".join(cell["source"]))
    return notebook


def changed():
    """A notebook in which a function has another name, a cell has lost its id, one is copied and one deleted."""
    notebook = with_code(RIGHT)
    cells = [cell for cell in notebook["cells"] if cell["metadata"].get("exercise") != "06-rate"]
    for cell in list(cells):
        if cell["metadata"].get("part") == "stub" and cell["metadata"]["exercise"] == "06-step":
            cell["source"] = cell["source"].replace("train_step", "my_step")
        elif cell["metadata"].get("exercise") == "06-hidden":
            cell["id"], cell["metadata"] = "lost" + cell["id"][-5:], {}
        elif cell["metadata"].get("part") == "stub" and cell["metadata"]["exercise"] == "06-first-loss":
            cells.insert(cells.index(cell), dict(cell, id="a-copy", source="loss_of_ignorance = 5"))
    return dict(notebook, cells=cells)


KINDS = [("right", RIGHT, 12), ("wrong", WRONG, 6), ("half", {"06-hidden": 'which = "c"'}, 5), ("blank", {}, 3)]
KINDS += [("hostile", HOSTILE, 1), ("copied", COPIED, 2)]


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    """{student: {exercise: row}}, and what the program said."""
    folder, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("sheet")
    students = {f"{kind}{i}": with_code(codes) for kind, codes, n in KINDS for i in range(n)} | {"changed0": changed()}
    for student, notebook in students.items():
        path = folder / student / "06_mine.ipynb"
        path.parent.mkdir()
        path.write_text(json.dumps(notebook), encoding="utf-8")
    (folder / "none").mkdir()
    (folder / "none" / "06_text.ipynb").write_text("not JSON", encoding="utf-8")
    (folder / "other.ipynb").write_text('{"cells": []}', encoding="utf-8")
    command = [sys.executable, "-m", "tools.classroom.sheet", folder, "--out", out, "--seconds", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows: dict = {}
    for row in csv.DictReader((out / "sheet.csv").open(encoding="utf-8", newline="")):
        rows.setdefault(row["student"], {})[row["exercise"]] = row
    return rows, done, out


def verdicts(row_of):
    return {exercise: row["verdict"] for exercise, row in row_of.items()}


def test_thirty_students_get_the_verdicts_that_they_should(sheet):
    rows, _, _ = sheet
    assert len(rows) == 30
    blank = dict.fromkeys(engine.entries("06"), "not attempted")
    for student, row in rows.items():
        kind = student.rstrip("0123456789")
        wanted = {
            "right": blank | dict.fromkeys(RIGHT, "right"),
            "wrong": blank | dict.fromkeys(WRONG, "not yet"),
            "half": blank | {"06-hidden": "right"},
            "blank": blank,
            "hostile": blank | dict.fromkeys(HOSTILE, "not yet") | {"06-first-loss": "stopped", "06-rate": "stopped"},
            "copied": blank | dict.fromkeys(COPIED, "right"),
            "changed": blank | dict.fromkeys(RIGHT, "right") | {"06-rate": "missing"},
        }[kind]
        assert verdicts(row) == wanted, student
    assert {row["points"] for row in rows["right3"].values()} == {"0", "1", "2"}


def test_points_are_the_difficulty_and_words_the_diagnosis(sheet):
    rows, _, _ = sheet
    for exercise, row in rows["right0"].items():
        assert int(row["points"]) == (engine.find(exercise).difficulty if exercise in RIGHT else 0)
    assert "100 is the number of choices" in rows["wrong0"]["06-first-loss"]["words"]
    assert "called `my_step` instead of `train_step`" in rows["changed0"]["06-step"]["words"]


def test_what_a_person_should_look_at_is_named(sheet):
    rows, done, _ = sheet
    assert "where the answers are" in rows["copied0"]["06-step"]["remarks"]
    assert "the library's own `linear_lr`" in rows["copied0"]["06-rate"]["remarks"]
    assert "look at copied1, 06-rate" in done.stdout and "imports os" in rows["hostile0"]["06-first-loss"]["remarks"]
    assert not any(row["remarks"] for row in rows["right0"].values())
    assert "2 cells answer it" in rows["changed0"]["06-first-loss"]["remarks"]


def test_limits_hold(sheet):
    rows, _, _ = sheet
    words = {exercise: row["words"] for exercise, row in rows["hostile0"].items()}
    assert "ended before it said anything" in words["06-first-loss"]
    if not limits.not_enforced():
        assert "more than 10 seconds" in words["06-rate"] or "still there after" in words["06-rate"]
        assert "MemoryError" in words["06-orthogonal"] and "File too large" in words["06-hidden"]
    assert "unreachable" in words["06-step"] or "no network" in words["06-step"]


def test_files_that_are_no_notebooks_get_one_line_each(sheet):
    _, done, _ = sheet
    lines = done.stderr.splitlines()
    assert [line.rsplit(": ")[-1] for line in lines] == ["not a notebook", "no exercise of the course is in it"]


def test_the_heat_map_is_a_picture_and_a_page(sheet):
    rows, _, out = sheet
    assert (out / "heat_map.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "heat_map.html").read_text(encoding="utf-8")
    assert page.count("<tr>") == 31 and page.count("●") == sum(
        row["verdict"] == "right" for of_student in rows.values() for row in of_student.values()
    )


def test_a_missing_folder_and_an_empty_one_get_one_line(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        command = [sys.executable, "-m", "tools.classroom.sheet", folder, "--out", tmp_path / "out"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_an_answer_with_other_names_is_still_word_for_word():
    exercise = engine.find("06-muon")
    ours = """def muon(weights, g, mean, rate, mu):
    mean = mu * mean + (1 - mu) * g
    z = mean / (mean.norm() + 1e-7)
    for _ in range(5):
        z = quintic(z, 3.4445, -4.775, 2.0315)
    return weights - rate * z, mean"""
    assert submissions.remarks_on(exercise, ours) == ["is word for word an answer of the course"]
    assert submissions.remarks_on(exercise, ours.replace("range(5)", "range(6)")) == []
