"""How many patients does attention need to beat counts, where the order of events decides?

`make data NAME=patients` writes data/patients.json and data/timelines.safetensors for 12; a stopped run goes on.

Four rivals read the same simulated timelines: attention, an LSTM, gradient boosting on counts, and on counts with the
visits since each event. Each has four settings, tried once at each size on patients of their own; the largest size
takes over the choice of the one before. A fifth of the patients says when to stop. Four other draws are reported. At
4,000 patients, attention's rivals get three times as many steps or trees too; one LSTM gets 6,000 steps on 16,000.
"""

import pathlib
import sys
import time
from collections.abc import Iterator

import _rows as table
import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.model.transformer import initialise
from bigmodel_lib.risk.models import EventModel, risk_loss
from bigmodel_lib.risk.patients import EVENTS, counts, simulate, true_risk
from bigmodel_lib.training.checkpoints import save_tensors
from bigmodel_lib.training.trainer import Trainer

DATA = pathlib.Path(__file__).resolve().parents[1]
FILE, WEIGHTS = DATA / "patients.json", DATA / "timelines.safetensors"
SIZES, TUNING_SEED, SEEDS = (250, 1000, 4000, 16000), 0, (10, 11, 12, 13)
STEPS, LOOKS, TREES = 400, 10, 150
LONGER, LONGER_AT = 3, 4000  # attention's rivals once more at this size, with so many times the steps or trees
TEST_SEED, TESTED = 10**6, 4000
SETTINGS = {
    "attention": [
        {"optimizer": o, "lr": r, "dropout": d} for o, r in (("muon", 0.02), ("adamw", 0.01)) for d in (0.0, 0.2)
    ],
    "LSTM": [{"optimizer": "adamw", "lr": lr, "dropout": d} for lr in (0.003, 0.01) for d in (0.0, 0.2)],
    "counts": [{"lr": lr, "leaves": n} for lr in (0.05, 0.15) for n in (7, 31)],
    "counts and recency": [{"lr": lr, "leaves": n} for lr in (0.05, 0.15) for n in (7, 31)],
}  # fmt: skip
CONFIG = ModelConfig(
    vocab_size=len(EVENTS), context_length=40, d_model=32, n_heads=2, n_layers=2, d_ff=64, token_shift=False
)


class LSTMModel(nn.Module):
    """The rival with a memory in place of attention: events (B, T) -> one logit a visit (B, T)."""

    def __init__(self, dropout: float):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(len(EVENTS), 32), nn.LSTM(32, 64, batch_first=True)
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(64, 1)

    def forward(self, events: Tensor) -> Tensor:
        states, _ = self.lstm(self.dropout(self.embedding(events)))
        return self.out(self.dropout(states))[..., 0]


def loss_of(risk: np.ndarray, y: np.ndarray) -> float:
    """Mean of -ln p over the visits that count, in nats."""
    risk = np.clip(risk.astype(float), 1e-7, 1 - 1e-7)
    return float(-np.log(np.where(y == 1, risk, 1 - risk))[y >= 0].mean())


def found_early(risk: np.ndarray, y: np.ndarray, false_alarms: float = 0.1) -> float:
    """Share of the diagnosed with an alarm before the visit of the diagnosis, if 10 % of the others ever have one."""
    risk = risk * (1 + 1e-6 * np.random.default_rng(0).random(risk.shape))  # equal risks are told apart by lot
    never = (y == 1).sum(axis=1) == 0
    highest = np.sort(risk[never].max(axis=1))
    threshold = highest[int(np.ceil((1 - false_alarms) * len(highest))) - 1]
    before = np.where(y == 0, risk, 0.0)[~never].max(axis=1)
    return float((before > threshold).mean())


def scores(risk: np.ndarray, y: np.ndarray) -> dict:
    """What is reported of one rival on the test patients."""
    auc = roc_auc_score(y[y >= 0], risk[y >= 0])
    return {"loss": round(loss_of(risk, y), 5), "auc": round(float(auc), 4), "early": round(found_early(risk, y), 4)}


