"""How tokens are split, and how batches are cut from them: arrays of int64.

A source of batches is a function `batches(rng)` that draws the next one, a tuple of arrays, with -1 in the last where
nothing is to be predicted. One that remembers something has `state_dict()` and `load_state_dict(state)`, as JSON can.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.tokenizers import Ids, Tokenizer

Batches = Callable[[Generator], tuple[ndarray, ...]]
Arrays = tuple[ndarray, ndarray]
WINDOWS = 8  # of a text longer than that many contexts, the first and the last half of so many are read


def split_tokens(tokens: ndarray, context_length: int) -> Arrays:
    """(train, validation): the last tenth, at most a million, is held out. Raises CourseError if too short."""
    held_out = min(len(tokens) // 10, 1_000_000)
    if held_out < context_length + 1:
        wanted = f"choose a text of at least {10 * (context_length + 1)} tokens, or a shorter context"
        raise CourseError(f"the last tenth of {len(tokens)} tokens is shorter than {context_length + 1}: {wanted}")
    return tokens[:-held_out], tokens[-held_out:]


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All runs of n words inside the paragraphs of a text, in order."""
    paragraphs = [paragraph.split() for paragraph in text.split("\n\n")]
    return [tuple(words[i : i + n]) for words in paragraphs for i in range(len(words) - n + 1)]


def overlap(train: str, held_out: str, n: int) -> float:
    """The share of the held-out text's n-grams of words that the training text has too; 0 if there are none."""
    known, found = set(ngrams(train, n)), ngrams(held_out, n)
    return sum(gram in known for gram in found) / max(1, len(found))


def split_without_leaks(text: str, n: int = 8) -> tuple[str, str]:
    """(train, held out): the last tenth of the paragraphs, without those that share n words in a row with the rest.

    Source: Brown et al. 2020, appendix C, with other n.
    """
    paragraphs = text.split("\n\n")
    cut = len(paragraphs) - len(paragraphs) // 10
    train = "\n\n".join(paragraphs[:cut])
    known = set(ngrams(train, n))
    return train, "\n\n".join(text for text in paragraphs[cut:] if known.isdisjoint(ngrams(text, n)))


def random_windows(tokens: ndarray, batch_size: int, context_length: int, rng: Generator) -> Arrays:
    """A batch of windows that start anywhere, and the same windows one token later.

    x[b, t] = tokens[start_b + t],  y[b, t] = tokens[start_b + t + 1]. Shapes: tokens (N,) -> x and y (B, T).
    """
    starts = rng.integers(0, len(tokens) - context_length, size=batch_size)
    windows = tokens[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)
    return windows[:, :-1], windows[:, 1:]


def causal_batches(tokens: ndarray, batch_size: int, context_length: int) -> Batches:
    """A source of `random_windows`: each token is to be guessed from those before it."""
    return lambda rng: random_windows(tokens, batch_size, context_length, rng)


def mask_tokens(tokens: ndarray, mask_token: int, rng: Generator, mask_rate: float = 0.15) -> Arrays:
    """Hide some tokens and ask for them: targets are the hidden tokens, and -1 at all other places.

    A place is chosen with probability mask_rate, and at least one in each row. Of those 80 % show mask_token, 10 % any
    token below it, 10 % what stood there. Shapes: (B, T) -> two of (B, T). Source: Devlin et al. 2019, section 3.1.
    """
    rows = np.arange(len(tokens))
    chosen = rng.random(tokens.shape) < mask_rate
    chosen[rows, rng.integers(tokens.shape[1], size=len(rows))] = True
    how = rng.random(tokens.shape)
    others = rng.integers(mask_token, size=tokens.shape)
    shown = np.where(chosen & (how < 0.8), mask_token, tokens)
    shown = np.where(chosen & (how >= 0.9), others, shown)
    return shown, np.where(chosen, tokens, -1)


def masked_batches(
    tokens: ndarray, batch_size: int, context_length: int, mask_id: int, mask_rate: float = 0.15
) -> Batches:
    """A source of random windows with `mask_tokens`. Raises CourseError for a rate outside 0 … 1."""
    if not 0.0 < mask_rate <= 1.0:
        raise CourseError(f"mask_rate {mask_rate} is outside 0 … 1: choose a share of the tokens, such as 0.15")
    return lambda rng: mask_tokens(random_windows(tokens, batch_size, context_length, rng)[0], mask_id, rng, mask_rate)


def all_windows(tokens: ndarray, batch_size: int, context_length: int) -> Iterator[Arrays]:
    """Yield (x, y), each (at most B, T): every token but the first is a target once, the last ones in a short row."""
    full = (len(tokens) - 1) // context_length * context_length  # tokens in full windows
    x, y = (tokens[start : start + full].reshape(-1, context_length) for start in (0, 1))
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        yield x[rows].astype(np.int64), y[rows].astype(np.int64)
    rest = tokens[full:].astype(np.int64)
    if len(rest) > 1:
        yield rest[None, :-1], rest[None, 1:]


