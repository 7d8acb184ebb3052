"""The exercises of 13b_privacy_security_fairness."""

import math

import numpy as np
import torch

from bigmodel_lib.exercises.engine import Exercise, Tolerance

# 13-exposure


def _codes(rng):
    n = int(rng.choice([2, 10, 100, 1000]))
    return rng.normal(-9, 2, size=n).round(1), int(rng.integers(n))


def exposure(log_probs, secret):
    """log2(how many codes there are) - log2(rank of the secret among them); rank 1 is the likeliest.

    Codes that are exactly as likely don't count as likelier. Shapes: (R,), an index -> bits. Source: Carlini et al. 2019, section 4.2.
    """
    rank = 1 + (log_probs > log_probs[secret]).sum()
    return float(np.log2(len(log_probs)) - np.log2(rank))


def _exposure_by_loop(log_probs, secret):
    likelier = [p for p in log_probs if p > log_probs[secret]]
    return math.log2(len(log_probs) / (1 + len(likelier)))


def _exposure_by_sorting(log_probs, secret):
    rank = 1 + np.searchsorted(np.sort(-log_probs), -log_probs[secret], side="left")
    return float(np.log2(len(log_probs) / rank))


# 13-caught


def _two_scores(rng):
    n, m = int(rng.integers(2, 60)), int(rng.integers(2, 60))
    both = rng.permutation(4 * (n + m))[: n + m] / 8
    return both[:n] + rng.choice([0.0, 20.0]), both[n:], float(rng.choice([0.0, 0.1, 0.25, 0.5]))


def caught(members, strangers, rate):
    """True positives at a false-positive rate: the share of members above all but a share `rate` of the strangers.

    k = ⌊rate · N⌋ strangers may be above the threshold, which is the next one's score. Shapes: (M,), (N,) -> number.
    """
    k = math.floor(rate * len(strangers))
    threshold = np.sort(strangers)[::-1][k]
    return float((members > threshold).mean())


def _caught_by_counting(members, strangers, rate):
    above = np.array([(strangers >= score).sum() for score in members])
    return float((above <= math.floor(rate * len(strangers))).mean())


def _caught_by_index(members, strangers, rate):
    ordered = sorted(strangers)
    threshold = ordered[len(ordered) - 1 - int(rate * len(ordered))]
    return sum(score > threshold for score in members) / len(members)


# 13-private


def _gradients(rng):
    B, P = int(rng.integers(1, 7)), int(rng.integers(1, 6))
    gradients = torch.from_numpy(rng.normal(0, rng.choice([0.1, 3.0]), size=(B, P))).float()
    return (
        gradients,
        float(rng.choice([0.5, 1.0, 2.0])),
        torch.from_numpy(rng.normal(size=P)).float(),
        float(rng.integers(1, 20)),
    )


def private_gradient(gradients, clip, noise, expected):
    """(Σ_b g_b · min(1, C/‖g_b‖) + C · noise) / the expected number of rows. Source: Abadi et al. 2016, algorithm 1.

    Shapes: gradients (B, P), one a row of the text, noise (P,) -> (P,).
    """
    norms = gradients.norm(dim=1, keepdim=True)
    clipped = gradients * (clip / norms.clamp(min=1e-12)).clamp(max=1)
    return (clipped.sum(dim=0) + clip * noise) / expected


def _private_by_loop(gradients, clip, noise, expected):
    total = clip * noise
    for g in gradients:
        total = total + g / max(1.0, g.norm().item() / clip)
    return total / expected


def _private_by_einsum(gradients, clip, noise, expected):
    scale = torch.minimum(torch.ones(len(gradients)), clip / (gradients.square().sum(1).sqrt() + 1e-20))
    return (torch.einsum("b,bp->p", scale, gradients) + clip * noise) / expected


