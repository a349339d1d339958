"""Options of all that starts from a measured PDF: `solve`, `mine`, `refine` and `classify`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxstruc.options.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Bounds,
    Cache,
    Folder,
    Inline,
    Options,
    Out,
    check_order,
    parameter_help,
)

Parameter = Literal["scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad"]
FamilyName = Literal["icosahedron", "decahedron", "octahedron", "fcc", "bcc", "sc", "hcp", "twin", "fault"]
EnsembleName = Literal["auto", "none", "parametric", "free"]
SourceName = Literal["network", "library"]
SearchName = Literal["none", "quick", "full"]
ScreenName = Literal["classifier", "none"]
QUnit = Literal["1/Å", "1/A", "1/nm", "2theta"]
"""Unit of a file's axis; 2theta is in degrees."""
Kind = Literal["gr", "iq", "sq", "fq"]
"""Kind of a curve: G(r), I(Q), S(Q), or F(Q) = Q(S-1)."""
AxisUnit = Annotated[
    QUnit | None,
    tyro.conf.arg(
        help="Unit of Q in a file that does not state it; 2theta is in degrees and needs --wavelength.",
        metavar="{1/Å,1/A,1/nm,2theta}",
        help_behavior_hint="",
    ),
]
Wavelength = Annotated[float | None, parameter_help("wavelength", "It is needed if the axis is 2theta."), POSITIVE]
RESOLUTION = Bounds(0, 1)
"""Range of qdamp and qbroad, in 1/Å: at 1 G(r) has no second peak."""
Seed = Annotated[int, SEED]
Sources = Annotated[tuple[SourceName, ...], tyro.conf.arg(help="Sources of candidates.")]
Search = Annotated[
    SearchName,
    tyro.conf.arg(
        help="How long lattice sites are searched for a particle that no source lists. It starts from the best "
        "candidates that they list."
    ),
]
SHIPPED_WEIGHTS = Path(__file__).parents[1] / "network" / "shipped"
SHIPPED = SHIPPED_WEIGHTS / "fcc.safetensors"
"""Weights of the network that proposes structures."""
CLASSIFIER = SHIPPED_WEIGHTS / "classifier.safetensors"
"""Weights of the classifier."""


MAX_LIBRARY_ATOMS = 1500
"""Largest number of atoms of the families' clusters."""


@dataclass(frozen=True)
class DataOptions(Options):
    """Settings of measured data. They override the header; a setting that neither gives has the default in brackets."""

    qmin: Annotated[float | None, parameter_help("qmin", "Of the data."), NOT_NEGATIVE] = None
    qmax: Annotated[float | None, parameter_help("qmax", "Of the data."), POSITIVE] = None
    qdamp: Annotated[float | None, parameter_help("qdamp", "Held, or to start from."), RESOLUTION] = None
    qbroad: Annotated[float | None, parameter_help("qbroad", "Held, or to start from."), RESOLUTION] = None
    rmin: Annotated[float | None, parameter_help("rmin", "Of the fit and of Rw."), NOT_NEGATIVE] = None
    rmax: Annotated[
        float | None, parameter_help("rmax", "Of the fit and of Rw.", otherwise=", or the data's end"), POSITIVE
    ] = None

    def check_together(self) -> None:
        """Check that ranges start before they end."""
        check_order("q", self.qmin, self.qmax)
        check_order("r", self.rmin, self.rmax)


@dataclass(frozen=True)
class CurveOptions(Options):
    """Unit and kind of a curve over Q, if its file does not state them. A .gr file needs none of these."""

    q_unit: AxisUnit = None
    wavelength: Wavelength = None
    kind: Annotated[
        Literal["gr", "sq", "fq"] | None,
        tyro.conf.arg(
            help="G(r), S(Q), or F(Q) = Q(S-1) [as the file says].", metavar="{gr,sq,fq}", help_behavior_hint=""
        ),
    ] = None


@dataclass(frozen=True)
class FitOptions(Options):
    """How candidates are fitted to the data."""

    free: tuple[Parameter, ...] = ("scale", "stretch", "uiso", "delta2")
    """Parameters that are fitted; the others are held. `solve` and `mine` fit the default four for all candidates, and
    these for the best."""
    background: Annotated[int, NOT_NEGATIVE] = 0
    """Number of smooth terms of a background under G(r)."""
    absolute: bool = False
    """Whether the data are on an absolute scale: `scale` is then exactly 1."""

    def check_together(self) -> None:
        """Check that the parameters can be fitted together."""
        if "scale" not in self.free:
            raise ValueError("Expected scale among --free, got none; a measured G(r) has an unknown scale.")
        if {"delta1", "delta2"} <= set(self.free):
            raise ValueError("Expected delta1 or delta2 in --free, got both; they stand for the same motion, drop one.")


