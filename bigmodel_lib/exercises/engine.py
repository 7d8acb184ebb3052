"""Predict, check, use yours or ours. Each notebook's exercises are entries in one file here, answers included.

In a notebook, an author writes the cell `{{exercise 06-rate}}`; the runner expands it to the task with folded hints,
the stub and its check. To add an exercise, add one `Exercise` to the file's list.
"""

import dataclasses
import functools
import importlib
import math
import numbers
from collections.abc import Callable
from typing import Any

from bigmodel_lib.errors import CourseError


class Wrong(Exception):
    """A check's diagnosis: what is wrong with the attempt, said to its author."""


class _Blank(Exception):
    """The attempt still holds `...`."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """One exercise with its check and everything that proves the check.

    id          "06-rate": the notebook's number and a name; a grade is kept under it, so it never changes
    title       a few words
    minutes     how long it takes most readers
    difficulty  1, 2 or 3
    task        Markdown: what to do
    stub        the code that the reader completes; it defines `name`, and `...` marks what is missing
    name        what the stub defines: a function, or a value worked out on paper
    hints       two, from a nudge to nearly there
    check       called with the attempt; returns what to say if it is right, raises Wrong if not
    answer      the model answer; `another` is a right answer that goes another way
    wrong       at least four typical wrong attempts, each with words that its diagnosis must contain
    ours        for a function that the notebook goes on to use: "module:function" in the library
    """

    id: str
    title: str
    minutes: int
    difficulty: int
    task: str
    stub: str
    name: str
    hints: tuple[str, str]
    check: Callable[..., str]
    answer: object
    another: object
    wrong: tuple[tuple[object, str], ...]
    ours: str | None = None


@functools.cache
def entries(number: str) -> dict[str, Exercise]:
    """The exercises of one notebook, {id: Exercise}, in order. Raises CourseError for a notebook without any."""
    try:
        module = importlib.import_module(f"bigmodel_lib.exercises.nb{number}")
    except ModuleNotFoundError:
        raise CourseError(f"notebook {number} has no exercises: ids look like 06-rate") from None
    return {exercise.id: exercise for exercise in module.EXERCISES}


def find(exercise_id: str) -> Exercise:
    """The exercise with that id. Raises CourseError that lists the ids there are."""
    known = entries(str(exercise_id).split("-")[0])
    if exercise_id not in known:
        raise CourseError(f"exercise {exercise_id!r} is not known: choose one of {', '.join(known)}")
    return known[exercise_id]


def _unless_blank(attempt):
    """The attempt, with `...` turned into _Blank wherever it comes to light."""
    if attempt is ... or attempt is None:
        raise _Blank
    if not callable(attempt):
        return attempt

    @functools.wraps(attempt)
    def called(*arguments, **named):
        result = attempt(*arguments, **named)
        if result is ...:
            raise _Blank
        if result is None:
            raise Wrong("your function gives None: is there a `return` on every way through it?")
        return result

    return called


def judge(exercise_id: str, attempt: object) -> tuple[str, str]:
    """("right" | "wrong" | "not attempted", what to say)."""
    exercise = find(exercise_id)
    try:
        return "right", exercise.check(_unless_blank(attempt))
    except _Blank:
        return "not attempted", "replace the ... above and run both cells"
    except Wrong as diagnosis:
        return "wrong", str(diagnosis)
    except Exception as error:  # whatever the reader's code raises is a diagnosis, not a crash of the page
        return "wrong", f"it stopped with {type(error).__name__}: {error}"


_SIGNS = {"right": "✓ right", "wrong": "✗ not yet", "not attempted": "○ not attempted"}


def check(exercise_id: str, attempt: object) -> None:
    """Print the verdict on an attempt."""
    verdict, words = judge(exercise_id, attempt)
    print(f"{exercise_id} {_SIGNS[verdict]}: {words}")


def yours_or_ours(exercise_id: str, attempt: Any) -> Callable:
    """Print the verdict and return the function to go on with: the reader's if it is right, the library's if not."""
    where = find(exercise_id).ours
    if where is None:
        raise CourseError(f"exercise {exercise_id} has no function of ours: call check for it")
    module, name = where.split(":")
    ours = getattr(importlib.import_module(module), name)
    if attempt is ours:
        sign = _SIGNS["not attempted"]
        print(f"{exercise_id} {sign}: `{name}` is ours by now; run the cell with your own again first")
        return ours
    check(exercise_id, attempt)
    if judge(exercise_id, attempt)[0] == "right":
        print("From here on the notebook uses yours.")
        return attempt
    print("From here on the notebook uses ours.")
    return ours


_predictions: dict = {}


def predict(question: str, guess: object = ..., among: tuple | list | None = None) -> None:
    """Keep a prediction, a number or a choice, until `compare` shows it beside the result.

    among: (lowest, highest) for a number, or a list of choices; a guess that is none of them is not kept.
    """
    _predictions.pop(question, None)
    if guess is ...:
        print(f"{question}: no prediction yet, write one in place of the ...")
    elif isinstance(among, tuple) and not (isinstance(guess, numbers.Real) and among[0] <= guess <= among[1]):
        print(f"{question}: a number from {among[0]:g} to {among[1]:g} was wanted, {guess!r} was given")
    elif isinstance(among, list) and guess not in among:
        print(f"{question}: one of {among} was wanted, {guess!r} was given")
    else:
        _predictions[question] = guess
        print(f"{question}: you say {guess}")


def compare(question: str, result: object) -> None:
    """Print the prediction for a question beside its result; nothing about the result if there was no prediction."""
    guess = _predictions.get(question, ...)
    if guess is ...:
        print(f"{question}: you made no prediction")
    elif isinstance(guess, (int, float)) and isinstance(result, (int, float)):
        print(f"{question}: you said {guess:g}, it is {result:.4g}, off by {abs(guess - result):.2g}")
    else:
        verdict = "as predicted" if guess == result else "not as predicted"
        print(f"{question}: you said {guess}, it is {result}: {verdict}")


# What checks are made of


def close(given: Any, wanted: Any, tolerance: float = 1e-6) -> bool:
    """Whether a number, or numbers in an array or nested list, equals another to a tolerance."""
    import numpy as np

    given = np.asarray(given, dtype=float)
    wanted = np.asarray(wanted, dtype=float)
    return given.shape == wanted.shape and bool(np.all(np.abs(given - wanted) <= tolerance))


def number(attempt: Any) -> float:
    """The attempt as a number. Raises Wrong if it is none."""
    try:
        value = float(attempt)
    except (TypeError, ValueError):
        raise Wrong(f"a number was wanted, {attempt!r} was given") from None
    if not math.isfinite(value):
        raise Wrong(f"a finite number was wanted, {value} was given")
    return value


def number_given(result: object) -> float:
    """What the reader's function gave, as a number. Raises Wrong if it is none."""
    if isinstance(result, bool) or not isinstance(result, numbers.Real):
        raise Wrong(f"a number was wanted, yours gives {result!r}")
    return float(result)


