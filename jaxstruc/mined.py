"""The file-facing door of `mining`: measured PDFs to folders of ranked candidates."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxstruc
from jaxstruc import families, files, form_factors, jobs, library, mining, observed, refinement, report, settings
from jaxstruc.jobs import Job, Kind, Outcome, Row
from jaxstruc.library import Library
from jaxstruc.observed import PARAMETERS, Target
from jaxstruc.refinement import Fit
from jaxstruc.templates import Span

LISTED = 200
"""Candidates in the table of a file."""
WRITTEN = 5
"""Candidates written as structures."""
SHORT = 18.0
"""1/Å. Below such a qmax, near distances are hardly told apart."""
VALUES = tuple(word for name in PARAMETERS for word in (name, f"{name}_error"))
CANDIDATES = (
    *"rank family label n_atoms diameter rw gap weight in_90 converged remark".split(),
    *VALUES,
)
"""Columns of candidates/<stem>.csv, the best `LISTED`. `diameter` in Å; `gap` to the best Rw; `weight` and `in_90` are
of all candidates that were fitted with what is asked for: all of the size, or the best of the screening where other
parameters than usual are free."""
SUMMARY = (
    *"file sha256 status message family label n_atoms diameter size_seen rw rw_second weight ties families".split(),
    *VALUES,
    *"independent qmin qmax rmin rmax seconds version".split(),
)
"""Columns of summary.csv. `size_seen`: the diameter seen in the data, in Å; `families`: their sums of weights."""


def mine_files(config: settings.Mine, *, progress: Callable[..., None], show: Callable[[str, Any], None]) -> Outcome:
    """Mine each file and write `config.out`, file by file.

    Args:
        config: what to do.
        progress: called with files done, files in all and a remark.
        show: called with a title and the settings of a file.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    bond = form_factors.bond_length(config.element)
    jobs.check_free(config.free)
    found = _library(config, progress)

    def begin(todo: list[Job]):
        span = jobs.span(todo, diameter=float(found.diameter.max()) * bond)
        # Padded to one size, so that one compilation serves all files.
        each = [jobs.target(job, bond=bond, span=span, background=config.background) for job in todo]
        targets = dict(zip((job.stem for job in todo), observed.apart(observed.stacked(each)), strict=True))

        def work(batch: list[Job]) -> list[Row]:
            tell = lambda done, total: progress(0, len(todo), f"{batch[0].path.name}: {done} of {total} candidates")  # noqa: E731
            return [_mine(batch[0], config, found, targets[batch[0].stem], bond=bond, span=span, tell=tell)]

        return 1, work

    kind = Kind("mined", SUMMARY, _common(config), _results, config.background)
    return jobs.run(config, kind, bond=bond, begin=begin, progress=progress, show=show)


def _library(config: settings.Mine, progress: Callable[..., None]) -> Library:
    if config.library:
        return library.from_files(config.library)
    return library.cached(config.families or tuple(families.FAMILIES), max_atoms=config.max_atoms, progress=progress)


def _common(config: settings.Mine) -> dict[str, Any]:
    """Return what, beside a file's own settings, decides its result."""
    own = sorted(path for place in config.library for path in ([place] if place.is_file() else place.iterdir()))
    return {
        "element": config.element,
        "free": list(config.free),
        "background": config.background,
        "families": sorted(config.families),
        "max_atoms": config.max_atoms,
        "library": {str(path): files.sha256(path) for path in own if path.is_file()},
        "version": jaxstruc.__version__,
    }


def _results(out: Path, stem: str) -> tuple[Path, ...]:
    return (
        out / "best" / f"{stem}.xyz",
        out / "candidates" / f"{stem}.csv",
        out / "families" / f"{stem}.png",
        out / "fits" / f"{stem}.png",
    )


def _mine(job: Job, config: settings.Mine, found: Library, target: Target, *, bond: float, span: Span, tell) -> Row:
    """Mine one file, write its results and return its row."""
    begun = time.perf_counter()
    given = job.given
    size, reached = mining.diameter(job.measurement.r, job.measurement.g, bond=bond, qdamp=given["qdamp"])
    allowed = library.select(found, max_atoms=config.max_atoms)
    screened = mining.choose(found, size, bond=bond, allowed=allowed)
    fit = mining.fit_all(found, screened, target, bond=bond, span=span, progress=tell)
    index, best = _sorted(screened, fit)
    if tuple(config.free) != refinement.USUAL:
        index = index[: mining.REFINED]
        index, best = _sorted(index, mining.fit_all(found, index, target, bond=bond, span=span, free=config.free))
    if not np.isfinite(best.rw[0]):
        message = "Expected a finite fit of some candidate, got none; check the data's scale and range."
        return jobs.row(job.path, status="failed", message=message, sha256=job.measurement.sha256)
    return _write(job, config, found, index, best, target, bond=bond, span=span) | {
        "size_seen": size,
        "seconds": time.perf_counter() - begun,
        "message": "; ".join(_remarks(job, config, best, size, reached)),
    }


