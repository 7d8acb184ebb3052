"""Texts of any size, read block by block; their tokens are cached by content and opened without being loaded."""

import codecs
import collections
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import re
import sys
import tempfile

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.tokenizers import TOKENIZERS, WORD, tokenizer_for, tokenizer_from_dict

FORMAT = 2  # of a cache entry: one more whenever a tokenizer learns or gives other tokens, so that old entries rest
BLOCK = 1 << 20  # bytes that are read and encoded at once
SAMPLE = 4_000_000  # bytes, at most, from which byte-pair merges are learned: of a longer text, pieces all over it


def _refuse(error: OSError, path=None):
    what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})".lower()
    raise CourseError(f"the text file {error.filename or path} {what}: check its name, or name another") from None


def text_files(source) -> list[pathlib.Path]:
    """One file, or all *.txt below a folder but hidden ones, sorted. Raises CourseError for what cannot be read."""
    source, found = pathlib.Path(source), [] if os.path.isdir(source) else [""]
    for folder, folders, names in os.walk(source, onerror=_refuse) if not found else ():
        folders[:] = [name for name in folders if not name.startswith(".")]
        texts = [name for name in names if name.endswith(".txt") and not name.startswith(".")]
        found += [pathlib.Path(folder, name).relative_to(source).as_posix() for name in texts]
    if not found:
        raise CourseError(f"the folder {source} has no *.txt in it: name a folder of texts, or one file")
    for path in (files := [source / name for name in sorted(found)]):
        if os.path.exists(path) and not os.path.isfile(path):
            raise CourseError(f"{path} is no ordinary file and cannot be read twice: save its text as a file first")
        next(_blocks([path], None, ""))  # says so if it cannot be read
    return files


def _blocks(files, progress, what: str):
    """Yield (file, its next block of bytes); an empty block ends each file."""
    path, done = files[0], 0
    try:
        total = sum(map(os.path.getsize, files))
        for path in files:
            with open(path, "rb") as file:
                while block := file.read(BLOCK):
                    yield path, block
                    done += len(block)
                    if progress:
                        progress(done, total, what)
            yield path, b""
    except OSError as error:
        _refuse(error, path)


def content_hash(files, progress=None) -> str:
    """SHA-256 of each file's bytes and their number; names do not count. Raises CourseError for an unreadable file."""
    checksum, size = hashlib.sha256(), 0
    for _, block in _blocks(files, progress, "checking"):
        checksum.update(block or size.to_bytes(8, "little"))
        size = size + len(block) if block else 0
    return checksum.hexdigest()


