"""The loop: one class that trains any model on any batches, and can be watched, stopped, continued and shared."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import autocast, compiled, device_of, to_device
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.text.batches import Batches
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.optimizers import Optimizers, lr_schedule

REPORT_EVERY = 10  # steps between two reports, at which the host waits for the device
FORMAT = 2  # of checkpoints: the first edition's had none
COUNTERS = ("step", "tokens", "seconds", "curve")  # of a trainer, kept in its checkpoints


class Diverged(CourseError):
    """The loss or the weights turned into no number; `step` says when."""

    def __init__(self, what: str, step: int):
        what = f"the {what} turned into no number (NaN or infinity) at step {step}"
        super().__init__(f"{what}: start again with a lower learning rate, or another seed")
        self.step = step


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run looks like from outside, every few steps; loss is the mean over the steps since the last report."""

    step: int
    fraction: float  # of the budget
    seconds: float  # of training
    tokens: int  # read so far, padding included
    loss: float  # nats per target
    lr: float  # share of the peak rate, now
    gradient_norm: float  # √Σ g² over all parameters, in the first step since the last report


def full_precision(logits: Tensor) -> Tensor:
    """float32, whatever autocast has made of the logits; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def next_token_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean of -log softmax(model(x))[y] over the targets that are not -1, in nats.

    Shapes: model(x) (B, T, V), y (B, T) -> (). It serves hidden tokens, tasks and labels (T = 1) as well.
    """
    return cross_entropy(full_precision(model(x)), y)


class Trainer:
    """A run that can be watched, stopped and continued: `for progress in trainer: …` trains until the budget is used.

    batches    a source of batches, as bigmodel_lib.text.batches describes it; it draws with the trainer's generator
    loss_fn    (model, *tensors of a batch) -> the mean loss over the batch's targets, ()

    Time counts only inside the loop's steps, so whoever watches may evaluate and draw at leisure. The model must be
    initialised and on its device. Raises CourseError for a batch with fewer rows than processes, Diverged for NaN.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        loss_fn: Callable[..., Tensor],
        config: TrainConfig,
        *,
        processes: Processes | None = None,
    ):
        self.model, self.batches, self.config = model, batches, config
        self.optimizers = Optimizers(model, config)
        self.processes = processes or Processes()
        self.clock: Callable[[], float] = time.perf_counter
        if config.batch_size < (size := self.processes.size):
            wrong = f"batch_size {config.batch_size} cannot be shared by {size} processes"
            raise CourseError(f"{wrong}: choose at least {size}")
        self.device = device_of(model)
        self.forward, self.n_parameters = self.processes.wrap(model), count_parameters(model)
        self.loss_fn = compiled(loss_fn, self.device) if config.compile else loss_fn  # and with it the model
        self.rng = np.random.default_rng(config.seed)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.curve: list[dict] = []

    def fraction(self, running: float = 0.0) -> float:
        """The used share of the budget, 0 to 1; `running` seconds have not been booked yet."""
        if self.config.minutes is None:
            return self.step / self.config.steps  # type: ignore[operator]
        return self.processes.broadcast(min(1.0, (self.seconds + running) / (60 * self.config.minutes)))

    def lr(self, fraction: float) -> float:
        """The share of the peak rate at this step."""
        c = self.config
        return lr_schedule(fraction, self.step, c.warmup_steps, c.decay, c.final_lr)

    def next_batch(self) -> tuple[tuple[Tensor, ...], float]:
        """(tensors, share): this process's rows of the next global batch, and the share of its targets in them."""
        arrays = self.batches(self.rng)
        self.tokens += arrays[0].size
        is_target = arrays[-1] >= 0
        rows = self.processes.rows(len(is_target))
        share = float(is_target[rows].sum() / is_target.sum())
        if rows.start == rows.stop:
            rows = slice(0, 1)  # a row of another process, at share 0: all have to take part in every step
        return tuple(to_device(array[rows], self.device) for array in arrays), share

    def train_step(self, *tensors: Tensor, lr: float, share: float = 1.0, measure: bool = False) -> tuple:
        """Forward, backward, clip, update -> (loss (), norm of the gradient () or None), both still on the device.

        lr: share of the peak rate. share: of the global batch's targets, in these tensors; the losses of all processes
        add up to the mean over all targets. The norm, before clipping, is there if it is clipped or to be measured.
        """
        with autocast(self.device, self.config.precision, tensors[0].numel() * self.n_parameters):
            loss = self.loss_fn(self.forward, *tensors) * share
        (loss * self.processes.size).backward()  # gradients are averaged over the processes
        norm = None
        if self.config.clip or measure:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        self.optimizers.step(lr)
        return loss.detach(), norm

    def seed_dropout(self) -> None:
        """Let dropout draw anew from this run's seed, step and process, as it will in a run that goes on from here."""
        config = getattr(self.model, "config", None)
        if config is None or config.dropout or config.ngrams > 1:
            source = np.random.SeedSequence((self.config.seed, self.step, self.processes.rank))
            torch.manual_seed(int(source.generate_state(1, np.uint64)[0]))

    def __iter__(self) -> Iterator[Progress]:
        while self.fraction() < 1.0:
            progress = self._steps_until_report()
            self.curve.append(dataclasses.asdict(progress))
            yield progress

    def _steps_until_report(self) -> Progress:
        losses, norms = [], []
        start = self.clock()
        self.model.train()
        while not losses or self.step % REPORT_EVERY:
            fraction = self.fraction(self.clock() - start)
            if losses and fraction >= 1.0:
                break
            tensors, share = self.next_batch()
            self.seed_dropout()
            loss, norm = self.train_step(*tensors, lr=self.lr(fraction), share=share, measure=not losses)
            losses.append(loss)
            norms.append(norm)
            self.step += 1
        values = self.processes.all_reduce(torch.stack(losses)).tolist()  # here alone the host waits for the device
        self.seconds += self.processes.broadcast(self.clock() - start)
        for behind, value in enumerate(values):
            if not math.isfinite(value):
                raise Diverged("loss", self.step - len(values) + behind)
        fraction, mean = self.fraction(), math.fsum(values) / len(values)
        return Progress(self.step, fraction, self.seconds, self.tokens, mean, self.lr(fraction), float(norms[0]))

    def save(self, path: str | os.PathLike, **notes: object) -> None:
        """Write all that `load` needs to go on as if nothing had happened. Raises Diverged for broken weights."""
        if not torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()]).all():
            raise Diverged("weights", self.step)
        tensors = {f"model/{name}": parameter.detach() for name, parameter in self.model.named_parameters()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizers.state_tensors().items()}
        state = {name: getattr(self, name) for name in COUNTERS}
        state["rng"] = self.rng.bit_generator.state
        if hasattr(self.batches, "state_dict"):
            state["batches"] = self.batches.state_dict()
        notes |= {"format": FORMAT, "train": self.config.to_dict(), "state": state}
        checkpoints.save_tensors(path, tensors, notes)

    def load(self, tensors: dict[str, Tensor], notes: dict, path: str | os.PathLike) -> None:
        """Put back what `save` wrote. Raises CourseError for weights of another shape."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
        for full_name, tensor in tensors.items():
            part, _, name = full_name.partition("/")
            parts[part][name] = tensor
        checkpoints.fill(self.model, parts["model"], path)
        self.optimizers.load_state_tensors(parts["optimizer"])
        state = notes["state"]
        for name in COUNTERS:
            setattr(self, name, state[name])
        self.rng.bit_generator.state = state["rng"]
        if "batches" in state:
            self.batches.load_state_dict(state["batches"])  # type: ignore[attr-defined]
