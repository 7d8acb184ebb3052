"""In a real browser: the explorer alone, then notebooks in JupyterLab. `make test-browser` runs this file.

Light and dark screenshots are written to runs/browser/. Whatever cannot be run here says why it was skipped.
"""

import os
import re

import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.viz.timeline import Timeline

pytestmark = [
    pytest.mark.skipif(not os.environ.get("COURSE_BROWSER"), reason="in a browser: make test-browser"),
    pytest.mark.skipif(bool(browsers.why_not()), reason=browsers.why_not() or "nothing is missing"),
]
NAMES = [path.name for path in sorted((browsers.ROOT / "notebooks").glob("*.ipynb"))]
TOYS = "widgets|stepper|every_number|valley|gaze|guessing|timeline|roofline|garden|growing|sketch|company"
TOYS += "|chat|company|surgeon|threshold|sketch"
PLAYED = re.compile(rf"ipywidgets|bigmodel_lib\.viz\.({TOYS})")
WIDGETS = [  # 00, and every notebook that has something to play with; 09 has tests of its own
    name
    for name in NAMES
    if name.startswith("00")
    or (PLAYED.search((browsers.ROOT / "notebooks" / name).read_text(encoding="utf-8")) and not name.startswith("09"))
]
L, H, T = 4, 4, 64  # of the benchmark


@pytest.fixture(scope="module")
def chromium():
    browsers.SHOTS.mkdir(parents=True, exist_ok=True)
    with browsers.chromium() as browser:
        yield browser


# The explorer alone, on a model object that keeps what is set


def state(rows=L, columns=H, method="weights", words=None, **more):
    words = words or (["<story>"] + ["Anna", "took", "the", "lamp", "to", "the", "kitchen", "."] * 8)[:T]
    n, rng = len(words), np.random.default_rng(0)
    maps = np.exp(3 * rng.standard_normal((rows, columns, n, n))) * np.tri(n)
    maps = np.rint(65_535 * np.sqrt(maps / maps.sum(axis=-1, keepdims=True))).astype("<u2")
    values = dict(titles=["one", "another"], tokens=words, grid=[rows, columns], maps=maps.tobytes(), method=method,
                  layer=1, head=2, query=10, story=0, text="", message="")  # fmt: skip
    return {**values, "only": False, "alone": False, "kept": {}, **more}, maps


@pytest.fixture
def opened(chromium):
    """A function (state, theme, width) -> (page, watch) of a page with the explorer alone."""
    contexts = []

    def open_page(values, theme=browsers.LIGHT, width=1100):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 1000}))
        page = contexts[-1].new_page()
        watch = browsers.Watch(page)
        page.set_content(browsers.page_with_explorer(values, theme))
        page.wait_for_selector(".bm-text span")
        return page, watch

    yield open_page
    for context in contexts:
        context.close()


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


def numbers(colour):
    return [float(v) for v in colour[colour.index("(") + 1 : -1].split(",")]


def contrast(page, selector, behind):
    """The ratio of WCAG 2.2 between a text's colour and what lies behind it."""
    style = "([a, b]) => [getComputedStyle(document.querySelector(a)).color, {}]".format(
        "getComputedStyle(document.querySelector(b)).backgroundColor"
    )
    return ratio(*(numbers(colour)[:3] for colour in page.evaluate(style, [selector, behind])))


@pytest.mark.parametrize("theme", ["LIGHT", "DARK"])
def test_words_stand_out_enough_in_both_themes(opened, theme):
    page, _ = opened(state()[0], getattr(browsers, theme))
    chosen = ".bm-methods button[aria-checked=true]"
    for selector, behind in ((".bm-explorer",) * 2, (".bm-says", ".bm-explorer"), (chosen, chosen)):
        assert contrast(page, selector, behind) > 4.5, selector
    values, _ = state(1, 1, words=[f"w{i}" for i in range(52)], layer=0, head=0, query=0)
    every_shade = np.tile(257 * np.arange(0, 256, 5, dtype="<u2"), (52, 1))
    page, _ = opened({**values, "maps": every_shade.tobytes()}, getattr(browsers, theme))
    paper = numbers(page.evaluate("getComputedStyle(document.querySelector('.bm-explorer')).backgroundColor"))[:3]
    look = "[...document.querySelectorAll('.bm-text span')].map((s) => [getComputedStyle(s).color, {}])"
    for ink, shade in page.evaluate(look.format("getComputedStyle(s).backgroundColor")):
        *colour, share = [*numbers(shade), 1][:4]
        behind = share * np.array(colour) + (1 - share) * np.array(paper)
        assert ratio(numbers(ink)[:3], behind) > 3.6, (ink, shade)


