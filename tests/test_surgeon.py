"""The surgeon holds what every single ablation and patch does; its clicks are tested in a browser."""

import numpy as np
import pytest
import torch

pytest.importorskip("anywidget", reason="the surgeon needs anywidget: pip install -e .[course]")

from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability.interventions import ablate, patch
from bigmodel_lib.text.tokenizers import WordTokenizer
from bigmodel_lib.viz.surgeon import Surgeon

WORDS = WordTokenizer(["<s>", "Anna", "Ben", "took", "it", "she", "was", "tired", "heavy", "dark", "."])
SENTENCES = {"she": "Anna took it she was", "it": "Anna took it it was"}
WATCHED = ["tired", "heavy", "dark"]


@pytest.fixture
def surgeon(random_model):
    return Surgeon(random_model(0, scale=0.4), WORDS, SENTENCES, WATCHED)


def test_every_single_ablation_and_patch_is_there(surgeon, random_model):
    model = random_model(0, scale=0.4)
    ids = [torch.tensor(WORDS.encode(text).tolist())[None] for text in SENTENCES.values()]
    watched = [WORDS.vocabulary.index(word) for word in WATCHED]
    for i, layer, head in np.ndindex(2, 2, 2):
        for act, logits in enumerate(
            (ablate(model, ids[i], layer, head), patch(model, ids[i], ids[1 - i], layer, head))
        ):
            wanted = logits[0, -1].softmax(dim=-1)[watched].tolist()
            assert surgeon.after[i][act][layer][head] == pytest.approx(wanted, abs=1e-6)


def test_differences_are_those_of_the_first_two_words_and_changes_are_from_the_same_sentence(surgeon):
    start, change = surgeon.differences()
    for i, act, layer, head in np.ndindex(2, 2, 2, 2):
        before, after = (np.log(p[0] / p[1]) for p in (surgeon.before[i], surgeon.after[i][act][layer][head]))
        assert start[i] == pytest.approx(before) and change[i, act, layer, head] == pytest.approx(after - before)


def test_its_twin_in_print_says_every_change(surgeon):
    figure, alt = surgeon.picture()
    _, change = surgeon.differences()
    for ax, values in zip(figure.axes[:2], change[surgeon.sentence], strict=True):
        assert [text.get_text() for text in ax.texts] == [f"{value:+.2f}" for value in values.flat]
    assert "tired" in alt and "1.0" not in alt


def test_the_title_of_the_twin_names_the_heads_that_move_most_and_the_first_layer_is_on_top(surgeon):
    for sentence in (0, 1):
        surgeon.sentence = sentence
        figure, _ = surgeon.picture()
        assert [ax.get_ylim()[0] > ax.get_ylim()[1] for ax in figure.axes[:2]] == [True, True]
        change = np.abs(surgeon.differences()[1][sentence])
        most = ["{}.{}".format(*np.unravel_index(values.argmax(), values.shape)) for values in change]
        said = figure.get_suptitle()
        assert said.count("carried over") == 1 and all(name in said for name in most), said
        assert (most[0] == most[1]) == said.startswith("Head")


def test_sentences_of_two_lengths_and_words_of_two_tokens_are_refused(random_model):
    model = random_model(0)
    with pytest.raises(CourseError, match="as many tokens"):
        Surgeon(model, WORDS, {"one": "Anna took it", "two": "Anna took it ."}, WATCHED)
    with pytest.raises(CourseError, match="one token each"):
        Surgeon(model, WORDS, SENTENCES, ["tired", "Anna took"])
