"""What a run reads: the Python manual, a file, a folder, or a public text by name. `open_text` is the one way in."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.batches import split_tokens
from bigmodel_lib.text.cache import tokenised
from bigmodel_lib.text.reader import Path, Progress, text_blocks, text_size
from bigmodel_lib.text.tokenizers import Tokenizer, tokenizer_class

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


# One way in


@dataclasses.dataclass(frozen=True)
class Source:
    """A text that is split and in tokens: its name for a later run, and the fingerprint to know it again."""

    train: np.ndarray  # (N,) integers
    validation: np.ndarray  # (N',) integers
    tokenizer: Tokenizer
    name: str | None  # None: the Python manual
    fingerprint: str


def open_text(
    text: Path | None,
    kind: str,
    context_length: int,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
) -> Source:
    """A text in tokens of a kind: a file, a folder, a public text by its name, or (None) the Python manual.

    A run that goes on gives the `tokenizer` that it began with. A long text is read from the cache on disk.
    Raises CourseError for a text that is not there, not UTF-8, or too short for one window.
    """
    path = _located(text, progress)
    if _is_long(path):
        stored = tokenised(path, kind, progress=progress)
        tokens, tokenizer, mark = stored.tokens, stored.tokenizer, stored.fingerprint
    else:
        blocks = [python_manual()] if path is None else list(text_blocks([path]))
        size = None if path is None else text_size([path])
        tokenizer = tokenizer or tokenizer_class(kind).train(blocks, size)
        tokens, mark = tokenizer.encode("".join(blocks)), fingerprint(blocks)
    train, validation = split_tokens(tokens, context_length)
    name = None if text is None else str(text if is_named(text) else path)
    return Source(train, validation, tokenizer, name, mark)


def prepare_text(text: Path | None, kind: str, progress: Progress | None = None) -> None:
    """Fetch a public text and fill the cache with a long one: what one of several processes does for all."""
    path = _located(text, progress)
    if _is_long(path):
        tokenised(path, kind, progress=progress)


def _located(text: Path | None, progress: Progress | None) -> pathlib.Path | None:
    if text is None:
        return None
    return named_text(str(text), progress=progress) if is_named(text) else pathlib.Path(text).resolve()


def _is_long(path: pathlib.Path | None) -> bool:
    """Whether a text goes through the cache on disk."""
    return path is not None and (path.is_dir() or (path.is_file() and path.stat().st_size > IN_MEMORY))


def fingerprint(blocks: Iterable[str]) -> str:
    """SHA-256 of the text, by which a resumed run knows it again."""
    checksum = hashlib.sha256()
    for block in blocks:
        checksum.update(block.encode("utf-8", "surrogatepass"))
    return checksum.hexdigest()


# Public texts


class NamedText(NamedTuple):
    """A public text: where it is, and how to know the right file."""

    url: str
    sha256: str
    file_name: str
    size: int  # bytes
    description: str


NAMED = {
    "shakespeare": NamedText(
        url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        file_name="tinyshakespeare.txt",
        size=1_115_394,
        description="40,000 lines of Shakespeare's plays, the input.txt of Andrej Karpathy's tinyshakespeare",
    )
}


def is_named(text: Path) -> bool:
    """Whether this is the name of a text in NAMED; a file or folder that is called so goes first."""
    return str(text) in NAMED and not pathlib.Path(text).exists()


def named_text(name: str, cache: Path | None = None, progress: Progress | None = None) -> pathlib.Path:
    """The file of a text in NAMED, fetched unless `cache` has it.

    Raises CourseError for an unknown name, and where the right file does not come (saying which one is wanted).
    """
    if name not in NAMED:
        raise CourseError(f"no text is named {name!r}: choose one of {', '.join(NAMED)}, or name a file")
    import pooch

    text, folder = NAMED[name], pathlib.Path(cache or pooch.os_cache("bigmodel"), "texts")
    bar = _FetchBar(progress, text.size) if progress else False
    pooch.get_logger().setLevel("WARNING")
    try:
        return pathlib.Path(pooch.retrieve(text.url, f"sha256:{text.sha256}", text.file_name, folder, progressbar=bar))
    except (OSError, ValueError) as error:  # ValueError: the checksum
        reason = (getattr(error, "strerror", "another file came") or "no connection, or it is not there").lower()
    raise CourseError(
        f"the text {name!r} could not be fetched ({reason}): put {text.file_name} ({text.description}; "
        f"{text.size:,} bytes, SHA-256 {text.sha256}) into the folder {folder}"
    )


class _FetchBar:
    """The progress bar that pooch wants, which tells a `Progress` function."""

    def __init__(self, progress: Progress, size: int):
        self.progress, self.size, self.done = progress, size, 0

    def update(self, n: int) -> None:
        self.done = min(self.done + n, self.size)
        self.progress(self.done, self.size, "fetching")

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        self.progress(self.size, self.size, "fetching")
