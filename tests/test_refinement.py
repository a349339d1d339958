import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxstruc import clusters, refinement, scattering, structure
from jaxstruc.scattering import Instrument

R = np.arange(1.5, 15.001, 0.05)
Q = np.linspace(1.0, 22.0, 600)


def curve(distances, uiso, delta2, stretch):
    """Return G(r) by the exact sum, scale 1, qdamp 0.03."""
    count = distances.shape[0]
    instrument = Instrument(uiso=uiso, delta2=delta2, stretch=stretch, qdamp=0.03)
    q, r = jnp.asarray(Q, distances.dtype), jnp.asarray(R, distances.dtype)
    pairs = scattering.pairs(distances, jnp.ones(count))
    ones, atoms = jnp.ones((1, q.size), q.dtype), jnp.full(1, count, q.dtype)
    f = scattering.reduced_structure_function(pairs, instrument, ones, atoms, q)
    return scattering.envelope(instrument, r) * scattering.sine_transform(f, q, scattering.q_weights(q, 1.0, 22.0), r)


@pytest.fixture(scope="module")
def distances():
    return structure.distances(jnp.asarray(clusters.fcc((2, 3, 2)).positions * 2.78, jnp.float32))


def target(g, weights=None):
    r, g = jnp.asarray(R, jnp.float32), jnp.asarray(g, jnp.float32)
    weights = jnp.ones_like(r) if weights is None else jnp.asarray(weights, jnp.float32)
    return refinement.target(r, g, weights, qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=2.78)


fit = jax.jit(jax.vmap(refinement.refine, (0, 0, None)))


@pytest.mark.parametrize("true", [(0.4, 1.03, 0.012, 3.0), (2.0, 0.95, 0.005, 0.5)])
def test_the_values_behind_a_simulated_curve_are_found(distances, true):
    scale, stretch, uiso, delta2 = true
    g = scale * np.asarray(curve(distances, uiso, delta2, stretch))
    found = jax.tree.map(lambda x: x[0], fit(distances[None], jnp.ones((1, 43)), target(g)))
    assert bool(found.converged) and float(found.rw) < 5e-3
    assert float(found.stretch) == pytest.approx(stretch, abs=2e-4)
    assert float(found.scale) == pytest.approx(scale, rel=0.01)
    assert float(found.uiso) == pytest.approx(uiso, rel=0.03)
    assert float(found.delta2) == pytest.approx(delta2, abs=0.15)


def test_rw_is_not_above_that_of_scipy_on_the_exact_sum(distances):
    """A wrong template and noise, so that the best Rw is not zero."""
    other = structure.distances(jnp.asarray(clusters.fcc((2, 4, 2)).positions * 2.80, jnp.float32))
    g = np.asarray(curve(other, 0.009, 2.0, 1.0)) + 0.05 * np.random.default_rng(0).normal(size=R.size)
    exact = jax.jit(lambda x: x[0] * curve(distances, x[1], x[2], x[3]))
    best = scipy.optimize.least_squares(
        lambda x: np.asarray(exact(x), float) - g,
        [1.0, 0.01, 2.0, 1.0],
        bounds=([0, 5e-4, 0, 0.9], [9, 0.1, 6.9, 1.1]),
        x_scale=[1, 0.01, 2, 0.01],
        diff_step=1e-3,
    )
    theirs = np.sqrt(2 * best.cost / np.sum(g**2))
    found = fit(distances[None], jnp.ones((1, 43)), target(g))
    assert theirs > 0.05
    assert float(found.rw[0]) < theirs + 0.002


def test_padding_and_points_without_weight_change_nothing(distances):
    g = np.asarray(curve(distances, 0.01, 2.0, 1.01)) + 0.1 * np.sin(R)
    alone = fit(distances[None], jnp.ones((1, 43)), target(g))
    padded = jnp.pad(distances, ((0, 5), (0, 5)), constant_values=1.0)
    present = jnp.arange(48) < 43
    other = fit(padded[None], present[None] * 1.0, target(g))
    for one, two in zip(alone, other, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-3, atol=1e-4)
    weights = (R <= 10).astype(float)
    cut = fit(distances[None], jnp.ones((1, 43)), target(np.where(R <= 10, g, 99.0), weights))
    plain = fit(distances[None], jnp.ones((1, 43)), target(np.where(R <= 10, g, 0.0), weights))
    assert float(cut.rw[0]) == pytest.approx(float(plain.rw[0]), rel=1e-3)


def test_a_broken_candidate_is_flagged_and_costs_the_others_nothing(distances):
    g = np.asarray(curve(distances, 0.01, 2.0, 1.0))
    both = fit(jnp.stack([distances, jnp.full_like(distances, jnp.nan)]), jnp.ones((2, 43)), target(g))
    assert both.converged.tolist() == [True, False]
    assert float(both.rw[0]) < 5e-3


def test_the_fit_has_a_finite_curve_where_atoms_coincide(distances):
    g = np.asarray(curve(distances, 0.01, 2.0, 1.0))
    found = fit(jnp.zeros_like(distances)[None], jnp.ones((1, 43)), target(g))
    assert np.isfinite(found.rw).all() and np.isfinite(found.curve).all()
