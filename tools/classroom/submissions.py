"""Read students' notebooks: which cell answers which exercise, and what in it is to be looked at by a person.

A cell is known by the id that the course gave it, which survives renaming and moving; where a cell was copied or has
lost its id, by the check that follows it. Notebooks of the first edition are known by the ids of theirs that are gone.
"""

import ast
import dataclasses
import functools
import inspect
import json
import os
import pathlib
import re
import stat
import textwrap
import warnings
from collections.abc import Iterator

from bigmodel_lib.exercises import engine
from bigmodel_lib.exercises.engine import Exercise
from tools.classroom import older

CHECK = re.compile(r"(?:check|yours_or_ours|handed_in)\(\s*[\"'](?P<id>[\w-]+)[\"']")
TEACHERS = "bigmodel_lib.exercises"  # where answers are
STUDENTS = {"check", "compare", "example", "predict", "progress", "yours_or_ours"}  # what a notebook takes from there
DEEP = {  # no exercise needs these
    "builtins", "ctypes", "gc", "importlib", "inspect", "multiprocessing", "os", "posix", "socket", "subprocess", "sys",
}  # fmt: skip
LARGEST = 32 * 2**20  # bytes of a notebook; the course's largest has one
LONGEST = 20_000  # characters of a cell that is read as code
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


class NotANotebook(Exception):
    """A file that can't be read as one; its text is the line to print."""


@dataclasses.dataclass
class Attempt:
    """A student's answer to one exercise: the code of its cell, remarks on it, and the verdict where none must run."""

    id: str
    notebook: str
    code: str = ""
    remarks: list[str] = dataclasses.field(default_factory=list)
    known: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Submission:
    """One student's copy of one notebook."""

    student: str
    path: pathlib.Path
    number: str
    cells: list[dict]

    @functools.cached_property
    def helpers(self) -> str:
        """The imports, functions and classes of all cells that no exercise owns: an answer may call them."""
        kept = []
        for cell in self.cells:
            if not exercise_of(cell):
                kept += [unparsed(node) for node in parsed(cell["code"]) if isinstance(node, KEPT)]
        return "\n".join(kept)

    @functools.cached_property
    def ids(self) -> list[str]:
        """The ids of all exercises that it has a cell of."""
        return ids_in(self.cells)

    @property
    def of_first_edition(self) -> bool:
        return any(each in older.DROPPED for each in self.ids)


