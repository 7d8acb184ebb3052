"""What trains faster still, tried on the texts of three authors: data/faster.json.

`python data/recipes/faster.py FOLDER`, where FOLDER holds one text per author. Three starting points, each with a time
on the two cores of data/budget.json: the preset small for two seconds, medium for 80, the benchmark's large for 14.5
minutes. Each arm changes one thing and gets as many steps as fit into the same time, by the ratio of its steps' time to
the start's, both measured in turn on one core. All arms read the first two texts. What gains on both is combined, and
the best is confirmed on the third text, with seeds of its own. The training itself may be done on any device. Each row
is saved at once, and a stopped run goes on.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import itertools
import json
import multiprocessing
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scaling import RecordedTrainer

from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model import layers
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Diverged, Trainer, next_token_loss

FILE = pathlib.Path(__file__).resolve().parents[1] / "faster.json"
CHARACTERS, SEED, CONFIRMING_SEEDS = 1_000_000, 0, (10, 11, 12)
AT_LEAST = 0.003  # nats per character that an arm must gain on both texts to be combined
LONG = dict(context_length=256, batch_size=8, dropout=0.1)  # as tests/bench_long.py

# table: (preset, seconds on two cores, milliseconds of a step there, what the start changes in the preset)
STARTS = {
    "dash": ("small", 2.0, 20.99, {}),
    "race": ("medium", 80.0, 84.03, {}),
    "long": ("large", 870.0, 247.59, LONG),
}
Arms = dict[str, tuple[dict, str | None]]  # name: (changed fields of the configurations, what else changes)


def rates(name: str) -> Arms:
    """Both rates, doubled and halved."""
    config = preset(name, 99)[1]
    return {f"{label}'s rate {word}": ({field: getattr(config, field) * factor}, None)
            for label, field in (("Muon", "muon_lr"), ("AdamW", "adamw_lr"))
            for word, factor in (("doubled", 2.0), ("halved", 0.5))}  # fmt: skip


ARMS: dict[str, Arms] = {
    "dash": {
        "width 32": (dict(d_model=32, n_heads=2), None),
        "width 96": (dict(d_model=96, n_heads=3), None),
        "2 layers": (dict(n_layers=2), None),
        "context 32, batches of 32": (dict(context_length=32, batch_size=32), None),
        "batches of 8": (dict(batch_size=8), None),
        "n-grams up to 3": (dict(ngrams=3), None),
        "n-grams up to 4": (dict(ngrams=4), None),
        "n-grams up to 4, width 32": (dict(ngrams=4, d_model=32, n_heads=2), None),
        "n-grams up to 4, none left out": (dict(ngrams=4, ngram_dropout=0.0), None),
        **rates("small"),
    },
    "race": {
        "width 64": (dict(d_model=64, n_heads=2), None),
        "width 128": (dict(d_model=128, n_heads=4), None),
        "3 layers": (dict(n_layers=3), None),
        "6 layers": (dict(n_layers=6), None),
        "context 64, batches of 32": (dict(context_length=64, batch_size=32), None),
        "context 256, batches of 8": (dict(context_length=256, batch_size=8), None),
        "batches of 8": (dict(batch_size=8), None),
        "windows of 32, 64, then 128": ({}, "windows"),
        "batches of 8, 16, then 32": ({}, "growing"),
        "n-grams up to 3": (dict(ngrams=3), None),
        "n-grams: none left out": (dict(ngram_dropout=0.0), None),
        "n-grams: three quarters left out": (dict(ngram_dropout=0.75), None),
        "n-grams: four times the rows": ({}, "rows"),
        "momentum 0.9": (dict(momentum=0.9), None),
        "dropout 0.1": (dict(dropout=0.1), None),
        "weight decay 0.1": (dict(weight_decay=0.1), None),
        "averaged weights": ({}, "average"),
        **rates("medium"),
    },
    "long": {
        "width 128": (dict(d_model=128, n_heads=4), None),
        "dropout 0": (dict(dropout=0.0), None),
        "dropout 0.2": (dict(dropout=0.2), None),
        "dropout 0.3": (dict(dropout=0.3), None),
        "no n-grams": (dict(ngrams=1), None),
        "n-grams: three quarters left out": (dict(ngram_dropout=0.75), None),
        "n-grams: nine tenths left out": (dict(ngram_dropout=0.9), None),
        "weight decay 0.1": (dict(weight_decay=0.1), None),
        "weight decay 0.5": (dict(weight_decay=0.5), None),
        "averaged weights": ({}, "average"),
        "Muon's rate halved": (dict(muon_lr=0.0075), None),
        "AdamW's rate halved": (dict(adamw_lr=0.01), None),
    },
}
AS_LONG = {
    "muon_lr",
    "adamw_lr",
    "momentum",
    "weight_decay",
    "ngram_dropout",
}  # fields that leave the time for a step as it is


def texts(folder: str) -> list[str]:
    """The names of three authors, in order."""
    return sorted(path.stem for path in pathlib.Path(folder).glob("*.txt"))[:3]


@functools.cache
def tokens(folder: str, author: str) -> tuple[int, np.ndarray, np.ndarray]:
    """(vocabulary size, training tokens, validation tokens): the last tenth is held out."""
    text = (pathlib.Path(folder) / f"{author}.txt").read_text(encoding="utf-8")[:CHARACTERS]
    tokenizer = CharacterTokenizer(text)
    return tokenizer.vocab_size, *batches.split_tokens(tokenizer.encode(text), 256)


def scheduled(train: np.ndarray, how: str, size: int, length: int, steps: int) -> Callable:
    """A source of as many tokens a step in shorter windows first, or of batches that grow."""
    numbers = itertools.count()

    def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        third = min(2, 3 * next(numbers) // steps)
        if how == "windows":
            return batches.random_windows(train, size << (2 - third), length >> (2 - third), rng)
        return batches.random_windows(train, (size // 2) << third, length, rng)

    return batch


@contextlib.contextmanager
def longer_tables(tricks: tuple[str, ...]) -> Iterator[None]:
    """Inside, the library's n-gram tables are four times as long, if "rows" is one of the tricks."""
    before = layers.NGRAM_ROWS
    layers.NGRAM_ROWS = 65_521 if "rows" in tricks else before
    try:
        yield
    finally:
        layers.NGRAM_ROWS = before


