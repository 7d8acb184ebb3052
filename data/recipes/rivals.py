"""Hold classifiers against each other for notebook 07b, and write data/rivals.json: `make data NAME=rivals`.

Two tasks: is this review satisfied, and is the right word in this sentence (`slips`)? Every rival has the same budget:
four settings, tried on TUNING splits of their own, and EPOCHS passes over its labels. The SPLITS that are reported
are others: `rows` with the setting of the lowest loss, `accurate` with the most accurate one where that is another.
Each row is kept in runs/rivals as it is done, so a stopped run goes on.
"""

import argparse
import collections
import functools
import importlib.metadata
import itertools
import json
import multiprocessing
import pathlib
import platform
import re
import sys
import time

import numpy as np
import torch
from _lstm import LSTMClassifier, WordIndex, fit_lstm, lstm_log_probs

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.finetuning.classification import classifier_run
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import label_log_probs, label_metrics
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.text.batches import encode_texts, split_labelled
from bigmodel_lib.text.docstrings import package_sentences
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE, KEPT = ROOT / "data" / "rivals.json", ROOT / "runs" / "rivals"
EPOCHS, TUNING, SPLITS, SLIP_SPLITS = 10, (100, 101, 102), tuple(range(10)), tuple(range(5))
REVIEW_LABELS, SLIP_LABELS, TESTED = (70, 140, 280), (50, 200, 800, 2000), 800
PAIRS = (
    "its it's",
    "their there",
    "then than",
    "where were",
    "is are",
    "has have",
    "to too",
    "affect effect",
    "accept except",
)
PACKAGES, MOST = ("torch", "scipy", "python", "sklearn", "matplotlib", "numpy"), 300  # sentences for each word, at most
MOST_OF_BOOKS = 4000
DEVICE = torch.device("cpu")
MINI = dict(
    EPOCHS=1,
    TUNING=(100,),
    SPLITS=(0,),
    SLIP_SPLITS=(0,),
    REVIEW_LABELS=(70,),
    SLIP_LABELS=(50,),
    FILE=ROOT / "runs" / "rivals.json",
    KEPT=ROOT / "runs" / "rivals_mini",
)
CS = tuple(dict(C=c) for c in (1.0, 3.0, 10.0, 30.0))
RATES = tuple(dict(rate=r) for r in (0.1, 0.25, 0.5, 1.0))  # times the rates of bigmodel_lib.recipes


# Sentences that packages ship, half of them with the wrong word


def slips(found_sentences) -> list[dict]:
    """{sentence, place, pair, word}: sentences with one word of PAIRS, as many with each word of a pair."""
    partner = {word: pair for pair in PAIRS for word in pair.split()}
    found, seen = collections.defaultdict(list), set()
    for sentence in found_sentences:
        words = sentence.split()
        for place, word in enumerate(words):
            around = tuple(words[max(0, place - 3) : place + 4])
            if word in partner and around not in seen:  # of near-copies the first alone
                seen.add(around)
                found[word].append(dict(sentence=sentence, place=place, pair=partner[word], word=word))
    rng, rows = np.random.default_rng(0), []
    for pair in PAIRS:
        first, second = pair.split()
        n = min(MOST, len(found[first]), len(found[second]))
        rows += [found[word][i] for word in (first, second) for i in rng.permutation(len(found[word]))[:n]]
    taken = {}
    for row in rows:
        taken.setdefault(row["sentence"], row)
    return list(taken.values())


def other(row: dict) -> str:
    """The sentence with the pair's other word in the place."""
    words = row["sentence"].split()
    words[row["place"]] = next(word for word in row["pair"].split() if word != row["word"])
    return " ".join(words)


