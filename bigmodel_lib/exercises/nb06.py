"""The exercises of 06_pretraining."""

import math

import numpy as np
import torch

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance, Wrong, close
from bigmodel_lib.measuring.intervals import interval_of_mean
from bigmodel_lib.training.optimizers import linear_lr, quintic

GRADIENT = ((6.0, -8.0), (8.0, 6.0))


def _moment(rng):
    """A share of the budget, a step, a length of the warm-up, before and after its end."""
    warmup_steps = int(rng.integers(1, 30))
    step = int(rng.integers(0, 3 * warmup_steps))
    return float(rng.uniform(0.01, 0.99)), step, warmup_steps


def _rate_by_branches(fraction, step, warmup_steps):
    rate = 1 - fraction
    if step + 1 < warmup_steps:
        rate = rate * (step + 1) / warmup_steps
    return rate


def _rate_by_numpy(fraction, step, warmup_steps):
    return np.clip((1 + step) / warmup_steps, 0, 1) * np.subtract(1, fraction)


def _matrix(rng):
    """A matrix or many of them, and three coefficients."""
    lead = ((), (), (2,), (2, 3))[rng.integers(4)]
    x = torch.from_numpy(rng.normal(size=(*lead, *rng.integers(1, 6, size=2)))).float()
    return x, *(float(number) for number in rng.normal(size=3))


def _quintic_by_svd(x, a, b, c):
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    return u @ torch.diag_embed(a * s + b * s**3 + c * s**5) @ vh


def _quintic_from_the_right(x, a, b, c):
    eye = torch.eye(x.shape[-1], dtype=x.dtype)
    gram = x.transpose(-2, -1) @ x
    return x @ (a * eye + gram @ (b * eye + c * gram))


def _all_axes_turned_round(x, a, b, c):
    gram = x @ x.permute(*reversed(range(x.ndim)))  # what .T does, until PyTorch forbids it
    return a * x + (b * gram + c * gram @ gram) @ x


def _five_differences(rng):
    return (rng.normal(loc=rng.normal(), scale=rng.choice([0.01, 1.0]), size=5),)


def _interval(values):
    return float(np.mean(values)), float(2.776 * np.std(values, ddof=1) / math.sqrt(5))


def _interval_by_sums(values):
    values = list(values)
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, 2.776 * (variance / len(values)) ** 0.5


def _check_orthogonal(attempt):
    gradient = np.array(GRADIENT)
    try:
        given = np.array(attempt, dtype=float)
    except (TypeError, ValueError):
        raise Wrong("a 2 × 2 list of numbers was wanted") from None
    if given.shape != (2, 2):
        raise Wrong(f"a 2 × 2 list of numbers was wanted, yours has shape {given.shape}")
    mistakes = [
        (gradient, "that is G itself: both of its singular values are 10, and 1 is wanted"),
        (
            gradient / np.linalg.norm(gradient),
            "you divided by the length of all four numbers together: singular values of 0.71",
        ),
        (np.sign(gradient), "those are the signs: their columns are √2 long, and should have length 1"),
        (gradient.T / 10, "that turns the other way: it is the transpose"),
        (np.eye(2), "the identity forgets the direction: U Vᵀ keeps the turn and drops the stretch"),
        (-gradient / 10, "the sign is turned round: that turns by half a circle more than G does"),
    ]
    for mistake, words in mistakes:
        if close(given, mistake, 0.006):
            raise Wrong(words)
    if not close(given.T @ given, np.eye(2), 0.02):
        raise Wrong("its columns are not of length 1 and at right angles")
    if not close(given, gradient / 10, 0.006):
        raise Wrong("it is orthogonal, but it turns by another angle than G does")
    return "G is a turn times a stretch of 10, and only the turn is kept"


