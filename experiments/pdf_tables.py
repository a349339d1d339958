"""Tables of the experiments that find clusters, sizes and types of particles from PDFs."""

from collections.abc import Iterator

import numpy as np
from table_cells import (
    Rows,
    columns_table,
    group_rows,
    markdown_table,
    mean_and_spread,
    number,
    percent,
    percent_and_spread,
    quantile_line,
    seeds,
    share_line,
)

NOISES = (0.0, 0.03, 0.1)
"""Levels of noise on F(Q), relative to the root mean square of F."""


def noise_text(row: dict) -> str:
    """Return the noise of a row in per cent."""
    return "–" if row["noise"] is None else f"{100 * row['noise']:g} %"


# ---- measured PDFs and the calibration of weights


def measured_block(rows: Rows) -> str:
    """Return the best cluster of each measured file."""
    statuses = [row["status"] for row in rows]
    return (
        f"The status is `solved` for {statuses.count('solved')} and `weak` for {statuses.count('weak')} of {len(rows)} "
        "files. A weak fit does not explain the data within their noise.\n\n"
        + columns_table(
            rows,
            {
                "file": "file",
                "status": "status",
                "types and their weights": "types",
                "atoms": "n_atoms",
                "diameter, Å": "diameter",
                "Rw": "rw",
                "candidates in the 90 % set": "ties",
                "nearest neighbours (metal), Å": lambda row: (
                    f"{row['nearest_neighbour']:.3f} ({row['metal_bond']:.2f})"
                ),
            },
        )
    )


def measured_table(rows: Rows) -> str:
    """Return the best cluster of each measured file, with its description."""
    return columns_table(
        rows,
        {
            "file": "file", "status": "status", "type": "type", "family": "family", "recipe": "cluster",
            "description": "description", "atoms": "n_atoms", "diameter, Å": "diameter",
            "diameter estimated from the data, Å": "size_seen", "Rw": lambda row: number(row["rw"], 4),
            "second Rw": lambda row: number(row["rw_second"], 4), "candidates in the 90 % set": "ties",
            "nearest neighbours, Å": lambda row: number(row["nearest_neighbour"], 4), "metal, Å": "metal_bond",
        },
    )  # fmt: skip


def measured_parameters_table(rows: Rows) -> str:
    """Return the fitted values of each measured file with their standard errors."""

    def value(name: str):
        return lambda row: (
            mean_and_spread(row[name], row[f"{name}_error"]) if row[f"{name}_error"] else number(row[name])
        )

    return columns_table(
        rows,
        {
            "file": "file", "Uiso, Å²": value("uiso"), "delta2, Å²": value("delta2"), "qmin, 1/Å": value("qmin"),
            "origin of qmin": "qmin_origin", "qmax, 1/Å": "qmax", "effective number of points": "independent",
            "seconds": "seconds", "types and their weights": "types",
        },
    )  # fmt: skip


def measured_messages_table(rows: Rows) -> str:
    """Return the message of each measured file."""
    return columns_table(rows, {"file": "file", "message": lambda row: row["message"] or None})


CALIBRATION_COLUMNS = {
    "noise on F(Q)": noise_text,
    "draws": "draws",
    "truth in the 90 % set": lambda row: mean_and_spread(row["coverage"], row["coverage_error"]),
    "candidates in the set": "size",
    "truth ranked first": "first",
    "Rw of the truth": "rw_true",
    "Rw of the best": "rw_best",
}


def calibration_block(rows: Rows) -> str:
    """Return how often the 90 % set of weights contains the true candidate."""
    return columns_table(rows, CALIBRATION_COLUMNS)


def calibration_table(rows: Rows) -> str:
    """Return the calibration, also with the nominal number of points."""
    more_columns = {
        "effective number of points": "independent",
        "truth in the set, nominal number of points": "coverage_all_points",
        "nominal number of points": "all_points",
    }
    return columns_table(rows, CALIBRATION_COLUMNS | more_columns)


# ---- assumptions of the fits


