"""The main job: one loop that trains a model on text, one checkpoint that continues it, and the command line.

python -m bigmodel_lib.pretraining --text FILE --out DIR
"""

import argparse
import dataclasses
import hashlib
import math
import pathlib
import signal
import sys
import time

import numpy as np
import torch
from torch import nn

from bigmodel_lib import checkpoints, corpora
from bigmodel_lib.config import PRESETS, CourseError, ModelConfig, TrainConfig, preset
from bigmodel_lib.corpora import all_windows, random_windows, split_tokens
from bigmodel_lib.devices import autocast, choose_device, to_device
from bigmodel_lib.model_torch import LanguageModel, count_parameters, cross_entropy, initialise
from bigmodel_lib.optimizers_torch import Optimizers, rate_factor
from bigmodel_lib.tokenizers import TOKENIZERS, tokenizer_for, tokenizer_from_dict

LOOK_EVERY = 10  # steps between two looks of the host at the losses
SAMPLE_TOKENS = 16_384  # how much of the validation split is read during a run; the end reads all of it
CHECKPOINT_SECONDS = 30.0


class Diverged(CourseError):
    """The loss or the weights turned into no number; `step` says when."""

    def __init__(self, what: str, step: int):
        super().__init__(f"the {what} turned into no number (NaN or infinity) at step {step}")
        self.step = step


@dataclasses.dataclass(frozen=True)
class Look:
    """What a run looks like from outside, every few steps: loss is the mean over the steps since the last look."""

    step: int
    fraction: float  # of the budget
    seconds: float  # of training
    tokens: int  # read so far
    loss: float  # nats per token
    rate: float  # share of the peak rate, now


@torch.no_grad()
def evaluate(model, tokens: np.ndarray, batch_size: int = 64, precision: str = "auto") -> float:
    """Mean loss in nats per token over all of `tokens`, in windows of the model's context that do not overlap."""
    device = model.token_embedding.device
    sums, count = [], 0
    for x, y in all_windows(tokens, batch_size, model.config.context_length):
        with autocast(device, precision):
            logits = model(to_device(x, device))
        sums.append(cross_entropy(logits.float(), to_device(y, device)) * y.size)
        count += y.size
    return math.fsum(torch.stack(sums).tolist()) / count


