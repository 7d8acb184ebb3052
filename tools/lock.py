"""Make constraints.txt: one pin for each package, right for every Python and platform that the course supports.

`make lock` keeps the pins that still fit; `make lock UPGRADE=yes` takes the newest versions. The resolver is uv's
universal one, started from the oldest supported Python. Beside each pin stands which Pythons the package accepts, as
its own metadata says; the tests hold every pin to it without a network.
"""

import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request
from typing import NamedTuple

from packaging import tags
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCK = ROOT / "constraints.txt"
PYTHONS = ("3.11.0", "3.11.15", "3.12.0", "3.12.12", "3.13.0", "3.13.9", "3.14.0", "3.14.2")
EXTRAS = ("course", "authors", "browser")
CPU_TORCH_MB = 192  # PyTorch's CPU build for Linux comes from its own index, which tells no sizes
GPU_ONLY = ("cuda-", "nvidia-", "triton")  # what the standard build for Linux brings along
HEADER = """\
# The exact versions with which the committed outputs were made; pyproject.toml says what is needed and why.
# Made by `make lock`: don't edit. After each pin: the Pythons that it accepts. A first installation downloads about
"""


class Platform(NamedTuple):
    """What markers and file names of packages say about one kind of machine."""

    sys_platform: str
    platform_system: str
    os_name: str
    platform_machine: str
    wheels: tuple[str, ...]  # platform tags, best first


def manylinux(machine: str) -> tuple[str, ...]:
    """The tags of wheels for glibc 2.28 or newer, which PyTorch wants."""
    named = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    found = []
    for minor in range(28, 4, -1):
        found.append(f"manylinux_2_{minor}_{machine}")
        if minor in named:
            found.append(f"{named[minor]}_{machine}")
    return *found, f"linux_{machine}"


PLATFORMS = {
    "linux x86_64": Platform("linux", "Linux", "posix", "x86_64", manylinux("x86_64")),
    "linux aarch64": Platform("linux", "Linux", "posix", "aarch64", manylinux("aarch64")),
    "macos arm64": Platform("darwin", "Darwin", "posix", "arm64", tuple(tags.mac_platforms((14, 0), "arm64"))),
    "windows amd64": Platform("win32", "Windows", "nt", "AMD64", ("win_amd64",)),
}


class Pin(NamedTuple):
    """One line of constraints.txt."""

    name: str
    version: str
    marker: str  # empty: everywhere
    requires_python: str  # empty: any


def environment(python: str, platform: Platform) -> dict[str, str]:
    """The values of a machine's markers, as PEP 508 names them."""
    minor = ".".join(python.split(".")[:2])
    known = dict(python_full_version=python, python_version=minor, implementation_name="cpython")
    known |= dict(platform_python_implementation="CPython", implementation_version=python, extra="")
    return known | {name: value for name, value in platform._asdict().items() if name != "wheels"}


def applies(pin: Pin, python: str, platform: Platform) -> bool:
    """Whether a machine installs this pin (if anything asks for the package)."""
    return not pin.marker or Marker(pin.marker).evaluate(environment(python, platform))


def read_lock(text: str) -> list[Pin]:
    """The pins of a constraints.txt."""
    pins = []
    for line in text.splitlines():
        pin, _, requires_python = line.partition("  # python ")
        if pin and not pin.startswith("#"):
            named, _, marker = pin.partition(" ; ")
            name, _, version = named.partition("==")
            pins.append(Pin(name, version.strip(), marker.strip(), requires_python.strip()))
    return pins


