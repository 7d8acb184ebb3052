"""Where numbers live: one `device` for cpu, cuda and mps, and the precision that suits it."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from bigmodel_lib.errors import CourseError

# Tokens in a step x parameters. On an H100 (data/gpu.json) bfloat16 took 1.35 times as long as float32 at 2.3e10 (the
# preset large), where launches are what costs, and 1/1.8 at 1.8e11 (nanoGPT's size for a GPU); an H200: 1.14, 1/1.9.
BFLOAT16_FROM = 5e10


def choose_device(name: str = "auto") -> torch.device:
    """The device to train on; "auto" takes cuda, then mps, then cpu. Raises CourseError for one that is not there."""
    there = ["cpu"] + ["mps"] * torch.backends.mps.is_available() + ["cuda"] * torch.cuda.is_available()
    name = there[-1] if name == "auto" else name
    if name.split(":")[0] not in there:
        seen = ", ".join(there)
        raise CourseError(f"device {name} is not there, this PyTorch sees {seen}: choose one of these, or auto")
    return torch.device(name)


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's weights are, and so where its tokens have to be."""
    return next(model.parameters()).device


def autocast(device: torch.device, precision: str, work: float = math.inf) -> torch.autocast:
    """The context in which a forward pass runs: bfloat16 for matrix products where asked or, by "auto", faster.

    That is on CUDA from a work of `BFLOAT16_FROM` on: the tokens that are read together times the model's parameters.
    """
    faster = precision == "auto" and device.type == "cuda" and work >= BFLOAT16_FROM
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=faster or precision == "bfloat16")


def compiled(function: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """`torch.compile(function)`, tried before on something small. Raises CourseError where that cannot be done."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception as error:  # it may end in any of many, also of packages that do the compiling
        reason = str(error).strip().split("\n")[0][:150]
        advice = "install a C++ compiler, or leave out --compile"
        raise CourseError(f"this machine cannot compile the model ({reason}): {advice}") from None
    return torch.compile(function)


@functools.cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of a device on which steps are recorded: one, since each keeps memory for its products."""
    return torch.cuda.Stream(device)


class Captured:
    """A step (tensor -> tensor) that is one launch, not hundreds: on CUDA its second call records a graph and plays it.

    The first call, and each on another device, is the step itself. Shapes must stay, and so must the addresses of all
    that the step reads and changes; the host must not wait inside. A result is written over by the next call.
    """

    def __init__(self, step: Callable[[Tensor], Tensor]):
        self.step = step
        self.given: Tensor | None = None
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type != "cuda" or self.given is None:
            self.given = x.clone()
            return self.step(x)
        self.given.copy_(x)
        with torch.cuda.device(x.device):  # a graph is of the device that is the current one
            if self.graph is None:
                graph, alone = torch.cuda.CUDAGraph(), "thread_local"  # other threads may go on with what they do
                with torch.cuda.graph(graph, stream=side_stream(x.device), capture_error_mode=alone):
                    self.found = self.step(self.given)  # nothing is computed yet
                self.graph = graph
            self.graph.replay()
        return self.found


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
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=device.type != "mps")
