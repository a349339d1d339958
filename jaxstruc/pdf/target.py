r"""Target of a fit: a measured G(r), expressed in a compact basis in which it is compared with models.

The basis consists of orthonormal functions of r. Together they represent every curve that a model can have in the Q and
r range of the data. About 160 functions represent thousands of points. The comparison is exact, because the part of the
data outside the basis contributes only a constant to the misfit. In this basis multiplication by r² is diagonal (a
discrete variable representation), so the envelope of the resolution multiplies each coefficient separately (J. C.
Light, I. P. Hamilton, J. V. Lill, J. Chem. Phys. 82, 1400 (1985), doi 10.1063/1.448462). A smooth background is
projected out of data and model.

If the standard errors of G(r) differ between points, data, models and background are divided by them. An envelope in r
commutes with this factor, so that the same compiled programs fit weighted data.

The span of a target is the range of distances and Q that the tables of clusters cover. Fits with equal spans and equal
array sizes share one compilation.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.blas import with_one_blas_thread
from jaxstruc.parameters import FIT_PARAMETERS, PARAMETERS
from jaxstruc.pdf.intensity import IntensityCurve
from jaxstruc.scattering.cluster_tables import TableRange

STRETCH_BOUNDS = PARAMETERS["stretch"].bounds(1.0)
"""Smallest and largest stretch of a fit."""
R_MARGIN = 6.0
"""Length in Å by which the distances of a model exceed the end of the fitted range. The peaks of longer distances do
not reach the range."""
CURVE_RW_ERROR = 3e-3
"""Rw that the errors of calculated curves cause. The errors come from interpolated tables and binned distances."""
BASIS_TOLERANCE = 1e-3
"""Smallest singular value of a curve in the basis, relative to the largest one."""
LOW_Q_TOLERANCE = 0.03
"""Smallest singular value of a curve in `low_q_curves`, relative to the largest one."""
MIN_SCALE = 1e-6
"""Smallest scale of a fit."""
N_PARAMETERS_WITHOUT_PRIOR = sum(PARAMETERS[name].prior is None for name in FIT_PARAMETERS)
"""Number of parameters that the data must determine. The relaxation has a prior, and is not one of them."""
BASIS_SIZE_MULTIPLE = 32
"""Step for rounding up the size of a basis, so that different files share a compilation. The additional functions are
zero and change nothing."""
RANGE_STEP, QMAX_STEP, Q_NODES_STEP, BASIS_STEP = 10.0, 8.0, 128, 64
"""Steps for rounding up the end of the r range in Å, the largest Q in 1/Å, the number of points of Q and the size of
the basis of the files of a run. The list of possible sizes is short, so that there are few compilations."""
MIN_BACKGROUND_WAVELENGTH = 8.0
"""Smallest wavelength of a smooth background in Å. It is longer than the bonds of metals, so that a background does not
explain the distances of atoms."""
N_BACKGROUND_COLUMNS = 16
"""Step for rounding up the number of background terms, so that targets share compilations. The additional terms are
zero and change nothing."""
BASIS_MARGIN = 20.0
"""Number of basis functions in addition to the number of independent points."""


class TooFewPointsError(ValueError):
    """The data have too few independent points for a fit."""


class TargetSettings(NamedTuple):
    """Settings of a target: instrument, ranges, bond length, and the sizes to which its arrays are padded."""

    qmin: float
    """Start of the Q range, in 1/Å."""
    qmax: float
    """End of the Q range, in 1/Å."""
    qdamp: float
    """Damping $Q_{damp}$ of G(r) in 1/Å. This is the fixed value, or the start value if it is fitted."""
    qbroad: float
    """Broadening $Q_{broad}$ of peaks in 1/Å. This is the fixed value, or the start value if it is fitted."""
    bond: float
    """Nearest-neighbour distance of the sample, in Å."""
    span: TableRange
    """Range of distances and Q that tables of clusters cover."""
    n_background_terms: int = 0
    """Number of smooth background terms: cosines with 0, 1, 2, ... half waves over the range of r."""
    absolute: bool = False
    """Whether the data are on an absolute scale, so that the scale of models is fixed at 1."""
    element: str = ""
    """Symbol of the element of the sample. If it is empty, particles of a search are rigid."""
    lowest_qmin: float | None = None
    """Smallest qmin in 1/Å that `replace_settings` may set; None for `qmin`. The basis includes the curves of F(Q) from
    this Q on."""
    min_q_nodes: int = 0
    """Smallest number of points of Q. Additional points are zero, so that different files share a compilation."""
    min_basis_size: int = 0
    """Smallest size of the basis. Additional functions are zero, so that different files share a compilation."""

    @property
    def basis_qmin(self) -> float:
        """Smallest qmin of the models, in 1/Å."""
        return self.qmin if self.lowest_qmin is None else min(self.lowest_qmin, self.qmin)


class ArraySizes(NamedTuple):
    """Sizes of the arrays of targets that share compilations."""

    span: TableRange
    """Range of distances and Q that tables of clusters cover."""
    n_q_nodes: int
    """Number of points of Q."""
    basis_size: int
    """Number of functions of the basis."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "q",
        "transform",
        "radius",
        "background_basis",
        "data",
        "self_scattering",
        "norm",
        "unmodelled_squares",
        "n_independent",
        "stretch",
        "bond",
        "qdamp",
        "qbroad",
        "scale_bounds",
    ],
    meta_fields=["span"],
)
@dataclass(frozen=True)
class FitBasis:
    """Data of a target in its basis, for compiled fits. The field `span` is static under `jax.jit`."""

    q: Float[Array, "*batch q"]
    """Points of the Gauss-Legendre rule over the Q range, in 1/Å."""
    transform: Float[Array, "*batch q basis"]
    """Matrix that transforms F(Q) to the basis, without the damping by the resolution."""
    radius: Float[Array, "*batch basis"]
    """Distance r in Å at which each function of the basis is centred."""
    background_basis: Float[Array, "*batch basis term"]
    """Matrix B that removes the background from a curve c in the basis: $c - B B^T c$."""
    data: Float[Array, "*batch basis"]
    """Coefficients of the data without background."""
    self_scattering: Float[Array, "*batch basis"]
    """Scattering of single atoms without background, which has the scale of the model. It is 0 for G(r)."""
    norm: Float[Array, "*batch"]
    """Sum of the squared data. For I(Q), the scattering of single atoms and the background are projected out first."""
    unmodelled_squares: Float[Array, "*batch"]
    """Sum of the squares of the part of the data that neither the basis nor the background can represent."""
    n_independent: Float[Array, "*batch"]
    """Number of independent points."""
    stretch: Float[Array, "*batch"]
    """Position of the first peak of G(r), relative to the bond length. Fits start near this stretch."""
    bond: Float[Array, "*batch"]
    """Nearest-neighbour distance of the clusters, in Å."""
    qdamp: Float[Array, "*batch"]
    """Damping $Q_{damp}$ of G(r) in 1/Å. This is the fixed value, or the start value if it is fitted."""
    qbroad: Float[Array, "*batch"]
    """Broadening $Q_{broad}$ of peaks in 1/Å. This is the fixed value, or the start value if it is fitted."""
    scale_bounds: Float[Array, "*batch 2"]
    """Smallest and largest scale; both are 1 if the data are on an absolute scale."""
    span: TableRange
    """Range of distances and Q that tables of clusters cover."""


