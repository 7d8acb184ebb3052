"""Broken backward passes and the checks that catch them, for 04b: faults, oracles, and a way to plug functions in."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch.nn import functional

from bigmodel_lib.by_hand import backprop
from bigmodel_lib.by_hand.backprop import numerical_gradient, relative_error
from bigmodel_lib.by_hand.model import attention_weights, softmax
from bigmodel_lib.by_hand.optimizers import AdamW
from bigmodel_lib.errors import CourseError


@contextlib.contextmanager
def using(**functions: Callable) -> Iterator[None]:
    """Within `with using(norm_backward=mine):` the library's backward pass calls `mine` where it would call its own.

    Raises CourseError for a name that the library's backward pass doesn't have.
    """
    unknown = [name for name in functions if not hasattr(backprop, name)]
    if unknown:
        raise CourseError(f"by_hand.backprop has no {unknown[0]}: name the function that yours replaces")
    kept = {name: getattr(backprop, name) for name in functions}
    vars(backprop).update(functions)
    try:
        yield
    finally:
        vars(backprop).update(kept)


class Fault(NamedTuple):
    """A forward pass and its backward pass, PyTorch's version of what was meant, inputs, and the optimizer."""

    forward: Callable
    backward: Callable
    meant: Callable
    inputs: tuple[ndarray, ...]
    optimizer: type = AdamW


T = 5
PAST = np.tril(np.ones((T, T)))


def _late_mask(q, k, v):
    weights = attention_weights(q, k) * PAST
    return weights @ v, (q, k, v, weights)


def _late_mask_backward(dy, cache):  # the exact gradient of that
    q, k, v, weights = cache
    dweights = (dy @ v.swapaxes(-2, -1)) * PAST
    dscores = backprop.softmax_backward(dweights, attention_weights(q, k)) / q.shape[-1] ** 0.5
    return dscores @ k, dscores.swapaxes(-2, -1) @ q, weights.swapaxes(-2, -1) @ dy


class _Uncorrected(AdamW):
    """Forgets that its averages start at 0."""

    def step(self, gradients, factor=1.0):
        self.steps = 10**9
        super().step(gradients, factor)


def faults(rng: np.random.Generator) -> dict[str, Fault]:
    """What is broken, after one row that isn't."""
    linear, back = backprop.linear_forward, backprop.linear_backward
    square = rng.normal(size=(3, T, 4)), rng.normal(size=(4, 4))
    three = tuple(rng.normal(size=(2, T, 4)) for _ in range(3))
    return {
        "nothing": Fault(linear, back, torch.matmul, square),
        "one + missing": Fault(lambda x, w: (x + x @ w, (x, w)), back, lambda x, w: x + x @ w, square),
        "a transpose missing": Fault(linear, lambda dy, c: (dy @ c[1], back(dy, c)[1]), torch.matmul, square),
        "softmax: plain average": Fault(
            lambda s: (softmax(s),) * 2,
            lambda dp, p: p * (dp - dp.mean(axis=-1, keepdims=True)),
            lambda s: s.softmax(-1),
            three[:1],
        ),
        "no road through σ": Fault(
            backprop.norm_forward,
            lambda dy, c: (dy - dy.mean(-1, keepdims=True)) / c[1],
            lambda x: functional.layer_norm(x, x.shape[-1:]),
            three[:1],
        ),
        "ten times too large": Fault(linear, lambda dy, c: tuple(10 * d for d in back(dy, c)), torch.matmul, square),
        "mask after softmax": Fault(
            _late_mask,
            _late_mask_backward,
            lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
            three,
        ),
        "Adam's averages uncorrected": Fault(linear, back, torch.matmul, square, _Uncorrected),
    }


def _slopes(fault: Fault, inputs: Any, dout: ndarray) -> tuple[ndarray, ...]:
    found = fault.backward(dout, fault.forward(*inputs)[1])
    return found if isinstance(found, tuple) else (found,)


def _worst(given: Any, wanted: Any) -> float:
    """The largest relative error; two gradients that are 0 but for rounding are equal."""
    pairs = [(d, e) for d, e in zip(given, wanted, strict=True) if max(abs(d).max(), abs(e).max()) > 1e-8]
    return max((relative_error(d, e) for d, e in pairs), default=0.0)


def by_differences(fault: Fault, dout: ndarray) -> float:
    """The largest relative error of the gradients by central differences of the fault's own forward pass."""
    wanted = [numerical_gradient(lambda: (dout * fault.forward(*fault.inputs)[0]).sum(), x) for x in fault.inputs]
    return _worst(_slopes(fault, fault.inputs, dout), wanted)


def by_pytorch(fault: Fault, dout: ndarray) -> float:
    """The same, by PyTorch's gradients of what was meant."""
    tensors = [torch.tensor(x, requires_grad=True) for x in fault.inputs]
    fault.meant(*tensors).backward(torch.tensor(dout))
    return _worst(_slopes(fault, fault.inputs, dout), [t.grad.numpy() for t in tensors if t.grad is not None])


def by_steps(fault: Fault, dout: ndarray) -> float:
    """How far the inputs are apart after 20 steps of the fault's optimizer and of PyTorch's AdamW."""
    ours = dict(enumerate(x.copy() for x in fault.inputs))
    tensors = [torch.tensor(x, requires_grad=True) for x in fault.inputs]
    theirs = torch.optim.AdamW(tensors, lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    steps = fault.optimizer(ours, 0.01, 0.9, 0.95, 1e-8, 0.1)
    for _ in range(20):
        theirs.zero_grad()
        fault.meant(*tensors).backward(torch.tensor(dout))
        theirs.step()
        steps.step(dict(enumerate(_slopes(fault, ours.values(), dout))))
    return max(relative_error(x, tensor.detach().numpy()) for x, tensor in zip(ours.values(), tensors, strict=True))


def gallery(rng: np.random.Generator) -> dict[str, list[float]]:
    """{what is broken: its error by differences, by differences with ones, by PyTorch, by 20 steps}; nan: not asked."""
    found = {}
    for name, fault in faults(rng).items():
        dout = rng.normal(size=fault.forward(*fault.inputs)[0].shape)
        errors = [by_differences(fault, d) for d in (dout, np.ones_like(dout))] + [by_pytorch(fault, dout)]
        if fault.optimizer is not AdamW:
            errors = [float("nan")] * 3
        found[name] = [*errors, by_steps(fault, dout)]
    return found
