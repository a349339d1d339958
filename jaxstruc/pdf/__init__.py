"""Analysis of measured pair distribution functions: candidates, fits, searches, size distributions and results."""