class Target(NamedTuple):
    """A measured curve in the fitted range, with its settings and its representation in the basis."""

    r: Float[np.ndarray, " r"]
    """Points of r in Å, or of Q in 1/Å for an I(Q)."""
    g: Float[np.ndarray, " r"]
    """Measured G(r) in 1/Å², or measured I(Q) divided by its standard error."""
    qmin: float
    """Start of the Q range, in 1/Å."""
    qmax: float
    """End of the Q range, in 1/Å."""
    qdamp: float
    """Damping $Q_{damp}$ of G(r) in 1/Å. This is the fixed value, or the start value if it is fitted."""
    qbroad: float
    """Broadening $Q_{broad}$ of peaks in 1/Å. This is the fixed value, or the start value if it is fitted."""
    bond: float
    """Nearest-neighbour distance of the sample, in Å."""
    n_background_terms: int
    """Number of smooth background terms."""
    span: TableRange
    """Range of distances and Q that tables of clusters cover."""
    basis_functions: Float[np.ndarray, "r basis"]
    """Values of the basis functions at the points of the data."""
    basis: FitBasis
    """Data in the basis."""
    absolute: bool = False
    """Whether the data are on an absolute scale, so that the scale of models is fixed at 1."""
    element: str = ""
    """Symbol of the element of the sample. If it is empty, particles of a search are rigid."""
    intensity: IntensityCurve | None = None
    """Measured I(Q) with the matrix from F(Q) to calculated curves; None for G(r)."""
    weight: Float[np.ndarray, " r"] | None = None
    """Factor on the residual at each point, inversely proportional to the standard error of G(r), with a mean square of
    1. None if all points have equal errors, and for I(Q)."""

    def weighted(self, values: Float[np.ndarray, "*batch r"]) -> Float[np.ndarray, "*batch r"]:
        """Return functions of r at the points of the data, multiplied by the weights of the points."""
        return values if self.weight is None else values * self.weight

    @property
    def accuracy(self) -> float:
        """Root mean square error of calculated curves, in the unit of `g`."""
        return CURVE_RW_ERROR * math.sqrt(float(self.basis.norm) / len(self.g))

    @property
    def unit(self) -> Float[np.ndarray, " r"] | float:
        """Factor by which `g` and calculated curves are multiplied to have the unit of the data."""
        return 1.0 if self.intensity is None else self.intensity.sigma

    @property
    def n_independent(self) -> float:
        """Number of independent points minus the number of background terms."""
        return float(self.basis.n_independent)


