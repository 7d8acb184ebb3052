"""The arithmetic coder: what was encoded comes back, and is as long as its surprise."""

import numpy as np
import pytest

from bigmodel_lib.text.coder import BITS, _shares, decode, encode


def always(*p):
    return lambda symbols: np.array(p)


def of_the_past(vocab_size):
    """Another distribution at every place, which depends on all symbols so far."""

    def predict(symbols):
        rng = np.random.default_rng([len(symbols), *symbols])
        return rng.dirichlet(np.full(vocab_size, 0.2))

    return predict


@pytest.mark.parametrize("vocab_size", [1, 2, 5, 300])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 200])
def test_what_was_encoded_comes_back_and_is_as_long_as_its_surprise(vocab_size, n):
    predict, rng, symbols, surprise = of_the_past(vocab_size), np.random.default_rng(n), [], 0.0
    for _ in range(n):
        _, widths = _shares(predict(symbols))
        p = np.array(widths) / 2**BITS
        symbols.append(int(rng.choice(vocab_size, p=p)))
        surprise -= np.log2(p[symbols[-1]])
    data = encode(symbols, predict)
    assert decode(data, n, predict) == symbols
    assert surprise - 1e-6 <= 8 * len(data) <= surprise + 1 + 8


def test_by_hand():
    halves = always(0.5, 0.25, 0.25)  # codes 0, 10 and 11
    assert encode([0, 1, 2, 0, 0], halves) == bytes([0b01011000])
    assert encode([2] * 8, halves) == b"\xff\xff"


def test_shares_fill_the_whole_and_leave_nobody_without():
    for p in ([1.0, 0.0, 0.0], [1 / 3] * 3, np.float32([0.2, 0.3, 0.5]), [1.0]):
        starts, widths = _shares(np.array(p))
        assert min(widths) >= 1 and sum(widths) == 2**BITS
        assert starts == [sum(widths[:i]) for i in range(len(widths))]
    assert _shares(np.array([0.5, 0.5]))[1] == [2**15, 2**15]


def test_what_was_impossible_can_still_be_written_down():
    sure = always(1.0, 0.0)
    assert decode(encode([1, 0, 1], sure), 3, sure) == [1, 0, 1]


def test_another_predictor_reads_something_else():
    symbols = [0, 1, 2, 1, 0, 2] * 5
    data = encode(symbols, of_the_past(3))
    assert decode(data, 30, always(0.2, 0.3, 0.5)) != symbols
