from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import library, random_particles, structure_type
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.network.classifier import particles
from jaxstruc.network.classifier.particles import BatchComposition

COMPOSITION = BatchComposition(n_samples=48, atom_capacities=(24, 60), n_cuts=2, n_repeats=2, n_listed=20)


@pytest.fixture(scope="module")
def small_library():
    """Return a library of clusters of up to 140 atoms, with the types that their atoms show."""
    cluster_library = library.load_or_build(
        ("fcc", "hcp", "bcc", "icosahedron", "decahedron", "sc", "fault"), max_atoms=140
    )
    selected_rows = np.linspace(0, len(cluster_library.atoms) - 1, 150).astype(int)
    cluster_library = library.from_clusters([library.candidate_cluster(cluster_library, row) for row in selected_rows])
    return cluster_library, [
        structure_type.identify_structure_type(library.candidate_cluster(cluster_library, row).positions)
        for row in range(len(cluster_library.atoms))
    ]


@pytest.fixture(scope="module")
def drawn_particles(small_library):
    """Return a draw of few samples and the store from which they are drawn."""
    store = particles.particle_store(*small_library, composition=COMPOSITION)
    particle_batch = jax.jit(partial(particles.draw_particles, composition=COMPOSITION))(jax.random.key(0), store)
    return jax.tree.map(np.asarray, particle_batch), store


def test_bins_hold_each_pair_twice():
    positions = np.random.default_rng(0).normal(size=(30, 3)) * 2
    histogram = particles.bin_positions(positions)
    assert histogram.sum() == pytest.approx(29, rel=1e-5)
    assert histogram @ np.arange(particles.N_BINS) * particles.BIN_WIDTH / 29 == pytest.approx(
        pdist(positions).mean(), rel=1e-5
    )


def test_particles_of_all_sources_hold_their_pairs(drawn_particles):
    """The ordered pairs per atom are one less than the atoms, for particles whose distances lie within the bins."""
    particle_batch, _ = drawn_particles
    assert np.bincount(particle_batch.source).tolist() == [8, 20, 20]
    is_single = (particle_batch.source != particles.DISTRIBUTION_SOURCE) & np.isfinite(particle_batch.values[:, 0])
    np.testing.assert_allclose(
        particle_batch.histogram[is_single].sum(axis=1), particle_batch.values[is_single, 0] - 1, rtol=1e-3
    )


def test_the_longest_distance_is_the_last_bin(drawn_particles):
    particle_batch, _ = drawn_particles
    for row in np.flatnonzero(
        (particle_batch.source != particles.DISTRIBUTION_SOURCE) & np.isfinite(particle_batch.values[:, 0])
    ):
        longest_distance = np.flatnonzero(particle_batch.histogram[row] > 1e-7)[-1] * particles.BIN_WIDTH
        assert longest_distance == pytest.approx(particle_batch.values[row, 1], abs=0.03)


def test_most_listed_clusters_and_distributions_are_relaxed(drawn_particles):
    """The diameters of rigid clusters are in the store, and those of most drawn clusters are not."""
    particle_batch, store = drawn_particles
    is_listed = particle_batch.source == particles.LISTED_SOURCE
    rigid_diameters = np.asarray(store.values[:, 1])
    drawn_diameters = particle_batch.values[is_listed, 1]
    is_rigid = (np.abs(drawn_diameters[:, None] - rigid_diameters) < 1e-6).any(axis=1)
    assert 0 < is_rigid.mean() < 0.8
    relaxed_values = np.asarray(store.values)[np.asarray(store.relaxed_cluster)]
    relaxed_pairs = np.asarray(store.relaxed_histograms, np.float64).sum(axis=2)
    np.testing.assert_allclose(relaxed_pairs, np.repeat(relaxed_values[:, :1] - 1, 5, axis=1), rtol=2e-3)
    states = np.asarray(store.class_histograms)
    assert (np.abs(states[1:] - states[0]).max(axis=(1, 2)) > 0.1).all()
    np.testing.assert_allclose(
        store.diameter_ratio, np.repeat(np.asarray(store.diameter_ratio)[:1], 6, axis=0), rtol=0.1
    )


def test_distributions_have_widths_and_no_aspect(drawn_particles):
    particle_batch, _ = drawn_particles
    is_distribution, width = particle_batch.source == particles.DISTRIBUTION_SOURCE, particle_batch.values[:, 2]
    assert (
        np.median(width[is_distribution]) > 0.1
        and width[is_distribution].max() < 0.45
        and np.isnan(particle_batch.values[is_distribution, 4]).all()
    )
    assert (width[~is_distribution & np.isfinite(width)] == 0).all()
    assert (particle_batch.type_index[is_distribution] >= 0).all() and np.isfinite(particle_batch.histogram).all()