def test_the_first_drawing_takes_less_than_200_ms_and_a_hover_less_than_16(opened):
    page, _ = opened(state()[0])
    first = float(page.evaluate("document.querySelector('#here').dataset.firstMs"))
    assert first < 200
    times = []
    for place in list(range(0, T, 5)) * 2:
        page.locator(".bm-text span").nth(place).hover()
        times.append(float(page.evaluate("document.querySelector('#here').dataset.hoverMs")))
    quick = np.quantile(times, 0.25)  # the others may have waited for whatever else the machine does
    print(f"first drawing {first} ms, hover {quick} ms, a quarter of {len(times)} took less")
    assert quick < 16


def shades(page):
    return page.evaluate("[...document.querySelectorAll('.bm-text span')].map((s) => +s.style.getPropertyValue('--w'))")


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
        assert np.abs(np.array(shades(page)) - maps[1, 2, place] / 65_535).max() < 0.001  # a row, not a column
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
    assert page.evaluate("state.query") == 4 and shades(page) == [0, 1, 0, 0, 0, 0]


def test_a_click_on_a_small_map_enlarges_it(opened):
    values, maps = state()
    page, _ = opened(values)
    page.locator('[data-map="3.1"]').click()
    assert page.evaluate("[state.layer, state.head]") == [3, 1]
    assert "layer 3, head 1" in page.locator(".bm-name").inner_text()
    assert page.locator('.bm-wall [aria-checked="true"]').get_attribute("data-map") == "3.1"
    assert np.abs(np.array(shades(page)) - maps[3, 1, 10] / 65_535).max() < 0.001


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
    from bigmodel_lib.viz.explorer import AttentionExplorer

    words = WordTokenizer(["Anna", "took", "the", "lamp", "."])
    model = random_model(0, vocab_size=5)
    explorer = AttentionExplorer(model, words, {"Anna </script>": "Anna took the lamp ."}, method="rollout", layer=1)
    explorer.method = "weights"
    explorer.save(tmp_path / "map.html")
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


# Notebooks in JupyterLab


@pytest.fixture(scope="module")
def lab():
    with browsers.jupyterlab() as found:
        yield found


def failures(page):
    """What cells wrote as errors."""
    return page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()


@pytest.mark.parametrize("name", WIDGETS)
def test_a_notebook_runs_in_jupyterlab_without_an_error_or_a_request_off_loopback(chromium, lab, name):
    page, watch = browsers.open_and_run(chromium, lab[0], name)
    assert failures(page) == watch.errors == watch.strangers == []
    assert page.locator(".jp-OutputArea-output img").count() >= 1
    if name.startswith("02"):  # its game is played at once
        assert page.locator(".bm-game .bm-word").count() == 8
        page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
        page.locator(".bm-game .bm-go").click()
        wait_for(page, lambda words: browsers.ask_kernel(lab[1], words), "game.bets", [[0, 0, [0] * 8]])
    page.screenshot(path=browsers.SHOTS / f"{name.split('_')[0]}_light.png")
    page.context.close()


PICTURES = """(selector) => [...document.querySelectorAll(selector + " img")].map((img) => img.src)"""
SHOWN = """([words, times]) => [...document.querySelectorAll(".jp-RenderedMarkdown")]
  .filter((one) => one.textContent.includes(words)).length === times"""
NOTES = ("This is a picture of the widget. Run the cell to use it.", "Run the cell to get it back")


