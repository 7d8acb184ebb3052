"""The exercises of 02_data_input."""

import math

from bigmodel_lib.exercises.engine import Exercise, Wrong, choose_letter, diagnose, number, number_given


def kl_divergence(p, q):
    """How many nats more one pays on average for believing q where p is true: KL(p‖q) = Σ p(w) ln(p(w) / q(w)).

    p and q {word: probability}; a word with p = 0 adds nothing, one with p > 0 and q = 0 makes it infinite.
    Source: Kullback & Leibler 1951. Built by the reader in 02_data_input.
    """
    if any(q.get(word, 0) == 0 for word in p if p[word] > 0):
        return math.inf
    return sum(p[word] * math.log(p[word] / q[word]) for word in p if p[word] > 0)


def _check_utf8(attempt):
    diagnose(number(attempt), 13, {
        5.0: "5 is the number of characters: only the first 128 of Unicode, letters without accents among them, take one byte",
        10.0: "10 would be two bytes each: Chinese characters take three, emoji four",
        12.0: "one short: é takes two bytes, or the emoji takes four",
        14.0: "one too many: n takes one byte, Chinese characters three",
        20.0: "20 would be four bytes each",
    })  # fmt: skip
    return "1 + 2 + 3 + 3 + 4: one character, one to four bytes"


def _check_merges(attempt):
    if isinstance(attempt, str) or not hasattr(attempt, "__len__") or len(attempt) != 2:
        raise Wrong(f"a list of two pieces was wanted, {attempt!r} was given")
    first, second = (str(piece).strip() for piece in attempt)
    if first == "ba":
        raise Wrong("“ba” stands there 3 times, once in each word; another pair stands twice in “banana”")
    if first == "na":
        raise Wrong("“na” stands there 4 times; “an” stands in “band” too, so 5 times")
    if first != "an":
        raise Wrong(f"{first!r} is not the most frequent pair of neighbours: count them all, in all three words")
    if second == "na":
        raise Wrong("after the first merge no n stands alone: write the words again with “an” as one piece, then count")
    if second == "anan":
        raise Wrong("“an”+“an” stands there twice, once in each “banana”; something stands there three times")
    if second == "ana":
        raise Wrong("“an”+“a” stands there twice; something stands there three times")
    if second != "ban":
        raise Wrong(f"{second!r} is not the most frequent pair after the first merge")
    return "“an” 5 times, then “b”+“an” 3 times"


def _check_windows(attempt):
    diagnose(number(attempt), 936, {
        937.0: "937 windows of 64 fit, but the last of them has no next token to be the target",
        935.0: "one too few: a window may start at 0, and the last at 935",
        15.0: "15 is how many fit side by side: windows may overlap",
        1000.0: "a window that starts near the end would run over it",
        16.0: "16 is 1000/64 rounded: windows may overlap",
    }, tolerance=0.4)  # fmt: skip
    return "starts 0 … 935: 64 tokens of input and one more as the last target"


def _check_overlap(attempt):
    diagnose(number(attempt), 0.25, {
        0.6: "3/5 counts pairs: a trigram is three words in a row",
        5 / 6: "5/6 counts single words",
        1 / 6: "six words hold four trigrams: divide by 4",
        0.5: "one too many: “the cat ran”, “mat the cat” and “the mat the” are not in the training text",
        0.0: "“on the mat” stands in both",
        1 / 3: "one of four, not of three: count the trigrams again",
        25.0: "a share from 0 to 1 was wanted, not per cent",
        1.0: "one is shared: divide by how many there are",
    }, tolerance=0.0051)  # fmt: skip
    return "“on the mat”, one of four"


def _check_surprise(attempt):
    diagnose(number(attempt), math.log(48), {
        48.0: "48 is one over the probability: take its logarithm",
        1 / 48: "1/48 is the probability: take minus its logarithm",
        math.log2(48): "that is in bits: the natural logarithm gives nats",
        -math.log(48): "the logarithm of a probability is negative, and surprise is minus that",
        math.log(24): "the pronoun is a choice too: once more 1/2",
        math.log(4) + math.log(6): "the pronoun is a choice too: once more 1/2",
        math.log(12): "that is ln 12: either 4 + 6 + 2 was added (choices multiply), or the construction's 1/4 is missing",
        math.log(8): "the filling is a choice too: once more 1/6",
    }, tolerance=0.0051)  # fmt: skip
    return "ln 4 + ln 6 + ln 2: surprises add where probabilities multiply"


