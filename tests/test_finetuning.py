"""Classifiers, frozen weights, LoRA, early stopping, rivals, and the program that finetunes."""

import json
import math
import runpy
import signal

import numpy as np
import pytest
import torch
from torch.nn import functional

from bigmodel_lib.cli import evaluate, reports
from bigmodel_lib.cli import finetune as command
from bigmodel_lib.config import TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning import lora
from bigmodel_lib.finetuning.classification import classifier_from, classifier_run
from bigmodel_lib.measuring import evaluation
from bigmodel_lib.measuring.evaluation import label_log_probs, label_metrics
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.storyworld.tasks import Task, task_batch, task_tokenizer, tasks_of
from bigmodel_lib.text.batches import WINDOWS, LabelledBatches, encode_texts, pad_windows, split_labelled
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, next_token_loss


def documents(n, seed=0, longest=30, vocab_size=11):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, size=rng.integers(1, longest)) for _ in range(n)]


def random_classifier(random_model, n_labels=2, seed=0, **changes):
    classifier = classifier_from(random_model(seed=seed, **changes), n_labels)
    with torch.no_grad():
        for parameter in classifier.head.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(seed + 1))
    return classifier.eval()


# Labelled texts


def test_rows_are_read_with_and_without_a_header(tmp_path):
    path = tmp_path / "a.tsv"
    rows = [("dog", "wuff\tand tab"), ("cat", " miau "), ("dog", "grr"), ("cat", "purr")] * 5
    path.write_text("\n".join(f"{label}\t{text}" for label, text in rows) + "\n\n", encoding="utf-8")
    data = read_labelled(path)
    assert (
        data.names == ("cat", "dog")
        and data.labels.tolist() == [1, 0] * 10
        and data.texts[:2] == ["wuff and tab", "miau"]
    )
    path.write_text("label\tgroup\ttext\n" + "x\tg\tone\ny\tg\ttwo\nx\tg\t1\ny\tg\t2\n" * 5, encoding="utf-8")
    assert read_labelled(path).texts == ["one", "two", "1", "2"] * 5


