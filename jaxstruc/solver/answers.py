"""The way of many measurements to their results: targets, candidates of each source, fits of all, weights.

Measurement -> Target -> candidates -> fits -> posterior -> Result
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxstruc
from jaxstruc import statistics
from jaxstruc.data import measurement as measurements_
from jaxstruc.data import sine
from jaxstruc.data.measurement import Measurement, Setting
from jaxstruc.inference import candidates, fit, posterior, profile, relax, screening, target
from jaxstruc.inference.candidates import Candidates, Pool
from jaxstruc.inference.fit import Fit
from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.inference.profile import Profiled
from jaxstruc.inference.screening import Bins
from jaxstruc.inference.target import Target
from jaxstruc.network import draws
from jaxstruc.options.pdf import (
    CurveOptions,
    DataOptions,
    EnsembleName,
    FitOptions,
    RefineOptions,
    RelaxOptions,
    SearchName,
    SolveOptions,
)
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.parameters import USUAL
from jaxstruc.solver import glances, narrowing, samples, search, told
from jaxstruc.solver.glances import Look, Screen
from jaxstruc.solver.samples import CrossValidatedSample, Judging
from jaxstruc.solver.search import SHAPE, Searched
from jaxstruc.solver.sources import Source
from jaxstruc.solver.told import Weighed
from jaxstruc.structures import library
from jaxstruc.structures.families import TYPES

UNSEARCHED = "sites not searched: one particle would take up what the distribution explains"
REFINED = 200
"""Candidates refined with everything that is asked for: the best of the screening."""
WRITTEN = 5
"""Candidates with atoms and curves in a result."""

FUNCTIONS, MORE = 64, 4
"""Step in the functions of a basis for searches, so that few compilations do; functions beyond independent points."""

Ranked = tuple[Pool, Fit]
"""Candidates, best first, and their fits."""


class Plan(NamedTuple):
    """What is to be done with each measurement."""

    element: str
    sources: tuple[Source, ...]
    options: SolveOptions | RefineOptions = SolveOptions(search="none", ensemble="none", screen="none")
    screened: bool = True
    """Whether parameters beyond the usual are freed for the best `REFINED` alone."""
    written: int = WRITTEN
    """Candidates with atoms and curves in a result."""
    shape: float = SHAPE
    """What the search's prior on shape weighs."""
    screen: Screen = Screen(None)
    """The classifier that says which candidates are worth trying."""

    @property
    def data(self) -> DataOptions:
        """Settings of the measurements."""
        return self.options.data

    @property
    def curve(self) -> CurveOptions:
        """What files over Q are."""
        return self.options.curve

    @property
    def fit(self) -> FitOptions:
        """How candidates are fitted."""
        return self.options.fit

    @property
    def relax(self) -> RelaxOptions:
        """Whether atoms may move."""
        return self.options.relax if isinstance(self.options, RefineOptions) else RelaxOptions()

    @property
    def ensemble(self) -> EnsembleName:
        """Whether the sample is judged as a distribution of particles, and of which kind."""
        return "none" if isinstance(self.options, RefineOptions) else self.options.ensemble

    @property
    def search(self) -> SearchName:
        """How long lattice sites are searched for a particle that no source lists."""
        return "none" if isinstance(self.options, RefineOptions) else self.options.search

    @property
    def seed(self) -> int:
        """Seed of the search."""
        return 0 if isinstance(self.options, RefineOptions) else self.options.network.seed

    @property
    def bond(self) -> float:
        """Nearest-neighbour distance, in Å."""
        return form_factors.bond_length(self.element)

    @property
    def recorded(self) -> dict[str, Any]:
        """What, beside a file, decides its result; as JSON."""
        network = self.screen.network
        decisive = {"element": self.element} | self.options.recorded
        decisive |= {"screen": network.card["sha256"] if network else self.screen.missing or "none"}
        for source in self.sources:
            decisive |= source.recorded
        return decisive | {"version": jaxstruc.__version__}


