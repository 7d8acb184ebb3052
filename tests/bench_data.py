"""The pace of data input, a part of `make bench`: merges, encoding and stories, as medians on this machine.

Each median stands beside that of the `tokenizers` package, compiled, on the same text in the same run.
"""

import platform
import statistics
import time

import numpy as np
import tokenizers as known

from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.text.sources import python_manual
from bigmodel_lib.text.tokenizers import WORD, BPETokenizer, train_bpe

TIMES = 5


def median(work) -> float:
    """Median seconds of TIMES calls."""
    seconds = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    text = (python_manual() * 2)[:500_000]
    merges = train_bpe(text, 1256)
    letters = " ".join("".join(chr(256 + byte) for byte in word.encode()) for word in WORD.findall(text))
    theirs = known.Tokenizer(known.models.BPE())
    theirs.pre_tokenizer = known.pre_tokenizers.WhitespaceSplit()

    def train_theirs():
        alphabet = [chr(256 + byte) for byte in range(256)]
        trainer = known.trainers.BpeTrainer(
            vocab_size=1256, min_frequency=2, initial_alphabet=alphabet, show_progress=False
        )
        theirs.train_from_iterator([letters], trainer)

    ours, rust = median(lambda: train_bpe(text, 1256)), median(train_theirs)
    print(f"data input on {platform.processor() or platform.machine()}, medians of {TIMES}")
    print(f"1000 merges on 500 KB: {ours:.2f} s (wanted: under 5); the compiled package {rust:.2f} s")
    size = len(text.encode()) / 1e6
    ours, rust = median(lambda: BPETokenizer(merges).encode(text)), median(lambda: theirs.encode(letters))
    print(f"encoding, cache empty: {size / ours:.1f} MB/s (wanted: 1); the compiled package {size / rust:.1f} MB/s")
    world, told = StoryWorld(), []
    seconds = median(lambda: told.append([world.sample(np.random.default_rng(len(told))) for _ in range(1000)]))
    words = statistics.mean(sum(len(story.tokens) for story in stories) for stories in told)
    print(f"stories: {words / seconds:,.0f} tokens a second (wanted: 100,000)")


if __name__ == "__main__":
    main()
