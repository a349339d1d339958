"""The command `simulate`: curves of structure files, of distributions of particles, and of bodies, as text.

A body is a shape of uniform density, e.g. a sphere or a cube, whose small-angle scattering is simulated.
"""

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ase
import matplotlib.figure
import numpy as np
from jaxtyping import Float

from jaxstruc import __version__, files
from jaxstruc.clusters import polydisperse
from jaxstruc.clusters.structure_files import MAX_OCCUPANCY_ERROR, REMARKS, make_whole, read_atoms, split_frames
from jaxstruc.options.simulation import Signal, SimulateCommand, SimulateOptions
from jaxstruc.options.small_angle import SAXS_QMAX, SAXS_QMIN
from jaxstruc.options.validation import Options, command_arguments, override
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.simulate import scattering_sites, simulate, uiso_of
from jaxstruc.small_angle.simulate import simulate_saxs

BODY_LABELS = ("Q [1/Å]", "I [1/cm]", "dQ [1/Å]")
LABELS = {
    "iq": ("Q [1/Å]", "I [f², whole cluster]"),
    "sq": ("Q [1/Å]", "S"),
    "fq": ("Q [1/Å]", "F [1/Å]"),
    "gr": ("r [Å]", "G [1/Å²]"),
}


class SimulatedFile(NamedTuple):
    """A simulated curve as text."""

    path: Path
    """Structure file, or a name for a simulation without a file."""
    text: str
    """Header and columns of the curve."""
    output_path: Path | None
    """File that the curve was written to."""
    remark: str = ""
    """Remark on the structure, e.g. that its pieces were joined."""


def simulate_files(config: SimulateCommand) -> Iterator[SimulatedFile]:
    """Yield the curve of each structure file, of a population, or of a simple shape.

    Raises:
        ValueError: If options contradict each other, or if a file cannot be read.
    """
    _check(config)
    if config.bodies.body is not None:
        yield _simulate_body(config)
        return
    if config.population.family is not None:
        yield _simulate_population(config)
        return
    signal = config.options.signal or "gr"
    clusters = [read_cluster(path, cluster=config.cluster) for path in config.files]
    for path, (atoms, remark) in zip(config.files, clusters, strict=True):
        x, y, options = simulated_curve(atoms, config.options)
        arguments = [
            str(path),
            *command_arguments(options, include_defaults=True),
            *(["--cluster"] if config.cluster else []),
        ]
        text = as_text(x, y, arguments, signal, *filter(None, [remark]))
        target = config.out
        if target is not None:
            if len(config.files) > 1 or target.is_dir():
                target = target / f"{structure_stem(path)}.{signal}"
            files.write_text(target, text)
        if config.plot:
            name, stem = target or Path(f"{structure_stem(path)}.{signal}"), structure_stem(path)
            _draw_signal(x, y, name.with_name(f"{name.name}.png"), signal, f"{stem}, {atoms.symbols}")
        yield SimulatedFile(path, text, target, remark)


def _simulate_population(config: SimulateCommand) -> SimulatedFile:
    """Return the curve of a distribution of particles."""
    population, signal = config.population, config.options.signal or "gr"
    population = dataclasses.replace(
        population,
        distribution=population.distribution or "lognormal",
        members=population.members or 32,
        seed=population.seed or 0,
    )
    packing, element, shape = str(population.family), str(population.element), str(population.distribution)
    mean, width, bond = float(population.mean or 0), float(population.width or 0), form_factors.bond_length(element)
    particles = polydisperse.particle_population(
        packing,
        mean=mean / bond,
        width=width,
        shape=shape,
        n_particles=population.members or 32,
        seed=population.seed or 0,
    )
    x, y, options = simulated_curve([cluster.to_ase(element, bond) for cluster in particles.clusters], config.options)
    size_text = (
        f"mean {particles.mean * bond:.6g} Å, width {particles.width:.6g} of {len(particles.clusters)} "
        "particles, weighted by volume"
    )
    arguments = [
        *command_arguments(population, include_defaults=True),
        *command_arguments(options, include_defaults=True),
    ]
    text = as_text(x, y, arguments, signal, size_text)
    name = Path(f"{element}_{packing}_{shape}.{signal}")
    target = config.out / name if config.out is not None and config.out.is_dir() else config.out
    if target is not None:
        files.write_text(target, text)
    if config.plot:
        picture = target or name
        _draw_signal(x, y, picture.with_name(f"{picture.name}.png"), signal, f"{element}, {packing}, {size_text}")
    return SimulatedFile(name, text, target)


