"""Readers of glyphs and digits for notebook 11: who needs how many images, and one reader for the reader's own digits.

`make data NAME=readers` writes data/readers.json and data/readers/; a stopped run goes on.

Rivals: a transformer on patches, once with learned places and once turned by row and column, and a small ResNet. All
have the time of BUDGET seconds on one thread of a CPU, counted in steps of STEP seconds each (measured with --clock).
Each, and logistic regression on pixels, gets 8 settings on TUNING_SEEDS at TUNED_AT images; SEEDS are other seeds.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import pathlib
import platform
import sys
import time
from collections.abc import Iterator
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
SIZES, TUNED_AT, TUNING_SEEDS, SEEDS = (300, 1000, 3000, 10000), 1000, (0, 1), (10, 11, 12, 13)
BUDGET, BATCH = 60.0, 64
STEP = {"learned": 0.120, "rope": 0.120, "resnet": 0.105}  # seconds on one thread of a CPU
NEAR, GLYPHS = 1.0, (12.0, 17.0)  # the rivals' glyphs: up to 1 pixel off the middle, 12 to 17 pixels long
SHIFTS, NOISES, TESTED = (0, 1, 2, 3, 4, 5), (0.0, 0.2, 0.4, 0.6, 0.8), 1600
RATES = (0.25, 0.5, 1.0, 2.0)
SETTINGS = {  # equally many trials: (optimizer or weight decay, factor of the rates)
    "learned": [(kind, rate) for kind in ("muon", "adamw") for rate in RATES],
    "rope": [(kind, rate) for kind in ("muon", "adamw") for rate in RATES],
    "linear": [(10.0**k, 1.0) for k in (-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5)],
    "resnet": [(decay, rate) for decay in (0.0, 0.1) for rate in RATES],
}
TRAINED_ON_DIGITS = 1000  # of the 1,797; the rest, by other hands for the most part, is kept for the test


def new_model(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if name == "resnet":
        return ResNet(len(CLASSES))
    sizes = dict(d_model=64, n_layers=4, n_heads=4, d_ff=128, positions=name)
    return PatchTransformer(image_config(len(CLASSES), 49, **sizes), 4)


def config_of(name: str, setting: tuple, **more: Any) -> TrainConfig:
    kind, rate = setting
    if name == "resnet":
        return TrainConfig(optimizer="adamw", adamw_lr=0.005 * rate, beta1=0.9, beta2=0.99, weight_decay=kind, **more)
    if kind == "muon":
        return TrainConfig(muon_lr=0.03 * rate, adamw_lr=0.02 * rate, **more)
    return TrainConfig(optimizer="adamw", adamw_lr=0.003 * rate, beta1=0.9, beta2=0.99, **more)


def images_of(drawn: tuple, device: Any, noise: float = 0.1) -> tuple:
    which, where, labels = (torch.from_numpy(part).to(device) for part in drawn)
    return draw(glyph_bank(device)[which], where, noise=noise), labels


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with evaluating(model), torch.no_grad():
        found = torch.cat([model(part).argmax(dim=-1) for part in images.split(800)])
    return round((found == labels).double().mean().item(), 4)


def tests(seed: int, device: Any) -> dict:
    """{name: (images, labels)}: as in training, exactly s pixels off along an axis, and with noise."""
    rng, n = np.random.default_rng(1000 + seed), TESTED
    torch.manual_seed(seed)
    found = {"like training": images_of(single_glyphs(rng, n, NEAR, GLYPHS), device)}
    for shift in SHIFTS:
        which, _, labels = single_glyphs(rng, n)
        way = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])[rng.integers(4, size=n)]
        found[f"shift {shift}"] = images_of(
            (which, poses(rng, rng.uniform(*GLYPHS, n), 14 + shift * way, 28), labels), device
        )
    for noise in NOISES:
        images, labels = images_of(single_glyphs(rng, n, NEAR, GLYPHS), device, 0.0)
        found[f"noise {noise}"] = images + noise * torch.randn_like(images), labels
    return found


def linear(setting: tuple, n: int, seed: int) -> dict:
    """Logistic regression on pixels; its setting is the strength C of its penalty's inverse."""
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(seed)
    images, labels = images_of(single_glyphs(np.random.default_rng(seed), n, NEAR, GLYPHS), "cpu")
    model = LogisticRegression(C=setting[0], max_iter=300).fit(images.flatten(1).numpy(), labels.numpy())
    fresh = tests(seed, "cpu").items()
    scores = {test: round(model.score(x.flatten(1).numpy(), y.numpy()), 4) for test, (x, y) in fresh}
    return {"model": "linear", "setting": list(setting), "n": n, "seed": seed, "scores": scores}


