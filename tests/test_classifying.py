"""What notebook 07b rests on: pooling, intervals of overlapping splits, sentences of packages, its rivals."""

import importlib
import json
import math

import numpy as np
import pytest
import torch

from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import pool
from bigmodel_lib.measuring.intervals import interval_of_mean, interval_of_splits
from bigmodel_lib.text import docstrings
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(str(data_path("recipes")))
    return importlib.import_module("rivals")


@pytest.fixture(scope="module")
def table():
    return json.loads(data_path("rivals.json").read_text(encoding="utf-8"))


def accuracies(table, task, rival, labels):
    rows = [row for row in table["rows"] if (row["task"], row["rival"], row["labels"]) == (task, rival, labels)]
    return np.array([row["test_accuracy"] for row in sorted(rows, key=lambda row: row["split"])])


# Pooling


def test_pooling_is_the_mean_and_the_last_of_a_text_whatever_follows_it():
    states = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    here = torch.arange(6) < torch.tensor([[6], [1], [4]])
    found = pool(states, here)
    for row, n in enumerate((6, 1, 4)):
        assert torch.allclose(found[row], torch.cat([states[row, :n].mean(0), states[row, n - 1]]), atol=1e-6)
    noisy = torch.where(here[..., None], states, torch.full_like(states, 99.0))
    assert torch.equal(pool(noisy, here), found)


# Intervals


def test_overlap_widens_an_interval_as_nadeau_and_bengio_say():
    values = np.random.default_rng(0).normal(size=10)
    (mean, narrow), (same, wide) = interval_of_mean(values), interval_of_splits(values, 560, 140)
    assert mean == same and wide / narrow == pytest.approx(math.sqrt((1 / 10 + 140 / 560) * 10))


def test_it_holds_the_truth_far_more_often_than_the_ordinary_one():
    """Splits of one small table: a classifier that guesses one label is right as often as that label is there."""
    rng, hits = np.random.default_rng(0), np.zeros(2)
    for _ in range(400):
        right = rng.random(100) < 0.7  # which rows of the table the classifier gets right
        found = [right[rng.permutation(100)[:20]].mean() for _ in range(10)]
        for way, (mean, half) in enumerate((interval_of_mean(found), interval_of_splits(found, 80, 20))):
            hits[way] += abs(mean - 0.7) <= half
    assert hits[1] / 400 > 0.93 and hits[0] / 400 < 0.85


# Sentences


def test_sentences_are_plain_and_without_marks_of_code():
    text = """Give `x` back, and nothing else.

    Parameters
    ----------
    x : array
        Its :class:`shape` isn't changed, and *nothing* is copied. Too short.

    >>> print(1) and more of what is here."""
    wanted = ["Give x back, and nothing else.", "Its shape isn't changed, and nothing is copied."]
    assert list(docstrings.sentences(text)) == wanted


