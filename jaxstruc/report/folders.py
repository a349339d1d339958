"""A folder of results: what is written of each, the same for all commands.

`summary.csv` has a row a file; `best/STEM.xyz` the best structure, `structures/STEM/` the next ones; `candidates/` the
ranking, `families/` its picture; `distribution/` the sample as a distribution of particles; `fits/` curves and
pictures, `correlations/` of the fitted values; `results/` the results whole, for `jaxstruc.load`. Every file appears
whole or not at all, that of `results/` last.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np

from jaxstruc import files
from jaxstruc.inference import result as results
from jaxstruc.inference.result import Candidate, Result
from jaxstruc.report import pictures, sized_tables, tables

CURVES = ("r", "G_obs", "G_calc", "G_diff", "G_background")
"""Columns of fits/STEM.csv."""
PATTERNS = ("Q", "I_obs", "sigma", "I_calc", "residual", "I_background")
"""Those of small angles; `residual` over sigma."""


def load(path: Path | str) -> Result:
    """Return a result that was saved, from results/STEM.npz.

    Raises:
        ValueError: where the file is none.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return results.from_arrays({name: archive[name] for name in archive.files})
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"Expected a result that jaxstruc saved, got {path}: {reason}; run again to make it."
        ) from error


def save(result: Result, folder: Path) -> None:
    """Write a result's files, under the name of its file, and the summary of all results in the folder."""
    stem = Path(result.name).stem or "result"
    write(result, folder, stem)
    found = [load(path) for path in sorted((folder / "results").glob("*.npz"))]
    columns = tables.SUMMARY if result.q is None else sized_tables.SUMMARY
    alike = [one for one in found if (one.q is None) == (result.q is None)]
    summarise(folder, [tables.row(one) for one in alike], columns=columns)


def summarise(folder: Path, rows: Sequence[Mapping], *, columns: Sequence[str] = tables.SUMMARY) -> None:
    """Write the summary."""
    tables.write(folder / "summary.csv", columns, rows)


def paths(folder: Path, stem: str) -> tuple[Path, ...]:
    """Return the files that a result with a candidate always has; the last is the result itself, written last."""
    return (
        folder / "best" / f"{stem}.xyz",
        folder / "candidates" / f"{stem}.csv",
        folder / "families" / f"{stem}.png",
        folder / "correlations" / f"{stem}.csv",
        folder / "fits" / f"{stem}.csv",
        folder / "fits" / f"{stem}.png",
        folder / "results" / f"{stem}.npz",
    )


def wanted(result: Result, folder: Path, stem: str) -> tuple[Path, ...]:
    """Return the files that a result has."""
    if result.q is not None:
        kinds = ("candidates/{}.csv", "correlations/{}.csv", "fits/{}.csv", "fits/{}.png", "distribution/{}.csv")
        every = (*kinds, "distribution/{}.png", "results/{}.npz")
        return tuple(folder / kind.format(stem) for kind in every)
    kind = folder / "distribution"
    return ((kind / f"{stem}.csv", kind / f"{stem}.png") if result.ensemble else ()) + paths(folder, stem)


def write(result: Result, folder: Path, stem: str) -> None:
    """Write a result's files.

    Args:
        result: what was found.
        folder: of the results.
        stem: name of the files.
    """
    best, ranking, families, correlations, curve, picture, whole = paths(folder, stem)
    if result.candidates and result.q is not None:
        _write_sized(result, folder, stem)
    elif result.candidates:
        tables.write(ranking, tables.CANDIDATES, tables.candidates(result))
        pictures.write(families, pictures.families(result))
        _write_candidate(result, 1, best, correlations, curve, picture)
        _clear(folder, stem)
        if result.ensemble:
            table, drawing = wanted(result, folder, stem)[:2]
            tables.write(table, result.distribution, tables.distribution(result.ensemble))
            pictures.write(drawing, pictures.distribution(result))
        for rank, candidate in enumerate(result.candidates[1:], start=2):
            if candidate.atoms is not None:
                _write_next(result, rank, candidate, folder, stem)
    with files.replacing(whole) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **results.to_arrays(result))  # type: ignore[arg-type]


