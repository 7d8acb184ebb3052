"""The exercises of 00_start_here."""

from bigmodel_lib.exercises.engine import Exercise, Wrong


def longest_copy(text, source):
    """The longest run of characters in `text` that occurs in `source`, too; the first of several.

    Built by the reader in 00_start_here.
    """
    best = ""
    for start in range(len(text)):
        while start + len(best) < len(text) and text[start : start + len(best) + 1] in source:
            best = text[start : start + len(best) + 1]
    return best


def _check(attempt):
    if attempt("anna saw a lamp", "a lamp was lit") != "a lamp":
        raise Wrong("no")
    return "yes"


EXERCISES = [
    Exercise(
        id="00-copy", title="the longest copy", minutes=5, difficulty=2, task="todo", stub="def longest_copy(text, source):\n    return ...",
        name="longest_copy", hints=("a", "b"), check=_check, answer=longest_copy, another=longest_copy,
        wrong=(), ours="bigmodel_lib.exercises.nb00:longest_copy",
    )
]
