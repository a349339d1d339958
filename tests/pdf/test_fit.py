import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxstruc.clusters import distances as cluster_distances
from jaxstruc.clusters import fcc_shapes
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import fit, target
from jaxstruc.scattering import cluster_tables, debye, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid

R = np.arange(1.5, 15.001, 0.05)
GRID = Grid(qmin=1.0, qmax=22.0, qstep=0.035, rmin=1.5, rmax=15.0, rstep=0.05)
Q = GRID.q
BOND = 2.78
SPAN = target.table_range(rmax=15.0, qmax=22.0, diameter=16.0)
RIGID_PARAMETERS = tuple(name for name in DEFAULT_FREE_PARAMETERS if name != "relaxation")
ALL_PARAMETERS = (*RIGID_PARAMETERS, "qdamp")


def exact_f(distances, **instrument):
    """Return F(Q) from the Debye equation."""
    n_atoms = distances.shape[0]
    q = jnp.asarray(Q, distances.dtype)
    pairs = debye.pairs_from_distances(distances, jnp.ones(n_atoms))
    unit_factors, composition = jnp.ones((1, q.size), q.dtype), jnp.full(1, n_atoms, q.dtype)
    return debye.reduced_structure_function(pairs, Instrument(**instrument), unit_factors, composition, q)


def exact_pdf(distances, *, qdamp=0.03, noise=None, **instrument):
    """Return G(r) from the Debye equation with scale 1. `noise` is added to F(Q)."""
    f = exact_f(distances, **instrument)
    f = f if noise is None else f + noise
    return pair_distribution.pdf_from_f(f, Instrument(qdamp=qdamp), GRID)


def fcc_distances(layers, bond=BOND):
    return cluster_distances.distances(jnp.asarray(fcc_shapes.fcc_cluster(layers).positions * bond, jnp.float32))


@pytest.fixture(scope="module")
def distances():
    return fcc_distances((2, 3, 2))


def make_target(g, *, r=R, qdamp=0.03, **options):
    return target.make_target(
        r,
        np.asarray(g, float),
        target.TargetSettings(qmin=1.0, qmax=22.0, qdamp=qdamp, qbroad=0.0, bond=BOND, span=SPAN, **options),
    )


def pad_to_48_atoms(distances):
    """Return two copies of distances padded to 48 atoms, and the presence of the atoms. Two tests share this shape."""
    padded_matrix = jnp.pad(distances, ((0, 5), (0, 5)), constant_values=1.0)
    return jnp.stack([padded_matrix, padded_matrix]), jnp.tile(jnp.arange(48) < 43, (2, 1)) * 1.0


def make_fitter(free_parameters):
    def refine_cluster(distances, presence, basis):
        return fit.refine(
            cluster_tables.tabulate_distances(distances, presence, BOND, span=SPAN), basis, free=free_parameters
        )

    refine_batch = jax.jit(jax.vmap(refine_cluster, (0, 0, None)))
    return lambda distances, presence, target: refine_batch(distances, presence, target.basis)


fit_usual, fit_all_parameters = make_fitter(RIGID_PARAMETERS), make_fitter(ALL_PARAMETERS)


def first_fit(batch_fit):
    return jax.tree.map(lambda column: column[0], batch_fit)


@pytest.mark.parametrize("true_values", [(0.4, 1.03, 0.012, 3.0), (2.0, 0.95, 0.005, 0.5)])
def test_the_values_behind_a_simulated_curve_are_found(distances, true_values):
    scale, stretch, uiso, delta2 = true_values
    g = scale * np.asarray(exact_pdf(distances, uiso=uiso, delta2=delta2, stretch=stretch))
    fit_result = first_fit(fit_usual(distances[None], jnp.ones((1, 43)), make_target(g)))
    assert bool(fit_result.converged) and float(fit_result.rw) < 2e-3
    assert float(fit_result.values.stretch) == pytest.approx(stretch, abs=1e-4)
    assert float(fit_result.values.scale) == pytest.approx(scale, rel=3e-3)
    assert float(fit_result.values.uiso) == pytest.approx(uiso, rel=5e-3)
    assert float(fit_result.values.delta2) == pytest.approx(delta2, abs=0.03)


