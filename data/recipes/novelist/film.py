"""The film of the novelist's training: what notebooks 00 and 06 show of each moment, data/novelist/film.json.

WORK is the folder in which `novelist train` has left a run and its moments. Nothing of the books is written: only
what the model says, which words it expects, where it looks, and its losses.
"""

import itertools
import pathlib
import re

import torch
from torch import Tensor

from bigmodel_lib.generation import generate_many
from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.sources import text_blocks, text_files
from bigmodel_lib.text.tokenizers import Tokenizer, token_labels
from bigmodel_lib.training import checkpoints

DATA = pathlib.Path(__file__).resolve().parents[2]
PROMPTS = ("Anna opened the door, and", '"I have never seen such a lamp," said', "It was late in the evening when")
GAZE = ("Anna dropped the lamp because she", '"Come in," said Anna. "I was')  # two sentences whose maps are kept
NEXT = ("Anna took the lamp in her", '"I am very glad," said')  # two beginnings whose next words are kept
N_NEXT, N_TOKENS, N_JUDGED = 8, 60, 24
TARGETS = 40_000  # tokens of the held-out text that each moment is measured on
SPEECH = re.compile(r'"[^"\n]*[a-z][^"\n]*"')  # opened and closed in one paragraph
SENTENCE = re.compile(r'(?:^|[\n"]|[.!?]"? )[A-Z][a-z]*(?: [a-z,;\'-]+){4,}[.!?]')  # five words up to a full stop
REAL = 0.9  # the share of words that are some, from which on it writes words
MOST = 0.8  # the share of quotations that are closed: marks strewn at random, two a paragraph, close 0.6


def place_of(tokens: list[str], word: str) -> int:
    """The token in which the last occurrence of a word ends."""
    end = "".join(tokens).rindex(word) + len(word)
    ends = itertools.accumulate(map(len, tokens))
    return next(i for i, so_far in enumerate(ends) if so_far >= end)


def sharpest_head(weights: Tensor, query: int, key: int) -> tuple[int, int]:
    """The layer and head that look most from one place at another, by the weight above the head's mean on that key.

    Shapes: weights (L, H, T, T).
    """
    share = weights[:, :, query, key]
    layer, head = divmod(int(share.argmax()), share.shape[1])
    return layer, head


def closed_quotes(text: str) -> tuple[int, int]:
    """How many quotations of a text are opened, and how many of those are closed in their paragraph."""
    opened = closed = 0
    for paragraph in text.split("\n")[:-1]:  # the last one may go on
        marks = paragraph.count('"')
        opened += (marks + 1) // 2
        closed += marks // 2
    return opened, closed


def real_words(text: str, known: set[str]) -> float:
    """The share of a text's words that stand in the training text."""
    found = re.findall(r"[A-Za-z]+", text)[1:-1]  # the first and the last may be cut
    return sum(word in known for word in found) / max(1, len(found))


def moment(model: LanguageModel, tokenizer: Tokenizer, heads: list, words: list, known: set[str]) -> dict:
    """What one frame shows."""

    def write(prompt: str, n: int, seed: int = 0) -> list[str]:
        generator = torch.Generator().manual_seed(seed)
        rows = generate_many(model, tokenizer.encode(prompt), n, N_TOKENS, generator, temperature=0.7)
        return [tokenizer.decode(row) for row in rows]

    maps = []
    for sentence, (layer, head) in zip(GAZE, heads, strict=True):
        weights = record(model, torch.from_numpy(tokenizer.encode(sentence)).long()[None], "weights")[layer, 0, head]
        maps.append([[round(w, 3) for w in row[: i + 1]] for i, row in enumerate(weights.tolist())])
    bars = []
    for prompt, ids in zip(NEXT, words, strict=True):
        with torch.no_grad():
            chances = model(torch.from_numpy(tokenizer.encode(prompt)).long()[None])[0, -1].softmax(dim=-1)
        bars.append([round(p, 4) for p in chances[ids].tolist()])
    judged = write("\n", N_JUDGED)
    opened, closed = map(sum, zip(*map(closed_quotes, judged), strict=True))
    shares = [real_words(text, known) for text in judged]
    return {
        "samples": [write(prompt, 1, seed)[0] for seed, prompt in enumerate(PROMPTS)],
        "maps": maps,
        "next": bars,
        "real_words": round(sum(shares) / len(shares), 3),
        "closed_quotes": round(closed / opened, 3) if opened else None,
    }


