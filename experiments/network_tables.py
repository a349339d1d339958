"""Tables of the experiments on the network of the KDD 2020 paper: reconstructions, latent spaces, trilateration.

"mean ± spread" is the mean over seeds and their standard deviation. The full tables add in brackets the mean of the
standard deviations over the structures of a seed. † marks a measure that the rows lack because it is newer than their
trainings.
"""

import numpy as np
from table_cells import (
    Rows,
    Table,
    cell_text,
    columns_table,
    group_rows,
    markdown_table,
    mean_and_spread,
    number,
    percent,
)

PAPER_VALUES = {
    ("dae", "r_p"): 0.4548,
    ("dae", "pearson"): 0.7482,
    ("cvae", "r_p"): 0.4823,
    ("cvae", "pearson"): 0.7321,
}
"""Values of table 1 of KDD 2020: random split, latent dimension 2, one draw."""
MEASURES = {
    "r_p": "R_p", "pearson": "Pearson", "rw": "Rw", "rw_scaled": "Rw, scaled", "r_l2": "‖ΔG‖", "error": "error, Å",
    "count_exact": "number of atoms exact", "solved": "solved",
}  # fmt: skip
FIGURE_MEASURES = {
    "pearson_ends": "Pearson at the ends",
    "count_exact_ends": "number of atoms exact at the ends", "step": "step, bond lengths",
    "largest_step": "largest step, bond lengths", "count_changes": "changes of the number of atoms",
    "agreement": "share of neighbours with the same number of atoms", "chance": "the same by chance",
    "rw_best": "Rw of the best draw", "pearson_best": "Pearson of the best draw",
    "pearson_sd": "spread of Pearson over draws", "counts": "different numbers of atoms",
}  # fmt: skip
"""Headings of the measures of the figures."""
SHORT_MODELS = ("nearest-template", "dae", "cvae", "cvae+pdf")
"""Models of table 1 in the README."""
SHORT_MEASURES = ("pearson", "r_p", "rw", "count_exact")
"""Measures of table 1 in the README."""
ABLATION_MEASURES = ("pearson", "r_p", "error", "count_exact", "solved")
NEW_MEASURES = ("error", "solved")
"""Measures that the rows of earlier trainings lack."""
REPLACED_MEASURE = "mae"
"""Error of coordinates of earlier rows, which paired atoms by their order. It is not shown."""
SIGNIFICANCE_LEVEL = 0.05
"""Level below which the p of a single comparison is called small."""
MODEL_TITLES = {
    "nearest-template": "nearest training PDF", "dae": "DAE", "cvae": "CVAE", "cvae+pdf": "CVAE with PDF term",
    "cvae+pdf-coordinates": "CVAE with PDF term of coordinates",
}  # fmt: skip
SPLIT_TITLES = {"random": "random", "shape": "held-out shapes"}


def spread_cell(rows: Rows, *, structures: bool) -> str:
    """Return the mean over seeds ± their deviation, the number of failed structures, and the spread over structures.

    Args:
        rows: Rows of one measure, one for each seed.
        structures: Whether the spread over structures and the number of failures are added.
    """
    means = [row["mean"] for row in rows if row["mean"] is not None]
    if not means:
        return "–"
    text = mean_and_spread(np.mean(means), np.std(means, ddof=1)) if len(means) > 1 else number(means[0])
    if not structures:
        return text
    deviations = [row["sd"] for row in rows if row.get("sd") is not None]
    n_failed = sum(row.get("failed", 0) for row in rows)
    return text + (f" ({np.mean(deviations):.2g})" if deviations else "") + (f", {n_failed} failed" if n_failed else "")


def measure_cells(rows: Rows, metrics, *, structures: bool) -> list[str]:
    """Return the cells of these measures of one model, with † for a measure that awaits a new training."""
    by_metric = group_rows(rows, ("metric",))
    return [
        "†" if metric in NEW_MEASURES and (metric,) not in by_metric
        else spread_cell(by_metric.get((metric,), []), structures=structures)
        for metric in metrics
    ]  # fmt: skip


def measure_rows(rows: Rows) -> Rows:
    """Return the rows without those of t-tests."""
    return [row for row in rows if not row["metric"].startswith("t_test_")]


def seed_values(rows: Rows, **labels) -> np.ndarray:
    """Return the means of the seeds of the rows with these labels."""
    return np.array([row["mean"] for row in rows if all(row.get(name) == label for name, label in labels.items())])


