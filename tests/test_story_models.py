"""The committed story models do what their metrics say; and can be made again."""

import importlib
import json

import numpy as np
import pytest
import torch

from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints, trainer


@pytest.fixture
def maker(monkeypatch):
    """A function name -> the module data/recipes/<name>.py."""
    monkeypatch.syspath_prepend(str(data_path("recipes")))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    return lambda name: importlib.import_module(name)


@pytest.fixture
def few_steps(monkeypatch):
    """Runs end after three steps, whatever their budget."""
    monkeypatch.setattr(trainer.Trainer, "fraction", lambda run, running=0.0: min(1.0, run.step / 3))


def read(name):
    return json.loads(data_path(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["storyteller", "assistant"])
def test_a_story_model_is_small_and_reads_the_words_of_its_world(name, maker):
    model, tokenizer = checkpoints.load_model(data_path(name))
    assert tokenizer.vocabulary == maker("stories").world_and_tokenizer()[1].vocabulary
    assert (data_path(name) / "model.safetensors").stat().st_size < 2_000_000
    assert {tensor.dtype for tensor in checkpoints.load_tensors(data_path(name) / "model.safetensors")[0].values()} == {
        torch.bfloat16
    }


def test_the_storyteller_is_as_near_to_the_floor_as_it_says(maker):
    stories, metrics = maker("stories"), read("storyteller/metrics.json")
    found = stories.gap(checkpoints.load_model(data_path("storyteller"))[0], *stories.world_and_tokenizer(), 150)
    said = metrics["loss"] - metrics["floor"]
    assert 0 < said < 0.05 and abs(found["loss"] - found["floor"] - said) < 0.01


def test_the_tiny_gpt2_has_gpt2_s_parts_and_is_as_near_to_the_floor_as_it_says(maker):
    (model, tokenizer), metrics = checkpoints.load_model(data_path("tiny_gpt2")), read("tiny_gpt2/metrics.json")
    c = model.config
    assert (c.positions, c.norm, c.norm_gain, c.activation, c.tied) == ("learned", "layer", True, "gelu", True)
    assert not c.qk_norm and not c.token_shift and c.n_key_heads == c.n_heads and c.causal
    assert sum(file.stat().st_size for file in data_path("tiny_gpt2").iterdir()) < 3_000_000
    found = maker("stories").gap(model, StoryWorld(longest=64), tokenizer, 150)
    said = metrics["loss"] - metrics["floor"]
    assert 0 < said < 0.08 and abs(found["loss"] - found["floor"] - said) < 0.015


def test_batches_hold_as_many_tasks_of_each_kind_as_asked_for(maker):
    stories = maker("stories")
    world, tokenizer = stories.world_and_tokenizer()
    x, y = stories.task_batches(world, tokenizer, {"question": 3, "story": 2})(np.random.default_rng(0))
    ask, start = tokenizer.encode("<question>")[0], tokenizer.encode("<story>")[0]
    assert (x == ask).any(axis=1).tolist() == [True] * 3 + [False] * 2 and (x[:, 0] == start).all()
    assert (y[3:, 0] >= 0).all() and (y[:3, 0] == -1).all()
