"""What Python gets: `read`, `solve`, `mine`, `refine`, `saxs`, with the options that the command line has.

import jaxstruc
result = jaxstruc.solve(jaxstruc.read("sample.gr"), element="Pt", options=jaxstruc.SolveOptions(search="full"))
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import ase

from jaxstruc.io import reduction
from jaxstruc.io.measurement import Measurement, resolve_settings
from jaxstruc.io.read import read_curve
from jaxstruc.network.weights import load_classifier
from jaxstruc.options.pdf import (
    CLASSIFIER,
    ClassifyOptions,
    DataOptions,
    Kind,
    MineOptions,
    Parameter,
    QUnit,
    RefineOptions,
    SearchName,
    SolveOptions,
)
from jaxstruc.options.small_angle import BodyName, DistributionName, SaxsOptions
from jaxstruc.options.validation import override
from jaxstruc.pdf.classifier_prior import ClassifierScreen, load_screen
from jaxstruc.pdf.classify import classify_measurements
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import PdfPlan, prepare_measurement, solve_measurements
from jaxstruc.pdf.sources import file_source, library_source, network_source
from jaxstruc.scattering import form_factors
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.small_angle.solve import (
    SaxsPlan,
    check_saxs_plan,
    prepare_saxs_measurement,
    solve_saxs_measurements,
)

Progress = Callable[[int, int, str], None]


def read(
    path: Path | str,
    *,
    q_unit: QUnit | None = None,
    wavelength: float | None = None,
    kind: Kind | None = None,
    frame: int | None = None,
) -> Measurement:
    """Return a measured curve: G(r), or I(Q), S(Q), F(Q) from columns, CanSAS1d XML or NXcanSAS.

    Args:
        path: of the file; its first bytes, ending and header say what it is.
        q_unit: 1/Å, 1/nm or 2theta, where a file over Q does not say it.
        wavelength: in Å, where the axis is 2theta.
        kind: gr, iq, sq or fq, where the file does not say it.
        frame: which curve, counted from 1, where a file has several.

    Raises:
        ReadError: where the file cannot be used, or does not say its unit.
    """
    return read_curve(path, q_unit=q_unit, wavelength=wavelength, kind=kind, frame=frame)


def solve(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str,
    options: SolveOptions | None = None,
    qmin: float | None = None,
    qmax: float | None = None,
    absolute: bool | None = None,
    max_atoms: int | None = None,
    search: SearchName | None = None,
    progress: Progress | None = None,
) -> PdfResult | list[PdfResult]:
    """Return which structures explain a measured PDF, of all that the sources propose.

    Args:
        measurement: one, or several of one element.
        element: of the sample, e.g. Pt.
        options: all options. Each keyword below that is given overrides its field.
        qmin: start of the Q range of the data, in 1/Å; overrides the header.
        qmax: end of the Q range of the data, in 1/Å; overrides the header.
        absolute: whether the data are on an absolute scale.
        max_atoms: most atoms of a candidate of the library.
        search: none, quick or full: how long lattice sites are searched for a particle that no source lists.
        progress: called with measurements done, measurements in all and a remark.

    Raises:
        ValueError: for input that cannot be used.
    """
    options = options or SolveOptions()
    options = replace(
        options,
        data=_override_range(options.data, qmin=qmin, qmax=qmax),
        fit=replace(options.fit, absolute=override(absolute, options.fit.absolute)),
        candidates=replace(options.candidates, max_atoms=override(max_atoms, options.candidates.max_atoms)),
        search=override(search, options.search),
    )
    return _results(measurement, solving(element, options, progress=progress), progress)


def mine(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str,
    options: MineOptions | None = None,
    qmin: float | None = None,
    qmax: float | None = None,
    absolute: bool | None = None,
    max_atoms: int | None = None,
    search: SearchName | None = None,
    progress: Progress | None = None,
) -> PdfResult | list[PdfResult]:
    """Return which of thousands of clusters explains a measured PDF: `solve` with the defaults of `MineOptions`.

    Args:
        measurement: one, or several of one element.
        element: of the sample, e.g. Pt.
        options: all options. Each keyword below that is given overrides its field.
        qmin: start of the Q range of the data, in 1/Å; overrides the header.
        qmax: end of the Q range of the data, in 1/Å; overrides the header.
        absolute: whether the data are on an absolute scale.
        max_atoms: most atoms of a candidate of the library.
        search: none, quick or full: how long lattice sites are searched for a particle that no source lists.
        progress: called with measurements done, measurements in all and a remark.

    Raises:
        ValueError: for input that cannot be used.
    """
    return solve(
        measurement, element=element, options=options or MineOptions(), qmin=qmin, qmax=qmax, absolute=absolute,
        max_atoms=max_atoms, search=search, progress=progress,
    )  # fmt: skip


def refine(
    measurement: Measurement | Sequence[Measurement],
    clusters: ase.Atoms | Path | str | Sequence[ase.Atoms | Path | str],
    *,
    options: RefineOptions | None = None,
    qmin: float | None = None,
    qmax: float | None = None,
    free: Sequence[Parameter] | None = None,
    absolute: bool | None = None,
    coordinates: bool | None = None,
    progress: Progress | None = None,
) -> PdfResult | list[PdfResult]:
    """Return the fits of clusters to a measured PDF, with errors.

    Args:
        measurement: one, or several.
        clusters: atoms, or structure files, of one element.
        options: all options. Each keyword below that is given overrides its field.
        qmin: start of the Q range of the data, in 1/Å; overrides the header.
        qmax: end of the Q range of the data, in 1/Å; overrides the header.
        free: parameters that are fitted.
        absolute: whether the data are on an absolute scale.
        coordinates: whether to move the atoms too.
        progress: called with measurements done, measurements in all and a remark.

    Raises:
        ValueError: for input that cannot be used.
    """
    options = options or RefineOptions()
    options = replace(
        options,
        data=_override_range(options.data, qmin=qmin, qmax=qmax),
        fit=replace(
            options.fit,
            free=options.fit.free if free is None else tuple(free),
            absolute=override(absolute, options.fit.absolute),
        ),
        relax=replace(options.relax, coordinates=override(coordinates, options.relax.coordinates)),
    )
    several = [clusters] if isinstance(clusters, ase.Atoms | Path | str) else clusters
    return _results(measurement, refining(several, options), progress)


def saxs(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str = "",
    options: SaxsOptions | None = None,
    qmin: float | None = None,
    qmax: float | None = None,
    body: Sequence[BodyName] | None = None,
    distribution: Sequence[DistributionName] | None = None,
    background: Measurement | None = None,
    progress: Progress | None = None,
) -> SaxsResult | list[SaxsResult]:
    """Return sizes, their distribution and the shape that explain measured small-angle scattering.

    Args:
        measurement: I(Q), one or several.
        element: of the particles, e.g. Au.
        options: all options. Each keyword below that is given overrides its field.
        qmin: start of the fit, in 1/Å.
        qmax: end of the fit, in 1/Å.
        body: bodies that the particles may be; none: all.
        distribution: distributions of size; none: all.
        background: I(Q) of the solvent, subtracted with its errors times `background_scale` of the options.
        progress: called with measurements done, measurements in all and a remark.

    Raises:
        ValueError: for input that cannot be used.
    """
    options = options or SaxsOptions()
    options = replace(
        options,
        data=replace(options.data, qmin=override(qmin, options.data.qmin), qmax=override(qmax, options.data.qmax)),
        fit=replace(
            options.fit,
            body=options.fit.body if body is None else tuple(body),
            distribution=options.fit.distribution if distribution is None else tuple(distribution),
        ),
    )
    plan = SaxsPlan(element, options)
    check_saxs_plan(plan, background=background)
    several = [measurement] if isinstance(measurement, Measurement) else list(measurement)
    ready = [prepare_saxs_measurement(entry, plan, background=background) for entry in several]
    results = list(solve_saxs_measurements(ready, plan, progress=progress))
    return results[0] if isinstance(measurement, Measurement) else results


def classify(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str,
    options: ClassifyOptions | None = None,
    qmin: float | None = None,
    qmax: float | None = None,
    qdamp: float | None = None,
    seed: int | None = None,
) -> PdfResult | list[PdfResult]:
    """Return type and sizes of the particles behind a measured PDF at one look of a network: `types`, `intervals`.

    Args:
        measurement: one, or several of one element.
        element: of the sample, e.g. Pt.
        options: all options. Each keyword below that is given overrides its field.
        qmin: start of the Q range of the data, in 1/Å; overrides the header.
        qmax: end of the Q range of the data, in 1/Å; overrides the header.
        qdamp: damping of G(r) by the resolution, in 1/Å; overrides the header.
        seed: of the draws that intervals are read from.

    Raises:
        ValueError: for input that cannot be used.
    """
    options = options or ClassifyOptions()
    data = _override_range(options.data, qmin=qmin, qmax=qmax)
    data = replace(data, qdamp=override(qdamp, data.qdamp))
    options = replace(options, data=data, seed=override(seed, options.seed))
    options.check()
    bond = form_factors.bond_length(element)
    several = [measurement] if isinstance(measurement, Measurement) else list(measurement)
    ready = [resolve_settings(reduction.reduce_to_pdf(entry, data), data, bond=bond) for entry in several]
    network = load_classifier(options.weights)
    results = classify_measurements(ready, network, element=element, seed=options.seed)
    return results[0] if isinstance(measurement, Measurement) else results


def solving(element: str, options: SolveOptions, *, progress: Progress | None = None) -> PdfPlan:
    """Return the plan of `solve` and `mine`.

    Raises:
        ValueError: for options that are not allowed.
    """
    options.check()
    bond = form_factors.bond_length(element)
    sources = []
    if "network" in options.sources:
        sources.append(network_source(options.network, bond=bond))
    if "library" in options.sources:
        sources.append(library_source(options.candidates, bond=bond, progress=progress))
    screen = load_screen(CLASSIFIER) if options.screen == "classifier" else ClassifierScreen(None)
    return PdfPlan(element, tuple(sources), options, classifier_screen=screen)


def refining(clusters: Sequence[ase.Atoms | Path | str], options: RefineOptions) -> PdfPlan:
    """Return the plan of `refine`.

    Raises:
        ValueError: for options that are not allowed, or clusters that are none.
    """
    options.check()
    element, source = file_source(clusters)
    return PdfPlan(element, (source,), options, screen_candidates=False, max_written=len(clusters))


def _override_range(data: DataOptions, *, qmin: float | None, qmax: float | None) -> DataOptions:
    """Return settings of data with the Q range of keywords that are given."""
    return replace(data, qmin=override(qmin, data.qmin), qmax=override(qmax, data.qmax))


def _results(
    measurement: Measurement | Sequence[Measurement], plan: PdfPlan, progress: Progress | None
) -> PdfResult | list[PdfResult]:
    """Return the result of one measurement, or the list of several's."""
    if isinstance(measurement, Measurement):
        return next(solve_measurements([prepare_measurement(measurement, plan)], plan, progress=progress))
    return list(
        solve_measurements([prepare_measurement(entry, plan) for entry in measurement], plan, progress=progress)
    )
