r"""Particles as bodies of one density: P(x), the square of the form factor averaged over orientations, at x = q R_eq.

R_eq is the radius of the sphere of the body's volume, P(0) = 1. P of a body of one shape depends on x alone, so it is
tabulated once (`Table`), and any size or distribution of sizes is a look-up, with its derivative. What is tabulated is
$P(x) (1 + x^2/5)^2$, which neither grows nor falls, in cubic pieces over even x; beyond `LAST` the law of G. Porod,
Kolloid-Z. 124, 83 (1951), doi 10.1007/BF01512792, with the waves of faces in parallel planes (`polyhedra.porod`).
All tables have one form, so that a batch of bodies is one more axis (`stacked`).

Accuracy, in parts of the larger of P and its envelope 4.5 / x⁴: 4e-6 below `LAST`, in single precision 2e-5 at x = 60;
beyond it the mean over a wave within 0.2 %, waves within 3 % of that mean, 4 to 9 % for the Marks decahedron, flat
cylinders, icosahedron and dodecahedron.
"""

import functools
from collections.abc import Callable
from importlib.resources import files
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import make_interp_spline
from scipy.special import j1, spherical_jn

from jaxstruc.scattering import polyhedra
from jaxstruc.scattering.polyhedra import Polyhedron
from jaxstruc.scattering.waves import sine_and_cosine

STEP, LAST = 0.05, 200.0
"""Width of a piece and end of the tables, in x."""
COARSE = 0.2
"""Step of what is stored: no wave of P is shorter than 2 pi / 3.3, and a spline of order 9 gives the rest."""
WAVES = 4
"""Room for the waves of the tail, Porod's constant among them."""
FILE = files("jaxstruc.scattering.tables").joinpath("bodies.npz")


class Table(NamedTuple):
    """P(x) of a body, and <F>(x), its amplitude averaged over orientations, 1 at 0."""

    square: Float[Array | np.ndarray, "*body 4 piece"]
    """Coefficients of P (1 + x²/5)² in each piece, of the powers of the place in it from 0 to 1."""
    mean: Float[Array | np.ndarray, "*body 4 piece"]
    """Those of <F> (1 + x²/5)."""
    tail: Float[Array | np.ndarray, "*body 4 wave"]
    """Amplitudes of P x⁴ beyond the table: of cos(x d), sin(x d), and of both over the root of x; d = 0 is first."""
    distance: Float[Array | np.ndarray, "*body wave"]
    """Those d, in R_eq."""


class Body(NamedTuple):
    """Lengths of a body, in R_eq."""

    edge: float
    """Its shortest edge; of a sphere the radius."""
    gyration: float
    """Radius of gyration."""
    surface: float
    """Surface over that of the sphere of its volume."""


class FormFactor(NamedTuple):
    """P and <F> of a body as functions of Q in 1/Å and R_eq in Å, whose shapes are broadcast."""

    square: Callable[[Array, Array], Array]
    """P; of a body of several densities times the square of its contrast."""
    amplitude: Callable[[Array, Array], Array]
    """<F>; likewise times the contrast."""
    has_contrast: bool = False
    """Whether the contrast is in both."""


def of_table(table: Table) -> FormFactor:
    """Return the form factor of a tabulated body."""
    return FormFactor(lambda q, radius: form_factor(table, q * radius), lambda q, radius: amplitude(table, q * radius))


