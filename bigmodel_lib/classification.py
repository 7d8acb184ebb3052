"""Texts with labels: reading, splitting, batches, and a model with a head that says which label."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from bigmodel_lib.config import CourseError
from bigmodel_lib.corpora import read_text
from bigmodel_lib.devices import autocast, evaluating, to_device
from bigmodel_lib.model_torch import LanguageModel

WINDOWS = 8  # of a text longer than that many contexts, the first and the last half of so many are read
HEADERS = {("label", "text"): (0, 1), ("label", "group", "text"): (0, 2)}


class Labelled(NamedTuple):
    """Texts, the number of each one's label (N,), and the labels' names, in order."""

    texts: list
    labels: np.ndarray
    names: tuple


def read_labelled(path) -> Labelled:
    """The rows of a UTF-8 file, `label<TAB>text` each; a first row of column names may add a `group` between them.

    Blank rows are passed over. Raises CourseError for a row without a tab, label or text (saying which), a file with
    fewer than two labels, or a label with fewer than five rows, too few to split.
    """
    columns, labels, texts = (0, 1), [], []
    for number, row in enumerate(read_text(path).splitlines(), 1):
        parts = row.split("\t")
        if number == 1 and tuple(part.strip().lower() for part in parts) in HEADERS:
            columns = HEADERS[tuple(part.strip().lower() for part in parts)]
            continue
        if not row.strip():
            continue
        label, text = (parts[c].strip() if c < len(parts) else "" for c in columns)
        if columns == (0, 1):
            text = " ".join(parts[1:]).strip()
        if not label or not text:
            raise CourseError(
                f"line {number} of {path} is {row[:40]!r}: a label, a tab and a text were wanted; mend or delete it"
            )
        labels.append(label)
        texts.append(text)
    names, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise CourseError(f"{path} has {len(names)} label: at least two different ones were wanted")
    rare = [f"{str(name)!r} ({count})" for name, count in zip(names, counts, strict=True) if count < 5]
    if rare:
        raise CourseError(f"{path} has labels with fewer than 5 rows, {', '.join(rare[:5])}: add rows, or join labels")
    return Labelled(texts, numbers, tuple(map(str, names)))


def split_labelled(labels, seed: int, test_share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """(train, test): row numbers, drawn at random so that every label has its share of both."""
    from sklearn.model_selection import StratifiedShuffleSplit

    splitter = StratifiedShuffleSplit(1, test_size=test_share, random_state=seed)
    return next(splitter.split(np.zeros(len(labels)), labels))


def encode_texts(texts, tokenizer, context_length: int) -> list:
    """The ids of each text; of one longer than WINDOWS contexts, those of its beginning and its end.

    Raises CourseError that names the text for a character without an id.
    """
    documents, longest = [], WINDOWS * context_length
    for place, text in enumerate(texts):
        try:
            tokens = tokenizer.encode(text).astype(np.int64)
        except CourseError as error:
            raise CourseError(f"text {place + 1}, {text[:30]!r}: {error}") from None
        if len(tokens) > longest:
            tokens = np.concatenate([tokens[: longest // 2], tokens[-(longest // 2) :]])
        documents.append(tokens)
    return documents


def pad_windows(documents, context_length: int) -> np.ndarray:
    """Texts of different lengths as one array of windows, -1 where a text has ended.

    Shapes: documents (n,) each -> (B, W, T), W windows of T tokens, as many as the longest text needs.
    """
    longest = max(len(document) for document in documents)
    n_windows = -(-longest // context_length)
    T = min(longest, context_length)
    x = np.full((len(documents), n_windows * T), -1, dtype=np.int64)
    for row, document in enumerate(documents):
        x[row, : len(document)] = document
    return x.reshape(len(documents), n_windows, T)


def labelled_batches(documents, labels, batch_size, context_length, rng):
    """A function that gives (x, y) for ever: each text once an epoch, beside texts of about its length.

    Shapes: x (B, W, T) as in `pad_windows`, y (B, 1).
    """

    def batches():
        while True:
            order = rng.permutation(len(documents))
            pools = np.split(order, range(8 * batch_size, len(order), 8 * batch_size))
            for pool in pools:
                by_length = sorted(pool, key=lambda i: len(documents[i]))
                rows = [by_length[start : start + batch_size] for start in range(0, len(pool), batch_size)]
                for chosen in rng.permutation(len(rows)):
                    yield rows[chosen]

    chosen = batches()

    def next_batch():
        rows = next(chosen)
        return pad_windows([documents[i] for i in rows], context_length), np.asarray(labels)[rows][:, None]

    return next_batch


class Classifier(LanguageModel):
    """A decoder whose output matrix is a head: it reads a text's mean state and its last one, and scores the labels.

    z = [mean_t(s_t), s_last] w_out + b_out. For two labels z is one logit and the scores are (0, z): softmax gives the
    second σ(z) = 1/(1 + e^-z), and the cross-entropy of the loop is the binary cross-entropy.
    Shapes: tokens (B, W, T), -1 where a text has ended -> (B, 1, C). Raises CourseError for an encoder.
    Taught in 07_finetuning.
    """

    def __init__(self, config, n_labels):
        if not config.causal:
            raise CourseError("a causal model was wanted and this one is an encoder: name a run without --objective")
        super().__init__(config)
        n_logits = 1 if n_labels == 2 else n_labels
        self.w_out = nn.Parameter(torch.zeros(2 * config.d_model, n_logits))
        self.b_out = nn.Parameter(torch.zeros(n_logits))

    def forward(self, tokens):
        states = self.states(tokens.flatten(0, 1).clamp(min=0)).reshape(len(tokens), -1, self.config.d_model)
        here = (tokens.flatten(1) >= 0)[..., None]
        mean = (states * here).sum(dim=1) / here.sum(dim=1)
        last = states[torch.arange(len(tokens), device=tokens.device), here.sum(dim=1)[:, 0] - 1]
        z = torch.cat([mean, last], dim=-1) @ self.w_out + self.b_out
        return (torch.cat([torch.zeros_like(z), z], dim=-1) if z.shape[-1] == 1 else z)[:, None]


def classifier_from(model: LanguageModel, n_labels: int, dropout: float = 0.0) -> Classifier:
    """A classifier with a model's weights below a head of zeros: at first every label is as probable as any other."""
    classifier = Classifier(model.config.replace(dropout=dropout), n_labels).to(model.token_embedding.device)
    weights = {name: p for name, p in model.state_dict().items() if name != "w_out"}
    classifier.load_state_dict(weights, strict=False)
    return classifier


