import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxstruc import clusters, form_factors, scattering, simulation
from jaxstruc.scattering import Grid, Instrument, Spread

FINE = Grid(qmin=0.5, qmax=24.0, qstep=0.02, rmin=0.0, rmax=20.0, rstep=0.05, longest=17.0)
INSTRUMENT = Instrument(uiso=0.006, delta1=0.1, delta2=1.5, qdamp=0.03, qbroad=0.01)


@pytest.fixture(scope="module")
def alloy():
    """87 atoms of two elements in disorder: positions, kinds, coefficients, composition."""
    rng = np.random.default_rng(0)
    positions = clusters.fcc((3, 4, 3)).positions * 2.78 + 0.05 * rng.normal(size=(87, 3))
    scatterers = simulation.scatterers(["Au", "Cu", "Cu"] * 29)
    return positions, scatterers


def exact(positions, scatterers, instrument, grid):
    """Return G(r) by the plain sum over pairs on the Q grid."""
    q, r = grid.q, grid.r
    f = form_factors.xray(scatterers.coefficients, jnp.asarray(q))
    pairs = scattering.pairs_of(positions, np.ones(len(positions)), scatterers.kinds)
    reduced = scattering.reduced_structure_function(pairs, instrument, f, scatterers.composition, jnp.asarray(q))
    weights = scattering.q_weights(jnp.asarray(q), grid.qmin, grid.qmax)
    if grid.lorch:
        weights *= scattering.lorch(jnp.asarray(q), grid.qmax)
    return scattering.envelope(instrument, jnp.asarray(r)) * scattering.sine_transform(reduced, q, weights, r)


def fast(positions, scatterers, instrument, grid):
    mask = np.ones(len(positions), bool)
    gathered = simulation.gather(positions, mask, grid, kinds=scatterers.kinds, count=2)
    assert isinstance(gathered, Spread)
    return simulation.pdf(gathered, scatterers.coefficients, scatterers.composition, instrument, grid)


@pytest.mark.parametrize("accuracy", [1e-5, 1e-6, 1e-9])
@pytest.mark.parametrize("uiso", [0.0, 0.006])
def test_the_fast_route_is_the_exact_one_to_the_accuracy_asked_for(alloy, accuracy, uiso, x64):
    """Value and gradient in the positions, sharp and with Lorch's window."""
    positions, scatterers = alloy
    wanted = jnp.asarray(np.random.default_rng(1).normal(size=FINE.r.size))
    instrument = INSTRUMENT._replace(uiso=uiso)
    for lorch in (False, True):
        grid = Grid(**{**FINE.__dict__, "accuracy": accuracy, "lorch": lorch})

        def both(function, grid=grid):
            curve = lambda x: function(x, scatterers, instrument, grid)  # noqa: E731
            value, pull = jax.vjp(jax.jit(curve), jnp.asarray(positions))
            return value, pull(wanted)[0]

        (value, gradient), (true, true_gradient) = both(fast), both(exact)
        assert 0 < np.abs(value - true).max() < accuracy * np.abs(true).max()
        assert np.abs(gradient - true_gradient).max() < 10 * accuracy * np.abs(true_gradient).max()


def test_the_stretch_of_nodes_is_the_stretch_of_positions(alloy, x64):
    positions, scatterers = alloy
    stretched = fast(jnp.asarray(positions), scatterers, INSTRUMENT._replace(stretch=1.04), FINE)
    true = exact(jnp.asarray(1.04 * positions), scatterers, INSTRUMENT, FINE)
    assert np.abs(stretched - true).max() < 1e-6 * np.abs(true).max()


def test_all_parameters_have_right_gradients_on_the_fast_route(alloy, x64):
    positions, scatterers = alloy
    grid = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.2, longest=17.0, accuracy=1e-9)
    target = jnp.sin(jnp.asarray(grid.r))

    def misfit(positions, *parameters):
        return jnp.sum((fast(positions, scatterers, Instrument(*parameters), grid) - target) ** 2)

    misfit = jax.jit(misfit)
    at = (jnp.asarray(positions), jnp.array([0.01, 0.02]), 0.1, 0.2, 0.04, 0.02, 0.8, 1.01)
    check_grads(misfit, at, order=1, modes=["rev", "fwd"], rtol=1e-4)
    for gradient in jax.grad(misfit, argnums=tuple(range(8)))(*at):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_single_precision_follows_double_on_the_fast_route(alloy):
    positions, scatterers = alloy
    single = fast(jnp.asarray(positions, jnp.float32), scatterers, INSTRUMENT, FINE)
    assert single.dtype == jnp.float32
    with jax.enable_x64(True):
        double = np.asarray(fast(jnp.asarray(positions), scatterers, INSTRUMENT, FINE))
    assert np.abs(single - double).max() < 2e-5 * np.abs(double).max()


