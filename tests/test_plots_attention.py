"""What maps of attention say, read from what they drew."""

import warnings

import numpy as np
import pytest
import torch

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz import attention, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plots.plt.close("all")


def random_maps(*shape, seed=0):
    maps = np.random.default_rng(seed).random(shape)
    return maps / maps.sum(axis=-1, keepdims=True)


def words(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize("T", [5, 64])
def test_one_map_is_queries_by_keys_on_the_scale_0_to_1_with_all_its_tokens(T):
    weights, tokens = random_maps(T, T), [f"w{i}" for i in range(T)]
    ax = attention.draw_attention(weights, tokens, "A map")
    (image,) = ax.images
    assert (
        np.array_equal(image.get_array(), weights) and image.get_clim() == (0, 1) and image.get_cmap().name == "cividis"
    )
    assert words(ax.xaxis) == words(ax.yaxis) == tokens and ax.get_title(loc="left") == "A map"
    assert ax.get_ylabel().startswith("query") and ax.get_xlabel().startswith("key")
    ax.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.yaxis.get_ticklabels()]
    assert all(a.y0 > b.y1 - 1.5 for a, b in zip(boxes, boxes[1:], strict=False))  # rows do not run into each other
    assert min(label.get_fontsize() for label in ax.yaxis.get_ticklabels()) >= 5.5


def test_several_maps_are_drawn_side_by_side_on_axes_that_are_given():
    _, axes = plots.plt.subplots(1, 2)
    axes[1].set(title="kept", xlabel="mine")
    for ax, T in zip(axes, (3, 30), strict=True):
        assert attention.draw_attention(random_maps(T, T), ["word"] * T, ax=ax) is ax and len(ax.images) == 1
    assert (axes[1].get_title(), axes[1].get_xlabel()) == ("kept", "mine")
    large, small = (ax.xaxis.get_ticklabels()[0] for ax in axes)
    assert large.get_fontsize() > small.get_fontsize()  # as large as fits
    assert (large.get_rotation(), small.get_rotation()) == (0, 90)


def test_tensors_are_maps_in_any_type_and_while_they_learn():
    weights = torch.tensor(random_maps(4, 4), dtype=torch.bfloat16, requires_grad=True)
    (image,) = attention.draw_attention(weights, list("abcd")).images
    assert np.array_equal(image.get_array(), weights.detach().double().numpy())


def test_the_still_picture_of_the_explorer_has_all_maps_small_and_one_large_with_its_row():
    maps, tokens = random_maps(2, 3, 6, 6), list("abcdef")
    figure = attention.draw_explorer(maps, maps[1, 2], tokens, 2, "a title")
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert [ax.get_title() for ax in axes[:6]] == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert all(np.array_equal(ax.images[0].get_array(), maps[divmod(i, 3)]) for i, ax in enumerate(axes[:6]))
    (large,) = axes[6:]
    assert np.array_equal(large.images[0].get_array(), maps[1, 2]) and words(large.yaxis) == tokens
    assert [patch.get_xy() for patch in large.patches if not patch.get_fill()] == [(-0.5, 1.5)]
    assert figure.get_suptitle() == "a title"


def test_of_a_long_text_the_still_picture_has_the_rows_that_matter_and_the_chosen_one():
    T = attention.LONG + 6
    maps, tokens = (
        np.tile(np.tril(np.ones((T, T))) / np.arange(1, T + 1)[:, None], (1, 1, 1, 1)),
        [f"w{i}" for i in range(T)],
    )
    for row in range(10, 22):
        maps[0, 0, row] = 0.0
        maps[0, 0, row, 3] = 1.0
    assert attention.rows_that_matter(maps[0, 0], 12).tolist() == list(range(10, 22))
    figure = attention.draw_explorer(maps, maps[0, 0], tokens, 25, "a title")
    (large,) = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"][1:]
    assert words(large.yaxis) == [f"w{i}" for i in [*range(10, 22), 25]]
    assert large.get_ylim() == (12.5, -0.5)  # nothing is left white below them
    assert [patch.get_xy() for patch in large.patches if not patch.get_fill()] == [(-0.5, 11.5)]


def test_a_power_scale_ends_at_the_largest_weight_and_lifts_the_small_ones():
    weights = np.tril(np.full((4, 4), 0.04))
    (image,) = attention.draw_attention(weights, list("abcd"), power=True).images
    assert image.get_clim() == (0.0, 0.04) and image.norm(0.01) == pytest.approx(0.5)


def test_what_is_no_map_is_refused():
    with pytest.raises(CourseError, match="do not fit 4 tokens"):
        attention.draw_attention(np.eye(3), list("abcd"))
    with pytest.raises(CourseError, match="0 to 1 was wanted"):
        attention.draw_attention(3 * np.eye(3), list("abc"))


def test_chinese_is_drawn_in_a_font_that_has_it_or_missed_with_a_clear_warning(monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(attention, "chinese_font", lambda: None)
        with pytest.warns(UserWarning, match="apt install fonts-noto-cjk"):
            assert attention.fonts_for(["小梅"]) == plots.plt.rcParams["font.family"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            attention.fonts_for(["Mei", "“a”", "␣", "é"])  # no warning where none is needed
    if attention.chinese_font() is None:
        pytest.skip("no font with Chinese characters on this machine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph is a warning
        ax = attention.draw_attention(np.eye(2), ["小梅", "灯"])
        plots.bundle(ax.figure, "two tokens")
