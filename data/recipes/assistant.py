"""Train the assistant of notebook 07: a storyteller on fresh stories, then the same on tasks, into data/assistant.

Other processes make up stories while it learns, and every reading of a story gives its people, rooms and things other
names: the world tells the renamed story exactly as often. `make data NAME=assistant`. One NVIDIA H200 and five cores
take eight minutes (`--device cuda`); two cores of a CPU take about five hours, for a model that has read less.
"""

import argparse
import collections
import concurrent.futures
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import platform
import re
import shutil
import sys
import time

import numpy as np
import torch
from torch.nn import functional

from bigmodel_lib.finetuning.lora import add_lora, count_trainable
from bigmodel_lib.generation import generate, generate_many
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.devices import choose_device, evaluating
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import finetuning_config, preset
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.judge import misfit, sentences_of
from bigmodel_lib.storyworld.story import Story, words_of
from bigmodel_lib.storyworld.tasks import ANSWER, CHINESE, QUESTION, SUMMARY, Task, task_batch, task_tokenizer, tasks_of
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, full_precision

DATA = pathlib.Path(__file__).resolve().parents[1]
FOLDER, ON_THE_WAY = DATA / "assistant", DATA.parent / "runs" / "assistant"  # the second: what a stopped run needs
SIZES = dict(d_model=96, n_layers=7, n_heads=4, d_ff=384, context_length=160, ngrams=1)
RATES = {"base": 0.016, "assistant": 0.012}  # Muon's and AdamW's peak
LENGTHS = {"story": 72, "question": 88, "summary": 88, "chinese": 136}  # tokens of a row, at most
TASKS = ("question", "summary", "chinese")
SHARES = {"story": 0.25, "question": 0.4, "summary": 0.15, "chinese": 0.2}  # of a batch
PLOTS, CHUNK, ASKED = 600_000, 500, 3  # stories at most, in one piece of work, questions kept of each
WAYS = {  # {name: (rank of LoRA or 0, whether the tables of words learn, share of stories in a batch)}
    "all weights": (0, True, 0.0),
    "all weights, stories mixed in": (0, True, 0.25),
    "LoRA": (8, True, 0.0),
    "LoRA, stories mixed in": (8, True, 0.25),
    "LoRA, tables frozen": (8, False, 0.0),
}
WAY_RATES = (0.0005, 0.0015, 0.005)  # AdamW's peak, in every way
WAY_STEPS, WAY_BATCH, LOOKS = 200, 24, (0, 10, 20, 40, 60, 100, 150, 200)
WAY_SHARES = {"question": 0.6, "summary": 0.4}  # of the rows that are no stories
TABLES = ("token_embedding", "w_out")
CHAT = """Once there was a house with a kitchen, a hall and an attic. Anna was in the kitchen. Ben was there too.
Anna had a lamp. Anna took the lamp to the attic. Ben went to the hall. Where is the lamp?"""  # notebook 07 opens so


@functools.cache
def world_and_tokenizer():
    """The world of all the course's story models, and its words in both languages."""
    world = StoryWorld(longest=40)
    return world, task_tokenizer(world)