@pytest.mark.parametrize("name, widget", [
    ("01_attention_formula.ipynb", ".bm-gaze"), ("09_attention_maps.ipynb", ".bm-explorer"),
])  # fmt: skip
def test_a_saved_widget_opened_without_its_kernel_shows_its_picture(chromium, name, widget):
    with browsers.jupyterlab() as (address, _):
        page, _ = browsers.open_and_run(chromium, address, name)
        page.locator(widget).first.wait_for(state="attached")
        live = page.evaluate(PICTURES, widget)
        browsers.save_and_shut_down(page, address)
        outputs = [output for cell in browsers.saved_cells(address, name) for output in cell.get("outputs", [])]
        kept = sum(NOTES[0] in output.get("data", {}).get("text/markdown", "") for output in outputs)
        page, watch = browsers.open_notebook(chromium, address, name)
        note = page.get_by_text(NOTES[0])
        assert kept >= 2  # in each of these notebooks two things can be played with
        page.wait_for_function(SHOWN, arg=[NOTES[0], kept])
        page.wait_for_timeout(3000)  # the error would come after two seconds
        assert page.get_by_text(NOTES[1]).count() == 0
        assert page.get_by_text(re.compile("displaying widget|[Ll]oading widget|model not found")).count() == 0
        cell = page.locator(".jp-CodeCell", has=note).first
        cell.scroll_into_view_if_needed()
        (picture,) = cell.locator("img").all()
        assert picture.evaluate("async (img) => { await img.decode(); return img.naturalWidth > 300; }")
        if live:  # the slider has drawn the whole picture, and it is the one that stays
            assert [picture.get_attribute("src")] == live
        page.screenshot(path=browsers.SHOTS / f"{name[:2]}_reopened.png")
        assert watch.errors == watch.strangers == []
        page.context.close()


def test_the_stepper_steps_plays_and_takes_another_choice(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "00_start_here.ipynb")
    says, written = page.locator(".bm-stepper-says"), page.locator(".bm-stepper-text [role=option]")
    says.scroll_into_view_if_needed()
    for _ in range(5):
        page.locator("[title='one token on']").click()
    assert says.inner_text().startswith("Token 6 of 80") and page.locator(".bm-stepper-later").count() == 74
    page.locator(".bm-stepper").press("ArrowLeft")
    assert says.inner_text().startswith("Token 5 of 80")
    before = written.all_inner_texts()
    page.locator(".bm-stepper-bars button").nth(3).click()
    page.wait_for_function(
        "(old) => document.querySelector('.bm-stepper-says').textContent !== old", arg=says.inner_text()
    )
    after = written.all_inner_texts()
    assert after[:4] == before[:4] and after[4] != before[4] and len(after) == 80
    page.locator(".bm-stepper").press("ArrowLeft")
    page.locator(".bm-stepper").get_by_text("▶ play").click()
    page.wait_for_function("document.querySelector('.bm-stepper-says').textContent.startsWith('Token 6 ')")
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "00_stepper.png")
    page.context.close()


def test_pointing_at_a_number_lights_what_it_was_made_of(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "03_mlp_attention_numpy.ipynb")

    def lit():
        return {cell.get_attribute("data-at") for cell in page.locator(".bm-every .bm-from").all()}

    says = page.locator(".bm-every-says")
    says.scroll_into_view_if_needed()
    for at, made_of in (
        ("S,2,0", {"Q,2,0", "Q,2,1", "K,0,0", "K,0,1"}),
        ("x₁,2,1", {"x₀,2,1", "a,2,1"}),
        ("r,2,0", {"h,2,0"}),
        ("A,1,0", {"S,1,0", "S,1,1", "S,1,2"}),
        ("h,2,0", {f"n₂,2,{i}" for i in range(5)} | {f"W_up,{i},0" for i in range(5)}),
        ("E,0,2", set()),
    ):
        page.locator(f"[data-at='{at}']").hover()
        assert lit() == made_of, at
    page.locator("[data-at='x₁,2,1']").click()
    page.locator(".bm-every-bar select").nth(0).select_option("very")
    assert page.locator(".bm-every-guess").inner_text() == "→ smiles (97 %)"
    assert "0 + 0 = 0" in says.inner_text() or "0 + 0.00 = 0.00" in says.inner_text()
    assert browsers.ask_kernel(lab[1], "[toy.sentence, toy.chosen]") == ["very very good", ["x₁", 2, 1]]
    page.locator(".bm-every-poster").press("ArrowLeft")
    assert "column “good”" in says.inner_text()
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "03_every_number.png")
    page.context.close()


