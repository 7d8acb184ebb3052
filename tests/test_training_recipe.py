"""What notebook 10 rests on: two recipes of data/recipes, the tables that they made, a formula of its exercises."""

import collections
import math
import runpy

import numpy as np
import pytest
import torch

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.exercises.nb10 import best_size, residuals
from bigmodel_lib.measuring.intervals import interval_of_mean
from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.text.batches import overlap, pad
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.checkpoints import read_json
from bigmodel_lib.training.optimizers import Optimizers
from bigmodel_lib.training.trainer import next_token_loss


def module(name):
    """A recipe's names. Functions look up what they use in the dictionary, so tests can put something else there."""
    names = runpy.run_path(str(data_path(f"recipes/{name}.py")))
    return collections.ChainMap(names["main"].__globals__, names)


@pytest.fixture
def ladder():
    return module("ladder")


@pytest.fixture
def scaling(tmp_path):
    """The recipe of the scaling law, with 200 stories of its own."""
    recipe, world, rng = module("scaling"), StoryWorld(longest=40), np.random.default_rng(0)
    words = world.tokenizer()
    stories = [words.encode(f"{START} {world.sample(rng).text} {END}") for _ in range(200)]
    np.save(tmp_path / "stories.npy", pad(stories, 255, recipe["LENGTH"]).astype(np.uint8))
    recipe.maps[0].update(TEXT=tmp_path / "stories.npy", FRESH=30, BATCH=10)
    recipe["fresh_stories"].cache_clear()
    return recipe


def test_each_rung_adds_one_trick_and_each_other_arm_lacks_one(ladder):
    arms, tricks = ladder["arms"](), ladder["TRICKS"]
    lacking = [arms[name][0] for name in ladder["LADDER"][:-1]]
    assert lacking[0] == list(tricks) and lacking[-1] == []
    for trick, before, after in zip(tricks, lacking[:-1], lacking[1:], strict=True):
        assert set(before) - set(after) == {trick} and set(after) < set(before)
    assert [arms[f"without {trick}"][0] for trick in tricks[:-1]] == [[trick] for trick in tricks[:-1]]


def test_swiglu_has_as_many_weights_as_what_it_replaces(ladder):
    one, other = (
        count_parameters(ladder["build"](arm, (0.01, 0.01), 1, 0).model) for arm in ("+ ReLU²", "SwiGLU for ReLU²")
    )
    assert one == pytest.approx(other, rel=0.003)


@pytest.mark.parametrize("arm, parts", [("plain", 1), ("+ zero init", 2), ("+ Muon", 2), ("without AdamW", 2)])
def test_an_arms_rates_reach_its_weights_each_once(ladder, arm, parts):
    run = ladder["build"](arm, (0.5, 0.25), 1, 0)
    groups = [part.param_groups[0] for part in run.optimizers.parts]
    rate_of = {id(w): group["lr"] for group in groups for w in group["params"]}
    assert len(groups) == parts and len(rate_of) == len(list(run.model.parameters()))
    rates = {name: rate_of[id(w)] for name, w in run.model.named_parameters()}
    assert rates["blocks.0.mlp.w_up"] == 0.5 and rates["token_embedding"] == (0.5 if arm == "plain" else 0.25)
    assert run.optimizers.peaks == [group["lr"] for group in groups]


def test_no_two_parts_of_the_text_share_eight_words(ladder):
    if not ladder["MANUAL"].exists():
        pytest.importorskip("pydoc_data")
    tokenizer = CharacterTokenizer(ladder["manual"]()[1])
    train, tuning, validation = (tokenizer.decode(part) for part in ladder["texts"]()[1:])
    assert overlap(train, tuning, 8) == overlap(train, validation, 8) == overlap(tuning, validation, 8) == 0


@pytest.mark.parametrize("arm, wanted", [("+ Muon", (0.07, 0.01)), ("plain", (0.2,))])
def test_a_search_makes_its_trials_comes_near_and_goes_on(ladder, arm, wanted):
    asked = []

    def bowl(arm, rates, steps, seed, held_out):
        asked.append(rates)
        return sum(math.log(rate / best) ** 2 for rate, best in zip(rates, wanted, strict=True))

    ladder.maps[0].update(loss_of=bowl, texts=lambda: (0, 0, 0, 0))
    rows: list = []
    assert ladder["search"](arm, [], rows.append, math.inf)
    assert len(set(asked)) == len(asked) == len(rows) == ladder["TRIALS"]
    found = ladder["best_rates"]([row | {"kind": "tuning", "arm": arm} for row in rows], arm)
    assert all(1 / 1.8 < rate / best < 1.8 for rate, best in zip(found, wanted, strict=True))
    ladder["search"](arm, rows[:4], rows.append, math.inf)
    assert len(asked) == 2 * ladder["TRIALS"] - 4


