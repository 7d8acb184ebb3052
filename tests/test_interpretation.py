"""Each method on models whose answer is known: weights set by hand, paths counted one by one, slopes by small steps."""

import itertools

import pytest
import torch
from notebook_code import defined_in
from torch.nn import functional

from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability import interventions
from bigmodel_lib.interpretability import maps as looked
from bigmodel_lib.model.transformer import HOOKS

NAMES = ("induction_by_hand", "entropy_of_rows", "mean_distance", "habit_squares", "pattern_scores", "logit_lens")
CODE = defined_in("09_attention_maps", *NAMES)
induction_by_hand, entropy_of_rows, mean_distance, habit_squares, pattern_scores, logit_lens = map(
    vars(CODE).get, NAMES
)
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


def test_the_lens_ends_in_the_models_own_answer_and_begins_with_the_embedding(random_model, random_tokens):
    model, tokens = random_model(4, tied=True, init="gpt2"), random_tokens()
    lens = logit_lens(model, tokens)
    assert lens.shape == (3, 3, 12, 11) and torch.allclose(lens.exp().sum(dim=-1), torch.ones(3, 3, 12))
    assert torch.allclose(lens[-1], model(tokens).log_softmax(dim=-1), atol=1e-5)
    own = functional.layer_norm(model.token_embedding[tokens], (16,)) @ model.token_embedding.T
    assert torch.allclose(lens[0], own.log_softmax(dim=-1), atol=1e-5)


def test_the_lens_reads_the_answer_after_the_layer_that_writes_it(by_hand):
    lens = logit_lens(by_hand, TEXT[None])[:, 0].exp()
    for place, source in KNOWN.items():
        right = lens[:, place, TEXT[source]]
        assert (right[:2] < 0.2).all() and right[2] > 0.99


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


# Maps


def test_entropy_and_distance_of_rows_that_can_be_counted():
    rows = torch.tensor([[1.0, 0, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 1.0, 0], [0.25, 0.25, 0.25, 0.25]])
    assert torch.allclose(entropy_of_rows(rows), torch.tensor([0.0, 0.6931472, 0.0, 1.3862944]))
    assert torch.allclose(mean_distance(rows), torch.tensor([0.0, 1.0, 0.0, 1.5]))


def test_each_kind_of_head_has_the_highest_score_of_its_kind(by_hand):
    scores = pattern_scores(looked.record(by_hand, TEXT[None], "weights")[:, 0], TEXT)
    for kind, heads in {"previous": [(0, 0)], "first": [(0, 1)], "induction": [(1, 0), (1, 1)]}.items():
        for layer, head in itertools.product(range(2), range(2)):
            assert (scores[kind][layer, head] > 0.99) == ((layer, head) in heads), (kind, layer, head)
    same = torch.zeros(1, 1, 10, 10)
    same[..., 5, 1], same[..., 6, 2], same[..., 9, 3] = 1.0, 0.5, 0.3
    assert torch.allclose(pattern_scores(same, TEXT)["same"], torch.tensor(0.6))
    assert pattern_scores(same, torch.arange(10))["induction"].isnan().all()


def test_the_squares_of_a_habit_are_those_that_one_would_frame_by_hand():
    squares = habit_squares(torch.tensor([0, 3, 5, 3, 3]))
    wanted = {"first": [(1, 0), (2, 0), (3, 0), (4, 0)], "previous": [(1, 0), (2, 1), (3, 2), (4, 3)],
              "same": [(3, 1), (4, 1), (4, 3)], "induction": [(3, 2), (4, 2), (4, 4)]}  # fmt: skip
    for habit, places in wanted.items():
        assert [tuple(pair) for pair in squares[habit].nonzero().tolist()] == places, habit


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


# Gradient × input


