"""Run a function in a process of its own, with limits on time, memory, files and network, and bring back what it says.

Enforced on Linux; elsewhere `not_enforced` says what isn't. What Python itself does is refused everywhere: to write
outside of a folder of its own, to start processes. It keeps accidents and clumsy mischief away from the others; it
isn't a sandbox: whoever wants to do harm needs a machine of their own.
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

CPU_SECONDS = 20
MEMORY = 3 * 2**30  # bytes beyond what the process has at its start
FILE = 2**24  # bytes of the largest file
PROCESSES = 32  # beyond those that the user has, threads included; the system lets root have more
PATIENCE = 3  # times the limit of computing may pass by the clock
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def not_enforced() -> list[str]:
    """What this system can't limit."""
    if sys.platform == "linux":
        return [] if _network_of_its_own_is_granted() else ["the network (Python's own sockets are refused)"]
    return [
        "computing time (the clock is used)",
        "memory",
        "the size of files",
        "the network, processes and files elsewhere (what Python itself does is refused)",
    ]


def _network_of_its_own_is_granted() -> bool:
    """Whether this Linux lets a process leave the network; some containers don't."""
    child = os.fork()
    if child == 0:
        os._exit(_leave_the_network())
    return os.waitpid(child, 0)[1] == 0


def _leave_the_network() -> int:
    """Give this process a network with nothing in it; 0 if the system lets it."""
    return int(ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)


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
        os.environ["HOME"] = os.environ["XDG_DATA_HOME"] = tempfile.tempdir = folder
        _limit(cpu_seconds)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        leave = _refuse(os.path.realpath(folder))
        try:
            found = work(*arguments)
        except MemoryError:
            found = {"stopped": "it took more memory than there is"}
        except BaseException as error:  # the student's code may raise anything
            found = {"stopped": f"{type(error).__name__}: {error}"[:500]}
        says.send_bytes(json.dumps(found).encode())
        leave.append(True)


def _limit(cpu_seconds: float) -> None:
    if sys.platform != "linux":
        return
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    processes = _threads_of_user() + PROCESSES
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # a system that allows less already
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))


def _threads_of_user() -> int:
    """How many threads this user runs now."""
    count = 0
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            count += len(os.listdir(place / "task")) if place.stat().st_uid == os.getuid() else 0
    return count


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"}
CHANGES |= {"os.truncate"}
STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system"}
STARTS |= {"os.kill", "os.killpg", "pty.spawn", "subprocess.Popen"}
CONNECTS = {"socket.bind", "socket.connect", "socket.getaddrinfo"}


def _refuse(folder: str) -> list:
    """Refuse what no exercise needs: to write outside of a folder, to start processes, to use the network.

    Python asks before each of these; what goes past Python isn't noticed. Returns a list: when something is in it,
    all is allowed again.
    """
    if sys.platform == "linux":  # a network of its own, with nothing in it, where the system grants one
        _leave_the_network()
    leave: list = []

    def outside(path: object) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False  # an open file
        real = os.path.realpath(os.fsdecode(path))
        return real != os.devnull and os.path.commonpath([real, folder]) != folder

    def refuse(event: str, given: tuple) -> None:
        if leave:
            return
        if event in STARTS:
            raise PermissionError("no other processes while an exercise is checked")
        if event in CONNECTS:
            raise PermissionError("no network while an exercise is checked")
        writes = event == "open" and given[2] & WRITES or event in CHANGES
        if writes and any(outside(path) for path in given[: 1 if event == "open" else 2]):
            raise PermissionError("no writing outside of its own folder while an exercise is checked")

    sys.addaudithook(refuse)
    return leave
