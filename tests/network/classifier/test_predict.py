import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measurement_files import R, example_pdf
from simple_training_stream import SHORT_TRAINING, SMALL_CLASSIFIER, simulate_simple_batch

from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.io.measurement import Measurement, resolve_settings
from jaxstruc.io.qmax_check import QmaxEstimate
from jaxstruc.network import weights
from jaxstruc.network.classifier import model as classifier
from jaxstruc.network.classifier import predict, simulated_pdfs, training
from jaxstruc.network.classifier.model import MixtureDensity
from jaxstruc.network.classifier.simulated_pdfs import SimulatedBatch, TrueLabels
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.pdf import DataOptions
from jaxstruc.options.training import TrainClassifierOptions

BOND = 2.88


@pytest.fixture(scope="module")
def weights_path(tmp_path_factory):
    """Return the path of the weights of a small classifier that was briefly trained on simple curves."""
    folder = tmp_path_factory.mktemp("weights")
    stream = {"module": SMALL_CLASSIFIER, "simulate": simulate_simple_batch}
    task = training.TrainingTask(**stream)
    params, metrics = training.train_classifier(jnp.float32(1.0), SHORT_TRAINING, folder=folder, task=task)
    novelty, novelty_entries = predict.novelty_limits(params, None, seed=0, **stream)
    holdout_metrics = predict.evaluate_classifier(params, None, seed=0, **stream)
    card = (
        training.classifier_card(TrainClassifierOptions(), metrics | holdout_metrics, command="none") | novelty_entries
    )
    weights.save_classifier(folder / "own.safetensors", TrainedClassifier(params, SMALL_CLASSIFIER, novelty, card))
    return folder / "own.safetensors"


@pytest.fixture(scope="module")
def network(weights_path):
    return weights.load_classifier(weights_path)


@pytest.fixture(scope="module")
def measurements():
    """Return three measurements, the last of them short."""
    options = DataOptions(qmin=0.8, qmax=20.0)
    loaded_curves = [
        Measurement(f"{index}.gr", R[: 1100 if index == 2 else None], example_pdf((1 + 0.02 * index) * R), {})
        for index in range(3)
    ]
    loaded_curves = [measurement._replace(g=measurement.g[: len(measurement.r)]) for measurement in loaded_curves]
    return [resolve_settings(measurement, options, bond=BOND) for measurement in loaded_curves]


def test_a_measured_curve_is_interpolated_and_masked_to_its_range(measurements):
    classifier_input = predict.classifier_input(measurements, BOND)
    r = simulated_pdfs.R_BONDS * BOND
    in_range = r <= measurements[2].r[-1]
    np.testing.assert_array_equal(classifier_input.mask[2], in_range)
    curve = np.where(in_range, example_pdf(1.04 * r), 0)
    np.testing.assert_allclose(classifier_input.pdf[2], curve / np.sqrt((curve[in_range] ** 2).mean()), atol=2e-3)
    assert classifier_input.settings[0] == pytest.approx(
        [0.8 * BOND / 5, 20 * BOND / 60, 0.3 * BOND, 0, 30 / BOND / 12.5], rel=1e-4
    )


def test_type_weights_multiply_probabilities_and_densities(network, measurements):
    """The training has equal numbers of all types, so that Bayes' theorem gives the probabilities."""
    type_weights = {name: index + 1.0 for index, name in enumerate(STRUCTURE_TYPES)}
    (equal,) = predict.classify_pdfs(measurements[:1], network, bond=BOND)
    (weighted,) = predict.classify_pdfs(measurements[:1], network, bond=BOND, type_weights=type_weights)
    products = {name: type_weights[name] * value for name, value in equal.type_probabilities.items()}
    expected = {name: value / sum(products.values()) for name, value in products.items()}
    assert weighted.type_probabilities == pytest.approx(expected, rel=1e-4)
    densities = [
        np.exp(output.mixture_density.log_weight[:, None] + output.mixture_density.log_type_probability)
        for output in (equal, weighted)
    ]
    product = densities[0] * np.array(list(type_weights.values()))
    np.testing.assert_allclose(densities[1], product / product.sum(), rtol=1e-3, atol=1e-7)


def test_a_file_alone_is_classified_as_among_others(network, measurements):
    """Probabilities are sorted and complete, medians lie within their intervals, and the diameter is in Å."""
    batch_outputs = predict.classify_pdfs(measurements, network, bond=BOND)
    (single_output,) = predict.classify_pdfs(measurements[1:2], network, bond=BOND)
    assert single_output[:5] == batch_outputs[1][:5] and single_output[:5] != batch_outputs[0][:5]
    np.testing.assert_array_equal(single_output.mixture_density.mean, batch_outputs[1].mixture_density.mean)
    assert sum(single_output.type_probabilities.values()) == pytest.approx(1, abs=1e-5) and set(
        single_output.type_probabilities
    ) == set(STRUCTURE_TYPES)
    assert list(single_output.type_probabilities.values()) == sorted(
        single_output.type_probabilities.values(), reverse=True
    )
    for interval in single_output.intervals.values():
        assert interval.low <= interval.value <= interval.high
    (scaled_output,) = predict.classify_pdfs(measurements[1:2], network, bond=2 * BOND)
    assert scaled_output.intervals["diameter"].value != single_output.intervals["diameter"].value


