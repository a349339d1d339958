"""Analysis of small-angle scattering: shapes of particles, size distributions, fits and results."""
