"""How the model learns, by hand: each layer as `…_forward(...) -> (out, cache)` and `…_backward(dout, cache)`.

`dout` is the loss's gradient with respect to what the layer gave, and the backward turns it into the gradients with
respect to what the layer was given, in the same order and of the same shapes. The values are those of `model_numpy`.
"""

import math

import numpy as np

from bigmodel_lib.by_hand.model import (
    attention_weights,
    causal_mask,
    embed,
    merge_heads,
    normal_cdf,
    part,
    rope_tables,
    rotate,
    shift_tokens,
    softmax,
    split_heads,
)
from bigmodel_lib.config import ModelConfig


def linear_forward(x, w):
    """y = x W, all tokens of all batches as the rows of one product.

    Shapes: x (..., n_in), w (n_in, n_out) -> (..., n_out). Taught in 04_backprop_numpy.
    """
    return (x.reshape(-1, w.shape[0]) @ w).reshape(*x.shape[:-1], w.shape[1]), (x, w)


def linear_backward(dy, cache):
    """dx = dy Wᵀ,  dW = xᵀ dy summed over all rows. Returns dx, dw. Taught in 04_backprop_numpy."""
    x, w = cache
    rows = dy.reshape(-1, w.shape[1])
    return (rows @ w.T).reshape(x.shape), x.reshape(-1, w.shape[0]).T @ rows


def embedding_forward(tokens, table):
    """y = table[tokens]. Shapes: tokens (B, T), table (V, D) -> (B, T, D). Taught in 04_backprop_numpy."""
    return table[tokens], (tokens, table)


def embedding_backward(dy, cache):
    """dtable[v] = Σ of dy over the places where token v stands, as a product with a 1 at each of them (V, B T).

    Returns dtable. Taught in 04_backprop_numpy.
    """
    tokens, table = cache
    places = np.arange(len(table))[:, None] == tokens.reshape(-1)
    return places.astype(dy.dtype) @ dy.reshape(-1, table.shape[1])


def layer_norm_forward(x):
    """y = (x - mean) / σ over the last axis, σ = sqrt(var + 1e-5). Taught in 04_backprop_numpy."""
    centred = x - x.mean(axis=-1, keepdims=True)
    sigma = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    y = centred / sigma
    return y, (y, sigma)


def layer_norm_backward(dy, cache):
    """dx = (dy - mean(dy) - y · mean(dy · y)) / σ over the last axis. Taught in 04_backprop_numpy."""
    y, sigma = cache
    return (dy - dy.mean(axis=-1, keepdims=True) - y * (dy * y).mean(axis=-1, keepdims=True)) / sigma


def softmax_forward(scores):
    """p = softmax(scores) over the last axis. Taught in 04_backprop_numpy."""
    p = softmax(scores)
    return p, p


def softmax_backward(dp, p):
    """ds_i = p_i (dp_i - Σ_j p_j dp_j): the Jacobian diag(p) - p pᵀ, times dp, without the matrix.

    Shapes: (..., T) -> (..., T). Built by the reader in 04_backprop_numpy.
    """
    return p * (dp - (p * dp).sum(axis=-1, keepdims=True))


def attention_forward(q, k, v, mask=0.0):
    """y = A v with A = softmax(q kᵀ / √K + mask). Shapes: (..., T, K) each. Taught in 04_backprop_numpy."""
    weights = attention_weights(q, k, mask)
    return weights @ v, (q, k, v, weights)


def attention_backward(dy, cache):
    """dv = Aᵀ dy; dS = softmax's backward of dA = dy vᵀ; dq = dS k / √K; dk = dSᵀ q / √K.

    A masked pair has weight 0, so its dS is 0 by itself. Returns dq, dk, dv. Taught in 04_backprop_numpy.
    """
    q, k, v, weights = cache
    dscores = softmax_backward(dy @ v.swapaxes(-2, -1), weights) / q.shape[-1] ** 0.5
    return dscores @ k, dscores.swapaxes(-2, -1) @ q, weights.swapaxes(-2, -1) @ dy


