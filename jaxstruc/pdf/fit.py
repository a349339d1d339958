r"""Fits of clusters of one element to a measured G(r), with parameters such as scale, stretch and Uiso.

The model is computed from tables of the distances (`scattering.cluster_tables`), so that its cost does not depend on
the number of atoms. It is compared with the data in a compact basis (`pdf.target`), so that its cost does not depend on
the number of points in r. A smooth background is projected out of data and model. The best scale follows from linear
least squares. The other parameters are fitted with the Levenberg-Marquardt algorithm, as fractions of the range between
their bounds.

If parameters have a normal prior with the mean m and the standard deviation w, the fit minimises
$S e^{P/n}$, with the sum of squares S, $P = \sum (x - m)^2 / w^2$ and the number n of independent points. Its logarithm
times -n/2 is the logarithm of the posterior for noise of unknown strength.

The covariance of the fitted values is $(J^T J)^{-1} \sum (G_o - G_c)^2 / (n - p)$. Here $G_o$ is the measured and $G_c$
the calculated G(r), J is the Jacobian of $G_c$ at all data points, p is the number of fitted values, and
$n = (r_{max} - r_{min})(Q_{max} - Q_{min})/\pi$ is the number of *independent* points. Noise that is white on F(Q) is
correlated between neighbouring points of G(r), so a finer grid in r adds no information.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS, PARAMETERS
from jaxstruc.pdf.target import STRETCH_BOUNDS, FitBasis, Target, background_terms, sine_transform
from jaxstruc.scattering.cluster_tables import ClusterTable, reduced_structure_function
from jaxstruc.scattering.debye import Instrument
from jaxstruc.statistics import rounding_of_squares

START_STRETCH_FACTORS = tuple(1 + 0.01 * step for step in range(-4, 5))
"""Stretches from which the start of a fit is chosen, relative to the stretch that the first peak of G(r) gives."""
MAX_STEPS = 25
"""Largest number of Levenberg-Marquardt steps, including rejected steps."""
N_TURN_STEPS, CPU_TURN_SIZE = 6, 16
"""Largest number of steps that a fit makes in one turn, before other unfinished fits take its place; number of fits
that make steps at once on a CPU."""
MAX_STEP_LENGTH = 0.3
"""Largest change of a parameter in a step, as a fraction of the range between its bounds."""
INITIAL_DAMPING = 1e-2
"""Damping of the first step, relative to the diagonal of the normal matrix."""
COST_TOLERANCE = 1e-5
"""Smallest relative decrease of the sum of squares in a step. A fit ends if a step decreases the sum by less."""
MAX_RESIDUAL_COSINE = 0.02
"""Largest cosine of the angle between the residual and a derivative of the model in a converged fit. The cosine is 0 at
a minimum."""
BOUND_MARGIN = 5e-3
"""Largest distance from a bound at which a value is called "at its bound", as a fraction of the range between the
bounds."""


class FitValues(NamedTuple):
    """Values of all fit parameters, fitted or fixed; the units are those of `scattering.debye.Instrument`."""

    scale: Float[Array, "*batch"]
    stretch: Float[Array, "*batch"]
    uiso: Float[Array, "*batch"]
    delta1: Float[Array, "*batch"]
    delta2: Float[Array, "*batch"]
    qdamp: Float[Array, "*batch"]
    qbroad: Float[Array, "*batch"]
    relaxation: Float[Array, "*batch"] = 0.0  # type: ignore[assignment]
    """Amplitude of the displacements from the ideal positions, in units of the relaxation in vacuum."""

    @property
    def instrument(self) -> Instrument:
        """Instrument and vibration parameters for the simulator."""
        return Instrument(**{name: value for name, value in self._asdict().items() if name != "relaxation"})


class Fit(NamedTuple):
    """Result of a fit: values, errors and misfit."""

    values: FitValues
    errors: Float[Array, "*batch parameter"]
    """Standard errors of the fitted values, in the order of the option `free`; NaN for a value at its bound."""
    correlation: Float[Array, "*batch parameter parameter"]
    """Correlation matrix of the fitted values; NaN for a value at its bound."""
    rw: Float[Array, "*batch"]
    """Rw, with the weights of the points if the data have standard errors (`Target.weight`)."""
    converged: Bool[Array, "*batch"]
    """Whether the residual is orthogonal to the derivatives of the model and the result is finite."""
    at_bound: Bool[Array, "*batch parameter"]
    """Whether each fitted value is at its bound."""


class _FitPoint(NamedTuple):
    """Parameters in a fit, with the sum of squares and its derivatives."""

    normalized_values: Float[Array, "*batch parameter"]
    relative_squares: Float[Array, "*batch"]
    slope: Float[Array, "*batch parameter"]
    normal_matrix: Float[Array, "*batch parameter parameter"]


class _FitDescent(NamedTuple):
    """State of a fit after some steps."""

    point: _FitPoint
    damping: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def values_to_fractions(
    values: Float[Array, " parameter"], names: tuple[str, ...], basis: FitBasis
) -> Float[Array, " parameter"]:
    """Return parameters as fractions (0 to 1) of the range between their bounds.

    This is the inverse of `fractions_to_values`.
    """
    powers = jnp.asarray([2 if PARAMETERS[name].fitted_as_square else 1 for name in names])
    lower_bounds, upper_bounds = (bound**powers for bound in bounds(names, basis))
    return (values**powers - lower_bounds) / (upper_bounds - lower_bounds)


def nonlinear_parameters(free: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fitted parameters without the scale, which follows from linear least squares."""
    return tuple(name for name in free if name != "scale")


