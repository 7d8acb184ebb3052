"""Tables of texts with labels, as people and spreadsheets write them, and which of their texts are copies."""

import collections
import csv
import unicodedata
from typing import NamedTuple

import numpy as np

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.reader import read_text

LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "sentiment")  # names in a header, the best first
TEXT_COLUMNS = ("text", "texts", "sentence", "review", "message", "comment", "content")
SIGNS = {"\t": "tab", ",": "comma", ";": "semicolon"}  # what may separate two columns


class Labelled(NamedTuple):
    """Texts, the number of each one's label (N,), and the labels' names, in order; what copies what, and remarks.

    groups: (N,), the same number for texts that differ in capitals, blanks and punctuation at most.
    notes: what was noticed and the user should know, a sentence each.
    """

    texts: list
    labels: np.ndarray
    names: tuple
    groups: np.ndarray
    notes: tuple


class Row(NamedTuple):
    """A row of a table: the number of its first line, its cells, and how many lines it takes."""

    number: int
    cells: list
    lines: int
    literal: bool = False  # whether its quotation marks were taken for part of the text


class Columns(NamedTuple):
    """Which columns of how many hold the label and the text."""

    label: int
    text: int
    width: int


def read_labelled(path) -> Labelled:
    """The rows of a UTF-8 file: `label<TAB>text` each, or as a header row says; commas or semicolons will do, too.

    Cells may be quoted by the rules of csv. Blank rows are passed over, so are header rows. Labels that differ in
    capitals, blanks or stored accents alone are one. Raises CourseError for a row without a label or text and for
    header rows that differ (saying which lines), for fewer than two labels, and for a label with fewer than five rows
    or two different texts, too few to split.
    """
    lines = read_text(path).split("\n")
    delimiter = _delimiter(lines)
    rows, columns, notes = _rows_and_columns(lines, delimiter, path)
    pairs = [_label_and_text(row, columns, delimiter, path) for row in rows]
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


def copies(texts) -> np.ndarray:
    """(N,): the same number for texts that differ in capitals, blanks and punctuation at most, from 0 as they come."""
    numbers: dict = {}
    return np.array([numbers.setdefault(_plain(text), len(numbers)) for text in texts])


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC")
    return kept or "".join(text.split())  # a text of punctuation alone is not the same as every other


def _about_copies(groups, numbers, names, path) -> list[str]:
    """Remarks about texts that come more than once. Raises CourseError for a label with fewer than two of its own."""
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
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


# From lines to cells


def _delimiter(lines) -> str:
    """A tab, unless the first row has none and a comma or semicolon is in most rows."""
    filled = [line for line in lines if line.strip()] or [""]
    count = {sign: sum(sign in line for line in filled) for sign in SIGNS}
    best = max((";", ","), key=count.get)
    tabs_are_rare = "\t" not in filled[0] and 2 * count["\t"] < len(filled)
    return best if tabs_are_rare and best in filled[0] and 2 * count[best] > len(filled) else "\t"


