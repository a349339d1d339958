"""Selection and fits of the candidates of one measurement.

The classifier and an approximate Rw select the candidates that are fitted (the screen). If the best of them does not
explain the data, the screen is dropped: all candidates of the sources are compared with the data, as without a
classifier.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc.clusters import library
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.io.measurement import Measurement
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import (
    candidates,
    classifier_prior,
    fit,
    fit_quality,
    instrument,
    intensity_target,
    relax,
    relaxed_screening,
    sources,
)
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool, FittedCandidates
from jaxstruc.pdf.instrument import InferredSetting
from jaxstruc.pdf.plan import MeasurementCase
from jaxstruc.pdf.result import SEARCH_BOUNDED_PARAMETERS
from jaxstruc.pdf.screening import BinnedDistances, BinnedLibraries
from jaxstruc.pdf.target import Target, replace_settings

MAX_RELAXED_CANDIDATES, N_BEST_RIGID = 400, 300
"""Largest number of candidates that are fitted with displacements at once; number of candidates with the best rigid
fits that are selected if there are more."""
N_RELAXED_SCREENINGS, N_RELAXED_CANDIDATES, N_RELAXED_REFITS, MIN_RW_GAIN = 2, 128, 64, 0.03
"""Largest number of repeated selections with data that are corrected for the relaxation; number of candidates of a
source that each of them adds; number of the best of these with accurate fits; smallest relative decrease of the best Rw
after which the selection is repeated."""

MAX_RW_AT_UNKNOWN_NOISE = 0.1
"""Rw above which the best candidate is weak if the noise of the data is unknown."""


class ProbableCandidates(NamedTuple):
    """Candidates that the classifier finds probable; all candidates if there is no classifier."""

    groups: Sequence[CandidateGroup]
    distances: Sequence[BinnedDistances | None]
    """[group] Binned distances of the candidates; None for a group whose candidates are all fitted."""


class InferredSettings(NamedTuple):
    """Target with the settings that were estimated from the data, and these settings by name."""

    target: Target
    settings: Mapping[str, InferredSetting]


class ScreenedCandidates(NamedTuple):
    """Candidates with the smallest approximate Rw."""

    groups: Sequence[CandidateGroup]
    holdout_rows: np.ndarray
    """Library rows of the clusters for the cross-validation. The best of them are fitted up to each cut."""


class FittedMeasurement(NamedTuple):
    """One measurement with its fitted candidates."""

    case: MeasurementCase
    """Measurement whose target has the settings that were estimated from the data."""
    probable_candidates: ProbableCandidates
    settings: Mapping[str, InferredSetting]
    """Settings that were estimated from the data, by name."""
    screened_candidates: ScreenedCandidates
    fitted_candidates: FittedCandidates
    """Candidates with their fits, best first."""


def fit_measurement(
    case: MeasurementCase, binned_libraries: BinnedLibraries, progress: Callable[[str], None]
) -> FittedMeasurement:
    """Return the fits of the candidates. If the best of them is weak, the classifier's selection is dropped.

    In this case all candidates are compared with the data, as without a classifier, and those of the classifier are
    fitted as well.

    Args:
        case: Measurement with its target, candidates, plan and prediction.
        binned_libraries: Binned distances of whole libraries. Those of new libraries are added.
        progress: Function that is called with a text about the present step.
    """
    fitted_measurement = fit_selected_candidates(case, binned_libraries, progress)
    if not uses_classifier(case) or not is_weak(fitted_measurement.case, fitted_measurement.fitted_candidates):
        return fitted_measurement
    progress("all candidates, because the probable ones do not explain the data")
    wide_measurement = fit_selected_candidates(
        case._replace(prediction=None),
        binned_libraries,
        progress,
        further_groups=fitted_measurement.screened_candidates.groups,
    )
    return wide_measurement._replace(case=wide_measurement.case._replace(prediction=case.prediction))


def fit_selected_candidates(
    case: MeasurementCase,
    binned_libraries: BinnedLibraries,
    progress: Callable[[str], None],
    *,
    further_groups: Sequence[CandidateGroup] = (),
) -> FittedMeasurement:
    """Return the fits of the candidates that the classifier and the approximate Rw select.

    Args:
        case: Measurement with its target, candidates, plan and prediction.
        binned_libraries: Binned distances of whole libraries. Those of new libraries are added.
        progress: Function that is called with a text about the present step.
        further_groups: Candidates of each source that are fitted in any case. By default there are none.
    """
    probable_candidates = select_probable_candidates(case, binned_libraries)
    target, settings = infer_settings(case, probable_candidates)
    case = case._replace(target=target)
    screened_candidates = screen_candidates(case, probable_candidates)
    if further_groups:
        groups = [
            group._replace(rows=np.union1d(group.rows, further_group.rows)) if group.source == "library" else group
            for group, further_group in zip(screened_candidates.groups, further_groups, strict=True)
        ]
        screened_candidates = screened_candidates._replace(groups=groups)
    fitted_candidates = fit_candidates(case, screened_candidates.groups, probable_candidates.distances, progress)
    return FittedMeasurement(case, probable_candidates, settings, screened_candidates, fitted_candidates)


def uses_classifier(case: MeasurementCase) -> bool:
    """Return whether the classifier selects the candidates of a library."""
    return (
        case.plan.screen_candidates
        and case.prediction is not None
        and not case.prediction.training_warnings
        and any(group.source == "library" for group in case.nonempty_groups)
    )


def is_weak(case: MeasurementCase, fitted_candidates: FittedCandidates) -> bool:
    """Return whether the best candidate does not explain the data.

    The criteria are those of the status of a result (`fit_quality`). If the noise is unknown, because the data end near
    the particle, a limit on Rw takes the place of the comparison with the noise.
    """
    pool, fits = fitted_candidates
    rw = float(fits.rw[0])
    if not np.isfinite(rw) or rw > fit_quality.MAX_RW:
        return True
    structure_ratio = residual_structure(case, fitted_candidates)
    if structure_ratio is None:
        return rw > MAX_RW_AT_UNKNOWN_NOISE
    bounded_parameters = [
        name
        for name, at_bound in zip(case.free, fits.at_bound[0], strict=True)
        if at_bound and name in SEARCH_BOUNDED_PARAMETERS
    ]
    return bool(
        fit_quality.weak_fit_reasons(
            rw=rw, structure_ratio=structure_ratio, n_atoms=int(pool.n_atoms[0]), max_atoms=0,
            at_bound=bounded_parameters,
        )
    )  # fmt: skip


def residual_structure(case: MeasurementCase, fitted_candidates: FittedCandidates) -> float | None:
    """Return `fit_quality.residual_structure` of the best candidate, or that of I(Q)."""
    (pool, fits), target, measurement = fitted_candidates, case.target, case.measurement
    residual = target.g - best_curve(case, fitted_candidates)
    if target.intensity is not None:
        return intensity_target.residual_structure(residual, target, n_parameters=len(case.free))
    bond = target.bond * float(fits.values.stretch[0])
    return fit_quality.residual_structure(
        measurement.relative_to_errors(residual, in_range=True),
        measurement.r,
        measurement.relative_to_errors(measurement.g),
        diameter=pool.longest_distance(0, float(fits.values.relaxation[0])) * bond,
        n_independent=target.n_independent,
        n_parameters=len(case.free),
    )


def best_curve(case: MeasurementCase, fitted_candidates: FittedCandidates) -> Float[np.ndarray, " r"]:
    """Return the calculated curve of the best candidate in the range of the fit, in the unit of `target.g`."""
    # `build_result` computes the same number of curves, so both calls share one compilation.
    best_fits = candidates.select_rows(fitted_candidates.fits, slice(0, case.plan.max_written))
    best_pool = fitted_candidates.pool.select(np.arange(len(best_fits.rw)))
    best_tables = candidates.cluster_tables(best_pool, case.target, free=case.free, start=best_fits.values)
    return fit.fitted_curves(best_fits, best_tables, case.target)[0][0]


def select_probable_candidates(case: MeasurementCase, binned_libraries: BinnedLibraries) -> ProbableCandidates:
    """Return the candidates that the classifier finds probable, with their distances in bins (`pdf.screening`)."""
    groups = classifier_prior.select_probable(case.prediction, case.nonempty_groups, case.plan.fit_limits)
    if not case.plan.screen_candidates:  # all clusters that a user refines are fitted
        return ProbableCandidates(groups, [None] * len(groups))
    distances = classifier_prior.bin_groups(
        case.nonempty_groups,
        groups,
        case.target,
        binned_libraries,
        classifier_prediction=case.prediction,
        limits=case.plan.fit_limits,
    )
    return ProbableCandidates(groups, distances)


def infer_settings(case: MeasurementCase, probable_candidates: ProbableCandidates) -> InferredSettings:
    """Return the target with the settings that are estimated from the data, and these settings."""
    target = case.target
    inferred_settings: dict[str, InferredSetting] = {}
    names = inferable_settings(case.measurement, case.free)
    if not names:
        return InferredSettings(target, inferred_settings)
    groups_with_distances = list(zip(probable_candidates.groups, probable_candidates.distances, strict=True))
    binned_groups = [
        (group, binned_distances) for group, binned_distances in groups_with_distances if binned_distances is not None
    ]
    pool = candidates.candidate_pool(
        [
            classifier_prior.select_for_settings(group, binned_distances, target)
            for group, binned_distances in binned_groups or groups_with_distances
        ]
    )
    pool = pool.select(np.arange(min(instrument.N_PROFILE_CANDIDATES, len(pool.group_row))))
    free = screening_parameters(case.free) if case.plan.screen_candidates else case.free
    for name in names:
        if inferred_setting := instrument.infer_setting(pool, target, name, free=free):
            inferred_settings[name] = inferred_setting
            target = replace_settings(target, **{name: inferred_setting.value})
    return InferredSettings(target, inferred_settings)


def screen_candidates(case: MeasurementCase, probable_candidates: ProbableCandidates) -> ScreenedCandidates:
    """Return the candidates with the smallest approximate Rw, and the rows of the library for the cross-validation."""
    screened_groups = [
        classifier_prior.select_for_fit(
            group,
            binned_distances,
            case.target,
            max_candidates=classifier_prior.max_fitted(case.prediction, group, case.plan.fit_limits),
        )
        for group, binned_distances in zip(probable_candidates.groups, probable_candidates.distances, strict=True)
    ]
    holdout_rows = next((rows for group, rows in screened_groups if group.source != "network"), np.zeros(0, int))
    return ScreenedCandidates([group for group, _ in screened_groups], holdout_rows)


def fit_candidates(
    case: MeasurementCase,
    groups: Sequence[CandidateGroup],
    distances: Sequence[BinnedDistances | None],
    progress: Callable[[str], None],
) -> FittedCandidates:
    """Return all candidates with their fits, best first.

    Args:
        case: Measurement with its target and plan.
        groups: Candidates of each source that are fitted.
        distances: Binned distances of the candidates from which each group was selected; None if all are fitted.
        progress: Function that is called with a text about the present step.
    """
    pool, target, free = candidates.candidate_pool(groups), case.target, case.free
    first_free = screening_parameters(free)
    in_two_stages = case.plan.screen_candidates and free != first_free
    if case.plan.screen_candidates and "relaxation" in free and len(pool.group_row) > MAX_RELAXED_CANDIDATES:
        pool = _best_rigid_candidates(pool, target)
    fits = candidates.fit_all(
        pool,
        target,
        free=first_free if in_two_stages else free,
        progress=lambda n_done, count: progress(f"{n_done} of {count} candidates"),
    )
    fitted_candidates = rank_by_rw(drop_duplicate_draws(FittedCandidates(pool, fits)))
    if in_two_stages:
        n_refined = min(case.plan.max_refined, len(fitted_candidates.fits.rw))
        fitted_candidates = candidates.select_fitted(fitted_candidates, np.arange(n_refined))
        fits = candidates.fit_all(fitted_candidates.pool, target, free=free)
        fitted_candidates = rank_by_rw(FittedCandidates(fitted_candidates.pool, fits))
    fitted_candidates = candidates.refit_accurately(fitted_candidates, target, free=free)
    if case.plan.screen_candidates and "relaxation" in free:
        fitted_candidates = add_relaxed_candidates(case, fitted_candidates, distances, progress)
    if case.plan.relax.coordinates:
        pool = candidates.candidate_pool([_relax_candidates(fitted_candidates, target, case.plan.relax.restraint)])
        fitted_candidates = rank_by_rw(FittedCandidates(pool, candidates.fit_all(pool, target, free=free)))
    return fitted_candidates


def add_relaxed_candidates(
    case: MeasurementCase,
    fitted_candidates: FittedCandidates,
    distances: Sequence[BinnedDistances | None],
    progress: Callable[[str], None],
) -> FittedCandidates:
    """Return the candidates and further ones that are probable for relaxed particles, best first.

    The further candidates are selected with data that are corrected for the relaxation (`pdf.relaxed_screening`).
    """
    target, free = case.target, case.free
    for _ in range(N_RELAXED_SCREENINGS):
        pool, fits = fitted_candidates
        groups, columns = list(pool.groups), []
        for group_index, binned_distances in enumerate(distances):
            if binned_distances is None:
                continue
            rows = relaxed_screening.further_rows(
                fitted_candidates, group_index, binned_distances, target, free=free, count=N_RELAXED_CANDIDATES
            )
            known_rows = groups[group_index].rows
            groups[group_index] = groups[group_index]._replace(rows=np.concatenate([known_rows, rows]))
            columns.append((np.full(len(rows), group_index), len(known_rows) + np.arange(len(rows))))
        if not sum(len(rows) for rows, _ in columns):
            break
        new_pool = CandidatePool(tuple(groups), *map(np.concatenate, zip(*columns, strict=True)))
        progress(f"{len(new_pool.group_row)} candidates for relaxed particles")
        new_candidates = rank_by_rw(FittedCandidates(new_pool, candidates.fit_all(new_pool, target, free=free)))
        new_candidates = candidates.refit_accurately(new_candidates, target, free=free, count=N_RELAXED_REFITS)
        previous_rw = fits.rw[0]
        fitted_candidates = rank_by_rw(
            FittedCandidates(
                CandidatePool(
                    tuple(groups),
                    np.concatenate([pool.group_index, new_candidates.pool.group_index]),
                    np.concatenate([pool.group_row, new_candidates.pool.group_row]),
                ),
                candidates.concatenate(fits, new_candidates.fits),
            )
        )
        if fitted_candidates.fits.rw[0] > (1 - MIN_RW_GAIN) * previous_rw:
            break
    return fitted_candidates


def screening_parameters(free: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parameters of the first fits of many candidates. The relaxation is one of them only if it is free."""
    return tuple(name for name in DEFAULT_FREE_PARAMETERS if name != "relaxation" or name in free)


