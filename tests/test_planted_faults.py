"""The tests are tested: each fault is a mistake that people really make, and the test beside it must turn red.

A fault names a function of the library and what that function does instead; no fault quotes the source. Whoever
renames a function renames it here, too. `planting` says how a fault gets into the library and what counts as noticed.
"""

import copy
import sys
import types

import numpy as np
import pytest
import torch
from planting import Fault, problem_with

# What the functions do instead. `right` is the original, the other arguments are its own.


def maps_without_qk_norm(right, model, tokens, name):
    other = copy.deepcopy(model)
    for block in other.blocks:
        block.attention.norm = None
    return right(other, tokens, name)


def gradient_of_the_first_text(right, dy, cache):
    x, w = cache
    return right(dy, cache)[0], right(dy[:1], (x[:1], w))[1]


def gradient_that_overwrites(right, dy, cache):
    tokens, table = cache
    gradient = np.zeros_like(table)
    gradient[tokens] += dy  # adds a repeated token once
    return gradient


def adamw_without_bias_correction(right, optimizer, *given):
    optimizer.steps = 10**6
    right(optimizer, *given)


def adamw_with_growing_weights(right, optimizer, *given):
    optimizer.weight_decay = -abs(optimizer.weight_decay)
    right(optimizer, *given)


def step_that_keeps_gradients(right, optimizers, factor):
    kept = {parameter: parameter.grad for parameter in optimizers.names}
    right(optimizers, factor)
    for parameter, gradient in kept.items():
        parameter.grad = gradient


def step_without_clipping(right, trainer, *tensors, **settings):
    config = trainer.config
    trainer.config = config.replace(clip=0.0)
    found = right(trainer, *tensors, **settings)
    trainer.config = config
    return found


def load_without_the_random_state(right, run, *saved):
    state = run.rng.bit_generator.state
    right(run, *saved)
    run.rng.bit_generator.state = state


def top_p_without_the_one_that_crosses(right, logits, p):
    kept = right(logits, p)
    lowest = kept.masked_fill(kept.isinf(), torch.inf).amin(dim=-1, keepdim=True)
    return kept.masked_fill(kept == lowest, -torch.inf)


def extend_one_position_ahead(right, cache, layer, k, v):
    cache.position += 1
    found = right(cache, layer, k, v)
    cache.position -= 1
    return found


def extend_without_sliding(right, cache, layer, k, v):
    position, cache.position = cache.position, min(cache.position, cache.context_length - 1)
    found = right(cache, layer, k, v)
    cache.position = position
    return found


def every_token_alike(right, world, prefix):
    tokens = right(world, prefix)
    return dict.fromkeys(tokens, 1 / len(tokens))


