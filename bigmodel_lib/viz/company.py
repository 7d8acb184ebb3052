"""A company to play with: a plan of seven numbers, and 24 months of cash. Its script is beside it and counts, too."""

from typing import Any

import numpy as np
import traitlets
from numpy import ndarray

from bigmodel_lib.viz.plots import BLUE, GREY, RED, new_axes
from bigmodel_lib.viz.widgets import Toy

Plan = dict[str, float]
MONTHS = 24
FIELDS = ("price", "requests", "growth", "fall", "cost", "fixed", "one_off")  # what has a slider


def cash(plan: Plan, months: int = MONTHS) -> ndarray:
    """The cash at the start and after each month, (months + 1,), in dollars; below 0 it has to come from somebody.

    Month m = 0, 1, … has n = requests · (1 + growth)^m. Price and cost of a request are worth (1 - fall)^m of what they
    were. It brings n · (price - cost) - fixed, and before the first month one_off is paid.
    """
    m = np.arange(months)
    n = plan["requests"] * (1 + plan["growth"]) ** m
    margin = (plan["price"] - plan["cost"]) * (1 - plan["fall"]) ** m
    return np.cumsum(np.concatenate([[-plan["one_off"]], n * margin - plan["fixed"]]))


def money(dollars: float) -> str:
    """Dollars in words that fit on a label: "−$120k", "$1.8M"."""
    size, unit = (1e6, "M") if abs(dollars) >= 999_500 else (1e3, "k")
    sign = "−" if dollars <= -0.5 * size / 10 else ""
    return f"{sign}${abs(dollars) / size:.{1 if unit == 'M' else 0}f}{unit}"


class Company(Toy):
    """A plan whose numbers the reader sets, and presets to start from."""

    caption = "In JupyterLab: choose a way, move the sliders, and watch two years of cash. "
    caption += "The grey line is the way as it was chosen."
    ways = traitlets.Dict().tag(sync=True)  # {name: plan}
    way = traitlets.Unicode().tag(sync=True)
    price = traitlets.Float().tag(sync=True)
    requests = traitlets.Float().tag(sync=True)
    growth = traitlets.Float().tag(sync=True)
    fall = traitlets.Float().tag(sync=True)
    cost = traitlets.Float().tag(sync=True)
    fixed = traitlets.Float().tag(sync=True)
    one_off = traitlets.Float().tag(sync=True)

    def __init__(self, ways: dict[str, Plan], **more: float):
        way = next(iter(ways))
        super().__init__(ways=ways, way=way, **{**ways[way], **more})

    def picture(self) -> tuple[Any, str]:
        plan = {name: getattr(self, name) for name in FIELDS}  # as the sliders stand
        now, before = cash(plan), cash(self.ways[self.way])
        title = f"{self.way}: {money(now[-1])} after two years, lowest {money(now.min())}".replace("$", r"\$")
        ax = new_axes(title, "month", "cash, thousand dollars", 7.0, 3.6)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.plot(before / 1e3, color=GREY, linewidth=1.2)
        ax.plot(now / 1e3, color=BLUE if now[-1] >= 0 else RED, linewidth=2.4)
        lowest = int(now.argmin())
        ax.plot(lowest, now[lowest] / 1e3, "o", color=RED)
        ax.set_xticks(range(0, MONTHS + 1, 6))
        return ax.figure, "A line of cash over 24 months that first falls, reaches a lowest point, and then rises."
