"""One run on several processes: each takes its rows of every batch, and all agree on what they see and when to stop."""

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Processes:
    """One run's processes, seen from one: `rank` is 0 … `size` - 1. A single one gets back what it gives."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def is_main_process(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass averages gradients over all processes."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def rows(self, n_rows: int) -> slice:
        """Which of a global batch's rows are this process's; none, if there are fewer rows than processes."""
        first, end = (math.ceil(n_rows * rank / self.size) for rank in (self.rank, self.rank + 1))
        return slice(first, end)

    def all_reduce(self, values: Tensor, largest: bool = False) -> Tensor:
        """The sum of a tensor over all processes, or the largest of their numbers."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM)
        return values

    def broadcast(self, number: float) -> float:
        """The main process's number, for all."""
        return self.maximum(number if self.is_main_process else -math.inf)

    def maximum(self, number: float) -> float:
        """The largest of all processes' numbers."""
        return self.all_reduce(torch.tensor(number, dtype=torch.float64), largest=True).item()

    def barrier(self) -> None:
        """Return when all have come here. At a run's end, too: one that leaves early takes the others' line down."""
        if self.size > 1:
            dist.barrier()
