"""Output: from logits to a token, from tokens to text."""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from numpy import ndarray
from torch import Generator, Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.cache import KVCache
from bigmodel_lib.model.devices import Captured, evaluating, to_device
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.tokenizers import Tokenizer

Tokens = Sequence[int] | ndarray  # (N,) ids
BLOCK = 16  # tokens that a GPU draws before the host asks for them


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn (see `sampling_distribution`); `stop` ends a text, once it has `min_tokens`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: int | None = None
    min_tokens: int = 0


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The logits with all but the k largest at -∞; k = 0 keeps all. Shapes: (..., V) -> (..., V).

    Those that tie with the k-th stay, too. Source: Fan et al. 2018, section 5.4.
    """
    if not 0 < k < logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[..., -1:], -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The logits with all at -∞ but the fewest, likeliest tokens whose probabilities reach p together.

    A token stays while the likelier ones have not reached p; the likeliest stays at any p, and all where p ≥ 1.
    Shapes: (..., V) -> (..., V). Source: Holtzman et al. 2020, eq. 2.
    """
    if p >= 1:
        return logits
    probabilities, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    likelier = probabilities.cumsum(dim=-1) - probabilities
    leaves = likelier >= p
    leaves[..., 0] = False
    return logits.masked_fill(torch.zeros_like(leaves).scatter(-1, order, leaves), -math.inf)


def forbid(logits: Tensor, token: int) -> Tensor:
    """The logits with one token at -∞: so a text cannot end too early."""
    return logits.index_fill(-1, torch.full((1,), token, device=logits.device), -math.inf)