def test_equal_time_means_more_steps_for_cheaper_arms(ladder):
    rows = [
        {"kind": "milliseconds a step", "arm": arm, "milliseconds": ms}
        for arm, ms in (("a", 10.0), (ladder["RECIPE"], 25.0))
    ]
    assert ladder["steps_in_equal_time"](rows, "a") == round(2.5 * ladder["STEPS"])


def test_new_stories_are_read_once_and_repeated_ones_equally_often(scaling):
    told = np.load(scaling["TEXT"])

    def read(n_different, n):
        source = scaling["story_batches"](3, n_different)
        x = np.concatenate([source(None)[0] for _ in range(n)])
        return collections.Counter(map(bytes, x.astype(np.uint8)))

    assert set(read(200, 20).values()) <= {1, *collections.Counter(map(bytes, told)).values()}
    again = read(50, 20)
    assert len(again) == 50 and set(again.values()) == {4}


def test_the_gap_of_a_model_that_knows_nothing_is_known(scaling):
    run = scaling["build"](scaling["cell"]("grid", 24, 1e4, 0, (0.01, 0.01)))
    run.model.w_out.data.zero_()
    rows, floor = scaling["fresh_stories"]()
    n = (rows[:, 1:] != 255).sum()
    mean, error = scaling["gap"](run.model)
    assert mean == pytest.approx(math.log(220) - floor.sum() / n, abs=1e-4) and 0 < error < 0.1


def test_steady_optimizers_step_like_the_librarys(scaling):
    cell = scaling["cell"]("grid", 24, 1e4, 0, (0.02, 0.03))
    runs = [scaling["build"](cell) for _ in range(2)]
    config = TrainConfig(steps=5, muon_lr=0.02, adamw_lr=0.03, momentum=0.95)
    steady, usual = scaling["SteadyOptimizers"](runs[0].model, config), Optimizers(runs[1].model, config)
    x, y = map(torch.from_numpy, runs[0].batches(None))
    for lr in (0.5, 1.0, 0.25, 0.1):
        for run in runs:
            next_token_loss(run.model, x, y).backward()
        steady.set_lr(lr)
        steady.step(1.0)
        steady.forget()
        usual.step(lr)
    for (name, one), other in zip(runs[0].model.named_parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)


def test_a_story_run_learns(scaling):
    cell = scaling["cell"]("grid", 24, 2e4, 0, (0.035, 0.05))
    found = scaling["train"](cell, "cpu", True, math.inf)
    assert found["steps"] == scaling["steps_of"](cell["tokens"]) and found["gap"] < 3.5


def test_the_sealed_run_uses_four_times_the_largest_compute(scaling):
    n = {w: count_parameters(scaling["build"](scaling["cell"]("x", w, 1e4, 0, (0.1, 0.1))).model) for w in (192, 264)}
    assert n[264] * scaling["sealed_tokens"]() == pytest.approx(4 * n[192] * 4e6, rel=0.001)


def losses(kept, arm, kind="equal tokens"):
    rows = [row for row in kept["rows"] if (row["kind"], row["arm"]) == (kind, arm)]
    return np.array([row["loss"] for row in sorted(rows, key=lambda row: row["seed"])])


def test_the_table_of_the_ladder_is_whole(ladder):
    kept = read_json(data_path("ladder.json"))
    assert kept["how"]["tuning_seed"] not in kept["how"]["seeds"] and kept["how"]["trials"] == 6
    for arm in ladder["LADDER"]:
        rows = [row for row in kept["rows"] if row["arm"] == arm]
        tried = [tuple(row["rates"]) for row in rows if row["kind"] == "tuning"]
        assert len(set(tried)) == len(tried) == kept["how"]["trials"]
        assert sum(row["kind"] == "milliseconds a step" for row in rows) == 1
        runs = [row for row in rows if row["kind"] == "equal tokens"]
        assert [row["seed"] for row in runs] == kept["how"]["seeds"] and len(runs) >= 5
        assert all(tuple(row["rates"]) == ladder["best_rates"](rows, arm) for row in runs)


def test_what_notebook_10_says_of_the_ladder(ladder):
    """Which intervals contain zero, which rungs stand out, and where the seeds scatter."""
    kept = read_json(data_path("ladder.json"))
    found = {arm: losses(kept, arm) for arm in ladder["LADDER"]}
    rungs = ladder["LADDER"][:-1]
    steps = {b: interval_of_mean(found[b] - found[a]) for a, b in zip(rungs, rungs[1:], strict=False)}
    sure = {arm for arm, (mean, half) in steps.items() if abs(mean) > half}
    assert sure == {f"+ {trick}" for trick in ("AdamW", "RoPE", "QK-norm", "Muon", "token shift", "n-grams")}
    after = {arm: mean for arm, (mean, _) in steps.items() if rungs.index(arm) > 2}
    assert sorted(after, key=after.get)[:3] == ["+ n-grams", "+ Muon", "+ token shift"]
    assert min(found["plain"].std(), found["+ warm-up and decay"].std()) > 10 * found["+ AdamW"].std()
    for other in ("+ QK-norm", "+ ReLU²"):
        mean, half = interval_of_mean(found["SwiGLU for ReLU²"] - found[other])
        assert abs(mean) < half


