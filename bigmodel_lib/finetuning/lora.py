"""Let only a part of a model learn: frozen weights, and LoRA's thin additions."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrize

ADAPTED = ("w_q", "w_k", "w_v", "w_o", "w_up", "w_gate", "w_down")  # the matrices of a block that LoRA adds to
HEAD = ("head.w", "head.b")  # what a classifier has of its own


def freeze(model: nn.Module, but: Sequence[str] = HEAD) -> nn.Module:
    """Let only the named parameters learn. Returns the model."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in but)
    return model


class LoRA(nn.Module):
    """W + (s/r) A B: a matrix that stays as it is, plus a product of two thin ones that learn.

    Shapes: W (in, out), A (in, r) normal with deviation 1/√in, B (r, out) zero. Source: Hu et al. 2021, eq. 3.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, generator: Generator | None = None):
        super().__init__()
        n_in, n_out = weight.shape
        self.a = nn.Parameter(torch.randn(n_in, rank, generator=generator).to(weight) / n_in**0.5)
        self.b = nn.Parameter(weight.new_zeros(rank, n_out))
        self.factor = scale / rank

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.factor * self.a @ self.b


def adapted_layers(model: Any) -> Iterator[tuple[nn.Module, str]]:
    """(layer, name) of every matrix in a model's blocks that LoRA adds to, of a classifier's backbone as well."""
    for block in getattr(model, "backbone", model).blocks:
        for layer in (block.attention, block.mlp):
            yield from ((layer, name) for name in ADAPTED if getattr(layer, name, None) is not None)


def add_lora(
    model: nn.Module, rank: int = 4, scale: float = 8.0, generator: Generator | None = None, but: Sequence[str] = HEAD
) -> nn.Module:
    """Freeze a model but for its head, and give every matrix in its blocks a LoRA. Returns the model."""
    freeze(model, but)
    for layer, name in adapted_layers(model):
        parametrize.register_parametrization(layer, name, LoRA(getattr(layer, name), rank, scale, generator))
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """Write W + (s/r) A B into W, and forget A and B: the same model without any cost."""
    for layer, name in adapted_layers(model):
        if parametrize.is_parametrized(layer, name):
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
    return model


def count_trainable(model: nn.Module) -> int:
    """How many numbers of a model learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