@dataclass(frozen=True)
class LibraryOptions(Options):
    """Which clusters the library lists as candidates."""

    families: tuple[FamilyName, ...] = ()
    """Families of candidates; all if none is given."""
    max_atoms: Annotated[int, Bounds(5)] = 1000
    """Largest number of atoms of a candidate; the families are listed up to 1500."""
    library: tuple[Path, ...] = ()
    """Your own structures in place of the families: files that ASE reads, or folders of such files."""

    def check_together(self) -> None:
        """Check that the families reach as far as is asked."""
        if self.max_atoms > MAX_LIBRARY_ATOMS and not self.library:
            raise ValueError(
                f"Expected --max-atoms of at most {MAX_LIBRARY_ATOMS} without --library, got {self.max_atoms}; the "
                "families are listed up to there."
            )


@dataclass(frozen=True)
class RelaxOptions(Options):
    """Whether atoms may move in the fit."""

    coordinates: bool = False
    """Whether the atoms move too, held near their positions by `restraint`."""
    restraint: Annotated[float, POSITIVE] = 0.1
    """[Å] Displacement of an atom that costs as much as one standard deviation of the noise."""


@dataclass(frozen=True)
class NetworkOptions(Options):
    """How a trained network proposes structures."""

    draws: Annotated[int, COUNT] = 64
    """Number of structures that the network draws for each PDF."""
    seed: Seed = 0
    """Seed of the random draws."""
    weights: Path = SHIPPED
    """Trained weights (.safetensors), their card (.json) beside them."""


@dataclass(frozen=True)
class SolveOptions(Options):
    """Options of `solve`: sources of candidates, their fits, and what follows from these."""

    sources: Sources = ("network", "library")
    data: DataOptions = field(default_factory=DataOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    candidates: LibraryOptions = field(default_factory=LibraryOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    search: Search = "quick"
    ensemble: Annotated[
        EnsembleName,
        tyro.conf.arg(
            help="Whether to fit the sample as a distribution of particles too, with sizes and types: lognormal for "
            "each type (parametric), smooth (free), whichever predicts better (auto), or not at all (none). The result "
            "says whether the sample is one cluster or a distribution."
        ),
    ] = "auto"
    screen: Annotated[
        ScreenName,
        tyro.conf.arg(
            help="Fit only the candidates that the classifier finds probable (classifier), or all candidates (none)."
        ),
    ] = "classifier"

    def check_together(self) -> None:
        """Check that there is a source."""
        if not self.sources:
            raise ValueError("Expected --sources network, library or both, got none.")


@dataclass(frozen=True)
class MineOptions(SolveOptions):
    """Options of `mine`: those of `solve`, by default with the library as the one source and without a search."""

    sources: Sources = ("library",)
    search: Search = "none"


@dataclass(frozen=True)
class RefineOptions(Options):
    """Options of `refine`."""

    data: DataOptions = field(default_factory=DataOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    relax: RelaxOptions = field(default_factory=RelaxOptions)


@dataclass(frozen=True)
class ClassifyOptions(Options):
    """Options of `classify`."""

    data: DataOptions = field(default_factory=DataOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)
    weights: Path = CLASSIFIER
    """Trained weights (.safetensors), their card (.json) beside them."""
    seed: Seed = 0
    """Seed of the random draws that intervals are read from."""


@dataclass(frozen=True)
class ClassifyCommand:
    """Predict type, size and stacking of the particles behind measured PDFs by a network, with their uncertainty.

    Example: jaxstruc classify *.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr)."""
    element: str
    """Element of the sample, e.g. Pt. It gives the bond length that sets the scale."""
    out: Out
    """Folder for summary.csv and types.png."""
    options: Annotated[ClassifyOptions, Inline] = field(default_factory=ClassifyOptions)
    cache: Cache = True


@dataclass(frozen=True)
class SolveCommand:
    """Find atomic structures for measured PDFs among those that a network and a library propose.

    Example: jaxstruc solve sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr), or S(Q) or F(Q), which become PDFs."""
    element: str
    """Element of the sample, e.g. Pt. It gives the bond length that sets the scale."""
    out: Folder
    options: Annotated[SolveOptions, Inline] = field(default_factory=SolveOptions)
    cache: Cache = True


@dataclass(frozen=True)
class MineCommand:
    """Fit thousands of candidate clusters to measured PDFs and rank them.

    This is `solve` with other defaults: --sources library --search none.

    Example: jaxstruc mine sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr), or S(Q) or F(Q), which become PDFs."""
    element: str
    """Element of the sample, e.g. Pt. It gives the bond length of the candidates."""
    out: Folder
    options: Annotated[MineOptions, Inline] = field(default_factory=MineOptions)
    cache: Cache = True


@dataclass(frozen=True)
class RefineCommand:
    """Fit clusters to measured PDFs, with errors.

    Example: jaxstruc refine Pt93.xyz sample.gr --free scale stretch uiso delta2 qdamp -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Structure files that ASE reads, all of one element, and then measured PDFs (.gr)."""
    out: Folder
    options: Annotated[RefineOptions, Inline] = field(default_factory=RefineOptions)
    cache: Cache = True
