"""A model's report card: its numbers against what is known, and what it refuses."""

import math
import re

import numpy as np
import pytest
import torch

from bigmodel_lib.cli.evaluate import main, runs_in, texts_for
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring import report_card as cards
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training.checkpoints import save_model

TEXTS = ["The lamp is in the hall.", "Anna took it.", "It rained all day, and nobody came to the door.", "Why?"] * 3


def a_model(seed=0, **sizes):
    config = ModelConfig(256, context_length=16, d_model=16, n_layers=1, n_heads=2, d_ff=16, init="gpt2", **sizes)
    return initialise(LanguageModel(config), torch.Generator().manual_seed(seed)).eval()


def test_a_model_that_knows_nothing_pays_eight_bits_a_byte():
    model = a_model()
    torch.nn.init.zeros_(model.w_out)
    rows = cards.accuracy_rows(model, ByteTokenizer(), TEXTS)
    assert rows["bits per byte"].value == pytest.approx(8) and rows["perplexity"].value == pytest.approx(256, rel=1e-5)
    low, high = rows["loss"].interval
    assert low == pytest.approx(math.log(256)) == high


def test_losses_of_long_texts_are_those_of_evaluate():
    model, document = a_model(1), cards.document_of("abcdefgh " * 20, ByteTokenizer())
    one, two = cards.text_losses(model, [document, document[:10]])
    assert one / (len(document) - 1) == pytest.approx(evaluate(model, document), rel=1e-5)
    assert two == pytest.approx(9 * evaluate(model, document[:10]), rel=1e-5)


def test_the_interval_holds_the_ratio_and_narrows_with_more_texts():
    rng = np.random.default_rng(0)
    above, below = rng.gamma(4, size=400), np.ones(400)
    few, many = (cards.ratio_interval(above[:n], below[:n]) for n in (40, 400))
    assert few[0] < above[:40].mean() < few[1] and many[1] - many[0] < (few[1] - few[0]) / 2


def test_typos_keep_the_letters_and_leave_words_apart():
    text = "a small lamp in the hall " * 20
    changed = cards.with_typos(text, np.random.default_rng(0))
    assert changed != text and sorted(changed) == sorted(text)
    assert [len(word) for word in changed.split()] == [len(word) for word in text.split()]


def test_a_card_has_its_three_parts_and_says_what_cannot_be_read():
    card = cards.report_card(a_model(), ByteTokenizer(), TEXTS)
    assert card.keys() == {"accuracy", "stability", "efficiency"}
    assert all(row.value > 0 for part in card.values() for row in part.values())
    memory = card["efficiency"]["memory"].value * 1e6 / 4
    assert memory == sum(p.numel() for p in a_model().parameters()) + 2 * 16 * 16
    world = StoryWorld(longest=24)
    stories = [world.sample(np.random.default_rng(seed)).text for seed in range(4)]
    words = world.tokenizer()
    sizes = ModelConfig(words.vocab_size, context_length=64, d_model=16, n_layers=1, n_heads=2, d_ff=16)
    teller = initialise(LanguageModel(sizes), torch.Generator().manual_seed(0)).eval()
    card = cards.report_card(teller, words, stories)
    assert card["stability"]["in capitals"] is None and "can't read it" in cards.side_by_side({"teller": card})


def test_what_has_no_card_is_refused():
    with pytest.raises(CourseError, match="at least two texts"):
        cards.report_card(a_model(), ByteTokenizer(), TEXTS[:1])
    with pytest.raises(CourseError, match="an encoder"):
        cards.accuracy_rows(a_model(causal=False), ByteTokenizer(), TEXTS)
    with pytest.raises(CourseError, match="--text"):
        texts_for(ByteTokenizer(), None)


def test_the_command_puts_cards_side_by_side_with_the_spread_over_seeds(tmp_path, capsys):
    for seed in (0, 1):
        (tmp_path / f"runs/{seed}").mkdir(parents=True)
        save_model(tmp_path / f"runs/{seed}", a_model(seed), ByteTokenizer())
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS), encoding="utf-8")
    assert len(runs_in(str(tmp_path / "runs"))) == 2
    one = str(tmp_path / "runs/1")
    assert main([str(tmp_path / "runs"), one, "--text", str(text)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"over 2 seeds +\S+ \(\S+ to \S+\) from best to worst", said) and "bits per byte" in said


def test_cards_of_models_that_differ_keep_all_their_rows_and_columns():
    number = cards.Measured(2.0, unit="ms")
    one = {"accuracy": {"loss": number}, "stability": {"in capitals": None}, "efficiency": {"after 48": number}}
    other = one | {"stability": {"in capitals": number, "over 2 seeds": number}, "efficiency": {"after 64": number}}
    name = "/a_long_name" * 4
    title, *lines = cards.side_by_side({f"one{name}": one, f"other{name}": other}).split("\n")
    assert title.split() == [name[-36:]] * 2
    found = {line[:24].strip(): (line[24:68].strip(), line[68:].strip()) for line in lines}
    assert found["in capitals"] == ("can't read it", "2 ms") and found["over 2 seeds"] == ("", "2 ms")
    assert found["after 48"] == ("2 ms", "") and found["after 64"] == ("", "2 ms")