def test_the_valley_walks_from_where_one_clicks_and_says_who_left_the_map(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "04_backprop_numpy.ipynb")
    says, canvas = page.locator(".bm-valley-says"), page.locator(".bm-valley-map")
    says.scroll_into_view_if_needed()
    settled = "(start) => document.querySelector('.bm-valley-says').textContent.startsWith(start)"
    page.wait_for_function(settled, arg="After 40 steps")
    ends = browsers.ask_kernel(lab[1], "[float(height(*p[-1])) for p in valley.paths().values()]")
    found = [float(number) for number in re.findall(r"(?:descent|momentum|Adam) ([\d.e-]+)", says.inner_text())]
    assert found == [pytest.approx(end, rel=0.05) for end in ends]
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.7, "y": box["height"] * 0.25})
    page.wait_for_function(settled, arg="After 40 steps")
    assert browsers.ask_kernel(lab[1], "valley.start") == [pytest.approx(2.0, abs=0.05), pytest.approx(1.6, abs=0.05)]
    page.get_by_label("learning rate", exact=True).press("End")
    page.wait_for_function("document.querySelector('.bm-valley-says').textContent.includes('descent has left the map')")
    page.get_by_label("the valley’s tilt").press("Home")
    page.get_by_label("the valley’s tilt").press("ArrowRight")  # which JupyterLab would take for itself
    page.wait_for_timeout(500)  # on its way to the kernel
    assert browsers.ask_kernel(lab[1], "[valley.lr, valley.tilt]") == [0.12, 0.02]
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "04_valley.png")
    page.context.close()


def test_a_future_that_is_clicked_is_written_and_undone(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "08_generation.ipynb")
    garden = page.locator(".bm-garden").first
    garden.scroll_into_view_if_needed()
    assert browsers.ask_kernel(lab[1], "garden.written") == []
    before = garden.locator(".bm-garden-text").inner_text()
    garden.locator(".bm-garden-next button").nth(1).click()
    wait_for(page, lambda words: browsers.ask_kernel(lab[1], words), "len(garden.written)", 1)
    page.wait_for_function("(old) => document.querySelector('.bm-garden-text').innerText.length > old", arg=len(before))
    written = browsers.ask_kernel(lab[1], "garden.written[0]['text']")
    assert garden.locator(".bm-garden-text").inner_text() == before + written
    garden.get_by_label("temperature").press("Home")
    wait_for(page, lambda words: browsers.ask_kernel(lab[1], words), "garden.temperature", 0)
    assert garden.locator(".bm-garden-p").count() == 1
    garden.get_by_role("button", name="undo").click()
    wait_for(page, lambda words: browsers.ask_kernel(lab[1], words), "len(garden.written)", 0)
    assert failures(page) == watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "08_garden.png")
    page.context.close()


def test_the_chat_answers_about_a_story_that_the_reader_changed(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "07_finetuning.ipynb")
    chat = page.locator(".bm-chat").first
    chat.scroll_into_view_if_needed()
    assert chat.locator(".bm-chat-turn").count() == 1
    assert chat.locator(".bm-chat-after p").first.inner_text() == "in the attic"
    story = chat.get_by_label("the story")
    story.fill(story.input_value().replace("took the lamp to the attic", "took the lamp to the hall"))
    chat.get_by_label("your question").press("Enter")
    wait_for(page, lambda words: browsers.ask_kernel(lab[1], words), "len(chat.turns)", 2)
    assert browsers.ask_kernel(lab[1], "'lamp to the hall' in chat.story")
    page.wait_for_function("document.querySelectorAll('.bm-chat-turn').length === 2")
    assert chat.locator(".bm-chat-after p").nth(1).inner_text() == "in the hall"
    assert failures(page) == watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "07_chat.png")
    page.context.close()


def test_the_film_is_scrubbed_in_the_kernel_as_well(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "06_pretraining.ipynb")
    toy = page.locator(".bm-grow")
    toy.scroll_into_view_if_needed()
    toy.get_by_text("first closed quotation mark").click()
    there = "[growing.frame, growing.prompt] in [mark[1:] for mark in growing.bookmarks if 'quotation' in mark[0]]"
    wait_for(page, lambda words: browsers.ask_kernel(lab[1], words), there, True)
    assert page.locator(".bm-grow-closed").count() >= 2
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "06_growing.png")
    page.context.close()


