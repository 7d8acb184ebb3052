"""Train a small model of GPT-2's architecture, which notebook 03 loads into NumPy: `make data NAME=tiny_gpt2`.

Learned positions, LayerNorm with a gain before each branch, full attention, GELU, one table for input and output, and
GPT-2's first weights (Radford et al. 2019); without biases. It reads stories of the story world that are made up as it
goes, so none is read twice.
"""

import sys

import torch
from stories import BATCH, gap, keep, story_batches, train

from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.storyworld import StoryWorld

SIZES = dict(d_model=96, n_heads=4, d_ff=384, context_length=128, norm_gain=True)
TRAINING = dict(
    steps=5000, batch_size=BATCH, optimizer="muon", muon_lr=0.02, adamw_lr=0.006, momentum=0.95,
    decay="linear", final_lr=0.0, weight_decay=0.0,
)  # fmt: skip


def main() -> int:
    world = StoryWorld(longest=64)
    tokenizer = world.tokenizer()
    sizes, config = preset("plain", tokenizer.vocab_size, **SIZES, **TRAINING)
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(0))
    run = train(model, config, story_batches(world, tokenizer))
    keep("tiny_gpt2", run, tokenizer, lambda model: gap(model, world, tokenizer), made_by="tiny_gpt2")
    return 0


if __name__ == "__main__":
    sys.exit(main())