def inferable_settings(measurement: Measurement, free: tuple[str, ...]) -> tuple[str, ...]:
    """Return the settings that may be estimated from the data.

    These are a qmin that comes from the header or the data, and a default qdamp. Fitted parameters are excluded, and
    an I(Q) has no such settings.
    """
    if measurement.kind == "iq":
        return ()
    origins = {setting.name: setting.origin for setting in measurement.settings}
    inferable_origins = {"qmin": ("header", "data"), "qdamp": ("default",)}
    return tuple(
        name
        for name, allowed_origins in inferable_origins.items()
        if origins[name] in allowed_origins and name not in free
    )


def _best_rigid_candidates(pool: CandidatePool, target: Target) -> CandidatePool:
    """Return the candidates with the best rigid fits, at least some of each structure type, and all of the user's."""
    rigid_parameters = tuple(name for name in DEFAULT_FREE_PARAMETERS if name != "relaxation")
    ranked, _ = rank_by_rw(FittedCandidates(pool, candidates.fit_all(pool, target, free=rigid_parameters)))
    types = np.array([FAMILY_TYPES.get(family, "") for family in ranked.families])
    is_of_user = np.array([group.source == "file" for group in ranked.groups])[ranked.group_index]
    rows = [np.arange(N_BEST_RIGID), np.flatnonzero(is_of_user)]
    rows += [np.flatnonzero(types == name)[: classifier_prior.MIN_FITTED_OF_TYPE] for name in dict.fromkeys(types)]
    return ranked.select(np.unique(np.concatenate(rows)))


