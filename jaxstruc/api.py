"""What Python gets: `read`, `solve`, `mine`, `refine`, `saxs`, with the options that the command line has.

import jaxstruc
result = jaxstruc.solve(jaxstruc.read("sample.gr"), element="Pt", options=jaxstruc.SolveOptions(search="full"))
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

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
from jaxstruc.options.validation import Options, override
from jaxstruc.pdf.classifier_prior import LoadedClassifier, load_optional_classifier
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

ProgressCallback = Callable[[int, int, str], None]

AnyOptions = TypeVar("AnyOptions", bound=Options)


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
    progress: ProgressCallback | None = None,
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
    options = _options_of(SolveOptions, options)
    options = replace(
        options,
        data=_override_range(options.data, qmin=qmin, qmax=qmax),
        fit=replace(options.fit, absolute=override(absolute, options.fit.absolute)),
        candidates=replace(options.candidates, max_atoms=override(max_atoms, options.candidates.max_atoms)),
        search=override(search, options.search),
    )
    return _results(measurement, make_solve_plan(element, options, progress=progress), progress)


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
    progress: ProgressCallback | None = None,
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
    progress: ProgressCallback | None = None,
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
    options = _options_of(RefineOptions, options)
    options = replace(
        options,
        data=_override_range(options.data, qmin=qmin, qmax=qmax),
        fit=replace(
            options.fit,
            free=options.fit.free if free is None else _as_tuple(free),
            absolute=override(absolute, options.fit.absolute),
        ),
        relax=replace(options.relax, coordinates=override(coordinates, options.relax.coordinates)),
    )
    structures = [clusters] if isinstance(clusters, ase.Atoms | Path | str) else clusters
    return _results(measurement, make_refine_plan(structures, options), progress)


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
    progress: ProgressCallback | None = None,
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
    options = _options_of(SaxsOptions, options)
    options = replace(
        options,
        data=replace(options.data, qmin=override(qmin, options.data.qmin), qmax=override(qmax, options.data.qmax)),
        fit=replace(
            options.fit,
            body=options.fit.body if body is None else _as_tuple(body),
            distribution=options.fit.distribution if distribution is None else _as_tuple(distribution),
        ),
    )
    plan = SaxsPlan(element, options)
    check_saxs_plan(plan, background=background)
    measurements = _as_measurements(measurement)
    prepared_measurements = [prepare_saxs_measurement(entry, plan, background=background) for entry in measurements]
    results = list(solve_saxs_measurements(prepared_measurements, plan, progress=progress))
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
    options = _options_of(ClassifyOptions, options)
    data = _override_range(options.data, qmin=qmin, qmax=qmax)
    data = replace(data, qdamp=override(qdamp, data.qdamp))
    options = replace(options, data=data, seed=override(seed, options.seed))
    options.check()
    bond = form_factors.bond_length(element)
    measurements = _as_measurements(measurement)
    prepared_measurements = [
        resolve_settings(reduction.reduce_to_pdf(entry, data), data, bond=bond) for entry in measurements
    ]
    network = load_classifier(options.weights)
    results = classify_measurements(prepared_measurements, network, element=element, seed=options.seed)
    return results[0] if isinstance(measurement, Measurement) else results


def make_solve_plan(element: str, options: SolveOptions, *, progress: ProgressCallback | None = None) -> PdfPlan:
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
        sources.append(library_source(options.candidates, progress=progress))
    screen = load_optional_classifier(CLASSIFIER) if options.screen == "classifier" else LoadedClassifier(None)
    return PdfPlan(element, tuple(sources), options, classifier=screen)


def make_refine_plan(clusters: Sequence[ase.Atoms | Path | str], options: RefineOptions) -> PdfPlan:
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


def _options_of(kind: type[AnyOptions], options: AnyOptions | None) -> AnyOptions:
    """Return the options that are given, or the default ones.

    Raises:
        ValueError: if they are options of another command.
    """
    if options is None:
        return kind()
    if not isinstance(options, kind):
        raise ValueError(f"Expected {kind.__name__} for options, got {type(options).__name__}.")
    return options


def _as_tuple(names: Sequence[str] | str) -> tuple:
    """Return names as a tuple; one name may stand by itself."""
    return (names,) if isinstance(names, str) else tuple(names)


def _as_measurements(measurement: Measurement | Sequence[Measurement]) -> list[Measurement]:
    """Return one or several measurements as a list.

    Raises:
        ValueError: if there is none, or something that is no measurement.
    """
    measurements = [measurement] if isinstance(measurement, Measurement | str | Path) else list(measurement)
    if not measurements:
        raise ValueError("Expected at least one measurement, got none.")
    for entry in measurements:
        if not isinstance(entry, Measurement):
            raise ValueError(f"Expected a measurement, got {type(entry).__name__}; read files with jaxstruc.read.")
    return measurements


def _results(
    measurement: Measurement | Sequence[Measurement], plan: PdfPlan, progress: ProgressCallback | None
) -> PdfResult | list[PdfResult]:
    """Return the result of one measurement, or the list of several's."""
    prepared_measurements = [prepare_measurement(entry, plan) for entry in _as_measurements(measurement)]
    results = list(solve_measurements(prepared_measurements, plan, progress=progress))
    return results[0] if isinstance(measurement, Measurement) else results
