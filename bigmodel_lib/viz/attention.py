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


def draw_attention(
    weights: Any, tokens: Sequence[str], title: str | None = None, ax: Axes | None = None, power: bool = False
) -> Axes:
    """Attention maps with their tokens, on one scale from 0 to 1; returns the `ax` that carries the tokens.

    power: colours by `power_scale`, for the maps of trained models, most of whose weights are small.

    weights, an array or a tensor on any device: (T, T) for one map, drawn on `ax` if there is one; (H, T, T) for the
    heads of a layer, or (L, H, T, T) for all heads, each under its name "layer.head", with tokens at the bottom left.
    Raises CourseError for weights that do not fit the tokens, or are not between 0 and 1.
    """
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu().double()
    weights, T = np.asarray(weights, dtype=float), len(tokens)
    scale = power_scale(weights) if power else SCALE
    if weights.ndim not in (2, 3, 4) or weights.shape[-2:] != (T, T):
        raise CourseError(f"weights {weights.shape} do not fit {T} tokens: give (T, T), (H, T, T) or (L, H, T, T)")
    if not (weights.min() > -1e-4 and weights.max() < 1 + 1e-4):
        raise CourseError(f"weights from {weights.min():.3g} to {weights.max():.3g} were given: 0 to 1 was wanted")
    if weights.ndim > 2:
        return _wall(weights.reshape(-1, *weights.shape[-3:]), tokens, title or "Attention weights of all heads", scale)
    side = min(max(4.2, 0.13 * T + 1.2), 11.0)
    ax = ax or new_axes(title or "Attention weights", KEY, QUERY, side + 1.0, side)
    image = ax.imshow(weights, **scale)
    _label(ax, tokens)
    ax.figure.colorbar(image, ax=ax, label=LABEL[power], shrink=0.8)
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


def _wall(maps: ndarray, tokens: Sequence[str], title: str, scale: dict[str, Any]) -> Axes:
    """(L, H, T, T): a row for each layer, a column for each head."""
    L, H, T, _ = maps.shape
    side = 1.9 if H > 2 else 2.6
    figure = plt.figure(figsize=(side * H + 1.6, side * L + 1.3), layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    grid, image = _thumbnails(figure, maps, scale)
    corner = grid[L - 1, 0]
    corner.set_axis_on()
    corner.set(xlabel="key", ylabel="query")
    _label(corner, tokens, step=1 + (T - 1) // 16)
    figure.colorbar(image, ax=grid, label=LABEL[scale is not SCALE], shrink=min(1.0, 2.5 / L), aspect=25)
    return corner


def _thumbnails(figure: Any, maps: ndarray, scale: dict[str, Any]) -> tuple[ndarray, Any]:
    """Maps (L, H, T, T) with nothing but their names, "layer.head": (their axes, an image)."""
    grid = figure.subplots(*maps.shape[:2], squeeze=False)
    for layer, head in np.ndindex(grid.shape):
        image = grid[layer, head].imshow(maps[layer, head], **scale)
        grid[layer, head].set_title(f"{layer}.{head}", fontsize=9, pad=3)
        grid[layer, head].set_axis_off()
    return grid, image


def draw_explorer(maps: ndarray, large: ndarray, tokens: Sequence[str], query: int, title: str) -> Figure:
    """The explorer as a still picture: all maps (rows, columns, T, T) small, one large (T, T), a row of it framed.

    Of a long text the large one has the twelve rows that matter, and the framed one.
    """
    figure = plt.figure(figsize=(10.5, 5.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.0, 1.25))
    _thumbnails(halves[0], maps, power_scale(maps))
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
