"""The exercises of 05_pytorch_gpu."""

import copy
import math
import weakref
from unittest import mock

import torch
from torch import nn

from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance, Wrong, close

# 05-merge


def partial_softmax(q, k, v, hidden=None):
    """What a block of keys alone knows: (m, s, y) = (max score, Σ e^(score - m), Σ e^(score - m) v) for each query."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    m = scores.amax(dim=-1, keepdim=True)
    powers = (scores - m).exp()
    return m, powers.sum(dim=-1, keepdim=True), powers @ v


def merge_softmax(first, second):
    """Two blocks' reports as one: both are brought to the common maximum, then added (Milakov & Gimelshein 2018)."""
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = torch.maximum(m1, m2)
    shrink1, shrink2 = (m1 - m).exp(), (m2 - m).exp()
    return m, shrink1 * s1 + shrink2 * s2, shrink1 * y1 + shrink2 * y2


def _two_blocks(rng):
    """What two blocks of keys have left for the same queries, each (m, s, y); at times the notebook's own example."""
    if rng.integers(4) == 0:
        keys, values = torch.tensor([[1.0], [3.0], [2.0], [5.0]]), torch.tensor([[10.0], [20.0], [30.0], [40.0]])
        one = torch.ones(1, 1)
        return partial_softmax(one, keys[:2], values[:2]), partial_softmax(one, keys[2:], values[2:])
    lead = ((), (2,), (2, 3))[rng.integers(3)]
    n_queries, width, n_first, n_second = rng.integers(1, 6, size=4)
    q, k, v = (
        torch.from_numpy(rng.normal(scale=2.0, size=(*lead, length, width))).float()
        for length in (n_queries, n_first + n_second, n_first + n_second)
    )
    return (
        partial_softmax(q, k[..., :n_first, :], v[..., :n_first, :]),
        partial_softmax(q, k[..., n_first:, :], v[..., n_first:, :]),
    )


def _left(m, s, y):
    """(m, s, y) of one query."""
    return torch.tensor([[m]]), torch.tensor([[s]]), torch.tensor([y])


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


