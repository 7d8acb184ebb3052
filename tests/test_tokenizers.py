import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigmodel_lib.config import CourseError
from bigmodel_lib.tokenizers import ByteTokenizer, CharacterTokenizer, tokenizer_for, tokenizer_from_dict

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@given(UNICODE)
def test_bytes_round_trip_any_text(text):
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32 and tokenizer.decode(tokens) == text
    assert tokenizer.count_characters(tokens) == len(text)
    assert tokens.tolist() == list(text.encode("utf-8"))


@given(UNICODE.filter(bool), st.randoms())
def test_characters_round_trip_any_text_in_their_alphabet(text, random):
    tokenizer = CharacterTokenizer(text)
    shuffled = "".join(random.sample(text, len(text)))
    tokens = tokenizer.encode(shuffled)
    assert tokenizer.decode(tokens) == shuffled
    assert tokenizer.count_characters(tokens) == len(text)
    assert set(tokens.tolist()) <= set(range(tokenizer.vocab_size)) and tokenizer.vocab_size == len(set(text))


@given(UNICODE.filter(bool), st.characters(exclude_categories=["Cs"]))
def test_an_unknown_character_is_named(text, stranger):
    tokenizer = CharacterTokenizer(text)
    if stranger in text:
        return
    with pytest.raises(CourseError) as error:
        tokenizer.encode(text + stranger)
    assert f"U+{ord(stranger):04X}" in str(error.value) and f"position {len(text)}" in str(error.value)


def test_the_error_reads_well():
    with pytest.raises(CourseError) as error:
        CharacterTokenizer("abc").encode("aé")
    assert str(error.value).startswith(
        "the character 'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE) at position 1 is not among the 3"
    )


def test_a_byte_sequence_that_is_no_text_becomes_replacement_marks():
    assert ByteTokenizer().decode([0xE4, 0xBD, 65]) == "\ufffdA"


@pytest.mark.parametrize("tokens", [[-1], [3], [0.5]])
def test_ids_outside_the_vocabulary_are_refused(tokens):
    with pytest.raises(CourseError, match="token ids from 0 to 2 were wanted"):
        CharacterTokenizer("abc").decode(tokens)


def test_half_a_surrogate_pair_is_refused_by_bytes():
    with pytest.raises(CourseError, match="half of a surrogate pair"):
        ByteTokenizer().encode("a\ud800")


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_a_tokenizer_survives_its_description(kind):
    tokenizer = tokenizer_for(kind, "I love 编程")
    again = tokenizer_from_dict(tokenizer.to_dict())
    assert again.encode("编程").tolist() == tokenizer.encode("编程").tolist()


@pytest.mark.parametrize("values", [{"kind": "words"}, {}, {"kind": "characters"}, "bytes and more"])
def test_an_unknown_description_is_refused(values):
    with pytest.raises(CourseError, match="is not known: choose one of characters, bytes"):
        tokenizer_from_dict(values)


def test_an_empty_alphabet_is_refused():
    with pytest.raises(CourseError, match="an empty text was given"):
        CharacterTokenizer("")
