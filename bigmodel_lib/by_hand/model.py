"""The model by hand, in NumPy: what `bigmodel_lib.model` has in PyTorch, with the same names in the same order.

Rows are tokens; leading axes (batch, heads) come along everywhere. A model's parameters are one flat dictionary
{"blocks.0.attention.w_q": array, …}. Shapes: B (batch), T (tokens), D (d_model), H (heads), K (width of a head, d_k in
papers), F (d_ff), V (vocabulary). How each part learns is shown in `backprop`.
"""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from scipy.special import erf, expit

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError

Parameters = dict[str, ndarray]
Mask = ndarray | float  # added to the scores: 0 where a token may look, -∞ where not
Rotation = Sequence[ndarray] | None  # `rope_tables`' pair, where positions are rotated


def softmax(scores: ndarray) -> ndarray:
    """Positive weights that sum to 1: p_i = exp(s_i) / Σ_j exp(s_j) over the last axis. Shapes: (..., T) each."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))  # the same weights, and exp never overflows
    return powers / powers.sum(axis=-1, keepdims=True)


def causal_mask(n_tokens: int) -> ndarray:
    """0 where a token may look, at itself and before, and -∞ above the diagonal. Shape (T, T)."""
    return np.triu(np.full((n_tokens, n_tokens), -np.inf), k=1)


def attention_weights(q: ndarray, k: ndarray, mask: Mask = 0.0) -> ndarray:
    """How much each token looks at each token, softmax(q kᵀ / √K + mask): two of (..., T, K) -> (..., T, T)."""
    scores = q @ k.swapaxes(-2, -1) / q.shape[-1] ** 0.5
    return softmax(scores + mask)


def attention(q: ndarray, k: ndarray, v: ndarray, mask: Mask = 0.0) -> ndarray:
    """Each token's weighted average of all values, softmax(q kᵀ / √K + mask) v. Source: Vaswani et al. 2017, eq. 1."""
    return attention_weights(q, k, mask) @ v


def split_heads(x: ndarray, n_heads: int) -> ndarray:
    """(T, D) -> (H, T, K): the columns in H blocks of K = D / H. Raises ValueError if D is not a multiple of H."""
    return x.reshape(*x.shape[:-1], n_heads, -1).swapaxes(-3, -2)


