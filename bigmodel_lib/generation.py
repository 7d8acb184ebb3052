"""Output: from logits to text.

python -m bigmodel_lib.generation --checkpoint DIR --prompt "I love programming"
"""

import math
import sys

import torch
from torch.nn import functional

from bigmodel_lib.cli.pretrain import OneLineParser
from bigmodel_lib.cli.reports import say
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import choose_device, evaluating
from bigmodel_lib.model.layers import attention, layer_norm, merge_heads, ngram_rows, rope_tables, split_heads
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.training.checkpoints import load_model

# From logits to a token


def keep_top_k(logits, k):
    """The logits with all but the k largest at -∞; k = 0 keeps all. Shapes: (..., V) -> (..., V).

    Those that tie with the k-th stay, too. Source: Fan et al. 2018, section 5.4. Taught in 08_generation.
    """
    if not 0 < k < logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[..., -1:], -math.inf)


def keep_top_p(logits, p):
    """The logits with all at -∞ but the fewest, likeliest tokens whose probabilities reach p together.

    A token stays while the likelier ones have not reached p, so the one that crosses p stays. The likeliest stays at
    any p, and all stay where p is 1 or more. Shapes: (..., V) -> (..., V).
    Source: Holtzman et al. 2020, eq. 2. Built by the reader in 08_generation.
    """
    if p >= 1:
        return logits
    probabilities, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    likelier = probabilities.cumsum(dim=-1) - probabilities
    leaves = likelier >= p
    leaves[..., 0] = False
    return logits.masked_fill(torch.zeros_like(leaves).scatter(-1, order, leaves), -math.inf)


def forbid(logits, token):
    """The logits with one token at -∞: so a text cannot end too early. Taught in 08_generation."""
    return logits.index_fill(-1, torch.tensor([token], device=logits.device), -math.inf)


def sampling_distribution(logits, temperature=1.0, top_k=0, top_p=1.0):
    """What one draws from: softmax(logits / temperature), cut to top k, then to top p; one-hot at temperature 0.

    Shapes: (..., V) -> (..., V). Taught in 08_generation.
    """
    if temperature == 0:
        return functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    return keep_top_p(keep_top_k(logits / temperature, top_k), top_p).softmax(dim=-1)


def sample_next(logits, temperature, top_k, generator, top_p=1.0):
    """Draw one token from each row's `sampling_distribution`. Shapes: logits (..., V) -> (...)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    chances = sampling_distribution(logits, temperature, top_k, top_p)
    drawn = torch.multinomial(chances.reshape(-1, chances.shape[-1]), 1, generator=generator)
    return drawn.reshape(logits.shape[:-1])


# The cache


def attend_to_cache(q, k, v, keys, values, position):
    """The attention of the token at `position` to itself and those before it, whose keys and values lie in two rings.

    A ring has T slots, and the token at position t writes to slot t mod T, where that of t - T lay. So all slots up to
    min(position + 1, T) are full, in whatever order, which a weighted sum does not see.
    Shapes: q, k, v (B, H, 1, K), keys and values (B, H, T, K), changed in place -> (B, H, 1, K).
    Equals the last row of a causal attention in which each token sees the last T. Built by the reader in 08_generation.
    """
    T = keys.shape[-2]
    slot, full = position % T, min(position + 1, T)
    keys[..., slot : slot + 1, :], values[..., slot : slot + 1, :] = k, v
    return attention(q, keys[..., :full, :], values[..., :full, :], causal=False)


class Cache:
    """What the next token needs of those before it: rings of keys and values (B, H, T, K) for each layer; what token
    shift adds, (B, 1, D) for each branch; the last tokens, with which runs begin. Taught in 08_generation."""

    def __init__(self, model, batch_size=1):
        c, like = model.config, model.token_embedding
        ring = batch_size, c.n_heads, c.context_length, c.d_head
        self.keys, self.values = ([like.new_empty(ring) for _ in range(c.n_layers)] for _ in "kv")
        self.shifted = [like.new_zeros(batch_size, 1, c.d_model)] * (2 * c.n_layers)
        self.tokens = torch.zeros(batch_size, c.ngrams - 1, dtype=torch.long, device=like.device)
        self.position, self.tables = 0, (model.cosine, model.sine)

    def keep(self, rows):
        """Go on with some rows of the batch, named by index or by a mask."""
        for parts in (self.keys, self.values, self.shifted):
            parts[:] = [part[rows] for part in parts]
        self.tokens = self.tokens[rows]

    def count_numbers(self):
        return sum(part.numel() for part in (*self.keys, *self.values, *self.shifted))


def embed_next(model, tokens, cache):
    """As `LanguageModel.embed`, for tokens (B, n) that follow those in the cache -> (B, n, D).

    Raises CourseError for more tokens at once than the mask of `read` is for: T to an empty cache, then 1.
    """
    most = 1 if cache.position else model.config.context_length
    if tokens.shape[1] > most:
        raise CourseError(
            f"{tokens.shape[1]} tokens were given after {cache.position} others: the cache reads {most} at once here"
        )
    x, n = functional.embedding(tokens, model.token_embedding), tokens.shape[1]
    if model.ngram_embedding is not None:
        run = torch.cat([cache.tokens, tokens], dim=1)
        rows = ngram_rows(run, model.config.vocab_size, model.config.ngrams)[..., -n:]
        x = x + functional.embedding(rows, model.ngram_embedding).sum(dim=0)
        cache.tokens = run[:, run.shape[1] - cache.tokens.shape[1] :]
    if model.position_embedding is not None:
        x = x + model.position_embedding[cache.position : cache.position + n]
    return x


def rotation_next(model, n, cache):
    """RoPE's two tables for the n positions after those in the cache; beyond T they are computed on."""
    if model.config.positions != "rope":
        return None
    end = cache.position + n
    if end > len(cache.tables[0]):
        config, like = model.config, model.token_embedding
        longer = rope_tables(2 * end, config.d_head, config.rope_base, like.device)
        cache.tables = tuple(table.to(like.dtype) for table in longer)
    return tuple(table[cache.position : end] for table in cache.tables)


