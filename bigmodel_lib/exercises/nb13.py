"""The exercises of 13_evaluation_and_trust."""

import math

import numpy as np

from bigmodel_lib.exercises.engine import Exercise, Tolerance

# 13-paired


def _differences(rng):
    """Differences in eighths, so that sums are exact, and rows of coin flips."""
    n, rows = int(rng.integers(2, 12)), int(rng.integers(5, 60))
    return rng.integers(-16, 25, size=n) / 8, rng.choice([-1.0, 1.0], size=(rows, n))


def p_value(differences, signs):
    """The share of coin flips whose mean is at least as far from 0 as the real one, which counts as one flip itself.

    p = (1 + #{r: |mean(s_r ⊙ d)| ≥ |mean(d)|}) / (1 + R). Shapes: (N,), (R, N) -> number. Source: Fisher 1935.
    """
    flipped = np.abs((signs * differences).mean(axis=1))
    return float((1 + (flipped >= abs(differences.mean())).sum()) / (1 + len(signs)))


def _p_by_loop(differences, signs):
    real, count = abs(sum(differences)), 1
    for row in signs:
        count += abs(sum(s * d for s, d in zip(row, differences, strict=True))) >= real
    return count / (len(signs) + 1)


def _p_by_matrix(differences, signs):
    return float(np.mean(np.append(np.abs(signs @ differences) >= abs(differences.sum()), True)))


def _wrong_p(compare, more=1):
    def p(differences, signs):
        flipped, real = (signs * differences).mean(axis=1), differences.mean()
        return float((more + compare(flipped, real).sum()) / (more + len(signs)))

    return p


# 13-ece


def _forecasts(rng):
    n = int(rng.integers(1, 60))
    confidence = rng.integers(0, 129, size=n) / 128
    return confidence, rng.random(n) < confidence, int(rng.choice([2, 4, 8]))


def ece(confidence, hits, n_bins):
    """Expected calibration error: Σ over bins of (share of the forecasts in it) · |share of hits - mean confidence|.

    Bins are equally wide; a confidence of 1 is in the last. Shapes: (N,), (N,) -> number. Source: Guo et al. 2017, eq. 3.
    """
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    error = 0.0
    for b in range(n_bins):
        here = place == b
        if here.any():
            error += here.mean() * abs(hits[here].mean() - confidence[here].mean())
    return float(error)


def _ece_by_sums(confidence, hits, n_bins):
    place = np.minimum(np.floor(confidence * n_bins), n_bins - 1).astype(int)
    gaps = np.bincount(place, hits - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(hits))


def _ece_by_edges(confidence, hits, n_bins):
    place = np.clip(np.digitize(confidence, np.arange(1, n_bins) / n_bins), 0, n_bins - 1)
    return sum(abs((hits[place == b] - confidence[place == b]).sum()) for b in set(place.tolist())) / len(hits)


def _ece_of(place, confidence, hits, n_bins):
    here = [place == b for b in range(n_bins) if (place == b).any()]
    return float(sum(h.mean() * abs(hits[h].mean() - confidence[h].mean()) for h in here))


def _ece_with_nan(confidence, hits, n_bins):
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return ece(confidence, hits, n_bins) if len(set(place.tolist())) == n_bins else float("nan")


def _ece_with(weight=lambda here: here.mean(), gap=lambda h, c: abs(h.mean() - c.mean()), last=True):
    def wrong(confidence, hits, n_bins):
        place = (confidence * n_bins).astype(int)
        if last:
            place = np.minimum(place, n_bins - 1)
        parts = [(place == b) for b in range(n_bins) if (place == b).any()]
        return float(sum(weight(here) * gap(hits[here], confidence[here]) for here in parts))

    return wrong


# 13-split


def _members(rng):
    """Distributions of M members over V tokens at N places, some of them certain."""
    shape = tuple(int(n) for n in rng.integers(1, 6, size=3) + (0, 0, 1))
    p = rng.dirichlet(np.full(shape[2], rng.choice([0.3, 3.0])), size=shape[:2])
    if rng.random() < 0.5:
        p[0, 0] = np.eye(shape[2])[0]
    return (p,)


def _entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def split_doubt(p):
    """(total, within, between): the entropy of the mean, the mean of the entropies, and their difference, in nats.

    H(p̄) = mean_m H(p_m) + (what is left), with 0 ln 0 = 0. Shapes: (M, N, V) -> three of (N,). Source: Depeweg et al. 2018.
    """

    def entropy(p):
        return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)

    total, within = entropy(p.mean(axis=0)), entropy(p).mean(axis=0)
    return total, within, total - within


