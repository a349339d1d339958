import evaluation
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Decahedron, Icosahedron, Octahedron
from evaluation import StructureBatch

from jaxstruc.clusters import fcc_shapes
from jaxstruc.network.cvae.model import CVAE, ModelSizes
from jaxstruc.network.cvae.propose import Proposals


@pytest.fixture(scope="module")
def rows():
    return np.array([3, 500, 1100, 1590])


def select_conditions(data, rows):
    return jax.tree.map(lambda column: column[rows], data.conditions)


def test_true_structures_give_their_pdfs_and_perfect_measures(kdd_dataset, rows):
    true_structures = evaluation.true_structures(kdd_dataset, rows, max_atoms=100)
    simulated_pdfs = np.asarray(evaluation.simulate_structures(true_structures, select_conditions(kdd_dataset, rows)))
    measures = evaluation.agreement_measures(kdd_dataset.pdf[rows], simulated_pdfs, true_structures, true_structures)
    np.testing.assert_allclose(simulated_pdfs, kdd_dataset.pdf[rows], atol=1e-4 * np.abs(kdd_dataset.pdf).max())
    assert measures["r_p"].max() < 1e-6 and measures["rw"].max() < 1e-3 and measures["pearson"].min() > 0.9999
    assert measures["error"].max() < 1e-4 and measures["count_exact"].all() and measures["solved"].all()


def test_each_measure_is_what_its_name_says():
    pdf = np.random.default_rng(0).normal(size=(1, 301)).astype(np.float32)
    structures = StructureBatch(jnp.zeros((1, 3, 3)), jnp.ones((1, 3), bool))
    incomplete_structures = structures._replace(mask=jnp.array([[True, True, False]]))
    measures = evaluation.agreement_measures(pdf, 2 * pdf, structures, incomplete_structures)
    assert measures["r_p"][0] == pytest.approx(np.mean(pdf**2), rel=1e-5)
    assert measures["r_l2"][0] == pytest.approx(np.linalg.norm(pdf), rel=1e-5)
    assert measures["rw"][0] == pytest.approx(1, rel=1e-5) and measures["rw_scaled"][0] < 1e-3
    assert measures["pearson"][0] == pytest.approx(1, rel=1e-5) and not measures["count_exact"][0]


def test_pearson_is_numpys():
    first_curve, second_curve = np.random.default_rng(0).normal(size=(2, 50))
    assert float(evaluation.pearson_correlation(jnp.asarray(first_curve), jnp.asarray(second_curve))) == pytest.approx(
        np.corrcoef(first_curve, second_curve)[0, 1], rel=1e-4
    )
    assert float(evaluation.pearson_correlation(jnp.ones(5), jnp.arange(5.0))) == 0


CLUSTER_POSITIONS = {
    "fcc": fcc_shapes.fcc_cluster((4, 4, 3)).positions * 2.8,
    "octahedron": Octahedron("Au", 7, 2).positions,
    "icosahedron": Icosahedron("Au", 4).positions,
    "decahedron": Decahedron("Au", 3, 3, 0).positions,
}
"""Positions in Å of clusters of 55 to 201 atoms with bond lengths of 2.8 to 2.9 Å. In most of them symmetry leaves the
principal axes undetermined."""