def alike() -> list[list[str]]:
    """Names that every sentence treats alike in both languages: six girls, six boys, the rooms with "a", …"""
    groups: dict[str, list[str]] = {}
    for name in (*said.PEOPLE, *said.PLACES, *said.THINGS, *said.LOOKS):
        kind = next(i for i, all_of in enumerate((said.PEOPLE, said.PLACES, said.THINGS, said.LOOKS)) if name in all_of)
        forms = str([said.ENGLISH[name], said.CHINESE[name]])
        forms = re.sub(rf"\b{name}\b", "_", forms).replace(said.CHINESE[name][""], "_")
        groups.setdefault(f"{kind} {forms}", []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def renamings(tokenizer, n: int, rng) -> np.ndarray:
    """(n, V + 1): what each token becomes if the names of `alike` change places; the last column is padding, -1."""
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    tables = np.tile(np.array([*range(len(ids)), -1], dtype=np.int16), (n, 1))
    for names in alike():
        order = rng.permuted(np.tile(np.arange(len(names)), (n, 1)), axis=1)
        for words in (names, [said.CHINESE[name][""] for name in names]):
            here = np.array([ids[word] for word in words])
            tables[:, here] = here[order]
    return tables


def rows_of(kind: str, tasks: list[Task], ids: dict) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, how many are given): each task as one row, filled up with -1; what is too long is left out."""
    fitting = [task for task in tasks if len(task.given) + len(task.wanted) <= LENGTHS[kind]]
    rows = np.full((len(fitting), LENGTHS[kind]), -1, dtype=np.int16)
    for row, task in zip(rows, fitting, strict=True):
        row[: len(task.given) + len(task.wanted)] = [ids[word] for word in (*task.given, *task.wanted)]
    return rows, np.array([len(task.given) for task in fitting], dtype=np.int16)


def beginning(story: Story, rng) -> Story:
    """Its first sentences, at least those up to the first thing: a reader may ask before the story has ended."""
    first = next(i for i, facts in enumerate(story.facts) if any(key[0] == "thing" for key in facts))
    return Story(story.world, story.steps[: int(rng.integers(first + 1, len(story.steps)))])


def questions_of(story: Story, rng, n: int) -> list[Task]:
    """Some of its questions, at most n."""
    questions = story.questions()
    drawn = [questions[i] for i in rng.permutation(len(questions))[:n]]
    told = [START, *story.tokens, QUESTION]
    return [Task("question", [*told, *words_of(q.text), ANSWER], [*words_of(q.answer), END]) for q in drawn]


def chunk(number: int, seed: int = 10) -> dict:
    """{kind: rows} of CHUNK new stories: the story; and, of it or in a third of them of its beginning, the tasks."""
    world, tokenizer = world_and_tokenizer()
    rng, tasks = np.random.default_rng([seed, number]), {kind: [] for kind in LENGTHS}
    for _ in range(CHUNK):
        whole = world.sample(rng)
        story = beginning(whole, rng) if rng.random() < 1 / 3 else whole
        told = [START, *story.tokens]
        tasks["story"].append(Task("story", [START], [*whole.tokens, END]))
        tasks["summary"].append(Task("summary", [*told, SUMMARY], [*words_of(story.summary()[0]), END]))
        tasks["chinese"].append(Task("chinese", [*told, CHINESE], [*story.chinese_tokens, END]))
        tasks["question"] += questions_of(story, rng, ASKED)
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    return {kind: rows_of(kind, found, ids) for kind, found in tasks.items()}


class Stock:
    """Rows of tokens by kind; other processes add to it while a run draws from it."""

    def __init__(self, tokenizer, plots: int = PLOTS):
        room = {kind: plots * (ASKED if kind == "question" else 1) for kind in LENGTHS}
        self.rows = {kind: np.zeros((room[kind], length), np.int16) for kind, length in LENGTHS.items()}
        self.given = {kind: np.zeros(room[kind], np.int16) for kind in LENGTHS}
        self.count = dict.fromkeys(LENGTHS, 0)
        self.renamings = renamings(tokenizer, 5000, np.random.default_rng(6))
        self.open = True  # for more stories

    def fill(self, pool, pieces_at_once: int) -> None:
        """Let a pool of processes add to it until it is full or no longer open."""
        numbers = itertools.count()

        def go_on(done=None) -> None:
            if done is not None:
                self.add(done.result())
            if self.open and self.count["story"] < len(self.rows["story"]):
                pool.submit(chunk, next(numbers)).add_done_callback(go_on)

        for _ in range(pieces_at_once):
            go_on()

    def add(self, found: dict) -> None:
        for kind, (rows, given) in found.items():
            start = self.count[kind]
            kept = min(len(rows), len(self.rows[kind]) - start)
            self.rows[kind][start : start + kept] = rows[:kept]
            self.given[kind][start : start + kept] = given[:kept]
            self.count[kind] = start + kept

    def batches(self, shares: dict, batch_size: int):
        """A source of (x, y) in which each kind has its share of the rows; y is -1 where nothing is wanted."""
        sizes = {kind: round(share * batch_size) for kind, share in shares.items() if share}
        length = max(LENGTHS[kind] for kind in sizes)

        def batch(rng):
            rows, given = np.full((sum(sizes.values()), length), -1), []
            for kind, size in sizes.items():
                at, start = rng.integers(self.count[kind], size=size), sum(map(len, given))
                rows[start : start + size, : LENGTHS[kind]] = self.rows[kind][at]
                given.append(self.given[kind][at])
            rows = self.renamings[rng.integers(len(self.renamings), size=(len(rows), 1)), rows].astype(np.int64)
            prompt = np.arange(1, length) < np.concatenate(given)[:, None]
            return rows[:, :-1].clip(0), np.where(prompt, -1, rows[:, 1:])

        return batch


def row_loss(model, x, y):
    """(1/B) Σ_b (1/N_b) Σ_t -ln p(y_bt | x_b): each row counts alike, an answer of two words as much as a story."""
    each = functional.cross_entropy(
        full_precision(model(x)).flatten(0, 1), y.flatten(), ignore_index=-1, reduction="none"
    )
    return (each.view_as(y).sum(dim=1) / (y >= 0).sum(dim=1)).mean()


def can_step(run: Trainer) -> bool:
    """Whether a compiled step works here; its gradients are forgotten, and its time isn't the run's."""
    torch.compiler.reset()  # else what was compiled for other shapes is made to fit these, too, and is slower
    try:
        run.train_step(*run.next_batch()[0], lr=0.0)
    except Exception as error:  # compiling may end in any of many
        print(f"not compiled: {str(error)[:300]}", flush=True)
        return False
    finally:
        run.model.zero_grad(set_to_none=True)
    return True


def train(name: str, model, stock: Stock, shares: dict, options) -> Trainer:
    """A finished run of so many minutes, compiled where that can be done."""
    _, config = preset(
        "medium", model.config.vocab_size, minutes=getattr(options, name), batch_size=options.batch, seed=len(name),
        muon_lr=RATES[name], adamw_lr=RATES[name], momentum=0.95, warmup_steps=20,
    )  # fmt: skip
    source = stock.batches(shares, options.batch)
    for compiled in (options.compile, False):
        run = Trainer(model, source, row_loss, config.replace(compile=compiled))
        if not compiled or can_step(run):
            break
    for look in run:
        if look.step % 200 == 0:
            print(f"{name}: step {look.step}  loss {look.loss:.4f}  {look.seconds:.0f} s  {stock.count}", flush=True)
    return run


@torch.no_grad()
def said_by(model, tasks: list[Task], tokenizer, batch_size: int = 250) -> list[list[str]]:
    """The likeliest token at each place of what is wanted, given all wanted ones before it.

    That is what greedy decoding says, as long as it is right.
    """
    found = []
    for start in range(0, len(tasks), batch_size):
        x, y = task_batch(tasks[start : start + batch_size], tokenizer)
        with evaluating(model):
            best = model(torch.from_numpy(x).to(model.device)).argmax(dim=-1).cpu().numpy()
        found += [[tokenizer.vocabulary[i] for i in row[here]] for row, here in zip(best, y >= 0, strict=True)]
    return found


@torch.no_grad()
def story_loss(model, stories, tokenizer, batch_size: int = 250) -> float:
    """Nats per token of new stories."""
    tasks, cost, count = [Task("story", [START], [*story.tokens, END]) for story in stories], 0.0, 0
    for start in range(0, len(tasks), batch_size):
        x, y = (torch.from_numpy(a).to(model.device) for a in task_batch(tasks[start : start + batch_size], tokenizer))
        logits = full_precision(model(x)).flatten(0, 1)
        cost += float(functional.cross_entropy(logits, y.flatten(), ignore_index=-1, reduction="sum"))
        count += int((y >= 0).sum())
    return cost / count


def unseen(seed: int, n_stories: int) -> tuple[list, dict]:
    """(stories, {kind: tasks}) that no run reads: their numbers come from another seed."""
    world, _ = world_and_tokenizer()
    rng, stories, tasks = np.random.default_rng(seed), [], {kind: [] for kind in TASKS}
    for _ in range(n_stories):
        stories.append(world.sample(rng))
        for task in tasks_of(stories[-1], rng):
            if task.kind in tasks:
                tasks[task.kind].append(task)
    return stories, tasks


def exact(model, tasks: dict, tokenizer) -> dict:
    """{kind: share of tasks that it answers exactly}."""
    return {
        kind: sum(a == task.wanted for a, task in zip(said_by(model, ones, tokenizer), ones, strict=True)) / len(ones)
        for kind, ones in tasks.items()
    }


# Rules that ask no model


def last_named(tokens: list[str], kinds, beside: str = "") -> str | None:
    """The last word of some kinds, in sentences that name `beside` if there are any such."""
    near = [s for s in sentences_of(tokens) if beside in s and any(word in kinds for word in s if word != beside)]
    words = [word for sentence in near or sentences_of(tokens) for word in sentence if word in kinds and word != beside]
    return words[-1] if words else None


def answer_by_rule(told: list[str], question: list[str], beside: bool) -> str:
    """The last place, person or feeling that the story names; beside: in a sentence that names what is asked about."""
    about = next((w for w in reversed(question) if w in said.PEOPLE or w in said.THINGS), "") if beside else ""
    if question[0] == "Where":
        return f"in the {last_named(told, said.PLACES, about)}"
    if question[0] == "Why":
        return "because of the noise"
    return last_named(told, said.PEOPLE if question[0] == "Who" else said.FEELINGS, about) or "happy"


def summarise_by_rule(told: list[str]) -> str:
    """Where the first thing was when it was named first and last, in the sentences of a summary."""
    thing = next(word for word in told if word in said.THINGS)
    where = {**said.PLACES, **said.PEOPLE}
    named = [[w for w in s if w in where] for s in sentences_of(told) if thing in s]
    named = [words[-1] for words in named if words] or ["kitchen"]
    was = said.ENGLISH[thing]["was"]
    if named[0] == named[-1]:
        end = "at the start and at the end ."
        return (
            f"The {thing} {was} in the {named[0]} {end}"
            if named[0] in said.PLACES
            else f"{named[0]} had the {thing} {end}"
        )
    to = named[-1]
    return f"The {thing} came to be in the {to} ." if to in said.PLACES else f"{to} came to have the {thing} ."


class Translator:
    """Two ways to translate that are learned by counting: word by word, and from a phrasebook with gaps for names."""

    def __init__(self, stories):
        self.phrases: dict = {}
        together, alone = collections.Counter(), collections.Counter()
        for story in stories:
            for english, step in zip(story.sentences, story.steps, strict=True):
                chinese = step.construction.tell_chinese(step.filling, step.pronoun).split()
                for with_things in (False, True):
                    key, names = self.opened(english, with_things)
                    gaps = {said.CHINESE[name][""]: gap for gap, name in names.items()}
                    self.phrases.setdefault(key, [gaps.get(sign, sign) for sign in chinese])
                alone.update({*english, *chinese})
                together.update(itertools.product({*english}, {*chinese}))
        best: dict = {}
        for (word, sign), n in together.items():
            best[word] = max(best.get(word, (0.4, "")), (2 * n / (alone[word] + alone[sign]), sign))  # Dice
        self.words = {word: sign for word, (_, sign) in best.items()} | {n: f[""] for n, f in said.CHINESE.items()}

    @staticmethod
    def opened(sentence: list[str], with_things: bool) -> tuple[tuple, dict]:
        """(the sentence with numbered gaps where it has names, {gap: name}); a thing's measure word needs the thing."""
        kinds = {"person": said.PEOPLE, "place": said.PLACES, "look": said.LOOKS, "feeling": said.FEELINGS}
        kinds |= {"thing": said.THINGS} if with_things else {}
        kind_of = {name: kind for kind, names in kinds.items() for name in names}
        names: dict = {}
        for word in sentence:
            if word in kind_of and word not in names.values():
                names[f"<{kind_of[word]} {len(names)}>"] = word
        gaps = {name: gap for gap, name in names.items()}
        return tuple(gaps.get(word, word) for word in sentence), names

    def word_by_word(self, told: list[str]) -> list[str]:
        return [self.words[word] for word in told if self.words.get(word)]

    def by_phrases(self, told: list[str]) -> list[str]:
        """Each sentence as one like it was translated: one with the same thing, or else one with any."""
        found = []
        for sentence in sentences_of(told):
            keys = [self.opened(sentence, with_things) for with_things in (False, True)]
            key, names = next(((key, names) for key, names in keys if key in self.phrases), keys[0])
            found += [said.CHINESE[names[sign]][""] if sign in names else sign for sign in self.phrases.get(key, ())]
        return found


