"""Bayesian average over all fits to a measured I(Q): weights of the fits, and size distributions drawn from them.

The average covers every body (shape of particle) with every size distribution. The free distribution
(`free_distribution`) of each body competes with the parametric distributions by its evidence. It is left out only if
its lowest possible chi-squared shows that its weight would be negligible.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.small_angle import design_matrix, evidence, fitted_curves, free_distribution
from jaxstruc.small_angle.data import SaxsData
from jaxstruc.small_angle.evidence import MIN_DRAWN_WEIGHT, NoiseEstimate, SizeDraws
from jaxstruc.small_angle.fit import MIXTURES, BodyFit, SaxsFits
from jaxstruc.small_angle.free_distribution import FreeDistribution, SizeBins
from jaxstruc.small_angle.size_distributions import moments

N_REPORT_NODES, MIN_LOG_RADIUS_RANGE = 400, 2.4
"""Number of nodes of ln R at which size distributions are reported, and smallest range of ln R that they cover."""
N_WIDE_NODES, WIDE_MARGIN = 1024, 0.3
"""Number of these nodes if they cover all sizes that the range of Q determines, and margin in ln R at both ends."""
N_FREE_DRAWS, MIN_FREE_DRAWS = 64, 16
"""Approximate number of draws of the free distributions of all bodies, and smallest number for one body."""


MIN_OCCAM_FACTOR = 15.0
"""Smallest difference between the logarithm of the evidence of a free distribution and that of its best fit.

