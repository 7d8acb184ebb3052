"""Which size for which budget, on a short text that is read again and again: `make data NAME=budget`; data/budget.json.

First each size is timed on all cores; then each is trained for as many steps as 10, 60 and 180 seconds of that hold.
All are the preset medium but for the width; the preset small stands beside them. The text is the Python manual, split
without leaks. `--minutes` alone chooses by this table. A stopped run goes on. With --device cuda the models are trained
there, for as many steps as the processor, timed before, would have made.
"""

import argparse
import concurrent.futures
import functools
import json
import multiprocessing
import pathlib
import platform
import statistics
import sys
import time

import numpy as np
import torch

from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Trainer, next_token_loss

MANUAL = pathlib.Path(__file__).resolve().parents[2] / "runs" / "manual.txt"
FILE = pathlib.Path(__file__).resolve().parents[1] / "budget.json"
SEEDS = {10: (0, 1, 2), 60: (0, 1), 180: (0, 1)}
WIDTHS = {10: (32, 64, 96, 128), 60: (32, 64, 96, 128, 192), 180: (64, 96, 128, 192)}  # what could win
SIZES = [("small", 64), *(("medium", width) for width in (32, 64, 96, 128, 192))]  # (preset, d_model)


@functools.cache
def texts() -> tuple:
    """(version of Python, vocabulary size, training and validation tokens) of this manual, or of runs/manual.txt."""
    version, text = platform.python_version(), ""
    if MANUAL.exists():
        version, _, text = MANUAL.read_text(encoding="utf-8").partition("\n")
    text = text or sources.python_manual()
    tokenizer = CharacterTokenizer(text)
    return version, tokenizer.vocab_size, *map(tokenizer.encode, batches.split_without_leaks(text))


def build(name: str, d_model: int, steps: int, seed: int, device: str = "cpu") -> Trainer:
    """The run of one row, not yet begun."""
    _, vocab_size, train, _ = texts()
    sizes, config = preset(name, vocab_size, steps=steps, seed=seed, d_model=d_model, n_heads=d_model // 32)
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(seed)).to(device)
    source = batches.causal_batches(train, config.batch_size, sizes.context_length)
    return Trainer(model, source, next_token_loss, config)


def step_milliseconds(rounds: int = 5) -> dict[str, float]:
    """Median milliseconds of a step of each size, measured in turn on all cores: {"medium 64": …}."""
    measured: dict = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            run = build(*size, 10, 0)
            next(iter(run))
            measured[size].append(1000 * run.seconds / run.step)
    return {f"{name} {width}": round(statistics.median(v[1:]), 2) for (name, width), v in measured.items()}


def job(row: dict, device: str, until: float) -> dict | None:
    """The row with what training it has shown; None if the time is over before that."""
    torch.set_num_threads(1)
    if time.time() > until:
        return None
    run = build(row["preset"], row["d_model"], row["steps"], row["seed"], device)
    for _ in run:
        if time.time() > until:
            return None
    _, _, train, validation = texts()
    seen = evaluate(run.model, train[: len(validation)])
    return row | {"parameters": count_parameters(run.model), "loss": round(evaluate(run.model, validation), 4),
                  "training_text": round(seen, 4), "readings": round(run.tokens / len(train), 2),
                  "device": device}  # fmt: skip


def jobs(milliseconds: dict[str, float]) -> list[dict]:
    """All rows to train, by seed, the long ones first."""
    rows = [
        {"table": "budget", "seconds": budget, "preset": name, "d_model": d_model,
         "steps": round(1000 * budget / milliseconds[f"{name} {d_model}"]), "seed": seed}
        for budget, seeds in SEEDS.items()
        for name, d_model in SIZES
        for seed in seeds
        if d_model in WIDTHS[budget] and (name != "small" or budget == 10)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["seed"], -row["steps"]))


def save(how: dict, rows: list[dict]) -> None:
    rows = sorted(rows, key=lambda row: (row["seconds"], row["preset"], row["d_model"], row["seed"]))
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)


KEYS = ("seconds", "preset", "d_model", "steps", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the preset medium in several widths for 10, 60 and 180 seconds."
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so many minutes, and go on another time")
    options = parser.parse_args()
    start, device = time.time(), str(choose_device(options.device))
    until = start + 60 * options.minutes
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"how": {}, "rows": []}
    how, rows = kept["how"], kept["rows"]
    if "step_milliseconds" not in how:
        how |= {"step_milliseconds": step_milliseconds(), "timed_on": hardware(), "threads": torch.get_num_threads()}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    card = torch.cuda.get_device_name() if device.startswith("cuda") else None
    how |= {"made_by": "data/recipes/budget.py", "text": f"the manual of Python {texts()[0]}, split without leaks",
            "hardware": hardware(), "card": card, "versions": versions}  # fmt: skip
    done = {tuple(row[key] for key in KEYS) for row in rows}
    missing = [row for row in jobs(how["step_milliseconds"]) if tuple(row[key] for key in KEYS) not in done]
    with concurrent.futures.ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(job, row, device, until) for row in missing]
        for future in concurrent.futures.as_completed(waiting):
            if (found := future.result()) is not None:
                rows.append(found)
                save(how, rows)
                print(f"{time.time() - start:6.0f} s", found, flush=True)


if __name__ == "__main__":
    sys.exit(main())
