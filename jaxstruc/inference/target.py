r"""A measured G(r) as fits compare models with it.

Data and model are compared in an orthonormal basis of all curves that a model can make in the data's Q and r range:
some 160 numbers for thousands of points. Nothing is lost: the part of the data outside the basis is a constant of the
misfit. Of all such bases it is that in which a product with r² is diagonal, a discrete variable representation, so that
the resolution's envelope acts on each number by itself (J. C. Light, I. P. Hamilton, J. V. Lill, J. Chem. Phys. 82,
1400 (1985), doi 10.1063/1.448462). A smooth background is projected out of data and model.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering.parameters import FITTED, PARAMETERS
from jaxstruc.scattering.templates import Span

STRETCH = PARAMETERS["stretch"].bounds(1.0)
"""Least and largest."""
BEYOND = 6.0
"""Å. Distances so far beyond the fit's range count; farther ones do not reach it."""
ACCURACY = 3e-3
"""Rw of the errors of curves themselves, by tables and bins."""
LOST = 1e-3
"""Curves weaker than this, relative to the strongest, are left out of the basis."""
WAVES = 0.03
"""Waves weaker than this, relative to the strongest, are no part of `low_waves`."""
LEAST_SCALE = 1e-6
"""Of a fit."""
MULTIPLE = 32
"""Of the basis's size, so that unlike files share a compilation: zeros are added, which change nothing."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "q",
        "design",
        "radius",
        "smooth",
        "data",
        "norm",
        "rest",
        "independent",
        "stretch",
        "bond",
        "qdamp",
        "qbroad",
        "scales",
    ],
    meta_fields=["span"],
)
@dataclass(frozen=True)
class Basis:
    """A target in the basis of its range: what enters a compiled fit. `span` is static."""

    q: Float[Array, " q"]
    """1/Å. Points of the Gauss-Legendre rule over the data's Q range."""
    design: Float[Array, "q basis"]
    """Takes F(Q) to the basis, without the resolution."""
    radius: Float[Array, " basis"]
    """Å. Where each function of the basis sits."""
    smooth: Float[Array, "basis term"]
    """Takes the background out of a curve c: c - smooth smooth' c."""
    data: Float[Array, " basis"]
    """Without its part along the background."""
    norm: Float[Array, ""]
    """Sum of the squared data."""
    rest: Float[Array, ""]
    """Sum of the squares of the part of the data that no model reaches; the background is no part of it."""
    independent: Float[Array, ""]
    """Number of independent points."""
    stretch: Float[Array, ""]
    """Of the data's first peak, relative to the bond: where the fit starts."""
    bond: Float[Array, ""]
    """Å. Nearest-neighbour distance of the templates."""
    qdamp: Float[Array, ""]
    """1/Å. Where it is held, else where the fit starts; so for the next."""
    qbroad: Float[Array, ""]
    scales: Float[Array, " 2"]
    """Least and largest scale; both 1 where the data are on an absolute scale."""
    span: Span
    """What the templates cover."""


class Target(NamedTuple):
    """A measured G(r) in the range of its fit, with all that belongs to it; on the host."""

    r: Float[np.ndarray, " r"]
    """Å"""
    g: Float[np.ndarray, " r"]
    """1/Å²"""
    qmin: float
    """1/Å; so for the next three."""
    qmax: float
    qdamp: float
    """Held, else where the fit starts; so for the next."""
    qbroad: float
    bond: float
    """Å. Nearest-neighbour distance of the sample."""
    background: int
    """Number of smooth terms under G(r)."""
    span: Span
    """What the templates cover."""
    functions: Float[np.ndarray, "r basis"]
    """The basis, on the points of the data."""
    basis: Basis
    absolute: bool = False
    """Whether the data are on an absolute scale: that of models is 1."""

    @property
    def accuracy(self) -> float:
        """Root mean square, in 1/Å², below which a residual shows the accuracy of curves."""
        return ACCURACY * float(np.sqrt(np.mean(self.g**2)))

    @property
    def independent(self) -> float:
        """Number of independent points, less the terms of the background."""
        return float(self.basis.independent)


