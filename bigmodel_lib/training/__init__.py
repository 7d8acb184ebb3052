"""The loop, its optimizers, its processes and its checkpoints."""
