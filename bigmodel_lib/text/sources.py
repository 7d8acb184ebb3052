"""What a run reads: the Python manual, a file, a folder, or a public text by name. `open_text` is the one way in.

Files are read block by block: UTF-8, with or without a byte-order mark, however their lines end.
"""

import hashlib
import io
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.tokenizers import Tokenizer, pieces, tokenizer_class, tokenizer_from_dict, trained_tokenizer

BLOCK = 1 << 20  # characters that are read at once
IN_MEMORY = 32 * 1024 * 1024  # bytes; a larger file, or a folder, goes through the cache
FORMAT = 4  # of a cache entry: one more whenever a tokenizer learns or gives other tokens, so that old entries rest
Path = str | os.PathLike
Progress = Callable[[int, int, str], None] | None  # called as (bytes done, bytes in all, what is being done)


def data_path(name: str) -> pathlib.Path:
    """The path of a file or folder in `data/`. Raises CourseError where the course's folder is not at hand."""
    path = pathlib.Path(__file__).resolve().parents[2] / "data" / name
    if path.exists():
        return path
    raise CourseError(f"data/{name} was wanted at {path} and is not there: clone the whole course and run `make lab`")


def python_manual() -> str:
    """Python's language manual, a little different in each version. Raises CourseError where this Python lacks it."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        wanted = "install a complete Python, or name a text of your own with --text"
        raise CourseError(f"this Python lacks its manual (module pydoc_data): {wanted}") from None
    return "\n\n".join(topics[name] for name in sorted(topics))


def text_files(source: Path) -> list[pathlib.Path]:
    """One file, or all *.txt below a folder but hidden ones, sorted. Raises CourseError for what is no text file."""
    source, files = pathlib.Path(source), [pathlib.Path(source)]
    if source.is_dir():
        files = []
        for parent, folders, names in os.walk(source, onerror=_refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            files += [pathlib.Path(parent, name) for name in names if name.endswith(".txt") and name[0] != "."]
    if not files:
        raise CourseError(f"the folder {source} has no *.txt in it: name a folder of texts, or one file")
    for path in files:
        if path.exists() and not path.is_file():
            raise CourseError(f"{path} is no ordinary file and cannot be read twice: save its text as a file first")
    return sorted(files, key=pathlib.Path.as_posix)


def _refuse(error: OSError, path: Path | None = None) -> NoReturn:
    reason = (error.strerror or "unknown").lower()
    what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason})"
    raise CourseError(f"the text file {error.filename or path} {what}: check its name, or name another") from None


def text_size(files: Sequence[Path]) -> int:
    """How many bytes the text of these files has at most."""
    return sum(map(os.path.getsize, files)) + 2 * len(files)


def text_blocks(files: Sequence[Path], progress: Progress = None, what: str = "reading") -> Iterator[str]:
    """Yield the text of all files, with two line ends between two of them.

    Byte-order marks are left out; all lines end in "\\n". Raises CourseError for files that are no text in UTF-8.
    """
    path, done, between = files[0], 0, ""
    try:
        total = sum(map(os.path.getsize, files))
        for path in files:
            with open(path, "rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as file:
                before = between
                while block := file.read(BLOCK):
                    yield before + block
                    before, between = "", "\n\n"
                    if progress:
                        progress(done + raw.tell(), total, what)
                done += raw.tell()
    except UnicodeDecodeError:
        wanted = "save it as UTF-8, or convert it with iconv"
        raise CourseError(f"the text file {path} is not UTF-8: {_first_bad_byte(path)}; {wanted}") from None
    except OSError as error:
        _refuse(error, path)
    if not between:
        raise CourseError(f"the text file {', '.join(map(str, files[:3]))} is empty: name a file with text in it")


def _first_bad_byte(path: Path) -> str:
    """Where a file leaves UTF-8, in words."""
    before = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"byte {before + error.start} (line {number}) is 0x{line[error.start]:02x}"
            before += len(line)
    return "it changed while it was read"


def read_text(path: Path) -> str:
    """The whole text of one file, as `text_blocks` reads it."""
    return "".join(text_blocks([path]))


def fingerprint(blocks: Iterable[str]) -> str:
    """SHA-256 of a text in blocks, by which the cache and a resumed run know it again."""
    checksum = hashlib.sha256()
    for block in blocks:
        checksum.update(block.encode("utf-8", "surrogatepass"))
    return checksum.hexdigest()


class Source(NamedTuple):
    """A text in tokens, the fingerprint to know it again, and its name for a later run."""

    tokens: np.ndarray  # (N,) integers; of a large text a read-only memmap, which stays on disk
    tokenizer: Tokenizer
    fingerprint: str
    name: str | None = None  # None: the Python manual


def open_text(
    text: Path | None,
    kind: str,
    tokenizer: Tokenizer | None = None,
    vocab_size: int | None = None,
    progress: Progress = None,
) -> Source:
    """A text in tokens of a kind: a file, a folder, a public text by its name, or (None) the Python manual.

    A run that goes on gives its `tokenizer`. Raises CourseError for a text that is missing or not UTF-8.
    """
    path = None if text is None else pathlib.Path(text).resolve()
    name = None if path is None else str(path)
    if path and str(text) in NAMED and not path.exists():
        path, name = named_text(str(text)), str(text)
    if path and (path.is_dir() or (path.is_file() and path.stat().st_size > IN_MEMORY)):
        return tokenised(path, kind, progress=progress, vocab_size=vocab_size)._replace(name=name)
    blocks = [python_manual()] if path is None else list(text_blocks([path]))
    size = text_size([path] if path else [])
    tokenizer = tokenizer or trained_tokenizer(kind, blocks, size, vocab_size)
    return Source(tokenizer.encode("".join(blocks)), tokenizer, fingerprint(blocks), name)


def tokenised(
    source: Path, kind: str, cache: Path | None = None, progress: Progress = None, vocab_size: int | None = None
) -> Source:
    """The tokens of a file or folder, encoded once. Raises CourseError for what cannot be read, or kept in a cache."""
    import pooch

    tokenizer_class(kind)  # refuses an unknown kind at once
    files = text_files(source)
    mark = fingerprint(text_blocks(files, progress, "checking"))
    folder = pathlib.Path(cache or pooch.os_cache("bigmodel"))
    entry = folder / f"{mark[:16]}-{kind}{vocab_size or ''}-{FORMAT}.tokens"
    found, reason = _read_entry(entry, mark), "it does not keep what is written"
    if found is None:
        try:
            _write_entry(entry, files, kind, mark, progress, vocab_size)
        except OSError as error:  # on Windows also where another process made the same entry meanwhile and reads it
            reason = (error.strerror or "unknown").lower()
        found = _read_entry(entry, mark)
    if found is None:
        raise CourseError(f"the cache folder {folder} cannot be used ({reason}): make room, or name another folder")
    return found


def _write_entry(
    entry: pathlib.Path, files: Sequence[Path], kind: str, mark: str, progress: Progress, vocab_size: int | None
) -> None:
    """Encode a text into the two files of a cache entry, which appear when both are on disk; none counts alone."""
    blocks = text_blocks(files, progress, "learning tokens")
    tokenizer = trained_tokenizer(kind, blocks, text_size(files), vocab_size)
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".") as passing:
        with open(f"{passing}/tokens", "wb") as tokens_file, open(f"{passing}/note", "w") as note_file:
            for text in pieces(tokenizer, text_blocks(files, progress, "encoding")):
                tokens_file.write(tokenizer.encode(text).astype(dtype).tobytes())
            count = tokens_file.tell() // dtype.itemsize
            json.dump({"fingerprint": mark, "count": count, "tokenizer": tokenizer.to_dict()}, note_file)
            for file in (tokens_file, note_file):
                file.flush()
                os.fsync(file.fileno())
        os.replace(f"{passing}/tokens", entry)
        os.replace(f"{passing}/note", entry.with_suffix(".json"))


def _read_entry(entry: pathlib.Path, mark: str) -> Source | None:
    """What a cache entry holds; None where it is missing, unfinished, damaged or of another text."""
    try:
        note = json.loads(entry.with_suffix(".json").read_text(encoding="utf-8"))
        tokenizer = tokenizer_from_dict(note["tokenizer"])
        tokens = np.memmap(entry, dtype=np.min_scalar_type(tokenizer.vocab_size - 1), mode="r")
        same = (note["fingerprint"], note["count"]) == (mark, len(tokens))
    except (CourseError, OSError, ValueError, TypeError, KeyError):
        return None
    return Source(tokens, tokenizer, mark) if same else None


NAMED = {  # public texts: where each is, how to know the right file, and what it is
    "shakespeare": dict(
        url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        file_name="tinyshakespeare.txt",
        description="40,000 lines of Shakespeare, the input.txt of Andrej Karpathy's tinyshakespeare, 1,115,394 bytes",
    )
}


def named_text(name: str, cache: Path | None = None) -> pathlib.Path:
    """The file of a text in NAMED, fetched unless `cache` has it. Raises CourseError where the right one won't come."""
    import pooch

    text, folder = NAMED[name], pathlib.Path(cache or pooch.os_cache("bigmodel"), "texts")
    pooch.get_logger().setLevel("WARNING")
    try:
        return pathlib.Path(pooch.retrieve(text["url"], f"sha256:{text['sha256']}", text["file_name"], folder))
    except (OSError, ValueError) as error:  # ValueError: the checksum
        reason = (getattr(error, "strerror", "another file came") or "no connection, or it is not there").lower()
    wanted = "{file_name} ({description}; SHA-256 {sha256})".format(**text)
    raise CourseError(f"the text {name!r} could not be fetched ({reason}): put {wanted} into the folder {folder}")
