"""Readers of glyphs and digits for notebook 11: who needs how many images, and two readers for the reader's own digits.

`make data NAME=readers` writes data/readers.json and data/readers/; a stopped race goes on.

The race, on images of 20 × 20 pixels: a transformer on patches, once with learned places and once turned by row and
column, and a small ResNet. Each gets the time of BUDGET seconds on one core, counted in steps of STEP seconds (measured
in turn, on one thread). Each, and logistic regression on pixels, gets 2 settings on TUNING_SEED at TUNED_AT images;
SEEDS are other seeds. The readers, of 28 × 28 pixels: one of print alone, and the same trained on with 1,000
handwritten digits. Their time is the processor's, not the clock's.
"""

import argparse
import json
import pathlib
import platform
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.training.trainer import Trainer
from bigmodel_lib.vision.glyphs import BITMAP, CLASSES, FONTS, INK, digit_bank, draw, glyph_bank, poses, single_glyphs
from bigmodel_lib.vision.models import PatchTransformer, ResNet, image_config, label_loss, save_vision

DATA = pathlib.Path(__file__).resolve().parents[1]
FILE, FOLDER = DATA / "readers.json", DATA / "readers"
SIZES, TUNED_AT, TUNING_SEED, SEEDS = (300, 3000), 1000, 0, (10, 11, 12)
BUDGET, BATCH, IMAGE = 5.0, 32, 20
STEP = {"rope": 0.0151, "learned": 0.0132, "resnet": 0.0163, "linear": 0.0}  # seconds on one core of an Intel Xeon
WIDTH = {"rope": 48, "learned": 48, "resnet": 8, "linear": 0}
NEAR, GLYPHS = 1.0, (9.0, 12.0)  # the race's glyphs: up to 1 pixel off the middle, 9 to 12 pixels long
SHIFTS, NOISES, TESTED = (0, 1, 2, 3, 4), (0.0, 0.2, 0.4, 0.6, 0.8), 1500
SETTINGS = {
    "learned": (0.5, 1.0),
    "rope": (0.5, 1.0),
    "resnet": (0.5, 1.0),
    "linear": (1.0, 10.0),
}  # factors of the rates
TRAINED_ON_DIGITS = 1000  # of the 1,797; the rest, by other hands for the most part, is kept for the test


