"""Runs that several jobs share (`--shard 3/16`), and the merge of their tables (`jaxstruc merge`).

The jobs name the same files, options and folder of results. Each job solves every n-th curve and writes the rows of its
curves to a table in the folder shards/. The merge writes summary.csv from these tables.
"""

import contextlib
import csv
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxstruc.report import page, tables
from jaxstruc.report.summary import Row

FOLDER = "shards"
"""Name of the folder of the tables in the folder of results."""
TABLE_NAME = re.compile(r"([0-9]+)-of-([0-9]+)\.csv")
"""Name of the table of a shard: its number and the number of shards."""


class Shard(NamedTuple):
    """Part of a run: every n-th curve, from curve `number` on."""

    number: int = 1
    """Number of the shard, counted from 1."""
    n_shards: int = 1
    """Number of shards of the run."""

    def select(self, stems: Sequence[str]) -> set[str]:
        """Return the names of the results of this shard. Curves with equal names belong to one shard."""
        return set(list(dict.fromkeys(stems))[self.number - 1 :: self.n_shards])


WHOLE_RUN = Shard()
"""The only shard of a run that is not divided."""


class RunPart(NamedTuple):
    """Facts about a shard and its run. A shard's table repeats them in each row, before the columns of summary.csv."""

    run: str
    """Key of the run, which depends on its files and options."""
    n_curves: int
    """Number of curves of the run."""
    n_results: int
    """Number of results of the run. Curves with equal names have one result."""
    n_shard_curves: int
    """Number of curves of the shard."""


ORDER_COLUMN = "order"
"""Further column of a shard's table: place of the curve in the run, counted from 0."""


class MergedTable(NamedTuple):
    """Contents of a merged table."""

    n_curves: int
    """Number of all curves of the run."""
    n_failed: int
    """Number of curves whose result failed."""
    n_missing: int
    """Number of curves without a row."""
    unfinished_shards: tuple[str, ...]
    """Shards that lack rows, as they are named on the command line, e.g. 3/16."""

    @property
    def status(self) -> int:
        """Exit status: 3 if some curves failed or are missing, otherwise 0."""
        return 3 if self.n_failed or self.n_missing else 0


def parse_shard(text: str) -> Shard:
    """Return the shard that an option such as 3/16 names.

    Raises:
        ValueError: If the text is not a number and a count, or if the number is not between 1 and the count.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = Shard(*map(int, match.groups())) if match else None
    if shard is None or not 1 <= shard.number <= shard.n_shards:
        raise ValueError(
            f"Expected --shard as a number from 1 to the number of all shards, and this number, got {text}; pass e.g. "
            "--shard 3/16."
        )
    return shard


def write_table(
    shard: Shard, out: Path, part: RunPart, rows: Sequence[tuple[int, Row]], columns: Sequence[str]
) -> None:
    """Write the table of a shard.

    Args:
        shard: Number of the shard and of all shards.
        out: Folder of the results.
        part: Facts about the shard and its run.
        rows: Place of each curve in the run, counted from 0, and its row of summary.csv.
        columns: Columns of summary.csv.
    """
    tables.write(
        out / FOLDER / f"{shard.number}-of-{shard.n_shards}.csv",
        (ORDER_COLUMN, *RunPart._fields, *columns),
        [{ORDER_COLUMN: order} | part._asdict() | row for order, row in rows],
    )


def remove_other_tables(shard: Shard, out: Path, run: str) -> None:
    """Remove the tables of other runs, and of this run with another number of shards. A whole run removes all."""
    if shard.n_shards == 1:
        shutil.rmtree(out / FOLDER, ignore_errors=True)
        return
    for path, n_shards in _table_paths(out).items():
        with contextlib.suppress(ValueError):  # a damaged table is removed too
            if n_shards == shard.n_shards and all(row["run"] == run for row in _read_table(path)):
                continue
        path.unlink(missing_ok=True)


def merge(out: Path) -> MergedTable:
    """Write summary.csv from the tables of all shards, in the order of the curves, and the page of results.

    Raises:
        ValueError: If there is no row of a shard, if a table is damaged, or if the tables are of different runs.
    """
    paths = _table_paths(out)
    rows_by_number = {int(path.name.split("-")[0]): _read_table(path) for path in paths}
    rows = [row for table_rows in rows_by_number.values() for row in table_rows]
    if not rows:
        raise ValueError(
            f"Expected tables with the results of shards in {out / FOLDER}, got none; run the shards first."
        )
    if len(set(paths.values())) > 1 or len({(tuple(row), row["run"]) for row in rows}) > 1:
        raise ValueError(
            f"Expected tables of one run in {out / FOLDER}, got those of several; run all shards with the same files "
            "in the same order, the same options, and the same number of shards."
        )
    ordered_rows = [row for _, row in sorted({int(row[ORDER_COLUMN]): row for row in rows}.items())]
    columns = [name for name in rows[0] if name not in (ORDER_COLUMN, *RunPart._fields)]
    tables.write(out / "summary.csv", columns, [{name: row[name] for name in columns} for row in ordered_rows])
    page.write_pages(out)
    n_curves, n_shards = int(rows[0]["n_curves"]), next(iter(paths.values()))
    filled_shards = range(1, min(n_shards, int(rows[0]["n_results"])) + 1)
    unfinished_shards = [number for number in filled_shards if _is_unfinished(rows_by_number.get(number))]
    return MergedTable(
        n_curves,
        sum(row.get("status") == "failed" for row in ordered_rows),
        n_curves - len(ordered_rows),
        tuple(f"{number}/{n_shards}" for number in unfinished_shards),
    )


def _is_unfinished(rows: Sequence[Row] | None) -> bool:
    """Return whether the table of a shard is missing or lacks rows."""
    return not rows or len(rows) < int(rows[0]["n_shard_curves"])


def _table_paths(out: Path) -> dict[Path, int]:
    """Return the tables of shards in a folder of results, with the numbers of shards in their names."""
    matches = {path: TABLE_NAME.fullmatch(path.name) for path in sorted((out / FOLDER).glob("*.csv"))}
    return {path: int(match[2]) for path, match in matches.items() if match}


def _read_table(path: Path) -> list[Row]:
    """Return the rows of a shard's table.

    Raises:
        ValueError: If the file is not the table of a shard.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
        if not {ORDER_COLUMN, *RunPart._fields} <= set(reader.fieldnames or ()):
            raise ValueError
        for row in rows:
            numbers = [int(row[name]) for name in (ORDER_COLUMN, *RunPart._fields) if name != "run"]
            if min(numbers) < 0 or not row["run"] or None in row or None in row.values():
                raise ValueError
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"Expected the table of a shard, got {path}; remove it and run this shard again.") from error
    return rows
