"""The main job as a program: text in, a trained model out, with checkpoints that continue.

python -m bigmodel_lib.cli.pretrain --text FILE --out DIR
"""

import argparse
import math
import os
import pathlib
import sys
import time

import torch

from bigmodel_lib.cli.reports import CurveFile, how_to_go_on, say
from bigmodel_lib.cli.stopping import Stopped, StopSignal
from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import PRESETS, preset, preset_for_minutes
from bigmodel_lib.text.reader import Progress
from bigmodel_lib.text.sources import Source, open_text, prepare_text
from bigmodel_lib.text.tokenizers import TOKENIZERS, tokenizer_from_dict
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes, join_processes, run_program
from bigmodel_lib.training.trainer import Diverged, Look, Pretraining, evaluate

SAMPLE_TOKENS = 16_384  # how much of the validation split is read during a run; the end reads all of it
CHECKPOINT_SECONDS = 30.0
FILES = ("checkpoint.safetensors", "curve.csv", "model.safetensors", "config.json", "tokenizer.json", "metrics.json")


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


def train_with_progress(run: Pretraining, validation, save, stop, curve_file, pause=CHECKPOINT_SECONDS) -> bool:
    """Run to the end of the budget, with a bar and about ten evaluations; False if it was stopped.

    A checkpoint is written when `pause` seconds have gone by since the last one.
    """
    from tqdm import tqdm

    saved, val_loss, tenth = time.monotonic(), None, int(10 * run.fraction())
    bar_format = "{percentage:3.0f}% |{bar:24}| {desc}"
    interval, silent = (0.2 if sys.stderr.isatty() else 10.0), not run.processes.first
    with tqdm(total=1.0, initial=run.fraction(), bar_format=bar_format, mininterval=interval, disable=silent) as bar:
        for look in run:
            stopped = stop.among(run.processes)
            if run.processes.first:
                if int(10 * look.fraction) > tenth and look.fraction < 1.0:
                    tenth = int(10 * look.fraction)
                    val_loss = evaluate(run.model, validation[:SAMPLE_TOKENS], precision=run.config.precision)
                    run.curve[-1]["val_loss"] = val_loss
                curve_file.add(run.curve[-1])
                bar.set_description_str(status_line(look, val_loss), refresh=False)
                bar.update(look.fraction - bar.n)
                if stopped or time.monotonic() - saved > pause:
                    save()
                    saved = time.monotonic()
            if stopped:
                return False
        bar.refresh()
    return True


def finish(run: Pretraining, folder: pathlib.Path, tokenizer, validation, stop: StopSignal) -> dict:
    """Evaluate on the whole validation split and write the files of a finished run; returns the metrics.

    A signal stops the evaluation, and lets the files be written. The last of them, metrics.json, says that the run is
    finished, and until it is there the checkpoint stays.
    val_nats_per_char is None for an encoder: the cost of a hidden token given both sides is no cost of the text.
    """
    run.check_weights()
    with stop.at_once():
        val_loss = evaluate(run.model, validation, precision=run.config.precision)
    targets, causal = validation[1:], run.model.config.causal
    per_character = val_loss * len(targets) / tokenizer.count_characters(targets) if causal else None
    metrics = {
        "val_loss": val_loss,
        "val_nats_per_char": per_character,
        "parameters": count_parameters(run.model),
        "steps": run.step,
        "tokens": run.step * run.config.batch_size * run.model.config.context_length,
        "train_seconds": run.seconds,
        "device": str(run.device),
        "processes": run.processes.size,
        "train_config": run.config.to_dict(),
        "curve": run.curve,
    }
    checkpoints.save_model(folder, run.model, tokenizer)
    stop.ended()
    checkpoints.write_json(folder / "metrics.json", metrics)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return metrics


# The command line

# Options that do not describe the run itself.
RESUMABLE = ("text", "out", "resume", "device", "tensorboard", "save_every")


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help lists all options)\n")


