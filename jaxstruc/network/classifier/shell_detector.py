r"""A network that detects a shell of light atoms around the particles of a sample, e.g. sulphur of ligands or oxygen.

The classifier is trained on bare metal particles. A shell of light atoms adds pairs at distances that no bare particle
has. The detector is trained on the same stream of simulated PDFs, in half of which the particles have a shell
(`clusters.ligand_shells`). An atom of the shell scatters x times as much as an atom of the metal, so that the number of
ordered pairs per metal atom is

$h(r) = h_{MM}(r) + 2 x\, h_{ML}(r) + x^2\, h_{LL}(r)$

with pairs within the metal (MM), between metal and shell (ML), and within the shell (LL). A layer of disordered metal
is no shell of light atoms. Lengths are in units of the bond length.
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float
from scipy.spatial.distance import cdist, pdist

from jaxstruc.clusters import displacement_fields, random_particles
from jaxstruc.clusters.displacement_fields import DisplacementField
from jaxstruc.clusters.library import Library, candidate_cluster
from jaxstruc.clusters.ligand_shells import Shell, random_shell
from jaxstruc.clusters.potential import Potential
from jaxstruc.network.classifier.particles import PARTICLE_VALUE_NAMES, ParticleBatch
from jaxstruc.network.classifier.relaxed_clusters import bin_distances
from jaxstruc.network.classifier.simulated_pdfs import SimulatedBatch, simulate_particle_pdfs

ATOM_RANGE = (13, 600)
"""Range of the number of metal atoms of the particles. The logarithm of the number is about uniform."""
SCATTERING_RANGE = (0.05, 0.35)
"""Range of the scattering x of a light atom, relative to an atom of the metal: S on Au 0.20, O on Pt 0.10, O on Ni
0.29."""
METAL_SHELL_FRACTION, BLEND_FRACTION = 0.15, 0.3
"""Fraction of the particles whose shell is disordered metal, and fraction of the samples that have two particles."""
N_PDFS = 256
"""Number of PDFs in a training step."""
PARTICLES_PER_POTENTIAL = 80
"""Number of particles that relax in the same random potential."""
HELD_OUT_MULTIPLE = 5
"""Clusters of the library whose row is a multiple of this number are held out for tests."""
AMOUNT_LEVELS = (0.03, 0.06, 0.1, 0.2, 1.0)
"""Limits of the classes of `ShellBatch.amount` for which the detected fraction is reported."""
N_TEST_STEPS = 32
"""Number of batches that test a detector."""
MAX_FALSE_ALARMS = 0.03
"""Fraction of PDFs of bare particles for which the detector reports a shell."""


class ShelledParticles(NamedTuple):
    """Pair distances of particles and of their shells, from which samples with and without shells are drawn."""

    metal_pairs: Float[Array, "particle bin"]
    """Number of ordered pairs per metal atom in each distance bin."""
    mixed_pairs: Float[Array, "particle bin"]
    """Number of pairs of a metal atom and a shell atom, per metal atom."""
    shell_pairs: Float[Array, "particle bin"]
    """Number of ordered pairs within the shell, per metal atom."""
    shell_atoms: Float[Array, " particle"]
    """Number of shell atoms per metal atom."""
    is_metal: Bool[Array, " particle"]
    """Whether the shell consists of disordered metal."""


class ShellBatch(NamedTuple):
    """Simulated PDFs with and without shells."""

    simulated: SimulatedBatch
    has_shell: Bool[Array, " pdf"]
    """Whether the sample has a shell of light atoms."""
    amount: Float[Array, " pdf"]
    """Scattering of the shell relative to that of the metal; 0 without a shell."""


class ShellDetector(nn.Module):
    """The network that maps a PDF and its settings to the log odds of a shell of light atoms."""

    channels: tuple[int, ...] = (32, 48, 64)
    """Number of channels of each convolutional stage."""
    width: int = 128
    """Number of outputs of each dense layer."""

    @nn.compact
    def __call__(self, pdf, mask, settings) -> Float[Array, " pdf"]:
        """Return the log odds. The arguments are those of `model.Classifier`."""
        x = nn.Conv(self.channels[0], (9,), 2)(jnp.stack([pdf, mask.astype(pdf.dtype)], axis=-1))
        x = x + nn.Dense(self.channels[0])(nn.gelu(nn.Dense(64)(settings)))[:, None]
        for channels in self.channels:
            residual = nn.Conv(channels, (7,), 2)(nn.gelu(nn.LayerNorm()(x)))
            residual = nn.Conv(channels, (3,))(nn.gelu(nn.LayerNorm()(residual)))
            x = residual + nn.Dense(channels)(nn.avg_pool(x, (2,), (2,)))
        x = nn.gelu(nn.LayerNorm()(x)).reshape(len(x), -1)
        x = nn.gelu(nn.Dense(self.width)(jnp.concatenate([x, settings], axis=-1)))
        return nn.Dense(1)(nn.gelu(nn.Dense(self.width // 2)(x)))[:, 0]


def shelled_particles(library: Library, *, n_particles: int, seed: int, is_held_out: bool = False) -> ShelledParticles:
    """Return relaxed clusters of a library with random shells.

    Args:
        library: Library of the clusters.
        n_particles: Number of particles.
        seed: Seed of the choice of clusters, of their relaxation and of the shells.
        is_held_out: Whether the clusters are those that are held out for tests.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(
        (library.atoms >= ATOM_RANGE[0])
        & (library.atoms <= ATOM_RANGE[1])
        & ((np.arange(len(library.atoms)) % HELD_OUT_MULTIPLE == 0) == is_held_out)
    )
    rows = rows[np.argsort(library.atoms[rows], kind="stable")]
    log_size = np.log(library.atoms[rows])
    targets = rng.uniform(log_size[0], log_size[-1], n_particles)
    selected = rows[np.clip(np.searchsorted(log_size, targets) + rng.integers(-2, 3, n_particles), 0, len(rows) - 1)]
    columns = []
    for start in range(0, n_particles, PARTICLES_PER_POTENTIAL):
        ideal = [
            candidate_cluster(library, int(row)).positions for row in selected[start : start + PARTICLES_PER_POTENTIAL]
        ]
        for positions in _relaxed_positions(ideal, rng):
            shell = random_shell(positions, is_metal=bool(rng.random() < METAL_SHELL_FRACTION), rng=rng)
            columns.append(_pair_histograms(positions, shell))
    return ShelledParticles(*(jnp.asarray(np.stack(column)) for column in zip(*columns, strict=True)))


