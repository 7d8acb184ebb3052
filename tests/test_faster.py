"""The search for what trains faster (data/recipes/faster.py), and the benchmark that measures it."""

import argparse
import pathlib
import runpy

import numpy as np
import pytest

from bigmodel_lib.model import layers
from bigmodel_lib.recipes import preset
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training.checkpoints import read_json

TEXT = "Anna dropped the lamp because she was tired. " * 200


@pytest.fixture
def faster(monkeypatch):
    monkeypatch.syspath_prepend(str(data_path("recipes")))
    return runpy.run_path(str(data_path("recipes/faster.py")))


def rows_of(table, losses):
    """Rows of the texts a and b: losses is {arm: one loss, or one for each text}."""
    pairs = {arm: loss if isinstance(loss, tuple) else (loss, loss) for arm, loss in losses.items()}
    return [
        {"table": table, "arm": arm, "text": text, "seed": 0, "loss": loss}
        for arm, pair in pairs.items()
        for text, loss in zip("ab", pair, strict=True)
    ]


def test_an_arm_is_combined_only_if_it_gains_on_both_texts(faster):
    losses = {"the start": (1.5, 1.6), "width 128": (1.4, 1.61), "n-grams up to 3": (1.45, 1.5)}
    losses |= {"batches of 8": (1.48, 1.58), "averaged weights": (1.47, 1.55), "momentum 0.9": (1.49, 1.595)}
    rows = rows_of("race", losses)
    assert faster["gains"](rows, "race", ["a", "b"])["width 128"] == pytest.approx([0.1, -0.01])
    best = {"n-grams up to 3", "averaged weights", "batches of 8"}
    found = [set(name.split(" + ")) for name in faster["combinations"](rows, "race", ["a", "b"])]
    assert len(found) == 4 and found[-1] == best and all(pair < best for pair in found[:3])


def test_arms_that_change_the_same_thing_are_not_combined(faster):
    none, most = (faster["touched"]("race", f"n-grams: {word} left out") for word in ("none", "three quarters"))
    assert none == most
    rows = rows_of("race", {"the start": 1.5, "width 64": 1.4, "width 128": 1.3})
    assert faster["combinations"](rows, "race", ["a", "b"]) == []


def test_the_third_text_sees_the_start_and_the_best_alone(faster):
    rows = rows_of("dash", {"the start": 1.5, "width 32": 1.4, "width 96": 1.45})
    assert faster["confirmed"](rows, "dash", ["a", "b"]) == ["the start", "width 32"]
    last = faster["waiting"](rows, "dash", ["a", "b", "c"])[-1]
    assert {one["text"] for one in last} == {"c"} and {one["seed"] for one in last} == set(faster["CONFIRMING_SEEDS"])
    assert 0 not in faster["CONFIRMING_SEEDS"]


def test_a_trick_of_the_tables_holds_inside_alone(faster):
    before = layers.NGRAM_ROWS
    with faster["longer_tables"](("rows",)):
        assert layers.NGRAM_ROWS == 65_521
    assert before == layers.NGRAM_ROWS


WINDOWS, GROWING = [(64, 32), (32, 64), (16, 128)], [(8, 128), (16, 128), (32, 128)]


@pytest.mark.parametrize("how, shapes", [("windows", WINDOWS), ("growing", GROWING)])
def test_schedules_change_at_the_thirds(faster, how, shapes):
    source, rng = faster["scheduled"](np.arange(5000), how, 16, 128, 6), np.random.default_rng(0)
    assert [source(rng)[0].shape for _ in range(6)] == [shape for shape in shapes for _ in range(2)]


def test_every_arm_can_be_trained(faster, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    for table, arms in faster["ARMS"].items():
        for name in arms:
            run = faster["build"](faster["arm"](table, name, "a"), str(tmp_path), 3)
            assert run.config.steps == 3
    start = faster["arm"]("dash", "Muon's rate doubled", "a")
    assert faster["step_time"](start, str(tmp_path)) == 1.0
    slower = faster["arm"]("dash", "n-grams up to 4", "a")
    assert faster["step_time"](slower, str(tmp_path)) > 1.0


def test_the_benchmark_takes_the_first_share_that_reaches_the_plain_loss():
    bench = runpy.run_path(str(pathlib.Path(__file__).parent / "bench_pretraining.py"))
    names = bench["main"].__globals__
    asked = []

    def fake(options, name, seed, **budget):
        asked.append((name, budget))
        loop = 60 * budget["minutes"] if "minutes" in budget else 100.0
        loss = {"plain": 2.0, "medium": 1.5}.get(name, 2.2 - 0.1 * loop)
        return {"loop": loop, "whole": loop + 2, "loss": loss, "steps": 10}

    names["in_a_process"] = fake
    found = bench["compare"](argparse.Namespace(plain_steps=2000), 0)
    tried = [budget["minutes"] * 60 for name, budget in asked if name == "quick"]
    assert tried == pytest.approx([100 / 60, 100 / 50])
    assert found == pytest.approx({"whole": 4 / 102, "loop": 0.02, "below": 0.5})


def test_what_notebook_10_says_of_the_search():
    """What won the dash is the preset quick; in the race nothing but sizes gains; the long search is not done."""
    kept = read_json(data_path("faster.json"))["rows"]
    loss = {(row["table"], row["arm"], row["text"], row["seed"]): row["loss"] for row in kept}
    dash = {row["arm"]: row for row in kept if row["table"] == "dash" and row["text"] == "tolstoy"}
    (best,) = set(dash) - {"the start"}
    assert set(best.split(" + ")) == {"n-grams up to 4, none left out", "2 layers", "AdamW's rate doubled"}
    quick, small = (preset(name, 99) for name in ("quick", "small"))
    changes = {"ngrams": 4, "ngram_dropout": 0.0, "n_layers": 2}
    assert quick[0] == small[0].replace(**changes) and quick[1].replace(steps=240) == small[1].replace(adamw_lr=0.04)
    race = {row["arm"] for row in kept if row["table"] == "race" and row["text"] == "austen"} - {"the start"}
    gains = {
        arm: [loss["race", "the start", text, 0] - loss["race", arm, text, 0] for text in ("austen", "dumas")]
        for arm in race
    }
    single = {arm: min(gain) for arm, gain in gains.items() if " + " not in arm}
    assert max(single, key=single.get) == "width 64" and max(single.values()) < 0.02
    assert {row["arm"] for row in kept if row["table"] == "long"} == {
        "the start",
        "width 128",
        "dropout 0",
        "dropout 0.2",
    }
    change = [loss["long", "width 128", text, 0] - loss["long", "the start", text, 0] for text in ("austen", "dumas")]
    assert all(-0.006 < each < 0 for each in change)
