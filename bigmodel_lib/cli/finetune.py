"""`bigmodel finetune`: labelled texts and a pretrained model in, a classifier out."""

import json
import pathlib
from typing import cast

import numpy as np
import torch

from bigmodel_lib.cli import run
from bigmodel_lib.cli.program import OneLineParser
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import Classifier, classifier_run
from bigmodel_lib.finetuning.lora import count_trainable, merge_lora
from bigmodel_lib.measuring.evaluation import label_log_probs, label_metrics
from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.recipes import MODES, finetuning_config
from bigmodel_lib.text.batches import encode_texts, split_labelled
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.sources import data_path, fingerprint
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes

MOST_TOKENS, MOST_EPOCHS = 2_000_000, 10  # of a run that names no budget: a few minutes on two cores
FIELDS = ("steps", "minutes", "seed", "batch_size", "optimizer", "weight_decay", "clip", "precision", "compile")


def add_options(parser: OneLineParser) -> None:
    """The options of this command."""
    add = parser.add_argument
    add("--data", metavar="FILE.tsv", help="UTF-8 rows of label<TAB>text")
    add("--checkpoint", metavar="DIR", help="folder of a finished pretraining run (default: the course's first model)")
    run.add_run_options(parser)
    add("--mode", choices=tuple(MODES), help="what learns: everything (full, the default), the head alone, the head "
        "and thin additions (lora), or everything from random weights (scratch)")  # fmt: skip
    add("--test-share", type=float, help="share of the rows that is held out (default: 0.2)")


class Finetuning(run.Job):
    """A classifier that learns a table of labels."""

    command = "finetune"
    reads = {"data": "file", "checkpoint": "model"}

    def __init__(self, options: dict, names: dict, device: torch.device, processes: Processes, _: dict | None):
        if "data" not in names:
            raise CourseError("--data was not given: name a file of label<TAB>text rows")
        names = {option: name and str(pathlib.Path(name).resolve()) for option, name in names.items()}
        share, seed = options.get("test_share", 0.2), options.get("seed", 0)
        if not 0.05 <= share <= 0.9:
            raise CourseError(f"--test-share {share} is outside 0.05 … 0.9: choose a number in it")
        self.data = read_labelled(names["data"])
        model, self.tokenizer = checkpoints.load_model(names.get("checkpoint") or data_path("first_model"), device)
        self.train, self.test = split_labelled(self.data.labels.tolist(), seed, share, self.data.groups.tolist())
        self.documents = encode_texts(self.data.texts, self.tokenizer, model.config.context_length)
        self.mode = options.get("mode", "full")
        self.trainer = classifier_run(
            model, self.documents_of(self.train), self.data.labels[self.train], len(self.data.names), self.mode,
            dropout=options.get("dropout", 0.0), processes=processes, **self.training(options),
        )  # fmt: skip
        self.notes = {}
        labels = (self.data.names[label] for label in self.data.labels)
        table = "\n".join(f"{label}\t{text}" for label, text in zip(labels, self.data.texts, strict=True))
        self.sources = {
            "data": {"name": names["data"], "fingerprint": fingerprint([table])},
            "checkpoint": {
                "name": names.get("checkpoint"),
                "fingerprint": fingerprint([json.dumps(self.tokenizer.to_dict())]),
            },
        }
        self.learned = count_trainable(self.trainer.model)
        self.first_lines = [
            f"{len(self.data.texts):,} texts, {len(self.data.names)} labels; {len(self.train):,} to train on, "
            f"{len(self.test):,} held out; {self.learned:,} of {count_parameters(self.trainer.model):,} parameters "
            "learn",
            *(f"{names['data']}: {note}" for note in self.data.notes),
        ]

    def documents_of(self, rows: np.ndarray) -> list[np.ndarray]:
        """The tokens of some rows' texts."""
        return [self.documents[i] for i in rows]

    def training(self, options: dict) -> dict:
        """The fields of TrainConfig. Without a budget: MOST_EPOCHS, or MOST_TOKENS where the texts are long."""
        fields = {name: options[name] for name in FIELDS if name in options}
        recipe = finetuning_config(self.mode, **{"steps": 1, **fields, "minutes": None})
        if not {"steps", "minutes"} & fields.keys():
            epochs = min(MOST_EPOCHS, MOST_TOKENS / sum(map(len, self.documents_of(self.train))))
            fields["steps"] = max(10, round(epochs * len(self.train) / recipe.batch_size))
        return fields | run.learning_rates(options, recipe.optimizer)

    def measure(self) -> dict:
        model, labels = cast(Classifier, merge_lora(self.trainer.model)), self.data.labels
        metrics = {}
        for part, rows in (("train", self.train), ("test", self.test)):
            found = label_metrics(label_log_probs(model, self.documents_of(rows)), labels[rows])
            metrics |= {f"{part}_{name}": found[name] for name in ("loss", "accuracy", "macro_f1")}
        most_frequent = np.bincount(labels[self.train]).argmax()
        return metrics | {
            "majority_accuracy": float((labels[self.test] == most_frequent).mean()),
            "labels": list(self.data.names),
            "confusion": found["confusion"],  # of the test side
            "rows": {"train": len(self.train), "test": len(self.test)},
            "seed": self.trainer.config.seed,
            "mode": self.mode,
            "checkpoint": self.sources["checkpoint"]["name"] or "",
            "learned": self.learned,
        }

    def save(self, folder: pathlib.Path) -> None:
        checkpoints.save_model(folder, self.trainer.model, self.tokenizer)
        checkpoints.write_json(folder / "labels.json", {"labels": list(self.data.names)})

    def last_line(self, metrics: dict) -> str:
        return (
            f"on {metrics['rows']['test']} held-out texts: loss {metrics['test_loss']:.4f} nats per text, accuracy "
            f"{metrics['test_accuracy']:.3f} (the most frequent label alone: {metrics['majority_accuracy']:.3f}), "
            f"macro-F1 {metrics['test_macro_f1']:.3f}; on the training texts: loss {metrics['train_loss']:.4f}, "
            f"accuracy {metrics['train_accuracy']:.3f}"
        )


main = run.command_for(Finetuning, add_options)
