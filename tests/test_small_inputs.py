"""Small inputs that people bring: tables from spreadsheets, other line ends, other alphabets, other folders, devices.

Each test makes its own input, of a kind that once gave a wrong result, or a page of traceback.
"""

import contextlib
import io
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import torch

from bigmodel_lib import generation
from bigmodel_lib.cli import evaluate, generate, pretrain
from bigmodel_lib.cli import finetune as finetune_command
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.text import sources
from bigmodel_lib.text.batches import split_labelled
from bigmodel_lib.text.labels import read_labelled
from bigmodel_lib.text.tokenizers import BPETokenizer, ByteTokenizer, CharacterTokenizer, token_labels, train_bpe
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.distributed import Processes
from bigmodel_lib.training.trainer import Trainer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny model that reads bytes."""
    folder = tmp_path_factory.mktemp("model")
    config = ModelConfig(256, context_length=24, d_model=16, n_layers=1, n_heads=2, d_ff=32)
    checkpoints.save_model(folder, initialise(LanguageModel(config), torch.Generator().manual_seed(0)), ByteTokenizer())
    return folder


@pytest.fixture
def finetune(checkpoint):
    def run(*arguments, steps=2):
        fresh = [] if "--resume" in arguments else ["--checkpoint", checkpoint, "--steps", steps]
        return finetune_command.main([str(a) for a in (*arguments, *fresh)])

    return run


@pytest.fixture
def table(tmp_path):
    def write(*rows, name="table.tsv", end="\n"):
        path = tmp_path / name
        path.write_bytes(end.join(rows).encode("utf-8"))
        return path

    return write


def reviews(n=6, between="\t"):
    """Rows of two labels, n each, every text another one."""
    words = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
    return [
        f"{label}{between}{mood} {word}" for word in words[:n] for label, mood in (("pos", "fine"), ("neg", "dull"))
    ]


def counts(data):
    return dict(zip(data.names, np.bincount(data.labels).tolist(), strict=True))


# Tables of labelled texts


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\u0085", "\f", "\v", "\x1c"])
def test_only_a_newline_ends_a_row(table, sign):
    data = read_labelled(table(*reviews(), f"pos\tone{sign}two"))
    assert counts(data) == {"neg": 6, "pos": 7} and data.texts[-1] == f"one{sign}two" and data.notes == ()


def test_quotation_marks_are_those_of_csv(table):
    quoted = [f'"pos"\t"she said ""wow"", {n} times"' for n in range(5)]
    data = read_labelled(table(*reviews(), *quoted, 'neg\t5" of it', 'neg\t"two\nlines"', "pos\tthe last"))
    assert counts(data) == {"neg": 8, "pos": 12} and data.notes == ()
    assert data.texts[12:] == [f'she said "wow", {n} times' for n in range(5)] + ['5" of it', "two\nlines", "the last"]


@pytest.mark.parametrize(
    "later",
    [
        ["pos\tthe end"],
        ['"pos"\t"a ""quoted"" text"'],
        ['pos\tan inch is 1"'],  # this mark would close the first one
        ['pos\tit said "enough"'],
        ['pos\t"enough"', "neg\tand more"],
        ['neg\t"not closed, either', "pos\tthe end"],
    ],
)
def test_a_quotation_mark_that_is_not_closed_swallows_no_rows(table, later):
    data = read_labelled(table(*reviews(3), 'neg\t"never closed', *reviews(5), *later))
    assert data.texts[6] == '"never closed' and data.names == ("neg", "pos")
    assert len(data.texts) == 6 + 1 + 10 + len(later)
    assert "line 7" in data.notes[0].replace("lines", "line") and "quotation mark" in data.notes[0]


def test_a_line_of_a_quoted_text_may_be_a_label_alone(table):
    data = read_labelled(table(*reviews(), 'neg\t"two\npos\nlines"'))
    assert data.texts[-1] == "two\npos\nlines" and data.notes == ()


def test_a_text_that_begins_with_a_quoted_word_keeps_it(table):
    data = read_labelled(table(*reviews(), 'pos\t"Never" is a word'))
    assert data.texts[-1] == '"Never" is a word' and "line 13" in data.notes[0]


def test_a_quoted_text_may_be_as_long_as_it_likes(table):
    long = 'a "word" ' * 30_000
    data = read_labelled(table(*reviews(), f'pos\t"{long.replace(chr(34), chr(34) * 2)}"'))
    assert data.texts[-1] == long.strip() and data.notes == ()


def test_header_rows_of_joined_files_are_no_texts_and_are_mentioned(table, tmp_path, finetune, capsys):
    parts = [["Label\tText", *reviews()[start : start + 3]] for start in range(0, 12, 3)]
    path = table(*itertools.chain(*parts))
    data = read_labelled(path)
    assert counts(data) == {"neg": 6, "pos": 6} and "Text" not in data.texts
    assert "lines 1, 5, 9, 13: a header" in data.notes[0]
    assert finetune("--data", path, "--out", tmp_path / "out") == 0
    assert f"{path}: {data.notes[0]}" in capsys.readouterr().err


def test_header_rows_that_differ_are_refused_with_their_lines(table):
    with pytest.raises(CourseError, match="header rows that differ, lines 1, 14"):
        read_labelled(table("label\ttext", *reviews(), "text\tlabel", *reviews()))


def copied_ten_times():
    """20 texts of random letters with random labels, each ten times, as people copy: with other capitals and signs."""
    rng, rows = np.random.default_rng(0), []
    for n in range(20):
        text = "".join(rng.choice(list("abcdefgh "), size=40))
        forms = [text, text.upper(), f"  {text}!", text.replace(" ", "  "), f"“{text}”…"]
        rows += [f"{'ab'[n % 2]}\t{form}" for form in forms * 2]
    return [rows[i] for i in rng.permutation(len(rows))]


def plain(text):
    return "".join(re.findall("[a-z]", text.lower()))


def test_copies_stay_on_one_side_of_the_split_so_nothing_can_be_known_by_heart(table, checkpoint):
    path = table(*copied_ten_times())
    data = read_labelled(path)
    for groups, wanted in ((data.groups, 0.5), (None, 1.0)):
        right = []
        for seed in range(5):
            train, test = split_labelled(data.labels, seed, 0.2, groups)
            assert sorted([*train, *test]) == list(range(200)) and len(test) == 40
            by_heart = {plain(data.texts[i]): data.labels[i] for i in train}
            right += [by_heart.get(plain(data.texts[i]), 0) == data.labels[i] for i in test]
        assert np.mean(right) == wanted
    assert "180 of 200 texts repeat another one" in data.notes[0]
    names = dict(data=str(path), checkpoint=str(checkpoint))
    job = finetune_command.Finetuning(dict(steps=1), names, "cpu", Processes(), None)
    assert not {plain(data.texts[i]) for i in job.train} & {plain(data.texts[i]) for i in job.test}


def test_texts_of_signs_alone_and_texts_in_other_scripts_are_no_copies(table):
    texts = [":)", ":(", "🙂", "🙁", "कि", "की", "我爱", "我"]
    data = read_labelled(table(*(f"{'ab'[n % 2]}\t{text}" for n, text in enumerate([*texts, *texts[:3], "🙂！"]))))
    assert data.groups.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 2]
    assert "4 of 12 texts repeat" in data.notes[0] and "another label than the first of them: 1" in data.notes[1]


def test_a_label_with_copies_of_one_text_alone_is_refused(table):
    with pytest.raises(CourseError, match="or 2 different texts, 'new' [(]5[)]"):
        read_labelled(table(*reviews(), *["new\tthe same"] * 5))


def test_one_label_in_two_forms_of_unicode_is_one(table):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    data = read_labelled(table(*(f"{form}\tcup {n} {form}" for n in "abcd" for form in forms), *reviews()))
    assert counts(data) == {"café": 8, "neg": 6, "pos": 6}
    assert (
        data.notes[0].startswith(r"'caf\xe9' (4), 'cafe\u0301' (4) differ") and "read as one, 'café'" in data.notes[0]
    )


def test_labels_that_differ_in_capitals_and_blanks_alone_are_one_in_the_most_frequent_form(table):
    rows = [
        f"{label}\ttext {n}" for n, label in enumerate(["Ham", "ham", "Ham", "HAM ", "junk  mail", "junk mail"] * 3)
    ]
    data = read_labelled(table(*rows))
    assert counts(data) == {"Ham": 12, "junk mail": 6}
    assert "'Ham' (6), 'ham' (3), 'HAM' (3) differ" in data.notes[0] and "read as one, 'Ham'" in data.notes[0]


def test_a_share_that_is_too_small_is_one_line_that_says_which_is_possible(table, tmp_path, finetune, capsys):
    path, out = table(*(f"l{n}\ttext {n} {word}" for n in range(10) for word in "abcdef")), tmp_path / "out"
    assert finetune("--data", path, "--out", out, "--test-share", 0.05) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "holds out 3 of 60 different texts" in said and not out.exists()
    least, most = re.search(r"choose a share from ([\d.]+) to ([\d.]+)", said).groups()
    labels = read_labelled(path).labels
    for share in (float(least), float(most)):
        train, test = split_labelled(labels, 0, share)
        assert len(set(labels[train])) == len(set(labels[test])) == 10
    for share in (float(least) - 0.03, float(most) + 0.03):
        with pytest.raises(CourseError, match="choose a share"):
            split_labelled(labels, 0, share)


WANTED = [row.split("\t")[1] for row in reviews()]


@pytest.mark.parametrize(
    "rows, note",
    [
        ([f"{label}\t{text}" for label, text in (row.split("\t") for row in reviews())], None),
        (["text\tlabel", *("\t".join(row.split("\t")[::-1]) for row in reviews())], "labels are in column 'label'"),
        (["id\tSentiment\tReview", *(f"7\t{row}" for row in reviews())], "texts in 'Review'"),
        (["\t".join(row.split("\t")[::-1]) for row in reviews()], "labels are read from its second column"),
        (reviews(between=","), "separated by commas"),
        (["class,message", *reviews(between=",")], "separated by commas"),
        (reviews(between=";"), "separated by semicolons"),
        ([row.replace(",", ',"') + '"' for row in reviews(between=",")], "separated by commas"),
        ([",".join(row.split("\t")[::-1]) for row in reviews()], "labels are read from its second column"),
    ],
    ids=["plain", "named", "three", "turned", "comma", "comma, named", "semicolon", "comma, quoted", "comma, turned"],
)
def test_columns_may_be_named_turned_round_or_separated_otherwise(table, rows, note):
    data = read_labelled(table(*rows))
    assert data.texts == WANTED and counts(data) == {"neg": 6, "pos": 6}
    assert note is None and data.notes == () or note in " ".join(data.notes)


def test_a_comma_in_a_text_without_quotation_marks_stays_there(table):
    data = read_labelled(table(*reviews(between=","), "pos,fine, really"))
    assert data.texts[-1] == "fine, really"
    data = read_labelled(table(*reviews(), "pos\tfine, really; so"))
    assert data.texts[-1] == "fine, really; so" and data.notes == ()


def test_a_row_without_a_label_is_named_by_its_line_and_the_sign_that_was_wanted(table):
    with pytest.raises(CourseError, match="line 13 of .* is 'alone': a label, a comma and a text were wanted"):
        read_labelled(table(*reviews(between=","), "alone"))


# Line ends and byte-order marks


def spoiled(text):
    """One text as three editors save it."""
    return {"lf": text.encode(), "crlf": text.replace("\n", "\r\n").encode(), "bom": b"\xef\xbb\xbf" + text.encode()}


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "from disk"])
def test_line_ends_change_neither_vocabulary_nor_tokens(tmp_path, monkeypatch, kind, in_memory):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(sources, "IN_MEMORY", 2**20 if in_memory else 0)
    found = []
    for name, content in spoiled("The cat sat on the mat.\n\n" * 20).items():
        (tmp_path / name).write_bytes(content)
        found.append(sources.open_text(tmp_path / name, kind))
    for other in found[1:]:
        assert other.tokenizer.to_dict() == found[0].tokenizer.to_dict()
        assert other.tokens.tolist() == found[0].tokens.tolist()


def test_line_ends_change_no_loss(tmp_path):
    sizes = dict(steps=2, d_model=8, n_layers=1, n_heads=1, context_length=8, batch_size=2)
    options = [part for name, value in sizes.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    losses = []
    for name, content in spoiled("The cat sat on the mat.\n" * 20).items():
        (tmp_path / f"{name}.txt").write_bytes(content)
        out = tmp_path / name
        assert pretrain.main(["--text", f"{tmp_path / name}.txt", "--out", str(out), *options]) == 0
        losses.append(json.loads((out / "metrics.json").read_text())["val_nats_per_char"])
    assert len(set(losses)) == 1 and losses[0] > 0


# Characters of several bytes


@pytest.mark.parametrize("tail", [b"", "爱".encode()[:2], b"\x80\xff\xf0\x9f", "🙂".encode()])
def test_a_stream_of_bytes_never_takes_back_what_it_has_written(monkeypatch, tail):
    tokenizer, written = ByteTokenizer(), "我爱编程 é".encode() + tail + b"\xe6"
    monkeypatch.setattr(generation, "generate", lambda *given, **named: iter(written))
    texts = list(generation.stream(None, tokenizer, "", len(written)))
    assert all(later.startswith(text) for text, later in itertools.pairwise(texts))
    assert texts[2] == "我" and texts[-1] == tokenizer.decode(list(written)) and len(texts) == len(written)


def test_the_explorer_groups_the_bytes_of_a_character(random_model):
    pytest.importorskip("anywidget")
    from bigmodel_lib.viz.explorer import AttentionExplorer

    explorer = AttentionExplorer(random_model(vocab_size=256), ByteTokenizer(), {"one": "我 é!"}, query=1)
    assert explorer.tokens == ["我", " ", "é", "!"] and explorer.sizes == [3, 1, 2, 1]
    assert explorer.selection["token"] == " "


def test_labels_of_tokens_in_pieces_whole_and_broken():
    characters, bpe = CharacterTokenizer("我爱é"), BPETokenizer(train_bpe("我爱 the cat " * 9, 290))
    assert token_labels(characters, characters.encode("我é")) == ["我", "é"]
    whole, pieces = (token_labels(bpe, bpe.encode(text).tolist()) for text in ("我爱 the", "编"))
    assert whole == ["我爱", " the"] and pieces == ["编 1/3", "编 2/3", "编 3/3"]
    broken = [*"我".encode()[:2], 65, 0x80, *"🙂".encode()]
    assert token_labels(ByteTokenizer(), broken) == ["�", "�", "A", "�", "🙂 1/4", "🙂 2/4", "🙂 3/4", "🙂 4/4"]


def shown_in_cp1252(program, *arguments):
    """What a program writes on a standard output on which little can be shown, as PYTHONIOENCODING=cp1252 makes it."""
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="cp1252")) as stream:
        assert program(*arguments) == 0
        stream.flush()
        return stream.buffer.getvalue().decode("cp1252")


def test_a_text_that_the_terminal_cannot_show_is_escaped(checkpoint):
    arguments = ["--checkpoint", str(checkpoint), "--prompt", "编程 é 🙂", "--tokens", "3"]
    assert shown_in_cp1252(generate.main, arguments).startswith(r"\u7f16\u7a0b é \U0001f642")


def test_labels_that_the_terminal_cannot_show_are_escaped(table, tmp_path, finetune):
    path = table(*(row.replace("pos", "好") for row in reviews()))
    assert r"\u597d" in shown_in_cp1252(finetune, "--data", path, "--out", tmp_path / "好")
    said = shown_in_cp1252(evaluate.main, ["--checkpoint", str(tmp_path / "好"), "--ask", "fine"])
    assert sorted(line.split()[1] for line in said.splitlines()) == [r"\u597d", "neg"]


# The machine


def test_without_a_compiler_compile_is_one_line_and_leaves_no_folder(tmp_path):
    (tmp_path / "text.txt").write_text("The cat sat on the mat.\n" * 20)
    command = [sys.executable, "-m", "bigmodel_lib", "pretrain", "--text", "text.txt", "--out", "out", "--compile"]
    sizes = ["--steps", "1", "--d-model", "8", "--n-heads", "1", "--context-length", "8"]
    library = str(pathlib.Path(pretrain.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": library, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": "cache"}
    done = subprocess.run(
        [*command, *sizes], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "install a C++ compiler, or leave out --compile" in done.stderr and "no-such-compiler" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def stopped(table, tmp_path, finetune, monkeypatch):
    """A folder whose run began with relative paths and was stopped, and the table; now the work is done elsewhere."""
    path, elsewhere = table(*reviews()), tmp_path / "elsewhere"
    elsewhere.mkdir()

    def stop(run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(Trainer, "next_batch", stop)
        assert finetune("--data", "table.tsv", "--out", "out") == 130
    monkeypatch.chdir(elsewhere)
    return tmp_path / "out", path


def test_a_run_with_relative_paths_is_resumed_from_another_folder(stopped, finetune):
    out, _ = stopped
    assert finetune("--out", out, "--resume") == 0 and (out / "metrics.json").exists()


def test_a_table_that_has_moved_is_asked_for_and_found_where_it_is(stopped, finetune, capsys):
    out, path = stopped
    new = path.rename(path.with_name("moved.tsv"))
    assert finetune("--out", out, "--resume") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said and "name its new place with --data" in said
    new.write_bytes(new.read_bytes().replace(b"\n", b"\r\n"))  # the same table, saved by another editor
    assert finetune("--out", out, "--resume", "--data", os.path.relpath(new)) == 0


@pytest.mark.parametrize("change", [("dull", "drab"), ("neg\tdull first", "pos\tdull first")], ids=["text", "label"])
def test_a_table_with_other_rows_is_refused(stopped, finetune, capsys, change):
    out, path = stopped
    path.write_text(path.read_text().replace(*change))
    assert finetune("--out", out, "--resume", "--data", path) == 2
    assert "is not what the run in" in capsys.readouterr().err


def test_another_model_is_refused(stopped, finetune, tmp_path, capsys):
    out, _ = stopped
    tokenizer = BPETokenizer(train_bpe(" ".join(WANTED), 260))
    config = ModelConfig(tokenizer.vocab_size, context_length=24, d_model=16, n_layers=1, n_heads=2, d_ff=32)
    (tmp_path / "other").mkdir()
    model = initialise(LanguageModel(config), torch.Generator().manual_seed(0))
    checkpoints.save_model(tmp_path / "other", model, tokenizer)
    assert finetune("--out", out, "--resume", "--checkpoint", tmp_path / "other") == 2
    assert "is not what the run in" in capsys.readouterr().err
