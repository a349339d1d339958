"""All fits to a pattern with their weights, the free distribution of the best body among them, and draws from all."""

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
"""Of ln R, on which sizes are told, and how far they go at least."""
MAX_TAIL_SHARE, LOG_RADIUS_MARGIN = 1e-3, 0.3
"""Share of the volume at each end that the free distribution need not hold, and what it holds beyond, in ln R."""
N_BIN_POINTS = 256
"""Points over which bins are laid."""
N_FREE_DRAWS = 64
"""Draws of the free distribution."""


class FreeDistributionFit(NamedTuple):
    """The free distribution of the best body."""

    distribution: FreeDistribution
    body: str
    volume_shares: Float[np.ndarray, " node"]
    """Of volume; the next likewise."""
    volume_share_draws: Float[np.ndarray, "draw node"]
    size_curves: Float[np.ndarray, "point node"]
    weight: float


class ModelAverage(NamedTuple):
    """What fits to a pattern weigh."""

    body_fits: tuple[BodyFit, ...]
    """Best first."""
    weight: Float[np.ndarray, " outcome"]
    log_evidence: Float[np.ndarray, " outcome"]
    """In its logarithm."""
    noise: NoiseEstimate
    log_radius: Float[np.ndarray, " node"]
    """ln R (Å) of the nodes on which sizes are told."""
    volume_shares: Float[np.ndarray, "outcome node"]
    """Of volume."""
    free_distribution_fit: FreeDistributionFit | None
    draws: SizeDraws
    """From all, the free distribution too."""


def average_models(
    saxs_data: SaxsData,
    fits: SaxsFits,
    valid_fits: Sequence[BodyFit],
    *,
    include_free_distribution: bool,
    only_free_distribution: bool,
) -> ModelAverage:
    """Return the fits with their weights, best first.

    The free distribution can take any form. It has a weight only if no distribution with parameters explains the data
    and it does so better for each degree of freedom, or if it alone is asked for.

    Args:
        saxs_data: data that are fitted.
        fits: all fits, with the range of sizes that they cover.
        valid_fits: fits that are finite and hold particles.
        include_free_distribution: whether the free distribution of the best body is fitted too.
        only_free_distribution: whether it is the only distribution that is asked for.
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
    """Return ln R (Å) of the nodes on which sizes are reported."""
    log_radius_range = max(design_matrix.N_NODES * float(fits.window.step), MIN_LOG_RADIUS_RANGE)
    return float(fits.window.center) + np.linspace(-log_radius_range / 2, log_radius_range / 2, N_REPORT_NODES)


def _degrees_of_freedom(saxs_data: SaxsData, body_fit: BodyFit) -> int:
    """Return the number of points less the number of fitted parameters, those of the background among them."""
    return saxs_data.n_points - body_fit.n_parameters - len(saxs_data.background_powers)


def _best_fit_noise(saxs_data: SaxsData, best_fit: BodyFit, log_radius: Float[np.ndarray, " node"]) -> NoiseEstimate:
    """Return the noise that the best fit with parameters leaves."""
    return evidence.noise_estimate(
        best_fit.chi2,
        lambda: fitted_curves.fitted_curves(saxs_data, [best_fit], log_radius, 1.0)[0].residual,
        _degrees_of_freedom(saxs_data, best_fit),
        noise_is_inferred=saxs_data.noise_is_inferred,
    )


def _free_fits_better(saxs_data: SaxsData, best_fit: BodyFit, free_fit: FreeDistributionFit, chi2: float) -> bool:
    """Return whether the free distribution has a lower chi-squared for each degree of freedom than the best fit."""
    free_degrees = saxs_data.n_points - free_fit.distribution.n_determined - len(saxs_data.background_powers)
    return chi2 / max(free_degrees, 1) <= best_fit.chi2 / _degrees_of_freedom(saxs_data, best_fit)


def _average_with_free(
    average: ModelAverage, free_fit: FreeDistributionFit, *, only_free_distribution: bool
) -> ModelAverage:
    """Return the average with the free distribution, which takes a share of the weight of its body's other fits."""
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
    """Return fits with their weights, best first, without a free distribution."""
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
    """Return chi-squared and the residual over the noise of a free distribution."""
    residual = (
        saxs_data.intensity
        - fitted_curves.distribution_curve(saxs_data, free_fit.size_curves, free_fit.volume_shares)[0]
    ) / saxs_data.sigma
    return float(residual @ residual), residual


def _fit_free(
    saxs_data: SaxsData, body: str, parametric_average: ModelAverage, chi2_factor: float, *, n_draws: int = 0
) -> FreeDistributionFit:
    """Return the free distribution of a body, over the sizes that its other distributions have and more."""
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
    """Return draws with those of the free distribution, which takes a share of its body's weight."""
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
