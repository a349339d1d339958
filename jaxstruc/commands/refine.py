"""What `jaxstruc refine` does."""

from pathlib import Path

from jaxstruc.commands import arguments, run
from jaxstruc.commands.progress import ProgressCallback
from jaxstruc.commands.run import BatchOutcome
from jaxstruc.report import tables
from jaxstruc.solver.doors import refining

MEASURED = (".gr", ".sq", ".fq", ".dat", ".txt", ".csv")
"""Endings of measured PDFs; in any case the last file is one."""


def refine(config: arguments.Refine, *, progress: ProgressCallback) -> BatchOutcome:
    """Refine clusters against measured PDFs and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    clusters, measured = sorted_out(config.files)
    plan = refining(clusters, config.options)
    run.check_inputs(measured, config.out, plan, workflow=run.REFINE)
    return run.run_batch(measured, config.out, plan, progress=progress, show=tables.settings, workflow=run.REFINE)


def sorted_out(paths: tuple[Path, ...]) -> tuple[list[Path], list[Path]]:
    """Return structure files and measured ones.

    Raises:
        ValueError: where either are missing.
    """
    measured = [path for path in paths[:-1] if path.suffix.lower() in MEASURED] + list(paths[-1:])
    clusters = [path for path in paths[:-1] if path.suffix.lower() not in MEASURED]
    if not clusters or not measured:
        raise ValueError(
            f"Expected structure files and then measured PDFs, got {' '.join(map(str, paths)) or 'none'}; name both."
        )
    return clusters, measured