def parse_options(argv) -> argparse.Namespace:
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="pretraining", description="Pretrain a language model on a text.")
    add = parser.add_argument
    add("--text", metavar="TEXT", help="a UTF-8 file, a folder of .txt files, or the name of a public text: "
        "shakespeare (default: the Python manual of the standard library)")  # fmt: skip
    add("--out", metavar="DIR", required=True, help="folder for the results; it must not exist yet")
    add("--resume", action="store_true", help="continue the run in DIR")
    add("--objective", choices=("causal", "masked"), help="guess the next token (default), or hidden ones: an encoder")
    add("--tokenizer", choices=TOKENIZERS, help="what a token is (default: characters)")
    add("--preset", choices=tuple(PRESETS), help="a tried recipe (default: small, or for --minutes alone the best)")
    add("--steps", type=int, help="budget in updates (default: the preset's)")
    add("--minutes", type=float, help="budget in minutes of training, instead of --steps")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), help="where to compute (default: auto)")
    add("--seed", type=int, help="of the weights and the batches (default: 0)")
    add("--d-model", type=int, help="width of the residual stream")
    add("--n-layers", type=int, help="number of blocks")
    add("--n-heads", type=int, help="attention heads in a block")
    add("--context-length", type=int, help="tokens that the model sees at once")
    add("--batch-size", type=int, help="windows in a step")
    add("--dropout", type=float, help="share of each branch that is set to 0 in training (default: 0)")
    add("--ngrams", type=int, help="longest run of tokens with an embedding of its own, 1 to 4")
    add("--muon-rate", type=float, help="peak rate of Muon, for the matrices in the blocks")
    add("--adamw-rate", type=float, help="peak rate of AdamW, for all else")
    add("--precision", choices=("auto", "float32", "bfloat16"), help="auto: bfloat16 on cuda, float32 elsewhere")
    add("--compile", action="store_true", default=None, help="faster steps after a wait of up to a minute")
    add(
        "--save-every", type=float, metavar="SECONDS", help=f"between two checkpoints (default: {CHECKPOINT_SECONDS:g})"
    )
    add("--tensorboard", action="store_true", help="write the curve for TensorBoard, too")
    return parser.parse_args(argv)


def chosen_preset(given: dict) -> tuple[str, dict]:
    """(preset, changes) of a run that names none: the best one at its budget, or small if it has a wish of its own."""
    wishes = ("d_model", "n_layers", "n_heads", "context_length", "batch_size", "ngrams", "muon_lr", "adamw_lr")
    minutes, other = given.get("minutes"), given.get("objective") == "masked" or any(wish in given for wish in wishes)
    return ("small", {}) if minutes is None or other else preset_for_minutes(minutes)


def reading_bars() -> Progress:
    """A function (bytes done, bytes in all, what is done) that draws a bar on the terminal for each thing done."""
    from tqdm import tqdm

    bars: dict = {}

    def show(done: int, total: int, what: str) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit="B", unit_scale=True, file=sys.stderr)
        bars[what].update(done - bars[what].n)
        if done >= total:
            bars[what].close()

    return show


def read_source(name, kind: str, context_length: int, processes: Processes, tokenizer=None) -> Source:
    """The text that --text names. One process fetches and tokenises it, the others find that done."""
    if processes.first:
        prepare_text(name, kind, reading_bars())
    processes.wait()
    return open_text(name, kind, context_length, tokenizer)


def new_run(options, given: dict, folder: pathlib.Path, device, processes: Processes):
    """(run, text, notes) of a fresh run, whose folder has still to be made."""
    if folder.exists():
        raise CourseError(f"{folder} exists already: name a new folder, or continue its run with --resume")
    changes = {k: v for k, v in given.items() if k not in ("tokenizer", "preset", "objective")}
    changes["causal"] = given.get("objective") != "masked"
    name, sizes = (given["preset"], {}) if "preset" in given else chosen_preset(given)
    model_config, train_config = preset(name, 1, **sizes, **changes)  # refuse the sizes before the text
    text = read_source(options.text, given.get("tokenizer", "characters"), model_config.context_length, processes)
    vocab_size = text.tokenizer.vocab_size + (not model_config.causal)  # and one for a hidden token
    model = LanguageModel(model_config.replace(vocab_size=vocab_size))
    model = initialise(model, torch.Generator().manual_seed(train_config.seed)).to(device)
    run = Pretraining(model, text.train, train_config, processes=processes)
    notes = dict(options=given, source=text.name, fingerprint=text.fingerprint, tokenizer=text.tokenizer.to_dict())
    processes.wait()  # until all have found the folder free
    return run, text, notes


