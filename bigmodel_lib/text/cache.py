"""The tokens of a long text: encoded once, cached by content, and opened without being loaded."""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.reader import Path, Progress, content_hash, text_blocks, text_files, text_size
from bigmodel_lib.text.tokenizers import Tokenizer, pieces, tokenizer_class, tokenizer_from_dict

FORMAT = 2  # of a cache entry: one more whenever a tokenizer learns or gives other tokens, so that old entries rest


@dataclasses.dataclass(frozen=True, eq=False)
class TokenisedText:
    """The tokens of a text, which stay on disk and are read only where they are asked for."""

    tokens: np.memmap  # (N,) uint8, uint16 or uint32, read-only
    tokenizer: Tokenizer  # what gave them
    fingerprint: str  # `content_hash` of the text's files
    characters: int  # in the text


def tokenised(source: Path, kind: str, cache: Path | None = None, progress: Progress | None = None) -> TokenisedText:
    """The tokens of a file or folder, as `encode` gives them for the whole text; encoded once, only opened later.

    `cache` names another folder for them; `progress` is called with (done bytes, total bytes, what) after every block.
    Raises CourseError for an unknown kind, a text that cannot be read, a cache folder that cannot be written.
    """
    import pooch

    tokenizer_class(kind)  # refuses an unknown kind at once
    files = text_files(source)
    fingerprint = content_hash(files, progress)
    folder = pathlib.Path(cache or pooch.os_cache("bigmodel"))
    entry = folder / f"{fingerprint[:16]}-{kind}-{FORMAT}.tokens"
    found, reason = _read_entry(entry, fingerprint), "it does not keep what is written"
    if found is None:
        try:
            _write_entry(entry, files, kind, fingerprint, progress)
        except OSError as error:  # on Windows also where another process made the same entry meanwhile and reads it
            reason = (error.strerror or "unknown").lower()
        found = _read_entry(entry, fingerprint)
    if found is None:
        raise CourseError(f"the cache folder {folder} cannot be used ({reason}): make room, or name another folder")
    return found


def _write_entry(
    entry: pathlib.Path, files: Sequence[Path], kind: str, fingerprint: str, progress: Progress | None
) -> None:
    """Encode a text into the two files of a cache entry, which appear when both are on disk, the note last."""
    tokenizer = tokenizer_class(kind).train(text_blocks(files, progress, "learning tokens"), text_size(files))
    dtype, characters = np.min_scalar_type(tokenizer.vocab_size - 1), 0
    blocks = text_blocks(files, progress, "encoding")
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".") as passing:
        with open(f"{passing}/tokens", "wb") as tokens_file, open(f"{passing}/note", "w") as note_file:
            for text in pieces(tokenizer, blocks):
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
