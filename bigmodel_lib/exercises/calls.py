"""Call a function with copies of many inputs, and keep all that it leaves behind."""

import copy
import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bigmodel_lib.exercises.values import floats, is_tensor, kind
from bigmodel_lib.exercises.watching import silence

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
    in_backward: bool = False  # that is where the error came
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


def cases_of(exercise: "Exercise", first_seed: int = 0) -> list[Case]:
    """The generated inputs, the smallest first, then those that the task names, in their order."""
    generated = [drawn(exercise, first_seed + n) for n in range(TRIES)] if exercise.inputs else []
    named = [Case(tuple(arguments), name=name) for name, *arguments in exercise.special]
    return sorted(generated, key=lambda case: case.size) + named


def comes_upon_dots(error: Exception) -> bool:
    """Whether an error is that of computing with `...`."""
    return isinstance(error, (TypeError, AttributeError)) and "ellipsis" in str(error)


def call(function: Callable, case: Case, changes: Sequence[int] = ()) -> Outcome:
    """Call a function with a copy of a case's arguments. Raises Blank if it comes upon `...`."""
    arguments = copy.deepcopy(case.arguments)
    with silence() as said, np.errstate(all="ignore"):
        try:
            result = function(*arguments)
        except Exception as error:
            if comes_upon_dots(error):
                raise Blank from None
            return Outcome(error=error)
    if _holds_blank(result):
        raise Blank
    try:
        gradients = _gradients(result, arguments)
    except RuntimeError as error:
        return Outcome(error=error, in_backward=True)
    return Outcome(
        result=result,
        after=tuple(arguments[i] for i in changes),
        changed=tuple(
            i for i in range(len(arguments)) if i not in changes and altered(arguments[i], case.arguments[i])
        ),
        gradients=gradients,
        printed=bool(said.getvalue()),
    )


def _holds_blank(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return value is ... or isinstance(value, (list, tuple)) and any(_holds_blank(each) for each in value)


def altered(now: Any, before: Any) -> bool:
    """Whether an argument has been changed in place."""
    what = kind(before)
    if what in ("array", "tensor"):
        return now.shape != before.shape or not np.array_equal(floats(now), floats(before), equal_nan=True)
    if what == "dict":
        return now.keys() != before.keys() or any(altered(now[name], before[name]) for name in before)
    if what == "list":
        return len(now) != len(before) or any(altered(*pair) for pair in zip(now, before, strict=True))
    if hasattr(before, "named_parameters"):  # a model
        return altered(dict(now.named_parameters()), dict(before.named_parameters()))
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
