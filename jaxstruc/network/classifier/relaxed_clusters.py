"""Relaxed clusters of the library, from which the training of the classifier draws.

The atoms of a real particle are not at the ideal positions of a cluster (see `displacement_fields`). Selected clusters
are therefore relaxed in random potentials. Each of them is described by its distance histograms at several amplitudes
of the relaxation. The amplitudes are random, one in each of `N_LEVELS` equally probable intervals of their distribution
(`random_particles.random_amplitude`). The first level has the smallest amplitudes. Lengths are in units of the bond
length.
"""

import contextlib
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist

from jaxstruc import files
from jaxstruc.clusters import displacement_fields, potential, random_particles, size_classes
from jaxstruc.clusters.displacement_fields import DisplacementField
from jaxstruc.clusters.library import Library, candidate_cluster
from jaxstruc.clusters.potential import Potential
from jaxstruc.clusters.size_classes import SizeClasses

BIN_WIDTH, N_BINS = 0.01, 1300
"""Width of a distance bin, in units of the bond length, and number of the bins."""
N_LEVELS = 5
"""Number of intervals of the amplitude."""
N_CLUSTERS_PER_TYPE = 400
"""Largest number of relaxed clusters of each type."""
N_CLASS_MEMBERS = 3
"""Largest number of relaxed clusters of each size class."""
FILE_VERSION = 2
"""Version of the rules and of the format of the cached file."""


class RelaxedClusters(NamedTuple):
    """Distance histograms of relaxed clusters of the library."""

    rows: Int[np.ndarray, " cluster"]
    """Index of each cluster in the library."""
    histograms: Float[np.ndarray, "cluster level bin"]
    """Number of ordered pairs per atom in each distance bin at each level of the amplitude, in half precision."""
    diameter: Float[np.ndarray, "cluster level"]
    """Longest distance between two atoms."""


def relax_clusters(
    library: Library,
    rows: Int[np.ndarray, " cluster"],
    *,
    seed: int = 0,
    folder: Path | None = None,
    report_progress: Callable[..., None] | None = None,
) -> RelaxedClusters:
    """Return clusters of the library, relaxed in random potentials.

    The first call for a library takes some minutes and writes the clusters to the cache. Later calls read them from
    there. A cluster stays rigid if it has no displacement field, e.g. because its atoms leave their places.

    Args:
        library: Library of clusters.
        rows: Indices of the clusters, in increasing order.
        seed: Seed of the potentials and of the amplitudes.
        folder: Folder of the cache, by default `files.cache_folder()`. If it cannot be written, nothing is cached.
        report_progress: Function that is called with the number of clusters done, the number of all clusters, and the
            name of the step.
    """
    content = library.positions.tobytes() + library.atom_starts.tobytes() + rows.astype(np.int64).tobytes()
    rule = f"{FILE_VERSION} {seed} {N_LEVELS} {N_BINS} {potential.CUTOFF_START} {potential.CUTOFF_END}"
    key = hashlib.sha256(rule.encode() + content).hexdigest()[:16]
    path = (folder or files.cache_folder()) / f"relaxed-{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return RelaxedClusters(rows, archive["histograms"], archive["diameter"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        pass
    relaxed = _relax_clusters(library, rows, np.random.default_rng(seed), report_progress)
    with (
        contextlib.suppress(OSError),
        files.atomic_replacement(path) as temporary_path,
        temporary_path.open("wb") as stream,
    ):
        np.savez_compressed(stream, histograms=relaxed.histograms, diameter=relaxed.diameter)
    return relaxed


