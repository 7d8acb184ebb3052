"""Whether a model depends on what it looked at: hooks that hide words, silence heads, put parts of another run in."""

from collections.abc import Collection

import torch
from torch import Tensor

from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.layers import Hooks
from bigmodel_lib.model.transformer import LanguageModel

Heads = Collection[tuple[int, int]]  # pairs (layer, head)


def knockout(keys: Tensor, heads: Heads | None = None, last_only: bool = False) -> Hooks:
    """A hook that keeps later places from looking at some tokens: their scores become -∞ before softmax.

    The weights that are left still sum to 1. A hidden token may see itself. keys: (B, T), True where hidden. heads:
    pairs (layer, head), or None for all. last_only: the last place alone must not look. Source: Geva et al. 2023, 4.1.
    """
    later = torch.ones(keys.shape[1], keys.shape[1], dtype=torch.bool, device=keys.device).tril(-1)
    later[: len(later) - 1 if last_only else 0] = False
    blocked = (keys[:, None, :] & later)[:, None]

    def hide(layer, scores):
        chosen = [heads is None or (layer, head) in heads for head in range(scores.shape[1])]
        here = torch.tensor(chosen, device=scores.device)[:, None, None]
        return scores.masked_fill(blocked & here, -torch.inf)

    return {"scores": hide}


@torch.no_grad()
def knockout_effects(model: LanguageModel, tokens: Tensor, targets: Tensor, heads: Heads | None = None) -> Tensor:
    """How many nats more each target costs when a token is hidden from all heads, or from some.

    Shapes: tokens (T,), targets (T,) with -1 for none -> (T, T): row = the place that guesses, column = what is hidden.
    """
    T, wanted = len(tokens), targets.clamp(min=0)

    def costs(logits):
        return -logits.log_softmax(dim=-1)[:, torch.arange(T, device=logits.device), wanted]

    one_each = torch.eye(T, dtype=torch.bool, device=tokens.device)
    with evaluating(model):
        hidden = costs(model(tokens.expand(T, T), hooks=knockout(one_each, heads)))
        whole = costs(model(tokens[None]))
    return ((hidden - whole) * (targets >= 0)).T


def replacing(layer: int, head: int, brought: Tensor | float = 0.0) -> Hooks:
    """A hook that puts something in the place of what one head brings: zeros, or its (B, T, K) from another run."""

    def replace(where, heads):
        if where != layer:
            return heads
        heads = heads.clone()
        heads[:, head] = brought
        return heads

    return {"heads": replace}


@torch.no_grad()
def ablate(model: LanguageModel, tokens: Tensor, layer: int, head: int) -> Tensor:
    """The logits without what one head brings: zeros in its place. Shapes: tokens (B, T) -> (B, T, V)."""
    with evaluating(model):
        return model(tokens, hooks=replacing(layer, head))


@torch.no_grad()
def patch(model: LanguageModel, tokens: Tensor, other: Tensor, layer: int, head: int) -> Tensor:
    """The logits of a text, with one head's output carried over from the run on another text of the same length.

    Shapes: tokens and other (B, T) -> (B, T, V). Source: Vig et al. 2020; Wang et al. 2022, section 3.
    """
    brought = record(model, other, "heads")[layer, :, head]
    with evaluating(model):
        return model(tokens, hooks=replacing(layer, head, brought))


def putting(layer: int, foreign: Tensor, places: Tensor | None = None) -> Hooks:
    """A hook that puts foreign[i], of (n, D), in row i and place places[i] of the stream before a layer.

    Without places, row i gets its vector at place i.
    """
    places = torch.arange(len(foreign), device=foreign.device) if places is None else places

    def put(where, value):
        if where != layer:
            return value
        value = value.clone()
        value[torch.arange(len(foreign), device=value.device), places] = foreign
        return value

    return {"stream": put}
