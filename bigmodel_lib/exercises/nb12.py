"""The exercises of 12_tables_and_series."""

import numpy as np
import torch

from bigmodel_lib.exercises.engine import Exercise, Tolerance
from bigmodel_lib.risk.models import feature_tokens
from bigmodel_lib.risk.scores import net_benefit

# 12-tokens


def _a_batch(rng):
    """B rows of F numbers, F scales and names of width D, and the question's token."""
    n_rows, n_features, width = (int(n) for n in rng.integers((1, 1, 2), (5, 6, 6)))
    shapes = (n_rows, n_features), (n_features, width), (n_features, width), (width,)
    return tuple(torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes)


def _tokens_by_loop(x, scale, name, cls):
    rows = []
    for row in x:
        rows.append(torch.stack([cls, *(value * s + n for value, s, n in zip(row, scale, name, strict=True))]))
    return torch.stack(rows)


def _tokens_by_einsum(x, scale, name, cls):
    return torch.cat([cls.repeat(len(x), 1, 1), torch.einsum("bf,fd->bfd", x, scale) + name[None]], dim=1)


# 12-net-benefit


def _risks(rng):
    """Labels and risks of n patients, some risks equal to the threshold."""
    n = int(rng.integers(1, 30))
    threshold = float(rng.choice([0.05, 0.1, 0.2, 0.5, 0.7]))
    risk = rng.random(n)
    risk[rng.random(n) < 0.2] = threshold
    return (rng.random(n) < 0.4).astype(int), risk, threshold


def _benefit_by_counting(y, risk, threshold):
    odds, total = threshold / (1 - threshold), 0.0
    for label, p in zip(y, risk, strict=True):
        if p >= threshold:
            total += 1 if label == 1 else -odds
    return total / len(y)


def _benefit_by_dot(y, risk, threshold):
    worth = np.where(np.asarray(y) == 1, 1.0, -threshold / (1 - threshold))
    return float(worth @ (np.asarray(risk) >= threshold) / len(y))


def _parts(y, risk, threshold, strict=False):
    treated = risk > threshold if strict else risk >= threshold
    return float((treated & (y == 1)).sum()), float((treated & (y == 0)).sum()), len(y)


def _wrong_benefit(weight=lambda t: t / (1 - t), share=lambda part, n: part / n, strict=False):
    def attempt(y, risk, threshold):
        hits, alarms, n = _parts(y, risk, threshold, strict)
        return share(hits, n) - share(alarms, n) * weight(threshold)

    return attempt


def _benefit_by_groups(y, risk, threshold):
    hits, alarms, _ = _parts(y, risk, threshold)
    ill, well = max(1, (y == 1).sum()), max(1, (y == 0).sum())
    return float(hits / ill - alarms / well * threshold / (1 - threshold))


def _benefit_by_treated(y, risk, threshold):
    hits, alarms, _ = _parts(y, risk, threshold)
    treated = max(1.0, hits + alarms)
    return hits / treated - alarms / treated * threshold / (1 - threshold)


def _benefit_minus_missed(y, risk, threshold):
    hits, _, n = _parts(y, risk, threshold)
    missed = ((risk < threshold) & (y == 1)).sum()
    return float((hits - missed * threshold / (1 - threshold)) / n)


