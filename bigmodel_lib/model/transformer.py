"""The language model: blocks on one residual stream, from tokens to logits."""

import math

import torch
from torch import nn
from torch.nn import functional

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.devices import evaluating
from bigmodel_lib.model.layers import (
    MLP,
    NGRAM_DROPOUT,
    NGRAM_ROWS,
    Attention,
    attention,
    attention_weights,
    layer_norm,
    merge_heads,
    ngram_rows,
    rope_tables,
    shift_tokens,
    split_heads,
)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): each branch adds to the stream. Taught in 05_pytorch_gpu."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention, self.mlp = Attention(config), MLP(config)
        self.dropout = nn.Dropout(config.dropout)  # while training, and 0 unless asked for

    def forward(self, x, rotation):
        x = x + self.dropout(self.attention(layer_norm(x), rotation))
        return x + self.dropout(self.mlp(layer_norm(x)))


class LanguageModel(nn.Module):
    """tokens (B, T) -> logits (B, T, V): what should follow each token, given it and those before it.

    With causal False an encoder instead: what should stand at each place, given all places (Devlin et al. 2019).
    Its parameters are uninitialised until `initialise` or `load_state_dict`. Raises CourseError for too many tokens."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        V, D = config.vocab_size, config.d_model
        self.token_embedding = nn.Parameter(torch.empty(V, D))
        self.position_embedding = (
            nn.Parameter(torch.empty(config.context_length, D)) if config.positions == "learned" else None
        )
        rows = (config.ngrams - 1) * NGRAM_ROWS, D
        self.ngram_embedding = nn.Parameter(torch.empty(rows)) if config.ngrams > 1 else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.w_out = None if config.tied else nn.Parameter(torch.empty(D, V))
        cosine, sine = rope_tables(config.context_length, config.d_head, config.rope_base)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def rotation(self, T):
        """RoPE's two tables (T, K), or None where positions are learned or absent."""
        return (self.cosine[:T], self.sine[:T]) if self.config.positions == "rope" else None

    def embed(self, tokens):
        """(B, T) -> (B, T, D): each token's row of the embedding, plus its position's and its runs' where there are."""
        T = tokens.shape[1]
        if T > self.config.context_length:
            raise CourseError(
                f"{T} tokens do not fit a context of {self.config.context_length}: give the last ones only"
            )
        x = functional.embedding(tokens, self.token_embedding)
        if self.ngram_embedding is not None:
            rows = ngram_rows(tokens, self.config.vocab_size, self.config.ngrams)
            kept = functional.dropout(x.new_ones(rows.shape), NGRAM_DROPOUT, self.training)
            x = x + (kept[..., None] * functional.embedding(rows, self.ngram_embedding)).sum(dim=0)
        return x if self.position_embedding is None else x + self.position_embedding[:T]

    def states(self, tokens):
        """(B, T) -> (B, T, D): the stream after the last block, normalised, which the output matrix reads."""
        x, rotation = self.embed(tokens), self.rotation(tokens.shape[1])
        for block in self.blocks:
            x = block(x, rotation)
        return layer_norm(x)

    def forward(self, tokens):
        return self.states(tokens) @ (self.token_embedding.T if self.w_out is None else self.w_out)

    @torch.no_grad()
    def attention_maps(self, tokens):
        """The weights of every layer and head for tokens (B, T), as (n_layers, B, H, T, T); nothing is left out."""
        with evaluating(self):
            x, rotation, maps = self.embed(tokens), self.rotation(tokens.shape[1]), []
            for block in self.blocks:
                y, layer = layer_norm(x), block.attention
                y = y if layer.shift is None else shift_tokens(y, layer.shift)
                maps.append(attention_weights(*layer.queries_and_keys(y, rotation), layer.causal))
                x = block(x, rotation)
        return torch.stack(maps)


class ValueResiduals(LanguageModel):
    """A decoder whose blocks can also look at the first block's values: v ← v + λ v₁, with λ learned, from 0.

    Without dropout or tying. Source: Zhou et al. 2024, here added, not mixed. Taught in 06_pretraining."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.value_shares = nn.Parameter(torch.empty(config.n_layers))

    def forward(self, tokens):
        x, rotation, first = self.embed(tokens), self.rotation(tokens.shape[1]), 0.0
        for block, share in zip(self.blocks, self.value_shares, strict=True):
            layer, y = block.attention, layer_norm(x)
            y = y if layer.shift is None else shift_tokens(y, layer.shift)
            v = split_heads(y @ layer.w_v, layer.n_heads) + share * first
            first = v if block is self.blocks[0] else first
            x = x + merge_heads(attention(*layer.queries_and_keys(y, rotation), v)) @ layer.w_o
            x = x + block.mlp(layer_norm(x))
        return layer_norm(x) @ self.w_out


@torch.no_grad()
def initialise(model: LanguageModel, generator=None) -> LanguageModel:
    """Fill the parameters from a generator and return the model.

    init "zero": matrices uniform with standard deviation 0.5/√in, embedding normal with 0.5, and zero for what
    a branch or the model ends in (w_o, w_down, w_out), for shifts and n-grams: the first logits are all equal.
    init "gpt2": normal with 0.02, and 0.02/√(2·n_layers) for w_o and w_down (Radford et al. 2019, section 2.3)."""
    config = model.config
    zero = ["shift", "ngram_embedding", "value_shares", *(("w_o", "w_down", "w_out") if config.init == "zero" else ())]
    for name, parameter in model.named_parameters():
        last = name.split(".")[-1]
        if last in zero:
            parameter.zero_()
        elif config.init == "gpt2":
            deep = last in ("w_o", "w_down")
            parameter.normal_(0.0, 0.02 / math.sqrt(2 * config.n_layers) if deep else 0.02, generator=generator)
        elif last.endswith("embedding"):
            parameter.normal_(0.0, 0.5, generator=generator)
        else:
            bound = math.sqrt(3) * 0.5 / math.sqrt(parameter.shape[0])
            parameter.uniform_(-bound, bound, generator=generator)
    return model


def count_parameters(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())
