"""The pace of the model by hand against its twin in PyTorch, a part of `make bench`: one training step each, in turn.

4 layers, d_model 128, batch 16, context 64, float32, forward, backward and AdamW, on the same threads; medians, and the
median of the ratios of neighbouring steps.
"""

import concurrent.futures
import os
import statistics
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is loaded: the threads are ours, one part of the batch each

import numpy as np
import torch

from bigmodel_lib import model_numpy, model_torch
from bigmodel_lib.backprop_numpy import loss_and_gradients
from bigmodel_lib.config import preset
from bigmodel_lib.costs import hardware
from bigmodel_lib.optimizers_numpy import AdamW, loss_and_gradients_parallel

TIMES, VOCABULARY = 30, 65
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
POOL = concurrent.futures.ThreadPoolExecutor(THREADS)


def steps_of(recipe: str):
    """Two functions, each one training step on the same batch from the same weights: by hand, and the twin's."""
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
    ours = AdamW(parameters, 1e-3, 0.9, 0.95, 1e-8, 0.1)

    def twin():
        theirs.zero_grad(set_to_none=True)
        model_torch.cross_entropy(model(tensors[0]), tensors[1]).backward()
        theirs.step()

    def by_hand():
        if THREADS == 1:
            ours.step(loss_and_gradients(x, y, parameters, config)[1])
        else:
            ours.step(loss_and_gradients_parallel(x, y, parameters, config, POOL, THREADS)[1])

    return by_hand, twin


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(THREADS)
    print(f"a training step by hand and in PyTorch on {hardware()}")
    for recipe in ("plain", "small"):
        by_hand, twin = steps_of(recipe)
        for work in (by_hand, twin) * 3:
            work()
        pairs = [(seconds(by_hand), seconds(twin)) for _ in range(TIMES)]
        ours, theirs = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(
            f"{recipe:6} NumPy {ours:6.1f} ms, PyTorch eager {theirs:6.1f} ms, ratio {ratio:.2f} (wanted: 1.00 or less)"
        )


if __name__ == "__main__":
    main()
