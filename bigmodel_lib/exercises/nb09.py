"""The exercises of 09_attention_maps."""

import math

import numpy as np

from bigmodel_lib.exercises.engine import Exercise, Wrong, choose_letter, close, diagnose, number
from bigmodel_lib.interpretability.maps import rollout
from bigmodel_lib.interpretability.scores import Case, share_of_hits


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


def _check_induction(attempt):
    diagnose(number(attempt), 2, {
        1: "that is the earlier copy of this token: an induction head looks one further, at what followed it",
        0: "that is the token before the earlier copy: what came *after* it helps to guess what comes next",
        10: "that is the token before this one: a previous-token head looks there",
        11: "that is the token itself",
        3: "that is two after the earlier copy: one after it is meant",
        6: "that followed “Ben”: the head stands at “Anna”",
    })  # fmt: skip
    return "“Anna” stood at place 1, and “saw” followed it, at place 2: the head looks there and guesses “saw” again"


def _half(maps):
    """A / 2 + I / 2 of each layer."""
    import torch

    return (maps.mean(dim=1) + torch.eye(maps.shape[-1])) / 2


def _product(layers, turned=False):
    """The products of the first 1, 2, … layers."""
    import torch

    joint, after = torch.eye(layers.shape[-1]), []
    for layer in layers:
        joint = joint @ layer if turned else layer @ joint
        after.append(joint)
    return torch.stack(after)


def _check_rollout(attempt):
    import torch

    def attempt_on(maps):
        try:
            given = attempt(maps)
        except RuntimeError as error:
            raise Wrong(f"the shapes do not fit ({error}): average over the heads first, which leaves (T, T)") from None
        if not torch.is_tensor(given):
            raise Wrong(
                f"a tensor (L, T, T) was wanted, yours gives {type(given).__name__}: torch.stack makes one of a list"
            )
        return given

    maps = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(dim=-1).tril()
    maps = maps / maps.sum(dim=-1, keepdim=True)
    given, wanted, mean, eye = attempt_on(maps), rollout(maps), maps.mean(dim=1), torch.eye(4)
    if given.shape == (4, 4):
        raise Wrong("yours gives one (4, 4), the last: keep R after every layer, as (3, 4, 4)")
    if given.shape == (4, 4, 4):
        raise Wrong("four came back for three layers: R_0 = I is where it begins, give R_1, R_2 and R_3")
    if given.shape != wanted.shape:
        raise Wrong(f"(3, 4, 4) was wanted for maps of (3, 2, 4, 4), yours gives {tuple(given.shape)}")

    mistakes = [
        (_product(mean), "the residual is missing: half of each token stays where it is, A / 2 + I / 2"),
        (
            _product((mean + eye) / 2, turned=True),
            "the product runs the wrong way: the new layer stands left, (A / 2 + I / 2) R",
        ),
        (_product((mean.mT + eye) / 2), "the maps are transposed: rows look, and must sum to 1"),
        ((mean + eye) / 2, "there is no product: each layer looks at what the layers below have mixed already"),
        (_product(mean + eye), "A + I has rows that sum to 2: take half of each"),
        (_product((maps[:, 0] + eye) / 2), "that is head 0 alone: average over all heads"),
        (
            torch.cat([eye[None], _product((mean + eye)[1:] / 2)]),
            "layer 0 is left out: after it R_1 = (A_0 / 2 + I / 2) R_0, the first that you give back",
        ),
    ]
    for mistake, words in mistakes:
        if close(given, mistake, 1e-5):
            raise Wrong(words)
    if close(given, rollout(2 * maps), 1e-5):
        raise Wrong("the heads are added up, not averaged: use mean")
    if not close(given, wanted, 1e-5):
        rows = ([round(float(share), 3) for share in after[0, 1]] for after in (wanted, given))
        raise Wrong("row 1 after the first layer should be {}, yours is {}".format(*rows))
    return "the same as adding up every path from token to token, one by one"


def _rollout_from_the_identity(maps):
    import torch

    return torch.cat([torch.eye(maps.shape[-1])[None], rollout(maps)])


def _rollout_without_layer_0(maps):
    return _rollout_from_the_identity(maps[1:])


def _another_rollout(maps):
    import torch

    found = []
    for depth in range(1, len(maps) + 1):
        steps = [0.5 * layer.sum(dim=-3) / layer.shape[-3] + 0.5 * torch.eye(layer.shape[-1]) for layer in maps[:depth]]
        total = steps[0]
        for step in steps[1:]:
            total = torch.einsum("...ij,...jk->...ik", step, total)
        found.append(total)
    return torch.stack(found)


