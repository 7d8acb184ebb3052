"""Where text comes from, how it is split, and how batches are cut from it. Arrays are NumPy's."""

import numpy as np

from bigmodel_lib.errors import CourseError


def split_tokens(tokens: np.ndarray, context_length: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, validation): the last tenth, at most a million tokens, is held out for validation.

    Raises CourseError if either part is shorter than one window of context_length + 1 tokens.
    """
    held_out = min(len(tokens) // 10, 1_000_000)
    if held_out < context_length + 1:
        raise CourseError(
            f"the text has {len(tokens)} tokens, its last tenth {held_out}, and a window takes {context_length + 1}: "
            f"choose a text of at least {10 * (context_length + 1)} tokens, or a shorter context"
        )
    return tokens[:-held_out], tokens[-held_out:]


def random_windows(tokens, batch_size, context_length, rng):
    """A batch of windows that start anywhere, and the same windows one token later.

    y[b, t] = tokens[start_b + t + 1] is what should follow x[b, t] = tokens[start_b + t].
    Shapes: tokens (N,), x and y (B, T), int64. `rng` is a numpy Generator. Taught in 06_pretraining.
    """
    starts = rng.integers(0, len(tokens) - context_length, size=batch_size)
    windows = tokens[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)
    return windows[:, :-1], windows[:, 1:]


def mask_tokens(tokens, mask_token, rng, share=0.15):
    """Hide some tokens and ask for them: targets are the hidden tokens, and -1 at all other places.

    A place is chosen with probability `share`, and one place at least in each row. Of the chosen ones 80 % show
    mask_token, 10 % any token below it, 10 % what stood there, so that the model has a reason to look at every place.
    Shapes: tokens (B, T) -> (B, T), (B, T), int64. Source: Devlin et al. 2019 (BERT), section 3.1.
    Taught in 06_pretraining.
    """
    rows = np.arange(len(tokens))
    chosen = rng.random(tokens.shape) < share
    chosen[rows, rng.integers(tokens.shape[1], size=len(rows))] = True
    how, others = rng.random(tokens.shape), rng.integers(mask_token, size=tokens.shape)
    shown = np.where(chosen & (how < 0.8), mask_token, tokens)
    shown = np.where(chosen & (how >= 0.9), others, shown)
    return shown, np.where(chosen, tokens, -1)


def all_windows(tokens: np.ndarray, batch_size: int, context_length: int):
    """Yield (x, y) so that every token but the first is a target exactly once; the last window may be short.

    Shapes: x and y (at most B, T), int64, and at the end (1, what is left).
    """
    full = (len(tokens) - 1) // context_length
    x = tokens[: full * context_length].reshape(full, context_length)
    y = tokens[1 : full * context_length + 1].reshape(full, context_length)
    for start in range(0, full, batch_size):
        rows = slice(start, start + batch_size)
        yield x[rows].astype(np.int64), y[rows].astype(np.int64)
    rest = tokens[full * context_length :].astype(np.int64)
    if len(rest) > 1:
        yield rest[None, :-1], rest[None, 1:]


def document_batch(documents, batch_size, rng, length=None):
    """A batch of whole documents, each from its start: y[b, t] follows x[b, t], and is -1 after a document's end.

    Shapes: documents lists or arrays of ids, x and y (B, T), int64, with T the longest drawn document less one, or
    `length`. Padding in x is 0: no target reads it under a causal mask. Raises ValueError for a document that does not
    fit into `length`. Taught in 02_data_input.
    """
    drawn = [documents[i] for i in rng.integers(0, len(documents), size=batch_size)]
    longest = max(len(document) for document in drawn) - 1
    x = np.zeros((batch_size, length or longest), dtype=np.int64)
    y = np.full_like(x, -1)
    for row, document in enumerate(drawn):
        x[row, : len(document) - 1] = document[:-1]
        y[row, : len(document) - 1] = document[1:]
    return x, y


def shared_ngrams(train, validation, n):
    """The share of the n-grams in `validation` that stand in `train` too: (shared) / (all, counted each time).

    train and validation: sequences of words or ids; 0 for a validation shorter than n. Taught in 02_data_input.
    """
    known = {tuple(train[i : i + n]) for i in range(len(train) - n + 1)}
    grams = [tuple(validation[i : i + n]) for i in range(len(validation) - n + 1)]
    return sum(gram in known for gram in grams) / max(1, len(grams))


def deduplicate(documents, seen=()):
    """The documents, in order, without those that came before or stand in `seen`; blanks and capitals do not count.

    Taught in 02_data_input.
    """
    seen, kept = {" ".join(text.lower().split()) for text in seen}, []
    for text in documents:
        plain = " ".join(text.lower().split())
        if plain not in seen:
            kept.append(text)
        seen.add(plain)
    return kept
