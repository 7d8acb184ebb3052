"""How the loss falls with size and with data, on stories that never end: `make data NAME=scaling`; data/scaling.json.

Six widths read five amounts of new stories, no story twice, and a seventh reads until it has used four times the
largest compute among them. Two read the same few stories again and again. The world's own probabilities give each run's
gap to the floor exactly. Rates are chosen by another seed, at three widths and two amounts. A stopped run goes on; on
CUDA a step is recorded once and then played back.
"""

import argparse
import concurrent.futures
import functools
import itertools
import json
import math
import multiprocessing
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.text.batches import pad
from bigmodel_lib.training.optimizers import Muon, Optimizers, orthogonalise
from bigmodel_lib.training.trainer import Diverged, Trainer, next_token_loss

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE, TEXT = ROOT / "data" / "scaling.json", ROOT / "runs" / "stories.npy"
LENGTH, PER_STORY = 76, 53.84  # tokens that the longest story may have, and targets of a mean one
BATCH, LAYERS = 16, 2
STORIES, FRESH, CHUNK = 164_000, 4_000, 2_000
WIDTHS, TOKENS, HEAD = (24, 48, 72, 96, 144, 192), (0.25e6, 0.5e6, 1e6, 2e6, 4e6), 24
SEALED, TIMES_COMPUTE = 264, 4  # the width of the run in the envelope, and its compute over the largest in the grid
TUNED_WIDTHS, TUNED_TOKENS = (24, 72, 192), (0.5e6, 2e6)
RATES = tuple(itertools.product((0.015, 0.035), (0.02, 0.06, 0.18)))  # (muon_lr, adamw_lr)
AGAIN_WIDTHS, AGAIN, AGAIN_TOKENS = (48, 192), (4, 16, 64), 1e6  # how often each story is read
TUNING_SEED, SEEDS, DIVERGED = 100, (0, 1, 2), 99.0


def tell(chunk: int) -> np.ndarray:
    """CHUNK stories of one seed, (CHUNK, LENGTH) ids, 255 after the end."""
    world = StoryWorld(longest=40)
    words, rng = world.tokenizer(), np.random.default_rng([2025, chunk])
    stories = [words.encode(f"{START} {world.sample(rng).text} {END}") for _ in range(CHUNK)]
    return pad(stories, 255, LENGTH).astype(np.uint8)


