"""The sizes of a model and the settings of a run: frozen, validated, nothing else."""

import dataclasses
import math

from bigmodel_lib.errors import CourseError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CourseError(message)


def _require_whole(owner, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        _require(whole and value >= 1, f"{name} {value!r} is not a whole number of at least 1: choose 1, 2, 3, …")


def _require_real(owner, low: float, high: float, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        _require(
            real and low <= value <= high, f"{name} {value!r} is outside {low:g} … {high:g}: choose a number in it"
        )


def _require_choice(owner, **choices: tuple) -> None:
    for name, allowed in choices.items():
        value = getattr(owner, name)
        _require(value in allowed, f"{name} {value!r} is not known: choose one of {', '.join(map(str, allowed))}")


class _Config:
    """What both configurations share: a copy with changes, and a dictionary for JSON."""

    def replace(self, **changes):
        """The same configuration with some fields changed; validated again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict):
        """Raises CourseError for a field that this class does not have or lacks a needed one."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(known))
        _require(not unknown, f"{cls.__name__} has no field {', '.join(unknown)}: it has {', '.join(known)}")
        needed = [n for n, f in known.items() if f.default is dataclasses.MISSING and n not in values]
        _require(not needed, f"{cls.__name__} needs {', '.join(needed)}: add it")
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class ModelConfig(_Config):
    """The shape of one model. Its defaults are the small recipe.

    vocab_size      how many different tokens there are
    context_length  T, how many tokens the model sees at once
    d_model         width of the residual stream
    n_layers        how many blocks
    n_heads         H, heads in each attention; each has width d_head = d_model / n_heads
    n_kv_heads      heads of keys and values, each shared by n_heads / n_kv_heads queries (Ainslie et al. 2023);
                    None: as many as n_heads
    d_ff            width inside the MLP
    positions       "rope" rotates queries and keys (Su et al. 2021), "learned" adds a vector, "none" does neither
    rope_base       base of RoPE's wavelengths, in tokens
    qk_norm         normalise queries and keys in each head (Henry et al. 2020)
    norm            "layer" (Ba et al. 2016), or "rms": divided by its root mean square alone (Zhang & Sennrich 2019)
    norm_gain       let each norm learn a factor for every number (norms inside the heads learn none)
    activation      "relu_squared" (So et al. 2021), "gelu" (Hendrycks & Gimpel 2016) or "swiglu" (Shazeer 2020)
    token_shift     let a block see the previous token's state without attention (Peng et al. 2023)
    tied            use the token embedding, transposed, as output matrix (Press & Wolf 2017)
    init            "zero" starts every branch and the output at zero, "gpt2" as in Radford et al. 2019
    causal          True: a token sees itself and those before it (a decoder); False: all of them (an encoder)
    dropout         share of what each branch adds that is set to 0 while training (Srivastava et al. 2014)
    ngrams          1, or the longest run of tokens with a row of its own in an embedding: 2, 3 or 4 (in PyTorch alone)
    """

    vocab_size: int
    context_length: int = 64
    d_model: int = 64
    n_layers: int = 4
    n_heads: int = 2
    d_ff: int = 128
    positions: str = "rope"
    rope_base: float = 1000.0
    qk_norm: bool = True
    norm: str = "layer"
    norm_gain: bool = False
    activation: str = "relu_squared"
    token_shift: bool = True
    tied: bool = False
    init: str = "zero"
    causal: bool = True
    dropout: float = 0.0
    ngrams: int = 1
    n_kv_heads: int | None = None

    @property
    def n_key_heads(self) -> int:
        """How many heads of keys and values there are."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    def __post_init__(self):
        _require_whole(self, "vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff", "ngrams")
        _require_choice(
            self,
            positions=("rope", "learned", "none"),
            activation=("relu_squared", "gelu", "swiglu"),
            norm=("layer", "rms"),
            norm_gain=(True, False),
            init=("zero", "gpt2"),
            qk_norm=(True, False),
            token_shift=(True, False),
            tied=(True, False),
            causal=(True, False),
            ngrams=(1, 2, 3, 4),
        )
        _require_real(self, 1.001, 1e9, "rope_base")
        _require_real(self, 0.0, 0.9, "dropout")
        if self.d_model % self.n_heads:
            below = self.d_model - self.d_model % self.n_heads
            widths = [width for width in (below, below + self.n_heads) if width]
            heads = [h for h in range(1, min(self.d_model, 16) + 1) if self.d_model % h == 0]
            raise CourseError(
                f"d_model {self.d_model} is not divisible by n_heads {self.n_heads}: choose d_model "
                f"{' or '.join(map(str, widths))}, or n_heads {' or '.join(map(str, heads))}"
            )
        if self.n_kv_heads is not None:
            _require_whole(self, "n_kv_heads")
            _require(
                self.n_heads % self.n_kv_heads == 0,
                f"n_heads {self.n_heads} cannot be shared evenly by n_kv_heads {self.n_kv_heads}: choose a divisor, "
                f"such as {next(n for n in range(self.n_kv_heads, 0, -1) if self.n_heads % n == 0)}",
            )
        if self.positions == "rope" and self.d_head % 2:
            raise CourseError(
                f"d_model {self.d_model} over n_heads {self.n_heads} gives heads of width {self.d_head}, and RoPE "
                f"turns pairs of numbers: choose sizes with an even width, or positions 'learned'"
            )
        if self.tied and self.init == "zero":
            raise CourseError(
                "tied True with init 'zero' would start the embedding at zero, where nothing can be learned: "
                "choose init 'gpt2', or tied False"
            )


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Config):
    """How one model is trained. Exactly one of steps and minutes is the budget.

    steps, minutes  the budget: a number of updates, or minutes of training (evaluation not counted)
    batch_size      B, rows in each step, of all processes together
    seed            of the initial weights and of the order of the batches
    optimizer       "muon" for the matrices in the blocks and AdamW for the rest, or "adamw" for everything
    muon_lr         peak rate of Muon: each update of a matrix has singular values near this
    momentum        Muon's Nesterov momentum, reached from 0.85 over the first 100 steps
    adamw_lr        peak rate of AdamW
    beta1, beta2    AdamW's averages of the gradient and of its square; eps is added to the root of the second
    weight_decay    AdamW's, as a share of rate x weight in each step (Loshchilov & Hutter 2019)
    warmup_steps    the rate grows linearly over so many first steps
    decay           "linear" or "cosine" fall of the rate over the whole budget
    final_lr        the rate at the end, as a share of the peak
    clip            longest allowed gradient, all parameters together; 0 means no clipping
    precision       "auto" takes bfloat16 on CUDA and float32 elsewhere
    compile         use torch.compile: faster steps after a wait of up to a minute
    """

    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 16
    seed: int = 0
    optimizer: str = "muon"
    muon_lr: float = 0.03
    momentum: float = 0.9
    adamw_lr: float = 0.02
    beta1: float = 0.8
    beta2: float = 0.95
    eps: float = 1e-10
    weight_decay: float = 0.0
    warmup_steps: int = 10
    decay: str = "linear"
    final_lr: float = 0.0
    clip: float = 0.0
    precision: str = "auto"
    compile: bool = False

    def __post_init__(self):
        if (self.steps is None) == (self.minutes is None):
            given = "neither" if self.steps is None else f"steps {self.steps} and minutes {self.minutes}"
            raise CourseError(f"a run has one budget, {given} was given: choose steps, or minutes")
        _require_whole(self, "batch_size", *(["steps"] if self.steps is not None else []))
        if self.minutes is not None:
            _require_real(self, 1e-3, 1e6, "minutes")
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        _require(
            whole and 0 <= self.seed < 2**63, f"seed {self.seed!r} is not a whole number from 0: choose 0, 1, 2, …"
        )
        whole = isinstance(self.warmup_steps, int) and not isinstance(self.warmup_steps, bool)
        _require(whole and self.warmup_steps >= 0, f"warmup_steps {self.warmup_steps!r} is below 0: choose 0 or more")
        _require_choice(
            self,
            optimizer=("muon", "adamw"),
            decay=("linear", "cosine"),
            precision=("auto", "float32", "bfloat16"),
            compile=(True, False),
        )
        _require_real(self, 0.0, 10.0, "muon_lr", "adamw_lr", "weight_decay")
        _require_real(self, 0.0, 1.0, "final_lr")
        _require_real(self, 0.0, 0.9999, "momentum", "beta1", "beta2")
        _require_real(self, 1e-16, 1e-2, "eps")
        _require_real(self, 0.0, 1e6, "clip")
