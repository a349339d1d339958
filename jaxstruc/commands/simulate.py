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
from jaxstruc.commands import settings
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.simulate import simulate
from jaxstruc.structures import atoms as structures
from jaxstruc.structures import populations

LABELS = {
    "iq": ("Q [1/Å]", "I [f², whole cluster]"),
    "sq": ("Q [1/Å]", "S"),
    "fq": ("Q [1/Å]", "F [1/Å]"),
    "gr": ("r [Å]", "G [1/Å²]"),
}
NEEDED = ("element", "mean", "width")
DISTRIBUTION = (*NEEDED, "distribution", "members", "seed")
"""Options of a distribution of particles; those that it needs."""
POINTS = 1_000_000
"""Most points of a curve."""


def simulate_files(config: settings.Simulate) -> Iterator[tuple[Path, str, Path | None]]:
    """Yield each cluster's file, its curve as text, and where that was written.

    Raises:
        ValueError: for settings or files that cannot be, with what was expected.
    """
    _check(config)
    if config.family is not None:
        yield _population(config)
        return
    several = len(config.files) > 1
    if several and config.out is None:
        raise ValueError(f"Expected a folder for the curves of {len(config.files)} clusters, got none; pass -o FOLDER.")
    if several and config.out is not None and config.out.is_file():
        raise ValueError(f"Expected a folder for the curves of several clusters, got the file {config.out}.")
    if several and len({path.stem for path in config.files}) < len(config.files):
        raise ValueError("Expected clusters with different file names, got one twice; their curves are named by them.")
    clusters = [read(path, cluster=config.cluster) for path in config.files]
    for path, atoms in zip(config.files, clusters, strict=True):
        x, y, used = curve(atoms, config)
        text = as_text(x, y, path, used)
        target = config.out
        if target is not None:
            if several or target.is_dir():
                target = target / f"{path.stem}.{config.signal}"
            files.write_text(target, text)
        if config.plot:
            name = target or Path(f"{path.stem}.{config.signal}")
            draw(x, y, name.with_name(f"{name.name}.png"), config.signal, f"{path.stem}, {atoms.symbols}")
        yield path, text, target


def _population(config: settings.Simulate) -> tuple[Path, str, Path | None]:
    """Return a name for a distribution of particles, its curve as text, and where that was written."""
    packing, element = str(config.family), str(config.element)
    mean, width, shape = float(config.mean or 0), float(config.width or 0), config.distribution or "lognormal"
    members, seed, bond = config.members or 32, config.seed or 0, form_factors.bond_length(element)
    config = dataclasses.replace(config, distribution=shape, members=members, seed=seed)
    found = populations.population(packing, mean=mean / bond, width=width, shape=shape, members=members, seed=seed)
    x, y, used = curve([one.atoms(element, bond) for one in found.clusters], config)
    held = f"mean {found.mean * bond:.6g} Å, width {found.width:.6g} of {len(found.clusters)} balls, weighted by volume"
    text = as_text(x, y, None, used, held)
    name = Path(f"{element}_{packing}_{shape}.{config.signal}")
    target = config.out / name if config.out is not None and config.out.is_dir() else config.out
    if target is not None:
        files.write_text(target, text)
    if config.plot:
        drawn = target or name
        draw(x, y, drawn.with_name(f"{drawn.name}.png"), config.signal, f"{element}, {packing}, {held}")
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
    atoms: ase.Atoms | list[ase.Atoms], config: settings.Simulate
) -> tuple[Float[np.ndarray, " x"], Float[np.ndarray, " x"], settings.Simulate]:
    """Return Q or r, the curve in double precision, and the settings with all values filled in.

    Raises:
        ValueError: for an element or ion that is in no table.
    """
    uiso = config.uiso if config.biso is None else config.biso / (8 * np.pi**2)
    found = simulate(
        atoms, signal=config.signal, qmin=config.qmin, qmax=config.qmax, qstep=config.qstep,
        rmin=config.rmin, rmax=config.rmax, rstep=config.rstep, qdamp=config.qdamp, qbroad=config.qbroad,
        uiso=uiso, delta1=config.delta1, delta2=config.delta2,
        probe=config.probe, ions=config.ions, window=config.window,
    )  # fmt: skip
    return found.x, found.y, dataclasses.replace(config, qstep=found.qstep, uiso=uiso, biso=None)


def as_text(x, y, path: Path | None, used: settings.Simulate, *more: str) -> str:
    """Return the two columns with 15 digits, under a header whose first line is the command that makes them again."""
    words = ["jaxstruc", "simulate", *([str(path)] if path else []), *settings.words(used)]
    header = [shlex.join(words), f"jaxstruc {__version__}, float64", *more, "  ".join(LABELS[used.signal])]
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


def _check(config: settings.Simulate) -> None:
    """Refuse settings that cannot be."""
    given = dataclasses.asdict(config)
    asked = [name for name in DISTRIBUTION if given[name] is not None]
    if config.family is None and asked:
        raise ValueError(f"Expected --family with --{asked[0]}, got none; name a packing, as --family fcc.")
    if config.family is None and not config.files:
        raise ValueError("Expected at least one structure file, or --family, got none.")
    if config.family is not None and config.files:
        raise ValueError(f"Expected structure files or --family, got both; drop {config.files[0]} or --family.")
    if config.family is not None and (missing := [f"--{name}" for name in NEEDED if given[name] is None]):
        raise ValueError(f"Expected {', '.join(missing)} with --family, got none.")
    if config.biso is not None and config.uiso != settings.Simulate.uiso:
        raise ValueError("Expected --uiso or --biso, got both; B = 8 pi^2 U.")
    for name in ("uiso", "biso", "delta1", "delta2", "qdamp", "qbroad", "qmin", "rmin"):
        value = given[name]
        if value is not None and not 0 <= value < np.inf:
            raise ValueError(f"Expected --{name} of at least 0, got {value:g}.")
    for axis in "qr":
        low, high, step = (given[f"{axis}{end}"] for end in ("min", "max", "step"))
        if not low < high < np.inf:
            raise ValueError(f"Expected {axis}min < {axis}max, got {low:g} and {high:g}.")
        if step is not None and not 0 < step <= high - low:
            raise ValueError(
                f"Expected --{axis}step above 0 and at most {axis}max - {axis}min = {high - low:g}, got {step:g}."
            )
        if step is not None and (high - low) / step > POINTS:
            raise ValueError(f"Expected at most {POINTS} points, got {(high - low) / step:.0f}; raise --{axis}step.")
    if config.ions and config.probe == "neutron":
        raise ValueError("Expected --ions with --probe xray, got neutron: neutrons see the nucleus alone.")
