"""The sizes of a model and the settings of a run: frozen, validated, nothing else."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, get_args

from bigmodel_lib.errors import CourseError

Count = Annotated[int, 1, math.inf]  # a field's type says what it may be: a lowest and a highest number, or its choices
Rate = Annotated[float, 0.0, 10.0]
Share = Annotated[float, 0.0, 0.9999]
Minutes = Annotated[float, 1e-3, 1e6]


def require(condition: bool, message: str) -> None:
    """Raises CourseError with this message unless the condition holds."""
    if not condition:
        raise CourseError(message)


def check(name: str, value: Any, kind: Any) -> None:
    """Raises CourseError unless a value is of its kind: bool, Literal[choices] or Annotated[int | float, low, high]."""
    first, *rest = get_args(kind) or (True, False)
    if first not in (int, float):
        choices = (first, *rest)
        require(value in choices, f"{name} {value!r} is not known: choose one of {', '.join(map(str, choices))}")
        return
    low, high = rest
    right = isinstance(value, (int, first)) and not isinstance(value, bool) and low <= value <= high
    number = "whole number" if first is int else "number"
    require(right, f"{name} {value!r} is outside {low:g} … {high:g}: choose a {number} in it")


@dataclasses.dataclass(frozen=True)
class _Config:
    """What both configurations share: one check for all fields, a copy with changes, and a dictionary for JSON."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, optional = getattr(self, field.name), field.default is None
            if value is not None or not optional:
                check(field.name, value, get_args(field.type)[0] if optional else field.type)

    def replace(self, **changes: Any) -> Self:
        """The same configuration with some fields changed; validated again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict:
        """{field: value}."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Raises CourseError for a field that this class does not have or lacks a needed one."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(known))
        require(not unknown, f"{cls.__name__} has no field {', '.join(unknown)}: it has {', '.join(known)}")
        needed = [n for n, f in known.items() if f.default is dataclasses.MISSING and n not in values]
        require(not needed, f"{cls.__name__} needs {', '.join(needed)}: add it")
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class ModelConfig(_Config):
    """The shape of one model. Its defaults are the small recipe."""

    vocab_size: Count  # how many different tokens there are
    context_length: Count = 64  # T, how many tokens the model sees at once
    d_model: Count = 64  # width of the residual stream
    n_layers: Count = 4  # how many blocks
    n_heads: Count = 2  # H, heads in each attention; each has width d_head = d_model / n_heads
    d_ff: Count = 128  # width inside the MLP
    positions: Literal["rope", "learned", "none"] = "rope"  # "rope" rotates queries and keys (Su et al. 2021)
    rope_base: Annotated[float, 1.001, 1e9] = 1000.0  # base of RoPE's wavelengths, in tokens
    qk_norm: bool = True  # normalise queries and keys in each head (Henry et al. 2020)
    norm: Literal["layer", "rms"] = "layer"  # Ba et al. 2016, or by the root mean square alone (Zhang & Sennrich 2019)
    norm_gain: bool = False  # let each norm learn a factor for every number (norms inside the heads learn none)
    activation: Literal["relu_squared", "gelu", "swiglu"] = "relu_squared"  # So 2021, Hendrycks 2016, Shazeer 2020
    token_shift: bool = True  # let a block see the previous token's state without attention (Peng et al. 2023)
    tied: bool = False  # use the token embedding, transposed, as output matrix (Press & Wolf 2017)
    init: Literal["zero", "gpt2"] = "zero"  # every branch and the output at zero, or as in Radford et al. 2019
    causal: bool = True  # a token sees itself and those before it (a decoder), or all of them (an encoder)
    dropout: Annotated[float, 0.0, 0.9] = 0.0  # share of what a branch adds that training sets to 0 (Srivastava 2014)
    ngrams: Annotated[int, 1, 4] = 1  # the longest run of tokens with an embedding of its own (in PyTorch alone)
    ngram_dropout: Annotated[float, 0.0, 0.9] = 0.5  # share of the runs' embeddings that training leaves out
    n_kv_heads: Count | None = None  # heads of keys and values, shared by the queries (Ainslie et al. 2023); None: H

    @property
    def n_key_heads(self) -> int:
        """How many heads of keys and values there are."""
        return self.n_kv_heads or self.n_heads

    @property
    def d_head(self) -> int:
        """K, the width of a head."""
        return self.d_model // self.n_heads

    def start_of(self, name: str, shape: Sequence[int]) -> tuple[Literal["constant", "normal", "uniform"], float]:
        """How a parameter begins: at a constant, normal with a deviation, or uniform up to ± a bound.

        init "zero": matrices uniform with deviation 0.5/√in, embeddings normal with 0.5, and 0 for what a branch or the
        model ends in: the first logits are all equal.
        init "gpt2": normal with 0.02, and 0.02/√(2·n_layers) for w_o and w_down (Radford et al. 2019, section 2.3).
        Both: gains 1, other vectors and n-grams 0.
        """
        ends_branch = name in ("w_o", "w_down")
        if name == "norm_gain":
            return "constant", 1.0
        if len(shape) == 1 or name in ("shift", "ngram_embedding"):
            return "constant", 0.0
        if self.init == "gpt2":
            return "normal", 0.02 / math.sqrt(2 * self.n_layers) if ends_branch else 0.02
        if ends_branch or name == "w_out":
            return "constant", 0.0
        return ("normal", 0.5) if name.endswith("embedding") else ("uniform", math.sqrt(3) * 0.5 / math.sqrt(shape[0]))

    def __post_init__(self) -> None:
        super().__post_init__()
        D, H, H_kv = self.d_model, self.n_heads, self.n_key_heads
        below = max(1, D // H) * H
        require(D % H == 0, f"d_model {D} is not divisible by n_heads {H}: choose d_model {below} or {below + H}")
        todo = f"choose n_kv_heads {math.gcd(H, H_kv)}"
        require(H % H_kv == 0, f"n_heads {H} cannot be shared evenly by n_kv_heads {H_kv}: {todo}")
        wrong = f"d_model {D} over n_heads {H} gives heads of width {self.d_head}, and RoPE turns pairs of numbers"
        todo = "choose sizes with an even width, or positions 'learned'"
        require(self.positions != "rope" or self.d_head % 2 == 0, f"{wrong}: {todo}")
        wrong = "tied True with init 'zero' would start the embedding at zero, where nothing can be learned"
        require(not self.tied or self.init != "zero", f"{wrong}: choose init 'gpt2', or tied False")


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Config):
    """How one model is trained. Exactly one of steps and minutes is the budget."""

    steps: Count | None = None  # the budget in updates
    minutes: Minutes | None = None  # or in minutes of training (evaluation not counted)
    batch_size: Count = 16  # B, rows in each step, of all processes together
    seed: Annotated[int, 0, 2**63 - 1] = 0  # of the initial weights and of the order of the batches
    optimizer: Literal["muon", "adamw"] = "muon"  # Muon for the matrices in the blocks, AdamW for the rest; or AdamW
    muon_lr: Rate = 0.03  # peak rate of Muon: each update of a matrix has singular values near this
    momentum: Share = 0.9  # Muon's Nesterov momentum, reached from 0.85 over the first 100 steps
    adamw_lr: Rate = 0.02  # peak rate of AdamW
    beta1: Share = 0.8  # AdamW's average of the gradient
    beta2: Share = 0.95  # and of its square
    eps: Annotated[float, 1e-16, 1e-2] = 1e-10  # added to the root of the second
    weight_decay: Rate = 0.0  # AdamW's, as a share of rate x weight in each step (Loshchilov & Hutter 2019)
    warmup_steps: Annotated[int, 0, math.inf] = 10  # the rate grows linearly over so many first steps
    decay: Literal["linear", "cosine"] = "linear"  # fall of the rate over the whole budget
    final_lr: Annotated[float, 0.0, 1.0] = 0.0  # the rate at the end, as a share of the peak
    clip: Annotated[float, 0.0, 1e6] = 0.0  # longest allowed gradient, all parameters together; 0 means no clipping
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 on CUDA in large steps, else float32
    compile: bool = False  # model and loss by torch.compile: a wait of up to a minute, which some 3,000 steps repay

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            given = "neither" if self.steps is None else f"steps {self.steps} and minutes {self.minutes}"
            raise CourseError(f"a run has one budget, {given} was given: choose steps, or minutes")
        super().__post_init__()
