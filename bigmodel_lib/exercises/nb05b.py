"""The exercises of 05b_gpu_up_close."""

import math

import torch

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance
from bigmodel_lib.viz.roofline import least_times

# 05b-busy


def busy_share(trace: list[tuple[str, float, float]]) -> float:
    """The share of a trace, from its first start to its last end, in which at least one kernel runs."""
    first = covered = min(start for _, start, _ in trace)
    busy = 0.0
    for _, start, end in sorted(trace, key=lambda kernel: kernel[1]):
        busy += max(0.0, end - max(start, covered))
        covered = max(covered, end)
    return busy / (covered - first)


def _trace(rng):
    names = ("norm", "product", "softmax", "add")
    kernels, now = [], float(rng.integers(1, 20))
    for _ in range(rng.integers(1, 9)):
        length = float(rng.integers(1, 8))
        kernels.append((names[rng.integers(4)], now, now + length))
        now += length * float(rng.choice([0.5, 1.0, 1.0])) + float(rng.choice([0, 0, 2, 5]))
    rng.shuffle(kernels)
    return ([tuple(kernel) for kernel in kernels],)


def _busy_by_intervals(trace):
    merged = []
    for start, end in sorted(kernel[1:] for kernel in trace):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return sum(end - start for start, end in merged) / (merged[-1][1] - merged[0][0])


def _busy_by_points(trace):
    points = sorted({time for _, *times in trace for time in times})
    pieces = list(zip(points, points[1:], strict=False))
    busy = sum(b - a for a, b in pieces if any(start <= a and b <= end for _, start, end in trace))
    return busy / (points[-1] - points[0])


def _lengths(trace):
    return sum(end - start for _, start, end in trace)


def _span(trace):
    return max(end for _, _, end in trace) - min(start for _, start, _ in trace)


def _busy_over(whole):
    """busy_share with another time to divide by."""
    return lambda trace: busy_share(trace) * _span(trace) / whole(trace)


def _walk(order, remembered=max, least=0.0, whole=None):
    """busy_share with the kernels in another order, another covered end remembered, or added times below 0."""

    def wrong(trace):
        kernels = order(trace)
        busy, covered = 0.0, -math.inf
        for _, start, end in kernels:
            busy += max(least, end - max(start, covered))
            covered = remembered(covered, end)
        return busy / (covered - kernels[0][1] if whole == "as walked" else _span(trace))

    return wrong


def _by_start(trace):
    return sorted(trace, key=lambda kernel: kernel[1])


def _by_end(trace):
    return sorted(trace, key=lambda kernel: kernel[2])


def _the_last(_, end):
    return end


# 05b-roof


def _product(rng):
    m, k, n = (int(2 ** rng.integers(0, 13)) for _ in range(3))
    return m, k, n, int(rng.choice([2, 4])), float(rng.choice([67e12, 495e12, 989e12])), float(rng.choice([2e12, 3e12]))


def _roof_by_intensity(m, k, n, size, peak, bandwidth):
    operations = 2 * m * k * n
    intensity = operations / (size * (m * k + k * n + m * n))
    return operations / (intensity * bandwidth), operations / peak


def _roof_as_list(m, k, n, size, peak, bandwidth):
    return [size * (m * (k + n) + k * n) / bandwidth, m * k * n / (peak / 2)]


def _moved(count):
    """least_times with another count of the numbers that move."""
    return lambda m, k, n, size, peak, bandwidth: (count(m, k, n) * size / bandwidth, 2 * m * k * n / peak)


# 05b-scaler


def update_scale(gradients: torch.Tensor, scale: float, streak: int, patience: int = 5) -> tuple[bool, float, int]:
    """(whether to take the step, the next scale, the good steps in a row): halve it on an overflow, double it after many."""
    if not gradients.isfinite().all():
        return False, scale / 2, 0
    streak += 1
    if streak == patience:
        return True, scale * 2, 0
    return True, scale, streak


def _scaled(rng):
    gradients = torch.from_numpy(rng.normal(size=rng.integers(1, 5))).half()
    if rng.integers(2):
        gradients[rng.integers(len(gradients))] = float(rng.choice([math.inf, -math.inf, math.nan]))
    return gradients, float(2.0 ** rng.integers(4, 20)), int(rng.integers(0, 3)), int(rng.integers(3, 5))


