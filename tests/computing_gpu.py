"""A GPU that computes, on the CPU's memory, and refuses operands from elsewhere; and the library called on it.

`python tests/computing_gpu.py` calls each function twice, on the CPU and on the fake GPU, and prints as JSON, for each
function, "same" or what went wrong; the same of a few functions under each of FAULTS; and at which operations the host
waited for the GPU while a model was trained, or wrote. `python tests/computing_gpu.py cuda` calls all functions on a
real one.
"""

import contextlib
import copy
import functools
import json
import os
import sys
import tempfile
from unittest import mock

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from bigmodel_lib import generation
from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.finetuning import classification, dpo
from bigmodel_lib.interpretability import interventions, maps
from bigmodel_lib.measuring import evaluation
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.recipes import MODES
from bigmodel_lib.text.batches import causal_batches, masked_batches
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, next_token_loss

NAME = "fakegpu"


class OnGpu(torch.Tensor):
    """A tensor that says it is on the fake GPU; its numbers are in `held`, on the CPU."""

    @staticmethod
    def __new__(cls, held):
        sizes = dict(strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype)
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), **sizes, device=f"{NAME}:0")

    def __init__(self, held):
        self.held = held.detach()

    def __repr__(self):
        return f"OnGpu({self.held})"

    def tolist(self):
        return self.cpu().tolist()

    def __getitem__(self, place):
        return super().__getitem__(torch.tensor(place) if isinstance(place, list) else place)

    @classmethod
    def __torch_dispatch__(cls, operation, types, given=(), named=None):
        return run(operation, given, named or {})


WAITS: list[str] = []  # the operations at which the host of a real GPU would have waited for it
ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "repeat_interleave.Tensor")
TAPE: list | None = None  # while a step is recorded, its operations with their operands and results
INDEXING = ("index.Tensor", "index_put_.default", "index_put.default", "_index_put_impl_.default")


def run(operation, given, named):
    """An operation as a GPU would run it: all tensors from there, but single numbers and places to index may come."""
    name = str(operation).removeprefix("aten.")
    tensors = [one for one in tree_leaves((given, named)) if isinstance(one, torch.Tensor)]
    target = named.get("device")
    moves = name in ("_to_copy.default", "copy_.default", "_local_scalar_dense.default")
    there = any(isinstance(one, OnGpu) for one in tensors)
    strangers = [one for one in tensors if there and not isinstance(one, OnGpu) and one.dim()]
    if strangers and not moves and name not in INDEXING:
        raise RuntimeError(f"{name} was given tensors on two devices, {NAME} and cpu")
    if target is not None and torch.device(target).type == NAME:
        named, there = {**named, "device": "cpu"}, True
    elif target is not None:
        there = False
    elif name == "copy_.default":
        there = isinstance(given[0], OnGpu)
    note_wait(name, given, named, there)
    held = tree_map(lambda one: one.held if isinstance(one, OnGpu) else one, (given, named))
    out = operation(*held[0], **held[1])
    if TAPE is not None and there:
        TAPE.append((operation, held, out))
    if not there:
        return out
    if name.split(".")[0].endswith("_"):  # it changes its first operand, and gives that back or nothing
        return given[0] if out is not None else None
    with torch.inference_mode(False):
        return tree_map(lambda one: OnGpu(one) if isinstance(one, torch.Tensor) else one, out)


def note_wait(name, given, named, there):
    """Keep the name of an operation that makes the host wait: one whose result it needs, or an unpinned copy."""
    source = next((one for one in given[::-1] if isinstance(one, torch.Tensor)), None)
    from_there = any(isinstance(one, OnGpu) for one in tree_leaves((given, named)))
    places = given[1] if name in INDEXING else []
    asks = name.startswith(ASKING) or any(place is not None and place.dtype == torch.bool for place in places)
    copies = name in ("_to_copy.default", "copy_.default") and isinstance(source, OnGpu) != there
    if (asks and from_there) or (copies and not named.get("non_blocking")):
        WAITS.append(name)
        if TAPE is not None:
            raise RuntimeError(f"{name} makes the host wait, while a step is captured")


class Recorded:
    """What `Captured` is on CUDA, here: its third call and later ones run again what the second one recorded.

    Each operation runs on the operands, and fills the result, that it had then, as in a CUDA graph.
    """

    def __init__(self, step):
        self.step, self.given, self.tape = step, None, None

    @torch.inference_mode()
    def __call__(self, x):
        if self.given is None:
            self.given = x.clone()
            return self.step(x)
        self.given.copy_(x)
        if self.tape is None:
            kept = [one.clone() for one in self.changed()]
            self.record()
            for one, before in zip(self.changed(), kept, strict=True):
                one.copy_(before)  # recording computes nothing
        for operation, (given, named), out in self.tape:
            for new, old in zip(tree_leaves(operation(*given, **named)), tree_leaves(out), strict=True):
                if isinstance(old, torch.Tensor) and new.data_ptr() != old.data_ptr():
                    old.copy_(new)
        return self.found

    def changed(self):
        """All that a cache which stands still keeps."""
        cache = self.step.keywords["cache"]
        return [*cache.keys, *cache.values, *cache.last.values(), cache.tokens, cache.position, cache.unseen]

    def record(self):
        global TAPE
        TAPE = []
        self.found = self.step(self.given)
        self.tape, TAPE = TAPE, None