SAYS = "(words) => document.querySelector('.bm-timeline-says').textContent.includes(words)"


def test_the_timeline_says_what_its_python_twin_computes(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "05_pytorch_gpu.ipynb")
    says = page.locator(".bm-timeline-says")
    says.scroll_into_view_if_needed()
    presets = {"tiny kernels": (12, 2.0, 0), "tiny kernels, .item()": (12, 2.0, 1), "big kernels": (8, 40.0, 0),
               "big kernels, .item()": (8, 40.0, 1)}  # fmt: skip
    for name, (kernels, work, every) in presets.items():
        page.get_by_role("button", name=name, exact=True).click()
        line = Timeline(kernels=kernels, launch=7.0, work=work, every=every)
        page.wait_for_function(
            SAYS, arg=f"Done after {line.seconds:.0f} µs. The GPU works {int(100 * line.busy + 0.5)} %"
        )
        page.wait_for_timeout(500)  # on its way to the kernel
        assert browsers.ask_kernel(lab[1], "[line.seconds, line.busy]") == [line.seconds, line.busy]
        assert page.locator(".bm-timeline-lanes rect[fill='#56b4e9']").count() == kernels
        assert page.locator(".bm-timeline-lanes rect[fill='#888888']").count() == (kernels if every else 0)
    page.get_by_label(".item() after every").press("Home")
    page.wait_for_function(SAYS, arg="Python waits 0 µs")
    page.wait_for_timeout(500)
    assert browsers.ask_kernel(lab[1], "line.every") == 0
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "05_timeline.png")
    page.context.close()


def test_the_roofline_says_what_the_kernel_computes_and_its_star_can_be_dragged(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "05b_gpu_up_close.ipynb")
    says, canvas = page.locator(".bm-roof-says"), page.locator(".bm-roof-map")
    says.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.bm-roof-says').textContent.includes('(1, 4096)')")
    assert "Memory sets the pace" in says.inner_text() and "at most 0.296 %" in says.inner_text()
    moving, computing = browsers.ask_kernel(lab[1], "list(roofline.times())")
    clocks = page.locator(".bm-roof-bar > span:last-child").all_inner_texts()
    unit = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3}
    shown = [float(number) * unit[name] for number, name in map(str.split, clocks)]
    assert shown == [pytest.approx(moving, rel=0.01), pytest.approx(computing, rel=0.01)]
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.wait_for_function("document.querySelector('.bm-roof-says').textContent.includes('Arithmetic sets the pace')")
    assert browsers.ask_kernel(lab[1], "roofline.m") > 404
    page.locator(".bm-roof").get_by_role("button", name="H200").click()
    page.locator(".bm-roof").get_by_role("button", name="float32", exact=True).click()
    page.locator(".bm-roof").get_by_role("button", name="8192³").click()
    page.wait_for_function("document.querySelector('.bm-roof-says').textContent.includes('(8192, 8192) in float32')")
    assert browsers.ask_kernel(lab[1], "roofline.n") == 8192
    page.get_by_label("rows, m").press("ArrowLeft")
    page.wait_for_function("document.querySelector('.bm-roof-says').textContent.includes('(6889, 8192)')")
    wanted = ["H200", "float32", 6889, 8192, 8192]
    assert browsers.ask_kernel(lab[1], "[roofline.card, roofline.format, roofline.m, roofline.k, roofline.n]") == wanted
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "05b_roofline.png")
    page.context.close()


def longest_blank(frame):
    """The longest run of rows without anything on them, as a share of the notebook's height on the screen."""
    rows = frame[120:-40, 420:-60]
    longest = run = 0
    for blank in rows.max(axis=1) - rows.min(axis=1) < 12:
        run = run + 1 if blank else 0
        longest = max(longest, run)
    return longest / len(rows)


