r"""The forward model of small angles: bodies and sizes to I(Q); what fits use and `jaxstruc.simulate_saxs` gives.

$$I(Q) = 10^{-4} s\, \Delta\rho^2 \sum_i \phi_i V_i P(Q R_i)\, S(Q) + B + A Q^{-m}$$

φ: volume fractions of the sizes (`size_distributions`), R: R_eq, V = 4/3 pi R³ in Å³, the contrast in 10⁻⁶/Å²; s is
then the volume fraction of the particles and I in 1/cm. For a scale of arbitrary units the contrast is 1. The
resolution smears the first term alone.
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
"""1/cm, of (10⁻⁶/Å²)² Å³."""
MAX_VALUES_PER_BATCH = 4_000_000
"""Number of values, Q times sizes, that are computed at once."""
STRUCTURE_FACTORS = {
    "effective": structure_factor.effective_radius,
    "decoupling": structure_factor.decoupling,
    "local": structure_factor.local_monodisperse,
}


class CurveScale(NamedTuple):
    """What a curve depends on beside the particles."""

    scale: Float[Array, "*batch"] | float = 1.0
    """Volume fraction, or a factor."""
    background: Float[Array, "*batch"] | float = 0.0
    """Constant, in the unit of I."""
    power_scale: Float[Array, "*batch"] | float = 0.0
    """I of the power law at 1 1/Å."""
    power: Float[Array, "*batch"] | float = 4.0
    """Its exponent."""
    contrast: Float[Array, "*batch"] | float = 1.0
    """10⁻⁶/Å². Difference of scattering length densities of particle and solvent."""


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
        body: sphere, core-shell, spheroid, cylinder, or one of the polyhedra of `jaxstruc saxs`.
        radius: mean R, or R_eq of a body that is no sphere, by number, in Å.
        pd: standard deviation of the radius over its mean, by number.
        distribution: none, gaussian, lognormal, schulz or uniform. It has no effect if pd is 0.
        qmin: start of the range of Q, in 1/Å.
        qmax: end of the range of Q, in 1/Å.
        qstep: step in Q, in 1/Å [a 200th of the range].
        options: scale, contrast, background, resolution, hard spheres, and what some bodies need.

    Raises:
        ValueError: for an unknown body or distribution, or for values that are out of range.
    """
    options = options or SimulateSaxsOptions()
    BodyOptions(body, radius, pd, options).check()
    SaxsRangeOptions(distribution, qmin, qmax, qstep).check()
    check_sizes(distribution, pd, largest_qr=qmax * radius)
    if options.power_scale and not qmin:
        raise ValueError("Expected --qmin above 0 with --power-scale, got 0; a power law has no value there.")
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
    """Return the form factor of a named body, with the contrasts of a core-shell sphere."""
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
    """Return the form factor of spheres with a shell, the same on all sizes; a sphere thinner than it is all shell.

    Args:
        thickness: of the shell, in Å.
        core: contrast of the core, in 10⁻⁶/Å².
        shell: contrast of the shell, in 10⁻⁶/Å².
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
    """Return I(Q) of particles of one body.

    Args:
        q: in 1/Å, > 0.
        body: form factor.
        sizes: distribution of R_eq.
        sample: scale, background and contrast.
        dq: in 1/Å, standard deviation of the pinhole's resolution [none].
        structure: one of `structure_factor`, its fraction bound: what the correlation of particles multiplies I by [1].
    """

    def particles(q):
        values = mean_over_sizes(body.square(q[..., None], jnp.asarray(sizes.radius)), sizes)
        return values if structure is None else values * structure(q, body, sizes)

    return with_background(q, particles(q) if dq is None else smearing.smear(particles, q, dq), sample)


def mean_over_sizes(squares: Float[Array, "*q node"], sizes: SizeFractions) -> Float[Array, "*q"]:
    """Return the sum over sizes per volume, in 1/cm for a contrast of 1, of P or another square of F/V."""
    return INTENSITY_UNIT * (squares @ (4 / 3 * np.pi * sizes.volume_fraction * sizes.radius**3))


def with_background(q: Float[Array, "*q"], values: Float[Array, "*q"], sample: CurveScale) -> Float[Array, "*q"]:
    """Return a curve with its scale, contrast and background."""
    scaled = sample.scale * jnp.asarray(sample.contrast) ** 2 * values
    return scaled + sample.background + sample.power_scale * q ** -jnp.asarray(sample.power)


def check_sizes(distribution: str, pd: float, *, largest_qr: float) -> None:
    """Check that a distribution has such a width, and that the range of Q is not too long for the sizes.

    Args:
        distribution: name of the distribution.
        pd: standard deviation over the mean, by number.
        largest_qr: largest Q times the mean radius.

    Raises:
        ValueError: if one of them is out of range.
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
    """Return the longest chord of a body, in R_eq, or a longer one."""
    if body == "spheroid":
        return 2 * max(aspect ** (-1 / 3), aspect ** (2 / 3))
    if body == "cylinder":
        return 2 * (2 / (3 * aspect)) ** (1 / 3) * math.hypot(1, aspect)
    return LONGEST_CHORD


def _simulated_intensity(
    q: Float[Array, " q"], body: FormFactor, sizes: SizeFractions, options: SimulateSaxsOptions
) -> Float[Array, " q"]:
    """Return the curve of particles, some Q at once."""
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
