"""Attention in blocks against attention in one piece; and what each keeps in memory."""

import functools
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigmodel_lib.exercises import nb05
from bigmodel_lib.model import layers
from tools import streaming_attention as streaming


def normal(*shape, seed=0, size=1.0):
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def three(*shape, seed=0, size=2.0):
    return [normal(*shape, seed=seed + i, size=size).requires_grad_() for i in range(3)]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 23), st.integers(1, 6), st.integers(1, 30), st.integers(0, 99)
)
def test_blocks_of_any_size_give_the_whole_with_its_gradients(B, H, T, K, block_size, seed):
    q, k, v = three(B, H, T, K, seed=seed)
    dout = normal(B, H, T, K, seed=seed + 3)
    whole, blocks = layers.attention_plain(q, k, v), streaming.attention_streaming(q, k, v, block_size)
    torch.testing.assert_close(blocks, whole, rtol=0, atol=1e-12)
    wanted, found = (torch.autograd.grad(y, (q, k, v), dout) for y in (whole, blocks))
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-11)


def test_the_way_back_agrees_with_central_differences():
    assert torch.autograd.gradcheck(functools.partial(streaming.attention_streaming, block_size=2), three(1, 2, 5, 3))


def test_the_second_result_is_the_logarithm_of_each_sum():
    q, k, v = three(2, 7, 4)
    _, log_sums = streaming.streaming_forward(q, k, v, 3)
    scores = (q @ k.mT / 2.0).masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), -torch.inf)
    torch.testing.assert_close(log_sums[..., 0], scores.logsumexp(-1), rtol=0, atol=1e-12)


def test_blocks_may_be_merged_in_any_order_and_grouping():
    q, k, v = (normal(3, 12, 4, seed=i) for i in range(3))
    parts = [nb05.partial_softmax(q, k[:, j : j + 4], v[:, j : j + 4]) for j in (0, 4, 8)]
    whole = nb05.partial_softmax(q, k, v)
    for a, b, c in itertools.permutations(parts):
        for found in (
            nb05.merge_softmax(nb05.merge_softmax(a, b), c),
            nb05.merge_softmax(a, nb05.merge_softmax(b, c)),
        ):
            for one, other in zip(found, whole, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_scores_of_a_thousand_do_not_overflow():
    q, k, v = three(1, 1, 9, 4, size=1.0)
    out = streaming.attention_streaming(1000 * q, k, v, 2)
    assert out.isfinite().all()
    torch.testing.assert_close(out, layers.attention_plain(1000 * q, k, v), rtol=0, atol=1e-9)


def largest_and_kept(function, *given):
    """(numbers in the largest tensor that an operation makes, numbers kept for the way back)."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Largest(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, operation, types, arguments=(), named=None):
            result = operation(*arguments, **(named or {}))
            sizes = [t.untyped_storage().nbytes() // 8 for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
            Largest.found = max([Largest.found, *sizes])
            return result

    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 8
        return tensor

    with Largest(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function(*given).backward(torch.ones_like(given[0]))
    return Largest.found, sum(kept.values())


@pytest.mark.parametrize("T", [64, 128])
def test_no_more_than_a_block_of_weights_exists_and_memory_is_linear(T):
    K, block = 4, 16
    largest, kept = largest_and_kept(lambda *x: streaming.attention_streaming(*x, block), *three(1, 1, T, K))
    assert largest == max(T * K, block * block) and kept == T * (4 * K + 1)  # q, k, v, out and the log-sums
    largest, kept = largest_and_kept(layers.attention_plain, *three(1, 1, T, K))
    assert largest == T * T and kept > T * T
