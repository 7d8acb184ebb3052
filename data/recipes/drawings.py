"""Two ways to draw digits for notebook 11b: a language model on grey levels, and a generator that plays a game.

`make data NAME=drawings` writes data/drawings/: decoder.safetensors and game.safetensors, with all trials in their
notes. Both learn from the first 1,000 handwritten digits of scikit-learn. Each gets 2 trials on 850 of them, judged on
the other 150: the decoder by its loss, with the step at which it is lowest; the game, which has no loss to judge by, by
the energy distance of its images to those 150. The winners are trained again on all 1,000, for as many steps.
"""

import argparse
import json
import pathlib
import sys
import time
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.training.trainer import Trainer, next_token_loss
from bigmodel_lib.vision.digits import UNKNOWN, VOCABULARY, Game, digits_as_text, game_optimizers, play
from bigmodel_lib.vision.models import save_vision

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "drawings"
TRAINED, KEPT = 1000, 150
CONFIG = ModelConfig(
    vocab_size=VOCABULARY, context_length=64, d_model=48, n_layers=3, n_heads=4, d_ff=96, positions="learned"
)
DECODERS = [dict(dropout=dropout) for dropout in (0.1, 0.25)]
GAMES = [dict(lr=lr, width=128) for lr in (0.001, 0.002)]
LOOK = 100  # steps between two looks at the loss


def data() -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    rows = np.random.default_rng(0).permutation(TRAINED)
    return torch.tensor(digits.images[rows]), torch.tensor(digits.target[rows])


def energy_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """2 E‖a - b‖ - E‖a - a'‖ - E‖b - b'‖, 0 for equal distributions: (n, d), (m, d). Source: Székely & Rizzo 2013."""
    n, m = len(a), len(b)
    within = torch.cdist(a, a).sum() / (n * (n - 1)) + torch.cdist(b, b).sum() / (m * (m - 1))
    return float(2 * torch.cdist(a, b).mean() - within)


def decoder(dropout: float, steps: int, whole: bool) -> tuple[Any, list]:
    """(a decoder, [(step, loss on the digits kept back)]); one in five texts is of an unknown class."""
    text = digits_as_text(*data()).numpy()
    kept, text = text[:KEPT], text if whole else text[KEPT:]
    model = initialise(LanguageModel(CONFIG.replace(dropout=dropout)), torch.Generator().manual_seed(0))

    def batches(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows = text[rng.integers(len(text), size=32)]
        rows[rng.random(32) < 0.2, 0] = UNKNOWN
        return rows[:, :-1], rows[:, 1:]

    config = TrainConfig(steps=steps, batch_size=32, muon_lr=0.02, adamw_lr=0.01)
    x, y = (torch.from_numpy(part.copy()) for part in (kept[:, :-1], kept[:, 1:]))
    looks = []
    for report in Trainer(model, batches, next_token_loss, config):
        if report.step % LOOK == 0 and not whole:
            with evaluating(model), torch.no_grad():
                looks.append((report.step, round(next_token_loss(model, x, y).item(), 4)))
    return model, looks


def game(lr: float, width: int, steps: int, whole: bool) -> tuple[Any, list]:
    """(a game, [(step, energy distance to the digits kept back)])."""
    torch.manual_seed(0)
    levels, labels = data()
    images, kinds = levels.flatten(1).float() / 16, functional.one_hot(labels, 10).float()
    kept, mine = (images[:KEPT], kinds[:KEPT]), (images, kinds) if whole else (images[KEPT:], kinds[KEPT:])
    one = Game(width)
    optimizers, rng, looks = game_optimizers(one, lr), np.random.default_rng(0), []
    for step in range(1, steps + 1):
        rows = torch.from_numpy(rng.integers(len(mine[0]), size=64))
        play(one, optimizers, mine[0][rows], mine[1][rows])
        if step % (10 * LOOK) == 0 and not whole:
            with torch.no_grad():
                drawn = one.draw(kept[1].repeat(4, 1))
            both = torch.cat([drawn, 4 * kept[1].repeat(4, 1)], 1), torch.cat([kept[0], 4 * kept[1]], 1)
            looks.append((step, round(energy_distance(*both), 5)))
    return one, looks


def main() -> None:
    parser = argparse.ArgumentParser(description="Train two models that draw digits.")
    parser.add_argument("--only", choices=["decoder", "game"], nargs="*", default=["decoder", "game"])
    parser.add_argument("--steps", type=int, default=500, help="of each decoder; eight times as many for each game")
    options = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name in options.only:
        make, settings = (decoder, DECODERS) if name == "decoder" else (game, GAMES)
        steps, trials, start = options.steps * (1 if name == "decoder" else 8), [], time.perf_counter()
        for setting in settings:
            _, looks = make(**setting, steps=steps, whole=False)  # type: ignore[operator]
            step, lowest = min(looks, key=lambda look: look[1])
            trials.append({**setting, "step": step, "lowest": lowest, "looks": looks})
            print(f"{time.perf_counter() - start:5.0f} s", name, setting, step, lowest, flush=True)
        best = min(trials, key=lambda trial: trial["lowest"])
        setting = {key: best[key] for key in settings[0]}
        model, _ = make(**setting, steps=best["step"], whole=True)  # type: ignore[operator]
        notes = {"setting": setting, "steps": best["step"], "trials": trials, "hardware": hardware(),
                 "seconds": round(time.perf_counter() - start),
                 "config": CONFIG.to_dict() if name == "decoder" else {}}  # fmt: skip
        save_vision(FOLDER / f"{name}.safetensors", model.cpu(), **notes)
        print(json.dumps({**notes, "trials": None}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
