"""The model, its backward passes and its optimizer by hand, in NumPy."""
