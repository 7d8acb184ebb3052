"""Read students' notebooks: which cell answers which exercise, and what in it is to be looked at by a person.

A cell is known by the id that the course gave it, which survives renaming and moving; in notebooks of an older edition,
or where a cell was copied, by the check that follows it.
"""

import ast
import dataclasses
import json
import pathlib
import re
import textwrap
from collections.abc import Iterator

from bigmodel_lib.exercises import engine
from bigmodel_lib.exercises.engine import Exercise

CHECK = re.compile(r"(?:check|yours_or_ours)\(\s*[\"'](?P<id>[\w-]+)[\"']")
TEACHERS = "bigmodel_lib.exercises"  # where answers are
STUDENTS = {"check", "compare", "example", "predict", "progress", "yours_or_ours"}  # what a notebook takes from there
DEEP = {"ctypes", "gc", "inspect", "os", "subprocess", "sys", "importlib", "builtins"}  # no exercise needs these


class NotANotebook(Exception):
    """A file that can't be read as one; its text is the line to print."""


@dataclasses.dataclass
class Attempt:
    """A student's answer to one exercise: the code of its cell, and remarks on it."""

    exercise: Exercise
    code: str = ""
    remarks: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Submission:
    """One student's copy of one notebook."""

    student: str
    path: pathlib.Path
    number: str
    cells: list[dict]

    @property
    def helpers(self) -> str:
        """The imports, functions and classes of all cells that no exercise owns: an answer may call them."""
        kept = []
        for cell in self.cells:
            if not exercise_of(cell):
                kept += [ast.unparse(node) for node in parsed(cell["code"]) if isinstance(node, KEPT)]
        return "\n".join(kept)


KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def parsed(code: str) -> list[ast.stmt]:
    """The statements of a cell, without lines that only IPython reads; none where they can't be parsed."""
    plain = "\n".join("" if re.match(r"\s*[%!]", line) else line for line in code.splitlines())
    try:
        return ast.parse(textwrap.dedent(plain)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def exercise_of(cell: dict) -> str:
    """The id of the exercise that owns a cell; "" where none does."""
    if cell["metadata"].get("exercise"):
        return str(cell["metadata"]["exercise"])
    found = re.fullmatch(r"exercise-(.+)-(?:stub|check)", cell["id"])
    return found[1] if found else ""


def read_notebook(path: pathlib.Path) -> list[dict]:
    """The code cells of a notebook: {id, metadata, code}. Raises NotANotebook."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        return [
            {"id": str(cell.get("id", "")), "metadata": cell.get("metadata") or {}, "code": "".join(cell["source"])}
            for cell in cells
        ]
    except OSError as error:
        raise NotANotebook(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotANotebook(f"{path}: not a notebook") from None


def number_of(path: pathlib.Path, cells: list[dict]) -> str:
    """Which notebook it is, by most of its exercises, or by its name. Raises NotANotebook for one of no course."""
    ids = [exercise_of(cell) for cell in cells] + [m["id"] for cell in cells for m in CHECK.finditer(cell["code"])]
    homes = [home for home in map(notebook_with, ids) if home]
    if homes:
        return max(sorted(set(homes)), key=homes.count)
    named = re.match(r"(\d\d[b-d]?)_", path.name)
    if named and named[1] in engine.record.notebooks():
        return named[1]
    raise NotANotebook(f"{path}: no exercise of the course is in it")


def notebook_with(exercise_id: str) -> str:
    """The notebook that an exercise stands in; "" for an id that the course hasn't."""
    return next((n for n in engine.record.notebooks() if exercise_id in engine.entries(n)), "")


def submissions(folder: pathlib.Path) -> Iterator[Submission | NotANotebook]:
    """All notebooks below a folder, by student: the first folder below it, or else the file's own name."""
    for path in sorted(folder.rglob("*.ipynb")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        try:
            cells = read_notebook(path)
            yield Submission(inside.parts[0].removesuffix(".ipynb"), path, number_of(path, cells), cells)
        except NotANotebook as problem:
            yield problem


def attempts(submission: Submission) -> list[Attempt]:
    """One for each exercise of the notebook, in the course's order."""
    return [attempt_at(exercise, submission.cells) for exercise in engine.entries(submission.number).values()]


def attempt_at(exercise: Exercise, cells: list[dict]) -> Attempt:
    """The cell that answers an exercise: of several, the last that isn't blank."""
    own = [cell["code"] for cell in cells if exercise_of(cell) == exercise.id and not CHECK.search(cell["code"])]
    if not own:
        asked = [i for i, cell in enumerate(cells) if exercise.id in CHECK.findall(cell["code"])]
        before = cells[: asked[-1] + 1] if asked else []
        own = [cell["code"] for cell in before if exercise.name in bound(cell["code"])]
    found = Attempt(exercise)
    if not own:
        found.remarks.append("no cell answers it: it was deleted, or the notebook is of another edition")
        return found
    written = [code for code in own if code.strip() and "..." not in code and code.strip() != exercise.stub.strip()]
    found.code = (written or own)[-1]
    if len(written) > 1:
        found.remarks.append(f"{len(written)} cells answer it: the last one counts")
    found.remarks += remarks_on(exercise, found.code)
    return found


def bound(code: str) -> list[str]:
    """The names that a cell defines."""
    names = []
    for node in parsed(code):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names += [
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            ]
    return names


def remarks_on(exercise: Exercise, code: str) -> list[str]:
    """What a person should look at: answers taken from the library, and what no exercise needs."""
    found = []
    tree = ast.Module(parsed(code), [])
    ours = exercise.ours or ""
    for node in ast.walk(tree):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        names = {alias.name for alias in node.names} if isinstance(node, (ast.Import, ast.ImportFrom)) else set()
        if module.startswith(TEACHERS) and not names <= STUDENTS or any(n.startswith(TEACHERS) for n in names):
            found.append(f"imports from {TEACHERS}, where the answers are")
        if ours and f"{module}:{exercise.name}" == ours or module and f"{module}:{ours.split(':')[-1]}" == ours:
            found.append(f"imports the library's own `{ours.split(':')[-1]}`")
        deep = DEEP & ({module.split(".")[0]} | {name.split(".")[0] for name in names})
        found += [f"imports {name}, which the exercise doesn't need" for name in sorted(deep)]
        if (
            isinstance(node, ast.Attribute)
            and ours
            and node.attr == ours.split(":")[-1]
            and exercise.name in bound(code)
        ):
            found.append(f"calls something named `{node.attr}`: is it the library's own?")
        if isinstance(node, ast.Name) and node.id in {"__import__", "eval", "exec", "globals"}:
            found.append(f"uses `{node.id}`")
    if callable(exercise.answer) and same_code(exercise, tree):
        found.append("is word for word an answer of the course")
    return sorted(set(found))


def same_code(exercise: Exercise, tree: ast.Module) -> bool:
    """Whether a function of at least five statements equals an answer of ours, whatever its names and comments."""
    import inspect

    for answer in (exercise.answer, *exercise.another):
        try:
            ours = ast.parse(textwrap.dedent(inspect.getsource(answer))).body[0]
        except (OSError, TypeError, SyntaxError):
            continue
        long_enough = sum(isinstance(node, ast.stmt) for node in ast.walk(ours)) > 5
        theirs = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        if long_enough and any(shape(node) == shape(ours) for node in theirs):
            return True
    return False


def shape(function: ast.stmt) -> str:
    """A function's code with its names numbered, without docstring and types."""
    if not isinstance(function, ast.FunctionDef):
        return ""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    numbers: dict[str, str] = {argument.arg: f"v{i}" for i, argument in enumerate(function.args.args)}
    lines = []
    for node in body:
        node = ast.parse(ast.unparse(node))
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                part.id = numbers.setdefault(part.id, f"v{len(numbers)}")
        lines.append(ast.dump(node))
    return "\n".join(lines)
