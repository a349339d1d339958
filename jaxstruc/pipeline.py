"""From files to a folder of results: reads, batches, writes, resumes. The file-facing door of `solve`."""

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers

import jaxstruc
from jaxstruc import files, form_factors, measured, report, settings, solve, trained
from jaxstruc.measured import Measurement, Setting
from jaxstruc.model import CVAE
from jaxstruc.refinement import Fit
from jaxstruc.solve import Candidates, Data

BATCH = 8
"""Most files searched at once."""
SHOWN = 8
"""Most files whose settings are printed."""
FITTED = ("scale", "stretch", "uiso", "delta2")
GIVEN = ("qmin", "qmax", "qdamp", "rmin", "rmax")


class Network(NamedTuple):
    """A trained network."""

    params: Any
    module: CVAE
    card: dict


class Job(NamedTuple):
    """One file to solve."""

    path: Path
    stem: str
    """Name of its results, unlike any other's in the run."""
    measurement: Measurement
    settings: tuple[Setting, ...]

    @property
    def given(self) -> dict[str, float]:
        """The settings' values by name."""
        return {setting.name: setting.value for setting in self.settings}


class Outcome(NamedTuple):
    """How a run ended, for the ending line."""

    rows: list[dict[str, Any]]
    skipped: int
    status: int
    """Exit status: 0, or 3 where some files failed."""


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
    if config.samples < 1 or not config.files:
        raise ValueError(f"Expected at least one file and one sample, got {len(config.files)} and {config.samples}.")
    if config.out.exists() and not config.out.is_dir():
        raise ValueError(f"Expected a folder for the results, got the file {config.out}; pass another --out.")
    network = _load(config.weights)
    jobs, failed = _read_all(config, bond)
    if len(config.files) == 1 and failed:
        raise ValueError(failed[0]["message"])
    kept = _rows_to_keep(config, network, jobs)
    todo = [job for job in jobs if job.stem not in kept]
    for job in todo[:SHOWN]:
        show(f"{job.path.name} ({job.measurement.format})", job.settings)
    rows = {job.stem: kept[job.stem] for job in jobs if job.stem in kept}
    rows |= {f"failed {index}": row for index, row in enumerate(failed)}
    files.write_text(config.out / "settings.json", json.dumps(_common(config, network), indent=1) + "\n")
    _summarise(config, rows)
    size = _batch_size(len(todo))
    points = _bucket(max((_fit_points(job).sum() for job in todo), default=1))
    for start in range(0, len(todo), size):
        batch = todo[start : start + size]
        progress(start, len(todo), batch[0].path.name)
        begun = time.perf_counter()
        found, fits = _search(batch, network, config, bond, size=size, points=points)
        seconds = (time.perf_counter() - begun) / len(batch)
        for index, job in enumerate(batch):
            mine, fit = jax.tree.map(lambda column, index=index: column[index], (found, fits))
            rows[job.stem] = _write(job, mine, fit, network, config, bond, seconds)
        _summarise(config, rows)
    progress(len(todo), len(todo), "")
    ordered = _in_order(config, rows)
    return Outcome(ordered, len(kept), 3 if any(row["status"] == "failed" for row in ordered) else 0)


def _load(path: Path) -> Network:
    params, card = trained.load(path)
    return Network(params, CVAE(settings.Model(**card["sizes"])), card)


def _read_all(config: settings.Solve, bond: float) -> tuple[list[Job], list[dict[str, Any]]]:
    """Return the files that can be solved, and rows of those that cannot."""
    given = {name: getattr(config, name) for name in ("qmin", "qmax", "qdamp", "qbroad", "rmin", "rmax")}
    jobs, failed, stems = [], [], set[str]()
    for path in config.files:
        try:
            measurement = measured.read(path)
            resolved = measured.resolve(measurement, given=given, bond=bond)
        except (ValueError, OSError) as error:
            checksum = files.sha256(path) if path.is_file() else ""
            failed.append(_row(path, config, status="failed", message=str(error), sha256=checksum))
            continue
        stem, count = path.stem, 2
        while stem in stems:
            stem, count = f"{path.stem}-{count}", count + 1
        stems.add(stem)
        jobs.append(Job(path, stem, measurement, resolved))
    return jobs, failed


def _common(config: settings.Solve, network: Network) -> dict[str, Any]:
    """Return what, beside a file's own settings, decides its result."""
    return {
        "element": config.element,
        "samples": config.samples,
        "seed": config.seed,
        "qbroad": config.qbroad,
        "model": network.card["name"],
        "weights": files.sha256(config.weights),
        "version": jaxstruc.__version__,
    }


def _rows_to_keep(config: settings.Solve, network: Network, jobs: Iterable[Job]) -> dict[str, dict[str, Any]]:
    """Return the rows of files that an earlier run solved with the same settings, by stem."""
    path = config.out / "settings.json"
    try:
        if not path.exists() or json.loads(path.read_text("utf-8")) != _common(config, network):
            return {}
        before = {(row["file"], row["sha256"]): row for row in report.read_table(config.out / "summary.csv")}
    except (ValueError, KeyError):
        return {}
    kept = {}
    for job in jobs:
        row = before.get((str(job.path), job.measurement.sha256))
        if row is None or row["status"] != "solved" or not _results(config.out, job.stem)[-1].exists():
            continue
        if all(row[name] == f"{job.given[name]:.6g}" for name in GIVEN):
            kept[job.stem] = row
    return kept


