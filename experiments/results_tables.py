"""Writes the tables of `experiments/README.md` from the rows in `results/`, so that both agree.

    python experiments/results_tables.py

The table of each entry of `TABLES` stands between `<!-- NAME -->` and `<!-- end -->`. A value is the mean over seeds ±
the standard deviation over seeds, with the mean standard deviation over structures in brackets. If there are no rows,
the table says how to make them; † marks a measure that the rows lack because it is newer than their trainings.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import json_rows
import numpy as np
from scipy import stats

from jaxstruc import files

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
PAPER_VALUES = {
    ("dae", "r_p"): 0.4548,
    ("dae", "pearson"): 0.7482,
    ("cvae", "r_p"): 0.4823,
    ("cvae", "pearson"): 0.7321,
}
"""Values of table 1 of KDD 2020: random split, latent dimension 2, one draw."""
MEASURES = {
    "r_p": "R_p", "pearson": "Pearson", "rw": "Rw", "rw_scaled": "Rw, scaled", "r_l2": "‖ΔG‖", "error": "error, Å",
    "count_exact": "count exact", "solved": "solved",
}  # fmt: skip
ABLATION_MEASURES = ("pearson", "r_p", "error", "count_exact", "solved")
NEW_MEASURES = ("error", "solved")
"""Measures that the rows of earlier trainings lack."""
SIGNIFICANCE_LEVEL = 0.05
"""Level below which the p of a single comparison is called small."""

Table = list[list[str]]


def mean_cell(rows: list[dict]) -> str:
    """Return the mean over seeds ± their deviation (deviation over structures), and the number of failed structures."""
    means = [row["mean"] for row in rows if row["mean"] is not None]
    if not means:
        return "–"
    text = f"{np.mean(means):.4g}"
    if len(means) > 1:
        text += f" ± {np.std(means, ddof=1):.2g}"
    structure_deviations = [row["sd"] for row in rows if row.get("sd") is not None]
    if structure_deviations:
        text += f" ({np.mean(structure_deviations):.2g})"
    failed = sum(row.get("failed", 0) for row in rows)
    return text + (f", {failed} failed" if failed else "")


def measure_cells(rows: list[dict], metrics) -> list[str]:
    """Return the cells of these measures of one model; † if a measure awaits a new training."""
    by_metric = group_rows(rows, ("metric",))
    return [
        "†" if metric in NEW_MEASURES and (metric,) not in by_metric else mean_cell(by_metric.get((metric,), []))
        for metric in metrics
    ]


def group_rows(rows: list[dict], names: tuple[str, ...]) -> dict[tuple, list[dict]]:
    """Return the rows grouped by the values of these columns, in order of appearance."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def measure_rows(rows: list[dict]) -> list[dict]:
    """Return the rows without those of t-tests."""
    return [row for row in rows if not row["metric"].startswith("t_test_")]


def reconstruction_table(rows: list[dict]) -> str:
    """Return the table of reconstructions with the paper's numbers, and the table of t-tests."""
    lines = [["split", "model", "H", "from", "seeds", *MEASURES.values()]]
    for (split, latent, model, draw), group in group_rows(
        measure_rows(rows), ("split", "latent", "model", "draw")
    ).items():
        if (model, draw) == ("dae", "mean"):  # the DAE is deterministic: the same numbers again
            continue
        seeds = str(len({row["seed"] for row in group}))
        lines.append([split, model, cell_text(latent), cell_text(draw), seeds, *measure_cells(group, MEASURES)])
    for model in ("dae", "cvae"):
        paper_cells = [
            f"{PAPER_VALUES[model, metric]}" if (model, metric) in PAPER_VALUES else "–" for metric in MEASURES
        ]
        lines.append(["random", f"{model}, the paper", "2", "sample", "1", *paper_cells])
    return markdown_table(lines) + "\n\n" + t_test_table(rows, ("split", "latent", "draw", "model", "against"))