class ProjectedData(NamedTuple):
    """Data in a basis, with a smooth background projected out."""

    data: Float[np.ndarray, " basis"]
    """Coefficients of the data without background."""
    background_basis: Float[np.ndarray, "basis term"]
    """Matrix B that removes the background from a curve c in the basis: $c - B B^T c$."""
    unmodelled_squares: float
    """Sum of the squares of the part of the data that neither the basis nor the background can represent."""


def table_range(*, rmax: float, qmax: float, diameter: float) -> TableRange:
    """Return the range of distances and Q that tables of clusters must cover.

    The limits are rounded up, so that similar files share compilations.

    Args:
        rmax: End of the data, in Å.
        qmax: End of the Q range, in 1/Å.
        diameter: Largest diameter of the clusters, in Å.
    """
    max_distance = min(rmax + R_MARGIN, diameter + 0.1)
    limits = (4.0 * math.ceil(limit / 4 - 1e-9) for limit in (max_distance, STRETCH_BOUNDS[1] * qmax))
    return TableRange(*limits)


def array_sizes(*, r_start: float, r_end: float, qmin: float, qmax: float, diameter: float) -> ArraySizes:
    """Return rounded sizes of arrays that suffice for all data in a range of r and Q.

    Args:
        r_start: Smallest start of the data, in Å.
        r_end: Largest end of the data, in Å.
        qmin: Smallest qmin of the models, in 1/Å.
        qmax: Largest end of the Q range, in 1/Å.
        diameter: Largest diameter of the clusters, in Å.
    """
    r_end = RANGE_STEP * math.ceil(r_end / RANGE_STEP - 1e-9)
    span = table_range(rmax=r_end, qmax=qmax, diameter=diameter)
    span = TableRange(span.max_distance, QMAX_STEP * math.ceil(span.qmax / QMAX_STEP - 1e-9))
    basis_size = (r_end - r_start) * (qmax - qmin) / math.pi + BASIS_MARGIN
    return ArraySizes(
        span,
        Q_NODES_STEP * math.ceil(n_q_nodes(r_end, qmin, qmax, span) / Q_NODES_STEP),
        BASIS_STEP * math.ceil(basis_size / BASIS_STEP),
    )


