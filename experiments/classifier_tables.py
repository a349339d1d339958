"""Tables of the experiments on the classifier, which names types and sizes of particles from their PDFs."""

from collections.abc import Iterator

import numpy as np
from scipy import stats
from table_cells import Rows, columns_table, group_rows, markdown_table, number, percent, seeds

PARTICLE_PARTS = {"offrule": "not in the library", "rules": "DeepStruc's rules", "measured": "measured"}


def _noise_text(noise: float | None) -> str:
    return "–" if noise is None else f"{100 * noise:g} %"


# ---- accuracy


def _accuracy_lines(rows: Rows) -> Iterator[list[str]]:
    """Yield the cells of each part and noise. The last one is Spearman's correlation of shares of hexagonal layers."""
    particle_rows = [row for row in rows if row["part"] in ("offrule", "rules")]
    for (part, noise), case_rows in group_rows(particle_rows, ("part", "noise")).items():
        right_shares = [
            100 * np.mean([row["type"] == row["found_type"] for row in case_rows if row["seed"] == seed])
            for seed in seeds(case_rows)
        ]
        spread = np.std(right_shares, ddof=1) if len(right_shares) > 1 else 0.0
        layered_rows = [row for row in case_rows if np.isfinite(row["hexagonal"])]
        true_shares, predicted_shares = (
            np.array([row[name] for row in layered_rows]) for name in ("hexagonal", "found_hexagonal")
        )
        yield [
            *(PARTICLE_PARTS[part], _noise_text(noise), str(len(case_rows))),
            f"{np.mean(right_shares):.1f} ± {spread:.1f} %",
            f"{100 * np.median([abs(row['n_atoms'] / row['atoms'] - 1) for row in case_rows]):.2g} %",
            percent([abs(row["n_rank"] - 0.5) <= 0.25 for row in case_rows]),
            percent([abs(row["n_rank"] - 0.5) <= 0.45 for row in case_rows]),
            number(np.median(abs(true_shares - predicted_shares)), 2),
            f"{stats.spearmanr(true_shares, predicted_shares).statistic:.3f}",
        ]


ACCURACY_HEAD = [
    *("particles", "noise", "PDFs", "type right", "median error of the number of atoms", "atoms in the 50 % interval"),
    *("atoms in the 90 % interval", "median error of the share of hexagonal layers"),
]


def accuracy_block(rows: Rows) -> str:
    """Return the accuracy for simulated particles, and a sentence on the PDFs of the training's simulation."""
    table = markdown_table([ACCURACY_HEAD, *(cells[:-1] for cells in _accuracy_lines(rows))])
    return f"{table}\n\n{stream_sentence(rows)}"


def accuracy_table(rows: Rows) -> str:
    """Return the accuracy with the correlation of true and predicted shares of hexagonal layers."""
    head = [*ACCURACY_HEAD, "Spearman's correlation of that share"]
    return markdown_table([head, *_accuracy_lines(rows)])


def stacks_sentence(rows: Rows) -> str:
    """Return a sentence on the shares of hexagonal layers of random stacks."""
    stack_rows = [row for row in rows if row["part"] == "offrule" and row.get("kind") == "stack"]
    true_shares, predicted_shares = (
        np.array([row[name] for row in stack_rows]) for name in ("hexagonal", "found_hexagonal")
    )
    return (
        f"For the {len(stack_rows)} random stacks Spearman's correlation of the share of hexagonal layers is "
        f"{stats.spearmanr(true_shares, predicted_shares).statistic:.3f}, and the median error of this share is "
        f"{np.median(abs(true_shares - predicted_shares)):.3f}."
    )


STREAM_PARTS = {"own": "as in the training", "held": "sizes held out of the training"}


def _stream_lines(rows: Rows) -> Iterator[list[str]]:
    for row in (row for row in rows if row["part"] in STREAM_PARTS):
        coverages = (row.get(name) for name in ("n_atoms_50", "n_atoms_90", "diameter_90", "width_90"))
        source = "" if row["source"] == "all" else f", {row['source']}"
        yield [
            f"{STREAM_PARTS[row['part']]}{source}",
            str(row["cases"]),
            *(f"{100 * row[name]:.1f} %" for name in ("right", "calibration")),
            *(f"{100 * coverage:.1f} %" if coverage is not None else "–" for coverage in coverages),
            f"{row['n_atoms_uneven']:.3f}",
        ]


STREAM_HEAD = [
    *("PDFs", "number", "type right", "calibration error of types", "atoms in the 50 % interval"),
    *("atoms in the 90 % interval", "diameter, 90 %", "width, 90 %"),
]


def stream_sentence(rows: Rows) -> str:
    """Return a sentence on the calibration on PDFs like those of the training."""
    own_row = next(row for row in rows if row["part"] == "own" and row["source"] == "all")
    held_row = next(row for row in rows if row["part"] == "held")
    return (
        f"On {own_row['cases']} PDFs of the training's simulation that no training has used, "
        f"{percent([own_row['right']], 1)} of the types are right, and the 90 % intervals contain the number of atoms "
        f"in {percent([own_row['n_atoms_90']])}, the diameter in {percent([own_row['diameter_90']])} and the width in "
        f"{percent([own_row['width_90']])} of the cases. For sizes that were held out of the training, "
        f"{percent([held_row['right']], 1)} of the types are right."
    )


