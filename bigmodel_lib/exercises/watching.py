"""Run a reader's function: for a few seconds at most, without its prints, and with its own line if it stops."""

import contextlib
import ctypes
import io
import linecache
import threading
import types
from collections.abc import Iterator
from typing import Any


class TooLong(BaseException):
    """Raised in the reader's code when its time is up; no `except Exception` of theirs swallows it."""


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an error in another thread before its next instruction; None takes back one that is still to come."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooLong in this thread after some seconds, and again each second until it ends.

    A thread of its own watches the clock: signals would do that only on Linux and macOS. A single call into C (one
    huge matrix product) is not interrupted, a loop is.
    """
    thread = threading.get_ident()
    lock = threading.Lock()
    ended = threading.Event()

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            with lock:
                if not ended.is_set():
                    _raise_in(thread, TooLong)
            wait = 1.0

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            ended.set()
            _raise_in(thread, None)


@contextlib.contextmanager
def silence() -> Iterator[io.StringIO]:
    """Keep what is printed: a function is called many times."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        yield said


def readers_line(error: BaseException, function: Any) -> str:
    """Where in the reader's own code an error arose: "line 3, `x = y @ z`"; "" if none of its lines was running."""
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    found = ""
    trace: types.TracebackType | None = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name == own or "ipykernel_" in name or name.startswith("<ipython"):
            text = linecache.getline(name, trace.tb_lineno).strip()
            found = f"line {trace.tb_lineno}" + (f", `{text}`" if text else "")
        trace = trace.tb_next
    return found


def as_raised(error: BaseException, function: Any) -> str:
    """An exception as Python would show it: type, message, and the line of the reader's code."""
    message = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    where = readers_line(error, function)
    return f"{message} (in {where})" if where else message