def validation_table(rows: Rows) -> str:
    """Return the results of `pdf_validation.py`, one line for each claim."""
    parts = {part: [row for row in rows if row["part"] == part] for part in ("screening", "qmin", "verdict")}
    screening_rows, qmin_rows, noise_rows = parts.values()
    single_residuals, mixture_residuals = (
        [row["structure"] for row in noise_rows if row["structure"] is not None and row["mixed"] is mixed]
        for mixed in (False, True)
    )

    def size_ratios(low: float, high: float) -> list[float]:
        return [row["size_seen"] / row["diameter"] for row in noise_rows if low <= row["diameter"] < high]

    return markdown_table(
        [
            ["what is tested", "cases", "result"],
            share_line(
                "the best of all clusters passes the preselection",
                [row["place"] < row["chosen"] for row in screening_rows],
            ),
            quantile_line("its rank in the preselection, from 0", [row["place"] for row in screening_rows], 1.0),
            share_line(
                "wrong qmin in the header: type as with the right qmin",
                [row["type"] == row["type_inferred"] for row in qmin_rows],
            ),
            share_line(
                "wrong qmin in the header: Rw at most 0.003 higher",
                [row["rw_inferred"] - row["rw"] < 0.003 for row in qmin_rows],
            ),
            quantile_line(
                "error of the inferred qmin, 1/Å", [abs(row["inferred"] - row["qmin"]) for row in qmin_rows], 0.95
            ),
            quantile_line("right model: power of the residual over that of the noise", single_residuals, 0.99),
            quantile_line("one particle fitted to a mixture: the same ratio", mixture_residuals, 0.99),
            quantile_line("estimated over true diameter, below 15 Å", size_ratios(0, 15), 0.95),
            quantile_line("estimated over true diameter, from 15 Å", size_ratios(15, np.inf), 0.95),
        ]
    )


# ---- single clusters and distributions

ENSEMBLE_PARTS = {
    "single": "one cluster of the library",
    "offrule": "one particle that is not in the library",
    "displaced": "one cluster, atoms displaced by 0.1 Å",
    "lognormal": "lognormal sizes",
    "schulz": "Schulz sizes",
    "two": "two types",
    "bimodal": "two sizes",
    "unlisted": "many particles that are not in the library",
    "large": "large particles, 22 to 40 Å",
    "contracted": "contracted particles",
    "noise1": "noise of 1 %",
    "noise10": "noise of 10 %",
    "short": "data up to 20 Å",
    "long": "data up to 50 Å",
}
"""Description of each part of `ensembles.py`."""


def _ensemble_shares(case_rows: Rows) -> dict[str, str]:
    """Return the shares of cases with right sizes and types."""
    sized_rows = [row for row in case_rows if row["members"] > 1 and "mean_found" in row]
    typed_rows = [row for row in case_rows if row["members"] == 1 and "type" in row]
    usual_rows = [row for row in sized_rows if 0.1 <= row["width"] <= 0.3]
    return {
        "mean within 3 %": percent([abs(row["mean_found"][0] / row["mean"] - 1) < 0.03 for row in usual_rows]),
        "width within 15 %": percent([abs(row["width_found"][0] / row["width"] - 1) < 0.15 for row in usual_rows]),
        "mean in its interval": percent(
            [row["mean_found"][1] <= row["mean"] <= row["mean_found"][2] for row in sized_rows]
        ),
        "width in its interval": percent(
            [row["width_found"][1] <= row["width"] <= row["width_found"][2] for row in sized_rows]
        ),
        "type right": percent([row["type"] in row["types"] for row in typed_rows]),
        "probability of the true type": percent(
            [row["probabilities"].get(next(iter(row["types"])), 0.0) for row in typed_rows]
        ),
        "distribution, of those of width 12 % and more": percent(
            [row["verdict"] == "distribution" for row in sized_rows if row["width"] >= 0.12]
        ),
    }


def _decision_counts(case_rows: Rows) -> list[str]:
    decisions = [row.get("verdict", "") for row in case_rows]
    return [str(decisions.count(name)) for name in ("single", "distribution", "undecided")]


def _sorted_parts(rows: Rows) -> Iterator[tuple[str, Rows]]:
    by_part = group_rows(rows, ("part",))
    for part, title in ENSEMBLE_PARTS.items():
        if (part,) in by_part:
            yield title, by_part[part,]


