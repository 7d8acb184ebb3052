"""The cells of a notebook that its toys need, so that browser tests needn't wait for its trainings."""

import ast
import pathlib
import re

VIZ = pathlib.Path(__file__).resolve().parent.parent / "bigmodel_lib" / "viz"
TOYS = "|".join(path.stem for path in sorted(VIZ.glob("*.js")))
PLAYED = re.compile(rf"bigmodel_lib\.viz\.({TOYS}|widgets)")


def made_and_used(tree: ast.AST) -> tuple[set[str], set[str]]:
    """(names that a cell defines, or whose items or attributes it sets; names that it reads)."""
    made, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            made |= {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
    return made, used


def toys_of(tree: ast.AST) -> set[str]:
    """The names that a cell imports from the toys' modules."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {a.asname or a.name for node in imports if PLAYED.fullmatch(node.module or "") for a in node.names}


def needed(sources: dict[int, str]) -> set[int]:
    """Which code cells, {place: source}, show a toy or make what such a cell needs."""
    trees = {place: ast.parse(source) for place, source in sources.items()}
    toys = set().union(*map(toys_of, trees.values()))
    wanted, kept = set(), set()
    for place in sorted(trees, reverse=True):
        made, used = made_and_used(trees[place])
        if used & toys or made & wanted:
            kept.add(place)
            wanted |= used
    return kept


def with_toys_alone(notebook: dict) -> dict:
    """A notebook in which code that no toy needs is shown, but not run."""
    cells = notebook["cells"]
    sources = {place: "".join(cell["source"]) for place, cell in enumerate(cells) if cell["cell_type"] == "code"}
    kept = needed(sources)
    still = {"cell_type": "raw", "metadata": {}}
    return notebook | {
        "cells": [
            dict(id=cell["id"], source=cell["source"], **still) if place in sources and place not in kept else cell
            for place, cell in enumerate(cells)
        ]
    }
