"""The mechanism that lets a notebook print numbers: what passes, what fails, and what is said."""

import json
import pathlib

import nbformat
import pytest
from own_notebook import nbval, notebook_of
from tolerance import NUMBER, align, large_tolerances

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = {"absolute": 0.02, "relative": 0.01}


def passes(saved, new, tolerance=TOLERANCE):
    return align(saved, new, tolerance)[0] == saved


@pytest.mark.parametrize(("text", "numbers"), [
    ("loss 0.9612 after 1,234 steps", ["0.9612", "1,234"]),
    ("-0.5, +1.5e-3 and −2", ["-0.5", "+1.5e-3", "−2"]),
    ("[0.1 .25 3.]", ["0.1", ".25", "3."]),
    ("w2 and d_64 at 10% of 3-5", ["10", "3", "5"]),
    ("torch 2.13.0", []),
    ("nan, inf", []),
])  # fmt: skip
def test_numbers_are_found(text, numbers):
    assert NUMBER.findall(text) == numbers


def test_a_number_inside_the_tolerance_passes_and_one_outside_fails():
    assert passes("loss 0.96 (h = 0.4)", "loss 0.9799 (h = 0.3801)")
    assert not passes("loss 0.96", "loss 0.981")
    assert passes("1000.0 tokens", "1009.9 tokens"), "relative: 1 % of 1000"
    assert not passes("1000.0 tokens", "1010.1 tokens")
    assert not passes("loss 0.96", "loss 0.961", {}), "no tolerance means exact"


@pytest.mark.parametrize("new", [
    "0.10 0.20", "0.10 0.20 0.30 0.40", "0.10 0.20 nan", "0.10 0.20 inf", "0.10 0.20 -0.30", "0.20 0.10 0.30",
    "0.10 0.20 0.30x", "a 0.10 0.20 0.30", "",
])  # fmt: skip
def test_missing_additional_swapped_and_broken_numbers_fail(new):
    assert not passes("0.10 0.20 0.30", new)


def test_text_around_numbers_stays_exact_but_columns_may_move():
    assert not passes("loss 0.96 nats", "loss 0.96 bits")
    assert passes("|  9.99 |", "| 10.01 |")
    assert not passes("loss 0.96\nnext", "loss 0.96 next")


def test_what_is_counted_is_exact_unless_the_tolerance_says_otherwise():
    assert not passes("step 1000: 0.96", "step 1001: 0.96")
    assert passes("step 1000: 0.96", "step 1001: 0.96", {**TOLERANCE, "integers": True})
    assert not passes("step 1000", "step 1020", {**TOLERANCE, "integers": True})


def test_a_difference_is_told_with_both_numbers_and_the_tolerance():
    _, far = align("loss 0.96 and 0.50", "loss 0.90 and 0.50", TOLERANCE)
    assert [str(difference) for difference in far] == [
        "0.96 was saved and 0.90 is new: they may differ by 0.02"
    ]  # fmt: skip


def test_large_tolerances_are_those_above_a_twentieth_of_the_number():
    assert large_tolerances("0.50 and 0.30, step 3", TOLERANCE) == [("0.30", 0.02)]
    assert large_tolerances("0.50 and 0.30", {"relative": 0.05}) == []


CELLS = [  # what the notebook saved, what it prints now, the cell's tolerance, whether it passes
    ("0.96", "0.97", {"absolute": 0.02}, True),
    ("0.96", "0.99", {"absolute": 0.02}, False),
    ("0.96", "0.97", None, False),
    ("0.96", "nan", {"absolute": 0.02}, False),
    ("0.96", "0.96 0.96", {"absolute": 0.02}, False),
    ("0.96", "0.96", None, True),
]


def test_nbval_compares_so_in_real_notebooks(tmp_path):
    """One notebook, six cells, through the command that readers and the continuous integration use."""
    notebook = notebook_of(*(f"print('loss {new}')" for _, new, _, _ in CELLS), "0.51")
    for cell, (saved, _, tolerance, _) in zip(notebook.cells, CELLS, strict=False):
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"loss {saved}\n")]
        cell.metadata.update({"tolerance": tolerance} if tolerance else {})
    last = notebook.cells[-1]
    last.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": "0.5"}, execution_count=7)]
    last.metadata.update({"tolerance": {"absolute": 0.02}})
    _, said = nbval(notebook, tmp_path)
    marks = "".join(".F"[not passing] for *_, passing in CELLS) + "."
    assert said.lstrip().startswith(marks), said
    assert "0.96 was saved and 0.99 is new: they may differ by 0.02" in said


def tolerant_cells():
    """(notebook, number of the cell, its tolerance, its saved text) of all cells that have a tolerance."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if "tolerance" in cell["metadata"]:
                outputs = cell["outputs"]
                texts = [o.get("text", "") for o in outputs] + [
                    o.get("data", {}).get("text/plain", "") for o in outputs
                ]
                text = "\n".join("".join(text) for text in texts)
                yield path.stem, cell["execution_count"], cell["metadata"]["tolerance"], text


def test_tolerances_are_well_formed_and_large_ones_have_a_reason():
    listed = []
    for name, count, tolerance, text in tolerant_cells():
        assert tolerance.keys() <= {"absolute", "relative", "integers", "reason"}, (name, count)
        assert tolerance.get("absolute", 0) > 0 or tolerance.get("relative", 0) > 0, (name, count)
        large = large_tolerances(text, tolerance)
        if large:
            assert len(tolerance.get("reason", "")) > 20, (name, count, large, "say why the tolerance is so large")
            listed.append(f"{name}, cell {count}: {large}: {tolerance['reason']}")
    print("\n".join(listed) or "no tolerance is above 5 % of its number")  # pytest -rP shows the list
