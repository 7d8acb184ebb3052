"""Judge what was worked out on paper: a number, a letter, a text, a list."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bigmodel_lib.exercises.calls import Blank
from bigmodel_lib.exercises.values import Tolerance, floats, in_words, kind, shortened

if TYPE_CHECKING:
    from bigmodel_lib.exercises.engine import Exercise


class Wrong(Exception):
    """A diagnosis: what is wrong with an attempt, said to its author."""


def number(attempt: Any) -> float:
    """The attempt as a finite number: 7, 7.0, "7", one number in an array or tensor. Raises Wrong if it is none."""
    if kind(attempt) in ("truth", "function"):
        raise Wrong(f"a number was wanted, {in_words(attempt)} was given")
    try:
        value = float(attempt)
    except (TypeError, ValueError):
        raise Wrong(f"a number was wanted, {shortened(repr(attempt))} was given") from None
    if not math.isfinite(value):
        raise Wrong(f"a finite number was wanted, {value} was given")
    return value


def letter(attempt: Any) -> str:
    """The attempt as a small letter, in whatever dress: "c", "(C).", …"""
    return str(attempt).strip(" ().*'\"").lower()


def judge_value(exercise: "Exercise", attempt: Any) -> tuple[str, str]:
    """(verdict, words) on a value. Raises Wrong with the diagnosis, Blank if nothing has been written."""
    if attempt is None or _unfinished(attempt):
        raise Blank
    answer = exercise.answer
    if kind(answer) == "number":
        for wrong, words in exercise.wrong:  # several numbers, where one was wanted
            if kind(wrong) == "list" and repr(attempt) == repr(wrong):
                raise say(words, attempt, answer)
        _judge_number(exercise, number(attempt))
    elif isinstance(answer, str) and len(answer) == 1:
        _judge_letter(exercise, attempt)
    elif isinstance(answer, str):
        _judge_text(exercise, attempt)
    else:
        _judge_list(exercise, attempt)
    return "right", exercise.right


def _unfinished(attempt: Any) -> bool:
    if isinstance(attempt, dict):
        attempt = list(attempt.values())
    return attempt is ... or isinstance(attempt, (list, tuple)) and any(_unfinished(each) for each in attempt)


def say(words: Any, given: Any, wanted: Any) -> Wrong:
    """A diagnosis in an entry's words, which may be a function of (inputs, given, wanted)."""
    return Wrong(words((), given, wanted) if callable(words) else words)


def _judge_number(exercise: "Exercise", value: float) -> None:
    """Right within the tolerance; otherwise the words of the nearest mistake within it, or the side it is off to."""
    right = float(exercise.answer)
    if _within(value, right, exercise.tolerance):
        return
    known = [(float(wrong), words) for wrong, words in (*exercise.partial, *exercise.wrong) if kind(wrong) == "number"]
    if known:
        nearest, words = min(known, key=lambda pair: abs(pair[0] - value))
        if _within(value, nearest, exercise.tolerance):
            raise say(words, value, right)
    raise Wrong(f"{value:.6g} is too {'large' if value > right else 'small'}")


def _within(value: float, other: float, tolerance: float | Tolerance | None) -> bool:
    """As near as the entry allows; without a tolerance, to a millionth of itself."""
    if isinstance(tolerance, Tolerance):
        return abs(value - other) <= tolerance.absolute + tolerance.relative * abs(other)
    return abs(value - other) <= (1e-6 * max(abs(other), 1e-6) if tolerance is None else tolerance)


def _judge_letter(exercise: "Exercise", attempt: Any) -> None:
    replies = {letter(wrong): words for wrong, words in exercise.wrong if len(letter(wrong)) == 1}
    said, right = letter(attempt), exercise.answer.lower()
    letters = sorted({right, *(name for name in replies if name.isalpha())})
    if said == right:
        return
    if said in replies:
        raise say(replies[said], said, right)
    raise Wrong(f"one letter from {letters[0]} to {letters[-1]} was wanted, {shortened(repr(attempt))} was given")


def _bare(text: Any) -> str:
    return " ".join(str(text).split()).strip(" .“”\"'").lower()


def _judge_text(exercise: "Exercise", attempt: Any) -> None:
    said = _bare(attempt)
    if said == _bare(exercise.answer):
        return
    for wrong, words in (*exercise.partial, *exercise.wrong):
        if isinstance(wrong, str) and said == _bare(wrong):
            raise say(words, attempt, exercise.answer)
    raise Wrong(f"{shortened(repr(attempt))} is not right")


def _judge_list(exercise: "Exercise", attempt: Any) -> None:
    """Numbers or texts in a row or a table; which of them is off is said, never what it should be."""
    if _same(attempt, exercise.answer, exercise.tolerance):
        return
    for wrong, words in (*exercise.partial, *exercise.wrong):
        if kind(wrong) == kind(exercise.answer) and _same(attempt, wrong, exercise.tolerance):
            raise say(words, attempt, exercise.answer)
    raise Wrong(_first_off(attempt, exercise.answer, exercise.tolerance))


def _members(value: Any) -> list | None:
    """The members of a list in any dress, texts without what is around them; None if it is no list."""
    if kind(value) in ("array", "tensor"):
        value = floats(value).tolist()
    if not isinstance(value, (list, tuple, range)):
        return None
    return [_bare(each) if isinstance(each, str) else each for each in value]


def _same(attempt: Any, other: Any, tolerance: float | Tolerance | None) -> bool:
    if isinstance(other, (set, frozenset)):
        members = _members(attempt) if kind(attempt) != "set" else list(attempt)
        return members is not None and set(members) == set(other)
    mine, its = _members(attempt), _members(other)
    if mine is None or its is None or len(mine) != len(its):
        return mine is None and its is None and _one_same(attempt, other, tolerance)
    return all(_same(*pair, tolerance) for pair in zip(mine, its, strict=True))


def _one_same(one: Any, other: Any, tolerance: float | Tolerance | None) -> bool:
    if isinstance(other, str) or isinstance(one, str):
        return isinstance(one, str) and isinstance(other, str) and _bare(one) == _bare(other)
    try:
        return _within(float(one), float(other), tolerance)
    except (TypeError, ValueError):
        return False


def _first_off(attempt: Any, wanted: Any, tolerance: float | Tolerance | None) -> str:
    unordered = isinstance(wanted, (set, frozenset))
    mine, its = (
        (list(attempt) if kind(attempt) == "set" else _members(attempt)),
        _members(sorted(wanted) if unordered else wanted),
    )
    if its is None:
        return f"{shortened(repr(attempt))} is not right"
    if kind(attempt) == "set" and not unordered:
        return f"a set keeps no order: a list of {len(its)} was wanted"
    if mine is None or np.shape(its) and len(mine) != len(its) and not unordered:
        return f"a list of {len(its)} was wanted, {shortened(repr(attempt))} was given"
    if unordered:
        extra = [each for each in mine if each not in wanted]
        return f"{shortened(repr(extra[0]))} doesn't belong to it" if extra else "something is missing"
    place = next(i for i, pair in enumerate(zip(mine, its, strict=True)) if not _same(*pair, tolerance))
    return f"place {place} (counted from 0) is not right: {shortened(repr(mine[place]))}"
