"""`bigmodel pretrain`: text in, a trained language model out."""

import functools
import pathlib

import numpy as np
import torch

from bigmodel_lib.cli import run
from bigmodel_lib.cli.main import Command, OneLineParser
from bigmodel_lib.cli.reports import reading_bars
from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import PRESETS, preset, preset_for_minutes
from bigmodel_lib.text.batches import causal_batches, masked_batches, split_tokens
from bigmodel_lib.text.sources import fingerprint, open_text, text_blocks, text_files
from bigmodel_lib.text.tokenizers import TOKENIZERS, tokenizer_from_dict
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Trainer, next_token_loss

SAMPLE_TOKENS = 16_384  # how much of the validation split is read during a run; the end reads all of it
# Options that name no field of a configuration
NO_FIELDS = {"preset", "objective", "mask_rate", "tokenizer", "vocab_size", "learning_rate"}
WISHES = {"preset", "d_model", "n_layers", "n_heads", "context_length", "batch_size", "ngrams"}  # in a run's sizes,
WISHES |= {"optimizer", "learning_rate", "weight_decay", "clip"}  # or in how it steps
MASK_RATE = 0.15


def add_options(parser: OneLineParser) -> None:
    """The options of this command."""
    add = parser.add_argument
    add("--text", metavar="TEXT", help="a UTF-8 file, a folder of .txt files, or the name of a public text: "
        "shakespeare (default: the Python manual of the standard library)")  # fmt: skip
    add("--validation", metavar="TEXT", help="a file or folder to validate on (default: the last tenth of --text)")
    run.add_run_options(parser)
    add("--objective", choices=("causal", "masked"), help="guess the next token (default), or hidden ones: an encoder")
    add("--mask-rate", type=float, help=f"share of tokens that a masked objective hides (default: {MASK_RATE})")
    add("--tokenizer", choices=TOKENIZERS, help="what a token is (default: characters)")
    add("--vocab-size", type=int, help="how many tokens bpe learns (default: 1024)")
    add("--preset", choices=tuple(PRESETS), help="a tried recipe (default: small, or for --minutes alone the best)")
    add("--d-model", type=int, help="width of the residual stream")
    add("--n-layers", type=int, help="number of blocks")
    add("--n-heads", type=int, help="attention heads in a block")
    add("--context-length", type=int, help="tokens that the model sees at once")
    add("--ngrams", type=int, help="longest run of tokens with an embedding of its own, 1 to 4")


def configurations(options: dict, vocab_size: int, n_tokens: int = 0) -> tuple[ModelConfig, TrainConfig]:
    """Both configurations that the options ask for; with minutes and no WISHES, the best for that time and text."""
    masked = options.get("objective") == "masked"
    name, changes = options.get("preset", "small"), {}
    if "minutes" in options and not masked and not WISHES & options.keys():
        name, changes = preset_for_minutes(options["minutes"], n_tokens)
    changes |= {option: value for option, value in options.items() if option not in NO_FIELDS}
    optimizer = preset(name, 1, **changes)[1].optimizer
    return preset(name, vocab_size, **changes, **run.learning_rate(options, optimizer), causal=not masked)


class Pretraining(run.Job):
    """A language model that learns a text; a resumed one takes the tokenizer from its checkpoint's notes."""

    command, reads = "pretrain", ("text", "validation")

    def __init__(self, options: dict, names: dict, device: torch.device, processes: Processes, notes: dict | None):
        if "mask_rate" in options and options.get("objective") != "masked":
            raise CourseError("--mask-rate is for --objective masked, and this run guesses the next token: omit it")
        if "vocab_size" in options and options.get("tokenizer") != "bpe":
            raise CourseError("--vocab-size is for --tokenizer bpe, which learns its tokens: add that, or omit it")
        self.mask_rate = options.get("mask_rate", MASK_RATE)
        model_config, config = configurations(options, 1)  # refuse the sizes before the text
        kind = options.get("tokenizer", "characters")
        tokenizer = tokenizer_from_dict(notes["tokenizer"]) if notes else None
        what = names.get("text"), kind, tokenizer, options.get("vocab_size")
        opened = open_text(*what, reading_bars()) if processes.is_main_process else None
        processes.barrier()  # the first one has fetched and tokenised the text, the others find that done
        text = opened or open_text(*what)
        self.tokenizer = text.tokenizer
        self.sources = {"text": {"name": text.name, "fingerprint": text.fingerprint}}
        train = self.hold_out(text.tokens, names.get("validation"), model_config.context_length)
        mask_id = text.tokenizer.vocab_size  # in an encoder's vocabulary, the last one
        model_config, config = configurations(options, mask_id + (not model_config.causal), len(train))
        sizes = config.batch_size, model_config.context_length
        if model_config.causal:
            batches = causal_batches(train, *sizes)
        else:
            batches = masked_batches(train, *sizes, mask_id, self.mask_rate)
        self.model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(config.seed)).to(device)
        self.trainer = Trainer(self.model, batches, next_token_loss, config, processes=processes)
        tokens = f"{len(train):,} tokens to train on, {len(self.validation):,} to validate on"
        self.sizes = f"{count_parameters(self.model):,} parameters, {tokens}"

    def hold_out(self, tokens: np.ndarray, text: str | None, context_length: int) -> np.ndarray:
        """The tokens to train on; those to validate on are another text's, if it was given, or their last tenth."""
        if text is None:
            train, self.validation = split_tokens(tokens, context_length)
            return train
        blocks = list(text_blocks(text_files(text)))
        self.sources["validation"] = {"name": str(pathlib.Path(text).resolve()), "fingerprint": fingerprint(blocks)}
        self.validation = self.tokenizer.encode("".join(blocks))
        shortest = min(len(tokens), len(self.validation))
        if shortest <= context_length:
            wanted = f"name longer texts, or choose a context below {shortest}"
            raise CourseError(f"a text of {shortest} tokens is too short for a context of {context_length}: {wanted}")
        return tokens

    def loss_on(self, tokens: np.ndarray) -> float:
        """The mean loss on tokens, with as many of them hidden as in training."""
        precision = self.trainer.config.precision
        return evaluate(self.model, tokens, precision=precision, mask_rate=self.mask_rate)

    def quick_loss(self) -> float:
        return self.loss_on(self.validation[:SAMPLE_TOKENS])

    def measure(self) -> tuple[dict, str]:
        loss, targets = self.loss_on(self.validation), self.validation[1:]
        cost, unit = None, "nats per hidden token"  # which, given both sides, is no cost of the text
        if self.model.config.causal:
            cost = loss * len(targets) / len(self.tokenizer.decode(targets))
            unit = f"nats per token, {cost:.4f} nats per character"
        after = f"{self.trainer.step} steps in {self.trainer.seconds:.1f} s"
        return {"val_loss": loss, "val_nats_per_char": cost}, f"validation loss {loss:.4f} {unit}, after {after}"


main = Command("pretrain", add_options, functools.partial(run.run, Pretraining), run.how_to_go_on)
