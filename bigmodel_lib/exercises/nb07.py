"""The exercises of 07_finetuning."""

import math

import numpy as np
import torch
from torch.nn import functional

from bigmodel_lib.exercises.engine import Exercise, Gives
from bigmodel_lib.storyworld.tasks import masked_pair


def _given_and_wanted(rng):
    """Two lists of ids, neither of them empty."""
    n, m = rng.integers(1, 6, size=2)
    ids = [int(token) for token in rng.integers(0, 30, size=n + m)]
    return ids[:n], ids[n:]


def _pair_by_loop(given, wanted):
    tokens = list(given) + list(wanted)
    x, y = [], []
    for place in range(len(tokens) - 1):
        x.append(tokens[place])
        y.append(tokens[place + 1] if place + 1 >= len(given) else -1)
    return x, y


def _pair_by_numpy(given, wanted):
    tokens = np.array([*given, *wanted])
    targets = np.where(np.arange(len(tokens)) < len(given), -1, tokens)
    return tokens[:-1], targets[1:]


def _pair_one_late(given, wanted):
    return [*given, *wanted][:-1], [-1] * len(given) + wanted[1:]


def _say_y_is_late(inputs, given, wanted):
    tokens, y = inputs
    return f"given {tokens}, wanted {y}: y is one late: the last given token already has the first wanted one, {y[0]}, as its target"


def _logs(logits, y):
    """ln p of the targets (B, T), of token 0 where there is none."""
    return logits.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]


def masked_loss(logits, y):
    """Mean of -ln softmax(logits)[y] over the places where y isn't -1: (B, T, V), (B, T) -> ()."""
    logs = logits.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return -logs[y >= 0].mean()


def _masked_loss_by_pytorch(logits, y):
    return functional.cross_entropy(logits.movedim(-1, 1), y, ignore_index=-1)


def _masked_loss_by_sums(logits, y):
    wanted = (y >= 0).to(logits.dtype)
    chosen = torch.take_along_dim(logits, y.clamp(min=0)[..., None], dim=-1)[..., 0]
    return ((torch.logsumexp(logits, dim=-1) - chosen) * wanted).sum() / wanted.sum()


def _logits_and_targets(rng):
    """Logits (B, T, V) that want a gradient, and targets of which a row has at least one."""
    B, T, V = rng.integers(1, 4), rng.integers(2, 6), rng.integers(2, 7)
    logits = torch.from_numpy(rng.normal(size=(B, T, V)) * 2).float().requires_grad_()
    y = rng.integers(0, V, size=(B, T))
    for row in y:
        row[: rng.integers(0, T)] = -1
    return logits, torch.from_numpy(y)


def _thin_matrices(rng):
    """W (n, m), A (n, r), B (r, m) and a scale; n, m and r differ."""
    r, n, m = (int(size) for size in rng.permutation([1, 2, 3, 4, 5])[:3])
    weight, a, b = (torch.from_numpy(rng.normal(size=size)).float() for size in ((n, m), (n, r), (r, m)))
    return weight, a.requires_grad_(), b.requires_grad_(), float(rng.choice([0.5, 2.0, 8.0]))


def adapted(weight, a, b, scale):
    """W + (s/r) A B: (n, m), (n, r), (r, m) -> (n, m). Source: Hu et al. 2021, eq. 3."""
    return weight + scale / a.shape[1] * a @ b


def _adapted_by_einsum(weight, a, b, scale):
    return torch.einsum("nr,rm->nm", a, b) * (scale / len(b)) + weight


def _adapted_by_outer_products(weight, a, b, scale):
    rank = a.shape[1]
    return weight + sum(torch.outer(a[:, i], b[i]) for i in range(rank)) * scale / rank


def _looks(rng):
    """A score and the looks of a run, whose score mostly rises."""
    n = int(rng.integers(2, 7))
    scores = np.clip(np.cumsum(rng.normal(0.15, 0.15, n)), 0, 1).round(3)
    return float(rng.uniform(0.05, 0.8)), scores.tolist(), rng.uniform(0.5, 3.0, n).round(3).tolist()


def loss_at(score, scores, losses):
    """The loss where a score is reached first, on a line between two looks; nan if it never is."""
    if scores[0] >= score:
        return losses[0]
    for look in range(1, len(scores)):
        low, high = scores[look - 1], scores[look]
        if high >= score:
            share = (score - low) / (high - low)
            return losses[look - 1] + share * (losses[look] - losses[look - 1])
    return math.nan


