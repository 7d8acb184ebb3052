"""The one run loop of all programs that train: a new folder or a resumed one, checkpoints, curve, signals, last files.

A program gives the class of its `Job`. A run's folder holds checkpoint.safetensors and curve.csv while it runs; at its
end the checkpoint goes, and metrics.json, which is written last, says that it is finished.
"""

import argparse
import contextlib
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
import torch.distributed as dist

from bigmodel_lib.cli.main import OneLineParser, say
from bigmodel_lib.cli.reports import Loss, reported
from bigmodel_lib.cli.stopping import Stopped, StopSignal, left_to_the_system
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.text.tokenizers import Tokenizer
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import FORMAT, Trainer

CHECKPOINT_SECONDS = 30.0
CHECKPOINT = "checkpoint.safetensors"
NOT_OF_THE_RUN = ("out", "resume", "device", "tensorboard", "save_every")  # options that may be others each time


class Job(Protocol):
    """What one program trains, made from the options of the run and the names of what it reads."""

    command: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]  # the options that name something to read
    trainer: Trainer
    tokenizer: Tokenizer
    sources: dict[str, dict]  # {such an option: {"name": None for the default, "fingerprint": to know it again}}
    sizes: str  # what the run says when it begins
    remarks: Sequence[str] = ()  # and in lines below that
    labels: Sequence[str] = ()  # of a classifier
    quick_loss: Loss = None  # a loss on held-out data that takes a moment, about ten times in a run

    def __init__(self, options: dict, names: dict, device: torch.device, processes: Processes, notes: dict | None):
        """notes: those of the checkpoint from which a run goes on. Raises CourseError for what cannot be trained."""

    def measure(self) -> tuple[dict, str]:
        """(the metrics of the finished model, what the run says at its end)."""


def add_run_options(parser: OneLineParser) -> None:
    """The options that all programs share which train."""
    add = parser.add_argument
    add("--out", metavar="DIR", required=True, help="folder for the results; it must not exist yet")
    add("--resume", action="store_true", help="continue the run in DIR")
    add("--steps", type=int, help="budget in updates")
    add("--minutes", type=float, help="budget in minutes of training, instead of --steps")
    add("--seed", type=int, help="of all that is drawn at random (default: 0)")
    add("--batch-size", type=int, help="rows in a step, of all processes together")
    add("--optimizer", choices=("muon", "adamw"), help="muon: for the matrices in the blocks, and AdamW for the rest")
    add("--learning-rate", type=float, help="peak rate of Muon's matrices, or of everything with adamw")
    add("--weight-decay", type=float, help="AdamW's, as a share of rate × weight in a step (default: the recipe's)")
    add("--clip", type=float, help="longest gradient, all weights together; 0: any (default: the recipe's)")
    add("--dropout", type=float, help="share of each branch that is set to 0 in training (default: 0)")
    add("--precision", choices=("auto", "float32", "bfloat16"), help="auto: bfloat16 on cuda if tokens in a step × "
        "parameters are at least 5e10 (below, 32 bits were faster on an H100), else float32")  # fmt: skip
    add("--compile", action="store_true", default=None, help="faster steps (on an H100, 1.2 to 1.6 times as fast) "
        "after a wait of up to a minute: for some 3,000 steps or more")  # fmt: skip
    add("--save-every", type=float, default=CHECKPOINT_SECONDS, metavar="SECONDS", help="between two checkpoints "
        "(default: %(default)s)")  # fmt: skip
    add("--tensorboard", action="store_true", help="write the curve for TensorBoard, too")


def learning_rate(options: dict, optimizer: str) -> dict[str, float]:
    """The field of TrainConfig that --learning-rate means, if it was given."""
    name = "muon_lr" if optimizer == "muon" else "adamw_lr"
    return {name: options["learning_rate"]} if "learning_rate" in options else {}


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


def read_checkpoint(command: str, folder: pathlib.Path) -> tuple[dict, dict]:
    """(tensors, notes) of the run in a folder. Raises CourseError for one that this command cannot continue."""
    path = folder / CHECKPOINT
    if (folder / "metrics.json").exists():
        path.unlink(missing_ok=True)  # it is there if the run was killed in its very last moment
        raise CourseError(f"the run in {folder} is finished, so there is nothing to resume: use it, or start another")
    if not path.exists():
        raise CourseError(f"{folder} has no checkpoint, so there is nothing to resume: correct it, or omit --resume")
    tensors, notes = checkpoints.load_tensors(path)
    if (notes.get("command"), notes.get("format")) != (command, FORMAT):
        todo = "name the folder of such a run, or start anew"
        raise CourseError(f"{path} is not a checkpoint of today's bigmodel {command}: {todo}")
    return tensors, notes


def check_options(given: dict, began: dict, folder: pathlib.Path) -> None:
    """Raises CourseError for an option that is not as the run began."""
    for name, value in given.items():
        if value != began.get(name):
            option = "--" + name.replace("_", "-")
            how = f"with {began[name]}" if name in began else "without it"
            raise CourseError(f"{option} {value} was given and the run in {folder} began {how}: leave {option} out")


