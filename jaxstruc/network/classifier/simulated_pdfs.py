r"""An endless stream of simulated PDFs with their true labels, computed on the device during the training.

The seed and the number of a training step determine its PDFs. No step repeats a PDF, and no PDF is stored. For PDFs
with the same instrument and the same vibrations, the contribution of a distance bin to F(Q) is also the same. Each PDF
is then one row of two matrix products:

$F(Q) = \sum_k h_k \frac{\sin Qr_k}{r_k} e^{-\sigma_k^2Q^2/2}$ and
$G(r) = \frac{2}{\pi} \int F(Q) \sin Qr\, dQ\; e^{-q_\mathrm{damp}^2r^2/2}$

Here $h_k$ is the number of ordered pairs per atom in bin $k$, $r_k$ the distance of the bin, $\sigma_k^2$ the variance
of this distance, and $q_\mathrm{damp}$ the damping by the resolution of the instrument (P. Debye, Ann. Phys. 351, 809
(1915); C. L. Farrow, S. J. L. Billinge, Acta Cryst. A65, 232 (2009)).

G(r) is computed at even steps of ln r, so that a stretch of all distances is a shift. The unit of r is the nominal bond
length, i.e. the nearest-neighbour distance that is assumed for the element. The stretch is the ratio of the true bond
length to the nominal bond length. All lengths are in Å unless another unit is stated.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

import jaxstruc
from jaxstruc import files
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.network.classifier import particles
from jaxstruc.network.classifier.particles import BIN_WIDTH, N_BINS, ParticleBatch, ParticleStore

N_POINTS, MIN_R_BONDS, MAX_R_BONDS = 448, 0.7, 12.5
"""Number of points of the PDF, and its first and last r in units of the nominal bond length."""
R_BONDS = np.exp(np.linspace(math.log(MIN_R_BONDS), math.log(MAX_R_BONDS), N_POINTS)).astype(np.float32)
"""Distances r of the points of the PDF, in units of the nominal bond length."""
N_Q = 288
"""Number of Q values, enough for r up to about 36 Å."""
PDFS_PER_INSTRUMENT = 32
"""Number of PDFs that share one instrument."""
SIMULATION_RANGES = {
    "bond": (2.3, 3.4),  # Å
    "stretch": (0.96, 1.04),
    "uiso": (0.0015, 0.03),  # Å², uniform in the logarithm
    "delta2": (0.0, 0.8),  # in units of the bond length squared
    "qmin": (0.0, 2.5),  # 1/Å
    "qmax": (10.0, 30.0),  # 1/Å
    "qdamp": (0.0, 0.08),  # 1/Å
    "qbroad": (0.0, 0.02),  # 1/Å
    "noise": (0.0, 0.15),  # standard deviation of noise on F(Q) in steps of 0.02 1/Å, relative to the rms of F(Q)
    "background": (0.0, 0.3),  # amplitude of a smooth background of G(r), relative to the rms of G(r)
    "offset": (0.0, 0.5),  # amplitude of the error of F(Q) from a wrong normalisation, relative to the rms of F(Q)
    "rmin": (0.0, 2.2),  # Å
    "rmax": (12.0, 40.0),  # Å
}
"""Ranges of the simulated conditions. All values except uiso and noise are drawn uniformly. The logarithm of uiso is
uniform. The square root of the noise is uniform, so that weak noise is more frequent than strong noise. The rms is the
root mean square."""
SHARED_CONDITION_NAMES = ("bond", "stretch", "uiso", "delta2", "qmin", "qmax", "qdamp", "qbroad")
"""Names of the conditions that the PDFs of one instrument share."""
CLEAN_FRACTION, NOISELESS_FRACTION, FULL_RANGE_FRACTION, KNOWN_SETTING_FRACTION = 0.4, 0.15, 0.4, 0.6
"""Fractions of PDFs without background and offset, of PDFs without noise, of PDFs with the largest rmax, and of PDFs
whose true qmin is an input of the network. The last fraction also applies to qdamp."""
ANOMALY_FRACTION = 0.12
"""Fraction of anomalous PDFs: the sample has particles of two types, or the stated qmax is wrong."""
BLEND_FRACTION_RANGE, WRONG_QMAX_LOG_RANGE = (0.3, 0.7), (0.1, 0.25)
"""Range of the share of the first particle in a blend of two particles, and range of the difference between the
logarithms of a wrong qmax and of the true qmax."""
DEFAULT_QDAMP, MAX_QMIN_DEFICIT = 0.03, 1.0
"""Input qdamp of the network if the true qdamp is unknown, and largest difference between the true qmin and the lower
input qmin of the network if the true qmin is unknown, both in 1/Å."""
SETTING_NAMES = ("qmin", "qmax", "qdamp", "rmin", "rmax")
"""Names of the settings that the network gets as input, scaled by `scaled_settings`."""
VALUE_NAMES = (*particles.PARTICLE_VALUE_NAMES, "stretch")
"""Names of the values that the network predicts."""


class TrueLabels(NamedTuple):
    """The true types and values of samples."""

    type_index: Int[Array, " pdf"]
    """Index of the type in `STRUCTURE_TYPES`. It is -1 if the atoms do not show a type or if the PDF is anomalous."""
    values: Float[Array, "pdf value"]
    """Values in the order of `VALUE_NAMES`. A value is NaN if it is unknown or undefined."""


class SharedConditions(NamedTuple):
    """The conditions that the PDFs of one instrument share, in the units of `SIMULATION_RANGES`."""

    bond: Array
    stretch: Array
    uiso: Array
    delta2: Array
    qmin: Array
    qmax: Array
    qdamp: Array
    qbroad: Array


class SimulatedBatch(NamedTuple):
    """Simulated PDFs in the form of the network's input, and their true labels."""

    pdf: Float[Array, "pdf r"]
    """G(r) at `R_BONDS`, divided by its root mean square over the range with data, and 0 outside this range."""
    mask: Bool[Array, "pdf r"]
    """True at points with data."""
    settings: Float[Array, "pdf setting"]
    """Settings in the order of `SETTING_NAMES`, scaled by `scaled_settings`."""
    labels: TrueLabels
    source: Int[Array, " pdf"]
    """Code of the source of each sample, e.g. `particles.CUT_SOURCE` for a random particle."""
    noise: Float[Array, " pdf"]
    """Standard deviation of the noise on F(Q), relative to the root mean square of F(Q)."""
    is_anomalous: Bool[Array, " pdf"]
    """Whether the sample has particles of two types or the stated qmax is wrong. The labels are then unknown."""


