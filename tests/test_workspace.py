"""The commands around the course, in a folder of their own, with a fake Python: no network, no installation."""

import ast
import errno
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import webbrowser

import nbformat
import pytest

from bigmodel_lib.measuring.environment import check_environment
from tools import make_data, workspace
from tools.workspace import Trouble

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RULES = dict(re.findall(r"^([\w-]+):.*\n((?:\t.*\n?)*)", MAKEFILE, re.M))

# Stands for the Python that makes the environment and for the one in it; it notes how it was called.
# A file `venv_fails` or `pip_fails` beside it holds what is said on failing.
FAKE_PYTHON = """#!/bin/sh
here={here}
echo "$@" >> "$here/calls"
case "$*" in
"-m venv --clear "*)
    if [ -f "$here/venv_fails" ]; then cat "$here/venv_fails"; exit 1; fi
    rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
"-m pip --disable-pip-version-check --log "*)
    if [ -f "$here/pip_fails" ]; then cat "$here/pip_fails" >> "$5"; exit 1; fi ;;
esac
"""
STRANGE = "x y [1] it's é 模型"  # every command here runs in a folder of this name
INSTALL = "-m pip .* install .*-c constraints.txt -e .\\[course\\]"


def notebook(name, done):
    """A notebook as JSON, as the course keeps it (done) or as readers get it."""
    outputs = [{"name": "stdout", "output_type": "stream", "text": ["2\n"]}] if done else []
    code = {"cell_type": "code", "execution_count": 7 if done else None, "id": "cell-01",
            "metadata": {"exercise": "00-words", "tags": ["nbval-ignore-output"]}, "outputs": outputs,
            "source": ["print(1 + 1)"]}  # fmt: skip
    text = {"cell_type": "markdown", "id": "cell-00", "metadata": {}, "source": [f"# {name} · 模型"]}
    whole = {"cells": [text, code], "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
             "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


class Course:
    """A small copy of the course's folder."""

    def __init__(self, folder):
        self.folder, self.root, self.venv = folder, folder / "course", folder / "course/.venv"
        self.mine = self.root / "my_notebooks"
        (self.root / "notebooks").mkdir(parents=True)
        for name in ("00_start_here", "01_second"):
            (self.root / f"notebooks/{name}.ipynb").write_text(notebook(name, done=True), encoding="utf-8")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copyfile(ROOT / name, self.root / name)
        self.python = self.program("python", FAKE_PYTHON.format(here=shlex.quote(str(folder))))

    def program(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def count(self, pattern):
        """How often the fake Python was called with such arguments."""
        calls = self.folder / "calls"
        return sum(bool(re.match(pattern, line)) for line in calls.read_text().splitlines()) if calls.exists() else 0

    def fails(self, what, said):
        (self.folder / f"{what}_fails").write_text(said)

    def works(self, what):
        (self.folder / f"{what}_fails").unlink()

    def installed(self):
        return (self.venv / "installed").exists()


@pytest.fixture
def strange(tmp_path):
    """A folder whose name has blanks, brackets, an apostrophe and letters beyond ASCII."""
    folder = tmp_path / STRANGE
    folder.mkdir()
    return folder


@pytest.fixture
def course(strange, monkeypatch):
    if os.name == "nt":
        pytest.skip("the fake Python is a shell script")
    made = Course(strange)
    monkeypatch.setattr(workspace, "ROOT", made.root)
    monkeypatch.setattr(workspace, "VENV", made.venv)
    monkeypatch.setattr(sys, "executable", str(made.python))
    set_free_space(monkeypatch, 100e9)
    return made


def set_free_space(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(200e9, 200e9 - free, free))


def refused(capsys, *arguments):
    """What `main` says on refusing."""
    assert workspace.main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert said.strip() and "Traceback" not in said
    return said


# Python and make


def test_an_old_python_is_refused_in_words(monkeypatch, capsys):
    with pytest.raises(
        Trouble,
        match=r"Python 3\.9 was given and 3\.11 to 3\.14 is wanted, since PyTorch has builds for those: install",
    ):
        workspace.check_python((3, 9, 1))
    with pytest.raises(Trouble, match=r"Python 3\.15 was given and 3\.11 to 3\.14 is wanted"):
        workspace.check_python((3, 15, 0))
    workspace.check_python((3, 11, 0))
    workspace.check_python((3, 14, 9))
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert "3.11 to 3.14 is wanted" in refused(capsys, "lab")


LINUX = dict(
    python=(3, 11, 0), implementation="cpython", free_threaded=False, bits=64,
    system="Linux", machine="x86_64", macos=(), libc="glibc", libc_version=(2, 36),
)  # fmt: skip
MAC = {**LINUX, "system": "Darwin", "machine": "arm64", "macos": (14, 0), "libc": "", "libc_version": ()}
WINDOWS = {**LINUX, "system": "Windows", "machine": "amd64", "libc": "", "libc_version": ()}


@pytest.mark.parametrize("facts", [LINUX, {**LINUX, "machine": "aarch64", "python": (3, 14, 2)}, MAC, WINDOWS])
def test_machines_that_the_course_promises_are_taken(facts):
    workspace.check_machine(facts)


@pytest.mark.parametrize("facts, words", [
    ({**LINUX, "bits": 32}, "a 32-bit Python was given and PyTorch needs a 64-bit one"),
    ({**LINUX, "machine": "riscv64"}, "PyTorch has no build for Linux on riscv64: take Linux"),
    ({**LINUX, "libc": "", "libc_version": ()}, "needs glibc 2.28 or newer"),
    ({**LINUX, "libc_version": (2, 27)}, "needs glibc 2.28 or newer"),
    ({**LINUX, "implementation": "pypy"}, "pypy was given and standard CPython is wanted"),
    ({**LINUX, "free_threaded": True}, "a free-threaded Python was given and standard CPython is wanted"),
    ({**LINUX, "python": (3, 15, 0)}, "Python 3.15 was given and 3.11 to 3.14 is wanted"),
    ({**MAC, "machine": "x86_64"}, "no builds for Intel Macs"),
    ({**MAC, "macos": (13, 6, 1)}, "macOS 13.6.1 was given and PyTorch needs macOS 14 or newer"),
    ({**WINDOWS, "machine": "arm64"}, "PyTorch has no build for Windows on arm64"),
    ({**WINDOWS, "system": "FreeBSD"}, "PyTorch has no build for FreeBSD"),
])  # fmt: skip
def test_a_machine_that_cannot_work_is_refused_in_one_line_before_anything_is_done(
    course, capsys, monkeypatch, facts, words
):
    monkeypatch.setattr(workspace, "this_machine", lambda: facts)
    said = refused(capsys, "lab").strip()
    assert words in said and "\n" not in said
    assert course.count("") == 0 and not course.venv.exists()


def test_this_machine_is_one_that_works():
    workspace.check_machine(workspace.this_machine())


def test_an_old_python_can_read_the_file_that_refuses_it():
    program = "import sys, tools.workspace\nfor module in sys.modules.values(): print(getattr(module, '__file__', ''))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    own = (ROOT / "bigmodel_lib", ROOT / "tools")
    read = [path for path in map(pathlib.Path, loaded.stdout.splitlines()) if any(map(path.is_relative_to, own))]
    assert {"workspace.py", "make_data.py", "environment.py"} <= {path.name for path in read}
    for path in read:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_the_commands_need_no_package():
    command = [sys.executable, "-S", "-m", "tools.workspace", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip() == "one of {} was wanted".format(", ".join(workspace.TARGETS))


@pytest.fixture
def make(strange):
    program = shutil.which("make") or pytest.skip("make is missing")
    (strange / "Makefile").write_text(MAKEFILE, encoding="utf-8")

    def run(*arguments, path=None):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PYTHON"))}
        environment = {**inherited, "PATH": str(path or os.environ["PATH"]), "LC_ALL": "C"}
        return subprocess.run(
            [program, "--no-print-directory", *arguments], cwd=strange, env=environment, capture_output=True, text=True
        )

    return run


def test_help_lists_every_target_on_one_line_each(make):
    lines = make("help", "PYTHON=").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["make", name] for name in RULES if name != "PHONY"]
    assert len(lines) >= 9 and all(len(line.split()) > 4 for line in lines)
    assert make().stdout.splitlines() == lines


def test_every_target_that_calls_the_commands_names_one(make):
    calling = {name: re.search(r"\$\(RUN\) ([\w-]+)", rule)[1] for name, rule in RULES.items() if "$(RUN)" in rule}
    assert set(calling.values()) == set(workspace.TARGETS) and all(name == used for name, used in calling.items())
    phony = re.search(r"^\.PHONY: (.*)", MAKEFILE, re.M)[1].split()
    assert set(phony) == {"help", *calling}


# This Python under another version's number: it answers make's question, and notes any other call.
PRETENDED = """#!/bin/sh
[ "$1" = -c ] || {{ echo "$@" > {called}; exit 0; }}
exec {python} -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2"
"""


def pretend(folder, **versions):
    for name, version in versions.items():
        path = folder / name.replace("_", ".")
        called, python = shlex.quote(str(folder / "called")), shlex.quote(sys.executable)
        path.write_text(PRETENDED.format(called=called, python=python, version=version))
        path.chmod(0o755)


@pytest.mark.parametrize("how", ["empty", "old"])
def test_without_a_new_python_make_says_so(make, strange, how):
    pretend(strange, python3=(3, 10, 14), python=(3, 9, 1))
    done = make("lab", "PYTHON=") if how == "empty" else make("lab", path=strange)
    assert done.returncode != 0 and "Python 3.11 to 3.14 was wanted and none was found: install one" in done.stderr
    assert not (strange / "called").exists()


def test_make_takes_a_python_that_is_new_enough(make, strange):
    pretend(strange, python3=(3, 10, 14), python3_11=(3, 11, 0))
    done = make("fresh", "NB=01", path=strange)
    assert done.returncode == 0, done.stderr
    assert (strange / "called").read_text() == "-m tools.workspace fresh 01\n"


# Installation


def test_an_installed_environment_is_used_without_any_program(course, monkeypatch):
    workspace.ensure_environment()
    assert course.count("-m venv") == course.count(INSTALL) == 1 and course.installed()

    def forbidden(*arguments, **more):
        raise AssertionError(f"{arguments} was run")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    workspace.ensure_environment()


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_it_is_installed_again_when_what_it_depends_on_changes(course, name):
    workspace.ensure_environment()
    (course.root / name).write_text("# changed\n")
    workspace.ensure_environment()
    workspace.ensure_environment()
    assert course.count(INSTALL) == 2 and course.count("-m venv") == 1


def test_an_interrupted_installation_goes_on_in_the_same_environment(course):
    course.fails("pip", "Killed")
    with pytest.raises(Trouble, match="continues where it stopped"):
        workspace.ensure_environment()
    assert not course.installed()
    (course.venv / "half").touch()
    course.works("pip")
    workspace.ensure_environment()
    assert course.installed() and (course.venv / "half").exists()
    assert course.count("-m venv") == 1 and course.count(INSTALL) == 2


def test_an_update_that_stopped_is_not_taken_for_the_old_installation(course):
    workspace.ensure_environment()
    before = (course.root / "constraints.txt").read_text()
    (course.root / "constraints.txt").write_text("# other versions\n")
    course.fails("pip", "Killed")
    with pytest.raises(Trouble):
        workspace.ensure_environment()
    (course.root / "constraints.txt").write_text(before)
    course.works("pip")
    workspace.ensure_environment()
    assert course.count(INSTALL) == 3


def test_an_environment_whose_python_does_not_run_is_made_again(course):
    (course.venv / "bin").mkdir(parents=True)
    (course.venv / "bin/python").write_text("#!/bin/sh\nexit 1\n")
    (course.venv / "bin/python").chmod(0o755)
    workspace.ensure_environment()
    assert course.count("-m venv") == 1 and course.installed()


@pytest.mark.parametrize("log, words", [
    ("OSError: [Errno 28] No space left on device", "the disk is full: free about 3 GB"),
    ("OSError: [Errno 122] Disk quota exceeded", "the disk is full: free about 3 GB"),
    ("NewConnectionError('Failed to establish a new connection')", "connect to the network"),
    ("Temporary failure in name resolution\nNo matching distribution found for torch==2", "connect to the network"),
    ("ERROR: No matching distribution found for torch==2", "names a package that could not be found"),
    ("error: command 'cc' failed", "install.log says more"),
])  # fmt: skip
def test_a_failed_installation_is_explained(course, capsys, log, words):
    course.fails("pip", f"Collecting torch\n{log}\n")
    said = refused(capsys, "lab")
    assert "the installation stopped: " in said and words in said and not course.installed()


def test_an_old_log_explains_nothing(course, capsys):
    course.fails("pip", "No space left on device")
    refused(capsys, "lab")
    course.fails("pip", "error: something else")
    assert "disk" not in refused(capsys, "lab")


DEBIAN = "The virtual environment was not created successfully because ensurepip is not\navailable."


@pytest.mark.parametrize("printed, words", [
    (DEBIAN, "sudo apt install python3-venv"),
    ("OSError: [Errno 28] No space left on device", "the disk is full: free about 3 GB"),
    ("Error: Command '['python', '-m', 'ensurepip']' returned non-zero exit status 1.", "could not be made"),
])  # fmt: skip
def test_an_environment_that_cannot_be_made_is_explained(course, capsys, printed, words):
    course.fails("venv", printed)
    said = refused(capsys, "lab")
    assert words in said and ("sudo apt" in said) == (printed == DEBIAN)
    assert course.count(INSTALL) == 0


def test_a_full_disk_is_said_before_anything_starts(course, capsys, monkeypatch):
    set_free_space(monkeypatch, 1.04e9)
    said = refused(capsys, "lab")
    wanted = float(re.search(r"([\d.]+) GB of disk are wanted and 1\.0 GB are free: make room", said)[1])
    assert wanted > 1.5 + workspace.download_megabytes("gpu") / 1e3
    assert course.count("") == 0 and not course.venv.exists()


CPU_INDEX = f"-m pip .* --extra-index-url {re.escape(workspace.CPU_BUILDS)} "


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(workspace, "this_machine", lambda: LINUX)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_torch_chooses_the_build_and_the_choice_is_kept(course, linux, monkeypatch):
    monkeypatch.setenv("TORCH", "cpu")
    workspace.ensure_environment()
    assert course.count(CPU_INDEX) == 1
    monkeypatch.delenv("TORCH")
    workspace.ensure_environment()
    assert course.count(INSTALL) == 1, "the same build as before, so nothing to do"
    monkeypatch.setenv("TORCH", "gpu")
    workspace.ensure_environment()
    assert course.count(INSTALL) == 2 and course.count(CPU_INDEX) == 1
    assert course.count("-m venv") == 2, "pip would have kept the build that is there"


def test_the_standard_build_is_installed_where_nothing_is_asked_for(course, linux, capsys, monkeypatch):
    monkeypatch.delenv("TORCH", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    workspace.ensure_environment()
    said = capsys.readouterr().out
    assert course.count(CPU_INDEX) == 0 and course.count(INSTALL) == 1
    assert f"about {workspace.download_megabytes('gpu')} MB to download" in said
    assert f"`make lab TORCH=cpu` would download {workspace.download_megabytes('cpu')} MB" in said


def test_another_build_of_torch_is_refused(course, capsys, monkeypatch):
    monkeypatch.setenv("TORCH", "cuda12")
    assert "TORCH=cuda12 was given and cpu or gpu is wanted" in refused(capsys, "lab")
    assert course.count("") == 0


@pytest.mark.parametrize("line, told", [
    ("  Downloading torch-2.13.0-cp311-cp311-win_amd64.whl (122.0 MB)", "  downloading torch 2.13.0 (122.0 MB)\n"),
    ("Downloading a/hf_xet-1.8.0-cp37-abi3-x.whl (4.3 MB)", "  downloading hf_xet 1.8.0 (4.3 MB)\n"),
    ("  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)", ""),
    ("Collecting torch==2.13.0", ""),
    ("Installing collected packages: a, b, c", "  unpacking 3 packages (a minute or two)\n"),
    ("ERROR: No matching distribution found for x", "  ERROR: No matching distribution found for x\n"),
])  # fmt: skip
def test_what_pip_does_is_told_in_a_few_words(capsys, line, told):
    workspace.tell(line + "\n")
    assert capsys.readouterr().out == told


def test_a_file_that_cannot_be_written_is_said_in_words(course, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert "the disk is full" in refused(capsys, "fresh", "01")


# The reader's notebooks


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_my_notebooks_is_filled_and_nothing_of_the_readers_is_touched(course):
    workspace.fill_my_notebooks()
    names = workspace.notebook_names()
    assert sorted(path.name for path in course.mine.iterdir()) == names
    (course.mine / names[0]).write_text("the reader's")
    (course.mine / names[1]).unlink()
    (course.mine / "own.ipynb").write_text("another of the reader's")
    workspace.fill_my_notebooks()
    assert contents(course.mine) == {
        names[0]: "the reader's", names[1]: notebook("01_second", done=False), "own.ipynb": "another of the reader's",
    }  # fmt: skip


def test_readers_get_no_outputs_and_everything_else(course):
    before = contents(course.root / "notebooks")
    workspace.fill_my_notebooks()
    assert contents(course.mine) == {
        f"{name}.ipynb": notebook(name, done=False) for name in ("00_start_here", "01_second")
    }
    assert contents(course.root / "notebooks") == before


@pytest.mark.parametrize("name", workspace.notebook_names())
def test_each_notebook_is_handed_out_without_outputs(name):
    ours = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))
    given = json.loads(workspace.as_handed_out(name))
    nbformat.validate(nbformat.from_dict(given))
    assert given["metadata"] == ours["metadata"]
    assert any(cell.get("outputs") for cell in ours["cells"])
    for old, new in zip(ours["cells"], given["cells"], strict=True):
        if old["cell_type"] == "code":
            old |= {"outputs": [], "execution_count": None}
        assert new == old


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[]", "{}", '{"cells": 3}'])
def test_a_notebook_of_the_course_that_is_broken_is_named(course, capsys, text):
    (course.root / "notebooks/01_second.ipynb").write_text(text)
    assert "bring it back with `git checkout notebooks/01_second.ipynb`" in refused(capsys, "fresh", "00")


def test_a_copy_that_breaks_off_is_not_taken_for_the_readers(course, monkeypatch):
    def half(path, content):
        with path.open("wb") as file:
            file.write(content[:9])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(pathlib.Path, "write_bytes", half)
        workspace.fill_my_notebooks()
    workspace.fill_my_notebooks()
    assert contents(course.mine) == {
        f"{name}.ipynb": notebook(name, done=False) for name in ("00_start_here", "01_second")
    }


@pytest.mark.parametrize("mine", ["the reader's", notebook("01_second", done=True)])
def test_fresh_restores_and_keeps_the_readers_version_beside_it(course, capsys, mine):
    workspace.fill_my_notebooks()
    path = course.mine / "01_second.ipynb"
    path.write_text(mine, encoding="utf-8")
    assert workspace.main(["fresh", "01"]) == 0
    (kept,) = course.mine.glob("01_second_kept_*.ipynb")
    assert path.read_text(encoding="utf-8") == notebook("01_second", done=False)
    assert kept.read_text(encoding="utf-8") == mine and kept.name in capsys.readouterr().out
    workspace.fresh("01")
    assert len(list(course.mine.glob("01*"))) == 2


@pytest.mark.parametrize("numbers", [[], [""], ["7"], ["0"], ["00", "01"]])
def test_fresh_says_which_notebooks_there_are(course, capsys, numbers):
    assert "choose one of 00, 01, as in make fresh NB=00" in refused(capsys, "fresh", *numbers)


def test_clean_removes_what_can_be_made_again_and_leaves_the_readers_notebooks(course):
    workspace.ensure_environment()
    workspace.fill_my_notebooks()
    for name in ("bigmodel_lib/__pycache__", "notebooks/.ipynb_checkpoints", ".pytest_cache", "bigmodel_lib.egg-info"):
        (course.root / name).mkdir(parents=True)
    (course.mine / "own.ipynb").write_text("the reader's")
    (course.mine / ".ipynb_checkpoints").mkdir()
    (course.mine / ".ipynb_checkpoints/own-checkpoint.ipynb").write_text("what JupyterLab can go back to")
    before = {path: path.read_bytes() for path in course.mine.rglob("*") if path.is_file()}
    assert workspace.main(["clean"]) == 0
    assert {path: path.read_bytes() for path in course.mine.rglob("*") if path.is_file()} == before
    left = {str(path.relative_to(course.root)) for path in course.root.rglob("*") if course.mine not in path.parents}
    assert left == {
        "my_notebooks", "bigmodel_lib", "notebooks", "notebooks/00_start_here.ipynb", "notebooks/01_second.ipynb",
        "pyproject.toml", "constraints.txt",
    }  # fmt: skip


# Lab, lint and test


@pytest.fixture
def calls(course, monkeypatch):
    """The commands that were called, each with its further arguments; the fake returns the codes in `calls.codes`."""

    class Calls(list):
        codes = ()

        def __call__(self, command, **more):
            self.append((command, more))
            return self.codes[len(self) - 1] if self.codes else 0

    workspace.ensure_environment()
    recorder = Calls()
    monkeypatch.setattr(workspace, "call", recorder)
    return recorder


NOWHERE = dict.fromkeys(
    ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "VSCODE_IPC_HOOK_CLI")
)  # where a browser may be


def sit_at(monkeypatch, platform="linux", container=False, user=1000, found=True, **variables):
    """Pretend to be at a machine with these variables set, on which a browser is found or not."""

    def get():
        if not found:
            raise webbrowser.Error("none")

    for name, value in {**NOWHERE, **variables}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(workspace, "CONTAINER_MARKS", ("/",) if container else ())
    monkeypatch.setattr(webbrowser, "get", get)
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)


