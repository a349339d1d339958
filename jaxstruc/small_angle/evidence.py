r"""Weights of the fits of all bodies and size distributions, and random size distributions drawn with these weights.

A body is a shape of particle, e.g. a sphere. A population is a size distribution with one maximum. The weight of a fit
is proportional to its evidence in the Laplace approximation,
$Z = e^{-\chi^2/2} \sqrt{\det 2\pi C}\, \pi(\hat\theta)$. Here $\hat\theta$ are the fitted ln mean, ln width and ln
amplitude, C is their covariance, and $\pi$ is their prior density (D. J. C. MacKay, Neural Comput. 4, 415 (1992), doi
10.1162/neco.1992.4.3.415).

All bodies have the same prior probability. All distributions of a body also have the same prior probability, except a
single size (`SINGLE_SIZE_PRIOR`). The priors of ln mean, relative width, ln amplitude and the volume fractions of
several populations are uniform. The prior of ln mean covers the sizes that the range of Q can distinguish. The prior of
the relative width covers 0 to `MAX_PRIOR_WIDTH`. The prior of ln amplitude covers a range of `LOG_AMPLITUDE_RANGE`. A
body with a shape parameter, e.g. an aspect ratio, has a fit for each value of the parameter (`shape_fits`), and the
prior of a fit is the part of the parameter's range that it represents.
Each fitted parameter lowers the evidence, because its prior is wide. A parameter that is known to 1 %, for example,
lowers ln Z by about 3.

If noise does not explain the chi-squared of the best fit, all variances of the data are multiplied by its reduced
chi-squared. The effective number of points then replaces the number of points, because the residuals of neighbouring
points are correlated.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc import statistics
from jaxstruc.small_angle import size_distributions
from jaxstruc.small_angle.fit import BodyFit
from jaxstruc.small_angle.size_distributions import DISTRIBUTION_SHAPES, Moments

MAX_PRIOR_WIDTH = 0.5
"""Upper end of the prior on the relative width."""
SINGLE_SIZE_PRIOR = 0.02
"""Prior probability of a single size, relative to that of any other distribution.

It equals the prior probability of a relative width below 0.01 in the other distributions.
"""
LOG_AMPLITUDE_RANGE = math.log(1e4)
"""Length of the range of ln amplitude that its prior covers."""
MAX_LOG_SIGMA = 1.0
"""Largest standard deviation of the logarithm of a parameter.

A parameter at its bound has this standard deviation in the evidence.
"""
MIN_EIGENVALUE = 1e-6
"""Lower limit of the eigenvalues of a normal matrix that is scaled to a unit diagonal."""
N_SIZE_DRAWS, DRAW_BATCH_SIZE = 512, 64
"""Approximate total number of draws, and number of draws in a batch.

