"""What `jaxstruc saxs` does."""

from jaxstruc.commands import arguments, run
from jaxstruc.commands.progress import Advance
from jaxstruc.commands.run import Outcome, Way
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.report import summary, tables
from jaxstruc.solver import small_angles
from jaxstruc.solver.small_angles import Plan

WAY = Way(
    small_angles.read, small_angles.answers, SaxsResult, summary.SAXS_SUMMARY, "the measured I(Q)",
    "candidates/, distribution/ and fits/",
)  # fmt: skip


def saxs(config: arguments.Saxs, *, progress: Advance) -> Outcome:
    """Find sizes and shapes for measured small angles and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    plan = Plan(config.element, config.options)
    small_angles.check(plan)
    run.check(config.files, config.out, plan, way=WAY)
    return run.run(config.files, config.out, plan, progress=progress, show=tables.settings, way=WAY)