The prior of the bins above zero is not included. In simulated data the difference is at least 20.
"""
MIN_FREE_WEIGHT = 0.01
"""Weight relative to the best parametric fit below which further free distributions are left out."""
MIN_SEPARATION = 1.2
"""Smallest distance of the means of separate populations, in units of the sum of their standard deviations."""


class FreeBodyFit(NamedTuple):
    """Fit of a body with a free size distribution."""

    body: str
    distribution: FreeDistribution
    bins: SizeBins
    chi2: float
    log_evidence: float
    weight: float = 0.0
    """Weight among all fits."""

    def log_prediction(self, chi2_factor: float) -> float:
        """Return the logarithm of the Akaike weight, which estimates the probability of new data.

        H. Akaike, IEEE Trans. Automat. Contr. 19, 716 (1974), doi 10.1109/TAC.1974.1100705.
        """
        return -0.5 * chi2_factor * self.chi2 - self.distribution.n_determined

    def volume_shares(
        self, amplitudes: Float[np.ndarray, "*batch bin"], log_radius: Float[np.ndarray, " node"]
    ) -> Float[np.ndarray, "*batch node"]:
        """Return volume fractions at the nodes, which sum to 1."""
        node_shares = amplitudes @ self.bins.densities(log_radius).T
        return node_shares / np.maximum(node_shares.sum(axis=-1, keepdims=True), 1e-300)


class FitGroup(NamedTuple):
    """All fits of one body with one size distribution, which differ in the value of the shape parameter."""

    best: int
    """Index of the fit with the lowest chi-squared."""
    weight: float
    """Weight of all fits of the group."""


class ModelAverage(NamedTuple):
    """All fits to a measured I(Q), with their weights."""

    body_fits: tuple[BodyFit, ...]
    """Fits with parametric distributions, the most probable first."""
    weight: Float[np.ndarray, " outcome"]
    """Weight of each fit. The weights of all fits, including the free distributions, sum to 1."""
    noise: NoiseEstimate
    log_radius: Float[np.ndarray, " node"]
    """ln R (R in Å) of the nodes at which size distributions are reported."""
    volume_shares: Float[np.ndarray, "outcome node"]
    """Volume fractions of each fit at the nodes."""
    free_fits: tuple[FreeBodyFit, ...]
    """Fits with the free distribution, the most probable first. It is empty if they were not requested."""
    draws: SizeDraws
    """Size distributions drawn from all fits."""
    n_populations: int = 1


def average_models(
    saxs_data: SaxsData,
    fits: SaxsFits,
    valid_fits: Sequence[BodyFit],
    *,
    include_free_distribution: bool,
    only_free_distribution: bool,
) -> ModelAverage:
    """Return all fits with their weights, the most probable first.

    Args:
        saxs_data: Data that were fitted.
        fits: All fits, with the window of sizes that they cover.
        valid_fits: Fits with a finite chi-squared and a positive amplitude.
        include_free_distribution: Whether the free distribution of each body is fitted too.
        only_free_distribution: Whether the free distribution is the only one requested.
    """
    best_fit = min(valid_fits, key=lambda body_fit: body_fit.chi2)
    noise = _best_fit_noise(saxs_data, fits, best_fit)
    if include_free_distribution and (noise.exceeds_noise or only_free_distribution):
        noise = _free_noise(saxs_data, fits, noise, _reduced_chi2(saxs_data, best_fit))
    log_radius_range = math.log(6 * saxs_data.q[-1] / saxs_data.q[0])
    log_evidences = np.array(
        [
            evidence.log_evidence(body_fit, noise.chi2_factor, log_radius_range=log_radius_range)
            for body_fit in valid_fits
        ]
    )
    if only_free_distribution:
        log_evidences[:] = -np.inf
    free_fits: tuple[FreeBodyFit, ...] = ()
    if include_free_distribution:
        free_fits = _fit_free(saxs_data, fits, noise.chi2_factor, float(log_evidences.max()))
    weight = evidence.weights(np.array([*log_evidences, *(entry.log_evidence for entry in free_fits)]))
    free_fits = tuple(
        entry._replace(weight=float(value)) for entry, value in zip(free_fits, weight[len(valid_fits) :], strict=True)
    )
    weight = weight[: len(valid_fits)]
    order = np.argsort(-weight, kind="stable")
    ordered_fits, weight = tuple(valid_fits[index] for index in order), weight[order]
    drawn_fits = [entry for entry, value in zip(ordered_fits, weight, strict=True) if value >= MIN_DRAWN_WEIGHT]
    free_fits = tuple(
        _with_draws(saxs_data, fits, entry, noise.chi2_factor)
        for entry in sorted(free_fits, key=lambda entry: -entry.weight)
    )
    has_free = any(entry.weight >= MIN_DRAWN_WEIGHT for entry in free_fits)
    log_radius = _log_radius_nodes(fits, is_wide=has_free or any(_is_wide(fits, entry) for entry in drawn_fits))
    draws = _draw_sizes(ordered_fits, weight, free_fits, log_radius, noise.chi2_factor)
    volume_shares = evidence.volume_shares(ordered_fits, log_radius)
    average = ModelAverage(ordered_fits, weight, noise, log_radius, volume_shares, free_fits, draws)
    return average._replace(n_populations=count_populations(saxs_data, fits, average))


def body_probabilities(average: ModelAverage) -> dict[str, float]:
    """Return the probability of each body, the largest first."""
    probabilities: dict[str, float] = {}
    bodies = [*(entry.body for entry in average.body_fits), *(entry.body for entry in average.free_fits)]
    for body, weight in zip(bodies, [*average.weight, *(entry.weight for entry in average.free_fits)], strict=True):
        probabilities[body] = probabilities.get(body, 0.0) + float(weight)
    return dict(sorted(probabilities.items(), key=lambda entry: -entry[1]))


def fit_groups(average: ModelAverage) -> list[FitGroup]:
    """Return the fits with parametric distributions by body and distribution, the most probable first."""
    rows: dict[tuple[str, str], list[int]] = {}
    for row, body_fit in enumerate(average.body_fits):
        rows.setdefault((body_fit.body, body_fit.distribution), []).append(row)
    groups = [
        FitGroup(
            min(group_rows, key=lambda row: average.body_fits[row].chi2),
            float(average.weight[group_rows].sum()),
        )
        for group_rows in rows.values()
    ]
    return sorted(groups, key=lambda group: -group.weight)


def count_populations(saxs_data: SaxsData, fits: SaxsFits, average: ModelAverage) -> int:
    """Return the number of populations of the best fit.

    The populations of a fit of two or three are separate if the distance of their means is clearly larger than the sum
    of their standard deviations (`MIN_SEPARATION`). The populations of a free distribution are the maxima that the data
    separate. A fit of three has at most as many populations as the free distribution of its body.
    """
    group, chi2_factor = fit_groups(average)[0], average.noise.chi2_factor
    body_fit = average.body_fits[group.best]

    def count_maxima(free_fit: FreeBodyFit) -> int:
        problem = fits.free_problems[free_fit.body]
        return free_distribution.count_populations(problem, free_fit.distribution, chi2_factor)

    if average.free_fits and average.free_fits[0].weight >= group.weight:
        return count_maxima(average.free_fits[0])
    means, widths = np.exp(body_fit.log_parameters[body_fit.amplitude > 0]).T
    order = np.argsort(means)
    means, deviations = means[order], (means * widths)[order]
    count = 1 + int(np.count_nonzero(np.diff(means) > MIN_SEPARATION * (deviations[1:] + deviations[:-1])))
    if count < 3:
        return count
    return min(count, count_maxima(_free_body_fit(saxs_data, fits, body_fit.body, chi2_factor)))


def free_curve(saxs_data: SaxsData, free_fit: FreeBodyFit) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Return the curve of a free distribution with its background (`fitted_curves.distribution_curve`)."""
    groups = saxs_data.groups
    q, dq = (saxs_data.q, saxs_data.dq) if groups is None else (groups.q.reshape(-1), groups.dq)
    interpolation = free_distribution.curve_interpolation(free_fit.bins, q, None if dq is None else dq.reshape(-1))
    amplitudes = free_fit.distribution.amplitudes
    curve = free_distribution.bin_curves(free_fit.body, free_fit.bins, interpolation) @ amplitudes
    curve = curve[:, None] if groups is None else groups.at_points(curve[:, None])
    scale = fitted_curves.SPHERE_FACTOR / amplitudes.sum()
    return fitted_curves.distribution_curve(saxs_data, scale * curve, np.ones(1))


