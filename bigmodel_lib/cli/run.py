"""The one run loop of all programs that train: a new folder or a resumed one, checkpoints, curve, signals, last files.

A program gives a `Command`; what it trains is a `Job`. A run's folder holds checkpoint.safetensors and curve.csv while
it runs; at its end the checkpoint goes, and metrics.json, which is written last, says that it is finished.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from bigmodel_lib.cli import program
from bigmodel_lib.cli.program import OneLineParser, say, tell
from bigmodel_lib.cli.reports import CurveFile, status_line
from bigmodel_lib.cli.stopping import Stopped, StopSignal, left_to_the_system
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import FORMAT, Diverged, Progress, Trainer

CHECKPOINT_SECONDS = 30.0
CHECKPOINT = "checkpoint.safetensors"
FILES = (CHECKPOINT, "curve.csv", "model.safetensors", "config.json", "tokenizer.json", "labels.json", "metrics.json")
NOT_OF_THE_RUN = ("out", "resume", "device", "tensorboard", "save_every")  # options that may be others each time


@dataclasses.dataclass
class Source:
    """Something that a run reads: its path or name (None: the course's own), and a fingerprint to know it again."""

    name: str | None
    fingerprint: str


class Job:
    """What one program trains: the trainer, not yet begun, and what is particular to it.

    sources: {option: Source}. notes: what else the checkpoint keeps, for `Command.prepare` of a resumed run.
    """

    def __init__(self, trainer: Trainer, sources: dict[str, Source], notes: dict):
        self.trainer = trainer
        self.sources = sources
        self.notes = notes

    def first_lines(self, where: str) -> list[str]:
        """What the run says when it begins; where: the device and the processes, in words."""
        raise NotImplementedError

    def quick_loss(self) -> float | None:
        """A loss on held-out data that takes a moment, about ten times in a run; None for none."""
        return None

    def measure(self) -> dict:
        """The metrics of the finished model."""
        raise NotImplementedError

    def save(self, folder: pathlib.Path) -> None:
        """Write the files of the finished model."""
        raise NotImplementedError

    def last_line(self, metrics: dict) -> str:
        """What the run says at its end."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Command:
    """A program that trains.

    prepare(options, names, device, processes, notes) -> Job: options {name: value} of the run, names {option: path or
    name} of its sources, notes those of the checkpoint, or None for a new run. sources {option: what it is, in words}.
    """

    name: str
    parse_options: Callable[[Sequence[str] | None], argparse.Namespace]
    prepare: Callable[..., Job]
    sources: dict[str, str]


def add_run_options(parser: OneLineParser) -> None:
    """The options that all programs share which train."""
    add = parser.add_argument
    add("--out", metavar="DIR", required=True, help="folder for the results; it must not exist yet")
    add("--resume", action="store_true", help="continue the run in DIR")
    add("--steps", type=int, help="budget in updates")
    add("--minutes", type=float, help="budget in minutes of training, instead of --steps")
    add("--device", choices=program.DEVICES, help="where to compute (default: auto)")
    add("--seed", type=int, help="of all that is drawn at random (default: 0)")
    add("--batch-size", type=int, help="rows in a step, of all processes together")
    add("--optimizer", choices=("muon", "adamw"), help="muon: for the matrices in the blocks, and AdamW for the rest")
    add("--learning-rate", type=float, help="peak rate of Muon's matrices, or of everything with adamw")
    add("--adamw-learning-rate", type=float, help="with muon: peak rate of AdamW, for the rest")
    add("--weight-decay", type=float, help="AdamW's, as a share of rate × weight in a step (default: the recipe's)")
    add("--clip", type=float, help="longest gradient, all weights together; 0: any (default: the recipe's)")
    add("--dropout", type=float, help="share of each branch that is set to 0 in training (default: 0)")
    add("--precision", choices=("auto", "float32", "bfloat16"), help="auto: bfloat16 on cuda, float32 elsewhere")
    add("--compile", action="store_true", default=None, help="faster steps after a wait of up to a minute")
    pause = f"between two checkpoints (default: {CHECKPOINT_SECONDS:g})"
    add("--save-every", type=float, metavar="SECONDS", help=pause)
    add("--tensorboard", action="store_true", help="write the curve for TensorBoard, too")


def learning_rates(options: dict, optimizer: str) -> dict:
    """The fields of TrainConfig that the two options of rates mean. Raises CourseError where both mean the same one."""
    fields = {}
    if "learning_rate" in options:
        fields["muon_lr" if optimizer == "muon" else "adamw_lr"] = options["learning_rate"]
    if "adamw_learning_rate" in options:
        if "adamw_lr" in fields:
            raise CourseError("AdamW trains everything here and was given two rates: leave --adamw-learning-rate out")
        fields["adamw_lr"] = options["adamw_learning_rate"]
    return fields


# Beginning


def join_processes(device: torch.device) -> tuple[Processes, torch.device]:
    """(the processes that torchrun has started, this one's device); one process where it has not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Processes(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # numbers of the host go by gloo, gradients by the device's own engine
    with left_to_the_system():  # it may wait for the others for minutes, and hears nothing meanwhile
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), size), device


