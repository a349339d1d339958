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

from jaxstruc.structures import classes, kinds, lattices
from jaxstruc.structures.atoms import Cluster

PACKINGS = ("fcc", "hcp", "twin", "fault", "bcc", "sc", "icosahedron", "decahedron")
SHAPES = ("lognormal", "schulz")
FEWEST, MOST = 13, 20000
"""Atoms of a particle."""
WORD = "hhccchc"
"""Layers of `fault`, repeated."""
INSIDE = 0.35
"""Part of the diameter within which a twin plane lies off the centre."""
OFF = 1.0
"""Bonds, by which a ball's centre lies off a five-fold particle's middle at most."""


class Population(NamedTuple):
    """Particles with even shares of the atoms."""

    clusters: tuple[Cluster, ...]
    size: np.ndarray
    """[particle] in bonds."""

    @property
    def mean(self) -> float:
        """Mean size, weighted by volume, in bonds."""
        return float(self.size.mean())

    @property
    def width(self) -> float:
        """Standard deviation of the sizes over their mean, weighted by volume."""
        return float(self.size.std() / self.size.mean())


def population(
    packing: str, *, mean: float, width: float, shape: str = "lognormal", members: int = 32, seed: int = 0
) -> Population:
    """Return the particles of a distribution.

    Args:
        packing: one of `PACKINGS`.
        mean: size, weighted by volume, in bonds.
        width: standard deviation over mean, weighted by volume.
        shape: lognormal or schulz.
        members: number of particles, at even quantiles.
        seed: of centres, and of which atoms of a last shell are there.

    Raises:
        ValueError: for a packing or shape that there is not, or sizes that cannot be.
    """
    _check(packing, shape, mean, width, members)
    rng = np.random.default_rng(seed)
    at = (np.arange(members) + 0.5) / members
    if shape == "lognormal":
        spread = math.sqrt(math.log1p(width**2))
        sizes = mean * np.exp(spread * special.ndtri(at) - spread**2 / 2)
    else:
        sizes = mean * width**2 * special.gammaincinv(1 / width**2, at)
    volume = classes.volume(packing)
    atoms = np.rint(math.pi / 6 * sizes**3 / volume).astype(int)
    if atoms.max() > MOST:
        raise ValueError(
            f"Expected particles of at most {MOST} atoms, got {atoms.max()} for the largest; lower --mean or --width."
        )
    clusters = tuple(_ball(packing, max(int(count), FEWEST), rng) for count in atoms)
    held = np.array([len(cluster.positions) for cluster in clusters])
    return Population(clusters, classes.sphere(held, volume))


def _check(packing: str, shape: str, mean: float, width: float, members: int) -> None:
    """Refuse what cannot be."""
    if packing not in PACKINGS:
        raise ValueError(f"Expected a family of {', '.join(PACKINGS)}, got {packing!r}.")
    if shape not in SHAPES:
        raise ValueError(f"Expected a distribution lognormal or schulz, got {shape!r}.")
    if not 0 < width <= 1:
        raise ValueError(f"Expected a width above 0 and at most 1, got {width:g}.")
    if not 2 <= mean < math.inf:
        raise ValueError(f"Expected a mean of at least 2 bonds, got {mean:g} bonds; raise --mean.")
    if members < 1:
        raise ValueError(f"Expected at least one member, got {members}.")


def _ball(packing: str, atoms: int, rng: np.random.Generator) -> Cluster:
    """Return the sites nearest to a place drawn at random; of the last shell as many as are left, drawn at random."""
    radius = classes.sphere(atoms, classes.volume(packing)) / 2
    points = _sites(packing, math.ceil(radius) + 3)
    centre = rng.uniform(-0.5, 0.5, 3)
    if packing == "twin":
        centre[2] = rng.uniform(-INSIDE, INSIDE) * 2 * radius
    if packing in ("icosahedron", "decahedron"):
        centre *= 2 * OFF / math.sqrt(3)
    shell = np.round(np.linalg.norm(points - centre, axis=1), 4)
    order = np.lexsort((rng.random(len(shell)), shell))[:atoms]
    positions = points[order]
    return Cluster(packing, f"ball of {atoms} atoms", positions - positions.mean(axis=0))


@lru_cache(maxsize=64)
def _sites(packing: str, reach: int) -> np.ndarray:
    """Return the sites of a packing about its middle, out to some bonds."""
    if packing in ("icosahedron", "decahedron"):
        points = classes.fivefold(packing, reach + 2)
        near = points[np.linalg.norm(points, axis=1) < reach + 1]
        return near / kinds.bond(KDTree(near))
    if packing in ("bcc", "sc"):
        basis = np.array([(0, 0, 0), (0.5, 0.5, 0.5)]) if packing == "bcc" else np.zeros((1, 3))
        steps = np.arange(-reach - 1, reach + 2)
        cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        points = (cells + basis).reshape(-1, 3) * (2 / math.sqrt(3) if packing == "bcc" else 1.0)
    else:
        word = {"fcc": "c", "hcp": "h", "twin": "h" + "c" * 200, "fault": WORD}[packing]
        points = lattices.stack(word, reach=math.ceil((reach + 2) * (2.0 if packing == "twin" else 1.3)))
    return points[np.linalg.norm(points, axis=1) < reach * (2.0 if packing == "twin" else 1.0) + 2]
