import collections
import contextlib
import errno
import functools
import hashlib
import http.server
import io
import json
import logging
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from unittest import mock

import numpy as np
import pooch
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text import sources, tokenizers
from bigmodel_lib.text.sources import (
    fingerprint,
    named_text,
    open_text,
    read_text,
    text_blocks,
    text_files,
    tokenised,
)
from bigmodel_lib.text.tokenizers import TOKENIZERS, BPETokenizer, CharacterTokenizer, tokenizer_class
from bigmodel_lib.training import checkpoints

BOM = b"\xef\xbb\xbf"
PROSE = "The cat's tail — 编程 is fun 🙂.\r\n  It's 12,345 times\tas long, naïve_ly.\n\n\n" * 8
PIECES = ["a", "B", "é", "编", "🙂", " ", "  ", "\n", "\r\n", "\t", "'", "'l", "'ll", "7", "_", ".", "\u3000", "\x1c"]
MIXED = st.lists(st.sampled_from(PIECES), max_size=80).map("".join)
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
SIZES = st.integers(1, 9)


def as_read(text):
    """A text as Python's own reader gives it, whose lines all end alike."""
    return io.StringIO(text, newline=None).read()


@contextlib.contextmanager
def folder_of(*contents):
    with tempfile.TemporaryDirectory() as folder:
        for i, content in enumerate(contents):
            pathlib.Path(folder, f"{i}.txt").write_bytes(content)
        yield pathlib.Path(folder)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(PROSE.encode())
    return path


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def names_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


def in_another_process(program, *arguments, **options):
    """Python that imports the same library as this test does."""
    library = pathlib.Path(sources.__file__).parents[2]
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(library)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


# Files


def test_a_folder_is_its_texts_by_relative_path(tmp_path):
    for name in (
        "b.txt",
        "a/z.txt",
        "a/b/c.txt",
        "a.txt",
        "B.txt",
        ".hidden.txt",
        ".git/x.txt",
        "a/.x/y.txt",
        "a/n.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [path.relative_to(tmp_path).as_posix() for path in text_files(tmp_path)]
    assert found == ["B.txt", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt"]
    assert text_files(str(tmp_path / "a/n.md")) == [tmp_path / "a/n.md"]  # a file may be called as it likes
    assert text_files(tmp_path / ".git") == [tmp_path / ".git/x.txt"]


def test_sources_that_are_no_text_are_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/readme.md").write_text("x")
    for name, words in [
        ("no.txt", "no.txt does not exist"),
        ("empty", "has no [*].txt"),
        ("x.txt/y", "cannot be read"),
    ]:
        with pytest.raises(CourseError, match=words):
            next(text_blocks(text_files(tmp_path / name)))
    forbidden = mock.Mock(side_effect=PermissionError(errno.EACCES, "Permission denied", "secret"))
    for where, name in ((sources, "open"), (os, "scandir")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, forbidden, raising=False)
            with pytest.raises(CourseError, match=r"secret cannot be read \(permission denied\)"):
                next(text_blocks(text_files(tmp_path)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_pipe_is_refused_because_it_can_be_read_but_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    for source in (tmp_path, tmp_path / "pipe.txt"):
        with pytest.raises(CourseError, match="no ordinary file"):
            text_files(source)


def test_the_fingerprint_is_of_the_text_and_neither_of_its_blocks_nor_of_its_file(tmp_path, monkeypatch):
    def mark_of(*contents):
        with folder_of(*contents) as folder:
            return fingerprint(text_blocks(text_files(folder)))

    different = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"c", b"ab"), (b"abd",)]
    assert len({mark_of(*contents) for contents in different}) == len(different)
    assert mark_of(b"a\nb") == mark_of(BOM + b"a\r\nb") == hashlib.sha256(b"a\nb").hexdigest()
    monkeypatch.setattr(sources, "BLOCK", 1)
    assert mark_of(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_no_file_is_read_whole(text, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK", 64)
    assert max(map(len, text_blocks([text]))) == 64


def test_a_text_is_read_without_its_mark_and_with_line_ends_of_one_kind(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "ligne é\r\n编程\r\rone\u2028two\n".encode())
    assert read_text(path) == "ligne é\n编程\n\none\u2028two\n"


@pytest.mark.parametrize("content, words", [
    (None, "does not exist"), (b"", "is empty"), (b"\xef\xbb\xbf", "is empty"),
    (b"one\ntwo \xff", "byte 8 (line 2) is 0xff"),
])  # fmt: skip
def test_bad_files_are_refused_in_words(tmp_path, content, words):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CourseError) as error:
        read_text(path)
    assert words in str(error.value) and "text.txt" in str(error.value)


def test_a_folder_is_not_one_text(tmp_path):
    with pytest.raises(CourseError, match="cannot be read"):
        read_text(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), UNICODE | MIXED), min_size=1, max_size=4), SIZES)
