"""The result of measured small angles: bodies with size distributions, their weights, and the sizes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxstruc.result import Result, SizeDistribution

MIN_BODY_PROBABILITY = 0.95
"""Probability of a body below which the body counts as not determined."""
NOT_DETERMINED = "not determined"
"""Name in place of a body that is less probable."""


@dataclass(frozen=True, repr=False)
class SaxsResult(Result):
    """The answer for one measured I(Q).

    `intervals` has radius, pd and r_eq, by number, and mean_diameter and width, by volume.
    """

    technique: ClassVar[str] = "saxs"

    q: np.ndarray | None = None
    """[point] 1/Å, in the range of the fit."""
    intensity: np.ndarray | None = None
    """[point] I(Q) in the unit of the file."""
    sigma: np.ndarray | None = None
    """[point] Standard error of I(Q), as given or as inferred."""
    sizes: SizeDistribution | None = None
    """The distribution of sizes."""

    @property
    def body(self) -> str:
        """The most probable body, or "not determined" if several are probable; empty without a fit."""
        if not self.types:
            return ""
        name, probability = max(self.types.items(), key=lambda item: item[1])
        return name if probability >= MIN_BODY_PROBABILITY else NOT_DETERMINED

    @property
    def data(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The measured I(Q) in the range of the fit."""
        return self.q, self.intensity

    @property
    def distribution(self) -> dict[str, np.ndarray]:
        """The distribution of sizes, as columns by name, by volume and by number; empty if there is none."""
        return self.sizes.table if self.sizes else {}
