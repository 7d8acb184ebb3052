"""The explorer in a real browser, alone: drawing, mouse, keys, zoom, what is saved. `make test-browser` runs this file.

Light and dark screenshots are written to runs/browser/.
"""

import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.viz.explorer import AttentionExplorer

PAPER = "getComputedStyle(document.querySelector('.bm-explorer')).backgroundColor"
L, H, T = 4, 4, 64  # of the benchmark
TIME = "document.querySelector('#here').dataset.{}"


def state(rows=L, columns=H, method="weights", words=None, **more):
    words = words or (["<story>"] + ["Anna", "took", "the", "lamp", "to", "the", "kitchen", "."] * 8)[:T]
    n, rng = len(words), np.random.default_rng(0)
    maps = np.exp(3 * rng.standard_normal((rows, columns, n, n))) * np.tri(n)
    maps = np.rint(65_535 * np.sqrt(maps / maps.sum(axis=-1, keepdims=True))).astype("<u2")
    values = dict(titles=["one", "another"], tokens=words, grid=[rows, columns], maps=maps.tobytes(), method=method,
                  layer=1, head=2, query=10, story=0, text="", message="")  # fmt: skip
    return {**values, "only": False, "kept": {}, **more}, maps


@pytest.fixture
def opened(alone):
    """A function (state, theme, width) -> (page, watch) of a page with the explorer alone."""

    def open_explorer(values, theme=browsers.LIGHT, width=1100):
        return alone(AttentionExplorer, ".bm-text span", theme, width, values)

    return open_explorer


@pytest.mark.parametrize("theme, width", [("LIGHT", 1100), ("DARK", 1100), ("LIGHT", 400), ("DARK", 400)])
def test_it_draws_in_both_themes_and_at_400_pixels_without_scrolling_sideways(opened, theme, width):
    page, watch = opened(state()[0], getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".bm-wall button").count() == L * H and page.locator(".bm-text span").count() == T
    for selector in (".bm-bar select", ".bm-map", ".bm-methods button >> nth=3"):
        box = page.locator(selector).bounding_box()
        assert box["width"] > 40 and box["x"] >= 0 and box["x"] + box["width"] <= width
    page.screenshot(path=browsers.SHOTS / f"explorer_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []


def luminance(rgb):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.asarray(rgb) / 255]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ratio(one, other):
    """How well one colour stands out from another, by WCAG 2.2: 1 to 21."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def contrast(page, selector, behind):
    """The ratio of WCAG 2.2 between a text's colour and what lies behind it."""
    style = "([a, b]) => [getComputedStyle(document.querySelector(a)).color, {}]".format(
        "getComputedStyle(document.querySelector(b)).backgroundColor"
    )
    return ratio(*(browsers.numbers(colour)[:3] for colour in page.evaluate(style, [selector, behind])))


@pytest.mark.parametrize("theme", ["LIGHT", "DARK"])
def test_words_stand_out_enough_in_both_themes(opened, theme):
    page, _ = opened(state()[0], getattr(browsers, theme))
    chosen = ".bm-methods button[aria-checked=true]"
    for selector, behind in ((".bm-explorer",) * 2, (".bm-says", ".bm-explorer"), (chosen, chosen)):
        assert contrast(page, selector, behind) > 4.5, selector
    values, _ = state(1, 1, words=[f"w{i}" for i in range(52)], layer=0, head=0, query=0)
    every_shade = np.tile(257 * np.arange(0, 256, 5, dtype="<u2"), (52, 1))
    page, _ = opened({**values, "maps": every_shade.tobytes()}, getattr(browsers, theme))
    paper = browsers.numbers(page.evaluate(PAPER))[:3]
    look = "[...document.querySelectorAll('.bm-text span')].map((s) => [getComputedStyle(s).color, {}])"
    for ink, shade in page.evaluate(look.format("getComputedStyle(s).backgroundColor")):
        *colour, share = [*browsers.numbers(shade), 1][:4]
        behind = share * np.array(colour) + (1 - share) * np.array(paper)
        assert ratio(browsers.numbers(ink)[:3], behind) > 3.6, (ink, shade)


def test_the_first_drawing_takes_less_than_200_ms_and_a_hover_less_than_16(opened):
    """At its best of several times: the other process of a test run may be busy meanwhile."""
    first = min(float(opened(state()[0])[0].evaluate(TIME.format("firstMs"))) for _ in range(3))
    assert first < 200
    page, times = opened(state()[0])[0], []
    for place in list(range(0, T, 5)) * 2:
        page.locator(".bm-text span").nth(place).hover()
        times.append(float(page.evaluate(TIME.format("hoverMs"))))
    print(f"first drawing {first} ms, hover {np.median(times)} ms, the median of {len(times)}")
    assert np.quantile(times, 0.25) < 16


