"""What all commands share: how options are read, how a command ends, and how it was started. It imports no PyTorch."""

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from bigmodel_lib.cli.stopping import StopSignal
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
    ended, and 128 + n for a signal n. how_to_go_on(options) is what a stopped command says; None: nothing.
    """

    name: str
    add_options: Callable[[OneLineParser], None]
    work: Callable[[argparse.Namespace, StopSignal], None]
    how_to_go_on: Callable[[argparse.Namespace], str] | None = None

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
            if not stop.comes_soon():  # which would have ended the other process, too
                return self._end(1, f"another process of this run has ended; --resume goes on ({str(error)[:60]}…)")
        except KeyboardInterrupt:
            pass
        if self.how_to_go_on and os.environ.get("RANK", "0") == "0":  # the one that has the checkpoint
            tell(self.name, self.how_to_go_on(options))
        return stop.exit_code()

    def _end(self, code: int, words: str) -> int:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of each machine speaks for all
            tell(self.name, words)
        return code


def as_typed(command: str, *options: str) -> str:
    """The line that starts a command in the way in which this process was started, for this system's shell."""
    start = [sys.executable, "-m"]
    if os.environ.get("WORLD_SIZE", "1") != "1":
        processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
        start += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    words = [*start, "bigmodel_lib", command, *options]
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
