"""Whether a model depends on what it looked at: hooks that hide tokens, take heads away, put parts of a run in."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.layers import Hooks
from bigmodel_lib.model.transformer import LanguageModel

HOW = ("zero", "mean", "resample")
Heads = Collection[tuple[int, int]]  # pairs (layer, head)


def chosen_heads(heads: Heads | None, layer: int, value: Tensor) -> Tensor:
    """(H, 1, 1), True for the heads of a layer that are among `heads`; None means all."""
    chosen = [heads is None or (layer, head) in heads for head in range(value.shape[1])]
    return torch.tensor(chosen, device=value.device)[:, None, None]


def knockout(keys: Tensor, heads: Heads | None = None) -> Hooks:
    """A hook that keeps heads from looking at some tokens: their weights become 0, and the others stay as they are.

    keys: (B, T), True where hidden. heads: pairs (layer, head), or None for all. Source: Geva et al. 2023, section 5.
    """

    def hide(layer, weights):
        hidden = weights.masked_fill(keys[:, None, None, :], 0.0)
        return torch.where(chosen_heads(heads, layer, weights), hidden, weights)

    return {"weights": hide}


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


def replacing(heads: Heads, outputs: Tensor) -> Hooks:
    """A hook that puts other outputs in the place of some heads'; outputs (L, B, H, T, K), or what fits that shape."""
    return {"heads": lambda layer, value: torch.where(chosen_heads(heads, layer, value), outputs[layer], value)}


@torch.no_grad()
def ablate(
    model: LanguageModel, tokens: Tensor, heads: Heads, how: str = "zero", reference: Tensor | None = None
) -> Tensor:
    """The logits without what some heads bring. heads: pairs (layer, head).

    how: "zero" puts 0 there, "mean" the head's mean over all places of the `reference` tokens, "resample" what it
    brings at the same place of `reference`, (B, T) like `tokens`. Raises CourseError for another how or no reference.
    """
    if how not in HOW or (how != "zero" and reference is None):
        raise CourseError(f"how {how!r} was given: choose zero, or mean or resample with reference tokens")
    outputs = record(model, tokens if reference is None else reference, "heads")
    mean = outputs.mean(dim=(1, 3), keepdim=True)
    instead = {"zero": torch.zeros_like(mean), "mean": mean, "resample": outputs}[how]
    with evaluating(model):
        return model(tokens, hooks=replacing(heads, instead))


def putting(layer: int, foreign: Tensor) -> Hooks:
    """A hook that puts foreign[t], of (n, D), in row t and place t of the stream before a layer, in a batch of n."""

    def put(where, value):
        if where != layer:
            return value
        value, places = value.clone(), torch.arange(len(foreign), device=value.device)
        value[places, places] = foreign
        return value

    return {"stream": put}


@torch.no_grad()
def patch(model: LanguageModel, clean: Tensor, corrupt: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """How much of what two texts differ in comes back when one place of the stream is copied from one to the other.

    share(l, t) = (m(corrupt with the clean stream at layer l, place t) - m(corrupt)) / (m(clean) - m(corrupt)).
    measure m: logits (B, T, V) -> (B,). Shapes: clean and corrupt (T,) -> (L + 1, T). Raises CourseError for two
    lengths, or texts that measure alike. Source: Vig et al. 2020; Meng et al. 2022.
    """
    if clean.shape != corrupt.shape:
        raise CourseError(f"{len(clean)} and {len(corrupt)} tokens were given: patching needs texts of one length")
    with evaluating(model):
        low, high = measure(model(corrupt[None])), measure(model(clean[None]))
        if torch.equal(low, high):
            raise CourseError("both texts measure alike, so nothing can come back: change a word that matters")
        streams, rows = record(model, clean[None], "stream")[:, 0], corrupt.expand(len(clean), -1)
        patched = [measure(model(rows, hooks=putting(layer, stream))) for layer, stream in enumerate(streams)]
    return (torch.stack(patched) - low) / (high - low)
