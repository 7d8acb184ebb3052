"""A signal at any moment leaves a finished run, one that --resume continues to the same weights, or nothing at all."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from bigmodel_lib.cli import finetune, pretrain, run, stopping
from bigmodel_lib.cli.stopping import Stopped, StopSignal
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.finetuning.classification import load_classifier
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.text import sources
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes

if not hasattr(os, "fork"):
    pytest.skip("runs are forked, so that each starts at once", allow_module_level=True)

import forked
from forked import HEARD

# The signal itself


def test_a_signal_is_noted_and_handlers_are_given_back():
    before = [signal.getsignal(number) for number in HEARD]
    with StopSignal() as stop:
        assert stop.number == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM and stop.exit_code() == 143
    assert [signal.getsignal(number) for number in HEARD] == before


def test_a_long_step_is_stopped_at_once():
    with StopSignal() as stop:
        with pytest.raises(Stopped), stop.at_once():
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("this is not reached")
        with pytest.raises(Stopped), stop.at_once():
            raise AssertionError("nor is a next long step begun")
    assert stop.exit_code() == 130


def test_what_is_held_is_done_to_the_end_but_for_a_long_step_in_it():
    reached = []
    with StopSignal() as stop, pytest.raises(Stopped), stop.at_once(), stop.held():
        with pytest.raises(Stopped), stop.at_once():
            signal.raise_signal(signal.SIGINT)
            reached.append("not this")
        reached.append("the rest")
    assert reached == ["the rest"]


def test_what_compiled_code_makes_of_a_signal_is_no_other_error():
    with StopSignal() as stop, pytest.raises(Stopped), stop.at_once():
        try:
            signal.raise_signal(signal.SIGINT)
        except Stopped:
            raise ValueError("the file is damaged") from None
    with StopSignal() as stop, pytest.raises(ValueError, match="no room"), stop.at_once(), stop.held():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("there is no room")  # which is true, and said


def test_a_second_signal_counts_unless_it_repeats_the_first(monkeypatch):
    with StopSignal() as stop:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):  # as torchrun passes them on
            signal.raise_signal(number)
        monkeypatch.setattr(stopping, "ONE_WISH", 0.0)
        with pytest.raises(KeyboardInterrupt) as raised:
            signal.raise_signal(signal.SIGTERM)
        assert raised.type is KeyboardInterrupt and stop.exit_code() == 130
        assert [signal.getsignal(number) for number in HEARD] == [signal.SIG_DFL] * 2  # a third is the system's


def test_a_signal_to_one_process_is_the_same_wish_when_it_reaches_the_next(monkeypatch):
    processes = Processes()
    monkeypatch.setattr(processes, "maximum", lambda number: signal.SIGTERM)
    with StopSignal() as stop:
        assert stop.among(processes) and stop.number == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)


def test_after_the_end_a_signal_changes_nothing():
    with StopSignal() as stop, stop.at_once():
        with stop.held():
            signal.raise_signal(signal.SIGINT)
            stop.ended()
        signal.raise_signal(signal.SIGTERM)


def test_a_side_thread_can_run_a_program(tmp_path):
    codes, options = [], ["--text", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    thread = threading.Thread(target=lambda: codes.append(pretrain.main(options)))
    thread.start()
    thread.join()
    assert codes == [2]


def test_signals_are_the_systems_own_while_compiled_code_waits():
    before = [signal.getsignal(number) for number in HEARD]
    with stopping.left_to_the_system():
        assert [signal.getsignal(number) for number in HEARD] == [signal.SIG_DFL] * 2
    assert [signal.getsignal(number) for number in HEARD] == before


# Runs of both programs, stopped at chosen moments


class Case:
    """A program with the options of a short run, the moments and the weights of one in peace, and others to stop."""

    def __init__(self, program, options, folder):
        self.program, self.options, self.folder = program, options, folder
        self.place, self.n, self.continued, self.moments = folder, 0, {}, []

    def command(self, out) -> list:
        return [str(part) for part in (*self.options, "--out", out, "--steps", 20)]

    def begin(self, act=None) -> int:
        """Begin a run in a new place; returns the number of its process."""
        self.n += 1
        self.place, self.said = self.folder / str(self.n), self.folder / f"said{self.n}"
        self.place.mkdir()
        self.out = self.place / "out"
        return forked.fork(self.program, self.command(self.out), self.said, act)

    def start(self, act=None) -> int:
        """Run in a new place; returns the exit code, or -n where the system ended the run by a signal."""
        return forked.end_of(self.begin(act))

    def run_in_peace(self):
        assert self.program.main(self.command(self.folder / "first")) == 0  # imports what forks would import again
        began = time.monotonic()
        assert self.start(forked.write_down(self.folder / "moments")) == 0, self.said.read_text()
        self.seconds, self.wanted = time.monotonic() - began, self.weights()
        self.moments = forked.read_moments(self.folder / "moments")
        names = [name for name, _ in self.moments]
        measured = max(i for i, name in enumerate(names) if name in ("evaluate", "label_log_probs"))
        starts = {"choose_device": "reading", "new_folder": "training", "finish": "measuring", "save_model": "writing"}
        begins = {names.index(name): phase for name, phase in starts.items()} | {measured + 1: "between"}
        phase, self.phases = "starting", []
        for i in range(len(names)):
            phase = begins.get(i, phase)
            self.phases.append(phase)

    def weights(self):
        return checkpoints.load_tensors(self.out / "model.safetensors")[0]

    def left(self) -> str:
        """What a run has left: "nothing", "a run to continue" or "a finished run". No other state passes."""
        assert {path.name for path in self.place.iterdir()} <= {"out", "cache"}
        if not self.out.exists():
            return "nothing"
        if (self.out / "metrics.json").exists():
            assert not (self.out / "checkpoint.safetensors").exists()
            return "a finished run"
        return "a run to continue"

    def ends_well(self):
        """What was left is continued, or used, and has the weights of the run in peace."""
        if self.left() == "a run to continue":
            tensors, notes = checkpoints.load_tensors(self.out / "checkpoint.safetensors")
            names, state = sorted(path.name for path in self.out.iterdir()), notes["state"]
            state = (state["step"], str(state["rng"]), *names)
            if state in self.continued and same(tensors, self.continued[state]):
                return  # a run has been continued from here already
            assert self.program.main(["--out", str(self.out), "--resume"]) == 0
            self.continued[state] = tensors
        if self.left() == "a finished run":
            assert [path.name for path in self.out.glob(".*")] == []
            assert same(self.weights(), self.wanted)
            LOAD[self.program](self.out)


def same(one, other) -> bool:
    """Whether the same names have the same numbers."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