def rotate_forward(x, cosine, sine):
    """y = x turned by each position's angles. Shapes: x (..., T, K), tables (T, K). Taught in 04_backprop_numpy."""
    return rotate(x, cosine, sine), (cosine, sine)


def rotate_backward(dy, cache):
    """dx = dy turned back: a rotation's transpose is its inverse. Taught in 04_backprop_numpy."""
    cosine, sine = cache
    return rotate(dy, cosine, -sine)


def relu_squared_forward(x):
    """y = max(x, 0)². Taught in 04_backprop_numpy."""
    positive = np.maximum(x, 0)
    return positive * positive, positive


def relu_squared_backward(dy, positive):
    """dx = 2 max(x, 0) dy. Taught in 04_backprop_numpy."""
    return 2 * positive * dy


def gelu_forward(x):
    """y = x Φ(x). Taught in 04_backprop_numpy."""
    below, density = normal_cdf(x), np.exp(-x * x / 2) / (2 * math.pi) ** 0.5
    return x * below, (x, below, density)


def gelu_backward(dy, cache):
    """dx = (Φ(x) + x φ(x)) dy, φ(x) = exp(-x²/2)/√(2π) being Φ's derivative. Taught in 04_backprop_numpy."""
    x, below, density = cache
    return (below + x * density) * dy


ACTIVATIONS = {
    "relu_squared": (relu_squared_forward, relu_squared_backward),
    "gelu": (gelu_forward, gelu_backward),
}


def shift_tokens_forward(x, strength):
    """y_t = x_t + s ⊙ x_(t-1). Shapes: x (B, T, D), strength (D,). Taught in 04_backprop_numpy."""
    return shift_tokens(x, strength), (x, strength)


def shift_tokens_backward(dy, cache):
    """dx_t = dy_t + s ⊙ dy_(t+1);  ds = Σ over batch and t of dy_t ⊙ x_(t-1). Taught in 04_backprop_numpy."""
    x, strength = cache
    dx = dy.copy()
    dx[:, :-1] += strength * dy[:, 1:]
    return dx, (dy[:, 1:] * x[:, :-1]).sum(axis=(0, 1))


def dropout_forward(x, rate, rng):
    """Set a share `rate` of the numbers to 0 and divide the rest by 1 - rate, so that the mean stays.

    Source: Srivastava et al. 2014, section 10, in the "inverted" form. Taught in 04_backprop_numpy.
    """
    kept = (rng.random(x.shape) >= rate).astype(x.dtype) / (1 - rate)
    return x * kept, kept


def dropout_backward(dy, kept):
    """dx = dy where a number was kept, over 1 - rate. Taught in 04_backprop_numpy."""
    return dy * kept


