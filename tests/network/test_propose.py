from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.data.measurement import Measurement
from jaxstruc.network import dataset, propose, representation, weights
from jaxstruc.network.config import Sizes
from jaxstruc.network.model import CVAE, Decoded
from jaxstruc.options.pdf import SHIPPED
from jaxstruc.structures import shapes
from jaxstruc.structures.atoms import from_ase

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def shipped():
    return weights.load(SHIPPED)


@pytest.fixture(scope="module")
def pdfs():
    """Two simulated PDFs of the family, gold."""
    data = dataset.generate("real", seed=11, draws=1)
    rows = [int(np.flatnonzero((data.shape == shape) & (data.bond > 2.85))[0]) for shape in (0, 7)]
    return jnp.asarray(data.pdf[rows]), jnp.asarray(data.bond[rows], jnp.float32)


@pytest.fixture(scope="module")
def solve(shipped):
    """PDFs to four structures each, under `jit` and `vmap` with one key; traced once in this module."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(params, pdf, bond, key):
        one = partial(propose.propose, network=shipped.module, samples=4)
        return jax.vmap(lambda g, length: one(params, g, key, bond=length))(pdf, bond)

    return run


@pytest.fixture(scope="module")
def solved(shipped, pdfs, solve):
    chex.clear_trace_counter()
    return solve(shipped.params, *pdfs, KEY)


def test_pdfs_to_coordinates_and_weights_is_one_pure_function(shipped, pdfs, solve, solved):
    """Jitted, compiled once, single precision, and right for shapes of the training set."""
    chex.assert_trees_all_equal(solved, solve(shipped.params, *pdfs, KEY))
    solve(shipped.params, 3 * pdfs[0], pdfs[1], jax.random.key(1))
    assert solved.positions.shape == (2, 4, 100, 3) and solved.positions.dtype == jnp.float32
    assert solved.weights.shape == (2, 4, 100) and bool(solved.converged.all())
    counts = (solved.weights > propose.PRESENT).sum(axis=-1)
    assert np.median(counts[0]) == 19 and np.median(counts[1]) >= 79
    for positions, there, bond in zip(solved.positions[:, 0], solved.weights[:, 0], pdfs[1], strict=True):
        nearest = pdist(np.asarray(positions)[np.asarray(there) > 0.5]).min()
        assert 0.75 * float(bond) < nearest < 1.05 * float(bond)


def test_a_pdf_is_solved_alike_whatever_its_place_in_a_batch(shipped, pdfs, solve, solved):
    turned = solve(shipped.params, *(column[::-1] for column in pdfs), KEY)
    np.testing.assert_allclose(turned.positions[::-1], solved.positions, atol=0.02)


@pytest.mark.slow
@pytest.mark.long
def test_a_pdf_is_solved_alike_alone_and_in_a_batch(shipped, pdfs, solved):
    one = jax.jit(partial(propose.propose, network=shipped.module, samples=4))
    alone = one(shipped.params, pdfs[0][1], KEY, bond=pdfs[1][1])
    np.testing.assert_allclose(solved.positions[1], alone.positions, atol=0.02)


def test_a_curve_of_another_scale_gives_the_same_structures(shipped, pdfs, solve, solved):
    again = solve(shipped.params, 3 * pdfs[0], pdfs[1], KEY)
    np.testing.assert_allclose(again.positions, solved.positions, atol=0.02)


@pytest.mark.slow
def test_gradients_in_the_pdf_and_in_the_parameters_are_finite_and_not_zero(shipped, pdfs):
    def size(params, pdf):
        one = partial(propose.propose, network=shipped.module, samples=2)
        found = jax.vmap(lambda g, bond: one(params, g, KEY, bond=bond))(pdf, pdfs[1])
        return jnp.sum(found.weights[..., None] * found.positions**2)

    of_params, of_pdf = jax.jit(jax.grad(size, argnums=(0, 1)))(shipped.params, pdfs[0])
    assert np.isfinite(of_pdf).all() and np.abs(of_pdf).max() > 1e-3
    for name in ("prior_network", "decoder"):
        leaves = jax.tree.leaves(of_params["params"][name])
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert all(np.abs(leaf).max() > 1e-6 for leaf in leaves)


def test_a_bond_is_the_mean_distance_of_neighbours(pdfs, solved):
    neighbours = jax.jit(jax.vmap(jax.vmap(propose.neighbour_distance)))(solved.positions, solved.weights)
    np.testing.assert_allclose(neighbours, np.tile(pdfs[1][:, None], (1, 4)), rtol=1e-5)


def test_without_a_bond_the_decoded_radius_sets_the_scale():
    """True distances in radii, negative ones among them, give true positions in Å."""
    cluster = from_ase(shapes.fcc((2, 2, 2)).atoms("Au", 2.9), size=20)
    features = representation.features(cluster, jnp.asarray(representation.satellites(4)))
    presence = jnp.where(features.presence, 30.0, -30.0)
    decoded = Decoded(-features.pair, features.satellite, presence, jnp.log(features.radius))
    found = jax.jit(propose.placed)(decoded)
    assert bool(found.converged) and float(found.stress) < 1e-4
    assert float(found.radius) == pytest.approx(2 * 2.9 / 2**0.5, rel=1e-5)
    np.testing.assert_allclose(found.positions[:19], representation.ordered(cluster).positions[:19], atol=1e-3)
    np.testing.assert_allclose(found.weights, features.presence, atol=1e-6)


@pytest.fixture(scope="module")
def small(drawn_params):
    """A network of 20 atoms that has not been trained."""
    network = CVAE(Sizes(atoms=20, satellites=4))
    return drawn_params(network), network


@partial(jax.jit, static_argnums=(3, 4, 5))
def drawn(params, pdf, key, network, samples=5, draw=True):
    return propose.latents(params, pdf, key, network=network, samples=samples, draw=draw)


@partial(jax.jit, static_argnums=0)
def prior_of(network, params, pdf):
    return network.apply(params, dataset.normalised(pdf), method=CVAE.prior)


def test_a_deterministic_network_gives_its_mean_whatever_is_asked(small, pdfs):
    """Nothing trains its variance, so that no draw may use it."""
    params, network = small
    plain = CVAE(replace(network.sizes, stochastic=False))
    mean = prior_of(network, params, pdfs[0][0]).mean
    for module, draw in ((plain, True), (plain, False), (network, False)):
        found = drawn(params, pdfs[0][0], KEY, module, draw=draw)
        np.testing.assert_allclose(found, np.tile(mean, (5, 1)), rtol=1e-5)
    assert np.abs(drawn(params, pdfs[0][0], KEY, network) - mean).min() > 1e-4


def test_draws_have_the_priors_mean_and_variance(small, pdfs):
    params, network = small
    prior = prior_of(network, params, pdfs[0][0])
    z = drawn(params, pdfs[0][0], KEY, network, samples=20_000)
    spread = np.exp(0.5 * prior.log_variance)
    np.testing.assert_allclose(np.mean(z, axis=0), prior.mean, atol=0.05 * spread.max())
    np.testing.assert_allclose(np.std(z, axis=0), spread, rtol=0.05)


def test_one_key_gives_all_pdfs_of_a_batch_the_same_noise(small, pdfs):
    params, network = small
    prior = prior_of(network, params, pdfs[0])
    z = jax.vmap(lambda pdf: drawn(params, pdf, KEY, network))(pdfs[0])
    noise = (z - prior.mean[:, None]) / np.exp(0.5 * prior.log_variance)[:, None]
    assert np.abs(z[0] - z[1]).max() > 1e-3 and np.abs(noise).max() > 0.1
    np.testing.assert_allclose(noise[0], noise[1], atol=1e-4)


def test_neighbours_give_the_scale_in_spite_of_errors():
    positions = shapes.fcc((3, 4, 2)).positions + 0.03 * np.random.default_rng(0).normal(size=(79, 3))
    padded = jnp.pad(jnp.asarray(positions, jnp.float32), ((0, 21), (0, 0)))
    present = (jnp.arange(100) < 79) * 1.0
    distance = jax.jit(propose.neighbour_distance)
    assert float(distance(padded, present)) == pytest.approx(1.0, abs=0.005)
    assert float(distance(padded, 0 * present)) == 1.0


def test_neighbours_count_by_the_chances_of_both_their_atoms():
    """A chain of four atoms with unlike bonds and chances, and one that is hardly there."""
    positions = jnp.array([[0.0, 0, 0], [1, 0, 0], [2.1, 0, 0], [3.3, 0, 0], [3.3, 0.2, 0]])
    weights = jnp.array([1.0, 0.6, 0.9, 0.7, 0.4])
    shares = np.array([1.0 * 0.6, 0.6 * 0.9, 0.9 * 0.7])
    expected = shares @ [1.0, 1.1, 1.2] / shares.sum()
    assert float(propose.neighbour_distance(positions, weights)) == pytest.approx(expected, rel=1e-5)


def test_the_model_sees_the_curve_on_its_own_grid():
    """A band-limited curve on an odd grid comes back exact away from its ends, and zero where there are no data."""
    r = 0.013 + 0.0937 * np.arange(214)
    curve = lambda x: np.exp(-((x - 8) ** 2) / 4) * np.sin(9 * x)  # noqa: E731
    seen = propose.model_input(Measurement("own", r, curve(r), {}), rmin=1.5)
    grid = dataset.GRID.r
    inside = (grid > 1.5) & (grid < 19.9)
    np.testing.assert_allclose(seen[inside], curve(grid[inside]), atol=1e-4)
    assert not seen[grid > 20.1].any() and not seen[grid < 1.4].any()
