"""What a run shows while it goes on: a bar, a table of numbers (curve.csv) and, if asked, the same for TensorBoard."""

import contextlib
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from bigmodel_lib.errors import CourseError
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Progress, Trainer

Loss = Callable[[], float] | None
COLUMNS = ("step", "fraction", "seconds", "tokens", "loss", "val_loss", "lr", "gradient_norm", "tokens_per_second")


def status_line(progress: Progress, val_loss: float | None = None) -> str:
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


class Reports(contextlib.ExitStack):
    """The bar and curve.csv in the folder of a run, a row a report: `with Reports(folder, trainer) as reports`.

    curve.csv begins anew with the trainer's curve: what came later than its checkpoint is dropped. quick_loss: a loss
    on held-out data that takes a moment, asked for about ten times in a run.
    Raises CourseError where TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: pathlib.Path, trainer: Trainer, tensorboard: bool = False, quick_loss: Loss = None):
        super().__init__()
        self.path, self.trainer, self.quick_loss = folder / "curve.csv", trainer, quick_loss
        self.val_loss: float | None = None
        self.tenth = int(10 * trainer.fraction())
        self.board: Any = self.enter_context(tensorboard_writer(folder, trainer.step + 1)) if tensorboard else None
        lines = [COLUMNS, *(numbers_of(row).values() for row in trainer.curve)]
        checkpoints.write_whole(self.path, "".join(",".join(line) + "\n" for line in lines).encode())
        self.file = self.enter_context(self.path.open("ab", buffering=0))
        looks, pause = "{percentage:3.0f}% |{bar:24}| {desc}", 0.2 if sys.stderr.isatty() else 10.0
        bar = tqdm(total=1.0, initial=trainer.fraction(), bar_format=looks, mininterval=pause)
        self.bar = self.enter_context(bar)

    def add(self, progress: Progress) -> None:
        """Move the bar and write the last row of the trainer's curve, with a quick loss now and then."""
        row = self.trainer.curve[-1]
        if self.quick_loss and self.tenth < int(10 * progress.fraction) < 10:
            self.tenth = int(10 * progress.fraction)
            row["val_loss"] = self.val_loss = self.quick_loss()
        self.write(row)
        self.bar.set_description_str(status_line(progress, self.val_loss), refresh=False)
        self.bar.update(progress.fraction - self.bar.n)

    def write(self, row: dict) -> None:
        """Write one row. Raises CourseError where there is no room."""
        numbers = numbers_of(row)
        try:
            self.file.write(f"{','.join(numbers.values())}\n".encode())
        except OSError as error:
            reason = (error.strerror or "unknown").lower()
            raise CourseError(f"{self.path} cannot be written ({reason}): make room and go on with --resume") from None
        for name in COLUMNS[4:] if self.board else ():
            if numbers[name]:
                self.board.add_scalar(name, float(numbers[name]), row["step"])


def tensorboard_writer(folder: pathlib.Path, purge_step: int) -> Any:
    """A writer of event files in the folder. Raises CourseError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        wrong = "--tensorboard was given and TensorBoard is not installed"
        raise CourseError(f"{wrong}: pip install tensorboard, or read curve.csv") from None
    return contextlib.closing(SummaryWriter(folder, purge_step=purge_step))
