import math

import pytest
import torch

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.training.optimizers import (
    POLAR_EXPRESS,
    Muon,
    Optimizers,
    lr_schedule,
    orthogonalise,
    quintic,
)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (384, 96), (5, 3)])
def test_orthogonalise_is_near_the_polar_factor(shape, seed):
    gradient = normal(*shape, seed=seed)
    u, s, vh = torch.linalg.svd(gradient, full_matrices=False)
    ours = orthogonalise(gradient)
    in_basis = u.mT @ ours @ vh.mT  # diagonal if and only if the singular vectors were kept
    torch.testing.assert_close(in_basis, torch.diag(in_basis.diagonal()), rtol=0, atol=1e-9)
    by_scalars = s / (1.01 * gradient.norm() + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        by_scalars = a * by_scalars + b * by_scalars**3 + c * by_scalars**5
    torch.testing.assert_close(in_basis.diagonal(), by_scalars, rtol=0, atol=1e-9)
    large = in_basis.diagonal()[s / gradient.norm() > 0.004]
    assert 0.18 < large.min() and large.max() < 1.87


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (384, 96), (192, 768)])
def test_orthogonalise_in_bfloat16_is_off_by_what_it_says(shape, seed):
    gradient = normal(*shape, seed=seed)
    u, s, vh = torch.linalg.svd(gradient, full_matrices=False)
    exact, short = orthogonalise(gradient), orthogonalise(gradient.float(), torch.bfloat16)
    assert short.dtype == torch.float32
    assert 0.01 < (short.double() - exact).norm() / exact.norm() < 0.05, "16 bits show, and don't matter much"
    large = (u.mT @ short.double() @ vh.mT).diagonal()[s / gradient.norm() > 0.004]
    assert 0.15 < large.min() and large.max() < 1.95


def test_muon_computes_in_bfloat16_and_keeps_weights_and_average_in_32_bits():
    value, gradient = (normal(64, 128, seed=seed, dtype=torch.float32) for seed in (1, 2))
    parameter = torch.nn.Parameter(value.clone())
    parameter.grad = gradient
    muon = Muon([parameter], lr=0.1, dtype=torch.bfloat16)
    muon.step()
    update = orthogonalise(gradient * (0.85 * 0.15 + 0.15), torch.bfloat16) * math.sqrt(2)
    torch.testing.assert_close(parameter.detach(), value - 0.1 * update, rtol=0, atol=2e-3)
    assert parameter.dtype == muon.state[parameter]["average"].dtype == torch.float32


@pytest.mark.parametrize(
    "device, precision, wanted",
    [
        ("cuda", "auto", torch.bfloat16),
        ("cuda", "bfloat16", torch.bfloat16),
        ("cuda", "float32", None),
        ("cpu", "auto", None),
        ("cpu", "bfloat16", torch.bfloat16),
        ("cpu", "float32", None),
    ],
)
def test_muon_takes_bfloat16_where_it_is_asked_for_or_faster(random_model, monkeypatch, device, precision, wanted):
    model = random_model()
    monkeypatch.setattr(torch.nn.Parameter, "device", property(lambda self: torch.device(device)), raising=False)
    adamw, muon = Optimizers(model, TrainConfig(steps=1, precision=precision)).parts
    assert muon.dtype == wanted and adamw.param_groups[0]["fused"]


def test_a_hundredfold_spread_becomes_less_than_elevenfold():
    u, v = (torch.linalg.qr(normal(32, 32, seed=s))[0] for s in (1, 2))
    s = torch.linalg.svdvals(orthogonalise(u @ torch.diag(torch.logspace(-2, 0, 32, dtype=torch.float64)) @ v))
    assert s.max() / s.min() < 11


