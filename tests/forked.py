"""Programs in forked processes, which start at once, and signals at chosen moments of their lives.

A moment is the nth call of one of the library's functions, or the time just before or after the nth file operation of
a kind. So the same moment is the same place in the program on any machine, however loaded.
"""

import collections
import faulthandler
import os
import pathlib
import signal
import sys
import threading

import torch
import tqdm

import bigmodel_lib
from bigmodel_lib.cli import run
from bigmodel_lib.cli.main import run_program

LIBRARY = str(pathlib.Path(bigmodel_lib.__file__).parent)
FILE_CALLS = (os.replace, os.rename, os.fsync, os.unlink, os.mkdir, os.rmdir)
HUNG = 120  # seconds, after which a run says where it hangs and ends
HEARD = (signal.SIGINT, signal.SIGTERM)


def at_moments(act) -> None:
    """From here on call act((name, n)) at every moment, the first n being 1."""
    counts = collections.Counter()

    def look(frame, event, what):
        name = None
        if event == "call" and frame.f_code.co_filename.startswith(LIBRARY):
            name = frame.f_code.co_qualname
        elif event in ("c_call", "c_return") and what in FILE_CALLS:
            name = ("before " if event == "c_call" else "after ") + what.__name__
        if name and "<" not in name:  # without comprehensions, which are calls in some versions of Python
            counts[name] += 1
            act((name, counts[name]))

    sys.setprofile(look)


def write_down(path):
    """An act that writes each moment into a file; `read_moments` reads it."""
    file = path.open("w", buffering=1)
    return lambda moment: print(*moment, file=file)


def read_moments(path) -> list:
    """The moments of a life, in order."""
    rows = (line.rsplit(" ", 1) for line in path.read_text().splitlines())
    return [(name, int(n)) for name, n in rows]


def send(plan: dict, to=lambda number: os.kill(os.getpid(), number)):
    """An act that sends signals, to its own process or by `to`: plan {moment: number of the signal}."""

    def act(moment):
        number = plan.pop(moment, None)
        if not plan:
            sys.setprofile(None)
        if number:
            print("signal at", *moment, file=sys.stderr)
            to(number)

    return act


def fork(program, options, said, act=None, group=None, **environment) -> int:
    """Start the main function of a program in a forked process; returns its number. What it says goes into a file.

    It saves at every look. Signals are left to the system until the program takes them. `group` is the number of the
    process whose group it joins, 0 for a group of its own.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)  # none comes while the handlers of pytest are still there
    number = os.fork()
    if group is not None:
        os.setpgid(number, group)
    if number:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        return number
    code = 70
    try:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        faulthandler.dump_traceback_later(HUNG, exit=True, file=2)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        os.environ.update(environment)
        torch.set_num_threads(1)
        tqdm.tqdm.set_lock(threading.RLock())  # the usual one is shared with all forks, and one may end holding it
        run.CHECKPOINT_SECONDS = -1.0
        for heard in HEARD:
            signal.signal(heard, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        if act:
            at_moments(act)
        run_program(program.main, [str(option) for option in options])
    except SystemExit as end:
        code = end.code
    finally:
        sys.setprofile(None)
        os._exit(code)


def end_of(number: int) -> int:
    """Wait for a forked process; its exit code, or -n where the system ended it by signal n."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
