"""Small things that mutants showed to be untested: see `make mutants`."""

import pytest

from bigmodel_lib.text import tokenizers
from bigmodel_lib.text.tokenizers import LONGEST_GROUP, BPETokenizer, ByteTokenizer, token_labels

SHARED = 256  # the token of the last byte of one 我 and the first byte of the next, so that neighbours share characters


def test_the_bytes_of_a_character_are_numbered_from_one():
    tokens = ByteTokenizer().encode("a我b")
    assert token_labels(ByteTokenizer(), tokens) == ["a", "我 1/3", "我 2/3", "我 3/3", "b"]


def test_bytes_that_are_no_text_are_labelled_one_by_one():
    assert token_labels(ByteTokenizer(), [0x91, 0x91, ord("a")]) == ["\ufffd", "\ufffd", "a"]


@pytest.mark.parametrize("n_characters", [3, 4])
def test_tokens_that_share_characters_are_labelled_together_up_to_a_limit(n_characters):
    first, middle, last = "我".encode()
    tokenizer = BPETokenizer({(last, first): SHARED})
    tokens = [first, middle, *[SHARED, middle] * (n_characters - 1), last]
    text, n = "我" * n_characters, len(tokens)
    assert tokenizer.decode(tokens) == text
    together = [f"{text} {part}/{n}" for part in range(1, n + 1)]
    one_by_one = [tokenizer.decode([token]) for token in tokens]
    assert token_labels(tokenizer, tokens) == (together if n <= LONGEST_GROUP else one_by_one)


@pytest.mark.parametrize("token", [0, 256])
def test_a_merge_may_give_a_token_that_is_there_or_the_next_one(token):
    assert BPETokenizer({(97, 98): token}).vocab_size == 256 + (token == 256)


def test_a_long_text_is_sampled_evenly_in_pieces_that_are_not_tiny(monkeypatch):
    monkeypatch.setattr(tokenizers, "SAMPLE", 640)
    blocks = [chr(0x41 + i % 26) * 100 for i in range(128)]  # a twentieth of each is owed: 5 letters
    assert tokenizers._sample(blocks, 12_800) == "".join(block[:10] for block in blocks[1::2])


def test_a_text_is_cut_before_the_last_blank_that_follows_a_sign():
    assert BPETokenizer({}).last_cut("ab cd ef") == 5 and BPETokenizer({}).last_cut("ab  ") == 2
    assert BPETokenizer({}).last_cut("abcd") == BPETokenizer({}).last_cut(" abcd") == 0
