"""The command line: parses the arguments of a command and runs it.

Each command's arguments are defined in `jaxstruc.options`. Heavy modules are imported when a command runs, so that
`jaxstruc --help` is quick.
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

PROGRESS_TITLES = {SolveCommand: "Solving", MineCommand: "Mining", RefineCommand: "Refining"}
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


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status 0: done; 2: the user's mistake; 3: some files of several failed; 1: a defect."""
    # On some processors XLA prints a screenful for each program that it loads from the cache; the programs run all the
    # same, since the cache is kept by processor. Read as jax is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"jaxstruc {__version__}")
        return
    show_traceback = "--traceback" in arguments
    command = parse([argument for argument in arguments if argument != "--traceback"])
    try:
        status = _run(command)
    except (ValueError, FloatingPointError, OSError) as error:
        if show_traceback:
            traceback.print_exc()
        else:
            print(f"jaxstruc: {' '.join(str(error).split())}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("jaxstruc: interrupted; what was finished is kept, run again to continue.", file=sys.stderr)
        status = 130
    sys.exit(status)


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

    for path, text, output_path in simulate_files(config):
        signal = config.options.signal or ("iq" if config.bodies.body else "gr")
        print(f"{path}: {signal} in {output_path}." if output_path else text, end="\n" if output_path else "")
    return 0


def generate(config: GenerateCommand) -> int:
    """Simulate a data set and write it."""
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import generate

    with progress.progress_bar("Simulating PDFs") as advance:
        summary = generate(config, progress=advance)
    print(summary)
    return 0


def train(config: TrainCommand) -> int:
    """Train the network, all seeds together, and write weights and cards."""
    from jaxstruc.cli.train import train

    for line in train(config):
        print(line)
    return 0


def train_classifier(config: TrainClassifierCommand) -> int:
    """Train the classifier, and write weights and card."""
    from jaxstruc import cache
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import train_classifier_network

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar("Training") as advance:
        summary = train_classifier_network(config, progress=advance)
    print(summary)
    return 0


def classify(config: ClassifyCommand) -> int:
    """Name types and sizes of measured PDFs, and write the table and its picture."""
    from jaxstruc import cache
    from jaxstruc.cli import progress, solve

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar("Classifying") as advance:
        batch_outcome = solve.classify(config, progress=advance)
    for line in solve.closing_lines(batch_outcome, config.out):
        print(line)
    return batch_outcome.status


def find_structures(config: SolveCommand | MineCommand | RefineCommand) -> int:
    """Find structures for measured PDFs by one of the three commands, and write the results."""
    from jaxstruc import batch, cache
    from jaxstruc.cli import progress, solve

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar(PROGRESS_TITLES[type(config)]) as advance:
        if isinstance(config, RefineCommand):
            batch_outcome = solve.refine(config, progress=advance)
        else:
            batch_outcome = solve.solve(config, progress=advance)
    for line in batch.closing_lines(batch_outcome, config.out):
        print(line)
    return batch_outcome.status


def saxs(config: SaxsCommand) -> int:
    """Find sizes and shapes for measured small angles, and write the results."""
    from jaxstruc import batch, cache
    from jaxstruc.cli import progress, solve

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar("Sizing") as advance:
        batch_outcome = solve.saxs(config, progress=advance)
    for line in batch.closing_lines(batch_outcome, config.out, workflow=solve.SAXS_WORKFLOW):
        print(line)
    return batch_outcome.status


def _choice(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Return how one of several names is parsed: as any text, which the check of the options then judges."""
    if get_origin(info.type) is not Literal:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(get_args(info.type))}}}",
        instance_from_str=lambda arguments: arguments[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    )