def check_sources(sources: dict, began: dict, folder: pathlib.Path) -> None:
    """Raises CourseError for a text, table or model that is not the one with which the run began."""
    for option, source in sources.items():
        if option not in began:
            raise CourseError(f"--{option} was given and the run in {folder} began without it: leave --{option} out")
        if source["fingerprint"] != began[option]["fingerprint"]:
            what = source["name"] or "what is read by default"
            todo = f"put that back, or name its new place with --{option}"
            raise CourseError(f"{what} is not what the run in {folder} began with: {todo}")


def prepare(kind: type[Job], options: argparse.Namespace, device: torch.device, processes: Processes) -> tuple:
    """(a new job, or the one in the folder at its last checkpoint; what its checkpoints note)."""
    folder = pathlib.Path(options.out)
    given = {name: value for name, value in vars(options).items() if value is not None and name not in NOT_OF_THE_RUN}
    names = {option: given.pop(option) for option in kind.reads if option in given}
    if options.resume:
        tensors, notes = read_checkpoint(kind.command, folder)
        try:
            check_options(given, notes["options"], folder)
            given = notes["options"]
            names = {option: source["name"] for option, source in notes["sources"].items()} | names
            for option, name in names.items():
                if name and pathlib.Path(name).is_absolute() and not pathlib.Path(name).exists():
                    raise CourseError(f"{name} is not there any more: name its new place with --{option}")
            job = kind(given, names, device, processes, notes)
            check_sources(job.sources, notes["sources"], folder)
            job.trainer.load(tensors, notes, folder / CHECKPOINT)
        except (KeyError, TypeError, AttributeError):
            raise CourseError(f"{folder / CHECKPOINT} is damaged: start the run anew elsewhere") from None
    elif folder.exists():
        raise CourseError(f"{folder} exists already: name a new folder, or continue its run with --resume")
    else:
        job = kind(given, names, device, processes, None)
        processes.barrier()  # until all have found the folder free
    notes = {"command": kind.command, "options": given, "sources": job.sources, "tokenizer": job.tokenizer.to_dict()}
    return job, notes


def train(job: Job, notes: dict, options: argparse.Namespace, stop: StopSignal) -> bool:
    """Train to the end of the budget, with a checkpoint every so often and a curve on disk; False if stopped."""
    trainer, folder, saved = job.trainer, pathlib.Path(options.out), time.monotonic()
    if not trainer.processes.is_main_process:
        return not any(stop.among(trainer.processes) for _ in trainer)
    with contextlib.closing(reported(trainer, folder, options.tensorboard, job.quick_loss)) as reports:
        for _ in reports:
            stopped = stop.among(trainer.processes)
            if stopped or time.monotonic() - saved > options.save_every:
                trainer.save(folder / CHECKPOINT, **notes)
                saved = time.monotonic()
            if stopped:
                return False
    trainer.save(folder / CHECKPOINT, **notes)
    return True


def finish(job: Job, folder: pathlib.Path, stop: StopSignal) -> None:
    """Measure, which a signal stops, and write a finished run's files, metrics.json last; then its checkpoint goes."""
    trainer = job.trainer
    with stop.at_once():
        metrics, said = job.measure()
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
    checkpoints.save_model(folder, trainer.model, job.tokenizer)
    if job.labels:
        checkpoints.write_json(folder / "labels.json", {"labels": list(job.labels)})
    stop.ended()
    checkpoints.write_json(folder / "metrics.json", metrics)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    say(f"{said}; written to {folder}")


def run(kind: type[Job], options: argparse.Namespace, stop: StopSignal) -> None:
    """The whole job. Raises Stopped in all processes if one was stopped."""
    folder = pathlib.Path(options.out)
    processes, device = join_processes(choose_device(options.device))
    job, notes = prepare(kind, options, device, processes)
    main = processes.is_main_process
    with stop.held():
        if main and not options.resume:
            with checkpoints.new_folder(folder) as passing:
                job.trainer.save(passing / CHECKPOINT, **notes)
        if main:
            shared = f", shared by {processes.size} processes" if processes.size > 1 else ""
            print(f"{job.sizes}; device {device}{shared}", *job.remarks, sep="\n", file=sys.stderr)
        finished = train(job, notes, options, stop)
        if main and finished:
            try:
                finish(job, folder, stop)
            except Stopped:
                finished = False
        stop.end_together(not finished, processes)


def how_to_go_on(command: str, options: argparse.Namespace) -> str:
    """What a stopped program says: where its run has stopped, and the line that continues it."""
    try:
        step = checkpoints.load_tensors(pathlib.Path(options.out) / CHECKPOINT)[1]["state"]["step"]
    except (CourseError, KeyError, TypeError):
        return "stopped before the first step, nothing was written: start again with the same command"
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return f"stopped at step {step}: start all processes again as before, with --out and --resume alone"
    words = [sys.executable, "-m", "bigmodel_lib", command, "--out", options.out, "--resume"]
    typed = subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
    return f"stopped at step {step}: continue with {typed}"
