r"""Classes of clusters mixed: shares of atoms by packing and size, and the curves that they share out.

Of each packing the sizes D follow

$$\varphi(D) = \varphi_0 \exp\left(-\frac{(\ln D - \mu)^2}{2\sigma^2} + \tau\, w(\ln D)\right)$$

with w a smooth curve of unit variance: a lognormal where the strength $\tau$ is 0, a free distribution beyond. Uiso,
delta2 and stretch are shared; small particles contract by k/D.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxstruc.inference import values as values_
from jaxstruc.inference.target import Basis
from jaxstruc.scattering import templates
from jaxstruc.scattering.templates import Span, Template
from jaxstruc.structures.classes import Classes
from jaxstruc.structures.distances import Histogram
from jaxstruc.structures.library import WIDTH

SMOOTH = 0.3
"""Length, in the logarithm of the size, over which a free distribution is smooth."""


@partial(jax.tree_util.register_dataclass, data_fields=["tables", "packing", "size", "waves"], meta_fields=["packings"])
@dataclass(frozen=True)
class Mixture:
    """Classes of clusters, as fits to data of a span need them."""

    tables: Template
    """[class]"""
    packing: Int[Array, " class"]
    size: Float[Array, " class"]
    """Å"""
    waves: Float[Array, "class wave"]
    """Smooth curves of the logarithm of the size, for free distributions."""
    packings: int
    """Their number."""


class Guess(NamedTuple):
    """What is fitted."""

    root: Float[Array, " packing"]
    """Square root of the share of atoms, times the scale: what is even in it has Jeffreys' prior for shares."""
    mean: Float[Array, " packing"]
    """Of the logarithm of the size in Å."""
    spread: Float[Array, " packing"]
    """Logarithm of the standard deviation of that."""
    waves: Float[Array, "packing wave"]
    common: Float[Array, " 2"]
    """Mean and spread of all packings."""
    places: Float[Array, " parameter"]
    """Of the shared values between their bounds."""
    contraction: Float[Array, " 1"]
    """Å"""


def mixture(classes: Classes, *, bond: float, span: Span) -> Mixture:
    """Return the classes as fits need them.

    Args:
        classes: of a library.
        bond: nearest-neighbour distance, in Å.
        span: what the fits cover.
    """
    size = max(512, 64 * math.ceil((span.longest / (WIDTH * bond) + 2) / 64))
    weight, mean, variance = (
        np.pad(column[:, :size], ((0, 0), (0, max(0, size - column.shape[1])))) for column in classes.histogram[:3]
    )
    inside = (mean * bond < span.longest) & (weight > 0)
    distances = Histogram(
        np.where(inside, weight, 0.0), np.where(inside, mean * bond, bond), np.where(inside, variance * bond**2, 0.0),
        classes.histogram.atoms,
    )  # fmt: skip
    logarithm = np.log(classes.sizes)
    strength, vectors = np.linalg.eigh(np.exp(-0.5 * ((logarithm[:, None] - logarithm) / SMOOTH) ** 2))
    kept = strength > 1e-3 * strength[-1]
    waves = (vectors[:, kept] * np.sqrt(strength[kept]))[classes.place]
    return Mixture(
        _tables(distances, bond, span=span),
        jnp.asarray(classes.packing),
        _single(classes.size * bond),
        _single(waves),
        len(classes.packings),
    )


@partial(jax.jit, static_argnames="span")
def _tables(distances: Histogram, bond: float, *, span: Span) -> Template:
    return jax.vmap(lambda one: templates.template(one, bond, span=span))(distances)


def shares(guess: Guess, mixture: Mixture, strength) -> Float[Array, " class"]:
    """Return the shares of atoms of all classes, times the scale."""
    return guess.root[mixture.packing] ** 2 * within(guess, mixture, strength)


def within(guess: Guess, mixture: Mixture, strength) -> Float[Array, " class"]:
    """Return the shares of classes within their packing: of each packing they sum to 1."""
    own = mixture.packing
    count = len(guess.mean)
    u = -0.5 * ((jnp.log(mixture.size) - guess.mean[own]) * jnp.exp(-guess.spread[own])) ** 2
    u += strength * jnp.sum(mixture.waves * guess.waves[own], axis=-1)
    u -= jax.lax.stop_gradient(jax.ops.segment_max(u, own, count))[own]
    return jnp.exp(u) / jax.ops.segment_sum(jnp.exp(u), own, count)[own]


def curves(mixture: Mixture, places, contraction, names: tuple[str, ...], basis: Basis) -> Float[Array, "class basis"]:
    """Return the curves of all classes, in the basis."""
    shared = values_.values_at(places, names, basis)
    stretch = stretches(shared.stretch, contraction, mixture)
    return jax.vmap(lambda one, s: values_.curve(one, shared._replace(stretch=s), basis))(mixture.tables, stretch)


def stretches(stretch, contraction, mixture: Mixture) -> Float[Array, " class"]:
    """Return the stretches of all classes: the smaller, the more contracted."""
    return stretch * (1 - contraction / mixture.size)


def _single(x) -> Float[Array, "..."]:
    return jnp.asarray(x, jnp.float32)