def rules(tasks: dict, n_stories: int) -> dict:
    """{kind: {rule: share of tasks that it answers exactly}}; the translators learn from so many other stories."""
    world, _ = world_and_tokenizer()
    rng = np.random.default_rng(5)
    translator = Translator([world.sample(rng) for _ in range(n_stories)])
    ways = {
        "question": {
            "the last place, person or feeling named": lambda t, q: words_of(answer_by_rule(t, q, False)),
            "the last one named beside it": lambda t, q: words_of(answer_by_rule(t, q, True)),
        },
        "summary": {"a template with the thing's first and last place": lambda t, q: words_of(summarise_by_rule(t))},
        "chinese": {
            "word by word": lambda t, q: translator.word_by_word(t),
            "sentence by sentence, from a phrasebook": lambda t, q: translator.by_phrases(t),
        },
    }
    return {
        kind: {
            name: float(np.mean([rule(*parts(task)) == task.wanted[:-1] for task in tasks[kind]]))
            for name, rule in named.items()
        }
        for kind, named in ways.items()
    }


def parts(task: Task) -> tuple[list[str], list[str]]:
    """(story, question) of a task, without marks."""
    at = next(i for i, word in enumerate(task.given) if word in (QUESTION, SUMMARY, CHINESE))
    return task.given[1:at], [word for word in task.given[at + 1 :] if word != ANSWER]