def read_checkpoint(command: Command, folder: pathlib.Path) -> tuple[dict, dict]:
    """(tensors, notes) of the run in a folder. Raises CourseError for one that this command cannot continue."""
    path = folder / CHECKPOINT
    if not folder.is_dir():
        raise CourseError(f"{folder} is not there, so there is nothing to resume: correct the name, or omit --resume")
    if checkpoints.is_finished(folder):
        path.unlink(missing_ok=True)  # it is there if the run was killed in its very last moment
        raise CourseError(f"the run in {folder} is finished, so there is nothing to resume: use it, or start another")
    if not path.exists():
        raise CourseError(f"{folder} has no checkpoint ({CHECKPOINT}): correct the name, or start a run elsewhere")
    tensors, notes = checkpoints.load_tensors(path)
    if "state" in notes and notes.get("format") != FORMAT:
        raise CourseError(f"the run in {folder} began with another edition of bigmodel: start it anew elsewhere")
    if notes.get("command") != command.name:
        raise CourseError(f"{path} is not a checkpoint of bigmodel {command.name}: name the folder of such a run")
    return tensors, notes


def check_options(given: dict, began: dict, folder: pathlib.Path) -> None:
    """Raises CourseError for an option that is not as the run began."""
    for name, value in given.items():
        before = began.get(name)
        if value != before:
            option = "--" + name.replace("_", "-")
            how = "without it" if before is None else f"with {before}"
            raise CourseError(f"{option} {value} was given and the run in {folder} began {how}: leave {option} out")


def check_sources(command: Command, job: Job, began: dict, folder: pathlib.Path) -> None:
    """Raises CourseError for a text, table or model that is not the one that the run began with."""
    for option, source in job.sources.items():
        if source.fingerprint != began[option]["fingerprint"]:
            raise CourseError(
                f"{source.name or 'what is read by default'} is not the {command.sources[option]} that the run in "
                f"{folder} began with: put that one back, or name its new place with --{option}"
            )


def check_places(names: dict, folder: pathlib.Path) -> None:
    """Raises CourseError for a file or folder that a run began with and that is not there any more."""
    for option, name in names.items():
        if name is not None and pathlib.Path(name).is_absolute() and not pathlib.Path(name).exists():
            raise CourseError(
                f"{name}, with which the run in {folder} began, is not there: name its new place with --{option}"
            )


def resumed(
    command: Command, folder: pathlib.Path, given: dict, names: dict, device: torch.device, processes: Processes
) -> tuple[Job, dict]:
    """(the job in a folder at its last checkpoint, the options that it began with)."""
    tensors, notes = read_checkpoint(command, folder)
    try:
        check_options(given, notes["options"], folder)
        known = {option: source["name"] for option, source in notes["sources"].items()}
        check_places({option: name for option, name in known.items() if option not in names}, folder)
        job = command.prepare(notes["options"], known | names, device, processes, notes)
        check_sources(command, job, notes["sources"], folder)
        job.trainer.load(tensors, notes, folder / CHECKPOINT)
    except (KeyError, TypeError, AttributeError):
        raise CourseError(f"{folder / CHECKPOINT} is damaged: start the run anew elsewhere") from None
    if processes.is_main_process:
        checkpoints.clear_passing(*(folder / name for name in FILES))
    return job, notes["options"]


