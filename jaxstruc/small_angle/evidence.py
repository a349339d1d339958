r"""What the fits of bodies and distributions weigh, and credible intervals over all of them.

A fit's weight is its evidence by Laplace: $Z = e^{-\chi^2/2} \sqrt{\det 2\pi C}\, \pi(\hat\theta)$, C the covariance of
ln mean, ln width and ln amplitude. Before the fit each body weighs the same, and so does each of its distributions;
ln mean is even over what the range of Q can tell, the width from 0 to `MAX_PRIOR_WIDTH`, the logarithm of the amplitude
over `LOG_AMPLITUDE_RANGE`, the share of a second population from 0 to 1. A wide prior is the penalty for a parameter:
one known to 1 % costs 3 in the logarithm. (D. J. C. MacKay, Neural Comput. 4, 415 (1992), doi
10.1162/neco.1992.4.3.415.)

Where the best fit's chi-squared is above what noise explains, all errors grow by its root, and the residual counts for
so many points as its autocorrelation leaves.
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
"""Standard deviation over mean, of the prior."""
SINGLE_SIZE_PRIOR = 0.02
"""Weight of a single size before the fit, that of another distribution 1: what their widths' prior has below 0.01."""
LOG_AMPLITUDE_RANGE = math.log(1e4)
"""Of the amplitude, in its logarithm."""
MAX_LOG_SIGMA = 1.0
"""Largest standard deviation of a logarithm that Laplace is trusted with; so counts a value at its bound."""
MIN_EIGENVALUE = 1e-6
"""Of a normal matrix with unit diagonal."""
N_SIZE_DRAWS, DRAW_BATCH_SIZE = 512, 64
"""In all, and in one step: each fit has as many of these as its weight asks for, one at least."""
MIN_DRAWN_WEIGHT = 1e-3
"""Weight that counts."""
MAX_CHI2_SIGMAS = 3.0
"""Standard deviations of chi-squared above its mean from which noise alone does not explain a fit."""


class NoiseEstimate(NamedTuple):
    """How the residual of the best fit compares with the noise."""

    variance_scale: float
    """Of the noise's variance, at least 1 where the file says the noise."""
    effective_fraction: float
    """Of the points that count."""
    exceeds_noise: bool
    """Whether the best fit does not explain the data."""

    @property
    def chi2_factor(self) -> float:
        """Factor on chi-squared."""
        return self.effective_fraction / self.variance_scale


def noise_estimate(
    chi2: float, residual: Callable[[], np.ndarray], degrees_of_freedom: int, *, noise_is_inferred: bool
) -> NoiseEstimate:
    """Return by how much the noise is larger than said, as the best fit shows.

    Args:
        chi2: of the best fit.
        residual: gives that of it, over the noise, where it is needed.
        degrees_of_freedom: points less parameters.
        noise_is_inferred: whether the noise is inferred, so that it may as well be less.
    """
    reduced_chi2 = chi2 / max(degrees_of_freedom, 1)
    exceeds_noise = reduced_chi2 > 1 + MAX_CHI2_SIGMAS * math.sqrt(2 / max(degrees_of_freedom, 1))
    if not exceeds_noise:
        return NoiseEstimate(max(reduced_chi2, 0.1) if noise_is_inferred else 1.0, 1.0, exceeds_noise)
    residuals = residual()
    n_effective = statistics.effective_points(residuals, float(len(residuals)))
    return NoiseEstimate(reduced_chi2, min(n_effective / len(residuals), 1.0), exceeds_noise)


def covariance(body_fit: BodyFit, chi2_factor: float) -> tuple[Float[np.ndarray, "parameter parameter"], np.ndarray]:
    """Return the covariance of ln means, ln widths and ln amplitudes, and which of them are fitted and not at a bound.

    Values at a bound and those that the data do not determine have at most `MAX_LOG_SIGMA`.
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
    """Return the covariance of a normal matrix in single precision: no direction counts as known better than that."""
    scales = np.sqrt(np.maximum(np.diagonal(normal_matrix), 1e-30))
    eigenvalues, eigenvectors = np.linalg.eigh(normal_matrix / (scales[:, None] * scales))
    covariance_root = eigenvectors / np.sqrt(np.maximum(eigenvalues, MIN_EIGENVALUE))
    return (covariance_root @ covariance_root.T) / (scales[:, None] * scales)


def log_evidence(body_fit: BodyFit, chi2_factor: float, *, log_radius_range: float) -> float:
    """Return the logarithm of a fit's evidence; -inf where the fit failed.

    Args:
        body_fit: the fit.
        chi2_factor: factor on chi-squared.
        log_radius_range: of ln R that the data can tell.
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
    if n_populations == 2:
        total_amplitude = body_fit.amplitude.sum()
        log_prior += float(np.sum(np.log(np.maximum(body_fit.amplitude / total_amplitude, 1e-12)))) + math.log(2)
    return -0.5 * chi2_factor * body_fit.chi2 + float(log_volume) + log_prior


def weights(log_evidences: np.ndarray) -> Float[np.ndarray, " outcome"]:
    """Return the weights of fits from their evidences, all the same before."""
    relative_weight = np.exp(log_evidences - log_evidences.max())
    return relative_weight / relative_weight.sum()


class SizeDraws(NamedTuple):
    """Sizes drawn from all fits by their weights."""

    weight: Float[np.ndarray, " draw"]
    fit_index: Float[np.ndarray, " draw"]
    """Which fit it comes from."""
    sizes: Moments
    """[draw] each."""
    volume_shares: Float[np.ndarray, "draw node"]
    """Of volume, on `radius`."""
    radius: Float[np.ndarray, " node"]
    """Å, even in the logarithm."""


def draw_sizes(
    body_fits: Sequence[BodyFit],
    weight: np.ndarray,
    log_radius: Float[np.ndarray, " node"],
    chi2_factor: float,
    *,
    seed: int = 0,
) -> SizeDraws:
    """Return sizes drawn from the fits that weigh anything.

    Args:
        body_fits: the fits.
        weight: theirs.
        log_radius: ln R of the nodes, R in Å.
        chi2_factor: factor on chi-squared.
        seed: of the draws.
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
    """Return places and amounts of populations, as a fit's covariance has them, within what the nodes hold."""
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
    """Return the shares of volume of fits at nodes of ln R."""
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
    """Return the function of places and amounts of populations to their shares together, jitted."""

    def mixture_fractions(log_parameters, amplitudes, log_radius):
        population_fractions = jax.vmap(
            lambda population: DISTRIBUTION_SHAPES[distribution_shape].volume_shares(
                jnp.exp(population[0]), jnp.exp(population[1]), log_radius
            )
        )(log_parameters)
        return amplitudes @ population_fractions / jnp.sum(amplitudes)

    return jax.jit(jax.vmap(mixture_fractions, in_axes=(0, 0, None)))


_MIXTURE_FRACTIONS = {family: _jitted_mixture(family) for family in DISTRIBUTION_SHAPES}
