import collections
import functools
import itertools
import json
import pathlib

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bigmodel_lib.errors import CourseError
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld.sentences import QUESTIONS, SUMMARIES, words_for
from bigmodel_lib.text.sources import python_manual
from bigmodel_lib.text.tokenizers import (
    WORD,
    BPETokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    WordTokenizer,
    encode_word,
    merge_pair,
    pieces,
    text_of,
    tokenizer_class,
    tokenizer_from_dict,
    train_bpe,
)

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(UNICODE)
def test_bytes_round_trip_any_text(text):
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32 and tokenizer.decode(tokens) == text
    assert tokens.tolist() == list(text.encode("utf-8"))


@settings(deadline=None)
@given(UNICODE.filter(bool), st.randoms())
def test_characters_round_trip_any_text_in_their_alphabet(text, random):
    tokenizer = CharacterTokenizer(text)
    shuffled = "".join(random.sample(text, len(text)))
    tokens = tokenizer.encode(shuffled)
    assert tokenizer.decode(tokens) == shuffled
    assert set(tokens.tolist()) <= set(range(tokenizer.vocab_size)) and tokenizer.vocab_size == len(set(text))


@settings(deadline=None)
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
    tokenizer = tokenizer_class(kind).train(["I love", " 编程"])
    again = tokenizer_from_dict(tokenizer.to_dict())
    assert again.encode("编程").tolist() == tokenizer.encode("编程").tolist()


@pytest.mark.parametrize("values", [{"kind": "words"}, {}, {"kind": "characters"}, "bytes and more", None])
def test_an_unknown_description_is_refused(values):
    with pytest.raises(CourseError, match="describes no tokenizer"):
        tokenizer_from_dict(values)


def test_a_damaged_description_is_refused_with_what_is_wrong_in_it():
    for merges in ([[1, 2]], [1], None):
        with pytest.raises(CourseError, match="describes no tokenizer"):
            tokenizer_from_dict({"kind": "bpe", "merges": merges})
    with pytest.raises(CourseError, match="merge 1 [+] 300 = 256 was given when there were 256 tokens"):
        tokenizer_from_dict({"kind": "bpe", "merges": [[1, 300, 256]]})


def test_an_empty_alphabet_is_refused():
    with pytest.raises(CourseError, match="an empty text was given"):
        CharacterTokenizer("")


# byte-pair encoding

WORLD = StoryWorld()
CHINESE = "".join(WORLD.sample(np.random.default_rng(i)).chinese for i in range(60))
TEXTS = {
    "English": python_manual()[:100_000],
    "Chinese": CHINESE,
    "code": pathlib.Path(__file__).read_text(encoding="utf-8") * 2,
    "random bytes": np.random.default_rng(0).bytes(20_000).decode("utf-8", errors="replace"),
    "runs": "aaaa aaaaaaa aa\n\n   bbbbabab ababab" * 9,
}


def known_library(text, vocab_size):
    """The same words given to the `tokenizers` package, each byte written as one letter; and how it encodes words."""

    def letters(text):
        return " ".join("".join(chr(256 + byte) for byte in word.encode()) for word in WORD.findall(text))

    theirs = hf.Tokenizer(hf.models.BPE())
    theirs.pre_tokenizer = hf.pre_tokenizers.WhitespaceSplit()
    alphabet = [chr(256 + byte) for byte in range(256)]
    theirs.train_from_iterator([letters(text)], hf.trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, initial_alphabet=alphabet, show_progress=False))  # fmt: skip
    return theirs, lambda text: theirs.encode(letters(text)).ids


@pytest.mark.parametrize("kind", TEXTS)
def test_bpe_gives_the_ids_of_a_known_library(kind):
    ours = BPETokenizer(train_bpe(TEXTS[kind], 800))
    theirs, encode = known_library(TEXTS[kind], 800)
    assert ours.vocab_size == theirs.get_vocab_size() > 260
    for text in TEXTS.values():
        assert ours.encode(text[:30_000]).tolist() == encode(text[:30_000])


@pytest.mark.parametrize("kind", ["English", "Chinese", "code"])
def test_words_are_split_as_gpt2_does(kind):
    theirs = hf.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(TEXTS[kind])
    assert WORD.findall(TEXTS[kind]) == [TEXTS[kind][start:end] for _, (start, end) in theirs]


def test_the_fast_trainer_merges_as_the_plain_one():
    text = TEXTS["English"][:3000] + CHINESE[:500]
    words = collections.Counter(tuple(word.encode()) for word in WORD.findall(text))
    plain = {}
    for token in range(256, 340):
        pairs = collections.Counter()
        for word, n in words.items():
            pairs.update({pair: n * times for pair, times in collections.Counter(itertools.pairwise(word)).items()})
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        plain[best] = token
        words = {merge_pair(word, best, token): n for word, n in words.items()}
    assert list(plain) == list(train_bpe(text, 340))


@functools.cache
def learned_tokenizer():
    return BPETokenizer(train_bpe(TEXTS["English"] + CHINESE, 1000))


@settings(deadline=None)
@given(UNICODE)
def test_bpe_round_trips_any_text(text):
    tokenizer = learned_tokenizer()
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32 and tokenizer.decode(tokens) == text
    assert "".join(WORD.findall(text)) == text


