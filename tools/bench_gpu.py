"""Measure a GPU with the course's own code: `make bench-gpu` writes data/gpu.json (under 8 minutes on one card).

Each part writes its result as it ends, so an early stop loses nothing. It needs this repository and PyTorch alone
(Triton where it is there); its text is the story world. `--device cpu` runs everything at small sizes, as a test.
Times are medians of several repeats after a warm-up, in seconds; memory is in bytes.
"""

import argparse
import contextlib
import datetime
import functools
import json
import pathlib
import statistics
import subprocess
import sys
import time
import traceback
import warnings
from unittest import mock

import numpy as np
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bigmodel_lib import generation  # noqa: E402
from bigmodel_lib.config import ModelConfig, TrainConfig  # noqa: E402
from bigmodel_lib.finetuning import dpo  # noqa: E402
from bigmodel_lib.finetuning.classification import classifier_run  # noqa: E402
from bigmodel_lib.measuring.costs import flops_formula, memory_formula  # noqa: E402
from bigmodel_lib.measuring.evaluation import evaluate  # noqa: E402
from bigmodel_lib.model import layers, transformer  # noqa: E402
from bigmodel_lib.model.cache import KVCache  # noqa: E402
from bigmodel_lib.model.devices import autocast  # noqa: E402
from bigmodel_lib.model.layers import cross_entropy  # noqa: E402
from bigmodel_lib.model.transformer import LanguageModel, initialise  # noqa: E402
from bigmodel_lib.recipes import preset  # noqa: E402
from bigmodel_lib.storyworld import StoryWorld  # noqa: E402
from bigmodel_lib.text.batches import causal_batches, split_tokens  # noqa: E402
from bigmodel_lib.text.tokenizers import CharacterTokenizer  # noqa: E402
from bigmodel_lib.training.trainer import Trainer, next_token_loss  # noqa: E402
from tools.streaming_attention import attention_streaming  # noqa: E402

PEAKS = {  # 10¹² operations a second without sparsity, as NVIDIA's data sheets state them
    "NVIDIA H100 80GB HBM3": {"float32": 67, "tf32": 494.5, "bfloat16": 989.5, "float16": 989.5},
    "NVIDIA H200": {"float32": 67, "tf32": 494.5, "bfloat16": 989.5, "float16": 989.5},
    "NVIDIA A100-SXM4-40GB": {"float32": 19.5, "tf32": 156, "bfloat16": 312, "float16": 312},
    "NVIDIA A100-SXM4-80GB": {"float32": 19.5, "tf32": 156, "bfloat16": 312, "float16": 312},
    "NVIDIA L4": {"float32": 30.3, "tf32": 60, "bfloat16": 121, "float16": 121},
    "Tesla T4": {"float32": 8.1, "float16": 65},
}
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
GPT2_SMALL = dict(
    vocab_size=50304, context_length=1024, d_model=768, n_layers=12, n_heads=12, d_ff=3072, positions="learned",
    qk_norm=False, activation="gelu", token_shift=False, tied=True, init="gpt2",
)  # fmt: skip
PLAIN_GPU = dict(d_model=384, n_layers=6, n_heads=6, context_length=256)  # nanoGPT's configuration for one GPU


class Bench:
    """What all parts share: the device, whether sizes are small, and the clock."""

    def __init__(self, device: str):
        self.device, self.gpu = torch.device(device), device != "cpu"

    def size(self, large, small):
        """A size for a GPU, and a small one for the test on a CPU."""
        return large if self.gpu else small

    def wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def seconds(self, work, repeats: int = 7) -> float:
        """The median time of a call, after two that are not counted."""
        times = []
        for repeat in range(repeats + 2):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            if repeat > 1:
                times.append(time.perf_counter() - start)
        return statistics.median(times)

    def peak(self, work) -> int | None:
        """The most memory that a call holds beyond what was there; None on a CPU."""
        if not self.gpu:
            return None
        self.wait()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        self.wait()
        return torch.cuda.max_memory_allocated() - before


