"""Fits of bodies and distributions to I(Q) as a `Result`: weights, intervals, what can be told and what cannot."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import jaxstruc
from jaxstruc import statistics
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference import averaging, evaluated, weighing
from jaxstruc.inference.averaging import Drawn
from jaxstruc.inference.evaluated import Evaluated
from jaxstruc.inference.outcomes import Fits, Outcome
from jaxstruc.inference.pattern import Pattern
from jaxstruc.inference.saxs_result import MIN_BODY_PROBABILITY, SaxsResult
from jaxstruc.inference.weighing import Free, Judged
from jaxstruc.result import Candidate, SizeDistribution, Value
from jaxstruc.scattering.size_distributions import FAMILIES, Moments, median_and_sigma, moments
from jaxstruc.statistics import CENTRAL_90, Interval

WRITTEN = 5
"""Candidates with curves."""
SEEN = 1e-5
"""Of the largest density, below which there is none."""
SHOWN = 2
"""Every so many nodes are told."""
SIGNAL = 25.0
"""Least fall of chi-squared by particles beside a background alone."""
LOOSE = 0.3
"""Standard deviation of ln R from which no size is told."""
UNSURE = 1.3
"""Ratio of the ends of the number mean's interval from which a free distribution does not tell it."""
MISFIT = 2.0
"""Reduced chi-squared from which a fit does not explain the data, where their noise is said."""


def told(
    measurement: Measurement,
    seen: Pattern,
    fits: Fits,
    *,
    element: str,
    distributions: Sequence[str],
    factor: float = 1.0,
) -> SaxsResult:
    """Return the result of all fits to a measured I(Q).

    Args:
        measurement: what was measured.
        seen: as fits saw it.
        fits: of all bodies and distributions.
        element: of the sample, or "".
        distributions: that are asked.
        factor: on the scale, to make it a share of volume.
    """
    nothing = SaxsResult(
        measurement.name, measurement.sha256, element, "failed",
        "Expected a finite fit of some body, got none; check the data's scale and range.",
        settings=measurement.settings, q=seen.q, intensity=seen.intensity, sigma=seen.sigma,
        versions={"jaxstruc": jaxstruc.__version__, "jax": jax.__version__, "numpy": np.__version__},
    )  # fmt: skip
    sound = [one for one in fits.outcomes if math.isfinite(one.chi2) and one.amplitude.any()]
    if not sound:
        return nothing
    flat = float(np.sum(np.asarray(seen.weighted.data, float) ** 2))
    least = min(one.chi2 for one in sound)
    if flat - least < SIGNAL * max(least / max(seen.points - 4, 1), 1.0):
        message = "Expected the scattering of particles, got a curve that a background alone explains; check the file."
        return dataclasses.replace(nothing, message=message)
    judged = weighing.judged(seen, fits, sound, free="free" in distributions, alone=tuple(distributions) == ("free",))
    listed, names = _listed(seen, judged, factor)
    types = weighing.bodies(judged)
    weak, remarks = _said(judged, types, seen, listed[0])
    return dataclasses.replace(
        nothing,
        status="weak" if weak else "solved",
        message="; ".join([*weak, *remarks, *measurement.warnings]),
        candidates=tuple(listed),
        fitted=len(listed),
        ties=sum(one.in_90 for one in listed),
        types=types,
        intervals=_intervals(judged, listed[0]),
        free=names,
        sizes=_sizes(judged, listed[0]),
        facts=_facts(judged, seen),
    )


def _listed(seen: Pattern, judged: Judged, factor: float) -> tuple[list[Candidate], tuple[str, ...]]:
    """Return all candidates, best first, the first with curves; and what was fitted for the best."""
    temper = judged.noise.temper
    curves = evaluated.curves(seen, judged.outcomes[:WRITTEN], judged.u, temper)
    every = moments(judged.share, np.exp(judged.u))
    listed = [
        _candidate(
            place, Moments(*(column[place] for column in every)), judged, factor, seen,
            curves[place] if place < len(curves) else None,
        )
        for place in range(len(judged.outcomes))
    ]  # fmt: skip
    if judged.free:
        listed.append(_free_candidate(judged.free, judged, factor, seen))
    listed.sort(key=lambda one: -one.weight)
    credible = statistics.credible_set(np.array([one.weight for one in listed]))
    names = () if listed[0].family == "free" else curves[0].names
    return [dataclasses.replace(one, in_90=bool(credible[k])) for k, one in enumerate(listed)], names


