"""The sheet to draw on: it asks the model, shows what comes back, and in a browser follows the mouse."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import run_browser as browsers
import torch

from bigmodel_lib.vision.models import PatchTransformer, image_config
from bigmodel_lib.viz.sketch import SEVEN, SIDE, Sketch, reads, stroke


def reader():
    torch.manual_seed(0)
    model = PatchTransformer(image_config(12, 49, d_model=16, n_layers=2, n_heads=2, d_ff=16), 4).eval()
    torch.nn.init.normal_(model.w_out)
    return model


def sketch():
    return Sketch(reads(reader(), "0123456789AB"), title="What it says")


def test_a_line_is_dark_along_its_way_and_the_sheet_empty_elsewhere():
    ink = stroke(((4, 10), (20, 10)))
    assert ink.shape == (SIDE, SIDE) and (ink[10, 4:21] == 1).all()
    assert ink[:7].sum() == ink[14:].sum() == 0 and ink[10, 24:].sum() == 0


def test_it_asks_with_what_was_drawn_and_shows_the_five_likeliest_digits():
    toy = sketch()
    assert np.abs(toy.sheet - stroke(SEVEN)).max() < 0.01
    names, shares = zip(*toy.bars, strict=True)
    assert len(names) == 5 and set(names) <= set("0123456789") and sorted(shares, reverse=True) == list(shares)
    assert toy.grid == [2, 2, 7] and len(toy.maps) == 2 * 2 * 49 * 49 and len(toy.seen) == SIDE * SIDE
    before = toy.bars
    toy.set_state({"pixels": memoryview((255 * stroke(((14, 3), (14, 25)))).astype(np.uint8).tobytes())})  # as Lab does
    assert toy.bars != before


def test_the_drawing_is_read_in_the_middle_wherever_it_was_drawn():
    answer = reads(reader(), "0123456789AB")
    one, other = (answer(stroke(((x, 5), (x, 15))))["seen"] for x in (4, 22))
    assert torch.equal(one, other)
    rows, columns = (one > 0.5).nonzero(as_tuple=True)
    assert abs(rows.float().mean() - 13.5) < 1 and abs(columns.float().mean() - 13.5) < 1 and np.ptp(rows.numpy()) >= 17


def test_an_empty_sheet_is_shown_to_nobody():
    toy = Sketch(lambda sheet: pytest.fail("asked"), np.zeros((SIDE, SIDE)))
    assert toy.bars == [] and toy.seen == toy.maps == b""
    toy = sketch()
    toy.pixels = bytes(SIDE * SIDE)
    assert toy.bars == [] and toy.seen == b""


def test_its_picture_has_the_sheet_what_is_read_the_look_and_bars_or_drawings():
    figure, alt = sketch().picture()
    assert len(figure.axes) == 3 and len(alt) > 30
    plt.close(figure)
    toy = Sketch(lambda sheet: {"drawn": np.zeros((6, 8, 8))})
    figure, _ = toy.picture()
    assert len(figure.axes) == 7 and toy.drawn_side == 8
    plt.close(figure)


@pytest.fixture
def opened(alone):
    return lambda toy, theme=browsers.LIGHT, width=1000: alone(toy, ".bm-sketch-sheet", theme, width)


@pytest.mark.parametrize("theme, width", [("LIGHT", 1000), ("DARK", 1000), ("LIGHT", 400)])
def test_in_a_browser_it_draws_follows_the_mouse_and_points(opened, theme, width):
    toy = sketch()
    page, watch = opened(toy, theme=getattr(browsers, theme), width=width)
    page.evaluate("model.set('point', [1, 0, 24])")
    assert page.locator(".bm-sketch-bars div").count() == 5
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=browsers.SHOTS / f"sketch_{theme.lower()}_{width}.png", full_page=True)
    page.get_by_role("button", name="clear").click()
    assert page.evaluate("new Uint8Array(state.pixels.buffer ?? state.pixels).every((x) => x === 0)")
    box = page.locator(".bm-sketch-sheet").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 120, steps=4)
    page.mouse.up()
    ink = np.array(page.evaluate("[...new Uint8Array(state.pixels.buffer)]")).reshape(SIDE, SIDE)
    assert (ink[13, 6:20] > 200).all() and ink[:9].sum() == ink[17:].sum() == 0
    look = page.locator(".bm-sketch-seen").bounding_box()
    page.mouse.move(look["x"] + 5, look["y"] + 5)
    assert page.evaluate("state.point") == [1, 0, 0]
    page.locator(".bm-sketch-seen").focus()
    page.keyboard.press("ArrowDown")
    assert (
        page.evaluate("state.point") == [1, 0, 7] and "Row 1, column 0" in page.locator(".bm-sketch-says").inner_text()
    )
    page.get_by_label("layer and head").select_option("1")
    assert page.evaluate("state.point") == [0, 1, 7]
    assert watch.errors == watch.strangers == []


def test_in_a_browser_drawings_of_the_model_s_are_shown(opened):
    page, watch = opened(Sketch(lambda sheet: {"drawn": np.tile(np.linspace(0, 1, 8), (6, 8, 1))}))
    assert page.locator(".bm-sketch-drawn canvas").count() == 6 and page.locator(".bm-sketch-seen").is_hidden()
    page.screenshot(path=browsers.SHOTS / "sketch_drawn.png", full_page=True)
    assert watch.errors == watch.strangers == []
