"""A training part and a held-out part that share no long passage."""


def ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words, in order; empty for fewer than n words."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def overlap(train: str, held_out: str, n: int) -> float:
    """The share of the held-out text's n-grams of words that the training text has too; 0 if there are none."""
    known = set(ngrams(train.split(), n))
    found = ngrams(held_out.split(), n)
    return sum(gram in known for gram in found) / max(1, len(found))


def split_without_leaks(text: str, n: int = 8) -> tuple[str, str]:
    """(train, held out): the last tenth of the paragraphs, without those that share n words in a row with the rest.

    Source: Brown et al. 2020, appendix C, with other n.
    """
    paragraphs = text.split("\n\n")
    cut = len(paragraphs) - len(paragraphs) // 10
    train = "\n\n".join(paragraphs[:cut])
    known = set(ngrams(train.split(), n))
    fresh = [text for text in paragraphs[cut:] if known.isdisjoint(ngrams(text.split(), n))]
    return train, "\n\n".join(fresh)
