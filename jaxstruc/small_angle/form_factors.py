"""Form factors P(x) of particles of uniform density, at x = q R_eq.

A body is a shape of particle, e.g. a cube. R_eq is the radius of the sphere with the body's volume. P is the squared
amplitude, averaged over all orientations, with P(0) = 1. P depends only on the shape and on x. It is therefore
tabulated once for each shape (`FormFactorTable`). Interpolation in the table gives P for all sizes, with derivatives.

A table describes $P(x) (1 + x^2/5)^2$, which stays of order 1, by cubic polynomials on pieces of equal width in x.
Beyond `MAX_TABLE_X`, P follows the law of G. Porod, Kolloid-Z. 124, 83 (1951), doi 10.1007/BF01512792, with
oscillations from pairs of parallel faces (`polyhedra.porod_waves`). The arrays of all tables have the same shapes. The
tables of several bodies can therefore be stacked along a new axis (`stack_tables`).

Errors are given relative to P or to its envelope 4.5 / x⁴, whichever is larger. Below `MAX_TABLE_X` the error is at
most 4e-6 in double precision, and 2e-5 in single precision at x = 60. Beyond `MAX_TABLE_X` the mean over an oscillation
is accurate to 0.2 %. The oscillations are accurate to 3 % of this mean. For the Marks decahedron, flat cylinders, the
icosahedron and the dodecahedron they are accurate to 4 to 9 %.

For the sphere, core-shell sphere, spheroid and cylinder, there are also functions that evaluate the formulas directly.
They keep the precision of x and are differentiable in x and in the parameters of the shape.
"""

import functools
import math
from collections.abc import Callable
from importlib.resources import files
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import make_interp_spline
from scipy.special import j1, roots_legendre, spherical_jn

from jaxstruc.scattering.sincos import polynomial, sine_and_cosine
from jaxstruc.small_angle import polyhedra
from jaxstruc.small_angle.polyhedra import Polyhedron

PIECE_WIDTH, MAX_TABLE_X = 0.05, 200.0
"""Width of a piece in x, and largest x of the tables."""
STORED_STEP = 0.2
"""Step in x of the stored values.

A spline of degree 9 interpolates between the values. The step is much smaller than the periods in x of the oscillations
of P, which are at least 2π / 3.3.
"""
MAX_TAIL_WAVES = 4
"""Largest number of terms of P x⁴ beyond the table: the constant of Porod's law, and oscillations."""
TABLE_FILE = files("jaxstruc.scattering.tables").joinpath("bodies.npz")
"""File with the stored values of all named polyhedra."""
N_ORIENTATIONS = 96
"""Number of Gauss points for the cosine of the angle between q and the axis of a spheroid or cylinder.

This number is sufficient if q times the difference of the half axes is below about 70.
"""
NODE_MULTIPLE = 64
"""Multiple to which the number of Gauss points of a table is rounded up, so that few sets of points are computed."""
MAX_SERIES_X = 1.5
"""Largest x at which the amplitude of a sphere is computed by its power series."""
_SERIES_COEFFICIENTS = np.cumprod([1.0, *[-1 / (2 * n * (2 * n + 3)) for n in range(1, 10)]])
_BESSEL_COEFFICIENTS = (
    (0.5, -0.56249985, 0.21093573, -0.03954289, 0.00443319, -0.00031761, 0.00001109),
    (0.79788456, 0.00000156, 0.01659667, 0.00017105, -0.00249511, 0.00113653, -0.00020033),
    (-2.35619449, 0.12499612, 0.00005650, -0.00637879, 0.00074348, 0.00079824, -0.00029166),
)
"""Coefficients of approximations to the Bessel function J1. The errors of the approximations are below 1e-7.

Source: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions (1964), equations 9.4.4 and 9.4.6.
"""


