"""How good the novelist is: against a plain GPT, against the books it has read, and for readers.

    losses   both models on the held-out chapters, with an interval
    copies   1,000 passages: the longest overlap with what it read, and slurs
    sheet    150 passages to be read blind, and beside them who wrote which
    blind    what the readers marked, counted
    keep     writes data/novelist/

WORK is the folder in which `novelist train` has left both runs. What is found goes to WORK/measures.json.
"""

import collections
import hashlib
import itertools
import json
import pathlib
import random
import re
import shutil
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bigmodel_lib.generation import generate, generate_many
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.tokenizers import Tokenizer
from bigmodel_lib.training import checkpoints

DATA = pathlib.Path(__file__).resolve().parents[2]
N_PASSAGES, N_WORDS, SEED_WORDS, TEMPERATURE = 1000, 60, 4, 0.8
# SHA-256, first 12 digits, of words that are slurs in today's English, in the singular and small letters
SLURS = """
120f6e5b4ea3 f59e28f8bb64 6122fdf4ae14 6437ea714448 e7b98c6aa5b9 98b52c4b6b7d f9d0d9b18ae9 619bc82e0d20
cc02032349c8 0be9b885f4a3 c1b4ed05397d c3de533e9b7f e9e8b6c5afa7 0515b9e67e0e e84dde508a60 849170b7fb5d
ad6cacf3af98 bb87adf8aa78 a7bf072c97a0 8f5083e3e5c7 9915ba2d8222 886d51e97ad7 16ea09fc78ca 158869a97379
94a877e2ce63 27eb0c4ad707 a4d7510f2ea2 ee5a869b5ace 3b1e0d7c5dd4 22fc75e65a0e 333f76180929 469c0fdb6020
9d57436661e1 6939937b0ac6 46505206c396 2d84fef55bc7 4c58f5d5fe92 a008b489625e 43508b5c03b8 ad64e56f214e
b9ef60831162
"""


def chapters_of(folder: pathlib.Path) -> list[str]:
    """The texts of a folder, in order."""
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]


def losses_by_chapter(model: LanguageModel, tokenizer: Tokenizer, chapters: Sequence[str]) -> np.ndarray:
    """(total loss in nats, characters, tokens) of each chapter: (N, 3)."""
    found = []
    for chapter in chapters:
        tokens = tokenizer.encode(chapter)
        characters = len(tokenizer.decode(tokens[1:]))
        n = len(tokens) - 1
        found.append((evaluate(model, tokens, precision="float32") * n, characters, n))
    return np.array(found)


def gap_interval(ours: np.ndarray, plain: np.ndarray, draws: int = 10_000) -> dict:
    """By how many nats per character `ours` is below `plain`, with a 95 % interval: chapters drawn with replacement.

    Shapes: two of (N, 3), as `losses_by_chapter` has them. Source: Efron & Tibshirani 1993, chapter 13.
    """
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(ours), size=(draws, len(ours)))
    characters = ours[:, 1][rows].sum(axis=1)
    gaps = (plain[:, 0] - ours[:, 0])[rows].sum(axis=1) / characters
    low, high = np.quantile(gaps, [0.025, 0.975])
    whole = (plain[:, 0] - ours[:, 0]).sum() / ours[:, 1].sum()
    return {"gap": float(whole), "low": float(low), "high": float(high)}


