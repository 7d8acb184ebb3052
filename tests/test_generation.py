"""From logits to text: samplers, the cache against no cache and against a band, searching, preferring, judging."""

import itertools
import math
import re
import runpy

import numpy as np
import pytest
import torch
from notebook_code import defined_in

from bigmodel_lib.cli import generate as command
from bigmodel_lib.config import TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises.nb08 import attend_to_cache
from bigmodel_lib.finetuning.dpo import dpo_loss, log_probabilities, pair_batches, preference_loss
from bigmodel_lib.generation import (
    batch_of,
    forbid,
    generate,
    generate_many,
    keep_top_k,
    keep_top_p,
    log_probability,
    sample_next,
    sampling_distribution,
    stream,
    write,
)
from bigmodel_lib.model.cache import KVCache
from bigmodel_lib.model.layers import layer_norm, rms_norm, rope_tables, shift_tokens, split_heads
from bigmodel_lib.storyworld import END, START, NotInLanguage, StoryWorld, sentences
from bigmodel_lib.storyworld import judge as judging
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.trainer import Trainer

RECIPES = [
    dict(), dict(token_shift=False), dict(qk_norm=False), dict(activation="gelu"), dict(ngrams=3), dict(ngrams=4),
    dict(tied=True, init="gpt2"), dict(positions="none"), dict(n_heads=1, rope_base=50.0),
    dict(dropout=0.3, ngrams=2),
    dict(norm="rms"), dict(norm_gain=True), dict(activation="swiglu"), dict(n_heads=4, n_kv_heads=2),
    dict(norm="rms", norm_gain=True, activation="swiglu", n_kv_heads=1, qk_norm=False, token_shift=False),  # Llama's
    dict(positions="learned", qk_norm=False, activation="gelu", token_shift=False, tied=True, init="gpt2"),
]  # fmt: skip
SLIDING = [recipe for recipe in RECIPES if recipe.get("positions") != "learned"]


@torch.no_grad()
def read(model, tokens, cache):
    """The logits after the last of the tokens, (B, V)."""
    return model(tokens, cache=cache)[:, -1]


def each_recipe(recipes):
    return pytest.mark.parametrize("recipe", recipes, ids=lambda r: ",".join(f"{k}={v}" for k, v in r.items()) or "-")


# Samplers


def test_sampling_follows_the_exact_probabilities():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    generator = torch.Generator().manual_seed(0)
    for temperature, top_k in [(1.0, 0), (0.5, 0), (1.0, 2)]:
        exact = (logits / temperature).exp() * (torch.arange(4) < (top_k or 4))
        exact = exact / exact.sum()
        n = 4000
        drawn = torch.stack([sample_next(logits, temperature, top_k, generator) for _ in range(n)])
        share = torch.bincount(drawn, minlength=4) / n
        assert ((share - exact).abs() <= 4 * (exact * (1 - exact) / n).sqrt() + 1e-9).all()
    assert sample_next(logits, 0, 0, generator) == 0


def test_rows_of_a_batch_are_drawn_each_from_its_own_distribution():
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 3.0]]).repeat(2000, 1)
    drawn = sample_next(logits, 1.0, 0, torch.Generator().manual_seed(0), 0.9999).view(-1, 2)
    p = math.exp(3) / (math.exp(3) + 2)
    assert abs((drawn[:, 0] == 0).float().mean().item() - p) < 0.03
    assert abs((drawn[:, 1] == 2).float().mean().item() - p) < 0.03


def nucleus(p, top_p):
    """The fewest likeliest that reach top_p, one by one."""
    kept, total = set(), 0.0
    for place in sorted(range(len(p)), key=lambda i: -p[i]):
        kept.add(place)
        total += p[place]
        if total >= top_p:
            return kept
    return kept


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.5, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_fewest_that_reach_p_with_the_one_that_crosses(seed, top_p):
    logits = torch.randn(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2
    for row, kept in zip(logits, keep_top_p(logits, top_p), strict=True):
        wanted = nucleus(row.softmax(-1).tolist(), top_p) if top_p < 1 else set(range(9))
        assert {i for i in range(9) if kept[i] > -math.inf} == wanted
        assert torch.equal(kept[sorted(wanted)], row[sorted(wanted)])


def test_top_p_ends_where_p_is_reached_exactly():
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64).log()
    assert (keep_top_p(logits, 0.5) > -math.inf).tolist() == [True, False, False, False]
    assert (keep_top_p(logits, 0.51) > -math.inf).tolist() == [True, True, False, False]
    assert (keep_top_p(logits, 0.75) > -math.inf).tolist() == [True, True, False, False]


