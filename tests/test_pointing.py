"""Cases whose reasons are known, counterfactuals that change the truth, and scores that count what they say."""

import json
import runpy

import numpy as np
import pytest
import torch
from notebook_code import defined_in

from bigmodel_lib.interpretability import interventions
from bigmodel_lib.interpretability import scores as pointing
from bigmodel_lib.storyworld.story import START, words_of
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.text.tokenizers import WordTokenizer
from bigmodel_lib.training import checkpoints, trainer

RECIPE = runpy.run_path(str(data_path("recipes/interpretation.py")))
induction_by_hand = defined_in("09_attention_maps", "induction_by_hand").induction_by_hand
LETTERS = WordTokenizer(["start", *"ABCDEFG"])
TEXT = [
    "start",
    "C",
    "E",
    "B",
    "F",
    "C",
    "E",
    "A",
    "D",
    "B",
]  # by hand: after the second C comes E, place 2; after B comes F, place 4
CASES = [pointing.Case(TEXT[:6], "E", frozenset({2}), 6), pointing.Case(TEXT[:7], "B", frozenset({3}), 7),
         pointing.Case(TEXT, "F", frozenset({4}), 10), pointing.Case(TEXT[:6], "E", frozenset({2}), 6)]  # fmt: skip


@pytest.fixture(scope="module")
def told():
    world, _ = pointing.small_world()
    return [world.sample(np.random.default_rng(seed)) for seed in range(150)]


def test_a_question_ends_before_its_answer_and_its_support_names_what_it_says(told):
    seen = 0
    for story in told[:60]:
        for question in story.questions():
            if question.kind not in pointing.KINDS:
                continue
            case, seen = pointing.asked(story, question), seen + 1
            assert case.tokens[0] == START and case.tokens[1 : case.candidates] == story.tokens
            assert " ".join(words_of(question.answer)).endswith(case.target)
            assert case.tokens[case.candidates] == "<question>" and max(case.support) < case.candidates
            assert {case.tokens[place] for place in case.support} == {story.tokens[p] for p in question.support}
            assert case.target in {case.tokens[place] for place in case.support}
    assert seen > 100


def test_a_pronoun_is_supported_by_every_earlier_mention_of_its_name(told):
    seen = 0
    for story in told:
        for read, (place, source) in [(r, item) for r in (True, False) for item in story.antecedents.items()]:
            case = RECIPE["pronoun_cases"](story, read)[list(story.antecedents).index(place)]
            whole, seen = [START, *story.tokens], seen + 1
            assert case.tokens == whole[: place + 1 + read] and case.target == whole[place + 1 + read]
            assert (case.tokens[-1] if read else case.target) == story.tokens[place]
            assert source + 1 in case.support and {whole[p] for p in case.support} == {story.tokens[source]}
            assert case.candidates == place + 1 and max(case.support) < case.candidates
            assert len(case.support) == sum(token == story.tokens[source] for token in story.tokens[:place])
    assert seen > 20


def test_a_counterfactual_changes_the_answer_and_names_what_differs(told):
    found = [pair for story in told[:60] for question in story.questions() if question.kind in pointing.KINDS
             if (pair := pointing.turned(story, question))]  # fmt: skip
    assert len(found) > 60
    for before, after, changed in found:
        assert before.target != after.target and before.tokens[before.candidates :] == after.tokens[after.candidates :]
        if len(before.tokens) == len(after.tokens):
            differ = {i for i, (a, b) in enumerate(zip(before.tokens, after.tokens, strict=True)) if a != b}
            assert changed == differ and any(before.tokens[place] == before.target for place in changed)
        else:
            assert len(changed) == 1
    assert sum(len(before.tokens) == len(after.tokens) for before, after, _ in found) > len(found) / 2


