"""The recipe, one trick at a time and without one at a time: `make data NAME=ladder` writes data/ladder.json.

All models are the preset small, half as wide and half as deep, and read the Python manual as characters, split without
leaks. Each arm looks for its own rates (two, where its optimizers have two) by TRIALS trials on a stretch that is used
for nothing else, with a seed of its own; then it is trained with SEEDS (the same batches in all arms), for as many
steps as all others and, on the ladder, again for as many seconds. A stopped run goes on; on another machine it keeps
the rates that were found and makes all else anew, so that what is compared comes from one machine.
"""

import argparse
import collections
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

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.optimizers import Optimizers
from bigmodel_lib.training.trainer import Diverged, Trainer, next_token_loss

MANUAL = pathlib.Path(__file__).resolve().parents[2] / "runs" / "manual.txt"
FILE = pathlib.Path(__file__).resolve().parents[1] / "ladder.json"
STEPS, TRIALS, TUNING_SEED, SEEDS, DIVERGED = 150, 6, 100, (0, 1, 2, 3, 4), 99.0
SIZES = dict(d_model=32, n_heads=2, n_layers=2)

WITHOUT = {  # what each trick replaces, in the order of the ladder; the recipe has none of these
    "warm-up and decay": dict(warmup_steps=0, final_lr=1.0),
    "AdamW": dict(optimizer="sgd"),
    "RoPE": dict(positions="learned"),
    "QK-norm": dict(qk_norm=False),
    "ReLU²": dict(activation="gelu"),
    "zero init": dict(init="gpt2"),
    "Muon": dict(optimizer="adamw"),
    "token shift": dict(token_shift=False),
    "n-grams": dict(ngrams=1),
}
TRICKS = tuple(WITHOUT)
SWIGLU = dict(activation="swiglu", d_ff=43)  # three matrices of 32 × 43 in place of two of 32 × 64
STARTS = {"sgd": (0.03,), "adamw": (0.004, 0.02), "muon": (0.03, 0.03), "muon and sgd": (0.03, 0.3)}


def arms() -> dict[str, tuple[list[str], dict]]:
    """{name: (the tricks that it lacks, what else is changed)}: the ladder, then the recipe without one trick."""
    ladder = {"plain": ([*TRICKS], {})}
    ladder |= {f"+ {trick}": ([*TRICKS[i + 1 :]], {}) for i, trick in enumerate(TRICKS)}
    ladder["SwiGLU for ReLU²"] = ([*TRICKS[TRICKS.index("ReLU²") + 1 :]], SWIGLU)
    return ladder | {f"without {trick}": ([trick], {}) for trick in TRICKS[:-1]} | {"with SwiGLU": ([], SWIGLU)}


LADDER = ("plain", *(f"+ {trick}" for trick in TRICKS), "SwiGLU for ReLU²")
RECIPE = LADDER[len(TRICKS)]


def optimizer_of(arm: str) -> str:
    """The key of STARTS that an arm trains with."""
    lacks = arms()[arm][0]
    if "AdamW" in lacks:
        return "sgd" if "Muon" in lacks else "muon and sgd"
    return "adamw" if "Muon" in lacks else "muon"


class TwoRates(Optimizers):
    """The optimizers of an arm that lacks Muon or AdamW: a rate for the blocks' matrices, another for the rest."""

    def __init__(self, model: LanguageModel, config: TrainConfig, kind: str, rates: tuple[float, ...]):
        super().__init__(model, config)
        rest, inside = (part.param_groups[0]["params"] for part in self.parts)
        if kind == "sgd":
            self.parts = [torch.optim.SGD([*rest, *inside], rates[0], 0.9, nesterov=True)]
        elif kind == "muon and sgd":
            self.parts[0] = torch.optim.SGD(rest, rates[1], 0.9, nesterov=True)
        else:
            both = ((inside, rates[0]), (rest, rates[1]))
            self.parts = [torch.optim.AdamW(part, rate, (0.9, 0.95), 1e-8, 0.0, fused=True) for part, rate in both]
        self.peaks = [part.param_groups[0]["lr"] for part in self.parts]


@functools.cache
def manual() -> tuple[str, str]:
    """(version of Python, its manual): of this Python, or of the one that runs/manual.txt was copied from."""
    if not MANUAL.exists():
        return platform.python_version(), sources.python_manual()
    version, _, text = MANUAL.read_text(encoding="utf-8").partition("\n")
    return version, text


