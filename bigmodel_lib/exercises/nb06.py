"""The exercises of 06_pretraining."""

import math

import numpy as np

from bigmodel_lib.exercises.engine import Exercise, Wrong, choose_letter, close, diagnose, number, number_given
from bigmodel_lib.measuring.intervals import interval_of_mean
from bigmodel_lib.training.optimizers import linear_lr, quintic


def _check_first_loss(attempt):
    diagnose(number(attempt), math.log(100), {
        math.log2(100): "that is log2(100), the answer in bits: a nat is the unit of the natural logarithm",
        2.0: "that is log10(100): take the natural logarithm",
        100.0: "100 is the number of choices: the loss is the logarithm of how many there are",
        0.01: "1/100 is the probability of each choice: the loss is minus its logarithm",
        -math.log(100): "minus the logarithm of 1/100 is positive: a loss is never below 0",
        0.0: "a loss of 0 means being certain and right: this model knows nothing yet",
    }, tolerance=0.011)  # fmt: skip
    return "ln(100): every character costs as much as one draw out of a hundred"


def _check_rate(attempt):
    def at(fraction, step, warmup_steps=10):
        return number_given(attempt(fraction, step, warmup_steps))

    if close(at(0.2, 100), 0.2):
        raise Wrong("the rate rises with the fraction: it should be what is left of the budget, 1 - fraction")
    if at(0.0, 0) == 0:
        raise Wrong("the very first step has rate 0 and changes nothing: use step + 1 in the warm-up")
    if close(at(0.0, 0), 1.0) and not close(at(0.0, 4), 0.5):
        raise Wrong("there is no warm-up: at step 0 the rate should be 1/10 of the peak, yours is all of it")
    if close(at(0.5, 100), 1.0):
        raise Wrong("there is no fall: with half of the budget used the rate should be half of the peak")
    if at(0.5, 100) > 1:
        raise Wrong("the rate goes on rising after the warm-up: it must stop at 1")
    if not close(at(1.0, 1000), 0.0):
        raise Wrong(f"with all of the budget used the rate should be 0, yours is {at(1.0, 1000):g}")
    if close(at(0.2, 0), 0.1) or at(0.2, 0) > 0.1:
        raise Wrong("warm-up and fall are multiplied: at step 0 with a fifth used, 1/10 times 4/5")
    for fraction, step, warmup_steps in [(0.2, 0, 10), (0.5, 4, 10), (0.25, 99, 100), (0.7, 500, 10), (0.3, 7, 4)]:
        wanted, given = linear_lr(fraction, step, warmup_steps), at(fraction, step, warmup_steps)
        if not close(given, wanted):
            raise Wrong(
                f"at fraction {fraction}, step {step}, warm-up {warmup_steps}: {wanted:g} was wanted, yours is {given:g}"
            )
    return "up over the first steps, down to nothing at the end"


def _another_rate(fraction, step, warmup_steps):
    rate = 1 - fraction
    if step + 1 < warmup_steps:
        rate = rate * (step + 1) / warmup_steps
    return rate


def _check_interval(attempt):
    diagnose(number(attempt), 0.6875, {
        0.75: "that is where it ends, or where c begins on the whole line: c takes the last quarter of b's share",
        0.5: "that is where b begins; c takes the last quarter of b's share",
        0.625: "that is the middle of b's share: c begins at three quarters of it",
        0.875: "that is c first and then b: the first symbol takes its share of the whole line",
        0.0625: "that is how wide the interval is: where does it begin?",
    })  # fmt: skip
    return "b takes 0.5 to 0.75, c the last quarter of that, 0.6875 to 0.75, which is 1/16 wide: four digits, 0.1011"


def _check_hidden(attempt):
    choose_letter(attempt, "c", {
        "a": "its loss is lower partly because its question is easier: it is told what comes after",
        "b": "both are nats for each target; what differs is what the model was told before it had to answer",
        "d": "both read the same held-out text",
    })  # fmt: skip
    return "the probabilities of hidden tokens given all others do not multiply to the probability of a text; those of next tokens do"


GRADIENT = np.array([[6.0, -8.0], [8.0, 6.0]])


def _check_orthogonal(attempt):
    try:
        given = np.array(attempt, dtype=float)
    except (TypeError, ValueError):
        raise Wrong("a 2 × 2 list of numbers was wanted") from None
    if given.shape != (2, 2):
        raise Wrong(f"a 2 × 2 list of numbers was wanted, yours has shape {given.shape}")
    mistakes = [
        (GRADIENT, "that is G itself: both of its singular values are 10, and 1 is wanted"),
        (
            GRADIENT / np.linalg.norm(GRADIENT),
            "you divided by the length of all four numbers together: singular values of 0.71",
        ),
        (
            np.sign(GRADIENT),
            "those are the signs: their columns are √2 long, an orthogonal matrix has columns of length 1",
        ),
        (GRADIENT.T / 10, "that turns the other way: it is the transpose"),
        (np.eye(2), "the identity forgets the direction: U Vᵀ keeps the turn and drops the stretch"),
    ]
    for mistake, words in mistakes:
        if close(given, mistake, 0.006):
            raise Wrong(words)
    if not close(given.T @ given, np.eye(2), 0.02):
        raise Wrong("its columns are not of length 1 and at right angles")
    if not close(given, GRADIENT / 10, 0.006):
        raise Wrong("it is orthogonal, but it turns by another angle than G does")
    return "G is a turn times a stretch of 10, and only the turn is kept"


