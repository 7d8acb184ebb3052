"""Text to token ids and back. Every tokenizer has the same five members:

vocab_size                  how many ids there are
encode(text) -> (N,) int32  the ids of a text
decode(tokens) -> str       the text of ids
count_characters(tokens)    how many characters begin in these tokens
to_dict()                   what `tokenizer_from_dict` needs to rebuild it
"""

import collections
import functools
import heapq
import itertools
import re
import unicodedata

import numpy as np

from bigmodel_lib.errors import CourseError


def name_of(character: str) -> str:
    """A character with its code point and Unicode name: 'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE)."""
    return f"{character!r} (U+{ord(character):04X} {unicodedata.name(character, 'without a name')})"


def _check_ids(tokens, vocab_size: int) -> np.ndarray:
    ids = np.asarray(tokens).reshape(-1)
    if ids.size and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= vocab_size):
        raise CourseError(f"token ids from 0 to {vocab_size - 1} were wanted, {ids.min()} … {ids.max()} were given")
    return ids.astype(np.int64)


class ByteTokenizer:
    """A text is its UTF-8 bytes: 256 ids, and nothing is unknown. A Chinese character takes three of them."""

    vocab_size = 256

    def encode(self, text: str) -> np.ndarray:
        """(N,) int32, one id a byte. Raises CourseError for half of a surrogate pair, which is not Unicode text."""
        try:
            return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int32)
        except UnicodeEncodeError as error:
            raise CourseError(
                f"position {error.start} holds {name_of(text[error.start])}, half of a surrogate pair, "
                f"which is not Unicode text: remove it"
            ) from None

    def decode(self, tokens) -> str:
        """The text; bytes that are not UTF-8, which a model may well write, become '�'."""
        return _check_ids(tokens, 256).astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def count_characters(self, tokens) -> int:
        """Bytes 10xxxxxx continue a character; all others begin one."""
        return int(np.count_nonzero((np.asarray(tokens) & 0b1100_0000) != 0b1000_0000))

    def to_dict(self) -> dict:
        return {"kind": "bytes"}


class CharacterTokenizer:
    """Every character that the given text uses has an id, in the order of Unicode; no other has one.

    Raises CourseError for an alphabet that is empty.
    """

    def __init__(self, text: str):
        if not text:
            raise CourseError("an alphabet was wanted, an empty text was given: give the text to be learned")
        self.alphabet = "".join(sorted(set(text)))
        self.vocab_size = len(self.alphabet)
        self._codes = self._code_points(self.alphabet)

    @staticmethod
    def _code_points(text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")

    def encode(self, text: str) -> np.ndarray:
        """(N,) int32, one id a character. Raises CourseError that names the first unknown character."""
        codes = self._code_points(text)
        ids = np.searchsorted(self._codes, codes).clip(max=self.vocab_size - 1)
        unknown = np.flatnonzero(self._codes[ids] != codes)
        if unknown.size:
            raise CourseError(
                f"the character {name_of(text[unknown[0]])} at position {unknown[0]} is not among the "
                f"{self.vocab_size} that this tokenizer knows: leave it out, or train with the bytes tokenizer"
            )
        return ids.astype(np.int32)

    def decode(self, tokens) -> str:
        return "".join(self.alphabet[i] for i in _check_ids(tokens, self.vocab_size))

    def count_characters(self, tokens) -> int:
        return int(np.asarray(tokens).size)

    def to_dict(self) -> dict:
        return {"kind": "characters", "alphabet": self.alphabet}


# byte-level byte-pair encoding

# GPT-2's split into words: a contraction; a blank with letters, digits or signs after it; other blanks. Here no word is
# longer than 128 characters, so that a text without blanks costs no more than another one.
WORD = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]{1,128}| ?\d{1,128}| ?(?:[^\w\s]|_){1,128}|\s{1,128}(?!\S)|\s{1,128}"
)


def count_pairs(words):
    """How often each pair of neighbours stands in words {tuple of ids: how often}. Taught in 02_data_input."""
    pairs = collections.Counter()
    for word, times in words.items():
        for pair in itertools.pairwise(word):
            pairs[pair] += times
    return pairs


