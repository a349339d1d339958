"""G(r) as a sum of Gaussians in real space, an independent reference for `pair_distribution`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument, Pairs
from jaxstruc.scattering.pair_distribution import Grid

RIPPLE_PHASE = 40 * np.pi
"""Phase qmax (r - rmax) up to which peaks beyond rmax are included, because of their termination ripples."""


def peaks(
    pairs: Pairs,
    variance: Float[Array, " pair"],
    amplitudes: Float[Array, " kind"],
    composition: Float[Array | np.ndarray, " kind"],
    r: Float[Array | np.ndarray, " r"],
    *,
    max_widths: float = np.inf,
) -> Float[Array, " r"]:
    r"""Return $\frac{1}{N \langle f \rangle^2} \sum_{i \ne j} f_i f_j N(r - r_{ij}; \sigma_{ij}^2) / r_{ij}$, in 1/Å².

    This is G(r) before any cut in Q: for one element its sine integral over r is F(Q). For several elements the
    decrease of the form factors with Q is neglected, as in diffpy.srreal's PDFCalculator.

    Args:
        pairs: Pairs of atoms. Pairs with distance 0 are left out.
        variance: Variance of the distance of each pair, in Å². Peaks of variance 0 are left out.
        amplitudes: Form factor of each kind of atom at Q = 0.
        composition: Number of atoms of each kind.
        r: Distances at which the sum is computed, in Å.
        max_widths: Number of standard deviations at which the Gaussians are cut.
    """
    is_excluded = (pairs.distance <= 0) | (variance <= 0)  # NaN fulfils neither condition and stays NaN.
    distance = jnp.where(is_excluded, 1.0, pairs.distance)
    variance = jnp.where(is_excluded, 1.0, variance)
    strength = pairs.weight * amplitudes[pairs.first_kind] * amplitudes[pairs.second_kind]
    height = jnp.where(is_excluded, 0.0, strength) / (distance * jnp.sqrt(2 * jnp.pi * variance))
    height = height / debye.faber_ziman_norm(amplitudes[:, None], composition)

    def peak_sum_at(r_value):
        squared_offset = (r_value - distance) ** 2 / variance
        return jnp.sum(height * jnp.where(squared_offset > max_widths**2, 0.0, jnp.exp(-0.5 * squared_offset)))

    if distance.size * r.size <= debye.MAX_TERMS_PER_CHUNK:
        return jax.vmap(peak_sum_at)(r)
    return jax.lax.map(jax.checkpoint(peak_sum_at), r, batch_size=max(1, debye.MAX_TERMS_PER_CHUNK // distance.size))


def band_pass(
    r_out: Float[Array | np.ndarray, " out"],
    r: Float[Array | np.ndarray, " r"],
    q: Float[Array | np.ndarray, " q"],
    weights: Float[Array | np.ndarray, " q"],
    *,
    added_variance: float = 0.0,
) -> Float[Array, "out r"]:
    r"""Return the matrix that cuts a curve on an even r grid to the range of Q, and evaluates it at other r.

    $B = \frac{2}{\pi} \sum_Q \sin(Q r_\mathrm{out})\, w_Q\, e^{b Q^2/2} \sin(Q r)\, \Delta r$.

    Args:
        r_out: Distances r of the result, in Å.
        r: Even grid of r in Å, with a step below pi / qmax.
        q: Even grid of Q, in 1/Å.
        weights: Weights from `q_weights`.
        added_variance: Variance in Å² that was added to all peaks so that the grid resolves them. It is removed here.
    """
    kernel = weights * jnp.exp(0.5 * added_variance * q**2) * (2 / jnp.pi) * (r[1] - r[0])
    forward_transform = kernel[:, None] * debye.apply_to_products(np.sin, jnp.sin, q, r)
    return jnp.matmul(
        jnp.asarray(debye.apply_to_products(np.sin, jnp.sin, r_out, q), forward_transform.dtype),
        forward_transform,
        precision="highest",
    )


def real_space_pdf(
    pairs: Pairs,
    coefficients: Float[Array | np.ndarray, "kind 11"],
    composition: Float[Array | np.ndarray, " kind"],
    instrument: Instrument,
    grid: Grid,
) -> Float[Array, " r"]:
    """Return G(r) in 1/Å² as a sum of Gaussians, cut to the Q range of the grid.

    Form factors are taken at Q = 0, so that the result for several elements differs from `pdf` by up to some per cent.
    The r step must resolve the peaks, with Uiso above about rstep²/2. The arguments are those of `pdf`.
    """
    dtype = pairs.weight.dtype
    amplitudes = form_factors.xray_form_factors(coefficients, jnp.zeros(1, dtype))[:, 0]
    stretched_pairs = debye.stretch_pairs(pairs, instrument.stretch)
    variance = debye.pair_variance(stretched_pairs, instrument)
    r = grid.rstep * np.arange(int((grid.rmax + RIPPLE_PHASE / grid.qmax) / grid.rstep) + 1)
    peak_sum = peaks(stretched_pairs, variance, amplitudes, jnp.asarray(composition, dtype), jnp.asarray(r, dtype))
    weights = pair_distribution.q_weights(jnp.asarray(grid.q, dtype), grid.qmin, grid.qmax)
    if grid.lorch:
        weights *= pair_distribution.lorch_window(jnp.asarray(grid.q, dtype), grid.qmax)
    filtered_pdf = band_pass(grid.r, r, grid.q, weights) @ peak_sum
    return pair_distribution.envelope(instrument, jnp.asarray(grid.r, dtype)) * filtered_pdf