def card(bench: Bench) -> dict:
    facts = {"date": datetime.date.today().isoformat(), "torch": torch.__version__, "card": "CPU"}
    if bench.gpu:
        of_card = torch.cuda.get_device_properties(0)
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(ask, capture_output=True, text=True).stdout.strip()
        facts |= {"card": of_card.name, "memory": of_card.total_memory, "driver": driver}
        facts |= {"multiprocessors": of_card.multi_processor_count, "cuda": torch.version.cuda}
        facts["peak_tflops"] = PEAKS.get(of_card.name, {})
    return facts


# 1. Kernels and launches


def launches(bench: Bench) -> dict:
    """Adding two vectors of n numbers: flat while the launch is what costs, then in proportion to n."""
    found = []
    for n in [2**k for k in range(0, bench.size(29, 17), 2)]:
        x = torch.zeros(n, device=bench.device)

        def add(x=x):
            for _ in range(20):
                x.add_(1.0)

        found.append({"numbers": n, "seconds": bench.seconds(add) / 20})
    return {"add": found}


def small_and_large(bench: Bench) -> dict:
    """The same products of matrices one by one, and as one batch."""
    count, n = bench.size(512, 16), 64
    a, b = (torch.randn(count, n, n, device=bench.device) for _ in range(2))
    one_by_one = bench.seconds(lambda: [x @ y for x, y in zip(a, b, strict=True)])
    return {"products": count, "size": n, "one_by_one": one_by_one, "batched": bench.seconds(lambda: a @ b)}


def overtaking(bench: Bench) -> dict:
    """A float32 product of n × n on the CPU, on the device, and on the device with its numbers sent there and back."""
    rows = []
    for n in [2**k for k in range(4, bench.size(13, 8))]:
        a, b = torch.randn(n, n), torch.randn(n, n)
        there = a.to(bench.device), b.to(bench.device)
        row = {"size": n, "cpu": bench.seconds(lambda a=a, b=b: a @ b, 3)}
        row["device"] = bench.seconds(lambda there=there: there[0] @ there[1])
        row["device_and_transfer"] = bench.seconds(
            lambda a=a, b=b: (a.to(bench.device) @ b.to(bench.device)).to("cpu"), 3
        )
        rows.append(row)
    return {"cpu_threads": torch.get_num_threads(), "products": rows}


def small_run(bench: Bench, config: TrainConfig, tokens, **sizes) -> Trainer:
    """The preset small on tokens, ready to step."""
    model_config, _ = preset("small", int(tokens.max()) + 1, **sizes)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0)).to(bench.device)
    source = causal_batches(tokens, config.batch_size, model_config.context_length)
    return Trainer(model, source, next_token_loss, config)


def synchronising(bench: Bench) -> dict:
    """When the host waits: after each of many products or at the end; after each training step or at the end."""
    tokens, steps = np.random.default_rng(0).integers(0, 80, 100_000), bench.size(100, 5)
    x = torch.randn(512, 512, device=bench.device)
    products = bench.seconds(lambda: [(x @ x)[0, 0] for _ in range(steps)]) / steps
    waiting = bench.seconds(lambda: [(x @ x)[0, 0].item() for _ in range(steps)]) / steps
    found: dict = {"steps": steps, "product": products, "product_and_item": waiting}
    for name in ("at_the_end", "each_step"):
        run = small_run(bench, TrainConfig(steps=10**6), tokens)

        def some_steps(run=run, name=name):
            losses = []
            for _ in range(steps):
                loss, _ = run.train_step(*run.next_batch()[0], lr=0.1)
                losses.append(loss.item() if name == "each_step" else loss)

        found[name] = bench.seconds(some_steps, 3)
    return found


