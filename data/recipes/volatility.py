"""How many days does attention need to see tomorrow's volatility, in a market whose best forecast is known?

`make data NAME=volatility` writes data/volatility.json and data/market.safetensors for 12b; a stopped run goes on.

Each run reads one simulated history, of which the last fifth says when to stop. Four settings are tried once at each
length, on a history of their own; the longest takes over the choice of the one before. Four other histories are
reported, on one market that no run has read. (GARCH learns within a second: the notebook does that itself.)
"""

import functools
import pathlib
import sys
import time
from collections.abc import Iterator

import _rows as table
import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtr

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.exercises.nb12b import next_mood
from bigmodel_lib.model.transformer import initialise
from bigmodel_lib.risk.market import Parts, density, likelihoods, parts_of, simulate, transitions
from bigmodel_lib.risk.models import CONTEXT, ReturnModel, read_days, student_loss, student_t
from bigmodel_lib.risk.scores import quantile_loss
from bigmodel_lib.training.checkpoints import save_tensors
from bigmodel_lib.training.trainer import Trainer

DATA = pathlib.Path(__file__).resolve().parents[1]
FILE, WEIGHTS = DATA / "volatility.json", DATA / "market.safetensors"
DAYS, TUNING_SEED, SEEDS = (2500, 10_000, 40_000, 160_000), 0, (10, 11, 12, 13)
STEPS, LOOK_EVERY, TEST_SEED, TESTED = 600, 20, 10**6, 20_000
SETTINGS = [
    {"optimizer": o, "lr": lr, "dropout": d} for o, lr in (("muon", 0.01), ("adamw", 0.005)) for d in (0.0, 0.2)
]
CONFIG = ModelConfig(
    vocab_size=1, context_length=CONTEXT, d_model=32, n_heads=2, n_layers=2, d_ff=64, token_shift=False
)


def fit(r: np.ndarray, setting: dict, seed: int, steps: int = STEPS) -> tuple[ReturnModel, int, float]:
    """(a model trained on the first four fifths, at the step that is best on the last; that step; its loss there)."""
    n = len(r) * 4 // 5
    model = initialise(ReturnModel(CONFIG.replace(dropout=setting["dropout"])), torch.Generator().manual_seed(seed))
    windows = torch.from_numpy(r.astype(np.float32)).unfold(0, CONTEXT + 1, 1)
    held_out = windows[n :: max(CONTEXT // 2, len(r) // 1000)]

    def batches(rng: np.random.Generator) -> tuple:
        rows = windows[rng.integers(0, n - CONTEXT, 32)].numpy()
        return np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])

    def loss(model: ReturnModel, today: torch.Tensor, tomorrow: torch.Tensor) -> torch.Tensor:
        return student_loss(model, today, tomorrow)

    rates = {"muon_lr": setting["lr"], "adamw_lr": setting["lr"]}
    config = TrainConfig(
        steps=steps, batch_size=32, optimizer=setting["optimizer"], seed=seed, eps=1e-8, clip=1.0, **rates
    )
    best, kept, at = np.inf, {}, 0
    for progress in Trainer(model, batches, loss, config):
        if progress.step % LOOK_EVERY == 0:
            model.eval()
            with torch.no_grad():
                found = float(student_loss(model, held_out[:, :-1], held_out[:, 1:]))
            if found < best:
                best, at = found, progress.step
                kept = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model, at, best


def best_beliefs(r: np.ndarray) -> np.ndarray:
    """P(tomorrow's mood | returns up to today) for each day, (days, K): no forecast from the past can know more."""
    transition, likely = transitions(), likelihoods(r)
    belief = np.linalg.matrix_power(transition, 1000)[0]
    found = np.empty_like(likely)
    for day, likelihood in enumerate(likely):
        belief = found[day] = next_mood(belief, likelihood, transition)
    return found


def quantile(parts: Parts, p: float) -> np.ndarray:
    """The return below which tomorrow's is with probability p, (days,)."""
    return np.array([brentq(lambda x: w @ ndtr((x - m) / s) - p, -60, 60) for w, m, s in zip(*parts, strict=True)])  # noqa: B023


@functools.cache
def known() -> dict:
    """What the best forecast scores on the test market."""
    r, _ = simulate(TESTED, TEST_SEED)
    w, m, s = parts_of(best_beliefs(r)[CONTEXT - 1 : -1])
    tomorrow = r[CONTEXT:]
    losses = {
        f"quantile {p}": round(float(quantile_loss(tomorrow, quantile((w, m, s), p), p).mean()), 6)
        for p in (0.01, 0.05)
    }
    return {"loss": round(float(-np.log(density((w, m, s), tomorrow)).mean()), 5), **losses}


@torch.no_grad()
def scores(model: ReturnModel) -> dict:
    """What a model scores on the test market."""
    from scipy.stats import t

    r, _ = simulate(TESTED, TEST_SEED)
    sigma, tomorrow = read_days(model, r), r[CONTEXT:]
    freedom = 2 + float(model.tail.exp())
    log_p = student_t(model, torch.from_numpy(np.log(sigma))).log_prob(torch.from_numpy(tomorrow))
    found = {"loss": round(float(-log_p.mean()), 5)}
    for p in (0.01, 0.05):
        var = t.ppf(p, freedom) * np.sqrt(1 - 2 / freedom) * sigma
        found[f"quantile {p}"] = round(float(quantile_loss(tomorrow, var, p).mean()), 6)
    return found


def run(days: int, which: int, seed: int) -> dict:
    """One model with one setting on one history."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    model, at, held = fit(simulate(days, seed)[0], SETTINGS[which], seed)
    if (days, seed) == (DAYS[-1], SEEDS[0]):
        save_tensors(WEIGHTS, dict(model.state_dict()), {"config": CONFIG.to_dict()})
    return {"days": days, "setting": which, "seed": seed, "held_out": round(held, 5), "at": at, **scores(model),
            "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip


def chosen(rows: list[dict], days: int) -> int:
    """The setting with the lowest held-out loss in tuning at this length (for the longest, of the one before)."""
    tuned_at = DAYS[-2] if days == DAYS[-1] else days
    found = [r for r in rows if (r["days"], r["seed"]) == (tuned_at, TUNING_SEED)]
    return min(found, key=lambda row: row["held_out"])["setting"]


def jobs(rows: list[dict]) -> Iterator[list[tuple]]:
    """What has to run, in two parts: the second needs the first. The longest first."""
    yield [(days, which, TUNING_SEED) for days in DAYS[-2::-1] for which in range(len(SETTINGS))]
    yield [(days, chosen(rows, days), seed) for days in DAYS[::-1] for seed in SEEDS]


def keep(rows: list[dict]) -> None:
    how = table.how("volatility", days=DAYS, tuning_seed=TUNING_SEED, seeds=SEEDS, steps=STEPS, settings=SETTINGS,
                    tested=[TEST_SEED, TESTED])  # fmt: skip
    table.write(FILE, rows, ("days", "seed", "setting"), how=how, known=known())


def main() -> None:
    options = table.options("Attention on a simulated market.", "one run of each setting, written nowhere")
    if options.mini:
        print("the best:", known())
        for which in range(len(SETTINGS)):
            print(run(DAYS[0], which, TUNING_SEED), flush=True)
        return
    table.work_off(FILE, run, jobs, ("days", "setting", "seed"), keep, options.processes)


if __name__ == "__main__":
    sys.exit(main())