def span(*, rmax: float, qmax: float, diameter: float) -> Span:
    """Return what templates of clusters up to a diameter must cover, for data to rmax and qmax.

    Rounded up, so that like files share compilations.
    """
    longest = min(rmax + BEYOND, diameter + 0.1)
    rounded = (4.0 * math.ceil(x / 4 - 1e-9) for x in (longest, STRETCH[1] * qmax))
    return Span(*rounded)


def target(
    r: Float[np.ndarray, " r"],
    g: Float[np.ndarray, " r"],
    *,
    qmin: float,
    qmax: float,
    qdamp: float,
    qbroad: float,
    bond: float,
    span: Span,
    background: int = 0,
    size: int = 0,
    lowest: float | None = None,
    least: int = 0,
    absolute: bool = False,
) -> Target:
    """Return what a fit compares models with. On the host, in double precision.

    Args:
        r: points of the fit, in Å, even and rising.
        g: G(r) there, in 1/Å².
        qmin: of the data, in 1/Å.
        qmax: of the data, in 1/Å.
        qdamp: in 1/Å, held or to start from.
        qbroad: in 1/Å, held or to start from.
        bond: nearest-neighbour distance of the templates, in Å.
        span: what the templates cover.
        background: number of smooth terms, half waves over the range of r.
        size: points of Q at least, the further ones zero, so that unlike files share a compilation.
        lowest: least qmin that `changed` will be asked for, in 1/Å: the basis holds all curves from there on.
        least: size of the basis at least, the further functions zero, for the same end.
        absolute: whether the data are on an absolute scale.

    Raises:
        ValueError: where there are hardly any independent points.
    """
    independent = independent_points(r, qmin=qmin, qmax=qmax, background=background)
    lowest = qmin if lowest is None else min(lowest, qmin)
    _, to_g = transform(r, lowest, qmax, span)
    strength, vectors = np.linalg.eigh(to_g.T @ to_g)
    kept = strength > LOST**2 * strength[-1]
    functions = to_g @ (vectors[:, kept] / np.sqrt(strength[kept]))
    square, turned = np.linalg.eigh(functions.T @ (r[:, None] ** 2 * functions))
    padding = (0, max(-len(square) % MULTIPLE, least - len(square)))
    functions = np.pad(functions @ turned, ((0, 0), padding))
    terms = background_terms(r, background)
    # Least squares over the background: with A = 1 - TT' the misfit is |L^-1 B'Ag - Lc|² and a constant, L² = B'AB.
    across, share, _ = np.linalg.svd(functions.T @ terms, full_matrices=False)
    root = np.sqrt(np.maximum(1 - share**2, 0.0))
    without = g - terms @ (terms.T @ g)
    data = functions.T @ without
    data += across @ (np.where(root > 1e-6, 1 / np.maximum(root, 1e-6) - 1, -1.0) * (across.T @ data))
    rest = without @ without - data @ data
    q, design = _design(r, functions, qmin, qmax, span, max(size, points(r[-1], lowest, qmax, span)))
    basis = Basis(
        q=q,
        design=design,
        radius=_single(np.pad(np.sqrt(square), padding)),
        smooth=_single(across * np.sqrt(1 - root)),
        data=_single(data),
        norm=_single(g @ g),
        rest=_single(max(rest, 0.0)),
        independent=_single(independent),
        stretch=_single(_first_peak(r, g, bond) / bond),
        bond=_single(bond),
        qdamp=_single(qdamp),
        qbroad=_single(qbroad),
        scales=_single((1.0, 1.0) if absolute else (LEAST_SCALE, np.inf)),
        span=span,
    )
    return Target(r, g, qmin, qmax, qdamp, qbroad, bond, background, span, functions, basis, absolute)


