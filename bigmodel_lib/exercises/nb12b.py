"""The exercises of 12b_financial_risk."""

import math

import numpy as np
from numpy import ndarray
from scipy import stats

from bigmodel_lib.exercises.engine import Exercise, Tolerance

# 12b-belief


def next_mood(belief: ndarray, likelihood: ndarray, transition: ndarray) -> ndarray:
    """From what was believed of today's mood, and today's return, to tomorrow's: (Σ_i b_i ℓ_i P_ij) / Σ_i b_i ℓ_i.

    Shapes: belief (K,), likelihood (K,), transition (K, K) -> (K,). Source: Hamilton 1989, section 4.
    """
    seen = belief * likelihood
    return seen / seen.sum() @ transition


def _a_belief(rng):
    """What is believed of K moods, how likely today's return is in each, and where moods go."""
    K = int(rng.integers(2, 6))
    return rng.dirichlet(np.ones(K)), rng.exponential(size=K), rng.dirichlet(np.ones(K), size=K)


def _belief_by_loop(belief, likelihood, transition):
    joint = [b * p for b, p in zip(belief, likelihood, strict=True)]
    total = sum(joint)
    K = len(joint)
    return np.array([sum(joint[i] / total * transition[i][j] for i in range(K)) for j in range(K)])


def _belief_at_the_end(belief, likelihood, transition):
    tomorrow = np.einsum("i,i,ij->j", belief, likelihood, transition)
    return tomorrow / tomorrow.sum()


def _step_first(belief, likelihood, transition):
    moved = (belief @ transition) * likelihood
    return moved / moved.sum()


# 12b-kupiec


def kupiec_ratio(hits: ndarray, p: float) -> float:
    """2 ln of how much likelier the hits are with their own share q = x/n than with p; χ² with 1 degree if p is right.

    LR = 2 [x ln(q/p) + (n - x) ln((1 - q)/(1 - p))], with 0 ln 0 = 0. hits (n,): 1 or 0. Source: Kupiec 1995.
    """
    n, x = len(hits), int(np.sum(hits))
    pairs = [(x, x / n, p), (n - x, 1 - x / n, 1 - p)]
    return 2 * sum(count * math.log(own / said) for count, own, said in pairs if count)


def christoffersen_ratio(hits: ndarray) -> float:
    """2 ln of how much likelier the hits are if days after a hit have a chance of their own; χ² with 1 degree if not.

    Source: Christoffersen 1998, section 3.2.
    """
    before, now = np.asarray(hits[:-1], dtype=int), np.asarray(hits[1:], dtype=int)
    apart = sum(kupiec_ratio(now[before == kind], now.mean()) for kind in (0, 1) if (before == kind).any())
    return float(apart) if 0 < now.sum() < len(now) else 0.0


def _some_hits(rng):
    """Days on which the loss was beyond value at risk, and how often that should happen."""
    n, p = int(rng.integers(20, 600)), float(rng.choice([0.01, 0.05, 0.1]))
    hits = (rng.random(n) < rng.choice([p, 2 * p, 0.5])).astype(int)
    hits[0], hits[1] = 1, 0
    return hits, p


def _kupiec_by_scipy(hits, p):
    n, x = len(hits), int(np.sum(hits))
    return float(2 * (stats.binom.logpmf(x, n, x / n) - stats.binom.logpmf(x, n, p)))


def _kupiec_by_entropy(hits, p):
    from scipy.special import rel_entr

    q = np.mean(hits)
    return float(2 * len(hits) * (rel_entr(q, p) + rel_entr(1 - q, 1 - p)))


def _plain_kupiec(hits, p):
    n, x = len(hits), int(np.sum(hits))
    q = x / n
    return 2 * (x * math.log(q / p) + (n - x) * math.log((1 - q) / (1 - p)))


def _kupiec_with_nan(hits, p):
    n, x = len(hits), int(np.sum(hits))
    with np.errstate(all="ignore"):
        return float(2 * (x * np.log(np.float64(x / n) / p) + (n - x) * np.log(np.float64(1 - x / n) / (1 - p))))


def _half_kupiec(hits, p):
    x = int(np.sum(hits))
    return 2 * x * math.log(x / len(hits) / p) if x else 0.0


def _nothing_at_the_ends(hits, p):
    return _plain_kupiec(hits, p) if 0 < np.sum(hits) < len(hits) else 0.0


