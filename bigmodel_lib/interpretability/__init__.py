"""What a model looked at, and whether that is why."""
