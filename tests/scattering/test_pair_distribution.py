from dataclasses import replace
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxstruc.clusters import fcc_shapes
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument, Pairs, SpreadPairs
from jaxstruc.scattering.pair_distribution import Grid

FINE_GRID = Grid(qmin=0.5, qmax=24.0, qstep=0.02, rmin=0.0, rmax=20.0, rstep=0.05, max_distance=17.0)
COARSE_GRID = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.2, max_distance=17.0, accuracy=1e-9)
INSTRUMENT = Instrument(uiso=0.006, delta1=0.1, delta2=1.5, qdamp=0.03, qbroad=0.01)
ALLOY_SCATTERERS = pair_distribution.scatterers(["Au", "Cu", "Cu"] * 29)
POSITIONS = fcc_shapes.fcc_cluster((3, 4, 3)).positions * 2.78 + 0.05 * np.random.default_rng(0).normal(size=(87, 3))
"""Positions of 87 displaced atoms of two elements, in Å."""
GRADIENT_WEIGHTS = np.random.default_rng(1).normal(size=FINE_GRID.r.size)


def exact_pdf(positions, instrument, grid):
    """Return G(r) by the plain sum over pairs on the Q grid."""
    q, r = grid.q, grid.r
    f = form_factors.xray_form_factors(ALLOY_SCATTERERS.coefficients, jnp.asarray(q))
    pairs = debye.pairs_from_positions(positions, np.ones(len(positions)), ALLOY_SCATTERERS.atom_kinds)
    reduced_function = debye.reduced_structure_function(
        pairs, instrument, f, ALLOY_SCATTERERS.composition, jnp.asarray(q)
    )
    weights = pair_distribution.q_weights(jnp.asarray(q), grid.qmin, grid.qmax)
    if grid.lorch:
        weights *= pair_distribution.lorch_window(jnp.asarray(q), grid.qmax)
    return pair_distribution.envelope(instrument, jnp.asarray(r)) * pair_distribution.sine_transform(
        reduced_function, q, weights, r
    )


def fast_pdf(positions, instrument, grid):
    pair_distances = pair_distribution.pair_distances_from_positions(
        positions, np.ones(len(positions), bool), grid, atom_kinds=ALLOY_SCATTERERS.atom_kinds, n_kinds=2
    )
    assert isinstance(pair_distances, SpreadPairs)
    return pair_distribution.pdf(
        pair_distances, ALLOY_SCATTERERS.coefficients, ALLOY_SCATTERERS.composition, instrument, grid
    )


jitted_curve = jax.jit(lambda curve, *arguments: curve(*arguments), static_argnums=(0, 3))


@partial(jax.jit, static_argnames=("curve", "grid"))
def curve_and_gradient(positions, instrument, curve, grid):
    """Return a curve, and the gradient of its product with a given curve by the positions."""
    value, pullback = jax.vjp(lambda x: curve(x, instrument, grid), positions)
    return value, pullback(jnp.asarray(GRADIENT_WEIGHTS, value.dtype))[0]


@cache
def exact_curve_and_gradient(uiso, lorch):
    return curve_and_gradient(POSITIONS, INSTRUMENT._replace(uiso=uiso), exact_pdf, replace(FINE_GRID, lorch=lorch))


@pytest.mark.parametrize("accuracy", [1e-5, 1e-6, 1e-9])
@pytest.mark.parametrize("uiso", [0.0, 0.006])
def test_the_fast_route_is_the_exact_one_to_the_accuracy_asked_for(accuracy, uiso, x64):
    """The curve and its gradient by the positions agree, with a sharp cut and with Lorch's window."""
    for lorch in (False, True):
        grid = replace(FINE_GRID, accuracy=accuracy, lorch=lorch)
        value, gradient = curve_and_gradient(POSITIONS, INSTRUMENT._replace(uiso=uiso), fast_pdf, grid)
        exact_curve, exact_gradient = exact_curve_and_gradient(uiso, lorch)
        assert 0 < np.abs(value - exact_curve).max() < accuracy * np.abs(exact_curve).max()
        assert np.abs(gradient - exact_gradient).max() < 10 * accuracy * np.abs(exact_gradient).max()