def write_stories(processes: int, *prepare: Callable) -> None:
    """TEXT, if it is not there."""
    if TEXT.exists():
        return
    TEXT.parent.mkdir(exist_ok=True)
    with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), *prepare) as pool:
        told = np.concatenate(list(pool.map(tell, range(STORIES // CHUNK))))
    np.save(TEXT.with_suffix(".half.npy"), told)
    TEXT.with_suffix(".half.npy").replace(TEXT)


@functools.cache
def fresh_stories() -> tuple[np.ndarray, np.ndarray]:
    """Stories that no run reads, (FRESH, LENGTH), and the world's -ln p of each, (FRESH,)."""
    world = StoryWorld(longest=40)
    words, rng = world.tokenizer(), np.random.default_rng([2026, 0])
    stories = [world.sample(rng) for _ in range(FRESH)]
    ids = pad([words.encode(f"{START} {story.text} {END}") for story in stories], 255, LENGTH)
    return ids, -np.array([story.log_prob for story in stories])


def in_and_out(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x with 0 after a story's end, and y, one token later, with -1 there."""
    rows = rows.astype(np.int64)
    return np.where(rows == 255, 0, rows)[:, :-1], np.where(rows == 255, -1, rows)[:, 1:]


def story_batches(seed: int, n_different: int, cut: bool = False) -> Callable:
    """A source of BATCH stories: all n_different in a random order, then all of them again in another.

    cut: at the end of the longest story of the batch, so shapes differ.
    """
    told, shuffle = np.load(TEXT, mmap_mode="r"), np.random.default_rng([7, seed])
    mine = shuffle.permutation(len(told))[:n_different]

    def endless() -> Iterator[int]:
        while True:
            yield from shuffle.permutation(mine)

    numbers = endless()

    def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows = told[np.sort(list(itertools.islice(numbers, BATCH)))]
        return in_and_out(rows[:, : (rows != 255).sum(axis=1).max()] if cut else rows)

    return batch


class SteadyMuon(Muon):
    """Muon whose rate and momentum are tensors, so that a recorded step can obey them."""

    def _step_together(self, parameters: list[Tensor], lr: Any, momentum: Any) -> None:
        gradients = torch.stack([p.grad for p in parameters if p.grad is not None])
        average = self.state[parameters[0]].setdefault("average", torch.zeros_like(gradients))
        average.lerp_(gradients, 1 - momentum)
        n_in, n_out = parameters[0].shape
        step = orthogonalise(gradients.lerp_(average, momentum)) * (lr * math.sqrt(max(1.0, n_out / n_in)))
        torch._foreach_sub_(parameters, list(step.unbind()))


class SteadyOptimizers(Optimizers):
    """Muon and AdamW whose rates, and Muon's momentum, are tensors on the device."""

    def __init__(self, model: LanguageModel, config: TrainConfig):
        super().__init__(model, config)
        groups = [part.param_groups[0] for part in self.parts]
        self.rates = [torch.tensor(peak, device=model.device) for peak in self.peaks]
        self.highest, self.n_set = config.momentum, 0
        self.momentum, adamw = torch.tensor(config.momentum, device=model.device), groups[0]
        settings = adamw["betas"], adamw["eps"], adamw["weight_decay"]
        cuda = model.device.type == "cuda"
        self.parts = [torch.optim.AdamW(adamw["params"], self.rates[0], *settings, fused=True, capturable=cuda)]
        for group in groups[1:]:
            self.parts.append(SteadyMuon(group["params"], 1.0, config.momentum))
            self.parts[1].param_groups[0].update(lr=self.rates[1], momentum=self.momentum)

    def step(self, lr: float) -> None:
        """One update at rates that `set_lr` has set."""
        for part in self.parts:
            part.step()

    def set_lr(self, lr: float) -> None:
        for rate, peak in zip(self.rates, self.peaks, strict=True):
            rate.fill_(lr * peak)
        self.momentum.fill_(self.highest - (self.highest - min(0.85, self.highest)) * max(0.0, 1 - self.n_set / 100))
        self.n_set += 1

    def forget(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)


class RecordedTrainer(Trainer):
    """The library's trainer; on CUDA, its fourth step is recorded as one launch, and the later ones play it back.

    Batches of another shape get a recording of their own.
    """

    def __init__(self, *arguments: Any, record: bool = True):
        super().__init__(*arguments)
        self.optimizers = SteadyOptimizers(self.model, self.config)
        self.record, self.recordings = record and self.device.type == "cuda", {}

    def one_step(self, *tensors: Tensor) -> Tensor:
        self.optimizers.forget()
        loss = self.loss_fn(self.model, *tensors)
        loss.backward()
        self.optimizers.step(1.0)
        return loss.detach()

    def recorded(self, tensors: tuple[Tensor, ...]) -> tuple:
        """(the graph of a step, where its batch goes, where its loss will be); nothing is computed yet."""
        given, graph = tuple(tensor.clone() for tensor in tensors), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            loss = self.one_step(*given)
        return graph, given, loss

    def train_step(self, *tensors: Tensor, lr: float, share: float = 1.0, measure: bool = False) -> tuple:
        self.optimizers.set_lr(lr)
        nothing = torch.zeros((), device=self.device)
        if not self.record:
            return self.one_step(*tensors), nothing
        if self.step < 3:  # what is made once, like the optimizers' averages, is made before the recording
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                loss = self.one_step(*tensors)
            torch.cuda.current_stream().wait_stream(side)
            return loss, nothing
        if tensors[0].shape not in self.recordings:
            try:
                self.recordings[tensors[0].shape] = self.recorded(tensors)
            except RuntimeError as error:  # a driver that can't record
                print(f"not recorded: {error}", flush=True)
                self.record = False
                return self.one_step(*tensors), nothing
        graph, given, loss = self.recordings[tensors[0].shape]
        for place, tensor in zip(given, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        return loss.clone(), nothing


def build(row: dict, device: str = "cpu", record: bool = True) -> RecordedTrainer:
    """The run of a row, not yet begun: width, tokens, seed, rates, and how often each story is read."""
    width, steps = row["d_model"], steps_of(row["tokens"])
    sizes, config = preset(
        "medium", StoryWorld(longest=40).tokenizer().vocab_size, steps=steps, seed=row["seed"], d_model=width,
        n_heads=max(1, width // HEAD), n_layers=LAYERS, context_length=LENGTH - 1, ngrams=1, batch_size=BATCH,
        warmup_steps=10, muon_lr=row["muon_lr"], adamw_lr=row["adamw_lr"], precision="float32",
    )  # fmt: skip
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(row["seed"])).to(choose_device(device))
    source = story_batches(row["seed"], math.ceil(steps * BATCH / row["again"]), cut=device == "cpu")
    return RecordedTrainer(model, source, next_token_loss, config, record=record)


def steps_of(tokens: float) -> int:
    return round(tokens / (BATCH * PER_STORY))


@torch.no_grad()
def gap(model: LanguageModel) -> tuple[float, float]:
    """(mean, standard error) of the loss above the floor on fresh stories, in nats per token."""
    rows, floor = fresh_stories()
    x, y = (torch.from_numpy(part) for part in in_and_out(rows))
    prices = []
    for start in range(0, len(x), 500):
        stretch, wanted = x[start : start + 500].to(model.device), y[start : start + 500].to(model.device)
        log_p = model(stretch).log_softmax(-1).gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
        prices.append(-(log_p * (wanted >= 0)).sum(-1).double().cpu())
    above, n = torch.cat(prices).numpy() - floor, (rows[:, 1:] != 255).sum(1)
    mean = above.sum() / n.sum()
    return float(mean), float(np.std(above - mean * n, ddof=1) * np.sqrt(len(n)) / n.sum())


def train(row: dict, device: str, record: bool, until: float) -> dict | None:
    """The row with what its run found; None if the time is over before that."""
    torch.set_num_threads(1)
    if time.time() > until:
        return None
    run = build(row, device, record)
    try:
        for _ in run:
            if time.time() > until:
                return None
    except Diverged:
        return row | {"gap": DIVERGED}
    run.model.eval()
    mean, error = gap(run.model)
    found = {"parameters": count_parameters(run.model), "steps": run.step, "gap": round(mean, 5),
             "error": round(error, 5), "seconds": round(run.seconds, 1), "device": device}  # fmt: skip
    return row | found


def cell(table: str, width: int, tokens: float, seed: int, rates: tuple[float, float], again: int = 1) -> dict:
    return {"table": table, "d_model": width, "tokens": round(tokens), "seed": seed, "again": again,
            "muon_lr": rates[0], "adamw_lr": rates[1]}  # fmt: skip


def best_rates(rows: list[dict], width: int, tokens: float) -> tuple[float, float]:
    """Those of the tuned cell that is nearest in proportion."""
    at = min(TUNED_WIDTHS, key=lambda w: abs(math.log(w / width)))
    of = min(TUNED_TOKENS, key=lambda t: abs(math.log(t / tokens)))
    tried = [row for row in rows if (row["table"], row["d_model"], row["tokens"]) == ("tuning", at, of)]
    best = min(tried, key=lambda row: row["gap"])
    return best["muon_lr"], best["adamw_lr"]


def sealed_tokens() -> float:
    """What SEALED has to read to use TIMES_COMPUTE times the largest N·D of the grid."""
    n = {w: LAYERS * 12 * w * w + 2 * 220 * w + 2 * LAYERS * w for w in (SEALED, max(WIDTHS))}
    return TIMES_COMPUTE * n[max(WIDTHS)] * max(TOKENS) / n[SEALED]


def jobs(rows: list[dict]) -> Iterator[list[dict]]:
    """What has to run, in parts: all later ones need the first. The long ones of a part come first."""
    cells = itertools.product(reversed(TUNED_TOKENS), reversed(TUNED_WIDTHS), RATES)
    yield [cell("tuning", width, tokens, TUNING_SEED, rates) for tokens, width, rates in cells]
    grid = [(width, tokens) for tokens in reversed(TOKENS) for width in reversed(WIDTHS)]

    def own(table: str, width: int, tokens: float, seed: int, again: int = 1) -> dict:
        return cell(table, width, tokens, seed, best_rates(rows, width, tokens), again)

    again = [(width, times) for width in reversed(AGAIN_WIDTHS) for times in AGAIN]
    for seed in SEEDS:
        part = [own("grid", width, tokens, seed) for width, tokens in grid]
        part += [own("sealed", SEALED, sealed_tokens(), seed)]
        yield part + [own("again", width, AGAIN_TOKENS, seed, times) for width, times in again]


def save(rows: list[dict]) -> None:
    ids, floor = fresh_stories()
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    how = {"made_by": "data/recipes/scaling.py", "stories_a_step": BATCH, "fresh_stories": FRESH,
           "floor": round(floor.sum() / int((ids[:, 1:] != 255).sum()), 5), "tuning_seed": TUNING_SEED,
           "seeds": SEEDS, "times_compute": TIMES_COMPUTE, "layers": LAYERS, "hardware": hardware(), "card": card,
           "versions": versions}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    half = FILE.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(FILE)


def shrink() -> None:
    """Sizes for a try of half a minute."""
    global STORIES, CHUNK, FRESH, WIDTHS, TOKENS, SEALED, RATES, AGAIN_WIDTHS, AGAIN, AGAIN_TOKENS, SEEDS, FILE, TEXT
    STORIES, CHUNK, FRESH, WIDTHS, TOKENS, SEALED, RATES = 2000, 500, 100, (24, 48), (2e4,), 48, RATES[:1]
    AGAIN_WIDTHS, AGAIN, AGAIN_TOKENS, SEEDS = (24,), (4,), 2e4, (0,)
    FILE, TEXT = ROOT / "runs" / "scaling_mini.json", ROOT / "runs" / "stories_mini.npy"
    globals().update(TUNED_WIDTHS=(24,), TUNED_TOKENS=(2e4,))


KEYS = ("table", "d_model", "tokens", "seed", "again", "muon_lr", "adamw_lr")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train models of many sizes on many amounts of stories.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--mini", action="store_true", help="a try of half a minute")
    parser.add_argument("--eager", action="store_true", help="record no steps")
    parser.add_argument("--tell", action="store_true", help="only tell the stories")
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so many minutes, and go on another time")
    options = parser.parse_args()
    small = [shrink] if options.mini else []
    for make_small in small:
        make_small()
    start, device = time.time(), str(choose_device(options.device))
    until = start + 60 * options.minutes
    write_stories(options.processes, *small)
    if options.tell:
        return
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []
    with concurrent.futures.ProcessPoolExecutor(
        options.processes, multiprocessing.get_context("spawn"), *small
    ) as pool:
        for part in jobs(rows):
            done = {tuple(row[key] for key in KEYS) for row in rows}
            missing = [row for row in part if tuple(row[key] for key in KEYS) not in done]
            waiting = [pool.submit(train, row, device, not options.eager, until) for row in missing]
            for future in concurrent.futures.as_completed(waiting):
                if (found := future.result()) is not None:
                    rows.append(found)
                    save(rows)
                    print(f"{time.time() - start:6.0f} s", found, flush=True)
            if time.time() > until:
                break


if __name__ == "__main__":
    sys.exit(main())
