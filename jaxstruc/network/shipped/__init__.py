"""The trained weights that are part of the package, each file with its card."""