def test_resolution_and_background_are_fitted_too(distances):
    background = 0.3 + 0.2 * np.cos(np.pi * (R - R[0]) / (R[-1] - R[0]))
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0, stretch=1.01, qdamp=0.06)) + background
    target = make_target(g, n_background_terms=2, qdamp=0.02)
    fit_result = fit_all_parameters(distances[None], jnp.ones((1, 43)), target)
    assert float(fit_result.values.qdamp[0]) == pytest.approx(0.06, rel=0.01) and float(fit_result.rw[0]) < 2e-3
    cluster_table = cluster_tables.tabulate_distances(distances, jnp.ones(43), BOND, span=SPAN)
    fitted_pdf, fitted_background = fit.fitted_curves(
        fit_result, jax.tree.map(lambda column: column[None], cluster_table), target
    )
    np.testing.assert_allclose(fitted_pdf[0], g, atol=3e-3 * np.abs(g).max())
    np.testing.assert_allclose(fitted_background[0], background, atol=0.02)


def test_values_beyond_a_bound_stop_there_and_the_others_are_fitted(distances):
    """The data have no resolution and wider peaks than correlated motion allows, so qdamp and delta2 end at 0."""
    g = np.asarray(exact_pdf(distances, uiso=0.012, delta2=-1.0, stretch=1.02))
    fit_result = first_fit(fit_all_parameters(distances[None], jnp.ones((1, 43)), make_target(g)))
    names = [name for name, is_bounded in zip(ALL_PARAMETERS, fit_result.at_bound, strict=True) if is_bounded]
    assert names == ["delta2", "qdamp"] and bool(fit_result.converged)
    assert float(fit_result.values.delta2) == 0 and float(fit_result.values.qdamp) <= 1e-4
    assert float(fit_result.values.stretch) == pytest.approx(1.02, abs=1e-3) and float(fit_result.rw) < 0.1
    assert np.isnan(fit_result.errors[jnp.asarray(fit_result.at_bound)]).all()
    assert np.isfinite(fit_result.errors[~jnp.asarray(fit_result.at_bound)]).all()


def test_a_batch_that_goes_on_in_parts_gives_each_fit_as_alone(distances):
    """The batch is split after one step, and a third of the fits continue at a time, so there are several rounds."""
    g = np.asarray(exact_pdf(distances, uiso=0.012, delta2=2.0, stretch=1.02)) + 0.05 * np.cos(3 * R)
    distance_batch = distances * jnp.linspace(0.96, 1.05, 7)[:, None, None]
    distance_tables = jax.vmap(lambda matrix: cluster_tables.tabulate_distances(matrix, jnp.ones(43), BOND, span=SPAN))(
        distance_batch
    )
    refine_in_parts = partial(fit.refine_all, free=ALL_PARAMETERS, turn_size=3)
    batch_fit = jax.jit(refine_in_parts)(distance_tables, make_target(g).basis)
    single_fits = [fit_all_parameters(matrix[None], jnp.ones((1, 43)), make_target(g)) for matrix in distance_batch]
    joined_fits = jax.tree.map(lambda *rows: jnp.concatenate(rows), *single_fits)
    np.testing.assert_allclose(batch_fit.rw, joined_fits.rw, rtol=1e-5)
    np.testing.assert_allclose(batch_fit.values.stretch, joined_fits.values.stretch, rtol=1e-5)
    np.testing.assert_allclose(batch_fit.errors, joined_fits.errors, rtol=1e-2)
    assert bool(batch_fit.converged.all())


