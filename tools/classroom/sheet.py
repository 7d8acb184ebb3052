"""Read a folder of students' notebooks, and write who solved what: `make class-sheet SUBMISSIONS=folder`.

Only the cells that answer exercises are run, each in a process of its own (see `limits`), with the imports and helper
functions of the other cells. It writes into runs/class_sheet/: sheet.csv (student, exercise, verdict, points, words,
remarks), and a heat map as heat_map.png and heat_map.html. Points are an exercise's difficulty, 1 to 3, for a right
answer. A folder of nbgrader's, such as runs/course/submitted, is read as well.
"""

import argparse
import ast
import collections
import csv
import functools
import html
import importlib
import os
import pathlib
import sys
import warnings
from collections.abc import Callable

from bigmodel_lib.exercises import engine
from bigmodel_lib.exercises.engine import Exercise
from tools.classroom import limits
from tools.classroom.submissions import (
    Attempt,
    NotANotebook,
    Submission,
    attempts,
    bound,
    parsed,
    remarks_on_edition,
    submissions,
    whole,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERDICTS = {  # what each looks like: colour (safe for the colour-blind), sign
    "right": ("#009E73", "●"),
    "not yet": ("#E69F00", "◐"),
    "not attempted": ("#DDDDDD", "○"),
    "missing": ("#BBBBBB", "–"),
    "stopped": ("#CC79A7", "■"),
    "older": ("#56B4E9", "◇"),
}
STYLE = "body{font-family:sans-serif} th{font-weight:normal;text-align:left} td{text-align:center;min-width:2em}"
COLUMNS = ("student", "notebook", "exercise", "verdict", "points", "words", "remarks")


def verdict_on(number: str, exercise_id: str, code: str, helpers: str) -> dict:
    """{verdict, words, remarks} of a cell's code. Runs it: call this under `limits.limited`.

    The functions of the notebook's other exercises are there as the course has them, so that one mistake counts once.
    """
    exercise = engine.find(exercise_id)
    space: dict = {"__name__": "__main__"}
    for other in engine.entries(number).values():
        if callable(other.answer):
            space[other.name] = other.answer
    ours, calls = watched(exercise)
    lacking: dict[str, str] = {}
    for statement in whole(helpers):
        try:
            exec(compile(ast.Module([statement], []), HELPERS, "exec"), space)  # noqa: S102
        except Exception:  # a helper that needs what isn't there
            if isinstance(statement, ast.ImportFrom):
                lacking |= {alias.asname or alias.name: str(statement.module) for alias in statement.names}
    space.pop(exercise.name, None)
    try:
        exec(compile(ast.Module(parsed(code), []) if parsed(code) else code, ANSWER, "exec"), space)  # noqa: S102
    except Exception as error:
        return {"verdict": "not yet", "words": f"the cell stopped with {type(error).__name__}: {error}"[:300]}
    name = exercise.name if exercise.name in space else (bound(code) or [""])[-1]
    given = space.get(name)
    verdict, words = engine.judge_entry(exercise, given)
    for each, module in lacking.items():
        if f"NameError: name '{each}'" in words:
            words = f"it imports `{each}` from {module}, which isn't there (any more). {words}"
    return {
        "verdict": verdict,
        "words": words if name == exercise.name else f"called `{name}` instead of `{exercise.name}`. {words}",
        "remarks": [f"runs the library's own `{ours.__name__}`"] if ours and (calls or given is ours) else [],
    }


HELPERS, ANSWER = "<notebook>", "<answer>"  # the file names of a student's code


def watched(exercise: Exercise) -> tuple[Callable | None, list]:
    """Let the library's version of what is to be built notice when a student's code calls it, under whatever name.

    Returns what stands in its place now, and a list that is no longer empty when it was called.
    """
    calls: list = []
    if not exercise.ours:
        return None, calls
    module, name = exercise.ours.split(":")
    original = getattr(importlib.import_module(module), name)

    @functools.wraps(original)
    def noticed(*arguments: object, **named: object) -> object:
        if sys._getframe(1).f_code.co_filename in (HELPERS, ANSWER):
            calls.append(name)
        return original(*arguments, **named)

    for loaded in [m for n, m in list(sys.modules.items()) if n.startswith("bigmodel_lib.") and m]:
        for key in [key for key, value in vars(loaded).items() if value is original]:
            setattr(loaded, key, noticed)
    return noticed, calls


def row_of(submission: Submission, attempt: Attempt, found: dict) -> dict:
    """One row of the sheet, from what a limited `verdict_on` gave."""
    if "stopped" in found or found.get("verdict") not in VERDICTS:
        found = {"verdict": "stopped", "words": str(found.get("stopped", "what came back can't be read"))}
    points = engine.find(attempt.id).difficulty if found["verdict"] == "right" else 0
    noticed = found.get("remarks")
    remarks = [*attempt.remarks, *map(str, noticed if isinstance(noticed, list) else ())]
    return {
        "student": printable(submission.student),
        "notebook": attempt.notebook,
        "exercise": attempt.id,
        "verdict": found["verdict"],
        "points": points,
        "words": printable(str(found.get("words", ""))),
        "remarks": printable("; ".join(remarks)),
    }


def printable(text: str) -> str:
    """A text that any file can hold, and that no spreadsheet takes for a formula."""
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text).encode("utf-8", "replace").decode()
    return f"'{plain}" if plain[:1] in "=+-@" and plain else plain


