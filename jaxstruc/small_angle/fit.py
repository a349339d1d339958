"""Fits of size distributions to I(Q), for all bodies, distributions and patterns in batches.

A pattern is one measured I(Q). A body is a shape of particle, e.g. a sphere or a cube. The module `design_matrix`
computes a matrix of the curves of a body at many sizes, divided by the noise and with the background projected out. A
population is a size distribution with one maximum. The product of the matrix with the volume fractions of a population
is the curve of the population.

Fits of three populations, and of two that lie far apart, start from the maxima of the free distribution
(`free_distribution`) and cover all sizes that the range of Q determines.

The Levenberg-Marquardt algorithm fits ln mean radius and ln relative width of each population inside bounds. The
amplitudes are linear parameters and are eliminated by variable projection (G. H. Golub, V. Pereyra, SIAM J. Numer.
Anal. 10, 413 (1973), doi 10.1137/0710036), with the approximate derivatives of L. Kaufman, BIT 15, 49 (1975), doi
10.1007/BF01932995.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.blas import with_one_blas_thread
from jaxstruc.small_angle import design_matrix, form_factors, free_distribution
from jaxstruc.small_angle.data import SaxsData, WhitenedData
from jaxstruc.small_angle.design_matrix import DesignMatrix, RadiusWindow, StartGrid, nonnegative_pair
from jaxstruc.small_angle.form_factors import FormFactorTable
from jaxstruc.small_angle.free_distribution import FreeDistribution, FreeProblem, SizeBins
from jaxstruc.small_angle.size_distributions import DISTRIBUTION_SHAPES, MIN_WIDTH
from jaxstruc.statistics import rounding_of_squares

MAX_STEPS = 20
"""Largest number of Levenberg-Marquardt steps."""
INITIAL_DAMPING = 1e-2
"""Damping of the first step, relative to the diagonal of the normal matrix."""
CHI2_TOLERANCE = 1e-6
"""Decrease of chi-squared, relative to 1 + chi-squared, below which a fit has converged."""
MAX_STEP_LENGTH = 0.5
"""Largest change of ln mean or ln width in one step."""
BOUND_MARGIN = 0.02
"""Distance from a bound, in ln mean or ln width, below which a value counts as being at the bound."""
MIN_SQUARED_NORM = 1e-30
BATCH_SIZE = 16
"""Number of pairs of a pattern and a body that are fitted in one batch."""
N_STARTS, N_PAIR_STARTS = 2, 3
"""Number of starting points of a fit with one population, and of a fit with two populations."""
N_PAIR_BODIES = 3
"""Number of bodies with which two populations are fitted. They are the bodies that fit best with one population."""
MIXTURES = {"two": ("gaussian", 2), "three": ("lognormal", 3)}
"""Shape of the distribution of each population, and number of populations, by name of the distribution."""
N_MIXTURE_NODES, MIXTURE_MARGIN = 640, 0.5
"""Number of nodes of ln R in fits that cover all sizes, and margin in ln R beyond both ends of the bins."""
MIXTURE_BATCH_SIZE, MAX_MIXTURE_STEPS = 4, 60
"""Number of pairs of a pattern and a body in a batch of these fits, and largest number of steps."""
MIN_CHI2_GAIN = 20.0
"""Decrease of chi-squared that further populations must be able to give, in units of the variance of the residual.

