"""What `jaxstruc solve` and `jaxstruc mine` do: the same, with other defaults."""

from jaxstruc.commands import arguments, run
from jaxstruc.commands.progress import Advance
from jaxstruc.commands.run import Outcome
from jaxstruc.report import tables
from jaxstruc.solver.answers import Plan
from jaxstruc.solver.doors import solving


def solve(config: arguments.Solve | arguments.Mine, *, progress: Advance) -> Outcome:
    """Solve measured PDFs and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    run.check(config.files, config.out, Plan(config.element, (), config.options))
    plan = solving(config.element, config.options, progress=progress)
    return run.run(config.files, config.out, plan, progress=progress, show=tables.settings)