# Stories that it tells


def fault(text: list[str]) -> str:
    """ "" for a story that the world can tell, else what is wrong first: the judge's word, or "out of turn"."""
    world, _ = world_and_tokenizer()
    return "" if world.log_prob(text) > -np.inf else misfit(world, text) or "out of turn"


def goes_on(model, tokenizer, words: list[str]) -> dict:
    """What it says after some words, always the likeliest next."""
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}
    said = generate(model, [ids[word] for word in words], 60, temperature=0, stop=ids[END])
    return {"read": " ".join(words), "said": " ".join(tokenizer.vocabulary[i] for i in said)}


def told_truly(model, tokenizer, pool, temperature: float, n_stories: int) -> dict:
    """The share of its own stories that the world can tell, and what is wrong with the others first."""
    start, end = (int(tokenizer.encode(mark)[0]) for mark in (START, END))
    generator = torch.Generator().manual_seed(7)
    rows = generate_many(model, [start], n_stories, 100, generator, temperature=temperature, stop=end)
    texts = [[tokenizer.vocabulary[i] for i in row if i != end] for row in rows]
    faults = list(pool.map(fault, texts, chunksize=50))
    counts = {name: faults.count(name) for name in sorted({*faults}) if name}
    return {"temperature": temperature, "stories": n_stories, "true": faults.count("") / n_stories, "faults": counts}


