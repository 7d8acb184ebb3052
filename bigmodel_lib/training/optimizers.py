"""How a gradient becomes a step: Muon for matrices, AdamW for the rest, and the rate over time."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bigmodel_lib.config import TrainConfig

Dtype = torch.dtype | None


def linear_lr(fraction: float, step: int, warmup_steps: int) -> float:
    """The share of the peak rate to use now: up over the first steps, down to zero over the whole budget.

    min(1, (step + 1)/warmup_steps) · (1 - fraction), with `fraction` of the budget used.
    """
    return min(1.0, (step + 1) / max(1, warmup_steps)) * (1.0 - fraction)


def lr_schedule(fraction: float, step: int, warmup_steps: int, decay: str = "linear", final_lr: float = 0.0) -> float:
    """`linear_lr`, or with a cosine fall, and down to `final_lr` rather than zero.

    Source of the cosine (1 + cos πf)/2: Loshchilov & Hutter 2017, eq. 5.
    """
    warmup = linear_lr(0.0, step, warmup_steps)
    fall = 1.0 - fraction if decay == "linear" else (1.0 + math.cos(math.pi * fraction)) / 2
    return warmup * (final_lr + (1.0 - final_lr) * fall)


# Each row (a, b, c) is one polynomial a·s + b·s³ + c·s⁵, best for what the rows before it leave.
# Amsel et al. 2025 ("The Polar Express"), the first three of their list for singular values from 1e-3 to 1.
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)


def quintic(x: Tensor, a: float, b: float, c: float) -> Tensor:
    """One odd polynomial of a matrix: a·X + b·(X Xᵀ) X + c·(X Xᵀ)² X.

    With X = U Σ Vᵀ, X Xᵀ X is U Σ³ Vᵀ: each singular value s becomes a·s + b·s³ + c·s⁵, the singular vectors stay.
    Shapes: (..., n, m) -> (..., n, m). Source: Jordan et al. 2024 (Muon).
    """
    gram = x @ x.mT
    return a * x + (b * gram + c * gram @ gram) @ x


def orthogonalise(gradient: Tensor, dtype: Dtype = None) -> Tensor:
    """The same singular vectors with singular values near 1: U Σ Vᵀ becomes about U Vᵀ, by products alone.

    X₀ = G / (1.01 ‖G‖), then X ← a X + (b A + c A²) X with A = X Xᵀ, for each row (a, b, c) of POLAR_EXPRESS:
    a singular value above 0.003 ‖G‖ ends between 0.18 and 1.87, a smaller one below that.
    dtype: of the products. From 64 × 64 on, bfloat16 is off by up to 5 % of the whole, and the band is 0.15 to 1.95.
    Shapes: (..., n, m) -> (..., n, m). Source: Jordan et al. 2024 (Muon); Amsel et al. 2025, algorithm 1.
    """
    tall = gradient.shape[-2] > gradient.shape[-1]
    x = gradient.mT if tall else gradient
    x = (x / (1.01 * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    for a, b, c in POLAR_EXPRESS:
        x = quintic(x, a, b, c)
    return (x.mT if tall else x).to(gradient.dtype)


class Muon(torch.optim.Optimizer):
    """Steps of equal size in every direction of a matrix: momentum, orthogonalised.

    M ← μ M + (1 - μ) G;  N = μ M + (1 - μ) G (Nesterov);  W ← W - lr · √max(1, out/in) · orthogonalise(N).
    μ grows from 0.85 to `momentum` over the first 100 steps. Matrices (in, out) of one shape are stepped together.
    dtype: in which `orthogonalise` computes.
    Source: Jordan et al. 2024; the scale from Bernstein & Newhouse 2024.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9, dtype: Dtype = None):
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # it takes no closure
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self._step_together(parameters, group["lr"], group["momentum"])

    def _step_together(self, parameters: list[Tensor], lr: float, momentum: float) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state.update(steps=0, average=torch.zeros_like(parameter))
            state["steps"] += 1
        mu = momentum - (momentum - min(0.85, momentum)) * max(0.0, 1 - (states[0]["steps"] - 1) / 100)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        averages = [state["average"] for state in states]
        torch._foreach_lerp_(averages, gradients, 1 - mu)
        nesterov = torch.stack(gradients).lerp_(torch.stack(averages), mu)
        n_in, n_out = parameters[0].shape
        scale = math.sqrt(max(1.0, n_out / n_in))
        torch._foreach_add_(parameters, list(orthogonalise(nesterov, self.dtype).unbind()), alpha=-lr * scale)


class Optimizers:
    """The one or two optimizers of a run, behind one handle.

    Muon takes the matrices inside the blocks, AdamW (Loshchilov & Hutter 2019, algorithm 2) embeddings, output, shifts.
    AdamW is fused where PyTorch can. On CUDA Muon computes in bfloat16, unless `precision` is float32.
    """

    def __init__(self, model: nn.Module, config: TrainConfig):
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        matrices, rest = [], []
        for parameter, name in self.names.items():
            inside = "blocks." in name and parameter.ndim == 2
            (matrices if inside and config.optimizer == "muon" else rest).append(parameter)
        betas, fused = (config.beta1, config.beta2), all(p.device.type in ("cpu", "cuda", "mps") for p in rest)
        more = dict(eps=config.eps, weight_decay=config.weight_decay, fused=fused)
        adamw = torch.optim.AdamW(rest, config.adamw_lr, betas, **more)  # type: ignore[arg-type]
        on_cuda = all(parameter.device.type == "cuda" for parameter in matrices)
        short = config.precision == "bfloat16" or (config.precision == "auto" and on_cuda)
        settings = config.muon_lr, config.momentum, torch.bfloat16 if short else None
        self.parts = [adamw, Muon(matrices, *settings)] if matrices else [adamw]
        self.peaks = [part.param_groups[0]["lr"] for part in self.parts]

    def step(self, lr: float) -> None:
        """One update with every rate at `lr` times its peak; the gradients are forgotten."""
        for part, peak in zip(self.parts, self.peaks, strict=True):
            part.param_groups[0]["lr"] = peak * lr
            part.step()
            part.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """All that the optimizers remember, by name: "blocks.0.mlp.w_up/average" and the like."""
        return {
            f"{self.names[parameter]}/{key}": torch.as_tensor(value)
            for part in self.parts
            for parameter, state in part.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state_tensors` gave."""
        by_name = {name: parameter for parameter, name in self.names.items()}
        part_of = {p: part for part in self.parts for p in part.param_groups[0]["params"]}
        for full_name, value in tensors.items():
            name, key = full_name.rsplit("/", 1)
            parameter = by_name[name]
            part = part_of[parameter]
            on_the_host = key == "step" and not part.param_groups[0].get("fused")  # where AdamW looks for its count
            kept = value if on_the_host else value.to(parameter.device)
            part.state[parameter][key] = int(value) if key == "steps" else kept