def changed(target: Target, *, qmin: float | None = None, qdamp: float | None = None) -> Target:
    """Return a target whose models begin at another qmin or have another qdamp: the same data, in the same basis.

    Args:
        target: made with a `lowest` at or below the qmin.
        qmin: in 1/Å.
        qdamp: in 1/Å.
    """
    qmin = target.qmin if qmin is None else qmin
    qdamp = target.qdamp if qdamp is None else qdamp
    q, design = _design(target.r, target.functions, qmin, target.qmax, target.span, len(target.basis.q))
    independent = independent_points(target.r, qmin=qmin, qmax=target.qmax, background=target.background)
    basis = replace(target.basis, q=q, design=design, qdamp=_single(qdamp), independent=_single(independent))
    return target._replace(qmin=qmin, qdamp=qdamp, basis=basis)


def independent_points(r: Float[np.ndarray, " r"], *, qmin: float, qmax: float, background: int = 0) -> float:
    """Return how many independent points data have, less the terms of the background.

    Raises:
        ValueError: where there are hardly any.
    """
    independent = min(len(r), (r[-1] - r[0]) * (qmax - qmin) / np.pi) - background
    if independent <= len(FITTED):
        raise ValueError(
            f"Expected more than {len(FITTED)} independent points, got {independent:.1f} for r {r[0]:g} to "
            f"{r[-1]:g} Å and Q {qmin:g} to {qmax:g} 1/Å; widen --rmin and --rmax, or fit fewer --background terms."
        )
    return independent


def background_terms(r: Float[np.ndarray, " r"], count: int) -> Float[np.ndarray, "r term"]:
    """Return the smooth curves of a background: half waves over the range, 1, cos x, cos 2x, ..., made orthonormal."""
    place = (r - r[0]) / (r[-1] - r[0])
    return np.linalg.qr(np.cos(np.pi * place[:, None] * np.arange(count)))[0]


def transform(
    r: Float[np.ndarray, " r"], qmin: float, qmax: float, span: Span
) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, "r q"]]:
    """Return Q of a Gauss-Legendre rule, and the sine transform from F there to G(r)."""
    x, share = _rule(points(r[-1], qmin, qmax, span))
    q = qmin + (qmax - qmin) * (x + 1) / 2
    return q, (qmax - qmin) / np.pi * share * np.sin(r[:, None] * q)


def low_waves(target: Target, *, lowest: float, to: float) -> Float[np.ndarray, "basis wave"]:
    """Return an orthonormal basis of the curves that F(Q) between two Q makes: what an unknown qmin leaves open.

    Args:
        target: the data.
        lowest: in 1/Å.
        to: in 1/Å.
    """
    q, weight = _rule(points(target.r[-1], lowest, to, target.span))
    waves = np.sin(target.r[:, None] * (lowest + (to - lowest) * (q + 1) / 2)) * np.sqrt(weight)
    smooth = np.asarray(target.basis.smooth, float)
    waves = target.functions.T @ waves
    vectors, strength, _ = np.linalg.svd(waves - smooth @ (smooth.T @ waves), full_matrices=False)
    return vectors[:, strength > WAVES * strength[0]]


def points(rmax: float, qmin: float, qmax: float, span: Span) -> int:
    """Return how many points of Q that rule needs."""
    phase = 0.5 * (qmax - qmin) * (STRETCH[1] * span.longest + rmax)
    return 32 * math.ceil((phase / 2 + 16) / 32)


@lru_cache(maxsize=64)
def _rule(count: int) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"]]:
    """Return places and weights of the Gauss-Legendre rule, from -1 to 1."""
    return np.polynomial.legendre.leggauss(count)


def _design(
    r: Float[np.ndarray, " r"], functions: Float[np.ndarray, "r basis"], qmin: float, qmax: float, span: Span, size: int
) -> tuple[Float[Array, " q"], Float[Array, "q basis"]]:
    """Return the points of Q and what takes F there to the basis, both padded with zeros to a size."""
    q, to_g = transform(r, qmin, qmax, span)
    more = size - len(q)
    return _single(np.pad(q, (0, more))), _single(np.pad(to_g.T @ functions, ((0, more), (0, 0))))


def _single(x) -> Float[Array, "..."]:
    return jnp.asarray(x, jnp.float32)


def _first_peak(r, g, bond: float) -> float:
    """Return the place of the highest point about one bond length."""
    near = (r > 0.88 * bond) & (r < 1.12 * bond)
    return float(r[near][np.argmax(g[near])]) if near.any() else bond
