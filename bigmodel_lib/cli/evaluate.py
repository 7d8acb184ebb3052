"""`bigmodel evaluate`: report cards of models, a loss on a text, a classifier on labels, or what it says of a text."""

import argparse
import math
import pathlib

import numpy as np
import torch

from bigmodel_lib.cli.main import Command, OneLineParser, say
from bigmodel_lib.cli.stopping import StopSignal
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.classification import load_classifier
from bigmodel_lib.measuring.evaluation import evaluate, label_log_probs, label_metrics
from bigmodel_lib.measuring.report_card import report_card, seeds_row, side_by_side
from bigmodel_lib.model.devices import choose_device
from bigmodel_lib.storyworld import START, StoryWorld
from bigmodel_lib.text.batches import encode_texts
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.sources import read_text
from bigmodel_lib.text.tokenizers import Tokenizer
from bigmodel_lib.training.checkpoints import load_model


def add_options(parser: OneLineParser) -> None:
    """The options of this command."""
    add = parser.add_argument
    cards = "a report card each, side by side; a folder may hold runs that differ in their seed"
    add("folders", metavar="DIR", nargs="*", help=f"folders of language models: {cards}")
    add("--checkpoint", metavar="DIR", help="folder of a finished run")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--text", metavar="FILE", help="a UTF-8 text, for a language model (story models tell their own)")
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


def runs_in(folder: str) -> list[str]:
    """A folder with a model, or the folders in it that have one."""
    if (pathlib.Path(folder) / "model.safetensors").exists():
        return [folder]
    return sorted(str(path.parent) for path in pathlib.Path(folder).glob("*/model.safetensors")) or [folder]


def texts_for(tokenizer: Tokenizer, path: str | None) -> list[str]:
    """The paragraphs of a text, or its lines if those are few; for a model of the story world new stories."""
    if path is not None:
        text = read_text(path)
        paragraphs, lines = (list(filter(str.strip, text.split(cut))) for cut in ("\n\n", "\n"))
        return paragraphs if len(paragraphs) > 20 else lines
    if START not in getattr(tokenizer, "vocabulary", ()):
        raise CourseError("a text was wanted: name a file of paragraphs that the model has not read, with --text")
    world, rng = StoryWorld(longest=40), np.random.default_rng(1)
    return [world.sample(rng).text for _ in range(200)]


def of_folders(folders: list[str], path: str | None, device: torch.device) -> str:
    """The report cards of language models, side by side, with the spread over seeds where a folder holds several."""
    cards = {}
    for folder in folders:
        models, (tokenizer, *_) = zip(*(load_model(run, device) for run in runs_in(folder)), strict=True)
        texts = texts_for(tokenizer, path)
        cards[folder] = report_card(models[0], tokenizer, texts)
        if len(models) > 1:
            cards[folder]["stability"] |= seeds_row(models, tokenizer, texts)
    return side_by_side(cards)


def work(options: argparse.Namespace, _: StopSignal) -> None:
    """Say what was asked for."""
    if options.folders:
        if options.checkpoint or options.data or options.ask:
            raise CourseError("folders get report cards: leave out --checkpoint, --data and --ask, or name no folders")
        return say(of_folders(options.folders, options.text, choose_device(options.device)))
    measures = ((of_a_text, options.text), (of_labels, options.data), (of_one_text, options.ask))
    asked = [(measure, given) for measure, given in measures if given is not None]  # one at most
    if options.checkpoint is None or not asked:
        raise CourseError("name folders for their report cards, or --checkpoint DIR with --text, --data or --ask")
    for measure, given in asked:
        say(measure(options.checkpoint, given, choose_device(options.device)))


main = Command("evaluate", add_options, work)