def new_model(name: str, width: int, seed: int, image: int = IMAGE) -> nn.Module:
    torch.manual_seed(seed)
    if name == "resnet":
        return ResNet(len(CLASSES), width)
    sizes = dict(d_model=width, n_layers=3 if width == 64 else 2, n_heads=4, d_ff=2 * width, positions=name)
    return PatchTransformer(image_config(len(CLASSES), (image // 4) ** 2, **sizes), 4)


def config_of(name: str, rate: float, **more: Any) -> TrainConfig:
    if name == "resnet":
        return TrainConfig(optimizer="adamw", adamw_lr=0.01 * rate, beta1=0.9, beta2=0.99, **more)
    return TrainConfig(muon_lr=0.03 * rate, adamw_lr=0.02 * rate, **more)


def images_of(drawn: tuple, noise: float = 0.1, image: int = IMAGE) -> tuple:
    which, where, labels = (torch.from_numpy(part) for part in drawn)
    return draw(glyph_bank()[which], where, image, noise), labels


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with evaluating(model), torch.no_grad():
        found = torch.cat([model(part).argmax(dim=-1) for part in images.split(800)])
    return round((found == labels).double().mean().item(), 4)


def tests(seed: int) -> dict:
    """{name: (images, labels)}: as in training, exactly s pixels off along an axis, and with noise."""
    rng, n = np.random.default_rng(1000 + seed), TESTED
    torch.manual_seed(seed)
    found = {"like training": images_of(single_glyphs(rng, n, NEAR, GLYPHS, IMAGE))}
    for shift in SHIFTS:
        which, _, labels = single_glyphs(rng, n)
        way = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])[rng.integers(4, size=n)]
        where = poses(rng, rng.uniform(*GLYPHS, n), IMAGE / 2 + shift * way, IMAGE)
        found[f"shift {shift}"] = images_of((which, where, labels))
    for noise in NOISES:
        images, labels = images_of(single_glyphs(rng, n, NEAR, GLYPHS, IMAGE), 0.0)
        found[f"noise {noise}"] = images + noise * torch.randn_like(images), labels
    return found


def rival(name: str, rate: float, n: int, seed: int) -> dict:
    """One run on n images, for as many steps as BUDGET seconds hold; logistic regression runs to its end."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    images, labels = images_of(single_glyphs(np.random.default_rng(seed), n, NEAR, GLYPHS, IMAGE))
    if name == "linear":
        from sklearn.linear_model import LogisticRegression

        x, y = images.flatten(1).numpy(), labels.numpy()
        linear = LogisticRegression(C=rate, max_iter=100).fit(x, y)
        scores = {test: round(linear.score(a.flatten(1).numpy(), b.numpy()), 4) for test, (a, b) in tests(seed).items()}
        return {"model": name, "setting": rate, "n": n, "seed": seed, "scores": scores}

    def batches(rng: np.random.Generator) -> tuple:
        rows = rng.integers(n, size=BATCH)
        return images[rows].numpy(), labels[rows].numpy()

    model, steps = new_model(name, WIDTH[name], seed), round(BUDGET / STEP[name])
    for _ in Trainer(model, batches, label_loss, config_of(name, rate, steps=steps, batch_size=BATCH, seed=seed)):
        pass
    scores = {test: accuracy(model, *pair) for test, pair in tests(seed).items()}
    return {"model": name, "setting": rate, "n": n, "seed": seed, "steps": steps, "scores": scores}


def train_reader(model: nn.Module, minutes: float, digits: int, rate: float) -> dict:
    """Train on ever new glyphs, bent and noisy; a quarter of each batch from `digits` handwritten ones, if any."""
    torch.set_num_threads(1)
    written, names = digit_bank()
    bank = torch.cat([glyph_bank(), written[:TRAINED_ON_DIGITS]])
    labels_of = np.concatenate([np.repeat(np.arange(len(CLASSES)), len(FONTS)), names[:TRAINED_ON_DIGITS]])
    printed, batch = len(CLASSES) * len(FONTS), 64

    def batches(rng: np.random.Generator) -> tuple:
        which = rng.integers(printed, size=batch)
        if digits:
            which[: batch // 4] = printed + rng.integers(digits, size=batch // 4)
        centre = 14 + rng.uniform(-2, 2, size=(batch, 2))
        return which, poses(rng, rng.uniform(15, 23, batch), centre, 28, 0.2), labels_of[which]

    def loss(model: Any, which: torch.Tensor, where: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return label_loss(model, draw(bank[which], where, noise=0.2, rough=1.0), labels)

    trainer = Trainer(model, batches, loss, config_of("rope", rate, minutes=minutes, batch_size=batch))
    trainer.clock = time.process_time
    for report in trainer:
        if report.step % 200 == 0:
            print(report.step, round(report.seconds), round(report.loss, 3), flush=True)
    glyphs = images_of(single_glyphs(np.random.default_rng(7), 2000, 2.0, (16, 22), 28), 0.1, 28)
    upright = (torch.eye(2, 3) * 28 / 20 * INK / BITMAP).repeat(len(names) - TRAINED_ON_DIGITS, 1, 1)
    seen = draw(written[TRAINED_ON_DIGITS:], upright), names[TRAINED_ON_DIGITS:]
    return {"digits": digits, "steps": trainer.step, "seconds": round(trainer.seconds, 1),
            "glyphs": accuracy(model, *glyphs), "handwritten": accuracy(model, *seen),
            "hardware": hardware()}  # fmt: skip


def make_readers(minutes: float) -> None:
    """Write both readers; the second goes on from the first, at a lower rate and for half as long."""
    FOLDER.mkdir(exist_ok=True)
    model = new_model("rope", 64, 0, 28)
    for name, part, digits, rate in (("print", 1.0, 0, 1.0), ("both", 0.5, TRAINED_ON_DIGITS, 0.5)):
        notes = train_reader(model, part * minutes, digits, rate)
        save_vision(FOLDER / f"{name}.safetensors", model, **notes)
        print(name, notes, flush=True)


def best_setting(rows: list[dict], name: str) -> float:
    found = {}
    for row in rows:
        if row["model"] == name and row["seed"] == TUNING_SEED:
            found[row["setting"]] = row["scores"]["like training"]
    return max(found, key=lambda setting: found[setting])


def save(rows: list[dict]) -> None:
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    how = {"made_by": "data/recipes/readers.py", "tuning_seed": TUNING_SEED, "seeds": SEEDS, "budget": BUDGET,
           "step": STEP, "width": WIDTH, "tested": TESTED, "hardware": hardware(), "versions": versions}  # fmt: skip
    in_order = sorted(rows, key=lambda r: (r["model"], r["n"], r["seed"], r["setting"]))
    lines = ",\n  ".join(json.dumps(row) for row in in_order)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)


def race() -> None:
    """All runs that are missing: first those that choose settings, then the seeds in turn."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []

    def run(jobs: list[tuple]) -> None:
        done = {(row["model"], row["setting"], row["n"], row["seed"]) for row in rows}
        for name, setting, n, seed in jobs:
            if (name, setting, n, seed) not in done:
                start = time.process_time()
                rows.append(rival(name, setting, n, seed))
                save(rows)
                print(round(time.process_time() - start, 1), name, setting, n, seed, rows[-1]["scores"], flush=True)

    run([(name, setting, TUNED_AT, TUNING_SEED) for name in SETTINGS for setting in SETTINGS[name]])
    run([(name, best_setting(rows, name), n, seed) for seed in SEEDS for n in SIZES for name in SETTINGS])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train readers of glyphs and digits, and hold the race.")
    parser.add_argument("--minutes", type=float, default=2.5, help="of the reader of print; the other one gets half")
    parser.add_argument("--only", choices=["readers", "race"], nargs="*", default=["readers", "race"])
    options = parser.parse_args()
    if "readers" in options.only:
        make_readers(options.minutes)
    if "race" in options.only:
        race()


if __name__ == "__main__":
    sys.exit(main())
