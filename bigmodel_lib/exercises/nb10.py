"""The exercises of 10_training_recipe."""

import numpy as np

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance
from bigmodel_lib.measuring.intervals import interval_of_mean

# 10-difference


def difference(ours, theirs):
    """(mean, half-width of its 95 % interval) of the differences ours − theirs, run by run. Source: Student 1908."""
    from scipy.stats import t

    d = np.asarray(ours) - np.asarray(theirs)
    n = len(d)
    return d.mean(), t.ppf(0.975, n - 1) * d.std(ddof=1) / n**0.5


def _two_arms(rng):
    """Losses of two arms with the same seeds, the second a little higher or lower."""
    n = int(rng.integers(2, 9))
    seeds = rng.normal(2.0, 0.3, size=n)
    return seeds + rng.normal(0, 0.05, size=n), seeds + rng.choice((-0.1, 0.1)) + rng.normal(0, 0.05, size=n)


def _difference_by_library(ours, theirs):
    return interval_of_mean(np.subtract(ours, theirs))


def _difference_by_scipy(ours, theirs):
    from scipy import stats

    d = np.subtract(ours, theirs)
    low, high = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
    return [(low + high) / 2, (high - low) / 2]


def _wrong_difference(ours, theirs, sign=1.0, ddof=1, quantile=0.975, freedom=1, root=True, far=None):
    from scipy.stats import t

    d = np.subtract(ours, theirs)
    n = len(d)
    far = far or t.ppf(quantile, max(1, n - freedom))
    return sign * d.mean(), far * d.std(ddof=ddof) / (n**0.5 if root else 1.0)


def _unpaired(ours, theirs):
    from scipy.stats import t

    n = len(ours)
    spread = np.sqrt(np.var(ours, ddof=1) / n + np.var(theirs, ddof=1) / n)
    return np.mean(ours) - np.mean(theirs), t.ppf(0.975, n - 1) * spread


# 10-law


def residuals(theta, N, D, gap):
    """ln(A/N^α + B/D^β) − ln(gap) for each run, theta = (ln A, α, ln B, β): (4,), (R,), (R,), (R,) -> (R,).

    Source: Hoffmann et al. 2022, section 3.3.
    """
    ln_a, alpha, ln_b, beta = theta
    law = np.exp(ln_a) / N**alpha + np.exp(ln_b) / D**beta
    return np.log(law) - np.log(gap)


def _some_runs(rng):
    n = int(rng.integers(1, 6))
    theta = np.array([rng.uniform(2, 6), rng.uniform(0.3, 0.9), rng.uniform(2, 8), rng.uniform(0.3, 0.8)])
    return theta, 10 ** rng.uniform(4, 6, size=n), 10 ** rng.uniform(5.5, 7, size=n), 10 ** rng.uniform(-2, 0, size=n)


def _residuals_in_logs(theta, N, D, gap):
    ln_a, alpha, ln_b, beta = theta
    return np.logaddexp(ln_a - alpha * np.log(N), ln_b - beta * np.log(D)) - np.log(gap)


def _residuals_by_ratio(theta, N, D, gap):
    return np.log((np.exp(theta[0]) * N ** -theta[1] + np.exp(theta[2]) * D ** -theta[3]) / gap)


def _residuals_one_by_one(theta, N, D, gap):
    ln_a, alpha, ln_b, beta = theta
    return [
        np.log(np.exp(ln_a) / n**alpha + np.exp(ln_b) / d**beta) - np.log(g) for n, d, g in zip(N, D, gap, strict=True)
    ]


def _law(theta, N, D):
    return np.exp(theta[0]) / N ** theta[1] + np.exp(theta[2]) / D ** theta[3]


# 10-best-size


def best_size(C, A, alpha, B, beta):
    """(N, D): where A/N^α + B/D^β is least while 6 N D = C.

    N = (α A/(β B))^(1/(α+β)) · (C/6)^(β/(α+β)), D = C/(6 N). Source: Hoffmann et al. 2022, eq. 4.
    """
    N = (alpha * A / (beta * B) * (C / 6) ** beta) ** (1 / (alpha + beta))
    return N, C / (6 * N)


def _some_budget(rng):
    return 10 ** rng.uniform(10, 15), np.exp(rng.uniform(2, 6)), rng.uniform(0.3, 0.9), np.exp(rng.uniform(2, 8)), rng.uniform(0.3, 0.8)  # fmt: skip


