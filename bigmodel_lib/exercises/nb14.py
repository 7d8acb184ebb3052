"""The exercises of 14_cost_and_company."""

import numpy as np
import torch
from torch import Tensor

from bigmodel_lib.exercises.engine import Exercise, Tolerance
from bigmodel_lib.viz.company import cash

# 14-step


def step_seconds(
    batch: int, context: int, weights: float, cache: float, flops: float, bandwidth: float, peak: float
) -> float:
    """The least seconds in which a card writes one more token for each of `batch` texts.

    max((weights + batch · context · cache) / bandwidth, batch · flops / peak), with weights in bytes, cache in bytes a
    token, flops a token. Source: Williams et al. 2009. Built by the reader in 14_cost_and_company.
    """
    moving = (weights + batch * context * cache) / bandwidth
    computing = batch * flops / peak
    return max(moving, computing)


def _server(rng):
    batch, context = int(rng.integers(1, 400)), int(rng.integers(1, 5000))
    weights = 10 ** rng.uniform(7.5, 10.5)
    flops = weights * 10 ** rng.uniform(-1, 4)
    cache, bandwidth, peak = rng.uniform(1e3, 2e5), rng.uniform(1e11, 5e12), rng.uniform(1e13, 1e15)
    return batch, context, weights, cache, flops, bandwidth, peak


def _step_by_comparing(batch, context, weights, cache, flops, bandwidth, peak):
    read = weights / bandwidth + batch * context * cache / bandwidth
    return read if read > batch * flops / peak else batch * flops / peak


def _step_by_numpy(batch, context, weights, cache, flops, bandwidth, peak):
    return float(np.max([(weights + cache * batch * context) / bandwidth, flops * batch / peak]))


# 14-quantise


def quantise(w: Tensor, bits: int, group: int) -> Tensor:
    """Round a matrix to a grid: each stretch of `group` numbers down a column has its own scale, its largest / top.

    w' = s · round(w / s) with s = max |w| / (2^(bits-1) - 1). Shapes: (n_in, n_out) -> the same; group divides n_in.
    Source: Dettmers et al. 2022, section 2. Built by the reader in 14_cost_and_company.
    """
    parts = w.reshape(-1, group, w.shape[1])
    top = 2 ** (bits - 1) - 1
    scale = parts.abs().amax(dim=1, keepdim=True) / top
    scale = scale.clamp(min=1e-30)
    return (scale * (parts / scale).round()).reshape(w.shape)


def _matrix(rng):
    group = int(rng.choice([1, 2, 3, 4, 8]))
    shape = group * int(rng.integers(1, 4)), int(rng.integers(1, 5))
    w = rng.normal(scale=rng.choice([0.02, 1.0, 7.0]), size=shape)
    return torch.from_numpy(w).float(), int(rng.integers(2, 9)), group


def _wrong_quantise(top=lambda b: 2 ** (b - 1) - 1, size=lambda x: x.abs().amax(dim=1, keepdim=True), to=torch.round):
    def attempt(w, bits, group):
        parts = w.reshape(-1, group, w.shape[1])
        scale = (size(parts) / top(bits)).clamp(min=1e-30)
        return (scale * to(parts / scale)).reshape(w.shape)

    return attempt


def _along_rows(w, bits, group):
    if w.shape[1] % group == 0:
        return quantise(w.T.contiguous(), bits, group).T
    return quantise(w.T.contiguous(), bits, w.shape[1]).T


def _one_scale(w, bits, group):
    return quantise(w.reshape(-1, 1), bits, w.numel()).reshape(w.shape)


def _integers(w, bits, group):
    parts = w.reshape(-1, group, w.shape[1])
    scale = (parts.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-30)
    return (parts / scale).round().reshape(w.shape)


def _divided_again(w, bits, group):
    parts = w.reshape(-1, group, w.shape[1])
    scale = (parts.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-30)
    return ((parts / scale).round() / scale).reshape(w.shape)


def _across(w, bits, group):
    parts = w.reshape(-1, group)
    scale = (parts.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-30)
    return (scale * (parts / scale).round()).reshape(w.shape)