class Pretraining:
    """A run that can be watched, stopped and continued: `for look in run: …` trains until the budget is used.

    Time counts only inside the loop's steps, so whoever watches may evaluate, draw and sample at leisure.
    The model must be initialised and on its device. Raises Diverged when a loss turns NaN.
    """

    def __init__(self, model: LanguageModel, tokens: np.ndarray, config: TrainConfig, clock=time.perf_counter):
        self.model, self.tokens, self.config, self.clock = model, tokens, config, clock
        self.device = model.token_embedding.device
        self.forward = torch.compile(model) if config.compile else model
        self.optimizers = Optimizers(model, config)
        self.rng = np.random.default_rng(config.seed)
        self.step, self.seconds, self.curve = 0, 0.0, []

    def fraction(self, running: float = 0.0) -> float:
        """The used share of the budget, 0 to 1; `running` seconds have not been booked yet."""
        if self.config.steps is not None:
            return self.step / self.config.steps
        return min(1.0, (self.seconds + running) / (60 * self.config.minutes))

    def rate(self, fraction: float) -> float:
        """The share of the peak rate at this step."""
        config = self.config
        return rate_factor(fraction, self.step, config.warmup_steps, config.decay, config.final_rate)

    def train_step(self, x, y, rate: float):
        """Forward, backward, clip, update. x and y (B, T) on the device -> loss (), still on the device."""
        with autocast(self.device, self.config.precision):
            logits = self.forward(x)
        loss = cross_entropy(logits.float(), y)
        loss.backward()
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizers.step(rate)
        return loss.detach()

    def __iter__(self):
        while self.fraction() < 1.0:
            look = self._steps_until_look()
            self.curve.append(dataclasses.asdict(look))
            yield look

    def _steps_until_look(self) -> Look:
        config, losses, start = self.config, [], self.clock()
        size = (config.batch_size, self.model.config.context_length)
        while not losses or self.step % LOOK_EVERY:
            fraction = self.fraction(self.clock() - start)
            if losses and fraction >= 1.0:
                break
            x, y = random_windows(self.tokens, *size, self.rng)
            losses.append(self.train_step(to_device(x, self.device), to_device(y, self.device), self.rate(fraction)))
            self.step += 1
        values = torch.stack(losses).tolist()  # the one place where the host waits for the device
        self.seconds += self.clock() - start
        for behind, loss in enumerate(values):
            if not math.isfinite(loss):
                raise Diverged("loss", self.step - len(values) + behind)
        fraction, tokens = self.fraction(), self.step * math.prod(size)
        return Look(self.step, fraction, self.seconds, tokens, math.fsum(values) / len(values), self.rate(fraction))

    def check_weights(self) -> None:
        """Raises Diverged if a weight is no number."""
        if not torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()]).all():
            raise Diverged("weights", self.step)

    def save(self, path, **notes) -> None:
        """Write all that `load` needs to go on as if nothing had happened. Raises Diverged for broken weights."""
        self.check_weights()
        tensors = {f"model/{name}": parameter for name, parameter in self.model.named_parameters()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizers.state_tensors().items()}
        state = dict(step=self.step, seconds=self.seconds, curve=self.curve, rng=self.rng.bit_generator.state)
        configs = dict(model=self.model.config.to_dict(), train=self.config.to_dict())
        checkpoints.save_tensors(path, tensors, {**notes, **configs, "state": state})

    def load(self, tensors: dict, notes: dict, path) -> None:
        """Put back what `save` wrote. Raises CourseError for weights of another shape."""
        parts = {
            kind: {k.removeprefix(kind): v for k, v in tensors.items() if k.startswith(kind)}
            for kind in ("model/", "optimizer/")
        }
        checkpoints.fill(self.model, parts["model/"], path)
        self.optimizers.load_state_tensors(parts["optimizer/"])
        state = notes["state"]
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        self.rng.bit_generator.state = state["rng"]


class StopSignal:
    """Turns Ctrl-C and a polite kill into a flag for the loop; a second one stops at once."""

    def __enter__(self):
        self.raised, self._before = False, {}
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)


