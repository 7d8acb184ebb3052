"""A valley to walk down: SGD, momentum and Adam from the same place. Its script is beside it and does the walking."""

import pathlib

import anywidget
import numpy as np
import traitlets
from numpy import ndarray

from bigmodel_lib.viz.plots import BLUE, GREEN, GREY, RED, bundle, new_axes
from bigmodel_lib.viz.widgets import display_with_twin

FOLDER = pathlib.Path(__file__).resolve().parent
STEEP, TILT = 20.0, 0.5  # how much steeper the walls are than the floor; the valley's angle
CAPTION = "In JupyterLab: click a place to start from, move the sliders, and watch the three walk."


def height(x: ndarray, y: ndarray) -> ndarray:
    """(along² + 20 · across²) / 2, along and across a valley that is turned by 0.5 radians."""
    along, across = np.cos(TILT) * x + np.sin(TILT) * y, np.cos(TILT) * y - np.sin(TILT) * x
    return (along**2 + STEEP * across**2) / 2


def slope(x: float, y: float) -> ndarray:
    """The gradient of `height` at a place, (2,)."""
    along, across = np.cos(TILT) * x + np.sin(TILT) * y, np.cos(TILT) * y - np.sin(TILT) * x
    turned = np.array([[np.cos(TILT), -np.sin(TILT)], [np.sin(TILT), np.cos(TILT)]])
    return turned @ np.array([along, STEEP * across])


def walk(kind: str, start: tuple[float, float], lr: float, momentum: float, steps: int) -> ndarray:
    """The places that "SGD", "momentum" or "Adam" visits, (steps + 1, 2); β₂ is 0.99."""
    place, m, s = np.array(start, float), np.zeros(2), np.zeros(2)
    places = [place.copy()]
    for n in range(1, steps + 1):
        g = slope(*place)
        if kind == "SGD":
            place -= lr * g
        elif kind == "momentum":
            m = momentum * m + g
            place -= lr * m
        else:
            m, s = momentum * m + (1 - momentum) * g, 0.99 * s + 0.01 * g * g
            place -= 4 * lr * (m / (1 - momentum**n)) / (np.sqrt(s / (1 - 0.99**n)) + 1e-8)
        places.append(place.copy())
    return np.array(places)


class Valley(anywidget.AnyWidget):
    """The valley as something to play with; Adam walks with four times the rate, since its steps have length lr."""

    _esm = (FOLDER / "valley.js").read_text(encoding="utf-8")
    _css = (FOLDER / "valley.css").read_text(encoding="utf-8")
    start = traitlets.List(traitlets.Float(), [-4.0, 0.5]).tag(sync=True)
    lr = traitlets.Float(0.04).tag(sync=True)
    momentum = traitlets.Float(0.8).tag(sync=True)
    steps = traitlets.Int(40).tag(sync=True)

    def _ipython_display_(self) -> None:
        ax = new_axes(f"Three ways down a valley, {self.steps} steps at rate {self.lr:g}", "w₁", "w₂", 6.6, 4.2)
        x, y = np.meshgrid(np.linspace(-5, 5, 120), np.linspace(-3.2, 3.2, 90))
        ax.contour(x, y, height(x, y), levels=[0.1, 0.5, 1.5, 4, 9, 18, 32, 50, 80], colors=GREY, linewidths=0.6)
        for kind, colour, marker in (("SGD", BLUE, "o"), ("momentum", RED, "s"), ("Adam", GREEN, "^")):
            path = walk(kind, (self.start[0], self.start[1]), self.lr, self.momentum, self.steps)
            ax.plot(*path.T, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=kind)
        ax.legend(loc="upper right")
        alt = "Contour lines of a narrow tilted valley with three paths from the same start towards its lowest point."
        display_with_twin(self, *bundle(ax.figure, alt), CAPTION)