def _simulate_body(config: SimulateCommand) -> SimulatedFile:
    """Return the small-angle scattering of particles of a simple shape."""
    options, particles = config.options, config.bodies.particles
    body, radius, pd = config.bodies.body or "sphere", float(config.bodies.radius or 0), float(config.bodies.pd or 0)
    distribution = config.population.distribution or "gaussian"
    qmin, qmax = override(options.qmin, SAXS_QMIN), override(options.qmax, SAXS_QMAX)
    x, y, qstep = simulate_saxs(
        body, radius=radius, pd=pd, distribution=distribution, qmin=qmin, qmax=qmax, qstep=options.qstep,
        options=particles,
    )  # fmt: skip
    values = {"body": body, "radius": radius, "pd": pd, "distribution": distribution}
    values |= {"qmin": qmin, "qmax": qmax, "qstep": qstep}
    arguments = [argument for name, value in values.items() for argument in (f"--{name}", str(value))]
    text = _body_text(x, y, [*arguments, *command_arguments(particles, include_defaults=True)], dq=particles.dq)
    name = Path(f"{body}.dat")
    target = config.out / name if config.out is not None and config.out.is_dir() else config.out
    if target is not None:
        files.write_text(target, text)
    if config.plot:
        picture = target or name
        title = f"{body}, radius {radius:g} Å, pd {pd:g} ({distribution})"
        draw(x, y, picture.with_name(f"{picture.name}.png"), BODY_LABELS[:2], title, logarithmic=True)
    return SimulatedFile(name, text, target)


def _body_text(x, y, arguments: list[str], *, dq: float) -> str:
    """Return the columns Q, I and, for a smeared curve, dQ, under a header whose first line is the command."""
    columns = [x, y, *([np.full(len(x), dq)] if dq else [])]
    header = [shlex.join(["jaxstruc", "simulate", *arguments])]
    header += [f"jaxstruc {__version__}, float64", "  ".join(BODY_LABELS[: len(columns)])]
    rows = [" ".join(f"{value:.15g}" for value in row) for row in zip(*columns, strict=True)]
    return "\n".join([*(f"# {line}" for line in header), *rows]) + "\n"


def structure_stem(path: Path) -> str:
    """Return the name of the curve of a structure: the stem of its file, with the number of a selected frame."""
    path, frame = split_frames(path)
    return f"{path.stem}-{frame}" if frame else path.stem


def read_cluster(path: Path, *, cluster: bool) -> tuple[ase.Atoms, str]:
    """Return the atoms of a structure file in any format that ASE reads, and a remark on them or an empty string.

    Pieces of a cluster are joined through the faces of its unit cell.

    Args:
        path: Path of the file.
        cluster: Whether the atoms in the unit cell of a crystal are taken as a cluster.

    Raises:
        ValueError: If the file cannot be read, if it has several structures and none is selected, if the structure
            repeats periodically although `cluster` is False, or if its atoms or occupancies are not valid.
    """
    atoms = read_atoms(path)
    whole = make_whole(atoms, str(path))
    if atoms.pbc.any() and (whole.is_crystal or whole.n_pieces != 1) and not cluster:
        raise ValueError(f"Expected a cluster, got {path} with a periodic cell; pass --cluster to ignore the cell.")
    cluster_sites = scattering_sites(whole.atoms, str(path))
    remarks = [*whole.atoms.info.get(REMARKS, ())]
    if any(len(site) > 1 or sum(site.values()) < 1 - MAX_OCCUPANCY_ERROR for site in cluster_sites.occupancies):
        remarks.append("sites with partial occupancy have mean form factors")
    return whole.atoms, "; ".join(remarks)


