r"""Selection of the candidates that are fitted, based on a classifier's prediction for a PDF.

The classifier is a neural network that predicts the structure type and the size of a particle from its G(r) before any
fit. Its probability density at a candidate c is $q(c \mid G)$, with the prior weights of the structure types. The prior
weight of the candidate within its type is $g(c)$ (`posterior.prior_weights`). Both define the proposal $Q(c) \propto
g(c)\, q(c \mid G)$, a probability distribution over the candidates. The candidates with the largest $Q$ are kept. Of
these, the candidates with the smallest approximate Rw (`pdf.screening`) are fitted.

The fits give the candidates their final weights $\pi(c)$. Importance sampling with the proposal $Q$ and the weights
$\pi/Q$ has the relative effective sample size $1 / \sum_c \pi^2(c) / Q(c)$. It is near 1 if the weights of the
fits resemble Q, and near 0 if they are much narrower than Q or contradict it (A. Kong, Technical Report 348, University
of Chicago (1992); M. Dax et al., Phys. Rev. Lett. 130, 171403 (2023), doi 10.1103/PhysRevLett.130.171403).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from jaxstruc import statistics
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.io.measurement import Measurement
from jaxstruc.network import weights
from jaxstruc.network.classifier import predict
from jaxstruc.network.classifier.model import COORDINATE_CENTRE, COORDINATE_SCALE, MixtureDensity
from jaxstruc.network.classifier.predict import ClassifierOutput
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.pdf import instrument, posterior, screening
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool
from jaxstruc.pdf.screening import BinnedDistances, BinnedLibraries, FitLimits
from jaxstruc.pdf.target import Target, low_q_curves
from jaxstruc.statistics import Interval

SELECTED_PROBABILITY = 0.9999
"""Total probability, in the proposal, of the candidates that are kept."""
N_PROPOSAL_DRAWS = 1000
"""Number of draws from the proposal to which `effective_samples` refers."""
SELECTION_SPREAD, AGREEMENT_SPREAD = (0.12, 0.08), (0.03, 0.03)
"""Standard deviations of log(n_atoms) and of log(diameter) - log(n_atoms) / 3. They are added in quadrature to the
standard deviations that the classifier predicts. The first pair is used for the selection of candidates, so that sizes
close to a probable size are kept. The second pair is used for the comparison with the fits, because a library has gaps
between its sizes."""
MIN_PACKING_PROBABILITY, ATOM_COUNT_DRAWS = 0.01, 256
"""Smallest predicted probability of a packing (e.g. bcc) for which numbers of atoms are drawn; number of draws for each
packing."""
TYPES_BY_PACKING = {"stack": ("fcc", "hcp", "faulted")} | {
    name: (name,) for name in ("bcc", "sc", "icosahedron", "decahedron")
}
POSSIBLE_TYPES = {"faulted": ("faulted", "fcc", "hcp"), "decahedron": ("decahedron", "faulted")}
"""Structure types that may be identified from the atoms of a library cluster, by the type of its family. They may
differ from the type of the family, because a small cluster may contain only some of the layers or twins."""
CLASSIFIER_NOT_USED = (
    "the classifier was not used to select candidates, so all clusters of the library were compared with the data; "
    "reason"
)
"""Start of the remark that the classifier was not used. The reason is appended to it."""
DEFAULT_FIT_LIMITS = FitLimits()
"""Default limits on the number of candidates that are fitted."""
MIN_FITTED_OF_TYPE = 8
"""Smallest number of candidates of each structure type that are fitted. The approximate Rw belongs to rigid clusters,
and the types relax in different ways."""
MIN_TRAINING_ATOMS, MAX_TRAINING_ATOMS = 10, 1000
"""Smallest and largest number of atoms of the particles on which the classifier was trained. A number outside this
range is replaced by the nearest limit."""


@dataclass(frozen=True)
class ClassifierPrior:
    """Prediction of the classifier before any fit, and its agreement with the fits."""

    types: dict[str, float]
    """Probability of each type, the largest first."""
    intervals: dict[str, Interval]
    """Medians and 90 % intervals of n_atoms, diameter (Å), width (of a size distribution), hexagonal (share of
    hexagonal layers), aspect (ratio) and stretch."""
    distance: float
    """Distance of the network's features for the PDF from the features of the training data. It is at most 1 for at
    least 95 % of the PDFs that resemble the training data."""
    n_listed: int
    """Number of candidates in the library."""
    n_screened: int
    """Number of library candidates that the classifier kept. All are kept if the PDF lies outside the range of the
    training data."""
    effective_samples: float
    """Effective sample size if `N_PROPOSAL_DRAWS` candidates are drawn from the proposal and reweighted by the fits."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Unknown fields of a saved result that a later version of the package wrote, by name."""