def clock_face(seconds: float) -> str:
    """Seconds as 4:07 or 1:02:45."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def status_line(look: Look, val_loss: float | None = None) -> str:
    """Loss, tokens per second and time left, for a progress bar."""
    left = look.seconds * (1 - look.fraction) / max(look.fraction, 1e-9)
    held_out = f" (validation {val_loss:.3f})" if val_loss is not None else ""
    speed = look.tokens / max(look.seconds, 1e-9)
    return f"step {look.step} · loss {look.loss:.3f}{held_out} · {speed:,.0f} tokens/s · {clock_face(left)} left"


def train_with_progress(run: Pretraining, validation, save, stop, checkpoint_seconds: float) -> bool:
    """Run to the end of the budget, with a bar, checkpoints and about ten evaluations; False if it was stopped."""
    from tqdm import tqdm

    saved, val_loss, tenth = time.monotonic(), None, int(10 * run.fraction())
    bar_format = "{percentage:3.0f}% |{bar:24}| {desc}"
    interval = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(total=1.0, initial=run.fraction(), bar_format=bar_format, mininterval=interval) as bar:
        for look in run:
            if int(10 * look.fraction) > tenth and look.fraction < 1.0:
                tenth = int(10 * look.fraction)
                val_loss = evaluate(run.model, validation[:SAMPLE_TOKENS], precision=run.config.precision)
                run.curve[-1]["val_loss"] = val_loss
            bar.set_description_str(status_line(look, val_loss), refresh=False)
            bar.update(look.fraction - bar.n)
            if stop.raised or time.monotonic() - saved > checkpoint_seconds:
                save()
                saved = time.monotonic()
            if stop.raised:
                return False
        bar.refresh()
    return True


def finish(run: Pretraining, folder: pathlib.Path, tokenizer, validation) -> dict:
    """Evaluate on the whole validation split and write the four files of a finished run; returns the metrics."""
    run.check_weights()
    val_loss = evaluate(run.model, validation, precision=run.config.precision)
    targets = validation[1:]
    metrics = {
        "val_loss": val_loss,
        "val_nats_per_char": val_loss * len(targets) / tokenizer.count_characters(targets),
        "parameters": count_parameters(run.model),
        "steps": run.step,
        "tokens": run.step * run.config.batch_size * run.model.config.context_length,
        "train_seconds": run.seconds,
        "device": str(run.device),
        "train_config": run.config.to_dict(),
        "curve": run.curve,
    }
    checkpoints.save_model(folder, run.model, tokenizer)
    checkpoints.write_json(folder / "metrics.json", metrics)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return metrics


# The command line

RESUMABLE = ("text", "out", "resume", "device")  # options that do not describe the run itself


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help lists all options)\n")


def parse_options(argv) -> argparse.Namespace:
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="pretraining", description="Pretrain a language model on a text.")
    add = parser.add_argument
    add("--text", metavar="FILE", help="any UTF-8 text (default: the Python manual of the standard library)")
    add("--out", metavar="DIR", required=True, help="folder for the results; it must not exist yet")
    add("--resume", action="store_true", help="continue the run in DIR")
    add("--tokenizer", choices=TOKENIZERS, help="what a token is (default: characters)")
    add("--preset", choices=tuple(PRESETS), help="a tried recipe (default: small)")
    add("--steps", type=int, help="budget in updates (default: the preset's)")
    add("--minutes", type=float, help="budget in minutes of training, instead of --steps")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), help="where to compute (default: auto)")
    add("--seed", type=int, help="of the weights and the batches (default: 0)")
    add("--d-model", type=int, help="width of the residual stream")
    add("--n-layers", type=int, help="number of blocks")
    add("--n-heads", type=int, help="attention heads in a block")
    add("--context-length", type=int, help="tokens that the model sees at once")
    add("--batch-size", type=int, help="windows in a step")
    add("--muon-rate", type=float, help="peak rate of Muon, for the matrices in the blocks")
    add("--adamw-rate", type=float, help="peak rate of AdamW, for all else")
    add("--precision", choices=("auto", "float32", "bfloat16"), help="auto: bfloat16 on cuda, float32 elsewhere")
    add("--compile", action="store_true", default=None, help="faster steps after a wait of up to a minute")
    return parser.parse_args(argv)


def read_source(text_file):
    """(text, its name in the checkpoint)."""
    if text_file is None:
        return corpora.python_manual(), None
    return corpora.read_text(text_file), str(pathlib.Path(text_file).resolve())


def fingerprint(text: str) -> str:
    """SHA-256 of the text, by which a resumed run knows it again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_run(options, given: dict, folder: pathlib.Path, device):
    """(run, tokenizer, validation, notes) of a fresh run; the folder is made last, when all else is right."""
    if folder.exists():
        raise CourseError(f"{folder} exists already: name a new folder, or continue its run with --resume")
    text, source = read_source(options.text)
    changes = {k: v for k, v in given.items() if k not in ("tokenizer", "preset")}
    model_config, train_config = preset(given.get("preset", "small"), 1, **changes)  # refuse the sizes before the text
    tokenizer = tokenizer_for(given.get("tokenizer", "characters"), text)
    train, validation = split_tokens(tokenizer.encode(text), model_config.context_length)
    model = LanguageModel(model_config.replace(vocab_size=tokenizer.vocab_size))
    model = initialise(model, torch.Generator().manual_seed(train_config.seed)).to(device)
    notes = dict(options=given, source=source, fingerprint=fingerprint(text), tokenizer=tokenizer.to_dict())
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise CourseError(f"the folder {folder} cannot be made ({reason}): name another") from None
    return Pretraining(model, train, train_config), tokenizer, validation, notes


