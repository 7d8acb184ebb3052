"""Judge a function: run it on many inputs beside the model answer, and name a cause only if it has been verified.

A cause is verified by running the mistake: an entry's `wrong` functions are tried on the same inputs, and if one of
them gives what the reader's gives, its words are the diagnosis. Otherwise the message shows what differs, on the
smallest input where something does.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bigmodel_lib.exercises.calls import Case, Outcome, altered, call, cases_of
from bigmodel_lib.exercises.reading import arrays_outside, blank_line, names_of, unused
from bigmodel_lib.exercises.values import (
    PLAIN,
    Gives,
    Tolerance,
    difference,
    floats,
    in_words,
    kind,
    short,
    tolerance_for,
)
from bigmodel_lib.exercises.watching import TooLong, as_raised, readers_line, still_running, within

if TYPE_CHECKING:
    from bigmodel_lib.exercises.engine import Exercise


@dataclasses.dataclass
class Trial:
    """All calls of one attempt, beside those of the model answer."""

    cases: list[Case]
    wanted: list[Outcome]
    given: list[Outcome]
    failing: dict[int, str]  # {place of a case: what differs}


def what_differs(given: Outcome, wanted: Outcome, case: Case, exercise: "Exercise") -> str | None:
    """What is not right about a call, in words; None if all is."""
    if wanted.error is not None and given.error is None:
        return f"{type(wanted.error).__name__} was wanted, yours gives {in_words(given.result)}"
    if given.error is not None:
        return None if type(given.error) is type(wanted.error) else ""  # the error itself is shown
    if given.result is None and wanted.result is not None:
        does = "it prints something and gives back None" if given.printed else "your function gives None"
        return f"{does}; every way through it needs a `return`"
    return (
        _results_differ(given.result, wanted.result, case, exercise)
        or _differing_after(given, wanted, case, exercise)
        or (None if given.changed else _differing_gradient(given, wanted, case))  # what was changed has none of its own
    )


def _results_differ(
    given: Any, wanted: Any, case: Case, exercise: "Exercise", gives: Gives | None = None
) -> str | None:
    """What differs between two results, or between what the entry's `view` sees of them."""
    gives = exercise.gives if gives is None else gives
    if exercise.view is None:
        return _compare(given, wanted, case, exercise.tolerance, gives)
    words = difference(given, wanted, None, gives)
    if words:
        return words
    mine, right = (exercise.view(result, *case.arguments) for result in (given, wanted))
    return _compare(mine, right, case, exercise.tolerance, PLAIN)


def _compare(given: Any, wanted: Any, case: Case, own: float | Tolerance | None, gives: Gives) -> str | None:
    """What differs beyond a tolerance: the entry's own, or what rounding explains."""
    if own is not None:
        tolerance = own if isinstance(own, Tolerance) else Tolerance(absolute=own)
    else:
        tolerance = tolerance_for(given, wanted, case.arguments)
    try:
        return difference(given, wanted, tolerance, gives)
    except (TypeError, ValueError, RuntimeError):  # numbers that are none, such as texts in an array
        return f"{in_words(wanted)} was wanted, and {in_words(given)} can't be compared with that: what is in it?"


def _differing_after(given: Outcome, wanted: Outcome, case: Case, exercise: "Exercise") -> str | None:
    names = names_of(exercise)
    for place, now, right in zip(exercise.changes, given.after, wanted.after, strict=True):
        words = _compare(now, right, case, exercise.tolerance, PLAIN)
        if words and not altered(now, case.arguments[place]):
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
        words = _compare(mine, right, case, None, PLAIN)
        if words:
            return f"the value is right, its gradient is not ({words}): part of it is cut off or detached on the way"
    return None


def agree(one: Outcome, other: Outcome, wanted: Outcome, case: Case, exercise: "Exercise") -> bool:
    """Whether two calls left the same behind: the same error, or the same values.

    A list and an array with the same numbers are the same where the entry takes both, and two things where it doesn't.
    """
    if one.error is not None or other.error is not None:
        return repr(one.error) == repr(other.error)
    results = (one.result, other.result)
    taken = all(difference(result, wanted.result, None, exercise.gives) is None for result in results)
    if not taken and kind(one.result) != kind(other.result):
        return False
    if _results_differ(*results, case, exercise, exercise.gives if taken else PLAIN):
        return False
    after = zip(one.after, other.after, strict=True)
    if any(_compare(mine, its, case, exercise.tolerance, PLAIN) for mine, its in after):
        return False
    return _differing_gradient(one, other, case) is None and _differing_gradient(other, one, case) is None


def described(exercise: "Exercise", case: Case) -> str:
    """A case's arguments in a line: small ones as they are, large ones by their shape."""
    names = names_of(exercise)
    parts = []
    for place, value in enumerate(case.arguments):
        name = names[place] if place < len(names) else f"argument {place + 1}"
        shown = _shown(value, most=9 if case.size <= 40 else 2)
        if shown:
            parts.append(f"{name} {shown}")
    return ", ".join(parts)


