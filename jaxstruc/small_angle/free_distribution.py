r"""A distribution of sizes of no given form: shares of volume on a grid of ln R, non-negative and smooth.

Minimised is $|d - K f|^2 + \lambda |D f|^2$, f >= 0, D second differences with zeros beyond the ends; by an interior
point (S. Mehrotra's, without the corrector), in double precision, for several $\lambda$ at once. The strength of the
smoothness is the data's choice, by the evidence (D. J. C. MacKay, Neural Comput. 4, 415 (1992)), and curves that it
allows are drawn by fits to data and prior with noise added (J. M. Bardsley, A. Solonen, H. Haario, M. Laine, SIAM J.
Sci. Comput. 36, A1895 (2014), doi 10.1137/140964023), so that they are non-negative too.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

N_BINS = 64
"""Of ln R."""
SMOOTHNESS_STRENGTHS = np.logspace(-9, 1, 11)
"""Of the smoothness that are tried, relative to the data's."""
MAX_STEPS = 40
"""Most steps of the interior point."""
CENTERING = 0.1
"""Part of the barrier that a step leaves."""
GAP_TOLERANCE = 1e-7
"""Of what is left of complementarity, relative."""
MAX_COST_RISE = 10.0
"""Largest rise of the cost when the smallest shares are set to zero, in units of the duality gap x z that is left."""
MIN_RELATIVE_AMPLITUDE = 1e-4
"""Of the largest share, above which a share is free."""


class FreeDistribution(NamedTuple):
    """A free distribution."""

    amplitudes: Float[np.ndarray, " bin"]
    """Amplitudes in the kernel's unit, of each bin."""
    chi2: float
    smoothness_strength: float
    """Relative, of the smoothness."""
    n_determined: float
    """Parameters that the data determine."""
    log_evidence: float
    """Logarithm, over all strengths, even in their logarithm."""
    amplitude_draws: Float[np.ndarray, "draw bin"]
    """Amplitudes as the data allow them."""


def hat_functions(
    log_radius: Float[np.ndarray, " node"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, "node bin"]]:
    """Return ln R of bins over the nodes of a kernel, and what of a bin lies at each node: hats, sum 1."""
    centers = np.linspace(log_radius[0], log_radius[-1], N_BINS + 2)[1:-1]
    hats = np.maximum(1 - np.abs(log_radius[:, None] - centers) / (centers[1] - centers[0]), 0.0)
    return centers, hats / hats.sum(axis=0)


def fit_free_distribution(
    bin_curves: Float[np.ndarray, "q bin"],
    data: Float[np.ndarray, " q"],
    *,
    chi2_factor: float = 1.0,
    n_draws: int = 0,
    seed: int = 0,
) -> FreeDistribution:
    """Return the free distribution of a pattern.

    Args:
        bin_curves: of each bin, over the noise, the background projected out.
        data: likewise.
        chi2_factor: factor on chi-squared.
        n_draws: how many are drawn.
        seed: of the draws.
    """
    bin_curves, data = (
        np.sqrt(chi2_factor) * np.asarray(bin_curves, float),
        np.sqrt(chi2_factor) * np.asarray(data, float),
    )
    difference_matrix = second_differences(bin_curves.shape[1])
    smoothness, gram_matrix, projection = (
        difference_matrix.T @ difference_matrix,
        bin_curves.T @ bin_curves,
        bin_curves.T @ data,
    )
    strengths = SMOOTHNESS_STRENGTHS * np.trace(gram_matrix) / np.trace(smoothness)
    matrices = gram_matrix + strengths[:, None, None] * smoothness
    solutions = nonnegative_minimum(matrices, np.broadcast_to(projection, (len(strengths), len(projection))))
    chi2 = np.sum((data - solutions @ bin_curves.T) ** 2, axis=1)
    log_evidences, n_determined = np.array(
        [_log_evidence(*solution, gram_matrix, smoothness) for solution in zip(solutions, chi2, strengths, strict=True)]
    ).T
    best_index = int(np.argmax(log_evidences))
    max_log_evidence = log_evidences[best_index]
    total_log_evidence = float(max_log_evidence + np.log(np.mean(np.exp(log_evidences - max_log_evidence))))
    amplitude_draws = np.zeros((0, len(projection)))
    if n_draws:
        generator = np.random.default_rng(seed)
        noise_draws = generator.standard_normal((n_draws, len(data))) @ bin_curves
        prior_draws = (
            generator.standard_normal((n_draws, len(difference_matrix)))
            @ difference_matrix
            * np.sqrt(strengths[best_index])
        )
        amplitude_draws = nonnegative_minimum(
            np.broadcast_to(matrices[best_index], (n_draws, *smoothness.shape)), projection + noise_draws + prior_draws
        )
    return FreeDistribution(
        solutions[best_index],
        float(chi2[best_index]) / chi2_factor,
        float(SMOOTHNESS_STRENGTHS[best_index]),
        float(n_determined[best_index]),
        total_log_evidence,
        amplitude_draws,
    )