TINY = "--d-model 16 --n-layers 1 --n-heads 2 --context-length 16 --batch-size 4 --dropout 0.1".split()  # noqa: SIM905


def pretraining_options(folder):
    draws, words = random.Random(0), ["the", "cat", "sat", "on", "a", "mat", "and", "saw"]
    (folder / "text.txt").write_text(" ".join(draws.choice(words) for _ in range(400)))
    return ["--text", folder / "text.txt", "--tokenizer", "bpe", *TINY]


def finetuning_options(folder):
    draws, words = random.Random(0), {"zoo": "lions ", "sea": "WHALES ", "air": "1234567 "}
    rows = [f"{label}\t{word * (n + 1)}" for label, word in words.items() for n in draws.sample(range(20), 10)]
    (folder / "rows.tsv").write_text("\n".join(rows))
    config = ModelConfig(256, context_length=24, d_model=16, n_layers=1, n_heads=2, d_ff=32, ngrams=2)
    model = initialise(LanguageModel(config), torch.Generator().manual_seed(0))
    (folder / "model").mkdir()
    checkpoints.save_model(folder / "model", model, ByteTokenizer())
    return ["--data", folder / "rows.tsv", "--checkpoint", folder / "model", "--batch-size", 4, "--dropout", 0.1]


OPTIONS = {pretrain: pretraining_options, finetune: finetuning_options}
LOAD = {pretrain: checkpoints.load_model, finetune: load_classifier}
NAMES = {pretrain: "pretrain", finetune: "finetune"}


@pytest.fixture(scope="module", params=[pretrain, finetune], ids=NAMES.get)
def shared_case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return Case(request.param, OPTIONS[request.param](folder), folder)


@pytest.fixture
def case(shared_case, monkeypatch):
    import pooch

    monkeypatch.setattr(sources, "IN_MEMORY", 100)  # the text goes by the cache on disk, a new one for each run
    monkeypatch.setattr(pooch, "os_cache", lambda name: shared_case.place / "cache")
    if not shared_case.moments:
        shared_case.run_in_peace()
    return shared_case


ALLOWED = {  # phase: (the exit code, what is left); -n is the system's own ending, 128 + n and 0 are ours
    "starting": {("-n", "nothing"), ("128 + n", "nothing")},
    "reading": {("128 + n", "nothing")},
    "training": {("128 + n", "a run to continue")},
    "measuring": {("128 + n", "a run to continue")},
    "between": {("128 + n", "a run to continue"), ("0", "a finished run")},
    "writing": {("0", "a finished run")},
}
WORDS = {"nothing": "nothing was written", "a run to continue": "continue with", "a finished run": "written to"}


def places(case) -> list:
    """Some moments of every phase, the first operations on files, and many of those while the last ones are written."""
    draws, chosen = random.Random(0), set()
    for phase in ALLOWED:
        moments = [i for i in range(len(case.moments)) if case.phases[i] == phase]
        names = {case.moments[i][0]: i for i in reversed(moments)}
        touched = {name: i for name, i in names.items() if name.startswith(("before", "after"))}
        chosen |= {*draws.sample(moments, min(4, len(moments))), *touched.values()}
        chosen |= set(list(names.values())[::3] if phase == "writing" else ())
    return sorted(chosen)


