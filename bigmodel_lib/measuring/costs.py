"""The bill: what a model of given sizes needs, by formula; and the clocks and scales that hold a formula to account."""

import json
import pathlib
import platform
import tempfile
import time
from collections.abc import Callable

from bigmodel_lib.config import ModelConfig


def parameter_formula(config: ModelConfig) -> int:
    """V D for the embedding, once more for the output unless tied, L (4 D² + 2 D F) for the blocks, and the small rest.

    The rest: T D for learned positions, 2 L D for token shifts. An embedding of n-grams is not counted.
    Taught in 03_mlp_attention_numpy.
    """
    V, D, F, L = config.vocab_size, config.d_model, config.d_ff, config.n_layers
    ends = V * D * (1 if config.tied else 2)
    rest = config.context_length * D * (config.positions == "learned") + 2 * L * D * config.token_shift
    return ends + L * (4 * D * D + 2 * D * F) + rest


def flops_formula(config: ModelConfig, n_tokens: int) -> dict:
    """Multiplications and additions of the forward pass over one sequence, by part; only matrix products are counted.

    A product (n, m) @ (m, p) costs 2 n m p. Projections 2 T L 4D², attention 2 T² L 2D (all pairs, the masked half
    too), MLPs 2 T L 2 D F, output 2 T D V. The backward pass costs twice as much. Source: Kaplan et al. 2020, table 1.
    Taught in 03_mlp_attention_numpy.
    """
    V, D, F, L, T = config.vocab_size, config.d_model, config.d_ff, config.n_layers, n_tokens
    return {
        "projections": 2 * T * L * 4 * D * D,
        "attention": 2 * T * T * L * 2 * D,
        "MLPs": 2 * T * L * 2 * D * F,
        "output": 2 * T * D * V,
    }


def memory_formula(config: ModelConfig, batch_size: int, n_tokens: int, fused: bool = True, width: int = 4) -> dict:
    """Bytes to train with AdamW, by part, for numbers of `width` bytes.

    With P parameters and N = batch_size · n_tokens tokens: parameters P, gradients P, optimizer 2 P, and activations
    N (L (8 D + 2 F) + 2 D + V), what the way back needs of the way there. Token shift adds 2 N L D, QK-norm 2 N L D,
    and attention that is not fused N L H T for its weights. Left out: an embedding of n-grams; and, up to a tenth,
    each norm's mean and scale, and a copy of the heads that fused attention may make. Taught in 05_pytorch_gpu.
    """
    V, D, F, L = config.vocab_size, config.d_model, config.d_ff, config.n_layers
    in_block = 8 * D + 2 * F + 2 * D * config.token_shift + 2 * D * config.qk_norm
    if not fused:
        in_block += config.n_heads * n_tokens
    activations = batch_size * n_tokens * (L * in_block + 2 * D + V)
    P = parameter_formula(config)
    parts = {"parameters": P, "gradients": P, "optimizer": 2 * P, "activations": activations}
    return {name: width * count for name, count in parts.items()}


def wait_for(device: str) -> None:
    """Return when the device has done all that it was asked to do; a CPU always has."""
    import torch

    kind = torch.device(device).type
    if kind != "cpu":
        getattr(torch, kind).synchronize()


def seconds_of(functions: dict[str, Callable], device: str = "cpu", repeats: int = 7) -> dict:
    """Seconds by the wall clock, {name: [one a repeat]}: in turn, so that all suffer alike, after one unmeasured."""
    found: dict = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            wait_for(device)
            start = time.perf_counter()
            function()
            wait_for(device)
            if repeat:
                found[name].append(time.perf_counter() - start)
    return found


def peak_bytes(function: Callable, device: str = "cpu") -> int:
    """The most bytes of tensors that a call holds at one time, beyond those that were there before.

    Counted by PyTorch's allocators: CUDA's own peak there, and on the CPU the sum over the profiler's memory events.
    """
    import torch

    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = [e for e in json.loads(path.read_text(encoding="utf-8"))["traceEvents"] if e["name"] == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event["args"]["Ev Idx"]):
        now += event["args"]["Bytes"]
        peak = max(peak, now)
    return peak


def measured_peak(device: str = "cpu", size: int = 1024, repeats: int = 10) -> float:
    """Operations a second in a product of two large float32 matrices, the best of several tries.

    2 · size³ operations, over the shortest time. What the model reaches is a share of this.
    """
    import torch

    a, b = (torch.ones(size, size, device=device) for _ in range(2))
    return 2 * size**3 / min(seconds_of({"product": lambda: a @ b}, device, repeats)["product"])


def hardware(device: str = "cpu") -> str:
    """The name of what computes: the GPU's, or the processor's with the threads that PyTorch uses."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    name, cpuinfo = platform.processor() or platform.machine(), pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if "model name" in line), name)
    return f"{name}, {torch.get_num_threads()} threads of PyTorch {torch.__version__.split('+')[0]}"