def test_scores_name_the_copied_token_on_the_model_by_hand():
    model, other = (
        induction_by_hand(),
        pointing.Case(["start", "G", "A", "D", "B", "G", "C", "F", "E"], "A", frozenset(), 9),
    )
    for case in CASES:
        (source,), place = case.support, len(case.tokens) - 1
        scores = pointing.scores_of(model, LETTERS, case, {"another": other})
        n = case.candidates
        assert scores["attention"].shape == (2, 2, n) and scores["another"].shape == (1, n)
        for method in ("gradient × input", "hiding"):
            assert int(scores[method].argmax()) == source, method
        assert (scores["attention"][1].argmax(dim=-1) == source).all()
        assert int(scores["another"][0].argmax()) in (
            source,
            place,
        )  # patched before layer 1: copied from, or copied to
        means = scores["attention"].mean(dim=(0, 1))
        assert torch.allclose(scores["attention, all heads"], means)


def test_a_head_is_chosen_on_the_first_half_and_scored_on_the_second():
    model = induction_by_hand()
    places, chosen = pointing.points(model, LETTERS, CASES)
    assert chosen["best head"] in ((1, 0), (1, 1)) and chosen["head that matters"] == (0, 0)
    assert places["attention, best head"] == places["hiding"] == [4, 2]
    assert places["first token"] == [0, 0] and places["previous token"] == [9, 5]
    assert all(len(tops) == 2 for tops in places.values())
    wrong_first = [case._replace(support=frozenset({0})) for case in CASES[:2]] + CASES[2:]
    assert pointing.points(model, LETTERS, wrong_first)[1]["best head"] == (0, 1)  # by the first half alone


def test_effects_of_heads_are_means_over_the_cases():
    model = induction_by_hand()
    effects = pointing.effects_of_heads(model, LETTERS, CASES)
    single = [pointing.effects_of_heads(model, LETTERS, [case]) for case in CASES]
    assert torch.allclose(effects, torch.stack(single).mean(dim=0), atol=1e-5)
    assert effects[0, 0] > 1 and effects[0, 1].abs() < 1e-4 and effects[1].abs().max() < 0.2
    text, place = torch.tensor([LETTERS.encode(" ".join(TEXT)).tolist()]), LETTERS.vocabulary.index("F")
    right = interventions.ablate(model, text, [(0, 0)])[0, -1].log_softmax(dim=-1)[place]
    assert abs(single[2][0, 0] + right) < 1e-3  # as it is, the answer costs nothing


def test_rules_without_a_model_name_the_last_word_asked_for_and_the_last_of_its_kind():
    world, _ = pointing.small_world()
    told = words_of("start Mei was in the attic . Ben put the cup in the hall . Mei left Ben .")
    asked = {"Where is the cup ? in the": (10, 13), "Where is Mei ? in the": (15, 13), "Who has the cup ?": (10, 17)}
    cases = [pointing.Case([*told, "<question>", *words_of(text)], "", frozenset(), len(told)) for text in asked]
    places = RECIPE["places_by_rule"](cases, world)
    assert places["last mention of the word asked for"] == [first for first, _ in asked.values()]
    assert places["last room or name"] == [second for _, second in asked.values()]
    read = [
        pointing.Case([*told, "He"], "was", frozenset(), len(told)),
        pointing.Case(told, "He", frozenset(), len(told)),
    ]
    assert RECIPE["places_by_rule"](read, world) == {"last room or name": [17, 17]}
    empty = pointing.Case(["<story>", "x", "<question>", "Where", "is", "Mei", "?"], "", frozenset(), 2)
    assert set(map(tuple, RECIPE["places_by_rule"]([empty], world).values())) == {(0,)}


def test_the_word_asked_for_hardly_ever_differs_in_a_counterfactual(told):
    world, _ = pointing.small_world()
    pairs = [pair for story in told[:40] for question in story.questions() if question.kind in pointing.KINDS
             if (pair := pointing.turned(story, question))]  # fmt: skip
    pairs = [pair for pair in pairs if len(pair.before.tokens) == len(pair.after.tokens)]
    by_rule = RECIPE["places_by_rule"]([pair.before for pair in pairs], world)["last mention of the word asked for"]
    differs = [top in pair.changed for top, pair in zip(by_rule, pairs, strict=True)]
    assert len(pairs) > 100 and np.mean(differs) < 0.03
    assert pointing.share_of_hits(by_rule, [pair.before for pair in pairs]).mean() > 0.5


