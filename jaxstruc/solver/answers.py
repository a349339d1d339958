"""The way of many measurements to their results: targets, candidates of each source, fits of all, weights.

Measurement -> Target -> candidates -> fits -> posterior -> Result
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxstruc
from jaxstruc.data import measurement as measurements_
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.options import DataOptions
from jaxstruc.inference import candidates, fit, posterior, relax, target
from jaxstruc.inference.candidates import Candidates, Pool
from jaxstruc.inference.fit import Fit
from jaxstruc.inference.options import FitOptions, RelaxOptions
from jaxstruc.inference.result import Candidate, Result, Value
from jaxstruc.inference.target import Target
from jaxstruc.network import draws
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.parameters import FITTED, UNITS, USUAL, check_free
from jaxstruc.solver.sources import Source
from jaxstruc.structures import library
from jaxstruc.structures.families import TYPES

REFINED = 200
"""Candidates refined with everything that is asked for: the best of the screening."""
LISTED = 200
"""Candidates in a result."""
WRITTEN = 5
"""Candidates with atoms and curves in a result."""
SHORT = 18.0
"""1/Å. Below such a qmax, near distances are hardly told apart."""

Ranked = tuple[Pool, Fit]
"""Candidates, best first, and their fits."""


class Plan(NamedTuple):
    """What is to be done with each measurement."""

    element: str
    sources: tuple[Source, ...]
    data: DataOptions = DataOptions()
    fit: FitOptions = FitOptions()
    relax: RelaxOptions = RelaxOptions()
    screened: bool = True
    """Whether parameters beyond the usual are freed for the best `REFINED` alone."""
    written: int = WRITTEN
    """Candidates with atoms and curves in a result."""

    @property
    def bond(self) -> float:
        """Nearest-neighbour distance, in Å."""
        return form_factors.bond_length(self.element)

    @property
    def recorded(self) -> dict[str, Any]:
        """What, beside a file, decides its result; as JSON."""
        own = {"element": self.element, "free": list(self.fit.free), "background": self.fit.background}
        own |= dataclasses.asdict(self.data) | dataclasses.asdict(self.relax)
        for source in self.sources:
            own |= source.recorded
        return own | {"version": jaxstruc.__version__}


def check(fit: FitOptions, relax: RelaxOptions | None = None) -> None:
    """Check that what is asked of fits can be.

    Raises:
        ValueError: where it cannot.
    """
    check_free(fit.free)
    if relax and relax.coordinates and not relax.restraint > 0:
        raise ValueError(f"Expected a restraint above 0 Å, got {relax.restraint:g}; pass another --restraint.")


def prepared(measurement: Measurement, plan: Plan) -> Measurement:
    """Return a measurement with all settings, checked.

    Raises:
        ValueError: where settings are missing or contradict the data, or the data are too few.
    """
    complete = measurements_.resolved(measurement, plan.data, bond=plan.bond)
    given, (r, _) = complete.given, complete.curve
    target.independent_points(r, qmin=given["qmin"], qmax=given["qmax"], background=plan.fit.background)
    return complete


def answers(
    measurements: Sequence[Measurement],
    plan: Plan,
    *,
    among: Sequence[Measurement] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[Result]:
    """Yield the result of each measurement; one that cannot be answered is a result that says so.

    Args:
        measurements: of `prepared`.
        plan: what is to be done.
        among: all measurements of the run, where these are a part of it: a result is then that of the whole run, to the
            last bit.
        progress: called with measurements done, measurements in all and a remark.
    """
    count, begun = len(measurements), time.perf_counter()
    if not count:
        return
    streams = [source.candidates(measurements) for source in plan.sources]
    everything = zip(measurements, targets(measurements, plan, among or measurements), *streams, strict=True)
    for done, (measurement, goal, *groups) in enumerate(everything):

        def tell(fitted, candidates, done=done, name=measurement.name):
            if progress:
                progress(done, count, f"{name}: {fitted} of {candidates} candidates")

        result = answer(measurement, goal, groups, plan, progress=tell)
        now = time.perf_counter()
        yield dataclasses.replace(result, facts=result.facts | {"seconds": now - begun})
        begun = time.perf_counter()


def targets(measurements: Sequence[Measurement], plan: Plan, among: Sequence[Measurement]) -> Iterator[Target]:
    """Yield the targets of measurements, all of sizes that serve `among`, so that few compilations do."""
    every = [measurement.given for measurement in among]
    span = target.span(
        rmax=max(one["rmax"] for one in every),
        qmax=max(one["qmax"] for one in every),
        diameter=max(source.diameter for source in plan.sources) * plan.bond,
    )
    size = max(target.points(one["rmax"], one["qmin"], one["qmax"], span) for one in every)
    for measurement in measurements:
        one = measurement.given
        yield target.target(
            *measurement.curve, qmin=one["qmin"], qmax=one["qmax"], qdamp=one["qdamp"], qbroad=one["qbroad"],
            bond=plan.bond, span=span, background=plan.fit.background, size=size,
        )  # fmt: skip


def answer(
    measurement: Measurement,
    goal: Target,
    groups: Sequence[Candidates],
    plan: Plan,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Return the result of one measurement.

    Args:
        measurement: of `prepared`.
        goal: its target.
        groups: candidates of each source.
        plan: what is to be done.
        progress: called with candidates fitted and in all.
    """
    facts: dict[str, Any] = {}
    for known in (*(source.facts for source in plan.sources), *(group.facts for group in groups)):
        facts |= known
    nothing = Result(
        measurement.name, measurement.sha256, plan.element, "failed", "Expected a candidate, got none; try others.",
        settings=measurement.settings, facts=facts,
        versions={"jaxstruc": jaxstruc.__version__, "jax": jax.__version__, "numpy": np.__version__},
    )  # fmt: skip
    some = [group for group in groups if len(group.rows)]
    if not some:
        return nothing
    pool, fits = _fitted(some, goal, plan, progress)
    if not np.isfinite(fits.rw[0]):
        message = "Expected a finite fit of some candidate, got none; check the data's scale and range."
        return dataclasses.replace(nothing, message=message)
    remarks = [remark for group in groups for remark in group.remarks]
    return _told(nothing, measurement, goal, pool, fits, plan, remarks)