def shift_next(y, strength, cache, branch):
    """As `shift_tokens`, the token before the first of these coming from the cache. Taught in 08_generation."""
    if strength is None:
        return y
    before, last = cache.shifted[branch], y
    if y.shape[1] > 1:
        before, last = torch.cat([before, y[:, :-1]], dim=1), y[:, -1:]
    cache.shifted[branch] = last
    return torch.addcmul(y, strength, before)


@torch.inference_mode()
def read(model, tokens, cache, attend=attend_to_cache):
    """Let the model read tokens (B, n) that follow those in the cache, and remember them -> the last logits (B, V).

    Many tokens at once only at the start of the cache, and T at most; afterwards one by one. To change the logits
    in place, take a clone. Taught in 08_generation.
    """
    n = tokens.shape[1]
    x, rotation = embed_next(model, tokens, cache), rotation_next(model, n, cache)
    for i, block in enumerate(model.blocks):
        layer, y = block.attention, shift_next(layer_norm(x), block.attention.shift, cache, 2 * i)
        q, k = layer.queries_and_keys(y, rotation)
        v = split_heads(y @ layer.w_v, layer.n_heads)
        keys, values = cache.keys[i], cache.values[i]
        if cache.position == 0:
            out, keys[..., :n, :], values[..., :n, :] = attention(q, k, v), k, v
        else:
            out = attend(q, k, v, keys, values, cache.position)
        x = x + merge_heads(out) @ layer.w_o
        y = shift_next(layer_norm(x), block.mlp.shift, cache, 2 * i + 1)
        x = x + block.mlp.activation(y @ block.mlp.w_up) @ block.mlp.w_down
    cache.position += n
    return layer_norm(x[:, -1]) @ (model.token_embedding.T if model.w_out is None else model.w_out)


# Writing


def check_settings(model, tokens, n_tokens, temperature, top_k, top_p) -> None:
    """Raises CourseError for a model that cannot write, an empty prompt or an impossible setting."""
    if not model.config.causal:
        raise CourseError(
            "this model was trained to guess hidden tokens (an encoder) and cannot write: use a causal one"
        )
    if len(tokens) == 0:
        raise CourseError("a prompt of at least one token was wanted, none was given: write a first word")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise CourseError(
            f"temperature {temperature} is not 0 or more: choose 0 for the likeliest token, 1 for the model's own"
        )
    if top_k < 0 or n_tokens < 0:
        raise CourseError(f"top_k {top_k} and tokens {n_tokens} must be 0 or more: choose such")
    if not 0 < top_p <= 1:
        raise CourseError(f"top_p {top_p} is not above 0 and up to 1: choose 0.9, or 1 to keep all tokens")


