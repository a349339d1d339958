"""Particles drawn at random for the training of the classifier, with their types and sizes.

A packing is an arrangement of atoms such as fcc or an icosahedron. A sample has one of three sources: a particle cut at
random from a packing (`random_particles`), a cluster of the library (a "listed" cluster), or particles of one packing
with a lognormal distribution of sizes. Most samples are relaxed in random potentials by random amplitudes (see
`random_particles.relax_particle` and `relaxed_clusters`). A sample is described by the histogram of its pair distances,
from which its PDF is computed for any instrument. Lengths are in units of the bond length (the nearest-neighbour
distance).
"""

import contextlib
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial.distance import pdist

from jaxstruc import files
from jaxstruc.clusters import random_particles, size_classes, structure_type
from jaxstruc.clusters.distances import pair_distances
from jaxstruc.clusters.library import Library, candidate_cluster
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.clusters.size_classes import SizeClasses
from jaxstruc.clusters.structure_type import StructureType
from jaxstruc.network.classifier import relaxed_clusters
from jaxstruc.network.classifier.relaxed_clusters import BIN_WIDTH, N_BINS, N_LEVELS, RelaxedClusters, bin_distances

MIN_ATOMS = 10
"""Smallest number of atoms of random particles and of listed clusters."""
HOLDOUT_ATOM_RANGES = ((120, 135), (300, 340), (620, 700))
"""Ranges of the number of atoms of the listed clusters that are held out for tests and never used in the training."""
MEAN_ATOMS_RANGE = (25, 1200)
"""Range of the number of atoms in a sphere that has the mean diameter of a size distribution."""
WIDTH_RANGE = (0.03, 0.4)
"""Range of widths of size distributions (volume-weighted standard deviation of the diameter, divided by its mean)."""
PARTICLE_VALUE_NAMES = ("n_atoms", "diameter", "width", "hexagonal", "aspect")
"""Names of the values that the classifier predicts: number of atoms, longest distance, width of the size distribution,
share of hexagonal layers, and aspect ratio. For a size distribution, n_atoms and diameter belong to the mean size."""
CUT_SOURCE, LISTED_SOURCE, DISTRIBUTION_SOURCE = range(3)
"""Codes of the source of a sample: random particle, listed cluster, or size distribution."""


class BatchComposition(NamedTuple):
    """The numbers of samples in a batch."""

    n_samples: int = 512
    """Number of all samples. Samples that are neither random particles nor listed clusters are size distributions."""
    atom_capacities: tuple[int, ...] = (22, 46, 100, 215, 464, 1000)
    """Largest number of atoms in each size group of random particles. All groups have equally many particles, so that
    the logarithm of the number of atoms is about uniform."""
    n_cuts: int = 6
    """Number of random particles in each size group."""
    n_repeats: int = 7
    """Number of samples that consist of the same random particle."""
    n_listed: int = 150
    """Number of samples of listed clusters."""


DEFAULT_COMPOSITION = BatchComposition()


class ParticleBatch(NamedTuple):
    """Samples described by their pair distances, before a PDF is simulated."""

    histogram: Float[Array, "sample bin"]
    """Number of ordered pairs per atom in each distance bin."""
    type_index: Int[Array, " sample"]
    """Index of the type in `STRUCTURE_TYPES`, or -1 if the atoms do not show a type."""
    values: Float[Array, "sample value"]
    """Values in the order of `PARTICLE_VALUE_NAMES`. A value is NaN if it is unknown or undefined."""
    source: Int[Array, " sample"]
    """Source of each sample: `CUT_SOURCE`, `LISTED_SOURCE` or `DISTRIBUTION_SOURCE`."""


