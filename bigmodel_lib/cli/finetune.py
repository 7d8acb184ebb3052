"""`bigmodel finetune`: labelled texts and a pretrained model in, a classifier out."""

import argparse
import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import torch

from bigmodel_lib.cli import program, run
from bigmodel_lib.cli.program import OneLineParser, say
from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import classifier_run, load_classifier
from bigmodel_lib.finetuning.lora import count_trainable, merge_lora
from bigmodel_lib.measuring.evaluation import label_log_probs, label_metrics
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.recipes import MODES, finetuning_config
from bigmodel_lib.text.batches import encode_texts, split_labelled
from bigmodel_lib.text.labels import Labelled, read_labelled
from bigmodel_lib.text.sources import data_path, fingerprint
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Trainer

MOST_TOKENS, MOST_EPOCHS = 2_000_000, 10  # of a run that names no budget: a few minutes on two cores
FIELDS = ("steps", "minutes", "seed", "batch_size", "optimizer", "weight_decay", "clip", "precision", "compile")


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="bigmodel finetune", description="Teach a trained model to tell labels from texts.")
    add = parser.add_argument
    add("--data", metavar="FILE.tsv", help="UTF-8 rows of label<TAB>text")
    add("--checkpoint", metavar="DIR", help="folder of a finished pretraining run (default: the course's first model)")
    run.add_run_options(parser)
    add("--ask", metavar="TEXT", help="say how probable each label is for a text, with the finished run in DIR")
    add("--mode", choices=tuple(MODES), help="what learns: everything (full, the default), the head alone, the head "
        "and thin additions (lora), or everything from random weights (scratch)")  # fmt: skip
    add("--test-share", type=float, help="share of the rows that is held out (default: 0.2)")
    return parser.parse_args(argv)


class Finetuning(run.Job):
    """A classifier that learns a table of labels."""

    def __init__(self, trainer: Trainer, sources: dict, data: Labelled, split: tuple, documents: list, tokenizer):
        super().__init__(trainer, sources, {})
        self.data = data
        self.split = split
        self.documents = documents
        self.tokenizer = tokenizer
        self.learned = count_trainable(trainer.model)

    def first_lines(self, where: str) -> list[str]:
        """Sizes of the table and of the model, and what was noticed in the table."""
        train, test = map(len, self.split)
        sizes = (
            f"{len(self.data.texts):,} texts, {len(self.data.names)} labels; {train:,} to train on, {test:,} held out; "
            f"{self.learned:,} of {count_parameters(self.trainer.model):,} parameters learn; {where}"
        )
        return [sizes, *(f"{self.sources['data'].name}: {note}" for note in self.data.notes)]

    def measure(self) -> dict:
        """Loss, accuracy and macro-F1 on both sides of the split; LoRA's additions are merged before."""
        merge_lora(self.trainer.model)
        parts, labels = {}, self.data.labels
        for name, rows in zip(("train", "test"), self.split, strict=True):
            log_probs = label_log_probs(self.trainer.model, [self.documents[i] for i in rows])
            parts[name] = label_metrics(log_probs, labels[rows])
        metrics = {f"{part}_{k}": parts[part][k] for part in parts for k in ("loss", "accuracy", "macro_f1")}
        train, test = self.split
        return metrics | {
            "majority_accuracy": float((labels[test] == np.bincount(labels[train]).argmax()).mean()),
            "labels": list(self.data.names),
            "confusion": parts["test"]["confusion"],
            "rows": {"train": len(train), "test": len(test)},
            "seed": self.trainer.config.seed,
            "mode": self.notes["options"].get("mode", "full"),
            "checkpoint": self.sources["checkpoint"].name or "",
            "learned": self.learned,
        }

    def save(self, folder: pathlib.Path) -> None:
        """The classifier, its tokenizer and the names of the labels."""
        checkpoints.save_model(folder, self.trainer.model, self.tokenizer)
        checkpoints.write_json(folder / "labels.json", {"labels": list(self.data.names)})

    def last_line(self, metrics: dict) -> str:
        """What it can, on both sides."""
        return (
            f"on {metrics['rows']['test']} held-out texts: loss {metrics['test_loss']:.4f} nats per text, accuracy "
            f"{metrics['test_accuracy']:.3f} (the most frequent label alone: {metrics['majority_accuracy']:.3f}), "
            f"macro-F1 {metrics['test_macro_f1']:.3f}; on the training texts: loss {metrics['train_loss']:.4f}, "
            f"accuracy {metrics['train_accuracy']:.3f}"
        )


