"""Minimal pairs, scores that name the word that decides, rules that ask no model, and the table of 09b."""

import json
import runpy

import numpy as np
import pytest
import torch

from bigmodel_lib.interpretability import interventions
from bigmodel_lib.interpretability import maps as looked
from bigmodel_lib.interpretability import pairs as minimal
from bigmodel_lib.storyworld.story import START, words_of
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints, trainer

RECIPE = runpy.run_path(str(data_path("recipes/interpretation.py")))
WORLD, WORDS = minimal.small_world()


@pytest.fixture(scope="module")
def answerer():
    return checkpoints.load_model(data_path("answerer"))[0].eval()


@pytest.fixture(scope="module")
def pairs(answerer):
    return RECIPE["pairs_of"](answerer, WORDS, 12, 3)[0]


def test_a_question_ends_before_its_answer_and_its_support_says_it():
    seen = 0
    for seed in range(30):
        story = WORLD.sample(np.random.default_rng(seed))
        for question in story.questions():
            if question.kind in RECIPE["KINDS"]:
                text, answer = minimal.asked(story, question)
                seen += 1
                assert text[0] == START and text[1 : 1 + len(story.tokens)] == story.tokens
                assert " ".join(words_of(question.answer)).endswith(answer)
                assert answer in {story.tokens[place] for place in question.support}
    assert seen > 80


def test_a_minimal_pair_differs_in_one_word_and_is_told_and_answered_by_the_world():
    found = 0
    for seed in range(60):
        story = WORLD.sample(np.random.default_rng(seed))
        for question in story.questions():
            pair = minimal.minimal_pair(story, question)
            if question.kind not in RECIPE["KINDS"] or pair is None:
                continue
            found += 1
            differ = [i for i, (a, b) in enumerate(zip(pair.clean, pair.corrupt, strict=True)) if a != b]
            assert differ == [pair.place] and pair.place < pair.candidates == 1 + len(story.tokens)
            assert pair.answer != pair.rival and pair.clean[pair.place] == pair.answer and pair.place in pair.support
            other = WORLD.parse(pair.corrupt[1 : pair.candidates])
            (same,) = [q for q in other.questions() if (q.kind, q.text) == (question.kind, question.text)]
            assert minimal.asked(other, same) == (pair.corrupt, pair.rival)
    assert found > 40


def test_a_minimal_pair_may_change_whom_a_later_pronoun_means():
    opening = "This happened in an attic, a hall and a kitchen. One morning Mei and Anna met in the attic."
    story = WORLD.parse(f"{opening} Anna saw a book in the attic. She picked up the book. So Anna stayed in the attic.")
    (holder,) = [question for question in story.questions() if question.kind == "holder"]
    pair = minimal.minimal_pair(story, holder)
    assert (pair.answer, pair.rival) == ("Anna", "Mei") and "Mei saw a book" in " ".join(pair.corrupt)


def test_the_logit_difference_is_the_log_of_the_odds():
    p = torch.tensor([0.6, 0.2, 0.15, 0.05])
    logits = (p.log() + 3.7).expand(2, 5, 4)
    assert torch.allclose(RECIPE["logit_difference"](logits, 0, 1), torch.full((2,), 3.0).log())


def test_gradients_are_slopes_and_integrated_ones_add_up_to_the_whole_way(answerer, pairs):
    pair = pairs[0]
    ids, ends = minimal.ids_of(pair.clean, WORDS), [WORDS.vocabulary.index(w) for w in (pair.answer, pair.rival)]
    slopes, away = RECIPE["gradients"](answerer, ids, *ends)
    many, _ = RECIPE["gradients"](answerer, ids, *ends, steps=400)

    def difference_at(x):
        with torch.no_grad():
            logits = answerer(ids[None], hooks={"stream": lambda layer, value: value if layer else x})
        return RECIPE["logit_difference"](logits, *ends)[0].item()

    x = answerer.embed(ids[None]).detach()
    nudge = torch.zeros_like(x)
    nudge[0, pair.place] = 1e-3 * slopes[pair.place] / slopes[pair.place].norm()
    slope = (difference_at(x + nudge) - difference_at(x - nudge)) / 2e-3
    assert slope == pytest.approx(slopes[pair.place].norm().item(), rel=0.02)
    way = difference_at(x) - difference_at(x - away)
    assert (many * away).sum().item() == pytest.approx(way, abs=0.15 + 0.02 * abs(way))


def test_swapping_changes_one_word_into_another_of_its_kind(pairs):
    for pair in pairs:
        places, texts = minimal.swapped(pair, WORLD)
        assert pair.place in places and len(places) == len(texts)
        for place, text in zip(places, texts, strict=True):
            assert [i for i, (a, b) in enumerate(zip(pair.clean, text, strict=True)) if a != b] == [place]
            kinds = (WORLD.people, WORLD.things, WORLD.places)
            assert sum(pair.clean[place] in names and text[place] in names for names in kinds) == 1