CASES = [
    Case(["In", "hall", "lay", "cup", "."], "hall", frozenset({1, 3}), 5),
    Case(["rooms", "attic", "attic", "Mei", "."], "attic", frozenset({2}), 5),
    Case(["Tom", "saw", "a", "cup", "."], "hall", frozenset(), 5),
    Case(["Ben", "had", "a", "cup", "."], "cup", frozenset({0}), 5),
]
TOPS = [3, 1, 0, 0]


def _check_hits(attempt):
    try:
        given = attempt(TOPS, CASES)
    except (ValueError, IndexError, StopIteration) as error:
        raise Wrong(
            f"it stopped with {type(error).__name__} ({error}): a support may be empty, so take no token out of it; ask "
            "whether the place is *in* it"
        ) from None
    try:
        given = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"a list of 0 and 1 was wanted, yours gives {given!r}") from None
    if given.shape == ():
        raise Wrong(f"one number came back, {given:g}: give 0 or 1 for each case, their mean comes later")
    if given.shape != (4,):
        raise Wrong(f"four cases were given, {given.shape} came back: one number for each")
    mistakes = [
        ([0, 1, 1, 0], "yours is 1 where the top token is *not* in the support"),
        ([2, 1, 0, 1], "that counts the tokens of the support: was one of them pointed at?"),
        ([0.5, 0, 0, 1], "a hit counts 1, however many tokens carry the answer"),
        ([1, 1, 1, 1], "a case without support cannot be hit, and place 1 is not in {2}"),
        ([1, 0, 0, 0], "place 0 is a place like any other: `if top` takes it for nothing"),
        ([3, 1, 0, 0], "those are the places: is each one in its case's support?"),
        ([0, 0, 0, 1], "you compare with the first place of the support: any of them is a hit"),
        ([0, 1, 0, 0], "you compare the word with the answer: ask whether its *place* is in the support, which holds "
                       "other words, too, and not every place of the answer"),
    ]  # fmt: skip
    for mistake, words in mistakes:
        if close(given, mistake):
            raise Wrong(words)
    if not close(given, [1, 0, 0, 1]):
        raise Wrong(f"for the tops {TOPS} and supports {[set(c.support) for c in CASES]} it should be [1, 0, 0, 1]")
    return "the mean of these is how often the method is right"


def _check_backup(attempt):
    if close(number(attempt), 0.7):  # ln 2 to one digit
        attempt = math.log(2)
    diagnose(number(attempt), math.log(2) - math.log1p(math.exp(-8)), {
        math.log1p(math.exp(-4)) - math.log1p(math.exp(-8)): "that is without one head: a lead of 4 is left",
        2 * (math.log1p(math.exp(-4)) - math.log1p(math.exp(-8))): "effects of single heads do not add up: go back to the lead",
        math.log1p(math.exp(-4)): "that is the cost with a lead of 4, without one head",
        8.0: "that is the lead in logits: the cost is minus the logarithm of a probability",
        1.0: "with a lead of 0 two words have the same probability: what does a fair coin cost, in nats?",
        0.5: "that is the probability that is left: the cost is minus its logarithm",
    }, tolerance=0.006)  # fmt: skip
    return "forty times the effect of one, 0.018: once the lead is large, losing half of it is hardly felt"


def _check_sharp(attempt):
    choose_letter(attempt, "c", {
        "a": "it looks only there; whether anything of what it finds is written, and read, a map does not say",
        "b": "a map of weights can be right about where a head looks: the mistake is to read more out of it",
        "d": "one text may be luck; but no number of texts turns a look into a use",
    })  # fmt: skip
    return "looking, writing and being read are three things, and the map shows the first"


