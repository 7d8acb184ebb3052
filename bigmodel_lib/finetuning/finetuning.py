"""Pretraining with other arguments: the same loop on other batches, with part of the weights, or a small addition.

python -m bigmodel_lib.finetuning.finetuning --data FILE.tsv --checkpoint DIR --out DIR2
"""

import hashlib
import math
import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from bigmodel_lib.cli.pretrain import CHECKPOINT_SECONDS, FILES, OneLineParser, clock_face
from bigmodel_lib.cli.reports import how_to_go_on, say
from bigmodel_lib.cli.stopping import Stopped, StopSignal
from bigmodel_lib.config import ModelConfig, TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import (
    Classifier,
    classifier_from,
    encode_texts,
    label_log_probs,
    label_metrics,
    labelled_batches,
    read_labelled,
    split_labelled,
)
from bigmodel_lib.model.devices import choose_device, evaluating, to_device
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.storyworld.tasks import task_batch
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import run_program
from bigmodel_lib.training.trainer import Pretraining

ADAPTED = ("w_q", "w_k", "w_v", "w_o", "w_up", "w_down")  # the matrices of a block that LoRA adds to


class Finetuning(Pretraining):
    """The loop of pretraining on batches of one's own: `batches()` gives (x, y), y = -1 where nothing is wanted.

    Taught in 07_finetuning.
    """

    def __init__(self, model, batches, config):
        super().__init__(model, np.zeros(0, dtype=np.int64), config)
        self.batches = batches

    def next_batch(self):
        x, y = self.batches()
        return to_device(x, self.device), to_device(y, self.device), 1.0

    def load(self, tensors, notes, path):
        super().load(tensors, notes, path)
        for _ in range(self.step):  # the batches that have been read already
            self.batches()


def train_until_worse(run, measure, every=20, patience=5):
    """Run until `measure()` has not been lowest for `patience` times; the model goes back to its best weights.

    Returns [(step, measured)], the start included. Early stopping: Prechelt 1998. Taught in 07_finetuning.
    """

    def weights():
        return {name: value.detach().clone() for name, value in run.model.state_dict().items()}

    history, kept = [(0, measure())], weights()
    for look in run:
        if look.step % every and look.fraction < 1.0:
            continue
        history.append((look.step, measure()))
        values = [value for _, value in history]
        if values[-1] == min(values):
            kept = weights()
        elif len(values) - 1 - values.index(min(values)) >= patience:
            break
    run.model.load_state_dict(kept)
    return history


HEAD = ("w_out", "b_out")  # what a classifier has of its own


def freeze(model, but=HEAD):
    """Let only the named parameters learn; the others keep their values. Returns the model. Taught in 07_finetuning."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in but)
    return model


class LoRA(nn.Module):
    """W + (s/r) A B: a matrix that stays as it is, plus a product of two thin ones that learn.

    Shapes: W (in, out), A (in, r) normal with deviation 1/√in, B (r, out) zero, so that nothing changes at first.
    Source: Hu et al. 2021, eq. 3, with (in, out) matrices. Taught in 07_finetuning.
    """

    def __init__(self, weight, rank, scale, generator=None):
        super().__init__()
        n_in, n_out = weight.shape
        self.a = nn.Parameter(torch.randn(n_in, rank, generator=generator).to(weight) / n_in**0.5)
        self.b = nn.Parameter(weight.new_zeros(rank, n_out))
        self.factor = scale / rank

    def forward(self, weight):
        return weight + self.factor * self.a @ self.b


def add_lora(model, rank=4, scale=8.0, generator=None, but=HEAD):
    """Freeze a model but for its head, and give every matrix in its blocks a LoRA. Returns the model.

    Taught in 07_finetuning.
    """
    freeze(model, but)
    for block in model.blocks:
        for layer in (block.attention, block.mlp):
            for name in ADAPTED:
                if hasattr(layer, name):
                    addition = LoRA(getattr(layer, name), rank, scale, generator)
                    parametrize.register_parametrization(layer, name, addition)
    return model


def merge_lora(model):
    """Write W + (s/r) A B into W, and forget A and B: the same model without any cost. Taught in 07_finetuning."""
    for block in model.blocks:
        for layer in (block.attention, block.mlp):
            for name in [name for name in ADAPTED if parametrize.is_parametrized(layer, name)]:
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
    return model


def count_trainable(model) -> int:
    """How many numbers of a model learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