# ---- table 1


def _paper_lines(metrics) -> Table:
    return [
        [
            *("random", f"{MODEL_TITLES[model]}, the paper", "2", "1"),
            *(str(PAPER_VALUES.get((model, metric), "–")) for metric in metrics),
        ]
        for model in ("dae", "cvae")
    ]


def reconstruction_sentence(rows: Rows) -> str:
    """Return the answer to the question whether the PDF term improves the reconstructions."""
    labels = {"split": "random", "draw": "sample"}
    good_seeds = []
    for latent in (8, 2):
        pearson, r_p = (
            seed_values(rows, **labels, latent=latent, model="cvae+pdf", metric=metric) for metric in ("pearson", "r_p")
        )
        good_seeds.append(f"{np.sum((pearson > 0.97) & (r_p < 0.1))} of {len(pearson)}")
    plain, with_term = (
        seed_values(rows, **labels, latent=8, model=model, metric="pearson").mean() for model in ("cvae", "cvae+pdf")
    )
    held_out_pearson = seed_values(
        rows, split="shape", draw="sample", latent=8, model="cvae+pdf", metric="pearson"
    ).mean()
    return (
        f"On the paper's random split the PDF term raises Pearson from {plain:.2f} to {with_term:.2f} with 8 latent "
        f"dimensions. The target of Pearson > 0.97 and R_p < 0.10 is met by {good_seeds[0]} seeds with 8 dimensions "
        f"and by {good_seeds[1]} with the paper's 2. On held-out shapes Pearson is only {held_out_pearson:.2f}. On "
        "both splits the structure of the nearest training PDF fits better than those of all networks."
    )


def reconstruction_block(rows: Rows) -> str:
    """Return the answer and the main measures of structures made from one draw."""
    head = ["split", "model", "latent dimensions", "seeds", *(MEASURES[name] for name in SHORT_MEASURES)]
    lines = [head]
    for (split, latent, model, draw), group in group_rows(
        measure_rows(rows), ("split", "latent", "model", "draw")
    ).items():
        if draw != "mean" and model in SHORT_MODELS:
            labels = (
                SPLIT_TITLES[split],
                MODEL_TITLES[model],
                cell_text(latent),
                str(len({row["seed"] for row in group})),
            )
            lines.append([*labels, *measure_cells(group, SHORT_MEASURES, structures=False)])
    tests = comparison_remark(pooled_p_values(rows))
    return f"{reconstruction_sentence(rows)}\n\n{markdown_table(lines + _paper_lines(SHORT_MEASURES))}\n\n{tests}"


def reconstruction_table(rows: Rows) -> str:
    """Return all measures of reconstructions, with the paper's numbers."""
    lines = [["split", "model", "latent dimensions", "from", "seeds", *MEASURES.values()]]
    for (split, latent, model, draw), group in group_rows(
        measure_rows(rows), ("split", "latent", "model", "draw")
    ).items():
        if (model, draw) != ("dae", "mean"):  # The DAE is deterministic, so both draws give the same numbers.
            labels = SPLIT_TITLES[split], MODEL_TITLES[model], cell_text(latent), cell_text(draw)
            n_seeds = str(len({row["seed"] for row in group}))
            lines.append([*labels, n_seeds, *measure_cells(group, MEASURES, structures=True)])
    paper_lines = [[*line[:3], "sample", *line[3:]] for line in _paper_lines(MEASURES)]
    return markdown_table(lines + paper_lines)


def reconstruction_tests_table(rows: Rows) -> str:
    """Return the t-tests of the reconstructions."""
    return t_test_table(rows, ("split", "latent", "draw", "model", "against"))


# ---- t-tests over seeds


def pooled_p_values(rows: Rows) -> list[float]:
    """Return p of each t-test over seeds."""
    pooled_rows = [row for row in rows if row["metric"].startswith("t_test_") and row["seed"] is None]
    return [row["p"] for row in pooled_rows if row["p"] is not None]


