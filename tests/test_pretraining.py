import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bigmodel_lib.cli import generate, pretrain, run
from bigmodel_lib.config import TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring import evaluation
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import PACE, preset
from bigmodel_lib.text.batches import causal_batches
from bigmodel_lib.text.sources import python_manual
from bigmodel_lib.text.tokenizers import ByteTokenizer, CharacterTokenizer
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Diverged, Trainer, next_token_loss

TINY = "--d-model 16 --n-layers 2 --n-heads 2 --context-length 16 --batch-size 4 --device cpu".split()  # noqa: SIM905


def run_command(name, *arguments, **more):
    command = [sys.executable, "-m", "bigmodel_lib", name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300, **more)


def call(main, *arguments) -> int:
    """The exit code of a command, run in this process."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:  # argparse
        return ended.code


def assert_one_line(said, words):
    """A refusal is one line on stderr, and nothing on stdout."""
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.fixture
def text_file(tmp_path):
    """Lines of arithmetic: a text that a tiny model learns something about."""
    path = tmp_path / "sums.txt"
    path.write_text("".join(f"{a} + {b} = {a + b}\n" for a in range(40) for b in range(20)), encoding="utf-8")
    return path


def run_on(model, tokens, config):
    batches = causal_batches(tokens, config.batch_size, model.config.context_length)
    return Trainer(model, batches, next_token_loss, config)


def tiny_run(clock=time.perf_counter, **changes):
    changes = {"d_model": 16, "n_layers": 2, "context_length": 16, "batch_size": 4, "steps": 40, **changes}
    model_config, config = preset("small", 256, **changes)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(config.seed))
    tokens = ByteTokenizer().encode("she sells sea shells by the sea shore, " * 60)
    run = run_on(model, tokens, config)
    run.clock = clock
    return run


def weights_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one), [n for n in one if not torch.equal(one[n], two[n])]


# The loop


@pytest.mark.parametrize("recipe", ["small", "plain"])
def test_one_batch_can_be_learned_by_heart(recipe):
    model_config, config = preset(recipe, 30, steps=120, d_model=32, n_layers=2, context_length=8, warmup_steps=10)
    config = config.replace(weight_decay=0.0, adamw_lr=max(config.adamw_lr, 5e-3))
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0))
    run = run_on(model, np.zeros(99, dtype=np.int64), config)
    x, y = torch.randint(30, (2, 4, 8), generator=torch.Generator().manual_seed(1))
    x[:, 0] = torch.arange(4)  # different beginnings, so that every target can be told
    for step in range(120):
        loss, _ = run.train_step(x, y, lr=1 - step / 120)
    assert loss.item() < math.log(30) / 20  # a blind guess costs ln 30


def test_the_loop_learns_a_text():
    run = tiny_run(steps=60)
    looks = list(run)
    assert [look.step for look in looks] == [10, 20, 30, 40, 50, 60]
    assert looks[-1].loss < 2.2 and looks[0].loss > 3.5 and looks[-1].fraction == 1.0
    assert looks[-1].tokens == 60 * 4 * 16 and looks[-1].lr == 0.0
    assert [row["loss"] for row in run.curve] == [look.loss for look in looks]


def test_a_seed_repeats_a_run_exactly_and_another_does_not():
    runs = [tiny_run(seed=seed) for seed in (3, 3, 4)]
    for trainer in runs:
        list(trainer)
    assert_same(weights_of(runs[0].model), weights_of(runs[1].model))
    assert not torch.equal(runs[0].model.token_embedding, runs[2].model.token_embedding)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_run_ends_with_the_same_weights_bit_for_bit(tmp_path, stop_after, optimizer):
    whole, first, second = (tiny_run(optimizer=optimizer) for _ in range(3))
    list(whole)
    for _, _look in zip(range(stop_after), first, strict=False):
        pass
    first.save(tmp_path / "c.safetensors", source="test")
    tensors, notes = checkpoints.load_tensors(tmp_path / "c.safetensors")
    second.load(tensors, notes, "c")
    assert notes["source"] == "test" and second.step == 10 * stop_after
    list(second)
    assert_same(weights_of(whole.model), weights_of(second.model))
    assert [row["loss"] for row in whole.curve] == [row["loss"] for row in second.curve]


def test_a_budget_in_minutes_counts_training_alone_and_ends_with_the_rate_at_zero():
    now = [0.0]

    def clock():  # every reading takes a second
        now[0] += 1.0
        return now[0]

    run = tiny_run(clock, steps=None, minutes=2.0)
    rates = []
    step = run.train_step
    run.train_step = lambda *batch, lr, **rest: rates.append(lr) or step(*batch, lr=lr, **rest)
    for look in run:  # noqa: B007 (its last value is read below)
        now[0] += 1000.0  # evaluation, drawing: not counted
    assert look.fraction == 1.0 and look.lr == 0.0 and 120 <= run.seconds <= 122
    assert len(rates) == run.step > 50 and rates[-1] < 3 / 120 and max(rates) > 0.85
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_minutes_go_on_where_the_checkpoint_was(tmp_path):
    now = [0.0]

    def clock():
        now[0] += 1.0
        return now[0]

    first, second = (tiny_run(clock, steps=None, minutes=2.0) for _ in range(2))
    next(iter(first))
    first.save(tmp_path / "c.safetensors")
    second.load(*checkpoints.load_tensors(tmp_path / "c.safetensors"), "c")
    assert second.seconds == first.seconds > 10 and second.fraction() == first.fraction() > 0.08
    list(second)
    assert 120 <= second.seconds <= 122


def test_a_loss_that_turns_nan_is_named_by_its_step():
    run = tiny_run()
    step = run.train_step

    def poisoned(*batch, **rest):
        if run.step == 13:
            with torch.no_grad():
                run.model.token_embedding[:] = math.nan
        return step(*batch, **rest)

    run.train_step = poisoned
    with pytest.raises(Diverged, match="loss turned into no number .* at step 13") as error:
        list(run)
    assert error.value.step == 13 and len(run.curve) == 1


def test_gradients_are_clipped_together_to_the_length_that_was_asked_for(monkeypatch):
    def lengths(clip):
        run, seen = tiny_run(steps=10, clip=clip), []
        step = run.optimizers.step

        def measured(lr):
            gradients = [parameter.grad for parameter in run.model.parameters() if parameter.grad is not None]
            seen.append(torch.nn.utils.get_total_norm(gradients).item())
            step(lr)

        monkeypatch.setattr(run.optimizers, "step", measured)
        list(run)
        return seen

    free, clipped = lengths(0.0), lengths(0.05)
    assert min(free) > 0.05 and max(clipped) <= 0.05 * 1.001
    assert clipped[0] == pytest.approx(0.05, rel=1e-3), "a long gradient becomes as long as allowed, not shorter"


def test_broken_weights_are_never_saved(tmp_path):
    run = tiny_run()
    with torch.no_grad():
        run.model.blocks[1].mlp.w_up[0, 0] = math.inf
    with pytest.raises(Diverged, match="weights turned into no number"):
        run.save(tmp_path / "c.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_host_looks_only_every_few_steps(monkeypatch):
    run, waits = tiny_run(), []
    for name in ("item", "tolist", "numpy", "__bool__", "__float__"):
        whole = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda s, *a, f=whole, n=name: waits.append((run.step, n)) or f(s, *a))
    next(iter(run))
    assert [step for step, _ in waits if step not in (0, 10)] == []


def test_evaluate_is_the_mean_over_every_target(random_model, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH_SIZE", 2)
    model = random_model(dtype=torch.float64)
    tokens = np.random.default_rng(0).integers(0, 11, 12 * 5 + 4)
    total = 0.0
    for start in range(0, len(tokens) - 1, 12):
        piece = torch.from_numpy(tokens[start : start + 13])
        total += cross_entropy(model(piece[None, :-1]), piece[None, 1:]).item() * (len(piece) - 1)
    assert evaluation.evaluate(model, tokens) == pytest.approx(total / (len(tokens) - 1), abs=1e-6)


@pytest.mark.parametrize("recipe", ["small", "plain"])
def test_bfloat16_computes_the_same_model(recipe, random_tokens):
    model_config, config = preset(recipe, 11, steps=9, d_model=32, precision="bfloat16")
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.abs().max() == 0:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    x, y = random_tokens(0), random_tokens(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x)
    assert logits.dtype == torch.bfloat16
    exact = cross_entropy(model(x), y).item()
    loss, _ = run_on(model, np.zeros(99), config).train_step(x, y, lr=1.0)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact, abs=0.03)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


# Files


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoints.write_whole(path, b"old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CourseError, match="cannot be written .no space left on device.: make room"):
        checkpoints.write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_new_folder_appears_filled_or_not_at_all(tmp_path, monkeypatch):
    out = tmp_path / "above/out"
    with checkpoints.new_folder(out) as passing:
        (passing / "file").write_text("new")
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"] and (out / "file").read_text() == "new"
    with pytest.raises(CourseError, match="out cannot be written .*not empty"), checkpoints.new_folder(out):
        pass
    with pytest.raises(CourseError, match="2/file is full"), checkpoints.new_folder(tmp_path / "2") as passing:
        raise CourseError(f"{passing}/file is full")
    with pytest.raises(KeyboardInterrupt), checkpoints.new_folder(tmp_path / "3") as passing:
        (passing / "file").write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["above"]
    assert [path.name for path in out.parent.iterdir()] == ["out"] and (out / "file").read_text() == "new"


def test_a_new_folder_waits_for_who_still_reads_its_files(tmp_path, monkeypatch):
    """On Windows a virus scanner does, and a rename is refused meanwhile."""
    rename, tries = os.replace, []

    def busy(half, path):
        tries.append(path)
        if len(tries) < 3:
            raise PermissionError(13, "Permission denied")
        rename(half, path)

    monkeypatch.setattr(checkpoints.os, "replace", busy)
    monkeypatch.setattr(checkpoints.time, "sleep", lambda seconds: None)
    with checkpoints.new_folder(tmp_path / "out") as passing:
        (passing / "file").write_text("new")
    assert (tmp_path / "out/file").read_text() == "new" and len(tries) == 3


def test_what_a_kill_has_left_of_a_new_folder_goes_and_nothing_else(tmp_path):
    for name in (".out.half-written", ".other.half-written", ".out.previous"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint.safetensors").touch()
    with checkpoints.new_folder(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.half-written", ".out.previous", "out"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_survives_its_files(tmp_path, random_model):
    model = random_model(vocab_size=256)
    checkpoints.save_model(tmp_path, model, ByteTokenizer())
    again, tokenizer = checkpoints.load_model(tmp_path)
    assert_same(weights_of(model), weights_of(again))
    assert tokenizer.vocab_size == 256 and again.config == model.config


@pytest.fixture
def saved(tmp_path, random_model):
    folder = tmp_path / "model"
    folder.mkdir()
    checkpoints.save_model(folder, random_model(vocab_size=256), ByteTokenizer())
    return folder


def damage(folder, how):
    weights = folder / "model.safetensors"
    if how == "cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "no header":
        weights.write_bytes(b"\x00\x01")
    elif how == "another shape":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "d_model": 32}))
    elif how == "another vocabulary":
        (folder / "tokenizer.json").write_text(json.dumps({"kind": "characters", "alphabet": "abc"}))
    elif how == "no json":
        (folder / "config.json").write_text("{")
    elif how == "missing":
        weights.unlink()


@pytest.mark.parametrize("how, words", [
    ("cut short", "is cut short or damaged"), ("no header", "is cut short or damaged"),
    ("another shape", "of another shape (size mismatch for token_embedding: "),
    ("another vocabulary", "its tokenizer has 3 tokens and its config 256"),
    ("no json", "config.json is damaged"), ("missing", "model.safetensors is not there"),
])  # fmt: skip
def test_damaged_checkpoints_get_one_line_and_exit_code_2(saved, how, words, capsys):
    damage(saved, how)
    assert call(generate.main, "--checkpoint", saved, "--prompt", "x") == 2
    assert_one_line(capsys.readouterr(), words)


# The program


def test_a_run_on_byte_pairs_counts_its_loss_in_characters(tmp_path):
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_text(python_manual()[:20_000] + "编程很有意思。" * 300, encoding="utf-8")
    assert call(pretrain.main, "--text", text, "--out", out, "--steps", 10, "--tokenizer", "bpe", *TINY) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    model, tokenizer = checkpoints.load_model(out)
    tokens = tokenizer.encode(text.read_text(encoding="utf-8"))
    validation = tokens[-(len(tokens) // 10) :]
    assert 256 < tokenizer.vocab_size == model.config.vocab_size and len(tokens) < 15_000
    assert metrics["val_loss"] == pytest.approx(evaluate(model, validation), abs=1e-5)
    characters = len(tokenizer.decode(validation[1:]))
    wanted = metrics["val_loss"] * (len(validation) - 1) / characters
    assert metrics["val_nats_per_char"] == pytest.approx(wanted, rel=0.01)  # a cut character may begin before


def test_a_run_leaves_files_whose_numbers_are_true(tmp_path, text_file, capsys):
    out = tmp_path / "out"
    run = run_command("pretrain", "--text", text_file, "--out", out, "--steps", 30, "--tokenizer", "bytes", *TINY)
    assert run.returncode == 0, run.stderr
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "curve.csv", "metrics.json", "model.safetensors", "tokenizer.json"} <= names
    assert "checkpoint.safetensors" not in names
    metrics = json.loads((out / "metrics.json").read_text())
    model, tokenizer = checkpoints.load_model(out)
    tokens = tokenizer.encode(text_file.read_text())
    validation = tokens[-(len(tokens) // 10) :]
    assert metrics["val_loss"] == pytest.approx(evaluate(model, validation), abs=1e-6)
    assert metrics["val_nats_per_char"] == pytest.approx(metrics["val_loss"], abs=1e-9)  # ASCII: a byte a character
    assert metrics["parameters"] == sum(v.numel() for v in load_file(out / "model.safetensors").values())
    assert metrics["tokens"] == 30 * 4 * 16 and metrics["steps"] == 30 and metrics["device"] == "cpu"
    assert metrics["train_seconds"] > 0 and [row["step"] for row in metrics["curve"]] == [10, 20, 30]
    assert "val_loss" in metrics["curve"][0] and "tokens/s" in run.stderr and "left" in run.stderr
    assert call(pretrain.main, "--text", text_file, "--out", out, *TINY) == 2
    assert_one_line(capsys.readouterr(), "exists already")
    written = run_command("generate", "--checkpoint", out, "--prompt", "编程 1 +", "--tokens", 20, "--top-k", 3)
    assert written.returncode == 0 and written.stdout.startswith("编程 1 +")


def test_a_run_validates_on_the_text_that_it_was_given(tmp_path, text_file, capsys):
    held_out, out = tmp_path / "held_out.txt", tmp_path / "run"
    held_out.write_text("what nobody has read before, " * 10)
    asked = ["--text", text_file, "--validation", held_out, "--tokenizer", "bpe", "--vocab-size", 260, *TINY]
    assert call(pretrain.main, *asked, "--out", out, "--steps", 10) == 0
    model, tokenizer = checkpoints.load_model(out)
    loss = evaluate(model, tokenizer.encode(held_out.read_text()))
    assert tokenizer.vocab_size == 260
    assert checkpoints.read_json(out / "metrics.json")["val_loss"] == pytest.approx(loss, abs=1e-6)


def test_a_folder_of_chapters_is_held_out_and_all_of_the_text_is_read(tmp_path, text_file, capsys):
    chapters, out = tmp_path / "chapters", tmp_path / "run"
    chapters.mkdir()
    for name in ("one", "two"):
        (chapters / f"{name}.txt").write_text(f"chapter {name} " * 30)
    asked = ["--text", text_file, "--validation", chapters, "--tokenizer", "bytes", "--out", out]
    assert call(pretrain.main, *asked, "--steps", 10, *TINY) == 0
    read, held_out = len(text_file.read_text()), 2 * 12 * 30 + 2
    assert f"{read:,} tokens to train on, {held_out:,} to validate on" in capsys.readouterr().err
    asked[-1] = tmp_path / "another"
    assert call(pretrain.main, *asked, "--steps", 10, *TINY, "--context-length", held_out) == 2
    assert_one_line(capsys.readouterr(), f"too short for a context of {held_out}: name longer texts, or choose a")


def test_a_run_goes_on_with_the_text_on_which_it_validates(tmp_path, text_file, monkeypatch, capsys):
    held_out, out = tmp_path / "held_out.txt", tmp_path / "run"
    held_out.write_text("what nobody has read before, " * 10)
    options, save = (
        ["--text", text_file, "--validation", held_out, "--tokenizer", "bytes", "--steps", 40, *TINY],
        Trainer.save,
    )

    def save_and_signal(run, path, **notes):
        save(run, path, **notes)
        if run.step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "save", save_and_signal)
    assert call(pretrain.main, *options, "--out", out, "--save-every", 0) == 130
    monkeypatch.setattr(Trainer, "save", save)
    held_out.write_text("another text of which nobody knew " * 10)
    assert call(pretrain.main, "--out", out, "--resume") == 2
    assert "held_out.txt is not what the run in" in capsys.readouterr().err
    held_out.write_text("what nobody has read before, " * 10)
    assert call(pretrain.main, "--out", out, "--resume") == 0


def test_characters_of_many_bytes_are_counted_as_characters(tmp_path):
    path, out = tmp_path / "zh.txt", tmp_path / "out"
    path.write_text("我爱编程，" * 400, encoding="utf-8")
    assert call(pretrain.main, "--text", path, "--out", out, "--steps", 10, "--tokenizer", "bytes", *TINY) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["val_nats_per_char"] == pytest.approx(3 * metrics["val_loss"], rel=0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_that_resume_continues(tmp_path, text_file, monkeypatch, capsys, number):
    """tests/test_stopping.py sends signals at any moment; this one says what a stopped run refuses."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    options, save = ["--text", str(text_file), "--steps", "40", *TINY], Trainer.save
    assert pretrain.main([*options, "--out", str(whole)]) == 0

    def save_and_signal(run, path, **notes):
        save(run, path, **notes)
        if run.step == 20:
            signal.raise_signal(number)

    monkeypatch.setattr(Trainer, "save", save_and_signal)
    assert pretrain.main([*options, "--out", str(out), "--save-every", "0"]) == 128 + number
    monkeypatch.undo()
    assert "bigmodel pretrain: stopped at step 30: continue with " in capsys.readouterr().err
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint.safetensors", "curve.csv"]
    for program, arguments, words in [
        (pretrain, ["--out", str(out), "--resume", "--steps", "20"], "began with 40: leave --steps out"),
        (generate, ["--checkpoint", str(out), "--prompt", "1"], "is not finished: continue it with --resume"),
    ]:
        assert program.main(arguments) == 2 and words in capsys.readouterr().err
    assert pretrain.main(["--out", str(out), "--resume"]) == 0
    assert_same(load_file(whole / "model.safetensors"), load_file(out / "model.safetensors"))
    assert pretrain.main(["--out", str(out), "--resume"]) == 2 and "is finished" in capsys.readouterr().err


