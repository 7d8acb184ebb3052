"""What the language model is made of: short functions first, then attention and the MLP that use them.

Rows are tokens: every linear map is `x @ W` with W of shape (in, out). Shapes use B (batch), T (tokens), D (d_model),
H (heads), K (width of a head), F (d_ff), V (vocabulary).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model.cache import KVCache

NGRAM_ROWS = 16_381  # for the runs of each length, a prime
Tables = tuple[Tensor, Tensor]  # RoPE's cosine and sine, (T, K) each
Start = int | Tensor  # of a stretch of tokens; on the device where the host need not know it
Turn = Tables | None  # None where positions are not rotated
Hooks = Mapping[str, Callable[[int, Tensor], Tensor]] | None  # what looks at named values, or replaces them


def layer_norm(x: Tensor) -> Tensor:
    """Mean 0, variance 1: y = (x - mean(x)) / √(var(x) + 1e-5), (..., D) -> (..., D). Source: Ba et al. 2016, eq. 4."""
    return torch.layer_norm(x, x.shape[-1:])


def rms_norm(x: Tensor) -> Tensor:
    """Mean square 1: y = x / √(mean(x²) + 1e-5), (..., D) -> (..., D). Source: Zhang & Sennrich 2019, eq. 4."""
    return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + 1e-5)


NORMS = {"layer": layer_norm, "rms": rms_norm}


def relu_squared_plain(x: Tensor) -> Tensor:
    """max(x, 0)², elementwise. Source: So et al. 2021 ("Primer"), section 4."""
    return torch.relu(x).square()


class _ReluSquared(torch.autograd.Function):
    """A forward and its backward, as PyTorch wants them; ctx holds the cache."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = torch.relu(x)
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return torch.addcmul(positive.new_zeros(()), positive, dy, value=2.0)


def relu_squared(x: Tensor) -> Tensor:
    """`relu_squared_plain` with its derivative 2·max(x, 0), where one is wanted, in one pass over memory."""
    return _ReluSquared.apply(x) if torch.is_grad_enabled() else relu_squared_plain(x)


Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu_squared": relu_squared, "gelu": functional.gelu, "swiglu": functional.silu}


def shift_tokens(x: Tensor, strength: Tensor, before: Tensor | None = None) -> Tensor:
    """Add to each token a learned multiple, s, of the one before it: y_t = x_t + s ⊙ x_(t-1).

    before: x_(-1), (B, 1, D), or None for 0. Shapes: x (B, T, D), strength (D,). Source: Peng et al. 2023, section 3.1.
    """
    if before is None:
        return x + strength * functional.pad(x, (0, 0, 1, -1))
    earlier = before if x.shape[1] == 1 else torch.cat([before, x[:, :-1]], dim=1)
    return torch.addcmul(x, strength, earlier)


def rope_tables(
    n_tokens: int, d_head: int, base: float, device: torch.device | None = None, start: Start = 0
) -> Tables:
    """cos and sin of the angles of positions start, start + 1, …, laid out for `rotate`: two of (T, K).

    angle(t, i) = t · base^(-2i/K) for i < K/2; the sine's first half is negated. Source: Su et al. 2021, eq. 15.
    """
    exponents = torch.arange(0, d_head, 2, device=device) / d_head
    angles = (torch.arange(n_tokens, device=device) + start)[:, None] * base**-exponents
    sine = angles.sin()
    return torch.cat([angles.cos(), angles.cos()], dim=-1), torch.cat([-sine, sine], dim=-1)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pair (x_i, x_(i+K/2)) of each token by its position's angle. Shapes: x (B, H, T, K), tables (T, K)."""
    return x * cosine + x.roll(x.shape[-1] // 2, dims=-1) * sine


def attention_scores(q: Tensor, k: Tensor, causal: bool = True) -> Tensor:
    """How well each query fits each key: q kᵀ / √K, and -∞ for later keys if causal; the last query is at the last key.

    Shapes: q (B, H, n, K), k (B, H, T, K) -> (B, H, n, T). Source: Vaswani et al. 2017, section 3.2.3.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    n, T = scores.shape[-2:]
    future = torch.ones(n, T, dtype=torch.bool, device=q.device).triu(1 + T - n)
    return scores.masked_fill(future, -math.inf) if causal else scores


def attention_plain(q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
    """softmax(q kᵀ / √K + mask) v, step by step. Shapes: q (B, H, n, K), k and v (B, H, T, K) -> (B, H, n, K)."""
    return attention_scores(q, k, causal).softmax(dim=-1) @ v


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
    """`attention_plain`, fused: the (n, T) weights never stand in memory. Source: Dao et al. 2022."""
    n, T = q.shape[-2], k.shape[-2]
    if not causal or n == 1:
        return functional.scaled_dot_product_attention(q, k, v)
    if n == T:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    seen = torch.ones(n, T, dtype=torch.bool, device=q.device).tril(T - n)  # else the first query would be at key 0
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def share_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, H', T, K) -> (B, H, T, K): each key head once for each query head that shares it (Ainslie et al. 2023)."""
    copies = n_heads // x.shape[1]
    return x if copies == 1 else x.repeat_interleave(copies, dim=1)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, T, D) -> (B, H, T, K): the columns in H blocks of K."""
    B, T, D = x.shape
    return x.view(B, T, n_heads, D // n_heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, K) -> (B, T, D), undoing `split_heads`."""
    return x.transpose(1, 2).flatten(2)


