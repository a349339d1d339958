"""The file-facing door of `solve`: measured PDFs to a folder of structures."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers

import jaxstruc
from jaxstruc import files, form_factors, jobs, library, mining, observed, refinement, report, settings, solve, trained
from jaxstruc.jobs import Job, Kind, Outcome, Row
from jaxstruc.library import Library
from jaxstruc.model import CVAE
from jaxstruc.observed import Target
from jaxstruc.refinement import Fit
from jaxstruc.solve import Candidates
from jaxstruc.templates import Span

BATCH = 8
"""Most files searched at once."""
MINED = ("icosahedron", "decahedron", "octahedron", "fcc")
"""Families whose best cluster is shown beside the network's; `jaxstruc mine` has more, and larger ones."""
MOST_ATOMS = 200
LARGEST = 20.0
"""Bonds. Longest distance in a candidate that the fit sees."""
FITTED = ("scale", "stretch", "uiso", "delta2")


class Network(NamedTuple):
    """A trained network."""

    params: Any
    module: CVAE
    card: dict


def solve_files(
    config: settings.Solve, *, progress: Callable[[int, int, str], None], show: Callable[[str, Any], None]
) -> Outcome:
    """Solve each file and write `config.out`, file by file as they are done.

    A bad file gets its row and the others go on. Files solved before with the same settings are skipped.

    Args:
        config: what to do.
        progress: called with files done, files in all and a remark.
        show: called with a title and the settings of a file.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    bond = form_factors.bond_length(config.element)
    if config.samples < 1:
        raise ValueError(f"Expected at least one sample, got {config.samples}; raise --samples.")
    network = _load(config.weights)

    def begin(todo: list[Job]):
        span, size = jobs.span(todo, diameter=LARGEST * bond), _batch_size(len(todo))
        found_before = library.cached(MINED, max_atoms=MOST_ATOMS) if config.mine else None

        def work(batch: list[Job]) -> list[Row]:
            begun = time.perf_counter()
            targets, found, fits = _search(batch, network, config, bond, size=size, span=span)
            seconds = (time.perf_counter() - begun) / len(batch)
            rows = []
            for index, job in enumerate(batch):
                one = jax.tree.map(lambda column, index=index: column[index], (targets, found, fits))
                row = _write(job, one, network, config, bond, seconds, span)
                if found_before:
                    row |= _mined(job, config, found_before, bond=bond, span=span)
                rows.append(row)
            return rows

        return size, work

    kind = Kind("solved", tuple(report.SUMMARY), _common(config, network), _results)
    return jobs.run(config, kind, bond=bond, begin=begin, progress=progress, show=show)


def _mined(job: Job, config: settings.Solve, found: Library, *, bond: float, span: Span) -> Row:
    """Return the best cluster of common families, written beside the network's, by the same fit."""
    target = jobs.target(job, bond=bond, span=span)
    fit = mining.fit_all(found, np.arange(len(found.atoms)), target, bond=bond, span=span)
    if not np.isfinite(fit.rw).any():
        return {}
    best = int(np.nanargmin(fit.rw))
    cluster, rw = library.cluster(found, best), float(fit.rw[best])
    name = f"{cluster.family} {cluster.label}"
    atoms = cluster.atoms(config.element, bond * float(fit.values.stretch[best]))
    path = _results(config.out, job.stem)[0].with_name(f"{job.stem}-mined.xyz")
    report.write_structure(path, atoms, {"cluster": name, "rw": rw, "source": job.path.name})
    return {"mined": name, "mined_atoms": len(atoms), "rw_mined": rw}


def _load(path: Path) -> Network:
    params, card = trained.load(path)
    return Network(params, CVAE(settings.Model(**card["sizes"])), card)


def _common(config: settings.Solve, network: Network) -> dict[str, Any]:
    """Return what, beside a file's own settings, decides its result."""
    return {
        "element": config.element,
        "samples": config.samples,
        "mine": config.mine,
        "seed": config.seed,
        "model": network.card["name"],
        "weights": files.sha256(config.weights),
        "version": jaxstruc.__version__,
    }


def _results(out: Path, stem: str) -> tuple[Path, ...]:
    """Return the files of one result, in the order in which they are written."""
    return (out / "best" / f"{stem}.xyz", out / "candidates" / f"{stem}.csv", out / "fits" / f"{stem}.png")


def _batch_size(count: int) -> int:
    """Return the files searched at once: a power of two, one size a run, so that one compilation serves."""
    return min(BATCH, 1 << max(0, count - 1).bit_length())


