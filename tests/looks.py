"""What a classifier may say, made by hand."""

import numpy as np

from jaxstruc.data.edge import Edge
from jaxstruc.network.classifier import CENTRE, SPREAD, Mixture
from jaxstruc.network.endless import VALUES
from jaxstruc.network.naming import Named
from jaxstruc.solver.glances import Look
from jaxstruc.statistics import Interval
from jaxstruc.structures.cuts import TYPES


def looked(shares, atoms, *, slimness=0.4, outside=()):
    """Return what a classifier would say that is sure of types to their shares, and of the size to 3 %."""
    type_ = np.log(np.array([[shares.get(name, 1e-12) for name in TYPES]]))
    mean = np.zeros((1, len(VALUES)), np.float32)
    mean[0, :2] = (np.log(atoms) - CENTRE[0]) / SPREAD[0], (slimness - CENTRE[1]) / SPREAD[1]
    mixture = Mixture(np.zeros(1), type_, mean, np.full_like(mean, 0.03 / SPREAD[0]), np.zeros(()))
    intervals = {name: Interval(1.0, 0.5, 2.0) for name in VALUES}
    return Look(Named(shares, intervals, 0.5, 0.5, Edge(20.0, 0.0), mixture), outside)
