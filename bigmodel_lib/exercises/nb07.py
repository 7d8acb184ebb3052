"""The exercises of 07_finetuning."""

import math

import numpy as np

from bigmodel_lib.exercises.engine import Exercise, Wrong, choose_letter, close, diagnose, number, number_given
from bigmodel_lib.storyworld.tasks import masked_pair


def _check_pull(attempt):
    diagnose(number(attempt), -0.25, {
        0.25: "the sign: the label is 1, so more z would lower the loss, and the derivative is negative",
        0.75: "that is σ(z) itself: take the label away from it",
        math.log(0.75): "that is ln σ(z), minus the loss: its derivative was asked for",
        -math.log(0.75): "that is the loss: its derivative was asked for",
        -0.1875: "that is −σ(1 − σ): the derivative of σ is divided by σ again, since the loss is −ln σ",
        -1.0: "that pull would stay as strong however sure the model is: it weakens as σ(z) nears the label",
    }, tolerance=0.006)  # fmt: skip
    return "σ(z) − y = 0.75 − 1: the pull is the error itself, and it fades as the model becomes sure of the truth"


def _check_lstm(attempt):
    diagnose(number(attempt), 402_561, {
        402_561 + 512: "that counts a second bias for each gate, as PyTorch's layer has it: the source text's has one",
        320_000 + (160 * 128 + 128) + 129: "an LSTM has four such maps, three gates and a candidate, not one",
        320_000 + 4 * (32 * 128 + 128) + 129: "the gates read the hidden state too: 32 + 128 numbers go in",
        320_000 + 4 * 160 * 128 + 129: "each of the four maps has a bias, too: 128 numbers",
        320_000 + 82_432 + 128: "the last layer has a bias",
        82_432 + 129: "the embedding is missing: one row of 32 numbers for each of 10,000 words",
        320_000 + 82_432: "the last layer is missing: 128 numbers become one, with a bias",
    }, tolerance=0.5)  # fmt: skip
    return "10,000 · 32 + 4 · ((32 + 128) · 128 + 128) + 129: four fifths of it is the table of words"


def _check_mask(attempt):
    def given(a, b):
        result = attempt(list(a), list(b))
        try:
            x, y = (list(map(int, part)) for part in result)
        except (TypeError, ValueError):
            raise Wrong(f"two lists, x and y, were wanted, yours gives {result!r}") from None
        return x, y

    for a, b in (([1, 2, 3], [4, 5]), ([7], [8, 9, 10]), ([5, 6], [7])):
        x, y = given(a, b)
        right_x, right_y = masked_pair(a, b)
        whole = f"given {a}, wanted {b}:"
        if x == [*a, *b]:
            raise Wrong(f"{whole} x is one too long: nothing follows the last token, so it is no input")
        if x != right_x:
            raise Wrong(f"{whole} x should be {right_x}, all tokens but the last, yours is {x}")
        if len(a) > 1 and y == [*a, *b][1:]:
            raise Wrong(f"{whole} y asks for what was given, too: put −1 there, and the loss leaves it out")
        if len(y) != len(x):
            raise Wrong(f"{whole} x has {len(x)} numbers and y has {len(y)}: every input needs a target or a −1")
        if y == [-1] * len(a) + b[1:]:
            raise Wrong(f"{whole} y is one late: the last given token already has the first wanted one as its target")
        if len(a) > 1 and y == [0] * (len(a) - 1) + b:
            raise Wrong(f"{whole} 0 is a token: the sign for “nothing is wanted” is −1")
        if y != right_y:
            raise Wrong(f"{whole} y should be {right_y}, yours is {y}")
    return "the model reads everything and is judged on what is wanted alone"


def _mask_loop(given, wanted):
    tokens = list(given) + list(wanted)
    x, y = [], []
    for place in range(len(tokens) - 1):
        x.append(tokens[place])
        y.append(tokens[place + 1] if place + 1 >= len(given) else -1)
    return x, y