def simulated_curve(
    atoms: ase.Atoms | list[ase.Atoms], options: SimulateOptions
) -> tuple[Float[np.ndarray, " x"], Float[np.ndarray, " x"], SimulateOptions]:
    """Return Q or r, the curve in double precision, and the options with the values that were used in place of None.

    Raises:
        ValueError: If an element or ion is not in the tables.
    """
    x, y, qstep = simulate(atoms, options=options)
    qmin, qmax = options.q_range
    return (
        x,
        y,
        dataclasses.replace(
            options, signal=options.signal or "gr", qmin=qmin, qmax=qmax, qstep=qstep, uiso=uiso_of(options), biso=None
        ),
    )


def as_text(x, y, arguments: list[str], signal: Signal, *extra_lines: str) -> str:
    """Return the columns x and y with 15 digits, under a header whose first line is the command that computes them."""
    header = [shlex.join(["jaxstruc", "simulate", *arguments])]
    header += [f"jaxstruc {__version__}, float64", *extra_lines, "  ".join(LABELS[signal])]
    rows = [f"{a:.15g} {b:.15g}" for a, b in zip(x, y, strict=True)]
    return "\n".join([*(f"# {line}" for line in header), *rows]) + "\n"


def draw(
    x, y, target: Path, labels: tuple[str, ...], title: str, *, logarithmic: bool = False, zero: float = 0.0
) -> None:
    """Write a figure of the curve, with a logarithmic axis, or with a horizontal line at the height `zero`."""
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, y, linewidth=1)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.axhline(zero, color="0.8", linewidth=0.8, zorder=0)
    axes.margins(x=0)
    with files.atomic_replacement(target) as part:
        figure.savefig(part, format="png", dpi=150)


def _draw_signal(x, y, target: Path, signal: Signal, title: str) -> None:
    """Write a figure of the curve of a cluster."""
    draw(x, y, target, LABELS[signal], title, logarithmic=signal == "iq", zero=1.0 if signal == "sq" else 0.0)


def _check(config: SimulateCommand) -> None:
    """Raise an error if arguments contradict each other."""
    config.bodies.check()
    if config.bodies.body is not None:
        _check_body(config)
        return
    config.population.check()
    family, several = config.population.family, len(config.files) > 1
    if family is None and not config.files:
        raise ValueError("Expected a structure file, --family or --body, got none; name a file.")
    if family is not None and config.files:
        raise ValueError(f"Expected structure files or --family, got both; drop {config.files[0]} or --family.")
    if several and config.out is None:
        raise ValueError(f"Expected a folder for the curves of {len(config.files)} clusters, got none; pass -o FOLDER.")
    if several and config.out is not None and config.out.is_file():
        raise ValueError(
            f"Expected a folder for the curves of several clusters, got the file {config.out}; pass another -o."
        )
    stems = [structure_stem(path) for path in config.files]
    if repeated := next((stem for stem in stems if stems.count(stem) > 1), ""):
        raise ValueError(f"Expected a different name for each structure file, got {repeated} twice; rename one file.")


def _check_body(config: SimulateCommand) -> None:
    """Raise an error if options of clusters are given together with a body."""
    unused = [
        *(["structure files"] if config.files else []),
        *(["--cluster"] if config.cluster else []),
        *_changed_flags(dataclasses.replace(config.population, distribution=None)),
        *_changed_flags(dataclasses.replace(config.options, qmin=None, qmax=None, qstep=None, signal=None)),
    ]
    if unused:
        raise ValueError(f"Expected --body without {unused[0]}, got both; drop one of them.")
    if config.options.signal not in (None, "iq"):
        raise ValueError(f"Expected --signal iq with --body, got {config.options.signal}; drop it.")


def _changed_flags(options: Options) -> list[str]:
    """Return the flags of options that differ from their default."""
    return [argument for argument in command_arguments(options, include_defaults=False) if argument.startswith("--")]
