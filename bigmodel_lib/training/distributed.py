"""One run on several processes: each takes its slice of every batch, and all agree on what they see and when they stop.

`torchrun --nproc_per_node=2 -m bigmodel_lib.cli.pretrain …` starts the processes and tells each its number.
"""

import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from bigmodel_lib.cli.stopping import StopSignal, left_to_the_system
from bigmodel_lib.errors import CourseError


class Processes:
    """The processes of one run, seen from one of them: `rank` counts from 0 to `size` - 1.

    With one process every method gives back what it gets.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def wrap(self, model):
        """The model whose backward pass averages gradients over all processes."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def rows(self, batch_size: int) -> slice:
        """Which rows of the global batch are this process's. Raises CourseError where some would have none."""
        if batch_size < self.size:
            raise CourseError(
                f"batch_size {batch_size} cannot be shared by {self.size} processes: choose at least {self.size}"
            )
        mine = np.array_split(np.arange(batch_size), self.size)[self.rank]
        return slice(int(mine[0]), int(mine[-1]) + 1)

    def agree(self, number: float) -> float:
        """The first process's number, for all."""
        if self.size == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return shared.item()

    def total(self, values):
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def largest(self, number: float) -> float:
        """The largest of all processes' numbers."""
        if self.size == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return shared.item()

    def wait(self) -> None:
        """Return when all have come here. At a run's end, too: one that leaves early takes the others' line down."""
        if self.size > 1:
            dist.barrier()


def join_processes(device: torch.device) -> tuple[Processes, torch.device]:
    """(the processes that torchrun has started, this one's device); one process where it has not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Processes(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # numbers of the host go by gloo, gradients by the device's own engine
    with left_to_the_system():  # it may wait for the others for minutes, and hears nothing meanwhile
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), size), device


def leave(code: int) -> None:
    """End this process with an exit code.

    One of several ends without Python's own tidying up, in which gloo's threads abort now and then
    (github.com/pytorch/pytorch/pull/179291).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if dist.is_available() and dist.is_initialized():
        os._exit(code)
    sys.exit(code)


def run_program(main, argv=None) -> None:
    """Run a command's main(argv, stop) as this process, and end with its exit code.

    Signals are heard from here to the last moment: once the code is known, they change nothing.
    """
    stop = StopSignal()
    try:
        stop.listen()
        code = main(argv, stop)
    except KeyboardInterrupt:  # a second signal, while the first one was being answered
        code = stop.exit_code()
    finally:
        stop.ended()
    leave(code)
