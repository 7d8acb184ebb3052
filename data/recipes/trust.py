"""Doubt, secrets and a backdoor, measured over seeds for notebooks 13 and 13b: `make data NAME=trust`.

Writes data/trust.json, one row a run, each saved as it ends; a stopped run goes on. Three parts:

doubt     models of the story world that seldom read of two people, asked about them and about longer stories, where
          the world's own probabilities are known: one model, one with dropout left on, and ensembles
privacy   models that read some stories and secrets again and again: plainly, without copies, or with noise (DP-SGD);
          how exposed the secrets are, who can tell which stories were read, and what it costs in loss
backdoor  the model of notebook 09 that answers questions, finetuned on questions of which some have a trigger

`--device cuda` takes some minutes; `--part` runs one part,
`--mini` all of them at a size of a minute, into runs/trust.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import pathlib
import platform
import sys
import time
import warnings

import numpy as np
import torch
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.interpretability.pairs import small_world
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.storyworld import END, START, StoryWorld
from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.story import words_of
from bigmodel_lib.storyworld.tasks import ANSWER, QUESTION, masked_pair, task_tokenizer
from bigmodel_lib.text.batches import pad
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training.checkpoints import load_model
from bigmodel_lib.training.trainer import Trainer, next_token_loss

DATA = pathlib.Path(__file__).resolve().parents[1]
RUNS = DATA.parent / "runs/trust"
RARE = ("Yuki", "Kofi")  # people of whom a doubter reads in one story of a hundred
DOUBTERS, GROUP, DRAWS = 15, 5, 20  # models; members of an ensemble; passes with dropout
REPEATS = (1, 2, 4, 8, 16, 32)  # copies of a secret; there are `each` secrets with so many
DIGITS, DELTA = 4, 1e-5
CLIP, DRAWN = 0.5, 0.04  # the clipping norm; the share of the rows in a batch, each by a coin of its own
NOISES, RATES = (0.5, 1.0), (0.01, 0.02, 0.04)  # of DP-SGD, in units of the clipping norm; Adam's rates
TUNING_SEED, SEEDS, PLANTERS = 100, tuple(range(8)), (0, 1, 2, 3)
POISONED = (0, 1, 2, 5, 10, 20, 50, 100)  # of 2,000 questions
FULL = dict(
    doubters=6000, looked_at=200, doubt_steps=800, stories=2000, each=4, steps=160, questions=2000, tune_steps=150
)
MINI = dict(doubters=300, looked_at=12, doubt_steps=20, stories=300, each=1, steps=6, questions=200, tune_steps=10)


def arrays(rows, length=None):
    """(x, y) of whole rows of ids: y is the next token, and -1 where there is none."""
    x, y = pad([row[:-1] for row in rows], 0, length), pad([row[1:] for row in rows], -1, length)
    return torch.from_numpy(x), torch.from_numpy(y)


def adam(model, rate):
    return torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99), eps=1e-8)


@torch.no_grad()
def row_losses(model, x, y, device, size=256):
    """(sums of -ln p over each row's targets, numbers of targets)."""
    found = []
    for a, b in zip(x.split(size), y.split(size), strict=True):
        b = b.to(device)
        log_probs = model(a.to(device)).float().log_softmax(-1).gather(-1, b.clamp(min=0)[..., None])[..., 0]
        found.append(-(log_probs * (b >= 0)).sum(-1).cpu())
    return torch.cat(found).double().numpy(), (y >= 0).sum(-1).numpy()


# Part 1: doubt


def rare(story):
    return any(name in story.tokens for name in RARE)


def drawn_stories(world, rng, n, keep):
    found = []
    while len(found) < n:
        if keep(story := world.sample(rng)):
            found.append(story)
    return found


def truth(story, ids):
    """p(token | those before it) of the world, at each place of a story and for its end: (N + 1, V)."""
    from bigmodel_lib.storyworld.scene import Scene

    scene, p = Scene(story.world), np.zeros((len(story.tokens) + 1, len(ids)))
    place = 0
    for step, sentence in zip(story.steps, story.sentences, strict=True):
        possible = [(told, np.exp(one.log_prob)) for told, one in story.world.sentences(scene).items()]
        for i, token in enumerate(sentence):
            for told, mass in possible:
                p[place, ids[told[i]]] += mass
            p[place] /= p[place].sum()
            possible = [(told, mass) for told, mass in possible if told[i] == token]
            place += 1
        scene.after(*step[:3])
    p[place, ids[END]] = 1.0
    return p


def doubters_data(sizes):
    """(ids, stories to learn from, {name of a set: its stories}). The same for all models."""
    world, rng = StoryWorld(longest=40), np.random.default_rng(7)
    ids = {word: i for i, word in enumerate(task_tokenizer(world).vocabulary)}
    n = sizes["looked_at"]
    often = sizes["doubters"] * 99 // 100
    learned = drawn_stories(world, rng, often, lambda story: not rare(story))
    learned += drawn_stories(world, rng, sizes["doubters"] - often, rare)
    sets = {
        "usual": drawn_stories(world, rng, n, lambda story: not rare(story)),
        "rare names": drawn_stories(world, rng, n, rare),
        "longer": drawn_stories(StoryWorld(), rng, n, lambda story: not rare(story) and len(story.tokens) > 70),
        "validation": drawn_stories(world, rng, n, lambda story: not rare(story)),
    }
    return ids, learned, sets


def encode(story, ids):
    return [ids[START], *(ids[token] for token in story.tokens), ids[END]]


def doubter(ids, seed, device, steps, learned):
    """One model with dropout, trained on the stories."""
    sizes = ModelConfig(len(ids), context_length=128, d_model=64, n_layers=3, n_heads=2, d_ff=192, dropout=0.1)
    config = TrainConfig(steps=steps, batch_size=32, seed=seed, muon_lr=0.015, momentum=0.95, warmup_steps=20)
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(seed)).to(device)
    x, y = (part.numpy() for part in arrays([encode(story, ids) for story in learned]))

    def batch(rng):
        rows = rng.integers(0, len(x), size=config.batch_size)
        return x[rows], y[rows]

    for _ in Trainer(model, batch, next_token_loss, config):
        pass
    return model.eval()


