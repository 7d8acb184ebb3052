"""From sampling to preferring: a model learns which of two texts is the better one (direct preference optimisation)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bigmodel_lib.generation import batch_of, log_probability
from bigmodel_lib.model.devices import device_of
from bigmodel_lib.text.batches import Batches
from bigmodel_lib.training.trainer import full_precision

Tokens = Sequence[int]
Pairs = Sequence[tuple[list[int], list[int]]]  # (chosen, rejected)


def dpo_loss(chosen: Tensor, rejected: Tensor, chosen_before: Tensor, rejected_before: Tensor, beta: float) -> Tensor:
    """-ln σ(β [(ln π(y_w) - ln π_ref(y_w)) - (ln π(y_l) - ln π_ref(y_l))]), the mean over pairs: four of (B,) -> ().

    "before" is under the reference, the model as it was. Source: Rafailov et al. 2023, eq. 7.
    """
    margin = (chosen - chosen_before) - (rejected - rejected_before)
    return -functional.logsigmoid(beta * margin).mean()


@torch.no_grad()
def log_probabilities(model: nn.Module, prompt: Tokens, rows: Sequence[Tokens], batch_size: int = 100) -> Tensor:
    """ln p of many continuations of one prompt, without gradient. Shapes: rows lists of ids -> (len(rows),)."""
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return torch.cat([log_probability(model, *batch_of(prompt, part, device_of(model))) for part in parts])


def pair_batches(prompt: Tokens, pairs: Pairs, batch_size: int) -> Batches:
    """A source of (x, y, numbers): pairs of continuations of one prompt, drawn anew each time, and which they are.

    Shapes: x and y (B, 2, T) as `batch_of` makes them, the chosen text first; numbers (B,).
    """

    def batches(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        numbers = rng.integers(0, len(pairs), size=batch_size)
        chosen, rejected = zip(*(pairs[i] for i in numbers), strict=True)
        x, y = (part.unflatten(0, (2, -1)).transpose(0, 1) for part in batch_of(prompt, [*chosen, *rejected]))
        return x.numpy(), y.numpy(), numbers

    return batches


def preference_loss(reference: nn.Module, prompt: Tokens, pairs: Pairs, beta: float = 0.1) -> Callable[..., Tensor]:
    """The loss of `pair_batches`, for a trainer; the reference, asked once and here, may be the model itself."""
    chosen_before, rejected_before = (log_probabilities(reference, prompt, rows) for rows in zip(*pairs, strict=True))

    def loss_fn(model: nn.Module, x: Tensor, y: Tensor, numbers: Tensor) -> Tensor:
        x, y = (part.transpose(0, 1).flatten(0, 1) for part in (x, y))  # first all chosen ones, then all rejected
        chosen, rejected = log_probability(lambda tokens: full_precision(model(tokens)), x, y).chunk(2)
        return dpo_loss(chosen, rejected, chosen_before[numbers], rejected_before[numbers], beta)

    return loss_fn
