"""The bill: what a model of given sizes needs, by formula; and the clocks and scales that hold a formula to account."""

import itertools
import pathlib
import platform
import re
import time
from collections.abc import Callable

import torch

from bigmodel_lib.config import ModelConfig

Device = str | torch.device
Bill = dict[str, int]  # {part: how much}


def block_matrices(config: ModelConfig) -> tuple[int, int]:
    """How many numbers the matrices of one block hold: (attention's, the MLP's).

    Queries and output 2 D², keys and values 2 D H_kv K; the MLP 2 D F, and with SwiGLU's third matrix 3 D F.
    """
    D, F = config.d_model, config.d_ff
    attention = 2 * D * D + 2 * D * config.n_key_heads * config.d_head
    mlp = (3 if config.activation == "swiglu" else 2) * D * F
    return attention, mlp


def parameter_formula(config: ModelConfig) -> int:
    """The matrices of L blocks, and rows of D numbers: V for the embedding, V for the output unless tied, and the rest.

    The rest: T for learned positions, 16381 for n-grams of each length from 2, 2 L for token shifts, 2 L + 1 for gains.
    """
    V, D, L, T = config.vocab_size, config.d_model, config.n_layers, config.context_length
    tables = V * (1 if config.tied else 2) + T * (config.positions == "learned") + (config.ngrams - 1) * 16381
    vectors = 2 * L * config.token_shift + (2 * L + 1) * config.norm_gain
    return L * sum(block_matrices(config)) + (tables + vectors) * D


def flops_formula(config: ModelConfig, n_tokens: int) -> Bill:
    """Multiplications and additions of the forward pass over one sequence, by part; only matrix products are counted.

    A product (n, m) @ (m, p) costs 2 n m p; attention 2 T² L 2D (all pairs, the masked half too), with any number of
    heads; the backward pass twice as much. Source: Kaplan et al. 2020, table 1.
    """
    V, D, L, T = config.vocab_size, config.d_model, config.n_layers, n_tokens
    attention, mlp = block_matrices(config)
    return {
        "projections": 2 * T * L * attention,
        "attention": 2 * T * T * L * 2 * D,
        "MLPs": 2 * T * L * mlp,
        "output": 2 * T * D * V,
    }


def memory_formula(config: ModelConfig, batch_size: int, n_tokens: int, fused: bool = True, width: int = 4) -> Bill:
    """Bytes to train with AdamW, by part, for numbers of `width` bytes.

    With P parameters and N = batch_size · n_tokens tokens: parameters P, gradients P, optimizer 2 P, and activations
    N (L (8 D + 2 F) + 2 D + V). Token shift adds 2 N L D, QK-norm N L (D + H_kv K), norms' gains N (2 L + 1) D, SwiGLU
    2 N L F, and attention that is not fused N L H T. Left out: norms' means and scales, up to a tenth.
    """
    V, D, F, L = config.vocab_size, config.d_model, config.d_ff, config.n_layers
    in_block = 8 * D + (4 if config.activation == "swiglu" else 2) * F
    in_block += 2 * D * (config.token_shift + config.norm_gain)
    in_block += (D + config.n_key_heads * config.d_head) * config.qk_norm
    in_block += 0 if fused else config.n_heads * n_tokens
    activations = batch_size * n_tokens * (L * in_block + (2 + config.norm_gain) * D + V)
    P = parameter_formula(config)
    parts = {"parameters": P, "gradients": P, "optimizer": 2 * P, "activations": activations}
    return {name: width * count for name, count in parts.items()}


def wait_for(device: Device) -> None:
    """Return when the device has done all that it was asked to do; a CPU always has."""
    if torch.device(device).type != "cpu":
        getattr(torch, torch.device(device).type).synchronize()


def seconds_of(functions: dict[str, Callable], device: Device = "cpu", repeats: int = 7) -> dict[str, list[float]]:
    """Seconds by the wall clock, {name: [one a repeat]}: in turn, so that all suffer alike, after one unmeasured."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _, (name, function) in itertools.product(range(repeats + 1), functions.items()):
        wait_for(device)
        start = time.perf_counter()
        function()
        wait_for(device)
        found[name].append(time.perf_counter() - start)
    return {name: seconds[1:] for name, seconds in found.items()}


def hardware(device: Device = "cpu") -> str:
    """The name of what computes: the GPU's, or the processor's with the threads that PyTorch uses."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.exists() else None
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads of PyTorch {torch.__version__.split('+')[0]}"