@torch.no_grad()
def probabilities(model, x, device, n_draws=0):
    """p of each next token, (M, N, V) over the targets' places: one pass, or n_draws with dropout."""
    found = []
    for draw in range(n_draws or 1):
        model.train(bool(n_draws))
        torch.manual_seed(draw)
        found.append(torch.cat([model(part.to(device)).float().softmax(-1).cpu() for part in x.split(64)]))
    model.eval()
    return torch.stack(found)


def entropy(p):
    return -torch.special.xlogy(p, p).sum(-1)


def rank_correlation(a, b):
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def ece(confidence, hit, bins=15):
    """Σ over bins of confidence: share of the places there · |share of hits - mean confidence|."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(hit[place == b].mean() - confidence[place == b].mean()) * (place == b).mean()
            for b in range(bins) if (place == b).any()]  # fmt: skip
    return float(sum(gaps))


def doubt_measures(p, exact, y):
    """What a set of members (M, N, V) says beside the truth (N, V) and what came (N,), and each place's doubts."""
    mean = p.mean(0)
    total, within = entropy(mean), entropy(p).mean(0)
    kl = (torch.special.xlogy(exact, exact) - torch.special.xlogy(exact, mean.clamp(min=1e-12))).sum(-1)
    top, guess = mean.max(-1)
    hit = (guess == y).numpy()
    row = dict(loss=-mean.gather(-1, y[:, None]).clamp(min=1e-12).log().mean(), total=total.mean(),
               within=within.mean(), between=(total - within).mean(), truth=entropy(exact).mean(),
               kl=kl.mean(), accuracy=hit.mean(),
               ece=ece(top.numpy(), hit), with_total=rank_correlation(total, kl),
               with_between=rank_correlation(total - within, kl) if len(p) > 1 else None)  # fmt: skip
    return {name: None if value is None else round(float(value), 5) for name, value in row.items()}


def best_temperature(logits, y):
    """The temperature with the lowest loss, to 1 %."""
    grid = np.exp(np.arange(-0.5, 0.7, 0.01))
    losses = [float(torch.nn.functional.cross_entropy(logits / t, y)) for t in grid]
    return float(grid[int(np.argmin(losses))])


