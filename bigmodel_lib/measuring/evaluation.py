"""What measures a model: its loss on a text, and how often it is right about labels."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy import ndarray

from bigmodel_lib.finetuning.classification import Classifier
from bigmodel_lib.model.devices import autocast, device_of, evaluating, to_device
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.model.transformer import LanguageModel, count_parameters
from bigmodel_lib.text.batches import all_windows, mask_tokens, pad_windows

BATCH_SIZE = 64  # windows, or texts, that are read together


@torch.no_grad()
def evaluate(model: LanguageModel, tokens: ndarray, precision: str = "auto", mask_rate: float = 0.15) -> float:
    """Mean loss in nats per target over all of `tokens`, in windows of the model's context that do not overlap.

    An encoder's last token id stands for a hidden token; the places that are hidden are the same each time.
    """
    sums, count, rng = [], 0, np.random.default_rng(0)
    for x, y in all_windows(tokens, BATCH_SIZE, model.config.context_length):
        if not model.config.causal:
            x, y = mask_tokens(x, model.config.vocab_size - 1, rng, mask_rate)
        with evaluating(model), autocast(model.device, precision, x.size * count_parameters(model)):
            logits = model(to_device(x, model.device))
        n_targets = int((y >= 0).sum())
        sums.append(cross_entropy(logits.float(), to_device(y, model.device)) * n_targets)
        count += n_targets
    return math.fsum(torch.stack(sums).tolist()) / count


@torch.no_grad()
def label_log_probs(classifier: Classifier, documents: Sequence[ndarray]) -> ndarray:
    """ln p of every label for every text: (N, C). Texts of about the same length are read together."""
    device = device_of(classifier)
    order = np.argsort([len(document) for document in documents], kind="stable")
    parts = []
    for rows in np.split(order, range(BATCH_SIZE, len(order), BATCH_SIZE)):
        x = pad_windows([documents[i] for i in rows], classifier.config.context_length)
        with evaluating(classifier), autocast(device, "auto", x.size * count_parameters(classifier)):
            parts.append(classifier(to_device(x, device))[:, 0].float().log_softmax(dim=-1))
    return torch.cat(parts).cpu().numpy()[np.argsort(order)]


def label_metrics(log_probs: ndarray, labels: Sequence[int] | ndarray) -> dict:
    """loss in nats per text, accuracy, macro-F1 (the mean of the labels' F1), and the confusion matrix (true, said)."""
    from sklearn.metrics import confusion_matrix, f1_score

    wanted, said = np.asarray(labels), log_probs.argmax(axis=1)
    kinds = range(log_probs.shape[1])
    return {
        "loss": float(-log_probs[np.arange(len(wanted)), wanted].mean()),
        "accuracy": float((said == wanted).mean()),
        "macro_f1": float(f1_score(wanted, said, labels=kinds, average="macro", zero_division=0)),
        "confusion": confusion_matrix(wanted, said, labels=kinds).tolist(),
    }