The lowest chi-squared of the free distribution is the limit of what they can give. Fits that gain less are left out,
because their evidence would be lower than that of a simpler fit.
"""
_FORM_FACTOR_TABLES: dict[tuple[str, ...], FormFactorTable] = {}
_start_window = jax.jit(design_matrix.start_window)


class SizeFit(NamedTuple):
    """Fits of size distributions with one or several populations."""

    log_parameters: Float[Array, "*batch fit population 2"]
    """ln mean (R in Å) and ln relative width of each population."""
    amplitude: Float[Array, "*batch fit population"]
    """Amplitude of the curve of each population. It is proportional to the total volume of the population."""
    chi2: Float[Array, "*batch fit"]
    """Chi-squared: sum of the squares of the residuals divided by the noise."""
    normal_matrix: Float[Array, "*batch fit parameter parameter"]
    """Normal matrix of the parameters: ln mean and ln width of each population, then ln amplitude of each."""
    at_bound: Bool[Array, "*batch fit population 2"]
    """Whether ln mean and ln width are at a bound."""
    converged: Bool[Array, "*batch fit"]


class _SizeFitPoint(NamedTuple):
    """Parameters of several fits, with chi-squared and its derivatives."""

    log_parameters: Float[Array, "fit population 2"]
    amplitude: Float[Array, "fit population"]
    chi2: Float[Array, " fit"]
    slope: Float[Array, "fit inner"]
    """Half the gradient of chi-squared in ln means and ln widths."""
    normal_matrix: Float[Array, "fit inner inner"]
    full_normal_matrix: Float[Array, "fit parameter parameter"]


class _SizeFitDescent(NamedTuple):
    """State of several fits after a number of Levenberg-Marquardt steps."""

    point: _SizeFitPoint
    trial_parameters: Float[Array, "fit population 2"]
    predicted_decrease: Float[Array, " fit"]
    """Decrease of chi-squared that the linear model predicts at the trial parameters."""
    damping: Float[Array, " fit"]
    steps: Int[Array, ""]
    converged: Bool[Array, " fit"]


class BodyFit(NamedTuple):
    """Fit of one body with one size distribution."""

    body: str
    distribution: str
    log_parameters: Float[np.ndarray, "population 2"]
    """ln mean (R_eq in Å) and ln relative width of each population."""
    amplitude: Float[np.ndarray, " population"]
    chi2: float
    normal_matrix: Float[np.ndarray, "parameter parameter"]
    """Normal matrix of the parameters: ln mean and ln width of each population, then ln amplitude of each."""
    at_bound: np.ndarray
    """Whether ln mean and ln width are at a bound, [population, 2]."""
    converged: bool
    shape_value: float | None = None
    """Value of the body's shape parameter (`shape_parameters`), or None for a body with one length."""
    shape_limits: tuple[float, float] = (0.0, 0.0)
    """Lowest and highest value of the shape parameter that this value represents."""
    shape_prior: float = 1.0
    """Prior probability of these values."""
    contrast_ratio: float = 1.0
    """Contrast of the shell of a core-shell sphere divided by that of the core."""

    @property
    def distribution_shape(self) -> str:
        """Name of the size distribution of each population, e.g. "gaussian" for the distribution "two"."""
        return MIXTURES[self.distribution][0] if self.distribution in MIXTURES else self.distribution

    @property
    def n_parameters(self) -> int:
        """Number of fitted parameters, including the amplitudes."""
        n_size_parameters = len(self.amplitude) * (DISTRIBUTION_SHAPES[self.distribution_shape].n_parameters + 1)
        return n_size_parameters + (self.shape_value is not None)


class SaxsFits(NamedTuple):
    """All fits to one measured I(Q)."""

    body_fits: tuple[BodyFit, ...]
    window: RadiusWindow
    """Range of sizes around the size distribution of spheres that fits best."""
    bins: SizeBins
    """Bins of the free distribution."""
    free_problems: dict[str, FreeProblem]
    """Least-squares problem of the free distribution of each body, empty if no distribution needs them."""