def test_lab_opens_the_first_notebook_with_the_environments_own_kernel(course, calls, monkeypatch, capsys):
    sit_at(monkeypatch, DISPLAY=":0")
    assert workspace.main(["lab", "--port=8889"]) == 0
    ((command, more),) = calls
    assert command[1:4] == ["-m", "jupyterlab", "my_notebooks/00_start_here.ipynb"] and command[-1] == "--port=8889"
    assert more["env"]["JUPYTER_PREFER_ENV_PATH"] == "1" and more["env"]["PATH"] == os.environ["PATH"]
    assert (course.mine / "00_start_here.ipynb").exists() and capsys.readouterr().out == ""


def test_jupyter_never_meets_a_path_that_it_takes_for_a_pattern(course, monkeypatch):
    """With "[1]" in its own path, JupyterLab finds neither its settings nor its widgets."""
    workspace.ensure_environment()
    started, folders = [], []

    def call(command, **more):
        started.append((str(command[0]), command[0].resolve()))
        folders.extend(part.split("=")[1] for part in command[1:] if part.startswith("--LabApp.app_dir="))
        return 0

    monkeypatch.setattr(workspace, "call", call)
    workspace.lab("--no-browser")
    ((path, real),) = started
    assert folders == [path.replace("bin/python", "share/jupyter/lab")]  # Lab itself would follow the link
    assert not re.search(r"[*?\[]", path) and real == (course.venv / "bin/python").resolve()
    assert not os.path.lexists(path) and (course.venv / "bin/python").exists()


