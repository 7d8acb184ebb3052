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
        elif isinstance(node, ast.AugAssign):
            used |= {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
    return made, used


def changed_by_calls(tree: ast.AST) -> set[str]:
    """Names whose methods a cell calls for what they do: `model.train()`, `found.append(1)`."""
    alone = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    methods = [call.func for call in alone if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)]
    return {method.value.id for method in methods if isinstance(method.value, ast.Name)}


def toys_of(tree: ast.AST) -> set[str]:
    """The names that a cell imports from the toys' modules."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {a.asname or a.name for node in imports if PLAYED.fullmatch(node.module or "") for a in node.names}


def made_with(makers: set[str], tree: ast.Module) -> tuple[set[str], set[str]]:
    """(functions of a cell in which one of these is called, names of what they return: `garden = Garden(…)`)."""
    functions, made = set(), set()
    for node in tree.body:
        within = ast.walk(node) if isinstance(node, ast.FunctionDef) else [getattr(node, "value", node)]
        called = {call.func.id for call in within if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}
        if called & makers and isinstance(node, ast.FunctionDef):
            functions.add(node.name)
        elif called & makers and isinstance(node, ast.Assign):
            made |= made_and_used(node)[0]
    return functions, made


def shown(tree: ast.Module) -> set[str]:
    """The names that a cell displays: `garden` alone, or `display(garden)`."""
    alone = [node.value for node in tree.body if isinstance(node, ast.Expr)]
    values = [value for each in alone for value in (each.args if isinstance(each, ast.Call) else [each])]
    return {value.id for value in values if isinstance(value, ast.Name)}


def needed(sources: dict[int, str]) -> set[int]:
    """Which code cells, {place: source}, show a toy or make what such a cell needs."""
    trees = {place: ast.parse(source) for place, source in sources.items()}
    toys = set().union(*map(toys_of, trees.values()))
    makers, named = {name for name in toys if name[0].isupper()}, set()
    for _ in range(2):  # a toy with a name; one that a function makes, and its name
        for tree in trees.values():
            functions, made = made_with(makers, tree)
            makers, named = makers | functions, named | made
    imported = {a.asname or a.name for tree in trees.values() for a in ast.walk(tree) if isinstance(a, ast.alias)}
    wanted, kept = set(), set()
    for place in sorted(trees, reverse=True):
        made, used = made_and_used(trees[place])
        if (
            used & (toys | makers)
            or shown(trees[place]) & named
            or (made | changed_by_calls(trees[place]) - imported) & wanted
        ):
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