def test_padding_and_batches_change_nothing():
    """Shapes of 19 to 93 atoms in one batch of 100 rows, by `vmap`, with one compilation."""
    family = clusters.fcc_family()
    padded = np.zeros((len(family), 100, 3), np.float32)
    masks = np.zeros((len(family), 100), bool)
    for row, shape in enumerate(family):
        padded[row, : len(shape.positions)] = shape.positions * 2.78
        masks[row, : len(shape.positions)] = True
    compiled = []

    @jax.jit
    def batch(positions, masks):
        compiled.append(1)

        def one(x, mask):
            count = jnp.sum(mask, keepdims=True).astype(x.dtype)
            return simulation.pdf(simulation.gather(x, mask, FINE), form_factors.UNIT, count, INSTRUMENT, FINE)

        return jax.vmap(one)(positions, masks)

    curves = batch(padded, masks)
    batch(padded + 0.001, masks)
    assert len(compiled) == 1
    for curve, shape in zip(curves, family, strict=True):
        x = jnp.asarray(shape.positions * 2.78, jnp.float32)
        gathered = simulation.gather(x, np.ones(len(x), bool), FINE)
        alone = simulation.pdf(gathered, form_factors.UNIT, np.array([float(len(x))]), INSTRUMENT, FINE)
        assert np.abs(curve - alone).max() < 1e-5 * np.abs(alone).max()


def test_the_way_is_chosen_by_size():
    few, many = np.random.default_rng(0).normal(size=(2, 60, 3))
    assert isinstance(simulation.gather(few[:6], np.ones(6, bool), FINE), scattering.Pairs)
    assert isinstance(simulation.gather(many, np.ones(60, bool), FINE), Spread)
    without = Grid(**{**FINE.__dict__, "longest": None})
    assert isinstance(simulation.gather(many, np.ones(60, bool), without), scattering.Pairs)
    with pytest.raises(ValueError, match="Expected Grid"):
        simulation.nodes(without)


def test_a_pair_longer_than_the_grid_says_gives_nan_by_either_route():
    """The few Chebyshev points would give a wrong curve, and no flag, also where pairs are summed exactly."""
    for atoms in (4, 60):
        x = np.random.default_rng(0).normal(size=(atoms, 3)).astype(np.float32)
        for far, wrong in ((0.0, False), (18.0, True)):
            moved = jnp.asarray(x).at[0, 0].add(far)
            gathered = simulation.gather(moved, np.ones(atoms, bool), FINE)
            assert isinstance(gathered, Spread) == (atoms == 60)
            curve = simulation.pdf(gathered, form_factors.UNIT, np.array([float(atoms)]), INSTRUMENT, FINE)
            assert np.isnan(curve).all() == wrong and np.isfinite(curve).all() != wrong


def test_distances_and_positions_give_one_curve(alloy, x64):
    positions, scatterers = alloy
    apart = jnp.asarray(np.linalg.norm(positions[:, None] - positions[None], axis=-1))
    gathered = simulation.gather_distances(apart, np.ones(87), FINE, kinds=scatterers.kinds, count=2)
    one = simulation.pdf(gathered, scatterers.coefficients, scatterers.composition, INSTRUMENT, FINE)
    np.testing.assert_allclose(one, fast(jnp.asarray(positions), scatterers, INSTRUMENT, FINE), atol=1e-10)


def test_the_default_q_step_keeps_aliases_out(x64):
    """Half of it changes the curve by little, though the r range is far longer than the cluster."""
    x = clusters.fcc((2, 2, 2)).positions * 2.78
    pairs = scattering.pairs_of(jnp.asarray(x), np.ones(19))
    step = simulation.alias_free_step(60.0, 9.0)
    assert step < np.pi / 69
    curves = [
        simulation.pdf(
            pairs, form_factors.UNIT, np.array([19.0]), Instrument(0.005),
            Grid(qmin=0.5, qmax=24.0, qstep=step / part, rmax=60.0, rstep=0.05),
        )
        for part in (1, 2)
    ]  # fmt: skip
    assert np.abs(curves[0] - curves[1]).max() < 1e-3 * np.abs(curves[1]).max()


def test_scatterers_know_ions_and_neutrons():
    oxide = simulation.scatterers(["O", "Cu", "O"], ions=("Cu2+", "O2-"))
    assert oxide.names == ["Cu", "O"] and oxide.kinds.tolist() == [1, 0, 1] and oxide.composition.tolist() == [1, 2]
    f = form_factors.xray(oxide.coefficients, jnp.zeros(1))[:, 0]
    np.testing.assert_allclose(f, [27, 10], atol=0.1)
    b = form_factors.xray(simulation.scatterers(["Cu"], probe="neutron").coefficients, jnp.linspace(0, 20, 3))
    np.testing.assert_allclose(b, 7.718, rtol=1e-6)
    with pytest.raises(ValueError, match=r"Expected ions of the cluster's elements \(Cu\), got 'O2-'"):
        simulation.scatterers(["Cu"], ions=("O2-",))
