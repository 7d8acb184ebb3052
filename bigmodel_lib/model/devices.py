"""Where numbers live: one `device` for cpu, cuda and mps, and the precision that suits it."""

import contextlib
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from bigmodel_lib.errors import CourseError


def choose_device(name: str = "auto") -> torch.device:
    """The device to train on; "auto" takes cuda, then mps, then cpu. Raises CourseError for one that is not there."""
    there = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if "cuda" in there else there[-1])
    if name.split(":")[0] not in there:
        seen = ", ".join(there)
        raise CourseError(f"device {name} is not there, this PyTorch sees {seen}: choose one of these, or auto")
    return torch.device(name)


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's weights are, and so where its tokens have to be."""
    return next(model.parameters()).device


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a forward pass runs: bfloat16 for matrix products where asked or, on CUDA, by default."""
    bfloat16 = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16)


def compiled(model: torch.nn.Module) -> torch.nn.Module:
    """`torch.compile(model)`, tried before on something small. Raises CourseError where this machine cannot compile."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=next(model.parameters()).device))
    except Exception as error:  # it may end in any of many, also of packages that do the compiling
        reason = str(error).strip().split("\n")[0][:150]
        advice = "install a C++ compiler, or leave out --compile"
        raise CourseError(f"this machine cannot compile the model ({reason}): {advice}") from None
    return cast(torch.nn.Module, torch.compile(model))


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Inside, the model leaves nothing out (dropout); afterwards it is in the mode that it was found in."""
    if not model.training:
        yield model
        return
    model.eval()
    try:
        yield model
    finally:
        model.train()


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A batch on its device; on CUDA through pinned memory, so that the copy waits for nothing."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