def _log_radius_nodes(fits: SaxsFits, *, is_wide: bool) -> Float[np.ndarray, " node"]:
    """Return ln R (R in Å) of the nodes at which size distributions are reported."""
    log_radius_range = max(design_matrix.N_NODES * float(fits.window.step), MIN_LOG_RADIUS_RANGE)
    low, high = (float(fits.window.center) + sign * log_radius_range / 2 for sign in (-1, 1))
    if not is_wide:
        return np.linspace(low, high, N_REPORT_NODES)
    centers = fits.bins.centers
    return np.linspace(min(low, centers[0] - WIDE_MARGIN), max(high, centers[-1] + WIDE_MARGIN), N_WIDE_NODES)


def _is_wide(fits: SaxsFits, body_fit: BodyFit) -> bool:
    """Return whether a fit of several populations may have sizes outside the window of the fits of one population."""
    if body_fit.distribution not in MIXTURES:
        return False
    distance = np.abs(body_fit.log_parameters[:, 0] - float(fits.window.center))
    return bool(np.any(distance > MIN_LOG_RADIUS_RANGE / 2 - 0.1)) or body_fit.distribution == "three"


def _degrees_of_freedom(saxs_data: SaxsData, n_parameters: float) -> float:
    """Return the number of points minus the number of fitted parameters, including the background."""
    return max(saxs_data.n_points - n_parameters - len(saxs_data.background_powers), 1)


def _reduced_chi2(saxs_data: SaxsData, body_fit: BodyFit) -> float:
    return body_fit.chi2 / _degrees_of_freedom(saxs_data, body_fit.n_parameters)


def _best_fit_noise(saxs_data: SaxsData, fits: SaxsFits, best_fit: BodyFit) -> NoiseEstimate:
    """Return the noise estimate from the residual of the best fit with a parametric distribution."""
    log_radius = _log_radius_nodes(fits, is_wide=_is_wide(fits, best_fit))
    return evidence.noise_estimate(
        best_fit.chi2,
        lambda: fitted_curves.fitted_curves(saxs_data, [best_fit], log_radius, 1.0)[0].residual,
        int(_degrees_of_freedom(saxs_data, best_fit.n_parameters)),
        noise_is_inferred=saxs_data.noise_is_inferred,
    )


def _free_noise(saxs_data: SaxsData, fits: SaxsFits, noise: NoiseEstimate, reduced_chi2: float) -> NoiseEstimate:
    """Return the noise estimate from the residual of the best free distribution, if it fits better.

    Args:
        saxs_data: Data that were fitted.
        fits: All fits.
        noise: Noise estimate of the best fit with a parametric distribution.
        reduced_chi2: Reduced chi-squared of this fit.
    """
    body, problem = min(fits.free_problems.items(), key=lambda item: item[1].lowest_chi2)
    lowest = (problem.lowest_chi2 + saxs_data.discarded_chi2) / _degrees_of_freedom(saxs_data, problem.n_positive)
    free_fit = _free_body_fit(saxs_data, fits, body, 1 / (lowest if saxs_data.noise_is_inferred else max(lowest, 1.0)))
    degrees_of_freedom = _degrees_of_freedom(saxs_data, free_fit.distribution.n_determined)
    if free_fit.chi2 / degrees_of_freedom > reduced_chi2:
        return noise

    def residual() -> np.ndarray:
        return (saxs_data.intensity - free_curve(saxs_data, free_fit)[0]) / saxs_data.sigma

    return evidence.noise_estimate(
        free_fit.chi2, residual, int(degrees_of_freedom), noise_is_inferred=saxs_data.noise_is_inferred
    )