def ngram_rows(tokens: Tensor, vocab_size: int, longest: int) -> Tensor:
    """Where the runs of 2, 3, … `longest` tokens that end at each place stand in a table.

    h₁(t) = token_t, h_n(t) = (h_(n-1)(t-1) · V + token_t) mod R, R = NGRAM_ROWS; a run of n has the row h_n + (n-2) R.
    Before the first token stands token 0. Shapes: (B, T) -> (longest - 1, B, T). Source: Weinberger et al. 2009.
    """
    run, rows = tokens, []
    for n in range(longest - 1):
        run = (functional.pad(run, (1, -1)) * vocab_size + tokens) % NGRAM_ROWS
        rows.append(run + n * NGRAM_ROWS)
    return torch.stack(rows)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of -ln softmax(logits)[target] over the targets that are not -1, in nats: (B, T, V), (B, T) -> ()."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def hooked(hooks: Hooks, name: str, layer: int, value: Tensor) -> Tensor:
    """The value, or what the hook of that name makes of it."""
    return value if hooks is None or name not in hooks else hooks[name](layer, value)


class Branch(nn.Module):
    """What both branches of a block begin with: a learned gain for the norm before them, and token shift."""

    def add_small_parameters(self, config: ModelConfig) -> None:
        """The vectors (D,) that are there if the configuration asks for them; they come after the matrices."""
        self.shift = nn.Parameter(torch.empty(config.d_model)) if config.token_shift else None
        self.norm_gain = nn.Parameter(torch.empty(config.d_model)) if config.norm_gain else None

    def enter(self, x: Tensor, cache: KVCache | None) -> Tensor:
        """(B, T, D) -> (B, T, D): the normalised stream with its gain and shift."""
        if self.norm_gain is not None:
            x = x * self.norm_gain
        if self.shift is None:
            return x
        return shift_tokens(x, self.shift, None if cache is None else cache.previous(self, x))


class Attention(Branch):
    """Multi-head self-attention, causal or not: three projections in, one out."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.causal = layer, config.causal
        self.n_heads, self.n_key_heads = config.n_heads, config.n_key_heads
        self.norm = NORMS[config.norm] if config.qk_norm else None
        D, narrow = config.d_model, config.n_key_heads * config.d_head
        sizes = ((D, D), (D, narrow), (D, narrow), (D, D))
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Parameter(torch.empty(size)) for size in sizes)
        self.add_small_parameters(config)

    def queries_and_keys(self, x: Tensor, rotation: Turn) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> two of (B, H, T, K), normalised and rotated as the configuration says."""
        q, k = split_heads(x @ self.w_q, self.n_heads), split_heads(x @ self.w_k, self.n_key_heads)
        if self.norm is not None:
            q, k = self.norm(q), self.norm(k)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        return q, k

    def forward(self, x: Tensor, rotation: Turn = None, cache: KVCache | None = None, hooks: Hooks = None) -> Tensor:
        x = self.enter(x, cache)
        q, k = self.queries_and_keys(x, rotation)
        v = split_heads(x @ self.w_v, self.n_key_heads)
        q, k, v = (hooked(hooks, name, self.layer, part) for name, part in (("q", q), ("k", k), ("v", v)))
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        k, v = share_heads(k, self.n_heads), share_heads(v, self.n_heads)
        if cache is not None and cache.unseen is not None:
            heads = functional.scaled_dot_product_attention(q, k, v, attn_mask=cache.unseen)
        else:
            heads = self.attend(q, k, v, hooks)
        return merge_heads(hooked(hooks, "heads", self.layer, heads)) @ self.w_o

    def attend(self, q: Tensor, k: Tensor, v: Tensor, hooks: Hooks) -> Tensor:
        """What each head brings: fused, or step by step where a hook wants to see the steps."""
        if hooks is None or not hooks.keys() & {"scores", "weights"}:
            return attention(q, k, v) if self.causal else attention(q, k, v, causal=False)
        scores = hooked(hooks, "scores", self.layer, attention_scores(q, k, self.causal))
        return hooked(hooks, "weights", self.layer, scores.softmax(dim=-1)) @ v


class MLP(Branch):
    """activation(x @ w_up) @ w_down, or SwiGLU: (silu(x @ w_gate) ⊙ (x @ w_up)) @ w_down (Shazeer 2020, eq. 6)."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.activation = layer, ACTIVATIONS[config.activation]
        gated = config.activation == "swiglu"
        self.w_up = nn.Parameter(torch.empty(config.d_model, config.d_ff))
        self.w_gate = nn.Parameter(torch.empty(config.d_model, config.d_ff)) if gated else None
        self.w_down = nn.Parameter(torch.empty(config.d_ff, config.d_model))
        self.add_small_parameters(config)

    def forward(self, x: Tensor, cache: KVCache | None = None, hooks: Hooks = None) -> Tensor:
        x = self.enter(x, cache)
        if self.w_gate is None:
            inside = self.activation(x @ self.w_up)
        else:
            inside = self.activation(x @ self.w_gate) * (x @ self.w_up)
        return hooked(hooks, "activations", self.layer, inside) @ self.w_down
