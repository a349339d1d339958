"""Tables of the autoencoder for DeepStruc's seven structure types."""

import numpy as np
from table_cells import Rows, group_rows, markdown_table, number

SPLIT_NAMES = {"random": "random", "range": "held-out ranges"}
MODEL_NAMES = {"draw": "one draw", "mean": "mean of the prior", "template": "nearest training PDF"}
VARIANT_NAMES = {"plain": "full", "no-type-head": "no type head", "template": "–"}
MEASURED_TARGETS = {"Pt_1.8nm_S3.gr": 0.245, "Au144_pMBA.gr": 0.198}
"""Rw of the structures that DeepStruc's authors' released network proposes, with the same fit."""
PUBLISHED_ERROR = 0.093
"""Mean error of coordinates of DeepStruc after the fit, in Å, on its random split."""


def deepstruc_block(rows: Rows) -> str:
    """Return the sentences and the short table of the README."""
    head = [
        "split",
        "structure",
        "type right",
        "atoms exact",
        "solved",
        "error, Å",
        "after the fit, Å",
        "Rw of the fit",
    ]
    lines = [head]
    for (split, model), group in group_rows(_all_types(rows), ("split", "model")).items():
        lines.append(
            [
                SPLIT_NAMES[split],
                MODEL_NAMES[model],
                *(f"{100 * _mean(group, name):.1f} %" for name in ("type_right", "count_exact", "solved")),
                *(number(_mean(group, name), 2) for name in ("error", "fitted_error", "fitted_rw")),
            ]
        )
    sentences = [_error_sentence(rows), _held_out_sentence(rows), _purity_sentence(rows), _measured_sentence(rows)]
    return "\n\n".join([" ".join(filter(None, sentences)), markdown_table(lines)])


def deepstruc_types_table(rows: Rows) -> str:
    """Return the table of all models and types."""
    head = ["split", "seed", "structure", "type", "PDFs", "type right", "atoms exact", "solved"]
    head += ["error, Å", "after the fit, Å", "median", "Rw after the fit"]
    lines = [head]
    for row in (row for row in rows if row["part"] == "structures"):
        lines.append(
            [
                SPLIT_NAMES[row["split"]],
                str(row["seed"]),
                MODEL_NAMES[row["model"]],
                row["type"],
                str(row["n"]),
                f"{100 * row['type_right']:.1f} %",
                f"{100 * row['count_exact']:.1f} %",
                f"{100 * row['solved']:.1f} %",
                f"{number(row['error'], 3)} ± {number(row['error_sd'], 2)}",
                f"{number(row['fitted_error'], 3)} ± {number(row['fitted_error_sd'], 2)}",
                number(row["fitted_error_median"], 2),
                number(row["fitted_rw"], 2),
            ]
        )
    return markdown_table(lines)


def deepstruc_latent_table(rows: Rows) -> str:
    """Return the table of the purity of types in the latent plane."""
    lines = [["split", "seed", "network", "PDFs", "wrong type by five neighbours", "neighbours of the same type"]]
    lines += [
        [
            SPLIT_NAMES[row["split"]],
            str(row["seed"]),
            VARIANT_NAMES[row["variant"]],
            str(row["n"]),
            str(row["wrong"]),
            f"{100 * row['same_type']:.2f} %",
        ]
        for row in rows
        if row["part"] == "latent"
    ]
    return markdown_table(lines)


def deepstruc_draws_table(rows: Rows) -> str:
    """Return the table of several draws for one PDF."""
    head = ["split", "seed", "network", "PDFs", "draws for each", "different structures", "atoms exact", "in any draw"]
    lines = [[*head, "mean error, Å", "lowest error, Å"]]
    lines += [
        [
            SPLIT_NAMES[row["split"]],
            str(row["seed"]),
            VARIANT_NAMES[row["variant"]],
            *(str(row[name]) for name in ("n", "draws", "distinct")),
            f"{100 * row['count_exact']:.1f} %",
            f"{100 * row['any_count_exact']:.1f} %",
            number(row["error"], 2),
            number(row["lowest_error"], 2),
        ]
        for row in rows
        if row["part"] == "draws"
    ]
    return markdown_table(lines)


