"""Notebooks with something to play with, in JupyterLab in a real browser. `make test-browser` runs this file.

Screenshots are written to runs/browser/. Tests of one notebook carry its number as their group: they share one run.
"""

import re

import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.viz.timeline import Timeline

NAMES = [path.name for path in sorted((browsers.ROOT / "notebooks").glob("*.ipynb"))]
TOYS = "|".join(path.stem for path in (browsers.ROOT / "bigmodel_lib" / "viz").glob("*.js"))
PLAYED = re.compile(rf"bigmodel_lib\.viz\.({TOYS})\b")  # a toy of ours; plain sliders are tried in 03
FIRST = {}  # {toy: the number of the first notebook that has it}
for name in NAMES:
    for toy in PLAYED.findall((browsers.ROOT / "notebooks" / name).read_text(encoding="utf-8")):
        FIRST.setdefault(toy, name.split("_")[0])
WIDGETS = sorted({*FIRST.values()}, reverse=True)  # the last notebooks, which take longest, begin first
PICTURES = """(selector) => [...document.querySelectorAll(selector + " img")].map((img) => img.src)"""
PAPER = "getComputedStyle(document.querySelector('.bm-explorer')).backgroundColor"
SHOWN = """([words, times]) => [...document.querySelectorAll(".jp-RenderedMarkdown")]
  .filter((one) => one.textContent.includes(words)).length === times"""
NOTES = ("This is a picture of the widget. Run the cell to use it.", "Run the cell to get it back")


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in WIDGETS])
def test_the_toys_of_a_notebook_run_in_jupyterlab_without_an_error_or_a_request_off_loopback(notebooks, number):
    page, _ = notebooks.run(number)
    assert page.locator(".jp-OutputArea-output [class^='bm-']").count() >= 1
    page.screenshot(path=browsers.SHOTS / f"{number}_light.png")


@pytest.mark.xdist_group("02")
def test_the_game_is_played_at_once(notebooks):
    page, _ = notebooks.run("02")
    assert page.locator(".bm-game .bm-word").count() == 8
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
    page.locator(".bm-game .bm-go").click()
    notebooks.wait_for("game.bets", [[0, 0, [0] * 8]])


@pytest.mark.xdist_group("00")
def test_the_stepper_steps_plays_and_takes_another_choice(notebooks):
    page, watch = notebooks.run("00")
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


@pytest.mark.xdist_group("03")
def test_pointing_at_a_number_lights_what_it_was_made_of(notebooks):
    page, watch = notebooks.run("03")

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
    notebooks.wait_for("[toy.sentence, toy.chosen]", ["very very good", ["x₁", 2, 1]])
    page.locator(".bm-every-poster").press("ArrowLeft")
    assert "column “good”" in says.inner_text()
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "03_every_number.png")


@pytest.mark.xdist_group("04")
def test_the_valley_walks_from_where_one_clicks_and_says_who_left_the_map(notebooks):
    page, watch = notebooks.run("04")
    says, canvas = page.locator(".bm-valley-says"), page.locator(".bm-valley-map")
    says.scroll_into_view_if_needed()
    settled = "(start) => document.querySelector('.bm-valley-says').textContent.startsWith(start)"
    page.wait_for_function(settled, arg="After 40 steps")
    ends = notebooks.ask("[float(height(*p[-1])) for p in valley.paths().values()]")
    found = [float(number) for number in re.findall(r"(?:descent|momentum|Adam) ([\d.e-]+)", says.inner_text())]
    assert found == [pytest.approx(end, rel=0.05) for end in ends]
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.7, "y": box["height"] * 0.25})
    page.wait_for_function(settled, arg="After 40 steps")
    notebooks.wait_for("abs(valley.start[0] - 2.0) < 0.05 and abs(valley.start[1] - 1.6) < 0.05", True)
    page.get_by_label("learning rate", exact=True).press("End")
    page.wait_for_function("document.querySelector('.bm-valley-says').textContent.includes('descent has left the map')")
    page.get_by_label("the valley’s tilt").press("Home")
    page.get_by_label("the valley’s tilt").press("ArrowRight")  # which JupyterLab would take for itself
    notebooks.wait_for("[valley.lr, valley.tilt]", [0.12, 0.02])
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "04_valley.png")


@pytest.mark.xdist_group("08")
def test_a_future_that_is_clicked_is_written_and_undone(notebooks):
    page, watch = notebooks.run("08")
    garden = page.locator(".bm-garden").first
    garden.scroll_into_view_if_needed()
    assert notebooks.ask("garden.written") == []
    before = garden.locator(".bm-garden-text").inner_text()
    garden.locator(".bm-garden-next button").nth(1).click()
    notebooks.wait_for("len(garden.written)", 1)
    page.wait_for_function("(old) => document.querySelector('.bm-garden-text').innerText.length > old", arg=len(before))
    written = notebooks.ask("garden.written[0]['text']")
    assert garden.locator(".bm-garden-text").inner_text() == before + written
    garden.get_by_label("temperature").press("Home")
    notebooks.wait_for("garden.temperature", 0)
    assert garden.locator(".bm-garden-p").count() == 1
    garden.get_by_role("button", name="undo").click()
    notebooks.wait_for("len(garden.written)", 0)
    assert browsers.failures(page) == watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "08_garden.png")


