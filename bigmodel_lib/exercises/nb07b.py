"""The exercises of 07b_classifying."""

import math

import numpy as np
import torch
from scipy.special import expit, stdtrit

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance, Wrong
from bigmodel_lib.finetuning.classification import pool
from bigmodel_lib.measuring.intervals import interval_of_splits

# 07-pool


def _texts_of_a_batch(rng):
    """States of B texts of unequal lengths, and where each has a token; gradients go to the states."""
    B, T, D = (int(n) for n in rng.integers((1, 2, 1), (5, 7, 4)))
    lengths = rng.integers(1, T + 1, size=B)
    states = torch.from_numpy(rng.normal(size=(B, T, D)).astype(np.float32))
    return states.requires_grad_(), torch.from_numpy(np.arange(T) < lengths[:, None])


def _pool_by_loop(states, here):
    rows = []
    for text, mark in zip(states, here, strict=True):
        own = text[mark]
        rows.append(torch.cat([own.mean(dim=0), own[-1]]))
    return torch.stack(rows)


def _pool_by_weights(states, here):
    marks = here.to(states.dtype)
    last = marks - torch.cat([marks[:, 1:], torch.zeros_like(marks[:, :1])], dim=1)
    weights = torch.stack([marks / marks.sum(dim=1, keepdim=True), last], dim=1)
    return (weights @ states).flatten(1)


def _last(states, here):
    return states[torch.arange(len(states)), here.sum(dim=1) - 1]


def _mean(states, here):
    return (states * here[..., None]).sum(dim=1) / here.sum(dim=1, keepdim=True)


# 07-step


def _features_and_labels(rng):
    """Weights, offset, features, labels of 0 and 1, rate."""
    B, F = (int(n) for n in rng.integers((1, 1), (7, 5)))
    w, s, y = rng.normal(size=F), rng.normal(size=(B, F)), rng.integers(0, 2, size=B)
    return w, float(rng.normal()), s, y, float(rng.uniform(0.1, 2.0))


def head_step(w, b, s, y, lr):
    """One step of gradient descent on the mean loss of a batch: w − lr · sᵀ(σ(z) − y)/B and b − lr · mean(σ(z) − y)."""
    error = expit(s @ w + b) - y
    return w - lr * s.T @ error / len(y), b - lr * error.mean()


def _step_by_loop(w, b, s, y, lr):
    dw, db = np.zeros(len(w)), 0.0
    for features, label in zip(s, y, strict=True):
        z = sum(features * w) + b
        error = 1 / (1 + math.exp(-z)) - label
        dw, db = dw + error * features, db + error
    return w - lr * dw / len(y), b - lr * db / len(y)


def _step_by_autograd(w, b, s, y, lr):
    w, b = torch.tensor(w, requires_grad=True), torch.tensor(b, dtype=torch.float64, requires_grad=True)
    z = torch.as_tensor(s) @ w + b
    torch.nn.functional.binary_cross_entropy_with_logits(z, torch.as_tensor(y, dtype=torch.float64)).backward()
    return (w - lr * w.grad).detach().numpy(), (b - lr * b.grad).item()


def _step_with(error, sign=-1.0, reduce=np.mean, rate=True):
    def step(w, b, s, y, lr):
        off = error(s @ w + b, y)
        how = sign * (lr if rate else 1.0)
        return w + how * reduce(s * off[:, None], axis=0), b + how * reduce(off)

    return step


# 07-overlap


def _differences(rng):
    """Differences between two rivals on k splits, and the sizes of a split's two parts."""
    n_test = int(rng.integers(20, 400))
    return rng.normal(rng.normal() / 20, 0.03, size=int(rng.integers(3, 13))), int(n_test * rng.uniform(1.5, 9)), n_test


def _overlap_by_hand(values, n_train, n_test):
    values = [float(value) for value in values]
    k, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (k - 1)
    return mean, float(stdtrit(k - 1, 0.975)) * math.sqrt(variance * (1 / k + n_test / n_train))


def _overlap_by_scipy(values, n_train, n_test):
    from scipy import stats

    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) * (1 / len(values) + n_test / n_train) ** 0.5)  # fmt: skip
    return (low + high) / 2, (high - low) / 2


def _wrong_overlap(factor, ddof=1, quantile=lambda k: stdtrit(k - 1, 0.975)):
    def interval(values, n_train, n_test):
        k, s = len(values), np.std(values, ddof=ddof)
        return float(np.mean(values)), float(quantile(k) * s * factor(k, n_train, n_test))

    return interval


def _squared_deviation(values, n_train, n_test):
    return interval_of_splits(values, n_train, n_test)[1] * float(np.std(values, ddof=1))


def _ends(mean, half):
    return mean - half, mean + half


# 07-f1


