"""Each formula of the bill against a count: by hand, of arrays, and of what PyTorch itself says that it multiplies."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.measuring import costs
from bigmodel_lib.model import layers, transformer

SIZES = [dict(d_model=12, n_heads=2, d_ff=20, n_layers=3), dict(d_model=8, n_heads=1, d_ff=8, n_layers=1)]
OPTIONS = [
    dict(positions=positions, token_shift=shift, tied=tied, init="gpt2")
    for positions, shift, tied in itertools.product(("rope", "learned", "none"), (True, False), (True, False))
]


VARIANTS = [
    dict(n_kv_heads=1),
    dict(activation="swiglu"),
    dict(norm_gain=True),
    dict(ngrams=3),
    dict(n_kv_heads=1, activation="swiglu", norm_gain=True, norm="rms", ngrams=2, positions="learned"),
]


@pytest.mark.parametrize(
    "options, by_hand",
    [
        (dict(), 5 * 4 + 2 * (4 * 16 + 2 * 24) + 4 * 5),  # embedding, two blocks, output
        (dict(positions="learned"), 264 + 3 * 4),
        (dict(token_shift=True), 264 + 2 * 2 * 4),
        (dict(tied=True, init="gpt2"), 264 - 4 * 5),
        (dict(n_kv_heads=1), 264 - 2 * 2 * 4 * 2),  # w_k and w_v are 4 × 2 and no longer 4 × 4
        (dict(activation="swiglu"), 264 + 2 * 4 * 6),
        (dict(norm_gain=True), 264 + (2 * 2 + 1) * 4),
        (dict(ngrams=2), 264 + 65_524),
        (dict(ngrams=4), 264 + 3 * 65_524),
        (dict(n_kv_heads=1, activation="swiglu", norm_gain=True, ngrams=3), 264 - 32 + 48 + 20 + 2 * 65_524),
        (dict(norm="rms", qk_norm=True), 264),
    ],
    ids=str,
)
def test_parameters_are_as_counted_by_hand(options, by_hand):
    sizes = dict(vocab_size=5, context_length=3, d_model=4, n_layers=2, n_heads=2, d_ff=6)
    config = ModelConfig(**sizes, **{**dict(positions="none", token_shift=False, qk_norm=False), **options})
    assert costs.parameter_formula(config) == by_hand


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("options", OPTIONS + VARIANTS, ids=str)
def test_parameters_are_as_counted(sizes, options):
    config = ModelConfig(vocab_size=17, context_length=9, **{**sizes, **options})
    assert costs.parameter_formula(config) == transformer.count_parameters(transformer.LanguageModel(config))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("options", [dict(), *VARIANTS], ids=str)
@pytest.mark.parametrize("n_tokens", [1, 2, 9])
def test_flops_are_as_pytorch_counts_them(sizes, options, n_tokens, monkeypatch):
    config = ModelConfig(vocab_size=17, context_length=9, **sizes, **options)
    monkeypatch.setattr(layers, "attention", layers.attention_plain)
    model = transformer.initialise(transformer.LanguageModel(config))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, n_tokens, dtype=torch.long))
    forward = sum(costs.flops_formula(config, n_tokens).values())
    assert forward == counter.get_total_flops()
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(1, n_tokens, dtype=torch.long)).sum().backward()
    assert counter.get_total_flops() == 3 * forward, "the way back costs twice the way there"


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "options",
    [OPTIONS[0], OPTIONS[6], dict(qk_norm=False, token_shift=False, activation="gelu"), *VARIANTS],
    ids=str,
)
def test_memory_is_as_estimated_to_a_tenth(options, fused, monkeypatch):
    config = ModelConfig(vocab_size=90, context_length=48, d_model=32, n_layers=3, n_heads=2, d_ff=80, **options)
    monkeypatch.setattr(layers, "attention", layers.attention if fused else layers.attention_plain)
    model = transformer.initialise(transformer.LanguageModel(config))
    own, kept = {w.data_ptr() for w in model.parameters()}, {}

    def note(tensor):
        storage = tensor.untyped_storage()
        kept.update({} if storage.data_ptr() in own else {storage.data_ptr(): storage.nbytes()})
        return tensor

    tokens = torch.zeros(4, 48, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = layers.cross_entropy(model(tokens), tokens)
    optimizer = torch.optim.AdamW(model.parameters())
    loss.backward()
    optimizer.step()
    bill = costs.memory_formula(config, 4, 48, fused)
    assert bill["activations"] == pytest.approx(sum(kept.values()), rel=0.1)
    assert bill["parameters"] == sum(4 * w.numel() for w in model.parameters())
    assert bill["gradients"] == sum(4 * w.grad.numel() for w in model.parameters())
    means = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert bill["optimizer"] == sum(4 * w.numel() for w in means)
    assert {name: 2 * n for name, n in bill.items()} == costs.memory_formula(config, 4, 48, fused, width=8)


def test_clocks_take_turns_and_leave_the_first_call_out(monkeypatch):
    calls, now = [], itertools.count()
    monkeypatch.setattr(costs.time, "perf_counter", lambda: float(next(now)))
    found = costs.seconds_of({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4 and found == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_a_clock_waits_for_its_device(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("cuda"))
    costs.seconds_of({"work": lambda: waited.append("work")}, "cuda", repeats=1)
    assert waited == ["cuda", "work", "cuda"] * 2
    costs.wait_for("cpu")
    assert len(waited) == 6


def test_the_hardware_has_a_name():
    words = costs.hardware()
    assert f"{torch.get_num_threads()} threads" in words and len(words) > 20
