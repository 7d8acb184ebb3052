"""Rates, gaps and weights of groups, against fairlearn and by hand."""

import numpy as np
import pytest

from bigmodel_lib.measuring.fairness import Rate, balancing_weights, gap, rates_by_group


@pytest.fixture(scope="module")
def decisions():
    rng = np.random.default_rng(0)
    groups = rng.choice(["she", "he", "they"], size=900, p=[0.5, 0.4, 0.1])
    truth = rng.random(900) < np.where(groups == "she", 0.3, 0.5)
    yes = rng.random(900) < np.where(truth, 0.7, 0.2) - 0.1 * (groups == "he")
    return yes, truth, groups


def test_rates_are_those_of_fairlearn(decisions):
    fairlearn = pytest.importorskip("fairlearn.metrics")
    from sklearn.metrics import precision_score

    yes, truth, groups = decisions
    metrics = {
        "yes": fairlearn.selection_rate, "found": fairlearn.true_positive_rate,
        "wrong yes": fairlearn.false_positive_rate, "kept": precision_score,
    }  # fmt: skip
    frame = fairlearn.MetricFrame(metrics=metrics, y_true=truth, y_pred=yes, sensitive_features=groups)
    for group, rates in rates_by_group(yes, truth, groups).items():
        for name, rate in rates.items():
            assert rate.value == pytest.approx(frame.by_group[name][group])
    yeses = [rates["yes"].value for rates in rates_by_group(yes, truth, groups).values()]
    wanted = fairlearn.demographic_parity_difference(truth, yes, sensitive_features=groups)
    assert max(yeses) - min(yeses) == pytest.approx(wanted)


def test_a_gap_s_interval_holds_the_true_gap_19_times_in_20():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(1000):
        difference, half = gap(Rate(rng.binomial(200, 0.6), 200), Rate(rng.binomial(300, 0.5), 300))
        hits += abs(difference - 0.1) <= half
    assert 0.93 <= hits / 1000 <= 0.97


def test_weights_make_label_and_group_independent(decisions):
    _, truth, groups = decisions
    weights = balancing_weights(truth, groups)
    shares = [np.average(truth[groups == group], weights=weights[groups == group]) for group in np.unique(groups)]
    assert shares == pytest.approx([truth.mean()] * 3) and weights.mean() == pytest.approx(1)
