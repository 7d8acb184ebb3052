"""What students hand in: notebooks of the first edition, files that are none, and answers that mean harm.

Each gets a clear line, and whoever sits beside it is graded as if nothing had happened.
"""

import json
import os
import pathlib

import pytest

from bigmodel_lib.exercises import engine
from tools.classroom import course, limits, older, sheet, submissions

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATE = "def linear_lr(fraction, step, warmup_steps):\n    return min(1, (step + 1) / warmup_steps) * (1 - fraction)"


def cells_of(exercise_id, code):
    """An exercise's three cells, as a notebook has them."""

    def cell(part, kind, source):
        marks = {"exercise": exercise_id, "part": part}
        return {"cell_type": kind, "id": f"exercise-{exercise_id}-{part}", "metadata": marks, "source": source}

    check = cell("check", "code", f'check("{exercise_id}", _)')
    return [cell("task", "markdown", f"**Exercise {exercise_id}**"), cell("stub", "code", code), check]


def write(path, answers, more=()):
    cells = [cell for exercise_id, code in answers.items() for cell in cells_of(exercise_id, code)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [*more, *cells]}))


def code_cell(source, **more):
    return {"cell_type": "code", "id": "some", "metadata": {}, "source": source, **more}


def graded(folder, seconds=10):
    """{(student, exercise): row}, and the lines on files."""
    rows, problems = sheet.grade(folder, 2, seconds)
    return {(row["student"], row["exercise"]): row for row in rows}, problems


# Notebooks of the first edition


def test_each_exercise_of_the_first_edition_is_there_or_has_a_line():
    assert not any(submissions.notebook_with(each) for each in older.DROPPED)
    assert all(submissions.notebook_with(each) for each in older.CHANGED)
    for exercise_id in (*older.DROPPED, *older.CHANGED):
        assert "not graded" in older.words_on(exercise_id)
    for nearest in filter(None, older.DROPPED.values()):
        engine.find(nearest)


@pytest.fixture(scope="module")
def first_edition(tmp_path_factory):
    """Cuts of three notebooks of the first edition: 07, 01 under another name, and 08, of which no exercise is gone."""
    folder = tmp_path_factory.mktemp("first")
    seven = {
        "07-pull": "pull = 3 / 4 - 1",
        "07-lstm": "parameters = 5",
        "07-pairs": 'reason = "b"',
        "07-lora": "thin = 1280",
    }
    write(folder / "anna" / "07_finetuning.ipynb", seven)
    write(
        folder / "ben" / "mine.ipynb",
        {"01-lookup": "looked_up = 7", "01-hide": "x = 1", "01-parameters": "parameters = 16384"},
    )
    old_import = code_cell("from bigmodel_lib.model_torch import attention")
    cache = "def attend_to_cache(q, k, v, keys, values, position):\n    return attention(q, keys, values)"
    write(folder / "cleo" / "08_generation.ipynb", {"08-cache": cache, "08-dpo": "..."}, [old_import])
    return graded(folder)


def test_what_stayed_is_graded_wherever_it_stands_now(first_edition):
    rows, _ = first_edition
    wanted = {"07-pull": ("right", "07b"), "07-lstm": ("not yet", "07b"), "07-lora": ("right", "07")}
    for exercise_id, (verdict, notebook) in wanted.items():
        row = rows["anna", exercise_id]
        assert (row["verdict"], row["notebook"]) == (verdict, notebook), row
        assert row["points"] == (engine.find(exercise_id).difficulty if verdict == "right" else 0)
    assert rows["ben", "01-parameters"]["verdict"] == "right"


def test_what_is_gone_or_has_changed_is_not_graded_and_says_so(first_edition):
    rows, _ = first_edition
    assert rows["anna", "07-pairs"]["verdict"] == rows["ben", "01-hide"]["verdict"] == "older"
    assert "nearest now is 01-mask" in rows["ben", "01-hide"]["words"]
    assert rows["ben", "01-lookup"]["verdict"] == "older", "7 was right when the second value was 4"
    assert "hadn't it" in rows["ben", "01-attention"]["words"] and "hadn't it" in rows["anna", "07-adapt"]["words"]


def test_one_line_says_what_a_notebook_of_the_first_edition_is(first_edition):
    _, problems = first_edition
    anna, ben, cleo = sorted(problems)
    assert (
        "of the first edition; graded: 07-lora, 07-pull (now in 07b), 07-lstm (now in 07b); dropped since: 07-pairs"
        in anna
    )
    assert "changed since: 01-lookup; dropped since: 01-hide" in ben
    assert "of an older edition" in cleo and "08-dpo (now in 08b)" in cleo


def test_an_import_that_moved_is_named(first_edition):
    rows, _ = first_edition
    assert "imports `attention` from bigmodel_lib.model_torch" in rows["cleo", "08-cache"]["words"]


