"""Target of a fit to I(Q) of wide angles, in the same form as the target of a G(r) (`pdf.target`).

Its basis represents every curve $f^2 [1 + F / Q]$ that clusters can have at the points of the data, divided by the
standard errors. Rw compares the residual with what the structure adds to the scattering of single atoms and the
background: it is 1 for a model without any structure, as for G(r).
"""

import math
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.blas import with_one_blas_thread
from jaxstruc.pdf.intensity import IntensityCurve
from jaxstruc.pdf.target import (
    BASIS_SIZE_MULTIPLE,
    N_PARAMETERS_WITHOUT_PRIOR,
    QMAX_STEP,
    STRETCH_BOUNDS,
    FitBasis,
    Target,
    TooFewPointsError,
    pad_columns,
    project_data,
)
from jaxstruc.scattering.cluster_tables import TableRange

INTENSITY_BASIS_TOLERANCE = 1e-4
"""Smallest singular value of a curve in the basis, relative to the largest one. It is smaller than that for G(r),
because the weights of the points differ."""
DISTANCE_STEP = 4.0
"""Step for rounding up the longest distance of the tables, in Å."""
MIN_INTENSITY_SCALE = 1e-30
"""Smallest scale of a fit. The unit of I(Q) may be arbitrary."""


def intensity_range(*, qmax: float, diameter: float) -> TableRange:
    """Return the range of distances and Q that tables of clusters must cover. All distances contribute to I(Q).

    Args:
        qmax: End of the Q range, in 1/Å.
        diameter: Largest diameter of the clusters, in Å.
    """
    return TableRange(
        DISTANCE_STEP * math.ceil((diameter + 0.1) / DISTANCE_STEP),
        QMAX_STEP * math.ceil(STRETCH_BOUNDS[1] * qmax / QMAX_STEP - 1e-9),
    )


@with_one_blas_thread
def make_intensity_target(
    curve: IntensityCurve,
    *,
    bond: float,
    span: TableRange,
    element: str = "",
    absolute: bool = False,
    min_basis_size: int = 0,
) -> Target:
    """Return the target of a fit to I(Q). It is computed with NumPy in double precision.

    Args:
        curve: Measured I(Q) with the matrix from F(Q) to calculated curves.
        bond: Nearest-neighbour distance of the sample, in Å.
        span: Range of distances and Q that tables of clusters cover.
        element: Symbol of the element of the sample. If it is empty, particles of a search are rigid.
        absolute: Whether I(Q) is on an absolute scale, in squared electrons per atom.
        min_basis_size: Smallest size of the basis.

    Raises:
        TooFewPointsError: If there are too few points.
    """
    n_independent = float(len(curve.q) - curve.background.shape[1])
    if n_independent <= N_PARAMETERS_WITHOUT_PRIOR:
        raise TooFewPointsError(
            f"Expected more than {N_PARAMETERS_WITHOUT_PRIOR} points of I(Q) beyond the number of background terms, "
            f"got {n_independent:.0f}; widen the range with --qmin and --qmax."
        )
    basis_functions = _basis_functions(curve, min_basis_size)
    scale_bounds = (1.0, 1.0) if absolute else (MIN_INTENSITY_SCALE, np.inf)
    basis = _fit_basis(curve, basis_functions, bond=bond, span=span, n_independent=n_independent)
    basis = replace(basis, scale_bounds=_float32(scale_bounds))
    return Target(
        curve.q,
        curve.intensity / curve.sigma,
        qmin=float(curve.q[0]),
        qmax=float(curve.q[-1]),
        qdamp=0.0,
        qbroad=0.0,
        bond=bond,
        n_background_terms=curve.background.shape[1],
        span=span,
        basis_functions=basis_functions,
        basis=basis,
        absolute=absolute,
        element=element,
        intensity=curve,
    )


def residual_structure(residual: Float[np.ndarray, " point"], target: Target, *, n_parameters: int) -> float | None:
    """Return chi² of a fit per degree of freedom; None if the file states no standard errors.

    Args:
        residual: Residual of the fit, divided by the standard errors.
        target: Fitted data.
        n_parameters: Number of fitted values.
    """
    if target.intensity is None or not target.intensity.has_errors:
        return None
    return float(residual @ residual) / max(target.n_independent - n_parameters, 1.0)


def _fit_basis(
    curve: IntensityCurve,
    basis_functions: Float[np.ndarray, "point basis"],
    *,
    bond: float,
    span: TableRange,
    n_independent: float,
) -> FitBasis:
    """Return the data in the basis, with a free scale."""
    projection = project_data(curve.intensity / curve.sigma, basis_functions, curve.background)
    self_scattering = basis_functions.T @ curve.self_scattering
    self_scattering -= projection.background_basis @ (projection.background_basis.T @ self_scattering)
    unit_curve = self_scattering / max(np.linalg.norm(self_scattering), 1e-300)
    structure = projection.data - unit_curve * (unit_curve @ projection.data)
    unmodelled_squares = max(projection.unmodelled_squares, 0.0)
    return FitBasis(
        q=_float32(curve.nodes),
        transform=_float32(curve.f_to_intensity.T @ basis_functions),
        radius=_float32(np.zeros(basis_functions.shape[1])),
        background_basis=_float32(pad_columns(projection.background_basis)),
        data=_float32(projection.data),
        self_scattering=_float32(self_scattering),
        norm=_float32(structure @ structure + unmodelled_squares),
        unmodelled_squares=_float32(unmodelled_squares),
        n_independent=_float32(n_independent),
        stretch=_float32(1.0),
        bond=_float32(bond),
        qdamp=_float32(0.0),
        qbroad=_float32(0.0),
        scale_bounds=_float32((MIN_INTENSITY_SCALE, np.inf)),
        span=span,
    )


def _basis_functions(curve: IntensityCurve, min_basis_size: int) -> Float[np.ndarray, "point basis"]:
    """Return an orthonormal basis of the curves of clusters and of single atoms at the points of the data."""
    node_weights = np.sqrt(np.gradient(curve.nodes))
    self_scattering = curve.self_scattering / np.linalg.norm(curve.self_scattering)
    pair_matrix = curve.f_to_intensity * node_weights
    pair_matrix -= self_scattering[:, None] * (self_scattering @ pair_matrix)
    if len(pair_matrix) < pair_matrix.shape[1]:
        functions, singular_values, _ = np.linalg.svd(pair_matrix, full_matrices=False)
    else:
        eigenvalues, eigenvectors = np.linalg.eigh(pair_matrix.T @ pair_matrix)
        order = np.argsort(-eigenvalues)
        singular_values = np.sqrt(np.maximum(eigenvalues[order], 0.0))
        functions = pair_matrix @ eigenvectors[:, order] / np.maximum(singular_values, 1e-300)
    functions = functions[:, singular_values > INTENSITY_BASIS_TOLERANCE * singular_values[0]]
    basis_functions = np.concatenate([self_scattering[:, None], functions], axis=1)
    size = basis_functions.shape[1]
    return np.pad(basis_functions, ((0, 0), (0, max(-size % BASIS_SIZE_MULTIPLE, min_basis_size - size))))


def _float32(values) -> Float[Array, "..."]:
    return jnp.asarray(values, jnp.float32)