def runs_of_each_kind(bench: Bench) -> dict[str, Trainer]:
    """Pretraining with either optimizer, fine-tuning and preference tuning, all with clipping."""
    config, draws = TrainConfig(steps=10**6, clip=1.0), np.random.default_rng(0)
    tokens = draws.integers(0, 80, 100_000)
    pretraining = small_run(bench, config, tokens)
    texts = [tokens[start : start + 60] for start in range(0, 6000, 60)]
    pairs = [(tokens[i : i + 9].tolist(), tokens[i + 20 : i + 25].tolist()) for i in range(40)]
    model = small_run(bench, config, tokens).model
    return {
        "pretraining": pretraining,
        "pretraining, AdamW": small_run(bench, config.replace(optimizer="adamw"), tokens),
        "fine-tuning": classifier_run(model, texts, draws.integers(0, 2, 100), 2, steps=10**6, clip=1.0),
        "preferences": Trainer(
            model, dpo.pair_batches([1, 2], pairs, 8), dpo.preference_loss(model, [1, 2], pairs), config
        ),
    }


def hidden_syncs(bench: Bench) -> dict:
    """Whether anything in a training step of any kind makes the host wait for the device."""
    found: dict = {"syncs": 0 if bench.gpu else None, "kinds": []}
    for kind, run in runs_of_each_kind(bench).items():
        for _ in range(3):
            run.train_step(*run.next_batch()[0], lr=0.1)
        found["kinds"].append(kind)
        if not bench.gpu:
            continue
        torch.cuda.set_sync_debug_mode("error")
        try:
            run.train_step(*run.next_batch()[0], lr=0.1)
        except RuntimeError as error:
            frames = [line for line in traceback.format_exc().splitlines() if "bigmodel_lib" in line]
            where = [frame.split("bigmodel_lib/")[-1] for frame in frames]
            found |= {"syncs": found["syncs"] + 1, f"where, {kind}": where, f"said, {kind}": str(error)[:200]}
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return found


# 2. Number formats


@contextlib.contextmanager
def tf32(enabled: bool):
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = enabled
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def products(bench: Bench) -> dict:
    """10¹² operations a second in n × n products of random numbers, by number format; and copying in bytes a second."""
    rows = []
    for n in bench.size((1024, 2048, 4096, 8192), (64, 128)):
        for name, dtype in DTYPES.items():
            a, b = (torch.randn(n, n, device=bench.device, dtype=dtype) for _ in range(2))
            with tf32(name == "tf32"):
                took = bench.seconds(lambda a=a, b=b: a @ b)
            rows.append({"size": n, "format": name, "tflops": 2 * n**3 / took / 1e12})
    x = torch.empty(bench.size(2**28, 2**20), device=bench.device)
    return {"products": rows, "copied_bytes_per_second": 2 * x.numel() * 4 / bench.seconds(lambda: x.clone())}


def errors(bench: Bench) -> dict:
    """How far a product in each format is from the one in float64: ‖error‖ / ‖product‖; and what breaks in each."""
    n = bench.size(2048, 64)
    a, b = (torch.randn(n, n, device=bench.device, dtype=torch.float64) for _ in range(2))
    exact, found = a @ b, {}
    for name, dtype in DTYPES.items():
        with tf32(name == "tf32"):
            error = ((a.to(dtype) @ b.to(dtype)).double() - exact).norm() / exact.norm()
        found[name] = {"error": error.item(), "largest": torch.finfo(dtype).max, "smallest": torch.finfo(dtype).tiny}
        found[name]["one_plus"] = torch.finfo(dtype).eps
        counted = torch.zeros((), device=bench.device, dtype=dtype)
        for _ in range(bench.size(3000, 300)):
            counted += 1.0
        found[name]["counted_to_3000"] = counted.item()
    return found