def deepstruc_measured_table(rows: Rows) -> str:
    """Return the table of the best of many draws for each measured file."""
    lines = [["file", "seed", "network", "draws", "best Rw", "median Rw", "type", "atoms", "stretch", "target"]]
    lines += [
        [
            row["file"],
            str(row["seed"]),
            VARIANT_NAMES[row["variant"]],
            str(row["draws"]),
            number(row["rw"], 3),
            number(row["rw_median"], 3),
            row["type"],
            str(row["atoms"]),
            number(row["stretch"], 4),
            f"< {MEASURED_TARGETS[row['file']]}",
        ]
        for row in rows
        if row["part"] == "measured"
    ]
    return markdown_table(lines)


def _all_types(rows: Rows) -> Rows:
    return [row for row in rows if row["part"] == "structures" and row["type"] == "all"]


def _mean(rows: Rows, name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _error_sentence(rows: Rows) -> str:
    """Return the sentence on the error of one draw on the random split, and on the worst type."""
    random_rows = [row for row in rows if row["part"] == "structures" and row["split"] == "random"]
    draws = [row for row in random_rows if (row["variant"], row["model"]) == ("plain", "draw")]
    if not draws:
        return ""
    type_errors = {
        name: _mean(group, "fitted_error") for (name,), group in group_rows(draws, ("type",)).items() if name != "all"
    }
    worst_type = max(type_errors, key=type_errors.__getitem__)
    exact = 100 * _mean(_all_types(draws), "count_exact")
    mean_error = number(_mean(_all_types(draws), "fitted_error"), 2)
    return (
        f"On the published random split, one draw has a mean error of {mean_error} Å after the fit, and the largest "
        f"error of a type is {number(type_errors[worst_type], 2)} Å ({worst_type}). DeepStruc states "
        f"{PUBLISHED_ERROR} Å, and the targets are 0.03 Å and 0.05 Å. The number of atoms is exact for {exact:.1f} %."
    )


def _held_out_sentence(rows: Rows) -> str:
    """Return the sentence on one draw and the nearest training PDF on held-out ranges."""
    groups = group_rows([row for row in _all_types(rows) if row["split"] == "range"], ("model",))
    if not {("draw",), ("template",)} <= groups.keys():
        return ""
    solved, rw = ([_mean(groups[name,], column) for name in ("draw", "template")] for column in ("solved", "fitted_rw"))
    return (
        f"On held-out ranges it solves {100 * solved[0]:.0f} % of the particles and the nearest training PDF "
        f"{100 * solved[1]:.0f} %, with a mean Rw of {number(rw[0], 2)} and {number(rw[1], 2)} after the fit."
    )


def _measured_sentence(rows: Rows) -> str:
    """Return the sentence on the best draws for measured files."""
    texts = [
        f"{number(row['rw'], 3)} for {row['file']} (target {MEASURED_TARGETS[row['file']]})"
        for row in rows
        if row["part"] == "measured" and row["seed"] == 0 and row["variant"] == "plain"
    ]
    return f"The best of 200 draws for measured files has Rw {' and '.join(texts)}." if texts else ""


def _purity_sentence(rows: Rows) -> str:
    """Return the sentence on the purity of types in the latent plane of the random split, for all seeds."""
    latents = [row for row in rows if row["part"] == "latent" and row["split"] == "random"]
    if not latents:
        return ""
    texts = [
        f"{' and '.join(str(row['wrong']) for row in group)} {'without' if variant == 'no-type-head' else 'with'} the "
        "type head"
        for (variant,), group in group_rows(latents, ("variant",)).items()
    ]
    return (
        f"Most of the five nearest neighbours in the latent plane have another type for these numbers of "
        f"{latents[0]['n']} PDFs, one for each seed: {', '.join(texts)} (target 3)."
    )
