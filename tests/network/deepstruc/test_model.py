"""Network, loss and proposals of the autoencoder for seven structure types."""

from dataclasses import asdict, replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxstruc.clusters import particle_codes
from jaxstruc.clusters.particle_codes import LATTICES, N_CUTS, N_LETTERS, PARTICLE_TYPES
from jaxstruc.network import weights
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.model import Gaussian, kl_divergence
from jaxstruc.network.deepstruc import loss, model, propose, training
from jaxstruc.network.deepstruc.model import DecodedParticle, ParticleCVAE, ParticleModelSizes
from jaxstruc.options.training import TrainOptions

OPTIONS = TrainOptions(
    preset="deepstruc", batch=32, rate=2e-3, epochs=2, warmup=1, radius=1000.0, presence=1.0, beta=0.03
)
NETWORK = ParticleCVAE(ParticleModelSizes(width=32))


class ExactNetwork:
    """A stand-in for a network, whose decoder knows the particles of a batch."""

    sizes = NETWORK.sizes

    def __init__(self, decoded):
        """Take the particles that the decoder returns."""
        self.decoded = decoded

    def apply(self, params, *arguments, method=None):
        """Return the decoded particles, or a prior of mean 0 and unit variance."""
        density = Gaussian(jnp.zeros((len(self.decoded.cut), 2)), jnp.zeros((len(self.decoded.cut), 2)))
        if method is None:
            return self.decoded, density, density
        return density if method is ParticleCVAE.prior else self.decoded


@pytest.fixture(scope="module")
def batch(particle_dataset):
    rows = np.arange(0, len(particle_dataset.pdf), 5)
    return training.batch_gatherer(particle_dataset)(rows)


@pytest.fixture(scope="module")
def params(batch):
    return jax.jit(NETWORK.init)(jax.random.key(0), batch.features, batch.pdf, jax.random.key(1))


def exact_decoding(batch):
    """Return a decoder's output that is certain of the true particles."""
    features, code = batch.features, batch.features.code
    level = jnp.broadcast_to(code.levels[:, None], (len(code.lattice), len(LATTICES), 3)).astype(float)
    return DecodedParticle(
        lattice=30.0 * jax.nn.one_hot(code.lattice, len(LATTICES)),
        level=level,
        log_width=jnp.full(level.shape, -4.0),
        cut=30.0 * jax.nn.one_hot(code.cut, N_CUTS),
        is_hexagonal=jnp.where(code.is_hexagonal, 30.0, -30.0),
        log_relative_bond=jnp.log(features.bond / batch.pdf.neighbour),
        latent_type=30.0 * jax.nn.one_hot(features.structure_type, len(PARTICLE_TYPES)),
        latent_hexagonal=features.hexagonal,
    )


def particle_loss(batch, network, **weights_by_name):
    schedule = {"beta": 0.0, "pdf": 0.0} | weights_by_name
    return loss.particle_loss(None, batch, jax.random.key(0), network=network, config=OPTIONS, **schedule)


def test_the_true_particles_have_no_loss(batch):
    total, parts = particle_loss(batch, ExactNetwork(exact_decoding(batch)), beta=1.0)
    assert float(total) < 1e-3 and all(float(value) < 1e-3 for value in parts.values())


def test_the_terms_are_those_written_out(batch):
    """The decoder is undecided: each choice of n costs ln n, and the levels have a logistic density of width 1."""
    exact, code = exact_decoding(batch), batch.features.code
    undecided = DecodedParticle(*(jnp.zeros_like(column) for column in exact))
    total, parts = particle_loss(batch, ExactNetwork(undecided))
    levels = np.asarray(code.levels, float)
    probability = 1 / (1 + np.exp(-levels - 0.5)) - 1 / (1 + np.exp(-levels + 0.5))
    expected_code = np.mean(-np.log(probability).sum(axis=1)) + np.log(N_CUTS)
    assert float(parts["code"]) == pytest.approx(expected_code, rel=1e-4)
    assert float(parts["type"]) == pytest.approx(np.log(len(LATTICES)), rel=1e-5)
    log_bond = np.log(np.asarray(batch.features.bond) / np.asarray(batch.pdf.neighbour))
    assert float(parts["radius"]) == pytest.approx(np.mean(log_bond**2), rel=1e-5)
    expected = 1000 * np.mean(log_bond**2) + expected_code + np.log(len(LATTICES)) + np.log(len(PARTICLE_TYPES))
    assert float(total) == pytest.approx(expected, rel=1e-4)


