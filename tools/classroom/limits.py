"""Run a function in a process of its own, with limits on time, memory, files and network, and bring back what it says.

Enforced on Linux. Elsewhere `not_enforced` says what isn't. It keeps accidents and clumsy mischief away from the
others; it isn't a sandbox: whoever wants to do harm needs a machine of their own.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

CPU_SECONDS = 30
MEMORY = 3 * 2**30  # bytes beyond what the process has at its start
FILE = 2**24  # bytes of the largest file
PATIENCE = 4  # times the limit of computing may pass by the clock
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def not_enforced() -> list[str]:
    """What this system can't limit."""
    if sys.platform == "linux":
        return []
    return [
        "computing time (the clock is used)",
        "memory",
        "the size of files",
        "the network (Python's own sockets are refused)",
    ]


def limited(work: Callable[..., dict], *arguments: object, cpu_seconds: float = CPU_SECONDS) -> dict:
    """What work(*arguments) gives, or {"stopped": why}: it ran too long, ended its process, or said nothing readable.

    `work` gives a dictionary that JSON can hold. Nothing else comes back: no object of a student's is unpickled.
    """
    return all_limited(work, [arguments], 1, cpu_seconds)[0]


def all_limited(work: Callable[..., dict], jobs: Sequence[tuple], workers: int, cpu_seconds: float) -> list[dict]:
    """`limited` for many arguments, some at once; the results in their order.

    One thread starts and hears all processes: forking beside other threads can hang.
    """
    found: dict[int, dict] = {}
    running: dict[Connection, tuple[int, BaseProcess, float]] = {}
    waiting = list(enumerate(jobs))
    while waiting or running:
        while waiting and len(running) < workers:
            place, arguments = waiting.pop(0)
            hears, child = _start(work, arguments, cpu_seconds)
            running[hears] = (place, child, time.monotonic() + PATIENCE * cpu_seconds)
        ready = wait(list(running), timeout=0.2)
        for hears, (place, child, until) in list(running.items()):
            if hears in ready or time.monotonic() > until:
                found[place] = _end(hears, child, hears in ready, cpu_seconds)
                del running[hears]
    return [found[place] for place in range(len(jobs))]


def _start(work: Callable[..., dict], arguments: tuple, cpu_seconds: float) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    hears, says = context.Pipe(duplex=False)
    child = context.Process(target=_begin, args=(says, cpu_seconds, work, arguments), daemon=True)
    child.start()
    says.close()
    return hears, child


def _end(hears: Connection, child: BaseProcess, ready: bool, cpu_seconds: float) -> dict:
    """What a process said; it is ended, and on Linux all that it has started."""
    answer = b""
    if ready:
        with contextlib.suppress(EOFError, OSError):
            answer = hears.recv_bytes(2**20)
    hears.close()
    child.join(1)
    exit_code = child.exitcode
    if sys.platform == "linux" and child.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    if child.is_alive():
        child.kill()
    child.join()
    with contextlib.suppress(ValueError):
        if isinstance(found := json.loads(answer), dict):
            return found
    if not ready:
        return {"stopped": f"it was still there after {PATIENCE * cpu_seconds:g} seconds"}
    if exit_code in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"stopped": f"it computed for more than {cpu_seconds:g} seconds"}
    return {"stopped": f"its process ended before it said anything (exit code {exit_code})"}


def _begin(says: Connection, cpu_seconds: float, work: Callable[..., dict], arguments: tuple) -> None:
    if sys.platform == "linux":
        os.setsid()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["HOME"] = os.environ["XDG_DATA_HOME"] = folder
        _limit(cpu_seconds)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        try:
            found = work(*arguments)
        except MemoryError:
            found = {"stopped": "it took more memory than there is"}
        except BaseException as error:  # the student's code may raise anything
            found = {"stopped": f"{type(error).__name__}: {error}"[:500]}
        says.send_bytes(json.dumps(found).encode())


def _limit(cpu_seconds: float) -> None:
    _without_network()
    if sys.platform != "linux":
        return
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _without_network() -> None:
    """A network of its own, with nothing in it; where the system refuses that, Python's sockets are refused."""
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        return

    def refuse(event: str, _: tuple) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
            raise PermissionError("no network while an exercise is checked")

    sys.addaudithook(refuse)