@pytest.mark.xdist_group("07")
def test_the_chat_answers_about_a_story_that_the_reader_changed(notebooks):
    page, watch = notebooks.run("07")
    chat = page.locator(".bm-chat").first
    chat.scroll_into_view_if_needed()
    assert chat.locator(".bm-chat-turn").count() == 1
    assert chat.locator(".bm-chat-after p").first.inner_text() == "in the attic"
    story = chat.get_by_label("the story")
    story.fill(story.input_value().replace("took the lamp to the attic", "took the lamp to the hall"))
    chat.get_by_label("your question").press("Enter")
    notebooks.wait_for("len(chat.turns)", 2)
    assert notebooks.ask("'lamp to the hall' in chat.story")
    page.wait_for_function("document.querySelectorAll('.bm-chat-turn').length === 2")
    assert chat.locator(".bm-chat-after p").nth(1).inner_text() == "in the hall"
    assert browsers.failures(page) == watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "07_chat.png")


@pytest.mark.xdist_group("06")
def test_the_film_is_scrubbed_in_the_kernel_as_well(notebooks):
    page, watch = notebooks.run("06")
    toy = page.locator(".bm-grow")
    toy.scroll_into_view_if_needed()
    toy.get_by_text("first closed quotation mark").click()
    there = "[growing.frame, growing.prompt] in [mark[1:] for mark in film['bookmarks'] if 'quotation' in mark[0]]"
    notebooks.wait_for(there, True)
    assert page.locator(".bm-grow-closed").count() >= 2
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "06_growing.png")


SAYS = "(words) => document.querySelector('.bm-timeline-says').textContent.includes(words)"


@pytest.mark.xdist_group("05")
def test_the_timeline_says_what_its_python_twin_computes(notebooks):
    page, watch = notebooks.run("05")
    says = page.locator(".bm-timeline-says")
    says.scroll_into_view_if_needed()
    presets = {"tiny kernels": (12, 2.0, 0), "tiny kernels, .item()": (12, 2.0, 1), "big kernels": (8, 40.0, 0),
               "big kernels, .item()": (8, 40.0, 1)}  # fmt: skip
    for name, (kernels, work, every) in presets.items():
        page.get_by_role("button", name=name, exact=True).click()
        line = Timeline(kernels=kernels, launch=7.0, work=work, every=every)
        page.wait_for_function(
            SAYS, arg=f"Done after {line.microseconds:.0f} µs. The GPU works {int(100 * line.busy + 0.5)} %"
        )
        notebooks.wait_for("[line.microseconds, line.busy]", [line.microseconds, line.busy])
        assert page.locator(".bm-timeline-lanes rect[fill='#56b4e9']").count() == kernels
        assert page.locator(".bm-timeline-lanes rect[fill='#888888']").count() == (kernels if every else 0)
    page.get_by_label(".item() after every").press("Home")
    page.wait_for_function(SAYS, arg="Python waits 0 µs")
    notebooks.wait_for("line.every", 0)
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "05_timeline.png")


@pytest.mark.xdist_group("05b")
def test_the_roofline_says_what_the_kernel_computes_and_its_star_can_be_dragged(notebooks):
    page, watch = notebooks.run("05b")
    says, canvas = page.locator(".bm-roof-says"), page.locator(".bm-roof-map")
    says.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.bm-roof-says').textContent.includes('(1, 4096)')")
    assert "Memory sets the pace" in says.inner_text() and "at most 0.296 %" in says.inner_text()
    moving, computing = notebooks.ask("list(roofline.times())")
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
    notebooks.wait_for("roofline.m > 404", True)
    page.locator(".bm-roof").get_by_role("button", name="H200").click()
    page.locator(".bm-roof").get_by_role("button", name="float32", exact=True).click()
    page.locator(".bm-roof").get_by_role("button", name="8192³").click()
    page.wait_for_function("document.querySelector('.bm-roof-says').textContent.includes('(8192, 8192) in float32')")
    notebooks.wait_for("roofline.n", 8192)
    page.get_by_label("rows, m").press("ArrowLeft")
    page.wait_for_function("document.querySelector('.bm-roof-says').textContent.includes('(6889, 8192)')")
    wanted = ["H200", "float32", 6889, 8192, 8192]
    notebooks.wait_for("[roofline.card, roofline.format, roofline.m, roofline.k, roofline.n]", wanted)
    assert watch.errors == watch.strangers == []
    page.screenshot(path=browsers.SHOTS / "05b_roofline.png")