def test_a_diverged_run_keeps_its_last_good_checkpoint(tmp_path, text_file, monkeypatch, capsys):
    step, out = Trainer.train_step, tmp_path / "out"

    def poisoned(self, *batch, **rest):
        loss, norm = step(self, *batch, **rest)
        return loss * (math.nan if self.step == 25 else 1), norm

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    assert pretrain.main(["--text", str(text_file), "--out", str(out), "--steps", "50", *TINY]) == 2
    said = capsys.readouterr().err
    assert "at step 25: start again with a lower learning rate, or another seed" in said
    tensors, notes = checkpoints.load_tensors(out / "checkpoint.safetensors")
    assert notes["state"]["step"] == 20 and all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_finished_run_is_loaded_to_be_used(tmp_path):
    model_config, _ = preset("small", 4, d_model=16, context_length=8, dropout=0.5)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0))
    checkpoints.save_model(tmp_path, model, CharacterTokenizer("abcd"))
    assert model.training and not checkpoints.load_model(tmp_path)[0].training


@pytest.mark.parametrize("pause, steps", [("0", [0, 10, 20, 30]), ("1e6", [0, 30])])
def test_checkpoints_are_written_as_often_as_asked(tmp_path, text_file, monkeypatch, pause, steps):
    saved, save = [], Trainer.save
    monkeypatch.setattr(Trainer, "save", lambda run, *a, **k: (saved.append(run.step), save(run, *a, **k)))
    options = ["--text", str(text_file), "--out", str(tmp_path / "run"), *TINY, "--steps", "30"]
    assert pretrain.main([*options, "--save-every", pause]) == 0
    assert sorted(set(saved)) == steps


