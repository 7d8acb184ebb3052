"""How differently a yes-or-no decision treats groups: rates with their counts, and gaps with intervals."""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
from numpy import ndarray


class Rate(NamedTuple):
    """k of n, such as the share of a group that got a yes."""

    k: int
    n: int

    @property
    def value(self) -> float:
        return self.k / self.n if self.n else float("nan")


def rates_by_group(yes: ndarray, truth: ndarray, groups: ndarray) -> dict[Hashable, dict[str, Rate]]:
    """{group: {name: Rate}}: how many get a "yes" of all, "found" of the deserving, and "wrong yes" of the others (the
    true and the false positive rate), and how many deserve it of those who got a yes, "kept" (precision).

    Shapes: yes, truth (True where deserved) and groups are (N,).
    """
    found = {}
    for group in np.unique(groups).tolist():
        y, t = (each[groups == group].astype(bool) for each in (yes, truth))
        parts = {"yes": (y, y | True), "found": (y & t, t), "wrong yes": (y & ~t, ~t), "kept": (y & t, y)}
        found[group] = {name: Rate(int(some.sum()), int(whole.sum())) for name, (some, whole) in parts.items()}
    return found


def gap(one: Rate, other: Rate) -> tuple[float, float]:
    """(difference, half-width of its 95 % interval) of two independent shares: p - q ± 1.96 √(p(1-p)/n + q(1-q)/m)."""
    p, q = one.value, other.value
    return p - q, 1.96 * float(np.sqrt(p * (1 - p) / one.n + q * (1 - q) / other.n))


def balancing_weights(labels: ndarray, groups: ndarray) -> ndarray:
    """A weight for each row under which label and group are independent: p(label) p(group) / p(label, group), (N,).

    Source: Kamiran & Calders 2012, section 4.2.
    """
    weights = np.empty(len(labels))
    for group in np.unique(groups):
        for label in np.unique(labels):
            here = (groups == group) & (labels == label)
            weights[here] = (groups == group).mean() * (labels == label).mean() / max(here.mean(), 1e-12)
    return weights
