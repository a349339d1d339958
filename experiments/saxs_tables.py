"""Tables of the experiments on sizes and shapes from small-angle scattering."""

import numpy as np
from table_cells import Rows, group_rows, markdown_table, mean_and_spread, number, percent, share_line

SPHERE_TRUTHS = {"radius": 34.907, "pd": 0.062}
"""Mean radius in Å and relative width of the simulated spheres."""
SPHERE_SLIDES = {"radius": 0.071, "pd": 0.004}
"""Standard errors that the course's slides state."""
TWO_LENGTH_BODIES = ("core-shell", "spheroid", "cylinder", "hard-sphere")
"""Bodies with a parameter of their shape."""
PARAMETER_TITLES = {"radius": "mean radius, Å", "pd": "relative width"}
MAX_SPHERE_EXCESS, MIN_CLEAR_EXCESS = 9, 20
"""Excess in chi-squared below which a sphere fits within the noise, and above which a wrong body is excluded."""
SPHERE_FITS = {"matched": "sphere, Gaussian sizes", "all": "all bodies and distributions"}


def sphere_block(rows: Rows) -> str:
    """Return bias, spread, errors and coverage for the sphere, one line for each fit and parameter."""
    lines = [
        "fit;data sets;parameter;mean ± spread;bias;stated error;truth in the 90 % interval;sphere first".split(";")
    ]
    for (model,), model_rows in group_rows(rows, ("model",)).items():
        for parameter, truth in SPHERE_TRUTHS.items():
            values = np.array([row[parameter] for row in model_rows])
            errors = np.array([row[f"{parameter}_error"] or np.nan for row in model_rows])
            lines.append(
                [
                    *(SPHERE_FITS[model], str(len(model_rows)), PARAMETER_TITLES[parameter]),
                    mean_and_spread(values.mean(), values.std(ddof=1)),
                    *(number(value, 2) for value in (values.mean() - truth, np.nanmean(errors))),
                    percent([row[f"{parameter}_held"] for row in model_rows], 1),
                    percent([row["body"] == "sphere" for row in model_rows]),
                ]
            )
    for parameter, truth in SPHERE_TRUTHS.items():
        cells = PARAMETER_TITLES[parameter], str(truth), "–", str(SPHERE_SLIDES[parameter])
        lines.append(["the course's slides", "1", *cells, "–", "–"])
    return markdown_table(lines)


def round_robin_block(rows: Rows) -> str:
    """Return the errors for samples of one population, of two, and of all."""
    lines = [
        "populations;samples;number right;median error of means;means within 1 %;median error of widths;"
        "overall mean in its interval;overall width in its interval".split(";")
    ]
    for label, population_counts in (("one", (1,)), ("two", (2,)), ("all", (1, 2))):
        case_rows = [row for row in rows if row["populations"] in population_counts]
        correct_rows = [row for row in case_rows if row["told"] == row["populations"]]
        means, widths = (
            np.abs([deviation for row in correct_rows for deviation in row[f"{parameter}_off"]])
            for parameter in ("mean", "width")
        )
        lines.append(
            [
                *(label, str(len(case_rows))),
                percent([row["told"] == row["populations"] for row in case_rows]),
                *(f"{100 * np.median(means):.2f} %", percent(means < 0.01), f"{100 * np.median(widths):.1f} %"),
                *(percent([row[f"{parameter}_held"] for row in case_rows]) for parameter in ("radius", "pd")),
            ]
        )
    return markdown_table(lines)


def populations_block(rows: Rows) -> str:
    """Return the shares of samples with the right number of populations and the right body."""
    lines = ["populations;samples;number right;body right;not determined;wrong body;median chi-squared".split(";")]
    for label, counts in (("1", (1,)), ("2", (2,)), ("3", (3,)), ("4", (4,)), ("all", (1, 2, 3, 4))):
        case_rows = [row for row in rows if row["populations"] in counts]
        bodies = [(row["body"], row["truth"]) for row in case_rows]
        cells = (
            [row["counted"] == row["populations"] for row in case_rows],
            [body == truth for body, truth in bodies],
            [body == "not determined" for body, _ in bodies],
            [body not in (truth, "not determined") for body, truth in bodies],
        )
        median = number(float(np.median([row["chi2"] for row in case_rows])), 2) if case_rows else "–"
        lines.append([label, str(len(case_rows)), *(percent(cell, 1) for cell in cells), median])
    return markdown_table(lines)


