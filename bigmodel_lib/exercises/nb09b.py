"""The exercises of 09b_what_maps_prove."""

import math

import torch

from bigmodel_lib.exercises.engine import Exercise
from bigmodel_lib.interpretability.maps import rollout

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


def _rollout_by_shares(maps):
    joint, after = torch.eye(maps.shape[-1], dtype=maps.dtype), []
    for layer in maps:
        looked = sum(head @ joint for head in layer) / len(layer)
        joint = torch.lerp(joint, looked, 0.5)
        after.append(joint)
    return torch.stack(after)


def _rollout_head_by_head(maps):
    """The mean over the heads, taken after the products."""
    return torch.stack([rollout(maps[:, h : h + 1]) for h in range(maps.shape[1])]).mean(dim=0)


def _rollout_bare_start(maps):
    first = maps.mean(dim=1)[0]
    after = [first]
    for layer in _half(maps)[1:]:
        after.append(layer @ after[-1])
    return torch.stack(after)


def _rollout_of_every_head(maps):
    return torch.stack([rollout(maps[:, h : h + 1]) for h in range(maps.shape[1])], dim=1)


def _rollout_in_place(maps):
    """One tensor, changed in place: the list holds it L times."""
    joint, after = torch.eye(maps.shape[-1], dtype=maps.dtype), []
    for layer in maps.mean(dim=1):
        joint += layer @ joint
        joint /= 2
        after.append(joint)
    return torch.stack(after)


def _rollout_elementwise(maps):
    joint, after = torch.eye(maps.shape[-1], dtype=maps.dtype), []
    for layer in _half(maps):
        joint = layer * joint
        after.append(joint)
    return torch.stack(after)


def _rollout_half_of_one(maps):
    joint, after = torch.eye(maps.shape[-1], dtype=maps.dtype), []
    for layer in maps.mean(dim=1):
        joint = layer + torch.eye(maps.shape[-1]) / 2 @ joint
        after.append(joint)
    return torch.stack(after)


# 09-knockout


def hide(scores, place):
    """The scores with -∞ where a later query looks at one place: it's gone from everybody's sight but its own.

    Shapes: scores (B, H, T, T), queries by keys -> the same. Source: Geva et al. 2023, section 4.1.
    """
    scores = scores.clone()
    scores[:, :, place + 1 :, place] = -torch.inf
    return scores


def _scores(rng):
    """The scores of a decoder, masked, or (one in four) of an encoder, and a place."""
    B, H, T = int(rng.integers(1, 3)), int(rng.integers(1, 4)), int(rng.integers(2, 6))
    scores = torch.from_numpy(rng.normal(size=(B, H, T, T))).float()
    if rng.random() < 0.75:
        scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf)
    return scores, int(rng.integers(T))


def _hide_by_mask(scores, place):
    T = scores.shape[-1]
    rows, columns = torch.arange(T)[:, None], torch.arange(T)
    return scores.masked_fill((columns == place) & (rows > place), -math.inf)


def _hide_by_rows(scores, place):
    rows = [scores[..., i, :].clone() for i in range(scores.shape[-2])]
    for i in range(place + 1, len(rows)):
        rows[i][..., place] = -math.inf
    return torch.stack(rows, dim=-2)


def _hide_by_adding(scores, place):
    seen = torch.ones(scores.shape[-2:])
    seen[place + 1 :, place] = 0
    return scores + seen.log()


def _filled(at, value=-math.inf):
    """An attempt that fills an index, given by the place, with a value."""

    def attempt(scores, place):
        scores = scores.clone()
        scores[at(place)] = value
        return scores

    return attempt


def _here(place, rows=None):
    return (slice(None), slice(None), slice(place + 1, None) if rows is None else rows, place)


def _still_a_score(arguments, given, wanted):
    lowest = given[wanted.isinf() & ~arguments[0].isinf()].min().item()
    return (
        f"{lowest:g} is very low, but it's still a score: in a row of others as low it would get its share. −torch.inf "
        "becomes a weight of exactly 0, whatever stands beside it"
    )