def test_scores_are_what_their_methods_say(answerer, pairs):
    pair = pairs[1]
    found = RECIPE["scores_of"](answerer, WORDS, pair, WORLD)
    ids, ends = minimal.ids_of(pair.clean, WORDS), [WORDS.vocabulary.index(w) for w in (pair.answer, pair.rival)]
    assert found["attention"].shape == (3, 2, pair.candidates)
    assert torch.allclose(found["attention"].mean(dim=(0, 1)), found["attention, all heads"])
    assert all(len(values) == pair.candidates for name, values in found.items() if name != "attention")
    keys = torch.zeros(1, len(ids), dtype=torch.bool)
    keys[0, pair.place] = True
    with torch.no_grad():
        whole = RECIPE["logit_difference"](answerer(ids[None]), *ends)
        hidden = RECIPE["logit_difference"](answerer(ids[None], hooks=interventions.knockout(keys)), *ends)
        places, texts = minimal.swapped(pair, WORLD)
        swapped = [RECIPE["logit_difference"](answerer(minimal.ids_of(text, WORDS)[None]), *ends) for text in texts]
    assert found["knockout"][pair.place] == pytest.approx((whole - hidden).item(), abs=1e-3)
    by_hand = torch.cat([whole - one for one in swapped])  # before layer 0, patching is nothing but another word
    assert torch.allclose(found["patching, before layer 0"][torch.tensor(places)], by_hand, atol=1e-3)
    assert found["patching, before layer 0"].isinf().sum() == pair.candidates - len(places)


def test_most_methods_name_the_word_that_decides(answerer, pairs):
    tops = RECIPE["tops_of"](answerer, WORDS, pairs)
    right = {
        method: np.mean([t == p.place for t, p in zip(found, pairs, strict=True)]) for method, found in tops.items()
    }
    assert right["knockout"] > 0.7 and right["patching, before layer 1"] > 0.7 and right["attention, head 1.0"] > 0.7
    assert right["patching, before layer 2"] < 0.5
    assert all(0 < top < pair.candidates for found in tops.values() for top, pair in zip(found, pairs, strict=True))


def test_nobody_may_name_the_start_token_even_where_most_weight_is_on_it(answerer, pairs):
    tops = RECIPE["tops_of"](answerer, WORDS, pairs)["rollout"]
    weights = [looked.record(answerer, minimal.ids_of(pair.clean, WORDS)[None], "weights")[:, 0] for pair in pairs]
    shares = [looked.rollout(maps)[-1, -1, : pair.candidates] for maps, pair in zip(weights, pairs, strict=True)]
    assert any(share.argmax() == 0 for share in shares)
    assert tops == [int(share[1:].argmax()) + 1 for share in shares]


def test_rules_without_a_model_name_what_they_say():
    told = words_of("start There was a hall and an attic . Mei was in the hall . Ben was in the hall . Ben had a cup .")
    asked = [*told, "<question>", *words_of("Where is Mei ? in the")]
    pair = minimal.MinimalPair(asked, [], 13, "hall", "attic", frozenset(), len(told))
    places = RECIPE["by_rule"](pair)
    assert list(places.values()) == [19, 19, 13, 13]
    holder = pair._replace(clean=[*told, "<question>", *words_of("Who has the cup ?")], answer="Ben", place=21)
    assert list(RECIPE["by_rule"](holder).values()) == [21, 21, 21, 21]


# The table


@pytest.fixture(scope="module")
def table():
    return json.loads(data_path("interpretation.json").read_text(encoding="utf-8"))


def test_the_table_has_every_method_for_every_seed(table):
    assert table["how"]["made_by"] == "data/recipes/interpretation.py" and table["how"]["pairs"] == RECIPE["PAIRS"]
    rows = [row for row in table["rows"] if "method" in row]
    methods = [sorted(row["method"] for row in rows if row["seed"] == seed) for seed in RECIPE["SEEDS"]]
    assert methods[0] == methods[1] == methods[2] and len(methods[0]) == len(set(methods[0])) == 16
    for row in rows:
        assert len(row["decides"]) == len(row["support"]) == RECIPE["PAIRS"] and set(row["decides"]) <= {"0", "1"}
        assert all(a <= b for a, b in zip(row["decides"], row["support"], strict=True))  # the deciding word supports


def test_the_models_of_the_table_answer_well_enough(table):
    models = {row["seed"]: row for row in table["rows"] if "answers" in row}
    assert models.keys() == set(RECIPE["SEEDS"])
    for row in models.values():
        right = {kind: n / of for kind, (n, of) in row["answers"].items()}
        assert right["person"] > 0.65 and right["thing"] > 0.8 and right["holder"] > 0.9
    assert (data_path("answerer") / "model.safetensors").stat().st_size < 2_000_000


def test_rows_of_the_table_can_be_made_from_the_model_that_is_kept(answerer):
    first, *rows = RECIPE["rows_of"](0, answerer, WORDS, 3, 4)
    assert first["followed"][0] == 4 <= first["followed"][1] and first["best"] in ("1.0", "1.1")
    assert len(rows) == 16 and all(len(row["decides"]) == 4 for row in rows)


def test_a_model_of_the_table_can_be_trained(monkeypatch):
    monkeypatch.setattr(trainer.Trainer, "fraction", lambda run, running=0.0: min(1.0, run.step / 2))
    run, world, tokenizer = RECIPE["build"](1)
    x, y = run.next_batch()[0]
    assert x.shape == y.shape == (32, 80) and x.max() < tokenizer.vocab_size == run.model.config.vocab_size
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    for tokens, targets in zip(x.tolist(), y.tolist(), strict=True):
        asked = [place for place, token in enumerate(tokens) if token == ids["<answer>"]]
        assert all(targets[place] >= 0 for place in asked[:-1])  # the first word of every answer counts
        for target, following in zip(targets, tokens[1:], strict=False):
            assert target in (-1, following) or following == 0  # after the last token stands padding
    assert 0.1 < (y >= 0).float().mean() < 0.6 and [look.step for look in run] == [2]
