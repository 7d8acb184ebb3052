"""What the explorer computes and sends: maps by each method, what is chosen, what a typed text does, what stands still.

Its drawing, mouse and keyboard are tested in a browser: test_browser.py.
"""

import base64
import json
import re

import numpy as np
import pytest
import torch
from induction_model import induction_by_hand
from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError

pytest.importorskip("anywidget", reason="the explorer needs anywidget: pip install -e .[course]")

from bigmodel_lib.interpretability import interventions
from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.text.tokenizers import ByteTokenizer, WordTokenizer
from bigmodel_lib.viz import plots
from bigmodel_lib.viz.explorer import METHODS, AttentionExplorer, maps_by

WORDS = WordTokenizer(["<story>", *["Anna", "Ben", "took", "the", "lamp", "cup", "kitchen", "hall", ".", "to"]])
TEXTS = {"Anna and the lamp": "<story> Anna took the lamp to the hall .", "Ben": "<story> Ben took the cup ."}


@pytest.fixture
def explorer(random_model):
    return AttentionExplorer(random_model(0), WORDS, TEXTS)


def sent(explorer):
    n = len(explorer.tokens)
    return (np.frombuffer(explorer.maps, dtype="<u2").reshape(*explorer.grid, n, n) / 65_535) ** 2


@pytest.mark.parametrize("changes", [dict(), dict(causal=False)], ids=["decoder", "encoder"])
def test_every_method_gives_maps_of_its_own_shape_from_0_to_1(random_model, random_tokens, changes):
    model, tokens = random_model(1, **changes), random_tokens(0, (7,))
    shapes = {"weights": (2, 2), "rollout": (2, 1), "gradient": (1, 1), "knockout": (2, 2)}
    for method in METHODS:
        maps = maps_by(method, model, tokens)
        assert maps.shape == (*shapes[method], 7, 7) and 0 <= maps.min() and maps.max() <= 1.0001
        if method != "knockout":
            assert torch.allclose(maps.sum(dim=-1), torch.ones(maps.shape[:-1]), atol=1e-4)
        if model.config.causal:
            assert maps.triu(1).abs().max() < 1e-5
    with pytest.raises(TraitError, match="saliency"):
        AttentionExplorer(model, WORDS, TEXTS, method="saliency")


def test_the_maps_of_the_model_by_hand_say_what_is_known_of_it():
    model, text = induction_by_hand(), torch.tensor([0, 3, 5, 2, 6, 3, 5, 1, 4, 2])
    assert maps_by("weights", model, text)[1, 0, 5].argmax() == 2
    assert maps_by("gradient", model, text)[0, 0, 5].argmax() == 2
    effects = maps_by("knockout", model, text)
    assert effects[0, 1].max() < 0.01  # the head that writes nothing
    for layer, head in ((0, 0), (1, 1)):
        one = interventions.knockout_effects(model, text, torch.cat([text[1:], torch.tensor([6])]), {(layer, head)})
        assert torch.allclose(effects[layer, head], one.clamp(0, 1))


def test_what_is_sent_are_the_models_weights_queries_by_keys(explorer, random_model):
    model = random_model(0)
    wanted = record(model, torch.tensor(WORDS.encode(TEXTS["Anna and the lamp"])).long()[None], "weights")[:, 0]
    assert explorer.grid == [2, 2] and np.abs(sent(explorer) - wanted.numpy()).max() < 2e-5
    assert explorer.tokens == TEXTS["Anna and the lamp"].split() and explorer.titles == list(TEXTS)


def test_what_is_chosen_can_be_read_from_python(explorer):
    explorer.layer, explorer.head, explorer.query = 1, 0, 4
    row = sent(explorer)[1, 0, 4]
    chosen = explorer.selection
    assert (chosen["method"], chosen["layer"], chosen["head"], chosen["token"]) == ("weights", 1, 0, "lamp")
    assert [i for i, _, _ in chosen["looks at"]] == list(np.argsort(-row, kind="stable")[:3])
    for place, token, weight in chosen["looks at"]:
        assert token == explorer.tokens[place] and abs(weight - row[place]) < 0.003
    explorer.method = "rollout"
    assert explorer.grid == [2, 1] and explorer.selection["method"] == "rollout"
    explorer.method = "gradient"
    assert explorer.grid == [1, 1] and explorer.shown.shape == (9, 9)
    explorer.query = 99  # of a longer text before
    assert explorer.selection["token"] == "."