def simulate_batch(key: Array, store: ParticleStore, *, anomaly_fraction: float = ANOMALY_FRACTION) -> SimulatedBatch:
    """Return the PDFs of a training step.

    Args:
        key: Random key of the step, `jax.random.fold_in(jax.random.key(seed), step)`.
        store: Clusters and arrangements of atoms, from which the samples are drawn.
        anomaly_fraction: Fraction of anomalous PDFs (see `ANOMALY_FRACTION`).
    """
    particle_key, instrument_key = jax.random.split(key)
    return simulate_particle_pdfs(
        instrument_key, particles.draw_particles(particle_key, store), anomaly_fraction=anomaly_fraction
    )


def write(
    store: ParticleStore, path: Path, *, seed: int, steps: int, report_progress: Callable[[int, int, str], None]
) -> None:
    """Write the PDFs of the first steps of a seed to an HDF5 file. The file appears only when it is complete."""
    jitted_batch = jax.jit(simulate_batch)
    with files.atomic_replacement(path) as temporary_path, h5py.File(temporary_path, "w") as file:
        file.attrs.update(
            {
                "seed": seed,
                "jaxstruc": jaxstruc.__version__,
                "types": STRUCTURE_TYPES,
                "values": VALUE_NAMES,
                "settings": SETTING_NAMES,
            }
        )
        file["r"] = R_BONDS
        for step in range(steps):
            batch = jitted_batch(jax.random.fold_in(jax.random.key(seed), step), store)
            group = file.create_group(f"{step:06d}")
            for name, column in _file_columns(batch).items():
                group[name] = np.asarray(column)
            report_progress(step + 1, steps, "")


