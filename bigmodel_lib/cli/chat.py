"""`bigmodel chat`: a conversation on the terminal. Lines come from standard input; Ctrl-D ends it."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from bigmodel_lib.cli import program
from bigmodel_lib.cli.generate import add_sampling_options, continuation, say_as_it_grows
from bigmodel_lib.cli.program import OneLineParser, tell
from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.training.checkpoints import load_model


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    what = "Talk with a model: it goes on with all that was said. Ctrl-D ends the conversation."
    parser = OneLineParser(prog="bigmodel chat", description=what)
    add_sampling_options(parser, 120)
    return parser.parse_args(argv)


def typed_lines() -> Iterator[str]:
    """What the user says, line by line: after a prompt on a terminal, and without one from a pipe."""
    prompt = "> " if sys.stdin.isatty() and sys.stdout.isatty() else ""
    while True:
        try:
            yield input(prompt)
        except EOFError:
            return


def converse(model, tokenizer, options: argparse.Namespace) -> None:
    """Answer each line with what the model writes after the conversation so far."""
    said = ""
    for turn, line in enumerate(typed_lines()):
        context = f"{said}{line}\n"
        try:
            said = (
                context + say_as_it_grows(continuation(model, tokenizer, context, options, options.seed + turn)) + "\n"
            )
        except CourseError as error:  # such as a sign that this model does not know: the next line may do
            tell("chat", str(error))


def main(argv: Sequence[str] | None = None, stop: StopSignal | None = None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input."""
    options = parse_options(argv)
    return program.answer(
        "chat", lambda: converse(*load_model(options.checkpoint, choose_device(options.device)), options), stop
    )
