"""Tables of texts with labels, as people and spreadsheets write them, and which of their texts are copies."""

import collections
import csv
import itertools
import unicodedata
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.sources import Path, read_text

LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "sentiment")  # names in a header, the best first
TEXT_COLUMNS = ("text", "texts", "sentence", "review", "message", "comment", "content")
SIGNS = {"\t": "tab", ",": "comma", ";": "semicolon"}  # what may separate two columns


class Labelled(NamedTuple):
    """Texts, the number of each one's label, and the labels' names, in order; what copies what, and remarks."""

    texts: list[str]
    labels: ndarray  # (N,)
    names: tuple[str, ...]
    groups: ndarray  # (N,): the same number for texts that differ in capitals, blanks and punctuation at most
    notes: tuple[str, ...]  # what was noticed and the user should know, a sentence each


Row = tuple[int, list[str], bool]  # its first line, its cells, whether quotation marks were taken for part of the text


class Columns(NamedTuple):
    """Which columns of how many hold the label and the text, and the sign between two of them."""

    label: int
    text: int
    width: int
    sign: str

    def label_and_text(self, cells: list[str]) -> tuple[str, str]:
        """What a row says, "" for what it lacks. Cells beyond the width belong to a text with the sign in it."""
        end = self.text + max(0, len(cells) - self.width) + 1
        text = (" " if self.sign == "\t" else self.sign).join(cells[self.text : end])
        fitted = [*cells[: self.text], text, *cells[end:], *[""] * self.width]
        return fitted[self.label].strip(), fitted[self.text].strip()


