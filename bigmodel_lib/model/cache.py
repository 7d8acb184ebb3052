"""What a model keeps of the tokens that it has read, so that the next one costs one token and not all of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from bigmodel_lib.model.transformer import LanguageModel


class KVCache:
    """Keys and values of the last T tokens, for each layer, and the little else that the next token needs.

    Keys and values are rings (B, H, T, K): beyond T tokens the oldest make room, so each token sees the T last ones.
    Token shift needs the last state of each branch, (B, 1, D), and n-grams the last tokens.
    """

    def __init__(self, model: LanguageModel, batch_size: int = 1):
        c, like = model.config, model.token_embedding
        ring = (batch_size, c.n_key_heads, c.context_length, c.d_head)
        self.keys = [like.new_empty(ring) for _ in range(c.n_layers)]
        self.values = [like.new_empty(ring) for _ in range(c.n_layers)]
        branches = [branch for block in model.blocks for branch in (block.attention, block.mlp) if c.token_shift]
        self.last = {branch: like.new_zeros(batch_size, 1, c.d_model) for branch in branches}
        self.tokens = torch.zeros(batch_size, c.ngrams - 1, dtype=torch.long, device=like.device)
        self.position: Any = 0  # how many tokens have been read: an int or, once it stands still, (1,) on the device
        self.context_length = c.context_length
        self.unseen: Tensor | None = None  # then also what is added to the scores of its slots, (1, T)

    def stand_still(self) -> None:
        """From here on, one token at a time: its shapes and addresses stay, as a CUDA graph wants them.

        The position is counted on the device, and all T slots are read, those not yet written with a score of -∞. On a
        CPU this costs more than it saves.
        """
        unwritten = slice(self.position, None)
        for ring in (*self.keys, *self.values):
            ring[:, :, unwritten] = 0  # what they hold by chance may be no number, and 0 · NaN is NaN
        self.unseen = self.keys[0].new_zeros(1, self.context_length)
        self.unseen[:, unwritten] = -math.inf
        self.position = torch.full((1,), self.position, device=self.tokens.device)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of n new tokens, (B, H, n, K); returns all that the last of them may look at."""
        keys, values, slot = self.keys[layer], self.values[layer], self.position % self.context_length
        if self.unseen is not None:
            self.unseen.index_fill_(1, slot, 0.0)
            return keys.index_copy_(2, slot, k), values.index_copy_(2, slot, v)
        n, full = k.shape[-2], min(self.position + k.shape[-2], self.context_length)
        keys.narrow(2, slot, n).copy_(k)
        values.narrow(2, slot, n).copy_(v)
        return keys.narrow(2, 0, full), values.narrow(2, 0, full)

    def previous(self, branch: nn.Module, x: Tensor) -> Tensor:
        """The state before the first of x (B, n, D) in a branch, (B, 1, D), 0 at the start; x's last one is kept."""
        before = self.last[branch]
        if self.unseen is None:
            self.last[branch] = x if x.shape[1] == 1 else x[:, -1:]
            return before
        before = before.clone()
        self.last[branch].copy_(x)
        return before

    def run_of(self, tokens: Tensor) -> Tensor:
        """The tokens (B, n) with those before them that n-grams reach back to, which are 0 before the first."""
        run = torch.cat([self.tokens, tokens], dim=1)
        self.tokens.copy_(run[:, run.shape[1] - self.tokens.shape[1] :])
        return run

    def keep(self, rows: list[int] | Tensor) -> None:
        """Go on with some rows of the batch, named by index or by a mask."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        self.last = {branch: state[rows] for branch, state in self.last.items()}
        self.tokens = self.tokens[rows]
