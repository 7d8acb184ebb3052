"""What a model looked at, and whether that is why: maps, rollout, gradients, ablation, patching, the stream read early.

All stand on one mechanism: `run_with` walks the layers of a model and lets an `edit` see each part, or change it.
Shapes: B (batch), T (tokens), D (d_model), L (layers), H (heads), K (width of a head), V (vocabulary). A map's row is
the token that looks (query), its column the token that is looked at (key).
"""

import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.layers import (
    attention_weights,
    cross_entropy,
    layer_norm,
    merge_heads,
    shift_tokens,
    split_heads,
)
from bigmodel_lib.model.transformer import LanguageModel

HOW = ("zero", "mean", "resample")


# The one mechanism


def read_out(model, x):
    """The logits that the output matrix reads from a stream: norm(x) W_out. Shapes: (..., D) -> (..., V)."""
    return layer_norm(x) @ (model.token_embedding.T if model.w_out is None else model.w_out)


def run_with(model, tokens, edit):
    """The logits, with every part passed through value = edit(what, layer, value).

    what: "stream" (B, T, D), before each layer and, with layer = L, after the last; "weights" (B, H, T, T);
    "heads" (B, H, T, K), what each head brings, before w_o; "mlp" (B, T, D). Nothing is left out (no dropout).
    Shapes: tokens (B, T) -> (B, T, V). Taught in 09_attention_maps.
    """
    x, rotation = model.embed(tokens), model.rotation(tokens.shape[1])
    for layer, block in enumerate(model.blocks):
        x = edit("stream", layer, x)
        part, y = block.attention, layer_norm(x)
        y = y if part.shift is None else shift_tokens(y, part.shift)
        weights = attention_weights(*part.queries_and_keys(y, rotation), part.causal)
        values = split_heads(y @ part.w_v, part.n_heads)
        heads = edit("heads", layer, edit("weights", layer, weights) @ values)
        x = x + merge_heads(heads) @ part.w_o
        x = x + edit("mlp", layer, block.mlp(layer_norm(x)))
    return read_out(model, edit("stream", len(model.blocks), x))


@torch.no_grad()
def recorded(model, tokens, wanted):
    """One part of every layer: "weights" as (L, B, H, T, T), "heads" (L, B, H, T, K), "stream" (L + 1, B, T, D), "mlp".

    Raises CourseError for a part that there is none of. Taught in 09_attention_maps.
    """
    kept = []

    def keep(what, layer, value):
        if what == wanted:
            kept.append(value)
        return value

    run_with(model, tokens, keep)
    if not kept:
        raise CourseError(f"{wanted!r} is no part of a run: choose stream, weights, heads or mlp")
    return torch.stack(kept)


# What maps look like


def entropy_of_rows(maps):
    """How spread each row is, in nats: H_i = -Σ_j A_ij ln A_ij; 0 for one token, ln n for n alike.

    Shapes: (..., T, T) -> (..., T). Source: Shannon 1948.
    """
    return torch.special.entr(maps).sum(dim=-1)