def simulate_shells(key: Array, particles: ShelledParticles) -> ShellBatch:
    """Return the PDFs of a training step."""
    first_key, second_key, number_key, pdf_key = jax.random.split(key, 4)
    first, second = (
        jax.random.choice(subkey, len(particles.is_metal), (N_PDFS,)) for subkey in (first_key, second_key)
    )
    shell_number, scattering_number, blend_number = jax.random.uniform(number_key, (3, N_PDFS))
    has_atoms = shell_number < 0.5
    low, high = SCATTERING_RANGE
    light_scattering = low + (high - low) * scattering_number

    def sample_histogram(rows):
        scattering = jnp.where(has_atoms, jnp.where(particles.is_metal[rows], 1.0, light_scattering), 0.0)
        histogram = (
            particles.metal_pairs[rows]
            + 2 * scattering[:, None] * particles.mixed_pairs[rows]
            + scattering[:, None] ** 2 * particles.shell_pairs[rows]
        )
        return histogram, jnp.where(particles.is_metal[rows], 0.0, scattering * particles.shell_atoms[rows])

    (histogram, amount), (other_histogram, other_amount) = sample_histogram(first), sample_histogram(second)
    share = jnp.where(blend_number < BLEND_FRACTION, blend_number / BLEND_FRACTION, 0.0)
    histogram = histogram + share[:, None] * (other_histogram - histogram)
    amount = amount + share * (other_amount - amount)
    unknown = jnp.full((N_PDFS, len(PARTICLE_VALUE_NAMES)), jnp.nan)
    particle_batch = ParticleBatch(histogram, jnp.full(N_PDFS, -1), unknown, jnp.zeros(N_PDFS, int))
    simulated = simulate_particle_pdfs(pdf_key, particle_batch, anomaly_fraction=0.0)
    return ShellBatch(simulated, amount > 0, amount)