class FormFactorTable(NamedTuple):
    """Tables of P(x) and <F>(x) of a body. <F> is the amplitude averaged over all orientations, with <F>(0) = 1."""

    squared_amplitude: Float[Array | np.ndarray, "*body 4 piece"]
    """Coefficients of the cubic polynomial for P (1 + x²/5)² on each piece, from the constant to the cubic term.

    The variable of the polynomial is the position within the piece, from 0 to 1.
    """
    mean_amplitude: Float[Array | np.ndarray, "*body 4 piece"]
    """Coefficients of the cubic polynomial for <F> (1 + x²/5) on each piece, in the same order."""
    tail_amplitudes: Float[Array | np.ndarray, "*body 4 wave"]
    """Amplitudes of the oscillations of P x⁴ beyond the table.

    The four rows belong to cos(x d), sin(x d), cos(x d) / √x and sin(x d) / √x. The first column has d = 0. It is the
    constant of Porod's law.
    """
    tail_distances: Float[Array | np.ndarray, "*body wave"]
    """Distance d of two parallel faces for each oscillation, in units of R_eq."""


class CoreShellSpheres(NamedTuple):
    """Core-shell spheres whose shells have the same thickness for all sizes. It takes the place of a table in fits."""

    thickness: Float[Array | np.ndarray, "*body"]
    """Thickness of the shell in Å. A sphere whose radius is smaller than the thickness consists of shell only."""
    contrast_ratio: Float[Array | np.ndarray, "*body"]
    """Contrast of the shell divided by the contrast of the core."""


class Body(NamedTuple):
    """Lengths of a body in units of R_eq, and its surface area."""

    shortest_edge: float
    """Length of the shortest edge, or the radius of a sphere."""
    radius_of_gyration: float
    relative_surface: float
    """Surface area divided by the surface area of the sphere of equal volume."""


class FormFactor(NamedTuple):
    """Functions of Q in 1/Å and R_eq in Å that return P and <F> of a body. Q and R_eq are broadcast."""

    square: Callable[[Array, Array], Array]
    """Function that returns P, or P times the squared contrast if `has_contrast`."""
    amplitude: Callable[[Array, Array], Array]
    """Function that returns <F>, or <F> times the contrast if `has_contrast`."""
    has_contrast: bool = False
    """Whether both functions include the contrast, because the body has several densities."""


