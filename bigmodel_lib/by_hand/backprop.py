"""How the model learns, by hand: each layer as `…_forward(...) -> (out, cache)` and `…_backward(dout, cache)`.

`dout` is the loss's gradient with respect to what the layer gave, and the backward turns it into the gradients with
respect to what the layer was given, in the same order and of the same shapes; those of a layer with parameters come as
dx and {name: gradient}. The values are those of `model`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.special import expit

from bigmodel_lib.by_hand import model
from bigmodel_lib.by_hand.model import Mask, Parameters, Rotation, attention_weights, part
from bigmodel_lib.config import ModelConfig

Cache = Any  # what a backward needs to know of its forward
Kept = tuple[ndarray, Cache]  # what a forward gives
Slopes = tuple[ndarray, Parameters]  # dx and {name: gradient}
Pair = tuple[Callable[..., Kept], Callable[..., Slopes]]  # a forward and its backward


def linear_forward(x: ndarray, w: ndarray) -> Kept:
    """y = x W, all tokens of all batches as the rows of one product: (..., n_in) -> (..., n_out)."""
    return (x.reshape(-1, w.shape[0]) @ w).reshape(*x.shape[:-1], w.shape[1]), (x, w)


def linear_backward(dy: ndarray, cache: Cache) -> tuple[ndarray, ndarray]:
    """dx = dy Wᵀ,  dW = xᵀ dy summed over all rows."""
    x, w = cache
    rows = dy.reshape(-1, w.shape[1])
    return (rows @ w.T).reshape(x.shape), x.reshape(-1, w.shape[0]).T @ rows


def embedding_backward(dy: ndarray, cache: Cache) -> ndarray:
    """dtable[v] = Σ of dy over the places where token v stands, as a product with a 1 at each of them (V, B T)."""
    tokens, table = cache
    places = np.arange(len(table))[:, None] == tokens.reshape(-1)
    return places.astype(dy.dtype) @ dy.reshape(-1, table.shape[1])


def norm_forward(x: ndarray, kind: str = "layer") -> Kept:
    """y = (x - mean) / σ over the last axis, σ = sqrt(var + 1e-5); with "rms" the mean counts as 0."""
    centred = x - x.mean(axis=-1, keepdims=True) if kind == "layer" else x
    sigma = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    y = centred / sigma
    return y, (y, sigma, kind)


def norm_backward(dy: ndarray, cache: Cache) -> ndarray:
    """dx = (dy - mean(dy) - y · mean(dy · y)) / σ over the last axis; with "rms" without mean(dy)."""
    y, sigma, kind = cache
    centred = dy - dy.mean(axis=-1, keepdims=True) if kind == "layer" else dy
    return (centred - y * (dy * y).mean(axis=-1, keepdims=True)) / sigma


def normalise_forward(x: ndarray, p: Parameters, config: ModelConfig) -> Kept:
    """`model.normalise` that keeps what its backward needs."""
    y, norm = norm_forward(x, config.norm)
    gain = p["norm_gain"] if config.norm_gain else None
    return y if gain is None else y * gain, (norm, y, gain)


def normalise_backward(dy: ndarray, cache: Cache) -> Slopes:
    """Of a gain g behind the norm, which gave y: dg = Σ of dy ⊙ y over all rows, and g ⊙ dy goes on to the norm."""
    norm, y, gain = cache
    if gain is None:
        return norm_backward(dy, norm), {}
    return norm_backward(dy * gain, norm), {"norm_gain": (dy * y).reshape(-1, len(gain)).sum(axis=0)}


def softmax_backward(dp: ndarray, p: ndarray) -> ndarray:
    """ds_i = p_i (dp_i - Σ_j p_j dp_j): the Jacobian diag(p) - p pᵀ, times dp, without the matrix."""
    return p * (dp - (p * dp).sum(axis=-1, keepdims=True))


def attention_forward(q: ndarray, k: ndarray, v: ndarray, mask: Mask = 0.0) -> Kept:
    """y = A v with A = softmax(q kᵀ / √K + mask). Shapes: (..., T, K) each."""
    weights = attention_weights(q, k, mask)
    return weights @ v, (q, k, v, weights)


def attention_backward(dy: ndarray, cache: Cache) -> tuple[ndarray, ndarray, ndarray]:
    """dv = Aᵀ dy; dS = softmax's backward of dA = dy vᵀ; dq = dS k / √K; dk = dSᵀ q / √K. Masked pairs have dS = 0."""
    q, k, v, weights = cache
    dscores = softmax_backward(dy @ v.swapaxes(-2, -1), weights) / q.shape[-1] ** 0.5
    return dscores @ k, dscores.swapaxes(-2, -1) @ q, weights.swapaxes(-2, -1) @ dy


