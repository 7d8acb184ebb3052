"""The recipe of the assistant: renamed stories are told as often, masks are right, rules answer, numbers hold."""

import importlib
import json
import types

import numpy as np
import pytest
import torch

from bigmodel_lib.exercises.nb07 import loss_at
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.storyworld.story import words_of
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints


@pytest.fixture(scope="module")
def recipe():
    """data/recipes/assistant.py as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(data_path("recipes")))
        yield importlib.import_module("assistant")


@pytest.fixture(scope="module")
def metrics():
    return json.loads(data_path("assistant/metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def told(recipe):
    return recipe.world_and_tokenizer()[0].sample(np.random.default_rng(4))


@pytest.fixture(scope="module")
def stock(recipe):
    recipe.CHUNK, before = 60, recipe.CHUNK
    stock = recipe.Stock(recipe.world_and_tokenizer()[1], 60)
    stock.add(recipe.chunk(0))
    recipe.CHUNK = before
    return stock


def renamed(words, table, tokenizer):
    return [tokenizer.vocabulary[table[tokenizer.vocabulary.index(word)]] for word in words]


def test_a_renamed_story_is_told_as_often_and_keeps_its_translation_and_answers(recipe):
    world, tokenizer = recipe.world_and_tokenizer()
    tables, changed = recipe.renamings(tokenizer, 25, np.random.default_rng(0)), 0
    assert (tables[:, -1] == -1).all() and tables.shape == (25, tokenizer.vocab_size + 1)
    for seed, table in enumerate(tables):
        story = world.sample(np.random.default_rng(seed))
        other = world.parse(renamed(story.tokens, table, tokenizer))
        changed += other.tokens != story.tokens
        assert other.log_prob == pytest.approx(story.log_prob, abs=1e-9)
        assert other.chinese_tokens == renamed(story.chinese_tokens, table, tokenizer)
        assert words_of(other.summary()[0]) == renamed(words_of(story.summary()[0]), table, tokenizer)
        answers = {(*words_of(q.text), *words_of(q.answer)) for q in other.questions()}
        for q in story.questions():
            assert tuple(renamed([*words_of(q.text), *words_of(q.answer)], table, tokenizer)) in answers
    assert changed > 20


def test_batches_have_their_shares_and_want_only_what_is_wanted(recipe, stock):
    tokenizer = recipe.world_and_tokenizer()[1]
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    x, y = stock.batches({"story": 0.5, "question": 0.25, "chinese": 0.25}, 16)(np.random.default_rng(0))
    assert x.shape == y.shape == (16, recipe.LENGTHS["chinese"] - 1) and x.dtype == y.dtype == np.int64 and x.min() == 0
    marks = {"<question>": (x == ids["<question>"]).any(axis=1), "<chinese>": (x == ids["<chinese>"]).any(axis=1)}
    assert marks["<question>"].tolist() == [False] * 8 + [True] * 4 + [False] * 4
    assert marks["<chinese>"].tolist() == [False] * 12 + [True] * 4
    for row, targets in zip(x, y, strict=True):
        wanted = np.flatnonzero(targets >= 0)
        assert np.array_equal(wanted, np.arange(wanted[0], wanted[-1] + 1)) and targets[wanted[-1]] == ids["<end>"]
        assert np.array_equal(row[wanted[1:]], targets[wanted[:-1]])
        assert row[wanted[0]] in (ids["<story>"], ids["<answer>"], ids["<chinese>"])


def test_a_row_s_loss_counts_alike_however_long_it_is(recipe):
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(2, 5, 7, generator=generator), torch.tensor([[-1, 2, -1, -1, 3], [1, 2, 3, 4, 5]])
    each = [cross_entropy(logits[b : b + 1], y[b : b + 1]) for b in range(2)]
    assert recipe.row_loss(lambda x: logits, None, y) == pytest.approx(float(sum(each) / 2), rel=1e-5)


def test_a_beginning_has_a_thing_and_no_end(recipe):
    world, _ = recipe.world_and_tokenizer()
    for seed in range(40):
        whole = world.sample(np.random.default_rng(seed))
        begun = recipe.beginning(whole, np.random.default_rng(seed))
        assert begun.tokens == whole.tokens[: len(begun.tokens)] and len(begun.tokens) < len(whole.tokens)
        assert begun.summary()[0] and begun.questions()


def test_the_rules_answer_from_the_words_of_a_story(recipe):
    told = words_of(
        "Anna was in the hall. Ben was in the attic. Ben had a lamp. Anna was happy. Anna went to the study."
    )
    ask = {"Where is Ben?": ("in the study", "in the attic"), "Who has the lamp?": ("Anna", "Ben")}
    for question, (last, beside) in ask.items():
        assert recipe.answer_by_rule(told, words_of(question), False) == last
        assert recipe.answer_by_rule(told, words_of(question), True) == beside
    assert recipe.answer_by_rule(told, words_of("How does Anna feel?"), True) == "happy"
    assert recipe.summarise_by_rule(told) == "Ben had the lamp at the start and at the end ."
    moved = words_of("Ben had a lamp. The lamp was in the attic.")
    assert recipe.summarise_by_rule(moved) == "The lamp came to be in the attic ."


def test_the_phrasebook_knows_the_sentences_that_it_was_made_of(recipe, told):
    world, _ = recipe.world_and_tokenizer()
    translator = recipe.Translator([told])
    assert translator.by_phrases(told.tokens) == told.chinese_tokens
    other = world.sample(np.random.default_rng(77))
    assert translator.by_phrases(other.tokens) != other.chinese_tokens
    assert translator.word_by_word(["Anna"]) == ["安娜"]


def test_what_is_wrong_with_a_story_is_named(recipe, told):
    assert recipe.fault(told.tokens) == ""
    assert recipe.fault([*told.tokens, "Anna", "the", "."]) == "broken"
    assert recipe.fault(told.tokens[: -len(told.sentences[-1])]) == "out of turn"


def test_the_assistant_is_as_good_as_it_says(recipe, metrics):
    model, tokenizer = checkpoints.load_model(data_path("assistant"))
    stories, tasks = recipe.unseen(30, 60)
    said, found = metrics["assistant"], recipe.exact(model, tasks, tokenizer)
    assert abs(said["exact"]["question"] - 0.97) < 0.012, (
        "07 says that it's the 0.97 that was wanted, give or take chance"
    )
    assert said["exact"]["summary"] > 0.97 and said["exact"]["chinese"] > 0.97
    assert max(said["rules"]["question"].values()) < said["exact"]["question"] - 0.05
    assert all(abs(found[kind] - said["exact"][kind]) < 0.12 for kind in recipe.TASKS)
    gap = recipe.story_loss(model, stories, tokenizer) + sum(s.log_prob for s in stories) / sum(
        len(s.tokens) + 1 for s in stories
    )
    assert abs(gap - (said["loss"] - said["floor"])) < 0.01 and said["loss"] - said["floor"] < 0.03
    both = sum((data_path(name) / "model.safetensors").stat().st_size for name in ("assistant", "storyteller"))
    assert both < 3_000_000


def test_its_stories_are_true_nine_times_in_ten_and_fine_tuning_cost_none_of_that(metrics):
    true = {name: metrics[name]["told"][0]["true"] for name in ("storyteller", "base", "assistant")}
    assert metrics["assistant"]["told"][0]["temperature"] == 0.7 and metrics["assistant"]["told"][0]["stories"] == 2000
    assert (
        abs(true["assistant"] - 0.9) < 0.02
        and abs(true["base"] - true["assistant"]) < 0.02
        and true["storyteller"] < 0.65
    )
    faults = metrics["assistant"]["told"][0]["faults"]
    assert faults["does not fit"] > 0.8 * sum(faults.values()), "07 says that nearly all are of this kind"


def test_the_rules_numbers_can_be_made_again(recipe, metrics):
    said = metrics["assistant"]["rules"]
    found = recipe.rules(recipe.unseen(3, 300)[1], 500)
    for kind, named in said.items():
        for name, share in named.items():
            assert abs(found[kind][name] - share) < (0.12 if kind != "chinese" else 0.3), name


def ways_of(metrics):
    """{(way, rate): its runs, in the order of their seeds}"""
    found = {}
    for row in metrics["ways"]["rows"]:
        found.setdefault((row["way"], row["rate"]), []).append(row)
    return found


def test_every_way_of_the_comparison_is_there_with_its_looks(recipe, metrics):
    found = ways_of(metrics)
    assert set(found) == {(way, rate) for way in recipe.WAYS for rate in recipe.WAY_RATES}
    assert all([run["seed"] for run in runs] == [0, 1, 2, 3] for runs in found.values())
    looks = [run["looks"] for runs in found.values() for run in runs]
    assert all(each[0]["step"] == 0 and each[-1]["step"] == recipe.WAY_STEPS for each in looks)
    assert {"hardware", "versions", "steps", "batch", "optimizer"} <= metrics["ways"].keys()
    assert {"hardware", "versions", "steps", "train_config"} <= metrics["finetuning"].keys()


def test_what_07_says_of_the_ways_is_so(metrics):
    found = ways_of(metrics)
    rates = sorted({rate for _, rate in found})
    best = {way: max(rates, key=lambda r: found[way, r][0]["looks"][-1]["score"]) for way, _ in found}
    ends = {way: [run["looks"][-1] for run in found[way, best[way]][1:]] for way in best}
    mean = {way: {key: np.mean([end[key] for end in ends[way]]) for key in ends[way][0]} for way in ends}
    frozen = [run["looks"][-1]["summary"] for rate in rates for run in found["LoRA, tables frozen", rate]]
    assert max(frozen) == 0
    for key in ("question", "summary"):  # a fifth of the numbers comes close to all of them
        assert abs(mean["LoRA"][key] - mean["all weights"][key]) < 0.06
    assert abs(mean["LoRA, tables frozen"]["question"] - mean["LoRA"]["question"]) < 0.05
    trained = {way: found[way, rates[0]][0]["trained"] for way in best}
    assert abs(trained["LoRA"] / trained["all weights"] - 0.2) < 0.02
    start = found["LoRA", rates[0]][0]["looks"][0]["loss"]
    for way, rate in found:
        for run in found[way, rate]:
            assert (run["looks"][-1]["loss"] - start < 0.08) == ("mixed" in way), (way, rate)
    assert mean["all weights, stories mixed in"]["score"] > mean["all weights"]["score"] - 0.01
    assert 0 < mean["LoRA"]["score"] - mean["LoRA, stories mixed in"]["score"] < 0.1


def test_at_the_same_rate_and_score_lora_forgets_less_but_small_steps_forget_least(metrics):
    at = {
        pair: [loss_at(0.5, *([look[key] for look in run["looks"]] for key in ("score", "loss"))) for run in runs[1:]]
        for pair, runs in ways_of(metrics).items()
    }
    slow, *others = sorted({rate for _, rate in at})
    for rate in others:
        assert max(at["LoRA", rate]) < min(at["all weights", rate])
        assert max(at["all weights", slow]) < min(at["LoRA", rate])
    assert np.isnan(at["LoRA", slow]).all()


def test_a_small_run_goes_through_and_a_second_one_keeps_what_is_there(recipe, monkeypatch, tmp_path):
    monkeypatch.setattr(recipe, "ON_THE_WAY", tmp_path / "way")
    monkeypatch.setattr(recipe, "FOLDER", tmp_path / "assistant")
    monkeypatch.setattr(recipe, "SIZES", dict(recipe.SIZES, d_model=16, n_layers=1, n_heads=2, d_ff=16))
    options = recipe.parse_options(["--device", "cpu", "--base", "0.005", "--assistant", "0.005", "--batch", "8"])
    stock = recipe.Stock(recipe.world_and_tokenizer()[1], 20)
    monkeypatch.setattr(recipe, "CHUNK", 20)
    stock.fill(types.SimpleNamespace(submit=lambda function, *a: Done(function(*a))), 1)
    assert stock.count["story"] == 20 and stock.count["question"] > 20
    recipe.pretrain_and_finetune(stock, options)
    base = checkpoints.load_tensors(recipe.ON_THE_WAY / "base/model.safetensors")[0]
    recipe.pretrain_and_finetune(stock, options)
    again = checkpoints.load_tensors(recipe.ON_THE_WAY / "base/model.safetensors")[0]
    assert all(torch.equal(base[name], again[name]) for name in base)
    kept = json.loads((recipe.FOLDER / "metrics.json").read_text(encoding="utf-8"))
    assert kept["finetuning"]["stories_made"] == 20 and kept["pretraining"]["steps"] >= 1


class Done:
    """A future that is there at once."""

    def __init__(self, result):
        self.value = result

    def result(self):
        return self.value

    def add_done_callback(self, function):
        function(self)
