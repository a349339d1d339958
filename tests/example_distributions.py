"""A size distribution made by hand, for tests of tables, texts and pictures."""

import numpy as np

from jaxstruc.pdf.distribution import Distribution, Holdout
from jaxstruc.statistics import Interval


def distribution(sample="distribution", *, holdouts=True):
    """Return a distribution of fcc particles and decahedra with lognormal sizes."""
    diameter = np.geomspace(10.0, 40.0, 30)
    lognormal = np.exp(-0.5 * (np.log(diameter / 18.0) / 0.2) ** 2)
    volume = np.stack([0.7 * lognormal, 0.3 * lognormal]) / lognormal.sum()
    number = volume / diameter**3 / (volume / diameter**3).sum()
    r = np.linspace(1.5, 20, 200)
    holdout_rows = (Holdout(12.0, 18.0, 40.0, 0.5, 0.4, 9.0), Holdout(14.0, 20.0, 40.0, 0.6, 0.45, 11.5))
    bands = [(0.6 * density.sum(axis=0), 1.5 * density.sum(axis=0)) for density in (volume, number)]
    return Distribution(
        sample,
        "free",
        0.16,
        Interval(18.4, 17.0, 20.1),
        Interval(0.2, 0.1, 0.33),
        {"fcc": Interval(0.7, 0.5, 0.9), "decahedron": Interval(0.3, 0.1, 0.5)},
        holdout_rows if holdouts else (),
        ("fcc", "decahedron"),
        diameter,
        volume,
        *bands[0],
        number,
        *bands[1],
        r,
        np.sin(r),
        np.sin(r + 0.1),
        np.sin(r + 0.3),
    )
