"""Fits of all bodies and distributions to many patterns, in batches of one size."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc.inference import kernels, sizing
from jaxstruc.inference.kernels import Kernel, Tried, Window
from jaxstruc.inference.pattern import Pattern, Weighted
from jaxstruc.inference.sizing import Found
from jaxstruc.scattering import particle
from jaxstruc.scattering.particle import Table
from jaxstruc.scattering.size_distributions import FAMILIES

ITEMS = 16
"""A pattern and a body each; of a batch."""
STARTS, STARTS_TWO = 2, 3
"""Of fits of one population and of two."""
PROMISING = 3
"""Bodies, the best with one population, to which two are fitted."""


class Outcome(NamedTuple):
    """The fit of one body and distribution."""

    body: str
    distribution: str
    place: Float[np.ndarray, "population 2"]
    """ln mean (R_eq in Å) and ln width."""
    amplitude: Float[np.ndarray, " population"]
    chi2: float
    normal: Float[np.ndarray, "parameter parameter"]
    """Of ln means and ln widths, then ln amplitudes; without those that are not fitted."""
    bounded: np.ndarray
    """[population, 2]"""
    converged: bool

    @property
    def family(self) -> str:
        """Of each population."""
        return "gaussian" if self.distribution == "two" else self.distribution

    @property
    def parameters(self) -> int:
        """Fitted, amplitudes among them."""
        return len(self.amplitude) * (FAMILIES[self.family].parameters + 1)


class Fits(NamedTuple):
    """All fits to one pattern."""

    outcomes: tuple[Outcome, ...]
    window: Window
    """About the best of spheres of one population."""


def fit_all(patterns: Sequence[Pattern], bodies: tuple[str, ...], distributions: tuple[str, ...]) -> list[Fits]:
    """Return the fits of bodies and distributions to patterns.

    Args:
        patterns: of any sizes; those alike go together.
        bodies: by name.
        distributions: by name; "free" is left out.
    """
    found: list[Fits | None] = [None] * len(patterns)
    alike: dict[tuple, list[int]] = {}
    for place, one in enumerate(patterns):
        shape = one.weighted.terms.shape, one.weighted.dq is None
        alike.setdefault(shape, []).append(place)
    for places in alike.values():
        for first in range(0, len(places), ITEMS):
            some = places[first : first + ITEMS]
            for place, fits in zip(some, _fit_some([patterns[k] for k in some], bodies, distributions), strict=True):
                found[place] = fits
    return [one for one in found if one is not None]


def _fit_some(patterns: list[Pattern], bodies: tuple[str, ...], distributions: tuple[str, ...]) -> list[Fits]:
    """Return the fits to at most `ITEMS` patterns alike."""
    singles = tuple(name for name in distributions if name in FAMILIES)
    if not singles and "two" not in distributions:
        singles = ("gaussian",)  # the free distribution begins from it
    weighted, every = [one.weighted for one in patterns], tables(bodies)
    windows = _windows(patterns)
    outcomes: list[list[Outcome]] = [[] for _ in patterns]
    items = [(place, body) for place in range(len(patterns)) for body in range(len(bodies))]
    if singles:
        for (place, body), found in _batches(items, weighted, windows, every, partial(_single, names=singles)):
            outcomes[place] += [_outcome(found, k, bodies[body], name) for k, name in enumerate(singles)]
    if "two" in distributions:
        items = [(place, body) for place, fits in enumerate(outcomes) for body in _promising(fits, bodies)]
        for (place, body), found in _batches(items, weighted, windows, every, _double):
            outcomes[place].append(_outcome(found, 0, bodies[body], "two"))
    return [Fits(tuple(some), window) for some, window in zip(outcomes, windows, strict=True)]


def _promising(outcomes: list[Outcome], bodies: tuple[str, ...]) -> list[int]:
    """Return the bodies that fit best with one population."""
    if not outcomes:
        return list(range(len(bodies)))
    least = [min(one.chi2 for one in outcomes if one.body == body) for body in bodies]
    return [int(k) for k in np.argsort(least, kind="stable")[:PROMISING]]


def _windows(patterns: list[Pattern]) -> list[Window]:
    """Return where fits to each pattern begin; the curves that are tried are shared by patterns of the same Q."""
    known: dict[bytes, Tried] = {}
    found = []
    sphere = tables(("sphere",))
    for one in patterns:
        key = np.asarray(one.weighted.q).tobytes()
        if key not in known:
            known[key] = tried(sphere, one.weighted.q)
        found.append(_start(known[key], one.weighted))
    return [jax.tree.map(np.asarray, one) for one in found]


def _batches(items, weighted: list[Weighted], windows: list[Window], every: Table, fit):
    """Yield each item and its fits, from batches of `ITEMS`."""
    for first in range(0, len(items), ITEMS):
        some = items[first : first + ITEMS]
        full = some + [some[-1]] * (ITEMS - len(some))
        data, window = (
            jax.tree.map(lambda *parts: np.stack(parts), *[of[place] for place, _ in full])
            for of in (weighted, windows)
        )
        found = jax.tree.map(np.asarray, fit(every, np.array([body for _, body in full]), data, window))
        for k, item in enumerate(some):
            yield item, jax.tree.map(lambda part, k=k: part[k], found)


def _outcome(found: Found, place: int, body: str, distribution: str) -> Outcome:
    own = jax.tree.map(lambda part: np.asarray(part[place], bool if part.dtype == bool else float), found)
    return Outcome(
        body, distribution, own.place, own.amplitude, float(own.chi2), own.normal, own.bounded, bool(own.converged)
    )


_TABLES: dict[tuple[str, ...], Table] = {}


def tables(bodies: tuple[str, ...]) -> Table:
    """Return the tables of bodies, in single precision, with an axis of bodies in front; kept."""
    if bodies not in _TABLES:
        stacked = particle.stacked(tuple(body.replace("-", " ") for body in bodies))
        _TABLES[bodies] = jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), stacked)
    return _TABLES[bodies]


@jax.jit
def tried(sphere: Table, q) -> Tried:
    """Return the curves of spheres of all sizes at some Q; its table has an axis of one body in front."""
    return kernels.tried(jax.tree.map(lambda part: part[0], sphere), q)


_start = jax.jit(kernels.start)


def _kernel(every: Table, body, data: Weighted, window: Window) -> Kernel:
    return kernels.kernel(jax.tree.map(lambda part: part[body], every), data, window)


@partial(jax.jit, static_argnames="names")
def _single(every: Table, bodies, data: Weighted, windows: Window, *, names: tuple[str, ...]) -> Found:
    """Return the fits of distributions of one population, the best start of each."""

    def one(body, data, window):
        own = _kernel(every, body, data, window)
        begin = jnp.tile(kernels.starts(own, data, window, STARTS)[:, None], (len(names), 1, 1))
        return sizing.best(sizing.fitted(own, data.data, begin, names), STARTS)

    return jax.vmap(one)(bodies, data, windows)


@jax.jit
def _double(every: Table, bodies, data: Weighted, windows: Window) -> Found:
    """Return the fits of two Gaussian populations, the best start."""

    def one(body, data, window):
        window = window._replace(step=jnp.full_like(window.step, kernels.STEP_TWO))
        own = _kernel(every, body, data, window)
        begin = kernels.pairs(own, data, window, STARTS_TWO)
        return sizing.best(sizing.fitted(own, data.data, begin, ("gaussian",)), STARTS_TWO)

    return jax.vmap(one)(bodies, data, windows)