def measure(model, tokenizer, pool, with_tasks: bool, n: int) -> dict:
    """Loss beside the floor, true stories at two temperatures and, of an assistant, its tasks with its mistakes."""
    stories, tasks = unseen(3, n)
    counted = sum(len(story.tokens) + 1 for story in stories)
    found = {"loss": story_loss(model, stories, tokenizer), "floor": -sum(s.log_prob for s in stories) / counted}
    found["told"] = [told_truly(model, tokenizer, pool, t, 2 * n) for t in (0.7, 1.0)]
    found["goes_on"] = goes_on(model, tokenizer, [START, *words_of(CHAT)])
    if not with_tasks:
        return found
    found["exact"], found["mistakes"], by_kind = {}, [], {}
    for kind, ones in tasks.items():
        answers = said_by(model, ones, tokenizer)
        right = [answer == task.wanted for answer, task in zip(answers, ones, strict=True)]
        found["exact"][kind] = sum(right) / len(right)
        wrong = [(task, answer) for task, answer, hit in zip(ones, answers, right, strict=True) if not hit]
        found["mistakes"] += [
            {"kind": kind, "given": " ".join(task.given), "wanted": " ".join(task.wanted), "said": " ".join(answer)}
            for task, answer in wrong[:30]
        ]
        if kind == "question":
            for task, hit in zip(ones, right, strict=True):
                by_kind.setdefault(asked_kind(parts(task)[1]), []).append(hit)
    found["questions"] = {name: {"asked": len(hits), "right": sum(hits)} for name, hits in sorted(by_kind.items())}
    rng = np.random.default_rng(8)
    cut = {"question": [one for story in stories for one in questions_of(beginning(story, rng), rng, 1)]}
    found["exact_on_beginnings"] = exact(model, cut, tokenizer)
    return found | {"rules": rules(tasks, 2 * n)}


