"""What tries mutants out, on a small project; the mutants themselves are for `make mutants`."""

import json
import os
import tomllib

import pytest

from tools import mutants
from tools.mutants import Mutant

SOURCE = "def double(x):\n    return 2 * x\n"
TEST = """
import runpy

def test_double():
    assert runpy.run_path("bigmodel_lib/one.py")["double"](3) == 6
"""
ONE = Mutant("part", "one.py", "core/NumberReplacer", 0)


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = tmp_path / "project"
    for folder in ("bigmodel_lib", "tests"):
        (root / folder).mkdir(parents=True)
    (root / "bigmodel_lib/one.py").write_text(SOURCE)
    (root / "tests/test_one.py").write_text(TEST)
    (root / "pytest.ini").write_text("[pytest]\n")
    settings = dict(ROOT=root, LIBRARY=root / "bigmodel_lib", RECORD=root / ".mutants/results.jsonl")
    settings |= dict(COPIED=("bigmodel_lib", "tests", "pytest.ini"), PARTS={"part": (["one.py"], ["test_one.py"])})
    for name, value in settings.items():
        monkeypatch.setattr(mutants, name, value)
    return root


@pytest.fixture
def workshop(project, tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("mutants are tried in forked processes")
    (tmp_path / "copy").mkdir()
    return mutants.Workshop(str(tmp_path / "copy"))


def test_a_mutant_is_caught_if_a_test_fails_or_never_ends_and_the_copy_is_whole_again(project, workshop, monkeypatch):
    assert workshop.catches(ONE, SOURCE.replace("2", "3"))
    assert not workshop.catches(ONE, SOURCE.replace("2 * x", "x * 2"))
    monkeypatch.setattr(workshop, "patience", lambda part: 1.0)
    assert workshop.catches(ONE, "while True:\n    pass\n")
    assert (workshop.root / "bigmodel_lib/one.py").read_text() == SOURCE
    assert (project / "bigmodel_lib/one.py").read_text() == SOURCE


def test_tests_that_fail_by_themselves_end_the_program(project, workshop):
    (workshop.root / "tests/test_one.py").write_text("def test_no():\n    assert False\n")
    with pytest.raises(SystemExit, match="the tests of part fail without a mutant: test_one.py"):
        workshop.catches(ONE, SOURCE)


def test_what_was_tried_is_not_tried_again_unless_the_file_has_changed_or_it_survived(project, monkeypatch):
    tried = []
    monkeypatch.setattr(mutants, "mutated", lambda mutant: SOURCE.replace("2", "3"))
    monkeypatch.setattr(mutants.Workshop, "catches", lambda self, mutant, text: tried.append(mutant))
    (result,), left = mutants.try_out([ONE], again=False, minutes=1)
    assert (result["before"], result["after"], left) == ("return 2 * x", "return 3 * x", 0)
    mutants.try_out([ONE], again=False, minutes=1)
    assert len(tried) == 1
    mutants.try_out([ONE], again=True, minutes=1)
    assert len(tried) == 2
    (project / "bigmodel_lib/one.py").write_text(SOURCE + "\n")
    assert mutants.try_out([ONE], again=False, minutes=-1) == ([], 1) and len(tried) == 2
    mutants.try_out([ONE], again=False, minutes=1)
    assert len(tried) == 3 and len(json.loads(mutants.RECORD.read_text().splitlines()[-1])) == 6


def test_the_score_leaves_out_what_is_equivalent_and_names_what_survived(monkeypatch):
    monkeypatch.setattr(mutants, "reasons", lambda: {("one.py", "a + 0", "a - 0"): "adding nothing"})
    rows = [("2 * x", "3 * x", True), ("a + 0", "a - 0", False), ("b", "c", False), ("d", "e", True)]
    results = [dict(file="one.py", before=old, after=new, caught=caught) for old, new, caught in rows]
    said = mutants.report(results, left=0).splitlines()
    assert said == [
        "one.py",
        "  - b",
        "  + c",
        "4 mutants: 2 caught, 1 survived, 1 equivalent; score 66.7 %",
    ]


def test_the_parts_and_the_equivalent_mutants_are_of_files_that_are_there():
    for files, tests in mutants.PARTS.values():
        assert all((mutants.LIBRARY / name).exists() for name in files)
        assert all((mutants.ROOT / "tests" / name.split("::")[0]).exists() for name in tests)
    for row in tomllib.loads(mutants.EQUIVALENT.read_text(encoding="utf-8")).get("mutant", []):
        lines = (mutants.LIBRARY / row["file"]).read_text(encoding="utf-8").splitlines()
        text = " ".join(line.strip() for line in lines)
        assert row["before"] in text and row["before"] != row["after"] and len(row["reason"]) > 20, row
