"""The command line: it parses the arguments of a command and runs the command.

The arguments of each command are defined in `jaxstruc.options`. Heavy modules are imported only when a command runs, so
that `jaxstruc --help` is quick.
"""

import dataclasses
import os
import sys
import traceback
from collections.abc import Iterable
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxstruc import __version__
from jaxstruc.options.pdf import (
    ClassifyCommand,
    DescribeCommand,
    MergeCommand,
    MineCommand,
    PageCommand,
    RefineCommand,
    SolveCommand,
)
from jaxstruc.options.series import SeriesCommand, WatchCommand
from jaxstruc.options.simulation import GenerateCommand, SimulateCommand
from jaxstruc.options.small_angle import SaxsCommand
from jaxstruc.options.training import TrainClassifierCommand, TrainCommand

if TYPE_CHECKING:
    from jaxstruc.batch import BatchOutcome

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
    | WatchCommand
    | SeriesCommand
    | MergeCommand
    | PageCommand
    | DescribeCommand
)
WatchedCommand = ClassifyCommand | MineCommand | SolveCommand | SaxsCommand
"""Commands that `watch` runs for each file."""
ResumableCommand = SolveCommand | MineCommand | RefineCommand | SaxsCommand | TrainCommand | TrainClassifierCommand
"""Commands that continue an interrupted run. The others write their files anew, most of them only at the end."""
_Subcommand = (
    Annotated[SolveCommand, tyro.conf.subcommand("solve")]
    | Annotated[SaxsCommand, tyro.conf.subcommand("saxs")]
    | Annotated[ClassifyCommand, tyro.conf.subcommand("classify")]
    | Annotated[RefineCommand, tyro.conf.subcommand("refine")]
    | Annotated[MineCommand, tyro.conf.subcommand("mine")]
    | Annotated[SimulateCommand, tyro.conf.subcommand("simulate")]
    | Annotated[GenerateCommand, tyro.conf.subcommand("generate")]
    | Annotated[TrainCommand, tyro.conf.subcommand("train")]
    | Annotated[TrainClassifierCommand, tyro.conf.subcommand("train-classifier")]
    | Annotated[WatchCommand, tyro.conf.subcommand("watch")]
    | Annotated[SeriesCommand, tyro.conf.subcommand("series")]
    | Annotated[MergeCommand, tyro.conf.subcommand("merge")]
    | Annotated[PageCommand, tyro.conf.subcommand("page")]
    | Annotated[DescribeCommand, tyro.conf.subcommand("describe")]
)
OVERVIEW = """usage: jaxstruc [--help] [--version] [--traceback] COMMAND ...

Find atomic structures of nanoparticles from measured pair distribution functions (PDFs), and sizes and shapes of
particles from small-angle scattering.

commands for measured data:
  solve             Find the atomic structures of nanoparticles from their PDFs.
  classify          Predict type, size and stacking of nanoparticles from their PDFs within seconds.
  mine              Compare thousands of clusters of a library with PDFs, and rank them (cluster mining).
  refine            Fit your own structures to PDFs, with standard errors.
  saxs              Find size, distribution of sizes and shape of particles from small-angle scattering.
  watch             Analyse the files of a folder while they are measured, and keep the table and the page up to date.
  series            Show the results of many curves against temperature, time or another quantity, with change points.
  merge             Write the summary and the page of a run that several jobs shared with --shard.
  page              Write the page of a folder of results (index.html) anew.
  describe          Print all commands, with --json also their options, for other programs.

commands for simulation and training:
  simulate          Simulate the scattering of clusters, or the small-angle scattering of particles of simple shapes.
  generate          Simulate a data set of PDFs for training.
  train             Train the network that proposes structures.
  train-classifier  Train the classifier.

options:
  -h, --help        Show this help and exit. The help of a command: jaxstruc COMMAND --help.
  --version         Show the version and exit.
  --traceback       Show where in the program an error arose, in addition to the message.

Example: jaxstruc solve sample.gr --element Pt -o out/
"""
"""Help of the program."""
BROKEN_PIPE_STATUS = 141
"""Exit status if the reader of the output ends first, e.g. `head`: 128 plus the number of the signal SIGPIPE."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit.

    The exit status is 0 if the command succeeded, 2 after a mistake of the user, 3 if some of several files failed, 130
    if the user interrupted the command, and 1 after a defect of the program. If the reader of the output ends first,
    e.g. `head`, the program ends silently.
    """
    try:
        try:
            status = _run_arguments(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its exit
        status = BROKEN_PIPE_STATUS
    sys.exit(status)


def parse(arguments: list[str]) -> Command:
    """Return the command with the options that the arguments of the command line state. They are not checked yet.

    Raises:
        SystemExit: For `--help`, or if the arguments are not those of a command.
    """
    return _parse(arguments)


def parse_watch(arguments: list[str]) -> tuple[WatchCommand, WatchedCommand]:
    """Return the command `watch`, and the command that analyses each file with all other options.

    Raises:
        SystemExit: For `--help`, or if the arguments are not those of the two commands.
    """
    watch_command, inner_arguments = _parse(arguments, return_unknown_args=True)
    watch_command.options.check()
    element_arguments = ["--element", watch_command.element] if watch_command.element else []
    inner_command: WatchedCommand = _parse(
        [watch_command.options.with_, *element_arguments, "--out", str(watch_command.out), *inner_arguments]
    )
    if inner_command.files:
        unknown_text = " ".join(map(str, inner_command.files))
        raise ValueError(f"Expected one folder as the first argument of watch, got also {unknown_text}; drop it.")
    is_single = inner_command.average == 1 and not getattr(inner_command, "from_neighbour", False)
    if getattr(inner_command, "shard", "1/1") != "1/1" or not is_single:
        raise ValueError(
            "Expected no --shard, --average or --from-neighbour with watch, which analyses each file alone; drop them."
        )
    return watch_command, inner_command


def _parse(arguments: list[str], *, return_unknown_args: bool = False) -> Any:
    """Return the command that arguments state, and with `return_unknown_args` the arguments that it does not know."""
    registry = ConstructorRegistry()
    registry.primitive_rule(_choice)
    registry.primitive_rule(_optional)
    with registry:
        return tyro.cli(
            _Subcommand,  # type: ignore[call-overload]
            args=arguments,
            prog="jaxstruc",
            config=(tyro.conf.OmitArgPrefixes,),
            return_unknown_args=return_unknown_args,
        )


def _run_arguments(arguments: list[str]) -> int:
    """Run the command that the arguments state, print its errors, and return the exit status."""
    if arguments in (["-h"], ["--help"], ["--version"]):
        print(f"jaxstruc {__version__}" if arguments == ["--version"] else OVERVIEW.rstrip())
        return 0
    if not arguments:
        print(OVERVIEW.rstrip(), file=sys.stderr)
        return 2
    show_traceback = "--traceback" in arguments
    command_arguments = [argument for argument in arguments if argument != "--traceback"]
    is_watch = command_arguments[0] == "watch"
    command: Command | None = None
    try:
        if is_watch:
            return watch(*parse_watch(command_arguments))
        command = parse(command_arguments)
        return _run(command)
    except BrokenPipeError:
        raise
    except (ValueError, FloatingPointError, OSError) as error:
        if show_traceback:
            traceback.print_exc()
        else:
            print(f"jaxstruc: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resume_remark = "Finished results are kept; run the command again to continue."
        restart_remark = "The command starts anew if it is run again."
        remark = resume_remark if is_watch or isinstance(command, ResumableCommand) else restart_remark
        print(f"jaxstruc: interrupted. {remark}", file=sys.stderr)
        return 130


def _run(command: Command) -> int:
    """Check the options of a command, run it, and return the exit status."""
    if isinstance(command, MergeCommand):
        return merge(command)
    if isinstance(command, PageCommand):
        return write_page(command)
    if isinstance(command, DescribeCommand):
        return describe(command)
    command.options.check()
    if isinstance(command, SeriesCommand):
        return show_series(command)
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
    assert not isinstance(command, WatchCommand)  # it is run with the command for its files
    return find_structures(command)


def simulate(config: SimulateCommand) -> int:
    """Simulate clusters or particles of simple shapes, and print or write their curves."""
    from jaxstruc.cli.simulate import simulate_files

    for path, text, output_path, remark in simulate_files(config):
        if remark:
            print(f"jaxstruc: {path}: {remark}", file=sys.stderr)
        signal = config.options.signal or ("iq" if config.bodies.body else "gr")
        print(f"{path}: {signal} written to {output_path}" if output_path else text, end="\n" if output_path else "")
    return 0


def generate(config: GenerateCommand) -> int:
    """Simulate a data set, write it, and print its description."""
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import generate

    with progress.progress_bar("Simulating PDFs") as advance:
        summary = generate(config, progress=advance)
    print(summary)
    return 0


def train(config: TrainCommand) -> int:
    """Train the network for all seeds at once, and write weights and cards."""
    from jaxstruc.cli.train import train

    for line in train(config):
        print(line)
    return 0


def train_classifier(config: TrainClassifierCommand) -> int:
    """Train the classifier, and write its weights and card."""
    from jaxstruc import cache
    from jaxstruc.cli import progress
    from jaxstruc.cli.train import train_classifier_network

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar("Training") as advance:
        summary = train_classifier_network(config, progress=advance)
    print(summary)
    return 0


def classify(config: ClassifyCommand) -> int:
    """Predict types and sizes from measured PDFs, and write the table and the figure."""
    from jaxstruc import cache
    from jaxstruc.cli import progress, solve

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar("Classifying") as advance:
        batch_outcome = solve.classify(config, progress=advance)
    _print_outcome(batch_outcome, solve.closing_lines(batch_outcome, config.out), as_json=config.json)
    return batch_outcome.status


def find_structures(config: SolveCommand | MineCommand | RefineCommand) -> int:
    """Find structures for measured PDFs by `solve`, `mine` or `refine`, and write the results."""
    from jaxstruc import batch, cache
    from jaxstruc.cli import progress, solve
    from jaxstruc.shards import parse_shard

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar(PROGRESS_TITLES[type(config)]) as advance:
        if isinstance(config, RefineCommand):
            batch_outcome = solve.refine(config, progress=advance)
        else:
            batch_outcome = solve.solve(config, progress=advance)
    lines = batch.closing_lines(batch_outcome, config.out, shard=parse_shard(config.shard))
    _print_outcome(batch_outcome, lines, as_json=config.json)
    return batch_outcome.status


def saxs(config: SaxsCommand) -> int:
    """Find sizes and shapes from small-angle scattering, and write the results."""
    from jaxstruc import batch, cache
    from jaxstruc.cli import progress, solve
    from jaxstruc.shards import parse_shard

    cache.set_compilation_cache(config.cache)
    with progress.progress_bar("Fitting") as advance:
        batch_outcome = solve.saxs(config, progress=advance)
    shard = parse_shard(config.shard)
    lines = batch.closing_lines(batch_outcome, config.out, workflow=solve.SAXS_WORKFLOW, shard=shard)
    _print_outcome(batch_outcome, lines, as_json=config.json)
    return batch_outcome.status


def watch(config: WatchCommand, inner_config: WatchedCommand) -> int:
    """Analyse the files of a folder while they are measured. Lines go to stderr if rows are printed as JSON."""
    from jaxstruc import cache
    from jaxstruc.cli import solve

    inner_config.options.check()
    cache.set_compilation_cache(inner_config.cache)
    stream = sys.stderr if inner_config.json else sys.stdout
    return solve.watch(config, inner_config, remark=lambda line: print(line, file=stream, flush=True))


def merge(config: MergeCommand) -> int:
    """Write the summary of a run from the tables of its shards, and print what is missing."""
    from jaxstruc import shards

    table = shards.merge(config.out)
    failed = f", {table.n_failed} of them failed" if table.n_failed else ""
    print(
        f"{table.n_curves - table.n_missing} of {table.n_curves} curves{failed}. Open {config.out / 'index.html'} "
        f"in a browser. See {config.out / 'summary.csv'}."
    )
    if table.n_missing:
        print(f"Not finished: --shard {', '.join(table.unfinished_shards)}.")
    return table.status


def describe(config: DescribeCommand) -> int:
    """Print all commands with their options as JSON, or the overview."""
    import json

    from jaxstruc.cli.describe import describe_command

    if not config.json:
        print(OVERVIEW.rstrip())
        return 0
    commands = {get_args(choice)[1].name: get_args(choice)[0] for choice in get_args(_Subcommand)}
    descriptions = [describe_command(name, command) for name, command in commands.items()]
    print(json.dumps({"program": "jaxstruc", "version": __version__, "commands": descriptions}, indent=1))
    return 0


def write_page(config: PageCommand) -> int:
    """Write the page of a folder of results anew, and print its path."""
    from jaxstruc.report import page

    first_path, *other_paths = page.write_pages(config.out)
    links = f" It links to {len(other_paths)} more." if other_paths else ""
    print(f"Open {first_path} in a browser.{links}")
    return 0


def show_series(config: SeriesCommand) -> int:
    """Write the tables and the page of a series, and print its change points."""
    from jaxstruc.report import series, series_page

    series_of_curves = series.read_series(config.out, config.options)
    paths = series.write_tables(series_of_curves, config.out)
    page_path = series_page.write_page(series_of_curves, config.out)
    for row in series.change_rows(series_of_curves):
        name = series_of_curves.x_name
        print(f"{row['quantity']} changes between {name} {row[f'{name}_before']:g} and {row[name]:g}.")
    print(f"{len(series_of_curves.x)} curves: {series_page.change_summary(series_of_curves)}.")
    print(f"Open {page_path} in a browser. See {', '.join(map(str, paths))}.")
    return 0


def _print_outcome(batch_outcome: "BatchOutcome", lines: Iterable[str], *, as_json: bool) -> None:
    """Print the last lines of a run, or the results as JSON, one line each. The last lines then go to stderr."""
    from jaxstruc.report import tables

    for line in lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    for row in batch_outcome.rows if as_json else ():
        print(tables.json_line(row))


def _choice(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Return the rule that parses an option whose value is one of several names; None for another option.

    The rule accepts any text, because the options are checked later.
    """
    if get_origin(info.type) is not Literal:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(get_args(info.type))}}}",
        instance_from_str=lambda arguments: arguments[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    )


def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Return the rule that parses an option whose value may be None; None for another option.

    The rule is the one for the type of the option without None. An option that accepts a whole number or a name, e.g.
    --frame, accepts any text, because the options are checked later.
    """
    members = get_args(info.type) if get_origin(info.type) in (Union, UnionType) else ()
    value_types = [member for member in members if member is not type(None)]
    if len(value_types) == len(members):
        return None
    specs = [
        ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(value_type, info.markers))
        for value_type in value_types
    ]
    spec = specs[0]
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    if len(specs) > 1:
        names = [name for value_type in value_types for name in get_args(value_type)]
        return dataclasses.replace(
            spec, metavar="|".join([spec.metavar, *names]), instance_from_str=_whole_number_or_text,
            is_instance=lambda value: True, str_from_instance=lambda value: [str(value)],
        )  # fmt: skip
    return dataclasses.replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: [] if value is None else spec.str_from_instance(value),
    )


def _whole_number_or_text(arguments: list[str]) -> int | str:
    """Return an argument as a whole number if it is one, otherwise as text."""
    text = arguments[0]
    return int(text) if text.removeprefix("-").isdecimal() else text