@torch.no_grad()
def generate(model, tokens, n_tokens, temperature=0.8, top_k=0, seed=0, *, top_p=1.0, stop=None, min_tokens=0):
    """Yield up to n_tokens ids that follow `tokens` (N,), one at a time; after `stop`, which is yielded, none.

    The last T tokens of the prompt are read at once, each later one alone, with a cache. Beyond T tokens each sees the
    last T keys, which is not the same as running the last T tokens again: a key still carries what its token had seen.
    Learned positions end at T, so there the last T tokens are run again. min_tokens: so many come before `stop`.
    Raises CourseError for an empty prompt or impossible settings.
    """
    check_settings(model, tokens, n_tokens, temperature, top_k, top_p)
    device, T = model.token_embedding.device, model.config.context_length
    generator = torch.Generator().manual_seed(seed)
    window = [int(token) for token in tokens][-T:]
    cache, unread = Cache(model), window
    cached = type(model).forward is LanguageModel.forward
    for place in range(n_tokens):
        if cached and (cache.position < T or model.config.positions != "learned"):
            logits = read(model, torch.tensor([unread], device=device), cache)[0]
        else:
            with evaluating(model):
                logits = model(torch.tensor([window], device=device))[0, -1]
        logits = logits.float().cpu()
        if stop is not None and place < min_tokens:
            logits = forbid(logits, stop)
        token = int(sample_next(logits, temperature, top_k, generator, top_p))
        yield token
        if token == stop:
            return
        window, unread = [*window, token][-T:], [token]


@torch.no_grad()
def generate_many(
    model, tokens, n_samples, n_tokens, generator, *, temperature=1.0, top_k=0, top_p=1.0, stop=None, min_tokens=0
) -> list:
    """n_samples lists of up to n_tokens ids that follow `tokens` (N,), N up to T, drawn side by side in one batch.

    A list ends with `stop` if it came; rows that have ended leave the batch. Raises CourseError as `generate` does,
    and where learned positions do not reach.
    """
    check_settings(model, tokens, n_tokens, temperature, top_k, top_p)
    if model.config.positions == "learned" and len(tokens) + n_tokens - 1 > model.config.context_length:
        raise CourseError(
            f"{len(tokens)} tokens and {n_tokens} more do not fit {model.config.context_length} learned positions: "
            f"ask for fewer"
        )
    device, cache, written = model.token_embedding.device, Cache(model, n_samples), [[] for _ in range(n_samples)]
    unread, alive = torch.tensor([[int(t) for t in tokens]], device=device).expand(n_samples, -1), range(n_samples)
    for place in range(n_tokens):
        logits = read(model, unread, cache).float().cpu()
        if stop is not None and place < min_tokens:
            logits = forbid(logits, stop)
        drawn = sample_next(logits, temperature, top_k, generator, top_p)
        for row, token in zip(alive, drawn.tolist(), strict=True):
            written[row].append(token)
        if stop is not None:
            going = drawn != stop
            alive = [row for row, goes in zip(alive, going.tolist(), strict=True) if goes]
            if not alive:
                break
            if len(alive) < len(drawn):
                cache.keep(going.to(device))
                drawn = drawn[going]
        unread = drawn[:, None].to(device)
    return written


def stream(model, tokenizer, prompt, n_tokens=200, temperature=0.8, top_k=0, seed=0, *, top_p=1.0, stop=""):
    """Yield the text that follows a prompt as it grows, token by token, up to the first `stop` (included) if given.

    Each text begins with the one before it: bytes that may be the start of a character wait for the rest of it.
    """
    written = []
    for token in generate(model, tokenizer.encode(prompt), n_tokens, temperature, top_k, seed, top_p=top_p):
        written.append(token)
        text = tokenizer.decode(written)
        if stop and stop in text:
            yield text[: text.index(stop) + len(stop)]
            return
        yield text if len(written) == n_tokens else text.removesuffix("\ufffd")


