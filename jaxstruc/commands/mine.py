"""What `jaxstruc mine` does."""

from jaxstruc.commands import run, settings
from jaxstruc.commands.progress import Advance
from jaxstruc.commands.run import Outcome
from jaxstruc.report import tables
from jaxstruc.solver.answers import Plan
from jaxstruc.solver.doors import solving


def mine(config: settings.Mine, *, progress: Advance) -> Outcome:
    """Mine measured PDFs and write the results.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    run.check(config.files, config.out, Plan(config.element, (), config.data, config.fit, curve=config.curve))
    plan = solving(
        config.element, sources=("library",), data=config.data, fit=config.fit, library=config.candidates,
        ensemble=config.ensemble, screen=config.screen, curve=config.curve, progress=progress,
    )  # fmt: skip
    return run.run(config.files, config.out, plan, progress=progress, show=tables.settings)