def ablation_table(rows: list[dict]) -> str:
    """Return the table of the ablation and the table of its t-tests."""
    names = ("split", "noise", "model", "weight", "refined")
    lines = [
        [
            "split",
            "noise",
            "model",
            "weight",
            "refined",
            "seeds",
            *(MEASURES[name] for name in ABLATION_MEASURES),
            "s each",
        ]
    ]
    for key, group in sorted(group_rows(measure_rows(rows), names).items()):
        seconds = f"{np.mean([row['seconds_per_structure'] for row in group]):.2g}" if key[-1] else "–"
        seeds = str(len({row["seed"] for row in group}))
        lines.append([*map(cell_text, key), seeds, *measure_cells(group, ABLATION_MEASURES), seconds])
    keys = ("split", "noise", "model", "refined", "against", "against_refined")
    return markdown_table(lines) + "\n\n" + t_test_table(rows, keys)


def validation_table(rows: list[dict]) -> str:
    """Return the results of `pdf_validation.py`, one line for each claim."""
    parts = {part: [row for row in rows if row["part"] == part] for part in ("screening", "qmin", "verdict")}
    screening_rows, qmin_rows = parts["screening"], parts["qmin"]
    residual_rows = [row for row in parts["verdict"] if row["structure"] is not None]

    def size_ratios(low: float, high: float) -> list[float]:
        return [row["size_seen"] / row["diameter"] for row in parts["verdict"] if low <= row["diameter"] < high]

    return markdown_table(
        [
            ["what", "cases", "figure"],
            share_line(
                "best of all fits among those screened", [row["place"] < row["chosen"] for row in screening_rows]
            ),
            quantile_line("its place in the order of the screening", [row["place"] for row in screening_rows], 1.0),
            share_line(
                "wrong header: type as with the true qmin", [row["type"] == row["type_inferred"] for row in qmin_rows]
            ),
            share_line(
                "wrong header: Rw at most 0.003 above", [row["rw_inferred"] - row["rw"] < 0.003 for row in qmin_rows]
            ),
            quantile_line(
                "wrong header: qmin off by, 1/Å", [abs(row["inferred"] - row["qmin"]) for row in qmin_rows], 0.95
            ),
            quantile_line(
                "right model: residual over noise",
                [row["structure"] for row in residual_rows if not row["mixed"]],
                0.99,
            ),
            quantile_line(
                "one particle for a mixture: likewise",
                [row["structure"] for row in residual_rows if row["mixed"]],
                0.99,
            ),
            quantile_line("size read over diameter, under 15 Å", size_ratios(0, 15), 0.95),
            quantile_line("size read over diameter, from 15 Å", size_ratios(15, np.inf), 0.95),
        ]
    )


