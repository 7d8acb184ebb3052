"""The tests are tested: each fault breaks the library in one place, and the test named beside it must turn red.

Every fault is planted in a fresh copy of the library. Its test runs there, in a second process that has PyTorch loaded
already and forgets the library after each answer. Before the first fault and after the last, all the named tests must
be green on a copy without any. A fault whose text does not stand in the library exactly once is an error: whoever
rewrites that line moves the fault along with it.
"""

import contextlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS = 300  # for one answer of the second process; it takes less than ten


class Fault(NamedTuple):
    what: str  # what is broken, in words
    file: str  # in bigmodel_lib/
    old: str
    new: str
    test: str  # the test, in tests/, that must turn red


# One fault, one paragraph: what and where; the old text and the new; the test.
# fmt: off
MODEL = [
    Fault("attention scores lack 1/sqrt(K)", "model_torch.py",
          "k.transpose(-2, -1) / math.sqrt(q.shape[-1])", "k.transpose(-2, -1)",
          "test_model.py::test_attention_is_the_formula_token_by_token"),
    Fault("the mask hides the token itself", "model_torch.py",
          ".triu(1)\n        scores", ".triu(0)\n        scores",
          "test_model.py::test_weights_are_a_distribution_over_the_past"),
    Fault("the mask shows the next token", "model_torch.py",
          ".triu(1)\n        scores", ".triu(2)\n        scores",
          "test_model.py::test_weights_are_a_distribution_over_the_past"),
    Fault("fused attention sees the future", "model_torch.py",
          "is_causal=causal", "is_causal=False",
          "test_model.py::test_a_changed_future_token_leaves_earlier_logits_equal[recipe1]"),
    Fault("fused attention has another scale", "model_torch.py",
          "is_causal=causal", "is_causal=causal, scale=1.0",
          "test_model.py::test_fused_attention_equals_plain_with_its_gradients"),
    Fault("softmax over the tokens that look", "model_torch.py",
          ".softmax(dim=-1)", ".softmax(dim=-2)",
          "test_model.py::test_weights_are_a_distribution_over_the_past"),
    Fault("a head mixes tokens", "model_torch.py",
          "x.view(B, T, n_heads, D // n_heads).transpose(1, 2)", "x.view(B, n_heads, T, D // n_heads)",
          "test_model.py::test_heads_are_blocks_of_columns"),
    Fault("heads are merged with their axes swapped", "model_torch.py",
          "x.transpose(1, 2).flatten(2)", "x.permute(0, 2, 3, 1).flatten(2)",
          "test_model.py::test_heads_are_blocks_of_columns"),
    Fault("RoPE lacks its minus", "model_torch.py",
          "[-sine, sine]", "[sine, sine]",
          "test_model.py::test_rope_is_a_rotation_in_the_complex_plane"),
    Fault("RoPE turns every position alike", "model_torch.py",
          "torch.arange(context_length, device=device)", "torch.ones(context_length, device=device)",
          "test_model.py::test_rope_is_a_rotation_in_the_complex_plane"),
    Fault("RoPE is left out of the model", "model_torch.py",
          "if rotation is not None:", "if False:",
          "test_model.py::test_order_matters_with_rope_and_not_without_positions"),
    Fault("the token shift takes the next token", "model_torch.py",
          "(0, 0, 1, -1)", "(0, 0, -1, 1)",
          "test_model.py::test_token_shift_adds_the_token_before"),
    Fault("the derivative of relu_squared lacks its 2", "model_torch.py",
          "value=2.0", "value=1.0",
          "test_model.py::test_relu_squared_equals_plain_with_its_gradient"),
    Fault("the loss is a sum", "model_torch.py",
          "targets.flatten(), ignore_index=-1)", 'targets.flatten(), ignore_index=-1, reduction="sum")',
          "test_model.py::test_the_loss_is_minus_the_log_probability_of_the_target"),
    Fault("the targets are flattened column by column", "model_torch.py",
          "targets.flatten(), ignore_index=-1)", "targets.mT.flatten(), ignore_index=-1)",
          "test_model.py::test_the_loss_is_minus_the_log_probability_of_the_target"),
    Fault("the maps forget QK-norm", "model_torch.py",
          "attention_weights(*layer.queries_and_keys(y, rotation)",
          "attention_weights(*(split_heads(y @ w, layer.n_heads) for w in (layer.w_q, layer.w_k))",
          "test_model.py::test_attention_maps_are_what_the_model_uses[recipe2]"),
    Fault("the maps forget the token shift", "model_torch.py",
          "y = y if layer.shift is None else shift_tokens(y, layer.shift)\n                maps", "maps",
          "test_model.py::test_attention_maps_are_what_the_model_uses[recipe2]"),
    Fault("a run of tokens ends at the next one", "model_torch.py",
          "functional.pad(run, (1, -1)) * vocab_size", "functional.pad(run, (-1, 1)) * vocab_size",
          "test_model.py::test_a_changed_future_token_leaves_earlier_logits_equal[recipe4]"),
    Fault("a run of tokens forgets its order", "model_torch.py",
          "* vocab_size + tokens) % NGRAM_ROWS", "+ tokens) % NGRAM_ROWS",
          "test_model.py::test_each_run_of_tokens_has_the_row_of_its_number[11-3]"),
    Fault("runs of all lengths share their rows", "model_torch.py",
          "run + n * NGRAM_ROWS", "run",
          "test_model.py::test_each_run_of_tokens_has_the_row_of_its_number[11-3]"),
    Fault("value residuals take the values of the block before", "model_torch.py",
          "first = v if block is self.blocks[0] else first", "first = v",
          "test_model.py::test_value_residuals_add_the_first_values_to_later_ones[recipe0]"),
    Fault("runs of tokens are left out for good", "model_torch.py",
          "NGRAM_DROPOUT, self.training)", "NGRAM_DROPOUT, True)",
          "test_model.py::test_runs_are_left_out_half_of_the_time_while_training_and_never_else"),
    Fault("runs of tokens are never left out", "model_torch.py",
          "NGRAM_DROPOUT, self.training)", "NGRAM_DROPOUT, False)",
          "test_model.py::test_runs_are_left_out_half_of_the_time_while_training_and_never_else"),
    Fault("a model writes while it drops out", "generation.py",
          "with evaluating(model):", "if True:",
          "test_objectives.py::test_a_model_in_training_writes_and_compresses_without_dropout"),
    Fault("maps are drawn of a model that drops out", "model_torch.py",
          "with evaluating(self):", "if True:",
          "test_objectives.py::test_a_model_in_training_writes_and_compresses_without_dropout"),
    Fault("a model compresses while it drops out", "compression.py",
          "with evaluating(model):", "if True:",
          "test_objectives.py::test_a_model_in_training_writes_and_compresses_without_dropout"),
    Fault("attention replaces the residual stream", "model_torch.py",
          "x = x + self.dropout(self.attention(", "x = self.dropout(self.attention(",
          "test_model.py::test_an_untrained_model_knows_nothing[small]"),
    Fault("the output matrix does not start at zero", "model_torch.py",
          '("w_o", "w_down", "w_out")', '("w_o", "w_down")',
          "test_model.py::test_an_untrained_model_knows_nothing[small]"),
    Fault("gpt2 starts ten times as wide", "model_torch.py",
          "if deep else 0.02", "if deep else 0.2",
          "test_model.py::test_an_untrained_model_knows_nothing[plain]"),
    Fault("the initial spread goes by the width out", "model_torch.py",
          "math.sqrt(parameter.shape[0])", "math.sqrt(parameter.shape[1])",
          "test_model.py::test_initial_spread_is_as_said"),
]

