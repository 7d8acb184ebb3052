"""Tables of texts with labels, as people and spreadsheets write them, and which of their texts are copies."""

import collections
import csv
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.reader import Path, read_text

LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "sentiment")  # names in a header, the best first
TEXT_COLUMNS = ("text", "texts", "sentence", "review", "message", "comment", "content")
SIGNS = {"\t": "tab", ",": "comma", ";": "semicolon"}  # what may separate two columns


class Labelled(NamedTuple):
    """Texts, the number of each one's label (N,), and the labels' names, in order; what copies what, and remarks."""

    texts: list[str]
    labels: ndarray
    names: tuple[str, ...]
    groups: ndarray  # (N,), as `copies` gives them
    notes: tuple[str, ...]  # what was noticed and the user should know, a sentence each


class Row(NamedTuple):
    """A row of a table: the number of its first line, its cells, and how many lines it takes."""

    number: int
    cells: list[str]
    lines: int = 1
    literal: bool = False  # whether its quotation marks were taken for part of the text


class Columns(NamedTuple):
    """Which columns of how many hold the label and the text, and the sign between two of them."""

    label: int
    text: int
    width: int
    delimiter: str

    def label_and_text(self, cells: list[str]) -> tuple[str, str]:
        """What a row says, "" for what it lacks. Cells beyond the width belong to a text with the sign in it."""
        end = self.text + max(0, len(cells) - self.width) + 1
        text = (" " if self.delimiter == "\t" else self.delimiter).join(cells[self.text : end])
        fitted = [*cells[: self.text], text, *cells[end:], *[""] * self.width]
        return fitted[self.label].strip(), fitted[self.text].strip()


def read_labelled(path: Path) -> Labelled:
    """The rows of a UTF-8 file: `label<TAB>text` each, or as a header row says; commas or semicolons will do, too.

    Cells may be quoted by the rules of csv. Blank rows are passed over, so are header rows. Labels that differ in
    capitals, blanks or stored accents alone are one. Raises CourseError for a row without a label or text and for
    header rows that differ (saying which lines), for fewer than two labels, and for a label with fewer than five rows
    or two different texts, too few to split.
    """
    pairs, notes = _labels_and_texts(read_text(path).split("\n"), path)
    labels, spelled = _merge_spellings([label for label, _ in pairs])
    texts = [text for _, text in pairs]
    names, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise CourseError(f"{path} has {len(names)} label: at least two different ones were wanted")
    rare = [f"{str(name)!r} ({count})" for name, count in zip(names, counts, strict=True) if count < 5]
    if rare:
        raise CourseError(f"{path} has labels with fewer than 5 rows, {', '.join(rare[:5])}: add rows, or join labels")
    groups = copies(texts)
    copied = _about_copies(groups, numbers, names, path)
    return Labelled(texts, numbers, tuple(map(str, names)), groups, (*notes, *spelled, *copied))