def resumed_run(options, given: dict, folder: pathlib.Path, device):
    """(run, tokenizer, validation, notes) of the run whose checkpoint lies in the folder."""
    path = folder / "checkpoint.safetensors"
    if not folder.is_dir():
        raise CourseError(
            f"{folder} is not there, so there is nothing to resume: leave --resume out, or correct the name"
        )
    if not path.exists() and (folder / "metrics.json").exists():
        raise CourseError(
            f"the run in {folder} is finished, so there is nothing to resume: use it, or start one elsewhere"
        )
    tensors, notes = checkpoints.load_tensors(path)
    try:
        for name, value in given.items():
            before = notes["options"].get(name)
            if value != before:
                option = "--" + name.replace("_", "-")
                began = "without it" if before is None else f"with {before}"
                raise CourseError(
                    f"{option} {value} was given and the run in {folder} began {began}: leave {option} out"
                )
        text, _ = read_source(options.text or notes["source"])
        if fingerprint(text) != notes["fingerprint"]:
            raise CourseError(f"the text is not the one that the run in {folder} began with: name that one with --text")
        model_config, train_config = ModelConfig.from_dict(notes["model"]), TrainConfig.from_dict(notes["train"])
        tokenizer = tokenizer_from_dict(notes["tokenizer"])
        train, validation = split_tokens(tokenizer.encode(text), model_config.context_length)
        run = Pretraining(LanguageModel(model_config).to(device), train, train_config)
        run.load(tensors, notes, path)
    except (KeyError, TypeError, AttributeError):
        raise CourseError(f"{path} is not a checkpoint of a pretraining run: name the folder of one") from None
    return run, tokenizer, validation, {k: notes[k] for k in ("options", "source", "fingerprint", "tokenizer")}


def pretrain(options) -> int:
    """The whole job for parsed options; returns the exit code."""
    given = {k: v for k, v in vars(options).items() if v is not None and k not in RESUMABLE}
    folder, device = pathlib.Path(options.out), choose_device(options.device or "auto")
    run, tokenizer, validation, notes = (resumed_run if options.resume else new_run)(options, given, folder, device)
    checkpoint = folder / "checkpoint.safetensors"

    def save():
        run.save(checkpoint, **notes)

    print(
        f"{count_parameters(run.model):,} parameters, {len(run.tokens):,} tokens to train on, "
        f"{len(validation):,} to validate on, device {device}",
        file=sys.stderr,
    )
    with StopSignal() as stop:
        try:
            if not options.resume:
                save()
            finished = train_with_progress(run, validation, save, stop, CHECKPOINT_SECONDS)
        except Diverged as problem:
            kept = checkpoints.load_tensors(checkpoint)[1]["state"]["step"]
            raise CourseError(
                f"{problem}: the last good checkpoint, of step {kept}, is kept in {folder}; "
                f"start again elsewhere with lower rates (--muon-rate, --adamw-rate) or another --seed"
            ) from None
        if not finished:
            print(f"stopped at step {run.step}: continue with --out {folder} --resume", file=sys.stderr)
            return 130
        save()
    metrics = finish(run, folder, tokenizer, validation)
    print(
        f"validation loss {metrics['val_loss']:.4f} nats per token, {metrics['val_nats_per_char']:.4f} nats per "
        f"character, after {metrics['steps']} steps in {metrics['train_seconds']:.1f} s; written to {folder}"
    )
    return 0


def main(argv=None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input."""
    try:
        return pretrain(parse_options(argv))
    except CourseError as error:
        print(f"pretraining: {error}", file=sys.stderr)
        return 2
    except torch.cuda.OutOfMemoryError:
        print(
            "pretraining: the device has too little memory for this run: choose a smaller --batch-size or --d-model",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\npretraining: stopped at once; --resume continues from the last checkpoint", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