def resumed_run(options, given: dict, folder: pathlib.Path, device, processes: Processes):
    """(run, text, notes) of the run whose checkpoint lies in the folder."""
    path = folder / "checkpoint.safetensors"
    if not folder.is_dir():
        raise CourseError(
            f"{folder} is not there, so there is nothing to resume: leave --resume out, or correct the name"
        )
    if checkpoints.is_finished(folder):
        path.unlink(missing_ok=True)  # it is there if the run was killed in its very last moment
        raise CourseError(
            f"the run in {folder} is finished, so there is nothing to resume: use it, or start one elsewhere"
        )
    if not path.exists():
        raise CourseError(
            f"{folder} has no checkpoint (checkpoint.safetensors): correct the name, or start a run without --resume"
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
        model_config, train_config = ModelConfig.from_dict(notes["model"]), TrainConfig.from_dict(notes["train"])
        tokenizer, name = tokenizer_from_dict(notes["tokenizer"]), options.text or notes["source"]
        text = read_source(name, tokenizer.kind, model_config.context_length, processes, tokenizer)
        if text.fingerprint != notes["fingerprint"]:
            raise CourseError(f"the text is not the one that the run in {folder} began with: name that one with --text")
        run = Pretraining(LanguageModel(model_config).to(device), text.train, train_config, processes=processes)
        run.load(tensors, notes, path)
        if processes.first:
            checkpoints.clear_passing(*(folder / name for name in FILES))
    except (KeyError, TypeError, AttributeError):
        raise CourseError(f"{path} is not a checkpoint of a pretraining run: name the folder of one") from None
    return run, text, {k: notes[k] for k in ("options", "source", "fingerprint", "tokenizer")}


def train_and_keep(run: Pretraining, text, folder: pathlib.Path, notes: dict, options, stop: StopSignal) -> bool:
    """Train to the end of the budget, with checkpoints and a curve on disk; False if the run was stopped."""
    checkpoint = folder / "checkpoint.safetensors"
    pause = CHECKPOINT_SECONDS if options.save_every is None else options.save_every

    def save():
        run.save(checkpoint, **notes)

    with CurveFile(folder, run, options.tensorboard) as curve_file:
        try:
            finished = train_with_progress(run, text.validation, save, stop, curve_file, pause)
        except Diverged as problem:
            if not run.processes.first:  # the first one has the checkpoint, and says more
                raise
            kept = checkpoints.read_notes(checkpoint)["state"]["step"]
            raise CourseError(
                f"{problem}: the last good checkpoint, of step {kept}, is kept in {folder}; "
                f"start again elsewhere with lower rates (--muon-rate, --adamw-rate) or another --seed"
            ) from None
    if run.processes.first and finished:
        save()
    return finished


def pretrain(options, processes: Processes, device, stop: StopSignal) -> int:
    """The whole job for parsed options; returns the exit code. Raises Stopped in all processes if one was stopped."""
    given = {k: v for k, v in vars(options).items() if v is not None and k not in RESUMABLE}
    folder = pathlib.Path(options.out)
    if options.save_every is not None and not 0 <= options.save_every < math.inf:
        raise CourseError(f"--save-every {options.save_every} is no number of seconds from 0: choose one, such as 30")
    start = resumed_run if options.resume else new_run
    run, text, notes = start(options, given, folder, device, processes)
    with stop.held():
        if not options.resume and processes.first:
            with checkpoints.new_folder(folder) as passing:
                run.save(passing / "checkpoint.safetensors", **notes)
        if processes.first:
            print(first_line(run, text, device), file=sys.stderr)
        stopped = not train_and_keep(run, text, folder, notes, options, stop)
        if processes.first and not stopped:
            try:
                say(last_line(finish(run, folder, text.tokenizer, text.validation, stop), folder))
            except Stopped:
                stopped = True
        stop.end_together(stopped, processes)
    return 0


def first_line(run: Pretraining, text, device) -> str:
    """What a run says when it begins."""
    shared = f", shared by {run.processes.size} processes" if run.processes.size > 1 else ""
    return (
        f"{count_parameters(run.model):,} parameters, {len(text.train):,} tokens to train on, "
        f"{len(text.validation):,} to validate on, device {device}{shared}"
    )


def last_line(metrics: dict, folder: pathlib.Path) -> str:
    """What a finished run says."""
    cost = metrics["val_nats_per_char"]
    return (
        f"validation loss {metrics['val_loss']:.4f} nats per {'token' if cost else 'hidden token'}, "
        f"{f'{cost:.4f} nats per character, ' if cost else ''}"
        f"after {metrics['steps']} steps in {metrics['train_seconds']:.1f} s; written to {folder}"
    )


def main(argv=None, stop: StopSignal | None = None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input, 128 + n for a signal n."""
    if stop is None:  # called from Python, which gets its own handlers back
        with StopSignal() as stop:
            return main(argv, stop)
    options = parse_options(argv)
    says = os.environ.get("LOCAL_RANK", "0") == "0"  # one process of each machine speaks for all

    def end(code: int, words: str) -> int:
        if says:
            print(f"pretraining: {words}", file=sys.stderr)
        return code

    def end_stopped(at_once: bool) -> int:
        if os.environ.get("RANK", "0") == "0":  # the one that has the checkpoint
            print(f"pretraining: {how_to_go_on('pretraining', options.out, at_once)}", file=sys.stderr)
        return stop.exit_code()

    try:
        with stop.at_once():
            processes, device = join_processes(choose_device(options.device or "auto"))
            return pretrain(options, processes, device, stop)
    except CourseError as error:
        return end(2, str(error))
    except torch.cuda.OutOfMemoryError:
        return end(2, "the device has too little memory for this run: choose a smaller --batch-size or --d-model")
    except RuntimeError as error:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        if stop.comes_soon():  # it has ended the other one already
            return end_stopped(at_once=True)
        return end(1, f"another process of this run has ended, so this one does; --resume goes on ({str(error)[:60]}…)")
    except KeyboardInterrupt as wish:
        return end_stopped(at_once=not isinstance(wish, Stopped))


if __name__ == "__main__":
    run_program(main)
