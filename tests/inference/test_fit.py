import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxstruc.inference import fit as fits
from jaxstruc.inference import target as targets
from jaxstruc.inference import values
from jaxstruc.scattering import curves, debye, templates
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.parameters import USUAL
from jaxstruc.structures import distances as apart
from jaxstruc.structures import shapes

R = np.arange(1.5, 15.001, 0.05)
GRID = Grid(qmin=1.0, qmax=22.0, qstep=0.035, rmin=1.5, rmax=15.0, rstep=0.05)
Q = GRID.q
BOND = 2.78
SPAN = targets.span(rmax=15.0, qmax=22.0, diameter=16.0)
ALL = (*USUAL, "qdamp")


def f_of(distances, **instrument):
    """Return F(Q) by the exact sum."""
    count = distances.shape[0]
    q = jnp.asarray(Q, distances.dtype)
    pairs = debye.pairs(distances, jnp.ones(count))
    ones, atoms = jnp.ones((1, q.size), q.dtype), jnp.full(1, count, q.dtype)
    return debye.reduced_structure_function(pairs, Instrument(**instrument), ones, atoms, q)


def curve(distances, *, qdamp=0.03, noise=None, **instrument):
    """Return G(r) by the exact sum, scale 1; `noise` is added to F(Q)."""
    f = f_of(distances, **instrument)
    f = f if noise is None else f + noise
    return curves.transformed(f, Instrument(qdamp=qdamp), GRID)


def distances_of(layers, bond=BOND):
    return apart.distances(jnp.asarray(shapes.fcc(layers).positions * bond, jnp.float32))


@pytest.fixture(scope="module")
def distances():
    return distances_of((2, 3, 2))


def target(g, *, r=R, qdamp=0.03, **more):
    return targets.target(
        r, np.asarray(g, float), qmin=1.0, qmax=22.0, qdamp=qdamp, qbroad=0.0, bond=BOND, span=SPAN, **more
    )


def padded(distances):
    """Return distances of 48 atoms, those further no atoms, twice, and the presence: one compilation for two tests."""
    wide = jnp.pad(distances, ((0, 5), (0, 5)), constant_values=1.0)
    return jnp.stack([wide, wide]), jnp.tile(jnp.arange(48) < 43, (2, 1)) * 1.0


def fitter(free):
    def one(distances, presence, basis):
        return fits.refine(templates.of_distances(distances, presence, BOND, span=SPAN), basis, free=free)

    each = jax.jit(jax.vmap(one, (0, 0, None)))
    return lambda distances, presence, goal: each(distances, presence, goal.basis)


fit, fit_all = fitter(USUAL), fitter(ALL)


def first(found):
    return jax.tree.map(lambda x: x[0], found)


@pytest.mark.parametrize("true", [(0.4, 1.03, 0.012, 3.0), (2.0, 0.95, 0.005, 0.5)])
def test_the_values_behind_a_simulated_curve_are_found(distances, true):
    scale, stretch, uiso, delta2 = true
    g = scale * np.asarray(curve(distances, uiso=uiso, delta2=delta2, stretch=stretch))
    found = first(fit(distances[None], jnp.ones((1, 43)), target(g)))
    assert bool(found.converged) and float(found.rw) < 2e-3
    assert float(found.values.stretch) == pytest.approx(stretch, abs=1e-4)
    assert float(found.values.scale) == pytest.approx(scale, rel=3e-3)
    assert float(found.values.uiso) == pytest.approx(uiso, rel=5e-3)
    assert float(found.values.delta2) == pytest.approx(delta2, abs=0.03)


def test_resolution_and_background_are_fitted_too(distances):
    under = 0.3 + 0.2 * np.cos(np.pi * (R - R[0]) / (R[-1] - R[0]))
    g = np.asarray(curve(distances, uiso=0.01, delta2=2.0, stretch=1.01, qdamp=0.06)) + under
    goal = target(g, background=2, qdamp=0.02)
    found = fit_all(distances[None], jnp.ones((1, 43)), goal)
    assert float(found.values.qdamp[0]) == pytest.approx(0.06, rel=0.01) and float(found.rw[0]) < 2e-3
    tables = templates.of_distances(distances, jnp.ones(43), BOND, span=SPAN)
    whole, smooth = fits.curves(found, jax.tree.map(lambda x: x[None], tables), goal)
    np.testing.assert_allclose(whole[0], g, atol=3e-3 * np.abs(g).max())
    np.testing.assert_allclose(smooth[0], under, atol=0.02)


def test_values_that_want_beyond_a_bound_end_there_and_the_rest_is_fitted(distances):
    """No resolution in the data, and distances that a wrong bracket made wider: qdamp and delta2 end at 0."""
    g = np.asarray(curve(distances, uiso=0.012, delta2=-1.0, stretch=1.02))
    found = first(fit_all(distances[None], jnp.ones((1, 43)), target(g)))
    names = [name for name, at in zip(ALL, found.bounded, strict=True) if at]
    assert names == ["delta2", "qdamp"] and bool(found.converged)
    assert float(found.values.delta2) == 0 and float(found.values.qdamp) <= 1e-4
    assert float(found.values.stretch) == pytest.approx(1.02, abs=1e-3) and float(found.rw) < 0.1
    assert np.isnan(found.errors[jnp.asarray(found.bounded)]).all()
    assert np.isfinite(found.errors[~jnp.asarray(found.bounded)]).all()


