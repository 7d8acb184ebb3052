"""What every notebook keeps to; what its cells compute is compared by nbval."""

import ast
import functools
import json
import pathlib
import re

import nbformat
import pytest
import source_cells
from own_notebook import nbval, notebook_of

from bigmodel_lib.exercises import engine as exercises

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
UNCOMPARED = {"nbval-ignore-output", "nbval-skip"}
HALF_MAY_BE_UNCOMPARED = ("05", "06")
FILES = [path for path in (ROOT / "bigmodel_lib").rglob("*.py") if "exercises" not in path.parts]


def each_notebook(test):
    return pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)(test)


def cells_of(path, kind):
    return [c for c in nbformat.read(path, as_version=4).cells if c["cell_type"] == kind and c["source"].strip()]


def bare(definition: ast.FunctionDef | ast.ClassDef) -> str:
    """A definition without its docstrings and its signatures' types."""
    for node in ast.walk(definition):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.dump(definition)


def functions_in(source: str) -> dict:
    """Functions and classes, by name."""
    return {node.name: node for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


@each_notebook
def test_cells_are_short_run_and_in_order(path):
    cells = cells_of(path, "code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert len([line for line in cell["source"].splitlines() if line.strip()]) <= 25, cell["source"]
        assert all(output["output_type"] != "error" for output in cell["outputs"])
    lengths = sorted(len(cell["source"].splitlines()) for cell in cells)
    assert lengths[len(lengths) // 2] <= 9


@each_notebook
def test_most_cells_are_compared(path):
    cells = cells_of(path, "code")
    ignored = sum(bool(UNCOMPARED & set(cell["metadata"].get("tags", []))) for cell in cells)
    assert ignored <= len(cells) / (2 if path.name.startswith(HALF_MAY_BE_UNCOMPARED) else 3), (ignored, len(cells))


@each_notebook
def test_it_opens_with_what_the_reader_needs(path):
    opening = cells_of(path, "markdown")[0]["source"]
    assert "**You need:**" in opening and "…" not in re.search(r"\*\*Runs in:\*\*(.*)", opening)[1]


@each_notebook
def test_every_picture_has_alt_text_and_a_caption(path):
    for cell in cells_of(path, "code"):
        for place, output in enumerate(cell["outputs"]):
            if "image/png" not in output.get("data", {}):
                continue
            assert len(output["metadata"]["image/png"]["alt"]) > 30
            caption = cell["outputs"][place + 1]["data"]["text/markdown"]
            assert caption.startswith("*") and len(caption) > 30


@each_notebook
def test_every_exercise_is_there_in_order_and_in_step_with_its_entry(path):
    wanted = exercises.entries(path.name.split("_")[0])
    parts: dict = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if "exercise" in cell["metadata"]:
            parts.setdefault(cell["metadata"]["exercise"], []).append(cell["source"])
    assert parts.keys() == wanted.keys()
    for exercise_id, exercise in wanted.items():
        ours = [exercises.task_cell(exercise), exercise.stub.strip(), exercises.check_cell(exercise)]
        assert parts[exercise_id] == ours, f"{exercise_id} has changed: run make notebooks"


@each_notebook
def test_what_is_taught_is_the_library_s_source(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if "source" in cell["metadata"]:
            again = nbformat.from_dict(cell)
            source_cells.expand([again])
            assert cell["source"] == again["source"], f"{cell['metadata']['source']} has changed: run make notebooks"


@functools.cache
def kept_by_the_library() -> set[str]:
    return {bare(node) for file in FILES for node in functions_in(file.read_text(encoding="utf-8")).values()}


@each_notebook
def test_what_the_library_keeps_is_not_copied_by_hand(path):
    for cell in cells_of(path, "code"):
        if "source" not in cell["metadata"] and "exercise" not in cell["metadata"]:
            for name, node in functions_in(cell["source"]).items():
                assert bare(node) not in kept_by_the_library(), f"{name}: write {{{{source …}}}} in its place"


def built(path) -> dict:
    """{what the reader builds, by its name in the library: the id of its exercise} of a notebook."""
    ours = {entry.ours: entry.id for entry in exercises.entries(path.name.split("_")[0]).values() if entry.ours}
    return {name.removeprefix("bigmodel_lib.").replace(":", "."): entry for name, entry in ours.items()}


@each_notebook
def test_what_the_reader_builds_is_shown_folded_and_after_its_exercise(path):
    shown, done = {}, set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell["metadata"].get("part") == "check":
            done.add(cell["metadata"]["exercise"])
        for name in cell["metadata"].get("source", "").split():
            if name in built(path):
                assert built(path)[name] in done, f"{name} is shown before its exercise"
                assert cell["cell_type"] == "markdown" and "<details><summary>" in cell["source"]
                shown[name] = cell
    of_the_library = {name for name in built(path) if not name.startswith("exercises.")}
    assert of_the_library <= shown.keys() <= built(path).keys()


def test_random_windows_is_taught_in_06():
    assert "def random_windows" in (ROOT / "notebooks/06_pretraining.ipynb").read_text(encoding="utf-8")


@each_notebook
def test_nothing_of_this_machine_is_in_it(path):
    text = path.read_text(encoding="utf-8")
    assert str(ROOT) not in text and str(pathlib.Path.home()) + "/" not in text and "widget-state" not in text
    assert json.loads(text)["metadata"].keys() == {"kernelspec", "language_info"}


def test_the_maps_name_every_notebook():
    for place in (ROOT / "README.md", ROOT / "notebooks/00_start_here.ipynb"):
        text = place.read_text(encoding="utf-8")
        for path in PATHS:
            row = re.search(rf"\| \[`{path.stem}`\]\([^)]*{path.name}\) \|[^|]*\| ([^|]*) \|", text)
            assert row and re.search("minute", row[1]), (place.name, path.stem)


def test_notebooks_are_tested_without_a_network(tmp_path):
    """192.0.2.1 is an address that belongs to nobody (RFC 5737)."""
    ask = "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)"
    code, said = nbval(notebook_of("x = 1", ask), tmp_path)
    assert code == 1 and "RuntimeError: the network was used" in said and "1 failed, 1 passed" in said, said


def test_a_notebook_that_leaves_a_file_behind_is_reported(tmp_path):
    left = ROOT / "notebooks/left_behind.tmp"
    try:
        code, said = nbval(notebook_of(f"open({str(left)!r}, 'w').close()"), tmp_path)
        assert code == 1 and "left_behind.tmp" in said and "1 passed" in said, said
    finally:
        left.unlink(missing_ok=True)
