"""A table of 569 tumours: attention on feature tokens, logistic regression and gradient boosting, equally tuned.

`make data NAME=diagnosis` writes data/diagnosis.json for notebook 12; a stopped run goes on.

Five times five folds. In each, every rival tries four settings by three folds within the training part, and is then
trained on all of it with the best. What is kept: the risk of each tumour when it was held out, the loss of each fold.
"""

import pathlib
import sys
import time

import _rows as table
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.model.transformer import initialise
from bigmodel_lib.risk.models import TableModel, risk_loss
from bigmodel_lib.training.trainer import Trainer

FILE = pathlib.Path(__file__).resolve().parents[1] / "diagnosis.json"
REPEATS, FOLDS, INNER, RATE = 5, 5, 3, 0.01
SETTINGS = {
    "attention": [{"steps": n, "dropout": d} for n in (70, 120) for d in (0.2, 0.5)],
    "gradient boosting": [{"learning_rate": lr, "max_iter": n} for lr in (0.03, 0.1) for n in (60, 200)],
    "logistic regression": [{"C": c} for c in (0.03, 0.1, 0.3, 1.0)],
}
CONFIG = ModelConfig(
    vocab_size=1, context_length=31, d_model=16, n_heads=2, n_layers=1, d_ff=32, positions="none", token_shift=False,
    causal=False,
)  # fmt: skip


class Attention:
    """The library's block on feature tokens, with scikit-learn's two methods."""

    def __init__(self, steps: int, dropout: float):
        self.steps, self.dropout = steps, dropout

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Attention":
        self.scaler = StandardScaler().fit(x)
        x, y = self.scaler.transform(x).astype(np.float32), y[:, None]
        self.model = initialise(
            TableModel(CONFIG.replace(dropout=self.dropout), x.shape[1]), torch.Generator().manual_seed(0)
        )
        config = TrainConfig(
            steps=self.steps, batch_size=64, optimizer="adamw", adamw_lr=RATE, weight_decay=0.05, eps=1e-8
        )

        def batches(rng: np.random.Generator) -> tuple:
            rows = rng.choice(len(x), 64, replace=False)
            return x[rows], y[rows]

        for _ in Trainer(self.model, batches, risk_loss, config):
            pass
        self.model.eval()
        return self

    @torch.no_grad()
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        risk = self.model(torch.from_numpy(self.scaler.transform(x).astype(np.float32))).sigmoid()[:, 0].numpy()
        return np.stack([1 - risk, risk], axis=1)


def new(name: str, setting: dict) -> object:
    """An untrained rival."""
    if name == "attention":
        return Attention(**setting)
    if name == "gradient boosting":
        return HistGradientBoostingClassifier(max_leaf_nodes=7, early_stopping=False, **setting)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, **setting))


def risks(name: str, setting: dict, x: np.ndarray, y: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """What a rival that has seen (x, y) says of other rows."""
    return new(name, setting).fit(x, y).predict_proba(tested)[:, 1]  # type: ignore[attr-defined]


def loss_of(risk: np.ndarray, y: np.ndarray) -> float:
    """Mean of -ln p, in nats."""
    risk = np.clip(risk.astype(float), 1e-7, 1 - 1e-7)
    return float(-np.log(np.where(y == 1, risk, 1 - risk)).mean())


def patients() -> tuple[np.ndarray, np.ndarray]:
    """(x (569, 30), y (569,)): 1 is malignant (scikit-learn's file has it the other way round)."""
    data = load_breast_cancer()
    return data.data, 1 - data.target


def run(name: str, repeat: int, fold: int) -> dict:
    """One rival on one fold: tuned inside the training part, then tested."""
    torch.set_num_threads(1)
    x, y = patients()
    start = time.perf_counter()
    train, test = list(StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(x, y))[fold]
    inner = list(StratifiedKFold(INNER, shuffle=True, random_state=1000 + repeat).split(x[train], y[train]))
    losses = []
    for setting in SETTINGS[name]:
        found = [loss_of(risks(name, setting, x[train[a]], y[train[a]], x[train[b]]), y[train[b]]) for a, b in inner]
        losses.append(float(np.mean(found)))
    best = int(np.argmin(losses))
    risk = risks(name, SETTINGS[name][best], x[train], y[train], x[test])
    return {"rival": name, "repeat": repeat, "fold": fold, "setting": best, "loss": round(loss_of(risk, y[test]), 5),
            "rows": test.tolist(), "risk": [round(float(p), 4) for p in risk],
            "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip


def jobs(_: list[dict]) -> list[list[tuple]]:
    """Everything at once: no fold waits for another."""
    return [[(name, repeat, fold) for name in SETTINGS for repeat in range(REPEATS) for fold in range(FOLDS)]]


def keep(rows: list[dict]) -> None:
    how = table.how("diagnosis", ["scikit-learn"], repeats=REPEATS, folds=FOLDS, inner_folds=INNER, settings=SETTINGS,
                    rate=RATE)  # fmt: skip
    table.write(FILE, rows, ("rival", "repeat", "fold"), how=how)


def main() -> None:
    options = table.options("Three rivals on the breast-cancer table.", "one fold of each rival, written nowhere")
    if options.mini:
        for name in SETTINGS:
            print({k: v for k, v in run(name, 0, 0).items() if k not in ("rows", "risk")}, flush=True)
        return
    fields = "rival", "repeat", "fold"
    table.work_off(FILE, run, jobs, fields, keep, options.processes, hidden=("rows", "risk"))


if __name__ == "__main__":
    sys.exit(main())
