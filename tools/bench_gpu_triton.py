"""ReLU² as one kernel in Triton, for `bench_gpu.py`; it needs a GPU."""

import torch
import triton
import triton.language as tl

BLOCK = 1024  # numbers that one program of the kernel handles


@triton.jit
def relu_squared_kernel(x_pointer, y_pointer, n, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < n
    positive = tl.maximum(tl.load(x_pointer + place, mask=inside), 0.0)
    tl.store(y_pointer + place, positive * positive, mask=inside)


def relu_squared(x):
    """max(x, 0)², reading each number once and writing it once."""
    y = torch.empty_like(x)
    relu_squared_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, x.numel(), BLOCK)
    return y