def _search(batch: list[Job], network: Network, config: settings.Solve, bond: float, *, size: int, span: Span):
    """Return targets, candidates and fits of a batch; a short batch is filled up with its last file."""
    filled = batch + [batch[-1]] * (size - len(batch))
    inputs = [solve.model_input(job.measurement, rmin=job.given["rmin"]) for job in filled]
    targets = observed.stacked([jobs.target(job, bond=bond, span=span) for job in filled])
    key, pdf = jax.random.key(config.seed), jnp.asarray(inputs, jnp.float32)
    found = solve.search(network.params, pdf, targets, key, network=network.module, samples=config.samples, span=span)
    return targets, *jax.device_get(found)


def _write(
    job: Job,
    searched: tuple[Target, Candidates, Fit],
    network: Network,
    config: settings.Solve,
    bond: float,
    seconds: float,
    span: Span,
) -> Row:
    """Write the results of one file and return its row."""
    target, found, fit = searched
    ranked = solve.rank(found, fit, bond=bond)
    given = job.given
    facts = {name: given[name] for name in jobs.GIVEN} | {
        "seed": config.seed,
        "sha256": job.measurement.sha256,
        "seconds": seconds,
        "model": network.card["name"],
    }
    if not ranked:
        message = f"Expected a structure among {config.samples} draws, got none; try more --samples."
        return jobs.row(job.path, status="failed", message=message, **facts)
    best = ranked[0].sample
    values = {name: float(getattr(fit.values, name)[best]) for name in FITTED} | {"rw": float(fit.rw[best])}
    atoms = _atoms(config.element, found, fit, best)
    limits = {name: given[name] for name in ("qmin", "qmax", "qdamp")}
    beyond = solve.outside(network.card["limits"], job.measurement, limits, bond)
    remarks = [f"outside training: {', '.join(beyond)}"] if beyond else []
    remarks += [text for text in (ranked[0].remark, *job.measurement.warnings) if text]
    xyz, table, picture = _results(config.out, job.stem)
    comment = {"element": config.element, "rw": values["rw"], **{name: values[name] for name in FITTED}}
    comment |= {"source": job.path.name, "sha256": job.measurement.sha256, "model": network.card["name"]}
    report.write_structure(xyz, atoms, comment)
    report.write_table(table, report.CANDIDATES, _candidate_rows(found, fit, ranked))
    r, g = job.curve
    tables = solve.template(jnp.asarray(found.positions[best]), jnp.asarray(found.weights[best]), bond, span=span)
    tables, fitted = jax.tree.map(lambda column: column[None], (tables, jax.tree.map(lambda x: x[best], fit)))
    calculated, _ = refinement.curves(fitted, tables, target, r, g, span=span, qmin=given["qmin"], qmax=given["qmax"])
    report.write_fit(
        picture.with_suffix(""),
        r,
        g,
        calculated[0],
        title=f"{job.path.name}: {config.element}{len(atoms)}, Rw = {values['rw']:.3f}",
        rmin=given["rmin"],
        rmax=given["rmax"],
    )
    second = float(fit.rw[ranked[1].sample]) if len(ranked) > 1 else None
    facts |= {"n_atoms": len(atoms), "rw_second": second, "message": "; ".join(remarks)}
    return jobs.row(job.path, status="solved", **facts, **values)


def _atoms(element: str, found: Candidates, fit: Fit, sample: int) -> ase.Atoms:
    """Return the atoms that are there, with the fitted stretch."""
    there = found.weights[sample] > solve.PRESENT
    positions = np.asarray(found.positions[sample][there], float) * float(fit.values.stretch[sample])
    return ase.Atoms(numbers=[atomic_numbers[element]] * len(positions), positions=positions)


def _candidate_rows(found: Candidates, fit: Fit, ranked: list[solve.Ranked]) -> list[Row]:
    return [
        {
            "rank": place,
            "draws": item.draws,
            "n_atoms": int((found.weights[item.sample] > solve.PRESENT).sum()),
            "rw": fit.rw[item.sample],
            **{name: getattr(fit.values, name)[item.sample] for name in FITTED},
            "radius": found.radius[item.sample],
            "stress": found.stress[item.sample],
            "fit_converged": "yes" if fit.converged[item.sample] else "no",
            "remark": item.remark,
        }
        for place, item in enumerate(ranked, start=1)
    ]
