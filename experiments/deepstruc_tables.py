"""Tables of the autoencoder for DeepStruc's seven structure types."""

import numpy as np
from table_cells import Rows, group_rows, markdown_table, number

SPLIT_NAMES = {
    "random": "random",
    "range": "held-out ranges",
    "stacks": "stacks, random",
    "words": "stacks, held-out words",
}
MODEL_NAMES = {
    "draw": "one draw",
    "mean": "most probable",
    "template": "nearest training PDF",
    "draw_refined": "one draw, refined",
    "template_refined": "nearest training PDF, refined",
}
PART_NAMES = {"structures": "", "larger": ", 201 to 400 atoms"}
"""Parts whose rows have the measures of structures, and what the tables add to the name of the split."""
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
    structures = [row for row in rows if row["part"] in PART_NAMES and row["type"] == "all"]
    for (split, part, model), group in group_rows(structures, ("split", "part", "model")).items():
        lines.append(
            [
                SPLIT_NAMES[split] + PART_NAMES[part],
                MODEL_NAMES[model],
                *(f"{100 * _mean(group, name):.1f} %" for name in ("type_right", "count_exact", "solved")),
                *(number(_mean(group, name), 2) for name in ("error", "fitted_error", "fitted_rw")),
            ]
        )
    sentences = [
        _error_sentence(rows),
        _held_out_sentence(rows),
        _larger_sentence(rows),
        _stacking_sentence(rows),
        _purity_sentence(rows),
        _measured_sentence(rows),
    ]
    return "\n\n".join([" ".join(filter(None, sentences)), markdown_table(lines)])


def deepstruc_types_table(rows: Rows) -> str:
    """Return the table of all models and types."""
    head = ["split", "seed", "structure", "type", "PDFs", "type right", "atoms exact", "solved"]
    head += ["error, Å", "after the fit, Å", "median", "Rw after the fit"]
    lines = [head]
    for row in (row for row in rows if row["part"] in PART_NAMES):
        lines.append(
            [
                SPLIT_NAMES[row["split"]] + PART_NAMES[row["part"]],
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


def deepstruc_paired_table(rows: Rows) -> str:
    """Return the table that compares one draw with the nearest template for each PDF."""
    lines = [["split", "seed", "structure", "PDFs", "draw has the lower Rw", "template has the lower Rw", "p"]]
    lines += [
        [
            SPLIT_NAMES[row["split"]] + PART_NAMES[row["test"]],
            str(row["seed"]),
            MODEL_NAMES[row["model"]],
            str(row["n"]),
            f"{100 * row['better']:.1f} %",
            f"{100 * row['worse']:.1f} %",
            f"{row['p']:g}",
        ]
        for row in rows
        if row["part"] == "paired"
    ]
    return markdown_table(lines)


def deepstruc_stacking_table(rows: Rows) -> str:
    """Return the table of the share of hexagonal layers in the latent plane."""
    lines = [["split", "seed", "PDFs", "rank correlation", "target"]]
    lines += [
        [SPLIT_NAMES[row["split"]], str(row["seed"]), str(row["n"]), f"{row['spearman']:.4f}", "≥ 0.95"]
        for row in rows
        if row["part"] == "stacking"
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
    """Return the sentences on one draw and the nearest training PDF on held-out ranges, refined and not."""
    groups = group_rows([row for row in _all_types(rows) if row["split"] == "range"], ("model",))
    texts = []
    for suffix, title in (("", "On held-out ranges, one draw"), ("_refined", "Refined in the same way, one draw")):
        models = f"draw{suffix}", f"template{suffix}"
        if not {(name,) for name in models} <= groups.keys():
            continue
        solved, rw = ([_mean(groups[name,], column) for name in models] for column in ("solved", "fitted_rw"))
        tests = [row for row in rows if row["part"] == "paired" and row["test"] == "structures"]
        pairs = [row for row in tests if row["split"] == "range" and row["model"] == models[0]]
        better = " and ".join(f"{100 * row['better']:.0f} % (p = {row['p']:g})" for row in pairs)
        text = (
            f"{title} solves {100 * solved[0]:.0f} % of the particles and the nearest training PDF "
            f"{100 * solved[1]:.0f} %, with a mean Rw of {number(rw[0], 2)} and {number(rw[1], 2)} after the fit."
        )
        if better:
            text += f" The draw has the lower Rw for {better} of the PDFs, one number for each seed."
        texts.append(text)
    return " ".join(texts)


def _larger_sentence(rows: Rows) -> str:
    """Return the sentence on particles that are larger than those of the training."""
    larger = [row for row in rows if row["part"] == "larger" and row["type"] == "all"]
    groups = group_rows(larger, ("model",))
    if not {("draw_refined",), ("template_refined",)} <= groups.keys():
        return ""
    texts = [
        f"{100 * _mean(groups[model,], 'type_right'):.0f} % of the types, "
        f"{100 * _mean(groups[model,], 'solved'):.0f} % solved and a "
        f"mean Rw of {number(_mean(groups[model,], 'fitted_rw'), 2)} for {name}"
        for model, name in (("draw_refined", "one draw"), ("template_refined", "the nearest training PDF"))
    ]
    return f"For particles of 201 to 400 atoms, the refined structures have {' and '.join(texts)}."


def _stacking_sentence(rows: Rows) -> str:
    """Return the sentence on the errors of stacks, and on the share of hexagonal layers in the latent plane."""
    draws = [row for row in _all_types(rows) if row["model"] == "draw"]
    texts = []
    for split in ("stacks", "words"):
        errors = [row for row in draws if row["split"] == split]
        correlations = [row["spearman"] for row in rows if row["part"] == "stacking" and row["split"] == split]
        if correlations:
            text = f"{' and '.join(number(value, 3) for value in correlations)} for {SPLIT_NAMES[split]}"
            if errors:
                text += (
                    f" (one draw: error {number(_mean(errors, 'fitted_error'), 2)} Å, "
                    f"{100 * _mean(errors, 'solved'):.0f} % solved)"
                )
            texts.append(text)
    if not texts:
        return ""
    return (
        "The rank correlation of the share of hexagonal layers with the best direction of the latent plane (target "
        f"0.95) is {', and '.join(texts)}."
    )


def _measured_sentence(rows: Rows) -> str:
    """Return the sentence on the best draws for measured files."""
    measured = [row for row in rows if row["part"] == "measured" and row["variant"] == "plain"]
    texts = [
        f"{' and '.join(number(row['rw'], 3) for row in group)} for {name} (target {MEASURED_TARGETS[name]})"
        for (name,), group in group_rows(measured, ("file",)).items()
    ]
    if not texts:
        return ""
    return f"The best of 200 draws for measured files has Rw {', and '.join(texts)}, one number for each seed."


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