def model_curve(cluster_table: ClusterTable, values: FitValues, basis: FitBasis) -> Float[Array, " basis"]:
    """Return the curve of a model with scale 1, in the compact basis of the data and without the background."""
    relaxation = values.relaxation * cluster_table.has_field
    curve = reduced_structure_function(cluster_table, values.instrument, basis.q, relaxation) @ basis.transform
    curve = curve * jnp.exp(-0.5 * (basis.radius * values.qdamp) ** 2)
    return curve - basis.background_basis @ (basis.background_basis.T @ curve) + basis.self_scattering


def best_scale(curve: Float[Array, " basis"], basis: FitBasis) -> Float[Array, ""]:
    """Return the least-squares scale within its bounds; 1 if the data are on an absolute scale."""
    squared_norm = jnp.sum(curve**2)
    return jnp.clip(jnp.sum(curve * basis.data) / jnp.where(squared_norm > 0, squared_norm, 1.0), *basis.scale_bounds)


def misfit(cluster_table: ClusterTable, values: FitValues, basis: FitBasis) -> Float[Array, ""]:
    """Return the sum of squared residuals with the best scale, differentiable with respect to the table."""
    model = model_curve(cluster_table, values, basis)
    return jnp.sum((basis.data - best_scale(model, basis) * model) ** 2) + basis.unmodelled_squares


def starting_fractions(
    cluster_table: ClusterTable, names: tuple[str, ...], basis: FitBasis
) -> Float[Array, " parameter"]:
    """Return the start of a fit: the best of a few stretches, and typical values of the other parameters."""
    typical_values = {"qdamp": basis.qdamp, "qbroad": basis.qbroad}
    for name in ("uiso", "delta1", "delta2", "relaxation"):
        typical_values[name] = jnp.asarray(PARAMETERS[name].start) * basis.bond ** PARAMETERS[name].bond_power

    def normalized_start(stretch):
        parameter_values = jnp.stack(
            [jnp.asarray({**typical_values, "stretch": stretch}[name], jnp.float32) for name in names]
        )
        return jnp.clip(values_to_fractions(parameter_values, names, basis), 0.02, 0.98)

    def residual_squares(stretch):
        model = model_curve(cluster_table, fractions_to_values(normalized_start(stretch), names, basis), basis)
        return jnp.sum((basis.data - best_scale(model, basis) * model) ** 2)

    stretches = jnp.clip(
        basis.stretch * jnp.asarray(START_STRETCH_FACTORS), STRETCH_BOUNDS[0] + 0.005, STRETCH_BOUNDS[1] - 0.005
    )
    misfits = jax.lax.map(residual_squares, stretches)
    return normalized_start(stretches[jnp.argmin(jnp.where(jnp.isfinite(misfits), misfits, jnp.inf))])


def bounds(names: tuple[str, ...], basis: FitBasis) -> tuple[Float[Array, " parameter"], Float[Array, " parameter"]]:
    """Return the lower and the upper bounds of parameters."""
    bound_pairs = [PARAMETERS[name].bounds(basis.bond) for name in names]  # type: ignore[arg-type]
    lower_bounds, upper_bounds = (
        jnp.stack([jnp.asarray(bound_pair[side], jnp.float32) for bound_pair in bound_pairs]) for side in (0, 1)
    )
    return lower_bounds, upper_bounds


