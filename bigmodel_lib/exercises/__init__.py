"""The exercises: what a notebook calls. `engine` says how one is made, `nbNN` holds those of notebook NN."""

from bigmodel_lib.exercises.engine import check, compare, predict, yours_or_ours

__all__ = ["check", "compare", "predict", "yours_or_ours"]
