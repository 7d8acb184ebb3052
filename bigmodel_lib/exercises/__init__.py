"""The exercises: what a notebook calls. `engine` says how one is made, `nbNN` holds those of notebook NN."""

from bigmodel_lib.exercises.engine import check, compare, example, predict, yours_or_ours
from bigmodel_lib.exercises.record import progress

__all__ = ["check", "compare", "example", "predict", "progress", "yours_or_ours"]
