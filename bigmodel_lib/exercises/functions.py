"""Judge a function: run it on many inputs beside the model answer, and name a cause only if it has been verified.

A cause is verified by running the mistake: an entry's `wrong` functions are tried on the same inputs, and if one of
them gives what the reader's gives, its words are the diagnosis. Otherwise the message shows what differs, on the
smallest input where something does.
"""

import ast
import copy
import dataclasses
import dis
import inspect
import textwrap
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bigmodel_lib.exercises.values import Gives, difference, floats, in_words, is_tensor, kind, short, tolerance_for
from bigmodel_lib.exercises.watching import TooLong, as_raised, readers_line, silence, time_limit

if TYPE_CHECKING:
    from bigmodel_lib.exercises.engine import Exercise

TRIES = 24


class Blank(Exception):
    """The attempt still holds `...`."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One input: its arguments, and its name if the task names it, or else the seed it was drawn with."""

    arguments: tuple
    name: str = ""
    seed: int | None = None

    @property
    def size(self) -> int:
        return sum(_size(argument) for argument in self.arguments)


@dataclasses.dataclass
class Outcome:
    """What a call left behind."""

    result: Any = None
    after: tuple = ()  # the arguments that it may change
    changed: tuple[int, ...] = ()  # the places of those that it may not, and has
    gradients: tuple = ()  # of the arguments that require one
    error: BaseException | None = None
    printed: bool = False


def _size(value: Any) -> int:
    """How many numbers or letters a value holds."""
    if kind(value) in ("array", "tensor"):
        return int(np.prod(value.shape)) + value.ndim
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return 1 + sum(_size(each) for each in value)
    return len(value) if isinstance(value, str) else 1


def drawn(exercise: "Exercise", seed: int) -> Case:
    """The generated input of a seed."""
    assert exercise.inputs is not None
    rng = np.random.default_rng([zlib.crc32(exercise.id.encode()), seed])
    return Case(tuple(exercise.inputs(rng)), seed=seed)


def cases_of(exercise: "Exercise") -> list[Case]:
    """The generated inputs, the smallest first, then those that the task names, in their order."""
    generated = [drawn(exercise, seed) for seed in range(TRIES)] if exercise.inputs else []
    named = [Case(tuple(arguments), name=name) for name, *arguments in exercise.special]
    return sorted(generated, key=lambda case: case.size) + named


# One call


def call(function: Callable, case: Case, changes: Sequence[int] = ()) -> Outcome:
    """Call a function with a copy of a case's arguments. Raises Blank if it comes upon `...`."""
    arguments = copy.deepcopy(case.arguments)
    with silence() as said, np.errstate(all="ignore"):
        try:
            result = function(*arguments)
        except Exception as error:
            if "ellipsis" in str(error):
                raise Blank from None
            return Outcome(error=error)
    if _holds_blank(result):
        raise Blank
    return Outcome(
        result=result,
        after=tuple(arguments[i] for i in changes),
        changed=tuple(
            i for i in range(len(arguments)) if i not in changes and _altered(arguments[i], case.arguments[i])
        ),
        gradients=_gradients(result, arguments),
        printed=bool(said.getvalue()),
    )