@pytest.mark.parametrize(
    "given, width",
    [
        ({"minutes": 3.0}, 192),
        ({"minutes": 1.0, "seed": 3, "dropout": 0.1}, 96),
        ({"minutes": 3.0, "d_model": 32}, 64),
        ({"minutes": 3.0, "batch_size": 4}, 64),
        ({"minutes": 3.0, "ngrams": 2}, 64),
        ({"minutes": 3.0, "learning_rate": 0.01}, 64),
        ({"minutes": 3.0, "objective": "masked"}, 64),
        ({"steps": 9000}, 64),
        ({}, 64),
    ],
)
def test_minutes_without_a_wish_choose_the_size(given, width):
    model_config, config = pretrain.configurations(given, 100, 337_095)
    small = "d_model" in given or width == 64
    assert model_config.d_model == given.get("d_model", width) and (config.momentum == 0.9) == small


@pytest.mark.parametrize("readings, width", [(4.0, 64), (1000.0, 192)])
def test_a_run_of_minutes_counts_the_text_that_it_trains_on(tmp_path, readings, width):
    """Width 64 reads it four times in the first time; in the second, even the largest has more than enough."""
    (tmp_path / "text.txt").write_text("a rose is a rose. " * 1000)
    train = 0.9 * 18_000
    options = {"minutes": readings * train / PACE[64] / 60}
    names = {"text": str(tmp_path / "text.txt")}
    job = pretrain.Pretraining(options, names, torch.device("cpu"), Processes(), None)
    assert job.model.config.d_model == width