def _other_stretches(w, bits, group):
    parts = w.reshape(group, -1, w.shape[1])
    scale = (parts.abs().amax(dim=0, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-30)
    return (scale * (parts / scale).round()).reshape(w.shape)


def _quantise_by_factors(w, bits, group):
    parts, top = w.reshape(-1, group, w.shape[1]), 2 ** (bits - 1) - 1
    most = parts.abs().max(dim=1, keepdim=True)[0]
    most[most == 0] = 1
    return torch.round(parts * top / most).mul(most / top).reshape(w.shape)


def _without_care_for_0(w, bits, group):
    parts = w.reshape(-1, group, w.shape[1])
    scale = parts.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    return (scale * (parts / scale).round()).reshape(w.shape)


def _shared_by_columns(w, bits, group):
    parts = w.reshape(-1, group, w.shape[1])
    scale = (parts.abs().amax(dim=(1, 2), keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-30)
    return (scale * (parts / scale).round()).reshape(w.shape)


def _quantise_by_loops(w, bits, group):
    out = torch.zeros_like(w)
    for column in range(w.shape[1]):
        for start in range(0, w.shape[0], group):
            piece = w[start : start + group, column]
            scale = piece.abs().max() / (2 ** (bits - 1) - 1)
            if scale > 0:
                out[start : start + group, column] = torch.round(piece / scale) * scale
    return out


def _quantise_by_chunks(w, bits, group):
    def rounded(piece):
        scale = piece.abs().max(dim=0).values / (2 ** (bits - 1) - 1)
        return torch.where(scale > 0, (piece / torch.where(scale > 0, scale, 1.0)).round() * scale, 0.0)

    return torch.cat([rounded(piece) for piece in w.split(group)])


# 14-cash


def _a_plan(rng):
    plan = dict(price=rng.uniform(0.01, 0.1), requests=float(rng.integers(1, 500) * 1000), growth=rng.uniform(0, 0.2))
    plan |= dict(fall=rng.uniform(0, 0.06), cost=rng.uniform(0, 0.05), fixed=float(rng.integers(1, 90) * 1000))
    return {**plan, "one_off": float(rng.integers(1, 90) * 1000)}, int(rng.integers(1, 30))


def _cash_by_loop(plan, months):
    line, n, worth = [-plan["one_off"]], plan["requests"], 1.0
    for _ in range(months):
        line.append(line[-1] + n * (plan["price"] - plan["cost"]) * worth - plan["fixed"])
        n, worth = n * (1 + plan["growth"]), worth * (1 - plan["fall"])
    return np.array(line)


def _cash_by_sums(plan, months):
    m = np.arange(months)
    n = plan["requests"] * np.power(1 + plan["growth"], m)
    worth = np.power(1 - plan["fall"], m)
    flows = n * plan["price"] * worth - n * plan["cost"] * worth - plan["fixed"]
    return np.array([flows[:k].sum() - plan["one_off"] for k in range(months + 1)])


def _wrong_cash(margin=None, volume=None, flows=None, start=lambda plan: -plan["one_off"], shift=0):
    """The cash with one thing changed."""

    def attempt(plan, months):
        m = np.arange(months) + shift
        n = volume(plan, m) if volume else plan["requests"] * (1 + plan["growth"]) ** m
        each = margin(plan, m) if margin else (plan["price"] - plan["cost"]) * (1 - plan["fall"]) ** m
        monthly = flows(plan, n, each) if flows else n * each - plan["fixed"]
        return np.cumsum(np.concatenate([[start(plan)], monthly]))

    return attempt


def _paid_back(plan, months):
    return np.append(-plan["one_off"], cash(plan, months)[1:] + plan["one_off"])


EXERCISES = [
    Exercise(
        id="14-hours", title="how long, on one card?", minutes=4, difficulty=1,
        task="A model of 1 billion parameters is to read 20 billion tokens. Your card reaches 400 · 10¹² operations a second, all things considered. How many *hours* does it take?",
        stub="hours = ...  # a number", name="hours",
        hints=(
            "How many operations does a parameter cost, for each token that the model learns from?",
            "Operations are 6 N D. Divide by what the card does in a second. Which unit does that give you, and which one was asked for?",
            "6 · 10⁹ · 20 · 10⁹ = 1.2 · 10²⁰ operations, at 4 · 10¹⁴ a second; an hour has 3,600 seconds.",
        ),
        answer=1.2e20 / 4e14 / 3600, another=(83.3, 83), tolerance=0.7,
        wrong=(
            (27.78, "that's the forward pass alone, 2 N D: the backward pass costs twice as much again"),
            (55.56, "that's the backward pass alone: forward and backward together are 6 N D"),
            (500.0, "6 is in N D already: 1.2 · 10²⁰ are all operations, forward and backward"),
            (13.89, "each parameter takes part 6 times for each token: yours counts once"),
            (1.2e20, "those are the operations: divide by what the card does in a second"),
            (300_000.0, "those are seconds: an hour has 3,600"),
            (5000.0, "those are minutes: hours were asked for"),
            (3.472, "those are days: hours were asked for"),
            (33.7, "that's at the card's peak, which nobody reaches: the task says 400 · 10¹²"),
        ),
        right="1.2 · 10²⁰ operations are three and a half days of one card",
    ),
    Exercise(
        id="14-step", title="one step of a server", minutes=8, difficulty=2,
        task="A server writes one more token for each of `batch` texts, all in one step. Write `step_seconds(batch, context, weights, cache, flops, bandwidth, peak)`, the least time "
        "that it can take. The step reads all weights *once* (`weights` bytes) and the whole cache of *each* text (`context` tokens, `cache` bytes a token), at `bandwidth` bytes a second. It computes "
        "`flops` operations for each text, at `peak` operations a second. Reading and computing go on at the same time, so the slower one sets the pace.",
        stub="def step_seconds(batch, context, weights, cache, flops, bandwidth, peak):\n    return ...  # seconds", name="step_seconds",
        hints=(
            "There are two clocks, one for reading and one for computing. Which parts of each grow with the batch?",
            "Reading: weights don't grow with the batch, the cache does, and with the context too. Computing: every text costs the same again.",
            "moving = (weights + batch * context * cache) / bandwidth, computing = batch * flops / peak, and the larger of the two.",
        ),
        answer=step_seconds, another=(_step_by_comparing, _step_by_numpy), inputs=_server, tolerance=Tolerance(relative=1e-6),
        special=(
            ("one text, which waits for memory", 1, 100, 2e9, 1e5, 2e9, 1e12, 1e14),
            ("so many texts that arithmetic sets the pace", 900, 10, 2e9, 1e3, 2e9, 1e12, 1e14),
            ("a processor that is slow at arithmetic", 4, 10, 2e9, 1e3, 2e9, 1e12, 1e11),
        ),
        partial=(
            (lambda b, t, w, c, f, bw, p: (w + b * t * c) / bw, "where memory sets the pace it's right; arithmetic may be slower: take the larger of the two times"),
            (lambda b, t, w, c, f, bw, p: max(w / bw, b * f / p), "where the cache is small it's right; the cache of every text has to be read, too: batch · context · cache bytes"),
            (lambda b, t, w, c, f, bw, p: b * f / p, "where arithmetic sets the pace it's right; at small batches memory does: weights and caches over bandwidth"),
        ),
        wrong=(
            (lambda b, t, w, c, f, bw, p: (w + b * t * c) / bw + b * f / p, "you added the two times: they go on at once, so the slower one counts"),
            (lambda b, t, w, c, f, bw, p: min((w + b * t * c) / bw, b * f / p), "the step isn't done before both are: take the larger, not the smaller"),
            (lambda b, t, w, c, f, bw, p: max(b * (w + t * c) / bw, b * f / p), "the weights are read once for the whole batch: only the caches grow with it"),
            (lambda b, t, w, c, f, bw, p: max((w + t * c) / bw, b * f / p), "each text has a cache of its own: batch is missing there"),
            (lambda b, t, w, c, f, bw, p: max((w + b * c) / bw, b * f / p), "a cache holds `context` tokens: that factor is missing"),
            (lambda b, t, w, c, f, bw, p: max((w + b * t * c) / bw, f / p), "each text computes its own token: batch is missing in the arithmetic"),
            (lambda b, t, w, c, f, bw, p: max(w / bw, b * t * c / bw, b * f / p), "weights and caches come over the same wire: add their bytes before you divide"),
            (lambda b, t, w, c, f, bw, p: max((w + b * t * c) / bw, b * t * f / p), "each text writes one token: its operations aren't multiplied by the context"),
            (lambda b, t, w, c, f, bw, p: b / step_seconds(b, t, w, c, f, bw, p), "those are tokens a second: the seconds of one step were asked for"),
            (lambda b, t, w, c, f, bw, p: step_seconds(b, t, w, c, f, bw, p) / b, "that's the time for each text: the whole step was asked for"),
            (lambda b, t, w, c, f, bw, p: max((w + b * t * c) * bw, b * f * p), "bytes times bytes a second aren't seconds: divide"),
            (lambda b, t, w, c, f, bw, p: max(w + b * t * c / bw, b * f / p), "brackets: the weights are divided by bandwidth, too"),
            (lambda b, t, w, c, f, bw, p: max((w + t * c) / bw, f / p), "batch is in neither clock: each text has a cache of its own, and computes a token of its own"),
            (lambda b, t, w, c, f, bw, p: max((w + b * t * c) / bw, t * f / p), "each text computes one token: its operations are multiplied by batch, not by context"),
        ),
        right="weights are read once however many texts share the step, and that is why servers batch",
        ours="bigmodel_lib.exercises.nb14:step_seconds",
    ),
    Exercise(
        id="14-quantise", title="round to a grid", minutes=12, difficulty=3,
        task="Write `quantise(w, bits, group)`. A matrix `w` (n_in, n_out) is cut into stretches of `group` numbers *down each column*. Each stretch gets its own scale: its largest absolute value, divided by "
        "top = 2^(bits − 1) − 1. Numbers become whole multiples of their scale, the nearest ones. Return the rounded matrix, as plain numbers, with the shape of `w`. A stretch of zeros stays zeros.\n\n"
        "`group` divides n_in, so `w.reshape(-1, group, n_out)` puts the stretches of a column along axis 1. You may want `x.abs()`, `x.amax(dim=…, keepdim=True)`, `x.round()` and `x.clamp(min=…)`.",
        stub="def quantise(w, bits, group):\n    # (n_in, n_out) -> (n_in, n_out)\n    return ...", name="quantise",
        hints=(
            "Think of one stretch of numbers. What do you divide by to make the largest one `top`? And how do you come back after rounding?",
            "After the reshape, the scales have shape (n_in / group, 1, n_out): `amax` over axis 1, with keepdim. Where a scale is 0, dividing gives nan.",
            "parts = w.reshape(...), scale = (parts.abs().amax(dim=1, keepdim=True) / top).clamp(min=1e-30), then scale * (parts / scale).round(), back in the old shape.",
        ),
        answer=quantise, another=(_quantise_by_loops, _quantise_by_chunks, _quantise_by_factors), inputs=_matrix, tolerance=Tolerance(relative=1e-4, absolute=1e-6),
        special=(
            ("a stretch of zeros", torch.tensor([[0.0, 1.0], [0.0, -3.0], [2.0, 0.0], [-0.9, 0.0]]), 4, 2),
            ("one stretch a column", torch.tensor([[1.0, -8.0], [0.26, 2.2], [-0.7, 1.0]]), 3, 3),
        ),
        partial=(
            (_without_care_for_0, "it's right but for a stretch of zeros: its scale is 0, and 0 / 0 is nan"),
            (lambda w, b, g: quantise(w, b, w.shape[0]), "where one stretch fills the column it's right; elsewhere each stretch of `group` numbers has a scale of its own"),
        ),
        wrong=(
            (_one_scale, "you gave the whole matrix one scale: each stretch has its own"),
            (_along_rows, "your stretches run along the rows: they go down each column"),
            (_shared_by_columns, "your columns share their scales: keep axis 2 apart, and take the largest over axis 1 alone"),
            (_wrong_quantise(top=lambda b: 2 ** (b - 1)), "top is 2^(bits−1) − 1: with 4 bits the numbers go from −7 to 7"),
            (_wrong_quantise(top=lambda b: 2**b - 1), "one bit is for the sign: top is 2^(bits−1) − 1"),
            (_wrong_quantise(top=lambda b: 2**b - 1 - 1), "brackets: 2 ** (bits - 1) - 1"),
            (_wrong_quantise(size=lambda x: x.amax(dim=1, keepdim=True).abs()), "the largest *absolute* value sets the scale: a stretch may have its largest number below 0"),
            (_wrong_quantise(size=lambda x: x.amax(dim=1, keepdim=True)), "take abs() before amax: where all numbers of a stretch are below 0, your scale is, too"),
            (_wrong_quantise(size=lambda x: x.abs().amax(dim=2, keepdim=True)), "axis 1 holds the stretch: you took the largest over the columns"),
            (_across, "your stretches run across columns: keep w.shape[1] as the last axis"),
            (_wrong_quantise(size=lambda x: x.abs().mean(dim=1, keepdim=True)), "the *largest* absolute value sets the scale: yours is the mean"),
            (_wrong_quantise(lambda b: 2**b - 1, lambda x: x.amax(1, True) - x.amin(1, True)), "your grid goes from the smallest to the largest number: here it lies around 0, and the largest absolute value sets it"),
            (_other_stretches, "with reshape(group, -1, …), numbers that are far apart share a scale: stretches are neighbours, so -1 comes first"),
            (_wrong_quantise(to=torch.floor), "you rounded down: the nearest multiple was wanted"),
            (_wrong_quantise(to=torch.trunc), "you cut the decimals off, as int does: the nearest multiple was wanted"),
            (_integers, "yours are the integers: multiply by the scale again"),
            (_divided_again, "multiply by the scale to come back: you divided once more"),
            (lambda w, b, g: w.clone(), "nothing was rounded"),
        ),
        right="each stretch keeps its largest number exactly, and no other is off by more than half a scale",
        ours="bigmodel_lib.exercises.nb14:quantise",
    ),
    Exercise(
        id="14-break-even", title="the break-even volume", minutes=3, difficulty=1,
        task="A request brings 4 cents and costs 1.5 cents. Salaries and rent are 30,000 dollars a month. How many requests a month does it take to lose nothing?",
        stub="break_even = ...  # requests a month", name="break_even",
        hints=(
            "What is left of each request, once its own cost is paid?",
            "All the margins together have to pay the bills that come even if nobody asks.",
            "Each request leaves 0.04 − 0.015 = 0.025 dollars towards the 30,000.",
        ),
        answer=1_200_000, another=(1.2e6, 30_000 / 0.025), tolerance=Tolerance(relative=4e-4),
        wrong=(
            (750_000, "you divided by the price: a request costs something, too, and only the margin is left"),
            (2_000_000, "you divided by the cost: it's the margin, price minus cost, that pays the fixed costs"),
            (545_454.5, "you added price and cost: the cost is taken away from the price"),
            (28_800_000, "that's for two years: a month was asked for"),
            (1.2, "right in millions: give the number of requests"),
            (1_200, "you're a factor of 1,000 off: 30,000 / 0.025"),
            (12_000, "you mixed cents and dollars: 2.5 cents are 0.025 dollars"),
            (14_400_000, "that's for a year: a month was asked for"),
            (40_000, "that's for one day: a month was asked for"),
        ),
        right="fixed costs over margin",
    ),
    Exercise(
        id="14-cash", title="two years of cash", minutes=8, difficulty=2,
        task="Write `cash(plan, months)`. `plan` has `price` and `cost` of a request, `requests` in the first month, their `growth` a month, the `fall` of prices a month, `fixed` costs a month, and `one_off`, which is paid at the start.\n\n"
        "In month m = 0, 1, 2, … there are requests · (1 + growth)^m requests. Price and cost are both (1 − fall)^m of what they were. Return an array of months + 1 numbers: the cash at the start, which is −one_off, and after each month.",
        stub="def cash(plan, months):\n    return ...  # (months + 1,)", name="cash",
        hints=(
            "First the flow of each month, then the running sum. What comes before the first month?",
            "`m = np.arange(months)` makes all months at once. The flow is requests times margin, minus fixed. `np.cumsum` sums up.",
            "np.cumsum(np.concatenate([[-plan['one_off']], n * margin - plan['fixed']])), with n and margin as arrays over m.",
        ),
        answer=cash, another=(_cash_by_loop, _cash_by_sums), inputs=_a_plan, tolerance=Tolerance(relative=1e-6, absolute=0.01),
        wrong=(
            (_wrong_cash(shift=1), "your first month has already grown: m begins with 0"),
            (_wrong_cash(start=lambda plan: 0.0), "what is paid at the start is missing: the first number is −one_off"),
            (_wrong_cash(start=lambda plan: plan["one_off"]), "what is paid at the start is money that leaves: −one_off"),
            (_wrong_cash(volume=lambda plan, m: plan["requests"] * (1 + plan["growth"] * m)), "growth compounds: (1 + growth)^m, not 1 + growth · m"),
            (_wrong_cash(volume=lambda plan, m: plan["requests"] * plan["growth"] ** m), "growth is what is added: (1 + growth)^m, not growth^m"),
            (_wrong_cash(volume=lambda plan, m: plan["requests"] + 0 * m), "requests grow from month to month: yours stay"),
            (_wrong_cash(margin=lambda plan, m: plan["price"] * (1 - plan["fall"]) ** m - plan["cost"]), "the cost of a request falls as prices do: yours stays"),
            (_wrong_cash(margin=lambda plan, m: plan["price"] - plan["cost"] * (1 - plan["fall"]) ** m), "the price of a request falls as its cost does: yours stays"),
            (_wrong_cash(margin=lambda plan, m: (plan["price"] - plan["cost"]) * (1 - plan["fall"] * m)), "prices fall by a share of what's left: (1 − fall)^m, not 1 − fall · m"),
            (_wrong_cash(margin=lambda plan, m: (plan["price"] - plan["cost"]) / (1 + plan["fall"]) ** m), "you divided by (1 + fall)^m, which falls a little less: multiply by (1 − fall)^m"),
            (_wrong_cash(margin=lambda plan, m: plan["price"] - plan["cost"] + 0 * m), "price and cost fall by (1 − fall)^m: yours stay"),
            (_wrong_cash(margin=lambda plan, m: plan["price"] * (1 - plan["fall"]) ** m), "the cost of a request is missing"),
            (_wrong_cash(flows=lambda plan, n, each: n * each), "the fixed costs are missing: they are due each month"),
            (_wrong_cash(flows=lambda plan, n, each: n * each + plan["fixed"]), "the fixed costs are paid, not earned: subtract them"),
            (_wrong_cash(flows=lambda plan, n, each: n * each - plan["fixed"] * (1 - plan["fall"]) ** np.arange(len(n))), "salaries don't fall with the prices: fixed costs stay as they are"),
            (lambda plan, months: cash({**plan, "fixed": 12 * plan["fixed"]}, months), "the fixed costs are those of a month: yours are a year's"),
            (_paid_back, "what was paid at the start stays paid: let the running sum begin with it"),
            (lambda plan, months: cash(plan, months + 1)[1:], "the start comes before month 0: let −one_off stand alone in front"),
            (lambda plan, months: cash(plan, months)[1:], "the start is missing: months + 1 numbers, of which the first is −one_off"),
            (lambda plan, months: np.diff(cash(plan, months), prepend=0.0), "those are the flows: sum them up"),
            (lambda plan, months: cash(plan, months)[-1], "that's the end alone: the cash after each month was wanted"),
        ),
        right="two years of a company in four lines",
        ours="bigmodel_lib.viz.company:cash",
    ),
    Exercise(
        id="14-fine-tune", title="when does fine-tuning beat prompting?", minutes=5, difficulty=2,
        task="With a long prompt, a request costs you 0.7 cents at somebody's API. A small fine-tuned model would cost 28,800 dollars once, then 2,400 dollars a month for its card and 0.1 cents a request. You plan for 24 months, with the same number of requests each month. "
        "From which *monthly API bill* on, in dollars, is fine-tuning cheaper?",
        stub="api_bill = ...  # dollars a month", name="api_bill",
        hints=(
            "First find the number of requests at which both cost the same. What does the fine-tuned model cost each month even without requests?",
            "Spread the 28,800 over 24 months. Each request saves 0.007 − 0.001 dollars. And the question isn't about requests.",
            "(1,200 + 2,400) / 0.006 requests a month, times 0.007 dollars.",
        ),
        answer=4200, another=(4200.0, 600_000 * 0.007), tolerance=Tolerance(relative=1e-3),
        wrong=(
            (600_000, "that's the number of requests: what would they cost at the API?"),
            (420_000, "those are cents: dollars were asked for"),
            (2800, "you left out what is paid once: 28,800 over 24 months are 1,200 a month"),
            (3600, "that's what fine-tuning costs without a single request: its requests cost something, too"),
            (36_400, "the 28,800 are paid once, not every month: spread them over 24 months"),
            (1400, "the card's rent is missing, 2,400 a month"),
            (100_800, "that's for 24 months: a month was asked for"),
            (600, "that's what the fine-tuned model's requests cost: the API's bill was asked for"),
            (3150, "each request saves 0.007 − 0.001, not 0.007 + 0.001"),
        ),
        right="600,000 requests a month: below that the API is cheaper, whatever the price list of the cards says",
    ),
    Exercise(
        id="14-planted", title="one line is wrong", minutes=8, difficulty=2,
        task="A founder shows you this plan. One line is wrong. Which?\n\n"
        "- **A** We start with 300,000 requests a month and grow by 8 % a month: 755,000 in month 13.\n"
        "- **B** A request has 1,500 tokens in, at 2.50 dollars a million, and 300 out, at 10 dollars: 0.675 cents.\n"
        "- **C** At 5 cents a request and 24,000 dollars of fixed costs, the first month breaks even at 555,000 requests.\n"
        "- **D** Our own model, 8 billion parameters on 160 billion tokens: 6 N D = 7.7 · 10²¹. The card does 989 · 10¹² a second, so 2,160 hours of one card: 5,400 dollars, at 2.50 an hour.\n"
        "- **E** In bfloat16 it takes 16 GB. A card of 80 GB has 64 GB left for caches: at 131,072 bytes a token and 1,800 tokens a request, 271 requests at a time.\n"
        "- **F** If prices fall by 2 % a month, our 5 cents are 3.1 cents after two years.",
        stub="wrong_line = ...  # one letter", name="wrong_line",
        hints=(
            "Recompute each line. Five of them are right to the last digit, and the sixth has its digits right, too.",
            "Look at what each line divides by, and ask whether anybody has ever measured that.",
            "Which line uses a number from a data sheet where this notebook measured less than half of it?",
        ),
        answer="D", another=("d", "D."),
        wrong=(
            ("A", "1.08¹² is 2.518, and month 13 is twelve months after the first: that line is right"),
            ("B", "1,500 · 2.50 + 300 · 10, over a million: that line is right"),
            ("C", "24,000 / (0.05 − 0.00675) = 554,913: that line is right"),
            ("E", "64 · 10⁹ / (131,072 · 1,800) = 271: that line is right"),
            ("F", "0.05 · 0.98²⁴ = 0.0308: that line is right"),
        ),
        right="989 · 10¹² is the peak. One H100 reached 44 % of it in notebook 05, many cards reach less; and trials, storage and traffic come on top",
    ),
]  # fmt: skip
