"""Notebooks that a test writes itself, put through the notebook tests as everybody runs them."""

import pathlib
import re
import subprocess
import sys

import nbformat

ROOT = pathlib.Path(__file__).resolve().parent.parent


def notebook_of(*sources: str) -> nbformat.NotebookNode:
    """A notebook of code cells that have run and printed nothing."""
    cells = [nbformat.v4.new_code_cell(source, execution_count=i) for i, source in enumerate(sources, 1)]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": ""}})


def nbval(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> tuple[int, str]:
    """(exit code, what is said) of the notebook tests, in a process of their own."""
    nbformat.write(notebook, folder / "own.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "-p", "conftest"]
    command += ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "--confcutdir", ROOT, folder / "own.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
