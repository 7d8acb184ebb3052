"""Hidden tokens, dropout, and what a run reports."""

import csv
import json
import math
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigmodel_lib import generation
from bigmodel_lib.by_hand import model as by_hand
from bigmodel_lib.cli import generate, pretrain, reports, run
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model import layers
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Trainer, next_token_loss

TINY = ["--d-model", "16", "--n-layers", "2", "--n-heads", "2", "--context-length", "16", "--batch-size", "8"]


def run_on(model, tokens, config, **more):
    """A run on a text, with the objective that the model is for."""
    sizes = config.batch_size, model.config.context_length
    source = batches.causal_batches(tokens, *sizes)
    if not model.config.causal:
        source = batches.masked_batches(tokens, *sizes, model.config.vocab_size - 1)
    return Trainer(model, source, next_token_loss, config, **more)


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(sources.python_manual()[:20_000], encoding="utf-8")
    return path


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(2, 30), st.integers(0, 99))
def test_targets_are_the_chosen_tokens_and_the_rest_is_untouched(B, T, mask_token, seed):
    tokens = np.random.default_rng(seed).integers(0, mask_token, (B, T))
    before = tokens.copy()
    shown, targets = batches.mask_tokens(tokens, mask_token, np.random.default_rng(seed))
    chosen = targets >= 0
    assert (tokens == before).all() and shown.shape == targets.shape == (B, T)
    assert (targets[chosen] == tokens[chosen]).all() and (targets[~chosen] == -1).all()
    assert (shown[~chosen] == tokens[~chosen]).all() and shown.max() <= mask_token and shown.min() >= 0
    assert chosen.any(axis=1).all()


def test_shares_are_those_of_bert():
    tokens, mask_token = np.full((2000, 100), 7), 500
    shown, targets = batches.mask_tokens(tokens, mask_token, np.random.default_rng(0))
    chosen = targets >= 0
    assert chosen.mean() == pytest.approx(0.15 + 0.85 / 100, abs=0.002)  # and one in each row
    assert (shown[chosen] == mask_token).mean() == pytest.approx(0.8, abs=0.01)
    assert (shown[chosen] == 7).mean() == pytest.approx(0.1, abs=0.01)
    others = shown[chosen & (shown != mask_token) & (shown != 7)]
    assert len(others) / chosen.sum() == pytest.approx(0.1, abs=0.01) and np.ptp(others) > 400


def test_an_encoder_sees_both_sides_and_so_does_its_twin(random_model, random_tokens):
    model, tokens = random_model(causal=False, dtype=torch.float64), random_tokens()
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 11
    assert ((model(tokens) - model(changed)).abs().amax(dim=(0, 2)) > 1e-9).all()
    maps = record(model, tokens, "weights")
    assert (maps > 0).all() and torch.allclose(maps.sum(-1), torch.ones(()).double())
    parameters = {name: w.detach().numpy() for name, w in model.named_parameters()}
    tables = by_hand.rope_tables(12, model.config.d_head, model.config.rope_base)
    model.cosine, model.sine = map(torch.tensor, tables)
    ours = by_hand.language_model(tokens.numpy(), parameters, model.config)
    np.testing.assert_allclose(model(tokens).detach().numpy(), ours, rtol=0, atol=1e-10)


def test_an_encoder_learns_what_only_both_sides_tell():
    """In `0 a a`, `1 b b`: a hidden letter in the middle is told by the one after it."""
    draws = np.random.default_rng(0)
    tokens = np.repeat(draws.integers(0, 6, 3000), 3)
    losses = {}
    for causal in (True, False):
        model_config, config = preset("small", 7, steps=100, n_layers=2, d_model=24, context_length=12, causal=causal)
        model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0))
        for _ in run_on(model, tokens, config):
            pass
        losses[causal] = evaluate(model, tokens[:3000])
    assert losses[False] < 0.5 * math.log(6) and losses[False] < losses[True]


def test_an_encoder_is_evaluated_on_the_same_places_each_time(random_model):
    model = random_model(causal=False)
    tokens = np.random.default_rng(0).integers(0, 10, 500)
    assert evaluate(model, tokens) == evaluate(model, tokens) != evaluate(model, tokens, mask_rate=0.3)
    x, y = batches.masked_batches(tokens, 3, 12, 10)(np.random.default_rng(0))
    assert x.max() == 10 and (y >= 0).any()


