"""The loop: one class that trains a model on tokens, and can be watched, stopped, continued and shared."""

import dataclasses
import math
import time

import numpy as np
import torch

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import autocast, compiled, evaluating, to_device
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.batches import all_windows, mask_tokens, random_windows
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.optimizers import Optimizers, lr_schedule

LOOK_EVERY = 10  # steps between two looks of the host at the losses


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
    gradient_norm: float  # √Σ g² over all parameters, in the first step since the last look


def batch_for(model: LanguageModel, windows, rng):
    """What a model of this kind trains on: (x, y) of the next tokens, or for an encoder of hidden ones.

    windows: (x, y) as `random_windows` gives them. An encoder's last token id stands for a hidden token.
    """
    return windows if model.config.causal else mask_tokens(windows[0], model.config.vocab_size - 1, rng)


@torch.no_grad()
def evaluate(model, tokens: np.ndarray, batch_size: int = 64, precision: str = "auto", seed: int = 0) -> float:
    """Mean loss in nats per target over all of `tokens`, in windows of the model's context that do not overlap.

    An encoder's hidden places are drawn with `seed`, the same ones each time.
    """
    device = model.token_embedding.device
    sums, count, rng = [], 0, np.random.default_rng(seed)
    for windows in all_windows(tokens, batch_size, model.config.context_length):
        x, y = batch_for(model, windows, rng)
        with evaluating(model), autocast(device, precision):
            logits = model(to_device(x, device))
        n_targets = int((y >= 0).sum())
        sums.append(cross_entropy(logits.float(), to_device(y, device)) * n_targets)
        count += n_targets
    return math.fsum(torch.stack(sums).tolist()) / count


class Pretraining:
    """A run that can be watched, stopped and continued: `for look in run: …` trains until the budget is used.

    Time counts only inside the loop's steps, so whoever watches may evaluate, draw and sample at leisure.
    The model must be initialised and on its device. Raises Diverged when a loss turns NaN.
    """

    def __init__(
        self, model: LanguageModel, tokens: np.ndarray, config: TrainConfig, clock=time.perf_counter, processes=None
    ):
        self.model, self.tokens, self.config, self.clock = model, tokens, config, clock
        self.device, self.processes = model.token_embedding.device, processes or Processes()
        self.rows = self.processes.rows(config.batch_size)
        self.forward = self.processes.wrap(compiled(model) if config.compile else model)
        self.optimizers = Optimizers(model, config)
        self.rng = np.random.default_rng(config.seed)
        self.step, self.seconds, self.curve = 0, 0.0, []
        self.measure_gradient, self.gradient_norm = False, math.nan

    def fraction(self, running: float = 0.0) -> float:
        """The used share of the budget, 0 to 1; `running` seconds have not been booked yet."""
        if self.config.steps is not None:
            return self.step / self.config.steps
        return self.processes.agree(min(1.0, (self.seconds + running) / (60 * self.config.minutes)))

    def rate(self, fraction: float) -> float:
        """The share of the peak rate at this step."""
        config = self.config
        return lr_schedule(fraction, self.step, config.warmup_steps, config.decay, config.final_lr)

    def seed_what_is_left_out(self) -> None:
        """Make PyTorch's own generators, by which dropout draws, begin anew from this run's seed, step and process.

        So a resumed run leaves out what it would have left out, and no two processes leave out the same.
        """
        sources = np.random.SeedSequence((self.config.seed, self.step, self.processes.rank))
        torch.manual_seed(int(sources.generate_state(1, np.uint64)[0]))

    def next_batch(self):
        """(x, y, share): this process's rows of the next global batch, and the share of its targets that they hold."""
        windows = random_windows(self.tokens, self.config.batch_size, self.model.config.context_length, self.rng)
        x, y = batch_for(self.model, windows, self.rng)
        mine = y[self.rows]
        share = float((mine >= 0).sum() / (y >= 0).sum())
        return to_device(x[self.rows], self.device), to_device(mine, self.device), share

    def train_step(self, x, y, rate: float, share: float = 1.0):
        """Forward, backward, clip, update. x and y (B, T) on the device -> loss (), still on the device.

        share: of the global batch's targets, in y; the losses of all processes add up to the mean over all targets.
        """
        with autocast(self.device, self.config.precision):
            logits = self.forward(x)
        loss = cross_entropy(logits.float() if logits.dtype != torch.float64 else logits, y) * share
        (loss * self.processes.size).backward()  # gradients are averaged over the processes
        if self.config.clip or self.measure_gradient:
            longest = self.config.clip or math.inf
            self.gradient_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), longest)
        self.optimizers.step(rate)
        return loss.detach()

    def __iter__(self):
        while self.fraction() < 1.0:
            look = self._steps_until_look()
            self.curve.append(dataclasses.asdict(look))
            yield look

    def _steps_until_look(self) -> Look:
        losses, start = [], self.clock()
        self.model.train()
        while not losses or self.step % LOOK_EVERY:
            fraction = self.fraction(self.clock() - start)
            if losses and fraction >= 1.0:
                break
            x, y, share = self.next_batch()
            if self.model.config.dropout or self.model.config.ngrams > 1:
                self.seed_what_is_left_out()
            self.measure_gradient = not losses
            losses.append(self.train_step(x, y, self.rate(fraction), share))
            self.step += 1
        values = self.processes.total(torch.stack(losses)).tolist()  # the one place where the host waits for the device
        self.seconds += self.processes.agree(self.clock() - start)
        for behind, loss in enumerate(values):
            if not math.isfinite(loss):
                raise Diverged("loss", self.step - len(values) + behind)
        fraction, loss = self.fraction(), math.fsum(values) / len(values)
        tokens = self.step * self.config.batch_size * self.model.config.context_length
        return Look(self.step, fraction, self.seconds, tokens, loss, self.rate(fraction), float(self.gradient_norm))

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