@pytest.mark.parametrize("changes", [dict(), dict(causal=False), dict(token_shift=False, activation="gelu")], ids=str)
def test_gradient_times_input_is_the_slope_of_making_one_token_longer(random_model, random_tokens, changes):
    model, tokens = random_model(5, scale=0.3, dtype=torch.float64, **changes), random_tokens(1, (2, 6))
    places, targets, step = torch.tensor([5, 3]), torch.tensor([2, 7]), 1e-5
    found = looked.gradient_times_input(model, tokens, places, targets)

    def lead(row, token, size):
        def longer(layer, value):
            if layer > 0:
                return value
            value = value.clone()
            value[0, token] *= size
            return value

        with torch.no_grad():
            logits = model(tokens[row : row + 1], hooks={"stream": longer})[0, places[row]]
        return logits[targets[row]] - logits.mean()

    for row, token in itertools.product(range(2), range(6)):
        slope = (lead(row, token, 1 + step) - lead(row, token, 1 - step)) / (2 * step)
        assert abs(found[row, token] - slope) < 1e-6
    assert found.abs().max() > 0.01 and not found.requires_grad


def test_gradient_times_input_finds_the_copied_token(by_hand):
    tokens = TEXT.expand(len(KNOWN), -1)
    places, sources = torch.tensor(list(KNOWN)), torch.tensor(list(KNOWN.values()))
    found = looked.gradient_times_input(by_hand, tokens, places, TEXT[sources])
    assert torch.equal(found.argmax(dim=-1), sources)
    assert all(found[row, place + 1 :].abs().max() < 1e-6 for row, place in enumerate(places[:-1]))  # not the future


# Hiding and ablation


def test_hiding_a_token_equals_setting_its_weights_to_zero_by_hand(random_model, random_tokens):
    model, tokens = random_model(6, n_layers=1), random_tokens(2, (1, 5))
    keys = torch.zeros(1, 5, dtype=torch.bool)
    keys[0, 2] = True
    found = model(tokens, hooks=interventions.knockout(keys, {(0, 1)}))
    weights, values = looked.record(model, tokens, "weights")[0], None
    block, y = model.blocks[0].attention, functional.layer_norm(model.embed(tokens), (16,))
    y = y + block.shift * functional.pad(y, (0, 0, 1, -1))
    values = (y @ block.w_v).view(1, 5, 2, 8).transpose(1, 2)
    weights[0, 1, :, 2] = 0.0
    x = model.embed(tokens) + (weights @ values).transpose(1, 2).reshape(1, 5, 16) @ block.w_o
    x = x + model.blocks[0].mlp(functional.layer_norm(x, (16,)))
    assert torch.allclose(found, functional.layer_norm(x, (16,)) @ model.w_out, atol=1e-4)
    assert not torch.allclose(found, model(tokens), atol=1e-2)


def test_hiding_effects_point_at_what_the_answer_needs(by_hand):
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
        assert interventions.knockout_effects(by_hand, TEXT, targets, head).abs().max() < 0.01
    both = interventions.knockout_effects(by_hand, TEXT, targets, {(1, 0), (1, 1)})
    assert both[9].argmax() == 4 and both[9, 4] > 1 and both[9, :4].abs().max() < 0.01


@pytest.mark.parametrize("how", interventions.HOW)
def test_taking_away_heads_of_the_model_by_hand_does_what_its_weights_say(by_hand, how):
    other = torch.tensor([[0, 7, 1, 4, 2, 5, 6, 3, 2, 1]])

    def worst(*heads):
        probs = interventions.ablate(by_hand, TEXT[None], heads, how, other)[0].softmax(dim=-1)
        return min(probs[place, TEXT[source]].item() for place, source in KNOWN.items())

    whole = by_hand(TEXT[None])
    assert torch.allclose(interventions.ablate(by_hand, TEXT[None], []), whole, atol=1e-5)
    assert torch.allclose(interventions.ablate(by_hand, TEXT[None], [(0, 1)], how, other), whole, atol=1e-5)
    assert worst() > 0.999 and worst((1, 0)) > 0.45 and worst((1, 1)) > 0.45  # each stands in for the other
    assert worst((1, 0), (1, 1)) < 0.4 and worst((0, 0)) < 0.4