def rival(name: str, setting: tuple, n: int, seed: int, device: str, share: float = 1.0) -> dict:
    """One run on n images, for as many steps as BUDGET seconds hold."""
    torch.set_num_threads(1)
    if name == "linear":
        return linear(setting, n, seed)
    torch.manual_seed(seed)
    images, labels = images_of(single_glyphs(np.random.default_rng(seed), n, NEAR, GLYPHS), device)

    def batches(rng: np.random.Generator) -> tuple:
        rows = rng.integers(n, size=BATCH)
        return rows, np.zeros(BATCH, dtype=np.int64)

    def loss(model: Any, rows: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return label_loss(model, images[rows], labels[rows])

    model = new_model(name, seed).to(device)
    config = config_of(name, setting, steps=max(10, round(share * BUDGET / STEP[name])), batch_size=BATCH, seed=seed)
    for _ in Trainer(model, batches, loss, config):
        pass
    scores = {test: accuracy(model, *pair) for test, pair in tests(seed, device).items()}
    return {"model": name, "setting": list(setting), "n": n, "seed": seed, "scores": scores}


def reader(name: str, minutes: float, device: str, digits: int) -> dict:
    """One reader trained on ever new glyphs, bent and noisy, a quarter of each batch from `digits` handwritten ones."""
    torch.set_num_threads(1)
    written, names = digit_bank()
    bank = torch.cat([glyph_bank(), written[:TRAINED_ON_DIGITS]]).to(device)
    labels_of = np.concatenate([np.repeat(np.arange(len(CLASSES)), len(FONTS)), names[:TRAINED_ON_DIGITS]])
    printed, batch = len(CLASSES) * len(FONTS), 512

    def batches(rng: np.random.Generator) -> tuple:
        which = rng.integers(printed, size=batch)
        if digits:
            which[: batch // 4] = printed + rng.integers(digits, size=batch // 4)
        centre = 14 + rng.uniform(-3, 3, size=(batch, 2))
        return which, poses(rng, rng.uniform(14, 24, batch), centre, 28, 0.25), labels_of[which]

    def loss(model: Any, which: torch.Tensor, where: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return label_loss(model, draw(bank[which], where, noise=0.3, rough=1.0), labels)

    model = new_model(name, 0).to(device)
    setting = (0.0, 1.0) if name == "resnet" else ("muon", 1.0)
    trainer = Trainer(model, batches, loss, config_of(name, setting, minutes=minutes, batch_size=batch))
    for _ in trainer:
        pass
    glyphs = images_of(single_glyphs(np.random.default_rng(7), 4000), device, 0.1)
    real = written[TRAINED_ON_DIGITS:].to(device), names[TRAINED_ON_DIGITS:].to(device)
    upright = (torch.eye(2, 3) * 28 / 20 * INK / BITMAP).repeat(len(real[1]), 1, 1).to(device)
    seen = draw(real[0], upright)
    notes = {"name": name, "digits": digits, "steps": trainer.step, "seconds": round(trainer.seconds, 1),
             "glyphs": accuracy(model, *glyphs), "handwritten": accuracy(model, seen, real[1]),
             "hardware": hardware(device)}  # fmt: skip
    FOLDER.mkdir(exist_ok=True)
    save_vision(FOLDER / f"{name}{'' if digits else '_print'}.safetensors", model.cpu(), **notes)
    return notes


def clock() -> None:
    """Print the seconds of a step on one thread, optimizer included."""
    torch.set_num_threads(1)
    for name, settings in SETTINGS.items():
        if name == "linear":
            continue
        batch = [x.numpy() for x in images_of(single_glyphs(np.random.default_rng(0), BATCH), "cpu")]
        config = config_of(name, settings[0], steps=30)
        trainer = Trainer(new_model(name, 0), lambda rng, batch=batch: batch, label_loss, config)
        trainer.clock = time.process_time
        for _ in trainer:
            pass
        print(name, round(trainer.seconds / 30, 4))


def best_setting(rows: list[dict], name: str) -> tuple:
    found = {}
    for setting in SETTINGS[name]:
        runs = [
            row
            for row in rows
            if row["model"] == name and row["seed"] in TUNING_SEEDS and row["setting"] == list(setting)
        ]
        found[setting] = np.mean([row["scores"]["like training"] for row in runs])
    return max(found, key=lambda setting: found[setting])


def save(rows: list[dict], device: str) -> None:
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    how = {"made_by": "data/recipes/readers.py", "tuning_seeds": TUNING_SEEDS, "seeds": SEEDS, "budget": BUDGET,
           "step": STEP,
           "tested": TESTED, "hardware": hardware(device), "versions": versions}  # fmt: skip
    in_order = sorted(rows, key=lambda r: (r["model"], r["n"], r["seed"], str(r["setting"])))
    lines = ",\n  ".join(json.dumps(row) for row in in_order)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)


def jobs(rows: list[dict], names: list[str]) -> Iterator[list[tuple]]:
    """What has to run, in two parts: the second needs the first."""
    done = {(row["model"], *row["setting"], row["n"], row["seed"]) for row in rows}
    tuning = [(name, setting, TUNED_AT, seed) for seed in TUNING_SEEDS for name in names for setting in SETTINGS[name]]
    yield [(name, setting, n, seed) for name, setting, n, seed in tuning if (name, *setting, n, seed) not in done]
    final = [(name, best_setting(rows, name), n, seed) for seed in SEEDS for n in SIZES for name in names]
    yield [(name, setting, n, seed) for name, setting, n, seed in final if (name, *setting, n, seed) not in done]


def compare_rivals(names: list[str], processes: int, device: str, share: float) -> None:
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []
    start, spawn = time.perf_counter(), multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, spawn) as pool:
        for part in jobs(rows, names):
            waiting = [pool.submit(rival, *job, device, share) for job in part]
            for future in concurrent.futures.as_completed(waiting):
                rows.append(future.result())
                save(rows, device)
                print(f"{time.perf_counter() - start:6.0f} s", rows[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train readers of glyphs and their rivals.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=30.0, help="of two readers; the third has half")
    parser.add_argument("--share", type=float, default=1.0, help="of the rivals' steps, to try it out")
    parser.add_argument("--only", nargs="*", default=[*SETTINGS, "readers"])
    parser.add_argument("--clock", action="store_true")
    options = parser.parse_args()
    if options.clock:
        return clock()
    names = [name for name in options.only if name != "readers"]
    if names:
        compare_rivals(names, options.processes, options.device, options.share)
    for name, digits, part in (("rope", TRAINED_ON_DIGITS, 1.0), ("resnet", TRAINED_ON_DIGITS, 1.0), ("rope", 0, 0.5)):
        if "readers" in options.only:
            print(reader(name, part * options.minutes, options.device, digits), flush=True)


if __name__ == "__main__":
    sys.exit(main())
