"""Populations of particles of one packing whose sizes follow a distribution.

A packing is an arrangement of atoms such as fcc or an icosahedron. The particles are balls: they consist of the atoms
nearest to a centre. All shells of equally distant atoms are complete except the last. The size of a particle is the
diameter of a sphere of equal volume. The mean and the width (standard deviation divided by the mean) of the sizes are
weighted by volume. The sizes of the particles are equally spaced quantiles of their distribution, so that each particle
represents the same number of atoms of the sample. Lengths are in units of the bond length.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.spatial import KDTree

from jaxstruc.clusters import lattices, size_classes, structure_type
from jaxstruc.clusters.cluster import Cluster

PACKINGS = ("fcc", "hcp", "twin", "fault", "bcc", "sc", "icosahedron", "decahedron")
DISTRIBUTION_SHAPES = ("lognormal", "schulz")
MIN_ATOMS, MAX_ATOMS = 13, 20000
"""Smallest and largest number of atoms of a particle."""
FAULT_SEQUENCE = "hhccchc"
"""Stacking sequence of the packing `fault` (h or c for each close-packed layer). The sequence is repeated."""
MAX_TWIN_OFFSET = 0.35
"""Largest distance of a twin plane from the centre of the particle, in units of the diameter of the particle."""
MAX_FIVEFOLD_OFFSET = 1.0
"""Largest distance between the centre of a ball and the centre of an icosahedron or decahedron, in units of the bond
length."""


class ParticlePopulation(NamedTuple):
    """Particles of a sample. Each particle represents the same number of atoms of the sample."""

    clusters: tuple[Cluster, ...]
    sizes: np.ndarray
    """Size of each particle [particle], in units of the bond length."""

    @property
    def mean(self) -> float:
        """Volume-weighted mean size, in units of the bond length."""
        return float(self.sizes.mean())

    @property
    def width(self) -> float:
        """Volume-weighted standard deviation of the sizes, divided by their mean."""
        return float(self.sizes.std() / self.sizes.mean())


def particle_population(
    packing: str, *, mean: float, width: float, shape: str = "lognormal", n_particles: int = 32, seed: int = 0
) -> ParticlePopulation:
    """Return particles whose sizes follow a distribution.

    Args:
        packing: Packing, one of `PACKINGS`.
        mean: Volume-weighted mean size, in units of the bond length.
        width: Volume-weighted standard deviation of the sizes, divided by their mean.
        shape: Form of the distribution, lognormal or schulz.
        n_particles: Number of particles.
        seed: Seed of the random centres of the balls and of the random atoms in the last shells.

    Raises:
        ValueError: If the packing or the form is unknown, or if the sizes are not valid.
    """
    _check_distribution(packing, shape, mean, width, n_particles)
    rng = np.random.default_rng(seed)
    quantiles = (np.arange(n_particles) + 0.5) / n_particles
    if shape == "lognormal":
        log_width = math.sqrt(math.log1p(width**2))
        sizes = mean * np.exp(log_width * special.ndtri(quantiles) - log_width**2 / 2)
    else:
        sizes = mean * width**2 * special.gammaincinv(1 / width**2, quantiles)
    atom_volume = size_classes.atom_volume(packing)
    atom_counts = np.rint(math.pi / 6 * sizes**3 / atom_volume).astype(int)
    if atom_counts.max() > MAX_ATOMS:
        raise ValueError(
            f"Expected particles of at most {MAX_ATOMS} atoms, got {atom_counts.max()} in the largest one; lower "
            "--mean or --width."
        )
    clusters = tuple(_ball_particle(packing, max(int(count), MIN_ATOMS), rng) for count in atom_counts)
    n_atoms = np.array([len(cluster.positions) for cluster in clusters])
    return ParticlePopulation(clusters, size_classes.equivalent_sphere_diameter(n_atoms, atom_volume))


def _check_distribution(packing: str, shape: str, mean: float, width: float, n_particles: int) -> None:
    """Refuse a distribution that is not valid."""
    if packing not in PACKINGS:
        raise ValueError(f"Expected a packing among {', '.join(PACKINGS)}, got {packing!r}.")
    if shape not in DISTRIBUTION_SHAPES:
        raise ValueError(f"Expected a lognormal or schulz distribution, got {shape!r}.")
    if not 0 < width <= 1:
        raise ValueError(f"Expected a width above 0 and at most 1, got {width:g}.")
    if not 2 <= mean < math.inf:
        raise ValueError(f"Expected a mean size of at least 2 bond lengths, got {mean:g}; raise --mean.")
    if n_particles < 1:
        raise ValueError(f"Expected at least one particle, got {n_particles}.")


def _ball_particle(packing: str, n_atoms: int, rng: np.random.Generator) -> Cluster:
    """Return a cluster of the `n_atoms` sites that are nearest to a random centre.

    The atoms of the last shell are chosen at random.
    """
    radius = size_classes.equivalent_sphere_diameter(n_atoms, size_classes.atom_volume(packing)) / 2
    site_positions = _packing_sites(packing, math.ceil(radius) + 3)
    centre = rng.uniform(-0.5, 0.5, 3)
    if packing == "twin":
        centre[2] = rng.uniform(-MAX_TWIN_OFFSET, MAX_TWIN_OFFSET) * 2 * radius
    if packing in ("icosahedron", "decahedron"):
        centre *= 2 * MAX_FIVEFOLD_OFFSET / math.sqrt(3)
    shell_radius = np.round(np.linalg.norm(site_positions - centre, axis=1), 4)
    order = np.lexsort((rng.random(len(shell_radius)), shell_radius))[:n_atoms]
    positions = site_positions[order]
    return Cluster(packing, f"ball of {n_atoms} atoms", positions - positions.mean(axis=0))


@lru_cache(maxsize=64)
def _packing_sites(packing: str, reach: int) -> np.ndarray:
    """Return the sites of a packing [site, 3] up to a distance from its centre that exceeds `reach`."""
    if packing in ("icosahedron", "decahedron"):
        points = size_classes.fivefold_positions(packing, reach + 2)
        inner_points = points[np.linalg.norm(points, axis=1) < reach + 1]
        return inner_points / structure_type.mean_bond(KDTree(inner_points))
    if packing in ("bcc", "sc"):
        basis = np.array([(0, 0, 0), (0.5, 0.5, 0.5)]) if packing == "bcc" else np.zeros((1, 3))
        steps = np.arange(-reach - 1, reach + 2)
        cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        points = (cells + basis).reshape(-1, 3) * (2 / math.sqrt(3) if packing == "bcc" else 1.0)
    else:
        sequence = {"fcc": "c", "hcp": "h", "twin": "h" + "c" * 200, "fault": FAULT_SEQUENCE}[packing]
        points = lattices.stack(sequence, reach=math.ceil((reach + 2) * (2.0 if packing == "twin" else 1.3)))
    return points[np.linalg.norm(points, axis=1) < reach * (2.0 if packing == "twin" else 1.0) + 2]
