"""A threshold to move: who is treated from this risk on, and what both kinds of errors cost. Its script is beside."""

from typing import Any

import numpy as np
import traitlets
from numpy.typing import ArrayLike
from scipy.special import logit

from bigmodel_lib.config import require
from bigmodel_lib.risk.scores import net_benefit
from bigmodel_lib.viz.plots import BLUE, GREY, RED, new_axes
from bigmodel_lib.viz.widgets import Toy

EDGE = 7.0  # log-odds at which the axis ends


class Threshold(Toy):
    """Everybody as a dot at their risk, the ill above and the well below, and a threshold between treated and not."""

    caption = "In JupyterLab: move the slider, or click where the threshold should be. Hollow dots are errors."
    risks = traitlets.List(traitlets.Float()).tag(sync=True)
    ill = traitlets.List(traitlets.Int()).tag(sync=True)
    threshold = traitlets.Float(0.5).tag(sync=True)

    def __init__(self, y: ArrayLike, risk: ArrayLike, threshold: float = 0.5, **more: Any):
        y, risk = np.asarray(y), np.asarray(risk, dtype=float)
        require(y.shape == risk.shape and y.ndim == 1, f"as many labels as risks were wanted: {y.shape}, {risk.shape}")
        super().__init__(ill=y.astype(int).tolist(), risks=risk.tolist(), threshold=threshold, **more)

    def words(self) -> str:
        """What the threshold does, as the page says it, too."""
        y, risk, t = np.array(self.ill), np.array(self.risks), self.threshold
        treated = risk >= t
        hits, alarms, ill = int((treated & (y == 1)).sum()), int((treated & (y == 0)).sum()), int(y.sum())
        worth = f"net benefit {net_benefit(y, risk, t):.3f} (everybody {net_benefit(y, np.ones_like(risk), t):.3f})"
        counts = f"{hits} of {ill} found, {ill - hits} missed, {alarms} needless"
        return f"From a risk of {t:.2f} on: {counts}; {worth}"

    def picture(self) -> tuple[Any, str]:
        y, risk = np.array(self.ill), np.array(self.risks)
        ax = new_axes(self.words(), "risk that was said", " ", 8.6, 2.8)
        x = np.clip(logit(risk), -EDGE, EDGE)
        up = y + 0.62 * (np.arange(len(y)) * 0.618 % 1) - 0.31
        for is_ill, colour in ((1, RED), (0, BLUE)):
            for treated, filled in ((is_ill, colour), (1 - is_ill, "none")):
                here = (y == is_ill) & ((risk >= self.threshold) == treated)
                ax.scatter(x[here], up[here], s=16, facecolor=filled, edgecolor=colour)
        ax.axvline(logit(self.threshold), color=GREY)
        marks = np.array([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
        ax.set_xticks(logit(marks), [f"{m:g}" for m in marks])
        ax.set_yticks([0, 1], ["benign", "malignant"])
        return ax.figure, "Two rows of dots along the risk, malignant above benign, and a line for the threshold."
