"""Anna's gaze and the diagrams of attention: what is computed, what a page without scripts shows."""

import re

import numpy as np
import pytest

pytest.importorskip("anywidget", reason="the widget needs anywidget: pip install -e .[course]")

import matplotlib.pyplot as plt

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz import diagrams, gaze
from bigmodel_lib.viz.gaze import AnnasGaze

PLANE = {"Anna": (2, 0), "lamp": (0, 2), "she": (1, 0), "it": (0, 1), "dropped": (0.1, 0.1), "the": (0, 0)}
SENTENCES = {"she": ["Anna", "dropped", "the", "lamp", "she"], "it": ["Anna", "dropped", "the", "lamp", "it"]}
WISHES = {"she": (2, 0), "it": (0, 2)}


@pytest.fixture
def widget():
    return AnnasGaze(PLANE, SENTENCES, WISHES, shows="weights")


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_the_pronoun_looks_at_whom_its_query_fits(widget):
    chosen = widget.selection
    assert chosen["pronoun"] == "she" and chosen["scores"].tolist() == [4, 0.2, 0, 0, 2]
    assert abs(chosen["weights"].sum() - 1) < 1e-12 and chosen["weights"].argmax() == 0
    by_hand = np.exp([4, 0.2, 0, 0, 2]) / np.exp([4, 0.2, 0, 0, 2]).sum()
    keys = np.array([PLANE[word] for word in SENTENCES["she"]])
    assert np.allclose(chosen["weights"], by_hand) and np.allclose(chosen["output"], by_hand @ keys)
    widget.chosen, widget.query = 1, [0.0, 2.0]
    assert widget.selection["pronoun"] == "it" and widget.selection["weights"].argmax() == 3


def test_a_tie_lies_on_the_diagonal_and_heat_makes_weights_equal(widget):
    widget.query = [1.5, 1.5]
    assert widget.selection["scores"][0] == widget.selection["scores"][3]
    widget.tau = 1000.0
    assert np.ptp(widget.selection["weights"]) < 0.001


def test_a_word_without_numbers_is_named():
    with pytest.raises(CourseError, match="'lantern' has no place in the plane"):
        AnnasGaze(PLANE, {"she": ["she", "lantern"]}, WISHES)


@pytest.mark.parametrize("shows, number, output", [("scores", "4.00", 0), ("weights", "0.84", 2)])
def test_the_still_picture_has_both_sentences_with_their_numbers(shows, number, output):
    figure, _ = AnnasGaze(PLANE, SENTENCES, WISHES, shows=shows).picture()
    found = texts(figure)
    assert found.count(number) == 2 and found.count("output") == output
    assert {"query of “she”", "query of “it”"} <= set(found)
    arcs = [[patch for patch in ax.patches if isinstance(patch, gaze.FancyArrowPatch)] for ax in figure.axes[::2]]
    assert all(max(patch.get_linewidth() for patch in row) > 4 for row in arcs)
    plt.close(figure)


def test_a_page_without_scripts_shows_the_picture_with_words_for_it(widget, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **more: shown.append((a, more)))
    widget._ipython_display_()
    (data,), more = shown[0]
    assert data.keys() == {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"}
    alt = more["metadata"]["image/png"]["alt"]
    assert "from “she” the thickest goes to “Anna”, from “it” to “lamp”" in alt
    assert "arrow keys" in shown[1][0][0].data


def test_nothing_is_fetched_by_its_script_or_style():
    for text in (AnnasGaze._esm, AnnasGaze._css):
        assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|//cdn|\bimport\b|fetch\(|@import|url\(", str(text))


def test_maps_write_the_numbers_of_the_framed_row_and_no_other():
    maps = np.array([[1.0, 0.0], [0.25, 0.75]])
    ax = gaze.draw_maps({"one": (maps, ["a", "b"], 1), "two": (maps, ["a", "b"], 0)}, "a title")
    numbers = [[text.get_text() for text in axes.texts] for axes in ax.figure.axes[:2]]
    assert numbers == [[".25", ".75"], ["1", ".00"]]
    plt.close(ax.figure)


def test_diagrams_name_the_shapes_that_they_are_given():
    for ax, wanted in (
        (diagrams.draw_qkv(8, 4, 2, 3, row=5), {"(8, 4)", "(8, 2)", "(8, 3)", "scores (8, 8)", "weights (8, 8)"}),
        (diagrams.draw_heads(6, 4), {"(6, 4)", "(6, 2)", "(6, 6)\nfrom its q and k", "head 0", "head 1"}),
        (diagrams.draw_map("attention"), {"attention", "MLP", "a block, repeated"}),
        (
            diagrams.draw_traffic("T", {"way": [("Q", 2_000_000, False, "C0"), ("out", 500_000, True, "C1")]}),
            {"way: 2.5 MB", "Q\n2.00 MB", "out\n0.50 MB", "HBM: large and slow"},
        ),
    ):
        assert wanted <= {text.get_text() for text in ax.texts}
        plt.close(ax.figure)