def _scale_by_sum(gradients, scale, streak, patience=5):
    fine = math.isfinite(gradients.float().abs().sum().item())
    grown = fine and streak + 1 >= patience
    factor = 2.0 if grown else 1.0 if fine else 0.5
    return fine, scale * factor, (streak + 1) * int(fine and not grown)


def _scale_by_any(gradients, scale, streak, patience=5):
    if torch.isnan(gradients).any() or torch.isinf(gradients).any():
        return [False, 0.5 * scale, 0]
    return [True, 2 * scale, 0] if streak + 1 == patience else [True, scale, streak + 1]


def _scaler(good=None, bad=None, finite=lambda g: bool(g.isfinite().all())):
    """update_scale with what it does after a good or a bad step, or its test, replaced."""

    def wrong(gradients, scale, streak, patience=5):
        way = good if finite(gradients) else bad
        if way is not None:
            return way(scale, streak, patience)
        return update_scale(torch.ones(1) if finite(gradients) else torch.tensor([math.inf]), scale, streak, patience)

    return wrong


def _take_as_tensor(gradients, scale, streak, patience=5):
    taken, scale, streak = update_scale(gradients, scale, streak, patience)
    return torch.tensor(taken), scale, streak


def _good_as_tensor(gradients, scale, streak, patience=5):
    taken, scale, streak = update_scale(gradients, scale, streak, patience)
    return torch.tensor(taken) if taken else taken, scale, streak


def _reordered(order):
    """update_scale with what it returns in another order, or turned round."""
    return lambda *arguments: order(*update_scale(*arguments))


def _half(*numbers):
    return torch.tensor(numbers).half()


FINE, INFINITE, NAN = _half(1.0, -2.0), _half(1.0, math.inf), _half(math.nan, 1.0)

