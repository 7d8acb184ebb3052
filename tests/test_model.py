"""Claims about the model, each with random non-zero weights."""

import math
import runpy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.model import layers, transformer
from bigmodel_lib.recipes import preset
from bigmodel_lib.text.sources import data_path

TRIED = data_path("recipes/tried.py")

RECIPES = [
    dict(),
    dict(positions="learned", qk_norm=False, activation="gelu", tied=True, init="gpt2", token_shift=False),
    dict(positions="none"),
    dict(token_shift=False, n_heads=4),
    dict(ngrams=3),
]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_changed_future_token_leaves_earlier_logits_equal(random_model, random_tokens, recipe):
    model, tokens = random_model(dtype=torch.float64, **recipe), random_tokens()
    before = model(tokens)
    for t in range(1, 12):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % 11
        after = model(changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-12)
        assert (after[:, t:] - before[:, t:]).abs().amax(dim=(0, 2)).min() > 1e-6  # and later ones do change


def test_equal_logits_cost_ln_v_and_noise_costs_half_its_variance():
    V, sigma = 1000, 0.1
    targets = torch.randint(V, (8, 4000), generator=torch.Generator().manual_seed(1))
    equal = layers.cross_entropy(torch.full((8, 4000, V), 3.0), targets).item()
    assert equal == pytest.approx(math.log(V), abs=1e-5)
    extra = layers.cross_entropy(3.0 + sigma * normal(8, 4000, V, dtype=torch.float32), targets).item() - math.log(V)
    standard_error = sigma / math.sqrt(targets.numel())
    assert abs(extra - sigma**2 / 2) < 4 * standard_error