@with_one_blas_thread
def make_target(
    r: Float[np.ndarray, " r"],
    g: Float[np.ndarray, " r"],
    settings: TargetSettings,
    *,
    sigma: Float[np.ndarray, " r"] | None = None,
) -> Target:
    """Return the target of a fit. It is computed with NumPy in double precision.

    Args:
        r: Points of the fitted range in Å, evenly spaced and rising.
        g: Measured G(r) at these points, in 1/Å².
        settings: Instrument, ranges, bond length and array sizes.
        sigma: Standard errors of G(r) in 1/Å², above 0. Only their ratios matter. None if they are equal or unknown.

    Raises:
        TooFewPointsError: If there are too few independent points.
    """
    n_terms = settings.n_background_terms
    n_independent = independent_points(r, qmin=settings.qmin, qmax=settings.qmax, n_background_terms=n_terms)
    weight = None if sigma is None else point_weights(sigma)
    weighted_g = g if weight is None else g * weight
    basis_functions, radius = _basis_functions(r, settings, weight)
    projection = project_data(weighted_g, basis_functions, background_terms(r, n_terms, weight=weight))
    min_q_nodes = max(settings.min_q_nodes, n_q_nodes(r[-1], settings.basis_qmin, settings.qmax, settings.span))
    weighted_functions = basis_functions if weight is None else basis_functions * weight[:, None]
    q, transform = _basis_transform(r, weighted_functions, settings.qmin, settings.qmax, settings.span, min_q_nodes)
    basis = FitBasis(
        q=q,
        transform=transform,
        radius=_float32(radius),
        background_basis=_float32(pad_columns(projection.background_basis)),
        data=_float32(projection.data),
        self_scattering=_float32(np.zeros(len(radius))),
        norm=_float32(weighted_g @ weighted_g),
        unmodelled_squares=_float32(max(projection.unmodelled_squares, 0.0)),
        n_independent=_float32(n_independent),
        stretch=_float32(_first_peak(r, g, settings.bond) / settings.bond),
        bond=_float32(settings.bond),
        qdamp=_float32(settings.qdamp),
        qbroad=_float32(settings.qbroad),
        scale_bounds=_float32((1.0, 1.0) if settings.absolute else (MIN_SCALE, np.inf)),
        span=settings.span,
    )
    return Target(
        r,
        g,
        qmin=settings.qmin,
        qmax=settings.qmax,
        qdamp=settings.qdamp,
        qbroad=settings.qbroad,
        bond=settings.bond,
        n_background_terms=n_terms,
        span=settings.span,
        basis_functions=basis_functions,
        basis=basis,
        absolute=settings.absolute,
        element=settings.element,
        weight=weight,
    )


def replace_settings(target: Target, *, qmin: float | None = None, qdamp: float | None = None) -> Target:
    """Return a target with another qmin or qdamp of the models, but with the same data and basis.

    Args:
        target: Target with a `lowest_qmin` that does not exceed `qmin`.
        qmin: Start of the Q range of the models, in 1/Å.
        qdamp: Damping of G(r) by the resolution, in 1/Å.
    """
    qmin = target.qmin if qmin is None else qmin
    qdamp = target.qdamp if qdamp is None else qdamp
    q, basis_transform = _basis_transform(
        target.r, target.weighted(target.basis_functions.T).T, qmin, target.qmax, target.span, len(target.basis.q)
    )
    n_independent = independent_points(
        target.r, qmin=qmin, qmax=target.qmax, n_background_terms=target.n_background_terms
    )
    basis = replace(
        target.basis, q=q, transform=basis_transform, qdamp=_float32(qdamp), n_independent=_float32(n_independent)
    )
    return target._replace(qmin=qmin, qdamp=qdamp, basis=basis)