def _told(
    nothing: Result, measurement: Measurement, goal: Target, pool: Pool, fits: Fit, plan: Plan, remarks: Sequence[str]
) -> Result:
    """Return the result of ranked candidates and their fits."""
    free = plan.fit.free
    best = jax.tree.map(lambda column: column[: plan.written], fits)
    tables = candidates.tables(pool.chosen(np.arange(len(best.rw))), goal)
    curves, backgrounds = fit.curves(best, tables, goal)
    independent = posterior.effective_points(goal.g - curves[0], goal.independent)
    weight = posterior.weights(np.where(pool.faulty, np.nan, fits.rw), independent, len(free))
    credible = posterior.credible(weight)
    found = [
        _candidate(pool, fits, place, goal, free, float(weight[place]), bool(credible[place]))
        for place in range(min(LISTED, len(fits.rw)))
    ]
    for place in range(len(best.rw)):
        found[place] = dataclasses.replace(
            found[place],
            atoms=_atoms(pool, fits, place, goal, plan.element),
            calculated=curves[place],
            background=backgrounds[place],
            correlation=np.asarray(fits.correlation[place], float),
        )
    kinds = np.array([TYPES.get(family, "") for family in pool.families])
    shares = {str(kind): float(weight[kinds == kind].sum()) for kind in np.unique(kinds)}
    return dataclasses.replace(
        nothing,
        status="solved",
        message="; ".join([*remarks, *_remarks(measurement, found[0], plan)]),
        candidates=tuple(found),
        fitted=len(fits.rw),
        ties=int(credible.sum()),
        types=dict(sorted(shares.items(), key=lambda item: -item[1])),
        free=free,
        r=goal.r,
        observed=goal.g,
        facts=nothing.facts | {"independent": independent},
    )


def _fitted(
    groups: Sequence[Candidates], goal: Target, plan: Plan, progress: Callable[[int, int], None] | None
) -> Ranked:
    """Return all candidates with their fits, best first."""
    pool, free = candidates.pool(groups), plan.fit.free
    in_two = plan.screened and free != USUAL
    fits = candidates.fit_all(pool, goal, free=USUAL if in_two else free, progress=progress)
    pool, fits = _ranked(*_distinct(pool, fits))
    if in_two:
        pool = pool.chosen(np.arange(min(REFINED, len(fits.rw))))
        pool, fits = _ranked(pool, candidates.fit_all(pool, goal, free=free))
    if plan.relax.coordinates:
        pool = candidates.pool([_relaxed(pool, fits, goal, plan.relax.restraint)])
        pool, fits = _ranked(pool, candidates.fit_all(pool, goal, free=free))
    return pool, fits


