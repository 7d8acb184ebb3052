"""The pace of the model by hand against its twin in PyTorch, a part of `make bench`: stretches of steps, in turn.

4 layers, d_model 128, batch 16, context 64, float32, forward, backward and AdamW, on the same cores; medians, and
the median of the ratios of neighbouring stretches: who trains takes one step after another, with the caches warm.
By hand twice: as it is taught, and with `FastBlock` and `FastAdamW`. On several cores PyTorch takes as many threads,
and by hand as many processes share the batch out.
"""

import contextlib
import functools
import os
import statistics

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is loaded: each process takes one

import numpy as np
import torch

from bigmodel_lib import model_numpy, model_torch
from bigmodel_lib.backprop_numpy import block_backward, block_forward
from bigmodel_lib.config import preset
from bigmodel_lib.costs import hardware, seconds_of
from bigmodel_lib.fast_numpy import FastAdamW, FastBlock
from bigmodel_lib.optimizers_numpy import AdamW
from bigmodel_lib.workers_numpy import Workers

STRETCHES, STEPS, VOCABULARY = 15, 6, 65
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def steps_of(recipe: str, stack):
    """Three functions, one training step each from the same weights and batch: by hand, fast, and the twin's."""
    ratio = 4 if recipe == "plain" else 2
    config, _ = preset(recipe, VOCABULARY, d_model=128, n_heads=4, n_layers=4, context_length=64, d_ff=ratio * 128)
    rng = np.random.default_rng(0)
    shapes = model_numpy.parameter_shapes(config)
    parameters = {name: (rng.normal(size=shape) / 10).astype(np.float32) for name, shape in shapes.items()}
    windows = rng.integers(0, VOCABULARY, (16, 65))
    x, y = windows[:, :-1], windows[:, 1:]
    model = model_torch.LanguageModel(config)
    model.load_state_dict({name: torch.tensor(w) for name, w in parameters.items()})
    tensors = torch.tensor(x), torch.tensor(y)
    theirs = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)

    def twin():
        theirs.zero_grad(set_to_none=True)
        model_torch.cross_entropy(model(tensors[0]), tensors[1]).backward()
        theirs.step()

    def stepper(one_block, optimizer):
        mine = {name: w.copy() for name, w in parameters.items()}
        workers = stack.enter_context(Workers(mine, config, THREADS, one_block))
        ours = optimizer(mine, 1e-3, 0.9, 0.95, 1e-8, 0.1)
        return lambda: ours.step(workers.loss_and_gradients(x, y)[1])

    return stepper((block_forward, block_backward), AdamW), stepper(FastBlock(), FastAdamW), twin


def stretch(step) -> None:
    for _ in range(STEPS):
        step()


def main() -> None:
    torch.set_num_threads(THREADS)
    print(f"a training step by hand and in PyTorch on {hardware()}")
    for recipe in ("plain", "small"):
        with contextlib.ExitStack() as stack:
            ways = [functools.partial(stretch, step) for step in steps_of(recipe, stack)]
            for way in ways:
                way()
            columns = seconds_of(dict(enumerate(ways)), repeats=STRETCHES).values()
        taught, fast, theirs = (1000 / STEPS * statistics.median(column) for column in columns)
        ratios = [statistics.median(row[i] / row[2] for row in zip(*columns, strict=True)) for i in (0, 1)]
        print(
            f"{recipe:6} PyTorch eager {theirs:6.1f} ms; NumPy as taught {taught:6.1f} ms, ratio {ratios[0]:.2f}; "
            f"fast {fast:6.1f} ms, ratio {ratios[1]:.2f} (wanted: 1.00 or less)"
        )


if __name__ == "__main__":
    main()