def _candidate(
    place: int, own: Moments, judged: Judged, factor: float, seen: Pattern, more: Evaluated | None
) -> Candidate:
    """Return what a result says of one fit."""
    one = judged.outcomes[place]
    errors = dict(zip(more.names, more.errors, strict=True)) if more else _errors(one, judged.noise.temper)
    values = _of_sizes(own, judged.draws, place) if len(one.amplitude) > 1 else _population(one, errors)
    values["r_eq"] = values["radius"]
    values |= _populations(one, errors) if len(one.amplitude) > 1 else {}
    notes = {"chi2": one.chi2 / max(seen.points - one.parameters - len(seen.powers), 1)}
    notes |= {"mean_volume": 2 * float(own.mean_volume), "width_volume": float(own.width_volume)}
    if one.distribution == "lognormal":
        mean, width = (math.exp(value) for value in one.place[0])
        notes |= dict(zip(("median", "sigma"), median_and_sigma(mean, width), strict=True))
    if more:
        relative = next((errors[name] for name in errors if name.startswith("scale")), None)
        scale = factor * more.scale
        values["scale"] = Value(scale, None if relative is None else scale * relative, "")
        values |= _terms(more.terms, more, seen)
    bounded = [name for k, name in enumerate(("radius", "pd")) if one.bounded[:, k].any()]
    bounded = [name for name in bounded if name == "radius" or FAMILIES[one.family].parameters == 2]
    return Candidate(
        source="body",
        type=one.body,
        family=one.distribution,
        recipe="",
        n_atoms=0,
        diameter=2 * float(own.mean),
        rw=math.sqrt(one.chi2 / max(float(np.sum((seen.intensity / seen.sigma) ** 2)), 1e-300)),
        weight=float(judged.weight[place]),
        in_90=False,
        converged=one.converged,
        remark=", ".join(f"{name} at its bound" for name in bounded),
        values=values,
        notes=notes,
        calculated=more.calculated if more else None,
        background=more.background if more else None,
        correlation=more.correlation if more else None,
    )


def _population(one: Outcome, errors: dict[str, float], number: int = 0) -> dict[str, Value]:
    """Return radius and width of a population; its number is in their names, where it has one."""
    more = f"_{number}" if number else ""
    k = max(number - 1, 0)
    radius, width = (math.exp(value) for value in one.place[k])
    found = {f"radius{more}": Value(radius, _times(radius, errors.get(f"radius{more}")), "Å")}
    if FAMILIES[one.family].parameters == 1:
        return found | {f"pd{more}": Value(0.0, None, "")}
    return found | {f"pd{more}": Value(width, _times(width, errors.get(f"pd{more}")), "")}


def _populations(one: Outcome, errors: dict[str, float]) -> dict[str, Value]:
    """Return radius, width and share of volume of two populations."""
    share = one.amplitude / one.amplitude.sum()
    found: dict[str, Value] = {}
    for number in (1, 2):
        found |= _population(one, errors, number)
        both = [errors.get(f"scale_{k}") for k in (1, 2)]
        error = None if None in both else float(share.prod() * math.hypot(*both))  # type: ignore[arg-type]
        found[f"share_{number}"] = Value(float(share[number - 1]), error, "")
    return found


def _times(value: float, error: float | None) -> float | None:
    return None if error is None else value * float(error)


def _of_sizes(own: Moments, draws: Drawn, place: int) -> dict[str, Value]:
    """Return mean radius and width of a distribution that is no single population, errors from its draws."""
    mine = draws.place == place
    errors = [float(np.std(column[mine])) if mine.any() else None for column in (draws.sizes.mean, draws.sizes.width)]
    return {"radius": Value(float(own.mean), errors[0], "Å"), "pd": Value(float(own.width), errors[1], "")}


def _errors(one: Outcome, temper: float) -> dict[str, float]:
    """Return the errors of ln radius and ln pd of a fit whose curve is not evaluated."""
    matrix, free = averaging.covariance(one, temper)
    populations = len(one.amplitude)
    found: dict[str, float] = {}
    for k in range(populations):
        more = f"_{k + 1}" if populations > 1 else ""
        for name, at in (("radius", 2 * k), ("pd", 2 * k + 1), ("scale", 2 * populations + k)):
            if free[at]:
                found[name + more] = float(np.sqrt(matrix[at, at]))
    return found


def _terms(terms: np.ndarray, more: Evaluated | None, seen: Pattern) -> dict[str, Value]:
    """Return the background: a constant in the unit of the file, and what the power law is at 1 1/Å."""
    found = {}
    errors = dict(zip(more.names, more.errors, strict=True)) if more else {}
    for power, value in zip(seen.powers, terms, strict=True):
        name = "background" if power == 0 else "power_scale"
        unit = float(seen.q[0] ** power)
        found[name] = Value(float(value) * unit, _times(unit, errors.get(name)), "")
    return found


