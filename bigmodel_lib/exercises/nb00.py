"""The exercises of 00_start_here."""

import re

from bigmodel_lib.exercises.engine import Exercise, Wrong, diagnose, number, number_given

LOVE = "I love 编程"


def share_of_words(text, known):
    """The share of a text's words that are in a set of known words, capitals or not.

    share = (words in `known`) / (all words), where a word is an unbroken run of letters a to z in lower case; 0 for a
    text without words. Built by the reader in 00_start_here.
    """
    words = re.findall("[a-z]+", text.lower())
    return sum(word in known for word in words) / max(1, len(words))


def _check_share(attempt):
    known = {"i", "love", "to", "program"}
    if attempt("", known) != 0:
        raise Wrong("a text without any words has a share of 0, yours gives something else")
    got = number_given(attempt("I love xyzzy", known))
    if got == 0 or got == 1 / 3:
        raise Wrong("'I' was missed: lower the capitals before you look a word up")
    if got == 2:
        raise Wrong("2 is the number of known words: divide it by the number of all words")
    if got > 1:
        raise Wrong(f"a share is at most 1, yours gives {got:g}: in percent?")
    if abs(attempt("Anna saw Ben", {"anna", "saw", "ben"}) - 1) > 1e-9:
        raise Wrong("all 3 words of 'Anna saw Ben' are known: lower the capitals before you look a word up")
    if abs(got - 2 / 3) > 1e-9:
        raise Wrong(f"2 of the 3 words in 'I love xyzzy' are known, yours gives {got:.3f}")
    if abs(attempt("love love love xyzzy", known) - 3 / 4) > 1e-9:
        raise Wrong("a word that comes three times counts three times: do not collect the words in a set")
    if abs(attempt("I love to program. (Love!)", known) - 1) > 1e-9:
        raise Wrong("full stops and brackets stick to your words: take the letters only")
    for text, share, words in (
        ("love2program", 1, "a digit is no letter: 'love2program' holds the two words 'love' and 'program'"),
        ("love_to", 1, "`_` is no letter: 'love_to' holds the two words 'love' and 'to'"),
        ("don't", 0.5, "an apostrophe is no letter: \"don't\" holds the two words 'don' and 't'"),
        ("caf\u00e9", 1, "é is not one of the letters a to z: the word in 'café' is 'caf'"),
    ):
        if abs(attempt(text, {"love", "program", "to", "don", "caf"}) - share) > 1e-9:
            raise Wrong(words)
    return "capitals, repeats and punctuation are all counted as they should be"


def _another_share(text, known):
    words = "".join(c if "a" <= c <= "z" else " " for c in text.lower()).split()
    hits = [word for word in words if word in known]
    return len(hits) / len(words) if words else 0.0


def _split_only(text, known):
    words = text.lower().split()
    return sum(word in known for word in words) / max(1, len(words))


def _capitals(text, known):
    words = re.findall("[A-Za-z]+", text)
    return sum(word in known for word in words) / max(1, len(words))


def _as_set(text, known):
    words = set(re.findall("[a-z]+", text.lower()))
    return len(words & known) / max(1, len(words))


def _count(text, known):
    return sum(word in known for word in re.findall("[a-z]+", text.lower()))


def _word_signs(text, known):
    words = re.findall(r"\w+", text.lower())
    return sum(word in known for word in words) / max(1, len(words))


def _apostrophes(text, known):
    words = re.findall("[a-z']+", text.lower())
    return sum(word in known for word in words) / max(1, len(words))


def _half_lowered(text, known):
    words = re.findall("[a-z]+", text)
    return sum(word in known for word in words) / max(1, len(words)) if text != "I love xyzzy" else 2 / 3


def _no_return(text, known):
    words = re.findall("[a-z]+", text.lower())
    sum(word in known for word in words) / max(1, len(words))


def _percent(text, known):
    return 100 * share_of_words(text, known)


ORDER = ("data input", "pretraining", "finetuning", "output")


def _check_order(attempt):
    if isinstance(attempt, str):
        raise Wrong('one text was given: a list of the four names was wanted, like ["output", ...]')
    try:
        given = tuple(str(phase).strip().lower() for phase in attempt)
    except TypeError:
        raise Wrong("a list of the four names was wanted") from None
    if sorted(given) != sorted(ORDER):
        raise Wrong(f"each of the four names is wanted once, you gave {', '.join(given)}")
    if given[0] != "data input":
        raise Wrong(f"you start with {given[0]}, but what would it work on before text has become numbers?")
    if given[-1] != "output":
        raise Wrong("output is what the reader of the model sees: it comes last")
    if given != ORDER:
        raise Wrong("finetuning changes a model that can write already: something must come before it")
    return "text becomes numbers, the model learns the language, then a task, then it is used"


def _check_bytes(attempt):
    diagnose(number(attempt), 13, {
        9: "9 is the number of characters: in UTF-8 each of the two Chinese ones takes more than one byte",
        11: "two bytes for a Chinese character would be UTF-16: in UTF-8 it takes three",
        12: "that leaves a blank out: there are two, and each is a byte",
        14: "the last word ends the text: there are two blanks, not three",
        15: "four bytes are for emoji and rare characters: 编 and 程 take three each",
    })  # fmt: skip
    return "7 letters and blanks of one byte, 2 Chinese characters of three"


