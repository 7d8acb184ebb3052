"""From sampling to preferring: a model learns which of two texts is the better one (direct preference optimisation)."""

import numpy as np
import torch
from torch.nn import functional

from bigmodel_lib.generation import batch_of, generate_many, log_probability
from bigmodel_lib.training.trainer import Pretraining


def dpo_loss(chosen, rejected, chosen_before, rejected_before, beta):
    """-ln σ(β [(ln π(y_w) - ln π_ref(y_w)) - (ln π(y_l) - ln π_ref(y_l))]), the mean over pairs.

    All of shape (B,): ln p of the chosen and the rejected texts, under the model and under the reference, which is the
    model as it was before. Source: Rafailov et al. 2023, eq. 7. Built by the reader in 08_generation.
    """
    margin = (chosen - chosen_before) - (rejected - rejected_before)
    return -functional.logsigmoid(beta * margin).mean()


@torch.no_grad()
def log_probabilities(model, prompt, rows, batch_size=100):
    """ln p of many continuations of one prompt, without gradient. Shapes: rows lists of ids -> (len(rows),)."""
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    device = model.token_embedding.device
    return torch.cat([log_probability(model, *batch_of(prompt, part, device)) for part in parts])


class Preferring(Pretraining):
    """The loop of pretraining on pairs of continuations of one prompt, with the loss of DPO instead of cross-entropy.

    pairs: [(chosen, rejected)], lists of ids. The model as it is at the start is the reference. Taught in
    08_generation.
    """

    def __init__(self, model, prompt, pairs, config, beta=0.1, loss=dpo_loss):
        super().__init__(model, np.zeros(0, dtype=np.int64), config)
        self.prompt, self.pairs, self.beta, self.dpo_loss = prompt, pairs, beta, loss
        self.before = [log_probabilities(model, prompt, rows) for rows in zip(*pairs, strict=True)]

    def next_batch(self):
        self.drawn = self.rng.integers(0, len(self.pairs), size=self.config.batch_size)
        chosen, rejected = zip(*(self.pairs[i] for i in self.drawn), strict=True)
        return *batch_of(self.prompt, [*chosen, *rejected], self.device), 1.0

    def train_step(self, x, y, rate, share=1.0):
        chosen, rejected = log_probability(self.model, x, y).chunk(2)
        loss = self.dpo_loss(chosen, rejected, *(before[self.drawn] for before in self.before), self.beta)
        loss.backward()
        self.optimizers.step(rate)
        return loss.detach()


def kl_to(reference, model, prompt, n_samples, n_tokens, stop, generator):
    """ln π(y) - ln π_ref(y) for samples y of the model: their mean estimates KL(π ‖ π_ref), in nats a text.

    Shapes: -> (n_samples,). Source: Kullback & Leibler 1951, eq. 2.4, by sampling. Taught in 08_generation.
    """
    rows = generate_many(model, prompt, n_samples, n_tokens, generator, stop=stop)
    return log_probabilities(model, prompt, rows) - log_probabilities(reference, prompt, rows)
