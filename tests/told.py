"""A distribution made by hand, for tests of what is told of it."""

import numpy as np

from jaxstruc.inference.distribution import Distribution, Holdout
from jaxstruc.statistics import Interval


def distribution(sample="distribution", *, holdouts=True):
    """Return fcc of two sizes and decahedra of one."""
    size = np.geomspace(10.0, 40.0, 30)
    bell = np.exp(-0.5 * (np.log(size / 18.0) / 0.2) ** 2)
    volume = np.stack([0.7 * bell, 0.3 * bell]) / bell.sum()
    number = volume / size**3 / (volume / size**3).sum()
    r = np.linspace(1.5, 20, 200)
    ranges = (Holdout(12.0, 18.0, 40.0, 0.5, 0.4, 9.0), Holdout(14.0, 20.0, 40.0, 0.6, 0.45, 11.5))
    ends = [(0.6 * one.sum(axis=0), 1.5 * one.sum(axis=0)) for one in (volume, number)]
    return Distribution(
        sample, "free", 0.16, Interval(18.4, 17.0, 20.1), Interval(0.2, 0.1, 0.33),
        {"fcc": Interval(0.7, 0.5, 0.9), "decahedron": Interval(0.3, 0.1, 0.5)}, ranges if holdouts else (),
        ("fcc", "decahedron"), size, volume, *ends[0], number, *ends[1], r, np.sin(r), np.sin(r + 0.1), np.sin(r + 0.3),
    )  # fmt: skip