# One classifier, four ways to train it

MODES = {  # what learns: the fields of TrainConfig that go with it
    "full": dict(muon_lr=0.005, momentum=0.95, adamw_lr=0.005),
    "head": dict(optimizer="adamw", adamw_lr=0.02, beta1=0.9),
    "lora": dict(optimizer="adamw", adamw_lr=0.005, beta1=0.9),
    "scratch": dict(muon_lr=0.01, momentum=0.95, adamw_lr=0.01),
}


def classifier_run(model, documents, labels, n_labels, mode="full", dropout=0.0, **training) -> Finetuning:
    """A run, not yet begun, that teaches labels to a classifier on top of a model, which itself stays as it is.

    mode: "full" lets everything learn, "head" the head alone, "lora" the head and thin additions, and "scratch" forgets
    the weights first. training: fields of TrainConfig, with steps or minutes. Raises CourseError for another mode.
    """
    if mode not in MODES:
        raise CourseError(f"mode {mode!r} is not known: choose one of {', '.join(MODES)}")
    config = TrainConfig(**{"batch_size": 32, "warmup_steps": 10, **MODES[mode], **training})
    generator = torch.Generator().manual_seed(config.seed)
    if mode == "scratch":
        model = initialise(LanguageModel(model.config), generator).to(model.token_embedding.device)
    classifier = classifier_from(model, n_labels, dropout)
    if mode == "head":
        freeze(classifier)
    if mode == "lora":
        add_lora(classifier, generator=generator)
    rng, length = np.random.default_rng(config.seed), model.config.context_length
    return Finetuning(classifier, labelled_batches(documents, labels, config.batch_size, length, rng), config)


@torch.no_grad()
def exact_share(model, tasks, tokenizer, batch_size=50) -> float:
    """The share of language tasks that a model answers exactly: greedy decoding gives every wanted token.

    Greedy decoding does so just if each wanted token is the likeliest after those before it, so one reading is enough.
    """
    right, device = 0, model.token_embedding.device
    for start in range(0, len(tasks), batch_size):
        x, y = task_batch(tasks[start : start + batch_size], tokenizer)
        with evaluating(model):
            said = model(to_device(x, device)).argmax(dim=-1).cpu().numpy()
        right += int(((said == y) | (y < 0)).all(axis=1).sum())
    return right / len(tasks)


# The command line

MOST_TOKENS, MOST_EPOCHS = 2_000_000, 10  # of a run that names no budget: a few minutes on two cores
DEFAULT_CHECKPOINT = "first_model"