def default_steps(documents: list, rows: np.ndarray, batch_size: int) -> int:
    """The updates of a run that names no budget: MOST_EPOCHS over the texts, or MOST_TOKENS where they are long."""
    epoch = sum(len(documents[i]) for i in rows)
    return max(10, round(min(MOST_EPOCHS, MOST_TOKENS / epoch) * len(rows) / batch_size))


def table_fingerprint(data: Labelled) -> str:
    """The fingerprint of labels and texts, by which a resumed run knows its table again, wherever it is."""
    rows = (f"{data.names[label]}\t{text}" for label, text in zip(data.labels, data.texts, strict=True))
    return fingerprint(["\n".join(rows)])


def prepare(options: dict, names: dict, device: torch.device, processes: Processes, notes: dict | None) -> Finetuning:
    """The job that the options describe."""
    if "data" not in names:
        raise CourseError("--data was not given: name a file of label<TAB>text rows")
    names = {option: name and str(pathlib.Path(name).resolve()) for option, name in names.items()}
    data = read_labelled(names["data"])
    model, tokenizer = checkpoints.load_model(names.get("checkpoint") or data_path("first_model"), device)
    share, seed, mode = options.get("test_share", 0.2), options.get("seed", 0), options.get("mode", "full")
    if not 0.05 <= share <= 0.9:
        raise CourseError(f"--test-share {share} is outside 0.05 … 0.9: choose a number in it")
    split = split_labelled(data.labels, seed, share, data.groups)
    documents = encode_texts(data.texts, tokenizer, model.config.context_length)
    training = {name: options[name] for name in FIELDS if name in options}
    recipe = finetuning_config(mode, **{"steps": 1, **training, "minutes": None})
    if not {"steps", "minutes"} & training.keys():
        training["steps"] = default_steps(documents, split[0], recipe.batch_size)
    training |= run.learning_rates(options, recipe.optimizer)
    chosen = [documents[i] for i in split[0]], data.labels[split[0]], len(data.names)
    trainer = classifier_run(
        model, *chosen, mode, dropout=options.get("dropout", 0.0), processes=processes, **training
    )  # fmt: skip
    sources = {
        "data": run.Source(names["data"], table_fingerprint(data)),
        "checkpoint": run.Source(names.get("checkpoint"), fingerprint([json.dumps(tokenizer.to_dict())])),
    }
    return Finetuning(trainer, sources, data, split, documents, tokenizer)


COMMAND = run.Command("finetune", parse_options, prepare, {"data": "file", "checkpoint": "model"})


def label_probabilities(folder: str, text: str, device: torch.device) -> str:
    """Each label with its probability for a text, the likeliest first."""
    model, tokenizer, names = load_classifier(folder, device)
    if not text.strip():
        raise CourseError("a text was wanted after --ask, none was given")
    log_probs = label_log_probs(model, encode_texts([text], tokenizer, model.config.context_length))[0]
    return "\n".join(f"{math.exp(log_probs[i]):6.3f}  {names[i]}" for i in np.argsort(-log_probs))


def main(argv: Sequence[str] | None = None, stop: StopSignal | None = None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input, 128 + n for a signal n."""
    options = parse_options(argv)
    if options.ask is None:
        return run.main(COMMAND, argv, stop)
    device = options.device or "auto"
    return program.answer(
        "finetune", lambda: say(label_probabilities(options.out, options.ask, choose_device(device))), stop
    )
