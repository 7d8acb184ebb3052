"""What a run shows while it goes on: a bar, a table of numbers (curve.csv) and, if asked, the same for TensorBoard."""

import contextlib
import csv
import io
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.costs import flops_formula, measured_peak
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Progress, Trainer

COLUMNS = (
    "step", "fraction", "seconds", "tokens", "loss", "val_loss", "lr", "gradient_norm", "tokens_per_second",
    "share_of_peak",
)  # fmt: skip


def clock_face(seconds: float) -> str:
    """Seconds as 4:07 or 1:02:45."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def status_line(progress: Progress, val_loss: float | None = None) -> str:
    """Loss, tokens per second and time left, for a progress bar."""
    left = progress.seconds * (1 - progress.fraction) / max(progress.fraction, 1e-9)
    held_out = f" (validation {val_loss:.3f})" if val_loss is not None else ""
    speed = progress.tokens / max(progress.seconds, 1e-9)
    return (
        f"step {progress.step} · loss {progress.loss:.3f}{held_out} · {speed:,.0f} tokens/s · {clock_face(left)} left"
    )


def reading_bars() -> Callable[[int, int, str], None]:
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


class Reports(contextlib.ExitStack):
    """The bar and curve.csv in the folder of a run, a row a report: `with Reports(folder, trainer) as reports`.

    curve.csv begins anew with the trainer's curve: what came later than its checkpoint is dropped. quick_loss: a loss
    on held-out data that takes a moment, asked for about ten times in a run. tokens_per_second counts training alone.
    share_of_peak: matrix operations a second, three times the forward pass's, over what a product of large matrices
    reaches on this device (all processes' devices together); it is left out where the model is no language model.
    Raises CourseError where TensorBoard is wanted and not installed.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        trainer: Trainer,
        tensorboard: bool = False,
        quick_loss: Callable[[], float | None] = lambda: None,
    ):
        from tqdm import tqdm

        super().__init__()
        self.path, self.trainer, self.quick_loss = folder / "curve.csv", trainer, quick_loss
        self.val_loss: float | None = None
        self.tenth = int(10 * trainer.fraction())
        self.flops_per_peak = flops_per_peak(trainer)
        self.board: Any = tensorboard_writer(folder, trainer.step + 1) if tensorboard else None
        if self.board:
            self.callback(self.board.close)
        lines = io.StringIO()
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(self._row, trainer.curve))
        checkpoints.write_whole(self.path, lines.getvalue().encode("utf-8"))
        self.file = self.enter_context(self.path.open("a", encoding="utf-8", newline=""))
        looks = "{percentage:3.0f}% |{bar:24}| {desc}"
        pause = 0.2 if sys.stderr.isatty() else 10.0
        bar = tqdm(total=1.0, initial=trainer.fraction(), bar_format=looks, mininterval=pause)
        self.bar = self.enter_context(bar)

    def _row(self, row: dict) -> dict[str, str]:
        speed = row["tokens"] / max(row["seconds"], 1e-9)
        values = {**row, "tokens_per_second": speed}
        if self.flops_per_peak is not None:
            values["share_of_peak"] = speed * self.flops_per_peak
        return {name: f"{values[name]:.6g}" if name in values else "" for name in COLUMNS}

    def add(self, progress: Progress) -> None:
        """Move the bar and write the last row of the trainer's curve, with a quick loss now and then."""
        row = self.trainer.curve[-1]
        if self.tenth < int(10 * progress.fraction) < 10:
            self.tenth = int(10 * progress.fraction)
            self.val_loss = self.quick_loss()
            row |= {} if self.val_loss is None else {"val_loss": self.val_loss}
        self.write(row)
        self.bar.set_description_str(status_line(progress, self.val_loss), refresh=False)
        self.bar.update(progress.fraction - self.bar.n)

    def write(self, row: dict) -> None:
        """Write one row. Raises CourseError where there is no room."""
        values = self._row(row)
        try:
            csv.DictWriter(self.file, COLUMNS, lineterminator="\n").writerow(values)
            self.file.flush()
        except OSError as error:
            reason = (error.strerror or "unknown").lower()
            raise CourseError(f"{self.path} cannot be written ({reason}): make room and go on with --resume") from None
        for name in COLUMNS[4:] if self.board else ():
            if values[name]:
                self.board.add_scalar(name, float(values[name]), row["step"])


def flops_per_peak(trainer: Trainer) -> float | None:
    """How much of a second at the measured peak one token of training takes; None for what is no language model."""
    if not isinstance(trainer.model, LanguageModel):
        return None
    config = trainer.model.config
    forward = sum(flops_formula(config, config.context_length).values()) / config.context_length
    return 3 * forward / (measured_peak(str(trainer.device)) * trainer.processes.size)


def tensorboard_writer(folder: pathlib.Path, purge_step: int) -> Any:
    """A writer of event files in the folder. Raises CourseError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise CourseError(
            "--tensorboard was given and TensorBoard is not installed: pip install tensorboard, or read curve.csv"
        ) from None
    return SummaryWriter(folder, purge_step=purge_step)