EXERCISES = [
    Exercise(
        id="05b-busy", title="how busy is it?", minutes=8, difficulty=2,
        task="Write `busy_share(trace)`. A trace is a list of kernels `(name, start, end)`, in any order. The time runs from the first start to the last "
        "end. In what share of it does at least one kernel run? (Times needn't be whole numbers.)\n\nTwo kernels may run at once (a GPU has several queues). Count such "
        "a moment once. One kernel may even start and end while another still runs.",
        stub="def busy_share(trace):\n    return ...", name="busy_share",
        hints=(
            "On paper, you'd draw the kernels as bars on one line and measure what's covered. In which order would you draw them?",
            "Walk through the kernels by their start (`sorted` gives a new list), and remember how far the line is covered. What does the next kernel add to it?",
            "It adds `max(0, end - max(start, covered))`; then `covered` becomes the larger of itself and `end`. Divide by the whole time.",
        ),
        answer=busy_share, another=(_busy_by_intervals, _busy_by_points),
        inputs=_trace,
        special=(
            ("one kernel", [("norm", 3.0, 5.0)]),
            ("two at once", [("norm", 0.0, 4.0), ("add", 2.0, 6.0), ("add", 8.0, 10.0)]),
            ("one inside another", [("product", 0.0, 9.0), ("add", 1.0, 2.0), ("add", 5.0, 12.0), ("norm", 14.0, 16.0)]),
            ("not in order", [("add", 10.0, 12.0), ("product", 2.0, 6.0)]),
            ("the last one inside", [("product", 0.0, 9.0), ("add", 2.0, 4.0)]),
        ),
        wrong=(
            (lambda trace: _lengths(trace) / _span(trace), "where two kernels run at once, you count that time twice"),
            (lambda trace: min(1.0, _lengths(trace) / _span(trace)), "time with two kernels at once is counted twice; cutting off at 1 hides it only when there are no gaps"),
            (lambda trace: 1 - busy_share(trace), "that's the share of the gaps"),
            (_span, "that's the whole time: how much of it is covered?"),
            (lambda trace: 100 * busy_share(trace), "a share from 0 to 1 was wanted, not per cent"),
            (
                lambda trace: _lengths(trace) / max(end for _, _, end in trace),
                "two things: the clock starts at the first kernel's start, not at 0, and overlaps count once",
            ),
            (_busy_over(lambda trace: 1), "that's the busy time itself: divide by the whole time"),
            (_busy_over(lambda trace: max(end for _, _, end in trace)), "the clock starts at the first kernel's start, not at 0"),
            (_busy_over(lambda trace: trace[-1][2] - trace[0][1]), "the first and last kernel in the list needn't be the first and last in time"),
            (
                _busy_over(lambda trace: _by_start(trace)[-1][2] - _by_start(trace)[0][1]),
                "the kernel that starts last needn't be the one that ends last",
            ),
            (_walk(list), "the kernels come in any order: go through them by their start"),
            (_walk(sorted), "that sorts by name, the first thing in each tuple: sort by start"),
            (_walk(sorted, whole="as walked"), "`sorted(trace)` goes by the first thing in each tuple, the name: sort by start"),
            (_walk(_by_end), "by their end, a long kernel comes after those inside it, and what it covered before them is lost: sort by start"),
            (_walk(_by_start, _the_last), "after a kernel that ended inside another, you forget how far the longer one reaches"),
            (_walk(_by_start, least=-math.inf), "a kernel that ends inside another adds nothing; yours takes time away: at least 0"),
            (
                _walk(_by_start, _the_last, -math.inf),
                "you compare each kernel with the one before it alone: one further back may reach further",
            ),
        ),
        right="what's covered, over the whole; overlaps count once",
        ours="bigmodel_lib.exercises.nb05b:busy_share",
    ),
    Exercise(
        id="05b-traffic", title="how long must it take?", minutes=4, difficulty=2,
        task="The loss's softmax gets 16 · 1024 rows of 50,304 numbers in float32. Say it reads each number once and writes one number "
        "back for each. The card moves 2.94 · 10¹² bytes a second. How many milliseconds does it take at least?",
        stub="milliseconds = ...  # a number", name="milliseconds",
        hints=(
            "How many bytes does one logit bring with it, there and back?",
            "Count the numbers, then the bytes (read and written), then divide by what the card moves in a second.",
            "16 · 1024 · 50304 numbers, 4 bytes in and 4 bytes out. Divide by 2.94e12, and give milliseconds.",
        ),
        answer=8e3 * 16 * 1024 * 50304 / 2.94e12, another=(2.24, 2.2), tolerance=Tolerance(absolute=0.05),
        wrong=(
            (4e3 * 16 * 1024 * 50304 / 2.94e12, "that's 4 bytes a logit: one way only, or 2 bytes a number? It's 4 in and 4 out"),
            (12e3 * 16 * 1024 * 50304 / 2.94e12, "true, a real softmax reads a row more than once; here each number is read once"),
            (1e3 * 16 * 1024 * 50304 / 2.94e12, "those are numbers: each has 4 bytes"),
            (2e3 * 16 * 1024 * 50304 / 2.94e12, "that counts numbers, read and written: each has 4 bytes"),
            (8 * 16 * 1024 * 50304 / 2.94e12, "right in seconds: milliseconds were wanted"),
            (8e3 * 1024 * 50304 / 2.94e12, "that's one text: there are 16 of them"),
            (8e6 * 16 * 1024 * 50304 / 2.94e12, "those are microseconds: milliseconds were wanted"),
        ),
        right="about 2.2 ms, without a single calculation: moving alone takes that long",
    ),
    Exercise(
        id="05b-amdahl", title="at most", minutes=4, difficulty=2,
        task="A step takes 52.7 ms, and two of its kernels together take 8.8 ms. Someone makes these two infinitely fast and changes nothing else. "
        "How many times faster is the step at most?",
        stub="times_faster = ...  # a number", name="times_faster",
        hints=(
            "What's left of the step when two of its kernels take no time?",
            "Faster by a factor means: the old time over the new time.",
            "The new time is 52.7 − 8.8 ms. Divide the old one by it.",
        ),
        answer=52.7 / (52.7 - 8.8), another=(1.2, 527 / 439), tolerance=Tolerance(relative=0.004, absolute=0.004),
        wrong=(
            (52.7 / 8.8, "that divides by the part that's gone: the rest of the step still has to run"),
            (8.8 / 52.7, "that's the share of the two kernels; how long does the rest take?"),
            (1 - 8.8 / 52.7, "that's new over old: turn it round"),
            (1 + 8.8 / 52.7, "close, but the gain counts against the new time, not the old one"),
            (52.7 - 8.8, "that's the new time in ms: old over new was wanted"),
            (52.7 / (52.7 - 2 * 8.8), "8.8 ms is what the two take together"),
            (100 * 8.8 / (52.7 - 8.8), "that's the gain in per cent: a factor was wanted, old time over new time"),
            (100 * 8.8 / 52.7, "that's the two kernels' share in per cent: how long does the rest take?"),
            (43.9 / 8.8, "that compares the rest with what is gone: old time over new time was wanted"),
        ),
        right="Amdahl's law: what you don't touch sets the limit",
    ),
    Exercise(
        id="05b-roof", title="two clocks", minutes=8, difficulty=2,
        task="Write `least_times(m, k, n, size, peak, bandwidth)` for a product (m, k) @ (k, n). `size` is the bytes of one number; `peak` "
        "is in operations a second, and a multiplication and its addition count as two; `bandwidth` is in bytes a second. Return two "
        "times in seconds: for moving the numbers (both inputs and the result, each once), and for the arithmetic.",
        stub="def least_times(m, k, n, size, peak, bandwidth):\n    return ...  # seconds to move, seconds to compute", name="least_times",
        hints=(
            "Three matrices move. One of them isn't among the inputs.",
            "Each number of the result is a sum of k products. So how many operations are there in all?",
            "`size * (m * k + k * n + …) / bandwidth` and `2 * m * k * n / peak`.",
        ),
        answer=least_times, another=(_roof_by_intensity, _roof_as_list),
        inputs=_product,
        gives=Gives(parts=("moving", "computing")), tolerance=Tolerance(relative=1e-6),
        partial=(
            (_moved(lambda m, k, n: m * k + k * n), "the arithmetic is right; the result, m · n numbers, has to be written, too"),
            (
                lambda m, k, n, size, peak, bandwidth: (least_times(m, k, n, size, peak, bandwidth)[0], m * k * n / peak),
                "the moving is right; a multiplication and its addition are two operations",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: (least_times(m, k, n, size, peak, bandwidth)[0], 2 * k**3 / peak),
                "the moving is right; k³ counts only where all three sides are k",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: ((size * m * k + k * n + m * n) / bandwidth, 2 * m * k * n / peak),
                "the arithmetic is right; `size` multiplies only m · k: put the three matrices in brackets",
            ),
        ),
        wrong=(
            (_moved(lambda m, k, n: m * k * n), "you move m · k · n numbers: that's how many products there are, but the matrices are smaller"),
            (
                lambda m, k, n, size, peak, bandwidth: least_times(m, k, n, 1, peak, bandwidth),
                "each number has `size` bytes, and bandwidth counts bytes",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: least_times(m, k, n, size, peak, bandwidth)[::-1],
                "they're turned round: moving first, computing second",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: least_times(m, k, n, size, bandwidth, peak),
                "the two speeds are swapped: bandwidth is for the bytes, peak for the operations",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: tuple(1e6 * t for t in least_times(m, k, n, size, peak, bandwidth)),
                "those are microseconds: both speeds are per second, so leave them in seconds",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: least_times(m, k, n, 8 * size, peak, bandwidth),
                "that counts bits: `size` and `bandwidth` are both in bytes",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: max(least_times(m, k, n, size, peak, bandwidth)),
                "that's the bound itself: return both times, and we'll take the longer one later",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: sum(least_times(m, k, n, size, peak, bandwidth)),
                "moving and computing overlap, so nobody adds them: return both times",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: (size * (m * k + k * n + m * n) * bandwidth, 2 * m * k * n * peak),
                "you multiply by the speeds: seconds are work divided by speed",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: (
                    least_times(m, k, n, size, peak, bandwidth)[0],
                    (2 * k - 1) * m * n / peak,
                ),
                "strictly true, k products need k - 1 sums; but everyone counts two for each product",
            ),
            (
                lambda m, k, n, size, peak, bandwidth: tuple(1 / t for t in least_times(m, k, n, size, peak, bandwidth)),
                "that's how many products fit into a second: one over that was wanted",
            ),
        ),
        right="two clocks run at once, and the slower one decides",
        ours="bigmodel_lib.viz.roofline:least_times",
    ),
    Exercise(
        id="05b-scaler", title="a loss scaler", minutes=10, difficulty=3,
        task="Write `update_scale(gradients, scale, streak, patience=5)`. The gradients are float16 and already multiplied by `scale`; "
        "`streak` good steps in a row came before. Return three things: whether to take this step (Python's `True` or `False`), the scale for the next step, and the "
        "streak after this one.\n\n"
        "If any gradient is infinite or nan, skip the step, halve the scale, and start the streak from 0. Otherwise take it. When that makes "
        "`patience` good steps in a row, double the scale and start the streak from 0.",
        stub="def update_scale(gradients, scale, streak, patience=5):\n    return ...  # take it?, scale, streak", name="update_scale",
        hints=(
            "There are three cases: something overflowed; all is fine; all is fine for the patience-th time.",
            "PyTorch can ask every number at once whether it's an ordinary one: not infinite, and not nan.",
            "`if not gradients.isfinite().all(): return False, scale / 2, 0`; then count this step, and compare the streak with patience.",
        ),
        answer=update_scale, another=(_scale_by_sum, _scale_by_any),
        inputs=_scaled,
        special=(
            ("an infinity", INFINITE, 1024.0, 3, 5),
            ("a nan", NAN, 1024.0, 3, 5),
            ("the fifth good step", FINE, 1024.0, 4, 5),
            ("the first good step", FINE, 1024.0, 0, 5),
            ("large but finite", _half(60000.0, 60000.0), 1024.0, 0, 5),
            ("large, with both signs", _half(60000.0, -60000.0), 1024.0, 0, 5),
            ("float16's largest", _half(65504.0), 1024.0, 0, 5),
        ),
        gives=Gives(parts=("take it", "scale", "streak")), tolerance=1e-9,
        wrong=(
            (
                _scaler(finite=lambda g: not g.max() > 65504),
                "that notices inf, but neither -inf nor nan (which isn't larger than anything)",
            ),
            (
                _scaler(good=lambda scale, streak, patience: (True, scale * 2, 0) if streak + 1 == 5 else (True, scale, streak + 1)),
                "`patience` is an argument, and it isn't always 5",
            ),
            (_scaler(finite=lambda g: bool(g.sum().isfinite())), "each gradient is fine; only their sum leaves float16: ask every number"),
            (_scaler(finite=lambda g: bool(g.norm().isfinite())), "each gradient is fine; only their norm leaves float16: ask every number"),
            (_scaler(finite=lambda g: bool((g.abs() < 1000).all())), "a large gradient is no overflow: float16 reaches 65,504"),
            (_scaler(finite=lambda g: bool((g.abs() < 65504).all())), "65,504 is float16's largest number, and still fine: an overflow gives inf"),
            (_scaler(finite=lambda g: bool(g.isfinite().any())), "one bad number is enough: all must be finite"),
            (_scaler(finite=lambda g: not ((g == math.inf) | g.isnan()).any()), "-inf is an overflow as well"),
            (_scaler(finite=lambda g: bool(g.max().isfinite())), "the largest says nothing about -inf: ask every number"),
            (_take_as_tensor, "all right, but whether to take the step is a tensor: wrap it in `bool(...)`"),
            (_good_as_tensor, "all right, but for a good step you give a tensor: wrap it in `bool(...)`"),
            (_reordered(lambda taken, scale, streak: (not taken, scale, streak)), "True means: take the step; yours is turned round"),
            (_reordered(lambda taken, scale, streak: (taken, streak, scale)), "the scale comes second and the streak third"),
            (_scaler(finite=lambda g: not g.isinf().any()), "a nan must be noticed, too: inf − inf gives one"),
            (_scaler(finite=lambda g: not g.isnan().any()), "an infinity must be noticed, too"),
            (_scaler(bad=lambda scale, streak, patience: (True, scale / 2, 0)), "after an overflow the step must be skipped: its gradients are rubbish"),
            (_scaler(bad=lambda scale, streak, patience: (False, scale / 2, streak)), "after an overflow the streak starts from 0"),
            (_scaler(bad=lambda scale, streak, patience: (False, scale, 0)), "after an overflow the scale must shrink, or the next step overflows as well"),
            (_scaler(bad=lambda scale, streak, patience: (False, scale * 2, 0)), "an overflow means that the scale was too large: halve it"),
            (
                _scaler(good=lambda scale, streak, patience: (True, scale * 2 if streak + 1 == patience else scale, streak + 1)),
                "once the scale has doubled, the streak starts from 0",
            ),
            (
                _scaler(good=lambda scale, streak, patience: (True, scale * 2, 0) if streak == patience else (True, scale, streak + 1)),
                "when this step is the patience-th good one in a row, the scale doubles; yours doesn't (this step counts, too)",
            ),
            (_scaler(good=lambda scale, streak, patience: (True, scale * 2, 0)), "the scale doubles only after `patience` good steps in a row"),
        ),
        right="it always climbs until something breaks, then steps back",
        ours="bigmodel_lib.exercises.nb05b:update_scale",
    ),
]  # fmt: skip
