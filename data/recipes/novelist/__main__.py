"""Train the novelist, the model of the course that is worth reading, on novels whose copyright has ended.

The books themselves are not part of the course. Gather them (data/README.md lists the works, all of them are at Project
Gutenberg), one .txt file each, a paragraph on a line, and:

    python data/recipes/novelist prepare WORK FOLDER_OF_BOOKS   cleans and splits them
    python data/recipes/novelist tune WORK TRIALS.json          the trials, ten minutes each, judged on one book
    python data/recipes/novelist train WORK [MINUTES [plain]]   the run itself, with moments of it kept for the film
    python data/recipes/novelist film WORK                      writes what the notebooks show of it
    python data/recipes/novelist losses|copies|sheet|blind|keep WORK   see measures.py
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import film
import measures

from bigmodel_lib.text.batches import ngrams
from bigmodel_lib.training import checkpoints

JUDGE = "frankenstein"  # the book on which trials are judged, and which no run ever reads
HELD_OUT = 10  # of the chapters of every other book, one in so many
SHARED = 13  # a held-out paragraph with so many words in a row that a training paragraph has, too, is left out
SHORTEST = 1500  # characters of a chapter; what is shorter goes with the one before it
NUMBERED = re.compile(
    r"(chapter|letter|volume|part|book|preface|epilogue)\b|[IVXLC]+\.( |$)|\d+\. [A-Z]", re.IGNORECASE
)
LEFTOVER = re.compile(r"^Enlarge$|\[(THE END|\*|Footnote)|^\* |^Transcriber|^\d+\w*-\S+$")


def is_heading(line: str) -> bool:
    """Whether a line is a heading: short, and numbered, in capitals, or without a sign at its end."""
    if len(line) > 90 or line[:1] in "\"'":
        return False
    return (
        bool(NUMBERED.match(line))
        or line.isupper()
        or (len(line) < 60 and line[-1:].isalpha() and len(line.split()) > 0)
    )


def chapters(text: str) -> list[list[str]]:
    """The chapters of a book, each a list of paragraphs, without headings and editors' leftovers."""
    found: list[list[str]] = [[]]
    for line in map(str.strip, text.splitlines()):
        if not line or LEFTOVER.search(line):
            continue
        if not is_heading(line):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    whole: list[list[str]] = []
    for chapter in found:
        if sum(map(len, chapter)) >= SHORTEST:
            whole.append(chapter)
        elif whole:  # what is short and first is a list of contents
            whole[-1] += chapter
    return whole


def prepare(source: pathlib.Path, work: pathlib.Path) -> None:
    """Write train/, held_out/ and judge/ below WORK: a file for each chapter, paragraphs on lines of their own."""
    parts: dict[str, dict[str, list[str]]] = {"train": {}, "held_out": {}, "judge": {}}
    for path in sorted(source.glob("*.txt")):
        for number, chapter in enumerate(chapters(path.read_text(encoding="utf-8"))):
            part = "judge" if path.stem == JUDGE else "held_out" if number % HELD_OUT == HELD_OUT // 2 else "train"
            parts[part][f"{path.stem}_{number:03}"] = chapter
    known = set()
    for chapter in parts["train"].values():
        known.update(ngrams("\n\n".join(chapter), SHARED))
    for part, chapters_here in parts.items():
        folder = work / part
        folder.mkdir(parents=True, exist_ok=True)
        left_out = 0
        for name, chapter in chapters_here.items():
            new = chapter if part == "train" else [p for p in chapter if known.isdisjoint(ngrams(p, SHARED))]
            left_out += len(chapter) - len(new)
            (folder / f"{name}.txt").write_text("\n".join(new) + "\n", encoding="utf-8")
        size = sum(path.stat().st_size for path in folder.glob("*.txt"))
        print(f"{part}: {len(chapters_here)} chapters, {size:,} bytes; {left_out} paragraphs left out")


# What both kinds of model are given; bfloat16 because the processor multiplies such numbers faster
TOKENS = dict(tokenizer="bpe", vocab_size=4096, precision="bfloat16")
OURS = dict(preset="large", ngrams=1, n_layers=6, d_model=256, n_heads=4, context_length=256, batch_size=8)
PLAIN = dict(preset="plain", n_layers=6, d_model=288, n_heads=6, context_length=256, batch_size=8, dropout=0.1)
# What the trials chose for the runs themselves. (On an eighth of the text a dropout of 0.3 was better than 0.2, and 0.1
# better for the plain model; the whole text, which a run reads about ten times, should need no more.)
CHOSEN = {"ours": dict(dropout=0.2), "plain": dict(learning_rate=0.002, weight_decay=0.3)}
TEN_MINUTES = {"ours": 1150, "plain": 1250}  # steps of 8 x 256 tokens on one core of a Xeon with AMX
SMALL = 8  # a trial of dropout reads one chapter in so many, so that it reads each about as often as the run will
# As many for the plain model as for ours
TRIALS: list[tuple[str, dict]] = [
    ("ours", {}),
    ("plain", {}),
    ("ours", dict(learning_rate=0.03)),
    ("plain", dict(learning_rate=0.002)),
    ("ours", dict(small=True)),
    ("ours", dict(small=True, dropout=0.1)),
    ("ours", dict(small=True, dropout=0.2)),
    ("ours", dict(small=True, dropout=0.3)),
    ("plain", dict(small=True, learning_rate=0.002)),
    ("plain", dict(small=True, learning_rate=0.002, dropout=0.2)),
    ("plain", dict(small=True, learning_rate=0.002, weight_decay=0.3)),
    ("plain", dict(learning_rate=0.004)),
]


