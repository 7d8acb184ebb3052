"""The exercises of 06_pretraining, and the training step and Muon as its reader builds them."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance, Wrong, close, number_given
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.training.optimizers import linear_lr, quintic

GRADIENT = ((6.0, -1.6), (8.0, 1.2))  # a turn after stretches of 10 and 2
JORDAN = (3.4445, -4.7750, 2.0315)


# 06-step


def train_step(model: nn.Module, x: Tensor, y: Tensor, optimizers: list[torch.optim.Optimizer]) -> float:
    """One step of training: forward pass, backward pass, update. Built by the reader in 06."""
    loss = cross_entropy(model(x), y)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def _forget_first(model, x, y, optimizers):
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss = cross_entropy(model(x), y)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())


def _forget_by_the_model(model, x, y, optimizers):
    model.zero_grad()
    logits = model(x)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
    loss.backward()
    [optimizer.step() for optimizer in optimizers]
    return loss.detach().numpy().item()


def _never_forgets(model, x, y, optimizers):
    loss = cross_entropy(model(x), y)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


def _stays(model, x, y, optimizers):
    return cross_entropy(model(x), y).item()


def _first_optimizer_only(model, x, y, optimizers):
    return train_step(model, x, y, optimizers[:1])


def _last_one_forgets(model, x, y, optimizers):
    loss = cross_entropy(model(x), y)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    optimizers[-1].zero_grad()
    return loss.item()


def _forgets_too_early(model, x, y, optimizers):
    loss = cross_entropy(model(x), y)
    loss.backward()
    for optimizer in optimizers:
        optimizer.zero_grad()
        optimizer.step()
    return loss.item()


def _backward_in_the_loop(model, x, y, optimizers):
    loss = cross_entropy(model(x), y)
    for optimizer in optimizers:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def _steps_before(model, x, y, optimizers):
    loss = cross_entropy(model(x), y)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    loss.backward()
    return loss.item()


def _returns_inside(model, x, y, optimizers):
    loss = cross_entropy(model(x), y)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        return loss.item()


def _guesses_what_it_sees(model, x, y, optimizers):
    return train_step(model, x, x, optimizers)


def _loss_afterwards(model, x, y, optimizers):
    train_step(model, x, y, optimizers)
    return _stays(model, x, y, optimizers)


STEP_MISTAKES = (
    (
        _never_forgets,
        "old gradients are still there in the next step, and the new ones are added to them: `zero_grad()`",
    ),
    (
        _last_one_forgets,
        "only the last optimizer forgets: `zero_grad()` belongs in the loop, as `step()` does",
    ),
    (
        _stays,
        "no weight has moved: `loss.backward()` first, then `step()` of every optimizer, and `zero_grad()` only after that",
    ),
    (_first_optimizer_only, "only the first optimizer of the list takes its step"),
    (
        _returns_inside,
        "the `return` is inside the loop: only the first optimizer takes its step, and nothing is forgotten",
    ),
    (_guesses_what_it_sees, "the targets are y, not x"),
    (_loss_afterwards, "the weights are right, but the loss to return is the one before the update"),
)


class _Descent:
    """Plain gradient descent, with the two methods that every optimizer has."""

    def __init__(self, part):
        self.weights = list(part.parameters())
        self.steps_without_gradients = 0

    @torch.no_grad()
    def step(self):
        self.steps_without_gradients += all(w.grad is None for w in self.weights)
        for w in self.weights:
            w -= 0.5 * w.grad if w.grad is not None else 0.0

    def zero_grad(self, set_to_none=True):
        for w in self.weights:
            w.grad = None


STEP_FIRST = "the step comes before the backward pass, so it uses the gradients of the batch before"
FORGETS_FIRST = "no weight has moved: you forget the gradients before you use them. First `step()`, then `zero_grad()`"
BACKWARD_TWICE = "`loss.backward()` fills in all gradients at once: call it once, before the loop"


def _three_steps(step):
    """The losses of three steps of a tiny model, the weights that it ends with, and whether all steps were empty."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7))
        batches = torch.randint(7, (3, 2, 2, 4))
    optimizers = [_Descent(part) for part in model]
    losses = [step(model, x, y, optimizers) for x, y in batches]
    empty = all(optimizer.steps_without_gradients == len(batches) for optimizer in optimizers)
    return losses, torch.cat([w.detach().flatten() for w in model.parameters()]).numpy(), empty


