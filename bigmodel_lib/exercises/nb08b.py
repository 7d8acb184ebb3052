"""The exercises of 08b_preferring."""

import math

import numpy as np
import torch
from torch.nn import functional

from bigmodel_lib.exercises.engine import Exercise, Tolerance
from bigmodel_lib.finetuning.dpo import dpo_loss

# 08-price


def _shares(rng):
    """The share of good texts now, and the share that is wanted."""
    return tuple(float(share) for share in rng.uniform(0.02, 0.98, size=2))


def least_kl(p, q):
    """The least KL divergence that moves the share of good texts from p to q: two coins, q against p, in nats.

    q ln(q/p) + (1 - q) ln((1 - q)/(1 - p)), with 0 ln 0 = 0. Source: Cover & Thomas 2006, theorem 2.7.1 (the log-sum inequality).
    """
    parts = [(q, p), (1 - q, 1 - p)]
    return sum(now * math.log(now / before) for now, before in parts if now > 0)


def _price_by_scipy(p, q):
    from scipy.special import rel_entr

    return float(rel_entr(q, p) + rel_entr(1 - q, 1 - p))


def _price_by_torch(p, q):
    now, before = (torch.tensor([x, 1 - x], dtype=torch.float64) for x in (q, p))
    return (torch.xlogy(now, now) - torch.xlogy(now, before)).sum().item()


def _price_with_nan(p, q):
    with np.errstate(all="ignore"):
        return float(q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)))


# 08-dpo


def _four_texts(rng):
    """ln p of B chosen and B rejected texts, now and before; gradients go to the first two."""
    n_pairs = int(rng.integers(1, 9))
    four = [torch.from_numpy(-rng.exponential(rng.choice([1.0, 20.0]), size=n_pairs)).float() for _ in range(4)]
    return *(x.requires_grad_(i < 2) for i, x in enumerate(four)), float(rng.uniform(0.05, 2.0))


def _very_wrong_pair():
    chosen = torch.tensor([-2000.0], requires_grad=True)
    zeros = [torch.zeros(1) for _ in range(3)]
    return chosen, zeros[0].requires_grad_(), *zeros[1:], 1.0


def _dpo_by_hand(chosen, rejected, chosen_before, rejected_before, beta):
    margin = beta * (chosen - rejected - chosen_before + rejected_before)
    return torch.log1p(torch.exp(-margin.abs())).mean() + torch.relu(-margin).mean()


def _wrong_dpo(inside, sign=-1.0, reduce="mean"):
    def loss(w, r, w0, r0, beta):
        return sign * getattr(functional.logsigmoid(inside(w, r, w0, r0, beta)), reduce)()

    return loss


def _dpo_by_softplus(chosen, rejected, chosen_before, rejected_before, beta):
    return functional.softplus(beta * (chosen_before - chosen + rejected - rejected_before)).sum() / len(chosen)


