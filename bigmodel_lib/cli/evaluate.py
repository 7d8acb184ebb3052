"""`bigmodel evaluate`: how good a model is on a text, or a classifier on labelled texts, or what it says of one."""

import argparse
import math

import numpy as np
import torch

from bigmodel_lib.cli.main import Command, OneLineParser, say
from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import load_classifier
from bigmodel_lib.measuring.evaluation import evaluate, label_log_probs, label_metrics
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.text.batches import encode_texts
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.sources import read_text
from bigmodel_lib.training.checkpoints import load_model


def add_options(parser: OneLineParser) -> None:
    """The options of this command."""
    add = parser.add_argument
    add("--checkpoint", metavar="DIR", required=True, help="folder of a finished run")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", metavar="FILE", help="a UTF-8 text, for a language model")
    what.add_argument("--data", metavar="FILE.tsv", help="UTF-8 rows of label<TAB>text, for a classifier")
    what.add_argument("--ask", metavar="TEXT", help="how probable a classifier holds each label of this text to be")


def of_a_text(folder: str, path: str, device: torch.device) -> str:
    """Loss, perplexity and bits per character of a language model; of an encoder its loss on hidden tokens."""
    model, tokenizer = load_model(folder, device)
    tokens = tokenizer.encode(read_text(path))
    if len(tokens) < 2:
        raise CourseError(f"{path} has {len(tokens)} token, and a loss takes two at least: name a longer text")
    loss = evaluate(model, tokens)
    perplexity = f"perplexity {math.exp(loss):.2f}"
    if not model.config.causal:
        return f"{len(tokens):,} tokens: loss {loss:.4f} nats per hidden token, {perplexity}"
    n_targets = len(tokens) - 1
    bits = loss * n_targets / math.log(2) / len(tokenizer.decode(tokens[1:]))
    return f"{n_targets:,} tokens: loss {loss:.4f} nats per token, {perplexity}, {bits:.4f} bits per character"


def of_labels(folder: str, path: str, device: torch.device) -> str:
    """Loss, accuracy and macro-F1 of a classifier. Raises CourseError for a label that it does not know."""
    model, tokenizer, names = load_classifier(folder, device)
    data = read_labelled(path)
    for unknown in sorted(set(data.names) - set(names)):
        raise CourseError(f"{path} has the label {unknown!r}, and {folder} knows {', '.join(names)}: correct the table")
    labels = np.array([names.index(name) for name in data.names])[data.labels]
    log_probs = label_log_probs(model, encode_texts(data.texts, tokenizer, model.config.context_length))
    found = label_metrics(log_probs, labels)
    quality = f"accuracy {found['accuracy']:.3f}, macro-F1 {found['macro_f1']:.3f}"
    return f"{len(labels):,} texts: loss {found['loss']:.4f} nats per text, {quality}"


def of_one_text(folder: str, text: str, device: torch.device) -> str:
    """Each label with its probability for a text, the likeliest first."""
    if not text.strip():
        raise CourseError("a text was wanted after --ask, none was given: write one in quotation marks")
    model, tokenizer, names = load_classifier(folder, device)
    log_probs = label_log_probs(model, encode_texts([text], tokenizer, model.config.context_length))[0]
    return "\n".join(f"{math.exp(log_probs[i]):6.3f}  {names[i]}" for i in np.argsort(-log_probs))


def work(options: argparse.Namespace, _: StopSignal) -> None:
    """Say what was asked for."""
    for measure, given in ((of_a_text, options.text), (of_labels, options.data), (of_one_text, options.ask)):
        if given is not None:
            say(measure(options.checkpoint, given, choose_device(options.device)))


main = Command("evaluate", add_options, work)