def test_orthogonalise_does_not_see_the_scale_and_takes_zero():
    gradient = normal(8, 5)
    torch.testing.assert_close(orthogonalise(gradient), orthogonalise(1e-3 * gradient), rtol=1e-3, atol=1e-4)
    assert torch.equal(orthogonalise(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_muon_is_its_equation():
    parameters = [torch.nn.Parameter(normal(6, 4, seed=s)) for s in (1, 2)] + [torch.nn.Parameter(normal(4, 6, seed=3))]
    values = [p.detach().clone() for p in parameters]
    averages = [torch.zeros_like(p) for p in parameters]
    muon = Muon(parameters, lr=0.1, momentum=0.95)
    for step in [0, 1, 2, 250, 251]:
        mu = 0.95 - (0.95 - 0.85) * max(0, 1 - step / 100)
        if step == 250:
            for parameter in parameters:
                muon.state[parameter]["steps"] = step
        for i, parameter in enumerate(parameters):
            gradient = normal(*parameter.shape, seed=10 * step + i)
            parameter.grad = gradient
            averages[i] = mu * averages[i] + (1 - mu) * gradient
            update = orthogonalise(mu * averages[i] + (1 - mu) * gradient)
            values[i] = values[i] - 0.1 * math.sqrt(max(1, parameter.shape[1] / parameter.shape[0])) * update
        muon.step()
        for parameter, value in zip(parameters, values, strict=True):
            torch.testing.assert_close(parameter.detach(), value, rtol=0, atol=1e-9)


def test_adamw_is_its_equation(random_model, random_tokens):
    model = random_model(dtype=torch.float64)
    config = TrainConfig(steps=9, optimizer="adamw", adamw_lr=0.01, eps=1e-8, weight_decay=0.1)
    optimizers = Optimizers(model, config)
    value = model.blocks[0].mlp.w_up.detach().clone()
    m = v = torch.zeros_like(value)
    for step, factor in enumerate([0.5, 1.0, 0.7], start=1):
        (model(random_tokens(step)) ** 2).mean().backward()
        gradient, rate = model.blocks[0].mlp.w_up.grad.clone(), 0.01 * factor
        m, v = 0.8 * m + 0.2 * gradient, 0.95 * v + 0.05 * gradient**2
        value = value * (1 - rate * 0.1) - rate * (m / (1 - 0.8**step)) / ((v / (1 - 0.95**step)).sqrt() + 1e-8)
        optimizers.step(factor)
        torch.testing.assert_close(model.blocks[0].mlp.w_up.detach(), value, rtol=0, atol=1e-10)
        assert model.blocks[0].mlp.w_up.grad is None


def test_each_parameter_has_exactly_one_optimizer(random_model):
    model = random_model()
    adamw, muon = Optimizers(model, TrainConfig(steps=1)).parts
    names = {p: n for n, p in model.named_parameters()}
    in_muon = {names[p] for p in muon.param_groups[0]["params"]}
    in_adamw = {names[p] for p in adamw.param_groups[0]["params"]}
    assert in_muon | in_adamw == set(names.values()) and not in_muon & in_adamw
    assert {n.split(".")[-1] for n in in_muon} == {"w_q", "w_k", "w_v", "w_o", "w_up", "w_down"}


def test_optimizer_state_survives_its_tensors(random_model, random_tokens):
    config = TrainConfig(steps=9)
    one, two = random_model(dtype=torch.float64), random_model(dtype=torch.float64)
    first, second = Optimizers(one, config), Optimizers(two, config)

    def update(model, optimizers, seed):
        (model(random_tokens(seed)) ** 2).mean().backward()
        optimizers.step(1.0)

    update(one, first, 0)
    two.load_state_dict(one.state_dict())
    second.load_state_tensors({k: v.clone() for k, v in first.state_tensors().items()})
    update(one, first, 1)
    update(two, second, 1)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_rate_rises_and_falls_as_said():
    assert lr_schedule(0.0, 0, 10, "linear", 0.0) == pytest.approx(0.1)
    assert lr_schedule(0.5, 500, 10, "linear", 0.0) == pytest.approx(0.5)
    assert lr_schedule(1.0, 1000, 10, "linear", 0.0) == 0.0
    assert lr_schedule(0.25, 500, 0, "cosine", 0.0) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert lr_schedule(1.0, 1000, 100, "cosine", 0.1) == pytest.approx(0.1)
    assert lr_schedule(0.0, 999, 0, "linear", 0.0) == 1.0


def test_a_quintic_turns_each_singular_value_by_itself():
    x = torch.randn(3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    a, b, c = 1.3, -0.7, 0.2
    wanted = u @ torch.diag_embed(a * s + b * s**3 + c * s**5) @ vh
    assert torch.allclose(quintic(x, a, b, c), wanted, rtol=0, atol=1e-9)
    assert torch.allclose(quintic(x.mT, a, b, c), wanted.mT, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fused", [True, False])
def test_what_a_checkpoint_kept_goes_where_the_optimizer_reads_it(fused):
    model, config = torch.nn.Module(), TrainConfig(steps=1, optimizer="adamw")
    model.w = torch.nn.Parameter(torch.empty(2, 3, device="meta"))
    optimizers = Optimizers(model, config)
    optimizers.parts[0].param_groups[0]["fused"] = fused  # as on a GPU, where the count of steps lies on the device
    kept = {"w/step": torch.tensor(3.0), "w/exp_avg": torch.zeros(2, 3), "w/exp_avg_sq": torch.zeros(2, 3)}
    optimizers.load_state_tensors(kept)
    places = {name: value.device.type for name, value in optimizers.parts[0].state[model.w].items()}
    assert places == {"step": "meta" if fused else "cpu", "exp_avg": "meta", "exp_avg_sq": "meta"}