def test_before_anything_is_touched_words_can_be_read(opened):
    values, _ = state(1, 1, words=list("abcd"), layer=0, head=0, query=3)
    page, _ = opened({**values, "maps": np.full(16, 10_000, dtype="<u2").tobytes()})
    page.wait_for_timeout(100)
    inks = page.evaluate("[...document.querySelectorAll('.bm-text span')].map((s) => getComputedStyle(s).color)")
    assert set(inks) == {"rgb(33, 33, 33)"}


def test_a_hover_shows_the_row_of_that_token_and_tells_the_kernel(opened):
    values, maps = state()
    page, _ = opened(values)
    for place in (5, 30, 63):
        page.locator(".bm-text span").nth(place).hover()
        assert np.abs(np.array(browsers.shades(page)) - maps[1, 2, place] / 65_535).max() < 0.001  # a row, not a column
        best = values["tokens"][int(maps[1, 2, place].argmax())]
        assert page.locator(".bm-says").inner_text().startswith(f"“{values['tokens'][place]}” looks at “{best}”")
        assert page.evaluate("state.query") == place
    page.wait_for_function("saved > 0")


def test_pixels_of_the_large_map_are_queries_by_keys(opened):
    words = [f"w{i}" for i in range(6)]
    values, _ = state(1, 1, words=words, layer=0, head=0, query=0)
    map_ = np.zeros((6, 6), dtype="<u2")
    map_[4, 1] = 65_535
    page, _ = opened({**values, "maps": map_.tobytes()})
    bright = page.evaluate("""() => {
      const c = document.querySelector(".bm-map"), p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
      let x = 0, y = 0, n = 0;
      for (let i = 0; i < p.length; i += 4) {
        if (p[i] < 230 || p[i + 1] < 200 || p[i + 2] > 90) continue;
        n += 1; x += (i / 4) % c.width; y += Math.floor(i / 4 / c.width);
      }
      return [x / n / c.width, y / n / c.height];
    }""")
    assert bright[0] < 0.5 < bright[1]  # left and low: key 1, query 4
    box = page.locator(".bm-map").bounding_box()
    page.mouse.move(box["x"] + bright[0] * box["width"], box["y"] + bright[1] * box["height"])
    assert page.evaluate("state.query") == 4 and browsers.shades(page) == [0, 1, 0, 0, 0, 0]


def test_a_click_on_a_small_map_enlarges_it(opened):
    values, maps = state()
    page, _ = opened(values)
    page.locator('[data-map="3.1"]').click()
    assert page.evaluate("[state.layer, state.head]") == [3, 1]
    assert "layer 3, head 1" in page.locator(".bm-name").inner_text()
    assert page.locator('.bm-wall [aria-checked="true"]').get_attribute("data-map") == "3.1"
    assert np.abs(np.array(browsers.shades(page)) - maps[3, 1, 10] / 65_535).max() < 0.001


def test_everything_can_be_done_by_keyboard(opened):
    values, _ = state()
    page, _ = opened(values)
    page.locator(".bm-text span").nth(10).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("state.query") == 12
    page.keyboard.press("End")
    assert page.evaluate("state.query") == T - 1
    page.keyboard.press("Tab")  # the tokens are one stop, the thumbnails the next
    assert page.evaluate("document.activeElement.dataset.map") == "1.2"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("[state.layer, state.head]") == [2, 1]
    page.locator('.bm-methods [aria-checked="true"]').focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("state.method") == "rollout"
    page.locator(".bm-bar input").fill("Ben had a cup.")
    page.keyboard.press("Enter")
    assert page.evaluate("state.text") == "Ben had a cup."
    page.locator(".bm-bar select").select_option("another")
    assert page.evaluate("state.story") == 1


def test_every_control_has_a_name_for_screen_readers_and_what_changes_is_said(opened):
    page, _ = opened(state()[0])
    unnamed = page.evaluate("""() =>
      [...document.querySelectorAll("button, select, input, [role=listbox], [role=radiogroup], [role=img]")]
      .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim())).map((n) => n.outerHTML)""")
    assert unnamed == []
    assert page.locator(".bm-says").get_attribute("aria-live") == "polite"
    assert "layer 1, head 2: a map of 64 by 64 tokens" in page.locator(".bm-map").get_attribute("aria-label").replace(
        "weights · ", ""
    )


