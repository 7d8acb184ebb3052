"""`bigmodel generate`: a model goes on with a text, token by token."""

import argparse
from collections.abc import Iterable, Sequence

from bigmodel_lib.cli import program
from bigmodel_lib.cli.program import OneLineParser, say
from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.generation import stream
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.training.checkpoints import load_model


def add_sampling_options(parser: OneLineParser, n_tokens: int) -> None:
    """The options of all commands that write."""
    add = parser.add_argument
    add("--checkpoint", metavar="DIR", required=True, help="folder of a finished pretraining run")
    add("--tokens", type=int, default=n_tokens, help=f"how many tokens to write at most (default: {n_tokens})")
    add("--temperature", type=float, default=0.8, help="0: always the likeliest; 1: as learned (default: 0.8)")
    add("--top-k", type=int, default=0, help="choose among the k likeliest only; 0: among all (default)")
    add("--top-p", type=float, default=1.0, help="choose among the likeliest that reach p together; 1: all (default)")
    add("--stop", metavar="TEXT", default="", help="end after the first TEXT (default: never)")
    add("--seed", type=int, default=0, help="of the draws (default: 0)")
    add("--device", choices=program.DEVICES, default="auto", help="where to compute")


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="bigmodel generate", description="Write text with a pretrained model.")
    parser.add_argument("--prompt", required=True, help="the text to continue")
    add_sampling_options(parser, 300)
    return parser.parse_args(argv)


def continuation(model, tokenizer, prompt: str, options: argparse.Namespace, seed: int) -> Iterable[str]:
    """The text after a prompt as it grows, as `generation.stream` gives it."""
    chosen = dict(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p, stop=options.stop)
    return stream(model, tokenizer, prompt, options.tokens, seed=seed, **chosen)


def say_as_it_grows(texts: Iterable[str]) -> str:
    """Print what each text adds to the one before it; returns the last one."""
    before = ""
    for text in texts:
        say(text[len(before) :], end="")
        before = text
    say("")
    return before


def main(argv: Sequence[str] | None = None, stop: StopSignal | None = None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input."""
    options = parse_options(argv)

    def work() -> None:
        model, tokenizer = load_model(options.checkpoint, choose_device(options.device))
        texts = continuation(model, tokenizer, options.prompt, options, options.seed)
        say_as_it_grows(options.prompt + text for text in texts)

    return program.answer("generate", work, stop)