@example([(True, "\ufeff\ufeffé"), (False, ""), (True, ""), (True, "x\r\n")], 1)
def test_blocks_are_the_texts_with_two_line_ends_between(texts, size):
    assume(any(text for _, text in texts) and not any(text[:1] == "\ufeff" for mark, text in texts if not mark))
    contents = [BOM * mark + text.encode() for mark, text in texts]
    with folder_of(*contents) as folder, mock.patch.object(sources, "BLOCK", size):
        found = "".join(text_blocks(text_files(folder)))
    assert found == "\n\n".join(as_read(text) for _, text in texts if text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"\n", b"\xe4", b"\xbd", b"\xff", "é🙂".encode(), BOM]), max_size=12), SIZES)
@example([BOM, b"\n", b"\xe4", b"a"], 2)
def test_what_is_not_utf8_is_refused_with_its_byte_and_line(parts, size):
    content = b"".join(parts)
    with folder_of(b"fine \xc3\xa9\n", content) as folder, mock.patch.object(sources, "BLOCK", size):
        try:
            whole = content.decode()
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            where = f"1.txt is not UTF-8: byte {error.start} (line {line}) is 0x{content[error.start]:02x}; save it"
            for read in (lambda: read_text(folder / "1.txt"), lambda: list(text_blocks(text_files(folder)))):
                with pytest.raises(CourseError) as found:
                    read()
                assert where in str(found.value)
        else:
            assume(whole.removeprefix("\ufeff"))
            assert "".join(text_blocks(text_files(folder))) == "fine é\n\n\n" + read_text(folder / "1.txt")


def test_a_text_without_text_is_refused(tmp_path, cache):
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "b.txt").write_bytes(BOM)
    for source in (tmp_path, tmp_path / "b.txt"):
        for kind in TOKENIZERS:
            with pytest.raises(CourseError, match="b.txt is empty"):
                tokenised(source, kind, cache)
    assert names_in(tmp_path) == ["a.txt", "b.txt"]


# Tokens


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=30, deadline=None)
@given(contents=st.lists(UNICODE | MIXED.map(lambda text: text * 4), min_size=1, max_size=3), size=SIZES)
@example(contents=[PROSE, "", "\ufeff\r\n" + PROSE], size=7)
def test_tokens_are_those_of_the_text_in_memory(kind, contents, size):
    whole = "\n\n".join(as_read(text) for text in contents if text)
    assume(whole)
    with folder_of(*(BOM + text.encode() for text in contents)) as folder:
        with mock.patch.object(sources, "BLOCK", size):
            found = tokenised(folder, kind, folder / "cache")
        wanted = tokenizer_class(kind).train([whole])
        assert found.tokens.tolist() == wanted.encode(whole).tolist()
        assert found.tokenizer.to_dict() == wanted.to_dict()
        assert found.fingerprint == fingerprint([whole])
        assert isinstance(found.tokens, np.memmap) and not found.tokens.flags.writeable
        assert found.tokens.dtype == np.min_scalar_type(wanted.vocab_size - 1)