def balanced_rows(
    type_index: Int[np.ndarray, " cluster"], n_atoms: Int[np.ndarray, " cluster"]
) -> Int[np.ndarray, " selected"]:
    """Return the indices of clusters that are selected to be relaxed, in increasing order.

    Each type has at most `N_CLUSTERS_PER_TYPE` clusters. The logarithms of their sizes are about uniform.
    """
    selected = []
    for index in np.unique(type_index):
        candidates = np.flatnonzero(type_index == index)
        candidates = candidates[np.argsort(n_atoms[candidates], kind="stable")]
        log_atoms = np.log(n_atoms[candidates])
        # The middle between a uniform distribution of the logarithms of the sizes and a uniform choice of clusters.
        targets = np.linspace(log_atoms[0], log_atoms[-1], N_CLUSTERS_PER_TYPE // 2)
        by_size = np.minimum(np.searchsorted(log_atoms, targets), len(candidates) - 1)
        evenly = np.linspace(0, len(candidates) - 1, N_CLUSTERS_PER_TYPE // 2).round().astype(int)
        selected.append(candidates[np.union1d(by_size, evenly)])
    return np.sort(np.concatenate(selected))


def class_members(library: Library, packings: np.ndarray, classes: SizeClasses) -> list[Int[np.ndarray, " member"]]:
    """Return the library's indices of a few compact clusters of each size class.

    Args:
        library: Library of clusters.
        packings: Packing of each cluster of the library, from `size_classes.candidate_packings`.
        classes: Size classes of all clusters of the library.
    """
    size = size_classes.candidate_sizes(library, np.arange(len(library.atoms)))
    is_compact = (library.diameter + 1) / size <= size_classes.MAX_COMPACT_ELONGATION
    members = []
    for packing_index, size_index in zip(classes.packing_index, classes.size_index, strict=True):
        log_ratio = np.log(size / classes.size_grid[size_index])
        candidates = np.flatnonzero(
            is_compact
            & (packings == classes.packing_names[packing_index])
            & (np.abs(log_ratio) < size_classes.LOG_SIZE_STEP / 2)
        )
        n_members = min(N_CLASS_MEMBERS, len(candidates))
        members.append(candidates[np.linspace(0, len(candidates) - 1, n_members).round().astype(int)])
    return members


def bin_distances(weight: np.ndarray, distance: np.ndarray) -> Float[np.ndarray, " bin"]:
    """Return the histogram of distances. The weight of a distance is shared between the two nearest bins."""
    position = distance / BIN_WIDTH
    lower_bin = np.minimum(position.astype(int), N_BINS - 1)
    fraction = position - lower_bin
    histogram = np.bincount(lower_bin, weight * (1 - fraction), N_BINS + 1) + np.bincount(
        lower_bin + 1, weight * fraction, N_BINS + 1
    )
    histogram[-2:] = 0.0
    return histogram[:N_BINS].astype(np.float32)


def _relax_clusters(
    library: Library, rows: np.ndarray, rng: np.random.Generator, report_progress: Callable[..., None] | None
) -> RelaxedClusters:
    """Return clusters of the library, relaxed in random potentials by random amplitudes."""
    levels = (np.arange(N_LEVELS) + rng.random((len(rows), N_LEVELS))) / N_LEVELS
    amplitudes = np.asarray(random_particles.random_amplitude(jnp.ones(levels.shape), jnp.asarray(levels)))
    histograms = np.zeros((len(rows), N_LEVELS, N_BINS), np.float16)
    diameter = np.zeros((len(rows), N_LEVELS), np.float32)
    n_done = 0
    for batch in _batches(library, rows, rng):
        if report_progress:
            report_progress(n_done, len(rows), "relaxed clusters")
        n_done += len(batch)
        metal = Potential(*map(float, jax.jit(random_particles.random_potential)(*jnp.asarray(rng.random(3)))))
        clusters = [candidate_cluster(library, rows[index]).positions for index in batch]
        fields = displacement_fields.displacement_fields(clusters, metal)
        for index, positions, field in zip(batch, clusters, fields, strict=True):
            displacement = _kept_displacement(positions, field)
            for level in range(N_LEVELS):
                distance = pdist(positions + amplitudes[index, level] * displacement)
                histograms[index, level] = bin_distances(np.full(len(distance), 2 / len(positions)), distance)
                diameter[index, level] = distance.max()
    return RelaxedClusters(rows, histograms, diameter)


def _kept_displacement(
    positions: Float[np.ndarray, "atom 3"], field: DisplacementField | str
) -> Float[np.ndarray, "atom 3"]:
    """Return a displacement field, shortened if atoms leave their places, and 0 if there is none."""
    if isinstance(field, str):
        return np.zeros_like(positions)
    displacement = field.displacements.astype(np.float64)
    distance, relaxed_distance = pdist(positions), pdist(positions + displacement)
    is_nearby = distance < random_particles.NEARBY_DISTANCE
    change = np.max(np.abs(relaxed_distance[is_nearby] / distance[is_nearby] - 1))
    is_small = change < random_particles.MAX_DISTANCE_CHANGE
    return displacement * (1.0 if is_small else random_particles.LIMITED_CHANGE / change)


def _batches(library: Library, rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return batches of indices into `rows`. The clusters of a batch are relaxed together in one potential."""
    order = rng.permutation(len(rows))
    n_batches = math.ceil(library.atoms[rows].sum() / displacement_fields.ROW_COUNTS[-1])
    return np.array_split(order, n_batches)