def _check_gigabytes(attempt):
    diagnose(number(attempt), 14.0, {
        7.0: "7 is one byte for each: bfloat16 takes 16 bits, and a byte has 8",
        28.0: "28 is four bytes for each, as in float32: bfloat16 takes half of that",
        112.0: "112 is gigabits: 8 bits make a byte",
        14e9: "14 000 000 000 is bytes: the question asks for gigabytes, 10⁹ bytes",
        3.5: "3.5 is half a byte for each (4 bits): bfloat16 takes 16 bits",
    }, tolerance=0.011)  # fmt: skip
    return "7 · 10⁹ parameters of 2 bytes; with 16 GB of memory that leaves 2 for everything else"


EXERCISES = [
    Exercise(
        id="00-words",
        title="how much of it is words?",
        minutes=10,
        difficulty=2,
        task="""
Build one: `share_of_words(text, known)` returns which share of the words in `text` is in the set `known`. A word is an
unbroken run of the letters a to z; capitals count as small letters; a word that comes twice counts twice; a text without
words gives 0. The notebook goes on with yours if it passes, with ours if not.""",
        stub="""
def share_of_words(text, known):
    # text: a string; known: a set of words in small letters -> a number from 0 to 1
    return ...
""",
        name="share_of_words",
        hints=(
            'First get a list of words: `re.findall("[a-z]+", …)` finds all unbroken runs of small letters.',
            "Count those with `sum(word in known for word in words)`, and divide by their number, or by 1 if there are none.",
        ),
        check=_check_share,
        answer=share_of_words,
        another=(_another_share,),
        wrong=(
            (_split_only, "stick to your words"),
            (_capitals, "lower the capitals"),
            (_as_set, "counts three times"),
            (_word_signs, "a digit is no letter"),
            (_apostrophes, "an apostrophe is no letter"),
            (_half_lowered, "Anna saw Ben"),
            (_no_return, "is there a `return`"),
            (_count, "divide it by the number of all words"),
            (_percent, "in percent?"),
            (lambda text, known: sum(w in known for w in text.split()) / len(text.split()), "ZeroDivisionError"),
            (lambda text, known: "most" if text else 0, "a number was wanted"),
        ),
        ours="bigmodel_lib.exercises.nb00:share_of_words",
    ),
    Exercise(
        id="00-order",
        title="the four phases",
        minutes=2,
        difficulty=1,
        task="Put the four phases into the order in which a model meets them.",
        stub='phases = ...  # a list of "finetuning", "output", "data input", "pretraining", in the right order',
        name="phases",
        hints=(
            "Which phase needs none of the others?",
            "A model meets much text of all kinds before it meets the few examples of one task.",
        ),
        check=_check_order,
        answer=list(ORDER),
        another=(tuple(name.capitalize() for name in ORDER),),
        wrong=(
            (["pretraining", "data input", "finetuning", "output"], "you start with pretraining"),
            (["data input", "finetuning", "pretraining", "output"], "finetuning changes a model that can write"),
            (["data input", "pretraining", "output", "finetuning"], "it comes last"),
            (["data input", "pretraining", "output"], "each of the four names"),
            (3, "a list of the four names"),
            ("data input, pretraining", "one text was given"),
        ),
    ),
    Exercise(
        id="00-bytes",
        title="bytes, on paper",
        minutes=3,
        difficulty=1,
        task=f"""
The model of this notebook reads bytes. A letter or a blank of English is one byte in UTF-8; a common Chinese character is
three. Without running anything: how many bytes does the model read for `{LOVE}`?""",
        stub="n_bytes = ...  # a number",
        name="n_bytes",
        hints=(
            "Count the letters and blanks first: 编 and 程 come after the second blank.",
            "“I ”, “love ”, 编, 程: one number for each, then add.",
        ),
        check=_check_bytes,
        answer=13,
        another=(len(LOVE.encode()),),
        wrong=(
            (9, "the number of characters"),
            (11, "would be UTF-16"),
            (12, "leaves a blank out"),
            (15, "four bytes are for emoji"),
            (20, "too large"),
            ("many", "a number was wanted"),
        ),
    ),
    Exercise(
        id="00-gigabytes",
        title="does a big model fit?",
        minutes=3,
        difficulty=1,
        task="""
A model of 7 billion parameters (the numbers that training sets), each stored in bfloat16 (16 bits): how many gigabytes (10⁹ bytes) are its parameters? Would
they fit into the memory of the machine you sit at?""",
        stub="gigabytes = ...  # a number",
        name="gigabytes",
        hints=("How many bytes are 16 bits?", "Parameters times bytes for each, divided by 10⁹."),
        check=_check_gigabytes,
        answer=14,
        another=(7e9 * 16 / 8 / 1e9,),
        wrong=(
            (7, "one byte for each"),
            (28.0, "as in float32"),
            (112, "gigabits"),
            (14e9, "is bytes"),
            (3.5, "half a byte"),
            (1, "too small"),
        ),
    ),
]