def test_bpe_merges_the_earliest_learned_first():
    merges = {(98, 99): 256, (97, 98): 257, (257, 99): 258}  # bc, ab, ab+c
    order = {pair: i for i, pair in enumerate(merges)}
    assert encode_word(b"abc", merges, order) == [97, 256]
    assert encode_word(b"abab", merges, order) == [257, 257] and encode_word(b"", merges, order) == []


def test_common_words_are_one_token():
    tokenizer = learned_tokenizer()
    assert len(tokenizer.encode(" the")) == 1 and len(tokenizer.encode(TEXTS["English"])) < len(TEXTS["English"]) / 2


def test_bpe_refuses_what_cannot_be():
    with pytest.raises(CourseError, match="256 or more"):
        train_bpe("some text", 100)
    with pytest.raises(CourseError, match="when there were 256 tokens"):
        BPETokenizer({(1, 300): 256})
    with pytest.raises(CourseError, match="surrogate"):
        learned_tokenizer().encode("a \ud800 b")
    with pytest.raises(CourseError, match="surrogate"):
        train_bpe("a \ud800 b", 300)


# where a text may be cut

PIECES = ["a", "B", "é", "编", "🙂", " ", "  ", "\n", "\r\n", "\t", "'", "'l", "'ll", "7", "_", ".", "\u3000", "\x1c"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*PIECES, "a" * 127, "7" * 128, "'" * 129, " " * 128, "\n" * 129, "编" * 300]), max_size=30
    ),
    st.sampled_from([1, 2, 3, 50, 127, 131, 400]),
)
@example(["a", "'l", "l", "b"], 3)
@example([" " * 128, "\n", "a"], 131)
@example(["\r\n", "编" * 300], 2)
@example(["a", " " * 128, "\n", "编" * 300], 131)
def test_texts_are_cut_between_words_only(parts, size):
    text = "".join(parts)
    blocks = list(pieces(BPETokenizer({}), (text[i : i + size] for i in range(0, len(text), size))))
    assert "".join(blocks) == text
    assert [word for block in blocks for word in WORD.findall(block)] == WORD.findall(text)


# words of a closed vocabulary


@pytest.fixture(scope="module")
def told():
    """Every construction with each word in each of its slots: the tokens in English and in Chinese."""
    rng, found = np.random.default_rng(3), []
    for construction in WORLD.constructions:
        slots = [words_for(WORLD, slot) for slot in construction.slots]
        columns = [rng.permutation(np.resize(words, max(map(len, slots)))).tolist() for words in slots]
        for filling in zip(*columns, strict=True) if slots else [()]:
            for pronoun in (False, True)[: 1 + (construction.subject is not None)]:
                tellings = construction.tell(filling, pronoun), construction.tell_chinese(filling, pronoun)
                found.append([telling.split() for telling in tellings])
    return found


def assert_round_trip(tokenizer, text, words):
    tokens = tokenizer.encode(text)
    assert [tokenizer.vocabulary[i] for i in tokens] == words
    assert tokenizer.decode(tokens) == text


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_words_round_trip_every_construction_and_whole_stories(told, language):
    tokenizer, rng = WORLD.tokenizer(language), np.random.default_rng(3)
    assert len(told) > 10 * len(WORLD.constructions)
    for english, chinese in told:
        if language == "english":
            assert_round_trip(tokenizer, text_of(english), english)
        else:
            assert_round_trip(tokenizer, "".join(chinese), chinese)
    for _ in range(50):
        story = WORLD.sample(rng)
        if language == "english":
            assert_round_trip(tokenizer, story.text, story.tokens)
        else:
            assert_round_trip(tokenizer, story.chinese, story.chinese_tokens)


def test_every_word_of_a_tokenizer_is_used_and_a_stranger_is_named(told):
    tokenizer = WORLD.tokenizer("english")
    used = {word for english, _ in told for word in english}
    asked = {word for row in [*QUESTIONS.values(), *SUMMARIES.values()] for part in row for word in part.split()}
    assert tokenizer.vocabulary[:2] == (START, END) and set(tokenizer.vocabulary[2:]) - used <= asked
    assert used <= set(tokenizer.vocabulary)
    with pytest.raises(CourseError, match="'dragon,' at position 12"):
        tokenizer.encode("Anna had a  dragon, and it was red.")
    with pytest.raises(CourseError, match="'lampshade.' at position 11"):
        tokenizer.encode("Anna had a lampshade.")


@pytest.mark.parametrize("kind", ["bpe", "english", "chinese"])
def test_learned_tokenizers_are_rebuilt_from_their_description(kind):
    tokenizer = learned_tokenizer() if kind == "bpe" else WORLD.tokenizer(kind)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    story = WORLD.sample(np.random.default_rng(0))
    text = story.chinese if kind == "chinese" else story.text
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist() and again.decode(again.encode(text)) == text


def test_words_must_differ_and_the_language_must_be_one():
    for vocabulary in ([], ["a", "a"], ["a", ""]):
        with pytest.raises(CourseError, match="different words"):
            WordTokenizer(vocabulary)
    with pytest.raises(CourseError, match="english or chinese"):
        WORLD.tokenizer("french")