def independent_points(r: Float[np.ndarray, " r"], *, qmin: float, qmax: float, n_background_terms: int = 0) -> float:
    """Return the number of independent points of the data minus the number of background terms.

    Raises:
        TooFewPointsError: If there are too few independent points for a fit.
    """
    n_independent = min(len(r), (r[-1] - r[0]) * (qmax - qmin) / np.pi) - n_background_terms
    if n_independent <= N_PARAMETERS_WITHOUT_PRIOR:
        advice = ", or fit fewer --background terms" if n_background_terms else ""
        raise TooFewPointsError(
            f"Expected more than {N_PARAMETERS_WITHOUT_PRIOR} independent points, got {n_independent:.1f} for r "
            f"{r[0]:g} to {r[-1]:g} Å and Q {qmin:g} to {qmax:g} 1/Å; lower --rmin or raise --rmax{advice}."
        )
    return n_independent


def point_weights(sigma: Float[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
    """Return factors on residuals that are inversely proportional to the standard errors, with a mean square of 1."""
    inverse_errors = sigma.min() / sigma
    return inverse_errors / np.sqrt(np.mean(inverse_errors**2))


def smooth_background_terms(length: float) -> int:
    """Return the number of background terms with wavelengths of at least `MIN_BACKGROUND_WAVELENGTH`.

    Args:
        length: Length of the range of r, in Å.
    """
    return 1 + int(2 * length / MIN_BACKGROUND_WAVELENGTH)


def background_terms(
    r: Float[np.ndarray, " r"], n_terms: int, *, weight: Float[np.ndarray, " r"] | None = None
) -> Float[np.ndarray, "r term"]:
    """Return the orthonormalized background curves 1, cos x, cos 2x, ... with x from 0 to pi over the range.

    Args:
        r: Points of r, in Å.
        n_terms: Number of terms.
        weight: Factor on residuals at each point, by which the curves are multiplied. None for 1.
    """
    position = (r - r[0]) / (r[-1] - r[0])
    cosines = np.cos(np.pi * position[:, None] * np.arange(n_terms))
    return np.linalg.qr(cosines if weight is None else cosines * weight[:, None])[0]


def sine_transform(
    r: Float[np.ndarray, " r"], qmin: float, qmax: float, span: TableRange
) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, "r q"]]:
    """Return the points of Q of a Gauss-Legendre rule, and the matrix that transforms F(Q) at these points to G(r)."""
    rule_nodes, rule_weights = _gauss_legendre(n_q_nodes(r[-1], qmin, qmax, span))
    q = qmin + (qmax - qmin) * (rule_nodes + 1) / 2
    return q, (qmax - qmin) / np.pi * rule_weights * np.sin(r[:, None] * q)


def low_q_curves(target: Target, *, q_start: float, q_end: float) -> Float[np.ndarray, "basis wave"]:
    """Return an orthonormal basis of the curves in G(r) that F(Q) in a range of Q can produce.

    Models with different values of qmin in this range differ only by such curves.

    Args:
        target: Measured data and settings of the fit.
        q_start: Start of the range, in 1/Å.
        q_end: End of the range, in 1/Å.
    """
    rule_nodes, rule_weights = _gauss_legendre(n_q_nodes(target.r[-1], q_start, q_end, target.span))
    sine_curves = np.sin(target.r[:, None] * (q_start + (q_end - q_start) * (rule_nodes + 1) / 2)) * np.sqrt(
        rule_weights
    )
    background_basis = np.asarray(target.basis.background_basis, float)
    sine_curves = target.basis_functions.T @ target.weighted(sine_curves.T).T
    vectors, singular_values, _ = np.linalg.svd(
        sine_curves - background_basis @ (background_basis.T @ sine_curves), full_matrices=False
    )
    return vectors[:, singular_values > LOW_Q_TOLERANCE * singular_values[0]]


def n_q_nodes(rmax: float, qmin: float, qmax: float, span: TableRange) -> int:
    """Return the number of points of Q that the Gauss-Legendre rule of `sine_transform` needs."""
    phase = 0.5 * (qmax - qmin) * (STRETCH_BOUNDS[1] * span.max_distance + rmax)
    return 32 * math.ceil((phase / 2 + 16) / 32)