def shell_loss(params: Any, batch: ShellBatch, module: ShellDetector) -> tuple[Array, dict[str, Array]]:
    """Return the cross entropy of the training, and its metrics: the loss and the fraction of correct answers."""
    log_odds: Any = module.apply(params, batch.simulated.pdf, batch.simulated.mask, batch.simulated.settings)
    loss = optax.sigmoid_binary_cross_entropy(log_odds, batch.has_shell).mean()
    return loss, {"loss": loss, "right": jnp.mean((log_odds > 0) == batch.has_shell)}


@partial(jax.jit, static_argnames="module")
def shell_log_odds(params: Any, pdf: Array, mask: Array, settings: Array, *, module: ShellDetector) -> Array:
    """Return the log odds [pdf] of a shell of light atoms for PDFs in the form of the classifier's input."""
    return module.apply(params, pdf, mask, settings)  # type: ignore[return-value]


def evaluate_detector(
    params: Any, particles: ShelledParticles, *, seed: int, module: ShellDetector
) -> dict[str, float]:
    """Return the threshold of the log odds, and the fractions of shells that are detected with it.

    Args:
        params: Parameters of the detector.
        particles: Particles that are held out from the training.
        seed: Seed of the PDFs.
        module: Network of the detector.
    """

    @jax.jit
    def evaluate_step(key):
        batch = simulate_shells(key, particles)
        simulated = batch.simulated
        return shell_log_odds(params, simulated.pdf, simulated.mask, simulated.settings, module=module), batch.amount

    keys = jax.random.split(jax.random.key(seed), N_TEST_STEPS)
    log_odds, amount = (np.concatenate(column) for column in zip(*map(evaluate_step, keys), strict=True))
    threshold = float(np.quantile(log_odds[amount == 0], 1 - MAX_FALSE_ALARMS))
    fractions = {
        f"detected from {low:g}": float(np.mean(log_odds[(amount >= low) & (amount < high)] > threshold))
        for low, high in itertools.pairwise(AMOUNT_LEVELS)
    }
    return {"threshold": threshold, **fractions}


def _relaxed_positions(ideal: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Return particles that are relaxed by random amplitudes in a random potential, or rigid."""
    metal = Potential(*map(float, _random_potential(jnp.asarray(rng.random(3)))))
    fields = displacement_fields.displacement_fields(ideal, metal)
    amplitudes = [float(random_particles.random_amplitude(*map(jnp.asarray, rng.random(2)))) for _ in range(len(ideal))]
    return [
        positions + amplitude * field.displacements.astype(float) if isinstance(field, DisplacementField) else positions
        for positions, field, amplitude in zip(ideal, fields, amplitudes, strict=True)
    ]


_random_potential = jax.jit(lambda numbers: random_particles.random_potential(*numbers))


def _pair_histograms(positions: np.ndarray, shell: Shell) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, bool]:
    """Return the columns of `ShelledParticles` for one particle."""
    n_atoms = len(positions)
    return (
        _histogram(pdist(positions), 2 / n_atoms),
        _histogram(cdist(positions, shell.positions).ravel(), 1 / n_atoms),
        _histogram(pdist(shell.positions), 2 / n_atoms),
        len(shell.positions) / n_atoms,
        shell.is_metal,
    )


def _histogram(distances: np.ndarray, weight: float) -> np.ndarray:
    """Return the histogram of distances that all have the same weight."""
    return bin_distances(np.full(len(distances), weight), distances)
