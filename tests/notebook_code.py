"""What a notebook defines itself, for tests: `defined_in("06_pretraining", "pretrain")`."""

import ast
import contextlib
import json
import pathlib
import types
from typing import Any

NOTEBOOKS = pathlib.Path(__file__).resolve().parent.parent / "notebooks"


KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef)


def defined_in(notebook: str, *names: str, **given: Any) -> types.SimpleNamespace:
    """Functions, classes and constants that the cells of a notebook define, with all that these cells import.

    given: what they use besides, such as a function that the reader builds.
    """
    path = NOTEBOOKS / f"{notebook}.ipynb"
    namespace: dict = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "exercise" not in cell["metadata"]:
            for node in ast.parse("".join(cell["source"])).body:
                asked = not names_of(node).isdisjoint(names)
                if asked or isinstance(node, KEPT):
                    with contextlib.suppress(() if asked else NameError):  # its default value may be of an exercise
                        exec(compile(ast.Module([node], []), str(path), "exec"), namespace)  # noqa: S102 (our own)
    namespace |= given
    return types.SimpleNamespace(**{name: namespace[name] for name in names})


def names_of(node: ast.stmt) -> set:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