def test_the_stretch_of_nodes_is_the_stretch_of_positions(x64):
    stretched_curve = jitted_curve(fast_pdf, POSITIONS, INSTRUMENT._replace(stretch=1.04), FINE_GRID)
    exact_curve = jitted_curve(exact_pdf, 1.04 * POSITIONS, INSTRUMENT, FINE_GRID)
    assert np.abs(stretched_curve - exact_curve).max() < 1e-6 * np.abs(exact_curve).max()


@pytest.mark.slow
def test_all_parameters_have_right_gradients_on_the_fast_route(x64):
    target = jnp.sin(jnp.asarray(COARSE_GRID.r))

    @jax.jit
    def misfit(positions, *parameters):
        return jnp.sum((fast_pdf(positions, Instrument(*parameters), COARSE_GRID) - target) ** 2)

    arguments = (jnp.asarray(POSITIONS), jnp.array([0.01, 0.02]), 0.1, 0.2, 0.04, 0.02, 0.8, 1.01)
    check_grads(misfit, arguments, order=1, modes=["rev", "fwd"], rtol=1e-4)
    for gradient in jax.jit(jax.grad(misfit, argnums=tuple(range(8))))(*arguments):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_single_precision_follows_double_on_the_fast_route():
    single_curve = jax.jit(lambda x: fast_pdf(x, INSTRUMENT, FINE_GRID))(jnp.asarray(POSITIONS, jnp.float32))
    assert single_curve.dtype == jnp.float32
    with jax.enable_x64(True):
        double_curve = np.asarray(jitted_curve(fast_pdf, POSITIONS, INSTRUMENT, FINE_GRID))
    assert np.abs(single_curve - double_curve).max() < 2e-5 * np.abs(double_curve).max()


def gold_pdf(positions, mask, *, grid=FINE_GRID, limits=None):
    """Return G(r) of a padded cluster of one element."""
    count = jnp.sum(mask, keepdims=True).astype(positions.dtype)
    pair_distances = pair_distribution.pair_distances_from_positions(positions, mask, grid)
    return pair_distribution.pdf(
        pair_distances, form_factors.UNIT_COEFFICIENTS, count, INSTRUMENT, grid, q_limits=limits
    )


def test_padding_and_batches_change_nothing():
    """Clusters of 19 to 93 atoms in one batch share a compilation. Three of them are also computed alone."""
    family = fcc_shapes.fcc_family()
    padded_positions = np.zeros((len(family), 100, 3), np.float32)
    masks = np.zeros((len(family), 100), bool)
    for row, shape in enumerate(family):
        padded_positions[row, : len(shape.positions)] = shape.positions * 2.78
        masks[row, : len(shape.positions)] = True
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def batch_pdf(positions, masks):
        return jax.vmap(gold_pdf)(positions, masks)

    batch_curves = batch_pdf(padded_positions, masks)
    assert np.abs(batch_pdf(padded_positions + 0.001, masks) - batch_curves).max() < 1e-3 * np.abs(batch_curves).max()
    for row in (0, 2, 7):
        atoms = int(masks[row].sum())
        single_curve = jax.jit(gold_pdf)(padded_positions[row, :atoms], masks[row, :atoms])
        assert np.abs(batch_curves[row] - single_curve).max() < 1e-5 * np.abs(single_curve).max()


def test_the_method_depends_on_the_number_of_atoms():
    positions, other_positions = np.random.default_rng(0).normal(size=(2, 60, 3))
    assert isinstance(
        pair_distribution.pair_distances_from_positions(positions[:6], np.ones(6, bool), FINE_GRID), Pairs
    )
    assert isinstance(
        pair_distribution.pair_distances_from_positions(other_positions, np.ones(60, bool), FINE_GRID), SpreadPairs
    )
    unlimited_grid = replace(FINE_GRID, max_distance=None)
    assert isinstance(
        pair_distribution.pair_distances_from_positions(other_positions, np.ones(60, bool), unlimited_grid), Pairs
    )
    with pytest.raises(ValueError, match="Expected a number in Grid"):
        pair_distribution.spreading_nodes(unlimited_grid)


@pytest.mark.parametrize(("atoms", "pair_class"), [(4, Pairs), (60, SpreadPairs)])
def test_a_pair_longer_than_the_grid_says_gives_nan_by_either_method(atoms, pair_class):
    """Even if the pairs are summed exactly, the few Chebyshev points would give a wrong curve without a warning."""
    positions = np.random.default_rng(0).normal(size=(atoms, 3)).astype(np.float32)
    mask = np.ones(atoms, bool)
    assert isinstance(pair_distribution.pair_distances_from_positions(positions, mask, FINE_GRID), pair_class)
    moved_positions = jnp.asarray(positions).at[0, 0].add(18.0)
    curve = jax.jit(gold_pdf)
    for limits in (None, (1.0, 20.0)):
        assert np.isfinite(curve(positions, mask, limits=limits)).all()
        assert np.isnan(curve(moved_positions, mask, limits=limits)).all()