def test_the_loss_is_minus_the_log_probability_of_the_target():
    logits, targets = normal(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    by_hand = -sum(
        math.log(math.exp(logits[b, t, targets[b, t]]) / sum(math.exp(z) for z in logits[b, t]))
        for b in range(2)
        for t in range(3)
    )
    assert layers.cross_entropy(logits, targets).item() == pytest.approx(by_hand / 6, abs=1e-12)


@pytest.mark.parametrize("name", ["small", "medium", "large", "plain"])
def test_an_untrained_model_knows_nothing(name, random_tokens):
    config, _ = preset(name, 65)
    model = transformer.initialise(transformer.LanguageModel(config), torch.Generator().manual_seed(0))
    tokens = random_tokens(shape=(4, 64), vocab_size=65)
    loss = layers.cross_entropy(model(tokens), random_tokens(1, (4, 64), 65)).item()
    tolerance = 1e-5 if config.init == "zero" else 0.2
    assert loss == pytest.approx(math.log(65), abs=tolerance)
    if config.init == "zero":  # the branches start closed, and gradients reach what opens them
        layers.cross_entropy(model(tokens), tokens).backward()
        assert model.w_out.grad.norm() > 0


def test_attention_is_the_formula_token_by_token():
    q, k, v = (normal(2, 3, 5, 4, seed=s) for s in range(3))
    for b in range(2):
        for h in range(3):
            for t in range(5):
                scores = [sum(q[b, h, t] * k[b, h, j]).item() / math.sqrt(4) for j in range(t + 1)]
                total = sum(map(math.exp, scores))
                wanted = sum(math.exp(s) / total * v[b, h, j] for j, s in enumerate(scores))
                torch.testing.assert_close(layers.attention_plain(q, k, v)[b, h, t], wanted, rtol=0, atol=1e-12)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.sampled_from([1, 2, 8]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_fused_attention_equals_plain_with_its_gradients(B, H, T, K, seed):
    inputs = [normal(B, H, T, K, seed=seed + s).requires_grad_() for s in range(3)]
    upstream = normal(B, H, T, K, seed=seed + 9)
    fused, plain = layers.attention(*inputs), layers.attention_plain(*inputs)
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(fused, inputs, upstream), torch.autograd.grad(plain, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_weights_are_a_distribution_over_the_past():
    weights = layers.attention_scores(normal(2, 3, 6, 4), normal(2, 3, 6, 4, seed=1)).softmax(dim=-1)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 6, dtype=torch.float64))
    assert (weights.triu(1) == 0).all() and (weights.tril() > 0).sum() == 2 * 3 * 21


def test_relu_squared_equals_plain_with_its_gradient():
    x = normal(50).requires_grad_()
    upstream = normal(50, seed=1)
    assert torch.equal(layers.relu_squared(x), layers.relu_squared_plain(x))
    fast, plain = (torch.autograd.grad(f(x), x, upstream)[0] for f in (layers.relu_squared, layers.relu_squared_plain))
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(layers.relu_squared, (x,))
    with torch.inference_mode():
        assert torch.equal(layers.relu_squared(x), layers.relu_squared_plain(x))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_rotated_score_depends_on_the_signed_distance_alone(t, j, moved, seed):
    cosine, sine = (table.double() for table in layers.rope_tables(128, 8, 1000.0))
    q, k = normal(1, 1, 1, 8, seed=seed), normal(1, 1, 1, 8, seed=seed + 1)

    def score(a, b):
        return (layers.rotate(q, cosine[[a]], sine[[a]]) * layers.rotate(k, cosine[[b]], sine[[b]])).sum()

    torch.testing.assert_close(score(t, j), score(t + moved, j + moved), rtol=0, atol=1e-4)
    torch.testing.assert_close(layers.rotate(q, cosine[[t]], sine[[t]]).norm(), q.norm(), rtol=1e-6, atol=0)


def test_rope_is_a_rotation_in_the_complex_plane():
    cosine, sine = (table.double() for table in layers.rope_tables(7, 6, 1000.0))
    x = normal(2, 3, 7, 6)
    speed = 1000.0 ** (-torch.arange(3, dtype=torch.float64) / 3)
    turned = torch.complex(x[..., :3], x[..., 3:]) * torch.polar(
        torch.ones(7, 3, dtype=torch.float64), torch.arange(7, dtype=torch.float64)[:, None] * speed
    )
    torch.testing.assert_close(
        layers.rotate(x, cosine, sine), torch.cat([turned.real, turned.imag], -1), rtol=0, atol=1e-5
    )


def test_token_shift_adds_the_token_before():
    x, s = normal(2, 4, 3), normal(3, seed=1)
    shifted = layers.shift_tokens(x, s)
    torch.testing.assert_close(shifted[:, 0], x[:, 0])
    torch.testing.assert_close(shifted[:, 1:], x[:, 1:] + s * x[:, :-1])


def test_layer_norm_has_mean_0_and_variance_1():
    y = layers.layer_norm(5 + 3 * normal(4, 64))
    torch.testing.assert_close(y.mean(-1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(y.var(-1, correction=0), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-5)


def test_heads_are_blocks_of_columns():
    x = normal(2, 5, 6)
    heads = layers.split_heads(x, 3)
    torch.testing.assert_close(heads[:, 1], x[:, :, 2:4])
    assert torch.equal(layers.merge_heads(heads), x)


@pytest.mark.parametrize("longest", [2, 3, 4])
@pytest.mark.parametrize("vocab_size", [11, 300])
def test_each_run_of_tokens_has_the_row_of_its_number(random_model, random_tokens, longest, vocab_size):
    model = random_model(dtype=torch.float64, ngrams=longest, vocab_size=vocab_size, positions="learned")
    tokens = random_tokens(vocab_size=vocab_size)
    given_ = model.embed(tokens)
    for b in range(3):
        for t in range(12):
            past = [0, 0, 0, *tokens[b, : t + 1].tolist()]
            wanted = model.token_embedding[past[-1]] + model.position_embedding[t]
            for n in range(2, longest + 1):
                number = sum(token * vocab_size**i for i, token in enumerate(reversed(past[-n:])))
                wanted = wanted + model.ngram_embedding[number % layers.NGRAM_ROWS + (n - 2) * layers.NGRAM_ROWS]
            torch.testing.assert_close(given_[b, t], wanted, rtol=0, atol=1e-12)


def test_runs_are_left_out_half_of_the_time_while_training_and_never_else(random_model, random_tokens):
    model, tokens = random_model(dtype=torch.float64, ngrams=3), random_tokens()
    whole, single = model.embed(tokens), model.token_embedding[tokens]
    pair, triple = model.ngram_embedding[layers.ngram_rows(tokens, 11, 3)]
    torch.testing.assert_close(whole, single + pair + triple, rtol=0, atol=1e-12)
    torch.manual_seed(0)
    model.train()
    counts = torch.zeros(2, 2)
    for _ in range(40):
        drawn = model.embed(tokens) - single
        for a in (0, 1):
            for b in (0, 1):
                counts[a, b] += ((drawn - 2 * a * pair - 2 * b * triple).abs().amax(dim=-1) < 1e-9).sum()
    assert counts.sum() == 40 * tokens.numel()  # each place has lost both, one or none of its runs
    assert (counts / counts.sum() - 0.25).abs().max() < 0.05
    assert torch.equal(model.eval().embed(tokens), whole)
    assert (transformer.initialise(model).ngram_embedding == 0).all() and model.token_embedding.abs().max() > 0


def test_the_rows_of_runs_are_a_prime_number_and_large_vocabularies_do_not_overflow():
    assert layers.NGRAM_ROWS > 2 and all(layers.NGRAM_ROWS % n for n in range(2, math.isqrt(layers.NGRAM_ROWS) + 1))
    rows = layers.ngram_rows(torch.full((1, 6), 2**31 - 1), 2**31, 4)
    assert rows.shape == (3, 1, 6) and rows.min() >= 0
    assert (rows // layers.NGRAM_ROWS == torch.arange(3)[:, None, None]).all()


@pytest.mark.parametrize("recipe", [dict(), dict(token_shift=False, positions="none")])
def test_value_residuals_add_the_first_values_to_later_ones(random_model, random_tokens, monkeypatch, recipe):
    plain, tokens = random_model(dtype=torch.float64, n_layers=3, **recipe), random_tokens()
    other = runpy.run_path(str(TRIED))["ValueResiduals"](plain.config).to(torch.float64)
    other.load_state_dict(plain.state_dict() | {"value_shares": torch.zeros(3)})
    assert torch.equal(other(tokens), plain(tokens))
    with torch.no_grad():
        other.value_shares.copy_(torch.tensor([9.0, 0.75, -0.5]))
    seen, fused = [], layers.attention

    def with_the_first_values(q, k, v):
        seen.append(v)
        return fused(q, k, v + [0.0, 0.75, -0.5][len(seen) - 1] * seen[0])

    given_ = other(tokens)
    monkeypatch.setattr(layers, "attention", with_the_first_values)
    torch.testing.assert_close(given_, plain(tokens), rtol=0, atol=1e-12)
    assert (transformer.initialise(other).value_shares == 0).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_attention_maps_are_what_the_model_uses(random_model, random_tokens, monkeypatch, recipe):
    model, tokens = random_model(dtype=torch.float64, **recipe), random_tokens()
    used = []
    monkeypatch.setattr(
        layers, "attention", lambda q, k, v: used.append(layers.attention_scores(q, k).softmax(dim=-1)) or used[-1] @ v
    )
    slow = model(tokens)
    monkeypatch.undo()
    torch.testing.assert_close(model(tokens), slow, rtol=0, atol=1e-12)
    torch.testing.assert_close(record(model, tokens, "weights"), torch.stack(used), rtol=0, atol=1e-12)


def test_order_matters_with_rope_and_not_without_positions(random_model, random_tokens):
    tokens = random_tokens(shape=(1, 12))
    swapped = tokens[:, [1, 0, *range(2, 12)]]
    assert not torch.equal(tokens, swapped)
    blind = random_model(positions="none", token_shift=False, n_layers=1, dtype=torch.float64)
    torch.testing.assert_close(blind(tokens)[:, -1], blind(swapped)[:, -1], rtol=0, atol=1e-12)
    seeing = random_model(positions="rope", token_shift=False, n_layers=1, dtype=torch.float64)
    assert (seeing(tokens)[:, -1] - seeing(swapped)[:, -1]).abs().max() > 1e-6


def test_a_text_longer_than_the_context_is_refused(random_model, random_tokens):
    with pytest.raises(CourseError, match="13 tokens do not fit a context of 12"):
        random_model()(random_tokens(shape=(1, 13)))


def test_parameters_are_counted_by_the_formula():
    config = ModelConfig(vocab_size=65, d_model=64, n_layers=4, n_heads=2, d_ff=128, token_shift=True)
    by_formula = 2 * 65 * 64 + 4 * (4 * 64**2 + 2 * 64 * 128 + 2 * 64)
    assert transformer.count_parameters(transformer.LanguageModel(config)) == by_formula


def test_initial_spread_is_as_said():
    config, _ = preset("large", 256)
    model = transformer.initialise(transformer.LanguageModel(config), torch.Generator().manual_seed(0))
    block = model.blocks[2]
    assert block.attention.w_q.std().item() == pytest.approx(0.5 / math.sqrt(192), rel=0.03)
    assert block.mlp.w_up.std().item() == pytest.approx(0.5 / math.sqrt(192), rel=0.03)
    assert model.token_embedding.std().item() == pytest.approx(0.5, rel=0.03)
    assert block.attention.w_o.abs().max() == block.mlp.w_down.abs().max() == model.w_out.abs().max() == 0


def test_rope_scores_in_the_model_depend_on_distance(random_model):
    """A text of one repeated token: its queries and keys are equal everywhere, so scores tell the distance alone."""
    model = random_model(token_shift=False, n_layers=1, qk_norm=False, dtype=torch.float64)
    q, k = model.blocks[0].attention.queries_and_keys(
        layers.layer_norm(model.embed(torch.zeros(1, 12, dtype=int))), model.rotation(12)
    )
    scores = (q @ k.transpose(-2, -1))[0]
    for t in range(1, 12):
        torch.testing.assert_close(scores[:, t, 1:], scores[:, t - 1, :-1], rtol=1e-4, atol=1e-4)
    assert (scores[:, 0] - scores[:, 0, :1]).abs().max() > 1e-2  # and distances differ


def spread(model, name):
    """The standard deviation of the numbers in all parameters of that last name."""
    parameters = [p.flatten() for full, p in model.named_parameters() if full.split(".")[-1] == name]
    return torch.cat(parameters).std().item()


def test_first_weights_have_the_spreads_that_are_said():
    sizes = dict(vocab_size=300, context_length=64, d_model=96, n_layers=3, n_heads=4, d_ff=200)
    generator = torch.Generator().manual_seed(0)
    config = ModelConfig(**sizes, positions="learned", init="gpt2", activation="swiglu", norm_gain=True)
    gpt2 = transformer.initialise(transformer.LanguageModel(config), generator)
    for name in ("token_embedding", "position_embedding", "w_q", "w_k", "w_v", "w_up", "w_gate", "w_out"):
        assert spread(gpt2, name) == pytest.approx(0.02, rel=0.03), name
    for name in ("w_o", "w_down"):
        assert spread(gpt2, name) == pytest.approx(0.02 / math.sqrt(6), rel=0.03), name
    assert all((p == 1).all() for name, p in gpt2.named_parameters() if name.endswith("norm_gain"))
    recipe = transformer.initialise(transformer.LanguageModel(ModelConfig(**sizes, ngrams=2)), generator)
    assert spread(recipe, "token_embedding") == pytest.approx(0.5, rel=0.03)
    for name in ("w_q", "w_k", "w_v", "w_up"):
        assert spread(recipe, name) == pytest.approx(0.5 / math.sqrt(96), rel=0.03), name
        bound = max(p.abs().max().item() for full, p in recipe.named_parameters() if full.endswith(name))
        assert bound == pytest.approx(0.5 * math.sqrt(3 / 96), rel=0.01), name
    zero = ("w_o", "w_down", "w_out", "shift", "ngram_embedding")
    assert all((p == 0).all() for name, p in recipe.named_parameters() if name.split(".")[-1] in zero)


def test_training_leaves_out_as_many_embeddings_of_runs_as_the_configuration_says(random_model, random_tokens):
    tokens = random_tokens()
    for share in (0.0, 0.9):
        model = random_model(dtype=torch.float64, ngrams=3, ngram_dropout=share)
        same = torch.equal(model.train().embed(tokens), model.eval().embed(tokens))
        assert same == (share == 0.0), share


@pytest.mark.parametrize("longest", [2, 4])
def test_what_is_saved_are_the_parameters_alone_and_runs_have_a_row_for_each_length(random_model, longest):
    model = random_model(ngrams=longest)
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]
    assert model.ngram_embedding.shape == ((longest - 1) * layers.NGRAM_ROWS, 16)
    rows = layers.ngram_rows(torch.randint(11, (4, 12)), 11, longest)
    assert rows.shape == (longest - 1, 4, 12)
    for n, found in enumerate(rows):
        assert (found // layers.NGRAM_ROWS == n).all()