def _check_kl(attempt):
    def at(p, q):
        return number_given(attempt(dict(p), dict(q)))

    p, q = {"lamp": 0.5, "book": 0.25, "cup": 0.25}, {"lamp": 0.25, "book": 0.25, "cup": 0.5}
    wanted = 0.25 * math.log(2)
    got = at(p, q)
    skewed, other = {"a": 0.9, "b": 0.1}, {"a": 0.5, "b": 0.5}
    there, back = kl_divergence(skewed, other), kl_divergence(other, skewed)
    if abs(at(skewed, other) - back) < 1e-9:
        raise Wrong("the two are turned round: the average is taken over what is true, p, not over q")
    if abs(at(skewed, other) + there) < 1e-9:
        raise Wrong("yours is negative: it is the logarithm of p over q, not of q over p")
    if abs(got - wanted / math.log(2)) < 1e-9:
        raise Wrong("yours is in bits: math.log, the natural logarithm, gives nats")
    if abs(at(skewed, other) - (there + 0.9 * -math.log(0.9) + 0.1 * -math.log(0.1))) < 1e-9:
        raise Wrong("that is the cross-entropy, -Σ p ln q: take away the entropy of p, which nobody can save")
    if abs(at(skewed, other) - (math.log(0.9 / 0.5) + math.log(0.1 / 0.5))) < 1e-9:
        raise Wrong("each logarithm must be weighted by p(word) before you add them up")
    if abs(got - wanted) > 1e-9 or abs(at(skewed, other) - there) > 1e-9:
        raise Wrong(f"for p = {p} and q = {q} it is {wanted:.4f}, yours gives {got:.4f}")
    nothing = "a word with p = 0 must add nothing: leave it out, 0 · ln 0 counts as 0"
    try:
        if abs(at({"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.5}) - math.log(2)) > 1e-9:
            raise Wrong(nothing)
    except ValueError:
        raise Wrong(nothing) from None
    try:
        missing = at({"a": 0.5, "b": 0.5}, {"a": 1.0})
    except (KeyError, ZeroDivisionError) as error:
        raise Wrong(f"a word that q leaves out ends in {type(error).__name__}: return math.inf there") from None
    if at({"a": 0.0, "b": 1.0}, {"b": 1.0}) != 0:
        raise Wrong("a word that cannot come (p = 0) costs nothing, even if q leaves it out too")
    if missing != math.inf:
        raise Wrong("a word that can come and that q rules out costs infinitely much: return math.inf")
    return "0 where q is right, infinite where q rules out what comes, and never negative"


def _another_kl(p, q):
    total = 0.0
    for word, chance in p.items():
        if chance > 0:
            total += chance * (math.log(chance) - math.log(q[word])) if q.get(word) else math.inf
    return total


def _plain(p, q):
    return sum(p[w] * math.log(p[w] / q[w]) for w in p)


def _skips_missing(p, q):
    return sum(p[w] * math.log(p[w] / q[w]) for w in p if p[w] > 0 and q.get(w, 0) > 0)


def _check_below(attempt):
    choose_letter(attempt, "b", {
        "a": "no model beats the truth on average: the cross-entropy is the entropy plus a KL that is never negative",
        "c": "a different seed gives other fresh stories, but the same floor on average",
        "d": "a larger model can come closer to the floor, not below it",
        "e": "no 5-gram model is in it: every -ln p is computed exactly from the world's own choices; only their mean over some stories is off a little, by the interval",
    })  # fmt: skip
    return "below the floor on fresh stories is impossible on average: look for the leak"


EXERCISES = [
    Exercise(
        id="02-utf8", title="bytes of a word", minutes=3, difficulty=1,
        task="On paper: how many bytes does UTF-8 take for `né编程😀`?",
        stub="n_bytes = ...  # a number", name="n_bytes",
        hints=("The first 128 characters take one byte. Is é among them?", "Accented letters take two, Chinese three, emoji four."),
        check=_check_utf8, answer=13, another=(len("né编程😀".encode()),),
        wrong=((5, "number of characters"), (10, "two bytes each"), (12, "one short"), (14, "one too many"), (20, "four bytes each")),
    ),
    Exercise(
        id="02-merges", title="two merges by hand", minutes=6, difficulty=2,
        task="""
A text consists of the words `banana`, `banana`, `band` (merges do not cross blanks, and the blanks do not count). On paper:
which two pieces does byte-pair encoding learn first? Give them as text, in order.""",
        stub='pieces = ...  # a list of two texts, like ["xy", "xyz"]', name="pieces",
        hints=("Count every pair of neighbours in all three words.", "Write the words again with the first merge as one piece, and count again."),
        check=_check_merges, answer=["an", "ban"], another=(("an", "ban"),),
        wrong=((["ba", "an"], "once in each word"), (["na", "an"], "4 times"), (["an", "na"], "no n stands alone"),
               (["an", "anan"], "stands there twice"), (["an", "ana"], "“an”+“a”"), ("an", "a list of two"), (["an", "nd"], "is not the most")),
    ),
    Exercise(
        id="02-windows", title="how many windows?", minutes=3, difficulty=1,
        task="""
A text has 1000 tokens, and the context is T = 64. On paper: at how many places can a random window start, if each of its 64
inputs needs a target?""",
        stub="starts = ...  # a number", name="starts",
        hints=("How many tokens does a window with its targets take?", "65 tokens must fit: what is the last start?"),
        check=_check_windows, answer=936, another=(1000 - 64,),
        wrong=((937, "no next token"), (935, "one too few"), (15, "side by side"), (1000, "run over it"), (16, "rounded")),
    ),
    Exercise(
        id="02-overlap", title="what is shared?", minutes=4, difficulty=1,
        task="""
Training: *the cat sat on the mat*. Validation: *on the mat the cat ran*. On paper: which share of the trigrams (three words
in a row) of the validation text stands in the training text too?""",
        stub="share = ...  # a number from 0 to 1", name="share",
        hints=("Six words hold four trigrams. Write them down.", "“on the mat” is the first. Which of the other three stand in the training text?"),
        check=_check_overlap, answer=0.25, another=(1 / 4,),
        wrong=((0.6, "counts pairs"), (0.8333, "single words"), (0.1667, "divide by 4"), (0.5, "one too many"),
               (0, "stands in both"), (1, "one is shared")),
    ),
    Exercise(
        id="02-surprise", title="one sentence's surprise", minutes=5, difficulty=2,
        task="""
A world draws its next sentence so: the construction “{A} picked up the {T} .” has probability 1/4; six pairs of person and
thing are allowed, all equally probable, and only one of them is a woman with the lamp; and a pronoun stands for the name in
half of the cases. The sentence “She picked up the lamp.” has come. On paper: how many nats is its surprise, −ln p?""",
        stub="surprise = ...  # a number", name="surprise",
        hints=("Three choices, one after the other: their probabilities multiply.", "One over p is 4 times 6 times something."),
        check=_check_surprise, answer=3.871, another=(math.log(4 * 6 * 2),),
        wrong=((48, "one over the probability"), (1 / 48, "is the probability"), (5.585, "in bits"), (-3.871, "is negative"),
               (3.178, "the pronoun"), (2.485, "construction's 1/4"), (2.079, "the filling is a choice")),
    ),
    Exercise(
        id="02-kl", title="build the gap", minutes=10, difficulty=2,
        task="""
Build one: `kl_divergence(p, q)` returns $\\sum_w p(w) \\ln \\frac{p(w)}{q(w)}$ in nats. p and q are dictionaries {word:
probability}. A word with p = 0 adds nothing; a word with p > 0 that q lacks, or gives 0, makes it `math.inf`. The notebook
goes on with yours if it passes, with ours if not.""",
        stub="""
def kl_divergence(p, q):
    # p, q {word: probability} -> a number, at least 0
    return ...
""",
        name="kl_divergence",
        hints=(
            "Go over the words of p; leave out those with p = 0.",
            "`q.get(word, 0)` is 0 for a word that q lacks: return `math.inf` before you divide by it.",
        ),
        check=_check_kl, answer=kl_divergence, another=(_another_kl,),
        wrong=(
            (lambda p, q: kl_divergence(q, p), "turned round"), (lambda p, q: -kl_divergence(p, q), "yours is negative"),
            (lambda p, q: kl_divergence(p, q) / math.log(2), "in bits"),
            (lambda p, q: -sum(p[w] * math.log(q[w]) for w in p), "that is the cross-entropy"),
            (lambda p, q: sum(math.log(p[w] / q[w]) for w in p), "weighted by p"),
            (_plain, "must add nothing"), (_skips_missing, "costs infinitely much"),
            (lambda p, q: math.inf if any(q.get(w, 0) == 0 for w in p) else kl_divergence(p, q), "costs nothing, even"), (lambda p, q: "0", "a number was wanted"),
        ),
        ours="bigmodel_lib.exercises.nb02:kl_divergence",
    ),
    Exercise(
        id="02-below", title="too good to be true", minutes=4, difficulty=3,
        task="""
Someone reports a model with a loss clearly below the floor, on ten thousand fresh stories. What is the likeliest reason?
**a** the model is better than the world · **b** some targets are seen, or other tokens are scored than the floor counts ·
**c** another seed · **d** the model is very large · **e** the floor is only the loss of a model that counts which word follows which""",
        stub='reason = ...  # one letter, like "a"', name="reason",
        hints=("By how much can KL(p‖q) be below 0?", "What would a model need to know to pay less than −ln p on average?"),
        check=_check_below, answer="b", another=(" B ",),
        wrong=(("a", "beats the truth"), ("c", "different seed"), ("d", "larger model"), ("e", "no 5-gram model"), ("z", "one letter from a to e")),
    ),
]  # fmt: skip
