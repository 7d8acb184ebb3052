"""Text to token ids and back: four tokenizers behind one `Tokenizer`.

A new one is a subclass of it in this file, in the list TOKENIZERS at the end: from then on `--tokenizer` offers its
kind, texts of any size are encoded with it, and checkpoints keep it.
"""

import collections
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy import ndarray

from bigmodel_lib.errors import CourseError

Ids = Sequence[int] | ndarray
Pair = tuple[int, int]


class Tokenizer(Protocol):
    """What every tokenizer has; a subclass writes what is missing or different."""

    kind: ClassVar[str]  # its name on the command line and in tokenizer.json
    vocab_size: int

    @classmethod
    def train(cls, blocks: Iterable[str], size: int = 0) -> Self:
        """Learned from a text in blocks, if there is anything to learn; size: its bytes at most, if it may be long."""
        return cls()

    def encode(self, text: str) -> ndarray:
        """(N,) int32, the ids of a text. Raises CourseError that names the first thing without an id."""

    def decode(self, tokens: Ids) -> str:
        """The text of ids. Raises CourseError for an id outside the vocabulary."""

    def last_cut(self, text: str) -> int:
        """The last place where a text may be cut, whatever follows: piece by piece it has the same tokens."""
        return len(text)

    def to_dict(self) -> dict:
        """What `from_dict` needs to rebuild it, its kind included: numbers, texts, lists."""
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """The tokenizer that `to_dict` described."""
        return cls(**{name: value for name, value in values.items() if name != "kind"})

    def check_ids(self, tokens: Ids) -> ndarray:
        """(N,) int64. Raises CourseError for what is no id."""
        ids = np.asarray(tokens).reshape(-1)
        if ids.size and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= self.vocab_size):
            given = f"{ids.min()} … {ids.max()} were given"
            raise CourseError(f"token ids from 0 to {self.vocab_size - 1} were wanted, {given}")
        return ids.astype(np.int64)


def pieces(tokenizer: Tokenizer, blocks: Iterable[str]) -> Iterator[str]:
    """Yield the same text, cut where the tokenizer allows: encoded piece by piece it gives the same tokens."""
    rest = ""
    for text in blocks:
        rest += text
        cut = tokenizer.last_cut(rest)
        yield rest[:cut]
        rest = rest[cut:]
    yield rest


def _name_of(character: str) -> str:
    return f"{character!r} (U+{ord(character):04X} {unicodedata.name(character, 'without a name')})"


class CharacterTokenizer(Tokenizer):
    """Every character of a text has an id, in the order of Unicode; no other has one. An empty text is refused."""

    kind = "characters"

    def __init__(self, alphabet: str):
        if not alphabet:
            raise CourseError("an alphabet was wanted, an empty text was given: give the text to be learned")
        self.alphabet = "".join(sorted(set(alphabet)))
        self.vocab_size = len(self.alphabet)
        self._codes = np.array([ord(character) for character in self.alphabet], dtype=np.uint32)

    @classmethod
    def train(cls, blocks: Iterable[str], size: int = 0) -> Self:
        return cls("".join(set(itertools.chain.from_iterable(blocks))))

    def encode(self, text: str) -> ndarray:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ids = np.searchsorted(self._codes, codes).clip(max=self.vocab_size - 1)
        unknown = np.flatnonzero(self._codes[ids] != codes)
        if unknown.size:
            found = f"the character {_name_of(text[unknown[0]])} at position {unknown[0]}"
            known = f"the {self.vocab_size} that this tokenizer knows"
            raise CourseError(f"{found} is not among {known}: leave it out, or train with the bytes tokenizer")
        return ids.astype(np.int32)

    def decode(self, tokens: Ids) -> str:
        return "".join(self.alphabet[i] for i in self.check_ids(tokens))

    def to_dict(self) -> dict:
        return {"kind": self.kind, "alphabet": self.alphabet}


class ByteTokenizer(Tokenizer):
    """A text is its UTF-8 bytes: 256 ids, and nothing is unknown. A Chinese character takes three of them."""

    kind = "bytes"
    vocab_size = 256

    def encode(self, text: str) -> ndarray:
        try:
            return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int32)
        except UnicodeEncodeError as error:
            broken = f"position {error.start} holds {_name_of(text[error.start])}, half of a surrogate pair"
            raise CourseError(f"{broken}, which is not Unicode text: remove it") from None

    def decode(self, tokens: Ids) -> str:
        return self.bytes_of(tokens).decode("utf-8", errors="replace")  # a model may well write what is not UTF-8

    def bytes_of(self, tokens: Ids) -> bytes:
        """The bytes that tokens are made of."""
        return self.check_ids(tokens).astype(np.uint8).tobytes()


# GPT-2's split into words: a contraction; a blank with letters, digits or signs after it; other blanks. Here no word is
# longer than 128 characters, so that a text without blanks costs no more than another one.
WORD = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]{1,128}| ?\d{1,128}| ?(?:[^\w\s]|_){1,128}|\s{1,128}(?!\S)|\s{1,128}"
)
BPE_SIZE = 1024  # tokens that `--tokenizer bpe` learns from its text
SAMPLE = 4_000_000  # bytes, at most, from which byte-pair merges are learned: of a longer text, pieces all over it