def _file_columns(batch: SimulatedBatch) -> dict[str, Array]:
    """Return the arrays of a batch by their names in the HDF5 file."""
    return {
        "pdf": batch.pdf,
        "mask": batch.mask,
        "settings": batch.settings,
        "source": batch.source,
        "noise": batch.noise,
        "is_anomalous": batch.is_anomalous,
        "type": batch.labels.type_index,
        "values": batch.labels.values,
    }


def simulate_particle_pdfs(key: Array, particle_batch: ParticleBatch, *, anomaly_fraction: float) -> SimulatedBatch:
    """Return simulated PDFs of samples. Each group of `PDFS_PER_INSTRUMENT` samples has its own instrument."""
    grouped_particles = jax.tree.map(
        lambda column: column.reshape(-1, PDFS_PER_INSTRUMENT, *column.shape[1:]), particle_batch
    )
    keys = jax.random.split(key, len(particle_batch.type_index) // PDFS_PER_INSTRUMENT)
    simulated_groups = jax.lax.map(
        lambda group_inputs: _simulate_group(*group_inputs, anomaly_fraction=anomaly_fraction),
        (keys, grouped_particles),
    )
    return jax.tree.map(lambda column: column.reshape(-1, *column.shape[2:]), simulated_groups)


def reduced_structure_function(
    histogram: Float[Array, "pdf bin"], conditions: SharedConditions
) -> Float[Array, "pdf q"]:
    """Return the reduced structure function F(Q) at `q_midpoints`, in 1/Å."""
    return histogram @ _bin_scattering(q_midpoints(conditions), conditions)


def pdf_from_f(f: Float[Array, "pdf q"], conditions: SharedConditions) -> Float[Array, "pdf r"]:
    """Return G(r) in 1/Å², at `R_BONDS` times the nominal bond length."""
    r, step = R_BONDS * conditions.bond, (conditions.qmax - conditions.qmin) / N_Q
    return (
        2
        / jnp.pi
        * step
        * f
        @ jnp.sin(q_midpoints(conditions)[:, None] * r)
        * jnp.exp(-0.5 * (conditions.qdamp * r) ** 2)
    )


def q_midpoints(conditions: SharedConditions) -> Float[Array, " q"]:
    """Return the midpoints of `N_Q` equal intervals from qmin to qmax, in 1/Å."""
    return conditions.qmin + (conditions.qmax - conditions.qmin) * (jnp.arange(N_Q) + 0.5) / N_Q


def mask_and_normalise(g: Array, r: Array, rmin: Array, rmax: Array) -> tuple[Array, Array]:
    """Return normalised PDFs, and the mask of their points from rmin to rmax.

    A PDF is divided by its root mean square over these points. Outside this range it is 0.
    """
    mask = (r >= rmin[:, None]) & (r <= rmax[:, None])
    g = jnp.where(mask, g, 0.0)
    mean_square = (g**2).sum(axis=1, keepdims=True) / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
    return g / jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1.0)), mask


def scaled_settings(bond, qmin, qmax, qdamp, rmin, rmax) -> Float[Array, "pdf setting"]:
    """Return the settings in the form of the network's input: dimensionless numbers of at most about 1.

    The bond length makes the settings dimensionless. If rmax exceeds the last point of `R_BONDS`, this point is used.
    """
    range_end = jnp.minimum(rmax / bond, MAX_R_BONDS)
    return jnp.stack(
        [qmin * bond / 5, qmax * bond / 60, qdamp * bond / 0.1, rmin / bond, range_end / MAX_R_BONDS], axis=-1
    )


