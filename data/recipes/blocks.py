"""Train three kinds of blocks by hand at four depths: `make data NAME=blocks` writes data/blocks.json.

The kinds are (4.1) as printed, (4.1) as ReZero (f and W1 the identity, b1 learned from 0), and the standard block. All
read the same stories of the story world with the same width, learned positions and, where there is one, GELU. The rate
of each kind at each depth is the best of a grid on two seeds of its own; the grid grows until its best is inside. Five
other seeds are then trained at that rate. A gap of 99 is a run that broke. Rows are kept as they are made, so that a
stopped run goes on.
"""

import json
import pathlib
import platform
import sys
import time

import numpy as np

from bigmodel_lib.by_hand.backprop import (
    ACTIVATIONS,
    BLOCK,
    attention_backward,
    attention_forward,
    language_model_forward,
    linear_backward,
    linear_forward,
)
from bigmodel_lib.by_hand.model import cross_entropy, initialise
from bigmodel_lib.by_hand.optimizers import AdamW, train
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.text.batches import document_batch

FILE = pathlib.Path(__file__).resolve().parents[1] / "blocks.json"
STEPS, BATCH, TUNING_SEEDS, SEEDS = 500, 16, (10, 11), (0, 1, 2, 3, 4)
RATES = (5e-3, 1e-2, 2e-2, 4e-2)  # to begin with
KINDS, DEPTHS = ("literal", "rezero", "standard"), (1, 2, 4, 8)


def branch_forward(x, p, mask):
    """attention(z, z, z) of z = x W2 + b2, the second half of (4.1)."""
    z, inner = linear_forward(x, p["w2"])
    z = z + p["b2"]
    a, attention = attention_forward(z, z, z, mask)
    return a, (inner, attention)


def branch_backward(da, cache):
    """z went in thrice, so three gradients add up."""
    inner, attention = cache
    dz = sum(attention_backward(da, attention))
    dx, dw2 = linear_backward(dz, inner)
    return dx, {"w2": dw2, "b2": dz.sum(axis=(0, 1))}


def literal_forward(x, p, config, rotation=None, mask=0.0):
    """f(x W1 + b1 · attention(x W2 + b2)), in the place of a block."""
    a, branch = branch_forward(x, p, mask)
    h, outer = linear_forward(x, p["w1"])
    y, activation = ACTIVATIONS[config.activation][0](h + p["b1"] * a)
    return y, (branch, a, outer, p["b1"], activation, config.activation)


def literal_backward(dy, cache):
    """Returns dx and {name: gradient}."""
    branch, a, outer, b1, activation, name = cache
    dh = ACTIVATIONS[name][1](dy, activation)
    dx, dw1 = linear_backward(dh, outer)
    dx_branch, gradients = branch_backward(b1 * dh, branch)
    return dx + dx_branch, gradients | {"w1": dw1, "b1": (dh * a).sum().reshape(1)}


def rezero_forward(x, p, config, rotation=None, mask=0.0):
    """x + b1 · attention(x W2 + b2): f and W1 are the identity."""
    a, branch = branch_forward(x, p, mask)
    return x + p["b1"] * a, (branch, a, p["b1"])


def rezero_backward(dy, cache):
    """Returns dx and {name: gradient}."""
    branch, a, b1 = cache
    dx_branch, gradients = branch_backward(b1 * dy, branch)
    return dy + dx_branch, gradients | {"b1": (dy * a).sum().reshape(1)}


FORMULA, REZERO = (literal_forward, literal_backward), (rezero_forward, rezero_backward)
BLOCKS = {"literal": FORMULA, "rezero": REZERO, "standard": BLOCK}


def ids_of(story, tokenizer):
    """A story's ids between its marks: its first word and its end are predicted too, as the world prices them."""
    return tokenizer.encode(f"{START} {story.text} {END}")


def first_parameters(kind: str, config: ModelConfig, rng) -> dict:
    """Embedding, positions, output and blocks; b1 is 1 in the literal formula, 0 in ReZero."""
    parameters = initialise(config, rng)
    if kind == "standard":
        return parameters
    parameters = {name: w for name, w in parameters.items() if not name.startswith("blocks.")}
    D = config.d_model
    for i in range(config.n_layers):
        values = {"b1": np.zeros(1), "w2": rng.normal(size=(D, D)) / D**0.5, "b2": np.zeros(D)}
        if kind == "literal":
            values |= {"b1": np.ones(1), "w1": rng.normal(size=(D, D)) / D**0.5}
        parameters |= {f"blocks.{i}.{name}": value.astype(np.float32) for name, value in values.items()}
    return parameters


