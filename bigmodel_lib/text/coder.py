"""Arithmetic coding: a text becomes one number between 0 and 1, with as many bits as the text surprises a model.

Source: Witten, Neal & Cleary 1987, here with whole numbers of any length.
"""

from collections.abc import Callable, Sequence

import numpy as np

BITS = 16  # a probability is rounded to a multiple of 2^-BITS, and is never 0

Predictor = Callable[[Sequence[int]], np.ndarray]  # the symbols so far -> p of each symbol (V,)


def _shares(p: np.ndarray) -> tuple[list[int], list[int]]:
    """Where each symbol's share of [0, 2^BITS) begins, and how wide it is. Shapes: (V,) -> V, V."""
    widths = 1 + np.floor(np.asarray(p, dtype=np.float64) * (2**BITS - len(p))).astype(int)
    widths[np.argmax(widths)] += 2**BITS - widths.sum()
    return (np.cumsum(widths) - widths).tolist(), widths.tolist()


def encode(symbols: Sequence[int], predict: Predictor) -> bytes:
    """A number in the interval that belongs to the symbols, of at most Σ -log2 p + 1 bits, and filled up to a byte."""
    low, width = 0, 1  # of the interval, in units of 2^-(BITS · symbols so far)
    for i, symbol in enumerate(symbols):
        starts, widths = _shares(predict(symbols[:i]))
        low, width = (low << BITS) + width * starts[symbol], width * widths[symbol]
    spare = width.bit_length() - 1  # bits that may be anything: 2^spare still fits into the interval
    n_bits = BITS * len(symbols) - spare
    number = -(-low >> spare)
    return (number << -n_bits % 8).to_bytes((n_bits + 7) // 8, "big")


def decode(data: bytes, n: int, predict: Predictor) -> list[int]:
    """The n symbols that were encoded with the same predictor."""
    number, scale = int.from_bytes(data, "big"), 8 * len(data)
    symbols: list[int] = []
    low, width = 0, 1
    for i in range(1, n + 1):
        starts, widths = _shares(predict(symbols))
        here = (number << BITS * i) >> scale
        place = (here - (low << BITS)) // width
        symbol = int(np.searchsorted(starts, place, side="right")) - 1
        low, width = (low << BITS) + width * starts[symbol], width * widths[symbol]
        symbols.append(symbol)
    return symbols
