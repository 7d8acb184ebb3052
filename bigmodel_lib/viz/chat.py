"""A chat about a story with two models at once: one that only goes on writing, and one that was fine-tuned."""

import textwrap
from collections.abc import Mapping
from typing import Any

import traitlets

from bigmodel_lib.errors import CourseError
from bigmodel_lib.generation import generate
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.storyworld import END, START
from bigmodel_lib.storyworld.story import words_of
from bigmodel_lib.storyworld.tasks import ANSWER, CHINESE, QUESTION, SUMMARY
from bigmodel_lib.text.tokenizers import WordTokenizer, text_of
from bigmodel_lib.viz.attention import fonts_for
from bigmodel_lib.viz.plots import DARK, GREEN, GREY, SKY, new_canvas
from bigmodel_lib.viz.widgets import Toy

LONGEST = 80  # tokens of a reply


class Chat(Toy):
    """Two models read one story: `Chat(before, after, tokenizer, story, question)`; `ask` asks both.

    before reads plain text and goes on with it; after reads the marks of the tasks, which it learned. Both say the
    likeliest token, again and again. `turns` holds what was asked, and what each has read and said.
    """

    caption = "In JupyterLab: change the story or the question and press a button. Both read the same words; "
    caption += "the right one also gets a mark that names the job."
    story = traitlets.Unicode().tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    turns = traitlets.List().tag(sync=True)  # one a button pressed: {asked, before: {read, said}, after: {...}}
    trouble = traitlets.Unicode().tag(sync=True)  # why nothing was asked
    wish = traitlets.Dict().tag(sync=True)  # what the page wants: {do, story, question}

    def __init__(self, before: LanguageModel, after: LanguageModel, tokenizer: WordTokenizer, story: str, asked: str):
        self.models: Mapping[str, LanguageModel] = {"before": before, "after": after}
        self.words = tokenizer.vocabulary
        self.ids = {word: i for i, word in enumerate(self.words)}
        super().__init__(story=story, question=asked)
        self.ask()
        self.observe(self._do, "wish")

    def read(self, task: str) -> dict[str, list[str]]:
        """The tokens that each model is given."""
        told, asked = [START, *words_of(self.story)], words_of(self.question) if task == "question" else []
        marks = {"question": ([QUESTION], [ANSWER]), "summary": ([SUMMARY], []), "chinese": ([CHINESE], [])}
        before, after = marks[task]
        return {"before": [*told, *asked], "after": [*told, *before, *asked, *after]}

    def reply(self, who: str, tokens: list[str]) -> str:
        """What a model says after some tokens. Raises CourseError for a word that it never learned, or too many."""
        if unknown := [token for token in tokens if token not in self.ids]:
            raise CourseError(f"“{unknown[0]}” is not among the {len(self.words)} words that these models know")
        model = self.models[who]
        if len(tokens) > (room := model.config.context_length - LONGEST // 2):
            raise CourseError(f"that is too long: {len(tokens)} tokens, and there is room for {room}")
        ids = [self.ids[token] for token in tokens]
        said = [self.words[i] for i in generate(model, ids, LONGEST, temperature=0, stop=self.ids[END])]
        said = [word for word in said if word != END]
        if who == "before" and tokens[-1] == "?":  # it goes on with the question
            said = [*words_of(self.question), *said]
        return "".join(said) if tokens[-1] == CHINESE else text_of(said)

    def ask(self, task: str = "question") -> None:
        """One turn: "question", "summary" or "chinese"; it is added to `turns`. Raises CourseError as `reply` does."""
        read = self.read(task)
        asked = {"question": self.question, "summary": "Summarise it.", "chinese": "Say it in Chinese."}[task]
        replies = {who: {"read": " ".join(read[who]), "said": self.reply(who, read[who])} for who in self.models}
        self.turns = [*self.turns, {"asked": asked, **replies}]

    def _do(self, change: Any) -> None:
        wish = change["new"]
        self.story, self.question, self.trouble = wish["story"], wish["question"], ""
        try:
            self.ask(wish["do"])
        except CourseError as error:
            self.trouble = str(error)

    def picture(self) -> tuple[Any, str]:
        turn = self.turns[-1]
        story = textwrap.wrap(self.story, 104)
        replies = {who: textwrap.wrap(turn[who]["said"], 46) for who in self.models}
        height = 1.15 + 0.21 * (len(story) + max(map(len, replies.values())))
        ax = new_canvas("One question, two models: before and after fine-tuning", 9.4, height, y=(height, 0))
        fonts: dict[str, Any] = dict(family=["DejaVu Sans", *fonts_for([turn["after"]["said"]])], fontsize=10, va="top")
        ax.text(0.05, 0.05, "\n".join(story), color=DARK, **fonts)
        y = 0.25 + 0.21 * len(story)
        ax.text(0.05, y, f"You: {turn['asked']}", weight="bold", **fonts)
        for x, who, colour in ((0.05, "before", SKY), (4.75, "after", GREEN)):
            ax.text(x, y + 0.38, f"{who} fine-tuning", color=GREY, **fonts)
            box = dict(boxstyle="round,pad=0.4", facecolor=colour, alpha=0.25, edgecolor="none")
            ax.text(x + 0.08, y + 0.78, "\n".join(replies[who]), bbox=box, **fonts)
        alt = f"A chat. Asked “{turn['asked']}”, the model before fine-tuning writes on; the one after it answers."
        return ax.figure, alt
