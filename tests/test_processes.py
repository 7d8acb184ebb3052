"""One run on two processes: the same curve, one writer, one end. gloo on the CPU; what needs two GPUs is not tested."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import two_processes

from bigmodel_lib.config import CourseError
from bigmodel_lib.processes import Processes

HERE = pathlib.Path(__file__).resolve().parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
TORCHRUN += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
TINY = ["--d-model", "16", "--n-layers", "1", "--n-heads", "2", "--context-length", "16", "--batch-size", "5"]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """({run: curve} of one process, the same of two)."""
    found = []
    for start in ([sys.executable], TORCHRUN):
        folder = tmp_path_factory.mktemp("curves")
        command = [*start, str(HERE / "two_processes.py"), str(folder)]
        run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
        assert run.returncode == 0, run.stderr[-3000:]
        found.append(json.loads((folder / "curves.json").read_text()))
    return found


@pytest.mark.parametrize("name", two_processes.RUNS)
def test_two_processes_see_the_curve_of_one(curves, name):
    one, two = (np.array(found[name]) for found in curves)
    assert len(one) == len(two) == 50 and one[-1] < one[0]
    assert np.abs(one - two).max() < (1e-8 if "64" in name else 1e-3)


def test_every_row_of_a_batch_has_one_process():
    for size in (1, 2, 3, 5):
        rows = [np.arange(11)[Processes(rank, size).rows(11)] for rank in range(size)]
        assert np.concatenate(rows).tolist() == list(range(11))
    with pytest.raises(CourseError, match="batch_size 2 cannot be shared by 3 processes: choose at least 3"):
        Processes(2, 3).rows(2)


def test_one_process_agrees_with_itself():
    alone = Processes()
    assert alone.first and alone.agree(0.3) == 0.3 and alone.any(True) and not alone.any(False)
    assert alone.total(torch.ones(2)).tolist() == [1.0, 1.0] and alone.wrap(alone) is alone
    alone.wait()


def pretrain(*options, processes=2):
    start = TORCHRUN if processes == 2 else [sys.executable]
    command = [*start, "-m", "bigmodel_lib.pretraining", *map(str, options)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, env=environment(), start_new_session=True, **pipes)


def wait_for_step(folder, step, process):
    """Return when the run has written this step's row or a later one."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        path = folder / "curve.csv"
        if path.exists() and any(int(line.split(",")[0]) >= step for line in path.read_text().splitlines()[1:]):
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached: {process.communicate(timeout=5)}")


def test_the_program_writes_once_and_its_model_is_that_of_one_process(tmp_path):
    losses = []
    for n in (1, 2):
        process = pretrain("--steps", 40, "--out", tmp_path / f"run{n}", *TINY, processes=n)
        said, told = process.communicate(timeout=200)
        assert process.returncode == 0, told[-3000:]
        assert said.count("validation loss") == 1 and told.count("parameters,") == 1
        metrics = json.loads((tmp_path / f"run{n}/metrics.json").read_text())
        assert metrics["processes"] == n
        losses.append(metrics["val_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_a_killed_process_ends_the_other_and_one_process_goes_on(tmp_path):
    out = tmp_path / "run"
    process = pretrain("--steps", 100_000, "--out", out, *TINY)
    wait_for_step(out, 30, process)
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    said, told = process.communicate(timeout=100)
    assert process.returncode not in (0, None)
    assert len(re.findall("^pretraining: ", told, re.M)) <= 1, told
    assert (out / "checkpoint.safetensors").exists() and not (out / "metrics.json").exists()
    (out / "curve.csv").unlink()  # the one that goes on writes it anew
    process = pretrain("--out", out, "--resume", processes=1)
    wait_for_step(out, 10, process)
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=100)
    assert process.returncode == 130 and "continue with" in told


def test_ctrl_c_stops_all_and_two_processes_go_on_where_one_stopped(tmp_path):
    out = tmp_path / "run"
    process = pretrain("--steps", 100_000, "--out", out, *TINY, processes=1)
    wait_for_step(out, 20, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=100)
    stopped = int(re.search(r"stopped at step (\d+)", told)[1])
    process = pretrain("--out", out, "--resume")
    wait_for_step(out, stopped + 20, process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=100)
    assert int(re.search(r"stopped at step (\d+)", told)[1]) >= stopped + 20, told
    rows = [int(line.split(",")[0]) for line in (out / "curve.csv").read_text().splitlines()[1:]]
    assert rows == sorted(set(rows))