EXERCISES = [
    Exercise(
        id="08-best", title="the best of three", minutes=3, difficulty=1,
        task="Half of a model's stories are true. You let it tell three and keep a true one if there is one. How likely is what you keep to be true?",
        stub="kept_true = ...  # a number", name="kept_true",
        hints=(
            "It's easier to say when you end up with an untrue one.",
            "All three must be untrue. How likely is that, if they're told independently?",
            "1 − 0.5 · 0.5 · 0.5.",
        ),
        answer=0.875, another=(7 / 8, 0.88), tolerance=0.006,
        wrong=(
            (0.125, "that's how likely all three are untrue: you want the opposite"),
            (1.5, "a probability is at most 1: three chances don't simply add up"),
            (0.5, "that's a single story: you may choose among three"),
            (0.75, "that's the best of two"),
            (1.0, "all three may be untrue"),
            (0.375, "that's exactly one true story of three: two or three will do as well"),
            (87.5, "right in per cent: give a probability between 0 and 1"),
        ),
        right="1 − (1 − p)ⁿ: the only way to fail is to fail every time",
    ),
    Exercise(
        id="08-price", title="the lowest price", minutes=8, difficulty=2,
        task="Write `least_kl(p, q)`: the lowest price, in nats, of moving the share of true stories from p to q. It's the KL divergence between two coins: "
        "$q \\ln\\frac{q}{p} + (1 - q) \\ln\\frac{1 - q}{1 - p}$. p and q are numbers, 0 < p < 1 and 0 ≤ q ≤ 1, and $0 \\ln 0$ counts as 0.",
        stub="def least_kl(p, q):\n    # two numbers -> a number\n    return ...", name="least_kl",
        hints=(
            "There are two kinds of stories, and each adds one term. What happens to a term whose new share is 0?",
            "`math.log` refuses 0. When must you not call it?",
            "For each pair (q, p) and (1 − q, 1 − p): add new · log(new / old), but only if new is above 0.",
        ),
        answer=least_kl, another=(_price_by_scipy, _price_by_torch),
        inputs=_shares, tolerance=Tolerance(absolute=1e-6, relative=1e-5),
        special=(("all of them true", 0.5, 1.0), ("none of them true", 0.25, 0.0), ("nothing changes", 0.3, 0.3)),
        partial=(
            (lambda p, q: q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)), "between 0 and 1 it's right; at q = 0 or q = 1 there's a log of 0, whose term should count as 0"),
            (lambda p, q: (q * math.log(q / p) if q > 0 else 0.0) + (1 - q) * math.log((1 - q) / (1 - p)), "up to q = 1 it's right; there 1 − q is 0, and its term should count as 0, too"),
            (_price_with_nan, "between 0 and 1 it's right; at q = 0 or q = 1 NumPy makes 0 · ln 0 = nan, and it should count as 0"),
        ),
        wrong=(
            (lambda p, q: q * math.log(q / p), "the untrue stories are missing: they have a term of their own"),
            (lambda p, q: -least_kl(p, q), "the sign is the wrong way round: a price is never negative"),
            (lambda p, q: least_kl(q, p), "p and q have changed places: it's the new share that weighs each term"),
            (lambda p, q: math.log(q / p) + math.log((1 - q) / (1 - p)), "each logarithm must be weighted by its new share, q and 1 − q"),
            (lambda p, q: q * math.log(q / p) - (1 - q) * math.log((1 - q) / (1 - p)), "the two terms are added: yours subtracts the second"),
            (lambda p, q: least_kl(p, q) / math.log(2), "that's in bits: nats were asked for, so use the natural logarithm"),
            (lambda p, q: p * math.log(q / p) + (1 - p) * math.log((1 - q) / (1 - p)), "the terms are weighted by the old shares: take the new ones"),
            (lambda p, q: abs(q - p), "that's how far the share moves: the price is the formula above"),
        ),
        right="it costs little near p and more and more beyond: to make all stories true costs ln(1/p)",
        ours="bigmodel_lib.exercises.nb08b:least_kl",
    ),
    Exercise(
        id="08-dpo", title="the loss of preferring", minutes=8, difficulty=2,
        task="Write `dpo_loss(chosen, rejected, chosen_before, rejected_before, beta)`. For each pair, the margin is what the chosen text gained in ln p, minus what "
        "the rejected one gained. The loss is −ln σ(β · margin), averaged over the pairs. `functional.logsigmoid` is ln σ, and it's safe for large numbers.",
        stub="def dpo_loss(chosen, rejected, chosen_before, rejected_before, beta):\n"
        "    # ln p of each text (B,), under the model and under the reference -> one number\n    return ...", name="dpo_loss",
        hints=(
            "Four numbers a pair become one. What has each text gained since the start?",
            "The margin goes through ln σ. Should the loss be high or low where the margin is high? And how do B numbers become one?",
            "`margin = (chosen - chosen_before) - (rejected - rejected_before)`, then minus the mean of `logsigmoid(beta * margin)`.",
        ),
        answer=dpo_loss, another=(_dpo_by_hand, _dpo_by_softplus),
        inputs=_four_texts, special=(("a very wrong pair", *_very_wrong_pair()),),
        partial=(
            (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).sigmoid().log().mean(), "for ordinary pairs it is right; for a very wrong one, sigmoid is 0 and its logarithm infinite: use functional.logsigmoid"),
        ),
        wrong=(
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - r)), "the reference is missing: what counts is how far each has moved from where it was"),
            (_wrong_dpo(lambda w, r, w0, r0, b: -b * (w - w0 - r + r0)), "the sign is turned: this prefers the rejected"),
            (_wrong_dpo(lambda w, r, w0, r0, b: w - w0 - r + r0), "beta is missing"),
            (_wrong_dpo(lambda w, r, w0, r0, b: (w - w0 - r + r0) / b), "beta multiplies the margin, it does not divide it"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 - r + r0), sign=1.0), "the minus is missing: a loss falls as the margin grows"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 - r + r0), reduce="sum"), "the mean over the pairs was wanted, not the sum"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0 + r - r0)), "what the rejected gained counts against: its gain is taken away"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0)), "the rejected text is missing: its gain is taken away from the chosen one's"),
            (lambda w, r, w0, r0, b: -b * functional.logsigmoid(w - w0 - r + r0).mean(), "beta belongs inside σ, where it multiplies the margin"),
            (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).mean(), "ln σ is missing: without it a pair that is won already pulls as hard as ever"),
            (_wrong_dpo(lambda w, r, w0, r0, b: (b * (w - w0 - r + r0)).mean()), "the mean came too early: first ln σ of each pair, then the mean"),
            (lambda w, r, w0, r0, b: (b * (w - w0 - r + r0)).sigmoid().mean(), "that is the probability: the loss is minus its logarithm"),
            (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).sigmoid().mean(), "ln is missing: the loss is minus the *logarithm* of that probability"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w + w0 - r - r0)), "the reference is taken away: a gain is ln p now minus ln p before"),
            (_wrong_dpo(lambda w, r, w0, r0, b: b * (w - w0) - (r - r0)), "β multiplies the whole margin: put it in brackets"),
            (lambda w, r, w0, r0, b: -(b * (w - w0 - r + r0)).sigmoid().mean().log(), "take the logarithm of each pair, then the mean"),
            (lambda w, r, w0, r0, b: -functional.logsigmoid(b * (w - w0 - r + r0)), "one number was wanted, the mean over the pairs"),
            (lambda w, r, w0, r0, b: dpo_loss(w, r, w0, r0, b).item(), "the value is right, but `.item()` makes a plain number of it: the loss must stay a tensor, for backward()"),
            (lambda w, r, w0, r0, b: dpo_loss(w.detach(), r, w0, r0, b), "the value is right, but no gradient reaches `chosen`: don't detach it"),
        ),
        right="minus the log-probability, by Bradley and Terry, that the chosen one wins",
        ours="bigmodel_lib.finetuning.dpo:dpo_loss",
    ),
    Exercise(
        id="08-pull", title="how hard does a pair pull?", minutes=5, difficulty=2,
        task="On paper. The slope of one pair's loss in the chosen text's ln p is $-\\beta\\,\\sigma(-\\beta m)$, where m is the margin. At the start m = 0. Now, with "
        "β = 0.5, the chosen text has gained 1 nat and the rejected one has lost 1. How hard does the pair pull? Give the size, without the minus.",
        stub="pull = ...  # a number", name="pull",
        hints=(
            "First the margin: what the chosen gained, minus what the rejected gained. Losing 1 is gaining −1.",
            "Multiply the margin by −β, then take σ(x) = 1/(1 + e^−x). Is that all?",
            "The margin is 1 − (−1) = 2, so you need σ(−1), times the β in front.",
        ),
        answer=0.5 / (1 + math.e), another=(0.1345, 0.13), tolerance=0.0046,
        wrong=(
            (1 / (1 + math.e), "the factor β in front is missing"),
            (0.5 / (1 + 1 / math.e), "the argument is −β times the margin: a pair with a margin above 0 pulls less"),
            (0.25, "that is the weight at the start, with a margin of 0"),
            (0.5 / (1 + math.exp(2)), "inside the sigmoid is β times the margin as well"),
            (1 / (1 + 1 / math.e), "that is how sure the model is that the chosen one wins; the pull is what is missing to 1, times β"),
            (math.log(1 + 1 / math.e), "that's the loss itself: its slope was wanted"),
            (1 / (1 + math.exp(2)), "β is missing twice: in front, and inside σ"),
            (0.5 / (1 + math.exp(0.5)), "the margin is 1 − (−1) = 2, not 1"),
            (-0.5 / (1 + math.e), "its size was wanted, without the minus sign"),
        ),
        right="it began at β/2 = 0.25: as its margin grows a pair pulls less and less, but never with 0",
    ),
]  # fmt: skip
