"""The detector of shells of light atoms, and its training data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.clusters import library
from jaxstruc.network import weights
from jaxstruc.network.classifier import shell_detector, training
from jaxstruc.network.classifier.relaxed_clusters import BIN_WIDTH
from jaxstruc.network.classifier.shell_detector import HELD_OUT_MULTIPLE, ShellDetector
from jaxstruc.network.classifier.training import TrainingTask
from jaxstruc.network.weights import TrainedShellDetector
from jaxstruc.options.pdf import SHELL_DETECTOR
from jaxstruc.options.training import TrainClassifierOptions

SMALL_DETECTOR = ShellDetector(channels=(4,), width=8)
SHELL_TASK = TrainingTask(SMALL_DETECTOR, shell_detector.simulate_shells, shell_detector.shell_loss)
TRAINING = TrainClassifierOptions(steps=4, rate=0.01)


@pytest.fixture(scope="module")
def particles():
    clusters = library.load_or_build(("fcc", "icosahedron"), max_atoms=80)
    return shell_detector.shelled_particles(clusters, n_particles=12, seed=3)


def test_histograms_count_all_ordered_pairs_of_a_metal_atom(particles):
    """A particle of N atoms has N - 1 other atoms for each atom, and each pair of metal and shell is counted once."""
    n_atoms = np.asarray(particles.metal_pairs).sum(axis=1) + 1
    np.testing.assert_allclose(n_atoms, np.round(n_atoms), rtol=1e-4)
    n_shell_atoms = np.asarray(particles.shell_atoms) * n_atoms
    np.testing.assert_allclose(np.asarray(particles.mixed_pairs).sum(axis=1), n_shell_atoms, rtol=1e-4)
    shell_pairs = n_shell_atoms * (n_shell_atoms - 1) / n_atoms
    np.testing.assert_allclose(np.asarray(particles.shell_pairs).sum(axis=1), shell_pairs, rtol=1e-4, atol=1e-4)


def test_only_light_shells_have_pairs_below_the_first_shell_of_the_metal(particles):
    is_short = np.arange(particles.mixed_pairs.shape[1]) * BIN_WIDTH < 0.88
    has_short_pairs = np.asarray(particles.mixed_pairs)[:, is_short].sum(axis=1) > 0
    np.testing.assert_array_equal(has_short_pairs, ~np.asarray(particles.is_metal))
    assert np.asarray(particles.metal_pairs)[:, is_short].sum() < 0.01 * np.asarray(particles.metal_pairs).sum()


def test_held_out_clusters_are_not_in_the_training():
    clusters = library.load_or_build(("fcc", "icosahedron"), max_atoms=80)
    sizes = {
        is_held_out: set(clusters.atoms[(np.arange(len(clusters.atoms)) % HELD_OUT_MULTIPLE == 0) == is_held_out])
        for is_held_out in (False, True)
    }
    for is_held_out in (False, True):
        particles = shell_detector.shelled_particles(clusters, n_particles=10, seed=1, is_held_out=is_held_out)
        n_atoms = np.rint(np.asarray(particles.metal_pairs).sum(axis=1) + 1).astype(int)
        assert set(n_atoms.tolist()) <= sizes[is_held_out]


def test_half_of_the_samples_have_shells_and_metal_is_no_shell(particles):
    batch = jax.jit(shell_detector.simulate_shells)(jax.random.key(0), particles)
    assert batch.simulated.pdf.shape[0] == shell_detector.N_PDFS == len(batch.has_shell)
    np.testing.assert_array_equal(batch.has_shell, batch.amount > 0)
    assert 0.25 < float(batch.has_shell.mean()) < 0.6 and bool(jnp.isfinite(batch.simulated.pdf).all())
    all_metal = particles._replace(is_metal=jnp.ones_like(particles.is_metal))
    assert not jax.jit(shell_detector.simulate_shells)(jax.random.key(0), all_metal).has_shell.any()


@pytest.mark.long
def test_a_training_repeats_to_the_last_bit_and_its_weights_are_read_as_written(particles, tmp_path):
    def train(folder):
        return training.train_classifier(
            particles, TRAINING, folder=folder, task=SHELL_TASK, checkpoint_interval=2
        )  # fmt: skip

    params, metrics = train(tmp_path / "a")
    repeated_params, _ = train(tmp_path / "b")
    jax.tree.map(np.testing.assert_array_equal, params, repeated_params)
    assert set(metrics) == {"loss", "right", "gradient"} and 0 < metrics["gradient"] < np.inf
    path = tmp_path / "detector.safetensors"
    weights.save_shell_detector(path, TrainedShellDetector(params, SMALL_DETECTOR, {"threshold": 0.5}))
    detector = weights.load_shell_detector(path)
    assert detector.module == SMALL_DETECTOR and detector.card["threshold"] == 0.5
    inputs = (jnp.ones((2, 448)), jnp.ones((2, 448), bool), jnp.ones((2, 5)))
    np.testing.assert_allclose(
        *(shell_detector.shell_log_odds(entry, *inputs, module=SMALL_DETECTOR) for entry in (params, detector.params)),
        atol=0.01,
    )


def test_weights_of_another_version_are_refused(tmp_path):
    path = tmp_path / "detector.safetensors"
    path.write_bytes(SHELL_DETECTOR.read_bytes())
    text = SHELL_DETECTOR.with_suffix(".json").read_text("utf-8")
    path.with_suffix(".json").write_text(text.replace('"version": 1', '"version": 9'))
    with pytest.raises(ValueError, match=r"Expected a shell detector of version 1 at .*, got version 9"):
        weights.load_shell_detector(path)