TEXT = [
    Fault("the target is the input", "corpora.py",
          "windows[:, 1:]", "windows[:, :-1]",
          "test_corpora.py::test_windows_are_the_text_and_the_text_one_later"),
    Fault("the target is two tokens later", "corpora.py",
          "windows[:, 1:]", "tokens.take(starts[:, None] + 2 + np.arange(context_length), mode='clip')",
          "test_corpora.py::test_windows_are_the_text_and_the_text_one_later"),
    Fault("the last window is never drawn", "corpora.py",
          "len(tokens) - context_length, size", "len(tokens) - context_length - 1, size",
          "test_corpora.py::test_every_window_can_be_drawn"),
    Fault("a window reads past the end", "corpora.py",
          "len(tokens) - context_length, size", "len(tokens) - context_length + 1, size",
          "test_corpora.py::test_every_window_can_be_drawn"),
    Fault("the target is the input in evaluation", "corpora.py",
          "tokens[1 : full * context_length + 1]", "tokens[: full * context_length]",
          "test_corpora.py::test_all_windows_target_every_token_but_the_first_once"),
    Fault("evaluation leaves out the last short window", "corpora.py",
          "if len(rest) > 1:", "if False:",
          "test_corpora.py::test_all_windows_target_every_token_but_the_first_once"),
    Fault("the first tenth is held out", "corpora.py",
          "tokens[:-held_out], tokens[-held_out:]", "tokens[held_out:], tokens[:held_out]",
          "test_corpora.py::test_the_last_tenth_is_held_out_and_at_most_a_million"),
    Fault("training sees what is held out", "corpora.py",
          "return tokens[:-held_out]", "return tokens",
          "test_corpora.py::test_the_last_tenth_is_held_out_and_at_most_a_million"),
    Fault("bytes that are no text vanish", "tokenizers.py",
          '.tobytes().decode("utf-8", errors="replace")', '.tobytes().decode("utf-8", errors="ignore")',
          "test_tokenizers.py::test_a_byte_sequence_that_is_no_text_becomes_replacement_marks"),
    Fault("every byte counts as a character", "tokenizers.py",
          "(np.asarray(tokens) & 0b1100_0000) != 0b1000_0000", "np.asarray(tokens) >= 0",
          "test_tokenizers.py::test_bytes_round_trip_any_text"),
    Fault("an unknown character gets the id 0", "tokenizers.py",
          "if unknown.size:", "ids[unknown] = 0\n        if False:",
          "test_tokenizers.py::test_the_error_reads_well"),
]

