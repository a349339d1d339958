"""The analysis of small-angle scattering: bodies, size distributions, fits, results."""
