"""Which size for which budget, and what too little text does: `make data NAME=budget` writes data/budget.json.

First each size is timed on all cores; then each is trained for as many steps as 10, 60 and 180 seconds of that hold.
All are the preset medium but for the width; the preset small stands beside them. Then models of three widths read the
whole of the Python manual, a tenth and a hundredth of it, one of them also with dropout. `--minutes`
alone chooses by the first table.
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

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Trainer, next_token_loss

FILE = pathlib.Path(__file__).resolve().parents[1] / "budget.json"
SEEDS = {10: (0, 1, 2), 60: (0, 1), 180: (0, 1)}
WIDTHS = {10: (32, 64, 96, 128), 60: (64, 96, 128, 192), 180: (96, 128, 192)}  # what could win
SIZES = [("small", 64), *(("medium", width) for width in (32, 64, 96, 128, 192))]  # (preset, d_model)
PARTS, PART_STEPS, PART_SEEDS = (1, 10, 100), 900, (0, 1)
PART_SIZES, DROPOUTS = {32: 1, 64: 2, 128: 4}, (0.1, 0.3)


def texts(part: int = 1):
    """(vocabulary size, the first 1/part of the training tokens, validation tokens)."""
    text = sources.python_manual()
    tokenizer = CharacterTokenizer(text)
    train, validation = batches.split_tokens(tokenizer.encode(text), 128)
    return tokenizer.vocab_size, train[: len(train) // part], validation


def run_of(model_config: ModelConfig, config: TrainConfig, train: np.ndarray) -> Trainer:
    """A run on a text, not yet begun."""
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(config.seed))
    source = batches.causal_batches(train, config.batch_size, model_config.context_length)
    return Trainer(model, source, next_token_loss, config)


def build(name: str, d_model: int, steps: int, seed: int) -> Trainer:
    """The run of one row of the first table, not yet begun."""
    vocab_size, train, _ = texts()
    model_config, config = preset(name, vocab_size, steps=steps, seed=seed, d_model=d_model, n_heads=d_model // 32)
    return run_of(model_config, config, train)


def build_part(d_model: int, part: int, dropout: float, seed: int, steps: int = PART_STEPS) -> Trainer:
    """A model of the preset small but for its width, on the first 1/part of the text."""
    vocab_size, train, _ = texts(part)
    model_config, config = preset(
        "small", vocab_size, steps=steps, seed=seed, d_model=d_model, n_heads=PART_SIZES[d_model], dropout=dropout
    )
    return run_of(model_config, config, train)


def step_seconds(rounds: int = 5) -> dict:
    """Median seconds of a step of each size, measured in turn on all cores."""
    measured: dict = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            run = build(*size, 10, 0)
            next(iter(run))
            measured[size].append(run.seconds / run.step)
    return {size: statistics.median(values[1:]) for size, values in measured.items()}


def job(row: dict) -> dict:
    """The row with what training it has shown."""
    torch.set_num_threads(1)
    if row["table"] == "budget":
        run, part = build(row["preset"], row["d_model"], row["steps"], row["seed"]), 1
    else:
        part = row["part"]
        run = build_part(row["d_model"], part, row["dropout"], row["seed"])
    _, train, validation = texts(part)
    sample, curve = validation[:16_384], []
    for look in run:
        if row["table"] == "part" and look.step % 90 == 0:
            curve.append([look.step, round(look.loss, 3), round(evaluate(run.model, sample), 3)])
    seen = evaluate(run.model, train[: len(validation)])
    found = {"parameters": count_parameters(run.model), "loss": round(evaluate(run.model, validation), 4)}
    return row | found | {"training_text": round(seen, 4)} | ({"curve": curve} if curve and row["seed"] == 0 else {})


def jobs_of(seconds: dict) -> list[dict]:
    """All rows to train, the long ones first, so that no process waits at the end."""
    rows = [
        {
            "table": "budget",
            "seconds": budget,
            "preset": name,
            "d_model": d_model,
            "steps": round(budget / each),
            "seed": seed,
        }
        for budget in sorted(SEEDS, reverse=True)
        for (name, d_model), each in reversed(seconds.items())
        for seed in SEEDS[budget]
        if d_model in WIDTHS[budget] and (name != "small" or budget == 10)
    ]
    kinds = [(d_model, 0.0) for d_model in PART_SIZES] + [(64, dropout) for dropout in DROPOUTS]
    return rows + [
        {"table": "part", "d_model": d_model, "part": part, "dropout": dropout, "seed": seed}
        for d_model, dropout in reversed(kinds)
        for part in PARTS
        for seed in PART_SEEDS
    ]


def write(table: list[dict], seconds: dict) -> None:
    """The file, with how it was made."""
    milliseconds = {f"{name} {d_model}": round(1000 * value, 2) for (name, d_model), value in seconds.items()}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    how = {"made_by": "data/recipes/budget.py", "text": "the Python manual", "hardware": hardware(),
           "threads": torch.get_num_threads(), "step_milliseconds": milliseconds,
           "versions": versions}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row) for row in table)
    FILE.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    seconds, table, start = step_seconds(), [], time.perf_counter()
    rows = jobs_of(seconds)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for row in pool.imap(job, rows):
            table.append(row)
            print(f"{time.perf_counter() - start:6.0f} s  {len(table)}/{len(rows)}", row, flush=True)
    write(table, seconds)


if __name__ == "__main__":
    sys.exit(main())
