"""A stream of simple curves that replaces simulated PDFs, for tests of the classifier's training."""

import jax
import jax.numpy as jnp

from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.network.classifier.model import Classifier
from jaxstruc.network.classifier.predict import RANK_LEVELS
from jaxstruc.network.classifier.simulated_pdfs import (
    N_POINTS,
    SETTING_NAMES,
    VALUE_NAMES,
    SimulatedBatch,
    TrueLabels,
)
from jaxstruc.options.training import TrainClassifierOptions

CALIBRATION = {"temperature": 1.0, "levels": {name: RANK_LEVELS.tolist() for name in VALUE_NAMES}}
"""Calibration entries of a card that change nothing."""
SMALL_CLASSIFIER = Classifier(channels=(8,), blocks=(0,), width=16, components=2)
SHORT_TRAINING = TrainClassifierOptions(steps=30, rate=0.02)
"""Options of the trainings of all tests, which share a compiled step."""


def simulate_simple_batch(key, store, *, anomaly_fraction=0.05):
    """Return 64 noisy sine waves. Types differ in wavelength, sizes in slope, and anomalous curves are sums of two.

    In place of a store of particles there may be a factor on the curves.
    """
    type_key, noise_key, size_key = jax.random.split(key, 3)
    type_index = jax.random.randint(type_key, (64,), 0, len(STRUCTURE_TYPES))
    x = jnp.arange(N_POINTS) / N_POINTS
    n_atoms = jnp.exp(jax.random.uniform(size_key, (64,), minval=3.0, maxval=6.0))
    curve = jnp.sin(6 * (type_index[:, None] + 1) * x) + jnp.log(n_atoms)[:, None] * x
    is_anomalous = jax.random.uniform(jax.random.fold_in(type_key, 1), (64,)) < anomaly_fraction
    curve = jnp.where(is_anomalous[:, None], curve + jnp.roll(curve, 1, axis=0), curve)
    pdf = (curve + 0.1 * jax.random.normal(noise_key, (64, N_POINTS))) * (1.0 if store is None else store)
    missing_column = jnp.full(64, jnp.nan)
    labels = TrueLabels(type_index, jnp.stack([n_atoms, *[missing_column] * 5], axis=1))
    labels = TrueLabels(
        jnp.where(is_anomalous, -1, type_index), jnp.where(is_anomalous[:, None], jnp.nan, labels.values)
    )
    mask, settings = jnp.ones_like(pdf, bool), jnp.zeros((64, len(SETTING_NAMES)))
    return SimulatedBatch(pdf, mask, settings, labels, jnp.ones(64, int), jnp.zeros(64), is_anomalous)
