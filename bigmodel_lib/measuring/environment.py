"""Whether this Python and its packages are what the course needs. Standard library only."""

import importlib.metadata
import pathlib
import sys

OLDEST, NEWEST = (3, 11), (3, 14)  # the Pythons that PyTorch has builds for
VENV = pathlib.Path(__file__).resolve().parents[2] / ".venv"


def check_environment() -> list[tuple[str, str, bool]]:
    """[(what, in words, whether it is well)] for this Python and the packages that the course needs."""
    rows = [("Python", "{}.{}.{}".format(*sys.version_info[:3]), OLDEST <= sys.version_info[:2] <= NEWEST)]
    for name in ("numpy", "torch", "safetensors", "matplotlib", "jupyterlab", "ipywidgets", "tokenizers", "nbval"):
        try:
            rows.append((name, importlib.metadata.version(name), True))
        except importlib.metadata.PackageNotFoundError:
            advice = "missing: close Lab, run `make lab` in the course's folder and open this page again"
            rows.append((name, advice, False))
    own = pathlib.Path(sys.prefix).resolve() == VENV
    return [*rows, ("kernel", "the environment's own" if own else f"{sys.prefix}, not the course's .venv", True)]
