from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc import clusters, dataset, measured, settings, solve, trained
from jaxstruc.measured import Measurement
from jaxstruc.model import CVAE
from jaxstruc.refinement import Fit, Values
from jaxstruc.solve import Candidates

EXAMPLE = Path(__file__).parents[1] / "examples" / "Ag68_simulated.gr"


@pytest.fixture(scope="module")
def shipped():
    params, card = trained.load(settings.SHIPPED)
    return params, CVAE(settings.Model(**card["sizes"])), card


@pytest.fixture(scope="module")
def pdfs():
    """Two simulated PDFs of the family, gold."""
    data = dataset.generate("real", seed=11, draws=1)
    rows = [int(np.flatnonzero((data.shape == shape) & (data.bond > 2.85))[0]) for shape in (0, 7)]
    return jnp.asarray(data.pdf[rows]), jnp.asarray(data.bond[rows], jnp.float32)


def test_pdfs_to_coordinates_and_weights_is_one_pure_function(shipped, pdfs):
    """Jitted, compiled once, single precision, and right for shapes of the training set."""
    params, network, _ = shipped
    traced = []

    @jax.jit
    def run(params, pdf, bond, key):
        traced.append(1)
        return solve.candidates(params, pdf, bond, key, network=network, samples=4)

    first = run(params, *pdfs, jax.random.key(0))
    again = run(params, *pdfs, jax.random.key(0))
    run(params, 3 * pdfs[0], pdfs[1], jax.random.key(1))
    assert len(traced) == 1
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert first.positions.shape == (2, 4, 100, 3) and first.positions.dtype == jnp.float32
    assert first.weights.shape == (2, 4, 100) and bool(first.converged.all())
    counts = (first.weights > solve.PRESENT).sum(axis=-1)
    assert np.median(counts[0]) == 19 and np.median(counts[1]) >= 79
    for positions, weights, bond in zip(first.positions[:, 0], first.weights[:, 0], pdfs[1], strict=True):
        nearest = clusters.pair_distances(np.asarray(positions)[np.asarray(weights) > 0.5]).min()
        assert 0.75 * float(bond) < nearest < 1.05 * float(bond)


def test_gradients_in_the_pdf_and_in_the_parameters_are_finite_and_not_zero(shipped, pdfs):
    params, network, _ = shipped

    def size(params, pdf):
        found = solve.candidates(params, pdf, pdfs[1], jax.random.key(0), network=network, samples=2)
        return jnp.sum(found.weights[..., None] * found.positions**2)

    of_params, of_pdf = jax.jit(jax.grad(size, argnums=(0, 1)))(params, pdfs[0])
    assert np.isfinite(of_pdf).all() and np.abs(of_pdf).max() > 1e-3
    for name in ("prior_network", "decoder"):
        leaves = jax.tree.leaves(of_params["params"][name])
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert all(np.abs(leaf).max() > 1e-6 for leaf in leaves)


def test_a_pdf_is_solved_alike_alone_and_in_a_batch(shipped, pdfs):
    params, network, _ = shipped
    run = jax.jit(lambda p, b: solve.candidates(params, p, b, jax.random.key(0), network=network, samples=4))
    both, alone = run(*pdfs), run(pdfs[0][1:], pdfs[1][1:])
    np.testing.assert_allclose(both.positions[1], alone.positions[0], atol=0.02)


def test_neighbours_give_the_scale_in_spite_of_errors():
    positions = clusters.fcc((3, 4, 2)).positions + 0.03 * np.random.default_rng(0).normal(size=(79, 3))
    padded = jnp.pad(jnp.asarray(positions, jnp.float32), ((0, 21), (0, 0)))
    present = (jnp.arange(100) < 79) * 1.0
    assert float(solve.neighbour_distance(padded, present)) == pytest.approx(1.0, abs=0.005)
    assert float(solve.neighbour_distance(padded, 0 * present)) == 1.0


def measurement(r, g):
    return Measurement(np.asarray(r, float), np.asarray(g, float), {}, "bare", (), "")


def test_the_model_sees_the_curve_on_its_own_grid():
    """A band-limited curve on an odd grid comes back exact away from its ends, and zero where there are no data."""
    r = 0.013 + 0.0937 * np.arange(214)
    curve = lambda x: np.exp(-((x - 8) ** 2) / 4) * np.sin(9 * x)  # noqa: E731
    seen = solve.model_input(measurement(r, curve(r)), rmin=1.5)
    grid = dataset.GRID.r
    inside = (grid > 1.5) & (grid < 19.9)
    np.testing.assert_allclose(seen[inside], curve(grid[inside]), atol=1e-4)
    assert not seen[grid > 20.1].any() and not seen[grid < 1.4].any()


def results(positions, weights, rw, converged=None):
    count = len(rw)
    found = Candidates(
        np.asarray(positions),
        np.asarray(weights),
        np.ones(count),
        np.zeros(count),
        np.ones(count, bool) if converged is None else np.asarray(converged),
    )
    values = Values(*np.ones((7, count)))
    flags = np.ones(count, bool)
    return found, Fit(values, np.ones((count, 4)), np.ones((count, 4, 4)), np.asarray(rw), flags, ~flags[:, None])


def test_candidates_are_ranked_merged_and_remarked():
    good = clusters.fcc((2, 2, 2)).positions * 2.78
    turned = good[::-1] @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    close = good.copy()
    close[3] = close[4] + 0.2
    other = good * 1.1
    ones, none = np.ones(19), np.zeros(19)
    found, fit = results(
        [good, close, other, turned, good, good],
        [ones, ones, ones, ones, none, ones],
        [0.3, 0.1, 0.4, 0.2, 0.0, np.nan],
    )
    ranked = solve.rank(found, fit, bond=2.78)
    assert [(item.sample, item.draws) for item in ranked] == [(3, 2), (2, 1), (1, 1)]
    assert ranked[0].remark == "" and "apart" in ranked[2].remark
    found, fit = results([good], [ones], [0.3], converged=[False])
    assert solve.rank(found, fit, bond=2.78)[0].remark == "trilateration not converged"
    found, fit = results([good], [none], [0.3])
    assert solve.rank(found, fit, bond=2.78) == []


def test_data_like_those_of_the_training_are_inside(shipped):
    limits = shipped[2]["limits"]
    example = measured.read(EXAMPLE)
    given = {"qmin": 1.0, "qmax": 22.0, "qdamp": 0.03}
    assert solve.outside(limits, example, given, 2.88) == []


def test_data_outside_the_training_are_said(shipped):
    limits = shipped[2]["limits"]
    example = measured.read(EXAMPLE)
    short = example._replace(r=example.r[:1200], g=example.g[:1200])
    large = example._replace(g=np.sin(2.3 * example.r))
    given = {"qmin": 1.0, "qmax": 22.0, "qdamp": 0.03}
    assert "data only to r = 11.99" in solve.outside(limits, short, given, 2.88)[0]
    assert "a particle larger than" in solve.outside(limits, large, given, 2.88)[0]
    said = solve.outside(limits, example, {**given, "qmax": 40.0, "qmin": 4.0}, 9.0)
    assert len(said) == 3 and any("qmax 40 (trained on 10 to 30)" in text for text in said)