def gap_to_floor(parameters, config, block, stories, tokenizer) -> float:
    """Mean loss minus the world's own, on the same tokens of the same stories. Raises ValueError if they are not."""
    documents = [ids_of(story, tokenizer) for story in stories]
    length = max(map(len, documents)) - 1
    each_once = [document_batch([document], 1, np.random.default_rng(0), length) for document in documents]
    x, y = (np.concatenate(arrays) for arrays in zip(*each_once, strict=True))
    if (y >= 0).sum() != sum(len(story.token_log_probs()) for story in stories):
        raise ValueError("the model and the world must be scored on the same tokens: is a mark missing?")
    logits, _ = language_model_forward(x, parameters, config, block)
    return float(cross_entropy(logits, y) + sum(story.log_prob for story in stories) / (y >= 0).sum())


def one_run(kind: str, n_layers: int, rate: float, seed: int, world, documents, stories, steps: int = STEPS) -> dict:
    """One row of the table: train from `seed` and measure on stories that were not trained on."""
    tokenizer, rng = world.tokenizer(), np.random.default_rng(seed)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, context_length=120, d_model=48, n_layers=n_layers, n_heads=2, d_ff=96,
        positions="learned", activation="gelu", token_shift=False,
    )  # fmt: skip
    parameters = first_parameters(kind, config, rng)
    trained = {name: w for name, w in parameters.items() if kind != "literal" or not name.endswith("b1")}
    optimizer, block = AdamW(trained, rate, 0.9, 0.95), BLOCKS[kind]
    list(train(optimizer, lambda: document_batch(documents, BATCH, rng), parameters, config, steps, block))
    size = sum(w.size for name, w in parameters.items() if name.startswith("blocks."))
    gates = [round(float(w[0]), 3) for name, w in parameters.items() if name.endswith(".b1")]
    gap = gap_to_floor(parameters, config, block, stories, tokenizer)
    gap = round(float(gap), 4) if np.isfinite(gap) else 99.0
    row = {"kind": kind, "layers": n_layers, "rate": rate, "seed": seed, "in_blocks": size, "gap": gap}
    return row | {"gates": gates}


def best_rate(rows: list[dict], kind: str, n_layers: int) -> float:
    """The rate whose gap, averaged over the tuning seeds, is smallest."""
    tuned = [row for row in rows if (row["kind"], row["layers"]) == (kind, n_layers) and row["seed"] in TUNING_SEEDS]
    mean = {rate: np.mean([row["gap"] for row in tuned if row["rate"] == rate]) for rate in {r["rate"] for r in tuned}}
    return min(mean, key=mean.get)


def runs(kind: str, n_layers: int, rows: list[dict]):
    """Yield (rate, seed): the grid, wider while its best is at an edge, then the best rate on the other seeds."""
    grid = list(RATES)
    yield from ((rate, seed) for rate in grid for seed in TUNING_SEEDS)
    while not min(grid) < (best := best_rate(rows, kind, n_layers)) < max(grid):
        grid.append(max(grid) * 2 if best >= max(grid) else min(grid) / 2)
        yield from ((grid[-1], seed) for seed in TUNING_SEEDS)
    yield from ((best, seed) for seed in SEEDS)


def texts(n_train: int = 6400, n_fresh: int = 200):
    """The world, stories to train on as ids, and fresh ones. Short stories, so that hundreds of steps suffice."""
    world, rng = StoryWorld(longest=40), np.random.default_rng(2024)
    tokenizer = world.tokenizer()
    documents = [ids_of(world.sample(rng), tokenizer) for _ in range(n_train)]
    return world, documents, [world.sample(rng) for _ in range(n_fresh)]


def save(rows: list[dict]) -> None:
    how = {"steps": STEPS, "batch_size": BATCH, "d_model": 48, "made_by": "data/recipes/blocks.py",
           "tuning_seeds": TUNING_SEEDS, "seeds": SEEDS,
           "versions": {"python": platform.python_version(), "numpy": np.__version__}}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)  # whole at once: a run that is stopped here loses no row


def main() -> None:
    world, documents, stories = texts()
    rows, start = [], time.perf_counter()
    if FILE.exists():
        rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    for n_layers in DEPTHS:
        for kind in KINDS:
            for rate, seed in runs(kind, n_layers, rows):
                wanted = {"kind": kind, "layers": n_layers, "rate": rate, "seed": seed}
                if any(wanted.items() <= row.items() for row in rows):
                    continue
                rows.append(one_run(kind, n_layers, rate, seed, world, documents, stories))
                save(rows)
                print(f"{time.perf_counter() - start:6.0f} s", rows[-1], flush=True)


if __name__ == "__main__":
    sys.exit(main())
