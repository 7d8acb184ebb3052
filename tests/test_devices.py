"""One code path for all devices: proven without a GPU, on a fake one, in a process of its own."""

import contextlib
import json
import pathlib
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
import two_processes

from bigmodel_lib.errors import CourseError
from bigmodel_lib.model import devices
from bigmodel_lib.model.devices import BFLOAT16_FROM, Captured, autocast, choose_device, to_device
from bigmodel_lib.recipes import MODES
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import trainer as trainer_module


def said_by(program):
    """What a program beside this file prints as JSON."""
    command = [sys.executable, pathlib.Path(__file__).with_name(program)]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def on_fake_gpu():
    """What became of each case on the fake GPU: {name: "ran", or the error}. One process does them all."""
    return said_by("fake_gpu.py")


@pytest.mark.parametrize("recipe", ["small", "medium", "plain"])
@pytest.mark.parametrize("variant", ["", ", plain attention"])
def test_model_loss_backward_clipping_and_optimizers_stay_on_the_device(on_fake_gpu, recipe, variant):
    assert on_fake_gpu[f"train {recipe}{variant}"] == "ran"


@pytest.mark.parametrize("path", ["blocks", "steps", "loop", "pieces"])
def test_what_05_offers_to_a_gpu_stays_on_the_device(on_fake_gpu, path):
    assert on_fake_gpu[f"05 {path}"] == "ran"


@pytest.mark.parametrize(
    "fault, error",
    [
        ("mask on the cpu", "found at least two devices, fakegpu:0 and cpu"),
        ("input on the cpu", "found at least two devices, fakegpu:0 and cpu"),
        ("state on the cpu", "found at least two devices, cpu and fakegpu:0"),
        ("table on the cpu", "found at least two devices, fakegpu:0 and cpu"),
        ("host sync", "DataDependentOutputException"),
    ],
)
def test_the_fake_gpu_would_catch(on_fake_gpu, fault, error):
    assert error in on_fake_gpu[f"fault: {fault}"]


@pytest.fixture(scope="module")
def on_computing_gpu():
    """What became of each call of the library: {fault, or "no fault": {name: "same", or what went wrong}}."""
    return said_by("computing_gpu.py")


def test_generation_preferences_attribution_and_finetuning_give_the_same_on_another_device(on_computing_gpu):
    found = on_computing_gpu["no fault"]
    wanted = {
        "generate",
        "rollout",
        "knockout_effects",
        "save_model",
        "a checkpoint that leaves the GPU",
    }  # one of each part
    assert wanted <= found.keys()
    assert {name: said for name, said in found.items() if said != "same"} == {}


def test_the_computing_gpu_would_catch_what_is_created_elsewhere_and_other_numbers(on_computing_gpu):
    found = on_computing_gpu["eye on the cpu"]
    assert found.pop("generate") == "same" and found.keys() == {"rollout", "explorer, rollout"}
    assert all("two devices, fakegpu and cpu" in said for said in found.values())
    found = on_computing_gpu["other numbers"]
    assert found["rollout"] == "other numbers than on the CPU" and found["generate"] == "same"


KINDS = ["pretraining", "pretraining, AdamW", "pretraining, n-grams and dropout", "pretraining, masked", "preferences"]
KINDS += [f"fine-tuning, {mode}" for mode in MODES]


@pytest.mark.parametrize("kind", KINDS)
def test_the_host_waits_nowhere_in_a_training_step(on_computing_gpu, kind):
    assert on_computing_gpu["waits"][kind] == []


@pytest.mark.parametrize("fault", ["with_item", "with_a_list", "with_a_choice"])
def test_a_step_in_which_the_host_waits_would_be_noticed(on_computing_gpu, fault):
    assert on_computing_gpu["waits"][f"fault: {fault}"] != []


@pytest.mark.parametrize("how", ["temperature 0", "top k and p", "learned positions"])
def test_the_host_waits_once_in_sixteen_tokens_that_a_gpu_writes(on_computing_gpu, how):
    waits = on_computing_gpu["waits"][f"160 tokens, {how}"]
    assert len(waits) == 1 + 160 // 16, "the prompt goes there, and each block comes back"


class OnCuda(torch.Tensor):
    """A tensor of the CPU that says it is on CUDA."""

    device = property(lambda self: torch.device("cuda", 1))


