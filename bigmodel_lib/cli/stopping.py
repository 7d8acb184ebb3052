"""Ctrl-C and (but on Windows, which has none) a polite kill, heard from start to end: a run's files stay in order."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it would import PyTorch
    from bigmodel_lib.training.distributed import Processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_WISH = 1.0  # seconds in which further signals repeat the first: a terminal and torchrun both pass a Ctrl-C on


class Stopped(KeyboardInterrupt):
    """The first signal has stopped the work here; a plain KeyboardInterrupt comes from a second one."""


def set_handlers(*handlers: Any) -> list:
    """Set one for each of SIGNALS and return those from before; a side thread, which may set none, changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [signal.signal(number, to or signal.SIG_DFL) for number, to in zip(SIGNALS, handlers, strict=False)]


@contextlib.contextmanager
def left_to_the_system() -> Iterator[None]:
    """Inside, a signal ends the process at once, even while it waits in compiled code that no handler interrupts."""
    before = set_handlers(signal.SIG_DFL, signal.SIG_DFL)
    try:
        yield
    finally:
        set_handlers(*before)


class StopSignal(contextlib.AbstractContextManager["StopSignal"]):
    """What Ctrl-C (SIGINT) or a polite kill (SIGTERM) asks for; `number` is the signal's, 0 until one comes.

    The first one is only noted: a loop looks at `number` where it can stop, and files are written to the end. Inside
    `at_once()` it raises Stopped, so that no long step delays it. A second one raises KeyboardInterrupt wherever it
    comes, and a third is left to the system. It hears from its making on; `with` gives the handlers back at its end.
    """

    def __init__(self) -> None:
        self.number, self._since = 0, 0.0
        self._held, self._raised, self._over = True, False, False
        self._before = set_handlers(self._note, self._note)

    def __exit__(self, *_: object) -> None:
        set_handlers(*self._before)

    def _note(self, number: int, _: object) -> None:
        if self._over:
            return
        if not self.number:
            self._since, self.number = time.monotonic(), number
            self._stop_unless(self._held)
        elif time.monotonic() - self._since >= ONE_WISH:
            set_handlers(signal.SIG_DFL, signal.SIG_DFL)
            raise KeyboardInterrupt

    def _stop_unless(self, held: bool) -> None:
        if self.number and not held and not self._over:
            self._raised = True
            raise Stopped

    @contextlib.contextmanager
    def at_once(self, held: bool = False) -> Iterator[None]:
        """Inside, the first signal raises Stopped, as one does that was noted: for long steps that write nothing."""
        outside, self._held = self._held, held
        try:
            self._stop_unless(outside and held)  # Python may have swallowed what it raised, in a generator's end
            yield
        except Exception:
            if self._raised:  # compiled code may turn it into an error of its own, such as a damaged file
                raise Stopped from None
            raise
        finally:
            self._held = outside
        self._stop_unless(outside)

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Inside, also within `at_once()`, the first signal is only noted; on leaving it raises Stopped."""
        return self.at_once(held=True)

    def among(self, processes: "Processes") -> bool:
        """Whether any of a run's processes has been asked to stop: all get the same answer."""
        number = int(processes.maximum(self.number))
        if number and not self.number:
            self._since, self.number = time.monotonic(), number
        return number > 0

    def end_together(self, stopped: bool, processes: "Processes") -> None:
        """Let all processes of a run end as its first one does: stopped by that one's signal, or finished."""
        if number := int(processes.broadcast(self.number if stopped else 0)):
            self.number = number
        else:
            self.ended()

    def ended(self) -> None:
        """Say that the run is finished, or its exit code known: from now on signals change nothing."""
        self._over = True
        set_handlers(signal.SIG_IGN, signal.SIG_IGN)

    def exit_code(self) -> int:
        """128 and the signal's number, as a shell counts it."""
        return 128 + (self.number or signal.SIGINT)