TRAINING = [
    Fault("Muon has no momentum", "optimizers_torch.py",
          "torch._foreach_lerp_(averages, gradients, 1 - mu)", "torch._foreach_lerp_(averages, gradients, 1.0)",
          "test_optimizers.py::test_muon_is_its_equation"),
    Fault("Muon's momentum looks at the average alone", "optimizers_torch.py",
          ".lerp_(torch.stack(averages), mu)", ".lerp_(torch.stack(averages), 1.0)",
          "test_optimizers.py::test_muon_is_its_equation"),
    Fault("Muon forgets the scale of wide matrices", "optimizers_torch.py",
          "math.sqrt(max(1.0, shape[1] / shape[0]))", "1.0",
          "test_optimizers.py::test_muon_is_its_equation"),
    Fault("Muon climbs", "optimizers_torch.py",
          "alpha=-rate", "alpha=rate",
          "test_optimizers.py::test_muon_is_its_equation"),
    Fault("Muon takes the output matrix", "optimizers_torch.py",
          ' and n.startswith("blocks.")', "",
          "test_optimizers.py::test_each_parameter_has_exactly_one_optimizer"),
    Fault("a tall matrix is not turned back", "optimizers_torch.py",
          "return x.mT if tall else x", "return x",
          "test_optimizers.py::test_orthogonalise_is_near_the_polar_factor[shape3-0]"),
    Fault("a coefficient of orthogonalise has the wrong sign", "optimizers_torch.py",
          "0.5448431082926601", "-0.5448431082926601",
          "test_optimizers.py::test_a_hundredfold_spread_becomes_less_than_elevenfold"),
    Fault("the fifth power of a matrix is its third", "optimizers_torch.py",
          "c * gram @ gram", "c * gram",
          "test_optimizers.py::test_a_quintic_turns_each_singular_value_by_itself"),
    Fault("the interval of a mean divides by n", "intervals.py",
          "values.std(ddof=1)", "values.std()",
          "test_intervals.py::test_it_is_students[5-2.776]"),
    Fault("the interval of a mean has one side", "intervals.py",
          "0.5 + confidence / 2", "confidence",
          "test_intervals.py::test_it_holds_the_truth_as_often_as_it_says[0.95]"),
    Fault("minutes choose by difference, not by proportion", "config.py",
          "abs(math.log(60 * minutes / seconds))", "abs(60 * minutes - seconds)",
          "test_config.py::test_the_nearest_budget_is_nearest_in_proportion"),
    Fault("--save-every is not heard", "pretraining.py",
          "stop, curve_file, pause)\n        except", "stop, curve_file)\n        except",
          "test_pretraining.py::test_checkpoints_are_written_as_often_as_asked[0-steps0]"),
    Fault("a loaded model drops out", "checkpoints.py",
          ".to(device).eval()", ".to(device)",
          "test_pretraining.py::test_a_finished_run_is_loaded_to_be_used"),
    Fault("runs of tokens do not start at zero", "model_torch.py",
          'zero = ["shift", "ngram_embedding", ', 'zero = ["shift", ',
          "test_model.py::test_runs_are_left_out_half_of_the_time_while_training_and_never_else"),
    Fault("minutes overrule a wish", "pretraining.py",
          "if minutes is None or other else", "if minutes is None else",
          "test_pretraining.py::test_minutes_without_a_wish_choose_the_size[given2-64]"),
    Fault("a resumed run leaves AdamW's count of steps on the host", "optimizers_torch.py",
          '() if part.param_groups[0].get("fused") else ("step",)', '("step",)',
          "test_optimizers.py::test_what_a_checkpoint_kept_goes_where_the_optimizer_reads_it[True]"),
    Fault("AdamW's betas are swapped", "optimizers_torch.py",
          "(config.beta1, config.beta2)", "(config.beta2, config.beta1)",
          "test_optimizers.py::test_adamw_is_its_equation"),
    Fault("AdamW forgets weight decay", "optimizers_torch.py",
          "weight_decay=config.weight_decay", "weight_decay=0.0",
          "test_optimizers.py::test_adamw_is_its_equation"),
    Fault("gradients add up from step to step", "optimizers_torch.py",
          "part.zero_grad(set_to_none=True)", "pass",
          "test_optimizers.py::test_adamw_is_its_equation"),
    Fault("the rate does not fall to zero", "optimizers_torch.py",
          "fall = 1.0 - fraction if", "fall = 1.0 - 0.9 * fraction if",
          "test_optimizers.py::test_the_rate_rises_and_falls_as_said"),
    Fault("the rate has no warm-up", "optimizers_torch.py",
          "min(1.0, (step + 1) / max(1, warmup_steps))", "1.0",
          "test_optimizers.py::test_the_rate_rises_and_falls_as_said"),
    Fault("the time of whoever watches counts", "training.py",
          "losses, start = [], self.clock()",
          "losses, start = [], vars(self).setdefault('begun', self.clock())",
          "test_pretraining.py::test_a_budget_in_minutes_counts_training_alone_and_ends_with_the_rate_at_zero"),
    Fault("a resumed run draws other batches", "training.py",
          'self.rng.bit_generator.state = state["rng"]', "pass",
          "test_pretraining.py::test_an_interrupted_run_ends_with_the_same_weights_bit_for_bit[1-muon]"),
    Fault("a resumed run forgets its optimizers", "training.py",
          'self.optimizers.load_state_tensors(parts["optimizer/"])', "pass",
          "test_pretraining.py::test_an_interrupted_run_ends_with_the_same_weights_bit_for_bit[1-adamw]"),
    Fault("a resumed run forgets its seconds", "training.py",
          'state["step"], state["seconds"], state["curve"]', 'state["step"], 0.0, state["curve"]',
          "test_pretraining.py::test_minutes_go_on_where_the_checkpoint_was"),
    Fault("a run is resumed on another text", "pretraining.py",
          'if text.fingerprint != notes["fingerprint"]:', "if False:",
          "test_pretraining.py::test_bad_checkpoints_are_refused_and_kept[another text]"),
    Fault("evaluation is the mean of batches", "training.py",
          " * n_targets)\n        count += n_targets", ")\n        count += 1",
          "test_pretraining.py::test_evaluate_is_the_mean_over_every_target"),
    Fault("a loss of NaN goes unnoticed", "training.py",
          "if not math.isfinite(loss):", "if False:",
          "test_pretraining.py::test_a_loss_that_turns_nan_is_named_by_its_step"),
    Fault("broken weights are saved", "training.py",
          "self.check_weights()\n        tensors", "tensors",
          "test_pretraining.py::test_broken_weights_are_never_saved"),
    Fault("the loss is computed in bfloat16", "training.py",
          "cross_entropy(logits.float() if logits.dtype != torch.float64 else logits, y)", "cross_entropy(logits, y)",
          "test_pretraining.py::test_bfloat16_computes_the_same_model[small]"),
    Fault("a file is written straight to its place", "checkpoints.py",
          'handle, passing = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")',
          "handle, passing = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), path",
          "test_pretraining.py::test_a_file_appears_whole_or_not_at_all"),
]

