"""The surgeon in a real browser, alone: drawing, clicking, keys; `make test-browser` runs this file, too."""

import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.text.tokenizers import WordTokenizer

WORDS = WordTokenizer(["<s>", "Anna", "Ben", "took", "it", "she", "was", "tired", "heavy", "dark", "."])


@pytest.fixture
def opened(alone, random_model):
    """A function (theme, width) -> (page, watch, the widget's twin in Python)."""
    from bigmodel_lib.viz.surgeon import Surgeon

    def open_surgeon(theme=browsers.LIGHT, width=900):
        sentences = {"she": "Anna took it she was", "it": "Anna took it it was"}
        surgeon = Surgeon(random_model(0, scale=0.4), WORDS, sentences, ["tired", "heavy", "dark"])
        return *alone(surgeon, ".bm-surgeon-bar", theme, width), surgeon

    return open_surgeon


def bars(page):
    return [float(row.get_attribute("data-value")) for row in page.locator(".bm-surgeon-bar").all()]


@pytest.mark.parametrize("theme, width", [("LIGHT", 900), ("DARK", 900), ("LIGHT", 400)])
def test_it_draws_in_both_themes_and_does_not_scroll_sideways(opened, theme, width):
    page, watch, surgeon = opened(getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert bars(page) == pytest.approx(surgeon.before[1]) and page.locator("[data-head]").count() == 4
    assert page.locator(".bm-surgeon-text mark").all_inner_texts() == ["it"]
    page.screenshot(path=browsers.SHOTS / f"surgeon_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []


def test_every_click_shows_what_python_has_computed(opened):
    page, watch, surgeon = opened()
    _, change = surgeon.differences()
    for sentence, act, layer, head in np.ndindex(2, 2, 2, 2):
        page.locator(f'[data-sentence="{sentence}"]').click()
        page.locator(f'[data-act="{("silence", "carry")[act]}"]').click()
        button = page.locator(f'[data-head="{layer}.{head}"]')
        button.click()
        assert bars(page) == pytest.approx(surgeon.after[sentence][act][layer][head])
        shown = f"{change[sentence, act, layer, head]:+.2f}".replace("-", "−")
        assert button.inner_text() == shown or float(shown[1:]) == 0
        page.locator(".bm-surgeon-back").click()
        assert bars(page) == pytest.approx(surgeon.before[sentence])
    assert watch.errors == []


def test_heads_keep_their_secret_until_they_are_tried(opened):
    page, _, _ = opened()
    names = [button.inner_text() for button in page.locator("[data-head]").all()]
    assert sorted(names) == ["0.0", "0.1", "1.0", "1.1"]
    page.locator('[data-head="0.1"]').focus()
    page.keyboard.press("Enter")
    after = [button.inner_text() for button in page.locator("[data-head]").all()]
    assert sum(a != b for a, b in zip(names, after, strict=True)) == 1 and page.evaluate("state.head") == [0, 1]
    page.locator(".bm-surgeon-reveal").click()
    assert not {"0.0", "1.0", "1.1"} & {button.inner_text() for button in page.locator("[data-head]").all()}