def test_hits_and_chance_are_counted_by_hand():
    cases = [pointing.Case([], "", frozenset(support), 4) for support in ({1, 3}, {2}, set(), {0, 9})]
    assert pointing.share_of_hits([3, 1, 0, 0], cases).tolist() == [1, 0, 0, 1]
    assert pointing.chance(cases).tolist() == [0.5, 0.25, 0, 0.25]


def test_guesses_are_the_models_likeliest_words():
    assert pointing.guesses(induction_by_hand(), LETTERS, CASES) == [case.target for case in CASES]


# The table


@pytest.fixture(scope="module")
def maker():
    return runpy.run_path(str(data_path("recipes/interpretation.py")))


def test_the_table_has_every_method_task_and_seed(maker):
    table = json.loads(data_path("interpretation.json").read_text(encoding="utf-8"))
    assert table["how"]["made_by"] == "data/recipes/interpretation.py" and table["how"]["stories"] == maker["STORIES"]
    methods = {}
    for row in (row for row in table["rows"] if row["table"] == "hits"):
        of_the_task = methods.setdefault(row["task"], {}).setdefault(row["seed"], [])
        of_the_task.append(row["method"])
        if row["method"] != "random":
            assert abs(row["hits"].count("1") / len(row["hits"]) - row["share"]) < 1e-9
    assert methods.keys() == {"questions", "used", "pronoun read", "pronoun said"}
    for by_seed in methods.values():
        assert by_seed.keys() == set(maker["SEEDS"]) and len(by_seed) >= 3
        assert all(sorted(names) == sorted(set(by_seed[0])) for names in by_seed.values())  # each once
        assert {"random", "hiding", "gradient × input", "rollout"} <= set(by_seed[0]) <= set(methods["questions"][0])


def test_the_models_of_the_table_answer_well_enough():
    rows = json.loads(data_path("interpretation.json").read_text(encoding="utf-8"))["rows"]
    right = {(row["seed"], row["kind"]): row["right"] for row in rows if row["table"] == "answers"}
    assert all(right[seed, kind] > least for seed in range(3) for kind, least in
               (("person", 0.7), ("thing", 0.85), ("holder", 0.95)))  # fmt: skip
    assert (data_path("answerer") / "model.safetensors").stat().st_size < 2_000_000
    kept = json.loads((data_path("answerer") / "metrics.json").read_text(encoding="utf-8"))
    assert kept["right"] == {kind: right[0, kind] for kind in pointing.KINDS}
    assert kept["made_by"] == "data/recipes/interpretation.py" and {"hardware", "versions", "text"} <= kept.keys()


def test_rows_of_the_table_can_be_made_from_the_model_that_is_kept(maker, monkeypatch):
    model, tokenizer = checkpoints.load_model(data_path("answerer"))
    monkeypatch.setitem(maker["rows_of"].__globals__, "trained", lambda seed: (model, tokenizer))
    rows = maker["rows_of"](0, 8)
    assert {row["table"] for row in rows} == {"answers", "counterfactual", "hits", "effects"}
    assert all(0 <= row["share"] <= 1 for row in rows if row["table"] == "hits")
    found = next(row for row in rows if row.get("method") == "hiding" and row["task"] == "questions")
    assert len(found["hits"]) == 4 and found["share"] >= 0.5


def test_a_model_of_the_table_can_be_trained(maker, monkeypatch):
    monkeypatch.setattr(trainer.Trainer, "fraction", lambda run, running=0.0: min(1.0, run.step / 2))
    run, world, tokenizer = maker["build"](1)
    x, y = run.next_batch()[0]
    assert x.shape == y.shape == (32, 80) and x.max() < tokenizer.vocab_size == run.model.config.vocab_size
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    for tokens, targets in zip(x.tolist(), y.tolist(), strict=True):
        asked = [place for place, token in enumerate(tokens) if token == ids["<answer>"]]
        assert all(targets[place] >= 0 for place in asked[:-1])  # the first word of every answer counts
        for target, following in zip(targets, tokens[1:], strict=False):
            assert target in (-1, following) or following == 0  # after the last token stands padding
    assert 0.1 < (y >= 0).float().mean() < 0.6 and [look.step for look in run] == [2]