def merge_pair(word: tuple[int, ...], pair: Pair, token: int) -> tuple[int, ...]:
    """The word with each `pair` replaced by `token`, from left to right."""
    merged, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(token)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def encode_word(word: bytes, merges: Mapping[Pair, int], order: Mapping[Pair, int]) -> list[int]:
    """The ids of a word's bytes after all merges, the earliest learned first.

    merges {pair: token}; order {pair: place among the merges}. Source: Sennrich et al. 2016, algorithm 1, on bytes.
    """
    ids = list(word)
    while len(ids) > 1:
        place, i = min((order.get(pair, len(order)), i) for i, pair in enumerate(itertools.pairwise(ids)))
        if place == len(order):
            break
        ids[i : i + 2] = [merges[ids[i], ids[i + 1]]]
    return ids


def train_bpe(text: str, vocab_size: int) -> dict[Pair, int]:
    """{pair: token} of the merges that a text asks for, in order: each time its most frequent pair.

    Of equally frequent pairs the one with the smaller ids is merged. It ends at vocab_size tokens, 256 of them bytes,
    or where no pair is left twice. Raises CourseError for a vocab_size under 256 and for what is no Unicode.
    """
    if vocab_size < 256:
        raise CourseError(f"vocab_size {vocab_size} was given: the 256 bytes are all in it, so choose 256 or more")
    ByteTokenizer().encode(text)  # refuses what is not Unicode text
    counted = collections.Counter(word.encode("utf-8") for word in WORD.findall(text))
    words, times = [tuple(word) for word in counted], list(counted.values())
    names = [bytes([i]) for i in range(256)]
    ids, merges = {name: i for i, name in enumerate(names)}, {}
    pairs, where = collections.Counter(), collections.defaultdict(set)  # where: the words that have a pair, or had it

    def count(i: int, sign: int) -> None:
        for pair in itertools.pairwise(words[i]):
            if pair not in merges:
                pairs[pair] += sign * times[i]
                where[pair].add(i)

    for i in range(len(words)):
        count(i, 1)
    while len(names) < vocab_size and (most := max(pairs.values(), default=0)) > 1:
        pair = min(pair for pair, times_here in pairs.items() if times_here == most)
        name = names[pair[0]] + names[pair[1]]
        if name not in ids:
            ids[name] = len(names)
            names.append(name)
        merges[pair] = ids[name]
        del pairs[pair]
        for i in where.pop(pair):
            count(i, -1)
            words[i] = merge_pair(words[i], pair, ids[name])
            count(i, 1)
    return merges


def _sample(blocks: Iterable[str], size: int) -> str:
    """At most SAMPLE bytes of a text of that size, in pieces from all over it."""
    sample, owed, share = bytearray(), 0.0, min(1.0, SAMPLE / max(1, size))
    for content in map(str.encode, blocks):
        owed += share * len(content)
        if share == 1 or owed >= SAMPLE // 64:
            sample += content[: int(owed)]
            owed -= min(int(owed), len(content))
    return sample.decode("utf-8", errors="ignore")  # without a character that a piece cuts in two


class BPETokenizer(ByteTokenizer):
    """Bytes, and longer runs of bytes that are often together: nothing is unknown, and common words are one token.

    Raises CourseError for merges of tokens that are not there yet. Source: Sennrich et al. 2016; Radford et al. 2019.
    """

    kind = "bpe"

    def __init__(self, merges: Mapping[Pair, int]):
        self.merges = dict(merges)
        self.names = [bytes([i]) for i in range(256)]
        for (left, right), token in self.merges.items():
            n = len(self.names)
            if not (0 <= left < n and 0 <= right < n and 0 <= token <= n):
                raise CourseError(f"merge {left} + {right} = {token} was given when there were {n} tokens")
            if token == n:
                self.names.append(self.names[left] + self.names[right])
        self.vocab_size = len(self.names)
        order = {pair: place for place, pair in enumerate(self.merges)}
        remember = functools.lru_cache(maxsize=1 << 17)
        self._encode_word = remember(lambda word: encode_word(word.encode("utf-8"), self.merges, order))

    @classmethod
    def train(cls, blocks: Iterable[str], size: int = 0, vocab_size: int = BPE_SIZE) -> Self:
        """Learn vocab_size tokens from all blocks, or from SAMPLE bytes of them where `size` is more."""
        return cls(train_bpe(_sample(blocks, size), vocab_size))

    def encode(self, text: str) -> ndarray:
        super().encode(text)  # refuses what is not Unicode text
        words = map(self._encode_word, WORD.findall(text))
        return np.fromiter(itertools.chain.from_iterable(words), dtype=np.int32)

    def bytes_of(self, tokens: Ids) -> bytes:
        return b"".join(self.names[i] for i in self.check_ids(tokens))

    def last_cut(self, text: str) -> int:
        edge = re.compile(r".*\S(?=\s)", re.DOTALL).match(text)  # no word goes on after its last sign before a blank
        return edge.end() if edge else 0

    def to_dict(self) -> dict:
        return {"kind": self.kind, "merges": [[*pair, token] for pair, token in self.merges.items()]}

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        return cls({(left, right): token for left, right, token in values["merges"]})