def _free_candidate(free: Free, judged: Judged, factor: float, seen: Pattern) -> Candidate:
    """Return what a result says of the free distribution."""
    radius = np.exp(judged.u)
    own = moments(free.share, radius)
    draws = Drawn(np.zeros(0), np.full(len(free.drawn), -1), moments(free.drawn, radius), free.drawn, radius)
    values = _of_sizes(own, draws, -1)
    calculated, background, scale, terms = evaluated.of_shares(seen, free.volumes, free.share)
    values |= {"r_eq": values["radius"], "scale": Value(factor * scale, None, ""), **_terms(terms, None, seen)}
    chi2 = float(np.sum(((seen.intensity - calculated) / seen.sigma) ** 2))
    freedom = max(seen.points - free.found.determined - len(seen.powers), 1)
    return Candidate(
        source="body",
        type=free.body,
        family="free",
        recipe="",
        n_atoms=0,
        diameter=2 * float(own.mean),
        rw=math.sqrt(chi2 / max(float(np.sum((seen.intensity / seen.sigma) ** 2)), 1e-300)),
        weight=free.weight,
        in_90=False,
        converged=True,
        remark="",
        values=values,
        notes={
            "chi2": chi2 / freedom, "mean_volume": 2 * float(own.mean_volume),
            "width_volume": float(own.width_volume), "smoothness": free.found.strength,
        },
        calculated=calculated,
        background=background,
    )  # fmt: skip


def _intervals(judged: Judged, best: Candidate) -> dict[str, Interval]:
    """Return the best's sizes with the 90 % intervals over all fits."""
    sizes, weight = judged.draws.sizes, judged.draws.weight
    told = {
        "radius": (best.values["radius"].value, sizes.mean),
        "pd": (best.values["pd"].value, sizes.width),
        "r_eq": (best.values["radius"].value, sizes.mean),
        "mean_diameter": (best.notes["mean_volume"], 2 * sizes.mean_volume),
        "width": (best.notes["width_volume"], sizes.width_volume),
    }
    return {
        name: statistics.credible_interval(float(value), drawn, weight=weight) for name, (value, drawn) in told.items()
    }


def _sizes(judged: Judged, best: Candidate) -> SizeDistribution:
    """Return the distribution of sizes with its band."""
    radius, step = np.exp(judged.u), judged.u[1] - judged.u[0]
    if best.family == "free" and judged.free:
        share = judged.free.share
    else:
        place = next(
            k for k, one in enumerate(judged.outcomes) if (one.body, one.distribution) == (best.type, best.family)
        )
        share = judged.share[place]
    columns: list[np.ndarray] = []
    for power in (0, 3):
        both = [each / radius**power for each in (share, judged.draws.share)]
        density, drawn = (each / (each.sum(axis=-1, keepdims=True) * step) for each in both)
        drawn, density = drawn[:, ::SHOWN], density[::SHOWN]
        ends = np.zeros((2, len(density)))
        seen = drawn.max(axis=0) > SEEN * drawn.max()
        ends[:, seen] = statistics.quantiles(drawn[:, seen], CENTRAL_90, weight=judged.draws.weight)
        columns += [density, *ends]
    return SizeDistribution(best.family, radius[::SHOWN], *columns)  # type: ignore[arg-type]


def _facts(judged: Judged, seen: Pattern) -> dict[str, Any]:
    """Return what else is known."""
    return {
        "points": seen.points, "noise_scale": judged.noise.scale, "noise_inferred": seen.inferred,
        "smeared": seen.dq is not None,
    }  # fmt: skip


def _said(judged: Judged, types: dict[str, float], seen: Pattern, best: Candidate) -> tuple[list[str], list[str]]:
    """Return why the answer is weak, and what else a person should know."""
    weak, remarks = [], []
    share = next(iter(types.values()))
    if len(types) > 1 and share < MIN_BODY_PROBABILITY:
        some = [f"{body} {part:.2f}" for body, part in types.items() if part >= 0.05]
        remarks.append(f"shape not determined: {', '.join(some[:4])}" + (", ..." if len(some) > 4 else ""))
    chi2, error = best.notes["chi2"], best.values["radius"].error
    if chi2 > MISFIT and not seen.inferred:
        weak.append(f"chi2 {chi2:.3g} a degree of freedom: no body explains the data within their errors")
    loose = error is not None and error > LOOSE * best.values["radius"].value
    if loose or "radius at its bound" in best.remark:
        weak.append(
            f"the range of Q, {seen.q[0]:.3g} to {seen.q[-1]:.3g} 1/Å, is too short to see a size: measure further"
        )
    few = math.pi / best.values["radius"].value
    if seen.q[0] > few:
        weak.append(f"qmin {seen.q[0]:.3g} 1/Å is too high to see how large the particles are: measure below {few:.2g}")
    if best.remark and "radius" not in best.remark:
        remarks.append(best.remark)
    if not best.converged:
        remarks.append("fit not converged")
    spread = judged.draws.sizes.mean
    low, high = statistics.quantiles(spread, CENTRAL_90, weight=judged.draws.weight)
    if best.family == "free" and high > UNSURE * low:
        remarks.append("few small particles are not seen: mean by volume and its width are surer than radius and pd")
    if seen.read > seen.points:
        remarks.append(f"{seen.read} points gathered to {seen.points}")
    if seen.inferred:
        remarks.append("the file has no errors: noise inferred from the scatter of the points")
    return weak, remarks
