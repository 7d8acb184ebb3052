"""What a run shows while it goes on: a bar, a table of numbers (curve.csv) and, if asked, the same for TensorBoard."""

import contextlib
import functools
import pathlib
import sys
from collections.abc import Callable, Generator
from typing import Any, BinaryIO

from tqdm import tqdm

from bigmodel_lib.errors import CourseError
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Progress, Trainer

Reports = Generator[Progress, None, None]
Loss = Callable[[], float] | None
COLUMNS = ("step", "fraction", "seconds", "tokens", "loss", "val_loss", "lr", "gradient_norm", "tokens_per_second")


def status_line(progress: Progress, val_loss: float | None) -> str:
    """Loss, tokens per second and time left, for a progress bar."""
    left = progress.seconds * (1 - progress.fraction) / max(progress.fraction, 1e-9)
    held_out = f" (validation {val_loss:.3f})" if val_loss is not None else ""
    speed = f"{progress.tokens / max(progress.seconds, 1e-9):,.0f} tokens/s"
    return f"step {progress.step} · loss {progress.loss:.3f}{held_out} · {speed} · {tqdm.format_interval(left)} left"


def reading_bars() -> Callable[[int, int, str], None]:
    """A function (bytes done, bytes in all, what is done) that draws a bar on the terminal for each thing done."""
    bar_of = functools.cache(lambda what, total: tqdm(total=total, desc=what, unit="B", unit_scale=True))

    def show(done: int, total: int, what: str) -> None:
        bar = bar_of(what, total)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return show


def numbers_of(row: dict) -> dict[str, str]:
    """A report's row as text, by COLUMNS; tokens_per_second counts training alone."""
    values = {**row, "tokens_per_second": row["tokens"] / max(row["seconds"], 1e-9)}
    return {name: f"{values[name]:.6g}" if name in values else "" for name in COLUMNS}


def reported(trainer: Trainer, folder: pathlib.Path, tensorboard: bool = False, quick_loss: Loss = None) -> Reports:
    """Train, and report as it goes on: on a bar, in curve.csv in the folder of the run and, if asked, for TensorBoard.

    curve.csv begins anew with the trainer's curve: what came later than its checkpoint is dropped. quick_loss: a loss
    on held-out data that takes a moment, asked for about ten times in a run.
    Raises CourseError where there is no room, or TensorBoard is wanted and not installed.
    """
    path, val_loss = folder / "curve.csv", None
    lines = [COLUMNS, *(numbers_of(row).values() for row in trainer.curve)]
    checkpoints.write_whole(path, "".join(",".join(line) + "\n" for line in lines).encode())
    done = trainer.curve[-1]["fraction"] if trainer.curve else 0.0  # trainer.fraction() asks all processes
    looks, pause = "{percentage:3.0f}% |{bar:24}| {desc}", 0.2 if sys.stderr.isatty() else 10.0
    bar = tqdm(total=1.0, initial=done, bar_format=looks, mininterval=pause)
    with bar, path.open("ab", buffering=0) as file, tensorboard_writer(folder, trainer.step + 1, tensorboard) as board:
        for progress in trainer:
            if quick_loss and int(10 * done) < int(10 * progress.fraction) < 10:
                trainer.curve[-1]["val_loss"] = val_loss = quick_loss()
            done = progress.fraction
            write_row(file, path, board, trainer.curve[-1])
            bar.set_description_str(status_line(progress, val_loss), refresh=False)
            bar.update(done - bar.n)
            yield progress


def write_row(file: BinaryIO, path: pathlib.Path, board: Any, row: dict) -> None:
    """Write one row of the curve. Raises CourseError where there is no room."""
    numbers = numbers_of(row)
    try:
        file.write(f"{','.join(numbers.values())}\n".encode())
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise CourseError(f"{path} cannot be written ({reason}): make room and go on with --resume") from None
    for name in COLUMNS[4:] if board else ():
        if numbers[name]:
            board.add_scalar(name, float(numbers[name]), row["step"])


def tensorboard_writer(folder: pathlib.Path, purge_step: int, wanted: bool) -> Any:
    """A writer of event files, or None; it opens by `with`. Raises CourseError where TensorBoard is not installed."""
    if not wanted:
        return contextlib.nullcontext()
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        wrong = "--tensorboard was given and TensorBoard is not installed"
        raise CourseError(f"{wrong}: pip install tensorboard, or read curve.csv") from None
    return contextlib.closing(SummaryWriter(folder, purge_step=purge_step))