def asked_kind(question: list[str]) -> str:
    """Where somebody is, where something is, who has it, where somebody thinks it is, how somebody feels, and why."""
    if question[0] == "Where":
        thinks = question[1] == "does"
        return "thinks" if thinks else "person" if question[2] in said.PEOPLE else "thing"
    return {"Who": "holder", "How": "feels", "Why": "why"}[question[0]]


# Ways to finetune, compared


def way_row(way: str, rate: float, seed: int, device: str, steps: int, folder: pathlib.Path) -> dict:
    """The base, finetuned in one way from a stock on disk, with looks at its tasks and at its loss on stories."""
    torch.set_num_threads(1)
    rank, tables, mixed = WAYS[way]
    model, tokenizer = checkpoints.load_model(folder / "base", device)
    if rank:
        add_lora(model, rank, 2.0 * rank, torch.Generator().manual_seed(seed), TABLES if tables else ())
    stock = Stock(tokenizer, 1)
    with np.load(folder / "stock.npz") as kept:
        for kind in LENGTHS:
            stock.rows[kind], stock.given[kind] = kept[kind], kept[kind + " given"]
            stock.count[kind] = len(kept[kind])
    shares = {kind: share * (1 - mixed) for kind, share in WAY_SHARES.items()}
    config = finetuning_config("lora", adamw_lr=rate, batch_size=WAY_BATCH, seed=seed, steps=steps)  # AdamW for all
    model.train()
    run = Trainer(model, stock.batches(shares | {"story": mixed}, config.batch_size), row_loss, config)
    stories, tasks = unseen(4, 150 if steps == WAY_STEPS else 10)

    def look() -> dict:
        scores = exact(model, {kind: tasks[kind] for kind in WAY_SHARES}, tokenizer)
        found = {"score": sum(scores.values()) / len(scores), **scores, "loss": story_loss(model, stories, tokenizer)}
        return {"step": run.step, **{name: round(value, 4) for name, value in found.items()}}

    looks = [look()]
    for _ in run:
        if run.step in LOOKS:
            looks.append(look())
    return {"way": way, "rate": rate, "seed": seed, "rank": rank, "trained": count_trainable(model), "looks": looks}


def compare(stock: Stock, pool_size: int, seeds, options) -> None:
    """A row for each way, rate and seed, in processes of their own, into the metrics; what is there already stays."""
    path = ON_THE_WAY / "ways.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    kept = {kind: stock.rows[kind][: min(n, 20_000)] for kind, n in stock.count.items()}
    kept |= {kind + " given": stock.given[kind][: len(kept[kind])] for kind in LENGTHS}
    np.savez(ON_THE_WAY / "stock.npz", **kept)
    done, steps = {(row["way"], row["rate"], row["seed"]) for row in rows}, 10 if options.mini else WAY_STEPS
    missing = [job for job in itertools.product(WAYS, WAY_RATES, seeds) if job not in done]
    missing.sort(key=lambda job: job[2])  # whoever is stopped has whole seeds
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    made = {"hardware": hardware(options.device), "versions": versions, "shares": WAY_SHARES}
    made |= {"steps": steps, "batch": WAY_BATCH, "optimizer": "adamw"}
    with concurrent.futures.ProcessPoolExecutor(pool_size, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(way_row, *job, options.device, steps, ON_THE_WAY) for job in missing]
        for future in concurrent.futures.as_completed(waiting):
            rows.append(future.result())
            rows.sort(key=lambda row: (list(WAYS).index(row["way"]), row["rate"], row["seed"]))
            checkpoints.write_whole(path, json.dumps(rows).encode())
            save_metrics({"ways": made | {"rows": rows}})
            new = future.result()
            print({k: v for k, v in new.items() if k != "looks"}, new["looks"][-1], flush=True)


def save_metrics(new: dict) -> None:
    """Add to data/assistant/metrics.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "metrics.json"
    old = checkpoints.read_json(path) if path.exists() else {}
    checkpoints.write_json(path, old | new)


def how(run: Trainer, stock: Stock, options) -> dict:
    """What a run was, for the metrics."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    every = max(1, len(run.curve) // 60)
    return {
        "steps": run.step, "train_seconds": run.seconds, "tokens_with_padding": run.tokens,
        "stories_made": stock.count["story"], "processes": options.processes, "shares": SHARES,
        "hardware": hardware(options.device), "versions": versions, "train_config": run.config.to_dict(),
        "curve": [{k: row[k] for k in ("step", "seconds", "loss")} for row in run.curve[::every]],
    }  # fmt: skip