def _distinct(pool: Pool, fits: Fit) -> Ranked:
    """Return the candidates without those draws of the network that are like better ones."""
    groups, kept = list(pool.groups), []
    for number, group in enumerate(groups):
        places = np.flatnonzero(pool.group == number)
        if group.source == "network":
            best, groups[number] = draws.merged(
                group, np.asarray(fits.rw)[places], np.asarray(fits.values.stretch)[places]
            )
            places = places[best]
        kept.append(places)
    which = np.concatenate(kept)
    return pool._replace(groups=tuple(groups)).chosen(which), jax.tree.map(lambda column: column[which], fits)


def _ranked(pool: Pool, fits: Fit) -> Ranked:
    """Return candidates by Rw; faulty and failed ones come last."""
    order = np.lexsort((np.where(np.isfinite(fits.rw), fits.rw, np.inf), pool.faulty))
    return pool.chosen(order), jax.tree.map(lambda column: column[order], fits)


def _relaxed(pool: Pool, fits: Fit, goal: Target, restraint: float) -> Candidates:
    """Return the candidates with their atoms moved to fit the data."""
    moved, clusters = [], []
    for place in range(len(fits.rw)):
        cluster = library.cluster(*pool.entry(place))
        values = jax.tree.map(lambda column, place=place: column[place], fits.values)
        positions = jnp.asarray(cluster.positions * goal.bond, jnp.float32)
        found = relax.relax(positions, values, goal.basis, restraint=restraint)
        clusters.append(cluster._replace(positions=np.asarray(found.positions, float) / goal.bond))
        moved.append(float(found.moved))
    notes = {"rw_unmoved": np.asarray(fits.rw, float), "moved": np.array(moved)}
    return Candidates(pool.groups[0].source, library.of_clusters(clusters), np.arange(len(clusters)), notes=notes)


def _candidate(
    pool: Pool, fits: Fit, place: int, goal: Target, free: tuple[str, ...], weight: float, in_90: bool
) -> Candidate:
    """Return what a result says of one candidate."""
    group, (own, index) = pool.groups[pool.group[place]], pool.entry(place)
    at = int(pool.place[place])
    family = str(own.families[index])
    bounded = [name for name, held in zip(free, fits.bounded[place], strict=True) if held]
    fault = group.faults.get(at, "")
    return Candidate(
        source=group.source,
        type=TYPES.get(family, ""),
        family=family,
        cluster=str(own.labels[index]),
        n_atoms=int(own.atoms[index]),
        diameter=float(own.diameter[index]) * goal.bond * float(fits.values.stretch[place]),
        rw=float(fits.rw[place]),
        weight=weight,
        in_90=in_90,
        converged=bool(fits.converged[place]),
        remark=", ".join([*([fault] if fault else []), *(f"{name} at its bound" for name in bounded)]),
        values=_values(fits, place, free),
        notes={name: column[at].item() for name, column in group.notes.items()},
    )


def _values(fits: Fit, place: int, free: tuple[str, ...]) -> dict[str, Value]:
    """Return the values of one fit, with the standard errors of those fitted."""
    errors = {name: float(error) for name, error in zip(free, fits.errors[place], strict=True) if np.isfinite(error)}
    columns = fits.values._asdict()
    return {name: Value(float(columns[name][place]), errors.get(name), UNITS[name]) for name in FITTED}


def _atoms(pool: Pool, fits: Fit, place: int, goal: Target, element: str):
    """Return the atoms of a candidate, with the fitted stretch."""
    return library.cluster(*pool.entry(place)).atoms(element, goal.bond * float(fits.values.stretch[place]))


def _remarks(measurement: Measurement, best: Candidate, plan: Plan) -> list[str]:
    """Return what a person should know of a result."""
    said = []
    if (qmax := measurement.given["qmax"]) < SHORT:
        said.append(f"qmax {qmax:g} 1/Å is short: near ties say little")
    if best.remark:
        said.append(best.remark)
    if not best.converged:
        said.append("fit not converged")
    said += measurements_.contradicted(measurement, plan.element)
    return [*said, *measurement.warnings]
