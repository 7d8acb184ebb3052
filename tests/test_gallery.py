"""The gallery of broken backward passes: what is right passes, each fault is caught, each check misses what we say."""

import numpy as np
import pytest

from bigmodel_lib.by_hand import backprop
from bigmodel_lib.by_hand.model import initialise
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises.gallery import gallery, using

LIMITS = np.array([1e-7, 1e-7, 1e-10, 1e-10])


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_right_passes_and_each_fault_is_caught_but_for_the_blind_spots(seed):
    found = gallery(np.random.default_rng(seed))
    missed = {name: [j for j in range(4) if not errors[j] > LIMITS[j]] for name, errors in found.items()}
    assert missed == {
        "nothing": [0, 1, 2, 3],
        "one + missing": [],
        "a transpose missing": [],
        "softmax: plain average": [1],
        "no road through σ": [1],
        "ten times too large": [],
        "mask after softmax": [0, 1],
        "Adam's averages uncorrected": [0, 1, 2],
    }
    assert np.isnan(found["Adam's averages uncorrected"][:3]).all() and found["ten times too large"][3] < 1e-6


def gradients():
    config = ModelConfig(vocab_size=7, context_length=6, d_model=8, n_layers=2, n_heads=2, d_ff=16)
    rng = np.random.default_rng(0)
    weights = {name: w + rng.normal(size=w.shape) for name, w in initialise(config, rng, np.float64).items()}
    x = rng.integers(0, 7, (2, 6))
    return backprop.loss_and_gradients(x[:, :-1], x[:, 1:], weights, config)[1]


def test_the_model_uses_what_was_plugged_in_and_its_own_again_afterwards():
    own, called = backprop.attention_backward, []

    def mine(dy, cache):
        called.append(dy.shape)
        return own(dy, cache)

    before = gradients()
    with using(attention_backward=mine):
        within = gradients()
    with pytest.raises(ZeroDivisionError), using(attention_backward=lambda dy, cache: 1 / 0):
        gradients()
    assert len(called) == 2 and backprop.attention_backward is own
    assert all((before[name] == within[name]).all() for name in before)


def test_a_name_that_the_model_does_not_have_is_refused():
    with pytest.raises(CourseError, match="no atention_backward"), using(atention_backward=abs):
        pass
