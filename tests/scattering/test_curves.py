from dataclasses import replace
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument, Pairs, Spread
from jaxstruc.structures import shapes

FINE = Grid(qmin=0.5, qmax=24.0, qstep=0.02, rmin=0.0, rmax=20.0, rstep=0.05, longest=17.0)
COARSE = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.2, longest=17.0, accuracy=1e-9)
INSTRUMENT = Instrument(uiso=0.006, delta1=0.1, delta2=1.5, qdamp=0.03, qbroad=0.01)
ALLOY = curves.scatterers(["Au", "Cu", "Cu"] * 29)
POSITIONS = shapes.fcc((3, 4, 3)).positions * 2.78 + 0.05 * np.random.default_rng(0).normal(size=(87, 3))
"""87 atoms of two elements in disorder."""
WANTED = np.random.default_rng(1).normal(size=FINE.r.size)


def exact(positions, instrument, grid):
    """Return G(r) by the plain sum over pairs on the Q grid."""
    q, r = grid.q, grid.r
    f = form_factors.xray(ALLOY.coefficients, jnp.asarray(q))
    pairs = debye.pairs_of(positions, np.ones(len(positions)), ALLOY.kinds)
    reduced = debye.reduced_structure_function(pairs, instrument, f, ALLOY.composition, jnp.asarray(q))
    weights = curves.q_weights(jnp.asarray(q), grid.qmin, grid.qmax)
    if grid.lorch:
        weights *= curves.lorch(jnp.asarray(q), grid.qmax)
    return curves.envelope(instrument, jnp.asarray(r)) * curves.sine_transform(reduced, q, weights, r)


def fast(positions, instrument, grid):
    gathered = curves.gather(positions, np.ones(len(positions), bool), grid, kinds=ALLOY.kinds, count=2)
    assert isinstance(gathered, Spread)
    return curves.pdf(gathered, ALLOY.coefficients, ALLOY.composition, instrument, grid)


curve_of = jax.jit(lambda curve, *given: curve(*given), static_argnums=(0, 3))


@partial(jax.jit, static_argnames=("curve", "grid"))
def with_gradient(positions, instrument, curve, grid):
    """Return a curve, and the gradient in the positions of its product with the wanted one."""
    value, pull = jax.vjp(lambda x: curve(x, instrument, grid), positions)
    return value, pull(jnp.asarray(WANTED, value.dtype))[0]


@cache
def true_curve(uiso, lorch):
    return with_gradient(POSITIONS, INSTRUMENT._replace(uiso=uiso), exact, replace(FINE, lorch=lorch))


@pytest.mark.parametrize("accuracy", [1e-5, 1e-6, 1e-9])
@pytest.mark.parametrize("uiso", [0.0, 0.006])
def test_the_fast_route_is_the_exact_one_to_the_accuracy_asked_for(accuracy, uiso, x64):
    """Value and gradient in the positions, sharp and with Lorch's window."""
    for lorch in (False, True):
        grid = replace(FINE, accuracy=accuracy, lorch=lorch)
        value, gradient = with_gradient(POSITIONS, INSTRUMENT._replace(uiso=uiso), fast, grid)
        true, true_gradient = true_curve(uiso, lorch)
        assert 0 < np.abs(value - true).max() < accuracy * np.abs(true).max()
        assert np.abs(gradient - true_gradient).max() < 10 * accuracy * np.abs(true_gradient).max()


def test_the_stretch_of_nodes_is_the_stretch_of_positions(x64):
    stretched = curve_of(fast, POSITIONS, INSTRUMENT._replace(stretch=1.04), FINE)
    true = curve_of(exact, 1.04 * POSITIONS, INSTRUMENT, FINE)
    assert np.abs(stretched - true).max() < 1e-6 * np.abs(true).max()


@pytest.mark.slow
def test_all_parameters_have_right_gradients_on_the_fast_route(x64):
    target = jnp.sin(jnp.asarray(COARSE.r))

    @jax.jit
    def misfit(positions, *parameters):
        return jnp.sum((fast(positions, Instrument(*parameters), COARSE) - target) ** 2)

    at = (jnp.asarray(POSITIONS), jnp.array([0.01, 0.02]), 0.1, 0.2, 0.04, 0.02, 0.8, 1.01)
    check_grads(misfit, at, order=1, modes=["rev", "fwd"], rtol=1e-4)
    for gradient in jax.jit(jax.grad(misfit, argnums=tuple(range(8))))(*at):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_single_precision_follows_double_on_the_fast_route():
    single = jax.jit(lambda x: fast(x, INSTRUMENT, FINE))(jnp.asarray(POSITIONS, jnp.float32))
    assert single.dtype == jnp.float32
    with jax.enable_x64(True):
        double = np.asarray(curve_of(fast, POSITIONS, INSTRUMENT, FINE))
    assert np.abs(single - double).max() < 2e-5 * np.abs(double).max()