def cross_entropy_forward(logits, targets):
    """Mean of -ln softmax(logits)[target] over the targets that are not -1. Taught in 04_backprop_numpy."""
    p = softmax(logits)
    counted = targets >= 0
    chosen = np.take_along_axis(p, np.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    return -np.log(chosen[counted]).mean(), (p, targets)


def cross_entropy_backward(dloss, cache):
    """dlogits = (p - 1 at the target) / how many count, 0 where none does; times dloss. Taught in 04_backprop_numpy."""
    p, targets = cache
    counted = targets >= 0
    dlogits = p * (counted[..., None] / counted.sum()).astype(p.dtype)
    place = np.nonzero(counted)
    dlogits[*place, targets[place]] -= 1 / counted.sum()
    return dlogits * dloss


def attention_layer_forward(x, p, config, rotation=None, mask=0.0):
    """`model_numpy.attention_layer` that keeps what its backward needs. Taught in 04_backprop_numpy."""
    caches = {}
    if config.token_shift:
        x, caches["shift"] = shift_tokens_forward(x, p["shift"])
    heads = []
    for letter in "qkv":
        h, caches[f"w_{letter}"] = linear_forward(x, p[f"w_{letter}"])
        h = split_heads(h, config.n_heads)
        if letter != "v" and config.qk_norm:
            h, caches[f"norm_{letter}"] = layer_norm_forward(h)
        if letter != "v" and rotation is not None:
            h, caches[f"turn_{letter}"] = rotate_forward(h, *rotation)
        heads.append(h)
    y, caches["attention"] = attention_forward(*heads, mask)
    y, caches["w_o"] = linear_forward(merge_heads(y), p["w_o"])
    return y, caches


def attention_layer_backward(dy, caches):
    """The same road back. Returns dx and {name: gradient}. Taught in 04_backprop_numpy."""
    gradients = {}
    dy, gradients["w_o"] = linear_backward(dy, caches["w_o"])
    n_heads = caches["attention"][0].shape[-3]
    dx = 0
    for letter, dh in zip("qkv", attention_backward(split_heads(dy, n_heads), caches["attention"]), strict=True):
        if f"turn_{letter}" in caches:
            dh = rotate_backward(dh, caches[f"turn_{letter}"])
        if f"norm_{letter}" in caches:
            dh = layer_norm_backward(dh, caches[f"norm_{letter}"])
        dh, gradients[f"w_{letter}"] = linear_backward(merge_heads(dh), caches[f"w_{letter}"])
        dx = dx + dh
    if "shift" in caches:
        dx, gradients["shift"] = shift_tokens_backward(dx, caches["shift"])
    return dx, gradients


def mlp_forward(x, p, config):
    """`model_numpy.mlp` that keeps what its backward needs. Taught in 04_backprop_numpy."""
    caches = {"activation_name": config.activation}
    if config.token_shift:
        x, caches["shift"] = shift_tokens_forward(x, p["shift"])
    h, caches["w_up"] = linear_forward(x, p["w_up"])
    h, caches["activation"] = ACTIVATIONS[config.activation][0](h)
    y, caches["w_down"] = linear_forward(h, p["w_down"])
    return y, caches


def mlp_backward(dy, caches):
    """The same road back. Returns dx and {name: gradient}. Taught in 04_backprop_numpy."""
    gradients = {}
    dh, gradients["w_down"] = linear_backward(dy, caches["w_down"])
    dh = ACTIVATIONS[caches["activation_name"]][1](dh, caches["activation"])
    dx, gradients["w_up"] = linear_backward(dh, caches["w_up"])
    if "shift" in caches:
        dx, gradients["shift"] = shift_tokens_backward(dx, caches["shift"])
    return dx, gradients


def block_forward(x, p, config, rotation=None, mask=0.0):
    """x + attention(norm(x)), then x + mlp(norm(x)). Taught in 04_backprop_numpy."""
    y, norm_1 = layer_norm_forward(x)
    y, attention = attention_layer_forward(y, part(p, "attention."), config, rotation, mask)
    x = x + y
    y, norm_2 = layer_norm_forward(x)
    y, mlp = mlp_forward(y, part(p, "mlp."), config)
    return x + y, (norm_1, attention, norm_2, mlp)


def block_backward(dy, cache):
    """Through a sum x + f(x) the gradient goes twice: as it is, and back through f. Taught in 04_backprop_numpy."""
    norm_1, attention, norm_2, mlp = cache
    dbranch, dmlp = mlp_backward(dy, mlp)
    dx = dy + layer_norm_backward(dbranch, norm_2)
    dbranch, dattention = attention_layer_backward(dx, attention)
    dx = dx + layer_norm_backward(dbranch, norm_1)
    gradients = {f"attention.{name}": dw for name, dw in dattention.items()}
    return dx, gradients | {f"mlp.{name}": dw for name, dw in dmlp.items()}


def formula_4_1_forward(x, p, config, rotation=None, mask=0.0):
    """f(x W1 + b1 · attention(z, z, z)), z = x W2 + b2, in the place of a block; p holds w1, b1, w2, b2.

    b1 is a number in an array of shape (1,). The rotation is not used. Taught in 04_backprop_numpy.
    """
    z, inner = linear_forward(x, p["w2"])
    z = z + p["b2"]
    a, attention = attention_forward(z, z, z, mask)
    h, outer = linear_forward(x, p["w1"])
    y, activation = ACTIVATIONS[config.activation][0](h + p["b1"] * a)
    return y, (inner, attention, a, outer, p["b1"], activation, config.activation)


def formula_4_1_backward(dy, cache):
    """z went in thrice, so three gradients add up. Returns dx and {name: gradient}. Taught in 04_backprop_numpy."""
    inner, attention, a, outer, b1, activation, name = cache
    dh = ACTIVATIONS[name][1](dy, activation)
    dx, dw1 = linear_backward(dh, outer)
    dz = sum(attention_backward(b1 * dh, attention))
    dx_inner, dw2 = linear_backward(dz, inner)
    db1 = (dh * a).sum().reshape(1)
    return dx + dx_inner, {"w1": dw1, "b1": db1, "w2": dw2, "b2": dz.sum(axis=(0, 1))}


def language_model_forward(tokens, parameters, config: ModelConfig, mask=None, one_block=block_forward):
    """`model_numpy.language_model` that keeps what its backward needs. Taught in 04_backprop_numpy.

    one_block: another forward in the place of the standard block.
    """
    x = embed(tokens, parameters, config)
    T = tokens.shape[-1]
    if mask is None:
        mask = causal_mask(T).astype(x.dtype) if config.causal else 0.0
    tables = [table.astype(x.dtype) for table in rope_tables(T, config.d_head, config.rope_base)]
    rotation = tables if config.positions == "rope" else None
    blocks = []
    for i in range(config.n_layers):
        x, cache = one_block(x, part(parameters, f"blocks.{i}."), config, rotation, mask)
        blocks.append(cache)
    x, norm = layer_norm_forward(x)
    w_out = parameters["token_embedding"].T if config.tied else parameters["w_out"]
    logits, out = linear_forward(x, w_out)
    return logits, ((tokens, parameters["token_embedding"]), blocks, norm, out, parameters.keys(), config)


def language_model_backward(dlogits, cache, one_block=block_backward):
    """The whole road back. Returns {name: gradient} in the parameters' order. Taught in 04_backprop_numpy."""
    embedding, blocks, norm, out, names, config = cache
    gradients = {}
    dx, dw_out = linear_backward(dlogits, out)
    dx = layer_norm_backward(dx, norm)
    for i in reversed(range(config.n_layers)):
        dx, inside = one_block(dx, blocks[i])
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


def loss_and_gradients(tokens, targets, parameters, config: ModelConfig, one_block=(block_forward, block_backward)):
    """The loss of a batch in nats per token, and {name: gradient} of it. Shapes: tokens and targets (B, T).

    one_block: another pair in the place of the standard block. Taught in 04_backprop_numpy.
    """
    forward, backward = one_block
    logits, cache = language_model_forward(tokens, parameters, config, one_block=forward)
    loss, output = cross_entropy_forward(logits, targets)
    return loss, language_model_backward(cross_entropy_backward(1.0, output), cache, backward)


def numerical_gradient(function, x, h=1e-5):
    """∂function/∂x by central differences, number by number: (f(x + h) - f(x - h)) / 2h.

    function takes no argument and gives a number; x is changed in place and put back. Taught in 04_backprop_numpy.
    """
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        kept = x[place]
        x[place] = kept + h
        above = function()
        x[place] = kept - h
        gradient[place] = (above - function()) / (2 * h)
        x[place] = kept
    return gradient


def relative_error(given, wanted):
    """‖g - ĝ‖ / (‖g‖ + ‖ĝ‖): 0 if equal, or both 0 but for rounding; 1 if opposite. Taught in 04_backprop_numpy."""
    scale = np.linalg.norm(given) + np.linalg.norm(wanted)
    return np.linalg.norm(given - wanted) / scale if scale > 1e-12 else 0.0
