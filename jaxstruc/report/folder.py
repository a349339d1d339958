"""The folder of results that `solve`, `mine`, `refine`, `saxs` and `Result.save` write.

`summary.csv` has one row for each measured curve. The other files are named after the measured file, see
`batch.unique_stems`:

- `best/` has the best structure, and `structures/` has the next ones.
- `candidates/` has the table of the candidates, and `families/` has a figure of this table.
- `distribution/` has the distribution of particles as a table and a figure.
- `fits/` has the curves as tables and figures, and `correlations/` has the correlations of the fitted values.
- `results/` has the whole results, which `jaxstruc.load` reads.

Results of SAXS have no best/, structures/ and families/.

Each file is written completely or not at all, and the file in `results/` is written last.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path

import ase
import ase.io
import numpy as np

from jaxstruc import files
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import figures, summary, tables
from jaxstruc.result import Candidate, Result, from_arrays, to_arrays
from jaxstruc.small_angle.result import SaxsResult

RESULT_CLASSES = (PdfResult, SaxsResult)
"""Classes of results that a folder may contain."""
PDF_COLUMNS = ("r", "G_obs", "G_calc", "G_diff", "G_background")
"""Columns of fits/STEM.csv for PDFs."""
INTENSITY_COLUMNS = ("Q", "I_obs", "I_calc", "I_diff", "I_background")
"""Columns of fits/STEM.csv for I(Q) of wide angles."""
SAXS_COLUMNS = ("Q", "I_obs", "sigma", "I_calc", "residual", "I_background")
"""Columns of fits/STEM.csv for SAXS. `residual` is the difference divided by sigma."""


def load(path: Path | str) -> Result:
    """Return the result in a file results/STEM.npz.

    Raises:
        ValueError: If the file is not a saved result.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return from_arrays({name: archive[name] for name in archive.files}, RESULT_CLASSES)
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"Expected a result that jaxstruc saved, got {path}: {reason}; run again to make it."
        ) from error


def save(result: Result, folder: Path) -> None:
    """Write the files of a result, with the name of its measured file, and the summary of all results in the folder."""
    write_result(result, folder, _free_stem(result, folder))
    columns = summary.SAXS_SUMMARY_COLUMNS if isinstance(result, SaxsResult) else summary.SUMMARY_COLUMNS
    rows = [
        {"stem": path.stem} | summary.row(saved_result, columns)
        for path in sorted((folder / "results").glob("*.npz"))
        if (saved_result := load(path)).technique == result.technique
    ]
    write_summary(folder, rows, columns=columns)


def _free_stem(result: Result, folder: Path) -> str:
    """Return the name of the files of a result, with digits of its checksum if another result has the name."""
    stem, frame = Path(result.name).stem or "result", "" if result.frame is None else f"-{result.frame}"
    path = result_file(folder, stem + frame)
    if path.exists() and (load(path).sha256, load(path).frame) != (result.sha256, result.frame):
        stem += f"-{result.sha256[:8]}"
    return stem + frame


def remove_result(result: Result, folder: Path, stem: str) -> None:
    """Remove the files of a result that has another name now.

    Args:
        result: Result of one measurement.
        folder: Folder of the results.
        stem: Earlier name of the files, without suffix.
    """
    if result.technique == "pdf":
        _remove_old_candidates(folder, stem)
    for path in candidate_paths(result, folder, stem):
        path.unlink(missing_ok=True)


def write_summary(folder: Path, rows: Sequence[Mapping], *, columns: Sequence[str] = summary.SUMMARY_COLUMNS) -> None:
    """Write the summary of a folder of results.

    Args:
        folder: Folder of the results.
        rows: Cells by column, one row for each measured curve.
        columns: Names of the columns.
    """
    tables.write(folder / "summary.csv", columns, rows)


def result_file(folder: Path, stem: str) -> Path:
    """Return the path of a whole result, which is written last."""
    return folder / "results" / f"{stem}.npz"


@singledispatch
def candidate_paths(result: Result, folder: Path, stem: str) -> tuple[Path, ...]:
    """Return the paths of the files of a result with candidates. The last one is the file of the whole result.

    Args:
        result: Result of one measurement.
        folder: Folder of the results.
        stem: Name of the files, without suffix.
    """
    raise TypeError(f"Expected a PdfResult or SaxsResult, got {type(result).__name__}; load it again.")


@candidate_paths.register
def _(result: PdfResult, folder: Path, stem: str) -> tuple[Path, ...]:
    names = ["best/{}.xyz", "candidates/{}.csv", "families/{}.png", "correlations/{}.csv", "fits/{}.csv", "fits/{}.png"]
    names += ["distribution/{}.csv", "distribution/{}.png"] if result.ensemble else []
    return tuple(folder / name.format(stem) for name in (*names, "results/{}.npz"))


@candidate_paths.register
def _(result: SaxsResult, folder: Path, stem: str) -> tuple[Path, ...]:
    names = ("candidates/{}.csv", "correlations/{}.csv", "fits/{}.csv", "fits/{}.png", "distribution/{}.csv")
    return tuple(folder / name.format(stem) for name in (*names, "distribution/{}.png", "results/{}.npz"))


def write_result(result: Result, folder: Path, stem: str) -> None:
    """Write the files of a result.

    Args:
        result: Result of one measurement.
        folder: Folder of the results.
        stem: Name of the files, without suffix.
    """
    if result.candidates:
        _write_parts(result, folder, stem)
    with files.atomic_replacement(result_file(folder, stem)) as temporary_path, temporary_path.open("wb") as stream:
        np.savez_compressed(stream, **to_arrays(result))  # type: ignore[arg-type]