def fractions_to_values(
    normalized_values: Float[Array, " parameter"], names: tuple[str, ...], basis: FitBasis
) -> FitValues:
    """Return the values of parameters that are given as fractions (0 to 1) of the range between their bounds."""
    values_by_name = {}
    for name, fraction, lower_bound, upper_bound in zip(names, normalized_values, *bounds(names, basis), strict=True):
        if PARAMETERS[name].fitted_as_square:
            values_by_name[name] = jnp.sqrt(lower_bound**2 + (upper_bound**2 - lower_bound**2) * fraction)
        else:
            values_by_name[name] = lower_bound + (upper_bound - lower_bound) * fraction
    unit, zero = jnp.ones((), normalized_values.dtype), jnp.zeros((), normalized_values.dtype)
    default_values = FitValues(unit, unit, unit * PARAMETERS["uiso"].start, zero, zero, basis.qdamp, basis.qbroad)
    return default_values._replace(**values_by_name)


def prior_deviations(
    values: FitValues, names: tuple[str, ...], has_field: Float[Array | np.ndarray, ""]
) -> Float[Array, " prior"]:
    """Return the deviations of parameters from the means of their priors, in standard deviations.

    The relaxation of a rigid cluster has no prior.

    Args:
        values: Values of the parameters.
        names: Names of the fitted parameters. Those without a prior are left out.
        has_field: 1 if the cluster has displacements, 0 if it is rigid.
    """
    deviations = [
        (getattr(values, name) - prior[0]) / prior[1] * has_field
        for name in names
        if (prior := PARAMETERS[name].prior) is not None
    ]
    return jnp.stack(deviations) if deviations else jnp.zeros(0)


def refine(cluster_table: ClusterTable, basis: FitBasis, *, free: tuple[str, ...] = DEFAULT_FREE_PARAMETERS) -> Fit:
    """Return the fit of one cluster to one measured PDF.

    Args:
        cluster_table: Tabulated distances of the cluster.
        basis: Measured data in their compact basis.
        free: Names of the fitted parameters, a subset of `FIT_PARAMETERS` that includes the scale.
    """
    initial_state = _initial_state(cluster_table, basis, free, None)
    final_state = _levenberg_marquardt(cluster_table, basis, free, initial_state, MAX_STEPS)
    return _fit_result(final_state.point.normalized_values, cluster_table, basis, free)


