"""Turn notebooks into an nbgrader course: `make course`, or `make course NB="01 06"`, writes runs/course/.

In source/NN/ is the notebook as nbgrader wants it: the reader's cells, worth an exercise's difficulty in points, and
after each a locked check. What students see of a check comes from `recorded.json`; its hidden part judges with other
seeds when a notebook is graded. Outputs and the course's own versions of what is to be built are left out.
`--homework` keeps the exercises alone, with the imports that they need: it is graded in seconds.
"""

import argparse
import ast
import json
import pathlib
import shutil
import sys

import nbformat

from bigmodel_lib.exercises import engine
from bigmodel_lib.exercises.calls import call, cases_of
from bigmodel_lib.exercises.engine import Exercise
from bigmodel_lib.exercises.values import kind

ROOT = pathlib.Path(__file__).resolve().parents[2]
HIDDEN_SEED = 1000  # hidden tests draw their inputs from this seed on
EVERY = 4  # every fourth of the inputs that an exercise draws is recorded, and all that its task names
CONFIG = """from nbgrader.preprocessors import NbGraderPreprocessor


class ForgetCopies(NbGraderPreprocessor):
    # a copied cell is left with empty marks, which nbgrader 0.9.6 takes for those of an old version
    def preprocess_cell(self, cell, resources, cell_index):
        if cell.metadata.get("nbgrader") == {{}}:
            del cell.metadata["nbgrader"]
        return cell, resources


c = get_config()
c.CourseDirectory.course_id = "bigmodels"
c.CourseDirectory.root = {root!r}
c.ExecutePreprocessor.timeout = 300  # seconds for one cell; then the next is run
c.ExecutePreprocessor.interrupt_on_timeout = True
c.Autograde.sanitize_preprocessors.insert(2, ForgetCopies)
"""


class NotPlain(Exception):
    """A value that JSON can't hold."""


def encoded(value):
    """A value as JSON: arrays and tensors with their shape. Raises NotPlain for a model, a generator and the like."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [encoded(each) for each in value]
    if isinstance(value, tuple):
        return {"kind": "tuple", "content": [encoded(each) for each in value]}
    if isinstance(value, dict):
        return {"kind": "dict", "content": [[encoded(key), encoded(each)] for key, each in value.items()]}
    what = kind(value)
    if what not in ("array", "tensor") or what == "tensor" and value.requires_grad:
        raise NotPlain
    array = value.numpy() if what == "tensor" else value
    if array.dtype.kind not in "biuf":
        raise NotPlain
    return {"kind": what, "dtype": str(array.dtype), "shape": list(array.shape), "content": array.ravel().tolist()}


def recorded(exercise: Exercise) -> list[dict]:
    """Inputs and wanted results of an exercise; none where its results can't be compared number by number."""
    if not callable(exercise.answer) or exercise.check or exercise.view or exercise.changes or exercise.tolerance:
        return []
    found = []
    cases = cases_of(exercise)
    for case in [case for case in cases[::EVERY] if not case.name] + [case for case in cases if case.name]:
        outcome = call(exercise.answer, case)
        try:
            if outcome.error is None:
                found.append({"arguments": encoded(case.arguments), "wanted": encoded(plain(outcome.result))})
        except NotPlain:
            return []
    return found


def plain(result):
    """NumPy's own numbers as Python's."""
    return result.item() if hasattr(result, "item") and getattr(result, "ndim", 1) == 0 else result


def check_of(exercise: Exercise) -> str:
    """The code of a locked check, its hidden part for the teacher included.

    A cell that stopped has left no name behind: then the notebook goes on with ours, too. Its
    own names begin with an underscore, since the notebook's go on: 04 has a tokenizer called `words`.
    """
    ours = f', "{exercise.ours}"' if exercise.ours else ""
    go_on = f"{exercise.name} = " if exercise.ours else "_ = "
    return f"""_attempt = globals().get("{exercise.name}", ...)
{go_on}handed_in("{exercise.id}", _attempt{ours})
### BEGIN HIDDEN TESTS
import warnings as _warnings

from bigmodel_lib.exercises import engine as _engine

_warnings.simplefilter("ignore")  # nbgrader takes a warning for an error
_verdict, _words = _engine.judge("{exercise.id}", _attempt, first_seed={HIDDEN_SEED})
assert _verdict == "right", _words
### END HIDDEN TESTS"""


