"""Compare what a reader gives with what was wanted: its kind, its shape, its numbers; and say what differs."""

import dataclasses
import numbers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Gives:
    """What is asked of a result beyond what the model answer shows by giving one.

    From the model answer come the kind (array, tensor, number, list, …), the shape, and whether there is a gradient.

    lists     a list of numbers will do where the model answer gives an array or a tensor
    dtype     the dtype of the result must be the model answer's
    integer   a number must be an int: 3.0 will not do
    parts     names for the members of a tuple, said where some of them are right: ("m", "s", "y")
    """

    lists: bool = False
    dtype: bool = False
    integer: bool = False
    parts: tuple[str, ...] = ()


PLAIN = Gives()


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a number may be off: `relative` of itself, and `absolute` on top."""

    relative: float = 0.0
    absolute: float = 0.0


def is_tensor(value: object) -> bool:
    """Whether it is PyTorch's, without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def kind(value: object) -> str:
    """number, truth, array, tensor, list, dict, set, text, function, None, or the name of another type."""
    if value is None:
        return "None"
    if isinstance(value, (bool, np.bool_)):
        return "truth"
    if is_tensor(value):
        return "tensor"
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return "function" if callable(value) else type(value).__name__


_KINDS: tuple[tuple[Any, str], ...] = (
    (numbers.Real, "number"),
    (np.ndarray, "array"),
    ((list, tuple, range), "list"),
    (dict, "dict"),
    ((set, frozenset), "set"),
    (str, "text"),
)


def in_words(value: Any) -> str:
    """What a value is, with its article: "an array of shape (2, 3)", "the number 3", "None"."""
    what = kind(value)
    if what in ("array", "tensor"):
        article = "an" if what == "array" else "a"
        return f"{article} {what} of shape {tuple(value.shape)}"
    if what == "number":
        return f"the number {short(value)}"
    if what == "list":
        return f"a {type(value).__name__} of {len(value)}"
    if what == "function":
        return "a function"
    if what in ("None", "truth", "text"):
        return shortened(repr(value))
    return f"a {type(value).__name__}"


def shortened(text: str, longest: int = 60) -> str:
    """The text, cut where it is too long for a message."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def short(value: Any, digits: int = 4) -> str:
    """A number in few digits."""
    return str(value) if isinstance(value, numbers.Integral) else f"{float(value):.{digits}g}"


def told_apart(a: float, b: float) -> tuple[str, str]:
    """Two numbers in as many digits as it takes to see that they differ, three at least."""
    for digits in range(3, 18):
        first, second = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if first != second:
            break
    return first, second


def floats(value: Any) -> np.ndarray:
    """Numbers in any dress as float64. Raises ValueError or TypeError if they are none."""
    if is_tensor(value):
        value = value.detach().double().cpu().numpy()
    elif isinstance(value, (list, tuple)):
        value = [floats(each) for each in value]
    return np.asarray(value, dtype=float)


def precision(value: Any) -> float:
    """The largest machine epsilon among the numbers in a value, at least float64's."""
    if is_tensor(value):
        return sys.modules["torch"].finfo(value.dtype).eps if value.dtype.is_floating_point else 0.0
    if isinstance(value, (np.ndarray, np.generic)):
        return float(np.finfo(value.dtype).eps) if np.issubdtype(value.dtype, np.floating) else 0.0
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return max((precision(each) for each in value), default=0.0)
    return 0.0


