"""What `jaxstruc solve` and `jaxstruc mine` do: the same, with other defaults."""

from jaxstruc.commands import arguments, run
from jaxstruc.commands.progress import ProgressCallback
from jaxstruc.commands.run import BatchOutcome
from jaxstruc.report import tables
from jaxstruc.solver.answers import PdfPlan
from jaxstruc.solver.doors import solving


def solve(config: arguments.Solve | arguments.Mine, *, progress: ProgressCallback) -> BatchOutcome:
    """Solve measured PDFs and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    run.check_inputs(config.files, config.out, PdfPlan(config.element, (), config.options))
    plan = solving(config.element, config.options, progress=progress)
    return run.run_batch(config.files, config.out, plan, progress=progress, show=tables.settings)
