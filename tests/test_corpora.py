import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.batches import (
    all_windows,
    document_batch,
    random_windows,
    split_tokens,
)
from bigmodel_lib.text.sources import data_path, python_manual


def test_the_manual_is_english_prose():
    text = python_manual()
    assert len(text) > 300_000 and text.count(" the ") > 3000


def test_the_last_tenth_is_held_out_and_at_most_a_million():
    train, validation = split_tokens(np.arange(1000), 64)
    assert train.tolist() == list(range(900)) and validation.tolist() == list(range(900, 1000))
    train, validation = split_tokens(np.zeros(12_000_000, dtype=np.uint8), 64)
    assert len(validation) == 1_000_000 and len(train) == 11_000_000


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 30))
def test_a_text_is_refused_exactly_when_its_tenth_is_shorter_than_a_window(length, context_length):
    if length // 10 >= context_length + 1:
        split_tokens(np.arange(length), context_length)
        return
    with pytest.raises(CourseError, match=f"at least {10 * (context_length + 1)} tokens"):
        split_tokens(np.arange(length), context_length)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.integers(0, 3))
def test_windows_are_the_text_and_the_text_one_later(context_length, batch_size, seed, spare):
    tokens = np.arange(100, 101 + context_length + spare)
    x, y = random_windows(tokens, batch_size, context_length, np.random.default_rng(seed))
    assert x.shape == y.shape == (batch_size, context_length) and x.dtype == y.dtype == np.int64
    assert (y == x + 1).all() and x.min() >= 100 and y.max() <= tokens[-1]


def test_every_window_can_be_drawn():
    x, _ = random_windows(np.arange(9), 500, 4, np.random.default_rng(0))
    assert set(x[:, 0].tolist()) == {0, 1, 2, 3, 4}


@settings(deadline=None)
@given(st.integers(2, 200), st.integers(1, 20), st.integers(1, 7))
def test_all_windows_target_every_token_but_the_first_once(length, context_length, batch_size):
    tokens = np.arange(length, dtype=np.int32)
    batches = list(all_windows(tokens, batch_size, context_length))
    assert np.concatenate([y.ravel() for _, y in batches]).tolist() == list(range(1, length))
    assert all((y == x + 1).all() and len(x) <= batch_size for x, y in batches)


def test_missing_data_is_said_in_words():
    with pytest.raises(CourseError, match="clone the whole course"):
        data_path("no_such_file")


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 50), min_size=2, max_size=9), min_size=1, max_size=6), st.integers(0, 9))
def test_a_document_batch_holds_whole_documents(documents, seed):
    x, y = document_batch(documents, 4, np.random.default_rng(seed), length=8)
    assert x.shape == y.shape == (4, 8) and x.dtype == y.dtype == np.int64
    for inputs, targets in zip(x.tolist(), y.tolist(), strict=True):
        n = sum(target >= 0 for target in targets)
        assert targets[n:] == [-1] * (8 - n) and inputs[n:] == [0] * (8 - n)
        assert [*inputs[:n], targets[n - 1]] in documents and inputs[1:n] == targets[: n - 1]


def test_a_document_batch_is_as_long_as_its_longest_or_refused():
    rng = np.random.default_rng(0)
    assert document_batch([[1, 2, 3]], 2, rng)[0].tolist() == [[1, 2], [1, 2]]
    with pytest.raises(ValueError, match="broadcast"):
        document_batch([[1, 2, 3]], 2, rng, length=1)