def _private_with(scale=None, total=None):
    def wrong(g, clip, noise, expected):
        norms = g.norm(dim=1, keepdim=True).clamp(min=1e-12)
        s = (clip / norms).clamp(max=1) if scale is None else scale(g, clip, norms)
        clipped = (g * s).sum(0)
        return (clipped + clip * noise) / expected if total is None else total(clipped, clip, noise, expected, len(g))

    return wrong


# 13-threshold


def _scores(rng):
    n = int(rng.integers(3, 40))
    truth = rng.random(n) < 0.5
    truth[int(rng.integers(n))] = True
    return rng.permutation(3 * n)[:n] / (3 * n), truth, float(rng.choice([0.25, 0.5, 0.8, 1.0]))


def threshold_for(scores, truth, share):
    """The highest threshold at which at least that share of the true ones have a score at or above it.

    Shapes: (N,), (N,) True where it's true -> number. Source: Hardt et al. 2016 (equal opportunity).
    """
    good = np.sort(scores[truth])[::-1]
    return float(good[math.ceil(share * len(good)) - 1])


def _threshold_by_search(scores, truth, share):
    good = scores[truth]
    return max(float(t) for t in good if (good >= t).mean() >= share - 1e-12)


def _threshold_by_loop(scores, truth, share):
    ordered, n = sorted((s for s, is_true in zip(scores, truth, strict=True) if is_true), reverse=True), 0
    while (n + 1) / len(ordered) < share - 1e-12:
        n += 1
    return float(ordered[n])


