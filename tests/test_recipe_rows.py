"""What recipes share that work off a list of jobs: a stopped one goes on, and its file is whole at all times."""

import concurrent.futures
import json
import runpy

import pytest

from bigmodel_lib.text.sources import data_path


@pytest.fixture
def table(monkeypatch):
    """The module, with threads for processes, which could not see a function of a test."""
    threads = concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda n, _: threads(n))
    return runpy.run_path(str(data_path("recipes/_rows.py")))


def test_what_is_there_is_not_worked_out_again_and_later_parts_see_the_earlier(table, tmp_path):
    file, done = tmp_path / "found.json", []

    def run(a, b):
        done.append((a, b))
        return {"a": a, "b": b, "sum": a + b}

    def jobs(rows):
        yield [(2, 1), (1, 1)]
        yield [(max(row["sum"] for row in rows), 0)]

    def keep(rows):
        table["write"](file, rows, ("a", "b"), how={"made_by": "a test"})

    keep([run(2, 1)])
    table["work_off"](file, run, jobs, ("a", "b"), keep, 2)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert sorted(done) == [(1, 1), (2, 1), (3, 0)] and found["how"] == {"made_by": "a test"}
    assert [(row["a"], row["b"]) for row in found["rows"]] == [(1, 1), (2, 1), (3, 0)]
    table["work_off"](file, run, jobs, ("a", "b"), keep, 2)
    assert len(done) == 3 and not file.with_suffix(".half").exists()


def test_a_file_says_how_it_was_made(table):
    how = table["how"]("volatility", ["scikit-learn"], seeds=(1, 2))
    assert how["made_by"] == "data/recipes/volatility.py" and how["seeds"] == (1, 2) and how["hardware"]
    assert set(how["versions"]) == {"python", "numpy", "torch", "scikit-learn"}