def test_distances_and_positions_give_one_curve(x64):
    distance_matrix = np.linalg.norm(POSITIONS[:, None] - POSITIONS[None], axis=-1)

    @jax.jit
    def pdf_from_distances(distance_matrix):
        pair_distances = pair_distribution.pair_distances_from_matrix(
            distance_matrix, np.ones(87), FINE_GRID, atom_kinds=ALLOY_SCATTERERS.atom_kinds, n_kinds=2
        )
        return pair_distribution.pdf(
            pair_distances, ALLOY_SCATTERERS.coefficients, ALLOY_SCATTERERS.composition, INSTRUMENT, FINE_GRID
        )

    np.testing.assert_allclose(
        pdf_from_distances(distance_matrix), jitted_curve(fast_pdf, POSITIONS, INSTRUMENT, FINE_GRID), atol=1e-10
    )


def test_f_transformed_is_the_sum_written_out(fcc19, x64):
    """The test covers a sharp cut, Lorch's window, and traced limits on and between the points of the grid."""
    instrument = Instrument(qdamp=0.04, scale=0.7)
    q, r = COARSE_GRID.q, COARSE_GRID.r
    f = np.sin(3.1 * q) * np.exp(-0.01 * q**2)
    for lorch in (False, True):
        grid = replace(COARSE_GRID, lorch=lorch)
        transform = jax.jit(
            lambda f, limits, grid=grid: pair_distribution.pdf_from_f(f, instrument, grid, q_limits=limits)
        )
        for low, high in ((0.5, 15.0), (1.23, 12.34)):
            g = np.zeros(r.size)
            for q_value, value in zip(q, f, strict=True):
                q_width = min(q_value + 0.05, 15.0, high) - max(q_value - 0.05, 0.5, low)
                window = np.sinc(q_value / high) if lorch else 1.0
                g += max(q_width, 0) * window * value * np.sin(q_value * r)
            g *= 0.7 * np.exp(-((0.04 * r) ** 2) / 2) * 2 / np.pi
            assert np.abs(g).max() > 0.1
            np.testing.assert_allclose(transform(jnp.asarray(f), (low, high)), g, atol=1e-12)
        static_curve = pair_distribution.pdf_from_f(jnp.asarray(f), instrument, grid)
        chex.assert_trees_all_close(static_curve, transform(jnp.asarray(f), (0.5, 15.0)), atol=1e-12)


@pytest.mark.parametrize("max_distance", [None, 17.0])
@pytest.mark.parametrize("lorch", [False, True])
def test_traced_limits_of_q_are_those_of_a_grid_with_these_limits(max_distance, lorch, x64):
    """The test covers exact sums over pairs on the Q grid, and nodes with few Chebyshev points."""
    grid = replace(COARSE_GRID, max_distance=max_distance, lorch=lorch)
    mask = np.ones(87, bool)
    assert isinstance(
        pair_distribution.pair_distances_from_positions(POSITIONS, mask, grid),
        Pairs if max_distance is None else SpreadPairs,
    )
    curve = jax.jit(lambda limits: gold_pdf(POSITIONS, mask, grid=grid, limits=limits))
    inner_grid = replace(grid, qmin=1.5, qmax=12.0)
    static_curve = jax.jit(lambda: gold_pdf(POSITIONS, mask, grid=inner_grid))()
    assert np.abs(curve((0.5, 15.0)) - static_curve).max() > 1e-2 * np.abs(static_curve).max()
    assert np.abs(curve((1.5, 12.0)) - static_curve).max() < 1e-8 * np.abs(static_curve).max()


@pytest.mark.parametrize("max_distance", [None, 17.0])
def test_the_ends_of_q_have_a_gradient(max_distance, x64):
    """The gradient is right, finite and not 0 between the points of the grid, with nodes and with exact sums."""
    grid = replace(COARSE_GRID, max_distance=max_distance)

    @jax.jit
    def squared_sum(qmin, qmax):
        return jnp.sum(gold_pdf(POSITIONS, np.ones(87, bool), grid=grid, limits=(qmin, qmax)) ** 2)

    check_grads(squared_sum, (1.52, 12.03), order=1, modes=["rev"], rtol=1e-5)
    assert all(
        np.isfinite(slope) and abs(slope) > 1e-4 for slope in jax.jit(jax.grad(squared_sum, (0, 1)))(1.52, 12.03)
    )