def test_a_path_without_patterns_is_taken_as_it_is(tmp_path):
    with workspace.path_without_patterns(tmp_path / "a b's") as path:
        assert path == tmp_path / "a b's"


def test_where_links_are_forbidden_a_bracket_in_the_path_is_refused_in_words(course, calls, capsys, monkeypatch):
    def forbidden(*arguments, **more):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(pathlib.Path, "symlink_to", forbidden)
    assert "whose path holds a bracket: move the course's folder" in refused(capsys, "lab")
    assert calls == []


@pytest.mark.parametrize("user, given, added", [
    (1000, [], []), (0, [], ["--allow-root"]), (0, ["--allow-root"], []),
])  # fmt: skip
def test_root_may_open_lab(monkeypatch, user, given, added):
    sit_at(monkeypatch, user=user, DISPLAY=":0")
    assert workspace.lab_options(given, "00.ipynb") == added


def test_where_there_is_no_root_lab_opens(monkeypatch):
    sit_at(monkeypatch, platform="win32")
    monkeypatch.delattr(os, "geteuid")
    assert workspace.lab_options([], "00.ipynb") == []


ADDRESS = "--LabApp.default_url=/lab/tree/00.ipynb"  # what Lab prints leads to the first notebook
SSH = {"SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22", "USER": "anna"}


