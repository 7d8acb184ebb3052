"""Pictures of text: where a tokenizer cuts it, texts token by token, and what happens in a story."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bigmodel_lib.storyworld.story import Story
from bigmodel_lib.text.tokenizers import text_of
from bigmodel_lib.viz.attention import columns, fonts_for
from bigmodel_lib.viz.plots import BLUE, DARK, GREEN, ORANGE, PINK, RED, SKY, new_canvas

FILLS = ((SKY, 0.45), (ORANGE, 0.45), (GREEN, 0.45), (PINK, 0.45))  # tokens take turns
GIVEN, WANTED = ("#bbbbbb", 0.35), (ORANGE, 0.6)
Pieces = Sequence[tuple[str, Sequence[Any]]]  # (a piece of text, its colours)


def _box(ax: Axes, x: float, y: float, width: float, height: float, colour: Any) -> None:
    ax.add_patch(plt.Rectangle((x, y), width, height, facecolor=colour, linewidth=0))


def draw_pieces(ax: Axes, pieces: Pieces, row: float = 0.0, gap: float = 0.0, fontsize: float = 10.5) -> float:
    """Pieces of text on their colours, from a row on; returns the row below them.

    A unit across is a letter; rows break where the axes end and after a line end. Several colours make stripes.
    """
    column, width = 0.0, ax.get_xlim()[1]
    fonts = ["DejaVu Sans Mono", *fonts_for([piece for piece, _ in pieces])]
    style: dict[str, Any] = dict(ha="center", va="center", family=fonts, fontsize=fontsize, parse_math=False)
    for piece, colours in pieces:
        size = columns(piece) + gap
        if column + size > width:
            row, column = row + 1, 0.0
        stripe = columns(piece) / len(colours)
        for place, colour in enumerate(colours):
            _box(ax, column + gap / 2 + place * stripe, row + 0.06, stripe, 0.88, colour)
        ax.text(column + size / 2, row + 0.5, piece.replace("\n", "⏎"), **style)
        row, column = (row + 1, 0.0) if piece == "\n" else (row, column + size)
    return row + 1


def draw_token_map(title: str, cuts: Mapping[str, Sequence[bytes]]) -> Axes:
    """Texts with a colour for each token; a character of several is striped. cuts {label: the bytes of each token}."""
    ax = new_canvas(title, 9.2, 1.0, (0, 76))
    row = 0.0
    for label, tokens in cuts.items():
        ax.text(0, row + 0.5, f"{label}: {len(tokens)} tokens", fontsize=9.5, weight="bold", va="center", color=DARK)
        colours = iter([FILLS[i % len(FILLS)] for i, token in enumerate(tokens) for _ in token])  # of each byte
        text = b"".join(tokens).decode("utf-8")
        pieces = [(character, [next(colours) for _ in character.encode("utf-8")]) for character in text]
        row = draw_pieces(ax, pieces, row + 0.9)
    return _fit_height(ax, row, 0.27, 0.5)


def draw_strips(title: str, strips: Mapping[str, Sequence[str]]) -> Axes:
    """Rows of tokens, one below another, {name: tokens}; an empty token leaves its place empty. x is blue, y orange."""
    edges = (0, max(map(len, strips.values()))), (len(strips), 0)
    ax = new_canvas(title, 9.6, 0.4 + 0.4 * len(strips), *edges)
    for row, (name, tokens) in enumerate(strips.items()):
        ax.text(-0.1, row + 0.5, name, ha="right", va="center", fontsize=10, weight="bold", color=DARK)
        for place, token in enumerate(tokens):
            if token:
                colour = {"x": BLUE, "y": ORANGE}.get(name[0], "#999999")
                _box(ax, place + 0.03, row + 0.1, 0.94, 0.8, (colour, 0.4))
                ax.text(place + 0.5, row + 0.5, token, ha="center", va="center", fontsize=9)
    return ax


def draw_story(title: str, story: Story, told: Sequence[int]) -> Axes:
    """A story as a comic, three panels a row, one for each of some sentences: who is in which room, and the things."""
    rows = -(-len(told) // 3)
    ax = new_canvas(title, 9.6, 0.3 + 1.75 * rows, (0, 9.7), (1.75 * rows, 0))
    for panel, number in enumerate(told):
        x, y = 3.3 * (panel % 3), 1.75 * (panel // 3)
        ax.text(x, y + 0.2, text_of(story.sentences[number]), fontsize=10, va="center")
        places = {key[1]: where for key, where in story.facts[number].items() if key[0] in ("person", "thing")}
        for i, room in enumerate(story.steps[0].filling):
            _draw_room(ax, x + 1.04 * i, y + 0.4, room, places)
    return ax


def _draw_room(ax: Axes, x: float, y: float, room: str, places: Mapping[str, str]) -> None:
    """A room: its people, under each what they hold, and on the floor the things that nobody holds."""
    _box(ax, x, y, 1.0, 1.2, "#eeeeee")
    ax.text(x + 0.5, y + 0.13, room, ha="center", va="center", fontsize=9, color=DARK)
    rows = []  # (words, colour, inches from the left)
    for name in [name for name, where in places.items() if where == room and name[0].isupper()]:
        rows.append((f"● {name}", BLUE, 0.05))
        rows += [(f"■ {thing}", RED, 0.2) for thing, where in places.items() if where == name]
    on_floor = [(f"■ {name}", RED, 0.05) for name, where in places.items() if where == room and name[0].islower()]
    for row, (words, colour, left) in [*enumerate(rows), *zip((3.6, 2.9), on_floor, strict=False)]:
        ax.text(x + left, y + 0.37 + 0.2 * row, words, va="center", fontsize=9, color=colour, weight="bold")


def draw_mask(title: str, rows: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> Axes:
    """Tasks as tokens, {label: (given, wanted)}: what is given is grey, what is wanted, and alone counts, is orange."""
    ax, row = new_canvas(title, 9.4, 1.0, (0, 96)), 0.0
    for label, (given, wanted) in rows.items():
        says = f"{label}: {len(given)} given, {len(wanted)} wanted"
        ax.text(0, row + 0.5, says, fontsize=10, va="center", weight="bold")
        pieces = [*((token, [GIVEN]) for token in given), *((token, [WANTED]) for token in wanted)]
        row = draw_pieces(ax, pieces, row + 1.0, gap=0.4, fontsize=9) + 0.5
    return _fit_height(ax, row, 0.25, 0.45)


def _fit_height(ax: Axes, rows: float, each: float, more: float) -> Axes:
    """The axes with their picture as high as its rows."""
    ax.set_ylim(rows, 0)
    ax.figure.set_figheight(each * rows + more)  # type: ignore[union-attr]
    return ax