def _best_size_by_grid(C, A, alpha, B, beta):
    N = np.exp(np.linspace(0, np.log(C), 400_001))
    N = N[np.argmin(A / N**alpha + B / (C / (6 * N)) ** beta)]
    return N, C / (6 * N)


def _best_size_by_scipy(C, A, alpha, B, beta):
    from scipy.optimize import minimize_scalar

    def price(ln_n):
        return np.log(A * np.exp(-alpha * ln_n) + B * (6 * np.exp(ln_n) / C) ** beta)

    N = np.exp(minimize_scalar(price, bounds=(0, np.log(C)), method="bounded", options={"xatol": 1e-9}).x)
    return N, C / (6 * N)


EXERCISES = [
    Exercise(
        id="10-swiglu", title="a fair SwiGLU", minutes=3, difficulty=1,
        task="Our MLP has two matrices, 32 × 64 and 64 × 32. SwiGLU's has three: two of 32 × f and one of f × 32. Which f gives it as many weights "
        "(to the nearest whole number)?",
        stub="f = ...  # a number", name="f",
        hints=(
            "How many weights do the two matrices have together?",
            "Write the number of SwiGLU's weights with f in it, and set the two equal.",
            "2 · 32 · 64 = 3 · 32 · f.",
        ),
        answer=43, another=(42.67, 128 / 3), tolerance=0.5,
        wrong=(
            (64, "then SwiGLU has half as many weights again, and may win by size alone"),
            (128, "more columns make it larger still: three matrices must share what two had"),
            (32, "that's half of 64: it has three matrices in place of two, not four"),
            (96, "the other way round: more matrices, so fewer columns each"),
            (42, "42.67 is nearer to 43"),
            (85.33, "that's four thirds of 64: three matrices have to share what two had, so each gets two thirds"),
            (48, "three quarters of 64: with two matrices before and three now, two thirds are left"),
            (4096, "that's how many weights there are: share them among three matrices of 32 × f"),
            (21.33, "that's a third of 64: two thirds are left, since there were two matrices before"),
        ),
        right="two thirds of the width: otherwise the comparison is one of sizes",
    ),
    Exercise(
        id="10-difference", title="how sure is a difference?", minutes=8, difficulty=2,
        task="Write `difference(ours, theirs)`. Both are losses of n runs, and run i of both had the same seed. Return the mean of the differences ours − theirs, "
        "and the half-width of its 95 % interval: Student's quantile `t.ppf(0.975, n - 1)`, times the standard deviation of the differences (with n − 1 in its "
        "denominator), over √n.",
        stub="def difference(ours, theirs):\n    # two lists of n numbers -> (mean, half-width)\n    return ...", name="difference",
        hints=(
            "What can you do first, because the seeds are the same?",
            "Subtract run by run; from then on there's only one list. NumPy's `std` has n in its denominator unless you tell it otherwise.",
            "`d = np.asarray(ours) - np.asarray(theirs)`, then `d.mean()` and `t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5`.",
        ),
        answer=difference, another=(_difference_by_library, _difference_by_scipy),
        inputs=_two_arms, gives=Gives(parts=("the mean", "the half-width")), tolerance=Tolerance(relative=1e-6, absolute=1e-9),
        special=(("lists of two", [1.0, 2.0], [1.5, 2.25]),),
        wrong=(
            (_unpaired, "that treats the two lists as strangers: subtract run by run first, and what the seed does to both cancels"),
            (lambda a, b: _wrong_difference(a, b, ddof=0), "the standard deviation has n in its denominator: `std(ddof=1)` has n − 1"),
            (lambda a, b: _wrong_difference(b, a), "the other way round: ours minus theirs"),
            (lambda a, b: _wrong_difference(a, b, root=False), "√n is missing: that's how far single differences scatter, not how sure their mean is"),
            (lambda a, b: _wrong_difference(a, b, quantile=0.95), "0.95 leaves 5 % on each side, so it's a 90 % interval: `t.ppf(0.975, …)`"),
            (lambda a, b: _wrong_difference(a, b, far=1.96), "1.96 is for many runs: with so few, Student's t is wider"),
            (lambda a, b: _wrong_difference(a, b, far=1.959963984540054), "the normal distribution's quantile is for many runs: with so few, Student's t is wider"),
            (lambda a, b: _wrong_difference(a, b, freedom=0), "t has n − 1 degrees of freedom, not n"),
            (lambda a, b: (np.mean(np.subtract(a, b)), 2 * _wrong_difference(a, b)[1]), "that's the whole width of the interval: half of it was asked for"),
            (lambda a, b: (np.sum(np.subtract(a, b)), _wrong_difference(a, b)[1]), "that's the sum of the differences: take their mean"),
            (lambda a, b: np.mean(np.subtract(a, b)), "return two things: the mean and the half-width"),
            (lambda a, b: (abs(_wrong_difference(a, b)[0]), _wrong_difference(a, b)[1]), "keep the sign: a minus says that ours is lower"),
            (lambda a, b: _wrong_difference(a, b)[::-1], "the mean comes first, then the half-width"),
            (lambda a, b: tuple(np.add(_wrong_difference(a, b)[0], np.multiply((-1, 1), _wrong_difference(a, b)[1]))), "those are the two ends of the interval: return its middle and its half-width"),
            (lambda a, b: (_wrong_difference(a, b)[0], _wrong_difference(a, b)[1] / len(a) ** 0.5), "divide by √n, not by n"),
            (lambda a, b: (_wrong_difference(a, b)[0], _wrong_difference(a, b)[1] * np.std(np.subtract(a, b), ddof=1)), "that's with the variance: take the standard deviation, its root"),
            (lambda a, b: (_wrong_difference(a, b)[0], np.std(np.subtract(a, b), ddof=1) / len(a) ** 0.5), "that's one standard error: Student's quantile is missing"),
            (lambda a, b: (_wrong_difference(a, b)[0], _wrong_difference(a, b)[1] * (len(a) / (len(a) - 1)) ** 0.5), "n − 1 is for the standard deviation and for t; under the root stands n"),
            (lambda a, b: (_wrong_difference(a, b)[0], -_wrong_difference(a, b)[1]), "a half-width isn't negative: `t.ppf(0.025, …)` is the lower quantile, take 0.975"),
        ),
        right="what a seed does to both runs cancels, and only what the trick does is left",
        ours="bigmodel_lib.exercises.nb10:difference",
    ),
    Exercise(
        id="10-seconds", title="how long will it take?", minutes=3, difficulty=1,
        task="A model of 200,000 weights is to read 3 million tokens. Training costs about 6 operations a weight and token, and your laptop does 10 billion operations "
        "a second while it trains. How many seconds will it take?",
        stub="seconds = ...  # a number", name="seconds",
        hints=(
            "How many operations are there altogether? It's a product of three numbers.",
            "6 · N · D operations, and 10¹⁰ of them a second.",
            "6 · 200,000 · 3,000,000 = 3.6 · 10¹².",
        ),
        answer=360, another=(6 * 2e5 * 3e6 / 1e10, 360.0), tolerance=0.01,
        wrong=(
            (60, "6 operations a weight and token, not one: two on the way forward, four on the way back"),
            (120, "that's the forward pass alone: training costs 6 operations a weight and token, not 2"),
            (6, "that's in minutes: seconds were asked for"),
            (3.6e12, "that's the number of operations: how many seconds do they take?"),
            (0.36, "a factor of 1,000 is lost: 3.6 · 10¹² over 10¹⁰"),
            (3600, "there's a zero too many: 3.6 · 10¹² over 10¹⁰"),
            (0.1, "that's in hours: seconds were asked for"),
            (0.003, "upside down: operations over operations a second"),
            (240, "that's the backward pass alone: with the forward pass it's 6 operations a weight and token"),
            (360_000, "a factor of 1,000 too many: 10 billion is 10¹⁰"),
            (36, "there's a zero too few: 3.6 · 10¹² over 10¹⁰"),
        ),
        right="six minutes; C = 6ND is all you need for such plans",
    ),
    Exercise(
        id="10-law", title="how far is a law from the runs?", minutes=8, difficulty=2,
        task="Write `residuals(theta, N, D, gap)`. theta holds ln A, α, ln B and β; N, D and gap are arrays with a number for each run. Return, for each run, the logarithm of what the "
        "law says, $A/N^\\alpha + B/D^\\beta$, minus the logarithm of its gap.",
        stub="def residuals(theta, N, D, gap):\n    ln_a, alpha, ln_b, beta = theta\n    return ...", name="residuals",
        hints=(
            "Two steps: what does the law say of each run? And how far is that from what happened?",
            "theta has the logarithms of A and B, so `np.exp` comes first. The logarithm is taken of the whole sum.",
            "`law = np.exp(ln_a) / N**alpha + …`, then `np.log(law) - np.log(gap)`.",
        ),
        answer=residuals, another=(_residuals_in_logs, _residuals_by_ratio, _residuals_one_by_one),
        inputs=_some_runs, gives=Gives(lists=True), tolerance=Tolerance(relative=1e-6, absolute=1e-9),
        special=(("A = B = α = β = 1 and N = D = 2", np.array([0.0, 1.0, 0.0, 1.0]), np.array([2.0]), np.array([2.0]), np.array([1.0])),),
        wrong=(
            (lambda th, N, D, g: _law(th, N, D) - g, "that's a difference of gaps: take the logarithm of both, so that a small gap counts as much as a large one"),
            (lambda th, N, D, g: np.log(g) - np.log(_law(th, N, D)), "the other way round: the law's minus the run's"),
            (lambda th, N, D, g: np.log(_law((np.log(np.abs(th[0])), th[1], np.log(np.abs(th[2])), th[3]), N, D)) - np.log(g), "theta holds ln A and ln B: A is `np.exp(ln_a)`"),
            (lambda th, N, D, g: th[0] - th[1] * np.log(N) + th[2] - th[3] * np.log(D) - np.log(g), "the logarithm of a sum isn't the sum of the logarithms: add the two terms first"),
            (lambda th, N, D, g: np.log(np.exp(th[0]) * N ** th[1] + np.exp(th[2]) * D ** th[3]) - np.log(g), "the gap would grow with N and D: divide by the powers"),
            (lambda th, N, D, g: np.log(_law(th, D, N)) - np.log(g), "N and D have changed places: A and α go with N"),
            (lambda th, N, D, g: np.log(np.exp(th[0]) / N ** th[1]) - np.log(g), "the second term is missing: B/D^β"),
            (lambda th, N, D, g: np.log(_law(th, N, D)), "that's what the law says, in logarithms: subtract the logarithm of the run's gap"),
            (lambda th, N, D, g: (np.log(_law(th, N, D)) - np.log(g)) ** 2, "don't square them: `least_squares` does that itself"),
            (lambda th, N, D, g: np.abs(np.log(_law(th, N, D)) - np.log(g)), "keep the sign: it says whether the law is too high or too low"),
            (lambda th, N, D, g: _law(th, N, D) / g, "that's the ratio: take its logarithm"),
            (lambda th, N, D, g: np.log10(_law(th, N, D) / g), "that's to base 10: `np.log` is the natural one"),
            (lambda th, N, D, g: _law(th, N, D) - np.log(g), "the law's logarithm is missing: only the gap's has been taken"),
            (lambda th, N, D, g: np.log(np.exp(th[0]) / (N * th[1]) + np.exp(th[2]) / (D * th[3])) - np.log(g), "N to the power α is `N**alpha`, not `N * alpha`"),
            (lambda th, N, D, g: np.mean(np.log(_law(th, N, D)) - np.log(g)), "one number for each run, not their mean"),
            (lambda th, N, D, g: np.sum((np.log(_law(th, N, D)) - np.log(g)) ** 2), "one number for each run: `least_squares` squares them and adds them up itself"),
        ),
        right="zero where the law is right; 0.1 means about 10 % too high",
        ours="bigmodel_lib.exercises.nb10:residuals",
    ),
    Exercise(
        id="10-best-size", title="the best size for a budget", minutes=12, difficulty=3,
        task="Write `best_size(C, A, alpha, B, beta)`: the N and D that make $A/N^\\alpha + B/D^\\beta$ least, while $6 N D = C$. Put $D = C/(6N)$ into the law, set "
        "its derivative with respect to N to zero, and solve for N. (Or let the computer search: three digits will do.) Return N and D.",
        stub="def best_size(C, A, alpha, B, beta):\n    N = ...\n    return N, C / (6 * N)", name="best_size",
        hints=(
            "With D replaced, the law is a function of N alone: one term falls with N, the other grows. What holds where it's lowest?",
            "The derivative of $A N^{-\\alpha} + B (6N/C)^\\beta$ has two terms. Set one equal to minus the other, and collect the powers of N on one side.",
            "$N^{\\alpha + \\beta} = \\frac{\\alpha A}{\\beta B} (C/6)^\\beta$.",
        ),
        answer=best_size, another=(_best_size_by_grid, _best_size_by_scipy),
        inputs=_some_budget, gives=Gives(parts=("N", "D")), tolerance=Tolerance(relative=2e-3),
        special=(("α = β and A = B", 6e12, 1.0, 0.5, 1.0, 0.5),),
        wrong=(
            (lambda C, A, a, B, b: best_size(6 * C, A, a, B, b), "6 N D = C: the budget has to be divided by 6"),
            (lambda C, A, a, B, b: ((A / B * (C / 6) ** b) ** (1 / (a + b)), C / 6 / (A / B * (C / 6) ** b) ** (1 / (a + b))), "that makes the two terms equal: at the best place their *slopes* cancel, so α and β come in"),
            (lambda C, A, a, B, b: best_size(C, A, a, B, b)[::-1], "N comes first, then D"),
            (lambda C, A, a, B, b: ((b * B / (a * A) * (C / 6) ** b) ** (1 / (a + b)), C / 6 / (b * B / (a * A) * (C / 6) ** b) ** (1 / (a + b))), "the fraction is upside down: αA over βB"),
            (lambda C, A, a, B, b: ((a * A / (b * B) * (C / 6) ** a) ** (1 / (a + b)), C / 6 / (a * A / (b * B) * (C / 6) ** a) ** (1 / (a + b))), "the power of C/6 is β: it comes from the data's term"),
            (lambda C, A, a, B, b: (a * A / (b * B) * (C / 6) ** b, 1 / (a * A / (b * B) * (C / 6) ** b) * C / 6), "that's N to the power α + β: take the root"),
            (lambda C, A, a, B, b: ((C / 6) ** 0.5, (C / 6) ** 0.5), "N = D would be right if the two terms were alike: use A, B, α and β"),
            (lambda C, A, a, B, b: (best_size(C, A, a, B, b)[0], C / best_size(C, A, a, B, b)[0]), "N is right, but D forgets the 6: C = 6 N D"),
            (lambda C, A, a, B, b: best_size(C, A, a, B, b)[0], "return two things: N and D"),
            (lambda C, A, a, B, b: ((C / 120) ** 0.5, 20 * (C / 120) ** 0.5), "20 tokens a weight came out of another law: here A, B, α and β decide"),
            (lambda C, A, a, B, b: ((a * A / (b * B) * (C / 6) ** b) ** 0.5, C / 6 / (a * A / (b * B) * (C / 6) ** b) ** 0.5), "that's the square root: the root is the one of α + β, so the power is 1/(α + β)"),
            (lambda C, A, a, B, b: ((C / 6) ** (b / (a + b)), (C / 6) ** (a / (a + b))), "the power is right, the factor is missing: (αA/(βB)) to the power 1/(α + β)"),
            (lambda C, A, a, B, b: ((C / 6) ** (a / (a + b)), (C / 6) ** (b / (a + b))), "N grows with C to the power β/(α + β), and a factor of A, B, α and β is missing"),
            (lambda C, A, a, B, b: best_size(C, np.log(A), a, np.log(B), b), "A and B are given as they are here, not as logarithms"),
        ),
        right="where one more weight helps exactly as much as the tokens it costs",
        ours="bigmodel_lib.exercises.nb10:best_size",
    ),
    Exercise(
        id="10-hundred", title="a hundred times the budget", minutes=3, difficulty=1,
        task="Suppose α = β. Somebody gives you a hundred times the compute. How many times as large should the model be?",
        stub="times_as_large = ...  # a number", name="times_as_large",
        hints=(
            "N is proportional to a power of C. Which power, if α = β?",
            "The power is β/(α + β). The rest of the compute goes into data.",
            "The power is 1/2.",
        ),
        answer=10, another=(10.0, 100**0.5), tolerance=0.01,
        wrong=(
            (100, "then nothing would be left for more text: 6ND grows with both"),
            (1, "all of it into text? Then the model's size is what holds you back"),
            (50, "the powers add up, not the numbers: N times D has to grow a hundredfold"),
            (5, "N and D have to multiply to a hundred"),
            (0.5, "that's the power: take 100 to it"),
            (10_000, "that's the square: take the root"),
            (20, "size and text grow alike: the two factors multiply to a hundred"),
            (2, "that's the root's number, not its value: 100 to the power 1/2"),
        ),
        right="ten times the model, ten times the text: that's the rule of thumb of Hoffmann et al. (2022)",
    ),
]  # fmt: skip
