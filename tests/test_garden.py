"""The garden of futures: its tree is the model's, its cuts are those of sampling, and what is written can be undone."""

import math

import pytest
import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.generation import sampling_distribution
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.viz.garden import DEPTH, FUTURES, SHOWN, WARM, Garden, follow, place_of, said_of, shares, ways

CONFIG = ModelConfig(vocab_size=256, context_length=32, d_model=16, n_layers=2, n_heads=2, d_ff=32, init="gpt2")


@pytest.fixture(scope="module")
def model():
    model = initialise(LanguageModel(CONFIG), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.w_out *= 60  # some tokens are much likelier than others
    return model


@pytest.fixture
def garden(model):
    return Garden(model, ByteTokenizer(), "Anna opened")


@pytest.mark.parametrize("temperature", [0, *WARM[::3]])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 1.0])
def test_shares_are_the_sampler_s(temperature, top_p):
    logits = torch.randn(300, generator=torch.Generator().manual_seed(1)) * 4
    node = place_of(logits, _Names())
    wanted = sampling_distribution(logits, temperature, top_p=top_p)
    kept = int((wanted > 0).sum())
    found = torch.tensor(shares(node, temperature, top_p))
    if kept <= SHOWN or top_p == 1:
        assert torch.allclose(found, wanted[node["ids"]], atol=2e-3)
    else:
        assert found.sum() <= 1 and torch.allclose(found, wanted[node["ids"]], rtol=0.1)


class _Names:
    def decode(self, ids):
        return str(ids[0])


def test_the_likeliest_token_is_kept_at_any_top_p_and_a_tie_keeps_one():
    node = place_of(torch.zeros(40), _Names())
    assert (
        shares(node, 1.0, 0.01)[0] == pytest.approx(1.0, rel=0.02) and sum(s > 0 for s in shares(node, 1.0, 0.01)) == 1
    )


def test_a_p_that_is_reached_exactly_keeps_no_more_and_one_beyond_the_candidates_is_shared_by_all():
    assert shares(place_of(torch.zeros(4), _Names()), 1.0, 0.5) == pytest.approx([0.5, 0.5, 0, 0], abs=1e-4)
    assert shares(place_of(torch.zeros(100), _Names()), 1.0, 0.5) == pytest.approx([1 / 50] * SHOWN, abs=1e-4)


def test_every_place_of_the_tree_is_what_the_model_says_there(model, garden):
    found = ways(garden.root, 1.0, 1.0)
    assert len(found) == FUTURES and all(len(way) == DEPTH for way, _ in found)
    for way, p in found[:3]:
        ids = list(garden.tokens)
        chance = 1.0
        for depth in range(DEPTH):
            node = follow(garden.root, way[:depth])
            with torch.no_grad():
                logs = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
            assert node["logs"] == pytest.approx(logs[node["ids"]].tolist(), abs=1e-3)
            ids.append(node["ids"][way[depth]])
            chance *= math.exp(logs[ids[-1]])
        assert p == pytest.approx(chance, rel=0.01)


def test_no_way_is_likelier_than_the_first_and_they_are_sorted(garden):
    chances = [p for _, p in ways(garden.root, 1.0, 1.0)]
    assert chances == sorted(chances, reverse=True) and sum(chances) <= 1


def test_at_temperature_0_one_way_is_left(garden):
    ((way, p),) = ways(garden.root, 0.0, 1.0)
    assert way == (0,) * DEPTH and p == 1


def test_what_is_clicked_is_written_and_undo_takes_it_back(garden):
    before, (way, p) = garden.text, ways(garden.root, 1.0, 1.0)[0]
    names = [follow(garden.root, way[:depth])["ids"][i] for depth, i in enumerate(way)]
    garden.ask = {"do": "write", "way": list(way), "count": 1}
    assert garden.tokens[-DEPTH:] == names and garden.text.startswith(before)
    assert garden.written[0]["log"] == pytest.approx(math.log(p), abs=0.01) and not garden.written[0]["drawn"]
    garden.ask = {"do": "undo", "count": 2}
    assert garden.text == before and garden.written == []
    garden.undo()
    assert garden.text == before


def test_a_draw_can_be_drawn_again_and_another_text_begun(garden):
    garden.ask = {"do": "word", "count": 1}
    assert [len(step["ids"]) for step in garden.written] == [1]
    garden.draw(12)
    first = garden.written[1]
    garden.ask = {"do": "again", "count": 2}
    assert len(garden.written) == 2 and garden.written[1]["ids"] != first["ids"] and garden.written[1]["drawn"]
    garden.ask = {"do": "begin", "text": "Ben", "count": 3}
    assert garden.text == "Ben" and garden.written == []
    garden.begin("")
    assert garden.text == "Ben"


def test_a_text_longer_than_the_context_goes_on(garden):
    for _ in range(4):
        garden.draw(15)
    assert len(garden.tokens) > CONFIG.context_length and len(ways(garden.root, 1.0, 1.0)[0][0]) == DEPTH
    assert all(math.isfinite(step["log"]) and step["log"] < 0 for step in garden.written)


def test_settings_grow_the_tree_where_it_is_missing(garden):
    garden.temperature, garden.top_p = 0.3, 0.6
    assert all(follow(garden.tree, way[:-1]) for way, _ in ways(garden.tree, 0.3, 0.6))
    assert {len(way) for way, _ in ways(garden.tree, 0.3, 0.6)} == {DEPTH}


def test_it_refuses_an_empty_prompt_and_a_way_that_is_not_there(model, garden):
    with pytest.raises(CourseError, match="at least one token"):
        Garden(model, ByteTokenizer(), "")
    for way in ([], [SHOWN], [0, 0, 0, 0, 0, 0, 0]):
        with pytest.raises(CourseError, match="no branch"):
            garden.write(way)


def test_its_picture_names_all_branches_and_odds_are_said_as_readers_like_them(garden):
    ax = garden.draw_on()
    found = ways(garden.root, 1.0, 1.0)
    branches = {way[:depth] for way, _ in found for depth in range(1, len(way) + 1)}
    assert len(ax.patches) == len(branches) and ax.get_title(loc="left").startswith("“Anna opened")
    assert [said_of(p) for p in (0.5, 0.1, 0.05, 1 / 840)] == ["50 %", "10 %", "1 in 20", "1 in 840"]


def test_a_future_ends_at_the_stop(model):
    garden = Garden(model, ByteTokenizer(), "Anna opened")
    stop = garden.root["ids"][0]
    garden = Garden(model, ByteTokenizer(), "Anna opened", stop=stop)
    found = [garden._ids(way) for way, _ in ways(garden.root, 1.0, 1.0)]
    assert [stop] in found and all(stop not in ids[:-1] for ids in found)
    assert any(len(ids) == DEPTH for ids in found) and len(set(map(tuple, found))) == len(found)
    garden.temperature = 0  # the likeliest token is the stop
    assert ways(garden.root, 0.0, 1.0) == [((0,), 1.0)]
    garden.draw(5)
    assert [step["ids"] for step in garden.written] == [[stop]]
