r"""Measured I(Q) of wide angles, as a linear function of F(Q).

Particles of one element scatter

$$I(Q) = s f^2(Q) \left[1 + F(Q) / Q\right] + b(Q),$$

with the form factor f, the scale s and a smooth background b (P. Debye, Ann. Phys. 351, 809 (1915)). The term with F(Q)
is a linear function of F at a few nodes of Q. The fits of I(Q) therefore use the same tables of clusters as those of
G(r), and no Fourier transform. The term $f^2$ is the scattering of single atoms. It has the scale of the other term,
and tells how many atoms a particle has.

All curves are divided by the standard errors of the data. F(Q) contains no frequency above the largest distance D of
the clusters, so a polynomial through $D (Q_{max} - Q_{min}) / 2$ nodes and a few more interpolates it (L. N. Trefethen,
Approximation Theory and Approximation Practice, SIAM, 2013, chapter 8). The resolution is a Gaussian in Q.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxstruc.blas import with_one_blas_thread
from jaxstruc.io import points
from jaxstruc.io.columns import MIN_ROWS, ReadError
from jaxstruc.io.measurement import MAX_QMAX, Measurement
from jaxstruc.scattering import form_factors

MIN_RELATIVE_ERROR = 1e-3
"""Smallest standard error relative to I(Q). Calculated curves are no more accurate."""
UNKNOWN_RELATIVE_ERROR = 0.01
"""Standard error relative to I(Q) of data without errors. Only the ratios of the errors matter for a fit."""
MIN_INTENSITY_FRACTION = 1e-2
"""Smallest intensity, relative to the median, for which these errors are proportional to I(Q)."""
N_SPARE_NODES, NODE_STEP = 24, 32
"""Number of nodes in addition to half of the phase of F(Q), and step for rounding up the number of nodes."""
N_RESOLUTION_POINTS = 7
"""Number of points of the Gauss-Hermite rule for the resolution."""
MIN_ATOMIC_QMAX = 2.0
"""Smallest end of the Q range in 1/Å. Below it, I(Q) shows no distances between neighbouring atoms."""


class IntensityCurve(NamedTuple):
    """I(Q) in the fitted range, with the matrix from F(Q) to calculated curves. Curves are divided by `sigma`."""

    q: Float[np.ndarray, " point"]
    """Points of Q, in 1/Å."""
    intensity: Float[np.ndarray, " point"]
    """Measured I(Q), in the unit of the file."""
    sigma: Float[np.ndarray, " point"]
    """Standard error of `intensity`."""
    nodes: Float[np.ndarray, " node"]
    """Points of Q at which F(Q) is computed, in 1/Å."""
    f_to_intensity: Float[np.ndarray, "point node"]
    """Matrix from F(Q) at the nodes to $f^2 F / Q$."""
    self_scattering: Float[np.ndarray, " point"]
    """Scattering $f^2$ of single atoms."""
    background: Float[np.ndarray, "point term"]
    """Orthonormal background curves."""
    has_errors: bool
    """Whether the file states standard errors."""

    def select(self, mask: Bool[np.ndarray, " point"]) -> "IntensityCurve":
        """Return some of the points."""
        return self._replace(
            q=self.q[mask],
            intensity=self.intensity[mask],
            sigma=self.sigma[mask],
            f_to_intensity=self.f_to_intensity[mask],
            self_scattering=self.self_scattering[mask],
            background=np.linalg.qr(self.background[mask])[0],
        )


def n_nodes(q_range: float, max_distance: float) -> int:
    """Return the number of nodes for F(Q) of distances up to `max_distance` (in Å) in a range of Q (in 1/Å)."""
    return NODE_STEP * math.ceil((0.5 * q_range * max_distance + N_SPARE_NODES) / NODE_STEP)


def fitted_points(measurement: Measurement, *, qmin: float, qmax: float) -> Measurement:
    """Return the finite points of an I(Q) from qmin to qmax.

    Raises:
        ReadError: If fewer than `MIN_ROWS` points remain, or if they show no distances of atoms.
    """
    q, intensity = np.asarray(measurement.q, float), np.asarray(measurement.intensity, float)
    is_inside = np.isfinite(intensity) & (q > 0) & (q >= qmin * (1 - 1e-9)) & (q <= qmax * (1 + 1e-9))
    path = measurement.name
    if (count := is_inside.sum()) < MIN_ROWS:
        raise ReadError(
            f"Expected at least {MIN_ROWS} points of I(Q) from qmin to qmax, got {count} between {qmin:g} and "
            f"{qmax:g} 1/Å in {path}; pass --qmin and --qmax."
        )
    if q[is_inside][-1] < MIN_ATOMIC_QMAX:
        raise ReadError(
            f"Expected I(Q) up to at least {MIN_ATOMIC_QMAX:g} 1/Å, G(r), S(Q) or F(Q), got I(Q) in {path}; pass it to "
            "jaxstruc saxs, or correct --q-unit and --qmax."
        )
    if q[is_inside][-1] > MAX_QMAX:
        raise ReadError(
            f"Expected Q of at most {MAX_QMAX:g} 1/Å, got {q[is_inside][-1]:g} in {path}; correct --q-unit, or pass "
            "--qmax."
        )
    if np.mean(intensity[is_inside] > 0) <= 0.5:
        raise ReadError(
            f"Expected positive intensities, got mostly zero or negative ones in {path}; if a background was "
            "subtracted, check its scale."
        )
    return points.select_points(measurement, is_inside)


@with_one_blas_thread
def intensity_curve(
    measurement: Measurement,
    element: str,
    *,
    max_distance: float,
    n_background_terms: int,
    resolution: float = 0.0,
    min_nodes: int = 0,
) -> IntensityCurve:
    """Return a measured I(Q) with the matrix from F(Q) to calculated curves.

    Args:
        measurement: I(Q) in the range of the fit.
        element: Symbol of the element, e.g. Pt.
        max_distance: Largest stretched distance of the clusters, in Å.
        n_background_terms: Number of background terms: polynomials of Q of rising degree, at least the constant.
        resolution: Standard deviation of the resolution in 1/Å, in addition to that of the file.
        min_nodes: Smallest number of nodes.
    """
    q, intensity = np.asarray(measurement.q, float), np.asarray(measurement.intensity, float)
    sigma, has_errors = _standard_errors(intensity, measurement.sigma)
    count = max(min_nodes, n_nodes(q[-1] - q[0], max_distance))
    rule_nodes, rule_weights = np.polynomial.legendre.leggauss(count)
    width = np.hypot(resolution, 0.0 if measurement.dq is None else measurement.dq)
    polynomials, self_scattering = _smeared_polynomials(q, np.broadcast_to(width, q.shape), element, count)
    node_polynomials = np.polynomial.legendre.legvander(rule_nodes, count - 1)
    to_coefficients = (node_polynomials * rule_weights[:, None]).T * (np.arange(count) + 0.5)[:, None]
    background = np.polynomial.legendre.legvander(_position(q, q), max(n_background_terms, 1) - 1) / sigma[:, None]
    return IntensityCurve(
        q,
        intensity,
        sigma,
        q[0] + (q[-1] - q[0]) * (rule_nodes + 1) / 2,
        polynomials @ to_coefficients / sigma[:, None],
        self_scattering / sigma,
        np.linalg.qr(background)[0],
        has_errors,
    )


def _smeared_polynomials(
    q: Float[np.ndarray, " point"], width: Float[np.ndarray, " point"], element: str, count: int
) -> tuple[Float[np.ndarray, "point degree"], Float[np.ndarray, " point"]]:
    """Return $f^2 P_k / Q$ for the Legendre polynomials over the range, and $f^2$, averaged over the resolution.

    Args:
        q: Points of the data, in 1/Å.
        width: Standard deviation of the resolution at each point, in 1/Å.
        element: Symbol of the element.
        count: Number of polynomials.
    """
    offsets, weights = (
        np.polynomial.hermite_e.hermegauss(N_RESOLUTION_POINTS) if np.any(width > 0) else (np.zeros(1), np.ones(1))
    )
    coefficients = form_factors.xray_coefficients([element])
    polynomials, self_scattering = np.zeros((len(q), count)), np.zeros(len(q))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        shifted_q = np.clip(q + offset * width, q[0], q[-1])
        form_factor = form_factors.xray_form_factors(coefficients, jnp.asarray(shifted_q, jnp.float32))[0]
        atom_scattering = weight * np.asarray(form_factor, float) ** 2
        self_scattering += atom_scattering
        shifted_polynomials = np.polynomial.legendre.legvander(_position(shifted_q, q), count - 1)
        polynomials += (atom_scattering / shifted_q)[:, None] * shifted_polynomials
    return polynomials, self_scattering


def _position(values: Float[np.ndarray, " point"], q: Float[np.ndarray, " other"]) -> Float[np.ndarray, " point"]:
    """Return points of Q as positions from -1 to 1 in the range of the data."""
    return 2 * (values - q[0]) / (q[-1] - q[0]) - 1


def _standard_errors(intensity: np.ndarray, sigma: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """Return the standard errors of the data, and whether the file states them."""
    magnitude = np.maximum(np.abs(intensity), MIN_INTENSITY_FRACTION * np.median(np.abs(intensity)))
    if sigma is None or not np.all(np.isfinite(sigma) & (np.asarray(sigma) > 0)):
        return UNKNOWN_RELATIVE_ERROR * magnitude, False
    return np.maximum(np.asarray(sigma, float), MIN_RELATIVE_ERROR * magnitude), True