EXERCISES = [
    Exercise(
        id="13-exposure", title="how exposed is it?", minutes=6, difficulty=2,
        task="Write `exposure(log_probs, secret)`. `log_probs` holds the model's ln p of *every* possible code, and `secret` is the place of the real one. Its rank is 1 if no other code is likelier, 2 if one is, and so on. "
        "The **exposure** is log₂(number of codes) − log₂(rank), in bits.",
        stub="def exposure(log_probs, secret):\n    # (R,), a place in it -> a number of bits\n    return ...", name="exposure",
        hints=(
            "What's the exposure of the likeliest of all codes? And of the least likely one?",
            "The rank is one more than the number of codes with a larger ln p than the secret's own.",
            "`rank = 1 + (log_probs > log_probs[secret]).sum()`, and then two logarithms with base 2.",
        ),
        answer=exposure, another=(_exposure_by_loop, _exposure_by_sorting), inputs=_codes,
        special=(
            ("a tie counts for the secret", np.array([-2.0, -1.0, -1.0, -3.0]), 2),
            ("the least likely of eight", -np.arange(8.0), 7),
        ),
        partial=(
            (lambda p, s: float(np.log2(len(p)) - np.log2((p >= p[s]).sum())), "right where no other code is exactly as likely; those that are don't count as likelier"),
            (lambda p, s: float(np.log2(len(p)) - np.log2(1 + np.argsort(-p, kind="stable").tolist().index(s))), "right where no other code is exactly as likely; sorting puts some of those before it"),
        ),
        wrong=(
            (lambda p, s: float(np.log(len(p)) - np.log(1 + (p > p[s]).sum())), "that's in nats: bits were asked for, log₂"),
            (lambda p, s: float(np.log2(len(p)) - np.log2(1 + (p < p[s]).sum())), "that ranks from the other end: rank 1 is the likeliest"),
            (lambda p, s: float(np.log2(1 + (p > p[s]).sum())), "that's log₂ of the rank alone: it's high where the secret is safe"),
            (lambda p, s: float(np.log2(1 + (p > p[s]).sum()) - np.log2(len(p))), "the sign is turned: an exposed secret has a high exposure"),
            (lambda p, s: float(np.log2(len(p)) - np.log2((p > p[s]).sum())) if (p > p[s]).any() else float("inf"), "rank starts at 1: one more than the number of likelier codes"),
            (lambda p, s: float(np.log2(len(p)) - np.log2(1 + np.argsort(-p)[s])), "`argsort` lists places in order of rank; it doesn't give each place its rank: count the likelier codes"),
            (lambda p, s: float(np.log2(len(p)) - np.log2(1 + np.argsort(p).tolist().index(s))), "that ranks upwards: rank 1 is the likeliest"),
            (lambda p, s: float(np.log10(len(p)) - np.log10(1 + (p > p[s]).sum())), "that's log₁₀: bits were asked for, log₂"),
            (lambda p, s: float(np.log2(10000) - np.log2(1 + (p > p[s]).sum())), "the number of codes is the length of `log_probs`"),
            (lambda p, s: float(-p[s] / np.log(2)), "that's its surprise in bits: exposure only asks for its rank among the others"),
            (lambda p, s: int(1 + (p > p[s]).sum()), "that's the rank: now log₂ of the number of codes, minus log₂ of it"),
        ),
        right="full exposure means that whoever asks for the likeliest code gets the secret",
        ours="bigmodel_lib.exercises.nb13b:exposure",
    ),
    Exercise(
        id="13-caught", title="at one false alarm in a hundred", minutes=8, difficulty=2,
        task="Write `caught(members, strangers, rate)`. Both hold scores; high ones look like members. Choose the threshold so that at most ⌊rate · number of strangers⌋ of the strangers are above it: it's the score of the *next* stranger, counted from the highest. "
        "What share of the members is above it? (Above: larger, not equal.)",
        stub="def caught(members, strangers, rate):\n    # (M,), (N,), a share -> a share\n    return ...", name="caught",
        hints=(
            "Only the strangers decide where the threshold is. The members are then simply counted.",
            "Sort the strangers downwards. If k of them may be above, which place is the first that may not?",
            "`np.sort(strangers)[::-1][k]` with `k = math.floor(rate * len(strangers))`, then the mean of `members > threshold`.",
        ),
        answer=caught, another=(_caught_by_counting, _caught_by_index), inputs=_two_scores,
        special=(("no false alarm allowed", np.array([3.0, 5.0, 9.0]), np.array([1.0, 5.0, 4.0]), 0.0),),
        wrong=(
            (lambda m, s, r: float((m > np.sort(m)[::-1][min(len(m) - 1, math.floor(r * len(m)))]).mean()), "the threshold comes from the strangers: their false alarms are what's limited"),
            (lambda m, s, r: float((m > np.sort(s)[min(len(s) - 1, math.floor(r * len(s)))]).mean()), "sort downwards: that threshold lets nearly all strangers through"),
            (lambda m, s, r: float((m <= np.sort(s)[::-1][math.floor(r * len(s))]).mean()), "those are the members that slip through: count the ones above"),
            (lambda m, s, r: float((m >= np.sort(s)[::-1][math.floor(r * len(s))]).mean()), "above means larger: an equal score isn't above"),
            (lambda m, s, r: float((m > np.sort(s)[::-1][max(0, math.floor(r * len(s)) - 1)]).mean()), "one place too strict: with k strangers above it, the threshold is the next one's score"),
            (lambda m, s, r: float((m > np.quantile(s, 1 - r)).mean()), "a quantile interpolates, and may let too few strangers through: count k places from the top"),
            (lambda m, s, r: float((m > np.sort(s)[-math.floor(r * len(s))]).mean()), "k from the end is the last that may be above, and −0 is the *first* of all: one place further, −k − 1"),
            (lambda m, s, r: float((m > np.sort(s)[::-1][min(len(s) - 1, math.ceil(r * len(s)))]).mean()), "round down: that can let one stranger too many through"),
            (lambda m, s, r: float((m > np.sort(s)[::-1][min(len(s) - 1, round(r * len(s)))]).mean()), "round down, not to the nearest: that can let one stranger too many through"),
            (lambda m, s, r: float((m > np.sort(np.concatenate([m, s]))[::-1][math.floor(r * (len(m) + len(s)))]).mean()), "the threshold comes from the strangers alone, without the members"),
            (lambda m, s, r: int((m > np.sort(s)[::-1][math.floor(r * len(s))]).sum()), "that's how many: the share of the members was wanted"),
            (lambda m, s, r: float((s > np.sort(s)[::-1][math.floor(r * len(s))]).mean()), "that's the share of the strangers, which is the rate: count the members"),
        ),
        right="an attack that accuses everybody catches everybody: only at a low rate of false alarms does it mean anything",
        ours="bigmodel_lib.exercises.nb13b:caught",
    ),
    Exercise(
        id="13-private", title="clip, add up, add noise", minutes=10, difficulty=3,
        task="Write `private_gradient(gradients, clip, noise, expected)`, the heart of DP-SGD. `gradients` has one row for each text in the batch. Shorten every row that's longer than `clip` to just that length (its direction stays); leave the others alone. Add the rows up, add `clip * noise`, and divide by `expected`, the number of texts that a batch has on average. All are PyTorch tensors.",
        stub="def private_gradient(gradients, clip, noise, expected):\n    # (B, P), a length, (P,), a number -> (P,)\n    return ...", name="private_gradient",
        hints=(
            "How much can one text change the sum, once it's clipped? That's what the noise must hide.",
            "A row's factor is 1 if it's short enough, and otherwise clip over its length. `gradients.norm(dim=1, keepdim=True)` has all lengths; beware of a length of 0.",
            "`gradients * (clip / norms.clamp(min=1e-12)).clamp(max=1)`, then `.sum(dim=0)`, plus the noise, over `expected`.",
        ),
        answer=private_gradient, another=(_private_by_loop, _private_by_einsum), inputs=_gradients, tolerance=Tolerance(absolute=1e-5, relative=1e-4),
        special=(
            ("an empty batch", torch.zeros(0, 2), 1.0, torch.tensor([0.5, -1.0]), 4.0),
            ("a gradient of 0", torch.tensor([[0.0, 0.0], [3.0, 4.0]]), 1.0, torch.tensor([0.0, 1.0]), 2.0),
        ),
        partial=(
            (lambda g, c, n, e: ((g / (norms := g.norm(dim=1, keepdim=True)) * norms.clamp(max=c)).sum(0) + c * n) / e, "where no gradient is exactly 0 it's right; there 0 / 0 is nan"),
        ),
        wrong=(
            (_private_with(scale=lambda g, c, n: torch.ones_like(n)), "nothing is clipped: a single text could move the sum as far as it likes"),
            (_private_with(scale=lambda g, c, n: c / n), "short gradients are stretched: only those longer than clip change"),
            (_private_with(scale=lambda g, c, n: (c / g.sum(0).norm().clamp(min=1e-12)).clamp(max=1).expand(len(g), 1)), "clip each row by its own length, not the sum: the sum's length says nothing about one text"),
            (_private_with(scale=lambda g, c, n: (c / g.norm().clamp(min=1e-12)).clamp(max=1).expand(len(g), 1)), "that's the length of all rows together: clip each row by its own, `dim=1`"),
            (lambda g, c, n, e: ((g * (c / g.norm(dim=0).clamp(min=1e-12)).clamp(max=1)).sum(0) + c * n) / e, "those are the lengths of the columns: a text is a row, `dim=1`"),
            (_private_with(scale=lambda g, c, n: (c / n).clamp(min=1)), "that stretches the short ones and leaves the long: the factor is at *most* 1"),
            (_private_with(scale=lambda g, c, n: (n <= c).to(g.dtype)), "shorten the long rows, don't leave them out"),
            (lambda g, c, n, e: ((g * (c / g.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1) + c * n).sum(0)) / e, "add the noise once, to the sum, not to every row"),
            (lambda g, c, n, e: (((h := g + c * n) * (c / h.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)).sum(0)) / e, "clip first, then add up, then the noise: clipped noise hides less"),
            (_private_with(total=lambda s, c, n, e, b: s / max(b, 1) + c * n / e), "divide the sum by the expected number, too: the real one depends on who is in the batch"),
            (_private_with(total=lambda s, c, n, e, b: s / max(b, 1) + c * n), "that's a mean over the batch, and full noise on top: add the noise to the sum, and divide by the expected number"),
            (lambda g, c, n, e: (g.clamp(-c, c).sum(0) + c * n) / e, "clip the length of a row, not each of its numbers: its direction must stay"),
            (_private_with(total=lambda s, c, n, e, b: (s + n) / e), "the noise is measured in units of clip: multiply it"),
            (_private_with(total=lambda s, c, n, e, b: s / e), "the noise is missing: without it nothing is hidden"),
            (_private_with(total=lambda s, c, n, e, b: s / e + c * n), "first add the noise to the sum, then divide: yours is too loud"),
            (_private_with(total=lambda s, c, n, e, b: (s + c * n) / max(b, 1)), "divide by the expected number: the real one depends on who is in the batch, and would give it away"),
            (_private_with(total=lambda s, c, n, e, b: s + c * n), "divide by the expected number of texts"),
        ),
        right="whoever is in the batch can move the sum by at most clip, and noise of that size hides it",
        ours="bigmodel_lib.exercises.nb13b:private_gradient",
    ),
    Exercise(
        id="13-group", title="sixteen copies", minutes=4, difficulty=2,
        task="On paper. DP-SGD promises ε = 0.5 for *one row* of the training text (take δ as 0). Anna's secret is in 16 rows. What's the ε that protects the secret, all copies of it?",
        stub="group_epsilon = ...  # a number", name="group_epsilon",
        hints=(
            "ε limits how much the model's odds can change when *one* row is taken out. How many rows have to go?",
            "Take them out one by one. Each time the odds change by a factor of at most e^ε. What happens to such factors, and to their exponents?",
            "e^0.5 multiplied 16 times.",
        ),
        answer=8.0, another=(8, 16 * 0.5), tolerance=0.01,
        wrong=(
            (0.5, "that's for one row: with one copy gone, fifteen are still there"),
            (0.5 / 16, "copies make it worse, not better"),
            (2.0, "that would be √16: factors multiply here, so exponents add"),
            (16.0, "16 copies, each with ε = 0.5"),
            (math.exp(8), "that's the factor e^ε: the exponent itself was wanted"),
            (16 * math.exp(0.5), "the factors e^0.5 multiply, so the exponents add up: 16 times ε"),
            (7.5, "the sixteenth copy has to go as well"),
            (0.5**16, "the factors e^0.5 multiply, so the exponents add up"),
        ),
        right="e^8 is a factor of about 3,000: hardly a promise. Count whom you protect, not rows",
    ),
    Exercise(
        id="13-parity", title="the same promise, twice", minutes=6, difficulty=2,
        task="On paper. Two groups of 100 people each. In A 50 would repay a loan, in B 20. A bank finds 60 % of those who would repay, in both groups, and of the people it says yes to, 80 % repay, in both groups. In group B, what share of those who would *not* repay gets a yes?",
        stub="false_yes_in_b = ...  # a share", name="false_yes_in_b",
        hints=(
            "Fill in B's table with people: how many would repay, and how many of those get a yes?",
            "Those 12 are 80 % of all who get a yes. So how many get a yes, and how many of them won't repay?",
            "12 / 0.8 = 15 get a yes, 3 of them won't repay. Out of how many who wouldn't?",
        ),
        answer=3 / 80, another=(0.0375, 0.038), tolerance=0.0011,
        partial=((0.04, "right if you round to whole per cent: give it to three places"),),
        wrong=(
            (0.2, "that's the share of the yeses that go wrong: divide by all who would not repay"),
            (3 / 100, "divide by those who would not repay, 80, not by the whole group"),
            (0.15, "that's group A (7.5 of 50), or the share of B that gets a yes: in B it's 3 of 80"),
            (3.75, "right in per cent: give a share between 0 and 1"),
            (0.4, "that's the share of those who would repay and get a no"),
            (3.0, "that's how many people: out of how many who would not repay?"),
            (0.25, "divide by those who would not repay, 80, not by the 12 who were found"),
            (0.12, "those are the 12 who were found, out of all: who of the others gets a yes?"),
        ),
        right="in A it's 7.5 of 50, 0.15: four times as much. Equal promises, unequal errors, and nobody meant it: it's arithmetic",
    ),
    Exercise(
        id="13-threshold", title="a threshold for each group", minutes=6, difficulty=2,
        task="Write `threshold_for(scores, truth, share)`: the highest threshold at which at least that share of the true ones have a score *at or above* it.",
        stub="def threshold_for(scores, truth, share):\n    # (N,), (N,) True or False, a share above 0 -> a number\n    return ...", name="threshold_for",
        hints=(
            "Only the true ones matter. Line their scores up from the highest: how many of them must be in?",
            "Rounding down could leave you just below the share. And the n-th in a list has index n − 1.",
            "`good = np.sort(scores[truth])[::-1]`, then the one at `math.ceil(share * len(good)) - 1`.",
        ),
        answer=threshold_for, another=(_threshold_by_search, _threshold_by_loop), inputs=_scores,
        special=(
            ("half of three is two", np.array([0.9, 0.1, 0.5, 0.7]), np.array([True, True, True, False]), 0.5),
            ("scores below 0, as logits are", np.array([0.5, -1.0, -2.0, 1.0]), np.array([True, True, True, False]), 1.0),
        ),
        wrong=(
            (lambda s, t, share: float(np.sort(s)[::-1][math.ceil(share * len(s)) - 1]), "only the true ones count: leave the others out"),
            (lambda s, t, share: float(np.sort(s[t])[math.ceil(share * t.sum()) - 1]), "that counts from the lowest score: start with the highest"),
            (lambda s, t, share: float(np.sort(s[t])[::-1][max(0, math.floor(share * t.sum()) - 1)]), "rounding down leaves too few of them in: at least that share"),
            (lambda s, t, share: float(np.sort(s[t])[::-1][min(t.sum() - 1, math.ceil(share * t.sum()))]), "one place too far down: the n-th of them has index n − 1"),
            (lambda s, t, share: float(np.sort(s[t])[::-1][math.floor(share * t.sum()) - 1]), "rounding down leaves too few of them in, and index −1 is the last of all: at least that share"),
            (lambda s, t, share: float(np.sort(s[t])[::-1][min(t.sum() - 1, math.floor(share * t.sum()))]), "the n-th of them has index n − 1, where n is rounded up"),
            (lambda s, t, share: float(np.sort(s[t])[::-1][max(0, round(share * t.sum()) - 1)]), "rounding to the nearest can leave too few of them in: at least that share"),
            (lambda s, t, share: float(np.sort(s[t])[::-1][min(t.sum(), math.ceil(share * len(s))) - 1]), "that share of the true ones, not of all"),
            (lambda s, t, share: float(np.sort(s * t)[::-1][math.ceil(share * t.sum()) - 1]), "the others became zeros, which come before scores below 0: leave them out"),
            (lambda s, t, share: float(np.quantile(s[t], 1 - share)), "a quantile interpolates between scores: take one that's there"),
            (lambda s, t, share: float(np.sort(s[t])[0]), "that lets all true ones in, whatever the share"),
            (lambda s, t, share: float(np.sort(s[~t])[::-1][max(0, math.ceil(share * (~t).sum()) - 1)]) if (~t).any() else -1.0, "those are the ones that aren't true"),
        ),
        right="give each group its own, and those who deserve a yes get it equally often in both",
        ours="bigmodel_lib.exercises.nb13b:threshold_for",
    ),
]  # fmt: skip
