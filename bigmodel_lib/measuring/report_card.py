"""A report card for any language model: how accurate it is, how efficient, and how stable."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from numpy.random import Generator
from torch.nn import functional

from bigmodel_lib.errors import CourseError
from bigmodel_lib.generation import next_logits
from bigmodel_lib.measuring.costs import seconds_of
from bigmodel_lib.measuring.evaluation import BATCH_SIZE
from bigmodel_lib.model.cache import KVCache
from bigmodel_lib.model.devices import evaluating, to_device
from bigmodel_lib.model.transformer import LanguageModel, count_parameters
from bigmodel_lib.storyworld import END, START
from bigmodel_lib.text.batches import pad
from bigmodel_lib.text.tokenizers import Tokenizer

WATTS = 10.0  # what one busy core of a laptop takes: assumed, not measured
Rows = dict[str, "Measured | None"]


class Measured(NamedTuple):
    """A number, its 95 % interval (None where there is none) and how it is written."""

    value: float
    interval: tuple[float, float] | None = None
    unit: str = ""

    def __str__(self) -> str:
        words = f"{self.value:.4g}"
        if self.interval:
            words += " ({:.4g} to {:.4g})".format(*self.interval)
        return f"{words} {self.unit}".rstrip()


def document_of(text: str, tokenizer: Tokenizer) -> ndarray:
    """A text's ids, with a first token that is given and not guessed: a line's end, or the mark of a story's start."""
    stories = START in getattr(tokenizer, "vocabulary", ())
    return tokenizer.encode(f"{START} {text} {END}" if stories else f"\n{text}").astype(np.int64)


@torch.no_grad()
def text_losses(model: LanguageModel, documents: Sequence[ndarray]) -> ndarray:
    """Σ -ln p(token | those before it) of each document, in nats: (N,). A long one is read in windows side by side.

    Raises CourseError for an encoder.
    """
    if not model.config.causal:
        raise CourseError("a causal model was wanted and this one is an encoder: its loss is on hidden tokens alone")
    T = model.config.context_length
    windows = [(i, row[at : at + T + 1]) for i, row in enumerate(documents) for at in range(0, len(row) - 1, T)]
    windows.sort(key=lambda window: len(window[1]))
    found = np.zeros(len(documents))
    for start in range(0, len(windows), BATCH_SIZE):
        owners, rows = zip(*windows[start : start + BATCH_SIZE], strict=True)
        x, y = pad([row[:-1] for row in rows], 0), pad([row[1:] for row in rows], -1)
        with evaluating(model):
            logits = model(to_device(x, model.device)).float().transpose(1, 2)
        losses = functional.cross_entropy(logits, to_device(y, model.device), ignore_index=-1, reduction="none")
        np.add.at(found, list(owners), losses.sum(dim=1).double().cpu().numpy())
    return found