def largest(value: Any) -> float:
    """The largest finite absolute value among the numbers in a value, 0 if there are none."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return max((largest(each) for each in value), default=0.0)
    if kind(value) not in ("number", "array", "tensor"):
        return 0.0
    numbers_in = np.abs(floats(value))
    return float(numbers_in.max(where=np.isfinite(numbers_in), initial=0.0))


def tolerance_for(given: Any, wanted: Any, inputs: Any = ()) -> Tolerance:
    """What rounding explains: by the coarsest dtype that has a part in it, and the size of the numbers.

    float64 1e-5 of each number and 1e-7 of the largest, since a float32 constant may have been mixed in; float32 2e-4
    and 1e-5; half precision as many of its own steps. What cancels from the inputs leaves a trace of their size.
    """
    eps = max(precision(given), precision(wanted), precision(inputs), np.finfo(float).eps)
    fine = eps < 1e-10
    relative = 1e-5 if fine else max(2e-4, 4 * eps)
    floor = (1e-7 if fine else max(1e-5, 2 * eps)) * largest(wanted)
    trace = (1e-13 if fine else 8 * eps) * largest(inputs)
    return Tolerance(relative, floor + trace)


def close(given: Any, wanted: Any, tolerance: float = 1e-6) -> bool:
    """Whether a number, or numbers in an array or nested list, equals another to an absolute tolerance."""
    given, wanted = floats(given), floats(wanted)
    return given.shape == wanted.shape and not _far(given, wanted, Tolerance(0.0, tolerance)).any()


def _far(given: np.ndarray, wanted: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """Where two arrays of one shape differ; nan equals nan, and infinities only themselves."""
    with np.errstate(all="ignore"):
        allowed = tolerance.absolute + tolerance.relative * np.abs(wanted)
        near = np.abs(given - wanted) <= allowed
    both = np.isfinite(given) & np.isfinite(wanted)
    same = (given == wanted) | (np.isnan(given) & np.isnan(wanted))
    return ~np.where(both, near, same)


def difference(given: Any, wanted: Any, tolerance: Tolerance | None, gives: Gives = PLAIN) -> str | None:
    """What differs, in words: kind, shape, or the first number that is off; None if nothing does.

    Without a tolerance only kind and shape are compared.
    """
    what = kind(wanted)
    if what == "list":
        return _between_members(given, wanted, tolerance, gives)
    if what == "dict":
        return _between_dicts(given, wanted, tolerance, gives)
    if what in ("number", "array", "tensor"):
        return _of_kind(given, wanted, gives) or _between_numbers(given, wanted, tolerance)
    if kind(given) != what:
        return f"{_WANTED.get(what, what)} was wanted, yours gives {in_words(given)}"
    if given != wanted and tolerance is not None:
        return f"{shortened(repr(wanted))} was wanted, yours gives {shortened(repr(given))}"
    return None


_WANTED = {"truth": "True or False", "text": "a text", "set": "a set", "dict": "a dictionary", "function": "a function"}


def _of_kind(given: Any, wanted: Any, gives: Gives) -> str | None:
    """Whether a result is what the next cell can use: an array where an array is wanted, and so on."""
    what, wanted_kind, shape = kind(given), kind(wanted), tuple(np.shape(wanted))
    alone = shape == ()
    gradient = wanted_kind == "tensor" and wanted.requires_grad
    name = f"{'an array' if wanted_kind == 'array' else 'a tensor'} {shape}"
    if alone:
        name = "one number, as a tensor with its gradient," if gradient else "one number"
    if what == "number" and alone and gradient:
        return "your result is a plain number without a gradient: keep it a tensor from start to end"
    right_kinds = {wanted_kind} | ({"number", "array", "tensor"} if alone and not gradient else set())
    if what == "list" and gives.lists and not alone:
        return _of_list(given, shape)
    if what not in right_kinds:
        return f"{name} was wanted, yours gives {in_words(given)}{'' if alone else _mend(what, wanted_kind)}"
    if tuple(np.shape(given)) != shape:
        return f"{name} was wanted, yours gives {in_words(given)}"
    return _of_dtype(given, wanted, gives)


def _of_list(given: Any, shape: tuple[int, ...]) -> str | None:
    try:
        found = floats(given).shape
    except (TypeError, ValueError):
        return "numbers were wanted, and rows of one length: yours gives " + shortened(repr(given))
    return None if found == shape else f"the shape {shape} was wanted, yours has {found}"


def _mend(what: str, wanted_kind: str) -> str:
    """How to make the one kind of the other."""
    if what == "list":
        return (
            ": `np.array` makes an array of a list"
            if wanted_kind == "array"
            else ": `torch.stack` or `torch.tensor` makes one tensor of it"
        )
    if what == "tensor" and wanted_kind == "array":
        return ": stay with NumPy here"
    if what == "array" and wanted_kind == "tensor":
        return ": stay with PyTorch here"
    return ""


def _of_dtype(given: Any, wanted: Any, gives: Gives) -> str | None:
    if kind(wanted) == "tensor" and wanted.requires_grad and not given.requires_grad:
        return (
            "your result has no gradient, so backward() can't go through it: keep everything a tensor from start to "
            "end (no .item(), float(), .detach(), torch.tensor(…) on the way)"
        )
    truth = {str(getattr(x, "dtype", "")).endswith("bool") for x in (given, wanted)}
    if len(truth) == 2:
        return (
            "True and False came back where numbers were wanted" if _is_truth(given) else "True and False were wanted"
        )
    if gives.dtype and str(given.dtype) != str(wanted.dtype):
        return f"the dtype {wanted.dtype} was wanted, yours gives {given.dtype}"
    whole = isinstance(given, numbers.Integral) or "int" in str(getattr(given, "dtype", ""))
    if gives.integer and not whole:
        return f"a whole number (an int) was wanted, yours gives {given!r}"
    return None


def _is_truth(value: Any) -> bool:
    return str(getattr(value, "dtype", "")).endswith("bool")


def _between_numbers(given: Any, wanted: Any, tolerance: Tolerance | None) -> str | None:
    """The first of the numbers that differs."""
    if tolerance is None:
        return None
    given, wanted = floats(given), floats(wanted)
    far = _far(given, wanted, tolerance)
    if not far.any():
        return None
    place = tuple(int(i) for i in np.argwhere(far)[0])
    there, right = told_apart(float(given[place]), float(wanted[place]))
    if not place:
        return f"{right} was wanted, yours gives {there}"
    at = f"at {list(place)}" if len(place) > 1 else f"at place {place[0]}"
    n_off = "all" if far.all() else f"{far.sum()} of {far.size}"
    rest = f"; {n_off} numbers are off" if far.sum() > 1 else ""
    return f"{at}: {right} was wanted, yours has {there}{rest}"


def _between_members(given: Any, wanted: Sequence, tolerance: Tolerance | None, gives: Gives) -> str | None:
    """A list or tuple, member by member; those with names are said to be right where they are."""
    named = len(gives.parts) == len(wanted)
    row = kind(given) == "list" or kind(given) in ("array", "tensor") and given.ndim > 0
    if not row or len(given) != len(wanted):
        parts = f" ({', '.join(gives.parts)})" if named else ""
        return f"{_number_of(wanted)}{parts} was wanted, yours gives {in_words(given)}"
    inner = dataclasses.replace(gives, parts=())
    found = [difference(one, other, tolerance, inner) for one, other in zip(given, wanted, strict=True)]
    wrong = [place for place, words in enumerate(found) if words]
    if not wrong:
        return None
    first = wrong[0]
    right = [name for place, name in enumerate(gives.parts) if named and place not in wrong]
    credit = f"{' and '.join(right)} {'is' if len(right) == 1 else 'are'} right; " if right else ""
    return f"{credit}{gives.parts[first]}: {found[first]}" if named else f"at place {first}: {found[first]}"


def _number_of(wanted: Sequence) -> str:
    return f"a {'tuple' if isinstance(wanted, tuple) else 'list'} of {len(wanted)}"


def _between_dicts(given: Any, wanted: dict, tolerance: Tolerance | None, gives: Gives) -> str | None:
    if not isinstance(given, dict):
        return f"a dictionary was wanted, yours gives {in_words(given)}"
    missing = [name for name in wanted if name not in given]
    if missing:
        return f"your dictionary lacks the key {missing[0]!r}"
    extra = [name for name in given if name not in wanted]
    if extra:
        return f"your dictionary has the key {extra[0]!r}, which isn't wanted"
    for name, value in wanted.items():
        words = difference(given[name], value, tolerance, gives)
        if words:
            return f"under {name!r}: {words}"
    return None