def mean_amplitude(table: FormFactorTable, x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return <F>(x) of one body, or 0 beyond the table.

    <F> is needed only for the interference between particles, which is negligible beyond the table.
    """
    return jnp.where(
        x < _table_end(table.mean_amplitude), _interpolate_pieces(table.mean_amplitude, x) / (1 + x**2 / 5), 0.0
    )


def of_table(table: FormFactorTable) -> FormFactor:
    """Return the form factor of a tabulated body."""
    return FormFactor(
        lambda q, radius: form_factor(table, q * radius), lambda q, radius: mean_amplitude(table, q * radius)
    )


def form_factor(table: FormFactorTable, x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return P(x) of one body at x >= 0, in the precision of x."""
    table_end = _table_end(table.squared_amplitude)
    large_x, tail_sum = jnp.maximum(x, table_end), jnp.zeros_like(x)
    inverse_root = 1 / jnp.sqrt(large_x)
    for n in range(MAX_TAIL_WAVES):
        cosine_amplitude, sine_amplitude, cosine_root_amplitude, sine_root_amplitude = (
            jnp.asarray(amplitudes[n], x.dtype) for amplitudes in table.tail_amplitudes
        )
        sine, cosine = sine_and_cosine(large_x * jnp.asarray(table.tail_distances[n], x.dtype))
        tail_sum += (cosine_amplitude + cosine_root_amplitude * inverse_root) * cosine + (
            sine_amplitude + sine_root_amplitude * inverse_root
        ) * sine
    return jnp.where(
        x < table_end, _interpolate_pieces(table.squared_amplitude, x) / (1 + x**2 / 5) ** 2, tail_sum / large_x**4
    )


def squared_amplitude(
    body: FormFactorTable | CoreShellSpheres, q: Float[Array, "*#x"], radius: Float[Array, "*#x"]
) -> Float[Array, "*x"]:
    """Return P at Q in 1/Å of one body with the radius R_eq in Å, in the precision of Q.

    For core-shell spheres it is P times the squared contrast, divided by the squared contrast of the core.
    """
    if isinstance(body, CoreShellSpheres):
        share = jnp.minimum(body.thickness / radius, 1.0)
        return core_shell(q * radius, share, 1.0, jnp.asarray(body.contrast_ratio))
    return form_factor(body, q * radius)


@functools.cache
def named_bodies() -> dict[str, Body]:
    """Return the bodies by name, the sphere first."""
    arrays = _read_table_file()
    names = [key.removesuffix("/lengths") for key in arrays if key.endswith("/lengths")]
    return {"sphere": Body(1.0, np.sqrt(0.6), 1.0)} | {
        name: Body(*map(float, arrays[f"{name}/lengths"])) for name in names
    }


@functools.cache
def named_table(name: str) -> FormFactorTable:
    """Return the table of a named body, in double precision.

    Raises:
        ValueError: If no body has this name.
    """
    if name not in named_bodies():
        raise ValueError(f"Unknown body {name!r}. Choose one of: {', '.join(named_bodies())}.")
    if name == "sphere":
        mean_amplitude = stored_sphere_amplitude()
        return table_from_values(mean_amplitude**2, mean_amplitude, sphere_waves())
    arrays = _read_table_file()
    squared_amplitude, mean_amplitude, tail_rows = (
        arrays[f"{name}/{array_name}"] for array_name in ("square", "mean", "tail")
    )
    return table_from_values(squared_amplitude, mean_amplitude, {row[0]: row[1:] for row in tail_rows})


def stack_tables(names: tuple[str, ...]) -> FormFactorTable:
    """Return the tables of several bodies, stacked along a new first axis."""
    return FormFactorTable(*(np.stack(columns) for columns in zip(*map(named_table, names), strict=True)))


@functools.lru_cache(maxsize=64)
def spheroid_table(aspect: float, *, max_x: float = MAX_TABLE_X) -> FormFactorTable:
    """Return the table of a spheroid.

    Args:
        aspect: Length of the axis of revolution divided by the length of the other axes.
        max_x: Largest x of the table. Porod's law and its oscillations replace the table beyond it.
    """
    equatorial_radius = aspect ** (-1 / 3)
    mu, weight = _cosine_nodes(max_x * equatorial_radius * abs(aspect - 1))
    relative_radius = equatorial_radius * np.sqrt(1 + (aspect**2 - 1) * mu**2)
    tail_waves = {0.0: _cosine_wave(4.5 * float(np.sum(weight / relative_radius**4)))}
    if aspect != 1:  # The method of stationary phase gives the oscillation that the equator causes.
        wave_amplitude = 4.5 / equatorial_radius**4 * np.sqrt(np.pi / (8 * equatorial_radius * abs(aspect**2 - 1)))
        tail_waves[2 * equatorial_radius] = np.array([0, 0, wave_amplitude, -np.sign(aspect - 1) * wave_amplitude])
    return _revolution_table(lambda x: _spherical_amplitude(x * relative_radius), weight, tail_waves, max_x)


@functools.lru_cache(maxsize=64)
def cylinder_table(aspect: float, *, max_x: float = MAX_TABLE_X) -> FormFactorTable:
    """Return the table of a cylinder.

    Args:
        aspect: Length divided by diameter.
        max_x: Largest x of the table. Porod's law and its oscillations replace the table beyond it.
    """
    radius = (2 / (3 * aspect)) ** (1 / 3)
    mu, weight = _cosine_nodes(max_x * radius * np.hypot(1, aspect))
    radial_projection, axial_projection = radius * np.sqrt(1 - mu**2), radius * aspect * mu
    factor, length = 2 * np.pi / (4 / 3 * np.pi) ** 2, 2 * radius * aspect
    cap_area, side_area = np.pi * radius**2, 2 * np.pi * radius * length
    edge_amplitude = 2 * np.pi * radius * np.sqrt(length / np.pi) / 2
    tail_waves = {
        0.0: _cosine_wave(factor * (2 * cap_area + side_area)),
        length: -2 * factor * np.array([cap_area, 0, -edge_amplitude, edge_amplitude]),
    }
    tail_waves[2 * radius] = tail_waves.get(2 * radius, _cosine_wave(0.0)) - factor * np.array([0, side_area, 0, 0])
    return _revolution_table(
        lambda x: 2 * j1(x * radial_projection) / (x * radial_projection) * np.sinc(x * axial_projection / np.pi),
        weight,
        tail_waves,
        max_x,
    )


def polyhedron_table(
    body: Polyhedron, domain: Float[np.ndarray, "triangle 3 3"] | None = None, *, max_x: float = MAX_TABLE_X
) -> FormFactorTable:
    """Return the table of any polyhedron. The computation takes about a minute.

    Args:
        body: Polyhedron from `polyhedra.centred_convex_hull` or `polyhedra.join_polyhedra`.
        domain: Spherical triangles that represent all directions by symmetry. The default is `polyhedra.OCTANTS`.
        max_x: Largest x of the table. Porod's law and its oscillations replace the table beyond it.
    """
    arrays = polyhedron_arrays(body, domain, max_x=max_x)
    return table_from_values(arrays["square"], arrays["mean"], {row[0]: row[1:] for row in arrays["tail"]})


def polyhedron_arrays(
    body: Polyhedron, domain: Float[np.ndarray, "triangle 3 3"] | None, *, max_x: float = MAX_TABLE_X
) -> dict[str, np.ndarray]:
    """Return the arrays that are stored for a polyhedron in `TABLE_FILE`, up to x = `max_x`."""
    volume = body.volume
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    squared_amplitude, mean_amplitude = polyhedra.orientation_averages(body, stored_x(max_x) / radius, domain)
    shortest_edge = np.linalg.norm(body.edge_ends - body.edge_starts, axis=1).min() / radius
    lengths = [
        shortest_edge,
        np.sqrt(polyhedra.squared_radius_of_gyration(body)) / radius,
        body.face_areas.sum() / (4 * np.pi * radius**2),
    ]
    return {"square": squared_amplitude, "mean": mean_amplitude, "tail": tail_waves(body), "lengths": np.array(lengths)}


def tail_waves(body: Polyhedron) -> Float[np.ndarray, "wave 5"]:
    """Return the distance d and the four amplitudes of each oscillation of P x⁴ beyond the table of a polyhedron."""
    radius = (3 * body.volume / (4 * np.pi)) ** (1 / 3)
    factors = radius**4 / body.volume**2 * np.array([1, 1, np.sqrt(radius), np.sqrt(radius)])
    return np.array([[distance / radius, *(factors * wave)] for distance, wave in polyhedra.porod_waves(body).items()])


def table_from_values(
    squared_amplitude: np.ndarray,
    mean_amplitude: np.ndarray,
    tail_waves: dict[float, np.ndarray],
    *,
    step: float = STORED_STEP,
) -> FormFactorTable:
    """Return the table of a body.

    Args:
        squared_amplitude: P at the stored x.
        mean_amplitude: <F> at the stored x.
        tail_waves: Four amplitudes of each oscillation beyond the table, by the distance d of the faces.
        step: Step of the stored x.
    """
    envelope, distances, tail_amplitudes = (
        1 + (step * np.arange(len(squared_amplitude))) ** 2 / 5,
        np.zeros(MAX_TAIL_WAVES),
        np.zeros((4, MAX_TAIL_WAVES)),
    )
    for n, distance in enumerate(sorted(tail_waves)):
        distances[n], tail_amplitudes[:, n] = distance, tail_waves[distance]
    return FormFactorTable(
        _cubic_pieces(squared_amplitude * envelope**2, step),
        _cubic_pieces(mean_amplitude * envelope, step),
        tail_amplitudes,
        distances,
    )


def stored_x(max_x: float = MAX_TABLE_X, step: float = STORED_STEP) -> Float[np.ndarray, " x"]:
    """Return the values of x at which P and <F> are stored, up to `max_x`."""
    return step * np.arange(round(max_x / step) + 1)


def stored_sphere_amplitude(max_x: float = MAX_TABLE_X, step: float = STORED_STEP) -> Float[np.ndarray, " x"]:
    """Return the amplitude of a sphere at `stored_x`."""
    x = stored_x(max_x, step)
    return np.append(1.0, 3 * spherical_jn(1, x[1:]) / x[1:])


def sphere_waves() -> dict[float, np.ndarray]:
    """Return the four amplitudes of each oscillation beyond the table of a sphere, by the distance d."""
    return {0.0: _cosine_wave(4.5), 2.0: _cosine_wave(4.5)}


def sphere_amplitude(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    r"""Return the amplitude of a sphere, $F = 3 (\sin x - x \cos x) / x^3$, with F(0) = 1.

    Lord Rayleigh, Proc. R. Soc. Lond. A 84, 25 (1910).
    """
    small_x, large_x = jnp.minimum(x, MAX_SERIES_X), jnp.maximum(x, MAX_SERIES_X)
    sine, cosine = sine_and_cosine(large_x)
    return jnp.where(
        x < MAX_SERIES_X, polynomial(_SERIES_COEFFICIENTS, small_x**2), 3 * (sine / large_x - cosine) / large_x**2
    )


def sphere(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return P of a sphere at x = qR."""
    return sphere_amplitude(x) ** 2


def core_shell_amplitude(
    x: Float[Array, "*x"],
    share: Float[Array, "*#x"] | float,
    core: Float[Array, ""] | float,
    shell: Float[Array, ""] | float,
) -> Float[Array, "*x"]:
    """Return the amplitude of a core-shell sphere divided by its volume.

    The amplitude includes the contrasts, because core and shell have different ones. For a uniform body it would be the
    contrast times the amplitude of the body, which is 1 at x = 0.

    Args:
        x: Product of q and the outer radius.
        share: Thickness of the shell divided by the outer radius, from 0 to 1.
        core: Scattering length density of the core minus that of the solvent.
        shell: Scattering length density of the shell minus that of the solvent, in the same unit.
    """
    inner = 1 - jnp.asarray(share, x.dtype)
    return shell * sphere_amplitude(x) + (core - shell) * inner**3 * sphere_amplitude(x * inner)


def core_shell(
    x: Float[Array, "*x"],
    thickness_ratio: Float[Array, "*#x"] | float,
    core_contrast: Float[Array, ""] | float,
    shell_contrast: Float[Array, ""] | float,
) -> Float[Array, "*x"]:
    """Return the square of `core_shell_amplitude`, which takes the place of P times the squared contrast.

    The arguments are those of `core_shell_amplitude`, in the same order.
    """
    return core_shell_amplitude(x, thickness_ratio, core_contrast, shell_contrast) ** 2


def spheroid(x: Float[Array, "*x"], aspect: Float[Array, ""] | float) -> Float[Array, "*x"]:
    r"""Return P of a spheroid.

    $P = \int_0^1 P_\mathrm{sphere}(q a \sqrt{1 + (\epsilon^2 - 1)\mu^2})\, d\mu$, with the equatorial radius
    $a = R_{eq} \epsilon^{-1/3}$ and the cosine $\mu$ of the angle between $\mathbf q$ and the axis of revolution.
    A. Guinier, Ann. Phys. 11 (12), 161 (1939).

    Args:
        x: Product of q and R_eq.
        aspect: Length of the axis of revolution divided by the length of the other axes, $\epsilon$.
    """
    mu, weight = _orientation_nodes(x)
    aspect = jnp.asarray(aspect, x.dtype)
    relative_radius = aspect ** (-1 / 3) * jnp.sqrt(1 + (aspect**2 - 1) * mu**2)
    return sphere(x[..., None] * relative_radius) @ weight


def cylinder(x: Float[Array, "*x"], aspect: Float[Array, ""] | float) -> Float[Array, "*x"]:
    r"""Return P of a cylinder.

    $P = \int_0^1 [2 J_1(q r \sqrt{1 - \mu^2}) / (q r \sqrt{1 - \mu^2}) \cdot \mathrm{sinc}(q L \mu / 2)]^2 d\mu$,
    with the Bessel function $J_1$, the radius $r = R_{eq} (2/3\epsilon)^{1/3}$, the length $L = 2 r \epsilon$,
    sinc(y) = sin(y) / y and the cosine $\mu$ of the angle between $\mathbf q$ and the axis. G. Fournet, Bull. Soc. Fr.
    Minéral. 74, 39 (1951).

    Args:
        x: Product of q and R_eq.
        aspect: Length divided by diameter, $\epsilon$.
    """
    mu, weight = _orientation_nodes(x)
    aspect = jnp.asarray(aspect, x.dtype)
    radius = x[..., None] * (2 / (3 * aspect)) ** (1 / 3)
    axial_amplitude = jnp.sinc(radius * aspect * mu / jnp.pi)
    return (disc_amplitude(radius * jnp.sqrt(1 - mu**2)) * axial_amplitude) ** 2 @ weight


def disc_amplitude(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return 2 J1(x) / x with the Bessel function J1. The value at x = 0 is 1, and the error is below 2e-7."""
    small_x, large_x = jnp.minimum(x, 3.0), jnp.maximum(x, 3.0)
    series_coefficients, modulus_coefficients, phase_coefficients = _BESSEL_COEFFICIENTS
    oscillation = (
        polynomial(modulus_coefficients, 3 / large_x)
        * sine_and_cosine(large_x + polynomial(phase_coefficients, 3 / large_x))[1]
    )
    return 2 * jnp.where(
        x < 3, polynomial(series_coefficients, (small_x / 3) ** 2), oscillation / (large_x * jnp.sqrt(large_x))
    )


def _cosine_wave(wave_amplitude: float) -> np.ndarray:
    """Return the four amplitudes of an oscillation that is a pure cosine."""
    return np.array([wave_amplitude, 0.0, 0.0, 0.0])


def _table_end(pieces) -> float:
    """Return the x at which a table ends."""
    return PIECE_WIDTH * pieces.shape[-1]


def _interpolate_pieces(pieces, x):
    """Return the value of the piecewise cubic polynomial at x, below the end of the table."""
    position = jnp.minimum(x, _table_end(pieces)) / PIECE_WIDTH
    index = jnp.minimum(position.astype(jnp.int32), pieces.shape[-1] - 1)
    offset = position - index
    value, slope, quadratic_coefficient, cubic_coefficient = (jnp.asarray(row, x.dtype)[index] for row in pieces)
    return ((cubic_coefficient * offset + quadratic_coefficient) * offset + slope) * offset + value


def _cubic_pieces(values, step: float) -> Float[np.ndarray, "4 piece"]:
    """Return the coefficients of cubic polynomials on pieces of equal width, from stored values of an even function.

    A spline of degree 9 through the stored values gives the values and slopes at the ends of the pieces.
    """
    x = step * np.arange(len(values))
    spline = make_interp_spline(np.append(-x[:0:-1], x), np.append(values[:0:-1], values), k=9)
    nodes = PIECE_WIDTH * np.arange(round((len(values) - 1) * step / PIECE_WIDTH) + 1)
    node_values, slopes = spline(nodes), PIECE_WIDTH * spline.derivative()(nodes)
    differences = np.diff(node_values)
    start_slopes, end_slopes = slopes[:-1], slopes[1:]
    return np.stack(
        [
            node_values[:-1],
            start_slopes,
            3 * differences - 2 * start_slopes - end_slopes,
            start_slopes + end_slopes - 2 * differences,
        ]
    )


def _revolution_table(amplitude_function, weight, tail_waves, max_x: float) -> FormFactorTable:
    """Return the table of a body of revolution.

    Args:
        amplitude_function: Function of x that returns the amplitude for each cosine of the angle between q and axis.
        weight: Quadrature weights of the cosines.
        tail_waves: Four amplitudes of each oscillation beyond the table, by the distance d of the faces.
        max_x: Largest x of the table.
    """
    amplitudes = np.concatenate([np.ones((1, len(weight))), amplitude_function(stored_x(max_x)[1:, None])])
    return table_from_values(amplitudes**2 @ weight, amplitudes @ weight, tail_waves)


def _cosine_nodes(phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss points from 0 to 1 for the cosine of an angle, and their weights.

    Args:
        phase: Change of the phase of the amplitude between the cosines 0 and 1. A larger change needs more points.
    """
    return _gauss_points(NODE_MULTIPLE * math.ceil((40 + 1.2 * phase) / NODE_MULTIPLE))


@functools.cache
def _gauss_points(n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss points from 0 to 1 and their weights."""
    node, weight = roots_legendre(n_nodes)
    return (node + 1) / 2, weight / 2


def _spherical_amplitude(x):
    """Return the amplitude of a sphere at x > 0.01 in double precision."""
    return 3 * (np.sin(x) - x * np.cos(x)) / x**3


@functools.cache
def _read_table_file() -> dict[str, np.ndarray]:
    """Return the arrays of `TABLE_FILE` by name."""
    with TABLE_FILE.open("rb") as stream, np.load(stream) as archive:
        return {key: archive[key] for key in archive.files}


def _orientation_nodes(x):
    """Return Gauss points for the cosine of the angle between q and an axis, and their weights."""
    node, weight = np.polynomial.legendre.leggauss(N_ORIENTATIONS)
    return jnp.asarray((node + 1) / 2, x.dtype), jnp.asarray(weight / 2, x.dtype)
