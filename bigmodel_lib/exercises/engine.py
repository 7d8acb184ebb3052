"""Check, use yours or ours. Each notebook's exercises are entries in one file here, answers included.

In a notebook, an author writes the cell `{{exercise 06-rate}}`; the runner expands it to the task with folded hints,
the stub and its check. To add an exercise, add one `Exercise` to the file's list.
"""

import copy
import dataclasses
import functools
import importlib
import math
import numbers
from collections.abc import Callable
from typing import Any

from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises import record
from bigmodel_lib.exercises.answers import Wrong, judge_value, letter, number
from bigmodel_lib.exercises.calls import Blank, cases_of, comes_upon_dots, drawn
from bigmodel_lib.exercises.functions import judge_function
from bigmodel_lib.exercises.predictions import compare, predict
from bigmodel_lib.exercises.reading import blank_line
from bigmodel_lib.exercises.values import Gives, Tolerance, close
from bigmodel_lib.exercises.watching import TooLong, as_raised, silence, still_running, within

__all__ = [
    "Exercise", "Gives", "Tolerance", "Wrong", "check", "choose_letter", "close", "compare", "diagnose", "entries", "example",
    "find", "judge", "number", "number_given", "predict", "yours_or_ours",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Exercise:
    """One exercise with all that judges it, and all that proves the judge.

    id          "06-rate": the notebook's number and a name; a grade is kept under it, so it never changes
    title       a few words
    minutes     how long it takes most readers
    difficulty  1, 2 or 3
    task        Markdown: what to do
    stub        the code that the reader completes; it defines `name`, and `...` marks what is missing
    name        what the stub defines: a function, or a value worked out on paper
    hints       three: what to think about; which line or shape (not the answer); nearly the code
    answer      the model answer, a function or a value
    another     two right answers that go another way
    wrong       four or more typical mistakes, (a wrong function or value, words); who gives the same gets the words:
                a text, or a function of (inputs, given, wanted) that makes one
    partial     the same for what is half right: its words say what is right already, then what is missing
    inputs      for a function: draws its arguments, as a tuple, with a numpy Generator; called for many seeds
    special     for a function: the cases that the task names, (name, *arguments), always tried
    gives       for a function: what is asked of its result beyond the model answer's kind, shape and gradient
    changes     for a function: the places of the arguments that it is to change in place
    view        for a function with several right results: what of (result, *arguments) is compared
    tolerance   how far a number may be off, absolute, or a `Tolerance`; without one, what rounding explains
    right       what is said to a right answer
    seconds     how long a function may run, over all inputs
    check       for what none of this can say: called with the attempt, returns what to say, or raises Wrong. Then the
                words of `wrong` are parts of its diagnoses
    ours        for a function that the notebook goes on to use: "module:function" in the library
    """

    id: str
    title: str
    minutes: int
    difficulty: int
    task: str
    stub: str
    name: str
    hints: tuple[str, ...]
    _: dataclasses.KW_ONLY
    answer: Any
    another: tuple
    wrong: tuple[tuple[Any, Any], ...]
    partial: tuple[tuple[Any, Any], ...] = ()
    inputs: Callable[[Any], tuple] | None = None
    special: tuple[tuple, ...] = ()
    gives: Gives = Gives()
    changes: tuple[int, ...] = ()
    view: Callable[..., Any] | None = None
    tolerance: float | Tolerance | None = None
    right: str = ""
    seconds: float = 5.0
    check: Callable[..., str] | None = None
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
    notebook = str(exercise_id).split("-")[0]
    known = dict(entries(notebook))
    for other in record.notebooks():  # 04b holds some of 04, and ids stay as they are
        known |= entries(other) if other.rstrip("bcd") == notebook else {}
    if exercise_id not in known:
        raise CourseError(f"exercise {exercise_id!r} is not known: choose one of {', '.join(known)}")
    return known[exercise_id]


def judge(exercise_id: str, attempt: Any, first_seed: int = 0) -> tuple[str, str]:
    """("right" | "not yet" | "not attempted", what to say). A teacher's tests draw their inputs from another seed on."""
    return judge_entry(find(exercise_id), attempt, first_seed)


def judge_entry(exercise: Exercise, attempt: Any, first_seed: int = 0) -> tuple[str, str]:
    """`judge`, for an entry at hand."""
    try:
        if attempt is ... or attempt is None:
            raise Blank
        if exercise.check is not None:
            return _by_own_check(exercise, attempt)
        if callable(exercise.answer):
            return judge_function(exercise, attempt, first_seed)
        return judge_value(exercise, attempt)
    except Blank:
        return "not attempted", "replace the ... above and run both cells"
    except Wrong as diagnosis:
        return "not yet", str(diagnosis)


def _by_own_check(exercise: Exercise, attempt: Any) -> tuple[str, str]:
    """An entry's own check, under the same watch: copies go in, `...` and endless loops are noticed."""
    try:
        with silence():
            guarded = _guarded(attempt, exercise.changes)
            return "right", within(exercise.seconds, lambda: exercise.check(guarded))  # type: ignore[misc]
    except Wrong:
        left = blank_line(attempt) if callable(attempt) else ""
        if left:
            return "not attempted", f"replace the ... in `{left}` and run both cells"
        raise
    except Blank:
        raise
    except TooLong:
        return "not yet", still_running(exercise.seconds)
    except Exception as error:
        if comes_upon_dots(error):
            raise Blank from None
        return "not yet", f"it stopped with {as_raised(error, attempt)}"


def _guarded(attempt: Any, changes: tuple[int, ...]) -> Any:
    """A function that is called with copies of what it may not change, and whose `...` or None come to light."""
    if not callable(attempt):
        return attempt

    @functools.wraps(attempt)
    def called(*arguments: Any, **named: Any) -> Any:
        copies = (x if i in changes else copy.deepcopy(x) for i, x in enumerate(arguments))
        result = attempt(*copies, **named)
        if result is ...:
            raise Blank
        if result is None:
            raise Wrong("your function gives None: is there a `return` on every way through it?")
        return result

    return called


def example(exercise_id: str, which: int | str = 0) -> tuple:
    """The arguments of one input that a function is tried on: by its seed, or by the name of a case of the task.

    `softmax(*example("01-softmax", 3))` repeats what a message speaks of.
    """
    exercise = find(exercise_id)
    if isinstance(which, int) and exercise.inputs:
        return drawn(exercise, which).arguments
    named = {case.name: case for case in cases_of(exercise) if case.name}
    if which not in named:
        raise CourseError(
            f"{exercise_id} has no input {which!r}: give a seed (a whole number), or one of {list(named)}"
        )
    return copy.deepcopy(named[str(which)].arguments)


_SIGNS = {"right": "✓ right", "not yet": "✗ not yet", "not attempted": "○ not attempted"}


def check(exercise_id: str, attempt: object) -> None:
    """Print the verdict on an attempt."""
    _say(exercise_id, *judge(exercise_id, attempt))


def _say(exercise_id: str, verdict: str, words: str) -> None:
    print(f"{exercise_id} {_SIGNS[verdict]}: {words}")
    record.note(exercise_id, verdict)


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
    verdict, words = judge(exercise_id, attempt)
    _say(exercise_id, verdict, words)
    if verdict == "right":
        print("From here on the notebook uses yours.")
        return attempt
    print("From here on the notebook uses ours.")
    return ours


# What own checks are made of


def number_given(result: object) -> float:
    """What the reader's function gave, as a number. Raises Wrong if it is none."""
    if isinstance(result, bool) or not isinstance(result, numbers.Real):
        raise Wrong(f"a number was wanted, yours gives {result!r}")
    return float(result)


def diagnose(value: float, wanted: float, mistakes: dict[float, str], tolerance: float = 1e-6) -> None:
    """Raise Wrong with the words of the mistake that leads to this value; return if the value is right.

    mistakes {what one gets: what to say}; anything else is "too large" or "too small".
    """
    if math.isnan(value):
        raise Wrong("yours gives nan")
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
    said = letter(attempt)
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
