"""Which candidates are fitted: those that are probable at a glance, and of these the best of a rough fit."""

from collections.abc import Sequence

import numpy as np

from jaxstruc.inference import profile, screening, target
from jaxstruc.inference.candidates import CandidateGroup, CandidatePool
from jaxstruc.inference.glance import ClassifierPrior
from jaxstruc.inference.screening import BinnedDistances
from jaxstruc.inference.target import Target
from jaxstruc.solver import glances
from jaxstruc.solver.glances import ClassifierPrediction


def max_fitted(classifier_prediction: ClassifierPrediction | None, group: CandidateGroup) -> int:
    """Return how many candidates of a group are fitted."""
    uses_classifier = (
        classifier_prediction is not None and not classifier_prediction.outside_training and group.source == "library"
    )
    return screening.MAX_SCREENED_BY_CLASSIFIER if uses_classifier else screening.MAX_SCREENED


def select_probable(
    classifier_prediction: ClassifierPrediction | None, groups: Sequence[CandidateGroup]
) -> list[CandidateGroup]:
    """Return groups with those candidates of a library that are probable at a glance, as many as are fitted at least.

    All stay where it says nothing.
    """
    if classifier_prediction is None or classifier_prediction.outside_training:
        return list(groups)
    return [
        group._replace(
            rows=glances.select_rows(
                classifier_prediction, group, min_candidates=max_fitted(classifier_prediction, group)
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
    binned_libraries: dict[int, BinnedDistances],
    *,
    classifier_prediction: ClassifierPrediction | None,
) -> list[BinnedDistances | None]:
    """Return the binned distances of the candidates of libraries that are more than are fitted, or tried for settings.

    Draws of a network, new ones for each measurement, are all fitted.

    Args:
        groups: candidates of each source.
        probable_groups: those of them that are probable.
        target: the data.
        binned_libraries: bins of whole libraries by their identity, for the next measurement.
        classifier_prediction: what the classifier says.
    """
    group_distances: list[BinnedDistances | None] = []
    for group, probable_group in zip(groups, probable_groups, strict=True):
        max_unbinned = (
            max_fitted(classifier_prediction, group)
            if len(probable_group.rows) == len(group.rows)
            else profile.N_PROFILE_CANDIDATES
        )
        if group.source == "network" or len(probable_group.rows) <= max_unbinned:
            group_distances.append(None)
            continue
        if id(group.library) not in binned_libraries:
            binned_libraries[id(group.library)] = screening.binned_distances(
                group.library, group.rows, bond=target.bond, span=target.span
            )
        library_distances = binned_libraries[id(group.library)]
        group_distances.append(
            library_distances
            if len(probable_group.rows) == len(group.rows)
            else screening.select_candidates(library_distances, probable_group.rows)
        )
    return group_distances


def select_screened(
    group: CandidateGroup, binned_distances: BinnedDistances | None, target: Target, *, max_candidates: int
) -> tuple[CandidateGroup, np.ndarray]:
    """Return the candidates of a group that are worth fitting, and the rows that are worth a judge's try."""
    if binned_distances is None:
        return group, group.rows
    misfits = screening.misfits(binned_distances, target.basis)
    fit_rows, holdout_rows = (
        screening.best_rows(binned_distances, misfits, count=max_rows)
        for max_rows in (max_candidates, screening.MAX_HOLDOUT_CANDIDATES)
    )
    return group._replace(rows=fit_rows), holdout_rows


def select_for_settings(
    group: CandidateGroup, binned_distances: BinnedDistances | None, fit_target: Target
) -> CandidateGroup:
    """Return candidates that fit well whatever the qmin."""
    if binned_distances is None:
        return group._replace(rows=group.rows[: profile.N_PROFILE_CANDIDATES])
    q_nodes = target.low_q_curves(
        fit_target, q_start=min(profile.MIN_TRIAL_QMIN, fit_target.qmin), q_end=profile.TRIAL_VALUES["qmin"][-1]
    )
    misfits = screening.misfits(binned_distances, fit_target.basis, excluded_curves=q_nodes)
    return group._replace(rows=screening.best_rows(binned_distances, misfits, count=profile.N_PROFILE_CANDIDATES))


def summarize_prior(
    classifier_prediction: ClassifierPrediction | None,
    groups: Sequence[CandidateGroup],
    probable_groups: Sequence[CandidateGroup],
    pool: CandidatePool,
    weight: np.ndarray,
) -> ClassifierPrior | None:
    """Return what was seen of a library at a glance, and how the fits agree; None where there was none."""
    if classifier_prediction is None:
        return None
    for group, probable_group in zip(groups, probable_groups, strict=True):
        if group.source == "library":
            in_library = np.array([pool_group.library is group.library for pool_group in pool.groups])[pool.group]
            rows = np.array([pool.entry(row)[1] for row in np.flatnonzero(in_library).tolist()], np.intp)
            return glances.summarize_group(
                classifier_prediction, group, len(probable_group.rows), rows, weight[in_library]
            )
    return None


def prior_remarks(classifier_prediction: ClassifierPrediction | None, missing_reason: str) -> list[str]:
    """Return why there is no classifier, or why it was not followed."""
    if missing_reason:
        return [missing_reason]
    return (
        [f"not screened: {', '.join(classifier_prediction.outside_training)}"]
        if classifier_prediction and classifier_prediction.outside_training
        else []
    )
