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


def gradient_norms(model: LanguageModel, tokens: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """How steeply ln p of a target at one place changes with each token's embedding: ‖∂ ln p / ∂x_j‖.

    Shapes: tokens (B, T), places (B,), targets (B,) -> (B, T). Source: Simonyan et al. 2014.
    """
    x = model.embed(tokens).detach().requires_grad_()
    rows = torch.arange(len(tokens), device=tokens.device)
    with torch.enable_grad(), evaluating(model):
        logits = model(tokens, hooks={"stream": lambda layer, value: value if layer else x})[rows, places]
        log_p = logits.log_softmax(dim=-1).gather(1, targets[:, None]).sum()
        (slopes,) = torch.autograd.grad(log_p, x)
    return slopes.norm(dim=-1)
