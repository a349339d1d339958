"""Tables of the experiments on data with the imperfections of measured ones."""

import numpy as np
from table_cells import Rows, group_rows, markdown_table, number, percent

PART_TITLES = {"imperfect": "all imperfections but the distribution of sizes", "clean": "noise and relaxed atoms only"}
"""Description of each part of `imperfect_types.py`."""
SURE_PROBABILITY, MIN_PROBABILITY = 0.9, 1e-6
"""Probability from which on a type is sure, and smallest probability in the log loss."""
MEAN_TOLERANCE, WIDTH_TOLERANCE = 0.05, 0.25
"""Largest relative errors of a mean diameter and of a width that count as right."""
DISTRIBUTION_COLUMNS = (
    *("mean within 5 %", "width within 25 %", "mean in its interval", "width in its interval", "largest share right"),
)
"""Columns of the table of distributions."""
SCREEN_TITLES = {
    "strict": "only those that the classifier finds probable",
    "classifier": "the same, and all if the best of these is weak (default)",
}
"""Selections of candidates that `imperfect_pdfs.py` compares with all candidates."""


def most_probable_type(row: dict) -> str:
    """Return the type with the largest probability."""
    return max(row["types"], key=row["types"].get)


def log_loss(rows: Rows) -> float:
    """Return the mean of -ln of the probability of the true type."""
    return float(np.mean([-np.log(max(row["types"].get(row["type"], 0.0), MIN_PROBABILITY)) for row in rows]))


def types_table(rows: Rows) -> str:
    """Return the table of the probabilities of types, one line for each part."""
    lines = [["data", "files", "type right", "probability of at least 0.9", "right of these", "log loss"]]
    for (part,), part_rows in group_rows(rows, ("part",)).items():
        sure_rows = [row for row in part_rows if max(row["types"].values()) >= SURE_PROBABILITY]
        lines.append(
            [
                PART_TITLES[part], str(len(part_rows)),
                percent([most_probable_type(row) == row["type"] for row in part_rows]),
                percent([row in sure_rows for row in part_rows]),
                percent([most_probable_type(row) == row["type"] for row in sure_rows]),
                number(log_loss(part_rows)),
            ]
        )  # fmt: skip
    return markdown_table(lines)


def wrong_types_table(rows: Rows) -> str:
    """Return the table of the files whose most probable type is wrong."""
    lines = [["data", "seed", "true type", "atoms", "answer", "probability of the answer", "status", "Rw"]]
    lines += [
        [
            row["part"], str(row["seed"]), row["type"], str(row["atoms"]), most_probable_type(row),
            number(max(row["types"].values())), row["status"], number(row["rw"]),
        ]
        for row in rows
        if most_probable_type(row) != row["type"]
    ]  # fmt: skip
    return markdown_table(lines)


def screening_table(rows: Rows) -> str:
    """Return the table of the selections of candidates."""
    lines = [["candidates", "files", "best candidate kept", "seconds a file"]]
    lines.append(["all", str(len(rows)), "–", number(float(np.median([row["seconds_none"] for row in rows])))])
    for name, title in SCREEN_TITLES.items():
        seconds = float(np.median([row[f"seconds_{name}"] for row in rows]))
        lines.append([title, str(len(rows)), percent([row[f"held_{name}"] for row in rows], 1), number(seconds)])
    return markdown_table(lines)


def distributions_table(rows: Rows) -> str:
    """Return the table of the means and widths of distributions, one line for each part."""
    lines = [["imperfections", "files", "single / distribution / undecided", *DISTRIBUTION_COLUMNS]]
    for (part,), part_rows in group_rows(rows, ("part",)).items():
        decisions = [row["sample"] for row in part_rows]
        described = [row for row in part_rows if "mean_found" in row]
        cells = [
            [abs(row["mean_found"][0] / row["mean"] - 1) < MEAN_TOLERANCE for row in described],
            [abs(row["width_found"][0] / row["width"] - 1) < WIDTH_TOLERANCE for row in described],
            *(
                [row[f"{name}_found"][1] <= row[name] <= row[f"{name}_found"][2] for row in described]
                for name in ("mean", "width")
            ),
            [next(iter(row["shares"])) == row["true_type"] for row in described],
        ]
        counts = " / ".join(str(decisions.count(name)) for name in ("single", "distribution", "undecided"))
        title = {"all": "all", "noise": "noise only"}.get(part, f"noise and {part}")
        lines.append([title, str(len(part_rows)), counts, *map(percent, cells)])
    return markdown_table(lines)