def diagnose(value: float, wanted: float, mistakes: dict[float, str], tolerance: float = 1e-6) -> None:
    """Raise Wrong with the words of the mistake that leads to this value; return if the value is right.

    mistakes {what one gets: what to say}; anything else is "too large" or "too small".
    """
    if close(value, wanted, tolerance):
        return
    nearest = min(mistakes, key=lambda result: abs(result - value), default=math.inf)
    if close(value, nearest, tolerance):
        raise Wrong(mistakes[nearest])
    raise Wrong(f"{value:g} is too {'large' if value > wanted else 'small'}")


def choose_letter(attempt: object, right: str, replies: dict[str, str]) -> None:
    """Raise Wrong unless the attempt is the right letter, in whatever dress: "c", "(C).", …

    replies {a wrong letter: why it is wrong}; anything else gets the letters that there are.
    """
    said = str(attempt).strip(" ().").lower()
    letters = sorted({right, *replies})
    if said in replies:
        raise Wrong(replies[said])
    if said != right:
        raise Wrong(f"one letter from {letters[0]} to {letters[-1]} was wanted, {attempt!r} was given")


# How the runner turns an entry into cells


def task_cell(exercise: Exercise) -> str:
    """The Markdown of an exercise: title, difficulty, minutes, task, hints folded."""
    dots = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
    folded = "\n\n".join(
        f"<details><summary>Hint {i}</summary>\n\n{hint}\n\n</details>" for i, hint in enumerate(exercise.hints, 1)
    )
    head = f"**Exercise {exercise.id} · {exercise.title}** · {dots} · {exercise.minutes} min"
    return f"{head}\n\n{exercise.task.strip()}\n\n{folded}"


def check_cell(exercise: Exercise) -> str:
    """The code that checks an exercise."""
    call = f'("{exercise.id}", {exercise.name})'
    return f"{exercise.name} = yours_or_ours{call}" if exercise.ours else f"check{call}"
