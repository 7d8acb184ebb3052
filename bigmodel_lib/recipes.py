"""Recipes that were tried: sizes and settings that train well together, for pretraining and for finetuning."""

import dataclasses
import math
from typing import Any

from bigmodel_lib.config import Minutes, ModelConfig, TrainConfig, check, require

_SMALL = dict(context_length=64, d_model=64, n_layers=4, n_heads=2)
_QUICK = dict(context_length=64, d_model=64, n_layers=2, n_heads=2, ngrams=4, ngram_dropout=0.0)
_MEDIUM = dict(context_length=128, d_model=96, n_layers=4, n_heads=3, ngrams=4)
_LARGE = dict(context_length=128, d_model=192, n_layers=4, n_heads=6, ngrams=4)
_PLAIN = dict(
    context_length=64, d_model=128, n_layers=4, n_heads=4, positions="learned", qk_norm=False,
    activation="gelu", token_shift=False, tied=True, init="gpt2",
)  # fmt: skip
_LONG = dict(muon_lr=0.015, momentum=0.95, warmup_steps=20)
_COSINE = dict(
    batch_size=12, optimizer="adamw", adamw_lr=1e-3, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1,
    warmup_steps=100, decay="cosine", final_lr=0.1, clip=1.0,
)  # fmt: skip
# name: (fields of ModelConfig, d_ff in units of d_model, steps unless told, fields of TrainConfig)
PRESETS: dict[str, tuple[dict, int, int, dict]] = {
    "quick": (_QUICK, 2, 100, dict(adamw_lr=0.04)),
    "small": (_SMALL, 2, 240, {}),
    "medium": (_MEDIUM, 4, 800, _LONG),
    "large": (_LARGE, 4, 720, _LONG),
    "plain": (_PLAIN, 4, 2000, _COSINE),
}


def preset(name: str, vocab_size: int, **changes: Any) -> tuple[ModelConfig, TrainConfig]:
    """Both configurations of a named recipe, with any field of either changed.

    "small", "medium" and "large" are the course's recipe; "quick" is what won a race of two seconds (data/faster.json):
    half as deep, with n-grams, which overfit when the race is longer. "plain" is a plain GPT with AdamW, as nanoGPT's
    documentation sets it for a CPU. d_ff follows d_model unless it is given. Raises CourseError for an unknown name or
    field, or an impossible value.
    """
    require(name in PRESETS, f"preset {name!r} is not known: choose one of {', '.join(PRESETS)}")
    sizes, ratio, steps, training = PRESETS[name]
    values = {"vocab_size": vocab_size, **sizes, **training, **changes}
    if isinstance(values["d_model"], int):
        values.setdefault("d_ff", ratio * values["d_model"])
    if values.get("steps") is None and values.get("minutes") is None:
        values["steps"] = steps
    of_model = {field.name: values.pop(field.name) for field in dataclasses.fields(ModelConfig) if field.name in values}
    return ModelConfig.from_dict(of_model), TrainConfig.from_dict(values)


# Tokens that the preset medium reads in a second on two cores, by its width: data/budget.json.
PACE = {32: 75_700, 64: 37_700, 96: 24_400, 128: 16_600, 192: 8_270}
LAW = (438.0, 0.854, 1824.0, 0.778)  # A, α, B, β of data/scaling.json: nats above the floor, where text never ends
READINGS = 4  # of one text; more teaches less than a larger model would


def law_of_size(width: int, seconds: float) -> float:
    """A/N^α + B/D^β for a width of the preset medium, N weights in its blocks and D tokens in that time."""
    A, alpha, B, beta = LAW
    return A / (48 * width**2) ** alpha + B / (PACE[width] * seconds) ** beta


def preset_for_minutes(minutes: float, n_tokens: int = 0) -> tuple[str, dict]:
    """(preset, changes): the better width by the law, or a larger one that reads n_tokens about READINGS times.

    A text that ends soon is better read by a large model a few times than by a small one often. Notebook 10 derives it.
    Raises CourseError for no such time.
    """
    check("minutes", minutes, Minutes)
    seconds = 60 * minutes
    endless = min(PACE, key=lambda width: law_of_size(width, seconds))
    few = min(PACE, key=lambda width: abs(math.log(PACE[width] * seconds / (READINGS * max(1, n_tokens)))))
    width = max(endless, few) if n_tokens else endless
    return "medium", {"d_model": width, "n_heads": width // 32}


MODES: dict[str, dict] = {  # what learns in finetuning: the fields of TrainConfig that go with it
    "full": dict(muon_lr=0.005, momentum=0.95, adamw_lr=0.005),
    "head": dict(optimizer="adamw", adamw_lr=0.02, beta1=0.9),
    "lora": dict(optimizer="adamw", adamw_lr=0.005, beta1=0.9),
    "scratch": dict(muon_lr=0.01, momentum=0.95, adamw_lr=0.01),
}


def finetuning_config(mode: str, **training: Any) -> TrainConfig:
    """The training of a finetuned model in one of MODES, with any field changed. Raises CourseError for other modes."""
    require(mode in MODES, f"mode {mode!r} is not known: choose one of {', '.join(MODES)}")
    return TrainConfig.from_dict({"batch_size": 32, "warmup_steps": 10, **MODES[mode], **training})
