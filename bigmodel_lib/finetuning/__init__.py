"""A pretrained model learns a task: labels, LoRA, preferences; and the rivals it has to beat."""
