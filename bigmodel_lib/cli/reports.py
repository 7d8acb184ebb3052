"""What a run leaves for those who watch it: a line of numbers now and then, as CSV and, if asked, for TensorBoard."""

import csv
import io
import pathlib

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


class CurveFile:
    """curve.csv in the folder of a run, one line a report, readable while the run goes on; `with CurveFile(…) as file`.

    tokens_per_second counts training alone. share_of_peak: matrix operations a second, three times the forward pass's,
    over what a product of large matrices reaches on this device (all processes' devices together); it is left out
    where the model is no language model.
    """

    def __init__(self, folder: pathlib.Path, trainer: Trainer, tensorboard: bool = False):
        self.folder = folder
        self.trainer = trainer
        self.tensorboard = tensorboard
        self.file = self.writer = self.flops_per_peak = None

    def __enter__(self):
        trainer = self.trainer
        if not trainer.processes.is_main_process:
            return self
        if isinstance(trainer.model, LanguageModel):
            config = trainer.model.config
            forward = sum(flops_formula(config, config.context_length).values()) / config.context_length
            self.flops_per_peak = 3 * forward / (measured_peak(trainer.device) * trainer.processes.size)
        lines = io.StringIO()
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._row(row) for row in self.trainer.curve)
        path = self.folder / "curve.csv"
        checkpoints.write_whole(path, lines.getvalue().encode("utf-8"))  # a run that goes on drops what came later
        self.file = path.open("a", encoding="utf-8", newline="")
        if self.tensorboard:
            self.writer = _tensorboard(self.folder, purge_step=self.trainer.step + 1)
        return self

    def _row(self, row: dict) -> dict:
        speed = row["tokens"] / max(row["seconds"], 1e-9)
        values = {**row, "tokens_per_second": speed}
        if self.flops_per_peak is not None:
            values["share_of_peak"] = speed * self.flops_per_peak
        return {name: f"{values[name]:.6g}" if name in values else "" for name in COLUMNS}

    def add(self, row: dict) -> None:
        """Write one report's row. Raises CourseError where there is no room."""
        values = self._row(row)
        try:
            csv.DictWriter(self.file, COLUMNS, lineterminator="\n").writerow(values)
            self.file.flush()
        except OSError as error:
            reason = (error.strerror or "unknown").lower()
            raise CourseError(
                f"{self.folder / 'curve.csv'} cannot be written ({reason}): make room and go on with --resume"
            ) from None
        for name in COLUMNS[4:] if self.writer else ():
            if values[name]:
                self.writer.add_scalar(name, float(values[name]), row["step"])

    def __exit__(self, *_):
        for part in (self.file, self.writer):
            if part is not None:
                part.close()


def _tensorboard(folder: pathlib.Path, purge_step: int):
    """A writer of event files in the folder. Raises CourseError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise CourseError(
            "--tensorboard was given and TensorBoard is not installed: pip install tensorboard, or read curve.csv"
        ) from None
    return SummaryWriter(folder, purge_step=purge_step)