@pytest.mark.parametrize("machine, words", [
    (dict(DISPLAY=":0"), ""),
    (dict(WAYLAND_DISPLAY="wayland-0"), ""),
    (dict(platform="darwin"), ""),
    (dict(platform="win32"), ""),
    (dict(BROWSER="/vscode/browser.sh", container=True, **SSH), ""),
    (dict(DISPLAY="localhost:10.0", **SSH), ""),
    (dict(**SSH), "On your own computer run `ssh -L 8888:localhost:8888 anna@"),
    (dict(platform="darwin", **SSH), "On your own computer run `ssh -L 8888:localhost:8888 anna@"),
    (dict(container=True), "publish port 8888 and run `python3 -m tools.workspace lab --ip=0.0.0.0`"),
    (dict(), "No browser was found. Open the last address below in one."),
    (dict(DISPLAY=":0", found=False), "No browser was found. Open the last address below in one."),
])  # fmt: skip
def test_without_a_browser_one_line_says_what_to_do_with_the_address(monkeypatch, capsys, machine, words):
    sit_at(monkeypatch, **machine)
    options = workspace.lab_options([], "00.ipynb")
    said = capsys.readouterr().out
    assert options == (["--no-browser", ADDRESS] if words else [])
    assert words in said and said.count("\n") == bool(words)


