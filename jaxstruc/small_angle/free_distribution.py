r"""Free size distribution: non-negative, smooth volume fractions on a grid of ln R, without a parametric form.

R is the radius of the sphere of equal volume. The fit minimises $|d - K f|^2 + \lambda |D f|^2$ over the non-negative
amplitudes f of the bins. Here d is the vector of the data, K is the matrix of the curves of the bins, and both are
divided by the noise. D is the matrix of second differences, for which the amplitudes beyond both ends are zero. A
primal-dual interior point method finds the minima for several $\lambda$ at once, in double precision. It is the method
of S. Mehrotra, SIAM J. Optim. 2, 575 (1992), doi 10.1137/0802028, without the corrector step.

The evidence selects the strength of the smoothness $\lambda$ (D. J. C. MacKay, Neural Comput. 4, 415 (1992), doi
10.1162/neco.1992.4.3.415). To draw distributions from the posterior, the fit is repeated with random noise added to the
data and to the prior. The drawn distributions are therefore non-negative too (J. M. Bardsley, A. Solonen, H. Haario, M.
Laine, SIAM J. Sci. Comput. 36, A1895 (2014), doi 10.1137/140964023).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

N_BINS = 64
"""Number of bins in ln R."""
SMOOTHNESS_STRENGTHS = np.logspace(-9, 1, 11)
"""Values of λ that are tried, in units of tr(KᵀK) / tr(DᵀD)."""
MAX_STEPS = 40
"""Largest number of steps of the interior point method."""
CENTERING = 0.1
"""Duality gap that each step aims at, relative to the present duality gap."""
GAP_TOLERANCE = 1e-7
"""Mean product of primal and dual variables, in scaled units, below which an item of the batch has converged."""
MAX_COST_RISE = 10.0
"""Largest increase of the cost when small amplitudes are set to zero, in units of the remaining duality gap."""
MIN_RELATIVE_AMPLITUDE = 1e-4
"""Fraction of the largest amplitude above which an amplitude counts as free, i.e. not at zero."""


class FreeDistribution(NamedTuple):
    """Result of a fit with a free distribution."""

    amplitudes: Float[np.ndarray, " bin"]
    """Factor on the curve of each bin."""
    chi2: float
    smoothness_strength: float
    """Strength of the smoothness, one of `SMOOTHNESS_STRENGTHS`."""
    n_determined: float
    """Effective number of parameters that the data determine."""
    log_evidence: float
    """Logarithm of the evidence. The evidence is averaged over all strengths, which have equal prior probabilities."""
    amplitude_draws: Float[np.ndarray, "draw bin"]
    """Amplitudes drawn from the posterior."""


def hat_functions(
    log_radius: Float[np.ndarray, " node"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, "node bin"]]:
    """Return ln R of the bin centres, and a triangular function of ln R for each bin. Its sum over the nodes is 1."""
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
    """Fit a free distribution to a measured I(Q).

    Args:
        bin_curves: Curve of each bin, divided by the noise and with the background projected out.
        data: Intensities, divided by their noise and with the background projected out.
        chi2_factor: Factor on chi-squared (`evidence.NoiseEstimate.chi2_factor`).
        n_draws: Number of distributions that are drawn from the posterior.
        seed: Seed of the draws.
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
    """Return the matrix of second differences of a vector that is continued by zeros beyond both ends."""
    return np.diff(np.pad(np.eye(n_bins), ((2, 2), (0, 0))), n=2, axis=0)


def nonnegative_minimum(
    matrix: Float[np.ndarray, "batch bin bin"], right_side: Float[np.ndarray, "batch bin"]
) -> Float[np.ndarray, "batch bin"]:
    """Return the minima of $x^T A x / 2 - b^T x$ over x >= 0, accurate to a millionth of the largest x.

    Each item of a batch stops when it has converged. The function returns the best point that it evaluated. All
    elements of x start at 1, in units in which A has a unit diagonal and the largest |b| is 1.

    Args:
        matrix: Positive definite matrix A.
        right_side: Vector b.
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
    """Return x A x / 2 - b x of each item, for a given product A x and right side b."""
    return np.sum(x * (0.5 * product - side), axis=1, keepdims=True)


def _step_length(x, direction):
    """Return the largest step length, at most 1, that keeps x positive."""
    ratio = np.where(direction < 0, -x / np.where(direction < 0, direction, -1.0), np.inf)
    return np.minimum(0.995 * ratio.min(axis=1, keepdims=True), 1.0)


def _log_evidence(amplitudes, chi2: float, strength: float, gram_matrix, smoothness) -> tuple[float, float]:
    """Return the logarithm of the evidence for one strength of the smoothness, and the number of determined parameters.

    The number is the effective number of parameters that the data determine.
    """
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
