"""What a run reads: the manual, a file, a folder, text larger than memory, or a public text by name."""

import dataclasses
import hashlib
import pathlib
import sys

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text import batches, cache
from bigmodel_lib.text.tokenizers import tokenizer_for
from bigmodel_lib.training.distributed import Processes

IN_MEMORY = 32 * 1024 * 1024  # bytes; a larger file, or a folder, is tokenised once into a cache on disk


def data_path(name: str) -> pathlib.Path:
    """The path of a file or folder in `data/`. Raises CourseError where the course's folder is not at hand."""
    path = pathlib.Path(__file__).resolve().parents[2] / "data" / name
    if not path.exists():
        raise CourseError(
            f"data/{name} was wanted at {path} and is not there: clone the whole course and run `make lab`"
        )
    return path


def python_manual() -> str:
    """The language part of Python's manual, as the standard library carries it: English technical prose.

    Its text differs a little between versions of Python, so no exact number about it holds everywhere.
    Raises CourseError where a slimmed-down Python has left it out.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CourseError(
            "the Python manual (module pydoc_data) was wanted and this Python lacks it: "
            "install a complete Python, or name a text of your own with --text"
        ) from None
    return "\n\n".join(topics[name] for name in sorted(topics))


def read_text(path) -> str:
    """The text of a UTF-8 file without a byte-order mark; however its lines end, here they end in "\\n".

    Raises CourseError for a file that is missing, unreadable, empty, or not UTF-8 (saying where).
    """
    path = pathlib.Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise CourseError(f"the text file {path} does not exist: check its name and folder") from None
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise CourseError(f"the text file {path} cannot be read ({reason}): name a file that can") from None
    if not raw.removeprefix(b"\xef\xbb\xbf"):
        raise CourseError(f"the text file {path} is empty: name a file with text in it")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CourseError(
            f"the text file {path} is not UTF-8: byte {error.start} (line {line}) is 0x{raw[error.start]:02x}; "
            f"save it as UTF-8 in your editor, or convert it with iconv"
        ) from None


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
        return _in_memory(python_manual(), None, kind, context_length, tokenizer)
    if cache.is_named(str(text)):
        if processes.first:
            cache.named_text(str(text))
        processes.wait()
        path = cache.named_text(str(text))
    else:
        path = pathlib.Path(text).resolve()
    if not path.is_dir() and not (path.is_file() and path.stat().st_size > IN_MEMORY):
        name = str(text) if cache.is_named(str(text)) else str(path)
        return _in_memory(read_text(path), name, kind, context_length, tokenizer)
    if processes.first:
        cache.tokenised(path, kind, progress=_progress())
    processes.wait()  # the others find it made
    stored = cache.tokenised(path, kind)
    train, validation = batches.split_tokens(stored.tokens, context_length)
    return Source(train, validation, stored.tokenizer, str(path), stored.fingerprint)


def _in_memory(text: str, name, kind: str, context_length: int, tokenizer) -> Source:
    tokenizer = tokenizer or tokenizer_for(kind, text)
    train, validation = batches.split_tokens(tokenizer.encode(text), context_length)
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
