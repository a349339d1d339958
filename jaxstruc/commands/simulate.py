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
from jaxstruc.scattering import form_factors, smallangle
from jaxstruc.scattering.options import SAXS_QMAX, SAXS_QMIN, SimulateSaxsOptions
from jaxstruc.scattering.simulate import simulate
from jaxstruc.structures import atoms as structures
from jaxstruc.structures import populations

BODY_LABELS = ("Q [1/Å]", "I [1/cm]", "dQ [1/Å]")
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
CLUSTER_RANGE = (0.0, 25.0)
"""1/Å. Q of a cluster."""
BODY_SETTINGS = ("body", "radius", "pd", "distribution", "qmin", "qmax", "qstep", "signal", "particles", "out", "plot")
"""Options of a body's small-angle scattering."""


def simulate_files(config: settings.Simulate) -> Iterator[tuple[Path, str, Path | None]]:
    """Yield each cluster's file, its curve as text, and where that was written.

    Raises:
        ValueError: for settings or files that cannot be, with what was expected.
    """
    if config.body is not None:
        yield _body(config)
        return
    config = _with_defaults(config)
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
            _draw_signal(x, y, name.with_name(f"{name.name}.png"), str(config.signal), f"{path.stem}, {atoms.symbols}")
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
        title = f"{element}, {packing}, {held}"
        _draw_signal(x, y, drawn.with_name(f"{drawn.name}.png"), str(config.signal), title)
    return name, text, target


def _with_defaults(config: settings.Simulate) -> settings.Simulate:
    """Return the settings of clusters with signal and range of Q filled in."""
    low, high = CLUSTER_RANGE
    return dataclasses.replace(
        config,
        signal=config.signal or "gr",
        qmin=low if config.qmin is None else config.qmin,
        qmax=high if config.qmax is None else config.qmax,
    )


def _body(config: settings.Simulate) -> tuple[Path, str, Path | None]:
    """Return a name for the particles of a body, their small-angle scattering as text, and where that was written."""
    config = _body_settings(config)
    radius, pd, distribution = float(config.radius or 0), float(config.pd or 0), str(config.distribution)
    x, y, qstep = smallangle.simulate_saxs(
        str(config.body), radius=radius, pd=pd, distribution=distribution, qmin=float(config.qmin or 0),
        qmax=float(config.qmax or 0), qstep=config.qstep, options=config.particles,
    )  # fmt: skip
    config = dataclasses.replace(config, qstep=qstep)
    name = Path(f"{config.body}.dat")
    target = config.out / name if config.out is not None and config.out.is_dir() else config.out
    text = _body_text(x, y, config)
    if target is not None:
        files.write_text(target, text)
    if config.plot:
        picture = target or name
        title = f"{config.body}, radius {radius:g} Å, pd {pd:g} ({distribution})"
        draw(x, y, picture.with_name(f"{picture.name}.png"), BODY_LABELS[:2], title, logarithmic=True)
    return name, text, target


def _body_settings(config: settings.Simulate) -> settings.Simulate:
    """Return the settings of a body with all values filled in.

    Raises:
        ValueError: for options that belong to clusters, or a missing radius.
    """
    unused = settings.Simulate()
    for name in (field.name for field in dataclasses.fields(config) if field.name not in BODY_SETTINGS):
        if getattr(config, name) != getattr(unused, name):
            raise ValueError(f"Expected --body without {_option(name)}, got both; drop one of them.")
    if config.signal not in (None, "iq"):
        raise ValueError(f"Expected --signal iq with --body, got {config.signal}; drop it.")
    if config.radius is None:
        raise ValueError("Expected --radius with --body, got none.")
    return dataclasses.replace(
        config,
        pd=config.pd or 0.0,
        distribution=config.distribution or "gaussian",
        qmin=SAXS_QMIN if config.qmin is None else config.qmin,
        qmax=SAXS_QMAX if config.qmax is None else config.qmax,
    )


def _option(name: str) -> str:
    return "structure files" if name == "files" else "--" + name.replace("_", "-")


def _body_text(x, y, config: settings.Simulate) -> str:
    """Return the columns Q, I and, if it smears the curve, dQ, under a header whose first line makes them again."""
    others = [field.name for field in dataclasses.fields(config) if field.name not in BODY_SETTINGS]
    words = [
        "jaxstruc", "simulate", *settings.words(config, skip=(*others, "particles", "signal")),
        *settings.words(config.particles),
    ]  # fmt: skip
    columns = [x, y, *([np.full(len(x), config.particles.dq)] if config.particles.dq else [])]
    labels = BODY_LABELS[: len(columns)]
    header = [shlex.join(words), f"jaxstruc {__version__}, float64", "  ".join(labels)]
    rows = [" ".join(f"{value:.15g}" for value in row) for row in zip(*columns, strict=True)]
    return "\n".join([*(f"# {line}" for line in header), *rows]) + "\n"


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
    qmin, qmax = float(config.qmin or 0), float(config.qmax or 0)
    found = simulate(
        atoms, signal=str(config.signal), qmin=qmin, qmax=qmax, qstep=config.qstep,
        rmin=config.rmin, rmax=config.rmax, rstep=config.rstep, qdamp=config.qdamp, qbroad=config.qbroad,
        uiso=uiso, delta1=config.delta1, delta2=config.delta2,
        probe=config.probe, ions=config.ions, window=config.window,
    )  # fmt: skip
    return found.x, found.y, dataclasses.replace(config, qstep=found.qstep, uiso=uiso, biso=None)


def as_text(x, y, path: Path | None, used: settings.Simulate, *more: str) -> str:
    """Return the two columns with 15 digits, under a header whose first line is the command that makes them again."""
    options = settings.words(used, skip=("particles",))
    words = ["jaxstruc", "simulate", *([str(path)] if path else []), *options]
    header = [shlex.join(words), f"jaxstruc {__version__}, float64", *more, "  ".join(LABELS[str(used.signal)])]
    rows = [f"{a:.15g} {b:.15g}" for a, b in zip(x, y, strict=True)]
    return "\n".join([*(f"# {line}" for line in header), *rows]) + "\n"


def draw(
    x, y, target: Path, labels: tuple[str, ...], title: str, *, logarithmic: bool = False, zero: float = 0.0
) -> None:
    """Write a picture of the curve, with a line at its zero or with a logarithmic axis."""
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, y, linewidth=1)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.axhline(zero, color="0.8", linewidth=0.8, zorder=0)
    axes.margins(x=0)
    with files.replacing(target) as part:
        figure.savefig(part, format="png", dpi=150)


def _draw_signal(x, y, target: Path, signal: str, title: str) -> None:
    """Write a picture of a cluster's curve."""
    draw(x, y, target, LABELS[signal], title, logarithmic=signal == "iq", zero=1.0 if signal == "sq" else 0.0)


def _check(config: settings.Simulate) -> None:
    """Refuse settings that cannot be."""
    given = dataclasses.asdict(config)
    for name in ("radius", "pd"):
        if given[name] is not None:
            raise ValueError(f"Expected --body with --{name}, got none; name a body, e.g. --body sphere.")
    if config.particles != SimulateSaxsOptions():
        raise ValueError("Expected --body with options of small-angle scattering, got none; e.g. --body sphere.")
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
