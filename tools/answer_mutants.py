"""Do the exercises refuse what is almost right? `make mutants ONLY=exercises` breaks the model answers and counts.

cosmic-ray, its operators unchanged, lists every small change to a model answer (a function, without its docstring and
types); each is judged as a reader's attempt would be. Entries with a check of their own are left out: theirs has many
right answers. Equivalent mutants are listed in equivalent_answer_mutants.toml, with the reason.
"""

import ast
import collections
import dataclasses
import difflib
import inspect
import pathlib
import sys
import textwrap
import tomllib
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bigmodel_lib.exercises.engine import Exercise, entries, judge_entry
from bigmodel_lib.exercises.record import notebooks

EQUIVALENT = pathlib.Path(__file__).with_name("equivalent_answer_mutants.toml")
PATIENCE = 1.0  # seconds for all inputs of an exercise


class Change(NamedTuple):
    """One small change to a model answer: the lines before and after, and the whole text after."""

    before: str
    after: str
    text: str


def judged() -> list[Exercise]:
    """The entries whose answer is a function and that the engine judges by itself."""
    known = [exercise for number in notebooks() for exercise in entries(number).values()]
    return [exercise for exercise in known if callable(exercise.answer) and exercise.check is None]


def plain_source(function: Callable) -> str:
    """A function's source without docstring and types: what a reader might have written."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree) + "\n"


def changes(source: str) -> Iterator[Change]:
    """Every small change that cosmic-ray's operators make to a text, each text once."""
    from cosmic_ray.ast import get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    seen = {source}
    for name in sorted(operator_names()):
        if "Variable" in name:  # these want to be told which variable
            continue
        operator = get_operator(name)()
        for occurrence in range(len(list(_places(get_ast(source), operator)))):
            text = mutate_code(source, operator, occurrence)
            if text not in seen:
                seen.add(text)
                yield Change(*_lines_apart(source, text), text)


def _places(tree, operator) -> Iterator:
    from cosmic_ray.ast import ast_nodes

    for node in ast_nodes(tree):
        yield from operator.mutation_positions(node)


def _lines_apart(source: str, text: str) -> tuple[str, str]:
    lines = [line for line in difflib.ndiff(source.splitlines(), text.splitlines()) if line[0] in "-+"]
    before, after = (" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return before, after


def built(text: str, function: Callable) -> Callable | None:
    """The changed function, in the surroundings of the old one; None where Python refuses the text."""
    space = dict(function.__globals__)
    try:
        with warnings.catch_warnings(action="ignore"):  # of `is` beside a number
            exec(compile(text, "mutant", "exec"), space)  # noqa: S102  (the project's own text, changed by a tool)
    except Exception:
        return None
    return space[function.__name__]


def reasons() -> dict[tuple[str, str, str], str]:
    """{(id, before, after): why no input can tell it from the answer} of the mutants that are equivalent."""
    rows = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    return {(row["id"], row["before"], row["after"]): row["reason"] for row in rows}


def try_out(exercise: Exercise) -> list[tuple[Change, bool]]:
    """[(change, whether the exercise refuses it)] of one entry."""
    impatient = dataclasses.replace(exercise, seconds=PATIENCE)
    source = plain_source(exercise.answer)
    verdict, words = judge_entry(impatient, built(source, exercise.answer))
    if verdict != "right":  # whatever it refused then would prove nothing
        sys.exit(f"{exercise.id} does not take its own answer: {words}")
    found = []
    for change in changes(source):
        mutant = built(change.text, exercise.answer)
        if mutant is not None:
            found.append((change, judge_entry(impatient, mutant)[0] != "right"))
    return found


def main(only: str = "") -> int:
    """Print what the exercises accept that is no answer, and the score; `only` the ids that begin so."""
    excused, counts = reasons(), collections.Counter()
    for exercise in judged():
        if not exercise.id.startswith(only):
            continue
        for change, refused in try_out(exercise):
            equivalent = (exercise.id, change.before, change.after) in excused
            outcome = "refused" if refused else "equivalent" if equivalent else "accepted"
            counts[outcome] += 1
            if outcome == "accepted":
                print(f"{exercise.id}\n  - {change.before}\n  + {change.after}", flush=True)
    n = sum(counts.values())
    parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("refused", "accepted", "equivalent"))
    score = 100 * counts["refused"] / max(1, n - counts["equivalent"])
    print(f"{n} mutants of {len(judged())} model answers: {parts}; score {score:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
