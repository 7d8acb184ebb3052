"""`bigmodel finetune`: labelled texts and a pretrained model in, a classifier out."""

import functools
import json
import pathlib
from typing import Annotated, cast

import numpy as np
import torch

from bigmodel_lib.cli import run
from bigmodel_lib.cli.main import Command, OneLineParser
from bigmodel_lib.config import TrainConfig, check
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import Classifier, classifier_run
from bigmodel_lib.finetuning.lora import count_trainable, merge_lora
from bigmodel_lib.measuring.evaluation import label_log_probs, label_metrics
from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.recipes import MODES, finetuning_config
from bigmodel_lib.text.batches import encode_texts, split_labelled
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.sources import data_path, fingerprint
from bigmodel_lib.training.checkpoints import load_model
from bigmodel_lib.training.distributed import Processes

MOST_TOKENS, MOST_EPOCHS = 2_000_000, 10  # of a run that names no budget: a few minutes on two cores


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

    command, reads = "finetune", ("data", "checkpoint")

    def __init__(self, options: dict, names: dict, device: torch.device, processes: Processes, _: dict | None):
        if "data" not in names:
            raise CourseError("--data was not given: name a file of label<TAB>text rows")
        names = {option: name and str(pathlib.Path(name).resolve()) for option, name in names.items()}
        share, seed, self.mode = options.get("test_share", 0.2), options.get("seed", 0), options.get("mode", "full")
        check("--test-share", share, Annotated[float, 0.05, 0.9])
        data, self.base = read_labelled(names["data"]), names.get("checkpoint")
        model, self.tokenizer = load_model(self.base or data_path("first_model"), device)
        self.labels, self.truth = data.names, data.labels
        self.train, self.test = split_labelled(data.labels.tolist(), seed, share, data.groups.tolist())
        self.documents = encode_texts(data.texts, self.tokenizer, model.config.context_length)
        self.trainer = classifier_run(
            model, self.documents_of(self.train), self.truth[self.train], len(self.labels), self.mode,
            dropout=options.get("dropout", 0.0), processes=processes, **self.training(options),
        )  # fmt: skip
        rows = (f"{data.names[label]}\t{text}" for label, text in zip(data.labels, data.texts, strict=True))
        table, vocabulary = "\n".join(rows), json.dumps(self.tokenizer.to_dict())
        self.sources = {
            "data": {"name": names["data"], "fingerprint": fingerprint([table])},
            "checkpoint": {"name": self.base, "fingerprint": fingerprint([vocabulary])},
        }
        self.learned = count_trainable(self.trainer.model)
        sizes = f"{len(self.train):,} to train on, {len(self.test):,} held out"
        learn = f"{self.learned:,} of {count_parameters(self.trainer.model):,} parameters learn"
        self.sizes = f"{len(data.texts):,} texts, {len(data.names)} labels; {sizes}; {learn}"
        self.remarks = [f"{names['data']}: {note}" for note in data.notes]

    def documents_of(self, rows: np.ndarray) -> list[np.ndarray]:
        """The tokens of some rows' texts."""
        return [self.documents[i] for i in rows]

    def training(self, options: dict) -> dict:
        """The fields of TrainConfig. Without a budget: MOST_EPOCHS, or MOST_TOKENS where the texts are long."""
        fields = {name: value for name, value in options.items() if name in TrainConfig.__dataclass_fields__}
        recipe = finetuning_config(self.mode, **{"steps": 1, **fields, "minutes": None})
        if not {"steps", "minutes"} & fields.keys():
            epochs = min(MOST_EPOCHS, MOST_TOKENS / sum(map(len, self.documents_of(self.train))))
            fields["steps"] = max(10, round(epochs * len(self.train) / recipe.batch_size))
        return fields | run.learning_rate(options, recipe.optimizer)

    def measure(self) -> tuple[dict, str]:
        model, found = cast(Classifier, merge_lora(self.trainer.model)), {}
        for part, rows in (("train", self.train), ("test", self.test)):
            metrics = label_metrics(label_log_probs(model, self.documents_of(rows)), self.truth[rows])
            found |= {f"{part}_{name}": metrics[name] for name in ("loss", "accuracy", "macro_f1")}
        most_frequent = np.bincount(self.truth[self.train]).argmax()
        found |= {
            "majority_accuracy": float((self.truth[self.test] == most_frequent).mean()),
            "labels": list(self.labels),
            "confusion": metrics["confusion"],  # of the test side
            "rows": {"train": len(self.train), "test": len(self.test)},
            "seed": self.trainer.config.seed,
            "mode": self.mode,
            "checkpoint": self.base or "",
            "learned": self.learned,
        }
        said = (
            "on {rows[test]} held-out texts: loss {test_loss:.4f} nats per text, accuracy {test_accuracy:.3f} "
            "(the most frequent label alone: {majority_accuracy:.3f}), macro-F1 {test_macro_f1:.3f}; "
            "on the training texts: loss {train_loss:.4f}, accuracy {train_accuracy:.3f}"
        )
        return found, said.format(**found)


main = Command("finetune", add_options, functools.partial(run.run, Finetuning), run.how_to_go_on)
