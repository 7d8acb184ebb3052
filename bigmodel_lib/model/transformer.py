"""The language model: blocks on one residual stream, from tokens to logits. There is one walk through it, `forward`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model import layers
from bigmodel_lib.model.cache import KVCache
from bigmodel_lib.model.layers import MLP, NORMS, Attention, Hooks, Start, Turn, hooked, rope_tables

HOOKS = {  # what a hook sees, in the order of the walk
    "stream": "the residual stream before each block and, with layer = L, after the last: (B, T, D)",
    "q": "queries (B, H, T, K)",
    "k": "keys (B, H', T, K), with H' = n_kv_heads",
    "v": "values (B, H', T, K)",
    "scores": "q kᵀ / √K + mask (B, H, T, T)",
    "weights": "their softmax (B, H, T, T)",
    "heads": "what each head brings, before w_o (B, H, T, K)",
    "attention": "what attention adds to the stream (B, T, D)",
    "middle": "the stream between a block's two parts (B, T, D)",
    "activations": "inside the MLP (B, T, F)",
    "mlp": "what the MLP adds to the stream (B, T, D)",
    "logits": "with layer = L (B, T, V)",
}


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): each branch adds to the stream."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.norm = layer, NORMS[config.norm]
        self.attention, self.mlp = Attention(config, layer), MLP(config, layer)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()  # while training

    def forward(self, x: Tensor, rotation: Turn = None, cache: KVCache | None = None, hooks: Hooks = None) -> Tensor:
        added = self.dropout(self.attention(self.norm(x), rotation, cache, hooks))
        x = hooked(hooks, "middle", self.layer, x + hooked(hooks, "attention", self.layer, added))
        added = self.dropout(self.mlp(self.norm(x), cache, hooks))
        return x + hooked(hooks, "mlp", self.layer, added)


class LanguageModel(nn.Module):
    """tokens (B, T) -> logits (B, T, V): what should follow each token, given it and those before it.

    With causal False an encoder: what should stand at each place, given all places (Devlin et al. 2019).
    Its parameters are uninitialised until `initialise` or `load_state_dict`.
    cache: a KVCache; the tokens follow those that it has kept, and are added to it.
    hooks: {name in `HOOKS`: function}; function(layer, value) takes the value's place, so it can look, or replace.
    Raises CourseError for too many tokens, or a hook of another name.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        V, D, T = config.vocab_size, config.d_model, config.context_length
        self.token_embedding = nn.Parameter(torch.empty(V, D))
        self.position_embedding = nn.Parameter(torch.empty(T, D)) if config.positions == "learned" else None
        n_rows = (config.ngrams - 1) * layers.NGRAM_ROWS
        self.ngram_embedding = nn.Parameter(torch.empty(n_rows, D)) if n_rows else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.w_out = None if config.tied else nn.Parameter(torch.empty(D, V))
        self.norm_gain = nn.Parameter(torch.empty(D)) if config.norm_gain else None
        cosine, sine = rope_tables(T, config.d_head, config.rope_base)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.token_embedding.device

    def rotation(self, n_tokens: int, start: Start = 0) -> Turn:
        """RoPE's two tables (T, K) from a position on, or None where positions are learned or absent."""
        config = self.config
        if config.positions != "rope":
            return None
        if isinstance(start, int) and start + n_tokens <= config.context_length:
            return self.cosine[start : start + n_tokens], self.sine[start : start + n_tokens]
        cosine, sine = rope_tables(n_tokens, config.d_head, config.rope_base, self.device, start)
        return cosine.to(self.cosine.dtype), sine.to(self.sine.dtype)

    def embed(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """(B, T) -> (B, T, D): each token's row of the embedding, plus its position's and its runs' where there are."""
        T, start = tokens.shape[1], 0 if cache is None else cache.position
        x = functional.embedding(tokens, self.token_embedding)
        if self.ngram_embedding is not None:
            run = tokens if cache is None else cache.run_of(tokens)
            rows = layers.ngram_rows(run, self.config.vocab_size, self.config.ngrams)[..., -T:]
            kept = functional.dropout(x.new_ones(rows.shape), self.config.ngram_dropout, self.training)
            x = x + (kept[..., None] * functional.embedding(rows, self.ngram_embedding)).sum(dim=0)
        if self.position_embedding is None:
            return x
        return x + self.position_embedding[slice(start, start + T) if isinstance(start, int) else start]

    def norm(self, x: Tensor) -> Tensor:
        """The norm before the output matrix. Shapes: (..., D) -> (..., D)."""
        x = NORMS[self.config.norm](x)
        return x if self.norm_gain is None else x * self.norm_gain

    def unembed(self, states: Tensor) -> Tensor:
        """The logits that the output matrix reads from a normalised stream. Shapes: (..., D) -> (..., V)."""
        return states @ (self.token_embedding.T if self.w_out is None else self.w_out)

    def states(self, tokens: Tensor, cache: KVCache | None = None, hooks: Hooks = None) -> Tensor:
        """(B, T) -> (B, T, D): the stream after the last block, normalised, which the output matrix reads."""
        self._check(tokens.shape[1], cache, hooks)
        T, start, L = tokens.shape[1], 0 if cache is None else cache.position, len(self.blocks)
        x, rotation = self.embed(tokens, cache), self.rotation(T, start)
        for layer, block in enumerate(self.blocks):
            x = block(hooked(hooks, "stream", layer, x), rotation, cache, hooks)
        if cache is not None:
            cache.position += T
        return self.norm(hooked(hooks, "stream", L, x))

    def forward(self, tokens: Tensor, cache: KVCache | None = None, hooks: Hooks = None) -> Tensor:
        logits = self.unembed(self.states(tokens, cache, hooks))
        return hooked(hooks, "logits", len(self.blocks), logits)

    def _check(self, T: int, cache: KVCache | None, hooks: Hooks) -> None:
        before, room = 0 if cache is None else cache.position, self.config.context_length
        endless = cache is not None and self.config.positions != "learned"  # the oldest keys make room, token by token
        if isinstance(before, int) and before + T > room and not (endless and T == 1):
            given = f"{T} tokens after {before} others" if before else f"{T} tokens"
            advice = "give those beyond it one by one" if endless else "start again with the last ones"
            raise CourseError(f"{given} do not fit a context of {room}: {advice}")
        if unknown := [name for name in hooks or () if name not in HOOKS]:
            raise CourseError(f"no hook is named {unknown[0]!r}: choose one of {', '.join(HOOKS)}")


@torch.no_grad()
def initialise(model: LanguageModel, generator: torch.Generator | None = None) -> LanguageModel:
    """Fill the parameters, each as `ModelConfig.start_of` says, and return the model."""
    for name, parameter in model.named_parameters():
        kind, size = model.config.start_of(name.split(".")[-1], parameter.shape)
        if kind == "constant":
            parameter.fill_(size)
        elif kind == "normal":
            parameter.normal_(0.0, size, generator=generator)
        else:
            parameter.uniform_(-size, size, generator=generator)
    return model


def count_parameters(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())