def _check_lora_count(attempt):
    diagnose(number(attempt), 1_280, {
        65_536: "that is the whole matrix: LoRA leaves it as it is and adds two thin ones",
        1_024: "each thin matrix has its own shape: A is 128 × 2, B is 2 × 512",
        256: "that is A alone: B has 2 × 512 more",
        # B alone is 1,024 as well
        640: "that is rank 1: at rank 2 both have twice as many",
        2_560: "that is rank 4: A has two columns and B two rows",
        66_816: "the matrix itself does not learn: count A and B only",
    }, tolerance=0.5)  # fmt: skip
    return "2 · (128 + 512): a fiftieth of the matrix, and it grows with the sum of its sides, not with their product"


def _check_f1(attempt):
    def at(confusion):
        return number_given(attempt(np.array(confusion)))

    lopsided = [[8, 2], [6, 4]]
    right = _f1(np.array(lopsided))
    diagnose(at(lopsided), right, {
        0.6: "that is the accuracy: macro-F1 gives every label the same say, however rare it is",
        2 / 3: "that is the F1 of the first label alone: take the mean over the labels",
        0.5 * (8 / 14 + 4 / 6): "that is the mean precision: recall is missing",
        _weighted(np.array(lopsided)): "you weigh the labels by how often they are: macro means all alike",
    })  # fmt: skip
    try:
        silent = at([[10, 0], [10, 0]])
    except ZeroDivisionError:
        silent = math.nan
    if not close(silent, 1 / 3):
        raise Wrong("a label that is never said right has F1 0, also where nothing is divided by nothing")
    for seed in range(4):
        confusion = np.random.default_rng(seed).integers(0, 9, size=(3, 3)) + np.eye(3, dtype=int)
        if not close(at(confusion), _f1(confusion)):
            raise Wrong(f"for {confusion.tolist()} {_f1(confusion):.4f} was wanted, yours gives {at(confusion):.4f}")
    return "a rare label counts as much as a common one, so ignoring it costs"


def _f1(confusion):
    hits = np.diag(confusion)
    return float(np.mean([2 * h / (r + c) if r + c else 0.0 for h, r, c in
                          zip(hits, confusion.sum(axis=1), confusion.sum(axis=0), strict=True)]))  # fmt: skip


def _weighted(confusion):
    return float(sum(_f1_of(confusion, i) * confusion[i].sum() for i in range(len(confusion))) / confusion.sum())


def _f1_of(confusion, i):
    both = confusion[i].sum() + confusion[:, i].sum()
    return 2 * confusion[i, i] / both if both else 0.0


def _f1_by_parts(confusion):
    found = []
    for i in range(len(confusion)):
        hits, said, true = confusion[i][i], sum(row[i] for row in confusion), sum(confusion[i])
        precision, recall = (hits / said if said else 0.0), (hits / true if true else 0.0)
        found.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(sum(found) / len(found))


def _mean_of_precision(confusion):
    return float(np.mean(np.diag(confusion) / np.maximum(confusion.sum(axis=0), 1)))


def _two_judges(seed):
    rng = np.random.default_rng(seed)
    return rng.random(400) < 0.7, rng.random(400) < 0.6


def _check_reverse(attempt):
    for seed in range(5):
        first, second = _two_judges(seed)
        try:
            rows = [int(row) for row in np.asarray(attempt(first, second)).reshape(-1)]
        except (TypeError, ValueError):
            raise Wrong("a list of row numbers was wanted") from None
        if len(rows) != 50:
            raise Wrong(f"50 rows were wanted, yours has {len(rows)}")
        if len(set(rows)) < 50:
            raise Wrong("a row stands in it twice: a test split takes each text once")
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