def test_the_letters_of_stacks_cost_one_bit_each_if_undecided():
    """Stacks of n layers have n - 2 letters. The latent vector predicts their share of hexagonal layers."""
    stacks = particle_codes.stacks()[::40]
    codes = jax.tree.map(lambda *rows: jnp.stack(rows), *map(particle_codes.particle_code, stacks))
    hexagonal = jnp.array([particle_codes.hexagonal_share(stack) for stack in stacks])
    features = model.ParticleFeatures(codes, jnp.ones(len(stacks)), jnp.full(len(stacks), 7), hexagonal)
    batch = loss.ScaledBatch(features, model.ScaledPdf(jnp.zeros((len(stacks), 3)), jnp.ones(len(stacks))))
    decoded = exact_decoding(batch)._replace(is_hexagonal=jnp.zeros((len(stacks), N_LETTERS)))
    parts = particle_loss(batch, ExactNetwork(decoded))[1]
    n_letters = np.mean([len(stack.label) for stack in stacks])
    assert float(parts["code"]) == pytest.approx(n_letters * np.log(2), rel=1e-4)
    decoded = decoded._replace(latent_hexagonal=hexagonal + loss.HEXAGONAL_ERROR)
    assert float(particle_loss(batch, ExactNetwork(decoded))[1]["hexagonal"]) == pytest.approx(1, rel=1e-4)


def test_without_the_type_head_the_latent_type_costs_nothing(batch):
    network = ExactNetwork(exact_decoding(batch)._replace(latent_type=jnp.zeros((len(batch.pdf.neighbour), 8))))
    assert float(particle_loss(batch, network)[0]) == pytest.approx(np.log(8), rel=1e-3)
    network.sizes = replace(NETWORK.sizes, type_head=False)
    assert float(particle_loss(batch, network)[0]) < 1e-3


def test_an_exact_decoder_proposes_the_true_positions(particle_dataset, batch):
    network = ExactNetwork(exact_decoding(batch))
    proposals = propose.propose_particles.__wrapped__(None, batch.pdf, jax.random.key(0), network=network)
    np.testing.assert_array_equal(proposals.structure_type, batch.features.structure_type)
    for row, index in enumerate(np.arange(0, len(particle_dataset.pdf), 5)):
        shape, bond = particle_dataset.shapes[particle_dataset.shape_index[index]], particle_dataset.bond[index]
        positions = np.asarray(proposals.positions[row])[np.asarray(proposals.mask[row])]
        distances, true_distances = (
            np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), axis=None)
            for points in (positions, shape.positions * bond)
        )
        np.testing.assert_allclose(distances, true_distances, atol=0.01)


def test_proposals_have_at_least_five_atoms_and_at_most_the_largest_number(batch):
    exact = exact_decoding(batch)
    for level, n_atoms in ((-3.0, 5), (50.0, 60)):
        network = ExactNetwork(exact._replace(level=jnp.full(exact.level.shape, level)))
        proposals = propose.propose_particles.__wrapped__(
            None, batch.pdf, jax.random.key(0), network=network, max_atoms=60
        )
        assert (np.asarray(proposals.mask).sum(axis=1) == n_atoms).all() and np.isfinite(proposals.positions).all()


def test_a_cut_removes_its_share_of_the_atoms_beyond_a_plane():
    code = particle_codes.particle_code(particle_codes.polyhedra()[5])
    whole, cut = (
        propose.particle_atoms(
            jax.tree.map(jnp.asarray, code._replace(cut=cut)), jnp.array([1.0, 2.0, 3.0]), max_atoms=200
        )
        for cut in (0, 6)
    )
    n_whole = int(whole[1].sum())
    assert int(cut[1].sum()) == round(0.7 * n_whole)
    height = np.asarray(whole[0] @ jnp.array([1.0, 2.0, 3.0]))
    removed = np.asarray(whole[1] & ~cut[1])
    assert height[removed].min() >= height[np.asarray(cut[1])].max() - 1e-5


def test_draws_have_the_stated_densities():
    """Among many draws, the share of a level is its probability in the loss."""
    n = 4000
    decoded = DecodedParticle(
        *(jnp.zeros((n, width)) for width in (len(LATTICES), 3, 3, N_CUTS, N_LETTERS)), *(jnp.zeros(n),) * 3
    )
    level = jnp.full((n, len(LATTICES), 3), 2.3)
    decoded = decoded._replace(level=level, log_width=jnp.full(level.shape, -0.5))
    codes = propose.draw_codes(decoded, jax.random.key(0))
    probability = np.exp(loss.level_log_likelihood(decoded, codes._replace(levels=jnp.full((n, 3), 2)))[0] / 3)
    assert np.mean(np.asarray(codes.levels) == 2) == pytest.approx(probability, abs=0.02)
    assert np.mean(np.asarray(codes.is_hexagonal)) == pytest.approx(0.5, abs=0.02)
    assert len(set(np.asarray(codes.lattice).tolist())) == len(LATTICES)


