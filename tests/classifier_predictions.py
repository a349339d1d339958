"""Classifier predictions made by hand, for tests of code that uses them."""

import numpy as np

from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.io.qmax_check import QmaxEstimate
from jaxstruc.network.classifier.model import COORDINATE_CENTRE, COORDINATE_SCALE, MixtureDensity
from jaxstruc.network.classifier.predict import ClassifierOutput
from jaxstruc.network.classifier.simulated_pdfs import VALUE_NAMES
from jaxstruc.pdf.classifier_prior import ClassifierPrediction
from jaxstruc.statistics import Interval


def classifier_prediction(type_probabilities, n_atoms, *, elongation_coordinate=0.4, outside_training=()):
    """Return a prediction with these type probabilities and a number of atoms with an uncertainty of 3 %."""
    log_type_probability = np.log(np.array([[type_probabilities.get(name, 1e-12) for name in STRUCTURE_TYPES]]))
    mean = np.zeros((1, len(VALUE_NAMES)), np.float32)
    mean[0, :2] = (
        (np.log(n_atoms) - COORDINATE_CENTRE[0]) / COORDINATE_SCALE[0],
        (elongation_coordinate - COORDINATE_CENTRE[1]) / COORDINATE_SCALE[1],
    )
    mixture_density = MixtureDensity(
        np.zeros(1), log_type_probability, mean, np.full_like(mean, 0.03 / COORDINATE_SCALE[0]), np.zeros(())
    )
    intervals = {name: Interval(1.0, 0.5, 2.0) for name in VALUE_NAMES}
    return ClassifierPrediction(
        ClassifierOutput(type_probabilities, intervals, 0.5, 0.5, QmaxEstimate(20.0, 0.0), mixture_density),
        outside_training,
    )