def drop_duplicate_draws(fitted_candidates: FittedCandidates) -> FittedCandidates:
    """Return the candidates without draws of the network that are duplicates of better draws."""
    pool, fits = fitted_candidates
    groups, row_blocks = list(pool.groups), []
    for group_index, group in enumerate(groups):
        group_rows = np.flatnonzero(pool.group_index == group_index)
        if group.source == "network":
            best_rows, groups[group_index] = sources.merge_duplicates(
                group, np.asarray(fits.rw)[group_rows], np.asarray(fits.values.stretch)[group_rows]
            )
            group_rows = group_rows[best_rows]
        row_blocks.append(group_rows)
    return candidates.select_fitted(
        FittedCandidates(pool._replace(groups=tuple(groups)), fits), np.concatenate(row_blocks)
    )


def rank_by_rw(fitted_candidates: FittedCandidates) -> FittedCandidates:
    """Return the candidates in the order of Rw. Failed and faulty candidates are last."""
    rw = fitted_candidates.fits.rw
    return candidates.select_fitted(
        fitted_candidates, np.lexsort((np.where(np.isfinite(rw), rw, np.inf), fitted_candidates.pool.is_invalid))
    )


def _relax_candidates(fitted_candidates: FittedCandidates, target: Target, restraint: float) -> CandidateGroup:
    """Return the candidates with coordinates refined against the data."""
    pool, fits = fitted_candidates
    displacements, clusters = [], []
    for row in range(len(fits.rw)):
        cluster = library.candidate_cluster(*pool.entry(row))
        values = jax.tree.map(lambda column, row=row: column[row], fits.values)
        start_positions = pool.positions(row, float(values.relaxation))
        positions = jnp.asarray(start_positions * target.bond, jnp.float32)
        relaxation = relax.relax(positions, values, target.basis, restraint=restraint)
        clusters.append(cluster._replace(positions=np.asarray(relaxation.positions, float) / target.bond))
        displacements.append(float(relaxation.rms_displacement))
    notes = {"rw_unmoved": np.asarray(fits.rw, float), "moved": np.array(displacements)}
    return CandidateGroup(pool.groups[0].source, library.from_clusters(clusters), np.arange(len(clusters)), notes=notes)