def _results(out: Path, stem: str) -> tuple[Path, ...]:
    """Return the files of one result, in the order in which they are written."""
    return (out / "best" / f"{stem}.xyz", out / "candidates" / f"{stem}.csv", out / "fits" / f"{stem}.png")


def _batch_size(count: int) -> int:
    """Return the files searched at once: a power of two, one size a run, so that one compilation serves."""
    return min(BATCH, 1 << max(0, count - 1).bit_length())


def _bucket(count: int) -> int:
    """Return the next power of two from 256 on: curves of like length share a compilation."""
    return max(256, 1 << int(count - 1).bit_length())


def _fit_points(job: Job) -> np.ndarray:
    """Return which points of the data lie in the fit's range, both ends included."""
    given, r = job.given, job.measurement.r
    slack = 1e-6 * given["rstep"]
    return (r >= given["rmin"] - slack) & (r <= given["rmax"] + slack)


def _search(batch: list[Job], network: Network, config: settings.Solve, bond: float, *, size: int, points: int):
    """Return candidates and fits of a batch on the host; a short batch is filled up with its last file."""
    filled = batch + [batch[-1]] * (size - len(batch))
    inputs = [solve.model_input(job.measurement, rmin=job.given["rmin"]) for job in filled]
    single = partial(jnp.asarray, dtype=jnp.float32)

    def padded(values, job):
        inside = values[_fit_points(job)]
        return np.pad(inside, (0, points - len(inside)))

    data = Data(
        r=single([padded(job.measurement.r, job) for job in filled]),
        g=single([padded(job.measurement.g, job) for job in filled]),
        weights=single([padded(np.ones_like(job.measurement.r), job) for job in filled]),
        **{n: single([j.given[n] for j in filled]) for n in ("qmin", "qmax", "qdamp", "qbroad")},
        bond=single([bond] * size),
    )
    key = jax.random.key(config.seed)
    result = solve.search(network.params, single(inputs), data, key, network=network.module, samples=config.samples)
    return jax.device_get(result)


def _write(
    job: Job,
    found: Candidates,
    fit: Fit,
    network: Network,
    config: settings.Solve,
    bond: float,
    seconds: float,
) -> dict[str, Any]:
    """Write the results of one file and return its row."""
    ranked = solve.rank(found, fit, bond=bond)
    given = job.given
    facts = {name: given[name] for name in GIVEN} | {
        "sha256": job.measurement.sha256,
        "seconds": seconds,
        "model": network.card["name"],
    }
    if not ranked:
        message = f"Expected a structure among {config.samples} draws, got none; try more --samples."
        return _row(job.path, config, status="failed", message=message, **facts)
    best = ranked[0].sample
    values = {name: float(getattr(fit, name)[best]) for name in (*FITTED, "rw")}
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
    inside = _fit_points(job)
    report.write_fit(
        picture.with_suffix(""),
        job.measurement.r[inside],
        job.measurement.g[inside],
        np.asarray(fit.curve[best][: inside.sum()], float),
        title=f"{job.path.name}: {config.element}{len(atoms)}, Rw = {values['rw']:.3f}",
        rmin=given["rmin"],
        rmax=given["rmax"],
    )
    second = float(fit.rw[ranked[1].sample]) if len(ranked) > 1 else None
    facts |= {"n_atoms": len(atoms), "rw_second": second, "message": "; ".join(remarks)}
    return _row(job.path, config, status="solved", **facts, **values)


def _atoms(element: str, found: Candidates, fit: Fit, sample: int) -> ase.Atoms:
    """Return the atoms that are there, with the fitted stretch."""
    there = found.weights[sample] > solve.PRESENT
    positions = np.asarray(found.positions[sample][there], float) * float(fit.stretch[sample])
    return ase.Atoms(numbers=[atomic_numbers[element]] * len(positions), positions=positions)


def _candidate_rows(found: Candidates, fit: Fit, ranked: list[solve.Ranked]) -> list[dict[str, Any]]:
    return [
        {
            "rank": place,
            "draws": item.draws,
            "n_atoms": int((found.weights[item.sample] > solve.PRESENT).sum()),
            "rw": fit.rw[item.sample],
            **{name: getattr(fit, name)[item.sample] for name in FITTED},
            "radius": found.radius[item.sample],
            "stress": found.stress[item.sample],
            "fit_converged": "yes" if fit.converged[item.sample] else "no",
            "remark": item.remark,
        }
        for place, item in enumerate(ranked, start=1)
    ]


def _row(path: Path, config: settings.Solve, **values) -> dict[str, Any]:
    return {"file": str(path), "seed": config.seed, "version": jaxstruc.__version__, **values}


def _summarise(config: settings.Solve, rows: dict[str, dict[str, Any]]) -> None:
    report.write_table(config.out / "summary.csv", report.SUMMARY, _in_order(config, rows))


def _in_order(config: settings.Solve, rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that there are so far, in the order of the files given."""
    place = {str(path): index for index, path in enumerate(config.files)}
    return sorted(rows.values(), key=lambda row: place[row["file"]])