def decision_sentence(rows: Rows) -> str:
    """Return how many single clusters and distributions are recognised."""
    single_rows, mixed_rows = ([row for row in rows if (row["members"] > 1) is mixed] for mixed in (False, True))
    n_single, n_mixed = (
        sum(row.get("verdict") == name for row in part_rows)
        for part_rows, name in ((single_rows, "single"), (mixed_rows, "distribution"))
    )
    return (
        f"Of {len(single_rows)} samples of one cluster {n_single} are called `single`, and of {len(mixed_rows)} "
        f"distributions {n_mixed} are called `distribution`."
    )


def ensembles_block(rows: Rows) -> str:
    """Return the decisions and the shares of right sizes and types, one line for each part."""
    lines = [["sample", "cases", "single / distribution / undecided"]]
    for title, case_rows in _sorted_parts(rows):
        shares_by_title = dict(list(_ensemble_shares(case_rows).items())[:5])
        lines[0] = [*lines[0][:3], *shares_by_title]
        lines.append([title, str(len(case_rows)), " / ".join(_decision_counts(case_rows)), *shares_by_title.values()])
    return f"{decision_sentence(rows)} {ensemble_shares_sentence(rows)}\n\n{markdown_table(lines)}"


def ensembles_table(rows: Rows) -> str:
    """Return all results for simulated samples, one line for each part."""
    lines = [["sample", "part", "cases", "single", "distribution", "undecided"]]
    for title, case_rows in _sorted_parts(rows):
        shares_by_title = _ensemble_shares(case_rows)
        lines[0] = [*lines[0][:6], *shares_by_title]
        lines.append(
            [title, case_rows[0]["part"], str(len(case_rows)), *_decision_counts(case_rows), *shares_by_title.values()]
        )
    return markdown_table(lines)


def ensemble_shares_sentence(rows: Rows) -> str:
    """Return the accuracy of the shares of types in samples of two types."""
    share_pairs = [
        (row["shares"].get(name, [0.0, 0.0, 0.0]), true_share)
        for row in rows
        if row["part"] == "two" and "shares" in row
        for name, true_share in row["types"].items()
    ]
    close = [abs(interval[0] - truth) < 0.1 for interval, truth in share_pairs]
    covered = [interval[1] <= truth <= interval[2] for interval, truth in share_pairs]
    return (
        f"In samples of two types, {percent(close)} of {len(share_pairs)} shares of atoms are within 0.1 of the truth, "
        f"and {percent(covered)} of the 90 % intervals contain it."
    )


# ---- particles that are not in the library

SITE_PARTS = {
    "offrule": "not in the library, with the search",
    "screened": "the same, preselected by the classifier",
    "full": "the same, with `--search full`",
    "library": "the same, without the search",
    "network": "the same, without the search but with the network",
    "random": "the same, a search of all packings",
    "unshaped": "the same, no shape prior",
    "half": "the same, half of the shape prior",
    "double": "the same, twice the shape prior",
    "scale": "the same, scale unknown",
    "displaced5": "the same, atoms displaced by 0.05 Å",
    "displaced10": "the same, atoms displaced by 0.1 Å",
    "contracted": "the same, surface contracted",
    "large": "200 to 1000 atoms",
    "rules": "built by DeepStruc's rules",
}
"""Description of each part of `unlisted_particles.py`."""
SHORT_PARTS = ("offrule", "library", "scale", "large", "rules")
"""Parts in the README."""


def is_solved(row: dict) -> bool:
    """Return whether the number of atoms and the coordinates are right, as in `unlisted_particles.py`."""
    return row.get("error") is not None and row["error"] < 0.1


def _site_groups(rows: Rows) -> Iterator[tuple[str, float, Rows]]:
    by_case = group_rows(rows, ("part", "noise"))
    for part in SITE_PARTS:
        for noise in NOISES:
            if (part, noise) in by_case:
                yield part, noise, by_case[part, noise]


