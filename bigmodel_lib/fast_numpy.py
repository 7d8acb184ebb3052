"""A training step by hand, for speed alone: the numbers of `backprop_numpy` in fewer passes over memory.

Beside its products of matrices a step walks over memory, again and again. So here arrays are used again instead of
being asked for anew, and changed in place; queries and keys come from one product, and what a norm takes off each is
taken off the columns that make it; a pair that is turned is one complex number; the weights stand with the keys in
rows, since NumPy adds up rows faster than it adds along them; and factors (1/√K, the 2 of a slope) go to the small
matrices before a product, not to the large ones after it. `backprop_numpy` says what is computed, and a test holds the
two equal.
"""

import functools
import math

import numpy as np

from bigmodel_lib.backprop_numpy import NORMAL_FIT, PIECE, tanh_of_fit
from bigmodel_lib.optimizers_numpy import AdamW

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


def centre(x, K):
    """Take the mean of each K numbers of a row away, in place: W with centred columns gives centred x W.

    Shapes: x (rows, n K).
    """
    rows = x.reshape(-1, K)
    rows -= (rows @ np.full(K, 1 / K, x.dtype))[:, None]


@functools.lru_cache(8)
def pair_order(D, n_heads):
    """The column order that puts x_i and x_(i+K/2) of each head side by side, and the one that undoes it: (D,) each."""
    order = np.arange(D).reshape(n_heads, 2, -1).swapaxes(-2, -1).ravel()
    return order, np.argsort(order)