def _write_sized(result: Result, folder: Path, stem: str) -> None:
    """Write the tables and pictures of a result of small angles."""
    ranking, correlations, curve, picture, table, drawing, _ = wanted(result, folder, stem)
    tables.write(ranking, sized_tables.CANDIDATES, sized_tables.candidates(result))
    tables.write(correlations, ("", *result.free), tables.correlation(result, result.best))
    q, observed, calculated, background = result.curve()
    sigma = np.asarray(result.sigma)
    rows = np.stack([q, observed, sigma, calculated, (observed - calculated) / sigma, background], axis=1)
    tables.write(curve, PATTERNS, (dict(zip(PATTERNS, line, strict=True)) for line in rows))
    pictures.write(picture, pictures.fit(result))
    columns = result.distribution
    sizes = (dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True))
    tables.write(table, columns, sizes)
    pictures.write(drawing, pictures.distribution(result))


def write_structure(path: Path, atoms: ase.Atoms, comment: Mapping) -> None:
    """Write a structure as extended XYZ, with the comment's values in its second line."""
    atoms = atoms.copy()
    atoms.info = {name: round(v, 6) if isinstance(v, float) else v for name, v in comment.items()}
    with files.replacing(path) as part:
        ase.io.write(part, atoms, format="extxyz")


def _write_candidate(
    result: Result, rank: int, structure: Path, correlations: Path, curve: Path, picture: Path
) -> None:
    """Write one candidate's structure, curve, picture and correlations."""
    candidate = result.candidates[rank - 1]
    _write_atoms(structure, result, candidate)
    tables.write(correlations, ("", *result.free), tables.correlation(result, candidate))
    r, observed, calculated, background = result.curve(rank)
    rows = np.stack([r, observed, calculated, observed - calculated, background], axis=1)
    tables.write(curve, CURVES, (dict(zip(CURVES, line, strict=True)) for line in rows))
    pictures.write(picture, pictures.fit(result, rank=rank))


def _write_next(result: Result, rank: int, candidate: Candidate, folder: Path, stem: str) -> None:
    """Write what there is of a candidate beyond the best: all of the user's own, of others the structure."""
    name = f"rank{rank}"
    structure = folder / "structures" / stem / f"{name}.xyz"
    if candidate.source != "file":
        _write_atoms(structure, result, candidate)
        return
    correlations, fits = folder / "correlations" / stem / f"{name}.csv", folder / "fits" / stem
    _write_candidate(result, rank, structure, correlations, fits / f"{name}.csv", fits / f"{name}.png")


def _write_atoms(path: Path, result: Result, candidate: Candidate) -> None:
    if candidate.atoms is None:
        return
    facts: dict[str, str | float] = {"file": Path(result.name).name, "sha256": result.sha256, "element": result.element}
    facts |= {"source": candidate.source, "type": candidate.type, "cluster": tables.name(candidate)}
    facts |= {"description": candidate.description} if candidate.description else {}
    facts |= {"role": "most likely member of a distribution"} if result.verdict == "distribution" else {}
    facts |= {"rw": candidate.rw, "weight": candidate.weight}
    facts |= {name: candidate.values[name].value for name in result.free}
    atoms = candidate.atoms
    if candidate.occupancy is not None:
        atoms = atoms.copy()
        atoms.set_array("occupancy", np.round(candidate.occupancy, 4))
    write_structure(path, atoms, facts)


def _clear(folder: Path, stem: str) -> None:
    """Remove what an earlier run left of candidates beyond the best."""
    for kind in ("structures", "correlations", "fits"):
        for path in (folder / kind / stem).glob("rank*"):
            path.unlink()
    for ending in ("csv", "png"):
        (folder / "distribution" / f"{stem}.{ending}").unlink(missing_ok=True)
