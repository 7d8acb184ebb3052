"""Pictures of text: where a tokenizer cuts it, texts token by token, and what happens in a story."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bigmodel_lib.storyworld.story import Story
from bigmodel_lib.text.tokenizers import text_of
from bigmodel_lib.viz.attention import fonts_for
from bigmodel_lib.viz.plots import BLUE, DARK, GREEN, ORANGE, PINK, RED, SKY, new_canvas

FILLS = (SKY, ORANGE, GREEN, PINK)  # tokens take turns
WIDTH = 76  # columns of a token map; a Chinese character takes two


def _box(ax: Axes, x: float, y: float, width: float, height: float, colour: str, alpha: float = 0.45) -> None:
    ax.add_patch(plt.Rectangle((x, y), width, height, facecolor=colour, alpha=alpha, linewidth=0))


def draw_token_map(title: str, cuts: Mapping[str, Sequence[bytes]]) -> Axes:
    """Texts with a colour for each token; a character of several is striped. cuts {label: the bytes of each token}."""
    ax = new_canvas(title, 9.2, 1.0, (0, WIDTH))
    row = 0.0
    for label, pieces in cuts.items():
        ax.text(0, row + 0.5, f"{label}: {len(pieces)} tokens", fontsize=9.5, weight="bold", va="center", color=DARK)
        row = _draw_pieces(ax, pieces, row + 0.9)
    _fit_height(ax, row, 0.27, 0.5)
    return ax


def _draw_pieces(ax: Axes, pieces: Sequence[bytes], row: float) -> float:
    """One text, broken at line ends and after WIDTH columns, its tokens shaded in turn; returns the row below it."""
    text = b"".join(pieces).decode("utf-8")
    colours = iter([FILLS[i % len(FILLS)] for i, piece in enumerate(pieces) for _ in piece])  # of each byte
    fonts = ["DejaVu Sans Mono", *fonts_for([text])]
    column = 0
    for character in text:
        size, n_bytes = (2 if ord(character) >= 0x2E80 else 1), len(character.encode("utf-8"))
        if column + size > WIDTH:
            row, column = row + 1, 0
        for part in range(n_bytes):
            _box(ax, column + part * size / n_bytes, row + 0.06, size / n_bytes, 0.88, next(colours))
        middle, shown = (column + size / 2, row + 0.5), character.replace("\n", "⏎")
        ax.text(*middle, shown, ha="center", va="center", family=fonts, fontsize=10.5)
        row, column = (row + 1, 0) if character == "\n" else (row, column + size)
    return row + 1


def draw_strips(title: str, strips: Mapping[str, Sequence[str]]) -> Axes:
    """Rows of tokens, one below another, {name: tokens}; an empty token leaves its place empty. x is blue, y orange."""
    edges = (0, max(map(len, strips.values()))), (len(strips), 0)
    ax = new_canvas(title, 9.6, 0.4 + 0.4 * len(strips), *edges)
    for row, (name, tokens) in enumerate(strips.items()):
        ax.text(-0.1, row + 0.5, name, ha="right", va="center", fontsize=10, weight="bold", color=DARK)
        for place, token in enumerate(tokens):
            if token:
                _box(ax, place + 0.03, row + 0.1, 0.94, 0.8, {"x": BLUE, "y": ORANGE}.get(name[0], "#999999"), 0.4)
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
    _box(ax, x, y, 1.0, 1.2, "#eeeeee", 1.0)
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
    ax, row = new_canvas(title, 9.4, 1.0, (0, 100)), 0.0
    for label, (given, wanted) in rows.items():
        says = f"{label}: {len(given)} given, {len(wanted)} wanted"
        ax.text(0, row + 0.5, says, fontsize=10, va="center", weight="bold")
        row, column = row + 1.0, 0.0
        for place, token in enumerate((*given, *wanted)):
            width = sum(2.0 if character >= "\u2e80" else 1.0 for character in token) + 0.7
            if column + width > 100:
                row, column = row + 1.0, 0.0
            shade = (ORANGE, 0.6) if place >= len(given) else ("#bbbbbb", 0.35)
            _box(ax, column + 0.1, row + 0.08, width - 0.2, 0.84, *shade)
            family = ["DejaVu Sans Mono", *fonts_for([token])]
            ax.text(column + width / 2, row + 0.5, token, ha="center", va="center", fontsize=8.8, family=family)
            column += width
        row += 1.5
    _fit_height(ax, row, 0.25, 0.45)
    return ax


def _fit_height(ax: Axes, rows: float, each: float, more: float) -> None:
    """Make the picture as high as its rows."""
    ax.set_ylim(rows, 0)
    ax.figure.set_figheight(each * rows + more)  # type: ignore[union-attr]
