"""What every test needs, in one place, so that a bare `pytest --nbval` works for any file and from anywhere."""

import copy
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # two kernels side by side with two threads each would be many times slower
os.environ["MPLBACKEND"] = "agg"
os.environ["COURSE_MODELS"] = "1"  # committed outputs are of the course's models, whatever lies in runs/

from nbval import plugin  # noqa: E402

from tests.tolerance import align_outputs  # noqa: E402

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
