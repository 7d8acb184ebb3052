"""The exercises of 05_pytorch_gpu."""

import torch

from bigmodel_lib.exercises.engine import Exercise, Wrong, choose_letter, close, diagnose, number
from bigmodel_lib.model.streaming import merge_softmax, partial_softmax


def _check_accumulate(attempt):
    diagnose(number(attempt), 9.0, {
        3.0: "that is one call; and nobody has emptied w.grad before the second",
        6.0: "two calls, and the second comes from 2·w·x, whose slope is twice as large",
        0.0: "backward() adds, it does not empty anything",
        12.0: "that is a value, 2·w·x: what comes together in w.grad are slopes",
    })  # fmt: skip
    return "3 from the first call, 6 from the second: backward() adds to .grad, hence zero_grad()"


def _check_linear(attempt):
    try:
        given = tuple(int(n) for n in attempt)
    except (TypeError, ValueError):
        raise Wrong(f"a shape was wanted, as in (2, 3); {attempt!r} was given") from None
    if given == (3, 5):
        raise Wrong("that is the course's (in, out); nn.Linear keeps the transpose")
    if len(given) != 2:
        raise Wrong(f"a matrix has two numbers for a shape, {len(given)} were given")
    if given != (5, 3):
        raise Wrong(f"{given}: the 3 inputs and the 5 outputs are its two sizes")
    return "(out, in), and the layer computes x @ weight.T + bias"


def _as_state(result):
    if not isinstance(result, tuple) or len(result) != 3:
        raise Wrong("three tensors were wanted: return m, s, y")
    return tuple(torch.as_tensor(part, dtype=torch.float64) for part in result)


def _check_merge(attempt):
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        q, k, v = (torch.randn(2, 6, 4, generator=g, dtype=torch.float64) * 3 for _ in range(3))
        first, second = partial_softmax(q, k[:, :4], v[:, :4]), partial_softmax(q, k[:, 4:], v[:, 4:])
        m, s, y = _as_state(attempt(first, second))
        (m1, s1, y1), (m2, s2, y2) = first, second
        wanted = merge_softmax(first, second)
        if m.numel() != m1.numel():
            raise Wrong(
                f"one maximum for each query was wanted, {tuple(m1.shape)}; yours has the shape {tuple(m.shape)}"
            )
        if m.shape != m1.shape or s.shape != s1.shape or y.shape != y1.shape:
            raise Wrong(f"the shapes {tuple(m1.shape)}, {tuple(s1.shape)}, {tuple(y1.shape)} go in and must come out")
        if not close(m, wanted[0], 1e-9):
            raise Wrong("m is the larger of the two maxima, query by query")
        if close(s, s1 + s2, 1e-9):
            raise Wrong("the two sums are relative to different maxima: bring both to the common one before you add")
        if close(s, s1 * (m - m1).exp() + s2 * (m - m2).exp(), 1e-9):
            raise Wrong("the exponent is turned round: a sum relative to a lower maximum must shrink, by e^(m₁ - m)")
        if not close(s, wanted[1], 1e-9):
            raise Wrong("s is not Σ e^(score - m) over the keys of both blocks")
        if close(y, y1 + y2, 1e-9):
            raise Wrong("s is right; y needs the same two factors")
        if close(y, wanted[2] / wanted[1], 1e-9):
            raise Wrong("that is the finished attention: divide by s at the very end, after the last block")
        if not close(y, wanted[2], 1e-9):
            raise Wrong("m and s are right; y is not Σ e^(score - m) v over the keys of both blocks")
        large = tuple(part + 1000 * (i == 0) for i, part in enumerate(first))
        huge = _as_state(attempt(large, second))
        if not all(bool(part.isfinite().all()) for part in huge):
            raise Wrong("with scores near 1000 it overflows: only differences from the maximum may enter exp")
    return "two factors, both at most 1; blocks may come in any order"


def _check_bfloat(attempt):
    diagnose(number(attempt), 256, {
        255.0: "255 + 1 = 256 is a power of two, which every such format has",
        128.0: "from 128 on the neighbours are 1 apart: 129 is still there",
        512.0: "one power of two too far: how many numbers do 8 binary digits count?",
        127.0: "127 + 1 = 128 is a power of two, which every such format has",
        65504.0: "that is where float16 ends; here the question is what lies between",
        257.0: "257 cannot be written: the first n that is stuck is one smaller",
    })  # fmt: skip
    return "8 binary digits, the leading one included, reach to 2⁸; from there on the neighbours are 2 apart"