def test_rw_is_not_above_that_of_scipy_on_the_exact_sum(distances):
    """The cluster is wrong and the data have noise, so that the best Rw is not zero."""
    g = np.asarray(exact_pdf(fcc_distances((2, 4, 2), 2.80), uiso=0.009, delta2=2.0, stretch=1.0))
    g = g + 0.05 * np.random.default_rng(0).normal(size=R.size)
    scaled_pdf = jax.jit(lambda x: x[0] * exact_pdf(distances, uiso=x[1], delta2=x[2], stretch=x[3]))
    solution = scipy.optimize.least_squares(
        lambda x: np.asarray(scaled_pdf(x), float) - g,
        [1.0, 0.01, 2.0, 1.0],
        bounds=([0, 5e-4, 0, 0.9], [9, 0.1, 6.5, 1.1]),
        x_scale=[1, 0.01, 2, 0.01],
        diff_step=1e-3,
    )
    scipy_rw = np.sqrt(2 * solution.cost / np.sum(g**2))
    fit_result = fit_usual(distances[None], jnp.ones((1, 43)), make_target(g))
    assert scipy_rw > 0.05
    assert float(fit_result.rw[0]) < scipy_rw + 0.002


def test_true_values_lie_within_two_errors_as_often_as_they_should(distances):
    """F(Q) has white noise in 200 draws. For a normal distribution, 95 % of errors are within two standard errors."""
    true_values = {"scale": 1.0, "stretch": 1.0, "uiso": 0.01, "delta2": 2.0}
    f = np.asarray(exact_f(distances, uiso=0.01, delta2=2.0, stretch=1.0))
    noise_scale = 0.1 * np.sqrt(np.mean(f**2))
    draws = np.random.default_rng(1).normal(size=(200, Q.size)) * noise_scale
    simulated_pdfs = jax.vmap(lambda noise: exact_pdf(distances, uiso=0.01, delta2=2.0, stretch=1.0, noise=noise))(
        draws
    )
    bases = [make_target(g).basis for g in simulated_pdfs]
    stacked_basis = jax.tree.map(lambda *leaves: jnp.stack(leaves), *bases)
    cluster_table = cluster_tables.tabulate_distances(distances, jnp.ones(43), BOND, span=SPAN)
    batch_fit = jax.jit(jax.vmap(lambda basis: fit.refine(cluster_table, basis, free=RIGID_PARAMETERS)))(stacked_basis)
    assert bool(batch_fit.converged.all())
    for column, name in enumerate(RIGID_PARAMETERS):
        deviation = np.abs(np.asarray(getattr(batch_fit.values, name)) - true_values[name])
        assert 0.90 <= np.mean(deviation < 2 * np.asarray(batch_fit.errors[:, column])) <= 0.98, name
    assert np.allclose(np.diagonal(batch_fit.correlation, axis1=1, axis2=2), 1.0, atol=1e-3)
    assert np.abs(batch_fit.correlation[:, 0, 2]).min() > 0.2


def test_a_finer_grid_adds_no_information(distances):
    noise = 0.1 * np.random.default_rng(0).normal(size=Q.size)
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0, stretch=1.0, noise=noise))
    fine_fit, coarse_fit = (
        fit_usual(distances[None], jnp.ones((1, 43)), make_target(g[::stride], r=R[::stride])) for stride in (1, 2)
    )
    np.testing.assert_allclose(fine_fit.errors, coarse_fit.errors, rtol=0.1)


def test_padding_changes_nothing(distances):
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0, stretch=1.01)) + 0.1 * np.sin(R)
    plain_fit = fit_usual(distances[None], jnp.ones((1, 43)), make_target(g))
    padded_fit = fit_usual(*pad_to_48_atoms(distances), make_target(g))
    for plain_leaf, padded_leaf in zip(jax.tree.leaves(plain_fit), jax.tree.leaves(padded_fit), strict=True):
        np.testing.assert_allclose(plain_leaf[0], padded_leaf[0], rtol=2e-3, atol=1e-4)
    basis, short_target = make_target(g).basis, make_target(g[:160], r=R[:160])
    padded_target = make_target(g[:160], r=R[:160], min_q_nodes=basis.q.size, min_basis_size=basis.data.size)
    assert (
        padded_target.basis.q.size > short_target.basis.q.size
        and padded_target.basis.data.size > short_target.basis.data.size
    )
    short_fit = fit_usual(distances[None], jnp.ones((1, 43)), short_target)
    padded_short_fit = fit_usual(distances[None], jnp.ones((1, 43)), padded_target)
    np.testing.assert_allclose(short_fit.rw, padded_short_fit.rw, rtol=1e-4)


