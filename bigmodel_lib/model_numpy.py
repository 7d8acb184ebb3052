"""The model by hand, in NumPy. Rows are tokens; leading axes (batch, heads) come along everywhere.

Shapes: T (tokens), D (d_model), H (heads), K (width of a head, d_k in papers).
"""

import numpy as np


def entropy(weights):
    """How undecided weights are: H(p) = -Σ p ln p, in nats, from 0 to ln T; 0 ln 0 counts as 0.

    Shapes: (..., T) -> (...). Source: Shannon 1948, section 6. Taught in 01_attention_formula.
    """
    logs = np.log(np.where(weights > 0, weights, 1.0))
    return -(weights * logs).sum(axis=-1)


def softmax(scores):
    """Positive weights that sum to 1: p_i = exp(s_i) / Σ_j exp(s_j) over the last axis.

    The largest score is subtracted first, which changes nothing but keeps exp from overflowing. A score of -∞ gets
    weight 0. Shapes: (..., T) -> (..., T). Built by the reader in 01_attention_formula.
    """
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def softmax_jacobian(weights):
    """How softmax's weights answer to the scores: ∂p_i/∂s_j = p_i (δ_ij - p_j).

    Shapes: (T,) -> (T, T). Taught in 01_attention_formula.
    """
    return np.diag(weights) - np.outer(weights, weights)


def causal_mask(n_tokens):
    """0 where a token may look, at itself and before, and -∞ above the diagonal. Shape (T, T).

    Source: Vaswani et al. 2017, section 3.2.3. Taught in 01_attention_formula.
    """
    return np.triu(np.full((n_tokens, n_tokens), -np.inf), k=1)


def attention_weights(q, k, mask=0.0):
    """How much each token looks at each token: softmax(q kᵀ / √K + mask).

    Shapes: q and k (..., T, K), mask (T, T) -> (..., T, T), each row sums to 1. Source: Vaswani et al. 2017, eq. 1.
    Taught in 01_attention_formula.
    """
    scores = q @ k.swapaxes(-2, -1) / np.sqrt(q.shape[-1])
    return softmax(scores + mask)


def attention(q, k, v, mask=0.0):
    """Each token's weighted average of all values: softmax(q kᵀ / √K + mask) v.

    Shapes: q and k (..., T, K), v (..., T, K') -> (..., T, K'). Source: Vaswani et al. 2017, eq. 1.
    Taught in 01_attention_formula.
    """
    return attention_weights(q, k, mask) @ v


def split_heads(x, n_heads):
    """(T, D) -> (H, T, K): the columns in H blocks of K = D / H. Taught in 01_attention_formula.

    Raises ValueError if D is not a multiple of H.
    """
    return x.reshape(*x.shape[:-1], n_heads, -1).swapaxes(-3, -2)


def merge_heads(x):
    """(H, T, K) -> (T, D), undoing `split_heads`. Taught in 01_attention_formula."""
    x = x.swapaxes(-3, -2)
    return x.reshape(*x.shape[:-2], -1)


def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask=0.0):
    """H attentions side by side, each in its own K columns: concat(head_1 … head_H) W_o.

    head_h = attention(x W_q, x W_k, x W_v) in block h of the columns.
    Shapes: x (T, D), w_q, w_k, w_v, w_o (D, D) -> (T, D). Source: Vaswani et al. 2017, section 3.2.2.
    Taught in 01_attention_formula.
    """
    q, k, v = (split_heads(x @ w, n_heads) for w in (w_q, w_k, w_v))
    return merge_heads(attention(q, k, v, mask)) @ w_o


def sinusoidal_positions(n_tokens, d_model):
    """A fixed vector for each position, from slow and fast waves: sin(t ω_i) and cos(t ω_i), ω_i = 10000^(-2i/D).

    Shape (T, D), D even: sines in the even columns. Source: Vaswani et al. 2017, section 3.5.
    Taught in 01_attention_formula.
    """
    rates = 10000.0 ** (-np.arange(0, d_model, 2) / d_model)
    angles = np.arange(n_tokens)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(n_tokens, d_model)


def rope_tables(n_tokens, d_head, base=10000.0):
    """cos and sin of every position's angles, laid out for `rotate`.

    angle(t, i) = t · base^(-2i/K) for i < K/2; the sine's first half is negated. Shapes: two of (T, K), K even.
    Source: Su et al. 2021 (RoFormer), eq. 15, in halves rather than neighbours. Taught in 01_attention_formula.
    """
    angles = np.arange(n_tokens)[:, None] * base ** (-np.arange(0, d_head, 2) / d_head)
    sine = np.sin(angles)
    return np.concatenate([np.cos(angles)] * 2, axis=-1), np.concatenate([-sine, sine], axis=-1)


def rotate(x, cosine, sine):
    """Turn the pair (x_i, x_(i+K/2)) of each token by its position's angle.

    y_i = x_i cos - x_(i+K/2) sin,  y_(i+K/2) = x_(i+K/2) cos + x_i sin. Shapes: x (..., T, K), tables (T, K) -> as x.
    Source: Su et al. 2021. Taught in 01_attention_formula.
    """
    return x * cosine + np.roll(x, x.shape[-1] // 2, axis=-1) * sine