def fit_network(
    name: str, setting: dict, train: tuple, held_out: tuple, seed: int, steps: int
) -> tuple[nn.Module, int]:
    """A trained network at the step with the lowest held-out loss, and that step."""
    torch.manual_seed(seed)
    if name == "LSTM":
        model: nn.Module = LSTMModel(setting["dropout"])
    else:
        model = initialise(EventModel(CONFIG.replace(dropout=setting["dropout"])), torch.Generator().manual_seed(seed))
    rates = {"muon_lr": setting["lr"], "adamw_lr": setting["lr"]}
    config = TrainConfig(steps=steps, batch_size=64, optimizer=setting["optimizer"], seed=seed, eps=1e-8, **rates)

    def batches(rng: np.random.Generator) -> tuple:
        rows = rng.integers(0, len(train[0]), 64)
        return train[0][rows], train[1][rows]

    best, kept, at = np.inf, {}, 0
    for progress in Trainer(model, batches, risk_loss, config):
        if progress.step % (steps // LOOKS) == 0:
            loss = loss_of(risk_of(model, held_out[0]), held_out[1])
            if loss < best:
                best, at = loss, progress.step
                kept = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model, at


@torch.no_grad()
def risk_of(model: nn.Module, events: np.ndarray) -> np.ndarray:
    """σ of a network's logits, (N, T)."""
    model.eval()
    return torch.cat([model(part).sigmoid() for part in torch.from_numpy(events).split(500)]).numpy()


def fit_trees(
    name: str, setting: dict, train: tuple, held_out: tuple, test: np.ndarray, n_trees: int
) -> tuple[np.ndarray, int, float]:
    """(risks of the test patients, how many trees, held-out loss): as many trees as the held-out patients like best."""
    recency = name == "counts and recency"

    def visits(events: np.ndarray, y: np.ndarray) -> np.ndarray:
        return counts(events, recency)[y >= 0]

    trees = HistGradientBoostingClassifier(
        max_iter=n_trees, learning_rate=setting["lr"], max_leaf_nodes=setting["leaves"], early_stopping=False
    ).fit(visits(*train), train[1][train[1] >= 0])
    y = held_out[1][held_out[1] >= 0]
    losses = [loss_of(p[:, 1], y) for p in trees.staged_predict_proba(visits(*held_out))]
    best = int(np.argmin(losses))
    rows = counts(test, recency).reshape(test.size, -1)
    for i, p in enumerate(trees.staged_predict_proba(rows)):
        if i == best:
            return p[:, 1].reshape(test.shape), best + 1, losses[best]
    raise AssertionError


def run(name: str, size: int, which: int, seed: int, budget: int = 1) -> dict:
    """One rival with one setting on one draw of patients; budget: how many times STEPS or TREES it gets."""
    torch.set_num_threads(1)
    start, setting = time.perf_counter(), SETTINGS[name][which]
    events, y = simulate(size, seed)
    n = size * 4 // 5
    train, held_out = (events[:n], y[:n]), (events[n:], y[n:])
    test = simulate(TESTED, TEST_SEED)
    if name in ("attention", "LSTM"):
        model, at = fit_network(name, setting, train, held_out, seed, STEPS * budget)
        risk, held = risk_of(model, test[0]), loss_of(risk_of(model, held_out[0]), held_out[1])
        if (name, size, seed) == ("attention", SIZES[-1], SEEDS[0]):
            save_tensors(WEIGHTS, dict(model.state_dict()), {"config": CONFIG.to_dict()})
    else:
        risk, at, held = fit_trees(name, setting, train, held_out, test[0], TREES * budget)
    seconds = round(time.perf_counter() - start, 1)
    return {"rival": name, "size": size, "budget": budget, "setting": which, "seed": seed, "held_out": round(held, 5),
            "at": at, **scores(risk, test[1]), "seconds": seconds}  # fmt: skip


def chosen(rows: list[dict], name: str, size: int) -> int:
    """The setting with the lowest held-out loss in the tuning runs of this size (of the one before for the largest)."""
    tuned_at = SIZES[-2] if size == SIZES[-1] else size
    found = [r for r in rows if (r["rival"], r["size"], r["seed"]) == (name, tuned_at, TUNING_SEED)]
    return min(found, key=lambda row: row["held_out"])["setting"]


def jobs(rows: list[dict]) -> Iterator[list[tuple]]:
    """What has to run, in two parts: the second needs the first. The longest first, and last the longer ones."""
    sizes = SIZES[::-1]
    yield [(name, size, i, TUNING_SEED, 1) for size in sizes[1:] for name in SETTINGS for i in range(4)]
    again = [(name, LONGER_AT, LONGER) for name in SETTINGS if name != "attention"]
    wanted = [*((name, size, 1) for size in sizes for name in SETTINGS), *again]
    last = [("LSTM", sizes[0], 0, SEEDS[0], 15)]  # one alone for 6,000 steps, at the lower rate
    yield [*((name, n, chosen(rows, name, n), seed, budget) for name, n, budget in wanted for seed in SEEDS), *last]


def keep(rows: list[dict]) -> None:
    events, y = simulate(TESTED, TEST_SEED)
    truth = true_risk(events)
    rate = np.full(truth.shape, (y == 1).sum() / (y >= 0).sum())
    known = {"best": scores(truth, y), "base rate": {"loss": round(loss_of(rate, y), 5)}}
    how = table.how("patients", ["scikit-learn"], sizes=SIZES, tuning_seed=TUNING_SEED, seeds=SEEDS, settings=SETTINGS,
                    steps=STEPS, trees=TREES, longer=LONGER, tested=TESTED)  # fmt: skip
    table.write(FILE, rows, ("rival", "size", "budget", "seed", "setting"), how=how, known=known)


def main() -> None:
    options = table.options("Attention, an LSTM and counts on patients.", "one run of each rival, written nowhere")
    if options.mini:
        for name in SETTINGS:
            print(run(name, SIZES[0], 0, TUNING_SEED), flush=True)
        return
    table.work_off(FILE, run, jobs, ("rival", "size", "setting", "seed", "budget"), keep, options.processes)


if __name__ == "__main__":
    sys.exit(main())