def prepare(command: Command, options: argparse.Namespace, device: torch.device, processes: Processes) -> Job:
    """A new job, or the one in the folder at its last checkpoint."""
    folder = pathlib.Path(options.out)
    given = {name: value for name, value in vars(options).items() if value is not None and name not in NOT_OF_THE_RUN}
    names = {option: given.pop(option) for option in command.sources if option in given}
    if options.resume:
        job, given = resumed(command, folder, given, names, device, processes)
    elif folder.exists():
        raise CourseError(f"{folder} exists already: name a new folder, or continue its run with --resume")
    else:
        job = command.prepare(given, names, device, processes, None)
        processes.barrier()  # until all have found the folder free
    sources = {option: dataclasses.asdict(source) for option, source in job.sources.items()}
    job.notes = {**job.notes, "command": command.name, "options": given, "sources": sources}
    return job


# The loop


def watch(job: Job, stop: StopSignal, curve_file: CurveFile, save: Callable[[], None], pause: float) -> bool:
    """Train to the end of the budget, with a bar, the curve and about ten quick losses; False if it was stopped.

    A checkpoint is saved when `pause` seconds have gone by since the last one.
    """
    from tqdm import tqdm

    trainer = job.trainer
    saved, val_loss, tenth = time.monotonic(), None, int(10 * trainer.fraction())
    looks = dict(bar_format="{percentage:3.0f}% |{bar:24}| {desc}", mininterval=0.2 if sys.stderr.isatty() else 10.0)
    silent = not trainer.processes.is_main_process
    with tqdm(total=1.0, initial=trainer.fraction(), disable=silent, **looks) as bar:
        for progress in trainer:
            stopped = stop.among(trainer.processes)
            if trainer.processes.is_main_process:
                if int(10 * progress.fraction) > tenth and progress.fraction < 1.0:
                    tenth = int(10 * progress.fraction)
                    val_loss = job.quick_loss()
                    trainer.curve[-1] |= {"val_loss": val_loss} if val_loss is not None else {}
                curve_file.add(trainer.curve[-1])
                show(bar, progress, val_loss)
                if stopped or time.monotonic() - saved > pause:
                    save()
                    saved = time.monotonic()
            if stopped:
                return False
        bar.refresh()
    return True


def show(bar, progress: Progress, val_loss: float | None) -> None:
    """Move the bar."""
    bar.set_description_str(status_line(progress, val_loss), refresh=False)
    bar.update(progress.fraction - bar.n)


def train_and_keep(job: Job, folder: pathlib.Path, options: argparse.Namespace, stop: StopSignal) -> bool:
    """Train to the end of the budget, with checkpoints and a curve on disk; False if the run was stopped."""
    trainer, path = job.trainer, folder / CHECKPOINT
    pause = CHECKPOINT_SECONDS if options.save_every is None else options.save_every

    def save() -> None:
        trainer.save(path, **job.notes)

    with CurveFile(folder, trainer, options.tensorboard) as curve_file:
        try:
            finished = watch(job, stop, curve_file, save, pause)
        except Diverged as problem:
            if not trainer.processes.is_main_process:  # that one has the checkpoint, and says more
                raise
            kept = checkpoints.read_notes(path)["state"]["step"]
            raise CourseError(
                f"{problem}: the last good checkpoint, of step {kept}, is kept in {folder}; "
                f"start again elsewhere with a lower --learning-rate or another --seed"
            ) from None
    if trainer.processes.is_main_process and finished:
        save()
    return finished