def test_lookup_is_graded_where_the_notebook_is_of_today(tmp_path):
    write(tmp_path / "dora" / "01_attention_formula.ipynb", {"01-lookup": "looked_up = (3 * 8 + 20) / 4"})
    rows, problems = graded(tmp_path)
    assert rows["dora", "01-lookup"]["verdict"] == "right" and not problems


# Files that are no notebooks


def test_each_bad_file_gets_one_line_and_the_others_are_graded(tmp_path):
    write(tmp_path / "good" / "06_pretraining.ipynb", {"06-rate": RATE, "06-hidden": ""})
    (tmp_path / "folder" / "06_pretraining.ipynb").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name, text in {
        "cut": '{"cells": [',
        "list": "[1, 2]",
        "number": '{"cells": [{"cell_type": "code", "source": 5}]}',
        "marks": '{"cells": [{"cell_type": "code", "source": "x", "metadata": [1]}]}',
        "deep": "[" * 100_000,
        "other": '{"cells": []}',
    }.items():
        (tmp_path / f"{name}.ipynb").write_text(text)
    (tmp_path / "bytes.ipynb").write_bytes(b"\xff\xfe\x00")
    with (tmp_path / "large.ipynb").open("wb") as file:
        file.truncate(50 * 2**20)
    write(tmp_path / "unknown.ipynb", {"06-nothing": "x = 1"})
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.ipynb")  # whoever opens it waits for ever
    rows, problems = graded(tmp_path)
    assert rows["good", "06-rate"]["verdict"] == "right"
    assert rows["good", "06-hidden"]["verdict"] == "not attempted", "a cell that was emptied"
    said = {
        pathlib.Path(line.split(": ")[0]).relative_to(tmp_path).parts[0]: line.split(": ", 1)[1] for line in problems
    }
    assert len(said) == len(problems)
    assert said.pop("large.ipynb").startswith("50 MB, more than 32")
    assert said.pop("unknown.ipynb") == "no exercise of the course is in it (06-nothing)"
    assert said.pop("other.ipynb") == "no exercise of the course is in it"
    assert said.pop("empty") == "no notebook in it"
    assert said.pop("folder") == "not a file" and said.pop("pipe.ipynb", "not a file") == "not a file"
    assert set(said.values()) == {"not a notebook"} and len(said) == 6


def test_a_closed_folder_gets_one_line(tmp_path, monkeypatch):
    write(tmp_path / "good" / "06_pretraining.ipynb", {"06-rate": RATE})
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refusing(path):
        if pathlib.Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(submissions.os, "scandir", refusing)
    found = list(submissions.submissions(tmp_path))
    assert [str(each).split(": ")[-1] for each in found if isinstance(each, Exception)] == ["Permission denied"]
    assert [each.student for each in found if not isinstance(each, Exception)] == ["good"]


def test_an_unknown_id_beside_known_ones_is_named(tmp_path):
    write(tmp_path / "eva.ipynb", {"06-rate": RATE, "06-nothing": "x = 1"})
    rows, problems = graded(tmp_path)
    assert rows["eva", "06-rate"]["verdict"] == "right"
    assert problems[0].endswith("not in the course, of any edition: 06-nothing")


# Answers that mean harm, or look like it

HARM = {
    "forks": "import os\nwhile True:\n    os.fork()",
    "starts": "import subprocess\nsubprocess.Popen(['sleep', '60'])",
    "shells": "import os\nos.system('sleep 60')",
    "writes": "open({outside!r}, 'w').write('here')",
    "removes": "import os\nos.remove({victim!r})",
    "kills": "import os\nos.kill(os.getppid(), 9)",
    "calls": "import socket\nsocket.create_connection(('192.0.2.1', 80), 2)",
    "exits": "import sys\nsys.exit()",
    "nan": "linear_lr = lambda fraction, step, warmup_steps: float('nan')",
    "deep": "x = 1" + " + 1" * 900 + "\ndef linear_lr(f, s, w):\n    return x",
    "long": "x = 1\n" * 40_000,
    "surrogate": "raise ValueError('\\ud800')",
    "formula": "raise type('=1+1', (BaseException,), {{}})('x')",
    "null": "x = '\0'",
    "huge": "linear_lr = lambda f, s, w: 'x' * 10**9",
}


@pytest.fixture(scope="module")
def harmed(tmp_path_factory):
    folder, elsewhere = tmp_path_factory.mktemp("harm"), tmp_path_factory.mktemp("elsewhere")
    places = {"outside": str(elsewhere / "written"), "victim": str(elsewhere / "victim")}
    (elsewhere / "victim").write_text("mine")
    for name, code in HARM.items():
        write(folder / name / "06_pretraining.ipynb", {"06-rate": code.format(**places)})
    write(folder / "good" / "06_pretraining.ipynb", {"06-rate": RATE})
    helper = code_cell("def f(x):\n    return 1" + " + 1" * 900)
    write(folder / "deep_helper" / "06_pretraining.ipynb", {"06-rate": RATE}, [helper])
    rows, problems = graded(folder)
    assert not problems
    return {student: row for (student, exercise), row in rows.items() if exercise == "06-rate"}, elsewhere, rows