class ParticleStore(NamedTuple):
    """The arrays on the device from which samples are drawn: listed clusters, size classes, and packings.

    A size class consists of the clusters of the library that have the same packing and about the same size (see
    `size_classes`).
    """

    pair_weight: Float[Array, " bin"]
    """Number of ordered pairs per atom in each distance bin. The bins of all clusters in the library are joined."""
    pair_distance: Float[Array, " bin"]
    """Mean distance in each of these bins."""
    bin_start: Int[Array, " cluster"]
    """Index of the first bin of each listed cluster."""
    bin_count: Int[Array, " cluster"]
    """Number of bins of each listed cluster."""
    type_index: Int[Array, " cluster"]
    """Index in `STRUCTURE_TYPES` of each listed cluster."""
    values: Float[Array, "cluster value"]
    """Values of each listed cluster in the order of `PARTICLE_VALUE_NAMES`."""
    clusters_by_type: Int[Array, "type place"]
    """Indices of the listed clusters of each type, sorted by size. Clusters of rarer types are repeated, so that all
    rows have the same length."""
    relaxed_cluster: Int[Array, " relaxed"]
    """Index of the listed cluster that each relaxed cluster is."""
    relaxed_histograms: Float[Array, "relaxed level bin"]
    """Number of ordered pairs per atom in each distance bin of the relaxed clusters, at each level of the amplitude."""
    relaxed_diameter: Float[Array, "relaxed level"]
    """Longest distance of the relaxed clusters."""
    relaxed_by_type: Int[Array, "type place"]
    """Indices of the relaxed clusters of each type, as `clusters_by_type`."""
    class_histograms: Float[Array, "state class bin"]
    """Number of ordered pairs per atom in each distance bin of each size class. The first state is rigid. The others
    are relaxed, one for each level of the amplitude."""
    class_size: Float[Array, " class"]
    """Mean size of each size class. The size of a cluster is the diameter of a sphere of the same volume."""
    class_packing: Int[Array, " class"]
    """Index of the packing of each size class in `diameter_ratio` and `atom_volume`."""
    class_type_index: Int[Array, " class"]
    """Index in `STRUCTURE_TYPES` of each size class."""
    diameter_ratio: Float[Array, "state packing"]
    """Mean ratio of the longest distance of a cluster to its size, for the compact clusters of each packing."""
    atom_volume: Float[Array, " packing"]
    """Volume of an atom in each packing, in units of the cubed bond length."""
    packings_by_capacity: tuple[random_particles.PackingGeometry, ...]
    """Sites and faces of all packings, for each of `BatchComposition.atom_capacities`."""


def cluster_types(
    library: Library, *, folder: Path | None = None, report_progress: Callable[..., None] | None = None
) -> list[StructureType]:
    """Return the structure type of each cluster of the library, determined from the positions of its atoms.

    The first call takes one or two minutes and writes the types to the cache. Later calls read them from there.

    Args:
        library: Library of clusters.
        folder: Folder of the cache, by default `files.cache_folder()`. If it cannot be written, no types are cached.
        report_progress: Function that is called with the number of clusters done, the number of all clusters, and the
            name of the step.
    """
    library_hash = hashlib.sha256(library.positions.tobytes() + library.atom_starts.tobytes()).hexdigest()[:16]
    path = (folder or files.cache_folder()) / f"kinds-{library_hash}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = [archive[name].tolist() for name in ("type", "hexagonal", "shown")]
        return [StructureType(*columns_of_row) for columns_of_row in zip(*columns, strict=True)]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        pass
    structure_types = []
    for row in range(len(library.atoms)):
        structure_types.append(structure_type.identify_structure_type(candidate_cluster(library, row).positions))
        if report_progress and row % 100 == 0:
            report_progress(row, len(library.atoms), "types of clusters")
    with (
        contextlib.suppress(OSError),
        files.atomic_replacement(path) as temporary_path,
        temporary_path.open("wb") as stream,
    ):
        type_names, hexagonal, is_shown = zip(*structure_types, strict=True)
        np.savez(stream, type=np.array(type_names), hexagonal=np.array(hexagonal), shown=np.array(is_shown))
    return structure_types


