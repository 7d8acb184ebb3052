"""What all commands share: how options are read, how a command ends, and how it was started. It imports no PyTorch."""

import argparse
import dataclasses
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from bigmodel_lib.cli.stopping import Stopped, StopSignal
from bigmodel_lib.errors import CourseError

COMMANDS = {
    "pretrain": "train a language model on a text",
    "finetune": "teach a trained model to tell labels from texts",
    "generate": "let a model go on with a text",
    "chat": "talk with a model on the terminal: it goes on with all that was said; Ctrl-D ends it",
    "evaluate": "measure a model on a text, or a classifier on labelled texts; or ask a classifier",
}
DEVICES = ("auto", "cpu", "cuda", "mps")


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a mistake is one line, and options are not abbreviated."""

    def __init__(self, **more: Any) -> None:
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


def moved(old: str, new: str) -> NoReturn:
    """What a module says that was a command once; it ends the program with code 2."""
    print(f"python -m bigmodel_lib.{old} is now: {sys.executable} -m bigmodel_lib {new} (--help)", file=sys.stderr)
    sys.exit(2)


@dataclasses.dataclass(frozen=True)
class Command:
    """One of COMMANDS: `main = Command(…)`, and main(argv) runs it and returns its exit code.

    The code is 0, 2 with one line on stderr for bad input, 1 where another process or the reader of the output has
    ended, and 128 + n for a signal n. how_to_go_on(options, at_once) is what a stopped command says; None: nothing.
    """

    name: str
    add_options: Callable[[OneLineParser], None]
    work: Callable[[argparse.Namespace, StopSignal], None]
    how_to_go_on: Callable[[argparse.Namespace, bool], str] | None = None

    def __call__(self, argv: Sequence[str] | None = None, stop: StopSignal | None = None) -> int:
        if stop is None:  # called from Python, which gets its own handlers back
            with StopSignal() as stop:
                return self(argv, stop)
        parser = OneLineParser(prog=f"bigmodel {self.name}", description=COMMANDS[self.name])
        self.add_options(parser)
        options = parser.parse_args(argv)
        try:
            with stop.at_once():
                self.work(options, stop)
            return 0
        except CourseError as error:
            return self._end(2, str(error))
        except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except RuntimeError as error:
            if type(error).__name__ == "OutOfMemoryError":
                return self._end(2, "the device has too little memory: choose a smaller --batch-size or model")
            if os.environ.get("WORLD_SIZE", "1") == "1":
                raise
            if stop.comes_soon():  # it has ended the other process already
                return self._stopped(options, stop, at_once=True)
            return self._end(1, f"another process of this run has ended; --resume goes on ({str(error)[:60]}…)")
        except KeyboardInterrupt as wish:
            return self._stopped(options, stop, at_once=not isinstance(wish, Stopped))

    def _end(self, code: int, words: str) -> int:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of each machine speaks for all
            tell(self.name, words)
        return code

    def _stopped(self, options: argparse.Namespace, stop: StopSignal, at_once: bool) -> int:
        if self.how_to_go_on and os.environ.get("RANK", "0") == "0":  # the one that has the checkpoint
            tell(self.name, self.how_to_go_on(options, at_once))
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