def underflow(bench: Bench) -> dict:
    """The share of a trained model's gradients that float16 turns into 0, as they are and scaled up (GradScaler)."""
    from bigmodel_lib.training.checkpoints import load_model

    model, tokenizer = load_model(ROOT / "data/storyteller", bench.device)
    draws = np.random.default_rng(0)
    stories = [tokenizer.encode(StoryWorld().sample(draws).text)[:64] for _ in range(32)]
    x = torch.tensor(np.stack([s for s in stories if len(s) == 64]), dtype=torch.int64, device=bench.device)
    cross_entropy(model(x[:, :-1]), x[:, 1:].contiguous()).backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    gradients = gradients[gradients != 0]
    shares = {f"scaled_by_2_to_{k}": (gradients * 2**k).half().eq(0).float().mean().item() for k in (0, 8, 16)}
    return {"gradients": len(gradients), **shares, "overflow_at_16": (gradients * 2**16).half().isinf().any().item()}


# 3. Attention


LONGEST = 2.0  # seconds: a way whose forward and backward would take longer at some T is left out from there on


def attention_ways(bench: Bench, T: int) -> dict:
    """{name: a function of q, k, v} that fit this device."""
    in_blocks = functools.partial(attention_streaming, block_size=max(128, T // 16))
    ways = {"naive": layers.attention_plain, "streaming": in_blocks}
    for backend in ("MATH", "EFFICIENT_ATTENTION", "FLASH_ATTENTION", "CUDNN_ATTENTION"):

        def fused(q, k, v, backend=backend):
            with sdpa_kernel(getattr(SDPBackend, backend)):
                return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        ways[f"fused: {backend.lower()}"] = fused
    return ways


def attention(bench: Bench) -> dict:
    """Causal attention, 12 heads of 64, batch 1, bfloat16: forward, forward and backward, and the memory of both."""
    dtype, rows, expected = bench.size(torch.bfloat16, torch.float32), [], {}
    for T in bench.size((256, 512, 1024, 2048, 4096, 8192, 16384), (64, 128)):
        q, k, v = (torch.randn(1, 12, T, 64, device=bench.device, dtype=dtype, requires_grad=True) for _ in range(3))
        for name, way in attention_ways(bench, T).items():
            row = {"way": name, "T": T}
            rows.append(row)
            if expected.get(name, 0.0) > LONGEST:
                row["refused"] = f"left out: {expected[name]:.1f} s were to be expected"
                continue

            def both(way=way, q=q, k=k, v=v):
                way(q, k, v).sum().backward()
                q.grad = k.grad = v.grad = None

            try:
                with torch.no_grad():
                    row["forward"] = bench.seconds(lambda way=way, q=q, k=k, v=v: way(q, k, v), 3)
                row |= {"both": bench.seconds(both, 3), "peak": bench.peak(both)}
                expected[name] = 4 * row["both"]  # as its T × T scores
            except RuntimeError as error:
                row["refused"] = str(error).splitlines()[0][:100]
                q.grad = k.grad = v.grad = None
                if bench.gpu:
                    torch.cuda.empty_cache()  # where memory was what ran out, the next way needs all of it
    return {"heads": 12, "width": 64, "batch": 1, "dtype": str(dtype), "rows": rows}


def recurrence(bench: Bench) -> dict:
    """An LSTM as wide as the 12 heads together (768), forward and backward, at two batch sizes."""
    rows = []
    for batch in (1, 16):
        for T in bench.size((256, 1024, 4096, 16384), (16, 32)):
            width = bench.size(768, 32)
            lstm = torch.nn.LSTM(width, width, batch_first=True).to(bench.device)
            x = torch.randn(batch, T, width, device=bench.device)

            def both(lstm=lstm, x=x):
                lstm(x)[0].sum().backward()
                lstm.zero_grad(set_to_none=True)

            rows.append({"batch": batch, "T": T, "both": bench.seconds(both, 3), "peak": bench.peak(both)})
    return {"width": bench.size(768, 32), "rows": rows}


# 4 and 5. One training step of a real size, and its memory


def gpt2(bench: Bench) -> LanguageModel:
    small = {} if bench.gpu else dict(vocab_size=128, context_length=32, d_model=32, n_layers=2, n_heads=2, d_ff=64)
    config = ModelConfig(**{**GPT2_SMALL, **small})
    return initialise(LanguageModel(config), torch.Generator().manual_seed(0)).to(bench.device)


def batch(bench: Bench, config: ModelConfig, rows: int):
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.vocab_size, (rows, config.context_length + 1), generator=draws).to(bench.device)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


LADDER = (  # each row keeps what the rows above it switched on
    ("naive attention, float32", {}),
    ("fused attention", {"fused_attention": True}),
    ("TF32 products", {"tf32": True}),
    ("bfloat16 autocast", {"bfloat16": True}),
    ("fused AdamW", {"fused_adamw": True}),
    ("torch.compile", {"compile": True}),
    ("the loss compiled, too", {"compile_loss": True}),
    ("twice the batch", {"double": True}),
)


def step_of(bench: Bench, switches: dict, rows: int):
    """(a training step, its model) with some switches on."""
    model = gpt2(bench)

    def loss_of(x, y):
        return cross_entropy(forward(x).float(), y)

    forward = torch.compile(model) if switches.get("compile") else model
    if switches.get("compile_loss"):
        forward, loss_of = model, torch.compile(loss_of)
    fused = {"fused": True} if switches.get("fused_adamw") else {"foreach": False}
    adamw = torch.optim.AdamW(model.parameters(), lr=3e-4, **fused)
    x, y = batch(bench, model.config, rows)
    precision = "bfloat16" if switches.get("bfloat16") else "float32"

    def step():
        with autocast(bench.device, precision):
            loss = loss_of(x, y)
        loss.backward()
        adamw.step()
        adamw.zero_grad(set_to_none=True)

    return step, model


def flops_per_token(config: ModelConfig) -> float:
    """Forward and backward: three times the forward pass, whose attention is counted whole."""
    return 3 * sum(flops_formula(config, config.context_length).values()) / config.context_length


def ladder(bench: Bench) -> dict:
    """One training step of GPT-2 small's size, one switch more in each row: tokens a second, share of the peak."""
    rows, switches = [], {}
    for name, switch in LADDER:
        switches = {**switches, **switch}
        batch_rows = bench.size(16, 2) * (2 if "double" in switches else 1)
        attend = layers.attention if switches.get("fused_attention") else layers.attention_plain
        row = {
            "row": name,
            "format": "bfloat16" if "bfloat16" in switches else "tf32" if "tf32" in switches else "float32",
        }
        try:
            with mock.patch.object(layers, "attention", attend), tf32(bool(switches.get("tf32"))):
                step, model = step_of(bench, switches, batch_rows)
                start = time.perf_counter()
                step()
                bench.wait()
                row["first_step"] = time.perf_counter() - start
                row["seconds"] = bench.seconds(step, 5)
                row["peak"] = bench.peak(step)
            config = model.config
            row["batch"] = batch_rows
            row["tokens_per_second"] = batch_rows * config.context_length / row["seconds"]
            row["tflops"] = row["tokens_per_second"] * flops_per_token(config) / 1e12
        except RuntimeError as error:
            row["refused"] = str(error).splitlines()[0][:200]
        rows.append(row)
        step = model = None
        torch._dynamo.reset()
    return {"flops_per_token": flops_per_token(config), "rows": rows}


def memory(bench: Bench) -> dict:
    """Parameters, gradients, optimizer and activations of a float32 step: by formula, and what the allocator says."""
    rows = bench.size(4, 2)
    config = gpt2(bench).config
    found: dict = {"batch": rows, "estimated": memory_formula(config, rows, config.context_length)}
    if not bench.gpu:
        return found
    torch.cuda.empty_cache()
    zero = torch.cuda.memory_allocated()
    model = gpt2(bench)
    parameters = torch.cuda.memory_allocated()
    x, y = batch(bench, config, rows)
    ready = torch.cuda.memory_allocated()
    loss = cross_entropy(model(x), y)
    forward = torch.cuda.memory_allocated()
    loss.backward()
    del loss
    gradients = torch.cuda.memory_allocated()
    adamw = torch.optim.AdamW(model.parameters(), fused=True)
    adamw.step()
    found["measured"] = {
        "parameters": parameters - zero,
        "gradients": gradients - ready,
        "optimizer": torch.cuda.memory_allocated() - gradients,
        "activations": forward - ready,
    }
    return found


def out_of_memory(bench: Bench) -> dict:
    """Too large a batch, on purpose, and the two ways out: gradient accumulation and activation checkpointing."""
    found = {}
    if bench.gpu:
        model = gpt2(bench)
        try:
            cross_entropy(
                model(batch(bench, model.config, 512)[0]).float(), batch(bench, model.config, 512)[1]
            ).backward()
            found["refused"] = None
        except torch.cuda.OutOfMemoryError as error:
            found["refused"] = str(error).splitlines()[0][:300]
        del model
        torch.cuda.empty_cache()
    rows = bench.size(16, 4)
    for name, parts, checkpointed in (("plain", 1, False), ("accumulated", 4, False), ("checkpointed", 1, True)):
        model = gpt2(bench)
        if checkpointed:
            for block in model.blocks:
                block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
        x, y = batch(bench, model.config, rows)

        def gradients(model=model, x=x, y=y, parts=parts):
            for part_x, part_y in zip(x.chunk(parts), y.chunk(parts), strict=True):
                with autocast(bench.device, "bfloat16"):
                    loss = cross_entropy(model(part_x).float(), part_y) / parts
                loss.backward()
            model.zero_grad(set_to_none=True)

        found[name] = {"seconds": bench.seconds(gradients, 3), "peak": bench.peak(gradients)}
    return {"batch": rows, **found}


# 6. The profiler, and one kernel of our own


def profiled(bench: Bench) -> dict:
    """Where the time of a training step goes, of GPT-2 small's size and of the preset small: kernels by name."""
    from torch.profiler import ProfilerActivity, profile

    tokens = np.random.default_rng(0).integers(0, 80, 100_000)
    run = small_run(bench, TrainConfig(steps=10**6), tokens)
    steps = {
        "GPT-2 small": step_of(bench, {"bfloat16": True, "fused_adamw": True}, bench.size(16, 2))[0],
        "preset small": lambda: run.train_step(*run.next_batch()[0], lr=0.1),
    }
    found, kind = {}, "self_device_time_total" if bench.gpu else "self_cpu_time_total"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * bench.gpu
    for name, step in steps.items():
        wall = bench.seconds(step, 3)
        with profile(activities=activities) as trace:
            step()
            bench.wait()
        events = [e for e in trace.key_averages() if getattr(e, kind, 0) > 0]
        if bench.gpu:
            events = [e for e in events if e.device_type != torch.autograd.DeviceType.CPU and "#" not in e.key]
        busy = sum(getattr(e, kind) for e in events) / 1e6
        slowest = sorted(events, key=lambda e: -getattr(e, kind))[:8]
        kernels = [{"name": e.key[:80], "calls": e.count, "seconds": getattr(e, kind) / 1e6} for e in slowest]
        found[name] = {"wall": wall, "busy": busy, "kernels": sum(e.count for e in events), "slowest": kernels}
    return found


def relu_squared_kernels(bench: Bench) -> dict:
    """ReLU² over a large array: PyTorch's two kernels, one compiled, and one written in Triton; bytes a second."""
    x = torch.randn(bench.size(2**26, 2**12), device=bench.device)
    ways = {"two kernels": layers.relu_squared_plain}
    if bench.gpu:
        ways["torch.compile"] = torch.compile(layers.relu_squared_plain)
        ways["Triton"] = triton_relu_squared()
    wanted = layers.relu_squared_plain(x)
    found = {}
    for name, way in ways.items():
        took = bench.seconds(lambda way=way: way(x))
        same = torch.equal(way(x), wanted)
        found[name] = {"seconds": took, "bytes_per_second": 2 * 4 * x.numel() / took, "equal": same}
    return found


def triton_relu_squared():
    """max(x, 0)² in one kernel: each program reads one block of numbers and writes it back, squared."""
    from bench_gpu_triton import relu_squared

    return relu_squared


# The recipes side by side, and writing


@functools.lru_cache(1)
def story_tokens(bench: Bench):
    draws, world = np.random.default_rng(0), StoryWorld()
    text = "\n".join(world.sample(draws).text for _ in range(bench.size(8000, 60)))
    tokenizer = CharacterTokenizer(text)
    return tokenizer.encode(text), tokenizer.vocab_size


def train(bench: Bench, name: str, tokens, vocab_size: int, **changes) -> dict:
    """One run: its loss on held-out text, its seconds of training, and the pace of its later steps."""
    model_config, config = preset(name, vocab_size, **changes)
    train_tokens, validation = split_tokens(tokens, model_config.context_length)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(0)).to(bench.device)
    source = causal_batches(train_tokens, config.batch_size, model_config.context_length)
    run, looks = Trainer(model, source, next_token_loss, config), []
    for look in run:
        looks.append((look.step, look.seconds))
    loss = evaluate(model, validation[:100_000])
    warm = [(step, seconds) for step, seconds in looks if step >= run.step // 2]
    pace = (warm[-1][0] - warm[0][0]) / max(1e-9, warm[-1][1] - warm[0][1]) if len(warm) > 1 else None
    per_step = config.batch_size * model_config.context_length
    found = {"steps": run.step, "loss": loss, "seconds": run.seconds, "steps_per_second": pace}
    return {**found, "tokens_per_second": pace and pace * per_step, "parameters": transformer.count_parameters(model)}


def presets(bench: Bench) -> dict:
    """The presets with each precision, and compiled: steps a second once warm, and the loss after as many steps."""
    tokens, vocab_size = story_tokens(bench)
    steps, found = bench.size(200, 4), {}
    for name in ("small", "medium", "large"):
        for kind, changes in (
            ("float32", {"precision": "float32"}),
            ("bfloat16", {"precision": "bfloat16"}),
            ("float32, compiled", {"precision": "float32", "compile": True}),
        ):
            if bench.gpu or not changes.get("compile"):
                found[f"{name}, {kind}"] = train(bench, name, tokens, vocab_size, steps=steps, **changes)
    return found


def precisions(bench: Bench) -> dict:
    """Both recipes at nanoGPT's GPU size in 32 and in 16 bits, and compiled: steps a second once warm."""
    tokens, vocab_size = story_tokens(bench)
    sizes = {**PLAIN_GPU, "batch_size": 64} if bench.gpu else dict(d_model=32, n_layers=2, n_heads=2, batch_size=4)
    found = {}
    for name, more in (("plain", {}), ("large", {"ngrams": 1})):
        for precision in ("float32", "bfloat16"):
            for compiled in (False, True) if bench.gpu else (False,):
                changes = dict(**sizes, **more, steps=bench.size(120, 3), precision=precision, compile=compiled)
                row = f"{name}, {precision}{', compiled' * compiled}"
                found[row] = train(bench, name, tokens, vocab_size, **changes)
    return found


def race(bench: Bench) -> dict:
    """A plain GPT of nanoGPT's GPU size, and the course's recipe at the same size with fewer and fewer steps."""
    tokens, vocab_size = story_tokens(bench)
    sizes = PLAIN_GPU if bench.gpu else dict(d_model=32, n_layers=2, n_heads=2, context_length=32)
    common = {**sizes, "batch_size": bench.size(64, 4)}
    found: dict = {"plain": train(bench, "plain", tokens, vocab_size, steps=bench.size(2000, 6), **common)}
    for steps in bench.size((200, 400, 700), (3,)):
        changes = dict(steps=steps, ngrams=1, muon_lr=0.015, **common)
        found[f"recipe, {steps} steps"] = train(bench, "large", tokens, vocab_size, **changes)
    return found


def waits_for(bench: Bench, work) -> int | None:
    """How often the host waits for the card while it does something."""
    if not bench.gpu:
        return None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        work()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in said)


