"""Ranked candidates and their fits as a `PdfResult`: what is said of each, and whether the best explains the data."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxstruc.data import measurement as measurements_
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference import candidates, fit, unseen, verdict
from jaxstruc.inference.candidates import Candidates, Pool
from jaxstruc.inference.distribution import Distribution
from jaxstruc.inference.fit import Fit
from jaxstruc.inference.pdf_result import MIN_TYPE_PROBABILITY, PdfResult
from jaxstruc.inference.profile import Profiled
from jaxstruc.inference.screening import Seen
from jaxstruc.inference.target import Target
from jaxstruc.result import Candidate, Value
from jaxstruc.scattering.parameters import FITTED, UNITS
from jaxstruc.solver import samples
from jaxstruc.solver.samples import CrossValidatedSample
from jaxstruc.solver.search import Searched
from jaxstruc.statistics import Interval, credible_set, discrete_interval
from jaxstruc.structures import kinds, library
from jaxstruc.structures import words as words_
from jaxstruc.structures.families import TYPES
from jaxstruc.structures.library import Library

LISTED, LOOKED_AT = 200, 20
"""Candidates in a result; and how many of them, at least, have their type by their atoms."""
HEAVY = 1e-6
"""Weight from which all have."""
SHORT = 18.0
"""1/Å. Below such a qmax, near distances are hardly told apart."""
BONDS = 0.025
"""Relative, by which a metal's bonds in particles differ from those in bulk by less."""
WIDER = 1.75
"""Times as wide as walks say is the interval of the number of atoms where the scale is free: measured on simulated
particles of other seeds than those reported, which are mostly larger than found. Longer walks say the same."""
SEARCHED = ("stretch", "uiso")
"""Values whose bounds are those of the search, not of physics."""


class Weighed(NamedTuple):
    """What candidates weigh, best first."""

    weight: np.ndarray
    """[candidate]; sum 1."""
    independent: float
    """Points that the best fit's residual counts for."""


def told(
    nothing: PdfResult,
    measurement: Measurement,
    goal: Target,
    groups: Sequence[Candidates],
    pool: Pool,
    fits: Fit,
    weighed: Weighed,
    *,
    free: tuple[str, ...],
    written: int,
    found: Mapping[str, Profiled],
    seen: Seen,
    sample: CrossValidatedSample | str = "",
    searched: Searched | None = None,
    more: Sequence[str] = (),
) -> PdfResult:
    """Return the result of ranked candidates and their fits.

    Args:
        nothing: the result without a candidate.
        measurement: its settings as they were given.
        goal: the target, its settings as they were used.
        groups: candidates of each source, as they came.
        pool: all that were fitted, best first.
        fits: of these.
        weighed: their weights.
        free: what was fitted.
        written: candidates with atoms and curves.
        found: settings that the data corrected.
        seen: the particle's size as the data show it.
        sample: the judgement between one cluster and many, or why there is none.
        searched: what a search over lattice sites found, where there was one.
        more: what else is to be said.
    """
    best = candidates.rows(fits, slice(0, written))
    tables = candidates.tables(pool.chosen(np.arange(len(best.rw))), goal)
    curves, backgrounds = fit.curves(best, tables, goal)
    weight, independent = weighed
    credible = credible_set(weight)
    listed = [
        _candidate(pool, fits, place, goal, free, float(weight[place]), bool(credible[place]))
        for place in range(min(LISTED, len(fits.rw)))
    ]
    for place in range(len(best.rw)):
        atoms = _atoms(pool, fits, place, goal, nothing.element)
        listed[place] = dataclasses.replace(
            listed[place],
            atoms=atoms,
            calculated=curves[place],
            background=backgrounds[place],
            correlation=np.asarray(fits.correlation[place], float),
            occupancy=_occupancy(pool, place, searched),
        )
    ensemble = None
    if isinstance(sample, CrossValidatedSample):
        where = unseen.points_of(sample.judged.goal, goal.r)
        fitted = unseen.of_ensemble(sample.judged.found, sample.listed.mixture, where)
        ensemble = samples.told(sample, goal, fitted)
    outside = _outside(groups, listed, seen.diameter)
    weak = _weak(listed[0], measurement, goal, groups, goal.g - curves[0], outside)
    remarks = [] if listed[0].source == "network" else _training(outside)
    types = _types(pool, listed, weight)
    remarks = [*_sample(sample, ensemble), *_type_remark(types, listed[0], ensemble), *more, *remarks]
    remarks += [] if seen.reached else [f"the data end at {measurement.r[-1]:g} Å, before the particle does"]
    return dataclasses.replace(
        nothing,
        status="weak" if weak else "solved",
        message="; ".join([*weak, *remarks, *_remarks(measurement, listed[0], nothing.element, goal.bond, found)]),
        candidates=tuple(listed),
        fitted=len(fits.rw),
        ties=int(credible.sum()),
        types=types,
        intervals=_intervals(pool, listed, weight, searched, absolute=goal.absolute),
        free=free,
        ensemble=ensemble,
        r=goal.r,
        observed=goal.g,
        facts=nothing.facts
        | {"independent": independent, "diameter_estimate": seen.diameter}
        | {f"{name}_error": one.error for name, one in found.items()},
    )


