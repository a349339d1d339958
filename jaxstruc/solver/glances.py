"""What the classifier says of PDFs before any fit: which candidates are worth trying, and where searches begin."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from jaxstruc import statistics
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference import glance, posterior
from jaxstruc.inference.candidates import CandidateGroup
from jaxstruc.inference.glance import ClassifierPrior
from jaxstruc.network import naming, weights
from jaxstruc.network.classifier import COORDINATE_CENTRE, COORDINATE_SCALE, MixtureDensity
from jaxstruc.network.naming import ClassifierOutput
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.structures.cuts import STRUCTURE_TYPES
from jaxstruc.structures.families import FAMILY_TYPES as TYPE_BY_FAMILY
from jaxstruc.structures.library import Library

SELECTION_SPREAD, AGREEMENT_SPREAD = (0.12, 0.08), (0.03, 0.03)
"""Spreads of log n_atoms, and of log diameter less a third of it, that are added to the network's: of what is tried,
so that a likely size is not missed by a little; and of what it is judged by, since a list has gaps."""
MIN_PACKING_PROBABILITY, ATOM_COUNT_DRAWS = 0.01, 256
"""Least probability of a packing that is searched; draws of its number of atoms."""
TYPES_BY_PACKING = {"stack": ("fcc", "hcp", "faulted")} | {
    name: (name,) for name in ("bcc", "sc", "icosahedron", "decahedron")
}
POSSIBLE_TYPES = {"faulted": ("faulted", "fcc", "hcp"), "decahedron": ("decahedron", "faulted")}
"""What a rule's clusters may be by their atoms, beside what it is for: cuts show a part of its layers or its twins."""
MIN_TRAINING_ATOMS, MAX_TRAINING_ATOMS = 10, 1000
"""Atoms of the particles that it was trained on; smaller and larger ones count as these."""


class ClassifierScreen(NamedTuple):
    """The classifier, or why there is none."""

    network: TrainedClassifier | None
    missing_reason: str = ""


class ClassifierPrediction(NamedTuple):
    """What the classifier says of one PDF."""

    output: ClassifierOutput
    outside_training: tuple[str, ...]
    """How the PDF lies outside the training; it is then not screened."""


def load_screen(path: Path) -> ClassifierScreen:
    """Return the classifier of a file; where it cannot be read, the reason."""
    try:
        return ClassifierScreen(weights.load_classifier(path))
    except ValueError as error:
        return ClassifierScreen(None, f"not screened: {error}")


def predict_measurements(
    measurements: Sequence[Measurement], classifier_screen: ClassifierScreen, *, bond: float
) -> list[ClassifierPrediction | None]:
    """Return what the classifier says of each PDF; None of all where there is none.

    Args:
        measurements: with all settings.
        classifier_screen: the classifier.
        bond: nearest-neighbour distance, in Å.
    """
    if classifier_screen.network is None:
        return [None] * len(measurements)
    outputs = naming.classify_pdfs(measurements, classifier_screen.network, bond=bond)
    return [
        ClassifierPrediction(
            output,
            naming.range_warnings(measurement, output, bond=bond)
            if np.isfinite(output.novelty_score)
            else ("unreadable",),
        )
        for measurement, output in zip(measurements, outputs, strict=True)
    ]


def select_rows(
    classifier_prediction: ClassifierPrediction, group: CandidateGroup, *, min_candidates: int = 0
) -> np.ndarray:
    """Return the candidates that are probable at a glance, so many at least, as rows of their library, in its order."""
    return group.rows[
        glance.probable_candidates(
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
    """Return what a result says of it.

    Args:
        classifier_prediction: of the PDF.
        group: candidates of the library, all of them.
        n_screened: number of those tried.
        fitted_rows: rows of the library that were fitted.
        weight: theirs, by the fits.
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
        glance.N_DRAWS * effective_fraction,
    )


def draw_atom_counts(
    classifier_prediction: ClassifierPrediction | None, groups: Sequence[CandidateGroup]
) -> dict[str, np.ndarray] | None:
    """Return `DRAWN` numbers of atoms of each packing of a library that is likely at a glance.

    None where it says nothing, or there is no library.
    """
    library_types = {
        TYPE_BY_FAMILY.get(name)
        for group in groups
        if group.source == "library"
        for name in set(group.library.families)
    }
    if classifier_prediction is None or classifier_prediction.outside_training or not library_types:
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
        log_n = (
            rng.normal(mixture.mean[component, 0], mixture.standard_deviation[component, 0]) * COORDINATE_SCALE[0]
            + COORDINATE_CENTRE[0]
        )
        draws_by_packing[packing] = np.clip(np.rint(np.exp(log_n)), MIN_TRAINING_ATOMS, MAX_TRAINING_ATOMS).astype(int)
    return draws_by_packing


def _proposal_share(
    classifier_prediction: ClassifierPrediction, group: CandidateGroup, spread: tuple[float, float]
) -> np.ndarray:
    """Return the share of the glance's draws of each candidate of a group."""
    library, rows = group.library, group.rows
    types = np.array([TYPE_BY_FAMILY.get(family, "") for family in library.families[rows]], object)
    features = types, library.atoms[rows], library.diameter[rows]
    return glance.proposal_weights(
        log_density(classifier_prediction.output.mixture_density, library, rows, types, spread),
        posterior.prior_weights(*features, listed_candidates=features),
    )


def log_density(
    mixture: MixtureDensity, library: Library, rows: np.ndarray, types: np.ndarray, spread: tuple[float, float]
):
    """Return the logarithm of the network's density at candidates [row], by type, number of atoms and diameter.

    Args:
        mixture: of one PDF, on the host.
        library: of the candidates.
        rows: of these.
        types: of these.
        spread: added to the network's.
    """
    log_n = np.log(np.clip(library.atoms[rows], MIN_TRAINING_ATOMS, MAX_TRAINING_ATOMS))
    slimness = np.log(library.diameter[rows]) - np.log(library.atoms[rows]) / 3
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
    for column, value in enumerate((log_n, slimness)):
        deviation = np.hypot(mixture.standard_deviation[:, column], spread[column] / COORDINATE_SCALE[column])
        offset = ((value - COORDINATE_CENTRE[column]) / COORDINATE_SCALE[column])[:, None] - mixture.mean[:, column]
        log_weights = log_weights - 0.5 * (offset / deviation) ** 2 - np.log(deviation) - 0.5 * math.log(2 * math.pi)
    return logsumexp(log_weights, axis=1)