def _check_bound(attempt):
    D = 512
    diagnose(number(attempt), 2 * D * D / (4 * (D * D + 2 * D)), {
        2 * D * D / (D * D + 2 * D): "that is for each number: a float32 number has four bytes",
        1.0: "an operation counts twice, once to multiply and once to add, and a number has four bytes",
        0.25: "a multiplication and an addition for each number of W: two operations, four bytes",
        2 * 64 * D * D / (4 * (D * D + 2 * 64 * D)): "that is for 64 rows: here there is one",
    }, tolerance=0.01)  # fmt: skip
    return "half an operation a byte: each weight is fetched to be used once, so memory sets the pace"


def _check_memory(attempt):
    P = 124_439_808
    diagnose(number(attempt) / 1e9, 16 * P / 1e9, {
        4 * P / 1e9: "those are the parameters alone",
        8 * P / 1e9: "parameters and gradients: AdamW keeps two more numbers for each",
        12 * P / 1e9: "AdamW keeps two numbers for each parameter, m and s",
        P / 1e9: "those are the parameters; a float32 number has 4 bytes",
        32 * P / 1e9: "four bytes, not eight: float32",
        4 * P / 1e18: "those are parameters, in gigabytes: bytes were wanted",
        16 * P / 1e18: "right in gigabytes; bytes were wanted",
    }, tolerance=0.02)  # fmt: skip
    return "four numbers a parameter, 16 bytes, about 2 GB: and no activation is in it yet"


def _check_parallel(attempt):
    choose_letter(attempt, "c", {
        "a": "the measured curves cross: on this kind of machine the LSTM is the faster one for long texts",
        "b": "look at the count again: the LSTM's operations grow with T, attention's with T², and cross at T = 256",
        "d": "its T steps wait for each other on any machine: more cores do not shorten a chain",
    })  # fmt: skip
    return "few dependent steps pay where there are units to fill; on two cores operations and memory count more"


