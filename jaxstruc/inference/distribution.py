"""The sizes and types of a sample's particles, with 90 % intervals, and the judgement that they rest on."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxstruc.statistics import Interval, interval_about
from jaxstruc.structures.classes import Classes

WIDER = {"mean": 1.1, "width": 1.5, "share": 2.2}
"""How much wider than the posterior's the intervals of mean, width and types' shares are: real particles are no means
of classes. Chosen so that 90 % of simulated samples lie within, on others than those that coverage is reported for."""


@dataclass(frozen=True)
class Holdout:
    """How well models that are fitted up to a cut predict the data beyond it."""

    cut: float
    """Å. What is fitted ends, and what is predicted begins."""
    end: float
    """Å"""
    points: float
    """Independent, of what is predicted."""
    single: float
    """Rw there of the best cluster; so for the next."""
    ensemble: float
    gain: float
    """Of the ensemble over the cluster, in the logarithm of the likelihood."""


@dataclass(frozen=True)
class Distribution:
    """A sample as a distribution of particles, and whether it is one."""

    sample: str
    """single, distribution or undecided."""
    method: str
    """parametric: a lognormal for each type; free: smooth in the logarithm of the size."""
    rw: float
    """Of the ensemble, over the range of the single fits."""
    mean_diameter: Interval
    """Å. Of spheres of equal volume, weighted by volume."""
    width: Interval
    """Standard deviation over mean, weighted by volume."""
    shares: dict[str, Interval]
    """Of atoms, by type, the largest first."""
    holdouts: tuple[Holdout, ...]
    """Predictions beyond each cut, from which `sample` is decided."""
    types: tuple[str, ...]
    """Rows of `volume` and `number`."""
    size: np.ndarray
    """[size] Å. Diameters of spheres of equal volume, even in the logarithm."""
    volume: np.ndarray
    """[type, size] shares of atoms; sum 1."""
    volume_low: np.ndarray
    """[size] ends of the 90 % band of the sum over types; so for the next."""
    volume_high: np.ndarray
    number: np.ndarray
    """[type, size] shares of particles; sum 1."""
    number_low: np.ndarray
    number_high: np.ndarray
    r: np.ndarray
    """[point] Å. Data and predictions; G in 1/Å². So for the next three."""
    observed: np.ndarray
    predicted: np.ndarray
    """By the ensemble fitted to the middle cut."""
    predicted_single: np.ndarray
    """By the cluster that fits best to there."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a later version."""

    @property
    def rw_holdout_ensemble(self) -> float | None:
        """Mean Rw of the ensemble over the ranges that are held out; None if there are none."""
        return float(np.mean([holdout.ensemble for holdout in self.holdouts])) if self.holdouts else None

    @property
    def rw_holdout_single(self) -> float | None:
        """Mean Rw of the best single cluster over the same ranges."""
        return float(np.mean([holdout.single for holdout in self.holdouts])) if self.holdouts else None

    @property
    def rw_holdout(self) -> float | None:
        """Mean Rw over the same ranges of the model that `sample` names; of the better one if it is undecided."""
        if not self.holdouts:
            return None
        each = {"single": self.rw_holdout_single, "distribution": self.rw_holdout_ensemble}
        return each.get(self.sample, min(self.rw_holdout_single, self.rw_holdout_ensemble))  # type: ignore[type-var]

    @property
    def table(self) -> dict[str, np.ndarray]:
        """The distribution as columns by name: diameter in Å, shares by volume and by number, of all and by type."""
        columns = {"diameter": self.size}
        for name in ("volume", "number"):
            columns[name] = getattr(self, name).sum(axis=0)
            columns |= {f"{name}_{end}": getattr(self, f"{name}_{end}") for end in ("low", "high")}
            columns |= {f"{name}_{kind}": row for kind, row in zip(self.types, getattr(self, name), strict=True)}
        return columns


def sizes(
    share: Float[np.ndarray, " class"], drawn: Float[np.ndarray, "draw class"], size: Float[np.ndarray, " class"]
) -> tuple[Interval, Interval]:
    """Return mean and width of the sizes.

    Args:
        share: of atoms, of each class.
        drawn: shares from the posterior.
        size: of each class, in Å.
    """

    def both(of):
        mean = of @ size
        return mean, np.sqrt(np.maximum(of @ size**2 - mean**2, 0.0)) / mean

    mean, width = (
        interval_about(float(value), draws, wider=WIDER[name])
        for name, value, draws in zip(("mean", "width"), both(share), both(drawn), strict=True)
    )
    return mean, width


def shares(
    share: Float[np.ndarray, " class"], drawn: Float[np.ndarray, "draw class"], types: np.ndarray
) -> dict[str, Interval]:
    """Return the share of atoms of each type, the largest first; arguments as in `sizes`."""
    found = {}
    for name in dict.fromkeys(types.tolist()):
        of_it = types == name
        one = interval_about(float(share[of_it].sum()), drawn[:, of_it].sum(axis=1), wider=WIDER["share"])
        found[name] = Interval(one.value, one.low, min(one.high, 1.0))
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def on_grid(
    share: Float[np.ndarray, "*draw class"], classes: Classes, types: tuple[str, ...]
) -> tuple[Float[np.ndarray, "*draw type size"], Float[np.ndarray, "*draw type size"]]:
    """Return shares by volume and by number of each type and size; each sum to 1.

    Args:
        share: of atoms, of each class.
        classes: what they are.
        types: rows.
    """
    row = np.array([types.index(name) for name in classes.types])
    volume, number = (np.zeros((*share.shape[:-1], len(types), len(classes.sizes))) for _ in range(2))
    for column in range(len(classes.size)):  # classes of a type and a size may be several packings
        at = (..., row[column], classes.place[column])
        volume[at] += share[..., column]
        number[at] += share[..., column] / classes.size[column] ** 3
    return volume, number / number.sum(axis=(-2, -1), keepdims=True)