@pytest.mark.parametrize("rows, columns, method", [(4, 1, "rollout"), (1, 1, "gradient"), (4, 4, "knockout")])
def test_other_methods_have_other_walls_and_say_what_they_are(opened, rows, columns, method):
    page, watch = opened(state(rows, columns, method, layer=9, head=9)[0])
    assert page.locator(".bm-wall button").count() == rows * columns
    assert page.locator(".bm-wall").is_visible() == (rows * columns > 1)
    assert method in page.locator(".bm-name").inner_text() and watch.errors == []
    page.screenshot(path=browsers.SHOTS / f"explorer_{rows}x{columns}.png", full_page=True)


def seen(page):
    """(rows, keys) of the large map that are in view."""
    return [int(number) for number in page.locator(".bm-map").get_attribute("data-seen").split(" × ")]


def test_zoom_shows_a_part_that_can_be_dragged_and_hovered(opened):
    values, _ = state()
    page, watch = opened(values)
    assert seen(page) == [T, T]
    page.locator('[data-tool="in"]').click()
    page.locator('[data-tool="in"]').click()
    rows, keys = seen(page)
    assert rows == keys < T / 2
    box = page.locator(".bm-map").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    first = page.evaluate("state.query")
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 100, steps=4)
    page.mouse.up()
    page.mouse.move(*middle)
    page.mouse.move(middle[0] + 1, middle[1])
    assert page.evaluate("state.query") > first
    for _ in range(4):
        page.locator('[data-tool="out"]').click()
    assert seen(page) == [T, T] and watch.errors == []


def test_the_rows_that_matter_are_those_that_python_would_show(opened):
    from bigmodel_lib.viz.attention import rows_that_matter

    values, maps = state()
    page, watch = opened(values)
    page.get_by_label("only the rows that matter").check()
    wanted = np.union1d(rows_that_matter((maps[1, 2] / 65_535.0) ** 2, 12), [10])
    assert seen(page) == [len(wanted), T] and page.evaluate("state.only") is True
    box = page.locator(".bm-map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 6)
    assert page.evaluate("state.query") == wanted[-1] and watch.errors == []


def test_pictures_are_saved_as_they_are_seen(opened, tmp_path):
    page, watch = opened(state(1, 1, words=["a", "<b>", "c"], layer=0, head=0, query=2)[0])
    for kind, begins in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with page.expect_download() as download:
            page.locator(f'[data-tool="{kind}"]').click()
        download.value.save_as(tmp_path / kind)
        assert (tmp_path / kind).read_bytes().startswith(begins)
    drawn = (tmp_path / "svg").read_text(encoding="utf-8")
    assert drawn.count("<rect") == 10 and "&lt;b>" in drawn and watch.errors == []


def test_a_saved_page_opens_from_disk_without_a_network_and_plays(chromium, random_model, tmp_path):
    from bigmodel_lib.text.tokenizers import WordTokenizer

    words = WordTokenizer(["Anna", "took", "the", "lamp", "."])
    model = random_model(0, vocab_size=5)
    explorer = AttentionExplorer(model, words, {"Anna </script>": "Anna took the lamp ."}, method="rollout", layer=1)
    explorer.method = "weights"
    (tmp_path / "map.html").write_text(explorer.saved_page(), encoding="utf-8")
    context = chromium.new_context(offline=True)
    page = context.new_page()
    watch = browsers.Watch(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "map.html").as_uri())
    page.wait_for_selector(".bm-text span")
    assert page.locator(".bm-wall button").count() == 4 and page.locator(".bm-bar").count() == 0
    page.locator(".bm-text span").nth(3).hover()
    best = explorer.tokens[int(explorer.shown[3].argmax())]
    assert page.locator(".bm-says").inner_text().startswith(f"“lamp” looks at “{best}” {explorer.shown[3].max():.2f}")
    page.locator('[data-method="rollout"]').click()
    assert page.locator(".bm-wall button").count() == 2 and not page.locator('[data-method="knockout"]').is_visible()
    assert page.locator('[data-tool="html"]').count() == 0
    assert asked == [(tmp_path / "map.html").as_uri()] and watch.errors == []
    page.screenshot(path=browsers.SHOTS / "explorer_saved.png", full_page=True)
    context.close()


def test_another_text_is_drawn_when_it_comes_and_chinese_and_signs_are_shown(opened):
    page, watch = opened(state()[0])
    words = ["从前", "有", "\n", "<script>alert(1)</script>", " "]
    new, _ = state(2, 2, words=words)
    del new["maps"]
    page.evaluate("""(values) => { Object.assign(state, values);
      model.set("maps", new DataView(new Uint16Array(100).fill(23000).buffer)); }""", new)  # fmt: skip
    assert page.locator(".bm-text span").all_inner_texts() == ["从前", "有", "⏎", "<script>alert(1)</script>", "␣"]
    assert page.locator(".bm-wall button").count() == 4 and watch.errors == []
    page.evaluate("stop()")