def _merge_finished_averages(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = torch.maximum(m1, m2)
    a, b = s1 * (m1 - m).exp(), s2 * (m2 - m).exp()
    return m, a + b, a * (y1 / s1) + b * (y2 / s2)


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


def _with_factors(factors):
    """The merge with two other factors, made of (m1, m2, m)."""

    def wrong(first, second):
        (m1, s1, y1), (m2, s2, y2) = first, second
        m = torch.maximum(m1, m2)
        f1, f2 = factors(m1, m2, m)
        return m, f1 * s1 + f2 * s2, f1 * y1 + f2 * y2

    return wrong


def _second_taken_as_maximum(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    return m2, s1 * (m1 - m2).exp() + s2, y1 * (m1 - m2).exp() + y2


def _first_taken_as_maximum(first, second):
    return _second_taken_as_maximum(second, first)


def _parts_in_another_order(first, second):
    m, s, y = merge_softmax(first, second)
    return s, m, y


def _pythons_max(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    m = max(m1, m2)
    return m, s1 * (m1 - m).exp() + s2 * (m2 - m).exp(), y1 * (m1 - m).exp() + y2 * (m2 - m).exp()


def _softmax_of_the_maxima(first, second):
    (m1, s1, y1), (m2, s2, y2) = first, second
    share = torch.sigmoid(m1 - m2)
    return torch.maximum(m1, m2), share * s1 + (1 - share) * s2, share * y1 + (1 - share) * y2


# Whose graphs are alive


class _Mark:
    """Something that a weak reference can watch."""


class _Graphs:
    """Watches the graphs of a run of forward passes: which are in memory, and which still keep tensors.

    A mark hangs on a node and dies with it; what the graph keeps for backward() is packed into marks, too, which
    backward() lets go. Both are watched from outside, so they keep nothing alive.
    """

    def __init__(self):
        self._nodes, self._kept = [], []
        self.most_alive = self.most_full = 0

    def begin(self):
        """Another forward pass begins: how many of the earlier ones are still there? (Without gradients none begins.)"""
        if not torch.is_grad_enabled():
            return
        self.most_alive = max(self.most_alive, sum(node() is not None for node in self._nodes))
        self.most_full = max(self.most_full, sum(any(mark() for mark in marks) for marks in self._kept))
        self._kept.append([])

    def packing(self):
        """The context in which a forward pass is to run, so that what it keeps is watched."""

        def pack(tensor):
            mark = _Mark()
            mark.tensor = tensor
            self._kept[-1].append(weakref.ref(mark))
            return mark

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda mark: mark.tensor)

    def end(self, result):
        """The forward pass has given this."""
        if result.grad_fn is None:
            return result
        mark = _Mark()
        result.grad_fn.register_hook(lambda *_, mark=mark: None)
        self._nodes.append(weakref.ref(mark))
        return result


CHAIN = (
    "what you add up still holds its graph: backward() has emptied it, but all steps stay linked, and the chain gets longer "
    "with every one; `detach()` each loss before you add it"
)


# 05-device

BOTH_ENDS = "two tensors met on different devices: the model, x and y all have to go to `device`"
WAITS = "your function waits for the device: something in it asks for a number (`.item()`, `float()`, `print`, an `if`)"
FETCHES = "your function fetches a tensor from the device (`.cpu()`, `.tolist()`, `.numpy()`), and has to wait for it"


def train_on(device, model, batches):
    """Train for one step a batch, without waiting for the device; the mean loss is a tensor that is still there."""
    model = model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    total = torch.zeros((), device=device)
    for x, y in batches:
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return total / len(batches)


def _with_a_list(device, model, batches):
    model.to(device)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for pair in batches:
        x, y = (part.to(device) for part in pair)
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean()


def _looked_at_again(device, model, batches):
    model, seen = model.to(device), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches:
        x, y = x.to(device), y.to(device)
        with torch.no_grad():
            seen.append(nn.functional.mse_loss(model(x), y))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return sum(seen) / len(seen)


def _moved_beforehand(device, model, batches):
    batches = [(x.to(device), y.to(device)) for x, y in batches]
    model, mean = model.to(device), 0.0
    for x, y in batches:
        loss = ((model(x) - y) ** 2).mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for w in model.parameters():
                w -= 0.1 * w.grad
        mean = mean + loss.detach() / len(batches)
    return mean


def _loop(move_model=True, move_batch=True, note=torch.Tensor.detach, empty=True, step=True, mean=None):
    """`train_on` with something done wrong."""

    def wrong(device, model, batches):
        model = model.to(device) if move_model else model
        optimizer, noted = torch.optim.SGD(model.parameters(), lr=0.1), []
        for x, y in batches:
            if move_batch:
                x, y = x.to(device), y.to(device)
            loss = (model(x) - y).square().mean()
            if empty:
                optimizer.zero_grad()
            loss.backward()
            if step:
                optimizer.step()
            noted.append(note(loss))
        return mean(noted, device) if mean else sum(noted) / len(noted)

    return wrong


def _check_train_on(attempt):
    for seed, n_batches in ((0, 1), (1, 3), (2, 4)):
        draws = torch.Generator().manual_seed(seed)
        model = nn.Linear(3, 2)
        with torch.no_grad():
            for w in model.parameters():
                w.normal_(generator=draws)
        batches = [(torch.randn(5, 3, generator=draws), torch.randn(5, 2, generator=draws)) for _ in range(n_batches)]
        _judge_run(attempt, model, batches)
    _run_on_shapes(attempt, copy.deepcopy(model), batches)
    return "three places to move to the device, and nothing in the loop that waits for it"


def _judge_run(attempt, model, batches):
    """On the CPU: the mean loss, the trained weights, and which graphs were in memory."""
    mine, right, graphs = copy.deepcopy(model), copy.deepcopy(model), _Graphs()
    mine.register_forward_pre_hook(lambda *_: graphs.begin())
    mine.register_forward_hook(lambda _, given, result: graphs.end(result))
    losses = [train_on("cpu", right, [batch]).item() for batch in batches]
    given = attempt(torch.device("cpu"), mine, batches)
    if isinstance(given, (int, float)):
        raise Wrong(
            f"a tensor on the device was wanted, yours gives the plain number {given:.4g}: to know that, the host had to wait"
        )
    if not isinstance(given, torch.Tensor) or given.numel() != 1:
        raise Wrong(f"one number in a tensor was wanted, yours gives {type(given).__name__}")
    if given.requires_grad or graphs.most_alive > 1:
        raise Wrong(CHAIN)
    _judge_weights(mine, model, right)
    _judge_mean(given.item(), losses, len(batches[0][0]))


def _judge_weights(given, before, wanted):
    """Whether the weights are where one step a batch takes them."""

    def equal(one, other):
        return all(close(a, b, 1e-5) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    if equal(given, before):
        raise Wrong("the weights haven't moved: each batch ends with `optimizer.step()`")
    if not equal(given, wanted):
        raise Wrong(
            "the weights aren't where one step a batch would take them: does each batch begin with empty gradients, and end with one step?"
        )


def _judge_mean(given, losses, rows):
    """Whether it is the mean of these losses; if not, what it is."""
    total, count = sum(losses), len(losses)
    if close(given, total / count, 1e-5):
        return
    named = {
        total: "that's the sum of the losses: divide it by the number of batches",
        total
        / rows: "divide by the number of batches, not by that of the rows: each loss is a mean of its rows already",
        losses[-1]: "that's the last batch's loss alone",
        losses[0]: "that's the first batch's loss alone",
    }
    said = next((words for value, words in named.items() if close(given, value, 1e-5)), f"yours gives {given:.4g}")
    which = "this one batch" if count == 1 else f"these {count} batches"
    raise Wrong(f"the weights are right; the mean loss of {which} is {total / count:.4g}, and {said}")


def _run_on_shapes(attempt, model, batches):
    """On PyTorch's device "meta", whose tensors have a shape and no numbers: nothing can be fetched from there."""

    def shown(*_):
        raise RuntimeError("item(), to be printed")

    try:
        with mock.patch.multiple(torch.Tensor, __repr__=shown, __format__=shown):
            given = attempt(torch.device("meta"), model, batches)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        said = str(error)
        for fragment, words in (("item()", WAITS), ("is not on the expected device", BOTH_ENDS), ("meta", FETCHES)):
            if fragment in said:
                raise Wrong(words) from None
        raise
    if any(w.device.type != "meta" for w in model.parameters()):
        raise Wrong("it computes on the CPU whatever `device` says: move the model, x and y with `.to(device)`")
    if given.device.type != "meta":
        raise Wrong("the mean loss isn't on the device: what you add the losses to has to be there, too")


# 05-pieces


def accumulate(loss_of, x, y, n_pieces):
    """Leave a whole batch's gradient in `.grad`, with one piece's activations in memory at a time; returns its loss."""
    total = 0.0
    for x_i, y_i in zip(x.chunk(n_pieces), y.chunk(n_pieces), strict=True):
        loss = loss_of(x_i, y_i) * len(x_i) / len(x)
        loss.backward()
        total = total + loss.detach()
    return total


def _accumulate_by_rows(loss_of, x, y, n_pieces):
    size, losses = -(-len(x) // n_pieces), []
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        loss = loss_of(x[part], y[part])
        (loss * (len(x[part]) / len(x))).backward()
        losses.append(loss.item() * len(x[part]))
    return sum(losses) / len(x)


def _accumulate_and_look_again(loss_of, x, y, n_pieces):
    total = 0.0
    for x_i, y_i in zip(x.chunk(n_pieces), y.chunk(n_pieces), strict=True):
        share = len(x_i) / len(x)
        loss = loss_of(x_i, y_i) * share
        with torch.no_grad():
            total = total + loss_of(x_i, y_i) * share
        loss.backward()
    return total


def _accumulate_by_gradient(loss_of, x, y, n_pieces):
    total = torch.zeros(())
    for x_i, y_i in zip(torch.tensor_split(x, n_pieces), torch.tensor_split(y, n_pieces), strict=True):
        if len(x_i):
            loss = loss_of(x_i, y_i)
            loss.backward(torch.tensor(len(x_i) / len(x)))
            total += loss.detach() * len(x_i) / len(x)
    return total


def _pieces(weigh, back=True, keep=torch.Tensor.detach, chunk=torch.Tensor.chunk):
    """`accumulate` with something done wrong."""

    def wrong(loss_of, x, y, n_pieces):
        total = 0.0
        for x_i, y_i in zip(chunk(x, n_pieces), chunk(y, n_pieces), strict=True):
            loss = loss_of(x_i, y_i) * weigh(x_i, x, n_pieces)
            if back:
                loss.backward()
            total = total + keep(loss)
        return total

    return wrong


def _fair(x_i, x, n_pieces):
    return len(x_i) / len(x)


def _one_backward_at_the_end(loss_of, x, y, n_pieces):
    pieces = zip(x.chunk(n_pieces), y.chunk(n_pieces), strict=True)
    total = sum(loss_of(x_i, y_i) * len(x_i) / len(x) for x_i, y_i in pieces)
    total.backward()
    return total.detach()


def _kept_to_the_end(loss_of, x, y, n_pieces):
    return _pieces(_fair, keep=lambda loss: loss)(loss_of, x, y, n_pieces).detach()


def _last_piece_alone(loss_of, x, y, n_pieces):
    for x_i, y_i in zip(x.chunk(n_pieces), y.chunk(n_pieces), strict=True):
        loss = loss_of(x_i, y_i)
    loss.backward()
    return loss.detach()


def _all_at_once(loss_of, x, y, n_pieces):
    loss = loss_of(x, y)
    loss.backward()
    return loss.detach()


def _with_graphs_kept(keep):
    """`accumulate` that goes back with retain_graph, and keeps what `keep` makes of each loss."""

    def wrong(loss_of, x, y, n_pieces):
        kept = []
        for x_i, y_i in zip(x.chunk(n_pieces), y.chunk(n_pieces), strict=True):
            loss = loss_of(x_i, y_i) * len(x_i) / len(x)
            loss.backward(retain_graph=True)
            kept.append(keep(loss))
        return sum(kept).detach()

    return wrong


def _loss_not_weighed(loss_of, x, y, n_pieces):
    total = 0.0
    for x_i, y_i in zip(x.chunk(n_pieces), y.chunk(n_pieces), strict=True):
        loss = loss_of(x_i, y_i)
        (loss * len(x_i) / len(x)).backward()
        total = total + loss.detach()
    return total


def _check_accumulate(attempt):
    for seed, (rows, n_pieces) in enumerate(((8, 4), (6, 1), (7, 3), (4, 2))):
        draws = torch.Generator().manual_seed(seed)
        x, y = torch.randn(rows, 3, generator=draws), torch.randn(rows, generator=draws)
        w = torch.randn(3, generator=draws).requires_grad_()
        graphs, sizes = _Graphs(), []

        def loss_of(x_i, y_i, w=w, graphs=graphs, sizes=sizes):
            sizes.append(len(x_i))
            graphs.begin()
            with graphs.packing():
                return graphs.end((x_i @ w - y_i).square().mean())

        given = attempt(loss_of, x, y, n_pieces)
        _judge_gradient(w, x, y, n_pieces, max(sizes, default=0))
        _judge_graphs(graphs, f"{len(x)} rows in {n_pieces} pieces: the gradient is right, but")
        if isinstance(given, torch.Tensor) and given.requires_grad:
            raise Wrong("the gradient is right, but the loss that you return still holds its graph: `detach()` it")
        loss = (x @ w - y).square().mean().item()
        if not isinstance(given, (int, float, torch.Tensor)):
            raise Wrong(f"the gradient is right; the loss should be a number or a tensor, and yours is {given!r}")
        if n_pieces > 1 and close(given, n_pieces * loss, 1e-4):
            raise Wrong(f"the gradient is right; the loss is {n_pieces} times too large: weigh what you add, too")
        if not close(given, loss, 1e-5):
            given = float(given)
            raise Wrong(
                f"the gradient is right; the loss of the whole batch is {loss:.4g}, and yours gives {given:.4g}"
            )
    return "each piece counts by its rows, and goes back before the next one comes"


def _judge_gradient(w, x, y, n_pieces, most_rows):
    """Whether w.grad is the whole batch's gradient, and was come by piece by piece."""
    if w.grad is None:
        raise Wrong("no gradient has arrived: call `.backward()` on each piece's loss")
    wanted = 2 * x.T @ (x @ w - y).detach() / len(x)
    case = f"{len(x)} rows in {n_pieces} pieces"
    if most_rows > -(-len(x) // n_pieces):
        raise Wrong(f"{case}: you pass {most_rows} rows at once, and that is what doesn't fit")
    if close(w.grad, n_pieces * wanted, 1e-4) and n_pieces > 1:
        raise Wrong(f"{case}: the gradient is {n_pieces} times too large; each piece's loss is a mean of its own rows")
    if not close(w.grad, wanted, 1e-4):
        uneven = "; the last piece is smaller here, so it should count for less" if len(x) % n_pieces else ""
        given, right = w.grad[0].item(), wanted[0].item()
        raise Wrong(f"{case}: the gradient begins with {given:.3f}, and the whole batch's with {right:.3f}{uneven}")


def _judge_graphs(graphs, case):
    """Whether earlier pieces' graphs were gone when the next piece came."""
    if graphs.most_full:
        pieces = graphs.most_full + 1
        raise Wrong(
            f"{case} what {pieces} pieces keep for the way back was in memory at once: go back inside the loop, and let "
            "`backward()` free the graph (no `retain_graph`)"
        )
    if graphs.most_alive > 1:
        raise Wrong(f"{case} {CHAIN}")


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
        "(m, s, y) of both, as if all the keys had been in one block.\n\n"
        "Shapes: m and s (..., n, 1), y (..., n, K). `torch.maximum(a, b)` compares number by number.",
        stub="def merge_softmax(first, second):  # each is (m, s, y)\n    return ...  # m, s, y of both together", name="merge_softmax",
        hints=(
            "Two sums of powers can be added only when both are relative to the same maximum. Which one will that be?",
            "With the common maximum m, what must each e^(score − m₁) be multiplied by to become e^(score − m)? "
            "It's the same factor for all keys of a block, so y takes it as s does.",
            "`m = torch.maximum(m1, m2)`, then `s = s1 * (m1 - m).exp() + …` with block 2's own factor, and y likewise.",
        ),
        answer=merge_softmax, another=(_merge_by_logs, _merge_by_cases, _merge_finished_averages),
        inputs=_two_blocks,
        special=(
            ("scores near 1000", _left(1000.0, 1.5, [1.0, -2.0]), _left(1001.0, 2.5, [0.5, 3.0])),
            ("scores near −1000", _left(-1000.0, 1.5, [1.0, -2.0]), _left(-1001.0, 2.5, [0.5, 3.0])),
            ("the same maximum in both", _left(2.0, 1.5, [1.0, -2.0]), _left(2.0, 2.5, [0.5, 3.0])),
        ),
        gives=Gives(parts=("m", "s", "y"), dtype=True),
        partial=((_y_added_as_it_is, "m and s are right; y needs the same two factors as s"),),
        wrong=(
            (_added_as_they_are, "the two sums are relative to different maxima: bring both to the common one before you add"),
            (_lower_maximum, "m is the larger of the two maxima, query by query; yours is the smaller"),
            (_exponent_turned_round, "the exponent has the wrong sign: a sum relative to a lower maximum must shrink, by e^(m₁ − m)"),
            (_divided_already, "that is the finished attention: divide by s at the very end, after the last block"),
            (_without_the_maximum, "it overflows: only differences from the maximum may go into exp"),
            (_one_maximum_for_all, "one maximum for each query was wanted: yours has one for all of them"),
            (_softmax_of_the_maxima, "the two factors needn't sum to 1: the block with the common maximum keeps its own in full"),
            (_with_factors(lambda m1, m2, m: ((m2 - m).exp(), (m1 - m).exp())),
             "the two factors are swapped: block 1's own is e^(m₁ − m), block 2's is e^(m₂ − m)"),
            (_with_factors(lambda m1, m2, m: ((m1 - m2).exp(), (m2 - m1).exp())),
             "your factors compare each block with the other one, so one of them is above 1: compare both with the common maximum"),
            (_with_factors(lambda m1, m2, m: ((m1 - m).exp(), torch.ones_like(m))),
             "only block 1 is rescaled: where block 1 has the higher maximum, block 2 must shrink"),
            (_with_factors(lambda m1, m2, m: (torch.ones_like(m), (m2 - m).exp())),
             "only block 2 is rescaled: where block 2 has the higher maximum, block 1 must shrink"),
            (_second_taken_as_maximum, "you take m₂ for the common maximum, but block 1 may have the higher one"),
            (_first_taken_as_maximum, "you take m₁ for the common maximum, but block 2 may have the higher one"),
            (_with_factors(lambda m1, m2, m: (m1 - m, m2 - m)),
             "the differences from the maximum are exponents: take `exp` of them before you multiply"),
            (_parts_in_another_order, "the three are right, but in another order: m, s, y was wanted"),
            (_pythons_max, "Python's `max` compares whole tensors: `torch.maximum(m1, m2)` compares number by number"),
            (lambda first, second: merge_softmax(first, second)[2], "return three tensors: m, s, y"),
        ),
        right="two factors, both at most 1; blocks may come in any order",
        ours="bigmodel_lib.exercises.nb05:merge_softmax",
    ),
    Exercise(
        id="05-device", title="a loop that doesn't wait", minutes=8, difficulty=2,
        task="This loop works, on a CPU. On a GPU its tensors would meet on different devices, and it would wait in every step. Repair it: "
        "the model and each batch go to `device`, nothing in the function waits for the device, and it returns the mean loss of all "
        "batches as a *tensor* that is still on the device. The graphs of past steps mustn't pile up. (The caller can then call "
        "`.item()` on the result, once.) We test your function on PyTorch's `meta` device. Its tensors have a shape but no numbers, so "
        "every wait is caught.",
        stub="def train_on(device, model, batches):\n    model = ...\n    weights = list(model.parameters())\n"
        "    optimizer = torch.optim.SGD(weights, lr=0.1)\n    total = 0.0\n"
        "    for x, y in batches:\n        loss = (model(x) - y).square().mean()\n        optimizer.zero_grad()\n"
        "        loss.backward()\n        optimizer.step()\n        total += loss.item()\n    return ...", name="train_on",
        hints=(
            "Three things have to move. And one line in the loop asks for a number.",
            "The model moves once, before the loop (and before the optimizer takes its weights); x and y move in the loop. A sum can be a tensor.",
            "`model.to(device)`; `x, y = x.to(device), y.to(device)`; `total = total + loss.detach()`; at the end divide by `len(batches)`.",
        ),
        answer=train_on, another=(_with_a_list, _moved_beforehand, _looked_at_again), changes=(1,), check=_check_train_on,
        wrong=(
            (_loop(note=torch.Tensor.item), "the plain number"),
            (_loop(note=torch.Tensor.item, mean=lambda noted, device: torch.tensor(noted, device=device).mean()), "asks for a number"),
            (_loop(note=lambda loss: loss.detach().cpu(), mean=lambda noted, device: torch.stack(noted).mean().to(device)), "fetches a tensor"),
            (_loop(move_batch=False), "met on different devices"),
            (_loop(move_model=False), "met on different devices"),
            (_loop(move_model=False, move_batch=False), "whatever `device` says"),
            (_loop(note=lambda loss: loss), "still holds its graph"),
            (_loop(note=lambda loss: loss, mean=lambda noted, device: (sum(noted) / len(noted)).detach()), "still holds its graph"),
            (_loop(empty=False), "begin with empty gradients"),
            (_loop(step=False), "the weights haven't moved"),
            (_loop(note=lambda loss: print(f"{loss}") or loss.detach()), "asks for a number"),
            (_loop(mean=lambda noted, device: torch.zeros(()).add_(sum(noted) / len(noted))), "isn't on the device"),
            (_loop(mean=lambda noted, device: noted[-1]), "the last batch's loss alone"),
            (_loop(mean=lambda noted, device: noted[0]), "the first batch's loss alone"),
            (_loop(mean=lambda noted, device: sum(noted)), "that's the sum of the losses"),
            (_loop(mean=lambda noted, device: sum(noted) / 5), "not by that of the rows"),
            (_loop(mean=lambda noted, device: sum(noted) / len(noted) + 1), "the mean loss of this one batch"),
        ),
        ours="bigmodel_lib.exercises.nb05:train_on",
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
        id="05-memory", title="GPT-2's small one", minutes=3, difficulty=1,
        task="GPT-2's smallest model has 124,439,808 parameters. How many bytes do its parameters, gradients and AdamW's two running "
        "means take in float32?",
        stub="n_bytes = ...  # a number", name="n_bytes",
        hints=(
            "How many numbers does training keep for each parameter?",
            "The parameter itself, its gradient, and what AdamW remembers of it. Then: bytes for each.",
            "The parameter, its gradient and two running means: four numbers of four bytes for each of the 124,439,808.",
        ),
        answer=16 * 124_439_808, another=(1.991e9, 1.99e9), tolerance=Tolerance(relative=0.01),
        wrong=(
            (4 * 124_439_808, "those are the parameters' bytes alone, or four numbers for each without their bytes"),
            (8 * 124_439_808, "parameters and gradients: AdamW keeps two more numbers for each"),
            (12 * 124_439_808, "AdamW keeps two running means for each parameter, not one"),
            (124_439_808, "those are the parameters; a float32 number has 4 bytes"),
            (32 * 124_439_808, "four bytes, not eight: float32"),
            (1.991, "right in gigabytes: bytes were wanted"),
            (1.854, "right in gibibytes (of 2³⁰ bytes): bytes were wanted"),
            (1991, "right in megabytes: bytes were wanted"),
            (1898.8, "right in mebibytes (of 2²⁰ bytes): bytes were wanted"),
            (0.498, "those are the parameters alone, in gigabytes: bytes were wanted"),
        ),
        right="four numbers a parameter, 16 bytes, about 2 GB: and no activation is in it yet",
    ),
    Exercise(
        id="05-pieces", title="a batch in pieces", minutes=8, difficulty=2,
        task="Write `accumulate(loss_of, x, y, n_pieces)`. `loss_of(x, y)` gives the mean loss of some rows. Cut the batch into `n_pieces` "
        "pieces of rows (`x.chunk(n_pieces)` gives a list; the last piece may be smaller) and leave in the weights' `.grad` the gradient of "
        "the mean loss of the *whole* batch. Never have more than one piece's graph in memory. Return the whole batch's loss, without a "
        "graph. (The caller has emptied `.grad` before.)",
        stub="def accumulate(loss_of, x, y, n_pieces):\n    total = 0.0\n    for x_i, y_i in zip(x.chunk(n_pieces), y.chunk(n_pieces), strict=True):\n"
        "        loss = loss_of(x_i, y_i) * ...\n        # and then?\n        total = total + loss\n    return total", name="accumulate",
        hints=(
            "backward() adds to `.grad`: you know that from 05-accumulate. What must each piece's loss be multiplied by?",
            "The whole batch's mean is a weighted mean of the pieces' means. And a graph is freed when backward() has gone through it.",
            "`loss = loss_of(x_i, y_i) * len(x_i) / len(x)`, then `loss.backward()`, both in the loop; add `loss.detach()` to the total.",
        ),
        answer=accumulate, another=(_accumulate_by_rows, _accumulate_by_gradient, _accumulate_and_look_again), check=_check_accumulate,
        wrong=(
            (_pieces(lambda x_i, x, n: 1.0), "4 times too large"),
            (_pieces(lambda x_i, x, n: 1 / n), "should count for less"),
            (_pieces(_fair, back=False), "no gradient has arrived"),
            (_one_backward_at_the_end, "4 pieces keep for the way back was in memory at once"),
            (_with_graphs_kept(lambda loss: loss), "4 pieces keep for the way back was in memory at once"),
            (_with_graphs_kept(torch.Tensor.detach), "no `retain_graph`"),
            (_kept_to_the_end, "all steps stay linked"),
            (_loss_not_weighed, "the loss is 4 times too large: weigh what you add"),
            (_last_piece_alone, "the whole batch's with"),
            (_all_at_once, "at once, and that is what doesn't fit"),
            (_pieces(_fair, keep=lambda loss: loss), "all steps stay linked"),
            (_pieces(_fair, keep=lambda loss: 0 * loss.detach()), "the loss of the whole batch is"),
            (_pieces(_fair, chunk=torch.Tensor.split), "at once, and that is what doesn't fit"),
        ),
        ours="bigmodel_lib.exercises.nb05:accumulate",
    ),
]  # fmt: skip
