"""What `jaxstruc saxs` does."""

from jaxstruc.commands import arguments, run
from jaxstruc.commands.progress import ProgressCallback
from jaxstruc.commands.run import BatchOutcome, Workflow
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.report import summary, tables
from jaxstruc.solver import small_angles
from jaxstruc.solver.small_angles import SaxsPlan

WAY = Workflow(
    small_angles.read_measurement, small_angles.solve_measurements, SaxsResult, summary.SAXS_SUMMARY, "the measured I(Q)",
    "candidates/, distribution/ and fits/",
)  # fmt: skip


def saxs(config: arguments.Saxs, *, progress: ProgressCallback) -> BatchOutcome:
    """Find sizes and shapes for measured small angles and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    plan = SaxsPlan(config.element, config.options)
    small_angles.check_plan(plan)
    run.check_inputs(config.files, config.out, plan, workflow=WAY)
    return run.run_batch(config.files, config.out, plan, progress=progress, show=tables.settings, workflow=WAY)
