"""Exercises of the course: one file of entries for each notebook."""
