"""Train small models on as many processes as there are, and write their curves: run by tests/test_processes.py.

Arguments: a folder. The first process writes curves.json: {name: [loss at every step]}.
"""

import itertools
import json
import os
import pathlib
import sys

import numpy as np
import torch

from bigmodel_lib.cli.run import join_processes
from bigmodel_lib.finetuning import dpo
from bigmodel_lib.finetuning.classification import classifier_from
from bigmodel_lib.finetuning.lora import add_lora
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text.batches import LabelledBatches, causal_batches, masked_batches
from bigmodel_lib.training import trainer
from bigmodel_lib.training.distributed import Processes

TOKENS = np.random.default_rng(0).integers(0, 19, 3000)
SIZES = dict(steps=50, d_model=16, context_length=12, n_layers=2, n_heads=2)


def model_and_config(dtype, recipe="small", **changes):
    """A model without zeros: each gradient counts from the first step on."""
    model_config, config = preset(recipe, 20, **{**SIZES, **changes})
    model = initialise(LanguageModel(model_config).to(dtype), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=dtype))
    return model, config


def pretraining(dtype, recipe="small", **changes):
    """(model, batches, loss_fn, config) of a language model."""
    model, config = model_and_config(dtype, recipe, **changes)
    sizes = config.batch_size, model.config.context_length
    source = causal_batches(TOKENS, *sizes) if model.config.causal else masked_batches(TOKENS, *sizes, 19)
    return model, source, trainer.next_token_loss, config


def classification(dtype, lora=False, **changes):
    """A classifier whose epochs end with a batch of a single text: one of two processes has none of it then."""
    model, config = model_and_config(dtype, **changes)
    lengths = np.random.default_rng(1).integers(1, 30, 41)
    documents = [TOKENS[start : start + length] for start, length in enumerate(lengths)]
    labels = [int(document.mean() > 9) + int(document[-1] > 12) for document in documents]
    classifier = classifier_from(model, 3).to(dtype)
    if lora:
        add_lora(classifier, generator=torch.Generator().manual_seed(0))
    return classifier, LabelledBatches(documents, labels, config.batch_size, 12), trainer.next_token_loss, config


def preferences(dtype, **changes):
    """DPO on pairs of different lengths."""
    model, config = model_and_config(dtype, **changes)
    draws = np.random.default_rng(2)
    pairs = [tuple([*draws.integers(1, 19, draws.integers(2, 8)).tolist(), 0] for _ in range(2)) for _ in range(20)]
    loss_fn = dpo.preference_loss(model, [1, 2, 3], pairs)
    return model, dpo.pair_batches([1, 2, 3], pairs, config.batch_size), loss_fn, config


DOUBLE = torch.float64
LOW = dict(muon_lr=0.002, adamw_lr=0.001)
RUNS = {
    "causal, 64 bits": lambda: pretraining(DOUBLE, batch_size=5),
    "masked, 64 bits": lambda: pretraining(DOUBLE, batch_size=3, causal=False),
    "causal, 32 bits, clipped": lambda: pretraining(torch.float32, batch_size=6, clip=0.5),
    "plain, 64 bits": lambda: pretraining(DOUBLE, "plain", batch_size=4, adamw_lr=1e-2, eps=1e-8),
    "by the clock, 64 bits": lambda: pretraining(DOUBLE, batch_size=4, steps=None, minutes=5.0),
    "classification, 64 bits": lambda: classification(DOUBLE, batch_size=8, **LOW),
    "lora, 64 bits": lambda: classification(DOUBLE, True, batch_size=8, optimizer="adamw", adamw_lr=0.005),
    "preferences, 64 bits": lambda: preferences(DOUBLE, batch_size=6, **LOW),
    "preferences, 64 bits, clipped": lambda: preferences(DOUBLE, batch_size=6, clip=0.01, **LOW),
}


def run(name: str, processes: Processes | None = None) -> trainer.Trainer:
    """One of RUNS, not yet begun; its clock is made up, and differs between processes."""
    readings, rank = itertools.count(), processes.rank if processes else 0
    clock = lambda: next(readings) * (3.0 + rank / 1000)  # noqa: E731
    made = trainer.Trainer(*RUNS[name](), processes=processes)
    made.clock = clock
    return made


def main(folder: str) -> None:
    torch.set_num_threads(1)
    trainer.REPORT_EVERY = 1
    processes, _ = join_processes(torch.device("cpu"))
    curves = {name: [progress.loss for progress in run(name, processes)] for name in RUNS}
    if processes.is_main_process:
        pathlib.Path(folder, "curves.json").write_text(json.dumps(curves))
    processes.barrier()
    os._exit(0)  # without the tidying up in which gloo's threads abort now and then


if __name__ == "__main__":
    main(*sys.argv[1:])