def _loss_at_by_arrays(score, scores, losses):
    reached = np.flatnonzero(np.array(scores) >= score)
    if not len(reached):
        return float("nan")
    look = int(reached[0])
    around = slice(max(look - 1, 0), look + 1)
    return float(np.interp(score, scores[around], losses[around]))


def _loss_at_by_pairs(score, scores, losses):
    points = list(zip(scores, losses, strict=True))
    if points[0][0] >= score:
        return points[0][1]
    for (low, before), (high, after) in zip(points, points[1:], strict=False):
        if low < score <= high:
            return before + (after - before) / (high - low) * (score - low)
    return math.nan


def _loss_without_a_line(score, scores, losses):
    return next((loss for s, loss in zip(scores, losses, strict=True) if s >= score), math.nan)


def _loss_at_the_last_time(score, scores, losses):
    found = losses[0] if scores[0] >= score else math.nan
    for look in range(1, len(scores)):
        low, high = scores[look - 1], scores[look]
        if low < score <= high:
            found = losses[look - 1] + (score - low) / (high - low) * (losses[look] - losses[look - 1])
    return found


def _between(score, scores, losses, line):
    """The right look; between it and the one before, whatever line(share, loss before, loss after[, rise]) says."""
    if scores[0] >= score:
        return losses[0]
    for look in range(1, len(scores)):
        low, high = scores[look - 1], scores[look]
        if high >= score:
            found = ((score - low) / (high - low), losses[look - 1], losses[look])
            return line(*found) if line.__code__.co_argcount == 3 else line(*found, high - low)
    return math.nan


def _loss_with(share_of):
    def loss(score, scores, losses):
        return _between(score, scores, losses, lambda share, before, after: before + share_of(share) * (after - before))

    return loss


_loss_backwards = _loss_with(lambda share: 1 - share)


def _loss_above(score, scores, losses):
    if scores[0] > score:
        return losses[0]
    for look in range(1, len(scores)):
        if scores[look] > score:
            share = (score - scores[look - 1]) / (scores[look] - scores[look - 1])
            return losses[look - 1] + share * (losses[look] - losses[look - 1])
    return math.nan


def _loss_before_the_first(score, scores, losses):
    for look in range(len(scores)):
        if scores[look] >= score:
            share = (score - scores[look - 1]) / (scores[look] - scores[look - 1])
            return losses[look - 1] + share * (losses[look] - losses[look - 1])
    return math.nan


