"""The novelist in fewer bits, on chapters that it hasn't read; writes data/quantised.json.

    python data/recipes/quantised.py WORK

WORK is where `data/recipes/novelist prepare` has put the chapters. Every CHAPTER-th of those held out is read by the
model as it is and by each quantised form; differences are paired, their intervals draw chapters with replacement.
Beside them, one row times a matrix, the matrix kept in several ways.
"""

import argparse
import json
import pathlib
import platform
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bigmodel_lib.exercises.nb14 import quantise
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training.checkpoints import load_model

FILE = pathlib.Path(__file__).resolve().parents[1] / "quantised.json"
CHAPTER, CHARACTERS = 7, 12_000  # each seventh chapter, at most so much of its beginning
WAYS = [  # bits, group (0: one scale a matrix), rows of the output matrix that stay, whether its mean column goes first
    (8, 0, 0, False), (8, 64, 0, False), (4, 0, 0, False), (4, 64, 0, False),
    (4, 64, 1, False), (4, 64, 2, False), (4, 64, 2, True), (4, 32, 2, True),
]  # fmt: skip
SIZES = ((256, 4096), (4096, 4096))


@torch.no_grad()
def loudest_rows(model: LanguageModel, tokens: np.ndarray, n: int) -> list[int]:
    """The n coordinates of the last stream that are largest, by their root mean square over one window."""
    window = torch.from_numpy(np.asarray(tokens[: model.config.context_length], dtype=np.int64))[None]
    size = model.states(window)[0].square().mean(dim=0)
    return size.topk(n).indices.tolist()


@torch.no_grad()
def in_fewer_bits(bits: int, group: int, kept: list[int], centred: bool) -> LanguageModel:
    """The novelist with every matrix rounded to a grid; `kept` rows of the output matrix stay as they are.

    centred: the mean of the output matrix's columns is taken away first, which softmax doesn't notice.
    """
    model, _ = load_model(data_path("novelist"))
    if centred:
        model.w_out -= model.w_out.mean(dim=1, keepdim=True)
    for name, matrix in model.named_parameters():
        if matrix.dim() == 2:
            rounded = quantise(matrix, bits, group) if group else whole(matrix, bits)
            if name == "w_out":
                rounded[kept] = matrix[kept]
            matrix.copy_(rounded)
    return model


def whole(matrix: Tensor, bits: int) -> Tensor:
    """One scale for the whole matrix."""
    return quantise(matrix.reshape(-1, 1), bits, matrix.numel()).reshape(matrix.shape)


def paired(losses: np.ndarray, before: np.ndarray, counts: np.ndarray) -> dict:
    """Mean loss in nats a token, by how much it rose, and a 95 % interval of that."""
    rows = np.random.default_rng(0).integers(0, len(counts), size=(10_000, len(counts)))
    rise = ((losses - before) * counts)[rows].sum(axis=1) / counts[rows].sum(axis=1)
    low, high = np.quantile(rise, [0.025, 0.975])
    mean = float(np.average(losses, weights=counts))
    return {"loss": mean, "rise": float(np.average(losses - before, weights=counts)), "low": low, "high": high}


def microseconds(work: Callable[[], object], repeats: int = 100) -> float:
    """What the fastest of many calls takes."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        found.append(1e6 * (time.perf_counter() - start))
    return min(found)


@torch.no_grad()
def speeds(n_in: int, n_out: int) -> dict:
    """Microseconds of one row times a matrix: in float32, in 8 bits by a kernel, in 8 bits made float32 each time."""
    layer, x = torch.nn.Linear(n_in, n_out, bias=False), torch.randn(1, n_in)
    scale = layer.weight.abs().amax(dim=1, keepdim=True) / 127
    integers = (layer.weight / scale).round().to(torch.int8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernel = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {torch.nn.Linear}, torch.qint8)
    return {
        "in": n_in, "out": n_out, "float32": microseconds(lambda: layer(x)),
        "int8 kernel": microseconds(lambda: kernel(x)),
        "int8, turned back each time": microseconds(lambda: x @ (integers.float() * scale).T),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path, help="the folder that holds held_out/")
    parser.add_argument("--mini", action="store_true", help="two chapters, to try it")
    given = parser.parse_args()
    model, tokenizer = load_model(data_path("novelist"))
    paths = sorted((given.work / "held_out").glob("*.txt"))[::CHAPTER][: 2 if given.mini else None]
    texts = [tokenizer.encode(path.read_text(encoding="utf-8")[:CHARACTERS]) for path in paths]
    counts = np.array([len(text) - 1 for text in texts])
    loud = loudest_rows(model, texts[0], 2)

    def read(model: LanguageModel) -> np.ndarray:
        return np.array([evaluate(model, text, precision="float32") for text in texts])

    before, rows = read(model), []
    for bits, group, kept, centred in WAYS:
        found = paired(read(in_fewer_bits(bits, group, loud[:kept], centred)), before, counts)
        rows.append({"bits": bits, "group": group, "kept": loud[:kept], "centred": centred, **found})
        print(rows[-1], flush=True)
    how = {"made_by": "data/recipes/quantised.py", "chapters": len(texts), "tokens": int(counts.sum())}
    how |= {"hardware": hardware(), "versions": {"python": platform.python_version(), "torch": torch.__version__}}
    found = {"how": how, "loss": float(np.average(before, weights=counts)), "rows": rows}
    FILE.write_text(json.dumps({**found, "speeds": [speeds(*sizes) for sizes in SIZES]}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
