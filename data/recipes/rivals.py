"""Hold classifiers against each other for notebook 07, and write data/rivals.json: `make data NAME=rivals`.

Each row is one rival, trained on one part of the reviews and tested on the rest, from a split and a seed that it names.
All rivals of a split see the same texts.
"""

import pathlib
import platform
import sys
import time

import numpy as np
import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.finetuning.baselines import LSTMClassifier, WordIndex, fit_lstm, lstm_log_probs, lstm_steps
from bigmodel_lib.finetuning.classification import classifier_run
from bigmodel_lib.finetuning.lora import count_trainable
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import label_log_probs, label_metrics
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.batches import encode_texts, split_labelled
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints

FILE = pathlib.Path(__file__).resolve().parents[1] / "rivals.json"
SPLITS, SHARES, EPOCHS = 10, (70, 140, 280), 4


class Reviews:
    """The reviews as each rival reads them."""

    def __init__(self):
        self.texts, self.labels, self.names, *_ = read_labelled(data_path("reviews.tsv"))
        self.base, self.tokenizer = checkpoints.load_model(data_path("first_model"))
        self.length = self.base.config.context_length
        self.documents = encode_texts(self.texts, self.tokenizer, self.length)

    def split(self, seed: int, n: int | None = None):
        """(train, test) rows; of the train rows only the first n, if that is given, as many of each label."""
        train, test = split_labelled(self.labels, seed)
        if n is not None:
            train = np.concatenate([train[self.labels[train] == label][: n // 2] for label in (0, 1)])
        return train, test

    def of(self, rows):
        return [self.texts[i] for i in rows], self.labels[rows]


def linear_model():
    """TF-IDF (Spärck Jones 1972) of words and pairs, and logistic regression (Cox 1958)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    return make_pipeline(words, LogisticRegression(C=10.0, max_iter=2000))


def linear(data, train, test, seed):
    """TF-IDF and logistic regression."""
    model = linear_model().fit(*data.of(train))
    parts = [label_metrics(model.predict_log_proba(data.of(rows)[0]), data.labels[rows]) for rows in (train, test)]
    return *parts, model[0].vocabulary_.__len__() + 1


class DroppingLSTM(LSTMClassifier):
    """The source text's network, which in training leaves out a share of numbers and scales up the others.

    dropout: of the last hidden state. variational: of each text's embedding and hidden state, the same at all words.
    """

    def __init__(self, dropout=0.0, variational=0.0, generator=None):
        super().__init__(generator)
        self.dropout, self.variational, self.generator = dropout, variational, generator

    def mask(self, n_texts, width, share):
        return (torch.rand(n_texts, width, generator=self.generator) >= share).float() / (1.0 - share)

    def forward(self, x):
        x, lstm = self.embedding(x), self.lstm
        if self.training and self.variational:
            masks = [self.mask(len(x), width, self.variational) for width in (32, 128)]
            last = lstm_steps(x, lstm.weight_ih_l0.T, lstm.weight_hh_l0.T, lstm.bias_ih_l0, *masks)
        else:
            last = lstm(x)[1][0][0]
        if self.training and self.dropout:
            last = last * self.mask(len(x), 128, self.dropout)
        return self.dense(last)[:, 0]


def lstm(data, train, test, seed, early=False, weight_decay=0.0, **dropout):
    """The source text's network, as printed or with something against overfitting."""
    index = WordIndex(data.of(train)[0])
    x = index.encode(data.texts, max(len(index.words(text)) for text in data.of(train)[0]))
    model = DroppingLSTM(**dropout, generator=torch.Generator().manual_seed(seed))
    fitted, held = split_labelled_rows(data, train, seed) if early else (train, train)
    losses, kept = [], []
    for _ in fit_lstm(model, x[fitted], data.labels[fitted], seed, weight_decay):
        losses.append(label_metrics(lstm_log_probs(model, x[held]), data.labels[held])["loss"])
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
    if early:
        model.load_state_dict(kept[int(np.argmin(losses))])
    return *(
        label_metrics(lstm_log_probs(model, x[rows]), data.labels[rows]) for rows in (train, test)
    ), count_trainable(model)


def split_labelled_rows(data, train, seed):
    """(fitted, held out) of the rows to train on."""
    fitted, held = split_labelled(data.labels[train], seed)
    return train[fitted], train[held]


def ours(data, train, test, seed, mode, words=False, **more):
    """The course's model on bytes, or a small one on the LSTM's words."""
    documents, base = data.documents, data.base
    if words:
        index = WordIndex(data.of(train)[0])
        documents = [index.encode([text], 64)[0] for text in data.texts]
        documents = [np.append(document[document > 0], 0) for document in documents]
        base = LanguageModel(ModelConfig(10_000, context_length=65, d_model=32, n_layers=2, n_heads=2, d_ff=64))
    run = classifier_run(base, [documents[i] for i in train], data.labels[train], 2, mode, seed=seed,
                         steps=max(20, EPOCHS * len(train) // 32), **more)  # fmt: skip
    for _ in run:
        pass
    found = (label_log_probs(run.model, [documents[i] for i in rows]) for rows in (train, test))
    parts = [label_metrics(p, data.labels[rows]) for p, rows in zip(found, (train, test), strict=True)]
    return *parts, count_trainable(run.model)


RIVALS = {
    "TF-IDF + logistic regression": linear,
    "LSTM, as printed": lstm,
    "ours on words, from scratch": lambda *a: ours(*a, "scratch", words=True),
    "ours on bytes, from scratch": lambda *a: ours(*a, "scratch"),
    "ours, pretrained, head alone": lambda *a: ours(*a, "head"),
    "ours, pretrained, LoRA": lambda *a: ours(*a, "lora"),
    "ours, pretrained, full": lambda *a: ours(*a, "full"),
}
AGAINST_OVERFITTING = {
    "LSTM, dropout 0.5": lambda *a: lstm(*a, dropout=0.5),
    "LSTM, variational dropout 0.5": lambda *a: lstm(*a, variational=0.5),
    "LSTM, weight decay 5": lambda *a: lstm(*a, weight_decay=5.0),
    "LSTM, early stopping": lambda *a: lstm(*a, early=True),
    "ours, dropout 0.2": lambda *a: ours(*a, "full", dropout=0.2),
}
CURVES = ("TF-IDF + logistic regression", "LSTM, as printed", "ours, pretrained, full")


def row(name, rival, data, seed, n=None) -> dict:
    """One rival on one split."""
    train, test = data.split(seed, n)
    start = time.perf_counter()
    on_train, on_test, learned = rival(data, train, test, seed)
    kept = {f"{part}_{key}": found[key] for part, found in (("train", on_train), ("test", on_test))
            for key in ("loss", "accuracy", "macro_f1")}  # fmt: skip
    return dict(rival=name, labels=len(train), split=seed, learned=learned, seconds=time.perf_counter() - start, **kept)


def main() -> int:
    torch.set_num_threads(1)
    data, rows = Reviews(), []
    for seed in range(SPLITS):
        jobs = [(name, rival, None) for name, rival in {**RIVALS, **AGAINST_OVERFITTING}.items()]
        jobs += [(name, RIVALS[name], n) for name in CURVES for n in SHARES]
        for name, rival, n in jobs:
            rows.append(row(name, rival, data, seed, n))
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        how = dict(made_by="data/recipes/rivals.py", hardware=hardware(), versions=versions, epochs=EPOCHS)
        checkpoints.write_json(FILE, {"how": how, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
