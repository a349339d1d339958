"""Plan for the analysis of measured PDFs, and one measurement with the inputs of its stages."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jaxstruc
from jaxstruc.clusters import known_phases
from jaxstruc.io.measurement import Measurement
from jaxstruc.options.pdf import (
    CurveOptions,
    DataOptions,
    EnsembleName,
    FitOptions,
    RefineOptions,
    RelaxOptions,
    SearchName,
    SolveOptions,
)
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.classifier_prior import ClassifierPrediction, LoadedClassifier
from jaxstruc.pdf.screening import FitLimits
from jaxstruc.pdf.site_search import SHAPE_PRIOR_WEIGHT
from jaxstruc.pdf.sources import CandidateSource
from jaxstruc.pdf.target import Target
from jaxstruc.scattering import form_factors

MAX_REFINED_CANDIDATES = 200
"""Largest number of candidates that are refined with all free parameters. The best candidates of fits with the default
parameters are refined."""
MAX_WRITTEN_CANDIDATES = 5
"""Number of candidates that a result stores with their atoms and curves."""


class PdfPlan(NamedTuple):
    """Element, candidate sources, options and classifier for the analysis of measurements."""

    element: str
    sources: tuple[CandidateSource, ...]
    options: SolveOptions | RefineOptions = SolveOptions(search="none", ensemble="none", screen="none")
    screen_candidates: bool = True
    """Whether candidates are selected by an approximate Rw before the fits. If they are, only the best candidates are
    refined with all free parameters."""
    max_written: int = MAX_WRITTEN_CANDIDATES
    """Number of candidates that a result stores with their atoms and curves."""
    shape_weight: float = SHAPE_PRIOR_WEIGHT
    """Weight of the prior on the particle's shape in a search."""
    classifier: LoadedClassifier = LoadedClassifier(None)
    """Classifier that predicts the types and sizes of probable candidates."""
    fit_limits: FitLimits = FitLimits()
    """Largest numbers of candidates that are fitted."""
    max_refined: int = MAX_REFINED_CANDIDATES
    """Largest number of candidates that are refined with all free parameters."""
    n_devices: int | None = None
    """Largest number of measurements that are solved at once; None for the number that the machine can work on."""

    @property
    def data(self) -> DataOptions:
        """Options for the settings of the measurements."""
        return self.options.data

    @property
    def curve(self) -> CurveOptions:
        """Options for files with data over Q: the kind of the data and the units."""
        return self.options.curve

    @property
    def fit(self) -> FitOptions:
        """Options of the fits."""
        return self.options.fit

    @property
    def relax(self) -> RelaxOptions:
        """Options for the refinement of coordinates."""
        return self.options.relax if isinstance(self.options, RefineOptions) else RelaxOptions()

    @property
    def ensemble(self) -> EnsembleName:
        """Form of the size distribution with which a single structure is compared; "none" for no comparison."""
        return "none" if isinstance(self.options, RefineOptions) else self.options.ensemble

    @property
    def search(self) -> SearchName:
        """Level of the search over lattice sites for a particle that no source lists; "none" for no search."""
        return "none" if isinstance(self.options, RefineOptions) else self.options.search

    @property
    def seed(self) -> int:
        """Seed of the search."""
        return 0 if isinstance(self.options, RefineOptions) else self.options.network.seed

    @property
    def type_weights(self) -> dict[str, float]:
        """Prior weight of each structure type. The weights are equal for structures of the user."""
        has_known_types = not isinstance(self.options, RefineOptions) and self.options.types == "element"
        return known_phases.type_weights(self.element if has_known_types else "")

    @property
    def bond(self) -> float:
        """Nearest-neighbour distance, in Å."""
        return form_factors.bond_length(self.element)

    @property
    def provenance(self) -> dict[str, Any]:
        """All inputs that determine a result in addition to the file, as JSON values."""
        network = self.classifier.network
        provenance = {"element": self.element} | self.options.recorded_values
        provenance |= {"screen": network.card["sha256"] if network else self.classifier.missing_reason or "none"}
        for source in self.sources:
            provenance |= source.provenance
        return provenance | {"version": jaxstruc.__version__}


class MeasurementCase(NamedTuple):
    """One measurement with the inputs of its stages."""

    measurement: Measurement
    target: Target
    groups: Sequence[CandidateGroup]
    """Candidates of each source. The group of a source may be empty."""
    plan: PdfPlan
    prediction: ClassifierPrediction | None
    """Prediction of the classifier; None if there is no classifier."""

    @property
    def nonempty_groups(self) -> list[CandidateGroup]:
        """Groups that contain at least one candidate."""
        return [group for group in self.groups if len(group.rows)]

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the fitted parameters."""
        return self.plan.fit.free
