"""Text files, read block by block: UTF-8, with or without a byte-order mark, however their lines end."""

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from bigmodel_lib.errors import CourseError

BLOCK = 1 << 20  # characters that are read at once

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


def text_blocks(files: Sequence[Path], progress: Progress | None = None, what: str = "reading") -> Iterator[str]:
    """Yield the text of all files, with two line ends between two of them.

    Byte-order marks are left out; all lines end in "\\n". Raises CourseError for files that are no text in UTF-8.
    """
    path, done, between = files[0], 0, ""
    try:
        total = sum(map(os.path.getsize, files))
        for path in files:
            with open(path, encoding="utf-8-sig") as file:
                before = between
                while block := file.read(BLOCK):
                    yield before + block
                    before, between = "", "\n\n"
                    if progress:
                        progress(done + file.buffer.tell(), total, what)
                done += file.buffer.tell()
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
