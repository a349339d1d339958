"""Progress bars with the elapsed and the remaining time."""

import contextlib
from collections.abc import Callable, Iterator

import rich.console
import rich.progress


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[..., None]]:
    """Yield a function that updates a bar on stderr; the bar appears at its first call.

    The arguments of the function are the number of finished items, the number of all items, and a text.
    """
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("elapsed"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(elapsed_when_finished=False),
        rich.progress.TextColumn("{task.fields[text]}"),
    )
    console = rich.console.Console(stderr=True)
    progress_display = rich.progress.Progress(*columns, console=console)
    task = progress_display.add_task(title, total=None, text="")

    def advance(n_done: int, n_total: int, text: str = "") -> None:
        progress_display.start()
        progress_display.update(task, completed=n_done, total=n_total, text=text)

    try:
        yield advance
    finally:
        if progress_display.live.is_started:
            progress_display.stop()