def _split_by_scipy(p):
    from scipy.special import entr

    total, within = entr(p.mean(0)).sum(-1), entr(p).sum(-1).mean(0)
    return total, within, total - within


def _split_by_kl(p):
    from scipy.special import entr, rel_entr

    mean = p.mean(0)
    between = rel_entr(p, np.broadcast_to(mean, p.shape)).sum(-1).mean(0)
    total = entr(mean).sum(-1)
    return total, total - between, between


def _split_with(make):
    def wrong(p):
        total, within = _entropy(p.mean(axis=0)), _entropy(p).mean(axis=0)
        return make(p, total, within)

    return wrong


def _split_with_nan(p):
    with np.errstate(all="ignore"):
        mean = p.mean(axis=0)
        total, within = -(mean * np.log(mean)).sum(-1), -(p * np.log(p)).sum(-1).mean(0)
    return total, within, total - within


# 13-abstain


def _sure_answers(rng):
    n = int(rng.integers(2, 40))
    confidence = rng.permutation(n * 3)[:n] / (3 * n)
    return confidence, rng.random(n) < 0.3 + 0.6 * confidence, float(rng.choice([0.25, 0.5, 0.8, 1.0]))


def accuracy_at(confidence, hits, coverage):
    """The share of hits among the most confident ones, as many as `coverage` of all, rounded, and one at least.

    Shapes: (N,), (N,) -> number. Source: El-Yaniv & Wiener 2010.
    """
    n = max(1, round(coverage * len(hits)))
    return float(hits[np.argsort(-confidence)[:n]].mean())


def _at_by_sorting(confidence, hits, coverage):
    n = max(1, round(coverage * len(hits)))
    best = sorted(zip(confidence, hits, strict=True), reverse=True)[:n]
    return sum(bool(hit) for _, hit in best) / n


def _at_by_threshold(confidence, hits, coverage):
    n = max(1, round(coverage * len(hits)))
    return float(hits[confidence >= np.sort(confidence)[-n]].mean())


