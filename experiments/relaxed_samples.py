"""Distributions of relaxed particles, simulated from a pool of relaxed particles for each metal and kind.

A pool holds particles of one kind on a logarithmic grid of sizes: compact clusters of the library, and balls above the
sizes of the library. A sample is a lognormal distribution of sizes by volume. The fraction of the atoms in a particle
of the pool is proportional to the density of this distribution at its size. A sample of two kinds is the sum of two
such distributions. The size of a particle is the diameter of a sphere of equal volume, with the volume per atom at the
bond length of the relaxed particle.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import relaxed_structures
from relaxed_structures import METALS, RelaxedParticle

from jaxstruc.clusters import families, library, polydisperse, size_classes
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.distances import histogram
from jaxstruc.scattering import form_factors

POOL_KINDS = {
    "Ni": ("fcc", "icosahedron"),
    "Cu": ("icosahedron", "decahedron"),
    "Pd": ("fcc", "hcp"),
    "Ag": ("decahedron", "fcc"),
    "Pt": ("fcc", "decahedron"),
    "Au": ("icosahedron", "decahedron"),
}
"""The two kinds of particles of each metal."""
POOL_SIZES = (9.0, 52.0)
"""Smallest and largest size of a particle of a pool, in Å."""
LOG_SIZE_STEP = 0.05
"""Difference between the natural logarithms of neighbouring sizes of a pool."""
MEAN_RANGE, WIDTH_RANGE, SHARE_RANGE = (15.0, 35.0), (0.05, 0.3), (0.3, 0.7)
"""Ranges of the mean sizes in Å, of the widths, and of the shares of the first of two kinds."""
N_DEVIATIONS = 2.0
"""Smallest number of standard deviations between the mean and the largest size. It limits the widths of large means."""
MAX_LIBRARY_ATOMS = 1000
"""Largest number of atoms of a cluster from the library."""
SIZE_TOLERANCE = 0.02
"""Largest difference between the logarithms of a size and of a library cluster that represents it."""
MAX_DRAWS = 8
"""Maximum number of draws of a particle until it is accepted. Otherwise the pool has no particle of this size."""
MIN_FRACTION = 1e-4
"""Smallest fraction of the atoms of a sample that a particle of the pool represents."""
PAIR_BIN = 1.5e-3
"""Width of a bin of the distances, in Å."""


class PoolParticle(NamedTuple):
    """A relaxed particle of a pool."""

    particle: RelaxedParticle
    size: float
    """Diameter of a sphere of equal volume, in Å."""


class Sample(NamedTuple):
    """A sample of relaxed particles."""

    particles: tuple[PoolParticle, ...]
    fractions: np.ndarray
    """Fraction of the atoms of the sample in each particle [particle]."""

    @property
    def truth(self) -> dict[str, Any]:
        """The true values of the sample by their names in a row."""
        sizes = np.array([member.size for member in self.particles])
        mean = float(self.fractions @ sizes)
        types = np.array([member.particle.type for member in self.particles])
        type_shares = {name: float(self.fractions[types == name].sum()) for name in dict.fromkeys(types.tolist())}
        return {
            "members": len(sizes),
            "mean": mean,
            "width": math.sqrt(self.fractions @ (sizes - mean) ** 2) / mean,
            "type": max(type_shares, key=type_shares.__getitem__),
            "shares": type_shares,
        }


def draw_sample(
    metal: str, n_kinds: int, cache_folder: Path | None, rng: np.random.Generator, *, max_size: float = POOL_SIZES[1]
) -> Sample:
    """Return a sample of one or two kinds of particles with a random mean and width."""
    mean = rng.uniform(*MEAN_RANGE)
    max_width = min(WIDTH_RANGE[1], (POOL_SIZES[1] / mean - 1) / N_DEVIATIONS)
    width = rng.uniform(WIDTH_RANGE[0], max_width)
    selected_kinds = list(rng.permutation(POOL_KINDS[metal])[:n_kinds])
    kind_shares = [1.0] if n_kinds == 1 else [first_share := rng.uniform(*SHARE_RANGE), 1 - first_share]
    particles: list[PoolParticle] = []
    fractions: list[float] = []
    for kind, share in zip(selected_kinds, kind_shares, strict=True):
        pool = relaxed_pool(metal, str(kind), cache_folder, max_size)
        weight = lognormal_weights(np.array([member.size for member in pool]), mean, width)
        particles += pool
        fractions += list(share * weight / weight.sum())
    is_member = np.array(fractions) >= MIN_FRACTION
    member_fractions = np.array(fractions)[is_member]
    members = tuple(member for member, is_used in zip(particles, is_member, strict=True) if is_used)
    return Sample(members, member_fractions / member_fractions.sum())


def lognormal_weights(sizes: np.ndarray, mean: float, width: float) -> np.ndarray:
    """Return the weight of each size on a logarithmic grid, for a lognormal distribution of the volume.

    Args:
        sizes: Sizes [particle], in Å.
        mean: Mean size, in Å.
        width: Standard deviation of the size, divided by the mean.
    """
    log_spread = math.sqrt(math.log1p(width**2))
    return np.exp(-0.5 * ((np.log(sizes / mean) + log_spread**2 / 2) / log_spread) ** 2)


@cache
def relaxed_pool(metal: str, kind: str, cache_folder: Path | None, max_size: float) -> tuple[PoolParticle, ...]:
    """Return the relaxed particles of a kind, from the smallest to the largest size. Rejected sizes are left out."""
    rng = np.random.default_rng([METALS.index(metal), sorted(families.FAMILIES).index(kind)])
    bond = form_factors.bond_length(metal)
    pool = []
    for size in np.exp(np.arange(math.log(POOL_SIZES[0]), math.log(POOL_SIZES[1]), LOG_SIZE_STEP)) / bond:
        size_rng = rng.spawn(1)[0]
        if size * bond > max_size:
            break
        for _ in range(MAX_DRAWS):
            cluster = cluster_of_size(kind, size, size_rng)
            particle = relaxed_structures.relax_cluster(cluster, metal, cache_folder)
            if isinstance(particle, RelaxedParticle) and particle.type == families.FAMILY_TYPES[kind]:
                pool.append(PoolParticle(particle, particle.bond * cluster_size(cluster, kind)))
                break
    return tuple(pool)


def cluster_of_size(kind: str, size: float, rng: np.random.Generator) -> Cluster:
    """Return a compact cluster of the library about a size, or a ball if it has more atoms than the library.

    Args:
        kind: Family of the library.
        size: Diameter of a sphere of equal volume, in units of the bond length.
        rng: Random generator that selects the cluster.
    """
    if math.pi / 6 * size**3 / size_classes.atom_volume(kind) > MAX_LIBRARY_ATOMS:
        population = polydisperse.particle_population(
            kind, mean=size, width=1e-3, n_particles=1, seed=int(rng.integers(2**31))
        )
        return population.clusters[0]
    clusters = library.load_or_build((kind,), max_atoms=MAX_LIBRARY_ATOMS)
    rows = np.arange(len(clusters.atoms))
    sizes = size_classes.candidate_sizes(clusters, rows)
    is_compact = (clusters.diameter + 1) / sizes <= size_classes.MAX_COMPACT_ELONGATION
    deviation = abs(np.log(sizes / size)) + ~is_compact
    similar_rows = rows[deviation <= max(SIZE_TOLERANCE, deviation.min())]
    return library.candidate_cluster(clusters, int(rng.choice(similar_rows)))


def cluster_size(cluster: Cluster, kind: str) -> float:
    """Return the size of a cluster, in units of the bond length."""
    return float(size_classes.equivalent_sphere_diameter(len(cluster.positions), size_classes.atom_volume(kind)))


def sample_pairs(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of the pairs of a sample in Å, and their numbers for each atom of the sample."""
    return mean_pairs([member.particle.positions() for member in sample.particles], sample.fractions)


def mean_pairs(position_arrays: Sequence[np.ndarray], fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of the pairs in several structures in narrow bins, and their weighted numbers.

    Args:
        position_arrays: Positions [atom, 3] of each structure, in Å.
        fractions: Fraction of the atoms in each structure [structure].
    """
    n_bins = 1 + math.ceil(max(float(np.ptp(positions, axis=0).sum()) for positions in position_arrays) / PAIR_BIN)
    weight, first_moment = np.zeros(n_bins), np.zeros(n_bins)
    for positions, fraction in zip(position_arrays, fractions, strict=True):
        pair_histogram = histogram(positions, width=PAIR_BIN)
        distance = np.asarray(pair_histogram.mean, float)
        count = fraction * np.asarray(pair_histogram.weight, float) / len(positions)
        bin_indices = np.rint(distance / PAIR_BIN).astype(int)
        weight += np.bincount(bin_indices, count, n_bins)
        first_moment += np.bincount(bin_indices, count * distance, n_bins)
    has_pairs = weight > 0
    return first_moment[has_pairs] / weight[has_pairs], weight[has_pairs]
