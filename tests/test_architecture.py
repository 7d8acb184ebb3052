"""The library reads in the order in which data flows, and does nothing unasked."""

import ast
import pathlib
import subprocess
import sys

import pytest

import bigmodel_lib

LIBRARY = pathlib.Path(bigmodel_lib.__file__).parent
ORDER = (
    "errors", "config", "recipes", "text", "storyworld", "by_hand", "model", "generation", "training", "finetuning",
    "vision", "risk", "measuring", "interpretability", "viz", "exercises", "cli",
)  # fmt: skip
FILES = sorted(LIBRARY.rglob("*.py"))
FORWARDED = {"pretraining.py", "__main__.py"}  # the old command, and `python -m bigmodel_lib`


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports_of(path):
    """Modules of the library that a file imports, also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.dump(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bigmodel_lib"):
            names = [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"]
            yield from names if node.module == "bigmodel_lib" else [node.module]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("bigmodel_lib"))


def part_of_file(path):
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def test_every_part_has_its_place_in_the_order():
    parts = {part_of_file(path) for path in FILES if path.name not in FORWARDED | {"__init__.py"}}
    assert parts == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_go_one_way(path):
    here = part_of_file(path)
    if path.name in FORWARDED or here == "__init__":
        return
    for module in imports_of(path):
        there = part_of(module)
        assert ORDER.index(there) <= ORDER.index(here), f"{here} imports {module}, which comes later"
        assert {here, there} != {"by_hand", "model"}, "the twins know nothing of each other"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_only_programs_read_arguments_and_the_environment_and_only_they_print(path):
    if part_of_file(path) == "cli" or path.name in FORWARDED:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(node, "attr", getattr(node, "id", ""))
        assert name not in ("environ", "getenv", "argv", "ArgumentParser"), f"line {node.lineno}: {name}"
        to_readers = part_of_file(path) in ("exercises", "viz")
        assert name != "print" or to_readers, f"line {node.lineno} prints"


@pytest.mark.parametrize(
    "module, strangers",
    [
        ("bigmodel_lib", {"numpy", "torch", "matplotlib", "scipy"}),
        ("bigmodel_lib.config", {"numpy", "torch", "matplotlib"}),
        ("bigmodel_lib.text.sources", {"torch", "matplotlib", "pooch", "requests"}),
        ("bigmodel_lib.storyworld", {"torch", "matplotlib"}),
        ("bigmodel_lib.by_hand.optimizers", {"torch", "matplotlib"}),
        ("bigmodel_lib.generation", {"matplotlib", "IPython", "sklearn"}),
        ("bigmodel_lib.measuring.environment", {"numpy", "torch"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(module, strangers):
    program = f"import sys, {module}; print(*{strangers!r} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