def _shown(value: Any, most: int) -> str:
    """A value as it is if it holds at most so many numbers, or else its shape."""
    what = kind(value)
    if what in ("array", "tensor"):
        small = np.prod(value.shape) <= most
        return f"= {_nested(floats(value))}" if small else f"of shape {tuple(value.shape)}"
    if what == "number":
        return f"= {short(value)}"
    if what == "list" and any(kind(each) in ("array", "tensor") for each in value):
        members = [_shown(each, most).removeprefix("= ") for each in value]
        return f"= ({', '.join(members)})"
    text = repr(value)
    if what in ("text", "list", "dict", "set", "None", "truth"):
        return f"= {text}" if len(text) <= 70 else f"({in_words(value)})"
    return ""


def _nested(array: np.ndarray) -> str:
    if array.ndim == 0:
        return short(float(array))
    return "[" + ", ".join(_nested(row) for row in array) + "]"


def cause(trial: Trial, exercise: "Exercise") -> Any:
    """The words of the mistake that gives what the reader's function gives; None if no known one does.

    It must agree, and fail, wherever the first kind of input that fails comes up: on all generated ones, or on one
    named one. Of several that do, the one that agrees on most inputs.
    """
    first = trial.cases[min(trial.failing)].name
    group = {i for i, case in enumerate(trial.cases) if case.name == first}
    best, words = 0, None
    for function, said in (*exercise.partial, *exercise.wrong):
        if callable(function):
            agreeing = _agreeing(function, trial, exercise, group)
            if group <= agreeing and len(agreeing) > best:
                best, words = len(agreeing), said
    return words


def _agreeing(function: Callable, trial: Trial, exercise: "Exercise", group: set[int]) -> set[int]:
    """The cases on which a mistake gives what the reader's function gives, right or wrong; those seen so far, once one
    of the group differs."""
    found = set()
    for i, case in enumerate(trial.cases):
        theirs = call(function, case, exercise.changes)
        fails = what_differs(theirs, trial.wanted[i], case, exercise) is not None
        if fails == (i in trial.failing) and agree(trial.given[i], theirs, trial.wanted[i], case, exercise):
            found.add(i)
        elif i in group:
            break
    return found


def judge_function(exercise: "Exercise", attempt: Any, first_seed: int = 0) -> tuple[str, str]:
    """(verdict, words) on a function, tried on inputs from some seed on. Raises Blank if nothing has been written."""
    if not callable(attempt):
        return "not yet", f"a function `{exercise.name}` was wanted, {in_words(attempt)} was given"
    cases = cases_of(exercise, first_seed)
    wanted = [call(exercise.answer, case, exercise.changes) for case in cases]
    outside = arrays_outside(attempt)
    given: list[Outcome] = []
    try:
        within(exercise.seconds, lambda: given.extend(call(attempt, case, exercise.changes) for case in cases))
    except TooLong as error:
        return "not yet", _endless(exercise, attempt, cases[min(len(given), len(cases) - 1)], error)
    found = [what_differs(given[i], wanted[i], case, exercise) for i, case in enumerate(cases)]
    trial = Trial(cases, wanted, given, {i: words for i, words in enumerate(found) if words is not None})
    if trial.failing:
        left = blank_line(attempt)
        if left:
            return "not attempted", f"replace the ... in `{left}` and run both cells"
        return "not yet", _diagnosis(exercise, attempt, trial)
    spoiled = _spoiled(exercise, given, outside)
    return ("not yet", spoiled) if spoiled else ("right", exercise.right)


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
        if altered(value, before):
            return f"the result is right, but your function changes `{name}`, which is defined outside it"
    return ""


def _endless(exercise: "Exercise", attempt: Callable, case: Case, error: BaseException) -> str:
    """What to say when time is up, and where it was."""
    where, given = readers_line(error, attempt), described(exercise, case)
    said = still_running(exercise.seconds, f", in {where}" if where else "")
    return f"{said}\n  for {given}" if given else said


def _diagnosis(exercise: "Exercise", attempt: Callable, trial: Trial) -> str:
    """The verified cause, or what differs on the smallest input that fails."""
    first = min(trial.failing)
    given, case = trial.given[first], trial.cases[first]
    where = "backward() through the result" if given.in_backward else "it"
    stopped = f"{where} stopped with {as_raised(given.error, attempt)}" if given.error else ""
    words = cause(trial, exercise)
    if callable(words):
        words = words(case.arguments, given.result, trial.wanted[first].result)
    if words:
        return f"{words} ({stopped})" if stopped else words
    never = unused(attempt, exercise.answer)
    note = f"; it never uses its argument `{never[0]}`" if never and given.result is not None else ""
    spoiled = [name for place, name in enumerate(names_of(exercise)) if place in given.changed]
    note += f"; it changes its argument `{spoiled[0]}` in place" if spoiled else ""
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
