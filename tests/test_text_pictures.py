"""Splits without leaks, and what pictures of text show: positions, labels and colours, not pixels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.text.splits import ngrams, overlap, split_without_leaks
from bigmodel_lib.viz import text_pictures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words_on(ax):
    return [text.get_text() for text in ax.texts]


def test_overlap_counts_every_run_of_the_held_out_text():
    assert ngrams(["a", "b", "c", "d"], 3) == [("a", "b", "c"), ("b", "c", "d")] and ngrams(["a"], 2) == []
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
    places = text_pictures._columns("ab\nc" + "d" * text_pictures.WIDTH)
    assert places[:4] == [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 0, 1)] and places[-1][0] == 2


def test_targets_are_drawn_one_place_to_the_right_of_their_inputs():
    ax = text_pictures.draw_windows(["a", "b", "c", "d"], starts=[1], length=2)
    assert words_on(ax) == ["text", *"abcd", "x", "b", "c", "y", "c", "d"]


def test_a_story_is_drawn_with_who_is_where_and_what_they_hold():
    story = StoryWorld(longest=40).sample(np.random.default_rng(111552))
    first = text_pictures.draw_story(story, [3, 4, 5])
    axes = [ax for ax in first.figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in axes] == [
        "Anna was holding a lamp.", "Anna dropped the lamp.", "She took the lamp to the office."
    ]  # fmt: skip
    assert words_on(axes[2]) == ["cellar", "Lena", "office", "Anna", "lamp", "kitchen"]
    rooms = {text.get_text(): int(text.get_position()[0]) for text in axes[2].texts}
    assert rooms["Anna"] == rooms["lamp"] == rooms["office"] and rooms["Lena"] == rooms["cellar"]
    held, lying = ({t.get_text(): t.get_position()[0] for t in ax.texts}["lamp"] % 1 for ax in axes[:2])
    assert held > lying  # what is held is set in below its holder
