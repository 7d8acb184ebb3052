"""One code path for all devices: proven without a GPU, on a fake one, in a process of its own."""

import json
import pathlib
import subprocess
import sys

import pytest

from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import choose_device


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
    assert {"generate", "rollout", "scores_of", "save_model"} <= found.keys()  # one of each part
    assert {name: said for name, said in found.items() if said != "same"} == {}


def test_the_computing_gpu_would_catch_what_is_created_elsewhere_and_other_numbers(on_computing_gpu):
    found = on_computing_gpu["eye on the cpu"]
    assert found.pop("generate") == "same" and found.keys() == {"rollout", "explorer, rollout"}
    assert all("two devices, fakegpu and cpu" in said for said in found.values())
    found = on_computing_gpu["other numbers"]
    assert found["rollout"] == "other numbers than on the CPU" and found["generate"] == "same"


def test_an_absent_device_is_refused_by_name():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(
        CourseError, match="device tpu is not there, this PyTorch sees cpu.*choose one of these, or auto"
    ):
        choose_device("tpu")
