"""Particles of one packing whose sizes follow a distribution: balls with whole shells and a part of the last.

Sizes are diameters of spheres of equal volume; mean and width (standard deviation over mean) are weighted by volume, so
that members of even shares of atoms stand at even quantiles of the distribution.
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
"""Atoms of a particle."""
FAULT_SEQUENCE = "hhccchc"
"""Layers of `fault`, repeated."""
MAX_TWIN_OFFSET = 0.35
"""Part of the diameter within which a twin plane lies off the centre."""
MAX_FIVEFOLD_OFFSET = 1.0
"""Bonds, by which a ball's centre lies off a five-fold particle's middle at most."""


class ParticlePopulation(NamedTuple):
    """Particles with even shares of the atoms."""

    clusters: tuple[Cluster, ...]
    sizes: np.ndarray
    """[particle] in bonds."""

    @property
    def mean(self) -> float:
        """Mean size, weighted by volume, in bonds."""
        return float(self.sizes.mean())

    @property
    def width(self) -> float:
        """Standard deviation of the sizes over their mean, weighted by volume."""
        return float(self.sizes.std() / self.sizes.mean())


def particle_population(
    packing: str, *, mean: float, width: float, shape: str = "lognormal", n_particles: int = 32, seed: int = 0
) -> ParticlePopulation:
    """Return the particles of a distribution.

    Args:
        packing: one of `PACKINGS`.
        mean: size, weighted by volume, in bonds.
        width: standard deviation over mean, weighted by volume.
        shape: lognormal or schulz.
        n_particles: number of particles, at even quantiles.
        seed: of centres, and of which atoms of a last shell are there.

    Raises:
        ValueError: for a packing or shape that there is not, or sizes that cannot be.
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
            f"Expected particles of at most {MAX_ATOMS} atoms, got {atom_counts.max()} for the largest; lower "
            "--mean or --width."
        )
    clusters = tuple(_ball_particle(packing, max(int(count), MIN_ATOMS), rng) for count in atom_counts)
    n_atoms = np.array([len(cluster.positions) for cluster in clusters])
    return ParticlePopulation(clusters, size_classes.equivalent_sphere_diameter(n_atoms, atom_volume))


def _check_distribution(packing: str, shape: str, mean: float, width: float, n_particles: int) -> None:
    """Refuse what cannot be."""
    if packing not in PACKINGS:
        raise ValueError(f"Expected a family of {', '.join(PACKINGS)}, got {packing!r}.")
    if shape not in DISTRIBUTION_SHAPES:
        raise ValueError(f"Expected a distribution lognormal or schulz, got {shape!r}.")
    if not 0 < width <= 1:
        raise ValueError(f"Expected a width above 0 and at most 1, got {width:g}.")
    if not 2 <= mean < math.inf:
        raise ValueError(f"Expected a mean of at least 2 bonds, got {mean:g} bonds; raise --mean.")
    if n_particles < 1:
        raise ValueError(f"Expected at least one member, got {n_particles}.")


def _ball_particle(packing: str, n_atoms: int, rng: np.random.Generator) -> Cluster:
    """Return the sites nearest to a place drawn at random; of the last shell as many as are left, drawn at random."""
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
    """Return the sites of a packing about its middle, out to some bonds."""
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