def parse_options(argv):
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="finetuning", description="Teach a pretrained model to tell labels from texts.")
    add = parser.add_argument
    add("--data", metavar="FILE.tsv", help="UTF-8 rows of label<TAB>text")
    add("--checkpoint", metavar="DIR", help="folder of a finished pretraining run (default: the course's first model)")
    add("--out", metavar="DIR", required=True, help="folder for the results; it must not exist yet")
    add("--resume", action="store_true", help="continue the run in DIR")
    add("--ask", metavar="TEXT", help="say how probable each label is for a text, with the finished run in DIR")
    add("--mode", choices=tuple(MODES), help="what learns: everything (full, the default), the head alone, the head "
        "and thin additions (lora), or everything from random weights (scratch)")  # fmt: skip
    add("--steps", type=int, help="budget in updates (default: ten times the texts, or two million tokens)")
    add("--minutes", type=float, help="budget in minutes of training, instead of --steps")
    add("--test-share", type=float, help="share of the rows that is held out (default: 0.2)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), help="where to compute (default: auto)")
    add("--seed", type=int, help="of the split, the head and the batches (default: 0)")
    add("--batch-size", type=int, help="texts in a step (default: 32)")
    add("--dropout", type=float, help="share of each branch that is set to 0 in training (default: 0)")
    add("--muon-rate", type=float, help="peak rate of Muon, for the matrices in the blocks")
    add("--adamw-rate", type=float, help="peak rate of AdamW, for all else")
    add("--precision", choices=("auto", "float32", "bfloat16"), help="auto: bfloat16 on cuda, float32 elsewhere")
    return parser.parse_args(argv)


def prepare(given: dict, device):
    """(run, data, (train, test), documents, tokenizer) of a run with these options, not yet begun."""
    if "data" not in given:
        raise CourseError("--data was not given: name a file of label<TAB>text rows")
    data = read_labelled(given["data"])
    checkpoint = given.get("checkpoint") or checkpoints.own_or_committed(DEFAULT_CHECKPOINT, DEFAULT_CHECKPOINT)
    model, tokenizer = checkpoints.load_model(checkpoint, device)
    share, seed = given.get("test_share", 0.2), given.get("seed", 0)
    if not 0.05 <= share <= 0.9:
        raise CourseError(f"--test-share {share} is outside 0.05 … 0.9: choose a number in it")
    train, test = split_labelled(data.labels, seed, share, data.groups)
    documents = encode_texts(data.texts, tokenizer, model.config.context_length)
    fields = ("steps", "minutes", "seed", "batch_size", "muon_lr", "adamw_lr", "precision")
    training = {name: given[name] for name in fields if name in given}
    if not {"steps", "minutes"} & training.keys():
        epoch = sum(len(documents[i]) for i in train)
        epochs = min(MOST_EPOCHS, MOST_TOKENS / epoch)
        training["steps"] = max(10, round(epochs * len(train) / training.get("batch_size", 32)))
    more = dict(mode=given.get("mode", "full"), dropout=given.get("dropout", 0.0))
    run = classifier_run(model, [documents[i] for i in train], data.labels[train], len(data.names), **more, **training)
    return run, data, (train, test), documents, tokenizer


def finish(run, folder, data, split, documents, tokenizer, given, stop: StopSignal) -> dict:
    """Merge, measure on train and test, and write what a finished run leaves, metrics.json last; returns the metrics.

    A signal stops the measuring, and lets the files be written.
    """
    run.check_weights()
    learned, model = count_trainable(run.model), merge_lora(run.model)
    parts = {}
    with stop.at_once():
        for name, rows in zip(("train", "test"), split, strict=True):
            parts[name] = label_metrics(label_log_probs(model, [documents[i] for i in rows]), data.labels[rows])
    majority = np.bincount(data.labels[split[0]]).argmax()
    metrics = {
        **{f"{part}_{key}": found[key] for part, found in parts.items() for key in ("loss", "accuracy", "macro_f1")},
        "majority_accuracy": float((data.labels[split[1]] == majority).mean()),
        "labels": list(data.names),
        "confusion": parts["test"]["confusion"],
        "rows": {"train": len(split[0]), "test": len(split[1])},
        "seed": run.config.seed, "mode": given.get("mode", "full"), "checkpoint": str(given.get("checkpoint", "")),
        "parameters": count_parameters(model), "learned": learned, "steps": run.step, "train_seconds": run.seconds,
        "device": str(run.device), "train_config": run.config.to_dict(), "curve": run.curve,
    }  # fmt: skip
    checkpoints.save_model(folder, model, tokenizer)
    checkpoints.write_json(folder / "labels.json", {"labels": list(data.names)})
    stop.ended()
    checkpoints.write_json(folder / "metrics.json", metrics)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return metrics


def load_classifier(folder, device="cpu"):
    """(classifier, tokenizer, names of the labels) of a folder that a finished run left, set to `eval`.

    Raises CourseError for a folder that is missing, unfinished or of another kind.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise CourseError(f"the folder {folder} does not exist: check its name")
    if checkpoints.is_unfinished(folder):
        raise CourseError(f"the run in {folder} is not finished: continue it with --resume first")
    names = checkpoints.read_json(folder / "labels.json")["labels"]
    model = Classifier(ModelConfig.from_dict(checkpoints.read_json(folder / "config.json")), len(names))
    tensors, _ = checkpoints.load_tensors(folder / "model.safetensors")
    checkpoints.fill(model, tensors, folder / "model.safetensors")
    tokenizer = checkpoints.tokenizer_from_dict(checkpoints.read_json(folder / "tokenizer.json"))
    return model.to(device).eval(), tokenizer, tuple(names)


def answer(folder, text: str, device) -> str:
    """Each label with its probability for a text, the likeliest first."""
    model, tokenizer, names = load_classifier(folder, device)
    if not text.strip():
        raise CourseError("a text was wanted after --ask, none was given")
    log_probs = label_log_probs(model, encode_texts([text], tokenizer, model.config.context_length))[0]
    return "\n".join(f"{math.exp(log_probs[i]):6.3f}  {names[i]}" for i in np.argsort(-log_probs))


MOVABLE = ("data", "checkpoint")  # options that a resumed run may give anew: what they name can lie elsewhere by then


def fingerprint(data) -> str:
    """SHA-256 of labels and texts, by which a resumed run knows its table again, wherever it is."""
    rows = (f"{data.names[label]}\t{text}" for label, text in zip(data.labels, data.texts, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def check_places(given: dict, folder) -> None:
    """Raises CourseError for a file or folder that a run began with and that is not there any more."""
    for name in MOVABLE:
        if name in given and not pathlib.Path(given[name]).exists():
            raise CourseError(
                f"{given[name]}, with which the run in {folder} began, is not there: name its new place with --{name}"
            )


def check_sources(given: dict, notes: dict, kept: dict, folder) -> None:
    """Raises CourseError for a table or a model that is not the one that a run began with."""
    for name, key, what in (("data", "fingerprint", "file"), ("checkpoint", "tokenizer", "model")):
        if notes.get(key, kept[key]) != kept[key]:
            raise CourseError(
                f"{given.get(name, DEFAULT_CHECKPOINT)} is not the {what} that the run in {folder} began with: "
                f"put that one back, or name its new place with --{name}"
            )


def train_with_progress(run, save, stop: StopSignal) -> None:
    """Run to the end of the budget, with a bar and a checkpoint now and then. Raises Stopped after a signal."""
    from tqdm import tqdm

    saved = time.monotonic()
    with tqdm(total=1.0, initial=run.fraction(), bar_format="{percentage:3.0f}% |{bar:24}| {desc}") as bar:
        for look in run:
            left = look.seconds * (1 - look.fraction) / max(look.fraction, 1e-9)
            bar.set_description_str(f"step {look.step} · loss {look.loss:.3f} · {clock_face(left)} left", refresh=False)
            bar.update(look.fraction - bar.n)
            stopped = stop.number > 0
            if stopped or look.fraction >= 1.0 or time.monotonic() - saved > CHECKPOINT_SECONDS:
                save()
                saved = time.monotonic()
            if stopped:
                raise Stopped


def finetune(options, device, stop: StopSignal) -> int:
    """The whole job for parsed options; returns the exit code. Raises Stopped after a signal."""
    folder, path = pathlib.Path(options.out), pathlib.Path(options.out) / "checkpoint.safetensors"
    given = {k: v for k, v in vars(options).items() if v is not None and k not in ("out", "resume", "ask", "device")}
    given |= {k: str(pathlib.Path(given[k]).resolve()) for k in MOVABLE if k in given}
    if options.ask is not None:
        say(answer(folder, options.ask, device))
        return 0
    tensors = None
    if options.resume:
        if checkpoints.is_finished(folder):
            path.unlink(missing_ok=True)  # it is there if the run was killed in its very last moment
            raise CourseError(f"the run in {folder} is finished, so there is nothing to resume: ask it with --ask")
        if not path.exists():
            raise CourseError(f"{folder} has no run to continue (checkpoint.safetensors): correct the name")
        tensors, notes = checkpoints.load_tensors(path)
        changed = sorted(k for k, v in given.items() if k not in MOVABLE and notes.get("options", {}).get(k) != v)
        if changed or "options" not in notes:
            option = f"--{changed[0].replace('_', '-')}" if changed else str(folder)
            raise CourseError(f"{option} is not as the run in {folder} began: leave it out, or start a new run")
        given = notes["options"] | {k: given[k] for k in MOVABLE if k in given}
        check_places(given, folder)
    elif folder.exists():
        raise CourseError(f"{folder} exists already: name a new folder, or continue its run with --resume")
    run, data, split, documents, tokenizer = prepare(given, device)
    kept = dict(options=given, fingerprint=fingerprint(data), tokenizer=tokenizer.to_dict())
    if tensors is not None:
        check_sources(given, notes, kept, folder)
        run.load(tensors, notes, path)
        checkpoints.clear_passing(*(folder / name for name in (*FILES, "labels.json")))
    with stop.held():
        if tensors is None:
            with checkpoints.new_folder(folder) as passing:
                run.save(passing / path.name, **kept)
        print(first_line(run, data, split, device), file=sys.stderr)
        for note in data.notes:
            print(f"{given['data']}: {note}", file=sys.stderr)
        train_with_progress(run, lambda: run.save(path, **kept), stop)
        metrics = finish(run, folder, data, split, documents, tokenizer, given, stop)
        say(last_line(metrics, folder))
    return 0


def first_line(run, data, split, device) -> str:
    """What a run says when it begins."""
    return (
        f"{len(data.texts):,} texts, {len(data.names)} labels; {len(split[0]):,} to train on, {len(split[1]):,} held "
        f"out; {count_trainable(run.model):,} of {count_parameters(run.model):,} parameters learn; device {device}"
    )


def last_line(metrics: dict, folder: pathlib.Path) -> str:
    """What a finished run says."""
    return (
        f"on {metrics['rows']['test']} held-out texts: loss {metrics['test_loss']:.4f} nats per text, accuracy "
        f"{metrics['test_accuracy']:.3f} (the most frequent label alone: {metrics['majority_accuracy']:.3f}), macro-F1 "
        f"{metrics['test_macro_f1']:.3f}; on the training texts: loss {metrics['train_loss']:.4f}, accuracy "
        f"{metrics['train_accuracy']:.3f}; written to {folder}"
    )


def main(argv=None, stop: StopSignal | None = None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input, 128 + n for a signal n."""
    if stop is None:  # called from Python, which gets its own handlers back
        with StopSignal() as stop:
            return main(argv, stop)
    options = parse_options(argv)

    def end(code: int, words: str) -> int:
        print(f"finetuning: {words}", file=sys.stderr)
        return code

    try:
        with stop.at_once():
            return finetune(options, choose_device(options.device or "auto"), stop)
    except CourseError as error:
        return end(2, str(error))
    except torch.cuda.OutOfMemoryError:
        return end(2, "the device has too little memory for this run: choose a smaller --batch-size")
    except KeyboardInterrupt as wish:
        at_once = not isinstance(wish, Stopped)
        return end(stop.exit_code(), how_to_go_on("finetuning", options.out, at_once))


if __name__ == "__main__":
    run_program(main)
