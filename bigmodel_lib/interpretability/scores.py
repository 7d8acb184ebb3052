"""Which token does a method point at, and is it one that carries the answer? Scores against known truth."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability import interventions, maps
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.storyworld.story import START, Question, Story, words_of
from bigmodel_lib.storyworld.tasks import ANSWER, MARKS, QUESTION
from bigmodel_lib.text.tokenizers import WordTokenizer

KINDS = ("person", "thing", "holder")  # of questions: where is who, where is what, who has what


def small_world() -> tuple[StoryWorld, WordTokenizer]:
    """(world, tokenizer) of short stories with few names, so that a small model learns to answer soon."""
    world = StoryWorld(
        people=("Anna", "Mei", "Lena", "Ben", "Omar", "Tom"), places=("kitchen", "hall", "garage", "attic"),
        things=("lamp", "book", "cup", "ball", "shoes"), shortest=4, longest=24,
    )  # fmt: skip
    return world, WordTokenizer([*world.tokenizer().vocabulary, *MARKS])


class Case(NamedTuple):
    """One guess whose reasons are known."""

    tokens: list  # the text up to the guess, as words
    target: str  # the word that comes next
    support: frozenset  # places of the words, in the sentences it follows from, that name what it is about or say it
    candidates: int  # the places 0 … candidates - 1 may be named: those of the story


def asked(story: Story, question: Question) -> Case:
    """A question about a story, up to the word that answers it. Support is what the story world knows of it."""
    *begun, target = words_of(question.answer)
    text = [START, *story.tokens, QUESTION, *words_of(question.text), ANSWER, *begun]
    return Case(text, target, frozenset(place + 1 for place in question.support), 1 + len(story.tokens))


class Turned(NamedTuple):
    """A question before and after a word of the story, and what follows from it, makes its answer another one."""

    before: Case
    after: Case
    changed: frozenset  # places of `before` that hold another token in `after`; of two lengths, the word alone


def turned(story: Story, question: Question) -> Turned | None:
    """The counterfactual of a question: the last word that says its answer made another one; None if there is none."""
    before = asked(story, question)
    ends = np.cumsum([len(sentence) for sentence in story.sentences])
    kinds = (story.world.places, story.world.people, story.world.things)
    peers = next((names for names in kinds if before.target in names), ())
    others = [token for token in dict.fromkeys(story.tokens) if token in peers and token != before.target]
    places = [place for place in sorted(question.support, reverse=True) if story.tokens[place] == before.target]
    for place, other in itertools.product(places, others):
        try:
            new = story.counterfactual(int(np.searchsorted(ends, place, side="right")), before.target, other)
        except CourseError:
            continue
        same = [q for q in new.questions() if (q.kind, q.text) == (question.kind, question.text)]
        if same and same[0].answer != question.answer:
            after = asked(new, same[0])
            differ = {i for i, (a, b) in enumerate(zip(before.tokens, after.tokens, strict=False)) if a != b}
            alike = len(before.tokens) == len(after.tokens)
            return Turned(before, after, frozenset(differ if alike else {place + 1}))
    return None


def ids_of(case: Case, tokenizer: WordTokenizer, device: torch.device) -> Tensor:
    """The tokens of a case as ids, (T,)."""
    return torch.tensor(tokenizer.encode(" ".join(case.tokens)).tolist(), device=device)


@torch.no_grad()
def scores_of(model: LanguageModel, tokenizer: WordTokenizer, case: Case, others: dict[str, Case]) -> dict[str, Tensor]:
    """{method: scores of the n candidates}, the highest being what the method points at.

    "attention" has a row for each head (L, H, n), patching one for each layer but the first (L - 1, n).
    Hiding takes a token from the sight of all heads; patching puts there, before a layer, the stream of another text,
    {name: case}. Both are scored by how many nats more the target costs then.
    """
    tokens = ids_of(case, tokenizer, model.device)
    place, target, n = len(tokens) - 1, tokenizer.vocabulary.index(case.target), case.candidates
    weights = maps.record(model, tokens[None], "weights")[:, 0]

    def costs(hooks):
        return -model(tokens.expand(n, -1), hooks=hooks)[:, place].log_softmax(dim=-1)[:, target]

    where = torch.tensor([[place], [target]], device=model.device)
    one_each = torch.eye(n, len(tokens), dtype=torch.bool, device=model.device)
    scores = {
        "attention": weights[:, :, place, :n],
        "attention, all heads": weights[:, :, place, :n].mean(dim=(0, 1)),
        "rollout": maps.rollout(weights)[-1, place, :n],
        "gradient × input": maps.gradient_times_input(model, tokens[None], *where)[0, :n],
        "hiding": costs(interventions.knockout(one_each)),
    }
    for name, other in others.items():
        strange = ids_of(other, tokenizer, model.device)[None]
        places = torch.arange(n, device=model.device) % strange.shape[1]
        foreign = maps.record(model, strange, "stream")[1:-1, 0, places]
        scores[name] = torch.stack([costs(interventions.putting(*pair)) for pair in enumerate(foreign, start=1)])
    return scores


def effects_of_heads(model: LanguageModel, tokenizer: WordTokenizer, cases: list[Case]) -> Tensor:
    """How many nats more the targets of some cases cost without each head, on average: (L, H)."""
    L, H = model.config.n_layers, model.config.n_heads
    costs = torch.zeros(len(cases), 1 + L * H)
    for row, case in zip(costs, cases, strict=True):
        tokens, target = ids_of(case, tokenizer, model.device)[None], tokenizer.vocabulary.index(case.target)
        for i, heads in enumerate([[], *([pair] for pair in np.ndindex(L, H))]):
            row[i] = -interventions.ablate(model, tokens, heads)[0, -1].log_softmax(dim=-1)[target]
    return (costs[:, 1:] - costs[:, :1]).mean(dim=0).view(L, H)


def share_of_hits(tops: Sequence[int], cases: Sequence[Case]) -> np.ndarray:
    """1 where the place pointed at is in the case's support, else 0: (N,)."""
    return np.array([float(int(top) in case.support) for top, case in zip(tops, cases, strict=True)])


