r"""Fit of a distribution of particles to a measured G(r): the fractions of atoms in classes of clusters.

A class contains clusters of one packing (e.g. bcc) and of similar size. The G(r) of an ensemble is the sum over classes
$G = \sum_k \varphi_k G_k$. Here $G_k$ is the G(r) of class k and $\varphi_k \ge 0$ is the fraction of atoms in it.
`ensemble_model` computes the fractions from the parameters of a size distribution for each packing. The shared
parameters, e.g. Uiso and the relaxation, have the same value for all classes.

The parameters have Gaussian priors, and the fit maximizes their posterior. The curves $G_k$ are linearized in the
shared parameters. The Levenberg-Marquardt algorithm then fits all parameters with the linearized curves. Linearization
and fit are repeated a few times. The covariance at the maximum gives the intervals (Laplace approximation).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.parameters import PARAMETERS
from jaxstruc.pdf import fit
from jaxstruc.pdf.ensemble_model import EnsembleModel, EnsembleParameters, atom_fractions, class_curves, size_fractions
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.target import FitBasis
from jaxstruc.statistics import rounding_of_squares, squares_floor

WIDTH_PRIOR = (0.2, 0.7)
"""Median of the lognormal prior on the width of a size distribution, and standard deviation of the logarithm of the
width. The width is the standard deviation of ln(size)."""
PACKING_PRIOR = (0.3, 0.4)
"""Prior standard deviations of the logarithms of a packing's mean size and of its width. The priors are centred at the
common mean size and width of all packings."""
SIZE_PRIOR = 1.0
"""Prior standard deviation of the logarithm of the common mean size about its first guess."""
N_LINEARIZATIONS, N_LINEARIZATIONS_FREE, MAX_STEPS = 4, 2, 14
"""Number of linearizations in the fit of a lognormal ensemble; number of linearizations in the fit of a free ensemble,
which starts from the lognormal fit; largest number of Levenberg-Marquardt steps after each linearization."""
COST_TOLERANCE = 0.02
"""Smallest decrease of the cost in one step. A descent ends if a step decreases the cost by less. The cost is
-2 ln(posterior)."""
START_MEAN_FACTORS = (0.6, 0.75, 0.9, 1.0, 1.15, 1.4, 1.8)
"""Mean sizes from which the start of a fit is chosen, relative to the first guess."""
START_WIDTHS = (0.08, 0.2, 0.4)
"""Standard deviations of ln(size) from which the start of a fit is chosen."""
MIN_LOG_WIDTH, MAX_LOG_WIDTH = math.log(0.04), math.log(1.0)
"""Bounds on the logarithm of the width of a size distribution."""
MAX_DISTRIBUTION_STEP = 0.7
"""Largest change of a parameter of the size distributions in one step."""
MAX_SHARED_STEP = 0.12
"""Largest change of a shared parameter in one step, as a fraction of the range between its bounds."""
N_POSTERIOR_DRAWS = 800
"""Number of draws from the posterior."""
MIN_ATOM_FRACTION = 0.03
"""Smallest fraction of atoms in a packing at which its size distribution varies between draws from the posterior."""


class EnsembleFit(NamedTuple):
    """Ensemble with the largest posterior for one strength of the departures from a lognormal."""

    parameters: EnsembleParameters
    values: FitValues
    """Values that all classes share. The scale is the sum of `atom_fractions`."""
    atom_fractions: Float[Array, " class"]
    """Fraction of atoms in each class, times the scale."""
    squares: Float[Array, ""]
    """Sum of the squared residuals."""
    rw: Float[Array, ""]
    precision: Float[Array, "parameter parameter"]
    """Inverse of the covariance of the parameters, which are flattened to one vector."""


def start_parameters(
    model: EnsembleModel, basis: FitBasis, values: FitValues, names: tuple[str, ...], mean_size: float
) -> EnsembleParameters:
    """Return the parameters from which a fit starts.

    The mean size and the width are the best of a few trial values. The fractions of the packings follow from least
    squares.

    Args:
        model: Model of the ensemble.
        basis: Measured data in their compact basis (`pdf.target`).
        values: Fitted values of a single cluster.
        names: Names of the shared parameters.
        mean_size: First guess of the mean size, in Å.
    """
    return _start_parameters(model, basis, values, jnp.asarray(mean_size, jnp.float32), names=names)


@partial(jax.jit, static_argnames="names")
def _start_parameters(
    model: EnsembleModel, basis: FitBasis, values: FitValues, mean_size, *, names
) -> EnsembleParameters:
    # All particles of the sample share the stretch of large particles. The fitted cluster is contracted.
    nearest = jnp.argmin(jnp.abs(jnp.log(model.size / mean_size)) + 10.0 * (model.expansion == 0))
    values = values._replace(stretch=values.stretch / (1 + values.relaxation * model.expansion[nearest]))
    shared_values = jnp.stack([jnp.asarray(getattr(values, name), jnp.float32) for name in names])
    normalized_values = jnp.clip(fit.values_to_fractions(shared_values, names, basis), 0.02, 0.98)
    n_modes = int(model.smooth_modes.shape[1])
    n_packings = model.n_packings
    curves_by_class = class_curves(model, normalized_values, names, basis)
    lower_bound, upper_bound = jnp.min(model.size), jnp.max(model.size)

    def evaluate_start(mean, width):
        parameters = EnsembleParameters(
            jnp.ones(n_packings),
            jnp.full(n_packings, jnp.log(mean)),
            jnp.full(n_packings, jnp.log(width)),
            jnp.zeros((n_packings, n_modes)),
            jnp.stack([jnp.log(mean), jnp.log(width)]),
            normalized_values,
        )
        fractions = atom_fractions(parameters, model, 0.0)
        packing_curves = jax.ops.segment_sum(fractions[:, None] * curves_by_class, model.packing, n_packings)
        amounts, misfit = _nonnegative_amounts(packing_curves, basis.data)
        return misfit, parameters._replace(sqrt_fraction=jnp.sqrt(amounts))

    means = jnp.clip(mean_size * jnp.asarray(START_MEAN_FACTORS), 1.1 * lower_bound, 0.9 * upper_bound)
    misfits, guesses = jax.vmap(
        lambda trial_mean: jax.vmap(lambda trial_width: evaluate_start(trial_mean, trial_width))(
            jnp.asarray(START_WIDTHS)
        )
    )(means)
    best = jnp.argmin(misfits.ravel())
    return jax.tree.map(lambda column: column.reshape(-1, *column.shape[2:])[best], guesses)


def _nonnegative_amounts(
    packing_curves: Float[Array, "packing basis"], data
) -> tuple[Float[Array, " packing"], Float[Array, ""]]:
    """Return the amount of each packing from approximate non-negative least squares, and the squared residual.

    Each amount is at least 1 % of the sum of all amounts.
    """
    normal_matrix, slope = packing_curves @ packing_curves.T, packing_curves @ data
    diagonal = jnp.maximum(jnp.diagonal(normal_matrix), 1e-12)

    def step(amounts, _):  # coordinate descent
        for index in range(len(slope)):
            partial_slope = slope[index] - normal_matrix[index] @ amounts + diagonal[index] * amounts[index]
            amounts = amounts.at[index].set(jnp.maximum(partial_slope / diagonal[index], 0.0))
        return amounts, None

    amounts, _ = jax.lax.scan(step, jnp.zeros_like(slope), None, length=30)
    amounts = jnp.maximum(amounts, 0.01 * jnp.sum(amounts) + 1e-6)
    residual = data - amounts @ packing_curves
    return amounts, residual @ residual


def fit_ensemble(
    model: EnsembleModel,
    basis: FitBasis,
    guess: EnsembleParameters,
    *,
    names: tuple[str, ...],
    strength: float,
    effective_fraction: float = 1.0,
) -> EnsembleFit:
    """Return the ensemble with the largest posterior.

    Args:
        model: Model of the ensemble.
        basis: Measured data in their compact basis (`pdf.target`).
        guess: Parameters at the start.
        names: Names of the shared parameters: all fitted parameters except the scale.
        strength: Strength of the departures from a lognormal; 0 for a lognormal.
        effective_fraction: Effective number of independent points, relative to the number for white noise. It is below
            1 if the misfit is correlated along r.
    """
    steps = jnp.asarray(N_LINEARIZATIONS if strength == 0 else N_LINEARIZATIONS_FREE)
    strength_array, fraction_array = (jnp.asarray(number, jnp.float32) for number in (strength, effective_fraction))
    return _fit_ensemble(model, basis, guess, strength_array, steps, fraction_array, names=names)


def fit_series(
    model: EnsembleModel,
    bases: Sequence[FitBasis],
    guess: EnsembleParameters,
    *,
    names: tuple[str, ...],
    effective_fraction: float = 1.0,
) -> EnsembleFit:
    """Return the best lognormal ensemble for each of many measured curves, with a leading axis of curves.

    The measured curves have equal ranges of Q and r. The curves of the classes are linearized only twice for all
    measurements together: at the guess, and at the median of the parameters of the first fits.

    Args:
        model: Model of the ensemble.
        bases: Data of each measured curve. Everything except the data must be equal.
        guess: Parameters at the start of all fits. Departures from a lognormal are ignored.
        names: Names of the shared parameters.
        effective_fraction: Effective number of independent points, relative to the number for white noise.
    """
    lognormal_model = replace(model, smooth_modes=model.smooth_modes[:, :0])
    start = guess._replace(mode_weights=guess.mode_weights[:, :0])
    data, norm, unmodelled_squares = (
        jnp.stack([getattr(basis, name) for basis in bases]) for name in ("data", "norm", "unmodelled_squares")
    )
    return _fit_series(
        lognormal_model,
        bases[0],
        data,
        norm,
        unmodelled_squares,
        start,
        jnp.asarray(effective_fraction, jnp.float32),
        names=names,
    )


class _Prior(NamedTuple):
    """Prior and bounds of the flattened parameters."""

    mean_fraction: Float[Array, " packing"]
    """Prior mean of the fraction of each packing, times the scale: the sum of all fractions at the start times
    `packing_weight`."""
    log_mean_size: Float[Array, ""]
    """Logarithm of the first guess of the mean size in Å."""
    shared_mean: Float[Array, " shared"]
    """Mean of the prior on each shared parameter, as a fraction of the range between its bounds."""
    shared_width: Float[Array, " shared"]
    """Standard deviation of the prior on each shared parameter, as a fraction of this range."""
    lower_bound: Float[Array, " parameter"]
    upper_bound: Float[Array, " parameter"]
    is_shared: Float[Array, " parameter"]
    """1 for shared parameters, 0 for parameters of the size distributions."""


class _LinearizedCurves(NamedTuple):
    """Curves of all classes, linearized in the shared parameters about a reference."""

    reference: EnsembleParameters
    curves_by_class: Float[Array, "class basis"]
    slopes: Float[Array, "class basis shared"]


class _BestPoint(NamedTuple):
    """Best parameters so far. Only parameters whose curves are exact (not linearized) are compared."""

    point: Float[Array, " parameter"]
    normal_matrix: Float[Array, "parameter parameter"]
    curves_by_class: Float[Array, "class basis"]
    cost: Float[Array, ""]


class _DescentState(NamedTuple):
    """State of a Levenberg-Marquardt descent after some steps."""

    point: Float[Array, " parameter"]
    trial_point: Float[Array, " parameter"]
    cost: Float[Array, ""]
    slope: Float[Array, " parameter"]
    normal_matrix: Float[Array, "parameter parameter"]
    damping: Float[Array, ""]
    steps: Int[Array, ""]
    converged: Bool[Array, ""]
    start_values: tuple[Float[Array, ""], Float[Array, "parameter parameter"]]
    """Cost and normal matrix at the start."""


@partial(jax.jit, static_argnames="names")
def _fit_ensemble(
    model: EnsembleModel,
    basis: FitBasis,
    guess: EnsembleParameters,
    strength,
    n_linearizations,
    effective_fraction,
    *,
    names,
) -> EnsembleFit:
    prior = _prior(guess, model, names)
    start, unravel = ravel_pytree(guess)

    def relinearize(_, state):
        point, _, best = state
        reference = unravel(point)
        linear_curves = _linearize(model, reference, names, basis)
        descent = _levenberg_marquardt(reference, linear_curves, model, basis, prior, strength, effective_fraction)
        return (
            descent.point,
            descent.normal_matrix,
            _lower_cost_point(
                _BestPoint(point, descent.start_values[1], linear_curves.curves_by_class, descent.start_values[0]), best
            ),
        )

    unknown_curves = jnp.full((len(model.size), len(basis.data)), jnp.nan, start.dtype)
    identity = jnp.eye(len(start), dtype=start.dtype)
    initial_state = start, identity, _BestPoint(start, identity, unknown_curves, jnp.asarray(jnp.inf, start.dtype))
    point, normal_matrix, best = jax.lax.fori_loop(0, n_linearizations, relinearize, initial_state)
    last_parameters = unravel(point)
    curves_by_class = class_curves(model, last_parameters.normalized_values, names, basis)
    cost, rounding = _cost(last_parameters, curves_by_class, model, basis, prior, strength, effective_fraction)
    best = _lower_cost_point(_BestPoint(point, normal_matrix, curves_by_class, cost - rounding), best)
    parameters = unravel(best.point)
    return _ensemble_fit(
        parameters,
        atom_fractions(parameters, model, strength),
        best.curves_by_class,
        best.normal_matrix,
        basis,
        names,
    )


@partial(jax.jit, static_argnames="names")
def _fit_series(
    model: EnsembleModel,
    basis: FitBasis,
    data,
    norm,
    unmodelled_squares,
    guess: EnsembleParameters,
    effective_fraction,
    *,
    names,
) -> EnsembleFit:
    """Return the lognormal fits of several measured curves, with class curves linearized at common parameters."""
    strength = jnp.zeros(())

    def fit_curve(start_point, data, norm, unmodelled_squares, linear_curves):
        curve_basis = replace(basis, data=data, norm=norm, unmodelled_squares=unmodelled_squares)
        prior = _prior(guess, model, names)

        def cost(parameters):
            curves_by_class = linear_curves.curves_by_class + linear_curves.slopes @ _shared_displacement(
                parameters, linear_curves.reference
            )
            return _cost(parameters, curves_by_class, model, curve_basis, prior, strength, effective_fraction)[0]

        guess_is_better = cost(guess) < cost(start_point)  # with these linear curves, the first fit may be worse
        start_point = jax.tree.map(lambda first, last: jnp.where(guess_is_better, first, last), guess, start_point)
        descent = _levenberg_marquardt(
            start_point, linear_curves, model, curve_basis, prior, strength, effective_fraction
        )
        parameters = ravel_pytree(guess)[1](descent.point)
        curves_by_class = linear_curves.curves_by_class + linear_curves.slopes @ _shared_displacement(
            parameters, linear_curves.reference
        )
        return _ensemble_fit(
            parameters,
            atom_fractions(parameters, model, strength),
            curves_by_class,
            descent.normal_matrix,
            curve_basis,
            names,
        )

    def fit_curves(start_points, reference):
        linear_curves = _linearize(model, reference, names, basis)
        return jax.vmap(fit_curve, (0, 0, 0, 0, None))(start_points, data, norm, unmodelled_squares, linear_curves)

    start_points = jax.tree.map(lambda column: jnp.broadcast_to(column, (len(data), *column.shape)), guess)
    first_fits = fit_curves(start_points, guess)
    median_parameters = jax.tree.map(lambda column: jnp.median(column, axis=0), first_fits.parameters)
    return fit_curves(first_fits.parameters, median_parameters)


def _prior(guess: EnsembleParameters, model: EnsembleModel, names: tuple[str, ...]) -> _Prior:
    lower_bound, upper_bound = (ravel_pytree(bound)[0] for bound in _bounds(guess, model))
    zeros = jax.tree.map(jnp.zeros_like, guess)
    is_shared = zeros._replace(normalized_values=zeros.normalized_values + 1)
    shared_mean, shared_width = np.array([_normalized_prior(name) for name in names], np.float32).T
    return _Prior(
        jnp.sum(guess.sqrt_fraction**2) * model.packing_weight,
        guess.hyperparameters[0],
        jnp.asarray(shared_mean),
        jnp.asarray(shared_width),
        lower_bound,
        upper_bound,
        ravel_pytree(is_shared)[0],
    )


def _normalized_prior(name: str) -> tuple[float, float]:
    """Return the mean and the standard deviation of the prior on a shared parameter, as fractions of its range.

    Parameters without a prior of their own have a very wide one.
    """
    parameter = PARAMETERS[name]
    if parameter.prior is None:
        return 0.5, 100.0
    mean, width = parameter.prior
    parameter_range = parameter.maximum - parameter.minimum
    return (mean - parameter.minimum) / parameter_range, width / parameter_range


def _linearize(
    model: EnsembleModel, reference: EnsembleParameters, names: tuple[str, ...], basis: FitBasis
) -> _LinearizedCurves:
    def curves_at(normalized_values):
        return class_curves(model, normalized_values, names, basis)

    return _LinearizedCurves(
        reference, curves_at(reference.normalized_values), jax.jacfwd(curves_at)(reference.normalized_values)
    )


def _shared_displacement(parameters: EnsembleParameters, reference: EnsembleParameters) -> Float[Array, " shared"]:
    return parameters.normalized_values - reference.normalized_values


def _levenberg_marquardt(
    guess: EnsembleParameters,
    linear_curves: _LinearizedCurves,
    model: EnsembleModel,
    basis: FitBasis,
    prior: _Prior,
    strength,
    effective_fraction,
) -> _DescentState:
    """Return the final state of a Levenberg-Marquardt descent with linearized curves, at its best point."""
    start_point, unravel = ravel_pytree(guess)
    reference_point = ravel_pytree(linear_curves.reference)[0]
    max_step = jnp.where(prior.is_shared > 0, MAX_SHARED_STEP, MAX_DISTRIBUTION_STEP)
    lower_bound = jnp.maximum(
        prior.lower_bound, jnp.where(prior.is_shared > 0, reference_point - MAX_SHARED_STEP, -jnp.inf)
    )
    upper_bound = jnp.minimum(
        prior.upper_bound, jnp.where(prior.is_shared > 0, reference_point + MAX_SHARED_STEP, jnp.inf)
    )

    def step(state: _DescentState) -> _DescentState:
        derivatives = _cost_derivatives(
            state.trial_point, unravel, linear_curves, model, basis, prior, strength, effective_fraction
        )
        cost, slope, normal_matrix, rounding = derivatives
        is_better = cost < state.cost
        converged = is_better & (state.cost - cost < jnp.maximum(COST_TOLERANCE, rounding))
        start_values = jax.tree.map(
            lambda new_value, old_value: jnp.where(state.steps == 0, new_value, old_value),
            (cost, normal_matrix),
            state.start_values,
        )
        damping = jnp.clip(jnp.where(is_better, state.damping / 5, state.damping * 6), 1e-6, 1e6)
        select = lambda new_value, old_value: jnp.where(is_better, new_value, old_value)  # noqa: E731
        point, cost = select(state.trial_point, state.point), select(cost, state.cost)
        slope, normal_matrix = select(slope, state.slope), select(normal_matrix, state.normal_matrix)
        damping_matrix = jnp.diag(damping * jnp.diagonal(normal_matrix))
        displacement = jnp.clip(jnp.linalg.solve(normal_matrix + damping_matrix, -slope), -max_step, max_step)
        trial = jnp.clip(point + displacement, lower_bound, upper_bound)
        return _DescentState(
            point, trial, cost, slope, normal_matrix, damping, state.steps + 1, converged, start_values
        )

    infinite_cost, damping = jnp.asarray(jnp.inf, start_point.dtype), jnp.asarray(0.05, start_point.dtype)
    initial_derivatives = jnp.zeros_like(start_point), jnp.eye(len(start_point), dtype=start_point.dtype)
    start_values = infinite_cost, initial_derivatives[1]
    initial_state = _DescentState(
        start_point,
        start_point,
        infinite_cost,
        *initial_derivatives,
        damping,
        jnp.asarray(0),
        jnp.asarray(False),
        start_values,
    )
    return jax.lax.while_loop(lambda state: ~state.converged & (state.steps < MAX_STEPS), step, initial_state)


def _lower_cost_point(new: _BestPoint, old: _BestPoint) -> _BestPoint:
    """Return the point with the lower cost."""
    return jax.tree.map(lambda last, first: jnp.where(new.cost < old.cost, last, first), new, old)


def _cost_derivatives(
    point,
    unravel,
    linear_curves: _LinearizedCurves,
    model: EnsembleModel,
    basis: FitBasis,
    prior: _Prior,
    strength,
    effective_fraction,
):
    """Return the cost -2 ln(posterior), half its gradient, half its approximate Hessian, and its rounding error."""
    parameters = unravel(point)
    curves_by_class = linear_curves.curves_by_class + linear_curves.slopes @ _shared_displacement(
        parameters, linear_curves.reference
    )
    fractions_by_class = size_fractions(parameters, model, strength)
    fractions = parameters.sqrt_fraction[model.packing] ** 2 * fractions_by_class
    residual = basis.data - fractions @ curves_by_class
    squares, n_effective = _squares(residual, basis), effective_fraction * basis.n_independent
    weight = n_effective / squares  # derivative of n_effective * ln(squares)
    fraction_jacobian = jax.jacfwd(lambda vector: atom_fractions(unravel(vector), model, strength))(point)
    jacobian = curves_by_class.T @ fraction_jacobian
    shared_jacobian = jnp.einsum("c,cbx->bx", fractions, linear_curves.slopes)
    jacobian = jacobian.at[:, -shared_jacobian.shape[1] :].add(shared_jacobian)  # shared parameters come last
    prior_residuals = lambda vector: _prior_residuals(unravel(vector), prior)  # noqa: E731
    prior_residual, prior_jacobian = prior_residuals(point), jax.jacfwd(prior_residuals)(point)
    normal_matrix = weight * jacobian.T @ jacobian + prior_jacobian.T @ prior_jacobian
    # The derivative with respect to the root of a fraction vanishes at 0, so the second derivative is added.
    n_packings = len(parameters.sqrt_fraction)
    packing_curves = jax.ops.segment_sum(fractions_by_class[:, None] * curves_by_class, model.packing, n_packings)
    curvature = jnp.maximum(-2 * weight * packing_curves @ residual, 0.0)
    normal_matrix = normal_matrix.at[jnp.arange(n_packings), jnp.arange(n_packings)].add(curvature)
    slope = -weight * jacobian.T @ residual + prior_jacobian.T @ prior_residual
    cost, rounding = _posterior(squares, prior_residual, basis, effective_fraction)
    return cost, slope, normal_matrix, rounding


def _cost(
    parameters: EnsembleParameters,
    curves_by_class,
    model: EnsembleModel,
    basis: FitBasis,
    prior: _Prior,
    strength,
    effective_fraction,
):
    """Return the cost -2 ln(posterior) of parameters with given class curves, and its rounding error."""
    residual = basis.data - atom_fractions(parameters, model, strength) @ curves_by_class
    return _posterior(
        _squares(residual, basis),
        _prior_residuals(parameters, prior),
        basis,
        effective_fraction,
    )


def _squares(residual: Float[Array, " basis"], basis: FitBasis) -> Float[Array, ""]:
    """Return the sum of squared residuals, including the part of the data outside the basis."""
    return jnp.maximum(residual @ residual + basis.unmodelled_squares, squares_floor(basis.norm))


def _posterior(
    squares, prior_residual, basis: FitBasis, effective_fraction
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    n_effective = effective_fraction * basis.n_independent
    cost = n_effective * jnp.log(squares) + prior_residual @ prior_residual
    rounding = n_effective * rounding_of_squares(squares, basis.norm) / squares
    return cost, rounding + jnp.finfo(cost.dtype).eps * jnp.abs(cost)


def _ensemble_fit(
    parameters: EnsembleParameters,
    fractions,
    curves_by_class,
    normal_matrix,
    basis: FitBasis,
    names: tuple[str, ...],
) -> EnsembleFit:
    residual = basis.data - fractions @ curves_by_class
    squares = residual @ residual + basis.unmodelled_squares
    values = fit.fractions_to_values(parameters.normalized_values, names, basis)._replace(scale=jnp.sum(fractions))
    return EnsembleFit(parameters, values, fractions, squares, jnp.sqrt(squares / basis.norm), normal_matrix)


def _prior_residuals(parameters: EnsembleParameters, prior: _Prior) -> Float[Array, " departure"]:
    """Return the deviations of the parameters from the centres of their priors, in standard deviations."""
    return jnp.concatenate(
        [
            parameters.sqrt_fraction / jnp.sqrt(prior.mean_fraction),
            (parameters.log_mean - parameters.hyperparameters[0]) / PACKING_PRIOR[0],
            (parameters.log_width - parameters.hyperparameters[1]) / PACKING_PRIOR[1],
            (parameters.hyperparameters - jnp.stack([prior.log_mean_size, jnp.log(WIDTH_PRIOR[0])]))
            / jnp.asarray([SIZE_PRIOR, WIDTH_PRIOR[1]]),
            parameters.mode_weights.ravel(),
            (parameters.normalized_values - prior.shared_mean) / prior.shared_width,
        ]
    )


def _bounds(parameters: EnsembleParameters, model: EnsembleModel) -> tuple[EnsembleParameters, EnsembleParameters]:
    """Return the lower and the upper bounds of the parameters."""
    lower_bound = jax.tree.map(lambda array: jnp.full_like(array, -jnp.inf), parameters)
    upper_bound = jax.tree.map(lambda array: jnp.full_like(array, jnp.inf), parameters)
    min_log_size, max_log_size = jnp.log(jnp.min(model.size)), jnp.log(jnp.max(model.size))
    lower_bound = lower_bound._replace(
        log_mean=jnp.full_like(parameters.log_mean, min_log_size),
        log_width=jnp.full_like(parameters.log_width, MIN_LOG_WIDTH),
        normalized_values=jnp.full_like(parameters.normalized_values, 1e-3),
    )
    upper_bound = upper_bound._replace(
        log_mean=jnp.full_like(parameters.log_mean, max_log_size),
        log_width=jnp.full_like(parameters.log_width, MAX_LOG_WIDTH),
        normalized_values=jnp.full_like(parameters.normalized_values, 1 - 1e-3),
    )
    return lower_bound, upper_bound


def posterior_fractions(
    ensemble_fit: EnsembleFit, model: EnsembleModel, *, strength: float, seed: int = 0
) -> Float[Array, "draw class"]:
    """Return draws from the posterior of the fractions of atoms, times the scale (Laplace approximation).

    The size distributions of packings with few atoms are kept fixed, because the data do not determine them.

    Args:
        ensemble_fit: Ensemble with the largest posterior.
        model: Model of the ensemble.
        strength: Strength of the departures from a lognormal; 0 for a lognormal.
        seed: Seed of the draws.
    """
    return _posterior_fractions(ensemble_fit, model, jnp.asarray(strength, jnp.float32), jax.random.key(seed))


@jax.jit
def _posterior_fractions(ensemble_fit: EnsembleFit, model: EnsembleModel, strength, key):
    best_point, unravel = ravel_pytree(ensemble_fit.parameters)
    fractions = ensemble_fit.parameters.sqrt_fraction**2 / jnp.sum(ensemble_fit.parameters.sqrt_fraction**2)
    is_present = fractions > MIN_ATOM_FRACTION
    ones = jax.tree.map(jnp.ones_like, ensemble_fit.parameters)
    free_mask = ones._replace(
        log_mean=ones.log_mean * is_present,
        log_width=ones.log_width * is_present,
        mode_weights=ones.mode_weights * is_present[:, None] * (strength > 0),
    )
    free_mask = ravel_pytree(free_mask)[0]
    precision = jnp.where(free_mask[:, None] * free_mask > 0, ensemble_fit.precision, 0.0) + jnp.diag(1 - free_mask)
    length_scale = 1 / jnp.sqrt(jnp.diagonal(precision))
    eigenvalues, eigenvectors = jnp.linalg.eigh(length_scale[:, None] * precision * length_scale)
    covariance_root = length_scale[:, None] * eigenvectors / jnp.sqrt(jnp.maximum(eigenvalues, 1e-5))
    gaussian_draws = free_mask * (jax.random.normal(key, (N_POSTERIOR_DRAWS, len(best_point))) @ covariance_root.T)
    lower_bound, upper_bound = (ravel_pytree(bound)[0] for bound in _bounds(ensemble_fit.parameters, model))
    return jax.vmap(
        lambda displacement: atom_fractions(
            unravel(jnp.clip(best_point + displacement, lower_bound, upper_bound)), model, strength
        )
    )(gaussian_draws)