def _check_pairs(attempt):
    choose_letter(attempt, "b", {
        "a": "the wide intervals are of how hard a split is, which both rivals share: the pairs take that away",
        "c": "ten splits are enough if the difference is about the same in each of them",
        "d": "the mean of the differences is the difference of the means: what differs is how sure one can be of it",
    })  # fmt: skip
    return "a hard split is hard for both, and in the differences that cancels; where it is not, pairs gain nothing"


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
            "The chain rule: the derivative of −ln σ with respect to σ, times that of σ with respect to z.",
            "σ' = σ (1 − σ): what is left of −σ'/σ?",
        ),
        check=_check_pull,
        answer=-0.25,
        another=(-1 / 4,),
        wrong=(
            (0.25, "the sign"),
            (0.75, "σ(z) itself"),
            (-0.1875, "divided by σ"),
            (math.log(4 / 3), "that is the loss"),
            ("x", "a number was wanted"),
        ),  # fmt: skip
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
        hints=("Embedding: rows times width. Dense: 128 weights and a bias.", "LSTM: 4 · ((32 + 128) · 128 + 128)."),
        check=_check_lstm,
        answer=402_561,
        another=(402_561.0,),
        wrong=(
            (403_073, "second bias"),
            (340_737, "four such maps"),
            (82_561, "embedding is missing"),
            (402_560, "has a bias"),
            (402_049, "each of the four maps has a bias"),
        ),  # fmt: skip
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
            "`np.flatnonzero(second_right & ~first_right)`; if those are fewer than 50, fill up with texts on which both agree.",
        ),
        check=_check_reverse,
        answer=_reverse,
        another=(_reverse_sorted,),
        wrong=(
            (lambda a, b: np.arange(50), "the first classifier still wins"),
            (lambda a, b: np.flatnonzero(b & ~a), "50 rows were wanted"),
            (lambda a, b: np.repeat(np.flatnonzero(b & ~a)[:25], 2), "stands in it twice"),
            (lambda a, b: np.flatnonzero(a & b)[:50], "the two are equal"),
            (lambda a, b: np.arange(50) + 400, "rows from 0 to 399"),
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
        ),
        check=_check_pairs,
        answer="b",
        another=("(b)",),
        wrong=(("a", "both rivals share"), ("c", "are enough"), ("d", "how sure"), ("e", "one letter")),
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
            "The right ones stand on the diagonal; a row's sum is how many truly have a label, a column's sum how often it was said.",
            "F₁ = 2 · diagonal / (row sum + column sum), and 0 where that sum is 0.",
        ),
        check=_check_f1,
        answer=_f1,
        another=(_f1_by_parts,),
        wrong=(
            (lambda c: float(np.trace(c) / c.sum()), "that is the accuracy"),
            (lambda c: _f1_of(c, 0), "first label alone"),
            (_mean_of_precision, "mean precision"),
            (lambda c: float(np.mean([_f1_of(c, i) for i in range(len(c)) if c[i, i]])), "F1 0"),
            (lambda c: "0.6", "a number was wanted"),
        ),
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
        hints=("A is (in, r), B is (r, out).", "128 · 2 + 2 · 512."),
        check=_check_lora_count,
        answer=1_280,
        another=(1280.0,),
        wrong=(
            (65_536, "the whole matrix"),
            (256, "A alone"),
            (640, "rank 1"),
            (66_816, "does not learn"),
            (2_560, "rank 4"),
        ),  # fmt: skip
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
            "Write both in one row, shift by one, and ask for each target: was it given?",
            "The targets of the first n − 1 places were given; from the last given token on they are wanted.",
        ),
        check=_check_mask,
        answer=masked_pair,
        another=(_mask_loop,),
        wrong=(
            (lambda a, b: (a + b, [-1] * len(a) + b), "one too long"),
            (lambda a, b: ((a + b)[:-1], (a + b)[1:]), "what was given, too"),
            (lambda a, b: ((a + b)[:-1], [-1] * len(a) + b[1:]), "one late"),
            (lambda a, b: ((a + b)[:-1], [0] * (len(a) - 1) + b), "0 is a token"),
            (lambda a, b: ((a + b)[:-1], b), "every input needs a target"),
            (lambda a, b: ((a + b)[1:], [-1] * (len(a) - 1) + b), "all tokens but the last"),
        ),
        ours="bigmodel_lib.storyworld.tasks:masked_pair",
    ),
]
