"""Statistics of the classifier's accuracy, and the experiment on few cases."""

import numpy as np
import pytest


def test_calibrated_probabilities_have_no_calibration_error(experiments):
    """The error is near zero for types drawn with the stated probabilities, and large for lower probabilities."""
    import classifier_accuracy

    rng = np.random.default_rng(0)
    top_probabilities = rng.uniform(0.3, 1.0, 20_000)
    type_probabilities = np.stack(
        [top_probabilities, 1 - top_probabilities, *[np.zeros_like(top_probabilities)] * 5], axis=1
    )
    type_probabilities = np.where(
        top_probabilities[:, None] < 0.5, type_probabilities[:, [1, 0, 2, 3, 4, 5, 6]], type_probabilities
    )
    true_types = (rng.random(20_000) > type_probabilities[:, 0]).astype(int)
    assert classifier_accuracy._type_statistics(type_probabilities, true_types)["calibration"] < 0.015
    wrong_types = np.where(rng.random(20_000) < 0.2, 2, true_types)
    assert classifier_accuracy._type_statistics(type_probabilities, wrong_types)["calibration"] > 0.1


def test_uniform_ranks_are_covered_as_often_as_they_should(experiments):
    import classifier_accuracy

    coverage = classifier_accuracy._rank_statistics("x", np.random.default_rng(0).random(20_000))
    assert coverage["x_50"] == pytest.approx(0.5, abs=0.02) and coverage["x_90"] == pytest.approx(0.9, abs=0.01)
    assert (
        coverage["x_uneven"]
        < 0.02
        < classifier_accuracy._rank_statistics("x", np.random.default_rng(0).random(2000) ** 2)["x_uneven"]
    )


@pytest.mark.long
def test_shipped_weights_classify_particles_outside_all_lists(experiments, capsys):
    import classifier_accuracy

    network = classifier_accuracy.weights.load_classifier(classifier_accuracy.CLASSIFIER)
    rows = classifier_accuracy.simulated_rows("offrule", network, 1, 2)
    assert len(rows) == 54 and np.mean([row["type"] == row["found_type"] for row in rows]) > 0.9
    assert {row["what"] for row in classifier_accuracy.outlier_rows(network, 1)} >= {
        "false alarms",
        "amorphous",
        "oxide",
    }