def pad(rows: Sequence[Ids], filling: int, length: int | None = None) -> ndarray:
    """Rows filled up to the longest one or to `length`, as one array. Raises ValueError for a row that does not fit."""
    padded = np.full((len(rows), length or max(map(len, rows))), filling, dtype=np.int64)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded


def document_batch(documents: Sequence[Ids], batch_size: int, rng: Generator, length: int | None = None) -> Arrays:
    """A batch of whole documents, each from its start: y[b, t] follows x[b, t], and is -1 after a document's end.

    Shapes: x and y (B, T), T as `pad` has it. Padding in x is 0: no target reads it under a causal mask.
    """
    drawn = [documents[i] for i in rng.integers(0, len(documents), size=batch_size)]
    x, y = [document[:-1] for document in drawn], [document[1:] for document in drawn]
    return pad(x, 0, length), pad(y, -1, length)


def split_labelled(labels: Sequence, seed: int, test_share: float = 0.2, groups: Sequence | None = None) -> Arrays:
    """(train, test): row numbers, drawn at random so that every label has its share of both.

    groups: (N,), all rows of a group go to one side. Raises CourseError for a share that leaves a side too few texts.
    """
    from sklearn.model_selection import train_test_split

    kin = np.arange(len(labels)) if groups is None else np.asarray(groups)
    _, first, counts = np.unique(kin, return_index=True, return_counts=True)
    members = np.split(np.argsort(kin, kind="stable"), np.cumsum(counts)[:-1])
    kinds = np.asarray(labels)[first]  # a text is drawn once, with the label that it has where it comes first
    n, n_labels = len(kinds), len(np.unique(kinds))
    held_out = math.ceil(test_share * n)
    if not n_labels <= held_out <= n - n_labels:
        least, most = math.ceil(100 * n_labels / n) / 100, math.floor(100 - 100 * n_labels / n) / 100
        found = f"a test share of {test_share} holds out {held_out} of {n} different texts"
        raise CourseError(f"{found}, {n_labels} are needed on each side: choose a share from {least} to {most}")
    train, test = train_test_split(members, test_size=test_share, random_state=seed, stratify=kinds)
    return np.concatenate(train), np.concatenate(test)


def encode_texts(texts: Iterable[str], tokenizer: Tokenizer, context_length: int) -> list[ndarray]:
    """The ids of each text, of a long one those of WINDOWS contexts. Raises CourseError that names the text."""
    documents, half = [], WINDOWS // 2 * context_length
    for number, text in enumerate(texts, start=1):
        try:
            tokens = tokenizer.encode(text).astype(np.int64)
        except CourseError as error:
            raise CourseError(f"text {number}, {text[:30]!r}: {error}") from None
        documents.append(tokens if len(tokens) <= 2 * half else np.concatenate([tokens[:half], tokens[-half:]]))
    return documents


def pad_windows(documents: Sequence[ndarray], context_length: int) -> ndarray:
    """Texts of (n,) tokens each -> (B, W, T): W windows, as many as the longest text needs, -1 where one has ended."""
    longest = max(map(len, documents))
    windows, length = -(-longest // context_length), min(longest, context_length)
    return pad(documents, -1, windows * length).reshape(len(documents), windows, length)


class LabelledBatches:
    """A source of labelled texts, for ever: each text once an epoch, beside texts of about its length.

    A batch is (x, y): x (B, W, T) as `pad_windows` makes it, y (B, 1) the numbers of the labels. B is batch_size, or
    less where an epoch ends. What is still to come of the epoch is its state.
    """

    def __init__(self, documents: Sequence[ndarray], labels: Sequence | ndarray, batch_size: int, context_length: int):
        self.documents, self.labels = documents, np.asarray(labels)
        self.batch_size, self.context_length = batch_size, context_length
        self.to_come: list[list[int]] = []  # batches of this epoch: numbers of texts

    def __call__(self, rng: Generator) -> Arrays:
        size, order = self.batch_size, [] if self.to_come else rng.permutation(len(self.documents)).tolist()
        for start in range(0, len(order), 8 * size):  # texts of about one length go together
            by_length = sorted(order[start : start + 8 * size], key=lambda i: len(self.documents[i]))
            cut = [by_length[i : i + size] for i in range(0, len(by_length), size)]
            self.to_come += [cut[i] for i in rng.permutation(len(cut))]
        rows = self.to_come.pop(0)
        return pad_windows([self.documents[i] for i in rows], self.context_length), self.labels[rows][:, None]

    def state_dict(self) -> dict:
        return {"to_come": [*self.to_come]}

    def load_state_dict(self, state: dict) -> None:
        self.to_come = [*state["to_come"]]
