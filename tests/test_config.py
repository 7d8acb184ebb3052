import math

import numpy as np
import pytest
from scipy.optimize import least_squares

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises.nb10 import residuals
from bigmodel_lib.recipes import LAW, PACE, READINGS, preset, preset_for_minutes
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training.checkpoints import read_json


def test_impossible_heads_are_refused_by_name():
    with pytest.raises(CourseError, match=r"^d_model 130 is not divisible by n_heads 4: choose d_model 128 or 132"):
        ModelConfig(vocab_size=65, d_model=130, n_heads=4)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(vocab_size=0), "vocab_size 0 is outside 1 … inf: choose a whole number"),
        (dict(n_layers=2.5), "n_layers 2.5 is outside 1 … inf: choose a whole number"),
        (dict(n_layers=True), "n_layers True is outside 1 … inf: choose a whole number"),
        (dict(d_model=18, n_heads=2), "heads of width 9, and RoPE turns pairs"),
        (dict(positions="absolute"), "positions 'absolute' is not known: choose one of rope, learned, none"),
        (dict(rope_base=1.0), "rope_base 1.0 is outside"),
        (dict(tied=True), "tied True with init 'zero'"),
        (dict(activation=None), "activation None is not known"),
        (dict(qk_norm="yes"), "qk_norm 'yes' is not known: choose one of True, False"),
        (dict(d_model=1, n_heads=2), "d_model 1 is not divisible by n_heads 2: choose d_model 2 or 4"),
        (dict(ngrams=5), "ngrams 5 is outside 1 … 4: choose a whole number"),
        (dict(n_heads=4, n_kv_heads=3), "n_heads 4 cannot be shared evenly by n_kv_heads 3: choose n_kv_heads 1"),
        (dict(n_kv_heads=0), "n_kv_heads 0 is outside 1 … inf"),
    ],
)
def test_model_config_refuses(changes, words):
    with pytest.raises(CourseError) as error:
        ModelConfig(**{"vocab_size": 65, **changes})
    assert words in str(error.value)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(), "a run has one budget, neither was given"),
        (dict(steps=3, minutes=1.0), "a run has one budget, steps 3 and minutes 1.0"),
        (dict(steps=0), "steps 0 is outside 1 … inf"),
        (dict(minutes=float("nan")), "minutes nan is outside"),
        (dict(steps=1, seed=-1), "seed -1 is outside 0 … "),
        (dict(steps=1, adamw_lr=float("inf")), "adamw_lr inf is outside"),
        (dict(steps=1, optimizer="sgd"), "optimizer 'sgd' is not known"),
        (dict(steps=1, warmup_steps=-1), "warmup_steps -1 is outside 0 … inf: choose a whole number"),
        (dict(steps=1, beta1=1.0), "beta1 1.0 is outside"),
    ],
)
def test_train_config_refuses(changes, words):
    with pytest.raises(CourseError) as error:
        TrainConfig(**changes)
    assert words in str(error.value)


def test_configs_survive_a_dictionary_and_refuse_a_foreign_one():
    model, train = preset("medium", 65, seed=3)
    assert ModelConfig.from_dict(model.to_dict()) == model
    assert TrainConfig.from_dict(train.to_dict()) == train
    with pytest.raises(CourseError, match="no field n_head: it has vocab_size"):
        ModelConfig.from_dict({"vocab_size": 3, "n_head": 2})
    with pytest.raises(CourseError, match="needs vocab_size"):
        ModelConfig.from_dict({})


def test_presets_grow_and_the_plain_one_is_nanogpts_for_a_cpu():
    small, medium, large = (preset(name, 65)[0] for name in ("small", "medium", "large"))
    assert small.d_model < medium.d_model < large.d_model and small.positions == large.positions == "rope"
    plain, nano = preset("plain", 65)
    assert (plain.positions, plain.activation, plain.tied, plain.init) == ("learned", "gelu", True, "gpt2")
    assert (plain.n_layers, plain.n_heads, plain.d_model, plain.context_length) == (4, 4, 128, 64)
    assert (nano.optimizer, nano.adamw_lr, nano.batch_size, nano.steps) == ("adamw", 1e-3, 12, 2000)
    assert nano.decay == "cosine"


def test_a_preset_takes_changes_and_one_budget():
    model, train = preset("medium", 65, minutes=2.0, d_model=32, n_heads=2)
    assert train.steps is None and train.minutes == 2.0
    assert model.d_model == 32 and model.d_ff / 32 == preset("medium", 65)[0].d_ff / preset("medium", 65)[0].d_model
    with pytest.raises(CourseError, match="preset 'tiny' is not known"):
        preset("tiny", 65)


def test_minutes_alone_choose_the_width_that_was_best_on_the_manual():
    table = read_json(data_path("budget.json"))
    losses: dict = {}
    for row in table["rows"]:
        if row["table"] == "budget" and row["preset"] == "medium":
            losses.setdefault(row["seconds"], {}).setdefault(row["d_model"], []).append(row["loss"])
    assert set(losses) == {10, 30, 60, 180}
    for seconds, found in losses.items():
        width = min(found, key=lambda width: sum(found[width]) / len(found[width]))
        assert preset_for_minutes(seconds / 60, 337_095)[1]["d_model"] == width
    assert preset("medium", 100, d_model=192, n_heads=6)[0] == preset("large", 100)[0]
    pace = {width: 1000 * 16 * 128 / table["how"]["step_milliseconds"][f"medium {width}"] for width in PACE}
    assert pytest.approx(pace, rel=0.005) == PACE


def test_the_law_behind_minutes_is_the_one_that_the_runs_give():
    rows = [row for row in read_json(data_path("scaling.json"))["rows"] if row["table"] == "grid"]
    N, D, gap = (np.array([row[key] for row in rows], float) for key in ("parameters", "tokens", "gap"))
    found = least_squares(residuals, (4.0, 0.5, 6.0, 0.5), args=(N, D, gap)).x
    assert LAW == pytest.approx((math.exp(found[0]), found[1], math.exp(found[2]), found[3]), rel=0.01)


def test_endless_text_is_for_the_law_and_a_short_one_for_a_large_model():
    def width(minutes, n_tokens=0):
        return preset_for_minutes(minutes, n_tokens)[1]["d_model"]

    assert [width(minutes) for minutes in (1e-3, 0.5, 3, 14.5, 1e6)] == [32, 64, 96, 128, 192]
    assert width(3, 10**9) == width(3) and width(3, 1000) == 192
    assert width(1, 60 * 24_400 // READINGS) == 96


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), "3", True, None])
def test_no_preset_for_impossible_minutes(minutes):
    with pytest.raises(CourseError, match=r"minutes .* is outside 0.001 … 1e\+06"):
        preset_for_minutes(minutes)
