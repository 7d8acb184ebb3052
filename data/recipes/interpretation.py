"""How often each method of notebook 09 points at a token that carries the answer: `make data NAME=interpretation`.

Three small decoders, alike but for their seeds, learn to answer questions about short stories (about five minutes
each); on stories that none has read, methods, and rules that read the text without a model, are scored against what is
known. The first model is kept in data/answerer. One model: python data/recipes/interpretation.py 0; its weights go to
runs/interpretation, and are taken from there.
"""

import pathlib
import platform
import sys

import numpy as np
import torch

from bigmodel_lib.interpretability import scores
from bigmodel_lib.interpretability.scores import KINDS, asked, small_world
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.storyworld.story import START, words_of
from bigmodel_lib.storyworld.tasks import ANSWER, QUESTION
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer, next_token_loss

DATA = pathlib.Path(__file__).resolve().parents[1]
RUNS = DATA.parent / "runs/interpretation"
SEEDS, STEPS, BATCH, LENGTH, STORIES = (0, 1, 2), 3000, 32, 80, 500
READ = "stories of `small_world`, whole or their beginnings, each with questions on it; made up as it goes"


def pronoun_cases(story, read=True):
    """The pronouns of a story. Support: every earlier mention of the name that it stands for.

    read: the guess is what follows the pronoun, and the pronoun looks. Otherwise the guess is the pronoun itself.
    """
    cases, told = [], [START, *story.tokens]
    for place, source in story.antecedents.items():
        here = place + 1 + read
        named = frozenset(i for i in range(here) if told[i] == told[source + 1])
        cases.append(scores.Case(told[:here], told[here], named, place + 1))
    return cases


def places_by_rule(cases, world):
    """{rule: the place that it names in each case}, for two rules that read the words alone and ask no model.

    "last room or name": the last of the story's rooms where the question says “Where”, of its people elsewhere. "last
    mention of the word asked for": the name in the question, where all cases have one. Place 0 if the story has none.
    """

    def last(case, wanted):
        return max((place for place, word in enumerate(case.tokens[: case.candidates]) if word in wanted), default=0)

    asked_for, named = [case.tokens[case.candidates :] for case in cases], {*world.people, *world.things}
    kinds = [world.places if "Where" in words else world.people for words in asked_for]
    places = {"last room or name": [last(*pair) for pair in zip(cases, kinds, strict=True)]}
    if all(QUESTION in words for words in asked_for):
        wanted = [named & set(words) for words in asked_for]
        places["last mention of the word asked for"] = [last(*pair) for pair in zip(cases, wanted, strict=True)]
    return places


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


def build(seed: int, steps: int = STEPS):
    """(run, world, tokenizer) of one model, not yet begun."""
    world, tokenizer = small_world()
    sizes, config = preset(
        "medium", tokenizer.vocab_size, steps=steps, seed=seed, d_model=64, n_heads=2, n_layers=3, d_ff=192, ngrams=1,
        context_length=LENGTH, batch_size=BATCH, muon_lr=0.015, momentum=0.95, warmup_steps=20,
    )  # fmt: skip
    model = initialise(LanguageModel(sizes), torch.Generator().manual_seed(seed))
    next_batch, rng = question_batches(world, tokenizer), np.random.default_rng(1000 + seed)
    run = Trainer(model, lambda _: next_batch(rng), next_token_loss, config)  # its stories have a seed of their own
    return run, world, tokenizer