def rotate_backward(dy: ndarray, cache: Cache) -> ndarray:
    """dx = dy turned back: a rotation's transpose is its inverse. Shapes: dy (..., T, K), tables (T, K)."""
    cosine, sine = cache
    return model.rotate(dy, cosine, -sine)


def relu_squared_forward(x: ndarray) -> Kept:
    """y = max(x, 0)²."""
    positive = np.maximum(x, 0)
    return positive * positive, positive


def relu_squared_backward(dy: ndarray, positive: ndarray) -> ndarray:
    """dx = 2 max(x, 0) dy."""
    return 2 * positive * dy


def gelu_forward(x: ndarray) -> Kept:
    """y = x Φ(x)."""
    below, density = model.normal_cdf(x), np.exp(-x * x / 2) / (2 * math.pi) ** 0.5
    return x * below, (x, below, density)


def gelu_backward(dy: ndarray, cache: Cache) -> ndarray:
    """dx = (Φ(x) + x φ(x)) dy, φ(x) = exp(-x²/2)/√(2π) being Φ's derivative."""
    x, below, density = cache
    return (below + x * density) * dy


ACTIVATIONS = {"relu_squared": (relu_squared_forward, relu_squared_backward), "gelu": (gelu_forward, gelu_backward)}


def swiglu_forward(x: ndarray, p: Parameters) -> Kept:
    """h = g σ(g) ⊙ (x W_up), g = x W_gate. Shapes: x (..., D), p holds w_gate and w_up (D, F) -> (..., F)."""
    up, w_up = linear_forward(x, p["w_up"])
    gate, w_gate = linear_forward(x, p["w_gate"])
    share = expit(gate)
    return gate * share * up, (w_up, w_gate, up, gate, share)


def swiglu_backward(dh: ndarray, cache: Cache) -> Slopes:
    """dup = dh ⊙ g σ(g);  dg = (σ + g σ (1 - σ)) ⊙ dh ⊙ up; x went in twice, so two gradients add up."""
    w_up, w_gate, up, gate, share = cache
    dx_up, dw_up = linear_backward(dh * gate * share, w_up)
    dx_gate, dw_gate = linear_backward(share * (1 + gate * (1 - share)) * dh * up, w_gate)
    return dx_up + dx_gate, {"w_up": dw_up, "w_gate": dw_gate}


def repeat_heads_backward(dy: ndarray, shape: tuple[int, ...]) -> ndarray:
    """A head served several queries, so their gradients add up: (..., H, T, K) -> shape, (..., H_kv, T, K)."""
    *rest, n_key_heads, T, K = shape
    return dy.reshape(*rest, n_key_heads, -1, T, K).sum(axis=-3)


def shift_tokens_backward(dy: ndarray, cache: Cache) -> tuple[ndarray, ndarray]:
    """dx_t = dy_t + s ⊙ dy_(t+1);  ds = Σ over batch and t of dy_t ⊙ x_(t-1). Shapes: (B, T, D), strength (D,)."""
    x, strength = cache
    dx = dy.copy()
    dx[:, :-1] += strength * dy[:, 1:]
    return dx, (dy[:, 1:] * x[:, :-1]).sum(axis=(0, 1))


def cross_entropy_forward(logits: ndarray, targets: ndarray) -> tuple[float, Cache]:
    """Mean of -ln softmax(logits)[target] over the targets that are not -1."""
    scores = logits - logits.max(axis=-1, keepdims=True)
    powers = np.exp(scores)
    sums = powers.sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(scores, np.maximum(targets, 0)[..., None], axis=-1)
    return (np.log(sums) - chosen)[targets >= 0].mean(), (powers / sums, targets)


def cross_entropy_backward(dloss: float, cache: Cache) -> ndarray:
    """dlogits = (p - 1 at the target) / how many count, 0 where none does; times dloss."""
    p, targets = cache
    counted = targets >= 0
    dlogits = p * (counted[..., None] / counted.sum()).astype(p.dtype)
    place = np.nonzero(counted)
    dlogits[*place, targets[place]] -= 1 / counted.sum()
    return dlogits * dloss