@singledispatch
def _write_parts(result: Result, folder: Path, stem: str) -> None:
    """Write the tables, structures and figures of a result."""
    raise TypeError(f"Expected a PdfResult or SaxsResult, got {type(result).__name__}; load it again.")


@_write_parts.register
def _(result: PdfResult, folder: Path, stem: str) -> None:
    best, ranking, families, correlations, curve, fit_figure, *sizes, _ = candidate_paths(result, folder, stem)
    tables.write(ranking, tables.CANDIDATE_COLUMNS, tables.candidates(result))
    figures.write(families, figures.families(result))
    _write_candidate(result, 1, best, correlations, curve, fit_figure)
    _remove_old_candidates(folder, stem)
    if sizes:
        tables.write(sizes[0], result.distribution, tables.distribution(result))
        figures.write(sizes[1], figures.distribution(result))
    for rank, candidate in enumerate(result.candidates[1:], start=2):
        if candidate.atoms is not None:
            _write_other_candidate(result, rank, candidate, folder, stem)


@_write_parts.register
def _(result: SaxsResult, folder: Path, stem: str) -> None:
    ranking, correlations, curve, fit_figure, sizes, distribution_figure, _ = candidate_paths(result, folder, stem)
    tables.write(ranking, tables.SAXS_CANDIDATE_COLUMNS, tables.candidates(result))
    tables.write(correlations, ("", *result.free), tables.correlation(result, result.best))
    q, observed, calculated, background = result.curve()
    sigma = np.asarray(result.sigma)
    rows = np.stack([q, observed, sigma, calculated, (observed - calculated) / sigma, background], axis=1)
    tables.write(curve, SAXS_COLUMNS, (dict(zip(SAXS_COLUMNS, line, strict=True)) for line in rows))
    figures.write(fit_figure, figures.fit(result))
    tables.write(sizes, result.distribution, tables.distribution(result))
    figures.write(distribution_figure, figures.distribution(result))


def write_structure(path: Path, atoms: ase.Atoms, comment: Mapping) -> None:
    """Write a structure as extended XYZ, with values by name in its second line."""
    atoms = atoms.copy()
    atoms.info = {name: round(value, 6) if isinstance(value, float) else value for name, value in comment.items()}
    with files.atomic_replacement(path) as temporary_path:
        ase.io.write(temporary_path, atoms, format="extxyz")


def _write_candidate(
    result: PdfResult, rank: int, structure: Path, correlations: Path, curve: Path, fit_figure: Path
) -> None:
    """Write structure, curve, figure and correlations of a candidate."""
    candidate = result.candidates[rank - 1]
    _write_atoms(structure, result, candidate)
    tables.write(correlations, ("", *result.free), tables.correlation(result, candidate))
    r, observed, calculated, background = result.curve(rank)
    rows = np.stack([r, observed, calculated, observed - calculated, background], axis=1)
    columns = INTENSITY_COLUMNS if result.kind == "iq" else PDF_COLUMNS
    tables.write(curve, columns, (dict(zip(columns, line, strict=True)) for line in rows))
    figures.write(fit_figure, figures.fit(result, rank=rank))


def _write_other_candidate(result: PdfResult, rank: int, candidate: Candidate, folder: Path, stem: str) -> None:
    """Write the structure of a candidate after the best, and, if it is the user's own, also its curve and figure."""
    name = f"rank{rank}"
    structure = folder / "structures" / stem / f"{name}.xyz"
    if candidate.source != "file":
        _write_atoms(structure, result, candidate)
        return
    correlations, fits = folder / "correlations" / stem / f"{name}.csv", folder / "fits" / stem
    _write_candidate(result, rank, structure, correlations, fits / f"{name}.csv", fits / f"{name}.png")


def _write_atoms(path: Path, result: PdfResult, candidate: Candidate) -> None:
    if candidate.atoms is None:
        return
    facts: dict[str, str | float] = {"description": candidate.label, "file": Path(result.name).name}
    facts |= {} if result.frame is None else {"frame": result.frame}
    facts |= {"sha256": result.sha256, "element": result.element}
    facts |= {"role": "most likely member of a distribution"} if result.sample == "distribution" else {}
    recipe = candidate.recipe if candidate.source == "file" else f"{candidate.family} {candidate.recipe}"
    facts |= {"type": candidate.type, "source": candidate.source, "recipe": recipe}
    facts |= {"rw": candidate.rw, "weight": candidate.weight}
    facts |= {name: candidate.values[name].value for name in result.free}
    atoms = candidate.atoms
    if candidate.occupancy is not None:
        atoms = atoms.copy()
        atoms.set_array("occupancy", np.round(candidate.occupancy, 4))
    write_structure(path, atoms, facts)


def _remove_old_candidates(folder: Path, stem: str) -> None:
    """Remove the files that an earlier run wrote for candidates after the best, and for the distribution."""
    for subfolder in ("structures", "correlations", "fits"):
        for path in (folder / subfolder / stem).glob("rank*"):
            path.unlink()
        with contextlib.suppress(OSError):  # the folder is missing, or the user keeps other files there
            (folder / subfolder / stem).rmdir()
    for suffix in ("csv", "png"):
        (folder / "distribution" / f"{stem}.{suffix}").unlink(missing_ok=True)
