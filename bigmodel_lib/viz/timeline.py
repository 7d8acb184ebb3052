"""Python and a GPU on one timeline: what is queued, what runs, and who waits. Its script is beside it."""

from typing import Any

import traitlets
from matplotlib.axes import Axes

from bigmodel_lib.viz.plots import GREY, ORANGE, PINK, SKY, new_axes
from bigmodel_lib.viz.widgets import Toy

Spans = list[tuple[str, float, float]]  # (what, where it begins, how long it takes), in microseconds


def timeline(kernels: int, launch: float, work: float, every: int) -> tuple[Spans, Spans]:
    """(Python's spans, the GPU's): Python queues one kernel after another, the GPU works them off in order.

    launch: microseconds that Python takes to queue a kernel, or to fetch a number; work: what the GPU takes for a
    kernel. After every `every` kernels (0: never) Python calls `.item()`: it waits for the last one, then fetches.
    """
    python: Spans = []
    gpu: Spans = []
    now = free = 0.0
    for place in range(1, kernels + 1):
        python.append(("launch", now, launch))
        now += launch
        gpu.append(("kernel", max(now, free), work))
        free = max(now, free) + work
        if every and place % every == 0:
            python.append(("wait", now, free - now))
            python.append(("fetch", free, launch))
            now = free + launch
    return python, gpu


class Timeline(Toy):
    """The timeline as something to play with; `busy` is the share of the time in which the GPU works."""

    caption = "In JupyterLab: move the sliders. When is the GPU never idle? What does one `.item()` cost, what do many?"
    kernels = traitlets.Int(8).tag(sync=True)
    launch = traitlets.Float(7.0).tag(sync=True)
    work = traitlets.Float(20.0).tag(sync=True)
    every = traitlets.Int(0).tag(sync=True)

    @property
    def microseconds(self) -> float:
        """How long all of it takes."""
        return max(begin + long for spans in self.spans() for _, begin, long in spans)

    @property
    def busy(self) -> float:
        return self.kernels * self.work / self.microseconds

    def spans(self) -> tuple[Spans, Spans]:
        return timeline(self.kernels, self.launch, self.work, self.every)

    def picture(self) -> tuple[Any, str]:
        settings = dict(kernels=self.kernels, launch=self.launch, work=self.work)
        ways = {"no .item()": 0, ".item() after every kernel": 1}
        ax = draw_timelines({name: Timeline(**settings, every=every) for name, every in ways.items()})
        alt = "Two timelines with lanes for Python and the GPU; with .item() the GPU has gaps and ends later."
        return ax.figure, alt


COLOURS = {"launch": ORANGE, "fetch": GREY, "wait": PINK, "kernel": SKY}


def draw_timelines(named: dict[str, Timeline]) -> Axes:
    """One below another, with a lane for Python above one for the GPU."""
    title = "Waiting after every kernel leaves gaps in the GPU's lane"
    ax = new_axes(title, "microseconds", "", 8.6, 1 + 1.2 * len(named))
    ticks = {}
    for row, (name, line) in enumerate(named.items()):
        for lane, spans in enumerate(line.spans()):
            y = -2.6 * row - lane
            ticks[y] = ("Python", "GPU")[lane]
            for what, begin, long in spans:
                ax.barh(y, long, 0.8, begin, color=COLOURS[what], edgecolor="white")
        ax.text(0, 0.55 - 2.6 * row, f"{name}: {line.microseconds:.0f} µs, GPU busy {line.busy:.0%}", fontsize=9.5)
    for what, colour in COLOURS.items():
        ax.bar(0, 0, color=colour, label=what)
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.set(ylabel="who", xlim=(0, None), ylim=(1.0 - 2.6 * len(named), 1.1))
    ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.25), edgecolor="none", fontsize=9)
    return ax
