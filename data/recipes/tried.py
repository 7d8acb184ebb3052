"""What else the field knows, tried on the preset medium: `make data NAME=tried` writes data/tried.json.

Each row changes one thing and keeps the rates; three seeds with the same starts and batches as the first row's; all
read as many characters of the Python manual. What paid is in the preset now; the rest stands here with its numbers.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import pathlib
import platform
import sys
import time

import numpy as np
import torch
from torch import nn

from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.layers import hooked, layer_norm
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Trainer, next_token_loss

FILE = pathlib.Path(__file__).resolve().parents[1] / "tried.json"
STEPS, SEEDS = 160, (0, 1, 2)

# row: (fields of the configurations, what changes in the model or the loop)
TRIED = {
    "the preset without n-grams": ({}, None),
    "pairs": (dict(ngrams=2), None),
    "pairs and triples": (dict(ngrams=3), None),
    "up to four": (dict(ngrams=4), None),
    "up to four, none left out": (dict(ngrams=4, ngram_dropout=0.0), None),
    "value residuals": ({}, "values"),
    "the embedding added to each block": ({}, "embedding"),
    "softcapping at 15": ({}, "softcap"),
    "short windows first": ({}, "windows"),
    "averaged weights": ({}, "average"),
    "dropout 0.1": (dict(dropout=0.1), None),
    "momentum 0.9": (dict(momentum=0.9), None),
    "batches of 8, twice the steps": (dict(batch_size=8, steps=2 * STEPS), None),
}


class Tried(LanguageModel):
    """A language model with one of the tricks that are not in the library."""

    def __init__(self, config, trick):
        super().__init__(config)
        self.trick = trick
        self.shift = nn.Parameter(torch.empty(config.n_layers, config.d_model)) if trick == "embedding" else None

    def forward(self, tokens):
        x, rotation = self.embed(tokens), self.rotation(tokens.shape[1])
        embedded = x
        for i, block in enumerate(self.blocks):
            if self.trick == "embedding" and i:  # each block sees the token itself again
                x = x + self.shift[i] * embedded
            x = block(x, rotation)
        logits = layer_norm(x) @ self.w_out
        return 15 * torch.tanh(logits / 15) if self.trick == "softcap" else logits


class ValueResiduals(LanguageModel):
    """A decoder whose blocks add the first one's values: v ← v + λ v₁, λ learned, from 0. Source: Zhou et al. 2024."""

    def __init__(self, config):
        super().__init__(config)
        self.value_shares = nn.Parameter(torch.empty(config.n_layers))

    def states(self, tokens, cache=None, hooks=None):
        first = []

        def add_first(layer, v):
            first.append(v)
            v = v + self.value_shares[layer] * first[0] if layer else v
            return hooked(hooks, "v", layer, v)

        return super().states(tokens, cache, {**(hooks or {}), "v": add_first})


def texts():
    """(vocabulary size, training tokens, validation tokens)."""
    text = sources.python_manual()
    tokenizer = CharacterTokenizer(text)
    return tokenizer.vocab_size, *batches.split_tokens(tokenizer.encode(text), 128)


def shorter_windows(tokens, batch_size: int):
    """A source of as many tokens in windows of 32, then 64, then 128."""
    steps = itertools.count()

    def batch(rng):
        step = next(steps)
        length = 32 if step < 0.3 * STEPS else 64 if step < 0.6 * STEPS else 128
        return batches.random_windows(tokens, batch_size * 128 // length, length, rng)

    return batch


def build(row: str, seed: int) -> Trainer:
    """The run of one row, not yet begun."""
    changes, trick = TRIED[row]
    vocab_size, train, _ = texts()
    model_config, config = preset("medium", vocab_size, seed=seed, **{"ngrams": 1, "steps": STEPS, **changes})
    model = ValueResiduals(model_config) if trick == "values" else Tried(model_config, trick)
    initialise(model, torch.Generator().manual_seed(seed))
    source = batches.causal_batches(train, config.batch_size, model_config.context_length)
    if trick == "windows":
        source = shorter_windows(train, config.batch_size)
    return Trainer(model, source, next_token_loss, config)


def job(arguments) -> dict:
    row, seed = arguments
    torch.set_num_threads(1)
    run, averages, n = build(row, seed), None, 0
    for look in run:
        if TRIED[row][1] == "average" and look.fraction >= 0.5:  # of the second half, ten steps apart
            weights = [parameter.detach().clone() for parameter in run.model.parameters()]
            n, averages = n + 1, weights if averages is None else averages
            torch._foreach_lerp_(averages, weights, 1 / n)
    if averages is not None:
        with torch.no_grad():
            [parameter.copy_(mean) for parameter, mean in zip(run.model.parameters(), averages, strict=True)]
    loss, parameters = evaluate(run.model, texts()[2]), count_parameters(run.model)
    milliseconds = round(1000 * run.seconds / STEPS, 1)  # for as many tokens
    return {"row": row, "seed": seed, "loss": round(loss, 4), "parameters": parameters, "milliseconds": milliseconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    jobs, table, start = [(row, seed) for row in TRIED for seed in SEEDS], [], time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for row in pool.imap(job, jobs):
            table.append(row)
            print(f"{time.perf_counter() - start:6.0f} s  {len(table)}/{len(jobs)}", row, flush=True)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    how = {"made_by": "data/recipes/tried.py", "text": "the Python manual", "steps": STEPS, "hardware": hardware(),
           "versions": versions}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in table)
    FILE.write_text(f'{{"how": {json.dumps(how, ensure_ascii=False)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
