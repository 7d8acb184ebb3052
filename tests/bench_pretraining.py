"""The pace of the recipes against a plain GPT: `make bench TEXT=file` (meant for Tiny Shakespeare; about 10 minutes).

For each seed, in turn: the plain GPT for its whole run; the preset small for a fifteenth of that training time; the
preset medium for all of it. Losses are over the whole validation split, in nats per character. Ratios come from one run
on one machine, so they can be compared where seconds cannot.
"""

import argparse
import statistics
import sys

import torch

from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Trainer, next_token_loss


def train(name: str, text: str, seed: int, **budget):
    """(training seconds, validation loss, steps) of one run."""
    tokenizer = CharacterTokenizer(text)
    model_config, config = preset(name, tokenizer.vocab_size, seed=seed, **budget)
    train_tokens, validation = batches.split_tokens(tokenizer.encode(text), model_config.context_length)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(seed))
    source = batches.causal_batches(train_tokens, config.batch_size, model_config.context_length)
    run = Trainer(model, source, next_token_loss, config)
    for _ in run:
        pass
    return run.seconds, evaluate(model, validation), run.step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="a UTF-8 text (default: the Python manual, as a smoke run)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plain-steps", type=int, default=2000, help="fewer for a quick look; the targets mean 2000")
    options = parser.parse_args()
    try:
        text = sources.read_text(options.text) if options.text else sources.python_manual()
    except CourseError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(f"{hardware()}\n{options.text or 'the Python manual'}: {len(text):,} characters; seeds {options.seeds}\n")
    train("small", text, 0, steps=20)  # the first steps of a process are slow
    gaps: dict = {"small": [], "medium": []}
    print(
        f"{'seed':>4}  {'recipe':<8} {'steps':>6} {'seconds':>8} {'share of plain':>15} {'loss':>7} {'below plain':>12}"
    )
    for seed in options.seeds:
        seconds, plain, steps = train("plain", text, seed, steps=options.plain_steps)
        print(f"{seed:>4}  {'plain':<8} {steps:>6} {seconds:>8.2f} {'1':>15} {plain:>7.4f} {'':>12}", flush=True)
        for name, share in (("small", 1 / 15), ("medium", 1.0)):
            took, loss, steps = train(name, text, seed, minutes=share * seconds / 60)
            gaps[name].append(plain - loss)
            share = took / seconds
            row = f"{seed:>4}  {name:<8} {steps:>6} {took:>8.2f} {share:>15.4f} {loss:>7.4f} {plain - loss:>12.4f}"
            print(row, flush=True)
    print()
    for name, target in (("small", 0.0), ("medium", 0.30)):
        low, high = min(gaps[name]), max(gaps[name])
        verdict = "reached" if low >= target else "MISSED"
        mean = statistics.mean(gaps[name])
        print(f"{name}: below plain by {mean:.4f} on average, {low:.4f} to {high:.4f}; target {target}: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
