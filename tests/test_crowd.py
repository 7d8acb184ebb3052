"""Glyphs to push together: the scene follows, the detector is asked, and in a browser they follow the mouse."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import run_browser as browsers
import torch

from bigmodel_lib.errors import CourseError
from bigmodel_lib.vision.detection import Detector
from bigmodel_lib.vision.glyphs import CLASSES, FONTS, glyph_bank, poses
from bigmodel_lib.vision.models import image_config
from bigmodel_lib.viz.crowd import Crowd, finds


def glyphs():
    where = poses(np.random.default_rng(0), np.array([16.0, 20.0]), np.array([[14, 12], [32, 30]]), 48)
    return glyph_bank()[[3 * len(FONTS), 20 * len(FONTS)]], torch.from_numpy(where)


def answers(scene):
    """Two queries at the corners of the ink: one sure, one less so."""
    assert scene.shape == (48, 48)
    looks = torch.zeros(2, 12, 12)
    looks[0, 3, 3] = looks[1, 7, 8] = 1.0
    return [["3", 0.9, 0.3, 0.25, 0.3, 0.3], ["M", 0.4, 0.65, 0.65, 0.3, 0.4]], looks


def test_glyphs_are_where_their_poses_put_them_and_move_with_their_places():
    toy = Crowd(answers, *glyphs())
    assert np.allclose(toy.places, [[14, 12], [32, 30]], atol=1e-3)
    toy.noise.zero_()
    before = toy.scene()
    asked = []
    toy.answer = lambda scene: asked.append(scene) or answers(scene)
    toy.places = [[14, 22], [32, 30]]
    after = toy.scene()
    assert (
        len(asked) == 1
        and (before[:20, :24] > 0.5).any()
        and torch.allclose(before[36:, 36:], after[36:, 36:], atol=0.01)
    )
    rows = (before[:, :22].amax(dim=1) > 0.5).nonzero().min(), (after[:, :22].amax(dim=1) > 0.5).nonzero().min()
    assert rows[1] - rows[0] == 10


def test_it_shows_what_is_sure_enough_the_surest_first():
    toy = Crowd(answers, *glyphs(), title="a title")
    assert toy.sure() == [0]
    toy.threshold = 0.3
    assert toy.sure() == [0, 1] and toy.maps[1][7, 8] == 1
    figure, alt = toy.picture()
    assert "3 0.90, M 0.40" in alt and len(figure.axes) == 2
    assert {text.get_text() for text in figure.axes[0].texts} == {"3 0.90", "M 0.40"}
    plt.close(figure)
    with pytest.raises(CourseError, match="as many poses"):
        Crowd(answers, glyphs()[0][:1], glyphs()[1])


def test_a_detector_answers_with_all_its_queries_and_their_looks():
    detector = Detector(image_config(33, 144, d_model=16, n_layers=2, n_heads=2, d_ff=16), width=8).eval()
    rows, looks = finds(detector, CLASSES)(torch.rand(48, 48))
    assert len(rows) == 16 and looks.shape == (16, 12, 12) and looks.amax(dim=(1, 2)).eq(1).all()
    assert all(name in CLASSES and 0 <= score <= 1 for name, score, *_ in rows)


@pytest.fixture
def opened(alone):
    return lambda toy, **more: alone(toy, ".bm-crowd-view", **more)


@pytest.mark.parametrize("theme, width", [("LIGHT", 900), ("DARK", 900), ("LIGHT", 400)])
def test_in_a_browser_a_glyph_follows_the_mouse_and_a_name_shows_its_look(opened, theme, width):
    page, watch = opened(Crowd(answers, *glyphs()), theme=getattr(browsers, theme), width=width)
    assert page.locator(".bm-crowd-names button").count() == 1
    box = page.locator(".bm-crowd-view").bounding_box()
    scale = box["width"] / 48
    page.mouse.move(box["x"] + 14 * scale, box["y"] + 12 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 20 * scale, box["y"] + 40 * scale, steps=4)
    page.mouse.up()
    assert np.allclose(page.evaluate("state.places"), [[20, 40], [32, 30]], atol=0.6)
    page.wait_for_function("saved > 0")
    page.locator(".bm-crowd-view").focus()
    page.keyboard.press("ArrowUp")
    assert np.allclose(page.evaluate("state.places[0]"), [20, 39], atol=0.6)
    page.locator(".bm-crowd-names button").click()
    assert page.evaluate("state.chosen") == 0
    page.get_by_label("score at least").press("Home")
    assert page.locator(".bm-crowd-names button").count() == 2
    assert "2 boxes shown of 2 answers. Orange: where query 0 looks." in page.locator(".bm-crowd-says").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=browsers.SHOTS / f"crowd_{theme.lower()}_{width}.png", full_page=True)
    page.evaluate("stop()")
    assert watch.errors == watch.strangers == []
