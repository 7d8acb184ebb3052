"""The guessing game: its scores by hand, its odds against the world's, and, in a browser, its clicks."""

import collections
import math

import ipywidgets
import numpy as np
import pytest
import run_browser as browsers

from bigmodel_lib.storyworld import StoryWorld, text_of
from bigmodel_lib.viz import guessing
from bigmodel_lib.viz.guessing import GuessingGame, offered

SEEDS = [111552, 1, 2]


@pytest.fixture(scope="module")
def game():
    return GuessingGame(StoryWorld(longest=40), SEEDS)


def game_world():
    return StoryWorld(longest=40)


def test_a_player_is_scored_on_the_words_on_offer_alone():
    assert offered({"x": 0.5, "y": 0.25, "z": 0.25}, ["x", "decoy", "z"]) == pytest.approx([2 / 3, 0, 1 / 3])
    assert offered({}, ["x", "y"]) == [0, 0]


def test_the_odds_shown_are_the_worlds_and_what_came_is_on_offer(game):
    assert len(game.stories[0]["turns"]) == 10, "notebook 02 promises ten bets"
    for told, shown in zip(game.told, game.stories, strict=True):
        assert len(shown["turns"]) >= 5 and shown["text"] == told.text
        for turn in shown["turns"]:
            words, before = turn["words"], told.tokens[: turn["place"]]
            exact = game_world().next_token_probs(before)
            assert words[turn["came"]] == told.tokens[turn["place"]] and turn["before"] == text_of(before)
            assert len(set(words)) == guessing.OFFERED == len(words) and words == sorted(words)
            assert turn["p"] == pytest.approx(
                np.array([exact.get(w, 0) for w in words]) / sum(map(exact.get, set(words) & set(exact)))
            )
            assert len(exact) >= guessing.OFFERED or set(exact) <= set(words)


def test_the_words_on_offer_give_nothing_away(game):
    """Beside the word that came, each of the others that could come is offered equally often: 7 times in 13."""
    possible = game_world().next_token_probs(game.told[0].tokens[: game.stories[0]["turns"][0]["place"]])
    after, rng = collections.defaultdict(collections.Counter), np.random.default_rng(5)
    offers = [next(guessing.turns_of(game.told[0], after, rng))["words"] for _ in range(300)]
    times = collections.Counter(word for words in offers for word in words)
    assert times.pop("Lena") == 300 and set(times) == set(possible) - {"Lena"} and len(times) == 13
    share, sd = 7 / 13, (300 * 7 / 13 * 6 / 13) ** 0.5
    assert all(abs(n - 300 * share) < 4 * sd for n in times.values())


def test_your_score_is_what_the_clicks_say(game):
    turn = game.stories[1]["turns"][2]
    clicks = [0] * len(turn["words"])
    game.bets = [[1, 2, clicks]]
    assert game.yours(1) == {2: 3.0} and game.yours(0) == {}
    clicks[turn["came"]] = 3  # 8 to 7
    game.bets = [[1, 2, clicks]]
    assert game.yours(1) == pytest.approx({2: -math.log2(8 / 15)})
    game.bets = []
    assert game.score(game_world().next_token_probs, 1)[2] == -math.log2(turn["p"][turn["came"]])


def test_on_many_bets_perfection_is_ahead_of_one_who_likes_all_words_alike(game):
    words = dict.fromkeys(game_world().tokenizer().vocabulary, 1.0)
    perfection = [
        bits for story in range(len(SEEDS)) for bits in game.score(game_world().next_token_probs, story).values()
    ]
    assert set(game.score(lambda before: words, 0).values()) == {3.0} and 0.3 < np.mean(perfection) < 2
    assert game.score(lambda before: {}, 0)[0] == math.inf


def test_its_first_turn_is_beside_it_where_no_kernel_runs(monkeypatch, game):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    game._ipython_display_()
    view = shown[0]["application/vnd.jupyter.widget-view+json"]
    assert shown[0]["image/png"] and ipywidgets.widgets.widget._instances[view["model_id"]] is game


# In a browser


@pytest.fixture
def opened(alone):
    return lambda game, theme=browsers.LIGHT, width=800: alone(game, ".bm-word", theme, width)


@pytest.mark.parametrize("theme, width", [("LIGHT", 800), ("DARK", 800), ("LIGHT", 400), ("DARK", 400)])
def test_it_plays_at_once_in_both_themes_and_at_400_pixels(opened, game, theme, width):
    page, watch = opened(game, getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".bm-percent").all_inner_texts() == ["13 %"] * 8
    page.locator(".bm-word").nth(2).click()
    assert page.locator(".bm-percent").nth(2).inner_text() == "22 %"
    page.locator(".bm-less").nth(2).click()
    assert page.locator(".bm-percent").nth(2).inner_text() == "13 %"
    page.locator(".bm-go").click()
    page.screenshot(path=browsers.SHOTS / f"guessing_{theme.lower()}_{width}.png", full_page=True)
    assert page.locator(".bm-came").count() == 1 and watch.errors == watch.strangers == []


def test_what_is_revealed_reaches_the_kernel_with_the_score_on_the_screen(opened, game):
    page, watch = opened(game, browsers.LIGHT)
    turns = len(game.stories[0]["turns"])
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
    yours, best = game.yours(0), game.score(game_world().next_token_probs, 0)
    assert scores == pytest.approx([np.mean([*yours.values()]), np.mean([*best.values()]), 3.0], abs=0.006)
    receipt = [float(text.replace("−", "-")) for text in page.locator(".bm-paid small").all_inner_texts()]
    assert receipt == pytest.approx([yours[turn] - best[turn] for turn in yours], abs=0.06)
    told = page.locator(".bm-line").evaluate("""line => [...line.childNodes].map(
      (n) => n.nodeType === 3 ? n.textContent : n.firstChild.textContent).join("")""")
    assert told == game.told[0].text
    page.screenshot(path=browsers.SHOTS / "guessing_receipt.png", full_page=True)
    assert page.locator(".bm-go").inner_text() == "another story"
    page.locator(".bm-go").click()
    assert page.locator(".bm-told").inner_text().startswith(game.stories[1]["turns"][0]["before"][:30])
    game.bets = []
    assert watch.errors == []


def test_every_button_has_a_name_and_the_verdict_is_said(opened, game):
    page, _ = opened(game, browsers.LIGHT)
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button")]
      .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim())).length""")
    assert unnamed == 0 and page.locator(".bm-verdict").get_attribute("aria-live") == "polite"
