"""What `jaxstruc solve` and `jaxstruc mine` do: the same, with other defaults.

What `jaxstruc saxs` does.

What `jaxstruc refine` does.

What `jaxstruc classify` does.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxstruc import batch
from jaxstruc.api import refining, solving
from jaxstruc.batch import MAX_LISTED_FILES, BatchOutcome, ProgressCallback, Workflow
from jaxstruc.io import measurement, read, reduction
from jaxstruc.io.measurement import Measurement
from jaxstruc.network import weights
from jaxstruc.options.pdf import ClassifyCommand, MineCommand, RefineCommand, SolveCommand
from jaxstruc.options.small_angle import SaxsCommand
from jaxstruc.pdf.classify import classify_measurements
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import PdfPlan
from jaxstruc.report import figures, summary, tables
from jaxstruc.result import Result
from jaxstruc.scattering import form_factors
from jaxstruc.small_angle import solve as small_angles
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.small_angle.solve import SaxsPlan


def solve(config: SolveCommand | MineCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Solve measured PDFs and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    batch.check_inputs(config.files, config.out, PdfPlan(config.element, (), config.options))
    plan = solving(config.element, config.options, progress=progress)
    return batch.run_batch(config.files, config.out, plan, progress=progress, show=tables.settings)


SAXS_WORKFLOW = Workflow(
    small_angles.read_saxs_measurement,
    small_angles.solve_saxs_measurements,
    SaxsResult,
    summary.SAXS_SUMMARY,
    "the measured I(Q)",
    "candidates/, distribution/ and fits/",
)


def saxs(config: SaxsCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Find sizes and shapes for measured small angles and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    plan = SaxsPlan(config.element, config.options)
    small_angles.check_saxs_plan(plan)
    batch.check_inputs(config.files, config.out, plan, workflow=SAXS_WORKFLOW)
    return batch.run_batch(
        config.files, config.out, plan, progress=progress, show=tables.settings, workflow=SAXS_WORKFLOW
    )


MEASURED_SUFFIXES = (".gr", ".sq", ".fq", ".dat", ".txt", ".csv")
"""Endings of measured PDFs; in any case the last file is one."""


def refine(config: RefineCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Refine clusters against measured PDFs and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    clusters, measured = split_files(config.files)
    plan = refining(clusters, config.options)
    batch.check_inputs(measured, config.out, plan, workflow=batch.REFINE_WORKFLOW)
    return batch.run_batch(
        measured, config.out, plan, progress=progress, show=tables.settings, workflow=batch.REFINE_WORKFLOW
    )


def split_files(paths: tuple[Path, ...]) -> tuple[list[Path], list[Path]]:
    """Return structure files and measured ones.

    Raises:
        ValueError: where either are missing.
    """
    measured = [path for path in paths[:-1] if path.suffix.lower() in MEASURED_SUFFIXES] + list(paths[-1:])
    clusters = [path for path in paths[:-1] if path.suffix.lower() not in MEASURED_SUFFIXES]
    if not clusters or not measured:
        raise ValueError(
            f"Expected structure files and then measured PDFs, got {' '.join(map(str, paths)) or 'none'}; name both."
        )
    return clusters, measured


def classify(config: ClassifyCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Name the samples behind measured PDFs, and write summary.csv and types.png.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    if not config.files:
        raise ValueError("Expected at least one file, got none; name the measured .gr files.")
    bond = form_factors.bond_length(config.element)
    network = weights.load_classifier(config.options.weights)
    read = [_read_pdf(path, config, bond) for path in config.files]
    if len(read) == 1 and isinstance(read[0], PdfResult):
        raise ValueError(read[0].message)
    good = [one for one in read if isinstance(one, Measurement)]
    progress(0, len(read), "")
    named = iter(classify_measurements(good, network, element=config.element, seed=config.options.seed))
    results = [one if isinstance(one, PdfResult) else next(named) for one in read]
    progress(len(read), len(read), "")
    rows = [summary.row(result, summary.CLASSIFY_SUMMARY) for result in results]
    tables.write(config.out / "summary.csv", summary.CLASSIFY_SUMMARY, rows)
    if good:
        figures.write(config.out / "types.png", figures.types(results))
    return BatchOutcome(results, 0)


def closing_lines(outcome: BatchOutcome, out: Path) -> Iterator[str]:
    """Yield what a person wants to know, a line a file."""
    results: Sequence[Result] = outcome.results
    yield from (tables.headline(result) for result in results[:MAX_LISTED_FILES])
    if len(results) > MAX_LISTED_FILES:
        yield f"... and {len(results) - MAX_LISTED_FILES} more"
    yield f"See {out / 'summary.csv'} and {out / 'types.png'}."


def _read_pdf(path: Path, config: ClassifyCommand, bond: float) -> Measurement | PdfResult:
    """Return a measurement with its settings, or why there is none."""
    try:
        curve = config.options.curve
        data = read.read_curve(
            path, q_unit=curve.q_unit, wavelength=curve.wavelength, kind=curve.kind, accepted_kinds=read.PDF_KINDS
        )
        return measurement.resolve_settings(
            reduction.reduce_to_pdf(data, config.options.data), config.options.data, bond=bond
        )
    except (ValueError, OSError) as error:
        return PdfResult(str(path), "", config.element, "failed", " ".join(str(error).split()))
