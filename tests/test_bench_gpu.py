"""The GPU benchmark runs on a CPU at small sizes, and its numbers are what they say."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = [
    "card",
    "launches",
    "hidden_syncs",
    "products",
    "errors",
    "underflow",
    "attention",
    "memory",
    "out_of_memory",
    "writing",
    "race",
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "gpu.json"
    command = [sys.executable, "tools/bench_gpu.py", "--device", "cpu", "--out", str(out), "--only", *PARTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text(encoding="utf-8"))


def test_every_part_that_was_asked_for_leaves_a_result(measured):
    assert list(measured) == [*PARTS, "seconds"] and list(measured["seconds"]) == PARTS
    assert not [name for name, found in measured.items() if isinstance(found.get("error"), str)]


def test_formats_differ_as_their_bits_do(measured):
    found = measured["errors"]
    assert found["float32"]["error"] < found["float16"]["error"] < found["bfloat16"]["error"] < 0.02
    assert found["bfloat16"]["counted_to_3000"] == 256, "with 8 bits, 256 + 1 is 256 again"
    shares = measured["underflow"]
    assert shares["scaled_by_2_to_0"] > shares["scaled_by_2_to_8"] > shares["scaled_by_2_to_16"]


def test_every_way_of_attention_is_measured_or_says_why_not(measured):
    rows = measured["attention"]["rows"]
    assert {row["way"] for row in rows} >= {"naive", "streaming", "fused: flash_attention"}
    assert all(row.get("both", 0) > 0 or row["refused"] for row in rows)


def test_writing_is_measured_in_each_way_and_waiting_in_each_kind_of_run(measured):
    ways = {"captured", "captured, temperature 0", "not captured", "cached", "recomputed"}
    assert all(measured["writing"][way] > 0 for way in ways)
    assert measured["hidden_syncs"]["kinds"] == ["pretraining", "pretraining, AdamW", "fine-tuning", "preferences"]


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("bench_gpu", ROOT / "tools/bench_gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_part_that_fails_is_kept_as_an_error_and_seen_in_the_exit_code(bench, tmp_path, monkeypatch):
    out = tmp_path / "gpu.json"
    options = ["bench_gpu", "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*options, "--only", "card", "--budget", "-1"])
    assert bench.main() == 0
    assert json.loads(out.read_text(encoding="utf-8")) == {"card": {"not_reached": True}, "seconds": {}}
    monkeypatch.setattr(bench, "PARTS", {lambda bench: 1 / 0: 1})
    monkeypatch.setattr(sys, "argv", options)
    assert bench.main() == 1
    assert "ZeroDivisionError" in out.read_text(encoding="utf-8")


def test_all_parts_fit_in_eight_minutes_and_attention_goes_up_to_16k(bench, monkeypatch):
    assert sum(bench.PARTS.values()) < 8 * 60
    lengths = []
    monkeypatch.setattr(bench.Bench, "size", lambda self, large, small: lengths.append(large) or small)
    bench.attention(bench.Bench("cpu"))
    assert max(lengths[1]) == 16384


def test_a_way_of_attention_that_would_take_too_long_is_left_out(bench, monkeypatch):
    monkeypatch.setattr(bench, "LONGEST", 0.0)
    rows = bench.attention(bench.Bench("cpu"))["rows"]
    naive = [row for row in rows if row["way"] == "naive"]
    assert naive[0]["both"] > 0 and naive[1]["refused"].startswith("left out") and "both" not in naive[1]


@pytest.mark.parametrize(
    ("options", "words"), [(["--device", "cpu"], "name another file with --out"), ([], "no CUDA card")]
)
def test_a_computer_without_a_card_keeps_the_numbers_of_the_card(options, words):
    if not options and torch.cuda.is_available():
        pytest.skip("here is a card")
    before = (ROOT / "data/gpu.json").read_bytes()
    done = subprocess.run([sys.executable, "tools/bench_gpu.py", *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and words in done.stderr
    assert (ROOT / "data/gpu.json").read_bytes() == before
