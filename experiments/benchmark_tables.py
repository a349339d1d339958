"""Tables of the benchmarks: times of simulations, fits and searches, compared with other programs."""

from table_cells import Rows, columns_table, group_rows, markdown_table, number

QUANTITIES = {
    ("iq", False): "I(Q)", ("gr", False): "G(r)", ("iq", True): "I(Q) and gradient", ("gr", True): "G(r) and gradient",
}  # fmt: skip


def milliseconds(row: dict) -> str:
    """Return the time of a row in milliseconds."""
    return number(1e3 * row["seconds"])


def cluster_text(row: dict) -> str:
    """Return the number of atoms, or the size of a batch of clusters."""
    return str(row["atoms"]) if row["batch"] == 1 else f"{row['batch']} clusters of 80 to 100"


def scattering_block(rows: Rows) -> str:
    """Return times on the coarse grid compared with DebyeCalculator's, and a sentence on all cases."""
    compared_rows = [row for row in rows if row["engine"] == "jaxstruc" and row["ratio"] is not None]
    ratios = [row["ratio"] for row in compared_rows]
    value_error, gradient_error = (
        max(row["error"] for row in compared_rows if row["gradient"] is gradient) for gradient in (False, True)
    )
    largest_row = next(row for row in rows if row["atoms"] == 20000)
    lines = [["atoms"]]
    for quantity in ("G(r)", "G(r) and gradient"):
        lines[0] += [f"{quantity}, ms", "DebyeCalculator, ms", "times faster"]
    lines[0].append("error of G(r)")
    coarse_rows = [row for row in compared_rows if row["grid"] == "kdd" and row["quantity"] == "gr"]
    for value_row in sorted((row for row in coarse_rows if not row["gradient"]), key=lambda row: row["batch"]):
        size = value_row["atoms"], value_row["batch"]
        pair = value_row, next(row for row in coarse_rows if row["gradient"] and (row["atoms"], row["batch"]) == size)
        cells = [
            cell
            for row in pair
            for cell in (milliseconds(row), number(1e3 * row["seconds"] * row["ratio"]), number(row["ratio"], 2))
        ]
        lines.append([cluster_text(value_row), *cells, number(value_row["error"], 1)])
    return (
        f"jaxstruc is {number(min(ratios), 2)} to {number(max(ratios), 2)} times faster than DebyeCalculator in all "
        f"{len(ratios)} cases. The relative errors of its curves are at most {number(value_error, 1)}, and those of "
        f"its gradients at most {number(gradient_error, 1)}. A cluster of 20000 atoms takes "
        f"{number(largest_row['seconds'], 2)} s and {number(largest_row['peak_gigabytes'], 2)} GB on the fine "
        "grid.\n\n" + markdown_table(lines)
    )


def scattering_table(rows: Rows) -> str:
    """Return the times and errors of all programs."""
    return columns_table(
        rows,
        {
            "grid": lambda row: {"kdd": "coarse"}.get(row["grid"], row["grid"]),
            "atoms": cluster_text,
            "quantity": lambda row: QUANTITIES[row["quantity"], row["gradient"]],
            "program": "engine",
            "time, ms": milliseconds,
            "relative error": lambda row: number(row["error"], 1),
            "DebyeCalculator's time over this": lambda row: number(row["ratio"]),
            "first call, s": lambda row: number(row.get("first_call_seconds"), 2),
            "peak memory, GB": lambda row: number(row.get("peak_gigabytes"), 2),
        },
    )


REFINEMENT_COLUMNS = {
    "program": "engine",
    "timed part": "what",
    "clusters in a batch": "batch",
    "fits per second": "fits_per_second",
    "ms per fit": "ms_per_fit",
    "converged": "converged",
    "largest excess of our Rw": "largest_excess",
}
MINING_COLUMNS = {
    "file": "file", "screened": "screened", "fitted": "fitted", "refined": "refined",
    "screening, s": "seconds_screening", "whole file, s": "seconds", "best Rw": "rw_best",
}  # fmt: skip