def writing(bench: Bench) -> dict:
    """Tokens a second of one text by a model of GPT-2 small's size.

    captured: as the library does it on CUDA, one launch a token and one wait in 16. not captured: the same step, each
    kernel launched. cached: with a cache that grows, and a wait for each token. recomputed: without a cache.
    """
    model = gpt2(bench).eval()
    prompt, n = [1, 2, 3], bench.size(256, 8)

    def write(**how):
        return list(generation.generate(model, prompt, n, **how))

    def growing():
        cache, draw = KVCache(model), torch.Generator().manual_seed(0)
        unread = torch.tensor([prompt], device=bench.device)
        for _ in range(n):
            drawn = generation.sample_next(generation.next_logits(model, unread, cache), 0.8, 0, draw)
            unread = torch.tensor([drawn.tolist()], device=bench.device)

    found = {"captured": n / bench.seconds(write, 3), "waits_per_token": (waits_for(bench, write) or 0) / n}
    found["captured, temperature 0"] = n / bench.seconds(lambda: write(temperature=0), 3)
    with mock.patch.object(generation, "Captured", lambda step: step):
        found["not captured"] = n / bench.seconds(write, 3)
    found["cached"] = n / bench.seconds(growing, 3)

    @torch.no_grad()
    def recomputed():
        tokens = torch.tensor([prompt], device=bench.device)
        for _ in range(n):
            tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)

    return {"tokens": n, **found, "recomputed": n / bench.seconds(recomputed, 3)}


