"""A classifier: a pretrained backbone below a head that says which label, and the ways to train it."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.finetuning.lora import add_lora, freeze
from bigmodel_lib.model.devices import device_of
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.recipes import finetuning_config
from bigmodel_lib.text.batches import LabelledBatches
from bigmodel_lib.text.tokenizers import tokenizer_from_dict
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Trainer, next_token_loss


def pool(states: Tensor, here: Tensor) -> Tensor:
    """A text's mean state and its last one, side by side: what it was about, and where it ended.

    Shapes: states (B, T, D), here (B, T), True where the text has a token, which come first -> (B, 2 D).
    """
    lengths = here.sum(dim=1)
    mean = (states * here[..., None]).sum(dim=1) / lengths[:, None]
    last = states[torch.arange(len(states), device=states.device), lengths - 1]
    return torch.cat([mean, last], dim=-1)


class Head(nn.Module):
    """z = pool(states) w + b: from a text's states to a score for each label.

    For two labels z is one logit and the scores are (0, z), so that softmax gives the second σ(z). It starts at zero.
    Shapes: states (B, T, D), here (B, T), True where the text has a token -> (B, 1, C).
    """

    def __init__(self, d_model: int, n_labels: int):
        super().__init__()
        n_logits = 1 if n_labels == 2 else n_labels
        self.w = nn.Parameter(torch.zeros(2 * d_model, n_logits))
        self.b = nn.Parameter(torch.zeros(n_logits))

    def forward(self, states: Tensor, here: Tensor) -> Tensor:
        z = pool(states, here) @ self.w + self.b
        scores = torch.cat([torch.zeros_like(z), z], dim=-1) if z.shape[-1] == 1 else z
        return scores[:, None]


class Classifier(nn.Module):
    """A decoder as backbone, which it takes over without its matrix to the vocabulary, and a head on its states.

    Shapes: tokens (B, W, T), -1 where a text has ended -> (B, 1, C); the W windows of a text do not see each other.
    Raises CourseError for an encoder.
    """

    def __init__(self, backbone: LanguageModel, n_labels: int):
        super().__init__()
        if not backbone.config.causal:
            raise CourseError("a causal model was wanted and this one is an encoder: name a run without --objective")
        self.backbone, self.config = backbone, backbone.config
        self.backbone.w_out = None  # the head is in its place
        self.head = Head(backbone.config.d_model, n_labels)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.backbone.states(tokens.flatten(0, 1).clamp(min=0))
        return self.head(states.reshape(len(tokens), -1, self.config.d_model), tokens.flatten(1) >= 0)


def classifier_from(model: LanguageModel, n_labels: int, dropout: float = 0.0) -> Classifier:
    """A classifier with a copy of a model below a fresh head."""
    backbone = LanguageModel(model.config.replace(dropout=dropout))
    backbone.load_state_dict(model.state_dict())
    return Classifier(backbone, n_labels).to(device_of(model))


def classifier_run(
    model: LanguageModel,
    documents: Sequence[np.ndarray],
    labels: Sequence[int] | np.ndarray,
    n_labels: int,
    mode: str = "full",
    dropout: float = 0.0,
    processes: Processes | None = None,
    **training: object,
) -> Trainer:
    """A run, not yet begun, that teaches labels to a classifier on top of a model, which itself stays as it is.

    mode: "full" lets everything learn, "head" the head alone, "lora" the head and thin additions, and "scratch" forgets
    the weights first. training: fields of TrainConfig, with steps or minutes. Raises CourseError for another mode.
    """
    config = finetuning_config(mode, **training)
    generator = torch.Generator().manual_seed(config.seed)
    if mode == "scratch":
        model = initialise(LanguageModel(model.config), generator).to(device_of(model))
    classifier = classifier_from(model, n_labels, dropout)
    if mode == "head":
        freeze(classifier)
    if mode == "lora":
        add_lora(classifier, generator=generator)
    batches = LabelledBatches(documents, labels, config.batch_size, model.config.context_length)
    return Trainer(classifier, batches, next_token_loss, config, processes=processes)


def load_classifier(folder: str | os.PathLike, device: torch.device | str = "cpu") -> tuple:
    """(classifier, tokenizer, names of the labels) of a finished run. Raises CourseError for any other folder."""
    folder = checkpoints.finished_folder(folder)
    names = checkpoints.read_json(folder / "labels.json")["labels"]
    config = ModelConfig.from_dict(checkpoints.read_json(folder / "config.json"))
    classifier = Classifier(LanguageModel(config), len(names))
    tensors, _ = checkpoints.load_tensors(folder / "model.safetensors")
    if "w_out" in tensors:  # of the first edition: a language model with another output
        head = {"w_out": "head.w", "b_out": "head.b"}
        tensors = {head.get(name, f"backbone.{name}"): tensor for name, tensor in tensors.items()}
    checkpoints.fill(classifier, tensors, folder / "model.safetensors")
    tokenizer = tokenizer_from_dict(checkpoints.read_json(folder / "tokenizer.json"))
    return classifier.to(device).eval(), tokenizer, tuple(names)