def fit_distributions(
    design: DesignMatrix,
    data: Float[Array, " q"],
    start_parameters: Float[Array, "fit population 2"],
    names: tuple[str, ...],
    *,
    max_steps: int = MAX_STEPS,
) -> SizeFit:
    """Fit size distributions of one body to one measured I(Q).

    Args:
        design: Curves of the body at all sizes.
        data: Intensities divided by their noise, with the background projected out.
        start_parameters: ln mean and ln width at the start of each fit. The first fits have the first distribution of
            `names`, the next fits the second one, and so on. Each distribution has the same number of fits.
        names: Names of the distributions. All populations of a fit have the same distribution.
        max_steps: Largest number of Levenberg-Marquardt steps.
    """
    n_fits = start_parameters.shape[0]
    lower_bounds, upper_bounds = (
        jnp.repeat(bound, n_fits // len(names), axis=0)[:, None] for bound in bounds(design.log_radius, names)
    )

    def step(state: _SizeFitDescent) -> _SizeFitDescent:
        trial_point = _evaluate_point(design, data, state.trial_parameters, names=names)
        return _next_state(state, trial_point, data @ data, lower_bounds, upper_bounds)

    state = jax.lax.while_loop(
        lambda state: (state.steps < max_steps) & ~jnp.all(state.converged),
        step,
        _initial_state(jnp.clip(start_parameters, lower_bounds, upper_bounds)),
    )
    point = state.point
    is_low, is_high = (
        point.log_parameters < lower_bounds + BOUND_MARGIN,
        point.log_parameters > upper_bounds - BOUND_MARGIN,
    )
    is_valid = jnp.isfinite(point.chi2) & jnp.any(point.amplitude > 0, axis=1)
    return SizeFit(
        point.log_parameters,
        point.amplitude,
        point.chi2,
        point.full_normal_matrix,
        is_low | is_high,
        state.converged & is_valid,
    )


def bounds(
    log_radius: Float[Array, " node"], names: tuple[str, ...]
) -> tuple[Float[Array, "name 2"], Float[Array, "name 2"]]:
    """Return the lower and the upper bounds of ln mean and ln width of each distribution, for given nodes of ln R."""
    max_log_width = jnp.log(jnp.asarray([DISTRIBUTION_SHAPES[name].max_pd or 1e-3 for name in names], log_radius.dtype))
    min_log_width = jnp.minimum(jnp.log(MIN_WIDTH * (log_radius[1] - log_radius[0])), max_log_width)
    mean_bounds = (
        jnp.broadcast_to(log_radius[4], max_log_width.shape),
        jnp.broadcast_to(log_radius[-5], max_log_width.shape),
    )
    return jnp.stack([mean_bounds[0], min_log_width], 1), jnp.stack([mean_bounds[1], max_log_width], 1)


def best_of_starts(fits: SizeFit, n_starts: int) -> SizeFit:
    """Return the best fit of each group of `n_starts` neighbouring fits, which differ only in their starting points."""

    def group_starts(column):
        return column.reshape(column.shape[0] // n_starts, n_starts, *column.shape[1:])

    best_index = jnp.argmin(jnp.where(jnp.isfinite(fits.chi2), fits.chi2, jnp.inf).reshape(-1, n_starts), axis=1)
    return jax.tree.map(lambda column: group_starts(column)[jnp.arange(best_index.shape[0]), best_index], fits)


def population_columns(volume_shares, log_parameters, log_radius) -> Float[Array, "start population 3 node"]:
    """Return the volume fractions of each population, and their derivatives with respect to ln mean and ln width."""

    def value_and_slopes(parameters):
        def fractions(parameters):
            return volume_shares(jnp.exp(parameters[0]), jnp.exp(parameters[1]), log_radius)

        return jnp.concatenate([fractions(parameters)[None], jax.jacfwd(fractions)(parameters).T])

    return jax.vmap(jax.vmap(value_and_slopes))(log_parameters)


@with_one_blas_thread
def fit_all(patterns: Sequence[SaxsData], bodies: tuple[str, ...], distributions: tuple[str, ...]) -> list[SaxsFits]:
    """Fit all bodies with all distributions to each pattern.

    Args:
        patterns: Patterns with any number of points. Patterns whose arrays have equal shapes are fitted in one batch.
        bodies: Names of the bodies with one length. Without a body, only the ranges of sizes are returned.
        distributions: Names of the distributions. "free" is skipped here (`free_distribution` fits it).
    """
    fits_by_pattern: list[SaxsFits | None] = [None] * len(patterns)
    for batch in pattern_batches(patterns):
        batch_fits = _fit_batch([patterns[pattern_index] for pattern_index in batch], bodies, distributions)
        for index, fits in zip(batch, batch_fits, strict=True):
            fits_by_pattern[index] = fits
    return [entry for entry in fits_by_pattern if entry is not None]


def pattern_batches(patterns: Sequence[SaxsData]) -> Iterator[list[int]]:
    """Yield the indices of at most `BATCH_SIZE` patterns whose arrays have equal shapes."""
    indices_by_shape: dict[tuple, list[int]] = {}
    for index, entry in enumerate(patterns):
        whitened_data = entry.whitened_data
        shape = whitened_data.q.shape, whitened_data.background_basis.shape, whitened_data.dq is None
        indices_by_shape.setdefault(shape, []).append(index)
    for indices in indices_by_shape.values():
        for start in range(0, len(indices), BATCH_SIZE):
            yield indices[start : start + BATCH_SIZE]


def form_factor_tables(bodies: tuple[str, ...]) -> FormFactorTable:
    """Return the form factors of several bodies, stacked along the first axis, in single precision.

    The result is kept in memory for further calls.
    """
    if bodies not in _FORM_FACTOR_TABLES:
        stacked_tables = form_factors.stack_tables(tuple(body.replace("-", " ") for body in bodies))
        _FORM_FACTOR_TABLES[bodies] = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), stacked_tables)
    return _FORM_FACTOR_TABLES[bodies]


@jax.jit
def start_grid(sphere_table: FormFactorTable, q) -> StartGrid:
    """Return the trial curves of spheres. The arrays of the table have a first axis of length 1."""
    return design_matrix.start_grid(jax.tree.map(lambda leaf: leaf[0], sphere_table), q)


def _next_state(
    state: _SizeFitDescent, trial_point: _SizeFitPoint, data_squares, lower_bounds, upper_bounds
) -> _SizeFitDescent:
    """Return the state after a trial point: the better of the two points, and the next trial parameters."""
    decrease = state.point.chi2 - trial_point.chi2
    is_better = (decrease > 0) & ~state.converged
    point = jax.tree.map(
        lambda new_value, old_value: jnp.where(_expand_like(is_better, new_value), new_value, old_value),
        trial_point,
        state.point,
    )
    damping_factor = jnp.where(
        decrease > 0.5 * state.predicted_decrease, 0.1, jnp.where(decrease > 0.2 * state.predicted_decrease, 1.0, 5.0)
    )
    damping = state.damping * jnp.where(is_better, damping_factor, 5.0)
    step_vector, predicted_decrease = _damped_step(point, damping, lower_bounds, upper_bounds)
    tolerance = CHI2_TOLERANCE * (1 + point.chi2)
    rounding = rounding_of_squares(point.chi2, data_squares)
    converged = (
        state.converged | (is_better & (decrease < tolerance)) | (predicted_decrease < tolerance) | (damping > 1e6)
    )
    converged |= (jnp.abs(decrease) <= rounding) & (state.predicted_decrease <= 0.1 * rounding)
    trial_parameters = jnp.clip(point.log_parameters - step_vector, lower_bounds, upper_bounds)
    return _SizeFitDescent(point, trial_parameters, predicted_decrease, damping, state.steps + 1, converged)


