"""`bigmodel chat`: a conversation on the terminal. Lines come from standard input; Ctrl-D ends it."""

import argparse
import functools
import sys

from bigmodel_lib.cli.generate import add_sampling_options, say_as_it_grows, writer
from bigmodel_lib.cli.main import Command, tell
from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.errors import CourseError


def work(options: argparse.Namespace, _: StopSignal) -> None:
    """Answer each line with what the model writes after the conversation so far."""
    write = writer(options)
    prompt = "> " if sys.stdin.isatty() and sys.stdout.isatty() else ""
    said, seed = "", options.seed
    while True:
        try:
            context = f"{said}{input(prompt)}\n"
            said = context + say_as_it_grows(write(context, seed)) + "\n"
        except EOFError:
            return
        except CourseError as error:  # such as a sign that this model does not know: the next line may do
            tell("chat", str(error))
        seed += 1


main = Command("chat", functools.partial(add_sampling_options, n_tokens=120), work)
