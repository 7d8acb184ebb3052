"""Models and tokens that many tests begin with."""

import pytest
import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.model.transformer import LanguageModel


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def random_model():
    """A model with random non-zero weights everywhere: the recipe's zeros would make most claims true by accident."""

    def make(seed=0, scale=0.5, dtype=torch.float32, **changes):
        sizes = dict(vocab_size=11, context_length=12, d_model=16, n_layers=2, n_heads=2, d_ff=24)
        model = LanguageModel(ModelConfig(**{**sizes, **changes})).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, scale, generator=generator)
        return model.eval() if model.config.ngrams > 1 else model  # while training it leaves runs out by chance

    return make


@pytest.fixture
def random_tokens():
    def make(seed=0, shape=(3, 12), vocab_size=11):
        return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))

    return make