def _evaluate_point(design: DesignMatrix, data, log_parameters, *, names: tuple[str, ...]) -> _SizeFitPoint:
    """Return the best amplitudes, chi-squared and the derivatives of chi-squared at given ln means and ln widths."""
    n_starts = log_parameters.shape[0] // len(names)
    distribution_parameters = [log_parameters[index * n_starts : (index + 1) * n_starts] for index in range(len(names))]
    volume_shares = jnp.concatenate(
        [
            population_columns(DISTRIBUTION_SHAPES[name].volume_shares, start, design.log_radius)
            for name, start in zip(names, distribution_parameters, strict=True)
        ]
    )
    population_curves = jnp.einsum("fpkn,qn->fpkq", volume_shares, design.whitened_curves)
    model, slopes = population_curves[:, :, 0], population_curves[:, :, 1:]
    amplitude, projected_slopes = _project_amplitudes(model, slopes, data)
    residual = data - jnp.einsum("fp,fpq->fq", amplitude, model)
    n_fits, n_populations = amplitude.shape
    jacobian = (amplitude[..., None, None] * projected_slopes).reshape(n_fits, 2 * n_populations, -1)
    full_jacobian = jnp.concatenate(
        [(amplitude[..., None, None] * slopes).reshape(jacobian.shape), amplitude[..., None] * model], axis=1
    )
    return _SizeFitPoint(
        log_parameters, amplitude, jnp.sum(residual**2, axis=1), -jnp.einsum("fkq,fq->fk", jacobian, residual),
        jnp.einsum("fjq,fkq->fjk", jacobian, jacobian), jnp.einsum("fjq,fkq->fjk", full_jacobian, full_jacobian),
    )  # fmt: skip


def _initial_state(start_parameters: Float[Array, "fit population 2"]) -> _SizeFitDescent:
    """Return the state before the first step. Its chi-squared is infinite."""
    n_fits, n_populations, _ = start_parameters.shape
    n_nonlinear, n_parameters = 2 * n_populations, 3 * n_populations
    point = _SizeFitPoint(
        start_parameters,
        jnp.zeros((n_fits, n_populations)),
        jnp.full(n_fits, jnp.inf),
        jnp.zeros((n_fits, n_nonlinear)),
        jnp.zeros((n_fits, n_nonlinear, n_nonlinear)),
        jnp.zeros((n_fits, n_parameters, n_parameters)),
    )
    zeros = jnp.zeros(n_fits)
    return _SizeFitDescent(point, start_parameters, zeros, jnp.full(n_fits, INITIAL_DAMPING), jnp.asarray(0), zeros > 0)


def _damped_step(point: _SizeFitPoint, damping, lower_bounds, upper_bounds):
    """Return the Levenberg-Marquardt step, and the decrease of chi-squared that it predicts."""
    slope = point.slope.reshape(point.log_parameters.shape)
    at_bound = (
        ((point.log_parameters <= lower_bounds) & (slope > 0)) | ((point.log_parameters >= upper_bounds) & (slope < 0))
    ).reshape(point.slope.shape)
    slope = jnp.where(at_bound, 0.0, point.slope)
    normal_matrix = jnp.where(at_bound[:, :, None] | at_bound[:, None, :], 0.0, point.normal_matrix)
    diagonal = jnp.diagonal(point.normal_matrix, axis1=1, axis2=2)
    diagonal = jnp.where(at_bound, 1.0, damping[:, None] * jnp.maximum(diagonal, 1e-6) + 1e-9)
    step_vector = _solve_cholesky(normal_matrix + diagonal[:, :, None] * jnp.eye(at_bound.shape[1]), slope)
    return jnp.clip(step_vector, -MAX_STEP_LENGTH, MAX_STEP_LENGTH).reshape(point.log_parameters.shape), jnp.sum(
        step_vector * slope, axis=1
    )


