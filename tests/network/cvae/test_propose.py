from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import fcc_shapes
from jaxstruc.clusters.cluster import from_ase
from jaxstruc.io.measurement import Measurement
from jaxstruc.network import weights
from jaxstruc.network.cvae import dataset, propose, representation
from jaxstruc.network.cvae.model import CVAE, DecodedStructure, ModelSizes
from jaxstruc.options.pdf import SHIPPED

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def shipped_network():
    return weights.load_autoencoder(SHIPPED)


@pytest.fixture(scope="module")
def pdfs_and_bonds():
    """Return two simulated PDFs of gold clusters, and their bond lengths."""
    data = dataset.generate("real", seed=11, draws=1)
    rows = [int(np.flatnonzero((data.shape_index == shape_index) & (data.bond > 2.85))[0]) for shape_index in (0, 7)]
    return jnp.asarray(data.pdf[rows]), jnp.asarray(data.bond[rows], jnp.float32)


@pytest.fixture(scope="module")
def propose_structures(shipped_network):
    """Return four structures for each PDF, under `jit` and `vmap` with one key. It is traced once in this module."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def propose_batch(params, pdf, bond, key):
        propose_single = partial(propose.propose_structures, network=shipped_network.module, n_draws=4)
        return jax.vmap(lambda g, bond_length: propose_single(params, g, key, bond=bond_length))(pdf, bond)

    return propose_batch


@pytest.fixture(scope="module")
def proposals(shipped_network, pdfs_and_bonds, propose_structures):
    chex.clear_trace_counter()
    return propose_structures(shipped_network.params, *pdfs_and_bonds, KEY)


def test_pdfs_to_coordinates_and_weights_is_one_pure_function(
    shipped_network, pdfs_and_bonds, propose_structures, proposals
):
    """The function is jitted, compiled once, in single precision, and right for shapes of the training set."""
    chex.assert_trees_all_equal(proposals, propose_structures(shipped_network.params, *pdfs_and_bonds, KEY))
    propose_structures(shipped_network.params, 3 * pdfs_and_bonds[0], pdfs_and_bonds[1], jax.random.key(1))
    assert proposals.positions.shape == (2, 4, 100, 3) and proposals.positions.dtype == jnp.float32
    assert proposals.weights.shape == (2, 4, 100) and bool(proposals.converged.all())
    atom_counts = (proposals.weights > propose.MIN_PRESENCE).sum(axis=-1)
    assert np.median(atom_counts[0]) == 19 and np.median(atom_counts[1]) >= 79
    for positions, presence, bond in zip(
        proposals.positions[:, 0], proposals.weights[:, 0], pdfs_and_bonds[1], strict=True
    ):
        min_distance = pdist(np.asarray(positions)[np.asarray(presence) > 0.5]).min()
        assert 0.75 * float(bond) < min_distance < 1.05 * float(bond)


def test_a_pdf_gives_the_same_structures_at_any_position_in_a_batch(
    shipped_network, pdfs_and_bonds, propose_structures, proposals
):
    reversed_proposals = propose_structures(shipped_network.params, *(column[::-1] for column in pdfs_and_bonds), KEY)
    np.testing.assert_allclose(reversed_proposals.positions[::-1], proposals.positions, atol=0.02)


@pytest.mark.slow
@pytest.mark.long
def test_a_pdf_gives_the_same_structures_alone_and_in_a_batch(shipped_network, pdfs_and_bonds, proposals):
    propose_single = jax.jit(partial(propose.propose_structures, network=shipped_network.module, n_draws=4))
    single_proposals = propose_single(shipped_network.params, pdfs_and_bonds[0][1], KEY, bond=pdfs_and_bonds[1][1])
    np.testing.assert_allclose(proposals.positions[1], single_proposals.positions, atol=0.02)


def test_a_curve_of_another_scale_gives_the_same_structures(
    shipped_network, pdfs_and_bonds, propose_structures, proposals
):
    rescaled_proposals = propose_structures(shipped_network.params, 3 * pdfs_and_bonds[0], pdfs_and_bonds[1], KEY)
    np.testing.assert_allclose(rescaled_proposals.positions, proposals.positions, atol=0.02)


@pytest.mark.slow
def test_gradients_in_the_pdf_and_in_the_parameters_are_finite_and_not_zero(shipped_network, pdfs_and_bonds):
    def weighted_square_sum(params, pdf):
        propose_single = partial(propose.propose_structures, network=shipped_network.module, n_draws=2)
        structures = jax.vmap(lambda g, bond: propose_single(params, g, KEY, bond=bond))(pdf, pdfs_and_bonds[1])
        return jnp.sum(structures.weights[..., None] * structures.positions**2)

    params_gradient, pdf_gradient = jax.jit(jax.grad(weighted_square_sum, argnums=(0, 1)))(
        shipped_network.params, pdfs_and_bonds[0]
    )
    assert np.isfinite(pdf_gradient).all() and np.abs(pdf_gradient).max() > 1e-3
    for name in ("prior_network", "decoder"):
        leaves = jax.tree.leaves(params_gradient["params"][name])
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert all(np.abs(leaf).max() > 1e-6 for leaf in leaves)


def test_a_bond_is_the_mean_distance_of_neighbours(pdfs_and_bonds, proposals):
    neighbour_distances = jax.jit(jax.vmap(jax.vmap(propose.neighbour_distance)))(
        proposals.positions, proposals.weights
    )
    np.testing.assert_allclose(neighbour_distances, np.tile(pdfs_and_bonds[1][:, None], (1, 4)), rtol=1e-5)


def test_without_a_bond_the_decoded_radius_sets_the_scale():
    """True distances in units of the radius, some of them negative, give true positions in Å."""
    cluster = from_ase(fcc_shapes.fcc_cluster((2, 2, 2)).to_ase("Au", 2.9), n_rows=20)
    features = jax.jit(representation.unit_sphere_features)(cluster, jnp.asarray(representation.satellites(4)))
    presence = jnp.where(features.presence, 30.0, -30.0)
    decoded = DecodedStructure(-features.pair, features.satellite, presence, jnp.log(features.radius))
    proposal = jax.jit(propose.trilaterate_decoded)(decoded)
    assert bool(proposal.converged) and float(proposal.stress) < 1e-4
    assert float(proposal.radius) == pytest.approx(2 * 2.9 / 2**0.5, rel=1e-5)
    np.testing.assert_allclose(
        proposal.positions[:19], jax.jit(representation.order_atoms)(cluster).positions[:19], atol=1e-3
    )
    np.testing.assert_allclose(proposal.weights, features.presence, atol=1e-6)


@pytest.fixture(scope="module")
def small_network(random_params):
    """Return an untrained network for 20 atoms."""
    network = CVAE(ModelSizes(atoms=20, satellites=4))
    return random_params(network), network


@partial(jax.jit, static_argnums=(3, 4, 5))
def sample_latents(params, pdf, key, network, n_draws=5, draw=True):
    return propose.draw_latents(params, pdf, key, network=network, n_draws=n_draws, draw=draw)


@partial(jax.jit, static_argnums=0)
def prior_density(network, params, pdf):
    return network.apply(params, dataset.normalise(pdf), method=CVAE.prior)


def test_a_deterministic_network_gives_its_mean_with_and_without_draws(small_network, pdfs_and_bonds):
    """The training does not change its variance, so that no draw may use it."""
    params, network = small_network
    deterministic_network = CVAE(replace(network.sizes, stochastic=False))
    mean = prior_density(network, params, pdfs_and_bonds[0][0]).mean
    for module, draw in ((deterministic_network, True), (deterministic_network, False), (network, False)):
        latents = sample_latents(params, pdfs_and_bonds[0][0], KEY, module, draw=draw)
        np.testing.assert_allclose(latents, np.tile(mean, (5, 1)), rtol=1e-5)
    assert np.abs(sample_latents(params, pdfs_and_bonds[0][0], KEY, network) - mean).min() > 1e-4


def test_draws_have_the_priors_mean_and_variance(small_network, pdfs_and_bonds):
    params, network = small_network
    prior = prior_density(network, params, pdfs_and_bonds[0][0])
    z = sample_latents(params, pdfs_and_bonds[0][0], KEY, network, n_draws=20_000)
    standard_deviation = np.exp(0.5 * prior.log_variance)
    np.testing.assert_allclose(np.mean(z, axis=0), prior.mean, atol=0.05 * standard_deviation.max())
    np.testing.assert_allclose(np.std(z, axis=0), standard_deviation, rtol=0.05)


def test_one_key_gives_all_pdfs_of_a_batch_the_same_noise(small_network, pdfs_and_bonds):
    params, network = small_network
    prior = prior_density(network, params, pdfs_and_bonds[0])
    z = jax.vmap(lambda pdf: sample_latents(params, pdf, KEY, network))(pdfs_and_bonds[0])
    noise = (z - prior.mean[:, None]) / np.exp(0.5 * prior.log_variance)[:, None]
    assert np.abs(z[0] - z[1]).max() > 1e-3 and np.abs(noise).max() > 0.1
    np.testing.assert_allclose(noise[0], noise[1], atol=1e-4)


def test_neighbours_give_the_scale_in_spite_of_errors():
    positions = fcc_shapes.fcc_cluster((3, 4, 2)).positions + 0.03 * np.random.default_rng(0).normal(size=(79, 3))
    padded_positions = jnp.pad(jnp.asarray(positions, jnp.float32), ((0, 21), (0, 0)))
    presence = (jnp.arange(100) < 79) * 1.0
    neighbour_distance = jax.jit(propose.neighbour_distance)
    assert float(neighbour_distance(padded_positions, presence)) == pytest.approx(1.0, abs=0.005)
    assert float(neighbour_distance(padded_positions, 0 * presence)) == 1.0


def test_neighbours_are_weighted_by_the_presence_of_both_atoms():
    """Four atoms of a chain have different bond lengths and presences, and one more atom is nearly absent."""
    positions = jnp.array([[0.0, 0, 0], [1, 0, 0], [2.1, 0, 0], [3.3, 0, 0], [3.3, 0.2, 0]])
    weights = jnp.array([1.0, 0.6, 0.9, 0.7, 0.4])
    bond_weights = np.array([1.0 * 0.6, 0.6 * 0.9, 0.9 * 0.7])
    expected_distance = bond_weights @ [1.0, 1.1, 1.2] / bond_weights.sum()
    assert float(jax.jit(propose.neighbour_distance)(positions, weights)) == pytest.approx(expected_distance, rel=1e-5)


def test_the_model_input_is_the_curve_on_the_training_grid():
    """A band-limited curve on another grid is reproduced exactly away from its ends, and is zero outside the data."""
    r = 0.013 + 0.0937 * np.arange(214)
    curve = lambda distance: np.exp(-((distance - 8) ** 2) / 4) * np.sin(9 * distance)  # noqa: E731
    model_input = propose.model_input(Measurement("own", r, curve(r), {}), rmin=1.5)
    grid_r = dataset.PDF_GRID.r
    in_range = (grid_r > 1.5) & (grid_r < 19.9)
    np.testing.assert_allclose(model_input[in_range], curve(grid_r[in_range]), atol=1e-4)
    assert not model_input[grid_r > 20.1].any() and not model_input[grid_r < 1.4].any()