BAD_INPUT = [
    ("a missing file", ["--text", "nowhere.txt"], "does not exist"),
    ("nothing to validate on", ["--validation", "nowhere.txt"], "nowhere.txt does not exist"),
    ("a size of fixed tokens", ["--text", "text.txt", "--vocab-size", "300"], "--vocab-size is for --tokenizer bpe"),
    ("an empty file", b"", "is empty"),
    ("not UTF-8", b"fine\n\xe9t\xe9", "byte 5 (line 2) is 0xe9"),
    ("too short", b"one short line", "choose a text of at least 170 tokens"),
    ("an absent device", ["--device", "cuda"], "device cuda is not there"),
    ("impossible heads", ["--d-model", "130", "--n-heads", "4"], "d_model 130 is not divisible by n_heads 4"),
    ("two budgets", ["--steps", "3", "--minutes", "1"], "a run has one budget"),
    ("a word for a number", ["--steps", "many"], "argument --steps: invalid int value: 'many'"),
    ("an unknown preset", ["--preset", "huge"], "invalid choice: 'huge'"),
    ("an unknown option", ["--stepps", "3"], "unrecognized arguments: --stepps"),
    ("nothing to resume", ["--resume"], "nothing to resume"),
]


@pytest.mark.parametrize("given, words", [case[1:] for case in BAD_INPUT], ids=[case[0] for case in BAD_INPUT])
def test_bad_input_gets_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, given, words):
    if given == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("this machine has the device")
    monkeypatch.chdir(tmp_path)
    if isinstance(given, bytes):
        (tmp_path / "text.txt").write_bytes(given)
        given = ["--text", "text.txt"]
    before = sorted(tmp_path.iterdir())
    assert call(pretrain.main, "--out", "out", *TINY, *given) == 2
    assert_one_line(capsys.readouterr(), words)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("how", ["cut short", "foreign", "another text", "empty folder"])
def test_bad_checkpoints_are_refused_and_kept(tmp_path, text_file, how, capsys):
    out = tmp_path / "out"
    out.mkdir()
    checkpoint = out / "checkpoint.safetensors"
    if how in ("cut short", "another text"):
        trainer, source = tiny_run(), dict(name=str(text_file), fingerprint="0")
        notes = dict(command="pretrain", options={}, sources={"text": source}, tokenizer={"kind": "bytes"})
        trainer.save(checkpoint, **notes, model=trainer.model.config.to_dict())
        if how == "cut short":
            checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    elif how == "foreign":
        checkpoints.save_tensors(checkpoint, {"a": torch.zeros(2)})
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert pretrain.main(["--out", str(out), "--resume"]) == 2
    said = capsys.readouterr().err
    words = {
        "cut short": "cut short",
        "foreign": "is not a checkpoint",
        "another text": "is not what the run in",
        "empty folder": "has no checkpoint",
    }
    assert words[how] in said and said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_train_config_of_a_run_is_kept():
    assert tiny_run(seed=5).config == TrainConfig(steps=40, batch_size=4, seed=5)
