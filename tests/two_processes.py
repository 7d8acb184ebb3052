"""Train small models on as many processes as there are, and write their curves: run by tests/test_processes.py.

Arguments: a folder. The first process writes curves.json: {name: [loss at every step's look]}.
"""

import itertools
import json
import pathlib
import sys

import numpy as np
import torch

from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.training import trainer
from bigmodel_lib.training.distributed import join_processes, leave

RUNS = {
    "causal, 64 bits": (torch.float64, "small", dict(batch_size=5)),
    "masked, 64 bits": (torch.float64, "small", dict(batch_size=3, causal=False)),
    "causal, 32 bits, clipped": (torch.float32, "small", dict(batch_size=6, clip=0.5)),
    "plain, 64 bits": (torch.float64, "plain", dict(batch_size=4, adamw_lr=1e-2, eps=1e-8)),
    "by the clock, 64 bits": (torch.float64, "small", dict(batch_size=4, steps=None, minutes=5.0)),
}


def curve(dtype, recipe, changes, processes):
    sizes = dict(d_model=16, context_length=12, n_layers=2, n_heads=2)
    model_config, config = preset(recipe, 20, **{"steps": 50, **sizes, **changes})
    model = initialise(LanguageModel(model_config).to(dtype), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():  # no zeros: each gradient counts from the first step on
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=dtype))
    tokens = np.random.default_rng(0).integers(0, 19, 3000)
    readings = itertools.count()
    clock = lambda: next(readings) * (3.0 + processes.rank / 1000)  # noqa: E731 (clocks that differ)
    return [look.loss for look in trainer.Pretraining(model, tokens, config, clock, processes)]


def main(folder: str) -> None:
    torch.set_num_threads(1)
    trainer.LOOK_EVERY = 1
    processes, _ = join_processes(torch.device("cpu"))
    curves = {name: curve(*run, processes) for name, run in RUNS.items()}
    if processes.first:
        pathlib.Path(folder, "curves.json").write_text(json.dumps(curves))
    processes.wait()
    leave(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
