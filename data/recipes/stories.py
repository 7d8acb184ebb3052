"""Train the storyteller of the story world, and write it to data/storyteller: `make data NAME=stories`.

It reads English stories that are made up as it goes, so none is read twice. What other recipes do with its world, its
tokenizer and its tasks is here, too.
"""

import pathlib
import platform
import sys

import numpy as np
import torch

from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld.tasks import Task, task_batch, task_tokenizer, tasks_of
from bigmodel_lib.text.batches import document_batch
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, next_token_loss

DATA = pathlib.Path(__file__).resolve().parents[1]
KINDS = ("continue", "question", "summary", "chinese")
SIZES = dict(d_model=96, n_heads=3, d_ff=384, context_length=160, momentum=0.95, warmup_steps=20, ngrams=1)
STEPS, BATCH = 5000, 32


def world_and_tokenizer():
    """The world of all the course's story models, and its words in both languages."""
    world = StoryWorld(longest=40)
    return world, task_tokenizer(world)


def story_batches(world, tokenizer):
    """A source of (x, y): whole new stories."""

    def batch(rng):
        stories = [tokenizer.encode(f"{START} {world.sample(rng).text} {END}") for _ in range(BATCH)]
        return document_batch(stories, BATCH, rng)

    return batch


def task_batches(world, tokenizer, kinds):
    """A source of (x, y): tasks on new stories, kinds {name: how many}; the kind "story" is a whole story."""

    def tasks_of_a_story(rng):
        story = world.sample(rng)
        return [*tasks_of(story, rng), Task("story", [START], [*story.tokens, END])]

    def batch(rng):
        tasks: list = []
        for kind, share in kinds.items():
            wanted = len(tasks) + share
            while len(tasks) < wanted:
                tasks += [task for task in tasks_of_a_story(rng) if task.kind == kind]
        return task_batch(tasks, tokenizer)

    return batch


def train(model, config, batches) -> Trainer:
    """A finished run, with a line every 500 steps."""
    run = Trainer(model, batches, next_token_loss, config)
    for look in run:
        if look.step % 500 == 0:
            print(f"step {look.step}  loss {look.loss:.4f}  {look.seconds:.0f} s", flush=True)
    return run


def keep(name: str, run: Trainer, tokenizer, measure, made_by: str = "stories") -> None:
    """Write a model, rounded, and what `measure` finds of what was written."""
    folder = DATA / name
    folder.mkdir(exist_ok=True)
    checkpoints.save_model(folder, run.model, tokenizer, torch.bfloat16)
    measured = measure(checkpoints.load_model(folder)[0])
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    curve = [row for row in run.curve if row["step"] % 100 == 0]
    metrics = dict(measured, parameters=count_parameters(run.model), steps=run.step, train_seconds=run.seconds,
                   made_by=f"data/recipes/{made_by}.py", hardware=hardware(), versions=versions,
                   train_config=run.config.to_dict(), curve=curve)  # fmt: skip
    checkpoints.write_json(folder / "metrics.json", metrics)
    print(name, measured)


@torch.no_grad()
def gap(model, world, tokenizer, n_stories: int = 1000) -> dict:
    """Loss on new stories beside the world's own, both in nats per token."""
    rng = np.random.default_rng(1)
    stories, cost, count = [world.sample(rng) for _ in range(n_stories)], 0.0, 0
    for story in stories:
        tokens = torch.from_numpy(tokenizer.encode(f"{START} {story.text} {END}")).long()
        cost += float(cross_entropy(model(tokens[None, :-1]), tokens[None, 1:])) * (len(tokens) - 1)
        count += len(tokens) - 1
    return {"loss": cost / count, "floor": -sum(story.log_prob for story in stories) / count}


@torch.no_grad()
def exact_share(model, tasks, tokenizer, batch_size: int = 50) -> float:
    """The share of tasks that a model answers exactly: greedy decoding gives every wanted token.

    Greedy decoding does so just if each wanted token is the likeliest after those before it, so one reading is enough.
    """
    right = 0
    for start in range(0, len(tasks), batch_size):
        x, y = task_batch(tasks[start : start + batch_size], tokenizer)
        with evaluating(model):
            said = model(torch.from_numpy(x)).argmax(dim=-1).numpy()
        right += int(((said == y) | (y < 0)).all(axis=1).sum())
    return right / len(tasks)


def exact(model, world, tokenizer, n_stories: int = 1000) -> dict:
    """The share of tasks on new stories, by kind, that the model answers exactly."""
    rng = np.random.default_rng(3)
    tasks = [task for _ in range(n_stories) for task in tasks_of(world.sample(rng), rng)]
    return {"exact": {kind: exact_share(model, [t for t in tasks if t.kind == kind], tokenizer) for kind in KINDS}}


def main() -> int:
    world, tokenizer = world_and_tokenizer()
    sizes, config = preset("medium", tokenizer.vocab_size, steps=STEPS, muon_lr=0.012, batch_size=BATCH, **SIZES)
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(0))
    run = train(model, config, story_batches(world, tokenizer))
    keep("storyteller", run, tokenizer, lambda model: gap(model, world, tokenizer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
