"""What a run leaves for those who watch it: a line of numbers at every look, as CSV and, if asked, for TensorBoard."""

import csv
import io
import os
import pathlib
import shlex
import subprocess
import sys

from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.costs import flops_formula, measured_peak
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Pretraining

COLUMNS = (
    "step", "fraction", "seconds", "tokens", "loss", "val_loss", "rate", "gradient_norm", "tokens_per_second",
    "share_of_peak",
)  # fmt: skip


def say(text: str) -> None:
    """Print a text on standard output; what its encoding lacks is shown escaped, such as \\u7f16."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


class CurveFile:
    """curve.csv in the folder of a run, one line a look, readable while the run goes on; `with CurveFile(…) as file`.

    tokens_per_second counts training alone. share_of_peak: matrix operations a second, three times the forward pass's,
    over what a product of large matrices reaches on this device (all processes' devices together).
    """

    def __init__(self, folder, run: Pretraining, tensorboard: bool = False):
        self.folder, self.run, self.tensorboard = pathlib.Path(folder), run, tensorboard
        self.file = self.writer = None

    def __enter__(self):
        if not self.run.processes.first:
            return self
        config = self.run.model.config
        forward = sum(flops_formula(config, config.context_length).values()) / config.context_length
        self.per_token = 3 * forward / (measured_peak(self.run.device) * self.run.processes.size)
        lines = io.StringIO()
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._row(row) for row in self.run.curve)
        path = self.folder / "curve.csv"
        checkpoints.write_whole(path, lines.getvalue().encode("utf-8"))  # a run that goes on drops what came later
        self.file = path.open("a", encoding="utf-8", newline="")
        if self.tensorboard:
            self.writer = _tensorboard(self.folder, purge_step=self.run.step + 1)
        return self

    def _row(self, row: dict) -> dict:
        speed = row["tokens"] / max(row["seconds"], 1e-9)
        values = {**row, "tokens_per_second": speed, "share_of_peak": speed * self.per_token}
        return {name: f"{values[name]:.6g}" if name in values else "" for name in COLUMNS}

    def add(self, row: dict) -> None:
        """Write one look's row. Raises CourseError where there is no room."""
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


def how_to_go_on(program: str, folder, at_once: bool = False) -> str:
    """What a stopped program says: where its run has stopped, and the command that continues it."""
    try:
        if not checkpoints.is_unfinished(folder):
            raise CourseError("it has no checkpoint")
        step = checkpoints.read_notes(pathlib.Path(folder) / "checkpoint.safetensors")["state"]["step"]
    except (CourseError, KeyError, TypeError):
        return "stopped before the first step, nothing was written: start again with the same command"
    quoted = subprocess.list2cmdline([str(folder)]) if os.name == "nt" else shlex.quote(str(folder))
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    start = (sys.orig_argv or ["python"])[0] if alone else "torchrun …"
    where = f"at once, after the checkpoint of step {step}" if at_once else f"at step {step}"
    return f"stopped {where}: continue with {start} -m bigmodel_lib.{program} --out {quoted} --resume"


def _tensorboard(folder: pathlib.Path, purge_step: int):
    """A writer of event files in the folder. Raises CourseError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise CourseError(
            "--tensorboard was given and TensorBoard is not installed: pip install tensorboard, or read curve.csv"
        ) from None
    return SummaryWriter(folder, purge_step=purge_step)
