"""Does a method point at the word that decides an answer? Minimal pairs with a known truth, and a score for each word.

Shapes: n = the places that may be named, those of the story. Logit difference: the answer's logit minus the rival's.
"""

import itertools
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


def small_world() -> tuple[StoryWorld, WordTokenizer]:
    """(world, tokenizer) of short stories with few names, so that a small model learns to answer soon."""
    world = StoryWorld(
        people=("Anna", "Mei", "Lena", "Ben", "Omar", "Tom"), places=("kitchen", "hall", "garage", "attic"),
        things=("lamp", "book", "cup", "ball", "shoes"), shortest=4, longest=24,
    )  # fmt: skip
    return world, WordTokenizer([*world.tokenizer().vocabulary, *MARKS])


class MinimalPair(NamedTuple):
    """A story with a question, twice: exactly one word differs, and with it the answer."""

    clean: list[str]  # up to the word that answers
    corrupt: list[str]
    place: int  # of the word that differs
    answer: str  # after `clean`
    rival: str  # after `corrupt`
    support: frozenset[int]  # places of all words that the world knows to carry the answer
    candidates: int  # places 0 … candidates - 1 may be named: those of the story


def asked(story: Story, question: Question) -> tuple[list[str], str]:
    """(a story with a question, up to the word that answers it; that word)."""
    *begun, target = words_of(question.answer)
    return [START, *story.tokens, QUESTION, *words_of(question.text), ANSWER, *begun], target


def minimal_pair(story: Story, question: Question) -> MinimalPair | None:
    """The question, and a story in which one word alone makes its answer another one; None if there is none.

    The world itself tells the second story: it's a story that could have happened, and its answer is known as well.
    """
    clean, answer = asked(story, question)
    ends = np.cumsum([len(sentence) for sentence in story.sentences])
    kinds = (story.world.places, story.world.people, story.world.things)
    peers = next((names for names in kinds if answer in names), ())
    others = [token for token in dict.fromkeys(story.tokens) if token in peers and token != answer]
    places = [place for place in sorted(question.support, reverse=True) if story.tokens[place] == answer]
    for place, other in itertools.product(places, others):
        try:
            new = story.counterfactual(int(np.searchsorted(ends, place, side="right")), answer, other)
        except CourseError:
            continue
        for same in new.questions():
            corrupt, rival = asked(new, same)
            alike = (same.kind, same.text) == (question.kind, question.text) and len(corrupt) == len(clean)
            if alike and rival != answer and [i for i, w in enumerate(clean) if w != corrupt[i]] == [place + 1]:
                support = frozenset(1 + i for i in question.support)
                return MinimalPair(clean, corrupt, place + 1, answer, rival, support, 1 + len(story.tokens))
    return None


def ids_of(words: list[str], tokenizer: WordTokenizer) -> Tensor:
    """Words as token ids, (T,)."""
    return torch.tensor(tokenizer.encode(" ".join(words)).tolist())


def logit_difference(logits: Tensor, answer: int, rival: int) -> Tensor:
    """How much the last place prefers one token to another: z_answer - z_rival = ln(p_answer / p_rival).

    Shapes: logits (B, T, V) -> (B,).
    """
    return logits[:, -1, answer] - logits[:, -1, rival]


def gradients(model: LanguageModel, tokens: Tensor, answer: int, rival: int, steps: int = 1) -> tuple[Tensor, Tensor]:
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


def swapped(pair: MinimalPair, world: StoryWorld) -> tuple[list[int], list[list[str]]]:
    """(places of the story's names, things and rooms; the text with that word alone made the next one of its kind)."""
    kinds, places, texts = (world.places, world.people, world.things), [], []
    for place, word in enumerate(pair.clean[: pair.candidates]):
        for names in kinds:
            if word in names:
                other = names[(names.index(word) + 1) % len(names)]
                places.append(place)
                texts.append([*pair.clean[:place], other, *pair.clean[place + 1 :]])
    return places, texts


@torch.no_grad()
def scores_of(
    model: LanguageModel, tokenizer: WordTokenizer, pair: MinimalPair, world: StoryWorld
) -> dict[str, Tensor]:
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