def grade(folder: pathlib.Path, workers: int, cpu_seconds: float = limits.CPU_SECONDS) -> tuple[list[dict], list[str]]:
    """(the rows, a line for each file that couldn't be read, or is of another edition)."""
    work: list[tuple[Submission, Attempt]] = []
    problems = []
    for found in submissions(folder):
        if isinstance(found, NotANotebook):
            problems.append(str(found))
        else:
            work += [(found, attempt) for attempt in attempts(found)]
            problems += remarks_on_edition(found)
    jobs = [(a.notebook, a.id, a.code, s.helpers) for s, a in work if not a.known]
    ran = iter(limits.all_limited(verdict_on, jobs, workers, cpu_seconds))
    return [row_of(s, a, a.known or next(ran)) for s, a in work], [printable(problem) for problem in problems]


def most_wrong(rows: list[dict]) -> list[str]:
    """A line for each exercise: how many have it right, and what most of the others heard."""
    lines = []
    for exercise_id in dict.fromkeys(row["exercise"] for row in rows):
        own = [row for row in rows if row["exercise"] == exercise_id]
        right = sum(row["verdict"] == "right" for row in own)
        heard = collections.Counter(row["words"] for row in own if row["verdict"] in ("not yet", "stopped"))
        often = f"; {heard.most_common(1)[0][1]} × {heard.most_common(1)[0][0][:110]}" if heard else ""
        lines.append(f"{exercise_id:22} {right:3} of {len(own)} right{often}")
    return lines


def write_csv(rows: list[dict], path: pathlib.Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def table_of(rows: list[dict]) -> tuple[list[str], list[str], dict]:
    """(students, exercises, {(student, exercise): row}), all in order; of two copies the better one counts."""
    cells: dict = {}
    for row in rows:
        place = (row["student"], row["exercise"])
        if place not in cells or row["points"] > cells[place]["points"]:
            cells[place] = row
    students = sorted({student for student, _ in cells})
    return students, list(dict.fromkeys(exercise for _, exercise in cells)), cells


def write_png(rows: list[dict], path: pathlib.Path) -> None:
    """Students down, exercises across, one coloured square each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    from bigmodel_lib.viz.attention import fonts_for

    students, exercises, cells = table_of(rows)
    names = list(VERDICTS)
    grid = [[names.index(cells.get((s, e), {"verdict": "missing"})["verdict"]) for e in exercises] for s in students]
    size = (2.5 + 0.5 * len(exercises), 2 + 0.26 * len(students))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.imshow(
        grid, cmap=ListedColormap([VERDICTS[n][0] for n in names]), vmin=-0.5, vmax=len(names) - 0.5, aspect="auto"
    )
    axes.set_xticks(range(len(exercises)), exercises, rotation=90, fontsize=9)
    axes.set_yticks(range(len(students)), students, fontsize=9, parse_math=False, fontfamily=fonts_for(students))
    for x, row in enumerate(grid):
        for y, place in enumerate(row):
            axes.text(y, x, VERDICTS[names[place]][1], ha="center", va="center", fontsize=9)
    right = sum(row["verdict"] == "right" for row in cells.values())
    axes.set_title(f"{right} of {len(cells)} right", fontsize=11, loc="left")
    figure.supxlabel("   ".join(f"{sign} {name}" for name, (_, sign) in VERDICTS.items()), fontsize=9)
    with warnings.catch_warnings(action="ignore"):  # `fonts_for` has said which characters show as boxes
        figure.savefig(path, dpi=110)
    plt.close(figure)


def write_html(rows: list[dict], path: pathlib.Path) -> None:
    """The same as a page of its own; the words are under the mouse."""
    students, exercises, cells = table_of(rows)
    head = "".join(f"<th>{html.escape(e)}</th>" for e in exercises)
    body = []
    for student in students:
        squares = []
        for exercise in exercises:
            row = cells.get((student, exercise), {"verdict": "missing", "words": "", "remarks": ""})
            colour, sign = VERDICTS[row["verdict"]]
            words = html.escape(" · ".join(filter(None, (row["verdict"], row["words"], row["remarks"]))), quote=True)
            mark = sign + ("!" if row["remarks"] else "")
            squares.append(f'<td style="background:{colour}" title="{words}">{mark}</td>')
        points = sum(cells[student, e]["points"] for e in exercises if (student, e) in cells)
        body.append(f"<tr><th>{html.escape(student)}</th>{''.join(squares)}<td>{points}</td></tr>")
    page = f"<!doctype html><meta charset=utf-8><title>Class sheet</title><style>{STYLE}</style>"
    page += f"<table><tr><th></th>{head}<th>points</th></tr>"
    path.write_text(page + "\n".join(body) + "</table>\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make class-sheet", description=__doc__.splitlines()[0])
    parser.add_argument(
        "submissions", type=pathlib.Path, help="a folder with a folder (or a notebook) for each student"
    )
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "class_sheet")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many answers are checked at once")
    parser.add_argument("--seconds", type=float, default=limits.CPU_SECONDS, help="of computing, for one answer")
    options = parser.parse_args(arguments)
    if not options.submissions.is_dir():
        print(f"{options.submissions}: a folder of notebooks was wanted, there is none", file=sys.stderr)
        return 2
    for missing in limits.not_enforced():
        print(f"not limited on this system: {missing}")
    import torch

    torch.set_num_threads(1)
    rows, problems = grade(options.submissions.resolve(), options.workers, options.seconds)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not rows:
        print(f"{options.submissions}: no notebook of the course was found", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(rows, options.out / "sheet.csv")
    write_png(rows, options.out / "heat_map.png")
    write_html(rows, options.out / "heat_map.html")
    print("\n".join(most_wrong(rows)))
    looked = [row for row in rows if row["remarks"]]
    for row in looked:
        print(f"look at {row['student']}, {row['exercise']}: {row['remarks']}")
    print(f"{len({row['student'] for row in rows})} students, {len(rows)} answers; the sheet is in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
