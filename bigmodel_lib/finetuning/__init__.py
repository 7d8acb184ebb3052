"""A pretrained model learns a task: labels, LoRA, preferences."""
