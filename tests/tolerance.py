"""Numbers in a notebook's saved output, compared with a tolerance; everything around them is compared exactly.

A cell's metadata may say `"tolerance": {"absolute": 0.02, "relative": 0.01, "reason": "…"}`. A number then passes if it
is within the larger of the two: |new − saved| ≤ max(absolute, relative · |saved|). Numbers printed without a decimal
point count something, so they stay exact, unless the tolerance says `"integers": true`. Without a tolerance all is
exact.
"""

import math
import re
from typing import NamedTuple

NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\d.]*\d)"
    r"|(?<![\w.])[-+−]?\.\d+(?:[eE][-+]?\d+)?"
)
BLANKS = re.compile(r"[ \t]+")
LARGE = 0.05  # share of a number above which its tolerance needs a reason


class Difference(NamedTuple):
    """A number that is too far from the saved one."""

    saved: str
    new: str
    allowed: float

    def __str__(self) -> str:
        return f"{self.saved} was saved and {self.new} is new: they may differ by {self.allowed:.3g}"


def value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def allowed(number: str, tolerance: dict) -> float:
    """How far a new number may be from this saved one."""
    if not tolerance.get("integers") and re.fullmatch(r"[-+−]?[\d,]+", number):
        return 0.0
    return max(tolerance.get("absolute", 0.0), tolerance.get("relative", 0.0) * abs(value(number)))


def skeleton(text: str) -> str:
    """The text without its numbers; columns may move by as many blanks as a number has digits more or less."""
    return BLANKS.sub(" ", NUMBER.sub(" # ", text))


def differences(saved: str, new: str, tolerance: dict) -> list[Difference]:
    """The numbers in `new` that are too far from those in `saved`, which has the same text around them."""
    found = []
    for one, other in zip(NUMBER.findall(saved), NUMBER.findall(new), strict=True):
        room = allowed(one, tolerance)
        distance = abs(value(other) - value(one))
        if math.isnan(distance) or distance > room * (1 + 1e-9):
            found.append(Difference(one, other, room))
    return found


def align(saved: str, new: str, tolerance: dict) -> tuple[str, list[Difference]]:
    """(the new text, or the saved one if all numbers are near enough; what is too far).

    Texts that differ elsewhere, or in how many numbers they have, come back as they are: the comparison fails on them.
    """
    if saved == new or skeleton(saved) != skeleton(new):
        return new, []
    found = differences(saved, new, tolerance)
    return (new, found) if found else (saved, [])


def large_tolerances(text: str, tolerance: dict) -> list[tuple[str, float]]:
    """[(number, tolerance)] of the saved numbers whose tolerance is above 5 % of them."""
    pairs = [(number, allowed(number, tolerance)) for number in NUMBER.findall(text)]
    return [(number, room) for number, room in pairs if room > LARGE * abs(value(number))]


def texts_of(outputs: list) -> list[tuple[dict, str, str]]:
    """[(the dictionary that holds a text, its key there, what kind of text it is)] of a cell's outputs."""
    found = []
    for output in outputs:
        if output["output_type"] == "stream":
            found.append((output, "text", output["name"]))
        data = output.get("data", {})
        found += [(data, key, key) for key in data if key.startswith("text/") or key == "image/svg+xml"]
    return found


def align_outputs(saved: list, new: list, tolerance: dict) -> list[Difference]:
    """Put the saved text in the place of each new one that is near enough; returns what is too far."""
    found = []
    by_kind: dict = {}
    for holder, key, kind in texts_of(saved):
        by_kind.setdefault(kind, []).append(holder[key])
    for holder, key, kind in texts_of(new):
        if by_kind.get(kind):
            holder[key], far = align(by_kind[kind].pop(0), holder[key], tolerance)
            found += far
    return found
