"""The model by hand, against PyTorch, finite differences, and the same sums written as loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigmodel_lib.by_hand import model as ours
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model import layers


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@settings(deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9))
def test_softmax_is_pytorchs(scores):
    given_, wanted = ours.softmax(np.array(scores)), torch.tensor(scores, dtype=torch.float64).softmax(-1)
    assert np.abs(given_ - wanted.numpy()).max() < 1e-12


def test_softmax_of_minus_infinity_is_nothing():
    assert ours.softmax(np.array([0.0, -np.inf, 0.0])).tolist() == [0.5, 0.0, 0.5]


def test_softmax_of_rows_far_apart_is_that_of_each():
    far = np.array([[-2000.0, -2001.0], [0.0, -1.0], [3000.0, 2999.0]])
    assert np.allclose(ours.softmax(far), [[1 / (1 + math.exp(-1)), 1 / (1 + math.e)]] * 3, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 6, 4), (1, 2)])
def test_attention_is_the_formula_token_by_token(seed, shape):
    q, k, v = (draw(seed + i, *shape) for i in (0, 10, 20))
    T, K = shape[-2:]
    for mask in (0.0, ours.causal_mask(T)):
        given_ = ours.attention(q, k, v, mask)
        for place in np.ndindex(*shape[:-2]):
            for t in range(T):
                last = t + 1 if np.ndim(mask) else T
                powers = [math.exp(sum(q[*place, t] * k[*place, j]) / math.sqrt(K)) for j in range(last)]
                wanted = sum(p * v[*place, j] for j, p in enumerate(powers)) / sum(powers)
                assert np.abs(given_[*place, t] - wanted).max() < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_the_twin_in_pytorch_agrees(seed):
    q, k, v = (draw(seed + i, 2, 3, 7, 4) for i in (0, 10, 20))
    mask, tensors = ours.causal_mask(7), [torch.tensor(array) for array in (q, k, v)]
    weights = layers.attention_scores(*tensors[:2]).softmax(dim=-1).numpy()
    assert np.abs(ours.attention_weights(q, k, mask) - weights).max() < 1e-12
    assert np.abs(ours.attention(q, k, v, mask) - layers.attention_plain(*tensors).numpy()).max() < 1e-12
    tables = ours.rope_tables(7, 4, 100.0), layers.rope_tables(7, 4, 100.0)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(*tables, strict=True))
    turned = layers.rotate(tensors[0], *(torch.tensor(table) for table in tables[0]))
    assert np.abs(ours.rotate(q, *tables[0]) - turned.numpy()).max() < 1e-12
    x = draw(seed, 2, 7, 12)
    assert np.array_equal(ours.split_heads(x, 3), layers.split_heads(torch.tensor(x), 3).numpy())
    assert np.array_equal(ours.merge_heads(ours.split_heads(x, 3)), x)


def attention_of(x, w, n_heads, mask=0.0):
    """Attention of several heads, with nothing around it."""
    config = ModelConfig(vocab_size=1, d_model=8, n_heads=n_heads, qk_norm=False, token_shift=False)
    return ours.attention_layer(x, dict(zip(("w_q", "w_k", "w_v", "w_o"), w, strict=True)), config, None, mask)


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_heads_are_single_attentions_in_blocks(n_heads):
    x, *w = draw(0, 6, 8), *(draw(i, 8, 8) for i in (1, 2, 3, 4))
    K = 8 // n_heads
    single = [ours.attention(*(x @ m[:, h * K : (h + 1) * K] for m in w[:3])) for h in range(n_heads)]
    wanted = sum(head @ w[3][h * K : (h + 1) * K] for h, head in enumerate(single))
    assert np.abs(attention_of(x, w, n_heads) - wanted).max() < 1e-12


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError):
        ours.split_heads(draw(0, 4, 7), 2)


def test_unmasked_attention_is_equivariant_and_masked_is_not():
    x, *w = draw(0, 6, 8), *(draw(i, 8, 8) for i in (1, 2, 3, 4))
    order = np.random.default_rng(0).permutation(6)
    free, masked = attention_of(x, w, 2), attention_of(x, w, 2, ours.causal_mask(6))
    assert np.abs(attention_of(x[order], w, 2) - free[order]).max() < 1e-12
    assert np.abs(attention_of(x[order], w, 2, ours.causal_mask(6)) - masked[order]).max() > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_the_score_of_rotated_vectors_hangs_on_the_offset_alone(seed):
    q, k = draw(seed, 2, 8)
    tables = ours.rope_tables(40, 8, 100.0)
    turned_q, turned_k = (ours.rotate(np.tile(x, (40, 1)), *tables) for x in (q, k))
    scores = turned_q @ turned_k.T
    for offset in range(-39, 40):
        assert np.ptp(np.diagonal(scores, offset)) < 1e-12
    assert abs(scores[10, 5] - scores[5, 10]) > 1e-3


def test_the_slowest_pair_has_the_base_as_its_wavelength_but_for_2_pi():
    for base, tables in ((10_000.0, ours.rope_tables(3, 64)), (50.0, ours.rope_tables(3, 64, 50.0))):
        cosine, sine = tables
        angles = np.arctan2(sine, cosine)[:, 32:]  # the second half has the sine as it is
        assert np.allclose(angles[2], 2 * base ** (-np.arange(32) / 32), atol=1e-12)


def test_norms_of_a_vector_of_equal_numbers_say_how_small_the_added_number_is():
    x = np.full((1, 4), 3e-3)
    assert np.array_equal(ours.layer_norm(x), np.zeros((1, 4)))
    assert np.allclose(ours.rms_norm(x), 3e-3 / (9e-6 + 1e-5) ** 0.5, rtol=1e-12)
    y = np.array([[1e-3, -1e-3]])
    assert np.allclose(ours.layer_norm(y), y / (1e-6 + 1e-5) ** 0.5, rtol=1e-12)


def test_neighbouring_queries_share_a_head_of_keys():
    x = draw(0, 2, 3, 5, 4)
    shared = ours.repeat_heads(x, 6)
    assert all(np.array_equal(shared[:, head], x[:, head // 2]) for head in range(6)) and shared.shape == (2, 6, 5, 4)


def test_first_parameters_have_the_spreads_that_are_said():
    sizes = dict(vocab_size=300, context_length=64, d_model=96, n_layers=3, n_heads=4, d_ff=200)
    config = ModelConfig(**sizes, positions="learned", init="gpt2", norm_gain=True)
    gpt2 = ours.initialise(config, np.random.default_rng(0))
    recipe = ours.initialise(ModelConfig(**sizes), np.random.default_rng(0))
    for name, w in gpt2.items():
        last = name.split(".")[-1]
        wanted = 0.02 / 6**0.5 if last in ("w_o", "w_down") else 0.0 if last in ("norm_gain", "shift") else 0.02
        assert w.std() == pytest.approx(wanted, rel=0.04, abs=1e-9), name
        assert w.dtype == np.float32 and (last != "norm_gain" or (w == 1).all())
    for name, w in recipe.items():
        last = name.split(".")[-1]
        if last in ("w_o", "w_down", "w_out", "shift"):
            assert (w == 0).all(), name
        elif last == "token_embedding":
            assert w.std() == pytest.approx(0.5, rel=0.03)
        else:
            assert w.std() == pytest.approx(0.5 / len(w) ** 0.5, rel=0.04), name
            assert np.abs(w).max() == pytest.approx(0.5 * (3 / len(w)) ** 0.5, rel=0.01), name