def test_dropout_acts_in_training_alone_and_keeps_the_mean(random_model, random_tokens):
    model, tokens = random_model(dropout=0.3, dtype=torch.float64), random_tokens()
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))
    plain = random_model(dtype=torch.float64)
    torch.testing.assert_close(model(tokens), plain(tokens), rtol=0, atol=0)
    model.train()
    assert evaluate(model, np.arange(50) % 11) == evaluate(plain, np.arange(50) % 11)
    assert model.training, "evaluation puts back what it found"
    with pytest.raises(CourseError, match="dropout 0.95 is outside 0 … 0.9"):
        ModelConfig(vocab_size=9, dropout=0.95)
    torch.manual_seed(0)
    dropped = torch.stack([model.blocks[0].dropout(torch.ones(1000)) for _ in range(200)])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)
    assert (dropped == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_a_model_in_training_writes_and_is_looked_at_without_dropout(random_model):
    for changes in (dict(dropout=0.4), dict(ngrams=3)):
        model = random_model(scale=0.3, **changes)
        said = list(generation.generate(model.eval(), [3, 1, 4], 30, temperature=1.0))
        maps = record(model, torch.tensor([[3, 1, 4]]), "weights")
        model.train()
        assert torch.equal(record(model, torch.tensor([[3, 1, 4]]), "weights"), maps) and model.training
        assert list(generation.generate(model, [3, 1, 4], 30, temperature=1.0)) == said and model.training


@pytest.mark.parametrize("changes", [dict(dropout=0.2), dict(ngrams=2)])
def test_a_run_with_dropout_goes_on_as_if_nothing_had_happened(tmp_path, changes):
    model_config, config = preset("small", 30, steps=20, d_model=16, n_layers=2, context_length=8, **changes)
    made: list = []

    def fresh():
        torch.rand(len(made))  # whatever was drawn before makes no difference
        made.append(1)
        model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0))
        return run_on(model, np.arange(500) % 30, config)

    whole = [look.loss for look in fresh()]
    first = fresh()
    begun = [next(iter(first)).loss]
    first.save(tmp_path / "c.safetensors")
    second = fresh()
    second.load(*checkpoints.load_tensors(tmp_path / "c.safetensors"), "c")
    assert begun + [look.loss for look in second] == whole


def test_each_step_and_each_process_leaves_out_something_else():
    model_config, config = preset("small", 30, steps=3, d_model=16, context_length=8, dropout=0.5)
    drawn = set()
    for rank in (0, 1):
        trainer = run_on(LanguageModel(model_config), np.zeros(99), config)
        trainer.processes = Processes(rank, 2)
        for trainer.step in (0, 1, 2):
            trainer.seed_dropout()
            drawn.add(tuple(torch.rand(4).tolist()))
    trainer.seed_dropout()
    assert len(drawn) == 6 and tuple(torch.rand(4).tolist()) in drawn


def test_a_loaded_model_trains_with_dropout():
    model_config, config = preset("small", 30, steps=3, d_model=16, context_length=8, dropout=0.5)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0)).eval()
    modes = []
    model.blocks[0].register_forward_hook(lambda block, given_, out: modes.append(block.training))
    assert len(list(run_on(model, np.arange(99) % 30, config))) == 1 and modes == [True] * 3


def test_a_curve_that_goes_on_keeps_what_was_before_and_drops_what_came_later(tmp_path):
    model_config, config = preset("small", 30, steps=30)
    run = run_on(initialise(LanguageModel(model_config), torch.Generator().manual_seed(0)), np.zeros(99), config)

    def steps():
        return [line.split(",")[0] for line in (tmp_path / "curve.csv").read_text().splitlines()]

    for _ in reports.reported(run, tmp_path):
        pass
    assert steps() == ["step", "10", "20", "30"]
    run.step, run.curve = 10, run.curve[:1]  # as a checkpoint remembers it
    again = reports.reported(run, tmp_path)
    next(again)
    assert steps() == ["step", "10", "20"]
    again.close()
    run.step, run.curve = 30, run.curve[:1]  # nothing is left to do
    assert list(reports.reported(run, tmp_path)) == [] and steps() == ["step", "10"]


def test_the_program_trains_an_encoder_that_refuses_to_write(tmp_path, text_file, capsys):
    out = tmp_path / "run"
    options = ["--text", str(text_file), "--out", str(out), "--objective", "masked", "--steps", "20", *TINY]
    assert pretrain.main(options) == 0
    assert "nats per hidden token, after 20 steps" in capsys.readouterr().out
    metrics = checkpoints.read_json(out / "metrics.json")
    assert metrics["val_nats_per_char"] is None and math.isfinite(metrics["val_loss"])
    model, tokenizer = checkpoints.load_model(out)
    assert not model.config.causal and model.config.vocab_size == tokenizer.vocab_size + 1
    assert generate.main(["--checkpoint", str(out), "--prompt", "a"]) == 2
    assert "(an encoder) and cannot write: use a causal one" in capsys.readouterr().err


