"""Result of the fits to a measured I(Q): candidates with weights, credible intervals, sizes and messages.

A candidate is one body (a shape of particle) with one size distribution.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

import jaxstruc
from jaxstruc import statistics
from jaxstruc.io.measurement import Measurement
from jaxstruc.result import Candidate, Result, SizeDistribution, Value
from jaxstruc.small_angle import evidence, fitted_curves, model_averaging
from jaxstruc.small_angle.data import SaxsData
from jaxstruc.small_angle.evidence import FREE_FIT_INDEX, SizeDraws
from jaxstruc.small_angle.fit import MIXTURES, BodyFit, SaxsFits
from jaxstruc.small_angle.fitted_curves import FittedCurve
from jaxstruc.small_angle.model_averaging import FitGroup, FreeBodyFit, ModelAverage
from jaxstruc.small_angle.shape_parameters import SHAPE_PARAMETERS
from jaxstruc.small_angle.size_distributions import DISTRIBUTION_SHAPES, Moments, median_and_sigma, moments
from jaxstruc.statistics import CENTRAL_90, Interval

MIN_BODY_PROBABILITY = 0.95
"""Smallest probability of a body that is reported as the answer."""
NOT_DETERMINED = "not determined"
"""Text in place of a body if none is probable enough."""
MAX_WRITTEN_CANDIDATES = 5
"""Largest number of parametric candidates whose fitted curves are written. They are the most probable ones."""
MIN_RELATIVE_DENSITY = 1e-5
"""Smallest density with a credible band, relative to the largest drawn density.

At sizes where all drawn densities are smaller, the band is zero.
"""
NODE_STRIDE = 2
"""Step in the node index between the written points of the size distribution."""
MIN_CHI2_FALL = 25.0
"""Smallest decrease of chi-squared from a background alone to the best fit with particles.

If the decrease is smaller, no particles are detected. The limit is multiplied by the reduced chi-squared of the best
fit if that exceeds 1.
"""
MAX_LOG_RADIUS_ERROR = 0.3
"""Standard error of ln R above which the size counts as not determined."""
MAX_INTERVAL_RATIO = 1.3
"""Largest ratio of the upper to the lower end of the credible interval of the number-weighted mean radius.

If the ratio of a free distribution is larger, a message warns that this mean is uncertain.
"""
N_FREE_NODES = 512
"""Number of nodes of ln R for the mean sizes of a free distribution."""
MAX_PRINTED_CHI2 = 1000.0
"""Largest reduced chi-squared that is printed as a number."""
MAX_OUTSIDE_SHARE = 0.05
"""Share of the volume outside the sizes that the range of Q determines above which a message warns."""
MAX_UNIFORM_Q = 0.4
"""Q in 1/Å beyond which the arrangement of the atoms changes the scattering of a particle.

A cluster of 100 atoms of Pb scatters like a body to 0.1 % below this Q, and differs from it by 5 % at 1 1/Å.
"""
MAX_RELATIVE_LOW = 0.1
"""Lower end of the interval of a shell or volume fraction, relative to the upper end, below which it may be absent."""
MAX_REDUCED_CHI2 = 2.0
"""Reduced chi-squared above which a fit does not explain data with stated errors."""


@dataclass(frozen=True, repr=False)
class SaxsResult(Result):
    """Result for one measured I(Q).

    `intervals` contains the credible intervals of the number-weighted radius, pd and r_eq, and of the volume-weighted
    mean_diameter and width. pd is the relative standard deviation of the radius, and r_eq is the radius of the sphere
    of equal volume. If the best body has a shape parameter, e.g. aspect_ratio, its interval is included.
    """

    technique: ClassVar[str] = "saxs"

    q: np.ndarray | None = None
    """Q in 1/Å in the range of the fit, [point]."""
    intensity: np.ndarray | None = None
    """I(Q) in the unit of the file, [point]."""
    sigma: np.ndarray | None = None
    """Standard error of I(Q), stated by the file or inferred, [point]."""
    sizes: SizeDistribution | None = None
    """Size distribution of the best candidate, with a 90 % credible band that includes all candidates."""

    @property
    def body(self) -> str:
        """Name of the most probable body, or an empty text if no fit succeeded.

        If the probability of this body is too small, the text is "not determined".
        """
        if not self.types:
            return ""
        name, probability = max(self.types.items(), key=lambda item: item[1])
        return name if probability >= MIN_BODY_PROBABILITY else NOT_DETERMINED

    @property
    def data(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Q and measured I(Q) in the range of the fit."""
        return self.q, self.intensity

    @property
    def distribution(self) -> dict[str, np.ndarray]:
        """Columns of the volume-weighted and the number-weighted size distribution by name, empty if there is none."""
        return self.sizes.table if self.sizes else {}