def build(row: dict, folder: str, steps: int, device: str = "cpu") -> Trainer:
    """The run of a row, not yet begun."""
    name, _, _, start = STARTS[row["table"]]
    vocab_size, train, _ = tokens(folder, row["text"])
    model_config, config = preset(name, vocab_size, steps=steps, seed=row["seed"], precision="float32",
                                  **{**start, **row["changes"]})  # fmt: skip
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(config.seed)).to(device)
    source = batches.causal_batches(train, config.batch_size, model_config.context_length)
    for how in {"windows", "growing"}.intersection(row["tricks"]):
        source = scheduled(train, how, config.batch_size, model_config.context_length, steps)
    trainer = Trainer if device == "cpu" else RecordedTrainer
    return trainer(model, source, next_token_loss, config)


def step_time(row: dict, folder: str, rounds: int = 3, steps: int = 3) -> float:
    """An arm's time for a step over the start's, medians of the processor's seconds on one core, measured in turn.

    Windows that grow cost what the start costs (a little less, in truth); batches that grow read 7/6 of its tokens.
    """
    more_dropout = row["changes"].get("dropout", 0) > 0.1  # than the start has
    if set(row["changes"]) <= AS_LONG | ({"dropout"} if more_dropout else set()) and "rows" not in row["tricks"]:
        return 7 / 6 if "growing" in row["tricks"] else 1.0
    torch.set_num_threads(1)
    measured: dict[str, list[float]] = {"arm": [], "start": []}
    for _ in range(rounds):
        for name, of in (("arm", row), ("start", row | {"changes": {}, "tricks": ()})):
            with longer_tables(tuple(of["tricks"])):
                run = build(of | {"tricks": [t for t in of["tricks"] if t == "rows"]}, folder, steps)
                run.clock = time.process_time
                next(iter(run))
            measured[name].append(run.seconds / run.step)
    ratio = statistics.median(measured["arm"]) / statistics.median(measured["start"])
    return ratio * (7 / 6 if "growing" in row["tricks"] else 1)


def job(row: dict, folder: str, device: str, until: float) -> dict | None:
    """The row with the loss that its run reached."""
    torch.set_num_threads(1)
    if time.time() > until:
        return None
    _, train, validation = tokens(folder, row["text"])
    _, seconds, milliseconds, _ = STARTS[row["table"]]
    steps, averages = round(1000 * seconds / milliseconds / row["time"]), None
    with longer_tables(tuple(row["tricks"])):
        run, n = build(row, folder, steps, device), 0
        try:
            for look in run:
                if time.time() > until:
                    return None
                if "average" in row["tricks"] and look.fraction > 0.8:  # of the last fifth, ten steps apart
                    weights, n = [parameter.detach().clone() for parameter in run.model.parameters()], n + 1
                    averages = averages or weights
                    torch._foreach_lerp_(averages, weights, 1 / n)
        except Diverged:
            return row | {"steps": steps, "loss": 99.0}
        if averages:
            with torch.no_grad():
                torch._foreach_copy_([*run.model.parameters()], averages)
        loss, seen = (evaluate(run.model, part, "float32") for part in (validation, train[: len(validation)]))
    return row | {"steps": steps, "parameters": count_parameters(run.model), "loss": round(loss, 4),
                  "training_text": round(seen, 4)}  # fmt: skip


def arm(table: str, name: str, text: str, seed: int = SEED) -> dict:
    """A row that is not yet trained; name: arms joined by " + ", or "the start"."""
    parts = [] if name == "the start" else [ARMS[table][part] for part in name.split(" + ")]
    changes: dict = {}
    for changed, _ in parts:
        changes |= changed
    return {"table": table, "arm": name, "text": text, "seed": seed, "changes": changes,
            "tricks": [trick for _, trick in parts if trick]}  # fmt: skip