EXERCISES = [
    Exercise(
        id="09-test", title="was it used?", minutes=4, difficulty=2,
        task="""Asked where Anna is, a model says “kitchen”, and a head looks sharply at “kitchen” in *Anna was in the kitchen*. Which test decides
whether the model used that word?

**a** See whether other heads look there, too. · **b** Tell the same story with Anna in the hall, and see whether the answer is “hall”. ·
**c** Put any other token in its place, and see whether the loss rises. · **d** Ask in 100 stories whether the answer is right.""",
        stub="test = ...  # a letter, as text", name="test",
        hints=(
            "Which of them changes the truth?",
            "Which of them says beforehand what the model must answer instead?",
            "Only one replaces the word such that another answer becomes the right one. Which?",
        ),
        answer="b", another=("B.", "(b)"),
        wrong=(
            ("a", "the look is what you start from: it needs a test, it is none"),
            ("c", "c shows that something broke, perhaps for other reasons; only b says which answer must come out instead"),
            ("d", "a right answer can be had for other reasons: the same place may be said twice, or be guessed"),
        ),
        right="one word is changed, the truth changes with it, and the answer has to follow",
    ),
    Exercise(
        id="09-difference", title="a logit difference on paper", minutes=3, difficulty=1,
        task="A model gives “hall” the probability 0.6 and “attic” 0.2; the rest goes to other words. What's the logit difference of the answer “hall” and its rival “attic”?",
        stub="d = ...  # a number, to two digits", name="d",
        hints=(
            "Do you need the other words' probabilities?",
            "A logit is ln p plus a number that's the same for all words. What happens to it in a difference?",
            "d = ln 0.6 − ln 0.2 = ln(0.6 / 0.2).",
        ),
        answer=math.log(3), another=(1.1, 1.0986), tolerance=0.006,
        wrong=(
            (0.4, "that's the difference of the probabilities: take their logarithms first"),
            (3, "those are the odds: the difference of the logits is their logarithm"),
            (-math.log(3), "the sign is turned: the answer's logit comes first"),
            (math.log2(3), "that's in bits: logits go with the natural logarithm"),
            (math.log10(3), "that's with base 10: logits go with the natural logarithm"),
            (math.log(0.6 / 0.4), "that's “hall” against everything else: the rival is “attic” alone"),
            (math.log(0.6), "that's ln p of the answer: the rival's is missing"),
        ),
        right="ln 3: the answer is three times as likely as its rival, whatever the others get",
    ),
    Exercise(
        id="09-rollout", title="rollout", minutes=10, difficulty=2,
        task=r"""Write `rollout(maps)`: $R_0 = I$ and $R_{l+1} = \tfrac12 (A_l + I)\, R_l$ for the layers $l = 0, \dots, L - 1$, where $A_l$, shape $(T, T)$, is the mean
over the heads of layer $l$. Give back $R_1, \dots, R_L$, one after each layer.""",
        stub="def rollout(maps):\n    # maps: (L, H, T, T), a tensor -> (L, T, T)\n    return ...", name="rollout",
        hints=(
            "What is R after one layer? Write it down for L = 1, then for L = 2, before you write a loop.",
            "Go through the layers from the first up and keep each product in a list. On which side of R does the new layer stand, "
            "and over which axis are the heads?",
            "`r = (layer + eye) / 2 @ r` for each layer of `maps.mean(dim=-3)`, with `eye = torch.eye(maps.shape[-1])`. "
            "`torch.stack` makes one tensor of a list.",
        ),
        answer=rollout, another=(_another_rollout, _rollout_by_paths, _rollout_by_shares), inputs=_maps,
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
            (_rollout_head_by_head, "each head is rolled out on its own, and the mean comes last: in every layer a head reads what *all* heads below wrote, so average over the heads before you multiply"),
            (_rollout_bare_start, "layer 0 has lost its residual: R_0 = I, so R_1 = (A_0 + I) / 2, like every layer after it"),
            (_rollout_of_every_head, "the heads are still apart: average over them in each layer, before the product"),
            (lambda maps: rollout(maps.amax(dim=1, keepdim=True)), "that's the largest weight of any head: take the mean over the heads, so that rows still sum to 1"),
            (lambda maps: rollout(maps.transpose(0, 1)), "you averaged over the layers and multiplied over the heads: the axes are (L, H, T, T), so the heads are axis 1"),
            (_rollout_in_place, "your list holds *one* tensor L times: += and /= change it in place, also where you kept it before. Write r = (A + I) / 2 @ r, which makes a new one"),
            (_rollout_elementwise, "`*` multiplies number by number: the product of matrices is `@`"),
            (_rollout_half_of_one, "only one of the two is halved: put brackets around the sum, (A + I) / 2 @ R"),
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
        id="09-knockout", title="nobody may look", minutes=6, difficulty=2,
        task="Write `hide(scores, place)`: a copy of the scores in which no *later* query can look at that place. Its own row stays as it is. (A score of −∞ becomes a weight of 0, and "
        "softmax shares the rest out among the others.)",
        stub="def hide(scores, place):\n    # scores (B, H, T, T), queries by keys, before softmax -> the same shape\n    return ...", name="hide",
        hints=(
            "Which of the last two axes is the query's, and which the key's?",
            "A key is a column. In which rows does it have to disappear? Use a copy: `scores.clone()`.",
            "`scores[:, :, place + 1 :, place] = -torch.inf`.",
        ),
        answer=hide, another=(_hide_by_mask, _hide_by_rows, _hide_by_adding), inputs=_scores, special=(("the last place", torch.zeros(1, 1, 3, 3).masked_fill(torch.ones(3, 3).triu(1) == 1, -torch.inf), 2),),
        wrong=(
            (_filled(lambda place: _here(place), 0.0), "a score of 0 is an ordinary score, and gets its share: −∞ is what softmax turns into 0"),
            *((_filled(lambda place: _here(place), value), _still_a_score) for value in (-1e4, -1e5, -1e6, -1e9, -1e10, torch.finfo(torch.float32).min)),
            (_filled(lambda place: _here(place), torch.inf), "the sign is turned: a score of +∞ is looked at by everybody, −∞ by nobody"),
            (_filled(lambda place: (slice(None), slice(None), place, slice(place + 1, None))), "rows and columns have changed places: yours keeps `place` from looking *ahead*, which a decoder's mask has done already. Rows look, columns are looked at: hide the column of `place`, in later rows"),
            (_filled(lambda place: (slice(None), slice(None), slice(None, place), place)), "those are the *earlier* rows, and in a decoder they can't see that place anyway: hide it from later ones, place + 1 and on"),
            (_filled(lambda place: (slice(None), slice(None), slice(place + 1, None), slice(None, place + 1))), "that hides every word up to there: the column of `place` alone is meant"),
            (_filled(lambda place: _here(place, slice(place, None))), "that hides the place from itself as well: its own row keeps it, only later rows lose it"),
            (_filled(lambda place: _here(place, place + 1)), "that's one row alone, and after the last place there's none: every later row is `place + 1 :`, with a colon"),
            (_filled(lambda place: (..., place)), "that hides the whole column, from the place itself and from earlier rows: only later rows lose it"),
            (_filled(lambda place: (slice(None), slice(None), place, slice(None, place))), "that's the row: it's the place that no longer looks at others. It should not be looked *at*, which is its column"),
            (_filled(lambda place: (slice(None), slice(None), place)), "that's the whole row, and a row of −∞ alone has no softmax: hide the column, in later rows"),
            (_filled(lambda place: _here(place, -1)), "that's the last query alone: hide it from every later one"),
            (_filled(lambda place: (slice(None), 0, slice(place + 1, None), place)), "that's hidden from head 0 alone: from all heads"),
            (lambda scores, place: scores, "nothing is hidden: the scores come back as they were"),
            (lambda scores, place: hide(scores, place).softmax(dim=-1), "those are weights already: give back the scores, the model does the softmax"),
        ),
        right="the weights that are left still sum to 1, so nothing shrinks: the word is just not there",
        ours="bigmodel_lib.exercises.nb09b:hide",
    ),
    Exercise(
        id="09-sharp", title="a sharp map without effect", minutes=3, difficulty=2,
        task="""In 09, the novelist's head 2.1 gave Anna nearly all of its weight. But carrying over what it brings changed nothing, and silencing it left the gap between *she* and *it* as wide as before.
What follows?

**a** The answer comes from Anna. · **b** The map is wrong. · **c** The map is right, and shows where a head looks: not what it
writes, nor who reads that. · **d** One text is too few: over many texts such a map would show what is used.""",
        stub="what = ...  # a letter, as text", name="what",
        hints=(
            "What does a head do after it has looked?",
            "Its output goes through `w_o` before anyone can read it. Does the map show that?",
            "The map is computed from the head's own weights: it can't be wrong about where it looks. What is it silent about?",
        ),
        answer="c", another=("(C)", "c."),
        wrong=(
            ("a", "it looks there; whether anything of what it finds is written, and read, a map doesn't say"),
            ("b", "a map of weights can be right about where a head looks: the mistake is to read more out of it"),
            ("d", "one text may be luck; but no number of texts turns a look into a use"),
        ),
        right="looking, writing and being read are three things, and the map shows the first",
    ),
    Exercise(
        id="09-backup", title="two heads, one answer", minutes=6, difficulty=3,
        task=r"""On paper: only two words are possible. Each of two heads adds 4 to their logit difference d, so both together make it 8,
and the right word costs $\ln(1 + e^{-d})$ nats. How many nats more does it cost without *one* head, and how many without
*both*? Write down the second.""",
        stub="cost_of_both = ...  # a number, to two digits", name="cost_of_both",
        hints=(
            "What logit difference is left without both?",
            "With d = 0 both words are equally likely. What does the right one cost then, and what did it cost with both heads?",
            "ln(1 + e⁰), less what it cost before, ln(1 + e⁻⁸), which is next to nothing.",
        ),
        answer=math.log(2) - math.log1p(math.exp(-8)), another=(0.7, 0.69), tolerance=0.0075,
        wrong=(
            (math.log1p(math.exp(-4)) - math.log1p(math.exp(-8)), "that's without one head: d = 4 is left"),
            (2 * (math.log1p(math.exp(-4)) - math.log1p(math.exp(-8))), "effects of single heads don't add up in nats: go back to the logit difference"),
            (8, "that's the logit difference: the cost is minus the logarithm of a probability"),
            (1, "with d = 0 two words have the same probability: what does a fair coin cost, in nats?"),
            (0.5, "that's the probability that is left: the cost is minus its logarithm"),
        ),
        right="forty times the effect of one, 0.018: once d is large, losing half of it is hardly felt",
    ),
]  # fmt: skip