def refine_all(
    cluster_tables: ClusterTable,
    basis: FitBasis,
    *,
    free: tuple[str, ...] = DEFAULT_FREE_PARAMETERS,
    start: FitValues | None = None,
    n_fits: Int[Array, ""] | int | None = None,
    turn_size: int | None = None,
) -> Fit:
    """Return the fits of a batch of clusters to one measured PDF. Each fit equals the result of `refine`.

    Most fits end early, and a few need many steps. A small number of fits therefore makes steps at once, and after a
    few steps finished fits are replaced by others.

    Args:
        cluster_tables: Tables of the clusters, with a leading axis.
        basis: Measured data in their compact basis.
        free: Names of the fitted parameters, a subset of `FIT_PARAMETERS` that includes the scale.
        start: Values at the start of the fits, with a leading axis. By default each fit starts from typical values and
            from the best of a few stretches.
        n_fits: Number of fits. Further rows of the batch are padding, whose results are meaningless. By default all
            rows are fitted.
        turn_size: Number of fits that make steps at once. By default these are `CPU_TURN_SIZE` fits on a CPU, and a
            quarter of all fits on an accelerator.
    """
    n_rows = cluster_tables.shell_functions.shape[0]
    if turn_size is None:
        turn_size = CPU_TURN_SIZE if jax.default_backend() == "cpu" else -(-n_rows // 4)

    def take_turn(states: _FitDescent) -> _FitDescent:
        rows = jnp.argsort(~_is_running(states, MAX_STEPS))[:turn_size]  # a stable sort puts unfinished fits first
        tables, turn_states = jax.tree.map(lambda column: column[rows], (cluster_tables, states))
        turn_states = jax.vmap(
            lambda table, state: _levenberg_marquardt(
                table, basis, free, state, jnp.minimum(state.steps + N_TURN_STEPS, MAX_STEPS)
            )
        )(tables, turn_states)
        return jax.tree.map(lambda column, new_column: column.at[rows].set(new_column), states, turn_states)

    states = jax.vmap(lambda cluster_table, start: _initial_state(cluster_table, basis, free, start))(
        cluster_tables, start
    )
    if n_fits is not None:
        states = states._replace(converged=jnp.arange(n_rows) >= n_fits)
    states = jax.lax.while_loop(lambda states: jnp.any(_is_running(states, MAX_STEPS)), take_turn, states)
    return jax.vmap(
        lambda normalized_values, cluster_table: _fit_result(normalized_values, cluster_table, basis, free)
    )(states.point.normalized_values, cluster_tables)


def fitted_curves(
    fits: Fit, cluster_tables: ClusterTable, target: Target
) -> tuple[Float[np.ndarray, "fit r"], Float[np.ndarray, "fit r"]]:
    """Return the curves of fits including the background, and the backgrounds alone, as float64 NumPy arrays.

    Both have the unit of `target.g`, at the points of the data.

    Args:
        fits: One or more fits, with a leading axis.
        cluster_tables: Tables of the fitted clusters. Additional rows (padding) are ignored.
        target: Measured data and settings of the fit.
    """
    cluster_tables = jax.tree.map(lambda column: column[: len(fits.rw)], cluster_tables)
    structure_function = np.asarray(structure_functions(cluster_tables, fits.values, target.basis.q), float)
    scale = np.asarray(fits.values.scale, float)[:, None]
    if target.intensity is not None:
        curve = target.intensity
        pairs = structure_function[:, : curve.nodes.size] @ curve.f_to_intensity.T
        model, background_basis = scale * (pairs + curve.self_scattering), curve.background
    else:
        q, transform = sine_transform(target.r, target.qmin, target.qmax, target.span)
        envelope = np.exp(-0.5 * (target.r * np.asarray(fits.values.qdamp)[:, None]) ** 2)
        model = scale * envelope * (structure_function[:, : q.size] @ transform.T)
        background_basis = background_terms(target.r, target.n_background_terms, weight=target.weight)
    backgrounds = target.weighted(target.g - model) @ background_basis @ background_basis.T
    backgrounds = backgrounds if target.weight is None else backgrounds / target.weight
    return model + backgrounds, backgrounds


@jax.jit
def structure_functions(
    cluster_tables: ClusterTable, values: FitValues, q: Float[Array, " q"]
) -> Float[Array, "fit q"]:
    """Return F(Q) of clusters with scale 1, in 1/Å.

    Args:
        cluster_tables: Tables of the clusters, with a leading axis.
        values: Values of the clusters, with a leading axis.
        q: Points of Q, in 1/Å.
    """
    return jax.vmap(
        lambda table, cluster_values: reduced_structure_function(
            table, cluster_values.instrument, q, cluster_values.relaxation * table.has_field
        )
    )(cluster_tables, values)


def _evaluate_point(
    cluster_table: ClusterTable, basis: FitBasis, free: tuple[str, ...], normalized_values
) -> _FitPoint:
    """Return the objective of a fit at a point, with its derivatives.

    The scale is eliminated: the residual is d - s m with the best scale s of the model m. Its derivatives contain those
    of s (variable projection; G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), doi 10.1137/0710036).
    """
    names = nonlinear_parameters(free)

    def model(normalized_values):
        curve = model_curve(cluster_table, fractions_to_values(normalized_values, names, basis), basis)
        return curve, curve

    slopes, curve = jax.jacfwd(model, has_aux=True)(normalized_values)
    squared_norm = jnp.sum(curve**2)
    divisor = jnp.where(squared_norm > 0, squared_norm, 1.0)
    free_scale = jnp.sum(curve * basis.data) / divisor
    scale = jnp.clip(free_scale, *basis.scale_bounds)
    scale_slopes = jnp.where(scale == free_scale, (basis.data - 2 * scale * curve) @ slopes / divisor, 0.0)
    residual = (basis.data - scale * curve) / jnp.sqrt(basis.norm)
    jacobian = -(curve[:, None] * scale_slopes + scale * slopes) / jnp.sqrt(basis.norm)
    squares, slope, normal_matrix = jnp.sum(residual**2), residual @ jacobian, jacobian.T @ jacobian
    if not any(PARAMETERS[name].prior for name in names):
        return _FitPoint(normalized_values, squares, slope, normal_matrix)

    def prior(normalized_values):
        values = fractions_to_values(normalized_values, names, basis)
        return prior_deviations(values, names, cluster_table.has_field)

    deviations, prior_jacobian = prior(normalized_values), jax.jacfwd(prior)(normalized_values)
    squares += basis.unmodelled_squares / basis.norm
    factor, weight = jnp.exp(jnp.sum(deviations**2) / basis.n_independent), squares / basis.n_independent
    return _FitPoint(
        normalized_values,
        factor * squares,
        factor * (slope + weight * deviations @ prior_jacobian),
        factor * (normal_matrix + weight * prior_jacobian.T @ prior_jacobian),
    )


def _initial_state(
    cluster_table: ClusterTable, basis: FitBasis, free: tuple[str, ...], start: FitValues | None
) -> _FitDescent:
    """Return the state before the first step, which evaluates the objective at the start of the fit."""
    names = nonlinear_parameters(free)
    if start is None:
        start_values = starting_fractions(cluster_table, names, basis)
    else:
        given_values = jnp.stack([jnp.asarray(getattr(start, name), jnp.float32) for name in names])
        start_values = jnp.clip(values_to_fractions(given_values, names, basis), 0.0, 1.0)
    n_values, dtype = len(names), start_values.dtype
    unknown_point = _FitPoint(
        start_values, jnp.asarray(jnp.inf, dtype), jnp.zeros(n_values, dtype), jnp.eye(n_values, dtype=dtype)
    )
    return _FitDescent(unknown_point, jnp.asarray(INITIAL_DAMPING, dtype), jnp.asarray(-1), jnp.asarray(False))


def _is_running(state: _FitDescent, max_steps: Int[Array, ""] | int) -> Bool[Array, "*batch"]:
    return ~state.converged & (state.steps < max_steps) & (state.damping < 1e4)


def _levenberg_marquardt(
    cluster_table: ClusterTable,
    basis: FitBasis,
    free: tuple[str, ...],
    state: _FitDescent,
    max_steps: Int[Array, ""] | int,
) -> _FitDescent:
    """Continue a Levenberg-Marquardt descent until it converges or reaches `max_steps`, and return its state.

    The first step only evaluates the start, so that the objective is compiled once. Each later step evaluates one
    Jacobian and solves the normal equations, which are well conditioned for these few scaled parameters. Bounds are
    kept by projection: a parameter at a bound that it would cross is fixed for the step (C. Kanzow, N. Yamashita, M.
    Fukushima, J. Comput. Appl. Math. 172, 375 (2004)). Only steps that lower the sum of squares are accepted, so the
    final point is the best one evaluated. The descent also ends if a step changes the sum of squares by no more than
    its rounding error.
    """

    def step(state: _FitDescent) -> _FitDescent:
        point, damping, steps, _ = state
        at_bound = ((point.normalized_values <= 0) & (point.slope > 0)) | (
            (point.normalized_values >= 1) & (point.slope < 0)
        )
        slope = jnp.where(at_bound, 0.0, point.slope)
        normal_matrix = jnp.where(at_bound[:, None] | at_bound[None, :], 0.0, point.normal_matrix)
        diagonal = jnp.where(at_bound, 1.0, damping * jnp.maximum(jnp.diagonal(point.normal_matrix), 1e-9))
        step_vector = jax.scipy.linalg.solve(normal_matrix + jnp.diag(diagonal), slope, assume_a="pos")
        trial_point = _evaluate_point(
            cluster_table,
            basis,
            free,
            jnp.clip(point.normalized_values - jnp.clip(step_vector, -MAX_STEP_LENGTH, MAX_STEP_LENGTH), 0.0, 1.0),
        )
        decrease, displacement = (
            point.relative_squares - trial_point.relative_squares,
            point.normalized_values - trial_point.normalized_values,
        )
        is_better = decrease > 0
        converged = (is_better & (decrease < COST_TOLERANCE * point.relative_squares)) | (
            step_vector @ slope < 0.1 * COST_TOLERANCE * point.relative_squares
        )
        predicted_decrease = 2 * displacement @ slope - displacement @ normal_matrix @ displacement
        rounding = rounding_of_squares(point.relative_squares, jnp.ones_like(point.relative_squares))
        converged |= (jnp.abs(decrease) <= rounding) & (jnp.abs(predicted_decrease) <= 0.1 * rounding)
        is_first = jnp.isinf(point.relative_squares)
        converged &= ~is_first
        damping_factor = jnp.where(
            decrease > 0.75 * predicted_decrease, 1 / 8, jnp.where(decrease > 0.25 * predicted_decrease, 1.0, 6.0)
        )
        damping_factor = jnp.where(is_better & (predicted_decrease > 0), damping_factor, 6.0)
        damping_factor = jnp.where(is_first, 1.0, damping_factor)
        best_point = jax.tree.map(
            lambda new_value, old_value: jnp.where(is_better, new_value, old_value), trial_point, point
        )
        return _FitDescent(best_point, damping * damping_factor, steps + 1, converged)

    return jax.lax.while_loop(lambda state: _is_running(state, max_steps), step, state)


def _fit_result(normalized_values, cluster_table: ClusterTable, basis: FitBasis, free: tuple[str, ...]) -> Fit:
    """Return the result of a fit at its final parameters, with standard errors."""
    values = fractions_to_values(normalized_values, nonlinear_parameters(free), basis)
    unscaled_model = model_curve(cluster_table, values, basis)
    values = values._replace(
        scale=best_scale(unscaled_model, basis), relaxation=values.relaxation * cluster_table.has_field
    )
    residual = basis.data - values.scale * unscaled_model
    squares = jnp.sum(residual**2) + basis.unmodelled_squares

    def model(free_values):
        trial_values = values._replace(**dict(zip(free, free_values, strict=True)))
        return trial_values.scale * model_curve(cluster_table, trial_values, basis)

    fitted_values = jnp.stack([getattr(values, name) for name in free])
    slopes = jax.jacfwd(model)(fitted_values)
    lower_bounds, upper_bounds = bounds(free, basis)
    bound_fraction = (fitted_values - lower_bounds) / (upper_bounds - lower_bounds)
    at_bound = jnp.isfinite(upper_bounds) & ((bound_fraction < BOUND_MARGIN) | (bound_fraction > 1 - BOUND_MARGIN))
    at_bound |= jnp.asarray([name == "scale" for name in free]) & (basis.scale_bounds[0] == basis.scale_bounds[1])
    is_rigid = jnp.asarray([name == "relaxation" for name in free]) & (cluster_table.has_field == 0)
    at_bound &= ~is_rigid
    is_fixed = at_bound | is_rigid
    n_fitted = jnp.sum(~is_rigid)
    variance = squares / jnp.maximum(basis.n_independent - n_fitted, 1.0)
    prior_slopes = jax.jacfwd(
        lambda free_values: prior_deviations(
            values._replace(**dict(zip(free, free_values, strict=True))), free, cluster_table.has_field
        )
    )(fitted_values)
    covariance = variance * _covariance(jnp.concatenate([slopes, jnp.sqrt(variance) * prior_slopes]), is_fixed)
    errors = jnp.where(is_fixed, jnp.nan, jnp.sqrt(jnp.diagonal(covariance)))
    prior_force = prior_deviations(values, free, cluster_table.has_field) @ prior_slopes
    force = residual @ slopes - squares / basis.n_independent * prior_force
    rw = jnp.sqrt(squares / basis.norm)
    return Fit(
        values=values,
        errors=errors,
        correlation=covariance / (errors[:, None] * errors[None, :]),
        rw=rw,
        converged=_is_stationary(force, slopes, residual, is_fixed, basis) & jnp.isfinite(rw),
        at_bound=at_bound,
    )


def _covariance(slopes, is_fixed):
    """Return the inverse of the normal matrix. The variances of fixed parameters are meaningless."""
    free_mask = jnp.where(is_fixed, 0.0, 1.0)
    norms = jnp.sqrt(jnp.sum(slopes**2, axis=0))
    unit_slopes = free_mask * slopes / jnp.where(norms > 0, norms, 1.0)
    inverse = jnp.linalg.inv(unit_slopes.T @ unit_slopes + jnp.diag(1 - free_mask))
    return inverse / (norms[:, None] * norms[None, :])


def _is_stationary(force, slopes, residual, is_fixed, basis: FitBasis) -> Bool[Array, ""]:
    """Return whether no parameter can lower the misfit further.

    The force is half the negative derivative of the objective. Without priors, it is the product of the residual with
    the derivatives of the model.
    A residual with an Rw below 1 % may be a rounding error. The limit on the cosine then applies to an Rw of 1 %.
    """
    residual_norm = jnp.maximum(jnp.sqrt(jnp.sum(residual**2)), 0.01 * jnp.sqrt(basis.norm))
    return jnp.all(
        is_fixed | (jnp.abs(force) <= MAX_RESIDUAL_COSINE * jnp.sqrt(jnp.sum(slopes**2, axis=0)) * residual_norm)
    )