def write(model, tokenizer, prompt, n_tokens=200, temperature=0.8, top_k=0, seed=0, *, top_p=1.0, stop="") -> str:
    """The text that follows a prompt. Raises CourseError for a prompt with a character that the tokenizer lacks."""
    if stop:
        *_, text = ["", *stream(model, tokenizer, prompt, n_tokens, temperature, top_k, seed, top_p=top_p, stop=stop)]
        return text
    drawn = generate(model, tokenizer.encode(prompt), n_tokens, temperature, top_k, seed, top_p=top_p)
    return tokenizer.decode(list(drawn))


# Whole continuations


def batch_of(prompt, rows, device="cpu"):
    """(x, y) of one prompt with different continuations: y is the next token in these, -1 in the prompt and after them.

    Shapes: prompt (N,), rows lists of ids -> x and y (B, T), int64, with T = N - 1 + the longest row.
    device: that of the model which reads them.
    """
    N, longest = len(prompt), max(len(row) for row in rows)
    x, y = torch.zeros(len(rows), N - 1 + longest, dtype=torch.long), torch.full((len(rows), N - 1 + longest), -1)
    x[:, :N] = torch.tensor([int(token) for token in prompt])
    for i, row in enumerate(rows):
        y[i, N - 1 : N - 1 + len(row)] = torch.tensor(row)
        x[i, N : N - 1 + len(row)] = torch.tensor(row[:-1])
    return x.to(device), y.to(device)


def log_probability(model, x, y):
    """ln p of each row's continuation: Σ_t ln p(y_t | x_0 … x_t) over the targets that are not -1.

    Shapes: x and y (B, T) -> (B,). With a gradient, unless told not to. Taught in 08_generation.
    """
    logs = model(x).log_softmax(dim=-1)
    return (logs.gather(-1, y.clamp(min=0)[..., None])[..., 0] * (y >= 0)).sum(dim=-1)


@torch.no_grad()
def beam_search(model, tokens, width, n_tokens, stop) -> list:
    """The likeliest continuations, up to `stop`, that are found by going on with the `width` likeliest beginnings.

    Returns [(ln p, ids)], the best first; none if nothing ended. Source: Lowerre 1976. Taught in 08_generation.
    """
    cache, beams, ended, device = Cache(model), [(0.0, [])], [], model.token_embedding.device
    logits = read(model, torch.tensor([[int(token) for token in tokens]], device=device), cache)
    for _ in range(n_tokens):
        totals = torch.tensor([[total] for total, _ in beams], device=device) + logits.log_softmax(dim=-1)
        best = totals.flatten().topk(min(2 * width, totals.numel()))
        found = [(t, i // logits.shape[1], i % logits.shape[1]) for t, i in zip(*map(list, best), strict=True)]
        ended += [(float(t), [*beams[row][1], stop]) for t, row, token in found if token == stop]
        found = [(float(t), int(row), int(token)) for t, row, token in found if token != stop][:width]
        ended = sorted(ended, reverse=True)[:width]
        if len(ended) == width and ended[-1][0] >= found[0][0]:
            break  # a longer text is never likelier than its beginning
        beams = [(total, [*beams[row][1], token]) for total, row, token in found]
        cache.keep([row for _, row, _ in found])
        logits = read(model, torch.tensor([[token] for _, _, token in found], device=device), cache)
    return ended


# The command


def parse_options(argv):
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="generation", description="Write text with a pretrained model.")
    parser.add_argument("--checkpoint", metavar="DIR", required=True, help="folder of a finished pretraining run")
    parser.add_argument("--prompt", required=True, help="the text to continue")
    parser.add_argument("--tokens", type=int, default=300, help="how many tokens to write (default: 300)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0: always the likeliest; 1: as learned (default: 0.8)"
    )
    parser.add_argument(
        "--top-k", type=int, default=0, help="choose among the k likeliest only; 0: among all (default)"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="choose among the likeliest that reach p together; 1: all (default)"
    )
    parser.add_argument("--stop", metavar="TEXT", default="", help="end after the first TEXT (default: never)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to compute")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input."""
    try:
        options = parse_options(argv)
        model, tokenizer = load_model(options.checkpoint, choose_device(options.device))
        rest = (options.tokens, options.temperature, options.top_k, options.seed)
        cuts = dict(top_p=options.top_p, stop=options.stop)
        say(options.prompt + write(model, tokenizer, options.prompt, *rest, **cuts))
        return 0
    except CourseError as error:
        print(f"generation: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