class PlayedAgain:
    """What stands for a CUDA graph: `replay` computes anew what was recorded, at the addresses that it had then."""

    recorded: list = []

    def replay(self):
        assert current[-1] == torch.device("cuda", 1), "a graph is played on its own device"
        found, compute = self.recorded[-1]
        found.copy_(compute())


current = [torch.device("cuda", 0)]


@contextlib.contextmanager
def on_device(device):
    current.append(device)
    yield
    current.pop()


def test_a_captured_step_is_recorded_once_on_its_device_and_sees_each_new_input(monkeypatch):
    streams = []

    def graph(recorded, stream, capture_error_mode):
        assert current[-1] == torch.device("cuda", 1) and capture_error_mode == "thread_local"
        streams.append(stream)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.cuda, "CUDAGraph", PlayedAgain)
    monkeypatch.setattr(torch.cuda, "device", on_device)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: (device, object()))
    devices.side_stream.cache_clear()
    kept, called = torch.zeros(3), []

    def step(x):
        called.append(len(called))
        if len(called) == 1:
            return kept.add_(x) * 2
        PlayedAgain.recorded.append((torch.empty(3), lambda: kept.add_(x) * 2))
        return PlayedAgain.recorded[-1][0]

    captured, wanted = Captured(step), torch.zeros(3)
    for number in range(1, 5):
        wanted += number
        assert torch.equal(captured(torch.full((3,), float(number)).as_subclass(OnCuda)), 2 * wanted)
    assert called == [0, 1]
    again = Captured(step)
    called.clear()
    for _ in range(3):
        again(torch.zeros(3).as_subclass(OnCuda))
    assert len(streams) == 2 and streams[0] == streams[1] and streams[0][0] == torch.device("cuda", 1)
    devices.side_stream.cache_clear()
    here = Captured(torch.neg)
    assert [here(torch.ones(1)).item() for _ in range(3)] == [-1.0] * 3


def test_a_batch_goes_to_cuda_through_pinned_memory_and_is_not_waited_for(monkeypatch):
    sent = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: sent.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, non_blocking: sent.append(non_blocking) or self)
    to_device(np.arange(3), torch.device("cuda"))
    assert sent == ["pinned", True]


def test_short_numbers_are_the_default_for_large_steps_on_cuda_alone():
    for device, precision, work, wanted in (
        ("cuda", "auto", BFLOAT16_FROM, True), ("cuda", "auto", 0.9 * BFLOAT16_FROM, False),
        ("cuda", "auto", None, True), ("cuda", "float32", 1e15, False),
        ("cpu", "auto", 1e15, False), ("cpu", "bfloat16", 1.0, True),
    ):  # fmt: skip
        with mock.patch.object(torch, "autocast") as made:
            autocast(torch.device(device), precision, *([] if work is None else [work]))
        assert made.call_args == mock.call(device, dtype=torch.bfloat16, enabled=wanted)


def test_the_card_was_faster_with_the_numbers_that_are_the_default():
    faster = 0
    for card in ("gpu.json", "gpu_h200.json"):
        found = json.loads(data_path(card).read_text(encoding="utf-8"))
        for part, tokens in (("presets", {"small": 16 * 64, "medium": 16 * 128, "large": 16 * 128}),
                             ("precisions", {"plain": 64 * 256, "large": 64 * 256})):  # fmt: skip
            for name, n_tokens in tokens.items():
                long, short = (found[part][f"{name}, {kind}"] for kind in ("float32", "bfloat16"))
                by_default = n_tokens * long["parameters"] >= BFLOAT16_FROM
                assert (short["steps_per_second"] > long["steps_per_second"]) == by_default, (card, name)
                faster += by_default
    assert faster == 4


def test_each_run_asks_for_the_precision_of_its_own_steps(monkeypatch):
    asked = []
    monkeypatch.setattr(trainer_module, "autocast", lambda *given: asked.append(given) or contextlib.nullcontext())
    run = two_processes.run("causal, 32 bits, clipped")
    tensors, _ = run.next_batch()
    run.train_step(*tensors, lr=1.0)
    n_parameters = sum(parameter.numel() for parameter in run.model.parameters())
    assert asked == [(torch.device("cpu"), "auto", 6 * 12 * n_parameters)]


def test_an_absent_device_is_refused_by_name():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(
        CourseError, match="device tpu is not there, this PyTorch sees cpu.*choose one of these, or auto"
    ):
        choose_device("tpu")


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch):
    for cuda, mps, wanted in ((True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert choose_device().type == wanted
