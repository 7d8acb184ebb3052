"""Train the recipe one trick at a time, and without one at a time: `make data NAME=recipe` writes data/recipe.json.

All models have the size of the preset small and read the Python manual as characters. Each row's learning rate is
tuned on a tenth of the text that is used for nothing else; each is then trained with five seeds (the same batches and
starts in all rows), to equal tokens and again to equal seconds.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys
import time

import numpy as np
import torch

from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.optimizers import Optimizers
from bigmodel_lib.training.trainer import Diverged, Trainer, next_token_loss

FILE = pathlib.Path(__file__).resolve().parents[1] / "recipe.json"
STEPS, SEEDS, TUNING_SEED, DIVERGED = 400, (0, 1, 2, 3, 4), 100, 99.0

# What each trick replaces. The first row of the ladder has all of these; the recipe has none.
WITHOUT = {
    "warm-up and decay": dict(warmup_steps=0, final_lr=1.0),
    "AdamW": dict(optimizer="sgd"),
    "RoPE": dict(positions="learned"),
    "QK-norm": dict(qk_norm=False),
    "ReLU²": dict(activation="gelu"),
    "zero init": dict(init="gpt2"),
    "Muon": dict(optimizer="adamw"),
    "token shift": dict(token_shift=False),
}
RATES = {
    "sgd": (0.003, 0.01, 0.03, 0.1, 0.3),
    "adamw": (0.001, 0.002, 0.004, 0.008, 0.016),
    "muon": (0.005, 0.01, 0.02, 0.03, 0.05, 0.08),
    "muon and sgd": (0.03, 0.1, 0.3, 1.0, 3.0),
}


class WithSgd:
    """Plain gradient steps with momentum 0.9 in AdamW's place; Muon keeps the matrices if `muon` is given."""

    def __init__(self, model, config, rate: float, muon: bool):
        whole = Optimizers(model, config)
        rest = whole.parts[0].param_groups[0]["params"] if muon else list(model.parameters())
        self.parts = [torch.optim.SGD(rest, lr=rate, momentum=0.9, nesterov=True), *(whole.parts[1:] if muon else [])]
        self.peaks = [part.param_groups[0]["lr"] for part in self.parts]

    step = Optimizers.step


def changes_of(without) -> tuple[dict, str]:
    """(fields of the configurations, optimizer) of the recipe without these tricks."""
    changes: dict = {}
    for trick in without:
        changes |= {k: v for k, v in WITHOUT[trick].items() if k != "optimizer"}
    optimizer = "muon" if "Muon" not in without else "adamw"
    if "AdamW" in without:
        optimizer = "muon and sgd" if optimizer == "muon" else "sgd"
    return changes, optimizer


def texts():
    """(vocabulary size, training tokens, tuning tokens, validation tokens)."""
    text = sources.python_manual()
    tokenizer = CharacterTokenizer(text)
    train, validation = batches.split_tokens(tokenizer.encode(text), 64)
    train, tuning = batches.split_tokens(train, 64)
    return tokenizer.vocab_size, train, tuning, validation


def build(without, rate: float, steps: int, seed: int, vocab_size: int, train) -> Trainer:
    """The run of one row, not yet begun."""
    changes, optimizer = changes_of(without)
    rates = {} if optimizer.endswith("sgd") else {f"{optimizer}_lr": rate}
    model_config, config = preset(
        "small", vocab_size, steps=steps, seed=seed, **changes, **rates,
        optimizer="adamw" if optimizer in ("adamw", "sgd") else "muon",
    )  # fmt: skip
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(seed))
    source = batches.causal_batches(train, config.batch_size, model_config.context_length)
    trainer = Trainer(model, source, next_token_loss, config)
    if optimizer.endswith("sgd"):
        trainer.optimizers = WithSgd(model, config, rate, muon=optimizer != "sgd")
    return trainer


def one_run(without, rate: float, steps: int, seed: int, vocab_size: int, train, held_out) -> float:
    """The loss on held-out text of the recipe without these tricks; DIVERGED if it became no number."""
    run = build(without, rate, steps, seed, vocab_size, train)
    try:
        for _ in run:
            pass
        loss = evaluate(run.model, held_out)
    except Diverged:
        return DIVERGED
    return round(min(loss, DIVERGED), 4) if loss == loss else DIVERGED


def rows() -> dict:
    """{name of the row: the tricks that it lacks}: first the ladder, then the recipe without one trick."""
    tricks = list(WITHOUT)
    ladder = {f"{i} {'+ ' + tricks[i - 1] if i else 'plain'}": tricks[i:] for i in range(len(tricks) + 1)}
    return ladder | {f"without {trick}": [trick] for trick in tricks[:-1]}


def step_seconds(vocab_size, train, rounds: int = 9, steps: int = 10) -> dict:
    """Median seconds of a step of each row, the rows measured in turn on one thread."""
    measured: dict = {name: [] for name in rows()}
    for _ in range(rounds):
        for name, without in rows().items():
            run = build(without, 0.001, steps, 0, vocab_size, train)
            next(iter(run))
            measured[name].append(run.seconds / run.step)
    return {name: statistics.median(values) for name, values in measured.items()}


def job(arguments) -> dict:
    kind, name, rate, steps, seed = arguments
    torch.set_num_threads(1)
    vocab_size, train, tuning, validation = texts()
    loss = one_run(rows()[name], rate, steps, seed, vocab_size, train, tuning if kind == "tuning" else validation)
    return {"kind": kind, "row": name, "rate": rate, "steps": steps, "seed": seed, "loss": loss}


def in_parallel(jobs, processes: int) -> list[dict]:
    done, start = [], time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for row in pool.imap_unordered(job, jobs):
            done.append(row)
            print(f"{time.perf_counter() - start:6.0f} s  {len(done)}/{len(jobs)}", row, flush=True)
    order = {arguments: i for i, arguments in enumerate(jobs)}
    return sorted(done, key=lambda row: order[tuple(row[k] for k in ("kind", "row", "rate", "steps", "seed"))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(1)
    vocab_size, train, _, _ = texts()
    seconds = step_seconds(vocab_size, train)
    recipe = list(rows())[len(WITHOUT)]
    tuning = in_parallel(
        [
            ("tuning", name, rate, STEPS, TUNING_SEED)
            for name, without in rows().items()
            for rate in RATES[changes_of(without)[1]]
        ],
        options.processes,
    )
    best = {}
    for name in rows():
        best[name] = min((row for row in tuning if row["row"] == name), key=lambda row: row["loss"])["rate"]
    in_time = {name: max(1, round(STEPS * seconds[recipe] / seconds[name])) for name in rows()}
    jobs = [("equal tokens", name, best[name], STEPS, seed) for name in rows() for seed in SEEDS]
    others = [name for name in rows() if name != recipe]
    jobs += [("equal seconds", name, best[name], in_time[name], seed) for name in others for seed in SEEDS]
    table = tuning + in_parallel(jobs, options.processes)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    how = {"made_by": "data/recipes/recipe.py", "text": "the Python manual",
           "step_milliseconds": {k: round(1000 * v, 2) for k, v in seconds.items()},
           "without": rows(), "hardware": hardware(),
           "versions": versions}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in table)
    FILE.write_text(f'{{"how": {json.dumps(how, ensure_ascii=False)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