EXERCISES = [
    Exercise(
        id="12-tokens",
        title="numbers into tokens",
        minutes=8,
        difficulty=2,
        task="Write `feature_tokens(x, scale, name, cls)`. Each number of a row becomes a token, $x_f \\cdot \\text{scale}_f + \\text{name}_f$, and `cls` goes in front of them "
        "as token 0.\n\nShapes: x (B, F), scale and name (F, D), cls (D,); the result is (B, F + 1, D).",
        stub="def feature_tokens(x, scale, name, cls):\n    return ...  # (B, F + 1, D)",
        name="feature_tokens",
        hints=(
            "Start with one row and one feature: a number, times a vector, plus a vector. Then let broadcasting do the rest.",
            "x is (B, F) and scale is (F, D). Which axis does x need, and where, so that their product is (B, F, D)?",
            "`x[:, :, None]` is (B, F, 1). For the front: `cls.expand(len(x), 1, -1)` is (B, 1, D), and `torch.cat` joins along dim=1.",
        ),
        answer=feature_tokens,
        another=(_tokens_by_loop, _tokens_by_einsum),
        inputs=_a_batch,
        partial=(
            (
                lambda x, s, n, c: torch.cat(
                    [feature_tokens(x, s, n, c)[:, 1:], feature_tokens(x, s, n, c)[:, :1]], dim=1
                ),
                "the tokens are right; cls should be in front of them, as token 0",
            ),
            (
                lambda x, s, n, c: feature_tokens(x, s, n, c)[:, 1:],
                "the features' tokens are right; the token that asks the question, cls, is missing in front",
            ),
            (
                lambda x, s, n, c: feature_tokens(x, s, n, torch.zeros_like(c)),
                "the features' tokens are right; token 0 should be cls, and yours is zero",
            ),
        ),
        wrong=(
            (
                lambda x, s, n, c: feature_tokens(x, s, 0 * n, c),
                "the names are missing: without them a feature at its mean, 0, is no token at all",
            ),
            (
                lambda x, s, n, c: feature_tokens(torch.ones_like(x), s, n, c),
                "the values are missing: every row gets the same tokens",
            ),
            (
                lambda x, s, n, c: feature_tokens(x, n, s, c),
                "scale and name have changed places: the value multiplies the scale",
            ),
            (
                lambda x, s, n, c: torch.cat([c.expand(len(x), 1, -1), x[:, :, None] * (s + n)], dim=1),
                "the value multiplies the scale alone; the name is added afterwards",
            ),
            (
                lambda x, s, n, c: torch.cat([c.expand(len(x), 1, -1), x[:, :, None] + s + n], dim=1),
                "the value should multiply its scale, and yours adds it",
            ),
            (
                lambda x, s, n, c: torch.cat([c.expand(len(x), 1, -1), x[:, :, None] * s - n], dim=1),
                "the name is added, and yours subtracts it",
            ),
            (
                lambda x, s, n, c: torch.cat([c.expand(len(x), 1, -1), (x[:, :, None] + n) * s], dim=1),
                "first times the scale, then plus the name: yours adds the name before",
            ),
            (
                lambda x, s, n, c: (x @ s)[:, None] + n + c,
                "`x @ scale` adds all features up into one vector: each should stay a token of its own",
            ),
            (
                lambda x, s, n, c: (
                    feature_tokens(x, s, n, c) + torch.cat([torch.zeros_like(c)[None], c.expand(len(n), -1)])[None]
                ),
                "cls is a token of its own: don't add it to the others",
            ),
        ),
        right="a row of a table is now a sentence whose order doesn't matter, since every token carries its name",
        ours="bigmodel_lib.risk.models:feature_tokens",
    ),
    Exercise(
        id="12-splits",
        title="how much wider",
        minutes=5,
        difficulty=2,
        task="Twenty-five splits, each with a fifth of the rows for testing. If they were independent, the interval of the mean would be t · s · √(1/25). Nadeau and Bengio put "
        "√(1/25 + n_test/n_train) in its place. How many times wider does that make it?",
        stub="times_wider = ...  # a number",
        name="times_wider",
        hints=(
            "You need two square roots, and their quotient.",
            "If a fifth is for testing, how large is n_test/n_train?",
            "n_test/n_train is 0.2/0.8 = 0.25. So √(0.04 + 0.25) / √0.04.",
        ),
        answer=(0.29 / 0.04) ** 0.5,
        another=(2.69, 7.25**0.5),
        tolerance=0.02,
        wrong=(
            (7.25, "that's the quotient of what is under the roots: take its square root"),
            ((0.24 / 0.04) ** 0.5, "n_test/n_train is 1/4, not 1/5: the training part is four fifths"),
            (0.29**0.5, "that's the new factor alone: divide by the old one, √(1/25) = 0.2"),
            (0.5385 - 0.2, "you subtracted: how many *times* wider was asked"),
            (6.25, "the 1/25 stays under the root: 1/25 + 1/4, over 1/25 (and then the root)"),
            (2.5, "the 1/25 stays under the root, beside the 1/4"),
            (7.25**0.5 - 1, "that's how much wider *beyond* once: the quotient itself was asked"),
            (5.0, "√25 is how much *narrower* independent splits would make it than one: what does the extra 0.25 do?"),
            (1.0, "then the second term wouldn't count, and it's six times as large as the first"),
            (0.2 / 0.29**0.5, "the other way round: the corrected interval is the wider one"),
        ),
        right="splits that share rows are no independent witnesses, and more of them would hardly help: the 0.25 stays",
    ),
    Exercise(
        id="12-threshold",
        title="which error costs what",
        minutes=4,
        difficulty=1,
        task="Your clinic says: missing a cancer is as bad as nineteen needless biopsies. From which risk on should you send a patient to a biopsy?",
        stub="threshold = ...  # a probability",
        name="threshold",
        hints=(
            "At the threshold you don't care: both decisions cost the same, on average.",
            "A patient has risk t. Sending her costs 1, if she's well. Not sending her costs 19, if she's ill. How likely is each?",
            "(1 − t) · 1 = t · 19. Solve for t.",
        ),
        answer=0.05,
        another=(1 / 20, 0.0501),
        tolerance=0.0008,
        wrong=(
            (1 / 19, "those are the odds, 1 to 19: as a probability it's 1/(1 + 19)"),
            (0.95, "that would be right if a needless biopsy were the worse error"),
            (0.5, "half is right only if both errors cost the same"),
            (5.0, "right in per cent: give a probability between 0 and 1"),
            (19.0, "that's the ratio of the costs: at which risk do both decisions cost the same?"),
            (20.0, "turn it over: 1 in 20"),
            (18 / 19, "weigh both: (1 − t) · 1 on one side, t · 19 on the other"),
        ),
        right="a threshold says which error costs what: the odds t/(1 − t) are the exchange rate, 1 to 19",
    ),
    Exercise(
        id="12-net-benefit",
        title="what a decision is worth",
        minutes=10,
        difficulty=2,
        task="Write `net_benefit(y, risk, threshold)`. Whoever has a risk of `threshold` or more is treated. Per patient, count the ill who are treated, and subtract the well who are, "
        "at the exchange rate of the threshold:\n\n$$\\text{net benefit} = \\frac{TP}{n} - \\frac{FP}{n} \\cdot \\frac{t}{1 - t}$$\n\n"
        "y (n,) is 1 for the ill and 0 for the well, risk (n,) are probabilities; the result is one number.",
        stub="def net_benefit(y, risk, threshold):\n    return ...  # a number",
        name="net_benefit",
        hints=(
            "First decide who is treated. Then count two groups among them.",
            "`treated & (y == 1)` says for each patient whether they're a true positive. By what do you divide the count: by the treated, by the ill, or by all?",
            "The mean of `treated & (y == 1)`, minus the mean of `treated & (y == 0)` times t/(1 − t).",
        ),
        answer=net_benefit,
        another=(_benefit_by_counting, _benefit_by_dot),
        inputs=_risks,
        tolerance=Tolerance(absolute=1e-9, relative=1e-7),
        special=(
            ("nobody is treated", np.array([0, 1, 0]), np.array([0.1, 0.2, 0.3]), 0.5),
            ("a risk of exactly the threshold", np.array([0, 1, 1]), np.array([0.2, 0.2, 0.1]), 0.2),
        ),
        partial=(
            (
                _wrong_benefit(strict=True),
                "for most patients it's right; who has exactly the threshold's risk is treated, too: ≥, not >",
            ),
        ),
        wrong=(
            (
                _wrong_benefit(weight=lambda t: 1.0),
                "a needless treatment isn't worth a whole patient here: weigh false positives by t/(1 − t)",
            ),
            (_wrong_benefit(weight=lambda t: t), "weigh false positives by the *odds* t/(1 − t), not by t"),
            (
                _wrong_benefit(weight=lambda t: (1 - t) / t),
                "the odds are upside down: t/(1 − t), so that a low threshold makes false alarms cheap",
            ),
            (_wrong_benefit(weight=lambda t: 0.0), "false positives are missing: they are what treatment costs"),
            (_wrong_benefit(weight=lambda t: -t / (1 - t)), "false positives are subtracted: yours adds them"),
            (_wrong_benefit(share=lambda part, n: part), "those are counts: divide both by the number of patients"),
            (_benefit_by_groups, "both counts are divided by *all* patients: yours divides by the ill and the well"),
            (_benefit_by_treated, "both counts are divided by *all* patients: yours divides by those who are treated"),
            (
                lambda y, risk, t: float(((risk >= t) == (y == 1)).mean()),
                "that's accuracy: it counts the well who are left alone, and calls both errors equally bad",
            ),
            (_benefit_minus_missed, "you subtract the missed ones: net benefit subtracts the well who are treated"),
        ),
        right="treating nobody is worth 0, and a model has to beat that and treating everybody",
        ours="bigmodel_lib.risk.scores:net_benefit",
    ),
    Exercise(
        id="12-signs",
        title="a risk by hand",
        minutes=4,
        difficulty=1,
        task="At first the odds of a diagnosis are 1 to 300 at each visit. A family history multiplies them by 3, each sign by 5. A patient has the history, and two signs so far. "
        "What's the *risk* at this visit?",
        stub="risk_now = ...  # a probability",
        name="risk_now",
        hints=(
            "Multiply the odds first. A risk comes last.",
            "Two signs multiply by 5 twice. And how do odds of a to b become a probability?",
            "Odds are 3 · 5 · 5 / 300 = 0.25, that is 1 to 4.",
        ),
        answer=0.2,
        another=(1 / 5, 0.25 / 1.25),
        tolerance=0.002,
        wrong=(
            (0.25, "those are the odds, 1 to 4: the probability is 1/(1 + 4)"),
            (20.0, "right in per cent: give a probability between 0 and 1"),
            (0.05 / 1.05, "each of the two signs multiplies by 5: that's 25 together"),
            (0.1 / 1.1, "5 twice is 5 · 5 = 25, not 10"),
            ((25 / 300) / (1 + 25 / 300), "the family history is missing: it multiplies the odds by 3"),
            (13 / 300, "factors multiply the odds: 3 · 5 · 5, rather than 3 + 5 + 5"),
            (0.05, "that's the odds after the history and one sign"),
            (1 / 301, "that's the risk at first: nothing has been multiplied yet"),
        ),
        right="odds of 1 to 4: one such visit in five ends with the diagnosis",
    ),
]
