"""The decoder in PyTorch: short functions first, then the four modules that use them.

Rows are tokens: every linear map is `x @ W` with W of shape (in, out). Shapes use B (batch), T (tokens), D (d_model),
H (heads), K (width of a head), F (d_ff), V (vocabulary).
"""

import math

import torch
from torch import nn
from torch.nn import functional

from bigmodel_lib.config import CourseError, ModelConfig
from bigmodel_lib.devices import evaluating

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


def partial_softmax(q, k, v, hidden=None):
    """What a block of keys alone says: (m, s, y) = (max score, Σ e^(score - m), Σ e^(score - m) v) for each query.

    y / s is the attention over this block. hidden: True where a query must not look; it must see one key at least.
    Shapes: q (..., n, K), k and v (..., b, K), hidden (n, b) -> (..., n, 1), (..., n, 1), (..., n, K).
    Taught in 05_pytorch_gpu.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    highest = scores.amax(dim=-1, keepdim=True)
    powers = (scores - highest).exp()
    return highest, powers.sum(dim=-1, keepdim=True), powers @ v


def merge_softmax(first, second):
    """Two partial softmaxes over different keys as one: each (m, s, y) is brought to the common maximum, then added.

    m = max(m₁, m₂);  s = s₁ e^(m₁-m) + s₂ e^(m₂-m);  y = y₁ e^(m₁-m) + y₂ e^(m₂-m).
    Source: Milakov & Gimelshein 2018, section 3.1; Rabe & Staats 2021. Built by the reader in 05_pytorch_gpu.
    """
    (m1, s1, y1), (m2, s2, y2) = first, second
    highest = torch.maximum(m1, m2)
    share1, share2 = (m1 - highest).exp(), (m2 - highest).exp()
    return highest, share1 * s1 + share2 * s2, share1 * y1 + share2 * y2


def streaming_forward(q, k, v, block_size, merge=merge_softmax):
    """Causal attention over blocks of keys, with no more than block_size² weights of a head in memory at once.

    Shapes: q, k, v (..., T, K) -> out (..., T, K) and log Σ e^score (..., T, 1), all that the way back needs.
    Source: Dao et al. 2022 (FlashAttention), algorithm 1. Taught in 05_pytorch_gpu.
    """
    out, log_sums = torch.empty_like(v), torch.empty_like(v[..., :1])
    future = torch.ones(block_size, block_size, dtype=torch.bool, device=q.device).triu(1)
    blocks = [slice(start, start + block_size) for start in range(0, q.shape[-2], block_size)]
    for i, rows in enumerate(blocks):
        n = q[..., rows, :].shape[-2]
        state = partial_softmax(q[..., rows, :], k[..., rows, :], v[..., rows, :], future[:n, :n])
        for keys in blocks[:i]:
            state = merge(state, partial_softmax(q[..., rows, :], k[..., keys, :], v[..., keys, :]))
        highest, total, weighted = state
        out[..., rows, :] = weighted / total
        log_sums[..., rows, :] = highest + total.log()
    return out, log_sums


def streaming_backward(dout, q, k, v, out, log_sums, block_size):
    """The gradients of q, k and v; each block of weights is computed again as e^(score - log Σ e^score).

    dS = A ⊙ (dout vᵀ - Σ dout ⊙ out) / √K, since Σ_j A_ij dA_ij = dout_i · out_i.
    Source: Dao et al. 2022, algorithm 4. Taught in 05_pytorch_gpu.
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
    def forward(ctx, q, k, v, block_size):
        out, log_sums = streaming_forward(q, k, v, block_size)
        ctx.save_for_backward(q, k, v, out, log_sums)
        ctx.block_size = block_size
        return out

    @staticmethod
    def backward(ctx, dout):
        return *streaming_backward(dout, *ctx.saved_tensors, ctx.block_size), None


def attention_streaming(q, k, v, block_size=128):
    """`attention_plain` in blocks, forward and back: memory grows with T, not T². Shapes: (..., T, K) -> (..., T, K).

    Source: Dao et al. 2022, here without its fast kernel."""
    return _Streaming.apply(q, k, v, block_size)


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


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): each branch adds to the stream. Taught in 05_pytorch_gpu."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention, self.mlp = Attention(config), MLP(config)
        self.dropout = nn.Dropout(config.dropout)  # while training, and 0 unless asked for

    def forward(self, x, rotation):
        x = x + self.dropout(self.attention(layer_norm(x), rotation))
        return x + self.dropout(self.mlp(layer_norm(x)))


