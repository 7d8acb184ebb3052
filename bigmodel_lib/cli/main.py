"""The one command, `bigmodel`: it finds the program for each subcommand, and imports no other."""

import importlib
import sys
from collections.abc import Sequence

from bigmodel_lib import __version__
from bigmodel_lib.cli.program import COMMANDS, OneLineParser, run_program
from bigmodel_lib.cli.stopping import left_to_the_system


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of COMMANDS as this process, and end with its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in COMMANDS:
        with left_to_the_system():  # while PyTorch is imported
            program = importlib.import_module(f"bigmodel_lib.cli.{argv[0]}")
        run_program(program.main, argv[1:])
    parser = OneLineParser(prog="bigmodel", description="Language models from the formula up.")
    parser.add_argument("--version", action="version", version=f"bigmodel {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        commands.add_parser(name, help=what)
    parser.parse_args(argv)
