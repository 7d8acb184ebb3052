"""What every test needs, in one place, so that a bare `pytest --nbval` works for any file and from anywhere."""

import copy
import os
import pathlib

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # two kernels side by side with two threads each would be many times slower
os.environ["MPLBACKEND"] = "agg"

import pytest  # noqa: E402
from nbval import plugin  # noqa: E402

from tests.kernels import CLOSE_THE_NETWORK, FORGET_WHAT_THE_READER_HAS_DONE, begin_with  # noqa: E402
from tests.tolerance import align_outputs  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent


def pytest_configure(config):
    """Let every kernel that the notebook tests start begin by closing the network."""
    config.ipython_folder = begin_with(CLOSE_THE_NETWORK, FORGET_WHAT_THE_READER_HAS_DONE)


def pytest_unconfigure(config):
    config.ipython_folder.cleanup()


def tree() -> dict[str, int]:
    """When each file that belongs to notebooks and data was changed last."""
    files = (path for folder in ("notebooks", "data") for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)): path.stat().st_mtime_ns for path in files if "checkpoints" not in str(path)}


def watches(config) -> bool:
    """Whether this process answers for the tree: the first one, when notebooks are tested."""
    return config.getoption("nbval", False) and not hasattr(config, "workerinput")


def pytest_sessionstart(session):
    if watches(session.config):
        session.config.tree = tree()


def pytest_sessionfinish(session, exitstatus):
    """Notebooks leave the tree as they found it."""
    if watches(session.config):
        before, after = session.config.tree, tree()
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if changed:
            session.config.get_terminal_writer().line(f"\nnotebooks left the tree changed: {', '.join(changed)}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


exact_comparison = plugin.IPyNbCell.compare_outputs


def compare_with_tolerance(cell, test, ref, skip_compare=None) -> bool:
    """nbval's comparison, in which a number may differ by what the cell's metadata allows."""
    tolerance = cell.cell.metadata.get("tolerance")
    if not tolerance:
        return exact_comparison(cell, test, ref, skip_compare)
    saved, new = copy.deepcopy(ref), copy.deepcopy(test)
    far = align_outputs(saved, new, tolerance)
    same = exact_comparison(cell, new, saved, skip_compare)
    cell.comparison_traceback += [f"  {difference}" for difference in far]
    return same


plugin.IPyNbCell.compare_outputs = compare_with_tolerance