@functools.lru_cache(maxsize=4096)
def parsed(code: str) -> list[ast.stmt]:
    """The statements of a cell, without lines that only IPython reads; none where they can't be parsed."""
    if len(code) > LONGEST:
        return []
    plain = "\n".join("" if re.match(r"\s*[%!]", line) else line for line in code.splitlines())
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(textwrap.dedent(plain)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def unparsed(node: ast.stmt) -> str:
    """A statement's code; "" for what is nested too deep."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return ""


def exercise_of(cell: dict) -> str:
    """The id of the exercise that owns a cell; "" where none does."""
    if cell["metadata"].get("exercise"):
        return str(cell["metadata"]["exercise"])
    found = re.fullmatch(r"exercise-(.+)-(?:task|stub|check)", cell["id"])
    return found[1] if found else ""


def ids_in(cells: list[dict]) -> list[str]:
    """The ids of exercises that own cells or are checked in one, each once."""
    owned = [exercise_of(cell) for cell in cells]
    checked = [found for cell in cells for found in CHECK.findall(cell["code"][:LONGEST])]
    return list(dict.fromkeys(filter(None, owned + checked)))


def read_notebook(path: pathlib.Path) -> list[dict]:
    """The cells of a notebook: {id, metadata, code}; of text, no code. Raises NotANotebook."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NotANotebook(f"{path}: not a file")
        if status.st_size > LARGEST:
            large = f"{status.st_size / 2**20:.0f} MB, more than {LARGEST // 2**20}"
            raise NotANotebook(f"{path}: {large}; with its outputs cleared it would be small")
        content = json.loads(path.read_text(encoding="utf-8"))
        return [
            {
                "id": str(cell.get("id", "")),
                "metadata": dict(cell.get("metadata") or {}),
                "code": "".join(cell["source"]) if cell["cell_type"] == "code" else "",
            }
            for cell in content["cells"]
        ]
    except OSError as error:
        raise NotANotebook(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        raise NotANotebook(f"{path}: not a notebook") from None


def number_of(path: pathlib.Path, cells: list[dict]) -> str:
    """Which notebook it is: the one that its name says, if it has exercises of it, or that of most of its exercises.

    Raises NotANotebook for one of no course.
    """
    ids = ids_in(cells)
    homes = [home for home in (notebook_with(each) or older_home(each) for each in ids) if home]
    named = re.match(r"(\d\d[b-d]?)_", path.name)
    if named and (named[1] in homes or not ids and named[1] in engine.record.notebooks()):
        return named[1]
    if homes:
        return max(sorted(set(homes)), key=homes.count)
    unknown = f" ({', '.join(ids)[:80]})" if ids else ""
    raise NotANotebook(f"{path}: no exercise of the course is in it{unknown}")


@functools.cache
def notebook_with(exercise_id: str) -> str:
    """The notebook that an exercise stands in; "" for an id that the course hasn't."""
    return next((n for n in reversed(engine.record.notebooks()) if exercise_id in engine.entries(n)), "")


def older_home(exercise_id: str) -> str:
    """The notebook in which an exercise stood that is gone."""
    return exercise_id.split("-")[0] if exercise_id in older.DROPPED else ""


def submissions(folder: pathlib.Path) -> Iterator[Submission | NotANotebook]:
    """All notebooks below a folder, by student: the first folder below it, or else the file's own name."""
    closed: list[OSError] = []
    found: list[pathlib.Path] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        found += [pathlib.Path(place, name) for name in (*folders, *files) if name.endswith(".ipynb")]
        folders[:] = [name for name in folders if not name.startswith(".")]
    yield from (NotANotebook(f"{error.filename}: {error.strerror}") for error in closed)
    for path in sorted(path for path in found if not path.name.startswith(".")):
        try:
            cells = read_notebook(path)
            student = path.relative_to(folder).parts[0].removesuffix(".ipynb")
            yield Submission(student, path, number_of(path, cells), cells)
        except NotANotebook as problem:
            yield problem
    heard = {*found, *(pathlib.Path(error.filename) for error in closed)}
    for place in sorted(folder.iterdir() if folder not in heard else ()):
        if place.is_dir() and place.name[0] not in "._" and not any(place in (each, *each.parents) for each in heard):
            yield NotANotebook(f"{place}: no notebook in it")


def attempts(submission: Submission) -> list[Attempt]:
    """One for each exercise of the notebook, in the course's order, then what else of the course is in it."""
    own = engine.entries(submission.number)
    others = [each for each in submission.ids if each not in own]
    found = [attempt_at(engine.find(each), submission.number, submission) for each in own]
    found += [attempt_at(engine.find(e), notebook_with(e), submission) for e in others if notebook_with(e)]
    for gone in (each for each in others if each in older.DROPPED):
        known = {"verdict": "older", "words": older.words_on(gone)}
        found.append(Attempt(gone, submission.number, known=known))
    return found


def remarks_on_edition(submission: Submission) -> list[str]:
    """One line on a notebook of an older edition, and one on ids that no edition has."""
    lines = []
    own, ids = engine.entries(submission.number), submission.ids
    moved = [f"{each} (now in {notebook_with(each)})" for each in ids if each not in own and notebook_with(each)]
    if submission.of_first_edition or moved:
        stay = [each for each in ids if each in own and each not in older.CHANGED]
        changed = [each for each in ids if each in older.CHANGED]
        gone = [each for each in ids if each in older.DROPPED]
        parts = [("graded", stay + moved), ("changed since", changed), ("dropped since", gone)]
        said = "; ".join(f"{what}: {', '.join(each)}" for what, each in parts if each)
        edition = "the first edition" if submission.of_first_edition else "an older edition, or put together"
        lines.append(f"{submission.path}: of {edition}; {said}")
    unknown = [each for each in ids if not notebook_with(each) and each not in older.DROPPED]
    if unknown:
        lines.append(f"{submission.path}: not in the course, of any edition: {', '.join(unknown)[:200]}")
    return lines


def attempt_at(exercise: Exercise, number: str, submission: Submission) -> Attempt:
    """The cell that answers an exercise: of several, the last that isn't blank."""
    found = Attempt(exercise.id, number)
    own = answers_to(exercise, submission.cells)
    if submission.of_first_edition and exercise.id in older.CHANGED and exercise.id in submission.ids:
        found.known = {"verdict": "older", "words": older.words_on(exercise.id)}
        return found
    if not own:
        there = "the first edition, which this notebook is of, hadn't it" if submission.of_first_edition else ""
        why = there if there and exercise.id not in submission.ids else "it was deleted, or came with a later edition"
        found.known = {"verdict": "missing", "words": f"no cell answers it: {why}"}
        return found
    written = [code for code in own if code.strip() and "..." not in code and code.strip() != exercise.stub.strip()]
    found.code = (written or own)[-1]
    if len(written) > 1:
        found.remarks.append(f"{len(written)} cells answer it: the last one counts")
    if found.code.strip() in ("", exercise.stub.strip()):
        found.known = {"verdict": "not attempted", "words": ""}
    elif len(found.code) > LONGEST:
        words = f"its cell has {len(found.code):,} characters: no more than {LONGEST:,} are read"
        found.known = {"verdict": "not yet", "words": words}
    else:
        found.remarks += remarks_on(exercise, found.code, submission.helpers)
    return found


def answers_to(exercise: Exercise, cells: list[dict]) -> list[str]:
    """The code of all cells that answer an exercise: by their id, or else by the check after them."""
    parts = [cell for cell in cells if exercise_of(cell) == exercise.id and not is_text(cell)]
    own = [cell["code"] for cell in parts if not CHECK.search(cell["code"][:LONGEST])]
    if own:
        return own
    asked = [i for i, cell in enumerate(cells) if exercise.id in CHECK.findall(cell["code"][:LONGEST])]
    before = cells[: asked[-1] + 1] if asked else []
    return [cell["code"] for cell in before if exercise.name in bound(cell["code"])]


def is_text(cell: dict) -> bool:
    """Whether it holds an exercise's task, or a check without a call."""
    part = cell["metadata"].get("part") or cell["id"].rsplit("-", 1)[-1]
    return part in ("task", "check") and not cell["code"].strip()


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


def remarks_on(exercise: Exercise, code: str, helpers: str = "") -> list[str]:
    """What a person should look at: answers taken from the library, and what no exercise needs.

    Functions of other cells count as far as the answer names them. What shows only when the answer runs, such as a
    function of the library under another name, `sheet.verdict_on` notices.
    """
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
        if isinstance(node, ast.Name) and node.id in {"__import__", "eval", "exec", "globals"}:
            found.append(f"uses `{node.id}`")
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    called = [n for n in whole(helpers) if isinstance(n, ast.FunctionDef) and n.name in named]
    if callable(exercise.answer) and same_code(exercise, [*tree.body, *called]):
        found.append("is word for word an answer of the course")
    return sorted(set(found))


@functools.lru_cache(maxsize=8)
def whole(helpers: str) -> list[ast.stmt]:
    """The statements of a notebook's helpers, as long as they may be."""
    try:
        return ast.parse(helpers).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def same_code(exercise: Exercise, statements: list[ast.stmt]) -> bool:
    """Whether a function of at least five statements equals an answer of ours, whatever its names and comments."""
    theirs = {shape(node) for node in statements if isinstance(node, ast.FunctionDef)}
    return bool(theirs & shapes_of_ours(exercise.id))


@functools.cache
def shapes_of_ours(exercise_id: str) -> frozenset[str]:
    """Our answers to an exercise, without names, as far as they are long enough to be nobody's by chance."""
    exercise = engine.find(exercise_id)
    found = set()
    for answer in (exercise.answer, *exercise.another):
        try:
            ours = ast.parse(textwrap.dedent(inspect.getsource(answer))).body[0]
        except (OSError, TypeError, SyntaxError):
            continue
        if sum(isinstance(node, ast.stmt) for node in ast.walk(ours)) > 5:
            found.add(shape(ours))
    return frozenset(found - {""})


def shape(function: ast.stmt) -> str:
    """A function's code with its names numbered, without docstring and types; "" for what is nested too deep."""
    if not isinstance(function, ast.FunctionDef):
        return ""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    numbers: dict[str, str] = {argument.arg: f"v{i}" for i, argument in enumerate(function.args.args)}
    lines = []
    try:
        for node in body:
            node = ast.parse(ast.unparse(node))
            for part in ast.walk(node):
                if isinstance(part, ast.Name):
                    part.id = numbers.setdefault(part.id, f"v{len(numbers)}")
            lines.append(ast.dump(node))
    except (RecursionError, MemoryError):
        return ""
    return "\n".join(lines)
