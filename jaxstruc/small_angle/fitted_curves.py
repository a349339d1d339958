"""Fitted curves at all points of a measured I(Q), in double precision.

The fits themselves run in single precision, and the background is projected out of their data. This module computes
the curve of each fit again, with the best scale and background. It also computes the standard errors and correlations
of the fitted parameters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc.small_angle import data, design_matrix, evidence, fit, shape_parameters
from jaxstruc.small_angle.data import SaxsData
from jaxstruc.small_angle.fit import BodyFit
from jaxstruc.small_angle.form_factors import CoreShellSpheres, FormFactorTable
from jaxstruc.small_angle.shape_parameters import SHAPE_PARAMETERS
from jaxstruc.small_angle.simulate import INTENSITY_UNIT
from jaxstruc.small_angle.size_distributions import DISTRIBUTION_SHAPES

POINT_MULTIPLE = 256
"""Multiple to which the number of points of a curve is padded."""
RELATIVE_SHAPE_STEP = 0.01
"""Step of the derivative with respect to the shape parameter, relative to the value (`ShapeParameter.neighbours`)."""
SPHERE_FACTOR = 4 / 3 * np.pi
"""Volume of a sphere divided by the cube of its radius."""


class FittedCurve(NamedTuple):
    """Curve of one fit at all points of the data. Intensities are in the unit of the file."""

    calculated: Float[np.ndarray, " point"]
    """Calculated intensity, including the background."""
    background: Float[np.ndarray, " point"]
    residual: Float[np.ndarray, " point"]
    """Difference of measured and calculated intensity, divided by the noise."""
    scale: float
    """Scale factor of `simulate.intensity` for a contrast of 10⁻⁶/Å²."""
    background_coefficients: Float[np.ndarray, " term"]
    """Intensity of each background term at the first Q."""
    parameter_names: tuple[str, ...]
    """Names of the fitted parameters that are not at a bound.

    The order is radius, pd and scale of each population, then the parameter of the body's shape, background and
    power_scale.
    """
    errors: Float[np.ndarray, " name"]
    """Standard errors of ln radius, ln pd, ln scale, the shape parameter and the background coefficients."""
    correlation: Float[np.ndarray, "name name"]


def fitted_curves(
    saxs_data: SaxsData, body_fits: Sequence[BodyFit], log_radius: Float[np.ndarray, " node"], chi2_factor: float
) -> list[FittedCurve]:
    """Return the curves of several fits at all points of the data.

    Args:
        saxs_data: Data that were fitted.
        body_fits: Fits of bodies and distributions.
        log_radius: ln R (R in Å) of nodes that cover the sizes of all fits.
        chi2_factor: Factor on chi-squared (`evidence.NoiseEstimate.chi2_factor`).
    """
    shapes = {_shape_key(body_fit): body_fit for body_fit in body_fits}
    curves_by_shape = {
        key: size_curves(saxs_data, body_table(entry, entry.shape_value), log_radius) for key, entry in shapes.items()
    }
    return [
        _fitted_curve(saxs_data, body_fit, curves_by_shape[_shape_key(body_fit)], log_radius, chi2_factor)
        for body_fit in body_fits
    ]


def _shape_key(body_fit: BodyFit) -> tuple:
    return body_fit.body, body_fit.shape_value


def body_table(body_fit: BodyFit, shape_value: float | None) -> FormFactorTable | CoreShellSpheres:
    """Return the form factor of the body of a fit, with a given value of its shape parameter if it has one."""
    if shape_value is None:
        return jax.tree.map(lambda leaf: leaf[0], fit.form_factor_tables((body_fit.body,)))
    table = shape_parameters.shape_table(body_fit.body, shape_value, contrast_ratio=body_fit.contrast_ratio)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), table)


def size_curves(
    saxs_data: SaxsData, table: FormFactorTable | CoreShellSpheres, log_radius: Float[np.ndarray, " node"]
) -> Float[np.ndarray, "point node"]:
    """Return V P(QR), the curve of each size, at all points of the data.

    V is the volume of a particle in Å³, P the form factor of the table, and R the radius of the sphere of equal volume
    in Å. If the data state a Q resolution, the curves are smeared by it.
    """
    groups = saxs_data.groups
    q, dq = (saxs_data.q, saxs_data.dq) if groups is None else (groups.q.reshape(-1), groups.dq)
    n_values = len(q)
    padding = (0, -n_values % POINT_MULTIPLE)
    q = np.pad(q, padding, mode="edge").astype(np.float32)
    dq = None if dq is None else np.pad(dq.reshape(-1), padding, mode="edge").astype(np.float32)
    center = log_radius[len(log_radius) // 2]
    unit_curves = np.asarray(_size_curves(table, q, dq, jnp.asarray(log_radius, jnp.float32)), float)[:n_values]
    point_curves = unit_curves if groups is None else groups.at_points(unit_curves)
    return point_curves * SPHERE_FACTOR * np.exp(3 * center)


def distribution_curve(
    saxs_data: SaxsData, size_curves: np.ndarray, volume_shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Return the curve of a size distribution, with the scale and background that fit the data best.

    Args:
        saxs_data: Data that were fitted.
        size_curves: Curve of each size at all points, from the function `size_curves`.
        volume_shares: Volume fractions of the sizes.

    Returns:
        Calculated intensity, background, scale, and coefficients of the background terms.
    """
    background_terms = data.background_terms(saxs_data.q, saxs_data.background_powers)
    columns = np.concatenate([(size_curves @ volume_shares)[:, None], background_terms], axis=1)
    coefficients = _least_squares(columns / saxs_data.sigma[:, None], saxs_data.intensity / saxs_data.sigma)
    return (
        columns @ coefficients,
        background_terms @ coefficients[1:],
        float(coefficients[0]) / INTENSITY_UNIT,
        coefficients[1:],
    )