class LoadedClassifier(NamedTuple):
    """The classifier, or the reason for its absence."""

    network: TrainedClassifier | None
    missing_reason: str = ""


class ClassifierPrediction(NamedTuple):
    """Prediction of the classifier for one PDF."""

    output: ClassifierOutput
    training_warnings: tuple[str, ...]
    """Reasons why the PDF lies outside the range of the training data. If there are any, the prediction is not used."""


def proposal_weights(
    log_density: Float[np.ndarray, " candidate"], prior_weight: np.ndarray
) -> Float[np.ndarray, " candidate"]:
    """Return the probability of each candidate in the proposal; the sum is 1.

    Args:
        log_density: Logarithm of the classifier's density at each candidate.
        prior_weight: Prior weight of each candidate.
    """
    log_weight = log_density + np.log(prior_weight)
    relative_weight = np.exp(log_weight - log_weight.max())
    return relative_weight / relative_weight.sum()


def probable_candidates(
    proposal_weight: Float[np.ndarray, " candidate"],
    *,
    probability: float = SELECTED_PROBABILITY,
    min_candidates: int = 0,
) -> np.ndarray:
    """Return the smallest set of candidates with a given total probability, as their indices in increasing order.

    Args:
        proposal_weight: Probability of each candidate in the proposal.
        probability: Total probability of the returned candidates.
        min_candidates: Smallest number of returned candidates.
    """
    order = np.argsort(-proposal_weight, kind="stable")
    preceding_weight = np.cumsum(proposal_weight[order]) - proposal_weight[order]
    return np.sort(order[(preceding_weight < probability) | (np.arange(len(order)) < min_candidates)])


def load_optional_classifier(path: Path) -> LoadedClassifier:
    """Return the classifier of a weights file, or the reason why the file cannot be read."""
    try:
        return LoadedClassifier(weights.load_classifier(path))
    except ValueError as error:
        return LoadedClassifier(None, f"{CLASSIFIER_NOT_USED}: {error}")


def predict_measurements(
    measurements: Sequence[Measurement],
    classifier: LoadedClassifier,
    *,
    bond: float,
    type_weights: Mapping[str, float] | None = None,
) -> list[ClassifierPrediction | None]:
    """Return the classifier's prediction for each PDF; None for each PDF if there is no classifier.

    Args:
        measurements: Measurements with all settings.
        classifier: Loaded classifier.
        bond: Nearest-neighbour distance of the element, in Å.
        type_weights: Prior weight of each structure type; equal weights by default.
    """
    if classifier.network is None:
        return [None] * len(measurements)
    outputs = predict.classify_pdfs(measurements, classifier.network, bond=bond, type_weights=type_weights)
    return [
        checked_prediction(measurement, output, bond=bond)
        for measurement, output in zip(measurements, outputs, strict=True)
    ]


def checked_prediction(measurement: Measurement, output: ClassifierOutput, *, bond: float) -> ClassifierPrediction:
    """Return the prediction for one PDF, with the reasons if the PDF lies outside the range of the training data.

    Args:
        measurement: Measurement with all settings.
        output: Output of the classifier.
        bond: Nearest-neighbour distance of the element, in Å.
    """
    if not np.isfinite(output.novelty_score):
        return ClassifierPrediction(output, ("its prediction is not a finite number",))
    return ClassifierPrediction(output, predict.range_warnings(measurement, output, bond=bond))


