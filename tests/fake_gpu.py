"""A GPU that computes nothing and refuses operands from elsewhere: run by tests/test_devices.py in its own process.

A Python-backed device is registered under the name "fakegpu"; FakeTensorMode carries shapes, types and devices only,
and raises where a tensor of the CPU meets one of the fake GPU, or where the host asks for a value.
The program does everything named in CASES and prints {name: "ran", or the error} as JSON.
"""

import contextlib
import dataclasses
import functools
import json
import os
from unittest import mock

import torch
from notebook_code import defined_in
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from bigmodel_lib.exercises import nb05
from bigmodel_lib.model import layers as layers_module
from bigmodel_lib.model import transformer
from bigmodel_lib.recipes import preset
from bigmodel_lib.training.optimizers import Optimizers
from bigmodel_lib.training.trainer import Trainer, next_token_loss

# What 05 offers to a GPU


def blocks(there):
    q, k, v = (torch.zeros(1, 2, 40, 8, device="fakegpu") for _ in range(3))
    assert there.streaming(q, k, v, 16).device.type == "fakegpu"


def steps(there):
    for fused in (False, True):
        step = there.step_on(torch.device("fakegpu"), fused=fused)
        step()
        assert step().device.type == "fakegpu"


def loop(there):
    batches = [(torch.zeros(4, 3), torch.zeros(4, 2)) for _ in range(3)]
    model = torch.nn.Linear(3, 2, device="fakegpu")
    with mock.patch.object(torch.nn.Module, "to", lambda model, device: model):  # fake weights can't be moved
        assert nb05.train_on(torch.device("fakegpu"), model, batches).device.type == "fakegpu"


def pieces(there):
    weight = torch.zeros(3, device="fakegpu", requires_grad=True)
    x, y = torch.zeros(8, 3, device="fakegpu"), torch.zeros(8, device="fakegpu")
    nb05.accumulate(lambda x, y: (x @ weight - y).square().mean(), x, y, 4)
    assert weight.grad.device.type == "fakegpu"


def notebook(path) -> None:
    """One of the paths that 05 offers to a GPU."""
    with FakeTensorMode():
        path(defined_in("05_pytorch_gpu", "streaming", "step_on", "SMALL", merge_softmax=nb05.merge_softmax))


# Training


def run_on_the_device(model, config) -> Trainer:
    """A run without a text: its batches are given to it."""
    run = Trainer(model, None, next_token_loss, config)
    run.device = torch.device("cpu")  # autocast knows no fake device
    return run


def load_as_from_a_checkpoint(optimizers: Optimizers, fault: str) -> None:
    """Give AdamW the state that a checkpoint would: on the CPU, but for the count of steps."""
    adamw = optimizers.parts[0]  # Muon's state holds a count of the host's, which a fake tensor cannot give
    kept = {
        f"{optimizers.names[parameter]}/{key}": (tensor if key == "step" else torch.zeros(tensor.shape, device="cpu"))
        for parameter, state in adamw.state.items()
        for key, tensor in state.items()
    }
    if fault == "state on the cpu":
        for parameter, state in adamw.state.items():
            state.update({key: kept[f"{optimizers.names[parameter]}/{key}"] for key in state})
        return
    whole, optimizers.parts = optimizers.parts, [adamw]
    optimizers.load_state_tensors(kept)
    optimizers.parts = whole


def patches(fault: str, plain: bool):
    """What this case changes in PyTorch or in the library, one context after the other."""
    if plain or fault == "mask on the cpu":
        yield mock.patch.object(layers_module, "attention", layers_module.attention_plain)
    if fault == "table on the cpu":
        table = transformer.rope_tables
        yield mock.patch.object(transformer, "rope_tables", lambda *given: table(*given[:3], torch.device("cpu")))
    if fault == "mask on the cpu":
        whole = torch.ones
        yield mock.patch.object(torch, "ones", lambda *a, device=None, **k: whole(*a, device="cpu", **k))


def train(recipe: str, fault: str = "", plain: bool = False) -> None:
    """Three steps of a recipe: model, loss, backward, clipping, optimizers, and state as from a checkpoint."""
    model_config, config = preset(recipe, 65, steps=3, clip=1.0)
    model_config = dataclasses.replace(model_config, context_length=16, n_layers=2)
    with contextlib.ExitStack() as stack:
        for patch in patches(fault, plain):
            stack.enter_context(patch)
        stack.enter_context(FakeTensorMode())
        stack.enter_context(torch.device("fakegpu"))
        model = transformer.LanguageModel(model_config)
        run = run_on_the_device(model, config)
        x, y = (torch.zeros(4, 16, dtype=torch.int64) for _ in range(2))
        if fault == "input on the cpu":
            x = torch.zeros(4, 16, dtype=torch.int64, device="cpu")
        for _ in range(2):
            run.train_step(x, y, lr=0.5, share=0.5)
        load_as_from_a_checkpoint(run.optimizers, fault)
        loss, _ = run.train_step(x, y, lr=0.5, share=0.5)
        if fault == "host sync":
            loss.item()
    assert loss.device.type == "fakegpu" and all(p.device.type == "fakegpu" for p in model.parameters())


CASES = {
    **{f"train {recipe}": functools.partial(train, recipe) for recipe in ("small", "medium", "plain")},
    **{f"train {recipe}, plain attention": functools.partial(train, recipe, plain=True)
       for recipe in ("small", "medium", "plain")},
    **{f"fault: {fault}": functools.partial(train, "small", fault)
       for fault in ("mask on the cpu", "input on the cpu", "state on the cpu", "table on the cpu", "host sync")},
    **{f"05 {path.__name__}": functools.partial(notebook, path) for path in (blocks, steps, loop, pieces)},
}  # fmt: skip


def outcome(case) -> str:
    try:
        case()
    except Exception as error:  # whatever went wrong is what the test reads
        return f"{type(error).__name__}: {error}"
    return "ran"


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend("fakegpu")
    print(json.dumps({name: outcome(case) for name, case in CASES.items()}), flush=True)
    os._exit(0)  # all is said; at its end, PyTorch's own threads sometimes abort a process with such a device
