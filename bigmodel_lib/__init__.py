"""The library that the notebooks of "Big Models from the Formula Up" derive and then keep.

It reads in the order in which data flows:
config -> tokenizers, corpora -> model_torch -> optimizers_torch, pretraining -> generation.
Importing this package imports nothing else: `import bigmodel_lib.model_torch` is what loads PyTorch.
"""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler would report its own start and end
__version__ = "0.1.0"
