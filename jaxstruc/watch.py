"""A folder that is watched: its files are solved once they are whole, and the table and the page stay up to date.

The folder is polled, because network file systems do not report changes. A file is whole if its size and the time of
its last change have stood still for `STILL_SECONDS`. A file that changes later is read again.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxstruc.batch import BatchRun, file_state
from jaxstruc.report import page
from jaxstruc.result import Result

POLL_SECONDS, STILL_SECONDS = 0.25, 1.0
"""Time between two looks at the folder, and time for which a whole file has not changed, in s."""
RETRY_SECONDS = 2.0
"""Time after which a run goes on that could not write, e.g. because the disk is full, in s."""
MAX_PAGE_SHARE = 0.1
"""Largest share of the time that pages take while files are waiting."""
UNFINISHED_SUFFIXES = (".part", ".tmp", ".partial", ".swp", "~")
"""Ends of the names of files that a program has not finished."""


class WatchedFile(NamedTuple):
    """State of a file, and the time at which this state was seen first."""

    state: tuple[int, int]
    """Size in bytes, and time of the last change in ns."""
    since: float
    """Time of the clock of this process, in s."""


class WatchedFolder:
    """Files of a folder with the times since which they stand still."""

    def __init__(self, folder: Path, patterns: Sequence[str]):
        """Begin to watch a folder.

        Args:
            folder: Folder of the measured files. Its subfolders are not watched.
            patterns: Patterns of the names of the files, e.g. "*.gr".

        Raises:
            ValueError: If the folder does not exist.
        """
        if not folder.is_dir():
            raise ValueError(f"Expected a folder of measured files, got {folder}; make it, or correct the path.")
        self._folder, self._patterns = folder, patterns
        self._files: dict[Path, WatchedFile] = {}

    def poll(self) -> None:
        """Look at the files of the folder."""
        current_time = time.monotonic()
        paths = {path for pattern in self._patterns for path in self._folder.glob(pattern)}
        for path in paths:
            if path.name.startswith(".") or path.name.endswith(UNFINISHED_SUFFIXES) or not path.is_file():
                continue
            state = file_state(path)
            if state is not None and (path not in self._files or self._files[path].state != state):
                self._files[path] = WatchedFile(state, current_time)
        self._files = {path: file for path, file in self._files.items() if path in paths}

    @property
    def whole_files(self) -> dict[Path, WatchedFile]:
        """Files that are not empty and stand still, in natural order of their names."""
        current_time = time.monotonic()
        whole_files = {
            path: file
            for path, file in self._files.items()
            if file.state[0] > 0 and current_time - file.since >= STILL_SECONDS
        }
        return dict(sorted(whole_files.items(), key=lambda item: natural_order(item[0].name)))

    def has_waiting(self, taken_files: Mapping[Path, WatchedFile]) -> bool:
        """Return whether a file is new or has changed since it was taken."""
        return any(taken_files.get(path) != file for path, file in self._files.items())


def natural_order(name: str) -> tuple:
    """Return the key by which names are sorted as people do, e.g. scan2 before scan10."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts), name


class PageWriter:
    """Writer of the page of results, which writes it when rows have changed."""

    def __init__(self, run: BatchRun):
        """Begin with the rows of a run."""
        self._run = run
        self._written_rows: dict = {}
        self._cache: page.PageCache = {}
        self._next_time = 0.0

    def write(self, *, is_waiting: bool) -> None:
        """Write the page if rows have changed, but seldom while files are waiting."""
        rows = self._run.row_by_stem
        is_changed = rows.keys() != self._written_rows.keys() or any(
            rows[stem] is not self._written_rows[stem] for stem in rows
        )
        if not rows or not is_changed or (is_waiting and time.monotonic() < self._next_time):
            return
        start_time = time.monotonic()
        page.write_pages(self._run.out, cache=self._cache)
        self._written_rows = dict(rows)
        self._next_time = time.monotonic() + (time.monotonic() - start_time) / MAX_PAGE_SHARE


def watch(
    watched_folder: WatchedFolder,
    run: BatchRun,
    *,
    until: int | None,
    report: Callable[[Path, Result, float], None],
    remark: Callable[[str], None],
) -> None:
    """Solve the files of a folder as they become whole, until `until` files have a row or ctrl-c is pressed.

    If results cannot be written, e.g. because the disk is full, the run waits and goes on.

    Args:
        watched_folder: Folder of the measured files.
        run: Run to which the files are added.
        until: Number of files after which the run ends; None for no end.
        report: Function that is called after the row of a file is written, with the file, its result, and the time in s
            since its last change was seen.
        remark: Function that prints a line.
    """
    page_writer = PageWriter(run)
    taken_files: dict[Path, WatchedFile] = {}
    try:
        while until is None or len(taken_files) < until or run.has_pending:
            watched_folder.poll()
            n_skipped = len(run.skipped_stems)
            try:
                _take_files(watched_folder.whole_files, taken_files, run, until, report)
                page_writer.write(is_waiting=watched_folder.has_waiting(taken_files))
            except OSError as error:
                reason = error.strerror or str(error)
                remark(f"The results cannot be written ({reason}). The next attempt is in {RETRY_SECONDS:g} s.")
                time.sleep(RETRY_SECONDS)
            if n_skipped < len(run.skipped_stems):
                remark(f"{len(run.skipped_stems)} results are from an earlier run.")
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        remark("Ended by ctrl-c. Finished results are kept; run the command again to continue.")
    try:
        page_writer.write(is_waiting=False)
    except OSError as error:
        remark(f"The page cannot be written ({error.strerror or error}); make it later with jaxstruc page.")


def _take_files(
    whole_files: Mapping[Path, WatchedFile],
    taken_files: dict[Path, WatchedFile],
    run: BatchRun,
    until: int | None,
    report: Callable[[Path, Result, float], None],
) -> None:
    """Solve the whole files that are new or have changed, and add them to the taken files."""
    new_files = {path: file for path, file in whole_files.items() if taken_files.get(path) != file}
    if until is not None:
        added_paths = [path for path in new_files if path not in taken_files][: max(until - len(taken_files), 0)]
        new_files = {path: file for path, file in new_files.items() if path in taken_files or path in added_paths}
    if new_files:
        taken_files |= new_files
        run.read(sorted(taken_files, key=lambda path: natural_order(path.name)))
    if run.has_pending:
        run.solve_pending(
            progress=lambda n_done, n_all, text: None,
            report=lambda path, result: report(path, result, time.monotonic() - taken_files[path].since),
        )
