"""The tables that a make target precomputes: complete, and each of their rows can be made again."""

import json
import runpy

import numpy as np
import pytest
import torch

from bigmodel_lib.text import sources
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training import checkpoints, trainer


@pytest.fixture
def recipes(monkeypatch):
    """Recipes find each other."""
    monkeypatch.syspath_prepend(str(data_path("recipes")))


@pytest.fixture
def few_steps(monkeypatch, recipes):
    """Runs end after three steps, whatever their budget, and read a tenth of the manual."""
    text = sources.python_manual()[:35_000]
    monkeypatch.setattr(sources, "python_manual", lambda: text)
    monkeypatch.setattr(trainer.Trainer, "fraction", lambda run, running=0.0: min(1.0, run.step / 3))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


def maker_and_rows(name):
    table = json.loads(data_path(f"{name}.json").read_text(encoding="utf-8"))
    assert table["how"]["made_by"] == f"data/recipes/{name}.py"
    assert {"hardware", "versions", "text"} <= table["how"].keys()
    return runpy.run_path(str(data_path(f"recipes/{name}.py"))), table["rows"]


def keys_of(rows, *names):
    found = [tuple(row[name] for name in names) for row in rows]
    assert len(found) == len(set(found))
    return set(found)


def test_the_budgets_table_has_every_size_budget_part_and_seed(recipes):
    maker, rows = maker_and_rows("budget")
    wanted = maker["jobs_of"](dict.fromkeys(maker["SIZES"], 0.1))
    for table, names in (
        ("budget", ("seconds", "preset", "d_model", "seed")),
        ("part", ("d_model", "part", "dropout", "seed")),
    ):
        these = [[row for row in all_rows if row["table"] == table] for all_rows in (rows, wanted)]
        assert keys_of(these[0], *names) == keys_of(these[1], *names)


def test_a_row_of_the_budgets_table_can_be_made(few_steps):
    maker, _ = maker_and_rows("budget")
    for row in ({"table": "budget", "seconds": 10, "preset": "medium", "d_model": 32, "steps": 3, "seed": 0},
                {"table": "part", "d_model": 32, "part": 100, "dropout": 0.3, "seed": 0}):  # fmt: skip
        made = maker["job"](row)
        assert row.items() <= made.items() and 1 < made["loss"] < 6 and made["parameters"] > 0


def test_the_table_of_what_was_tried_has_every_row_and_seed():
    maker, rows = maker_and_rows("tried")
    assert keys_of(rows, "row", "seed") == {(name, seed) for name in maker["TRIED"] for seed in maker["SEEDS"]}


@pytest.mark.parametrize("trick", ["values", "embedding", "softcap", "windows", "average"])  # "all runs" has 4-grams
def test_a_trick_that_was_tried_does_something_and_starts_from_the_same_place(trick, few_steps):
    maker, _ = maker_and_rows("tried")
    names = {row[1]: name for name, row in maker["TRIED"].items() if row[1]}
    plain, other = (maker["build"](name, 0) for name in ("the preset without n-grams", names[trick]))
    for name, weight in plain.model.named_parameters():
        assert torch.equal(weight, dict(other.model.named_parameters())[name]), name
    tokens = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        shared = dict(plain.model.named_parameters())
        generator = torch.Generator().manual_seed(0)
        for name, weight in other.model.named_parameters():  # away from the zeros of the start
            weight.normal_(0, 0.3, generator=generator)
            if name in shared:
                shared[name].copy_(weight)
        differ = not torch.allclose(plain.model(tokens), other.model(tokens))
        assert differ == (trick in ("values", "embedding", "softcap"))
    if trick == "windows":
        assert other.next_batch()[0][0].shape[1] == 32
    assert 1 < maker["job"]((names[trick], 0))["loss"] < 6


def test_the_encoder_finds_as_many_hidden_words_as_it_says():
    maker = runpy.run_path(str(data_path("recipes/encoder.py")))
    model, tokenizer = checkpoints.load_model(data_path("encoder"))
    metrics = json.loads((data_path("encoder") / "metrics.json").read_text(encoding="utf-8"))
    run, world, same = maker["build"](steps=2)
    assert not model.config.causal and model.config == run.model.config and tokenizer.vocabulary == same.vocabulary
    assert (data_path("encoder") / "model.safetensors").stat().st_size < 2_000_000
    batches, rng = maker["hidden_batches"](world, tokenizer), np.random.default_rng(11)
    assert abs(maker["share_right"](model, batches, rng, 12) - metrics["hidden_words_right"]) < 0.04
    x, y = run.next_batch()[0]
    assert x.shape == y.shape == (32, 64) and 0.1 < (y >= 0).float().mean() < 0.2 and x.max() == tokenizer.vocab_size
    [look] = list(run)
    assert look.step == 2