def points(
    model: LanguageModel, tokenizer: WordTokenizer, cases: list[Case], others: list[dict[str, Case]] | None = None
) -> tuple[dict, dict]:
    """({method: (N/2,) places pointed at in the second half}, {what was chosen on the first half: which}).

    Heads and the layers of patching are chosen by their hits on the first half of the cases, and a head once by what
    its ablation costs there. others: for each case {name: what patching puts in}, or the next case as "another story".
    """
    named = others or [{"patching, another story": other} for other in cases[1:] + cases[:1]]
    found = [scores_of(model, tokenizer, *pair) for pair in zip(cases, named, strict=True)]
    half = len(cases) // 2

    def tops(method, which=(), part=slice(half, None)):
        return [int(scores[method][which].argmax()) for scores in found[part]]

    def best(method, choices):
        return max(choices, key=lambda one: share_of_hits(tops(method, one, slice(half)), cases[:half]).mean())

    effects = effects_of_heads(model, tokenizer, cases[:half])
    heads = list(np.ndindex(*effects.shape))
    chosen = {"best head": best("attention", heads), "head that matters": max(heads, key=lambda pair: effects[pair])}
    places = {
        "first token": [0] * (len(cases) - half),
        "previous token": [case.candidates - 1 for case in cases[half:]],
        **{name: tops(name) for name in ("attention, all heads", "rollout", "gradient × input", "hiding")},
        **{f"attention, {name}": tops("attention", pair) for name, pair in chosen.items()},
    }
    for name in named[0]:
        chosen[name] = best(name, range(model.config.n_layers - 1))
        places[name] = tops(name, chosen[name])
    return places, chosen


def chance(cases: list[Case]) -> np.ndarray:
    """The share of hits of a random candidate, case by case."""
    return np.array([len(case.support & set(range(case.candidates))) / case.candidates for case in cases])


@torch.no_grad()
def guesses(model: LanguageModel, tokenizer: WordTokenizer, cases: list[Case]) -> list[str]:
    """The likeliest word at each case's place."""
    best = [model(ids_of(case, tokenizer, model.device)[None])[0, -1].argmax() for case in cases]
    return [tokenizer.vocabulary[int(i)] for i in best]