def repeat_heads(x: ndarray, n_heads: int) -> ndarray:
    """Heads of keys or values for grouped queries (Ainslie et al. 2023): (..., H_kv, T, K) -> (..., H, T, K)."""
    return np.repeat(x, n_heads // x.shape[-3], axis=-3)


def merge_heads(x: ndarray) -> ndarray:
    """(H, T, K) -> (T, D), undoing `split_heads`."""
    x = x.swapaxes(-3, -2)
    return x.reshape(*x.shape[:-2], -1)


def rope_tables(n_tokens: int, d_head: int, base: float = 10000.0) -> tuple[ndarray, ndarray]:
    """cos and sin of every position's angles, laid out for `rotate`.

    angle(t, i) = t · base^(-2i/K) for i < K/2; the sine's first half is negated. Shapes: two of (T, K), K even.
    Source: Su et al. 2021 (RoFormer), eq. 15, in halves rather than neighbours.
    """
    angles = np.arange(n_tokens)[:, None] * base ** (-np.arange(0, d_head, 2) / d_head)
    sine = np.sin(angles)
    return np.concatenate([np.cos(angles)] * 2, axis=-1), np.concatenate([-sine, sine], axis=-1)


def rotate(x: ndarray, cosine: ndarray, sine: ndarray) -> ndarray:
    """Turn the pair (x_i, x_(i+K/2)) of each token by its position's angle. Shapes: x (..., T, K), tables (T, K)."""
    return x * cosine + np.roll(x, x.shape[-1] // 2, axis=-1) * sine


def layer_norm(x: ndarray) -> ndarray:
    """y = (x - mean(x)) / sqrt(var(x) + 1e-5) of each token's vector. Source: Ba, Kiros & Hinton 2016, eq. 4."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)


def rms_norm(x: ndarray) -> ndarray:
    """y = x / sqrt(mean(x²) + 1e-5) of each token's vector. Source: Zhang & Sennrich 2019, eq. 4."""
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)


NORMS = {"layer": layer_norm, "rms": rms_norm}


def normalise(x: ndarray, p: Parameters, config: ModelConfig) -> ndarray:
    """The configured norm of each token's vector, times p's norm_gain (D,), if config.norm_gain: (..., D) each."""
    y = NORMS[config.norm](x)
    return y * p["norm_gain"] if config.norm_gain else y


def relu_squared(x: ndarray) -> ndarray:
    """max(x, 0)², elementwise. Source: So et al. 2021 ("Primer"), section 4."""
    positive = np.maximum(x, 0)
    return positive * positive


def normal_cdf(x: ndarray) -> ndarray:
    """Φ(x) = (1 + erf(x/√2))/2: the share of a normal variable's values below x."""
    return (1 + erf(x / 2**0.5)) / 2


def gelu(x: ndarray) -> ndarray:
    """x·Φ(x), with Φ the normal distribution function. Source: Hendrycks & Gimpel 2016, section 2."""
    return x * normal_cdf(x)


def silu(x: ndarray) -> ndarray:
    """x·σ(x), with σ(x) = 1 / (1 + exp(-x)). Source: Hendrycks & Gimpel 2016, section 2."""
    return x * expit(x)


ACTIVATIONS = {"relu_squared": relu_squared, "gelu": gelu}


def shift_tokens(x: ndarray, strength: ndarray) -> ndarray:
    """y_t = x_t + s ⊙ x_(t-1), with x_(-1) = 0: (..., T, D), strength s (D,). Source: Peng et al. 2023, section 3.1."""
    y = x.copy()
    y[..., 1:, :] += strength * x[..., :-1, :]
    return y


def cross_entropy(logits: ndarray, targets: ndarray) -> float:
    """Mean of -ln softmax(logits)[target] over the targets that are not -1, in nats: (..., T, V), (..., T) -> ()."""
    counted = targets >= 0
    rows = logits[counted]
    rows = rows - rows.max(axis=-1, keepdims=True)
    log_probabilities = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return -log_probabilities[np.arange(len(rows)), targets[counted]].mean()


def attention_layer(
    x: ndarray, p: Parameters, config: ModelConfig, rotation: Rotation = None, mask: Mask = 0.0
) -> ndarray:
    """Multi-head self-attention with its three projections in and one out, normalised and rotated as configured.

    p holds w_q and w_o (D, D), w_k and w_v (D, H_kv K), and shift (D,) with config.token_shift.
    Shapes: x (B, T, D) -> (B, T, D). Source: Vaswani et al. 2017, section 3.2.2.
    """
    if config.token_shift:
        x = shift_tokens(x, p["shift"])
    q = split_heads(x @ p["w_q"], config.n_heads)
    k, v = (split_heads(x @ p[name], config.n_key_heads) for name in ("w_k", "w_v"))
    if config.qk_norm:
        q, k = NORMS[config.norm](q), NORMS[config.norm](k)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    k, v = repeat_heads(k, config.n_heads), repeat_heads(v, config.n_heads)
    return merge_heads(attention(q, k, v, mask)) @ p["w_o"]


def mlp(x: ndarray, p: Parameters, config: ModelConfig) -> ndarray:
    """activation(x W_up) W_down, each token for itself; with "swiglu" (silu(x W_gate) ⊙ x W_up) W_down.

    p holds w_up and, with "swiglu", w_gate (D, F), w_down (F, D), and shift (D,) with config.token_shift.
    Shapes: (B, T, D) -> (B, T, D). Source: Vaswani et al. 2017, eq. 2, and Shazeer 2020, without biases.
    """
    if config.token_shift:
        x = shift_tokens(x, p["shift"])
    if config.activation == "swiglu":
        return (silu(x @ p["w_gate"]) * (x @ p["w_up"])) @ p["w_down"]
    return ACTIVATIONS[config.activation](x @ p["w_up"]) @ p["w_down"]


def part(parameters: Parameters, prefix: str) -> Parameters:
    """The entries whose names start with the prefix, without it."""
    return {name.removeprefix(prefix): w for name, w in parameters.items() if name.startswith(prefix)}


def block(x: ndarray, p: Parameters, config: ModelConfig, rotation: Rotation = None, mask: Mask = 0.0) -> ndarray:
    """x + attention(norm(x)), then x + mlp(norm(x)), (B, T, D) each. Source: Xiong et al. 2020, figure 1b."""
    weights = part(p, "attention.")
    x = x + attention_layer(normalise(x, weights, config), weights, config, rotation, mask)
    weights = part(p, "mlp.")
    return x + mlp(normalise(x, weights, config), weights, config)


def embed(tokens: ndarray, parameters: Parameters, config: ModelConfig) -> ndarray:
    """Each token's row of the embedding, plus its position's where positions are learned: (B, T) -> (B, T, D)."""
    T = tokens.shape[-1]
    if T > config.context_length:
        raise CourseError(f"{T} tokens do not fit a context of {config.context_length}: give the last ones only")
    x = parameters["token_embedding"][tokens]
    return x + parameters["position_embedding"][:T] if config.positions == "learned" else x


def language_model(tokens: ndarray, parameters: Parameters, config: ModelConfig, mask: Mask | None = None) -> ndarray:
    """tokens (B, T) -> logits (B, T, V) of what follows; mask: causal if not given, 0.0 lets each token see all."""
    x = embed(tokens, parameters, config)
    T = tokens.shape[-1]
    if mask is None:
        mask = causal_mask(T).astype(x.dtype) if config.causal else 0.0
    tables = [table.astype(x.dtype) for table in rope_tables(T, config.d_head, config.rope_base)]
    rotation = tables if config.positions == "rope" else None
    for i in range(config.n_layers):
        x = block(x, part(parameters, f"blocks.{i}."), config, rotation, mask)
    w_out = parameters["token_embedding"].T if config.tied else parameters["w_out"]
    return normalise(x, parameters, config) @ w_out


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """{name: shape} of all that the model learns, in the twin's order."""
    V, D, F, D_kv = config.vocab_size, config.d_model, config.d_ff, config.n_key_heads * config.d_head
    gain: dict[str, tuple[int, ...]] = {"norm_gain": (D,)} if config.norm_gain else {}
    vectors = ({"shift": (D,)} if config.token_shift else {}) | gain
    gate = {"w_gate": (D, F)} if config.activation == "swiglu" else {}
    attention = {"w_q": (D, D), "w_k": (D, D_kv), "w_v": (D, D_kv), "w_o": (D, D)} | vectors
    mlp = {"w_up": (D, F)} | gate | {"w_down": (F, D)} | vectors
    shapes: dict[str, tuple[int, ...]] = {"token_embedding": (V, D)}
    if config.positions == "learned":
        shapes["position_embedding"] = (config.context_length, D)
    if not config.tied:
        shapes["w_out"] = (D, V)
    shapes |= gain
    for i in range(config.n_layers):
        shapes |= {f"blocks.{i}.attention.{name}": shape for name, shape in attention.items()}
        shapes |= {f"blocks.{i}.mlp.{name}": shape for name, shape in mlp.items()}
    return shapes


def initialise(config: ModelConfig, rng: np.random.Generator, dtype: np.typing.DTypeLike = np.float32) -> Parameters:
    """First parameters, drawn from `rng`, each as `ModelConfig.start_of` says."""
    parameters = {}
    for name, shape in parameter_shapes(config).items():
        kind, size = config.start_of(name.split(".")[-1], shape)
        if kind == "constant":
            w = np.full(shape, size)
        else:
            w = rng.normal(0.0, size, shape) if kind == "normal" else rng.uniform(-size, size, shape)
        parameters[name] = w.astype(dtype)
    return parameters