def test_top_p_keeps_the_likeliest_at_any_p_and_all_from_1_on():
    logits = torch.tensor([[1.0, 5.0, 2.0, 0.5], [0.0, -30.0, -40.0, -50.0]])
    for p in (0.0, 1e-9, 1e-3):
        kept = keep_top_p(logits, p)
        assert (kept > -math.inf).tolist() == [[False, True, False, False], [True, False, False, False]]
        assert not sampling_distribution(logits, top_p=p).isnan().any()
    for p in (1.0, 1.5):  # in float32 the running sum of the second row is 1 after its first token
        assert torch.equal(keep_top_p(logits, p), logits)


def test_top_k_keeps_what_ties_with_the_last():
    logits = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0])
    assert (keep_top_k(logits, 3) > -math.inf).tolist() == [True, True, True, True, False]


def test_the_cuts_come_after_the_temperature_and_leave_a_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.5, -1.0], [0.0, 3.0, 1.0, 2.9]])
    for temperature, top_k, top_p in itertools.product((0.3, 1.0, 3.0), (0, 1, 3), (0.4, 0.8, 1.0)):
        p = sampling_distribution(logits, temperature, top_k, top_p)
        for row, given in zip(logits, p, strict=True):
            heated = [math.exp(x / temperature) for x in row.tolist()]
            if top_k:
                heated = [h if h >= sorted(heated)[-top_k] else 0.0 for h in heated]
            shares = [h / sum(heated) for h in heated]
            kept = [s if i in nucleus(shares, top_p - 1e-9) else 0.0 for i, s in enumerate(shares)]
            assert given.tolist() == pytest.approx([k / sum(kept) for k in kept], abs=1e-6)
    assert sampling_distribution(logits, 0).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert (keep_top_k(logits, 2) > -math.inf).sum(dim=-1).tolist() == [2, 2]
    assert forbid(logits, 1)[:, 1].tolist() == [-math.inf] * 2 and torch.equal(forbid(logits, 1)[:, 2:], logits[:, 2:])


# The cache against no cache