def _sorted(index: np.ndarray, fit: Fit) -> tuple[np.ndarray, Fit]:
    """Return candidates and their fits by Rw; failed ones come last."""
    order = np.argsort(np.where(np.isfinite(fit.rw), fit.rw, np.inf), kind="stable")
    return index[order], jax.tree.map(lambda column: column[order], fit)


def _remarks(job: Job, config: settings.Mine, best: Fit, size: float, reached: bool) -> list[str]:
    """Return what a person should know of a result."""
    said = [] if reached else [f"the data end at {job.measurement.r[-1]:g} Å, before the particle does"]
    if job.given["qmax"] < SHORT:
        said.append(f"qmax {job.given['qmax']:g} 1/Å is short: near ties say little")
    bounded = [name for name, at in zip(config.free, best.bounded[0], strict=True) if at]
    if bounded:
        said.append(f"{', '.join(bounded)} at the bound")
    if not best.converged[0]:
        said.append("fit not converged")
    said += jobs.contradicted(job, config.element)
    return [*said, *job.measurement.warnings]


def _write(
    job: Job,
    config: settings.Mine,
    found: Library,
    index: np.ndarray,
    best: Fit,
    target: Target,
    *,
    bond: float,
    span: Span,
) -> Row:
    """Write what was found for one file and return its row."""
    given, (r, g) = job.given, job.curve
    limits = {"qmin": given["qmin"], "qmax": given["qmax"]}
    first = jax.tree.map(lambda column: column[:1], best)
    tables = mining.template(found, index[0], bond=bond, span=span)
    curve, _ = refinement.curves(first, tables, target, r, g, span=span, background=config.background, **limits)
    independent = mining.independent_points(g - curve[0], float(target.independent))
    weight = mining.weights(np.asarray(best.rw), independent, len(config.free))
    credible = mining.credible(weight)
    table = [
        {
            "rank": place + 1,
            "family": found.families[i],
            "label": found.labels[i],
            "n_atoms": int(found.atoms[i]),
            "diameter": float(found.diameter[i]) * bond * float(best.values.stretch[place]),
            "rw": float(best.rw[place]),
            "gap": float(best.rw[place] - best.rw[0]),
            "weight": float(weight[place]),
            "in_90": "yes" if credible[place] else "no",
            "converged": "yes" if best.converged[place] else "no",
            "remark": ", ".join(
                f"{name} at its bound" for name, at in zip(config.free, best.bounded[place], strict=True) if at
            ),
            **values(best, place, config.free),
        }
        for place, i in enumerate(index[:LISTED])
    ]
    structure, candidates, sizes, picture = _results(config.out, job.stem)
    source = {"source": job.path.name, "sha256": job.measurement.sha256, "element": config.element}
    for place, i in enumerate(index[:WRITTEN]):
        atoms = library.cluster(found, i).atoms(config.element, bond * float(best.values.stretch[place]))
        name = structure if place == 0 else structure.with_name(f"{job.stem}-rank{place + 1}.xyz")
        facts = {name: table[place][name] for name in ("family", "label", "rw", "weight")}
        report.write_structure(name, atoms, source | facts)
    report.write_table(candidates, CANDIDATES, table)
    report.write_families(
        sizes,
        [row["family"] for row in table],
        np.array([row["diameter"] for row in table]),
        np.array([row["rw"] for row in table]),
        credible[: len(table)],
        title=f"{job.path.name}: the best {len(table)} candidates",
    )
    title = f"{job.path.name}: {table[0]['family']} {table[0]['label']}, {config.element}{table[0]['n_atoms']}"
    report.write_fit(
        picture.with_suffix(""),
        r,
        g,
        curve[0],
        title=f"{title}, Rw = {best.rw[0]:.3f}",
        rmin=given["rmin"],
        rmax=given["rmax"],
    )
    shares = {name: float(weight[found.families[index] == name].sum()) for name in np.unique(found.families[index])}
    said = sorted(((share, name) for name, share in shares.items() if share >= 0.005), reverse=True)
    kept = ("family", "label", "n_atoms", "diameter", "rw", "weight", *VALUES)
    return jobs.row(
        job.path,
        sha256=job.measurement.sha256,
        status="mined",
        rw_second=float(best.rw[1]) if len(best.rw) > 1 else None,
        ties=int(credible.sum()),
        families=", ".join(f"{name} {share:.2f}" for share, name in said),
        independent=independent,
        **{name: given[name] for name in ("qmin", "qmax", "rmin", "rmax")},
        **{name: table[0][name] for name in kept if name in table[0]},
    )


def values(fit: Fit, place: int, free: tuple[str, ...]) -> dict[str, float]:
    """Return the values of one fit with the standard errors of those fitted, by column."""
    result = {name: float(getattr(fit.values, name)[place]) for name in PARAMETERS}
    errors = zip(free, fit.errors[place], strict=True)
    return result | {f"{name}_error": float(error) for name, error in errors if np.isfinite(error)}