def form_factor(table: Table, x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return P(x) of one body, at x >= 0, in the precision of x."""
    far, waves = jnp.maximum(x, LAST), jnp.zeros_like(x)
    root = 1 / jnp.sqrt(far)
    for n in range(WAVES):
        even, odd, even_root, odd_root = (jnp.asarray(part[n], x.dtype) for part in table.tail)
        sine, cosine = sine_and_cosine(far * jnp.asarray(table.distance[n], x.dtype))
        waves += (even + even_root * root) * cosine + (odd + odd_root * root) * sine
    return jnp.where(x < LAST, _looked_up(table.square, x) / (1 + x**2 / 5) ** 2, waves / far**4)


def amplitude(table: Table, x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return <F>(x) of one body; beyond the table 0, where particles have no correlation left."""
    return jnp.where(x < LAST, _looked_up(table.mean, x) / (1 + x**2 / 5), 0.0)


@functools.cache
def bodies() -> dict[str, Body]:
    """Return the named bodies, the sphere first."""
    stored = _stored()
    names = [key.removesuffix("/lengths") for key in stored if key.endswith("/lengths")]
    return {"sphere": Body(1.0, np.sqrt(0.6), 1.0)} | {
        name: Body(*map(float, stored[f"{name}/lengths"])) for name in names
    }


@functools.cache
def table(name: str) -> Table:
    """Return the table of a named body, in double precision.

    Raises:
        ValueError: where there is none of that name.
    """
    if name not in bodies():
        raise ValueError(f"Expected a body among {', '.join(bodies())}, got {name!r}.")
    if name == "sphere":
        x = _places()
        mean = np.where(x > 0, 3 * spherical_jn(1, x) / np.where(x > 0, x, 1), 1.0)
        return tabulated(mean**2, mean, {0.0: _wave(4.5), 2.0: _wave(4.5)})
    stored = _stored()
    square, mean, tail = (stored[f"{name}/{part}"] for part in ("square", "mean", "tail"))
    return tabulated(square, mean, {row[0]: row[1:] for row in tail})


def stacked(names: tuple[str, ...]) -> Table:
    """Return the tables of several bodies, the first axis theirs."""
    return Table(*(np.stack(parts) for parts in zip(*map(table, names), strict=True)))


@functools.lru_cache(maxsize=64)
def spheroid_table(aspect: float) -> Table:
    """Return the table of a spheroid, its aspect the axis of revolution over the other."""
    across = aspect ** (-1 / 3)
    mu, weight = _cosines(LAST * across * abs(aspect - 1))
    turned = across * np.sqrt(1 + (aspect**2 - 1) * mu**2)
    tail = {0.0: _wave(4.5 * float(np.sum(weight / turned**4)))}
    if aspect != 1:  # the equator, by stationary phase
        size = 4.5 / across**4 * np.sqrt(np.pi / (8 * across * abs(aspect**2 - 1)))
        tail[2 * across] = np.array([0, 0, size, -np.sign(aspect - 1) * size])
    return _revolved(lambda x: _ball(x * turned), weight, tail)


@functools.lru_cache(maxsize=64)
def cylinder_table(aspect: float) -> Table:
    """Return the table of a cylinder, its aspect the length over the diameter."""
    radius = (2 / (3 * aspect)) ** (1 / 3)
    mu, weight = _cosines(LAST * radius * np.hypot(1, aspect))
    across, along = radius * np.sqrt(1 - mu**2), radius * aspect * mu
    factor, length = 2 * np.pi / (4 / 3 * np.pi) ** 2, 2 * radius * aspect
    flat, side = np.pi * radius**2, 2 * np.pi * radius * length
    root = 2 * np.pi * radius * np.sqrt(length / np.pi) / 2
    tail = {0.0: _wave(factor * (2 * flat + side)), length: -2 * factor * np.array([flat, 0, -root, root])}
    tail[2 * radius] = tail.get(2 * radius, _wave(0.0)) - factor * np.array([0, side, 0, 0])
    return _revolved(lambda x: 2 * j1(x * across) / (x * across) * np.sinc(x * along / np.pi), weight, tail)


def polyhedron_table(body: Polyhedron, domain: Float[np.ndarray, "triangle 3 3"] | None = None) -> Table:
    """Return the table of any polyhedron; takes a minute.

    Args:
        body: from `polyhedra.convex` or `polyhedra.joined`.
        domain: directions that stand for all [half of the octants].
    """
    made = measured(body, domain)
    return tabulated(made["square"], made["mean"], {row[0]: row[1:] for row in made["tail"]})


def measured(body: Polyhedron, domain: Float[np.ndarray, "triangle 3 3"] | None) -> dict[str, np.ndarray]:
    """Return what is stored of a polyhedron."""
    volume = body.volume
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    square, mean = polyhedra.averages(body, _places() / radius, domain)
    edge = np.linalg.norm(body.ends - body.starts, axis=1).min() / radius
    lengths = [edge, np.sqrt(polyhedra.gyration(body)) / radius, body.areas.sum() / (4 * np.pi * radius**2)]
    return {"square": square, "mean": mean, "tail": tail(body), "lengths": np.array(lengths)}


def tail(body: Polyhedron) -> Float[np.ndarray, "wave 5"]:
    """Return the distances and amplitudes of a polyhedron's waves of P x⁴ beyond the table."""
    radius = (3 * body.volume / (4 * np.pi)) ** (1 / 3)
    factors = radius**4 / body.volume**2 * np.array([1, 1, np.sqrt(radius), np.sqrt(radius)])
    return np.array([[distance / radius, *(factors * wave)] for distance, wave in polyhedra.porod(body).items()])


def tabulated(square: np.ndarray, mean: np.ndarray, tail: dict[float, np.ndarray]) -> Table:
    """Return a table from P and <F> at the stored places, and the tail's waves by their distance."""
    envelope, distances, waves = 1 + _places() ** 2 / 5, np.zeros(WAVES), np.zeros((4, WAVES))
    for n, distance in enumerate(sorted(tail)):
        distances[n], waves[:, n] = distance, tail[distance]
    return Table(_pieces(square * envelope**2), _pieces(mean * envelope), waves, distances)


def _wave(size: float) -> np.ndarray:
    """Return the amplitudes of a wave that is a cosine."""
    return np.array([size, 0.0, 0.0, 0.0])


def _looked_up(pieces, x):
    """Return the value of cubic pieces at x, below `LAST`."""
    place = jnp.minimum(x, LAST) / STEP
    piece = jnp.minimum(place.astype(jnp.int32), pieces.shape[-1] - 1)
    part = place - piece
    value, slope, bend, turn = (jnp.asarray(row, x.dtype)[piece] for row in pieces)
    return ((turn * part + bend) * part + slope) * part + value


def _pieces(values) -> Float[np.ndarray, "4 piece"]:
    """Return cubic pieces with the values and slopes of a spline through an even function."""
    x = _places()
    spline = make_interp_spline(np.append(-x[:0:-1], x), np.append(values[:0:-1], values), k=9)
    node = STEP * np.arange(round(LAST / STEP) + 1)
    value, slope = spline(node), STEP * spline.derivative()(node)
    rise = np.diff(value)
    first, last = slope[:-1], slope[1:]
    return np.stack([value[:-1], first, 3 * rise - 2 * first - last, first + last - 2 * rise])


def _revolved(amplitude_at, weight, tail) -> Table:
    """Return the table of a body of revolution, given its amplitude at the cosines for one x."""
    every = np.array([np.ones_like(weight), *map(amplitude_at, _places()[1:])])
    return tabulated(every**2 @ weight, every @ weight, tail)


def _places() -> np.ndarray:
    return COARSE * np.arange(round(LAST / COARSE) + 1)


def _cosines(phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss points from 0 to 1 and their weights, for an amplitude whose phase turns by so much."""
    node, weight = np.polynomial.legendre.leggauss(int(40 + 1.2 * phase))
    return (node + 1) / 2, weight / 2


def _ball(x):
    return 3 * spherical_jn(1, x) / x


@functools.cache
def _stored() -> dict[str, np.ndarray]:
    with FILE.open("rb") as opened, np.load(opened) as archive:
        return {key: archive[key] for key in archive.files}