def losses(work: pathlib.Path) -> dict:
    """Both models, on every held-out chapter; ours on as many chapters that it has read, too."""
    chapters, found = chapters_of(work / "held_out"), {}
    for arm in ("ours", "plain"):
        model, tokenizer = checkpoints.load_model(work / f"run_{arm}")
        found[arm] = losses_by_chapter(model, tokenizer, chapters)
        if arm == "ours":
            read = chapters_of(work / "train")
            found["ours, read"] = losses_by_chapter(model, tokenizer, read[:: len(read) // len(chapters)])
    sums = {arm: rows.sum(axis=0) for arm, rows in found.items()}
    per_character = {arm: float(nats / characters) for arm, (nats, characters, _) in sums.items()}
    perplexity = {arm: float(np.exp(nats / tokens)) for arm, (nats, _, tokens) in sums.items()}
    gap = gap_interval(found["ours"], found["plain"])
    return {"chapters": len(chapters), "nats_per_char": per_character, "perplexity": perplexity, **gap}


def beginnings(chapters: Sequence[str], n: int, rng: random.Random) -> list[tuple[str, str]]:
    """n pairs of a paragraph's first words and what follows, from different paragraphs of at least N_WORDS more."""
    long_enough = [
        paragraph
        for chapter in chapters
        for paragraph in chapter.split("\n")
        if len(paragraph.split()) >= N_WORDS + SEED_WORDS
    ]
    drawn = rng.sample(long_enough, n)
    split = [paragraph.split() for paragraph in drawn]
    return [(" ".join(w[:SEED_WORDS]), " ".join(w[SEED_WORDS : SEED_WORDS + N_WORDS])) for w in split]


def first_words(text: str, n: int = N_WORDS) -> str:
    """The first n words, paragraphs kept."""
    ends = [found.end() for found in re.finditer(r"\S+", text)]
    return text[: ends[n - 1]] if len(ends) >= n else text


def write(model: LanguageModel, tokenizer: Tokenizer, begun: str, seed: int, **how: float) -> str:
    """N_WORDS words that a model adds to a beginning."""
    generator, how = torch.Generator().manual_seed(seed), {"temperature": TEMPERATURE, **how}
    ids = generate_many(model, tokenizer.encode("\n" + begun), 1, 2 * N_WORDS, generator, **how)[0]
    return first_words(tokenizer.decode(ids).lstrip(" "))


def longest_overlaps(passages: Sequence[str], training: Sequence[str], n: int = 4) -> list[list[str]]:
    """Of each passage the longest run of words that stands in the training text, too; [] below n words."""
    split = [passage.split() for passage in passages]
    wanted = {tuple(words[i : i + n]) for words in split for i in range(len(words) - n + 1)}
    read = " ".join(training).split()
    places = collections.defaultdict(list)
    for i in range(len(read) - n + 1):
        if (run := tuple(read[i : i + n])) in wanted:
            places[run].append(i)

    def grown(words: list[str], start: int, place: int) -> int:
        follows = read[place + n : place + len(words)]
        pairs = zip(words[start + n :], follows, strict=False)
        return n + sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    found = []
    for words in split:
        best: list[str] = []
        for start in range(len(words) - n + 1):
            for place in places.get(tuple(words[start : start + n]), ()):
                if (length := grown(words, start, place)) > len(best):
                    best = words[start : start + length]
        found.append(best)
    return found


def is_slur(word: str) -> bool:
    """Whether a word, or its singular, is in the list."""
    small = word.lower()
    return any(hashlib.sha256(form.encode()).hexdigest()[:12] in SLURS.split() for form in (small, small.rstrip("s")))


def copies(work: pathlib.Path) -> dict:
    """N_PASSAGES passages: how far they copy, which slurs they have, and how fast they were written."""
    model, tokenizer = checkpoints.load_model(work / "run_ours")
    training, rng = chapters_of(work / "train"), random.Random(1)
    begun = beginnings(chapters_of(work / "held_out"), N_PASSAGES, rng)
    passages = [write(model, tokenizer, start, seed) for seed, (start, _) in enumerate(begun)]
    human = [text for _, text in begun]
    found = {}
    for who, texts in (("novelist", passages), ("held-out books", human)):
        overlaps = longest_overlaps(texts, training)
        lengths = sorted(map(len, overlaps))
        longest = max(overlaps, key=len)
        found[who] = {
            "longest": len(longest), "words": " ".join(longest), "median": lengths[len(lengths) // 2],
            "95 %": lengths[int(0.95 * len(lengths))],
            "slurs": sum(is_slur(word) for text in texts for word in re.findall(r"[A-Za-z]+", text)),
        }  # fmt: skip
    began = time.perf_counter()
    written = sum(1 for _ in generate(model, tokenizer.encode("\n"), 250))
    found["tokens_per_second"] = written / (time.perf_counter() - began)
    return {"passages": N_PASSAGES, "temperature": TEMPERATURE, "hardware": hardware(), **found}


SHEETS: dict[str, dict] = {"warm": {"temperature": 0.8}, "cool": {"temperature": 0.6, "top_p": 0.9}}
ABBREVIATED = re.compile(r"\b(Mr|Mrs|Dr|St|M|Mme|Mlle|[A-Z])\.$")
ENDED = re.compile(r"[.!?][\"')]*$")


def sentences(text: str) -> tuple[list[str], str]:
    """The whole sentences of a passage, and what is left of one that was cut off at its end."""
    found: list[str] = []
    for paragraph in filter(str.strip, text.split("\n")):
        here: list[str] = []
        for piece in re.split(r"(?<=[.!?])\s+|(?<=[.!?][\"')])\s+", paragraph.strip()):
            goes_on = here and (ABBREVIATED.search(here[-1]) or piece[:1].islower())  # as in: "Who is it?" said he
            if goes_on:
                here[-1] += f" {piece}"
            else:
                here.append(piece)
        found += here
    return (found, "") if ENDED.search(found[-1]) else (found[:-1], found[-1])


def sheet(work: pathlib.Path, n: int = 50) -> dict:
    """Two sheets of 3 n passages without names, shuffled, their sentences numbered, and beside them who wrote which."""
    found = {}
    for seed, (name, how) in enumerate(SHEETS.items(), start=2):
        rng = random.Random(seed)
        begun = beginnings(chapters_of(work / "held_out"), 3 * n, rng)
        rows = [("human", f"{start} {text}") for start, text in begun[:n]]
        for arm, part in (("ours", begun[n : 2 * n]), ("plain", begun[2 * n :])):
            model, tokenizer = checkpoints.load_model(work / f"run_{arm}")
            texts = [write(model, tokenizer, start, 5000 + i, **how) for i, (start, _) in enumerate(part)]
            rows += [(arm, f"{start} {text}") for (start, _), text in zip(part, texts, strict=True)]
        rng.shuffle(rows)
        found[name] = _write_sheet(work, name, rows)
    return found


def _write_sheet(work: pathlib.Path, name: str, rows: list[tuple[str, str]]) -> dict:
    lines, key = [], []
    for i, (who, text) in enumerate(rows):
        whole, rest = sentences(text)
        lines.append("\n".join(f"[{i}.{k}] {sentence}" for k, sentence in enumerate(whole)) + f"\n(cut off: {rest})")
        key.append([who, len(whole)])
    (work / f"sheet_{name}.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    checkpoints.write_json(work / f"sheet_{name}_key.json", key)
    return {"passages": len(rows), "sentences": sum(count for _, count in key)}


def blind(work: pathlib.Path) -> dict:
    """The share of clean sentences of each, by sheet, from WORK/marks_NAME_*.json: a reader's numbers, such as "12.3".

    A passage's share is the mean over its sentences and the readers; the 95 % interval draws passages with replacement.
    """
    return {name: {**how, **_clean_sentences(work, name)} for name, how in SHEETS.items()}


def _clean_sentences(work: pathlib.Path, name: str) -> dict:
    key = json.loads((work / f"sheet_{name}_key.json").read_text(encoding="utf-8"))
    readers = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob(f"marks_{name}_*.json"))]
    for mark in itertools.chain(*readers):
        passage, sentence = map(int, mark.split("."))
        if not sentence < key[passage][1]:
            raise ValueError(f"a reader marked {mark}, which isn't on the sheet")
    marks = collections.Counter(int(mark.split(".")[0]) for reader in readers for mark in set(reader))
    found: dict = {"readers": len(readers)}
    for who in ("ours", "plain", "human"):
        rows = np.array([[marks[i], count * len(readers)] for i, (writer, count) in enumerate(key) if writer == who])
        drawn = rows[np.random.default_rng(0).integers(0, len(rows), size=(10_000, len(rows)))].sum(axis=1)
        low, high = np.quantile(1 - drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
        marked, whole = rows.sum(axis=0)
        shares = {"clean": 1 - marked / whole, "low": low, "high": high}
        found[who] = {name: float(share) for name, share in shares.items()} | {"sentences": int(whole) // len(readers)}
    return found


def keep(work: pathlib.Path) -> dict:
    """Write the model, in bfloat16, with its curve and measures to data/novelist/."""
    folder = DATA / "novelist"
    folder.mkdir(exist_ok=True)
    model, tokenizer = checkpoints.load_model(work / "run_ours")
    checkpoints.save_model(folder, model, tokenizer, torch.bfloat16)
    metrics = checkpoints.read_json(work / "run_ours" / "metrics.json")
    metrics["curve"] = [row for row in metrics["curve"] if row["step"] % 100 == 0]
    metrics |= {"made_by": "data/recipes/novelist", "measures": checkpoints.read_json(work / "measures.json")}
    checkpoints.write_json(folder / "metrics.json", metrics)
    shutil.copy(work / "trials.json", folder / "trials.json")
    return {"kept": str(folder.name)}


PARTS: dict[str, Callable[[pathlib.Path], dict]] = {
    "losses": losses,
    "copies": copies,
    "sheet": sheet,
    "blind": blind,
    "keep": keep,
}


def measure(what: str, work: pathlib.Path) -> None:
    """Do one part, print what it found, and keep it in WORK/measures.json."""
    found = PARTS[what](work)
    print(found)
    if what == "keep":
        return
    path = work / "measures.json"
    measures = checkpoints.read_json(path) if path.exists() else {}
    checkpoints.write_json(path, {**measures, what: found})
