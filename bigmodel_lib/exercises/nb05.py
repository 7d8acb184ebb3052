"""The exercises of 05_pytorch_gpu."""

import math

import torch

from bigmodel_lib.exercises.engine import Exercise, Gives
from bigmodel_lib.model.streaming import merge_softmax, partial_softmax


def _two_blocks(rng):
    """What two blocks of keys have left for the same queries, each (m, s, y)."""
    lead = ((), (2,), (2, 3))[rng.integers(3)]
    n_queries, width, n_first, n_second = rng.integers(1, 6, size=4)
    q, k, v = (
        torch.from_numpy(rng.normal(scale=2.0, size=(*lead, length, width)))
        for length in (n_queries, n_first + n_second, n_first + n_second)
    )
    return (
        partial_softmax(q, k[..., :n_first, :], v[..., :n_first, :]),
        partial_softmax(q, k[..., n_first:, :], v[..., n_first:, :]),
    )


def _left(m, s, y):
    """(m, s, y) of one query."""
    return torch.tensor([[m]]).double(), torch.tensor([[s]]).double(), torch.tensor([y]).double()


def _merge_by_logs(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = torch.where(m1 > m2, m1, m2)
    s = (torch.logaddexp(m1 + s1.log(), m2 + s2.log()) - m).exp()
    return [m, s, y1 * torch.exp(m1 - m) + y2 * torch.exp(m2 - m)]


def _merge_by_cases(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    higher = m1 >= m2
    gap = torch.exp(-(m1 - m2).abs())
    s = torch.where(higher, s1 + gap * s2, gap * s1 + s2)
    y = torch.where(higher, y1 + gap * y2, gap * y1 + y2)
    return m1.maximum(m2), s, y


def _added_as_they_are(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    return torch.maximum(m1, m2), s1 + s2, y1 + y2


def _lower_maximum(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = torch.minimum(m1, m2)
    return m, s1 * (m1 - m).exp() + s2 * (m2 - m).exp(), y1 * (m1 - m).exp() + y2 * (m2 - m).exp()


def _exponent_turned_round(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = torch.maximum(m1, m2)
    return m, s1 * (m - m1).exp() + s2 * (m - m2).exp(), y1 * (m - m1).exp() + y2 * (m - m2).exp()


def _y_added_as_it_is(first, second):
    m, s, _ = merge_softmax(first, second)
    return m, s, first[2] + second[2]


def _divided_already(first, second):
    m, s, y = merge_softmax(first, second)
    return m, s, y / s


def _without_the_maximum(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = torch.maximum(m1, m2)
    return m, (s1 * m1.exp() + s2 * m2.exp()) / m.exp(), (y1 * m1.exp() + y2 * m2.exp()) / m.exp()


def _one_maximum_for_all(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = torch.maximum(m1.max(), m2.max())
    return m, s1 * (m1 - m).exp() + s2 * (m2 - m).exp(), y1 * (m1 - m).exp() + y2 * (m2 - m).exp()


def _softmax_of_the_maxima(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    share = torch.sigmoid(m1 - m2)
    return torch.maximum(m1, m2), share * s1 + (1 - share) * s2, share * y1 + (1 - share) * y2


EXERCISES = [
    Exercise(
        id="05-accumulate", title="two calls", minutes=3, difficulty=1,
        task="`w = torch.tensor(2.0, requires_grad=True)` and x = 3. `(w * x).backward()` runs, then `(2 * w * x).backward()`. "
        "What is `w.grad` now?",
        stub="gradient = ...  # a number", name="gradient",
        hints=(
            "Each call computes one slope. What does it do with the number that is in w.grad already?",
            "04: where a value was used twice, its gradients add up. backward() keeps to that across calls, too.",
            "The slope of w·x is x = 3. Find the slope of 2·w·x and add the two.",
        ),
        answer=9, another=(9.0, torch.tensor(9.0)),
        wrong=(
            (3, "that is one call; and nobody has emptied w.grad before the second"),
            (6, "that is the second call alone: backward() doesn't overwrite what is in w.grad"),
            (0, "backward() adds, it does not empty anything"),
            (12, "that is a value, 2·w·x: what comes together in w.grad are slopes"),
            (18, "that adds the two values, w·x and 2·w·x: what comes together in w.grad are slopes"),
        ),
        right="3 from the first call, 6 from the second: backward() adds to .grad, hence zero_grad()",
    ),
    Exercise(
        id="05-linear", title="the transposed weight", minutes=2, difficulty=1,
        task="`nn.Linear(3, 5)` maps 3 numbers to 5. What is the shape of its `.weight`?",
        stub="shape = ...  # two numbers, as in (2, 3)", name="shape",
        hints=(
            "Which of the two sizes is the number of inputs, which that of outputs?",
            "The layer computes x @ weight.T + bias, with x of the shape (…, 3).",
            "weight.T must be (3, 5). What is weight, then?",
        ),
        answer=(5, 3), another=([5, 3], torch.Size([5, 3])),
        wrong=(
            ((3, 5), "that is the course's (in, out); nn.Linear keeps the transpose"),
            ((5,), "that is the shape of the bias: the weight is a matrix, with two sizes"),
            ((5, 5), "the 3 inputs and the 5 outputs are its two sizes"),
            ((3, 3), "its two sizes are the 3 inputs and the 5 outputs"),
        ),
        right="(out, in), and the layer computes x @ weight.T + bias",
    ),
    Exercise(
        id="05-merge", title="two blocks, one softmax", minutes=10, difficulty=3,
        task="A block of keys has left (m, s, y) for each query: its highest score m, $s = \\sum e^{\\text{score} - m}$, and "
        "$y = \\sum e^{\\text{score} - m} v$. Another block has left its own three. Write the function that makes one "
        "(m, s, y) of both, as if all the keys had stood in one block.\n\n"
        "Shapes: m and s (..., n, 1), y (..., n, K). `torch.maximum(a, b)` compares number by number.",
        stub="def merge_softmax(first, second):  # each is (m, s, y)\n    return ...  # m, s, y of both together", name="merge_softmax",
        hints=(
            "Two sums of powers can be added only when both are relative to the same maximum. Which one will that be?",
            "With the common maximum m, what must each e^(score − m₁) be multiplied with to become e^(score − m)? "
            "It's the same factor for all keys of a block, so y takes it as s does.",
            "`m = torch.maximum(m1, m2)`, then `s = s1 * (m1 - m).exp() + …` with block 2's own factor, and y likewise.",
        ),
        answer=merge_softmax, another=(_merge_by_logs, _merge_by_cases),
        inputs=_two_blocks,
        special=(
            ("scores near 1000", _left(1000.0, 1.5, [1.0, -2.0]), _left(1001.0, 2.5, [0.5, 3.0])),
            ("scores near −1000", _left(-1000.0, 1.5, [1.0, -2.0]), _left(-1001.0, 2.5, [0.5, 3.0])),
            ("the same maximum in both", _left(2.0, 1.5, [1.0, -2.0]), _left(2.0, 2.5, [0.5, 3.0])),
            ("a block that counts for nothing", _left(0.0, 1.0, [1.0, 2.0]), _left(-math.inf, 0.0, [0.0, 0.0])),
        ),
        gives=Gives(parts=("m", "s", "y"), dtype=True),
        partial=((_y_added_as_it_is, "m and s are right; y needs the same two factors as s"),),
        wrong=(
            (_added_as_they_are, "the two sums are relative to different maxima: bring both to the common one before you add"),
            (_lower_maximum, "m is the larger of the two maxima, query by query; yours is the smaller"),
            (_exponent_turned_round, "the exponent is turned round: a sum relative to a lower maximum must shrink, by e^(m₁ − m)"),
            (_divided_already, "that is the finished attention: divide by s at the very end, after the last block"),
            (_without_the_maximum, "it overflows: only differences from the maximum may go into exp"),
            (_one_maximum_for_all, "one maximum for each query was wanted: yours has one for all of them"),
            (_softmax_of_the_maxima, "the two factors needn't sum to 1: the block with the common maximum keeps its own in full"),
            (lambda first, second: merge_softmax(first, second)[2], "return three tensors: m, s, y"),
        ),
        right="two factors, both at most 1; blocks may come in any order",
        ours="bigmodel_lib.model.streaming:merge_softmax",
    ),
    Exercise(
        id="05-parallel", title="is it faster?", minutes=4, difficulty=2,
        task="“Attention is faster than an LSTM, because it is parallel.” After what you have measured, which answer would you give?\n\n"
        "**a** Yes, at every length. · **b** Yes, but because it has fewer operations, at every length. · "
        "**c** It has few steps that must wait for each other; whether that is faster depends on T and on how much the machine can do "
        "at once. · **d** It was so once; with more cores the LSTM catches up.",
        stub="answer = ...  # a letter, as text", name="answer",
        hints=(
            "Look at the left panel, and at the table of longest chains.",
            "What would a machine with endlessly many units change, and what not?",
            "The panel's curves cross. Which of the four still holds on both sides of the crossing?",
        ),
        answer="c", another=("(C)", "c."),
        wrong=(
            ("a", "the measured curves cross: on this kind of machine the LSTM is the faster one for long texts"),
            ("b", "look at the count again: the LSTM's operations grow with T, attention's with T², and cross at T = 256"),
            ("d", "its T steps wait for each other on any machine: more cores do not shorten a chain"),
        ),
        right="few dependent steps pay where there are units to fill; on two cores operations and memory count more",
    ),
    Exercise(
        id="05-bfloat", title="where counting stops", minutes=4, difficulty=2,
        task="bfloat16 keeps 8 binary digits of a number, the leading one included. Which is the smallest positive whole number n for "
        "which n + 1, rounded to bfloat16, is n again? (Halfway between two, the even last digit wins.)",
        stub="n = ...  # a whole number", name="n",
        hints=(
            "Between two powers of two, numbers of a format are evenly spaced. From which power on is the space wider than 1?",
            "Try a smaller format first: with 3 binary digits one has 1 to 8, then 10, 12, 14. Where does counting by one stop?",
            "With 3 digits it stops at 8 = 2³: 9 is halfway, and 8 has the even last digit. Now with 8 digits.",
        ),
        answer=256, another=(2**8, 256.0),
        wrong=(
            (255, "255 + 1 = 256 is a power of two, which every such format has"),
            (128, "from 128 on the neighbours are 1 apart: 129 is still there"),
            (512, "one power of two too far: how many numbers do 8 binary digits count?"),
            (127, "127 + 1 = 128 is a power of two, which every such format has"),
            (65504, "that is where float16 ends; here the question is what lies between"),
            (257, "257 cannot be written: the first n that is stuck is one smaller"),
        ),
        right="8 binary digits, the leading one included, reach to 2⁸; from there on the neighbours are 2 apart",
    ),
    Exercise(
        id="05-bound", title="one row", minutes=4, difficulty=2,
        task="A model that generates text, one token at a time, multiplies one row, (1, 512), with a matrix W, (512, 512), in float32. Count the row, W and the result "
        "as moved once. How many operations a byte is that? (A multiplication and the addition that goes with it count as two.)",
        stub="intensity = ...  # operations per byte", name="intensity",
        hints=(
            "How often is each number of W used? And how many bytes bring it here?",
            "Count both: operations, two for each number of W; bytes, four for each number of the row, of W, and of the result.",
            "2 · 512 · 512 operations, divided by 4 · (512 + 512 · 512 + 512) bytes.",
        ),
        answer=2 * 512 * 512 / (4 * (512 * 512 + 2 * 512)), another=(0.498, 0.5), tolerance=0.01,
        wrong=(
            (1.99, "that is for each number: a float32 number has four bytes"),
            (1.0, "an operation counts twice, once to multiply and once to add, and a number has four bytes"),
            (0.25, "a multiplication and an addition for each number of W: two operations, four bytes"),
            (2 * 64 * 512 * 512 / (4 * (512 * 512 + 2 * 64 * 512)), "that is for 64 rows: here there is one"),
            (2.008, "that is turned round, bytes for each operation"),
        ),
        right="half an operation a byte: each weight is fetched to be used once, so memory sets the pace",
    ),
    Exercise(
        id="05-memory", title="GPT-2's small one", minutes=3, difficulty=1,
        task="GPT-2's smallest model has 124,439,808 parameters. How many bytes do its parameters, gradients and AdamW's two running "
        "means take in float32?",
        stub="n_bytes = ...  # a number", name="n_bytes",
        hints=(
            "How many numbers does training keep for each parameter?",
            "The parameter itself, its gradient, and what AdamW remembers of it. Then: bytes for each.",
            "w, g, m and s: four numbers of four bytes for each of the 124,439,808.",
        ),
        answer=16 * 124_439_808, another=(1.991e9, 1.99e9), tolerance=0.02e9,
        wrong=(
            (4 * 124_439_808, "those are the parameters alone"),
            (8 * 124_439_808, "parameters and gradients: AdamW keeps two more numbers for each"),
            (12 * 124_439_808, "AdamW keeps two numbers for each parameter, m and s"),
            (124_439_808, "those are the parameters; a float32 number has 4 bytes"),
            (32 * 124_439_808, "four bytes, not eight: float32"),
            (1.99, lambda inputs, given, wanted: f"{given:g} would be gigabytes: bytes were wanted"),
        ),
        right="four numbers a parameter, 16 bytes, about 2 GB: and no activation is in it yet",
    ),
]  # fmt: skip
