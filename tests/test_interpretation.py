"""Each method on models whose answer is known: weights set by hand, paths counted one by one, slopes by small steps."""

import itertools

import pytest
import torch
from induction_model import induction_by_hand
from torch.nn import functional

from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises.nb09 import attribute, induction_score
from bigmodel_lib.exercises.nb09b import hide
from bigmodel_lib.interpretability import interventions
from bigmodel_lib.interpretability import maps as looked
from bigmodel_lib.model.transformer import HOOKS

#                    0  1  2  3  4  5  6  7  8  9
TEXT = torch.tensor([0, 3, 5, 2, 6, 3, 5, 1, 4, 2])  # by the rule, 5 follows place 5, 2 follows 6, and 6 follows 9
KNOWN = {5: 2, 6: 3, 9: 4}  # place: where what followed the same token before stands
KINDS = [dict(), dict(causal=False), dict(positions="learned", qk_norm=False, token_shift=False), dict(ngrams=3),
         dict(tied=True, init="gpt2", activation="gelu"), dict(dropout=0.5)]  # fmt: skip


@pytest.fixture(scope="module")
def by_hand():
    return induction_by_hand()


def nothing(layer, value):
    return value


# The one mechanism


@pytest.mark.parametrize("changes", KINDS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_hooks_that_change_nothing_change_nothing(random_model, random_tokens, changes, seed):
    model, tokens = random_model(seed, dtype=torch.float64, **changes).eval(), random_tokens(seed)
    torch.testing.assert_close(model(tokens, hooks=dict.fromkeys(HOOKS, nothing)), model(tokens), rtol=0, atol=1e-10)


@pytest.mark.parametrize("changes", [*KINDS, dict(n_heads=4, n_kv_heads=2, activation="swiglu", norm="rms")], ids=str)
def test_every_hook_sees_its_value_once_a_layer_and_what_it_gives_back_goes_on(random_model, random_tokens, changes):
    model, tokens = random_model(1, 0.3, torch.float64, **changes).eval(), random_tokens()
    H, H_kv = model.config.n_heads, model.config.n_key_heads
    K, every, ends = 16 // H, [0, 1], {"stream": [0, 1, 2], "logits": [2]}
    shapes = dict(stream=(3, 12, 16), middle=(3, 12, 16), attention=(3, 12, 16), mlp=(3, 12, 16),
                  q=(3, H, 12, K), k=(3, H_kv, 12, K), v=(3, H_kv, 12, K), heads=(3, H, 12, K),
                  scores=(3, H, 12, 12), weights=(3, H, 12, 12), activations=(3, 12, 24),
                  logits=(3, 12, 11))  # fmt: skip
    assert shapes.keys() == HOOKS.keys()
    whole = model(tokens)
    for name, shape in shapes.items():
        for chosen in ends.get(name, every):
            seen = []

            def spoil(layer, value, chosen=chosen, seen=seen):
                seen.append((layer, tuple(value.shape)))
                spoiled = value * torch.linspace(0.5, 2.0, value.shape[-1], dtype=value.dtype)
                return spoiled if layer == chosen else value

            found = model(tokens, hooks={name: spoil})
            assert seen == [(layer, shape) for layer in ends.get(name, every)], name
            assert (found - whole).abs().max() > 1e-6, (name, chosen)


def test_an_unknown_hook_is_refused_by_name(random_model, random_tokens):
    with pytest.raises(CourseError, match="no hook is named 'head': choose one of stream, q, k"):
        random_model()(random_tokens(), hooks={"head": nothing})


def test_what_is_recorded_are_the_parts_that_add_up_to_the_stream(random_model, random_tokens):
    model, tokens = random_model(3, scale=0.2), random_tokens()
    stream, heads, mlp, weights = (looked.record(model, tokens, part) for part in ("stream", "heads", "mlp", "weights"))
    assert stream.shape == (3, 3, 12, 16) and heads.shape == (2, 3, 2, 12, 8) and weights.shape == (2, 3, 2, 12, 12)
    assert torch.allclose(stream[0], model.embed(tokens))
    for layer, block in enumerate(model.blocks):
        added = sum(heads[layer, :, h] @ block.attention.w_o[8 * h : 8 * h + 8] for h in range(2))  # head by head
        assert torch.allclose(stream[layer] + added + mlp[layer], stream[layer + 1], atol=1e-5)


# The model whose truth is known


@pytest.mark.parametrize("seed", range(3))
def test_the_model_by_hand_says_what_followed_the_last_times_and_looks_where_it_says(by_hand, seed):
    model, generator = by_hand, torch.Generator().manual_seed(seed)
    once = torch.randperm(7, generator=generator) + 1
    text = torch.cat([torch.tensor([0]), once, once])
    maps = looked.record(model, text[None], "weights")[:, 0]
    n, best = len(once), model(text[None])[0].argmax(dim=-1)
    for place in range(n + 1, len(text)):  # from here on every token comes for the second time
        assert best[place] == once[(place - n) % n]
        assert (maps[1, :, place, place - n + 1] > 0.999).all()
    assert (maps[0, 0].diagonal(-1) > 0.999).all() and (maps[0, 1, :, 0] > 0.999).all()


# What 09's exercises keep


def test_the_stripe_of_an_induction_head_has_score_one_and_no_other_has(by_hand):
    once = torch.randperm(7, generator=torch.Generator().manual_seed(1)) + 1
    scores = induction_score(looked.record(by_hand, torch.cat([once, once])[None], "weights")[:, 0], 7)
    assert scores.shape == (2, 2) and scores[1].min() > 0.9 and scores[0].max() < 0.2


@pytest.mark.parametrize("changes", [dict(), dict(token_shift=False), dict(tied=True, init="gpt2")], ids=str)
def test_what_the_parts_write_adds_up_to_the_logit_difference(random_model, random_tokens, changes):
    model, tokens = random_model(3, scale=0.3, **changes), random_tokens(0, (1, 9))
    heads, mlps = (looked.record(model, tokens, name) for name in ("heads", "mlp"))
    parts = [model.embed(tokens)[0, -1]]
    for layer, block in enumerate(model.blocks):
        parts += [heads[layer, 0, h, -1] @ block.attention.w_o[8 * h : 8 * h + 8] for h in range(2)]
        parts.append(mlps[layer, 0, -1])
    u = model.unembed(torch.eye(16))
    written = attribute(torch.stack(parts), u[:, 4] - u[:, 7])
    logits = model(tokens)[0, -1]
    assert len(written) == 7 and abs(written.sum() - (logits[4] - logits[7])) < 1e-3 and written.abs().min() > 1e-4


# Rollout


@pytest.mark.parametrize("seed", range(3))
def test_rollout_is_the_sum_over_all_paths(seed):
    L, H, T = 3, 2, 4
    maps = torch.randn(L, H, T, T, generator=torch.Generator().manual_seed(seed)).softmax(dim=-1)
    found = looked.rollout(maps)
    for depth in range(1, L + 1):
        for start, end in itertools.product(range(T), range(T)):
            total = 0.0
            for between in itertools.product(range(T), repeat=depth - 1):
                path, share = (start, *between, end), 1.0  # from the last layer down
                for step, (i, j) in enumerate(itertools.pairwise(path)):
                    weight = sum(maps[depth - 1 - step, h, i, j].item() for h in range(H)) / H
                    share *= 0.5 * weight + 0.5 * (i == j)
                total += share
            assert abs(found[depth - 1, start, end] - total) < 1e-5
    assert torch.allclose(found.sum(dim=-1), torch.ones(L, T))


def test_rollout_without_looking_elsewhere_stays_and_takes_a_batch():
    stays = torch.eye(5).expand(4, 2, 5, 5)
    assert torch.equal(looked.rollout(stays), torch.eye(5).expand(4, 5, 5))
    maps = torch.rand(2, 3, 4, 6, 6).softmax(dim=-1)
    batch = looked.rollout(maps)
    assert batch.shape == (2, 3, 6, 6) and torch.allclose(batch[:, 1], looked.rollout(maps[:, 1]))


# Gradients


@pytest.mark.parametrize("changes", [dict(), dict(causal=False), dict(token_shift=False, activation="gelu")], ids=str)
def test_the_norm_of_a_gradient_is_that_of_the_slopes_by_small_steps(random_model, random_tokens, changes):
    model, tokens = random_model(5, scale=0.3, dtype=torch.float64, **changes), random_tokens(1, (1, 4))
    found = looked.gradient_norms(model, tokens, torch.tensor([2]), torch.tensor([7]))[0]

    def log_p(place, number, step):
        def nudge(layer, value):
            value = value.clone()
            if layer == 0:
                value[0, place, number] += step
            return value

        with torch.no_grad():
            return model(tokens, hooks={"stream": nudge})[0, 2].log_softmax(dim=-1)[7]

    for place in range(4):
        slopes = [(log_p(place, c, 1e-5) - log_p(place, c, -1e-5)) / 2e-5 for c in range(16)]
        assert abs(found[place] - torch.stack(slopes).norm()) < 1e-6
    assert found[:3].min() > 1e-4 and not found.requires_grad and (found[3] < 1e-9) == model.config.causal


# Knockout


@pytest.mark.parametrize("last_only", [False, True])
def test_a_hidden_token_keeps_its_own_row_and_the_rest_of_each_row_sums_to_one(random_model, random_tokens, last_only):
    model, tokens, kept = random_model(6, scale=0.3), random_tokens(2, (1, 6)), []
    keys = torch.zeros(1, 6, dtype=torch.bool)
    keys[0, 2] = True

    def watch(layer, weights):
        kept.append(weights)
        return weights

    hooks = interventions.knockout(keys, {(0, 1)}, last_only)
    before = looked.record(model, tokens, "weights")[0]
    model(tokens, hooks={**hooks, "weights": watch})
    first, after = 5 if last_only else 3, kept[0]
    assert torch.allclose(after.sum(dim=-1), torch.ones(1, 2, 6), atol=1e-6)
    assert torch.equal(after[:, 0], before[:, 0]) and torch.equal(after[:, 1, :first], before[:, 1, :first])
    assert (after[:, 1, first:, 2] == 0).all()
    left = before[:, 1, first:].clone()
    left[..., 2] = 0
    assert torch.allclose(after[:, 1, first:], left / left.sum(dim=-1, keepdim=True), atol=1e-5)
    assert hide(torch.zeros(1, 1, 4, 4), 1).isinf().int()[0, 0].tolist() == [
        [0] * 4,
        [0] * 4,
        [0, 1, 0, 0],
        [0, 1, 0, 0],
    ]


def test_knockout_effects_point_at_what_the_answer_needs(by_hand):
    targets = torch.full_like(TEXT, -1)
    for place, source in KNOWN.items():
        targets[place] = TEXT[source]
    effects = interventions.knockout_effects(by_hand, TEXT, targets)
    for place in range(len(TEXT)):
        if place in KNOWN:
            assert effects[place].argmax() == KNOWN[place] and effects[place, KNOWN[place]] > 1
        else:
            assert effects[place].abs().max() == 0
    for head in [{(0, 1)}, {(1, 0)}, {(1, 1)}]:
        assert interventions.knockout_effects(by_hand, TEXT, targets, head).abs().max() < 0.03
    both = interventions.knockout_effects(by_hand, TEXT, targets, {(1, 0), (1, 1)})
    assert both[9].argmax() == 4 and both[9, 4] > 1 and both[9, :4].abs().max() < 0.03


# Ablation and patching


def logits_with(model, tokens, heads):
    """The logits of a model of one layer, from what its heads bring."""
    x = model.embed(tokens) + heads.transpose(1, 2).flatten(2) @ model.blocks[0].attention.w_o
    x = x + model.blocks[0].mlp(functional.layer_norm(x, (16,)))
    return functional.layer_norm(x, (16,)) @ model.w_out


@pytest.mark.parametrize("seed", range(3))
def test_a_silenced_head_brings_zeros_and_a_carried_one_what_it_brings_elsewhere(random_model, random_tokens, seed):
    model, tokens, other = random_model(seed, n_layers=1), random_tokens(seed), random_tokens(seed + 9)
    heads, others = (looked.record(model, text, "heads")[0] for text in (tokens, other))
    silent, carried = heads.clone(), heads.clone()
    silent[:, 1] = 0.0
    carried[:, 1] = others[:, 1]
    assert torch.allclose(interventions.ablate(model, tokens, 0, 1), logits_with(model, tokens, silent), atol=1e-4)
    found = interventions.patch(model, tokens, other, 0, 1)
    assert torch.allclose(found, logits_with(model, tokens, carried), atol=1e-4)
    assert not torch.allclose(found, model(tokens), atol=1e-2)


def test_silencing_heads_of_the_model_by_hand_does_what_its_weights_say(by_hand):
    def worst(layer, head):
        probs = interventions.ablate(by_hand, TEXT[None], layer, head)[0].softmax(dim=-1)
        return min(probs[place, TEXT[source]].item() for place, source in KNOWN.items())

    assert worst(0, 1) > 0.999 and worst(0, 0) < 0.4
    assert worst(1, 0) > 0.45 and worst(1, 1) > 0.45  # each stands in for the other


def test_the_model_by_hand_says_what_is_carried_over(by_hand):
    text, other = TEXT[:6].clone(), TEXT[:6].clone()
    other[2] = 4  # after the first 3 came 5; now it's 4
    for head in (0, 1):
        logits = interventions.patch(by_hand, text[None], other[None], 1, head)[0, -1]
        assert abs(logits[5] - logits[4]) < 0.1 and logits[5] > 1  # one head says the one, the other the other
    assert torch.allclose(interventions.patch(by_hand, text[None], other[None], 0, 1), by_hand(text[None]), atol=1e-4)


def test_putting_replaces_one_place_a_row_before_one_layer_and_nothing_else():
    foreign, value = torch.randn(4, 16), torch.randn(4, 7, 16)
    for places in (None, torch.tensor([6, 0, 3, 3])):
        put = interventions.putting(1, foreign, places)["stream"]
        after = put(1, value)
        assert put(0, value) is value and after is not value
        chosen = [0, 1, 2, 3] if places is None else places.tolist()
        for row, place in itertools.product(range(4), range(7)):
            assert torch.equal(after[row, place], foreign[row] if place == chosen[row] else value[row, place])


def test_a_patched_place_equals_another_token_before_layer_0(random_model, random_tokens):
    model = random_model(1, scale=0.3)
    clean, corrupt = random_tokens(1, (2, 7))
    stream = looked.record(model, clean[None], "stream")[0, 0]
    found = model(corrupt.expand(7, -1), hooks=interventions.putting(0, stream))
    for place in range(7):
        mixed = corrupt.clone()
        mixed[place] = clean[place]
        assert torch.allclose(found[place], model(mixed[None])[0], atol=1e-4)
