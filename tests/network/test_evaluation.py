import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    assert found["mae"].max() < 1e-4 and found["count_exact"].all()


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


def test_turned_and_mirrored_coordinates_have_no_error():
    positions = shapes.fcc((2, 2, 2)).positions
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    mask = np.ones(19, bool)
    for sign in (1, -1):
        assert evaluation.coordinate_error(positions, mask, sign * positions @ turn + 3, mask) < 1e-9
    moved = positions.copy()
    moved[0] += [0.19, 0, 0]
    assert evaluation.coordinate_error(positions, mask, moved, mask) == pytest.approx(0.019, rel=0.2)


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