def test_docstrings_of_a_package_are_found_and_its_tests_left_out(tmp_path, monkeypatch):
    folder = tmp_path / "a_package_of_ours"
    (folder / "tests").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""This is the sentence of the package."""\n', encoding="utf-8")
    (folder / "tests" / "one.py").write_text('"""This is a sentence of a test."""\n', encoding="utf-8")
    (folder / "broken.py").write_text("def (:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert docstrings.package_sentences("a_package_of_ours") == ["This is the sentence of the package."]
    with pytest.raises(CourseError, match="installed"):
        docstrings.package_sentences("a_package_that_is_nowhere")


# The table


def test_the_table_is_whole(rivals, table):
    found = sorted((row["task"], row["rival"], row["labels"], row["split"]) for row in table["rows"])
    wanted = [job[:4] for job in rivals.jobs_of_stage("report")]
    assert found == sorted((task, name, n or 560, seed) for task, name, seed, n in wanted)
    assert {"made_by", "hardware", "versions", "epochs", "trials", "tuning"} <= table["how"].keys()


def test_settings_were_chosen_on_splits_that_are_not_reported(rivals, table):
    assert not {row["split"] for row in table["trials"]} & {row["split"] for row in table["rows"]}
    for task, (names, _) in rivals.TASKS.items():
        for name, (_, settings) in names.items():
            used = [row["setting"] for row in table["rows"] if (row["task"], row["rival"]) == (task, name)]
            assert all(setting == used[0] for setting in used) and used[0] in settings and len(settings) in (1, 4)
            tried = [row for row in table["trials"] if (row["task"], row["rival"]) == (task, name)]
            if len(settings) == 4:
                losses = [np.mean([r["test_loss"] for r in tried if r["setting"] == s]) for s in settings]
                assert used[0] == settings[int(np.argmin(losses))] and len(tried) == 12


def test_what_the_notebook_says_of_the_table(table):
    counter = accuracies(table, "reviews", "TF-IDF + logistic regression", 560)
    for name in {row["rival"] for row in table["rows"] if row["task"] == "reviews"}:
        mean, half = interval_of_splits(accuracies(table, "reviews", name, 560) - counter, 560, 140)
        assert mean - half <= 0, f"{name} beats the counter: say so in 07b"
    best = {}
    for row in table["trials"]:
        if row["task"] == "reviews":
            best.setdefault(row["rival"], {}).setdefault(str(row["setting"]), []).append(row["test_accuracy"])
    most = {name: max(np.mean(found) for found in settings.values()) for name, settings in best.items()}
    assert max(most, key=most.get) == "TF-IDF + logistic regression", "at some setting somebody passes the counter"
    novelist = [row for row in table["trials"] if row["rival"] == "novelist, fine-tuned" and row["task"] == "reviews"]
    slow, fast = ([row for row in novelist if row["setting"]["rate"] == rate] for rate in (0.1, 1.0))
    for key in ("test_accuracy", "test_loss"):  # at a higher rate right more often, and hopelessly certain
        assert np.mean([row[key] for row in fast]) > np.mean([row[key] for row in slow])
    printed = accuracies(table, "reviews", "LSTM, as printed", 560).mean()
    for name in ("dropout", "weight decay", "early stopping"):
        assert accuracies(table, "reviews", f"LSTM, {name}", 560).mean() < printed, "the accuracy has risen"


def test_asking_beats_two_thousand_labels(table):
    assert table["how"]["sentences"] == 3011
    asked = accuracies(table, "slips", "novelist, asked", 50)
    for name in ("TF-IDF + logistic regression", "its neighbours + logistic regression", "LSTM, common budget"):
        mean, half = interval_of_splits(asked - accuracies(table, "slips", name, 2000), 2000, 800)
        assert mean - half > 0, f"{name} with 2,000 labels is as good as asking: say so in 07b"
    assert asked.mean() > table["books"]["accuracy"] + 0.05
    assert np.mean(table["books"]["accuracies"]) == pytest.approx(table["books"]["accuracy"], abs=1e-4)


def test_a_row_of_the_table_can_be_made(rivals, table):
    data = rivals.reviews()
    train, test = data.split(4)
    logs = rivals.linear(data, train, test, 4, C=10.0)[1]
    mine = (logs.argmax(1) == data.labels[test]).mean()
    kept = next(row for row in table["rows"] if row["rival"] == "TF-IDF + logistic regression" and row["split"] == 4
                and row["labels"] == 560)  # fmt: skip
    assert abs(mine - kept["test_accuracy"]) < 0.03
    train, test = data.split(3, 140)
    assert data.labels[train].sum() == 70 and not set(train) & set(test) and len(test) == 140


def test_half_of_the_sentences_get_the_other_word_and_words_alone_say_nothing(rivals):
    texts = [f"The {word} of number {i} is here." for i, word in enumerate(["then", "than"] * 20)]
    rows = rivals.slips(texts)
    assert sorted(row["word"] for row in rows).count("then") == 20 and len(rows) == 40
    assert rivals.other(dict(sentence="More then one.", place=1, pair="then than", word="then")) == "More than one."


def test_the_novelist_sees_a_slip_without_a_label(rivals):
    class Two:
        texts, others = ["She was taller than he."], ["She was taller then he."]

    asked = rivals.opinion("novelist")(Two, [0], [0], 0)[1]
    assert asked[0, 1] > math.log(0.99)


def test_both_ways_of_reading_a_sentence_agree(rivals):
    """The recipe reads the line end with the sentence, the notebook before it."""
    model, tokenizer = checkpoints.load_model(data_path("novelist"))
    for sentence in ("There is a lamp.", "It's late."):
        assert tokenizer.encode("\n" + sentence).tolist() == [*tokenizer.encode("\n"), *tokenizer.encode(sentence)]