def finish(job: Job, folder: pathlib.Path, stop: StopSignal) -> dict:
    """Measure, and write the files of a finished run, metrics.json last; returns the metrics.

    A signal stops the measuring, and lets the files be written; until metrics.json is there the checkpoint stays.
    """
    trainer = job.trainer
    trainer.check_weights()
    with stop.at_once():
        metrics = job.measure()
    metrics |= {
        "parameters": count_parameters(trainer.model),
        "steps": trainer.step,
        "tokens": trainer.tokens,
        "train_seconds": trainer.seconds,
        "device": str(trainer.device),
        "processes": trainer.processes.size,
        "train_config": trainer.config.to_dict(),
        "curve": trainer.curve,
    }
    job.save(folder)
    stop.ended()
    checkpoints.write_json(folder / "metrics.json", metrics)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return metrics


def train(command: Command, options: argparse.Namespace, stop: StopSignal) -> int:
    """The whole job; returns the exit code. Raises Stopped in all processes if one was stopped."""
    if options.save_every is not None and not 0 <= options.save_every < math.inf:
        raise CourseError(f"--save-every {options.save_every} is no number of seconds from 0: choose one, such as 30")
    folder = pathlib.Path(options.out)
    processes, device = join_processes(choose_device(options.device or "auto"))
    job = prepare(command, options, device, processes)
    main = processes.is_main_process
    with stop.held():
        if main and not options.resume:
            with checkpoints.new_folder(folder) as passing:
                job.trainer.save(passing / CHECKPOINT, **job.notes)
        shared = f", shared by {processes.size} processes" if processes.size > 1 else ""
        if main:
            print(*job.first_lines(f"device {device}{shared}"), sep="\n", file=sys.stderr)
        stopped = not train_and_keep(job, folder, options, stop)
        if main and not stopped:
            try:
                say(f"{job.last_line(finish(job, folder, stop))}; written to {folder}")
            except Stopped:
                stopped = True
        stop.end_together(stopped, processes)
    return 0


# Ending


def how_to_go_on(command: str, folder: str, at_once: bool = False) -> str:
    """What a stopped program says: where its run has stopped, and the command that continues it."""
    try:
        if not checkpoints.is_unfinished(folder):
            raise CourseError("it has no checkpoint")
        step = checkpoints.read_notes(pathlib.Path(folder) / CHECKPOINT)["state"]["step"]
    except (CourseError, KeyError, TypeError):
        return "stopped before the first step, nothing was written: start again with the same command"
    where = f"at once, after the checkpoint of step {step}" if at_once else f"at step {step}"
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return f"stopped {where}: start all machines again as before, with --out and --resume alone"
    line = program.as_typed([*program.beginning(), command, "--out", str(folder), "--resume"])
    return f"stopped {where}: continue with {line}"


def main(command: Command, argv: Sequence[str] | None, stop: StopSignal | None) -> int:
    """Run a command; returns its exit code, 2 with one line on stderr for bad input, 128 + n for a signal n."""
    if stop is None:  # called from Python, which gets its own handlers back
        with StopSignal() as stop:
            return main(command, argv, stop)
    options = command.parse_options(argv)

    def end(code: int, words: str) -> int:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of each machine speaks for all
            tell(command.name, words)
        return code

    def end_stopped(at_once: bool) -> int:
        if os.environ.get("RANK", "0") == "0":  # the one that has the checkpoint
            tell(command.name, how_to_go_on(command.name, options.out, at_once))
        return stop.exit_code()

    try:
        with stop.at_once():
            return train(command, options, stop)
    except CourseError as error:
        return end(2, str(error))
    except torch.cuda.OutOfMemoryError:
        return end(2, "the device has too little memory for this run: choose a smaller --batch-size or a smaller model")
    except RuntimeError as error:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        if stop.comes_soon():  # it has ended the other one already
            return end_stopped(at_once=True)
        return end(1, f"another process of this run has ended, so this one does; --resume goes on ({str(error)[:60]}…)")
    except KeyboardInterrupt as wish:
        return end_stopped(at_once=not isinstance(wish, Stopped))
