"""Pictures of attention: maps of one head or of all, words with their weights, and what patching brings back.

Every map has its tokens on both axes, rows for the query (who looks), columns for the key (at whom), and one scale,
0 to 1. As in `plots`, each function takes and returns matplotlib `ax`.
"""

import functools
import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.plots import BLUE, GREY, RED, new_axes, readable

QUERY, KEY = "query: the token that looks", "key: the token looked at"
CHINESE_FONTS = (
    "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Microsoft YaHei",
    "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip


@functools.cache
def chinese_font() -> str | None:
    """The name of a font of this system that has Chinese characters, or None."""
    for look_again in (False, True):  # matplotlib's list of fonts may be older than the fonts
        if look_again:
            known = {font.fname for font in font_manager.fontManager.ttflist}
            for path in set(font_manager.findSystemFonts()) - known:
                try:
                    font_manager.fontManager.addfont(path)
                except Exception:
                    continue
        names = {font.name for font in font_manager.fontManager.ttflist}
        found = next((name for name in CHINESE_FONTS if name in names), None)
        if found:
            return found
    return None


def fonts_for(tokens) -> list:
    """The fonts in which all tokens can be read; warns where there is none for their Chinese characters."""
    ours = list(plt.rcParams["font.family"])
    if all(ord(character) < 0x2E80 for token in tokens for character in token):
        return ours
    if chinese_font() is None:
        warnings.warn(
            "no font with Chinese characters was found, so they show as boxes: install one, such as Noto Sans CJK "
            "(Debian and Ubuntu: apt install fonts-noto-cjk), and start the notebook again",
            stacklevel=2,
        )
        return ours
    return [*ours, chinese_font()]


def _label(ax, tokens, step=1, size=9.0):
    """Tokens on both axes, every `step`-th."""
    fonts, places = fonts_for(tokens), list(range(0, len(tokens), step))
    words = [readable(tokens[place]) for place in places]
    ax.set_xticks(places, words, fontsize=size, rotation=90 if max(map(len, words)) > 2 else 0, fontfamily=fonts)
    ax.set_yticks(places, words, fontsize=size, fontfamily=fonts)


def show_attention(weights, tokens, title=None, ax=None, layers=None):
    """Attention maps with their tokens, on one scale from 0 to 1; returns the (first) `ax`.

    weights: (T, T) for one map, (H, T, T) for the heads of a layer, or (L, H, T, T) for a wall of all heads, where only
    the map at the bottom left carries the tokens. layers: the names of the rows of a wall. Raises CourseError for
    weights that do not fit the tokens, or are not between 0 and 1.
    """
    weights, T = np.asarray(weights, dtype=float), len(tokens)
    if weights.ndim not in (2, 3, 4) or weights.shape[-2:] != (T, T):
        raise CourseError(f"weights {weights.shape} do not fit {T} tokens: give (T, T), (H, T, T) or (L, H, T, T)")
    if weights.size and not (weights.min() > -1e-4 and weights.max() < 1 + 1e-4):
        raise CourseError(f"weights from {weights.min():.3g} to {weights.max():.3g} were given: 0 to 1 was wanted")
    if weights.ndim == 2:
        side = min(max(3.4, 0.13 * T + 1.2), 11.0)
        ax = ax or new_axes(title or "Attention weights", KEY, QUERY, side + 1.0, side)
        image = ax.imshow(weights, cmap="cividis", vmin=0.0, vmax=1.0)
        _label(ax, tokens, size=float(np.clip(0.72 * 72 * (side - 1.2) / T, 5.5, 10)))
        ax.figure.colorbar(image, ax=ax, label="weight, 0 to 1", shrink=0.8)
        return ax
    wall = weights if weights.ndim == 4 else weights[None]
    return _wall(wall, tokens, title or "Attention weights of all heads", layers or range(len(wall)))


def _wall(weights, tokens, title, names):
    """(L, H, T, T): a row for each layer, a column for each head."""
    L, H, T, _ = weights.shape
    side = 1.9 if H > 2 else 2.6
    figure, grid = plt.subplots(L, H, figsize=(side * H + 1.6, side * L + 1.3), layout="constrained", squeeze=False)
    for layer, name in enumerate(names):
        for head in range(H):
            ax = grid[layer, head]
            image = ax.imshow(weights[layer, head], cmap="cividis", vmin=0.0, vmax=1.0)
            ax.set_title(f"{name}.{head}", fontsize=9, pad=3)
            if (layer, head) != (L - 1, 0):
                ax.set_axis_off()
    corner = grid[L - 1, 0]
    _label(corner, tokens, step=1 + (T - 1) // 16, size=6.5)
    corner.set(xlabel="key", ylabel="query")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    corner.set_title(f"{names[-1]}.0", fontsize=9, pad=3)
    figure.colorbar(image, ax=grid, label="weight, 0 to 1", shrink=min(1.0, 2.5 / L), aspect=25)
    return corner


def outline(ax, on, colour=RED):
    """A frame around the squares of a map where `on`, (T, T), is True."""
    for query, key in np.argwhere(np.asarray(on)):
        ax.add_patch(plt.Rectangle((key - 0.5, query - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=0.8))
    return ax


def draw_words(rows, tokens, ax=None, title="Which words a method points at", per_line=18):
    """A text with each token shaded by its score, once for each method. rows {name: (T,) scores from 0 to 1}."""
    lines = -(-len(tokens) // per_line)
    ax = ax or new_axes(title, "", "", 10.0, 0.5 + (0.3 * lines + 0.25) * len(rows))
    ax.set_axis_off()
    ax.set(xlim=(0, 100), ylim=(-((lines + 0.8) * len(rows)), 0.3))
    fonts = fonts_for(tokens)
    for number, (name, scores) in enumerate(rows.items()):
        top = -number * (lines + 0.8)
        ax.text(0, top - 0.5, name, fontsize=9, va="center", weight="bold")
        for line in range(lines):
            x = 17.0
            for place in range(line * per_line, min(len(tokens), (line + 1) * per_line)):
                word, score = readable(tokens[place]), float(np.clip(scores[place], 0, 1))
                width = 1.0 + 0.92 * len(word) * (2 if ord(word[0]) > 0x2E80 else 1)
                box = plt.Rectangle((x, top - line - 0.92), width, 0.84, color=BLUE, alpha=score, linewidth=0)
                ax.add_patch(box)
                ax.text(x + width / 2, top - line - 0.5, word, fontsize=8, ha="center", va="center",
                        color="white" if score > 0.55 else "black", fontfamily=fonts)  # fmt: skip
                x += width + 0.15
    return ax


def draw_shares(shares, tokens, ax=None, title="What comes back when one place is patched"):
    """Patching as a map: shares (L + 1, T), a row for each layer, a column for each token; 0 nothing, 1 all."""
    shares = np.asarray(shares, dtype=float)
    ax = ax or new_axes(title, "place that is patched", "before layer", max(5.0, 0.17 * len(tokens) + 2.0), 2.9)
    image = ax.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto", origin="lower")
    ax.set_xticks(range(len(tokens)), [readable(t) for t in tokens], rotation=90, fontsize=7.5,
                  fontfamily=fonts_for(tokens))  # fmt: skip
    ax.set_yticks(range(len(shares)), [*map(str, range(len(shares) - 1)), "output"])
    ax.figure.colorbar(image, ax=ax, label="share that comes back")
    return ax


def draw_ranking(
    rows, ax=None, title="How often a method's top token is right", x="share of hits", chance=None, each=None
):
    """Ranked points with their intervals. rows {name: (mean, half-width)} in any order; the best stands on top.

    chance: the names that are drawn in grey. each: {name: values} that get a stroke each, such as one for each model.
    """
    ranked = sorted(rows.items(), key=lambda row: row[1][0])
    ax = ax or new_axes(title, x, "method", 8.0, 0.6 + 0.36 * len(rows))
    for place, (name, (mean, half)) in enumerate(ranked):
        ax.errorbar(mean, place, xerr=half, fmt="o", color=GREY if name in (chance or ()) else BLUE, capsize=3)
        values = (each or {}).get(name, ())
        ax.plot(values, [place] * len(values), "|", color="black", markersize=9)
    ax.set_yticks(range(len(ranked)), [name for name, _ in ranked])
    ax.set_xlim(0, 1)
    ax.grid(axis="x", alpha=0.3)
    return ax


def draw_explorer(maps, large, tokens, chosen):
    """A figure, the still picture of the explorer: the text shaded by the chosen row, all maps small, one large.

    maps (rows, columns, T, T), large (T, T), chosen as in `AttentionExplorer.selection`.
    """
    R, C, T, _ = maps.shape
    lines = -(-T // 18)
    figure = plt.figure(figsize=(10.5, 5.6 + 0.3 * lines), layout="constrained")
    top, below = figure.subfigures(2, 1, height_ratios=(0.5 + 0.3 * lines, 5.2))
    ax = draw_words({f"“{readable(chosen['token'])}”\nlooks at": large[chosen["query"]]}, tokens, top.subplots(),
                    title="")  # fmt: skip
    ax.set_title(f"Attention explorer: {chosen['method']}, layer {chosen['layer']}, head {chosen['head']}", loc="left")
    small, right = below.subfigures(1, 2, width_ratios=(1.0, 1.25))
    for (row, column), one in zip(np.ndindex(R, C), np.ravel(small.subplots(R, C, squeeze=False)), strict=True):
        one.imshow(maps[row, column], cmap="cividis", vmin=0.0, vmax=1.0)
        one.set_axis_off()
        one.set_title(f"{row}.{column}" if C > 1 else f"{row}", fontsize=8, pad=2)
    big = right.subplots()
    image = big.imshow(large, cmap="cividis", vmin=0.0, vmax=1.0)
    _label(big, tokens, size=float(np.clip(230 / T, 4.5, 9)))
    big.set(xlabel=KEY, ylabel=QUERY)
    big.add_patch(plt.Rectangle((-0.5, chosen["query"] - 0.5), T, 1, fill=False, edgecolor=RED, linewidth=1.5))
    right.colorbar(image, ax=big, label="0 to 1", shrink=0.7)
    return figure
