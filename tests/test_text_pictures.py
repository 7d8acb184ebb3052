"""Splits without leaks, and what pictures of text show: positions, labels and colours, not pixels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.text.batches import ngrams, overlap, split_without_leaks
from bigmodel_lib.viz import text_pictures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words_on(ax):
    return [text.get_text() for text in ax.texts]


def test_overlap_counts_every_run_of_the_held_out_text():
    assert ngrams("a b c d", 3) == [("a", "b", "c"), ("b", "c", "d")] and ngrams("a", 2) == []
    assert ngrams("a b\n\nc d e", 2) == [("a", "b"), ("c", "d"), ("d", "e")], "a run stays in its paragraph"
    assert overlap("the cat sat on the mat", "on the mat the cat ran", 3) == 0.25
    assert overlap("a b", "a b a b", 2) == pytest.approx(2 / 3) and overlap("a b", "c", 2) == 0


def test_a_split_drops_held_out_paragraphs_with_a_long_run_of_the_rest_and_no_others():
    old = [" ".join(f"p{i}w{j}" for j in range(20)) for i in range(18)]
    copied = "new words first " + " ".join(old[3].split()[5:13]) + " and new words last"
    fresh = "all of this is new but " + " ".join(old[4].split()[:7])  # seven words in a row are allowed
    train, held_out = split_without_leaks("\n\n".join([*old, copied, fresh]))
    assert train == "\n\n".join(old) and held_out == fresh
    assert overlap(train, held_out, 8) == 0 and overlap(train, copied, 8) > 0


def test_a_token_map_colours_characters_by_their_tokens():
    ax = text_pictures.draw_token_map("map", {"one": [b"la", b"mp"], "two": ["灯".encode()[:1], "灯".encode()[1:]]})
    assert words_on(ax) == ["one: 2 tokens", *"lamp", "two: 2 tokens", "灯"]
    colours = [patch.get_facecolor() for patch in ax.patches]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert colours[4] != colours[5] == colours[6] and len(colours) == 7
    assert sum(patch.get_width() for patch in ax.patches[4:]) == pytest.approx(2)  # two columns for a Chinese character


def test_a_long_text_is_broken_at_line_ends_and_at_the_edge():
    ax = text_pictures.draw_token_map("map", {"long": [b"ab\nc", b"d" * 76]})
    places = [text.get_position() for text in ax.texts[1:]]
    rows = [round(y - places[0][1]) for _, y in places]
    assert rows[:5] == [0, 0, 0, 1, 1] and rows[-1] == 2 and words_on(ax)[3] == "⏎"
    assert [x for x, _ in places[:4]] == [0.5, 1.5, 2.5, 0.5] and places[-1][0] == 0.5


def test_strips_put_each_token_in_its_place_and_leave_places_empty():
    ax = text_pictures.draw_strips("strips", {"text": ["a", "b", "c"], "x 0": ["", "b"], "y 0": ["", "c"]})
    places = [(text.get_text(), *text.get_position()) for text in ax.texts]
    assert places[4:] == [("x 0", -0.1, 1.5), ("b", 1.5, 1.5), ("y 0", -0.1, 2.5), ("c", 1.5, 2.5)]
    colours = [patch.get_facecolor() for patch in ax.patches]
    assert len(colours) == 5 and len(set(colours)) == 3


def test_a_story_is_drawn_with_who_is_where_what_they_hold_and_what_is_on_the_floor():
    story = StoryWorld(longest=40).sample(np.random.default_rng(111552))
    ax = text_pictures.draw_story("story", story, [3, 4, 5])
    words = words_on(ax)
    assert [word for word in words if word.endswith(".")] == [
        "Anna was holding a lamp.", "Anna dropped the lamp.", "She took the lamp to the office."
    ]  # fmt: skip
    assert words[-5:] == ["● Lena", "office", "● Anna", "■ lamp", "kitchen"]
    lamps, annas = ([t.get_position() for t in ax.texts if t.get_text() == name] for name in ("■ lamp", "● Anna"))
    assert [x > anna for (x, _), (anna, _) in zip(lamps, annas, strict=True)] == [True, False, True]  # set in: held
    assert lamps[1][1] > lamps[0][1] + 0.4 and lamps[0][1] == lamps[2][1]  # it falls to the floor