def second_differences(n_bins: int) -> Float[np.ndarray, "row bin"]:
    """Return second differences with zeros beyond both ends."""
    return np.diff(np.pad(np.eye(n_bins), ((2, 2), (0, 0))), n=2, axis=0)


def nonnegative_minimum(
    matrix: Float[np.ndarray, "batch bin bin"], right_side: Float[np.ndarray, "batch bin"]
) -> Float[np.ndarray, "batch bin"]:
    """Return the minima of $x^T A x / 2 - b^T x$, x >= 0, to a millionth of the largest share.

    Each item of a batch stops by itself, and is the best point evaluated: the start, where every share is 1 in the unit
    of its own curvature, if nothing better has been evaluated.
    """
    diagonal_scale = np.maximum(np.sqrt(np.diagonal(matrix, axis1=1, axis2=2)), 1e-300)
    matrix, right_side = matrix / (diagonal_scale[:, :, None] * diagonal_scale[:, None, :]), right_side / diagonal_scale
    magnitude = np.maximum(np.abs(right_side).max(axis=1, keepdims=True), 1e-300)
    right_side = right_side / magnitude
    x = np.ones_like(right_side)
    z = np.ones_like(right_side)
    best_x, lowest_cost = x, np.full((len(x), 1), np.inf)
    n_bins = right_side.shape[1]
    for _ in range(MAX_STEPS):
        product = np.einsum("bij,bj->bi", matrix, x)
        cost = _cost(x, product, right_side)
        best_x, lowest_cost = np.where(cost < lowest_cost, x, best_x), np.fmin(cost, lowest_cost)
        gap = np.mean(x * z, axis=1, keepdims=True)
        is_running = gap >= GAP_TOLERANCE
        if not is_running.any():
            break
        barrier_parameter = CENTERING * gap
        system = matrix + (z / x)[:, :, None] * np.eye(n_bins)
        x_step = np.linalg.solve(system, (barrier_parameter / x - product + right_side)[..., None])[..., 0]
        z_step = (barrier_parameter - z * x_step) / x - z
        x = np.where(is_running, x + _step_length(x, x_step) * x_step, x)
        z = np.where(is_running, z + _step_length(z, z_step) * z_step, z)
    final_x = np.where(x > z, x, 0.0)
    cost = _cost(final_x, np.einsum("bij,bj->bi", matrix, final_x), right_side)
    allowed_rise = MAX_COST_RISE * np.sum(x * z, axis=1, keepdims=True)
    return np.where(cost <= lowest_cost + allowed_rise, final_x, best_x) * magnitude / diagonal_scale


def _cost(x, product, side):
    """Return x A x / 2 - b x of each item, for a given product A x."""
    return np.sum(x * (0.5 * product - side), axis=1, keepdims=True)


def _step_length(x, direction):
    """Return how far a move may go without leaving x > 0."""
    ratio = np.where(direction < 0, -x / np.where(direction < 0, direction, -1.0), np.inf)
    return np.minimum(0.995 * ratio.min(axis=1, keepdims=True), 1.0)


def _log_evidence(amplitudes, chi2: float, strength: float, gram_matrix, smoothness) -> tuple[float, float]:
    """Return the logarithm of the evidence of a strength, and how many parameters the data determine."""
    is_free = amplitudes > MIN_RELATIVE_AMPLITUDE * amplitudes.max()
    if not is_free.any():
        return -np.inf, 0.0
    free_block = np.ix_(is_free, is_free)
    prior_precision, posterior_precision = (
        strength * smoothness[free_block],
        gram_matrix[free_block] + strength * smoothness[free_block],
    )
    occam_factor = np.linalg.slogdet(prior_precision)[1] - np.linalg.slogdet(posterior_precision)[1]
    n_determined = np.trace(np.linalg.solve(posterior_precision, gram_matrix[free_block]))
    return -0.5 * (chi2 + strength * amplitudes @ smoothness @ amplitudes) + 0.5 * occam_factor, n_determined