# fmt: off
FAULTS = [
    # the model
    Fault("attention scores are not divided by the root of d_head", "model.layers:attention_scores",
          lambda right, q, k, *rest: right(q * q.shape[-1] ** 0.5, k, *rest),
          "test_model.py::test_attention_is_the_formula_token_by_token"),
    Fault("the mask shows each token the next one", "by_hand.model:causal_mask",
          lambda right, n: np.triu(np.full((n, n), -np.inf), k=2),
          "test_model_numpy.py::test_attention_is_the_formula_token_by_token"),
    Fault("attention has no mask", "model.layers:attention",
          lambda right, q, k, v, causal: right(q, k, v, causal=False),
          "test_model.py::test_a_changed_future_token_leaves_earlier_logits_equal"),
    Fault("softmax runs over the tokens that look", "by_hand.model:softmax",
          lambda right, scores: right(scores.swapaxes(-2, -1)).swapaxes(-2, -1),
          "test_model_numpy.py::test_attention_is_the_formula_token_by_token"),
    Fault("heads are cut by a reshape that mixes tokens", "model.layers:split_heads",
          lambda right, x, n_heads: x.reshape(len(x), n_heads, x.shape[1], -1),
          "test_model.py::test_heads_are_blocks_of_columns"),
    Fault("RoPE loses the signs of its sines", "by_hand.model:rotate",
          lambda right, x, cosine, sine: right(x, cosine, np.abs(sine)),
          "test_model_numpy.py::test_the_score_of_rotated_vectors_hangs_on_the_offset_alone"),
    Fault("attention maps forget QK-norm", "interpretability.maps:record", maps_without_qk_norm,
          "test_model.py::test_attention_maps_are_what_the_model_uses"),
    Fault("a block replaces the residual stream", "by_hand.model:block",
          lambda right, x, *rest: right(x, *rest) - x,
          "test_backprop.py::test_the_twins_agree"),
    Fault("streaming softmax adds blocks relative to different maxima", "exercises.nb05:merge_softmax",
          lambda right, first, second: (torch.maximum(first[0], second[0]), first[1] + second[1], first[2] + second[2]),
          "test_streaming.py::test_blocks_may_be_merged_in_any_order_and_grouping"),

    # the loss and the data
    Fault("the loss is a sum", "model.layers:cross_entropy",
          lambda right, logits, targets: right(logits, targets) * targets.numel(),
          "test_model.py::test_the_loss_is_minus_the_log_probability_of_the_target"),
    Fault("the loss counts padding", "by_hand.model:cross_entropy",
          lambda right, logits, targets: right(logits, np.maximum(targets, 0)),
          "test_backprop.py::test_the_twins_agree"),
    Fault("the loss counts the prompt", "storyworld.tasks:masked_pair",
          lambda right, given, wanted: (right(given, wanted)[0], [*given[1:], *wanted]),
          "test_finetuning.py::test_the_mask_lets_the_loss_see_what_is_wanted_alone"),
    Fault("the target is the input", "text.batches:random_windows",
          lambda right, *given: right(*given)[:1] * 2,
          "test_corpora.py::test_windows_are_the_text_and_the_text_one_later"),
    Fault("the validation text is trained on", "text.batches:split_tokens",
          lambda right, tokens, context_length: (tokens, right(tokens, context_length)[1]),
          "test_corpora.py::test_the_last_tenth_is_held_out_and_at_most_a_million"),
    Fault("the test rows are trained on", "text.batches:split_labelled",
          lambda right, labels, *rest: (np.arange(len(labels)), right(labels, *rest)[1]),
          "test_finetuning.py::test_a_split_keeps_the_share_of_every_label_and_no_row_twice"),
    Fault("the last of equal merges comes first", "text.tokenizers:encode_word",
          lambda right, word, merges, order: right(word, merges, {pair: -place for pair, place in order.items()}),
          "test_tokenizers.py::test_bpe_merges_the_earliest_learned_first"),
    Fault("characters without an id are dropped", "text.tokenizers:CharacterTokenizer.encode",
          lambda right, self, text: right(self, "".join(c for c in text if c in self.alphabet)),
          "test_tokenizers.py::test_the_error_reads_well"),

    # the way back
    Fault("a weight's gradient is not summed over the batch", "by_hand.backprop:linear_backward",
          gradient_of_the_first_text,
          "test_backprop.py::test_central_differences_agree"),
    Fault("gradients overwrite each other where they should add up", "by_hand.backprop:embedding_backward",
          gradient_that_overwrites,
          "test_backprop.py::test_central_differences_agree"),
    Fault("the norm's gradient keeps its own direction", "by_hand.backprop:norm_backward",
          lambda right, dy, cache: (dy - dy.mean(axis=-1, keepdims=True)) / cache[1],
          "test_backprop.py::test_central_differences_agree"),
    Fault("the gradient of the values lacks a transpose", "by_hand.backprop:attention_backward",
          lambda right, dy, cache: (*right(dy, cache)[:2], cache[3] @ dy),
          "test_backprop.py::test_central_differences_agree"),
    Fault("the gradient doesn't flow past a block's branches", "by_hand.backprop:block_backward",
          lambda right, dy, cache: (right(dy, cache)[0] - dy, right(dy, cache)[1]),
          "test_backprop.py::test_central_differences_agree"),

    # training
    Fault("AdamW doesn't correct for its start at 0", "by_hand.optimizers:AdamW.step", adamw_without_bias_correction,
          "test_backprop.py::test_adamw_in_step_1_moves_every_number_by_its_rate_and_decays_on_its_own"),
    Fault("weight decay has the wrong sign", "by_hand.optimizers:AdamW.step", adamw_with_growing_weights,
          "test_backprop.py::test_adamw_in_step_1_moves_every_number_by_its_rate_and_decays_on_its_own"),
    Fault("Muon normalises and doesn't orthogonalise", "training.optimizers:orthogonalise",
          lambda right, gradient, *_: gradient / gradient.norm(),
          "test_optimizers.py::test_orthogonalise_is_near_the_polar_factor"),
    Fault("gradients are not set to zero after a step", "training.optimizers:Optimizers.step",
          step_that_keeps_gradients,
          "test_optimizers.py::test_adamw_is_its_equation"),
    Fault("gradients are not clipped", "training.trainer:Trainer.train_step", step_without_clipping,
          "test_pretraining.py::test_gradients_are_clipped_together_to_the_length_that_was_asked_for"),
    Fault("the learning rate has no warm-up", "training.optimizers:linear_lr",
          lambda right, fraction, *rest: 1.0 - fraction,
          "test_optimizers.py::test_the_rate_rises_and_falls_as_said"),
    Fault("a resumed run forgets what its optimizers knew", "training.optimizers:Optimizers.load_state_tensors",
          lambda right, optimizers, tensors: None,
          "test_optimizers.py::test_optimizer_state_survives_its_tensors"),
    Fault("a resumed run draws other batches", "training.trainer:Trainer.load", load_without_the_random_state,
          "test_pretraining.py::test_an_interrupted_run_ends_with_the_same_weights_bit_for_bit"),
    Fault("all processes read the same rows", "training.distributed:Processes.rows",
          lambda right, self, batch_size: right(type(self)(0, self.size), batch_size),
          "test_processes.py::test_every_row_of_a_batch_has_one_process"),
    Fault("LoRA forgets its scale", "finetuning.lora:LoRA.forward",
          lambda right, lora, weight: weight + lora.a @ lora.b,
          "test_finetuning.py::test_lora_starts_at_nothing_and_merges_into_the_same_model"),
    Fault("the classifier's head reads the token before the last", "finetuning.classification:Classifier.forward",
          lambda right, classifier, tokens: right(classifier, tokens[..., :-1]),
          "test_finetuning.py::test_the_head_reads_the_mean_and_the_last_state"),
    Fault("DPO prefers the rejected text", "finetuning.dpo:dpo_loss",
          lambda right, chosen, rejected, chosen_before, rejected_before, beta:
              right(rejected, chosen, rejected_before, chosen_before, beta),
          "test_generation.py::test_the_loss_of_dpo_is_its_formula_and_its_gradient_a_difference"),

    # writing
    Fault("temperature is turned upside down", "generation:sampling_distribution",
          lambda right, logits, temperature, *cuts: right(logits, temperature and 1 / temperature, *cuts),
          "test_generation.py::test_the_cuts_come_after_the_temperature_and_leave_a_distribution"),
    Fault("top-p leaves out the token that crosses p", "generation:keep_top_p", top_p_without_the_one_that_crosses,
          "test_generation.py::test_top_p_ends_where_p_is_reached_exactly"),
    Fault("the cache is one position ahead", "model.cache:KVCache.extend", extend_one_position_ahead,
          "test_generation.py::test_the_cache_changes_nothing_up_to_the_context"),
    Fault("the cache doesn't slide once it is full", "model.cache:KVCache.extend", extend_without_sliding,
          "test_generation.py::test_beyond_the_context_the_cache_is_a_band_and_not_the_last_tokens_encoded_again"),
    Fault("each new token is turned as if it were the first", "model.transformer:LanguageModel.rotation",
          lambda right, model, n_tokens, start: right(model, n_tokens, 0),
          "test_generation.py::test_the_cache_changes_nothing_up_to_the_context"),

    # measuring
    Fault("the story world takes every next word for equally likely", "storyworld:StoryWorld.next_token_probs",
          every_token_alike,
          "test_storyworld.py::test_the_tokens_share_the_probability_of_the_story"),
    Fault("the interval of a mean has one side", "measuring.intervals:interval_of_mean",
          lambda right, values, confidence: right(values, 2 * confidence - 1),
          "test_intervals.py::test_it_is_students"),
    Fault("attention's operations are not counted", "measuring.costs:flops_formula",
          lambda right, *given: {**right(*given), "attention": 0},
          "test_costs.py::test_flops_are_as_pytorch_counts_them"),
    Fault("a map is drawn keys by queries", "viz.attention:draw_attention",
          lambda right, weights, *rest: right(weights.swapaxes(-2, -1), *rest),
          "test_plots_attention.py::test_one_map_is_queries_by_keys_on_the_scale_0_to_1_with_all_its_tokens"),
]
# fmt: on


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_planted_fault_turns_its_test_red(fault, tmp_path):
    if problem := problem_with(fault, tmp_path):
        pytest.fail(problem, pytrace=False)