def merge_pair(word, pair, token):
    """The word with each `pair` replaced by `token`, from left to right. Taught in 02_data_input."""
    merged, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(token)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def encode_word(word, merges, order):
    """The ids of a word's bytes after all merges, the earliest learned first. Taught in 02_data_input.

    merges {pair: token}; order {pair: place among the merges}. Sennrich et al. 2016, algorithm 1, on bytes.
    """
    ids = list(word)
    while len(ids) > 1:
        place, i = min((order.get(pair, len(order)), i) for i, pair in enumerate(itertools.pairwise(ids)))
        if place == len(order):
            break
        ids[i : i + 2] = [merges[ids[i], ids[i + 1]]]
    return ids


def train_bpe(text: str, vocab_size: int) -> dict:
    """{pair: token} of the merges that a text asks for, in order: each time the pair that stands there most often.

    Of pairs that stand there equally often the one with the smaller ids is merged. It ends at vocab_size tokens, 256
    of them bytes, or where no pair stands there twice. The same merges as merging with `count_pairs` and `merge_pair`
    again and again, but only what a merge changes is counted again. Raises CourseError for a vocab_size under 256, or
    for half of a surrogate pair in the text.
    """
    if vocab_size < 256:
        raise CourseError(f"vocab_size {vocab_size} was given: the 256 bytes are all in it, so choose 256 or more")
    ByteTokenizer().encode(text)  # refuses what is not Unicode text
    words = collections.Counter(word.encode("utf-8") for word in WORD.findall(text))
    times, words = list(words.values()), [tuple(word) for word in words]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            pairs[pair] += times[i]
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merges, ids = {}, {bytes([i]): i for i in range(256)}
    names = list(ids)
    while heap and len(names) < vocab_size:
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair] or pair in merges:
            continue  # it has changed since, and stands in the heap once more
        if count > -2:
            break
        name = names[pair[0]] + names[pair[1]]
        if name not in ids:
            ids[name] = len(names)
            names.append(name)
        merges[pair] = ids[name]
        changed = set()
        for i in where.pop(pair):
            old, words[i] = words[i], merge_pair(words[i], pair, ids[name])
            for word, sign in ((old, -times[i]), (words[i], times[i])):
                for neighbours in itertools.pairwise(word):
                    pairs[neighbours] += sign
                    changed.add(neighbours)
            for neighbours in itertools.pairwise(words[i]):
                where[neighbours].add(i)
        for neighbours in changed:
            if pairs[neighbours] > 0:
                heapq.heappush(heap, (-pairs[neighbours], neighbours))
    return merges


class BPETokenizer:
    """Bytes, and longer runs of bytes that often stand together: nothing is unknown, and common words are one token.

    merges {pair: token} from `train_bpe`. Sennrich et al. 2016; on bytes: Radford et al. 2019. A production tokenizer
    gives the same ids faster: it merges with a queue in compiled code, on all cores, and knows special tokens.
    Raises CourseError for merges of tokens that are not there yet.
    """

    def __init__(self, merges: dict):
        self.merges, self.names = dict(merges), [bytes([i]) for i in range(256)]
        for (left, right), token in self.merges.items():
            n = len(self.names)
            if not (0 <= left < n and 0 <= right < n and 0 <= token <= n):
                raise CourseError(f"merge {left} + {right} = {token} was given when there were {n} tokens")
            if token == n:
                self.names.append(self.names[left] + self.names[right])
        self.vocab_size = len(self.names)
        self._begins = np.array([sum(byte & 0xC0 != 0x80 for byte in name) for name in self.names])
        self._order = {pair: place for place, pair in enumerate(self.merges)}
        self._encode_word = functools.lru_cache(maxsize=1 << 17)(
            lambda word: encode_word(word.encode("utf-8"), self.merges, self._order)
        )

    def encode(self, text: str) -> np.ndarray:
        """(N,) int32. Raises CourseError for half of a surrogate pair, which is not Unicode text."""
        try:
            words = map(self._encode_word, WORD.findall(text))
            return np.fromiter(itertools.chain.from_iterable(words), dtype=np.int32)
        except UnicodeEncodeError:
            ByteTokenizer().encode(text)  # says where it stands
            raise

    def decode(self, tokens) -> str:
        """The text; bytes that are not UTF-8, which a model may well write, become '�'."""
        return b"".join(self.names[i] for i in _check_ids(tokens, self.vocab_size)).decode("utf-8", errors="replace")

    def count_characters(self, tokens) -> int:
        return int(self._begins[np.asarray(tokens)].sum())

    def to_dict(self) -> dict:
        return {"kind": "bpe", "merges": [[*pair, token] for pair, token in self.merges.items()]}


