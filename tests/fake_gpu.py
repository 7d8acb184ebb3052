"""A GPU that computes nothing and refuses operands from elsewhere: run by tests/test_devices.py in its own process.

A Python-backed device is registered under the name "fakegpu"; FakeTensorMode carries shapes, types and devices only,
and raises where a tensor of the CPU meets one of the fake GPU, or where the host asks for a value.
"""

import dataclasses
import sys

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from bigmodel_lib import model_torch
from bigmodel_lib.config import preset
from bigmodel_lib.optimizers_torch import Optimizers
from bigmodel_lib.pretraining import Pretraining


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
        run.optimizers = Optimizers(model, config)
        x, y = (torch.zeros(4, 16, dtype=torch.int64) for _ in range(2))
        if fault == "input on the cpu":
            x = torch.zeros(4, 16, dtype=torch.int64, device="cpu")
        if fault == "plain attention":
            model_torch.attention = model_torch.attention_plain
        for _ in range(2):
            loss = run.train_step(x, y, 0.5)
        if fault == "host sync":
            loss.item()
    assert loss.device.type == "fakegpu" and all(p.device.type == "fakegpu" for p in model.parameters())


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend("fakegpu")
    train(*sys.argv[1:])
    print("trained on the fake GPU")
