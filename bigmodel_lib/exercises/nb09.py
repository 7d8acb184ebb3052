"""The exercises of 09_attention_maps."""

import math

import numpy as np
import torch

from bigmodel_lib.exercises.engine import Exercise, Wrong
from bigmodel_lib.interpretability.maps import rollout
from bigmodel_lib.interpretability.scores import Case, share_of_hits

# 09-rollout


def _maps(rng):
    """The maps of a decoder, or (one in four) of an encoder: (L, H, T, T), rows sum to 1."""
    shape = rng.integers((1, 1, 1), (5, 4, 6))
    scores = torch.from_numpy(rng.normal(size=(*shape, shape[-1]))).float()
    if rng.random() < 0.75:
        scores = scores.masked_fill(torch.ones(*scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    return (scores.softmax(dim=-1),)


def _half(maps):
    """A / 2 + I / 2 of each layer."""
    return (maps.mean(dim=1) + torch.eye(maps.shape[-1])) / 2


def _product(layers, turned=False):
    """The products of the first 1, 2, … layers."""
    joint, after = torch.eye(layers.shape[-1]), []
    for layer in layers:
        joint = joint @ layer if turned else layer @ joint
        after.append(joint)
    return torch.stack(after)


def _another_rollout(maps):
    found = []
    for depth in range(1, len(maps) + 1):
        steps = [0.5 * layer.sum(dim=-3) / layer.shape[-3] + 0.5 * torch.eye(layer.shape[-1]) for layer in maps[:depth]]
        total = steps[0]
        for step in steps[1:]:
            total = torch.einsum("...ij,...jk->...ik", step, total)
        found.append(total)
    return torch.stack(found)


def _rollout_by_paths(maps):
    steps = 0.5 * maps.mean(dim=1) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)
    return torch.stack(
        [steps[0] if n == 1 else torch.linalg.multi_dot([*steps[:n].flip(0)]) for n in range(1, len(maps) + 1)]
    )


def _rollout_from_the_identity(maps):
    return torch.cat([torch.eye(maps.shape[-1], dtype=maps.dtype)[None], rollout(maps)])


def _rollout_without_layer_0(maps):
    return _rollout_from_the_identity(maps[1:]) if len(maps) > 1 else torch.eye(maps.shape[-1], dtype=maps.dtype)[None]


def _rollout_normalised(maps):
    product = _product(maps.mean(dim=1) + torch.eye(maps.shape[-1], dtype=maps.dtype))
    return product / product.amax(dim=-1, keepdim=True)


# 09-hits


def _tops_and_cases(rng):
    """Places pointed at, and cases whose support has no token, one or several."""
    n_cases = rng.integers(1, 7)
    cases = []
    for _ in range(n_cases):
        words = [str(word) for word in rng.choice(["Ben", "cup", "hall", "Mei", "saw"], size=5)]
        support = frozenset(int(place) for place in rng.choice(5, size=rng.integers(0, 4), replace=False))
        cases.append(Case(words, str(rng.choice(words)), support, 5))
    tops = [
        int(rng.choice(sorted(c.support))) if c.support and rng.random() < 0.5 else int(rng.integers(5)) for c in cases
    ]
    return (np.array(tops) if rng.random() < 0.3 else tops), cases


def _hits_by_sets(tops, cases):
    return np.array([len({int(top)} & case.support) for top, case in zip(tops, cases, strict=True)])


def _hits_by_loop(tops, cases):
    found = np.zeros(len(cases))
    for i, case in enumerate(cases):
        if any(place == tops[i] for place in case.support):
            found[i] = 1
    return found


def _marked(hit):
    """An attempt that asks `hit(top, case)` of each case."""
    return lambda tops, cases: np.array([float(hit(int(top), case)) for top, case in zip(tops, cases, strict=True)])


def _check_read(attempt):
    word = str(attempt).strip(" .“”\"'").lower()
    replies = {
        "ben": "“Ben” has the largest number of the map, but in the column of “Ben”: nobody is looked at there but itself",
        "saw": "“saw” gives “lamp” nothing: it stands before it, and a decoder does not see ahead",
        "the": "“the” is looked at by “lamp”, with 0.6: that is the row of “lamp”, not its column",
        "lamp": "“lamp” gives itself 0.1; someone else gives it more",
    }
    if word in replies:
        raise Wrong(replies[word])
    if word != "it":
        raise Wrong(f"one of the five tokens was wanted, {attempt!r} was given")
    return "rows look, columns are looked at: down the column of “lamp” the largest weight is 0.7, in the row of “it”"


EXERCISES = [
    Exercise(
        id="09-read",
        title="who looks at the lamp?",
        minutes=2,
        difficulty=1,
        task="""
On paper. A map of five tokens, rows look at columns:

| | Ben | saw | the | lamp | it |
| --- | --- | --- | --- | --- | --- |
| **Ben** | 1.0 | 0 | 0 | 0 | 0 |
| **saw** | 0.8 | 0.2 | 0 | 0 | 0 |
| **the** | 0.3 | 0.4 | 0.3 | 0 | 0 |
| **lamp** | 0.1 | 0.2 | 0.6 | 0.1 | 0 |
| **it** | 0.1 | 0.1 | 0.0 | 0.7 | 0.1 |

Which token looks most at “lamp”?""",
        stub="looks_most_at_lamp = ...  # a word, as text",
        name="looks_most_at_lamp",
        hints=(
            "Does “looks at” go along the rows or along the columns?",
            "Whoever is looked at is named on top. Whose number in that column is largest?",
            "Go down the column “lamp” to its largest number, 0.7, and read the name of its row.",
        ),
        check=_check_read,
        answer="it",
        another=(" It.", "“it”"),
        wrong=(
            ("the", "the row of “lamp”"),
            ("lamp", "gives itself 0.1"),
            ("Ben", "largest number of the map"),
            ("saw", "does not see ahead"),
            (0.7, "one of the five tokens"),
        ),
    ),
    Exercise(
        id="09-induction",
        title="where would it look?",
        minutes=3,
        difficulty=1,
        task="""
`<story> Anna saw Ben . Ben took the cup . Then Anna`: places 0 to 11. An induction head stands at place 11, the second “Anna”.
At which place does it look?""",
        stub="looked_at = ...  # a place, 0 to 11",
        name="looked_at",
        hints=(
            "Where was this token before?",
            "The head wants to know what comes next. Which token tells it, the earlier copy or one of its neighbours?",
            "“Anna” was at place 1. What came right after it there is the guess for what comes now.",
        ),
        answer=2,
        another=(2.0, np.int64(2)),
        wrong=(
            (1, "that is the earlier copy of this token: an induction head looks one further, at what followed it"),
            (0, "that is the token before the earlier copy: what came *after* it helps to guess what comes next"),
            (10, "that is the token before this one: a previous-token head looks there"),
            (11, "that is the token itself"),
            (3, "that is two after the earlier copy: one after it is meant"),
            (6, "that followed “Ben”: the head is at “Anna”"),
            (12, "that place is not written yet: the head looks back"),
        ),
        right="“Anna” stood at place 1, and “saw” followed it, at place 2: the head looks there and guesses “saw” again",
    ),
    Exercise(
        id="09-rollout",
        title="rollout",
        minutes=10,
        difficulty=2,
        task=r"""
Build one: $R_0 = I$ and $R_{l+1} = \tfrac12 (A_l + I)\, R_l$ for the layers $l = 0, \dots, L - 1$, where $A_l$, shape $(T, T)$, is the mean
over the heads of layer $l$. Give back $R_1, \dots, R_L$, one after each layer. The notebook uses yours if it passes, ours if not.""",
        stub="""
def rollout(maps):
    # maps: (L, H, T, T), a tensor -> (L, T, T)
    return ...
""",
        name="rollout",
        hints=(
            "What is R after one layer? Write it down for L = 1, then for L = 2, before you write a loop.",
            "Go through the layers from the first up and keep each product in a list. On which side of R does the new layer stand, "
            "and over which axis are the heads?",
            "`r = (layer + eye) / 2 @ r` for each layer of `maps.mean(dim=-3)`, with `eye = torch.eye(maps.shape[-1])`. "
            "`torch.stack` makes one tensor of a list.",
        ),
        answer=rollout,
        another=(_another_rollout, _rollout_by_paths),
        inputs=_maps,
        wrong=(
            (
                lambda maps: _product(maps.mean(dim=1)),
                "the residual is missing: half of each token stays where it is, A / 2 + I / 2",
            ),
            (
                lambda maps: _product(_half(maps), turned=True),
                "the product runs the wrong way: the new layer stands left, (A / 2 + I / 2) R",
            ),
            (lambda maps: _product(_half(maps.mT)), "the maps are transposed: rows look, and must sum to 1"),
            (
                lambda maps: _half(maps),
                "there is no product: each layer looks at what the layers below have mixed already",
            ),
            (lambda maps: _product(2 * _half(maps)), "A + I has rows that sum to 2: take half of each"),
            (lambda maps: rollout(maps[:, :1]), "that is head 0 alone: average over all heads"),
            (
                lambda maps: rollout(maps)[-1],
                "yours gives R after the last layer only: keep R after every layer, (L, T, T)",
            ),
            (
                _rollout_without_layer_0,
                "layer 0 is left out: after it R_1 = (A_0 / 2 + I / 2) R_0, the first that you give back",
            ),
            (_rollout_from_the_identity, "one too many came back: R_0 = I is where it begins, give R_1 … R_L"),
            (lambda maps: rollout(maps * maps.shape[1]), "the heads are added up, not averaged: use mean"),
            (lambda maps: rollout(maps.flip(0)), "the layers are taken from the top down: layer 0 comes first"),
            (_rollout_normalised, "A / 2 + I / 2 has rows that sum to 1 already: don't divide by the largest"),
            (
                lambda maps: list(rollout(maps)),
                "a list of tensors came back: `torch.stack` makes one tensor (L, T, T) of it",
            ),
        ),
        right="the same as adding up every path from token to token, one by one",
        ours="bigmodel_lib.interpretability.maps:rollout",
    ),
    Exercise(
        id="09-sharp",
        title="a sharp map without effect",
        minutes=3,
        difficulty=2,
        task="""
In the model set by hand, head 0.1 gives token 0 all of its weight, at every place, and nothing changes when it is taken away.
What follows?

**a** The answer comes from token 0. · **b** The map is wrong. · **c** The map is right, and shows where a head looks: not what it
writes, nor who reads that. · **d** One text is too few: over many texts such a map would show what is used.""",
        stub="what = ...  # a letter, as text",
        name="what",
        hints=(
            "What does a head do after it has looked?",
            "Its output goes through `w_o` before anyone can read it. Does the map show that?",
            "The map is computed from the head's own weights: it can't be wrong about where it looks. What is it silent about?",
        ),
        answer="c",
        another=("(C)", "c."),
        wrong=(
            ("a", "it looks only there; whether anything of what it finds is written, and read, a map does not say"),
            ("b", "a map of weights can be right about where a head looks: the mistake is to read more out of it"),
            ("d", "one text may be luck; but no number of texts turns a look into a use"),
        ),
        right="looking, writing and being read are three things, and the map shows the first",
    ),
    Exercise(
        id="09-backup",
        title="two heads, one answer",
        minutes=6,
        difficulty=3,
        task=r"""
On paper: only two words are possible. Each of two heads gives the right one a lead of 4 in its logit, so both together a lead of 8,
and the right word costs $\ln(1 + e^{-\text{lead}})$ nats. How many nats more does it cost without *one* head, and how many without
*both*? Write down the second.""",
        stub="cost_of_both = ...  # a number, to two digits",
        name="cost_of_both",
        hints=(
            "What lead is left without both?",
            "A lead of 0 makes both words equally likely. What does the right one cost then, and what did it cost with both heads?",
            "ln(1 + e⁰), less what it cost before, ln(1 + e⁻⁸), which is next to nothing.",
        ),
        answer=math.log(2) - math.log1p(math.exp(-8)),
        another=(0.7, 0.69),
        tolerance=0.0075,
        wrong=(
            (math.log1p(math.exp(-4)) - math.log1p(math.exp(-8)), "that is without one head: a lead of 4 is left"),
            (
                2 * (math.log1p(math.exp(-4)) - math.log1p(math.exp(-8))),
                "effects of single heads do not add up: go back to the lead",
            ),
            (8, "that is the lead in logits: the cost is minus the logarithm of a probability"),
            (1, "with a lead of 0 two words have the same probability: what does a fair coin cost, in nats?"),
            (0.5, "that is the probability that is left: the cost is minus its logarithm"),
        ),
        right="forty times the effect of one, 0.018: once the lead is large, losing half of it is hardly felt",
    ),
    Exercise(
        id="09-hits",
        title="how often is it right?",
        minutes=6,
        difficulty=2,
        task="""
Build one that marks hits: it returns an array of a 1 or a 0 for each case, 1 if the place that a method points at (an int) is in the
case's `support`, the set of places that carry the answer. Their mean is the share of hits. The live score below uses yours if it
passes, ours if not; the table after it was made by ours.""",
        stub="""
def share_of_hits(tops, cases):
    # tops: N ints, a place for each case; cases: N, each with .support, a set of ints -> (N,) numbers, 0 or 1
    return ...
""",
        name="share_of_hits",
        hints=(
            "For one case: what do you have, what does `support` hold, and what would make it a hit?",
            "`for top, case in zip(tops, cases)` goes through both together. How do you ask whether something is in a set?",
            "`top in case.support` is True or False; `float` makes 1 or 0 of it, `np.array` an array of a list.",
        ),
        answer=share_of_hits,
        another=(_hits_by_sets, _hits_by_loop),
        inputs=_tops_and_cases,
        special=(
            ("a case without support", [3], [Case(["Tom", "saw", "a", "cup", "."], "hall", frozenset(), 5)]),
            ("place 0", [0], [Case(["Ben", "had", "a", "cup", "."], "cup", frozenset({0}), 5)]),
        ),
        wrong=(
            (
                _marked(lambda top, case: top not in case.support),
                "yours is 1 where the top token is *not* in the support",
            ),
            (
                _marked(lambda top, case: len(case.support)),
                "that counts the tokens of the support: was one of them pointed at?",
            ),
            (
                _marked(lambda top, case: (top in case.support) / max(1, len(case.support))),
                "a hit counts 1, however many tokens carry the answer",
            ),
            (
                _marked(lambda top, case: 1),
                "a case without support cannot be hit, nor one whose support holds other places",
            ),
            (
                _marked(lambda top, case: top and top in case.support),
                "place 0 is a place like any other: `if top` takes it for nothing",
            ),
            (_marked(lambda top, case: top), "those are the places: is each one in its case's support?"),
            (
                lambda tops, cases: np.mean(share_of_hits(tops, cases)),
                "one number came back: give 0 or 1 for each case, their mean comes later",
            ),
            (
                lambda tops, cases: list(share_of_hits(tops, cases)),
                "a list came back: `np.array` makes an array of it, which can be added and averaged",
            ),
            (
                lambda tops, cases: share_of_hits(tops, cases) == 1,
                "True and False came back: `float` makes 1 and 0 of them",
            ),
            (
                _marked(lambda top, case: top == min(case.support)),
                "a support may be empty, so take no token out of it: ask whether the place is *in* it",
            ),
            (
                _marked(lambda top, case: top == list(case.support)[0]),
                "a support may be empty, and has no first token: ask whether the place is *in* it",
            ),
            (
                _marked(lambda top, case: top == min(case.support, default=-1)),
                "you compare with the first place of the support: any of them is a hit",
            ),
            (
                _marked(lambda top, case: case.tokens[top] == case.target),
                "you compare the word with the answer: ask whether its *place* is in the support, which holds other words, too, and not every place of the answer",
            ),
        ),
        right="the mean of these is how often the method is right",
        ours="bigmodel_lib.interpretability.scores:share_of_hits",
    ),
    Exercise(
        id="09-test",
        title="was it used?",
        minutes=4,
        difficulty=2,
        task="""
Asked where Anna is, a model says “kitchen”, and a head looks sharply at “kitchen” in *Anna was in the kitchen*. Which test decides
whether the model used that word?

**a** To see whether other heads look there, too. · **b** To tell the same story with Anna in the hall, and see whether the answer is “hall”. ·
**c** To put any other token in its place, and see whether the loss rises. · **d** To ask in 100 stories whether the answer is right.""",
        stub="test = ...  # a letter, as text",
        name="test",
        hints=(
            "Which of them changes the truth?",
            "Which of them says beforehand what the model must answer instead?",
            "Only one replaces the word such that another answer becomes the right one. Which?",
        ),
        answer="b",
        another=("B.", "(b)"),
        wrong=(
            ("a", "the look is what you start from: it needs a test, it is none"),
            (
                "c",
                "c shows that something broke, perhaps for other reasons; only b says which answer must come out instead",
            ),
            ("d", "a right answer can be had for other reasons: the same place may be said twice, or be guessed"),
        ),
        right="one word is changed, the truth changes with it, and the answer has to follow",
    ),
]
