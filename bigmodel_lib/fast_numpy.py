"""The standard block by hand, for speed alone: the numbers of `backprop_numpy` in fewer passes over memory.

Beside its products of matrices a step walks over memory, again and again. So here arrays are used again instead of
being asked for anew, and changed in place; queries, keys and values come from one product; what a norm takes off each
query is taken off the columns that make it; a pair that is turned is one complex number; and the weights stand with the
keys in rows, since NumPy adds up rows faster than it adds along them. `backprop_numpy` says what is computed, and a
test holds the two equal.
"""

import functools
import threading

import numpy as np

from bigmodel_lib.backprop_numpy import PIECE, normal_piece

EPSILON = 1e-5  # of `layer_norm`


def row_dots(a, b):
    """Σ_j a_ij b_ij of each row. Shapes: two of (..., D) -> (...)."""
    return np.einsum("...j,...j->...", a, b)


def norm_into(out, x):
    """`layer_norm(x)` into `out`; returns 1/σ, (..., 1). Shapes: x and out (..., D)."""
    D = x.shape[-1]
    np.subtract(x, (x @ np.full(D, 1 / D, x.dtype))[..., None], out=out)
    scale = 1 / np.sqrt(row_dots(out, out) / D + EPSILON)
    out *= scale[..., None]
    return scale[..., None]


def norm_back_into(out, dy, y, scale):
    """`layer_norm_backward(dy, (y, 1 / scale))` into `out`. Shapes: (..., D), scale (..., 1)."""
    D = dy.shape[-1]
    np.multiply(y, (row_dots(dy, y) / -D)[..., None], out=out)
    out += dy
    out -= (dy @ np.full(D, 1 / D, dy.dtype))[..., None]
    out *= scale


def centre(x):
    """Take the mean of each row away, in place: columns of W that are centred give centred x W. Shapes: (..., K)."""
    x -= x.mean(axis=-1, keepdims=True)


def paired(w, n_heads):
    """The columns of each head with x_i and x_(i+K/2) side by side, as a view: (D, D) -> (D, H, K/2, 2)."""
    return w.reshape(len(w), n_heads, 2, -1).swapaxes(-2, -1)


class Arrays(threading.local):
    """{(dtype, shape): arrays that wait to be used again}, for each thread its own."""

    def __init__(self):
        self.free = {}


