"""The valley: its slopes are those of its heights, and its walkers keep to the rules they are named after."""

import numpy as np
import pytest
import torch

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.valley import STEEP, WALKERS, Valley, height, slope, walk

START = (-4.0, 0.5)


@pytest.mark.parametrize("tilt", [0.0, 0.5, 0.78])
def test_the_slope_is_what_central_differences_measure(tilt):
    for x, y in ((-4.0, 0.5), (1.0, -2.0), (0.0, 0.0)):
        across = (height(x + 1e-5, y, tilt) - height(x - 1e-5, y, tilt)) / 2e-5
        up = (height(x, y + 1e-5, tilt) - height(x, y - 1e-5, tilt)) / 2e-5
        assert slope(x, y, tilt) == pytest.approx([across, up], abs=1e-6)


@pytest.mark.parametrize("kind, optimizer", [
    ("gradient descent", lambda w: torch.optim.SGD([w], lr=0.03)),
    ("momentum", lambda w: torch.optim.SGD([w], lr=0.03, momentum=0.8)),
    ("Adam", lambda w: torch.optim.Adam([w], lr=0.03, betas=(0.8, 0.99))),
])  # fmt: skip
def test_each_walker_goes_where_pytorch_s_optimizer_goes(kind, optimizer):
    w = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    steps, places = optimizer(w), [w.detach().numpy().copy()]
    for _ in range(30):
        w.grad = torch.tensor(slope(*w.tolist()))
        steps.step()
        places.append(w.detach().numpy().copy())
    assert walk(kind, START, 0.03, 0.8, 30) == pytest.approx(np.array(places), abs=1e-6)


def test_plain_descent_diverges_above_two_over_the_steepest_slope_and_momentum_later():
    ends = [height(*walk("gradient descent", START, rate, 0.8, 400)[-1]) for rate in (1.98 / STEEP, 2.02 / STEEP)]
    assert ends[0] < 0.01 < 100 < ends[1]
    limit = 2 * (1 + 0.8) / STEEP
    ends = [height(*walk("momentum", START, rate * limit, 0.8, 400)[-1]) for rate in (0.98, 1.02)]
    assert ends[0] < 0.01 < 100 < ends[1]


def test_the_widget_walks_with_its_own_settings():
    valley = Valley(start=[1.0, 2.0], lr=0.01, adam_lr=0.3, momentum=0.5, tilt=0.1, steps=7)
    paths = valley.paths()
    assert list(paths) == [name for name, _, _ in WALKERS] and paths["Adam"].shape == (8, 2)
    assert (paths["Adam"] == walk("Adam", (1.0, 2.0), 0.3, 0.5, 7, 0.1)).all()
    assert (paths["momentum"] == walk("momentum", (1.0, 2.0), 0.01, 0.5, 7, 0.1)).all()


def test_an_unknown_walker_is_named():
    with pytest.raises(CourseError, match="'SGD' does not walk here"):
        walk("SGD", START, 0.1, 0.8, 3)