def _free_body_fit(
    saxs_data: SaxsData, fits: SaxsFits, body: str, chi2_factor: float, *, n_draws: int = 0
) -> FreeBodyFit:
    """Return the fit of one body with a free distribution."""
    distribution = free_distribution.fit_free_distribution(
        fits.free_problems[body], chi2_factor=chi2_factor, n_draws=n_draws
    )
    return FreeBodyFit(
        body,
        distribution,
        fits.bins,
        distribution.chi2 + saxs_data.discarded_chi2,
        distribution.log_evidence - 0.5 * chi2_factor * saxs_data.discarded_chi2,
    )


def _fit_free(
    saxs_data: SaxsData, fits: SaxsFits, chi2_factor: float, highest_evidence: float
) -> tuple[FreeBodyFit, ...]:
    """Return the fits of all bodies with a free distribution whose weight may be relevant, at least of the best body.

    The evidence of the best fit decides between the free and the parametric distributions. Between bodies with free
    distributions the expected misfit to new data decides, because the evidence of a wrong body can be higher only
    because its distribution is smoother.

    Args:
        saxs_data: Data that were fitted.
        fits: All fits.
        chi2_factor: Factor on chi-squared.
        highest_evidence: Logarithm of the highest evidence of the fits with parametric distributions.
    """
    free_fits: list[FreeBodyFit] = []
    highest_prediction = -math.inf
    for body, problem in sorted(fits.free_problems.items(), key=lambda item: item[1].lowest_chi2):
        lowest_misfit = 0.5 * chi2_factor * (problem.lowest_chi2 + saxs_data.discarded_chi2)
        evidence_limit = free_distribution.log_support_prior(fits.bins.n_bins, 1) - MIN_OCCAM_FACTOR - lowest_misfit
        relevant_evidence = highest_evidence + math.log(MIN_FREE_WEIGHT)
        relevant_prediction = highest_prediction + math.log(MIN_DRAWN_WEIGHT)
        if free_fits and (evidence_limit < relevant_evidence or -lowest_misfit < relevant_prediction):
            break
        free_fits.append(_free_body_fit(saxs_data, fits, body, chi2_factor))
        highest_prediction = max(highest_prediction, free_fits[-1].log_prediction(chi2_factor))
    log_evidence = max(entry.log_evidence for entry in free_fits)
    return tuple(
        entry._replace(log_evidence=log_evidence + entry.log_prediction(chi2_factor) - highest_prediction)
        for entry in free_fits
    )


def _with_draws(saxs_data: SaxsData, fits: SaxsFits, free_fit: FreeBodyFit, chi2_factor: float) -> FreeBodyFit:
    """Return a free distribution with a number of random draws that is proportional to its weight."""
    if free_fit.weight < MIN_DRAWN_WEIGHT:
        return free_fit
    n_draws = max(round(N_FREE_DRAWS * free_fit.weight), MIN_FREE_DRAWS)
    drawn_fit = _free_body_fit(saxs_data, fits, free_fit.body, chi2_factor, n_draws=n_draws)
    return drawn_fit._replace(weight=free_fit.weight)


def _draw_sizes(
    body_fits: Sequence[BodyFit],
    weight: np.ndarray,
    free_fits: Sequence[FreeBodyFit],
    log_radius: Float[np.ndarray, " node"],
    chi2_factor: float,
) -> SizeDraws:
    """Return size distributions drawn from all fits in proportion to their weights."""
    all_draws = []
    if weight.max() >= MIN_DRAWN_WEIGHT:
        draws = evidence.draw_sizes(body_fits, weight, log_radius, chi2_factor)
        all_draws.append(draws._replace(weight=draws.weight * weight[weight >= MIN_DRAWN_WEIGHT].sum()))
    for free_fit in free_fits:
        if free_fit.weight >= MIN_DRAWN_WEIGHT:
            node_shares = free_fit.volume_shares(free_fit.distribution.amplitude_draws, log_radius)
            n_draws = len(node_shares)
            all_draws.append(
                SizeDraws(
                    np.full(n_draws, free_fit.weight / n_draws),
                    np.full(n_draws, evidence.FREE_FIT_INDEX),
                    moments(node_shares, np.exp(log_radius)),
                    node_shares,
                    np.exp(log_radius),
                )
            )
    volume_shares = np.concatenate([draws.volume_shares for draws in all_draws])
    weights = np.concatenate([draws.weight for draws in all_draws])
    return SizeDraws(
        weights / weights.sum(),
        np.concatenate([draws.fit_index for draws in all_draws]),
        moments(volume_shares, np.exp(log_radius)),
        volume_shares,
        np.exp(log_radius),
    )