def _site_line(noise: float, case_rows: Rows) -> dict[str, str]:
    """Return the cells of a part and noise by their headings."""
    fitted_rows = [row for row in case_rows if "rw" in row]
    solved_shares = [np.mean([is_solved(row) for row in case_rows if row["seed"] == seed]) for seed in seeds(case_rows)]
    rw_ratios = [row["rw"] / row["truth_rw"] for row in fitted_rows]
    interval_widths = [(row["n_high"] - row["n_low"]) / row["atoms"] for row in fitted_rows]
    return {
        "noise": f"{100 * noise:g} %",
        "cases": str(len(case_rows)),
        "type right": percent([row["found_type"] == row["type"] for row in fitted_rows]),
        "number of atoms exact": percent([row["found_atoms"] == row["atoms"] for row in fitted_rows]),
        "solved": percent_and_spread([is_solved(row) for row in case_rows], solved_shares),
        "W1 of the distances, Å": number(np.median([row["w1"] for row in fitted_rows]), 2),
        "atoms in their interval": percent([row["n_low"] <= row["atoms"] <= row["n_high"] for row in fitted_rows]),
        "width of the interval": f"{100 * np.median(interval_widths):.2g} %",
        "median error of the number of atoms": f"{100 * np.median(_atom_errors(fitted_rows)):.2g} %",
        "Rw over that of the truth": number(np.median(rw_ratios)) if noise else "–",
        "at most 1.15": percent([rw_ratio <= 1.15 for rw_ratio in rw_ratios]),
        "seconds": number(np.median([row["seconds"] for row in fitted_rows])),
    }


def _atom_errors(rows: Rows) -> list[float]:
    return [abs(row["found_atoms"] / row["atoms"] - 1) for row in rows]


def site_search_block(rows: Rows) -> str:
    """Return how often particles are solved in the main parts, and the limits of the search."""
    lines = [["particles"]]
    for part, noise, case_rows in _site_groups(rows):
        if part in SHORT_PARTS:
            cells = dict(list(_site_line(noise, case_rows).items())[:7])
            lines[0] = ["particles", *cells]
            lines.append([SITE_PARTS[part], *cells.values()])
    return f"{markdown_table(lines)}\n\nThe limits of the method are:\n\n{site_search_limits(rows)}"


def site_search_table(rows: Rows) -> str:
    """Return how often particles are solved, one line for each part and noise."""
    lines = [["particles", "part"]]
    for part, noise, case_rows in _site_groups(rows):
        cells = _site_line(noise, case_rows)
        lines[0] = ["particles", "part", *cells]
        lines.append([SITE_PARTS[part], part, *cells.values()])
    return markdown_table(lines)


def site_search_kinds_table(rows: Rows) -> str:
    """Return how many particles of each kind are solved."""
    particle_rows = [row for row in rows if row["part"] in ("offrule", "rules")]
    lines = [["part", "kind", *(f"{100 * noise:g} % of noise" for noise in NOISES)]]
    for (part, kind), case_rows in group_rows(particle_rows, ("part", "kind")).items():
        noise_cells = []
        for noise in NOISES:
            solved_flags = [is_solved(row) for row in case_rows if row["noise"] == noise]
            noise_cells.append(f"{sum(solved_flags)} of {len(solved_flags)}" if solved_flags else "–")
        lines.append([part, kind, *noise_cells])
    return markdown_table(lines)


def stacking_table(rows: Rows) -> str:
    """Return how often stacking sequences and shares of hexagonal layers are right."""
    stacks = [row for row in rows if row["part"] == "offrule" and row.get("word") and "found_word" in row]
    cells = {"all inner layers right": [], "share of hexagonal layers within 0.05": []}
    for noise in NOISES:
        case_rows = [row for row in stacks if row["noise"] == noise]
        is_close = [
            row["found_hexagonal"] is not None and abs(row["found_hexagonal"] - row["hexagonal"]) <= 0.05
            for row in case_rows
        ]
        sequence_right = [row["found_word"] in (row["word"], row["word"][::-1]) for row in case_rows]
        for title, flags in zip(cells, (sequence_right, is_close), strict=True):
            cells[title].append(percent(flags))
    head = ["random stacks", *(f"{100 * noise:g} % of noise" for noise in NOISES)]
    return markdown_table([head, *([title, *noise_cells] for title, noise_cells in cells.items())])


def _n_solved(rows: Rows) -> str:
    return f"{sum(map(is_solved, rows))} of {len(rows)}"


