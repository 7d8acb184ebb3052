"""The company in a real browser: drawing, its sliders, its ways; `make test-browser` runs this file, too."""

import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.viz.company import FIELDS, Company, cash, money

PLAN = dict(price=0.05, requests=300e3, growth=0.08, fall=0.02, cost=0.00675, fixed=24000.0, one_off=20e3)
WAYS = {"large API": PLAN, "small API": {**PLAN, "cost": 0.000396}}
WAYS |= {"fine-tune": {**PLAN, "cost": 0.0, "fixed": 26555.0, "one_off": 54e3}}


@pytest.fixture
def opened(alone):
    """A function (theme, width) -> (page, watch) of a page with the company alone."""
    return lambda theme=browsers.LIGHT, width=820: alone(Company(WAYS), ".bm-company-says b", theme, width)


def says(page):
    return page.locator(".bm-company-says").inner_text()


def in_step(page):
    """Whether the page says what Python computes from the page's own numbers."""
    line = cash({name: page.evaluate(f"state.{name}") for name in FIELDS})
    kind = "Profit" if line[-1] >= 0 else "Loss"
    text = f"{kind} after two years: {money(line[-1])}. It needs {money(-line.min())} before it pays back "
    text += f"(month {line.argmin()})."
    return says(page).startswith(text), (says(page), text)


@pytest.mark.parametrize("theme, width", [("LIGHT", 820), ("DARK", 820), ("LIGHT", 400)])
def test_it_draws_in_both_themes_and_does_not_scroll_sideways(opened, theme, width):
    page, watch = opened(getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".bm-company input[type=range]").count() == len(FIELDS)
    good, words = in_step(page)
    assert good, words
    page.screenshot(path=browsers.SHOTS / f"company_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []


def test_one_slider_turns_profit_into_loss(opened):
    page, watch = opened()
    assert says(page).startswith("Profit")
    slider = page.get_by_label("price of a request", exact=True)
    for _ in range(5):
        slider.press("ArrowLeft")
    assert np.isclose(page.evaluate("state.price"), 0.045) and says(page).startswith("Loss")
    good, words = in_step(page)
    assert good, words
    slider.press("Home")
    assert "Each request loses money" in says(page)
    page.wait_for_function("saved > 0")
    assert watch.errors == []


def test_a_way_brings_its_own_numbers(opened):
    page, watch = opened()
    page.get_by_role("button", name="fine-tune").click()
    for name in FIELDS:
        assert page.evaluate(f"state.{name}") == WAYS["fine-tune"][name]
    pressed = page.locator(".bm-company-ways button[aria-pressed=true]").all_inner_texts()
    good, words = in_step(page)
    assert good and pressed == ["fine-tune"] and watch.errors == [], words
