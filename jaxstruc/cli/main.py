"""What each command takes: files, the folder of results, and its options; and the parser that follows from these.

The options themselves are defined in `jaxstruc.options`. Without JAX and NumPy, so that `jaxstruc --help` is quick.


The command line, a thin door with heavy imports inside.
"""

import os
import sys
import traceback
from typing import Annotated, Literal, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxstruc import __version__
from jaxstruc.options.pdf import ClassifyCommand, MineCommand, RefineCommand, SolveCommand
from jaxstruc.options.simulation import GenerateCommand, SimulateCommand
from jaxstruc.options.small_angle import SaxsCommand
from jaxstruc.options.training import TrainClassifierCommand, TrainCommand

Command = (
    SimulateCommand
    | GenerateCommand
    | TrainCommand
    | TrainClassifierCommand
    | ClassifyCommand
    | SolveCommand
    | RefineCommand
    | MineCommand
    | SaxsCommand
)
_Subcommand = (
    Annotated[SimulateCommand, tyro.conf.subcommand("simulate")]
    | Annotated[GenerateCommand, tyro.conf.subcommand("generate")]
    | Annotated[TrainCommand, tyro.conf.subcommand("train")]
    | Annotated[TrainClassifierCommand, tyro.conf.subcommand("train-classifier")]
    | Annotated[ClassifyCommand, tyro.conf.subcommand("classify")]
    | Annotated[SolveCommand, tyro.conf.subcommand("solve")]
    | Annotated[RefineCommand, tyro.conf.subcommand("refine")]
    | Annotated[MineCommand, tyro.conf.subcommand("mine")]
    | Annotated[SaxsCommand, tyro.conf.subcommand("saxs")]
)


def parse(arguments: list[str]) -> Command:
    """Return the command that words on the command line give; its options are not checked yet.

    Raises:
        SystemExit: for `--help`, or words that are no command.
    """
    registry = ConstructorRegistry()
    registry.primitive_rule(_choice)
    with registry:
        return tyro.cli(
            _Subcommand,  # type: ignore[arg-type]
            args=arguments,
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
    # On some processors XLA prints a screenful for each program that it loads from the cache; the programs run all the
    # same, since the cache is kept by processor. Read as jax is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
    if isinstance(command, SimulateCommand):
        return simulate(command)
    if isinstance(command, GenerateCommand):
        return generate(command)
    if isinstance(command, TrainCommand):
        return train(command)
    if isinstance(command, SaxsCommand):
        return saxs(command)
    if isinstance(command, TrainClassifierCommand):
        return train_classifier(command)
    if isinstance(command, ClassifyCommand):
        return classify(command)
    return find_structures(command)


def simulate(config: SimulateCommand) -> int:
    """Simulate clusters or bodies and print or write their curves."""
    from jaxstruc.cli.simulate import simulate_files

    for path, text, target in simulate_files(config):
        signal = config.options.signal or ("iq" if config.bodies.body else "gr")
        print(f"{path}: {signal} in {target}." if target else text, end="\n" if target else "")
    return 0


def generate(config: GenerateCommand) -> int:
    """Simulate a data set and write it."""
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import generate

    with progress.progress_bar("Simulating PDFs") as advance:
        said = generate(config, progress=advance)
    print(said)
    return 0


def train(config: TrainCommand) -> int:
    """Train the network, all seeds together, and write weights and cards."""
    from jaxstruc.cli.train import train

    for line in train(config):
        print(line)
    return 0


def train_classifier(config: TrainClassifierCommand) -> int:
    """Train the classifier, and write weights and card."""
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import train_classifier_network

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Training") as advance:
        said = train_classifier_network(config, progress=advance)
    print(said)
    return 0


def classify(config: ClassifyCommand) -> int:
    """Name types and sizes of measured PDFs, and write the table and its picture."""
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress
    from jaxstruc.cli import solve as classify

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Classifying") as advance:
        outcome = classify.classify(config, progress=advance)
    for line in classify.closing_lines(outcome, config.out):
        print(line)
    return outcome.status


def find_structures(config: SolveCommand | MineCommand | RefineCommand) -> int:
    """Find structures for measured PDFs by one of the three commands, and write the results."""
    from jaxstruc import batch as run
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress, solve
    from jaxstruc.cli import solve as refine

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar(f"{type(config).__name__[:-1]}ing") as advance:
        if isinstance(config, RefineCommand):
            outcome = refine.refine(config, progress=advance)
        else:
            outcome = solve.solve(config, progress=advance)
    for line in run.closing_lines(outcome, config.out):
        print(line)
    return outcome.status


def saxs(config: SaxsCommand) -> int:
    """Find sizes and shapes for measured small angles, and write the results."""
    from jaxstruc import batch as run
    from jaxstruc import cache as compiled
    from jaxstruc.cli import progress
    from jaxstruc.cli import solve as saxs_

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Sizing") as advance:
        outcome = saxs_.saxs(config, progress=advance)
    for line in run.closing_lines(outcome, config.out, workflow=saxs_.SAXS_WORKFLOW):
        print(line)
    return outcome.status
