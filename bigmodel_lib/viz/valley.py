"""A valley to walk down: gradient descent, momentum and Adam from one place. Its script is beside it and walks too."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from numpy import ndarray

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.plots import BLUE, GREEN, GREY, RED, new_axes
from bigmodel_lib.viz.widgets import Toy

STEEP, TILT = 20.0, 0.5  # how much steeper the walls are than the floor; the valley's angle in radians
WIDE, HIGH = 5.0, 3.2  # the map's edges
WALKERS = (("gradient descent", BLUE, "o"), ("momentum", RED, "s"), ("Adam", GREEN, "^"))


def height(x: ndarray, y: ndarray, tilt: float = TILT) -> ndarray:
    """(along² + 20 · across²) / 2, along and across a valley that is turned by `tilt` radians."""
    along, across = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
    return (along**2 + STEEP * across**2) / 2


def slope(x: float, y: float, tilt: float = TILT) -> ndarray:
    """The gradient of `height` at a place, (2,)."""
    turned = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    return turned @ (np.array([1.0, STEEP]) * (turned.T @ np.array([x, y])))


def walk(kind: str, start: Sequence[float], lr: float, beta: float, steps: int, tilt: float = TILT) -> ndarray:
    """The places that "gradient descent", "momentum" or "Adam" visits, (steps + 1, 2). Adam: β₁ = beta, β₂ = 0.99."""
    if kind not in [name for name, _, _ in WALKERS]:
        raise CourseError(f"{kind!r} does not walk here: choose gradient descent, momentum or Adam")
    place, m, s = np.array(start, float), np.zeros(2), np.zeros(2)
    places = [place.copy()]
    for n in range(1, steps + 1):
        g = slope(place[0], place[1], tilt)
        if kind == "gradient descent":
            place -= lr * g
        elif kind == "momentum":
            m = beta * m + g
            place -= lr * m
        else:
            m, s = beta * m + (1 - beta) * g, 0.99 * s + 0.01 * g * g
            place -= lr * (m / (1 - beta**n)) / (np.sqrt(s / (1 - 0.99**n)) + 1e-8)
        places.append(place.copy())
    return np.array(places)


class Valley(Toy):
    """The valley as something to play with; Adam has a rate of its own, since its steps are about that long."""

    caption = "In JupyterLab: click a place to start from, "
    caption += "move the sliders, and watch the three walk. × marks the minimum."
    start = traitlets.List(traitlets.Float(), [-4.0, 0.5]).tag(sync=True)
    lr = traitlets.Float(0.04).tag(sync=True)
    adam_lr = traitlets.Float(0.2).tag(sync=True)
    momentum = traitlets.Float(0.8).tag(sync=True)
    tilt = traitlets.Float(TILT).tag(sync=True)
    steps = traitlets.Int(40).tag(sync=True)

    def paths(self) -> dict[str, ndarray]:
        """The three walks with the settings as they are, {name: (steps + 1, 2)}."""
        rates = {"gradient descent": self.lr, "momentum": self.lr, "Adam": self.adam_lr}
        return {kind: walk(kind, self.start, lr, self.momentum, self.steps, self.tilt) for kind, lr in rates.items()}

    def picture(self) -> tuple[Any, str]:
        title = f"{self.steps} steps at rate {self.lr:g} (Adam: {self.adam_lr:g})"
        ax = new_axes(f"Three ways down a valley: {title}", "w₁", "w₂", 6.6, 4.2)
        x, y = np.meshgrid(np.linspace(-WIDE, WIDE, 120), np.linspace(-HIGH, HIGH, 90))
        levels = [0.1, 0.5, 1.5, 4, 9, 18, 32, 50, 80]
        ax.contour(x, y, height(x, y, self.tilt), levels=levels, colors=GREY, linewidths=0.6)
        for (kind, colour, marker), path in zip(WALKERS, self.paths().values(), strict=True):
            ax.plot(*path.T, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=kind)
        ax.plot(0, 0, "x", color="black", markersize=9, label="the minimum")
        ax.set(xlim=(-WIDE, WIDE), ylim=(-HIGH, HIGH))
        ax.legend(loc="upper right", fontsize=9)
        alt = "Contour lines of a narrow tilted valley; three paths lead from one start to the lowest point, marked ×."
        return ax.figure, alt