@pytest.mark.parametrize(
    "content, words",
    [
        ("a\tx\nb x\n", "line 2 of .* 'b x': a label, a tab and a text were wanted"),
        ("a\tx\nb\t \n", "line 2"),
        ("a\tx\n" * 9, "has 1 label"),
        ("a\tx\n" * 9 + "b\ty\n", r"'b' \(1\)"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(tmp_path, content, words):
    path = tmp_path / "a.tsv"
    path.write_text(content)
    with pytest.raises(CourseError, match=words):
        read_labelled(path)


def test_a_split_keeps_the_share_of_every_label_and_no_row_twice():
    labels = np.array([0] * 90 + [1] * 10)
    train, test = split_labelled(labels, 3)
    assert sorted([*train, *test]) == list(range(100)) and labels[test].sum() == 2 and len(test) == 20
    assert not np.array_equal(test, split_labelled(labels, 4)[1])


def test_a_text_longer_than_all_windows_keeps_its_beginning_and_its_end():
    tokenizer = CharacterTokenizer("abc")
    long = "a" * 50 + "b" * 50 + "c" * 50
    (tokens,) = encode_texts([long], tokenizer, 10)
    assert len(tokens) == 10 * WINDOWS and tokens[0] == 0 and tokens[-1] == 2
    with pytest.raises(CourseError, match="text 2, 'x'"):
        encode_texts(["a", "x"], tokenizer, 10)


def test_every_text_is_drawn_once_an_epoch_with_its_own_label():
    texts = [np.array([i] * (1 + i % 7)) for i in range(50)]
    batches, rng, seen = LabelledBatches(texts, np.arange(50), 8, 4), np.random.default_rng(0), []
    while len(seen) < 100:
        x, y = batches(rng)
        assert x.shape[2] <= 4 and [row[0, 0] for row in x] == y[:, 0].tolist()
        assert [(row >= 0).sum() for row in x] == [1 + i % 7 for i in y[:, 0]]
        seen += y[:, 0].tolist()
    assert sorted(seen[:50]) == sorted(seen[50:]) == list(range(50)) and seen[:50] != seen[50:]


# The head


@pytest.mark.parametrize("seed", range(3))
def test_one_logit_in_the_loop_is_binary_cross_entropy(random_model, seed):
    classifier = random_classifier(random_model, seed=seed)
    x = torch.from_numpy(pad_windows(documents(6, seed), 12))
    y = torch.randint(2, (6, 1), generator=torch.Generator().manual_seed(seed))
    scores = classifier(x)
    assert classifier.head.w.shape == (32, 1) and scores.shape == (6, 1, 2) and bool((scores[..., 0] == 0).all())
    wanted = functional.binary_cross_entropy_with_logits(scores[:, 0, 1], y[:, 0].float())
    assert abs(cross_entropy(scores, y) - wanted) < 1e-6


@pytest.mark.parametrize("n_labels", [2, 4])
def test_padding_and_neighbours_change_nothing(random_model, n_labels, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH_SIZE", 3)
    classifier = random_classifier(random_model, n_labels)
    texts = documents(7)
    together = label_log_probs(classifier, texts)
    alone = np.concatenate([label_log_probs(classifier, [text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5 and np.abs(np.exp(together).sum(axis=1) - 1).max() < 1e-5
    assert np.ptp(together[:, 0]) > 0.01


def test_the_head_reads_the_mean_and_the_last_state(random_model):
    model = random_model()
    classifier = random_classifier(random_model)
    text = documents(1, seed=5, longest=12)[0]
    states = model.states(torch.from_numpy(text)[None])[0]
    z = torch.cat([states.mean(dim=0), states[-1]]) @ classifier.head.w + classifier.head.b
    said = label_log_probs(classifier, [text])[0]
    assert abs(said[1] - functional.logsigmoid(z)[0].item()) < 1e-5


def test_an_encoder_cannot_be_a_classifier(random_model):
    with pytest.raises(CourseError, match="encoder"):
        classifier_from(random_model(causal=False), 2)


def test_scores_are_those_of_the_confusion_matrix():
    log_probs = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.6, 0.3, 0.1]]))
    found = label_metrics(log_probs, [0, 1, 0, 2])
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [1, 0, 0]] and found["accuracy"] == 0.5
    assert abs(found["macro_f1"] - (0.5 + 2 / 3 + 0) / 3) < 1e-9
    assert abs(found["loss"] + np.log([0.7, 0.8, 0.3, 0.1]).mean()) < 1e-9


# What learns


def learned(run):
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    for _ in run:
        pass
    return {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}


def test_each_mode_lets_learn_what_it_says(random_model):
    model, texts, labels = random_model(), documents(20), np.arange(20) % 2
    untouched = {name: p.detach().clone() for name, p in model.named_parameters()}

    def run(mode):
        return classifier_run(model, texts, labels, 2, mode, steps=3, seed=1)

    head = {"head.w", "head.b"}
    assert learned(run("head")) == head
    thin = learned(run("lora"))
    assert head < thin and all(name in head or name.endswith((".a", ".b")) for name in thin)
    assert learned(run("full")) == set(classifier_from(model, 2).state_dict())
    scratch = run("scratch")
    assert not torch.equal(scratch.model.backbone.blocks[0].mlp.w_up, model.blocks[0].mlp.w_up)
    assert all(torch.equal(p, untouched[name]) for name, p in model.named_parameters())
    with pytest.raises(CourseError, match="choose one of full"):
        run("half")


def test_a_fresh_head_knows_nothing(random_model):
    run = classifier_run(random_model(), documents(5), [0, 1, 2, 0, 1], 3, steps=1)
    said = label_log_probs(run.model, documents(5))
    assert np.abs(said + math.log(3)).max() < 1e-6


def test_lora_starts_at_nothing_and_merges_into_the_same_model(random_model):
    plain = random_classifier(random_model)
    model = lora.add_lora(random_classifier(random_model), 3, 6.0, torch.Generator().manual_seed(0)).eval()
    texts = documents(6)
    assert np.abs(label_log_probs(model, texts) - label_log_probs(plain, texts)).max() < 1e-6
    config = plain.config
    D, F = config.d_model, config.d_ff
    thin = config.n_layers * 3 * (4 * (D + D) + (D + F) + (F + D))
    assert lora.count_trainable(model) == thin + 2 * D + 1
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith((".a", ".b")):
                p.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    layer = model.backbone.blocks[1].mlp
    addition = layer.parametrizations.w_up[0]
    by_hand = plain.backbone.blocks[1].mlp.w_up + 2.0 * addition.a @ addition.b
    assert (layer.w_up - by_hand).abs().max() < 1e-6
    adapted = label_log_probs(model, texts)
    assert np.abs(adapted - label_log_probs(plain, texts)).max() > 0.05
    merged = lora.merge_lora(model)
    assert {n for n, _ in merged.named_parameters()} == {n for n, _ in plain.named_parameters()}
    assert np.abs(label_log_probs(merged, texts) - adapted).max() < 1e-6
    assert (merged.backbone.blocks[1].mlp.w_up - by_hand).abs().max() < 1e-6


def test_the_loop_reads_the_batches_it_is_given_and_counts_what_is_wanted(random_model):
    model, rng = random_model(), np.random.default_rng(0)
    x, y = rng.integers(11, size=(2, 5)), np.full((2, 5), -1)
    y[0, 3:], y[1, 4] = (2, 7), 5
    log_probs = model(torch.from_numpy(x)).detach().log_softmax(dim=-1)
    wanted = -(log_probs[0, 3, 2] + log_probs[0, 4, 7] + log_probs[1, 4, 5]) / 3
    (progress,) = Trainer(model, lambda rng: (x, y), next_token_loss, TrainConfig(steps=1, batch_size=2))
    assert abs(progress.loss - wanted) < 1e-5


# Tasks


@pytest.fixture(scope="module")
def world():
    return StoryWorld(longest=40)


def test_greedy_decoding_is_exact_just_if_every_wanted_token_is_the_likeliest(world):
    exact_share = runpy.run_path(str(data_path("recipes/stories.py")))["exact_share"]
    tokenizer = task_tokenizer(world)
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    tasks = [Task("question", ["a", "book"], ["hall", "."]), Task("question", ["book"], ["kite"])]

    class Model(torch.nn.Module):
        def __init__(self, answers):
            super().__init__()
            self.token_embedding, self.answers = torch.nn.Parameter(torch.zeros(1)), answers

        def forward(self, x):
            said = torch.tensor([[self.answers.get(int(token), 0) for token in row] for row in x])
            return functional.one_hot(said, len(ids)).float()

    right = {ids["book"]: ids["hall"], ids["hall"]: ids["."]}
    assert exact_share(Model(right), tasks, tokenizer) == 0.5
    assert exact_share(Model({**right, ids["hall"]: 0}), tasks, tokenizer) == 0.0


def test_the_mask_lets_the_loss_see_what_is_wanted_alone(world):
    tokenizer, rng = task_tokenizer(world), np.random.default_rng(0)
    tasks = tasks_of(world.sample(rng), rng)
    x, y = task_batch(tasks, tokenizer)
    for row, task in enumerate(tasks):
        at = np.flatnonzero(y[row] >= 0)
        assert [tokenizer.vocabulary[i] for i in y[row][at]] == task.wanted
        assert at.tolist() == list(range(len(task.given) - 1, len(task.given) - 1 + len(task.wanted)))
        assert [tokenizer.vocabulary[i] for i in x[row][: len(task.given)]] == task.given


# The program


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from bigmodel_lib.config import ModelConfig
    from bigmodel_lib.model.transformer import LanguageModel, initialise
    from bigmodel_lib.text.tokenizers import ByteTokenizer

    folder = tmp_path_factory.mktemp("model")
    config = ModelConfig(256, context_length=24, d_model=16, n_layers=1, n_heads=2, d_ff=32, ngrams=2)
    checkpoints.save_model(folder, initialise(LanguageModel(config), torch.Generator().manual_seed(0)), ByteTokenizer())
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three labels, one of them rare, some texts long."""
    path, rng, lines = tmp_path_factory.mktemp("data") / "rows.tsv", np.random.default_rng(0), []
    for i in range(300):
        label = ("zoo", "sea", "air")[0 if i < 180 else 1 if i < 285 else 2]
        word = {"zoo": "lions ", "sea": "WHALES ", "air": "1234567 "}[label]
        lines.append(f"{label}\t{word * int(rng.integers(1, 60 if i % 10 == 0 else 5))}{i}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def finetune(*arguments):
    return command.main([str(a) for a in arguments])


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_the_program_learns_three_labels_and_answers(checkpoint, rows, tmp_path, capsys, mode):
    out = tmp_path / "out"
    assert finetune("--data", rows, "--checkpoint", checkpoint, "--out", out, "--steps", 60, "--mode", mode) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["labels"] == ["air", "sea", "zoo"] and np.array(metrics["confusion"]).sum() == 60
    assert metrics["test_accuracy"] > 0.9 > metrics["majority_accuracy"] == 0.6
    assert {"train_loss", "train_accuracy", "test_loss", "test_macro_f1", "train_macro_f1", "seed"} <= metrics.keys()
    assert not (out / "checkpoint.safetensors").exists()
    capsys.readouterr()
    assert evaluate.main(["--checkpoint", str(out), "--ask", "WHALES WHALES"]) == 0
    first = capsys.readouterr().out.splitlines()[0].split()
    assert first[1] == "sea" and float(first[0]) > 0.5


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"--data": "nothing.tsv"}, "does not exist"),
        ({"--data": None}, "--data was not given"),
        ({"--checkpoint": "nowhere"}, "does not exist"),
        ({"--test-share": "2"}, "--test-share 2.0 is outside"),
        ({"--resume": ""}, "nothing to resume"),
        ({"--out": "below a file"}, "cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(checkpoint, rows, tmp_path, capsys, changes, words):
    options = {"--data": rows, "--checkpoint": checkpoint, "--out": tmp_path / "out", "--steps": 2, **changes}
    if options["--out"] == "below a file":
        options["--out"] = rows / "x"
    arguments = [part for k, v in options.items() if v is not None for part in ([k, v] if v != "" else [k])]
    assert finetune(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("bigmodel finetune: ") and words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_kept(checkpoint, rows, tmp_path, capsys):
    assert finetune("--data", rows, "--checkpoint", checkpoint, "--out", tmp_path, "--steps", 2) == 2
    assert "exists already" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(checkpoint, rows, tmp_path, capsys, monkeypatch):
    common = ["--data", rows, "--checkpoint", checkpoint, "--steps", 40, "--seed", 3]
    assert finetune(*common, "--out", tmp_path / "whole") == 0

    with monkeypatch.context() as patch:
        write = reports.write_row  # it is called at every report
        patch.setattr(reports, "write_row", lambda *given: signal.raise_signal(signal.SIGTERM) or write(*given))
        assert finetune(*common, "--out", tmp_path / "parts") == 143
    assert (tmp_path / "parts/checkpoint.safetensors").exists() and not (tmp_path / "parts/metrics.json").exists()
    assert evaluate.main(["--checkpoint", str(tmp_path / "parts"), "--ask", "x"]) == 2
    assert finetune("--out", tmp_path / "parts", "--resume", "--steps", 50) == 2
    before = rows.read_text(encoding="utf-8")
    rows.write_text(before + "\nsea\tfish fish", encoding="utf-8")
    assert finetune("--out", tmp_path / "parts", "--resume") == 2
    assert "is not what the run" in capsys.readouterr().err
    rows.write_text(before, encoding="utf-8")
    assert finetune("--out", tmp_path / "parts", "--resume") == 0
    whole, parts = (checkpoints.load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