def t_test_table(rows: Rows, names: tuple[str, ...]) -> str:
    """Return a table of the t-tests over seeds, and a remark on their number and how many are significant.

    The tests are not over structures, which are stretched copies of a few shapes and not independent.
    """
    lines = [[*(name.replace("_", " ") for name in names), "measure", "difference", "p over seeds"]]
    t_test_rows = [row for row in rows if row["metric"].startswith("t_test_")]
    for key, group in group_rows(t_test_rows, (*names, "metric")).items():
        pooled_p = [row["p"] for row in group if row["seed"] is None and row["p"] is not None]
        difference = spread_cell([row for row in group if row["seed"] is not None], structures=True)
        p_cell = number(pooled_p[0], 2) if pooled_p else "–"
        lines.append([*map(cell_text, key[:-1]), MEASURES[key[-1].removeprefix("t_test_")], difference, p_cell])
    p_values = pooled_p_values(rows)
    return markdown_table(lines) + (f"\n\n{comparison_remark(p_values)}" if p_values else "")


def comparison_remark(p_values: list[float]) -> str:
    """Return a remark on the number of comparisons with a small p, with and without Bonferroni's correction."""
    n_small, corrected_level = sum(p < SIGNIFICANCE_LEVEL for p in p_values), SIGNIFICANCE_LEVEL / len(p_values)
    return (
        f"Of {len(p_values)} paired t-tests over seeds, {n_small} have p < {SIGNIFICANCE_LEVEL}; chance alone gives "
        f"about {SIGNIFICANCE_LEVEL * len(p_values):.2g}. With Bonferroni's correction (p < {corrected_level:.1g}) "
        f"{sum(p < corrected_level for p in p_values)} remain."
    )


# ---- the PDF term and a refinement


def ablation_block(rows: Rows) -> str:
    """Return the measures with and without the PDF term, before and after a refinement."""
    measured_rows = measure_rows(rows)
    seconds = np.mean([row["seconds_per_structure"] for row in measured_rows if row["refined"]])
    head = ["split", "noise on F(Q)", "PDF term", "Pearson", "Pearson, refined", "R_p", "R_p, refined"]
    lines = [[*head, MEASURES["count_exact"]]]
    for (split, noise, weight), group in sorted(group_rows(measured_rows, ("split", "noise", "weight")).items()):
        by_case = group_rows(group, ("metric", "refined"))
        cells = [
            spread_cell(by_case.get((metric, refined), []), structures=False)
            for metric, refined in (
                *(("pearson", False), ("pearson", True), ("r_p", False), ("r_p", True)),
                ("count_exact", False),
            )
        ]
        lines.append([SPLIT_TITLES[split], f"{100 * noise:g} %", cell_text(bool(weight)), *cells])
    return (
        f"No: a refinement of the coordinates ({number(seconds, 1)} s per structure) improves the agreement with the "
        "PDF more than the PDF term does, and it makes the two models nearly equal. After the refinement the term "
        "keeps an advantage only on the random split with noise on the "
        f"data.\n\n{markdown_table(lines)}\n\n{comparison_remark(pooled_p_values(rows))}"
    )


def ablation_table(rows: Rows) -> str:
    """Return all measures of the ablation."""
    names = ("split", "noise", "model", "weight", "refined")
    lines = [[*names, "seeds", *(MEASURES[name] for name in ABLATION_MEASURES), "s per structure"]]
    for key, group in sorted(group_rows(measure_rows(rows), names).items()):
        seconds = number(np.mean([row["seconds_per_structure"] for row in group]), 2) if key[-1] else "–"
        n_seeds = str(len({row["seed"] for row in group}))
        cells = measure_cells(group, ABLATION_MEASURES, structures=True)
        lines.append([*map(cell_text, key), n_seeds, *cells, seconds])
    return markdown_table(lines)


def ablation_tests_table(rows: Rows) -> str:
    """Return the t-tests of the ablation."""
    return t_test_table(rows, ("split", "noise", "model", "refined", "against", "against_refined"))


# ---- latent spaces and draws


