"""Attention block by block, forward and back, in PyTorch's own operations: for the benchmark of a GPU."""

import math
from typing import Any

import torch
from torch import Tensor

from bigmodel_lib.exercises.nb05 import merge_softmax, partial_softmax


def streaming_forward(q: Tensor, k: Tensor, v: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """Causal attention over blocks of keys, with no more than block_size² weights of a head in memory at once.

    Shapes: q, k, v (..., T, K) -> out (..., T, K) and log Σ e^score (..., T, 1), all that the way back needs.
    Source: Dao et al. 2022 (FlashAttention), algorithm 1.
    """
    out, log_sums = torch.empty_like(v), torch.empty_like(v[..., :1])
    future = torch.ones(block_size, block_size, dtype=torch.bool, device=q.device).triu(1)
    blocks = [slice(start, start + block_size) for start in range(0, q.shape[-2], block_size)]
    for i, rows in enumerate(blocks):
        n = q[..., rows, :].shape[-2]
        state = partial_softmax(q[..., rows, :], k[..., rows, :], v[..., rows, :], future[:n, :n])
        for keys in blocks[:i]:
            state = merge_softmax(state, partial_softmax(q[..., rows, :], k[..., keys, :], v[..., keys, :]))
        highest, total, weighted = state
        out[..., rows, :] = weighted / total
        log_sums[..., rows, :] = highest + total.log()
    return out, log_sums


def streaming_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sums: Tensor, block_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v; each block of weights is computed again as e^(score - log Σ e^score).

    dS = A ⊙ (dout vᵀ - Σ dout ⊙ out) / √K, as Σ_j A_ij dA_ij = dout_i · out_i. Source: Dao et al. 2022, algorithm 4.
    """
    dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
    means, scale = (dout * out).sum(dim=-1, keepdim=True), math.sqrt(q.shape[-1])
    future = torch.ones(block_size, block_size, dtype=torch.bool, device=q.device).triu(1)
    blocks = [slice(start, start + block_size) for start in range(0, q.shape[-2], block_size)]
    for i, rows in enumerate(blocks):
        q_i, dout_i = q[..., rows, :], dout[..., rows, :]
        for j, keys in enumerate(blocks[: i + 1]):
            weights = (q_i @ k[..., keys, :].mT / scale - log_sums[..., rows, :]).exp()
            if i == j:
                weights = weights.masked_fill(future[: weights.shape[-2], : weights.shape[-1]], 0.0)
            dscores = weights * (dout_i @ v[..., keys, :].mT - means[..., rows, :]) / scale
            dq[..., rows, :] += dscores @ k[..., keys, :]
            dk[..., keys, :] += dscores.mT @ q_i
            dv[..., keys, :] += weights.mT @ dout_i
    return dq, dk, dv


class _Streaming(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block_size: int) -> Tensor:
        out, log_sums = streaming_forward(q, k, v, block_size)
        ctx.save_for_backward(q, k, v, out, log_sums)
        ctx.block_size = block_size
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sums = ctx.saved_tensors
        return *streaming_backward(dout, q, k, v, out, log_sums, ctx.block_size), None


def attention_streaming(q: Tensor, k: Tensor, v: Tensor, block_size: int = 128) -> Tensor:
    """`attention_plain` in blocks, forward and back: memory grows with T, not T². Shapes: (..., T, K) each."""
    return _Streaming.apply(q, k, v, block_size)
