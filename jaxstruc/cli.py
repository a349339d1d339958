"""The command line, a thin door with heavy imports inside."""

import sys
import traceback
from typing import Annotated

import tyro

from jaxstruc import __version__, settings

Command = (
    Annotated[settings.Simulate, tyro.conf.subcommand("simulate")]
    | Annotated[settings.Generate, tyro.conf.subcommand("generate")]
    | Annotated[settings.Train, tyro.conf.subcommand("train")]
    | Annotated[settings.Solve, tyro.conf.subcommand("solve")]
    | Annotated[settings.Refine, tyro.conf.subcommand("refine")]
    | Annotated[settings.Mine, tyro.conf.subcommand("mine")]
)


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status 0: done; 2: the user's mistake; 3: some files of several failed; 1: a defect."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"jaxstruc {__version__}")
        return
    trace = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    command = tyro.cli(
        Command,  # type: ignore[arg-type]
        args=words,
        prog="jaxstruc",
        description=(
            "Measured pair distribution functions to atomic structures.\n\n"
            "Example: jaxstruc solve sample.gr --element Pt -o out/\n\n"
            "With --traceback an error shows where it arose."
        ),
    )
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


def _run(command) -> int:
    if isinstance(command, settings.Simulate):
        return simulate(command)
    if isinstance(command, settings.Generate):
        return generate(command)
    if isinstance(command, settings.Train):
        return train(command)
    if isinstance(command, settings.Refine):
        return refine(command)
    if isinstance(command, settings.Mine):
        return mine(command)
    return solve(command)


def simulate(config: settings.Simulate) -> int:
    """Simulate clusters and print or write their curves."""
    from jaxstruc import simulated

    for path, text, target in simulated.simulate_files(config):
        if target is None:
            print(text, end="")
        else:
            print(f"{path}: {config.signal} in {target}.")
    return 0


def generate(config: settings.Generate) -> int:
    """Simulate a data set and write it."""
    from jaxstruc import dataset, progress

    with progress.bar("Simulating PDFs") as advance:
        data = dataset.generate(config.preset, seed=config.seed, draws=config.draws, progress=advance)
    dataset.write(data, config.out)
    structures = len(set(zip(data.shape.tolist(), data.bond.tolist(), strict=True)))
    print(
        f"{config.out}: {len(data.pdf)} PDFs of {structures} distinct structures "
        f"({len(data.shapes)} shapes x {structures // len(data.shapes)} bond lengths)."
    )
    return 0


def train(config: settings.Train) -> int:
    """Train the network, all seeds together, and write weights and cards."""
    from jaxstruc import dataset, progress, trained, training

    if config.data is None:
        with progress.bar("Simulating PDFs") as advance:
            data = dataset.generate(config.preset, seed=config.seed, draws=config.draws, progress=advance)
    else:
        data = dataset.read(config.data)
    seeds = training.seeds(config)
    splits = [dataset.split(data, by=config.split, seed=seed) for seed in seeds]
    with progress.bar("Training") as advance:

        def report(epoch, metrics):
            shown = [name for name in ("loss", "pair", "kl", "pdf") if f"validation_{name}" in metrics]
            advance(epoch, config.epochs, "  ".join(f"{name} {metrics[f'validation_{name}']:.4f}" for name in shown))

        params, end = training.fit(data, splits, config, report=report)
    for at, seed in enumerate(seeds):
        folder = config.out / f"seed-{seed}" if config.seeds else config.out
        trained.save(folder / "weights.safetensors", params[at], trained.card(data, splits[at], config, end, at=at))
        print(
            f"{folder / 'weights.safetensors'}: validation loss {end.best[at]:.4f} "
            f"after {end.best_epoch[at]} of {end.epoch} epochs."
        )
    return 0


def solve(config: settings.Solve) -> int:
    """Solve measured PDFs and write the results."""
    from jaxstruc import pipeline, progress, report

    with progress.bar("Solving") as advance:
        outcome = pipeline.solve_files(config, progress=advance, show=report.print_settings)
    for line in ending(outcome, config):
        print(line)
    return outcome.status


def refine(config: settings.Refine) -> int:
    """Refine clusters against a measured PDF, print the values and write the results."""
    from jaxstruc import refined, report

    for line in refined.refine_files(config, show=report.print_settings):
        print(line)
    return 0


def mine(config: settings.Mine) -> int:
    """Mine measured PDFs and write the results."""
    from jaxstruc import mined, progress, report

    with progress.bar("Mining") as advance:
        outcome = mined.mine_files(config, progress=advance, show=report.print_settings)
    for row in outcome.rows:
        if row["status"] == "failed":
            print(f"{row['file']}: failed: {row['message']}")
            continue
        remark = f" ({row['message']})" if row["message"] else ""
        print(
            f"{row['file']}: {row['family']} {row['label']}, {config.element}{row['n_atoms']}, "
            f"Rw {float(row['rw']):.3f}, {row['ties']} in the 90 % set{remark}"
        )
    print(f"{len(outcome.rows)} files, {outcome.skipped} of them done before; see {config.out / 'summary.csv'}.")
    return outcome.status


def ending(outcome, config: settings.Solve) -> list[str]:
    """Return what a person wants to know of a run, a line a finding."""
    rows = outcome.rows
    solved = [row for row in rows if row["status"] == "solved"]
    failed = [row for row in rows if row["status"] == "failed"]
    lines = [f"{row['file']}: failed: {row['message']}" for row in failed]
    for row in solved[:20]:
        line = f"{row['file']}: {config.element}{row['n_atoms']}, Rw {float(row['rw']):.3f}"
        if row.get("rw_mined"):
            line += f"; best of {row['mined'].split()[0]} clusters {config.element}{row['mined_atoms']}, "
            line += f"Rw {float(row['rw_mined']):.3f}"
        lines.append(line + (f" ({row['message']})" if row["message"] else ""))
    before = f", {outcome.skipped} of them before" if outcome.skipped else ""
    beyond = sum("outside training" in row["message"] for row in solved)
    lines.append(
        f"{len(solved)} of {len(rows)} files solved{before}"
        + (f", {beyond} outside what the model was trained on" if beyond else "")
        + (f", {len(failed)} failed" if failed else "")
        + f"; see {config.out / 'summary.csv'}, best/, candidates/ and fits/ beside it."
    )
    return lines