def pretrain_and_finetune(stock: Stock, options) -> None:
    """The base, unless a stopped run left one, then the assistant; each is saved as it ends."""
    _, tokenizer = world_and_tokenizer()
    base = ON_THE_WAY / "base"
    if not (base / "how.json").exists():
        sizes, _ = preset("medium", tokenizer.vocab_size, **SIZES)
        model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(0)).to(options.device)
        run = train("base", model, stock, {"story": 1.0}, options)
        base.mkdir(parents=True, exist_ok=True)
        checkpoints.save_model(base, run.model, tokenizer)
        checkpoints.write_json(base / "how.json", how(run, stock, options))
    model, _ = checkpoints.load_model(base, options.device)
    run = train("assistant", model.train(), stock, SHARES, options)
    FOLDER.mkdir(parents=True, exist_ok=True)
    checkpoints.save_model(FOLDER, run.model, tokenizer, torch.bfloat16)
    made = {"made_by": "data/recipes/assistant.py", "parameters": count_parameters(run.model)}
    save_metrics(
        made | {"pretraining": checkpoints.read_json(base / "how.json"), "finetuning": how(run, stock, options)}
    )


def measure_all(pool, options) -> None:
    """What the assistant, its base and the storyteller can do, as they are on disk."""
    for name, folder in (("assistant", FOLDER), ("base", ON_THE_WAY / "base"), ("storyteller", DATA / "storyteller")):
        model, tokenizer = checkpoints.load_model(folder, options.device)
        measured = measure(model, tokenizer, pool, name == "assistant", 20 if options.mini else 1000)
        save_metrics({name: measured})
        print(name, {key: measured[key] for key in measured if key != "mistakes"}, flush=True)


def parse_options(arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and measure the assistant of notebook 07.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--processes", type=int, default=2, help="that make up stories, and compare ways")
    parser.add_argument("--parts", nargs="+", default=["train", "measure", "ways"])
    parser.add_argument("--base", type=float, help="minutes of pretraining")
    parser.add_argument("--assistant", type=float, help="minutes of fine-tuning")
    parser.add_argument("--batch", type=int, help="rows of a batch")
    parser.add_argument("--compile", action="store_true", help="on a CPU, too")
    parser.add_argument("--seeds", type=int, default=4, help="of each way; the first one chooses the rate")
    parser.add_argument("--afresh", action="store_true", help="forget what an earlier run left")
    parser.add_argument("--mini", action="store_true", help="seconds instead of minutes, into runs/assistant/mini")
    options = parser.parse_args(arguments)
    options.device = str(choose_device(options.device))
    on_gpu = options.device != "cpu"
    options.base = options.base or (0.1 if options.mini else 1.1 if on_gpu else 90)
    options.assistant = options.assistant or (0.15 if options.mini else 1.2 if on_gpu else 90)
    options.batch = options.batch or (32 if options.mini else 1024 if on_gpu else 128)
    options.compile = on_gpu or options.compile
    return options


def main(arguments=None) -> int:
    global FOLDER, ON_THE_WAY
    options = parse_options(arguments)
    if options.mini:
        ON_THE_WAY = ON_THE_WAY / "mini"
        FOLDER = ON_THE_WAY / "assistant"
    if options.afresh:
        shutil.rmtree(ON_THE_WAY, ignore_errors=True)
    ON_THE_WAY.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    start, (_, tokenizer) = time.perf_counter(), world_and_tokenizer()
    stock = Stock(tokenizer, 2000 if options.mini else PLOTS)
    least = 500 if options.mini else 20_000 if "train" in options.parts else 3000
    with concurrent.futures.ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        stock.fill(pool, 2 * options.processes)
        while stock.count["story"] < least:
            time.sleep(0.1)
        print(f"{time.perf_counter() - start:.0f} s: the first stories are there", flush=True)
        if "train" in options.parts:
            pretrain_and_finetune(stock, options)
        stock.open = False
        if "measure" in options.parts:
            measure_all(pool, options)
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
    if "ways" in options.parts:
        compare(stock, options.processes, range(options.seeds), options)
    print(f"{time.perf_counter() - start:.0f} s in all", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