def _holds_blank(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return value is ... or isinstance(value, (list, tuple)) and any(_holds_blank(each) for each in value)


def _altered(now: Any, before: Any) -> bool:
    """Whether an argument has been changed in place."""
    what = kind(before)
    if what in ("array", "tensor"):
        return now.shape != before.shape or not np.array_equal(floats(now), floats(before), equal_nan=True)
    if what == "dict":
        return now.keys() != before.keys() or any(_altered(now[name], before[name]) for name in before)
    if what == "list":
        return len(now) != len(before) or any(_altered(*pair) for pair in zip(now, before, strict=True))
    return what in ("set", "text", "number") and now != before and now == now


def _gradients(result: Any, arguments: tuple) -> tuple:
    """The gradients of the arguments that require one, for a fixed upstream gradient of the whole result."""
    leaves = [x for x in arguments if is_tensor(x) and x.requires_grad]
    results = [
        r for r in (result if isinstance(result, (list, tuple)) else (result,)) if is_tensor(r) and r.requires_grad
    ]
    if not leaves or not results:
        return ()
    import torch

    upstream = [torch.linspace(0.5, 1.5, r.numel(), dtype=r.dtype).view(r.shape) for r in results]
    return torch.autograd.grad(results, leaves, upstream, allow_unused=True)


# Right or not


def what_differs(given: Outcome, wanted: Outcome, case: Case, exercise: "Exercise") -> str | None:
    """What is not right about a call, in words; None if all is."""
    if given.error is not None:
        return "" if wanted.error is None else None
    if wanted.error is not None:
        return f"{type(wanted.error).__name__} was wanted, yours gives {in_words(given.result)}"
    if given.result is None and wanted.result is not None:
        does = "it prints something and gives back None" if given.printed else "your function gives None"
        return f"{does}; every way through it needs a `return`"
    return (
        _compare(given.result, wanted.result, case, exercise.tolerance, exercise.gives)
        or _differing_after(given, wanted, case, exercise)
        or _differing_gradient(given, wanted, case)
    )


def _compare(given: Any, wanted: Any, case: Case, absolute: float | None, gives: Gives) -> str | None:
    try:
        tolerance = tolerance_for(given, wanted, case.arguments, absolute)
    except (TypeError, ValueError):
        tolerance = tolerance_for(0.0, wanted, case.arguments, absolute)
    return difference(given, wanted, tolerance, gives)


def _differing_after(given: Outcome, wanted: Outcome, case: Case, exercise: "Exercise") -> str | None:
    names = names_of(exercise)
    for place, now, right in zip(exercise.changes, given.after, wanted.after, strict=True):
        words = _compare(now, right, case, exercise.tolerance, Gives())
        if words and not _altered(now, case.arguments[place]):
            return f"`{names[place]}` is as before: it is to be changed in place"
        if words:
            return f"`{names[place]}` afterwards: {words}"
    return None


def _differing_gradient(given: Outcome, wanted: Outcome, case: Case) -> str | None:
    for mine, right in zip(given.gradients, wanted.gradients, strict=False):
        if right is None:
            continue
        if mine is None:
            return "the value is right, but no gradient reaches one of the inputs: something cuts it off on the way"
        words = _compare(mine, right, case, None, Gives())
        if words:
            return f"the value is right, its gradient is not ({words}): part of it is cut off or detached on the way"
    return None


def agree(one: Outcome, other: Outcome, case: Case, exercise: "Exercise") -> bool:
    """Whether two calls left the same behind: the same error, or the same kind of thing with the same numbers."""
    if one.error is not None or other.error is not None:
        return type(one.error) is type(other.error)
    if kind(one.result) != kind(other.result):
        return False
    pairs = [(one.result, other.result), *zip(one.after, other.after, strict=True)]
    if any(_compare(mine, its, case, exercise.tolerance, Gives()) for mine, its in pairs):
        return False
    return _differing_gradient(one, other, case) is None and _differing_gradient(other, one, case) is None


# What to say


def names_of(exercise: "Exercise") -> list[str]:
    """The names of the function's arguments, as the stub has them."""
    for node in ast.walk(ast.parse(exercise.stub.strip())):
        if isinstance(node, ast.FunctionDef) and node.name == exercise.name:
            return [argument.arg for argument in node.args.args]
    return []


def described(exercise: "Exercise", case: Case) -> str:
    """A case's arguments in a line: small ones as they are, large ones by their shape."""
    names = names_of(exercise)
    parts = []
    for place, value in enumerate(case.arguments):
        name = names[place] if place < len(names) else f"argument {place + 1}"
        shown = _shown(value)
        if shown:
            parts.append(f"{name} {shown}")
    return ", ".join(parts)


def _shown(value: Any) -> str:
    what = kind(value)
    if what in ("array", "tensor"):
        small = np.prod(value.shape) <= 6
        return f"= {_nested(floats(value))}" if small else f"of shape {tuple(value.shape)}"
    if what == "number":
        return f"= {short(value)}"
    if what == "list" and any(kind(each) in ("array", "tensor") for each in value):
        small = _size(value) <= 12
        members = [
            _shown(each).removeprefix("= ") if small else f"{kind(each)} {tuple(np.shape(each))}" for each in value
        ]
        return f"= ({', '.join(members)})"
    text = repr(value)
    if what in ("text", "list", "dict", "set", "None", "truth"):
        return f"= {text}" if len(text) <= 70 else f"({in_words(value)})"
    return ""


def _nested(array: np.ndarray) -> str:
    if array.ndim == 0:
        return short(float(array))
    return "[" + ", ".join(_nested(row) for row in array) + "]"


def cause(trial: "Trial", exercise: "Exercise") -> Any:
    """The words of the mistake that gives what the reader's function gives; None if no known one does.

    It must agree, and fail, wherever the first kind of input that fails comes up: on all generated ones, or on one
    named one. Of several that do, the one that agrees on most inputs.
    """
    first = trial.cases[min(trial.failing)].name
    group = {i for i, case in enumerate(trial.cases) if case.name == first}
    best, words = 0, None
    for function, said in (*exercise.partial, *exercise.wrong):
        if callable(function):
            agreeing = _agreeing(function, trial, exercise)
            if group <= agreeing and len(agreeing) > best:
                best, words = len(agreeing), said
    return words


def _agreeing(function: Callable, trial: "Trial", exercise: "Exercise") -> set[int]:
    """The cases on which a mistake gives what the reader's function gives, right or wrong."""
    found = set()
    for i, case in enumerate(trial.cases):
        theirs = call(function, case, exercise.changes)
        fails = what_differs(theirs, trial.wanted[i], case, exercise) is not None
        if fails == (i in trial.failing) and agree(trial.given[i], theirs, case, exercise):
            found.add(i)
    return found


def unused(attempt: Callable, answer: Callable) -> list[str]:
    """The attempt's arguments that it never reads, though the model answer reads its own at that place."""
    mine, ours = _reads(attempt), _reads(answer)
    return [name for (name, read), (_, needed) in zip(mine, ours, strict=False) if needed and not read]


def _reads(function: Callable) -> list[tuple[str, bool]]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return []
    read: set = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("LOAD"):
            value = instruction.argval
            read.update(value if isinstance(value, tuple) else (value,))
    return [(name, name in read) for name in code.co_varnames[: code.co_argcount]]


def blank_line(function: Callable) -> str:
    """The line of a function's source that still holds a `...` to be replaced; "" if there is none, or no source."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError, ValueError):
        return ""
    index = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Subscript) for part in ast.walk(node.slice)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value is ... and id(node) not in index:
            return source.splitlines()[node.lineno - 1].strip()
    return ""


# The verdict


@dataclasses.dataclass
class Trial:
    """All calls of one attempt, beside those of the model answer."""

    cases: list[Case]
    wanted: list[Outcome]
    given: list[Outcome]
    failing: dict[int, str]  # {place of a case: what differs}


def judge_function(exercise: "Exercise", attempt: Any) -> tuple[str, str]:
    """(verdict, words) on a function. Raises Blank if nothing has been written."""
    if not callable(attempt):
        return "not yet", f"a function `{exercise.name}` was wanted, {in_words(attempt)} was given"
    cases = cases_of(exercise)
    wanted = [call(exercise.answer, case, exercise.changes) for case in cases]
    outside = _outside(attempt)
    given: list[Outcome] = []
    try:
        with time_limit(exercise.seconds):
            for case in cases:
                given.append(call(attempt, case, exercise.changes))
    except TooLong as error:
        return "not yet", _endless(exercise, attempt, cases[len(given)], error)
    found = [what_differs(given[i], wanted[i], case, exercise) for i, case in enumerate(cases)]
    trial = Trial(cases, wanted, given, {i: words for i, words in enumerate(found) if words is not None})
    if trial.failing:
        left = blank_line(attempt)
        if left:
            return "not attempted", f"replace the ... in `{left}` and run both cells"
        return "not yet", _diagnosis(exercise, attempt, trial)
    spoiled = _spoiled(exercise, given, outside)
    return ("not yet", spoiled) if spoiled else ("right", exercise.right)


def _outside(function: Callable) -> list[tuple[str, Any, Any]]:
    """(name, value, copy of it) of the arrays and tensors outside that a function reads."""
    code, space = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    named = [(name, space[name]) for name in getattr(code, "co_names", ()) if name in space]
    shared = [(name, value) for name, value in named if kind(value) in ("array", "tensor")]
    return [(name, value, value.copy() if kind(value) == "array" else value.detach().clone()) for name, value in shared]


def _spoiled(exercise: "Exercise", given: list[Outcome], outside: list[tuple[str, Any, Any]]) -> str:
    """What to say if the results are right, but something else was changed: an argument, or an array outside."""
    places = sorted({place for outcome in given for place in outcome.changed})
    names = [names_of(exercise)[place] for place in places]
    if names:
        return (
            f"the result is right, but your function changes `{names[0]}` in place, and whoever calls it still needs "
            "that: work on a copy, or write x = x + … rather than x += …"
        )
    for name, value, before in outside:
        if _altered(value, before):
            return f"the result is right, but your function changes `{name}`, which is defined outside it"
    return ""


def _endless(exercise: "Exercise", attempt: Callable, case: Case, error: BaseException) -> str:
    """What to say when time is up, and where it was."""
    where, given = readers_line(error, attempt), described(exercise, case)
    at = f", in {where}" if where else ""
    said = f"it was still running after {exercise.seconds:g} seconds{at}: is there a loop that never ends?"
    return f"{said}\n  for {given}" if given else said


def _diagnosis(exercise: "Exercise", attempt: Callable, trial: Trial) -> str:
    """The verified cause, or what differs on the smallest input that fails."""
    first = min(trial.failing)
    given, case = trial.given[first], trial.cases[first]
    stopped = f"it stopped with {as_raised(given.error, attempt)}" if given.error else ""
    words = cause(trial, exercise)
    if callable(words):
        words = words(case.arguments, given.result, trial.wanted[first].result)
    if words:
        return f"{words} ({stopped})" if stopped else words
    never = unused(attempt, exercise.answer)
    note = f"; it never uses its argument `{never[0]}`" if never and given.result is not None else ""
    which = f'"{case.name}"' if case.name else case.seed
    return f"{_ordinary(exercise, case)}{stopped or trial.failing[first]}{note}\n{_input(exercise, case, which)}"


def _ordinary(exercise: "Exercise", case: Case) -> str:
    """Credit where only a case that the task names goes wrong."""
    credit = "ordinary inputs come out right; " if exercise.inputs else ""
    return f"{credit}{case.name}: " if case.name else ""


def _input(exercise: "Exercise", case: Case, which: object) -> str:
    """The input that fails, and how to get it."""
    given = described(exercise, case)
    return f'  for {given}\n  (to look at it: example("{exercise.id}", {which}))' if given else ""
