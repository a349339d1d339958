"""The functions `read`, `solve`, `mine`, `refine`, `classify` and `saxs`, with the options of the command line.

import jaxstruc
result = jaxstruc.solve(jaxstruc.read("sample.gr"), element="Pt", options=jaxstruc.SolveOptions(search="full"))
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import ase

from jaxstruc import cache
from jaxstruc.io import reduction
from jaxstruc.io.measurement import Measurement, resolve_settings
from jaxstruc.io.read import read_all as read_all_curves
from jaxstruc.io.read import read_curve
from jaxstruc.network.weights import load_classifier
from jaxstruc.options.pdf import (
    CLASSIFIER,
    ClassifyOptions,
    InstrumentOptions,
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
DataSettings = TypeVar("DataSettings", bound=InstrumentOptions)


def read(
    path: Path | str,
    *,
    q_unit: QUnit | None = None,
    wavelength: float | None = None,
    kind: Kind | None = None,
    frame: int | None = None,
) -> Measurement:
    """Return the measured curve in a file: G(r), I(Q), S(Q) or F(Q), from text columns, CanSAS XML or NXcanSAS.

    Args:
        path: Path of the file. Its format is recognised by its first bytes, its suffix and its header.
        q_unit: Unit of the axis, if the file does not state it: 1/Å, 1/nm, 2theta (in degrees) or
            2theta-rad (in radians).
        wavelength: Wavelength in Å. It is needed if the axis is 2theta.
        kind: Kind of the curve, if the file does not state it: gr, iq, sq or fq.
        frame: Number of the curve in a file with several curves, counted from 1.

    Raises:
        ReadError: If the file cannot be used, or if it does not state its unit and `q_unit` is None.
    """
    return read_curve(path, q_unit=q_unit, wavelength=wavelength, kind=kind, frame=frame)


def read_all(
    path: Path | str, *, q_unit: QUnit | None = None, wavelength: float | None = None, kind: Kind | None = None
) -> list[Measurement]:
    """Return all measured curves in a file, in the order in which `frame` counts them.

    Args:
        path: Path of the file.
        q_unit: Unit of the axis, see `read`.
        wavelength: Wavelength in Å, see `read`.
        kind: Kind of the curves, see `read`.

    Raises:
        ReadError: If the file or one of its curves cannot be used.
    """
    measurements: list[Measurement] = []
    for curve in read_all_curves(path, q_unit=q_unit, wavelength=wavelength, kind=kind):
        if not isinstance(curve, Measurement):
            raise curve
        measurements.append(curve)
    return measurements


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
    """Find the atomic structure that explains a measured PDF, and return the best candidates.

    Args:
        measurement: One measurement, or several of one element.
        element: Element of the sample, e.g. Pt.
        options: All options. Each of the following keywords that is not None overrides its field.
        qmin: Start of the Q range of the data, in 1/Å. It overrides the header.
        qmax: End of the Q range of the data, in 1/Å. It overrides the header.
        absolute: Whether the data are on an absolute scale.
        max_atoms: Largest number of atoms of a candidate from the library.
        search: Search over lattice sites for particles that are in no source: none, quick or full.
        progress: Function that is called with the number of finished measurements, the number of all measurements, and
            a text.

    Raises:
        ValueError: If the input cannot be used.
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
    """Compare thousands of clusters from a library with a measured PDF, and return the best candidates.

    This function is `solve` with another default: there is no search, as in `MineOptions`.

    Args:
        measurement: One measurement, or several of one element.
        element: Element of the sample, e.g. Pt.
        options: All options. Each of the following keywords that is not None overrides its field.
        qmin: Start of the Q range of the data, in 1/Å. It overrides the header.
        qmax: End of the Q range of the data, in 1/Å. It overrides the header.
        absolute: Whether the data are on an absolute scale.
        max_atoms: Largest number of atoms of a candidate from the library.
        search: Search over lattice sites for particles that are in no source: none, quick or full.
        progress: Function that is called with the number of finished measurements, the number of all measurements, and
            a text.

    Raises:
        ValueError: If the input cannot be used.
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
    """Fit clusters to a measured PDF, and return the fits with standard errors.

    Args:
        measurement: One measurement, or several.
        clusters: Clusters of one element, as atoms or as structure files. All structures (frames) of a file are fitted,
            unless one is selected as in ASE, e.g. name.xyz@2.
        options: All options. Each of the following keywords that is not None overrides its field.
        qmin: Start of the Q range of the data, in 1/Å. It overrides the header.
        qmax: End of the Q range of the data, in 1/Å. It overrides the header.
        free: Names of the parameters that are fitted.
        absolute: Whether the data are on an absolute scale.
        coordinates: Whether the positions of the atoms are fitted too.
        progress: Function that is called with the number of finished measurements, the number of all measurements, and
            a text.

    Raises:
        ValueError: If the input cannot be used.
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
    """Find the size, the distribution of sizes and the shape that explain measured small-angle scattering.

    Args:
        measurement: One I(Q), or several.
        element: Element of the particles, e.g. Au.
        options: All options. Each of the following keywords that is not None overrides its field.
        qmin: Start of the fit, in 1/Å.
        qmax: End of the fit, in 1/Å.
        body: Shapes of the particles that are compared. With None these are the sphere and the polyhedra, and also
            spheroid, cylinder and hard-sphere if none of them explains the data with one population.
        distribution: Distributions of sizes that are compared. With None all distributions are compared.
        background: I(Q) of the solvent. It is multiplied by `background_scale` of the options and subtracted.
        progress: Function that is called with the number of finished measurements, the number of all measurements, and
            a text.

    Raises:
        ValueError: If the input cannot be used.
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
    cache.use_compilation_cache()
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
    """Predict type and sizes of the particles of a measured PDF by a neural network.

    The result has probabilities of the types (`types`) and sizes with 90 % intervals (`intervals`), but no candidates.

    Args:
        measurement: One measurement, or several of one element.
        element: Element of the sample, e.g. Pt.
        options: All options. Each of the following keywords that is not None overrides its field.
        qmin: Start of the Q range of the data, in 1/Å. It overrides the header.
        qmax: End of the Q range of the data, in 1/Å. It overrides the header.
        qdamp: Damping of G(r) by the resolution in Q, in 1/Å. It overrides the header.
        seed: Seed of the random draws that give the intervals.

    Raises:
        ValueError: If the input cannot be used.
    """
    options = _options_of(ClassifyOptions, options)
    data = _override_range(options.data, qmin=qmin, qmax=qmax)
    data = replace(data, qdamp=override(qdamp, data.qdamp))
    options = replace(options, data=data, seed=override(seed, options.seed))
    options.check()
    settings, bond = options.data_options, form_factors.bond_length(element)
    measurements = _as_measurements(measurement)
    cache.use_compilation_cache()
    prepared_measurements = [
        resolve_settings(reduction.reduce_to_pdf(entry, settings), settings, bond=bond) for entry in measurements
    ]
    network = load_classifier(options.weights)
    results = classify_measurements(
        prepared_measurements, network, element=element, seed=options.seed, types=options.types
    )
    return results[0] if isinstance(measurement, Measurement) else results


def make_solve_plan(element: str, options: SolveOptions, *, progress: ProgressCallback | None = None) -> PdfPlan:
    """Return the plan of `solve` and `mine`, which has the element, the sources of candidates and the options.

    Raises:
        ValueError: If options are not allowed.
    """
    options.check()
    sources = []
    if "network" in options.sources:
        sources.append(network_source(options.network, element))
    if "library" in options.sources:
        sources.append(library_source(options.candidates, element, progress=progress))
    screen = load_optional_classifier(CLASSIFIER) if options.screen == "classifier" else LoadedClassifier(None)
    return PdfPlan(element, tuple(sources), options, classifier=screen)


def make_refine_plan(clusters: Sequence[ase.Atoms | Path | str], options: RefineOptions) -> PdfPlan:
    """Return the plan of `refine`, which has the clusters as the only source of candidates.

    Raises:
        ValueError: If options are not allowed, or if an input is not a cluster.
    """
    options.check()
    element, source = file_source(clusters)
    return PdfPlan(element, (source,), options, screen_candidates=False, max_written=source.n_user_structures)


def _override_range(data: DataSettings, *, qmin: float | None, qmax: float | None) -> DataSettings:
    """Return the settings, with qmin and qmax replaced by the keywords that are not None."""
    return replace(data, qmin=override(qmin, data.qmin), qmax=override(qmax, data.qmax))


def _options_of(kind: type[AnyOptions], options: AnyOptions | None) -> AnyOptions:
    """Return the options, or the default options if they are None.

    Raises:
        ValueError: If the options are those of another command.
    """
    if options is None:
        return kind()
    if not isinstance(options, kind):
        raise ValueError(f"Expected {kind.__name__} for options, got {type(options).__name__}.")
    return options


def _as_tuple(names: Sequence[str] | str) -> tuple:
    """Return names as a tuple. A single name may be a string."""
    return (names,) if isinstance(names, str) else tuple(names)


def _as_measurements(measurement: Measurement | Sequence[Measurement]) -> list[Measurement]:
    """Return one or several measurements as a list.

    Raises:
        ValueError: If there is no measurement, or if an entry is not a measurement.
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
    """Return the result of one measurement, or the results of several measurements as a list."""
    cache.use_compilation_cache()
    prepared_measurements = [prepare_measurement(entry, plan) for entry in _as_measurements(measurement)]
    results = list(solve_measurements(prepared_measurements, plan, progress=progress))
    return results[0] if isinstance(measurement, Measurement) else results
