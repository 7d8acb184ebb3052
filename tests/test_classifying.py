"""What notebook 07b rests on: pooling, intervals of overlapping splits, sentences of packages, its rivals."""

import importlib
import json
import math
import re

import numpy as np
import pytest
import torch
from notebook_code import NOTEBOOKS, defined_in

from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import pool
from bigmodel_lib.finetuning.lora import count_trainable
from bigmodel_lib.measuring.evaluation import label_metrics
from bigmodel_lib.measuring.intervals import interval_of_mean, interval_of_splits
from bigmodel_lib.text import docstrings
from bigmodel_lib.text.labels import read_labelled
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


# The network that the article printed


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(data_path("recipes")))
    return importlib.import_module("_lstm")


def test_the_lstm_has_the_parameters_that_were_printed(recipe):
    assert count_trainable(recipe.LSTMClassifier()) == 402_561


@pytest.mark.parametrize("seed", range(3))
def test_the_lstm_step_by_step_is_pytorchs(recipe, seed):
    generator = torch.Generator().manual_seed(seed)
    lstm = torch.nn.LSTM(5, 7, batch_first=True)
    with torch.no_grad():
        for p in lstm.parameters():
            p.normal_(generator=generator)
        x = torch.randn(3, 9, 5, generator=generator)
        last = lstm(x)[1][0][0]
        bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
        ours = recipe.lstm_steps(x, lstm.weight_ih_l0.T, lstm.weight_hh_l0.T, bias)
        masked = recipe.lstm_steps(x, lstm.weight_ih_l0.T, lstm.weight_hh_l0.T, bias, 1.0, torch.zeros(3, 7))
        alone = recipe.lstm_steps(x, lstm.weight_ih_l0.T, torch.zeros(7, 28), bias)
    assert (ours - last).abs().max() < 1e-5
    assert (masked - alone).abs().max() < 1e-6 and (masked - last).abs().max() > 0.01


def test_variational_dropout_is_there_in_training_alone(recipe):
    model = recipe.LSTMClassifier(torch.Generator().manual_seed(0), dropout=0.5)
    x = torch.randint(50, (8, 5), generator=torch.Generator().manual_seed(1))
    model.train()
    assert (model(x) - model(x)).abs().max() > 1e-4
    model.eval()
    assert torch.equal(model(x), model(x))


def test_words_become_numbers_by_frequency_with_padding_in_front(recipe):
    index = recipe.WordIndex(["the cat, the dog", "The cat isn't"], n_words=4)
    assert index.number == {"the": 1, "cat": 2, "dog": 3}
    assert index.encode(["the unknown cat", "dog cat the dog cat"], 4).tolist() == [[0, 0, 1, 2], [2, 1, 3, 2]]


def test_the_notebook_finds_the_same_words_in_the_reviews(recipe):
    cells = json.loads((NOTEBOOKS / "07b_classifying.ipynb").read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if cell["id"] == "printed-words"]
    (pattern,) = re.findall(r're\.findall\(r"(.+?)", text', "".join(cell["source"]))
    for text in read_labelled(data_path("reviews.tsv")).texts:
        assert re.findall(pattern, text.lower()) == recipe.WordIndex.words(text)


def test_it_learns_what_is_easy(recipe):
    texts, labels = ["good good fine"] * 40 + ["bad awful bad"] * 40, np.array([1] * 40 + [0] * 40)
    x = recipe.WordIndex(texts).encode(texts, 3)
    model = recipe.LSTMClassifier(generator=torch.Generator().manual_seed(0))
    assert list(recipe.fit_lstm(model, x, labels, 0)) == list(range(1, 11))
    assert label_metrics(recipe.lstm_log_probs(model, x), labels)["accuracy"] == 1.0


def test_the_notebook_shows_the_same_network(recipe):
    shown = defined_in("07b_classifying", "Printed", "start_as_there")
    network = shown.start_as_there(shown.Printed(), torch.Generator().manual_seed(0))
    model = recipe.LSTMClassifier(torch.Generator().manual_seed(0))
    x = torch.randint(50, (8, 5), generator=torch.Generator().manual_seed(1))
    assert count_trainable(network) == 402_561 and torch.equal(network(x), model(x))


# The table


def test_the_table_is_whole(rivals, table):
    found = sorted((row["task"], row["rival"], row["labels"], row["split"]) for row in table["rows"])
    wanted = [job[:4] for job in rivals.jobs_of_stage("report")]
    assert found == sorted((task, name, n or 560, seed) for task, name, seed, n in wanted)
    accurate = {(row["task"], row["rival"], row["labels"]) for row in table["accurate"]}
    splits = {"reviews": 10, "slips": 5}
    assert len(table["accurate"]) == sum(splits[task] for task, _, _ in accurate)
    assert len(table["z"]) == table["how"]["sentences"]
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
                right = [np.mean([r["test_accuracy"] for r in tried if r["setting"] == s]) for s in settings]
                rows = [row for row in table["accurate"] if (row["task"], row["rival"]) == (task, name)]
                assert all(row["setting"] == settings[int(np.argmax(right))] for row in rows)
                assert bool(rows) == (np.argmax(right) != np.argmin(losses))


