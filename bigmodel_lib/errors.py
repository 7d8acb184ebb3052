"""What the reader can mend, said in one line."""


class CourseError(ValueError):
    """A mistake that the reader can mend. Its one line says what was given, what was wanted, what to do."""