@each_recipe(RECIPES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_cache_changes_nothing_up_to_the_context(random_model, random_tokens, recipe, dtype, tolerance):
    for seed in range(2):
        model = random_model(seed, 0.3, dtype, **recipe).eval()
        tokens = random_tokens(seed)
        whole = model(tokens)
        for first in (1, 5, 12):
            cache = KVCache(model, 3)
            logits = read(model, tokens[:, :first], cache)
            for t in range(first, 13):
                scale = whole[:, t - 1].abs().max()
                assert (logits - whole[:, t - 1]).abs().max() <= tolerance * max(1.0, scale)
                if t < 12:
                    logits = read(model, tokens[:, t : t + 1], cache)
            assert cache.position == 12


def banded_logits(model, tokens):
    """The model on a text of any length, where each token sees the last T: one mask over all of it, no cache."""
    c, N = model.config, tokens.shape[1]
    age = torch.arange(N)[:, None] - torch.arange(N)
    hidden = (age < 0) | (age >= c.context_length)
    rotation = None
    if c.positions == "rope":
        rotation = [table.to(model.cosine.dtype) for table in rope_tables(N, c.d_head, c.rope_base)]
    x = model.token_embedding[tokens]
    if c.ngrams > 1:
        for b, t, n in itertools.product(range(len(tokens)), range(N), range(2, c.ngrams + 1)):
            row = 0
            for place in range(t - n + 1, t + 1):
                token = int(tokens[b, place]) if place >= 0 else 0
                row = token if place == t - n + 1 else (row * c.vocab_size + token) % 16_381
            x[b, t] += model.ngram_embedding[row + (n - 2) * 16_381]
    norm = layer_norm if c.norm == "layer" else rms_norm
    for block in model.blocks:
        y = norm(x) if block.attention.norm_gain is None else norm(x) * block.attention.norm_gain
        y = y if block.attention.shift is None else shift_tokens(y, block.attention.shift)
        q, k = block.attention.queries_and_keys(y, rotation)
        v = split_heads(y @ block.attention.w_v, c.n_key_heads)
        k, v = (part.repeat_interleave(c.n_heads // c.n_key_heads, dim=1) for part in (k, v))
        scores = (q @ k.mT / math.sqrt(c.d_head)).masked_fill(hidden, -math.inf)
        out = scores.softmax(dim=-1) @ v
        x = x + out.transpose(1, 2).flatten(2) @ block.attention.w_o
        x = x + block.mlp(norm(x))
    x = norm(x) if model.norm_gain is None else norm(x) * model.norm_gain
    return x @ (model.token_embedding.T if model.w_out is None else model.w_out)


@torch.no_grad()
@each_recipe(SLIDING)
def test_beyond_the_context_the_cache_is_a_band_and_not_the_last_tokens_encoded_again(
    random_model, random_tokens, recipe
):
    for seed in range(2):
        model = random_model(seed, 0.3, torch.float64, **recipe).eval()
        tokens = random_tokens(seed, (2, 40))
        banded, cache = banded_logits(model, tokens), KVCache(model, 2)
        torch.testing.assert_close(banded[:, :12], model(tokens[:, :12]), rtol=0, atol=1e-10)
        for t in range(8, 41):
            stretch = tokens[:, :8] if t == 8 else tokens[:, t - 1 : t]
            logits = read(model, stretch, cache)
            assert (logits - banded[:, t - 1]).abs().max() < 1e-8, t
        again = model(tokens[:, -12:])[:, -1]
        assert (again - logits).abs().max() > 1e-3
        assert all(
            ring.shape == (2, model.config.n_key_heads, 12, model.config.d_head)
            for ring in (*cache.keys, *cache.values)
        )


@torch.no_grad()
@each_recipe(RECIPES)
def test_a_cache_that_stands_still_reads_the_same_and_keeps_its_addresses(random_model, random_tokens, recipe):
    model = random_model(2, 0.3, torch.float64, **recipe).eval()
    n = 12 if recipe.get("positions") == "learned" else 40
    tokens = random_tokens(3, (2, n))
    for first in (1, 5, 12):
        growing, still = KVCache(model, 2), KVCache(model, 2)
        for ring in rings_of(still):
            ring.fill_(math.nan)
        read(model, tokens[:, :first], growing)
        read(model, tokens[:, :first], still)
        still.stand_still()
        kept = [*rings_of(still), *still.last.values(), still.tokens, still.position, still.unseen]
        places = [part.data_ptr() for part in kept]
        for t in range(first, n):
            wanted, logits = (read(model, tokens[:, t : t + 1], cache) for cache in (growing, still))
            torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-9 * max(1.0, wanted.abs().max().item()))
        kept = [*rings_of(still), *still.last.values(), still.tokens, still.position, still.unseen]
        assert [part.data_ptr() for part in kept] == places and still.position.tolist() == [n]


def rings_of(*caches):
    return [ring for cache in caches for ring in (*cache.keys, *cache.values)]


def test_the_cache_holds_what_the_formula_counts_at_once_and_for_good(random_model, random_tokens):
    model = random_model()
    cache = KVCache(model, 3)
    places = [ring.data_ptr() for ring in rings_of(cache)]
    for t in range(30):
        n_numbers = sum(part.numel() for part in (*cache.keys, *cache.values, *cache.last.values()))
        assert n_numbers == 3 * (2 * 2 * 12 * 16 + 2 * 2 * 16)  # B (2 L T D + 2 L D), after any t
        assert sum(ring.untyped_storage().nbytes() for ring in rings_of(cache)) == 4 * 3 * 2 * 2 * 12 * 16
        read(model, random_tokens(shape=(3, 30))[:, t : t + 1], cache)
    assert [ring.data_ptr() for ring in rings_of(cache)] == places, "nothing is copied"


@each_recipe([dict(), dict(ngrams=3), RECIPES[-1]])
@pytest.mark.parametrize("filling", [math.nan, math.inf, 1e30])
def test_what_lies_in_slots_not_yet_written_never_matters(random_model, random_tokens, recipe, filling):
    model, tokens = random_model(1, 0.3, torch.float64, **recipe).eval(), random_tokens()
    for first in (1, 5, 12):
        clean, filled = KVCache(model, 3), KVCache(model, 3)
        for ring in rings_of(clean):
            ring.zero_()
        for ring in rings_of(filled):
            ring.fill_(filling)
        for t in range(first, 13):
            stretch = tokens[:, :first] if t == first else tokens[:, t - 1 : t]
            wanted, logits = read(model, stretch, clean), read(model, stretch, filled)
            assert wanted.isfinite().all() and torch.equal(logits, wanted)
            for empty in rings_of(filled):
                rest = empty[..., t:, :]
                torch.testing.assert_close(rest, torch.full_like(rest, filling), rtol=0, atol=0, equal_nan=True)


def test_no_two_rings_share_memory_and_two_texts_can_be_written_in_turn(random_model, random_tokens):
    model, (one, other) = random_model(1, 0.3, torch.float64), random_tokens(shape=(2, 1, 30))
    caches = KVCache(model), KVCache(model)
    assert len({ring.untyped_storage().data_ptr() for ring in rings_of(*caches)}) == 2 * 2 * 2
    alone, cache = [], KVCache(model)
    for t in range(30):
        alone.append(read(model, one[:, t : t + 1], cache))
    for t in range(30):
        assert torch.equal(read(model, one[:, t : t + 1], caches[0]), alone[t])
        read(model, other[:, t : t + 1], caches[1])
    kept = KVCache(model)
    for parts in (kept.keys, kept.values):
        parts[:] = [ring.fill_(1.0) for ring in parts]
    before = list(kept.keys)
    kept.keep([0, 0])
    kept.keys[0][1] = 2.0
    assert (kept.keys[0][0] == 1).all() and (before[0] == 1).all(), "rows that were doubled go on apart"


def test_the_logits_that_were_read_can_be_drawn_from_and_a_clone_of_them_changed(random_model, random_tokens):
    model, draw = random_model(), torch.Generator().manual_seed(0)
    logits = read(model, random_tokens(), KVCache(model, 3))
    assert not logits.requires_grad and model.token_embedding.requires_grad
    for temperature, top_k, top_p in itertools.product((0, 0.7), (0, 3), (0.5, 1.0)):
        assert sample_next(logits, temperature, top_k, draw, top_p).shape == (3,)
        p = sampling_distribution(logits, temperature, top_k, top_p)
        torch.testing.assert_close(p.sum(dim=-1), torch.ones(3))
    assert (forbid(logits, 4)[:, 4] == -math.inf).all() and (logits[:, 4] > -math.inf).all()
    changed, before = logits.clone(), logits.tolist()
    changed[:, 4] = -math.inf
    changed += 1.0
    assert (sample_next(changed, 1.0, 0, draw) != 4).all() and logits.tolist() == before


def test_a_row_that_is_kept_goes_on_as_if_alone(random_model, random_tokens):
    model, tokens = random_model(dtype=torch.float64, ngrams=3), random_tokens()
    cache = KVCache(model, 3)
    read(model, tokens[:, :5], cache)
    cache.keep([2, 0])
    logits = read(model, tokens[[2, 0], 5:6], cache)
    torch.testing.assert_close(logits, model(tokens[[2, 0], :6])[:, -1], rtol=0, atol=1e-9)
    cache.keep(torch.tensor([False, True]))
    logits = read(model, tokens[[0], 6:7], cache)
    torch.testing.assert_close(logits, model(tokens[[0], :7])[:, -1], rtol=0, atol=1e-9)


def test_one_step_of_attention_is_the_last_row_of_all():
    draw = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 17, 6, dtype=torch.float64, generator=draw)
    keys, values = torch.full((2, 2, 4, 5, 6), math.nan, dtype=torch.float64)
    for t in range(17):
        out = attend_to_cache(*(x[..., t : t + 1, :] for x in (q, k, v)), keys, values, t)
        seen = slice(max(0, t - 4), t + 1)
        scores = (q[..., t : t + 1, :] @ k[..., seen, :].mT) / math.sqrt(6)
        torch.testing.assert_close(out, scores.softmax(-1) @ v[..., seen, :], rtol=0, atol=1e-12)
        for s in range(5):
            newest = max((p for p in range(t + 1) if p % 5 == s), default=None)
            for ring, given in ((keys, k), (values, v)):
                if newest is None:
                    assert ring[..., s, :].isnan().all()
                else:
                    assert torch.equal(ring[..., s, :], given[..., newest, :])


# Writing


def naive(model, prompt, n_tokens, **settings):
    """Generation without a cache, as one would write it first; up to the context."""
    draw, tokens = torch.Generator().manual_seed(settings.pop("seed")), list(prompt)
    for _ in range(n_tokens):
        logits = model(torch.tensor([tokens[-model.config.context_length :]]))[0, -1]
        tokens.append(
            int(sample_next(logits.float(), settings["temperature"], settings["top_k"], draw, settings["top_p"]))
        )
    return tokens[len(prompt) :]


@torch.no_grad()
@each_recipe(RECIPES)
def test_generation_is_the_plain_loop_up_to_the_context(random_model, recipe):
    model = random_model(1, 0.3, torch.float64, **recipe).eval()
    for seed, temperature, top_k, top_p in [(0, 0, 0, 1.0), (1, 1.0, 0, 0.8), (2, 0.7, 4, 1.0)]:
        settings = dict(seed=seed, temperature=temperature, top_k=top_k, top_p=top_p)
        assert list(generate(model, [3, 1, 4], 9, **settings)) == naive(model, [3, 1, 4], 9, **settings)


@torch.no_grad()
def test_learned_positions_encode_the_last_tokens_again(random_model):
    learned = random_model(1, 0.3, positions="learned", token_shift=False).eval()
    settings = dict(seed=3, temperature=1.0, top_k=0, top_p=1.0)
    assert list(generate(learned, [3, 1, 4], 30, **settings)) == naive(learned, [3, 1, 4], 30, **settings)


def test_generation_sees_the_last_context_and_repeats_with_its_seed(random_model):
    model = random_model(vocab_size=256)
    prompt = list(range(40))
    assert list(generate(model, prompt, 5, seed=1)) == list(generate(model, prompt[-12:], 5, seed=1))
    assert list(generate(model, prompt, 30, seed=1)) != list(generate(model, prompt, 30, seed=2))
    greedy = list(generate(model, prompt, 1, temperature=0))
    assert greedy == [model(torch.tensor([prompt[-12:]]))[0, -1].argmax().item()]


def test_writing_stops_where_it_is_told_and_not_too_early(random_model):
    model = random_model(2, 0.3)
    free = list(generate(model, [1], 40, temperature=1.0, seed=4))
    stop = free[7]
    first = free.index(stop)
    assert list(generate(model, [1], 40, temperature=1.0, seed=4, stop=stop)) == free[: first + 1]
    late = list(generate(model, [1], 40, temperature=1.0, seed=4, stop=stop, min_tokens=20))
    assert stop not in late[:20] and (len(late) == 40 or late[-1] == stop)


def test_many_rows_at_once_are_each_what_one_would_write(random_model):
    model = random_model(2, 0.2, torch.float64)
    alone = list(generate(model, [1, 2], 30, temperature=0))
    rows = generate_many(model, [1, 2], 4, 30, torch.Generator().manual_seed(0), temperature=0)
    assert rows == [alone] * 4
    stop = alone[9]
    draw = torch.Generator().manual_seed(1)
    rows = generate_many(model, [1], 300, 10, draw, stop=stop, min_tokens=2)
    assert all(stop not in row[:-1] and stop not in row[:2] for row in rows)
    assert all(row[-1] == stop or len(row) == 10 for row in rows) and any(row[-1] == stop for row in rows)
    lengths = {len(row) for row in rows}
    assert len(lengths) > 2


@torch.no_grad()
def test_rows_that_stay_keep_their_own_past_when_others_leave(random_model):
    model = random_model(3, 0.4, torch.float64, vocab_size=5)
    rows = generate_many(model, [1], 4000, 3, torch.Generator().manual_seed(1), stop=0)
    counts = {}
    for row in rows:
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    for row, count in counts.items():
        p = log_probability(model, *batch_of([1], [list(row)])).exp().item()
        assert abs(count / 4000 - p) <= 5 * math.sqrt(p * (1 - p) / 4000) + 1e-3, row


def test_text_grows_piece_by_piece_and_ends_after_its_stop(random_model):
    model, tokenizer = random_model(vocab_size=256), ByteTokenizer()
    whole = write(model, tokenizer, "ab", 40, temperature=1.0, seed=3)
    texts = list(stream(model, tokenizer, "ab", 40, temperature=1.0, seed=3))
    assert len(texts) == 40 and texts[-1] == whole
    stop = whole[11:13]
    cut = whole[: whole.index(stop) + len(stop)]
    assert write(model, tokenizer, "ab", 40, temperature=1.0, seed=3, stop=stop) == cut
    assert write(model, tokenizer, "ab", 0, stop=stop) == ""


@pytest.mark.parametrize("changes, words", [
    (dict(prompt=""), "a prompt of at least one token"), (dict(temperature=-1.0), "temperature -1.0"),
    (dict(temperature=math.nan), "temperature nan"), (dict(top_k=-1), "top_k -1"), (dict(n_tokens=-5), "tokens -5"),
    (dict(top_p=0.0), "top_p 0.0"), (dict(top_p=1.2), "top_p 1.2"),
])  # fmt: skip
def test_impossible_settings_are_refused(random_model, changes, words):
    with pytest.raises(CourseError, match=words):
        write(random_model(vocab_size=256), ByteTokenizer(), **{"prompt": "x", "n_tokens": 3, **changes})


def test_many_rows_go_on_beyond_learned_positions_as_one_does(random_model):
    model = random_model(3, 0.3, torch.float64, positions="learned")
    alone = list(generate(model, [1, 2], 30, temperature=0))
    assert generate_many(model, [1, 2], 2, 30, torch.Generator(), temperature=0) == [alone, alone]


def test_the_command_takes_top_p_and_stop(random_model, tmp_path, capsys):
    checkpoints.save_model(tmp_path, random_model(vocab_size=256), ByteTokenizer())
    asked = ["--checkpoint", str(tmp_path), "--prompt", "x", "--tokens", "30", "--seed", "5"]
    assert command.main([*asked, "--top-p", "1e-9"]) == 0
    narrow = capsys.readouterr().out
    assert command.main([*asked, "--temperature", "0"]) == 0
    assert capsys.readouterr().out == narrow, "a tiny p leaves the likeliest token alone"
    assert command.main(asked) == 0
    free = capsys.readouterr().out[1:-1]
    assert command.main([*asked, "--stop", free[8]]) == 0
    assert capsys.readouterr().out[1:-1] == free[: free.index(free[8]) + 1]
    assert command.main([*asked, "--top-p", "2"]) == 2
    assert capsys.readouterr().err.startswith("bigmodel generate: top_p 2.0 is not above 0 and up to 1")


# Whole continuations


def test_a_continuation_costs_what_its_tokens_cost(random_model):
    model, prompt, rows = random_model(dtype=torch.float64), [3, 1], [[4, 1, 5], [9], [2, 6]]
    x, y = batch_of(prompt, rows)
    assert x.tolist() == [[3, 1, 4, 1], [3, 1, 0, 0], [3, 1, 2, 0]]
    assert y.tolist() == [[-1, 4, 1, 5], [-1, 9, -1, -1], [-1, 2, 6, -1]]
    for row, total in zip(rows, log_probability(model, x, y).tolist(), strict=True):
        logs = model(torch.tensor([prompt + row]))[0].log_softmax(-1)
        assert total == pytest.approx(sum(logs[1 + i, token].item() for i, token in enumerate(row)), abs=1e-9)
    assert torch.equal(log_probabilities(model, prompt, rows * 50, 7)[:3], log_probability(model, x, y).detach())


beam_search = defined_in("08_generation", "beam_search").beam_search


@torch.no_grad()
@pytest.mark.parametrize("stop", [0, 2])
def test_a_wide_beam_finds_the_likeliest_text_and_a_narrow_one_need_not(random_model, stop):
    worse, others = 0, [token for token in range(4) if token != stop]
    for seed in range(6):
        model = random_model(seed, 0.5, torch.float64, vocab_size=4)
        texts = [[*middle, stop] for n in range(4) for middle in itertools.product(others, repeat=n)]
        exact = sorted(((float(log_probability(model, *batch_of([2], [t]))), t) for t in texts), reverse=True)
        found = beam_search(model, [2], 200, 4, stop)
        assert [text for _, text in found[:5]] == [text for _, text in exact[:5]]
        assert [total for total, _ in found[:5]] == pytest.approx([total for total, _ in exact[:5]], abs=1e-6)
        narrow = beam_search(model, [2], 1, 4, stop)
        worse += not narrow or narrow[0][0] < exact[0][0] - 1e-9
        for total, text in narrow:
            assert total == pytest.approx(float(log_probability(model, *batch_of([2], [text]))), abs=1e-6)
    assert worse > 0


# Whose model, and a widget


def test_the_readers_own_run_comes_first_and_only_if_it_is_finished(random_model, tmp_path, monkeypatch):
    ours = tmp_path / "data/stories"
    ours.mkdir(parents=True)
    monkeypatch.setattr(checkpoints, "data_path", lambda name: tmp_path / "data" / name)
    for name in ("my_notebooks", "notebooks"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "my_notebooks")
    own = tmp_path / "runs/stories"
    assert checkpoints.own_or_committed("stories") == ours
    own.mkdir(parents=True)
    (own / "checkpoint.safetensors").touch()
    assert checkpoints.own_or_committed("stories") == ours, "it is not finished"
    checkpoints.save_model(own, random_model(vocab_size=256), ByteTokenizer())
    assert checkpoints.own_or_committed("stories") == ours, "its last file, metrics.json, is still to come"
    checkpoints.write_json(own / "metrics.json", {})
    assert checkpoints.own_or_committed("stories") == own
    monkeypatch.chdir(tmp_path / "notebooks")
    assert checkpoints.own_or_committed("stories") == ours, "saved outputs are of the course's models"


# Preferences


def test_the_loss_of_dpo_is_its_formula_and_its_gradient_a_difference():
    draw = torch.Generator().manual_seed(0)
    given = torch.randn(4, 7, dtype=torch.float64, generator=draw)
    for beta in (0.1, 0.7):
        wanted = 0.0
        for w, r, w0, r0 in given.T.tolist():
            wanted -= math.log(1 / (1 + math.exp(-beta * ((w - w0) - (r - r0))))) / 7
        assert dpo_loss(*given, beta).item() == pytest.approx(wanted, abs=1e-12)
        assert torch.autograd.gradcheck(lambda *xs, b=beta: dpo_loss(*xs, b), tuple(given.clone().requires_grad_()))
        inputs = given.clone().requires_grad_()
        dpo_loss(*inputs, beta).backward()
        margin = (given[0] - given[2]) - (given[1] - given[3])
        weight = beta * torch.sigmoid(-beta * margin) / 7
        torch.testing.assert_close(inputs.grad, torch.stack([-weight, weight, weight, -weight]))


def test_preferring_lifts_the_chosen_over_the_rejected_and_starts_from_its_reference(random_model):
    model = random_model(1, 0.2)
    pairs = [([4, 5, 0], [6, 0]), ([5, 0], [7, 8, 9, 0]), ([4, 4, 0], [7, 0])]
    config = TrainConfig(steps=30, batch_size=4, muon_lr=0.01, adamw_lr=0.005)
    loss_fn = preference_loss(model, [1, 2], pairs, beta=0.5)
    run = Trainer(model, pair_batches([1, 2], pairs, 4), loss_fn, config)
    reference = [log_probabilities(model, [1, 2], list(rows)) for rows in zip(*pairs, strict=True)]
    (x, y, numbers), share = run.next_batch()
    assert share == 1.0 and loss_fn(model, x, y, numbers).item() == pytest.approx(math.log(2), abs=1e-5)
    for row, place in enumerate(numbers):
        assert tuple(part[part >= 0].tolist() for part in y[row]) == pairs[place]
    losses = [progress.loss for progress in run]
    after = [log_probabilities(model, [1, 2], list(rows)) for rows in zip(*pairs, strict=True)]
    margin = (after[0] - reference[0]) - (after[1] - reference[1])
    assert losses[-1] < 0.5 * math.log(2) and (margin > 1).all()
    assert dpo_loss(*after, *reference, 0.5).item() == pytest.approx(losses[-1], abs=0.15)


def test_runs_are_compared_where_they_have_paid_the_same_and_rates_that_never_do_are_out(monkeypatch):
    monkeypatch.syspath_prepend(str(data_path("recipes")))
    recipe = runpy.run_path(str(data_path("recipes/preferences.py")))
    looks = [{"kl": kl, "true": true, "stories": 100} for kl, true in ((0.1, 60), (0.05, 62), (0.3, 80))]
    shares = [recipe["share_at"](price, looks, 0.5) for price in (0.0, 0.05, 0.2, 0.31)]
    assert shares[:3] == pytest.approx([0.5, 0.55, 0.71]) and math.isnan(shares[3])
    ends = {0.25: (0.1, 95), 0.5: (0.15, 90), 1.0: (0.4, 60), 2.0: (0.4, 70)}  # rate: KL, true of 100
    runs = [
        {"way": "SFT", "rate": rate, "seed": seed, "looks": [{"kl": kl, "true": true, "stories": 100}]}
        for rate, (kl, true) in ends.items()
        for seed in recipe["TUNING_SEEDS"]
    ]
    before = {"way": "temperature", "rate": 1.0, "seed": 0, "looks": [{"kl": 0.0, "true": 50, "stories": 100}]}
    other = {"way": "SFT", "rate": 1.0, "seed": recipe["SEEDS"][0], "looks": [{"kl": 0.4, "true": 99, "stories": 100}]}
    assert recipe["best_rate"]([before, *runs, other], "SFT") == 2.0


@torch.no_grad()
def test_the_divergence_that_is_sampled_is_the_exact_one(random_model):
    model, reference = random_model(1, 0.35, vocab_size=4), random_model(2, 0.35, vocab_size=4)
    texts = [[*m, *end] for n, end in [(0, (0,)), (1, (0,)), (2, (0,)), (3, ())]
             for m in itertools.product((1, 2, 3), repeat=n)]  # fmt: skip
    ours, theirs = (log_probabilities(m, [2], texts) for m in (model, reference))
    assert ours.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    exact = (ours.exp() * (ours - theirs)).sum().item()
    rows = generate_many(model, [2], 4000, 3, torch.Generator().manual_seed(0), stop=0)
    drawn = log_probabilities(model, [2], rows) - log_probabilities(reference, [2], rows)
    assert abs(drawn.mean().item() - exact) < 5 * drawn.std().item() / 4000**0.5
    assert exact > 10 * drawn.std().item() / 4000**0.5


# The judge


@pytest.fixture(scope="module")
def world():
    return StoryWorld(longest=40)


def test_what_the_world_tells_is_grammatical_and_true(world):
    rng = np.random.default_rng(0)
    for _ in range(150):
        story = world.sample(rng)
        verdict = judging.judge(world, f"{START} {story.text} {END}")
        assert verdict == (True, True, pytest.approx(story.log_prob), "")
        assert judging.judge(world, [START, *story.tokens, END]).true


def test_sentences_are_told_apart_as_by_listing_all_that_can_be_said(world):
    """The oracle fills every slot with every word; its sentences, and no mixture of two, are grammatical."""
    rng = np.random.default_rng(1)
    small = StoryWorld(people=("Anna", "Ben"), places=("hall", "attic", "study"), things=("lamp", "shoes"))
    listed = set()
    for c in small.constructions:
        for filling in itertools.product(*(sentences.words_for(small, slot) for slot in c.slots)):
            listed.add(c.tell(filling))
            if c.subject is not None:
                listed.add(c.tell(filling, True))
    words = sorted({word for sentence in listed for word in sentence.split()})
    for sentence in sorted(listed):
        assert judging.grammatical(small, sentence.split()), sentence
        for place in range(len(sentence.split())):
            for word in ("He", "he", "Anna", words[int(rng.integers(len(words)))]):
                changed = sentence.split()
                changed[place] = word
                assert judging.grammatical(small, changed) == (" ".join(changed) in listed), changed


@pytest.mark.parametrize("ending, grammatical, true", [
    ("Ben was in the hall . Ben sat beside her .", True, False),  # it has no end
    ("Ben was there too . The lamp were red .", False, False),  # no agreement
    ("Ben was in the kitchen .", True, False),  # no such room in this house
    ("Ben was there too . Ben", False, False),  # breaks off
    ("Ben was there too . In the attic lay a Ben .", False, False),  # no thing
    ("Ben was there too . In the study lay some coins . Then it was time to sleep .", True, False),  # too short
])  # fmt: skip
def test_grammar_and_truth_are_two_things(world, ending, grammatical, true):
    opening = "The house had a hall , an attic and a study . Anna was in the hall ."
    verdict = judging.judge(world, f"{opening} {ending}")
    assert (verdict.grammatical, verdict.true) == (grammatical, true) and verdict.reason
    assert ("nobody says" in verdict.reason) == (not grammatical)


def test_truth_is_the_parsers(world):
    rng = np.random.default_rng(2)
    for _ in range(40):
        tokens = list(world.sample(rng).tokens)
        other = world.sample(rng).tokens
        place = int(rng.integers(len(tokens)))
        tokens[place] = other[min(place, len(other) - 1)]
        try:
            wanted = world.parse(tokens).log_prob
        except NotInLanguage:
            wanted = -math.inf
        verdict = judging.judge(world, tokens)
        assert verdict.log_prob == wanted and verdict.true == (wanted > -math.inf)
        assert verdict.grammatical or not verdict.true
    assert judging.judge(world, "").grammatical is False


def test_what_the_world_tells_fits_whatever_else_it_says_does_not(world):
    rng = np.random.default_rng(3)
    assert {judging.misfit(world, world.sample(rng).text) for _ in range(60)} == {""}


@pytest.mark.parametrize("ending, what", [
    ("In the end the map was in the hall .", "does not fit"),  # nobody carried it there
    ("Then Sara walked into the hall . So Kofi stayed in the hall .", "does not fit"),
    ("Sara did not know .", "does not fit"),  # nobody asked
    ("In the end the cup was in the hall .", "from nowhere"),
    ("Ben picked up the map .", "from nowhere"),
    ("Kofi map the .", "broken"),
    ("So Kofi", "broken"),
    ("So Kofi stayed in the kitchen .", ""),  # the world tells longer stories, but it can be
    ("Kofi picked up the map . In the end Kofi had the map .", ""),
])  # fmt: skip
def test_what_does_not_fit_is_told_from_what_is_only_told_oddly(world, ending, what):
    opening = "There were three rooms : a bedroom , a kitchen and a hall . Sara was in the bedroom . "
    story = f"{opening} Kofi was reading in the kitchen . In the kitchen lay a map . {ending}"
    assert judging.misfit(world, story) == what
    assert not (what and judging.judge(world, story).true)


# The small set for "I love programming"


def test_the_sentences_that_go_on_from_i_love_are_all_different():
    lines = data_path("i_love.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 100 and len(set(lines)) == len(lines)
    assert all(line.startswith("I love ") and line.endswith(".") and line.isascii() for line in lines)
    assert all(len(line) < 100 for line in lines)
    runs: dict = {}
    for place, line in enumerate(lines):
        words = re.findall(r"\w+", line.lower())
        for start in range(len(words) - 5):
            runs.setdefault(tuple(words[start : start + 6]), set()).add(place)
    assert [run for run, places in runs.items() if len(places) > 1] == []
    assert all(any(word in line for line in lines) for word in ("coding", "software development"))


def test_the_cache_refuses_more_tokens_at_once_than_its_mask_is_for(random_model, random_tokens):
    model = random_model()
    cache = KVCache(model, 2)
    with pytest.raises(CourseError, match="13 tokens do not fit a context of 12: give those beyond it"):
        read(model, random_tokens(shape=(2, 13)), KVCache(model, 2))
    read(model, random_tokens(shape=(2, 5)), cache)
    with pytest.raises(CourseError, match="8 tokens after 5 others do not fit a context of 12: give those"):
        read(model, random_tokens(shape=(2, 8)), cache)
    assert cache.position == 5
    learned = random_model(positions="learned")
    full = KVCache(learned, 3)
    read(learned, random_tokens(), full)
    with pytest.raises(CourseError, match="1 tokens after 12 others do not fit a context of 12: start again"):
        read(learned, random_tokens()[:, :1], full)


@each_recipe(RECIPES)
def test_a_text_read_in_pieces_is_the_text_read_at_once(random_model, random_tokens, recipe):
    model, tokens = random_model(2, 0.3, torch.float64, **recipe).eval(), random_tokens()
    whole, cache = model(tokens), KVCache(model, 3)
    for start, end in ((0, 3), (3, 4), (4, 9), (9, 12)):
        with torch.no_grad():
            piece = model(tokens[:, start:end], cache=cache)
        torch.testing.assert_close(piece, whole[:, start:end], rtol=0, atol=1e-9 * max(1.0, whole.abs().max().item()))


def test_value_residuals_write_with_the_cache_what_they_write_without(random_model, random_tokens):
    residuals = runpy.run_path(str(data_path("recipes/tried.py")))["ValueResiduals"]
    model, tokens = residuals(random_model().config).double().eval(), random_tokens()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.4, generator=torch.Generator().manual_seed(parameter.numel()))
    whole, cache = model(tokens), KVCache(model, 3)
    for t in range(12):
        logits = read(model, tokens[:, t : t + 1], cache)
        torch.testing.assert_close(logits, whole[:, t], rtol=0, atol=1e-9)
