"""Growing up: its twin shows four moments, and in a browser one slider moves everything."""

import ipywidgets
import pytest
import run_browser as browsers

from bigmodel_lib.viz.growing import GrowingUp, duration, moments

WRITTEN = [  # (seconds, real words, closed quotations, two samples)
    (0, 0.4, None, ["ows rest � whil", "pp ing."]),
    (20, 0.6, 0.2, ['the "r" is lampf', "and of and of."]),
    (80, 0.95, 0.3, ['and said, "I am the', 'the "lamp" was']),
    (300, 0.98, 0.9, ["the door.\nAnna said", '"Come," said Anna, "it is late."\n"No']),
    (600, 0.99, 1.0, ["the lamp.\nShe went down to the hall.", '"Yes," said Ben.']),
]

MARKS = [["first words", 2, 0], ["first closed quotation mark", 3, 1], ["first sentence", 4, 0]]


def film_of(written=WRITTEN, marks=MARKS):
    maps = [[[1.0], [0.75, 0.25], [0.5, 0.25, 0.25]], [[1.0], [0.04, 0.96]]]
    frames = [
        dict(step=10 * i, seconds=seconds, tokens=20480 * i, loss=None, val_nats_per_char=2.5 - 0.25 * i, maps=maps,
             samples=samples, next=[[0.1 * i, 0.3], [0.5, 0.02 * i]], real_words=real, closed_quotes=closed)
        for i, (seconds, real, closed, samples) in enumerate(written)
    ]  # fmt: skip
    return dict(
        prompts=["Anna opened", "It was late"], sentences=[["Anna", " dropped", " it"], ['"', "Yes"]],
        heads=[[0, 1], [2, 0]], next=[["in her", [" hand", " eyes"]], ["said", ["\n", " he"]]],
        bookmarks=marks, frames=frames,
    )  # fmt: skip


@pytest.fixture(scope="module")
def film():
    return film_of()


def test_four_moments_are_printed_the_first_the_last_and_bookmarks(film):
    assert moments(film) == [0, 2, 3, 4]
    assert moments(film_of(marks=[])) == [0, 1, 3, 4]
    assert moments(film_of(WRITTEN[:2], [])) == [0, 1]
    assert (duration(40), duration(5400)) == ("40 s", "90 min")


def test_its_twin_shows_four_moments_of_the_chosen_prompt(film):
    rows = GrowingUp(film, prompt=1).picture()[0].axes
    assert len(rows) == 12
    texts = [axes.texts[0].get_text() for axes in rows[::3]]
    assert texts == [film["frames"][i]["samples"][1].strip() for i in (0, 2, 3, 4)]
    titles = [axes.get_title(loc="left") for axes in rows[::3]]
    assert titles[2] == "after 5 min, 61,440 tokens: 1.75 nats per character"


@pytest.mark.parametrize(
    "frames, order",
    [
        ((2, 3, 4), "First words, then first closed quotation mark, then first sentence"),
        ((2, 3, 3), "First words, then first closed quotation mark and first sentence"),
        ((2, 4, 3), "First words, then first sentence, then first closed quotation mark"),
        ((), "From the beginning to the end"),
    ],
)
def test_its_title_says_in_which_order_things_came(frames, order):
    marks = [[name, frame, prompt] for (name, _, prompt), frame in zip(MARKS, frames, strict=False)]
    assert GrowingUp(film_of(marks=marks)).picture()[0].get_suptitle() == f"{order}: what follows “Anna opened”"


def test_the_twin_is_beside_it_where_no_kernel_runs(monkeypatch, film):
    shown, widget = [], GrowingUp(film)
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    widget._ipython_display_()
    view = shown[0]["application/vnd.jupyter.widget-view+json"]
    assert shown[0]["image/png"] and ipywidgets.widgets.widget._instances[view["model_id"]] is widget


# In a browser


@pytest.fixture
def opened(alone):
    return lambda film, theme, width=900: alone(GrowingUp(film), ".bm-grow-map td[title]", theme, width)


@pytest.mark.parametrize("theme, width", [("LIGHT", 900), ("DARK", 900), ("LIGHT", 400), ("DARK", 400)])
def test_it_fits_in_both_themes_and_at_400_pixels(opened, film, theme, width):
    page, watch = opened(film, getattr(browsers, theme), width)
    page.get_by_text("first closed quotation mark").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=browsers.SHOTS / f"growing_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []


def test_one_slider_moves_sample_losses_map_and_bars(opened, film):
    page, watch = opened(film, browsers.LIGHT)
    says, sample = page.locator(".bm-grow-says"), page.locator(".bm-grow-sample")
    slider = page.get_by_label("moment of the training")
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert says.inner_text() == (
        "After 80 s and 40,960 tokens: 2.00 nats per character, real words 95 %, quotations closed: 30 %."
    )
    assert sample.inner_text() == 'Anna openedand said, "I am the'
    assert page.locator(".bm-grow-open").count() == 1 and page.locator(".bm-grow-closed").count() == 0
    assert page.locator(".bm-grow-bars em").all_inner_texts() == ["0.20", "0.30"]
    page.get_by_text("first closed quotation mark").click()
    assert page.evaluate("[state.frame, state.prompt]") == [3, 1] and slider.input_value() == "3"
    assert page.locator(".bm-grow-closed").count() == 4 and page.locator(".bm-grow-open").count() == 1
    page.locator(".bm-grow-choice").nth(1).get_by_role("radio").nth(1).click()
    assert page.locator(".bm-grow-map td[title]").count() == 3
    assert page.locator(".bm-grow-map td[title]").last.get_attribute("title") == "Yes looks at Yes: 0.96"
    chart = page.locator(".bm-grow-chart").bounding_box()
    page.mouse.click(chart["x"] + 0.99 * chart["width"], chart["y"] + 20)
    assert page.evaluate("state.frame") == 4
    page.get_by_label("play or pause").click()
    page.wait_for_function("state.frame === 1")
    page.get_by_label("play or pause").click()
    assert watch.errors == watch.strangers == []
