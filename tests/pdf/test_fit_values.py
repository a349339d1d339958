import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.clusters import fcc_shapes
from jaxstruc.clusters.distances import distances
from jaxstruc.parameters import FIT_PARAMETERS, PARAMETERS
from jaxstruc.pdf import fit, target
from jaxstruc.pdf.fit import FitValues
from jaxstruc.scattering import cluster_tables

BOND = 2.78
SPAN = target.table_range(rmax=12.0, qmax=18.0, diameter=12.0)
NONLINEAR_PARAMETERS = FIT_PARAMETERS[1:]


def oscillating_basis(frequency):
    """Return data with a damped wave, to which all stretches fit about equally well."""
    r = np.arange(1.5, 12.001, 0.05)
    g = np.cos(frequency * r) * np.exp(-r / 6)
    return target.make_target(
        r, g, target.TargetSettings(qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.01, bond=BOND, span=SPAN)
    ).basis


@pytest.fixture(scope="module")
def basis():
    return oscillating_basis(2.3)


MISFIT, MODEL_CURVE = jax.jit(fit.misfit), jax.jit(fit.model_curve)


@jax.jit
def misfit_at(cluster_table, x, basis):
    """Return the misfit at given values of the stretch and Uiso."""
    return fit.misfit(cluster_table, fit.fractions_to_values(x, ("stretch", "uiso"), basis), basis)


@jax.jit
def starting_fractions(cluster_table, basis):
    """Return the start of a fit of the stretch and Uiso."""
    return fit.starting_fractions(cluster_table, ("stretch", "uiso"), basis)


@pytest.fixture(scope="module")
def cluster_table():
    positions = jnp.asarray(fcc_shapes.fcc_cluster((2, 2, 2)).positions * BOND, jnp.float32)
    return jax.jit(lambda x: cluster_tables.tabulate_distances(distances(x), jnp.ones(19), BOND, span=SPAN))(positions)


def test_normalized_values_become_physical_values_and_back(basis):
    normalized_values = jnp.linspace(0.05, 0.95, len(NONLINEAR_PARAMETERS))
    fit_values = fit.fractions_to_values(normalized_values, NONLINEAR_PARAMETERS, basis)
    physical_values = jnp.stack([getattr(fit_values, name) for name in NONLINEAR_PARAMETERS])
    np.testing.assert_allclose(
        fit.values_to_fractions(physical_values, NONLINEAR_PARAMETERS, basis), normalized_values, atol=1e-4
    )
    for name in NONLINEAR_PARAMETERS:
        lower_bound, upper_bound = PARAMETERS[name].bounds(BOND)
        assert lower_bound < float(getattr(fit_values, name)) < upper_bound, name


def test_the_ends_are_the_bounds_and_fixed_values_stay(basis):
    lower_values, upper_values = (
        fit.fractions_to_values(jnp.full(2, normalized_value), ("uiso", "delta2"), basis)
        for normalized_value in (0.0, 1.0)
    )
    assert float(lower_values.uiso) == pytest.approx(5e-4) and float(upper_values.uiso) == pytest.approx(0.06)
    assert float(upper_values.delta2) == pytest.approx(0.85 * BOND**2) and float(lower_values.delta2) == 0
    assert float(lower_values.qdamp) == pytest.approx(0.03) and float(lower_values.qbroad) == pytest.approx(0.01)
    assert float(lower_values.stretch) == 1 and float(lower_values.delta1) == 0


def test_the_scale_is_that_of_least_squares_and_the_misfit_least_there(basis, cluster_table):
    fit_values = FitValues(*(jnp.asarray(number) for number in (1.0, 1.0, 0.01, 0.0, 2.0, 0.03, 0.0)))
    curve = MODEL_CURVE(cluster_table, fit_values, basis)
    scale = fit.best_scale(curve, basis)

    def sum_of_squares(factor):
        return float(jnp.sum((basis.data - factor * scale * curve) ** 2) + basis.unmodelled_squares)

    assert sum_of_squares(1.0) < min(sum_of_squares(0.99), sum_of_squares(1.01))
    assert float(MISFIT(cluster_table, fit_values, basis)) == pytest.approx(sum_of_squares(1.0), rel=1e-5)
    assert float(fit.best_scale(-curve, basis)) == pytest.approx(1e-6)  # never negative


@pytest.mark.parametrize("frequency", [1.9, 2.1, 2.3, 2.5, 2.7])
def test_the_start_is_the_best_of_the_stretches_tried(cluster_table, frequency):
    """The start has the lowest misfit of all stretches that are compared."""
    basis = oscillating_basis(frequency)
    start_point = starting_fractions(cluster_table, basis)
    start_misfit = float(misfit_at(cluster_table, start_point, basis))
    for stretch in float(basis.stretch) * np.array(fit.START_STRETCH_FACTORS):
        normalized_stretch = (np.clip(stretch, 0.885, 1.115) - 0.88) / 0.24
        assert start_misfit <= float(misfit_at(cluster_table, start_point.at[0].set(normalized_stretch), basis)) * (
            1 + 1e-4
        )


def test_the_misfit_has_a_slope_in_every_value(basis, cluster_table):
    fit_values = FitValues(*(jnp.asarray(number) for number in (1.0, 1.01, 0.01, 0.1, 2.0, 0.03, 0.02)))
    gradients = jax.jit(jax.grad(fit.misfit, argnums=1))(cluster_table, fit_values, basis)
    assert float(gradients.relaxation) == 0  # the cluster is rigid
    for name in set(NONLINEAR_PARAMETERS) - {"relaxation"}:
        assert np.isfinite(getattr(gradients, name)) and abs(float(getattr(gradients, name))) > 1e-6, name
