"""Which size for which budget, and what too little text does: `make data NAME=budget` writes data/budget.json.

First each size is timed on all cores (or the times of the file that is there are kept: `--keep-times`); then each is
trained for as many steps as 10, 30, 60 and 180 seconds of that hold, on any device. All are the preset medium but for
the width; the preset small stands beside them. Then models of three widths read the whole of the Python manual, a tenth
and a hundredth of it, one of them also with dropout. No paragraph of the manual is there twice or leaks into what is
held out. `--minutes` alone chooses by the first table. Each row is saved at once, and a stopped run goes on.
"""

import argparse
import functools
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
from ladder import manual  # of this Python, or of the one that runs/manual.txt names
from scaling import RecordedTrainer

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Trainer, next_token_loss

FILE = pathlib.Path(__file__).resolve().parents[1] / "budget.json"
SEEDS = {10: (0, 1, 2), 30: (0, 1), 60: (0, 1), 180: (0, 1)}
WIDTHS = {10: (32, 64, 96, 128), 30: (32, 64, 96, 128), 60: (64, 96, 128, 192), 180: (96, 128, 192)}  # what could win
SIZES = [("small", 64), *(("medium", width) for width in (32, 64, 96, 128, 192))]  # (preset, d_model)
PARTS, PART_STEPS, PART_SEEDS = (1, 10, 100), 900, (0, 1)
PART_SIZES, DROPOUTS = {32: 1, 64: 2, 128: 4}, (0.1, 0.3)


@functools.cache
def texts(part: int = 1):
    """(vocabulary size, the first 1/part of the training tokens, validation tokens)."""
    text = "\n\n".join(dict.fromkeys(manual()[1].split("\n\n")))
    tokenizer = CharacterTokenizer(text)
    train, validation = map(tokenizer.encode, batches.split_without_leaks(text))
    return tokenizer.vocab_size, train[: len(train) // part], validation


def run_of(model_config: ModelConfig, config: TrainConfig, train: np.ndarray, device: str = "cpu") -> Trainer:
    """A run on a text, not yet begun."""
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(config.seed)).to(device)
    source = batches.causal_batches(train, config.batch_size, model_config.context_length)
    trainer = Trainer if device == "cpu" else RecordedTrainer
    return trainer(model, source, next_token_loss, config.replace(precision="float32"))


def build(name: str, d_model: int, steps: int, seed: int, device: str = "cpu") -> Trainer:
    """The run of one row of the first table, not yet begun."""
    vocab_size, train, _ = texts()
    model_config, config = preset(name, vocab_size, steps=steps, seed=seed, d_model=d_model, n_heads=d_model // 32)
    return run_of(model_config, config, train, device)


def build_part(d_model: int, part: int, dropout: float, seed: int, device: str = "cpu") -> Trainer:
    """A model of the preset small but for its width, on the first 1/part of the text."""
    vocab_size, train, _ = texts(part)
    model_config, config = preset(
        "small", vocab_size, steps=PART_STEPS, seed=seed, d_model=d_model, n_heads=PART_SIZES[d_model], dropout=dropout
    )
    return run_of(model_config, config, train, device)


def step_seconds(rounds: int = 5) -> dict:
    """Median seconds of a step of each size, measured in turn on all cores."""
    measured: dict = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            run = build(*size, 10, 0)
            next(iter(run))
            measured[size].append(run.seconds / run.step)
    return {size: statistics.median(values[1:]) for size, values in measured.items()}


def job(row: dict, device: str = "cpu") -> dict:
    """The row with what training it has shown."""
    torch.set_num_threads(1)
    if row["table"] == "budget":
        run, part = build(row["preset"], row["d_model"], row["steps"], row["seed"], device), 1
    else:
        part = row["part"]
        run = build_part(row["d_model"], part, row["dropout"], row["seed"], device)
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


def write(table: list[dict], how: dict) -> None:
    """The file, with how it was made."""
    lines = ",\n  ".join(json.dumps(row) for row in table)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)


def begin(keep_times: bool, device: str) -> tuple[dict, list[dict]]:
    """How this file is made, with the seconds of a step, and the rows that it has already."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"how": {}, "rows": []}
    text = f"the manual of Python {manual()[0]}, no paragraph twice, split without leaks"
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    card = torch.cuda.get_device_name() if device.startswith("cuda") else None
    how = {"made_by": "data/recipes/budget.py", "text": text, "training_characters": len(texts()[1]),
           "hardware": hardware(), "card": card,
           "versions": versions}  # fmt: skip
    rows = kept["rows"] if kept["how"].get("text") == text else []
    if keep_times:
        how |= {key: kept["how"][key] for key in ("timed_on", "step_milliseconds")}
    else:
        milliseconds = {f"{name} {width}": round(1000 * value, 2) for (name, width), value in step_seconds().items()}
        how |= {"timed_on": hardware(), "step_milliseconds": milliseconds}
    return how, rows


KEYS = ("table", "seconds", "preset", "d_model", "steps", "part", "dropout", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train models of several sizes for several budgets.")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="to train on; steps are timed on the processor")
    parser.add_argument("--keep-times", action="store_true", help="of the file that is there")
    options = parser.parse_args()
    device = str(choose_device(options.device))
    how, table = begin(options.keep_times, device)
    start, done = time.perf_counter(), {tuple(row.get(key) for key in KEYS) for row in table}
    seconds = {size: how["step_milliseconds"][f"{size[0]} {size[1]}"] / 1000 for size in SIZES}
    rows = [row for row in jobs_of(seconds) if tuple(row.get(key) for key in KEYS) not in done]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for row in pool.imap_unordered(functools.partial(job, device=device), rows):
            table.append(row)
            write(table, how)
            print(f"{time.perf_counter() - start:6.0f} s  {len(table)}", row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
