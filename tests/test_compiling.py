"""torch.compile takes model and loss as one piece, without a break, and changes no number. Here without a compiler."""

import dataclasses
import functools
from typing import get_args

import pytest
import torch
import two_processes

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model import layers
from bigmodel_lib.training import trainer

VARIANTS = (
    {}, dict(positions="learned"), dict(positions="none"), dict(rope_base=50.0), dict(qk_norm=False), dict(norm="rms"),
    dict(norm_gain=True), dict(activation="gelu"), dict(activation="swiglu"), dict(token_shift=False),
    dict(tied=True, init="gpt2"), dict(causal=False), dict(dropout=0.3), dict(ngrams=3), dict(n_kv_heads=1),
)  # fmt: skip
RUNS = {name: two_processes.RUNS[name] for name in two_processes.RUNS if "clock" not in name}
RUNS |= {str(more): functools.partial(two_processes.pretraining, torch.float64, batch_size=4, **more)
         for more in VARIANTS}  # fmt: skip


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that torch.compile makes from now on, run as they are; a break in one is an error."""
    found, compile_ = [], torch.compile

    def keep(graph, _):
        found.append(graph.code)
        return graph

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(compile_, backend=keep, fullgraph=True))
    yield found
    torch._dynamo.reset()


@pytest.mark.parametrize("name", RUNS)
def test_model_and_loss_are_one_graph_and_train_as_they_do_without(graphs, name):
    losses = []
    for compiled in (False, True):
        model, batches, loss_fn, config = RUNS[name]()
        config = config.replace(compile=compiled, steps=20, minutes=None)
        losses.append([progress.loss for progress in trainer.Trainer(model, batches, loss_fn, config)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9 if "32 bits" not in name else 1e-4)
    seen = [code for code in graphs if "embedding" in code]
    assert seen and all("cross_entropy" in code or "log_sigmoid" in code for code in seen)


def test_a_break_would_be_an_error(graphs, monkeypatch):
    def with_a_break(x):
        print(end=str(x.sum().item()))
        return layers.relu_squared_plain(x)

    model, batches, loss_fn, config = RUNS["causal, 64 bits"]()
    model.blocks[0].mlp.activation = with_a_break
    with pytest.raises(torch._dynamo.exc.Unsupported):
        next(iter(trainer.Trainer(model, batches, loss_fn, config.replace(compile=True))))


def test_each_choice_of_a_configuration_is_among_the_variants():
    varied = {(name, value) for variant in VARIANTS for name, value in variant.items()}
    for field in dataclasses.fields(ModelConfig):
        choices = (True, False) if field.type is bool else get_args(field.type)
        if all(isinstance(choice, (str, bool)) for choice in choices):
            assert {(field.name, choice) for choice in choices} - varied <= {(field.name, field.default)}, field.name