def text_of(words) -> str:
    """The text that English words and signs make: no blank before a closing sign or after an opening quotation mark."""
    return re.sub(r" ([.,:?”])", r"\1", " ".join(words)).replace("“ ", "“")


class WordTokenizer:
    """Every word of a closed vocabulary is a token, as in the story world; no other text has ids.

    Where several words fit, the longest is taken. `blanks` says whether words are written apart (English) or not
    (Chinese). Raises CourseError for a vocabulary with a repeated or empty word.
    """

    def __init__(self, vocabulary, blanks: bool = True):
        self.vocabulary, self.blanks = tuple(vocabulary), blanks
        self._ids = {word: i for i, word in enumerate(self.vocabulary)}
        if len(self._ids) < len(self.vocabulary) or not all(self.vocabulary) or not self.vocabulary:
            raise CourseError("a vocabulary of different words was wanted: leave out repeated and empty ones")
        self.vocab_size = len(self.vocabulary)
        longest_first = sorted(self.vocabulary, key=len, reverse=True)
        ends = [re.escape(word) + (r"(?![A-Za-z])" if word[-1].isascii() and word[-1].isalpha() else "")
                for word in longest_first]  # fmt: skip
        self._word = re.compile(r"\s*(" + "|".join(ends) + ")")

    def encode(self, text: str) -> np.ndarray:
        """(N,) int32, one id a word. Raises CourseError that names the first thing that is no word of it."""
        ids, position, text = [], 0, text.rstrip()
        while position < len(text):
            found = self._word.match(text, position)
            if found is None:
                stranger = text[position:].split()[0][:20]
                raise CourseError(
                    f"{stranger!r} at position {text.index(stranger, position)} is not among the {self.vocab_size} "
                    "words that this tokenizer knows: use bytes or bpe for a text of your own"
                )
            ids.append(self._ids[found[1]])
            position = found.end()
        return np.array(ids, dtype=np.int32)

    def decode(self, tokens) -> str:
        words = [self.vocabulary[i] for i in _check_ids(tokens, self.vocab_size)]
        return text_of(words) if self.blanks else "".join(words)

    def count_characters(self, tokens) -> int:
        return len(self.decode(tokens))

    def to_dict(self) -> dict:
        return {"kind": "words", "vocabulary": list(self.vocabulary), "blanks": self.blanks}


LONGEST_GROUP = 8  # tokens; more of them in a row that share characters are labelled one by one


def token_labels(tokenizer, tokens) -> list[str]:
    """What to call each of some ids in a picture: its text, or that of the tokens that make up characters with it.

    So the three bytes of 我 are "我 1/3", "我 2/3", "我 3/3". Bytes that are no text at all are "\ufffd".
    """
    labels, start = [], 0
    while start < len(tokens):
        ends = range(start + 1, min(start + LONGEST_GROUP, len(tokens)) + 1)
        texts = {end: tokenizer.decode(tokens[start:end]) for end in ends}
        end = next((end for end in ends if "\ufffd" not in texts[end]), start + 1)
        size = end - start
        labels += [texts[end] + (f" {part}/{size}" if size > 1 else "") for part in range(1, size + 1)]
        start = end
    return labels


TOKENIZERS = ("characters", "bytes", "bpe")
BPE_SIZE = 1024  # tokens that `--tokenizer bpe` learns from its text


def tokenizer_for(kind: str, text: str):
    """The tokenizer of that kind for a text. Raises CourseError for an unknown kind."""
    if kind == "bpe":
        return BPETokenizer(train_bpe(text, BPE_SIZE))
    return tokenizer_from_dict({"kind": kind, "alphabet": text})


def tokenizer_from_dict(values: dict):
    """The tokenizer that `to_dict` described. Raises CourseError for a description of no known kind."""
    kind = values.get("kind") if isinstance(values, dict) else values
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "characters" and isinstance(values.get("alphabet"), str):
        return CharacterTokenizer(values["alphabet"])
    if kind == "bpe" and isinstance(values.get("merges"), list):
        return BPETokenizer({(left, right): token for left, right, token in values["merges"]})
    if kind == "words" and isinstance(values.get("vocabulary"), list):
        return WordTokenizer(values["vocabulary"], bool(values.get("blanks", True)))
    raise CourseError(f"tokenizer {kind!r} is not known: choose one of {', '.join(TOKENIZERS)}")
