"""Runs that several jobs share (`--shard 3/16`), and the merge of their tables (`jaxstruc merge`).

The jobs name the same files and the same folder of results. Each job solves every n-th curve and writes the rows of its
curves to a table in the folder shards/. The merge writes summary.csv from these tables.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxstruc.report import tables
from jaxstruc.report.summary import Row

FOLDER = "shards"
"""Name of the folder of the tables in the folder of results."""
ORDER_COLUMNS = ("order", "n_shard_curves", "n_curves")
"""Columns of a shard's table that summary.csv does not have: place of the curve in the run, counted from 0; number of
curves of the shard; and number of curves of the run."""
MAX_SHARDS = 100_000


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
    if shard is None or not 1 <= shard.number <= shard.n_shards <= MAX_SHARDS:
        raise ValueError(
            f"Expected --shard as a number, counted from 1, and the number of all shards, got {text}; pass e.g. "
            "--shard 3/16."
        )
    return shard


def write_table(
    shard: Shard,
    out: Path,
    rows: Sequence[tuple[int, Row]],
    columns: Sequence[str],
    *,
    n_shard_curves: int,
    n_curves: int,
) -> None:
    """Write the table of a shard.

    Args:
        shard: Part of the run.
        out: Folder of the results.
        rows: Place of each curve among all curves, counted from 0, and its row of summary.csv.
        columns: Columns of summary.csv.
        n_shard_curves: Number of curves of the shard.
        n_curves: Number of curves of the run.
    """
    tables.write(
        out / FOLDER / f"{shard.number}-of-{shard.n_shards}.csv",
        (*ORDER_COLUMNS, *columns),
        [dict(zip(ORDER_COLUMNS, (order, n_shard_curves, n_curves), strict=True)) | row for order, row in rows],
    )


def merge(out: Path) -> MergedTable:
    """Write summary.csv from the tables of all shards, in the order of the curves.

    Raises:
        ValueError: If there is no row of a shard, if a table is damaged, or if the tables are of different runs.
    """
    folder = out / FOLDER
    rows_by_shard = {_shard_of(path): _read_table(path) for path in folder.glob("*-of-*.csv")}
    rows = [row for shard_table in rows_by_shard.values() for row in shard_table]
    if not rows:
        raise ValueError(f"Expected tables with the results of shards in {folder}, got none; run the shards first.")
    counts = {shard.n_shards for shard in rows_by_shard}
    if len(counts) > 1 or len({(tuple(row), row["n_curves"]) for row in rows}) > 1:
        raise ValueError(
            f"Expected tables of one run in {folder}, got those of several; remove the tables of earlier runs."
        )
    ordered_rows = [row for _, row in sorted({int(row["order"]): row for row in rows}.items())]
    columns = [name for name in rows[0] if name not in ORDER_COLUMNS]
    tables.write(out / "summary.csv", columns, [{name: row[name] for name in columns} for row in ordered_rows])
    n_missing = int(rows[0]["n_curves"]) - len(ordered_rows)
    shards = [Shard(number, *counts) for number in range(1, *(count + 1 for count in counts))]
    unfinished_shards = [shard for shard in shards if n_missing and _is_unfinished(rows_by_shard.get(shard))]
    return MergedTable(
        int(rows[0]["n_curves"]),
        sum(row.get("status") == "failed" for row in ordered_rows),
        n_missing,
        tuple(f"{shard.number}/{shard.n_shards}" for shard in unfinished_shards),
    )


def _is_unfinished(rows: Sequence[Row] | None) -> bool:
    """Return whether the table of a shard is missing or lacks rows."""
    return not rows or len(rows) < int(rows[0]["n_shard_curves"])


def _shard_of(path: Path) -> Shard:
    """Return the shard that the name of a table states."""
    return parse_shard(path.stem.replace("-of-", "/"))


def _read_table(path: Path) -> list[Row]:
    """Return the rows of a shard's table.

    Raises:
        ValueError: If the file is not the table of a shard.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, strict=True))
        for row in rows:
            if any(int(row[name]) < 0 for name in ORDER_COLUMNS) or None in row or None in row.values():
                raise ValueError
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"Expected the table of a shard, got {path}; remove it and run this shard again.") from error
    return rows
