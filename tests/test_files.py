"""What the repository's files hold: requirements and pins, data and their checksums, code that is safe to load."""

import ast
import hashlib
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bigmodel_lib import generation
from bigmodel_lib.text import sources
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training import checkpoints

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "bigmodel_lib").rglob("*.py"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(read("pyproject.toml"))["project"]
REQUIREMENTS = [
    *PYPROJECT["dependencies"],
    *(line for extra in PYPROJECT["optional-dependencies"].values() for line in extra),
]


# Requirements


def conda_packages():
    """What environment.yml asks of conda and, in turn, of pip."""
    text = read("environment.yml")
    return re.findall(r"^  - (.*)$", text, re.M), re.findall(r"^      - (.*)$", text, re.M)


def test_the_conda_file_leaves_what_the_project_needs_to_pip():
    """A package asked for in two places is soon asked for in two versions."""
    from_conda, from_pip = conda_packages()
    needed = {canonicalize_name(Requirement(line).name) for line in REQUIREMENTS}
    asked = {canonicalize_name(re.match(r"[\w.-]+", line)[0]) for line in from_conda}
    assert {"python", "pip"} <= asked and not asked & needed
    assert "-e .[course]" in from_pip and "-c constraints.txt" in from_pip


def test_the_conda_file_gives_pip_one_option_a_line():
    """Conda hands these lines to pip as a requirements file, where pip overlooks a -c that stands beside an -e."""
    _, from_pip = conda_packages()
    assert [line for line in from_pip if len(re.findall(r"(?:^| )-", line)) > 1] == []


def test_every_requirement_has_a_reason():
    """A comment beside it, or above it."""
    lines = ["", *(line.strip() for line in read("pyproject.toml").splitlines())]
    reasons = {
        wanted: "#" in line or above.startswith("#")
        for wanted in REQUIREMENTS
        for above, line in itertools.pairwise(lines)
        if line.startswith(f'"{wanted}"')
    }
    assert [wanted for wanted in REQUIREMENTS if not reasons.get(wanted)] == []


def test_constraints_hold_pins_only_and_each_is_in_the_range_that_is_asked_for():
    lines = [line.split("#")[0].strip() for line in read("constraints.txt").splitlines()]
    pins = [Requirement(line) for line in lines if line]
    assert [str(pin) for pin in pins if not re.fullmatch(r"==[\w.!+-]+", str(pin.specifier))] == []
    for wanted in map(Requirement, REQUIREMENTS):
        name = canonicalize_name(wanted.name)
        versions = [next(iter(pin.specifier)).version for pin in pins if canonicalize_name(pin.name) == name]
        own = [one.version for one in wanted.specifier if one.operator == "=="]  # pinned where it is asked for
        assert (versions or own) and all(version in wanted.specifier for version in versions), wanted


# Data


def data_files():
    files = {path for path in (ROOT / "data").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {path.relative_to(ROOT / "data").as_posix() for path in files}


def test_the_datasheet_has_every_file_with_its_size_and_checksum():
    rows = re.findall(r"^\| `([^`]+)` \|.*\| ([\d,]+) \| `([0-9a-f]{64})` \|$", read("data/README.md"), re.M)
    wanted = {name for name in data_files() if name != "README.md" and not name.endswith(".py")}
    assert sorted(name for name, _, _ in rows) == sorted(wanted)
    for name, size, checksum in rows:
        content = (ROOT / "data" / name).read_bytes()
        assert (f"{len(content):,}", hashlib.sha256(content).hexdigest()) == (size, checksum), name


def test_the_data_stay_small():
    assert sum((ROOT / "data" / name).stat().st_size for name in data_files()) < 25_000_000
    weights = (ROOT / "data/first_model/model.safetensors").read_bytes()
    assert len(weights) <= 2_000_000
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"BF16"}


@pytest.fixture(scope="module")
def first_model():
    torch.set_num_threads(1)
    return checkpoints.load_model(sources.data_path("first_model"))


def test_the_first_model_takes_a_prompt_in_any_script(first_model):
    model, tokenizer = first_model
    assert isinstance(tokenizer, ByteTokenizer)
    for prompt in ("编程", "Программа", "برنامج", "🙂"):
        assert len(generation.write(model, tokenizer, prompt, n_tokens=8)) > 0


def test_the_first_model_writes_words(first_model):
    """At least 0.7 of them are words; a share of 50 words has a standard error of 0.07 or less."""
    known = set(re.findall("[a-z]+", sources.python_manual().lower()))
    text = generation.write(*first_model, "I love programming", n_tokens=800, temperature=0.8, seed=0)
    written = re.findall("[a-z]+", text.lower())[:-1]
    longer = [word for word in written if len(word) > 1]  # every single letter is a word of the manual
    assert len(longer) > 50
    for words in (written, longer):
        assert sum(word in known for word in words) >= 0.7 * len(words)


# The repository


def tracked():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name]