def _project_amplitudes(
    model, slopes, data
) -> tuple[Float[Array, "fit population"], Float[Array, "fit population 2 q"]]:
    """Return the best non-negative amplitudes, and the part of the derivatives that amplitudes cannot compensate."""
    squared_norms = jnp.maximum(jnp.sum(model**2, axis=-1), MIN_SQUARED_NORM)
    unit_curves = model / jnp.sqrt(squared_norms)[..., None]
    projections = unit_curves @ data
    n_populations = model.shape[1]
    if n_populations == 1:
        amplitude = jnp.maximum(projections, 0.0)
    elif n_populations == 2:
        amplitude = nonnegative_pair(projections, jnp.sum(unit_curves[:, 0] * unit_curves[:, 1], axis=-1))
    else:
        amplitude = _nonnegative_amplitudes(projections, jnp.einsum("fpq,frq->fpr", unit_curves, unit_curves))
    basis_curves: list = []
    for population in range(n_populations):
        curve = unit_curves[:, population]
        for basis_curve in basis_curves:
            curve = curve - jnp.sum(basis_curve * unit_curves[:, population], axis=-1)[:, None] * basis_curve
        norm = jnp.sqrt(jnp.maximum(jnp.sum(curve**2, axis=-1), 1e-12)) if basis_curves else 1.0
        basis_curves.append(curve / jnp.broadcast_to(norm, curve.shape[:1])[:, None])
    basis = jnp.stack(basis_curves, axis=1)
    slope_projections = jnp.einsum("fpkq,fbq->fpkb", slopes, basis)
    return amplitude / jnp.sqrt(squared_norms), slopes - jnp.einsum("fpkb,fbq->fpkq", slope_projections, basis)


def _nonnegative_amplitudes(
    projections: Float[Array, "fit population"], cosines: Float[Array, "fit population population"]
) -> Float[Array, "fit population"]:
    """Return the non-negative amplitudes of several curves of unit norm whose sum fits the data best.

    All sets of curves with positive amplitudes are tried.

    Args:
        projections: Scalar products of the data with each curve.
        cosines: Scalar products of the curves.
    """
    n_populations = projections.shape[1]
    best_amplitudes, highest_explained = jnp.zeros_like(projections), jnp.zeros_like(projections[:, 0])
    for subset in range(1, 2**n_populations):
        is_present = np.array([(subset >> population) & 1 for population in range(n_populations)], np.float32)
        matrix = cosines * is_present[:, None] * is_present + np.diag(1 - is_present + 1e-6).astype(np.float32)
        amplitudes = _solve_cholesky(matrix, projections * is_present)
        explained = jnp.where(jnp.all(amplitudes >= 0, axis=1), jnp.sum(amplitudes * projections, axis=1), -1.0)
        is_better = explained > highest_explained
        best_amplitudes = jnp.where(is_better[:, None], amplitudes * is_present, best_amplitudes)
        highest_explained = jnp.where(is_better, explained, highest_explained)
    return best_amplitudes


def _expand_like(flag, array):
    return flag.reshape(flag.shape + (1,) * (array.ndim - flag.ndim))