def test_who_wants_no_browser_needs_no_advice(monkeypatch, capsys):
    sit_at(monkeypatch)
    assert workspace.lab_options(["--no-browser"], "00.ipynb") == [ADDRESS] and capsys.readouterr().out == ""


def test_the_browser_of_vs_code_gets_an_address_and_not_a_file_of_this_machine(monkeypatch):
    sit_at(monkeypatch, BROWSER="/vscode/browser.sh", VSCODE_IPC_HOOK_CLI="/run/vscode.sock")
    assert workspace.lab_options([], "00.ipynb") == ["--ServerApp.use_redirect_file=False"]


def test_lab_finds_the_courses_settings_and_the_extension_that_keeps_pictures(course, calls):
    from jupyter_server.config_manager import BaseJSONConfigManager
    from jupyterlab_server.settings_utils import _get_overrides

    workspace.lab("--no-browser")
    with workspace.path_without_patterns(course.venv) as venv:
        settings, error = _get_overrides(str(venv / "share/jupyter/lab/settings"))
        manager = BaseJSONConfigManager(config_dir=str(venv / "etc/jupyter"), read_directory=True)
        server = manager.get("jupyter_server_config")
    assert not error and settings["@jupyterlab/notebook-extension:tracker"]["windowingMode"] == "none"
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert server["ServerApp"]["jpserver_extensions"] == {"bigmodel_lib.viz.readers_copy": True}