def refinement_block(rows: Rows) -> str:
    """Return the rates of the largest batch and the times of whole files."""
    fit_rows, file_rows = ([row for row in rows if name in row] for name in ("fits_per_second", "screened"))
    largest_batch = max(row["batch"] for row in fit_rows)
    largest_rows = [row for row in fit_rows if row["batch"] in (1, largest_batch)]
    rates = {row["engine"]: row["fits_per_second"] for row in largest_rows if row["what"] == "fits"}
    scipy_excess, optimistix_excess = (
        max(row["largest_excess"] for row in fit_rows if row["engine"] == engine) for engine in ("SciPy", "optimistix")
    )
    first_row, *later_rows = file_rows
    return (
        f"In batches of {largest_batch}, jaxstruc fits {rates['jaxstruc']:.0f} clusters per second, optimistix "
        f"{rates['optimistix']:.0f}, and SciPy {rates['SciPy']:.0f} (one after the other). Our Rw exceeds SciPy's by "
        f"at most {number(scipy_excess, 2)} and optimistix's by at most {number(optimistix_excess, 2)}. A whole file, "
        f"with {first_row['screened']} clusters screened and {first_row['fitted']} fitted, takes "
        f"{number(max(row['seconds'] for row in later_rows), 2)} s, and {number(first_row['seconds'], 2)} s with "
        f"compilation.\n\n{columns_table(largest_rows, REFINEMENT_COLUMNS)}"
    )


def refinement_table(rows: Rows) -> str:
    """Return the rates of all batches."""
    columns = REFINEMENT_COLUMNS | {"time of a batch, s": "seconds", "first call, s": "first_call_seconds"}
    return columns_table([row for row in rows if "fits_per_second" in row], columns)


def mining_table(rows: Rows) -> str:
    """Return the times of whole files."""
    return columns_table(
        [row for row in rows if "screened" in row], MINING_COLUMNS | {"atoms of the largest cluster": "most_atoms"}
    )


def saxs_block(rows: Rows) -> str:
    """Return a sentence on the times of small-angle curves compared with sasmodels."""
    times = ", ".join(f"{number(row['us_a_curve'], 2)} µs for a {row['body']}" for row in rows)
    factors = [row["times"] for row in rows]
    return (
        f"- A polydisperse small-angle curve takes {times}. This is {number(min(factors), 2)} to "
        f"{number(max(factors), 2)} times less than with sasmodels, and the curves deviate by at most "
        f"{number(max(row['deviation'] for row in rows), 1)}."
    )


def saxs_table(rows: Rows) -> str:
    """Return the times of small-angle curves compared with sasmodels."""
    return columns_table(
        rows,
        {
            "body": "body", "curves": "curves", "sizes": "sizes", "points of Q": "q", "µs per curve": "us_a_curve",
            "sasmodels, µs per curve": "sasmodels_us_a_curve", "times faster": "times", "first call, s": "first_call",
            "largest relative deviation": "deviation",
        },
    )  # fmt: skip


FIT_TITLES = {
    "sphere, gaussian": "Spheres with Gaussian sizes", "sphere, all distributions": "spheres with all distributions",
    "all bodies, gaussian": "all bodies with Gaussian sizes",
    "all bodies, all distributions": "all bodies and distributions",
}  # fmt: skip


def saxs_fits_block(rows: Rows) -> str:
    """Return a sentence on the number of small-angle files that are fitted in a second."""
    rates = {
        part: [row["fits_a_second"] for row in case_rows] for (part,), case_rows in group_rows(rows, ("part",)).items()
    }
    texts = [
        f"{FIT_TITLES.get(part, part)}: {number(min(values), 2)} to {number(max(values), 2)}"
        for part, values in rates.items()
    ]
    return (
        f"- The number of small-angle files that are fitted in a second depends on what is compared. "
        f"{'; '.join(texts)}. The targets are 200 for spheres with Gaussian sizes and 5 for all bodies and "
        "distributions."
    )


def saxs_fits_table(rows: Rows) -> str:
    """Return the number of small-angle files that are fitted in a second."""
    return columns_table(
        rows,
        {
            "bodies and distributions": "part", "common grid of Q": "series", "files": "files",
            "fits per second": "fits_a_second", "results per second": "results_a_second",
            "first fit, s": "fits_first", "first result, s": "results_first",
        },
    )  # fmt: skip