def read_labelled(path: Path) -> Labelled:
    """The rows of a UTF-8 file: `label<TAB>text` each, or as a header row says; commas or semicolons will do, too.

    Raises CourseError for rows without a label or text, for header rows that differ, and for too few labels or texts.
    """
    pairs, notes = _labels_and_texts(read_text(path).split("\n"), path)
    merged, spelled = _merge_spellings([label for label, _ in pairs])
    notes += spelled
    names, labels, counts = np.unique(merged, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise CourseError(f"{path} has {len(names)} label: at least two different ones were wanted")
    seen: dict[str, int] = {}
    groups = np.array([seen.setdefault(_plain(text), len(seen)) for _, text in pairs])
    _, first = np.unique(groups, return_index=True)
    different = np.bincount(labels[first], minlength=len(names))
    if rare := [f"{str(names[i])!r} ({counts[i]})" for i in np.flatnonzero((counts < 5) | (different < 2))]:
        found = f"fewer than 5 rows or 2 different texts, {', '.join(rare[:5])}"
        raise CourseError(f"{path} has labels with {found}: add texts, or join labels")
    if repeated := len(groups) - len(first):
        found = f"{repeated:,} of {len(groups):,} texts repeat another one, but for capitals, blanks and punctuation"
        notes.append(f"{found}: copies are held out together or not at all")
    if torn := len({*zip(groups, labels, strict=True)}) - len(first):
        notes.append(f"copies that have another label than the first of them: {torn:,}")
    return Labelled([text for _, text in pairs], labels, tuple(map(str, names)), groups, tuple(notes))


def _plain(text: str) -> str:
    """A text without capitals, blanks and punctuation: the same for copies of it."""
    folded = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC")
    return kept or "".join(text.split())  # a text of punctuation alone is not the same as every other


def _delimiter(lines: list[str]) -> str:
    """A tab; or a comma or a semicolon, where it is in most rows and a tab is not."""
    filled = [line for line in lines if line.strip()]
    share = {sign: sum(sign in line for line in filled) / max(1, len(filled)) for sign in SIGNS}
    best = max((";", ","), key=lambda sign: share[sign])
    return best if share["\t"] <= 0.5 < share[best] else "\t"


def _rows(lines: list[str], sign: str, begins_a_row: Callable[[str], bool] = lambda line: False) -> Iterator[Row]:
    """Yield all rows but blank ones. One whose quotation marks would swallow a line that begins a row stays literal."""
    csv.field_size_limit(2**31 - 1)  # a text may be longer than csv allows
    at = 0
    while at < len(lines):
        later = (lines[i] for i in range(at + 1, len(lines)))
        own = itertools.chain([lines[at]], itertools.takewhile(lambda line: not begins_a_row(line), later))
        reader = csv.reader((line + "\n" for line in own), delimiter=sign, strict=True)
        try:
            cells, literal, end = next(reader), False, at + reader.line_num
        except csv.Error:  # a quotation mark that is not closed
            cells, literal, end = lines[at].split(sign), True, at + 1
        if any(map(str.strip, cells)):
            yield at + 1, cells, literal
        at = end


def _labels_and_texts(lines: list[str], path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """(label, text) of every row that is no header, and remarks about what was recognised without being said."""
    sign = _delimiter(lines)
    rows = list(_rows(lines, sign))
    columns = _columns(rows, sign, path)
    labels = {_key(columns.label_and_text(cells)[0]) for _, cells, _ in rows}

    def begins_a_row(line: str) -> bool:
        cells = line.split(sign)
        return len(cells) >= columns.width and _key(columns.label_and_text(cells)[0]) in labels

    rows = list(_rows(lines, sign, begins_a_row))
    headers, pairs = [], []
    for number, cells, _ in rows:
        label, text = columns.label_and_text(cells)
        if _named_columns(cells, sign):
            headers.append(number)
            named = f"labels are in column {label!r}, texts in {text!r}"
        elif label and text:
            pairs.append((label, text))
        else:
            wanted = f"a label, a {SIGNS[sign]} and a text were wanted; mend or delete it"
            raise CourseError(f"line {number} of {path} is {sign.join(cells)[:40]!r}: {wanted}")
    notes = [f"its columns are separated by {SIGNS[sign]}s"] if sign != "\t" else []
    if headers:
        notes.append(f"{_lines(headers)}: a header; {named}")
    elif columns.label > columns.text:
        notes.append("labels are read from its second column, texts from its first")
    if literal := [number for number, _, taken in rows if taken]:
        notes.append(f"{_lines(literal)}: a quotation mark is not closed, so it is read as part of the text")
    return pairs, notes


def _lines(numbers: Collection[int]) -> str:
    first = ", ".join(map(str, itertools.islice(numbers, 5)))
    return f"line{'s' * (len(numbers) > 1)} {first}{' and more' * (len(numbers) > 5)}"


def _columns(rows: list[Row], sign: str, path: Path) -> Columns:
    """The columns that header rows name; else label, text, or turned round where only that gives labels that repeat."""
    headers = {number: named for number, cells, _ in rows if (named := _named_columns(cells, sign))}
    if len({*headers.values()}) > 1:
        raise CourseError(f"{path} has header rows that differ, {_lines(headers)}: split it, or make them alike")
    if headers:
        return next(iter(headers.values()))

    def repeats(place: int) -> bool:
        counts = collections.Counter(_key(cells[place]) for _, cells, _ in rows)
        return len(counts) > 1 and min(counts.values()) >= 5

    turned = all(len(cells) > 1 for _, cells, _ in rows) and repeats(-1) and not repeats(0)
    return Columns(int(turned), int(not turned), 2, sign)


def _named_columns(cells: list[str], sign: str) -> Columns | None:
    """The columns that a header row names; None for a row that is none."""
    names = [cell.strip().lower() for cell in cells]
    label, text = (next((name for name in known if name in names), None) for known in (LABEL_COLUMNS, TEXT_COLUMNS))
    if label is None or text is None:
        return None
    return Columns(names.index(label), names.index(text), len(names), sign)


def _key(label: str) -> str:
    """The same for labels that differ in capitals, blanks or stored accents alone."""
    return " ".join(unicodedata.normalize("NFC", label).lower().split())


def _merge_spellings(labels: list[str]) -> tuple[list[str], list[str]]:
    """(labels, notes): those that have one key get their most frequent form."""
    spellings = collections.defaultdict(collections.Counter)
    for label in labels:
        spellings[_key(label)][label] += 1
    chosen, notes = {}, []
    for key, found in spellings.items():
        chosen[key] = " ".join(unicodedata.normalize("NFC", found.most_common(1)[0][0]).split())
        if len(found) > 1:
            forms = ", ".join(f"{ascii(label)} ({n})" for label, n in found.most_common())
            notes.append(f"{forms} differ in capitals, blanks or stored accents alone: read as one, {chosen[key]!r}")
    return [chosen[_key(label)] for label in labels], notes