def attention_layer_forward(
    x: ndarray, p: Parameters, config: ModelConfig, rotation: Rotation = None, mask: Mask = 0.0
) -> Kept:
    """`model.attention_layer` that keeps what its backward needs."""
    caches: dict[str, Cache] = {}
    if config.token_shift:
        x, caches["shift"] = model.shift_tokens(x, p["shift"]), (x, p["shift"])
    heads = {}
    for letter in "qkv":
        h, caches[f"w_{letter}"] = linear_forward(x, p[f"w_{letter}"])
        h = model.split_heads(h, config.n_heads if letter == "q" else config.n_key_heads)
        if letter != "v" and config.qk_norm:
            h, caches[f"norm_{letter}"] = norm_forward(h, config.norm)
        if letter != "v" and rotation is not None:
            h, caches[f"turn_{letter}"] = model.rotate(h, *rotation), rotation
        if letter != "q" and config.n_key_heads < config.n_heads:
            caches[f"repeat_{letter}"] = h.shape
            h = model.repeat_heads(h, config.n_heads)
        heads[letter] = h
    y, caches["attention"] = attention_forward(**heads, mask=mask)
    y, caches["w_o"] = linear_forward(model.merge_heads(y), p["w_o"])
    return y, caches


def attention_layer_backward(dy: ndarray, caches: Cache) -> Slopes:
    """The same road back: dx and {name: gradient}."""
    gradients = {}
    dy, gradients["w_o"] = linear_backward(dy, caches["w_o"])
    n_heads = caches["attention"][0].shape[-3]
    dx = np.zeros_like(caches["w_q"][0])
    for letter, dh in zip("qkv", attention_backward(model.split_heads(dy, n_heads), caches["attention"]), strict=True):
        if f"repeat_{letter}" in caches:
            dh = repeat_heads_backward(dh, caches[f"repeat_{letter}"])
        if f"turn_{letter}" in caches:
            dh = rotate_backward(dh, caches[f"turn_{letter}"])
        if f"norm_{letter}" in caches:
            dh = norm_backward(dh, caches[f"norm_{letter}"])
        dh, gradients[f"w_{letter}"] = linear_backward(model.merge_heads(dh), caches[f"w_{letter}"])
        dx += dh
    if "shift" in caches:
        dx, gradients["shift"] = shift_tokens_backward(dx, caches["shift"])
    return dx, gradients


def mlp_forward(x: ndarray, p: Parameters, config: ModelConfig) -> Kept:
    """`model.mlp` that keeps what its backward needs."""
    caches: dict[str, Cache] = {"activation_name": config.activation}
    if config.token_shift:
        x, caches["shift"] = model.shift_tokens(x, p["shift"]), (x, p["shift"])
    if config.activation == "swiglu":
        h, caches["swiglu"] = swiglu_forward(x, p)
    else:
        h, caches["w_up"] = linear_forward(x, p["w_up"])
        h, caches["activation"] = ACTIVATIONS[config.activation][0](h)
    y, caches["w_down"] = linear_forward(h, p["w_down"])
    return y, caches


def mlp_backward(dy: ndarray, caches: Cache) -> Slopes:
    """The same road back: dx and {name: gradient}."""
    gradients = {}
    dh, gradients["w_down"] = linear_backward(dy, caches["w_down"])
    if "swiglu" in caches:
        dx, inside = swiglu_backward(dh, caches["swiglu"])
        gradients |= inside
    else:
        dh = ACTIVATIONS[caches["activation_name"]][1](dh, caches["activation"])
        dx, gradients["w_up"] = linear_backward(dh, caches["w_up"])
    if "shift" in caches:
        dx, gradients["shift"] = shift_tokens_backward(dx, caches["shift"])
    return dx, gradients


def block_forward(x: ndarray, p: Parameters, config: ModelConfig, rotation: Rotation, mask: Mask) -> Kept:
    """x + attention(norm(x)), then x + mlp(norm(x))."""
    weights = part(p, "attention.")
    y, norm_1 = normalise_forward(x, weights, config)
    y, attention = attention_layer_forward(y, weights, config, rotation, mask)
    x = x + y
    weights = part(p, "mlp.")
    y, norm_2 = normalise_forward(x, weights, config)
    y, mlp = mlp_forward(y, weights, config)
    return x + y, (norm_1, attention, norm_2, mlp)