def test_a_broken_candidate_is_flagged_and_costs_the_others_nothing(distances):
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0, stretch=1.0))
    distance_batch, presence = pad_to_48_atoms(distances)
    batch_fit = fit_usual(distance_batch.at[1].set(jnp.nan), presence, make_target(g))
    assert batch_fit.converged.tolist() == [True, False]
    assert float(batch_fit.rw[0]) < 5e-3 and not np.isfinite(batch_fit.rw[1])


def test_a_value_at_its_bound_is_flagged_and_has_no_error(distances):
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=0.0, stretch=1.0))
    g = g + 0.02 * np.random.default_rng(0).normal(size=R.size)
    broad_pdf = np.asarray(exact_pdf(distances, uiso=0.2, delta2=0.0, stretch=1.0))
    bounded_fit = fit_usual(distances[None], jnp.ones((1, 43)), make_target(broad_pdf))
    assert (
        bounded_fit.at_bound[0].tolist()[2]
        and np.isnan(bounded_fit.errors[0, 2])
        and np.isfinite(bounded_fit.errors[0, 1])
    )
    inner_fit = fit_usual(distances[None], jnp.ones((1, 43)), make_target(g))
    assert not inner_fit.at_bound[0].tolist()[2]


def test_the_fit_is_finite_if_atoms_coincide(distances):
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0, stretch=1.0))
    assert np.isfinite(fit_usual(jnp.zeros_like(distances)[None], jnp.ones((1, 43)), make_target(g)).rw).all()


@pytest.mark.parametrize("seed", range(4))
def test_exact_data_and_distances_give_the_truth_if_their_last_bits_change(distances, seed):
    """The remaining Rw is the accuracy of the tables, and no fit is worse than its start."""
    rng = np.random.default_rng(seed)

    def change_last_bits(values):
        return values * (1 + np.finfo(np.float32).eps * rng.integers(-4, 5, np.shape(values))).astype(np.float32)

    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0, stretch=1.01))
    target = make_target(change_last_bits(g))
    changed_distances = jnp.asarray(change_last_bits(np.asarray(distances)))
    changed_distances = 0.5 * (changed_distances + changed_distances.T)
    fit_result = first_fit(fit_usual(changed_distances[None], jnp.ones((1, 43)), target))
    assert all(np.isfinite(value).all() for value in fit_result.values) and bool(fit_result.converged)
    assert float(fit_result.rw) < 5e-3
    assert float(fit_result.values.stretch) == pytest.approx(1.01, abs=2e-4)
    assert float(fit_result.values.uiso) == pytest.approx(0.01, rel=0.02)
    assert float(fit_result.rw) <= start_rw(changed_distances, target)


def start_rw(distances, target):
    """Return the Rw at the start of a fit, including the rounding error of the model's sum over Q."""
    cluster_table = cluster_tables.tabulate_distances(distances, jnp.ones(len(distances)), BOND, span=SPAN)
    names = fit.nonlinear_parameters(RIGID_PARAMETERS)
    start_values = fit.fractions_to_values(
        fit.starting_fractions(cluster_table, names, target.basis), names, target.basis
    )
    rounding = target.basis.q.size * np.finfo(np.float32).eps
    return float(jnp.sqrt(fit.misfit(cluster_table, start_values, target.basis) / target.basis.norm)) + rounding


@pytest.mark.parametrize("seed", range(3))
def test_a_fit_of_the_wrong_cluster_is_not_worse_than_its_start(distances, seed):
    rng = np.random.default_rng(seed)
    wrong_distances = jnp.asarray(cluster_distances.distances(jnp.asarray(8 * rng.uniform(size=(43, 3)), jnp.float32)))
    target = make_target(np.asarray(exact_pdf(distances, uiso=0.01)))
    fit_result = first_fit(fit_usual(wrong_distances[None], jnp.ones((1, 43)), target))
    assert float(fit_result.rw) <= start_rw(wrong_distances, target)