def marks(grade_id: str, **more) -> dict:
    """nbgrader's metadata of a cell."""
    return {
        "grade_id": grade_id,
        "schema_version": 3,
        "grade": False,
        "locked": False,
        "solution": False,
        "task": False,
        **more,
    }


def as_source(notebook: nbformat.NotebookNode, homework: bool) -> nbformat.NotebookNode:
    """The notebook with nbgrader's marks, without outputs and without what gives answers away."""
    builds = {e.ours.replace(":", ".") for e in (engine.find(i) for i in ids_of(notebook)) if e.ours}
    cells = [nbformat.v4.new_code_cell("from course_checks import handed_in", id="course-checks")]
    if homework:
        cells.append(nbformat.v4.new_code_cell(imports_of(notebook), id="imports"))
    for cell in notebook.cells:
        exercise_id, part = cell.metadata.get("exercise"), cell.metadata.get("part")
        shown = {f"bigmodel_lib.{name}" for name in str(cell.metadata.get("source", "")).split()}
        if shown & builds or homework and not exercise_id:
            continue
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if part == "stub":
            cell.metadata["nbgrader"] = marks(exercise_id, solution=True)
        elif part == "check":
            exercise = engine.find(exercise_id)
            cell.source = check_of(exercise)
            cell.metadata["nbgrader"] = marks(
                f"check-{exercise_id}", grade=True, locked=True, points=exercise.difficulty
            )
        cells.append(cell)
    notebook.cells = cells
    return notebook


def ids_of(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.metadata["exercise"] for cell in notebook.cells if cell.metadata.get("part") == "stub"]


def imports_of(notebook: nbformat.NotebookNode) -> str:
    """All imports of a notebook, each once."""
    lines: dict[str, None] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            nodes = ast.parse("\n".join(line for line in cell.source.splitlines() if line[:1] not in "%!")).body
            lines |= dict.fromkeys(
                ast.unparse(node) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))
            )
    return "\n".join(lines)


def build(folder: pathlib.Path, numbers: list[str], homework: bool) -> list[str]:
    """Write the course; returns a line for each notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nbgrader_config.py").write_text(CONFIG.format(root=str(folder)), encoding="utf-8")
    said = []
    for number in numbers:
        path = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
        notebook = nbformat.read(path, as_version=4)
        exercises = [engine.find(exercise_id) for exercise_id in ids_of(notebook)]
        source = folder / "source" / number
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        nbformat.write(as_source(notebook, homework), source / path.name)
        known = {exercise.id: cases for exercise in exercises if (cases := recorded(exercise))}
        (source / "recorded.json").write_text(json.dumps(known), encoding="utf-8")
        shutil.copy(pathlib.Path(__file__).with_name("course_checks.py"), source)
        points = sum(exercise.difficulty for exercise in exercises)
        said.append(f"{number}: {len(exercises)} exercises, {points} points, {len(known)} with recorded checks")
    return said


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make course", description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", help="notebooks, such as 01 04b; without any, all that have exercises")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "course")
    parser.add_argument("--homework", action="store_true", help="the exercises alone")
    options = parser.parse_args(arguments)
    known = [number for number in engine.record.notebooks() if any((ROOT / "notebooks").glob(f"{number}_*.ipynb"))]
    unknown = [number for number in options.numbers if number not in known]
    if unknown:
        print(f"{' '.join(unknown)}: no notebook with exercises; there are {', '.join(known)}", file=sys.stderr)
        return 2
    print("\n".join(build(options.out.resolve(), options.numbers or known, options.homework)))
    print(
        f"the course is in {options.out}: cd there, then nbgrader generate_assignment {(options.numbers or known)[0]}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