def _confusion(rng):
    """Counts of true and said labels, some of them rare, never said, or in no text at all."""
    n_labels = rng.integers(2, 6)
    counts = rng.integers(0, rng.choice([3, 10]), size=(n_labels, n_labels)) + np.eye(n_labels, dtype=int)
    if rng.random() < 0.3:
        counts[:, rng.integers(n_labels)] = 0
    if rng.random() < 0.3:
        counts[rng.integers(n_labels)] = 0
    counts[0, 1] += 1  # one text at least
    return (counts,)


def _f1_of(confusion, i):
    both = confusion[i].sum() + confusion[:, i].sum()
    return 2 * confusion[i, i] / both if both else 0.0


def _macro_f1(confusion):
    return float(np.mean([_f1_of(confusion, i) for i in range(len(confusion))]))


def _macro_f1_by_arrays(confusion):
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(2.0 * np.diag(confusion), both, out=np.zeros(len(both)), where=both > 0).mean()


def _macro_f1_by_parts(confusion):
    found = []
    for i in range(len(confusion)):
        hits, said, true = confusion[i][i], sum(row[i] for row in confusion), sum(confusion[i])
        precision, recall = (hits / said if said else 0.0), (hits / true if true else 0.0)
        found.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(sum(found) / len(found))


def _weighted(confusion):
    return float(sum(_f1_of(confusion, i) * confusion[i].sum() for i in range(len(confusion))) / confusion.sum())


def _mean_precision(confusion):
    return float(np.mean(np.diag(confusion) / np.maximum(confusion.sum(axis=0), 1)))


def _mean_recall(confusion):
    return float(np.mean(np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)))


def _precision(confusion, i):
    return float(confusion[i, i] / max(1, confusion[:, i].sum()))


def _recall(confusion, i):
    return float(confusion[i, i] / max(1, confusion[i].sum()))


def _without_the_nowhere(confusion):
    found = [_f1_of(confusion, i) for i in range(len(confusion)) if confusion[i].sum() + confusion[:, i].sum()]
    return float(np.mean(found)) if found else 0.0


def _f1_of_the_means(confusion):
    precision, recall = _mean_precision(confusion), _mean_recall(confusion)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _without_the_silent(confusion):
    found = [_f1_of(confusion, i) for i in range(len(confusion)) if confusion[i, i]]
    return float(np.mean(found)) if found else 0.0


def _without_the_absent(confusion):
    found = [_f1_of(confusion, i) for i in range(len(confusion)) if confusion[i].sum()]
    return float(np.mean(found)) if found else 0.0


def _nothing_by_nothing(confusion):
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.mean(2 * np.diag(confusion) / both)


def _nothing_by_nothing_in_parts(confusion):
    precision, recall = np.diag(confusion) / confusion.sum(axis=0), np.diag(confusion) / confusion.sum(axis=1)
    return np.mean(2 * precision * recall / (precision + recall))


# 07-reverse


def _two_judges(seed):
    rng = np.random.default_rng(seed)
    return rng.random(400) < 0.7, rng.random(400) < 0.6


def _check_reverse(attempt):
    for seed in range(5):
        first, second = _two_judges(seed)
        chosen = attempt(first, second)
        chosen = sorted(chosen) if isinstance(chosen, (set, frozenset)) else chosen
        try:
            rows = [int(row) for row in np.asarray(chosen).reshape(-1)]
        except (TypeError, ValueError):
            raise Wrong("a list of row numbers was wanted") from None
        if np.asarray(chosen).dtype.kind == "f":
            raise Wrong("row numbers are whole numbers, yours are not")
        if np.asarray(chosen).dtype == bool:
            raise Wrong("True and False came back: `np.flatnonzero` makes row numbers of them")
        if len(rows) != 50:
            raise Wrong(f"50 rows were wanted, yours has {len(rows)} (`np.where` gives a tuple: take its [0] first)")
        if len(set(rows)) < 50:
            raise Wrong("a row is in it twice: a test split takes each text once")
        if min(rows) < 0 or max(rows) >= 400:
            raise Wrong("there are rows from 0 to 399")
        a, b = first[rows].mean(), second[rows].mean()
        if b <= a:
            words = "the first classifier still wins" if a > b else "the two are equal"
            raise Wrong(f"{words} on your rows, {a:.2f} against {b:.2f}: look for rows where only the second is right")
    return "choose the split and you choose the winner: so draw many splits, at random, and compare on the same ones"


def _reverse(first_right, second_right):
    only_second = np.flatnonzero(second_right & ~first_right)
    others = np.flatnonzero(~(second_right & ~first_right))
    return np.concatenate([only_second, others])[:50]


def _reverse_sorted(first_right, second_right):
    return sorted(range(len(first_right)), key=lambda i: int(first_right[i]) - int(second_right[i]))[:50]


