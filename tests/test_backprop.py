"""Every backward against three oracles: central differences, PyTorch's autograd, and twenty steps of AdamW.

The upstream gradient is always random, and so are all weights: a uniform one lets mistakes through, zeros hide them.
"""

import itertools
import json
import runpy

import numpy as np
import pytest
import reference_model
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from bigmodel_lib.by_hand import backprop as by_hand
from bigmodel_lib.by_hand import model as plain
from bigmodel_lib.by_hand.optimizers import AdamW, train
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model import layers, transformer
from bigmodel_lib.text.sources import data_path

RECIPE = runpy.run_path(str(data_path("recipes/blocks.py")))
SHAPES = [(2, 5, 2, 4), (1, 1, 1, 2), (3, 4, 1, 6), (2, 1, 3, 2)]  # B, T, H, K: one token, one head, one row among them


@pytest.fixture(autouse=True, scope="module")
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def config_for(H, K, **changes):
    sizes = dict(vocab_size=7, context_length=8, d_model=H * K, n_layers=2, n_heads=H, d_ff=6, rope_base=30.0)
    return ModelConfig(**{**sizes, "tied": False, "init": "gpt2", **changes})


def tables(T, K):
    return plain.rope_tables(T, K, 30.0)


def as_tensors(arrays):
    return [torch.tensor(array) for array in arrays]


