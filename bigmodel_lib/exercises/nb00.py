"""The exercises of 00_start_here."""

import numpy as np

from bigmodel_lib.exercises.engine import Exercise

WORDS = ("Anna ", "anna ", "The ", "had ", "a ", "lamp ", "the ", "in ", "hall ", "ann ", "aa", "lam", ". ")


_PAGES = "".join(np.random.default_rng(0).choice(WORDS, size=110_000))  # as long as a manual


def longest_copy(text: str, source: str) -> str:
    """The longest run of characters in `text` that occurs in `source`, too; the first of several.

    Built by the reader in 00_start_here.
    """
    best = ""
    for start in range(len(text)):
        while start + len(best) < len(text) and text[start : start + len(best) + 1] in source:
            best = text[start : start + len(best) + 1]
    return best


def _all_runs(text, source):
    runs = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    return max((run for run in runs if run in source), key=len, default="")


def _longest_first(text, source):
    for length in range(len(text), 0, -1):
        for start in range(len(text) - length + 1):
            if text[start : start + length] in source:
                return text[start : start + length]
    return ""


def _only_from_the_start(text, source):
    length = max(n for n in range(len(text) + 1) if text[:n] in source)
    return text[:length]


def _last_missing(text, source):
    runs = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text))]
    return max((run for run in runs if run in source), key=len, default="")


def _first_found(text, source):
    for start in range(len(text)):
        length = max(n for n in range(len(text) - start + 1) if text[start : start + n] in source)
        if length:
            return text[start : start + length]
    return ""


def _last_of_several(text, source):
    runs = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    return max((run for run in reversed(runs) if run in source), key=len, default="")


def _whole_words(text, source):
    words = text.split()
    runs = [" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    return max((run for run in runs if run in source), key=len, default="")


def _one_letter(text, source):
    return next((letter for letter in text if letter in source), "")


def _one_step_each(text, source):
    best = ""
    for start in range(len(text)):
        longer = text[start : start + len(best) + 1]
        best = longer if longer in source else best
    return best


def _lowered(text, source):
    return longest_copy(text.lower(), source.lower())


def _length(text, source):
    return len(longest_copy(text, source))


def _texts(rng):
    text, source = ("".join(rng.choice(WORDS, size=rng.integers(1, 7))) for _ in range(2))
    return text[rng.integers(2) :], source


EXERCISES = [
    Exercise(
        id="00-copy",
        title="the longest copy",
        minutes=5,
        difficulty=2,
        task="""
Write `longest_copy(text, source)`. It returns the longest run of characters in `text` that also occurs in `source`: for
`"Anna saw a lamp"` and `"Ben saw a cat"` that's `" saw a "`. If several are equally long, return the first one in `text`; if the
two share nothing, return `""`. The source can be as long as a manual, 450,000 characters.
""",
        stub="""
def longest_copy(text, source):
    best = ""
    for start in range(len(text)):
        end = start + ...  # how long is the copy that begins here?
        best = max(best, text[start:end], key=len)
    return best
""",
        name="longest_copy",
        hints=(
            'Python answers `"saw" in source` with True or False. If the letters from start to end occur in the source, could '
            "you add one more letter and still find them there?",
            "Begin with an empty run, `end = start`, and move `end` to the right step by step. There are two reasons to stop.",
            "`end = start`, then `while end < len(text) and text[start : end + 1] in source:` with `end += 1` in it.",
        ),
        answer=longest_copy,
        another=(_all_runs, _longest_first),
        inputs=_texts,
        special=(
            ("the example", "Anna saw a lamp", "Ben saw a cat"),
            ("nothing in common", "xyz", "anna"),
            ("an empty text", "", "anna"),
            ("a run that ends the text", "xx lamp", "the lamp was lit"),
            ("a source as long as a manual", _PAGES[5_000:5_080] + "?" + _PAGES[200_000:200_079], _PAGES),
            ("two of the same length", "ab cd", "cd-ab"),
        ),
        wrong=(
            (_only_from_the_start, "you only try runs that begin where the text begins"),
            (_last_missing, "a run that reaches the end of the text is missed: its last character is never included"),
            (_first_found, "that's the first run that occurs in the source; a later one is longer"),
            (_last_of_several, "of several equally long runs you return a later one: the first was wanted"),
            (_whole_words, "a run may begin and end in the middle of a word, and blanks count too"),
            (_one_letter, "that's one character: go on while the longer run occurs too"),
            (
                _one_step_each,
                "from each start you go one character further at most: go on for as long as the run occurs",
            ),
            (_lowered, "capitals matter: compare the characters as they are"),
            (_length, "that's the length of the run: return the run itself"),
        ),
        right="and it stops at the first run of the greatest length",
        ours="bigmodel_lib.exercises.nb00:longest_copy",
    ),
]