def test_held_out_sizes_are_never_drawn(small_library, drawn_particles):
    """The library has clusters of 120 to 135 atoms, and the store has none."""
    _, store = drawn_particles
    atoms = np.asarray(store.values[:, 0])
    low, high = particles.HOLDOUT_ATOM_RANGES[0]
    assert ((small_library[0].atoms >= low) & (small_library[0].atoms <= high)).any() and not (
        (atoms >= low) & (atoms <= high)
    ).any()
    holdout_atoms = np.asarray(particles.particle_store(*small_library, holdout=True).values[:, 0])
    assert len(holdout_atoms) and ((holdout_atoms >= low) & (holdout_atoms <= high)).all()


def test_types_of_library_clusters_are_identified_once(small_library, tmp_path):
    cluster_library, observed_types = small_library
    first_clusters = library.from_clusters([library.candidate_cluster(cluster_library, row) for row in range(5)])
    assert (
        particles.cluster_types(first_clusters, folder=tmp_path)[0].name
        == structure_type.identify_structure_type(library.candidate_cluster(first_clusters, 0).positions).name
    )
    (path,) = tmp_path.glob("kinds-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    cached_types = particles.cluster_types(first_clusters, folder=tmp_path)
    assert [observed_type.name for observed_type in cached_types] == [
        observed_type.name for observed_type in particles.cluster_types(first_clusters, folder=tmp_path)
    ]
    assert len(observed_types) == len(cluster_library.atoms) and {
        observed_type.name for observed_type in observed_types
    } <= {*STRUCTURE_TYPES, ""}


def test_random_particles_fit_the_capacity_of_their_group(drawn_particles):
    particle_batch, store = drawn_particles
    assert len(store.packings_by_capacity) == 2
    assert store.packings_by_capacity[1].site_positions.shape[0] == len(random_particles.PACKINGS)
    atom_counts = np.sort(particle_batch.values[particle_batch.source == particles.CUT_SOURCE, 0])
    assert np.nanmax(atom_counts) <= 60 and jnp.isfinite(atom_counts).sum() >= 6


def test_a_distance_is_shared_by_its_two_nearest_bins():
    """The last bins stay empty, because distances beyond the bins are lost."""
    places = np.array([0.0, 0.25, 3.75, 10.0, particles.N_BINS - 4.5, particles.N_BINS + 7.0])
    distance, weight = places * particles.BIN_WIDTH, np.arange(1.0, 7.0)
    expected_histogram = np.zeros(particles.N_BINS)
    for place, amount in zip(places[:5], weight[:5], strict=True):
        expected_histogram[int(place)] += amount * (1 - place % 1)
        expected_histogram[int(place) + 1] += amount * (place % 1)
    np.testing.assert_allclose(particles.bin_distances(weight, distance), expected_histogram, atol=1e-5)
    traced_histogram = particles._bin_traced_distances(jnp.asarray(distance), jnp.asarray(weight))
    np.testing.assert_allclose(traced_histogram, expected_histogram, atol=2e-3)


def test_a_type_has_its_clusters_by_size_repeated_and_all_clusters_if_it_has_none():
    type_index = np.array([0, 1, 0, 1, 1, 0, 0])
    rows_by_type = particles._rows_by_type(type_index)
    assert rows_by_type.shape == (len(STRUCTURE_TYPES), 7)
    assert rows_by_type[0].tolist() == [0, 0, 2, 2, 5, 5, 6]
    assert rows_by_type[1].tolist() == [1, 1, 1, 3, 3, 4, 4] and rows_by_type[2].tolist() == list(range(7))


def test_the_limits_of_the_held_out_sizes_belong_to_them():
    (low, high), *_ = particles.HOLDOUT_ATOM_RANGES
    counts = [particles.MIN_ATOMS - 1, particles.MIN_ATOMS, low - 1, low, high, high + 1, high + 1]
    rng = np.random.default_rng(0)
    numbered_library = library.from_clusters([Cluster("fcc", "x", rng.normal(size=(n_atoms, 3))) for n_atoms in counts])
    types = [structure_type.StructureType("fcc", 0.0, True)] * 6 + [structure_type.StructureType("fcc", 0.0, False)]
    rows, type_index = particles._typed_rows(numbered_library, types, holdout=False)
    assert rows.tolist() == [1, 2, 5] and set(type_index) == {STRUCTURE_TYPES.index("fcc")}
    assert particles._typed_rows(numbered_library, types, holdout=True)[0].tolist() == [3, 4]
    values = particles._cluster_values(numbered_library, np.array([2, 5]), np.array([0.25, 0.5]))
    assert values[:, 0].tolist() == [low - 1, high + 1] and values[:, 2].tolist() == [0, 0]
    np.testing.assert_allclose(values[:, 1], numbered_library.diameter[[2, 5]], rtol=1e-6)
    assert values[:, 3].tolist() == [0.25, 0.5] and np.isnan(values[:, 4:]).all()