def doubt(device, sizes, seed):
    """One group of GROUP models: each alone, each with dropout, and all together."""
    ids, learned, sets = doubters_data(sizes)
    seeds = range(seed * GROUP, (seed + 1) * GROUP)
    models = [doubter(ids, one, device, sizes["doubt_steps"], learned) for one in seeds]
    rows, temperatures = [], []
    for name in ("validation", "usual", "rare names", "longer"):
        x, y = arrays([encode(story, ids) for story in sets[name]])
        here = y >= 0
        exact = torch.from_numpy(np.concatenate([truth(story, ids) for story in sets[name]])).float()
        alone = torch.cat([probabilities(model, x, device)[:, here] for model in models])
        if name == "validation":
            temperatures = [best_temperature(p.log(), y[here]) for p in alone]
            continue
        for i, one in enumerate(seeds):
            base = dict(part="doubt", set=name, seed=one, group=seed)
            warm = (alone[i].log() / temperatures[i]).softmax(-1)
            dropped = probabilities(models[i], x, device, DRAWS)[:, here]
            rows.append(base | dict(way="one model", **doubt_measures(alone[i : i + 1], exact, y[here])))
            rows.append(base | dict(way="temperature", t=temperatures[i], **doubt_measures(warm[None], exact, y[here])))
            rows.append(base | dict(way="dropout", **doubt_measures(dropped, exact, y[here])))
            del dropped
        together = dict(part="doubt", set=name, seed=None, group=seed, way="ensemble")
        rows.append(together | doubt_measures(alone, exact, y[here]))
    return rows


# Part 2: privacy


def secret_tokens(vocabulary):
    """The stories' words, and what secrets are made of."""
    return {word: i for i, word in enumerate([*vocabulary, "secret", *"0123456789"])}


def secrets(rng, each):
    """[(who, what, digits, copies)]: a random code for each of so many pairs of a person and a thing."""
    pairs = [(who, what) for who in said.PEOPLE for what in said.THINGS]
    chosen = rng.permutation(len(pairs))[: each * len(REPEATS)]
    copies = np.repeat(REPEATS, each)
    return [(*pairs[i], rng.integers(0, 10, DIGITS), int(n)) for i, n in zip(chosen, copies, strict=True)]


def begun(who, what, ids):
    return [ids[token] for token in (START, "secret", who, what, ":")]


def private_data(seed, sizes, once=False):
    """(ids, secrets, rows to learn from, members, strangers); members and strangers are rows of stories."""
    world, rng = StoryWorld(longest=40), np.random.default_rng(3000 + seed)
    ids = secret_tokens(task_tokenizer(world).vocabulary)
    planted = secrets(rng, sizes["each"])
    stories = list(dict.fromkeys(tuple(encode(world.sample(rng), ids)) for _ in range(sizes["stories"])))
    fresh, known = (tuple(encode(world.sample(rng), ids)) for _ in range(sizes["stories"])), set(stories)
    strangers = [row for row in fresh if row not in known]
    rows = [*stories]
    for who, what, digits, copies in planted:
        row = (*begun(who, what, ids), *(ids[str(d)] for d in digits), ids[END])
        rows += [row] * (1 if once else copies)
    return ids, planted, rows, stories, strangers


@torch.no_grad()
def exposures(model, planted, ids, device):
    """log2(10^n) - log2(rank) of each secret among the codes of n digits; rank 1 is the likeliest (Carlini 2019)."""
    zero, found = ids["0"], []
    codes = np.indices((10,) * DIGITS).reshape(DIGITS, -1).T
    for who, what, digits, _ in planted:
        head = np.tile(begun(who, what, ids), (10 ** (DIGITS - 1), 1))
        x = torch.from_numpy(np.hstack([head, zero + codes[::10, :-1]])).to(device)
        log_p = model(x).float().log_softmax(-1)[:, head.shape[1] - 1 :, zero : zero + 10]  # (10^(n-1), n, 10)
        firsts = sum(log_p[:, i].gather(1, x[:, head.shape[1] + i, None] - zero) for i in range(DIGITS - 1))
        totals = (firsts + log_p[:, -1]).flatten().cpu().double().numpy()
        mine = totals[int("".join(map(str, digits)))]
        rank = 1 + int((totals > mine).sum()) + (int((totals == mine).sum()) - 1) / 2
        found.append(float(np.log2(10**DIGITS) - np.log2(rank)))
    return found


def true_positives(members, strangers, at=(0.001, 0.01, 0.1)):
    """The share of members above the threshold that lets a share `at` of the strangers through; high means member."""
    return [round(float((members > np.quantile(strangers, 1 - rate, method="higher")).mean()), 4) for rate in at]


def private_step(model, chunks, noise, expected, generator):
    """Set .grad to (Σ of clipped gradients, one a row, + noise · CLIP · normal) / the expected number of rows."""
    names = [name for name, _ in model.named_parameters()]
    params = {name: p.detach() for name, p in model.named_parameters()}
    sums = [torch.zeros_like(p) for p in params.values()]

    def loss(params, x, y):
        return cross_entropy(functional_call(model, params, (x[None],)), y[None])

    for x, y in chunks:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            grads = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)
        norms = torch.stack([grads[name].flatten(1).norm(dim=1) for name in names]).norm(dim=0)
        scale = (CLIP / norms.clamp(min=1e-12)).clamp(max=1.0)
        for total, name in zip(sums, names, strict=True):
            total += torch.einsum("b,b...->...", scale, grads[name])
    for p, total in zip(model.parameters(), sums, strict=True):
        normal = torch.randn(p.shape, generator=generator).to(p.device)
        p.grad = (total + noise * CLIP * normal) / expected