class LanguageModel(nn.Module):
    """tokens (B, T) -> logits (B, T, V): what should follow each token, given it and those before it.

    With causal False an encoder instead: what should stand at each place, given all places (Devlin et al. 2019).
    Its parameters are uninitialised until `initialise` or `load_state_dict`. Raises CourseError for too many tokens."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        V, D = config.vocab_size, config.d_model
        self.token_embedding = nn.Parameter(torch.empty(V, D))
        self.position_embedding = (
            nn.Parameter(torch.empty(config.context_length, D)) if config.positions == "learned" else None
        )
        rows = (config.ngrams - 1) * NGRAM_ROWS, D
        self.ngram_embedding = nn.Parameter(torch.empty(rows)) if config.ngrams > 1 else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.w_out = None if config.tied else nn.Parameter(torch.empty(D, V))
        cosine, sine = rope_tables(config.context_length, config.d_head, config.rope_base)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def rotation(self, T):
        """RoPE's two tables (T, K), or None where positions are learned or absent."""
        return (self.cosine[:T], self.sine[:T]) if self.config.positions == "rope" else None

    def embed(self, tokens):
        """(B, T) -> (B, T, D): each token's row of the embedding, plus its position's and its runs' where there are."""
        T = tokens.shape[1]
        if T > self.config.context_length:
            raise CourseError(
                f"{T} tokens do not fit a context of {self.config.context_length}: give the last ones only"
            )
        x = functional.embedding(tokens, self.token_embedding)
        if self.ngram_embedding is not None:
            rows = ngram_rows(tokens, self.config.vocab_size, self.config.ngrams)
            kept = functional.dropout(x.new_ones(rows.shape), NGRAM_DROPOUT, self.training)
            x = x + (kept[..., None] * functional.embedding(rows, self.ngram_embedding)).sum(dim=0)
        return x if self.position_embedding is None else x + self.position_embedding[:T]

    def states(self, tokens):
        """(B, T) -> (B, T, D): the stream after the last block, normalised, which the output matrix reads."""
        x, rotation = self.embed(tokens), self.rotation(tokens.shape[1])
        for block in self.blocks:
            x = block(x, rotation)
        return layer_norm(x)

    def forward(self, tokens):
        return self.states(tokens) @ (self.token_embedding.T if self.w_out is None else self.w_out)

    @torch.no_grad()
    def attention_maps(self, tokens):
        """The weights of every layer and head for tokens (B, T), as (n_layers, B, H, T, T); nothing is left out."""
        with evaluating(self):
            x, rotation, maps = self.embed(tokens), self.rotation(tokens.shape[1]), []
            for block in self.blocks:
                y, layer = layer_norm(x), block.attention
                y = y if layer.shift is None else shift_tokens(y, layer.shift)
                maps.append(attention_weights(*layer.queries_and_keys(y, rotation), layer.causal))
                x = block(x, rotation)
        return torch.stack(maps)


class ValueResiduals(LanguageModel):
    """A decoder whose blocks can also look at the first block's values: v ← v + λ v₁, with λ learned, from 0.

    Without dropout or tying. Source: Zhou et al. 2024, here added, not mixed. Taught in 06_pretraining."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.value_shares = nn.Parameter(torch.empty(config.n_layers))

    def forward(self, tokens):
        x, rotation, first = self.embed(tokens), self.rotation(tokens.shape[1]), 0.0
        for block, share in zip(self.blocks, self.value_shares, strict=True):
            layer, y = block.attention, layer_norm(x)
            y = y if layer.shift is None else shift_tokens(y, layer.shift)
            v = split_heads(y @ layer.w_v, layer.n_heads) + share * first
            first = v if block is self.blocks[0] else first
            x = x + merge_heads(attention(*layer.queries_and_keys(y, rotation), v)) @ layer.w_o
            x = x + block.mlp(layer_norm(x))
        return layer_norm(x) @ self.w_out


@torch.no_grad()
def initialise(model: LanguageModel, generator=None) -> LanguageModel:
    """Fill the parameters from a generator and return the model.

    init "zero": matrices uniform with standard deviation 0.5/√in, embedding normal with 0.5, and zero for what
    a branch or the model ends in (w_o, w_down, w_out), for shifts and n-grams: the first logits are all equal.
    init "gpt2": normal with 0.02, and 0.02/√(2·n_layers) for w_o and w_down (Radford et al. 2019, section 2.3)."""
    config = model.config
    zero = ["shift", "ngram_embedding", "value_shares", *(("w_o", "w_down", "w_out") if config.init == "zero" else ())]
    for name, parameter in model.named_parameters():
        last = name.split(".")[-1]
        if last in zero:
            parameter.zero_()
        elif config.init == "gpt2":
            deep = last in ("w_o", "w_down")
            parameter.normal_(0.0, 0.02 / math.sqrt(2 * config.n_layers) if deep else 0.02, generator=generator)
        elif last.endswith("embedding"):
            parameter.normal_(0.0, 0.5, generator=generator)
        else:
            bound = math.sqrt(3) * 0.5 / math.sqrt(parameter.shape[0])
            parameter.uniform_(-bound, bound, generator=generator)
    return model


def count_parameters(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())