EXERCISES = [
    Exercise(
        id="07-mask",
        title="the loss mask",
        minutes=8,
        difficulty=2,
        task="""
Build it: from the ids of what is given and of what is wanted, make a training pair. `x` is all of it but the last token. `y` has, for
each place of `x`, the token that follows if that token is wanted, and −1 if it was given. The training below uses yours if it
passes, ours if not.
""",
        stub="""
def masked_pair(given, wanted):
    # lists of ids, (n,) and (m,) -> x and y, both (n + m - 1,)
    return ...
""",
        name="masked_pair",
        hints=(
            "Write both in one row, and below it what follows each token. Which of these targets were given?",
            "x and y have the same length, n + m − 1. How many of the targets in y were given: n, or one fewer?",
            "The targets of the first n − 1 places were given, so −1 is there; from the last given token on they are wanted.",
        ),
        answer=masked_pair,
        another=(_pair_by_loop, _pair_by_numpy),
        inputs=_given_and_wanted,
        special=(("one given token", [7], [8, 9, 10]), ("one wanted token", [5, 6], [7])),
        gives=Gives(parts=("x", "y"), integer=True),
        partial=(
            (
                lambda a, b: ([*a, *b][:-1], [*a, *b][1:]),
                "x is right; y asks for what was given, too: put −1 there, and the loss leaves it out",
            ),
            (
                lambda a, b: ([*a, *b][:-1], [0] * (len(a) - 1) + b),
                "x is right; in y, 0 is a token: the sign for “nothing is wanted” is −1",
            ),
            (
                lambda a, b: ([*a, *b][:-1], [-100] * (len(a) - 1) + b),
                "x is right; in y, −100 is PyTorch's sign for “nothing is wanted”: here it is −1",
            ),
            (_pair_one_late, _say_y_is_late),
            (
                lambda a, b: ([*a, *b][:-1], [-1] * len(a) + b),
                "x is right; y is one longer than x: at the last given token, the first wanted one is the target already, so there "
                "are n − 1 times −1",
            ),
            (
                lambda a, b: ([*a, *b][:-1], [-1] * (len(a) - 1) + b[:-1]),
                "x is right; y is one shorter than x: the last wanted token is a target, too (only x does without it)",
            ),
            (
                lambda a, b: ([*a, *b][:-1], [-1] * len(a) + b[:-1]),
                "x is right; y holds at each place the token of x itself: the target is the one after it",
            ),
            (
                lambda a, b: ([*a, *b][:-1], a[1:] + [-1] * len(b)),
                "x is right; in y the mask is on the wrong side: −1 where the next token was given",
            ),
            (
                lambda a, b: ([*a, *b][:-1], [-1 if token in a else token for token in [*a, *b][1:]]),
                "x is right; you mask by what a token is, and a wanted one may occur among the given ones: mask by its place",
            ),
            (
                lambda a, b: ([*a, *b][:-1], [None] * (len(a) - 1) + b),
                "x is right; in y, None isn't a number: the sign for “nothing is wanted” is −1",
            ),
        ),
        wrong=(
            (
                lambda a, b: ([*a, *b], [-1] * len(a) + b),
                "x is one too long: nothing follows the last token, so it is no input",
            ),
            (
                lambda a, b: ([*a, *b], [-1] * (len(a) - 1) + b),
                "x is one too long: nothing follows the last token, so it is no input for any target",
            ),
            (lambda a, b: ([*a, *b][:-1], b), "every input needs a target or a −1: y is shorter than x"),
            (
                lambda a, b: ([*a, *b][1:], [-1] * (len(a) - 1) + b),
                "x is all tokens but the last; yours are all but the first",
            ),
            (lambda a, b: masked_pair(a, b)[::-1], "x and y have changed places"),
            (
                lambda a, b: (a + [-1] * (len(b) - 1), [-1] * (len(a) - 1) + b),
                "y is right; x must show the wanted tokens, too, but the last: the mask belongs into y alone",
            ),
            (
                lambda a, b: (b[:-1], b[1:]),
                "what is given is missing: the model reads it, even if it isn't judged on it",
            ),
            (
                lambda a, b: (a, b),
                "x holds the wanted tokens too, but the last: the model reads what it has said so far",
            ),
            (
                lambda a, b: ([*a, *b][:-1], [-1] * (len(a) + len(b) - 1)),
                "nothing at all is wanted in yours: y is −1 everywhere",
            ),
        ),
        right="the model reads everything and is judged on what is wanted alone",
        ours="bigmodel_lib.storyworld.tasks:masked_pair",
    ),
    Exercise(
        id="07-loss",
        title="the masked loss",
        minutes=10,
        difficulty=2,
        task="""
Build the loss that reads those −1s. `logits` has shape (B, T, V), `y` has shape (B, T). Average $-\\ln \\mathrm{softmax}(\\text{logits})[y]$
over all places of the batch where `y` isn't −1; all other places count for nothing, not even as a zero in the average. PyTorch's
`cross_entropy` could do it in one line; do it with `log_softmax` and `gather`, so that you see the mask at work. (`gather` refuses an
index of −1: give it any legal token there.)
""",
        stub="""
def masked_loss(logits, y):
    # logits (B, T, V), y (B, T) of ids or -1 -> one number, a tensor ()
    return ...
""",
        name="masked_loss",
        hints=(
            "Which places take part in the average? By how many do you divide?",
            "`y >= 0` marks the places. What can you put into `y` at the other ones, so that `gather` runs, and how do you keep its result out?",
            "`logs = logits.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]`, then minus the mean of `logs[y >= 0]`.",
        ),
        answer=masked_loss,
        another=(_masked_loss_by_pytorch, _masked_loss_by_sums),
        inputs=_logits_and_targets,
        special=(
            (
                "one wanted token in all",
                torch.tensor([[[0.0, 1.0], [2.0, 0.0]]], requires_grad=True),
                torch.tensor([[-1, 1]]),
            ),
            ("nothing masked", torch.tensor([[[0.0, 1.0], [2.0, 0.0]]], requires_grad=True), torch.tensor([[0, 1]])),
        ),
        partial=(
            (
                lambda z, y: -_logs(z, y).masked_fill(y < 0, 0.0).mean(),
                "the wanted places are right, but you divide by all places: the masked ones pull the average towards 0",
            ),
            (
                lambda z, y: -torch.stack([_logs(z, y)[b][y[b] >= 0].mean() for b in range(len(y))]).mean(),
                "where all rows want equally many tokens it's right: you average each row first, and then the rows; here every wanted token "
                "counts alike",
            ),
        ),
        wrong=(
            (lambda z, y: -_logs(z, y).mean(), "the masked places count, too, each as if token 0 were wanted there"),
            (
                lambda z, y: -z.log_softmax(-1).gather(-1, (y % z.shape[-1])[..., None]).mean(),
                "the masked places count, too: −1 means the last token to Python, and here it means “nothing is wanted”",
            ),
            (lambda z, y: _logs(z, y)[y >= 0].mean(), "the sign: a loss is −ln p, which is never negative"),
            (
                lambda z, y: -_logs(z, y)[y >= 0].sum(),
                "that's the sum over the wanted tokens: divide by how many there are",
            ),
            (
                lambda z, y: -z.gather(-1, y.clamp(min=0)[..., None])[..., 0][y >= 0].mean(),
                "those are logits: they become ln p by `log_softmax` over the last axis",
            ),
            (
                lambda z, y: -z.log_softmax(1).gather(-1, y.clamp(min=0)[..., None])[..., 0][y >= 0].mean(),
                "softmax runs over axis 1, the places: it has to run over the vocabulary, axis −1",
            ),
            (
                lambda z, y: -_logs(z, y)[y != 0].mean(),
                "you leave out the places of token 0, which is a token like any other: −1 marks where nothing is wanted",
            ),
            (lambda z, y: -_logs(z, y)[y >= 0], "that's the loss of each wanted token: average them"),
            (
                lambda z, y: -_logs(z, y)[y >= 0].sum() / len(y),
                "you divide by B, the rows: divide by the number of wanted tokens",
            ),
            (
                lambda z, y: -_logs(z, y)[y >= 0].sum() / y.shape[1],
                "you divide by T, the length of a row: divide by the number of wanted tokens",
            ),
            (
                lambda z, y: -_logs(z, y).exp()[y >= 0].mean(),
                "that's the mean of −p: the loss is −ln p, so `log_softmax`, not `softmax`",
            ),
            (
                lambda z, y: -_logs(z, y)[y >= 0].mean() / math.log(10),
                "that's a logarithm to base 10: ln is `torch.log`, and `log_softmax` has it built in",
            ),
            (
                lambda z, y: -_logs(z, y)[y >= 0].mean() / math.log(2),
                "that's a logarithm to base 2: ln is `torch.log`, and `log_softmax` has it built in",
            ),
            (
                lambda z, y: -z.log_softmax(-1)[y >= 0].mean(),
                "that averages over all tokens of the vocabulary: take each place's own target, by `gather`",
            ),
            (
                lambda z, y: -z.log_softmax(0).gather(-1, y.clamp(min=0)[..., None])[..., 0][y >= 0].mean(),
                "softmax runs over axis 0, the rows: it has to run over the vocabulary, axis −1",
            ),
            (
                lambda z, y: masked_loss(z, y).exp(),
                "that's the perplexity, e to the loss: the loss itself was asked for",
            ),
            (
                lambda z, y: -_logs(z, y)[y > 0].mean(),
                "token 0 can be wanted as well: only −1 means that nothing is",
            ),
        ),
        right="what isn't wanted gets no gradient at all: the model is never pushed to write the question",
        ours="bigmodel_lib.exercises.nb07:masked_loss",
    ),
    Exercise(
        id="07-equal",
        title="compare at equal score",
        minutes=10,
        difficulty=2,
        task="""
While a model is fine-tuned, we look at it now and then: `scores` are its task scores at these looks, `losses` its losses on stories. Write
`loss_at(score, scores, losses)`: the loss when the score is reached for the first time, on a straight line between the first look
that has reached it and the look before. If the first look has reached it already, that look's loss; if none ever does, `math.nan`.
""",
        stub="""
def loss_at(score, scores, losses):
    # a number, two lists of equal length -> a number
    return ...
""",
        name="loss_at",
        hints=(
            "Walk along the looks. At which one do you stop?",
            "Between the look before (low) and this one (high), how far along is the wanted score, as a share of the way?",
            "`share = (score - low) / (high - low)`, then the loss before plus `share` times the change of the loss. First handle look 0, last return nan.",
        ),
        answer=loss_at,
        another=(_loss_at_by_arrays, _loss_at_by_pairs),
        inputs=_looks,
        special=(
            ("reached at the first look", 0.2, [0.3, 0.5], [1.0, 2.0]),
            ("never reached", 0.9, [0.0, 0.5], [1.0, 2.0]),
            ("exactly at a look", 0.5, [0.0, 0.5, 0.8], [1.0, 2.0, 4.0]),
            ("exactly at a look, then it falls", 0.5, [0.0, 0.5, 0.3, 0.6], [1.0, 2.0, 3.0, 4.0]),
            ("the score falls again", 0.4, [0.0, 0.5, 0.3, 0.6], [1.0, 2.0, 3.0, 4.0]),
        ),
        partial=(
            (
                _loss_above,
                "nearly always right: a score is reached where it's equal, too, so compare with >=, not with >",
            ),
            (
                lambda score, scores, losses: loss_at(score, scores, losses) if max(scores) >= score else losses[-1],
                "where the score is reached it's right; where it never is, there's no loss to name: give math.nan",
            ),
            (
                lambda score, scores, losses: loss_at(score, scores, losses) if max(scores) >= score else 0.0,
                "where the score is reached it's right; where it never is, 0 would be a marvellous loss: give math.nan",
            ),
            (
                lambda score, scores, losses: loss_at(score, scores, losses) if scores[0] < score else math.nan,
                "right, but for a score that the first look has reached already: then give that look's loss",
            ),
            (
                _loss_before_the_first,
                "right, but for a score that the first look has reached already: there's no look before it, and index −1 means the last one",
            ),
            (
                _loss_without_a_line,
                "the look is the right one; between it and the one before, go only as far as the score asks",
            ),
            (
                lambda score, scores, losses: float(np.interp(score, np.maximum.accumulate(scores), losses)),
                "where it's reached once and for all it's right; a score that's never reached has no loss: give nan",
            ),
        ),
        wrong=(
            (
                lambda score, scores, losses: losses[-1],
                "that's the loss at the end: the question is when the score is reached",
            ),
            (
                lambda score, scores, losses: min(losses),
                "that's the lowest loss of all: the question is when the score is reached",
            ),
            (
                lambda score, scores, losses: losses[int(np.argmin(np.abs(np.array(scores) - score)))],
                "that's the look whose score is nearest: it may lie below the wanted score, or come late",
            ),
            (_loss_at_the_last_time, "you take the last time that the score is crossed: the first one is asked for"),
            (
                lambda score, scores, losses: float(np.interp(score, scores, losses)),
                "`np.interp` wants scores that only rise, and it gives the last loss for what is never reached: walk along the looks",
            ),
            (
                _loss_with(lambda share: 0.0),
                "that's the loss at the look before: go on from there, as far as the score asks",
            ),
            (_loss_with(lambda share: 0.5), "that's halfway between the two looks: go only as far as the score asks"),
            (
                lambda score, scores, losses: _between(
                    score, scores, losses, lambda share, before, after: before + share * after
                ),
                "your share is right: it's a share of the *change*, the loss at this look minus the one before",
            ),
            (
                lambda score, scores, losses: _between(
                    score, scores, losses, lambda share, before, after, step: before + share * step * (after - before)
                ),
                "the division is missing: the share is (score − low) / (high − low)",
            ),
            (_loss_backwards, "your share of the way runs backwards: at the score of the look before it should be 0"),
            (lambda score, scores, losses: loss_at(score, losses, scores), "scores and losses have changed places"),
        ),
        right="two ways of training are compared fairly where they can do the same thing, not after the same number of steps",
        ours="bigmodel_lib.exercises.nb07:loss_at",
    ),
    Exercise(
        id="07-lora",
        title="what does a low rank save?",
        minutes=4,
        difficulty=1,
        task="""
On paper: a matrix of 128 × 512 numbers gets a LoRA of rank 2. How many numbers learn?
""",
        stub="thin = ...  # a whole number",
        name="thin",
        hints=(
            "The matrix itself doesn't learn. What does?",
            "LoRA adds a product A B of the matrix's shape. With rank 2, what shapes do A and B have?",
            "A is (128, 2) and B is (2, 512): count both.",
        ),
        answer=1_280,
        another=(1280.0, 2 * (128 + 512)),
        tolerance=0.5,
        wrong=(
            (65_536, "that is the whole matrix: LoRA leaves it as it is and adds two thin ones"),
            (1_024, "each thin matrix has its own shape: A is 128 × 2, B is 2 × 512"),
            (256, "that is A alone: B has 2 × 512 more"),
            (768, "B counts r times as well: 2 · 128 + 2 · 512"),
            (1_152, "A counts r times as well: 2 · 128 + 2 · 512"),
            (262_144, "A and B are two matrices: add their sizes, don't multiply them"),
            (640, "that is rank 1: at rank 2 both have twice as many"),
            (2_560, "that is rank 4: A has two columns and B two rows"),
            (66_816, "the matrix itself does not learn: count A and B only"),
        ),
        right="2 · (128 + 512): a fiftieth of the matrix, and it grows with the sum of its sides, not with their product",
    ),
    Exercise(
        id="07-adapt",
        title="a matrix with LoRA",
        minutes=6,
        difficulty=2,
        task="""
Build $W + \\frac{s}{r} A B$: `weight` has shape (n, m), `a` (n, r) and `b` (r, m); `scale` is the number s, and r is read off the shapes. Don't
change `weight` in place: it's frozen, and it belongs to the model.
""",
        stub="""
def adapted(weight, a, b, scale):
    # (n, m), (n, r), (r, m), a number -> (n, m)
    return ...
""",
        name="adapted",
        hints=(
            "Which product of the two thin matrices has the shape of `weight`?",
            "The rank r is the side that `a` and `b` share. Where is it in `a.shape`?",
            "`weight` plus `scale / a.shape[1]` times `a @ b`.",
        ),
        answer=adapted,
        another=(_adapted_by_einsum, _adapted_by_outer_products),
        inputs=_thin_matrices,
        special=(("rank 1", torch.eye(2), torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 0.0]]), 1.0),),
        partial=(
            (
                lambda w, a, b, s: w + s / a.shape[0] * a @ b,
                "the product is right; you divide by n: the rank r is the other side of `a`",
            ),
            (
                lambda w, a, b, s: w + s / b.shape[1] * a @ b,
                "the product is right; you divide by m: the rank r is the other side of `b`",
            ),
        ),
        wrong=(
            (lambda w, a, b, s: w + s * a @ b, "the division by r is missing"),
            (
                lambda w, a, b, s: w + s // a.shape[1] * a @ b,
                "the division cuts off what is behind the point: / rather than //",
            ),
            (
                lambda w, a, b, s: w + s / a.shape[1] ** 0.5 * a @ b,
                "you divide by the root of r: Hu et al. divide by r itself",
            ),
            (
                lambda w, a, b, s: w + (s / a.shape[1] * a @ b).detach(),
                "the value is right, but no gradient reaches A and B: without `detach`, `data` or `no_grad`",
            ),
            (lambda w, a, b, s: w + a @ b / a.shape[1], "the scale s is missing"),
            (lambda w, a, b, s: w + a @ b, "the factor s / r is missing"),
            (lambda w, a, b, s: s / a.shape[1] * a @ b, "the frozen matrix itself is missing: LoRA adds to it"),
            (lambda w, a, b, s: w - s / a.shape[1] * a @ b, "the product is added, not subtracted"),
            (lambda w, a, b, s: w + a.shape[1] / s * a @ b, "the factor is s / r: yours is r / s"),
            (
                lambda w, a, b, s: w * (s / a.shape[1] * a @ b),
                "the product is added to the weight, not multiplied with it",
            ),
            (
                lambda w, a, b, s: s / a.shape[1] * (w + a @ b),
                "the factor belongs to the product alone: W stays as it is",
            ),
        ),
        right="with B = 0 it's W exactly, so training starts from the model as it was",
        ours="bigmodel_lib.exercises.nb07:adapted",
    ),
]