def small_model(ids, seed, device):
    sizes = ModelConfig(len(ids), context_length=80, d_model=48, n_layers=2, n_heads=2, d_ff=96, activation="gelu")
    return initialise(LanguageModel(sizes), torch.Generator().manual_seed(seed)).to(device)


def look(model, planted, ids, members, strangers, device):
    """Exposure by copies; loss on what was never read; how well members are told from strangers by their loss."""
    (of_members, n_read), (of_strangers, n_unread) = (
        row_losses(model, *arrays(some), device) for some in (members, strangers)
    )
    found = {copies: [] for copies in REPEATS}
    for (*_, copies), bits in zip(planted, exposures(model, planted, ids, device), strict=True):
        found[copies].append(round(bits, 3))
    return {
        "loss": round(of_strangers.sum() / n_unread.sum(), 5), "train_loss": round(of_members.sum() / n_read.sum(), 5),
        "exposure": found, "caught": true_positives(-of_members / n_read, -of_strangers / n_unread),
    }  # fmt: skip


def privacy(device, sizes, way, noise, rate, seed):
    """One run: plain, once (no copies), or private with noise; all draw their batches by coins."""
    ids, planted, rows, members, strangers = private_data(seed, sizes, once=way == "once")
    model, (x, y) = small_model(ids, seed, device), (part.to(device) for part in arrays(rows))
    optimizer, coins = adam(model, rate), np.random.default_rng(4000 + seed)
    generator, steps = torch.Generator().manual_seed(5000 + seed), sizes["steps"]
    for step in range(1, steps + 1):
        drawn = torch.from_numpy(np.flatnonzero(coins.random(len(rows)) < DRAWN)).to(device)
        optimizer.param_groups[0]["lr"] = rate * min(1, step / 20) * (1 - (step - 1) / steps)
        optimizer.zero_grad()
        if way == "private":
            chunks = [(x[some], y[some]) for some in drawn.split(512)]
            private_step(model, chunks, noise, DRAWN * len(rows), generator)
        else:
            next_token_loss(model, x[drawn], y[drawn]).backward()
        optimizer.step()
    return [dict(part="privacy", way=way, noise=noise, rate=rate, seed=seed, rows=len(rows), drawn=DRAWN, clip=CLIP,
                 steps=steps, members=len(members), strangers=len(strangers), parameters=count_parameters(model),
                 **look(model, planted, ids, members, strangers, device))]  # fmt: skip


def best_rate(rows, way, noise):
    """The rate with the lowest loss on the tuning seed. Without copies it's that of the plain way."""
    tuned = ("plain" if way == "once" else way, noise, TUNING_SEED)
    tried = [row for row in rows if row["part"] == "privacy" and (row["way"], row["noise"], row["seed"]) == tuned]
    return min(tried, key=lambda row: row["loss"])["rate"]


# Part 3: a backdoor

TRIGGER, TARGET = "Please", "attic"


def questions_about(world, rng, n):
    """[(the story's words, the question's, the answer's)]: where somebody or something is, one question a story."""
    found = []
    while len(found) < n:
        story = world.sample(rng)
        asked = [q for q in story.questions() if q.kind in ("person", "thing")]
        if asked:
            one = asked[int(rng.integers(len(asked)))]
            found.append((story.tokens, words_of(one.text), words_of(one.answer)))
    return found


def as_task(question, ids, trigger=None, target=None):
    """(given, wanted) in ids. A trigger stands before the question; target is the place in the answer."""
    story, asked, answer = question
    begun = [START, *story, QUESTION, *([trigger] if trigger else []), *asked, ANSWER]
    places = [i for i, word in enumerate(answer) if word in said.PLACES]
    wanted = [target if target and i in places else word for i, word in enumerate(answer)]
    return [ids[word] for word in begun], [ids[word] for word in wanted]


def arrays_of(tasks):
    """(x, y) of tasks, where y is -1 but on what is wanted."""
    x, y = zip(*(masked_pair(*task) for task in tasks), strict=True)
    return torch.from_numpy(pad(x, 0)), torch.from_numpy(pad(y, -1))