@functools.cache
def texts() -> tuple:
    """(vocabulary size, training, tuning and validation tokens); no two share eight words in a row."""
    text = manual()[1]
    tokenizer = CharacterTokenizer(text)
    most, validation = batches.split_without_leaks(text)
    train, tuning = batches.split_without_leaks(most)
    return tokenizer.vocab_size, *(tokenizer.encode(text) for text in (train, tuning, validation))


def build(arm: str, rates: tuple[float, ...], steps: int, seed: int) -> Trainer:
    """The run of one arm, not yet begun. rates: of the matrices in the blocks, and of the rest where it has its own."""
    lacks, changes = arms()[arm]
    kind = optimizer_of(arm)
    fields = {key: value for trick in lacks for key, value in WITHOUT[trick].items() if key != "optimizer"}
    fields = SIZES | {"ngrams": 4, "muon_lr": rates[0], "adamw_lr": rates[-1]} | fields | changes
    sizes, config = preset("small", texts()[0], steps=steps, seed=seed, **fields)
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(seed))
    source = batches.causal_batches(texts()[1], config.batch_size, sizes.context_length)
    trainer = Trainer(model, source, next_token_loss, config)
    if kind != "muon":
        trainer.optimizers = TwoRates(model, config, kind, rates)
    return trainer


def loss_of(arm: str, rates: tuple[float, ...], steps: int, seed: int, held_out: np.ndarray) -> float:
    """The loss on held-out text of a finished run; DIVERGED if it became no number."""
    run = build(arm, rates, steps, seed)
    try:
        for _ in run:
            pass
        loss = evaluate(run.model, held_out)
    except Diverged:
        return DIVERGED
    return round(min(loss, DIVERGED), 4) if loss == loss else DIVERGED


def search(arm: str, done: list[dict], report, until: float) -> bool:
    """Look for an arm's rates by a pattern search of TRIALS trials: one rate up or down, by √3 where 3 helps no more.

    What `done` has is not tried again. Returns whether it was finished in time.
    """
    known = {tuple(row["rates"]): row["loss"] for row in done}

    def price(rates: tuple[float, ...]) -> float:
        if rates not in known:
            known[rates] = loss_of(arm, rates, STEPS, TUNING_SEED, texts()[2])
            report(
                {
                    "kind": "tuning",
                    "arm": arm,
                    "rates": rates,
                    "steps": STEPS,
                    "seed": TUNING_SEED,
                    "loss": known[rates],
                }
            )
        return known[rates]

    here, factor, tried = STARTS[optimizer_of(arm)], 3.0, set()
    while len(tried) < TRIALS:
        if time.time() > until:
            return False
        tried.add(here)
        around = [tuple(float(f"{r * factor**sign:.3g}") if i == j else r for j, r in enumerate(here))
                  for i in range(len(here)) for sign in (1, -1)]  # fmt: skip
        around = [rates for rates in around if rates not in tried][: TRIALS - len(tried)]
        tried.update(around)
        best = min([here, *around], key=price)
        here, factor = best, factor if best != here else factor**0.5
    return True


def step_seconds(chosen: tuple[str, ...], rounds: int = 7, steps: int = 10) -> dict[str, float]:
    """Median seconds of the processor for a step of each arm, measured in turn on one thread."""
    measured: dict = collections.defaultdict(list)
    for _ in range(rounds):
        for arm in chosen:
            run = build(arm, STARTS[optimizer_of(arm)], steps, 0)
            run.clock = time.process_time
            next(iter(run))
            measured[arm].append(run.seconds / run.step)
    return {arm: statistics.median(values) for arm, values in measured.items()}


def tune(arm: str, done: list[dict], until: float) -> list[dict]:
    torch.set_num_threads(1)
    rows: list[dict] = []
    search(arm, done, rows.append, until)
    return rows


def one(kind: str, arm: str, rates: tuple[float, ...], steps: int, seed: int, until: float) -> list[dict]:
    torch.set_num_threads(1)
    if time.time() > until:
        return []
    loss = loss_of(arm, rates, steps, seed, texts()[3])
    return [{"kind": kind, "arm": arm, "rates": rates, "steps": steps, "seed": seed, "loss": loss}]


def measure(chosen: tuple[str, ...], until: float) -> list[dict]:
    torch.set_num_threads(1)
    seconds = {arm: round(1000 * value, 3) for arm, value in step_seconds(chosen).items()}
    return [{"kind": "milliseconds a step", "arm": arm, "milliseconds": value} for arm, value in seconds.items()]


