"""The pace of the model by hand against its twin in PyTorch, a part of `make bench`: stretches of steps, in turn.

4 layers, d_model 128, batch 16, context 64, float32, forward, backward and AdamW, on the same cores; medians, and
the median of the ratios of neighbouring stretches: who trains takes one step after another, with the caches warm.
"""

import functools
import os
import statistics

import numpy as np
import torch

from bigmodel_lib.by_hand.backprop import loss_and_gradients
from bigmodel_lib.by_hand.model import parameter_shapes
from bigmodel_lib.by_hand.optimizers import AdamW
from bigmodel_lib.measuring.costs import hardware, seconds_of
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.recipes import preset

STRETCHES, STEPS, VOCABULARY = 15, 6, 65
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def steps_of(recipe: str):
    """Two functions, one training step each from the same weights and batch: by hand, and the twin's."""
    ratio = 4 if recipe == "plain" else 2
    config, _ = preset(recipe, VOCABULARY, d_model=128, n_heads=4, n_layers=4, context_length=64, d_ff=ratio * 128)
    rng = np.random.default_rng(0)
    shapes = parameter_shapes(config)
    mine = {name: (rng.normal(size=shape) / 10).astype(np.float32) for name, shape in shapes.items()}
    windows = rng.integers(0, VOCABULARY, (16, 65))
    x, y = windows[:, :-1], windows[:, 1:]
    model = LanguageModel(config)
    model.load_state_dict({name: torch.tensor(w) for name, w in mine.items()})
    tensors = torch.tensor(x), torch.tensor(y)
    theirs = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    ours = AdamW(mine, 1e-3, 0.9, 0.95, 1e-8, 0.1)

    def twin():
        theirs.zero_grad(set_to_none=True)
        cross_entropy(model(tensors[0]), tensors[1]).backward()
        theirs.step()

    return lambda: ours.step(loss_and_gradients(x, y, mine, config)[1]), twin


def stretch(step) -> None:
    for _ in range(STEPS):
        step()


def main() -> None:
    torch.set_num_threads(THREADS)
    print(f"a training step by hand and in PyTorch on {hardware()}")
    for recipe in ("plain", "small"):
        ways = [functools.partial(stretch, step) for step in steps_of(recipe)]
        for way in ways:
            way()
        columns = seconds_of(dict(enumerate(ways)), repeats=STRETCHES).values()
        ours, theirs = (1000 / STEPS * statistics.median(column) for column in columns)
        ratio = statistics.median(mine / twin for mine, twin in zip(*columns, strict=True))
        print(f"{recipe:6} PyTorch eager {theirs:6.1f} ms; NumPy as taught {ours:6.1f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
