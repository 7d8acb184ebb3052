"""The exercises of 02_data_input."""

import collections
import itertools
import math

from bigmodel_lib.exercises.engine import Exercise
from bigmodel_lib.text.tokenizers import merge_pair


def kl_divergence(p, q):
    """How many nats more one pays on average for believing q where p is true: KL(p‖q) = Σ p(w) ln(p(w) / q(w)).

    p and q {word: probability}; a word with p = 0 adds nothing, one with p > 0 and q = 0 makes it infinite.
    Source: Kullback & Leibler 1951. Built by the reader in 02_data_input.
    """
    if any(q.get(word, 0) == 0 for word in p if p[word] > 0):
        return math.inf
    return sum(p[word] * math.log(p[word] / q[word]) for word in p if p[word] > 0)


def count_pairs(words):
    """How often each pair of neighbours occurs in words {tuple of ids: how often}. Built by the reader in 02_data_input."""
    pairs = collections.Counter()
    for word, times in words.items():
        for pair in itertools.pairwise(word):
            pairs[pair] += times
    return pairs


def learn_bpe(words, n_merges):
    """{pair: token} of the merges of words {tuple of ids: how often}, in order; new tokens from 256 on.

    Of equally frequent pairs the smaller is merged. Source: Sennrich et al. 2016. Built by the reader in 02_data_input.
    """
    merges = {}
    for token in range(256, 256 + n_merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges[best] = token
        words = {merge_pair(word, best, token): times for word, times in words.items()}
    return merges


# Inputs


def _two_bets(rng):
    names = [f"w{i}" for i in range(rng.integers(2, 7))]
    p, q = (rng.dirichlet([1.0] * len(names)) for _ in range(2))
    bets = dict(zip(names, q.tolist(), strict=True))
    return dict(zip(names, p.tolist(), strict=True)), {name: bets[name] for name in rng.permutation(names).tolist()}


def _word(rng, letters="abc", longest=8):
    return tuple(ord(letter) for letter in rng.choice(list(letters), size=rng.integers(1, longest + 1)))


def _words(rng):
    return ({_word(rng): int(rng.integers(1, 9)) for _ in range(rng.integers(1, 6))},)


def _word_and_pair(rng):
    word = _word(rng, "ab")
    return word, (int(rng.choice([97, 98])), int(rng.choice([97, 98]))), int(rng.integers(256, 999))


def _words_and_number(rng):
    return {_word(rng, "abcde", 6): int(rng.integers(1, 9)) for _ in range(rng.integers(1, 6))}, int(rng.integers(1, 5))


# Other right answers


def _kl_by_loop(p, q):
    total = 0.0
    for word, chance in p.items():
        if chance > 0:
            total += chance * (math.log(chance) - math.log(q[word])) if q.get(word) else math.inf
    return total


def _kl_as_difference(p, q):
    seen = [word for word in p if p[word]]
    try:
        return math.fsum(-p[w] * math.log(q.get(w, 0)) for w in seen) - math.fsum(-p[w] * math.log(p[w]) for w in seen)
    except ValueError:
        return math.inf


def _count_by_places(words):
    pairs = {}
    for word in words:
        for i in range(len(word) - 1):
            pairs[word[i], word[i + 1]] = pairs.get((word[i], word[i + 1]), 0) + words[word]
    return pairs


def _count_by_zip(words):
    return collections.Counter(
        p for word, times in words.items() for p in list(zip(word, word[1:], strict=False)) * times
    )


def _merge_by_recursion(word, pair, token):
    if len(word) < 2:
        return word
    if word[:2] == pair:
        return (token, *_merge_by_recursion(word[2:], pair, token))
    return (word[0], *_merge_by_recursion(word[1:], pair, token))


def _merge_by_deleting(word, pair, token):
    word, i = list(word), 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            word[i : i + 2] = [token]
        i += 1
    return tuple(word)


def _bpe_by_sorting(words, n_merges):
    words, merges = dict(words), {}
    while len(merges) < n_merges:
        ranked = sorted(_count_by_places(words).items(), key=lambda row: (-row[1], row[0]))
        if not ranked:
            return merges
        pair = ranked[0][0]
        merges[pair] = 256 + len(merges)
        words = {_merge_by_deleting(word, pair, merges[pair]): times for word, times in words.items()}
    return merges


def _bpe_by_rows(words, n_merges):
    rows, merges, token = [(word, times) for word, times in words.items()], {}, 256
    for _ in range(n_merges):
        pairs = count_pairs(dict(rows))
        most = max(pairs.values(), default=0)
        if most == 0:
            break
        pair = min(p for p in pairs if pairs[p] == most)
        merges[pair], rows = token, [(merge_pair(word, pair, token), times) for word, times in rows]
        token += 1
    return merges


# Typical mistakes


def _kl_plain(p, q):
    return sum(p[w] * math.log(p[w] / q[w]) for w in p)


def _kl_skips_missing(p, q):
    return sum(p[w] * math.log(p[w] / q[w]) for w in p if p[w] > 0 and q.get(w, 0) > 0)


def _kl_strict(p, q):
    return math.inf if any(q.get(w, 0) == 0 for w in p) else kl_divergence(p, q)


def _cross_entropy(p, q):
    return -sum(p[w] * math.log(q[w]) if q.get(w) else -math.inf for w in p if p[w] > 0)


def _unweighted(p, q):
    return sum(math.log(p[w] / q[w]) if q.get(w) else math.inf for w in p if p[w] > 0)


def _weighted_by_q(p, q):
    return sum(q[w] * math.log(p[w] / q[w]) if q.get(w) else math.inf for w in p if p[w] > 0)


def _first_word_only(p, q):
    for w in p:
        if p[w] > 0:
            return p[w] * math.log(p[w] / q[w]) if q.get(w) else math.inf


def _ratio_of_logs(p, q):
    if any(not q.get(w) for w in p if p[w] > 0):
        return math.inf
    return sum(p[w] * math.log(p[w]) / math.log(q[w]) if q[w] != 1 else 0 for w in p if p[w] > 0)


def _by_position(p, q):
    pairs = zip(p.values(), q.values(), strict=False)
    return sum(a * math.log(a / b) if b else math.inf for a, b in pairs if a > 0)


def _terms(p, q):
    return [p[w] * math.log(p[w] / q[w]) if q.get(w) else math.inf for w in p if p[w] > 0]


def _each_word_once(words):
    return collections.Counter(pair for word in words for pair in itertools.pairwise(word))


def _overwritten(words):
    return {pair: times for word, times in words.items() for pair in itertools.pairwise(word)}


def _once_a_word(words):
    pairs = collections.Counter()
    for word, times in words.items():
        for pair in set(itertools.pairwise(word)):
            pairs[pair] += times
    return pairs


def _side_by_side(words):
    pairs = collections.Counter()
    for word, times in words.items():
        for pair in zip(word[::2], word[1::2], strict=False):
            pairs[pair] += times
    return pairs


def _single_tokens(words):
    tokens = collections.Counter()
    for word, times in words.items():
        for token in word:
            tokens[token] += times
    return tokens


def _across_words(words):
    return collections.Counter(itertools.pairwise([token for word, times in words.items() for token in word * times]))


def _turned_round(words):
    return {pair[::-1]: times for pair, times in count_pairs(words).items()}


def _one_short(words):
    pairs = collections.Counter()
    for word, times in words.items():
        for i in range(len(word) - 2):
            pairs[word[i], word[i + 1]] += times
    return pairs


def _first_word(words):
    pairs = collections.Counter()
    for word, times in words.items():
        for pair in itertools.pairwise(word):
            pairs[pair] += times
        return pairs


def _into_a_plain_dict(words):
    pairs = {}
    for word, times in words.items():
        for pair in itertools.pairwise(word):
            pairs[pair] += times
    return pairs


def _first_only(word, pair, token):
    for i in range(len(word) - 1):
        if word[i : i + 2] == pair:
            return (*word[:i], token, *word[i + 2 :])
    return word


def _keeps_the_second(word, pair, token):
    return tuple(token if word[i : i + 2] == pair else word[i] for i in range(len(word)))


def _loses_the_last(word, pair, token):
    merged, i = [], 0
    while i < len(word) - 1:
        merged.append(token if word[i : i + 2] == pair else word[i])
        i += 2 if word[i : i + 2] == pair else 1
    return tuple(merged)


def _for_loop(word, pair, token):
    return tuple(token if word[i : i + 2] == pair else word[i] for i in range(len(word) - 1))


def _compares_a_list(word, pair, token):
    return tuple(word)


def _last_once_more(word, pair, token):
    merged, i = [], 0
    while i < len(word) - 1:
        merged.append(token if word[i : i + 2] == pair else word[i])
        i += 2 if word[i : i + 2] == pair else 1
    return (*merged, word[-1])


def _steps_by_two(word, pair, token):
    found = []
    for i in range(0, len(word), 2):
        found += [token] if word[i : i + 2] == pair else word[i : i + 2]
    return tuple(found)


def _no_bounds(word, pair, token):
    merged, i = [], 0
    while i < len(word):
        both = word[i] == pair[0] and word[i + 1] == pair[1]
        merged.append(token if both else word[i])
        i += 2 if both else 1
    return tuple(merged)


def _from_the_right(word, pair, token):
    return merge_pair(word[::-1], pair[::-1], token)[::-1]


def _either_order(word, pair, token):
    merged, i = [], 0
    while i < len(word):
        both = word[i : i + 2] in (pair, pair[::-1])
        merged.append(token if both else word[i])
        i += 2 if both else 1
    return tuple(merged)


def _bpe_by(choose, start=256, replace=True):
    """A loop that goes wrong in one way."""

    def loop(words, n_merges):
        merges = {}
        for token in range(start, start + n_merges):
            pairs = count_pairs(words)
            if not pairs:
                break
            best = choose(pairs)
            merges[best] = token
            if replace:
                words = {merge_pair(word, best, token): times for word, times in words.items()}
        return merges

    return loop


def _right_choice(pairs):
    return min(pairs, key=lambda pair: (-pairs[pair], pair))


def _counted_once(words, n_merges):
    ranked = sorted(count_pairs(words).items(), key=lambda row: (-row[1], row[0]))
    return {pair: 256 + i for i, (pair, _) in enumerate(ranked[:n_merges])}


def _other_way_round(words, n_merges):
    return {token: pair for pair, token in learn_bpe(words, n_merges).items()}


def _without_times(words, n_merges):
    merges = {}
    for token in range(256, 256 + n_merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        merges[_right_choice(pairs)] = token
        words = dict.fromkeys((merge_pair(word, _right_choice(pairs), token) for word in words), 1)
    return merges


def _no_stop(words, n_merges):
    merges = {}
    for token in range(256, 256 + n_merges):
        pairs = count_pairs(words)
        best = _right_choice(pairs)
        merges[best] = token
        words = {merge_pair(word, best, token): times for word, times in words.items()}
    return merges


def _max_no_stop(words, n_merges):
    merges = {}
    for token in range(256, 256 + n_merges):
        pairs = count_pairs(words)
        best = max(pairs, key=pairs.get)
        merges[best] = token
        words = {merge_pair(word, best, token): times for word, times in words.items()}
    return merges


def _always_256(words, n_merges):
    merges = {}
    for _ in range(n_merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        merges[_right_choice(pairs)] = 256
        words = {merge_pair(word, _right_choice(pairs), 256): times for word, times in words.items()}
    return merges


def _gives_words(words, n_merges):
    for pair, token in learn_bpe(words, n_merges).items():
        words = {merge_pair(word, pair, token): times for word, times in words.items()}
    return words


def _stores_counts(words, n_merges):
    found = {}
    for pair, token in learn_bpe(words, n_merges).items():
        found[pair] = count_pairs(words)[pair]
        words = {merge_pair(word, pair, token): times for word, times in words.items()}
    return found


EXERCISES = [
    Exercise(
        id="02-surprise", title="one sentence's surprise", minutes=4, difficulty=1,
        task="""
The next sentence is drawn in three steps. Its kind, “somebody picked up something”, has probability 1/4. There are six equally
likely ways to fill in who and what. And a coin decides between the name and a pronoun. Out comes *She picked up the lamp.* On
paper: how many bits of surprise is that, to two digits after the point?""",
        stub="surprise = ...  # a number", name="surprise",
        hints=(
            "Three choices, one after the other. What happens to their probabilities?",
            "What is the probability that all three come out just so? Surprise is a logarithm of it, and it has a sign and a base.",
            "log₂ of 4 · 6 · 2, which is log₂ 4 + log₂ 6 + log₂ 2.",
        ),
        answer=math.log2(48), another=(5.58, 5.585), tolerance=0.0051,
        wrong=(
            (48, "48 is one over the probability: take its logarithm to base 2"),
            (1 / 48, "1/48 is the probability: take minus its logarithm to base 2"),
            (math.log(48), "that is in nats: bits take the logarithm to base 2"),
            (-math.log2(48), "the logarithm of a probability is negative, and surprise is minus that"),
            (math.log2(24), "the coin is a choice too: once more 1/2, one more bit"),
            (math.log2(12), "that is log₂ 12: one of the choices is left out, or two of them were added"),
            (math.log2(8), "who and what is a choice too: once more 1/6"),
            (math.log2(96), "that is one bit too many: is a choice in there twice?"),
            (12, "12 is the sum of the three numbers: chances of choices in a row multiply"),
            (9, "the surprises of six ways and of a coin aren't 6 and 1: each is a logarithm"),
            (math.log10(48), "that is the logarithm to base 10: bits take base 2"),
        ),
        right="2 + 2.58 + 1 bits: surprises add where probabilities multiply",
    ),
    Exercise(
        id="02-kl", title="build the gap", minutes=8, difficulty=2,
        task="""
Write `kl_divergence(p, q)`, the gap $\\sum_w p(w) \\ln \\frac{p(w)}{q(w)}$ in nats. p and q are dictionaries {word: probability}. A word
with p = 0 costs nothing, whatever q says. If q leaves out a word that can come (p > 0), or gives it 0, the gap is `math.inf`.""",
        stub="""
def kl_divergence(p, q):
    # p, q {word: probability} -> a number, at least 0
    return ...
""",
        name="kl_divergence",
        hints=(
            "Whose words do you go over, and which of them can you skip?",
            "What happens at a word that q leaves out? `q.get(word, 0)` doesn't stop there; a division would.",
            "If any word has p > 0 and `q.get(word, 0) == 0`, return `math.inf`. Otherwise sum p[w] · math.log(p[w] / q[w]) over the words with p > 0.",
        ),
        answer=kl_divergence, another=(_kl_by_loop, _kl_as_difference),
        inputs=_two_bets,
        special=(
            ("two numbers by hand", {"lamp": 0.75, "book": 0.25}, {"lamp": 0.5, "book": 0.5}),
            ("a word with p = 0", {"lamp": 1.0, "book": 0.0}, {"lamp": 0.5, "book": 0.5}),
            ("a word that q leaves out", {"lamp": 0.5, "book": 0.5}, {"lamp": 1.0}),
            ("a word that q gives 0", {"lamp": 0.5, "book": 0.5}, {"lamp": 1.0, "book": 0.0}),
            ("a word that cannot come and that q leaves out", {"lamp": 1.0, "book": 0.0}, {"lamp": 1.0}),
        ),
        partial=(
            (_kl_plain, "where p and q are above 0 it is right; p = 0 costs nothing (skip it), and q = 0 costs `math.inf`"),
            (_kl_skips_missing, "right, but a word that can come and that q rules out costs infinitely much: return math.inf"),
            (_kl_strict, "right, but a word that cannot come (p = 0) costs nothing, even if q leaves it out"),
        ),
        wrong=(
            (lambda p, q: kl_divergence(q, p), "p and q have changed places: the average is over what is true, p"),
            (lambda p, q: -kl_divergence(p, q), "yours is negative: the logarithm of p over q, not of q over p"),
            (lambda p, q: kl_divergence(p, q) / math.log(2), "yours is in bits: `math.log` gives nats"),
            (_cross_entropy, "that is the cross-entropy, −Σ p ln q: the entropy of p, which nobody can save, is still in it"),
            (_by_position, "the two dictionaries may list their words in different orders: look each word up, q[word]"),
            (_terms, "these are the terms, one for each word: add them up"),
            (_unweighted, "each logarithm must be weighted by p(w) before you add them up"),
            (_weighted_by_q, "you weight by q: how often a word comes is the world's business, p(w)"),
            (_first_word_only, "the return is inside the loop, so only the first word counts: move it out"),
            (_ratio_of_logs, "the logarithm of a fraction is wanted, ln(p / q), not one logarithm divided by another"),
        ),
        right="0 where q is right, infinite where q rules out what comes, never negative",
        ours="bigmodel_lib.exercises.nb02:kl_divergence",
    ),
    Exercise(
        id="02-count-pairs", title="step 1: count the pairs", minutes=6, difficulty=1,
        task="""
Write `count_pairs(words)`. `words` is a dictionary {tuple of ids: how often that word occurs}. Return a dictionary {(left, right): how often
these two are neighbours in the text}. Pairs don't cross from one word to the next.""",
        stub="""
def count_pairs(words):
    # words {tuple of ids: how often} -> {(left, right): how often}
    return ...
""",
        name="count_pairs",
        hints=(
            "The word *lamp* has three pairs of neighbours. If it occurs four times, how often does each of them occur?",
            "Two loops: over `words.items()`, and in each word over its neighbours. `itertools.pairwise(word)` yields those.",
            "Start with `pairs = collections.Counter()`; inside both loops, `pairs[pair] += times`.",
        ),
        answer=count_pairs, another=(_count_by_places, _count_by_zip),
        inputs=_words,
        special=(
            ("a word of one token", {(97,): 3}),
            ("the same pair twice in a word", {(97, 98, 97, 98): 2}),
            ("three equal tokens", {(97, 97, 97): 1}),
        ),
        wrong=(
            (_each_word_once, "each word was counted once: a pair counts as often as its word occurs"),
            (_overwritten, "a pair that occurs in two words keeps only the last count: add with +="),
            (_once_a_word, "a pair that occurs twice in one word counts twice"),
            (_side_by_side, "pairs overlap: every token but the first and the last is in two of them"),
            (_single_tokens, "these are single tokens: count neighbours, (left, right)"),
            (_turned_round, "your pairs are (right, left): the token on the left comes first"),
            (_one_short, "the last pair of each word is missing: your range ends one too early"),
            (_first_word, "only the first word was counted: the return is inside the loop"),
            (_into_a_plain_dict, "a plain dictionary has no count to add to yet: start with a `collections.Counter()`"),
            (_across_words, "the end of one word and the start of the next became a pair: stay inside each word"),
        ),
        right="that is step one of three",
        ours="bigmodel_lib.exercises.nb02:count_pairs",
    ),
    Exercise(
        id="02-merge-pair", title="step 2: merge one pair", minutes=8, difficulty=2,
        task="""
Write `merge_pair(word, pair, token)`: the same word, a tuple, in which `token` replaces each occurrence of `pair`, found from left to right.""",
        stub="""
def merge_pair(word, pair, token):
    # word (tuple of ids), pair (left, right), token (int) -> tuple of ids
    return ...
""",
        name="merge_pair",
        hints=(
            "Walk through the word from the left. How far do you step after a merge, and how far otherwise?",
            "`word[i : i + 2] == pair` compares two neighbours at once, and is False at the last place. A `while` loop lets you choose the step.",
            "Start with `merged, i = [], 0`. On a match append `token` and add 2 to i; otherwise append `word[i]` and add 1. Return `tuple(merged)`.",
        ),
        answer=merge_pair, another=(_merge_by_recursion, _merge_by_deleting),
        inputs=_word_and_pair, view=lambda result, *_: (type(result).__name__, tuple(result)),
        special=(
            ("three equal tokens", (97, 97, 97), (97, 97), 256),
            ("a token whose digits end like the pair's", (197, 98), (97, 98), 256),
            ("a word of one token", (97,), (97, 98), 256),
            ("a word without the pair", (98, 97), (97, 98), 256),
        ),
        wrong=(
            (_first_only, "only the first occurrence is merged: go on to the end of the word"),
            (_keeps_the_second, "the pair's second token is still there: after a merge, step over two"),
            (_loses_the_last, "the last token gets lost: the walk must reach it even if it starts no pair"),
            (_for_loop, "the last token gets lost, and a merged pair's second token stays: a `for` can't step by one or two, a `while` can"),
            (_from_the_right, "three equal tokens: merge from left to right, so aaa becomes (aa) a"),
            (_either_order, "the order matters: (b, a) is another pair than (a, b)"),
            (lambda word, pair, token: merge_pair(word, pair, 256), "your new token is always 256: put `token` there"),
            (lambda word, pair, token: [*merge_pair(word, pair, token)], "right, but it's a list, and words are tuples: return `tuple(…)`"),
            (_compares_a_list, "nothing was merged: a list never equals a tuple, so compare `tuple(word[i : i + 2])` with the pair"),
            (_last_once_more, "the last token was added again, even where it's already merged"),
            (_steps_by_two, "you step by two each time, so pairs that start at an odd place are missed"),
            (_no_bounds, "word[i + 1] isn't there at the last place: compare `word[i : i + 2]` with the pair"),
            (lambda word, pair, token: tuple(token if t in pair else t for t in word), "both tokens must stand side by side, in that order, to be merged"),
        ),
        right="and from left to right, also in aaa",
        ours="bigmodel_lib.text.tokenizers:merge_pair",
    ),
    Exercise(
        id="02-bpe-loop", title="step 3: the loop", minutes=10, difficulty=3,
        task="""
Write `learn_bpe(words, n_merges)`. Do this `n_merges` times: count the pairs, take the most frequent (on a tie the smaller pair, compared as
tuples), give it the next free token, 256 first, and merge it in every word. Return {pair: token} in the order of merging. Stop early
if no pair is left. `count_pairs` and `merge_pair` are yours to use.""",
        stub="""
def learn_bpe(words, n_merges):
    # words {tuple of ids: how often}, n_merges (int) -> {pair: token}
    return ...
""",
        name="learn_bpe",
        hints=(
            "What has to be done anew in each round, because the last merge changed it?",
            "`min` with a key that is a tuple handles ties: it compares the first entries, and only on a tie the second ones.",
            "`best = min(pairs, key=lambda pair: (-pairs[pair], pair))`, then `merges[best] = token`, then `words = {merge_pair(word, best, token): times for …}`.",
        ),
        answer=learn_bpe, another=(_bpe_by_sorting, _bpe_by_rows),
        inputs=_words_and_number,
        special=(
            ("the words of this page", {tuple(b"lamp"): 4, tuple(b"lamps"): 2, tuple(b"damp"): 2, tuple(b"camp"): 1}, 3),
            ("a tie", {(100, 99): 1, (97, 98): 1}, 1),
            ("more merges than pairs", {(97, 98): 2}, 5),
        ),
        partial=((_max_no_stop, "right without ties and while there are pairs: of ties take the smaller, and break once `count_pairs` finds none"),
                 (_no_stop, "right, as long as there are pairs: stop where `count_pairs` finds none"),),
        wrong=(
            (_bpe_by(lambda pairs: max(pairs, key=pairs.get)), "a tie goes wrong: of equally frequent pairs take the smaller, not the one met first"),
            (_bpe_by(lambda pairs: max(pairs, key=lambda pair: (pairs[pair], pair))), "a tie goes wrong: of equally frequent pairs take the smaller, not the larger"),
            (_bpe_by(_right_choice, start=257), "the first new token is 256: the bytes are 0 to 255"),
            (_bpe_by(_right_choice, start=0), "0 to 255 are the bytes: new tokens begin at 256"),
            (_bpe_by(_right_choice, replace=False), "the words never change, so the same pair wins every round: merge it in all words"),
            (_counted_once, "the pairs were counted once, at the start: each merge changes the counts, so count again in each round"),
            (_bpe_by(lambda pairs: min(pairs, key=lambda pair: (pairs[pair], pair))), "the rarest pair was merged: the most frequent was wanted"),
            (_without_times, "after the first merge the words' counts are lost: a merged word occurs as often as before"),
            (_always_256, "every merge gets the number 256: the second one is 257, and so on"),
            (lambda words, n_merges: learn_bpe(words, max(0, n_merges - 256)), "range(256, n_merges) is empty: end it at 256 + n_merges"),
            (_gives_words, "these are the words after the merges: return the merges, {pair: token}"),
            (_stores_counts, "you stored how often each pair occurs: store its new token"),
            (_other_way_round, "the dictionary is turned round: {pair: token} was wanted"),
            (lambda words, n_merges: learn_bpe(words, n_merges - 1), "one merge is missing: n_merges of them were wanted"),
        ),
        right="you have built byte-pair encoding",
        ours="bigmodel_lib.exercises.nb02:learn_bpe",
    ),
    Exercise(
        id="02-windows", title="how many windows?", minutes=3, difficulty=1,
        task="""
A text has 1000 tokens, and a window takes T = 64 of them as input. On paper: at how many places can a window start, if each of its 64
inputs needs a target?""",
        stub="starts = ...  # a number", name="starts",
        hints=(
            "How many tokens does a window take, together with its targets?",
            "So many tokens in a row must fit. Which is the last place where they do, and which is the first?",
            "The first start is 0 and the last is 1000 − 65. How many numbers is that?",
        ),
        answer=936, another=(1000 - 64, 936.0), tolerance=0.4,
        wrong=(
            (937, "937 windows of 64 fit, but the last of them has no next token to be the target"),
            (935, "one too few: the first place to start is 0, and it counts too"),
            (15, "15 is how many fit side by side: windows may overlap"),
            (999, "999 tokens have a next one, but a window needs 64 of them in a row"),
            (64, "64 is how long a window is: at how many places can one start?"),
            (870, "that leaves out a window at both ends: only the end of the text is a limit"),
            (1000, "a window that starts near the end would run over it"),
            (16, "16 is 1000/64 rounded: windows may overlap"),
        ),
        right="starts 0 … 935: 64 tokens of input and one more as the last target",
    ),
    Exercise(
        id="02-below", title="too good to be true", minutes=4, difficulty=2,
        task="""
Someone reports a model whose loss is clearly *below* the floor, on ten thousand fresh stories. What's the likeliest reason?
**a** it is better than the world · **b** it sees some of its targets, or it averages over easier tokens ·
**c** a lucky seed · **d** it is very large · **e** the floor is only the loss of a counting model""",
        stub='reason = ...  # one letter, like "a"', name="reason",
        hints=(
            "By how much can KL divergence be below zero?",
            "Ten bets can be lucky. Can half a million?",
            "To pay less than −ln p on average, a model must know something that isn't in the text before the word.",
        ),
        answer="b", another=(" B ", "(b)"),
        wrong=(
            ("a", "nobody beats the truth on average: cross-entropy is entropy plus a KL that is never negative"),
            ("c", "ten thousand stories are too many for luck: the mean moves by less than a hundredth"),
            ("d", "a larger model can come closer to the floor, not below it"),
            ("e", "no counting is in it: every −ln p comes exactly from the world's own dice"),
        ),
        right="look for the leak",
    ),
]  # fmt: skip
