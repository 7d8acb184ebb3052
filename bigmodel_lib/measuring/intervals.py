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


def interval_of_splits(values: ArrayLike, n_train: int, n_test: int) -> tuple[float, float]:
    """(mean, half-width) of the 95 % interval of k differences on random splits of one table.

    m ± t · s · √(1/k + n_test/n_train), with s and t as above. The training parts overlap, so the differences are not
    independent, and more splits alone cannot make it certain.
    Source: Nadeau & Bengio 2003, Inference for the generalization error.
    """
    mean, half = interval_of_mean(values)
    return mean, half * float(np.sqrt(1 + len(np.asarray(values)) * n_test / n_train))