EXERCISES = [
    Exercise(
        id="06-first-loss",
        title="what does knowing nothing cost?",
        minutes=2,
        difficulty=1,
        task="""
A text uses 100 different characters. A model that knows nothing gives each the same probability. What is its loss, in nats
for each character?""",
        stub="loss_of_ignorance = ...  # a number",
        name="loss_of_ignorance",
        hints=(
            "What probability does the right character get from it?",
            "The loss of one guess is minus the natural logarithm of the probability that the right character got.",
            "Each gets 1/100: take −ln of that.",
        ),
        answer=math.log(100),
        another=(4.61, -math.log(1 / 100)),
        tolerance=0.011,
        wrong=(
            (math.log2(100), "that is log2(100), the answer in bits: a nat is the unit of the natural logarithm"),
            (2, "that is log10(100): take the natural logarithm"),
            (100, "100 is the number of choices: the loss is the logarithm of how many there are"),
            (0.01, "1/100 is the probability of each choice: the loss is minus its logarithm"),
            (-math.log(100), "minus the logarithm of 1/100 is positive: a loss is never below 0"),
            (-0.01, "a loss is minus the *logarithm* of a probability, and never below 0"),
        ),
        right="ln(100): every character costs as much as one draw out of a hundred",
    ),
    Exercise(
        id="06-rate",
        title="the learning rate over time",
        minutes=8,
        difficulty=2,
        task=r"""
Build one: how large a step to take, as a share of the largest. It rises over the first steps and falls to zero over the whole
budget: $\min\bigl(1, \tfrac{\text{step} + 1}{\text{warmup steps}}\bigr) \cdot (1 - \text{fraction})$. The training run below uses
yours if it passes, ours if not.""",
        stub="""
def linear_lr(fraction, step, warmup_steps):
    # fraction: used share of the budget, 0 to 1; step: 0, 1, 2, … -> a number from 0 to 1
    return ...
""",
        name="linear_lr",
        hints=(
            "Two things happen to the rate: one at the start, one all the time. Which arguments does each of them need?",
            "Write the two factors down one by one, `warmup = …` and `fall = …`. What keeps the first from passing 1?",
            "`warmup = min(1, (step + 1) / warmup_steps)`; the fall is the share of the budget that is left.",
        ),
        answer=linear_lr,
        another=(_rate_by_branches, _rate_by_numpy),
        inputs=_moment,
        special=(
            ("the very first step", 0.0, 0, 10),
            ("the last step of the warm-up", 0.1, 9, 10),
            ("all of the budget used", 1.0, 1000, 10),
            ("a warm-up of one step", 0.25, 0, 1),
        ),
        wrong=(
            (
                lambda f, s, w: 1 - f,
                "there is no warm-up: at step 0 the rate should be 1/warmup_steps of what it would be without",
            ),
            (
                lambda f, s, w: min(1, s / w) * (1 - f),
                "the very first step has rate 0 and changes nothing: use step + 1 in the warm-up",
            ),
            (
                lambda f, s, w: min(1, (s + 1) / w),
                "there is no fall: with half of the budget used the rate should be half of the peak",
            ),
            (
                lambda f, s, w: (s + 1) / w * (1 - f),
                "the rate goes on rising after the warm-up: that factor must stop at 1",
            ),
            (
                lambda f, s, w: min(1, (s + 1) / w) * f,
                "the rate rises with the fraction: it should be what is left of the budget, 1 − fraction",
            ),
            (
                lambda f, s, w: min((s + 1) / w, 1 - f),
                "warm-up and fall are multiplied: at step 0 of 10 with a fifth used, 1/10 times 4/5",
            ),
            (
                lambda f, s, w: min(1, (s + 1) / w * (1 - f)),
                "the min is for the warm-up alone: the fall comes after it",
            ),
            (
                lambda f, s, w: min(1, (s + 1) / (w + 1)) * (1 - f),
                "the warm-up ends one step late: step + 1 goes with warmup_steps as it is",
            ),
            (
                lambda f, s, w: max(1, (s + 1) / w) * (1 - f),
                "the warm-up takes the larger of the two, not the smaller: min",
            ),
        ),
        right="up over the first steps, down to nothing at the end",
        ours="bigmodel_lib.training.optimizers:linear_lr",
    ),
    Exercise(
        id="06-leak",
        title="the missing shift",
        minutes=3,
        difficulty=2,
        task="""
A classmate forgets the shift: the targets are `y = x`, each character is to be guessed from itself and those before it. Where
does the training loss go? (a) it stays at ln V; (b) to the loss of a good model; (c) to nearly 0; (d) it is undefined.""",
        stub='fate = ...  # "a", "b", "c" or "d"',
        name="fate",
        hints=(
            "What is the least that the model must do to be right every time?",
            "Write down x and y of a batch, below each other, for the text “lamp”.",
            "The answer is in its input, at the same place. How hard is copying?",
        ),
        answer="c",
        another=(" C. ", "(c)"),
        wrong=(
            ("a", "a model without any skill pays ln V: this one has a very easy job"),
            (
                "b",
                "the loss of a good model is what guessing the *next* character costs: here nothing is to be guessed",
            ),
            ("d", "nothing is undefined: the batch is a perfectly good one, for a useless job"),
        ),
        right="the target is in the input: copying it is learned in a moment, and the model can say nothing about what follows",
    ),
    Exercise(
        id="06-orthogonal",
        title="orthogonalise a gradient by hand",
        minutes=6,
        difficulty=3,
        task=r"""
On paper: the gradient of a 2 × 2 matrix is $G = \begin{pmatrix} 6 & -8 \\ 8 & 6 \end{pmatrix}$. Muon puts $U V^\top$ in its place,
where $G = U \Sigma V^\top$. Which matrix is that?""",
        stub="step_direction = ...  # [[a, b], [c, d]]",
        name="step_direction",
        hints=(
            "What does G do to a vector? Try (1, 0) and (0, 1).",
            "Are the two columns of G at right angles? How long is each?",
            "G is 10 times a rotation; a rotation has singular values of 1.",
        ),
        check=_check_orthogonal,
        answer=[[0.6, -0.8], [0.8, 0.6]],
        another=(np.array(GRADIENT) @ np.linalg.inv(np.array([[10.0, 0.0], [0.0, 10.0]])), ((0.6, -0.8), (0.8, 0.6))),
        wrong=(
            ([[6, -8], [8, 6]], "G itself"),
            ([[0.424, -0.566], [0.566, 0.424]], "all four numbers together"),
            ([[1, -1], [1, 1]], "the signs"),
            ([[0.6, 0.8], [-0.8, 0.6]], "the transpose"),
            ([[1, 0], [0, 1]], "forgets the direction"),
            ([[-0.6, 0.8], [-0.8, -0.6]], "half a circle"),
            ([[0.8, -0.6], [0.6, 0.8]], "another angle"),
            ([[0.6, 0.6], [0.8, 0.8]], "at right angles"),
            ([1, 2], "2 × 2 list"),
        ),
    ),
    Exercise(
        id="06-interval",
        title="two symbols, one interval",
        minutes=3,
        difficulty=2,
        task="With the shares above (a: 0 to 0.5, b: 0.5 to 0.75, c: 0.75 to 1), where does the interval of the text `bc` begin?",
        stub="begins_at = ...  # a number from 0 to 1",
        name="begins_at",
        hints=(
            "First b's share of the whole line, then c's share of what is left.",
            "Of a line from 0 to 1 c takes the last quarter. Of what line does it take a quarter here?",
            "c takes the last quarter of 0.5 to 0.75.",
        ),
        answer=0.6875,
        another=(11 / 16, 0.5 + 0.75 * 0.25),
        wrong=(
            (0.75, "that is where it ends, or where c begins on the whole line: c takes the last quarter of b's share"),
            (0.5, "that is where b begins; c takes the last quarter of b's share"),
            (0.625, "that is the middle of b's share: c begins at three quarters of it"),
            (0.875, "that is c first and then b: the first symbol takes its share of the whole line"),
            (0.0625, "that is how wide the interval is: where does it begin?"),
            (0.1875, "that is how far into b's share it begins: b's own beginning comes on top"),
        ),
        right="b takes 0.5 to 0.75, c the last quarter of that, 0.6875 to 0.75, which is 1/16 wide: four digits, 0.1011",
    ),
    Exercise(
        id="06-quintic",
        title="a polynomial of a matrix",
        minutes=8,
        difficulty=2,
        task=r"""
Build one: $a\,X + b\,(X X^\top) X + c\,(X X^\top)^2 X$ for a matrix $X$ (or many, in the last two axes). Powers are matrix
products. The orthogonalisation below uses yours if it passes, ours if not.""",
        stub="""
def quintic(x, a, b, c):
    # x: (..., n, m), a, b, c: numbers -> (..., n, m)
    return ...
""",
        name="quintic",
        hints=(
            "One product occurs twice in the formula. Compute it once and give it a name.",
            "`gram = x @ x.mT` (`.mT` swaps the last two axes). What are its shape and that of each of the three terms?",
            "`a * x + (…) @ x`, with b and c times the first and the second power of `gram` in the brackets.",
        ),
        answer=quintic,
        another=(_quintic_by_svd, _quintic_from_the_right),
        inputs=_matrix,
        special=(("one number", torch.tensor([[2.0]]), 2.0, -0.5, 0.25),),
        gives=Gives(dtype=True),
        wrong=(
            (
                lambda x, a, b, c: a * x + b * x**3 + c * x**5,
                "that raises each entry to a power: the powers are matrix products, with @",
            ),
            (lambda x, a, b, c: a * x + b * x @ x.mT @ x, "the fifth power is missing: c (X Xᵀ)² X"),
            (
                lambda x, a, b, c: a * x + (b + c) * x @ x.mT @ x,
                "the last term has X Xᵀ once: its square makes the fifth power",
            ),
            (lambda x, a, b, c: quintic(x, 0, b, c), "the first term is missing: a X"),
            (
                lambda x, a, b, c: a * x + (b * x @ x.mT + c * (x @ x.mT) ** 2) @ x,
                "`gram**2` squares each entry: write gram @ gram",
            ),
            (lambda x, a, b, c: quintic(x, 1, b, c), "the first term is a times X"),
            (
                lambda x, a, b, c: a * x + b * x.mT @ x @ x + c * x.mT @ x @ x.mT @ x @ x,
                "XᵀX is (m, m): from the left, X Xᵀ fits, which is (n, n)",
            ),
            (
                _all_axes_turned_round,
                "`.T` turns all axes round: with many matrices, `.mT` swaps the last two",
            ),
            (lambda x, a, b, c: quintic(x, a, c, b), "b and c have changed places: b goes with the third power"),
        ),
        right="three products, and each singular value goes through the polynomial by itself",
        ours="bigmodel_lib.training.optimizers:quintic",
    ),
    Exercise(
        id="06-paired",
        title="more than luck?",
        minutes=6,
        difficulty=2,
        task=r"""
Five seeds, the same five for both: each gives a difference of two losses. Write `interval_of_mean(values)`: their mean and the
half-width of its 95 % interval, $t \cdot s / \sqrt{n}$, with $s$ the standard deviation ($n - 1$ below) and $t = 2.776$, Student's for
five values. The table below uses yours if it passes, ours if not.""",
        stub="""
def interval_of_mean(values):
    # values: (n,) -> mean, half-width
    return ...
""",
        name="interval_of_mean",
        hints=(
            "Two numbers come back. The first is easy. What does the formula ask for the second?",
            "NumPy's `std` divides by n unless you tell it how many to take away: which argument does that?",
            "`values.std(ddof=1)` is s; multiply it by 2.776 and divide by `np.sqrt(len(values))`.",
        ),
        answer=_interval,
        another=(_interval_by_sums, interval_of_mean),
        inputs=_five_differences,
        special=(("five equal values", np.full(5, 0.03)),),
        gives=Gives(parts=("the mean", "the half-width")),
        tolerance=Tolerance(relative=4e-4, absolute=1e-12),
        wrong=(
            (lambda v: v.mean(), "return two numbers: the mean and the half-width"),
            (
                lambda v: (np.median(v), _interval(v)[1]),
                "the first number is the mean of the differences: yours is their median",
            ),
            (
                lambda v: (v.sum(), _interval(v)[1]),
                "the first number is the mean of the differences: yours is their sum",
            ),
            (
                lambda v: (v.mean(), 2.776 * v.std() / 5**0.5),
                "the standard deviation of a few values has n − 1 below: `std(ddof=1)`",
            ),
            (
                lambda v: (v.mean(), 2.776 * v.std(ddof=1)),
                "that is how far single seeds spread: the mean of n is surer, by √n",
            ),
            (
                lambda v: (v.mean(), v.std(ddof=1) / 5**0.5),
                "that is the standard error: Student's t, 2.776 for five values, is missing",
            ),
            (
                lambda v: (v.mean(), 1.96 * v.std(ddof=1) / 5**0.5),
                "1.96 is for many values: with five, Student's t is 2.776",
            ),
            (lambda v: (v.mean(), 2.776 * v.std(ddof=1) / 5), "the square root of n is missing: s / √n"),
            (
                lambda v: (v.mean(), 2.776 * v.var(ddof=1) / 5**0.5),
                "that is the variance: the standard deviation is its root",
            ),
            (lambda v: (v.mean(), 2 * _interval(v)[1]), "that is the whole width: the half-width goes to one side"),
            (
                lambda v: (v.mean(), 2.776 * v.std(ddof=1) / 4**0.5),
                "n − 1 is for the standard deviation alone: the root below is that of n",
            ),
            (
                lambda v: (v.mean() - _interval(v)[1], v.mean() + _interval(v)[1]),
                "those are the two ends: the mean and the half-width were wanted",
            ),
            (lambda v: _interval(v)[::-1], "the mean comes first, then the half-width"),
        ),
        right="an interval that does not hold 0 says: more than luck, for this text and size",
        ours="bigmodel_lib.measuring.intervals:interval_of_mean",
    ),
    Exercise(
        id="06-hidden",
        title="which loss is better?",
        minutes=4,
        difficulty=2,
        task="After long training the encoder's loss is 1.1 nats per hidden character, the causal model's 1.4 per next character. Which one has the "
        "better model of the language?\n\n**a** The encoder. · **b** That depends on the unit. · **c** These two numbers cannot tell: they answer different "
        "questions. · **d** The one that was tested on the easier text.",
        stub="which = ...  # a letter, as text",
        name="which",
        hints=(
            "What does each of them know when it guesses?",
            "Could the encoder's loss be the length of a file?",
            "The encoder sees what comes after the gap. Is its question the same as the causal model's?",
        ),
        answer="c",
        another=("C", "c)"),
        wrong=(
            ("a", "its loss is lower partly because its question is easier: it is told what comes after"),
            ("b", "both are nats for each target; what differs is what the model was told before it had to answer"),
            ("d", "both read the same held-out text"),
        ),
        right="the probabilities of hidden tokens given all others do not multiply to the probability of a text; those of next tokens do",
    ),
]
