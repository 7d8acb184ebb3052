"""The exercises of 09_attention_maps."""

import copy

import numpy as np
import torch
from torch.nn import functional

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.exercises.engine import Exercise, Tolerance, Wrong
from bigmodel_lib.interpretability.interventions import ablate, patch
from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.model.transformer import LanguageModel

# 09-score


def induction_score(maps, n):
    """How much weight a head puts, in the second copy of n tokens, on what followed the same token in the first.

    (1/n) Σ_i A[i, i - n + 1] over the queries i = n … 2n - 1. Shapes: (..., 2n, 2n) -> (...). Source: Olsson et al.
    2022, "prefix matching".
    """
    return maps.diagonal(offset=1 - n, dim1=-2, dim2=-1)[..., 1:].mean(dim=-1)


def _maps(rng):
    """Causal maps (L, B, H, 2n, 2n), and n."""
    n, lead = int(rng.integers(2, 5)), rng.integers(1, 4, size=3)
    scores = torch.from_numpy(rng.normal(size=(*lead, 2 * n, 2 * n))).float()
    future = torch.ones(2 * n, 2 * n, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(dim=-1), n


def _stripe(shift=1, rows=(0, 0)):
    """The mean of A[i, i - n + shift] over the rows n + rows[0] … 2n - 1 + rows[1]."""

    def score(maps, n):
        places = range(n + rows[0], 2 * n + rows[1])
        return sum(maps[..., i, i - n + shift] for i in places) / len(places)

    return score


def _score_by_gather(maps, n):
    queries = torch.arange(n, 2 * n)
    return maps[..., queries, queries - n + 1].mean(dim=-1)


def _score_by_block(maps, n):
    return torch.einsum("...ii->...i", maps[..., n:, 1 : n + 1]).sum(dim=-1) / n


def _score_without_dots(maps, n):
    queries = torch.arange(n, 2 * n)
    return maps[queries, queries - n + 1].mean(dim=-1)


# 09-ablate and 09-patch


def _model(rng):
    """A small random model, ready to be looked into, and two texts of one length."""
    H, L, T = (int(rng.integers(2, 4)) for _ in range(3))
    config = ModelConfig(
        vocab_size=7, context_length=8, d_model=4 * H, n_layers=L, n_heads=H, d_ff=8, token_shift=False
    )
    model = LanguageModel(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for parameter in model.parameters():
        parameter.normal_(0.0, 0.7, generator=generator)
    B = int(rng.integers(1, 3))
    tokens, other = (torch.from_numpy(rng.integers(0, 7, size=(B, T + 2))) for _ in range(2))
    return model, tokens, other


def _ablate_inputs(rng):
    model, tokens, _ = _model(rng)
    return model, tokens, int(rng.integers(model.config.n_layers)), int(rng.integers(model.config.n_heads))


def _patch_inputs(rng):
    model, tokens, other = _model(rng)
    return model, tokens, other, int(rng.integers(model.config.n_layers)), int(rng.integers(model.config.n_heads))


def _hooked(change, name="heads"):
    """An ablation whose hook gives change(value, where, layer, head)."""

    def ablation(model, tokens, layer, head):
        return model(tokens, hooks={name: lambda where, value: change(value.clone(), where, layer, head)})

    return ablation


def _zeroed(at, only_there=True):
    """A change that puts zeros at an index of the layer's value."""

    def change(value, where, layer, head):
        if where == layer or not only_there:
            value[at(head)] = 0.0
        return value

    return change


def _all_but_one(value, where, layer, head):
    if where == layer:
        kept = value[:, head].clone()
        value[:] = 0.0
        value[:, head] = kept
    return value


def _ablate_forgetting_return(model, tokens, layer, head):
    return model(tokens, hooks={"heads": lambda where, value: None})


def _ablate_all_layers_from_one_run(model, tokens, layer, head):
    brought = record(model, tokens, "heads")
    brought[layer, :, head] = 0.0
    return model(tokens, hooks={"heads": lambda where, value: brought[where]})


def _ablate_with_layer_for_head(model, tokens, layer, head):
    def silence(where, value):
        if where == head:
            value = value.clone()
            value[:, layer] = 0.0
        return value

    return model(tokens, hooks={"heads": silence})


def _ablate_by_values(model, tokens, layer, head):
    """Values of zero, mixed in whatever way, are zero."""
    chosen = torch.arange(model.config.n_heads)[:, None, None] == head
    return model(tokens, hooks={"v": lambda where, v: v if where != layer else v.masked_fill(chosen, 0.0)})


def _ablate_by_weights(model, tokens, layer, head):
    model = copy.deepcopy(model)
    width = model.config.d_head
    model.blocks[layer].attention.w_o[head * width : (head + 1) * width] = 0.0
    return model(tokens)


def _ablate_by_mask(model, tokens, layer, head):
    chosen = torch.arange(model.config.n_heads) == head
    keep = lambda where, value: value * ~(chosen[:, None, None] & (where == layer))  # noqa: E731
    return model(tokens, hooks={"heads": keep})


def _patched(at, name="heads", only_there=True):
    """A patch that copies an index of the named value."""

    def patching(model, tokens, other, layer, head):
        brought = record(model, other, name)

        def put(where, value):
            value = value.clone()
            if where == layer or not only_there:
                value[at(head)] = brought[where][at(head)]
            return value

        return model(tokens, hooks={name: put})

    return patching


def _patch_forgetting_return(model, tokens, other, layer, head):
    return model(tokens, hooks={"heads": lambda where, value: None})


def _patch_from(chosen):
    """A patch with what `chosen` takes out of the recorded values, in place of the head's."""

    def patching(model, tokens, other, layer, head):
        brought = record(model, other, "heads")

        def put(where, value):
            if where == layer:
                value = value.clone()
                value[:, head] = chosen(brought, value, layer, head)
            return value

        return model(tokens, hooks={"heads": put})

    return patching


def _patch_all_layers(model, tokens, other, layer, head):
    brought = record(model, other, "heads")
    return model(tokens, hooks={"heads": lambda where, value: brought[where]})


def _patch_the_other_heads(model, tokens, other, layer, head):
    brought = record(model, other, "heads")[layer]

    def put(where, value):
        if where == layer:
            brought[:, head] = value[:, head]
            return brought
        return value

    return model(tokens, hooks={"heads": put})


def _patch_with_layer_for_head(model, tokens, other, layer, head):
    brought = record(model, other, "heads")

    def put(where, value):
        if where == head:
            value = value.clone()
            value[:, layer] = brought[head][:, layer]
        return value

    return model(tokens, hooks={"heads": put})


def _patch_by_difference(model, tokens, other, layer, head):
    more = record(model, other, "heads")[layer] - record(model, tokens, "heads")[layer]
    chosen = torch.arange(model.config.n_heads)[:, None, None] == head
    return model(tokens, hooks={"heads": lambda where, value: value + more * chosen if where == layer else value})


def _patch_by_keeping(model, tokens, other, layer, head):
    kept = {}

    def keep(where, value):
        kept[where] = value
        return value

    def put(where, value):
        if where != layer:
            return value
        rows = [kept[where][:, h] if h == head else value[:, h] for h in range(value.shape[1])]
        return torch.stack(rows, dim=1)

    model(other, hooks={"heads": keep})
    return model(tokens, hooks={"heads": put})


# 09-attribute


def attribute(parts, u):
    """What each part of the residual stream adds to the logit difference, through the last LayerNorm.

    (part - its mean) · u / √(var(Σ parts) + 1e-5): all together they give LayerNorm(Σ parts) · u exactly.
    Shapes: parts (N, D), u (D,) = the answer's column of the output matrix minus the rival's -> (N,).
    Source: Elhage et al. 2021, "direct path"; Wang et al. 2022, section 2.
    """
    spread = (parts.sum(dim=0).var(unbiased=False) + 1e-5).sqrt()
    return (parts - parts.mean(dim=-1, keepdim=True)) @ u / spread


def _parts(rng):
    N, D = int(rng.integers(1, 6)), int(rng.integers(2, 7))
    parts = torch.from_numpy(rng.normal(size=(N, D)) * rng.uniform(0.5, 3.0, size=(N, 1)) + rng.normal(size=(N, 1)))
    return parts.float(), torch.from_numpy(rng.normal(size=D)).float()


def _attribute_by_u(parts, u):
    total = parts.sum(0)
    return parts @ (u - u.mean()) / (((total - total.mean()) ** 2).mean() + 1e-5) ** 0.5


def _attribute_by_ratio(parts, u):
    total = parts.sum(dim=0)
    centred = total - total.mean()
    share = functional.layer_norm(total, total.shape) @ centred / (centred @ centred)
    return torch.stack([(part - part.mean()) @ u for part in parts]) * share


def _attribute_by_matrix(parts, u):
    centring = torch.eye(len(u)) - 1 / len(u)
    total = parts.sum(dim=0) @ centring
    return parts @ centring @ u / (total @ total / len(u) + 1e-5).sqrt()


def _attribution(centre=True, spread="sum", reduce=None):
    def attempt(parts, u):
        moved = parts - parts.mean(dim=-1, keepdim=True) if centre else parts
        total = parts.sum(dim=0)
        scale = {"sum": (total.var(unbiased=False) + 1e-5).sqrt(), "none": torch.tensor(1.0),
                 "own": (parts.var(dim=-1, unbiased=False) + 1e-5).sqrt(), "variance": total.var(unbiased=False) + 1e-5,
                 "n - 1": (total.var() + 1e-5).sqrt(), "length": total.norm(),
                 "all": (parts.var(unbiased=False) + 1e-5).sqrt()}[spread]  # fmt: skip
        found = moved @ u / scale
        return found if reduce is None else reduce(found)

    return attempt


def _check_read(attempt):
    word = str(attempt).split("(")[0].strip(" .*“”\"'").lower().removeprefix("token ").removeprefix("row ")
    replies = {
        "ben": "“Ben” has the largest number of the map, 1.0, but that's Ben looking at itself: go down the column of “lamp”",
        "saw": "“saw” gives “lamp” nothing: it stands before it, and a decoder does not see ahead",
        "the": "“the” is looked at by “lamp”, with 0.6: that is the row of “lamp”, not its column",
        "lamp": "“lamp” gives itself 0.1; someone else gives it more",
    }
    if word in replies:
        raise Wrong(replies[word])
    if word != "it":
        raise Wrong(f"one of the five tokens was wanted, {attempt!r} was given")
    return "rows look, columns are looked at: down the column of “lamp” the largest weight is 0.7, in the row of “it”"


EXERCISES = [
    Exercise(
        id="09-read", title="who looks at the lamp?", minutes=2, difficulty=1,
        task="""On paper. Here's a map of five tokens:

| | Ben | saw | the | lamp | it |
| --- | --- | --- | --- | --- | --- |
| **Ben** | 1.0 | 0 | 0 | 0 | 0 |
| **saw** | 0.8 | 0.2 | 0 | 0 | 0 |
| **the** | 0.3 | 0.4 | 0.3 | 0 | 0 |
| **lamp** | 0.1 | 0.2 | 0.6 | 0.1 | 0 |
| **it** | 0.1 | 0.1 | 0.0 | 0.7 | 0.1 |

Which token looks most at “lamp”?""",
        stub="looks_most_at_lamp = ...  # a word, as text", name="looks_most_at_lamp",
        hints=(
            "Does “looks at” go along the rows or along the columns?",
            "Whoever is looked at is named on top. Whose number in that column is largest?",
            "Go down the column “lamp” to its largest number, 0.7, and read the name of its row.",
        ),
        check=_check_read, answer="it", another=(" It.", "“it”", "row it", "it (0.7)"),
        wrong=(
            ("the", "the row of “lamp”"),
            ("lamp", "gives itself 0.1"),
            ("Ben", "largest number of the map"),
            ("saw", "does not see ahead"),
            (0.7, "one of the five tokens"),
        ),
    ),
    Exercise(
        id="09-induction", title="where would it look?", minutes=3, difficulty=1,
        task="`<story> Anna saw Ben . Ben took the cup . Then Anna`: places 0 to 11. An induction head stands at place 11, the second “Anna”. "
        "At which place does it look?",
        stub="looked_at = ...  # a place, 0 to 11", name="looked_at",
        hints=(
            "Where was this token before?",
            "The head wants to know what comes next. Which token tells it, the earlier copy or one of its neighbours?",
            "“Anna” was at place 1. What came right after it there is the guess for what comes now.",
        ),
        answer=2, another=(2.0, np.int64(2)),
        wrong=(
            (1, "that's the earlier copy of this token: an induction head looks one further, at what followed it"),
            (0, "that's the token before the earlier copy: what came *after* it helps to guess what comes next"),
            (10, "that's the token before this one: a previous-token head looks there"),
            (11, "that's the token itself"),
            (3, "that's two after the earlier copy: one after it is meant"),
            (6, "that followed “Ben”: the head is at “Anna”"),
            (12, "that place isn't written yet: the head looks back"),
        ),
        right="“Anna” stood at place 1, and “saw” followed it, at place 2: the head looks there and guesses “saw” again",
    ),
    Exercise(
        id="09-score", title="how strong is the stripe?", minutes=6, difficulty=2,
        task=r"""Write `induction_score(maps, n)`. The text is n tokens, twice. For each query i in the second copy (i = n … 2n − 1), take the weight
on key i − n + 1, and average over the queries: $\frac1n \sum_{i=n}^{2n-1} A_{i,\,i-n+1}$. Everything in front of the last two axes stays.""",
        stub="def induction_score(maps, n):\n    # maps (..., 2n, 2n), rows are queries -> (...)\n    return ...", name="induction_score",
        hints=(
            "For n = 3 the text is a b c a b c. Write down the three pairs (query, key) whose weights you need.",
            "They're (3, 1), (4, 2), (5, 3): a diagonal. You can index with two tensors of places at once, or use `diagonal`.",
            "`queries = torch.arange(n, 2 * n)`, then `maps[..., queries, queries - n + 1]`, and the mean over the last axis.",
        ),
        answer=induction_score, another=(_score_by_gather, _stripe(), _score_by_block), inputs=_maps,
        wrong=(
            (_stripe(shift=0), "that's the weight on the earlier copy of the same token, i − n: the one after it is meant, i − n + 1"),
            (_stripe(shift=2), "that's one too far: the key is i − n + 1"),
            (lambda maps, n: induction_score(maps.mT, n), "rows and columns have changed places: the query is the row, maps[..., i, i − n + 1]"),
            (lambda maps, n: maps.diagonal(offset=1 - n, dim1=-2, dim2=-1).mean(dim=-1), "the diagonal begins one row too early, at query n − 1, in the first copy: leave its first entry out"),
            (lambda maps, n: induction_score(maps, n) * n, "the weights are added up, not averaged: divide by n"),
            (_stripe(rows=(0, -1)), "the last query, 2n − 1, is missing"),
            (_stripe(rows=(1, 0)), "the first query of the second copy, n, is missing"),
            (lambda maps, n: induction_score(maps, n).mean(), "one number came back: average over the queries alone, the heads stay apart"),
            (_score_without_dots, "`maps[queries, keys]` indexes the first two axes, and queries and keys are the last two: write `maps[..., queries, keys]`"),
            (lambda maps, n: maps[..., n:, 1 : n + 1].mean(dim=(-1, -2)), "that's the mean over a whole block, every query with every key: only the pairs (i, i − n + 1) count, its diagonal"),
            (lambda maps, n: maps[..., -1, n], "that's the last query alone: average over all queries of the second copy"),
        ),
        right="1 means: in the second copy, all weight is on what came next the first time",
        ours="bigmodel_lib.exercises.nb09:induction_score",
    ),
    Exercise(
        id="09-ablate", title="silence a head", minutes=8, difficulty=2,
        task="Write `ablate(model, tokens, layer, head)`: the logits of a run in which one head of one layer brings nothing. A hook named `\"heads\"` is called as "
        "`hook(where, value)` in every layer; `value` has shape (B, H, T, K), and the run goes on with what it gives back. So: in the right layer, give back a copy with zeros for that "
        "head; in the others, give `value` back as it is.",
        stub="def ablate(model, tokens, layer, head):\n    # tokens (B, T) -> logits (B, T, V)\n    return ...", name="ablate",
        hints=(
            "You need a function inside your function. When must it leave its value alone?",
            "`value[:, head]` is what that head brings, for all texts and places. `value.clone()` makes a copy that you may change.",
            "def silence(where, value): if where != layer, return value; else clone, set [:, head] to 0, return it. Then `model(tokens, hooks={\"heads\": silence})`.",
        ),
        answer=ablate, another=(_ablate_by_weights, _ablate_by_mask, _ablate_by_values), inputs=_ablate_inputs,
        wrong=(
            (lambda model, tokens, layer, head: model(tokens), "nothing changes: the logits are those of the whole model. Is `where == layer` ever true in your hook (`where` is one number), does it give back what it changed, and do you pass it to the model?"),
            (_hooked(_zeroed(lambda head: (slice(None), head), only_there=False)), "that head is silent in *every* layer: change the value only where `where == layer`"),
            (_hooked(_zeroed(lambda head: slice(None))), "all heads of the layer are silent: zero `value[:, head]` alone"),
            (_hooked(_zeroed(lambda head: (slice(None), slice(None), head))), "that's place `head` of every head: the axes are (B, H, T, K), so the head comes second"),
            (_hooked(_zeroed(lambda head: (..., head))), "that's one number of every head's vector: the axes are (B, H, T, K), so the head comes second"),
            (_hooked(_zeroed(lambda head: head)), "that's text `head` of the batch, with all its heads: the axes are (B, H, T, K), so write `value[:, head]`"),
            (_ablate_forgetting_return, "your hook gives back None in at least one layer: every way through it needs a `return`. Where it changes nothing, `return value`"),
            (_hooked(_zeroed(lambda head: (slice(None), head)), name="scores"), "zero *scores* become even weights after softmax, so the head still brings a mean of all it sees: take the hook \"heads\", what it brings"),
            (_ablate_all_layers_from_one_run, "you put recorded values into every layer, so the layers above never notice that the head is gone: change one layer, and give the others their `value` back"),
            (_ablate_with_layer_for_head, "layer and head have changed places: `where` is the layer, and the head is an index of `value`"),
            (_hooked(_all_but_one), "it's the other way round: yours keeps that head and silences the rest"),
            (_hooked(_zeroed(lambda head: (slice(None), head, -1))), "the head is silent at the last place alone: at every place it should bring nothing"),
            (lambda model, tokens, layer, head: ablate(model, tokens, layer, head).softmax(dim=-1), "those are probabilities: give back the logits"),
            (lambda model, tokens, layer, head: ablate(model, tokens, layer, head)[:, -1], "that's the last place alone: give back the logits of every place, (B, T, V)"),
            (lambda model, tokens, layer, head: ablate(model, tokens, min(head, model.config.n_layers - 1), min(layer, model.config.n_heads - 1)), "layer and head have changed places"),
        ),
        right="one head's voice is gone, and everything after it runs as usual",
        ours="bigmodel_lib.interpretability.interventions:ablate",
    ),
    Exercise(
        id="09-patch", title="carry it over", minutes=8, difficulty=3,
        task="Write `patch(model, tokens, other, layer, head)`: the logits for `tokens`, in a run in which one head brings what it brought in the run on `other`. "
        "`record(model, other, \"heads\")` gives what all heads brought there, (L, B, H, T, K).",
        stub="def patch(model, tokens, other, layer, head):\n    # tokens and other (B, T) -> logits (B, T, V)\n    return ...", name="patch",
        hints=(
            "Two runs: one to record, one to change. Which text goes into which?",
            "It's your `ablate`, with something else in place of the zeros. Where does record keep that head's output?",
            "`brought = record(model, other, \"heads\")[layer]`, and in the hook `value[:, head] = brought[:, head]` on a clone.",
        ),
        answer=patch, another=(_patch_by_keeping, _patched(lambda head: (slice(None), head)), _patch_by_difference), inputs=_patch_inputs,
        wrong=(
            (lambda model, tokens, other, layer, head: model(tokens), "nothing is carried over: the logits are those of `tokens` untouched. Did you record the run on `other`?"),
            (lambda model, tokens, other, layer, head: model(other), "those are the logits of `other`: run `tokens`, and carry over one head"),
            (lambda model, tokens, other, layer, head: patch(model, other, tokens, layer, head), "it's the wrong way round: yours changes the run on `other`"),
            (_patched(lambda head: slice(None)), "all heads of the layer are carried over: one is enough"),
            (_patched(lambda head: (slice(None), head), only_there=False), "that head is carried over in *every* layer: change the value only where `where == layer`"),
            (_patched(lambda head: (slice(None), head), name="weights"), "you carried over the map, and it mixes the values of `tokens`: take the hook \"heads\", what the head brings"),
            (_patched(lambda head: (slice(None), head, -1)), "only the last place is carried over: take all places"),
            (_patched(lambda head: (slice(None), slice(None), head)), "that's place `head` of every head: the axes are (B, H, T, K), so the head comes second"),
            (_patched(lambda head: (..., head)), "that's one number of every head's vector: the axes are (B, H, T, K), so the head comes second"),
            (_patched(lambda head: head), "that's text `head` of the batch, with all its heads: the axes are (B, H, T, K), so write `value[:, head]`"),
            (_patch_forgetting_return, "your hook gives back None in at least one layer: every way through it needs a `return`. Where it changes nothing, `return value`"),
            (_patch_from(lambda brought, value, layer, head: brought[:, head]), "`record` gives the values of all layers, (L, B, H, T, K), so `[:, head]` picks a text there: take `[layer]` first"),
            (_patch_from(lambda brought, value, layer, head: brought[head]), "`record` gives the values of all layers, (L, B, H, T, K), so `[head]` picks a layer there: take `[layer]` first, then `[:, head]`"),
            (_patch_from(lambda brought, value, layer, head: brought[layer][head]), "after `[layer]`, the axes are (B, H, T, K), so `[head]` picks a text: write `[:, head]`"),
            (_patch_from(lambda brought, value, layer, head: brought[layer][0, head]), "every text gets what the head brought on the *first* text of `other`: take `[:, head]`, text by text"),
            (_patch_from(lambda brought, value, layer, head: brought[0][:, head]), "you took the head's output from layer 0, whatever the layer: `record(model, other, \"heads\")[layer]`"),
            (_patch_from(lambda brought, value, layer, head: value[:, head] + brought[layer][:, head]), "yours *adds* what the head brought on `other` to what it brings here: put it in its place, with = rather than +="),
            (_patched(lambda head: (slice(None), head), name="v"), "you carried over the values, and the head mixes them by the map of `tokens`: take the hook \"heads\", what it brings in the end"),
            (_patch_all_layers, "all heads of all layers are carried over: one is enough"),
            (_patch_the_other_heads, "it's the other way round: yours carries the layer's other heads over and keeps this one"),
            (_patch_with_layer_for_head, "layer and head have changed places: `where` is the layer, and the head is an index of `value`"),
            (lambda model, tokens, other, layer, head: ablate(model, tokens, layer, head), "the head is silent: put in what it brought on `other`, not zeros"),
            (lambda model, tokens, other, layer, head: patch(model, tokens, other, layer, head)[:, -1], "that's the last place alone: give back the logits of every place, (B, T, V)"),
            (lambda model, tokens, other, layer, head: patch(model, tokens, other, layer, head) - model(tokens), "that's the change: give back the logits themselves"),
        ),
        right="what changes now was carried by this one head",
        ours="bigmodel_lib.interpretability.interventions:patch",
    ),
    Exercise(
        id="09-attribute", title="who wrote what?", minutes=8, difficulty=3,
        task=r"""Write `attribute(parts, u)`. `parts` holds the N vectors whose sum is the stream at the last place; `u` is “tired”'s column of the output matrix minus
“heavy”'s. LayerNorm takes the sum's mean away and divides by its spread, $\sigma = \sqrt{\text{var} + 10^{-5}}$ (variance with N in its denominator: `unbiased=False`). So
part i adds $(\text{part}_i - \text{its mean}) \cdot u / \sigma$, with *one* σ for all: the sum's.""",
        stub="def attribute(parts, u):\n    # parts (N, D), u (D,) -> (N,), what each part adds to the logit difference\n    return ...", name="attribute",
        hints=(
            "The contributions must add up to LayerNorm(sum of the parts) · u. Which of LayerNorm's two steps can be split part by part?",
            "Taking the mean away works part by part. The division needs one number, from the sum of all parts.",
            "`spread = (parts.sum(dim=0).var(unbiased=False) + 1e-5).sqrt()`; centre each part over its own D numbers; then `@ u / spread`.",
        ),
        answer=attribute, another=(_attribute_by_u, _attribute_by_ratio, _attribute_by_matrix), inputs=_parts, tolerance=Tolerance(absolute=1e-4, relative=1e-3),
        wrong=(
            (_attribution(centre=False), "LayerNorm takes the mean away first: centre each part"),
            (_attribution(spread="none"), "the division by the spread is missing"),
            (_attribution(spread="own"), "each part is divided by its own spread: there's only one LayerNorm, on the sum, so one σ for all"),
            (_attribution(spread="variance"), "that's divided by the variance: take its root"),
            (_attribution(spread="n - 1"), "PyTorch's `var` divides by D − 1: LayerNorm divides by D, so say `unbiased=False`"),
            (_attribution(spread="length"), "that's divided by the sum's length: σ is the root of its variance"),
            (_attribution(reduce=lambda found: found.sum()), "that's their sum, the whole logit difference: keep the parts apart"),
            (lambda parts, u: (parts - parts.mean(dim=0)) @ u / (parts.sum(dim=0).var(unbiased=False) + 1e-5).sqrt(), "you took away the mean over the parts: each part's own mean over its D numbers is meant, dim=-1"),
            (lambda parts, u: (parts - parts.mean()) @ u / (parts.sum(dim=0).var(unbiased=False) + 1e-5).sqrt(), "you took away one mean of all numbers: each part's own mean over its D numbers is meant, `dim=-1, keepdim=True`"),
            (lambda parts, u: (parts - parts.sum(dim=0).mean()) @ u / (parts.sum(dim=0).var(unbiased=False) + 1e-5).sqrt(), "you took the *sum's* mean away from every part, N times in all: each part loses its own"),
            (lambda parts, u: (parts - parts.mean(dim=-1)) @ u / (parts.sum(dim=0).var(unbiased=False) + 1e-5).sqrt(), "the means are lined up with the wrong axis: part i has to lose mean i, so keep the axis with `keepdim=True`"),
            (_attribution(spread="all"), "that's the spread of all parts' numbers together: LayerNorm sees their sum, `parts.sum(dim=0)`"),
            (lambda parts, u: attribute(parts, u) * (parts.sum(dim=0).var(unbiased=False) + 1e-5).sqrt() / (parts.sum(dim=1).var(unbiased=False) + 1e-5).sqrt(), "σ is that of N sums, one for each part: add the parts up, `parts.sum(dim=0)`, and take the variance of its D numbers"),
            (lambda parts, u: -attribute(parts, u), "the sign is turned"),
        ),
        right="all bars together are exactly the logit difference",
        ours="bigmodel_lib.exercises.nb09:attribute",
    ),
]  # fmt: skip
