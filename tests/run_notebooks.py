"""Execute notebooks/ in fresh kernels and save them in one normal form: `make notebooks`, one: `make notebooks NB=06`.

With `--expand` nothing is executed: only the cells made of exercises and sources are made again.

Saved are code, outputs and stable cell ids; no times of execution, no widget state, no metadata of an editor.
A Markdown cell `{{exercise 06-rate}}` becomes the exercise's cells; cells made so before are made again from its entry.
`{{source by_hand.model.softmax}}` becomes the library's source, see `source_cells`.
The line "Runs in" of a notebook and the minutes in the maps are written from the measured time.
"""

import os
import pathlib
import re
import sys
import time

import nbformat
import source_cells
from kernels import FORGET_WHAT_THE_READER_HAS_DONE, begin_with
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
CELL_SECONDS = 300
KEPT = ("tags", "tolerance", "exercise", "part", "source", "jupyter")  # of a cell's metadata
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def expand_exercises(cells: list) -> list:
    """Replace placeholders by cells, and refresh cells made from entries before."""
    from bigmodel_lib.exercises import engine as exercises

    expanded = []
    for cell in cells:
        placeholder = re.fullmatch(r"\{\{exercise ([\w-]+)\}\}", cell["source"].strip())
        if placeholder:
            exercise = exercises.find(placeholder[1])
            for part in ("task", "stub", "check"):
                new = nbformat.v4.new_markdown_cell if part == "task" else nbformat.v4.new_code_cell
                expanded.append(new(metadata={"exercise": exercise.id, "part": part}))
        else:
            expanded.append(cell)
    for cell in expanded:
        if "exercise" in cell["metadata"]:
            exercise, part = exercises.find(cell["metadata"]["exercise"]), cell["metadata"]["part"]
            cell["id"] = f"exercise-{exercise.id}-{part}"
            sources = {"task": exercises.task_cell, "stub": lambda e: e.stub.strip(), "check": exercises.check_cell}
            cell["source"] = sources[part](exercise)
    return expanded


def stable_ids(cells: list) -> None:
    """Name the cells that have no name of their own by their place: cell-07."""
    for place, cell in enumerate(cells):
        if not cell["id"].startswith("exercise-"):
            cell["id"] = f"cell-{place:02d}"


def in_words(seconds: float) -> str:
    """A duration that stays the same from run to run: "under a minute", "about 2 minutes"."""
    return (
        "under a minute"
        if seconds < 50
        else f"about {max(1, round(seconds / 60))} minutes".replace("1 minutes", "1 minute")
    )


def normalise(notebook) -> None:
    """Keep what a reader sees and nbval compares, drop what changes from run to run."""
    notebook["metadata"] = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        kept = {key: cell["metadata"][key] for key in KEPT if cell["metadata"].get(key)}
        cell["metadata"] = nbformat.from_dict(kept)
        if cell["cell_type"] != "code":
            cell.pop("attachments", None)
            continue
        widget = "application/vnd.jupyter.widget-view+json"  # without its state it would show an error
        cell["outputs"] = [o for o in cell["outputs"] if o.get("data", {}).keys() != {widget, "text/plain"}]
        for output in cell["outputs"]:
            output.get("metadata", {}).pop("execution", None)
            output.get("data", {}).pop(widget, None)
            if "traceback" in output:
                output["traceback"] = []


def write_minutes(name: str, words: str) -> None:
    """Put a notebook's time into the maps, the last column of its row."""
    for path in (ROOT / "README.md", NOTEBOOKS / "00_start_here.ipynb"):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            row = re.compile(rf"(\| \[`{name}`\]\([^)]*\) \|[^|]*\|) [^|]*\|")
            path.write_text(row.sub(rf"\1 {words} |", text), encoding="utf-8")


def expanded(path: pathlib.Path):
    """A notebook with its exercises and sources as they are now."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = expand_exercises(notebook.cells)
    source_cells.expand(notebook.cells)
    stable_ids(notebook.cells)
    return notebook


def save(notebook, path: pathlib.Path) -> None:
    """Write a notebook if it is a valid one."""
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def run(path: pathlib.Path) -> float:
    """Execute one notebook and save it; returns the seconds it took. A failing cell raises CellExecutionError."""
    notebook = expanded(path)
    start = time.monotonic()
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )  # fmt: skip
    client.execute()
    seconds = time.monotonic() - start
    normalise(notebook)
    words = in_words(seconds)
    opening = notebook.cells[0]
    opening["source"] = re.sub(r"(\*\*Runs in:\*\*) [^\n.]*", rf"\1 {words} on 2 CPU cores", opening["source"])
    save(notebook, path)
    write_minutes(path.stem, words)
    return seconds


def main(wanted: list) -> int:
    only_expand = "--expand" in wanted
    wanted = [number for number in wanted if number != "--expand"]
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in the tests
    paths = [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if not wanted or p.name.startswith(tuple(wanted))]
    if not paths:
        print(f"no notebook in notebooks/ begins with {' or '.join(wanted)}", file=sys.stderr)
        return 2
    if only_expand:
        for path in paths:
            save(expanded(path), path)
        return 0
    with begin_with(FORGET_WHAT_THE_READER_HAS_DONE):
        for path in paths:
            print(f"{path.name} …", end=" ", flush=True)
            print(f"{run(path):.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
