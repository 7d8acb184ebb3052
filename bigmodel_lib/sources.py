"""What a run reads: the manual, a file, a folder, text larger than memory, or a public text by name."""

import dataclasses
import hashlib
import pathlib
import sys

import numpy as np

from bigmodel_lib import corpora, text_store
from bigmodel_lib.processes import Processes
from bigmodel_lib.tokenizers import tokenizer_for

IN_MEMORY = 32 * 1024 * 1024  # bytes; a larger file, or a folder, is tokenised once into a cache on disk


@dataclasses.dataclass(frozen=True)
class Source:
    """A text that is split and in tokens: its name for a later run, and the fingerprint to know it again."""

    train: np.ndarray
    validation: np.ndarray
    tokenizer: object
    name: str | None
    fingerprint: str


def fingerprint(text: str) -> str:
    """SHA-256 of the text, by which a resumed run knows it again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_source(text, kind: str, context_length: int, processes: Processes, tokenizer=None) -> Source:
    """The text that --text names, in tokens of a kind. A run that goes on gives the tokenizer that it began with.

    Raises CourseError for a text that is not there, not UTF-8, or too short for one window.
    """
    if text is None:
        return _in_memory(corpora.python_manual(), None, kind, context_length, tokenizer)
    if text_store.is_named(str(text)):
        if processes.first:
            text_store.named_text(str(text))
        processes.wait()
        path = text_store.named_text(str(text))
    else:
        path = pathlib.Path(text).resolve()
    if not path.is_dir() and not (path.is_file() and path.stat().st_size > IN_MEMORY):
        name = str(text) if text_store.is_named(str(text)) else str(path)
        return _in_memory(corpora.read_text(path), name, kind, context_length, tokenizer)
    if processes.first:
        text_store.tokenised(path, kind, progress=_progress())
    processes.wait()  # the others find it made
    stored = text_store.tokenised(path, kind)
    train, validation = corpora.split_tokens(stored.tokens, context_length)
    return Source(train, validation, stored.tokenizer, str(path), stored.fingerprint)


def _in_memory(text: str, name, kind: str, context_length: int, tokenizer) -> Source:
    tokenizer = tokenizer or tokenizer_for(kind, text)
    train, validation = corpora.split_tokens(tokenizer.encode(text), context_length)
    return Source(train, validation, tokenizer, name, fingerprint(text))


def _progress():
    """A function (done, total, what) that draws a bar on the terminal."""
    from tqdm import tqdm

    bars: dict = {}

    def show(done: int, total: int, what: str) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit="B", unit_scale=True, file=sys.stderr)
        bars[what].update(done - bars[what].n)
        if done >= total:
            bars[what].close()

    return show
