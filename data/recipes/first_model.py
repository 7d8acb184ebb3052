"""Pretrain the small model that notebook 00 opens with, and write it to data/first_model: `make data NAME=first_model`.

It reads the Python manual of the Python that runs this, as bytes, so another Python gives a slightly different model.
"""

import pathlib
import platform
import sys
import tempfile

import torch

from bigmodel_lib.cli import pretrain
from bigmodel_lib.training import checkpoints

DATA = pathlib.Path(__file__).resolve().parents[1]
RECIPE = ["--preset", "large", "--tokenizer", "bytes", "--steps", "1120", "--seed", "0"]
RECIPE += ["--d-model", "128", "--n-heads", "4", "--ngrams", "1", "--learning-rate", "0.03"]  # for a small file


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        if code := pretrain.main([*RECIPE, "--out", str(out)]):
            return code
        model, tokenizer = checkpoints.load_model(out)
        metrics = checkpoints.read_json(out / "metrics.json")
    target = DATA / "first_model"
    target.mkdir(exist_ok=True)
    checkpoints.save_model(target, model, tokenizer, torch.bfloat16)
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    checkpoints.write_json(target / "metrics.json", {**metrics, "recipe": " ".join(RECIPE), "versions": versions})
    return 0


if __name__ == "__main__":
    sys.exit(main())
