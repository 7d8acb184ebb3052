"""The pace of the recipes against a plain GPT: `make bench TEXT=file` (a text of about a megabyte; 10 minutes).

For each seed, in turn: the plain GPT for its whole run; the preset quick for growing shares of that training time,
until it reaches the plain GPT's loss; the preset medium for all of it. Each run is a process of its own. "whole" counts
all of it, from the start of Python to the loss over the whole validation split, "loop" the training alone. Losses are
in nats per character. Ratios come from one run on one machine, so they can be compared where seconds cannot.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch

from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Trainer, next_token_loss

SHARES = (1 / 60, 1 / 50, 1 / 40, 1 / 33, 1 / 25, 1 / 20, 1 / 15, 1 / 12, 1 / 8, 1 / 4)  # of the plain GPT's loop
GOALS = {"whole": 1 / 20, "loop": 1 / 40, "below": 0.43}


def text_of(options: argparse.Namespace) -> str:
    return sources.read_text(options.text) if options.text else sources.python_manual()


def train(name: str, text: str, seed: int, **budget) -> dict:
    """Seconds in the loop, loss on the validation split, and steps of one run."""
    tokenizer = CharacterTokenizer(text)
    model_config, config = preset(name, tokenizer.vocab_size, seed=seed, **budget)
    train_tokens, validation = batches.split_tokens(tokenizer.encode(text), model_config.context_length)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(seed))
    source = batches.causal_batches(train_tokens, config.batch_size, model_config.context_length)
    run = Trainer(model, source, next_token_loss, config)
    for _ in run:
        pass
    return {"loop": run.seconds, "loss": evaluate(model, validation), "steps": run.step}


def in_a_process(options: argparse.Namespace, name: str, seed: int, **budget) -> dict:
    """What `train` finds in a process of its own, and the seconds of that process as "whole"."""
    command = [sys.executable, __file__, "--one", json.dumps({"name": name, "seed": seed, **budget})]
    start = time.perf_counter()
    done = subprocess.run(command + (["--text", options.text] if options.text else []), capture_output=True, text=True)
    took = time.perf_counter() - start
    if done.returncode:
        raise CourseError(f"a run of {name} failed: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout) | {"whole": took}


def compare(options: argparse.Namespace, seed: int) -> dict:
    """One seed: the shares of the plain GPT's seconds that quick needs, and how far below it medium ends."""
    plain = in_a_process(options, "plain", seed, steps=options.plain_steps)

    def tell(name: str, run: dict) -> None:
        times = f"{run['loop']:8.2f} {plain['loop'] / run['loop']:6.1f} {run['whole']:8.2f}"
        faster, below = f"{plain['whole'] / run['whole']:6.1f}", f"{plain['loss'] - run['loss']:8.4f}"
        print(f"{seed:>4}  {name:<7} {run['steps']:>6} {times} {faster} {run['loss']:8.4f} {below}", flush=True)

    tell("plain", plain)
    found: dict = {}
    for share in SHARES:
        run = in_a_process(options, "quick", seed, minutes=share * plain["loop"] / 60)
        tell("quick", run)
        if run["loss"] <= plain["loss"]:
            found = {key: run[key] / plain[key] for key in ("whole", "loop")}
            break
    run = in_a_process(options, "medium", seed, minutes=plain["loop"] / 60)
    tell("medium", run)
    return found | {"below": plain["loss"] - run["loss"]}


def main() -> int:
    parser = argparse.ArgumentParser(description="The recipes against a plain GPT, each run in a process of its own.")
    parser.add_argument("--text", help="a UTF-8 text (default: the Python manual)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plain-steps", type=int, default=2000, help="fewer for a quick look; the goals mean 2000")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        text = text_of(options)
        if options.one:
            print(json.dumps(train(text=text, **json.loads(options.one))))
            return 0
        print(f"{hardware()}\n{options.text or 'the Python manual'}: {len(text):,} characters; seeds {options.seeds}\n")
        print("seed  recipe   steps     loop  times    whole  times     loss    below")
        found = [compare(options, seed) for seed in options.seeds]
    except CourseError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print()
    for key, what in (("whole", "whole process to the plain GPT's loss"), ("loop", "training to the plain GPT's loss")):
        shares = [one.get(key, 1.0) for one in found]
        goal, mean = 1 / GOALS[key], 1 / statistics.geometric_mean(shares)
        between = f"({1 / max(shares):.1f} to {1 / min(shares):.1f})"
        print(f"{what}: {mean:.1f} times as fast {between}; the goal is {goal:.0f}")
    below = [one["below"] for one in found]
    told = f"{statistics.mean(below):.3f} ({min(below):.3f} to {max(below):.3f}); the goal is {GOALS['below']}"
    print(f"in the plain GPT's time, below its loss: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
