"""Text files, read block by block: UTF-8, with or without a byte-order mark, however their lines end."""

import codecs
import io
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from bigmodel_lib.errors import CourseError

BLOCK = 1 << 20  # bytes that are read at once

Path = str | os.PathLike
Progress = Callable[[int, int, str], None]  # called as (bytes done, bytes in all, what is being done)


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


def _blocks(files: Sequence[Path], progress: Progress | None = None, what: str = "") -> Iterator[tuple[Path, bytes]]:
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


def text_blocks(files: Sequence[Path], progress: Progress | None = None, what: str = "reading") -> Iterator[str]:
    """Yield the text of all files, with two line ends between two of them.

    Byte-order marks are left out; all lines end in "\\n". Raises CourseError for files that are no text in UTF-8.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    before, between, fed, line = "", "", 0, 1
    for path, block in _blocks(files, progress, what):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            both, at = error.object, error.start  # what was left of the last block, and this one
            position, line = fed + len(block) - len(both) + at, line + both.count(b"\n", 0, at)
            found = f"is not UTF-8: byte {position} (line {line}) is 0x{both[at]:02x}"
            raise CourseError(f"the text file {path} {found}; save it as UTF-8, or convert it with iconv") from None
        fed += len(block)
        line += block.count(b"\n")
        if text:
            yield before + text
            before, between = "", "\n\n"
        if not block:
            decoder.reset()
            before, fed, line = between, 0, 1
    if not between:
        raise CourseError(f"the text file {', '.join(map(str, files[:3]))} is empty: name a file with text in it")


def read_text(path: Path) -> str:
    """The whole text of one file, as `text_blocks` reads it."""
    return "".join(text_blocks([path]))
