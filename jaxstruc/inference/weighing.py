"""All fits to a pattern with their weights, the free distribution of the best body among them, and draws from all."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.inference import averaging, evaluated, freeform, pattern
from jaxstruc.inference.averaging import Drawn, Noise
from jaxstruc.inference.freeform import Freeform
from jaxstruc.inference.outcomes import Fits, Outcome
from jaxstruc.inference.pattern import Pattern
from jaxstruc.scattering.size_distributions import moments

NODES, REACH = 400, 2.4
"""Of ln R, on which sizes are told, and how far they go at least."""
TAIL, MARGIN = 1e-3, 0.3
"""Share of the volume at each end that the free distribution need not hold, and what it holds beyond, in ln R."""
BINNED = 256
"""Points over which bins are laid."""
FREELY = 64
"""Draws of the free distribution."""


class Free(NamedTuple):
    """The free distribution of the best body."""

    found: Freeform
    body: str
    share: Float[np.ndarray, " node"]
    """Of volume; the next likewise."""
    drawn: Float[np.ndarray, "draw node"]
    volumes: Float[np.ndarray, "point node"]
    weight: float


class Judged(NamedTuple):
    """What fits to a pattern weigh."""

    outcomes: tuple[Outcome, ...]
    """Best first."""
    weight: Float[np.ndarray, " outcome"]
    evidence: Float[np.ndarray, " outcome"]
    """In its logarithm."""
    noise: Noise
    u: Float[np.ndarray, " node"]
    """ln R (Å) of the nodes on which sizes are told."""
    share: Float[np.ndarray, "outcome node"]
    """Of volume."""
    free: Free | None
    draws: Drawn
    """From all, the free distribution too."""


def judged(seen: Pattern, fits: Fits, sound: Sequence[Outcome], *, free: bool, alone: bool) -> Judged:
    """Return the fits with their weights, best first.

    The free distribution, which can take any form, has a weight only where no distribution with parameters explains the
    data and it does so better for each degree of freedom, or where it is asked for `alone`.
    """
    reach = max(192 * float(fits.window.step), REACH)
    u = float(fits.window.middle) + np.linspace(-reach / 2, reach / 2, NODES)
    best = min(sound, key=lambda one: one.chi2)
    freedom = seen.points - best.parameters - len(seen.powers)
    noise = averaging.noise(
        best.chi2, lambda: evaluated.curves(seen, [best], u, 1.0)[0].residual, freedom, inferred=seen.inferred
    )
    plain = _weighed(seen, sound, noise, u)
    if not free:
        return plain
    body = plain.outcomes[0].body
    if not (alone or noise.beyond):
        return plain._replace(free=_free(seen, body, plain, 1.0))
    own = _free(seen, body, plain, 1.0)
    chi2, residual = _misfit(seen, own)
    if not alone and chi2 / max(seen.points - own.found.determined - len(seen.powers), 1) > best.chi2 / freedom:
        return plain._replace(free=own)
    if chi2 < best.chi2:
        noise = averaging.noise(chi2, lambda: residual, freedom, inferred=seen.inferred)
        plain = _weighed(seen, sound, noise, u)
    own = _free(seen, body, plain, noise.temper, count=FREELY)
    share = 1.0
    mine = np.array([one.body == body for one in plain.outcomes])
    if not alone:
        share = 1 / (1 + float(np.sum(np.exp(np.minimum(plain.evidence[mine] - own.found.evidence, 700.0)))))
    own = own._replace(weight=share * float(plain.weight[mine].sum()))
    draws = _joined(plain.draws, mine[plain.draws.place], share, own)
    return plain._replace(weight=np.where(mine, (1 - share) * plain.weight, plain.weight), free=own, draws=draws)


def _weighed(seen: Pattern, sound: Sequence[Outcome], noise: Noise, u) -> Judged:
    """Return fits with their weights, best first, without a free distribution."""
    span = math.log(6 * seen.q[-1] / seen.q[0])
    evidence = np.array([averaging.evidence(one, noise.temper, span=span) for one in sound])
    weight = averaging.weights(evidence)
    order = np.argsort(-weight, kind="stable")
    ordered, weight = tuple(sound[k] for k in order), weight[order]
    draws = averaging.drawn(ordered, weight, u, noise.temper)
    return Judged(ordered, weight, evidence[order], noise, u, averaging.shares_of(ordered, u), None, draws)


def _misfit(seen: Pattern, own: Free) -> tuple[float, Float[np.ndarray, " point"]]:
    """Return chi-squared and the residual over the noise of a free distribution."""
    residual = (seen.intensity - evaluated.of_shares(seen, own.volumes, own.share)[0]) / seen.sigma
    return float(residual @ residual), residual


def _free(seen: Pattern, body: str, plain: Judged, temper: float, *, count: int = 0) -> Free:
    """Return the free distribution of a body, over the sizes that its other distributions have and more."""
    u, draws = plain.u, plain.draws
    mean = draws.weight @ draws.share
    inside = u[np.cumsum(mean) > TAIL][0], u[np.cumsum(mean) < 1 - TAIL][-1]
    more = MARGIN + 0.5 * (inside[1] - inside[0])
    at, hats = freeform.bins(np.linspace(max(inside[0] - more, u[0]), min(inside[1] + more, u[-1]), BINNED))
    hats = np.maximum(1 - np.abs(u[:, None] - at) / (at[1] - at[0]), 0.0)
    hats = hats / np.maximum(hats.sum(axis=0), 1e-300)
    volumes = evaluated.volumes_of(seen, body, u)
    under = pattern.background_terms(seen.q, seen.powers) / seen.sigma[:, None]
    basis = np.linalg.qr(under)[0]
    curves, data = (volumes @ hats) / seen.sigma[:, None], seen.intensity / seen.sigma
    curves, data = curves - basis @ (basis.T @ curves), data - basis @ (basis.T @ data)
    found = freeform.fitted(curves, data, temper=temper, draws=count)
    share = hats @ found.share
    drawn = found.drawn @ hats.T
    return Free(found, body, share / share.sum(), drawn / drawn.sum(axis=1, keepdims=True), volumes, 0.0)


def _joined(draws: Drawn, of_body: np.ndarray, share: float, own: Free) -> Drawn:
    """Return draws with those of the free distribution, which takes a share of its body's weight."""
    if not len(own.drawn):
        return draws
    weight = np.where(of_body, (1 - share) * draws.weight, draws.weight)
    more = np.full(len(own.drawn), share * float(draws.weight[of_body].sum()) / len(own.drawn))
    every = np.concatenate([draws.share, own.drawn])
    place = np.concatenate([draws.place, np.full(len(own.drawn), -1)])
    return Drawn(np.concatenate([weight, more]), place, moments(every, draws.radius), every, draws.radius)


def bodies(found: Judged) -> dict[str, float]:
    """Return the probability of each body, the largest first."""
    share: dict[str, float] = {}
    for one, weight in zip(found.outcomes, found.weight, strict=True):
        share[one.body] = share.get(one.body, 0.0) + float(weight)
    if found.free:
        share[found.free.body] += found.free.weight
    return dict(sorted(share.items(), key=lambda item: -item[1]))
