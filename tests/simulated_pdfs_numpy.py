"""PDFs simulated with NumPy in double precision, for tests of inference."""

import numpy as np

from jaxstruc.clusters import lattices, library
from jaxstruc.clusters.distances import histogram

BOND = 2.8


def cluster_pdf(positions, r, *, noise=0.0, rng=None, qmin=1.0, qmax=18.0, uiso=0.008, delta2=2.0, qdamp=0.03):
    """Return G(r) of atoms (positions in Å). The noise of F(Q) is relative to its root mean square."""
    bins = histogram(positions, width=library.BIN_WIDTH)
    weight, distance, bin_variance = (column.astype(float) for column in bins[:3])
    variance = 2 * uiso * (1 - delta2 / distance**2) + bin_variance
    q = np.linspace(qmin, qmax, 600)
    f = np.sin(q[:, None] * distance) * np.exp(-0.5 * variance * q[:, None] ** 2) @ (weight / distance) / len(positions)
    if noise:
        f = f + noise * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size)
    q_weights = np.full(q.size, q[1] - q[0])
    q_weights[[0, -1]] /= 2
    return 2 / np.pi * np.sin(r[:, None] * q) @ (q_weights * f) * np.exp(-0.5 * (r * qdamp) ** 2)


def fcc_sphere(diameter):
    """Return the positions of the atoms of an fcc sphere, in Å."""
    points = lattices.fcc_lattice(12) * np.sqrt(0.5) * BOND
    return points[np.linalg.norm(points - [0.3, 0.2, 0.1], axis=1) < diameter / 2]