EXERCISES = [
    Exercise(
        id="12b-belief",
        title="one day of the best forecast",
        minutes=10,
        difficulty=2,
        task="Write `next_mood(belief, likelihood, transition)`. `belief` says how probable each of K moods is today, `likelihood` how likely today's return is in each, and "
        "`transition[i, j]` how probable mood j is tomorrow if it's i today. First take today's return into account, then go on to tomorrow.\n\n"
        "Shapes: belief (K,), likelihood (K,), transition (K, K); the result (K,) sums to 1.",
        stub="def next_mood(belief, likelihood, transition):\n    return ...  # (K,)",
        name="next_mood",
        hints=(
            "Two steps: what does today's return say about today's mood? And where does the mood go from there?",
            "Belief times likelihood is Bayes' rule, up to a factor. What must the result sum to? In the second step each mood hands its share on to the others: a sum over i.",
            "`seen = belief * likelihood`, divide it by its sum, then `seen @ transition`.",
        ),
        answer=next_mood,
        another=(_belief_by_loop, _belief_at_the_end),
        inputs=_a_belief,
        tolerance=Tolerance(absolute=1e-9, relative=1e-7),
        special=(
            (
                "a mood that is ruled out",
                np.array([0.0, 1.0]),
                np.array([3.0, 0.5]),
                np.array([[0.9, 0.1], [0.2, 0.8]]),
            ),
        ),
        partial=(
            (
                lambda b, p, P: b * p / (b * p).sum(),
                "today's mood is right; the step to tomorrow's is missing: multiply by `transition`",
            ),
            (
                lambda b, p, P: (b * p) @ P,
                "everything is right but the size: probabilities sum to 1, so divide by the sum",
            ),
            (
                lambda b, p, P: P @ (b * p / (b * p).sum()),
                "today's mood is right; `transition[i, j]` goes from i to j, so the belief stands on its left: seen @ transition",
            ),
        ),
        wrong=(
            (lambda b, p, P: b @ P, "today's return isn't used: multiply the belief by the likelihood first"),
            (
                _step_first,
                "the other way round: the return belongs to *today's* mood, so take it into account before the step",
            ),
            (lambda b, p, P: (p / p.sum()) @ P, "what was believed before isn't used: multiply it by the likelihood"),
            (
                lambda b, p, P: ((b + p) / (b + p).sum()) @ P,
                "belief and likelihood are multiplied (Bayes' rule); yours adds them",
            ),
            (
                lambda b, p, P: np.eye(len(b))[np.argmax(b * p)] @ P,
                "you kept the likeliest mood alone: all of them stay in the game, with their probabilities",
            ),
            (
                lambda b, p, P: (b * p / np.linalg.norm(b * p)) @ P,
                "probabilities sum to 1: divide by the sum, not by the length",
            ),
        ),
        right="Bayes' rule, then one step of the chain: nobody who knows only the past returns can believe anything better",
        ours="bigmodel_lib.exercises.nb12b:next_mood",
    ),
    Exercise(
        id="12b-garch",
        title="after a bad day",
        minutes=4,
        difficulty=1,
        task="A market has ω = 0.02, α = 0.1 and β = 0.88. For today, σ was 1 per cent, and then the market fell by 3 per cent. What's σ for tomorrow, in per cent?",
        stub="sigma_tomorrow = ...  # in per cent",
        name="sigma_tomorrow",
        hints=(
            "GARCH is about σ². When do you take the root?",
            "Three terms: ω, α times today's squared return, β times today's σ².",
            "√(0.02 + 0.1 · 9 + 0.88 · 1).",
        ),
        answer=1.8**0.5,
        another=(1.34, math.sqrt(1.8)),
        tolerance=0.006,
        wrong=(
            (1.8, "that's σ²: take the root"),
            (0.02 + 0.1 * 3 + 0.88, "today's return must be squared: 9, not 3 (and the root comes last)"),
            ((0.02 + 0.1 * 3 + 0.88) ** 0.5, "today's return must be squared: 9, not 3"),
            ((0.02 - 0.3 + 0.88) ** 0.5, "today's return is squared, so a fall raises σ just as a rise would"),
            (0.92**0.5, "β times today's σ² is missing"),
            (1.78**0.5, "ω is missing, or too small: it enters as it is, 0.02"),
            (0.9**0.5, "today's volatility still counts, with β, or σ would forget everything each day"),
            (1.0, "then the fall wouldn't matter at all"),
            (3.0, "GARCH isn't that nervous: today's shock enters with α = 0.1"),
        ),
        right="one bad day, and σ is a third higher; it then fades by about 2 per cent of its excess a day, since α + β = 0.98",
    ),
    Exercise(
        id="12b-hits",
        title="how many hits",
        minutes=3,
        difficulty=1,
        task="A bank's value at risk at 1 per cent is perfectly right. On how many of 250 trading days should the loss go beyond it, on average?",
        stub="expected_hits = ...  # a number",
        name="expected_hits",
        hints=(
            "What does the 1 per cent say?",
            "Each day has the same chance of a hit.",
            "250 · 0.01.",
        ),
        answer=2.5,
        another=(250 * 0.01, 5 / 2),
        tolerance=0.01,
        wrong=(
            (0.0, "value at risk isn't the worst case: 1 day in 100 is supposed to be worse"),
            (1.0, "that's per hundred days"),
            (12.5, "that's at 5 per cent"),
            (247.5, "that's the days *without* a hit"),
            (0.01, "that's the chance for one day"),
            (25.0, "that's at 10 per cent"),
            (2.0, "don't round: it's an average"),
            (3.0, "an average needn't be a whole number"),
        ),
        right="2.5 a year; a bank with none at all is putting too much money aside",
    ),
    Exercise(
        id="12b-kupiec",
        title="is that too many?",
        minutes=10,
        difficulty=2,
        task="Write `kupiec_ratio(hits, p)`. `hits` (n,) is 1 on days when the loss went beyond value at risk, else 0. With x hits in n days and q = x/n, compare how well q and p explain them:\n\n"
        "$$\\text{LR} = 2\\left[x \\ln\\frac{q}{p} + (n - x) \\ln\\frac{1 - q}{1 - p}\\right]$$\n\n$0 \\ln 0$ counts as 0 (a year without a hit, or with nothing else).",
        stub="def kupiec_ratio(hits, p):\n    return ...  # a number",
        name="kupiec_ratio",
        hints=(
            "Count the hits and the other days. Each kind adds one term.",
            "`math.log` refuses 0. When is x/n 0, and what should its term be then?",
            "For each pair (x, q, p) and (n − x, 1 − q, 1 − p): add count · log(own / said), but only if count is above 0. Twice the sum.",
        ),
        answer=kupiec_ratio,
        another=(_kupiec_by_scipy, _kupiec_by_entropy),
        inputs=_some_hits,
        tolerance=Tolerance(absolute=1e-6, relative=1e-6),
        special=(("a year without a hit", np.zeros(250, dtype=int), 0.01), ("only hits", np.ones(20, dtype=int), 0.05)),
        partial=(
            (
                _nothing_at_the_ends,
                "where there are some hits it's right; without any, only the term with 0 ln 0 is 0: the other one stays",
            ),
            (
                _plain_kupiec,
                "where there are some hits it's right; without any there's a log of 0, whose term should count as 0",
            ),
            (
                _kupiec_with_nan,
                "where there are some hits it's right; without any NumPy makes 0 · ln 0 = nan, and it should count as 0",
            ),
        ),
        wrong=(
            (lambda h, p: kupiec_ratio(h, p) / 2, "the factor 2 is missing (with it, the ratio is distributed as χ²)"),
            (
                lambda h, p: -kupiec_ratio(h, p),
                "the sign is turned: its own share q explains the hits at least as well as p, so the ratio isn't negative",
            ),
            (_half_kupiec, "the days without a hit are missing: they have a term of their own"),
            (
                lambda h, p: kupiec_ratio(h, p) / len(h),
                "that's per day: multiply by the counts x and n − x, not by the shares",
            ),
            (lambda h, p: kupiec_ratio(h, p) / math.log(10), "the natural logarithm was wanted, math.log"),
            (lambda h, p: kupiec_ratio(h, 1 - p), "p is the share of *hits*: p and 1 − p have changed places"),
            (
                lambda h, p: abs(np.mean(h) - p),
                "that's how far the share is off; the ratio says how surprising that is for so many days",
            ),
        ),
        right="above 3.84, fewer than 1 in 20 correct models would look so bad",
        ours="bigmodel_lib.exercises.nb12b:kupiec_ratio",
    ),
    Exercise(
        id="12b-check",
        title="when is a check worth it?",
        minutes=4,
        difficulty=2,
        task="Checking a payment costs 4 €. If a payment of 200 € is fraud and goes through unchecked, the 200 € are lost. From which probability of fraud on is checking the cheaper choice?",
        stub="check_from = ...  # a probability",
        name="check_from",
        hints=(
            "What does each choice cost, on average?",
            "Checking costs 4 € whatever happens. Not checking costs 200 €, but only with probability p.",
            "4 = p · 200.",
        ),
        answer=0.02,
        another=(4 / 200, 1 / 50),
        tolerance=0.0002,
        wrong=(
            (4 / 204, "those would be costs of 4 to 204: the check is paid for fraud and honest payments alike"),
            (4 / 196, "checking saves the 200 €, whether or not its own 4 € are counted: 4 = p · 200"),
            (50.0, "turn it over: 1 in 50"),
            (0.5, "that's right only if a check costs half the payment"),
            (2.0, "right in per cent: give a probability between 0 and 1"),
            (0.98, "that's the chance that it's honest"),
            (0.04, "that would be for a payment of 100 €"),
            (0.01, "that would be for a payment of 400 €"),
        ),
        right="the threshold moves with the amount: for 20 € it's one in five",
    ),
]
