"""What each command takes: files, the folder of results, and its options; and the parser that follows from these.

The options themselves are defined in `jaxstruc.options`. Without JAX and NumPy, so that `jaxstruc --help` is quick.


The command line, a thin door with heavy imports inside.
"""

import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxstruc import __version__
from jaxstruc.options.pdf import ClassifyOptions, MineOptions, RefineOptions, SolveOptions
from jaxstruc.options.simulation import GenerateOptions, PopulationOptions, SimulateOptions
from jaxstruc.options.small_angle import BodyOptions, SaxsOptions
from jaxstruc.options.training import TrainClassifierOptions, TrainOptions

Inline = tyro.conf.arg(name="")
"""Lets the options of a command stand beside its other arguments."""
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Folder = Annotated[
    Path,
    tyro.conf.arg(
        aliases=["-o"], help="Folder for the results. Files done there before with the same settings are skipped."
    ),
]
Cache = Annotated[bool, tyro.conf.arg(help="Keep compiled programs in the cache folder, for the next run.")]


@dataclass(frozen=True)
class Simulate:
    """Simulate the scattering of clusters, or the small-angle scattering of bodies, in double precision.

    Example: jaxstruc simulate Au55.xyz --signal gr --qmax 25 --uiso 0.005 -o Au55.gr --plot

    Example: jaxstruc simulate --family fcc --element Pt --distribution lognormal --mean 25 --width 0.2 -o mix.gr

    Example: jaxstruc simulate --body sphere --radius 35 --pd 0.06 --qmin 0.01 --qmax 0.5 -o sphere.dat
    """

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Structure files that ASE reads (.xyz, .cif, .pdb, ...)."""
    population: Annotated[PopulationOptions, Inline] = field(default_factory=PopulationOptions)
    bodies: Annotated[BodyOptions, Inline] = field(default_factory=BodyOptions)
    options: Annotated[SimulateOptions, Inline] = field(default_factory=SimulateOptions)
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

    options: Annotated[GenerateOptions, Inline]
    out: Out
    """HDF5 file to write."""


@dataclass(frozen=True)
class TrainClassifier:
    """Train the classifier on PDFs that are simulated as it goes, never the same twice.

    Example: jaxstruc train-classifier -o runs/classifier
    """

    out: Out
    """Folder for checkpoints, metrics and weights. A run found there is resumed."""
    options: Annotated[TrainClassifierOptions, Inline] = field(default_factory=TrainClassifierOptions)
    cache: Cache = True


@dataclass(frozen=True)
class Train:
    """Train the network on a data set.

    Example: jaxstruc train --preset real --latent 8 -o runs/real
    """

    out: Out
    """Folder for checkpoints, metrics and weights. A run found there is resumed."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """HDF5 file written by `generate`. Without it the preset is simulated in memory."""
    options: Annotated[TrainOptions, Inline] = field(default_factory=TrainOptions)


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
    options: Annotated[ClassifyOptions, Inline] = field(default_factory=ClassifyOptions)
    cache: Cache = True


@dataclass(frozen=True)
class Solve:
    """Find atomic structures for measured PDFs, of all that a network and a library propose.

    Example: jaxstruc solve sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr), or S(Q) or F(Q), which become PDFs."""
    element: str
    """Element of the sample, as Pt. It gives the bond length that sets the scale."""
    out: Folder
    options: Annotated[SolveOptions, Inline] = field(default_factory=SolveOptions)
    cache: Cache = True


@dataclass(frozen=True)
class Mine:
    """Fit thousands of candidate clusters to measured PDFs and rank them.

    This is `solve` with other defaults: --sources library --search none.

    Example: jaxstruc mine sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr), or S(Q) or F(Q), which become PDFs."""
    element: str
    """Element of the sample, as Pt. It gives the bond length of the candidates."""
    out: Folder
    options: Annotated[MineOptions, Inline] = field(default_factory=MineOptions)
    cache: Cache = True


@dataclass(frozen=True)
class Refine:
    """Fit clusters to measured PDFs, with errors.

    Example: jaxstruc refine Pt93.xyz sample.gr --free scale stretch uiso delta2 qdamp -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Structure files that ASE reads, all of one element, and then measured PDFs (.gr)."""
    out: Folder
    options: Annotated[RefineOptions, Inline] = field(default_factory=RefineOptions)
    cache: Cache = True


@dataclass(frozen=True)
class Saxs:
    """Find sizes, their distribution and the shape of particles from measured small-angle scattering.

    Example: jaxstruc saxs sample.dat --element Au -o out/

    Example: jaxstruc saxs sample.dat --q-unit 1/nm --background solvent.dat --body sphere cube -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured I(Q): columns (.dat .chi .iq .csv .xye .txt), CanSAS1d XML, NXcanSAS."""
    out: Folder
    element: str = ""
    """Element of the particles, as Au; for --absolute, and for the record."""
    options: Annotated[SaxsOptions, Inline] = field(default_factory=SaxsOptions)
    cache: Cache = True


Command = Simulate | Generate | Train | TrainClassifier | Classify | Solve | Refine | Mine | Saxs
_Subcommand = (
    Annotated[Simulate, tyro.conf.subcommand("simulate")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[TrainClassifier, tyro.conf.subcommand("train-classifier")]
    | Annotated[Classify, tyro.conf.subcommand("classify")]
    | Annotated[Solve, tyro.conf.subcommand("solve")]
    | Annotated[Refine, tyro.conf.subcommand("refine")]
    | Annotated[Mine, tyro.conf.subcommand("mine")]
    | Annotated[Saxs, tyro.conf.subcommand("saxs")]
)


def parse(words: list[str]) -> Command:
    """Return the command that words on the command line give; its options are not checked yet.

    Raises:
        SystemExit: for `--help`, or words that are no command.
    """
    registry = ConstructorRegistry()
    registry.primitive_rule(_choice)
    with registry:
        return tyro.cli(
            _Subcommand,  # type: ignore[arg-type]
            args=words,
            prog="jaxstruc",
            config=(tyro.conf.OmitArgPrefixes,),
            description=(
                "Measured pair distribution functions to atomic structures, small angles to sizes and shapes.\n\n"
                "Example: jaxstruc solve sample.gr --element Pt -o out/\n\n"
                "With --traceback an error shows where it arose."
            ),
        )


def _choice(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Return how one of several names is parsed: as any text, which the check of the options then judges."""
    if get_origin(info.type) is not Literal:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(get_args(info.type))}}}",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    )


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status 0: done; 2: the user's mistake; 3: some files of several failed; 1: a defect."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"jaxstruc {__version__}")
        return
    trace = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    command = parse(words)
    try:
        status = _run(command)
    except (ValueError, FloatingPointError, OSError) as error:
        if trace:
            traceback.print_exc()
        else:
            print(f"jaxstruc: {' '.join(str(error).split())}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("jaxstruc: interrupted; what was finished is kept, run again to continue.", file=sys.stderr)
        status = 130
    sys.exit(status)


def _run(command: Command) -> int:
    command.options.check()
    if isinstance(command, Simulate):
        return simulate(command)
    if isinstance(command, Generate):
        return generate(command)
    if isinstance(command, Train):
        return train(command)
    if isinstance(command, Saxs):
        return saxs(command)
    if isinstance(command, TrainClassifier):
        return train_classifier(command)
    if isinstance(command, Classify):
        return classify(command)
    return answer(command)


def simulate(config: Simulate) -> int:
    """Simulate clusters or bodies and print or write their curves."""
    from jaxstruc.cli.simulate import simulate_files

    for path, text, target in simulate_files(config):
        signal = "iq" if config.bodies.body else config.options.signal
        print(f"{path}: {signal} in {target}." if target else text, end="\n" if target else "")
    return 0


def generate(config: Generate) -> int:
    """Simulate a data set and write it."""
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import generate

    with progress.progress_bar("Simulating PDFs") as advance:
        said = generate(config, progress=advance)
    print(said)
    return 0


def train(config: Train) -> int:
    """Train the network, all seeds together, and write weights and cards."""
    from jaxstruc.cli.train import train

    for line in train(config):
        print(line)
    return 0


def train_classifier(config: TrainClassifier) -> int:
    """Train the classifier, and write weights and card."""
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import train_classifier_network

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Training") as advance:
        said = train_classifier_network(config, progress=advance)
    print(said)
    return 0


def classify(config: Classify) -> int:
    """Name types and sizes of measured PDFs, and write the table and its picture."""
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress
    from jaxstruc.cli import solve as classify

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Classifying") as advance:
        outcome = classify.classify(config, progress=advance)
    for line in classify.ending(outcome, config.out):
        print(line)
    return outcome.status


def answer(config: Solve | Mine | Refine) -> int:
    """Find structures for measured PDFs by one of the three commands, and write the results."""
    from jaxstruc import batch as run
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress, solve
    from jaxstruc.cli import solve as refine

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar(f"{type(config).__name__[:-1]}ing") as advance:
        if isinstance(config, Refine):
            outcome = refine.refine(config, progress=advance)
        else:
            outcome = solve.solve(config, progress=advance)
    for line in run.closing_lines(outcome, config.out):
        print(line)
    return outcome.status


def saxs(config: Saxs) -> int:
    """Find sizes and shapes for measured small angles, and write the results."""
    from jaxstruc import batch as run
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress
    from jaxstruc.cli import solve as saxs_

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Sizing") as advance:
        outcome = saxs_.saxs(config, progress=advance)
    for line in run.closing_lines(outcome, config.out, workflow=saxs_.WAY):
        print(line)
    return outcome.status
