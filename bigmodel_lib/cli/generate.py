"""`bigmodel generate`: a model goes on with a text, token by token."""

import argparse
from collections.abc import Callable, Iterable, Iterator

from bigmodel_lib.cli.main import Command, OneLineParser, say
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


def writer(options: argparse.Namespace) -> Callable[[str, int], Iterator[str]]:
    """A function (prompt, seed) that yields what the model of the options writes after the prompt, as it grows."""
    model, tokenizer = load_model(options.checkpoint, choose_device(options.device))
    given = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "stop")}
    return lambda prompt, seed: stream(model, tokenizer, prompt, options.tokens, seed=seed, **given)


def say_as_it_grows(texts: Iterable[str]) -> str:
    """Print what each text adds to the one before it; returns the last one."""
    before = ""
    for text in texts:
        say(text[len(before) :], end="")
        before = text
    say("")
    return before


def add_options(parser: OneLineParser) -> None:
    """The options of this command."""
    parser.add_argument("--prompt", required=True, help="the text to continue")
    add_sampling_options(parser, 300)


def work(options: argparse.Namespace, _: StopSignal) -> None:
    """Write what comes after the prompt."""
    texts = writer(options)(options.prompt, options.seed)
    say_as_it_grows(options.prompt + text for text in texts)


main = Command("generate", add_options, work)
