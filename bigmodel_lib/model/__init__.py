"""The model for real, in PyTorch, on any device."""