def _check_step(attempt):
    try:
        losses, weights, empty = _three_steps(attempt)
    except RuntimeError as error:
        for sign, words in (("modified by an inplace", STEP_FIRST), ("backward through the graph", BACKWARD_TWICE)):
            if sign in str(error):
                raise Wrong(words) from None
        raise
    if empty:
        raise Wrong(FORGETS_FIRST)
    if isinstance(losses[0], Tensor):
        raise Wrong(
            "a plain number was wanted, yours gives a tensor (which keeps its whole graph alive): `loss.item()`"
        )
    losses = [number_given(loss) for loss in losses]
    wanted = _three_steps(train_step)
    if close(losses, wanted[0], 1e-5) and close(weights, wanted[1], 1e-5):
        return "four lines that trained every language model you've heard of"
    for mistake, words in STEP_MISTAKES:
        theirs = _three_steps(mistake)
        if close(losses, theirs[0], 1e-5) and close(weights, theirs[1], 1e-5):
            raise Wrong(words)
    if close(weights, wanted[1], 1e-5):
        raise Wrong(f"the weights are right, but the loss was {wanted[0][0]:.3f}, and yours gives {losses[0]:.3f}")
    raise Wrong(
        "after three steps of a tiny model, the weights aren't where they should be: which calls, in which order?"
    )


# 06-muon


def muon(w: Tensor, gradient: Tensor, average: Tensor, lr: float, momentum: float) -> tuple[Tensor, Tensor]:
    """One step of Muon for a matrix: (its new weights, the new average of its gradients). Built by the reader in 06."""
    average = momentum * average + (1 - momentum) * gradient
    x = average / (average.norm() + 1e-7)
    for _ in range(5):
        x = quintic(x, 3.4445, -4.7750, 2.0315)
    return w - lr * x, average


def _muon_by_svd(w, gradient, average, lr, momentum):
    average = torch.lerp(gradient, average, momentum)
    u, s, vh = torch.linalg.svd(average, full_matrices=False)
    s = s / (s.square().sum().sqrt() + 1e-7)
    a, b, c = JORDAN
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    return w - lr * (u * s) @ vh, average