def _solve_cholesky(matrix, right_side):
    """Return the solutions of many small linear systems.

    The Cholesky decomposition is written out, because a library call for each system would be slower.
    """
    size = right_side.shape[1]
    factor = [[None] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            remainder = matrix[:, row, column] - sum(
                (factor[row][index] * factor[column][index] for index in range(column)),
                start=jnp.zeros_like(right_side[:, 0]),
            )
            factor[row][column] = (
                jnp.sqrt(jnp.maximum(remainder, MIN_SQUARED_NORM))
                if row == column
                else remainder / factor[column][column]
            )
    forward_solution: list = []
    for row in range(size):
        partial_sum = sum(
            (factor[row][index] * forward_solution[index] for index in range(row)),
            start=jnp.zeros_like(right_side[:, 0]),
        )
        forward_solution.append((right_side[:, row] - partial_sum) / factor[row][row])
    solution: list = [None] * size
    for row in reversed(range(size)):
        partial_sum = sum(
            (factor[index][row] * solution[index] for index in range(row + 1, size)),
            start=jnp.zeros_like(right_side[:, 0]),
        )
        solution[row] = (forward_solution[row] - partial_sum) / factor[row][row]
    return jnp.stack(solution, axis=1)


def _fit_batch(patterns: list[SaxsData], bodies: tuple[str, ...], distributions: tuple[str, ...]) -> list[SaxsFits]:
    """Return all fits to at most `BATCH_SIZE` patterns whose arrays have equal shapes."""
    windows = _start_windows(patterns)
    if not bodies:
        return [
            SaxsFits((), window, free_distribution.size_bins(entry.q[0], entry.q[-1]), {})
            for entry, window in zip(patterns, windows, strict=True)
        ]
    single_distributions = tuple(name for name in distributions if name in DISTRIBUTION_SHAPES)
    if not single_distributions and not set(distributions) & set(MIXTURES):
        single_distributions = ("gaussian",)  # This fit gives the range of sizes that are reported.
    whitened_data, body_tables = [saxs_data.whitened_data for saxs_data in patterns], form_factor_tables(bodies)
    body_fits: list[list[BodyFit]] = [[] for _ in patterns]
    pattern_bodies = [(pattern_index, body) for pattern_index in range(len(patterns)) for body in range(len(bodies))]
    if single_distributions:
        for (pattern_index, body), size_fits in _fit_in_batches(
            pattern_bodies,
            whitened_data,
            windows,
            body_tables,
            partial(fit_single_populations, names=single_distributions),
        ):
            body_fits[pattern_index] += [
                select_body_fit(size_fits, row, bodies[body], name, patterns[pattern_index].discarded_chi2)
                for row, name in enumerate(single_distributions)
            ]
    if "two" in distributions:
        pattern_bodies = [
            (pattern_index, body)
            for pattern_index, single_fits in enumerate(body_fits)
            for body in _promising_bodies(single_fits, bodies)
        ]
        for (pattern_index, body), size_fits in _fit_in_batches(
            pattern_bodies, whitened_data, windows, body_tables, _fit_pair_populations
        ):
            body_fits[pattern_index].append(
                select_body_fit(size_fits, 0, bodies[body], "two", patterns[pattern_index].discarded_chi2)
            )
    all_fits = [
        SaxsFits(tuple(pattern_fits), window, *_free_problems(saxs_data, pattern_fits, bodies, distributions))
        for saxs_data, pattern_fits, window in zip(patterns, body_fits, windows, strict=True)
    ]
    for name in MIXTURES:
        if name in distributions:
            all_fits = _with_mixtures(name, all_fits, patterns, bodies)
    return all_fits


def _free_problems(
    saxs_data: SaxsData, body_fits: list[BodyFit], bodies: tuple[str, ...], distributions: tuple[str, ...]
) -> tuple[SizeBins, dict[str, FreeProblem]]:
    """Return the bins of the free distribution, and its least-squares problem for each body that needs it."""
    bins = free_distribution.size_bins(saxs_data.q[0], saxs_data.q[-1])
    selected_bodies: tuple[str, ...] = ()
    if {"free", "three"} & set(distributions):
        selected_bodies = bodies
    elif "two" in distributions:
        selected_bodies = tuple(dict.fromkeys(entry.body for entry in body_fits if entry.distribution == "two"))
    if not selected_bodies:
        return bins, {}
    whitened_data = jax.tree.map(lambda leaf: np.asarray(leaf, float), saxs_data.whitened_data)
    if whitened_data.projection is None:  # The padding is left out.
        n_points = saxs_data.n_points
        whitened_data = whitened_data._replace(
            **{
                name: None if value is None else value[:n_points]
                for name, value in whitened_data._asdict().items()
            }
        )  # fmt: skip
    interpolation = free_distribution.curve_interpolation(bins, whitened_data.q, whitened_data.dq)
    return bins, {
        body: free_distribution.free_problem(
            whitened_data.whiten(free_distribution.bin_curves(body, bins, interpolation)), whitened_data.data
        )
        for body in selected_bodies
    }


def _with_mixtures(
    name: str, all_fits: list[SaxsFits], patterns: list[SaxsData], bodies: tuple[str, ...]
) -> list[SaxsFits]:
    """Return the fits of a batch, including those of several populations of any sizes.

    They are fitted to the bodies for which they can explain the data better than all other fits do.
    """
    shape, n_populations = MIXTURES[name]
    cases = [
        (index, bodies.index(body), starts)
        for index, (fits, saxs_data) in enumerate(zip(all_fits, patterns, strict=True))
        for body, starts in _mixture_starts(name, fits, saxs_data)
    ]
    body_tables = form_factor_tables(bodies)
    for first in range(0, len(cases), MIXTURE_BATCH_SIZE):
        batch = cases[first : first + MIXTURE_BATCH_SIZE]
        padded_batch = batch + [batch[-1]] * (MIXTURE_BATCH_SIZE - len(batch))
        data, windows, starts = (
            jax.tree.map(lambda *leaves: np.stack(leaves), *columns)
            for columns in (
                [patterns[index].whitened_data for index, _, _ in padded_batch],
                [_mixture_window(all_fits[index].bins) for index, _, _ in padded_batch],
                [starts for _, _, starts in padded_batch],
            )
        )
        body_indices = np.array([body for _, body, _ in padded_batch])
        size_fits = jax.tree.map(
            np.asarray, _fit_mixture_populations(body_tables, body_indices, data, windows, starts, shape=shape)
        )
        for row, (index, body, _) in enumerate(batch):
            mixture_fit = select_body_fit(
                _order_populations(jax.tree.map(lambda leaf, row=row: leaf[row], size_fits), n_populations),
                0, bodies[body], name, patterns[index].discarded_chi2,
            )  # fmt: skip
            all_fits[index] = _with_best_fit(all_fits[index], mixture_fit)
    return all_fits


def _with_best_fit(fits: SaxsFits, body_fit: BodyFit) -> SaxsFits:
    """Return the fits with a further fit, or with the better one of two fits of the same body and distribution."""
    case = body_fit.body, body_fit.distribution
    for index, entry in enumerate(fits.body_fits):
        if (entry.body, entry.distribution) == case:
            best = body_fit if body_fit.chi2 < entry.chi2 else entry
            return fits._replace(body_fits=(*fits.body_fits[:index], best, *fits.body_fits[index + 1 :]))
    return fits._replace(body_fits=(*fits.body_fits, body_fit))


def _mixture_window(bins: SizeBins) -> RadiusWindow:
    """Return the window of all sizes that the range of Q determines."""
    length = bins.step * (bins.n_bins - 1) + 2 * MIXTURE_MARGIN
    values = bins.centers.mean(), length / (N_MIXTURE_NODES - 1), 0.1
    return RadiusWindow(*(jnp.asarray(value, jnp.float32) for value in values))


def _mixture_starts(name: str, fits: SaxsFits, saxs_data: SaxsData) -> list[tuple[str, np.ndarray]]:
    """Return the bodies to which several populations are fitted, with their starting points [start, population, 2]."""
    n_populations = MIXTURES[name][1]
    starts = []
    for body, problem in sorted(fits.free_problems.items(), key=lambda item: item[1].lowest_chi2)[:N_PAIR_BODIES]:
        lowest = min((entry.chi2 for entry in fits.body_fits if np.isfinite(entry.chi2)), default=np.inf)
        limit = problem.lowest_chi2 + saxs_data.discarded_chi2
        variance = limit / max(saxs_data.n_points - problem.n_positive - len(saxs_data.background_powers), 1)
        variance = variance if saxs_data.noise_is_inferred else max(variance, 1.0)
        if lowest - limit > MIN_CHI2_GAIN * variance:
            free_fit = free_distribution.fit_free_distribution(problem, chi2_factor=1 / variance)
            starts.append((body, start_populations(free_fit, problem, fits.bins, n_populations)))
    return starts


def start_populations(
    free_fit: FreeDistribution, problem: FreeProblem, bins: SizeBins, n_populations: int
) -> Float[np.ndarray, "start population 2"]:
    """Return starting points of several populations from the maxima of the free distribution.

    The first start has the populations that scatter most, and the second start those with the largest volume. If there
    are fewer maxima than populations, the widest ones are divided.

    Args:
        free_fit: Fit of the free distribution.
        problem: Least-squares problem of this fit.
        bins: Bins of the free distribution.
        n_populations: Number of populations.
    """
    amplitudes = free_fit.amplitudes

    def norm(region: np.ndarray) -> float:
        return float(np.sqrt(amplitudes[region] @ problem.gram_matrix[np.ix_(region, region)] @ amplitudes[region]))

    def mean_and_variance(region: np.ndarray) -> tuple[float, float]:
        weight = amplitudes[region] / amplitudes[region].sum()
        mean = float(weight @ bins.centers[region])
        return mean, float(weight @ (bins.centers[region] - mean) ** 2) + bins.step**2 / 3

    regions = free_distribution.population_regions(amplitudes)
    while len(regions) < n_populations:
        widest = max(regions, key=lambda region: norm(region) * mean_and_variance(region)[1])
        is_low = bins.centers[widest] <= mean_and_variance(widest)[0]
        parts = [part for part in (widest[is_low], widest[~is_low]) if amplitudes[part].sum() > 0]
        regions = [region for region in regions if region is not widest]
        regions += parts if len(parts) == 2 else [widest, widest]
    starts = []
    for quantity in (norm, lambda region: float(amplitudes[region].sum())):
        selected = sorted(
            sorted(regions, key=quantity)[-n_populations:], key=lambda region: mean_and_variance(region)[0]
        )
        means, variances = np.array([mean_and_variance(region) for region in selected]).T
        # The number-weighted mean of a lognormal distribution lies below the volume-weighted mean of ln R.
        starts.append(np.stack([means - 2.5 * variances, 0.5 * np.log(variances)], axis=1))
    return np.array(starts, np.float32)


def _order_populations(size_fit: SizeFit, n_populations: int) -> SizeFit:
    """Return a fit [fit] whose populations are in the order of their mean sizes."""
    order = np.argsort(size_fit.log_parameters[0, :, 0], kind="stable")
    rows = np.concatenate([(2 * order[:, None] + np.arange(2)).ravel(), 2 * n_populations + order])
    return size_fit._replace(
        log_parameters=size_fit.log_parameters[:, order],
        amplitude=size_fit.amplitude[:, order],
        normal_matrix=size_fit.normal_matrix[:, rows][:, :, rows],
        at_bound=size_fit.at_bound[:, order],
    )


def _promising_bodies(body_fits: list[BodyFit], bodies: tuple[str, ...]) -> list[int]:
    """Return the indices of the bodies that fit best with one population."""
    if not body_fits:
        return list(range(len(bodies)))
    lowest_chi2 = [min(body_fit.chi2 for body_fit in body_fits if body_fit.body == body) for body in bodies]
    return [int(index) for index in np.argsort(lowest_chi2, kind="stable")[:N_PAIR_BODIES]]


def _start_windows(patterns: list[SaxsData]) -> list[RadiusWindow]:
    """Return the window of sizes for each pattern. The trial curves are computed once for all patterns with equal Q."""
    grids: dict[bytes, StartGrid] = {}
    windows = []
    sphere_table = form_factor_tables(("sphere",))
    for entry in patterns:
        q_bytes = np.asarray(entry.start_data.q).tobytes()
        if q_bytes not in grids:
            grids[q_bytes] = start_grid(sphere_table, entry.start_data.q)
        windows.append(_start_window(grids[q_bytes], entry.start_data))
    return [jax.tree.map(np.asarray, entry) for entry in windows]


def _fit_in_batches(
    pattern_bodies,
    whitened_data: list[WhitenedData],
    windows: list[RadiusWindow],
    body_tables: FormFactorTable,
    fit_function,
):
    """Yield each pair of a pattern and a body with its fits, computed in batches of `BATCH_SIZE`."""
    for start in range(0, len(pattern_bodies), BATCH_SIZE):
        batch = pattern_bodies[start : start + BATCH_SIZE]
        padded_batch = batch + [batch[-1]] * (BATCH_SIZE - len(batch))
        data, window = (
            jax.tree.map(
                lambda *leaves: np.stack(leaves), *[columns[pattern_index] for pattern_index, _ in padded_batch]
            )
            for columns in (whitened_data, windows)
        )
        size_fits = jax.tree.map(
            np.asarray, fit_function(body_tables, np.array([body for _, body in padded_batch]), data, window)
        )
        for row, pattern_body in enumerate(batch):
            yield pattern_body, jax.tree.map(lambda leaf, row=row: leaf[row], size_fits)


def select_body_fit(size_fits: SizeFit, row: int, body: str, distribution: str, discarded_chi2: float) -> BodyFit:
    """Return one of several fits [fit] of a body, with its names and in double precision."""
    size_fit = jax.tree.map(lambda leaf: np.asarray(leaf[row], bool if leaf.dtype == bool else float), size_fits)
    return BodyFit(
        body,
        distribution,
        size_fit.log_parameters,
        size_fit.amplitude,
        float(size_fit.chi2) + discarded_chi2,
        size_fit.normal_matrix,
        size_fit.at_bound,
        bool(size_fit.converged),
    )


def _design_matrix(body_tables: FormFactorTable, body, data: WhitenedData, window: RadiusWindow) -> DesignMatrix:
    return design_matrix.design_matrix(jax.tree.map(lambda leaf: leaf[body], body_tables), data, window)


@partial(jax.jit, static_argnames="names")
def fit_single_populations(
    body_tables: FormFactorTable, bodies, data: WhitenedData, windows: RadiusWindow, *, names: tuple[str, ...]
) -> SizeFit:
    """Return the fits of all distributions with one population, each from the best of several starting points."""

    def fit_body(body, data, window):
        design = _design_matrix(body_tables, body, data, window)
        start_parameters = jnp.tile(
            design_matrix.start_parameters(design, data, window, N_STARTS)[:, None], (len(names), 1, 1)
        )
        return best_of_starts(fit_distributions(design, data.data, start_parameters, names), N_STARTS)

    return jax.vmap(fit_body)(bodies, data, windows)


@jax.jit
def _fit_pair_populations(body_tables: FormFactorTable, bodies, data: WhitenedData, windows: RadiusWindow) -> SizeFit:
    """Return the fits of two Gaussian populations, each from the best of several starting points."""

    def fit_body(body, data, window):
        window = window._replace(step=jnp.full_like(window.step, design_matrix.PAIR_NODE_STEP))
        design = _design_matrix(body_tables, body, data, window)
        start_parameters = design_matrix.start_pairs(design, data, window, N_PAIR_STARTS)
        return best_of_starts(fit_distributions(design, data.data, start_parameters, ("gaussian",)), N_PAIR_STARTS)

    return jax.vmap(fit_body)(bodies, data, windows)


@partial(jax.jit, static_argnames="shape")
def _fit_mixture_populations(
    body_tables: FormFactorTable, bodies, data: WhitenedData, windows: RadiusWindow, starts, *, shape: str
) -> SizeFit:
    """Return the fits of several populations of any sizes, each from the best of its starting points."""

    def fit_body(body, data, window, start_parameters):
        table = jax.tree.map(lambda leaf: leaf[body], body_tables)
        design = design_matrix.design_matrix(table, data, window, n_nodes=N_MIXTURE_NODES)
        fits = fit_distributions(design, data.data, start_parameters, (shape,), max_steps=MAX_MIXTURE_STEPS)
        return best_of_starts(fits, start_parameters.shape[0])

    return jax.vmap(fit_body)(bodies, data, windows, starts)