def both(table, task, rival, labels, key="test_accuracy"):
    """Its numbers with the setting of the lowest loss, and with the most accurate one."""
    found = {}
    for part in ("rows", "accurate"):
        rows = [row for row in table[part] if (row["task"], row["rival"], row["labels"]) == (task, rival, labels)]
        found[part] = np.array([row[key] for row in sorted(rows, key=lambda row: row["split"])])
    return found["rows"], found["accurate"] if len(found["accurate"]) else found["rows"]


def test_what_the_notebook_says_of_the_table(table):
    counters, intervals = both(table, "reviews", "TF-IDF + logistic regression", 560), {}
    for name in {row["rival"] for row in table["rows"] if row["task"] == "reviews"}:
        for way, (its, counted) in enumerate(zip(both(table, "reviews", name, 560), counters, strict=True)):
            mean, half = intervals[name, way] = interval_of_splits(its - counted, 560, 140)
            assert mean - half <= 0 and its.mean() <= counted.mean(), f"{name} is ahead of the counter: say so in 07b"
    assert all(
        intervals["novelist, head alone", way][0] + intervals["novelist, head alone", way][1] < 0 for way in (0, 1)
    )
    tuned = intervals["novelist, fine-tuned", 1]
    assert tuned[0] + tuned[1] > 0 and "novelist, fine-tuned" in max(
        (mean, name) for (name, way), (mean, _) in intervals.items() if way and "TF-IDF" not in name
    )
    losses = both(table, "reviews", "novelist, fine-tuned", 560, "test_loss")
    assert losses[0].mean() < math.log(2) < losses[1].mean() / 2


def test_what_it_says_of_the_remedies(table):
    printed = [both(table, "reviews", "LSTM, as printed", 560, f"test_{key}")[0].mean() for key in ("accuracy", "loss")]
    for name in ("dropout", "weight decay", "early stopping"):
        by_loss, by_accuracy = both(table, "reviews", f"LSTM, {name}", 560)
        assert by_loss.mean() < printed[0], "the accuracy has risen"
        assert by_accuracy.mean() >= by_loss.mean()
    assert both(table, "reviews", "LSTM, dropout", 560)[1].mean() > printed[0]
    assert both(table, "reviews", "LSTM, dropout", 560, "test_loss")[1].mean() < printed[1] - 0.2


def test_asking_beats_two_thousand_labels_told_or_not(table):
    assert table["how"]["sentences"] == 3011
    told, not_told = (accuracies(table, "slips", f"novelist, asked{how}", 50) for how in ("", ", not told which word"))
    assert 0.03 < told.mean() - not_told.mean() < 0.05  # "four points in a hundred"
    for name in ("TF-IDF + logistic regression", "LSTM, common budget", "novelist, fine-tuned"):
        for rival in both(table, "slips", name, 2000):
            mean, half = interval_of_splits(not_told - rival, 2000, 800)
            assert mean - half > 0.1, f"{name} with 2,000 labels is near to asking: say so in 07b"
    for rival in both(table, "slips", "its neighbours + logistic regression", 2000):
        mean, half = interval_of_splits(told - rival, 2000, 800)
        assert mean - half > 0 and rival.mean() < not_told.mean()
    books = table["books"]
    for counted in (books, books["trigrams"]):
        assert told.mean() > counted["accuracy"] + 0.05
        assert np.mean(counted["accuracies"]) == pytest.approx(counted["accuracy"], abs=1e-4)


def test_what_it_says_of_thresholds(table):
    z = np.array(table["z"])
    assert (z > 0).mean() == pytest.approx(accuracies(table, "slips", "novelist, asked", 50).mean(), abs=0.01)

    def true(threshold, wrong=0.01):
        found, flagged = (-z < threshold).mean(), (z < threshold).mean()
        return found, wrong * found / (wrong * found + (1 - wrong) * flagged)

    assert true(0)[0] > 0.85 and true(0)[1] < 0.1
    assert abs(true(-4.6)[1] - 0.25) < 0.04, "07b says that a quarter of these alarms is true"
    assert abs(true(-12)[1] - 0.5) < 0.05 and true(-12)[0] < 0.25


def test_the_words_of_a_sentence_are_exchanged_one_at_a_time(rivals):
    found = list(rivals.with_each_word_exchanged("It's there, and their lamp is here."))
    assert found == ["It's there, and there lamp is here.", "It's there, and their lamp are here."]


def test_who_is_not_told_looks_at_every_word(rivals):
    class Two:
        texts = ["She was taller than he.", "She was taller then he.", "Anna has a lamp and it's light."]
        others: list = []

    logs = rivals.opinion_of_all("novelist")(Two, [], [0, 1, 2], 0)[1]
    assert (logs.argmax(1) == [1, 0, 0]).all() and np.allclose(np.exp(logs).sum(1), 1)


def test_trigrams_are_probabilities_and_know_what_they_counted(rivals):
    told = ["Anna took the lamp.", "Anna took the cup.", "Ben took the lamp to Anna.", "Ben had the cup."]
    model = rivals.Trigrams(told)
    words = [*model.known, "?"]
    for context in (("anna", "took"), ("took", "the"), ("the", "anna"), ("?", "lamp")):
        assert sum(model.probability((*context, word), 0.7) for word in words) == pytest.approx(1)
    both = [model.log_probability(text, 0.7) for text in ("Anna took the lamp.", "Anna the took lamp.")]
    assert both[0] > both[1] + 3 and model.log_probability("Zoe took the lamp.", 0.7) < both[0]


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