class Data:
    """Texts and labels, and how each rival reads them."""

    def __init__(self, texts, labels, context=None):
        self.texts, self.labels, self.context = np.array(texts, dtype=object), np.asarray(labels), context

    @functools.cache  # noqa: B019, there are two of these
    def read_by(self, name: str):
        """(model, documents) of a committed model, on the device."""
        model, tokenizer = checkpoints.load_model(data_path(name), DEVICE)
        return model, encode_texts(["\n" + text for text in self.texts], tokenizer, model.config.context_length)

    def split(self, seed: int, n: int | None = None):
        """(train, test) rows; of the train rows the first n alone, as many of each label."""
        train, test = split_labelled(self.labels, seed, 0.2 if self.context is None else TESTED / len(self.labels))
        if n is not None:
            train = np.concatenate([train[self.labels[train] == label][: n // 2] for label in (0, 1)])
        return train, test


def reviews() -> Data:
    table = read_labelled(data_path("reviews.tsv"))
    return Data(table.texts, table.labels)


def features(words: list[str], place: int) -> str:
    """The neighbours of one word, each with its place, and pairs of them."""
    words, i = ["<", "<", *" ".join(words).lower().split(), ">", ">"], place + 2
    near = [f"{k:+d}|{words[i + k]}" for k in (-2, -1, 1, 2)]
    near += [f"-|{words[i - 2]}|{words[i - 1]}", f"+|{words[i + 1]}|{words[i + 2]}", f"0|{words[i - 1]}|{words[i + 1]}"]
    return " ".join(f"{words[i]}|{feature}" for feature in near)


def proofs() -> Data:
    """Half of the sentences as they are (1), half with the other word (0); `context`: the word's neighbours."""
    rows = json.loads((KEPT / "sentences.json").read_text(encoding="utf-8"))
    rng = np.random.default_rng(1)
    right = rng.permutation(len(rows)) % 2
    texts = [row["sentence"] if ok else other(row) for row, ok in zip(rows, right, strict=True)]
    context = [features(text.split(), row["place"]) for row, text in zip(rows, texts, strict=True)]
    data = Data(texts, right, np.array(context, dtype=object))
    data.others = [other(row) if ok else row["sentence"] for row, ok in zip(rows, right, strict=True)]
    data.pairs = np.array([row["pair"] for row in rows])
    return data


# Rivals: (data, train, tested rows, seed, setting) -> ln p of both labels for the train rows and for the tested ones


def linear(data, train, test, seed, C, texts=None, **words):
    """TF-IDF (Spärck Jones 1972) and logistic regression (Cox 1958)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = data.texts if texts is None else texts
    words = words or dict(ngram_range=(1, 2))
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, **words), LogisticRegression(C=C, max_iter=5000))
    model.fit(texts[train], data.labels[train])
    return [model.predict_log_proba(texts[rows]) for rows in (train, test)]


def neighbours(data, train, test, seed, C):
    """The same on the word and its neighbours, each with its place: it is told which word is in question."""
    return linear(data, train, test, seed, C, data.context, token_pattern=r"\S+", lowercase=False)


def lstm(data, train, test, seed, lr=1e-3, early=False, weight_decay=0.0, dropout=0.0):
    """The source text's network, as printed or with something against overfitting."""
    index = WordIndex(data.texts[train])
    x = index.encode(data.texts, max(len(index.words(text)) for text in data.texts[train]))
    model = LSTMClassifier(torch.Generator().manual_seed(seed), dropout).to(DEVICE)
    torch.manual_seed(seed)
    fitted, held = train, train
    if early:
        fitted, held = (train[rows] for rows in split_labelled(data.labels[train], seed))
    losses, kept = [], []
    for _ in fit_lstm(model, x[fitted], data.labels[fitted], seed, weight_decay, lr):
        if early:
            losses.append(label_metrics(lstm_log_probs(model, x[held]), data.labels[held])["loss"])
            kept.append({name: value.clone() for name, value in model.state_dict().items()})
    if early:
        model.load_state_dict(kept[int(np.argmin(losses))])
    return [lstm_log_probs(model, x[rows]) for rows in (train, test)]


def rates(mode, rate):
    """The rates of a mode, times a factor."""
    from bigmodel_lib.recipes import MODES

    return {name: value * rate for name, value in MODES[mode].items() if name.endswith("_lr")}


def tuned(model, documents, data, train, test, seed, mode, rate, **more):
    """One of the course's models with a head, for EPOCHS passes."""
    steps = EPOCHS * -(-len(train) // 32)
    run = classifier_run(model, [documents[i] for i in train], data.labels[train], 2, mode, seed=seed, steps=steps,
                         **rates(mode, rate), **more)  # fmt: skip
    for _ in run:
        pass
    return [label_log_probs(run.model, [documents[i] for i in rows]) for rows in (train, test)]


def pretrained(name, mode, **more):
    """A committed model below a head."""

    def rival(data, train, test, seed, rate):
        model, documents = data.read_by(name)
        return tuned(model, documents, data, train, test, seed, mode, rate, **more)

    return rival


def scratch(data, train, test, seed, rate):
    """A small model of the course's kind, from random weights, on the LSTM's words."""
    index = WordIndex(data.texts[train])
    documents = [np.append(row[row > 0], 0) for row in index.encode(data.texts, 64)]
    config = ModelConfig(10_000, context_length=65, d_model=32, n_layers=2, n_heads=2, d_ff=64)
    model = initialise(LanguageModel(config), torch.Generator().manual_seed(seed)).to(DEVICE)
    return tuned(model, documents, data, train, test, seed, "scratch", rate)


@torch.no_grad()
def log_probability(model, documents) -> np.ndarray:
    """ln p of each document but its first token, under a language model: (N,)."""
    found = np.zeros(len(documents))
    order = np.argsort([len(document) for document in documents])
    for rows in np.split(order, range(64, len(order), 64)):
        longest = max(len(documents[i]) for i in rows)
        x = torch.zeros(len(rows), longest, dtype=torch.int64, device=DEVICE)
        here = torch.zeros(len(rows), longest, dtype=torch.bool, device=DEVICE)
        for line, i in enumerate(rows):
            x[line, : len(documents[i])] = torch.as_tensor(documents[i])
            here[line, : len(documents[i])] = True
        logs = model.eval()(x[:, :-1]).float().log_softmax(-1).gather(-1, x[:, 1:, None])[..., 0]
        found[rows] = (logs * here[:, 1:]).sum(-1).cpu().numpy()
    return found


def opinion(name):
    """z = ln p(the sentence) − ln p(with the other word): right where z > 0. No label is used."""

    @functools.cache
    def z(data):
        model, tokenizer = checkpoints.load_model(data_path(name), DEVICE)
        both = [encode_texts(["\n" + t for t in texts], tokenizer, 256) for texts in (data.texts, data.others)]
        return log_probability(model, both[0]) - log_probability(model, both[1])

    return lambda data, train, test, seed: both_labels(z(data), train, test)


def opinion_of_all(name):
    """The same without being told which word is in question: the lowest z of all words of PAIRS in the sentence."""

    @functools.cache
    def lowest(data):
        model, tokenizer = checkpoints.load_model(data_path(name), DEVICE)
        changed = [(i, text) for i, sentence in enumerate(data.texts) for text in with_each_word_exchanged(sentence)]
        rows, others = zip(*changed, strict=True)
        logs, other_logs = (
            log_probability(model, encode_texts(["\n" + text for text in texts], tokenizer, 256))
            for texts in (data.texts, others)
        )
        z = np.full(len(data.texts), np.inf)
        np.minimum.at(z, np.array(rows), logs[list(rows)] - other_logs)
        return z

    return lambda data, train, test, seed: both_labels(lowest(data), train, test)


def both_labels(z, train, test):
    """ln p of both labels, from the logit of the second: for the train rows and for the tested ones."""
    return [np.stack([-np.logaddexp(0, z[rows]), -np.logaddexp(0, -z[rows])], 1) for rows in (train, test)]


def with_each_word_exchanged(sentence: str):
    """The sentence with the pair's other word in one place, for each place with a word of PAIRS."""
    words = sentence.split()
    partner = {word: other for pair in PAIRS for word, other in (pair.split(), pair.split()[::-1])}
    for i, word in enumerate(words):
        if word in partner:
            yield " ".join([*words[:i], partner[word], *words[i + 1 :]])


def counted(sentence: str) -> list[str]:
    """The words and signs of a sentence as a model that counts has them, with its two beginnings and its end."""
    return ["<", "<", *re.findall(r"[a-z]+(?:'[a-z]+)?|[.,;:!?]", sentence.lower()), ">"]


class Trigrams:
    """ln p(sentence) from counts of three words in a row: interpolated Kneser-Ney with one discount.

    p(w|uv) = (c(uvw) − d)⁺/c(uv) + d · N(uv·)/c(uv) · p(w|v), where p(w|v) and p(w) count in how many different
    contexts a word comes, not how often. Words that come once are one word, "?". Source: Kneser & Ney 1995; Chen &
    Goodman 1999, section 2.7.
    """

    def __init__(self, sentences):
        rows = [counted(sentence) for sentence in sentences]
        often = collections.Counter(word for row in rows for word in row)
        self.known = {word for word, n in often.items() if n > 1}
        self.three: collections.Counter = collections.Counter()
        for row in rows:
            row = self.read(row)
            self.three.update(zip(row, row[1:], row[2:], strict=False))
        tables = [self.three, collections.Counter((v, w) for _, v, w in self.three)]
        tables.append(collections.Counter((w,) for _, w in tables[1]))
        self.tables = []  # for each length: counts, sum and number of different words after each context
        for counts in tables:
            total, kinds = collections.Counter(), collections.Counter()
            for words, n in counts.items():
                total[words[:-1]] += n
                kinds[words[:-1]] += 1
            self.tables.append((counts, total, kinds))

    def read(self, row):
        return [word if word in self.known else "?" for word in row]

    def probability(self, words: tuple, discount: float, length: int = 0) -> float:
        if not words:
            return 1 / (len(self.known) + 1)
        counts, total, kinds = self.tables[length]
        shorter = self.probability(words[1:], discount, length + 1)
        seen = total[words[:-1]]
        if not seen:
            return shorter
        return (max(counts[words] - discount, 0) + discount * kinds[words[:-1]] * shorter) / seen

    def log_probability(self, sentence: str, discount: float) -> float:
        row = self.read(counted(sentence))
        return sum(np.log(self.probability(words, discount)) for words in zip(row, row[1:], row[2:], strict=False))


DISCOUNTS = (0.6, 0.75, 0.9, 0.97)


def sentences_of_books(folder: pathlib.Path) -> list[str]:
    """The sentences of all books in a folder, in the order of their files."""
    texts = [book.read_text(encoding="utf-8") for book in sorted(folder.glob("*.txt"))]
    return [sentence for text in texts for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])|\n", text)]


def trigrams_of_books(folder: pathlib.Path) -> dict:
    """The novelist's own books, counted by threes, and asked as the novelist is."""
    data, model = data_of("slips"), Trigrams(sentences_of_books(folder))
    found = []
    for discount in DISCOUNTS:
        right, others = (np.array([model.log_probability(t, discount) for t in ts]) for ts in (data.texts, data.others))
        found.append(scores_of(data, right - others))
    best = int(np.argmin([row["tuning_loss"] for row in found]))
    return dict(discount=DISCOUNTS[best], words=len(model.known), **found[best])


def scores_of(data, z) -> dict:
    """Of one z for each sentence: its loss on the splits that choose, its accuracy on those that are reported."""
    losses = [label_metrics(both_labels(z, [], rows)[1], data.labels[rows])["loss"] for rows in tests_of(data, TUNING)]
    right = [round(float(((z > 0) == data.labels)[rows].mean()), 4) for rows in tests_of(data, SLIP_SPLITS)]
    mean = round(float(np.mean(right)), 4)
    return dict(tuning_loss=round(float(np.mean(losses)), 4), accuracies=right, accuracy=mean)


def tests_of(data, seeds):
    return [data.split(seed)[1] for seed in seeds]


def from_books(folder: pathlib.Path) -> dict:
    """The neighbours, learned from the novelist's own books: each place with a word of a pair."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    partner = {word: pair for pair in PAIRS for word in pair.split()}
    found, rng, texts, labels = collections.defaultdict(list), np.random.default_rng(0), [], []
    for sentence in sentences_of_books(folder):
        words = sentence.split()
        for place, word in enumerate(words):
            if word in partner:
                found[word].append((words, place))
    for pair in PAIRS:
        first, second = pair.split()
        n = min(MOST_OF_BOOKS, len(found[first]), len(found[second]))
        for word, wrong in ((first, second), (second, first)):
            for i in rng.permutation(len(found[word]))[:n]:
                words, place = found[word][i]
                texts += [features(words, place), features([*words[:place], wrong, *words[place + 1 :]], place)]
                labels += [1, 0]
    data, vectorizer = data_of("slips"), TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+", lowercase=False)
    x, losses, kept_at = vectorizer.fit_transform(texts), [], []
    for setting in CS:
        model = LogisticRegression(max_iter=1000, **setting).fit(x, labels)
        logs = model.predict_log_proba(vectorizer.transform(data.context))
        tested = {seed: data.split(seed)[1] for seed in (*TUNING, *SLIP_SPLITS)}
        scores = {seed: label_metrics(logs[rows], data.labels[rows]) for seed, rows in tested.items()}
        losses.append(np.mean([scores[seed]["loss"] for seed in TUNING]))
        kept_at.append([round(scores[seed]["accuracy"], 4) for seed in SLIP_SPLITS])
    best = int(np.argmin(losses))
    accuracies = kept_at[best]
    return dict(
        places=len(labels) // 2, setting=CS[best], accuracies=accuracies, accuracy=round(float(np.mean(accuracies)), 4)
    )


REVIEWS = {  # rival: (function, settings to choose from)
    "TF-IDF + logistic regression": (linear, CS),
    "LSTM, as printed": (lstm, ({},)),
    "LSTM, common budget": (lstm, tuple(dict(lr=r) for r in (3e-4, 1e-3, 3e-3, 1e-2))),
    "ours from scratch": (scratch, RATES),
    "first model, fine-tuned": (pretrained("first_model", "full"), RATES),
    "novelist, head alone": (pretrained("novelist", "head"), RATES),
    "novelist, LoRA": (pretrained("novelist", "lora", dropout=0.1), RATES),
    "novelist, fine-tuned": (pretrained("novelist", "full", dropout=0.1), RATES),
}
REMEDIES = {
    "LSTM, early stopping": (functools.partial(lstm, early=True), ({},)),
    "LSTM, weight decay": (lstm, tuple(dict(weight_decay=w) for w in (0.3, 1.0, 3.0, 10.0))),
    "LSTM, dropout": (lstm, tuple(dict(dropout=p) for p in (0.2, 0.4, 0.6, 0.8))),
}
SLIPS = {
    "TF-IDF + logistic regression": REVIEWS["TF-IDF + logistic regression"],
    "its neighbours + logistic regression": (neighbours, CS),
    "LSTM, common budget": REVIEWS["LSTM, common budget"],
    "novelist, fine-tuned": REVIEWS["novelist, fine-tuned"],
}
UNLABELLED = {
    "novelist, asked": (opinion("novelist"), ({},)),
    "novelist, asked, not told which word": (opinion_of_all("novelist"), ({},)),
}
CURVES = ("TF-IDF + logistic regression", "LSTM, common budget", "novelist, fine-tuned")
STAGES = ("tune", "report", "accurate")
TASKS = {"reviews": ({**REVIEWS, **REMEDIES}, reviews), "slips": ({**SLIPS, **UNLABELLED}, proofs)}


def jobs_of_stage(stage: str) -> list[tuple]:
    """(task, rival, split, labels or None for all, number of the setting, None or "accurate" for a chosen one)."""
    jobs = []
    if stage == "tune":
        for task, (rivals, _) in TASKS.items():
            n = None if task == "reviews" else 800
            for name, (_, settings) in rivals.items():
                jobs += [(task, name, seed, n, i) for i in range(len(settings)) if len(settings) > 1 for seed in TUNING]
        return jobs
    if stage == "accurate":
        others = {
            task: [name for name in TASKS[task][0] if chosen(task, name, "accurate") != chosen(task, name)]
            for task in TASKS
        }
        jobs += [("reviews", name, seed, None, "accurate") for name in others["reviews"] for seed in SPLITS]
        places = itertools.product(SLIP_LABELS, SLIP_SPLITS)
        return jobs + [("slips", name, seed, n, "accurate") for n, seed in places for name in others["slips"]]
    jobs += [("reviews", name, seed, None, None) for name in TASKS["reviews"][0] for seed in SPLITS]
    jobs += [("reviews", name, seed, n, None) for name in CURVES for n in REVIEW_LABELS for seed in SPLITS]
    jobs += [("slips", name, seed, n, None) for name in SLIPS for n in SLIP_LABELS for seed in SLIP_SPLITS]
    return jobs + [("slips", name, seed, 50, None) for name in UNLABELLED for seed in SLIP_SPLITS]


def place_of(job: tuple) -> pathlib.Path:
    return KEPT / (re.sub(r"[^a-zA-Z0-9]+", "_", " ".join(map(str, job))) + ".json")


def kept(job: tuple) -> dict:
    return json.loads(place_of(job).read_text(encoding="utf-8"))


@functools.cache
def data_of(task: str) -> Data:
    return TASKS[task][1]()


@functools.cache
def chosen(task: str, name: str, by: str = "loss") -> int:
    """The setting whose loss on the tuning splits is lowest, or with by="accurate" whose accuracy is highest."""
    settings, n = TASKS[task][0][name][1], None if task == "reviews" else 800
    if len(settings) == 1:
        return 0

    def cost(i: int) -> float:
        rows = [kept(job) for seed in TUNING if place_of(job := (task, name, seed, n, i)).exists()]
        key, sign = ("test_accuracy", -1) if by == "accurate" else ("test_loss", 1)
        return float(np.mean([sign * row[key] for row in rows])) if rows else np.inf

    return min(range(len(settings)), key=cost)


def do(job: tuple) -> None:
    """One rival on one split."""
    task, name, seed, n, number = job
    if place_of(job).exists():
        return
    data, (rival, settings) = data_of(task), TASKS[task][0][name]
    setting = settings[number if isinstance(number, int) else chosen(task, name, number or "loss")]
    train, test = data.split(seed, n)
    start = time.perf_counter()
    found = rival(data, train, test, seed, **setting)
    row = dict(task=task, rival=name, labels=len(train), split=seed, setting=setting)
    for part, rows, logs in (("train", train, found[0]), ("test", test, found[1])):
        metrics = label_metrics(logs, data.labels[rows])
        row |= {f"{part}_{key}": round(metrics[key], 4) for key in ("loss", "accuracy", "macro_f1")}
    if task == "slips":
        right = found[1].argmax(1) == data.labels[test]
        row["by_pair"] = {
            pair: [int(right[data.pairs[test] == pair].sum()), int((data.pairs[test] == pair).sum())] for pair in PAIRS
        }
    row |= dict(tested=len(test), seconds=round(time.perf_counter() - start, 2))
    checkpoints.write_json(place_of(job), row)


def write_opinions() -> None:
    """What the novelist says of each sentence: z for the shipped one against the one with the other word."""
    if not (KEPT / "z.json").exists():
        data = data_of("slips")
        sign = np.where(data.labels == 1, 1, -1)
        logs = opinion("novelist")(data, range(len(sign)), [], 0)[0]
        z = sign * (logs[:, 1] - logs[:, 0])
        checkpoints.write_json(KEPT / "z.json", [round(float(each), 1) for each in z])


def begin(device: str, mini: bool = False) -> None:
    """What each process does first."""
    global DEVICE
    globals().update(MINI if mini else {})
    DEVICE = torch.device(device)
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True


def collect(device: str) -> None:
    """All rows that are there, into FILE."""
    found = {stage: [kept(job) for job in jobs_of_stage(stage) if place_of(job).exists()] for stage in STAGES}
    card = torch.cuda.get_device_name() if device == "cuda" else ""
    versions = {
        name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "scikit-learn", "matplotlib")
    }
    sentences_kept = json.loads((KEPT / "sentences.json").read_text(encoding="utf-8"))
    how = dict(made_by="data/recipes/rivals.py", hardware=hardware(), card=card, epochs=EPOCHS, trials=4, tuning=TUNING,
               versions={"python": platform.python_version(), **versions}, sentences=len(sentences_kept))  # fmt: skip
    books = KEPT / "books.json"
    of_books = json.loads(books.read_text(encoding="utf-8")) if books.exists() else None
    z = json.loads((KEPT / "z.json").read_text(encoding="utf-8")) if (KEPT / "z.json").exists() else None
    parts = {"z": z, "trials": found["tune"], "rows": found["report"], "accurate": found["accurate"]}
    checkpoints.write_json(FILE, {"how": how, "books": of_books, **parts})
    print({stage: len(rows) for stage, rows in found.items()}, "rows")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long; another run goes on")
    parser.add_argument(
        "--novels", type=pathlib.Path, help="the novelist's books: let the neighbours learn, and trigrams count"
    )
    parser.add_argument("--mini", action="store_true", help="one job of each kind and one epoch, in runs/rivals_mini")
    options = parser.parse_args()
    if options.novels:
        found = {**from_books(options.novels), "trigrams": trigrams_of_books(options.novels)}
        checkpoints.write_json(KEPT / "books.json", found)
        return 0
    if options.mini:
        globals().update(MINI)
    start = time.monotonic()
    KEPT.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(options.workers, begin, (options.device, options.mini)) as pool:
        if not (KEPT / "sentences.json").exists():
            found = pool.map(package_sentences, PACKAGES, chunksize=1)
            checkpoints.write_json(KEPT / "sentences.json", slips(itertools.chain.from_iterable(found)))
            print(f"sentences after {time.monotonic() - start:.0f} s", flush=True)
        for stage in STAGES:
            jobs = [job for job in jobs_of_stage(stage) if not place_of(job).exists()]
            if options.mini:
                jobs = list({job[:2]: job for job in reversed(jobs)}.values())
            for count, _ in enumerate(pool.imap_unordered(do, jobs), 1):
                if count % 20 == 0 or options.mini:
                    print(f"{stage} {count}/{len(jobs)} after {time.monotonic() - start:.0f} s", flush=True)
                if time.monotonic() - start > 60 * options.minutes:
                    pool.terminate()
                    collect(options.device)
                    return 0
        pool.apply(write_opinions)
    collect(options.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