WRITING = [
    Fault("the temperature is ignored", "generation.py",
          "(logits / temperature).softmax", "logits.softmax",
          "test_pretraining.py::test_sampling_follows_the_exact_probabilities"),
    Fault("top-k keeps one too many", "generation.py",
          "logits.topk(top_k)", "logits.topk(top_k + 1)",
          "test_pretraining.py::test_sampling_follows_the_exact_probabilities"),
    Fault("the context is not cut while writing", "generation.py",
          "[*window, token][-model.config.context_length :]", "[*window, token]",
          "test_pretraining.py::test_generation_sees_the_last_context_and_repeats_with_its_seed"),
    Fault("the model sees the start of a long prompt", "generation.py",
          "for token in tokens][-model.config.context_length :]", "for token in tokens][: model.config.context_length]",
          "test_pretraining.py::test_generation_sees_the_last_context_and_repeats_with_its_seed"),
]
PIECES = [
    Fault("merging skips a token after a pair", "tokenizers.py",
          "            i += 2\n", "            i += 3\n",
          "test_tokenizers.py::test_the_fast_trainer_merges_as_the_plain_one"),
    Fault("of equally frequent pairs the larger is merged", "tokenizers.py",
          "heap = [(-count, pair)", "heap = [(-count, (-pair[0], -pair[1]))",
          "test_tokenizers.py::test_bpe_gives_the_ids_of_a_known_library[English]"),
    Fault("what a merge made rarer is not counted again", "tokenizers.py",
          "((old, -times[i]), (words[i], times[i]))", "((words[i], times[i]),)",
          "test_tokenizers.py::test_bpe_gives_the_ids_of_a_known_library[English]"),
    Fault("the last learned merge comes first", "tokenizers.py",
          "(order.get(pair, len(order)), i)", "(-order[pair] if pair in order else len(order), i)",
          "test_tokenizers.py::test_bpe_merges_the_earliest_learned_first"),
    Fault("a blank sticks to the word before it", "tokenizers.py",
          "| ?[^\\W\\d_]{1,128}|", "|[^\\W\\d_]{1,128} ?|",
          "test_tokenizers.py::test_words_are_split_as_gpt2_does[English]"),
    Fault("the shortest word is taken", "tokenizers.py",
          "key=len, reverse=True", "key=len",
          "test_tokenizers.py::test_words_round_trip_ten_thousand_stories[chinese]"),
    Fault("a document's batch has targets beyond its end", "corpora.py",
          "np.full_like(x, -1)", "np.full_like(x, 0)",
          "test_corpora.py::test_a_document_batch_holds_whole_documents"),
    Fault("shared n-grams are counted once each", "corpora.py",
          "grams = [tuple(validation[i : i + n]) for i in range(len(validation) - n + 1)]",
          "grams = {tuple(validation[i : i + n]) for i in range(len(validation) - n + 1)}",
          "test_corpora.py::test_shared_ngrams_are_counted_each_time"),
]
WORLD = [
    Fault("a pronoun is told more often than its probability says", "storyworld/__init__.py",
          "pronoun = next(draws) < 0.5", "pronoun = next(draws) < 0.6",
          "test_storyworld.py::test_a_pronoun_is_told_as_often_as_a_name"),
    Fault("the sampler forgets the price of a pronoun", "storyworld/__init__.py",
          "pronoun = next(draws) < 0.5\n                p /= 2", "pronoun = next(draws) < 0.5",
          "test_storyworld.py::test_the_sampler_records_what_the_scorer_finds"),
    Fault("endings are allowed beside the full share of the others", "storyworld/__init__.py",
          "(more, 1.0 - ending)", "(more, 1.0)",
          "test_storyworld.py::test_all_stories_of_a_small_world_together_have_probability_one"),
    Fault("a pronoun may mean two people", "storyworld/scene.py",
          "self.topic = subject if not same else None", "self.topic = subject",
          "test_storyworld.py::test_pronouns_have_one_antecedent"),
    Fault("who is away sees what is put down", "storyworld/scene.py",
          "            if here == place:\n", "            if here:\n",
          "test_storyworld.py::test_what_happens_out_of_sight_leaves_a_false_belief"),
    Fault("of two people who swap things one keeps both", "storyworld/sentences.py",
          "    s.put(u, a)\n", "    s.put(u, b)\n",
          "test_storyworld.py::test_facts_are_what_a_second_reader_finds"),
    Fault("all sentences that may follow count alike", "storyworld/__init__.py",
          "found.get(token, 0.0) + math.exp(step.log_prob)", "found.get(token, 0.0) + 1.0",
          "test_storyworld.py::test_next_token_probabilities_are_those_of_all_stories"),
    Fault("the game counts every word as the likeliest", "widgets.py",
          "self.best_hits += best == came", "self.best_hits += 1",
          "test_storyworld.py::test_the_guessing_game_tells_the_story_and_keeps_the_score"),
    Fault("supporting tokens stand one too early", "storyworld/story.py",
          "here.setdefault(step.filling[slot], set()).add(start + position)",
          "here.setdefault(step.filling[slot], set()).add(start + position - 1)",
          "test_storyworld.py::test_supports_are_tokens_that_name_what_is_asked"),
]
BY_HAND = [
    Fault("softmax by hand divides by all rows' sum", "model_numpy.py",
          "powers / powers.sum(axis=-1, keepdims=True)", "powers / powers.sum()",
          "test_model_numpy.py::test_attention_is_the_formula_token_by_token"),
    Fault("softmax by hand overflows", "model_numpy.py",
          "np.exp(scores - scores.max(axis=-1, keepdims=True))", "np.exp(scores)",
          "test_model_numpy.py::test_softmax_is_pytorchs"),
    Fault("the Jacobian has the sign of its second term wrong", "model_numpy.py",
          "np.diag(weights) - np.outer", "np.diag(weights) + np.outer",
          "test_model_numpy.py::test_the_jacobian_is_what_autograd_finds"),
    Fault("attention by hand lacks its scale", "model_numpy.py",
          " / q.shape[-1] ** 0.5", "",
          "test_model_numpy.py::test_attention_is_the_formula_token_by_token"),
    Fault("the mask by hand hides the token itself", "model_numpy.py",
          "-np.inf), k=1)", "-np.inf), k=0)",
          "test_model_numpy.py::test_the_twin_in_pytorch_agrees"),
    Fault("heads by hand mix tokens", "model_numpy.py",
          "x.reshape(*x.shape[:-1], n_heads, -1).swapaxes(-3, -2)",
          "x.reshape(*x.shape[:-2], n_heads, x.shape[-2], -1)",
          "test_model_numpy.py::test_heads_are_single_attentions_in_blocks"),
    Fault("rotation by hand turns keys and queries apart", "model_numpy.py",
          "[-sine, sine]", "[sine, sine]",
          "test_model_numpy.py::test_the_score_of_rotated_vectors_hangs_on_the_offset_alone"),
    Fault("entropy counts in the wrong direction", "model_numpy.py",
          "return -(weights * logs)", "return (weights * logs)",
          "test_model_numpy.py::test_entropy_is_pytorchs_and_of_certainty_0"),
]

