"""A run that is killed at any moment, also in the middle of a write, ends as if nothing had happened."""

import errno
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from bigmodel_lib import checkpoints, pretraining

TINY = ["--d-model", "16", "--n-layers", "1", "--n-heads", "2", "--context-length", "16", "--batch-size", "4"]
KILLS = 24


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    draws = random.Random(0)
    path.write_text(" ".join(draws.choice(["the", "cat", "sat", "on", "a", "mat", "and", "saw"]) for _ in range(4000)))
    return path


def run_options(text_file, out, *more):
    return ["--text", str(text_file), "--out", str(out), *TINY, *more]


def child(options) -> int:
    """Start the program in a forked process that saves at every look; returns its number."""
    number = os.fork()
    if number == 0:
        code = 70
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            torch.set_num_threads(1)
            pretraining.CHECKPOINT_SECONDS = 0.0
            sync = os.fsync
            os.fsync = lambda handle: (time.sleep(0.015), sync(handle))  # a slow disk, so that kills fall into writes
            code = pretraining.main(options)
        finally:
            os._exit(code)
    return number


def moment(path) -> int:
    """When a file was written last; 0 before it is there."""
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, so that each starts at once")
@pytest.mark.parametrize("dropout", ["0", "0.1"])
def test_killed_at_random_moments_it_ends_with_the_same_weights(tmp_path, text_file, dropout):
    options = ["--steps", "1000", "--dropout", dropout]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert os.waitpid(child(run_options(text_file, straight, *options)), 0)[1] == 0
    draws, kills, half_written = random.Random(1), 0, 0
    start = run_options(text_file, killed, *options)
    while not (killed / "metrics.json").exists():
        began, before = (killed / "checkpoint.safetensors").exists(), moment(killed / "checkpoint.safetensors")
        number = child(["--out", str(killed), "--resume"] if began else start)
        if kills < KILLS // 2:  # and then let it end
            if draws.random() < 0.8:  # once it trains; else already while it starts
                while moment(killed / "checkpoint.safetensors") == before:
                    time.sleep(0.001)
            time.sleep(draws.uniform(0.0, 0.1))
            while kills % 3 == 0 and not list(killed.glob(".checkpoint*")):
                time.sleep(0.0005)  # every third time wait for the middle of a write
            os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
        kills += os.WIFSIGNALED(status)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        if not (killed / "checkpoint.safetensors").exists() and not (killed / "metrics.json").exists():
            shutil.rmtree(killed, ignore_errors=True)  # killed before it had begun
            continue
        half_written += bool(list(killed.glob(".checkpoint*")))
        (killed / ".mine.txt").write_text("a hidden file of the reader's")
        if not (killed / "metrics.json").exists():
            checkpoints.load_tensors(killed / "checkpoint.safetensors")  # the last good one is whole
    assert kills == KILLS // 2 and half_written > 0, "some of the kills fell into a write"
    one, other = (checkpoints.load_tensors(folder / "model.safetensors")[0] for folder in (straight, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    curves = [[row["loss"] for row in checkpoints.read_json(f / "metrics.json")["curve"]] for f in (straight, killed)]
    assert curves[0] == curves[1] and len(curves[0]) == 100
    assert [p.name for p in killed.glob(".*")] == [".mine.txt"]  # what the kills left half written is gone, no more
    rows = [(folder / "curve.csv").read_text().splitlines() for folder in (straight, killed)]
    assert len(rows[0]) == len(rows[1]) == 101
    assert [row.split(",")[0] for row in rows[0]] == [row.split(",")[0] for row in rows[1]]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_without_room_the_last_good_checkpoint_stays(tmp_path, text_file, monkeypatch, capsys, code):
    monkeypatch.setattr(pretraining, "CHECKPOINT_SECONDS", 0.0)
    out, whole, calls = tmp_path / "run", os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 12:
            raise OSError(code, os.strerror(code))
        whole(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert pretraining.main(run_options(text_file, out, "--steps", "200")) == 2
    monkeypatch.undo()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("pretraining: ") and "cannot be written" in said and os.strerror(code).lower() in said
    assert "make room" in said and [p.name for p in out.glob(".*")] == []
    kept = checkpoints.load_tensors(out / "checkpoint.safetensors")[1]["state"]["step"]
    assert 0 < kept < 200
    assert pretraining.main(["--out", str(out), "--resume"]) == 0
    straight = tmp_path / "straight"
    assert pretraining.main(run_options(text_file, straight, "--steps", "200")) == 0
    one, other = (checkpoints.load_tensors(folder / "model.safetensors")[0] for folder in (straight, out))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_full_disk_at_the_curve_is_said_in_one_line(tmp_path, text_file, monkeypatch, capsys):
    from bigmodel_lib import reports

    def full(self, row):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reports.csv.DictWriter, "writerow", full)
    monkeypatch.setattr(reports.csv.DictWriter, "writeheader", lambda self: None)
    assert pretraining.main(run_options(text_file, tmp_path / "run", "--steps", "40")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "curve.csv cannot be written (no space left on device): make room and go on with --resume" in said


def test_a_real_limit_of_file_size_is_survived(tmp_path, text_file):
    """The system itself refuses the bytes: files of 20 kB, which a checkpoint with an optimizer's state passes."""
    pytest.importorskip("resource")
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from bigmodel_lib import pretraining; sys.exit(pretraining.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *run_options(text_file, tmp_path / "run", "--steps", "20")]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent.parent)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 2 and "cannot be written (file too large): make room" in run.stderr, run.stderr
    tensors, notes = checkpoints.load_tensors(tmp_path / "run/checkpoint.safetensors")
    assert notes["state"]["step"] == 0 and tensors  # the one from before the first step, which had room