def test_install_leaves_everything_that_a_plain_jupyter_lab_needs(course):
    assert workspace.main(["install"]) == 0
    names = ("share/jupyter/lab/settings/overrides.d", "etc/jupyter/jupyter_server_config.d")
    assert course.installed() and all((course.venv / name / "bigmodel_lib.json").exists() for name in names)
    assert sorted(path.name for path in course.mine.iterdir()) == workspace.notebook_names()


@pytest.mark.parametrize("plugin", workspace.LAB_SETTINGS)
def test_lab_knows_every_setting(plugin):
    package, name = plugin.split(":")
    schema = json.loads(
        (pathlib.Path(sys.prefix) / f"share/jupyter/lab/schemas/{package}/{name}.json").read_text(encoding="utf-8")
    )
    for key, value in workspace.LAB_SETTINGS[plugin].items():
        known = schema["properties"][key]
        choices = known.get("enum") or [choice["const"] for choice in known.get("oneOf", [])]
        assert value in choices if choices else type(value) is type(known["default"]), key


def test_here_opens_lab_in_the_environment_that_runs_now(course, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(workspace, "call", lambda command, **more: started.append(command))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "conda"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "conda/bin/python"))
    workspace.lab("--here", "--no-browser")
    ((python, *_, last),) = started
    assert python == tmp_path / "conda/bin/python" and last == "--no-browser" and not course.venv.exists()
    assert (tmp_path / "conda/etc/jupyter/jupyter_server_config.d/bigmodel_lib.json").exists()