def move_and_shuffle(positions, *, seed, is_mirrored):
    """Return atoms after a permutation, a rotation or mirrored rotation, and a shift."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation[:, 0] *= np.sign(np.linalg.det(rotation)) * (-1 if is_mirrored else 1)
    return rng.permutation(positions) @ rotation + 5 * rng.normal(size=3)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("name", CLUSTER_POSITIONS)
def test_shuffled_turned_and_mirrored_atoms_have_no_error(name, is_mirrored):
    positions = CLUSTER_POSITIONS[name]
    moved_positions = move_and_shuffle(positions, seed=1, is_mirrored=is_mirrored)
    assert evaluation.coordinate_error(positions, moved_positions) < 1e-6


@pytest.mark.parametrize("name", CLUSTER_POSITIONS)
def test_missing_atoms_do_not_add_to_the_error(name):
    positions = CLUSTER_POSITIONS[name]
    for count in (1, 5):
        incomplete_positions = np.delete(
            positions, np.random.default_rng(count).choice(len(positions), count, replace=False), axis=0
        )
        incomplete_positions = move_and_shuffle(incomplete_positions, seed=count, is_mirrored=True)
        assert evaluation.coordinate_error(positions, incomplete_positions) < 1e-6
        assert evaluation.coordinate_error(incomplete_positions, positions) < 1e-6


@pytest.mark.parametrize("name", CLUSTER_POSITIONS)
def test_the_error_of_noisy_atoms_is_their_mean_displacement(name):
    positions = CLUSTER_POSITIONS[name]
    noise = 0.1 * np.random.default_rng(0).normal(size=positions.shape)
    error = evaluation.coordinate_error(positions, move_and_shuffle(positions + noise, seed=2, is_mirrored=False))
    assert error == pytest.approx(np.mean(np.linalg.norm(noise, axis=1)), rel=0.1)
    assert error <= np.mean(np.linalg.norm(noise, axis=1))


def test_one_misplaced_atom_adds_only_its_displacement_to_the_error():
    positions = CLUSTER_POSITIONS["fcc"]
    outward_vector = positions[-1] - positions.mean(axis=0)
    wrong_positions = positions.copy()
    wrong_positions[-1] += 6 * outward_vector / np.linalg.norm(outward_vector)
    error = evaluation.coordinate_error(positions, move_and_shuffle(wrong_positions, seed=3, is_mirrored=False))
    assert error == pytest.approx(6 / len(positions), rel=0.02)


def test_different_structures_have_a_large_error():
    positions = CLUSTER_POSITIONS["fcc"]
    random_positions = positions.std() * np.random.default_rng(0).normal(size=positions.shape)
    assert evaluation.coordinate_error(positions, random_positions) > 1.0
    assert evaluation.coordinate_error(CLUSTER_POSITIONS["icosahedron"], CLUSTER_POSITIONS["octahedron"]) > 0.5


def test_one_or_two_atoms_have_an_error_and_no_atoms_have_none():
    pair_positions = np.array([[0.0, 0.0, 0.0], [2.8, 0.0, 0.0]])
    assert evaluation.coordinate_error(pair_positions[:1], pair_positions) == pytest.approx(0, abs=1e-9)
    assert evaluation.coordinate_error(pair_positions, 1.1 * pair_positions[:, ::-1]) == pytest.approx(0.14)
    assert np.isnan(evaluation.coordinate_error(pair_positions[:0], pair_positions))


def test_solved_means_the_exact_count_and_a_small_error(kdd_dataset, rows):
    """The second structure is too large by 1 %, the third lacks an atom, and the fourth is too large by 10 %."""
    true_structures = evaluation.true_structures(kdd_dataset, rows, max_atoms=100)
    structures = StructureBatch(
        true_structures.positions * jnp.array([1.0, 1.01, 1.0, 1.1])[:, None, None],
        true_structures.mask & ~((jnp.arange(100) == 7) & (jnp.arange(4) == 2)[:, None]),
    )
    measures = evaluation.agreement_measures(kdd_dataset.pdf[rows], kdd_dataset.pdf[rows], true_structures, structures)
    assert measures["error"][2] < 1e-4 and not measures["count_exact"][2]
    assert 0 < measures["error"][1] < 0.1 < measures["error"][3]
    np.testing.assert_array_equal(measures["solved"], [True, True, False, False])


def test_the_nearest_training_structure_of_a_training_pdf_is_its_own(kdd_dataset, rows):
    train_rows = np.arange(0, 1600, 10)
    nearest_structures = evaluation.nearest_training_structures(kdd_dataset, train_rows, train_rows[:5], max_atoms=100)
    true_structures = evaluation.true_structures(kdd_dataset, train_rows[:5], max_atoms=100)
    np.testing.assert_array_equal(nearest_structures.mask, true_structures.mask)
    other_structures = evaluation.nearest_training_structures(kdd_dataset, np.arange(800), rows[2:], max_atoms=100)
    assert set(np.asarray(other_structures.mask).sum(axis=1)) <= {19, 43, 55, 63}


@pytest.mark.slow
def test_a_network_gives_structures_without_labels(kdd_dataset, rows, random_params):
    network = CVAE(ModelSizes(atoms=20, satellites=4))
    params, key = random_params(network), jax.random.key(0)
    drawn_structures = evaluation.reconstruct(params, kdd_dataset.pdf[rows], key, network=network, draw=True)
    mean_structures = evaluation.reconstruct(params, kdd_dataset.pdf[rows], key, network=network, draw=False)
    assert drawn_structures.positions.shape == (4, 20, 3) and np.isfinite(drawn_structures.positions).all()
    assert np.abs(drawn_structures.positions - mean_structures.positions).max() > 1e-3


def test_atoms_with_a_presence_above_one_half_are_kept():
    positions = jnp.arange(9.0).reshape(1, 3, 3)
    proposals = Proposals(positions, jnp.array([[0.9, 0.5, 0.51]]), jnp.ones(1), jnp.zeros(1), jnp.ones(1, bool))
    structures = evaluation.structures_from_proposals(proposals)
    np.testing.assert_array_equal(structures.mask, [[True, False, True]])
    np.testing.assert_array_equal(structures.positions, positions)


def test_a_valid_structure_is_connected_and_has_no_close_atoms():
    positions, mask = fcc_shapes.fcc_cluster((2, 2, 2)).positions * 2.8, np.ones(19, bool)
    assert evaluation.is_valid_structure(positions, mask, 2.8)
    close_positions, separated_positions = positions.copy(), positions.copy()
    close_positions[1] = close_positions[0] + 0.5
    separated_positions[18] += 20
    assert not evaluation.is_valid_structure(close_positions, mask, 2.8) and not evaluation.is_valid_structure(
        separated_positions, mask, 2.8
    )
    assert not evaluation.is_valid_structure(positions, mask & (np.arange(19) < 1), 2.8)


def test_rw_is_zero_for_a_perfect_fit_and_one_for_none():
    g, w = jnp.array([1.0, -2.0, 3.0]), jnp.ones(3)
    assert float(evaluation.rw(g, g, w)) == 0.0
    assert float(evaluation.rw(g, 0 * g, w)) == pytest.approx(1.0)
    assert float(evaluation.rw(g, 0.5 * g, w)) == pytest.approx(0.5)


def test_points_without_weight_do_not_count():
    observed, calculated = jnp.array([1.0, 2.0, 100.0]), jnp.array([1.0, 1.0, 0.0])
    assert float(evaluation.rw(observed, calculated, jnp.array([1.0, 1.0, 0.0]))) == pytest.approx((1 / 5) ** 0.5)


@pytest.mark.parametrize("n_atoms", [3, 5, 6])
def test_small_and_linear_structures_are_superposed(n_atoms):
    """A row of atoms has no triangles, and an octahedron has fewer than are compared."""
    row = np.arange(n_atoms)[:, None] * np.array([1.0, 0.0, 0.0])
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for positions in [row, octahedron] if n_atoms == 6 else [row]:
        error = evaluation.coordinate_error(2.6 * positions, 2.61 * positions[::-1] @ rotation + 1.0)
        assert error < 0.01 * np.abs(positions).max()
