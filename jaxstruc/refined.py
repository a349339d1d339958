"""The file-facing door of `refinement`: clusters and a measured PDF to values with errors."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import ase
import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import pdist

from jaxstruc import (
    coordinates,
    form_factors,
    jobs,
    library,
    measured,
    observed,
    refinement,
    report,
    settings,
    templates,
)
from jaxstruc.jobs import Job
from jaxstruc.mined import VALUES, values
from jaxstruc.observed import Target
from jaxstruc.refinement import Fit
from jaxstruc.templates import Histogram, Span, Template

SUMMARY = (*"cluster n_atoms rw rw_coordinates moved converged remark".split(), *VALUES)
"""Columns of summary.csv: one row a cluster. `moved` in Å, root mean square."""


def refine_files(config: settings.Refine, *, show: Callable[[str, Any], None]) -> Iterator[str]:
    """Refine each cluster against the data, write `config.out`, and yield what there is to say, line by line.

    Args:
        config: what to do.
        show: called with a title and the settings of the data.

    Raises:
        ValueError: for bad input; nothing is written then.
    """
    *clusters, data = config.files
    if not clusters:
        raise ValueError("Expected structure files and then the measured PDF, got one file; name both.")
    jobs.check_free(config.free)
    if config.coordinates and not config.restraint > 0:
        raise ValueError(f"Expected a restraint above 0 Å, got {config.restraint:g}; pass another --restraint.")
    read = [library.read_cluster(path) for path in clusters]
    bonds = [form_factors.bond_length(atoms.get_chemical_symbols()[0]) for atoms in read]
    measurement = measured.read(data)
    given = {name: getattr(config, name) for name in jobs.GIVEN}
    job = Job(data, data.stem, measurement, measured.resolve(measurement, given=given, bond=min(bonds)))
    observed.independent_points(
        job.curve[0], qmin=job.given["qmin"], qmax=job.given["qmax"], background=config.background
    )
    show(f"{data.name} ({measurement.format})", job.settings)
    span = jobs.span([job], diameter=max(float(pdist(atoms.positions).max()) for atoms in read))
    rows: list[dict[str, Any]] = []
    stems = jobs.stems(clusters)
    for path, stem, atoms, bond in zip(clusters, stems, read, bonds, strict=True):
        rows.append({"cluster": str(path), **_refine(stem, atoms, job, config, bond=bond, span=span)})
        report.write_table(config.out / "summary.csv", SUMMARY, rows)
        yield _line(rows[-1], config)
    ends = [row.get("rw_coordinates", row["rw"]) for row in rows]
    best = rows[int(np.argmin(np.where(np.isfinite(ends), ends, np.inf)))]
    yield f"best: {best['cluster']}; see {config.out / 'summary.csv'}, fits/, correlations/ and structures/ beside it."


def _refine(
    stem: str, atoms: ase.Atoms, job: Job, config: settings.Refine, *, bond: float, span: Span
) -> dict[str, Any]:
    """Fit one cluster, write its results and return its row."""
    target = jobs.target(job, bond=bond, span=span, background=config.background)
    positions = jnp.asarray(atoms.positions - atoms.positions.mean(axis=0), jnp.float32)
    free = tuple(config.free)
    fit, tables = _fit(positions, target, span, free)
    row: dict[str, Any] = {"n_atoms": len(atoms), "rw": float(fit.rw[0])}
    if config.coordinates:
        one = jax.tree.map(lambda column: column[0], fit.values)
        relaxed = coordinates.relax(positions, one, target, span=span, restraint=config.restraint)
        positions = relaxed.positions
        fit, tables = _fit(positions, target, span, free)
        row |= {"rw_coordinates": float(fit.rw[0]), "moved": float(relaxed.moved)}
    bounded = [name for name, at in zip(free, fit.bounded[0], strict=True) if at]
    remarks = [f"{name} at its bound" for name in bounded] + list(job.measurement.warnings)
    remarks += jobs.contradicted(job, atoms.get_chemical_symbols()[0])
    row |= {"converged": "yes" if fit.converged[0] else "no", "remark": ", ".join(remarks), **values(fit, 0, free)}
    r, g = job.curve
    limits = {"qmin": job.given["qmin"], "qmax": job.given["qmax"], "background": config.background}
    curve, _ = refinement.curves(fit, tables, target, r, g, span=span, **limits)  # type: ignore[arg-type]
    report.write_fit(
        config.out / "fits" / stem, r, g, curve[0],
        title=f"{stem} to {job.path.name}: Rw = {fit.rw[0]:.4f}",
        rmin=job.given["rmin"], rmax=job.given["rmax"],
    )  # fmt: skip
    lines = zip(free, np.asarray(fit.correlation[0], float), strict=True)
    correlation = [dict(zip(("", *free), (name, *line), strict=True)) for name, line in lines]
    report.write_table(config.out / "correlations" / f"{stem}.csv", ("", *free), correlation)
    moved = atoms.copy()
    moved.positions = np.asarray(positions, float) * float(fit.values.stretch[0])
    report.write_structure(
        config.out / "structures" / f"{stem}.xyz", moved, {"rw": float(fit.rw[0]), "source": job.path.name}
    )
    return row


def _fit(positions, target: Target, span: Span, free: tuple[str, ...]) -> tuple[Fit, Template]:
    """Return the fit of one cluster and its tables, both with a leading axis."""
    bond = float(target.bond)
    bins = library.histogram(np.asarray(positions, float) / bond)
    inside = bins.mean * bond < span.longest
    size = 512 * -(-int(inside.sum()) // 512)
    weight, mean, variance = (np.pad(column[inside], (0, size - inside.sum())) for column in bins)
    columns = (weight, np.where(weight > 0, mean, 1.0) * bond, variance * bond**2, len(positions))
    histogram = Histogram(*(jnp.asarray(column, jnp.float32) for column in columns))
    return jax.tree.map(lambda column: np.asarray(column)[None], _fit_one(histogram, target, span=span, free=free))


@partial(jax.jit, static_argnames=("span", "free"))
def _fit_one(histogram: Histogram, target: Target, *, span: Span, free: tuple[str, ...]) -> tuple[Fit, Template]:
    tables = templates.template(histogram, target.bond, span=span)
    return refinement.refine(tables, target, span=span, free=free), tables


def _line(row: dict, config: settings.Refine) -> str:
    """Return values and errors of one cluster as a line."""
    told = []
    for name in config.free:
        error = row.get(f"{name}_error")
        told.append(f"{name} {row[name]:.4g}" + (f" ± {error:.1g}" if error is not None else " (at its bound)"))
    moved = f" (Rw {row['rw_coordinates']:.4f} with atoms moved {row['moved']:.3f} Å)" if "moved" in row else ""
    return f"{row['cluster']}: Rw {row['rw']:.4f}{moved}, {', '.join(told)}"