def test_draws_differ_with_the_key_and_the_mean_does_not(params, batch):
    def proposals(key, draw):
        return propose.propose_particles(params, batch.pdf, jax.random.key(key), network=NETWORK, draw=draw)

    assert not np.allclose(proposals(0, True).latent, proposals(1, True).latent)
    np.testing.assert_array_equal(proposals(0, False).latent, proposals(1, False).latent)


def test_whitened_pdfs_are_uncorrelated_with_a_variance_below_one():
    """The variance of a component is v / (v + e) for its variance v and the added variance e."""
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(400, 150)) * np.geomspace(1e-3, 2, 150) + 1, jnp.float32)
    components = np.asarray((values - values.mean(axis=0)) @ model.scaled_components(values))
    covariance = components.T @ components / len(values)
    variances = np.linalg.eigvalsh(np.cov(np.asarray(values, float).T, ddof=0))[-model.N_COMPONENTS :]
    np.testing.assert_allclose(covariance, np.diag(variances / (variances + model.MIN_VARIANCE)), atol=5e-3)


def test_half_of_the_particles_are_decoded_from_the_prior(params, batch):
    """Only rows of even number depend on the particle itself, through the posterior."""
    code = batch.features.code
    other = batch.features._replace(code=code._replace(levels=code.levels + 3))
    key = jax.random.key(3)
    first, second = (NETWORK.apply(params, features, batch.pdf, key)[0] for features in (batch.features, other))
    differs = np.abs(np.asarray(first.cut - second.cut)).max(axis=1) > 0
    np.testing.assert_array_equal(differs, np.arange(len(differs)) % 2 == 0)


def test_gradients_are_finite_and_reach_all_trained_parameters(params, batch):
    def total(params):
        schedule = {"beta": 0.1, "pdf": 0.0}
        return loss.particle_loss(params, batch, jax.random.key(0), network=NETWORK, config=OPTIONS, **schedule)[0]

    gradient = jax.jit(jax.grad(total))(params)
    assert np.isfinite(optax.tree.norm(gradient))
    whitening = gradient["params"]["pdf_network"].pop("Whitening_0")
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(whitening))
    decoder = gradient["params"]["decoder"]
    unused = "Dense_7", "Dense_10"  # letters and hexagonal layers of stacks, of which the batch has none
    assert all(np.any(leaf) for name, layer in decoder.items() if name not in unused for leaf in jax.tree.leaves(layer))
    assert all(np.any(leaf) for leaf in jax.tree.leaves({**gradient["params"], "decoder": {}}))


def test_the_kl_term_compares_posterior_and_prior(params, batch):
    schedule = {"beta": 0.5, "pdf": 0.0}
    key = jax.random.key(2)
    parts = loss.particle_loss(params, batch, key, network=NETWORK, config=OPTIONS, **schedule)[1]
    _, posterior, prior = NETWORK.apply(params, batch.features, batch.pdf, key)
    assert float(parts["kl"]) == pytest.approx(float(jnp.mean(kl_divergence(posterior, prior))), rel=1e-4)


@pytest.mark.slow
@pytest.mark.long
def test_a_resumed_training_ends_like_an_uninterrupted_one(particle_dataset, tmp_path):
    """The validation loss falls, the weights come back from their file, and other networks refuse them."""
    split = dataset.split(particle_dataset, strategy="random", seed=0)
    folders = tmp_path / "whole", tmp_path / "resumed"
    ((whole,), progress) = training.fit_particles(
        particle_dataset, [split], OPTIONS, folder=folders[0], network=NETWORK
    )
    training.fit_particles(particle_dataset, [split], OPTIONS, folder=folders[1], network=NETWORK, stop_after=1)
    ((resumed,), _) = training.fit_particles(particle_dataset, [split], OPTIONS, folder=folders[1], network=NETWORK)
    chex.assert_trees_all_equal(resumed, whole)
    assert progress.epoch == 2 and progress.best_loss[0] < 200
    card = weights.autoencoder_card(particle_dataset, split, OPTIONS, progress, command="jaxstruc train")
    path = tmp_path / "weights.safetensors"
    weights.save_weights(path, whole, card | {"particle_sizes": asdict(NETWORK.sizes)})
    restored = weights.load_particle_network(path)
    assert restored.module.sizes == NETWORK.sizes
    chex.assert_trees_all_close(restored.params, jax.tree.map(np.asarray, whole), rtol=2e-3, atol=1e-4)
    with pytest.raises(ValueError, match="'sizes'"):
        weights.load_autoencoder(path)


def test_options_of_the_other_network_are_refused(particle_dataset, tmp_path):
    split = dataset.split(particle_dataset, strategy="random", seed=0)
    for options in (replace(OPTIONS, model="dae"), replace(OPTIONS, pdf=1.0)):
        with pytest.raises(ValueError, match="Expected --model cvae and --pdf 0"):
            training.fit_particles(particle_dataset, [split], options, folder=tmp_path)
