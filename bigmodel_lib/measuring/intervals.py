"""How sure a mean over a few seeds or splits is."""

import numpy as np
from numpy.typing import ArrayLike

from bigmodel_lib.errors import CourseError


def interval_of_mean(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """(mean, half-width) of the confidence interval of a mean: m ± t · s / √n.

    s is the standard deviation with n - 1 in its denominator, t Student's quantile with n - 1 degrees of freedom. For a
    paired comparison, give the differences. Raises CourseError for fewer than two values. Source: Student 1908.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise CourseError(f"an interval needs at least two numbers, {values.shape} was given: train with more seeds")
    t = stdtrit(len(values) - 1, 0.5 + confidence / 2)
    return float(values.mean()), float(t * values.std(ddof=1) / np.sqrt(len(values)))