def words(options: dict) -> list[str]:
    """Options as a command line has them."""
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def trial(work: pathlib.Path, arm: str, changes: dict) -> dict:
    """One run of ten minutes on one core, judged on the book that is never read: its row in the list of trials."""
    options = {**TOKENS, **(OURS if arm == "ours" else PLAIN), **changes}
    small = options.pop("small", False)
    steps = TEN_MINUTES[arm] * 8 // options["batch_size"]
    text = work / ("train_small" if small else "train")
    with tempfile.TemporaryDirectory(dir=work) as passing:
        out = pathlib.Path(passing, "run")
        command = [sys.executable, "-m", "bigmodel_lib", "pretrain", "--out", out, "--text", text]
        command += ["--validation", work / "judge", "--steps", str(steps), *words(options)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
        metrics = json.loads((out / "metrics.json").read_text())
    kept = {name: metrics[name] for name in ("val_nats_per_char", "val_loss", "parameters", "tokens", "train_seconds")}
    return {"arm": arm, "changes": changes, "steps": steps, **kept}


def tune(work: pathlib.Path, path: pathlib.Path, workers: int = 2) -> None:
    """Run the trials that are not in the list yet, two at a time."""
    small = work / "train_small"
    small.mkdir(exist_ok=True)
    for chapter in sorted((work / "train").glob("*.txt"))[::SMALL]:
        (small / chapter.name).write_text(chapter.read_text(encoding="utf-8"), encoding="utf-8")
    rows = json.loads(path.read_text()) if path.exists() else []
    done = [(row["arm"], row["changes"]) for row in rows]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        coming = [pool.submit(trial, work, *each) for each in TRIALS if each not in done]
        for future in concurrent.futures.as_completed(coming):
            rows.append(future.result())
            print(rows[-1], flush=True)
            checkpoints.write_json(path, rows)


MOMENTS = (10, 20, 40, 80, 150, 300, 600, 1200, 1800, 2700, 3600, 4500, 5400)  # seconds, for the film


def keep_moment(checkpoint: pathlib.Path, path: pathlib.Path) -> None:
    """The weights of a running run as they are now, in bfloat16, with its step, seconds, tokens and last loss."""
    tensors, notes = checkpoints.load_tensors(checkpoint)
    state = notes["state"]
    about = {name: state[name] for name in ("step", "seconds", "tokens")}
    about["loss"] = state["curve"][-1]["loss"] if state["curve"] else None
    prefix = "model/"
    weights = {name.removeprefix(prefix): t.bfloat16() for name, t in tensors.items() if name.startswith(prefix)}
    checkpoints.save_tensors(path, weights, about)


def train(work: pathlib.Path, minutes: str = "97", arm: str = "ours") -> None:
    """The run itself, on all cores: WORK/run is the model, WORK/moments what the film needs."""
    options = {**TOKENS, **(OURS if arm == "ours" else PLAIN), **CHOSEN[arm]}
    options |= {"minutes": minutes, "save_every": 5}
    out, moments = work / f"run_{arm}", work / f"moments_{arm}"
    moments.mkdir()
    command = [sys.executable, "-m", "bigmodel_lib", "pretrain", "--out", out, "--text", work / "train"]
    command += ["--validation", work / "held_out", *words(options)]
    with subprocess.Popen(command) as run:
        checkpoint, began, coming = out / "checkpoint.safetensors", None, [0, *MOMENTS]
        while run.poll() is None:
            time.sleep(1)
            if checkpoint.exists():
                began = began or time.monotonic()
                if coming and time.monotonic() - began >= coming[0]:
                    keep_moment(checkpoint, moments / f"{coming.pop(0):05}.safetensors")
    if run.returncode:
        raise SystemExit(run.returncode)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("prepare", "tune", "train", "film", *measures.PARTS))
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument(
        "more", nargs="*", help="prepare: the folder of books; tune: the list; train: minutes, ours|plain"
    )
    options = parser.parse_args()
    if options.what == "prepare":
        prepare(pathlib.Path(options.more[0]), options.work)
    elif options.what == "tune":
        tune(options.work, pathlib.Path(options.more[0]))
    elif options.what == "train":
        train(options.work, *options.more)
    elif options.what == "film":
        film.film(options.work)
    else:
        measures.measure(options.what, options.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