def particle_store(
    library: Library,
    structure_types: list[StructureType],
    *,
    holdout: bool = False,
    composition: BatchComposition = DEFAULT_COMPOSITION,
    folder: Path | None = None,
    report_progress: Callable[..., None] | None = None,
) -> ParticleStore:
    """Return the arrays from which samples are drawn.

    The first call for a library relaxes some thousand clusters, which takes some minutes, and writes them to the cache.

    Args:
        library: Library of clusters.
        structure_types: Structure types from `cluster_types`, one for each cluster.
        holdout: Whether the listed clusters are those held out for tests (`HOLDOUT_ATOM_RANGES`). By default, they are
            all other clusters.
        composition: Numbers of samples in the batches that are drawn from the arrays.
        folder: Folder of the cache, by default `files.cache_folder()`.
        report_progress: Function that is called with the number of clusters done, the number of all clusters, and the
            name of the step.
    """
    rows, type_index = _typed_rows(library, structure_types, holdout=holdout)
    hexagonal_share = np.array([structure_types[row].hexagonal_share for row in rows])
    all_rows = np.arange(len(library.atoms))
    packings = size_classes.candidate_packings(library, all_rows)
    classes = size_classes.build_size_classes(library, all_rows, packings)
    typed_classes = np.flatnonzero(classes.structure_types != "")
    members = relaxed_clusters.class_members(library, packings, classes)
    relaxed_cluster = relaxed_clusters.balanced_rows(type_index, library.atoms[rows])
    relax = partial(relaxed_clusters.relax_clusters, library, folder=folder, report_progress=report_progress)
    relaxed, relaxed_members = relax(rows[relaxed_cluster]), relax(np.unique(np.concatenate(members)))
    return ParticleStore(
        jnp.asarray(library.weight / np.repeat(library.atoms, np.diff(library.bin_starts))),
        jnp.asarray(library.mean),
        jnp.asarray(library.bin_starts[rows], jnp.int32),
        jnp.asarray(np.diff(library.bin_starts)[rows], jnp.int32),
        jnp.asarray(type_index, jnp.int32),
        jnp.asarray(_cluster_values(library, rows, hexagonal_share)),
        jnp.asarray(_rows_by_type(type_index), jnp.int32),
        jnp.asarray(relaxed_cluster, jnp.int32),
        jnp.asarray(relaxed.histograms),
        jnp.asarray(relaxed.diameter),
        jnp.asarray(_rows_by_type(type_index[relaxed_cluster]), jnp.int32),
        jnp.asarray(_class_histograms(classes, typed_classes, members, relaxed_members)),
        jnp.asarray(classes.mean_size[typed_classes], jnp.float32),
        jnp.asarray(classes.packing_index[typed_classes], jnp.int32),
        jnp.asarray([STRUCTURE_TYPES.index(name) for name in classes.structure_types[typed_classes]], jnp.int32),
        jnp.asarray(_diameter_ratios(library, packings, classes.packing_names, relaxed_members), jnp.float32),
        jnp.asarray([size_classes.atom_volume(name) for name in classes.packing_names], jnp.float32),
        tuple(
            jax.tree.map(jnp.asarray, random_particles.packing_geometry(capacity))
            for capacity in composition.atom_capacities
        ),
    )


def draw_particles(
    key: Array, store: ParticleStore, *, composition: BatchComposition = DEFAULT_COMPOSITION
) -> ParticleBatch:
    """Return a batch of random samples from all sources, in random order."""
    cut_key, list_key, distribution_key, order_key = jax.random.split(key, 4)
    n_random = len(composition.atom_capacities) * composition.n_cuts * composition.n_repeats
    n_distributions = composition.n_samples - n_random - composition.n_listed
    batches = [
        _draw_random_particles(cut_key, store.packings_by_capacity, composition),
        _draw_listed_clusters(list_key, store, composition.n_listed),
        _draw_distributions(distribution_key, store, n_distributions),
    ]
    order = jax.random.permutation(order_key, composition.n_samples)
    return jax.tree.map(lambda *columns: jnp.concatenate(columns)[order], *batches)


def bin_positions(positions: np.ndarray) -> Float[np.ndarray, " bin"]:
    """Return the histogram of the positions [atom, 3] of one cluster, as in `ParticleBatch`, computed with NumPy."""
    distance = pdist(positions)
    return bin_distances(np.full(len(distance), 2 / len(positions)), distance)


