"""The sizes and types of a sample's particles, with 90 % intervals, and the judgement that they rest on."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxstruc.statistics import Interval, interval_about
from jaxstruc.structures.classes import SizeClasses

INTERVAL_FACTORS = {"mean": 1.1, "width": 1.5, "share": 2.2}
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
            columns |= {f"{name}_{bound}": getattr(self, f"{name}_{bound}") for bound in ("low", "high")}
            columns |= {
                f"{name}_{type_name}": fractions
                for type_name, fractions in zip(self.types, getattr(self, name), strict=True)
            }
        return columns


def size_intervals(
    atom_fractions: Float[np.ndarray, " class"],
    fraction_draws: Float[np.ndarray, "draw class"],
    class_sizes: Float[np.ndarray, " class"],
) -> tuple[Interval, Interval]:
    """Return mean and width of the sizes.

    Args:
        atom_fractions: of atoms, of each class.
        fraction_draws: shares from the posterior.
        class_sizes: of each class, in Å.
    """

    def moments(fractions):
        mean = fractions @ class_sizes
        return mean, np.sqrt(np.maximum(fractions @ class_sizes**2 - mean**2, 0.0)) / mean

    mean, width = (
        interval_about(float(value), draws, wider=INTERVAL_FACTORS[name])
        for name, value, draws in zip(("mean", "width"), moments(atom_fractions), moments(fraction_draws), strict=True)
    )
    return mean, width


def type_intervals(
    atom_fractions: Float[np.ndarray, " class"], fraction_draws: Float[np.ndarray, "draw class"], types: np.ndarray
) -> dict[str, Interval]:
    """Return the share of atoms of each type, the largest first; arguments as in `sizes`."""
    intervals = {}
    for name in dict.fromkeys(types.tolist()):
        is_type = types == name
        type_interval = interval_about(
            float(atom_fractions[is_type].sum()),
            fraction_draws[:, is_type].sum(axis=1),
            wider=INTERVAL_FACTORS["share"],
        )
        intervals[name] = Interval(type_interval.value, type_interval.low, min(type_interval.high, 1.0))
    return dict(sorted(intervals.items(), key=lambda entry: -entry[1].value))


def tabulate_fractions(
    atom_fractions: Float[np.ndarray, "*draw class"], classes: SizeClasses, types: tuple[str, ...]
) -> tuple[Float[np.ndarray, "*draw type size"], Float[np.ndarray, "*draw type size"]]:
    """Return shares by volume and by number of each type and size; each sum to 1.

    Args:
        atom_fractions: of atoms, of each class.
        classes: what they are.
        types: rows.
    """
    type_rows = np.array([types.index(name) for name in classes.structure_types])
    volume, number = (np.zeros((*atom_fractions.shape[:-1], len(types), len(classes.size_grid))) for _ in range(2))
    for column in range(len(classes.mean_size)):  # classes of a type and a size may be several packings
        index = (..., type_rows[column], classes.size_index[column])
        volume[index] += atom_fractions[..., column]
        number[index] += atom_fractions[..., column] / classes.mean_size[column] ** 3
    return volume, number / number.sum(axis=(-2, -1), keepdims=True)