BACKWARD = [
    Fault(
        "the gradient of a weight sees one text only",
        "backprop_numpy.py",
        "x.reshape(-1, w.shape[0]).T @ rows",
        "x[0].T @ dy[0]",
        "test_backprop.py::test_central_differences_agree[linear-(2, 5, 2, 4)]",
    ),
    Fault(
        "the gradient of a linear map's input is not transposed",
        "backprop_numpy.py",
        "(rows @ w.T).reshape(x.shape)",
        "(rows[:, : w.shape[0]] @ w[:, : w.shape[0]].T).reshape(x.shape)",
        "test_backprop.py::test_autograd_agrees[linear]",
    ),
    Fault(
        "a repeated token keeps its last gradient",
        "backprop_numpy.py",
        "np.add.at(dtable, tokens, dy)",
        "dtable[tokens] = dy",
        "test_backprop.py::test_autograd_agrees[embedding]",
    ),
    Fault(
        "norm's backward forgets the mean",
        "backprop_numpy.py",
        "(dy - dy.mean(axis=-1, keepdims=True) - y *",
        "(dy - y *",
        "test_backprop.py::test_central_differences_agree[layer_norm-(2, 5, 2, 4)]",
    ),
    Fault(
        "norm's backward forgets its own direction",
        "backprop_numpy.py",
        " - y * (dy * y).mean(axis=-1, keepdims=True)) / sigma",
        ") / sigma",
        "test_backprop.py::test_autograd_agrees[qk_norm]",
    ),
    Fault(
        "norm's backward is not divided by the spread",
        "backprop_numpy.py",
        "(dy * y).mean(axis=-1, keepdims=True)) / sigma",
        "(dy * y).mean(axis=-1, keepdims=True))",
        "test_backprop.py::test_autograd_agrees[layer_norm]",
    ),
    Fault(
        "softmax's backward takes a plain mean",
        "backprop_numpy.py",
        "(dp - (p * dp).sum(axis=-1, keepdims=True))",
        "(dp - dp.mean(axis=-1, keepdims=True))",
        "test_backprop.py::test_central_differences_agree[softmax-(2, 5, 2, 4)]",
    ),
    Fault(
        "attention's backward lacks its scale",
        "backprop_numpy.py",
        "weights) / q.shape[-1] ** 0.5",
        "weights)",
        "test_backprop.py::test_autograd_agrees[attention]",
    ),
    Fault(
        "queries and keys swap their gradients",
        "backprop_numpy.py",
        "return dscores @ k, dscores.swapaxes(-2, -1) @ q,",
        "return dscores.swapaxes(-2, -1) @ q, dscores @ k,",
        "test_backprop.py::test_autograd_agrees[attention]",
    ),
    Fault(
        "the gradient of the values is not transposed",
        "backprop_numpy.py",
        "weights.swapaxes(-2, -1) @ dy",
        "weights @ dy",
        "test_backprop.py::test_central_differences_agree[attention-(2, 5, 2, 4)]",
    ),
    Fault(
        "the gradient is turned forward again",
        "backprop_numpy.py",
        "rotate(dy, cosine, -sine)",
        "rotate(dy, cosine, sine)",
        "test_backprop.py::test_autograd_agrees[rotate]",
    ),
    Fault(
        "the slope of relu_squared by hand lacks its 2",
        "backprop_numpy.py",
        "return 2 * positive * dy",
        "return positive * dy",
        "test_backprop.py::test_central_differences_agree[relu_squared-(2, 5, 2, 4)]",
    ),
    Fault(
        "GELU's slope forgets the density",
        "backprop_numpy.py",
        "(below + x * density) * dy",
        "below * dy",
        "test_backprop.py::test_central_differences_agree[gelu-(2, 5, 2, 4)]",
    ),
    Fault(
        "the fast normal distribution is one-sided",
        "backprop_numpy.py",
        "np.copysign(tail, x, out=tail)",
        "np.negative(tail, out=tail)",
        "test_backprop.py::test_the_fast_normal_distribution_is_the_plain_one",
    ),
    Fault(
        "the shift's gradient goes to the wrong side",
        "backprop_numpy.py",
        "dx[:, :-1] += strength * dy[:, 1:]",
        "dx[:, 1:] += strength * dy[:, :-1]",
        "test_backprop.py::test_autograd_agrees[shift_tokens]",
    ),
    Fault(
        "the shift's strength hears one text only",
        "backprop_numpy.py",
        ".sum(axis=(0, 1))\n\n\ndef dropout",
        ".sum(axis=1)[0]\n\n\ndef dropout",
        "test_backprop.py::test_central_differences_agree[shift_tokens-(2, 5, 2, 4)]",
    ),
    Fault(
        "dropout's backward forgets its factor",
        "backprop_numpy.py",
        "return dy * kept",
        "return dy * (kept > 0)",
        "test_backprop.py::test_autograd_agrees[dropout]",
    ),
    Fault(
        "dropout loses its mean",
        "backprop_numpy.py",
        ".astype(x.dtype) / (1 - rate)",
        ".astype(x.dtype)",
        "test_backprop.py::test_dropout_keeps_the_mean",
    ),
    Fault(
        "the loss's gradient is not a mean",
        "backprop_numpy.py",
        "dlogits[*place, targets[place]] -= 1 / counted.sum()",
        "dlogits[*place, targets[place]] -= 1",
        "test_backprop.py::test_autograd_agrees[cross_entropy]",
    ),
    Fault(
        "padding has a gradient",
        "backprop_numpy.py",
        "dlogits = p * (counted[..., None] / counted.sum()).astype(p.dtype)",
        "dlogits = p / counted.sum()",
        "test_backprop.py::test_autograd_agrees[cross_entropy]",
    ),
    Fault(
        "the heads' way back forgets QK-norm",
        "backprop_numpy.py",
        'dh = layer_norm_backward(dh, caches[f"norm_{letter}"])',
        "pass",
        "test_backprop.py::test_autograd_agrees[attention_layer]",
    ),
    Fault(
        "q, k and v do not add up",
        "backprop_numpy.py",
        "dx = dx + dh",
        "dx = dh",
        "test_backprop.py::test_autograd_agrees[attention_layer]",
    ),
    Fault(
        "the MLP's way back forgets its bend",
        "backprop_numpy.py",
        'dh = ACTIVATIONS[caches["activation_name"]][1](dh, caches["activation"])',
        "pass",
        "test_backprop.py::test_autograd_agrees[mlp]",
    ),
    Fault(
        "the residual road back is shut",
        "backprop_numpy.py",
        "dx = dy + layer_norm_backward(dbranch, norm_2)",
        "dx = layer_norm_backward(dbranch, norm_2)",
        "test_backprop.py::test_autograd_agrees[block]",
    ),
    Fault(
        "one z of (4.1) is forgotten",
        "backprop_numpy.py",
        "dz = sum(attention_backward(b1 * dh, attention))",
        "dz = sum(attention_backward(b1 * dh, attention)[:2])",
        "test_backprop.py::test_autograd_agrees[formula_4_1]",
    ),
    Fault(
        "a tied matrix learns from one end",
        "backprop_numpy.py",
        'gradients["token_embedding"] += dw_out.T',
        "pass",
        "test_backprop.py::test_the_twins_agree[('rope', True, 'relu_squared', True, True)]",
    ),
    Fault(
        "the last norm has no way back",
        "backprop_numpy.py",
        "dx = layer_norm_backward(dx, norm)\n",
        "dx = dx\n",
        "test_backprop.py::test_the_twins_agree[('rope', True, 'relu_squared', True, False)]",
    ),
    Fault(
        "central differences are one-sided",
        "backprop_numpy.py",
        "x[place] = kept - h",
        "x[place] = kept",
        "test_backprop.py::test_central_differences_agree[gelu-(2, 5, 2, 4)]",
    ),
    Fault(
        "AdamW forgets that it starts at 0",
        "optimizers_numpy.py",
        "m / (1 - self.beta1**self.steps)",
        "m",
        "test_backprop.py::test_adamw_in_step_1_moves_every_number_by_its_rate_and_decays_on_its_own",
    ),
    Fault(
        "AdamW's decay goes through its mean",
        "optimizers_numpy.py",
        "w -= rate * self.weight_decay * w",
        "g = g + self.weight_decay * w",
        "test_backprop.py::test_adamw_in_step_1_moves_every_number_by_its_rate_and_decays_on_its_own",
    ),
    Fault(
        "AdamW takes its eps inside the root",
        "optimizers_numpy.py",
        "(np.sqrt(square) + self.eps)",
        "np.sqrt(square + self.eps)",
        "test_backprop.py::test_twenty_steps_of_adamw_agree[linear]",
    ),
    Fault(
        "the rate by hand does not fall",
        "optimizers_numpy.py",
        " * (1 - step / steps)",
        "",
        "test_backprop.py::test_training_goes_down_and_its_rate_ends_at_0",
    ),
    Fault(
        "the block by hand has no MLP",
        "model_numpy.py",
        'return x + mlp(layer_norm(x), part(p, "mlp."), config)',
        "return x",
        "test_backprop.py::test_the_twins_agree[('rope', True, 'relu_squared', True, False)]",
    ),
    Fault(
        "the loss by hand counts padding",
        "model_numpy.py",
        "counted = targets >= 0",
        "counted = targets >= -1",
        "test_backprop.py::test_the_twins_agree[('rope', True, 'relu_squared', True, False)]",
    ),
    Fault(
        "the decoder by hand has no mask",
        "model_numpy.py",
        "mask = causal_mask(T).astype(x.dtype) if config.causal else 0.0",
        "mask = 0.0",
        "test_backprop.py::test_the_encoder_sees_both_sides_and_the_decoder_does_not",
    ),
    Fault(
        "learned positions are left out",
        "model_numpy.py",
        'return x + parameters["position_embedding"][:T] if config.positions == "learned" else x',
        "return x",
        "test_backprop.py::test_the_twins_agree[('learned', True, 'relu_squared', True, False)]",
    ),
    Fault(
        "the output starts from random numbers by hand",
        "model_numpy.py",
        'last in ("w_o", "w_down", "w_out")',
        'last in ("w_o", "w_down")',
        "test_backprop.py::test_both_twins_start_from_the_same_spreads[zero]",
    ),
    Fault(
        "the formula forgets the output matrix",
        "costs.py",
        "V * D * (1 if config.tied else 2)",
        "V * D",
        "test_costs.py::test_parameters_are_as_counted",
    ),
    Fault(
        "attention's operations are counted once",
        "costs.py",
        "2 * T * T * L * 2 * D",
        "2 * T * T * L * D",
        "test_costs.py::test_flops_are_as_pytorch_counts_them",
    ),
]
STREAMING = [
    Fault("blocks are added relative to different maxima", "model_torch.py",
          "share1, share2 = (m1 - highest).exp(), (m2 - highest).exp()", "share1 = share2 = torch.ones_like(highest)",
          "test_streaming.py::test_blocks_may_be_merged_in_any_order_and_grouping"),
    Fault("the merged values keep the first block's scale", "model_torch.py",
          "share1 * y1 + share2 * y2", "y1 + share2 * y2",
          "test_streaming.py::test_blocks_of_any_size_give_the_whole_with_its_gradients"),
    Fault("a block takes nothing off before exp", "model_torch.py",
          "powers = (scores - highest).exp()", "highest = 0 * highest\n    powers = scores.exp()",
          "test_streaming.py::test_scores_of_a_thousand_do_not_overflow"),
    Fault("the blocks' scores lack 1/sqrt(K)", "model_torch.py",
          "scores = q @ k.mT / math.sqrt(q.shape[-1])", "scores = q @ k.mT",
          "test_streaming.py::test_blocks_of_any_size_give_the_whole_with_its_gradients"),
    Fault("the diagonal block sees the future", "model_torch.py",
          "v[..., rows, :], future[:n, :n])", "v[..., rows, :])",
          "test_streaming.py::test_blocks_of_any_size_give_the_whole_with_its_gradients"),
    Fault("a block of queries skips the oldest keys", "model_torch.py",
          "for keys in blocks[:i]:", "for keys in blocks[1:i]:",
          "test_streaming.py::test_blocks_of_any_size_give_the_whole_with_its_gradients"),
    Fault("the log-sums forget the maximum", "model_torch.py",
          "highest + total.log()", "total.log()",
          "test_streaming.py::test_the_second_result_is_the_logarithm_of_each_sum"),
    Fault("streaming's way back forgets softmax's mean", "model_torch.py",
          " - means[..., rows, :]) / scale", ") / scale",
          "test_streaming.py::test_the_way_back_agrees_with_central_differences"),
    Fault("streaming's way back lacks 1/sqrt(K)", "model_torch.py",
          "means[..., rows, :]) / scale", "means[..., rows, :])",
          "test_streaming.py::test_the_way_back_agrees_with_central_differences"),
    Fault("streaming's way back sees the future", "model_torch.py",
          "if i == j:", "if i == j + 1:",
          "test_streaming.py::test_the_way_back_agrees_with_central_differences"),
    Fault("streaming's way back keeps the last block's dk only", "model_torch.py",
          "dk[..., keys, :] += dscores.mT @ q_i", "dk[..., keys, :] = dscores.mT @ q_i",
          "test_streaming.py::test_blocks_of_any_size_give_the_whole_with_its_gradients"),
    Fault("streaming makes all weights at once", "model_torch.py",
          "return _Streaming.apply(q, k, v, block_size)", "return _Streaming.apply(q, k, v, 10 * block_size)",
          "test_streaming.py::test_no_more_than_a_block_of_weights_exists_and_memory_is_linear"),
    Fault("the bill counts one mean for AdamW", "costs.py",
          '"optimizer": 2 * P', '"optimizer": P',
          "test_costs.py::test_memory_is_as_estimated_to_a_tenth"),
    Fault("the bill forgets plain attention's weights", "costs.py",
          "in_block += config.n_heads * n_tokens", "in_block += config.n_heads",
          "test_costs.py::test_memory_is_as_estimated_to_a_tenth"),
    Fault("the bill forgets QK-norm's inputs", "costs.py",
          " + 2 * D * config.qk_norm", "",
          "test_costs.py::test_memory_is_as_estimated_to_a_tenth"),
    Fault("the peak is all that was ever allocated", "costs.py",
          'now += event["args"]["Bytes"]', 'now += max(0, event["args"]["Bytes"])',
          "test_costs.py::test_the_peak_is_what_exists_at_one_time"),
    Fault("the clock counts the first call", "costs.py",
          "            if repeat:\n                found", "            if repeat >= 0:\n                found",
          "test_costs.py::test_clocks_take_turns_and_leave_the_first_call_out"),
    Fault("the clock does not wait for the device", "costs.py",
          "            function()\n            wait_for(device)", "            function()",
          "test_costs.py::test_a_clock_waits_for_its_device"),
    Fault("a leaf is drawn beside its parents", "plots.py",
          "depth[child] = depth[parent] + 1", "depth[child] = max(depth.get(child, 0), 1)",
          "test_plots.py::test_the_graph_shows_each_node_and_link_once_with_what_it_keeps"),
]

