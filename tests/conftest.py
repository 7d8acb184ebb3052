"""Models and tokens that many tests begin with, and the browser of those that need one."""

import os

import pytest
import run_browser as browsers
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


# In a browser: what asks for `chromium` is run by `make test-browser` alone


def pytest_collection_modifyitems(items):
    why = browsers.why_not() if os.environ.get("COURSE_BROWSER") else "in a browser: make test-browser"
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
            if why:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def chromium():
    browsers.SHOTS.mkdir(parents=True, exist_ok=True)
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def alone(chromium):
    """A function (toy, what it has drawn once it's there, theme, width) -> (page, watch) of a page of its own."""
    with browsers.alone(chromium) as open_page:
        yield open_page


@pytest.fixture(scope="session")
def notebooks(chromium):
    """Notebooks in JupyterLab. Let tests of one share its run: @pytest.mark.xdist_group with the notebook's number."""
    with browsers.jupyterlab() as found:
        yield browsers.Notebooks(chromium, *found)
