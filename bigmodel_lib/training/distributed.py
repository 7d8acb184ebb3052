"""One run on several processes: each takes its rows of every batch, and all agree on what they see and when to stop."""

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Processes:
    """The processes of one run, seen from one of them: `rank` counts from 0 to `size` - 1.

    With one process every method gives back what it gets.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank = rank
        self.size = size

    @property
    def is_main_process(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass averages gradients over all processes."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def rows(self, n_rows: int) -> slice:
        """Which of a global batch's rows are this process's; none, if there are fewer rows than processes."""
        counts = [len(part) for part in np.array_split(np.arange(n_rows), self.size)]
        start = sum(counts[: self.rank])
        return slice(start, start + counts[self.rank])

    def broadcast(self, number: float) -> float:
        """The main process's number, for all."""
        if self.size == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return shared.item()

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def maximum(self, number: float) -> float:
        """The largest of all processes' numbers."""
        if self.size == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return shared.item()

    def barrier(self) -> None:
        """Return when all have come here. At a run's end, too: one that leaves early takes the others' line down."""
        if self.size > 1:
            dist.barrier()
