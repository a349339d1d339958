"""Progress bars with the time left."""

import contextlib
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

Advance = Callable[[int, int, str], None]
"""Called with what is done, what there is in all, and a remark."""


@contextlib.contextmanager
def bar(title: str) -> Iterator[Callable[..., None]]:
    """Yield a function of (done, total, text) that moves a bar on standard error, shown from its first call."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(elapsed_when_finished=False),
        rich.progress.TextColumn("{task.fields[text]}"),
    )
    console = rich.console.Console(stderr=True)
    shown = rich.progress.Progress(*columns, console=console)
    task = shown.add_task(title, total=None, text="")

    def advance(done: int, total: int, text: str = "") -> None:
        shown.start()
        shown.update(task, completed=done, total=total, text=text)

    try:
        yield advance
    finally:
        if shown.live.is_started:
            shown.stop()
