"""Detectors of glyphs in scenes for notebook 11c: learned queries beside a feature map, and a convolutional heat map.

`make data NAME=scenes` writes data/scenes/: queries.safetensors and heatmap.safetensors, with all trials in the notes.
Both are trained for equal time, side by side on one device, on ever new scenes. Each gets 4 trials of its settings
before, all eight side by side, on another seed; the highest AP50 on scenes of their own chooses. Each winner is judged
on SETS sets of new scenes, the same ones for both, so that an interval can be given. They save themselves every minute.
Settings: a factor of the rates, and for the queries how much the heat map that helps them in training counts.
It wants a GPU: on one NVIDIA H200, shared with other work, the queries took 15 steps a second and the heat map 30.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import pathlib
import sys
from typing import Any

import numpy as np
import torch

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import choose_device, evaluating
from bigmodel_lib.training.trainer import Diverged, Trainer
from bigmodel_lib.vision.detection import THRESHOLDS, Detector, HeatMap, heat_loss, mean_ap, set_loss
from bigmodel_lib.vision.glyphs import CLASSES, compose, scenes
from bigmodel_lib.vision.models import image_config, save_vision

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "scenes"
SIZES = dict(d_model=96, n_layers=4, n_heads=6, d_ff=192)
TRIALS: dict[str, list[dict]] = {
    "queries": [dict(rate=rate, helped=helped) for rate, helped in ((0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 0.0))],
    "heatmap": [dict(rate=rate) for rate in (0.25, 0.5, 1.0, 2.0)],
}
SETS, TESTED, TUNING_SEED, SEED = 8, 1000, 1, 0
SAVED_EVERY = 60.0  # seconds


def new_model(kind: str) -> Any:
    return HeatMap(len(CLASSES)) if kind == "heatmap" else Detector(image_config(len(CLASSES) + 1, 144, **SIZES))


def config_of(kind: str, rate: float, **more: Any) -> TrainConfig:
    settings: dict[str, Any] = dict(beta1=0.9, beta2=0.99, clip=1.0, warmup_steps=200, **more)
    if kind == "heatmap":
        return TrainConfig(optimizer="adamw", adamw_lr=0.004 * rate, **settings)
    return TrainConfig(muon_lr=0.02 * rate, adamw_lr=0.004 * rate, **settings)


def ap(model: Any, seed: int, thresholds: Any = THRESHOLDS) -> list[float]:
    """The mean AP at each threshold on TESTED new scenes."""
    torch.manual_seed(seed)
    drawn = (torch.from_numpy(part) for part in scenes(np.random.default_rng(seed), TESTED))
    which, where, labels = (part.to(next(model.parameters()).device) for part in drawn)
    images, boxes = compose(which, where, labels)
    with evaluating(model):
        parts = [model.find(part) for part in images.split(500)]
    found = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    return [round(float(x), 4) for x in mean_ap(found, labels, boxes, thresholds)]  # type: ignore[arg-type]


def train(kind: str, how: dict, minutes: float, seed: int, device: str, batch: int) -> tuple[Any, dict]:
    """(the model, notes on how it was trained); it is saved on the way, unless the seed is that of the trials."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")  # on cards that can: products of numbers with 10 bits after the point
    torch.manual_seed(seed)
    model = new_model(kind).to(device)

    def batches(rng: np.random.Generator) -> tuple:
        return scenes(rng, batch)

    def loss(model: Any, which: torch.Tensor, where: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        images, boxes = compose(which, where, labels)
        if kind == "heatmap":
            return heat_loss(model, images, labels, boxes)
        return set_loss(model, images, labels, boxes, how["helped"])

    trainer = Trainer(model, batches, loss, config_of(kind, how["rate"], minutes=minutes, batch_size=batch, seed=seed))
    curve: list[tuple] = []
    where_run = f"{hardware(device)}, PyTorch {torch.__version__}"
    notes = {"kind": kind, **how, "seed": seed, "batch": batch, "curve": curve, "hardware": where_run}
    saved = 0.0
    for report in trainer:
        notes |= {"steps": report.step, "seconds": round(report.seconds, 1)}
        if not curve or report.seconds - curve[-1][0] > trainer.config.minutes * 2:  # type: ignore[operator]
            curve.append((round(report.seconds, 1), report.step, round(report.loss, 4)))
            print(kind, how, curve[-1], flush=True)
        if seed == SEED and report.seconds - saved > SAVED_EVERY:
            save_vision(FOLDER / f"{kind}.safetensors", model, **notes)
            saved = report.seconds
    return model, notes


def trial(kind: str, how: dict, minutes: float, device: str, batch: int) -> dict:
    try:
        model, notes = train(kind, how, minutes, TUNING_SEED, device, batch)
    except Diverged:
        return {**how, "AP50": 0.0, "diverged": True}
    return {**how, "steps": notes["steps"], "seconds": notes["seconds"], "AP50": ap(model, 9000, (0.5,))[0]}


def final(kind: str, trials: list[dict], minutes: float, device: str, batch: int) -> dict:
    """Train at the best rate, save, judge, and save again with the scores: AP at each threshold for each set."""
    best = max(trials, key=lambda one: one["AP50"])
    model, notes = train(kind, {name: best[name] for name in TRIALS[kind][0]}, minutes, SEED, device, batch)
    notes |= {"trials": trials}
    save_vision(FOLDER / f"{kind}.safetensors", model, **notes)
    notes["AP"] = [ap(model, 10_000 + one) for one in range(SETS)]
    save_vision(FOLDER / f"{kind}.safetensors", model, **notes)
    return notes


def main() -> None:
    parser = argparse.ArgumentParser(description="Train two detectors of glyphs in scenes.")
    parser.add_argument("--minutes", type=float, default=5.2, help="of each detector; both run side by side")
    parser.add_argument("--trial-minutes", type=float, default=1.1, help="of each trial; all eight run side by side")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    end, spawn = (str(choose_device(options.device)), options.batch), multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(sum(map(len, TRIALS.values())), mp_context=spawn) as pool:
        runs = {
            kind: [pool.submit(trial, kind, how, options.trial_minutes, *end) for how in settings]
            for kind, settings in TRIALS.items()
        }
        tried = {kind: [run.result() for run in found] for kind, found in runs.items()}
        print(json.dumps(tried), flush=True)
        for run in [pool.submit(final, kind, tried[kind], options.minutes, *end) for kind in TRIALS]:
            print(json.dumps(run.result()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
