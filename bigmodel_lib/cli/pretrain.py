"""`bigmodel pretrain`: text in, a trained language model out."""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
import torch

from bigmodel_lib.cli import run
from bigmodel_lib.cli.program import OneLineParser, reading_bars
from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import PRESETS, preset, preset_for_minutes
from bigmodel_lib.text.batches import causal_batches, masked_batches
from bigmodel_lib.text.sources import Source, open_text, prepare_text
from bigmodel_lib.text.tokenizers import TOKENIZERS, Tokenizer, tokenizer_from_dict
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Trainer, next_token_loss

SAMPLE_TOKENS = 16_384  # how much of the validation split is read during a run; the end reads all of it
SIZES = ("d_model", "n_layers", "n_heads", "context_length", "batch_size", "ngrams")
RATES = ("optimizer", "learning_rate", "adamw_learning_rate", "weight_decay", "clip")
MASK_RATE = 0.15


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="bigmodel pretrain", description="Pretrain a language model on a text.")
    add = parser.add_argument
    add("--text", metavar="TEXT", help="a UTF-8 file, a folder of .txt files, or the name of a public text: "
        "shakespeare (default: the Python manual of the standard library)")  # fmt: skip
    run.add_run_options(parser)
    add("--objective", choices=("causal", "masked"), help="guess the next token (default), or hidden ones: an encoder")
    add("--mask-rate", type=float, help=f"share of tokens that a masked objective hides (default: {MASK_RATE})")
    add("--tokenizer", choices=TOKENIZERS, help="what a token is (default: characters)")
    add("--preset", choices=tuple(PRESETS), help="a tried recipe (default: small, or for --minutes alone the best)")
    add("--d-model", type=int, help="width of the residual stream")
    add("--n-layers", type=int, help="number of blocks")
    add("--n-heads", type=int, help="attention heads in a block")
    add("--context-length", type=int, help="tokens that the model sees at once")
    add("--ngrams", type=int, help="longest run of tokens with an embedding of its own, 1 to 4")
    return parser.parse_args(argv)


def chosen_preset(options: dict) -> tuple[str, dict]:
    """(preset, changes) of a run that names none: the best one at its budget, or small if it has a wish of its own."""
    wishes = options.get("objective") == "masked" or any(wish in options for wish in (*SIZES, *RATES))
    minutes = options.get("minutes")
    return ("small", {}) if minutes is None or wishes else preset_for_minutes(minutes)


def configurations(options: dict, vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
    """Both configurations that the options ask for. Raises CourseError for impossible ones."""
    name, changes = (options["preset"], {}) if "preset" in options else chosen_preset(options)
    other = ("preset", "objective", "mask_rate", "tokenizer", "learning_rate", "adamw_learning_rate")
    changes |= {option: value for option, value in options.items() if option not in other}
    optimizer = preset(name, 1, **changes)[1].optimizer
    masked = options.get("objective") == "masked"
    return preset(name, vocab_size, **changes, **run.learning_rates(options, optimizer), causal=not masked)


def read_source(
    name: str | None, kind: str, context_length: int, processes: Processes, tokenizer: Tokenizer | None
) -> Source:
    """The text that --text names. One process fetches and tokenises it, the others find that done."""
    if processes.is_main_process:
        prepare_text(name, kind, reading_bars())
    processes.barrier()
    return open_text(name, kind, context_length, tokenizer)


class Pretraining(run.Job):
    """A language model that learns a text."""

    def __init__(self, trainer: Trainer, source, mask_rate: float):
        self.text = source
        self.mask_rate = mask_rate
        notes = dict(model=trainer.model.config.to_dict(), tokenizer=source.tokenizer.to_dict())
        super().__init__(trainer, {"text": run.Source(source.name, source.fingerprint)}, notes)

    def first_lines(self, where: str) -> list[str]:
        """Sizes of the model and of the text."""
        return [
            f"{count_parameters(self.trainer.model):,} parameters, {len(self.text.train):,} tokens to train on, "
            f"{len(self.text.validation):,} to validate on, {where}"
        ]

    def loss_on(self, tokens: np.ndarray) -> float:
        """The mean loss on tokens, with as many of them hidden as in training."""
        precision = self.trainer.config.precision
        return evaluate(self.trainer.model, tokens, precision=precision, mask_rate=self.mask_rate)

    def quick_loss(self) -> float:
        """The loss on the beginning of the validation split."""
        return self.loss_on(self.text.validation[:SAMPLE_TOKENS])

    def measure(self) -> dict:
        """The loss on the whole validation split.

        val_nats_per_char is None for an encoder: the cost of a hidden token given both sides is no cost of the text.
        """
        val_loss, targets = self.loss_on(self.text.validation), self.text.validation[1:]
        per_character = None
        if self.trainer.model.config.causal:
            per_character = val_loss * len(targets) / self.text.tokenizer.count_characters(targets)
        return {"val_loss": val_loss, "val_nats_per_char": per_character}

    def save(self, folder: pathlib.Path) -> None:
        """The model and its tokenizer."""
        checkpoints.save_model(folder, self.trainer.model, self.text.tokenizer)

    def last_line(self, metrics: dict) -> str:
        """The loss."""
        cost = metrics["val_nats_per_char"]
        return (
            f"validation loss {metrics['val_loss']:.4f} nats per {'token' if cost else 'hidden token'}, "
            f"{f'{cost:.4f} nats per character, ' if cost else ''}"
            f"after {metrics['steps']} steps in {metrics['train_seconds']:.1f} s"
        )


def prepare(options: dict, names: dict, device: torch.device, processes: Processes, notes: dict | None) -> Pretraining:
    """The job that the options describe; a resumed one takes sizes and tokenizer from its checkpoint's notes."""
    if "mask_rate" in options and options.get("objective") != "masked":
        raise CourseError("--mask-rate is for --objective masked, and this run guesses the next token: leave it out")
    if notes is None:
        model_config, train_config = configurations(options, 1)  # refuse the sizes before the text
        kind, tokenizer = options.get("tokenizer", "characters"), None
    else:
        model_config, train_config = ModelConfig.from_dict(notes["model"]), TrainConfig.from_dict(notes["train"])
        kind, tokenizer = notes["tokenizer"]["kind"], tokenizer_from_dict(notes["tokenizer"])
    source = read_source(names.get("text"), kind, model_config.context_length, processes, tokenizer)
    mask_id = source.tokenizer.vocab_size  # in an encoder's vocabulary, the last one
    model_config = model_config.replace(vocab_size=mask_id + (not model_config.causal))
    mask_rate = options.get("mask_rate", MASK_RATE)
    sizes = train_config.batch_size, model_config.context_length
    batches = causal_batches(source.train, *sizes)
    if not model_config.causal:
        batches = masked_batches(source.train, *sizes, mask_id, mask_rate)
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(train_config.seed)).to(device)
    return Pretraining(Trainer(model, batches, next_token_loss, train_config, processes=processes), source, mask_rate)


COMMAND = run.Command("pretrain", parse_options, prepare, {"text": "text"})


def main(argv: Sequence[str] | None = None, stop: StopSignal | None = None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input, 128 + n for a signal n."""
    return run.main(COMMAND, argv, stop)
