"""The exercises of 07_finetuning."""

import math

import numpy as np

from bigmodel_lib.exercises.engine import Exercise, Gives, Wrong
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


def _two_judges(seed):
    rng = np.random.default_rng(seed)
    return rng.random(400) < 0.7, rng.random(400) < 0.6


def _check_reverse(attempt):
    for seed in range(5):
        first, second = _two_judges(seed)
        chosen = attempt(first, second)
        try:
            rows = [int(row) for row in np.asarray(chosen).reshape(-1)]
        except (TypeError, ValueError):
            raise Wrong("a list of row numbers was wanted") from None
        if np.asarray(chosen).dtype == bool:
            raise Wrong("True and False came back: `np.flatnonzero` makes row numbers of them")
        if len(rows) != 50:
            raise Wrong(f"50 rows were wanted, yours has {len(rows)}")
        if len(set(rows)) < 50:
            raise Wrong("a row is in it twice: a test split takes each text once")
        if min(rows) < 0 or max(rows) >= 400:
            raise Wrong("there are rows from 0 to 399")
        a, b = first[rows].mean(), second[rows].mean()
        if b <= a:
            words = "the first classifier still wins" if a > b else "the two are equal"
            raise Wrong(f"{words} on your rows, {a:.2f} against {b:.2f}: look for rows where only the second is right")
    return "whoever may choose the split may choose the winner: hence splits drawn by chance, many of them, in pairs"


def _reverse(first_right, second_right):
    only_second = np.flatnonzero(second_right & ~first_right)
    others = np.flatnonzero(~(second_right & ~first_right))
    return np.concatenate([only_second, others])[:50]


def _reverse_sorted(first_right, second_right):
    return sorted(range(len(first_right)), key=lambda i: int(first_right[i]) - int(second_right[i]))[:50]


def _reverse_by_argsort(first_right, second_right):
    return np.argsort(first_right.astype(int) - second_right, kind="stable")[:50]


EXERCISES = [
    Exercise(
        id="07-pull",
        title="how hard does the loss pull at z?",
        minutes=5,
        difficulty=2,
        task="""
On paper: a satisfied review ($y = 1$) has the logit $z = \\ln 3$, so that $\\sigma(z) = 3/4$. What is the derivative of its loss
$-\\ln \\sigma(z)$ with respect to $z$, with its sign? Training moves $z$ against it.
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
        ),
        right="σ(z) − y = 0.75 − 1: the pull is the error itself, and it fades as the model becomes sure of the truth",
    ),
    Exercise(
        id="07-lstm",
        title="count the source text's network blind",
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
            (403_073, "that counts a second bias for each gate, as PyTorch's layer has it: the source text's has one"),
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
        ),
        right="10,000 · 32 + 4 · ((32 + 128) · 128 + 128) + 129: four fifths of it is the table of words",
    ),
    Exercise(
        id="07-reverse",
        title="choose the split, choose the winner",
        minutes=8,
        difficulty=2,
        task="""
Two classifiers have judged 400 texts; `first_right` and `second_right` say for each text whether they were right, and the first is
the better one; on a few dozen texts, at least, only the second was. Write a function that chooses 50 different rows as a “test split” on which the
*second* wins.
""",
        stub="""
def reversing_rows(first_right, second_right):
    # two arrays of True and False, (N,) -> 50 different row numbers
    return ...
""",
        name="reversing_rows",
        hints=(
            "Which texts speak for the second classifier, and against the first?",
            "Which rows are they? `second_right & ~first_right` marks them. Are there always 50?",
            "`np.flatnonzero(second_right & ~first_right)`; if those are fewer than 50, fill up with texts on which both agree.",
        ),
        check=_check_reverse,
        answer=_reverse,
        another=(_reverse_sorted, _reverse_by_argsort),
        wrong=(
            (lambda a, b: np.arange(50), "the first classifier still wins"),
            (lambda a, b: np.flatnonzero(b & ~a), "50 rows were wanted"),
            (lambda a, b: np.repeat(np.flatnonzero(b & ~a)[:25], 2), "is in it twice"),
            (lambda a, b: np.flatnonzero(a & b)[:50], "the two are equal"),
            (lambda a, b: np.arange(50) + 400, "rows from 0 to 399"),
            (lambda a, b: b & ~a, "makes row numbers of them"),
        ),
    ),
    Exercise(
        id="07-pairs",
        title="why in pairs?",
        minutes=4,
        difficulty=2,
        task="""
Over ten splits rival A reaches 0.64 ± 0.03 and rival B 0.61 ± 0.03, yet the interval of the ten *differences* A − B is 0.03 ± 0.01.
How can that be? (a) one of the intervals is wrong; (b) splits differ in difficulty for both alike; (c) ten splits are too few for an
interval of differences; (d) the mean of the differences is not the difference of the means.
""",
        stub='reason = ...  # "a", "b", "c" or "d"',
        name="reason",
        hints=(
            "What makes A's accuracy differ from split to split?",
            "If a split happens to hold hard texts, who suffers?",
            "Both lose on the same splits. What of that is left in A − B?",
        ),
        answer="b",
        another=("(b)", "B"),
        wrong=(
            ("a", "the wide intervals are of how hard a split is, which both rivals share: the pairs take that away"),
            ("c", "ten splits are enough if the difference is about the same in each of them"),
            (
                "d",
                "the mean of the differences is the difference of the means: what differs is how sure one can be of it",
            ),
        ),
        right="a hard split is hard for both, and in the differences that cancels; where it is not, pairs gain nothing",
    ),
    Exercise(
        id="07-f1",
        title="macro-F1 from a confusion matrix",
        minutes=10,
        difficulty=2,
        task="""
A label's *precision* is the share right among the texts that were *said* to have it, its *recall* the share right among those that *truly*
have it, and its $F_1 = \\frac{2\\,P R}{P + R}$, or 0 if it is never right. Macro-F1 is the mean over the labels. Row $i$,
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
            (640, "that is rank 1: at rank 2 both have twice as many"),
            (2_560, "that is rank 4: A has two columns and B two rows"),
            (66_816, "the matrix itself does not learn: count A and B only"),
        ),
        right="2 · (128 + 512): a fiftieth of the matrix, and it grows with the sum of its sides, not with their product",
    ),
    Exercise(
        id="07-mask",
        title="the loss mask",
        minutes=8,
        difficulty=2,
        task="""
Build one: from the ids of what is given and of what is wanted make a training pair. `x` is all of it but the last token. `y` is for each
place of `x` the token that follows, where that token is wanted, and −1 where it was given. The training below uses yours if it passes,
ours if not.
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
]
