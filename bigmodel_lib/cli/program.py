"""What all commands share: how options are read, how a command ends, and how it was started. It imports no PyTorch."""

import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.errors import CourseError

DEVICES = ("auto", "cpu", "cuda", "mps")


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a mistake is one line, and options are not abbreviated."""

    def __init__(self, **more: object) -> None:
        super().__init__(allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        """End the program with code 2 and one line."""
        self.exit(2, f"{self.prog}: {message} (--help lists all options)\n")


def say(text: str, end: str = "\n") -> None:
    """Print a text on standard output at once; what its encoding lacks is shown escaped, such as \\u7f16."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, flush=True)


def tell(command: str, words: str) -> None:
    """One line on standard error, with the command's name before it."""
    print(f"bigmodel {command}: {words}", file=sys.stderr)


def reading_bars() -> Callable[[int, int, str], None]:
    """A function (bytes done, bytes in all, what is done) that draws a bar on the terminal for each thing done."""
    from tqdm import tqdm

    bars: dict = {}

    def show(done: int, total: int, what: str) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit="B", unit_scale=True, file=sys.stderr)
        bars[what].update(done - bars[what].n)
        if done >= total:
            bars[what].close()

    return show


def moved(old: str, new: str) -> NoReturn:
    """What a module says that was a command once; it ends the program with code 2."""
    print(f"python -m bigmodel_lib.{old} is now: {sys.executable} -m bigmodel_lib {new} (--help)", file=sys.stderr)
    sys.exit(2)


def answer(command: str, work: Callable[[], None], stop: StopSignal | None) -> int:
    """Do the work of a command that leaves nothing behind; returns its exit code, as `run.main` does for runs."""
    if stop is None:  # called from Python, which gets its own handlers back
        with StopSignal() as stop:
            return answer(command, work, stop)
    try:
        with stop.at_once():
            work()
        return 0
    except CourseError as error:
        tell(command, str(error))
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return stop.exit_code()


def beginning() -> list[str]:
    """How this process was started, up to the name of the command, so that it can be started so again."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        n = os.environ.get("LOCAL_WORLD_SIZE", "1")
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}"]
        return [*start, "-m", "bigmodel_lib"]
    script = pathlib.Path(sys.argv[0])
    if script.stem == "bigmodel":
        found = shutil.which("bigmodel")
        return ["bigmodel" if found and os.path.samefile(found, script) else str(script)]
    return [(sys.orig_argv or ["python"])[0], "-m", "bigmodel_lib"]


def as_typed(words: Sequence[str]) -> str:
    """A command line for this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def leave(code: int) -> NoReturn:
    """End this process with an exit code.

    One of several ends without Python's own tidying up, in which gloo's threads abort now and then
    (github.com/pytorch/pytorch/pull/179291).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        os._exit(code)
    sys.exit(code)


def run_program(main: Callable[[Sequence[str] | None, StopSignal], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command's main(argv, stop) as this process, and end with its exit code.

    Signals are heard from here to the last moment: once the code is known, they change nothing.
    """
    stop = StopSignal()
    try:
        stop.listen()
        code = main(argv, stop)
    except KeyboardInterrupt:  # a second signal, while the first one was being answered
        code = stop.exit_code()
    finally:
        stop.ended()
    leave(code)
