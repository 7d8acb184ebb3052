"""Pictures of text: where a tokenizer cuts it, how windows are cut from it, and what happens in a story."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bigmodel_lib.storyworld.story import Story
from bigmodel_lib.text.tokenizers import text_of
from bigmodel_lib.viz.attention import fonts_for
from bigmodel_lib.viz.plots import BLUE, DARK, GREEN, ORANGE, PINK, RED, SKY, new_axes

FILLS = (SKY, ORANGE, GREEN, PINK)  # tokens take turns
WIDTH = 76  # columns of a token map; a Chinese character takes two


def _columns(text: str) -> list[tuple[int, int, int]]:
    """(row, first column, columns) of each character, broken at line ends and after WIDTH columns."""
    places = []
    row = column = 0
    for character in text:
        size = 2 if ord(character) >= 0x2E80 else 1
        if column + size > WIDTH:
            row, column = row + 1, 0
        places.append((row, column, size))
        row, column = (row + 1, 0) if character == "\n" else (row, column + size)
    return places


def draw_token_map(title: str, cuts: Mapping[str, Sequence[bytes]]) -> Axes:
    """Texts with a colour for each token; a character of several is striped. cuts {label: the bytes of each token}."""
    texts = {label: b"".join(pieces).decode("utf-8") for label, pieces in cuts.items()}
    heights = {label: _columns(text)[-1][0] + 1 for label, text in texts.items()}
    rows = sum(heights.values()) + 0.9 * len(cuts)
    ax = new_axes(title, "", "", 9.2, 0.27 * rows + 0.5)
    ax.set_axis_off()
    ax.set(xlim=(0, WIDTH), ylim=(rows, 0))
    top = 0.0
    for label, pieces in cuts.items():
        ax.text(0, top + 0.5, f"{label}: {len(pieces)} tokens", fontsize=9.5, weight="bold", va="center", color=DARK)
        _draw_pieces(ax, texts[label], pieces, top + 0.9)
        top += heights[label] + 0.9
    return ax


def _draw_pieces(ax: Axes, text: str, pieces: Sequence[bytes], top: float) -> None:
    """One text, its tokens shaded in turn."""
    owners = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])  # of each byte
    fonts = ["DejaVu Sans Mono", *fonts_for([text])]
    byte = 0
    for character, (row, column, size) in zip(text, _columns(text), strict=True):
        n = len(character.encode("utf-8"))
        for part, owner in enumerate(owners[byte : byte + n]):
            corner = (column + part * size / n, top + row + 0.06)
            colour = FILLS[owner % len(FILLS)]
            ax.add_patch(plt.Rectangle(corner, size / n, 0.88, facecolor=colour, alpha=0.45, linewidth=0))
        middle = column + size / 2, top + row + 0.5
        shown = character.replace("\n", "⏎")
        ax.text(*middle, shown, ha="center", va="center", family=fonts, fontsize=10.5)
        byte += n


def draw_windows(words: Sequence[str], starts: Sequence[int], length: int) -> Axes:
    """A text as a strip of tokens, and below it windows cut from it: the inputs, and the targets one step later."""
    n = len(words)
    ax = new_axes("The target is the same text, one step later", "", "", 9.6, 1.1 + 0.95 * len(starts))
    ax.set_axis_off()
    ax.set(xlim=(-1.6, n), ylim=(1.4 + 1.75 * len(starts), -0.6))
    _draw_strip(ax, words, range(n), 0.0, "#dddddd", "text")
    for i, start in enumerate(starts):
        y = 1.55 + 1.75 * i
        _draw_strip(ax, words, range(start, start + length), y, BLUE, "x")
        _draw_strip(ax, words, range(start + 1, start + length + 1), y + 0.72, ORANGE, "y")
    return ax


def _draw_strip(ax: Axes, words: Sequence[str], places: Sequence[int], y: float, colour: str, name: str) -> None:
    ax.text(places[0] - 0.15, y, name, ha="right", va="center", fontsize=10, weight="bold", color=DARK)
    for place in places:
        ax.add_patch(plt.Rectangle((place + 0.03, y - 0.3), 0.94, 0.6, facecolor=colour, alpha=0.4, linewidth=0))
        ax.text(place + 0.5, y, words[place], ha="center", va="center", fontsize=9)


def draw_story(story: Story, told: Sequence[int]) -> Axes:
    """A story as a comic: a panel for each of some sentences, its rooms as boxes, with people and things in them."""
    columns = 3
    rows = -(-len(told) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(9.6, 2.05 * rows), layout="constrained", squeeze=False)
    people = [fact[1] for fact in story.facts[-1] if fact[0] == "person"]
    colours = dict(zip(people, (RED, BLUE, GREEN, PINK) * 3, strict=False))
    for ax, number in zip(axes.flat, told, strict=False):
        _draw_panel(ax, story, number, colours)
    for ax in axes.flat[len(told) :]:
        ax.set_visible(False)
    axes[0, 0].figure.suptitle("What the world knows, sentence by sentence", x=0.01, ha="left", fontsize=12)
    return axes[0, 0]


def _draw_panel(ax: Axes, story: Story, number: int, colours: Mapping[str, str]) -> None:
    """One moment: each room with who and what is in it."""
    facts: dict[Any, Any] = story.facts[number]
    rooms = list(story.steps[0].filling)
    ax.set_axis_off()
    ax.set(xlim=(0, len(rooms)), ylim=(0, 1.25))
    ax.set_title(textwrap.fill(text_of(story.sentences[number]), 40), loc="left", fontsize=10)
    for i, room in enumerate(rooms):
        ax.add_patch(plt.Rectangle((i + 0.03, 0.03), 0.94, 1.0, facecolor="#f4f4f4", edgecolor="#999999"))
        ax.text(i + 0.5, 1.12, room, ha="center", va="center", fontsize=9, color=DARK)
        for row, (words, colour, marker, held) in enumerate(_who_and_what(facts, room, colours)):
            left = i + (0.24 if held else 0.13)
            y = 0.88 - 0.24 * row
            ax.plot(left, y, marker, color=colour, markersize=8)
            ax.text(left + 0.1, y, words, va="center", fontsize=9, color=DARK)


def _who_and_what(facts: dict[Any, Any], room: str, colours: Mapping[str, str]) -> list[tuple[str, str, str, bool]]:
    """(words, colour, marker, whether it is held) of each line in a room's box."""
    things = {fact[1]: facts[fact] for fact in facts if fact[0] == "thing"}
    found = []
    for person in (fact[1] for fact in facts if fact[0] == "person" and facts[fact] == room):
        found.append((person, colours[person], "o", False))
        found += [(thing, ORANGE, "s", True) for thing, where in things.items() if where == person]
    found += [(thing, ORANGE, "s", False) for thing, where in things.items() if where == room]
    return found