def _reverse_by_argsort(first_right, second_right):
    return np.argsort(first_right.astype(int) - second_right, kind="stable")[:50]


def _reverse_as_a_set(first_right, second_right):
    return {int(row) for row in _reverse(first_right, second_right)}


EXERCISES = [
    Exercise(
        id="07-pull",
        title="how hard does the loss pull at z?",
        minutes=5,
        difficulty=2,
        task="""
On paper: a satisfied review ($y = 1$) has the logit $z = \\ln 3$, so $\\sigma(z) = 3/4$. What's the derivative of its loss
$-\\ln \\sigma(z)$ with respect to $z$, with its sign? Training will move $z$ against it.
""",
        stub="pull = ...  # a number",
        name="pull",
        hints=(
            "Two functions are applied one after the other, ln and σ. Which rule gives the slope of such a chain?",
            "The derivative of −ln σ with respect to σ, times that of σ with respect to z, which is σ (1 − σ).",
            "−1/σ · σ (1 − σ): what is left after cancelling, with σ = 3/4?",
        ),
        answer=-0.25,
        another=(-1 / 4, 0.75 - 1),
        tolerance=0.006,
        wrong=(
            (0.25, "the sign: the label is 1, so more z would lower the loss, and the derivative is negative"),
            (0.75, "that is σ(z) itself: take the label away from it"),
            (math.log(0.75), "that is ln σ(z), minus the loss: its derivative was asked for"),
            (-math.log(0.75), "that is the loss: its derivative was asked for"),
            (-0.1875, "that is −σ(1 − σ): the derivative of σ is divided by σ again, since the loss is −ln σ"),
            (-1.0, "that pull would stay as strong however sure the model is: it weakens as σ(z) nears the label"),
            (-4 / 3, "that is −1/σ, the slope of −ln σ by σ: σ itself changes with z"),
            (4 / 3, "that is 1/σ: the loss has a minus, and σ itself changes with z"),
            (-0.75, "that is −σ(z): what is left after cancelling is −(1 − σ), or σ(z) − y"),
            (0.1875, "that is σ(1 − σ), the slope of σ alone: the loss is −ln σ, so the slope of −ln comes before it"),
            (-1 / 3, "that is −(1 − σ)/σ: one σ too many below; −1/σ times σ(1 − σ) leaves −(1 − σ)"),
            (math.log(3), "that is z itself: the slope of the loss at this place was asked for"),
            (-math.log(3), "that is −z: the slope of the loss at this place was asked for"),
            (
                -0.25 * math.log(3),
                "the pull at z is right, but it isn't multiplied by z: that would be the pull at a weight that saw z",
            ),
            (1.0, "that is the label, or the slope of z by itself: how does −ln σ(z) change when z does?"),
            (-0.5, "that is σ(z) − y for z = 0: here z = ln 3, and σ(z) is 3/4"),
            (0.0, "the slope is 0 only where the model is certain of the truth: here it still has a quarter to go"),
        ),
        right="σ(z) − y = 0.75 − 1: the pull is the error itself, and it fades as the model becomes sure of the truth",
    ),
    Exercise(
        id="07-pool",
        title="from many states to one row",
        minutes=10,
        difficulty=2,
        task="""
Write `pool(states, here)`. `states` (B, T, D) holds one row of D numbers for every token of B texts. The texts aren't equally long, so the short ones are
filled up at the end: `here` (B, T) is True where a text has a token and False behind its end. Give (B, 2D): first the mean over a text's *own* tokens, then the state
of its last own token.
""",
        stub="""
def pool(states, here):
    # states (B, T, D), here (B, T) of True and False -> (B, 2 D)
    return ...
""",
        name="pool",
        hints=(
            "A short text is filled up. What must the filling not do to the mean, and where does the text really end?",
            "`here.sum(dim=1)` is how many tokens each text has. How do you take a different row from each text?",
            "`(states * here[..., None]).sum(dim=1) / n[:, None]` is the mean, `states[torch.arange(len(states)), n - 1]` the last row; then `torch.cat`.",
        ),
        answer=pool,
        another=(_pool_by_loop, _pool_by_weights),
        inputs=_texts_of_a_batch,
        special=(
            (
                "a text of one token",
                torch.tensor([[[1.0, 2.0], [9.0, 9.0]], [[1.0, 0.0], [0.0, 1.0]]]),
                torch.tensor([[True, False], [True, True]]),
            ),
        ),
        wrong=(
            (
                lambda x, here: torch.cat([x.mean(dim=1), _last(x, here)], dim=-1),
                "the filling is counted in your mean: leave out what isn't `here`",
            ),
            (
                lambda x, here: torch.cat([x.mean(dim=1), x[:, -1]], dim=-1),
                "the filling is in both parts: a text's own tokens alone count, and its last own token isn't always at T − 1",
            ),
            (
                lambda x, here: torch.cat([(x * here[..., None]).mean(dim=1), _last(x, here)], dim=-1),
                "the sum is right, but it's divided by T: divide by each text's own number of tokens",
            ),
            (
                lambda x, here: torch.cat([_mean(x, here), x[:, -1]], dim=-1),
                "the mean is right; `states[:, -1]` is the filling of a short text: take its last own token",
            ),
            (
                lambda x, here: torch.cat([_mean(x, here), x[:, 0]], dim=-1),
                "the mean is right; the second part is the first token's state: the last one's was asked for",
            ),
            (
                lambda x, here: torch.cat([_last(x, here), _mean(x, here)], dim=-1),
                "the two parts have changed places: the mean comes first",
            ),
            (
                lambda x, here: torch.cat([(x * here[..., None]).sum(dim=1), _last(x, here)], dim=-1),
                "that's the sum: divide it by the number of tokens",
            ),
            (
                lambda x, here: torch.cat(
                    [x.masked_fill(~here[..., None], -math.inf).amax(dim=1), _last(x, here)], dim=-1
                ),
                "that's the largest of each number over the tokens: the mean was asked for",
            ),
            (
                lambda x, here: torch.cat(
                    [_mean(x, here), x[torch.arange(len(x)), here.sum(dim=1) % x.shape[1]]], dim=-1
                ),
                "the mean is right; the second part is one place too far: rows are counted from 0, so the last own token is at n − 1",
            ),
        ),
        right="what the text was about, and where it ended up: 2D numbers, however long it was",
        ours="bigmodel_lib.finetuning.classification:pool",
    ),
    Exercise(
        id="07-step",
        title="one training step of the head",
        minutes=10,
        difficulty=2,
        task="""
Write `head_step(w, b, s, y, lr)`: one step of gradient descent. `s` (B, F) has a row of F numbers for each text, `y` (B,) its label, 0 or 1. The logits are
z = s w + b, and the loss is the *mean* over the batch. You know ∂loss/∂z from the last exercise: σ(z) − y for each text. Give the new `w` (F,) and the new `b`; don't
change the old ones in place. `expit` is σ.
""",
        stub="""
def head_step(w, b, s, y, lr):
    # w (F,), b a number, s (B, F), y (B,), lr a number -> new w (F,), new b
    return ...
""",
        name="head_step",
        hints=(
            'Three things happen: predict, see how far off you are, move a little the other way. What is "how far off" for one text?',
            "`error = expit(z) - y` has one number a text. Its effect on weight j goes through feature j. Which matrix product gives all F at once?",
            "`w - lr * s.T @ error / len(y)` and `b - lr * error.mean()`.",
        ),
        answer=head_step,
        another=(_step_by_loop, _step_by_autograd),
        inputs=_features_and_labels,
        gives=Gives(parts=("w", "b")),
        tolerance=Tolerance(absolute=1e-6, relative=1e-5),
        wrong=(
            (
                _step_with(lambda z, y: expit(z) - y, sign=1.0),
                "this climbs: the error is σ(z) − y, and the step goes against it, with a minus",
            ),
            (
                _step_with(lambda z, y: expit(z) - y, reduce=np.sum),
                "that's the gradient of the summed loss: the mean over the batch was asked for, so divide by B",
            ),
            (_step_with(lambda z, y: z - y), "the sigmoid is missing: the error is σ(z) − y, not z − y"),
            (_step_with(lambda z, y: expit(z)), "the labels are missing: the error is σ(z) − y"),
            (_step_with(lambda z, y: expit(z) - y, rate=False), "the rate `lr` is missing"),
            (
                _step_with(lambda z, y: (expit(z) > 0.5) - y),
                "that's the perceptron's error, of the decision: here the probability itself counts, σ(z) − y",
            ),
            (
                _step_with(lambda z, y: expit(z) - 1),
                "you treat every text as if its label were 1: the error is σ(z) − y, with each text's own y",
            ),
            (
                _step_with(lambda z, y: (expit(z) - y) ** 2),
                "you've squared the error: the gradient of this loss is the error itself, with its sign",
            ),
            (
                _step_with(lambda z, y: (expit(z) - y) * expit(z) * (1 - expit(z))),
                "that's the gradient of a *squared* error: with −ln p, the factor σ(1 − σ) cancels",
            ),
            (
                _step_with(lambda z, y: abs(expit(z) - y)),
                "you've taken the sign away: some texts have to pull up, and some down",
            ),
            (
                _step_with(lambda z, y: np.logaddexp(0, np.where(y == 1, -z, z))),
                "you go along the loss itself: its gradient by z is σ(z) − y",
            ),
            (
                lambda w, b, s, y, lr: _step_with(lambda z, y: expit(z - b) - y)(w, b, s, y, lr),
                "b is missing from z: the logit is s w + b",
            ),
            (
                lambda w, b, s, y, lr: (s.T @ (expit(s @ w + b) - y) / len(y), (expit(s @ w + b) - y).mean()),
                "those are the gradients: take lr times them away from the old w and b",
            ),
            (
                lambda w, b, s, y, lr: head_step(w, b, s, y, lr)[::-1],
                "both are right, but they've changed places: w first, then b",
            ),
            (
                lambda w, b, s, y, lr: (head_step(w, b, s, y, lr)[0], b - lr * (expit(s @ w + b) - y)),
                "w is right; b is one number for all texts: take the mean of the errors",
            ),
            (
                lambda w, b, s, y, lr: (head_step(w, b, s, y, lr)[0], 2 * b - head_step(w, b, s, y, lr)[1]),
                "w is right; b goes the wrong way: its step has a minus, too",
            ),
            (
                lambda w, b, s, y, lr: (
                    head_step(w, b, s, y, lr)[0],
                    head_step(head_step(w, b, s, y, lr)[0], b, s, y, lr)[1],
                ),
                "w is right; b's step uses the new w: work out the error once, with the old ones, and then step both",
            ),
            (
                lambda w, b, s, y, lr: (
                    w - lr * s.T @ (expit(s @ w + b) - y) / s.shape[1],
                    head_step(w, b, s, y, lr)[1],
                ),
                "b is right; for w you divide by F, the features: divide by the number of texts",
            ),
            (
                lambda w, b, s, y, lr: (
                    w - lr * (expit(s @ w + b) - y).mean() * s.mean(axis=0),
                    head_step(w, b, s, y, lr)[1],
                ),
                "b is right; for w you multiply two means: multiply each text's error with its own features, then take the mean",
            ),
            (
                lambda w, b, s, y, lr: (w - lr * (expit(s @ w + b) - y).mean(), head_step(w, b, s, y, lr)[1]),
                "b is right; each weight's gradient is the error times the feature it saw: the features are missing",
            ),
            (
                lambda w, b, s, y, lr: (
                    w - lr * (s * (expit(s @ w + b) - y)[:, None]).mean(),
                    head_step(w, b, s, y, lr)[1],
                ),
                "b is right; for w take the mean over the texts alone, axis 0: every weight has a gradient of its own",
            ),
            (
                lambda w, b, s, y, lr: (head_step(w, b, s, y, lr)[0], b),
                "w is right; b has to learn, too: its gradient is the mean error",
            ),
            (
                lambda w, b, s, y, lr: (head_step(w, b, s, y, lr)[0], b - lr * (expit(s @ w + b) - y).sum()),
                "w is right; for b you've taken the sum of the errors: take their mean",
            ),
            (
                lambda w, b, s, y, lr: (w - lr * s.T @ (expit(s @ w + b) - y), head_step(w, b, s, y, lr)[1]),
                "b is right; for w divide by the number of texts, too",
            ),
        ),
        right="the same σ(z) − y as before, times what each weight saw",
        ours="bigmodel_lib.exercises.nb07b:head_step",
    ),
    Exercise(
        id="07-reverse",
        title="choose the split, choose the winner",
        minutes=8,
        difficulty=2,
        task="""
Two classifiers have judged 400 texts. `first_right` and `second_right` say for each text whether they got it right. The first is the better one, but on a
few dozen texts only the second was right. Write a function that chooses 50 different rows, as a “test split”, on which the *second* wins.
""",
        stub="""
def reversing_rows(first_right, second_right):
    # two arrays of True and False, (N,) -> 50 different row numbers
    return ...
""",
        name="reversing_rows",
        hints=(
            "Which texts make the second classifier look good, and the first one bad?",
            "Which rows are they? `second_right & ~first_right` marks them. Are there always 50?",
            "`np.flatnonzero(second_right & ~first_right)`; if those are fewer than 50, fill up with texts on which both agree.",
        ),
        check=_check_reverse,
        answer=_reverse,
        another=(_reverse_sorted, _reverse_by_argsort, _reverse_as_a_set),
        wrong=(
            (lambda a, b: np.arange(50), "the first classifier still wins"),
            (lambda a, b: np.flatnonzero(b & ~a), "50 rows were wanted"),
            (lambda a, b: np.repeat(np.flatnonzero(b & ~a)[:25], 2), "is in it twice"),
            (lambda a, b: np.flatnonzero(a & b)[:50], "the two are equal"),
            (lambda a, b: np.arange(50) + 400, "rows from 0 to 399"),
            (lambda a, b: b & ~a, "makes row numbers of them"),
            (lambda a, b: np.where(b & ~a), "take its [0] first"),
            (lambda a, b: np.arange(50) + 0.5, "whole numbers"),
            (lambda a, b: np.argsort(b.astype(int) - a, kind="stable")[:50], "the first classifier still wins"),
        ),
    ),
    Exercise(
        id="07-overlap",
        title="splits that overlap",
        minutes=8,
        difficulty=2,
        task="""
Write `interval_of_splits(values, n_train, n_test)`: the mean of k differences and the half-width of its 95 % interval after Nadeau and Bengio:
$t \\cdot s \\cdot \\sqrt{\\frac{1}{k} + \\frac{n_\\text{test}}{n_\\text{train}}}$. Here s is their standard deviation (k − 1 below), and t is Student's quantile,
`stdtrit(k - 1, 0.975)`.
""",
        stub="""
def interval_of_splits(values, n_train, n_test):
    # k numbers, two counts -> mean, half-width
    return ...
""",
        name="interval_of_splits",
        hints=(
            "Without the second fraction it's the ordinary interval of a mean. Which two numbers does the function give?",
            "NumPy's `std` divides by k unless you say `ddof=1`. Which of the two counts is above?",
            "`np.mean(values)`, and `stdtrit(k - 1, 0.975) * np.std(values, ddof=1) * np.sqrt(1 / k + n_test / n_train)`.",
        ),
        answer=interval_of_splits,
        another=(_overlap_by_hand, _overlap_by_scipy),
        inputs=_differences,
        gives=Gives(parts=("mean", "half-width")),
        tolerance=Tolerance(absolute=1e-9, relative=1e-5),
        wrong=(
            (
                _wrong_overlap(lambda k, a, b: (1 / k) ** 0.5),
                "the mean is right; that's the ordinary interval: n_test/n_train is missing under the root (or cut off by //), as if the splits didn't overlap",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + a / b) ** 0.5),
                "the mean is right; your fraction is upside down: n_test is above, so that small test sets widen it less",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5, ddof=0),
                "the mean is right; the standard deviation has k − 1 below: `ddof=1`",
            ),
            (
                _wrong_overlap(lambda k, a, b: ((1 + b / a) / k) ** 0.5),
                "the mean is right; n_test/n_train isn't divided by k: more splits don't make it smaller, and that's the point",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / (a + b)) ** 0.5),
                "the mean is right; the fraction is n_test by n_train, not by all rows",
            ),
            (_wrong_overlap(lambda k, a, b: 1 / k + b / a), "the mean is right; the root is missing"),
            (
                _wrong_overlap(lambda k, a, b: (1 / k) ** 0.5 + (b / a) ** 0.5),
                "the mean is right; you add two roots: add the fractions first, and take one root of the sum",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k * b / a) ** 0.5),
                "the mean is right; the two fractions are added under the root, not multiplied",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5 / k**0.5),
                "the mean is right; you divide by √k once more: 1/k is under the root already",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / a + b / a) ** 0.5),
                "the mean is right; the first fraction is 1/k, by the number of splits, not by n_train",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5, quantile=lambda k: stdtrit(k, 0.975)),
                "the mean is right; Student's t has k − 1 degrees of freedom, not k",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5, quantile=lambda k: 1.0),
                "the mean is right; Student's quantile is missing: that's one standard error, not 95 %",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5, quantile=lambda k: 0.975),
                "the mean is right; 0.975 says which quantile: `stdtrit(k - 1, 0.975)` is the number",
            ),
            (
                _wrong_overlap(lambda k, a, b: -((1 / k + b / a) ** 0.5)),
                "the mean is right; that's the lower quantile, and a half-width isn't negative: 0.975, not 0.025",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k) ** 0.5, quantile=lambda k: 1.96),
                "the mean is right; that's the schoolbook interval, 1.96 s/√k: n_test/n_train and Student's t are missing",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5, ddof=0, quantile=lambda k: 1.96),
                "the mean is right; both s (k − 1 below: `ddof=1`) and the quantile (Student's t, not 1.96) are those of many numbers",
            ),
            (
                lambda values, a, b: (interval_of_splits(values, a, b)[0], _squared_deviation(values, a, b)),
                "the mean is right; you've put in the variance: s is its root, the standard deviation",
            ),
            (
                lambda values, a, b: _ends(*interval_of_splits(values, a, b)),
                "those are the two ends of the interval: the mean and the half-width were asked for",
            ),
            (
                lambda values, a, b: interval_of_splits(values, a, b)[::-1],
                "both are right, but they've changed places: the mean first",
            ),
            (
                lambda values, a, b: (float(np.median(values)), interval_of_splits(values, a, b)[1]),
                "the half-width is right; that's the median: the mean was asked for",
            ),
            (
                lambda values, a, b: (float(np.sum(values)), interval_of_splits(values, a, b)[1]),
                "the half-width is right; that's the sum: divide it by k",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5, quantile=lambda k: 1.96),
                "the mean is right; 1.96 is for a known deviation: with k differences it's Student's t",
            ),
            (
                _wrong_overlap(lambda k, a, b: (1 / k + b / a) ** 0.5, quantile=lambda k: stdtrit(k - 1, 0.95)),
                "the mean is right; 0.95 leaves 5 % on *each* side: take 0.975",
            ),
            (
                _wrong_overlap(lambda k, a, b: 2 * (1 / k + b / a) ** 0.5),
                "the mean is right; that's the whole width: half of it was asked for",
            ),
        ),
        right="ten splits of 700 reviews aren't ten sets of reviews, and now the interval knows it",
        ours="bigmodel_lib.measuring.intervals:interval_of_splits",
    ),
    Exercise(
        id="07-f1",
        title="macro-F1 from a confusion matrix",
        minutes=10,
        difficulty=2,
        task="""
Accuracy flatters whoever always says the most common label. Macro-F1 doesn't. A label's *precision* is the share that's right among the texts *said* to have it. Its
*recall* is the share that's right among those that *truly* have it. Then $F_1 = \\frac{2\\,P R}{P + R}$, or 0 if it is never right. Macro-F1 is the mean over the labels. Row $i$,
column $j$ of the confusion matrix counts texts with true label $i$ that were said to be $j$. A label that is never right counts
with its 0, even one that occurs nowhere.
""",
        stub="""
def macro_f1(confusion):
    # confusion: array (C, C) of counts, true label down, said label across -> a number from 0 to 1
    return ...
""",
        name="macro_f1",
        hints=(
            "For one label: which cells of the table hold the texts that have it, and which those that were said to have it?",
            "The right ones are on the diagonal; a row's sum is how many truly have a label, a column's sum how often it was said. "
            "What if such a sum is 0?",
            "F₁ = 2 · diagonal / (row sum + column sum), and 0 where that sum is 0; then the mean over all labels.",
        ),
        answer=_macro_f1,
        another=(_macro_f1_by_parts, _macro_f1_by_arrays),
        inputs=_confusion,
        special=(
            ("a label that is never said", np.array([[10, 0], [10, 0]])),
            ("a label that occurs nowhere", np.array([[3, 1, 0], [1, 4, 0], [0, 0, 0]])),
            ("nothing right at all", np.array([[0, 2], [3, 0]])),
        ),
        partial=(
            (
                _nothing_by_nothing,
                "where nothing is 0 it comes out right; a label that occurs nowhere divides 0 by 0: it counts with F1 0",
            ),
            (
                _nothing_by_nothing_in_parts,
                "where nothing is 0 it comes out right; a label that is never right divides 0 by 0: it counts with F1 0",
            ),
        ),
        wrong=(
            (
                lambda c: float(np.trace(c) / c.sum()),
                "that is the accuracy: macro-F1 gives every label the same say, however rare it is",
            ),
            (lambda c: _f1_of(c, 0), "that is the F1 of the first label alone: take the mean over the labels"),
            (
                lambda c: float(sum(_f1_of(c, i) for i in range(len(c)))),
                "that is the sum over the labels: divide by how many there are",
            ),
            (lambda c: 100 * _macro_f1(c), "a number from 0 to 1 was wanted, yours is in per cent"),
            (
                lambda c: _macro_f1(c) / 2,
                "half of it: F₁ is *twice* the diagonal by the sum of both, or 2PR/(P + R)",
            ),
            (
                lambda c: [_f1_of(c, i) for i in range(len(c))],
                "those are the labels' F₁, all right: now their mean",
            ),
            (
                lambda c: float(sum(_f1_of(c, i) for i in range(len(c))) / 2),
                "that's right for two labels: divide by how many there are, not by 2",
            ),
            (
                lambda c: float(np.mean([_precision(c, i) * _recall(c, i) for i in range(len(c))])),
                "that's the mean of P · R: F₁ is 2PR/(P + R)",
            ),
            (
                lambda c: float(np.mean([(_precision(c, i) + _recall(c, i)) / 2 for i in range(len(c))])),
                "you take the ordinary mean of P and R: F₁ is their harmonic mean, 2PR/(P + R), which the smaller one pulls down",
            ),
            (
                lambda c: float(2 * _mean_precision(c) * _mean_recall(c)),
                "you multiply the mean precision and recall: make an F₁ for each label, with its division by P + R, then the mean",
            ),
            (
                lambda c: float(
                    np.mean([c[i, i] / max(1, c[i].sum() + c[:, i].sum() - c[i, i]) for i in range(len(c))])
                ),
                "that's the mean of the Jaccard indices, hits by *all who have or are said to have it*: F₁ counts the hits twice, above and below",
            ),
            (
                lambda c: float(np.mean([2 * c[i, i] / c.sum() for i in range(len(c))])),
                "you divide by all texts: divide by the row's sum plus the column's sum of that label",
            ),
            (
                lambda c: float(np.median([_f1_of(c, i) for i in range(len(c))])),
                "that's the median over the labels: macro means the mean",
            ),
            (
                lambda c: min(_f1_of(c, i) for i in range(len(c))),
                "that's the worst label alone: take the mean over the labels",
            ),
            (
                lambda c: max(_f1_of(c, i) for i in range(len(c))),
                "that's the best label alone: take the mean over the labels",
            ),
            (lambda c: _f1_of(c, 1), "that is the F1 of the second label alone: take the mean over the labels"),
            (
                _without_the_nowhere,
                "a label that occurs nowhere and is never said counts too, with its F1 of 0: `nanmean` leaves it out",
            ),
            (_mean_precision, "that is the mean precision: recall is missing"),
            (_mean_recall, "that is the mean recall: precision is missing"),
            (
                _f1_of_the_means,
                "that is one F1 of the mean precision and recall: make an F1 for each label, then the mean",
            ),
            (_weighted, "you weigh the labels by how often they are: macro means all alike"),
            (_without_the_silent, "a label that is never right counts too, with its F1 of 0: don't leave it out"),
            (_without_the_absent, "a label that occurs nowhere counts too, with its F1 of 0: don't leave it out"),
        ),
        right="a rare label counts as much as a common one, so ignoring it costs",
    ),
    Exercise(
        id="07-lstm",
        title="count the article's network by hand",
        minutes=8,
        difficulty=2,
        task="""
On paper: how many numbers does Embedding(10000, 32) → LSTM(128) → Dense(1) learn? An LSTM makes four vectors of width 128 at each
word (three gates and a candidate), each an affine map, with bias, of the word's 32 numbers and the 128 of the hidden state.
""",
        stub="parameters = ...  # a whole number",
        name="parameters",
        hints=(
            "Three layers, counted one by one. Which of them have a bias?",
            "Embedding: rows times width. Dense: 128 weights and a bias. What goes into each of the LSTM's four maps, and what comes out?",
            "LSTM: 4 · ((32 + 128) · 128 + 128).",
        ),
        answer=402_561,
        another=(402_561.0, 10_000 * 32 + 4 * ((32 + 128) * 128 + 128) + 129),
        tolerance=0.5,
        wrong=(
            (403_073, "that counts a second bias for each gate, as PyTorch's layer has it: the article's has one"),
            (320_000 + (160 * 128 + 128) + 129, "an LSTM has four such maps, three gates and a candidate, not one"),
            (
                320_000 + 3 * (160 * 128 + 128) + 129,
                "an LSTM has four such maps: the candidate counts, beside the three gates",
            ),
            (320_000 + 4 * (32 * 128 + 128) + 129, "the gates read the hidden state too: 32 + 128 numbers go in"),
            (320_000 + 4 * 160 * 128 + 129, "each of the four maps has a bias, too: 128 numbers"),
            (320_000 + 82_432 + 128, "the last layer has a bias"),
            (82_432 + 129, "the embedding is missing: one row of 32 numbers for each of 10,000 words"),
            (320_000 + 82_432, "the last layer is missing: 128 numbers become one, with a bias"),
            (320_000, "that is the embedding alone: the LSTM and the last layer learn, too"),
            (82_432, "that is the LSTM alone: the embedding and the last layer learn, too"),
            (320_000 + 82_432 + 258, "that's Dense(2): the last layer gives one number, for the sigmoid"),
            (
                320_000 + 4 * 32 * 128 + 129,
                "each map reads the hidden state, too, and has a bias: 32 + 128 numbers and 1 go in",
            ),
            (
                320_000 + 4 * (128 * 128 + 128) + 129,
                "each map reads the word, too: 32 + 128 numbers go in, not the hidden state's 128 alone",
            ),
            (320_032 + 82_432 + 129, "an embedding is a table and has no bias"),
            (330_000 + 82_432 + 129, "an embedding is a table and has no bias: 10,000 rows of 32 numbers"),
            (
                320_000 + 4 * 160 * 129 + 129,
                "a map has one bias for each number that comes out, 128 of them, not for each that goes in",
            ),
            (320_000 + 4 * (32 + 128 + 128) + 129, "a map is a matrix: 32 + 128 numbers go in *times* 128 come out"),
            (320_000 + 2 * 82_432 + 257, "that's an LSTM in both directions: this one reads from left to right"),
            (10_000 + 82_432 + 129, "each of the 10,000 words has a row of 32 numbers, not one number"),
            (320_000 + 82_432 + 1_280_000, "Dense(1) gives one number, not one for each word"),
        ),
        right="10,000 · 32 + 4 · ((32 + 128) · 128 + 128) + 129: four fifths of it is the table of words",
    ),
]