class Layer:
    """One layer: its differentiable inputs, drawn at random, its pair by hand, and PyTorch's way to the same value."""

    def __init__(self, name, seed, B=2, T=5, H=2, K=4):
        rng = np.random.default_rng(seed)
        self.rng, self.sizes = rng, (B, T, H, K)
        self.inputs, self.forward, self.backward, self.torch = getattr(self, name)(*self.sizes)
        out, _ = self.forward(*self.inputs)
        self.dout = rng.normal(size=np.shape(out))

    def normal(self, *shape):
        return self.rng.normal(size=shape)

    def gradients(self):
        _, cache = self.forward(*self.inputs)
        found = self.backward(self.dout, cache)
        return list(found) if isinstance(found, (tuple, list)) else [found]

    def value(self):
        return float((self.dout * self.forward(*self.inputs)[0]).sum())

    # the layers

    def linear(self, B, T, H, K):
        inputs = [self.normal(B, T, K), self.normal(K, K + 1)]
        return inputs, by_hand.linear_forward, by_hand.linear_backward, lambda x, w: functional.linear(x, w.T)

    def embedding(self, B, T, H, K):
        tokens = self.rng.integers(0, 4, (B, T))
        forward = lambda table: (table[tokens], (tokens, table))  # noqa: E731
        table = self.normal(5, K)
        return [table], forward, by_hand.embedding_backward, lambda w: functional.embedding(torch.tensor(tokens), w)

    def layer_norm(self, B, T, H, K):
        reference = lambda x: functional.layer_norm(x, (K,))  # noqa: E731
        return [self.normal(B, T, K)], by_hand.norm_forward, by_hand.norm_backward, reference

    def qk_norm(self, B, T, H, K):
        reference = lambda x: functional.layer_norm(x, (K,))  # noqa: E731
        return [self.normal(B, H, T, K)], by_hand.norm_forward, by_hand.norm_backward, reference

    def rms_norm(self, B, T, H, K):
        reference = lambda x: functional.rms_norm(x, (K,), eps=1e-5)  # noqa: E731
        return [self.normal(B, T, K)], lambda x: by_hand.norm_forward(x, "rms"), by_hand.norm_backward, reference

    def normalise(self, B, T, H, K):
        config = config_for(1, K, norm="rms", norm_gain=True)
        forward = lambda x, p: by_hand.normalise_forward(x, p, config)  # noqa: E731
        pair = self._by_name(("norm_gain",), forward, by_hand.normalise_backward)
        inputs = [self.normal(B, T, K), self.normal(K)]
        return inputs, *pair, lambda x, gain: functional.rms_norm(x, (K,), gain, eps=1e-5)

    def repeat_heads(self, B, T, H, K):
        forward = lambda x: (plain.repeat_heads(x, 3 * H), x.shape)  # noqa: E731
        reference = lambda x: x[:, [head // 3 for head in range(3 * H)]]  # noqa: E731
        return [self.normal(B, H, T, K)], forward, by_hand.repeat_heads_backward, reference

    def softmax(self, B, T, H, K):
        reference = lambda s: s.softmax(dim=-1)  # noqa: E731
        return [self.normal(B, H, T, T)], lambda s: (plain.softmax(s),) * 2, by_hand.softmax_backward, reference

    def attention(self, B, T, H, K):
        forward = lambda q, k, v: by_hand.attention_forward(q, k, v, plain.causal_mask(T))  # noqa: E731
        reference = lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
        return [self.normal(B, H, T, K) for _ in range(3)], forward, by_hand.attention_backward, reference

    def attention_unmasked(self, B, T, H, K):
        inputs = [self.normal(B, H, T, K) for _ in range(3)]
        return inputs, by_hand.attention_forward, by_hand.attention_backward, functional.scaled_dot_product_attention

    def rotate(self, B, T, H, K):
        cosine, sine = tables(T, K)
        forward = lambda x: (plain.rotate(x, cosine, sine), (cosine, sine))  # noqa: E731
        turn = torch.polar(
            torch.ones(T, K // 2, dtype=torch.float64), torch.tensor(np.arctan2(sine, cosine)[:, K // 2 :])
        )

        def reference(x):
            turned = torch.complex(x[..., : K // 2], x[..., K // 2 :]) * turn
            return torch.cat([turned.real, turned.imag], dim=-1)

        return [self.normal(B, H, T, K)], forward, by_hand.rotate_backward, reference

    def relu_squared(self, B, T, H, K):
        reference = lambda x: torch.relu(x) ** 2  # noqa: E731
        return [self.normal(B, T, K)], by_hand.relu_squared_forward, by_hand.relu_squared_backward, reference

    def gelu(self, B, T, H, K):
        return [3 * self.normal(B, T, K)], by_hand.gelu_forward, by_hand.gelu_backward, functional.gelu

    def swiglu(self, B, T, H, K):
        pair = self._by_name(("w_up", "w_gate"), by_hand.swiglu_forward, by_hand.swiglu_backward)
        reference = lambda x, up, gate: functional.silu(x @ gate) * (x @ up)  # noqa: E731
        return [self.normal(B, T, K), self.normal(K, 5), self.normal(K, 5)], *pair, reference

    def shift_tokens(self, B, T, H, K):
        forward = lambda x, strength: (plain.shift_tokens(x, strength), (x, strength))  # noqa: E731
        return [self.normal(B, T, K), self.normal(K)], forward, by_hand.shift_tokens_backward, layers.shift_tokens

    def cross_entropy(self, B, T, H, K):
        targets = self.rng.integers(-1, K, (B, T))
        targets[0, 0] = 0
        forward = lambda logits: by_hand.cross_entropy_forward(logits, targets)  # noqa: E731
        reference = lambda x: functional.cross_entropy(  # noqa: E731
            x.flatten(0, 1), torch.tensor(targets.ravel()), ignore_index=-1
        )
        return [self.normal(B, T, K)], forward, by_hand.cross_entropy_backward, reference

    @staticmethod
    def _by_name(names, forward, backward):
        """The pair with its weights as a list, in place of a dictionary."""

        def both(x, *weights):
            return forward(x, dict(zip(names, weights, strict=True)))

        def back(dout, cache):
            dx, gradients = backward(dout, cache)
            return [dx, *(gradients[name] for name in names)]

        return both, back

    def _with_weights(self, module, forward, backward, B, T, D):
        names = [name for name, _ in module.named_parameters()]
        inputs = [self.normal(B, T, D)] + [self.normal(*w.shape) / D**0.5 for w in module.parameters()]

        rotation = as_tensors(tables(T, D // self.sizes[2]))
        extra = () if isinstance(module, layers.MLP) else (rotation,)

        def reference(x, *weights):
            return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, *extra))

        return inputs, *self._by_name(names, forward, backward), reference

    def attention_layer(self, B, T, H, K):
        config = config_for(H, K)
        rotation, mask = tables(T, K), plain.causal_mask(T)
        forward = lambda x, p: by_hand.attention_layer_forward(x, p, config, rotation, mask)  # noqa: E731
        return self._with_weights(layers.Attention(config, 0), forward, by_hand.attention_layer_backward, B, T, H * K)

    def mlp(self, B, T, H, K):
        config = config_for(H, K, activation="gelu")
        forward = lambda x, p: by_hand.mlp_forward(x, p, config)  # noqa: E731
        return self._with_weights(layers.MLP(config, 0), forward, by_hand.mlp_backward, B, T, H * K)

    def formula_4_1(self, B, T, H, K):
        config, mask, D = config_for(H, K, activation="gelu"), plain.causal_mask(T), H * K
        inputs = [self.normal(B, T, D), self.normal(D, D), self.normal(1), self.normal(D, D) / 2, self.normal(D)]
        formula_forward, formula_backward = RECIPE["FORMULA"]
        forward = lambda x, p: formula_forward(x, p, config, None, mask)  # noqa: E731
        pair = self._by_name(("w1", "b1", "w2", "b2"), forward, formula_backward)

        def reference(x, w1, b1, w2, b2):
            z = x @ w2 + b2
            return functional.gelu(x @ w1 + b1 * functional.scaled_dot_product_attention(z, z, z, is_causal=True))

        return inputs, *pair, reference

    def block(self, B, T, H, K):
        config = config_for(H, K)
        rotation, mask = tables(T, K), plain.causal_mask(T)
        forward = lambda x, p: by_hand.block_forward(x, p, config, rotation, mask)  # noqa: E731
        return self._with_weights(transformer.Block(config, 0), forward, by_hand.block_backward, B, T, H * K)


NAMES = [
    "linear", "embedding", "layer_norm", "qk_norm", "rms_norm", "normalise", "softmax", "attention",
    "attention_unmasked", "repeat_heads", "rotate", "relu_squared", "gelu", "swiglu", "shift_tokens",
    "cross_entropy", "attention_layer", "formula_4_1", "mlp", "block",
]  # fmt: skip
each_layer = pytest.mark.parametrize("name", NAMES)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def near(given, wanted, share, floor=0.0):
    scale = np.linalg.norm(given) + np.linalg.norm(wanted)
    return np.shape(given) == np.shape(wanted) and np.linalg.norm(given - wanted) <= share * scale + floor


def autograd(layer):
    tensors = [torch.tensor(x, requires_grad=True) for x in layer.inputs]
    out = layer.torch(*tensors)
    out.backward(torch.tensor(layer.dout))
    return out.detach().numpy(), [t.grad.numpy() for t in tensors]


@each_shape
@each_layer
def test_central_differences_agree(name, shape):
    layer = Layer(name, 0, *shape)
    for x, given_ in zip(layer.inputs, layer.gradients(), strict=True):
        assert near(given_, by_hand.numerical_gradient(layer.value, x), 1e-7, 1e-9)


@each_layer
@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.sampled_from([2, 4, 6])
)  # fmt: skip
def test_autograd_agrees(name, seed, B, T, H, K):
    layer = Layer(name, seed, B, T, H, K)
    out, wanted = autograd(layer)
    assert near(layer.forward(*layer.inputs)[0], out, 1e-10)
    for given_, gradient in zip(layer.gradients(), wanted, strict=True):
        assert near(given_, gradient, 1e-10, 1e-12)


@each_layer
def test_twenty_steps_of_adamw_agree(name):
    layer = Layer(name, 1)
    tensors = [torch.tensor(x, requires_grad=True) for x in layer.inputs]
    theirs = torch.optim.AdamW(tensors, lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    ours = AdamW(dict(enumerate(layer.inputs)), 0.01, 0.9, 0.95, 1e-8, 0.1)
    before = [x.copy() for x in layer.inputs]
    for _ in range(20):
        theirs.zero_grad()
        layer.torch(*tensors).backward(torch.tensor(layer.dout))
        theirs.step()
        ours.step(dict(enumerate(layer.gradients())))
    for x, tensor, start in zip(layer.inputs, tensors, before, strict=True):
        assert near(x, tensor.detach().numpy(), 1e-10) and np.abs(x - start).max() > 1e-3


OPTIONS = ("positions", "qk_norm", "activation", "token_shift", "tied")
GRID = [
    dict(zip(OPTIONS, choice, strict=True))
    for choice in itertools.product(
        ("rope", "learned", "none"), (True, False), ("relu_squared", "gelu"), (True, False), (True, False)
    )
]
NEW = itertools.product(("layer", "rms"), (False, True), ("relu_squared", "swiglu"), (None, 2, 1))
VARIANTS = [
    {**GRID[7 * i % 48], "activation": activation, "norm": norm, "norm_gain": gain, "n_heads": 4, "n_kv_heads": heads}
    | ({"causal": False} if i % 5 == 4 else {})
    for i, (norm, gain, activation, heads) in enumerate(NEW)
]
MODERN = dict(norm="rms", norm_gain=True, activation="swiglu", n_heads=4, n_kv_heads=2)


def each(*choices):
    return pytest.mark.parametrize("choice", choices, ids=lambda choice: " ".join(map(str, choice.values())))


def whole(seed, choice):
    config = config_for(choice.get("n_heads", 2), 4, **choice)
    rng = np.random.default_rng(seed)
    parameters = {name: rng.normal(size=shape) / 2 for name, shape in plain.parameter_shapes(config).items()}
    return config, parameters, rng


def twin_of(config, parameters):
    model = transformer.LanguageModel(config)
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in parameters.items()})
    return model


def batches(rng):
    """Three batches, one of them a single token, with some targets that do not count."""
    for B, T in ((3, 6), (1, 1), (2, 8)):
        x, y = rng.integers(0, 7, (B, T)), rng.integers(-1, 7, (B, T))
        y[-1, -1], y[0, 0] = -1, 3
        yield x, y


def agree(config, parameters, x, y, logits, loss, wanted):
    """The model by hand gives these logits, this loss and these gradients, in NumPy both ways."""
    found, gradients = by_hand.loss_and_gradients(x, y, parameters, config)
    assert abs(found - loss) < 1e-10 and list(gradients) == list(parameters)
    assert near(by_hand.language_model_forward(x, parameters, config)[0], logits, 1e-10)
    assert near(plain.language_model(x, parameters, config), logits, 1e-10)
    assert abs(plain.cross_entropy(plain.language_model(x, parameters, config), y) - loss) < 1e-10
    for name in parameters:
        assert near(gradients[name], wanted[name], 1e-10, 1e-13), name


@each(*GRID, *VARIANTS)
def test_pytorchs_own_functions_agree(choice):
    config, parameters, rng = whole(0, choice)
    for x, y in batches(rng):
        w = {name: torch.tensor(array, requires_grad=True) for name, array in parameters.items()}
        logits = reference_model.logits_of(torch.tensor(x), w, config)
        loss = reference_model.loss_of(torch.tensor(x), torch.tensor(y), w, config)
        loss.backward()
        wanted = {name: tensor.grad.numpy() for name, tensor in w.items()}
        agree(config, parameters, x, y, logits.detach().numpy(), loss.item(), wanted)


@each(*GRID, *VARIANTS)
def test_the_twins_agree(choice):
    config, parameters, rng = whole(1, choice)
    model = twin_of(config, parameters)
    assert [name for name, _ in model.named_parameters()] == list(parameters)
    for x, y in batches(rng):
        model.zero_grad()
        logits = model(torch.tensor(x))
        loss = layers.cross_entropy(logits, torch.tensor(y))
        loss.backward()
        wanted = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
        agree(config, parameters, x, y, logits.detach().numpy(), loss.item(), wanted)


@each(GRID[0], GRID[1], GRID[-1], GRID[21], MODERN)
def test_central_differences_agree_on_the_whole_model(choice):
    config, parameters, rng = whole(3, choice)
    x, y = rng.integers(0, 7, (2, 5)), rng.integers(0, 7, (2, 5))
    _, gradients = by_hand.loss_and_gradients(x, y, parameters, config)

    def loss():
        return plain.cross_entropy(plain.language_model(x, parameters, config), y)

    for name, w in parameters.items():
        assert near(gradients[name], by_hand.numerical_gradient(loss, w), 1e-7, 1e-9), name


def twenty_steps(config, parameters, rng, tensors, loss_of):
    """Ours from gradients by hand, PyTorch's from its own: both end where they must."""
    theirs = torch.optim.AdamW(tensors.values(), lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    ours = AdamW(parameters, 0.01, 0.9, 0.95, 1e-8, 0.1)
    for _ in range(20):
        x, y = rng.integers(0, 7, (2, 8)), rng.integers(0, 7, (2, 8))
        theirs.zero_grad()
        loss_of(torch.tensor(x), torch.tensor(y)).backward()
        theirs.step()
        ours.step(by_hand.loss_and_gradients(x, y, parameters, config)[1])
    for name, tensor in tensors.items():
        assert near(parameters[name], tensor.detach().numpy(), 1e-10), name


@each(*VARIANTS)
def test_pytorchs_own_functions_agree_for_twenty_steps(choice):
    config, parameters, rng = whole(4, choice)
    w = {name: torch.tensor(array, requires_grad=True) for name, array in parameters.items()}
    twenty_steps(config, parameters, rng, w, lambda x, y: reference_model.loss_of(x, y, w, config))


@each(GRID[0], GRID[-2], *VARIANTS)
def test_the_twins_agree_for_twenty_steps(choice):
    config, parameters, rng = whole(4, choice)
    model = twin_of(config, parameters)
    tensors = dict(model.named_parameters())
    twenty_steps(config, parameters, rng, tensors, lambda x, y: layers.cross_entropy(model(x), y))


def test_adamw_in_step_1_moves_every_number_by_its_rate_and_decays_on_its_own():
    w = np.array([1.0, -2.0, 0.5])
    optimizer = AdamW({"w": w}, lr=0.1, eps=1e-12, weight_decay=0.5)
    optimizer.step({"w": np.array([3.0, -0.001, 1e5])}, factor=0.5)
    assert np.allclose(w, np.array([1.0, -2.0, 0.5]) * (1 - 0.05 * 0.5) - 0.05 * np.array([1, -1, 1]))


def test_the_encoder_sees_both_sides_and_the_decoder_does_not():
    config, parameters, rng = whole(5, GRID[0])
    x = rng.integers(0, 7, (1, 6))
    changed = x.copy()
    changed[0, -1] = (x[0, -1] + 1) % 7
    for mask, seen in ((None, False), (0.0, True)):
        before, after = (plain.language_model(t, parameters, config, mask) for t in (x, changed))
        assert (np.abs(before - after)[0, :-1].max() > 1e-6) == seen


@pytest.mark.parametrize("variant", [{}, MODERN], ids=["small", "modern"])
@pytest.mark.parametrize("init", ["zero", "gpt2"])
def test_both_twins_start_from_the_same_spreads(init, variant):
    sizes = dict(vocab_size=300, d_model=96, n_heads=3, d_ff=192, init=init, positions="learned")
    config = ModelConfig(**{**sizes, **variant})
    ours = plain.initialise(config, np.random.default_rng(0))
    model = transformer.initialise(transformer.LanguageModel(config), torch.Generator().manual_seed(0))
    theirs = dict(model.named_parameters())
    assert list(ours) == list(theirs)
    for name, w in ours.items():
        other = theirs[name].detach().numpy()
        assert w.dtype == np.float32 and w.shape == other.shape
        assert abs(w.std() - other.std()) <= 0.05 * other.std()
        assert abs(np.abs(w).max() - np.abs(other).max()) <= 0.3 * np.abs(other).max()


def test_names_come_in_the_order_that_both_twins_keep():
    config = config_for(4, 2, positions="learned", **{**MODERN, "n_kv_heads": 1}, n_layers=1)
    assert plain.parameter_shapes(config) == {
        "token_embedding": (7, 8),
        "position_embedding": (8, 8),
        "w_out": (8, 7),
        "norm_gain": (8,),
        "blocks.0.attention.w_q": (8, 8),
        "blocks.0.attention.w_k": (8, 2),
        "blocks.0.attention.w_v": (8, 2),
        "blocks.0.attention.w_o": (8, 8),
        "blocks.0.attention.shift": (8,),
        "blocks.0.attention.norm_gain": (8,),
        "blocks.0.mlp.w_up": (8, 6),
        "blocks.0.mlp.w_gate": (8, 6),
        "blocks.0.mlp.w_down": (6, 8),
        "blocks.0.mlp.shift": (8,),
        "blocks.0.mlp.norm_gain": (8,),
    }
    assert list(plain.parameter_shapes(config)) == [
        "token_embedding", "position_embedding", "w_out", "norm_gain",
        *(f"blocks.0.attention.{name}" for name in ("w_q", "w_k", "w_v", "w_o", "shift", "norm_gain")),
        *(f"blocks.0.mlp.{name}" for name in ("w_up", "w_gate", "w_down", "shift", "norm_gain")),
    ]  # fmt: skip


@pytest.mark.parametrize("init", ["zero", "gpt2"])
def test_first_parameters_have_the_spreads_that_are_said(init):
    """Each within 4 standard errors; a uniform draw reaches to √3 of its spread and not beyond."""
    config = ModelConfig(vocab_size=300, d_model=96, d_ff=192, n_layers=3, positions="learned", init=init, **MODERN)
    assert {w.dtype for w in plain.initialise(config, np.random.default_rng(0)).values()} == {np.dtype(np.float32)}
    for name, w in plain.initialise(config, np.random.default_rng(0), np.float64).items():
        last = name.split(".")[-1]
        wanted = 0.02 if init == "gpt2" else 0.5 if last.endswith("embedding") else 0.5 / len(w) ** 0.5
        if last in ("w_o", "w_down"):
            wanted = 0.02 / 6**0.5 if init == "gpt2" else 0.0
        if last == "shift" or (last == "w_out" and init == "zero"):
            wanted = 0.0
        if last == "norm_gain":
            assert (w == 1).all()
            continue
        assert abs(w.std() - wanted) <= 4 * wanted / (2 * w.size) ** 0.5 and abs(w.mean()) <= 4 * wanted / w.size**0.5
        uniform = init == "zero" and not last.endswith("embedding")
        assert np.abs(w).max() <= 3**0.5 * wanted if uniform else np.abs(w).max() >= 2 * wanted


EXACTLY = {  # in terms that lose no digits to the left of 0
    "gelu": lambda x: x * torch.erfc(-x / 2**0.5) / 2,
}


@pytest.mark.parametrize("name", EXACTLY)
def test_activations_are_right_to_a_rounding_in_either_precision(name):
    x = np.linspace(-12, 12, 10_001)
    tensor = torch.tensor(x, requires_grad=True)
    wanted = EXACTLY[name](tensor)
    wanted.sum().backward()
    for dtype, limit in ((np.float32, 3e-7), (np.float64, 1e-15)):
        y, cache = getattr(by_hand, f"{name}_forward")(x.astype(dtype))
        dx = getattr(by_hand, f"{name}_backward")(np.ones_like(y), cache)
        assert y.dtype == dx.dtype == getattr(plain, name)(x.astype(dtype)).dtype == dtype
        assert np.array_equal(y, getattr(plain, name)(x.astype(dtype)))
        scale = np.maximum(1, np.abs(x))
        assert (np.abs(y - wanted.detach().numpy()) / scale).max() < limit
        assert (np.abs(dx - tensor.grad.numpy()) / scale).max() < limit


def test_float32_stays_float32():
    for choice in (GRID[0], GRID[-2], GRID[-3], MODERN):
        config, parameters, rng = whole(6, choice)
        parameters = {name: w.astype(np.float32) for name, w in parameters.items()}
        logits, _ = by_hand.language_model_forward(rng.integers(0, 7, (2, 5)), parameters, config)
        loss, gradients = by_hand.loss_and_gradients(np.zeros((2, 5), int), np.ones((2, 5), int), parameters, config)
        assert logits.dtype == np.float32 and {g.dtype for g in gradients.values()} == {np.dtype(np.float32)}
        optimizer = AdamW(parameters)
        optimizer.step(gradients)
        assert {w.dtype for w in parameters.values()} == {np.dtype(np.float32)}


def test_too_many_tokens_are_refused():
    config, parameters, _ = whole(0, GRID[0])
    with pytest.raises(ValueError, match="9 tokens do not fit a context of 8"):
        plain.language_model(np.zeros((1, 9), int), parameters, config)


def test_the_loss_of_a_target_that_was_all_but_ruled_out_is_a_number():
    logits, targets = np.array([[0.0, 1000.0], [1000.0, 0.0]]), np.array([0, -1])
    loss, cache = by_hand.cross_entropy_forward(logits, targets)
    assert loss == plain.cross_entropy(logits, targets) == 1000
    assert by_hand.cross_entropy_backward(1.0, cache).tolist() == [[-1, 1], [0, 0]]


def test_relative_error_knows_rounding_from_a_small_gradient():
    g, zero = np.random.default_rng(0).normal(size=(3, 4)), np.zeros((3, 4))
    for size in (1.0, 1e-8, 1e8):  # a small gradient is a gradient
        given_ = size * g
        assert by_hand.relative_error(given_, given_) == 0
        assert by_hand.relative_error(given_, -given_) == pytest.approx(1)
        assert by_hand.relative_error(given_, zero) == by_hand.relative_error(zero, given_) == 1
        assert by_hand.relative_error(given_, 1.1 * given_) == pytest.approx(0.1 / 2.1)
    assert by_hand.relative_error(zero, zero) == by_hand.relative_error(zero, 1e-16 * g) == 0


def test_training_goes_down_and_its_rate_ends_at_0():
    config, parameters, rng = whole(7, GRID[0])
    x, y = rng.integers(0, 7, (4, 8)), rng.integers(0, 7, (4, 8))

    class Recorder(AdamW):
        factors = []

        def step(self, gradients, factor=1.0):
            self.factors.append(factor)
            super().step(gradients, factor)

    losses = list(train(Recorder(parameters, 0.01), lambda: (x, y), parameters, config, 60))
    assert losses[-1] < 0.5 * losses[0]
    factors = Recorder.factors
    assert factors[0] == 1 / 20 and max(factors) == factors[19] and factors[-1] == pytest.approx(1 / 60)
    assert all(a > b for a, b in zip(factors[19:], factors[20:], strict=False))


@pytest.mark.parametrize("kind", ["literal", "rezero"])
def test_training_can_take_another_block(kind):
    config = config_for(2, 4, positions="learned", activation="gelu", token_shift=False)
    rng = np.random.default_rng(0)
    parameters = {
        name: rng.normal(size=w.shape) / 3 for name, w in RECIPE["first_parameters"](kind, config, rng).items()
    }
    x, y = rng.integers(0, 7, (2, 5)), rng.integers(0, 7, (2, 5))
    block = RECIPE["BLOCKS"][kind]

    def loss():
        logits, _ = by_hand.language_model_forward(x, parameters, config, block)
        return plain.cross_entropy(logits, y)

    _, gradients = by_hand.loss_and_gradients(x, y, parameters, config, block)
    for name, w in parameters.items():
        assert near(gradients[name], by_hand.numerical_gradient(loss, w), 1e-7, 1e-9), name


def test_rezero_starts_as_the_identity_and_the_literal_formula_keeps_its_gate():
    config = config_for(2, 4, positions="learned", activation="gelu", token_shift=False)
    x = np.random.default_rng(1).normal(size=(2, 5, 8))
    for kind, passes in (("rezero", True), ("literal", False)):
        parameters = RECIPE["first_parameters"](kind, config, np.random.default_rng(0))
        y, _ = RECIPE["BLOCKS"][kind][0](x, plain.part(parameters, "blocks.0."), config)
        assert np.allclose(x, y) == passes


def test_a_row_of_the_table_of_blocks_can_be_made_and_counts_the_worlds_tokens():
    world, documents, stories = RECIPE["texts"](40, 5)
    for document, story in zip(RECIPE["texts"](5, 1)[1], RECIPE["texts"](0, 5)[2], strict=True):
        assert len(document) - 1 == len(story.token_log_probs())  # the same draws, as ids and as stories
    for kind in RECIPE["KINDS"]:
        row = RECIPE["one_run"](kind, 2, 0.01, 0, world, documents, stories, steps=3)
        assert 0 < row["gap"] < 6 and row["gates"] == ([1.0, 1.0] if kind == "literal" else row["gates"])


def test_the_table_of_blocks_has_every_run_and_no_best_rate_at_an_edge_of_its_grid():
    rows = json.loads(data_path("blocks.json").read_text(encoding="utf-8"))["rows"]
    for kind in RECIPE["KINDS"]:
        for n_layers in RECIPE["DEPTHS"]:
            wanted = list(RECIPE["runs"](kind, n_layers, rows))
            chosen = RECIPE["best_rate"](rows, kind, n_layers)
            mine = [(row["rate"], row["seed"]) for row in rows if (row["kind"], row["layers"]) == (kind, n_layers)]
            assert sorted(mine) == sorted(wanted)
            assert min(rate for rate, _ in mine) < chosen < max(rate for rate, _ in mine)
            assert {seed for rate, seed in mine if rate == chosen} == {*RECIPE["TUNING_SEEDS"], *RECIPE["SEEDS"]}
