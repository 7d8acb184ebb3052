"""The interval of a mean: against a table of Student's t, and how often it holds the truth."""

import numpy as np
import pytest

from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.intervals import interval_of_mean


@pytest.mark.parametrize("n, t", [(2, 12.706), (5, 2.776), (10, 2.262), (31, 2.042)])
def test_it_is_students(n, t):
    values = np.arange(n) * 1.0
    mean, half = interval_of_mean(values)
    assert mean == pytest.approx((n - 1) / 2)
    assert half == pytest.approx(t * values.std(ddof=1) / n**0.5, rel=3e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_it_holds_the_truth_as_often_as_it_says(confidence):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        mean, half = interval_of_mean(rng.normal(3.0, 2.0, size=5), confidence)
        hits += abs(mean - 3.0) <= half
    assert abs(hits / 2000 - confidence) < 4 * (confidence * (1 - confidence) / 2000) ** 0.5


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0]], 3.0])
def test_too_few_numbers_are_refused(values):
    with pytest.raises(CourseError, match="at least two numbers"):
        interval_of_mean(values)
