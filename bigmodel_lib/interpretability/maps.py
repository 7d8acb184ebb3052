"""What a model looked at: its attention maps and other values of a run, rollout, and gradients.

Shapes: B (batch), T (tokens), D (d_model), L (layers), H (heads). A map's row is the query, its column the key.
"""

import torch
from torch import Tensor

from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.transformer import LanguageModel


@torch.no_grad()
def record(model: LanguageModel, tokens: Tensor, name: str) -> Tensor:
    """One value of every layer, as a hook sees it: "weights" as (L, B, H, T, T), "stream" as (L + 1, B, T, D), …

    Shapes: tokens (B, T). Raises CourseError for a name that no hook has.
    """
    kept = []

    def keep(layer, value):
        kept.append(value)
        return value

    with evaluating(model):
        model(tokens, hooks={name: keep})
    return torch.stack(kept)


def rollout(maps: Tensor) -> Tensor:
    """How much of each token may stand in each place after every layer, if heads are averaged and half is kept.

    R_0 = I, R_(l+1) = (A_l / 2 + I / 2) R_l, with A_l the mean over the heads of layer l; R_1 … R_L come back.
    Shapes: maps (L, ..., H, T, T) -> (L, ..., T, T), rows sum to 1. Source: Abnar & Zuidema 2020, eq. 1 and section 3.
    """
    eye = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    joint, after = eye, []
    for layer in maps.mean(dim=-3):
        joint = (layer + eye) / 2 @ joint
        after.append(joint)
    return torch.stack(after)


def gradient_times_input(model: LanguageModel, tokens: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """What each token's embedding x_j adds to the target's lead z at one place, to first order: Σ_c x_jc · ∂z / ∂x_jc.

    z is the target's logit less the mean logit, which grows on where ln p is as good as 0 and its gradient gone.
    Shapes: tokens (B, T), places (B,), targets (B,) -> (B, T), signed. Source: Shrikumar et al. 2016.
    """
    embedded = []

    def watch(layer, value):
        if layer > 0:
            return value
        embedded.append(value.detach().requires_grad_())
        return embedded[0]

    with torch.enable_grad(), evaluating(model):
        rows = torch.arange(len(tokens), device=tokens.device)
        logits = model(tokens, hooks={"stream": watch})[rows, places]
        lead = logits.gather(1, targets[:, None]).sum() - logits.mean(dim=-1).sum()
        (gradient,) = torch.autograd.grad(lead, embedded)
    return (gradient * embedded[0]).sum(dim=-1).detach()