def probable_rows(
    classifier_prediction: ClassifierPrediction, group: CandidateGroup, *, min_candidates: int = 0
) -> np.ndarray:
    """Return the library rows of the probable candidates in increasing order, at least `min_candidates` rows."""
    return group.rows[
        probable_candidates(
            _proposal_share(classifier_prediction, group, SELECTION_SPREAD), min_candidates=min_candidates
        )
    ]


def summarize_group(
    classifier_prediction: ClassifierPrediction,
    group: CandidateGroup,
    n_screened: int,
    fitted_rows: np.ndarray,
    weight: np.ndarray,
) -> ClassifierPrior:
    """Return the prediction for a library and its agreement with the fits, in the form that a result stores.

    Args:
        classifier_prediction: Prediction for the PDF.
        group: All candidates of the library.
        n_screened: Number of candidates that the classifier kept.
        fitted_rows: Library rows of the fitted candidates.
        weight: Posterior weights of the fitted candidates.
    """
    proposal_share = np.zeros(len(group.library.atoms))
    proposal_share[group.rows] = _proposal_share(classifier_prediction, group, AGREEMENT_SPREAD)
    effective_fraction = (
        statistics.effective_fraction(weight / weight.sum(), proposal_share[fitted_rows]) if weight.sum() > 0 else 0.0
    )
    output = classifier_prediction.output
    return ClassifierPrior(
        output.type_probabilities,
        output.intervals,
        output.feature_distance,
        len(group.rows),
        n_screened,
        N_PROPOSAL_DRAWS * effective_fraction,
    )


def draw_atom_counts(
    classifier_prediction: ClassifierPrediction | None, groups: Sequence[CandidateGroup]
) -> dict[str, np.ndarray] | None:
    """Return random numbers of atoms from the classifier's prediction: one array for each probable packing.

    Only packings of the library are included. The result is None if there is no prediction, if the PDF lies outside the
    range of the training data, or if there is no library.
    """
    library_types = {
        FAMILY_TYPES.get(name) for group in groups if group.source == "library" for name in set(group.library.families)
    }
    if classifier_prediction is None or classifier_prediction.training_warnings or not library_types:
        return None
    rng, mixture, draws_by_packing = np.random.default_rng(17), classifier_prediction.output.mixture_density, {}
    for packing, types in TYPES_BY_PACKING.items():
        if not library_types & set(types):
            continue
        log_type_probability = logsumexp(
            mixture.log_type_probability[:, [STRUCTURE_TYPES.index(name) for name in types]], axis=1
        )
        weight = np.exp(mixture.log_weight + log_type_probability)
        if weight.sum() < MIN_PACKING_PROBABILITY:
            continue
        component = rng.choice(len(weight), ATOM_COUNT_DRAWS, p=weight / weight.sum())
        log_n_atoms = (
            rng.normal(mixture.mean[component, 0], mixture.standard_deviation[component, 0]) * COORDINATE_SCALE[0]
            + COORDINATE_CENTRE[0]
        )
        draws_by_packing[packing] = np.clip(
            np.rint(np.exp(log_n_atoms)), MIN_TRAINING_ATOMS, MAX_TRAINING_ATOMS
        ).astype(int)
    return draws_by_packing


