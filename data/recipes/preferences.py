"""Practise on the good ones (SFT) or learn from comparisons (DPO): what do the same nats buy?

`make data NAME=preferences` writes data/preferences.json for notebook 08b; a stopped run goes on.

Both learn from the same stories, which the storyteller told and the judge sorted, at rates of their own: three seeds
choose the rate that has most true stories at PRICE nats, eight others are kept. Beside them, cold sampling.
"""

import collections
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import _rows as table
import numpy as np
import torch
from torch import Tensor

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.finetuning.dpo import pair_batches, preference_loss
from bigmodel_lib.generation import batch_of, generate_many, log_probability
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld.judge import judge, misfit
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training.checkpoints import load_model
from bigmodel_lib.training.trainer import Trainer, next_token_loss

FILE = pathlib.Path(__file__).resolve().parents[1] / "preferences.json"
RATES = {"SFT": (0.25, 0.5, 1.0, 2.0), "DPO": (0.125, 0.25, 0.5, 1.0)}  # times muon_lr 0.002 and adamw_lr 0.001
TUNING_SEEDS, SEEDS = (0, 1, 2), tuple(range(10, 18))
TEMPERATURES = (1.0, 0.8, 0.6, 0.4, 0.2)
STEPS, LOOKS, BETA, PRICE = 160, (10, 20, 40, 80, 160), 0.1, 0.2
TOLD, LOOKED_AT = 1200, 600  # stories to learn from, and to look at each time
Rows = list[list[int]]


class Teller:
    """The storyteller, its words and its world."""

    def __init__(self) -> None:
        self.world = StoryWorld(longest=40)
        self.model, words = load_model(data_path("storyteller"))
        self.words = words.vocabulary
        self.start, self.end = self.words.index(START), self.words.index(END)

    def tell(self, model: Any, n: int, seed: int, **how: float) -> Rows:
        generator = torch.Generator().manual_seed(seed)
        return generate_many(model, [self.start], n, 120, generator, stop=self.end, **how)

    def texts(self, told: Rows) -> list[list[str]]:
        return [[self.words[i] for i in row] for row in told]

    @torch.no_grad()
    def log_probs(self, model: Callable[[Tensor], Tensor], told: Rows) -> np.ndarray:
        """ln p of each story under a model. Shapes: -> (len(told),)."""
        parts = [batch_of([self.start], told[i : i + 100]) for i in range(0, len(told), 100)]
        return torch.cat([log_probability(model, *part) for part in parts]).numpy()

    def look(self, model: Callable[[Tensor], Tensor], told: Rows, step: int = 0) -> dict:
        """How many of a model's stories are true and how many say what doesn't fit; KL and entropy in nats a story."""
        texts = self.texts(told)
        now = self.log_probs(model, told)
        paid = now - self.log_probs(self.model, told)
        return {
            "step": step, "stories": len(told), "true": sum(judge(self.world, text).true for text in texts),
            "misfits": sum(misfit(self.world, text) != "" for text in texts),
            "kl": round(float(paid.mean()), 4), "kl_sd": round(float(paid.std(ddof=1)), 3),
            "entropy": round(float(-now.mean()), 3),
        }  # fmt: skip


def lessons(teller: Teller, way: str, seed: int) -> tuple[Any, Any]:
    """(batches, loss) of one way, from stories that the storyteller tells with this seed."""
    told = teller.tell(teller.model, TOLD, 100 + seed)
    true = [judge(teller.world, text).true for text in teller.texts(told)]
    if way == "SFT":
        good = [row for row, is_true in zip(told, true, strict=True) if is_true]

        def good_ones(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            x, y = batch_of([teller.start], [good[i] for i in rng.integers(0, len(good), 40)])
            return x.numpy(), y.numpy()

        return good_ones, next_token_loss
    by_length: dict = collections.defaultdict(lambda: {True: [], False: []})
    for row, is_true in zip(told, true, strict=True):
        by_length[len(row)][is_true].append(row)
    pairs = [pair for one in by_length.values() for pair in zip(one[True], one[False], strict=False)]
    loss = preference_loss(teller.model, [teller.start], pairs, BETA)
    return pair_batches([teller.start], pairs, 20), loss


def train(way: str, rate: float, seed: int) -> dict:
    """One run, and what its looks saw."""
    torch.set_num_threads(1)
    teller = Teller()
    student = Teller().model
    config = TrainConfig(steps=STEPS, batch_size=40, seed=seed, eps=1e-8, muon_lr=0.002 * rate, adamw_lr=0.001 * rate)
    looks = []
    for report in Trainer(student, *lessons(teller, way, seed), config):
        if report.step in LOOKS:
            told = teller.tell(student, LOOKED_AT, 200 + seed)
            looks.append(teller.look(student, told, report.step))
    return {"way": way, "rate": rate, "seed": seed, "looks": looks}


def sample_coldly(way: str, temperature: float, seed: int) -> dict:
    """The storyteller at a temperature, untrained."""
    torch.set_num_threads(1)
    teller = Teller()
    told = teller.tell(teller.model, 4 * LOOKED_AT, 300, temperature=temperature)
    look = teller.look(lambda tokens: teller.model(tokens) / temperature, told)
    return {"way": way, "rate": temperature, "seed": seed, "looks": [look]}


def share_at(price: float, looks: list[dict], before: float) -> float:
    """The share of true stories where a run has paid `price` nats, between two looks; nan if it never has."""
    paid = np.maximum.accumulate([0.0, *(look["kl"] for look in looks)])
    shares = [before, *(look["true"] / look["stories"] for look in looks)]
    return float(np.interp(price, paid, shares, right=np.nan))


def best_rate(rows: list[dict], way: str) -> float:
    """The rate with most true stories at PRICE in the tuning runs; one at which a run never pays as much is out."""
    cold = next(row["looks"][0] for row in rows if row["way"] == "temperature" and row["rate"] == 1.0)
    before, found = cold["true"] / cold["stories"], {}
    for rate in RATES[way]:
        runs = [row for row in rows if (row["way"], row["rate"]) == (way, rate) and row["seed"] in TUNING_SEEDS]
        share = np.mean([share_at(PRICE, row["looks"], before) for row in runs])
        if not np.isnan(share):
            found[rate] = share
    return max(found, key=lambda rate: found[rate])


def jobs(rows: list[dict]) -> Iterator[list[tuple]]:
    """What has to run, in two parts: the second needs the first."""
    tuning = [(way, rate, seed) for seed in TUNING_SEEDS for way in RATES for rate in RATES[way]]
    yield [*(("temperature", temperature, 0) for temperature in TEMPERATURES), *tuning]
    yield [(way, best_rate(rows, way), seed) for seed in SEEDS for way in RATES]


def run(way: str, rate: float, seed: int) -> dict:
    """One job."""
    return sample_coldly(way, rate, seed) if way == "temperature" else train(way, rate, seed)


def keep(rows: list[dict]) -> None:
    how = table.how("preferences", tuning_seeds=TUNING_SEEDS, seeds=SEEDS, price=PRICE, steps=STEPS, told=TOLD)
    table.write(FILE, rows, ("way", "rate", "seed"), how=how)


def main() -> None:
    options = table.options("Train the storyteller in two ways, at equal price.")
    table.work_off(FILE, run, jobs, ("way", "rate", "seed"), keep, options.processes)


if __name__ == "__main__":
    sys.exit(main())