def trained(seed: int):
    """(model, tokenizer) of a seed, rounded to bfloat16; from runs/interpretation if it is there."""
    folder = RUNS / str(seed)
    if not (folder / "model.safetensors").exists():
        run, _, tokenizer = build(seed)
        for look in run:
            if look.step % 300 == 0:
                print(f"seed {seed}  step {look.step}  loss {look.loss:.4f}  {look.seconds:.0f} s", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.write_json(folder / "metrics.json", how_it_was_trained(run))
        checkpoints.save_model(folder, run.model, tokenizer, torch.bfloat16)
    return checkpoints.load_model(folder)


def made_with() -> dict:
    """By what, on what, and with which versions."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return dict(made_by="data/recipes/interpretation.py", hardware=hardware(), versions=versions)


def how_it_was_trained(run) -> dict:
    """What a finished run says of itself."""
    curve = [row for row in run.curve if row["step"] % 100 == 0]
    return dict(text=READ, parameters=count_parameters(run.model), steps=run.step, train_seconds=run.seconds,
                **made_with(), train_config=run.config.to_dict(), curve=curve)  # fmt: skip


def question_rows(seed, model, tokenizer, stories, count) -> list:
    """Rows about questions that the model answers: hits on what carries the answer, and on what was seen to be used."""
    questions = [(story, q) for story in stories for q in story.questions() if q.kind in KINDS]
    cases = [asked(*pair) for pair in questions[: 4 * count]]
    right = [guess == case.target for guess, case in zip(scores.guesses(model, tokenizer, cases), cases, strict=True)]
    rows = [
        dict(table="answers", seed=seed, kind=kind, n=len(these), right=sum(these) / len(these))
        for kind in KINDS
        if (these := [r for r, (_, q) in zip(right, questions, strict=False) if q.kind == kind])
    ]
    pairs = (scores.turned(*pair) for pair, r in zip(questions, right, strict=False) if r)
    pairs = [pair for pair in pairs if pair and len(pair.before.tokens) == len(pair.after.tokens)][:count]
    after = scores.guesses(model, tokenizer, [pair.after for pair in pairs])
    follows = [guess == pair.after.target for guess, pair in zip(after, pairs, strict=True)]
    stays = [guess == pair.before.target for guess, pair in zip(after, pairs, strict=True)]
    rows.append(dict(table="counterfactual", seed=seed, n=len(pairs), follows=sum(follows) / len(pairs),
                     stays=sum(stays) / len(pairs)))  # fmt: skip
    cases = [pair.before for pair in pairs]
    others = [{"patching, another story": other, "patching, counterfactual": pair.after}
              for other, pair in zip(cases[1:] + cases[:1], pairs, strict=True)]  # fmt: skip
    places, chosen = scores.points(model, tokenizer, cases, others)
    second, followed = pairs[len(pairs) // 2 :], follows[len(pairs) // 2 :]
    used = [pair.before._replace(support=pair.changed) for pair, f in zip(second, followed, strict=True) if f]
    for method, tops in places.items():
        rows.append(row_of("questions", seed, method, tops, [pair.before for pair in second]))
        rows.append(row_of("used", seed, method, [top for top, f in zip(tops, followed, strict=True) if f], used))
    for task, these in (("questions", [pair.before for pair in second]), ("used", used)):
        rows += rule_rows(task, seed, these)
        rows.append(dict(table="hits", task=task, seed=seed, method="random", share=float(scores.chance(these).mean())))
    effects = scores.effects_of_heads(model, tokenizer, [pair.before for pair in second])
    rows.append(dict(table="effects", task="questions", seed=seed, effects=effects.tolist(), chosen=chosen))
    return rows


def pronoun_rows(seed, model, tokenizer, stories, count, read) -> list:
    """Rows about pronouns: `read`, where the pronoun looks, or said, where it is guessed."""
    task = "pronoun read" if read else "pronoun said"
    cases = [case for story in stories for case in pronoun_cases(story, read)][:count]
    places, chosen = scores.points(model, tokenizer, cases)
    second = cases[len(cases) // 2 :]
    rows = [row_of(task, seed, method, tops, second) for method, tops in places.items()]
    rows += rule_rows(task, seed, second)
    rows.append(dict(table="hits", task=task, seed=seed, method="random", share=float(scores.chance(second).mean())))
    effects = scores.effects_of_heads(model, tokenizer, second)
    return [*rows, dict(table="effects", task=task, seed=seed, effects=effects.tolist(), chosen=chosen)]


def rule_rows(task, seed, cases) -> list:
    """The hits of the rules that ask no model."""
    by_rule = places_by_rule(cases, small_world()[0])
    return [row_of(task, seed, rule, tops, cases) for rule, tops in by_rule.items()]


def row_of(task, seed, method, tops, cases) -> dict:
    """One method's hits, case by case, as a text of 0 and 1."""
    hits = scores.share_of_hits(tops, cases)
    return dict(table="hits", task=task, seed=seed, method=method, share=float(hits.mean()),
                hits="".join(str(int(hit)) for hit in hits))  # fmt: skip


def rows_of(seed: int, count: int = STORIES) -> list:
    """All rows of one model. Questions come from other stories than pronouns; none was read in training."""
    model, tokenizer = trained(seed)
    world, rng = small_world()[0], np.random.default_rng(77)
    stories = [world.sample(rng) for _ in range(3 * count)]
    more = [world.sample(rng) for _ in range(16 * count)]
    rows = question_rows(seed, model, tokenizer, stories, count)
    for read in (True, False):
        rows += pronoun_rows(seed, model, tokenizer, more, count, read)
    return rows


def main(seeds) -> int:
    rows = [row for seed in seeds or SEEDS for row in rows_of(int(seed))]
    if not seeds:
        model, tokenizer = trained(SEEDS[0])
        (DATA / "answerer").mkdir(exist_ok=True)
        checkpoints.save_model(DATA / "answerer", model, tokenizer, torch.bfloat16)
        answers = [row for row in rows if (row["table"], row["seed"]) == ("answers", SEEDS[0])]
        right, asked_of = ({row["kind"]: row[what] for row in answers} for what in ("right", "n"))
        learned = checkpoints.read_json(RUNS / str(SEEDS[0]) / "metrics.json")
        checkpoints.write_json(DATA / "answerer/metrics.json", {"right": right, "questions": asked_of, **learned})
        how = dict(**made_with(), text=READ, steps=STEPS, stories=STORIES)
        checkpoints.write_json(DATA / "interpretation.json", {"how": how, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