def bookmarks(frames: list[dict]) -> list[tuple[str, int, int]]:
    """The first frames in which samples hold words, a closed quotation and a sentence: (name, frame, prompt) of each.

    What never comes is left out.
    """
    kinds = {
        "first words": lambda frame, text: frame["real_words"] >= REAL,
        "first closed quotation mark": lambda frame, text: (frame["closed_quotes"] or 0) > MOST and SPEECH.search(text),
        "first sentence": lambda frame, text: frame["real_words"] >= REAL and SENTENCE.search(text),
    }
    found = []
    for name, shows in kinds.items():
        samples = ((i, j, frame, text) for i, frame in enumerate(frames) for j, text in enumerate(frame["samples"]))
        first = next(((name, i, j) for i, j, frame, text in samples if shows(frame, text)), None)
        found += [first] if first else []
    return found


def final_choices(model: LanguageModel, tokenizer: Tokenizer) -> tuple[list, list]:
    """(a head for each sentence of GAZE, the tokens whose chances are drawn for each of NEXT): the last model's."""
    heads, words = [], []
    for sentence, (query, key) in zip(GAZE, (("she", "Anna"), ("I", "Anna")), strict=True):
        ids = tokenizer.encode(sentence)
        places = (place_of(token_labels(tokenizer, ids), word) for word in (query, key))
        heads.append(sharpest_head(record(model, torch.from_numpy(ids).long()[None], "weights")[:, 0], *places))
    for prompt in NEXT:
        with torch.no_grad():
            words.append(model(torch.from_numpy(tokenizer.encode(prompt)).long()[None])[0, -1].topk(N_NEXT).indices)
    return heads, words


def film(work: pathlib.Path, arm: str = "ours", out: pathlib.Path = DATA / "novelist" / "film.json") -> dict:
    """All moments of a run, from its first weights to its last."""
    model, tokenizer = checkpoints.load_model(work / f"run_{arm}")
    metrics = checkpoints.read_json(work / f"run_{arm}" / "metrics.json")
    heads, words = final_choices(model, tokenizer)
    held_out = tokenizer.encode("".join(text_blocks(text_files(work / "held_out"))))[:TARGETS]
    per_token = len(held_out) / len(tokenizer.decode(held_out))
    known = set(re.findall(r"[A-Za-z]+", "".join(text_blocks(text_files(work / "train")))))
    frames = []
    paths = sorted((work / f"moments_{arm}").glob("*.safetensors"))
    last = {"step": metrics["steps"], "seconds": metrics["train_seconds"], "tokens": metrics["tokens"]}
    last["loss"] = metrics["curve"][-1]["loss"]
    for path in [*paths, None]:
        about = last
        shown = model
        if path is not None:
            weights, about = checkpoints.load_tensors(path)
            shown = LanguageModel(model.config)
            checkpoints.fill(shown, weights, path)
        if frames and frames[-1]["step"] == about["step"]:
            continue  # no checkpoint was written meanwhile
        loss = evaluate(shown.eval(), held_out, precision="float32")
        frame = {**about, "val_nats_per_char": round(loss * per_token, 4)}
        frame.update(moment(shown, tokenizer, heads, words, known))
        frames.append(frame)
        print(frame["step"], frame["val_nats_per_char"], frame["real_words"], frame["closed_quotes"], flush=True)
    labels = [token_labels(tokenizer, tokenizer.encode(sentence)) for sentence in GAZE]
    made = {
        "prompts": PROMPTS,
        "sentences": labels,
        "heads": heads,
        "next": [[prompt, token_labels(tokenizer, ids.numpy())] for prompt, ids in zip(NEXT, words, strict=True)],
        "bookmarks": bookmarks(frames),
        "frames": frames,
    }
    checkpoints.write_json(out, made)
    return made