EXERCISES = [
    Exercise(
        "05-accumulate", "two calls", 3, 1,
        "`w = torch.tensor(2.0, requires_grad=True)` and x = 3. `(w * x).backward()` runs, then `(2 * w * x).backward()`. "
        "What is `w.grad` now?",
        "gradient = ...  # a number", "gradient",
        ("Each call computes one slope. What does it do with the number that stands in w.grad already?",
         "04: where a value was used twice, its gradients add up. backward() keeps to that across calls, too."),
        _check_accumulate, 9, 9.0,
        ((3, "that is one call"), (6, "twice as large"), (0, "adds"), (12, "are slopes"), (100, "too large"), ("nine", "a number was wanted")),
    ),
    Exercise(
        "05-linear", "the transposed weight", 2, 1,
        "`nn.Linear(3, 5)` maps 3 numbers to 5. What is the shape of its `.weight`?",
        "shape = ...  # two numbers, as in (2, 3)", "shape",
        ("It computes x @ weight.T + bias.", "weight.T must be (3, 5)."),
        _check_linear, (5, 3), [5, 3],
        (((3, 5), "keeps the transpose"), ((5,), "two numbers for a shape"), ((5, 5), "its two sizes"), (15, "a shape was wanted")),
    ),
    Exercise(
        "05-merge", "two blocks, one softmax", 10, 3,
        "A block of keys has left (m, s, y) for each query: its highest score m, $s = \\sum e^{\\text{score} - m}$, and "
        "$y = \\sum e^{\\text{score} - m} v$. Another block has left its own three. Write the function that makes one "
        "(m, s, y) of both, as if all the keys had stood in one block.\n\n"
        "Shapes: m and s (..., n, 1), y (..., n, K). `torch.maximum(a, b)` compares number by number.",
        "def merge_softmax(first, second):  # each is (m, s, y)\n    return ...  # m, s, y of both together", "merge_softmax",
        ("With the common maximum m, what must each e^(score − m₁) be multiplied with to become e^(score − m)?",
         "With e^(m₁ − m), the same for all of the block's keys: so s₁ and y₁ take that factor, s₂ and y₂ take e^(m₂ − m)."),
        _check_merge, merge_softmax,
        lambda a, b: (lambda m: (m, *(a[i] * torch.exp(a[0] - m) + b[i] * torch.exp(b[0] - m) for i in (1, 2))))(torch.where(a[0] > b[0], a[0], b[0])),
        ((lambda a, b: (torch.maximum(a[0], b[0]), a[1] + b[1], a[2] + b[2]), "before you add"),
         (lambda a, b: (torch.minimum(a[0], b[0]), a[1] + b[1], a[2] + b[2]), "the larger of the two"),
         (lambda a, b: (lambda m: (m, a[1] * (m - a[0]).exp() + b[1] * (m - b[0]).exp(), a[2] + b[2]))(torch.maximum(a[0], b[0])), "turned round"),
         (lambda a, b: (*merge_softmax(a, b)[:2], a[2] + b[2]), "the same two factors"),
         (lambda a, b: (lambda m, s, y: (m, s, y / s))(*merge_softmax(a, b)), "at the very end"),
         (lambda a, b: (lambda m: (m, (a[1] * a[0].exp() + b[1] * b[0].exp()) / m.exp(), (a[2] * a[0].exp() + b[2] * b[0].exp()) / m.exp()))(torch.maximum(a[0], b[0])), "overflows"),
         (lambda a, b: (torch.maximum(a[0].max(), b[0].max()), a[1], a[2]), "one maximum for each query"),
         (lambda a, b: merge_softmax(a, b)[2], "three tensors were wanted")),
        ours="bigmodel_lib.model.streaming:merge_softmax",
    ),
    Exercise(
        "05-parallel", "is it faster?", 4, 2,
        "“Attention is faster than an LSTM, because it is parallel.” After what you have measured, which answer would you give?\n\n"
        "**a** Yes, at every length. · **b** Yes, but because it has fewer operations, at every length. · "
        "**c** It has few steps that must wait for each other; whether that is faster depends on T and on how much the machine can do "
        "at once. · **d** It was so once; with more cores the LSTM catches up.",
        "answer = ...  # a letter, as text", "answer",
        ("Look at the left panel, and at the table of longest chains.", "What would a machine with endlessly many units change, and what not?"),
        _check_parallel, "c", "(C)",
        (("a", "curves cross"), ("b", "cross at T = 256"), ("d", "do not shorten a chain"), ("e", "from a to d")),
    ),
    Exercise(
        "05-bfloat", "where counting stops", 4, 2,
        "bfloat16 keeps 8 binary digits of a number, the leading one included. Which is the smallest positive whole number n for "
        "which n + 1, rounded to bfloat16, is n again? (Halfway between two, the even last digit wins.)",
        "n = ...  # a whole number", "n",
        ("With 3 binary digits one has 1 to 8, then 10, 12, 14: where does counting by one stop?",
         "At the power of two from which on neighbours are 2 apart."),
        _check_bfloat, 256, 2**8,
        ((255, "power of two, which every"), (128, "129 is still there"), (512, "too far"), (257, "one smaller"),
         (65504, "where float16 ends"), (1000, "too large")),
    ),
    Exercise(
        "05-bound", "one row", 4, 2,
        "A model that generates text, one token at a time, multiplies one row, (1, 512), with a matrix W, (512, 512), in float32. Count the row, W and the result "
        "as moved once. How many operations a byte is that? (A multiplication and the addition that goes with it count as two.)",
        "intensity = ...  # operations per byte", "intensity",
        ("How often is each number of W used? And how many bytes bring it here?",
         "Operations: two for each number of W. Bytes: 4 for each number of the row, of W, and of the result."),
        _check_bound, 2 * 512 * 512 / (4 * (512 * 512 + 2 * 512)), 0.498,
        ((1.99, "has four bytes"), (1.0, "counts twice"), (0.25, "two operations, four bytes"),
         (2 * 64 * 512 * 512 / (4 * (512 * 512 + 2 * 64 * 512)), "here there is one"), (100, "too large")),
    ),
    Exercise(
        "05-memory", "GPT-2's small one", 3, 1,
        "GPT-2's smallest model has 124,439,808 parameters. How many bytes do its parameters, gradients and AdamW's two running "
        "means take in float32?",
        "n_bytes = ...  # a number", "n_bytes",
        ("How many numbers does training keep for each parameter?", "w, g, m and s, four bytes each."),
        _check_memory, 16 * 124_439_808, 1.991e9,
        ((4 * 124_439_808, "parameters alone"), (8 * 124_439_808, "two more numbers"), (12 * 124_439_808, "m and s"),
         (124_439_808, "has 4 bytes"), (32 * 124_439_808, "not eight"), (1.99, "bytes were wanted")),
    ),
]  # fmt: skip