def build_result(
    measurement: Measurement,
    saxs_data: SaxsData,
    fits: SaxsFits,
    *,
    element: str,
    distributions: Sequence[str],
    scale_factor: float = 1.0,
) -> SaxsResult:
    """Return the result of all fits to a measured I(Q).

    Args:
        measurement: Measured I(Q) with its settings.
        saxs_data: Data that were fitted.
        fits: Fits of all bodies and distributions.
        element: Element of the particles, or "".
        distributions: Names of the distributions that are compared.
        scale_factor: Factor that converts the fitted scale to a volume fraction, or 1 if the scale is arbitrary.
    """
    empty_result = SaxsResult(
        measurement.name, measurement.sha256, element, "failed",
        "No body could be fitted. Check the scale of the intensities and the range of Q (--qmin, --qmax).",
        settings=measurement.settings, q=saxs_data.q, intensity=saxs_data.intensity, sigma=saxs_data.sigma,
        versions={"jaxstruc": jaxstruc.__version__, "jax": jax.__version__, "numpy": np.__version__},
    )  # fmt: skip
    usable_fits = [entry for entry in fits.body_fits if math.isfinite(entry.chi2) and entry.amplitude.any()]
    if not usable_fits:
        return empty_result
    if not _detects_particles(saxs_data, usable_fits):
        message = (
            "A background alone explains the data, so no particles are detected. Check the file, or change the range "
            "of Q (--qmin, --qmax)."
        )
        return dataclasses.replace(empty_result, message=message)
    model_average = model_averaging.average_models(
        saxs_data,
        fits,
        usable_fits,
        include_free_distribution="free" in distributions and bool(fits.free_problems),
        only_free_distribution=tuple(distributions) == ("free",),
    )
    listed_candidates, fitted_names = _list_candidates(saxs_data, model_average, scale_factor)
    types = model_averaging.body_probabilities(model_average)
    size_distribution = _size_distribution(model_average, listed_candidates[0], saxs_data)
    weak_reasons, remarks = _remarks(model_average, types, saxs_data, listed_candidates[0])
    intervals = _credible_intervals(model_average, listed_candidates[0])
    remarks += _size_remarks(model_average, listed_candidates[0], size_distribution, intervals)
    return dataclasses.replace(
        empty_result,
        status="weak" if weak_reasons else "solved",
        message="; ".join([*weak_reasons, *remarks, *measurement.warnings]),
        candidates=tuple(listed_candidates),
        n_fitted=len(listed_candidates),
        ties=sum(entry.in_90 for entry in listed_candidates),
        types=types,
        intervals=intervals,
        free=fitted_names,
        sizes=size_distribution,
        facts=_facts(model_average, saxs_data),
    )


def _detects_particles(saxs_data: SaxsData, body_fits: Sequence[BodyFit]) -> bool:
    """Return whether the best fit with particles explains the data clearly better than a background alone."""
    background_chi2 = float(np.sum(np.asarray(saxs_data.whitened_data.data, float) ** 2)) + saxs_data.discarded_chi2
    minimum_chi2 = min(entry.chi2 for entry in body_fits)
    return background_chi2 - minimum_chi2 >= MIN_CHI2_FALL * max(minimum_chi2 / max(saxs_data.n_points - 4, 1), 1.0)