def gains(rows: list[dict], table: str, tuned: list[str]) -> dict[str, list[float]]:
    """{arm: what it is below the start on each of the texts that it was tuned on}."""
    loss = {(row["arm"], row["text"]): row["loss"] for row in rows if row["table"] == table and row["seed"] == SEED}
    names = dict.fromkeys(name for name, _ in loss if all((name, text) in loss for text in tuned))
    return {name: [loss["the start", text] - loss[name, text] for text in tuned] for name in names}


def touched(table: str, name: str) -> set[str]:
    """What an arm changes: fields, the order of batches, or the tables' size."""
    changes, trick = ARMS[table][name]
    return {*changes} | ({trick} if trick else set())


def combinations(rows: list[dict], table: str, tuned: list[str]) -> list[str]:
    """Pairs and all of the (at most three) best arms that gain on both texts and don't change the same thing."""
    found = {name: min(gain) for name, gain in gains(rows, table, tuned).items() if name in ARMS[table]}
    best: list[str] = []
    for name in sorted(found, key=found.__getitem__, reverse=True):
        free = all(touched(table, name).isdisjoint(touched(table, other)) for other in best)
        if found[name] >= AT_LEAST and len(best) < 3 and free:
            best.append(name)
    return [" + ".join(few) for n in (2, 3) for few in itertools.combinations(best, n)]


def confirmed(rows: list[dict], table: str, tuned: list[str]) -> list[str]:
    """What is trained on the third text: the start, and the arm that gained most on the two others."""
    found = gains(rows, table, tuned)
    best = max(found, key=lambda name: sum(found[name])) if found else "the start"
    return ["the start"] + [best] * (best != "the start")


def waiting(rows: list[dict], table: str, authors: list[str]) -> list[list[dict]]:
    """What a table still needs, in stages; a later one is known when the earlier ones are done."""
    *tuned, last = authors
    stages = [[arm(table, name, text) for name in ("the start", *ARMS[table]) for text in tuned]]
    stages += [[arm(table, name, text) for name in combinations(rows, table, tuned) for text in tuned]]
    stages += [[arm(table, name, last, seed) for name in confirmed(rows, table, tuned) for seed in CONFIRMING_SEEDS]]
    done = {(row["table"], row["arm"], row["text"], row["seed"]) for row in rows}
    return [[row for row in stage if (row["table"], row["arm"], row["text"], row["seed"]) not in done]
            for stage in stages]  # fmt: skip


def save(rows: list[dict], authors: list[str]) -> None:
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    how = {"made_by": "data/recipes/faster.py", "texts": authors, "characters": CHARACTERS, "seed": SEED,
           "confirming_seeds": CONFIRMING_SEEDS, "starts": STARTS, "hardware": hardware(), "card": card,
           "versions": versions}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)


def shrink() -> None:
    """Sizes for a try of a minute."""
    global CHARACTERS, CONFIRMING_SEEDS, FILE
    CHARACTERS, CONFIRMING_SEEDS, FILE = 60_000, (10,), FILE.parents[1] / "runs" / "faster_mini.json"
    for table, (name, _, milliseconds, start) in STARTS.items():
        STARTS[table] = name, 5 * milliseconds / 1000, milliseconds, start
        few = list(ARMS[table].items())
        ARMS[table] = dict(few[:1] + few[-2:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Try what trains faster, on two texts, and confirm it on a third.")
    parser.add_argument("folder", help="with three texts of about a million characters, such as austen.txt")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tables", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so many minutes, and go on another time")
    parser.add_argument("--mini", action="store_true", help="a try of a minute")
    options = parser.parse_args()
    small = (shrink,) if options.mini else ()
    for make_small in small:
        make_small()
    start, device, authors = time.time(), str(choose_device(options.device)), texts(options.folder)
    until = start + 60 * options.minutes
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []
    times = {(row["table"], row["arm"]): row["time"] for row in rows}
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.processes, spawn, *small) as pool:
        for table, stage in itertools.product(options.tables, range(3)):
            todo = waiting(rows, table, authors)[stage]
            new = {row["arm"]: row for row in todo if (table, row["arm"]) not in times}
            measured = pool.map(functools.partial(step_time, folder=options.folder), new.values())
            times |= {(table, name): round(ratio, 3) for name, ratio in zip(new, measured, strict=True)}
            todo = [row | {"time": times[table, row["arm"]]} for row in todo]
            futures = [pool.submit(job, row, options.folder, device, until) for row in todo]
            for future in concurrent.futures.as_completed(futures):
                if (found := future.result()) is not None:
                    rows.append(found)
                    save(rows, authors)
                    print(f"{time.time() - start:6.0f} s", found, flush=True)
            if time.time() > until:
                break


if __name__ == "__main__":
    sys.exit(main())
