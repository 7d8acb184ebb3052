"""How risks are scored: what a decision is worth, how far a forecast of losses is off, and what can't be scored."""

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from bigmodel_lib.config import require


def check_table(x: ArrayLike, y: ArrayLike) -> tuple[ndarray, ndarray]:
    """A table (N, F) and its labels (N,), 0 or 1, as arrays. Raises CourseError for what no rival could learn from."""
    x, y = np.asarray(x, dtype=float), np.asarray(y)
    fits = x.ndim == 2 and y.shape == x.shape[:1]
    require(fits, f"a table (N, F) and N labels were wanted, not {x.shape} and {y.shape}")
    rows, columns = np.nonzero(~np.isfinite(x))
    where = f"{len(rows)} values are missing, the first in row {rows[0]}, column {columns[0]}" if len(rows) else ""
    require(not len(rows), f"{where}: fill them in with what the training rows say, or leave these rows out")
    require(bool(np.isin(y, (0, 1)).all()), f"labels 0 and 1 were wanted, not {np.unique(y)[:5].tolist()}: recode them")
    require(len(np.unique(y)) == 2, f"all {len(y)} labels are {y[:1].tolist()}: one class alone teaches nothing")
    return x, y


def check_returns(r: ArrayLike, least: int) -> ndarray:
    """Daily returns (days,) as an array. Raises CourseError for missing days, a constant, or fewer than `least`."""
    r = np.asarray(r, dtype=float)
    require(r.ndim == 1, f"a series (days,) was wanted, not an array of shape {r.shape}")
    bad = np.flatnonzero(~np.isfinite(r))
    first = f"{len(bad)} returns are missing, the first on day {bad[0]}" if len(bad) else ""
    require(not len(bad), f"{first}: leave these days out (a 0 in their place would be a calm day that never was)")
    require(len(r) >= least, f"{len(r)} days were given and {least} are needed: give a longer series")
    require(float(np.ptp(r)) > 0, "all returns are the same: is this a series of returns?")
    return r


def net_benefit(y: ndarray, risk: ndarray, threshold: float) -> float:
    """True positives minus false ones at the odds of the threshold, per patient: TP/n - FP/n · t/(1 - t).

    Treated is who has a risk of t or more. Shapes: y and risk (n,). Source: Vickers & Elkin 2006, equation 1.
    """
    treated = risk >= threshold
    true_positives, false_positives = (treated & (y == 1)).mean(), (treated & (y == 0)).mean()
    return float(true_positives - false_positives * threshold / (1 - threshold))


def quantile_loss(r: ndarray, var: ndarray, p: float) -> ndarray:
    """The loss whose mean is lowest at the p-quantile: (p - [r < var]) (r - var). Source: Koenker & Bassett 1978."""
    return (p - (r < var)) * (r - var)
