"""constraints.txt fits every Python and platform that the course promises; read without a network."""

import importlib.util
import pathlib
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("lock", ROOT / "tools/lock.py")
lock = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lock)

TEXT = lock.LOCK.read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MACHINES = [(python, name) for python in lock.PYTHONS for name in lock.PLATFORMS]


def refusals(text: str, python: str, platform) -> list[str]:
    """The pins that a machine would install and that do not accept its Python."""
    pins = [pin for pin in lock.read_lock(text) if lock.applies(pin, python, platform)]
    return [
        pin.name for pin in pins if pin.requires_python != "any" and python not in SpecifierSet(pin.requires_python)
    ]


@pytest.mark.parametrize(("python", "name"), MACHINES)
def test_every_pin_accepts_the_python_that_installs_it(python, name):
    assert refusals(TEXT, python, lock.PLATFORMS[name]) == []


@pytest.mark.parametrize(("python", "name"), MACHINES)
def test_a_machine_has_one_pin_of_each_package_and_all_that_the_course_asks_for(python, name):
    platform = lock.PLATFORMS[name]
    names = [canonicalize_name(pin.name) for pin in lock.read_lock(TEXT) if lock.applies(pin, python, platform)]
    assert len(names) == len(set(names)) > 100
    asked = [*PROJECT["dependencies"], *(r for extra in lock.EXTRAS for r in PROJECT["optional-dependencies"][extra])]
    assert {canonicalize_name(Requirement(r).name) for r in asked} <= set(names)


def test_the_pins_are_in_the_ranges_that_the_project_gives():
    pins = {canonicalize_name(pin.name): pin.version for pin in lock.read_lock(TEXT)}
    for asked in map(Requirement, PROJECT["dependencies"]):
        assert pins[canonicalize_name(asked.name)] in asked.specifier, asked


def test_the_promised_pythons_are_those_that_are_checked():
    promised = SpecifierSet(PROJECT["requires-python"])
    assert all(python in promised for python in lock.PYTHONS)
    assert "3.10.14" not in promised and "3.15.0" not in promised
    assert lock.PYTHONS[0] == "3.11.0" and {p.rpartition(".")[0] for p in lock.PYTHONS} == {
        f"3.{minor}" for minor in range(11, 15)
    }


def test_a_pin_that_refuses_the_oldest_python_is_found():
    """The fault that made the first command fail on Debian's Python 3.11.2."""
    linux = lock.PLATFORMS["linux x86_64"]
    assert refusals("soupsieve==4.1.2  # python >=3.11.5", "3.11.2", linux) == ["soupsieve"]
    assert refusals("soupsieve==4.1.2  # python >=3.11.5", "3.11.5", linux) == []
    marked = "soupsieve==4.1.2 ; python_full_version >= '3.11.5'  # python >=3.11.5"
    assert refusals(marked, "3.11.2", linux) == []


def test_markers_choose_by_machine():
    pins = lock.read_lock("a==1 ; sys_platform == 'win32'  # python any\nb==2.0  # python >=3.9\n# c==3")
    linux, windows = lock.PLATFORMS["linux aarch64"], lock.PLATFORMS["windows amd64"]
    assert [lock.applies(pin, "3.12.0", linux) for pin in pins] == [False, True]
    assert [lock.applies(pin, "3.12.0", windows) for pin in pins] == [True, True]


def test_only_what_a_gpu_needs_differs_between_the_two_builds_for_linux():
    heavy = [pin.name for pin in lock.read_lock(TEXT) if pin.name.startswith(lock.GPU_ONLY)]
    assert heavy and all("sys_platform == 'linux'" in pin.marker for pin in lock.read_lock(TEXT) if pin.name in heavy)
    sizes = {name: int(size) for size, name in re.findall(r"^#\s+(\d+) MB: (.+)$", TEXT, re.M)}
    for name in ("linux x86_64", "linux aarch64"):
        assert sizes[f"{name} TORCH=cpu"] < sizes[name] / 4
    assert set(lock.PLATFORMS) <= set(sizes)


def test_a_wheel_is_chosen_as_pip_would():
    files = [
        {"filename": f"x-1.0-{tag}.whl", "size": 1}
        for tag in ("cp312-cp312-manylinux_2_28_x86_64", "cp311-abi3-manylinux_2_17_x86_64", "py3-none-any")
    ]
    linux, windows = lock.PLATFORMS["linux x86_64"], lock.PLATFORMS["windows amd64"]
    assert lock.wheel_for(files, "3.12.0", linux) is files[0]
    assert lock.wheel_for(files, "3.13.0", linux) is files[1]
    assert lock.wheel_for(files, "3.13.0", windows) is files[2]
    assert lock.wheel_for(files[:2], "3.13.0", windows) is None


def test_a_pin_without_a_wheel_for_a_promised_machine_stops_the_lock():
    pin, wheels = lock.Pin("x", "1.0", "", ""), [{"filename": "x-1.0-cp311-cp311-win_amd64.whl", "size": 1}]
    with pytest.raises(SystemExit, match=r"x 1\.0 has no wheel for Python 3\.11\.0 on linux x86_64"):
        lock.accepted_pythons(pin, wheels)
    everywhere = [{"filename": "x-1.0-py3-none-any.whl", "size": 1, "requires-python": ">=3.11.5"}]
    with pytest.raises(SystemExit, match=r"x 1\.0 refuses Python 3\.11\.0"):
        lock.accepted_pythons(pin, everywhere)


def test_the_conda_environment_names_the_same_pythons_and_pins():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert f"python{PROJECT['requires-python']}" in text and "-c constraints.txt" in text