class Backend(_DummyBackendModule):
    """What autocast asks of a device's module."""

    @staticmethod
    def get_amp_supported_dtype():
        return [torch.bfloat16]


class FakeGpu(TorchDispatchMode):
    """Inside, tensors can be made on the fake GPU."""

    def __torch_dispatch__(self, operation, types, given=(), named=None):
        return run(operation, given, named or {})


def put(model, device):
    """A copy of a model on a device."""
    model = copy.deepcopy(model)
    if device != NAME:
        return model.to(device)
    for module in model.modules():
        for parts, wrap in ((module._parameters, torch.nn.Parameter), (module._buffers, lambda one: one)):
            parts.update({name: wrap(OnGpu(one.detach())) for name, one in parts.items() if one is not None})
    return model


# The library, called


def random_model(vocab_size, **changes):
    sizes = dict(context_length=24, d_model=16, n_layers=2, n_heads=2, d_ff=24)
    model = LanguageModel(ModelConfig(vocab_size, **{**sizes, **changes}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model.eval()


def ids(device, *numbers):
    return torch.tensor(numbers, device=device)


def writing(device) -> dict:
    """{name: call}: what turns a model into text, or makes it prefer one."""
    model, other, by_byte, learned = (
        put(random_model(**sizes), device)
        for sizes in (dict(vocab_size=11), dict(vocab_size=11, d_ff=8), dict(vocab_size=256),
                      dict(vocab_size=11, positions="learned"))
    )  # fmt: skip
    runs_of_tokens = put(random_model(11, ngrams=3, n_kv_heads=1), device)
    prompt, pairs = [1, 2, 3], [([4, 5, 0], [6, 0]), ([7, 0], [8, 9, 0])] * 4
    chosen = [row for row, _ in pairs]

    def generator():
        return torch.Generator().manual_seed(0)

    def preferring():
        config = TrainConfig(steps=3, batch_size=4, optimizer="adamw", adamw_lr=0.01)
        loss_fn = dpo.preference_loss(model, prompt, pairs)
        trainer = Trainer(copy.deepcopy(model), dpo.pair_batches(prompt, pairs, 4), loss_fn, config)
        return [progress.loss for progress in trainer]

    return {
        "generate": lambda: list(generation.generate(model, prompt, 40, seed=3, top_p=0.9)),
        "generate, learned positions": lambda: list(generation.generate(learned, prompt, 40, seed=3)),
        "generate, n-grams": lambda: list(generation.generate(runs_of_tokens, prompt, 40, seed=3)),
        "generate, likeliest": lambda: list(generation.generate(runs_of_tokens, prompt, 40, temperature=0)),
        "generate_many, together": lambda: generation.generate_many(model, prompt, 3, 40, generator()),
        "generate_many": lambda: generation.generate_many(
            model, prompt, 6, 12, generator(), stop=0, min_tokens=2, top_k=5
        ),
        "write": lambda: generation.write(by_byte, ByteTokenizer(), "ab", 9, stop="x"),
        "log_probability": lambda: generation.log_probability(model, *generation.batch_of(prompt, chosen, device)),
        "log_probabilities": lambda: dpo.log_probabilities(model, prompt, chosen, 3),
        "preference_loss": preferring,
    }


def looking(device) -> dict:
    """{name: call}: what a model looked at, and what changes without it."""
    model, text, after = put(random_model(11), device), ids(device, 1, 5, 2, 6, 5, 2), ids(device, 5, 2, 6, 5, 2, 7)
    other = ids(device, 1, 5, 3, 6, 5, 2)
    weights = maps.record(model, text[None], "weights")[:, 0]
    two, where = torch.stack([text, after]), (ids(device, 3, 4), ids(device, 1, 2))
    one_head = [(0, 1)]
    return {
        "rollout": lambda: maps.rollout(weights),
        "gradient_norms": lambda: maps.gradient_norms(model, two, *where),
        "knockout_effects": lambda: interventions.knockout_effects(model, text, after),
        "knockout_effects, one head": lambda: interventions.knockout_effects(model, text, after, one_head),
        "ablate": lambda: interventions.ablate(model, text[None], 0, 1),
        "patch": lambda: interventions.patch(model, text[None], other[None], 0, 1),
        "record": lambda: maps.record(model, text[None], "activations"),
    }


def pointing_and_exploring(device) -> dict:
    """{name: call}: the explorer's maps, and what else draws what a model computes."""
    by_byte = put(random_model(256), device)

    def explored(method):
        from bigmodel_lib.viz.explorer import AttentionExplorer

        explorer = AttentionExplorer(by_byte, ByteTokenizer(), {"one": "a \u6211 b"}, method=method)
        return explorer.shown, explorer.selection["looks at"]

    def drawn():
        from bigmodel_lib.viz.attention import draw_attention

        return (
            draw_attention(maps.record(by_byte, ids(device, 1, 5, 2)[None], "weights")[0, 0, 0], "abc")
            .images[0]
            .get_array()
        )

    def written_together():
        from bigmodel_lib.viz.garden import Garden

        garden = Garden(by_byte, ByteTokenizer(), "ab")
        garden.draw(3)
        return [*garden.written[0]["ids"], garden.written[0]["log"], *garden.root["logs"]]

    methods = ("weights", "rollout", "gradient", "knockout")
    return {
        "draw_attention": drawn,
        "Garden": written_together,
        **{f"explorer, {method}": lambda method=method: explored(method) for method in methods},
    }


def finetuning_and_keeping(device) -> dict:
    """{name: call}: classifiers in each mode, and models on disk."""
    model, by_byte = put(random_model(11), device), put(random_model(256), device)
    rows, labels = [np.arange(i % 4, 4 + i % 3) for i in range(12)], np.arange(12) % 4 // 3

    def finetuned(mode):
        run = classification.classifier_run(model, rows, labels, 2, mode, steps=3)
        return [look.loss for look in run], evaluation.label_log_probs(run.model, rows)

    def kept():
        with tempfile.TemporaryDirectory() as folder:
            checkpoints.save_model(folder, by_byte, ByteTokenizer())
            return generation.write(checkpoints.load_model(folder)[0], ByteTokenizer(), "ab", 5)

    return {
        **{f"classifier, {mode}": lambda mode=mode: finetuned(mode) for mode in MODES},
        "save_model": kept,
    }


def keeping_and_moving(device) -> dict:
    """{name: call}: a run that goes on where it did not begin."""

    def moved(first, second):
        with tempfile.TemporaryDirectory() as folder:
            begun = a_run(put(random_model(20), first))
            losses = [next(iter(begun)).loss]
            begun.save(f"{folder}/c.safetensors")
            run = a_run(put(random_model(20, n_heads=1), second))
            run.load(*checkpoints.load_tensors(f"{folder}/c.safetensors"), "c")
            return losses + [progress.loss for progress in run]

    return {
        "a checkpoint that leaves the GPU": lambda: moved(device, "cpu"),
        "a checkpoint that comes to the GPU": lambda: moved("cpu", device),
    }


PARTS = (writing, looking, pointing_and_exploring, finetuning_and_keeping, keeping_and_moving)


# Where the host waits


def a_run(model, **changes):
    """A run of twenty steps on random tokens, or hidden ones, with Muon and clipping unless told otherwise."""
    config = TrainConfig(**{"steps": 20, "batch_size": 4, "clip": 0.5, "adamw_lr": 0.01, "eps": 1e-8, **changes})
    tokens, sizes = np.random.default_rng(0).integers(0, 19, 500), (4, model.config.context_length)
    source = causal_batches(tokens, *sizes) if model.config.causal else masked_batches(tokens, *sizes, 19)
    return Trainer(model, source, next_token_loss, config)


def runs(device) -> dict:
    """{name: a run}: one of each kind that the library trains."""
    rows, labels = [np.arange(i % 4, 4 + i % 3) for i in range(12)], np.arange(12) % 4 // 3
    model, pairs = put(random_model(20), device), [([4, 5, 0], [6, 0]), ([7, 0], [8, 9, 0])] * 4
    preferring = dpo.preference_loss(model, [1, 2, 3], pairs)
    config = TrainConfig(steps=20, batch_size=4, clip=0.1)
    return {
        "pretraining": a_run(put(random_model(20), device)),
        "pretraining, AdamW": a_run(put(random_model(20, positions="learned"), device), optimizer="adamw"),
        "pretraining, n-grams and dropout": a_run(put(random_model(20, ngrams=3, dropout=0.1), device)),
        "pretraining, masked": a_run(put(random_model(20, causal=False), device)),
        "preferences": Trainer(copy.deepcopy(model), dpo.pair_batches([1, 2, 3], pairs, 4), preferring, config),
        **{f"fine-tuning, {mode}": classification.classifier_run(model, rows, labels, 2, mode, steps=20, clip=0.5)
           for mode in MODES},
    }  # fmt: skip


def waits_of(call) -> list:
    """At which operations the host waits while it does something."""
    WAITS.clear()
    call()
    return list(WAITS)


def a_step(run):
    """All that happens between two reports."""
    tensors, share = run.next_batch()
    run.seed_dropout()
    return run.train_step(*tensors, lr=run.lr(run.fraction()), share=share, measure=True)


def with_item(model, x, y):
    loss = next_token_loss(model, x, y)
    return loss / loss.item()


def with_a_list(model, x, y):
    return next_token_loss(model, x, y) * torch.tensor([1.0], device=x.device)[0]


def with_a_choice(model, x, y):
    return model(x)[y >= 0].logsumexp(-1).mean()


def all_waits() -> dict:
    """{what is done: operations at which the host waits}, in a step of each kind of run, in broken ones, in writing."""
    found = {}
    with FakeGpu():
        for name, run in runs(NAME).items():
            a_step(run)
            found[name] = waits_of(lambda run=run: a_step(run))
        for loss_fn in (with_item, with_a_list, with_a_choice):
            run = a_run(put(random_model(20), NAME))
            run.loss_fn = loss_fn
            found[f"fault: {loss_fn.__name__}"] = waits_of(lambda run=run: a_step(run))
        model, learned = (put(random_model(11, **more), NAME) for more in ({}, {"positions": "learned"}))
        for name, writes, how in (
            ("temperature 0", model, dict(temperature=0)),
            ("top k and p", model, dict(top_k=5, top_p=0.9, stop=99)),
            ("learned positions", learned, {}),
        ):
            call = functools.partial(generation.generate, writes, [1, 2, 3], 160, **how)
            found[f"160 tokens, {name}"] = waits_of(lambda call=call: list(call()))
    return found


def plain(found):
    """Nested numbers, whatever holds them."""
    if isinstance(found, (torch.Tensor, np.ndarray)):
        return found.tolist()
    return [plain(one) for one in found] if isinstance(found, (list, tuple)) else found


def close(one, other, near) -> bool:
    if isinstance(one, list):
        same_length = isinstance(other, list) and len(one) == len(other)
        return same_length and all(close(*pair, near) for pair in zip(one, other, strict=True))
    return one == other or (isinstance(one, float) and (abs(one - other) <= near * (1 + abs(one)) or one != one))


def compared(part, device, only=()) -> dict:
    """{name: "same", or what went wrong} of a part's calls, or some of them, on another device."""
    found, near = {}, 1e-3 if device == NAME else 0.05  # a real one trains in bfloat16
    wanted = {}
    for name, call in part("cpu").items():
        try:
            if not only or name in only:
                wanted[name] = plain(call())
        except ModuleNotFoundError as error:
            if device == NAME:  # a real GPU may be on a machine without what notebooks need
                raise
            print(f"{name} was left out: {error}", file=sys.stderr)
    with FakeGpu() if device == NAME else contextlib.nullcontext():
        calls = part(device)
        for name in [name for name in wanted if name in calls]:
            try:
                found[name] = (
                    "same" if close(wanted[name], plain(calls[name]()), near) else "other numbers than on the CPU"
                )
            except Exception as error:
                found[name] = f"{type(error).__name__}: {str(error)[:300]}"
    return found


def on_the_cpu(*sizes, device=None, **more):
    return EYE(*sizes, **more)


def a_tenth_more_on_the_gpu(*sizes, device=None, **more):
    there = device is not None and torch.device(device).type == NAME
    return EYE(*sizes, device=device, **more) * (1.1 if there else 1.0)


EYE = torch.eye  # `rollout` uses it
FAULTS = {"eye on the cpu": on_the_cpu, "other numbers": a_tenth_more_on_the_gpu}
UNDER_FAULTS = ("rollout", "explorer, rollout", "generate")


def all_parts(device, only=()) -> dict:
    return {name: said for part in PARTS for name, said in compared(part, device, only).items()}


def main(device=NAME):
    """Print what came of all calls and, on the fake GPU, of some under each fault."""
    if device != NAME:
        print(json.dumps(all_parts(device), indent=1))
        return
    _setup_privateuseone_for_python_backend(NAME, Backend())
    whole = torch.tensor
    torch.tensor = lambda data, device=None, **more: whole(data, **more).to(device or "cpu")  # it asks no mode
    generation.Captured = Recorded
    found = {"no fault": all_parts(device)}
    for fault, eye in FAULTS.items():
        with mock.patch.object(torch, "eye", eye):
            found[fault] = all_parts(device, UNDER_FAULTS)
    found["waits"] = all_waits()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # all is said; at its end, PyTorch's own threads sometimes abort a process with such a device
