"""How a gradient becomes a step, by hand: AdamW on a dictionary of arrays, and the loop that takes the steps."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy import ndarray

from bigmodel_lib.by_hand.backprop import BLOCK, Pair, loss_and_gradients
from bigmodel_lib.by_hand.model import Parameters
from bigmodel_lib.config import ModelConfig

Batches = Callable[[], tuple[ndarray, ndarray]]


class AdamW:
    """Steps of about `lr` for each number, whatever its gradient's size, and a pull of the weights towards zero.

    m ← β₁ m + (1 - β₁) g;  s ← β₂ s + (1 - β₂) g²;  w ← w - lr · weight_decay · w,
    w ← w - lr · (m / (1 - β₁ⁿ)) / (sqrt(s / (1 - β₂ⁿ)) + eps) in step n = 1, 2, …, in place.
    Source: Loshchilov & Hutter 2019, algorithm 2; Kingma & Ba 2015.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.parameters, self.lr, self.eps, self.weight_decay = parameters, lr, eps, weight_decay
        self.beta1, self.beta2, self.steps = beta1, beta2, 0
        self.m = {name: np.zeros_like(w) for name, w in parameters.items()}
        self.s = {name: np.zeros_like(w) for name, w in parameters.items()}

    def step(self, gradients: Parameters, factor: float = 1.0) -> None:
        """One update of every parameter, with the learning rate at `factor` times its peak."""
        self.steps += 1
        lr = self.lr * factor
        for name, w in self.parameters.items():
            g, m, s = gradients[name], self.m[name], self.s[name]
            m += (1 - self.beta1) * (g - m)
            s += (1 - self.beta2) * (g * g - s)
            w -= lr * self.weight_decay * w
            mean, square = m / (1 - self.beta1**self.steps), s / (1 - self.beta2**self.steps)
            w -= lr * mean / (np.sqrt(square) + self.eps)


def train(
    optimizer: AdamW, next_batch: Batches, parameters: Parameters, config: ModelConfig, steps: int, block: Pair = BLOCK
) -> Iterator[float]:
    """Take steps on (x, y) from next_batch() and yield each loss; the rate rises for 20 and falls to 0 over all."""
    for step in range(steps):
        x, y = next_batch()
        loss, gradients = loss_and_gradients(x, y, parameters, config, block)
        optimizer.step(gradients, min(1.0, (step + 1) / 20) * (1 - step / steps))
        yield loss