def test_here_without_jupyterlab_is_refused_in_words(course, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "has no JupyterLab: install the course there, or leave out --here" in refused(capsys, "lab", "--here")
    assert not course.mine.exists()


@pytest.mark.parametrize("codes, result", [((0, 0, 0), 0), ((1, 0, 0), 1), ((0, 1, 0), 1), ((0, 0, 1), 1)])
def test_lint_fails_if_one_of_its_checks_does(calls, codes, result):
    calls.codes = codes
    assert workspace.lint() == result
    assert [command[2:4] for command, _ in calls] == [
        ["ruff", "check"],
        ["ruff", "format"],
        ["mypy", "--no-error-summary"],
    ][: len(calls)]


REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_one"/>
<testcase classname="tests.test_a" name="test_two[a.ipynb]"><failure/></testcase>
<testcase classname="tests.test_a" name="test_three"><skipped/></testcase>
<testcase classname="notebooks.00_start_here.ipynb" name="Cell 0"/>
<testcase classname="notebooks.00_start_here.ipynb" name="Cell 1"/>
<testcase classname="notebooks.00_start_here.ipynb" name="Cell 2"><error/></testcase>
<testcase classname="" name="notebooks.01_broken.ipynb"><error/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize("lint, code, result", [(0, 0, 0), (1, 0, 1), (0, 1, 1), (0, 5, 1)])
def test_test_ends_in_one_summary_and_fails_if_anything_did(course, monkeypatch, capsys, lint, code, result):
    def pytest_runs(command, **more):
        assert command[0] == course.venv / "bin/python" and command[1:4] == ["-m", "pytest", "--nbval"]
        (report,) = (str(part) for part in command if str(part).startswith("--junitxml="))
        pathlib.Path(report.split("=")[1]).write_text(REPORT)
        return code

    monkeypatch.setattr(workspace, "lint", lambda: lint)
    monkeypatch.setattr(workspace, "call", pytest_runs)
    assert workspace.main(["test"]) == result
    said = capsys.readouterr().out
    assert ("FAILED in 0:0" in said, "ALL PASSED in 0:0" in said) == (bool(result), not result)
    assert re.search("lint +failed" if lint else "lint +passed", said)
    assert re.search("unit tests +1 passed, 1 failed, 1 skipped", said)
    assert re.search("notebook cells +2 passed, 2 failed\n", said)


def test_without_a_report_nothing_has_passed(course, monkeypatch, capsys):
    monkeypatch.setattr(workspace, "lint", lambda: 0)
    monkeypatch.setattr(workspace, "call", lambda command, **more: 4)
    assert workspace.main(["test"]) == 1
    assert re.search("unit tests +0 passed, 0 failed", capsys.readouterr().out)


UNIT_TESTS = """
import pytest

@pytest.mark.parametrize("name", ["00.ipynb", "01.ipynb"])
def test_unit(name):
    assert name == "00.ipynb"
"""


def test_a_real_report_is_counted(tmp_path):
    cells = [nbformat.v4.new_code_cell(source, execution_count=1) for source in ("1 + 1", "2 + 2")]
    for cell, text in zip(cells, ("2", "5"), strict=True):
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": text}, execution_count=1)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks/00_one.ipynb")
    (tmp_path / "notebooks/01_broken.ipynb").write_text("not a notebook")
    (tmp_path / "test_unit.py").write_text(UNIT_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    report = tmp_path / "report.xml"
    pytest_in_it = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [*pytest_in_it, "--nbval", "--nbval-current-env", "--continue-on-collection-errors"]
    command += ["-p", "no:hypothesispytest", "-p", "no:xdist"]  # they would only take time
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert workspace.count_results(report) == {"unit tests": [1, 1, 0], "notebook cells": [1, 2, 0]}


def test_each_recipe_has_a_line_and_nothing_runs_unless_it_is_named(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(workspace, "script", lambda *command: ran.append(command))
    assert set(make_data.RECIPES) == {path.stem for path in (ROOT / "data/recipes").glob("[!_]*")}
    assert workspace.main(["data"]) == 0 and not ran
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == [*make_data.RECIPES, "all"]
    assert "NAME=storys was given; wanted is one of first_model, stories," in refused(capsys, "data", "storys")
    assert workspace.main(["data", "assistant", "--mini"]) == 0
    assert ran == [("tools/make_data.py", "assistant", "--mini")]


def test_all_recipes_stop_at_the_first_that_fails_and_the_datasheet_follows_each(monkeypatch, tmp_path):
    (tmp_path / "recipes").mkdir()
    for name, code in (("one", 0), ("two", 3), ("three", 0)):
        program = f"import pathlib, sys\n(pathlib.Path(__file__).parents[1] / '{name}.txt').write_text('{name}')\n"
        (tmp_path / f"recipes/{name}.py").write_text(program + f"sys.exit({code})\n")
    (tmp_path / "README.md").write_text("| `one.txt` | a number | 0 | `0` |\n")
    monkeypatch.setattr(make_data, "DATA", tmp_path)
    monkeypatch.setattr(make_data, "RECIPES", dict.fromkeys(("one", "two", "three"), ("a number", "1 minute")))
    assert make_data.main("all") == 3 and not (tmp_path / "three.txt").exists()
    checksum = hashlib.sha256(b"one").hexdigest()
    assert (tmp_path / "README.md").read_text() == f"| `one.txt` | a number | 3 | `{checksum}` |\n"


def test_the_environment_is_checked_in_words(monkeypatch):
    versions = importlib.metadata.version

    def version(name):
        if name == "ipywidgets":
            raise importlib.metadata.PackageNotFoundError(name)
        return versions(name)

    assert all(well for _, _, well in check_environment())
    monkeypatch.setattr(importlib.metadata, "version", version)
    (bad,) = [row for row in check_environment() if not row[2]]
    assert bad[0] == "ipywidgets" and bad[1].startswith("missing: close Lab, run `make lab`")