def _check_leak(attempt):
    choose_letter(attempt, "c", {
        "a": "a model without any skill pays ln V: this one has a very easy job",
        "b": "the loss of a good model is what guessing the *next* character costs: here nothing is to be guessed",
        "d": "nothing is undefined: the batch is a perfectly good one, for a useless job",
    })  # fmt: skip
    return "the target stands in the input: copying it is learned in a moment, and the model can say nothing about what follows"


def _check_quintic(attempt):
    import torch

    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b, c = 2.0, -0.5, 0.25
    gram = x @ x.mT
    wanted = quintic(x, a, b, c)
    try:
        given = attempt(x, a, b, c)
    except RuntimeError as error:
        raise Wrong(f"the shapes do not fit ({error}): X Xᵀ is (n, n) and stands left of X") from None
    if not torch.is_tensor(given) or given.shape != x.shape:
        raise Wrong(
            f"a tensor of the shape of x, {tuple(x.shape)}, was wanted, yours gives {getattr(given, 'shape', given)!r}"
        )
    mistakes = [
        (a * x + b * x**3 + c * x**5, "that raises each entry to a power: the powers are matrix products, with @"),
        (a * x + b * gram @ x, "the fifth power is missing: c (X Xᵀ)² X"),
        (a * x + b * gram @ x + c * gram @ x, "the last term has X Xᵀ once: its square makes the fifth power"),
        (b * gram @ x + c * gram @ gram @ x, "the first term is missing: a X"),
        (a * x + (b * gram + c * gram**2) @ x, "`gram**2` squares each entry: write gram @ gram"),
        (x + (b * gram + c * gram @ gram) @ x, "the first term is a times X"),
    ]
    for mistake, words in mistakes:
        if close(given, mistake, 1e-9):
            raise Wrong(words)
    if not close(given, wanted, 1e-9):
        raise Wrong(
            "it is not a X + b X Xᵀ X + c (X Xᵀ)² X: try it on a 1 × 1 matrix, where it must be a x + b x³ + c x⁵"
        )
    return "three products, and each singular value goes through the polynomial by itself"


def _check_paired(attempt):
    differences = np.array([0.02, 0.05, 0.03, 0.04, 0.01])
    mean, half = differences.mean(), 2.776 * differences.std(ddof=1) / 5**0.5
    given = attempt(differences)
    try:
        got_mean, got_half = (float(value) for value in given)
    except (TypeError, ValueError):
        raise Wrong(f"two numbers were wanted, the mean and the half-width; yours gives {given!r}") from None
    if not close(got_mean, mean, 1e-6):
        raise Wrong(f"the first number is the mean of the differences, {mean:g}; yours is {got_mean:g}")
    diagnose(got_half, half, {
        2.776 * differences.std() / 5**0.5: "the standard deviation of a few values has n - 1 below: `std(ddof=1)`",
        2.776 * differences.std(ddof=1): "that is how far single seeds spread: the mean of n is surer, by √n",
        differences.std(ddof=1) / 5**0.5: "that is the standard error: Student's t, 2.776 for five values, is missing",
        1.96 * differences.std(ddof=1) / 5**0.5: "1.96 is for many values: with five, Student's t is 2.776",
        2.776 * differences.std(ddof=1) / 5: "the square root of n is missing: s / √n",
    }, tolerance=2e-5)  # fmt: skip
    return "an interval that does not hold 0 says: more than luck, for this text and size"


def _another_interval(values):
    values = list(values)
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, 2.776 * (variance / len(values)) ** 0.5


