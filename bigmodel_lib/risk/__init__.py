"""Tables, timelines and returns: worlds whose truth is known, the blocks that read them, and how risks are scored."""