def test_the_curve_is_a_table_that_grows_with_the_run(tmp_path, text_file):
    out = tmp_path / "run"
    options = ["--text", str(text_file), "--out", str(out), "--steps", "60", "--dropout", "0.1", *TINY]
    assert pretrain.main(options) == 0
    curve = checkpoints.read_json(out / "metrics.json")["curve"]
    with (out / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == reports.COLUMNS and [int(row["step"]) for row in rows] == [10, 20, 30, 40, 50, 60]
    for row, true in zip(rows, curve, strict=True):
        for name in ("loss", "seconds", "lr", "gradient_norm"):
            assert float(row[name]) == pytest.approx(true[name], rel=1e-5)
        assert float(row["tokens_per_second"]) == pytest.approx(true["tokens"] / true["seconds"], rel=1e-4)
        assert true["gradient_norm"] > 0
    assert [row["val_loss"] == "" for row in rows] == ["val_loss" not in row for row in curve]


def test_the_gradient_norm_is_that_of_the_first_step_since_the_last_look(random_model):
    model_config, config = preset("plain", 30, steps=10, d_model=32, context_length=8, clip=0.0)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0))
    run = run_on(model, np.arange(99) % 30, config)
    state, rng = {n: w.detach().clone() for n, w in run.model.named_parameters()}, np.random.default_rng(config.seed)
    look = next(iter(run))
    twin = LanguageModel(model_config)
    twin.load_state_dict(state)
    x, y = map(torch.from_numpy, batches.random_windows(np.arange(99) % 30, config.batch_size, 8, rng))
    layers.cross_entropy(twin(x), y).backward()
    by_hand = math.sqrt(sum((w.grad**2).sum().item() for w in twin.parameters()))
    assert look.gradient_norm == pytest.approx(by_hand, rel=1e-5)


def test_tensorboard_gets_the_same_numbers_or_says_how_to_get_it(tmp_path, text_file, monkeypatch, capsys):
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append("closed")

    fake = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    out = tmp_path / "run"
    options = ["--steps", "20", "--tensorboard", *TINY]
    assert pretrain.main(["--text", str(text_file), "--out", str(out), *options]) == 0
    assert written[0] == (out, 1) and written[-1] == "closed"
    curve = json.loads((out / "metrics.json").read_text())["curve"]
    losses = [(value, step) for name, value, step in written[1:-1] if name == "loss"]
    assert losses == [(pytest.approx(row["loss"], rel=1e-5), row["step"]) for row in curve]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert pretrain.main(["--out", str(tmp_path / "other"), *options]) == 2
    assert "TensorBoard is not installed: pip install tensorboard, or read curve.csv" in capsys.readouterr().err


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of this test alone."""
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache/bigmodel"


def test_a_folder_and_a_large_file_are_read_from_disk_with_the_same_result(tmp_path, own_cache, monkeypatch, capsys):
    words = "the cat sat on the mat while the dog ran. "
    folder, whole = tmp_path / "texts", tmp_path / "whole.txt"
    folder.mkdir()
    (folder / "a.txt").write_text(words * 60)
    (folder / "b.txt").write_text(words * 50)
    whole.write_text(words * 60 + "\n\n" + words * 50)
    losses = []
    for name, text, limit in (("memory", whole, 10**9), ("disk", whole, 100), ("folder", folder, 10**9)):
        monkeypatch.setattr(sources, "IN_MEMORY", limit)
        options = ["--text", str(text), "--out", str(tmp_path / name), "--steps", "30", *TINY]
        assert pretrain.main(options) == 0
        losses.append(checkpoints.read_json(tmp_path / name / "metrics.json")["val_loss"])
        assert len(list(own_cache.glob("*.tokens"))) == (name != "memory")  # a folder is the same text
    assert losses[0] == losses[1] == losses[2]


def test_a_run_from_disk_is_resumed_and_knows_its_text_again(tmp_path, own_cache, monkeypatch, capsys):
    path, out = tmp_path / "long.txt", tmp_path / "run"
    path.write_text("one two three four five six seven. " * 200)
    monkeypatch.setattr(sources, "IN_MEMORY", 100)
    monkeypatch.setattr(run, "finish", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    assert pretrain.main(["--text", str(path), "--out", str(out), "--steps", "20", *TINY]) == 130
    monkeypatch.undo()
    monkeypatch.setattr(sources, "IN_MEMORY", 100)
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    whole = path.read_text()
    path.write_text(whole.replace("seven", "eight"))
    assert pretrain.main(["--out", str(out), "--resume"]) == 2
    assert "is not what the run in" in capsys.readouterr().err
    path.write_text(whole)
    assert pretrain.main(["--out", str(out), "--resume"]) == 0


def test_a_public_text_is_named_and_nothing_is_fetched_for_others(tmp_path, own_cache, monkeypatch, capsys):
    monkeypatch.setattr(sources, "named_text", lambda name, **_: asked.append(name) or path)
    path, asked = tmp_path / "plays.txt", []
    path.write_text("To be, or not to be: that is the question. " * 100)
    options = ["--text", "shakespeare", "--out", str(tmp_path / "run"), "--steps", "10", *TINY]
    assert pretrain.main(options) == 0 and set(asked) == {"shakespeare"}
    asked.clear()
    assert pretrain.main(["--text", str(path), "--out", str(tmp_path / "other"), "--steps", "10", *TINY]) == 0
    assert pretrain.main(["--text", "shakespear", "--out", str(tmp_path / "no"), "--steps", "10", *TINY]) == 2
    assert asked == [] and "shakespear does not exist" in capsys.readouterr().err
