"""Pretrain the small model that notebook 00 opens with, and write it to data/first_model: `make data`.

It reads the Python manual of the Python that runs this, as bytes, so another Python gives a slightly different model.
"""

import hashlib
import pathlib
import platform
import re
import sys
import tempfile

import torch

from bigmodel_lib import checkpoints, plots, pretraining

DATA = pathlib.Path(__file__).resolve().parent
RECIPE = ["--preset", "large", "--tokenizer", "bytes", "--steps", "1120", "--seed", "0"]
RECIPE += ["--d-model", "128", "--n-heads", "4", "--ngrams", "1", "--muon-rate", "0.03"]  # for a small file
LAYER, HEAD = 0, 1  # of the picture
ROW = "| `{name}` | {what} | {bytes:,} | `{sha}` |"
WHAT = {
    "first_model/model.safetensors": "weights of the first model, bfloat16",
    "first_model/config.json": "its sizes",
    "first_model/tokenizer.json": "its tokenizer: bytes",
    "attention_map.png": "what it looks at in “I love programming”: the picture in the course's README",
    "first_model/metrics.json": "how it was trained and how good it is: losses, curve, seconds, versions",
    "blocks.json": "three kinds of blocks in notebook 04: gap to the floor by depth, rate and seed",
    "recipe.json": "the recipe in notebook 06, one trick at a time and without one at a time: losses by rate and seed",
    "budget.json": "sizes by budget, and short texts with and without dropout, in notebook 06: losses by seed",
    "tried.json": "what else was tried, in notebook 06: losses by seed",
    "encoder/model.safetensors": "weights of the encoder of stories, bfloat16",
    "encoder/config.json": "its sizes",
    "encoder/tokenizer.json": "its tokenizer: words of the story world",
    "encoder/metrics.json": "how it was trained and how many hidden words it finds",
    "reviews.tsv": "700 short reviews in ten groups: label (1: satisfied), group, text",
}


def describe(name: str) -> str:
    content = (DATA / name).read_bytes()
    return ROW.format(name=name, what=WHAT[name], bytes=len(content), sha=hashlib.sha256(content).hexdigest())


def draw_map() -> None:
    """The attention map of one head of the first layer, as a picture."""
    model, tokenizer = checkpoints.load_model(DATA / "first_model")
    tokens = tokenizer.encode("I love programming").tolist()
    weights = model.attention_maps(torch.tensor([tokens]))[LAYER, 0, HEAD]
    labels = [tokenizer.decode([token]) for token in tokens]
    ax = plots.draw_attention(weights, labels, title=f"Where the first model looks (layer {LAYER}, head {HEAD})")
    checkpoints.write_whole(DATA / "attention_map.png", plots.png(ax.figure))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        if code := pretraining.main([*RECIPE, "--out", str(out)]):
            return code
        model, tokenizer = checkpoints.load_model(out)
        metrics = checkpoints.read_json(out / "metrics.json")
    target = DATA / "first_model"
    target.mkdir(exist_ok=True)
    checkpoints.save_model(target, model, tokenizer, torch.bfloat16)
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    checkpoints.write_json(target / "metrics.json", {**metrics, "recipe": " ".join(RECIPE), "versions": versions})
    draw_map()
    write_rows()
    return 0


def write_rows() -> None:
    """Put the size and the checksum of every file into the datasheet."""
    datasheet = DATA / "README.md"
    table = "\n".join(["<!-- rows -->", *map(describe, WHAT), "<!-- end -->"])
    text = datasheet.read_text(encoding="utf-8")
    text = re.sub(r"<!-- rows -->.*<!-- end -->", lambda _: table, text, flags=re.S)
    checkpoints.write_whole(datasheet, text.encode("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
