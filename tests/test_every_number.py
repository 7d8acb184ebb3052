"""The tiny transformer computes what its labels say, the poster shows all of it, the map lights what it is told to."""

import json

import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz import diagrams
from bigmodel_lib.viz import every_number as en

MOODS = {
    "very very good": "smiles", "not very good": "sighs", "very very bad": "sighs", "not very bad": "smiles",
    "very not good": "sighs", "very not bad": "smiles", "not not good": "sighs", "good not bad": "smiles",
}  # fmt: skip


@pytest.mark.parametrize("sentence, mood", MOODS.items())
def test_the_tiny_transformer_knows_the_mood(sentence, mood):
    p = en.trace(sentence)["p"][-1]
    assert en.WORDS[p.argmax()] == mood and p.max() > 0.85 and abs(p.sum() - 1) < 1e-12


def test_each_matrix_is_what_its_label_says():
    m = en.trace("not very good")

    def normed(x):
        return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)

    def softmax(s):
        return np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)

    wanted = {"x₀": m["E"][[0, 1, 2]] + m["P"], "n₁": normed(m["x₀"]), "Q": m["n₁"] @ m["W_Q"], "K": m["n₁"] @ m["W_K"],
              "V": m["n₁"] @ m["W_V"], "A": softmax(m["S"]), "H": m["A"] @ m["V"], "a": m["H"] @ m["W_O"],
              "x₁": m["x₀"] + m["a"], "n₂": normed(m["x₁"]), "h": m["n₂"] @ m["W_up"], "r": np.clip(m["h"], 0, None),
              "m": m["r"] @ m["W_down"], "x₂": m["x₁"] + m["m"], "n₃": normed(m["x₂"]), "logits": m["n₃"] @ m["W_out"],
              "p": softmax(m["logits"])}  # fmt: skip
    for name, matrix in wanted.items():
        assert np.allclose(m[name], matrix), name
    seen = np.tril(np.ones((3, 3), dtype=bool))
    assert np.allclose(m["S"][seen], (m["Q"] @ m["K"].T / 2**0.5)[seen]) and np.isinf(m["S"][~seen]).all()
    assert wanted.keys() | {"S"} | en.TINY.keys() == {step.name for step in en.STEPS} == m.keys()


def test_the_notebook_s_numbers_are_the_toy_s():
    m = en.trace("not very good")
    said = {"S": 4.08, "A": 0.95}
    assert all(abs(m[name][2, 0] - number) < 0.005 for name, number in said.items())
    assert abs(m["x₁"][2, 1] - 1.50) < 0.005 and abs(m["V"][0, 0] - 1.58) < 0.005 and m["r"][2, 0] > 1
    assert en.trace("very very good")["r"][2, 0] == 0 and en.trace("not very bad")["r"][2].argmax() == 1


def test_without_attention_the_word_before_makes_no_difference():
    alone = {**en.TINY, "W_O": 0 * en.TINY["W_O"]}
    assert np.array_equal(en.trace("not very good", alone)["p"][-1], en.trace("very very good", alone)["p"][-1])


@pytest.mark.parametrize("sentence", ["not good", "not very nice", ""])
def test_other_sentences_are_refused(sentence):
    with pytest.raises(CourseError, match="three words from not, very, good, bad"):
        en.EveryNumber(sentence)


def test_what_is_sent_is_json_and_holds_every_sentence():
    data = json.loads(en.EveryNumber("very not bad").data)
    values = data["values"]
    assert len(values) == 64 and data["given"].keys() == en.TINY.keys()
    for sentence in ("not very good", "bad bad bad"):
        for name, matrix in values[sentence].items():
            wanted = en.trace(sentence)[name]
            assert np.allclose(
                np.array(matrix, dtype=float), np.where(np.isinf(wanted), np.nan, wanted), atol=1e-4, equal_nan=True
            )
        assert values[sentence]["S"][0][1] is None


def test_the_poster_shows_each_number():
    ax = en.draw_poster("not very bad")
    tables = ax.child_axes
    assert "“not very bad” → “smiles” (89%)" in ax.get_title(loc="left")
    found = en.trace("not very bad")
    for table, step in zip(tables, en.STEPS, strict=True):
        said = [text.get_text().replace("−", "-").replace("·", "0").replace("∞", "inf") for text in table.texts]
        assert np.array(said, dtype=float) == pytest.approx(found[step.name].ravel(), abs=0.005), step.name
        assert table.get_title(loc="left") == step.label
    assert min(text.get_fontsize() for axes in [ax, *tables] for text in axes.findobj(plt.Text)) >= 9
    plt.close(ax.figure)


def test_the_map_colours_only_what_is_lit():
    ax = diagrams.draw_model_map("here", ("mlp",))
    fills = [matplotlib.colors.to_hex(patch.get_facecolor()) for patch in ax.patches]
    assert fills.count(diagrams.PARTS["mlp"].lower()) == 1
    assert diagrams.PARTS["attention"].lower() not in fills
    plt.close(ax.figure)
