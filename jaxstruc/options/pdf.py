"""Options of the commands that start from a measured PDF: `solve`, `mine`, `refine` and `classify`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxstruc.options.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    AverageCount,
    Bounds,
    Cache,
    Devices,
    Files,
    Folder,
    Frame,
    Inline,
    JsonOutput,
    Options,
    Out,
    ShardText,
    Unset,
    check_order,
    parameter_help,
)

Parameter = Literal["scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad", "relaxation"]
FamilyName = Literal["icosahedron", "decahedron", "octahedron", "fcc", "bcc", "sc", "hcp", "twin", "fault"]
EnsembleName = Literal["auto", "none", "parametric", "free"]
SourceName = Literal["network", "library"]
SearchName = Literal["none", "quick", "full"]
ScreenName = Literal["classifier", "none"]
TypesName = Literal["element", "all"]
QUnit = Literal["1/Å", "1/A", "1/nm", "2theta", "2theta-rad"]
"""Unit of the axis of a curve over Q. The angle 2theta is in degrees, and 2theta-rad is in radians."""
Kind = Literal["gr", "iq", "sq", "fq"]
"""Kind of a curve: G(r), I(Q), S(Q), or F(Q) = Q(S-1)."""
AxisUnit = Annotated[
    QUnit | None,
    tyro.conf.arg(
        help="Unit of the Q axis, if the file does not state it. The angle 2theta (in "
        "degrees) or 2theta-rad (in radians) needs --wavelength.",
        help_behavior_hint="",
    ),
]
Wavelength = Annotated[
    float | None, parameter_help("wavelength", "It is needed if the axis of the file is an angle."), POSITIVE
]
RESOLUTION = Bounds(0, 1)
"""Range of qdamp and qbroad, in 1/Å. With a value of 1, G(r) would have no second peak."""
Seed = Annotated[int, SEED]
Sources = Annotated[
    tuple[SourceName, ...],
    tyro.conf.arg(
        help="Sources of the candidate structures. network: a neural network proposes structures for each PDF. "
        "library: thousands of clusters of all families, or your own structures with --library."
    ),
]
Search = Annotated[
    SearchName,
    tyro.conf.arg(
        help="Search for particles that are in no source. It adds and removes atoms on the lattice sites of the best "
        "candidates. A full search takes several times as long as a quick one."
    ),
]
Types = Annotated[
    TypesName,
    tyro.conf.arg(
        help="Prior weights of the structure types. element: types that are known for particles of the element share "
        "nearly all of the weight, and each other type has 1 %. For example, bcc is not known for platinum. all: all "
        "types have equal weights."
    ),
]
FromNeighbour = Annotated[
    bool,
    tyro.conf.arg(
        help="Also fit the best structures of each curve to the next one. Rw and type of the best of them are in the "
        "columns neighbour_rw and neighbour_type, and all other columns stay the same."
    ),
]
SHIPPED_WEIGHTS = Path(__file__).parents[1] / "network" / "shipped"
SHIPPED = SHIPPED_WEIGHTS / "fcc.safetensors"
"""Weights of the shipped network that proposes structures."""
CLASSIFIER = SHIPPED_WEIGHTS / "classifier.safetensors"
"""Weights of the shipped classifier."""
SHELL_DETECTOR = SHIPPED_WEIGHTS / "shell_detector.safetensors"
"""Weights of the shipped detector of shells of light atoms."""


MAX_LIBRARY_ATOMS = 1500
"""Largest number of atoms of the clusters in the library of families."""


@dataclass(frozen=True)
class InstrumentOptions(Options):
    """Settings of the measurement. They override the values in the header of the file."""

    qmin: Annotated[
        float | None, parameter_help("qmin", "It is needed for a G(r) whose header does not state it."), NOT_NEGATIVE
    ] = None
    qmax: Annotated[
        float | None, parameter_help("qmax", "It is needed for a G(r) whose header does not state it."), POSITIVE
    ] = None
    qdamp: Annotated[float | None, parameter_help("qdamp"), RESOLUTION] = None

    def check_together(self) -> None:
        """Check that the Q range starts before it ends."""
        check_order("q", self.qmin, self.qmax)


@dataclass(frozen=True)
class DataOptions(InstrumentOptions):
    """Settings of the measurement and range of the fit. They override the values in the header of the file."""

    qbroad: Annotated[float | None, parameter_help("qbroad"), RESOLUTION] = None
    rmin: Annotated[float | None, parameter_help("rmin", "The fit and Rw use this range."), NOT_NEGATIVE] = None
    rmax: Annotated[
        float | None,
        parameter_help("rmax", "The fit and Rw use this range.", default="20, or the end of the data"),
        POSITIVE,
    ] = None

    def check_together(self) -> None:
        """Check that the Q range and the r range start before they end."""
        super().check_together()
        check_order("r", self.rmin, self.rmax)


@dataclass(frozen=True)
class CurveOptions(Options):
    """Kind, unit and number of the curve, for files that do not state them or that hold several curves."""

    q_unit: AxisUnit = None
    wavelength: Wavelength = None
    kind: Annotated[
        Kind | None,
        tyro.conf.arg(
            help="Kind of the curve: G(r), S(Q), F(Q) = Q(S-1), or I(Q) of wide angles. An I(Q) is fitted as it is, "
            "without a Fourier transform. `classify` takes no I(Q).",
            help_behavior_hint="(default: as the file states)",
        ),
    ] = None
    frame: Frame = None


@dataclass(frozen=True)
class FitOptions(Options):
    """Fitted parameters, background and scale."""

    free: Annotated[
        tuple[Parameter, ...],
        tyro.conf.arg(
            help="Parameters that are fitted. Of the others, stretch is kept at 1, uiso at 0.012 Å², delta1, delta2 "
            "and relaxation at 0, and qdamp and qbroad at their settings. `solve` and `mine` first fit the selected "
            "candidates with the default parameters, and then the best 200 with the parameters named here. Without "
            "relaxation, all clusters are rigid. Both commands also correct a qmin that only the header states, and a "
            "qdamp that nothing states."
        ),
    ] = ("scale", "stretch", "uiso", "delta2", "relaxation")
    background: Annotated[int, NOT_NEGATIVE] = 0
    """Number of terms of a smooth background: cosines under G(r), a polynomial (at least a constant) under I(Q)."""
    absolute: bool = False
    """Whether the data are on an absolute scale. The scale of the model is then exactly 1 and is not fitted."""

    def check_together(self) -> None:
        """Check that the parameters can be fitted together."""
        if "scale" not in self.free:
            raise ValueError(
                f"Expected scale among --free, got {' '.join(self.free) or 'none'}; add scale, and pass --absolute if "
                "it is to stay 1."
            )
        if {"delta1", "delta2"} <= set(self.free):
            raise ValueError(
                "Expected delta1 or delta2 in --free, got both. They describe the same motion; drop one of them."
            )


@dataclass(frozen=True)
class LibraryOptions(Options):
    """Clusters of the library that are candidates."""

    families: Annotated[
        tuple[FamilyName, ...],
        tyro.conf.arg(
            help="Families of clusters that are candidates, by default all. For example, the family twin has fcc "
            "clusters with a twin plane.",
            help_behavior_hint="",
        ),
    ] = ()
    max_atoms: Annotated[int, Bounds(5)] = 1000
    """Largest number of atoms of a cluster from the families or from --library. The families end at 1500 atoms."""
    library: Annotated[tuple[Path, ...], Unset] = ()
    """Structures of your own that replace the families: files that ASE can read, or folders of such files."""

    def check_together(self) -> None:
        """Check that the families have clusters of up to the largest number of atoms."""
        if self.max_atoms > MAX_LIBRARY_ATOMS and not self.library:
            raise ValueError(
                f"Expected --max-atoms of at most {MAX_LIBRARY_ATOMS}, because the families end there, got "
                f"{self.max_atoms}; add larger clusters of your own with --library."
            )


@dataclass(frozen=True)
class RelaxOptions(Options):
    """Displacements of single atoms in the fit."""

    coordinates: bool = False
    """Whether the positions of the atoms are fitted too. A restraint keeps them near their original positions."""
    restraint: Annotated[
        float,
        tyro.conf.arg(
            help="Strength of the restraint on the atoms, as a displacement in Å. An atom that moves by this "
            "distance adds as much to the misfit as one standard deviation of the noise. A smaller value keeps the "
            "atoms closer to their original positions."
        ),
        POSITIVE,
    ] = 0.1


@dataclass(frozen=True)
class NetworkOptions(Options):
    """Network that proposes structures."""

    draws: Annotated[int, COUNT] = 64
    """Number of structures that the network draws for each PDF, with --sources network."""
    seed: Seed = 0
    """Seed of all random numbers."""
    weights: Annotated[
        Path,
        tyro.conf.arg(
            help="Trained weights of the network that proposes structures with --sources network (.safetensors). The "
            "description of the weights (.json), which `train` writes too, must be in the same folder.",
            help_behavior_hint="(default: the shipped weights)",
        ),
    ] = SHIPPED


@dataclass(frozen=True)
class SolveOptions(Options):
    """Options of `solve`: the sources of candidates, their fits, and the steps that follow."""

    sources: Sources = ("library",)
    search: Search = "quick"
    ensemble: Annotated[
        EnsembleName,
        tyro.conf.arg(
            help="Distribution of particles that is compared with the best single cluster. parametric: a lognormal "
            "distribution of sizes for each structure type. free: a smooth distribution. auto: the one of these "
            "two that predicts the data better. none: no distribution."
        ),
    ] = "auto"
    screen: Annotated[
        ScreenName,
        tyro.conf.arg(
            help="Selection of the candidates that are fitted. classifier: only clusters of types that a neural "
            "network finds probable. none: clusters of all types, which takes longer."
        ),
    ] = "classifier"
    types: Types = "element"
    data: DataOptions = field(default_factory=DataOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    candidates: Annotated[LibraryOptions, tyro.conf.arg(name="library")] = field(default_factory=LibraryOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)

    def check_together(self) -> None:
        """Check that there is at least one source, and that the options of the network have an effect."""
        if not self.sources:
            raise ValueError(
                "Expected at least one source, got none; pass --sources network, library, or network library."
            )
        default, values = NetworkOptions(), self.network
        if "network" not in self.sources and (values.draws, values.weights) != (default.draws, default.weights):
            raise ValueError(
                "Expected --draws and --weights only with the network as a source; add --sources network or "
                "--sources network library."
            )


@dataclass(frozen=True)
class MineOptions(SolveOptions):
    """Options of `mine`: the options of `solve`, without a search by default."""

    search: Search = "none"


@dataclass(frozen=True)
class RefineOptions(Options):
    """Options of `refine`."""

    data: DataOptions = field(default_factory=DataOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    relax: RelaxOptions = field(default_factory=RelaxOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)


@dataclass(frozen=True)
class ClassifyOptions(Options):
    """Options of `classify`."""

    data: InstrumentOptions = field(default_factory=InstrumentOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)
    weights: Annotated[
        Path,
        tyro.conf.arg(
            help="Trained weights of the classifier (.safetensors). The description of the weights (.json), which "
            "`train-classifier` writes too, must be in the same folder.",
            help_behavior_hint="(default: the shipped weights)",
        ),
    ] = CLASSIFIER
    types: Types = "element"
    seed: Seed = 0
    """Seed of the random draws that give the intervals."""

    @property
    def data_options(self) -> DataOptions:
        """Settings of the measurement as `DataOptions`. The fields that `classify` does not have are None."""
        return DataOptions(**vars(self.data))


@dataclass(frozen=True)
class ClassifyCommand:
    """Predict type, size and stacking of nanoparticles from their PDFs within seconds, by a neural network.

    Example: jaxstruc classify *.gr --element Pt -o out/
    """

    files: Files
    """Measured PDFs (.gr), or S(Q) or F(Q), which are transformed to PDFs."""
    element: str
    """Element of the sample, e.g. Pt. It sets the bond length."""
    out: Out
    """Folder for the table (summary.csv), the figure (types.png) and the page (index.html)."""
    options: Annotated[ClassifyOptions, Inline] = field(default_factory=ClassifyOptions)
    average: AverageCount = 1
    cache: Cache = True
    json: JsonOutput = False


@dataclass(frozen=True)
class SolveCommand:
    """Find the atomic structures of nanoparticles from their PDFs.

    Candidates come from a library of clusters and a search over lattice sites. The promising candidates are fitted to
    the data, and the best of them is compared with a distribution of particles.

    Example: jaxstruc solve sample.gr --element Pt -o out/
    """

    files: Files
    """Measured PDFs (.gr), or S(Q) or F(Q), which are transformed to PDFs, or I(Q) of wide angles (--kind iq)."""
    element: str
    """Element of the sample, e.g. Pt. It sets the bond length of the candidates."""
    out: Folder
    options: Annotated[SolveOptions, Inline] = field(default_factory=SolveOptions)
    average: AverageCount = 1
    from_neighbour: FromNeighbour = False
    shard: ShardText = "1/1"
    devices: Devices = None
    cache: Cache = True
    json: JsonOutput = False


@dataclass(frozen=True)
class MineCommand:
    """Compare thousands of clusters of a library with PDFs, and rank them (cluster mining).

    This command is `solve` with another default: --search none.

    Example: jaxstruc mine sample.gr --element Pt -o out/
    """

    files: Files
    """Measured PDFs (.gr), or S(Q) or F(Q), which are transformed to PDFs, or I(Q) of wide angles (--kind iq)."""
    element: str
    """Element of the sample, e.g. Pt. It sets the bond length of the candidates."""
    out: Folder
    options: Annotated[MineOptions, Inline] = field(default_factory=MineOptions)
    average: AverageCount = 1
    from_neighbour: FromNeighbour = False
    shard: ShardText = "1/1"
    devices: Devices = None
    cache: Cache = True
    json: JsonOutput = False


@dataclass(frozen=True)
class RefineCommand:
    """Fit your own structures to PDFs, with standard errors.

    Example: jaxstruc refine Pt93.xyz sample.gr --free scale stretch uiso delta2 qdamp -o out/
    """

    files: Files
    """Structure files of one element, and then PDFs (.gr) or I(Q). name.xyz@2 selects the third structure of a file."""
    out: Folder
    options: Annotated[RefineOptions, Inline] = field(default_factory=RefineOptions)
    average: AverageCount = 1
    shard: ShardText = "1/1"
    devices: Devices = None
    cache: Cache = True
    json: JsonOutput = False


@dataclass(frozen=True)
class MergeCommand:
    """Write the summary and the page of a run that several jobs shared with --shard.

    Example: jaxstruc merge out/
    """

    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT", help_behavior_hint="")]]
    """Folder of the results, i.e. --out of the jobs."""


@dataclass(frozen=True)
class PageCommand:
    """Write the page of a folder of results (index.html) anew, which a browser shows without a network.

    Example: jaxstruc page out/
    """

    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT", help_behavior_hint="")]]
    """Folder of the results, i.e. --out of an earlier command."""


@dataclass(frozen=True)
class DescribeCommand:
    """Print all commands, with --json also their options, for other programs.

    Example: jaxstruc describe --json
    """

    json: Annotated[
        bool, tyro.conf.arg(help="Print one JSON object with type, bounds, default and help of each option.")
    ] = False
