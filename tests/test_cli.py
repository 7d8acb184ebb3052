"""The command and its subcommands, as users start them."""

import argparse
import json
import re
import shlex
import signal
import subprocess
import sys

import pytest
import torch

from bigmodel_lib import __version__
from bigmodel_lib.cli import chat, evaluate, finetune, main, pretrain, run
from bigmodel_lib.cli.stopping import SIGNALS
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.finetuning.classification import classifier_from, load_classifier
from bigmodel_lib.measuring.evaluation import label_log_probs
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training import checkpoints

TINY = ["--d-model", "16", "--n-layers", "1", "--n-heads", "2", "--context-length", "16", "--batch-size", "4"]


def bigmodel(*arguments, module="bigmodel_lib", said=None):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", input=said, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text, a table, and a model of bytes."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text("".join(f"{a} + {b} = {a + b}\n" for a in range(40) for b in range(20)))
    rows = [f"{label}\t{word * n} {n}" for label, word in (("sea", "FISH "), ("zoo", "lion ")) for n in range(1, 31)]
    (folder / "rows.tsv").write_text("\n".join(rows))
    config = ModelConfig(256, context_length=24, d_model=16, n_layers=1, n_heads=2, d_ff=32)
    (folder / "model").mkdir()
    model = initialise(LanguageModel(config), torch.Generator().manual_seed(0))
    checkpoints.save_model(folder / "model", model, ByteTokenizer())
    return folder


@pytest.fixture
def own_handlers():
    """A command that ends its process leaves signals ignored; here the process goes on."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_every_command_runs_and_tells_what_it_did(folder, tmp_path):
    out, labels = tmp_path / "run", tmp_path / "labels"
    text, table = folder / "text.txt", folder / "rows.tsv"
    done = bigmodel("pretrain", "--text", text, "--out", out, "--steps", 20, "--tokenizer", "bytes", *TINY)
    assert done.returncode == 0 and done.stdout.startswith("validation loss ") and "device cpu" in done.stderr
    done = bigmodel("finetune", "--data", table, "--checkpoint", out, "--out", labels, "--steps", 20)
    assert done.returncode == 0 and done.stdout.startswith("on 12 held-out texts: "), done.stderr
    done = bigmodel("generate", "--checkpoint", out, "--prompt", "1 + 1", "--tokens", 7)
    assert done.returncode == 0 and done.stdout.startswith("1 + 1") and done.stderr == ""
    done = bigmodel("chat", "--checkpoint", out, "--tokens", 5, said="1 + 2\n3 + 4\n")
    assert done.returncode == 0 and done.stderr == "" and len(done.stdout) >= 2
    done = bigmodel("evaluate", "--checkpoint", out, "--text", text)
    assert re.fullmatch(r"[\d,]+ tokens: loss .* perplexity .* bits per character\n", done.stdout), done.stderr
    done = bigmodel("evaluate", "--checkpoint", labels, "--data", table)
    assert re.fullmatch(r"60 texts: loss .* accuracy .* macro-F1 .*\n", done.stdout), done.stderr


def test_help_and_version_import_no_pytorch():
    code = """