RUNS = [
    Fault("the hidden tokens are shown", "corpora.py",
          "np.where(chosen & (how < 0.8), mask_token, tokens)", "tokens",
          "test_objectives.py::test_shares_are_those_of_bert"),
    Fault("every place is asked for", "corpora.py",
          "return shown, np.where(chosen, tokens, -1)", "return shown, tokens",
          "test_objectives.py::test_shares_are_those_of_bert"),
    Fault("the first wanted token of a task does not count", "storyworld/tasks.py",
          "y[row, len(task.given) - 1 : len(tokens) - 1] = tokens[len(task.given) :]",
          "y[row, len(task.given) : len(tokens) - 1] = tokens[len(task.given) + 1 :]",
          "test_tasks.py::test_only_what_is_wanted_counts_and_it_stands_one_later"),
    Fault("a task's question counts, too", "storyworld/tasks.py",
          "y[row, len(task.given) - 1 : len(tokens) - 1] = tokens[len(task.given) :]",
          "y[row, : len(tokens) - 1] = tokens[1:]",
          "test_tasks.py::test_only_what_is_wanted_counts_and_it_stands_one_later"),
    Fault("an encoder looks back only", "model_torch.py",
          "else attention(q, k, v, causal=False)", "else attention(q, k, v)",
          "test_objectives.py::test_an_encoder_sees_both_sides_and_so_does_its_twin"),
    Fault("evaluation drops out", "devices.py",
          "    model.eval()\n", "",
          "test_objectives.py::test_dropout_acts_in_training_alone_and_keeps_the_mean"),
    Fault("each process goes by its own clock", "processes.py",
          "dist.broadcast(shared, src=0)", "pass",
          "test_processes.py::test_two_processes_see_the_curve_of_one[by the clock, 64 bits]"),
    Fault("all processes take the first rows", "processes.py",
          "self.size)[self.rank]", "self.size)[0]",
          "test_processes.py::test_every_row_of_a_batch_has_one_process"),
    Fault("a process's loss counts as much as any other's", "training.py",
          "share = float((mine >= 0).sum() / (y >= 0).sum())", "share = 1 / self.processes.size",
          "test_processes.py::test_two_processes_see_the_curve_of_one[masked, 64 bits]"),
    Fault("dropout leaves out the same in every step", "training.py",
          "(self.config.seed, self.step, self.processes.rank)", "(self.config.seed, 0, self.processes.rank)",
          "test_objectives.py::test_each_step_and_each_process_leaves_out_something_else"),
    Fault("all processes leave out the same", "training.py",
          "(self.config.seed, self.step, self.processes.rank)", "(self.config.seed, self.step, 0)",
          "test_objectives.py::test_each_step_and_each_process_leaves_out_something_else"),
    Fault("what is left out depends on what was drawn before", "training.py",
          "                self.seed_what_is_left_out()\n", "                pass\n",
          "test_objectives.py::test_a_run_with_dropout_goes_on_as_if_nothing_had_happened[changes0]"),
    Fault("a loaded model trains without dropout", "training.py",
          "        self.model.train()\n", "",
          "test_objectives.py::test_a_loaded_model_trains_with_dropout"),
    Fault("the curve keeps what a kill has undone", "reports.py",
          'path.open("a", encoding="utf-8", newline="")', 'path.open("w", encoding="utf-8", newline="")',
          "test_objectives.py::test_a_curve_that_goes_on_keeps_what_was_before_and_drops_what_came_later"),
    Fault("share of peak counts the way there alone", "reports.py",
          "3 * forward", "forward",
          "test_objectives.py::test_share_of_peak_is_operations_over_the_measured_peak"),
    Fault("pending bits are dropped", "compression.py",
          "[half // HALF] + [1 - half // HALF] * self.pending", "[half // HALF]",
          "test_compression.py::test_bits_wait_while_the_interval_lies_about_the_middle[7]"),
    Fault("pending bits are not the opposite", "compression.py",
          "[1 - half // HALF] * self.pending", "[half // HALF] * self.pending",
          "test_compression.py::test_bits_wait_while_the_interval_lies_about_the_middle[7]"),
    Fault("the end forgets pending bits", "compression.py",
          "(self.pending + 1)", "1",
          "test_compression.py::test_bits_wait_while_the_interval_lies_about_the_middle[7]"),
    Fault("a half is doubled too early", "compression.py",
          "self.high <= half + HALF]", "self.high <= half + HALF + 1]",
          "test_compression.py::test_a_half_is_doubled_if_the_interval_lies_within_it"),
    Fault("frequencies sum to one more", "compression.py",
          "total - frequencies.sum()]", "total - frequencies.sum() + 1]",
          "test_compression.py::test_frequencies_worked_out_by_hand"),
    Fault("a token may have no share", "compression.py",
          "1 + np.floor(exact)", "np.floor(exact)",
          "test_compression.py::test_frequencies_worked_out_by_hand"),
    Fault("the decoder's history is one short", "compression.py",
          "decoder.decode(_frequencies(history, ", "decoder.decode(_frequencies(history[:-1], ",
          "test_compression.py::test_both_directions_ask_the_same_questions_in_the_same_order"),
    Fault("the code's length is in nats", "compression.py",
          "float(np.log2(p[token]))", "float(np.log(p[token]))",
          "test_compression.py::test_the_ideal_length"),
    Fault("the coder's model sees one token less", "compression.py",
          "[-model.config.context_length :]", "[1 - model.config.context_length :]",
          "test_compression.py::test_the_model_is_given_as_much_as_its_context_holds"),
    Fault("Witten and Bell's weight is missing", "compression.py",
          "p *= len(followers)", "p *= 1",
          "test_compression.py::test_an_ngram_worked_out_by_hand"),
    Fault("the n-grams' context is short", "compression.py",
          "history[len(history) - n :]", "history[len(history) - n + 1 :]",
          "test_compression.py::test_an_ngram_worked_out_by_hand"),
    Fault("the hash does not see where files end", "text_store.py",
          "checksum.update(block or size.to_bytes(8, \"little\"))",
          "checksum.update(block)",
          "test_text_store.py::test_the_hash_is_of_the_contents_and_of_where_files_end"),
    Fault("a file is read whole", "text_store.py",
          "while block := file.read(BLOCK):",
          "while block := file.read():",
          "test_text_store.py::test_no_file_is_read_whole"),
    Fault("characters are cut between blocks", "text_store.py",
          "text = decoder.decode(block, final=not block)",
          "text = block.decode(\"utf-8\", \"replace\")",
          "test_text_store.py::test_blocks_are_the_texts_with_two_line_ends_between"),
    Fault("words are cut between blocks", "text_store.py",
          "settled = len(rest) - 130",
          "settled = len(rest) - 1",
          "test_text_store.py::test_texts_are_cut_between_words_only"),
    Fault("merges are learned from the beginning alone", "text_store.py",
          "owed += share * len(content)",
          "owed = SAMPLE - len(sample)",
          "test_text_store.py::test_merges_of_a_long_text_are_learned_from_pieces_all_over_it[1]"),
    Fault("all tokens are kept in bytes", "text_store.py",
          "dtype, characters = np.min_scalar_type(tokenizer.vocab_size - 1), 0",
          "dtype, characters = np.dtype(\"uint8\"), 0",
          "test_text_store.py::test_tokens_take_as_few_bytes_as_the_vocabulary_allows[257-uint16]"),
    Fault("a cut cache entry is taken for whole", "text_store.py",
          "(note[\"fingerprint\"], note[\"dtype\"], note[\"count\"]) == (fingerprint, tokens.dtype.name, len(tokens))",
          "(note[\"fingerprint\"], note[\"dtype\"]) == (fingerprint, tokens.dtype.name)",
          "test_text_store.py::test_a_damaged_entry_is_made_again[tokens cut short-characters]"),
    Fault("a cached text is encoded again", "text_store.py",
          "if (found := _read_entry(entry, fingerprint)) is None:",
          "found = None\n    if found is None:",
          "test_text_store.py::test_a_text_is_encoded_once_and_known_again_by_what_it_holds[bpe]"),
    Fault("a fetched text is not checked", "text_store.py",
          "pooch.retrieve(url, f\"sha256:{text.sha256}\",",
          "pooch.retrieve(url, None,",
          "test_text_store.py::test_another_file_is_refused_and_the_right_one_described[wrong-another file came]"),
    Fault("a name goes before a file", "text_store.py",
          "return text in NAMED and not os.path.exists(text)",
          "return text in NAMED",
          "test_text_store.py::test_a_file_goes_before_a_name"),
]

