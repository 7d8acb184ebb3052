"""How often each method of notebook 09b points at the word that decides an answer: `make data NAME=interpretation`.

Three small decoders, alike but for their seeds, learn to answer questions about short stories (about three minutes
each). On minimal pairs from stories that none has read, methods are scored, and rules that never open the model. The
first model is kept in data/answerer. One model alone: python data/recipes/interpretation.py 1; its weights and its
rows go to runs/interpretation, and are taken from there; a second argument, cuda, trains it on a GPU.
"""

import pathlib
import platform
import sys
import time

import numpy as np
import torch

from bigmodel_lib.interpretability import interventions, maps
from bigmodel_lib.interpretability.pairs import MinimalPair, asked, ids_of, minimal_pair, small_world, swapped
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.storyworld.story import START, words_of
from bigmodel_lib.storyworld.tasks import ANSWER, QUESTION
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, next_token_loss

DATA = pathlib.Path(__file__).resolve().parents[1]
RUNS = DATA.parent / "runs/interpretation"
SEEDS, STEPS, BATCH, LENGTH = (0, 1, 2), 3000, 32, 80
TUNING, PAIRS = 200, 400  # to choose a head on, and to score
KINDS = ("person", "thing", "holder")  # of questions: where is who, where is what, who has what
READ = "stories of `small_world`, whole or their beginnings, each with questions on it; made up as it goes"


def question_batches(world, tokenizer):
    """A source of (x, y): a new story, or the beginning of one, and questions about what was told so far.

    The loss counts on all of the answers, and on 4 in 10 tokens of the story.
    """
    ids = {word: i for i, word in enumerate(tokenizer.vocabulary)}

    def row(rng):
        story = world.sample(rng)
        last = int(rng.integers(1, len(story.sentences))) if rng.random() < 0.6 else len(story.sentences) - 1
        tokens = [START, *(token for sentence in story.sentences[: last + 1] for token in sentence)]
        counts = [0, *(rng.random(len(tokens) - 1) < 0.4)]
        questions = [question for question in story.questions(after=last) if question.kind in KINDS]
        for i in rng.permutation(len(questions)):
            given, answer = [QUESTION, *words_of(questions[i].text), ANSWER], words_of(questions[i].answer)
            tokens, counts = [*tokens, *given, *answer], [*counts, *[0] * len(given), *[1] * len(answer)]
        return [ids[token] for token in tokens][: LENGTH + 1], counts[: LENGTH + 1]

    def batch(rng):
        x, y = np.zeros((BATCH, LENGTH), dtype=np.int64), np.full((BATCH, LENGTH), -1)
        for i, (tokens, counts) in enumerate(row(rng) for _ in range(BATCH)):
            n = len(tokens) - 1
            x[i, :n], y[i, :n] = tokens[:-1], np.where(counts[1:], tokens[1:], -1)
        return x, y

    return batch


def build(seed: int, steps: int = STEPS, device: str = "cpu"):
    """(run, world, tokenizer) of one model, not yet begun."""
    world, tokenizer = small_world()
    sizes, config = preset(
        "medium", tokenizer.vocab_size, steps=steps, seed=seed, d_model=64, n_heads=2, n_layers=3, d_ff=192, ngrams=1,
        context_length=LENGTH, batch_size=BATCH, muon_lr=0.015, momentum=0.95, warmup_steps=20,
    )  # fmt: skip
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(seed)).to(device)
    next_batch, rng = question_batches(world, tokenizer), np.random.default_rng(1000 + seed)
    run = Trainer(model, lambda _: next_batch(rng), next_token_loss, config)  # its stories have a seed of their own
    return run, world, tokenizer


def trained(seed: int, steps: int = STEPS, device: str = "cpu"):
    """(model, tokenizer) of a seed, rounded to bfloat16; from runs/interpretation if it is there."""
    folder = RUNS / str(seed)
    if not (folder / "metrics.json").exists():
        run, _, tokenizer = build(seed, steps, device)
        for look in run:
            if look.step % 300 == 0:
                print(f"seed {seed}  step {look.step}  loss {look.loss:.4f}  {look.seconds:.0f} s", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.save_model(folder, run.model.cpu(), tokenizer, torch.bfloat16)
        checkpoints.write_json(folder / "metrics.json", how_it_was_trained(run))
    return checkpoints.load_model(folder)


def made_with(device="cpu") -> dict:
    """By what, on what, and with which versions."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return dict(made_by="data/recipes/interpretation.py", hardware=hardware(device), versions=versions)


def how_it_was_trained(run) -> dict:
    """What a finished run says of itself."""
    curve = [row for row in run.curve if row["step"] % 100 == 0]
    return dict(text=READ, parameters=count_parameters(run.model), steps=run.step, train_seconds=run.seconds,
                **made_with(run.device), train_config=run.config.to_dict(), curve=curve)  # fmt: skip


@torch.no_grad()
def guess(model, tokenizer, words: list[str]) -> str:
    """The word that the model finds likeliest after a text."""
    return tokenizer.vocabulary[int(model(ids_of(words, tokenizer)[None])[0, -1].argmax())]


def right_answers(model, tokenizer, stories: int = 600) -> dict:
    """{kind of question: [how many were right, of how many]}, one question of each kind a story."""
    rng, world, found = np.random.default_rng(76), small_world()[0], {kind: [0, 0] for kind in KINDS}
    for story in (world.sample(rng) for _ in range(stories)):
        for kind in KINDS:
            if questions := [question for question in story.questions() if question.kind == kind]:
                text, answer = asked(story, questions[int(rng.integers(len(questions)))])
                found[kind][0] += guess(model, tokenizer, text) == answer
                found[kind][1] += 1
    return found


def pairs_of(model, tokenizer, count: int, seed: int) -> tuple[list[MinimalPair], int]:
    """(pairs that a model answers as it should, both texts; how many it was asked), each from a story of its own."""
    rng, world, pairs, tried = np.random.default_rng(seed), small_world()[0], [], 0
    while len(pairs) < count:
        story = world.sample(rng)
        questions = [question for question in story.questions() if question.kind in KINDS]
        found = (minimal_pair(story, questions[i]) for i in rng.permutation(len(questions)))
        pair = next((pair for pair in found if pair), None)
        if pair is None:
            continue
        tried += 1
        if (guess(model, tokenizer, pair.clean), guess(model, tokenizer, pair.corrupt)) == (pair.answer, pair.rival):
            pairs.append(pair)
    return pairs, tried


def logit_difference(logits: torch.Tensor, answer: int, rival: int) -> torch.Tensor:
    """How much the last place prefers one token to another: z_answer - z_rival = ln(p_answer / p_rival).

    Shapes: logits (B, T, V) -> (B,).
    """
    return logits[:, -1, answer] - logits[:, -1, rival]


def gradients(
    model, tokens: torch.Tensor, answer: int, rival: int, steps: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """(slopes of the logit difference in each token's embedding, (T, D); the embeddings less their mean, (T, D)).

    With more steps, the slopes are averaged on the way from the mean of the embeddings to the text's own, as
    integrated gradients do. Source: Simonyan et al. 2014; Sundararajan et al. 2017, eq. 1.
    """
    x = model.embed(tokens[None]).detach()
    away = x - x.mean(dim=1, keepdim=True)
    shares = ((torch.arange(steps) + 0.5) / steps if steps > 1 else torch.ones(1)).to(x)
    start = (x - (1 - shares)[:, None, None] * away).requires_grad_()
    with torch.enable_grad():
        logits = model(tokens.expand(len(shares), -1), hooks={"stream": lambda layer, v: v if layer else start})
        (slopes,) = torch.autograd.grad(logit_difference(logits, answer, rival).sum(), start)
    return slopes.mean(dim=0), away[0]


@torch.no_grad()
def scores_of(model, tokenizer, pair: MinimalPair, world) -> dict[str, torch.Tensor]:
    """{method: its score for each word of the story, (n,)}; "attention" has a row for each head, (L, H, n).

    What takes a word away, or puts another one in, is scored by how far the logit difference falls. Patching makes a
    minimal pair of its own for each name, thing and room, and copies that place from the other text before a layer.
    """
    tokens, n, T = ids_of(pair.clean, tokenizer).to(model.device), pair.candidates, len(pair.clean)
    answer, rival = (tokenizer.vocabulary.index(word) for word in (pair.answer, pair.rival))
    weights = maps.record(model, tokens[None], "weights")[:, 0]
    slopes, away = gradients(model, tokens, answer, rival)
    many_slopes, _ = gradients(model, tokens, answer, rival, steps=16)

    def fall(hooks, rows=n):
        return whole - logit_difference(model(tokens.expand(rows, -1), hooks=hooks), answer, rival)

    whole = logit_difference(model(tokens[None]), answer, rival)
    one_each = torch.eye(n, T, dtype=torch.bool, device=model.device)
    scores = {
        "attention": weights[:, :, -1, :n],
        "attention, all heads": weights[:, :, -1, :n].mean(dim=(0, 1)),
        "rollout": maps.rollout(weights)[-1, -1, :n],
        "gradient": slopes.norm(dim=-1)[:n],
        "gradient × input, size": (slopes * model.embed(tokens[None])[0]).sum(dim=-1).abs()[:n],
        "gradient × input, signed": (slopes * model.embed(tokens[None])[0]).sum(dim=-1)[:n],
        "integrated gradients": (many_slopes * away).sum(dim=-1)[:n],
        "knockout": fall(interventions.knockout(one_each)),
        "knockout, last place only": fall(interventions.knockout(one_each, last_only=True)),
    }
    places, texts = swapped(pair, world)
    rows = torch.stack([ids_of(text, tokenizer) for text in texts]).to(model.device)
    foreign = torch.tensor(places, device=model.device)
    streams = maps.record(model, rows, "stream")[:-1]
    for layer, stream in enumerate(streams):
        put = interventions.putting(layer, stream[torch.arange(len(rows), device=foreign.device), foreign], foreign)
        found = torch.full((n,), -torch.inf, device=model.device)
        found[foreign] = fall(put, len(rows))
        scores[f"patching, before layer {layer}"] = found
    return scores


def by_rule(pair: MinimalPair) -> dict[str, int]:
    """{rule: the place that it names}, from the story, the question and the answer; the model stays closed."""
    world, story = small_world()[0], pair.clean[: pair.candidates]
    about = [word for word in pair.clean[pair.candidates :] if word in {*world.people, *world.things}][0]
    mentions = [i for i, word in enumerate(story) if word == pair.answer]
    others = [i for i, word in enumerate(story) if word == about] or [0]
    kind = world.places if pair.answer in world.places else world.people
    ends = [i for i, word in enumerate(story) if word == "."]
    same = [i for i in mentions if any(sum(e < i for e in ends) == sum(e < j for e in ends) for j in others)]
    return {
        "rule: the last room (or name)": max((i for i, word in enumerate(story) if word in kind), default=0),
        "rule: the answer's last mention": mentions[-1],
        "rule: the answer, nearest to who or what was asked about": min(mentions, key=lambda i: abs(i - others[-1])),
        "rule: the answer, in the last sentence with who or what was asked about": (same or mentions)[-1],
    }


def tops_of(model, tokenizer, pairs: list[MinimalPair]) -> dict[str, list[int]]:
    """{method or rule: the place that it names in each pair}; a head is called "attention, head 1.0".

    The start token, at place 0, is no word of the story: nobody may name it.
    """
    world, tops = small_world()[0], {}
    for pair in pairs:
        found = scores_of(model, tokenizer, pair, world)
        heads = found.pop("attention")
        found |= {f"attention, head {i}.{j}": heads[i, j] for i, j in np.ndindex(*heads.shape[:2])}
        for method, values in found.items():
            tops.setdefault(method, []).append(1 + int(values[1:].argmax()))
        for rule, place in by_rule(pair).items():
            tops.setdefault(rule, []).append(place)
    return tops


def rows_of(seed: int, model, tokenizer, tuning: int = TUNING, count: int = PAIRS) -> list[dict]:
    """All rows of one model: hits are a text of 0 and 1, pair by pair: the word that decides, any of the support."""
    chosen_on, _ = pairs_of(model, tokenizer, tuning, 500)
    pairs, tried = pairs_of(model, tokenizer, count, 501)
    on_tuning = tops_of(model, tokenizer, chosen_on)
    heads = [name for name in on_tuning if "head " in name]
    best = max(heads, key=lambda name: sum(top == p.place for top, p in zip(on_tuning[name], chosen_on, strict=True)))
    tops = tops_of(model, tokenizer, pairs)
    tops["attention, best head"] = tops[best]
    words = [pair.candidates - 1 for pair in pairs]  # without the start token
    chance = {"decides": np.mean([1 / n for n in words]),
              "support": np.mean([len(pair.support) / n for pair, n in zip(pairs, words, strict=True)])}  # fmt: skip
    chance = {name: round(float(share), 4) for name, share in chance.items()}
    answers = right_answers(model, tokenizer, 2 * (tuning + 100))
    rows = [dict(seed=seed, answers=answers, followed=[count, tried], best=best.split()[-1], chance=chance)]
    for method in (method for method in tops if method not in heads):
        hits = dict(decides=[top == pair.place for top, pair in zip(tops[method], pairs, strict=True)],
                    support=[top in pair.support for top, pair in zip(tops[method], pairs, strict=True)])  # fmt: skip
        texts = {truth: "".join(str(int(hit)) for hit in these) for truth, these in hits.items()}
        rows.append(dict(seed=seed, method=method, **texts))
    return rows


def part(seed: int, device: str = "cpu") -> list[dict]:
    """The rows of a seed; from runs/interpretation if they are there."""
    torch.set_num_threads(1)
    file, start = RUNS / str(seed) / "rows.json", time.perf_counter()
    if not file.exists():
        model, tokenizer = trained(seed, STEPS, device)
        checkpoints.write_json(file, {"rows": rows_of(seed, model, tokenizer)})
        print(f"seed {seed}: rows after {time.perf_counter() - start:.0f} s", flush=True)
    return checkpoints.read_json(file)["rows"]


def main(arguments: list[str]) -> int:
    if arguments:
        part(int(arguments[0]), *arguments[1:2])
        return 0
    rows = [row for seed in SEEDS for row in part(seed)]
    model, tokenizer = trained(SEEDS[0])
    (DATA / "answerer").mkdir(exist_ok=True)
    checkpoints.save_model(DATA / "answerer", model, tokenizer, torch.bfloat16)
    checkpoints.write_json(DATA / "answerer/metrics.json", checkpoints.read_json(RUNS / str(SEEDS[0]) / "metrics.json"))
    how = dict(**made_with(), text=READ, steps=STEPS, tuning=TUNING, pairs=PAIRS)
    how["trained_on"] = [checkpoints.read_json(RUNS / str(seed) / "metrics.json")["hardware"] for seed in SEEDS]
    checkpoints.write_json(DATA / "interpretation.json", {"how": how, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
