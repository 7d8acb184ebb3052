"""Pictures of attention. A map's rows are queries (who looks), its columns keys (at whom), on one scale, 0 to 1."""

import contextlib
import functools
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy import ndarray

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.plots import RED, new_axes, readable

QUERY, KEY = "query: the token that looks", "key: the token looked at"
SCALE: dict[str, Any] = dict(cmap="cividis", vmin=0.0, vmax=1.0)
ROWS, LONG = 12, 24  # the explorer shows the rows that matter of a text with more than LONG tokens
LABEL = {False: "weight, 0 to 1", True: "weight (colours: its square root)"}
CHINESE_FONTS = (
    "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Microsoft YaHei",
    "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip


def power_scale(weights: Any) -> dict[str, Any]:
    """Colours that grow with the square root of a weight, up to the largest: small weights can be told apart."""
    return dict(cmap="cividis", norm=PowerNorm(0.5, vmin=0.0, vmax=max(float(np.max(weights)), 1e-9)))


def rows_that_matter(weights: Any, count: int) -> ndarray:
    """The rows of a causal map that are furthest from an even look, in their order: (T, T) -> (count,) at most.

    Row i sees n = i + 1 keys; how far it is, in nats, is ln n minus its entropy.
    """
    weights = np.asarray(weights, dtype=float)
    entropy = -(weights * np.log(np.where(weights > 0, weights, 1.0))).sum(axis=1)
    far = np.log(np.arange(1, len(weights) + 1)) - entropy
    return np.sort(np.argsort(-far, kind="stable")[:count])


def columns(text: str) -> int:
    """How many letters wide a text is; a Chinese character is as wide as two."""
    return sum(2 if character >= "\u2e80" else 1 for character in text)


@functools.cache
def chinese_font() -> str | None:
    """The name of a font of this system that has Chinese characters, or None."""
    manager = font_manager.fontManager
    for path in set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}:
        with contextlib.suppress(Exception):  # a file that is no font
            manager.addfont(path)  # newer than matplotlib's list
    names = {font.name for font in manager.ttflist}
    return next((name for name in CHINESE_FONTS if name in names), None)


def fonts_for(tokens: Sequence[str]) -> list[str]:
    """The fonts in which all tokens can be read; warns where there is none for their Chinese characters."""
    fonts = list(plt.rcParams["font.family"])
    if any(columns(token) > len(token) for token in tokens):
        found = chinese_font()
        fonts += [found] if found else []
        if not found:
            advice = "install one (Debian, Ubuntu: apt install fonts-noto-cjk), and start the notebook again"
            warnings.warn(f"no font has these Chinese characters, so they show as boxes: {advice}", stacklevel=2)
    return fonts


def draw_attention(
    weights: Any, tokens: Sequence[str], title: str = "Attention weights", ax: Axes | None = None, power: bool = False
) -> Axes:
    """An attention map (T, T) with its tokens, on a scale from 0 to 1; returns the `ax` that it was drawn on.

    weights: an array, or a tensor on any device. power: colours by `power_scale`, for trained models, most of whose
    weights are small. Raises CourseError for weights that do not fit the tokens, or are not between 0 and 1.
    """
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu().double()
    weights, T = np.asarray(weights, dtype=float), len(tokens)
    if weights.shape != (T, T):
        raise CourseError(f"weights {weights.shape} do not fit {T} tokens: ({T}, {T}) was wanted")
    if not (weights.min() > -1e-4 and weights.max() < 1 + 1e-4):
        raise CourseError(f"weights from {weights.min():.3g} to {weights.max():.3g} were given: 0 to 1 was wanted")
    side = min(max(4.2, 0.13 * T + 1.2), 11.0)
    ax = ax or new_axes(title, KEY, QUERY, side + 1.0, side)
    image = ax.imshow(weights, **(power_scale(weights) if power else SCALE))
    _label(ax, tokens)
    ax.figure.colorbar(image, ax=ax, label=LABEL[power], shrink=0.8)
    return ax


def _label(ax: Axes, tokens: Sequence[str]) -> None:
    """Tokens on both axes, as large as fits; words that are too long for a column go upwards."""
    words = [readable(token) for token in tokens]
    sides = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted()).size
    room = 72 * min(sides) / len(words)  # points for one word
    size = float(np.clip(0.72 * room, 4.5, 10))
    upwards = 0.7 * size * max(map(columns, words)) > room
    style: dict[str, Any] = dict(fontsize=size, fontfamily=fonts_for(tokens))
    ax.set_xticks(range(len(words)), words, rotation=90 if upwards else 0, **style)
    ax.set_yticks(range(len(words)), words, **style)


def draw_explorer(maps: ndarray, large: ndarray, tokens: Sequence[str], query: int, title: str) -> Figure:
    """The explorer as a still picture: all maps (rows, columns, T, T) small, one large (T, T), a row of it framed.

    Of a long text the large one has the twelve rows that matter, and the framed one.
    """
    figure = plt.figure(figsize=(10.5, 5.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.0, 1.25))
    grid, scale = halves[0].subplots(*maps.shape[:2], squeeze=False), power_scale(maps)
    for layer, head in np.ndindex(grid.shape):
        grid[layer, head].imshow(maps[layer, head], **scale)
        grid[layer, head].set_title(f"{layer}.{head}", fontsize=9, pad=3)
        grid[layer, head].set_axis_off()
    ax, rows = halves[1].subplots(), np.arange(len(tokens))
    _label(ax, tokens)
    if len(tokens) > LONG:
        rows = np.union1d(rows_that_matter(large, ROWS), [query])
        words = [readable(tokens[int(i)]) for i in rows]
        ax.set_yticks(range(len(rows)), words, fontfamily=fonts_for(tokens), fontsize=9)
    image = ax.imshow(large[rows], aspect="auto", **power_scale(large))
    ax.figure.colorbar(image, ax=ax, label=LABEL[True], shrink=0.8)
    ax.set(xlabel=KEY, ylabel=QUERY)
    at = int(np.searchsorted(rows, query))
    ax.add_patch(plt.Rectangle((-0.5, at - 0.5), len(tokens), 1, fill=False, edgecolor=RED, linewidth=1.5))
    return figure