def block_backward(dy: ndarray, cache: Cache) -> Slopes:
    """Through a sum x + f(x) the gradient goes twice: as it is, and back through f."""
    norm_1, attention, norm_2, mlp = cache
    dbranch, dmlp = mlp_backward(dy, mlp)
    dbranch, dgain_2 = normalise_backward(dbranch, norm_2)
    dx = dy + dbranch
    dbranch, dattention = attention_layer_backward(dx, attention)
    dbranch, dgain_1 = normalise_backward(dbranch, norm_1)
    gradients = {f"attention.{name}": dw for name, dw in (dattention | dgain_1).items()}
    gradients |= {f"mlp.{name}": dw for name, dw in (dmlp | dgain_2).items()}
    return dx + dbranch, gradients


BLOCK: Pair = (block_forward, block_backward)


def language_model_forward(tokens: ndarray, parameters: Parameters, config: ModelConfig, block: Pair = BLOCK) -> Kept:
    """`model.language_model` that keeps what its backward needs; block may be another pair than the standard one."""
    x = model.embed(tokens, parameters, config)
    T = tokens.shape[-1]
    mask = model.causal_mask(T).astype(x.dtype) if config.causal else 0.0
    tables = [table.astype(x.dtype) for table in model.rope_tables(T, config.d_head, config.rope_base)]
    rotation = tables if config.positions == "rope" else None
    forward, backward = block
    blocks = []
    for i in range(config.n_layers):
        x, cache = forward(x, part(parameters, f"blocks.{i}."), config, rotation, mask)
        blocks.append(cache)
    x, norm = normalise_forward(x, parameters, config)
    w_out = parameters["token_embedding"].T if config.tied else parameters["w_out"]
    logits, out = linear_forward(x, w_out)
    return logits, ((tokens, parameters["token_embedding"]), backward, blocks, norm, out, list(parameters), config)


def language_model_backward(dlogits: ndarray, cache: Cache) -> Parameters:
    """The whole road back: {name: gradient} in the parameters' order."""
    embedding, backward, blocks, norm, out, names, config = cache
    dx, dw_out = linear_backward(dlogits, out)
    dx, gradients = normalise_backward(dx, norm)
    for i in reversed(range(config.n_layers)):
        dx, inside = backward(dx, blocks[i])
        gradients |= {f"blocks.{i}.{name}": dw for name, dw in inside.items()}
    gradients["token_embedding"] = embedding_backward(dx, embedding)
    if config.tied:
        gradients["token_embedding"] += dw_out.T
    else:
        gradients["w_out"] = dw_out
    if config.positions == "learned":
        gradients["position_embedding"] = np.zeros((config.context_length, config.d_model), dx.dtype)
        gradients["position_embedding"][: dx.shape[1]] = dx.sum(axis=0)
    return {name: gradients[name] for name in names}


def loss_and_gradients(
    tokens: ndarray, targets: ndarray, parameters: Parameters, config: ModelConfig, block: Pair = BLOCK
) -> tuple[float, Parameters]:
    """The loss of a batch in nats per token, and {name: gradient} of it. Shapes: tokens and targets (B, T)."""
    logits, cache = language_model_forward(tokens, parameters, config, block)
    loss, output = cross_entropy_forward(logits, targets)
    return loss, language_model_backward(cross_entropy_backward(1.0, output), cache)


def numerical_gradient(function: Callable[[], float], x: ndarray, h: float = 1e-5) -> ndarray:
    """∂function()/∂x by central differences, number by number: (f(x + h) - f(x - h)) / 2h; x is put back."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        kept = x[place]
        x[place] = kept + h
        above = function()
        x[place] = kept - h
        gradient[place] = (above - function()) / (2 * h)
        x[place] = kept
    return gradient


def relative_error(given: ndarray, wanted: ndarray) -> float:
    """‖g - ĝ‖ / (‖g‖ + ‖ĝ‖): 0 if equal, or both 0 but for rounding; 1 if opposite, or one is 0."""
    scale = np.linalg.norm(given) + np.linalg.norm(wanted)
    return float(np.linalg.norm(given - wanted) / scale) if scale > 1e-12 else 0.0
