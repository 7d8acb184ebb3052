"""The files around the course parse, agree with each other, and name only commands that exist."""

import json
import pathlib
import re

import pytest
import yaml

import bigmodel_lib
from tools import workspace

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SPEAKING = ("README.md", "CONTRIBUTING.md", ".devcontainer/devcontainer.json", ".github/workflows/tests.yml")


def targets_of_make() -> set[str]:
    return set(re.findall(r"^([\w-]+): .*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("name", SPEAKING)
def test_every_command_that_is_named_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    made = set(re.findall(r"(?:^|[`\"(\s])make ([a-z][\w-]*)(?=[\s`\")])", text)) - {"sure", "it", "and"}
    called = set(re.findall(r"tools\.workspace ([\w-]+)", text))
    assert made | called and made <= targets_of_make() and called <= set(workspace.TARGETS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_parses_and_every_step_does_something(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow[True] and workflow["jobs"], "YAML reads the key `on` as true"
    for job in workflow["jobs"].values():
        assert job["runs-on"] and job["timeout-minutes"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "@" in step.get("uses", "@")


def test_the_workflows_cover_each_system_and_the_oldest_and_newest_python():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["library"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert {tuple(map(int, version.split("."))) for version in matrix["python"]} == {workspace.OLDEST, workspace.NEWEST}
    assert any("make test" in step.get("run", "") for step in jobs["notebooks"]["steps"])


def test_the_dev_container_opens_a_notebook_of_the_course():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    opened = container["customizations"]["codespaces"]["openFiles"]
    assert [pathlib.PurePosixPath(name).name for name in opened] == workspace.notebook_names()[:1]
    version = re.search(r":(\d+)\.(\d+)$", container["image"])
    assert workspace.OLDEST <= tuple(map(int, version.groups())) <= workspace.NEWEST


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "title", "authors", "message", "license"} <= citation.keys()
    assert citation["version"] == bigmodel_lib.__version__
    assert f"## {bigmodel_lib.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readmes_sample_is_the_novelists():
    film = json.loads((ROOT / "data/novelist/film.json").read_text(encoding="utf-8"))
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = " ".join(re.findall(r"^> (.*)$", page.split("## Two commands")[0], re.M)).split("said** ")[1]
    assert quoted in " ".join(film["frames"][-1]["samples"][1].split())