class FastBlock:
    """The pair (forward, backward) for the argument `one_block` of `loss_and_gradients`, `train` and their like.

    What `forward` gave and kept is overwritten by later calls once `backward` has used it, so each forward wants its
    backward, and each thread has its own arrays. Takes float32 or float64; GELU to 1e-5 in both.
    Timed in 04_backprop_numpy.
    """

    def __init__(self):
        self.arrays = Arrays()

    def __iter__(self):
        return iter((self.forward, self.backward))

    def take(self, dtype, *shape):
        """An array of this shape, its content left over from before."""
        kept = self.arrays.free.setdefault((np.dtype(dtype), shape), [])
        return kept.pop() if kept else np.empty(shape, dtype)

    def give(self, *arrays):
        """Take arrays back for later use."""
        for array in arrays:
            self.arrays.free[array.dtype, array.shape].append(array)

    def shift(self, y, strength):
        """`shift_tokens(y, strength)` in an array of ours. Shapes: (B, T, D), strength (D,) -> (B, T, D)."""
        h = self.take(y.dtype, *y.shape)
        h[:, 0] = y[:, 0]
        np.multiply(y[:, :-1], strength, out=h[:, 1:])
        h[:, 1:] += y[:, 1:]
        return h

    def shift_back(self, dh, y, strength):
        """`shift_tokens_backward` with dx in the place of dh, (B, T, D); returns the strength's gradient, (D,)."""
        dstrength = np.einsum("btd,btd->d", dh[:, 1:], y[:, :-1])
        part = self.take(dh.dtype, *dh.shape)
        np.multiply(dh[:, 1:], strength, out=part[:, :-1])
        dh[:, :-1] += part[:, :-1]
        self.give(part)
        return dstrength

    def forward(self, x, p, config, rotation=None, mask=0.0):
        """`block_forward` with another cache. Shapes: x (B, T, D) -> (B, T, D)."""
        take, dtype = functools.partial(self.take, x.dtype), x.dtype
        B, T, D = x.shape
        H, K, F = config.n_heads, config.d_head, config.d_ff
        c = {"p": p, "config": config}

        c["y1"] = take(B, T, D)
        c["scale1"] = norm_into(c["y1"], x)
        c["h1"] = self.shift(c["y1"], p["attention.shift"]) if config.token_shift else c["y1"]
        w = c["w"] = take(D, 3, D)
        for i, letter in enumerate("qkv"):
            if letter != "v" and rotation is not None:
                w[:, i].reshape(D, H, K // 2, 2)[...] = paired(p[f"attention.w_{letter}"], H)
            else:
                w[:, i] = p[f"attention.w_{letter}"]
        if config.qk_norm:
            centre(w[:, :2].reshape(D, 2, H, K))
        z = c["z"] = take(B * T, 3 * D)
        np.matmul(c["h1"].reshape(-1, D), w.reshape(D, 3 * D), out=z)
        z = z.reshape(B, T, 3, H, K)
        qk = z[:, :, :2]
        if config.qk_norm:
            c["scale_qk"] = (1 / np.sqrt(row_dots(qk, qk) / K + EPSILON))[..., None]
            qk *= c["scale_qk"]
        if rotation is not None:
            cosine, sine = (table[:, K // 2 :] for table in rotation)
            c["turn"] = (cosine + 1j * sine).astype(np.result_type(dtype, 1j))[:, None, None]
            turned = qk.view(c["turn"].dtype)
            turned *= c["turn"]
        q, k, v = c["qkv"] = [z[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]

        weights = c["weights"] = take(B, H, T, T)  # of each key, in columns of queries
        np.matmul(k, q.swapaxes(-2, -1), out=weights)
        weights *= dtype.type(K**-0.5)
        weights += np.swapaxes(mask, -2, -1) if np.ndim(mask) else mask
        if not config.qk_norm:  # whose scores are never above √K, so that exp cannot overflow
            weights -= weights.max(axis=-2, keepdims=True)
        np.exp(weights, out=weights)
        weights *= 1 / weights.sum(axis=-2, keepdims=True)
        c["mixed"] = take(B, T, H, K)
        np.matmul(weights.swapaxes(-2, -1), v, out=c["mixed"].transpose(0, 2, 1, 3))
        middle = take(B, T, D)
        np.matmul(c["mixed"].reshape(-1, D), p["attention.w_o"], out=middle.reshape(-1, D))
        middle += x

        c["y2"] = take(B, T, D)
        c["scale2"] = norm_into(c["y2"], middle)
        c["h2"] = self.shift(c["y2"], p["mlp.shift"]) if config.token_shift else c["y2"]
        c["slope"], c["active"] = take(B * T, F), take(B * T, F)
        np.matmul(c["h2"].reshape(-1, D), p["mlp.w_up"], out=c["slope"])
        ACTIVATE[config.activation](c["slope"], c["active"])
        out = c["out"] = take(B, T, D)
        np.matmul(c["active"], p["mlp.w_down"], out=out.reshape(-1, D))
        out += middle
        self.give(middle)
        return out, c

    def backward(self, dy, c):
        """`block_backward` for the cache of `forward`: dx (B, T, D) and {name: gradient}. Shapes: dy (B, T, D)."""
        p, config, weights = c["p"], c["config"], c["weights"]
        take = functools.partial(self.take, dy.dtype)
        B, T, D = dy.shape
        H, K, F = config.n_heads, config.d_head, config.d_ff
        gradients, rows = {}, dy.reshape(-1, D)

        dactive, dh = take(B * T, F), take(B, T, D)
        gradients["mlp.w_down"] = c["active"].T @ rows
        np.matmul(rows, p["mlp.w_down"].T, out=dactive)
        dactive *= c["slope"]
        gradients["mlp.w_up"] = c["h2"].reshape(-1, D).T @ dactive
        np.matmul(dactive, p["mlp.w_up"].T, out=dh.reshape(-1, D))
        if config.token_shift:
            gradients["mlp.shift"] = self.shift_back(dh, c["y2"], p["mlp.shift"])
        dmiddle = take(B, T, D)
        norm_back_into(dmiddle, dh, c["y2"], c["scale2"])
        dmiddle += dy

        rows = dmiddle.reshape(-1, D)
        gradients["attention.w_o"] = c["mixed"].reshape(-1, D).T @ rows
        dmixed = take(B, T, H, K)
        np.matmul(rows, p["attention.w_o"].T, out=dmixed.reshape(-1, D))
        dots = row_dots(dmixed, c["mixed"]).swapaxes(1, 2)[:, :, None]  # Σ_j A_ij dA_ij
        dheads = dmixed.transpose(0, 2, 1, 3)
        q, k, v = c["qkv"]
        dscores, dz = take(B, H, T, T), take(B * T, 3 * D)
        parts = dz.reshape(B, T, 3, H, K)
        np.matmul(weights, dheads, out=parts[:, :, 2].transpose(0, 2, 1, 3))
        np.matmul(v, dheads.swapaxes(-2, -1), out=dscores)
        dscores -= dots
        dscores *= weights
        dscores *= dy.dtype.type(K**-0.5)
        dqk = take(B, T, 2, H, K) if config.qk_norm else parts[:, :, :2]
        np.matmul(dscores.swapaxes(-2, -1), k, out=dqk[:, :, 0].transpose(0, 2, 1, 3))
        np.matmul(dscores, q, out=dqk[:, :, 1].transpose(0, 2, 1, 3))
        if config.qk_norm:  # a turn changes no dot product, so all of this can be done on turned pairs
            qk, scale = c["z"].reshape(B, T, 3, H, K)[:, :, :2], c["scale_qk"]
            np.multiply(qk, (row_dots(dqk, qk)[..., None] / -K) * scale, out=parts[:, :, :2])
            dqk *= scale
            parts[:, :, :2] += dqk
            self.give(dqk)
        if "turn" in c:
            turned = parts[:, :, :2].view(c["turn"].dtype)
            turned *= c["turn"].conj()
        dw = (c["h1"].reshape(-1, D).T @ dz).reshape(D, 3, D)
        if config.qk_norm:
            centre(dw[:, :2].reshape(D, 2, H, K))
        for i, letter in enumerate("qkv"):
            turned = letter != "v" and "turn" in c
            part = dw[:, i].reshape(D, H, K // 2, 2).swapaxes(-2, -1) if turned else dw[:, i]
            gradients[f"attention.w_{letter}"] = part.reshape(D, D)
        np.matmul(dz, c["w"].reshape(D, 3 * D).T, out=dh.reshape(-1, D))
        if config.token_shift:
            gradients["attention.shift"] = self.shift_back(dh, c["y1"], p["attention.shift"])
        dx = take(B, T, D)
        norm_back_into(dx, dh, c["y1"], c["scale1"])
        dx += dmiddle

        ours = ("y1", "y2", "w", "z", "weights", "mixed", "slope", "active", "out")
        self.give(*(c[name] for name in ours if name in c), dactive, dh, dmiddle, dmixed, dscores, dz)
        if config.token_shift:
            self.give(c["h1"], c["h2"])
        return dx, gradients


def activate_relu_squared(x, y):
    """y = max(x, 0)² and, in the place of x, its slope 2 max(x, 0). Shapes: any, x as y."""
    np.maximum(x, 0, out=x)
    np.multiply(x, x, out=y)
    x += x


def activate_gelu(x, y):
    """y = x Φ(x) and, in the place of x, its slope Φ(x) + x φ(x), piece by piece; float64 as exactly as float32."""
    x, y = x.reshape(-1), y.reshape(-1)
    for start in range(0, x.size, PIECE):
        piece = slice(start, start + PIECE)
        below, density = normal_piece(x[piece])
        np.multiply(x[piece], below, out=y[piece])
        density *= x[piece]
        np.add(below, density, out=x[piece])


ACTIVATE = {"relu_squared": activate_relu_squared, "gelu": activate_gelu}