def _occupancy(pool: Pool, place: int, searched: Searched | None) -> np.ndarray | None:
    """Return how sure each atom of a searched particle is; None where no walk began from it."""
    at = int(pool.place[place])
    if searched is None or pool.groups[pool.group[place]] is not searched.group or at >= len(searched.occupancy):
        return None
    return searched.occupancy[at]


def _intervals(
    pool: Pool, listed: Sequence[Candidate], weight: np.ndarray, searched: Searched | None, *, absolute: bool
) -> dict[str, Interval]:
    """Return the best's number of atoms, diameter and share of hexagonal layers, with what all candidates say of them.

    Of searched particles the walks tell the number of atoms, `WIDER` where the scale is free.
    """
    atoms, share = pool.atoms.astype(float), weight
    if searched is not None:
        own = np.array([group is searched.group for group in pool.groups])[pool.group]
        atoms = np.concatenate([atoms[~own], searched.atoms])
        share = np.concatenate([weight[~own], weight[own].sum() * searched.time])
    some = weight[: len(listed)]
    diameter, hexagonal = (
        np.array([getattr(one, name) for one in listed], float) for name in ("diameter", "hexagonal")
    )
    wider = WIDER if searched is not None and not absolute else 1.0
    n_atoms = discrete_interval(listed[0].n_atoms, atoms, weight=share, wider=wider)
    found = {"n_atoms": n_atoms, "diameter": discrete_interval(diameter[0], diameter, weight=some)}
    layered = np.isfinite(hexagonal)
    if layered[0]:
        found["hexagonal"] = discrete_interval(hexagonal[0], hexagonal[layered], weight=some[layered])
    return found


def _sample(sample: CrossValidatedSample | str, ensemble: Distribution | None) -> list[str]:
    """Return what is to be said of the sample as one cluster or many."""
    if not isinstance(sample, CrossValidatedSample) or ensemble is None:
        return [sample] if isinstance(sample, str) and sample else []
    said = []
    if ensemble.sample == "distribution":
        said.append("this is the most likely member of a distribution of particles")
    elif not ensemble.holdouts:
        said.append(f"one cluster or many: undecided, the signal ends at {sample.end:.1f} Å, too near to predict any")
    elif ensemble.sample == "undecided":
        said.append(
            f"one cluster or many: undecided, beyond the fit Rw {ensemble.rw_holdout_single:.2f} and "
            f"{ensemble.rw_holdout_ensemble:.2f}"
        )
    if ensemble.sample != "single" and (far := samples.at_the_edge(ensemble)):
        said.append(far)
    return said


def _type_remark(types: Mapping[str, float], best: Candidate, ensemble: Distribution | None) -> list[str]:
    """Return between which types a single cluster is undecided; empty if its type is probable, or not known."""
    rivals = [name for name in types if name and name != best.type]
    many = ensemble is not None and ensemble.sample == "distribution"
    if many or not best.type or not rivals or types[best.type] >= MIN_TYPE_PROBABILITY:
        return []
    return [f"type undecided between {best.type} and {rivals[0]}"]


def _types(pool: Pool, listed: Sequence[Candidate], weight: np.ndarray) -> dict[str, float]:
    """Return the weight of each type: by the atoms of those that weigh something, by the family of the others."""
    kinds_ = np.array([TYPES.get(family, "") for family in pool.families], dtype=object)
    kinds_[: len(listed)] = [one.type for one in listed]
    shares = {str(kind): float(weight[kinds_ == kind].sum()) for kind in set(kinds_)}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _candidate(
    pool: Pool, fits: Fit, place: int, goal: Target, free: tuple[str, ...], weight: float, in_90: bool
) -> Candidate:
    """Return what a result says of one candidate."""
    group, (own, index) = pool.groups[pool.group[place]], pool.entry(place)
    at = int(pool.place[place])
    family = str(own.families[index])
    bounded = [name for name, held in zip(free, fits.bounded[place], strict=True) if held]
    fault = group.faults.get(at, "")
    by_rule = place >= LOOKED_AT and weight < HEAVY and family in TYPES
    kind = kinds.NONE if by_rule else kinds.kind(library.cluster(own, index).positions)
    bond = goal.bond * float(fits.values.stretch[place])
    type_ = kind.type or TYPES.get(family, "")
    return Candidate(
        source=group.source,
        type=type_,
        description=_description(own, index, type_, bond, in_full=not (by_rule or fault)),
        hexagonal=kind.hexagonal,
        family=family,
        recipe=str(own.labels[index]),
        n_atoms=int(own.atoms[index]),
        diameter=float(own.diameter[index]) * bond,
        rw=float(fits.rw[place]),
        weight=weight,
        in_90=in_90,
        converged=bool(fits.converged[place]),
        remark=", ".join([*([fault] if fault else []), *(f"{name} at its bound" for name in bounded)]),
        values=_values(fits, place, free),
        notes={name: column[at].item() for name, column in group.notes.items()},
    )