class FastBlock:
    """The pair (forward, backward) for the argument `one_block` of `loss_and_gradients`, `train` and their like.

    What `forward` gave and kept is overwritten by later calls once `backward` has used it, so each forward wants its
    backward, and only one thread may use it. Takes float32 or float64; GELU to 1e-5 in both.
    Timed in 04_backprop_numpy.
    """

    def __init__(self):
        self.free = {}  # {(dtype, shape): arrays that wait to be used again}

    def __iter__(self):
        return iter((self.forward, self.backward))

    def take(self, dtype, *shape):
        """An array of this shape, its content left over from before."""
        kept = self.free.setdefault((np.dtype(dtype), shape), [])
        return kept.pop() if kept else np.empty(shape, dtype)

    def give(self, *arrays):
        """Take arrays back for later use."""
        for array in arrays:
            self.free[array.dtype, array.shape].append(array)

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

    def times(self, x, factors):
        """x times a factor for each head of each token, in place. Shapes: x (B, T, 2, H, K), factors (B, T, 2, H)."""
        wide = self.take(x.dtype, *x.shape)
        wide[...] = factors[..., None]  # one plain product is faster than one whose factor changes every K numbers
        x *= wide
        self.give(wide)

    def forward(self, x, p, config, rotation=None, mask=0.0):
        """`block_forward` with another cache. Shapes: x (B, T, D) -> (B, T, D)."""
        take, dtype = functools.partial(self.take, x.dtype), x.dtype
        B, T, D = x.shape
        H, K, F = config.n_heads, config.d_head, config.d_ff
        c = {"p": p, "config": config}

        c["y1"] = take(B, T, D)
        c["scale1"] = norm_into(c["y1"], x)
        c["h1"] = self.shift(c["y1"], p["attention.shift"]) if config.token_shift else c["y1"]
        w = c["w"] = take(D, 2 * D)
        for half, letter in ((w[:, :D], "q"), (w[:, D:], "k")):
            matrix = p[f"attention.w_{letter}"]
            half[...] = matrix if rotation is None else matrix[:, pair_order(D, H)[0]]
        if config.qk_norm:
            centre(w, K)
        else:
            w[:, :D] *= K**-0.5
        qk, c["v"] = c["qk"], _ = take(B, T, 2, H, K), take(B, T, H, K)
        np.matmul(c["h1"].reshape(-1, D), w, out=qk.reshape(-1, 2 * D))
        np.matmul(c["h1"].reshape(-1, D), p["attention.w_v"], out=c["v"].reshape(-1, D))
        if config.qk_norm:
            scale = c["scale_qk"] = 1 / np.sqrt(row_dots(qk, qk) / K + EPSILON)
            scale[:, :, 0] *= K**-0.5
            self.times(qk, scale)
        if rotation is not None:
            cosine, sine = (table[:, K // 2 :] for table in rotation)
            c["turn"] = np.tile((cosine + 1j * sine).astype(np.result_type(dtype, 1j)), 2 * H)
            turned = qk.reshape(B, T, -1).view(c["turn"].dtype)
            turned *= c["turn"]

        q, k, v = (array.transpose(0, 2, 1, 3) for array in (qk[:, :, 0], qk[:, :, 1], c["v"]))
        columns, weights = take(B, H, K, T), take(B, H, T, T)  # weights of each key, in columns of queries
        columns[...] = q.swapaxes(-2, -1)
        np.matmul(k, columns, out=weights)
        largest = K**0.5 if config.qk_norm else max(weights.max(), -weights.min())
        weights += np.ascontiguousarray(np.swapaxes(mask, -2, -1)) if np.ndim(mask) else mask
        if largest > SAFE:
            weights -= weights.max(axis=-2, keepdims=True)
        np.exp(weights, out=weights)
        weights *= 1 / (np.ones((1, T), dtype) @ weights)
        c["weights"], c["mixed"] = weights, take(B, T, H, K)
        np.matmul(weights.swapaxes(-2, -1), v, out=c["mixed"].transpose(0, 2, 1, 3))
        middle = take(B, T, D)
        np.matmul(c["mixed"].reshape(-1, D), p["attention.w_o"], out=middle.reshape(-1, D))
        middle += x

        c["y2"] = take(B, T, D)
        c["scale2"] = norm_into(c["y2"], middle)
        c["h2"] = self.shift(c["y2"], p["mlp.shift"]) if config.token_shift else c["y2"]
        c["slope"], c["active"] = take(B * T, F), take(B * T, F)
        activate, unit, of_value, _ = ACTIVATE[config.activation]
        np.matmul(c["h2"].reshape(-1, D), p["mlp.w_up"] * unit, out=c["slope"])
        activate(c["slope"], c["active"])
        out = c["out"] = take(B, T, D)
        np.matmul(c["active"], p["mlp.w_down"] * of_value, out=out.reshape(-1, D))
        out += middle
        self.give(columns, middle)
        return out, c

    def backward(self, dy, c):
        """`block_backward` for the cache of `forward`: dx (B, T, D) and {name: gradient}. Shapes: dy (B, T, D)."""
        p, config, weights, qk = c["p"], c["config"], c["weights"], c["qk"]
        take = functools.partial(self.take, dy.dtype)
        B, T, D = dy.shape
        H, K, F = config.n_heads, config.d_head, config.d_ff
        gradients, rows = {}, dy.reshape(-1, D)

        dactive, dh = take(B * T, F), take(B, T, D)
        _, _, of_value, of_slope = ACTIVATE[config.activation]
        gradients["mlp.w_down"] = c["active"].T @ rows
        gradients["mlp.w_down"] *= of_value
        np.matmul(rows, (p["mlp.w_down"] * of_slope).T, out=dactive)
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
        q, k, v = (array.transpose(0, 2, 1, 3) for array in (qk[:, :, 0], qk[:, :, 1], c["v"]))
        dheads, columns = dmixed.transpose(0, 2, 1, 3), take(B, H, K, T)
        columns[...] = dheads.swapaxes(-2, -1)
        dscores, dqk, dv = take(B, H, T, T), take(B, T, 2, H, K), take(B, T, H, K)
        np.matmul(weights, dheads, out=dv.transpose(0, 2, 1, 3))
        np.matmul(v, columns, out=dscores)
        dscores -= dots
        dscores *= weights
        np.matmul(dscores.swapaxes(-2, -1), k, out=dqk[:, :, 0].transpose(0, 2, 1, 3))
        np.matmul(dscores, q, out=dqk[:, :, 1].transpose(0, 2, 1, 3))
        if config.qk_norm:  # a turn changes no dot product, so all of this can be done on turned pairs
            along = row_dots(dqk, qk)
            along[:, :, 1] /= K  # that of queries is in their scale, which has 1/√K twice
            self.times(qk, along)
            dqk -= qk
            self.times(dqk, c["scale_qk"])
        if "turn" in c:
            turned = dqk.reshape(B, T, -1).view(c["turn"].dtype)
            turned *= c["turn"].conj()
        rows, dqk = c["h1"].reshape(-1, D), dqk.reshape(B * T, 2 * D)
        gradients["attention.w_v"] = rows.T @ dv.reshape(-1, D)
        dw = rows.T @ dqk
        if config.qk_norm:
            centre(dw, K)
        else:
            dw[:, :D] *= K**-0.5
        for half, letter in ((dw[:, :D], "q"), (dw[:, D:], "k")):
            gradients[f"attention.w_{letter}"] = half[:, pair_order(D, H)[1]] if "turn" in c else half
        np.matmul(dqk, c["w"].T, out=dh.reshape(-1, D))
        dx = take(B, T, D)
        np.matmul(dv.reshape(-1, D), p["attention.w_v"].T, out=dx.reshape(-1, D))
        dh += dx
        if config.token_shift:
            gradients["attention.shift"] = self.shift_back(dh, c["y1"], p["attention.shift"])
        norm_back_into(dx, dh, c["y1"], c["scale1"])
        dx += dmiddle

        ours = ("y1", "y2", "w", "qk", "v", "weights", "mixed", "slope", "active", "out")
        self.give(
            *(c[name] for name in ours), dactive, dh, dmiddle, dmixed, columns, dscores, dqk.reshape(B, T, 2, H, K), dv
        )
        if config.token_shift:
            self.give(c["h1"], c["h2"])
        return dx, gradients


SAFE = 50.0  # exp of scores between -50 and 50, summed over any number of keys, is neither 0 nor infinite in float32


def activate_relu_squared(x, y):
    """y = max(x, 0)² and, in the place of x, max(x, 0), a half of its slope. Shapes: any, x as y."""
    np.maximum(x, 0, out=x)
    np.multiply(x, x, out=y)


def activate_gelu(z, y):
    """Of x = z √(π/2): y = 2 √(2/π) x Φ(x) and, in the place of z, 2 (Φ(x) + x φ(x)), piece by piece.

    In z they are z (1 + t) and 1 + t + z exp(-π z²/4), with t = tanh(z R(z²)): no factor is left but the exponent's.
    Shapes: any, z as y. Source: Hendrycks & Gimpel 2016, section 2.
    """
    z, y, scratch = z.reshape(-1), y.reshape(-1), np.empty((2, PIECE), z.dtype)
    for start in range(0, z.size, PIECE):
        x, out = z[start : start + PIECE], y[start : start + PIECE]
        square, t = scratch[:, : len(x)]
        np.multiply(x, x, out=square)
        tanh_of_fit(x, square, FIT_OF_Z, t)
        t += 1
        np.multiply(x, t, out=out)
        square *= -math.pi / 4
        np.exp(square, out=square)
        x *= square
        x += t


UNIT = (2 / math.pi) ** 0.5  # z / x in `activate_gelu`
FIT_OF_Z = tuple(value * UNIT**power for value, power in zip(NORMAL_FIT, (-1, 1, 2, 4, 2), strict=True))
# {name: (function, the unit of what it is given, what its values and its slopes are to be multiplied by)}
ACTIVATE = {
    "relu_squared": (activate_relu_squared, 1.0, 1.0, 2.0),
    "gelu": (activate_gelu, UNIT, 1 / (2 * UNIT), 0.5),
}


class FastAdamW(AdamW):
    """`AdamW` in fewer passes over memory, in place.

    m ← β₁ m + g;  s ← β₂ s + g²;  w ← (1 - rate · weight_decay) w - size · m / (sqrt(s) + eps / unit) in step n, with
    unit² = (1 - β₂) / (1 - β₂ⁿ) and size = rate · (1 - β₁) / (1 - β₁ⁿ) / unit: each factor that is the same for all
    numbers is applied once. Source: as `AdamW`, with which a test holds it equal.
    """

    def __init__(self, parameters: dict, *settings, **named_settings):
        super().__init__(parameters, *settings, **named_settings)
        self.spare = {name: np.empty_like(w) for name, w in parameters.items()}

    def step(self, gradients: dict, factor: float = 1.0) -> None:
        """One update of every parameter, with the rate at `factor` times its peak."""
        self.steps += 1
        rate = self.rate * factor
        unit = math.sqrt((1 - self.beta2) / (1 - self.beta2**self.steps))
        size = rate * (1 - self.beta1) / (1 - self.beta1**self.steps) / unit
        for name, w in self.parameters.items():
            g, m, s, spare = gradients[name], self.m[name], self.s[name], self.spare[name]
            m *= self.beta1
            m += g
            np.multiply(g, g, out=spare)
            s *= self.beta2
            s += spare
            np.sqrt(s, out=spare)
            spare += self.eps / unit
            np.divide(m, spare, out=spare)
            spare *= size
            w *= 1 - rate * self.weight_decay
            w -= spare