def test_a_part_that_is_switched_off_changes_the_story(chromium, lab):
    page, watch = browsers.open_and_run(chromium, lab[0], "03_mlp_attention_numpy.ipynb")
    positions = page.get_by_role("button", name="positions")
    positions.scroll_into_view_if_needed()
    cell = page.locator(".jp-CodeCell", has=positions)
    cell.get_by_text("That evening Ben was still sad.").wait_for()
    positions.click()
    cell.get_by_text("Anna put down the hall.").wait_for()
    page.screenshot(path=browsers.SHOTS / "03_surgery.png")
    positions.click()
    cell.get_by_text("That evening Ben was still sad.").wait_for()
    assert watch.errors == watch.strangers == []
    page.context.close()


def test_the_longest_notebook_scrolls_without_blank_stretches(chromium, lab):
    cells = {name: len(browsers.saved_cells(lab[0], name)) for name in NAMES}
    page, _ = browsers.open_notebook(chromium, lab[0], max(cells, key=cells.get))
    page.wait_for_selector(".jp-Notebook .jp-RenderedMarkdown h1")
    page.mouse.move(800, 500)

    def scroll():
        for _ in range(40):
            page.mouse.wheel(0, 600)
            page.wait_for_timeout(30)
        for place in (0.1, 0.7, 0.3, 0.9, 0.5, 1.0):
            page.evaluate("(x) => { const a = document.querySelector('.jp-WindowedPanel-outer'); "
                          "a.scrollTop = x * a.scrollHeight; }", place)  # fmt: skip
            page.wait_for_timeout(500)

    blanks = [longest_blank(frame) for frame in browsers.frames_while(page, scroll)]
    page.screenshot(path=browsers.SHOTS / "scrolled.png")
    assert len(blanks) > 10 and max(blanks) < 0.3, blanks
    page.context.close()


@pytest.fixture(scope="module")
def ninth(chromium, lab):
    """Notebook 09 with all cells run, in the light theme: (page, watch, ask)."""
    page, watch = browsers.open_and_run(chromium, lab[0], "09_attention_maps.ipynb")
    page.locator(".bm-explorer").scroll_into_view_if_needed()
    page.wait_for_selector(".bm-text span")
    return page, watch, lambda expression: browsers.ask_kernel(lab[1], expression)


def wait_for(page, ask, expression, wanted, seconds=browsers.PATIENCE):
    """The value of an expression in the kernel, once it is as wanted."""
    for _ in range(4 * seconds):
        if (value := ask(expression)) == wanted:
            return value
        page.wait_for_timeout(250)
    raise AssertionError(f"{expression} is {value!r}, {wanted!r} was wanted")


def test_the_ninth_runs_without_an_error_and_draws_its_explorer_from_the_kernel(ninth):
    page, watch, ask = ninth
    assert failures(page) == watch.errors == watch.strangers == []
    assert page.locator(".bm-text span").all_inner_texts() == [token.strip() for token in ask("list(explorer.tokens)")]
    assert page.locator(".bm-wall button").count() == 24
    page.locator(".bm-explorer").screenshot(path=browsers.SHOTS / "09_explorer_light.png")


def test_in_the_ninth_a_hover_reaches_the_kernel_and_shows_what_the_kernel_has(ninth):
    page, _, ask = ninth
    for place in (8, 4):
        page.locator(".bm-text span").nth(place).hover()
        wait_for(page, ask, "explorer.query", place)
        row = ask("[float(v) ** 0.5 for v in explorer.shown[explorer.query]]")
        assert np.abs(np.array(shades(page)) - row).max() < 0.002
        assert ask("explorer.selection['token'].strip()") in page.locator(".bm-says").inner_text()


def test_in_the_ninth_widgets_compute_in_the_thread_of_the_cells(ninth):
    """Two threads that draw with Matplotlib at the same time leave half a picture."""
    page, _, ask = ninth
    page.locator(".bm-text span").nth(7).hover()
    wait_for(page, ask, "explorer.query", 7)
    assert ask("[t.name for t in __import__('threading').enumerate() if t.name.startswith('subshell')]") == []


def test_in_the_ninth_a_click_and_keys_choose_head_and_token_in_the_kernel(ninth):
    page, watch, ask = ninth
    page.locator('[data-map="0.1"]').click()
    wait_for(page, ask, "(explorer.layer, explorer.head)", (0, 1))
    page.keyboard.press("ArrowDown")
    wait_for(page, ask, "(explorer.layer, explorer.head)", (1, 1))
    assert "layer 1, head 1" in page.locator(".bm-name").inner_text()
    page.locator(".bm-text span").nth(3).click()
    page.keyboard.press("ArrowRight")
    page.mouse.move(2, 2)
    wait_for(page, ask, "explorer.query", 4)
    assert watch.errors == []


