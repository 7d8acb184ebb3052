"""Who predicts can compress: an arithmetic coder, and the probabilities of a model or of counts to drive it."""

import collections
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy import ndarray

from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.transformer import LanguageModel

NextProbabilities = Callable[[list[int]], ndarray]  # the tokens so far -> (V,) probabilities of the next one
WHOLE, HALF, QUARTER = 2**32, 2**31, 2**30  # the coder's interval [low, high) lies in [0, WHOLE)


def integer_frequencies(probabilities: ndarray, total: int = 2**16) -> ndarray:
    """Whole numbers f, each at least 1 and `total` in sum, for probabilities p: (V,) -> (V,), int64.

    f_i = 1 + ⌊p_i (total - V)⌋, and one more where most was cut off, until the sum is right. So f_i > p_i (total - V),
    and rounding costs log₂(p_i total / f_i) < -log₂(1 - V / total) bits. Raises CourseError for an impossible p or V.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 1 or not (p >= 0).all() or not abs(p.sum() - 1) < 1e-6 or 2 * len(p) > total:
        given = f"shape {p.shape}, least {p.min(initial=1)}, sum {p.sum()}"
        raise CourseError(f"(V,) shares of sum 1, V ≤ {total // 2}, were wanted, {given} was given: take a softmax")
    exact = p / p.sum() * (total - len(p))
    frequencies = 1 + np.floor(exact).astype(np.int64)
    most_cut_off = np.argsort(np.floor(exact) - exact, kind="stable")
    frequencies[most_cut_off[: total - frequencies.sum()]] += 1
    return frequencies


class Interval:
    """[low, high), which both coders hold: a symbol s narrows it to its share, and what grows too narrow is doubled.

    low' = low + ⌊w F_s / total⌋,  high' = low + ⌊w F_(s+1) / total⌋,  w = high - low,  F_s = f_0 + … + f_(s-1).
    Source: Witten, Neal & Cleary 1987, figure 3.
    """

    low, high = 0, WHOLE

    def narrow(self, symbol: int, frequencies: ndarray) -> Iterator[int]:
        """Take the symbol's share, then double; yields where each doubled half began: 0, HALF, QUARTER (the middle)."""
        start, total, width = int(np.sum(frequencies[:symbol])), int(np.sum(frequencies)), self.high - self.low
        self.low, self.high = (self.low + width * edge // total for edge in (start, start + int(frequencies[symbol])))
        while halves := [half for half in (0, HALF, QUARTER) if half <= self.low and self.high <= half + HALF]:
            self.low, self.high = 2 * (self.low - halves[0]), 2 * (self.high - halves[0])
            yield halves[0]


class ArithmeticEncoder(Interval):
    """Symbols to bits: they name a number in the interval; `pending` ones are the opposite of whichever comes next."""

    def __init__(self) -> None:
        self.bits, self.pending = [], 0

    def encode(self, symbol: int, frequencies: ndarray) -> None:
        """At most log₂(total / f) - log₂(1 - total / QUARTER) bits. Raises CourseError for a symbol of no frequency."""
        if not (0 <= symbol < len(frequencies) and 0 < frequencies[symbol] <= np.sum(frequencies) <= QUARTER):
            raise CourseError(f"symbol {symbol} was given, one of frequency 1 … 2³⁰ was wanted: take a token below V")
        for half in self.narrow(symbol, frequencies):
            if half == QUARTER:
                self.pending += 1
            else:
                self.bits += [half // HALF] + [1 - half // HALF] * self.pending
                self.pending = 0

    def finish(self) -> bytes:
        """All bits, then those of a quarter inside the interval, 01 or 10, then zeros up to a whole byte."""
        bit = int(self.low >= QUARTER)
        return np.packbits([*self.bits, bit, *[1 - bit] * (self.pending + 1)]).tobytes()


class ArithmeticDecoder(Interval):
    """Bits to symbols: `value`, the next 32 bits, lies in the interval. Wrong bits give other symbols, not an error."""

    def __init__(self, data: bytes):
        self.bits = (byte >> place & 1 for byte in data[4:] for place in range(7, -1, -1))
        self.value = int.from_bytes((data + bytes(4))[:4])

    def decode(self, frequencies: ndarray) -> int:
        """The symbol whose share holds `value`: the last with F_s ≤ ⌊((value - low + 1) total - 1) / w⌋."""
        place = ((self.value - self.low + 1) * int(np.sum(frequencies)) - 1) // (self.high - self.low)
        symbol = int(np.searchsorted(np.cumsum(frequencies), place, side="right"))
        for half in self.narrow(symbol, frequencies):
            self.value = 2 * (self.value - half) + next(self.bits, 0)
        return symbol


def compress(tokens: Iterable[int], next_probabilities: NextProbabilities) -> bytes:
    """(N,) tokens to bytes, each token at the price that its probability sets. Source: Shannon 1948.

    8 · bytes < code_length + N ε + 9, ε = -log₂(1 - V / 2¹⁶) - log₂(1 - 2⁻¹⁴). Raises CourseError for an unknown token.
    """
    encoder, history = ArithmeticEncoder(), []
    for token in map(operator.index, tokens):
        encoder.encode(token, integer_frequencies(next_probabilities(history)))
        history.append(token)
    return encoder.finish()


def decompress(data: bytes, n_tokens: int, next_probabilities: NextProbabilities) -> ndarray:
    """(n_tokens,) int64: what `compress` was given, if next_probabilities gives the same numbers to the last digit."""
    decoder, history = ArithmeticDecoder(data), []
    for _ in range(n_tokens):
        history.append(decoder.decode(integer_frequencies(next_probabilities(history))))
    return np.array(history, dtype=np.int64)


def code_length(tokens: Iterable[int], next_probabilities: NextProbabilities) -> float:
    """Σ_t -log₂ p(token_t | tokens before), in bits: the ideal length for (N,) tokens, infinite where p is 0.

    Raises CourseError for a token outside the vocabulary. Source: Shannon 1948.
    """
    history, bits = [], 0.0
    for token in map(operator.index, tokens):
        p = next_probabilities(history)
        if not 0 <= token < len(p):
            raise CourseError(f"a token from 0 to {len(p) - 1} was wanted, {token} was given: check the tokenizer")
        bits -= float(np.log2(p[token])) if p[token] > 0 else -np.inf
        history.append(token)
    return bits


def model_probabilities(model: LanguageModel) -> NextProbabilities:
    """history (n,) -> (V,), float64: softmax of the model's logits after the last T tokens; 1 / V for n = 0."""
    config = model.config

    @torch.inference_mode()
    def next_probabilities(history: Sequence[int]) -> ndarray:
        if len(history) == 0:
            return np.full(config.vocab_size, 1 / config.vocab_size)
        window = torch.tensor([history[-config.context_length :]], device=model.device)
        with evaluating(model):
            return model(window)[0, -1].cpu().double().softmax(dim=-1).numpy()

    return next_probabilities


class NGram:
    """What followed the last n-1 tokens in a text, counted; shorter contexts stand in for what was not seen.

    p_n(c | h) = (count(h c) + distinct(h) p_(n-1)(c | h')) / (count(h) + distinct(h)), p_0 = 1 / V. h' lacks h's first
    token, distinct(h) different tokens followed h. Raises CourseError for an order n below 1 or an unknown token.
    Source: Witten & Bell 1991, method C, interpolated as in Chen & Goodman 1998, section 2.5.
    """

    def __init__(self, tokens: Iterable[int], order: int, vocab_size: int):
        tokens = list(map(operator.index, tokens))
        if order < 1 or not all(0 <= token < vocab_size for token in set(tokens)):
            raise CourseError(f"order {order} with V = {vocab_size} was given: choose order 1, 2, … and tokens below V")
        self.order, self.vocab_size = order, vocab_size
        self.followers: dict[tuple[int, ...], dict[int, int]] = collections.defaultdict(dict)
        for n in range(1, order + 1):
            grams = collections.Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
            for (*context, token), count in grams.items():
                self.followers[tuple(context)][token] = count

    def probabilities(self, history: Sequence[int]) -> ndarray:
        """p_n after a history (any length) -> (V,); the recursion goes up from p_0 while the context was seen."""
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for n in range(min(self.order, len(history) + 1)):
            if followers := self.followers.get(tuple(history[len(history) - n :])):
                p *= len(followers)
                p[list(followers)] += list(followers.values())
                p /= sum(followers.values()) + len(followers)
        return p
