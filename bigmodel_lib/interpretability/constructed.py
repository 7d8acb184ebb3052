"""A model whose truth is known, since its weights were set by hand."""

from typing import cast

import torch
from torch import Tensor

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.transformer import Block, LanguageModel


@torch.no_grad()
def induction_by_hand(vocab_size: int = 8, context_length: int = 16, sharpness: float = 10.0) -> LanguageModel:
    """A decoder with weights set by hand: what followed a token the last times will follow it again.

    Its stream has four parts: token, previous token, answer, position, each one number for each possible value.
    Head 0.0 looks at the previous token and writes down which it was; head 0.1 looks at token 0 and writes nothing;
    heads 1.0 and 1.1 do the same: look where the previous token is mine, and write its token into the answer.
    Token 0 is the start and stands at place 0 only. Raises CourseError for a context of 3 vocabularies or more, or odd.
    """
    V, C = vocab_size, context_length
    if C >= 3 * V or (3 * V + C) % 2:
        raise CourseError(f"context {C} was given with {V} tokens: an even width and fewer than {3 * V} were wanted")
    D, K = 3 * V + C, (3 * V + C) // 2
    model = LanguageModel(ModelConfig(
        vocab_size=V, context_length=C, d_model=D, n_layers=2, n_heads=2, d_ff=1, positions="learned", qk_norm=False,
        token_shift=False,
    ))  # fmt: skip
    for parameter in model.parameters():
        parameter.zero_()
    token, previous, answer, position = torch.eye(D).split([V, V, V, C])
    model.token_embedding.copy_(token)
    cast(Tensor, model.position_embedding).copy_(position)

    def link(matrix, head, rows, columns, strength):  # what these rows of the stream say goes into a head's columns
        matrix[:, head * K : (head + 1) * K] += strength * rows.T @ torch.eye(K)[columns]

    first, second = (cast(Block, block).attention for block in model.blocks)
    link(first.w_q, 0, position[1:], range(C - 1), sharpness)  # place t asks for place t - 1
    link(first.w_k, 0, position, range(C), 1.0)
    link(first.w_q, 1, position, [0] * C, 10 * sharpness)  # every place asks for place 0
    link(first.w_k, 1, position[:1], [0], 1.0)
    for head in (0, 1):
        link(first.w_v, head, token, range(V), 1.0)
        link(second.w_q, head, token, range(V), sharpness)
        link(second.w_k, head, previous, range(V), 1.0)
        link(second.w_v, head, token, range(V), 1.0)
        second.w_o[head * K : head * K + V] += answer
    first.w_o[:V] += previous
    cast(Tensor, model.w_out).copy_(4.0 * answer.T)
    return model.eval()
