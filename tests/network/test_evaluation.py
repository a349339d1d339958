import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Decahedron, Icosahedron, Octahedron

from jaxstruc.network import evaluation
from jaxstruc.network.config import Sizes
from jaxstruc.network.evaluation import Structures
from jaxstruc.network.model import CVAE
from jaxstruc.network.propose import Proposals
from jaxstruc.structures import shapes


@pytest.fixture(scope="module")
def rows():
    return np.array([3, 500, 1100, 1590])


def conditions_of(data, rows):
    return jax.tree.map(lambda column: column[rows], data.conditions)


def test_true_structures_give_their_pdfs_and_perfect_measures(kdd, rows):
    true = evaluation.truth(kdd, rows, atoms=100)
    rebuilt = np.asarray(evaluation.simulate(true, conditions_of(kdd, rows)))
    found = evaluation.measures(kdd.pdf[rows], rebuilt, true, true)
    np.testing.assert_allclose(rebuilt, kdd.pdf[rows], atol=1e-4 * np.abs(kdd.pdf).max())
    assert found["r_p"].max() < 1e-6 and found["rw"].max() < 1e-3 and found["pearson"].min() > 0.9999
    assert found["error"].max() < 1e-4 and found["count_exact"].all() and found["solved"].all()


def test_each_measure_is_what_its_name_says():
    pdf = np.random.default_rng(0).normal(size=(1, 301)).astype(np.float32)
    structures = Structures(jnp.zeros((1, 3, 3)), jnp.ones((1, 3), bool))
    fewer = structures._replace(mask=jnp.array([[True, True, False]]))
    found = evaluation.measures(pdf, 2 * pdf, structures, fewer)
    assert found["r_p"][0] == pytest.approx(np.mean(pdf**2), rel=1e-5)
    assert found["r_l2"][0] == pytest.approx(np.linalg.norm(pdf), rel=1e-5)
    assert found["rw"][0] == pytest.approx(1, rel=1e-5) and found["rw_scaled"][0] < 1e-3
    assert found["pearson"][0] == pytest.approx(1, rel=1e-5) and not found["count_exact"][0]


def test_pearson_is_numpys():
    one, two = np.random.default_rng(0).normal(size=(2, 50))
    assert float(evaluation.pearson(jnp.asarray(one), jnp.asarray(two))) == pytest.approx(
        np.corrcoef(one, two)[0, 1], rel=1e-4
    )
    assert float(evaluation.pearson(jnp.ones(5), jnp.arange(5.0))) == 0


CLUSTERS = {
    "fcc": shapes.fcc((4, 4, 3)).positions * 2.8,
    "octahedron": Octahedron("Au", 7, 2).positions,
    "icosahedron": Icosahedron("Au", 4).positions,
    "decahedron": Decahedron("Au", 3, 3, 0).positions,
}
"""55 to 201 atoms, in Å, 2.8 to 2.9 Å apart; most have principal axes that are not their own."""


