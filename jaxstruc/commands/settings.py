"""Settings of the commands: frozen dataclasses whose field names are the names on the command line.

This module imports neither JAX nor NumPy, so that `jaxstruc --help` is quick.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxstruc.data.options import CurveOptions, DataOptions, QOptions, option
from jaxstruc.inference.options import (
    EnsembleName,
    FitOptions,
    LibraryOptions,
    RelaxOptions,
    ScreenName,
    SearchName,
    SizeOptions,
    SourceName,
)
from jaxstruc.network.config import CLASSIFIER, Lessons, NetworkOptions, Training
from jaxstruc.scattering.options import SimulatedBodyName, SimulatedDistributionName, SimulateSaxsOptions
from jaxstruc.scattering.parameters import said

PackingName = Literal["fcc", "hcp", "twin", "fault", "bcc", "sc", "icosahedron", "decahedron"]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Ensemble = Annotated[
    EnsembleName,
    tyro.conf.arg(
        help="Judge whether the sample is one cluster or a distribution of particles, and tell its sizes and types: "
        "lognormal for each type (parametric), smooth (free), whichever predicts better (auto), or not at all (none)."
    ),
]
Screen = Annotated[
    ScreenName,
    tyro.conf.arg(help="Try only those candidates that the classifier finds probable at a glance, or all (none)."),
]


@dataclass(frozen=True)
class Simulate:
    """Simulate the scattering of clusters, or the small-angle scattering of bodies, in double precision.

    Example: jaxstruc simulate Au55.xyz --signal gr --qmax 25 --uiso 0.005 -o Au55.gr --plot

    Example: jaxstruc simulate --family fcc --element Pt --distribution lognormal --mean 25 --width 0.2 -o mix.gr

    Example: jaxstruc simulate --body sphere --radius 35 --pd 0.06 --qmin 0.01 --qmax 0.5 -o sphere.dat
    """

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Structure files that ASE reads (.xyz, .cif, .pdb, ...)."""
    family: PackingName | None = None
    """In place of files: balls of this packing, with whole shells and a part of the last."""
    element: str | None = None
    """Of the balls, as Pt."""
    distribution: SimulatedDistributionName | None = None
    """Distribution of sizes: of balls lognormal or schulz, weighted by volume [lognormal]; of a body any of these, by
    number [gaussian]."""
    mean: float | None = None
    """[Å] Mean diameter, of spheres of equal volume, weighted by volume."""
    width: float | None = None
    """Standard deviation of the diameters over their mean, weighted by volume."""
    members: int | None = None
    """Balls, each with the same share of the atoms [32]."""
    seed: int | None = None
    """Of their centres and of the atoms of a last shell [0]."""
    body: SimulatedBodyName | None = None
    """In place of files: particles of this shape and of one density, whose small-angle scattering I(Q) is simulated."""
    radius: float | None = None
    """[Å] Mean radius of the body by number: R of a sphere, else the radius of the sphere of equal volume."""
    pd: float | None = None
    """Standard deviation of the radius over its mean, by number [0]."""
    particles: SimulateSaxsOptions = dataclasses.field(default_factory=SimulateSaxsOptions)
    signal: Literal["iq", "sq", "fq", "gr"] | None = None
    """I(Q) of the whole cluster, S(Q), F(Q) = Q(S-1), or G(r) [gr; of a body iq]."""
    qmin: Annotated[float | None, option("qmin", "[0; of a body 0.005]")] = None
    qmax: Annotated[float | None, option("qmax", "[25; of a body 0.5]")] = None
    qstep: Annotated[
        float | None,
        option("qstep", "[so fine that no alias enters the r range; of a body a 200th of the Q range]"),
    ] = None
    rmin: Annotated[float, tyro.conf.arg(help=said("rmin"))] = 0.0
    rmax: Annotated[float, tyro.conf.arg(help=said("rmax"))] = 30.0
    rstep: Annotated[float, tyro.conf.arg(help=said("rstep"))] = 0.01
    qdamp: Annotated[float, tyro.conf.arg(help=said("qdamp"))] = 0.0
    qbroad: Annotated[float, tyro.conf.arg(help=said("qbroad"))] = 0.0
    uiso: Annotated[float, tyro.conf.arg(help=said("uiso"))] = 0.005
    biso: Annotated[float | None, option("biso")] = None
    delta1: Annotated[float, tyro.conf.arg(help=said("delta1"))] = 0.0
    delta2: Annotated[float, tyro.conf.arg(help=said("delta2"))] = 0.0
    probe: Literal["xray", "neutron"] = "xray"
    """Form factors, or neutron scattering lengths (in fm)."""
    ions: tuple[str, ...] = ()
    """Ions whose form factors stand for their elements', as Cu2+ O2-."""
    window: Literal["sharp", "lorch"] = "sharp"
    """How G(r) is cut at qmax."""
    cluster: bool = False
    """Take the atoms of a periodic file as a cluster; its cell is ignored."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="PATH", help_behavior_hint="")] = None
    """File to write, or a folder for several clusters. Without it the curve is printed."""
    plot: bool = False
    """Draw the curve into a .png beside it."""


@dataclass(frozen=True)
class Generate:
    """Simulate a data set.

    Example: jaxstruc generate real -o real.h5 --seed 0
    """

    preset: tyro.conf.Positional[Literal["kdd", "kdd-shapes", "real", "endless"]]
    """kdd: the KDD 2020 paper's set. kdd-shapes: the same with hundreds of fcc shapes. real: the paper's shapes with
    real bond lengths and a random instrument for each PDF. endless: steps of what the classifier is trained on."""
    out: Out
    """HDF5 file to write."""
    seed: int = 0
    """Seed of the instruments, the noise and the splits."""
    draws: int = 16
    """Instruments drawn for each structure (real only)."""
    steps: int = 4
    """Steps of 512 PDFs, the first of the seed (endless only)."""


@dataclass(frozen=True)
class TrainClassifier:
    """Train the classifier on PDFs that are simulated as it goes, never the same twice.

    Example: jaxstruc train-classifier -o runs/classifier
    """

    out: Out
    """Folder for checkpoints, metrics and weights. A run found there is resumed."""
    lessons: Lessons = dataclasses.field(default_factory=Lessons)
    cache: bool = True
    """Keep compiled programs in the cache folder, for the next run."""


@dataclass(frozen=True)
class Classify:
    """Name type, size and stacking of the particles behind measured PDFs at once, and how sure that is.

    Example: jaxstruc classify *.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr)."""
    element: str
    """Element of the sample, as Pt. It gives the bond length that sets the scale."""
    out: Out
    """Folder for summary.csv and types.png."""
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    curve: CurveOptions = dataclasses.field(default_factory=CurveOptions)
    weights: Path = CLASSIFIER
    """Trained weights (.safetensors), their card (.json) beside them."""
    seed: int = 0
    """Of the draws that intervals are read from."""
    cache: bool = True
    """Keep compiled programs in the cache folder, for the next run."""


@dataclass(frozen=True)
class Train:
    """Train the network on a data set.

    Example: jaxstruc train --preset real --latent 8 -o runs/real
    """

    out: Out
    """Folder for checkpoints, metrics and weights. A run found there is resumed."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """HDF5 file written by `generate`. Without it the preset is simulated in memory."""
    training: Training = dataclasses.field(default_factory=Training)


@dataclass(frozen=True)
class Solve:
    """Find atomic structures for measured PDFs, of all that a network and a library propose.

    Example: jaxstruc solve sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr), or S(Q) or F(Q), which become PDFs."""
    element: str
    """Element of the sample, as Pt. It gives the bond length that sets the scale."""
    out: Out
    """Folder for the results. Files done there before with the same settings are skipped."""
    sources: tuple[SourceName, ...] = ("network", "library")
    """Where candidates come from."""
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    curve: CurveOptions = dataclasses.field(default_factory=CurveOptions)
    fit: FitOptions = dataclasses.field(default_factory=FitOptions)
    candidates: LibraryOptions = dataclasses.field(default_factory=LibraryOptions)
    network: NetworkOptions = dataclasses.field(default_factory=NetworkOptions)
    search: SearchName = "quick"
    """How long lattice sites are searched for a particle that no source lists, begun from the best that they list."""
    ensemble: Ensemble = "auto"
    screen: Screen = "classifier"
    cache: bool = True
    """Keep compiled programs in the cache folder, for the next run."""


@dataclass(frozen=True)
class Refine:
    """Fit clusters to measured PDFs, with errors.

    Example: jaxstruc refine Pt93.xyz sample.gr --free scale stretch uiso delta2 qdamp -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Structure files that ASE reads, all of one element, and then measured PDFs (.gr)."""
    out: Out
    """Folder for the results. Files done there before with the same settings are skipped."""
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    curve: CurveOptions = dataclasses.field(default_factory=CurveOptions)
    fit: FitOptions = dataclasses.field(default_factory=FitOptions)
    relax: RelaxOptions = dataclasses.field(default_factory=RelaxOptions)
    cache: bool = True
    """Keep compiled programs in the cache folder, for the next run."""


@dataclass(frozen=True)
class Mine:
    """Fit thousands of candidate clusters to measured PDFs and rank them.

    Example: jaxstruc mine sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr), or S(Q) or F(Q), which become PDFs."""
    element: str
    """Element of the sample, as Pt. It gives the bond length of the candidates."""
    out: Out
    """Folder for the results. Files done there before with the same settings are skipped."""
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    curve: CurveOptions = dataclasses.field(default_factory=CurveOptions)
    fit: FitOptions = dataclasses.field(default_factory=FitOptions)
    candidates: LibraryOptions = dataclasses.field(default_factory=LibraryOptions)
    ensemble: Ensemble = "auto"
    screen: Screen = "classifier"
    cache: bool = True
    """Keep compiled programs in the cache folder, for the next run."""


@dataclass(frozen=True)
class Saxs:
    """Find sizes, their distribution and the shape of particles from measured small-angle scattering.

    Example: jaxstruc saxs sample.dat --element Au -o out/

    Example: jaxstruc saxs sample.dat --q-unit 1/nm --background solvent.dat --body sphere cube -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured I(Q): columns (.dat .chi .iq .csv .xye .txt), CanSAS1d XML, NXcanSAS."""
    out: Out
    """Folder for the results. Files done there before with the same settings are skipped."""
    element: str = ""
    """Element of the particles, as Au; for --absolute, and for the record."""
    data: QOptions = dataclasses.field(default_factory=QOptions)
    fit: SizeOptions = dataclasses.field(default_factory=SizeOptions)
    cache: bool = True
    """Keep compiled programs in the cache folder, for the next run."""


def words(config, *, skip: tuple[str, ...] = ()) -> list[str]:
    """Return the command-line words of the settings that compute: all but files, `out`, `plot` and those to skip."""
    result = []
    for name, value in dataclasses.asdict(config).items():
        if name in ("files", "out", "plot", *skip) or value is None or value is False or value == ():
            continue
        result.append(f"--{name.replace('_', '-')}")
        if value is not True:
            result += [str(part) for part in value] if isinstance(value, tuple) else [str(value)]
    return result