def test_nothing_that_could_be_a_pickle_is_tracked():
    suffixes = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".npy"}
    assert [name for name in tracked() if pathlib.PurePath(name).suffix.lower() in suffixes] == []


@pytest.mark.parametrize("code, browser", [(7, False), (0, True), (0, False)])
def test_the_continuous_integration_runs_all_tests_and_those_in_a_browser(tmp_path, code, browser):
    (tmp_path / ".ci").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "bin/dirname").symlink_to(shutil.which("dirname") or pytest.skip("a POSIX shell is wanted"))
    for name in ("make", "apt-get", *(["chromium"] if browser else [])):
        ends = {"make": code, "apt-get": 0, "chromium": 3}[name]
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> calls\npwd >> places\nexit {ends}\n')
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {"PATH": str(tmp_path / "bin")}
    done = subprocess.run([tmp_path / ".ci/run"], cwd="/", env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    calls = (tmp_path / "calls").read_text().splitlines()
    made = [call for call in calls if call.startswith("make")]
    assert made == ["make test", "make test-classroom", "make test-browser"][: 3 if code == 0 else 1]
    if code == 0:  # a browser is installed beside the tests, and is there before it's wanted
        before = calls[: calls.index("make test-browser")]
        assert any(" install " in call and " chromium" in call for call in before) == (not browser)
    assert set((tmp_path / "places").read_text().splitlines()) == {str(tmp_path.resolve())}


def unsafe(source):
    """The calls and imports in a program that run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, (ast.Attribute, ast.Name)):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            names = ["pickle"]
        bad = {"torch.load", "pickle", "dill", "joblib", "marshal", "eval", "exec", "builtins.eval", "builtins.exec"}
        found += [(node.lineno, name) for name in names if name in bad or name.split(".")[0] == "pickle"]
    return found


@pytest.mark.parametrize("source, count", [
    ("import torch\ntorch.load('x')", 1), ("from torch import load", 1), ("import pickle as p", 1),
    ("from pickle import loads", 2), ("eval('1')", 1), ("run = exec", 1), ("np.load('x', allow_pickle=True)", 1),
    ("model.eval()\nre.compile('exec(')  # torch.load", 0), ("safetensors.torch.load(data)", 0),
])  # fmt: skip
def test_unsafe_code_is_recognised(source, count):
    assert len(unsafe(source)) == count


def test_the_library_runs_nothing_that_it_reads():
    assert {path.name: found for path in LIBRARY if (found := unsafe(path.read_text(encoding="utf-8")))} == {}


def undescribed(path):
    """The module, if it has no docstring, and its public functions and classes without one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    names = [] if ast.get_docstring(tree) else ["(the file)"]
    return names + [node.name for node in nodes if not ast.get_docstring(node)]


def test_library_files_are_described():
    told_apart = {"sentences.py", "workspace.py"}  # tables of the story world; a function for each command
    files = [path for path in LIBRARY if path.name not in told_apart and not path.name.startswith("nb")]
    assert {path.name: names for path in files if (names := undescribed(path))} == {}
    assert [path.name for path in LIBRARY if "(the file)" in undescribed(path)] == []
