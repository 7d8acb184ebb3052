"""Anna's gaze in a real browser: drawing, dragging, keys, swapping; `make test-browser` runs this file, too."""

import numpy as np
import pytest
import run_browser as browsers

PLANE = {"Anna": (2, 0), "lamp": (0, 2), "she": (1, 0), "it": (0, 1), "dropped": (0.1, 0.1), "the": (0, 0.2)}
SENTENCES = {"she": ["Anna", "dropped", "the", "lamp", "she"], "it": ["Anna", "dropped", "the", "lamp", "it"]}


@pytest.fixture
def opened(alone):
    """A function (shows, theme, width) -> (page, watch, the widget's twin in Python) of a page with it alone."""
    from bigmodel_lib.viz.gaze import AnnasGaze

    def open_gaze(shows="weights", theme=browsers.LIGHT, width=900):
        widget = AnnasGaze(PLANE, SENTENCES, {"she": (2, 0), "it": (0, 2)}, shows=shows)
        return *alone(widget, ".bm-gaze-bar", theme, width), widget

    return open_gaze


def bars(page):
    return page.evaluate("[...document.querySelectorAll('.bm-gaze-bar')].map((bar) => +bar.dataset.value)")


def in_step(page, widget):
    """Whether the page shows what Python computes from the page's own query."""
    widget.chosen, widget.query = page.evaluate("state.chosen"), page.evaluate("state.query.map(Number)")
    widget.tau = page.evaluate("state.tau")
    return np.abs(np.array(bars(page)) - widget.selection[widget.shows]).max() < 1e-9


@pytest.mark.parametrize("theme, width", [("LIGHT", 900), ("DARK", 900), ("LIGHT", 400)])
@pytest.mark.parametrize("shows", ["scores", "weights"])
def test_it_draws_in_both_themes_and_does_not_scroll_sideways(opened, shows, theme, width):
    page, watch, widget = opened(shows, getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert in_step(page, widget) and page.locator(".bm-gaze-heat").is_visible() == (shows == "weights")
    assert page.locator("rect.bm-gaze-output").count() == (shows == "weights")
    page.screenshot(path=browsers.SHOTS / f"gaze_{shows}_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []


def test_a_drag_moves_query_arcs_bars_and_output_together(opened):
    page, watch, widget = opened()
    before = page.locator("rect.bm-gaze-output").get_attribute("y")
    box = page.locator(".bm-gaze-plane").bounding_box()
    unit, middle = 48 / 320 * box["width"], (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(middle[0] + 2 * unit, middle[1])
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 2 * unit, steps=5)
    page.mouse.up()
    assert np.allclose(page.evaluate("state.query"), [0, 2], atol=0.051)
    assert in_step(page, widget) and int(np.argmax(bars(page))) == 3
    widths = page.evaluate(
        "[...document.querySelectorAll('.bm-gaze-arc')].map((a) => [+a.dataset.to, +a.getAttribute('stroke-width')])"
    )
    assert max(widths, key=lambda pair: pair[1])[0] == 3
    assert page.locator("rect.bm-gaze-output").get_attribute("y") != before
    assert "“she” looks most at “lamp”" in page.locator(".bm-gaze-says").inner_text()
    page.wait_for_function("saved > 0")
    assert watch.errors == []


def test_swapping_the_pronoun_changes_sentence_and_query_and_no_key(opened):
    page, _, widget = opened()
    keys = page.locator("line.bm-gaze-key").count()
    page.locator(".bm-gaze-swap button").nth(1).click()
    assert page.evaluate("[state.chosen, ...state.query]") == [1, 0, 2] and in_step(page, widget)
    assert page.locator(".bm-gaze-arcs text.bm-gaze-asks").inner_html() == "it"
    assert page.locator("line.bm-gaze-key").count() == keys
    assert page.locator('[aria-checked="true"]').inner_text() == "it …"


def test_it_can_be_played_with_keys_alone(opened):
    page, _, widget = opened()
    page.locator(".bm-gaze-handle").focus()
    for _ in range(20):
        page.keyboard.press("ArrowUp")
    assert np.allclose(page.evaluate("state.query"), [2, 2]) and in_step(page, widget)
    assert "a tie" in page.locator(".bm-gaze-says").inner_text()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("state.query[0]") == 3  # not out of the plane
    page.locator(".bm-gaze-heat input").focus()
    page.keyboard.press("End")
    assert page.evaluate("state.tau") == 4 and in_step(page, widget)


def test_what_can_be_used_has_a_name_and_what_changes_is_said(opened):
    page, _, _ = opened()
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input, [role=slider], [role=img]")]
      .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim())).length""")
    assert unnamed == 0 and page.locator(".bm-gaze-says").get_attribute("aria-live") == "polite"
    assert page.locator(".bm-gaze-handle").get_attribute("aria-valuetext") == "person 2.00, thing 0.00"
    page.evaluate("stop()")


def test_what_the_kernel_changes_is_drawn(opened):
    page, _, widget = opened()
    page.evaluate("model.set('query', [0, 0])")
    assert in_step(page, widget) and "no preference" in page.locator(".bm-gaze-says").inner_text()
