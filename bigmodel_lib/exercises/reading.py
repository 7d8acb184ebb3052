"""Read an attempt's own code: names of arguments, arguments that it never reads, lines that still hold `...`."""

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bigmodel_lib.exercises.values import kind

if TYPE_CHECKING:
    from bigmodel_lib.exercises.engine import Exercise


def names_of(exercise: "Exercise") -> list[str]:
    """The names of the function's arguments, as the stub has them."""
    for node in ast.walk(ast.parse(exercise.stub.strip())):
        if isinstance(node, ast.FunctionDef) and node.name == exercise.name:
            return [argument.arg for argument in node.args.args]
    return []


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


def arrays_outside(function: Callable) -> list[tuple[str, Any, Any]]:
    """(name, value, copy of it) of the arrays and tensors outside that a function reads."""
    code, space = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    named = [(name, space[name]) for name in getattr(code, "co_names", ()) if name in space]
    shared = [(name, value) for name, value in named if kind(value) in ("array", "tensor")]
    return [(name, value, value.copy() if kind(value) == "array" else value.detach().clone()) for name, value in shared]