def test_lorchs_window_is_the_sine_of_its_own_cut(fcc19, x64):
    q = jnp.linspace(0.0, 15.0, 151)
    np.testing.assert_allclose(
        pair_distribution.lorch_window(q, 15.0)[1:-1], np.sin(np.pi * q / 15)[1:-1] / (np.pi * q / 15)[1:-1]
    )
    assert float(pair_distribution.lorch_window(q, 15.0)[-1]) == pytest.approx(0, abs=1e-15)
    grid = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.1)
    pairs = debye.pairs_from_positions(fcc19, np.ones(19))
    arguments = (form_factors.UNIT_COEFFICIENTS, np.array([19.0]), Instrument(uiso=0.004))
    sharp_curve, smooth_curve = (
        pair_distribution.pdf(pairs, *arguments, replace(grid, lorch=lorch)) for lorch in (False, True)
    )
    ripple_range = slice(0, 15)  # only ripples lie between 0.5 and 1.9 Å
    ripple = lambda g: np.std(np.diff(np.asarray(g)[ripple_range], 2))  # noqa: E731
    assert ripple(smooth_curve) < 0.1 * ripple(sharp_curve)


def test_the_weights_of_q_integrate_a_constant_between_any_limits(x64):
    q = jnp.arange(0, 10.01, 0.1)
    assert float(pair_distribution.q_weights(q, 0.73, 8.21).sum()) == pytest.approx(8.21 - 0.73)
    inner_weights = pair_distribution.q_weights(q, 0.0, 10.0)
    np.testing.assert_allclose(inner_weights[1:-1], 0.1)
    np.testing.assert_allclose(inner_weights[jnp.array([0, -1])], 0.05)


def test_grids_include_both_ends():
    grid = Grid(qmin=0.5, qmax=15.0, qstep=0.1)
    assert grid.q[0] == 0.5 and grid.q[-1] == pytest.approx(15.0)
    assert len(Grid().r) == 301 and Grid().r[-1] == pytest.approx(30.0)
    assert Grid(qmin=0.0, qmax=1.0, qstep=0.35).q[-1] == pytest.approx(0.7)


def test_the_default_q_step_keeps_aliases_out(x64):
    """Half of the step changes the curve only a little, although the r range is far longer than the cluster."""
    positions = fcc_shapes.fcc_cluster((2, 2, 2)).positions * 2.78
    pairs = debye.pairs_from_positions(jnp.asarray(positions), np.ones(19))
    step = pair_distribution.alias_free_step(60.0, 9.0)
    assert step < np.pi / 69
    curve, half_step_curve = (
        pair_distribution.pdf(
            pairs, form_factors.UNIT_COEFFICIENTS, np.array([19.0]), Instrument(0.005),
            Grid(qmin=0.5, qmax=24.0, qstep=step / divisor, rmax=60.0, rstep=0.2),
        )
        for divisor in (1, 2)
    )  # fmt: skip
    assert np.abs(curve - half_step_curve).max() < 1e-3 * np.abs(half_step_curve).max()


def test_scatterers_know_ions_and_neutrons():
    oxide_scatterers = pair_distribution.scatterers(["O", "Cu", "O"], ions=("Cu2+", "O2-"))
    assert (
        oxide_scatterers.elements == ["Cu", "O"]
        and oxide_scatterers.atom_kinds.tolist() == [1, 0, 1]
        and oxide_scatterers.composition.tolist() == [1, 2]
    )
    f = form_factors.xray_form_factors(oxide_scatterers.coefficients, jnp.zeros(1))[:, 0]
    np.testing.assert_allclose(f, [27, 10], atol=0.1)
    b = form_factors.xray_form_factors(
        pair_distribution.scatterers(["Cu"], probe="neutron").coefficients, jnp.linspace(0, 20, 3)
    )
    np.testing.assert_allclose(b, 7.718, rtol=1e-6)
    with pytest.raises(ValueError, match=r"Expected ions of the elements of the cluster \(Cu\), got 'O2-'"):
        pair_distribution.scatterers(["Cu"], ions=("O2-",))