def test_another_story_or_a_typed_text_is_read_anew(explorer):
    explorer.method = "rollout"
    explorer.story = 1
    assert explorer.tokens == TEXTS["Ben"].split() and sent(explorer).shape == (2, 1, 6, 6)
    explorer.text = "Ben took the lamp ."
    assert explorer.tokens == ["Ben", "took", "the", "lamp", "."] and explorer.message == ""
    assert explorer.query == 4 and sent(explorer).shape == (2, 1, 5, 5)


@pytest.mark.parametrize(
    "text, words", [("Zorro took it", "'Zorro' at position 0"), ("Ben " * 13, "2 to 12 were"), ("Ben", "2 to 12 were")]
)
def test_a_text_that_cannot_be_read_leaves_a_message_and_the_old_text(explorer, text, words):
    before = explorer.tokens, explorer.maps
    explorer.text = text
    assert words in explorer.message and (explorer.tokens, explorer.maps) == before
    explorer.text = "Ben took the cup ."
    assert explorer.message == "" and explorer.tokens[0] == "Ben"


def test_choices_can_be_made_at_the_start(random_model):
    explorer = AttentionExplorer(random_model(2), WORDS, TEXTS, method="knockout", layer=1, head=1, query=3)
    assert explorer.selection["method"] == "knockout" and explorer.selection["query"] == 3 and explorer.grid == [2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_with_words_for_it_stands_where_scripts_do_not_run(explorer, method, monkeypatch):
    explorer.method = method
    shown, open_before = [], plots.plt.get_fignums()  # other tests may have left some
    monkeypatch.setattr("IPython.display.display", lambda *a, **more: shown.append((a, more)))
    explorer._ipython_display_()
    (data,), more = shown[0]
    assert data.keys() == {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"}
    assert method in more["metadata"]["image/png"]["alt"] and "0x" not in data["text/plain"]
    assert shown[1][0][0].data.startswith("*") and plots.plt.get_fignums() == open_before
    assert InteractiveShell  # the picture needs no running notebook


def test_a_chinese_character_is_one_row_and_one_column(random_model):
    model = random_model(1, vocab_size=256)
    explorer = AttentionExplorer(model, ByteTokenizer(), {"one": "a\u6211b"})  # 1 + 3 + 1 bytes
    assert explorer.tokens == ["a", "我", "b"] and explorer.shown.shape == (3, 3) and explorer.query == 2
    whole = record(model, torch.tensor(ByteTokenizer().encode("a\u6211b")).long()[None], "weights")[:, 0].numpy()
    maps = explorer.found["weights"]
    assert np.allclose(maps[..., 2, 1], whole[..., 4, 1:4].sum(axis=-1), atol=1e-6)
    assert np.allclose(maps[..., 1, 0], whole[..., 1:4, 0].mean(axis=-1), atol=1e-6)
    assert np.allclose(maps.sum(axis=-1), 1, atol=1e-5)


def test_a_saved_page_holds_every_method_that_was_looked_at_and_asks_for_nothing(explorer):
    explorer.method, explorer.query = "rollout", 3
    page = explorer.saved_page()
    state = json.loads(re.search(r"const state = (\{.*?\}), listeners", page)[1])
    assert state["kept"].keys() == {"weights", "rollout"} and state["query"] == 3
    assert state["tokens"] == explorer.tokens and explorer.kept == {}
    roots = np.frombuffer(base64.b64decode(state["kept"]["weights"][1]), dtype="<u2").reshape(2, 2, 9, 9)
    assert np.abs((roots / 65_535) ** 2 - explorer.found["weights"]).max() < 2e-5
    assert not re.search(r"https?:(?!//www.w3.org/2000/svg)|//cdn|@import|url\(", page)


def test_the_browser_gets_the_page_that_it_asks_for(explorer, monkeypatch):
    sent_back = []
    monkeypatch.setattr(explorer, "send", sent_back.append)
    explorer._asked(None, {"wanted": "page"}, [])
    assert sent_back == [{"page": explorer.saved_page()}] and "<!doctype html>" in sent_back[0]["page"]


def test_nothing_is_fetched_by_its_script_or_style():
    for text in (AttentionExplorer._esm, AttentionExplorer._css):
        assert not re.search(
            r"https?:(?!//www.w3.org/2000/svg)|//cdn|\bimport\b|fetch\(|XMLHttp|@import|url\(", str(text)
        )