def text_of(words: Iterable[str]) -> str:
    """The text that English words and signs make: no blank before a closing sign or after an opening quotation mark."""
    return re.sub(r" ([.,:?”])", r"\1", " ".join(words)).replace("“ ", "“")


class WordTokenizer(Tokenizer):
    """Every word of a closed vocabulary is a token, the longest where several fit; no other text has ids.

    blanks: words are written apart, as in English. Raises CourseError for a vocabulary with a repeated or empty word.
    """

    kind = "words"

    def __init__(self, vocabulary: Iterable[str], blanks: bool = True):
        self.vocabulary, self.blanks = tuple(vocabulary), blanks
        self._ids = {word: i for i, word in enumerate(self.vocabulary)}
        if len(self._ids) < len(self.vocabulary) or not all(self.vocabulary) or not self.vocabulary:
            raise CourseError("a vocabulary of different words was wanted: leave out repeated and empty ones")
        self.vocab_size = len(self.vocabulary)
        words = "|".join(map(re.escape, sorted(self.vocabulary, key=len, reverse=True)))
        self._word = re.compile(rf"\s*({words})(?:(?<![A-Za-z])|(?![A-Za-z]))")  # the end of a word, not of its half

    def encode(self, text: str) -> ndarray:
        ids, position, text = [], 0, text.rstrip()
        while position < len(text):
            found = self._word.match(text, position)
            if found is None:
                stranger = text[position:].split()[0][:20]
                unknown = f"{stranger!r} at position {text.index(stranger, position)} is not among the words"
                raise CourseError(f"{unknown} that this tokenizer knows: use bytes or bpe for a text of your own")
            ids.append(self._ids[found[1]])
            position = found.end()
        return np.array(ids, dtype=np.int32)

    def decode(self, tokens: Ids) -> str:
        words = [self.vocabulary[i] for i in self.check_ids(tokens)]
        return text_of(words) if self.blanks else "".join(words)

    def last_cut(self, text: str) -> int:
        return 0  # what follows may make a longer word of the last one

    def to_dict(self) -> dict:
        return {"kind": self.kind, "vocabulary": list(self.vocabulary), "blanks": self.blanks}


# By kind, those that learn from any text
TOKENIZERS: dict[str, type[Tokenizer]] = {each.kind: each for each in (CharacterTokenizer, ByteTokenizer, BPETokenizer)}


def tokenizer_class(kind: str) -> type[Tokenizer]:
    """The class of that kind. Raises CourseError for an unknown one."""
    if kind not in TOKENIZERS:
        raise CourseError(f"tokenizer {kind!r} is not known: choose one of {', '.join(TOKENIZERS)}")
    return TOKENIZERS[kind]


def trained_tokenizer(kind: str, blocks: Iterable[str], size: int = 0, vocab_size: int | None = None) -> Tokenizer:
    """A tokenizer that has learned a text. Raises CourseError for a vocab_size of a kind other than bpe."""
    if vocab_size is None:
        return tokenizer_class(kind).train(blocks, size)
    if kind != BPETokenizer.kind:
        raise CourseError(f"a vocab_size of {vocab_size} was given, which only bpe can choose: leave it out for {kind}")
    return BPETokenizer.train(blocks, size, vocab_size)


def tokenizer_from_dict(values: dict) -> Tokenizer:
    """The tokenizer that `to_dict` described. Raises CourseError for what describes none."""
    try:
        return (TOKENIZERS | {WordTokenizer.kind: WordTokenizer})[values["kind"]].from_dict(values)
    except CourseError:
        raise
    except (KeyError, TypeError, ValueError):
        raise CourseError(f"{str(values)[:60]!r} describes no tokenizer: take a whole tokenizer.json") from None


LONGEST_GROUP = 8  # tokens; more of them in a row that share characters are labelled one by one


def token_groups(tokenizer: Tokenizer, tokens: Ids) -> list[tuple[str, int]]:
    """(text, of how many tokens) of each run of ids that is whole characters: the three bytes of 我 are ("我", 3).

    Bytes that are no text at all are "\ufffd", one by one.
    """
    groups: list[tuple[str, int]] = []
    done = 0
    while done < len(tokens):
        rest = tokens[done:][:LONGEST_GROUP]
        tried = [tokenizer.decode(rest[:size]) for size in range(1, len(rest) + 1)]
        size = next((size for size, text in enumerate(tried, start=1) if "\ufffd" not in text), 1)
        groups.append((tried[size - 1], size))
        done += size
    return groups


def token_labels(tokenizer: Tokenizer, tokens: Ids) -> list[str]:
    """What to call each of some ids in a picture: its text, or that of the tokens that make up characters with it.

    So the three bytes of 我 are "我 1/3", "我 2/3", "我 3/3". Bytes that are no text at all are "\ufffd".
    """
    groups = token_groups(tokenizer, tokens)
    return [text + (f" {part}/{size}" if size > 1 else "") for text, size in groups for part in range(1, size + 1)]
