"""The chat with two models: both read the same story, one with marks; and, in a browser, what is typed reaches them."""

import pytest
import run_browser as browsers

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.training.checkpoints import load_model
from bigmodel_lib.viz.chat import LONGEST, Chat

STORY = "The house had a hall, an attic and a study. Anna was in the hall. Ben was there too. Anna had a lamp."
STORY += " Anna went to the attic."


@pytest.fixture(scope="module")
def models():
    (before, tokenizer), (after, _) = (load_model(data_path(name)) for name in ("storyteller", "assistant"))
    return before, after, tokenizer


@pytest.fixture
def chat(models):
    return Chat(*models, STORY, "Where is the lamp?")


def test_one_goes_on_with_the_question_and_one_answers_it(chat):
    (turn,) = chat.turns
    assert turn["after"]["said"] == "in the attic" and turn["after"]["read"].endswith("Where is the lamp ? <answer>")
    assert turn["before"]["said"].startswith("Where is the lamp") and len(turn["before"]["said"]) > 25
    assert "<" not in turn["before"]["read"].removeprefix("<story>") and "<end>" not in turn["before"]["said"]


def test_a_wish_from_the_page_changes_the_story_and_is_answered(chat):
    changed = STORY.replace("Anna went", "Ben went")
    chat.wish = {"do": "question", "story": changed, "question": "Where is Ben?", "press": 1}
    assert chat.story == changed and len(chat.turns) == 2 and chat.turns[1]["after"]["said"] == "in the attic"
    chat.wish = {"do": "summary", "story": changed, "question": "", "press": 2}
    assert chat.turns[2]["after"]["said"] == "Anna had the lamp at the start and at the end."
    chat.wish = {"do": "chinese", "story": changed, "question": "", "press": 3}
    assert chat.turns[3]["after"]["said"].endswith("阿本去了阁楼。") and chat.turns[3]["asked"] == "Say it in Chinese."


def test_what_the_models_cannot_read_is_said_and_nothing_is_asked(chat):
    chat.wish = {"do": "question", "story": STORY + " A dragon came.", "question": "Who?", "press": 1}
    assert "“dragon” is not among the 419 words" in chat.trouble and len(chat.turns) == 1
    chat.wish = {"do": "question", "story": 4 * STORY, "question": "Where is Anna?", "press": 2}
    assert "too long" in chat.trouble and len(chat.turns) == 1
    chat.wish = {"do": "question", "story": STORY, "question": "Where is Anna?", "press": 3}
    assert chat.trouble == "" and len(chat.turns) == 2
    with pytest.raises(CourseError, match="dragon"):
        chat.reply("after", ["<story>", "dragon"])
    assert LONGEST < chat.models["after"].config.context_length


def test_in_print_nothing_runs_off_the_page(chat):
    chat.ask("chinese")
    figure, alt = chat.picture()
    figure.canvas.draw()
    page = figure.get_window_extent()
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 + 5 and box.y0 >= page.y0 - 5, text.get_text()
    assert "Say it in Chinese" in alt


# In a browser


@pytest.fixture
def opened(alone):
    return lambda chat, theme=browsers.LIGHT, width=900: alone(chat, ".bm-chat-turn", theme, width)


def answer(page, chat):
    """Let Python do what the page asked for, as a kernel would."""
    chat.wish = page.evaluate("state.wish")
    for name in ("turns", "trouble"):
        page.evaluate("([name, value]) => model.set(name, value)", [name, getattr(chat, name)])


@pytest.mark.parametrize("theme, width", [("LIGHT", 1000), ("DARK", 1000), ("LIGHT", 400)])
def test_it_asks_in_both_themes_and_does_not_scroll_sideways(opened, chat, theme, width):
    page, watch = opened(chat, getattr(browsers, theme), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_label("the story").fill(STORY.replace("attic.", "study."))
    page.get_by_label("your question").press("Enter")
    assert page.get_by_role("button", name="ask").is_disabled()
    answer(page, chat)
    assert page.locator(".bm-chat-turn").count() == 2 and chat.story.endswith("Anna went to the study.")
    page.get_by_role("button", name="translate").click()
    answer(page, chat)
    assert page.locator(".bm-chat-after p").nth(2).inner_text() == chat.turns[2]["after"]["said"]
    page.screenshot(path=browsers.SHOTS / f"chat_{theme.lower()}_{width}.png", full_page=True)
    assert watch.errors == watch.strangers == []


def test_an_unknown_word_is_said_and_one_may_ask_again(opened, chat):
    page, watch = opened(chat)
    page.get_by_label("the story").fill("A dragon came.")
    page.get_by_role("button", name="ask").click()
    answer(page, chat)
    assert "dragon" in page.locator(".bm-chat-says").inner_text()
    assert page.get_by_role("button", name="ask").is_enabled() and watch.errors == []
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input, textarea")]
      .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim())).length""")
    assert unnamed == 0
