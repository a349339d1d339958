"""Tables of the experiment on the change points of series."""

from table_cells import Rows, columns_table


def percent_cell(name: str):
    """Return a function that makes a cell in per cent from a column of a row."""
    return lambda row: f"{100 * row[name]:.1f} %"


def constant_table(rows: Rows) -> str:
    """Return the table of false alarms."""
    columns = {
        "frames": "n_frames", "quantities together": "n_quantities", "series tested together": "n_tests",
        "series": "n_series", "with a false alarm": percent_cell("false_alarms"),
    }  # fmt: skip
    return columns_table([row for row in rows if row["course"] == "constant"], columns)


def changes_table(rows: Rows) -> str:
    """Return the table of located changes."""
    columns = {
        "course": "course", "frames": "n_frames", "height over noise": "height", "series": "n_series",
        "changes within 3 frames": percent_cell("located"), "median error, frames": "median_shift",
        "series with further changes": percent_cell("additional"),
    }  # fmt: skip
    return columns_table([row for row in rows if row["course"] != "constant"], columns)


def changes_block(rows: Rows) -> str:
    """Return the part of the README: the largest rate of false alarms, and the located changes."""
    rates = [row["false_alarms"] for row in rows if row["course"] == "constant"]
    sentence = f"Between {100 * min(rates):.1f} and {100 * max(rates):.1f} % of constant series have a false alarm."
    return f"{sentence}\n\n{changes_table(rows)}"
