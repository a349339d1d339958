import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_angle_data

from jaxstruc.options.small_angle import SimulateSaxsOptions, SizeOptions
from jaxstruc.small_angle import data, design_matrix, fit, form_factors, size_distributions
from jaxstruc.small_angle.design_matrix import RadiusWindow
from jaxstruc.small_angle.simulate import simulate_saxs

SPHERE_TABLE = form_factors.FormFactorTable(
    *(jnp.asarray(part, jnp.float32) for part in form_factors.named_table("sphere"))
)
size_curves = jax.jit(design_matrix.size_curves)
start_window = jax.jit(design_matrix.start_window)


@pytest.fixture(scope="module")
def saxs_data():
    return data.prepare_saxs_data(small_angle_data.measurement(), SizeOptions())


@pytest.mark.parametrize("dq", [0.0, 0.004])
@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform", "none"])
def test_the_design_matrix_of_fits_gives_the_simulated_curve(name, dq):
    """Compare at the same radius, pd and scale. The volumes of the matrix are relative to the middle node."""
    pd = 0.0 if name == "none" else 0.1
    q, curve, _ = simulate_saxs(
        "octahedron", radius=40.0, pd=pd, distribution=name, qmin=0.01, qmax=0.35, qstep=0.005,
        options=SimulateSaxsOptions(dq=dq),
    )  # fmt: skip
    log_radius = design_matrix.log_radius_nodes(RadiusWindow(jnp.log(41.0), jnp.asarray(0.01), jnp.asarray(0.1)))
    form_factor_table = form_factors.FormFactorTable(
        *(jnp.asarray(part, jnp.float32) for part in form_factors.named_table("octahedron"))
    )
    volume_shares = jax.jit(size_distributions.DISTRIBUTION_SHAPES[name].volume_shares)
    volume_fractions = np.asarray(volume_shares(40.0, 0.1, log_radius), float)
    q_width = jnp.full(len(q), dq, jnp.float32) if dq else None
    matrix = np.asarray(size_curves(form_factor_table, jnp.asarray(q, jnp.float32), q_width, log_radius), float)
    middle_volume = 4 / 3 * np.pi * np.exp(3 * float(log_radius[len(log_radius) // 2]))
    np.testing.assert_allclose(1e-4 * middle_volume * matrix @ volume_fractions, curve, rtol=5e-4, atol=2e-6 * curve[0])


def test_the_resolution_smears_as_that_of_sasmodels():
    """The matrix of sasmodels sums over bins of a fine grid of Q, truncated at the same limits."""
    resolution = pytest.importorskip("sasmodels.resolution")
    q, log_radius = np.linspace(0.02, 0.2, 40), np.log([20.0, 40.0])
    dq, fine_q = 0.1 * q, np.linspace(0.005, 0.3, 6000)
    computed = np.asarray(
        size_curves(SPHERE_TABLE, *(jnp.asarray(array, jnp.float32) for array in (q, dq, log_radius))),
        float,
    )
    reference = resolution.Pinhole1D(q, dq, q_calc=fine_q).apply(small_angle_data.sphere_form_factor(fine_q * 40.0))
    unsmeared = small_angle_data.sphere_form_factor(q * 40.0)
    np.testing.assert_allclose(computed[:, 1], reference, rtol=2e-3)
    assert np.abs(unsmeared / reference - 1).max() > 0.1


@pytest.mark.parametrize(("mean", "width"), [(25.0, 0.01), (60.0, 0.05), (40.0, 0.3)])
def test_fits_start_near_the_truth_though_a_curve_of_one_size_has_many_minima(mean, width):
    saxs_data = data.prepare_saxs_data(small_angle_data.measurement((mean, width, 1.0)), SizeOptions())
    window = start_window(
        fit.start_grid(fit.form_factor_tables(("sphere",)), saxs_data.whitened_data.q),
        saxs_data.whitened_data,
    )
    assert float(jnp.exp(window.center)) == pytest.approx(mean, rel=0.15 if width > 0.2 else 0.03)


def test_the_coarse_search_spans_all_radii_that_the_range_of_q_distinguishes(saxs_data):
    """The mean radii lie between two limits of Q R, four and three nodes of the grid inside them."""
    q = np.asarray(saxs_data.whitened_data.q)
    grid = jax.jit(design_matrix.start_grid)(SPHERE_TABLE, saxs_data.whitened_data.q)
    nodes = np.linspace(
        np.log(design_matrix.MIN_START_QR / q[-1]),
        np.log(design_matrix.MAX_START_QR / q[0]),
        design_matrix.N_GRID_NODES,
    )
    log_means = np.asarray(grid.size_parameters[:, 0])
    np.testing.assert_allclose([log_means.min(), log_means.max()], [nodes[4], nodes[-4]], atol=1e-5)


def test_start_pairs_contain_the_two_populations():
    saxs_data = data.prepare_saxs_data(
        small_angle_data.measurement((30.0, 0.08, 0.5), (48.0, 0.08, 0.5)), SizeOptions()
    )
    window = RadiusWindow(jnp.log(40.0), jnp.asarray(design_matrix.PAIR_NODE_STEP), jnp.asarray(0.2))

    @jax.jit
    def start_pairs(data):
        return design_matrix.start_pairs(design_matrix.design_matrix(SPHERE_TABLE, data, window), data, window, 2)

    start_radii = np.exp(np.asarray(start_pairs(saxs_data.whitened_data))[0, :, 0])
    np.testing.assert_allclose(start_radii, [30.0, 48.0], rtol=0.05)
