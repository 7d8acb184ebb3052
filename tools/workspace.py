"""Commands around the course: install, open, test. Standard library only, since it runs before anything is installed.

`make lab` and its like call `python -m tools.workspace lab`; on Windows, `py -m tools.workspace lab`.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import webbrowser
import xml.etree.ElementTree

from bigmodel_lib.measuring.environment import NEWEST, OLDEST
from tools import make_data

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"  # PyTorch for Linux without what only a GPU needs
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # other modes show blank pages for a moment when a long notebook is scrolled
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "scrollPastEnd": False},
    # a slider would draw in a thread beside the cells, and Matplotlib then leaves half a picture
    "@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"},
}
SERVER_SETTINGS = {"ServerApp": {"jpserver_extensions": {"bigmodel_lib.viz.readers_copy": True}}}
CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


class Trouble(Exception):
    """Something that the user can mend; the text says how."""


def venv_python():
    """The path of the environment's own Python."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def this_machine():
    """What decides whether PyTorch has a build for this Python on this machine."""
    libc, libc_version = platform.libc_ver() if sys.platform.startswith("linux") else ("", "")
    return {
        "python": tuple(sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "system": platform.system(),
        "machine": platform.machine().lower(),
        "macos": numbers(platform.mac_ver()[0]),
        "libc": libc,
        "libc_version": numbers(libc_version),
    }


def numbers(version):
    """The text 14.2.1 as (14, 2, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def check_python(version=None):
    """Raises Trouble for a Python that is too old or too new."""
    version = tuple(version or sys.version_info)[:2]
    if not OLDEST <= version <= NEWEST:
        raise Trouble(
            "Python {}.{} was given and {}.{} to {}.{} is wanted, since PyTorch has builds for those: install one from "
            "python.org or your package manager, then name it: make lab PYTHON=python{}.{}".format(
                *version, *OLDEST, *NEWEST, *NEWEST
            )
        )


def check_machine(facts):
    """Raises Trouble, in one line and before anything is downloaded, where PyTorch has no build. See `this_machine`."""
    check_python(facts["python"])
    system, machine = facts["system"], facts["machine"]
    if facts["implementation"] != "cpython" or facts["free_threaded"]:
        kind = "a free-threaded Python" if facts["free_threaded"] else facts["implementation"]
        raise Trouble(f"{kind} was given and standard CPython is wanted: install it from python.org")
    if facts["bits"] == 32:
        raise Trouble("a 32-bit Python was given and PyTorch needs a 64-bit one: install it from python.org")
    if system == "Darwin" and machine != "arm64":
        raise Trouble(
            "PyTorch has no builds for Intel Macs any more: take a Linux or Windows machine, or a codespace "
            "(on Apple silicon this is a Python for Intel: install the arm64 one from python.org)"
        )
    if system == "Darwin" and facts["macos"] < (14,):
        given = ".".join(map(str, facts["macos"]))
        raise Trouble(f"macOS {given} was given and PyTorch needs macOS 14 or newer: update the system")
    if system == "Linux" and (facts["libc"] != "glibc" or facts["libc_version"] < (2, 28)):
        raise Trouble(
            "PyTorch for Linux needs glibc 2.28 or newer, which this system lacks: take a newer distribution "
            "(Debian 10, Ubuntu 20.04 or later; not Alpine)"
        )
    wanted = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",), "Windows": ("amd64",)}.get(system, ())
    if machine not in wanted:
        raise Trouble(
            f"PyTorch has no build for {system} on {machine}: take Linux (x86-64 or aarch64), "
            "macOS 14 or newer on Apple silicon, or Windows (x86-64)"
        )


def torch_build():
    """The build of PyTorch, cpu or gpu: what TORCH asks for, else what is installed already, else the standard one."""
    given, kept = os.environ.get("TORCH", "").lower(), VENV / "torch_build"
    if given not in ("", "cpu", "gpu"):
        raise Trouble(f"TORCH={given} was given and cpu or gpu is wanted, as in make lab TORCH=cpu")
    return given or (kept.read_text() if kept.exists() else "gpu")


def download_megabytes(build):
    """How much a first installation downloads here, as constraints.txt says."""
    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    name = f"{system} {platform.machine().lower()}" + (" TORCH=cpu" if (system, build) == ("linux", "cpu") else "")
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(rf"^#\s+(\d+) MB: {re.escape(name)}$", lock, re.M)
    return int(found[1]) if found else 0


def room_wanted(build):
    """Gigabytes of disk for a first installation: packages take about twice their download."""
    return 1.5 + 2 * download_megabytes(build) / 1e3


def fingerprint(build):
    """What the environment depends on: it is installed again when this changes."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    parts += [str(ROOT).encode(), ".".join(map(str, sys.version_info[:2])).encode(), build.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def explain(log, place="the lines above say more"):
    """What a failed installation's log means, in words; where nothing is known, the place that says more."""
    if re.search(r"No space left on device|Errno 28|not enough space|quota exceeded", log, re.I):
        return "the disk is full: free about 3 GB, then run this again; it continues where it stopped"
    if re.search(
        r"name resolution|NewConnectionError|Max retries|getaddrinfo|timed out|Network is unreachable", log, re.I
    ):
        return (
            "no package registry could be reached: connect to the network, then run this again; it goes on from there"
        )
    if re.search(r"No matching distribution|ResolutionImpossible", log, re.I):
        return "constraints.txt names a package that could not be found: update pip's index settings, or tell us"
    return f"{place}; after mending it, run this again; it continues where it stopped"


def call(command, **more):
    """Run a command in the course's folder; returns its exit code."""
    return subprocess.call([str(part) for part in command], cwd=str(ROOT), **more)


def create_venv(build):
    """Make .venv, or make it again if its Python does not run (a moved folder, a removed Python) or TORCH changed."""
    probe = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    kept = VENV / "torch_build"
    same_build = not kept.exists() or kept.read_text() == build
    if same_build and venv_python().exists() and call([venv_python(), "-c", probe], stderr=subprocess.DEVNULL) == 0:
        return
    free, wanted = shutil.disk_usage(str(ROOT)).free / 1e9, room_wanted(build)
    if free < wanted:
        lean = "" if build == "cpu" else f" (on Linux TORCH=cpu takes {room_wanted('cpu'):.1f} GB)"
        raise Trouble(
            f"{wanted:.1f} GB of disk are wanted and {free:.1f} GB are free: make room, then run this again{lean}"
        )
    print(f"Creating the environment {VENV}", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if made.returncode:
        said = made.stdout + made.stderr
        if "ensurepip is not" in said or importlib.util.find_spec("ensurepip") is None:
            raise Trouble(
                "this Python cannot make environments: install its venv package (on Debian and Ubuntu: "
                "sudo apt install python3-venv), then run this again"
            )
        raise Trouble(f"{said.strip()[-500:]}\nthe environment {VENV} could not be made: {explain(said)}")
    kept.write_text(build)


def tell(line):
    """Print what a reader wants to know of a line that pip says: large downloads, the installation, errors."""
    line = line.rstrip()
    download = re.match(r"\s*Downloading .*?([\w.]+)-(\d[^-]*)-\S*\.whl \(([\d.]+ [MG]B)\)", line)
    if download:
        print("  downloading {} {} ({})".format(*download.groups()), flush=True)
    elif line.startswith("Installing collected packages:"):
        print(f"  unpacking {line.count(',') + 1} packages (a minute or two)", flush=True)
    elif line.startswith(("ERROR", "error")) or "Errno" in line:
        print(f"  {line}", flush=True)


def pip_install(build, log):
    """Install the course as constraints.txt pins it; returns pip's exit code."""
    pip = [venv_python(), "-m", "pip", "--disable-pip-version-check", "--log", log]
    index = ["--extra-index-url", CPU_BUILDS] if build == "cpu" and platform.system() == "Linux" else []
    command = [*pip, "install", "--progress-bar", "off", *index, "-c", "constraints.txt", "-e", ".[course]"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    with subprocess.Popen([str(part) for part in command], cwd=str(ROOT), **pipes) as process:
        for line in process.stdout:
            tell(line)
    return process.returncode


def ensure_environment():
    """Install the course into .venv; at once if that was done before and nothing has changed since."""
    check_machine(this_machine())
    build = torch_build()
    stamp = VENV / "installed"
    if stamp.exists() and stamp.read_text() == fingerprint(build) and venv_python().exists():
        return
    create_venv(build)
    megabytes = download_megabytes(build)
    print(f"Installing the course's packages, about {megabytes} MB to download the first time", flush=True)
    if platform.system() == "Linux" and build == "gpu" and not shutil.which("nvidia-smi"):
        lean = download_megabytes("cpu")
        print(f"(no NVIDIA card was found: Ctrl-C and `make lab TORCH=cpu` would download {lean} MB)", flush=True)
    log = VENV / "install.log"
    for old in (log, stamp):  # an interrupted installation leaves packages of two fingerprints, so it keeps no stamp
        if old.exists():
            old.unlink()
    if pip_install(build, log):
        said = log.read_text(errors="replace") if log.exists() else ""
        raise Trouble("the installation stopped: " + explain(said, f"the end of {log} says more"))
    stamp.write_text(fingerprint(build))


def notebook_names():
    """The course's notebooks in reading order."""
    return sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def write_whole(target, content):
    """Write a file under a passing name and rename it, so that a full disk leaves no half file."""
    passing = target.with_name(f".{target.name}.part")
    passing.write_bytes(content)
    os.replace(str(passing), str(target))


def as_handed_out(name):
    """The bytes of one of the course's notebooks without outputs, so that readers guess before they see."""
    try:
        notebook = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
    except (ValueError, KeyError, TypeError):
        raise Trouble(
            f"notebooks/{name} is not a notebook any more: bring it back with `git checkout notebooks/{name}`, "
            "then run this again"
        ) from None
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()


def fill_my_notebooks():
    """Put what is missing from notebooks/ into my_notebooks/; what is there is the reader's, and stays."""
    mine = ROOT / "my_notebooks"
    mine.mkdir(exist_ok=True)
    for name in notebook_names():
        if not (mine / name).exists():
            write_whole(mine / name, as_handed_out(name))


def write_settings(prefix):
    """Give JupyterLab in an environment the course's defaults; a reader's own settings come before them."""
    for name, values in (
        ("share/jupyter/lab/settings/overrides.d/bigmodel_lib.json", LAB_SETTINGS),
        ("etc/jupyter/jupyter_server_config.d/bigmodel_lib.json", SERVER_SETTINGS),
    ):
        path = pathlib.Path(prefix) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(values).encode())


@contextlib.contextmanager
def path_without_patterns(prefix):
    """The environment's folder under a name without *, ? and [: Jupyter looks for its own files by patterns."""
    if not re.search(r"[*?\[]", str(prefix)):
        yield prefix
        return
    with tempfile.TemporaryDirectory() as folder:
        link = pathlib.Path(folder) / "environment"
        try:
            link.symlink_to(prefix, target_is_directory=True)
        except OSError:
            raise Trouble(
                f"JupyterLab cannot start in {ROOT}, whose path holds a bracket: move the course's folder to a path "
                "without, then run this again"
            ) from None
        yield link


OVER_SSH = (
    "No browser opens over SSH. On your own computer run `ssh -L 8888:localhost:8888 {}@{}`, and there open the last "
    "address below. If it has another port than 8888, put that into both places."
)
IN_A_CONTAINER = (
    "This container has no browser. Open the last address below outside of it. If nothing answers there, publish port "
    "8888 and run `python3 -m tools.workspace lab --ip=0.0.0.0`."
)
NO_BROWSER = "No browser was found. Open the last address below in one."


def advice_without_browser():
    """What to do where no browser can be opened, in one line; empty where one can, and where BROWSER names one."""
    if os.environ.get("BROWSER"):
        return ""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if os.environ.get("SSH_CONNECTION") and not screen:
        return OVER_SSH.format(os.environ.get("USER", "you"), socket.gethostname())
    if any(os.path.exists(mark) for mark in CONTAINER_MARKS) and not screen:
        return IN_A_CONTAINER
    if sys.platform.startswith("linux") and not screen:
        return NO_BROWSER
    try:
        webbrowser.get()
    except webbrowser.Error:
        return NO_BROWSER
    return ""


def lab_options(given, first):
    """The options for JupyterLab that this machine needs beside those given. first: the notebook to open."""
    options = []
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in given:
        options.append("--allow-root")
    if "VSCODE_IPC_HOOK_CLI" in os.environ:  # its browser is on another machine, which cannot open a file of this one
        options.append("--ServerApp.use_redirect_file=False")
    if "--no-browser" not in given:
        advice = advice_without_browser()
        if not advice:
            return options
        print(advice, flush=True)
        options.append("--no-browser")
    return [*options, f"--LabApp.default_url=/lab/tree/{first}"]  # the address that Lab prints


def install():
    """Install the course without opening it; a plain `jupyter lab` in .venv then is like `make lab`."""
    ensure_environment()
    fill_my_notebooks()
    write_settings(VENV)


def python_for_lab(here):
    """(the Python that runs JupyterLab, the folder of its environment): .venv's, or with `here` the one running now."""
    if not here:
        ensure_environment()
        return venv_python(), VENV
    if importlib.util.find_spec("jupyterlab") is None:
        raise Trouble(f"{sys.prefix} has no JupyterLab: install the course there, or leave out --here")
    return pathlib.Path(sys.executable), pathlib.Path(sys.prefix)


def lab(*options):
    """Open JupyterLab at the reader's copy of the first notebook, with the environment's own kernel.

    `--here` takes the environment of the Python that runs this, such as conda's, in place of .venv.
    """
    python, prefix = python_for_lab("--here" in options)
    given = [option for option in options if option != "--here"]
    fill_my_notebooks()
    write_settings(prefix)
    first = notebook_names()[0]
    environment = dict(os.environ, JUPYTER_PREFER_ENV_PATH="1")
    added = lab_options(given, first)
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for Lab, which asks before it stops
    with path_without_patterns(prefix) as folder:
        if folder != prefix:
            python = folder / python.relative_to(prefix)
            added.append(f"--LabApp.app_dir={folder / 'share/jupyter/lab'}")  # Lab would follow the link
        return call([python, "-m", "jupyterlab", f"my_notebooks/{first}", *added, *given], env=environment)


def fresh(number=None):
    """Put the course's version of one notebook into my_notebooks/; the reader's own is kept beside it."""
    names = [name for name in notebook_names() if number and name.split("_")[0] == str(number)]
    if len(names) != 1:
        numbers = ", ".join(name.split("_")[0] for name in notebook_names())
        raise Trouble(f"NB={number or ''} does not name one notebook: choose one of {numbers}, as in make fresh NB=00")
    fill_my_notebooks()
    mine, ours = ROOT / "my_notebooks" / names[0], as_handed_out(names[0])
    if mine.read_bytes() != ours:
        kept = mine.with_name("{}_kept_{}.ipynb".format(mine.stem, time.strftime("%Y-%m-%d_%H%M%S")))
        mine.rename(kept)
        write_whole(mine, ours)
        print(f"Your version is kept as my_notebooks/{kept.name}")
    print(f"my_notebooks/{mine.name} is the course's version")


def lint():
    """Style of code and notebooks, and the library's types; returns the exit code."""
    ensure_environment()
    ruff = [venv_python(), "-m", "ruff"]
    return (
        call([*ruff, "check", "--quiet", "."])
        or call([*ruff, "format", "--quiet", "--check", "."])
        or call([venv_python(), "-m", "mypy", "--no-error-summary"])
    )


def count_results(report):
    """{"tests" or "notebook cells": [passed, failed, skipped]} from a JUnit file."""
    counts = {"unit tests": [0, 0, 0], "notebook cells": [0, 0, 0]}
    if not report.exists():
        return counts
    for case in xml.etree.ElementTree.parse(str(report)).iter("testcase"):
        where = case.get("classname") or case.get("name") or ""  # no class name: the file could not be collected
        cell = where.endswith(".ipynb")
        outcomes = {child.tag for child in case}
        place = 1 if outcomes & {"failure", "error"} else 2 if "skipped" in outcomes else 0
        counts["notebook cells" if cell else "unit tests"][place] += 1
    return counts


def workers():
    """How many processes test side by side."""
    return str(max(1, min(4, os.cpu_count() or 1)))


def run_tests(what, *arguments):
    """Lint and some of the tests, `what` naming which; ends with one summary; returns the exit code."""
    start = time.time()
    style = lint()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        pytest = [venv_python(), "-m", "pytest", *what, "-q", "-n", workers(), "--dist", "loadfile"]
        code = call([*pytest, f"--junitxml={report}", "-p", "no:cacheprovider", *arguments])
        counts = count_results(report)
    print("\nlint            {}".format("failed (make lint shows it)" if style else "passed"))
    for name, (passed, failed, skipped) in counts.items():
        print(f"{name:<15} {passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    minutes, seconds = divmod(round(time.time() - start), 60)
    print("{} in {}:{:02d}".format("ALL PASSED" if not (style or code) else "FAILED", minutes, seconds))
    return 1 if style or code else 0


def test(*arguments):
    """Lint, unit tests and every notebook; returns the exit code."""
    return run_tests(["--nbval"], *arguments)


def test_fast(*arguments):
    """Lint and unit tests, without the notebooks; returns the exit code."""
    return run_tests(["tests"], *arguments)


def lock(*upgrade):
    """Make constraints.txt anew, for every supported Python and platform."""
    ensure_environment()
    call([venv_python(), "-m", "pip", "install", "-q", "-c", "constraints.txt", "-e", ".[authors]"])
    return call([venv_python(), "tools/lock.py", *upgrade])


def script(path, *arguments):
    """Run one of the project's own programs in the environment."""
    ensure_environment()
    return call([venv_python(), path, *arguments])


def data(*names):
    """Run a recipe that makes files in data/, or all; without a name, say which there are."""
    name, *more = names or [""]
    if not name:
        print(make_data.menu())
        return 0
    if name not in (*make_data.RECIPES, "all"):
        raise Trouble("NAME={} was given; wanted is one of {}, all".format(name, ", ".join(make_data.RECIPES)))
    return script("tools/make_data.py", name, *more)


def ensure_extra(name):
    """Install what one of pyproject.toml's extras adds, once; returns pip's exit code."""
    import tomllib  # not at the top: a Python that is too old gets a line that says so

    ensure_environment()
    stamp, wanted = VENV / f"installed_{name}", fingerprint(torch_build())
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pip = [venv_python(), "-m", "pip", "--disable-pip-version-check", "install", "-q", "-c", "constraints.txt"]
    code = call([*pip, *project["optional-dependencies"][name]])
    if code == 0:
        stamp.write_text(wanted)
    return code


def browser_tests():
    """The files of tests that open a browser."""
    files = sorted((ROOT / "tests").glob("test_*.py"))
    return [path.relative_to(ROOT) for path in files if "import run_browser" in path.read_text(encoding="utf-8")]


def test_browser(*arguments):
    """Notebooks with widgets in a real browser; says what it skips, and why, where there is none."""
    ensure_extra("browser")
    os.environ["COURSE_BROWSER"] = "1"
    several = str(int(workers()) + 1)  # a browser waits a third of its time
    pytest = [venv_python(), "-m", "pytest", "-q", "-rs", "-m", "browser", "-n", several, "--dist", "loadgroup"]
    return call([*pytest, *browser_tests(), *arguments])


def test_classroom(*arguments):
    """A course for nbgrader, handed out and graded headlessly."""
    pytest = [venv_python(), "-m", "pytest", "-q", "-n", workers(), "--dist", "loadgroup", "tests/test_nbgrader.py"]
    return ensure_extra("classroom") or call([*pytest, *arguments])


def mutants(*options):
    """How much of what breaks do the tests notice? Installs the tool that breaks it."""
    ensure_extra("mutation")
    return call([venv_python(), "-m", "tools.mutants", *options])


def clean():
    """Remove the environment and caches. The reader's notebooks stay, and what JupyterLab keeps beside them."""
    own = (".pytest_cache", ".ruff_cache", ".mypy_cache", ".mutants", ".hypothesis", "bigmodel_lib.egg-info")
    caches = [path for name in ("__pycache__", ".ipynb_checkpoints") for path in ROOT.glob(f"[!.]*/**/{name}")]
    caches = [path for path in caches if path.relative_to(ROOT).parts[0] != "my_notebooks"]
    for path in [VENV, *caches, *(ROOT / name for name in own)]:
        shutil.rmtree(str(path), ignore_errors=True)


TARGETS = {
    "lab": lab,
    "install": lambda *_: install(),
    "test": test,
    "test-fast": test_fast,
    "test-browser": test_browser,
    "test-classroom": test_classroom,
    "notebooks": lambda *names: script("tests/run_notebooks.py", *names),
    "fresh": lambda *numbers: fresh(" ".join(numbers)),
    "lint": lambda *_: lint(),
    "lock": lambda *upgrade: lock(*upgrade),
    "bench": lambda *more: (
        script("tests/bench_data.py")
        or script("tests/bench_backprop.py")
        or script("tests/bench_generation.py")
        or script("tests/bench_pretraining.py", *more)
    ),
    "bench-gpu": lambda *more: script("tools/bench_gpu.py", *more),
    "bench-long": lambda *more: script("tests/bench_long.py", *more),
    "data": data,
    "mutants": mutants,
    "course": lambda *more: call([venv_python(), "-m", "tools.classroom.course", *more]),
    "class-sheet": lambda *more: call([venv_python(), "-m", "tools.classroom.sheet", *more]),
    "slides": lambda *_: script("tools/showpieces.py"),
    "clean": lambda *_: clean(),
}


def main(arguments):
    try:
        check_python()
        if not arguments or arguments[0] not in TARGETS:
            raise Trouble("one of {} was wanted".format(", ".join(TARGETS)))
        return TARGETS[arguments[0]](*arguments[1:]) or 0
    except Trouble as trouble:
        print(f"\n{trouble}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"\n{explain(str(error))} ({error})", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