def prepared(measurement: Measurement, plan: Plan) -> Measurement:
    """Return a measurement with all settings, checked; S(Q) and F(Q) become G(r).

    Raises:
        ValueError: where settings are missing or contradict the data, or the data are too few.
    """
    complete = measurements_.resolved(sine.pdf(measurement, plan.data), plan.data, bond=plan.bond)
    given, (r, _) = complete.given, complete.curve
    target.independent_points(r, qmin=given["qmin"], qmax=given["qmax"], background=plan.fit.background)
    return complete


def answers(
    measurements: Sequence[Measurement],
    plan: Plan,
    *,
    among: Sequence[Measurement] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[PdfResult]:
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
    bins: dict[int, Bins] = {}
    kept = Judging({})
    seen = glances.looks(measurements, plan.screen, bond=plan.bond)
    everything = zip(measurements, targets(measurements, plan, among or measurements), seen, *streams, strict=True)
    for done, (measurement, goal, look, *groups) in enumerate(everything):

        def tell(said, done=done, name=measurement.name):
            if progress:
                progress(done, count, f"{name}: {said}")

        result = answer(measurement, goal, groups, plan, look=look, bins=bins, kept=kept, progress=tell)
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
    size = max(target.points(one.given["rmax"], _lowest(one), one.given["qmax"], span) for one in among)
    least = (
        FUNCTIONS * math.ceil(max(_independent(one, plan) for one in among) / FUNCTIONS) if plan.search != "none" else 0
    )
    for measurement in measurements:
        one = measurement.given
        yield target.target(
            *measurement.curve, qmin=one["qmin"], qmax=one["qmax"], qdamp=one["qdamp"], qbroad=one["qbroad"],
            bond=plan.bond, span=span, background=plan.fit.background, size=size, lowest=_lowest(measurement),
            least=least, absolute=plan.fit.absolute,
        )  # fmt: skip


def _independent(measurement: Measurement, plan: Plan) -> float:
    """Return about how many functions the basis of a measurement has."""
    given, (r, _) = measurement.given, measurement.curve
    return (r[-1] - r[0]) * (given["qmax"] - _lowest(measurement)) / math.pi + MORE


def _lowest(measurement: Measurement) -> float:
    """Return the least qmin that the models of a measurement may have."""
    given = measurement.given["qmin"]
    return min(profile.LOWEST, given) if "qmin" in _open(measurement, ()) else given


def _open(measurement: Measurement, free: tuple[str, ...]) -> tuple[str, ...]:
    """Return the settings that the data may correct: a qmin or a qdamp that no user gave and no fit frees."""
    origins = {setting.name: setting.origin for setting in measurement.settings}
    corrected = {"qmin": ("header", "data"), "qdamp": ("default",)}
    return tuple(name for name, some in corrected.items() if origins[name] in some and name not in free)


def answer(
    measurement: Measurement,
    goal: Target,
    groups: Sequence[Candidates],
    plan: Plan,
    *,
    look: Look | None = None,
    bins: dict[int, Bins] | None = None,
    kept: Judging | None = None,
    progress: Callable[[str], None] | None = None,
) -> PdfResult:
    """Return the result of one measurement.

    Args:
        measurement: of `prepared`.
        goal: its target.
        groups: candidates of each source.
        plan: what is to be done.
        look: what the classifier says.
        bins: of libraries by their identity, kept for the next measurement of a span.
        kept: what judges share, for the same end.
        progress: called with what is being done.
    """
    tell = progress or (lambda said: None)
    facts: dict[str, Any] = {}
    for source in plan.sources:
        facts |= source.facts
    nothing = PdfResult(
        measurement.name, measurement.sha256, plan.element, "failed", "Expected a candidate, got none; try others.",
        settings=measurement.settings, facts=facts,
        versions={"jaxstruc": jaxstruc.__version__, "jax": jax.__version__, "numpy": np.__version__},
    )  # fmt: skip
    some = [group for group in groups if len(group.rows)]
    if not some:
        return nothing
    few = narrowing.probable(look, some)
    screens: list[Bins | None] = [None] * len(few)
    if plan.screened:  # clusters that a user refines are all fitted
        screens = narrowing.screens(some, few, goal, {} if bins is None else bins, look=look)
    goal, found = _corrected(measurement, goal, few, screens, plan)
    nothing = dataclasses.replace(nothing, settings=_settings(measurement, found))
    screened = [
        narrowing.screened(group, screen, goal, most=narrowing.most(look, group))
        for group, screen in zip(few, screens, strict=True)
    ]
    tried = next((rows for group, rows in screened if group.source != "network"), np.zeros(0, int))
    pool, fits = _fitted(
        [group for group, _ in screened], goal, plan, lambda done, count: tell(f"{done} of {count} candidates")
    )
    if not np.isfinite(fits.rw[0]):
        message = "Expected a finite fit of some candidate, got none; check the data's scale and range."
        return dataclasses.replace(nothing, message=message)
    seen = screening.seen(measurement.r, measurement.g, bond=goal.bond, qdamp=goal.qdamp)
    sample: CrossValidatedSample | str = ""
    if plan.ensemble != "none":
        tell("one cluster or many")
        sample = samples.judged(
            measurement, goal, groups, pool, fits,
            end=seen.end, free=plan.fit.free, tried=tried, kept=Judging({}) if kept is None else kept,
            how=plan.ensemble, searched=_at_cut(plan),
        )  # fmt: skip
    searched: Searched | None = None
    many = isinstance(sample, CrossValidatedSample) and sample.judged.verdict == "distribution"
    if plan.search != "none" and not many:
        searched = _searched(pool, fits, goal, plan, glances.likely(look, some), tell)
        if searched is not None:
            pool, fits = _joined(pool, fits, searched, goal, plan)
    pool, fits, weighed = _weighed(pool, fits, goal, groups, plan, sample, searched)
    fits = _uncertain(pool, fits, goal, plan.fit.free, found)
    nothing = dataclasses.replace(nothing, classifier_prior=narrowing.glance(look, some, few, pool, weighed.weight))
    listed = any(group.source == "library" for group in groups)
    unasked = narrowing.unasked(look, plan.screen.missing) if listed else []
    return told.told(
        nothing, measurement, goal, groups, pool, fits, weighed,
        free=plan.fit.free, written=plan.written, found=found, seen=seen, sample=sample, searched=searched,
        more=[UNSEARCHED, *unasked] if many and plan.search != "none" else unasked,
    )  # fmt: skip


def _corrected(
    measurement: Measurement, goal: Target, groups: Sequence[Candidates], screens: Sequence[Bins | None], plan: Plan
) -> tuple[Target, dict[str, Profiled]]:
    """Return the target with the settings that the data prefer, and what was found of each."""
    found: dict[str, Profiled] = {}
    names = _open(measurement, plan.fit.free)
    if not names:
        return goal, found
    both = list(zip(groups, screens, strict=True))
    large = [(group, screen) for group, screen in both if screen is not None]
    few = candidates.pool([narrowing.few(group, screen, goal) for group, screen in large or both])
    few = few.chosen(np.arange(min(profile.USED, len(few.place))))
    free = USUAL if plan.screened else plan.fit.free
    for name in names:
        if best := profile.profiled(few, goal, name, free=free):
            found[name], goal = best, target.changed(goal, **{name: best.value})
    return goal, found


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


def _searched(
    pool: Pool,
    fits: Fit,
    goal: Target,
    plan: Plan,
    likely: Mapping[str, np.ndarray] | None,
    progress: Callable[[str], None],
) -> Searched | None:
    """Return what a search over lattice sites finds, begun from the candidates and from what is likely at a glance."""
    return search.search(
        goal, pool, fits, level=search.LEVELS[plan.search], seed=plan.seed, weight=plan.shape, likely=likely,
        progress=progress,
    )  # fmt: skip


def _at_cut(plan: Plan) -> Callable[[Target, Pool, Fit], Candidates | None] | None:
    """Return the search on data to a cut, for the judge; None where there is none."""
    if plan.search == "none":
        return None

    def at_cut(goal: Target, pool: Pool, fits: Fit) -> Candidates | None:
        found = search.search(goal, pool, fits, level=search.AT_CUTS, seed=plan.seed, weight=plan.shape)
        return found.group if found else None

    return at_cut


def _joined(pool: Pool, fits: Fit, found: Searched, goal: Target, plan: Plan) -> Ranked:
    """Return candidates and searched particles together, best first; those that a source lists are its own."""
    listed = {(int(atoms), round(float(rw), 5)) for atoms, rw in zip(pool.atoms, fits.rw, strict=True)}
    own = candidates.pool([found.group])
    more = candidates.fit_all(own, goal, free=plan.fit.free)
    new = np.array(
        [(int(a), round(float(rw), 5)) not in listed for a, rw in zip(own.atoms, more.rw, strict=True)], bool
    )
    group = np.concatenate([pool.group, np.full(int(new.sum()), len(pool.groups))])
    place = np.concatenate([pool.place, np.flatnonzero(new)])
    joined = Pool((*pool.groups, found.group), group, place)
    return _ranked(joined, candidates.joined(fits, candidates.rows(more, new)))


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


def _weighed(
    pool: Pool,
    fits: Fit,
    goal: Target,
    groups: Sequence[Candidates],
    plan: Plan,
    sample: CrossValidatedSample | str,
    searched: Searched | None = None,
) -> tuple[Pool, Fit, Weighed]:
    """Return candidates by weight: by their fits, their types on equal terms, and what these say beyond the fit."""
    best = candidates.rows(fits, slice(0, plan.written))  # as many as `told` writes: one compilation
    curves, _ = fit.curves(best, candidates.tables(pool.chosen(np.arange(len(best.rw))), goal), goal)
    independent = statistics.effective_points(goal.g - curves[0], goal.independent, accuracy=goal.accuracy)
    before: np.ndarray | float = 1.0
    if plan.screened:
        every = candidates.pool([group for group in groups if len(group.rows)])
        before = posterior.prior(*_traits(pool), listed=_traits(every))
        if isinstance(sample, CrossValidatedSample):
            beyond = independent / goal.independent
            gains = [beyond * sample.types.get(TYPES.get(family, ""), 0.0) for family in pool.families]
            before = before * np.exp(np.maximum(gains, -300.0))
    if searched is not None:
        before = before * np.exp(-np.minimum(plan.shape * _unusual(pool, searched), 300.0))
    sound = np.where(pool.faulty, np.nan, fits.rw)
    weight = posterior.weights(sound, independent, len(plan.fit.free), before=before)
    order = np.lexsort((np.where(np.isfinite(fits.rw), fits.rw, np.inf), -weight, ~np.isfinite(sound)))
    return pool.chosen(order), candidates.rows(fits, order), Weighed(weight[order], independent)


def _unusual(pool: Pool, searched: Searched) -> np.ndarray:
    """Return how much more unusual candidates' shapes are than those of listed ones."""
    own = np.array([group is searched.group for group in pool.groups])[pool.group]
    return np.where(own, searched.shape[np.where(own, pool.place, 0)], 0.0)


def _traits(pool: Pool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return types, atoms and diameters of candidates."""
    types = np.array([TYPES.get(family, "") for family in pool.families], object)
    return types, pool.atoms, pool.diameter


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


def _settings(measurement: Measurement, found: Mapping[str, Profiled]) -> tuple[Setting, ...]:
    """Return the settings with what the data prefer."""
    return tuple(
        Setting(one.name, found[one.name].value, "inferred") if one.name in found else one
        for one in measurement.settings
    )


def _uncertain(pool: Pool, fits: Fit, goal: Target, free: tuple[str, ...], found: Mapping[str, Profiled]) -> Fit:
    """Return the fits with the errors of inferred settings in theirs: by how much these move what is fitted."""
    count = min(told.LISTED, len(fits.rw))
    variance = np.asarray(fits.errors, float) ** 2
    for name, setting in found.items():
        step = min(setting.error, 0.1 * max(setting.value, 0.01))
        ends = max(setting.value - step, 1e-3), setting.value + step
        moved = [
            candidates.fit_all(pool.chosen(np.arange(count)), target.changed(goal, **{name: value}), free=free).values
            for value in ends
        ]
        for column, value in enumerate(free):
            low, high = (np.asarray(getattr(one, value), float) for one in moved)
            variance[:count, column] += ((high - low) / (ends[1] - ends[0]) * setting.error) ** 2
    return fits._replace(errors=np.sqrt(variance)) if found else fits