def resolve(extras, preferred: str) -> list[Pin]:
    """Let uv find versions for all supported machines at once; it keeps those of `preferred` where they fit."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "constraints.txt"
        out.write_text(preferred, encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--no-config"]
        command += ["--no-header", "--no-annotate", "--fork-strategy", "fewest", "--python-version", PYTHONS[0]]
        command += [part for extra in extras for part in ("--extra", extra)]
        subprocess.run([*command, "-o", str(out), str(ROOT / "pyproject.toml")], check=True, stdout=subprocess.DEVNULL)
        return read_lock(out.read_text(encoding="utf-8"))


def simplify(pin: Pin) -> Pin | None:
    """The pin without a marker that is true on every supported machine; None if no supported machine takes it."""
    taken = [applies(pin, python, platform) for python in PYTHONS for platform in PLATFORMS.values()]
    if not any(taken):
        return None
    return pin._replace(marker="") if all(taken) else pin


def wheels_of(pin: Pin) -> list[dict]:
    """The wheels of a pinned version, as the package index lists them (PEP 691): filename, size, requires-python."""
    from pip._internal.models.index import PyPI

    wanted = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(f"{PyPI.simple_url}/{pin.name}/", headers=wanted)) as answer:
        files = json.loads(answer.read())["files"]
    return [file for file in files if is_wheel_of(file["filename"], pin) and not file["yanked"]]


def is_wheel_of(filename: str, pin: Pin) -> bool:
    """Whether a file is a wheel of the pinned version; very old names that break the rules are not."""
    try:
        return parse_wheel_filename(filename)[1] == Version(pin.version)
    except InvalidWheelFilename:
        return False


def wheel_for(wheels: list[dict], python: str, platform: Platform) -> dict | None:
    """The wheel that pip would take on a machine; None if it would have to build one."""
    version = tuple(int(part) for part in python.split(".")[:2])
    order = [*tags.cpython_tags(version, platforms=platform.wheels)]
    order += [*tags.compatible_tags(version, f"cp{version[0]}{version[1]}", platform.wheels)]
    rank = {tag: place for place, tag in enumerate(order)}
    fitting = []
    for file in wheels:
        places = [rank[tag] for tag in parse_wheel_filename(file["filename"])[3] if tag in rank]
        fitting += [(min(places), file["size"], file)] if places else []
    return min(fitting, key=lambda found: found[:2])[2] if fitting else None


def accepted_pythons(pin: Pin, wheels: list[dict]) -> str:
    """The Pythons that a pinned version accepts. Ends the program where a supported machine has no wheel of it."""
    for name, platform in PLATFORMS.items():
        for python in PYTHONS:
            if not applies(pin, python, platform):
                continue
            wheel = wheel_for(wheels, python, platform)
            if wheel is None:
                sys.exit(f"{pin.name} {pin.version} has no wheel for Python {python} on {name}: pin another version")
            if python not in SpecifierSet(wheel.get("requires-python") or ""):
                sys.exit(f"{pin.name} {pin.version} refuses Python {python} on {name}: pin another version")
    return next((file["requires-python"] for file in wheels if file.get("requires-python")), "")


def download_sizes(pins: list[Pin], wheels: dict[str, list[dict]]) -> dict[str, int]:
    """{kind of machine: megabytes of a first installation} of the course alone."""
    sizes = {}
    for name, platform in PLATFORMS.items():
        taken = [pin.name for pin in pins if applies(pin, "3.12.0", platform)]
        megabytes = {package: wheel_for(wheels[package], "3.12.0", platform)["size"] / 1e6 for package in taken}
        sizes[name] = round(sum(megabytes.values()))
        if platform.sys_platform == "linux":
            lean = {k: v for k, v in megabytes.items() if k != "torch" and not k.startswith(GPU_ONLY)}
            sizes[f"{name} TORCH=cpu"] = round(sum(lean.values())) + CPU_TORCH_MB
    return sizes


def main(upgrade: str = "") -> None:
    preferred = "" if upgrade else LOCK.read_text(encoding="utf-8")
    pins = [pin for pin in map(simplify, resolve(EXTRAS, preferred)) if pin]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        wheels = {pin.name: found for pin, found in zip(pins, pool.map(wheels_of, pins), strict=True)}
    pins = [pin._replace(requires_python=accepted_pythons(pin, wheels[pin.name])) for pin in pins]
    of_the_course = {pin.name for pin in resolve(["course"], LOCK.read_text(encoding="utf-8"))}
    sizes = download_sizes([pin for pin in pins if pin.name in of_the_course], wheels)
    lines = [f"#   {megabytes} MB: {name}" for name, megabytes in sizes.items()]
    for pin in pins:
        marker = f" ; {pin.marker}" if pin.marker else ""
        lines.append(f"{pin.name}=={pin.version}{marker}  # python {pin.requires_python or 'any'}")
    LOCK.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(pins)} pins; {', '.join(lines[: len(sizes)]).replace('#   ', '')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