def _simulate_group(key: Array, particle_batch: ParticleBatch, *, anomaly_fraction: float) -> SimulatedBatch:
    """Return simulated PDFs of samples that share one instrument."""
    conditions_key, pdf_key, noise_key, offset_key, background_key, known_key, anomaly_key = jax.random.split(key, 7)
    conditions = _draw_shared_conditions(conditions_key)
    blend_fraction, qmax = _draw_anomalies(anomaly_key, particle_batch.type_index, conditions.qmax, anomaly_fraction)
    histogram = particle_batch.histogram * blend_fraction[:, None] + jnp.roll(particle_batch.histogram, 1, axis=0) * (
        1 - blend_fraction[:, None]
    )
    is_anomalous = (blend_fraction < 1) | (qmax != conditions.qmax)
    pdf_conditions = _draw_uniform(pdf_key, ("noise", "background", "offset", "rmin", "rmax"), (PDFS_PER_INSTRUMENT,))
    uniform_draws = jax.random.uniform(jax.random.fold_in(pdf_key, 1), (3, PDFS_PER_INSTRUMENT))
    noise_level = jnp.where(
        uniform_draws[0] < NOISELESS_FRACTION, 0.0, pdf_conditions["noise"] ** 2 / SIMULATION_RANGES["noise"][1]
    )
    has_background = jnp.where(uniform_draws[1] < CLEAN_FRACTION, 0.0, 1.0)
    rmax = jnp.where(uniform_draws[2] < FULL_RANGE_FRACTION, SIMULATION_RANGES["rmax"][1], pdf_conditions["rmax"])
    f = reduced_structure_function(histogram, conditions)
    white_noise = jax.random.normal(noise_key, f.shape) * jnp.sqrt(0.02 * N_Q / (conditions.qmax - conditions.qmin))
    offset = (has_background * pdf_conditions["offset"])[:, None] * _normalisation_error(
        offset_key, q_midpoints(conditions)
    )
    g = pdf_from_f(f + _root_mean_square(f) * (noise_level[:, None] * white_noise + offset), conditions)
    g = g + (has_background * pdf_conditions["background"])[:, None] * _root_mean_square(g) * _smooth_background(
        background_key, jnp.asarray(R_BONDS) * conditions.bond
    )
    is_known = jax.random.uniform(known_key, (2, PDFS_PER_INSTRUMENT)) < KNOWN_SETTING_FRACTION
    qmin_deficit = jax.random.uniform(jax.random.fold_in(known_key, 1), (PDFS_PER_INSTRUMENT,), maxval=MAX_QMIN_DEFICIT)
    qmin = jnp.where(is_known[0], conditions.qmin, jnp.maximum(conditions.qmin - qmin_deficit, 0.0))
    qdamp = jnp.where(is_known[1], conditions.qdamp, DEFAULT_QDAMP)
    pdf, mask = mask_and_normalise(g, jnp.asarray(R_BONDS) * conditions.bond, pdf_conditions["rmin"], rmax)
    stretch = jnp.full((PDFS_PER_INSTRUMENT, 1), conditions.stretch)
    return SimulatedBatch(
        pdf,
        mask,
        scaled_settings(conditions.bond, qmin, qmax, qdamp, pdf_conditions["rmin"], rmax),
        TrueLabels(
            jnp.where(is_anomalous, -1, particle_batch.type_index),
            jnp.where(is_anomalous[:, None], jnp.nan, jnp.concatenate([particle_batch.values, stretch], axis=1)),
        ),
        particle_batch.source,
        noise_level,
        is_anomalous,
    )


def _draw_anomalies(key: Array, type_index: Array, qmax: Array, anomaly_fraction: float) -> tuple[Array, Array]:
    """Return the share of the first of two blended particles, and the qmax that the network gets, for each PDF.

    Most PDFs are not anomalous. Their share is 1, and their qmax is the true qmax.
    """
    choice, amount, direction = jax.random.uniform(key, (3, len(type_index)))
    other_type_index = jnp.roll(type_index, 1)
    is_blend = (
        (choice < anomaly_fraction / 2) & (type_index >= 0) & (other_type_index >= 0) & (type_index != other_type_index)
    )
    blend_fraction = jnp.where(
        is_blend, BLEND_FRACTION_RANGE[0] + amount * (BLEND_FRACTION_RANGE[1] - BLEND_FRACTION_RANGE[0]), 1.0
    )
    qmax_factor = jnp.exp(WRONG_QMAX_LOG_RANGE[0] + amount * (WRONG_QMAX_LOG_RANGE[1] - WRONG_QMAX_LOG_RANGE[0]))
    low, high = SIMULATION_RANGES["qmax"]
    is_raised = jnp.where(direction < 0.5, qmax / qmax_factor < low, qmax * qmax_factor < high)
    return blend_fraction, jnp.where(
        choice > 1 - anomaly_fraction / 2, qmax * jnp.where(is_raised, qmax_factor, 1 / qmax_factor), qmax
    )


