"""Detectors of glyphs in scenes for notebook 11b: learned queries beside patches, and a convolutional heat map.

It writes data/scenes/: queries.safetensors and heatmap.safetensors, each with its AP in its notes.
Both are trained for equal time on ever new scenes, at the best of four rates that --rates has tried on another seed in
a quarter of the time each, and written to data/scenes/trials_queries.json and trials_heatmap.json.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np
import torch

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.training.trainer import Trainer
from bigmodel_lib.vision.detection import Detector, HeatMap, heat_loss, mean_ap, set_loss
from bigmodel_lib.vision.glyphs import CLASSES, compose, scenes
from bigmodel_lib.vision.models import image_config, save_vision

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "data/scenes"
SIZES = dict(d_model=96, n_layers=4, n_heads=6, d_ff=192)
TRIALS, TESTED = (0.25, 0.5, 1.0, 2.0), 2000


def new_model(kind: str) -> Any:
    if kind == "heatmap":
        return HeatMap(len(CLASSES))
    return Detector(image_config(len(CLASSES) + 1, 64, **SIZES), 6)


def fresh(seed: int, n: int, device: str) -> tuple:
    torch.manual_seed(seed)
    drawn = (torch.from_numpy(part).to(device) for part in scenes(np.random.default_rng(seed), n))
    which, where, labels = drawn
    return *compose(which, where, labels), labels


def ap(model: Any, seed: int, device: str) -> dict:
    images, boxes, labels = fresh(seed, TESTED, device)
    with evaluating(model):
        parts = [model.find(part) for part in images.split(500)]
    found = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    by_threshold = mean_ap(found, labels, boxes)  # type: ignore[arg-type]
    return {"AP50": round(float(by_threshold[0]), 4), "AP": round(float(by_threshold.mean()), 4)}


def train(kind: str, rate: float, minutes: float, seed: int, device: str, batch: int, save: bool) -> dict:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = new_model(kind).to(device)

    def batches(rng: np.random.Generator) -> tuple:
        return scenes(rng, batch)

    def loss(model: Any, which: torch.Tensor, where: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        images, boxes = compose(which, where, labels)
        return (heat_loss if kind == "heatmap" else set_loss)(model, images, labels, boxes)

    settings: dict[str, Any] = dict(minutes=minutes, batch_size=batch, seed=seed, beta1=0.9, beta2=0.99, clip=1.0)
    if kind == "heatmap":
        config = TrainConfig(optimizer="adamw", adamw_lr=0.004 * rate, **settings)
    else:
        config = TrainConfig(muon_lr=0.02 * rate, adamw_lr=0.004 * rate, warmup_steps=100, **settings)
    trainer, curve = Trainer(model, batches, loss, config), []
    for report in trainer:
        if report.step % 500 == 0:
            curve.append({"step": report.step, "seconds": round(report.seconds, 1), "loss": round(report.loss, 4)})
            print(kind, rate, curve[-1], flush=True)
    notes = {"name": kind, "rate": rate, "seed": seed, "steps": trainer.step, "batch": batch,
             "seconds": round(trainer.seconds, 1),
             **ap(model, 10_000 + seed, device), "hardware": hardware(device), "curve": curve}  # fmt: skip
    if save:
        FOLDER.mkdir(exist_ok=True)
        save_vision(FOLDER / f"{kind}.safetensors", model.cpu(), **notes)
    return notes


def best_rate(kind: str) -> float:
    """The rate that had the highest AP50 in the trials, 1 if there were none."""
    file = FOLDER / f"trials_{kind}.json"
    trials = json.loads(file.read_text(encoding="utf-8")) if file.exists() else [{"rate": 1.0, "AP50": 0.0}]
    return max(trials, key=lambda trial: trial["AP50"])["rate"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train two detectors of glyphs in scenes.")
    parser.add_argument("--only", choices=["queries", "heatmap"], nargs="*", default=["queries", "heatmap"])
    parser.add_argument("--rates", action="store_true", help="try the rates, a quarter of the time each")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for kind in options.only:
        if options.rates:
            quarter = options.minutes / 4
            trials = [train(kind, rate, quarter, 1, options.device, options.batch, False) for rate in TRIALS]
            (FOLDER / f"trials_{kind}.json").write_text(json.dumps(trials) + "\n", encoding="utf-8")
        else:
            notes = train(kind, best_rate(kind), options.minutes, 0, options.device, options.batch, True)
            print(json.dumps(notes), flush=True)


if __name__ == "__main__":
    sys.exit(main())
