"""Train three kinds of blocks by hand, over rates and seeds: `make data NAME=blocks` writes data/blocks.json.

The kinds are (4.1) as printed with its gate kept at 1, (4.1) with a learned gate that starts shut, and the standard
block. All read the same stories of the story world with the same width, learned positions and GELU. Notebook 04 draws
the table and makes one of its rows again.
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
STEPS, BATCH, SEEDS, RATES = 500, 16, (0, 1, 2, 3, 4), (3e-3, 1e-2, 2e-2, 4e-2)
RUNS = [("standard", 1), ("standard", 2), *((kind, n) for kind in ("literal", "gated") for n in (1, 2, 4, 8))]


def formula_4_1_forward(x, p, config, rotation=None, mask=0.0):
    """f(x W1 + b1 · attention(z, z, z)), z = x W2 + b2, in the place of a block; p holds w1, b1, w2, b2."""
    z, inner = linear_forward(x, p["w2"])
    z = z + p["b2"]
    a, attention = attention_forward(z, z, z, mask)
    h, outer = linear_forward(x, p["w1"])
    y, activation = ACTIVATIONS[config.activation][0](h + p["b1"] * a)
    return y, (inner, attention, a, outer, p["b1"], activation, config.activation)


def formula_4_1_backward(dy, cache):
    """z went in thrice, so three gradients add up. Returns dx and {name: gradient}."""
    inner, attention, a, outer, b1, activation, name = cache
    dh = ACTIVATIONS[name][1](dy, activation)
    dx, dw1 = linear_backward(dh, outer)
    dz = sum(attention_backward(b1 * dh, attention))
    dx_inner, dw2 = linear_backward(dz, inner)
    db1 = (dh * a).sum().reshape(1)
    return dx + dx_inner, {"w1": dw1, "b1": db1, "w2": dw2, "b2": dz.sum(axis=(0, 1))}


FORMULA = (formula_4_1_forward, formula_4_1_backward)


def ids_of(story, tokenizer):
    """A story's ids between its marks: its first word and its end are predicted too, as the world prices them."""
    return tokenizer.encode(f"{START} {story.text} {END}")


def first_parameters(kind: str, config: ModelConfig, rng) -> dict:
    """Embedding, positions, output and blocks; in (4.1) W1 is random, or the identity where the gate starts shut."""
    parameters = initialise(config, rng)
    if kind == "standard":
        return parameters
    parameters = {name: w for name, w in parameters.items() if not name.startswith("blocks.")}
    D = config.d_model
    for i in range(config.n_layers):
        w1 = np.eye(D) if kind == "gated" else rng.normal(size=(D, D)) / D**0.5
        b1 = np.zeros(1) if kind == "gated" else np.ones(1)
        values = {"w1": w1, "b1": b1, "w2": rng.normal(size=(D, D)) / D**0.5, "b2": np.zeros(D)}
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
    block = BLOCK if kind == "standard" else FORMULA
    parameters = first_parameters(kind, config, rng)
    trained = {name: w for name, w in parameters.items() if kind != "literal" or not name.endswith("b1")}
    optimizer = AdamW(trained, rate, 0.9, 0.95)
    losses = list(train(optimizer, lambda: document_batch(documents, BATCH, rng), parameters, config, steps, block))
    size = sum(w.size for name, w in parameters.items() if name.startswith("blocks."))
    gates = [float(w[0]) for name, w in parameters.items() if name.endswith(".b1")]
    gap = gap_to_floor(parameters, config, block, stories, tokenizer)
    row = {"kind": kind, "layers": n_layers, "rate": rate, "seed": seed, "in_blocks": size, "gap": round(gap, 4)}
    return row | {"last_loss": round(float(np.mean(losses[-20:])), 4), "gates": [round(gate, 3) for gate in gates]}


def texts(n_train: int = 6400, n_fresh: int = 200):
    """The world, stories to train on as ids, and fresh ones. Short stories, so that hundreds of steps suffice."""
    world, rng = StoryWorld(longest=40), np.random.default_rng(2024)
    tokenizer = world.tokenizer()
    documents = [ids_of(world.sample(rng), tokenizer) for _ in range(n_train)]
    return world, documents, [world.sample(rng) for _ in range(n_fresh)]


def main() -> None:
    world, documents, stories = texts()
    rows, start = [], time.perf_counter()
    for seed in SEEDS:
        for kind, n_layers in RUNS:
            for rate in RATES:
                rows.append(one_run(kind, n_layers, rate, seed, world, documents, stories))
                print(f"{time.perf_counter() - start:6.0f} s", rows[-1], flush=True)
    how = {"steps": STEPS, "batch_size": BATCH, "d_model": 48, "made_by": "data/recipes/blocks.py",
           "versions": {"python": platform.python_version(), "numpy": np.__version__}}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    FILE.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