@pytest.mark.parametrize("seed", range(3))
def test_ablation_replaces_exactly_that_heads_output(random_model, random_tokens, seed):
    model, tokens, other = random_model(seed, n_layers=1), random_tokens(seed), random_tokens(seed + 9)
    heads, others = looked.record(model, tokens, "heads")[0], looked.record(model, other, "heads")[0]
    puts = {"zero": 0.0, "mean": others[:, 1].flatten(0, 1).mean(dim=0), "resample": others[:, 1]}
    w_o = model.blocks[0].attention.w_o
    for how, put in puts.items():
        ours = heads.clone()
        ours[:, 1] = put
        x = model.embed(tokens) + ours.transpose(1, 2).reshape(3, 12, 16) @ w_o
        x = x + model.blocks[0].mlp(functional.layer_norm(x, (16,)))
        wanted = functional.layer_norm(x, (16,)) @ model.w_out
        assert torch.allclose(interventions.ablate(model, tokens, [(0, 1)], how, other), wanted, atol=1e-4), how


def test_impossible_ablations_are_refused(by_hand):
    for how in ("none", "mean", "resample"):
        with pytest.raises(CourseError, match="choose zero"):
            interventions.ablate(by_hand, TEXT[None], [(0, 0)], how)


# Patching


def test_patching_follows_the_answer_from_the_token_that_is_copied_to_the_place_that_says_it(by_hand):
    clean, corrupt = TEXT[:6], TEXT[:6].clone()
    corrupt[2] = 4
    shares = interventions.patch(by_hand, clean, corrupt, lambda logits: logits[:, -1].log_softmax(dim=-1)[:, 5])
    wanted = torch.zeros(3, 6)
    wanted[0, 2] = wanted[1, 2] = wanted[2, 5] = 1.0
    assert torch.allclose(shares, wanted, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_patching_one_place_equals_a_run_with_that_place_replaced(random_model, random_tokens, seed):
    model = random_model(seed, scale=0.3)
    clean, corrupt = random_tokens(seed, (2, 7))
    shares = interventions.patch(model, clean, corrupt, lambda logits: logits[:, -1, 0] - logits[:, -1, 3])
    assert shares.shape == (3, 7) and abs(shares[2, 6] - 1) < 1e-4 and shares[2, :6].abs().max() < 1e-4
    low, high = (model(t[None])[0, -1, 0] - model(t[None])[0, -1, 3] for t in (corrupt, clean))
    for t in range(7):  # at layer 0 patching is nothing but another token
        mixed = corrupt.clone()
        mixed[t] = clean[t]
        logits = model(mixed[None])[0, -1]
        assert abs(shares[0, t] - (logits[0] - logits[3] - low) / (high - low)) < 1e-3


def test_putting_replaces_one_place_a_row_before_one_layer_and_nothing_else(random_model, random_tokens):
    model, tokens, foreign = random_model(2), random_tokens(1, (1, 7)).expand(4, -1), torch.randn(4, 16)
    put, seen = interventions.putting(1, foreign)["stream"], {}

    def watch(layer, value):
        before, after = value.clone(), put(layer, value)
        assert torch.equal(value, before) and (after is value) == (layer != 1)
        seen[layer] = before, after
        return after

    with torch.no_grad():
        model(tokens, hooks={"stream": watch})
    before, after = seen[1]
    for row, place in itertools.product(range(4), range(7)):
        assert torch.equal(after[row, place], foreign[row] if row == place else before[row, place])


def test_texts_that_cannot_be_patched_are_refused(by_hand):
    with pytest.raises(CourseError, match="10 and 4 tokens"):
        interventions.patch(by_hand, TEXT, TEXT[:4], lambda logits: logits[:, -1, 0])
    with pytest.raises(CourseError, match="measure alike"):
        interventions.patch(by_hand, TEXT, TEXT, lambda logits: logits[:, -1, 0])