def ratio_interval(above: ndarray, below: ndarray) -> tuple[float, float]:
    """A 95 % interval of Σ above / Σ below when texts are drawn anew with replacement. Source: Efron 1979."""
    rows = np.random.default_rng(0).integers(0, len(above), (1000, len(above)))
    low, high = np.quantile(above[rows].sum(axis=1) / below[rows].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def with_typos(text: str, rng: Generator) -> str:
    """Swap 5 % of neighbouring letters."""
    letters = list(text)
    for i in np.flatnonzero(rng.random(len(letters) - 1) < 0.05):
        if letters[i].isalpha() and letters[i + 1].isalpha():
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def accuracy_rows(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Rows:
    """Loss and perplexity for each token, and bits for each byte: the one that does not depend on the tokenizer."""
    documents = [document_of(text, tokenizer) for text in texts]
    nats, tokens = text_losses(model, documents), np.array([len(document) - 1 for document in documents])
    size = np.array([len(text.encode()) for text in texts])
    loss, (low, high) = nats.sum() / tokens.sum(), ratio_interval(nats, tokens)
    bits = nats / math.log(2)
    return {
        "loss": Measured(loss, (low, high), "nats per token"),
        "perplexity": Measured(np.exp(loss), (np.exp(low), np.exp(high))),
        "bits per byte": Measured(bits.sum() / size.sum(), ratio_interval(bits, size)),
    }


def stability_rows(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Rows:
    """Bits per byte when the same texts are changed; None where the tokenizer cannot read them then."""
    rng = np.random.default_rng(0)
    changed = {
        "with typos": [with_typos(text, rng) for text in texts],
        "in capitals": [text.upper() for text in texts],
        "four texts in one": [" ".join(texts[i : i + 4]) for i in range(0, len(texts), 4)],
    }
    found: Rows = {}
    for name, others in changed.items():
        try:
            found[name] = accuracy_rows(model, tokenizer, others)["bits per byte"]
        except CourseError:
            found[name] = None
    return found


def efficiency_rows(model: LanguageModel) -> Rows:
    """Time to the first token and for each further one, memory, and energy by an assumed power of WATTS.

    Energy is time · WATTS · threads: an estimate, good for comparisons on one machine.
    """
    c = model.config
    n_new = min(16, c.context_length // 2)
    n_prompt = min(64, c.context_length - n_new)
    tokens = torch.arange(n_prompt, device=model.device)[None] % c.vocab_size
    state: dict = {}

    def first() -> None:
        state["cache"] = KVCache(model)
        state["next"] = next_logits(model, tokens, state["cache"]).argmax(dim=-1, keepdim=True)

    def others() -> None:
        for _ in range(n_new):
            state["next"] = next_logits(model, state["next"], state["cache"]).argmax(dim=-1, keepdim=True)

    seconds = {name: statistics.median(s) for name, s in seconds_of({"first": first, "others": others}).items()}
    each, weights = seconds["others"] / n_new, model.token_embedding.element_size()
    kept = 2 * c.n_layers * c.n_key_heads * c.d_head * c.context_length
    return {
        f"first token, after {n_prompt}": Measured(1000 * seconds["first"], unit="ms"),
        "each further token": Measured(1000 * each, unit="ms"),
        "memory": Measured(weights * (count_parameters(model) + kept) / 1e6, unit="MB, weights and cache"),
        "energy": Measured(1000 * each * WATTS * torch.get_num_threads(), unit="J for 1,000 tokens, estimated"),
    }


def report_card(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Rows]:
    """{"accuracy", "stability", "efficiency": {name: number}} of a model on texts of which it has read none.

    Raises CourseError for texts that its tokenizer cannot read, for fewer than two, and for an encoder.
    """
    if len(texts) < 2:
        raise CourseError(f"an interval needs at least two texts, {len(texts)} was given: separate them by blank lines")
    accuracy, stability = (rows(model, tokenizer, texts) for rows in (accuracy_rows, stability_rows))
    return {"accuracy": accuracy, "stability": stability, "efficiency": efficiency_rows(model)}


def seeds_row(models: Sequence[LanguageModel], tokenizer: Tokenizer, texts: Sequence[str]) -> Rows:
    """Bits per byte of models that differ in their seed alone: the mean, and the lowest and highest of them."""
    bits = [row.value for model in models if (row := accuracy_rows(model, tokenizer, texts)["bits per byte"])]
    return {f"over {len(models)} seeds": Measured(float(np.mean(bits)), (min(bits), max(bits)), "from best to worst")}


def side_by_side(cards: dict[str, dict[str, Rows]]) -> str:
    """Report cards as a table, {name of a model: its card}."""
    lines = [f"{'':24}" + "".join(f"{name[-36:]:44}" for name in cards)]
    for part in ("accuracy", "stability", "efficiency"):
        lines.append(part)
        for row in dict.fromkeys(row for card in cards.values() for row in card[part]):
            said = [card[part].get(row, "") for card in cards.values()]  # a row may be one card's alone
            words = ["can't read it" if number is None else str(number) for number in said]
            lines.append(f"  {row:22}" + "".join(f"{each:44}" for each in words))
    return "\n".join(line.rstrip() for line in lines)
