"""What Python gets: `read`, `solve`, `mine`, `refine`, `saxs`, with the names that the command line has.

import jaxstruc
result = jaxstruc.solve(jaxstruc.read("sample.gr"), element="Pt")
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import ase

from jaxstruc.data import formats, sine, subtraction
from jaxstruc.data import measurement as measurements_
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.options import CurveOptions, DataOptions, Kind, QOptions, QUnit
from jaxstruc.inference.options import (
    BodyName,
    DistributionName,
    EnsembleName,
    FitOptions,
    LibraryOptions,
    RelaxOptions,
    ScreenName,
    SearchName,
    SizeOptions,
)
from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.network.config import CLASSIFIER, SHIPPED, NetworkOptions
from jaxstruc.network.weights import load_classifier
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.parameters import USUAL
from jaxstruc.solver import classified, glances, small_angles
from jaxstruc.solver import sources as sources_
from jaxstruc.solver.answers import Plan, answers, check, prepared
from jaxstruc.solver.glances import Screen

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
    return formats.read(path, q_unit=q_unit, wavelength=wavelength, kind=kind, frame=frame)


def solve(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str,
    sources: Sequence[str] = ("network", "library"),
    qmin: float | None = None,
    qmax: float | None = None,
    qdamp: float | None = None,
    qbroad: float | None = None,
    rmin: float | None = None,
    rmax: float | None = None,
    free: Sequence[str] = USUAL,
    background: int = 0,
    families: Sequence[str] = (),
    max_atoms: int = 1000,
    library: Sequence[Path | str] = (),
    ensemble: EnsembleName = "auto",
    search: SearchName = "quick",
    screen: ScreenName = "classifier",
    absolute: bool = False,
    samples: int = 64,
    seed: int = 0,
    weights: Path | str = SHIPPED,
    progress: Progress | None = None,
) -> PdfResult | list[PdfResult]:
    """Return which structures explain a measured PDF, of all that the sources propose.

    Args:
        measurement: one, or several of one element.
        element: of the sample, as Pt.
        sources: network, library, or both.
        qmin: as on the command line, as are the next ones; units as there.
        qmax: overrides the header.
        qdamp: overrides the header.
        qbroad: overrides the header.
        rmin: start of the fit.
        rmax: end of the fit.
        free: what is fitted.
        background: smooth terms under G(r).
        families: of the library.
        max_atoms: of the library.
        library: own structures in place of the families.
        ensemble: auto, none, parametric or free: whether to judge if the sample is a distribution of particles.
        search: none, quick or full: how long lattice sites are searched for a particle that no source lists.
        screen: classifier or none: whether only that is tried which the classifier finds probable.
        absolute: whether the data are on an absolute scale.
        samples: of the network.
        seed: of the samples.
        weights: of the network.
        progress: called with measurements done, measurements in all and a remark.

    Raises:
        ValueError: for input that cannot be used.
    """
    data = DataOptions(qmin, qmax, qdamp, qbroad, rmin, rmax)
    plan = solving(
        element,
        sources=sources,
        data=data,
        fit=FitOptions(tuple(free), background, absolute),  # type: ignore[arg-type]
        library=LibraryOptions(tuple(families), max_atoms, tuple(map(Path, library))),
        network=NetworkOptions(samples, seed, Path(weights)),
        ensemble=ensemble,
        search=search,
        screen=screen,
        progress=progress,
    )
    return _results(measurement, plan, progress)


def mine(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str,
    qmin: float | None = None,
    qmax: float | None = None,
    qdamp: float | None = None,
    qbroad: float | None = None,
    rmin: float | None = None,
    rmax: float | None = None,
    free: Sequence[str] = USUAL,
    background: int = 0,
    families: Sequence[str] = (),
    max_atoms: int = 1000,
    library: Sequence[Path | str] = (),
    ensemble: EnsembleName = "auto",
    screen: ScreenName = "classifier",
    absolute: bool = False,
    progress: Progress | None = None,
) -> PdfResult | list[PdfResult]:
    """Return which of thousands of clusters explains a measured PDF. Arguments as in `solve`.

    Raises:
        ValueError: for input that cannot be used.
    """
    data = DataOptions(qmin, qmax, qdamp, qbroad, rmin, rmax)
    plan = solving(
        element,
        sources=("library",),
        data=data,
        fit=FitOptions(tuple(free), background, absolute),  # type: ignore[arg-type]
        library=LibraryOptions(tuple(families), max_atoms, tuple(map(Path, library))),
        ensemble=ensemble,
        screen=screen,
        progress=progress,
    )
    return _results(measurement, plan, progress)


def refine(
    measurement: Measurement | Sequence[Measurement],
    clusters: ase.Atoms | Path | str | Sequence[ase.Atoms | Path | str],
    *,
    qmin: float | None = None,
    qmax: float | None = None,
    qdamp: float | None = None,
    qbroad: float | None = None,
    rmin: float | None = None,
    rmax: float | None = None,
    free: Sequence[str] = USUAL,
    background: int = 0,
    absolute: bool = False,
    coordinates: bool = False,
    restraint: float = 0.1,
    progress: Progress | None = None,
) -> PdfResult | list[PdfResult]:
    """Return the fits of clusters to a measured PDF, with errors.

    Args:
        measurement: one, or several.
        clusters: atoms, or structure files, of one element.
        qmin: as in `solve`.
        qmax: as in `solve`.
        qdamp: as in `solve`.
        qbroad: as in `solve`.
        rmin: as in `solve`.
        rmax: as in `solve`.
        free: as in `solve`.
        background: as in `solve`.
        absolute: as in `solve`.
        coordinates: whether to move the atoms too.
        restraint: how far an atom may move before it costs as much as the noise, in Å.
        progress: as in `solve`.

    Raises:
        ValueError: for input that cannot be used.
    """
    plan = refining(
        [clusters] if isinstance(clusters, ase.Atoms | Path | str) else clusters,
        data=DataOptions(qmin, qmax, qdamp, qbroad, rmin, rmax),
        fit=FitOptions(tuple(free), background, absolute),  # type: ignore[arg-type]
        relax=RelaxOptions(coordinates, restraint),
    )
    return _results(measurement, plan, progress)


def saxs(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str = "",
    body: Sequence[BodyName] = (),
    distribution: Sequence[DistributionName] = (),
    qmin: float | None = None,
    qmax: float | None = None,
    background: Measurement | None = None,
    background_scale: float = 1.0,
    flat: bool = True,
    power_law: float | None = None,
    absolute: bool = False,
    sld: float | None = None,
    solvent: str = "vacuum",
    progress: Progress | None = None,
) -> SaxsResult | list[SaxsResult]:
    """Return sizes, their distribution and the shape that explain measured small-angle scattering.

    Args:
        measurement: I(Q), one or several.
        element: of the particles, as Au.
        body: bodies that they may be; none: all.
        distribution: of sizes; none: all.
        qmin: start of the fit, in 1/Å.
        qmax: its end.
        background: I(Q) of the solvent, subtracted with its errors.
        background_scale: factor on it.
        flat: whether a constant background is fitted.
        power_law: the power of Q with which a further background falls.
        absolute: whether the data are on an absolute scale: `scale` is then the particles' share of volume.
        sld: scattering length density of the particles, in 10⁻⁶/Å² [of the element, for X-rays].
        solvent: what they are in: a name, or its scattering length density.
        progress: as in `solve`.

    Raises:
        ValueError: for input that cannot be used.
    """
    fit = SizeOptions(tuple(body), tuple(distribution), flat, power_law, absolute, sld, solvent)
    plan = small_angles.Plan(element, QOptions(qmin=qmin, qmax=qmax, background_scale=background_scale), fit)
    small_angles.check(plan)
    several = [measurement] if isinstance(measurement, Measurement) else list(measurement)
    if background is not None:
        several = [subtraction.subtracted(one, background, scale=background_scale) for one in several]
    found = list(small_angles.answers([small_angles.prepared(one, plan) for one in several], plan, progress=progress))
    return found[0] if isinstance(measurement, Measurement) else found


def classify(
    measurement: Measurement | Sequence[Measurement],
    *,
    element: str,
    qmin: float | None = None,
    qmax: float | None = None,
    qdamp: float | None = None,
    seed: int = 0,
    weights: Path | str = CLASSIFIER,
) -> PdfResult | list[PdfResult]:
    """Return type and sizes of the particles behind a measured PDF at one look of a network: `types`, `intervals`.

    Args:
        measurement: one, or several of one element.
        element: of the sample, as Pt.
        qmin: overrides the header, as do the next two.
        qmax: as on the command line.
        qdamp: as on the command line.
        seed: of the draws that intervals are read from.
        weights: of the classifier.

    Raises:
        ValueError: for input that cannot be used.
    """
    data, bond = DataOptions(qmin, qmax, qdamp), form_factors.bond_length(element)
    several = [measurement] if isinstance(measurement, Measurement) else list(measurement)
    ready = [measurements_.resolved(sine.pdf(one, data), data, bond=bond) for one in several]
    found = classified.classified(ready, load_classifier(Path(weights)), element=element, seed=seed)
    return found[0] if isinstance(measurement, Measurement) else found


def solving(
    element: str,
    *,
    sources: Sequence[str],
    data: DataOptions,
    fit: FitOptions,
    library: LibraryOptions,
    curve: CurveOptions | None = None,
    network: NetworkOptions | None = None,
    ensemble: EnsembleName = "auto",
    search: SearchName = "none",
    screen: ScreenName = "classifier",
    progress: Progress | None = None,
) -> Plan:
    """Return the plan of `solve` and `mine`.

    Raises:
        ValueError: for options that cannot be.
    """
    bond = form_factors.bond_length(element)
    check(fit)
    if not sources or set(sources) - {"network", "library"}:
        raise ValueError(f"Expected --sources network, library or both, got {' '.join(sources) or 'none'}.")
    found = []
    if "network" in sources:
        found.append(sources_.of_network(network or NetworkOptions(), bond=bond))
    if "library" in sources:
        found.append(sources_.of_library(library, bond=bond, progress=progress))
    seed = network.seed if network else 0
    return Plan(
        element, tuple(found), data, fit, ensemble=ensemble, search=search, seed=seed, curve=curve or CurveOptions(),
        screen=glances.screen(CLASSIFIER) if screen == "classifier" else Screen(None),
    )  # fmt: skip


def refining(
    clusters: Sequence[ase.Atoms | Path | str],
    *,
    data: DataOptions,
    fit: FitOptions,
    relax: RelaxOptions,
    curve: CurveOptions | None = None,
) -> Plan:
    """Return the plan of `refine`.

    Raises:
        ValueError: for options that cannot be, or clusters that are none.
    """
    check(fit, relax)
    element, source = sources_.of_files(clusters)
    return Plan(
        element, (source,), data, fit, relax, screened=False, written=len(clusters), curve=curve or CurveOptions()
    )


def _results(
    measurement: Measurement | Sequence[Measurement], plan: Plan, progress: Progress | None
) -> PdfResult | list[PdfResult]:
    """Return the result of one measurement, or the list of several's."""
    if isinstance(measurement, Measurement):
        return next(answers([prepared(measurement, plan)], plan, progress=progress))
    return list(answers([prepared(one, plan) for one in measurement], plan, progress=progress))
