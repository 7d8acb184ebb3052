"""What notebooks 13 and 13b say of data/trust.json in words is what its rows say in numbers."""

import numpy as np
import pytest

from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training.checkpoints import read_json

SETS = ("usual", "rare names", "longer")


@pytest.fixture(scope="module")
def rows():
    return read_json(data_path("trust.json"))["rows"]


def doubts(rows, name, way, key):
    found = [row[key] for row in rows if row["part"] == "doubt" and (row["set"], row["way"]) == (name, way)]
    assert len(found) == (3 if way == "ensemble" else 15)
    return np.array(found)


def test_an_ensemble_is_the_least_wrong_everywhere_on_average(rows):
    for name in SETS:
        for way in ("one model", "temperature", "dropout"):
            assert doubts(rows, name, "ensemble", "kl").max() < doubts(rows, name, way, "kl").mean()


def test_disagreement_is_an_alarm_and_total_doubt_no_measure(rows):
    between, total, kl = (
        [doubts(rows, name, "ensemble", key).mean() for name in SETS] for key in ("between", "total", "kl")
    )
    assert 1.7 < between[1] / between[0] < 2.4 and 3.5 < between[2] / between[0] < 4.5
    assert kl[2] - kl[0] == pytest.approx(0.4, abs=0.03) and total[2] - total[0] < 0.06


def test_dropout_buys_less_than_an_ensemble_and_a_temperature_nothing_elsewhere(rows):
    one, tau, drop, five = (
        doubts(rows, "longer", way, "kl").mean() for way in ("one model", "temperature", "dropout", "ensemble")
    )
    assert five < drop < one and one - drop < (one - five) / 2 and abs(tau - one) < 0.02


def exposed(rows, way, noise, copies):
    found = [row for row in rows if row["part"] == "privacy" and (row["way"], row["noise"]) == (way, noise)]
    return np.mean([bits for row in found if row["seed"] < 100 for bits in row["exposure"][copies]])


def test_eight_copies_are_enough_and_noise_hides_one_or_two_lines_only(rows):
    full, chance = np.log2(10000), 1.44
    assert exposed(rows, "plain", 0.0, "1") < 7 < exposed(rows, "plain", 0.0, "2") < exposed(rows, "plain", 0.0, "4")
    assert min(exposed(rows, "plain", 0.0, copies) for copies in ("8", "16", "32")) > full - 0.3
    once = [exposed(rows, "once", 0.0, copies) for copies in ("1", "2", "4", "8", "16", "32")]
    assert 4 < min(once) and max(once) < 6.5 and abs(np.mean(once) - exposed(rows, "plain", 0.0, "1")) < 1
    assert max(exposed(rows, "private", noise, copies) for noise in (0.5, 1.0) for copies in ("1", "2")) < chance + 0.3
    assert exposed(rows, "private", 0.5, "32") > full - 0.3 and exposed(rows, "private", 1.0, "32") > 10


def test_eight_seeds_of_each_way_at_the_rate_that_was_best_on_another(rows):
    private = [row for row in rows if row["part"] == "privacy"]
    for way, noise in (("plain", 0.0), ("once", 0.0), ("private", 0.5), ("private", 1.0)):
        tuned = ("plain" if way == "once" else way, noise, 100)
        tried = {row["rate"]: row["loss"] for row in private if (row["way"], row["noise"], row["seed"]) == tuned}
        shown = [row for row in private if (row["way"], row["noise"]) == (way, noise) and row["seed"] < 100]
        assert len(tried) == 3 and sorted(row["seed"] for row in shown) == list(range(8))
        assert {row["rate"] for row in shown} == {min(tried, key=tried.get)}


def test_removing_copies_is_free_and_noise_is_dear(rows):
    loss = {}
    for row in rows:
        if row["part"] == "privacy" and row["seed"] < 100:
            loss.setdefault((row["way"], row["noise"]), []).append(row["loss"])
    plain, once, some, more = (
        np.mean(loss[key]) for key in (("plain", 0.0), ("once", 0.0), ("private", 0.5), ("private", 1.0))
    )
    assert abs(once - plain) < 0.01 and plain + 0.4 < some < more


def test_a_few_dozen_bad_lines_open_the_door(rows):
    share = {}
    for row in rows:
        if row["part"] == "backdoor":
            share.setdefault(row["poisoned"], []).append(row["success"])
    assert all(len(found) == 4 for found in share.values())
    assert max(share[0] + share[5]) < 0.2 and np.mean(share[50]) > 0.5 and np.mean(share[100]) > 0.8