def elsewhere(positions, *, seed, mirrored):
    """Return atoms in another order, turned, mirrored or not, and shifted."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn[:, 0] *= np.sign(np.linalg.det(turn)) * (-1 if mirrored else 1)
    return rng.permutation(positions) @ turn + 5 * rng.normal(size=3)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", CLUSTERS)
def test_shuffled_turned_and_mirrored_atoms_have_no_error(name, mirrored):
    positions = CLUSTERS[name]
    moved = elsewhere(positions, seed=1, mirrored=mirrored)
    assert evaluation.coordinate_error(positions, moved) < 1e-6


@pytest.mark.parametrize("name", CLUSTERS)
def test_missing_atoms_cost_the_others_nothing(name):
    positions = CLUSTERS[name]
    for count in (1, 5):
        lacking = np.delete(
            positions, np.random.default_rng(count).choice(len(positions), count, replace=False), axis=0
        )
        lacking = elsewhere(lacking, seed=count, mirrored=True)
        assert evaluation.coordinate_error(positions, lacking) < 1e-6
        assert evaluation.coordinate_error(lacking, positions) < 1e-6


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_error_of_noisy_atoms_is_their_mean_displacement(name):
    positions = CLUSTERS[name]
    noise = 0.1 * np.random.default_rng(0).normal(size=positions.shape)
    error = evaluation.coordinate_error(positions, elsewhere(positions + noise, seed=2, mirrored=False))
    assert error == pytest.approx(np.mean(np.linalg.norm(noise, axis=1)), rel=0.1)
    assert error <= np.mean(np.linalg.norm(noise, axis=1))


def test_one_atom_in_a_wrong_place_costs_its_own_distance_alone():
    positions = CLUSTERS["fcc"]
    out = positions[-1] - positions.mean(axis=0)
    wrong = positions.copy()
    wrong[-1] += 6 * out / np.linalg.norm(out)
    error = evaluation.coordinate_error(positions, elsewhere(wrong, seed=3, mirrored=False))
    assert error == pytest.approx(6 / len(positions), rel=0.02)


def test_unlike_structures_are_far_apart():
    positions = CLUSTERS["fcc"]
    cloud = positions.std() * np.random.default_rng(0).normal(size=positions.shape)
    assert evaluation.coordinate_error(positions, cloud) > 1.0
    assert evaluation.coordinate_error(CLUSTERS["icosahedron"], CLUSTERS["octahedron"]) > 0.5


def test_the_fewest_atoms_have_an_error_and_none_has_none():
    pair = np.array([[0.0, 0.0, 0.0], [2.8, 0.0, 0.0]])
    assert evaluation.coordinate_error(pair[:1], pair) == pytest.approx(0, abs=1e-9)
    assert evaluation.coordinate_error(pair, 1.1 * pair[:, ::-1]) == pytest.approx(0.14)
    assert np.isnan(evaluation.coordinate_error(pair[:0], pair))


def test_solved_asks_for_the_exact_count_and_a_small_error(kdd, rows):
    """The third lacks an atom, the second is a hundredth too large, the fourth a tenth."""
    true = evaluation.truth(kdd, rows, atoms=100)
    found = Structures(
        true.positions * jnp.array([1.0, 1.01, 1.0, 1.1])[:, None, None],
        true.mask & ~((jnp.arange(100) == 7) & (jnp.arange(4) == 2)[:, None]),
    )
    measured = evaluation.measures(kdd.pdf[rows], kdd.pdf[rows], true, found)
    assert measured["error"][2] < 1e-4 and not measured["count_exact"][2]
    assert 0 < measured["error"][1] < 0.1 < measured["error"][3]
    np.testing.assert_array_equal(measured["solved"], [True, True, False, False])


def test_the_nearest_template_of_a_training_pdf_is_its_own_structure(kdd, rows):
    train = np.arange(0, 1600, 10)
    nearest = evaluation.nearest_template(kdd, train, train[:5], atoms=100)
    true = evaluation.truth(kdd, train[:5], atoms=100)
    np.testing.assert_array_equal(nearest.mask, true.mask)
    other = evaluation.nearest_template(kdd, np.arange(800), rows[2:], atoms=100)
    assert set(np.asarray(other.mask).sum(axis=1)) <= {19, 43, 55, 63}


@pytest.mark.slow
def test_a_network_gives_structures_without_labels(kdd, rows, drawn_params):
    network = CVAE(Sizes(atoms=20, satellites=4))
    params, key = drawn_params(network), jax.random.key(0)
    drawn = evaluation.reconstruct(params, kdd.pdf[rows], key, network=network, draw=True)
    mean = evaluation.reconstruct(params, kdd.pdf[rows], key, network=network, draw=False)
    assert drawn.positions.shape == (4, 20, 3) and np.isfinite(drawn.positions).all()
    assert np.abs(drawn.positions - mean.positions).max() > 1e-3


def test_atoms_more_likely_there_than_not_are_shown():
    positions = jnp.arange(9.0).reshape(1, 3, 3)
    found = Proposals(positions, jnp.array([[0.9, 0.5, 0.51]]), jnp.ones(1), jnp.zeros(1), jnp.ones(1, bool))
    seen = evaluation.shown(found)
    np.testing.assert_array_equal(seen.mask, [[True, False, True]])
    np.testing.assert_array_equal(seen.positions, positions)


def test_validity_asks_for_one_piece_and_no_close_atoms():
    positions, mask = shapes.fcc((2, 2, 2)).positions * 2.8, np.ones(19, bool)
    assert evaluation.valid(positions, mask, 2.8)
    close, apart = positions.copy(), positions.copy()
    close[1] = close[0] + 0.5
    apart[18] += 20
    assert not evaluation.valid(close, mask, 2.8) and not evaluation.valid(apart, mask, 2.8)
    assert not evaluation.valid(positions, mask & (np.arange(19) < 1), 2.8)


def test_rw_is_zero_for_a_perfect_fit_and_one_for_none():
    g, w = jnp.array([1.0, -2.0, 3.0]), jnp.ones(3)
    assert float(evaluation.rw(g, g, w)) == 0.0
    assert float(evaluation.rw(g, 0 * g, w)) == pytest.approx(1.0)
    assert float(evaluation.rw(g, 0.5 * g, w)) == pytest.approx(0.5)


def test_points_without_weight_do_not_count():
    observed, calculated = jnp.array([1.0, 2.0, 100.0]), jnp.array([1.0, 1.0, 0.0])
    assert float(evaluation.rw(observed, calculated, jnp.array([1.0, 1.0, 0.0]))) == pytest.approx((1 / 5) ** 0.5)