def _description(own: Library, index: int, type_: str, bond: float, *, in_full: bool) -> str:
    """Return a listed cluster in words: by its atoms, which takes some milliseconds, or by its rule alone.

    Args:
        own: the library that lists it.
        index: of the cluster in it.
        type_: of the cluster.
        bond: nearest-neighbour distance of the fit, in Å.
        in_full: whether its atoms are looked at.
    """
    family, label = str(own.families[index]), str(own.labels[index])
    if in_full:
        words = words_.description(library.cluster(own, index).positions, family=family, label=label)
        return words_.sentence(words_.rescale(words, bond))
    atoms, longest = int(own.atoms[index]), float(own.diameter[index]) * bond
    return words_.outline(family, label, type=type_, atoms=atoms, longest=longest)


def _values(fits: Fit, place: int, free: tuple[str, ...]) -> dict[str, Value]:
    """Return the values of one fit, with the standard errors of those fitted."""
    errors = {name: float(error) for name, error in zip(free, fits.errors[place], strict=True) if np.isfinite(error)}
    columns = fits.values._asdict()
    return {name: Value(float(columns[name][place]), errors.get(name), UNITS[name]) for name in FITTED}


def _atoms(pool: Pool, fits: Fit, place: int, goal: Target, element: str):
    """Return the atoms of a candidate, with the fitted stretch."""
    return library.cluster(*pool.entry(place)).atoms(element, goal.bond * float(fits.values.stretch[place]))


def _outside(groups: Sequence[Candidates], listed: Sequence[Candidate], size: float) -> list[str]:
    """Return what lies outside that which a source knows; the particle's size is the library's best's, or read."""
    known = next((one.diameter for one in listed if one.source != "network"), size)
    return [text for group in groups for text in group.outside(known)]


def _training(outside: Sequence[str]) -> list[str]:
    return [f"outside training: {', '.join(outside)}"] if outside else []


def _weak(
    best: Candidate,
    measurement: Measurement,
    goal: Target,
    groups: Sequence[Candidates],
    residual: np.ndarray,
    outside: Sequence[str],
) -> list[str]:
    """Return why the best candidate is no good answer."""
    fitted = sum(value.error is not None for value in best.values.values())
    left = verdict.structure(
        residual, measurement.r, measurement.g,
        diameter=best.diameter, independent=goal.independent, parameters=fitted,
    )  # fmt: skip
    return verdict.reasons(
        rw=best.rw,
        structure=left,
        atoms=best.n_atoms,
        largest=max((group.largest for group in groups if group.source == best.source), default=0),
        at_bound=[name for name in SEARCHED if f"{name} at its bound" in best.remark],
    ) + (_training(outside) if best.source == "network" else [])


def _remarks(
    measurement: Measurement, best: Candidate, element: str, bond: float, found: Mapping[str, Profiled]
) -> list[str]:
    """Return what else a person should know."""
    said = [_corrected(name, measurement.given[name], one) for name, one in found.items()]
    if best.source != "file" and abs((stretch := best.values["stretch"].value) - 1) > BONDS:
        said.append(f"bonds of {stretch * bond:.2f} Å, {element} has {bond:.2f}: check --element")
    if (qmax := measurement.given["qmax"]) < SHORT:
        said.append(f"qmax {qmax:g} 1/Å is short: near ties say little")
    if best.remark:
        said.append(best.remark)
    if not best.converged:
        said.append("fit not converged")
    said += measurements_.contradicted(measurement, element)
    return [*said, *measurement.warnings]


def _corrected(name: str, given: float, found: Profiled) -> str:
    """Return how a setting that the data correct differs from the given one."""
    said = "the header says" if name == "qmin" else "default"
    return f"{name} {found.value:.3g} ± {found.error:.1g} inferred ({said} {given:g})"