def test_in_the_ninth_every_method_is_computed_and_drawn(ninth):
    page, watch, ask = ninth
    for method, maps in (("rollout", 6), ("gradient", 1), ("knockout", 24), ("weights", 24)):
        page.locator(f'[data-method="{method}"]').click()
        wait_for(page, ask, "explorer.method", method)
        page.wait_for_function(f"document.querySelectorAll('.bm-wall button').length === {maps}")
        assert method in page.locator(".bm-name").inner_text()
    assert watch.errors == []


def test_in_the_ninth_the_page_that_is_saved_comes_from_the_kernel(ninth, tmp_path):
    page, watch, ask = ninth
    with page.expect_download() as download:
        page.locator('.bm-explorer [data-tool="html"]').click()
    download.value.save_as(tmp_path / "map.html")
    saved = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert saved.startswith("<!doctype html>") and len(saved) == ask("len(explorer.saved_page())")
    assert watch.errors == []


def test_in_the_ninth_a_typed_text_is_read_in_whole_characters_and_a_long_one_is_refused(ninth):
    page, _, ask = ninth
    page.locator(".bm-bar input").fill("Anna said 你好")
    page.keyboard.press("Enter")
    wait_for(page, ask, "explorer.tokens[-2:]", ["你", "好"])
    page.wait_for_function("document.querySelectorAll('.bm-text span')[3]?.textContent.length === 1")
    page.locator(".bm-bar input").fill("she " * 300)
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.bm-message').textContent.includes('2 to 256')")
    page.locator(".bm-bar select").select_option(index=1)
    page.wait_for_function("document.querySelectorAll('.bm-text span').length === 9")
    assert ask("explorer.story") == 1


def test_in_the_ninth_the_surgeon_does_in_the_browser_what_the_kernel_says(ninth):
    page, watch, ask = ninth
    surgeon = page.locator(".bm-surgeon")
    surgeon.scroll_into_view_if_needed()
    surgeon.locator('[data-act="carry"]').click()
    surgeon.locator('[data-head="1.3"]').click()
    wait_for(page, ask, "surgeon.selection['head']", [1, 3])
    before, after = ask("[surgeon.selection['before'], surgeon.selection['after']]")
    signed = [f"{value:+.2f}".replace("-", "−") for value in (before, after)]
    assert " → ".join(signed) in surgeon.locator(".bm-surgeon-says").inner_text()
    surgeon.locator('[data-sentence="0"]').click()
    wait_for(page, ask, "surgeon.selection['sentence']", "she")
    shown = [float(row.get_attribute("data-value")) for row in surgeon.locator(".bm-surgeon-bar").all()]
    assert shown == pytest.approx(ask("list(surgeon.after[0][1][1][3])"), abs=1e-9)
    surgeon.locator(".bm-surgeon-reveal").click()
    wait_for(page, ask, "surgeon.seen", True)
    surgeon.screenshot(path=browsers.SHOTS / "09_surgeon.png")
    surgeon.locator(".bm-surgeon-back").click()
    wait_for(page, ask, "list(surgeon.head)", [])
    assert watch.errors == watch.strangers == []


def test_the_ninth_in_the_dark(chromium):
    with browsers.jupyterlab("JupyterLab Dark") as (address, _):
        page, watch = browsers.open_and_run(chromium, address, "09_attention_maps.ipynb")
        page.locator(".bm-explorer").scroll_into_view_if_needed()
        page.wait_for_selector(".bm-text span")
        page.locator(".bm-text span").nth(5).hover()
        assert page.evaluate("document.body.dataset.jpThemeLight") == "false"
        paper = numbers(page.evaluate("getComputedStyle(document.querySelector('.bm-explorer')).backgroundColor"))
        assert max(paper[:3]) < 60 and failures(page) == watch.errors == watch.strangers == []
        page.locator(".bm-explorer").screenshot(path=browsers.SHOTS / "09_explorer_dark.png")