def sites_block(rows: Rows) -> str:
    """Return a sentence on the number of moves that a search over lattice sites evaluates."""
    moves, factors = ([row[name] for row in rows] for name in ("single_moves_a_second", "times_the_floor"))
    return (
        f"- A search over lattice sites evaluates {number(min(moves) / 1e6, 2)} to {number(max(moves) / 1e6, 2)} "
        f"million single moves per second and core. A step takes {number(min(factors), 2)} to "
        f"{number(max(factors), 2)} times the time that is needed to read its data."
    )


def sites_table(rows: Rows) -> str:
    """Return the number of moves that a search over lattice sites evaluates."""
    return columns_table(
        rows,
        {
            "atoms": "atoms", "lattice sites": "sites", "functions": "functions", "ms per step": "ms_a_step",
            "single moves per second": "single_moves_a_second", "exchanges per second": "exchanges_a_second",
            "lower bound, ms": "floor_ms", "time over lower bound": "times_the_floor",
        },
    )  # fmt: skip


def ensembles_block(rows: Rows) -> str:
    """Return a sentence on the times of the analyses of distributions."""
    single_row, series_row = rows
    return (
        f"- The decision between one cluster and a distribution takes {number(single_row['seconds'], 2)} s for a file. "
        f"In a series, the sizes of {number(series_row['files_a_second'], 2)} files are found per second, with median "
        f"errors of {100 * series_row['mean_off']:.2g} % of the mean and {100 * series_row['width_off']:.2g} % of the "
        "width."
    )


def ensembles_table(rows: Rows) -> str:
    """Return the times of the analyses of distributions and the errors of a series."""
    titles = {
        "part": "part", "columns": "clusters to choose from", "seconds": "seconds per file", "files": "files",
        "files_a_second": "files per second", "first": "first call, s", "mean_off": "median error of the mean",
        "width_off": "median error of the width", "mean_within_3": "means within 3 %",
        "width_within_15": "widths within 15 %",
    }  # fmt: skip
    parts = {"judge": "decision for one file"}
    return columns_table(
        rows,
        {title: name for name, title in titles.items()} | {"part": lambda row: parts.get(row["part"], row["part"])},
    )


# ---- whole commands

EXPECTED_RATES = {
    "solve": 0.5, "solve, two shards": 0.5, "mine": 2.0, "mine, two shards": 2.0, "mine --ensemble none": 4.0,
    "classify": 300.0, "saxs": 20.0,
}  # fmt: skip
"""Smallest expected rate of each part of `benchmark_throughput.py`, in files per second."""
EXPECTED_SECONDS = {"first": 20.0, "first, programs kept": 4.0, "first in Python, programs kept": 4.0}
"""Largest expected time of each first answer, in seconds."""


def throughput_table(rows: Rows) -> str:
    """Return the table of the rates of whole commands and of the times to the first answer."""
    lines = [["command", "files", "seconds", "files a second", "expected"]]
    for row in rows:
        name, n_files = row["part"], row["n_files"]
        is_rate = name in EXPECTED_RATES
        expected = f"at least {EXPECTED_RATES[name]:g}" if is_rate else f"at most {EXPECTED_SECONDS[name]:g} s"
        rate = number(row["files_per_second"]) if is_rate else ""
        lines.append([name, str(n_files), number(row["seconds"]), rate, expected])
    return markdown_table(lines)


# ---- relaxed candidates


def relaxation_table(rows: Rows) -> str:
    """Return the table of the times of displacement fields and of rigid and relaxed fits."""
    lines = [["what", "clusters", "atoms, mean", "seconds", "fits a second", "with their tables"]]
    for row in rows:
        count, seconds = row.get("clusters") or row["batch"], number(row["seconds"])
        rates = [
            number(row[name]) if name in row else "" for name in ("fits_per_second", "fits_per_second_with_tables")
        ]
        lines.append([row["what"], str(count), number(row["mean_atoms"]), seconds, *rates])
    return markdown_table(lines)