def test_nobody_is_graded_worse_for_a_bad_neighbour(harmed):
    rows, _, _ = harmed
    assert {rows["good"]["verdict"], rows["deep_helper"]["verdict"]} == {"right"}


def test_each_harm_gets_one_clear_line(harmed):
    rows, elsewhere, _ = harmed
    assert {rows[name]["verdict"] for name in HARM} <= {"not yet", "stopped"}
    for name in ("forks", "starts", "shells", "kills"):
        assert "no other processes" in rows[name]["words"], rows[name]
    for name in ("writes", "removes"):
        assert "no writing outside" in rows[name]["words"], rows[name]
    assert [path.name for path in elsewhere.iterdir()] == ["victim"]
    assert "no network" in rows["calls"]["words"]
    assert "nan" in rows["nan"]["words"]
    assert "240,000 characters" in rows["long"]["words"]
    assert rows["formula"]["words"].startswith("'="), "a spreadsheet would compute it"
    assert all(rows[name]["words"].isprintable() or "\n" in rows[name]["words"] for name in HARM)


def test_the_sheet_can_be_written_whatever_students_are_called(harmed, tmp_path):
    _, _, rows = harmed
    named = [dict(row, student=sheet.printable(name)) for row in rows.values() for name in ("$x^$", "<b>", "\udcff")]
    for writer, name in ((sheet.write_csv, "s.csv"), (sheet.write_png, "s.png"), (sheet.write_html, "s.html")):
        writer(named, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert "&lt;b&gt;" in (tmp_path / "s.html").read_text(encoding="utf-8")


# The library's own function, under other names

TAKEN = {
    "renamed": (
        "from bigmodel_lib.training.optimizers import linear_lr as ready",
        "def linear_lr(*a):\n    return ready(*a)",
    ),
    "module": ("import bigmodel_lib.training.optimizers as o", "linear_lr = o.linear_lr"),
    "spelled": ("", "import bigmodel_lib.training.optimizers as o\nlinear_lr = getattr(o, 'linear' + '_lr')"),
    "lambda": ("import bigmodel_lib.training.optimizers as o", "linear_lr = lambda *a: o.linear_lr(*a)"),
    "own": ("", RATE),
}


def test_the_librarys_own_function_is_noticed_under_any_name(tmp_path):
    for student, (helper, code) in TAKEN.items():
        write(tmp_path / student / "06_pretraining.ipynb", {"06-rate": code}, [code_cell(helper)])
    rows, _ = graded(tmp_path)
    for student in TAKEN:
        row = rows[student, "06-rate"]
        assert row["verdict"] == "right"
        assert ("the library's own `linear_lr`" in row["remarks"]) == (student != "own"), row


def test_a_copy_in_another_cell_under_another_name_is_noticed(tmp_path):
    import inspect

    exercise = engine.find("06-muon")
    copied = inspect.getsource(exercise.answer).replace("def muon", "def helper").replace("average", "mean")
    code = "def muon(*arguments):\n    return helper(*arguments)"
    write(tmp_path / "eve" / "06_pretraining.ipynb", {"06-muon": code}, [code_cell(copied)])
    rows, _ = graded(tmp_path)
    assert rows["eve", "06-muon"]["remarks"] == "is word for word an answer of the course"


# What nbgrader has collected


def test_a_notebook_released_through_nbgrader_is_read_too(tmp_path):
    course.build(tmp_path / "course", ["06"], homework=True)
    path = next((tmp_path / "course" / "source" / "06").glob("*.ipynb"))
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["metadata"].get("part") == "stub" and cell["metadata"]["exercise"] == "06-rate":
            cell["source"] = RATE
    handed = tmp_path / "submitted" / "fay" / "06" / path.name
    handed.parent.mkdir(parents=True)
    handed.write_text(json.dumps(notebook), encoding="utf-8")
    rows, problems = graded(tmp_path / "submitted")
    assert not problems and rows["fay", "06-rate"]["verdict"] == "right"
    assert {row["verdict"] for row in rows.values()} == {"right", "not attempted"}


@pytest.mark.skipif(bool(limits.not_enforced()), reason="limits are enforced on Linux alone")
def test_the_limit_on_processes_is_set():
    assert limits.limited(_limit_on_processes)["processes"] > limits.PROCESSES


def _limit_on_processes():
    import resource

    return {"processes": resource.getrlimit(resource.RLIMIT_NPROC)[0]}