def gold(positions, mask, *, grid=FINE, limits=None):
    """Return G(r) of a padded cluster of one element."""
    count = jnp.sum(mask, keepdims=True).astype(positions.dtype)
    gathered = curves.gather(positions, mask, grid)
    return curves.pdf(gathered, form_factors.UNIT, count, INSTRUMENT, grid, limits=limits)


def test_padding_and_batches_change_nothing():
    """Shapes of 19 to 93 atoms in one batch of 100 rows, by `vmap`, with one compilation; three of them alone."""
    family = shapes.fcc_family()
    padded = np.zeros((len(family), 100, 3), np.float32)
    masks = np.zeros((len(family), 100), bool)
    for row, shape in enumerate(family):
        padded[row, : len(shape.positions)] = shape.positions * 2.78
        masks[row, : len(shape.positions)] = True
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def batch(positions, masks):
        return jax.vmap(gold)(positions, masks)

    together = batch(padded, masks)
    assert np.abs(batch(padded + 0.001, masks) - together).max() < 1e-3 * np.abs(together).max()
    for row in (0, 2, 7):
        atoms = int(masks[row].sum())
        alone = jax.jit(gold)(padded[row, :atoms], masks[row, :atoms])
        assert np.abs(together[row] - alone).max() < 1e-5 * np.abs(alone).max()


def test_the_way_is_chosen_by_size():
    few, many = np.random.default_rng(0).normal(size=(2, 60, 3))
    assert isinstance(curves.gather(few[:6], np.ones(6, bool), FINE), Pairs)
    assert isinstance(curves.gather(many, np.ones(60, bool), FINE), Spread)
    without = replace(FINE, longest=None)
    assert isinstance(curves.gather(many, np.ones(60, bool), without), Pairs)
    with pytest.raises(ValueError, match="Expected Grid"):
        curves.nodes(without)


@pytest.mark.parametrize(("atoms", "way"), [(4, Pairs), (60, Spread)])
def test_a_pair_longer_than_the_grid_says_gives_nan_by_either_route(atoms, way):
    """The few Chebyshev points would give a wrong curve, and no flag, also where pairs are summed exactly."""
    x = np.random.default_rng(0).normal(size=(atoms, 3)).astype(np.float32)
    mask = np.ones(atoms, bool)
    assert isinstance(curves.gather(x, mask, FINE), way)
    moved = jnp.asarray(x).at[0, 0].add(18.0)
    curve = jax.jit(gold)
    for limits in (None, (1.0, 20.0)):
        assert np.isfinite(curve(x, mask, limits=limits)).all()
        assert np.isnan(curve(moved, mask, limits=limits)).all()


def test_distances_and_positions_give_one_curve(x64):
    apart = np.linalg.norm(POSITIONS[:, None] - POSITIONS[None], axis=-1)

    @jax.jit
    def of_distances(apart):
        gathered = curves.gather_distances(apart, np.ones(87), FINE, kinds=ALLOY.kinds, count=2)
        return curves.pdf(gathered, ALLOY.coefficients, ALLOY.composition, INSTRUMENT, FINE)

    np.testing.assert_allclose(of_distances(apart), curve_of(fast, POSITIONS, INSTRUMENT, FINE), atol=1e-10)


def test_f_transformed_is_the_sum_written_out(fcc19, x64):
    """Sharp and with Lorch's window; limits on and between the points of the grid, traced."""
    instrument = Instrument(qdamp=0.04, scale=0.7)
    q, r = COARSE.q, COARSE.r
    f = np.sin(3.1 * q) * np.exp(-0.01 * q**2)
    for lorch in (False, True):
        grid = replace(COARSE, lorch=lorch)
        transform = jax.jit(lambda f, limits, grid=grid: curves.transformed(f, instrument, grid, limits=limits))
        for low, high in ((0.5, 15.0), (1.23, 12.34)):
            g = np.zeros(r.size)
            for each, value in zip(q, f, strict=True):
                share = min(each + 0.05, 15.0, high) - max(each - 0.05, 0.5, low)
                window = np.sinc(each / high) if lorch else 1.0
                g += max(share, 0) * window * value * np.sin(each * r)
            g *= 0.7 * np.exp(-((0.04 * r) ** 2) / 2) * 2 / np.pi
            assert np.abs(g).max() > 0.1
            np.testing.assert_allclose(transform(jnp.asarray(f), (low, high)), g, atol=1e-12)
        whole = curves.transformed(jnp.asarray(f), instrument, grid)
        chex.assert_trees_all_close(whole, transform(jnp.asarray(f), (0.5, 15.0)), atol=1e-12)


