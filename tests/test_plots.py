"""What a picture says, read from what it drew."""

import pytest
import torch

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


def test_the_graph_shows_each_node_and_link_once_with_what_it_keeps():
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    y = (x @ w).exp() + x.sum()
    ax = plots.draw_graph(y.grad_fn, {"x": x, "w": w})
    said = sorted(text.get_text() for text in ax.texts if text.get_text())
    links = sum(getattr(text, "arrow_patch", None) is not None for text in ax.texts)
    places = {text.get_text(): text.get_position() for text in ax.texts if text.get_text()}
    plots.plt.close(ax.figure)
    assert said == ["Add", "Exp\nkeeps (3, 2)", "Mm\nkeeps (4, 2), (3, 4)", "Sum", "w", "x"]
    assert links == 6  # Add to Exp and Sum, Exp to Mm, Mm to x and w, Sum to x
    assert places["x"][1] < places["Mm\nkeeps (4, 2), (3, 4)"][1] < places["Add"][1]  # each below all that call it
    assert len(set(places.values())) == 6
