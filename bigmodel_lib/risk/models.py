"""The course's own blocks on what isn't text: a table's row, a patient's timeline, a market's days."""

from collections.abc import Callable

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model.layers import NORMS, Hooks, hooked, rope_tables
from bigmodel_lib.model.transformer import Block

CONTEXT, WARM_UP = 96, 32  # days that a model of returns reads at once; of these, days whose forecasts don't count


def feature_tokens(x: Tensor, scale: Tensor, name: Tensor, cls: Tensor) -> Tensor:
    """A row of numbers as tokens: token_f = x_f · scale_f + name_f, and in front of them one that asks the question.

    Shapes: x (B, F), scale and name (F, D), cls (D,) -> (B, F + 1, D). Source: Gorishniy et al. 2021, section 3.3.
    """
    tokens = x[:, :, None] * scale + name
    return torch.cat([cls.expand(len(x), 1, -1), tokens], dim=1)


class Blocks(nn.Module):
    """The blocks of a language model without its words, and what makes one number, s w_out + bias, of a state s."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.w_out = nn.Parameter(torch.empty(config.d_model, 1))
        self.bias = nn.Parameter(torch.empty(1))

    def states(self, x: Tensor, hooks: Hooks = None) -> Tensor:
        """Vectors (B, T, D) -> normalised states (B, T, D); hooks as in `LanguageModel`."""
        config = self.config
        rotation = None if config.positions == "none" else rope_tables(x.shape[1], config.d_head, config.rope_base)
        for layer, block in enumerate(self.blocks):
            x = block(hooked(hooks, "stream", layer, x), rotation, None, hooks)
        return NORMS[config.norm](hooked(hooks, "stream", len(self.blocks), x))


class TableModel(Blocks):
    """A table's row as tokens, blocks, and the first token's state to one logit: (B, F) -> (B, 1).

    Source: Gorishniy et al. 2021 (FT-Transformer). tokens: how a row becomes tokens, see `feature_tokens`.
    """

    def __init__(self, config: ModelConfig, n_features: int, tokens: Callable[..., Tensor] = feature_tokens):
        super().__init__(config)
        self.tokens = tokens
        self.scale_embedding = nn.Parameter(torch.empty(n_features, config.d_model))
        self.name_embedding = nn.Parameter(torch.empty(n_features, config.d_model))
        self.cls_embedding = nn.Parameter(torch.empty(1, config.d_model))

    def forward(self, x: Tensor, hooks: Hooks = None) -> Tensor:
        tokens = self.tokens(x, self.scale_embedding, self.name_embedding, self.cls_embedding[0])
        return self.states(tokens, hooks)[:, 0] @ self.w_out + self.bias


class EventModel(Blocks):
    """A timeline of events to one logit a visit, from what has happened up to it: (B, T) -> (B, T)."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.token_embedding = nn.Parameter(torch.empty(config.vocab_size, config.d_model))

    def forward(self, events: Tensor, hooks: Hooks = None, embedded: Tensor | None = None) -> Tensor:
        """embedded: the events' vectors (B, T, D), if they are to be changed or to get a gradient."""
        x = functional.embedding(events, self.token_embedding) if embedded is None else embedded
        return (self.states(x, hooks) @ self.w_out + self.bias)[..., 0]


class ReturnModel(Blocks):
    """Daily returns to tomorrow's volatility, from those up to each day: (B, T) -> ln σ of the next day, (B, T).

    A day's token: its return r, |r| and ln(|r| + 0.1), in units of `unit`, and how often it fell.
    `tail` is ln(ν - 2) of Student's t, the same on all days.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.w_in = nn.Parameter(torch.empty(4, config.d_model))
        self.tail = nn.Parameter(torch.empty(1))

    def forward(self, r: Tensor) -> Tensor:
        days = torch.stack([r, r.abs(), (r.abs() + 0.1).log(), (r < 0).float()], dim=-1)
        return (self.states(days @ self.w_in) @ self.w_out + self.bias)[..., 0]


def risk_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean of -ln p(y) where y is 0 or 1 and p = σ(model(x)); a y of -1 doesn't count. Shapes: y (B, T) -> ()."""
    here = y >= 0
    return functional.binary_cross_entropy_with_logits(model(x)[here], y[here].float())


def student_t(model: ReturnModel, log_sigma: Tensor) -> torch.distributions.StudentT:
    """Tomorrow's return as the model sees it: Student's t with mean 0 and deviation σ, so its scale is σ √(1 - 2/ν)."""
    freedom = 2 + model.tail.exp()
    return torch.distributions.StudentT(freedom, 0.0, log_sigma.exp() * (1 - 2 / freedom).sqrt())


def student_loss(model: ReturnModel, r: Tensor, tomorrow: Tensor) -> Tensor:
    """Mean of -ln p(tomorrow's return) from day WARM_UP of each stretch on: (B, T), (B, T) -> (), in nats a day."""
    return -student_t(model, model(r)[:, WARM_UP:]).log_prob(tomorrow[:, WARM_UP:]).mean()


@torch.no_grad()
def read_days(model: ReturnModel, r: ndarray) -> ndarray:
    """σ of each day from day CONTEXT on, each from the 65 to 96 days before it: (days,) -> (days - CONTEXT,)."""
    step = WARM_UP
    padded = np.concatenate([r, np.zeros(step)]).astype(np.float32)
    windows = torch.from_numpy(padded).unfold(0, CONTEXT, step)  # each gives forecasts for the days that it reads last
    return model.eval()(windows)[:, -step:].exp().flatten().numpy()[step - 1 :][: len(r) - CONTEXT]
