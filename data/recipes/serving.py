"""How many tokens a second one card writes, by the number of texts at once; writes data/serving.json.

    python data/recipes/serving.py --device cuda

A model of about a billion random parameters in bfloat16 (what they are doesn't change the time), with full caches of
random keys and values. One step writes one token for each text; it is captured and repeated, and the host waits once.
Beside it the prefill: whole texts read at once. `--mini` tries it in seconds with a tiny model.
"""

import argparse
import functools
import json
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.generation import next_logits
from bigmodel_lib.measuring.costs import hardware, wait_for
from bigmodel_lib.model.cache import KVCache
from bigmodel_lib.model.devices import Captured
from bigmodel_lib.model.transformer import LanguageModel, count_parameters

FILE = pathlib.Path(__file__).resolve().parents[1] / "serving.json"
SIZES = dict(vocab_size=32_000, context_length=1024, d_model=2048, n_layers=16, n_heads=16, d_ff=8192)
MINI = dict(vocab_size=100, context_length=32, d_model=32, n_layers=2, n_heads=2, d_ff=64)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def a_model(sizes: dict, device: str) -> LanguageModel:
    """GPT-2's architecture with rotated positions, random numbers, in bfloat16."""
    config = ModelConfig(**sizes, activation="gelu", qk_norm=False, token_shift=False)
    with torch.device(device):
        model = LanguageModel(config).to(torch.bfloat16).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.02)
    return model


def seconds(work: Callable[[], object], device: str, calls: int, repeats: int = 5) -> float:
    """The median over repeats of what one of `calls` calls takes, after a few that aren't measured."""
    found = []
    for _ in range(repeats + 1):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(calls):
            work()
        wait_for(device)
        found.append((time.perf_counter() - start) / calls)
    return statistics.median(found[1:])


@torch.inference_mode()
def decode(model: LanguageModel, n_texts: int, device: str, calls: int) -> float:
    """Seconds of one step that writes a token for each of n texts, all T slots of their caches full or read."""
    cache = KVCache(model, n_texts)
    for ring in (*cache.keys, *cache.values):
        ring.normal_()
    cache.position = model.config.context_length // 2
    cache.stand_still()  # from here on all slots are read
    step = Captured(functools.partial(next_logits, model, cache=cache))
    tokens = torch.zeros(n_texts, 1, dtype=torch.long, device=device)
    step(tokens)
    return seconds(lambda: step(tokens), device, calls)


@torch.inference_mode()
def prefill(model: LanguageModel, n_texts: int, device: str, calls: int) -> float:
    """Seconds in which n whole texts of T tokens are read, and the next token's logits found."""
    shape = (n_texts, model.config.context_length)
    tokens = torch.randint(model.config.vocab_size, shape, device=device)
    return seconds(lambda: next_logits(model, tokens), device, calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mini", action="store_true", help="a tiny model, to try it")
    parser.add_argument("--out", type=pathlib.Path, default=FILE)
    given = parser.parse_args()
    torch.manual_seed(0)
    model = a_model(MINI if given.mini else SIZES, given.device)
    c, calls = model.config, 3 if given.mini else 30
    rows: list[dict] = []
    for n in BATCHES[:4] if given.mini else BATCHES:
        try:
            rows.append({"phase": "decode", "texts": n, "seconds": decode(model, n, given.device, calls)})
            if n <= 32:
                rows.append({"phase": "prefill", "texts": n, "seconds": prefill(model, n, given.device, 3)})
        except torch.OutOfMemoryError:
            print(f"{n} texts do not fit")
            break
        print(rows[-1], flush=True)
    how = {"made_by": "data/recipes/serving.py", "device": hardware(given.device), "dtype": "bfloat16"}
    how |= {"parameters": count_parameters(model), "read_each_step": count_parameters(model) - c.vocab_size * c.d_model}
    how |= {"cache_bytes_a_token": 2 * c.n_layers * c.n_key_heads * c.d_head * 2, "context": c.context_length}
    how |= {"versions": {"python": platform.python_version(), "torch": torch.__version__}}
    given.out.write_text(json.dumps({"how": how, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
