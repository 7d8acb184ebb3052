"""The library that the notebooks of "Big Models from the Formula Up" derive and then keep.

Its folders, each of which builds on those before it:
config -> text -> storyworld -> model (and by_hand, its twin in NumPy) -> generation -> training -> finetuning
-> measuring -> interpretability -> viz -> exercises; cli holds the programs.
Importing this package imports nothing else: `import bigmodel_lib.model.transformer` is what loads PyTorch.
"""

__version__ = "0.1.0"
