"""Bayesian average over all fits to a measured I(Q): weights of the fits, and size distributions drawn from them.

The average covers every body (shape of particle) with every parametric size distribution. The free distribution
(`free_distribution`) of the most probable body is included if no parametric distribution explains the data.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.small_angle import data, design_matrix, evidence, fitted_curves, free_distribution
from jaxstruc.small_angle.data import SaxsData
from jaxstruc.small_angle.evidence import NoiseEstimate, SizeDraws
from jaxstruc.small_angle.fit import BodyFit, SaxsFits
from jaxstruc.small_angle.free_distribution import FreeDistribution
from jaxstruc.small_angle.size_distributions import moments

N_REPORT_NODES, MIN_LOG_RADIUS_RANGE = 400, 2.4
"""Number of nodes of ln R at which size distributions are reported, and smallest range of ln R that they cover."""
MAX_TAIL_SHARE = 1e-3
"""Volume fraction that is cut off at each end of the parametric distributions to obtain their inner range of sizes."""
LOG_RADIUS_MARGIN = 0.3
"""Distance in ln R by which the free distribution extends beyond each end of the inner range (`MAX_TAIL_SHARE`).

Half of the length of the inner range is added to it.
"""
N_BIN_POINTS = 256
"""Number of points of ln R from which the bins of the free distribution are defined."""
N_FREE_DRAWS = 64
"""Number of draws of the free distribution."""


class FreeDistributionFit(NamedTuple):
    """Fit of the most probable body with a free size distribution."""

    distribution: FreeDistribution
    body: str
    volume_shares: Float[np.ndarray, " node"]
    """Volume fractions at the nodes."""
    volume_share_draws: Float[np.ndarray, "draw node"]
    """Volume fractions of distributions that are drawn from the posterior."""
    size_curves: Float[np.ndarray, "point node"]
    """Curve V P(QR) of each size at all points, in Å³ (`fitted_curves.size_curves`)."""
    weight: float
    """Weight among all fits, 0 if the free distribution is not part of the average."""


class ModelAverage(NamedTuple):
    """All fits to a measured I(Q), with their weights."""

    body_fits: tuple[BodyFit, ...]
    """Fits with parametric distributions, the most probable first."""
    weight: Float[np.ndarray, " outcome"]
    """Weight of each fit. The weights of all fits, including the free distribution, sum to 1."""
    log_evidence: Float[np.ndarray, " outcome"]
    """Logarithm of the evidence of each fit."""
    noise: NoiseEstimate
    log_radius: Float[np.ndarray, " node"]
    """ln R (R in Å) of the nodes at which size distributions are reported."""
    volume_shares: Float[np.ndarray, "outcome node"]
    """Volume fractions of each fit at the nodes."""
    free_distribution_fit: FreeDistributionFit | None
    """Fit with the free distribution, or None if it was not requested."""
    draws: SizeDraws
    """Size distributions drawn from all fits, including the free distribution if it has a weight."""


def average_models(
    saxs_data: SaxsData,
    fits: SaxsFits,
    valid_fits: Sequence[BodyFit],
    *,
    include_free_distribution: bool,
    only_free_distribution: bool,
) -> ModelAverage:
    """Return all fits with their weights, the most probable first.

    The free distribution can take any form. It therefore has a weight only in two cases. Either it is the only
    distribution requested, or no parametric distribution explains the data and the reduced chi-squared of the free
    distribution is not larger than that of the best parametric fit.

    Args:
        saxs_data: Data that were fitted.
        fits: All fits, with the window of sizes that they cover.
        valid_fits: Fits with a finite chi-squared and a positive amplitude.
        include_free_distribution: Whether the free distribution of the most probable body is fitted too.
        only_free_distribution: Whether the free distribution is the only one requested.
    """
    log_radius = _log_radius_nodes(fits)
    best_fit = min(valid_fits, key=lambda body_fit: body_fit.chi2)
    noise = _best_fit_noise(saxs_data, best_fit, log_radius)
    average = _parametric_average(saxs_data, valid_fits, noise, log_radius)
    if not include_free_distribution:
        return average
    body = average.body_fits[0].body
    free_fit = _fit_free(saxs_data, body, average, 1.0)
    if not (only_free_distribution or noise.exceeds_noise):
        return average._replace(free_distribution_fit=free_fit)
    chi2, residual = _free_misfit(saxs_data, free_fit)
    if not only_free_distribution and not _free_fits_better(saxs_data, best_fit, free_fit, chi2):
        return average._replace(free_distribution_fit=free_fit)
    if chi2 < best_fit.chi2:
        degrees_of_freedom = _degrees_of_freedom(saxs_data, best_fit)
        noise = evidence.noise_estimate(
            chi2, lambda: residual, degrees_of_freedom, noise_is_inferred=saxs_data.noise_is_inferred
        )
        average = _parametric_average(saxs_data, valid_fits, noise, log_radius)
    free_fit = _fit_free(saxs_data, body, average, noise.chi2_factor, n_draws=N_FREE_DRAWS)
    return _average_with_free(average, free_fit, only_free_distribution=only_free_distribution)


def body_probabilities(average: ModelAverage) -> dict[str, float]:
    """Return the probability of each body, the largest first."""
    probabilities: dict[str, float] = {}
    for body_fit, weight in zip(average.body_fits, average.weight, strict=True):
        probabilities[body_fit.body] = probabilities.get(body_fit.body, 0.0) + float(weight)
    if average.free_distribution_fit:
        probabilities[average.free_distribution_fit.body] += average.free_distribution_fit.weight
    return dict(sorted(probabilities.items(), key=lambda entry: -entry[1]))


def _log_radius_nodes(fits: SaxsFits) -> Float[np.ndarray, " node"]:
    """Return ln R (R in Å) of the nodes at which size distributions are reported."""
    log_radius_range = max(design_matrix.N_NODES * float(fits.window.step), MIN_LOG_RADIUS_RANGE)
    return float(fits.window.center) + np.linspace(-log_radius_range / 2, log_radius_range / 2, N_REPORT_NODES)


def _degrees_of_freedom(saxs_data: SaxsData, body_fit: BodyFit) -> int:
    """Return the number of points minus the number of fitted parameters, including the background."""
    return saxs_data.n_points - body_fit.n_parameters - len(saxs_data.background_powers)


def _best_fit_noise(saxs_data: SaxsData, best_fit: BodyFit, log_radius: Float[np.ndarray, " node"]) -> NoiseEstimate:
    """Return the noise estimate from the residual of the best fit with a parametric distribution."""
    return evidence.noise_estimate(
        best_fit.chi2,
        lambda: fitted_curves.fitted_curves(saxs_data, [best_fit], log_radius, 1.0)[0].residual,
        _degrees_of_freedom(saxs_data, best_fit),
        noise_is_inferred=saxs_data.noise_is_inferred,
    )


def _free_fits_better(saxs_data: SaxsData, best_fit: BodyFit, free_fit: FreeDistributionFit, chi2: float) -> bool:
    """Return whether the reduced chi-squared of the free distribution is at most that of the best fit."""
    free_degrees = saxs_data.n_points - free_fit.distribution.n_determined - len(saxs_data.background_powers)
    return chi2 / max(free_degrees, 1) <= best_fit.chi2 / _degrees_of_freedom(saxs_data, best_fit)


def _average_with_free(
    average: ModelAverage, free_fit: FreeDistributionFit, *, only_free_distribution: bool
) -> ModelAverage:
    """Return the average including the free distribution.

    The free distribution takes its weight from the other fits of the same body.
    """
    is_same_body = np.array([body_fit.body == free_fit.body for body_fit in average.body_fits])
    free_fraction = 1.0
    if not only_free_distribution:
        log_ratio = average.log_evidence[is_same_body] - free_fit.distribution.log_evidence
        free_fraction = 1 / (1 + float(np.sum(np.exp(np.minimum(log_ratio, 700.0)))))
    free_fit = free_fit._replace(weight=free_fraction * float(average.weight[is_same_body].sum()))
    return average._replace(
        weight=np.where(is_same_body, (1 - free_fraction) * average.weight, average.weight),
        free_distribution_fit=free_fit,
        draws=_join_draws(average.draws, is_same_body[average.draws.fit_index], free_fraction, free_fit),
    )


def _parametric_average(
    saxs_data: SaxsData, valid_fits: Sequence[BodyFit], noise: NoiseEstimate, log_radius
) -> ModelAverage:
    """Return the fits with parametric distributions and their weights, the most probable first."""
    log_radius_range = math.log(6 * saxs_data.q[-1] / saxs_data.q[0])
    log_evidences = np.array(
        [
            evidence.log_evidence(body_fit, noise.chi2_factor, log_radius_range=log_radius_range)
            for body_fit in valid_fits
        ]
    )
    weight = evidence.weights(log_evidences)
    order = np.argsort(-weight, kind="stable")
    ordered_fits, weight = tuple(valid_fits[index] for index in order), weight[order]
    draws = evidence.draw_sizes(ordered_fits, weight, log_radius, noise.chi2_factor)
    return ModelAverage(
        ordered_fits,
        weight,
        log_evidences[order],
        noise,
        log_radius,
        evidence.volume_shares(ordered_fits, log_radius),
        None,
        draws,
    )


def _free_misfit(saxs_data: SaxsData, free_fit: FreeDistributionFit) -> tuple[float, Float[np.ndarray, " point"]]:
    """Return chi-squared of the fit with the free distribution, and the residual divided by the noise."""
    residual = (
        saxs_data.intensity
        - fitted_curves.distribution_curve(saxs_data, free_fit.size_curves, free_fit.volume_shares)[0]
    ) / saxs_data.sigma
    return float(residual @ residual), residual


def _fit_free(
    saxs_data: SaxsData, body: str, parametric_average: ModelAverage, chi2_factor: float, *, n_draws: int = 0
) -> FreeDistributionFit:
    """Return the fit of a body with a free distribution.

    The bins cover the sizes of the parametric fits and a margin on both sides.
    """
    log_radius, draws = parametric_average.log_radius, parametric_average.draws
    mean_fractions = draws.weight @ draws.volume_shares
    inner_limits = (
        log_radius[np.cumsum(mean_fractions) > MAX_TAIL_SHARE][0],
        log_radius[np.cumsum(mean_fractions) < 1 - MAX_TAIL_SHARE][-1],
    )
    margin = LOG_RADIUS_MARGIN + 0.5 * (inner_limits[1] - inner_limits[0])
    centers, hats = free_distribution.hat_functions(
        np.linspace(
            max(inner_limits[0] - margin, log_radius[0]), min(inner_limits[1] + margin, log_radius[-1]), N_BIN_POINTS
        )
    )
    hats = np.maximum(1 - np.abs(log_radius[:, None] - centers) / (centers[1] - centers[0]), 0.0)
    hats = hats / np.maximum(hats.sum(axis=0), 1e-300)
    size_curves = fitted_curves.size_curves(saxs_data, body, log_radius)
    background_terms = data.background_terms(saxs_data.q, saxs_data.background_powers) / saxs_data.sigma[:, None]
    background_basis = np.linalg.qr(background_terms)[0]
    bin_curves, scaled_intensity = (
        (size_curves @ hats) / saxs_data.sigma[:, None],
        saxs_data.intensity / saxs_data.sigma,
    )
    bin_curves, scaled_intensity = (
        bin_curves - background_basis @ (background_basis.T @ bin_curves),
        scaled_intensity - background_basis @ (background_basis.T @ scaled_intensity),
    )
    distribution = free_distribution.fit_free_distribution(
        bin_curves, scaled_intensity, chi2_factor=chi2_factor, n_draws=n_draws
    )
    volume_shares = hats @ distribution.amplitudes
    volume_share_draws = distribution.amplitude_draws @ hats.T
    return FreeDistributionFit(
        distribution,
        body,
        volume_shares / volume_shares.sum(),
        volume_share_draws / volume_share_draws.sum(axis=1, keepdims=True),
        size_curves,
        0.0,
    )


def _join_draws(
    draws: SizeDraws, is_same_body: np.ndarray, free_fraction: float, free_fit: FreeDistributionFit
) -> SizeDraws:
    """Return the draws of all fits and of the free distribution, with the weights of `_average_with_free`."""
    if not len(free_fit.volume_share_draws):
        return draws
    weight = np.where(is_same_body, (1 - free_fraction) * draws.weight, draws.weight)
    free_weights = np.full(
        len(free_fit.volume_share_draws),
        free_fraction * float(draws.weight[is_same_body].sum()) / len(free_fit.volume_share_draws),
    )
    volume_shares = np.concatenate([draws.volume_shares, free_fit.volume_share_draws])
    fit_index = np.concatenate([draws.fit_index, np.full(len(free_fit.volume_share_draws), -1)])
    return SizeDraws(
        np.concatenate([weight, free_weights]),
        fit_index,
        moments(volume_shares, draws.radius),
        volume_shares,
        draws.radius,
    )
