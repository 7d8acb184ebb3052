"""The one command, `bigmodel`, and what its programs share: options, exit codes, last words. It imports no PyTorch."""

import argparse
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bigmodel_lib import __version__
from bigmodel_lib.cli.stopping import StopSignal, left_to_the_system
from bigmodel_lib.errors import CourseError

COMMANDS = {
    "pretrain": "train a language model on a text",
    "finetune": "teach a trained model to tell labels from texts",
    "generate": "let a model go on with a text",
    "chat": "talk with a model on the terminal: it goes on with all that was said; Ctrl-D ends it",
    "evaluate": "measure a model on a text, or a classifier on labelled texts; or ask a classifier",
}


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a mistake ends the program with code 2 and one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists all options)\n")


def say(text: str, end: str = "\n") -> None:
    """Print a text on standard output at once; what its encoding lacks is shown escaped, such as \\u7f16."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, flush=True)


def tell(command: str, words: str) -> None:
    """One line on standard error, with the command's name before it."""
    print(f"bigmodel {command}: {words}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Command:
    """One of COMMANDS: `main = Command(…)`, and main(argv) runs it and returns its exit code.

    The code is 0, 2 with one line on stderr for bad input, 1 where another process or the reader of the output has
    ended, and 128 + n for a signal n. how_to_go_on(name, options) is what a stopped command says; None: nothing.
    """

    name: str
    add_options: Callable[[OneLineParser], None]
    work: Callable[[argparse.Namespace, StopSignal], None]
    how_to_go_on: Callable[[str, argparse.Namespace], str] | None = None

    def __call__(self, argv: Sequence[str] | None = None, stop: StopSignal | None = None) -> int:
        if stop is None:  # called from Python, which gets its own handlers back
            with StopSignal() as stop:
                return self(argv, stop)
        parser = OneLineParser(f"bigmodel {self.name}", description=COMMANDS[self.name], allow_abbrev=False)
        self.add_options(parser)
        devices = ("auto", "cpu", "cuda", "mps")
        parser.add_argument("--device", choices=devices, default="auto", help="where to compute (default: auto)")
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
            if not stop.number:  # which would have ended the other process, too
                return self._end(1, f"another process of this run has ended; --resume goes on ({str(error)[:60]}…)")
        except KeyboardInterrupt:
            pass
        if self.how_to_go_on and os.environ.get("RANK", "0") == "0":  # the one that has the checkpoint
            tell(self.name, self.how_to_go_on(self.name, options))
        return stop.exit_code()

    def _end(self, code: int, words: str) -> int:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of each machine speaks for all
            tell(self.name, words)
        return code


def run_program(program: Callable[[Sequence[str], StopSignal], int], argv: Sequence[str]) -> NoReturn:
    """Run a command as this process, and end with its exit code; once that is known, signals change nothing.

    One of several processes ends without Python's own tidying up, in which gloo's threads abort now and then
    (github.com/pytorch/pytorch/pull/179291).
    """
    stop = StopSignal()
    try:
        code = program(argv, stop)
    except KeyboardInterrupt:  # a second signal, while the first one was being answered
        code = stop.exit_code()
    finally:
        stop.ended()
    sys.stdout.flush()
    sys.stderr.flush()
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of COMMANDS as this process, and end with its exit code; of the programs, import that one alone."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        with left_to_the_system():  # while PyTorch is imported
            program = importlib.import_module(f"bigmodel_lib.cli.{argv[0]}")
        run_program(program.main, argv[1:])
    parser = OneLineParser("bigmodel", description="Language models from the formula up.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"bigmodel {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        commands.add_parser(name, help=what)
    parser.parse_args(argv)


def moved(old: str, new: str) -> NoReturn:
    """What a module says that was a command once; it ends the program with code 2."""
    print(f"python -m bigmodel_lib.{old} is now: {sys.executable} -m bigmodel_lib {new} (--help)", file=sys.stderr)
    sys.exit(2)
