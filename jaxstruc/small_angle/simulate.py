r"""Forward model of small-angle scattering: I(Q) of bodies with a size distribution.

A body is a shape of particle, e.g. a sphere. The fits and `jaxstruc.simulate_saxs` use the same model:

$$I(Q) = 10^{-4} s\, \Delta\rho^2 \sum_i \phi_i V_i P(Q R_i)\, S(Q) + B + A Q^{-m}$$

The sum is over sizes i. $\phi_i$ is the volume fraction of a size among the particles (`size_distributions`), $R_i$ the
radius of the sphere of equal volume in Å, and $V_i = 4/3\, \pi R_i^3$ its volume in Å³. P is the form factor and S the
structure factor. The background is the sum of a constant B and a power law $A Q^{-m}$. If the contrast $\Delta\rho$ is
given in 10⁻⁶/Å² and I in 1/cm, the scale s is the volume fraction of the particles in the sample. If the scale is
arbitrary, the contrast is set to 1. The resolution smears only the scattering of the particles, not the background.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.options.small_angle import (
    MAX_SIMULATED_QR,
    N_SAXS_Q_STEPS,
    SAXS_QMAX,
    SAXS_QMIN,
    BodyOptions,
    SaxsRangeOptions,
    SimulatedBodyName,
    SimulatedDistributionName,
    SimulateSaxsOptions,
)
from jaxstruc.scattering.pair_distribution import Grid
from jaxstruc.scattering.simulate import SimulatedCurve
from jaxstruc.small_angle import form_factors, smearing, structure_factor
from jaxstruc.small_angle.form_factors import FormFactor
from jaxstruc.small_angle.size_distributions import DISTRIBUTION_SHAPES, LONGEST_CHORD, SizeFractions, size_distribution

INTENSITY_UNIT = 1e-4
"""Factor that converts contrast² times volume, in (10⁻⁶/Å²)² Å³, to an intensity in 1/cm."""
MAX_VALUES_PER_BATCH = 4_000_000
"""Largest number of values (points of Q times sizes) that are computed at once."""
STRUCTURE_FACTORS = {
    "effective": structure_factor.effective_radius,
    "decoupling": structure_factor.decoupling,
    "local": structure_factor.local_monodisperse,
}
"""Function for each approximation of the structure factor (`SimulateSaxsOptions.interaction`)."""


class CurveScale(NamedTuple):
    """Scale, background and contrast of a curve."""

    scale: Float[Array, "*batch"] | float = 1.0
    """Volume fraction of the particles, or an arbitrary factor."""
    background: Float[Array, "*batch"] | float = 0.0
    """Constant background in the unit of I."""
    power_scale: Float[Array, "*batch"] | float = 0.0
    """Value of the power-law background at Q = 1 1/Å."""
    power: Float[Array, "*batch"] | float = 4.0
    """Power of 1/Q of the power-law background."""
    contrast: Float[Array, "*batch"] | float = 1.0
    """Scattering length density of the particles minus that of the solvent, in 10⁻⁶/Å²."""


def simulate_saxs(
    body: SimulatedBodyName = "sphere",
    *,
    radius: float,
    pd: float = 0.0,
    distribution: SimulatedDistributionName = "gaussian",
    qmin: float = SAXS_QMIN,
    qmax: float = SAXS_QMAX,
    qstep: float | None = None,
    options: SimulateSaxsOptions | None = None,
) -> SimulatedCurve:
    """Return the small-angle scattering I(Q) of particles of one shape and many sizes, in double precision.

    Example:
        q, intensity, _ = jaxstruc.simulate_saxs("sphere", radius=35.0, pd=0.06)

    Args:
        body: Shape of the particles: sphere, core-shell, spheroid, cylinder, or a polyhedron of `jaxstruc saxs`.
        radius: Number-weighted mean radius in Å. A body that is no sphere has the radius of the sphere of equal volume.
        pd: Number-weighted standard deviation of the radius divided by its mean.
        distribution: Size distribution: none, gaussian, lognormal, schulz or uniform. It has no effect if pd is 0.
        qmin: Start of the range of Q in 1/Å.
        qmax: End of the range of Q in 1/Å.
        qstep: Step of Q in 1/Å. The default is 1/200 of the range.
        options: Scale, contrast, background, resolution, hard-sphere interaction, and parameters of some bodies.

    Returns:
        Q in 1/Å, I(Q), and the step of Q in 1/Å. I is in 1/cm if the contrast is given, otherwise it is relative.

    Raises:
        ValueError: If the body or distribution is unknown, or a value is out of range.
    """
    options = options or SimulateSaxsOptions()
    BodyOptions(body, radius, pd, options).check()
    SaxsRangeOptions(distribution, qmin, qmax, qstep).check()
    check_sizes(distribution, pd, largest_qr=qmax * radius)
    if options.power_scale and not qmin:
        raise ValueError("Expected --qmin above 0 with --power-scale, got 0: a power law is infinite at Q = 0.")
    qstep = qstep or (qmax - qmin) / N_SAXS_Q_STEPS
    q = Grid(qmin=qmin, qmax=qmax, qstep=qstep).q
    with jax.enable_x64(True):
        sizes = size_distribution(
            distribution,
            radius,
            pd,
            qmax=qmax + smearing.NODE_RANGE[1] * options.dq,
            longest_chord=_longest_chord(body, options.aspect),
        )
        return SimulatedCurve(
            q, np.asarray(_simulated_intensity(jnp.asarray(q), form_factor(body, options), sizes, options)), qstep
        )


def form_factor(body: str, options: SimulateSaxsOptions) -> FormFactor:
    """Return the form factor of a named body. For a core-shell sphere it includes the contrasts of core and shell."""
    if body == "sphere":
        return FormFactor(
            lambda q, radius: form_factors.sphere(q * radius),
            lambda q, radius: form_factors.sphere_amplitude(q * radius),
        )
    if body == "core-shell":
        return core_shell(options.shell, core=options.contrast, shell=options.shell_contrast)
    if body == "spheroid":
        return form_factors.of_table(form_factors.spheroid_table(options.aspect))
    if body == "cylinder":
        return form_factors.of_table(form_factors.cylinder_table(options.aspect))
    return form_factors.of_table(form_factors.named_table(body.replace("-", " ")))


def core_shell(thickness: float, *, core: float, shell: float) -> FormFactor:
    """Return the form factor of core-shell spheres whose shells have the same thickness for all sizes.

    A sphere whose radius is smaller than the thickness consists of shell only.

    Args:
        thickness: Thickness of the shell in Å.
        core: Contrast of the core in 10⁻⁶/Å².
        shell: Contrast of the shell in 10⁻⁶/Å².
    """

    def amplitude(q, radius):
        share = jnp.minimum(thickness / radius, 1.0)
        return form_factors.core_shell_amplitude(q * radius, share, core, shell)

    return FormFactor(lambda q, radius: amplitude(q, radius) ** 2, amplitude, has_contrast=True)


def intensity(
    q: Float[Array, "*q"],
    body: FormFactor,
    sizes: SizeFractions,
    sample: CurveScale,
    *,
    dq: Float[Array, "*q"] | None = None,
    structure: Callable[[Array, FormFactor, SizeFractions], Array] | None = None,
) -> Float[Array, "*q"]:
    """Return I(Q) of particles of one body with a size distribution.

    Args:
        q: Q in 1/Å, above 0.
        body: Form factor of the body.
        sizes: Size distribution of R_eq.
        sample: Scale, background and contrast.
        dq: Standard deviation of the pinhole resolution in 1/Å. By default the curve is not smeared.
        structure: Function of q, body and sizes that returns S(Q), e.g.
            `partial(structure_factor.decoupling, fraction=0.1)`. By default S(Q) is 1.
    """

    def particles(q):
        values = mean_over_sizes(body.square(q[..., None], jnp.asarray(sizes.radius)), sizes)
        return values if structure is None else values * structure(q, body, sizes)

    return with_background(q, particles(q) if dq is None else smearing.smear(particles, q, dq), sample)


def mean_over_sizes(
    squares: Float[Array | np.ndarray, "*q node"], sizes: SizeFractions
) -> Float[Array | np.ndarray, "*q"]:
    """Return the mean of V P over all sizes, weighted by volume fraction, in 1/cm for a contrast of 10⁻⁶/Å².

    Args:
        squares: P at each Q and size, or P times the squared contrast (`FormFactor.square`).
        sizes: Size distribution of R_eq.
    """
    return INTENSITY_UNIT * (squares @ (4 / 3 * np.pi * sizes.volume_fraction * sizes.radius**3))


def with_background(q: Float[Array, "*q"], values: Float[Array, "*q"], sample: CurveScale) -> Float[Array, "*q"]:
    """Return a curve multiplied by scale and squared contrast, plus the background."""
    scaled = sample.scale * jnp.asarray(sample.contrast) ** 2 * values
    return scaled + sample.background + sample.power_scale * q ** -jnp.asarray(sample.power)


def check_sizes(distribution: str, pd: float, *, largest_qr: float) -> None:
    """Check that the distribution can have the width pd, and that Q times radius is not too large.

    Args:
        distribution: Name of the size distribution.
        pd: Number-weighted standard deviation of the radius divided by its mean.
        largest_qr: Largest Q times the mean radius.

    Raises:
        ValueError: If the width or `largest_qr` is out of range.
    """
    if distribution == "none" and pd > 0:
        raise ValueError(f"Expected --pd 0 with --distribution none, got {pd:g}; choose another distribution.")
    widest = DISTRIBUTION_SHAPES[distribution].max_pd
    if pd > widest > 0:
        raise ValueError(f"Expected --pd of at most {widest:g} with --distribution {distribution}, got {pd:g}.")
    if largest_qr > MAX_SIMULATED_QR:
        raise ValueError(
            f"Expected --qmax times --radius of at most {MAX_SIMULATED_QR:g}, got {largest_qr:g}; lower --qmax."
        )


def _longest_chord(body: str, aspect: float) -> float:
    """Return the longest chord of a body in units of R_eq, or an upper limit of it."""
    if body == "spheroid":
        return 2 * max(aspect ** (-1 / 3), aspect ** (2 / 3))
    if body == "cylinder":
        return 2 * (2 / (3 * aspect)) ** (1 / 3) * math.hypot(1, aspect)
    return LONGEST_CHORD


def _simulated_intensity(
    q: Float[Array, " q"], body: FormFactor, sizes: SizeFractions, options: SimulateSaxsOptions
) -> Float[Array, " q"]:
    """Return I(Q), computed in batches of Q to limit the memory."""
    sample = CurveScale(
        options.scale, options.background, options.power_scale, options.power_law,
        1.0 if body.has_contrast else options.contrast,
    )  # fmt: skip
    structure = None
    if options.volume_fraction:
        structure = partial(
            STRUCTURE_FACTORS[options.interaction], fraction=jnp.asarray(options.volume_fraction, q.dtype)
        )

    def curve(q):
        dq = jnp.full_like(q, options.dq) if options.dq else None
        return intensity(q, body, sizes, sample, dq=dq, structure=structure)

    size = max(MAX_VALUES_PER_BATCH // len(sizes.radius), 1)
    return jax.jit(lambda q: jax.lax.map(curve, q, batch_size=size))(q)