def _quintic_by_svd(x, a, b, c):
    import torch

    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    return u @ torch.diag_embed(a * s + b * s**3 + c * s**5) @ vh


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
            "The loss of one guess is minus the natural logarithm of the probability that the right character got.",
            "Each gets 1/100.",
        ),
        check=_check_first_loss,
        answer=math.log(100),
        another=(4.61,),
        wrong=(
            (math.log2(100), "in bits"),
            (2, "log10"),
            (100, "the number of choices"),
            (0.01, "the probability of each"),
            (-4.605, "never below 0"),
            (0, "certain and right"),
        ),
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
            "Write the two factors down one by one: `warmup = min(…)` and `fall = …`.",
            "`min(1, (step + 1) / warmup_steps) * (1 - fraction)`",
        ),
        check=_check_rate,
        answer=linear_lr,
        another=(_another_rate,),
        wrong=(
            (lambda f, s, w: 1 - f, "there is no warm-up"),
            (lambda f, s, w: min(1, s / w) * (1 - f), "changes nothing"),
            (lambda f, s, w: min(1, (s + 1) / w), "there is no fall"),
            (lambda f, s, w: (s + 1) / w * (1 - f), "goes on rising"),
            (lambda f, s, w: min(1, (s + 1) / w) * f, "rises with the fraction"),
            (lambda f, s, w: min(1, (s + 1) / w) * (1 - f / 2), "should be 0"),
            (lambda f, s, w: min((s + 1) / w, 1 - f), "are multiplied"),
            (lambda f, s, w: "up, then down", "a number was wanted"),
        ),
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
        hints=("What is the least that the model must do to be right every time?", "The answer stands in its input."),
        check=_check_leak,
        answer="c",
        another=(" C. ",),
        wrong=(
            ("a", "a very easy job"),
            ("b", "nothing is to be guessed"),
            ("d", "nothing is undefined"),
            ("e", "one letter from a to d"),
            (0, "one letter from a to d"),
        ),
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
            "Are the two columns of G at right angles? How long is each?",
            "G is 10 times a rotation; a rotation has singular values of 1.",
        ),
        check=_check_orthogonal,
        answer=[[0.6, -0.8], [0.8, 0.6]],
        another=(GRADIENT @ np.linalg.inv(np.array([[10.0, 0.0], [0.0, 10.0]])),),
        wrong=(
            ([[6, -8], [8, 6]], "G itself"),
            ([[0.424, -0.566], [0.566, 0.424]], "all four numbers together"),
            ([[1, -1], [1, 1]], "the signs"),
            ([[0.6, 0.8], [-0.8, 0.6]], "the transpose"),
            ([[1, 0], [0, 1]], "forgets the direction"),
            ([[0.8, -0.6], [0.6, 0.8]], "another angle"),
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
            "c takes the last quarter of 0.5 to 0.75.",
        ),
        check=_check_interval,
        answer=0.6875,
        another=(11 / 16,),
        wrong=(
            (0.75, "where it ends"),
            (0.5, "where b begins"),
            (0.625, "three quarters of it"),
            (0.875, "c first and then b"),
            (1 / 16, "where does it begin"),
            (0.9, "too large"),
        ),
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
            "Compute X Xᵀ once: `gram = x @ x.mT` (`.mT` swaps the last two axes).",
            "`a * x + (b * gram + c * gram @ gram) @ x`",
        ),
        check=_check_quintic,
        answer=quintic,
        another=(_quintic_by_svd,),
        wrong=(
            (lambda x, a, b, c: a * x + b * x**3 + c * x**5, "with @"),
            (lambda x, a, b, c: a * x + b * x @ x.mT @ x, "fifth power is missing"),
            (lambda x, a, b, c: a * x + (b + c) * x @ x.mT @ x, "X Xᵀ once"),
            (lambda x, a, b, c: quintic(x, 0, b, c), "first term is missing"),
            (lambda x, a, b, c: a * x + (b * x @ x.mT + c * (x @ x.mT) ** 2) @ x, "squares each entry"),
            (lambda x, a, b, c: quintic(x, 1, b, c), "a times X"),
            (lambda x, a, b, c: a * x + b * x.mT @ x @ x, "shapes do not fit"),
            (lambda x, a, b, c: x @ x.mT, "shape of x"),
        ),
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
            "`values.std(ddof=1)` has n - 1 in its denominator.",
            "`values.mean(), 2.776 * values.std(ddof=1) / np.sqrt(len(values))`",
        ),
        check=_check_paired,
        answer=interval_of_mean,
        another=(_another_interval,),
        wrong=(
            (lambda v: v.mean(), "two numbers were wanted"),
            (lambda v: (np.median(v) + 1, 0.0), "mean of the differences"),
            (lambda v: (v.mean(), 2.776 * v.std() / 5**0.5), "n - 1 below"),
            (lambda v: (v.mean(), 2.776 * v.std(ddof=1)), "single seeds spread"),
            (lambda v: (v.mean(), v.std(ddof=1) / 5**0.5), "Student's t, 2.776"),
            (lambda v: (v.mean(), 1.96 * v.std(ddof=1) / 5**0.5), "for many values"),
            (lambda v: (v.mean(), 2.776 * v.std(ddof=1) / 5), "square root of n"),
        ),
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
        hints=("What does each of them know when it guesses?", "Could the encoder's loss be the length of a file?"),
        check=_check_hidden,
        answer="c",
        another=("C",),
        wrong=(("a", "easier"), ("b", "nats for each target"), ("d", "the same held-out text"), (1, "from a to d")),
    ),
]