def test_data_outside_the_training_range_give_warnings(network, measurements):
    (output,) = predict.classify_pdfs(measurements[2:], network, bond=BOND)
    output = output._replace(anomaly_score=0.5, qmax_estimate=QmaxEstimate(20.0, 0.1))
    warning = "; ".join(predict.range_warnings(measurements[2], output._replace(feature_distance=1.3), bond=BOND))
    assert "the data end at r = 10.99 Å" in warning
    assert "does not resemble the training data (feature distance 1.30" in warning
    assert predict.range_warnings(measurements[0], output._replace(feature_distance=0.9), bond=BOND) == ()
    assert "bond 4" in predict.range_warnings(measurements[0], output._replace(feature_distance=0.9), bond=4.0)[0]
    typical_output = output._replace(feature_distance=0.9)
    assert predict.range_warnings(measurements[0], typical_output._replace(anomaly_score=1.2), bond=BOND) == (
        "the PDF resembles a mixture of two types of particles",
    )
    (warning,) = predict.range_warnings(
        measurements[0], typical_output._replace(anomaly_score=1.2, qmax_estimate=QmaxEstimate(24.0, 6.0)), bond=BOND
    )
    assert warning == "the data appear to be cut at Q = 24 1/Å, not at qmax 20"
    assert (
        typical_output._replace(qmax_estimate=QmaxEstimate(24.0, 6.0)).novelty_score == 2.0
        and typical_output.novelty_score == 0.9
    )


def test_calibration_makes_ranks_uniform_and_probabilities_reliable():
    """True values are closer to the median than draws, and types are right more often than their probability."""
    rng = np.random.default_rng(0)
    count = 2000
    coordinates = np.zeros((count, 1, 6), np.float32)
    log_probabilities = np.log(np.where(np.arange(7) == 0, 0.6, 0.4 / 6)).astype(np.float32)
    mixture = MixtureDensity(
        np.zeros((count, 1)), np.tile(log_probabilities, (count, 1, 1)), coordinates, coordinates + 1, np.zeros(count)
    )
    values = np.asarray(classifier.values_from_coordinates(jnp.asarray(0.5 * rng.normal(size=(count, 6)))))
    truths = TrueLabels(np.where(rng.random(count) < 0.9, 0, rng.integers(1, 7, count)), values)
    batch = SimulatedBatch(None, None, None, truths, None, None, None)
    calibration = predict.calibration([(batch, mixture, np.zeros(0))])
    assert predict.temper_probabilities(jnp.exp(log_probabilities), calibration["temperature"])[0] == pytest.approx(
        0.9, abs=0.015
    )
    low, median, high = predict.interval_levels(calibration)[0]
    assert low == pytest.approx(0.205, abs=0.02) and median == pytest.approx(0.5, abs=0.02) and low < high < 0.82
    ranks = np.tile(np.array([low, median, high])[:, None], (1, 6))
    assert predict.calibrate_ranks(ranks, calibration)[:, 0] == pytest.approx([0.05, 0.5, 0.95], abs=0.01)


@pytest.mark.long
def test_five_percent_of_data_like_the_training_lie_outside(network):
    test_steps = predict.simulate_test_steps(
        network.params, None, seed=5, steps=20, module=SMALL_CLASSIFIER, simulate=simulate_simple_batch
    )
    distance = (
        np.concatenate([predict.feature_distance(step[2], network.feature_distribution) for step in test_steps])
        / network.card["outside"]
    )
    assert 0.02 < (distance > 1).mean() < 0.1
    noise_batch = test_steps[0][0]._replace(pdf=jax.random.normal(jax.random.key(0), test_steps[0][0].pdf.shape) * 3)
    features = SMALL_CLASSIFIER.apply(
        network.params, noise_batch.pdf, noise_batch.mask, noise_batch.settings, mutable=["intermediates"]
    )[1]
    noise_distance = (
        predict.feature_distance(np.asarray(features["intermediates"]["features"][0]), network.feature_distribution)
        / network.card["outside"]
    )
    assert np.median(noise_distance) > 1.2


def test_weights_of_another_kind_are_refused(weights_path, tmp_path):
    """A missing file, a changed file, a card of another version and weights of the autoencoder are refused."""
    with pytest.raises(ValueError, match="train them with `jaxstruc train-classifier`"):
        weights.load_classifier(tmp_path / "none.safetensors")
    copied_path = tmp_path / "copy.safetensors"
    copied_path.write_bytes(weights_path.read_bytes()[:-1] + b"x")
    card = json.loads(weights_path.with_suffix(".json").read_text("utf-8"))
    copied_path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="Expected weights of sha256"):
        weights.load_classifier(copied_path)
    copied_path.write_bytes(weights_path.read_bytes())
    copied_path.with_suffix(".json").write_text(json.dumps(card | {"version": 0}))
    with pytest.raises(ValueError, match="of version 2"):
        weights.load_classifier(copied_path)
    copied_path.with_suffix(".json").write_text(json.dumps({"sha256": card["sha256"], "sizes": {}}))
    with pytest.raises(ValueError, match="train-classifier"):
        weights.load_classifier(copied_path)