def _list_candidates(
    saxs_data: SaxsData, model_average: ModelAverage, scale_factor: float
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Return all candidates, the best first, and the names of the fitted parameters of the best."""
    chi2_factor = model_average.noise.chi2_factor
    groups = model_averaging.fit_groups(model_average)
    written_fits = [model_average.body_fits[group.best] for group in groups[:MAX_WRITTEN_CANDIDATES]]
    best_curves = fitted_curves.fitted_curves(saxs_data, written_fits, model_average.log_radius, chi2_factor)
    fit_sizes = moments(model_average.volume_shares, np.exp(model_average.log_radius))
    listed_candidates = [
        _body_candidate(
            group, Moments(*(column[group.best] for column in fit_sizes)), model_average, scale_factor, saxs_data,
            best_curves[rank] if rank < len(best_curves) else None,
        )
        for rank, group in enumerate(groups)
    ]  # fmt: skip
    listed_candidates += [
        _free_candidate(free_fit, model_average, scale_factor, saxs_data) for free_fit in model_average.free_fits
    ]
    listed_candidates.sort(key=lambda candidate: -candidate.weight)
    in_credible_set = statistics.credible_set(np.array([candidate.weight for candidate in listed_candidates]))
    fitted_names = () if listed_candidates[0].family == "free" else best_curves[0].parameter_names
    return [
        dataclasses.replace(candidate, in_90=bool(in_credible_set[rank]))
        for rank, candidate in enumerate(listed_candidates)
    ], fitted_names


def _body_candidate(
    group: FitGroup,
    size_moments: Moments,
    model_average: ModelAverage,
    scale_factor: float,
    saxs_data: SaxsData,
    fitted_curve: FittedCurve | None,
) -> Candidate:
    """Return the candidate that describes one fit, or the best of the fits that differ in the shape parameter."""
    body_fit = model_average.body_fits[group.best]
    log_errors: dict[str, float] = {}
    if fitted_curve:
        log_errors = dict(zip(fitted_curve.parameter_names, fitted_curve.errors, strict=True))
    elif body_fit.shape_value is None:  # The normal matrix has no row for a shape parameter.
        log_errors = _log_parameter_errors(body_fit, model_average.noise.chi2_factor)
    values = (
        _size_values(size_moments, model_average.draws, group.best)
        if len(body_fit.amplitude) > 1
        else _population_values(body_fit, log_errors)
    )
    values["r_eq"] = values["radius"]
    values |= _component_values(body_fit, log_errors) if len(body_fit.amplitude) > 1 else {}
    if body_fit.shape_value is not None:
        parameter = SHAPE_PARAMETERS[body_fit.body]
        values[parameter.name] = Value(body_fit.shape_value, log_errors.get(parameter.name), parameter.unit)
    notes = _fit_notes(body_fit, size_moments, saxs_data)
    if fitted_curve:
        relative_error = next((log_errors[name] for name in log_errors if name.startswith("scale")), None)
        scale = scale_factor * fitted_curve.scale
        values["scale"] = Value(scale, None if relative_error is None else scale * relative_error, "")
        values |= _background_values(fitted_curve.background_coefficients, fitted_curve, saxs_data)
    bounded_names = [name for column, name in enumerate(("radius", "pd")) if body_fit.at_bound[:, column].any()]
    bounded_names = [
        name
        for name in bounded_names
        if name == "radius" or DISTRIBUTION_SHAPES[body_fit.distribution_shape].n_parameters == 2
    ]
    return Candidate(
        source="body",
        type=body_fit.body,
        family=body_fit.distribution,
        recipe="",
        n_atoms=0,
        diameter=2 * float(size_moments.mean),
        rw=math.sqrt(body_fit.chi2 / max(float(np.sum((saxs_data.intensity / saxs_data.sigma) ** 2)), 1e-300)),
        weight=group.weight,
        in_90=False,
        converged=body_fit.converged,
        remark=", ".join(f"{name} at its bound" for name in bounded_names),
        values=values,
        notes=notes,
        calculated=fitted_curve.calculated if fitted_curve else None,
        background=fitted_curve.background if fitted_curve else None,
        correlation=fitted_curve.correlation if fitted_curve else None,
    )


def _fit_notes(body_fit: BodyFit, size_moments: Moments, saxs_data: SaxsData) -> dict[str, float]:
    """Return further values of a fit, which become columns of the table of candidates.

    They are the reduced chi-squared, the volume-weighted mean diameter in Å and width, and the median and sigma of a
    lognormal distribution.
    """
    notes = {
        "chi2": body_fit.chi2 / max(saxs_data.n_points - body_fit.n_parameters - len(saxs_data.background_powers), 1)
    }
    notes |= {
        "mean_volume": 2 * float(size_moments.volume_weighted_mean),
        "width_volume": float(size_moments.volume_weighted_width),
    }
    if body_fit.distribution == "lognormal":
        mean, width = (math.exp(value) for value in body_fit.log_parameters[0])
        notes |= dict(zip(("median", "sigma"), median_and_sigma(mean, width), strict=True))
    return notes


def _population_values(body_fit: BodyFit, log_errors: dict[str, float], population_number: int = 0) -> dict[str, Value]:
    """Return radius and pd of a population. If the number of the population is given, the names end with it."""
    suffix = f"_{population_number}" if population_number else ""
    component = max(population_number - 1, 0)
    radius, width = (math.exp(value) for value in body_fit.log_parameters[component])
    values = {f"radius{suffix}": Value(radius, _scaled_error(radius, log_errors.get(f"radius{suffix}")), "Å")}
    if DISTRIBUTION_SHAPES[body_fit.distribution_shape].n_parameters == 1:
        return values | {f"pd{suffix}": Value(0.0, None, "")}
    return values | {f"pd{suffix}": Value(width, _scaled_error(width, log_errors.get(f"pd{suffix}")), "")}


def _component_values(body_fit: BodyFit, log_errors: dict[str, float]) -> dict[str, Value]:
    """Return radius, pd and volume fraction of each of several populations."""
    share = body_fit.amplitude / body_fit.amplitude.sum()
    numbers = range(1, len(share) + 1)
    scale_errors = np.array([log_errors.get(f"scale_{number}", math.nan) for number in numbers])
    values: dict[str, Value] = {}
    for index, number in enumerate(numbers):
        values |= _population_values(body_fit, log_errors, number)
        slopes = share[index] * ((np.arange(len(share)) == index) - share)
        error = float(np.hypot.reduce(slopes * scale_errors))
        values[f"share_{number}"] = Value(float(share[index]), error if math.isfinite(error) else None, "")
    return values


def _scaled_error(value: float, error: float | None) -> float | None:
    """Return the standard error of a value from the standard error of its logarithm."""
    return None if error is None else value * float(error)


def _size_values(size_moments: Moments, draws: SizeDraws, row: int) -> dict[str, Value]:
    """Return mean radius and pd of a distribution, with errors from its random draws."""
    is_draw_of_fit = draws.fit_index == row
    errors = [
        float(np.std(column[is_draw_of_fit])) if is_draw_of_fit.any() else None
        for column in (draws.sizes.mean, draws.sizes.width)
    ]
    return {
        "radius": Value(float(size_moments.mean), errors[0], "Å"),
        "pd": Value(float(size_moments.width), errors[1], ""),
    }


def _log_parameter_errors(body_fit: BodyFit, chi2_factor: float) -> dict[str, float]:
    """Return the standard errors of ln radius, ln pd and ln scale of a fit whose curve is not evaluated."""
    covariance, is_free = evidence.covariance(body_fit, chi2_factor)
    n_populations = len(body_fit.amplitude)
    log_errors: dict[str, float] = {}
    for component in range(n_populations):
        suffix = f"_{component + 1}" if n_populations > 1 else ""
        for name, parameter_index in (
            ("radius", 2 * component),
            ("pd", 2 * component + 1),
            ("scale", 2 * n_populations + component),
        ):
            if is_free[parameter_index]:
                log_errors[name + suffix] = float(np.sqrt(covariance[parameter_index, parameter_index]))
    return log_errors


def _background_values(terms: np.ndarray, fitted_curve: FittedCurve | None, saxs_data: SaxsData) -> dict[str, Value]:
    """Return the constant background, and the value of the power law at Q = 1 1/Å, in the unit of the file."""
    values = {}
    errors = dict(zip(fitted_curve.parameter_names, fitted_curve.errors, strict=True)) if fitted_curve else {}
    for power, value in zip(saxs_data.background_powers, terms, strict=True):
        name = "background" if power == 0 else "power_scale"
        unit_factor = float(saxs_data.q[0] ** power)
        values[name] = Value(float(value) * unit_factor, _scaled_error(unit_factor, errors.get(name)), "")
    return values


def _free_candidate(
    free_fit: FreeBodyFit, model_average: ModelAverage, scale_factor: float, saxs_data: SaxsData
) -> Candidate:
    """Return the candidate that describes the fit of a body with the free distribution."""
    centers = free_fit.bins.centers
    log_radius = np.linspace(centers[0] - free_fit.bins.step, centers[-1] + free_fit.bins.step, N_FREE_NODES)
    radius = np.exp(log_radius)
    size_moments = moments(free_fit.volume_shares(free_fit.distribution.amplitudes, log_radius), radius)
    draws = model_average.draws
    if free_fit is not model_average.free_fits[0]:  # The draws of all free distributions have one index.
        draws = draws._replace(fit_index=np.full(len(draws.weight), len(model_average.body_fits)))
    values = _size_values(size_moments, draws, FREE_FIT_INDEX)
    calculated, background, scale, terms = model_averaging.free_curve(saxs_data, free_fit)
    values |= {
        "r_eq": values["radius"],
        "scale": Value(scale_factor * scale, None, ""),
        **_background_values(terms, None, saxs_data),
    }
    chi2 = float(np.sum(((saxs_data.intensity - calculated) / saxs_data.sigma) ** 2))
    degrees_of_freedom = max(
        saxs_data.n_points - free_fit.distribution.n_determined - len(saxs_data.background_powers), 1
    )
    return Candidate(
        source="body",
        type=free_fit.body,
        family="free",
        recipe="",
        n_atoms=0,
        diameter=2 * float(size_moments.mean),
        rw=math.sqrt(chi2 / max(float(np.sum((saxs_data.intensity / saxs_data.sigma) ** 2)), 1e-300)),
        weight=free_fit.weight,
        in_90=False,
        converged=True,
        remark="",
        values=values,
        notes={
            "chi2": chi2 / degrees_of_freedom,
            "mean_volume": 2 * float(size_moments.volume_weighted_mean),
            "width_volume": float(size_moments.volume_weighted_width),
            "smoothness": free_fit.distribution.smoothness_strength,
        },
        calculated=calculated,
        background=background,
    )


def _credible_intervals(model_average: ModelAverage, best: Candidate) -> dict[str, Interval]:
    """Return the sizes of the best candidate, with 90 % credible intervals that include all fits."""
    size_moments, weight = model_average.draws.sizes, model_average.draws.weight
    columns = {
        "radius": (best.values["radius"].value, size_moments.mean),
        "pd": (best.values["pd"].value, size_moments.width),
        "r_eq": (best.values["radius"].value, size_moments.mean),
        "mean_diameter": (best.notes["mean_volume"], 2 * size_moments.volume_weighted_mean),
        "width": (best.notes["width_volume"], size_moments.volume_weighted_width),
    }
    intervals = {
        name: statistics.credible_interval(float(value), draws, weight=weight)
        for name, (value, draws) in columns.items()
    }
    return intervals | _shape_interval(model_average, best)


def _shape_interval(model_average: ModelAverage, best: Candidate) -> dict[str, Interval]:
    """Return the shape parameter of the best body with its 90 % credible interval, or nothing if it has none.

    The interval includes all fits of this body. Each draw gets a random value between the limits of its fit.
    """
    if best.type not in SHAPE_PARAMETERS:
        return {}
    rows = [row for row, entry in enumerate(model_average.body_fits) if entry.body == best.type]
    limits = np.array([entry.shape_limits for entry in model_average.body_fits])
    draws = model_average.draws
    is_draw_of_body = np.isin(draws.fit_index, rows)
    low, high = limits[draws.fit_index[is_draw_of_body].astype(int)].T
    values = low + (high - low) * np.random.default_rng(0).uniform(size=len(low))
    name = SHAPE_PARAMETERS[best.type].name
    weight = draws.weight[is_draw_of_body]
    return {name: statistics.credible_interval(best.values[name].value, values, weight=weight / weight.sum())}


def _size_distribution(model_average: ModelAverage, best: Candidate, saxs_data: SaxsData) -> SizeDistribution:
    """Return the size distribution of the best candidate, with a 90 % credible band that includes all fits."""
    radius, step = np.exp(model_average.log_radius), model_average.log_radius[1] - model_average.log_radius[0]
    if best.family == "free":
        free_fit = model_average.free_fits[0]
        share = free_fit.volume_shares(free_fit.distribution.amplitudes, model_average.log_radius)
    else:
        row = next(
            group.best
            for group in model_averaging.fit_groups(model_average)
            if (model_average.body_fits[group.best].body, model_average.body_fits[group.best].distribution)
            == (best.type, best.family)
        )
        share = model_average.volume_shares[row]
    columns: list[np.ndarray] = []
    for power in (0, 3):
        scaled_shares = [share_array / radius**power for share_array in (share, model_average.draws.volume_shares)]
        density, density_draws = (
            share_array / (share_array.sum(axis=-1, keepdims=True) * step) for share_array in scaled_shares
        )
        density_draws, density = density_draws[:, ::NODE_STRIDE], density[::NODE_STRIDE]
        band = np.zeros((2, len(density)))
        has_density = density_draws.max(axis=0) > MIN_RELATIVE_DENSITY * density_draws.max()
        band[:, has_density] = statistics.quantiles(
            density_draws[:, has_density], CENTRAL_90, weight=model_average.draws.weight
        )
        columns += [density, *band]
    determined_range = {
        "min_determined_radius": math.pi / float(saxs_data.q[-1]),
        "max_determined_radius": math.pi / float(saxs_data.q[0]),
    }
    return SizeDistribution(best.family, radius[::NODE_STRIDE], *columns, **determined_range)  # type: ignore[arg-type]


def _facts(model_average: ModelAverage, saxs_data: SaxsData) -> dict[str, Any]:
    """Return the numbers of populations and of fitted points, the factor on the variance of the noise, and two flags.

    The flags state whether the noise was inferred from the scatter of the points, and whether the curves are smeared.
    """
    return {
        "n_populations": model_average.n_populations,
        "points": saxs_data.n_points,
        "noise_scale": model_average.noise.variance_scale,
        "noise_inferred": saxs_data.noise_is_inferred,
        "smeared": saxs_data.dq is not None,
    }


def _remarks(
    model_average: ModelAverage, types: dict[str, float], saxs_data: SaxsData, best: Candidate
) -> tuple[list[str], list[str]]:
    """Return the reasons for the status "weak", and further remarks for the user."""
    weak_reasons, remarks = _misfit_reasons(model_average, types, saxs_data, best), []
    best_probability = next(iter(types.values()))
    if len(types) > 1 and best_probability < MIN_BODY_PROBABILITY:
        body_texts = [f"{body} {probability:.2f}" for body, probability in types.items() if probability >= 0.05]
        cause = ", because several bodies with free distributions explain the data" if best.family == "free" else ""
        body_list = ", ".join(body_texts[:4]) + (", ..." if len(body_texts) > 4 else "")
        remarks.append(f"shape not determined{cause}: {body_list}")
    error = best.values["radius"].error
    is_uncertain = error is not None and error > MAX_LOG_RADIUS_ERROR * best.values["radius"].value
    if best.family != "free" and (is_uncertain or "radius at its bound" in best.remark):
        weak_reasons.append(
            f"the range of Q, {saxs_data.q[0]:.3g} to {saxs_data.q[-1]:.3g} 1/Å, is too short to determine the size: "
            "measure a wider range"
        )
    max_qmin = math.pi / best.values["radius"].value
    if saxs_data.q[0] > max_qmin:
        weak_reasons.append(
            f"qmin {saxs_data.q[0]:.3g} 1/Å is too high to determine the size of such large particles: lower --qmin or "
            f"measure below {max_qmin:.2g} 1/Å"
        )
    if best.remark and "radius" not in best.remark:
        remarks.append(best.remark.replace("at its bound", "is at its bound and has no standard error"))
    if not best.converged:
        remarks.append("the best fit has not converged, so its values and errors may be wrong")
    if saxs_data.noise_is_inferred:
        remarks.append("the file states no errors, so they were inferred from the scatter of the points")
    return weak_reasons, remarks


def _misfit_reasons(
    model_average: ModelAverage, types: dict[str, float], saxs_data: SaxsData, best: Candidate
) -> list[str]:
    """Return the reason why the misfit makes the answer weak, or an empty list."""
    chi2 = best.notes["chi2"]
    if chi2 <= MAX_REDUCED_CHI2 or best.calculated is None:
        return []
    chi2_text = f"{chi2:.1f}" if chi2 < MAX_PRINTED_CHI2 else f"above {MAX_PRINTED_CHI2:.0f}"
    squares = ((saxs_data.intensity - best.calculated) / saxs_data.sigma) ** 2
    is_high = saxs_data.q > MAX_UNIFORM_Q
    low_mean, high_mean = (
        float(np.mean(squares[selected])) if selected.any() else 0.0 for selected in (~is_high, is_high)
    )
    if high_mean > MAX_REDUCED_CHI2 * max(low_mean, 1.0):
        return [
            f"the curve reaches {saxs_data.q[-1]:.2g} 1/Å, and beyond about {MAX_UNIFORM_Q:g} 1/Å the atoms matter, "
            f"which bodies of uniform density do not describe (reduced chi-squared {chi2_text}): lower --qmax to "
            f"{MAX_UNIFORM_Q:g}"
        ]
    if saxs_data.noise_is_inferred:
        return []
    if not model_average.free_fits:
        return [
            "no body explains the data within their errors with the distributions that were fitted (reduced "
            f"chi-squared {chi2_text}): {_distribution_advice(types)}{_body_advice(types)}"
        ]
    return [
        f"no body explains the data within their errors (reduced chi-squared {chi2_text}): check the errors, or "
        f"raise --qmin if aggregates scatter at low Q{_body_advice(types)}"
    ]


def _distribution_advice(types: dict[str, float]) -> str:
    """Return the advice to fit free distributions, which need a body with one length."""
    if set(types) <= set(SHAPE_PARAMETERS):
        return "add sphere to --body, which is also fitted with free distributions"
    return "add free to --distribution, or leave out --distribution"


def _body_advice(types: dict[str, float]) -> str:
    """Return the advice to compare bodies with a shape parameter, or "" if they were compared."""
    return "" if set(types) & set(SHAPE_PARAMETERS) else ", or compare rods and spheroids with --body cylinder spheroid"


def _size_remarks(
    model_average: ModelAverage, best: Candidate, sizes: SizeDistribution, intervals: dict[str, Interval]
) -> list[str]:
    """Return remarks on the shape parameter and the size distribution."""
    remarks = _shape_remarks(best, intervals)
    radius_draws = model_average.draws.sizes.mean
    low, high = statistics.quantiles(radius_draws, CENTRAL_90, weight=model_average.draws.weight)
    if best.family == "free" and high > MAX_INTERVAL_RATIO * low:
        remarks.append(
            "small particles scatter little, so the number-weighted radius and pd are uncertain: use the "
            "volume-weighted mean_diameter and width"
        )
    is_outside = (sizes.radius < sizes.min_determined_radius) | (sizes.radius > sizes.max_determined_radius)
    outside_share = float(sizes.volume[is_outside].sum() / sizes.volume.sum())
    if best.family in ("free", *MIXTURES) and outside_share > MAX_OUTSIDE_SHARE:
        remarks.append(
            f"{outside_share:.0%} of the volume has radii outside {sizes.min_determined_radius:.3g} to "
            f"{sizes.max_determined_radius:.3g} Å, which the range of Q does not determine"
        )
    return remarks


def _shape_remarks(best: Candidate, intervals: dict[str, Interval]) -> list[str]:
    """Return a remark if the data do not determine whether the shape of the best body differs from a simpler one."""
    if best.type not in SHAPE_PARAMETERS:
        return []
    interval = intervals[SHAPE_PARAMETERS[best.type].name]
    if SHAPE_PARAMETERS[best.type].is_logarithmic:
        if interval.low < 1 < interval.high:
            return [
                f"the aspect ratio is not determined to be above or below 1: {interval.low:.2g} to {interval.high:.2g}"
            ]
    elif interval.low < MAX_RELATIVE_LOW * interval.high:
        simple_body = "hard spheres that interact" if best.type == "hard-sphere" else "spheres with a shell"
        missing = "interaction" if best.type == "hard-sphere" else "a shell"
        return [f"the data do not distinguish {simple_body} from spheres without {missing}"]
    return []