def log_density(
    mixture: MixtureDensity, library: Library, rows: np.ndarray, types: np.ndarray, spread: tuple[float, float]
):
    """Return the logarithm of the classifier's density at each candidate's type, number of atoms and diameter.

    Args:
        mixture: Mixture density that the classifier predicts for one PDF, as NumPy arrays.
        library: Library of the candidates.
        rows: Rows of the candidates in the library.
        types: Structure type of each candidate.
        spread: Standard deviations that are added in quadrature to those of the mixture (see `SELECTION_SPREAD`).
    """
    log_n_atoms = np.log(np.clip(library.atoms[rows], MIN_TRAINING_ATOMS, MAX_TRAINING_ATOMS))
    log_relative_diameter = np.log(library.diameter[rows]) - np.log(library.atoms[rows]) / 3
    log_type_probability = {
        name: logsumexp(
            mixture.log_type_probability[
                :, [STRUCTURE_TYPES.index(possible_type) for possible_type in POSSIBLE_TYPES.get(name, (name,))]
            ],
            axis=1,
        )
        for name in set(types.tolist())
    }
    log_weights = mixture.log_weight + np.stack([log_type_probability[name] for name in types.tolist()])
    for column, value in enumerate((log_n_atoms, log_relative_diameter)):
        deviation = np.hypot(mixture.standard_deviation[:, column], spread[column] / COORDINATE_SCALE[column])
        offset = ((value - COORDINATE_CENTRE[column]) / COORDINATE_SCALE[column])[:, None] - mixture.mean[:, column]
        log_weights = log_weights - 0.5 * (offset / deviation) ** 2 - np.log(deviation) - 0.5 * math.log(2 * math.pi)
    return logsumexp(log_weights, axis=1)


def max_fitted(
    classifier_prediction: ClassifierPrediction | None, group: CandidateGroup, limits: FitLimits = DEFAULT_FIT_LIMITS
) -> int:
    """Return the largest number of candidates of a group that are fitted."""
    uses_classifier = (
        classifier_prediction is not None and not classifier_prediction.training_warnings and group.source == "library"
    )
    return limits.with_classifier if uses_classifier else limits.without_classifier


def select_probable(
    classifier_prediction: ClassifierPrediction | None,
    groups: Sequence[CandidateGroup],
    limits: FitLimits = DEFAULT_FIT_LIMITS,
) -> list[CandidateGroup]:
    """Return the groups, with each library reduced to its probable candidates.

    The number of kept candidates is not smaller than `max_fitted`. All candidates are kept if there is no prediction or
    if the PDF lies outside the range of the training data.
    """
    if classifier_prediction is None or classifier_prediction.training_warnings:
        return list(groups)
    return [
        group._replace(
            rows=probable_rows(
                classifier_prediction, group, min_candidates=max_fitted(classifier_prediction, group, limits)
            )
        )
        if group.source == "library"
        else group
        for group in groups
    ]


def bin_groups(
    groups: Sequence[CandidateGroup],
    probable_groups: Sequence[CandidateGroup],
    target: Target,
    binned_libraries: BinnedLibraries,
    *,
    classifier_prediction: ClassifierPrediction | None,
    limits: FitLimits = DEFAULT_FIT_LIMITS,
) -> list[BinnedDistances | None]:
    """Return the binned distances between atoms for the candidates of each group.

    The entry of a group is None if all its candidates are fitted, because no selection is then needed. The draws of a
    network are always fitted, because they are new for each measurement.

    Args:
        groups: Candidates of each source.
        probable_groups: Candidates of each source that the classifier finds probable.
        target: Measured data and settings of the fit.
        binned_libraries: Binned distances of whole libraries, which are kept for the next measurement.
        classifier_prediction: Prediction for the PDF.
        limits: Largest numbers of candidates that are fitted.
    """
    group_distances: list[BinnedDistances | None] = []
    for group, probable_group in zip(groups, probable_groups, strict=True):
        max_unbinned = (
            max_fitted(classifier_prediction, group, limits)
            if len(probable_group.rows) == len(group.rows)
            else instrument.N_PROFILE_CANDIDATES
        )
        if group.source == "network" or len(probable_group.rows) <= max_unbinned:
            group_distances.append(None)
            continue
        library_distances = binned_libraries.find(group.library, group.rows, bond=target.bond, span=target.span)
        group_distances.append(
            library_distances
            if len(probable_group.rows) == len(group.rows)
            else screening.select_candidates(library_distances, probable_group.rows)
        )
    return group_distances