# fmt: on
FAULTS = MODEL + TEXT + PIECES + WORLD + BY_HAND + BACKWARD + STREAMING + TRAINING + RUNS + WRITING
NAMED = list(dict.fromkeys(fault.test for fault in FAULTS))


def copy_of_the_library(folder):
    """The library and its tests in another folder, with no settings but pytest's own."""
    for part in ("bigmodel_lib", "tests"):
        for path in (ROOT / part).rglob("*.py"):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return folder


def answer_requests():
    """The second process: reads [folder, tests], writes [pytest's exit code, the library's file, what pytest said]."""
    import hypothesis  # noqa: F401 (loaded once for all)
    import torch  # noqa: F401 (loaded once for all)

    options = "-q -x --tb=short -p no:cacheprovider -p no:randomly --basetemp=passing".split()  # noqa: SIM905
    paths = sys.path[:]
    for line in sys.stdin:
        folder, tests = json.loads(line)
        os.chdir(folder)
        os.environ["PYTHONPATH"] = folder  # for what the tests start
        sys.path[:] = [folder, *paths]  # before the library that is installed
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pytest.main([*options, *(f"tests/{test}" for test in tests)])
        library = getattr(sys.modules.get("bigmodel_lib"), "__file__", "not imported")
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(folder):
                del sys.modules[name]
        print(json.dumps([int(code), library, said.getvalue()]), flush=True)


