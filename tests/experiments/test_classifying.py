"""How the classifier's answers are counted, and the experiment's way on few cases."""

import numpy as np
import pytest


def test_calibrated_probabilities_have_no_calibration_error(experiments):
    """Types drawn with the probabilities that are told; and others that are told too high."""
    import classifying

    rng = np.random.default_rng(0)
    top = rng.uniform(0.3, 1.0, 20_000)
    shares = np.stack([top, 1 - top, *[np.zeros_like(top)] * 5], axis=1)
    shares = np.where(top[:, None] < 0.5, shares[:, [1, 0, 2, 3, 4, 5, 6]], shares)
    true = (rng.random(20_000) > shares[:, 0]).astype(int)
    assert classifying._types(shares, true)["calibration"] < 0.015
    wrong = np.where(rng.random(20_000) < 0.2, 2, true)
    assert classifying._types(shares, wrong)["calibration"] > 0.1


def test_even_ranks_are_covered_as_often_as_they_should(experiments):
    import classifying

    even = classifying._ranks("x", np.random.default_rng(0).random(20_000))
    assert even["x_50"] == pytest.approx(0.5, abs=0.02) and even["x_90"] == pytest.approx(0.9, abs=0.01)
    assert even["x_uneven"] < 0.02 < classifying._ranks("x", np.random.default_rng(0).random(2000) ** 2)["x_uneven"]


@pytest.mark.long
def test_shipped_weights_name_particles_that_no_list_holds(experiments, capsys):
    import classifying

    network = classifying.weights.load_classifier(classifying.CLASSIFIER)
    found = classifying.simulated("offrule", network, 1, 2)
    assert len(found) == 54 and np.mean([row["type"] == row["found_type"] for row in found]) > 0.9
    assert {row["what"] for row in classifying.outside(network, 1)} >= {"false alarms", "amorphous", "oxide"}
