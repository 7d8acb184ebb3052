"""Is this ending true? Hold classifiers against each other on stories for notebook 07, and measure what finetuning
forgets; both go to data/endings.json: `make data NAME=endings`.
"""

import pathlib
import platform
import sys
import time

import numpy as np
import torch
from rivals import linear_model
from stories import exact, gap, task_batches, world_and_tokenizer

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.finetuning.baselines import LSTMClassifier, WordIndex, fit_lstm, lstm_log_probs
from bigmodel_lib.finetuning.classification import classifier_run
from bigmodel_lib.finetuning.lora import add_lora, count_trainable
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import label_log_probs, label_metrics, opinions
from bigmodel_lib.storyworld import START
from bigmodel_lib.storyworld.tasks import ending_of
from bigmodel_lib.text.batches import encode_texts
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, next_token_loss

FILE = pathlib.Path(__file__).resolve().parents[1] / "endings.json"
SEEDS, STEPS, TESTED = 5, {50: 30, 400: 100, 3200: 400}, 1000  # STEPS {labelled stories: updates}


class Endings:
    """Stories with true and false endings, as each rival reads them; the last TESTED ones are for testing."""

    def __init__(self, seed: int):
        world, rng = world_and_tokenizer()[0], np.random.default_rng(100 + seed)
        endings = [ending_of(world, rng) for _ in range(max(STEPS) + TESTED)]
        self.model, tokenizer = checkpoints.load_model(data_path("storyteller"))
        self.texts = [text for text, _ in endings]
        self.labels = np.array([int(true) for _, true in endings])
        self.documents = encode_texts([f"{START} {text}" for text in self.texts], tokenizer, 160)
        full_stop = tokenizer.encode(".")[0]
        self.starts = [np.flatnonzero(document == full_stop)[-2] + 1 for document in self.documents]
        self.test = np.arange(len(endings) - TESTED, len(endings))

    def texts_of(self, rows):
        return [self.texts[i] for i in rows]


def linear(data, train, seed, steps):
    model = linear_model().fit(data.texts_of(train), data.labels[train])
    return lambda rows: model.predict_log_proba(data.texts_of(rows))


def lstm(data, train, seed, steps):
    index = WordIndex(data.texts_of(train))
    x = index.encode(data.texts, 80)
    model = LSTMClassifier(generator=torch.Generator().manual_seed(seed))
    for _ in fit_lstm(model, x[train], data.labels[train], seed):
        pass
    return lambda rows: lstm_log_probs(model, x[rows])


def opinion(data, train, seed, steps):
    """The language model's own probabilities; labels only set the threshold."""
    from sklearn.linear_model import LogisticRegression

    def lowest(rows):
        return opinions(data.model, [data.documents[i] for i in rows], [data.starts[i] for i in rows])[:, None]

    model = LogisticRegression(C=1e3).fit(lowest(train[:400]), data.labels[train[:400]])
    return lambda rows: model.predict_log_proba(lowest(rows))


def ours(mode):
    def rival(data, train, seed, steps):
        run = classifier_run(data.model, [data.documents[i] for i in train], data.labels[train], 2, mode, seed=seed,
                             steps=steps)  # fmt: skip
        for _ in run:
            pass
        return lambda rows: label_log_probs(run.model, [data.documents[i] for i in rows])

    return rival


RIVALS = {
    "TF-IDF + logistic regression": linear,
    "LSTM, as printed": lstm,
    "ours, from scratch": ours("scratch"),
    "ours, pretrained, head alone": ours("head"),
    "ours, pretrained, full": ours("full"),
    "ours, pretrained, its own opinion": opinion,
}


def row(name, data, n, seed) -> dict:
    """One rival with n labelled stories."""
    start, train = time.perf_counter(), np.arange(n)
    found = label_metrics(RIVALS[name](data, train, seed, STEPS[n])(data.test), data.labels[data.test])
    kept = {f"test_{key}": found[key] for key in ("loss", "accuracy", "macro_f1")}
    return dict(rival=name, labels=n, seed=seed, seconds=time.perf_counter() - start, **kept)


WAYS = ("full", "lora", "mixed")


def forget(way: str, seed: int, steps: int = 100) -> dict:
    """Teach the storyteller to summarise in one way, and measure what it still knows of stories."""
    world, tokenizer = world_and_tokenizer()
    model, _ = checkpoints.load_model(data_path("storyteller"))
    before = gap(model, world, tokenizer, 200)["loss"]
    kinds = {"story": 16, "summary": 16} if way == "mixed" else {"summary": 32}
    rates = dict(muon_lr=0.01, momentum=0.95, adamw_lr=0.01)
    if way == "lora":
        add_lora(model, 8, 16.0, torch.Generator().manual_seed(seed), but=())
        rates = dict(optimizer="adamw", adamw_lr=0.005, beta1=0.9)
    config = TrainConfig(steps=steps, batch_size=32, seed=seed, **rates)
    run = Trainer(model, task_batches(world, tokenizer, kinds), next_token_loss, config)
    for _ in run:
        pass
    after = gap(model, world, tokenizer, 200)["loss"]
    summaries = exact(model, world, tokenizer, 200)["exact"]["summary"]
    return dict(way=way, seed=seed, before=before, after=after, summary=summaries, learned=count_trainable(model))


def main() -> int:
    torch.set_num_threads(1)
    rows, forgetting = [], []
    for seed in range(SEEDS):
        data = Endings(seed)
        for n in STEPS:
            for name in RIVALS:
                rows.append(row(name, data, n, seed))
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        for way in WAYS:
            forgetting.append(forget(way, seed))
            print(forgetting[-1], flush=True)
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        how = dict(made_by="data/recipes/endings.py", hardware=hardware(), versions=versions)
        checkpoints.write_json(FILE, {"how": how, "rows": rows, "forgetting": forgetting})
    return 0


if __name__ == "__main__":
    sys.exit(main())