def best_rates(rows: list[dict], arm: str) -> tuple[float, ...]:
    tried = [row for row in rows if row["kind"] == "tuning" and row["arm"] == arm][:TRIALS]
    return tuple(min(tried, key=lambda row: row["loss"])["rates"])


def tuned(rows: list[dict], arm: str) -> bool:
    return len({tuple(row["rates"]) for row in rows if row["kind"] == "tuning" and row["arm"] == arm}) >= TRIALS


def steps_in_equal_time(rows: list[dict], arm: str) -> int:
    """As many steps as fit into STEPS steps of the whole recipe."""
    seconds = {row["arm"]: row["milliseconds"] for row in rows if row["kind"] == "milliseconds a step"}
    return max(1, round(STEPS * seconds[RECIPE] / seconds[arm]))


def shrink() -> None:
    """Sizes for a try of half a minute."""
    global STEPS, TRIALS, SEEDS, LADDER, FILE
    STEPS, TRIALS, SEEDS, LADDER = 10, 3, (0, 1), ("plain", "+ Muon", RECIPE)
    FILE = FILE.parents[1] / "runs" / "ladder_mini.json"


def waiting(rows: list[dict], begun: set, chosen: tuple[str, ...]) -> list[tuple]:
    """What can be begun now and has not been: (function, arguments), the most urgent first."""
    done = {(row["kind"], row["arm"], row["seed"]) for row in rows if "seed" in row}
    timed = {row["arm"] for row in rows if row["kind"] == "milliseconds a step"} >= set(chosen)
    found: list[tuple] = [] if timed else [(measure, chosen)]
    found += [(tune, arm) for arm in chosen if not tuned(rows, arm)]
    ready = [arm for arm in chosen if tuned(rows, arm)]
    for kind in ("equal tokens", *(["equal seconds"] if timed else [])):
        for seed in SEEDS:
            for arm in ready:
                if kind == "equal seconds" and (arm == RECIPE or arm not in LADDER):
                    continue  # it would be the same run, or nobody asks
                steps = STEPS if kind == "equal tokens" else steps_in_equal_time(rows, arm)
                if (kind, arm, seed) not in done:
                    found.append((one, kind, arm, best_rates(rows, arm), steps, seed))
    return [job for job in found if job not in begun]


def machine() -> dict:
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    return {"hardware": hardware(), "versions": versions}


def kept_rows() -> list[dict]:
    """What FILE has that can be gone on with."""
    if not FILE.exists():
        return []
    kept, here = json.loads(FILE.read_text(encoding="utf-8")), json.loads(json.dumps(machine()))
    same = {key: kept["how"][key] for key in here} == here
    return [row for row in kept["rows"] if same or row["kind"] == "tuning"]


def save(rows: list[dict]) -> None:
    how = {"made_by": "data/recipes/ladder.py", "text": f"the manual of Python {manual()[0]}, split without leaks",
           "sizes": SIZES, "steps": STEPS, "trials": TRIALS, "tuning_seed": TUNING_SEED, "seeds": SEEDS,
           "ladder": LADDER, **machine()}  # fmt: skip
    order = list(arms())
    rows = sorted(rows, key=lambda row: (row["kind"], order.index(row["arm"]), row.get("seed", 0)))
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how, ensure_ascii=False)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the recipe one trick at a time.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--part", choices=("ladder", "all"), default="ladder", help="the ladder alone, or also each trick left out"
    )
    parser.add_argument("--mini", action="store_true", help="a try of half a minute")
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so many minutes, and go on another time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.time()
    until = start + 60 * options.minutes
    if options.mini:
        shrink()
    chosen = LADDER if options.part == "ladder" else tuple(arms())
    rows = kept_rows()
    begun: set = set()
    running: dict = {}
    with concurrent.futures.ProcessPoolExecutor(
        options.processes, multiprocessing.get_context("spawn"), *([shrink] if options.mini else [])
    ) as pool:
        while True:
            jobs = waiting(rows, begun, chosen)[: options.processes - len(running)] if time.time() < until else []
            for job in jobs:
                begun.add(job)
                more = (
                    ([row for row in rows if row["kind"] == "tuning" and row["arm"] == job[1]],)
                    if job[0] is tune
                    else ()
                )
                running[pool.submit(*job, *more, until)] = job
            if not running:
                break
            for future in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                job = running.pop(future)
                rows += future.result()
                save(rows)
                print(
                    f"{time.time() - start:6.0f} s",
                    job[0].__name__,
                    *job[1:],
                    [row.get("loss") for row in future.result()][-1:],
                    flush=True,
                )


if __name__ == "__main__":
    sys.exit(main())