def site_search_limits(rows: Rows) -> str:
    """Return a list of the limits of the search, with numbers from the rows."""
    by_case = group_rows([row for row in rows if "rw" in row], ("part", "noise"))
    sentences = [
        _failures_without_noise(by_case["offrule", 0.0]),
        _failures_with_noise(by_case["offrule", 0.03]),
        _shape_prior_effect(by_case),
        "At 10 % of noise type and stacking are still right, and the median error of the number of atoms is "
        f"{100 * np.median(_atom_errors(by_case['offrule', 0.1])):.2g} %. The surface atoms are hardly determined.",
        "Displaced atoms and an unknown scale hide the arrangement of the surface, but not the type.",
        _large_particles(by_case["large", 0.03]),
        _preselection_effect(by_case),
    ]
    return "\n".join(f"{place}. {sentence}" for place, sentence in enumerate(sentences, 1))


def _failures_without_noise(rows: Rows) -> str:
    unsolved_rows = [row for row in rows if not is_solved(row)]
    n_exact = sum(row["found_atoms"] == row["atoms"] for row in unsolved_rows)
    found_rw, true_rw = (np.median([row[name] for row in unsolved_rows]) for name in ("rw", "truth_rw"))
    return (
        "Without noise the data determine the structure, and failures are failures of the search. "
        f"{len(unsolved_rows)} of {len(rows)} searches fail, {n_exact} of them with the right number of atoms. They "
        f"end at a median Rw of {number(found_rw, 2)}, although the truth has {number(true_rw, 1)}. More steps, other "
        "tabu times, random kicks and moves of whole faces did not help."
    )


def _failures_with_noise(rows: Rows) -> str:
    counts = [
        _n_solved([row for row in rows if low < row["atoms"] <= high])
        for low, high in ((0, 80), (80, 160), (160, np.inf))
    ]
    return (
        f"At 3 % of noise {sum(row['rw'] < row['truth_rw'] for row in rows)} of {len(rows)} particles fit better than "
        "the truth, because surface atoms have alternative sites with nearly the same distances to all other atoms. "
        f"Larger particles have more such sites: the search solves {counts[0]} particles up to 80 atoms, {counts[1]} "
        f"up to 160, and {counts[2]} beyond."
    )


def _shape_prior_effect(by_case: dict[tuple, Rows]) -> str:
    titles = {
        "half": "half of the prior", "double": "twice the prior", "unshaped": "no prior",
        "random": "a search of all packings",
    }  # fmt: skip
    counts = ", ".join(f"{sum(map(is_solved, by_case[part, 0.03]))} with {title}" for part, title in titles.items())
    same_rows = _matching_rows(by_case["offrule", 0.03], by_case["half", 0.03])
    return (
        f"The shape prior has little effect at 3 % of noise. Of the same {len(same_rows)} particles the search solves "
        f"{sum(map(is_solved, same_rows))}, and it solves {counts}."
    )


def _preselection_effect(by_case: dict[tuple, Rows]) -> str:
    counts = []
    for noise in NOISES[:2]:
        screened_rows = by_case["screened", noise]
        same_rows = _matching_rows(by_case["offrule", noise], screened_rows)
        n_with, n_without = _n_solved(screened_rows), _n_solved(same_rows)
        counts.append(f"at {100 * noise:g} % of noise {n_with} with it and {n_without} without it")
    return f"The classifier's preselection hardly changes the number of solved particles: {', and '.join(counts)}."


def _large_particles(rows: Rows) -> str:
    close_rows = [row for row, error in zip(rows, _atom_errors(rows), strict=True) if error < 0.02]
    return (
        f"Of {len(rows)} particles of 200 to 1000 atoms {len(close_rows)} have a number of atoms within 2 %, and "
        f"{sum(row['w1'] < 0.05 for row in close_rows)} of these also have W1 below 0.05 Å. For the others the search "
        "ends before the surface has converged."
    )


def _matching_rows(rows: Rows, references: Rows) -> Rows:
    """Return the rows of the particles of the reference rows."""
    names = ("kind", "seed", "draw")
    keys = {tuple(row[name] for name in names) for row in references}
    return [row for row in rows if tuple(row[name] for name in names) in keys]


# ---- DeepStruc's list, relaxation

DEEPSTRUC_PARTS = {
    "listed": "listed",
    "between": "bond lengths between the listed ones",
    "all": "all structures fitted",
}
METALFINDER_LINE = ["MetalFinder (published)", "0 %", "–", "83.87 %", "95.95 %", "97.89 %", "–", "3.8"]