def _fitted_curve(saxs_data: SaxsData, body_fit: BodyFit, size_curves, log_radius, chi2_factor: float) -> FittedCurve:
    """Return the curve of one fit, with the errors and correlations of its parameters."""
    distribution_shape, n_populations = DISTRIBUTION_SHAPES[body_fit.distribution_shape], len(body_fit.amplitude)
    log_parameters = jnp.asarray(body_fit.log_parameters, jnp.float32)
    columns = np.asarray(
        _POPULATION_COLUMNS[body_fit.distribution_shape](log_parameters, jnp.asarray(log_radius, jnp.float32)), float
    )
    population_curves = np.einsum("pkn,qn->pkq", columns, size_curves)
    background_terms = data.background_terms(saxs_data.q, saxs_data.background_powers)
    is_present = body_fit.amplitude > 0
    linear_columns = np.concatenate([population_curves[is_present, 0], background_terms.T]).T
    coefficients = _least_squares(linear_columns / saxs_data.sigma[:, None], saxs_data.intensity / saxs_data.sigma)
    amplitudes, background_coefficients = np.zeros(n_populations), coefficients[is_present.sum() :]
    amplitudes[is_present] = coefficients[: is_present.sum()]
    names, slopes = [], []
    for population in np.flatnonzero(is_present):
        suffix = f"_{population + 1}" if n_populations > 1 else ""
        for name, column in (("radius", 1), ("pd", 2))[: distribution_shape.n_parameters]:
            if not body_fit.at_bound[population, column - 1]:
                names.append(name + suffix)
                slopes.append(amplitudes[population] * population_curves[population, column])
        names.append("scale" + suffix)
        slopes.append(amplitudes[population] * population_curves[population, 0])
    n_log_parameters = len(names)
    if body_fit.shape_value is not None:
        names.append(SHAPE_PARAMETERS[body_fit.body].name)
        slopes.append(amplitudes[0] * (_shape_slope(saxs_data, body_fit, log_radius) @ columns[0, 0]))
    n_slopes = len(names)
    names += ["background" if power == 0 else "power_scale" for power in saxs_data.background_powers]
    jacobian = np.concatenate([np.array(slopes).reshape(n_slopes, -1), background_terms.T]).T / saxs_data.sigma[:, None]
    covariance = _covariance(jacobian, chi2_factor, n_log_parameters)
    errors = np.sqrt(np.diagonal(covariance))
    calculated = linear_columns @ coefficients
    return FittedCurve(
        calculated,
        background_terms @ background_coefficients,
        (saxs_data.intensity - calculated) / saxs_data.sigma,
        float(amplitudes.sum()) / INTENSITY_UNIT,
        background_coefficients,
        tuple(names),
        errors,
        covariance / np.maximum(errors[:, None] * errors[None, :], 1e-300),
    )


def _shape_slope(
    saxs_data: SaxsData, body_fit: BodyFit, log_radius: Float[np.ndarray, " node"]
) -> Float[np.ndarray, "point node"]:
    """Return the derivative of the curve of each size with respect to the shape parameter, as a central difference."""
    value = float(body_fit.shape_value or 0.0)
    low, high = SHAPE_PARAMETERS[body_fit.body].neighbours(value, RELATIVE_SHAPE_STEP)
    low_curves, high_curves = (
        size_curves(saxs_data, body_table(body_fit, shape_value), log_radius) for shape_value in (low, high)
    )
    return (high_curves - low_curves) / (high - low)


def _covariance(jacobian, chi2_factor: float, n_log_parameters: int) -> np.ndarray:
    """Return the covariance of the fitted parameters.

    The logarithm of a parameter that the data do not determine has the standard deviation `evidence.MAX_LOG_SIGMA`.
    """
    prior_precision = np.where(np.arange(jacobian.shape[1]) < n_log_parameters, evidence.MAX_LOG_SIGMA**-2.0, 0.0)
    normal_matrix = chi2_factor * jacobian.T @ jacobian + np.diag(prior_precision)
    column_scale = np.sqrt(np.maximum(np.diagonal(normal_matrix), 1e-300))
    return np.linalg.pinv(normal_matrix / (column_scale[:, None] * column_scale[None, :])) / (
        column_scale[:, None] * column_scale[None, :]
    )


def _least_squares(columns, data):
    """Return the coefficients of the columns that fit the data best. The columns may differ by orders of magnitude."""
    column_norms = np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    return np.linalg.lstsq(columns / column_norms, data, rcond=None)[0] / column_norms


@jax.jit
def _size_curves(table, q, dq, log_radius):
    return design_matrix.size_curves(table, q, dq, log_radius)


def _jitted_columns(distribution_shape: str):
    return jax.jit(
        lambda log_parameters, log_radius: fit.population_columns(
            DISTRIBUTION_SHAPES[distribution_shape].volume_shares, log_parameters[None], log_radius
        )[0]
    )


_POPULATION_COLUMNS = {family: _jitted_columns(family) for family in DISTRIBUTION_SHAPES}
