"""Each formula of the bill against a count: of arrays, and of what PyTorch itself says that it multiplies."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bigmodel_lib import costs, model_torch
from bigmodel_lib.config import ModelConfig

SIZES = [dict(d_model=12, n_heads=2, d_ff=20, n_layers=3), dict(d_model=8, n_heads=1, d_ff=8, n_layers=1)]
OPTIONS = [
    dict(positions=positions, token_shift=shift, tied=tied, init="gpt2")
    for positions, shift, tied in itertools.product(("rope", "learned", "none"), (True, False), (True, False))
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_parameters_are_as_counted(sizes, options):
    config = ModelConfig(vocab_size=17, context_length=9, **sizes, **options)
    assert costs.parameter_formula(config) == model_torch.count_parameters(model_torch.LanguageModel(config))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("n_tokens", [1, 2, 9])
def test_flops_are_as_pytorch_counts_them(sizes, n_tokens, monkeypatch):
    config = ModelConfig(vocab_size=17, context_length=9, **sizes)
    monkeypatch.setattr(model_torch, "attention", model_torch.attention_plain)
    model = model_torch.initialise(model_torch.LanguageModel(config))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, n_tokens, dtype=torch.long))
    forward = sum(costs.flops_formula(config, n_tokens).values())
    assert forward == counter.get_total_flops()
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(1, n_tokens, dtype=torch.long)).sum().backward()
    assert counter.get_total_flops() == 3 * forward, "the way back costs twice the way there"