def text_blocks(files, progress=None, what: str = "reading"):
    """Yield the text of all files, two line ends between them. Raises CourseError where it is not UTF-8, or empty.

    As in `corpora.read_text`, byte-order marks are left out, and lines end in "\\n" however they end in a file.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    before, between, fed, line = "", "", 0, 1
    for path, block in _blocks(files, progress, what):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            both, at = error.object, error.start  # what was left of the last block, and this one
            position, line = fed + len(block) - len(both) + at, line + both.count(b"\n", 0, at)
            raise CourseError(
                f"the text file {path} is not UTF-8: byte {position} (line {line}) is 0x{both[at]:02x}; "
                f"save it as UTF-8 in your editor, or convert it with iconv"
            ) from None
        fed, line = fed + len(block), line + block.count(b"\n")
        if text:
            yield before + text
            before, between = "", "\n\n"
        if not block:
            decoder.reset()
            before, fed, line = between, 0, 1
    if not between:
        raise CourseError(f"the text file {', '.join(map(str, files[:3]))} is empty: name a file with text in it")


def whole_words(blocks):
    """Yield the same text, cut only where `WORD` cuts it too: encoded piece by piece it gives the same tokens."""
    rest = ""
    for text in blocks:
        rest += text
        edge = re.compile(r"\S(?=\s)").search(rest, max(0, len(rest) - 4096))  # no word goes on from a sign to a blank
        settled = len(rest) - 130  # a word asks for 130 characters at most: a blank, 128 more, and the one after them
        starts = [edge.end()] if edge else (word.start() for word in WORD.finditer(rest) if word.start() <= settled)
        # blanks are split by what follows: a cut from a blank to a sign would hide it
        cut = max((i for i in starts if rest[i].isspace() or not rest[i - 1 : i].isspace()), default=0)
        yield rest[:cut]
        rest = rest[cut:]
    yield rest


def _tokenizer_of(kind: str, files, progress):
    blocks = text_blocks(files, progress, "learning tokens")
    if kind == "characters":
        return tokenizer_for(kind, "".join(functools.reduce(set.union, map(set, blocks))))
    sample, owed, share = bytearray(), 0.0, min(1.0, SAMPLE / (sum(map(os.path.getsize, files)) + 2 * len(files)))
    for content in map(str.encode, blocks if kind == "bpe" else ()):
        owed += share * len(content)
        if share == 1 or owed >= SAMPLE // 64:
            sample += content[: int(owed)]
            owed -= min(int(owed), len(content))
    return tokenizer_for(kind, sample.decode("utf-8", errors="ignore"))  # without a character that a piece cuts in two


@dataclasses.dataclass(frozen=True, eq=False)
class TokenisedText:
    """The tokens of a text, which stay on disk and are read only where they are asked for."""

    tokens: np.memmap  # (N,) uint8, uint16 or uint32, read-only
    tokenizer: object  # what gave them
    fingerprint: str  # `content_hash` of the text's files
    characters: int  # in the text


def _write_entry(entry: pathlib.Path, files, kind: str, fingerprint: str, progress) -> None:
    """Encode a text into the two files of a cache entry, which appear when both are on disk, the note last."""
    tokenizer = _tokenizer_of(kind, files, progress)
    dtype, characters = np.min_scalar_type(tokenizer.vocab_size - 1), 0
    blocks = text_blocks(files, progress, "encoding")
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".") as passing:
        with open(f"{passing}/tokens", "wb") as tokens_file, open(f"{passing}/note", "w") as note_file:
            for text in whole_words(blocks) if kind == "bpe" else blocks:
                tokens_file.write(tokenizer.encode(text).astype(dtype).tobytes())
                characters += len(text)
            note = dict(fingerprint=fingerprint, dtype=dtype.name, count=tokens_file.tell() // dtype.itemsize)
            json.dump({**note, "characters": characters, "tokenizer": tokenizer.to_dict()}, note_file)
            for file in (tokens_file, note_file):
                file.flush()
                os.fsync(file.fileno())
        try:
            os.replace(f"{passing}/tokens", entry)
            os.replace(f"{passing}/note", entry.with_suffix(".json"))
        except OSError:
            entry.unlink(missing_ok=True)
            raise


def _read_entry(entry: pathlib.Path, fingerprint: str) -> TokenisedText | None:
    """What a cache entry holds; None where it is missing, unfinished, damaged or of another text."""
    try:
        note = json.loads(entry.with_suffix(".json").read_text(encoding="utf-8"))
        tokenizer = tokenizer_from_dict(note["tokenizer"])
        tokens = np.memmap(entry, dtype=np.min_scalar_type(tokenizer.vocab_size - 1), mode="r")
        same = (note["fingerprint"], note["dtype"], note["count"]) == (fingerprint, tokens.dtype.name, len(tokens))
        return TokenisedText(tokens, tokenizer, fingerprint, note["characters"]) if same else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def tokenised(source, kind: str, cache=None, progress=None) -> TokenisedText:
    """The tokens of a file or folder, as `encode` gives them for the whole text; encoded once, only opened later.

    `cache` names another folder for them; `progress` is called with (done bytes, total bytes, what) after every block.
    Raises CourseError for an unknown kind, a text that cannot be read, a cache folder that cannot be written.
    """
    if kind not in TOKENIZERS:
        raise CourseError(f"tokenizer {kind!r} is not known: choose one of {', '.join(TOKENIZERS)}")
    import pooch

    fingerprint = content_hash(files := text_files(source), progress)
    folder, reason = pathlib.Path(cache or pooch.os_cache("bigmodel")), "it does not keep what is written"
    entry = folder / f"{fingerprint[:16]}-{kind}-{FORMAT}.tokens"
    if (found := _read_entry(entry, fingerprint)) is None:
        try:
            _write_entry(entry, files, kind, fingerprint, progress)
        except OSError as error:  # on Windows also where another process made the same entry meanwhile and reads it
            reason = (error.strerror or "unknown").lower()
        found = _read_entry(entry, fingerprint)
    if found is None:
        raise CourseError(f"the cache folder {folder} cannot be used ({reason}): make room, or name another folder")
    return found


NamedText = collections.namedtuple("NamedText", "url sha256 file_name size description")
SHAKESPEARE = NamedText(
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    file_name="tinyshakespeare.txt",
    size=1_115_394,
    description="40,000 lines of Shakespeare's plays, the input.txt of Andrej Karpathy's tinyshakespeare",
)
NAMED = {"shakespeare": SHAKESPEARE}


def is_named(text: str) -> bool:
    """Whether this is the name of a text in NAMED; a file or folder that is called so goes first."""
    return text in NAMED and not os.path.exists(text)


def named_text(name: str, cache=None, urls=None) -> pathlib.Path:
    """The file of a text in NAMED, fetched unless `cache` has it; `urls` {name: address} is another place for it.

    Raises CourseError for an unknown name, and where the right file does not come (saying which one is wanted).
    """
    if name not in NAMED:
        raise CourseError(f"no text is named {name!r}: choose one of {', '.join(NAMED)}, or name a file")
    import pooch

    text, folder = NAMED[name], pathlib.Path(cache or pooch.os_cache("bigmodel"), "texts")
    pooch.get_logger().setLevel("WARNING")
    try:
        url, bar = (urls or {}).get(name, text.url), sys.stderr.isatty()
        return pathlib.Path(pooch.retrieve(url, f"sha256:{text.sha256}", text.file_name, folder, progressbar=bar))
    except (OSError, ValueError) as error:  # ValueError: the checksum
        reason = (getattr(error, "strerror", "another file came") or "no connection, or it is not there").lower()
    raise CourseError(
        f"the text {name!r} could not be fetched ({reason}): put {text.file_name} ({text.description}; "
        f"{text.size:,} bytes, SHA-256 {text.sha256}) into the folder {folder}"
    )