def _split_by_noise(rows: Rows) -> Iterator[dict]:
    """Yield the rows of PDFs, one for each noise."""
    for row in (row for row in rows if "pdfs" not in row):
        for noise_index in range(len(row["noise"])):
            yield {name: value[noise_index] if isinstance(value, list) else value for name, value in row.items()}


def _first_probability(row: dict) -> float:
    """Return the probability that the truth is named first, with ties broken at random, as in `deepstruc_list.py`."""
    return 0.0 if row["before"] else 1 / (row["tied"] + 1)


def _deepstruc_lines(rows: Rows) -> Iterator[tuple[list[str], Rows]]:
    """Yield the cells of each part and noise, and the rows of its PDFs."""
    pdf_rows = list(_split_by_noise(rows))
    for run_row in (row for row in rows if "pdfs" in row):
        case_rows = [row for row in pdf_rows if all(row[name] == run_row[name] for name in ("part", "noise"))]
        yield (
            [
                *(DEEPSTRUC_PARTS[run_row["part"]], noise_text(run_row), str(run_row["pdfs"])),
                *(f"{100 * run_row[name]:.2f} %" for name in ("top1", "top3", "top5")),
                percent([row["type_before"] == 0 for row in case_rows], 2),
                number(run_row["ms_look"] + run_row["ms_fits"]),
            ],
            case_rows,
        )


DEEPSTRUC_HEAD = "structures;noise;PDFs;first;among three;among five;type first;ms per PDF".split(";")


def deepstruc_block(rows: Rows) -> str:
    """Return how often structures are identified, one line for each part and noise."""
    lookup_rows = [row for row in rows if row["part"] != "all"]
    return markdown_table([DEEPSTRUC_HEAD, *(cells for cells, _ in _deepstruc_lines(lookup_rows)), METALFINDER_LINE])


def deepstruc_table(rows: Rows) -> str:
    """Return how often structures are identified and are among those that the lookup selects."""
    lines = [[*DEEPSTRUC_HEAD, "selected by the lookup"]]
    for cells, case_rows in _deepstruc_lines(rows):
        lines.append([*cells, percent([row["looked"] < 32 for row in case_rows], 2)])
    return markdown_table([*lines, [*METALFINDER_LINE, "–"]])


def deepstruc_types_table(rows: Rows) -> str:
    """Return how often structures of each type are named first."""
    listed_rows = [row for row in _split_by_noise(rows) if row["part"] == "listed"]
    noises = sorted({row["noise"] for row in listed_rows})
    lines = [["type", "shapes", *(f"first, {100 * noise:g} % of noise" for noise in noises)]]
    for (name,), case_rows in group_rows(listed_rows, ("type",)).items():
        first_shares = [
            np.mean([_first_probability(row) for row in case_rows if row["noise"] == noise]) for noise in noises
        ]
        n_shapes = len({row["shape"] for row in case_rows})
        lines.append([name, str(n_shapes), *(f"{100 * first_share:.2f} %" for first_share in first_shares)])
    return markdown_table(lines)


def relaxation_block(rows: Rows) -> str:
    """Return the answer and the misfits of the ideal and the relaxed particle."""
    measured_row = next(row for row in rows if row["curve"] == "measured")
    return (
        f"No: relaxation raises Rw from {measured_row['rw_ideal']:.3f} to {measured_row['rw_relaxed']:.3f}. The "
        f"simulated controls show that such data do distinguish the two particles.\n\n{relaxation_table(rows)}"
    )


def relaxation_table(rows: Rows) -> str:
    """Return the misfits of the ideal and the relaxed particle."""

    def difference(row: dict) -> str:
        spread = row["difference_spread"]
        return mean_and_spread(row["difference"], spread) if spread else number(row["difference"])

    return columns_table(
        rows,
        {
            "curve": "curve", "draws": "draws", "Rw, ideal": "rw_ideal", "Rw, relaxed": "rw_relaxed",
            "difference": difference, "weight of the relaxed": lambda row: number(row["weight_relaxed"], 2),
            "Rw, fitted coordinates": "rw_coordinates",
            "their displacement, Å": lambda row: number(row["moved"], 2),
        },
    )  # fmt: skip
