"""A model whose weights are set by hand, so that what each of its heads does is known: an oracle for interpretability.

Head 0.0 notes at each place which token came before; 0.1 looks at the start and writes nothing; 1.0 and 1.1 find the
place that noted the present token, and both write down what stands there.
"""

import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model.transformer import LanguageModel


def link(matrix, head, rows, columns, strength=1.0):
    """Let these rows of the stream set some of a head's columns."""
    matrix[:, 20 * head : 20 * head + 20] += strength * rows.T @ torch.eye(20)[columns]


@torch.no_grad()
def induction_by_hand():
    sizes = dict(vocab_size=8, context_length=16, d_model=40, n_layers=2, n_heads=2, d_ff=1)
    model = LanguageModel(ModelConfig(**sizes, positions="learned", qk_norm=False, token_shift=False))
    for parameter in model.parameters():
        parameter.zero_()
    token, previous, answer, position = torch.eye(40).split([8, 8, 8, 16])
    model.token_embedding.copy_(token)
    model.position_embedding.copy_(position)
    first, second = (block.attention for block in model.blocks)
    for head in (0, 1):
        link(first.w_v, head, token, range(8))  # both heads of layer 0 read the token that they look at
    link(first.w_q, 0, position[1:], range(15), 10)  # in 0.0 place t asks for place t - 1
    link(first.w_k, 0, position, range(16))
    first.w_o[:8] += previous  # and what it read becomes the token before
    link(first.w_q, 1, position, [0] * 16, 100)  # in 0.1 every place asks for place 0, and nothing is written
    link(first.w_k, 1, position[:1], [0])
    for head in (0, 1):
        link(second.w_q, head, token, range(8), 10)  # 1.0 and 1.1 ask where my token was the one before
        link(second.w_k, head, previous, range(8))
        link(second.w_v, head, token, range(8))
        second.w_o[20 * head : 20 * head + 8] += answer
    model.w_out.copy_(4 * answer.T)
    return model.eval()
