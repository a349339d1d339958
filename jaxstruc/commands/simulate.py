"""Structure files to curves in files: what `jaxstruc simulate` does."""

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path

import ase
import matplotlib.figure
import numpy as np
from jaxtyping import Float

from jaxstruc import __version__, files
from jaxstruc.commands import arguments
from jaxstruc.options.simulation import Signal, SimulateOptions
from jaxstruc.options.validation import command_words
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.simulate import simulate, uiso_of
from jaxstruc.structures import atoms as structures
from jaxstruc.structures import populations

LABELS = {
    "iq": ("Q [1/Å]", "I [f², whole cluster]"),
    "sq": ("Q [1/Å]", "S"),
    "fq": ("Q [1/Å]", "F [1/Å]"),
    "gr": ("r [Å]", "G [1/Å²]"),
}


def simulate_files(config: arguments.Simulate) -> Iterator[tuple[Path, str, Path | None]]:
    """Yield each cluster's file, its curve as text, and where that was written.

    Raises:
        ValueError: for settings or files that cannot be, with what was expected.
    """
    _check(config)
    if config.population.family is not None:
        yield _population(config)
        return
    signal = config.options.signal
    clusters = [read(path, cluster=config.cluster) for path in config.files]
    for path, atoms in zip(config.files, clusters, strict=True):
        x, y, options = curve(atoms, config.options)
        words = [str(path), *command_words(options, defaults=True), *(["--cluster"] if config.cluster else [])]
        text = as_text(x, y, words, signal)
        target = config.out
        if target is not None:
            if len(config.files) > 1 or target.is_dir():
                target = target / f"{path.stem}.{signal}"
            files.write_text(target, text)
        if config.plot:
            name = target or Path(f"{path.stem}.{signal}")
            draw(x, y, name.with_name(f"{name.name}.png"), signal, f"{path.stem}, {atoms.symbols}")
        yield path, text, target


def _population(config: arguments.Simulate) -> tuple[Path, str, Path | None]:
    """Return a name for a distribution of particles, its curve as text, and where that was written."""
    given, signal = config.population, config.options.signal
    given = dataclasses.replace(
        given, distribution=given.distribution or "lognormal", members=given.members or 32, seed=given.seed or 0
    )
    packing, element, shape = str(given.family), str(given.element), str(given.distribution)
    mean, width, bond = float(given.mean or 0), float(given.width or 0), form_factors.bond_length(element)
    found = populations.population(
        packing, mean=mean / bond, width=width, shape=shape, members=given.members or 32, seed=given.seed or 0
    )
    x, y, options = curve([one.atoms(element, bond) for one in found.clusters], config.options)
    held = f"mean {found.mean * bond:.6g} Å, width {found.width:.6g} of {len(found.clusters)} balls, weighted by volume"
    words = [*command_words(given, defaults=True), *command_words(options, defaults=True)]
    text = as_text(x, y, words, signal, held)
    name = Path(f"{element}_{packing}_{shape}.{signal}")
    target = config.out / name if config.out is not None and config.out.is_dir() else config.out
    if target is not None:
        files.write_text(target, text)
    if config.plot:
        picture = target or name
        draw(x, y, picture.with_name(f"{picture.name}.png"), signal, f"{element}, {packing}, {held}")
    return name, text, target


def read(path: Path, *, cluster: bool) -> ase.Atoms:
    """Return the atoms of a structure file that ASE knows.

    Raises:
        ValueError: where it cannot be read (see `atoms.read`), or repeats periodically and `cluster` is False.
    """
    atoms = structures.read(path)
    if atoms.pbc.any() and not cluster:
        raise ValueError(
            f"Expected a cluster, got {path} with a periodic cell; pass --cluster to take its atoms as a cluster "
            "and ignore the cell."
        )
    return atoms


def curve(
    atoms: ase.Atoms | list[ase.Atoms], options: SimulateOptions
) -> tuple[Float[np.ndarray, " x"], Float[np.ndarray, " x"], SimulateOptions]:
    """Return Q or r, the curve in double precision, and the options with all values filled in.

    Raises:
        ValueError: for an element or ion that is in no table.
    """
    x, y, qstep = simulate(atoms, options=options)
    return x, y, dataclasses.replace(options, qstep=qstep, uiso=uiso_of(options), biso=None)


def as_text(x, y, words: list[str], signal: Signal, *more: str) -> str:
    """Return the two columns with 15 digits, under a header whose first line is the command that makes them again."""
    header = [shlex.join(["jaxstruc", "simulate", *words])]
    header += [f"jaxstruc {__version__}, float64", *more, "  ".join(LABELS[signal])]
    rows = [f"{a:.15g} {b:.15g}" for a, b in zip(x, y, strict=True)]
    return "\n".join([*(f"# {line}" for line in header), *rows]) + "\n"


def draw(x, y, target: Path, signal: str, title: str) -> None:
    """Write a picture of the curve."""
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, y, linewidth=1)
    axes.set(xlabel=LABELS[signal][0], ylabel=LABELS[signal][1], title=title)
    if signal == "iq":
        axes.set_yscale("log")
    else:
        axes.axhline(1.0 if signal == "sq" else 0.0, color="0.8", linewidth=0.8, zorder=0)
    axes.margins(x=0)
    with files.replacing(target) as part:
        figure.savefig(part, format="png", dpi=150)


def _check(config: arguments.Simulate) -> None:
    """Refuse arguments that contradict each other."""
    config.population.check()
    family, several = config.population.family, len(config.files) > 1
    if family is None and not config.files:
        raise ValueError("Expected at least one structure file, or --family, got none.")
    if family is not None and config.files:
        raise ValueError(f"Expected structure files or --family, got both; drop {config.files[0]} or --family.")
    if several and config.out is None:
        raise ValueError(f"Expected a folder for the curves of {len(config.files)} clusters, got none; pass -o FOLDER.")
    if several and config.out is not None and config.out.is_file():
        raise ValueError(f"Expected a folder for the curves of several clusters, got the file {config.out}.")
    if several and len({path.stem for path in config.files}) < len(config.files):
        raise ValueError("Expected clusters with different file names, got one twice; their curves are named by them.")
