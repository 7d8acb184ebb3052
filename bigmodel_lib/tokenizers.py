"""Text to token ids and back. Every tokenizer has the same five members:

vocab_size                  how many ids there are
encode(text) -> (N,) int32  the ids of a text
decode(tokens) -> str       the text of ids
count_characters(tokens)    how many characters begin in these tokens
to_dict()                   what `tokenizer_from_dict` needs to rebuild it
"""

import unicodedata

import numpy as np

from bigmodel_lib.config import CourseError


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


TOKENIZERS = ("characters", "bytes")


def tokenizer_for(kind: str, text: str):
    """The tokenizer of that kind for a text. Raises CourseError for an unknown kind."""
    return tokenizer_from_dict({"kind": kind, "alphabet": text})


def tokenizer_from_dict(values: dict):
    """The tokenizer that `to_dict` described. Raises CourseError for a description of no known kind."""
    kind = values.get("kind") if isinstance(values, dict) else values
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "characters" and isinstance(values.get("alphabet"), str):
        return CharacterTokenizer(values["alphabet"])
    raise CourseError(f"tokenizer {kind!r} is not known: choose one of {', '.join(TOKENIZERS)}")