@pytest.mark.parametrize("longest", [None, 17.0])
@pytest.mark.parametrize("lorch", [False, True])
def test_traced_limits_of_q_are_those_of_a_grid_with_these_limits(longest, lorch, x64):
    """All pairs on the grid's Q, and nodes with few Chebyshev points."""
    grid = replace(COARSE, longest=longest, lorch=lorch)
    mask = np.ones(87, bool)
    assert isinstance(curves.gather(POSITIONS, mask, grid), Pairs if longest is None else Spread)
    curve = jax.jit(lambda limits: gold(POSITIONS, mask, grid=grid, limits=limits))
    inner = replace(grid, qmin=1.5, qmax=12.0)
    static = jax.jit(lambda: gold(POSITIONS, mask, grid=inner))()
    assert np.abs(curve((0.5, 15.0)) - static).max() > 1e-2 * np.abs(static).max()
    assert np.abs(curve((1.5, 12.0)) - static).max() < 1e-8 * np.abs(static).max()


@pytest.mark.parametrize("longest", [None, 17.0])
def test_the_ends_of_q_have_a_gradient(longest, x64):
    """Right, finite and not zero, between the points of the grid; with nodes as with all pairs."""
    grid = replace(COARSE, longest=longest)

    @jax.jit
    def size(qmin, qmax):
        return jnp.sum(gold(POSITIONS, np.ones(87, bool), grid=grid, limits=(qmin, qmax)) ** 2)

    check_grads(size, (1.52, 12.03), order=1, modes=["rev"], rtol=1e-5)
    assert all(np.isfinite(slope) and abs(slope) > 1e-4 for slope in jax.jit(jax.grad(size, (0, 1)))(1.52, 12.03))


def test_lorchs_window_is_the_sine_of_its_own_cut(fcc19, x64):
    q = jnp.linspace(0.0, 15.0, 151)
    np.testing.assert_allclose(curves.lorch(q, 15.0)[1:-1], np.sin(np.pi * q / 15)[1:-1] / (np.pi * q / 15)[1:-1])
    assert float(curves.lorch(q, 15.0)[-1]) == pytest.approx(0, abs=1e-15)
    grid = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.1)
    pairs = debye.pairs_of(fcc19, np.ones(19))
    given = (form_factors.UNIT, np.array([19.0]), Instrument(uiso=0.004))
    sharp, smooth = (curves.pdf(pairs, *given, replace(grid, lorch=lorch)) for lorch in (False, True))
    before = slice(0, 15)  # 0.5 to 1.9 Å: ripples alone
    ripple = lambda g: np.std(np.diff(np.asarray(g)[before], 2))  # noqa: E731
    assert ripple(smooth) < 0.1 * ripple(sharp)


def test_the_weights_of_q_integrate_a_constant_between_any_limits(x64):
    q = jnp.arange(0, 10.01, 0.1)
    assert float(curves.q_weights(q, 0.73, 8.21).sum()) == pytest.approx(8.21 - 0.73)
    inner = curves.q_weights(q, 0.0, 10.0)
    np.testing.assert_allclose(inner[1:-1], 0.1)
    np.testing.assert_allclose(inner[jnp.array([0, -1])], 0.05)


def test_grids_include_both_ends():
    grid = Grid(qmin=0.5, qmax=15.0, qstep=0.1)
    assert grid.q[0] == 0.5 and grid.q[-1] == pytest.approx(15.0)
    assert len(Grid().r) == 301 and Grid().r[-1] == pytest.approx(30.0)
    assert Grid(qmin=0.0, qmax=1.0, qstep=0.35).q[-1] == pytest.approx(0.7)


def test_the_default_q_step_keeps_aliases_out(x64):
    """Half of it changes the curve by little, though the r range is far longer than the cluster."""
    x = shapes.fcc((2, 2, 2)).positions * 2.78
    pairs = debye.pairs_of(jnp.asarray(x), np.ones(19))
    step = curves.alias_free_step(60.0, 9.0)
    assert step < np.pi / 69
    one, half = (
        curves.pdf(
            pairs, form_factors.UNIT, np.array([19.0]), Instrument(0.005),
            Grid(qmin=0.5, qmax=24.0, qstep=step / part, rmax=60.0, rstep=0.2),
        )
        for part in (1, 2)
    )  # fmt: skip
    assert np.abs(one - half).max() < 1e-3 * np.abs(half).max()


def test_scatterers_know_ions_and_neutrons():
    oxide = curves.scatterers(["O", "Cu", "O"], ions=("Cu2+", "O2-"))
    assert oxide.names == ["Cu", "O"] and oxide.kinds.tolist() == [1, 0, 1] and oxide.composition.tolist() == [1, 2]
    f = form_factors.xray(oxide.coefficients, jnp.zeros(1))[:, 0]
    np.testing.assert_allclose(f, [27, 10], atol=0.1)
    b = form_factors.xray(curves.scatterers(["Cu"], probe="neutron").coefficients, jnp.linspace(0, 20, 3))
    np.testing.assert_allclose(b, 7.718, rtol=1e-6)
    with pytest.raises(ValueError, match=r"Expected ions of the cluster's elements \(Cu\), got 'O2-'"):
        curves.scatterers(["Cu"], ions=("O2-",))
