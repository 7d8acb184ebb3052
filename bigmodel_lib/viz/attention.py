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
from matplotlib.figure import Figure
from numpy import ndarray

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.plots import RED, new_axes, readable

QUERY, KEY = "query: the token that looks", "key: the token looked at"
SCALE: dict[str, Any] = dict(cmap="cividis", vmin=0.0, vmax=1.0)
CHINESE_FONTS = (
    "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Microsoft YaHei",
    "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip


def _is_chinese(character: str) -> bool:
    return ord(character) >= 0x2E80


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
    if any(map(_is_chinese, "".join(tokens))):
        found = chinese_font()
        fonts += [found] if found else []
        if not found:
            advice = "install one (Debian, Ubuntu: apt install fonts-noto-cjk), and start the notebook again"
            warnings.warn(f"no font has these Chinese characters, so they show as boxes: {advice}", stacklevel=2)
    return fonts


def draw_attention(weights: Any, tokens: Sequence[str], title: str | None = None, ax: Axes | None = None) -> Axes:
    """Attention maps with their tokens, on one scale from 0 to 1; returns the `ax` that carries the tokens.

    weights, an array or a tensor on any device: (T, T) for one map, drawn on `ax` if there is one; (H, T, T) for the
    heads of a layer, or (L, H, T, T) for all heads, each under its name "layer.head", with tokens at the bottom left.
    Raises CourseError for weights that do not fit the tokens, or are not between 0 and 1.
    """
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu().double()
    weights, T = np.asarray(weights, dtype=float), len(tokens)
    if weights.ndim not in (2, 3, 4) or weights.shape[-2:] != (T, T):
        raise CourseError(f"weights {weights.shape} do not fit {T} tokens: give (T, T), (H, T, T) or (L, H, T, T)")
    if not (weights.min() > -1e-4 and weights.max() < 1 + 1e-4):
        raise CourseError(f"weights from {weights.min():.3g} to {weights.max():.3g} were given: 0 to 1 was wanted")
    if weights.ndim > 2:
        return _wall(weights.reshape(-1, *weights.shape[-3:]), tokens, title or "Attention weights of all heads")
    side = min(max(4.2, 0.13 * T + 1.2), 11.0)
    ax = ax or new_axes(title or "Attention weights", KEY, QUERY, side + 1.0, side)
    image = ax.imshow(weights, **SCALE)
    _label(ax, tokens)
    ax.figure.colorbar(image, ax=ax, label="weight, 0 to 1", shrink=0.8)
    return ax


def _label(ax: Axes, tokens: Sequence[str], step: int = 1) -> None:
    """Tokens on both axes, every `step`-th, as large as fits; words that are too long for a column go upwards."""
    words = [readable(token) for token in tokens[::step]]
    sides = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted()).size
    room = 72 * min(sides) / len(words)  # points for one word
    size = float(np.clip(0.72 * room, 4.5, 10))
    letters = max(sum(1 + _is_chinese(character) for character in word) for word in words)  # as wide as Latin ones
    upwards = 0.7 * size * letters > room
    style: dict[str, Any] = dict(fontsize=size, fontfamily=fonts_for(tokens))
    places = range(0, len(tokens), step)
    ax.set_xticks(places, words, rotation=90 if upwards else 0, **style)
    ax.set_yticks(places, words, **style)


def _wall(maps: ndarray, tokens: Sequence[str], title: str) -> Axes:
    """(L, H, T, T): a row for each layer, a column for each head."""
    L, H, T, _ = maps.shape
    side = 1.9 if H > 2 else 2.6
    figure = plt.figure(figsize=(side * H + 1.6, side * L + 1.3), layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    grid, image = _thumbnails(figure, maps)
    corner = grid[L - 1, 0]
    corner.set_axis_on()
    corner.set(xlabel="key", ylabel="query")
    _label(corner, tokens, step=1 + (T - 1) // 16)
    figure.colorbar(image, ax=grid, label="weight, 0 to 1", shrink=min(1.0, 2.5 / L), aspect=25)
    return corner


def _thumbnails(figure: Any, maps: ndarray) -> tuple[ndarray, Any]:
    """Maps (L, H, T, T) with nothing but their names, "layer.head": (their axes, an image)."""
    grid = figure.subplots(*maps.shape[:2], squeeze=False)
    for layer, head in np.ndindex(grid.shape):
        image = grid[layer, head].imshow(maps[layer, head], **SCALE)
        grid[layer, head].set_title(f"{layer}.{head}", fontsize=9, pad=3)
        grid[layer, head].set_axis_off()
    return grid, image


def draw_explorer(maps: ndarray, large: ndarray, tokens: Sequence[str], query: int, title: str) -> Figure:
    """The explorer as a still picture: all maps (rows, columns, T, T) small, one large (T, T), a row of it framed."""
    figure = plt.figure(figsize=(10.5, 5.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.0, 1.25))
    _thumbnails(halves[0], maps)
    big = draw_attention(large, tokens, ax=halves[1].subplots())
    big.set(xlabel=KEY, ylabel=QUERY)
    big.add_patch(plt.Rectangle((-0.5, query - 0.5), len(tokens), 1, fill=False, edgecolor=RED, linewidth=1.5))
    return figure
