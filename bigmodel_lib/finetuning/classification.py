"""Texts with labels: reading, splitting, batches, and a model with a head that says which label."""

import math

import numpy as np
import torch
from torch import nn

from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import autocast, evaluating, to_device
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.labels import read_labelled as read_labelled  # for those who look for it here

WINDOWS = 8  # of a text longer than that many contexts, the first and the last half of so many are read


def split_labelled(labels, seed: int, test_share: float = 0.2, groups=None) -> tuple[np.ndarray, np.ndarray]:
    """(train, test): row numbers, drawn at random so that every label has its share of both.

    groups: (N,) as `read_labelled` gives them; the rows of a group, copies of one text, all go to one side.
    Raises CourseError for a share that leaves either side with fewer texts than there are labels.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(counts)[:-1])
    kinds = np.asarray(labels)[first]  # a text is drawn once, with the label that it has where it comes first
    n, n_labels = len(kinds), len(np.unique(kinds))
    held_out = math.ceil(test_share * n)
    if not n_labels <= held_out <= n - n_labels:
        least, most = math.ceil(100 * n_labels / n) / 100, math.floor(100 - 100 * n_labels / n) / 100
        raise CourseError(
            f"a test share of {test_share} holds out {held_out} of {n} different texts, and {n_labels} labels need "
            f"{n_labels} on either side: choose a share from {least} to {most}"
        )
    splitter = StratifiedShuffleSplit(1, test_size=test_share, random_state=seed)
    parts = next(splitter.split(np.zeros(n), kinds))
    return tuple(np.concatenate([members[i] for i in part]) for part in parts)


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