def test_what_notebook_10_says_of_the_ladder_by_the_clock_and_from_its_other_end():
    kept = read_json(data_path("ladder.json"))
    rungs, whole = kept["how"]["ladder"][:-1], losses(kept, "+ n-grams")

    def by_clock(arm):
        return losses(kept, arm, "equal seconds") if arm != rungs[-1] else whole

    steps, clock = ({arm: (of(arm) - of(before)).mean() for before, arm in zip(rungs, rungs[1:], strict=False)}
                    for of in (lambda arm: losses(kept, arm), by_clock))  # fmt: skip
    assert clock["+ Muon"] > 0.5 * steps["+ Muon"] and clock["+ n-grams"] == pytest.approx(
        0.66 * steps["+ n-grams"], rel=0.05
    )
    assert clock["+ token shift"] == pytest.approx(clock["+ n-grams"], abs=0.01)
    without = {trick: (losses(kept, f"without {trick}") - whole).mean() for trick in ("RoPE", "QK-norm", "token shift")}
    assert all(0 < loss < 0.025 for loss in without.values())


def test_the_table_of_the_law_is_whole(scaling):
    kept = read_json(data_path("scaling.json"))
    rows = collections.defaultdict(list)
    for row in kept["rows"]:
        rows[row["table"]].append(row)
    cells = {(row["d_model"], row["tokens"]) for row in rows["grid"]}
    assert len(cells) == 30 and len(rows["sealed"]) >= 1
    assert all(row["seed"] != kept["how"]["tuning_seed"] for row in kept["rows"] if row["table"] != "tuning")
    for row in rows["grid"] + rows["sealed"]:
        assert (row["muon_lr"], row["adamw_lr"]) == scaling["best_rates"](kept["rows"], row["d_model"], row["tokens"])


def test_what_notebook_10_says_of_the_law():
    """Where the law misses, that the envelope lies above its interval, and what reading again costs."""
    from scipy.optimize import least_squares

    rows = read_json(data_path("scaling.json"))["rows"]
    grid = [row for row in rows if row["table"] == "grid"]
    N, D, gap = (np.array([row[key] for row in grid], float) for key in ("parameters", "tokens", "gap"))
    assert set(collections.Counter(zip(N, D, strict=True)).values()) == {2}
    theta = least_squares(residuals, (4.0, 0.5, 6.0, 0.5), args=(N, D, gap)).x
    missed = residuals(theta, N, D, gap)
    last_row = [missed[(N == N.max()) & (D == d)].mean() for d in sorted(set(D))]
    assert last_row[0] > 0.1 and last_row[-1] < -0.08
    assert missed[(N == N.min()) & (D == D.max())].mean() > 0.15
    (sealed,) = [row for row in rows if row["table"] == "sealed"]
    assert math.exp(residuals(theta, sealed["parameters"], sealed["tokens"], 1.0)) < 0.7 * sealed["gap"]
    assert sealed["parameters"] * sealed["tokens"] == pytest.approx(4 * (N * D).max(), rel=0.001)
    at_price = np.abs(np.log(6 * N * D / 10**12.25)) < 0.35  # where notebook 10's slider begins
    best, _ = best_size(10**12.25, math.exp(theta[0]), theta[1], math.exp(theta[2]), theta[3])
    assert N[at_price][gap[at_price].argmin()] < best
    again = collections.defaultdict(list)
    for row in rows:
        if row["table"] == "again" or (row["table"] == "grid" and row["tokens"] == 1_000_000):
            again[row["parameters"], row["again"]].append(row["gap"])
    cost = {(n, k): np.mean(again[n, k]) / np.mean(again[n, 1]) for n, k in again if k > 1}
    small, large = sorted({n for n, _ in cost})
    assert 1.05 < cost[small, 4] < 1.15 and 1.4 < cost[large, 4] < 1.6
    floor = read_json(data_path("scaling.json"))["how"]["floor"]
    whole = {n: [floor + np.mean(again[n, k]) for k in (1, 4)] for n in (small, large)}
    assert [round(100 * (four / one - 1)) for one, four in whole.values()] == [1, 3]
    assert np.mean(again[small, 16]) < 0.5 * np.mean(again[large, 16])


def test_the_best_size_is_where_moving_costs():
    law = (math.log(300.0), 0.7, math.log(500.0), 0.55)
    for C in (1e11, 1e13):
        N, D = best_size(C, 300.0, 0.7, 500.0, 0.55)
        assert 6 * N * D == pytest.approx(C)
        here, *beside = (residuals(law, n, C / (6 * n), 1.0) for n in (N, 1.05 * N, N / 1.05))
        assert all(here < there for there in beside)
