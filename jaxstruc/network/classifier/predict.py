"""The classifier predicts probabilities of structure types and intervals of the sizes for measured PDFs.

Probabilities and intervals are calibrated on simulated PDFs that no training has used. Two scores show whether a PDF
resembles the training data. The feature distance is the distance of the network's features (the outputs of its last
hidden layer) from their mean. The anomaly score is the network's probability that the sample has particles of two types
or that qmax is wrong. Each score is divided by its limit for typical PDFs, so that a score above 1 is unusual.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special, stats
from scipy.interpolate import CubicSpline

from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.io import qmax_check
from jaxstruc.io.measurement import Measurement
from jaxstruc.io.qmax_check import QmaxEstimate
from jaxstruc.network.classifier import model, simulated_pdfs
from jaxstruc.network.classifier.model import Classifier, MixtureDensity
from jaxstruc.network.classifier.particles import LISTED_SOURCE, ParticleStore
from jaxstruc.network.classifier.shell_detector import shell_log_odds
from jaxstruc.network.classifier.simulated_pdfs import R_BONDS, VALUE_NAMES, SimulatedBatch, TrueLabels
from jaxstruc.network.weights import FeatureDistribution, TrainedClassifier, TrainedShellDetector
from jaxstruc.statistics import CENTRAL_90, Interval, quantiles

BATCH_SIZE, N_DRAWS = 64, 1000
"""Number of PDFs in a batch, and number of random draws from each mixture density."""
DIAMETER_INDEX = VALUE_NAMES.index("diameter")
N_TEST_STEPS, TEST_SEED_OFFSET = 16, 10**6
"""Number of batches of simulated PDFs that test a classifier, and difference of their seed from the training's seed."""
MIN_PROBABILITY = 1e-9
"""Smallest probability of a type before its logarithm is taken."""
MIN_RELATIVE_VARIANCE = 1e-4
"""Smallest variance of the features along a principal axis, relative to the largest. Smaller ones are raised to it."""
MIN_WRONG_QMAX_SHARPNESS = 3.0
"""Smallest excess sharpness (see `QmaxEstimate`) at which the stated qmax counts as wrong."""
RANK_LEVELS = np.linspace(0, 1, 41)
"""Levels of the stored quantiles of the ranks of true values (see `label_ranks`)."""
TEMPERATURES = np.geomspace(0.4, 2.5, 61)
"""Temperatures that `calibration` tries."""
TYPICAL_FRACTION = 0.95
"""Fraction of simulated PDFs for which both scores are at most 1."""


class ClassifierOutput(NamedTuple):
    """The classifier's predictions for one PDF."""

    type_probabilities: dict[str, float]
    """Calibrated probability of each structure type, the largest first."""
    intervals: dict[str, Interval]
    """Median and 90 % interval of each of `VALUE_NAMES`, with the diameter in Å."""
    feature_distance: float
    """Distance of the features from their mean, divided by its limit. It is at most 1 for typical PDFs."""
    anomaly_score: float
    """Score for particles of two types or a wrong qmax. It is at most 1 for typical PDFs."""
    qmax_estimate: QmaxEstimate
    """Estimate of qmax from the data."""
    mixture_density: MixtureDensity
    """Mixture density of this PDF with the prior weights of the types, not calibrated, as NumPy arrays."""
    has_shell: bool = False
    """Whether the PDF has signs of a shell of light atoms around the particles."""

    @property
    def novelty_score(self) -> float:
        """Largest of three scores, each of which is at most 1 for PDFs that resemble the training data."""
        return max(
            self.feature_distance, self.anomaly_score, self.qmax_estimate.excess_sharpness / MIN_WRONG_QMAX_SHARPNESS
        )


class ClassifierInput(NamedTuple):
    """Measured PDFs in the form of the network's input, see `SimulatedBatch`."""

    pdf: np.ndarray
    """Normalised G(r) [pdf, r]."""
    mask: np.ndarray
    """Mask of the points with data [pdf, r]."""
    settings: np.ndarray
    """Scaled settings [pdf, setting], see `simulated_pdfs.scaled_settings`."""


