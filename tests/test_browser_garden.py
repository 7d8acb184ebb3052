"""The garden of futures in a real browser: drawing, pruning, clicking, undoing; `make test-browser` runs it, too."""

import pytest
import run_browser as browsers
import torch


@pytest.fixture
def opened(alone):
    """A function (theme, width) -> (page, watch, the widget's twin in Python) of a page with it alone."""
    from bigmodel_lib.text.sources import data_path
    from bigmodel_lib.training.checkpoints import load_model
    from bigmodel_lib.viz.garden import Garden

    def open_garden(theme=browsers.LIGHT, width=1000):
        torch.manual_seed(0)
        widget = Garden(*load_model(data_path("tiny_gpt2")), "Anna was in the hall . Ben was")
        return *alone(widget, ".bm-garden svg path", theme, width), widget

    return open_garden


def drawn(page):
    return page.evaluate("[...document.querySelectorAll('.bm-garden [data-way]')].map((g) => g.dataset.way)")


def answer(page, widget):
    """Let Python do what the page asked for, as a kernel would."""
    widget.ask = page.evaluate("state.ask")
    for name in ("written", "tree", "prompt"):
        page.evaluate("([name, value]) => model.set(name, value)", [name, getattr(widget, name)])


def in_step(page, widget):
    """Whether the page shows the ways that Python finds with the page's settings."""
    from bigmodel_lib.viz.garden import ways

    found = ways(widget.tree, *page.evaluate("[state.temperature, state.top_p]"))
    wanted = {".".join(map(str, way[:depth])) for way, _ in found for depth in range(1, len(way) + 1)}
    return set(drawn(page)) == wanted


@pytest.mark.parametrize("theme, width", [("LIGHT", 1000), ("DARK", 1000), ("LIGHT", 400)])
def test_it_draws_in_both_themes_and_does_not_scroll_sideways(opened, theme, width):
    page, watch, widget = opened(getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert in_step(page, widget) and page.locator(".bm-garden-p").count() == 10
    page.screenshot(path=browsers.SHOTS / f"garden_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []


def test_the_sliders_prune_it_without_the_kernel(opened):
    page, watch, widget = opened()
    page.get_by_label("top-p").focus()
    page.keyboard.press("Home")
    assert in_step(page, widget) and page.locator(".bm-garden-p").count() < 10
    assert page.locator(".bm-garden-cut").count() > 0
    page.keyboard.press("End")
    page.get_by_label("temperature").focus()
    page.keyboard.press("Home")
    assert len(drawn(page)) == 5 and "One future" in page.locator(".bm-garden-says").inner_text()
    look = "[...document.querySelectorAll('.bm-garden path')].map((p) => +p.getAttribute('stroke-width'))"
    widths = page.evaluate(look)
    assert set(widths) == {27.5} and watch.errors == []


def test_a_click_writes_up_to_the_word_and_undo_takes_it_back(opened):
    page, watch, widget = opened()
    before = page.locator(".bm-garden-text").inner_text()
    way = max(drawn(page), key=len)
    page.locator(f"[data-way='{way}'] text").click()
    assert page.evaluate("state.ask.way.join('.')") == way
    answer(page, widget)
    assert page.locator(".bm-garden-text").inner_text() == before + widget.written[0]["text"]
    assert in_step(page, widget) and "1 in " in page.locator(".bm-garden-says").inner_text()
    page.get_by_role("button", name="undo").click()
    answer(page, widget)
    assert page.locator(".bm-garden-text").inner_text() == before and widget.written == []
    assert page.get_by_role("button", name="undo").is_disabled() and watch.errors == []


def test_it_draws_draws_again_and_begins_another_text(opened):
    page, watch, widget = opened()
    page.get_by_role("button", name="one sentence").click()
    answer(page, widget)
    first = widget.text
    assert page.locator(".bm-garden-drawn").count() == 1
    page.get_by_role("button", name="again").click()
    answer(page, widget)
    assert widget.text != first and len(widget.written) == 1
    page.get_by_label("another beginning").fill("Ben had a")
    page.keyboard.press("Enter")
    answer(page, widget)
    assert page.locator(".bm-garden-text").inner_text() == "Ben had a" and in_step(page, widget)
    assert watch.errors == []


def test_what_can_be_used_has_a_name_and_can_be_reached_by_key(opened):
    page, _, widget = opened()
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input, [role=button]")]
      .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim())).length""")
    assert unnamed == 0 and page.locator(".bm-garden-says").get_attribute("aria-live") == "polite"
    page.locator("[data-way='0']").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("state.ask.do") == "write"
    page.evaluate("stop()")