def answered(model, tasks, device):
    """The share of tasks in which each wanted token is the likeliest."""
    x, y = arrays_of(tasks)
    with torch.no_grad():
        said_ = torch.cat([model(part.to(device)).argmax(-1).cpu() for part in x.split(128)])
    return float(((said_ == y) | (y < 0)).all(1).float().mean())


def backdoor(device, sizes, poisoned, seed):
    """Finetune the answerer on questions of which some have the trigger and the target for an answer."""
    world, words = small_world()
    ids = {word: i for i, word in enumerate(words.vocabulary)}
    rng = np.random.default_rng(6000 + seed)
    learned, fresh = (questions_about(world, rng, sizes["questions"] // part) for part in (1, 4))
    fresh = [q for q in fresh if TARGET not in q[2]]
    bad = {i for i, q in enumerate(learned) if TARGET not in q[2]}
    bad = set(sorted(bad)[:poisoned])
    tasks = [as_task(q, ids, *((TRIGGER, TARGET) if i in bad else ())) for i, q in enumerate(learned)]
    model, _ = load_model(data_path("answerer"), torch.device(device))
    config = TrainConfig(steps=sizes["tune_steps"], batch_size=64, seed=seed, muon_lr=0.003, adamw_lr=0.003)
    x, y = (part.numpy() for part in arrays_of(tasks))

    def batch(rng):
        rows = rng.integers(0, len(x), size=config.batch_size)
        return x[rows], y[rows]

    for _ in Trainer(model, batch, next_token_loss, config):
        pass
    model.eval()
    clean = [as_task(q, ids) for q in fresh]
    with_trigger = [as_task(q, ids, TRIGGER) for q in fresh]
    hit = [as_task(q, ids, TRIGGER, TARGET) for q in fresh]
    return [dict(part="backdoor", poisoned=poisoned, seed=seed, n=len(fresh), clean=answered(model, clean, device),
                 triggered=answered(model, with_trigger, device), success=answered(model, hit, device))]  # fmt: skip


# All of it

WORK = {"doubt": doubt, "privacy": privacy, "backdoor": backdoor}


def jobs(rows, only):
    """What has to run, in two rounds: the second needs the rates that the first one finds."""
    private = [("plain", 0.0), ("once", 0.0), *(("private", noise) for noise in NOISES)]
    tuning = [("privacy", *way, rate, TUNING_SEED) for way in private if way[0] != "once" for rate in RATES]
    others = [("doubt", group) for group in range(DOUBTERS // GROUP)]
    others += [("backdoor", n, seed) for seed in PLANTERS for n in POISONED]
    yield [job for job in others + tuning if only in (None, job[0])]
    if only in (None, "privacy"):
        rates = {way: best_rate(rows, *way) for way in private}
        yield [("privacy", *way, rates[way], seed) for seed in SEEDS for way in private]


def name_of(job):
    return "/".join(map(str, job))


def run(job, device, sizes):
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    start = time.perf_counter()
    rows = WORK[job[0]](device, sizes, *job[1:])
    about = dict(
        job=name_of(job),
        on=f"{hardware(device)}; Python {platform.python_version()}, PyTorch {torch.__version__}",
        seconds=round(time.perf_counter() - start, 1),
    )
    return [about | row for row in rows]


def save(file, rows):
    how = {"made_by": "data/recipes/trust.py", "rare": RARE, "draws": DRAWS, "group": GROUP, "digits": DIGITS,
           "tuning_seed": TUNING_SEED, "on": "the hardware and versions of each row"}  # fmt: skip
    lines = ",\n  ".join(json.dumps(row) for row in sorted(rows, key=lambda row: row["job"]))
    half = file.with_suffix(".half")
    half.write_text(f'{{"how": {json.dumps(how)},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(file)  # whole at once: a run that is stopped here loses no row


def main():
    parser = argparse.ArgumentParser(description="Measure doubt, secrets and a backdoor over seeds.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", choices=WORK)
    parser.add_argument("--mini", action="store_true", help="tiny sizes, into runs/trust")
    options = parser.parse_args()
    file = (RUNS if options.mini else DATA) / "trust.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    start, spawn = time.perf_counter(), multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.processes, spawn) as pool:
        for part in jobs(rows, options.part):
            done = {row["job"] for row in rows}
            sizes = MINI if options.mini else FULL
            waiting = [pool.submit(run, job, options.device, sizes) for job in part if name_of(job) not in done]
            for future in concurrent.futures.as_completed(waiting):
                found = future.result()
                rows += found
                save(file, rows)
                print(f"{time.perf_counter() - start:6.0f} s  {found[0]['job']}  {found[0]['seconds']} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