def test_a_signal_at_every_place(case):
    seen = set()
    for i in places(case):
        phase, moment, number = case.phases[i], case.moments[i], HEARD[i % 2]
        code, left = case.start(forked.send({moment: number})), case.left()
        said = case.said.read_text().replace(sent := f"signal at {moment[0]} {moment[1]}\n", "")
        outcome = ({0: "0", 128 + number: "128 + n", -number: "-n"}[code], left)
        assert outcome in ALLOWED[phase] and sent in case.said.read_text(), (moment, phase, outcome, said)
        assert code < 0 or WORDS[left] in said.splitlines()[-1], (moment, said)
        case.ends_well()
        seen |= {phase, left}
    assert seen == {*ALLOWED, *WORDS}


@pytest.mark.parametrize("number", HEARD)
def test_signals_at_random_times(case, number):
    draws = random.Random(int(number))
    for _ in range(5):
        process = case.begin()
        time.sleep(draws.uniform(0.0, 1.1 * case.seconds))
        os.kill(process, number)
        code, left = forked.end_of(process), case.left()
        assert code in {"nothing": (128 + number, -number), "a run to continue": (128 + number,)}.get(left, (0,))
        assert code >= 0 or case.said.read_text() == ""
        case.ends_well()


def test_a_second_signal_stops_at_once_and_leaves_order(case, monkeypatch):
    """The first one is noted, in the making of the folder, the training or the writing; the second follows closely."""
    monkeypatch.setattr(stopping, "ONE_WISH", 0.0)
    draws, seen = random.Random(1), set()
    for n in range(12):
        begin = case.phases.index(("training", "training", "writing")[n % 3])
        first = begin + draws.randrange(40 if n % 3 == 0 else case.phases.count(case.phases[begin]))
        first = begin if n == 0 else first  # before there is a folder
        second = min(first + (1 if n == 0 else draws.randint(1, 40)), len(case.moments) - 1)
        second = len(case.moments) - 1 if n == 2 else second  # when the run is finished
        code = case.start(forked.send({case.moments[first]: signal.SIGTERM, case.moments[second]: signal.SIGINT}))
        left, said = case.left(), case.said.read_text()
        assert code == (0 if left == "a finished run" else 143) and WORDS[left] in said, (first, second, said)
        case.ends_well()
        seen.add(left)
    assert seen == {*WORDS}


@pytest.mark.parametrize("program", [pretrain, finetune], ids=NAMES.get)
def test_a_signal_in_the_last_evaluation_loses_no_training(tmp_path, monkeypatch, program):
    finish = run.finish
    monkeypatch.setattr(run, "finish", lambda *given: signal.raise_signal(signal.SIGTERM) or finish(*given))
    options = [str(part) for part in (*OPTIONS[program](tmp_path), "--out", tmp_path / "out", "--steps", 20)]
    assert program.main(options) == 143  # the usual pause between two checkpoints is longer than this run
    assert checkpoints.load_tensors(tmp_path / "out/checkpoint.safetensors")[1]["state"]["step"] == 20


# As true programs


def python(*arguments):
    """A Python process of its own, as from the command line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    return subprocess.Popen([sys.executable, *map(str, arguments)], **pipes)


@pytest.mark.parametrize("program, number", [(pretrain, signal.SIGTERM), (finetune, signal.SIGINT)])
def test_a_stopped_program_says_the_command_that_continues(tmp_path, program, number):
    name = NAMES[program]
    options = OPTIONS[program](tmp_path)
    process = python("-m", "bigmodel_lib", name, *options, "--out", tmp_path / "out of here", "--minutes", 0.02)
    assert "device" in process.stderr.readline()
    process.send_signal(number)
    said = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 128 + number, said
    assert re.match(rf"bigmodel {name}: stopped at step \d+: continue with ", said), said
    command = shlex.split(said.split(" continue with ")[1])
    assert command[:4] == [sys.executable, "-m", "bigmodel_lib", name]
    assert program.main(command[4:]) == 0 and (tmp_path / "out of here/metrics.json").exists()


def test_a_signal_while_python_still_imports_leaves_nothing(tmp_path):
    process = python("-m", "bigmodel_lib", "pretrain", *pretraining_options(tmp_path), "--out", tmp_path / "out")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM and not (tmp_path / "out").exists()


def test_a_signal_while_python_ends_changes_nothing():
    program = (
        "import os, signal, sys; from bigmodel_lib.cli.main import run_program\n"
        "class Late:\n"
        "    def __del__(self, kill=os.kill, me=os.getpid(), number=signal.SIGTERM): kill(me, number)\n"
        "sys.late = Late()  # it is deleted when Python's own handlers are gone already\n"
        "run_program(lambda argv, stop: 3, [])"
    )
    process = python("-c", program)
    assert process.communicate() == ("", "") and process.returncode == 3