@pytest.mark.parametrize(
    "size, dtype", [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_tokens_take_as_few_bytes_as_the_vocabulary_allows(tmp_path, cache, size, dtype):
    alphabet = "".join(chr(0x20000 + i) if i >= 2000 else chr(0x4E00 + i) for i in range(size))
    (tmp_path / "text.txt").write_bytes(alphabet.encode())
    found = tokenised(tmp_path / "text.txt", "characters", cache)
    assert found.tokens.dtype == dtype and sorted(found.tokens.tolist()) == list(range(size))
    assert found.tokenizer.decode(found.tokens) == alphabet


@pytest.mark.parametrize("n_files", [1, 500])
def test_merges_of_a_long_text_are_learned_from_pieces_all_over_it(tmp_path, cache, monkeypatch, n_files):
    text = "".join(f"{letter}{letter} " * 5000 for letter in "abcdefghéi")
    step = len(text) // n_files
    for i in range(n_files):
        (tmp_path / f"{i:03}.txt").write_bytes(text[i * step : (i + 1) * step].encode())
    samples = []
    monkeypatch.setattr(tokenizers, "SAMPLE", 6400)
    monkeypatch.setattr(sources, "BLOCK", 999)
    train_bpe = tokenizers.train_bpe
    monkeypatch.setattr(tokenizers, "train_bpe", lambda *given: samples.append(given[0]) or train_bpe(*given))
    found = tokenised(tmp_path, "bpe", cache)
    (sample,) = samples
    assert 6000 <= len(sample.encode()) <= 6400
    times = collections.Counter(sample)
    assert min(times[letter] for letter in "abcdefghéi") > 300  # of 430, were the sample spread with no grain
    whole = "".join(text_blocks(text_files(tmp_path)))
    assert found.tokens.tolist() == BPETokenizer(train_bpe(sample, 1024)).encode(whole).tolist()


def test_an_unknown_kind_is_refused_at_once(text, cache):
    with pytest.raises(CourseError, match="'words' is not known: choose one of characters, bytes, bpe"):
        tokenised(text.with_name("not there"), "words", cache)
    assert not cache.exists()


# The cache


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_text_is_encoded_once_and_known_again_by_what_it_holds(tmp_path, text, cache, kind, monkeypatch):
    text.write_bytes(PROSE.encode() * 200)
    monkeypatch.setattr(sources, "BLOCK", 10_000)
    calls = []
    first = tokenised(text, kind, cache, lambda *call: calls.append(call))
    size, n_blocks = len(PROSE.encode()) * 200, -(-len(as_read(PROSE)) * 200 // 10_000)
    passes = ["checking"] + ["learning tokens"] * (kind != "bytes") + ["encoding"]
    assert [(total, what) for _, total, what in calls] == [(size, what) for what in passes for _ in range(n_blocks)]
    blocks = [done for done, _, _ in calls[:n_blocks]]  # bytes read so far; the last block ends the file
    assert 10_000 <= blocks[0] < 30_000 and blocks == sorted(blocks) and blocks[-1] == size
    assert [done for done, _, _ in calls] == blocks * len(passes)

    calls.clear()
    shutil.copy(text, tmp_path / "copy.txt")
    monkeypatch.setattr(sources, "_write_entry", None)  # there is nothing left to do
    again = tokenised(tmp_path / "copy.txt", kind, cache, lambda *call: calls.append(call))
    assert calls == [(done, size, "checking") for done in blocks]
    assert again.tokens.tolist() == first.tokens.tolist() and again.fingerprint == first.fingerprint
    assert again.tokenizer.to_dict() == first.tokenizer.to_dict()
    name = f"{first.fingerprint[:16]}-{kind}-{sources.FORMAT}"
    assert names_in(cache) == [f"{name}.json", f"{name}.tokens"]


def test_a_changed_byte_and_another_kind_are_other_entries(text, cache):
    before = tokenised(text, "bytes", cache)
    content = text.read_bytes()
    text.write_bytes(content.replace(b"cat", b"cot", 1))
    after = tokenised(text, "bytes", cache)
    assert np.count_nonzero(before.tokens != after.tokens) == 1 and before.fingerprint != after.fingerprint
    tokenised(text, "characters", cache)
    assert len(names_in(cache)) == 6


def test_the_cache_is_the_users_unless_another_is_named(text, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "home" / name)
    tokenised(text, "bytes")
    assert len(names_in(tmp_path / "home/bigmodel")) == 2


def with_note(**changes):
    def damage(tokens, note):
        note.write_text(json.dumps({**json.loads(note.read_text()), **changes}))

    return damage


DAMAGES = {
    "tokens cut short": lambda tokens, note: tokens.write_bytes(tokens.read_bytes()[:-2]),
    "tokens too many": lambda tokens, note: tokens.write_bytes(tokens.read_bytes() * 2),
    "no tokens": lambda tokens, note: tokens.write_bytes(b""),
    "no tokens file": lambda tokens, note: tokens.unlink(),
    "no note, other tokens": lambda tokens, note: (note.unlink(), tokens.write_bytes(bytes(tokens.stat().st_size))),
    "note cut short": lambda tokens, note: note.write_text(note.read_text()[:-9]),
    "note of nothing": lambda tokens, note: note.write_text("null"),
    "note not text": lambda tokens, note: note.write_bytes(b"\xff"),
    "note of another text": with_note(fingerprint="0" * 64),
    "note of more tokens": with_note(count=10**6),
    "note without a tokenizer": with_note(tokenizer=None),
    "note of a strange tokenizer": with_note(tokenizer={"kind": "bpe", "merges": [1, 2]}),
}


@pytest.mark.parametrize("kind", ["characters", "bpe"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(text, cache, damage, kind):
    wanted = tokenised(text, kind, cache).tokens.tolist()
    DAMAGES[damage](*cache.glob("*.tokens"), *cache.glob("*.json"))
    assert tokenised(text, kind, cache).tokens.tolist() == wanted
    calls = []
    tokenised(text, kind, cache, lambda done, total, what: calls.append(what))
    assert set(calls) == {"checking"}


def test_an_entry_is_ignored_if_its_maker_ended_between_the_two_files(text, cache):
    program = """if True:
        import os, sys
        from bigmodel_lib.text import sources
        replace = os.replace
        os.replace = lambda old, new: os._exit(9) if str(new).endswith(".json") else replace(old, new)
        sources.tokenised(sys.argv[1], "bytes", sys.argv[2])
    """
    process = in_another_process(program, text, cache)
    process.communicate(timeout=300)
    (tokens,) = cache.glob("*.tokens")
    assert process.returncode == 9 and not list(cache.glob("*.json"))
    tokens.write_bytes(bytes(tokens.stat().st_size))  # nobody says that these are right
    assert tokenised(text, "bytes", cache).tokens.tobytes() == text.read_text(encoding="utf-8").encode()


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def after(calls, function):
    """The function so many times, then a full disk."""
    left = [function] * calls

    def call(*given, **named):
        return (left.pop() if left else full)(*given, **named)

    return call


@pytest.mark.parametrize("name, calls", [("fsync", 0), ("fsync", 1), ("replace", 0), ("mkdir", 0)])
def test_a_full_disk_is_said_in_words_and_nothing_stays(text, cache, monkeypatch, name, calls):
    with monkeypatch.context() as patch:
        patch.setattr(os, name, after(calls, getattr(os, name)))
        with pytest.raises(CourseError, match=r"cache cannot be used \(no space left on device\): make room"):
            tokenised(text, "bytes", cache)
    assert not cache.exists() or names_in(cache) == []
    assert tokenised(text, "bytes", cache).tokens.tobytes() == text.read_text(encoding="utf-8").encode()


def test_tokens_that_outgrow_the_disk_leave_nothing(tmp_path, cache):
    pytest.importorskip("resource")
    (tmp_path / "text.txt").write_bytes(PROSE.encode() * 100)
    program = """if True:
        import resource, signal, sys
        from bigmodel_lib.text import sources
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        sources.BLOCK = 5_000
        try:
            sources.tokenised(sys.argv[1], "bytes", sys.argv[2])
        except sources.CourseError as error:
            print(error)
    """
    said, problem = in_another_process(program, tmp_path / "text.txt", cache).communicate(timeout=300)
    assert f"the cache folder {cache} cannot be used (file too large)" in said, problem
    assert names_in(cache) == []


def test_a_folder_that_cannot_be_one_is_said_in_words(text, tmp_path):
    with pytest.raises(CourseError, match="text.txt cannot be used"):
        tokenised(text, "bytes", text)
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if not os.access(folder, os.W_OK):
        with pytest.raises(CourseError, match=r"locked cannot be used \(permission denied\)"):
            tokenised(text, "bytes", folder)
    assert names_in(folder) == []


def test_who_stops_it_leaves_nothing(text, cache):
    def stop(done, total, what):
        if what == "encoding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenised(text, "characters", cache, stop)
    assert names_in(cache) == []


def test_an_entry_that_another_process_made_and_holds_is_taken(text, cache, monkeypatch):
    """On Windows an open file can be neither replaced nor removed."""
    wanted = tokenised(text, "bpe", cache).tokens.tolist()
    held = mock.Mock(side_effect=PermissionError(errno.EACCES, "Permission denied"))
    monkeypatch.setattr(os, "replace", held)
    answers = iter([lambda *_: None, sources._read_entry])
    monkeypatch.setattr(sources, "_read_entry", lambda *given: next(answers)(*given))
    assert tokenised(text, "bpe", cache).tokens.tolist() == wanted and held.call_count == 1


def test_two_processes_may_make_one_entry_at_once(tmp_path, cache):
    (tmp_path / "text.txt").write_bytes(PROSE.encode() * 40)
    program = """if True:
        import sys
        from bigmodel_lib.text import sources
        sources.BLOCK = 50
        ready = []
        def wait(done, total, what):  # both have seen that there is no entry
            if what == "encoding" and not ready:
                ready.append(print("ready", flush=True))
                input()
        print(sources.tokenised(sys.argv[1], "characters", sys.argv[2], wait).tokens.sum())
    """
    processes = [in_another_process(program, tmp_path / "text.txt", cache, stdin=subprocess.PIPE) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300) for process in processes]
    wanted = tokenised(tmp_path / "text.txt", "characters", cache).tokens.sum()
    assert said == [(f"{wanted}\n", "")] * 2
    assert len(names_in(cache)) == 2


MEMORY = """if True:
    import pathlib, resource, sys
    import numpy, pooch
    from bigmodel_lib.text import sources

    def peak():  # in MB, of this process alone
        status = pathlib.Path("/proc/self/status")
        if status.exists() and "VmHWM" in status.read_text():
            return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

    sources.BLOCK = 50_000
    start = peak()
    for kind in sys.argv[3:]:
        found = sources.tokenised(sys.argv[1], kind, sys.argv[2])
        print(kind, found.tokens.dtype, len(found.tokens), round(peak() - start))
"""


def test_memory_does_not_grow_with_the_text(tmp_path, cache):
    """30 MB read in blocks of 50 kB: whoever keeps the text, its characters or its tokens needs 30 MB or more."""
    pytest.importorskip("resource")
    block = "".join(f"{i:x} {i * i} {chr(0x4E00 + i % 3000)} naïve word_{i % 97}🙂\n" for i in range(40_000))
    content, times = block.encode(), 30_000_000 // len(block.encode())
    with open(tmp_path / "text.txt", "wb") as file:
        for _ in range(times):
            file.write(content)
    process = in_another_process(MEMORY, tmp_path / "text.txt", cache, "characters", "bytes")
    said, problem = process.communicate(timeout=300)
    found = {kind: (dtype, *map(int, numbers)) for kind, dtype, *numbers in map(str.split, said.splitlines())}
    assert found.keys() == {"characters", "bytes"}, problem
    characters = times * len(block)
    assert found["characters"][:2] == ("uint16", characters)
    assert found["bytes"][:2] == ("uint8", times * len(content))
    assert found["bytes"][2] < 15 and found["characters"][2] < 15, found  # MB


# Texts that have a name


TINY = b"To be, or not to be"


@pytest.fixture
def tiny(monkeypatch):
    sha256 = hashlib.sha256(TINY).hexdigest()
    entry = dict(url="http://127.0.0.1:9/x", sha256=sha256, file_name="tiny.txt", description="a question")
    monkeypatch.setitem(sources.NAMED, "tiny", entry)
    monkeypatch.setenv("NO_PROXY", "*")
    return entry


@pytest.fixture
def server(tmp_path):
    """A server on this machine; gives its address and the list of what it was asked for."""
    asked, folder = [], tmp_path / "server"
    folder.mkdir()
    (folder / "right").write_bytes(TINY)
    (folder / "wrong").write_bytes(b"To be")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def from_now_on_at(monkeypatch, url):
    monkeypatch.setitem(sources.NAMED, "tiny", {**sources.NAMED["tiny"], "url": url})


def test_a_named_text_is_fetched_once(tiny, server, cache, capfd, monkeypatch):
    address, asked = server
    from_now_on_at(monkeypatch, f"{address}/right")
    path = named_text("tiny", cache)
    assert path == cache / "texts/tiny.txt" and path.read_bytes() == TINY and asked == ["/right"]
    from_now_on_at(monkeypatch, f"{address}/wrong")
    assert named_text("tiny", cache) == path and asked == ["/right"]
    assert tokenised(path, "bytes", cache).tokens.tobytes() == TINY
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "") and not pooch.get_logger().isEnabledFor(logging.INFO)


@pytest.mark.parametrize(
    "place, reason", [("wrong", "another file came"), ("missing", "no connection, or it is not there")]
)
def test_another_file_is_refused_and_the_right_one_described(tiny, server, cache, place, reason, monkeypatch):
    from_now_on_at(monkeypatch, f"{server[0]}/{place}")
    with pytest.raises(CourseError) as error:
        named_text("tiny", cache)
    check_message(str(error.value), tiny, cache, reason)


def check_message(said, tiny, cache, reason):
    assert f"({reason})" in said and "\n" not in said and "http" not in said and "127.0" not in said
    for part in (tiny["file_name"], tiny["sha256"], tiny["description"], str(cache / "texts")):
        assert part in said
    assert names_in(cache) == ["texts"]


def test_offline_the_text_can_be_put_there_by_hand(tiny, cache, monkeypatch):
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, place: asked.append(place) or full())
    with pytest.raises(CourseError) as error:
        named_text("tiny", cache)
    check_message(str(error.value), tiny, cache, "no connection, or it is not there")
    assert len(asked) == 1
    (cache / "texts/tiny.txt").write_bytes(TINY)
    assert named_text("tiny", cache).read_bytes() == TINY and len(asked) == 1
    (cache / "texts/tiny.txt").write_bytes(TINY + b"\n")
    with pytest.raises(CourseError, match="could not be fetched"):
        named_text("tiny", cache)


def test_a_full_disk_is_the_reason_that_is_named(tiny, cache, monkeypatch):
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    with pytest.raises(CourseError, match="no space left on device"):
        named_text("tiny", cache)


def test_shakespeare_is_described_in_full():
    entry = sources.NAMED["shakespeare"]
    assert len(entry["sha256"]) == 64 and int(entry["sha256"], 16) and entry["url"].startswith("https://")
    assert entry["file_name"].endswith(".txt") and "Shakespeare" in entry["description"]


# One way in


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "home" / name)
    return tmp_path / "home/bigmodel"


def same(one, other):
    assert one.tokens.tolist() == other.tokens.tolist()
    assert one.tokenizer.to_dict() == other.tokenizer.to_dict() and one.name == other.name
    return True


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_text_gives_the_same_tokens_from_memory_and_from_disk(text, own_cache, monkeypatch, kind):
    monkeypatch.setattr(sources, "BLOCK", 100)
    monkeypatch.setattr(tokenizers, "SAMPLE", 640)  # the merges come from a part of the text, either way
    in_memory = open_text(text, kind)
    assert not own_cache.exists()
    monkeypatch.setattr(sources, "IN_MEMORY", 0)
    assert same(in_memory, open_text(text, kind))
    assert len(names_in(own_cache)) == 2
    monkeypatch.setattr(sources, "_write_entry", None)  # there is nothing left to do
    calls = []
    from_disk = open_text(str(text), kind, progress=lambda done, total, what: calls.append(what))
    assert same(in_memory, from_disk) and set(calls) == {"checking"}
    tokens = tokenizer_class(kind).train(text_blocks([text]), sources.text_size([text])).encode(read_text(text))
    assert in_memory.tokens.tolist() == tokens.tolist() and isinstance(from_disk.tokens, np.memmap)


def test_the_manual_a_public_text_and_a_file_have_the_names_by_which_they_are_found_again(
    tiny, text, own_cache, server, monkeypatch
):
    from_now_on_at(monkeypatch, f"{server[0]}/right")
    monkeypatch.setattr(sources, "python_manual", lambda: PROSE)
    monkeypatch.chdir(text.parent)
    manual, public, file = (open_text(name, "bytes") for name in (None, "tiny", "text.txt"))
    assert (manual.name, public.name, file.name) == (None, "tiny", str(text.resolve()))
    assert manual.tokens.tolist() == list(PROSE.encode())
    assert same(open_text(public.name, "bytes"), public) and same(open_text(file.name, "bytes"), file)
    assert public.fingerprint == hashlib.sha256(TINY).hexdigest() and server[1] == ["/right"]


def test_a_file_goes_before_a_public_text(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").write_text("Mine")
    assert open_text("tiny", "bytes").name == str((tmp_path / "tiny").resolve())


def test_a_run_that_goes_on_keeps_its_tokenizer(text):
    given = CharacterTokenizer(read_text(text) + "!")
    assert open_text(text, "characters", given).tokenizer is given


def test_an_unknown_kind_is_refused(text):
    with pytest.raises(CourseError, match="'letters' is not known: choose one of characters, bytes, bpe"):
        open_text(text, "letters")


@pytest.mark.parametrize("in_memory", [sources.IN_MEMORY, 0])
def test_bpe_learns_as_many_tokens_as_were_asked_for(text, own_cache, monkeypatch, in_memory):
    monkeypatch.setattr(sources, "IN_MEMORY", in_memory)
    sizes = [open_text(text, "bpe", vocab_size=size).tokenizer.vocab_size for size in (260, 270, 260)]
    assert sizes == [260, 270, 260]
    with pytest.raises(
        CourseError, match="a vocab_size of 300 was given, which only bpe can choose: leave it out for b"
    ):
        open_text(text, "bytes", vocab_size=300)


@pytest.fixture
def pairs_of_letters(monkeypatch):
    """A tokenizer that is made here: a token is two characters, or the last one."""

    class PairsOfLetters(tokenizers.Tokenizer):
        kind = "pairs of letters"

        def __init__(self, known):
            self.known = list(known)
            self.vocab_size = len(self.known)

        @classmethod
        def train(cls, blocks, size=None):
            whole = "".join(blocks)
            return cls(sorted({whole[i : i + 2] for i in range(0, len(whole), 2)}))

        def encode(self, text):
            return np.array([self.known.index(text[i : i + 2]) for i in range(0, len(text), 2)], dtype=np.int32)

        def decode(self, tokens):
            return "".join(self.known[i] for i in tokens)

        def last_cut(self, text):
            return len(text) // 2 * 2

        def to_dict(self):
            return {"kind": self.kind, "known": self.known}

    monkeypatch.setitem(TOKENIZERS, PairsOfLetters.kind, PairsOfLetters)
    return PairsOfLetters


def test_a_new_tokenizer_is_one_class(pairs_of_letters, text, own_cache, monkeypatch, random_model, tmp_path):
    kind, whole = pairs_of_letters.kind, read_text(text)
    in_memory = open_text(text, kind)
    monkeypatch.setattr(sources, "IN_MEMORY", 0)
    monkeypatch.setattr(sources, "BLOCK", 7)  # an odd number: pieces have to be cut where the class says
    from_disk = open_text(text, kind)
    assert same(in_memory, from_disk) and type(from_disk.tokenizer) is pairs_of_letters
    tokens = from_disk.tokens.tolist()
    assert from_disk.tokenizer.decode(tokens) == whole and len(tokens) == -(-len(whole) // 2)
    model = random_model(vocab_size=from_disk.tokenizer.vocab_size)
    checkpoints.save_model(tmp_path, model, from_disk.tokenizer)
    _, loaded = checkpoints.load_model(tmp_path)
    assert type(loaded) is pairs_of_letters and loaded.encode(whole).tolist() == tokens


def test_importing_the_library_loads_nothing_that_fetches():
    program = "import bigmodel_lib.text.sources, sys; print({'pooch', 'requests', 'torch'} & set(sys.modules))"
    assert in_another_process(program).communicate(timeout=300)[0] == "set()\n"
