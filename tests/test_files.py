"""What the repository's files hold: requirements and pins, data and their checksums, code that is safe to load."""

import ast
import hashlib
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

from bigmodel_lib import checkpoints, corpora, generation
from bigmodel_lib.tokenizers import ByteTokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "bigmodel_lib").rglob("*.py"))
TOP_LEVEL = {
    "notebooks", "bigmodel_lib", "data", "tests", "environment.yml", "README.md", "pyproject.toml", "constraints.txt",
    "Makefile", "LICENSE",
}  # fmt: skip


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(read("pyproject.toml"))["project"]
REQUIREMENTS = [
    *PYPROJECT["dependencies"],
    *(line for extra in PYPROJECT["optional-dependencies"].values() for line in extra),
]


# Requirements


def test_the_conda_file_asks_for_python_and_pip_and_leaves_the_rest_to_pip():
    dependencies = read("environment.yml").split("\ndependencies:\n")[1]
    outer = re.findall(r"^  - (.*)$", dependencies, re.M)
    inner = re.findall(r"^      - (.*)$", dependencies, re.M)
    assert outer == ["python" + PYPROJECT["requires-python"], "pip", "pip:"]
    assert " ".join(inner) == "-c constraints.txt -e .[course]"
    assert len(dependencies.splitlines()) == len(outer) + len(inner)


def test_the_conda_file_gives_pip_one_option_a_line():
    """Conda hands these lines to pip as a requirements file, where pip overlooks a -c that stands beside an -e."""
    lines = re.findall(r"^      - (.*)$", read("environment.yml"), re.M)
    assert all(len(re.findall(r"(?:^| )-", line)) == 1 for line in lines), lines


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_requirement_has_a_reason_and_a_pin_in_its_range(requirement):
    (reason,) = re.findall(rf'^ +"{re.escape(requirement)}", +# (.+)$', read("pyproject.toml"), re.M)
    assert len(reason) > 5
    wanted = Requirement(requirement)
    pins = dict(line.split("==") for line in read("constraints.txt").splitlines() if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)])


def test_constraints_hold_pins_only():
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []


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
    assert sum((ROOT / "data" / name).stat().st_size for name in data_files()) < 12_000_000
    weights = (ROOT / "data/first_model/model.safetensors").read_bytes()
    assert len(weights) <= 2_000_000
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"BF16"}


@pytest.fixture(scope="module")
def first_model():
    torch.set_num_threads(1)
    return checkpoints.load_model(corpora.data_path("first_model"))


def test_the_first_model_takes_a_prompt_in_any_script(first_model):
    model, tokenizer = first_model
    assert isinstance(tokenizer, ByteTokenizer)
    for prompt in ("编程", "Программа", "برنامج", "🙂"):
        assert len(generation.write(model, tokenizer, prompt, n_tokens=8)) > 0


def test_the_first_model_writes_words(first_model):
    known = set(re.findall("[a-z]+", corpora.python_manual().lower()))
    written = []
    for seed in range(5):
        text = generation.write(*first_model, "I love programming", n_tokens=400, temperature=0.8, seed=seed)
        written += re.findall("[a-z]+", text.lower())[:-1]
    longer = [word for word in written if len(word) > 1]  # every single letter is a word of the manual
    assert len(longer) > 150
    for words in (written, longer):
        assert sum(word in known for word in words) >= 0.7 * len(words)


# The repository


def tracked():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name]


def test_the_top_level_holds_what_it_should():
    assert {name.split("/")[0] for name in tracked() if not name.startswith(".")} - TOP_LEVEL == set()


def test_nothing_that_could_be_a_pickle_is_tracked():
    suffixes = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".npy"}
    assert [name for name in tracked() if pathlib.PurePath(name).suffix.lower() in suffixes] == []


@pytest.mark.parametrize("code, browser, wanted", [
    (7, False, ["make test"]),
    (0, True, ["make test", "make test-browser"]),
    (0, False, ["make test", "apt-get update", "apt-get install -y chromium fonts-noto-cjk", "make test-browser"]),
])  # fmt: skip
def test_the_continuous_integration_runs_all_tests_and_those_in_a_browser(tmp_path, code, browser, wanted):
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
    assert (tmp_path / "calls").read_text().splitlines() == wanted
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


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_the_library_runs_nothing_that_it_reads(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_library_files_are_short_and_described(path):
    text = path.read_text(encoding="utf-8")
    listing = path.parent.name == "exercises" and path.name.startswith("nb") or path.name == "sentences.py"
    assert listing or len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    if not listing and path.name != "workspace.py":
        public = [
            node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"
        ]
        assert [node.name for node in public if not ast.get_docstring(node)] == []