def _check_test(attempt):
    choose_letter(attempt, "b", {
        "a": "the look is what you start from: it needs a test, it is none",
        "c": "c shows that something broke, perhaps for other reasons; only b says which answer must come out instead",
        "d": "a right answer can be had for other reasons: the same place may be said twice, or be guessed",
    })  # fmt: skip
    return "one word is changed, the truth changes with it, and the answer has to follow"


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
        hints=("Who is looked at stands on top.", "Go down the column “lamp” to its largest number."),
        check=_check_read,
        answer="it",
        another=(" It.",),
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
        hints=("Where was this token before?", "What came right after it there is the guess for what comes now."),
        check=_check_induction,
        answer=2,
        another=(2.0,),
        wrong=(
            (1, "one further"),
            (0, "*after* it"),
            (10, "previous-token head"),
            (11, "the token itself"),
            (3, "two after"),
            (6, "followed “Ben”"),
            (8, "too large"),
        ),
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
            "`eye = torch.eye(maps.shape[-1])`; go through `maps.mean(dim=-3)` layer by layer and keep each product in a list.",
            "Each new step stands left of the product so far, and its rows sum to 1. `torch.stack` makes one tensor of a list.",
        ),
        check=_check_rollout,
        answer=rollout,
        another=(_another_rollout,),
        wrong=(
            (lambda maps: _product(maps.mean(dim=1)), "residual is missing"),
            (lambda maps: _product(_half(maps), turned=True), "the wrong way"),
            (lambda maps: _product(_half(maps.mT)), "transposed"),
            (lambda maps: _half(maps), "there is no product"),
            (lambda maps: _product(2 * _half(maps)), "sum to 2"),
            (lambda maps: rollout(maps[:, :1]), "head 0 alone"),
            (lambda maps: rollout(maps)[-1], "keep R after every layer"),
            (_rollout_without_layer_0, "layer 0 is left out"),
            (_rollout_from_the_identity, "R_0 = I is where it begins"),
            (
                lambda maps: _product(_half(maps) + 0.1),
                "row 1 after the first layer should be [0.215, 0.785",
            ),
            (lambda maps: rollout(2 * maps), "added up, not averaged"),
            (lambda maps: list(rollout(maps)), "a tensor (L, T, T) was wanted"),
        ),
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
        hints=("What does a head do after it has looked?", "Its output goes through `w_o` before anyone can read it."),
        check=_check_sharp,
        answer="c",
        another=("(C)",),
        wrong=(
            ("a", "looks only there"),
            ("b", "can be right"),
            ("d", "no number of texts"),
            ("x", "from a to d"),
        ),
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
            "A lead of 0 makes both words equally likely. Take off what the word costs with both heads.",
        ),
        check=_check_backup,
        answer=math.log(2) - math.log1p(math.exp(-8)),
        another=(0.7,),
        wrong=(
            (0.018, "without one head"),
            (0.0356, "do not add up"),
            (8, "lead in logits"),
            (1, "a fair coin"),
            (0.5, "probability that is left"),
            (3, "too large"),
        ),
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
            "`for top, case in zip(tops, cases)` goes through both together.",
            "`top in case.support` is True or False; `float` makes 1 or 0 of it, `np.array` an array of a list.",
        ),
        check=_check_hits,
        answer=share_of_hits,
        another=(lambda tops, cases: [
            1 if {int(top)} <= set(case.support) else 0 for top, case in zip(tops, cases, strict=True)
        ],),
        wrong=(
            (
                lambda tops, cases: [t not in c.support for t, c in zip(tops, cases, strict=True)],
                "*not* in the support",
            ),
            (lambda tops, cases: [len(c.support) for c in cases], "counts the tokens"),
            (
                lambda tops, cases: [
                    (t in c.support) / max(1, len(c.support)) for t, c in zip(tops, cases, strict=True)
                ],
                "however many",
            ),
            (lambda tops, cases: [1] * len(cases), "cannot be hit"),
            (
                lambda tops, cases: [bool(t and t in c.support) for t, c in zip(tops, cases, strict=True)],
                "like any other",
            ),
            (lambda tops, cases: tops, "those are the places"),
            (lambda tops, cases: np.mean(share_of_hits(tops, cases)), "their mean comes later"),
            (lambda tops, cases: [1, 0], "one number for each"),
            (lambda tops, cases: [top == min(c.support) for top, c in zip(tops, cases, strict=True)], "may be empty"),
            (
                lambda tops, cases: [top == list(c.support)[0] for top, c in zip(tops, cases, strict=True)],
                "may be empty",
            ),
            (
                lambda tops, cases: [top == min(c.support, default=-1) for top, c in zip(tops, cases, strict=True)],
                "the first place of the support",
            ),
            (
                lambda tops, cases: [c.tokens[top] == c.target for top, c in zip(tops, cases, strict=True)],
                "compare the word with the answer",
            ),
        ),
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
        hints=("Which of them changes the truth?", "Which of them says beforehand what the model must answer instead?"),
        check=_check_test,
        answer="b",
        another=("B.",),
        wrong=(
            ("a", "it is none"),
            ("c", "other reasons"),
            ("d", "for other reasons: the same place"),
            ("e", "from a to d"),
        ),
    ),
]