def sampling_distribution(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """softmax(logits / temperature), cut to top k, then top p; one-hot at temperature 0. (..., V) -> (..., V)."""
    if temperature == 0:
        return functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    return keep_top_p(keep_top_k(logits / temperature, top_k), top_p).softmax(dim=-1)


def sample_next(logits: Tensor, temperature: float, top_k: int, generator: Generator, top_p: float = 1.0) -> Tensor:
    """Draw one token from each row's `sampling_distribution`. Shapes: logits (..., V) -> (...), on their device.

    A race: of exponential times with rates p the first is i with probability p_i. The numbers come from the host's
    generator, so that every device draws the same, and on CUDA nobody waits for anybody.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    chances = sampling_distribution(logits, temperature, top_k, top_p)
    times = torch.empty(chances.shape, dtype=chances.dtype).exponential_(generator=generator)
    return (chances / to_device(times.numpy(), chances.device)).argmax(dim=-1)


def check_settings(model: LanguageModel, tokens: Tokens, n_tokens: int, how: Sampling) -> None:
    """Raises CourseError for a model that cannot write, an empty prompt or an impossible setting."""
    if not model.config.causal:
        raise CourseError("this model guesses hidden tokens (an encoder) and cannot write: use a causal one")
    if len(tokens) == 0:
        raise CourseError("a prompt of at least one token was wanted, none was given: write a first word")
    if not 0 <= how.temperature < math.inf:
        wrong = f"temperature {how.temperature} is not 0 or more"
        raise CourseError(f"{wrong}: 0 takes the likeliest token, 1 changes nothing")
    if how.top_k < 0 or n_tokens < 0:
        raise CourseError(f"top_k {how.top_k} and tokens {n_tokens} must be 0 or more: choose such")
    if not 0 < how.top_p <= 1:
        raise CourseError(f"top_p {how.top_p} is not above 0 and up to 1: choose 0.9, or 1 to keep all tokens")


@torch.inference_mode()
def next_logits(model: LanguageModel, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
    """The logits after the last of tokens (B, n), which follow those in the cache: (B, V), float32, on its device."""
    with evaluating(model):
        return model.unembed(model.states(tokens, cache)[:, -1]).float()


def generate_rows(
    model: LanguageModel, tokens: Tokens, n_samples: int, n_tokens: int, generator: Generator, how: Sampling
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield, up to n_tokens times, the rows that have not ended and the token that each draws, side by side.

    A cache keeps the last T keys. That is not the same as running the last T tokens again: a key still carries what its
    token had seen. Learned positions end at T, so there the last T tokens are run again.
    On a GPU, rows that end together are drawn there, `BLOCK` tokens at a time, by a step that CUDA captures.
    Raises CourseError for an empty prompt or impossible settings.
    """
    check_settings(model, tokens, n_tokens, how)
    cache, rows, T = KVCache(model, n_samples), list(range(n_samples)), model.config.context_length
    window = torch.tensor([[int(token) for token in tokens][-T:]], device=model.device).expand(n_samples, -1)
    in_blocks = model.device.type not in ("cpu", "mps") and (n_samples == 1 or how.stop is None)
    step: Callable[[Tensor], Tensor] = functools.partial(next_logits, model, cache=cache)
    room = T - window.shape[1] if model.config.positions == "learned" else n_tokens
    unread, waiting = window, []
    for place in range(n_tokens):
        logits = step(unread) if place <= room else next_logits(model, window)
        logits = logits if in_blocks else logits.cpu()
        if how.stop is not None and place < how.min_tokens:
            logits = forbid(logits, how.stop)
        if in_blocks and place == 0 and n_tokens > 2 * BLOCK:  # recording waits for the GPU, and has to pay
            cache.stand_still()
            step = Captured(step)
        unread = sample_next(logits, how.temperature, how.top_k, generator, how.top_p)[:, None].to(model.device)
        window = torch.cat([window, unread], dim=1)[:, -T:]
        waiting.append(unread)
        if in_blocks and len(waiting) < BLOCK and place < n_tokens - 1:
            continue
        for drawn in torch.cat(waiting, dim=1).T.tolist():  # here alone the host waits for a GPU
            yield rows, drawn
            going = [i for i, token in enumerate(drawn) if token != how.stop]
            if not going:
                return
        waiting = []
        if len(going) < len(rows):
            rows, window, unread = [rows[i] for i in going], window[going], unread[going]
            cache.keep(going)


def generate(model: LanguageModel, tokens: Tokens, n_tokens: int, seed: int = 0, **how: Any) -> Iterator[int]:
    """Yield up to n_tokens ids that follow `tokens` (N,). how: as in Sampling, but at temperature 0.8."""
    settings = Sampling(**{"temperature": 0.8, **how})
    for _, (token,) in generate_rows(model, tokens, 1, n_tokens, Generator().manual_seed(seed), settings):
        yield token


def generate_many(
    model: LanguageModel, tokens: Tokens, n_samples: int, n_tokens: int, generator: Generator, **how: Any
) -> list[list[int]]:
    """n_samples lists of up to n_tokens ids that follow `tokens` (N,), each up to its `stop`. how: as in Sampling."""
    written: list[list[int]] = [[] for _ in range(n_samples)]
    for rows, drawn in generate_rows(model, tokens, n_samples, n_tokens, generator, Sampling(**how)):
        for row, token in zip(rows, drawn, strict=True):
            written[row].append(token)
    return written


def stream(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, n_tokens: int = 200, stop: str = "", **how: Any
) -> Iterator[str]:
    """Yield the text that follows a prompt as it grows, token by token, up to the first `stop` (included) if given.

    Each text begins with the one before it: bytes that may begin a character wait for the rest. how: as in `generate`.
    """
    written: list[int] = []
    for token in generate(model, tokenizer.encode(prompt), n_tokens, **how):
        written.append(token)
        text = tokenizer.decode(written)
        if stop and stop in text:
            yield text[: text.index(stop) + len(stop)]
            return
        yield text if len(written) == n_tokens else text.removesuffix("\ufffd")


def write(model: LanguageModel, tokenizer: Tokenizer, prompt: str, n_tokens: int = 200, **how: Any) -> str:
    """The text that follows a prompt, as in `stream`. Raises CourseError for a character that the tokenizer lacks."""
    return collections.deque(stream(model, tokenizer, prompt, n_tokens, **how), maxlen=1).pop() if n_tokens else ""


def batch_of(prompt: Tokens, rows: Sequence[Tokens], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(x, y) of one prompt with different continuations: y is the next token in these, and -1 elsewhere.

    Shapes: prompt (N,), rows lists of ids -> x and y (B, T), int64, with T = N - 1 + the longest row.
    """
    wanted = [torch.tensor([-1] * (len(prompt) - 1) + list(row)) for row in rows]
    read = [torch.tensor([*prompt, *row[:-1]]) for row in rows]
    x, y = pad_sequence(read, batch_first=True), pad_sequence(wanted, batch_first=True, padding_value=-1)
    return x.to(device), y.to(device)


def log_probability(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """ln p of each row's continuation: Σ_t ln p(y_t | x_0 … x_t) where y_t is not -1. Shapes: two of (B, T) -> (B,)."""
    logs = model(x).log_softmax(dim=-1)
    return (logs.gather(-1, y.clamp(min=0)[..., None])[..., 0] * (y >= 0)).sum(dim=-1)


if __name__ == "__main__":
    from bigmodel_lib.cli.main import moved

    moved("generation", "generate")
