"""How much, how good, how sure."""