def _muon_in_place(w, gradient, average, lr, momentum):
    w, average = w.clone(), average.clone()
    average.mul_(momentum).add_(gradient, alpha=1 - momentum)
    x = average / ((average**2).sum() ** 0.5 + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    w.sub_(x, alpha=lr)
    return [w, average]


def _muon(w, gradient, average, lr, momentum, mix=None, length=lambda m: m.norm(), rounds=5, sign=1.0):
    average = mix(average, gradient, momentum) if mix else momentum * average + (1 - momentum) * gradient
    x = average / (length(average) + 1e-7)
    for _ in range(rounds):
        x = quintic(x, *JORDAN)
    return w - sign * lr * x, average


def _muon_of_the_gradient(w, gradient, average, lr, momentum):
    average = momentum * average + (1 - momentum) * gradient
    return muon(w, gradient, gradient, lr, momentum)[0], average


def _muon_from_the_average_again(w, gradient, average, lr, momentum):
    average = momentum * average + (1 - momentum) * gradient
    return w - lr * quintic(average, *JORDAN), average


def _muon_divides_every_time(w, gradient, average, lr, momentum):
    average = x = momentum * average + (1 - momentum) * gradient
    for _ in range(5):
        x = quintic(x / (x.norm() + 1e-7), *JORDAN)
    return w - lr * x, average


def _muon_without_brackets(w, gradient, average, lr, momentum):
    average = momentum * average + (1 - momentum) * gradient
    x = average / average.norm() + 1e-7
    for _ in range(5):
        x = quintic(x, *JORDAN)
    return w - lr * x, average


def _step_to_take(rng):
    n, m = rng.integers(2, 6, size=2)
    w, gradient, average = (torch.from_numpy(rng.normal(size=(n, m))) for _ in range(3))
    return w, gradient, average, float(rng.uniform(0.01, 0.1)), float(rng.choice([0.5, 0.9]))


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


ROTATION = np.array([[0.6, -0.8], [0.8, 0.6]])
_GRADIENT = np.array(GRADIENT)
ORTHOGONAL_MISTAKES = (
    (_GRADIENT, "that is G itself: its stretches are 10 and 2, and 1 is wanted for both"),
    (
        _GRADIENT / np.linalg.norm(_GRADIENT),
        "you divided by the length of all four numbers together: the stretches are 0.98 and 0.2",
    ),
    (_GRADIENT / 10, "you divided both by 10: the loud direction has length 1 now, and the quiet one has 0.2"),
    (_GRADIENT / 2, "you divided both by 2: the quiet direction has length 1 now, and the loud one has 5"),
    (
        _GRADIENT / np.linalg.norm(_GRADIENT, axis=1, keepdims=True),
        "you divided each *row* by its length: what G makes of (1, 0) and (0, 1) are its columns",
    ),
    (np.diag([10.0, 2.0]), "those are only the stretches Σ: keep the turn, and drop them"),
    (np.sign(_GRADIENT), "those are the signs: their columns are √2 long, and should have length 1"),
    (ROTATION.T, "that turns the other way: it is the transpose"),
    (np.eye(2), "the identity forgets the direction: U Vᵀ keeps the turn and drops the stretch"),
    (-ROTATION, "the sign is turned round: that turns by half a circle more than G does"),
)


def _check_orthogonal(attempt):
    try:
        given = np.array(attempt, dtype=float)
    except (TypeError, ValueError):
        raise Wrong("a 2 × 2 list of numbers was wanted") from None
    if given.shape != (2, 2):
        raise Wrong(f"a 2 × 2 list of numbers was wanted, yours has shape {given.shape}")
    for mistake, words in ORTHOGONAL_MISTAKES:
        if close(given, mistake, 0.006):
            raise Wrong(words)
    if abs(given[:, 0] @ given[:, 1]) > 0.02 * np.linalg.norm(given) ** 2:
        raise Wrong("its columns aren't at right angles, and those of G are")
    first, second = np.linalg.norm(given, axis=0)
    if not close((first, second), (1.0, 1.0), 0.01):
        raise Wrong(
            f"its columns are at right angles, but {first:.3g} and {second:.3g} long: both should have length 1"
        )
    if np.linalg.det(given) < 0:
        raise Wrong("that mirrors (its determinant is −1), and G turns")
    if not close(given, ROTATION, 0.006):
        raise Wrong("it is orthogonal, but it turns by another angle than G does")
    return "the loud direction and the quiet one are equally long now, and only the turn is left"


EXERCISES = [
    Exercise(
        id="06-first-loss",
        title="what does knowing nothing cost?",
        minutes=2,
        difficulty=1,
        task="""
A text uses 100 different characters. A model that knows nothing gives each the same probability. What is its loss, in nats
per character?""",
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
            (4.635, "that's for the manual, with all its characters: here there are 100"),
            (2, "that is log10(100): take the natural logarithm"),
            (100, "100 is the number of choices: the loss is the logarithm of how many there are"),
            (0.01, "1/100 is the probability of each choice: the loss is minus its logarithm"),
            (-math.log(100), "minus the logarithm of 1/100 is positive: a loss is never below 0"),
            (-0.01, "a loss is minus the *logarithm* of a probability, and never below 0"),
        ),
        right="ln(100): every character costs as much as one draw out of a hundred",
    ),
    Exercise(
        id="06-step",
        title="one step of training",
        minutes=8,
        difficulty=2,
        task="""
Write `train_step(model, x, y, optimizers)`. The loss of a batch is `cross_entropy(model(x), y)`. Let the backward pass fill in the gradients,
let every optimizer in the list take its step, and make sure that no gradient is left over for the next batch. Return the loss as a plain
number.
""",
        stub="""
def train_step(model, x, y, optimizers):
    # forward pass, backward pass, update, forget
    return ...
""",
        name="train_step",
        hints=(
            "After the forward pass, PyTorch needs to be told three things: compute the gradients, use them, forget them. In which order?",
            "Two of the three are methods of the optimizer. The third is a method of the loss, and it's called once.",
            "`loss.backward()`; in the loop `optimizer.step()`, then `optimizer.zero_grad()`; at the end `loss.item()`.",
        ),
        changes=(0, 1, 2, 3),
        check=_check_step,
        answer=train_step,
        another=(_forget_first, _forget_by_the_model),
        wrong=(
            *STEP_MISTAKES,
            (_steps_before, STEP_FIRST),
            (_forgets_too_early, FORGETS_FIRST),
            (_backward_in_the_loop, BACKWARD_TWICE),
            (lambda m, x, y, o: cross_entropy(m(x), y), "keeps its whole graph alive"),
            (lambda m, x, y, o: 1.0, "which calls, in which order"),
            (lambda m, x, y, o: train_step(m, x, y, o) + 1, "the weights are right, but the loss was"),
        ),
        ours="bigmodel_lib.exercises.nb06:train_step",
    ),
    Exercise(
        id="06-rate",
        title="the learning rate over time",
        minutes=5,
        difficulty=1,
        task="""
Write `linear_lr(fraction, step, warmup_steps)`: the share of the peak learning rate to use now. It's a product of two factors:

- the *warm-up* climbs in equal steps. With `warmup_steps` = 4 it's 1/4 at step 0, then 2/4, 3/4, 1, and it stays at 1;
- the *fall* goes in a straight line from 1 down to 0. `fraction` is the part of the budget that's used up so far.
""",
        stub="""
def linear_lr(fraction, step, warmup_steps):
    # fraction: used share of the budget, 0 to 1; step: 0, 1, 2, … -> a number from 0 to 1
    return ...
""",
        name="linear_lr",
        hints=(
            "One factor only matters at the start, the other all the time. Which arguments does each of them need?",
            "Write the two factors one at a time, `warmup = …` and `fall = …`. What keeps the first from passing 1?",
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
            (
                lambda f, s, w: (s + 1) / w if s < w else 1 - f,
                "the fall is missing during the warm-up: the two factors are multiplied from step 0",
            ),
            (
                lambda f, s, w: min(1, (s + 1) / w) - f,
                "the fall is subtracted: it's a factor, times (1 − fraction)",
            ),
            (
                lambda f, s, w: min(1, s + 1 / w) * (1 - f),
                "brackets are missing: s + 1/w divides the 1 alone, write (step + 1) / warmup_steps",
            ),
        ),
        right="up over the first steps, down to zero at the end",
        ours="bigmodel_lib.training.optimizers:linear_lr",
    ),
    Exercise(
        id="06-orthogonal",
        title="orthogonalise a gradient by hand",
        minutes=4,
        difficulty=2,
        task=r"""
On paper: the gradient of a 2 × 2 matrix is $G = \begin{pmatrix} 6 & -1.6 \\ 8 & 1.2 \end{pmatrix}$. Keep its turns and set both stretches to
one: which matrix is $U V^\top$?
""",
        stub="step_direction = ...  # [[a, b], [c, d]]",
        name="step_direction",
        hints=(
            "What does G do to a vector? Try (1, 0) and (0, 1).",
            "Are the two columns of G at right angles? How long is each?",
            "G stretches by 10 and by 2, then turns: divide each column by its own length, and only the turn is left.",
        ),
        check=_check_orthogonal,
        answer=[[0.6, -0.8], [0.8, 0.6]],
        another=(np.array(GRADIENT) @ np.diag([1 / 10, 1 / 2]), ((0.6, -0.8), (0.8, 0.6))),
        wrong=(
            ([[6, -1.6], [8, 1.2]], "G itself"),
            ([[0.588, -0.157], [0.784, 0.118]], "all four numbers together"),
            ([[0.6, -0.16], [0.8, 0.12]], "the quiet one has 0.2"),
            ([[3, -0.8], [4, 0.6]], "the loud one has 5"),
            ([[0.966, -0.258], [0.989, 0.148]], "each *row*"),
            ([[10, 0], [0, 2]], "only the stretches"),
            ([[1, -1], [1, 1]], "the signs"),
            ([[0.6, 0.8], [-0.8, 0.6]], "the transpose"),
            ([[1, 0], [0, 1]], "forgets the direction"),
            ([[-0.6, 0.8], [-0.8, -0.6]], "half a circle"),
            ([[0.8, -0.6], [0.6, 0.8]], "another angle"),
            ([[0.6, 0.8], [0.8, -0.6]], "mirrors"),
            ([[0.6, 0.6], [0.8, 0.8]], "aren't at right angles"),
            ([[10, 0], [0, 10]], "10 and 10 long"),
            ([1, 2], "2 × 2 list"),
        ),
    ),
    Exercise(
        id="06-quintic",
        title="a polynomial of a matrix",
        minutes=6,
        difficulty=2,
        task=r"""
Write `quintic(x, a, b, c)`: $a\,X + b\,(X X^\top) X + c\,(X X^\top)^2 X$ for a matrix X (or for many, in the last two axes). The powers
are matrix products, with `@`.
""",
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
            (
                lambda x, a, b, c: a * x + b * (x @ x.mT) + c * (x @ x.mT) @ (x @ x.mT),
                "the last `@ x` is missing: b (X Xᵀ) and c (X Xᵀ)² still have to be multiplied by X",
            ),
            (
                lambda x, a, b, c: a * x + (b * (x @ x.mT) + c * (x @ x.mT) @ (x @ x.mT)) * x,
                "the last product, with X, is a matrix product as well: (…) @ x",
            ),
            (
                lambda x, a, b, c: a * x + (b * (x @ x.mT) + (c * (x @ x.mT)) @ (c * (x @ x.mT))) @ x,
                "c is squared, too: write c * (gram @ gram)",
            ),
            (
                lambda x, a, b, c: a * x + (b * (x @ x.mT) + c * (x @ x.mT) @ (x @ x.mT) @ (x @ x.mT)) @ x,
                "X Xᵀ three times, then X, makes the seventh power: twice is enough",
            ),
            (lambda x, a, b, c: quintic(x, a, c, b), "b and c have changed places: b goes with the third power"),
        ),
        right="three products, and each singular value goes through the polynomial by itself",
        ours="bigmodel_lib.training.optimizers:quintic",
    ),
    Exercise(
        id="06-muon",
        title="build Muon",
        minutes=12,
        difficulty=3,
        task=r"""
Write `muon(w, gradient, average, lr, momentum)`, one step for one matrix. Four things happen:

1. the average moves on: $M \leftarrow \mu M + (1 - \mu)\,G$, with $\mu$ the momentum;
2. X is M divided by its length, `M.norm() + 1e-7` (the tiny number is for matrices of zeros);
3. five times, X becomes `quintic(X, 3.4445, -4.7750, 2.0315)`;
4. subtract `lr` times X from w.

Return the new w and the new average.
""",
        stub="""
def muon(w, gradient, average, lr, momentum):
    average = ...
    x = ...
    for _ in range(5):
        x = ...
    return w - lr * x, average
""",
        name="muon",
        hints=(
            "What is X at the start of the second round: M again, or what the first round made of it?",
            "The length is one number for the whole matrix, and it belongs to the average, not to the new gradient.",
            "`average = momentum * average + (1 - momentum) * gradient`, `x = average / (average.norm() + 1e-7)`; at the end `w - lr * x`.",
        ),
        answer=muon,
        another=(_muon_by_svd, _muon_in_place),
        inputs=_step_to_take,
        special=(
            (
                "G = [[6, −1.6], [8, 1.2]] and no average yet",
                torch.zeros(2, 2).double(),
                torch.tensor(GRADIENT).double(),
                torch.zeros(2, 2).double(),
                1.0,
                0.9,
            ),
            ("only zeros", torch.ones(2, 3).double(), torch.zeros(2, 3).double(), torch.zeros(2, 3).double(), 0.1, 0.9),
        ),
        gives=Gives(parts=("the new w", "the new average")),
        tolerance=Tolerance(relative=1e-6, absolute=1e-9),
        wrong=(
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, lambda m, g, mu: g),
                "the average isn't used: it remembers the gradients of the steps before",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, lambda m, g, mu: (1 - mu) * m + mu * g),
                "the shares have changed places: momentum goes with the old average",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, lambda m, g, mu: mu * m + g),
                "the new gradient enters in full: it gets the share 1 − momentum, so that M stays an average",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, length=lambda m: 1.0),
                "the average isn't divided by its length: large singular values then explode in the polynomial",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, length=lambda m: m.norm() - 1e-7),
                "a matrix of zeros has length 0, and 0/0 is nan: divide by the length plus 1e-7",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, length=lambda _: g.norm()),
                "you divide by the length of the gradient: divide the average by its own length",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, length=lambda m: m.norm(dim=0)),
                "each column is divided by its own length: one length for the whole matrix",
            ),
            (_muon_of_the_gradient, "X begins with the new gradient: divide the *average* by its length"),
            (
                _muon_from_the_average_again,
                "each round goes back to the average: start from the X of the round before, `x = quintic(x, …)`",
            ),
            (
                _muon_divides_every_time,
                "X is divided by its length again in every round: once is enough, before the rounds",
            ),
            (
                lambda w, g, m, lr, mu: (
                    _muon(w, g, m, lr, mu)[0],
                    _muon(w, g, m, lr, mu)[1] / (_muon(w, g, m, lr, mu)[1].norm() + 1e-7),
                ),
                "w is right, but the average that you return is already divided by its length: return M itself",
            ),
            (
                _muon_without_brackets,
                "1e-7 is added to every entry of X: it belongs to the length, so mind the brackets",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, rounds=1),
                "that's one round: each round starts from the X of the round before, `x = quintic(x, …)`",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, rounds=0),
                "the five rounds of the polynomial are missing: X is still the scaled average",
            ),
            (
                lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu, sign=-1.0),
                "w moves with the gradient, uphill: subtract",
            ),
            (lambda w, g, m, lr, mu: _muon(w, g, m, 1.0, mu), "the learning rate isn't used: w − lr · X"),
            (
                lambda w, g, m, lr, mu: (_muon(w, g, m, lr, mu)[0] - w, _muon(w, g, m, lr, mu)[1]),
                "that's the step: return the new w, the old one minus lr · X",
            ),
            (
                lambda w, g, m, lr, mu: (_muon(w, g, m, lr, mu)[0], m),
                "w is right, but the average that you return is the old one",
            ),
            (
                lambda w, g, m, lr, mu: (_muon(w, g, m, lr, mu)[0], (w - _muon(w, g, m, lr, mu)[0]) / lr),
                "w is right, but in place of the average you return X",
            ),
            (lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu)[::-1], "the new w comes first, then the average"),
            (lambda w, g, m, lr, mu: _muon(w, g, m, lr, mu)[0], "return two things: the new w and the new average"),
        ),
        right="that's the whole optimizer, and it trains the model below",
        ours="bigmodel_lib.exercises.nb06:muon",
    ),
    Exercise(
        id="06-hidden",
        title="which loss is better?",
        minutes=4,
        difficulty=2,
        task="""
After long training, both are tested on the same held-out text, in nats per guess. BERT's loss on hidden characters is 1.1, GPT's on next
characters is 1.4. Which of the two is the better model of the language?

**a** BERT. · **b** That depends on the unit. · **c** These two numbers can't tell: they answer different questions. · **d** The one that was
tested on the easier text.
""",
        stub="which = ...  # a letter, as text",
        name="which",
        hints=(
            "What does each of them know when it guesses?",
            "Could you add up GPT's prices to the size of a file? And BERT's?",
            "BERT sees what comes after the gap. Is its question the same as GPT's?",
        ),
        answer="c",
        another=("C", "c)"),
        wrong=(
            ("a", "its loss is lower partly because its question is easier: it is told what comes after"),
            ("b", "both are in nats per guess; what differs is what the model was told before it had to guess"),
            ("d", "both read the same held-out text"),
        ),
        right="the probabilities of hidden tokens given all others do not multiply to the probability of a text; those of next tokens do",
    ),
]