@torch.no_grad()
def label_log_probs(classifier: Classifier, documents, batch_size: int = 64) -> np.ndarray:
    """ln p of every label for every text: (N, C). Texts of about the same length are read together."""
    device, T = classifier.token_embedding.device, classifier.config.context_length
    order = np.argsort([len(document) for document in documents], kind="stable")
    parts = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        x = to_device(pad_windows([documents[i] for i in rows], T), device)
        with evaluating(classifier), autocast(device, "auto"):
            parts.append(classifier(x)[:, 0].float().log_softmax(dim=-1))
    found = torch.cat(parts).cpu().numpy()
    return found[np.argsort(order)]


def label_metrics(log_probs: np.ndarray, labels) -> dict:
    """loss in nats per text, accuracy, macro-F1 (the mean of the labels' F1), and the confusion matrix (true, said)."""
    from sklearn.metrics import confusion_matrix, f1_score

    labels, said = np.asarray(labels), log_probs.argmax(axis=1)
    kinds = range(log_probs.shape[1])
    return {
        "loss": float(-log_probs[np.arange(len(labels)), labels].mean()),
        "accuracy": float((said == labels).mean()),
        "macro_f1": float(f1_score(labels, said, labels=kinds, average="macro", zero_division=0)),
        "confusion": confusion_matrix(labels, said, labels=kinds).tolist(),
    }


@torch.no_grad()
def opinions(model: LanguageModel, documents, starts) -> np.ndarray:
    """What a language model thinks of the ends of texts, without any head: the lowest ln p(token | those before it).

    documents: arrays of ids; starts: where the end of each begins. Returns (N,), in nats.
    """
    found = []
    for document, start in zip(documents, starts, strict=True):
        tokens = to_device(np.asarray(document)[None], model.token_embedding.device)
        with evaluating(model):
            log_probs = model(tokens[:, :-1]).float().log_softmax(dim=-1)[0]
        of_each = log_probs.gather(1, tokens[0, 1:, None])[:, 0]
        found.append(of_each[start - 1 :].min())
    return torch.stack(found).cpu().numpy()