EXERCISES = [
    Exercise(
        id="13-bits", title="bits for a byte", minutes=3, difficulty=1,
        task="On paper. A model's loss is 4 nats per token, and on this text a token is 4.8 bytes long on average. How many bits does it pay per byte? (ln 2 ≈ 0.693.)",
        stub="bits_per_byte = ...  # a number", name="bits_per_byte",
        hints=(
            "Two conversions: nats to bits, and tokens to bytes. Do them one at a time.",
            "A bit is less than a nat, so there are more of them. And one token's price is shared by its bytes.",
            "4 / 0.693 bits per token. Then divide by the bytes in a token.",
        ),
        answer=4 / np.log(2) / 4.8, another=(1.2022, 1.2), tolerance=0.006,
        wrong=(
            (4 / 4.8, "that's in nats per byte: a nat is 1/ln 2 = 1.44 bits"),
            (4 / np.log(2), "that's in bits per token: share it among the token's bytes"),
            (4 * 0.693 / 4.8, "nats to bits is a division by ln 2, not a product"),
            (4 * 4.8 / np.log(2), "a token's price is shared by its bytes: divide by 4.8"),
            (4 / np.log(2) / 4.8 / 8, "a byte is the unit already: no need to share among its 8 bits"),
            (float(np.exp(4) / 4.8), "that starts from the perplexity: start from the loss"),
            (2 / 4.8, "the loss is in nats already, a logarithm: don't take another one, divide by ln 2"),
        ),
        right="and now any two models can be compared on this text, whatever their tokens are",
    ),
    Exercise(
        id="13-paired", title="coin flips decide", minutes=8, difficulty=2,
        task="Write `p_value(differences, signs)`. `differences` holds one number a text, B's loss minus A's. If A and B were equally good, each difference might as well have the other sign. "
        "`signs` holds many rows of coin flips, +1 or −1. In how many rows is the flipped mean at least as far from 0 as the real one? Count the real one as one more row, above and below: "
        "$p = \\frac{1 + \\#\\{\\ldots\\}}{1 + \\text{rows}}$.",
        stub="def p_value(differences, signs):\n    # (N,), (rows, N) -> a number\n    return ...", name="p_value",
        hints=(
            "What would the mean difference have been, had each coin decided which model gets which loss?",
            "`signs * differences` has a row for each set of flips. Which axis is the mean over? And a mean far below 0 is as surprising as one far above.",
            "Compare `np.abs((signs * differences).mean(axis=1))` with the real one's absolute value, count, and add 1 above and below.",
        ),
        answer=p_value, another=(_p_by_loop, _p_by_matrix), inputs=_differences,
        special=(("no difference at all", np.zeros(3), np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])),),
        wrong=(
            (_wrong_p(lambda f, r: np.abs(f) > abs(r)), "flips that come out exactly as far count, too: “at least as far”"),
            (_wrong_p(lambda f, r: f >= r), "look at both sides: a mean far below 0 is as surprising as one far above"),
            (_wrong_p(lambda f, r: f <= r), "look at both sides, and count the flips that are farther out, not nearer"),
            (_wrong_p(lambda f, r: np.abs(f) >= abs(r), more=0), "the real one counts as a row as well: add 1 above and below, or p could be 0"),
            (_wrong_p(lambda f, r: np.abs(f) <= abs(r)), "that's the share of flips that are nearer to 0: the farther ones were asked for"),
            (lambda d, s: float((1 + (np.abs((s * d).mean(0)) >= abs(d.mean())).sum()) / (1 + len(s))), "the mean is over the texts, axis 1: one number for each row of flips"),
            (lambda d, s: float((1 + (np.abs((s * d).sum(1)) >= abs(d.mean())).sum()) / (1 + len(s))), "that compares sums with a mean: take the mean of both, or the sum of both"),
            (lambda d, s: float((1 + (np.abs((s * np.abs(d)).mean(1)) >= np.abs(d).mean()).sum()) / (1 + len(s))), "keep the signs of the differences: only a flip may turn them"),
            (lambda d, s: 100 * p_value(d, s), "right in per cent: give a share between 0 and 1"),
            (_wrong_p(lambda f, r: np.abs(f) >= r), "the real mean needs its absolute value, too: it may be below 0"),
            (lambda d, s: float(1 + (np.abs((s * d).mean(1)) >= abs(d.mean())).sum()), "that's the count: divide by the number of rows and one"),
            (lambda d, s: float((1 + (np.abs((s * d).mean(1)) >= abs(d.mean())).sum()) / len(s)), "add the 1 below, too: the real one is a row like the others"),
            (lambda d, s: 1 - p_value(d, s), "that's 1 − p: p is the share of flips that are as extreme"),
        ),
        right="Fisher's sign-flip test: it assumes nothing about how the differences are spread",
        ours="bigmodel_lib.exercises.nb13:p_value",
    ),
    Exercise(
        id="13-many", title="twenty tries", minutes=3, difficulty=1,
        task="You compare 20 new models with the old one. None of them is any better. Each test says “significant” by mistake with probability 0.05, independently. How likely is at least one false alarm?",
        stub="false_alarm = ...  # a number", name="false_alarm",
        hints=(
            "It's easier to say when there's no false alarm at all.",
            "Each test keeps quiet with probability 0.95, and all twenty have to.",
            "1 − 0.95²⁰.",
        ),
        answer=1 - 0.95**20, another=(0.64, 0.6415), tolerance=0.006,
        wrong=(
            (1.0, "20 · 0.05 = 1 is how many false alarms to expect, and 1 − 0.05²⁰ ≈ 1 how likely it is that not all twenty are false alarms: you want at least one"),
            (0.05, "that's one test: you have twenty"),
            (0.95, "that's how likely one test keeps quiet: you have twenty"),
            (0.95**20, "that's how likely there is none: you want the opposite"),
            (20 * 0.05 * 0.95**19, "that's exactly one false alarm: two or more count as well"),
            (0.05**20, "that's all twenty at once: one is enough"),
            (64.15, "right in per cent: give a probability between 0 and 1"),
        ),
        right="two times in three. Test at 0.05/20 each (Bonferroni), and it's 5 % again",
    ),
    Exercise(
        id="13-ece", title="does 80 % mean 80 %?", minutes=10, difficulty=2,
        task="Write `ece(confidence, hits, n_bins)`, the **expected calibration error**. Sort forecasts into bins of equal width by confidence (bin 0 goes from 0 up to, but not including, 1/n_bins; a confidence of exactly 1 goes into the last). "
        "In each bin, take the gap between the share of hits and the *mean confidence* there, without its sign. Weight it by the share of all forecasts that are in the bin, and add up. Empty bins add nothing.",
        stub="def ece(confidence, hits, n_bins):\n    # (N,) numbers from 0 to 1, (N,) True where it came true -> a number\n    return ...", name="ece",
        hints=(
            "First give each forecast the number of its bin. What does that formula do with a confidence of 1?",
            "`(confidence * n_bins).astype(int)` is nearly it, but 1 would get a bin that isn't there: `np.minimum` helps. Then loop over the bins and skip the empty ones.",
            "For each bin: `here = place == b`, then add `here.mean() * abs(hits[here].mean() - confidence[here].mean())`.",
        ),
        answer=ece, another=(_ece_by_sums, _ece_by_edges), inputs=_forecasts,
        special=(
            ("a confidence of exactly 1", np.array([1.0, 0.25]), np.array([False, True]), 4),
            ("all of them sure and right", np.ones(3), np.array([True, True, True]), 2),
        ),
        partial=((_ece_with(last=False), "it's right until a confidence is exactly 1: that one belongs into the last bin"),),
        wrong=(
            (_ece_with(weight=lambda here: 1.0), "weight each bin by the share of the forecasts in it: a bin with one forecast shouldn't count like one with a thousand"),
            (_ece_with(gap=lambda h, c: h.mean() - c.mean()), "take each bin's gap without its sign, or too sure and too modest cancel"),
            (_ece_with(gap=lambda h, c: (h.mean() - c.mean()) ** 2), "the gap itself was wanted, not its square"),
            (_ece_with(gap=lambda h, c: np.abs(h * 1.0 - c).mean()), "first the means of the bin, then the gap: a single forecast of 80 % can't come true by 80 %"),
            (_ece_with(weight=lambda here: here.sum()), "divide by the number of all forecasts: the weights must sum to 1"),
            (_ece_with_nan, "an empty bin has no mean (NumPy says nan): skip it"),
            (lambda c, h, n: _ece_of(np.minimum(np.round(c * n).astype(int), n - 1), c, h, n), "round down, not to the nearest: bin 0 goes up to 1/n_bins"),
            (lambda c, h, n: float(sum(abs(h[b].mean() - c[b].mean()) for k in range(n) if (b := np.minimum((c * n).astype(int), n - 1) == k).any()) / n), "weight each bin by its share of the forecasts, not all by 1/n_bins"),
            (lambda c, h, n: float(abs(h.mean() - c.mean())), "that's one bin for all: too sure here and too modest there cancel"),
            (lambda c, h, n: float(np.mean([abs(h[b].mean() - c[b].mean()) for k in range(n) if (b := np.minimum((c * n).astype(int), n - 1) == k).any()])), "weight each bin by its share of the forecasts, instead of the plain mean over bins"),
            (lambda c, h, n: float(sum((b := np.minimum((c * n).astype(int), n - 1) == k).mean() * abs(h[b].mean() - (k + 0.5) / n) for k in range(n) if (np.minimum((c * n).astype(int), n - 1) == k).any())), "compare with the mean confidence in the bin, not with the bin's middle"),
        ),
        right="0 would be: of all the times it says 80 %, it's right 80 % of the time",
        ours="bigmodel_lib.exercises.nb13:ece",
    ),
    Exercise(
        id="13-split", title="whose doubt is it?", minutes=10, difficulty=3,
        task="Write `split_doubt(p)`. `p[m, n]` is what member m of an ensemble expects at place n, a distribution over V tokens. Return three arrays of N numbers, in nats: `total`, the entropy of the members' mean distribution; "
        "`within`, the mean of the members' own entropies; `between`, total minus within. The entropy is $-\\sum_i p_i \\ln p_i$, and $0 \\ln 0$ counts as 0.",
        stub="def split_doubt(p):\n    # (M, N, V) -> total (N,), within (N,), between (N,)\n    return ...", name="split_doubt",
        hints=(
            "Entropy of a mean, mean of entropies: the same two operations in two orders. Which axis does each work on?",
            "Members are axis 0, tokens the last axis. And what does `np.log` make of a probability of 0?",
            "With `entropy(p) = -(p * np.log(np.where(p > 0, p, 1))).sum(-1)`: total is `entropy(p.mean(0))`, within is `entropy(p).mean(0)`.",
        ),
        answer=split_doubt, another=(_split_by_scipy, _split_by_kl), inputs=_members, tolerance=Tolerance(absolute=1e-7, relative=1e-6),
        special=(
            ("two sure members who disagree", np.eye(2)[:, None]),
            ("one member", np.array([[[0.5, 0.25, 0.25]]])),
        ),
        partial=((_split_with_nan, "where no probability is 0 it's right; 0 · ln 0 = nan in NumPy, and it should count as 0"),),
        wrong=(
            (_split_with(lambda p, t, w: (w, t, w - t)), "total and within have changed places: the entropy of the mean is the total"),
            (_split_with(lambda p, t, w: (w, t - w, t)), "the order was total, within, between"),
            (_split_with(lambda p, t, w: (t, w, w - t)), "between is total minus within; yours has the other sign"),
            (_split_with(lambda p, t, w: (t, w, t + w)), "between is what's left of the total when within is taken away"),
            (_split_with(lambda p, t, w: (-t, -w, w - t)), "the minus is missing: an entropy is never negative"),
            (_split_with(lambda p, t, w: (t / np.log(2), w / np.log(2), (t - w) / np.log(2))), "that's in bits: nats were asked for, so use the natural logarithm"),
            (_split_with(lambda p, t, w: (t, _entropy(p).sum(axis=0), t - _entropy(p).sum(axis=0))), "the members' entropies are averaged, not summed"),
            (_split_with(lambda p, t, w: (t, _entropy(p).mean(axis=1), 0 * t)), "average over the members, axis 0, not over the places"),
            (_split_with(lambda p, t, w: (t, w, p.var(axis=0).sum(axis=-1))), "between is total minus within, an entropy, not a variance"),
        ),
        right="within is what the members agree is open; between is what they disagree about",
        ours="bigmodel_lib.exercises.nb13:split_doubt",
    ),
    Exercise(
        id="13-abstain", title="only when you're sure", minutes=6, difficulty=1,
        task="Write `accuracy_at(confidence, hits, coverage)`. A model may keep quiet. It answers only its most confident questions, as many as the share `coverage` of all (round to a whole number with `round`, and at least one). What share of those is right?",
        stub="def accuracy_at(confidence, hits, coverage):\n    # (N,), (N,) True where right, a share -> a number\n    return ...", name="accuracy_at",
        hints=(
            "Line the questions up from the surest to the least sure. How many are answered?",
            "`np.argsort` sorts upwards. What do you have to give it to get the surest first?",
            "`n = max(1, round(coverage * len(hits)))`, then the mean of `hits` at the first n places of `np.argsort(-confidence)`.",
        ),
        answer=accuracy_at, another=(_at_by_sorting, _at_by_threshold), inputs=_sure_answers,
        special=(("so little that one must do", np.array([0.2, 0.9, 0.5]), np.array([False, True, False]), 0.1),),
        partial=(
            (lambda c, h, share: float(h[np.argsort(-c)[:n]].mean()) if (n := round(share * len(h))) else float("nan"), "it's right until the share is so small that `round` gives 0 answers: one at least"),
            (lambda c, h, share: float(h[np.argsort(c)[-round(share * len(h)) :]].mean()), "it's right until `round` gives 0 answers: a slice from −0 on is everything, and one answer was wanted"),
        ),
        wrong=(
            (lambda c, h, share: float(h[np.argsort(c)[: max(1, round(share * len(h)))]].mean()), "those are the least confident ones: argsort sorts upwards"),
            (lambda c, h, share: float(h[: max(1, round(share * len(h)))].mean()), "those are the first ones as they come: sort by confidence"),
            (lambda c, h, share: float(h[np.argsort(-c)[: max(1, round(share * len(h)))]].sum() / len(h)), "divide by the number of answers, not by that of all questions"),
            (lambda c, h, share: float(h.mean()), "that's the accuracy on everything: coverage has no effect in it"),
            (lambda c, h, share: float(h[np.argsort(-c)[: max(1, int(share * len(h)))]].mean()), "`int` cuts off: use `round` for how many are answered"),
            (lambda c, h, share: float(h[np.argsort(-c)[: max(1, math.ceil(share * len(h)))]].mean()), "that rounds up: use `round` for how many are answered"),
            (lambda c, h, share: float(c[np.argsort(-c)[: max(1, round(share * len(h)))]].mean()), "that's how sure it is of them: whether they're right is in `hits`"),
            (lambda c, h, share: float(h[c >= share].mean()) if (c >= share).any() else float("nan"), "coverage is a share of the questions, not a confidence"),
            (lambda c, h, share: float(h[c >= 1 - share].mean()) if (c >= 1 - share).any() else 1.0, "coverage is a share of the questions, not a threshold on the confidence"),
            (lambda c, h, share: float(np.sort(h)[::-1][: max(1, round(share * len(h)))].mean()), "that sorts the hits themselves, which the model doesn't know: sort by its confidence"),
            (lambda c, h, share: int(h[np.argsort(-c)[: max(1, round(share * len(h)))]].sum()), "that's how many are right: the share was wanted"),
        ),
        right="coverage against accuracy: what silence buys",
        ours="bigmodel_lib.exercises.nb13:accuracy_at",
    ),
]  # fmt: skip