DOUBLE = Fault("double", "pretend:double", lambda right, x: right(x) + 1, "test_pretend.py::test_double")
PRETEND = """
from bigmodel_lib.pretend import double

def test_double():
    assert double(x=2) == 4

def test_red():
    assert double(2) == 5
"""


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(), "None"),
        (dict(faulty=lambda right, x: right(x)), "test_double stays green with this fault"),
        (dict(faulty=lambda right: 5), "ends in TypeError"),
        (dict(where="pretend:twice"), "pretend:twice is not in bigmodel_lib"),
        (dict(where="no_module:double"), "no_module:double is not in bigmodel_lib"),
        (dict(where="pretend:Double"), "pretend:Double is no plain function"),
        (dict(test="test_pretend.py::test_red"), "test_red is not green without a fault"),
        (dict(test="test_pretend.py::test_nothing"), "test_nothing is not green without a fault"),
    ],
)
def test_a_fault_that_proves_nothing_is_reported(changes, words, tmp_path, monkeypatch):
    pretend = types.ModuleType("bigmodel_lib.pretend")
    pretend.double, pretend.Double = lambda x: 2 * x, int
    monkeypatch.setitem(sys.modules, pretend.__name__, pretend)
    monkeypatch.delitem(sys.modules, "test_pretend", raising=False)
    monkeypatch.setattr("planting.TESTS", tmp_path)
    (tmp_path / "test_pretend.py").write_text(PRETEND, encoding="utf-8")
    assert words in str(problem_with(DOUBLE._replace(**changes), tmp_path / "files"))
    assert pretend.double(2) == 4