def longest_blank(frame):
    """The longest run of rows without anything on them, as a share of the notebook's height on the screen."""
    rows = frame[120:-40, 420:-60]
    longest = run = 0
    for blank in rows.max(axis=1) - rows.min(axis=1) < 12:
        run = run + 1 if blank else 0
        longest = max(longest, run)
    return longest / len(rows)


@pytest.mark.xdist_group("03")
def test_a_slider_draws_its_picture_anew(notebooks):
    page, watch = notebooks.run("03")
    slider = page.locator(".widget-interact .noUi-handle").first
    slider.scroll_into_view_if_needed()
    before = page.evaluate(PICTURES, ".widget-interact")
    slider.press("ArrowRight")
    another = f"(old) => {{ const now = ({PICTURES})('.widget-interact'); return now.length === 1 && now[0] !== old; }}"
    page.wait_for_function(another, arg=before[0])
    assert browsers.failures(page) == watch.errors == []


@pytest.mark.xdist_group("03")
def test_a_part_that_is_switched_off_changes_the_story(notebooks):
    page, watch = notebooks.run("03")
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


def test_the_longest_notebook_scrolls_without_blank_stretches(chromium, notebooks):
    cells = {name: len(browsers.saved_cells(notebooks.address, name)) for name in NAMES}
    page, _ = browsers.open_notebook(chromium, notebooks.address, max(cells, key=cells.get))
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


@pytest.mark.xdist_group("09")
def test_the_ninth_runs_without_an_error_and_draws_its_explorer_from_the_kernel(notebooks):
    page, watch = notebooks.run("09")
    assert browsers.failures(page) == watch.errors == watch.strangers == []
    assert page.locator(".bm-text span").all_inner_texts() == [
        token.strip() for token in notebooks.ask("list(explorer.tokens)")
    ]
    assert page.locator(".bm-wall button").count() == 24
    page.locator(".bm-explorer").screenshot(path=browsers.SHOTS / "09_explorer_light.png")


@pytest.mark.xdist_group("09")
def test_in_the_ninth_a_hover_reaches_the_kernel_and_shows_what_the_kernel_has(notebooks):
    page, _ = notebooks.run("09")
    for place in (8, 4):
        page.locator(".bm-text span").nth(place).hover()
        notebooks.wait_for("explorer.query", place)
        row = notebooks.ask("[float(v) ** 0.5 for v in explorer.shown[explorer.query]]")
        assert np.abs(np.array(browsers.shades(page)) - row).max() < 0.002
        assert notebooks.ask("explorer.selection['token'].strip()") in page.locator(".bm-says").inner_text()


@pytest.mark.xdist_group("09")
def test_in_the_ninth_widgets_compute_in_the_thread_of_the_cells(notebooks):
    """Two threads that draw with Matplotlib at the same time leave half a picture."""
    page, _ = notebooks.run("09")
    page.locator(".bm-text span").nth(7).hover()
    notebooks.wait_for("explorer.query", 7)
    assert notebooks.ask("[t.name for t in __import__('threading').enumerate() if t.name.startswith('subshell')]") == []


@pytest.mark.xdist_group("09")
def test_in_the_ninth_a_click_and_keys_choose_head_and_token_in_the_kernel(notebooks):
    page, watch = notebooks.run("09")
    page.locator('[data-map="0.1"]').click()
    notebooks.wait_for("(explorer.layer, explorer.head)", (0, 1))
    page.keyboard.press("ArrowDown")
    notebooks.wait_for("(explorer.layer, explorer.head)", (1, 1))
    assert "layer 1, head 1" in page.locator(".bm-name").inner_text()
    page.locator(".bm-text span").nth(3).click()
    page.keyboard.press("ArrowRight")
    page.mouse.move(2, 2)
    notebooks.wait_for("explorer.query", 4)
    assert watch.errors == []


@pytest.mark.xdist_group("09")
def test_in_the_ninth_every_method_is_computed_and_drawn(notebooks):
    page, watch = notebooks.run("09")
    for method, maps in (("rollout", 6), ("gradient", 1), ("knockout", 24), ("weights", 24)):
        page.locator(f'[data-method="{method}"]').click()
        notebooks.wait_for("explorer.method", method)
        page.wait_for_function(f"document.querySelectorAll('.bm-wall button').length === {maps}")
        assert method in page.locator(".bm-name").inner_text()
    assert watch.errors == []


@pytest.mark.xdist_group("09")
def test_in_the_ninth_the_page_that_is_saved_comes_from_the_kernel(notebooks, tmp_path):
    page, watch = notebooks.run("09")
    with page.expect_download() as download:
        page.locator('.bm-explorer [data-tool="html"]').click()
    download.value.save_as(tmp_path / "map.html")
    saved = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert saved.startswith("<!doctype html>") and len(saved) == notebooks.ask("len(explorer.saved_page())")
    assert watch.errors == []