def interpolation_block(rows: Rows) -> str:
    """Return the answer and the validity of structures between ends that are posterior means."""
    metrics = ("valid", "pearson_ends", "count_exact_ends", "largest_step")
    valid_shares = {
        key: seed_values(group, metric="valid", ends="posterior").mean()
        for key, group in group_rows(rows, ("model", "latent")).items()
    }
    lines = [["model", "latent dimensions", "seeds", *(FIGURE_MEASURES.get(metric, metric) for metric in metrics)]]
    for (model, latent), group in group_rows(rows, ("model", "latent")).items():
        posterior_rows = [row for row in group if row["ends"] == "posterior"]
        cells = measure_cells(posterior_rows, metrics, structures=False)
        lines.append([MODEL_TITLES[model], str(latent), str(len({row["seed"] for row in group})), *cells])
    comparisons = [
        f"with {latent} latent dimensions {100 * valid_shares['cvae', latent]:.0f} % of the CVAE's structures and "
        f"{100 * valid_shares['dae', latent]:.0f} % of the DAE's are valid"
        for latent in (8, 2)
    ]
    n_good = sum(share >= 0.9 for share in valid_shares.values())
    return (
        f"Only in part: {', and '.join(comparisons)}. The target of 90 % is reached by {n_good} of {len(valid_shares)} "
        f"models.\n\n{markdown_table(lines)}"
    )


def model_table(rows: Rows) -> str:
    """Return a table of all measures, with one line for each split, model, latent dimension and kind of ends."""
    metrics = [metric for metric in dict.fromkeys(row["metric"] for row in rows) if metric != REPLACED_MEASURE]
    has_ends = any("ends" in row for row in rows)
    lines = [["split", "model", "latent dimensions", *(["ends"] if has_ends else []), "seeds"]]
    lines[0] += [MEASURES.get(metric, FIGURE_MEASURES.get(metric, metric.replace("_", " "))) for metric in metrics]
    for (split, model, latent, ends), group in group_rows(rows, ("split", "model", "latent", "ends")).items():
        labels = [SPLIT_TITLES[split], MODEL_TITLES[model], str(latent), *([ends] if has_ends else [])]
        cells = [spread_cell([row for row in group if row["metric"] == metric], structures=True) for metric in metrics]
        lines.append([*labels, str(len({row["seed"] for row in group})), *cells])
    return markdown_table(lines)


def latent_sentence(rows: Rows) -> str:
    """Return a sentence on how often neighbours in the latent space have equal numbers of atoms."""
    agreements = [
        f"{percent(seed_values(rows, latent=latent, metric='agreement'))} with {latent} latent dimensions"
        for latent in sorted({row["latent"] for row in rows})
    ]
    return (
        f"Of the five nearest neighbours in the latent space, {' and '.join(agreements)} have the same number of "
        f"atoms; chance alone gives {percent(seed_values(rows, metric='chance'))}."
    )


def examples_sentence(rows: Rows) -> str:
    """Return a sentence on the agreement and the validity of structures from one draw."""
    by_metric = group_rows(rows, ("metric",))
    pearson, rw = (spread_cell(by_metric[metric,], structures=False) for metric in ("pearson", "rw"))
    exact, valid = (percent(seed_values(rows, metric=metric)) for metric in ("count_exact", "valid"))
    return (
        f"The PDFs of structures from one draw agree with the test PDFs with Pearson {pearson} and Rw {rw}. The number "
        f"of atoms is right in {exact}, and {valid} of the structures are valid."
    )


def samples_sentence(rows: Rows) -> str:
    """Return a sentence on the number of atoms, the validity and the best of ten draws."""
    by_metric = group_rows(rows, ("metric",))
    exact, valid = (percent(seed_values(rows, metric=metric)) for metric in ("count_exact", "valid"))
    rw, best_rw = (spread_cell(by_metric[metric,], structures=False) for metric in ("rw", "rw_best"))
    return (
        f"The number of atoms is right in {exact} of the draws, and {valid} of the structures are valid. The best of "
        f"ten draws has Rw {best_rw}, and the mean over draws is {rw}."
    )


# ---- trilateration

METHOD_TITLES = {
    "jaxstruc": "jaxstruc", "scipy-l-bfgs-b": "L-BFGS-B, atom by atom",
    "scipy-l-bfgs-b-together": "L-BFGS-B, all atoms",
}  # fmt: skip
PAPER_SECONDS = {4: 8.6, 11: 9.6, 100: 23.5}
"""Seconds per structure in table 2 of KDD 2020, for each number of satellites."""


def _trilateration_cells(case_rows: Rows) -> list[str]:
    by_method = {row["method"]: row for row in case_rows}
    times = [number(1e3 * by_method[method]["seconds_per_structure"], 2) for method in METHOD_TITLES]
    first, *_ = case_rows
    errors = [number(by_method[method]["rmse"], 2) for method in METHOD_TITLES]
    return [*times, *errors[:2], number(first["rmse_crb"], 2)]