def stream_table(rows: Rows) -> str:
    """Return the calibration with the unevenness of the ranks of the numbers of atoms."""
    head = [*STREAM_HEAD, "unevenness of the ranks of the number of atoms"]
    return markdown_table([head, *_stream_lines(rows)])


def ranks_table(rows: Rows) -> str:
    """Return how evenly the ranks of truths among posterior draws fill 20 bins."""
    lines = [["output", "largest of 20 bins", "smallest", "even filling and 99 % band", "within the band"]]
    for row in (row for row in rows if row["part"] == "sbc"):
        expected_count = sum(row["counts"]) / len(row["counts"])
        counts = str(max(row["counts"])), str(min(row["counts"])), f"{expected_count:.0f} ± {row['band']:.0f}"
        lines.append([row["value"], *counts, "yes" if row["inside"] else "no"])
    return markdown_table(lines)


OUTLIER_TITLES = {
    "false alarms": "one particle (false alarms)", "qmax told 20 % too high": "stated qmax 20 % too high",
}  # fmt: skip


def outliers_block(rows: Rows) -> str:
    """Return how well samples that are no particle of one metal are detected."""
    return columns_table(
        [row for row in rows if row["part"] == "outside"],
        {
            "sample": lambda row: OUTLIER_TITLES.get(row["what"], row["what"]),
            "AUROC": lambda row: f"{row['auroc']:.3f}" if "auroc" in row else "–",
            "reported as unlike the training": lambda row: percent([row.get("alarms", row.get("share"))]),
            "PDFs": "cases",
        },
    )


def measured_table(rows: Rows) -> str:
    """Return types and sizes of measured files."""

    def interval(name: str, digits: int):
        return lambda row: f"{row[name][0]:.{digits}f} ({row[name][1]:.{digits}f} to {row[name][2]:.{digits}f})"

    def types(row: dict) -> str:
        return ", ".join(f"{name} {share:.2f}" for name, share in row["types"].items() if share >= 0.02)

    return columns_table(
        [row for row in rows if row["part"] == "measured"],
        {
            "file": "file",
            "types and their probabilities": types,
            "atoms (90 % interval)": interval("n_atoms", 0),
            "diameter, Å (90 % interval)": interval("diameter", 1),
            "distance from the training": lambda row: f"{row['distance']:.2f}",
        },
    )


# ---- preselection of candidates


def _screening_pairs(rows: Rows) -> list[dict[str, dict]]:
    """Return the rows of each file with and without the classifier."""
    rows_by_case: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        names = ("part", "kind", "seed", "draw", "noise", "file")
        rows_by_case.setdefault(tuple(row.get(name) for name in names), {})[row["screen"]] = row
    return [pair for pair in rows_by_case.values() if len(pair) == 2]


def screening_block(rows: Rows) -> str:
    """Return what the classifier's preselection retains and saves, one line for each part and noise."""
    pairs = _screening_pairs(rows)
    lines = [
        "files;noise;number;Rw within 2 % of the lowest;same cluster first;candidates tried;seconds, all tried;"
        "seconds, preselected".split(";")
    ]
    for part, noise in group_rows([pair["none"] for pair in pairs], ("part", "noise")):
        case_pairs = [pair for pair in pairs if pair["none"]["part"] == part and pair["none"].get("noise") == noise]
        tried_shares = [pair["classifier"]["kept"] / pair["classifier"]["listed"] for pair in case_pairs]
        seconds = (
            number(np.median([pair[name]["seconds"] for pair in case_pairs]), 2) for name in ("none", "classifier")
        )
        lines.append(
            [
                *(PARTICLE_PARTS[part], _noise_text(noise), str(len(case_pairs))),
                percent([pair["classifier"]["rw"] <= 1.02 * pair["none"]["rw"] for pair in case_pairs]),
                percent([pair["classifier"]["found"] == pair["none"]["found"] for pair in case_pairs]),
                f"{100 * np.median(tried_shares):.0f} %",
                *seconds,
            ]
        )
    return markdown_table(lines)


def screening_files_table(rows: Rows) -> str:
    """Return the best cluster of each measured file with and without the classifier."""
    return columns_table(
        [pair for pair in _screening_pairs(rows) if pair["none"]["part"] == "measured"],
        {
            "file": lambda pair: pair["none"]["file"],
            "Rw, all tried": lambda pair: f"{pair['none']['rw']:.4f}",
            "Rw, preselected": lambda pair: f"{pair['classifier']['rw']:.4f}",
            "candidates tried": lambda pair: pair["classifier"]["kept"],
            "effective of 1000 draws": lambda pair: f"{pair['classifier']['effective']:.0f}",
            "first, all tried": lambda pair: pair["none"]["found"],
            "first, preselected": lambda pair: pair["classifier"]["found"],
        },
    )
