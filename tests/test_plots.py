"""What a picture says, read from what it drew."""

import pytest

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.viz import plots


@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_the_picture_of_the_stream_names_its_blocks_and_shapes(n_layers):
    config = ModelConfig(vocab_size=70, d_model=24, n_heads=3, d_ff=40, n_layers=n_layers)
    ax = plots.draw_residual_stream(config, 9)
    said = [text.get_text() for text in ax.texts]
    plots.plt.close(ax.figure)
    blocks = [words for words in said if words.startswith("block ")]
    assert blocks == [f"block {i}" for i in sorted({0, n_layers - 1})] and ("…" in said) == (n_layers > 2)
    for shape in ("weights (3, 9, 9)", "inside (9, 40)", "logits (9, 70)", "embedding\n70 × 24"):
        assert shape in said
