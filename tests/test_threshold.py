"""The threshold to move: what it says is what counting says, in Python and in a real browser."""

import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.threshold import Threshold

RNG = np.random.default_rng(0)
ILL = (RNG.random(60) < 0.4).astype(int)
RISKS = np.round(np.clip(RNG.normal(0.25 + 0.5 * ILL, 0.25), 0.001, 0.999), 3)


def test_its_words_are_what_counting_says():
    said = Threshold(ILL, RISKS, threshold=0.3).words()
    found = sum(p >= 0.3 for p, is_ill in zip(RISKS, ILL, strict=True) if is_ill)
    needless = sum(p >= 0.3 for p, is_ill in zip(RISKS, ILL, strict=True) if not is_ill)
    worth = (found - needless * 0.3 / 0.7) / len(ILL)
    assert f"{found} of {ILL.sum()} found, {ILL.sum() - found} missed, {needless} needless" in said
    assert f"net benefit {worth:.3f}" in said


def test_its_picture_shows_everybody_once():
    figure, alt = Threshold(ILL, RISKS).picture()
    assert sum(len(dots.get_offsets()) for dots in figure.axes[0].collections) == len(ILL) and len(alt) > 30


def test_labels_and_risks_of_different_lengths_are_refused():
    with pytest.raises(CourseError, match="as many labels as risks"):
        Threshold([0, 1], [0.5])


@pytest.mark.parametrize("theme, width", [("LIGHT", 900), ("DARK", 900), ("LIGHT", 400)])
def test_it_follows_the_slider_and_the_mouse(alone, theme, width):
    widget = Threshold(ILL, RISKS)
    page, watch = alone(widget, ".bm-threshold circle", getattr(browsers, theme), width)
    assert page.locator(".bm-threshold circle").count() == len(ILL)
    for key in ("Home", "End"):
        page.get_by_label("threshold", exact=True).press(key)
        widget.threshold = page.evaluate("state.threshold")
        counts = widget.words().split(": ")[1].split(";")[0]
        assert counts in page.locator(".bm-threshold-says").inner_text()
    box = page.locator(".bm-threshold-map").bounding_box()
    page.mouse.click(box["x"] + box["width"] * (84 + 311) / 720, box["y"] + 20)  # the middle of the axis
    assert page.evaluate("state.threshold") == pytest.approx(0.5, abs=0.011)
    wrong = ((RISKS >= page.evaluate("state.threshold")) != ILL).sum()
    assert page.locator(".bm-threshold circle.bm-wrong").count() == wrong
    page.screenshot(path=browsers.SHOTS / f"threshold_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []
