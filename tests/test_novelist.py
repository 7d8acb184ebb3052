"""The recipe of the novelist, on a few sentences written for it."""

import collections
import hashlib
import importlib.util
import json
import pathlib
import sys

import numpy as np
import pytest

from bigmodel_lib.training import checkpoints

RECIPE = pathlib.Path(__file__).resolve().parents[1] / "data" / "recipes" / "novelist"


def module(name):
    """A module of the recipe, which is a folder that Python runs."""
    found = importlib.util.spec_from_file_location(f"novelist_{name}", RECIPE / f"{name}.py")
    made = importlib.util.module_from_spec(found)
    found.loader.exec_module(made)
    return made


sys.path.insert(0, str(RECIPE))
novelist, novelist_film, novelist_measures = map(module, ("__main__", "film", "measures"))
sys.path.remove(str(RECIPE))


@pytest.mark.parametrize(
    "line",
    ["CHAPTER I", "Chapter 12", "IV. THE LAMP", "II.", "3. How Anna Lost Her Lamp", "THE LAMP.", "The Lamp", "PART 1"],
)
def test_headings_are_known(line):
    assert novelist.is_heading(line)


@pytest.mark.parametrize("line", ["The lamp fell.", '"Yes," said Anna', "I saw it.", "Anna replied:", "It was late;"])
def test_what_is_said_is_no_heading(line):
    assert not novelist.is_heading(line)


def book(name, n_chapters, n_words=400):
    """A book whose paragraphs are all different, but for one that is in every chapter."""
    lines = []
    for chapter in range(n_chapters):
        lines += [f"CHAPTER {chapter + 1}", "The Title", " ".join(f"{name}{chapter}w{i}" for i in range(n_words)) + "."]
        lines += ["Enlarge", " ".join(f"again{i}" for i in range(20)) + "."]
    return "\n".join(lines)


def test_books_are_split_by_chapter_and_nothing_held_out_was_read(tmp_path):
    books, work = tmp_path / "books", tmp_path / "work"
    books.mkdir()
    for name in ("one", "two", novelist.JUDGE):
        (books / f"{name}.txt").write_text(book(name, 12))
    novelist.prepare(books, work)
    read, held_out, judge = (
        "\n".join(novelist_measures.chapters_of(work / part)) for part in ("train", "held_out", "judge")
    )
    assert [path.stem for path in sorted((work / "held_out").glob("*.txt"))] == ["one_005", "two_005"]
    assert len(list((work / "train").glob("*.txt"))) == 22 and "again" in read
    assert "one5w7" in held_out and "again" not in held_out  # the paragraph that training has, too
    assert novelist.JUDGE in judge and novelist.JUDGE not in read
    assert not any(word in read for word in ("CHAPTER", "Title", "Enlarge"))


def test_what_is_short_goes_with_the_chapter_before_it():
    long = "word " * 400 + "."
    found = novelist.chapters(f"A Note\nshort.\nCHAPTER 1\n{long}\nII.\nshort too.\nCHAPTER 2\n{long}")
    assert [len(chapter) for chapter in found] == [2, 1] and found[0][1] == "short too."


def test_the_longest_overlap_is_the_longest():
    read = ["Anna took the lamp and went down to the hall.", "It was dark in the hall, and Ben was not there."]
    said = [
        "Then Anna took the lamp and went away",
        "It was dark in the hall, and Ben slept",
        "nothing of this is known",
    ]
    found = novelist_measures.longest_overlaps(said, read)
    assert [" ".join(words) for words in found] == [
        "Anna took the lamp and went",
        "It was dark in the hall, and Ben",
        "",
    ]


def test_an_interval_holds_the_gap_and_shrinks_with_more_chapters():
    rng = np.random.default_rng(0)

    def rows(n, per_character):
        characters = rng.integers(5_000, 20_000, n)
        return np.stack([characters * rng.normal(per_character, 0.05, n), characters], axis=1)

    widths = []
    for n in (20, 2000):
        ours = rows(n, 1.0)
        plain = ours + np.stack([ours[:, 1] * rng.normal(0.1, 0.05, n), np.zeros(n)], axis=1)
        found = novelist_measures.gap_interval(ours, plain, draws=500)
        assert found["low"] < found["gap"] < found["high"] and abs(found["gap"] - 0.1) < 0.05
        widths.append(found["high"] - found["low"])
    assert widths[1] < widths[0] / 5


def test_quotations_are_counted_in_their_paragraphs():
    assert novelist_film.closed_quotes('"Yes," said Anna.\n"No.\nrest "') == (2, 1)
    assert novelist_film.closed_quotes('"Yes," said Anna, "of course."\n') == (2, 2)


def test_a_word_is_found_where_its_last_piece_is():
    tokens = ["An", "na", " saw", " An", "na", "'s", " lamp"]
    assert [novelist_film.place_of(tokens, word) for word in ("Anna", "saw", "lamp")] == [4, 2, 6]


def test_real_words_leave_out_what_may_be_cut():
    assert novelist_film.real_words("amp fell on the flxr and brok", {"fell", "on", "the", "and"}) == pytest.approx(0.8)


def test_the_first_words_keep_paragraphs():
    assert novelist_measures.first_words("one two\nthree four", 3) == "one two\nthree"
    assert novelist_measures.first_words("one", 3) == "one"


def test_words_of_a_list_are_found_in_any_form(monkeypatch):
    monkeypatch.setattr(novelist_measures, "SLURS", hashlib.sha256(b"blockhead").hexdigest()[:12])
    assert [novelist_measures.is_slur(word) for word in ("Blockhead", "blockheads", "block")] == [True, True, False]


def test_sentences_end_where_a_reader_would_say():
    text = 'He said to Mr. Darcy, "No!" and left. She smiled.\n"Who is it?" said he, (softly.) And then the'
    whole = ['He said to Mr. Darcy, "No!" and left.', "She smiled.", '"Who is it?" said he, (softly.)']
    assert novelist_measures.sentences(text) == (whole, "And then the")
    assert novelist_measures.sentences("One. Two!") == (["One.", "Two!"], "")
    assert novelist_measures.sentences("One.\n\n \nTwo!\n") == (["One.", "Two!"], "")
    assert novelist_measures.sentences("no end") == ([], "no end")


def test_marks_of_blind_readers_are_counted_by_writer(tmp_path):
    for name in ("warm", "cool"):
        rows = [["ours", 4], ["plain", 2], ["human", 5], ["ours", 1]]
        checkpoints.write_json(tmp_path / f"sheet_{name}_key.json", rows)
        checkpoints.write_json(tmp_path / f"marks_{name}_1.json", ["0.0", "1.0", "1.1"])
    checkpoints.write_json(tmp_path / "marks_warm_2.json", ["0.0", "0.3", "1.1", "3.0"])
    found = novelist_measures.blind(tmp_path)
    assert found["cool"]["readers"] == 1 and found["cool"]["ours"]["clean"] == pytest.approx(0.8)
    found = found["warm"]
    assert [found[who]["clean"] for who in ("ours", "plain", "human")] == pytest.approx([0.6, 0.25, 1.0])
    assert [found[who]["sentences"] for who in ("ours", "plain", "human")] == [5, 2, 5] and found["readers"] == 2
    assert found["ours"]["low"] <= 0.6 <= found["ours"]["high"] == pytest.approx(0.625)
    checkpoints.write_json(tmp_path / "marks_warm_3.json", ["1.2"])
    with pytest.raises(ValueError, match="1.2"):
        novelist_measures.blind(tmp_path)


KEPT = RECIPE.parents[1] / "novelist"


def test_what_is_kept_is_the_recipes_and_small_enough():
    model, tokenizer = checkpoints.load_model(KEPT)
    assert (KEPT / "model.safetensors").stat().st_size <= 16e6
    assert 4e6 <= sum(p.numel() for p in model.parameters()) <= 8e6 and tokenizer.vocab_size == 4096
    rows = json.loads((KEPT / "trials.json").read_text())
    arms = collections.Counter(row["arm"] for row in rows)
    assert all((row["arm"], row["changes"]) in novelist.TRIALS for row in rows) and arms["ours"] == arms["plain"] >= 6


def test_bookmarks_are_the_first_frames_that_show_what_they_name():
    found = [
        (0.4, None, ["ows rest � whil", "pp ing."]),
        (0.6, 0.2, ['the "r" is lampf', "and of and of."]),
        (0.95, 0.3, ['and said, "I am the', 'the "lamp" was']),
        (0.98, 0.9, ["the door.\nAnna said", '"Come," said Anna, "it is late."\n"No']),
        (0.99, 1.0, ["the lamp.\nShe went down to the hall.", '"Yes," said Ben.']),
    ]
    frames = [dict(real_words=real, closed_quotes=closed, samples=samples) for real, closed, samples in found]
    assert novelist_film.bookmarks(frames) == [
        ("first words", 2, 0),  # the first with nine real words in ten
        ("first closed quotation mark", 3, 1),  # the pair in frame 1 is luck: most were open then
        ("first sentence", 4, 0),
    ]
    assert novelist_film.bookmarks(frames[:3]) == [("first words", 2, 0)]
    assert novelist_film.bookmarks(frames[:1]) == []


def test_the_film_has_its_moments_and_its_loss_falls():
    film = json.loads((KEPT / "film.json").read_text())
    frames = film["frames"]
    losses = [frame["val_nats_per_char"] for frame in frames]
    assert 12 <= len(frames) <= 20 and losses == sorted(losses, reverse=True)
    assert set(film) == {"prompts", "sentences", "heads", "next", "bookmarks", "frames"}
    assert list(map(tuple, film["bookmarks"])) == novelist_film.bookmarks(frames)


def test_it_copies_hardly_more_than_people_do_as_00_says():
    copies = json.loads((KEPT / "metrics.json").read_text())["measures"]["copies"]
    ours, people = copies["novelist"], copies["held-out books"]
    assert copies["passages"] == 1000 and ours["median"] <= people["median"] + 1 and ours["95 %"] <= people["95 %"] + 2
    assert copies["tokens_per_second"] >= 400


def test_the_datasheet_says_what_was_measured():
    copies = json.loads((KEPT / "metrics.json").read_text())["measures"]["copies"]
    said = " ".join((KEPT.parent / "README.md").read_text(encoding="utf-8").split())
    assert f"in what it read has {copies['novelist']['longest']} words" in said
    assert f"from held-out chapters, it has {copies['held-out books']['longest']}." in said
    assert f"contain {copies['novelist']['slurs']} slur" in said
    arms = collections.Counter(row["arm"] for row in json.loads((KEPT / "trials.json").read_text()))
    numbers = ("no", "one", "two", "three", "four", "five", "six")
    assert f"{numbers[arms['ours']]} for itself and {numbers[arms['plain']]} for the plain GPT" in said


def test_the_datasheet_says_how_good_it_is():
    measures = json.loads((KEPT / "metrics.json").read_text())["measures"]
    said = " ".join((KEPT.parent / "README.md").read_text(encoding="utf-8").split())
    losses, blind = measures["losses"], measures["blind"]
    ours, plain, read = (losses["nats_per_char"][who] for who in ("ours", "plain", "ours, read"))
    assert (
        f"it has {ours:.3f} nats per character" in said
        and f"same books has {plain:.3f}: {plain - ours:.3f} more" in said
    )
    assert f"interval {losses['low']:.3f} to {losses['high']:.3f}" in said and f"has read, it has {read:.3f}." in said
    assert 0 < losses["low"] < plain - ours < losses["high"]
    size = next(row["parameters"] for row in json.loads((KEPT / "trials.json").read_text()) if row["arm"] == "plain")
    assert f"A plain GPT with {size / 1e6:.1f} million parameters" in said
    for sheet, words in (("warm", "sound, {} of the plain GPT's and {} of the books'"), ("cool", "was {}, {} and {}.")):
        shares = [f"{100 * blind[sheet][who]['clean']:.0f} %" for who in ("ours", "plain", "human")]
        assert words.format(*shares[-words.count("{}") :]) in said and shares[0] in said
        assert blind[sheet]["readers"] >= 2
    trials = json.loads((KEPT / "trials.json").read_text())
    whole = [row for row in trials if "small" not in row["changes"]]
    best = {arm: min(r["val_nats_per_char"] for r in whole if r["arm"] == arm) for arm in ("ours", "plain")}
    assert f"the distance was {best['plain'] - best['ours']:.2f}" in said and "aim was 80 %" in said