def _draw_shared_conditions(key: Array) -> SharedConditions:
    """Return random conditions that the PDFs of one instrument share."""
    conditions = _draw_uniform(key, SHARED_CONDITION_NAMES, ())
    log_minimum, log_maximum = map(math.log, SIMULATION_RANGES["uiso"])
    fraction = (conditions["uiso"] - SIMULATION_RANGES["uiso"][0]) / (
        SIMULATION_RANGES["uiso"][1] - SIMULATION_RANGES["uiso"][0]
    )
    return SharedConditions(**conditions | {"uiso": jnp.exp(log_minimum + fraction * (log_maximum - log_minimum))})


def _root_mean_square(values: Float[Array, "pdf x"]) -> Float[Array, "pdf 1"]:
    """Return the root mean square of each row."""
    return jnp.sqrt(jnp.mean(values**2, axis=1, keepdims=True))


def _bin_scattering(q: Array, conditions: SharedConditions) -> Float[Array, "bin q"]:
    """Return the F(Q) of one ordered pair per atom in each distance bin, corrected for the width of the bins."""
    bond_length = conditions.bond * conditions.stretch
    bin_distances = jnp.maximum(jnp.arange(N_BINS), 1) * BIN_WIDTH
    distance = bin_distances * bond_length
    variance = (
        2
        * conditions.uiso
        * (jnp.maximum(1 - conditions.delta2 / bin_distances**2, 0.05) + (conditions.qbroad * distance) ** 2)
    )
    damped_sine = jnp.sin(distance[:, None] * q) * jnp.exp(-0.5 * variance[:, None] * q**2)
    return damped_sine / distance[:, None] / jnp.sinc(q * BIN_WIDTH * bond_length / (2 * jnp.pi)) ** 2


def _normalisation_error(key: Array, q: Array) -> Float[Array, "pdf q"]:
    """Return the error of F(Q) from a wrong normalisation.

    It is the sum of a random rise or fall at low Q and of two waves cos(rQ + phase) with r shorter than a bond.
    """
    rise_key, phase_key, r_key = jax.random.split(key, 3)
    r = jax.random.uniform(r_key, (PDFS_PER_INSTRUMENT, 2, 1), maxval=1.4)
    phase = jax.random.uniform(phase_key, (PDFS_PER_INSTRUMENT, 2, 1), maxval=2 * jnp.pi)
    rise = jax.random.normal(rise_key, (PDFS_PER_INSTRUMENT, 1)) * jnp.exp(-((q / 1.5) ** 2))
    return rise + jnp.cos(r * q + phase).sum(axis=1) / 2


def _smooth_background(key: Array, r: Array) -> Float[Array, "pdf r"]:
    """Return a smooth background of G(r), with wavelengths longer than any bond length."""
    wavelength_key, phase_key = jax.random.split(key)
    wave_number = 2 * jnp.pi / jax.random.uniform(wavelength_key, (PDFS_PER_INSTRUMENT, 2, 1), minval=8.0, maxval=40.0)
    return jnp.cos(wave_number * r + jax.random.uniform(phase_key, (PDFS_PER_INSTRUMENT, 2, 1), maxval=2 * jnp.pi)).sum(
        axis=1
    )


def _draw_uniform(key: Array, names: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Array]:
    """Return values drawn uniformly from their ranges in `SIMULATION_RANGES`."""
    keys = jax.random.split(key, len(names))
    return {
        name: jax.random.uniform(subkey, shape, minval=SIMULATION_RANGES[name][0], maxval=SIMULATION_RANGES[name][1])
        for name, subkey in zip(names, keys, strict=True)
    }