def test_a_batch_that_goes_on_in_parts_gives_each_fit_as_alone(distances, monkeypatch):
    """After one step, a third at a time: more rounds than one."""
    monkeypatch.setattr(fits, "EARLY", 1)
    monkeypatch.setattr(fits, "REST", 3)
    g = np.asarray(curve(distances, uiso=0.012, delta2=2.0, stretch=1.02)) + 0.05 * np.cos(3 * R)
    several = distances * jnp.linspace(0.96, 1.05, 7)[:, None, None]
    tables = jax.vmap(lambda one: templates.of_distances(one, jnp.ones(43), BOND, span=SPAN))(several)
    together = jax.jit(lambda tables, goal: fits.refine_all(tables, goal, free=ALL))(tables, target(g).basis)
    each = [fit_all(one[None], jnp.ones((1, 43)), target(g)) for one in several]
    alone = jax.tree.map(lambda *rows: jnp.concatenate(rows), *each)
    np.testing.assert_allclose(together.rw, alone.rw, rtol=1e-5)
    np.testing.assert_allclose(together.values.stretch, alone.values.stretch, rtol=1e-5)
    np.testing.assert_allclose(together.errors, alone.errors, rtol=1e-2)
    assert bool(together.converged.all())


def test_rw_is_not_above_that_of_scipy_on_the_exact_sum(distances):
    """A wrong template and noise, so that the best Rw is not zero."""
    g = np.asarray(curve(distances_of((2, 4, 2), 2.80), uiso=0.009, delta2=2.0, stretch=1.0))
    g = g + 0.05 * np.random.default_rng(0).normal(size=R.size)
    exact = jax.jit(lambda x: x[0] * curve(distances, uiso=x[1], delta2=x[2], stretch=x[3]))
    best = scipy.optimize.least_squares(
        lambda x: np.asarray(exact(x), float) - g,
        [1.0, 0.01, 2.0, 1.0],
        bounds=([0, 5e-4, 0, 0.9], [9, 0.1, 6.5, 1.1]),
        x_scale=[1, 0.01, 2, 0.01],
        diff_step=1e-3,
    )
    theirs = np.sqrt(2 * best.cost / np.sum(g**2))
    found = fit(distances[None], jnp.ones((1, 43)), target(g))
    assert theirs > 0.05
    assert float(found.rw[0]) < theirs + 0.002


def test_true_values_lie_within_two_errors_as_often_as_they_should(distances):
    """White noise on F(Q), 200 draws; of a normal error 95 % lie within two standard errors."""
    true = {"scale": 1.0, "stretch": 1.0, "uiso": 0.01, "delta2": 2.0}
    f = np.asarray(f_of(distances, uiso=0.01, delta2=2.0, stretch=1.0))
    size = 0.1 * np.sqrt(np.mean(f**2))
    draws = np.random.default_rng(1).normal(size=(200, Q.size)) * size
    simulated = jax.vmap(lambda noise: curve(distances, uiso=0.01, delta2=2.0, stretch=1.0, noise=noise))(draws)
    bases = [target(g).basis for g in simulated]
    goals = jax.tree.map(lambda *leaves: np.stack(leaves), *bases)
    tables = templates.of_distances(distances, jnp.ones(43), BOND, span=SPAN)
    found = jax.jit(jax.vmap(lambda goal: fits.refine(tables, goal)))(goals)
    assert bool(found.converged.all())
    for column, name in enumerate(USUAL):
        off = np.abs(np.asarray(getattr(found.values, name)) - true[name])
        assert 0.90 <= np.mean(off < 2 * np.asarray(found.errors[:, column])) <= 0.98, name
    assert np.allclose(np.diagonal(found.correlation, axis1=1, axis2=2), 1.0, atol=1e-3)
    assert np.abs(found.correlation[:, 0, 2]).min() > 0.2


def test_a_finer_grid_tells_nothing_more(distances):
    noise = 0.1 * np.random.default_rng(0).normal(size=Q.size)
    g = np.asarray(curve(distances, uiso=0.01, delta2=2.0, stretch=1.0, noise=noise))
    fine, coarse = (fit(distances[None], jnp.ones((1, 43)), target(g[::k], r=R[::k])) for k in (1, 2))
    np.testing.assert_allclose(fine.errors, coarse.errors, rtol=0.1)


