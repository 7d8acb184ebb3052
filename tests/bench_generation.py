"""The pace of writing with a KV cache against reading all tokens again: `python tests/bench_generation.py`.

4 layers, width 128, context 512, random weights; the time of one more token when there are so many, both ways in turn,
eight tokens each, since who writes goes on writing; medians. Ratios come from one run on one machine, so they can be
compared where seconds cannot. The plain way computes the logits of the last token alone, as the cached one does.
Target: 7 times as fast at 256 tokens on 2 cores.
"""

import argparse
import statistics
import sys
import time

import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.generation import next_logits
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.cache import KVCache
from bigmodel_lib.model.transformer import LanguageModel, initialise

SIZES = dict(vocab_size=256, context_length=512, d_model=128, n_layers=4, n_heads=4, d_ff=512, init="gpt2")
TARGET, STRETCH = 7.0, 8


@torch.inference_mode()
def plain(model, tokens):
    """The last logits, everything computed again."""
    return model.states(tokens)[:, -1] @ model.w_out


def both(model, tokens, n: int, rounds: int):
    """(median seconds a token with the cache, without) for the STRETCH tokens up to place n, both in turn."""
    took, places = ([], []), range(n - STRETCH, n)
    cache = KVCache(model)
    next_logits(model, tokens[:, : n - STRETCH], cache)
    last = dict(cache.last)
    for _ in range(rounds):
        cache.position, cache.last = n - STRETCH, dict(last)  # the rings are written over
        start = time.perf_counter()
        for place in places:
            next_logits(model, tokens[:, place : place + 1], cache)
        middle = time.perf_counter()
        for place in places:
            plain(model, tokens[:, : place + 1])
        took[0].append((middle - start) / STRETCH)
        took[1].append((time.perf_counter() - middle) / STRETCH)
    return [statistics.median(times) for times in took]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="pairs of stretches at each length")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = initialise(LanguageModel(ModelConfig(**SIZES)), torch.Generator().manual_seed(0)).eval()
    tokens = torch.randint(256, (1, 512), generator=torch.Generator().manual_seed(0))
    both(model, tokens, 64, 5)  # the first steps of a process are slow
    print(f"{hardware()}, {options.threads} threads; {SIZES}\n")
    print(f"{'tokens':>6} {'with, ms':>9} {'without, ms':>12} {'ratio':>6}")
    ratios = {}
    for n in (64, 128, 256, 511):
        fast, slow = both(model, tokens, n, options.rounds)
        ratios[n] = slow / fast
        print(f"{n:>6} {1e3 * fast:>9.2f} {1e3 * slow:>12.2f} {ratios[n]:>6.1f}", flush=True)
    verdict = "reached" if ratios[256] >= TARGET else "MISSED"
    print(f"\nat 256 tokens {ratios[256]:.1f} times as fast; target {TARGET}: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
