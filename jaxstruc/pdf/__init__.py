"""The analysis of pair distribution functions: candidates, fits, searches, distributions, results."""
