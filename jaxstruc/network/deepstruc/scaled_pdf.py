"""PDFs as functions of r in units of the nearest-neighbour distance, which is read from their first peak.

A particle that is stretched as a whole has nearly the same scaled PDF. The network therefore learns a shape once, and
not again for each bond length. The widths of the peaks differ, because vibrations and Q range set them in Å. The curves
are therefore smoothed, so that their peaks have nearly equal widths and no termination ripples. The neighbour distance
itself is part of the network's input.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.network.cvae.dataset import PDF_GRID

SCALED_R = np.arange(0.7, 9.0, 0.04)
"""Points of a scaled PDF, in nearest-neighbour distances. With 3.3 Å, the last point is at 30 Å."""
SMOOTHING = 0.06
"""Standard deviation of the Gaussian that smooths a scaled PDF, in nearest-neighbour distances."""
PEAK_R = np.arange(1.6, 4.5, 0.01)
"""Points in Å on which the first peak is searched. The shortest bonds of metals are 2 Å in the list of DeepStruc."""
MIN_PEAK_HEIGHT = 0.35
"""Smallest height of the first peak, relative to the highest value in `PEAK_R`. In sc it is about 0.6."""
BATCH_SIZE = 500
"""Number of PDFs that are scaled at once."""


class ScaledPdf(NamedTuple):
    """Scaled PDFs."""

    values: Float[Array, "*batch point"]
    """Smoothed G(r) at `SCALED_R` with a root mean square of 1, and 0 beyond the data."""
    neighbour: Float[Array, "*batch"]
    """Nearest-neighbour distance of the first peak, in Å."""


def scale_pdfs(pdf: Float[np.ndarray, "pdf r"]) -> ScaledPdf:
    """Return the scaled PDFs of curves on `PDF_GRID`, in any unit, that are 0 at points without data."""
    batches = [_scale_batch(jnp.asarray(pdf[start : start + BATCH_SIZE])) for start in range(0, len(pdf), BATCH_SIZE)]
    return jax.tree.map(lambda *columns: jnp.concatenate(columns), *batches)


def neighbour_distance_from_pdf(pdf: Float[Array, "*batch r"]) -> Float[Array, "*batch"]:
    """Return the position of the first peak of PDFs on `PDF_GRID`, in Å.

    It is the first maximum above `MIN_PEAK_HEIGHT`. A parabola through three points gives the position between points.
    """
    curve = pdf @ jnp.asarray(_interpolation(PEAK_R[:, None] - PDF_GRID.r).T, pdf.dtype)
    threshold = MIN_PEAK_HEIGHT * jnp.max(curve, axis=-1, keepdims=True)
    left, middle, right = curve[..., :-2], curve[..., 1:-1], curve[..., 2:]
    is_peak = (middle > threshold) & (middle >= left) & (middle > right)
    index = jnp.argmax(is_peak, axis=-1)[..., None]
    left, middle, right = (jnp.take_along_axis(column, index, -1)[..., 0] for column in (left, middle, right))
    curvature = left - 2 * middle + right
    offset = 0.5 * (left - right) / jnp.where(curvature < 0, curvature, -1.0)
    step = PEAK_R[1] - PEAK_R[0]
    return PEAK_R[1] + step * (index[..., 0] + jnp.clip(offset, -0.5, 0.5))


@jax.jit
def _scale_batch(pdf: Float[Array, "pdf r"]) -> ScaledPdf:
    neighbour = neighbour_distance_from_pdf(pdf)
    r, width = neighbour[:, None] * SCALED_R, SMOOTHING * neighbour[:, None, None]
    kernel = jnp.exp(-0.5 * ((r[:, :, None] - PDF_GRID.r) / width) ** 2) * PDF_GRID.rstep / width
    last_r = jnp.max(jnp.where(pdf != 0, jnp.asarray(PDF_GRID.r), 0.0), axis=-1)
    is_inside = r <= last_r[:, None]
    values = jnp.where(is_inside, jnp.einsum("bpr,br->bp", kernel, pdf), 0.0)
    mean_square = jnp.sum(values**2, axis=-1) / jnp.maximum(jnp.sum(is_inside, axis=-1), 1)
    return ScaledPdf(values / jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1.0))[:, None], neighbour)


def _interpolation(difference):
    """Return the weights of Whittaker-Shannon interpolation, which is exact up to a Q of pi divided by the step."""
    return jnp.sinc(difference / PDF_GRID.rstep)
