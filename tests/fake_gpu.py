"""A GPU that computes nothing and refuses operands from elsewhere: run by tests/test_devices.py in its own process.

A Python-backed device is registered under the name "fakegpu"; FakeTensorMode carries shapes, types and devices only,
and raises where a tensor of the CPU meets one of the fake GPU, or where the host asks for a value.
"""

import ast
import contextlib
import dataclasses
import json
import pathlib
import sys
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from bigmodel_lib import model_torch
from bigmodel_lib.config import ModelConfig, preset
from bigmodel_lib.optimizers_torch import Optimizers
from bigmodel_lib.processes import Processes
from bigmodel_lib.training import Pretraining

NOTEBOOK = pathlib.Path(__file__).resolve().parent.parent / "notebooks/05_pytorch_gpu.ipynb"


def functions_of_the_notebook(*names: str) -> dict:
    """Functions that 05 defines, with what its cells import from the library."""
    namespace = {"torch": torch, "nn": torch.nn, "mock": mock}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        for node in ast.parse("".join(cell["source"])).body:
            from_the_library = isinstance(node, ast.ImportFrom) and node.module.startswith("bigmodel_lib")
            if from_the_library or getattr(node, "name", None) in names:
                exec(compile(ast.Module([node], []), str(NOTEBOOK), "exec"), namespace)  # noqa: S102 (the project's own)
    return namespace


def notebook(path: str, fault: str = ""):
    """One of the paths that 05 offers to a GPU."""
    names = ("each_layer", "step_on", "parts_of_the_model", "kept_by", "measured_memory")
    there = functions_of_the_notebook(*names)
    there["autocast"] = lambda device, precision: contextlib.nullcontext()  # autocast knows no fake device
    there["device"] = "fakegpu"
    if fault == "table on the cpu":
        model_torch.rope_tables = lambda T, K, base, device=None: (torch.zeros(T, K, device="cpu"),) * 2
    with FakeTensorMode():
        if path == "layers":
            for run in there["each_layer"](256, "fakegpu").values():
                run()
        elif path == "steps":
            attentions, activations = (
                ("attention_plain", "attention_streaming", "attention"),
                ("relu_squared", "relu_squared_plain"),
            )
            for kind, relu in [(kind, relu) for kind in attentions for relu in activations]:
                step = there["step_on"]("fakegpu", kind, relu)
                step()
                assert step().device.type == "fakegpu"
        elif path == "parts":
            for _, _, run in there["parts_of_the_model"]("fakegpu", B=2).values():
                run()
        elif path == "memory":
            config = ModelConfig(vocab_size=20, context_length=16, d_model=16, n_layers=2, n_heads=2, d_ff=32)
            for kind in ("attention_plain", "attention"):
                there["measured_memory"](config, 2, 16, kind)
    print(f"{path} ran on the fake GPU")


def train(recipe: str, fault: str = ""):
    model_config, config = preset(recipe, 65, steps=3, clip=1.0)
    model_config = dataclasses.replace(model_config, context_length=16)
    if fault == "mask on the cpu":
        whole = torch.ones
        model_torch.attention = model_torch.attention_plain
        torch.ones = lambda *a, device=None, **k: whole(*a, device="cpu", **k)
    with FakeTensorMode(), torch.device("fakegpu"):
        model = model_torch.LanguageModel(model_config)
        run = Pretraining.__new__(Pretraining)
        run.model = run.forward = model
        run.config, run.device = config, torch.device("cpu")  # autocast knows no fake device
        run.processes, run.measure_gradient = Processes(), True
        run.optimizers = Optimizers(model, config)
        x, y = (torch.zeros(4, 16, dtype=torch.int64) for _ in range(2))
        if fault == "input on the cpu":
            x = torch.zeros(4, 16, dtype=torch.int64, device="cpu")
        if fault == "plain attention":
            model_torch.attention = model_torch.attention_plain
        for _ in range(2):
            loss = run.train_step(x, y, 0.5, 0.5)
        adamw = run.optimizers.parts[0]  # Muon's state holds a count of the host's, which a fake tensor cannot give
        kept = {
            f"{run.optimizers.names[parameter]}/{key}": (
                tensor if key == "step" else torch.zeros(tensor.shape, device="cpu")
            )
            for parameter, state in adamw.state.items()
            for key, tensor in state.items()
        }
        if fault == "state on the cpu":
            for parameter, state in adamw.state.items():
                state.update({key: kept[f"{run.optimizers.names[parameter]}/{key}"] for key in state})
        else:
            whole, run.optimizers.parts = run.optimizers.parts, [adamw]
            run.optimizers.load_state_tensors(kept)  # as a checkpoint gives it
            run.optimizers.parts = whole
        loss = run.train_step(x, y, 0.5, 0.5)
        if fault == "host sync":
            loss.item()
    assert loss.device.type == "fakegpu" and all(p.device.type == "fakegpu" for p in model.parameters())


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend("fakegpu")
    if sys.argv[1] == "notebook":
        notebook(*sys.argv[2:])
    else:
        train(*sys.argv[1:])
        print("trained on the fake GPU")