PARTS = {  # the seconds that each takes on an H100, about; together about seven minutes
    card: 1, launches: 2, small_and_large: 1, overtaking: 4, synchronising: 17, hidden_syncs: 4, products: 3, errors: 2,
    underflow: 3, attention: 12, recurrence: 10, ladder: 75, memory: 4, out_of_memory: 15, profiled: 10,
    relu_squared_kernels: 4, writing: 25, race: 85, precisions: 68, presets: 82,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the file of results (default for a GPU: data/gpu.json)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds; a part that won't fit is not begun")
    parser.add_argument("--only", nargs="+", help="some parts by name; the others keep what the file has of them")
    options = parser.parse_args()
    if options.device == "cpu" and not options.out:
        parser.error("a CPU's numbers don't belong into data/gpu.json: name another file with --out")
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("no CUDA card was found: run this where there is one, or try it with --device cpu --out FILE")
    bench, start, out = Bench(options.device), time.monotonic(), pathlib.Path(options.out or ROOT / "data/gpu.json")
    results = json.loads(out.read_text(encoding="utf-8")) if options.only and out.exists() else {}
    failed, took = 0, results.pop("seconds", {})
    for part, expected in PARTS.items():
        name = part.__name__
        if options.only and name not in options.only:
            continue
        began = time.monotonic()
        if began - start + expected > options.budget:
            results[name] = {"not_reached": True}
        else:
            try:
                results[name] = part(bench)
            except Exception:
                failed += 1
                results[name] = {"error": traceback.format_exc()[-1500:]}
            took[name] = round(time.monotonic() - began, 1)
            if bench.gpu:
                torch.cuda.empty_cache()
        out.write_text(json.dumps(results | {"seconds": took}, indent=1) + "\n", encoding="utf-8")
        said = json.dumps(results[name])
        print(
            f"{time.monotonic() - start:6.1f} s  {name} ({time.monotonic() - began:.1f} s)  {said[-260:]}", flush=True
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
