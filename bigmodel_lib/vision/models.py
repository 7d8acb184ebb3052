"""Readers of images: the language model's block on patches, and a convolutional rival.

Shapes: images (B, S, S), N patches of P = p² pixels, states (B, N, D), logits (B, C).
"""

import os

import torch
from torch import Tensor, nn
from torch.nn import functional

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model.layers import NORMS, Hooks, Tables, hooked
from bigmodel_lib.model.transformer import Block
from bigmodel_lib.training.checkpoints import load_tensors, save_tensors


def cut_patches(images: Tensor, p: int) -> Tensor:
    """Cut images into squares of p × p pixels, row by row: (B, S, S) -> (B, (S/p)², p²).

    Source: Dosovitskiy et al. 2021, section 3.1.
    """
    B, S, _ = images.shape
    squares = images.view(B, S // p, p, S // p, p).transpose(2, 3)
    return squares.reshape(B, (S // p) ** 2, p * p)


def rotations_2d(places: Tensor, d_head: int, base: float = 100.0) -> Tables:
    """RoPE's two tables for places (row, column): half of a head's pairs turn with the row, half with the column.

    angle = place · base^(-4i/K) for i < K/4. Shapes: places (N, 2) -> two of (N, K), laid out for `rotate`.
    Source: Heo et al. 2024 (axial frequencies).
    """
    speeds = base ** (-torch.arange(0, d_head, 4, device=places.device) / d_head)
    angles = torch.cat([places[:, :1] * speeds, places[:, 1:] * speeds], dim=-1)
    return torch.cat([angles.cos(), angles.cos()], dim=-1), torch.cat([-angles.sin(), angles.sin()], dim=-1)


def grid_places(side: int, device: torch.device | None = None) -> Tensor:
    """(row, column) of side × side squares, row by row: (side², 2)."""
    return torch.cartesian_prod(*[torch.arange(side, device=device)] * 2).float()


def image_config(n_classes: int, n_patches: int, **sizes: object) -> ModelConfig:
    """A ModelConfig for images: every patch sees every other, and has no patch before it."""
    settings = {"causal": False, "token_shift": False, **sizes}
    return ModelConfig(vocab_size=n_classes, context_length=n_patches, **settings)  # type: ignore[arg-type]


class PatchTransformer(nn.Module):
    """images (B, S, S) -> logits (B, C): the blocks of a language model, on patches in place of tokens.

    positions "rope" turns queries and keys by row and column, "learned" adds a vector for each place, "none" neither.
    The mean of the last states is read. hooks: as in LanguageModel. Source: Dosovitskiy et al. 2021.
    """

    def __init__(self, config: ModelConfig, p: int):
        super().__init__()
        self.config, self.p, D = config, p, config.d_model
        self.side = round(config.context_length**0.5)
        self.w_patch = nn.Parameter(torch.randn(p * p, D) / p)
        learned = config.positions == "learned"
        self.position_embedding = nn.Parameter(0.1 * torch.randn(config.context_length, D)) if learned else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.w_out = nn.Parameter(torch.zeros(D, config.vocab_size))
        for name, parameter in self.blocks.named_parameters():
            kind, size = config.start_of(name.split(".")[-1], parameter.shape)
            nn.init.uniform_(parameter, -size, size) if kind == "uniform" else nn.init.constant_(parameter, size)

    def places(self) -> Tensor:
        """(row, column) of every token: (N, 2)."""
        return grid_places(self.side, self.w_patch.device)

    def embed(self, images: Tensor) -> Tensor:
        """(B, S, S) -> (B, N, D): each patch's pixels times one matrix, plus its place's vector if learned."""
        x = cut_patches(images, self.p) @ self.w_patch
        return x if self.position_embedding is None else x + self.position_embedding

    def states(self, images: Tensor, hooks: Hooks = None) -> list[Tensor]:
        """The normalised stream after every block: L of (B, N, D)."""
        x, rotation, found = self.embed(images), None, []
        if self.config.positions == "rope":
            rotation = rotations_2d(self.places(), self.config.d_head)
        for layer, block in enumerate(self.blocks):
            x = block(hooked(hooks, "stream", layer, x), rotation, None, hooks)
            found.append(NORMS[self.config.norm](x))
        return found

    def forward(self, images: Tensor, hooks: Hooks = None) -> Tensor:
        return self.states(images, hooks)[-1].mean(dim=1) @ self.w_out


class Residual(nn.Module):
    """relu(x + two convolutions of x), each with batch norm; where shapes change, x goes through one of 1 × 1."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out),
        )  # fmt: skip
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


def convolutions(width: int, strides: tuple[int, ...]) -> nn.Sequential:
    """A convolution, then a residual block a stride, twice as wide at each stride of 2. Source: He et al. 2016."""
    parts: list[nn.Module] = [nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    for stride in strides:
        parts.append(Residual(width, width * stride, stride))
        width *= stride
    return nn.Sequential(*parts)


class ResNet(nn.Module):
    """images (B, S, S) -> logits (B, C): convolutions with residual connections, and the mean over all places."""

    def __init__(self, n_classes: int, width: int = 16, strides: tuple[int, ...] = (1, 2, 2)):
        super().__init__()
        self.body = convolutions(width, strides)
        self.head = nn.Linear(width * 2 ** strides.count(2), n_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images[:, None]).mean(dim=(-2, -1)))


def label_loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean of -ln softmax(model(images))[label], in nats."""
    return functional.cross_entropy(model(images).float(), labels)


def save_vision(path: str | os.PathLike, model: nn.Module, **notes: object) -> None:
    """Write a model's numbers, running means included, as bfloat16, with notes."""
    save_tensors(path, {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}, notes)


def load_vision(path: str | os.PathLike, model: nn.Module) -> tuple[nn.Module, dict]:
    """(the model with the numbers of a file, set to `eval`; its notes)."""
    tensors, notes = load_tensors(path)
    model.load_state_dict(tensors)
    return model.eval(), notes
