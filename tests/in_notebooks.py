"""What a notebook builds and the library does not hold, so that a test can try it."""

import ast
import re
from typing import Any

import nbformat

from bigmodel_lib.text.sources import data_path


def defined_in(notebook: str, name: str, **names: Any) -> Any:
    """The function or class of that name in a notebook; names: what it uses. Raises LookupError where there is none."""
    for cell in nbformat.read(data_path("").parent / "notebooks" / notebook, as_version=4).cells:
        if cell.cell_type == "code" and re.search(rf"^(def|class) {name}\b", cell.source, re.MULTILINE):
            nodes = [node for node in ast.parse(cell.source).body if getattr(node, "name", "") == name]
            exec(compile(ast.Module(nodes, []), notebook, "exec"), names)  # noqa: S102 (the project's own)
            return names[name]
    raise LookupError(f"{notebook} defines no {name}: name the notebook that does")