def _typed_rows(
    library: Library, structure_types: list[StructureType], *, holdout: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the clusters whose atoms show a type, and the index of this type in `STRUCTURE_TYPES`."""
    n_atoms = library.atoms
    in_holdout = np.any([(n_atoms >= low) & (n_atoms <= high) for low, high in HOLDOUT_ATOM_RANGES], axis=0)
    type_names = np.array([entry.name if entry.shows_type else "" for entry in structure_types], object)
    rows = np.flatnonzero((in_holdout == holdout) & (type_names != "") & (n_atoms >= MIN_ATOMS))
    return rows, np.array([STRUCTURE_TYPES.index(name) for name in type_names[rows]])


def _cluster_values(library: Library, rows: np.ndarray, hexagonal_share: np.ndarray) -> np.ndarray:
    """Return the values [cluster, value] of listed clusters, in the order of `PARTICLE_VALUE_NAMES`."""
    values = np.full((len(rows), len(PARTICLE_VALUE_NAMES)), np.nan, np.float32)
    values[:, 0], values[:, 1], values[:, 2] = library.atoms[rows], library.diameter[rows], 0.0
    values[:, 3] = hexagonal_share
    return values


def _rows_by_type(type_index: np.ndarray) -> np.ndarray:
    """Return the indices of the clusters of each type [type, place], sorted by size.

    Indices are repeated, so that all rows have the same length. The row of a type without clusters has all clusters.
    """
    all_rows = np.arange(len(type_index))
    rows_by_type = [
        type_rows if len(type_rows := all_rows[type_index == index]) else all_rows
        for index in range(len(STRUCTURE_TYPES))
    ]
    max_count = max(map(len, rows_by_type))
    return np.stack([type_rows[np.arange(max_count) * len(type_rows) // max_count] for type_rows in rows_by_type])


def _class_histograms(
    classes: SizeClasses, rows: np.ndarray, members: list[np.ndarray], relaxed: RelaxedClusters
) -> np.ndarray:
    """Return the number of ordered pairs per atom [state, class, bin] of some size classes.

    Classes without relaxed members are rigid in all states.
    """
    weight, mean = np.asarray(classes.histogram.weight), np.asarray(classes.histogram.mean)
    rigid = np.stack([bin_distances(weight[row], mean[row]) for row in rows])
    histograms = np.repeat(rigid[None], 1 + N_LEVELS, axis=0)
    for place, row in enumerate(rows):
        if len(members[row]):
            places = np.searchsorted(relaxed.rows, members[row])
            histograms[1:, place] = relaxed.histograms[places].astype(np.float32).mean(axis=0)
    return histograms


def _diameter_ratios(
    library: Library, packings: np.ndarray, packing_names: tuple[str, ...], relaxed: RelaxedClusters
) -> np.ndarray:
    """Return the mean ratio of the longest distance to the size [state, packing] for the compact clusters."""
    cluster_size = size_classes.candidate_sizes(library, np.arange(len(library.atoms)))
    is_compact = (library.diameter + 1) / cluster_size <= size_classes.MAX_COMPACT_ELONGATION
    ratios = np.ones((1 + N_LEVELS, len(packing_names)))
    for index, name in enumerate(packing_names):
        ratios[:, index] = np.mean((library.diameter / cluster_size)[is_compact & (packings == name)])
        members = is_compact[relaxed.rows] & (packings[relaxed.rows] == name)
        if members.any():
            ratios[1:, index] *= np.mean(
                relaxed.diameter[members] / library.diameter[relaxed.rows[members], None], axis=0
            )
    return ratios


def _bin_traced_distances(distance: Array, weight: Array) -> Float[Array, " bin"]:
    """Return the histogram of `relaxed_clusters.bin_distances`, computed with JAX."""
    position = jnp.minimum(distance.ravel() / BIN_WIDTH, N_BINS - 1.0)
    lower_bin = position.astype(jnp.int32)
    fraction, weight = position - lower_bin, weight.ravel()
    bin_weights = jnp.stack([(1 - fraction) * weight, fraction * weight], axis=-1)
    scatter_dimensions = jax.lax.ScatterDimensionNumbers((1,), (), (0,))
    histogram = jax.lax.scatter_add(jnp.zeros(N_BINS + 2), lower_bin[:, None], bin_weights, scatter_dimensions)[:N_BINS]
    return histogram.at[-2:].set(0.0)


def _draw_random_particles(
    key: Array, packings_by_capacity: tuple[random_particles.PackingGeometry, ...], composition: BatchComposition
) -> ParticleBatch:
    """Return random particles of all size groups. Each particle is repeated `composition.n_repeats` times."""
    n_cuts = composition.n_cuts
    batches = []
    for index, capacity in enumerate(composition.atom_capacities):
        packing_key, size_key, shape_key = jax.random.split(jax.random.fold_in(key, index), 3)
        min_atoms = MIN_ATOMS if index == 0 else composition.atom_capacities[index - 1]
        n_atoms = jnp.exp(
            jax.random.uniform(size_key, (n_cuts,), minval=math.log(min_atoms), maxval=math.log(capacity + 0.99))
        )
        packing = jax.random.randint(packing_key, (n_cuts,), 0, len(random_particles.PACKINGS))
        particle_inputs = (
            random_particles.draw_random_numbers(
                shape_key, packings_by_capacity[index], n_particles=n_cuts, capacity=capacity
            ),
            packing,
            n_atoms.astype(jnp.int32),
        )
        particles = jax.lax.map(
            partial(_random_particle, packings=packings_by_capacity[index], capacity=capacity), particle_inputs
        )
        # This is a second loop, because XLA would otherwise cut the particle again for each of its pairs.
        particles = jax.lax.map(_describe_particle, particles)
        batches.append(particles)
    joined_batch = jax.tree.map(lambda *columns: jnp.concatenate(columns), *batches)
    return jax.tree.map(lambda column: jnp.repeat(column, composition.n_repeats, axis=0), joined_batch)


def _random_particle(
    particle_inputs, *, packings: random_particles.PackingGeometry, capacity: int
) -> random_particles.RandomParticle:
    shape_probabilities, packing, n_atoms = particle_inputs
    return random_particles.cut_particle(shape_probabilities, packing, n_atoms, packings, capacity=capacity)


def _describe_particle(particle: random_particles.RandomParticle) -> ParticleBatch:
    """Return the distance histogram, the type and the values of a particle."""
    distance, weight = pair_distances(particle.positions, particle.mask)
    n_atoms = particle.mask.sum()
    diameter = jnp.where(weight > 0, distance, 0.0).max()
    values = jnp.stack([n_atoms.astype(jnp.float32), diameter, 0.0, particle.hexagonal_share, particle.aspect_ratio])
    histogram = _bin_traced_distances(distance, weight * 2 / jnp.maximum(n_atoms, 1))
    type_index = jnp.where(particle.is_complete & particle.shows_type, particle.type_index, -1)
    return ParticleBatch(histogram, type_index, jnp.where(particle.is_complete, values, jnp.nan), jnp.int32(CUT_SOURCE))


def _draw_listed_clusters(key: Array, store: ParticleStore, n_clusters: int) -> ParticleBatch:
    """Return listed clusters. All types are equally probable, and the logarithm of the size is about uniform."""
    type_key, size_key, level_key, rigid_key = jax.random.split(key, 4)
    type_index = jax.random.randint(type_key, (n_clusters,), 0, len(STRUCTURE_TYPES))
    target_atoms = jnp.exp(
        jax.random.uniform(size_key, (n_clusters,), minval=math.log(MIN_ATOMS), maxval=math.log(1000.0))
    )
    shift = jax.random.uniform(jax.random.fold_in(size_key, 1), (n_clusters,), minval=-0.01, maxval=0.01)
    n_atoms = store.values[:, 0]
    rigid_row = _rows_of_size(store.clusters_by_type, n_atoms, type_index, target_atoms, shift)
    relaxed = _rows_of_size(store.relaxed_by_type, n_atoms[store.relaxed_cluster], type_index, target_atoms, shift)
    level = jax.random.randint(level_key, (n_clusters,), 0, N_LEVELS)
    is_rigid = jax.random.uniform(rigid_key, (n_clusters,)) < random_particles.RIGID_PROBABILITY
    row = jnp.where(is_rigid, rigid_row, store.relaxed_cluster[relaxed])
    diameter = jnp.where(is_rigid, store.values[row, 1], store.relaxed_diameter[relaxed, level])
    histogram = jnp.where(
        is_rigid[:, None], _rigid_histograms(store, rigid_row), store.relaxed_histograms[relaxed, level]
    )
    return ParticleBatch(
        histogram, store.type_index[row], store.values[row].at[:, 1].set(diameter), jnp.full(n_clusters, LISTED_SOURCE)
    )


def _rows_of_size(rows_by_type: Array, n_atoms: Array, type_index: Array, target_atoms: Array, shift: Array) -> Array:
    """Return the rows of clusters of given types and of about the given sizes.

    Args:
        rows_by_type: Rows of the clusters of each type [type, place], sorted by size.
        n_atoms: Number of atoms of the cluster in each row.
        type_index: Index of the type of each requested cluster.
        target_atoms: Number of atoms of each requested cluster.
        shift: Difference between the place of the cluster and the place of its size, as a share of all places.
    """
    atoms_by_type = n_atoms[rows_by_type]
    place = jax.vmap(lambda type_row, target: jnp.searchsorted(atoms_by_type[type_row], target))(
        type_index, target_atoms
    )
    n_places = rows_by_type.shape[1]
    return rows_by_type[type_index, jnp.clip(place + (shift * n_places).astype(jnp.int32), 0, n_places - 1)]


def _rigid_histograms(store: ParticleStore, rows: Array) -> Float[Array, "cluster bin"]:
    """Return the histograms of listed clusters with ideal positions."""
    max_bins = round(N_BINS * BIN_WIDTH / 0.02) + 2

    def cluster_histogram(row):
        weight = jax.lax.dynamic_slice(store.pair_weight, (store.bin_start[row],), (max_bins,))
        distance = jax.lax.dynamic_slice(store.pair_distance, (store.bin_start[row],), (max_bins,))
        # If a slice would pass the end of the array, dynamic_slice begins it earlier.
        bin_offset = (
            jnp.minimum(store.bin_start[row], store.pair_weight.size - max_bins)
            + jnp.arange(max_bins)
            - store.bin_start[row]
        )
        return _bin_traced_distances(
            distance, jnp.where((bin_offset >= 0) & (bin_offset < store.bin_count[row]), weight, 0.0)
        )

    return jax.lax.map(cluster_histogram, rows)


def _draw_distributions(key: Array, store: ParticleStore, n_distributions: int) -> ParticleBatch:
    """Return samples of one packing each, whose particles have a lognormal distribution of sizes."""
    packing_key, size_key, width_key, level_key, rigid_key = jax.random.split(key, 5)
    is_rigid = jax.random.uniform(rigid_key, (n_distributions,)) < random_particles.RIGID_PROBABILITY
    state = jnp.where(is_rigid, 0, 1 + jax.random.randint(level_key, (n_distributions,), 0, N_LEVELS))
    packing = jax.random.randint(packing_key, (n_distributions,), 0, len(store.atom_volume))
    volume = store.atom_volume[packing]
    n_atoms = jnp.exp(
        jax.random.uniform(
            size_key, (n_distributions,), minval=math.log(MEAN_ATOMS_RANGE[0]), maxval=math.log(MEAN_ATOMS_RANGE[1])
        )
    )
    mean_size = (6 / math.pi * n_atoms * volume) ** (1 / 3)
    width = jax.random.uniform(width_key, (n_distributions,), minval=WIDTH_RANGE[0], maxval=WIDTH_RANGE[1])
    log_width = jnp.sqrt(jnp.log1p(width**2))[:, None]
    standardised_log_size = (jnp.log(store.class_size) - jnp.log(mean_size)[:, None] + log_width**2 / 2) / log_width
    class_weights = jnp.where(store.class_packing == packing[:, None], jnp.exp(-0.5 * standardised_log_size**2), 0.0)
    class_weights /= jnp.maximum(class_weights.sum(axis=1, keepdims=True), 1e-20)
    mean_size = class_weights @ store.class_size
    width = jnp.sqrt(jnp.maximum(class_weights @ store.class_size**2 - mean_size**2, 0.0)) / mean_size
    type_index = (class_weights @ jax.nn.one_hot(store.class_type_index, len(STRUCTURE_TYPES))).argmax(axis=1)
    hexagonal = jnp.where(
        type_index == random_particles.FCC, 0.0, jnp.where(type_index == random_particles.HCP, 1.0, jnp.nan)
    )
    has_stacking = (store.class_type_index == random_particles.STACK) & (store.class_packing == packing[:, None])
    hexagonal = jnp.where(has_stacking.any(axis=1), jnp.nan, hexagonal)
    unknown_aspect = jnp.full(n_distributions, jnp.nan)
    columns = (
        math.pi / 6 * mean_size**3 / volume,
        mean_size * store.diameter_ratio[state, packing],
        width,
        hexagonal,
        unknown_aspect,
    )
    state_weights = jax.nn.one_hot(state, 1 + N_LEVELS)[:, :, None] * class_weights[:, None]
    return ParticleBatch(
        jnp.tensordot(state_weights, store.class_histograms, 2),
        type_index.astype(jnp.int32),
        jnp.stack(columns, axis=1),
        jnp.full(n_distributions, DISTRIBUTION_SOURCE),
    )
