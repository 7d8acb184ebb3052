"""From text to batches: sources, tokenizers, labels, windows."""