@pytest.mark.xdist_group("09")
def test_in_the_ninth_a_typed_text_is_read_in_whole_characters_and_a_long_one_is_refused(notebooks):
    page, _ = notebooks.run("09")
    page.locator(".bm-bar input").fill("Anna said 你好")
    page.keyboard.press("Enter")
    notebooks.wait_for("explorer.tokens[-2:]", ["你", "好"])
    page.wait_for_function("document.querySelectorAll('.bm-text span')[3]?.textContent.length === 1")
    page.locator(".bm-bar input").fill("she " * 300)
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.bm-message').textContent.includes('2 to 256')")
    page.locator(".bm-bar select").select_option(index=1)
    page.wait_for_function("document.querySelectorAll('.bm-text span').length === 9")
    assert notebooks.ask("explorer.story") == 1


@pytest.mark.xdist_group("09")
def test_in_the_ninth_the_surgeon_does_in_the_browser_what_the_kernel_says(notebooks):
    page, watch = notebooks.run("09")
    surgeon = page.locator(".bm-surgeon")
    surgeon.scroll_into_view_if_needed()
    surgeon.locator('[data-act="carry"]').click()
    surgeon.locator('[data-head="1.3"]').click()
    notebooks.wait_for("list(surgeon.head)", [1, 3])
    before = notebooks.ask("float(surgeon.differences()[0][surgeon.sentence])")
    change = notebooks.ask("float(surgeon.differences()[1][surgeon.sentence, 1, 1, 3])")
    signed = [f"{value:+.2f}".replace("-", "−") for value in (before, before + change)]
    assert " → ".join(signed) in surgeon.locator(".bm-surgeon-says").inner_text()
    surgeon.locator('[data-sentence="0"]').click()
    notebooks.wait_for("surgeon.names[surgeon.sentence]", "she")
    shown = [float(row.get_attribute("data-value")) for row in surgeon.locator(".bm-surgeon-bar").all()]
    assert shown == pytest.approx(notebooks.ask("list(surgeon.after[0][1][1][3])"), abs=1e-9)
    surgeon.locator(".bm-surgeon-reveal").click()
    notebooks.wait_for("surgeon.seen", True)
    surgeon.screenshot(path=browsers.SHOTS / "09_surgeon.png")
    surgeon.locator(".bm-surgeon-back").click()
    notebooks.wait_for("list(surgeon.head)", [])
    assert watch.errors == watch.strangers == []


def choose_theme(page, name):
    """As readers do it: Settings, Theme."""
    page.locator(".lm-MenuBar-item", has_text="Settings").click()
    page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    page.locator('.lm-Menu-item[data-command="apputils:change-theme"]', has_text=name).first.click()
    light = str("Light" in name).lower()
    page.wait_for_function("(light) => document.body.dataset.jpThemeLight === light", arg=light)


@pytest.mark.xdist_group("09")
def test_the_ninth_in_the_dark(notebooks):
    page, watch = notebooks.run("09")
    page.locator(".bm-explorer").scroll_into_view_if_needed()
    choose_theme(page, "JupyterLab Dark")
    try:
        page.locator(".bm-text span").nth(5).hover()
        assert page.evaluate("document.body.dataset.jpThemeLight") == "false"
        paper = browsers.numbers(
            page.evaluate("getComputedStyle(document.querySelector('.bm-explorer')).backgroundColor")
        )
        assert max(paper[:3]) < 60 and watch.errors == watch.strangers == []
        page.locator(".bm-explorer").screenshot(path=browsers.SHOTS / "09_explorer_dark.png")
    finally:
        choose_theme(page, "JupyterLab Light")


@pytest.mark.parametrize("number, widget", [
    pytest.param("01", ".bm-gaze", marks=pytest.mark.xdist_group("01")),
    pytest.param("09", ".bm-explorer", marks=pytest.mark.xdist_group("09")),
])  # fmt: skip
def test_a_saved_widget_opened_without_its_kernel_shows_its_picture(chromium, notebooks, number, widget):
    page, _ = notebooks.run(number)
    page.locator(widget).first.wait_for(state="attached")
    live = page.evaluate(PICTURES, widget)
    name = notebooks.save_and_shut_down()
    outputs = [output for cell in browsers.saved_cells(notebooks.address, name) for output in cell.get("outputs", [])]
    kept = sum(NOTES[0] in output.get("data", {}).get("text/markdown", "") for output in outputs)
    page, watch = browsers.open_notebook(chromium, notebooks.address, name)
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
    page.screenshot(path=browsers.SHOTS / f"{number}_reopened.png")
    assert watch.errors == watch.strangers == []
    page.context.close()