The number of batches that are drawn from a fit is proportional to the weight of the fit, but at least one.
"""
MIN_DRAWN_WEIGHT = 1e-3
"""Smallest weight of a fit from which sizes are drawn."""
FREE_FIT_INDEX = -1
"""Index of a draw that comes from a free distribution."""
MAX_CHI2_SIGMAS = 3.0
"""Largest chi-squared that noise explains, in standard deviations above its expected value."""


class NoiseEstimate(NamedTuple):
    """Comparison of the residual of the best fit with the noise."""

    variance_scale: float
    """Factor by which the variance of the noise is multiplied. It is at least 1 if the file states the noise."""
    effective_fraction: float
    """Effective number of independent points divided by the number of points."""
    exceeds_noise: bool
    """Whether the misfit of the best fit is larger than the noise explains."""

    @property
    def chi2_factor(self) -> float:
        """Factor by which chi-squared is multiplied in the errors and evidences of the fits."""
        return self.effective_fraction / self.variance_scale


def noise_estimate(
    chi2: float, residual: Callable[[], np.ndarray], degrees_of_freedom: int, *, noise_is_inferred: bool
) -> NoiseEstimate:
    """Return the comparison of the noise with the residual of the best fit.

    Args:
        chi2: Chi-squared of the best fit.
        residual: Function that returns the residual of the best fit divided by the noise. It is called only if needed.
        degrees_of_freedom: Number of points minus number of parameters.
        noise_is_inferred: Whether the noise is inferred from the data. Only inferred noise may be scaled down.
    """
    reduced_chi2 = chi2 / max(degrees_of_freedom, 1)
    exceeds_noise = reduced_chi2 > 1 + MAX_CHI2_SIGMAS * math.sqrt(2 / max(degrees_of_freedom, 1))
    if not exceeds_noise:
        return NoiseEstimate(max(reduced_chi2, 0.1) if noise_is_inferred else 1.0, 1.0, exceeds_noise)
    residuals = residual()
    n_effective = statistics.effective_points(residuals, float(len(residuals)))
    return NoiseEstimate(reduced_chi2, min(n_effective / len(residuals), 1.0), exceeds_noise)


def covariance(body_fit: BodyFit, chi2_factor: float) -> tuple[Float[np.ndarray, "parameter parameter"], np.ndarray]:
    """Return the covariance of ln means, ln widths and ln amplitudes, and whether each parameter is free.

    A parameter is free if it is fitted and not at a bound. The rows and columns of all other parameters are zero. The
    standard deviation of a parameter is at most `MAX_LOG_SIGMA`, even if the data do not determine it.
    """
    n_populations = len(body_fit.amplitude)
    is_free = np.ones(3 * n_populations, bool)
    is_free[: 2 * n_populations] = ~body_fit.at_bound.reshape(-1)
    if DISTRIBUTION_SHAPES[body_fit.distribution_shape].n_parameters == 1:
        is_free[1 : 2 * n_populations : 2] = False
    is_free[2 * n_populations :] &= body_fit.amplitude > 0
    prior_precision = np.full(3 * n_populations, MAX_LOG_SIGMA**-2.0)
    precision = body_fit.normal_matrix[np.ix_(is_free, is_free)] * chi2_factor + np.diag(prior_precision[is_free])
    full_covariance = np.zeros((3 * n_populations, 3 * n_populations))
    full_covariance[np.ix_(is_free, is_free)] = stable_inverse(precision)
    return full_covariance, is_free


def stable_inverse(normal_matrix: Float[np.ndarray, "parameter parameter"]) -> Float[np.ndarray, "parameter parameter"]:
    """Return the inverse of a normal matrix.

    The matrix is first scaled to a unit diagonal. Eigenvalues below `MIN_EIGENVALUE` are then raised to this value,
    because rounding in float32 makes them inaccurate.
    """
    scales = np.sqrt(np.maximum(np.diagonal(normal_matrix), 1e-30))
    eigenvalues, eigenvectors = np.linalg.eigh(normal_matrix / (scales[:, None] * scales))
    covariance_root = eigenvectors / np.sqrt(np.maximum(eigenvalues, MIN_EIGENVALUE))
    return (covariance_root @ covariance_root.T) / (scales[:, None] * scales)


def log_evidence(body_fit: BodyFit, chi2_factor: float, *, log_radius_range: float) -> float:
    """Return the logarithm of the evidence of a fit, or -inf if the fit failed.

    Args:
        body_fit: Fit of one body and distribution.
        chi2_factor: Factor on chi-squared (`NoiseEstimate.chi2_factor`).
        log_radius_range: Length of the range of ln R that the data can distinguish.
    """
    if (
        not math.isfinite(body_fit.chi2)
        or not np.all(np.isfinite(body_fit.normal_matrix))
        or not body_fit.amplitude.any()
    ):
        return -math.inf
    covariance_matrix, is_free = covariance(body_fit, chi2_factor)
    n_populations = len(body_fit.amplitude)
    n_shape_parameters = DISTRIBUTION_SHAPES[body_fit.distribution_shape].n_parameters
    n_fixed = (
        int((~is_free[: 2 * n_populations]).sum())
        if n_shape_parameters == 2
        else int((~is_free[: 2 * n_populations : 2]).sum())
    )
    log_volume = 0.5 * np.linalg.slogdet(2 * math.pi * covariance_matrix[np.ix_(is_free, is_free)])[1]
    log_volume += n_fixed * math.log(MAX_LOG_SIGMA)
    log_prior = -n_populations * math.log(log_radius_range) - math.log(LOG_AMPLITUDE_RANGE)
    if n_shape_parameters == 1:
        log_prior += math.log(SINGLE_SIZE_PRIOR)
    else:
        log_prior += float(np.sum(body_fit.log_parameters[:, 1] - math.log(MAX_PRIOR_WIDTH)))
    if n_populations > 1:
        total_amplitude = body_fit.amplitude.sum()
        log_prior += float(np.sum(np.log(np.maximum(body_fit.amplitude / total_amplitude, 1e-12))))
        log_prior += math.lgamma(n_populations) + math.lgamma(n_populations + 1)
    log_prior += math.log(body_fit.shape_prior)
    return -0.5 * chi2_factor * body_fit.chi2 + float(log_volume) + log_prior


def weights(log_evidences: np.ndarray) -> Float[np.ndarray, " outcome"]:
    """Return the normalised weights of fits from the logarithms of their evidences."""
    relative_weight = np.exp(log_evidences - log_evidences.max())
    return relative_weight / relative_weight.sum()


class SizeDraws(NamedTuple):
    """Size distributions drawn from all fits in proportion to their weights."""

    weight: Float[np.ndarray, " draw"]
    """Weights of the draws, which sum to 1."""
    fit_index: Float[np.ndarray, " draw"]
    """Index of the fit that a draw comes from, or `FREE_FIT_INDEX` if it comes from a free distribution."""
    sizes: Moments
    """Means and widths of the draws, as arrays [draw]."""
    volume_shares: Float[np.ndarray, "draw node"]
    """Volume fractions at the nodes of `radius`."""
    radius: Float[np.ndarray, " node"]
    """Radii in Å, equally spaced in the logarithm."""


def draw_sizes(
    body_fits: Sequence[BodyFit],
    weight: np.ndarray,
    log_radius: Float[np.ndarray, " node"],
    chi2_factor: float,
    *,
    seed: int = 0,
) -> SizeDraws:
    """Return size distributions drawn from all fits with a weight of at least `MIN_DRAWN_WEIGHT`.

    Args:
        body_fits: Fits of bodies and distributions.
        weight: Weight of each fit.
        log_radius: ln R (R in Å) of the nodes.
        chi2_factor: Factor on chi-squared (`NoiseEstimate.chi2_factor`).
        seed: Seed of the random numbers.
    """
    generator = np.random.default_rng(seed)
    fit_indices = [
        int(fit_index) for fit_index in np.argsort(-weight, kind="stable") if weight[fit_index] >= MIN_DRAWN_WEIGHT
    ]
    total_weight, nodes = float(weight[fit_indices].sum()), jnp.asarray(log_radius, jnp.float32)
    fraction_batches, draw_weights, draw_indices = [], [], []
    for fit_index in fit_indices:
        n_batches = max(round(N_SIZE_DRAWS / DRAW_BATCH_SIZE * weight[fit_index] / total_weight), 1)
        covariance_matrix, _ = covariance(body_fits[fit_index], chi2_factor)
        for _ in range(n_batches):
            log_parameters, amplitudes = _draw_populations(
                body_fits[fit_index], covariance_matrix, log_radius, generator
            )
            fraction_batches.append(
                _MIXTURE_FRACTIONS[body_fits[fit_index].distribution_shape](log_parameters, amplitudes, nodes)
            )
        draw_weights.append(
            np.full(n_batches * DRAW_BATCH_SIZE, weight[fit_index] / total_weight / (n_batches * DRAW_BATCH_SIZE))
        )
        draw_indices.append(np.full(n_batches * DRAW_BATCH_SIZE, fit_index))
    fractions, radius = np.concatenate([np.asarray(batch, float) for batch in fraction_batches]), np.exp(log_radius)
    return SizeDraws(
        np.concatenate(draw_weights),
        np.concatenate(draw_indices),
        size_distributions.moments(fractions, radius),
        fractions,
        radius,
    )


def _draw_populations(
    body_fit: BodyFit,
    covariance_matrix: np.ndarray,
    log_radius: Float[np.ndarray, " node"],
    generator: np.random.Generator,
):
    """Return ln means, ln widths and amplitudes that are drawn from the Gaussian posterior of a fit.

    Means are limited to the range of the nodes. Widths are limited to the range that the distribution allows.
    """
    n_populations = len(body_fit.amplitude)
    gaussian_draws = generator.multivariate_normal(
        np.zeros(len(covariance_matrix)), covariance_matrix, DRAW_BATCH_SIZE, method="eigh"
    )
    log_parameters = body_fit.log_parameters + gaussian_draws[:, : 2 * n_populations].reshape(
        DRAW_BATCH_SIZE, n_populations, 2
    )
    max_log_width = math.log(max(DISTRIBUTION_SHAPES[body_fit.distribution_shape].max_pd, 1e-3))
    log_parameters[..., 1] = np.minimum(
        np.maximum(log_parameters[..., 1], math.log(size_distributions.MIN_WIDTH * (log_radius[1] - log_radius[0]))),
        max_log_width,
    )
    log_parameters[..., 0] = np.clip(log_parameters[..., 0], log_radius[4], log_radius[-5])
    amplitudes = body_fit.amplitude * np.exp(gaussian_draws[:, 2 * n_populations :])
    return jnp.asarray(log_parameters, jnp.float32), jnp.asarray(amplitudes, jnp.float32)


def volume_shares(
    body_fits: Sequence[BodyFit], log_radius: Float[np.ndarray, " node"]
) -> Float[np.ndarray, "outcome node"]:
    """Return the size distribution of each fit: the share of the particles' volume at each node of ln R."""
    fractions = np.zeros((len(body_fits), len(log_radius)))
    groups: dict[tuple[str, int], list[int]] = {}
    for index, body_fit in enumerate(body_fits):
        groups.setdefault((body_fit.distribution_shape, len(body_fit.amplitude)), []).append(index)
    nodes = jnp.asarray(log_radius, jnp.float32)
    for (distribution_shape, _), indices in groups.items():
        for start in range(0, len(indices), DRAW_BATCH_SIZE):
            batch = indices[start : start + DRAW_BATCH_SIZE]
            padded_batch = [body_fits[index] for index in batch + [batch[-1]] * (DRAW_BATCH_SIZE - len(batch))]
            log_parameters, amplitudes = (
                np.array([getattr(body_fit, name) for body_fit in padded_batch], np.float32)
                for name in ("log_parameters", "amplitude")
            )
            fractions[batch] = np.asarray(_MIXTURE_FRACTIONS[distribution_shape](log_parameters, amplitudes, nodes))[
                : len(batch)
            ]
    return fractions


def _jitted_mixture(distribution_shape: str):
    """Return a jitted function that computes volume fractions from the parameters and amplitudes of the populations."""

    def mixture_fractions(log_parameters, amplitudes, log_radius):
        population_fractions = jax.vmap(
            lambda population: DISTRIBUTION_SHAPES[distribution_shape].volume_shares(
                jnp.exp(population[0]), jnp.exp(population[1]), log_radius
            )
        )(log_parameters)
        return amplitudes @ population_fractions / jnp.sum(amplitudes)

    return jax.jit(jax.vmap(mixture_fractions, in_axes=(0, 0, None)))


_MIXTURE_FRACTIONS = {family: _jitted_mixture(family) for family in DISTRIBUTION_SHAPES}