def classifier_input(measurements: Sequence[Measurement], bond: float) -> ClassifierInput:
    """Return measured PDFs in the form of the network's input.

    Args:
        measurements: Measured PDFs with all settings.
        bond: Nearest-neighbour distance of the element, in Å.
    """
    r = R_BONDS * bond
    pdfs, setting_rows = [], []
    for measurement in measurements:
        rmin, rmax = float(measurement.r[0]), float(measurement.r[-1])
        in_range = (r >= rmin) & (r <= rmax)
        pdf = np.where(in_range, CubicSpline(measurement.r, measurement.g)(np.clip(r, rmin, rmax)), 0.0)
        pdfs.append(pdf / (abs(pdf).max() or 1.0))  # Single precision then suffices for values in any unit.
        settings = measurement.settings_by_name
        setting_rows.append((settings["qmin"], settings["qmax"], settings["qdamp"], rmin, rmax))
    padded_length = -(-len(pdfs) // BATCH_SIZE) * BATCH_SIZE  # Padding to few lengths avoids compilations.
    padded_arrays = (
        np.resize(np.array(measurement, np.float32), (padded_length, len(measurement[0])))
        for measurement in (pdfs, setting_rows)
    )
    return ClassifierInput(*(np.asarray(column)[: len(pdfs)] for column in _network_input(*padded_arrays, r, bond)))


def classify_pdfs(
    measurements: Sequence[Measurement],
    network: TrainedClassifier,
    *,
    bond: float,
    seed: int = 0,
    type_weights: Mapping[str, float] | None = None,
    shell_detector: TrainedShellDetector | None = None,
) -> list[ClassifierOutput]:
    """Return the classifier's predictions for measured PDFs. The result of a PDF does not depend on the others.

    Args:
        measurements: Measured PDFs with all settings.
        network: Trained classifier.
        bond: Nearest-neighbour distance of the element, in Å.
        seed: Seed of the random draws from which the intervals are computed.
        type_weights: Prior weight of each structure type; equal weights by default.
        shell_detector: Detector of shells of light atoms. Without it, no PDF has a shell.
    """
    outputs: list[ClassifierOutput] = []
    weight_of_type = type_weights or dict.fromkeys(STRUCTURE_TYPES, 1.0)
    prior = jnp.array([weight_of_type[name] for name in STRUCTURE_TYPES], jnp.float32)
    for start in range(0, len(measurements), BATCH_SIZE):
        batch_measurements = measurements[start : start + BATCH_SIZE]
        padded_inputs = jax.tree.map(
            lambda column, batch_measurements=batch_measurements: np.resize(column, (BATCH_SIZE, *column.shape[1:])),
            classifier_input(batch_measurements, bond),
        )
        key = jax.random.key(seed)
        levels, temperature = interval_levels(network.card), jnp.float32(network.card["temperature"])
        mixtures, probabilities, quantiles, features = jax.device_get(
            _predict_batch(network.params, key, padded_inputs, levels, temperature, prior, module=network.module)
        )
        feature_distances = feature_distance(features, network.feature_distribution) / network.card["outside"]
        anomaly_scores = special.expit(mixtures.anomaly_log_odds) / network.card["strange"]
        qmax_estimates = [
            qmax_check.estimate_qmax(entry.r, entry.g, qmax=entry.settings_by_name["qmax"])
            for entry in batch_measurements
        ]
        rows = zip(probabilities, quantiles, feature_distances, anomaly_scores, qmax_estimates, strict=False)
        has_shells = _detect_shells(padded_inputs, shell_detector)
        outputs += [
            _classifier_output(
                *entry, jax.tree.map(lambda column, index=index: column[index], mixtures), bond
            )._replace(has_shell=bool(has_shells[index]))
            for index, entry in enumerate(rows)
        ]
    return outputs


def range_warnings(measurement: Measurement, output: ClassifierOutput, *, bond: float) -> tuple[str, ...]:
    """Return a phrase for each property of a PDF that lies outside the classifier's training data."""
    warnings = []
    settings = measurement.settings_by_name | {"bond": bond}
    for name in ("qmin", "qmax", "qdamp", "bond"):
        low, high = simulated_pdfs.SIMULATION_RANGES[name]
        if not low <= settings[name] <= high:
            warnings.append(f"{name} {settings[name]:.4g} (trained on {low:g} to {high:g})")
    min_rmax = simulated_pdfs.SIMULATION_RANGES["rmax"][0]
    if measurement.r[-1] < min_rmax - 0.05:
        warnings.append(f"the data end at r = {measurement.r[-1]:g} Å (trained on {min_rmax:g} Å and more)")
    if output.qmax_estimate.excess_sharpness > MIN_WRONG_QMAX_SHARPNESS:
        estimated_qmax = output.qmax_estimate.qmax
        warnings.append(f"the data appear to be cut at Q = {estimated_qmax:.3g} 1/Å, not at qmax {settings['qmax']:g}")
    elif output.anomaly_score > 1:
        warnings.append("the PDF resembles a mixture of two types of particles")
    if output.feature_distance > 1:
        warnings.append(
            f"the PDF does not resemble the training data (feature distance {output.feature_distance:.2f}, limit 1)"
        )
    return tuple(warnings)


def novelty_limits(
    params: Any,
    store: ParticleStore,
    *,
    seed: int,
    module: Classifier,
    simulate: Callable[..., SimulatedBatch] = simulated_pdfs.simulate_batch,
) -> tuple[FeatureDistribution, dict[str, Any]]:
    """Return the distribution of the features, and the card's entries for the limits of the scores and the calibration.

    They are determined from simulated PDFs that no training uses. One half of the PDFs gives the distribution of the
    features. The other half gives the limits of the feature distance and of the anomaly probability. For 95 % of these
    PDFs, neither exceeds its limit.

    Args:
        params: Parameters of the classifier.
        store: Clusters and arrangements of atoms, from which the samples are drawn.
        seed: Seed of the training.
        module: Network of the classifier.
        simulate: Function that returns the batch of a step, see `simulated_pdfs.simulate_batch`.
    """
    test_steps = simulate_test_steps(params, store, seed=seed, steps=N_TEST_STEPS, module=module, simulate=simulate)
    features = np.concatenate([step_result[2] for step_result in test_steps])
    fit_features, check_features = features[::2], features[1::2]
    mean = fit_features.mean(axis=0)
    eigenvalues, eigenvectors = np.linalg.eigh(np.cov((fit_features - mean).T))
    feature_distribution = FeatureDistribution(
        mean, eigenvectors / np.sqrt(np.maximum(eigenvalues, MIN_RELATIVE_VARIANCE * eigenvalues.max()))
    )
    distances = feature_distance(check_features, feature_distribution)
    anomaly_scores = special.expit(
        np.concatenate([step_result[1].anomaly_log_odds for step_result in test_steps])[1::2]
    )
    # The larger of the two ranks is used, so that 5 % of the PDFs exceed at least one of the two limits.
    quantile = np.quantile(
        np.maximum(stats.rankdata(distances), stats.rankdata(anomaly_scores)) / len(distances), TYPICAL_FRACTION
    )
    thresholds = {
        "outside": float(np.quantile(distances, quantile)),
        "strange": float(np.quantile(anomaly_scores, quantile)),
    }
    return feature_distribution, thresholds | calibration(test_steps)


def calibration(test_steps: Sequence[tuple[SimulatedBatch, MixtureDensity, np.ndarray]]) -> dict[str, Any]:
    """Return the entries `temperature` and `levels` of the card, which calibrate type probabilities and intervals.

    The logarithms of the type probabilities are divided by `temperature` (C. Guo et al., Proc. ICML 70, 1321 (2017)).
    The rank of a true value is the fraction of random draws from the prediction that are smaller than this value. For
    each of `VALUE_NAMES`, `levels` holds the quantiles of these ranks at `RANK_LEVELS`. The calibrated quantile of a
    prediction is the quantile of its draws at the stored level (V. Kuleshov et al., Proc. ICML 80, 2796 (2018)).

    Args:
        test_steps: Simulated batches with their mixture densities and features, from `simulate_test_steps`.
    """
    step_ranks = [label_ranks(batch.labels, mixture, seed) for seed, (batch, mixture, _) in enumerate(test_steps)]
    ranks, is_known = (np.concatenate(column) for column in zip(*step_ranks, strict=True))
    probabilities = np.concatenate([np.asarray(model.type_probabilities(mixture)) for _, mixture, _ in test_steps])
    true_types = np.concatenate([np.asarray(batch.labels.type_index) for batch, _, _ in test_steps])
    value_ranks = [ranks[is_known[:, k], k] for k in range(len(VALUE_NAMES))]
    levels = {
        name: (np.quantile(entry, RANK_LEVELS) if len(entry) else RANK_LEVELS).round(4).tolist()
        for name, entry in zip(VALUE_NAMES, value_ranks, strict=True)
    }
    has_type = true_types >= 0
    true_probabilities = np.take_along_axis(probabilities[has_type], true_types[has_type, None], axis=1)[:, 0]
    losses = [
        -np.mean(
            np.log(np.maximum(true_probabilities, MIN_PROBABILITY)) / entry
            - np.log((np.maximum(probabilities[has_type], MIN_PROBABILITY) ** (1 / entry)).sum(axis=1))
        )
        for entry in TEMPERATURES
    ]
    return {"temperature": float(TEMPERATURES[int(np.argmin(losses))]), "levels": levels}


def label_ranks(labels: TrueLabels, mixture: MixtureDensity, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranks [pdf, value] of the true values, and a mask of the known values.

    The rank of a true value is the fraction of random draws from the prediction that are smaller than this value. It is
    not calibrated. Some true values are always the same, e.g. a width of 0. If a prediction is centred on such a value,
    its rank is about one half, however wide the prediction is. Random numbers are therefore added to the true values.
    They have the smallest standard deviation that a prediction can have. Diameters are multiplied by the stretch.

    Args:
        labels: True types and values.
        mixture: Predicted mixture densities.
        seed: Seed of the random draws.
    """
    blur_key, draw_key = jax.random.split(jax.random.key(seed))
    true_values = model.coordinates_from_values(jnp.asarray(labels.values))
    true_values = model.values_from_coordinates(
        true_values + model.MIN_STANDARD_DEVIATION * jax.random.normal(blur_key, true_values.shape)
    )
    draws = model.draw_samples(draw_key, mixture, N_DRAWS)[1]
    true_values, draws = (array.at[..., DIAMETER_INDEX].multiply(array[..., -1]) for array in (true_values, draws))
    return np.asarray((draws < true_values).mean(axis=0)), np.isfinite(np.asarray(labels.values))


def interval_levels(card: dict[str, Any]) -> Float[np.ndarray, "value end"]:
    """Return the levels of the quantiles that are the low end, the median and the high end of calibrated intervals."""
    quantiles = (CENTRAL_90[0], 0.5, CENTRAL_90[1])
    return np.array([np.interp(quantiles, RANK_LEVELS, card["levels"][name]) for name in VALUE_NAMES], np.float32)


def calibrate_ranks(ranks: Float[np.ndarray, "pdf value"], card: dict[str, Any]) -> Float[np.ndarray, "pdf value"]:
    """Return the calibrated ranks of true values from the ranks that `label_ranks` returns."""
    calibrated_columns = [
        np.interp(ranks[:, k], card["levels"][name], RANK_LEVELS) for k, name in enumerate(VALUE_NAMES)
    ]
    return np.stack(calibrated_columns, axis=1)


def temper_probabilities(
    probabilities: Float[Array, "*batch type"], temperature: float | Array
) -> Float[Array, "*batch type"]:
    """Return calibrated type probabilities (see `calibration`)."""
    raised_probabilities = jnp.maximum(probabilities, MIN_PROBABILITY) ** (1 / temperature)
    return raised_probabilities / raised_probabilities.sum(axis=-1, keepdims=True)


def evaluate_classifier(
    params: Any,
    store: ParticleStore,
    *,
    seed: int,
    module: Classifier,
    simulate: Callable[..., SimulatedBatch] = simulated_pdfs.simulate_batch,
) -> dict[str, float]:
    """Return the accuracy for clusters of the library with held-out numbers of atoms.

    The result states the fraction of correct types (`held_right`) and the number of PDFs (`held`). It also states the
    fraction of 90 % intervals, before calibration, that contain the true number of atoms (`held_covered`).

    Args:
        params: Parameters of the classifier.
        store: Arrays of the held-out clusters (`particle_store` with `holdout`).
        seed: Seed of the training.
        module: Network of the classifier.
        simulate: Function that returns the batch of a step, see `simulated_pdfs.simulate_batch`.
    """
    is_correct, is_covered = [], []
    test_steps = simulate_test_steps(params, store, seed=seed, steps=N_TEST_STEPS, module=module, simulate=simulate)
    for batch, mixture, _ in test_steps:
        is_listed = np.asarray(batch.source) == LISTED_SOURCE
        predicted_types = np.asarray(model.type_probabilities(mixture)).argmax(axis=1)
        is_correct += (predicted_types == np.asarray(batch.labels.type_index))[is_listed].tolist()
        draws = np.asarray(model.draw_samples(jax.random.key(0), mixture, N_DRAWS)[1])[..., 0]
        low, high = quantiles(draws, CENTRAL_90)
        n_atoms = np.asarray(batch.labels.values[:, 0])
        is_covered += ((low <= n_atoms) & (n_atoms <= high))[is_listed].tolist()
    return {
        "held_right": float(np.mean(is_correct)),
        "held_covered": float(np.mean(is_covered)),
        "held": float(len(is_correct)),
    }


def simulate_test_steps(
    params: Any,
    store: ParticleStore,
    *,
    seed: int,
    steps: int,
    module: Classifier,
    simulate: Callable[..., SimulatedBatch] = simulated_pdfs.simulate_batch,
) -> list[tuple[SimulatedBatch, MixtureDensity, np.ndarray]]:
    """Return simulated batches that no training uses, each with its predicted mixture densities and its features."""

    @jax.jit
    def predict_step(params, key, store):
        batch = simulate(key, store, anomaly_fraction=0.0)
        return batch, *module.apply(params, batch.pdf, batch.mask, batch.settings, mutable=["intermediates"])

    test_steps = []
    for step in range(steps):
        batch, mixture, intermediates = predict_step(
            params, jax.random.fold_in(jax.random.key(seed + TEST_SEED_OFFSET), step), store
        )
        test_steps.append((batch, mixture, np.asarray(intermediates["intermediates"]["features"][0])))
    return test_steps


def feature_distance(features: np.ndarray, distribution: FeatureDistribution) -> np.ndarray:
    """Return the distance [pdf] of features from their mean, in standard deviations.

    It is the root mean square of the whitened features (see `FeatureDistribution`).
    """
    residuals = (features - distribution.mean) @ distribution.whitening
    return np.sqrt((residuals**2).mean(axis=1))


@jax.jit
def _network_input(pdfs: Array, settings: Array, r: Array, bond: Array) -> tuple[Array, Array, Array]:
    """Return the arrays of a `ClassifierInput` from G(r) [pdf, r] and the settings [pdf, 5] of `SETTING_NAMES`."""
    setting_columns = settings.T
    return *simulated_pdfs.mask_and_normalise(
        pdfs, r, setting_columns[3], setting_columns[4]
    ), simulated_pdfs.scaled_settings(bond, *setting_columns)


@partial(jax.jit, static_argnames="module")
def _predict_batch(
    params: Any,
    key: Array,
    inputs: ClassifierInput,
    levels: Array,
    temperature: Array,
    type_weights: Array,
    *,
    module: Classifier,
) -> tuple[MixtureDensity, Array, Array, Array]:
    """Return mixture densities, calibrated type probabilities, quantiles [pdf, value, 3] and features.

    The mixture densities and the probabilities are multiplied by the prior weights of the types.
    """
    unweighted_mixture, intermediates = module.apply(params, *inputs, mutable=["intermediates"])
    probabilities = type_weights * temper_probabilities(model.type_probabilities(unweighted_mixture), temperature)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    mixture = model.reweight_types(unweighted_mixture, type_weights)
    draws = jax.vmap(
        lambda pdf_mixture: model.draw_samples(key, jax.tree.map(lambda column: column[None], pdf_mixture), N_DRAWS)[1][
            :, 0
        ]
    )(mixture)
    draws = draws.at[..., DIAMETER_INDEX].multiply(draws[..., VALUE_NAMES.index("stretch")])
    quantiles = jax.vmap(lambda column, level: jnp.quantile(column, level, axis=1), (2, 0))(draws, levels)
    return mixture, probabilities, jnp.moveaxis(quantiles, -1, 0), intermediates["intermediates"]["features"][0]


def _detect_shells(inputs: ClassifierInput, detector: TrainedShellDetector | None) -> np.ndarray:
    """Return whether each PDF [pdf] of a batch has signs of a shell of light atoms; False without a detector."""
    if detector is None:
        return np.zeros(len(inputs.pdf), bool)
    log_odds = np.asarray(shell_log_odds(detector.params, *inputs, module=detector.module))
    return log_odds > detector.card["threshold"]


def _classifier_output(
    probabilities: np.ndarray,
    quantiles: np.ndarray,
    feature_distance: float,
    anomaly_score: float,
    qmax_estimate: QmaxEstimate,
    mixture_density: MixtureDensity,
    bond: float,
) -> ClassifierOutput:
    order = np.argsort(-probabilities, kind="stable")
    intervals = {}
    for name, (low, median, high) in zip(VALUE_NAMES, quantiles.tolist(), strict=True):
        if name == "aspect":
            low, median, high = (max(value, 1.0) for value in (low, median, high))
        if name in ("width", "hexagonal"):
            low, median, high = (
                min(max(value, 0.0), 1.0 if name == "hexagonal" else math.inf) for value in (low, median, high)
            )
        if name == "diameter":
            low, median, high = low * bond, median * bond, high * bond
        intervals[name] = Interval(median, low, high)
    return ClassifierOutput(
        {STRUCTURE_TYPES[type_index]: float(probabilities[type_index]) for type_index in order},
        intervals,
        float(feature_distance),
        float(anomaly_score),
        qmax_estimate,
        mixture_density,
    )
