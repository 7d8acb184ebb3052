"""Train the encoder that notebook 09 opens up, and write it to data/encoder: `make data NAME=encoder`.

It guesses hidden words of English stories from both sides. The stories are made up as it goes, so none is read twice.
Its vocabulary is that of all language tasks on the story world, so that other models of the course can share it.
"""

import pathlib
import platform
import sys

import numpy as np
import torch

from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld.tasks import task_tokenizer
from bigmodel_lib.text.batches import mask_tokens
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, next_token_loss

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "encoder"
STEPS, BATCH, LENGTH = 3000, 32, 64


def hidden_batches(world, tokenizer):
    """A source of (x, y): windows of one new story after another, with some words hidden."""
    stock: list = []

    def batch(rng):
        while len(stock) < BATCH * LENGTH:
            stock.extend(tokenizer.encode(f"{START} {world.sample(rng).text} {END}").tolist())
        windows = np.array(stock[: BATCH * LENGTH], dtype=np.int64).reshape(BATCH, LENGTH)
        del stock[: BATCH * LENGTH]
        return mask_tokens(windows, tokenizer.vocab_size, rng)

    return batch


def build(steps: int = STEPS):
    """(run, world, tokenizer) of the encoder, not yet begun."""
    world = StoryWorld(longest=40)
    tokenizer = task_tokenizer(world)
    model_config, config = preset(
        "small", tokenizer.vocab_size + 1, steps=steps, causal=False, context_length=LENGTH, n_heads=4, d_ff=256,
        batch_size=BATCH, muon_lr=0.012, momentum=0.95, warmup_steps=20,
    )  # fmt: skip
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0))
    next_batch, rng = hidden_batches(world, tokenizer), np.random.default_rng(4)
    run = Trainer(model, lambda _: next_batch(rng), next_token_loss, config)  # its stories have a seed of their own
    return run, world, tokenizer


@torch.no_grad()
def share_right(model, next_batch, rng, batches: int = 50) -> float:
    """The share of hidden words, in new stories, that the model holds for the likeliest."""
    right, asked = 0, 0
    with evaluating(model):
        for x, y in (map(torch.from_numpy, next_batch(rng)) for _ in range(batches)):
            right += int(((model(x).argmax(dim=-1) == y) & (y >= 0)).sum())
            asked += int((y >= 0).sum())
    return right / asked


def main() -> int:
    run, world, tokenizer = build()
    for look in run:
        if look.step % 500 == 0:
            print(f"step {look.step}  loss {look.loss:.4f}  {look.seconds:.0f} s", flush=True)
    FOLDER.mkdir(exist_ok=True)
    checkpoints.save_model(FOLDER, run.model, tokenizer, torch.bfloat16)
    kept, _ = checkpoints.load_model(FOLDER)  # its weights are rounded
    right = share_right(kept, hidden_batches(world, tokenizer), np.random.default_rng(5))
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    curve = [row for row in run.curve if row["step"] % 100 == 0]
    metrics = dict(hidden_words_right=right, parameters=count_parameters(run.model), steps=run.step,
                   train_seconds=run.seconds, made_by="data/recipes/encoder.py", hardware=hardware(), versions=versions,
                   train_config=run.config.to_dict(), curve=curve)  # fmt: skip
    checkpoints.write_json(FOLDER / "metrics.json", metrics)
    print(f"hidden words right: {right:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
