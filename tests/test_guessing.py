"""The guessing game: its scores by hand, its odds against the world's, and, in a browser, its clicks."""

import json
import math
import os

import ipywidgets
import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.storyworld import StoryWorld
from bigmodel_lib.viz import guessing
from bigmodel_lib.viz.guessing import OTHER, GuessingGame, Turn

SEEDS = [111552, 1, 2]
BROWSER = pytest.mark.skipif(
    not os.environ.get("COURSE_BROWSER") or bool(browsers.why_not()), reason="in a browser: make test-browser"
)


@pytest.fixture(scope="module")
def game():
    return GuessingGame(StoryWorld(longest=40), SEEDS)


def test_a_share_is_over_what_can_come_or_is_shown():
    turn = Turn(["a"], {"x": 0.5, "y": 0.25, "z": 0.25}, ["x", "decoy", OTHER], 2)
    assert turn.shares(turn.possible) == [0.5, 0.0, 0.5]
    assert turn.shares({"x": 1, "decoy": 2, "z": 1, "elsewhere": 96}) == [0.25, 0.5, 0.25]
    assert turn.surprise({"x": 1, "decoy": 2, "z": 1}) == 2 and turn.surprise({"x": 1}) == math.inf


def test_the_odds_shown_are_the_worlds_and_what_came_is_on_offer(game):
    assert len(game.turns[0]) == 10, "notebook 02 promises ten bets"
    for story, turns, shown in zip(game.told, game.turns, game.stories, strict=True):
        assert len(turns) >= 5
        for turn, sent in zip(turns, shown["turns"], strict=True):
            exact = game_world().next_token_probs(turn.before)
            token = story.tokens[len(turn.before)]
            assert sent["word"] == token and turn.words[turn.came] in (token, OTHER)
            assert sent["p"] == pytest.approx([exact.get(w, 0.0) for w in turn.words[:-1]] + [sent["p"][-1]])
            assert sum(sent["p"]) == pytest.approx(1) and sent["p"][turn.came] > 0
            assert any(word not in exact for word in turn.words[:-1]) or len(exact) >= guessing.SHOWN


def game_world():
    return StoryWorld(longest=40)


def test_your_score_is_what_the_clicks_say(game):
    came = game.turns[1][2].came
    clicks = [0] * len(game.turns[1][2].words)
    game.bets = [[1, 2, clicks]]
    assert game.yours() == [3.0] and game.yours(story=0) == []
    clicks[came] = 3  # 8 to 7
    game.bets = [[1, 2, clicks]]
    assert game.yours(story=1) == pytest.approx([-math.log2(8 / 15)])
    perfection = game_world().next_token_probs
    assert game.score(perfection, story=None) == [game.turns[1][2].surprise(game.turns[1][2].possible)]
    game.bets = []
    assert game.yours() == []


def test_on_many_bets_perfection_is_ahead_of_one_who_likes_all_words_alike(game):
    words = dict.fromkeys(game_world().tokenizer().vocabulary, 1.0)
    perfection, alike = (
        np.mean([bits for story in range(len(SEEDS)) for bits in game.score(player, story)])
        for player in (game_world().next_token_probs, lambda before: words)
    )
    assert 0.3 < perfection < alike - 1 and game.score(lambda before: {})[0] == math.inf


def test_its_first_turn_is_beside_it_where_no_kernel_runs(monkeypatch, game):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    game._ipython_display_()
    view = shown[0]["application/vnd.jupyter.widget-view+json"]
    assert shown[0]["image/png"] and ipywidgets.widgets.widget._instances[view["model_id"]] is game


# In a browser


def page_of(game, theme, bets=()):
    esm = str(game._esm).replace("export default { render };", "const start = render;")
    state = dict(stories=game.stories, bets=list(bets), maps="")
    return browsers.PAGE % dict(theme, esm=esm, css=str(game._css), state=json.dumps(state))


@pytest.fixture(scope="module")
def chromium():
    browsers.SHOTS.mkdir(parents=True, exist_ok=True)
    with browsers.chromium() as browser:
        yield browser


def opened(chromium, game, theme, width=800):
    page = chromium.new_context(viewport={"width": width, "height": 700}).new_page()
    watch = browsers.Watch(page)
    page.set_content(page_of(game, theme))
    page.wait_for_selector(".bm-word")
    return page, watch


@BROWSER
@pytest.mark.parametrize("theme, width", [("LIGHT", 800), ("DARK", 800), ("LIGHT", 400), ("DARK", 400)])
def test_it_plays_at_once_in_both_themes_and_at_400_pixels(chromium, game, theme, width):
    page, watch = opened(chromium, game, getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".bm-percent").all_inner_texts() == ["13 %"] * 8
    page.locator(".bm-word").nth(2).click()
    assert page.locator(".bm-percent").nth(2).inner_text() == "22 %"
    page.locator(".bm-less").nth(2).click()
    assert page.locator(".bm-percent").nth(2).inner_text() == "13 %"
    page.locator(".bm-go").click()
    page.screenshot(path=browsers.SHOTS / f"guessing_{theme.lower()}_{width}.png", full_page=True)
    assert page.locator(".bm-came").count() == 1 and watch.errors == watch.strangers == []


@BROWSER
def test_what_is_revealed_reaches_the_kernel_with_the_score_on_the_screen(chromium, game):
    page, watch = opened(chromium, game, browsers.LIGHT)
    turns = len(game.turns[0])
    for turn in range(turns):
        page.locator(".bm-word").nth(turn % 8).focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.locator(".bm-go").click()
        page.locator(".bm-word").nth(0).click(force=True)  # too late: the bet is placed
        if turn + 1 < turns:
            page.locator(".bm-go").click()
    game.bets = page.evaluate("state.bets")
    assert [bet[:2] for bet in game.bets] == [[0, turn] for turn in range(turns)]
    assert all(sum(clicks) == 2 for _, _, clicks in game.bets)
    scores = [float(text) for text in page.locator(".bm-score b").all_inner_texts()]
    perfection = np.mean(game.score(game_world().next_token_probs))
    assert scores == pytest.approx([np.mean(game.yours()), perfection, 3.0], abs=0.006)
    assert page.locator(".bm-go").inner_text() == "another story"
    page.locator(".bm-go").click()
    assert page.locator(".bm-told").inner_text().startswith(game.stories[1]["turns"][0]["before"][:30])
    game.bets = []
    assert watch.errors == []


@BROWSER
def test_every_button_has_a_name_and_the_verdict_is_said(chromium, game):
    page, _ = opened(chromium, game, browsers.LIGHT)
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button")]
      .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim())).length""")
    assert unnamed == 0 and page.locator(".bm-verdict").get_attribute("aria-live") == "polite"