def select_for_fit(
    group: CandidateGroup, binned_distances: BinnedDistances | None, target: Target, *, max_candidates: int
) -> tuple[CandidateGroup, np.ndarray]:
    """Return the candidates of a group that are fitted, and the rows of its library for the cross-validation.

    Both are the candidates with the smallest approximate Rw. More candidates are used for the cross-validation. The
    best few of each structure type are always fitted.
    """
    if binned_distances is None:
        return group, group.rows
    approximate_rw = screening.approximate_rw(binned_distances, target.basis)
    fit_rows, holdout_rows = (
        screening.best_rows(binned_distances, approximate_rw, count=max_rows)
        for max_rows in (max_candidates, screening.MAX_HOLDOUT_CANDIDATES)
    )
    types = np.array([FAMILY_TYPES.get(family, "") for family in group.library.families[binned_distances.rows]])
    order = np.argsort(approximate_rw, kind="stable")
    rows_by_type = [
        binned_distances.rows[order[types[order] == name][:MIN_FITTED_OF_TYPE]] for name in dict.fromkeys(types[order])
    ]
    return group._replace(rows=np.unique(np.concatenate([fit_rows, *rows_by_type]))), holdout_rows


def select_for_settings(
    group: CandidateGroup, binned_distances: BinnedDistances | None, target: Target
) -> CandidateGroup:
    """Return the candidates of a group that fit best, compared without the part of G(r) that depends on qmin."""
    if binned_distances is None:
        return group._replace(rows=group.rows[: instrument.N_PROFILE_CANDIDATES])
    curves_of_low_q = low_q_curves(
        target, q_start=min(instrument.MIN_TRIAL_QMIN, target.qmin), q_end=instrument.TRIAL_VALUES["qmin"][-1]
    )
    approximate_rw = screening.approximate_rw(binned_distances, target.basis, excluded_curves=curves_of_low_q)
    return group._replace(
        rows=screening.best_rows(binned_distances, approximate_rw, count=instrument.N_PROFILE_CANDIDATES)
    )


def summarize_prior(
    classifier_prediction: ClassifierPrediction | None,
    groups: Sequence[CandidateGroup],
    probable_groups: Sequence[CandidateGroup],
    pool: CandidatePool,
    weight: np.ndarray,
) -> ClassifierPrior | None:
    """Return the prediction for a library and its agreement with the fits; None if there is no such prediction."""
    if classifier_prediction is None:
        return None
    for group, probable_group in zip(groups, probable_groups, strict=True):
        if group.source == "library":
            in_library = np.array([pool_group.library is group.library for pool_group in pool.groups])[pool.group_index]
            rows = np.array([pool.entry(row)[1] for row in np.flatnonzero(in_library).tolist()], np.intp)
            return summarize_group(classifier_prediction, group, len(probable_group.rows), rows, weight[in_library])
    return None


def prior_remarks(classifier_prediction: ClassifierPrediction | None, missing_reason: str) -> list[str]:
    """Return a list with the remark that the classifier was not used; an empty list if it was used."""
    if missing_reason:
        return [missing_reason]
    return (
        [f"{CLASSIFIER_NOT_USED}: {', '.join(classifier_prediction.training_warnings)}"]
        if classifier_prediction and classifier_prediction.training_warnings
        else []
    )


def _proposal_share(
    classifier_prediction: ClassifierPrediction, group: CandidateGroup, spread: tuple[float, float]
) -> np.ndarray:
    """Return the probability of each candidate of a group in the proposal; the sum is 1."""
    library, rows = group.library, group.rows
    types = np.array([FAMILY_TYPES.get(family, "") for family in library.families[rows]], object)
    features = types, library.atoms[rows], library.diameter[rows]
    return proposal_weights(
        log_density(classifier_prediction.output.mixture_density, library, rows, types, spread),
        posterior.prior_weights(*features, listed_candidates=features),
    )