def trilateration_block(rows: Rows) -> str:
    """Return times and errors for distances with 1 % of noise."""
    noisy_rows = [row for row in rows if row["noise"] == 0.01 and row["case"] == "clean"]
    ours = [row for row in rows if row["method"] == "jaxstruc" and row["atoms"] not in ([200], [500])]
    slowest = {
        case: max(row["seconds_per_structure"] for row in ours if row["case"] == case) for case in ("clean", "outliers")
    }
    paper = ", ".join(f"{seconds} s with {satellites}" for satellites, seconds in PAPER_SECONDS.items())
    lines = [
        [
            *("atoms", "satellites", "jaxstruc, ms", "L-BFGS-B atom by atom, ms", "L-BFGS-B all atoms, ms"),
            *("error", "error of L-BFGS-B atom by atom", "lowest possible error"),
        ]
    ]
    for (satellites, atoms), case_rows in _trilateration_cases(noisy_rows):
        lines.append([atoms, str(satellites), *_trilateration_cells(case_rows)])
    return (
        f"Structures of 19 to 93 atoms take at most {number(1e3 * slowest['clean'], 2)} ms each, and "
        f"{number(1e3 * slowest['outliers'], 2)} ms if some distances are wrong. The paper states {paper} satellites. "
        "The errors are close to the lowest possible ones (Cramér-Rao bound).\n\n" + markdown_table(lines)
    )


def _trilateration_cases(rows: Rows) -> list[tuple[tuple, Rows]]:
    cases: dict[tuple, Rows] = {}
    for row in rows:
        atoms = str(row["atoms"][0]) if len(row["atoms"]) == 1 else f"{min(row['atoms'])} to {max(row['atoms'])}"
        cases.setdefault((row["satellites"], atoms), []).append(row)
    return list(cases.items())


def trilateration_table(rows: Rows) -> str:
    """Return times and errors of all methods and cases."""
    return columns_table(
        rows,
        {
            "atoms": lambda row: ", ".join(map(str, row["atoms"])),
            "satellites": "satellites",
            "noise": lambda row: f"{100 * row['noise']:g} %",
            "distances": lambda row: {"clean": "all"}.get(row["case"], row["case"]),
            "method": lambda row: METHOD_TITLES[row["method"]],
            "structures": "n",
            "ms per structure": lambda row: number(1e3 * row["seconds_per_structure"]),
            "error": "rmse",
            "lowest possible error": "rmse_crb",
            "converged": "converged",
            "compilation, s": lambda row: number(row.get("seconds_compiling"), 2),
            "steps": "steps",
            "peak memory, MB": "peak_memory_mb",
        },
    )


def satellites_sentence(rows: Rows) -> str:
    """Return a sentence and a table of the errors with few and many satellites, for the errors of the decoder."""
    noise = min(row["noise"] for row in rows)
    counts = sorted({row["satellites"] for row in rows})
    lines = [["atoms", "distances", *(f"error with {count} satellites" for count in (counts[0], counts[-1]))]]
    for (atoms,), case_rows in group_rows([row for row in rows if row["noise"] == noise], ("atoms",)).items():
        for name in ("satellites alone", "pairs and satellites"):
            distance_rows = [row for row in case_rows if row["distances"] == name]
            lines.append([str(atoms), name, *(number(row["rmse"], 2) for row in (distance_rows[0], distance_rows[-1]))])
    return (
        f"The distances have errors of {noise} radii, as those of the shipped decoder. The table gives the error of "
        f"the coordinates in radii.\n\n{markdown_table(lines)}"
    )


def satellites_table(rows: Rows) -> str:
    """Return the errors with and without pair distances against the number of satellites."""
    head = ["atoms", "error of the distances", "satellites", "error, satellites alone", "error, with pair distances"]
    lines = [[*head, "lowest possible, alone", "lowest possible, with pairs"]]
    for (atoms, noise, satellites), case_rows in group_rows(rows, ("atoms", "noise", "satellites")).items():
        by_distances = {row["distances"]: row for row in case_rows}
        pair = by_distances["satellites alone"], by_distances["pairs and satellites"]
        cells = [number(row[name], 2) for name in ("rmse", "rmse_crb") for row in pair]
        lines.append([str(atoms), str(noise), str(satellites), *cells])
    return markdown_table(lines)
