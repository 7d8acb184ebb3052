"""data/reviews.tsv: balanced, and no two reviews alike."""

import collections
import itertools
import re

import pytest

from bigmodel_lib.text.sources import data_path


def words_of(text):
    return re.findall(r"[a-z']+", text.lower())


def shared_runs(texts, n=8):
    """The pairs (i, j) of texts that have a run of n words in common."""
    found, seen = set(), {}
    for i, text in enumerate(texts):
        words = words_of(text)
        for start in range(len(words) - n + 1):
            j = seen.setdefault(tuple(words[start : start + n]), i)
            if j != i:
                found.add((j, i))
    return found


def pairs_of_words(text):
    return set(itertools.pairwise(words_of(text)))


def likeness(one, other):
    """The share of the shorter text's pairs of words that the other has, too: 1 for a text inside another."""
    return len(one & other) / max(1, min(len(one), len(other)))


@pytest.fixture(scope="module")
def reviews():
    header, *lines = data_path("reviews.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "label\tgroup\ttext"
    return [line.split("\t") for line in lines]


def test_every_line_has_a_label_a_group_and_a_short_text(reviews):
    assert len(reviews) >= 600
    for label, group, text in reviews:
        assert label in ("0", "1") and group.isalpha() and 5 <= len(words_of(text)) <= 60
        assert text == text.strip() and text.isprintable() and '"' not in text


def test_labels_are_balanced_in_every_group(reviews):
    counts = collections.Counter((group, label) for label, group, _ in reviews)
    groups = {group for group, _ in counts}
    assert len(groups) >= 8 and all(counts[group, "0"] == counts[group, "1"] >= 30 for group in groups)


def test_the_order_tells_nothing(reviews):
    labels = [int(label) for label, _, _ in reviews]
    assert all(35 <= sum(labels[start : start + 100]) <= 65 for start in range(0, len(labels), 100))
    assert len({group for _, group, _ in reviews[:50]}) >= 8


def test_no_two_reviews_share_eight_words_in_a_row(reviews):
    texts = [text for _, _, text in reviews]
    assert [(texts[i], texts[j]) for i, j in shared_runs(texts)] == []


def test_near_duplicates_are_reported(reviews):
    texts = {text: pairs_of_words(text) for _, _, text in reviews}
    closest = max(itertools.combinations(texts, 2), key=lambda two: likeness(texts[two[0]], texts[two[1]]))
    assert likeness(*map(texts.get, closest)) <= 0.4, closest


def test_openings_vary(reviews):
    for group in {group for _, group, _ in reviews}:
        openings = collections.Counter(words_of(text)[0] for _, g, text in reviews if g == group)
        assert openings.most_common(1)[0][1] <= 3, (group, openings.most_common(1))


def test_copies_would_be_found():
    one = "The kettle boils so fast that I no longer have time to be impatient."
    other = "Well, the kettle boils so fast that I, no longer young, was impressed."
    assert shared_runs([one, "Nothing of the kind.", other]) == {(0, 2)}
    pairs, others = pairs_of_words(one), pairs_of_words("Nothing of the kind.")
    assert likeness(pairs, pairs) == 1 and likeness(pairs, others) == 0
