"""A run that is killed at any moment, also in the middle of a write, ends as if nothing had happened."""

import errno
import os
import pathlib
import random
import signal
import subprocess
import sys

import forked
import pytest
import torch

from bigmodel_lib.cli import pretrain, run
from bigmodel_lib.errors import CourseError
from bigmodel_lib.training import checkpoints

TINY = ["--d-model", "16", "--n-layers", "1", "--n-heads", "2", "--context-length", "16", "--batch-size", "4"]
KILLS = 9


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    draws = random.Random(0)
    path.write_text(" ".join(draws.choice(["the", "cat", "sat", "on", "a", "mat", "and", "saw"]) for _ in range(4000)))
    return path


def run_options(text_file, out, *more):
    return ["--text", str(text_file), "--out", str(out), *TINY, *more]


@pytest.fixture
def forks(tmp_path, text_file, monkeypatch):
    """A function (options, moment=None) -> the exit code of a run, killed without warning at a moment of its life."""
    if not hasattr(os, "fork"):
        pytest.skip("runs are forked, so that each starts at once")

    def fork(options, moment=None):
        act = forked.send({moment: signal.SIGKILL}) if moment else forked.write_down(tmp_path / "moments")
        return forked.end_of(forked.fork(pretrain, options, tmp_path / "said", act))

    fork.moments = lambda: forked.read_moments(tmp_path / "moments")
    return fork


def same_weights(*folders) -> bool:
    one, other = (checkpoints.load_tensors(folder / "model.safetensors")[0] for folder in folders)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_killed_at_random_moments_it_ends_with_the_same_weights(tmp_path, text_file, forks):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    options = ["--dropout", "0.1", "--steps"]  # what is left out must be the same, too
    assert pretrain.main(run_options(text_file, straight, *options, "200")) == 0
    assert forks(run_options(text_file, tmp_path / "short", *options, "20")) == 0
    moments, draws, half_written = forks.moments(), random.Random(1), 0
    moments, half = moments[: moments.index(("finish", 1))], tmp_path / "half"
    assert forks(run_options(text_file, half, *options, "20"), ("before replace", 3)) == -signal.SIGKILL
    assert forks(["--out", str(half), "--resume"]) == 0
    moments = sorted(set(moments) & set(forks.moments()), key=moments.index)  # which a resumed run has, too
    for n in range(KILLS):  # at any moment of its life, and every third time in the middle of a write
        moment = ("before replace", draws.randint(1, 3)) if n % 3 == 0 else draws.choice(moments)
        begun = killed.exists()
        start = run_options(text_file, killed, *options, "200")
        assert forks(["--out", str(killed), "--resume"] if begun else start, moment) == -signal.SIGKILL, moment
        half_written += bool(list(killed.glob(".c*.half-written")))
        if killed.exists():
            checkpoints.load_tensors(killed / "checkpoint.safetensors")  # the last good one is whole
            (killed / ".mine.txt").write_text("a hidden file of the reader's")
    assert half_written > 0, "some of the kills fell into a write"
    assert pretrain.main(["--out", str(killed), "--resume"]) == 0
    assert same_weights(straight, killed)
    curves = [[row["loss"] for row in checkpoints.read_json(f / "metrics.json")["curve"]] for f in (straight, killed)]
    assert curves[0] == curves[1] and len(curves[0]) == 20
    assert [p.name for p in killed.glob(".*")] == [".mine.txt"]  # what the kills left half written is gone
    assert list(tmp_path.glob(".killed.*")) == []
    rows = [(folder / "curve.csv").read_text().splitlines() for folder in (straight, killed)]
    assert [[row.split(",")[0] for row in part] for part in rows] == [["step", *map(str, range(10, 201, 10))]] * 2


def test_killed_while_its_last_files_are_written_a_run_is_finished_or_goes_on(tmp_path, text_file, forks, capsys):
    straight, found = tmp_path / "straight", []
    assert pretrain.main(run_options(text_file, tmp_path / "first", "--steps", "10")) == 0
    assert forks(run_options(text_file, straight, "--steps", "10")) == 0
    moments = forks.moments()
    moments = moments[moments.index(("finish", 1)) :]
    for n, moment in enumerate(m for m in moments if m[0].startswith(("before", "after"))):
        out = tmp_path / f"run{n}"
        assert forks(run_options(text_file, out, "--steps", "10"), moment) == -signal.SIGKILL, moment
        if finished := (out / "metrics.json").exists():
            assert same_weights(straight, out)
        elif (out / "model.safetensors").exists():
            with pytest.raises(CourseError, match="is not finished: continue it with --resume"):
                checkpoints.load_model(out)
        capsys.readouterr()
        assert pretrain.main(["--out", str(out), "--resume"]) == (2 if finished else 0), moment
        assert not finished or "is finished, so there is nothing to resume" in capsys.readouterr().err
        checkpoints.load_model(out)
        assert same_weights(straight, out) and not (out / "checkpoint.safetensors").exists()
        found.append(finished)
    assert found == sorted(found) and 0 < sum(found) < len(found)


def test_without_room_the_last_good_checkpoint_stays(tmp_path, text_file, monkeypatch, capsys):
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    out, straight, whole, calls = tmp_path / "run", tmp_path / "straight", os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert pretrain.main(run_options(text_file, out, "--steps", "60")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("bigmodel pretrain: ") and "cannot be written (no space left on device): make room" in said
    assert [p.name for p in out.glob(".*")] == []
    kept = checkpoints.load_tensors(out / "checkpoint.safetensors")[1]["state"]["step"]
    assert 0 < kept < 60
    monkeypatch.setattr(os, "fsync", whole)
    assert pretrain.main(["--out", str(out), "--resume"]) == 0
    assert pretrain.main(run_options(text_file, straight, "--steps", "60")) == 0
    assert same_weights(straight, out)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_full_disk_at_the_curve_is_said_in_one_line(tmp_path, text_file, monkeypatch, capsys):
    opened = pathlib.Path.open

    def full(path, mode="r", *given, **more):
        return opened(pathlib.Path("/dev/full") if mode == "ab" else path, mode, *given, **more)

    monkeypatch.setattr(pathlib.Path, "open", full)
    assert pretrain.main(run_options(text_file, tmp_path / "run", "--steps", "40")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "curve.csv cannot be written (no space left on device): make room and go on with --resume" in said


def test_a_real_limit_of_file_size_is_survived(tmp_path, text_file):
    """The system itself refuses the bytes: files of 20 kB, which a checkpoint with an optimizer's state passes."""
    pytest.importorskip("resource")
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from bigmodel_lib.cli import pretrain; sys.exit(pretrain.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *run_options(text_file, tmp_path / "run", "--steps", "20")]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "cannot be written (file too large): make room" in done.stderr, done.stderr
    tensors, notes = checkpoints.load_tensors(tmp_path / "run/checkpoint.safetensors")
    assert notes["state"]["step"] == 0 and tensors  # the one from before the first step, which had room