def copies(texts: Iterable[str]) -> ndarray:
    """(N,): the same number for texts that differ in capitals, blanks and punctuation at most, from 0 as they come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(_plain(text), len(numbers)) for text in texts])


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC")
    return kept or "".join(text.split())  # a text of punctuation alone is not the same as every other


def _about_copies(groups: ndarray, numbers: ndarray, names: ndarray, path: Path) -> list[str]:
    """Remarks about texts that come more than once. Raises CourseError for a label with fewer than two of its own."""
    _, first = np.unique(groups, return_index=True)
    different = np.bincount(numbers[first], minlength=len(names))
    if different.min() < 2:
        raise CourseError(
            f"{path} has fewer than 2 different texts for the label {str(names[different.argmin()])!r}, the others are "
            "copies: add texts, or join labels"
        )
    notes = []
    if repeated := len(groups) - len(first):
        notes.append(
            f"{repeated:,} of {len(groups):,} texts repeat another one, but for capitals, blanks and punctuation: "
            "copies are held out together or not at all"
        )
    pairs = len({*zip(groups.tolist(), numbers.tolist(), strict=True)})
    if pairs > len(first):
        notes.append(f"copies that have another label than the first of them: {pairs - len(first):,}")
    return notes


# From lines to rows


def _delimiter(lines: list[str]) -> str:
    """A tab, unless the first row has none and a comma or semicolon is in most rows."""
    filled = [line for line in lines if line.strip()] or [""]
    count = {sign: sum(sign in line for line in filled) for sign in SIGNS}
    best = max((";", ","), key=count.get)
    tabs_are_rare = "\t" not in filled[0] and 2 * count["\t"] < len(filled)
    return best if tabs_are_rare and best in filled[0] and 2 * count[best] > len(filled) else "\t"


def _rows(lines: list[str], delimiter: str, begins_a_row: Callable[[str], bool] = lambda line: False) -> Iterator[Row]:
    """Yield all rows but blank ones. One whose quotation marks would swallow a line that begins a row stays literal."""
    at = 0
    while at < len(lines):
        row = Row(at + 1, lines[at].split(delimiter))
        if '"' in lines[at]:
            later = (lines[i] for i in range(at + 1, len(lines)))
            own = itertools.takewhile(lambda line: not begins_a_row(line), later)
            row = _quoted_row(itertools.chain([lines[at]], own), delimiter, row)
        if any(cell.strip() for cell in row.cells):
            yield row
        at += row.lines


def _quoted_row(lines: Iterable[str], delimiter: str, literal: Row) -> Row:
    """The row that begins with the first of these lines, by the rules of csv; literal if a mark is not closed."""
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # a text may be longer than csv allows
    try:
        return literal._replace(cells=next(reader), lines=reader.line_num)
    except csv.Error:
        return literal._replace(literal=True)
    finally:
        csv.field_size_limit(limit)


def _labels_and_texts(lines: list[str], path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """(label, text) of every row that is no header, and remarks about what was recognised without being said."""
    delimiter = _delimiter(lines)
    rows = list(_rows(lines, delimiter))
    columns = _columns(rows, delimiter, path)
    labels = {_tidy(columns.label_and_text(row.cells)[0]) for row in rows if row.lines == 1}

    def begins_a_row(line: str) -> bool:
        cells = line.split(delimiter)
        return len(cells) >= columns.width and _tidy(columns.label_and_text(cells)[0]) in labels

    rows = list(_rows(lines, delimiter, begins_a_row))
    headers = [row for row in rows if _named_columns(row.cells, delimiter)]
    pairs = [_label_and_text(row, columns, path) for row in rows if not _named_columns(row.cells, delimiter)]
    notes = []
    if delimiter != "\t":
        notes.append(f"its columns are separated by {SIGNS[delimiter]}s")
    if headers:
        label, text = columns.label_and_text(headers[0].cells)
        notes.append(f"{_line_numbers(headers)}: a header; labels are in column {label!r}, texts in {text!r}")
    elif columns.label > columns.text:
        notes.append("labels are read from its second column, texts from its first")
    if literal := [row for row in rows if row.literal]:
        notes.append(f"{_line_numbers(literal)}: a quotation mark is not closed, so it is read as part of the text")
    return pairs, notes


def _line_numbers(rows: Sequence[Row]) -> str:
    numbers = ", ".join(str(row.number) for row in rows[:5])
    return f"line{'s' * (len(rows) > 1)} {numbers}{' and more' * (len(rows) > 5)}"


# From rows to labels


def _columns(rows: list[Row], delimiter: str, path: Path) -> Columns:
    """The columns that header rows name, or those that look like it. Raises CourseError for headers that differ."""
    headers = [row for row in rows if _named_columns(row.cells, delimiter)]
    named = {_named_columns(row.cells, delimiter) for row in headers}
    if len(named) > 1:
        raise CourseError(f"{path} has header rows that differ, {_line_numbers(headers)}: split it, or make them alike")
    return named.pop() if named else _guessed_columns(rows, delimiter)


def _named_columns(cells: list[str], delimiter: str) -> Columns | None:
    """The columns that a header row names; None for a row that is none."""
    names = [cell.strip().lower() for cell in cells]
    label, text = (next((name for name in known if name in names), None) for known in (LABEL_COLUMNS, TEXT_COLUMNS))
    if label is None or text is None:
        return None
    return Columns(names.index(label), names.index(text), len(names), delimiter)


def _guessed_columns(rows: list[Row], delimiter: str) -> Columns:
    """Label, then text; the other way round where only that gives labels that come again and again."""

    def could_be_labels(place: int) -> bool:
        counts = collections.Counter(_tidy(row.cells[place]).lower() for row in rows)
        return len(counts) > 1 and min(counts.values()) >= 5

    pairs = all(len(row.cells) > 1 for row in rows)
    turned = pairs and could_be_labels(-1) and not could_be_labels(0)
    return Columns(1, 0, 2, delimiter) if turned else Columns(0, 1, 2, delimiter)


def _label_and_text(row: Row, columns: Columns, path: Path) -> tuple[str, str]:
    """What a row says. Raises CourseError for one without a label or a text."""
    label, text = columns.label_and_text(row.cells)
    if not label or not text:
        raise CourseError(
            f"line {row.number} of {path} is {columns.delimiter.join(row.cells)[:40]!r}: "
            f"a label, a {SIGNS[columns.delimiter]} and a text were wanted; mend or delete it"
        )
    return label, text


def _tidy(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).split())


def _merge_spellings(labels: list[str]) -> tuple[list[str], list[str]]:
    """(labels, notes): those that differ in capitals, blanks or stored accents alone get their most frequent form."""
    spellings = collections.defaultdict(collections.Counter)
    for label in labels:
        spellings[_tidy(label).lower()][label] += 1
    chosen = {key: _tidy(found.most_common(1)[0][0]) for key, found in spellings.items()}
    notes = []
    for key, found in spellings.items():
        forms = ", ".join(f"{ascii(label)} ({n})" for label, n in found.most_common())
        if len(found) > 1:
            notes.append(f"{forms} differ in capitals, blanks or stored accents alone: read as one, {chosen[key]!r}")
    return [chosen[_tidy(label).lower()] for label in labels], notes