def two_lengths_block(rows: Rows) -> str:
    """Return a sentence on the bodies that are named, and the table of the intervals."""
    compared_rows = [row for row in rows if row["model"] == "all bodies"]
    one_length_rows = [row for row in compared_rows if "shape" not in row]
    two_length_rows = [row for row in compared_rows if "shape" in row]
    n_claims = sum(row["body"] in TWO_LENGTH_BODIES for row in one_length_rows)
    n_wrong = sum(row["body"] not in (row["truth"], "not determined") for row in two_length_rows)
    n_right = sum(row["body"] == row["truth"] for row in two_length_rows)
    sentence = (
        f"A body with two lengths is claimed for {n_claims} of {len(one_length_rows)} samples of bodies with one. Of "
        f"{len(two_length_rows)} spheroids, cylinders and hard spheres, {n_right} are named rightly and {n_wrong} "
        "wrongly."
    )
    return f"{sentence}\n\n{two_lengths_table(rows)}"


def two_lengths_table(rows: Rows) -> str:
    """Return the share of true values in the 90 % intervals and the median errors, for each body and for all."""
    lines = [
        "body;samples;radius in its interval;width in its interval;shape in its interval;all three;"
        "median error of radius;median error of shape".split(";")
    ]
    right_rows = [row for row in rows if row["model"] == "right body"]
    for body in (*dict.fromkeys(row["truth"] for row in right_rows), "all"):
        body_rows = [row for row in right_rows if body in (row["truth"], "all")]
        is_held = [[row[f"{name}_held"] for row in body_rows] for name in ("radius", "pd", "shape")]
        errors = [
            100 * float(np.median([abs(row[f"{name}_fit"] / row[name] - 1) for row in body_rows]))
            for name in ("radius", "shape")
        ]
        lines.append(
            [
                *(body, str(len(body_rows))),
                *(percent(column, 1) for column in (*is_held, [value for column in is_held for value in column])),
                *(f"{error:.2g} %" for error in errors),
            ]
        )
    return markdown_table(lines)


def shapes_block(rows: Rows) -> str:
    """Return a sentence on the cases that a sphere fits, and the table."""
    sphere_rows = [row for row in rows if row["sphere_above"] < MAX_SPHERE_EXCESS]
    n_open = sum(row["told"] == "not determined" for row in sphere_rows)
    return (
        f"A sphere fits within the noise in {len(sphere_rows)} of {len(rows)} cases. In {n_open} of these the answer "
        "is "
        f'"not determined".\n\n{shapes_table(rows)}'
    )


def shapes_table(rows: Rows) -> str:
    """Return the share of wrong bodies, of bodies identified, and the calibration of their probability."""
    sphere_rows = [row for row in rows if row["sphere_above"] < MAX_SPHERE_EXCESS]
    clear_rows = [row for row in rows if row["wrong_above"] > MIN_CLEAR_EXCESS]
    lines = [
        ["cases", "number", "result"],
        share_line(
            "a sphere fits within the noise: a wrong body is named",
            [row["told"] not in (row["truth"], "not determined") for row in sphere_rows],
        ),
        share_line(
            f"chi-squared of the best wrong body is {MIN_CLEAR_EXCESS} higher: right body first",
            [row["first"] == row["truth"] for row in clear_rows],
        ),
    ]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        is_right = [row["first"] == row["truth"] for row in rows if low <= row["p_first"] < high]
        if is_right:
            lines.append(
                share_line(f"probability of the first body {low:g} to {min(high, 1.0):g}: it is right", is_right)
            )
    return markdown_table(lines)