import sys
from bigmodel_lib.cli.main import main
try:
    main(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
"""
    for option, words in (("--help", "evaluate"), ("--version", f"bigmodel {__version__}")):
        done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True)
        assert done.returncode == 0 and words in done.stdout, done.stderr


@pytest.mark.parametrize("arguments, words", [
    ([], "required: COMMAND"), (["fine"], "invalid choice: 'fine'"), (["generate"], "required: --prompt, --checkpoint"),
    (["chat", "--checkpoint", "nowhere"], "bigmodel chat: the checkpoint folder nowhere does not exist"),
    (["evaluate", "--checkpoint", "nowhere", "--text", "x"], "bigmodel evaluate: the checkpoint folder nowhere"),
    (["evaluate", "--checkpoint", "x"], "or --checkpoint DIR with --text, --data or --ask"),
    (["evaluate", "x", "--checkpoint", "y"], "folders get report cards: leave out --checkpoint"),
    (["pretrain", "--out", "x", "--muon-rate", "1"], "unrecognized arguments: --muon-rate"),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_code_2(arguments, words, capsys, own_handlers):
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    said = capsys.readouterr()
    assert ended.value.code == 2 and words in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize(
    "old, new", [("pretraining", "pretrain"), ("finetuning", "finetune"), ("generation", "generate")]
)
def test_the_commands_of_the_first_edition_name_todays(old, new):
    done = bigmodel("--out", "x", module=f"bigmodel_lib.{old}")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"-m bigmodel_lib {new} " in done.stderr
    assert bigmodel(*done.stderr.split("bigmodel_lib ")[1].split()[:1], "--help").returncode == 0


def test_rates_are_those_of_the_optimizer_that_is_used():
    def rates(**options):
        config = pretrain.configurations(options, 9)[1]
        return config.optimizer, config.muon_lr, config.adamw_lr

    assert rates(learning_rate=0.5) == ("muon", 0.5, 0.02)
    assert rates(learning_rate=0.5, optimizer="adamw") == ("adamw", 0.03, 0.5)
    assert rates(learning_rate=0.5, preset="plain")[::2] == ("adamw", 0.5)


def test_a_mask_without_masks_and_an_impossible_one_are_refused(tmp_path, capsys):
    for options, words in (
        (["--mask-rate", "0.3"], "--mask-rate is for --objective masked"),
        (["--objective", "masked", "--mask-rate", "1.5"], "mask_rate 1.5 is outside 0 … 1"),
    ):
        assert pretrain.main(["--out", str(tmp_path / "out"), "--steps", "1", *options]) == 2
        assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_mask_rate_is_used(folder, tmp_path, capsys):
    options = ["--text", str(folder / "text.txt"), "--objective", "masked", "--steps", "10", *TINY]
    losses = []
    for rate in ("0.15", "0.9"):
        assert pretrain.main([*options, "--out", str(tmp_path / rate), "--mask-rate", rate]) == 0
        losses.append(checkpoints.read_json(tmp_path / rate / "metrics.json")["curve"][0]["loss"])
    assert losses[0] != losses[1]


def test_a_checkpoint_of_another_command_or_edition_is_refused_in_one_line(folder, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    notes = {"command": "pretrain", "format": 2, "options": {}, "state": {"step": 0}}
    for changes, words in (
        ({"format": 1, "train": {"muon_rate": 0.03}}, "is not a checkpoint of today's bigmodel pretrain"),
        ({"command": "finetune"}, "is not a checkpoint of today's bigmodel pretrain"),
        ({}, "checkpoint.safetensors is damaged"),
    ):
        checkpoints.save_tensors(out / "checkpoint.safetensors", {}, {**notes, **changes})
        assert pretrain.main(["--out", str(out), "--resume"]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1


def test_a_classifier_of_the_first_edition_is_read(folder, tmp_path):
    """It was a language model whose output matrix was the head."""
    model, tokenizer = checkpoints.load_model(folder / "model")
    classifier = classifier_from(model, 3)
    with torch.no_grad():
        for parameter in classifier.head.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    old = {"head.w": "w_out", "head.b": "b_out"}
    weights = {old.get(n, n.removeprefix("backbone.")): p for n, p in classifier.named_parameters()}
    checkpoints.save_tensors(tmp_path / "model.safetensors", weights)
    checkpoints.write_json(tmp_path / "config.json", model.config.to_dict())
    checkpoints.write_json(tmp_path / "tokenizer.json", tokenizer.to_dict())
    checkpoints.write_json(tmp_path / "labels.json", {"labels": ["a", "b", "c"]})
    read, _, names = load_classifier(tmp_path)
    documents = [tokenizer.encode("one text"), tokenizer.encode("another")]
    assert names == ("a", "b", "c")
    assert (label_log_probs(read, documents) == label_log_probs(classifier.eval(), documents)).all()


def test_the_course_models_of_the_first_edition_load():
    assert checkpoints.data_path("first_model").is_dir()
    model, _ = checkpoints.load_model(checkpoints.data_path("first_model"))
    written = json.loads((checkpoints.data_path("first_model") / "config.json").read_text())
    assert written.keys() <= model.config.to_dict().keys()


def test_what_is_said_on_finetuning_is_kept_with_the_run(folder, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--data", str(folder / "rows.tsv"), "--checkpoint", str(folder / "model"), "--out", str(out)]
    assert finetune.main([*options, "--steps", "20", "--save-every", "0"]) == 0
    lines = (out / "curve.csv").read_text().splitlines()
    assert lines[0].startswith("step,") and [line.split(",")[0] for line in lines[1:]] == ["10", "20"]
    metrics = checkpoints.read_json(out / "metrics.json")
    assert metrics["processes"] == 1 and metrics["tokens"] > 0 and metrics["checkpoint"] == str(folder / "model")


def test_a_classifier_is_no_language_model_and_unknown_labels_are_refused(folder, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--data", str(folder / "rows.tsv"), "--checkpoint", str(folder / "model"), "--out", str(out)]
    assert finetune.main([*options, "--steps", "1"]) == 0
    assert evaluate.main(["--checkpoint", str(out), "--text", str(folder / "text.txt")]) == 2
    assert "holds a classifier and a language model was wanted" in capsys.readouterr().err
    (tmp_path / "other.tsv").write_text((folder / "rows.tsv").read_text().replace("sea\t", "sky\t"))
    assert evaluate.main(["--checkpoint", str(out), "--data", str(tmp_path / "other.tsv")]) == 2
    assert "has the label 'sky'" in capsys.readouterr().err
    assert evaluate.main(["--checkpoint", str(out), "--ask", " "]) == 2
    assert "a text was wanted after --ask" in capsys.readouterr().err


def test_a_conversation_remembers_what_was_said(folder, monkeypatch, capsys):
    lines, contexts = iter(["one", "two"]), []

    def answer(context, seed):
        contexts.append((context, seed))
        yield from ("Y", "Yes")

    def typed(prompt):
        for line in lines:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr(chat, "writer", lambda options: answer)
    assert chat.main(["--checkpoint", str(folder / "model")]) == 0
    assert contexts == [("one\n", 0), ("one\nYes\ntwo\n", 1)] and capsys.readouterr().out == "Yes\nYes\n"


def test_too_little_memory_is_one_line_and_other_failures_are_not_hidden(folder, monkeypatch, capsys):
    asked = ["--checkpoint", str(folder / "model"), "--text", str(folder / "text.txt")]

    def fails(error):
        def of_a_text(*_):
            raise error

        monkeypatch.setattr(evaluate, "of_a_text", of_a_text)
        return evaluate.main(asked)

    assert fails(torch.cuda.OutOfMemoryError("2 GiB")) == 2
    assert "bigmodel evaluate: the device has too little memory: choose a smaller" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="a fault of ours"):
        fails(RuntimeError("a fault of ours"))


def test_the_command_that_continues_starts_python_as_this_one_did(tmp_path, monkeypatch):
    checkpoints.save_tensors(tmp_path / "checkpoint.safetensors", {}, {"state": {"step": 20}})

    def words(command):
        said = run.how_to_go_on(command, argparse.Namespace(out=str(tmp_path)))
        start, _, typed = said.partition(" continue with ")
        assert start == "stopped at step 20:"
        return shlex.split(typed)

    again = ["--out", str(tmp_path), "--resume"]
    assert words("finetune") == [sys.executable, "-m", "bigmodel_lib", "finetune", *again]
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = run.how_to_go_on("pretrain", argparse.Namespace(out=str(tmp_path)))
    assert said == "stopped at step 20: start all processes again as before, with --out and --resume alone"