def _quoted_row(lines, at, delimiter):
    """(cells, number of lines) of the row at a line, by the rules of csv; None where a quotation mark is not closed."""
    if '"' not in lines[at]:
        return lines[at].split(delimiter), 1
    reader = csv.reader((lines[i] + "\n" for i in range(at, len(lines))), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # a text may be longer than csv allows
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(limit)


def _table(lines, delimiter, begins_a_row=lambda line: False) -> list[Row]:
    """All rows but blank ones. One whose quotation marks would swallow a line that begins a row is read literally."""
    rows, at = [], 0
    while at < len(lines):
        found = _quoted_row(lines, at, delimiter)
        if found is None or any(map(begins_a_row, lines[at + 1 : at + found[1]])):
            row = Row(at + 1, lines[at].split(delimiter), 1, literal=True)
        else:
            row = Row(at + 1, *found)
        if any(cell.strip() for cell in row.cells):
            rows.append(row)
        at += row.lines
    return rows


def _rows_and_columns(lines, delimiter, path):
    """(rows, columns, notes): the rows that hold texts, where they hold them, and what was noticed on the way."""
    rows = _table(lines, delimiter)
    headers = [row for row in rows if _named_columns(row.cells)]
    named = {_named_columns(row.cells) for row in headers}
    if len(named) > 1:
        raise CourseError(f"{path} has header rows that differ, {_line_numbers(headers)}: split it, or make them alike")
    columns = named.pop() if named else _guessed_columns(rows)
    labels = {_tidy(_fitted(row.cells, columns, delimiter)[columns.label]) for row in rows if row.lines == 1}

    def begins_a_row(line):
        cells = line.split(delimiter)
        return len(cells) >= columns.width and _tidy(_fitted(cells, columns, delimiter)[columns.label]) in labels

    rows = _table(lines, delimiter, begins_a_row)
    headers = [row for row in rows if _named_columns(row.cells)]
    literal = [row for row in rows if row.literal]
    texts = [row for row in rows if not _named_columns(row.cells)]
    return texts, columns, _about_columns(headers, literal, columns, delimiter)


def _about_columns(headers, literal, columns: Columns, delimiter: str) -> list[str]:
    """Remarks about what was recognised without being said."""
    notes = []
    if delimiter != "\t":
        notes.append(f"its columns are separated by {SIGNS[delimiter]}s")
    if headers:
        names = headers[0].cells[columns.label].strip(), headers[0].cells[columns.text].strip()
        notes.append(f"{_line_numbers(headers)}: a header; labels are in column {names[0]!r}, texts in {names[1]!r}")
    elif columns.label > columns.text:
        notes.append("labels are read from its second column, texts from its first")
    if literal:
        notes.append(f"{_line_numbers(literal)}: a quotation mark is not closed, so it is read as part of the text")
    return notes


def _line_numbers(rows) -> str:
    numbers = ", ".join(str(row.number) for row in rows[:5])
    return f"line{'s' * (len(rows) > 1)} {numbers}{' and more' * (len(rows) > 5)}"


# From cells to labels


def _named_columns(cells) -> Columns | None:
    """The columns that a header row names; None for a row that is none."""
    names = [cell.strip().lower() for cell in cells]
    label, text = (next((name for name in known if name in names), None) for known in (LABEL_COLUMNS, TEXT_COLUMNS))
    return None if label is None or text is None else Columns(names.index(label), names.index(text), len(names))


def _guessed_columns(rows) -> Columns:
    """Label, then text; the other way round where only that gives labels that come again and again."""
    usual, turned = Columns(0, 1, 2), Columns(1, 0, 2)

    def could_be_labels(place):
        counts = collections.Counter(_tidy(row.cells[place]).lower() for row in rows)
        return len(counts) > 1 and min(counts.values()) >= 5

    pairs = all(len(row.cells) > 1 for row in rows)
    return turned if pairs and could_be_labels(-1) and not could_be_labels(0) else usual


def _fitted(cells, columns: Columns, delimiter: str) -> list[str]:
    """As many cells as there are columns. What is too many belongs to a text that has the separating sign in it."""
    beyond, place = max(0, len(cells) - columns.width), columns.text
    text = (" " if delimiter == "\t" else delimiter).join(cells[place : place + beyond + 1])
    fitted = [*cells[:place], text, *cells[place + beyond + 1 :]]
    return fitted + [""] * (columns.width - len(fitted))


def _label_and_text(row: Row, columns: Columns, delimiter: str, path) -> tuple[str, str]:
    """What a row says. Raises CourseError for one without a label or a text."""
    cells = _fitted(row.cells, columns, delimiter)
    label, text = cells[columns.label].strip(), cells[columns.text].strip()
    if not label or not text:
        raise CourseError(
            f"line {row.number} of {path} is {delimiter.join(row.cells)[:40]!r}: "
            f"a label, a {SIGNS[delimiter]} and a text were wanted; mend or delete it"
        )
    return label, text


def _tidy(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).split())


def _merge_spellings(labels) -> tuple[list[str], list[str]]:
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