def ensemble_table(rows: list[dict]) -> str:
    """Return the results for simulated samples, one line for each part."""
    lines = [
        "part;cases;single;distribution;undecided;of width 12 % on: distribution;mean within 3 %;width within 15 %;"
        "mean covered;width covered;type right;type's probability".split(";")
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        part_rows = [row for row in rows if row["part"] == part]
        ensemble_rows = [row for row in part_rows if row["members"] > 1 and "mean_found" in row]
        single_rows = [row for row in part_rows if row["members"] == 1 and "type" in row]
        usual_width_rows = [row for row in ensemble_rows if 0.1 <= row["width"] <= 0.3]
        verdicts = [row.get("verdict", "") for row in part_rows]
        lines.append(
            [
                *(
                    part,
                    str(len(part_rows)),
                    *(str(verdicts.count(name)) for name in ("single", "distribution", "undecided")),
                ),
                percent_cell([row["verdict"] == "distribution" for row in ensemble_rows if row["width"] >= 0.12]),
                percent_cell([abs(row["mean_found"][0] / row["mean"] - 1) < 0.03 for row in usual_width_rows]),
                percent_cell([abs(row["width_found"][0] / row["width"] - 1) < 0.15 for row in usual_width_rows]),
                percent_cell([row["mean_found"][1] <= row["mean"] <= row["mean_found"][2] for row in ensemble_rows]),
                percent_cell([row["width_found"][1] <= row["width"] <= row["width_found"][2] for row in ensemble_rows]),
                percent_cell([row["type"] in row["types"] for row in single_rows]),
                percent_cell([row["probabilities"].get(next(iter(row["types"])), 0.0) for row in single_rows]),
            ]
        )
    return markdown_table(lines)


def site_search_table(rows: list[dict]) -> str:
    """Return how often particles are solved, one line for each part and noise, ± the deviation over seeds."""
    lines = [
        "part;noise;cases;type right;count exact;solved;ΔN/N, median;W1, Å;Rw over the truth's;at most 1.15;"
        "interval covers;its width;seconds".split(";")
    ]
    for (part, noise), case_rows in group_rows(rows, ("part", "noise")).items():
        fitted_rows = [row for row in case_rows if "rw" in row]
        solved_flags = [is_solved(row) for row in case_rows]
        seeds = [
            np.mean([flag for flag, row in zip(solved_flags, case_rows, strict=True) if row["seed"] == seed])
            for seed in _seeds(case_rows)
        ]
        seed_spread = f" ± {100 * np.std(seeds, ddof=1):.0f}" if len(seeds) > 1 else ""
        atom_errors = [abs(row["found_atoms"] / row["atoms"] - 1) for row in fitted_rows]
        rw_ratios = [row["rw"] / row["truth_rw"] for row in fitted_rows]
        interval_widths = [(row["n_high"] - row["n_low"]) / row["atoms"] for row in fitted_rows]
        lines.append(
            [
                *(part, f"{100 * noise:g} %", str(len(case_rows))),
                percent_cell([row["found_type"] == row["type"] for row in fitted_rows]),
                percent_cell([row["found_atoms"] == row["atoms"] for row in fitted_rows]),
                f"{100 * np.mean(solved_flags):.0f}{seed_spread} %",
                f"{100 * np.median(atom_errors):.2g} %",
                f"{np.median([row['w1'] for row in fitted_rows]):.2g}",
                f"{np.median(rw_ratios):.3g}" if noise else "–",
                percent_cell([rw_ratio <= 1.15 for rw_ratio in rw_ratios]),
                percent_cell([row["n_low"] <= row["atoms"] <= row["n_high"] for row in fitted_rows]),
                f"{100 * np.median(interval_widths):.2g} %",
                f"{np.median([row['seconds'] for row in fitted_rows]):.3g}",
            ]
        )
    return markdown_table(lines)


def screening_table(rows: list[dict]) -> str:
    """Return what the classifier's screen retains and saves, one line for each part, noise and measured file."""
    rows_by_case: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        names = ("part", "kind", "seed", "draw", "noise", "file")
        rows_by_case.setdefault(tuple(row.get(name) for name in names), {})[row["screen"]] = row
    pairs = [pair for pair in rows_by_case.values() if len(pair) == 2]
    lines = [
        "part;noise;files;within 2 % of the least Rw;the same cluster first;tried;seconds, all;screened".split(";")
    ]
    for (part, noise), case_rows in group_rows([pair["none"] for pair in pairs], ("part", "noise")).items():
        case_pairs = [pair for pair in pairs if pair["none"] in case_rows]
        kept_shares = [pair["classifier"]["kept"] / pair["classifier"]["listed"] for pair in case_pairs]
        seconds = (
            f"{np.median([pair[name]['seconds'] for pair in case_pairs]):.2g}" for name in ("none", "classifier")
        )
        lines.append(
            [
                *(part, f"{100 * noise:g} %" if noise is not None else "–", str(len(case_pairs))),
                percent_cell([pair["classifier"]["rw"] <= 1.02 * pair["none"]["rw"] for pair in case_pairs]),
                percent_cell([pair["classifier"]["found"] == pair["none"]["found"] for pair in case_pairs]),
                f"{100 * np.median(kept_shares):.0f} %",
                *seconds,
            ]
        )
    file_lines = [["file", "Rw, all", "screened", "tried", "effective of 1000 draws", "first, all", "screened"]]
    for pair in pairs:
        if pair["none"]["part"] == "measured":
            unscreened_row, screened_row = pair["none"], pair["classifier"]
            number_cells = (
                f"{unscreened_row['rw']:.4f}",
                f"{screened_row['rw']:.4f}",
                f"{screened_row['kept']}",
                f"{screened_row['effective']:.0f}",
            )
            file_lines.append([unscreened_row["file"], *number_cells, unscreened_row["found"], screened_row["found"]])
    return markdown_table(lines) + "\n\n" + markdown_table(file_lines)


def is_solved(row: dict) -> bool:
    """Return whether the number of atoms and the coordinates are right, as in `unlisted_particles.py`."""
    return row.get("error") is not None and row["error"] < 0.1


def _seeds(rows: list[dict]) -> list[int]:
    return sorted({row["seed"] for row in rows})


def site_search_kinds_table(rows: list[dict]) -> str:
    """Return how many particles of each kind are solved, and how often stacking sequences are right."""
    particle_rows = [row for row in rows if row["part"] in ("offrule", "rules")]
    lines = [["part", "kind", *(f"solved, {noise}" for noise in ("0 %", "3 %", "10 %"))]]
    for (part, kind), case_rows in group_rows(particle_rows, ("part", "kind")).items():
        noise_cells = []
        for noise in (0.0, 0.03, 0.1):
            solved_flags = [is_solved(row) for row in case_rows if row["noise"] == noise]
            noise_cells.append(f"{sum(solved_flags)} of {len(solved_flags)}" if solved_flags else "–")
        lines.append([part, kind, *noise_cells])
    stacks = [row for row in particle_rows if row["part"] == "offrule" and row.get("word") and "found_word" in row]
    sequence_cells, hexagonal_cells = [], []
    for noise in (0.0, 0.03, 0.1):
        case_rows = [row for row in stacks if row["noise"] == noise]
        sequence_cells.append(
            percent_cell([row["found_word"] in (row["word"], row["word"][::-1]) for row in case_rows])
        )
        hexagonal_errors = [
            row["found_hexagonal"] is not None and abs(row["found_hexagonal"] - row["hexagonal"]) for row in case_rows
        ]
        hexagonal_cells.append(
            percent_cell(
                [hexagonal_error is not False and hexagonal_error <= 0.05 for hexagonal_error in hexagonal_errors]
            )
        )
    lines += [
        ["stacks", "all inner letters right", *sequence_cells],
        ["stacks", "share of h within 0.05", *hexagonal_cells],
    ]
    return markdown_table(lines)


def classifier_table(rows: list[dict]) -> str:
    """Return the accuracy of the classifier for simulated particles, one line for each part and noise, ± over seeds."""
    lines = ["part;noise;cases;type right;ΔN/N, median;N: 50 %;90 %;share of h off, median;its Spearman".split(";")]
    particle_rows = [row for row in rows if row["part"] in ("offrule", "rules")]
    for (part, noise), case_rows in group_rows(particle_rows, ("part", "noise")).items():
        is_right_by_seed = [
            [row["type"] == row["found_type"] for row in case_rows if row["seed"] == seed] for seed in _seeds(case_rows)
        ]
        seed_spread = (
            f" ± {100 * np.std([np.mean(is_right) for is_right in is_right_by_seed], ddof=1):.1f}"
            if len(is_right_by_seed) > 1
            else ""
        )
        layered_rows = [row for row in case_rows if np.isfinite(row["hexagonal"])]
        true_shares, found_shares = (
            np.array([row[name] for row in layered_rows]) for name in ("hexagonal", "found_hexagonal")
        )
        lines.append(
            [
                *(part, f"{100 * noise:g} %", str(len(case_rows))),
                f"{100 * np.mean(np.concatenate(is_right_by_seed)):.1f}{seed_spread} %",
                f"{100 * np.median([abs(row['n_atoms'] / row['atoms'] - 1) for row in case_rows]):.2g} %",
                percent_cell([abs(row["n_rank"] - 0.5) <= 0.25 for row in case_rows]),
                percent_cell([abs(row["n_rank"] - 0.5) <= 0.45 for row in case_rows]),
                f"{np.median(abs(true_shares - found_shares)):.2g}",
                f"{stats.spearmanr(true_shares, found_shares).statistic:.3f}",
            ]
        )
    return markdown_table(lines)


def classifier_stream_table(rows: list[dict]) -> str:
    """Return the calibration of the classifier on PDFs like those of its training."""
    lines = [
        "part;source;cases;type right;calibration error;N: 50 %;90 %;diameter: 90 %;width: 90 %;uneven, N".split(";")
    ]
    for row in rows:
        if row["part"] in ("own", "held"):
            coverages = (row.get(name) for name in ("n_atoms_50", "n_atoms_90", "diameter_90", "width_90"))
            coverage_cells = [f"{100 * coverage:.1f} %" if coverage is not None else "–" for coverage in coverages]
            type_cells = f"{100 * row['right']:.1f} %", f"{100 * row['calibration']:.1f} %"
            lines.append(
                [
                    row["part"],
                    row["source"],
                    str(row["cases"]),
                    *type_cells,
                    *coverage_cells,
                    f"{row['n_atoms_uneven']:.3f}",
                ]
            )
    rank_lines = [["output", "largest of 20 bins", "smallest", "even, and the band"]]
    for row in (row for row in rows if row["part"] == "sbc"):
        expected_count = sum(row["counts"]) / len(row["counts"])
        band_text = f"{expected_count:.0f} ± {row['band']:.0f}: {'within' if row['inside'] else 'not within'}"
        rank_lines.append([row["value"], str(max(row["counts"])), str(min(row["counts"])), band_text])
    return markdown_table(lines) + "\n\n" + markdown_table(rank_lines)


def classifier_outlier_table(rows: list[dict]) -> str:
    """Return how well samples that are no particle of one metal are detected, and the results for measured files."""
    lines = [["what", "AUROC", "called unlike", "cases"]]
    for row in (row for row in rows if row["part"] == "outside"):
        alarms = row.get("alarms", row.get("share"))
        lines.append(
            [row["what"], f"{row['auroc']:.3f}" if "auroc" in row else "–", percent_cell([alarms]), str(row["cases"])]
        )
    file_lines = [["file", "types", "atoms", "diameter, Å", "distance"]]
    for row in (row for row in rows if row["part"] == "measured"):
        types = ", ".join(
            f"{name} {probability:.2f}" for name, probability in row["types"].items() if probability >= 0.02
        )
        atom_interval, diameter_interval = row["n_atoms"], row["diameter"]
        interval_cells = (
            f"{atom_interval[0]:.0f} ({atom_interval[1]:.0f} to {atom_interval[2]:.0f})",
            f"{diameter_interval[0]:.1f} ({diameter_interval[1]:.1f} to {diameter_interval[2]:.1f})",
        )
        file_lines.append([row["file"], types, *interval_cells, f"{row['distance']:.2f}"])
    return markdown_table(lines) + "\n\n" + markdown_table(file_lines)


def deepstruc_table(rows: list[dict]) -> str:
    """Return how often structures are identified, one line for each part and noise, and one for each listed type."""
    lines = ["part;noise;PDFs;first;in three;in five;type first;seen by the look;ms a PDF, one core".split(";")]
    runs, pdf_rows = [row for row in rows if "pdfs" in row], list(_split_by_noise(rows))
    for run_row in runs:
        case_rows = [row for row in pdf_rows if all(row[name] == run_row[name] for name in ("part", "noise"))]
        top_cells = (f"{100 * run_row[name]:.2f} %" for name in ("top1", "top3", "top5"))
        kind = f"{100 * np.mean([row['type_before'] == 0 for row in case_rows]):.2f} %"
        lookup_cell = f"{100 * np.mean([row['looked'] < 32 for row in case_rows]):.2f} %"
        time_cell = f"{run_row['ms_look'] + run_row['ms_fits']:.3g}"
        lines.append(
            [
                run_row["part"],
                f"{100 * run_row['noise']:g} %",
                str(run_row["pdfs"]),
                *top_cells,
                kind,
                lookup_cell,
                time_cell,
            ]
        )
    lines.append(["MetalFinder", "0 %", "–", "83.87 %", "95.95 %", "97.89 %", "–", "–", "3.8"])
    listed_rows = [row for row in pdf_rows if row["part"] == "listed"]
    noises = sorted({row["noise"] for row in listed_rows})
    type_lines = [["type", "shapes", *(f"first, {100 * noise:g} %" for noise in noises)]]
    for (kind,), case_rows in group_rows(listed_rows, ("type",)).items():
        first_shares = [
            np.mean([_first_probability(row) for row in case_rows if row["noise"] == noise]) for noise in noises
        ]
        n_shapes = len({row["shape"] for row in case_rows})
        type_lines.append([kind, str(n_shapes), *(f"{100 * first_share:.2f} %" for first_share in first_shares)])
    return markdown_table(lines) + "\n\n" + markdown_table(type_lines)


def _split_by_noise(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows of PDFs, one for each noise."""
    for row in (row for row in rows if "pdfs" not in row):
        for noise_index in range(len(row["noise"])):
            yield {name: value[noise_index] if isinstance(value, list) else value for name, value in row.items()}


def _first_probability(row: dict) -> float:
    """Return the probability that the truth is named first, with ties broken at random, as in `deepstruc_list.py`."""
    return 0.0 if row["before"] else 1 / (row["tied"] + 1)


def ensemble_shares_table(rows: list[dict]) -> str:
    """Return the accuracy of the shares of types in samples of two types."""
    share_pairs = [
        (row["shares"].get(kind, [0.0, 0.0, 0.0]), true_share)
        for row in rows
        if row["part"] == "two" and "shares" in row
        for kind, true_share in row["types"].items()
    ]
    return markdown_table(
        [
            ["what", "shares", "figure"],
            share_line("within 0.1 of the truth", [abs(interval[0] - truth) < 0.1 for interval, truth in share_pairs]),
            share_line(
                "within their 90 % interval", [interval[1] <= truth <= interval[2] for interval, truth in share_pairs]
            ),
        ]
    )


def percent_cell(flags: list) -> str:
    """Return the share of true flags in per cent; a dash if there are none."""
    return f"{100 * np.mean(flags):.0f} %" if flags else "–"


def share_line(claim: str, flags: list[bool]) -> list[str]:
    """Return a line: a claim, the number of cases, and the share of cases in which it holds."""
    return [claim, str(len(flags)), f"{100 * np.mean(flags):.1f} %" if flags else "–"]


def quantile_line(quantity: str, values: list[float], level: float) -> list[str]:
    """Return a line: a quantity, the number of values, their median and a quantile."""
    level_text = "last" if level == 1.0 else f"{100 * level:g} %"
    text = f"median {np.median(values):.3g}, {level_text} {np.quantile(values, level):.3g}" if values else "–"
    return [quantity, str(len(values)), text]


def t_test_table(rows: list[dict], names: tuple[str, ...]) -> str:
    """Return a table of the t-tests over seeds, and a remark on their number and how many are significant.

    The tests are not over structures, which are stretched copies of a few shapes and not independent.
    """
    lines = [[*(name.replace("_", " ") for name in names), "measure", "difference", "p, seeds"]]
    t_test_rows = [row for row in rows if row["metric"].startswith("t_test_")]
    p_values = []
    for key, group in group_rows(t_test_rows, (*names, "metric")).items():
        pooled_p = [row["p"] for row in group if row["seed"] is None and row["p"] is not None]
        p_values += pooled_p
        measure = MEASURES[key[-1].removeprefix("t_test_")]
        seed_rows = [row for row in group if row["seed"] is not None]
        lines.append(
            [*map(cell_text, key[:-1]), measure, mean_cell(seed_rows), cell_text(pooled_p[0]) if pooled_p else "–"]
        )
    return markdown_table(lines) + (f"\n\n{comparison_remark(p_values)}" if p_values else "")


def comparison_remark(p_values: list[float]) -> str:
    """Return a remark on the number of comparisons with a small p, with and without Bonferroni's correction."""
    n_small, corrected_level = sum(p < SIGNIFICANCE_LEVEL for p in p_values), SIGNIFICANCE_LEVEL / len(p_values)
    return (
        f"Comparisons: {len(p_values)}. p is below {SIGNIFICANCE_LEVEL} in {n_small}, where chance alone gives about "
        f"{SIGNIFICANCE_LEVEL * len(p_values):.2g}, and below {SIGNIFICANCE_LEVEL} / {len(p_values)} = "
        f"{corrected_level:.1g}, which allows for their number, in {sum(p < corrected_level for p in p_values)}."
    )


def model_table(rows: list[dict]) -> str:
    """Return a table of all measures by split, model and latent dimension."""
    columns = group_rows(rows, ("split", "model", "latent"))
    lines = [["measure", *(", ".join(column_label(part, index) for index, part in enumerate(key)) for key in columns)]]
    for metric in dict.fromkeys(row["metric"] for row in rows):
        cells = [mean_cell([row for row in group if row["metric"] == metric]) for group in columns.values()]
        lines.append([metric.replace("_", " "), *cells])
    return markdown_table(lines)


def saxs_sphere_table(rows: list[dict]) -> str:
    """Return bias, spread, errors and coverage for the sphere, one line for each model and parameter."""
    lines = [["model", "sets", "value", "mean", "off", "spread", "mean error", "90 % holds", "sphere told"]]
    for (model,), model_rows in group_rows(rows, ("model",)).items():
        for parameter, truth in (("radius", 34.907), ("pd", 0.062)):
            values = np.array([row[parameter] for row in model_rows])
            errors = np.array([row[f"{parameter}_error"] or np.nan for row in model_rows])
            coverage = np.mean([row[f"{parameter}_held"] for row in model_rows])
            sphere_share = np.mean([row["body"] == "sphere" for row in model_rows])
            numbers = (
                f"{number:.4f}"
                for number in (values.mean(), values.mean() - truth, values.std(ddof=1), np.nanmean(errors))
            )
            lines.append([model, str(len(model_rows)), parameter, *numbers, f"{coverage:.1%}", f"{sphere_share:.0%}"])
    lines.append(["the slides", "1", "radius", "34.907", "–", "–", "0.071", "–", "–"])
    lines.append(["the slides", "1", "pd", "0.062", "–", "–", "0.004", "–", "–"])
    return markdown_table(lines)


def saxs_round_robin_table(rows: list[dict]) -> str:
    """Return the errors for samples of one population, of two, and of all."""
    head = "populations, samples, counted right, mean off (median), means within 1 %, width off (median)"
    lines = [[*head.split(", "), "overall radius held", "overall pd held"]]
    for label, population_counts in (("one", (1,)), ("two", (2,)), ("all", (1, 2))):
        case_rows = [row for row in rows if row["populations"] in population_counts]
        correct_rows = [row for row in case_rows if row["told"] == row["populations"]]
        means, widths = (
            np.abs([deviation for row in correct_rows for deviation in row[f"{parameter}_off"]])
            for parameter in ("mean", "width")
        )
        coverage_cells = [
            f"{np.mean([row[f'{parameter}_held'] for row in case_rows]):.0%}" for parameter in ("radius", "pd")
        ]
        correct_share = f"{len(correct_rows) / max(len(case_rows), 1):.1%}"
        error_cells = f"{np.median(means):.2%}", f"{np.mean(means < 0.01):.0%}", f"{np.median(widths):.1%}"
        lines.append([label, str(len(case_rows)), correct_share, *error_cells, *coverage_cells])
    return markdown_table(lines)


def saxs_shapes_table(rows: list[dict]) -> str:
    """Return the share of wrong bodies reported, of bodies identified, and the calibration of p_body."""
    sphere_rows = [row for row in rows if row["sphere_above"] < 9]
    clear_rows = [row for row in rows if row["wrong_above"] > 20]
    is_false = [row["told"] not in (row["truth"], "not determined") for row in sphere_rows]
    lines = [
        ["what", "cases", "figure"],
        share_line("sphere within the noise: a wrong body told", is_false),
        share_line("best wrong body 20 above: right body first", [row["first"] == row["truth"] for row in clear_rows]),
    ]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        is_right = [row["first"] == row["truth"] for row in rows if low <= row["p_first"] < high]
        lines += [share_line(f"p_body {low:g} to {min(high, 1.0):g}: right body first", is_right)] if is_right else []
    return markdown_table(lines)


def column_tables(*tables: str) -> Callable[[list[dict]], str]:
    """Return a function that makes tables of these columns, each of the rows that have its first column."""

    def make_tables(rows: list[dict]) -> str:
        return "\n\n".join(
            plain_table([row for row in rows if column_names.split()[0] in row], column_names.split())
            for column_names in tables
        )

    return make_tables


def plain_table(rows: list[dict], names: list[str]) -> str:
    """Return a table of these columns without further statistics."""
    lines = [[name.replace("_", " ") for name in names]]
    lines += [
        [f"{cell:.4g}" if isinstance(cell := row.get(name), float) else cell_text(cell) for name in names]
        for row in rows
    ]
    return markdown_table(lines)


def column_label(part, index: int) -> str:
    """Return a part of a column's label; the third part is the latent dimension."""
    return f"H = {part}" if index == 2 else cell_text(part)


def cell_text(cell) -> str:
    """Return the text of a cell."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.2g}" if isinstance(cell, float) else str(cell)


def markdown_table(lines: Table) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


TABLES: dict[str, tuple[str, Callable[[list[dict]], str]]] = {
    "table1": ("table1_reconstruction", reconstruction_table),
    "ablation": ("pdf_loss_ablation", ablation_table),
    "figure1": ("figure1_interpolation", model_table),
    "figure7": ("figure7_latent", model_table),
    "benchmark_refinement": (
        "benchmark_refinement",
        column_tables(
            "fits_per_second engine what batch seconds first_call_seconds ms_per_fit converged largest_excess",
            "file screened fitted refined most_atoms seconds_screening seconds rw_best",
        ),
    ),
    "measured_pdfs": (
        "measured_pdfs",
        column_tables(
            "file status type family cluster n_atoms diameter size_seen rw rw_second ties nearest_neighbour metal_bond",
            "file message",
            "file uiso uiso_error delta2 delta2_error qmin qmin_error qmin_origin qmax independent seconds types",
        ),
    ),
    "benchmark_saxs": (
        "benchmark_saxs",
        column_tables("body curves sizes q us_a_curve sasmodels_us_a_curve times first_call deviation"),
    ),
    "pdf_validation": ("pdf_validation", validation_table),
    "classifier_accuracy": ("classifier_accuracy", classifier_table),
    "classifier_accuracy_stream": ("classifier_accuracy", classifier_stream_table),
    "classifier_accuracy_outliers": ("classifier_accuracy", classifier_outlier_table),
    "classifier_screening": ("classifier_screening", screening_table),
    "deepstruc_list": ("deepstruc_list", deepstruc_table),
    "ensembles": ("ensembles", ensemble_table),
    "ensemble_shares": ("ensembles", ensemble_shares_table),
    "ensembles_searched": ("ensembles_searched", ensemble_table),
    "benchmark_sites": (
        "benchmark_sites",
        column_tables(
            "atoms sites functions ms_a_step single_moves_a_second exchanges_a_second floor_ms times_the_floor"
        ),
    ),
    "unlisted_particles": ("unlisted_particles", site_search_table),
    "unlisted_particles_kinds": ("unlisted_particles", site_search_kinds_table),
    "saxs_sphere": ("saxs_sphere", saxs_sphere_table),
    "saxs_round_robin": ("saxs_round_robin", saxs_round_robin_table),
    "saxs_shapes": ("saxs_shapes", saxs_shapes_table),
    "benchmark_saxs_fits": (
        "benchmark_saxs_fits",
        column_tables("part series files fits_a_second results_a_second fits_first results_first"),
    ),
    "benchmark_ensembles": (
        "benchmark_ensembles",
        column_tables(
            "part columns seconds first",
            "files columns files_a_second first mean_off width_off mean_within_3 width_within_15",
        ),
    ),
    "calibration": (
        "measured_pdfs_calibration",
        column_tables("noise draws coverage coverage_error size coverage_all_points first rw_true rw_best independent"),
    ),
    "relax_refit": (
        "relax_refit",
        column_tables(
            "curve draws rw_ideal rw_relaxed difference difference_spread weight_relaxed rw_coordinates moved"
        ),
    ),
}
"""For each marker in the README, the name of the file of rows and the function that makes the table."""


def update_tables(text: str, results: Path) -> str:
    """Return the text with each table made again from the rows in a folder.

    Raises:
        ValueError: if a marker is missing.
    """
    for marker, (experiment, table) in TABLES.items():
        path = results / f"{experiment}.jsonl"
        if path.exists():
            table_text = table(json_rows.read_lines(path))
        else:
            table_text = f"not run yet: `python experiments/{experiment}.py`"
        pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"Expected <!-- {marker} --> and <!-- end --> in the README, got none; add them.")
        text = pattern.sub(lambda match, table_text=table_text: f"{match[1]}{table_text}\n{match[2]}", text, count=1)
    return text


def main() -> None:
    """Write the tables of the README."""
    files.write_text(README, update_tables(README.read_text("utf-8"), FOLDER / "results"))


if __name__ == "__main__":
    main()
