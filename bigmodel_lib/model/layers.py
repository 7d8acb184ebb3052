"""The decoder in PyTorch: short functions first, then the four modules that use them.

Rows are tokens: every linear map is `x @ W` with W of shape (in, out). Shapes use B (batch), T (tokens), D (d_model),
H (heads), K (width of a head), F (d_ff), V (vocabulary)."""

import math

import torch
from torch import nn
from torch.nn import functional

from bigmodel_lib.config import ModelConfig

NGRAM_ROWS, NGRAM_DROPOUT = 16_381, 0.5  # rows for the runs of each length, a prime; share left out while training


def layer_norm(x):
    """Each token's vector with mean 0 and variance 1: y = (x - mean(x)) / sqrt(var(x) + 1e-5) over the last axis.

    Without learned parameters. Shapes: (..., D) -> (..., D). Source: Ba, Kiros & Hinton 2016, eq. 4.
    """
    return torch.layer_norm(x, x.shape[-1:])


def relu_squared_plain(x):
    """max(x, 0)², elementwise. Source: So et al. 2021 ("Primer"), section 4."""
    positive = torch.relu(x)
    return positive * positive


class _ReluSquared(torch.autograd.Function):
    """A forward and its backward, as PyTorch wants them; ctx holds the cache. Taught in 05_pytorch_gpu."""

    @staticmethod
    def forward(ctx, x):
        positive = torch.relu(x)
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    def backward(ctx, dy):
        (positive,) = ctx.saved_tensors
        return torch.addcmul(positive.new_zeros(()), positive, dy, value=2.0)


def relu_squared(x):
    """`relu_squared_plain` with its derivative 2·max(x, 0), where one is wanted, in one pass over memory."""
    return _ReluSquared.apply(x) if torch.is_grad_enabled() else relu_squared_plain(x)


def gelu(x):
    """x·Φ(x), with Φ the normal distribution function. Source: Hendrycks & Gimpel 2016, section 2."""
    return functional.gelu(x)


def shift_tokens(x, strength):
    """Add to each token a learned multiple, s, of the one before it: y_t = x_t + s ⊙ x_(t-1), and x_(-1) = 0.

    Shapes: x (B, T, D), strength s (D,) -> (B, T, D). Source: Peng et al. 2023 (RWKV), section 3.1, as an added term.
    """
    return x + strength * functional.pad(x, (0, 0, 1, -1))


def rope_tables(context_length, d_head, base, device=None):
    """cos and sin of every position's angles, laid out for `rotate`.

    angle(t, i) = t · base^(-2i/K) for i < K/2; the sine's first half is negated.
    Shapes: two of (T, K). Source: Su et al. 2021 (RoFormer), eq. 15, in halves rather than neighbours.
    """
    exponents = torch.arange(0, d_head, 2, device=device) / d_head
    angles = torch.arange(context_length, device=device)[:, None] * base**-exponents
    sine = angles.sin()
    return torch.cat([angles.cos(), angles.cos()], dim=-1), torch.cat([-sine, sine], dim=-1)


def rotate(x, cosine, sine):
    """Turn the pair (x_i, x_(i+K/2)) of each token by its position's angle.

    y_i = x_i cos - x_(i+K/2) sin,  y_(i+K/2) = x_(i+K/2) cos + x_i sin, so the score of two rotated vectors depends
    on their distance alone. Shapes: x (B, H, T, K), cosine and sine (T, K) -> (B, H, T, K). Source: Su et al. 2021.
    """
    return x * cosine + x.roll(x.shape[-1] // 2, dims=-1) * sine


def attention_weights(q, k, causal=True):
    """How much each token looks at each one up to itself, or at all of them: softmax(q kᵀ / √K + mask).

    mask: -∞ above the diagonal if causal, else 0.
    Shapes: q and k (B, H, T, K) -> (B, H, T, T), each row sums to 1. Source: Vaswani et al. 2017, eq. 1, section 3.2.3.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    return scores.softmax(dim=-1)


def attention_plain(q, k, v, causal=True):
    """softmax(q kᵀ / √K + mask) v, step by step. Shapes: q, k, v (B, H, T, K) -> (B, H, T, K)."""
    return attention_weights(q, k, causal) @ v


def attention(q, k, v, causal=True):
    """`attention_plain`, fused: the (T, T) weights never stand in memory. Source: Dao et al. 2022."""
    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def split_heads(x, n_heads):
    """(B, T, D) -> (B, H, T, K): the columns in H blocks of K."""
    B, T, D = x.shape
    return x.view(B, T, n_heads, D // n_heads).transpose(1, 2)


def merge_heads(x):
    """(B, H, T, K) -> (B, T, D), undoing `split_heads`."""
    return x.transpose(1, 2).flatten(2)


def ngram_rows(tokens, vocab_size, longest):
    """Where the runs of 2, 3, … `longest` tokens that end at each place stand in a table.

    h₁(t) = token_t, h_n(t) = (h_(n-1)(t-1) · V + token_t) mod R, R = NGRAM_ROWS; a run of n has the row h_n + (n-2) R.
    Before the first token stands token 0. Shapes: (B, T) -> (longest - 1, B, T). Source: Weinberger et al. 2009.
    """
    run, rows = tokens, []
    for n in range(longest - 1):
        run = (functional.pad(run, (1, -1)) * vocab_size + tokens) % NGRAM_ROWS
        rows.append(run + n * NGRAM_ROWS)
    return torch.stack(rows)


def cross_entropy(logits, targets):
    """The loss: mean of -log softmax(logits)[target] over the targets that are not -1, in nats per token.

    Shapes: logits (B, T, V), targets (B, T) -> (). Source: Shannon 1948, of the model's code for the text.
    """
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


class Attention(nn.Module):
    """Multi-head self-attention, causal or not: three projections (D, D) in, one out. Taught in 05_pytorch_gpu."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_heads, self.qk_norm, self.causal = config.n_heads, config.qk_norm, config.causal
        size = (config.d_model, config.d_model)
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Parameter(torch.empty(size)) for _ in range(4))
        self.shift = nn.Parameter(torch.empty(config.d_model)) if config.token_shift else None

    def queries_and_keys(self, x, rotation):
        """(B, T, D) -> two of (B, H, T, K), normalised and rotated as the configuration says."""
        q, k = split_heads(x @ self.w_q, self.n_heads), split_heads(x @ self.w_k, self.n_heads)
        if self.qk_norm:
            q, k = layer_norm(q), layer_norm(k)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        return q, k

    def forward(self, x, rotation):
        if self.shift is not None:
            x = shift_tokens(x, self.shift)
        q, k = self.queries_and_keys(x, rotation)
        v = split_heads(x @ self.w_v, self.n_heads)
        return merge_heads(attention(q, k, v) if self.causal else attention(q, k, v, causal=False)) @ self.w_o


class MLP(nn.Module):
    """activation(x @ w_up) @ w_down, with w_up (D, F) and w_down (F, D). Taught in 05_pytorch_gpu."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = {"relu_squared": relu_squared, "gelu": gelu}[config.activation]
        self.w_up = nn.Parameter(torch.empty(config.d_model, config.d_ff))
        self.w_down = nn.Parameter(torch.empty(config.d_ff, config.d_model))
        self.shift = nn.Parameter(torch.empty(config.d_model)) if config.token_shift else None

    def forward(self, x):
        if self.shift is not None:
            x = shift_tokens(x, self.shift)
        return self.activation(x @ self.w_up) @ self.w_down