def _basis_functions(
    r: Float[np.ndarray, " r"], settings: TargetSettings, weight: Float[np.ndarray, " r"] | None
) -> tuple[Float[np.ndarray, "r basis"], Float[np.ndarray, " basis"]]:
    """Return the basis functions at the points of the data, and the r in Å at which each function is centred."""
    _, f_to_g = sine_transform(r, settings.basis_qmin, settings.qmax, settings.span)
    f_to_g = f_to_g if weight is None else f_to_g * weight[:, None]
    eigenvalues, eigenvectors = np.linalg.eigh(f_to_g.T @ f_to_g)
    selected_functions = eigenvalues > BASIS_TOLERANCE**2 * eigenvalues[-1]
    basis_functions = f_to_g @ (eigenvectors[:, selected_functions] / np.sqrt(eigenvalues[selected_functions]))
    r_squared, rotation = np.linalg.eigh(basis_functions.T @ (r[:, None] ** 2 * basis_functions))
    padding = (0, max(-len(r_squared) % BASIS_SIZE_MULTIPLE, settings.min_basis_size - len(r_squared)))
    return np.pad(basis_functions @ rotation, ((0, 0), padding)), np.pad(np.sqrt(r_squared), padding)


def project_data(
    g: Float[np.ndarray, " r"], basis_functions: Float[np.ndarray, "r basis"], terms: Float[np.ndarray, "r term"]
) -> ProjectedData:
    r"""Return the data in the basis, with the best smooth background removed.

    Let B be the basis functions, T the background terms and $A = 1 - T T^T$. For a model with the coefficients c, the
    misfit to the data g is $|L^{-1} B^T A g - L c|^2$ plus a constant, with $L^2 = B^T A B$.
    """
    principal_curves, cosines, _ = np.linalg.svd(basis_functions.T @ terms, full_matrices=False)
    sines = np.sqrt(np.maximum(1 - cosines**2, 0.0))
    projected_g = g - terms @ (terms.T @ g)
    data = basis_functions.T @ projected_g
    data += principal_curves @ (
        np.where(sines > 1e-6, 1 / np.maximum(sines, 1e-6) - 1, -1.0) * (principal_curves.T @ data)
    )
    unmodelled_squares = projected_g @ projected_g - data @ data
    return ProjectedData(data, principal_curves * np.sqrt(1 - sines), unmodelled_squares)


def pad_columns(background_basis: Float[np.ndarray, "basis term"]) -> Float[np.ndarray, "basis column"]:
    """Return the background basis with a multiple of `N_BACKGROUND_COLUMNS` columns, which is not zero."""
    n_columns = N_BACKGROUND_COLUMNS * max(1, math.ceil(background_basis.shape[1] / N_BACKGROUND_COLUMNS))
    return np.pad(background_basis, ((0, 0), (0, n_columns - background_basis.shape[1])))


@lru_cache(maxsize=64)
def _gauss_legendre(n_nodes: int) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"]]:
    """Return the nodes and weights of the Gauss-Legendre rule from -1 to 1."""
    return np.polynomial.legendre.leggauss(n_nodes)


def _basis_transform(
    r: Float[np.ndarray, " r"],
    basis_functions: Float[np.ndarray, "r basis"],
    qmin: float,
    qmax: float,
    span: TableRange,
    n_nodes: int,
) -> tuple[Float[Array, " q"], Float[Array, "q basis"]]:
    """Return the points of Q and the matrix that transforms F(Q) to the basis, both padded with zeros."""
    q, f_to_g = sine_transform(r, qmin, qmax, span)
    padding = n_nodes - len(q)
    return _float32(np.pad(q, (0, padding))), _float32(np.pad(f_to_g.T @ basis_functions, ((0, padding), (0, 0))))


def _float32(values) -> Float[Array, "..."]:
    return jnp.asarray(values, jnp.float32)


def _first_peak(r, g, bond: float) -> float:
    """Return the r of the highest point within 12 % of the bond length, or the bond length if there is no point."""
    near_bond = (r > 0.88 * bond) & (r < 1.12 * bond)
    return float(r[near_bond][np.argmax(g[near_bond])]) if near_bond.any() else bond