@pytest.fixture(scope="module")
def run_tests():
    """A function (folder, tests) -> (pytest's exit code, what it said) that asks the second process."""
    environment = {
        **os.environ,
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # plugins for notebooks take seconds to load
        "PYTHONDONTWRITEBYTECODE": "1",  # no compiled file of one fault is taken for another's
        "PYTHONUTF8": "1",
    }
    command = [sys.executable, "-P", __file__]  # -P: this folder's tests must not be found before the copy's
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    with subprocess.Popen(command, env=environment, **pipes) as process:

        def ask(folder, tests):
            patience = threading.Timer(SECONDS, process.kill)
            patience.start()
            try:
                process.stdin.write(json.dumps([str(folder), tests]) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            finally:
                patience.cancel()
            assert answer, "the second process ended without an answer"
            code, library, said = json.loads(answer)
            assert pathlib.Path(library) == folder / "bigmodel_lib" / "__init__.py", said  # the copy was tested
            return code, said

        yield ask


@pytest.fixture(scope="module")
def green(run_tests, tmp_path_factory):
    """A copy without any fault, on which every named test is green."""
    folder = copy_of_the_library(tmp_path_factory.mktemp("green"))
    code, said = run_tests(folder, NAMED)
    assert code == 0, said
    return folder


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_planted_fault_turns_its_test_red(fault, green, run_tests, tmp_path):
    path = copy_of_the_library(tmp_path) / "bigmodel_lib" / fault.file
    text = path.read_text(encoding="utf-8")
    assert text.count(fault.old) == 1, f"{fault.old!r} stands {text.count(fault.old)} times in {fault.file}, not once"
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    code, said = run_tests(tmp_path, [fault.test])
    assert code == 1 and "1 failed" in said, said  # neither green, nor nothing collected
    assert not re.search(r"^E +(NameError|SyntaxError|ImportError|AttributeError)", said, re.MULTILINE), said


def test_the_named_tests_are_green_again_without_a_fault(green, run_tests):
    code, said = run_tests(green, NAMED)
    assert code == 0, said


if __name__ == "__main__":
    answer_requests()