def mean_distance(maps):
    """How far back or ahead each row looks, in tokens: Σ_j A_ij |i - j|. Shapes: (..., T, T) -> (..., T)."""
    place = torch.arange(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    return (maps * (place[:, None] - place).abs()).sum(dim=-1)


def habit_squares(tokens):
    """Where in a map a known habit would show: {habit: (T, T), True there}.

    "first": token 0. "previous": the token before. "same": earlier copies of this token. "induction": the tokens that
    followed those copies (Olsson et al. 2022). Shape: tokens (T,).
    """
    place = torch.arange(len(tokens), device=tokens.device)
    earlier = place[None, :] < place[:, None]
    same = (tokens[:, None] == tokens[None, :]) & earlier
    after_same = torch.zeros_like(same)
    after_same[:, 1:] = same[:, :-1]
    return {
        "first": earlier & (place == 0),
        "previous": place[None, :] == place[:, None] - 1,
        "same": same,
        "induction": after_same,
    }


def pattern_scores(maps, tokens):
    """How much each head has of each habit: the mean weight on its squares, over the rows that have one.

    NaN for "same" and "induction" where no token comes twice. Shapes: maps (L, H, T, T), tokens (T,) -> four of (L, H).
    """
    kinds = habit_squares(tokens)
    return {kind: (maps * on).sum(dim=-1)[..., on.any(dim=-1)].mean(dim=-1) for kind, on in kinds.items()}


# Methods that name tokens


def rollout(maps):
    """How much of each token may stand in each place after every layer, if heads are averaged and half is kept.

    R_0 = I, R_(l+1) = (A_l / 2 + I / 2) R_l for l = 0 … L - 1, with A_l the mean over the heads of layer l; what comes
    back are R_1 … R_L.
    Shapes: maps (L, ..., H, T, T) -> (L, ..., T, T), rows sum to 1. Source: Abnar & Zuidema 2020, eq. 1 and section 3.
    Built by the reader in 09_attention_maps.
    """
    eye = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    joint, after = eye, []
    for layer in maps.mean(dim=-3):
        joint = (layer + eye) / 2 @ joint
        after.append(joint)
    return torch.stack(after)


def gradient_times_input(model, tokens, places, targets):
    """What each token's embedding x_j adds to the target's lead z at one place, to first order: Σ_c x_jc · ∂z / ∂x_jc.

    z is the target's logit less the mean logit, which grows on where ln p is as good as 0 and its gradient gone.
    Shapes: tokens (B, T), places (B,), targets (B,) -> (B, T), signed. Source: Shrikumar et al. 2016.
    Taught in 09_attention_maps.
    """
    embedded = []

    def watch(what, layer, value):
        if (what, layer) == ("stream", 0):
            embedded.append(value.detach().requires_grad_())
            return embedded[0]
        return value

    with torch.enable_grad():
        logits = run_with(model, tokens, watch)[torch.arange(len(tokens)), places]
        lead = logits.gather(1, targets[:, None]).sum() - logits.mean(dim=-1).sum()
        (gradient,) = torch.autograd.grad(lead, embedded)
    return (gradient * embedded[0]).sum(dim=-1).detach()


def knockout(keys, heads=None):
    """An edit that keeps heads from looking at some tokens: their weights become 0, and the others stay as they are.

    keys: (B, T), True where hidden. heads: pairs (layer, head), or None for all heads of all layers; what is left in a
    row is not made to sum to 1. Source: Geva et al. 2023, section 5.
    """

    def edit(what, layer, value):
        if what != "weights":
            return value
        hidden = value.masked_fill(keys[:, None, None, :], 0.0)
        chosen = [heads is None or (layer, h) in heads for h in range(value.shape[1])]
        return torch.where(torch.tensor(chosen, device=value.device)[:, None, None], hidden, value)

    return edit


@torch.no_grad()
def knockout_effects(model, tokens, targets, heads=None):
    """How many nats more each target costs when a token is hidden from all heads, or from some.

    Shapes: tokens (T,), targets (T,) with -1 for none -> (T, T): row = the place that guesses, column = what is hidden.
    """
    T, wanted = len(tokens), targets.clamp(min=0)

    def costs(logits):
        return -logits.log_softmax(dim=-1)[:, torch.arange(T), wanted]

    one_each = torch.eye(T, dtype=torch.bool, device=tokens.device)
    hidden = costs(run_with(model, tokens.expand(T, T), knockout(one_each, heads)))
    return ((hidden - costs(model(tokens[None]))) * (targets >= 0)).T


# Ablation: take a head away


def replacing(heads, outputs):
    """An edit that puts other outputs in the place of some heads'; outputs (L, B, H, T, K), or what fits that shape."""

    def edit(what, layer, value):
        if what != "heads":
            return value
        chosen = [(layer, h) in heads for h in range(value.shape[1])]
        return torch.where(torch.tensor(chosen, device=value.device)[:, None, None], outputs[layer], value)

    return edit


@torch.no_grad()
def ablate(model, tokens, heads, how="zero", reference=None):
    """The logits without what some heads bring. heads: pairs (layer, head).

    how: "zero" puts 0 there, "mean" the head's mean over all places of the `reference` tokens, "resample" what the head
    brings at the same place of `reference`, tokens of the same shape. Raises CourseError for another how, or without
    a reference where one is needed. Taught in 09_attention_maps.
    """
    if how not in HOW or (how != "zero" and reference is None):
        raise CourseError(f"how {how!r} was given: choose zero, or mean or resample with reference tokens")
    outputs = recorded(model, tokens if how == "zero" else reference, "heads")
    if how == "zero":
        outputs = torch.zeros_like(outputs)
    if how == "mean":
        outputs = outputs.mean(dim=(1, 3), keepdim=True)
    return run_with(model, tokens, replacing(heads, outputs))


def head_effects(model, tokens, targets, how="zero", reference=None):
    """How many nats more the targets cost without each head, one at a time; targets (B, T), -1 where none -> (L, H)."""
    config, whole = model.config, float(cross_entropy(ablate(model, tokens, []), targets))
    return torch.tensor([
        [float(cross_entropy(ablate(model, tokens, [(layer, head)], how, reference), targets)) - whole
         for head in range(config.n_heads)]
        for layer in range(config.n_layers)
    ])  # fmt: skip


# Patching: put a part of one run into another


def putting(layer, foreign):
    """An edit that puts, in row t of the batch, `foreign[t]` in the place t of the stream before a layer.

    Shapes: foreign (n, D), for the first n places, in a batch of n. Taught in 09_attention_maps.
    """

    def edit(what, where, value):
        if (what, where) != ("stream", layer):
            return value
        value, places = value.clone(), torch.arange(len(foreign))
        value[places, places] = foreign
        return value

    return edit


@torch.no_grad()
def patch(model, clean, corrupt, measure):
    """How much of what two texts differ in comes back when one place of the stream is copied from one to the other.

    share(l, t) = (m(corrupt with the clean stream at layer l, place t) - m(corrupt)) / (m(clean) - m(corrupt)).
    measure: logits (B, T, V) -> (B,). Shapes: clean and corrupt (T,) -> (L + 1, T). Raises CourseError for texts of two
    lengths, or that measure alike. Source: Vig et al. 2020; Meng et al. 2022. Taught in 09_attention_maps.
    """
    if clean.shape != corrupt.shape:
        raise CourseError(f"{len(clean)} and {len(corrupt)} tokens were given: patching needs texts of one length")
    low, high = measure(model(corrupt[None])), measure(model(clean[None]))
    if torch.equal(low, high):
        raise CourseError("both texts measure alike, so nothing can come back: change a word that matters")
    streams, rows = recorded(model, clean[None], "stream")[:, 0], corrupt.expand(len(clean), -1)
    patched = [measure(run_with(model, rows, putting(layer, stream))) for layer, stream in enumerate(streams)]
    return (torch.stack(patched) - low) / (high - low)


def logit_lens(model, tokens):
    """What the stream would say if the model ended there: log-probabilities after 0, 1, … L layers.

    ln p_l = ln softmax(norm(x_l) W_out). Shapes: (B, T) -> (L + 1, B, T, V). Source: nostalgebraist 2020.
    """
    return read_out(model, recorded(model, tokens, "stream")).log_softmax(dim=-1).detach()


# A model whose truth is known


@torch.no_grad()
def induction_by_hand(vocab_size=8, context_length=16, sharpness=10.0):
    """A decoder with weights set by hand: what followed a token the last times will follow it again.

    Its stream has four parts: token, previous token, answer, position, each one number for each possible value.
    Head 0.0 looks at the previous token and writes down which it was; head 0.1 looks at token 0 and writes nothing;
    heads 1.0 and 1.1 do the same: look where the previous token is mine, and write its token into the answer.
    Token 0 is the start and stands at place 0 only. Raises CourseError for a context of 3 vocabularies or more, or odd.
    """
    V, C = vocab_size, context_length
    if C >= 3 * V or (3 * V + C) % 2:
        raise CourseError(f"context {C} was given with {V} tokens: an even width and fewer than {3 * V} were wanted")
    D, K = 3 * V + C, (3 * V + C) // 2
    model = LanguageModel(ModelConfig(
        vocab_size=V, context_length=C, d_model=D, n_layers=2, n_heads=2, d_ff=1, positions="learned", qk_norm=False,
        token_shift=False,
    ))  # fmt: skip
    for parameter in model.parameters():
        parameter.zero_()
    token, previous, answer, position = (torch.eye(D)[a:b] for a, b in ((0, V), (V, 2 * V), (2 * V, 3 * V), (3 * V, D)))
    model.token_embedding += token
    model.position_embedding += position

    def link(matrix, head, rows, columns, strength):  # what these rows of the stream say goes into a head's columns
        matrix[:, head * K : (head + 1) * K] += strength * rows.T @ torch.eye(K)[columns]

    first, second = (block.attention for block in model.blocks)
    link(first.w_q, 0, position[1:], range(C - 1), sharpness)  # place t asks for place t - 1
    link(first.w_k, 0, position, range(C), 1.0)
    link(first.w_q, 1, position, [0] * C, 10 * sharpness)  # every place asks for place 0
    link(first.w_k, 1, position[:1], [0], 1.0)
    for head in (0, 1):
        link(first.w_v, head, token, range(V), 1.0)
        link(second.w_q, head, token, range(V), sharpness)
        link(second.w_k, head, previous, range(V), 1.0)
        link(second.w_v, head, token, range(V), 1.0)
        second.w_o[head * K : head * K + V] += answer
    first.w_o[:V] += previous
    model.w_out += 4.0 * answer.T
    return model.eval()
