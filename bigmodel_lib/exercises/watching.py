"""Run a reader's function: for a few seconds at most, without its prints, and with its own line if it stops."""

import contextlib
import ctypes
import functools
import io
import linecache
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")


class TooLong(BaseException):
    """Raised in the reader's code when its time is up; no `except Exception` of theirs swallows it."""


def still_running(seconds: float, where: str = "") -> str:
    """What to say of code whose time is up."""
    return f"it was still running after {seconds:g} seconds{where}: is there a loop that never ends, or is it far too slow?"


def _raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise an error in a thread before one of its next instructions."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _let_come(error: type[BaseException]) -> None:
    """Have an error that may be on its way to this thread arrive here, and nowhere later.

    Taking it back would leave the interpreter looking out for it, which is slow and hangs profilers on Python 3.11.
    """
    with contextlib.suppress(error):
        _raise_in(threading.get_ident(), error)
        while True:
            pass


def clock_of(thread: int) -> Callable[[], float]:
    """The seconds for which a thread has computed: a busy machine isn't the reader's fault. On Windows and macOS all seconds."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.monotonic
    return functools.partial(time.clock_gettime, time.pthread_getcpuclockid(thread))


PATIENCE = 6  # times as long may it take where others compute, too, or where it sleeps


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What `work()` gives; raises TooLong in it after some seconds, and again and again where that is swallowed.

    A thread of its own watches the clock: signals would do that only on Linux and macOS. A single call into C (one
    huge matrix product) is not interrupted, a loop is.
    """
    thread = threading.get_ident()
    lock, ended = threading.Lock(), threading.Event()
    over = raised = False
    clock = clock_of(thread)
    begun, last = clock(), time.monotonic() + PATIENCE * seconds

    def watch() -> None:
        nonlocal raised
        wait = seconds
        while not ended.wait(wait):
            left = min(seconds - (clock() - begun), last - time.monotonic())
            wait = max(0.05, left)
            with lock:
                if over:
                    return
                if left <= 0:
                    raised = True
                    _raise_in(thread, TooLong)

    def call_off() -> None:
        nonlocal over
        with lock:
            over = True
        ended.set()
        if raised:
            _let_come(TooLong)

    try:
        threading.Thread(target=watch, daemon=True).start()
        result = work()
    finally:
        try:
            call_off()
        except TooLong:  # its time was up at this very moment
            call_off()
    if raised:  # and somebody's `except:` has swallowed it
        raise TooLong
    return result


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
