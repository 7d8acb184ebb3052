"""One run on two processes: the same curve, one writer, one end. gloo on the CPU; what needs two GPUs is not tested."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import forked
import numpy as np
import pytest
import torch
import torch.distributed as dist
import two_processes

from bigmodel_lib.cli import pretrain
from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Trainer

HERE = pathlib.Path(__file__).resolve().parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
TORCHRUN += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
AGAIN = "start all processes again as before, with --out and --resume alone"
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
    assert [Processes(rank, 3).rows(2) for rank in range(3)] == [slice(0, 1), slice(1, 2), slice(2, 2)]
    config = TrainConfig(steps=1, batch_size=2)
    with pytest.raises(CourseError, match="batch_size 2 cannot be shared by 3 processes: choose at least 3"):
        Trainer(torch.nn.Linear(1, 1), None, None, config, processes=Processes(2, 3))


def test_one_process_agrees_with_itself():
    alone = Processes()
    assert alone.is_main_process and alone.broadcast(0.3) == 0.3 and alone.maximum(2) == 2
    assert alone.all_reduce(torch.ones(2)).tolist() == [1.0, 1.0] and alone.wrap(alone) is alone
    alone.barrier()


def start_pretraining(*options, processes=2):
    start = TORCHRUN if processes == 2 else [sys.executable]
    command = [*start, "-m", "bigmodel_lib", "pretrain", *map(str, options)]
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
        process = start_pretraining("--steps", 40, "--out", tmp_path / f"run{n}", *TINY, processes=n)
        said, told = process.communicate(timeout=200)
        assert process.returncode == 0, told[-3000:]
        assert said.count("validation loss") == 1 and told.count("parameters,") == 1
        metrics = json.loads((tmp_path / f"run{n}/metrics.json").read_text())
        assert metrics["processes"] == n
        losses.append(metrics["val_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_a_budget_in_minutes_ends_on_two_processes(tmp_path):
    process = start_pretraining("--minutes", 0.01, "--out", tmp_path / "run", *TINY)
    said, told = process.communicate(timeout=200)
    assert process.returncode == 0 and said.count("validation loss") == 1, told[-3000:]


def test_finetuning_on_two_processes_is_that_on_one(tmp_path):
    """All batches are odd, so that no gradient is 0 but for rounding, which AdamW would make a whole step of."""
    rows = [f"{label}\t{word * n} {n}" for label, word in (("sea", "FISH "), ("zoo", "lion ")) for n in range(1, 26)]
    (tmp_path / "rows.tsv").write_text("\n".join(rows))
    model = initialise(LanguageModel(ModelConfig(256, 24, 16, 1, 2, 32)), torch.Generator().manual_seed(0))
    (tmp_path / "model").mkdir()
    checkpoints.save_model(tmp_path / "model", model, ByteTokenizer())
    losses = []
    for n, start in ((1, [sys.executable]), (2, TORCHRUN)):
        out, sources = tmp_path / f"run{n}", ["--data", tmp_path / "rows.tsv", "--checkpoint", tmp_path / "model"]
        options = map(str, [*sources, "--out", out, "--steps", 20, "--batch-size", 5, "--mode", "head"])
        command = [*start, "-m", "bigmodel_lib", "finetune", *options]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0 and done.stdout.count("held-out texts") == 1, done.stderr[-3000:]
        metrics = json.loads((out / "metrics.json").read_text())
        assert metrics["processes"] == n and not (out / "checkpoint.safetensors").exists()
        losses.append([metrics["test_loss"], *(row["loss"] for row in metrics["curve"])])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_a_killed_process_ends_the_other_and_one_process_goes_on(tmp_path):
    out = tmp_path / "run"
    process = start_pretraining("--steps", 100_000, "--out", out, *TINY)
    wait_for_step(out, 30, process)
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    said, told = process.communicate(timeout=100)
    assert process.returncode not in (0, None)
    assert len(re.findall("^bigmodel pretrain: ", told, re.M)) <= 1, told
    assert (out / "checkpoint.safetensors").exists() and not (out / "metrics.json").exists()
    (out / "curve.csv").unlink()  # the one that goes on writes it anew
    stop = forked.send({("StopSignal.among", 3): signal.SIGINT})
    assert forked.end_of(forked.fork(pretrain, ["--out", out, "--resume"], tmp_path / "said", stop)) == 130
    assert "continue with" in (tmp_path / "said").read_text() and (out / "curve.csv").exists()


def test_ctrl_c_stops_all_and_two_processes_go_on_where_one_stopped(tmp_path):
    out, stop = tmp_path / "run", forked.send({("StopSignal.among", 2): signal.SIGINT})
    options = ["--steps", 100_000, "--out", out, *TINY]
    assert forked.end_of(forked.fork(pretrain, options, tmp_path / "said", stop)) == 130
    assert "stopped at step 20: continue with" in (tmp_path / "said").read_text()
    process = start_pretraining("--out", out, "--resume")
    wait_for_step(out, 40, process)
    os.killpg(process.pid, signal.SIGINT)  # torchrun hears it, too, and passes it on once more
    _, told = process.communicate(timeout=100)
    assert int(re.search(rf"stopped at step (\d+): {AGAIN}", told)[1]) >= 40, told
    rows = [int(line.split(",")[0]) for line in (out / "curve.csv").read_text().splitlines()[1:]]
    assert rows == sorted(set(rows))


# Signals at chosen moments: the two processes are forked here as torchrun would start them, so that each end is seen


class Pair:
    """Short runs on two processes, each in a new folder."""

    def __init__(self, folder):
        (folder / "text.txt").write_text("".join(f"{a} + {b} = {a + b}\n" for a in range(20) for b in range(20)))
        self.options = ["--text", folder / "text.txt", *TINY, "--steps", 20]
        self.folder, self.n = folder, 0

    def begin(self, acts) -> None:
        """Begin a run on some ranks of two: acts {rank: act}."""
        self.n += 1
        self.out, self.ranks = self.folder / f"run{self.n}", {}
        self.store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        self.keys = self.store.num_keys()
        names = dict(MASTER_ADDR="localhost", MASTER_PORT=str(self.store.port), TORCHELASTIC_USE_AGENT_STORE="True")
        for rank, act in acts.items():
            names |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
            options, group = [*self.options, "--out", self.out], self.ranks.get(0, 0)
            self.ranks[rank] = forked.fork(pretrain, options, self.folder / f"said{rank}", act, group, **names)

    def end(self) -> list:
        """The exit codes of all ranks, as a shell counts them."""
        codes = [forked.end_of(number) for number in self.ranks.values()]
        self.said = "".join((self.folder / f"said{rank}").read_text() for rank in self.ranks)
        return [128 - code if code < 0 else code for code in codes]

    def left(self) -> str:
        assert [path.name for path in self.folder.glob(".*")] == []
        return "nothing" if not self.out.exists() else "all" if (self.out / "metrics.json").exists() else "a checkpoint"


@pytest.fixture
def pair(tmp_path, monkeypatch):
    if not hasattr(os, "fork"):
        pytest.skip("runs are forked, so that each starts at once")
    return Pair(tmp_path)


def to_both(number):
    os.killpg(0, number)


def to_itself(number):
    os.kill(os.getpid(), number)


CHOSEN = [  # the rank, the moment, whom it signals; the exit code of both, what is left
    (0, ("prepare", 1), to_both, 143, "nothing"),
    (0, ("new_folder", 1), to_both, 143, "a checkpoint"),
    (1, ("Trainer.train_step", 3), to_both, 143, "a checkpoint"),
    (1, ("StopSignal.among", 1), to_itself, 143, "a checkpoint"),
    (0, ("StopSignal.among", 2), to_itself, 143, "a checkpoint"),
    (0, ("finish", 1), to_both, 143, "a checkpoint"),
    (0, ("finish", 1), to_itself, 143, "a checkpoint"),
    (1, ("StopSignal.end_together", 1), to_itself, 0, "all"),
    (0, ("save_model", 1), to_both, 0, "all"),
    (0, ("StopSignal.end_together", 1), to_both, 0, "all"),
]


def test_a_signal_ends_two_processes_alike(pair, capsys):
    assert pretrain.main([*map(str, pair.options), "--out", str(pair.folder / "0")]) == 0  # imports for all forks
    pair.begin({0: forked.write_down(pair.folder / "moments"), 1: None})
    assert pair.end() == [0, 0]
    moments, draws = forked.read_moments(pair.folder / "moments"), random.Random(0)
    moments = moments[moments.index(("prepare", 1)) :]  # once both are there
    for rank, moment, to, *wanted in CHOSEN + [(0, draws.choice(moments), to_both) for _ in range(8)]:
        pair.begin({0: None, 1: None, rank: forked.send({moment: signal.SIGTERM}, to)})
        codes, left = pair.end(), pair.left()
        assert codes == [0 if left == "all" else 143] * 2, (rank, moment, to, codes, pair.said)
        assert wanted in ([], [codes[0], left]) and f"signal at {moment[0]}" in pair.said
        if left == "a checkpoint":
            lines = re.findall(f"^bigmodel pretrain: stopped .* {AGAIN}", pair.said, re.M)
            assert len(lines) == 1, pair.said
            assert pretrain.main(["--out", str(pair.out), "--resume"]) == 0


def test_a_process_that_waits_for_another_in_vain_can_be_ended(pair):
    """It waits in compiled code, where no handler of Python's is called."""
    pair.begin({1: None})
    while pair.store.num_keys() == pair.keys and os.waitpid(pair.ranks[1], os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    os.kill(pair.ranks[1], signal.SIGTERM)
    assert pair.end() == [143] and pair.left() == "nothing"
