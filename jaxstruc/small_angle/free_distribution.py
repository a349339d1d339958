r"""Free size distribution: non-negative, smooth volume fractions on a grid of ln R, without a parametric form.

R is the radius of the sphere of equal volume. The distribution is a sum of bins. Each bin is a cubic B-spline in ln R,
and the bins cover all radii that the range of Q determines, from π/qmax to π/qmin. The curve of a bin depends only on
Q times the radius at its centre. It is therefore interpolated in one table for each body (shape of particle).

The fit minimises $|d - K f|^2 + \lambda |D f|^2$ over the non-negative amplitudes f of the bins. Here d is the vector
of the data, K is the matrix of the curves of the bins, and both are divided by the noise. D is the matrix of second
differences, for which the amplitudes beyond both ends are zero. The active-set method of C. L. Lawson, R. J. Hanson,
Solving Least Squares Problems (1974), doi 10.1137/1.9781611971217, finds the minimum in double precision.

The evidence selects the strength of the smoothness $\lambda$, and it compares a free distribution with parametric ones
(D. J. C. MacKay, Neural Comput. 4, 415 (1992), doi 10.1162/neco.1992.4.3.415). To draw distributions from the
posterior, the fit is repeated with random noise added to the data and to the prior. The drawn distributions are
therefore non-negative too (J. M. Bardsley, A. Solonen, H. Haario, M. Laine, SIAM J. Sci. Comput. 36, A1895 (2014), doi
10.1137/140964023).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse
from jaxtyping import Float

from jaxstruc.small_angle import form_factors, smearing

BIN_STEPS, MAX_BINS = (0.04, 0.08, 0.16), 160
"""Steps between the bins in ln R that may be chosen, and largest number of bins for which a step is chosen."""
CURVE_STEPS_PER_BIN, FINE_STEPS_PER_CURVE_STEP = 8, 4
"""Number of steps of the table of curves for each bin, and number of steps of the integral for each of these."""
MIN_TABLE_X, MAX_WAVE_X = 0.003, 600.0
"""Smallest x = Q R of the table of curves, and x beyond which the curve of a bin has no oscillations."""
TABLE_REACH = 12.0
"""Range of ln x beyond `MAX_WAVE_X` that the table covers."""
MIN_Q_RATIO = 0.05
"""Smallest Q at which a smeared curve is evaluated, relative to the first Q of the data."""
SMOOTHNESS_STRENGTHS = np.logspace(-9, 1, 11)
"""Values of λ that are tried, in units of tr(KᵀK) / tr(DᵀD)."""
RELATIVE_JITTER = 1e-13
"""Number that is added to the unit diagonal of a scaled matrix before its Cholesky decomposition."""
MIN_COST_RISE = 12.0
"""Smallest rise of the cost, chi-squared plus smoothness, by which two maxima are separate if they are joined."""
MIN_RELATIVE_AMPLITUDE = 1e-4
"""Fraction of the largest amplitude above which an amplitude counts as free, i.e. not at zero."""


class SizeBins(NamedTuple):
    """Bins of ln R (R in Å). The centres are multiples of the step."""

    first: int
    """Centre of the first bin, in steps."""
    n_bins: int
    step: float
    """Step between the centres in ln R."""

    @property
    def centers(self) -> Float[np.ndarray, " bin"]:
        """Centres of the bins in ln R."""
        return self.step * (self.first + np.arange(self.n_bins))

    def densities(self, log_radius: Float[np.ndarray, " node"]) -> Float[np.ndarray, "node bin"]:
        """Return the density in ln R of each bin, a cubic B-spline whose integral is 1."""
        return _cubic_spline((log_radius[:, None] - self.centers) / self.step) / self.step


class FreeProblem(NamedTuple):
    """Least-squares problem of the free distribution of one body, for one measured I(Q).

    All arrays belong to data and curves that are divided by the noise and have no background.
    """

    gram_matrix: Float[np.ndarray, "bin bin"]
    """Scalar products of the curves of the bins."""
    projection: Float[np.ndarray, " bin"]
    """Scalar products of the curves with the data."""
    data_square: float
    """Sum of the squares of the data."""
    root: Float[np.ndarray, "row bin"]
    """Curves of the bins."""
    lowest_chi2: float
    """Chi-squared with the weakest smoothness."""
    n_positive: int
    """Number of amplitudes above zero with the weakest smoothness."""

    def chi2(self, amplitudes: Float[np.ndarray, "*batch bin"]) -> Float[np.ndarray, "*batch"]:
        """Return chi-squared for given amplitudes."""
        squares = np.sum((amplitudes @ self.gram_matrix) * amplitudes, axis=-1)
        return np.asarray(self.data_square - 2 * amplitudes @ self.projection + squares)


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


def size_bins(qmin: float, qmax: float) -> SizeBins:
    """Return the bins that cover all radii that a range of Q in 1/Å determines, from π/qmax to π/qmin."""
    low, high = math.log(math.pi / qmax), math.log(math.pi / qmin)
    step = next((step for step in BIN_STEPS if (high - low) / step < MAX_BINS - 1), BIN_STEPS[-1])
    first, last = math.floor(low / step), math.ceil(high / step)
    return SizeBins(first, last - first + 1, step)


def curve_interpolation(bins: SizeBins, q: np.ndarray, dq: np.ndarray | None) -> tuple[scipy.sparse.csr_array, int]:
    """Return the matrix that interpolates a curve from evenly spaced ln Q to the data, and the first ln Q in steps.

    The matrix includes the smearing by the resolution if `dq` is given. The interpolation is cubic.
    """
    step = bins.step / CURVE_STEPS_PER_BIN
    offset, weight = (np.zeros(1), np.ones(1)) if dq is None else smearing.nodes()
    shifted_q = np.maximum(
        np.abs(q[:, None] + (0.0 if dq is None else dq[:, None]) * offset), MIN_Q_RATIO * q[0]
    )  # fmt: skip
    position = np.log(shifted_q) / step
    base = np.floor(position).astype(int)
    f = position - base
    cubic_weights = (
        -f * (f - 1) * (f - 2) / 6, (f + 1) * (f - 1) * (f - 2) / 2,
        -(f + 1) * f * (f - 2) / 2, (f + 1) * f * (f - 1) / 6,
    )  # fmt: skip
    first = int(base.min()) - 1
    rows = np.broadcast_to(np.arange(len(q))[:, None], base.shape)
    matrix = scipy.sparse.coo_array(
        (
            np.concatenate([(weight * values).ravel() for values in cubic_weights]),
            (
                np.concatenate([rows.ravel()] * 4),
                np.concatenate([(base + shift - first).ravel() for shift in (-1, 0, 1, 2)]),
            ),
        ),
        shape=(len(q), int(base.max()) + 3 - first),
    )
    return matrix.tocsr(), first


def bin_curves(
    body: str, bins: SizeBins, interpolation: tuple[scipy.sparse.csr_array, int]
) -> Float[np.ndarray, "q bin"]:
    """Return the curve of each bin: the mean of R³ P(QR) over the bin, in Å³.

    P is the form factor of the body.

    Args:
        body: Name of the body.
        bins: Bins of ln R.
        interpolation: Values of `curve_interpolation`.
    """
    matrix, first = interpolation
    table, table_start = _curve_table(body, bins.step)
    q_steps = first + np.arange(matrix.shape[1])
    index = q_steps[:, None] + CURVE_STEPS_PER_BIN * (bins.first + np.arange(bins.n_bins)) - table_start
    return matrix @ table[np.clip(index, 0, len(table) - 1)] * np.exp(3 * bins.centers)


def free_problem(scaled_curves: Float[np.ndarray, "row bin"], data: Float[np.ndarray, " row"]) -> FreeProblem:
    """Return the least-squares problem for the curves of the bins and data, both divided by the noise."""
    problem = FreeProblem(
        scaled_curves.T @ scaled_curves, scaled_curves.T @ data, float(data @ data), scaled_curves, 0.0, 0
    )
    smoothness = _smoothness(len(problem.projection))
    strength = SMOOTHNESS_STRENGTHS[0] * np.trace(problem.gram_matrix) / np.trace(smoothness)
    amplitudes = nonnegative_minimum(problem.gram_matrix + strength * smoothness, problem.projection)
    return problem._replace(
        lowest_chi2=float(problem.chi2(amplitudes)), n_positive=int(np.count_nonzero(amplitudes))
    )  # fmt: skip


def fit_free_distribution(
    problem: FreeProblem, *, chi2_factor: float = 1.0, n_draws: int = 0, seed: int = 0
) -> FreeDistribution:
    """Fit a free distribution to a measured I(Q).

    Args:
        problem: Least-squares problem.
        chi2_factor: Factor on chi-squared (`evidence.NoiseEstimate.chi2_factor`).
        n_draws: Number of distributions that are drawn from the posterior.
        seed: Seed of the draws.
    """
    gram_matrix, projection = chi2_factor * problem.gram_matrix, chi2_factor * problem.projection
    smoothness = _smoothness(len(projection))
    strengths = SMOOTHNESS_STRENGTHS * np.trace(gram_matrix) / np.trace(smoothness)
    solutions = np.array([nonnegative_minimum(gram_matrix + value * smoothness, projection) for value in strengths])
    chi2 = problem.chi2(solutions)
    log_evidences, n_determined = np.array(
        [
            _log_evidence(amplitudes, chi2_factor * value, strength, gram_matrix, smoothness)
            for amplitudes, value, strength in zip(solutions, chi2, strengths, strict=True)
        ]
    ).T
    best_index = int(np.argmax(log_evidences))
    max_log_evidence = log_evidences[best_index]
    total_log_evidence = float(max_log_evidence + np.log(np.mean(np.exp(log_evidences - max_log_evidence))))
    amplitude_draws = np.zeros((n_draws, len(projection)))
    if n_draws:
        generator = np.random.default_rng(seed)
        noise_draws = generator.standard_normal((n_draws, len(problem.root))) @ problem.root * np.sqrt(chi2_factor)
        differences = second_differences(len(projection))
        prior_draws = (
            generator.standard_normal((n_draws, len(differences))) @ differences * np.sqrt(strengths[best_index])
        )
        amplitude_draws = nonnegative_minimum(
            gram_matrix + strengths[best_index] * smoothness, projection + noise_draws + prior_draws
        )
    return FreeDistribution(
        solutions[best_index],
        float(chi2[best_index]),
        float(SMOOTHNESS_STRENGTHS[best_index]),
        float(n_determined[best_index]),
        total_log_evidence,
        amplitude_draws,
    )


def population_regions(amplitudes: Float[np.ndarray, " bin"]) -> list[np.ndarray]:
    """Return the indices of the bins around each maximum of a distribution, divided at the minima between them."""
    starts = np.concatenate([[0], 1 + np.flatnonzero(np.diff(amplitudes))])  # first bins of runs of equal values
    ends, levels = np.append(starts[1:], len(amplitudes)), amplitudes[starts]
    is_minimum = (levels[1:-1] < levels[:-2]) & (levels[1:-1] < levels[2:])
    regions = np.split(np.arange(len(amplitudes)), ((starts + ends) // 2)[1:-1][is_minimum])
    return [region for region in regions if amplitudes[region].any()]


def count_populations(problem: FreeProblem, fit: FreeDistribution, chi2_factor: float) -> int:
    """Return the number of maxima of a free distribution that the data separate.

    Two neighbouring maxima are separate if a distribution with one maximum in their place fits worse by more than
    `MIN_COST_RISE`. Maxima that are not separate are joined, those that are hardest to distinguish first.

    Args:
        problem: Least-squares problem.
        fit: Fit of the free distribution.
        chi2_factor: Factor on chi-squared with which the distribution was fitted.
    """
    smoothness = _smoothness(len(fit.amplitudes))
    strength = fit.smoothness_strength * chi2_factor * np.trace(problem.gram_matrix) / np.trace(smoothness)
    root, to_target, _ = _scaled_root(chi2_factor * problem.gram_matrix + strength * smoothness)
    target = to_target(chi2_factor * problem.projection[None])[0]
    regions = population_regions(fit.amplitudes)
    peaks = [int(region[np.argmax(fit.amplitudes[region])]) for region in regions]

    def cost(regions: list[np.ndarray], peaks: list[int]) -> float:
        return scipy.optimize.nnls(root @ _unimodal_steps(len(fit.amplitudes), regions, peaks), target)[1] ** 2

    def joined(index: int) -> tuple[float, list[np.ndarray], list[int]]:
        """Return the lowest cost if a maximum is joined with the next one, and the new regions and peaks."""
        merged = [*regions[:index], np.concatenate(regions[index : index + 2]), *regions[index + 2 :]]
        trials = []
        for peak in {*peaks[index : index + 2], sum(peaks[index : index + 2]) // 2}:
            merged_peaks = [*peaks[:index], peak, *peaks[index + 2 :]]
            trials.append((cost(merged, merged_peaks), merged, merged_peaks))
        return min(trials, key=lambda trial: trial[0])

    lowest = cost(regions, peaks)
    while len(regions) > 1:
        best = min((joined(index) for index in range(len(regions) - 1)), key=lambda trial: trial[0])
        if best[0] - lowest > MIN_COST_RISE:
            break
        lowest, regions, peaks = best
    return len(regions)


def _unimodal_steps(n_bins: int, regions: list[np.ndarray], peaks: list[int]) -> Float[np.ndarray, "bin step"]:
    """Return steps whose sums with non-negative factors rise up to the peak of each region and fall beyond it."""
    steps = np.zeros((n_bins, n_bins))
    for region, peak in zip(regions, peaks, strict=True):
        low, high = region[0], region[-1] + 1
        steps[low : peak + 1, low : peak + 1] = np.tril(np.ones((peak + 1 - low,) * 2))
        steps[peak + 1 : high, peak + 1 : high] = np.triu(np.ones((high - peak - 1,) * 2))
    return steps


def second_differences(n_bins: int) -> Float[np.ndarray, "row bin"]:
    """Return the matrix of second differences of a vector that is continued by zeros beyond both ends."""
    return np.diff(np.pad(np.eye(n_bins), ((2, 2), (0, 0))), n=2, axis=0)


def nonnegative_minimum(
    matrix: Float[np.ndarray, "bin bin"], right_sides: Float[np.ndarray, "*batch bin"]
) -> Float[np.ndarray, "*batch bin"]:
    """Return the minimum of $x^T A x / 2 - b^T x$ over x >= 0 for each vector b.

    Args:
        matrix: Positive definite matrix A.
        right_sides: Vectors b.
    """
    root, to_target, scale = _scaled_root(matrix)
    targets = to_target(np.reshape(right_sides, (-1, len(matrix))))
    scaled_root = root * scale
    minima = [_nonnegative_least_squares(scaled_root, target) * scale for target in targets]
    return np.array(minima).reshape(np.shape(right_sides))


def _scaled_root(matrix: Float[np.ndarray, "bin bin"]):
    """Return a root W of A = WᵀW, a function of vectors b that returns the vectors t with Wᵀt = b, and a scale.

    The scale of each element gives the matrix a unit diagonal.
    """
    scale = 1 / np.maximum(np.sqrt(np.diagonal(matrix)), 1e-300)
    scaled_matrix = matrix * scale[:, None] * scale
    jitter = RELATIVE_JITTER * np.eye(len(matrix))
    try:
        scaled_root = np.linalg.cholesky(scaled_matrix + jitter).T
    except np.linalg.LinAlgError:
        scaled_root = np.linalg.cholesky(scaled_matrix + 1e3 * jitter).T

    def to_target(vectors: np.ndarray) -> np.ndarray:
        return scipy.linalg.solve_triangular(scaled_root, (vectors * scale).T, trans="T").T

    return scaled_root / scale, to_target, scale


def _nonnegative_least_squares(root: Float[np.ndarray, "bin bin"], target: Float[np.ndarray, " bin"]) -> np.ndarray:
    """Return the vector x >= 0 that minimises |root x - target|."""
    try:
        return scipy.optimize.nnls(root, target)[0]
    except RuntimeError:  # The active-set method can cycle if rounding errors decide.
        return scipy.optimize.lsq_linear(root, target, bounds=(0, np.inf)).x  # type: ignore[operator]


def log_support_prior(n_bins: int, n_intervals: int) -> float:
    """Return the logarithm of the prior probability of the bins with amplitudes above zero.

    These bins form intervals. All numbers of intervals have the same probability, and so have all positions of their
    ends.
    """
    n_ends = 2 * n_intervals
    log_choices = math.lgamma(n_bins + 2) - math.lgamma(n_ends + 1) - math.lgamma(n_bins + 2 - n_ends)
    return -log_choices - math.log((n_bins + 1) / 2)


def _smoothness(n_bins: int) -> Float[np.ndarray, "bin bin"]:
    """Return DᵀD for the matrix D of second differences."""
    differences = second_differences(n_bins)
    return differences.T @ differences


def _cubic_spline(x):
    """Return the cubic B-spline at a distance x from its centre, in steps. Its integral is 1."""
    x = np.abs(x)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.maximum(2 - x, 0.0) ** 3 / 6)


@functools.cache
def _curve_table(body: str, bin_step: float) -> tuple[Float[np.ndarray, " x"], int]:
    """Return the mean of e³ᵛ P(x eᵛ) over a bin at evenly spaced ln x, and the first ln x in steps.

    The variable v is the distance from the centre of the bin in ln R. At large x the table follows Porod's law without
    oscillations, because the mean over a bin cancels them.
    """
    step = bin_step / CURVE_STEPS_PER_BIN
    fine_step, reach = step / FINE_STEPS_PER_CURVE_STEP, 2 * CURVE_STEPS_PER_BIN * FINE_STEPS_PER_CURVE_STEP
    start, end = (round(math.log(x) / step) for x in (MIN_TABLE_X, MAX_WAVE_X))
    log_x = fine_step * np.arange(
        FINE_STEPS_PER_CURVE_STEP * start - reach, FINE_STEPS_PER_CURVE_STEP * end + reach + 1
    )
    v = fine_step * np.arange(-reach, reach + 1)
    weight = fine_step / bin_step * _cubic_spline(v / bin_step) * np.exp(3 * v)
    table = form_factors.named_table(body.replace("-", " "))
    means = np.correlate(np.asarray(_form_factor(table, jnp.asarray(np.exp(log_x))), float), weight, "valid")
    means = means[::FINE_STEPS_PER_CURVE_STEP]
    tail = means[-1] * np.exp(-4 * step * np.arange(1, round(TABLE_REACH / step)))
    return np.concatenate([means, tail]), start


_form_factor = jax.jit(form_factors.form_factor)


def _log_evidence(amplitudes, chi2: float, strength: float, gram_matrix, smoothness) -> tuple[float, float]:
    """Return the logarithm of the evidence for one strength of the smoothness, and the number of determined parameters.

    The number is the effective number of parameters that the data determine. The prior of the smoothness holds for the
    amplitudes above zero, and `log_support_prior` is the prior of the bins that have them.
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
    n_intervals = int(np.count_nonzero(np.diff(np.concatenate([[False], is_free]).astype(int)) > 0))
    log_prior = log_support_prior(len(amplitudes), n_intervals)
    return (
        -0.5 * (chi2 + strength * amplitudes @ smoothness @ amplitudes) + 0.5 * occam_factor + log_prior,
        n_determined,
    )
