"""The result of a measured PDF: structures with weights, and the sample as a distribution of particles."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxstruc.inference.distribution import Distribution
from jaxstruc.inference.glance import ClassifierPrior
from jaxstruc.result import Result

MIN_TYPE_PROBABILITY = 0.7
"""Probability of a type below which the message calls it undecided."""


@dataclass(frozen=True, repr=False)
class PdfResult(Result):
    """The answer for one measured PDF; of the classifier alone without candidates.

    `intervals` has n_atoms, diameter (Å) and, of close-packed layers, hexagonal.
    """

    technique: ClassVar[str] = "pdf"

    ensemble: Distribution | None = None
    """The sample as a distribution of particles; None if that was not asked or is not possible."""
    classifier_prior: ClassifierPrior | None = None
    """Prediction of the classifier before any fit, and how far the fits agree; None if it was not asked."""
    r: np.ndarray | None = None
    """[point] Å, in the range of the fit."""
    observed: np.ndarray | None = None
    """[point] G(r), in 1/Å²."""

    @property
    def sample(self) -> str:
        """The sample by cross-validation: single, distribution or undecided; empty if that was not asked."""
        return self.ensemble.sample if self.ensemble else ""

    @property
    def type(self) -> str:
        """Type of the largest share if the sample is a distribution, else of the most probable structure."""
        if self.ensemble and self.sample == "distribution":
            return next(iter(self.ensemble.shares), "")
        return self.candidates[0].type if self.candidates else next(iter(self.types), "")

    @property
    def type_probability(self) -> float | None:
        """Probability of `type`; None if the sample is a distribution, of which only shares are known."""
        return None if self.sample == "distribution" else self.types.get(self.type)

    @property
    def data(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The measured G(r) in the range of the fit."""
        return self.r, self.observed

    @property
    def distribution(self) -> dict[str, np.ndarray]:
        """The distribution of sizes, as columns by name, by volume and by number; empty if there is none."""
        return self.ensemble.table if self.ensemble else {}