def test_a_fit_that_starts_at_the_minimum_takes_few_steps_and_stays(distances):
    """The data equal the model, so the sum of squares contains only rounding errors, and no step improves it."""
    cluster_table = cluster_tables.tabulate_distances(distances, jnp.ones(43), BOND, span=SPAN)
    names = fit.nonlinear_parameters(RIGID_PARAMETERS)
    basis = make_target(np.asarray(exact_pdf(distances, uiso=0.01))).basis
    start_point = fit.starting_fractions(cluster_table, names, basis)
    model = fit.model_curve(cluster_table, fit.fractions_to_values(start_point, names, basis), basis)
    basis = dataclasses.replace(basis, data=model, norm=jnp.sum(model**2), unmodelled_squares=jnp.zeros(()))
    start_state = fit._initial_state(cluster_table, basis, RIGID_PARAMETERS, None)
    final_state = fit._levenberg_marquardt(cluster_table, basis, RIGID_PARAMETERS, start_state, fit.MAX_STEPS)
    assert bool(final_state.converged) and int(final_state.steps) <= 3
    assert float(final_state.point.relative_squares) <= float(start_state.point.relative_squares)
    assert (
        np.isfinite(final_state.point.normalized_values).all()
        and np.abs(final_state.point.normalized_values - start_point).max() < 1e-3
    )


def test_standard_errors_weight_the_misfit_as_they_do_point_by_point(distances):
    g, sigma = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0), float), 0.01 + 0.004 * R
    noisy_g = g + sigma * np.random.default_rng(0).normal(size=len(R))
    weighted_target = target.make_target(
        R,
        noisy_g,
        target.TargetSettings(qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN, n_background_terms=2),
        sigma=sigma,
    )
    fits = fit_usual(*pad_to_48_atoms(distances), weighted_target)
    tables = cluster_tables.tabulate_distances(*map(first_fit, pad_to_48_atoms(distances)), BOND, span=SPAN)
    fitted_curves, backgrounds = fit.fitted_curves(
        jax.tree.map(lambda column: column[:1], fits),
        jax.tree.map(lambda column: column[None], tables),
        weighted_target,
    )
    residual = (noisy_g - fitted_curves[0]) / sigma
    assert float(fits.rw[0]) == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(noisy_g / sigma), rel=1e-3)
    terms = np.cos(np.pi * (R - R[0])[:, None] / (R[-1] - R[0]) * np.arange(2)) / sigma[:, None]
    assert np.abs(terms.T @ residual).max() < 1e-6 * np.abs(terms.T @ (noisy_g / sigma)).max() + 1e-6
    assert np.linalg.norm(backgrounds) > 0


def test_points_with_large_errors_do_not_shift_the_values(distances):
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0), float)
    is_wrong = (R > 6) & (R < 8)
    wrong_g = g + is_wrong * 4 * np.sin(9 * R)
    sigma = np.where(is_wrong, 1.0, 0.01)
    settings = target.TargetSettings(qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)
    deviations = [
        abs(float(fit_usual(*pad_to_48_atoms(distances), data).values.uiso[0]) - 0.01)
        for data in (make_target(wrong_g), target.make_target(R, wrong_g, settings, sigma=sigma))
    ]
    assert deviations[1] < 2e-4 < 10 * deviations[1] + 1e-3 < deviations[0] + 1e-3


def test_equal_errors_change_nothing(distances):
    g = np.asarray(exact_pdf(distances, uiso=0.01, delta2=2.0), float) + 0.05 * np.sin(9 * R)
    settings = target.TargetSettings(qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)
    with_errors = fit_usual(*pad_to_48_atoms(distances), target.make_target(R, g, settings, sigma=np.full(R.size, 3.0)))
    without_errors = fit_usual(*pad_to_48_atoms(distances), make_target(g))
    for value, expected in zip(with_errors.values, without_errors.values, strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-3)