def test_padding_changes_nothing(distances):
    g = np.asarray(curve(distances, uiso=0.01, delta2=2.0, stretch=1.01)) + 0.1 * np.sin(R)
    alone = fit(distances[None], jnp.ones((1, 43)), target(g))
    other = fit(*padded(distances), target(g))
    for one, two in zip(jax.tree.leaves(alone), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one[0], two[0], rtol=2e-3, atol=1e-4)
    basis, short = target(g).basis, target(g[:160], r=R[:160])
    wide = target(g[:160], r=R[:160], size=basis.q.size, least=basis.data.size)
    assert wide.basis.q.size > short.basis.q.size and wide.basis.data.size > short.basis.data.size
    plain = fit(distances[None], jnp.ones((1, 43)), short)
    among_others = fit(distances[None], jnp.ones((1, 43)), wide)
    np.testing.assert_allclose(plain.rw, among_others.rw, rtol=1e-4)


def test_a_broken_candidate_is_flagged_and_costs_the_others_nothing(distances):
    g = np.asarray(curve(distances, uiso=0.01, delta2=2.0, stretch=1.0))
    several, presence = padded(distances)
    both = fit(several.at[1].set(jnp.nan), presence, target(g))
    assert both.converged.tolist() == [True, False]
    assert float(both.rw[0]) < 5e-3 and not np.isfinite(both.rw[1])


def test_a_value_at_its_bound_is_said_to_be_and_has_no_error(distances):
    g = np.asarray(curve(distances, uiso=0.01, delta2=0.0, stretch=1.0))
    g = g + 0.02 * np.random.default_rng(0).normal(size=R.size)
    wide = np.asarray(curve(distances, uiso=0.2, delta2=0.0, stretch=1.0))
    found = fit(distances[None], jnp.ones((1, 43)), target(wide))
    assert found.bounded[0].tolist()[2] and np.isnan(found.errors[0, 2]) and np.isfinite(found.errors[0, 1])
    free = fit(distances[None], jnp.ones((1, 43)), target(g))
    assert not free.bounded[0].tolist()[2]


def test_the_fit_is_finite_where_atoms_coincide(distances):
    g = np.asarray(curve(distances, uiso=0.01, delta2=2.0, stretch=1.0))
    assert np.isfinite(fit(jnp.zeros_like(distances)[None], jnp.ones((1, 43)), target(g)).rw).all()


@pytest.mark.parametrize("seed", range(4))
def test_exact_data_and_distances_give_the_truth_if_their_last_bits_change(distances, seed):
    """What is left is the accuracy of the span; no fit is worse than where it starts."""
    rng = np.random.default_rng(seed)
    few = lambda x: x * (1 + np.finfo(np.float32).eps * rng.integers(-4, 5, np.shape(x))).astype(np.float32)  # noqa: E731
    g = np.asarray(curve(distances, uiso=0.01, delta2=2.0, stretch=1.01))
    goal = target(few(g))
    near = jnp.asarray(few(np.asarray(distances)))
    near = 0.5 * (near + near.T)
    found = first(fit(near[None], jnp.ones((1, 43)), goal))
    assert all(np.isfinite(value).all() for value in found.values) and bool(found.converged)
    assert float(found.rw) < 5e-3
    assert float(found.values.stretch) == pytest.approx(1.01, abs=2e-4)
    assert float(found.values.uiso) == pytest.approx(0.01, rel=0.02)
    assert float(found.rw) <= rw_of_start(near, goal)


def rw_of_start(distances, goal):
    """Return Rw of where a fit starts, with the rounding of the sum over Q of which the model is made."""
    table = templates.of_distances(distances, jnp.ones(len(distances)), BOND, span=SPAN)
    names = values.inner(USUAL)
    now = values.values_at(values.start(table, names, goal.basis), names, goal.basis)
    rounding = goal.basis.q.size * np.finfo(np.float32).eps
    return float(jnp.sqrt(values.misfit(table, now, goal.basis) / goal.basis.norm)) + rounding


@pytest.mark.parametrize("seed", range(3))
def test_a_fit_of_the_wrong_cluster_is_not_worse_than_its_start(distances, seed):
    rng = np.random.default_rng(seed)
    wrong = jnp.asarray(apart.distances(jnp.asarray(8 * rng.uniform(size=(43, 3)), jnp.float32)))
    goal = target(np.asarray(curve(distances, uiso=0.01)))
    found = first(fit(wrong[None], jnp.ones((1, 43)), goal))
    assert float(found.rw) <= rw_of_start(wrong, goal)


def test_a_fit_that_starts_at_the_minimum_takes_few_steps_and_stays(distances):
    """The data are the model itself: the sum of squares is rounding alone, where no step counts."""
    table = templates.of_distances(distances, jnp.ones(43), BOND, span=SPAN)
    names = values.inner(USUAL)
    goal = target(np.asarray(curve(distances, uiso=0.01))).basis
    x = values.start(table, names, goal)
    model = values.curve(table, values.values_at(x, names, goal), goal)
    goal = dataclasses.replace(goal, data=model, norm=jnp.sum(model**2), rest=jnp.zeros(()))
    begin = fits._begun(table, goal, USUAL)
    end = fits._descended(table, goal, USUAL, begin, fits.STEPS)
    assert bool(end.done) and int(end.steps) <= 3
    assert float(end.here.squares) <= float(begin.here.squares)
    assert np.isfinite(end.here.x).all() and np.abs(end.here.x - x).max() < 1e-3
