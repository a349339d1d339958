"""Writes the tables of `README.md` here from the rows in `results/`, so that they agree.

    python experiments/summary.py

Between `<!-- NAME -->` and `<!-- end -->`, for each of `TABLES`. A value is the mean over seeds ± the standard
deviation over seeds, and in brackets that over structures, the mean of the seeds'. Where there are no rows, the table
says how to get them; † marks a measure that is newer than the rows and awaits a new training.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from jaxstruc import files

HERE = Path(__file__).parent
README = HERE / "README.md"
PAPER = {("dae", "r_p"): 0.4548, ("dae", "pearson"): 0.7482, ("cvae", "r_p"): 0.4823, ("cvae", "pearson"): 0.7321}
"""Table 1 of KDD 2020: random split, latent dimension 2, a draw."""
MEASURES = {
    "r_p": "R_p", "pearson": "Pearson", "rw": "Rw", "rw_scaled": "Rw, scaled", "r_l2": "‖ΔG‖", "error": "error, Å",
    "count_exact": "count exact", "solved": "solved",
}  # fmt: skip
SHORT = ("pearson", "r_p", "error", "count_exact", "solved")
AWAITED = ("error", "solved")
"""Measures that rows of earlier trainings lack."""
LEVEL = 0.05
"""Of a p that is called small, were there one comparison."""

Table = list[list[str]]


def value(rows: list[dict]) -> str:
    """Return the mean over seeds ± their deviation (that over structures), and how many structures failed."""
    means = [row["mean"] for row in rows if row["mean"] is not None]
    if not means:
        return "–"
    text = f"{np.mean(means):.4g}"
    if len(means) > 1:
        text += f" ± {np.std(means, ddof=1):.2g}"
    within = [row["sd"] for row in rows if row.get("sd") is not None]
    if within:
        text += f" ({np.mean(within):.2g})"
    failed = sum(row.get("failed", 0) for row in rows)
    return text + (f", {failed} failed" if failed else "")


def cells(rows: list[dict], metrics) -> list[str]:
    """Return the values of some measures of one model; † where a measure awaits a new training."""
    by_metric = grouped(rows, ("metric",))
    return [
        "†" if metric in AWAITED and (metric,) not in by_metric else value(by_metric.get((metric,), []))
        for metric in metrics
    ]


def grouped(rows: list[dict], names: tuple[str, ...]) -> dict[tuple, list[dict]]:
    """Return the rows by the values of some keys, in the order in which they come."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def measured(rows: list[dict]) -> list[dict]:
    """Return the rows that are no t-tests."""
    return [row for row in rows if not row["metric"].startswith("t_test_")]


def table1(rows: list[dict]) -> str:
    """Return the table of reconstructions, with the paper's numbers, and that of the t-tests."""
    lines = [["split", "model", "H", "from", "seeds", *MEASURES.values()]]
    for (split, latent, model, draw), group in grouped(measured(rows), ("split", "latent", "model", "draw")).items():
        if (model, draw) == ("dae", "mean"):  # it draws nothing: the same numbers again
            continue
        seeds = str(len({row["seed"] for row in group}))
        lines.append([split, model, shown(latent), shown(draw), seeds, *cells(group, MEASURES)])
    for model in ("dae", "cvae"):
        theirs = [f"{PAPER[model, metric]}" if (model, metric) in PAPER else "–" for metric in MEASURES]
        lines.append(["random", f"{model}, the paper", "2", "sample", "1", *theirs])
    return markdown(lines) + "\n\n" + tests(rows, ("split", "latent", "draw", "model", "against"))


def ablation(rows: list[dict]) -> str:
    """Return the table of the ablation, and that of its t-tests."""
    names = ("split", "noise", "model", "weight", "refined")
    lines = [["split", "noise", "model", "weight", "refined", "seeds", *(MEASURES[name] for name in SHORT), "s each"]]
    for key, group in sorted(grouped(measured(rows), names).items()):
        seconds = f"{np.mean([row['seconds_per_structure'] for row in group]):.2g}" if key[-1] else "–"
        seeds = str(len({row["seed"] for row in group}))
        lines.append([*map(shown, key), seeds, *cells(group, SHORT), seconds])
    keys = ("split", "noise", "model", "refined", "against", "against_refined")
    return markdown(lines) + "\n\n" + tests(rows, keys)


def trust(rows: list[dict]) -> str:
    """Return what became of simulated particles: a line a claim."""
    parts = {part: [row for row in rows if row["part"] == part] for part in ("screening", "qmin", "verdict")}
    screened, wrong = parts["screening"], parts["qmin"]
    known = [row for row in parts["verdict"] if row["structure"] is not None]

    def read(low: float, high: float) -> list[float]:
        return [row["size_seen"] / row["diameter"] for row in parts["verdict"] if low <= row["diameter"] < high]

    return markdown(
        [
            ["what", "cases", "figure"],
            share("best of all fits among those screened", [row["place"] < row["chosen"] for row in screened]),
            spread("its place in the order of the screening", [row["place"] for row in screened], 1.0),
            share("wrong header: type as with the true qmin", [row["type"] == row["type_inferred"] for row in wrong]),
            share("wrong header: Rw at most 0.003 above", [row["rw_inferred"] - row["rw"] < 0.003 for row in wrong]),
            spread("wrong header: qmin off by, 1/Å", [abs(row["inferred"] - row["qmin"]) for row in wrong], 0.95),
            spread("right model: residual over noise", [row["structure"] for row in known if not row["mixed"]], 0.99),
            spread("one particle for a mixture: likewise", [row["structure"] for row in known if row["mixed"]], 0.99),
            spread("size read over diameter, under 15 Å", read(0, 15), 0.95),
            spread("size read over diameter, from 15 Å", read(15, np.inf), 0.95),
        ]
    )


def ensembles(rows: list[dict]) -> str:
    """Return what was said of simulated samples: a line a part."""
    lines = [
        "part;cases;single;distribution;undecided;of width 12 % on: distribution;mean within 3 %;width within 15 %;"
        "mean covered;width covered;type right;type's probability".split(";")
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        some = [row for row in rows if row["part"] == part]
        many = [row for row in some if row["members"] > 1 and "mean_found" in row]
        alone = [row for row in some if row["members"] == 1 and "type" in row]
        usual = [row for row in many if 0.1 <= row["width"] <= 0.3]
        told = [row.get("verdict", "") for row in some]
        lines.append(
            [
                *(part, str(len(some)), *(str(told.count(name)) for name in ("single", "distribution", "undecided"))),
                percent([row["verdict"] == "distribution" for row in many if row["width"] >= 0.12]),
                percent([abs(row["mean_found"][0] / row["mean"] - 1) < 0.03 for row in usual]),
                percent([abs(row["width_found"][0] / row["width"] - 1) < 0.15 for row in usual]),
                percent([row["mean_found"][1] <= row["mean"] <= row["mean_found"][2] for row in many]),
                percent([row["width_found"][1] <= row["width"] <= row["width_found"][2] for row in many]),
                percent([row["type"] in row["types"] for row in alone]),
                percent([row["probabilities"].get(next(iter(row["types"])), 0.0) for row in alone]),
            ]
        )
    return markdown(lines)


def solving(rows: list[dict]) -> str:
    """Return how particles were solved: a line a part and noise; solved ± its deviation over seeds."""
    lines = [
        "part;noise;cases;type right;count exact;solved;ΔN/N, median;W1, Å;Rw over the truth's;at most 1.15;"
        "interval covers;its width;seconds".split(";")
    ]
    for (part, noise), some in grouped(rows, ("part", "noise")).items():
        told = [row for row in some if "rw" in row]
        good = [_solved(row) for row in some]
        seeds = [np.mean([g for g, row in zip(good, some, strict=True) if row["seed"] == s]) for s in _seeds(some)]
        spread = f" ± {100 * np.std(seeds, ddof=1):.0f}" if len(seeds) > 1 else ""
        off = [abs(row["found_atoms"] / row["atoms"] - 1) for row in told]
        ratio = [row["rw"] / row["truth_rw"] for row in told]
        wide = [(row["n_high"] - row["n_low"]) / row["atoms"] for row in told]
        lines.append(
            [
                *(part, f"{100 * noise:g} %", str(len(some))),
                percent([row["found_type"] == row["type"] for row in told]),
                percent([row["found_atoms"] == row["atoms"] for row in told]),
                f"{100 * np.mean(good):.0f}{spread} %",
                f"{100 * np.median(off):.2g} %",
                f"{np.median([row['w1'] for row in told]):.2g}",
                f"{np.median(ratio):.3g}" if noise else "–",
                percent([each <= 1.15 for each in ratio]),
                percent([row["n_low"] <= row["atoms"] <= row["n_high"] for row in told]),
                f"{100 * np.median(wide):.2g} %",
                f"{np.median([row['seconds'] for row in told]):.3g}",
            ]
        )
    return markdown(lines)


def screening(rows: list[dict]) -> str:
    """Return what the classifier's screen keeps and what it saves: a line a part and noise, and a measured file."""
    both: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        names = ("part", "kind", "seed", "draw", "noise", "file")
        both.setdefault(tuple(row.get(name) for name in names), {})[row["screen"]] = row
    pairs = [one for one in both.values() if len(one) == 2]
    lines = [
        "part;noise;files;within 2 % of the least Rw;the same cluster first;tried;seconds, all;screened".split(";")
    ]
    for (part, noise), some in grouped([one["none"] for one in pairs], ("part", "noise")).items():
        own = [one for one in pairs if one["none"] in some]
        kept = [one["classifier"]["kept"] / one["classifier"]["listed"] for one in own]
        seconds = (f"{np.median([one[name]['seconds'] for one in own]):.2g}" for name in ("none", "classifier"))
        lines.append(
            [
                *(part, f"{100 * noise:g} %" if noise is not None else "–", str(len(own))),
                percent([one["classifier"]["rw"] <= 1.02 * one["none"]["rw"] for one in own]),
                percent([one["classifier"]["found"] == one["none"]["found"] for one in own]),
                f"{100 * np.median(kept):.0f} %",
                *seconds,
            ]
        )
    files = [["file", "Rw, all", "screened", "tried", "effective of 1000 draws", "first, all", "screened"]]
    for one in pairs:
        if one["none"]["part"] == "measured":
            every, few = one["none"], one["classifier"]
            told = f"{every['rw']:.4f}", f"{few['rw']:.4f}", f"{few['kept']}", f"{few['effective']:.0f}"
            files.append([every["file"], *told, every["found"], few["found"]])
    return markdown(lines) + "\n\n" + markdown(files)


def _solved(row: dict) -> bool:
    """Return whether count and coordinates are right, as in solving.py."""
    return row.get("error") is not None and row["error"] < 0.1


def _seeds(rows: list[dict]) -> list[int]:
    return sorted({row["seed"] for row in rows})


def solving_kinds(rows: list[dict]) -> str:
    """Return how many particles of each kind were solved, and words of stacks."""
    own = [row for row in rows if row["part"] in ("offrule", "rules")]
    lines = [["part", "kind", *(f"solved, {noise}" for noise in ("0 %", "3 %", "10 %"))]]
    for (part, kind), some in grouped(own, ("part", "kind")).items():
        cells = []
        for noise in (0.0, 0.03, 0.1):
            good = [_solved(row) for row in some if row["noise"] == noise]
            cells.append(f"{sum(good)} of {len(good)}" if good else "–")
        lines.append([part, kind, *cells])
    stacks = [row for row in own if row["part"] == "offrule" and row.get("word") and "found_word" in row]
    right, share = [], []
    for noise in (0.0, 0.03, 0.1):
        some = [row for row in stacks if row["noise"] == noise]
        right.append(percent([row["found_word"] in (row["word"], row["word"][::-1]) for row in some]))
        off = [row["found_hexagonal"] is not None and abs(row["found_hexagonal"] - row["hexagonal"]) for row in some]
        share.append(percent([each is not False and each <= 0.05 for each in off]))
    lines += [["stacks", "all inner letters right", *right], ["stacks", "share of h within 0.05", *share]]
    return markdown(lines)


def classifying(rows: list[dict]) -> str:
    """Return how the classifier names simulated particles: a line a part and noise, ± over seeds."""
    lines = ["part;noise;cases;type right;ΔN/N, median;N: 50 %;90 %;share of h off, median;its Spearman".split(";")]
    own = [row for row in rows if row["part"] in ("offrule", "rules")]
    for (part, noise), some in grouped(own, ("part", "noise")).items():
        right = [[row["type"] == row["found_type"] for row in some if row["seed"] == seed] for seed in _seeds(some)]
        spread = f" ± {100 * np.std([np.mean(one) for one in right], ddof=1):.1f}" if len(right) > 1 else ""
        layered = [row for row in some if np.isfinite(row["hexagonal"])]
        true, found = (np.array([row[name] for row in layered]) for name in ("hexagonal", "found_hexagonal"))
        lines.append(
            [
                *(part, f"{100 * noise:g} %", str(len(some))),
                f"{100 * np.mean(np.concatenate(right)):.1f}{spread} %",
                f"{100 * np.median([abs(row['n_atoms'] / row['atoms'] - 1) for row in some]):.2g} %",
                percent([abs(row["n_rank"] - 0.5) <= 0.25 for row in some]),
                percent([abs(row["n_rank"] - 0.5) <= 0.45 for row in some]),
                f"{np.median(abs(true - found)):.2g}",
                f"{stats.spearmanr(true, found).statistic:.3f}",
            ]
        )
    return markdown(lines)


def classifying_stream(rows: list[dict]) -> str:
    """Return how calibrated the classifier is on PDFs of its own kind."""
    lines = [
        "part;source;cases;type right;calibration error;N: 50 %;90 %;diameter: 90 %;width: 90 %;uneven, N".split(";")
    ]
    for row in rows:
        if row["part"] in ("own", "held"):
            held = (row.get(name) for name in ("n_atoms_50", "n_atoms_90", "diameter_90", "width_90"))
            cells = [f"{100 * one:.1f} %" if one is not None else "–" for one in held]
            right = f"{100 * row['right']:.1f} %", f"{100 * row['calibration']:.1f} %"
            lines.append(
                [row["part"], row["source"], str(row["cases"]), *right, *cells, f"{row['n_atoms_uneven']:.3f}"]
            )
    even = [["output", "largest of 20 bins", "smallest", "even, and the band"]]
    for row in (row for row in rows if row["part"] == "sbc"):
        middle = sum(row["counts"]) / len(row["counts"])
        told = f"{middle:.0f} ± {row['band']:.0f}: {'within' if row['inside'] else 'not within'}"
        even.append([row["value"], str(max(row["counts"])), str(min(row["counts"])), told])
    return markdown(lines) + "\n\n" + markdown(even)


def classifying_outside(rows: list[dict]) -> str:
    """Return how what is no particle of one metal is told, and what is said of measured files."""
    lines = [["what", "AUROC", "called unlike", "cases"]]
    for row in (row for row in rows if row["part"] == "outside"):
        alarms = row.get("alarms", row.get("share"))
        lines.append(
            [row["what"], f"{row['auroc']:.3f}" if "auroc" in row else "–", percent([alarms]), str(row["cases"])]
        )
    named = [["file", "types", "atoms", "diameter, Å", "distance"]]
    for row in (row for row in rows if row["part"] == "measured"):
        types = ", ".join(f"{name} {share:.2f}" for name, share in row["types"].items() if share >= 0.02)
        n, size = row["n_atoms"], row["diameter"]
        told = f"{n[0]:.0f} ({n[1]:.0f} to {n[2]:.0f})", f"{size[0]:.1f} ({size[1]:.1f} to {size[2]:.1f})"
        named.append([row["file"], types, *told, f"{row['distance']:.2f}"])
    return markdown(lines) + "\n\n" + markdown(named)


def deepstruc_list(rows: list[dict]) -> str:
    """Return how often a structure is named: a line a part and noise, and a line a type of those listed."""
    lines = ["part;noise;PDFs;first;in three;in five;type first;seen by the look;ms a PDF, one core".split(";")]
    runs, each = [row for row in rows if "pdfs" in row], list(_noises(rows))
    for run in runs:
        some = [row for row in each if all(row[name] == run[name] for name in ("part", "noise"))]
        best = (f"{100 * run[name]:.2f} %" for name in ("top1", "top3", "top5"))
        kind = f"{100 * np.mean([row['type_before'] == 0 for row in some]):.2f} %"
        seen = f"{100 * np.mean([row['looked'] < 32 for row in some]):.2f} %"
        spent = f"{run['ms_look'] + run['ms_fits']:.3g}"
        lines.append([run["part"], f"{100 * run['noise']:g} %", str(run["pdfs"]), *best, kind, seen, spent])
    lines.append(["MetalFinder", "0 %", "–", "83.87 %", "95.95 %", "97.89 %", "–", "–", "3.8"])
    own = [row for row in each if row["part"] == "listed"]
    noises = sorted({row["noise"] for row in own})
    kinds = [["type", "shapes", *(f"first, {100 * noise:g} %" for noise in noises)]]
    for (kind,), some in grouped(own, ("type",)).items():
        first = [np.mean([_first(row) for row in some if row["noise"] == noise]) for noise in noises]
        number = len({row["shape"] for row in some})
        kinds.append([kind, str(number), *(f"{100 * share:.2f} %" for share in first)])
    return markdown(lines) + "\n\n" + markdown(kinds)


def _noises(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows of PDFs, one a noise."""
    for row in (row for row in rows if "pdfs" not in row):
        for at in range(len(row["noise"])):
            yield {name: value[at] if isinstance(value, list) else value for name, value in row.items()}


def _first(row: dict) -> float:
    """Return how likely the truth is named first, ties broken by lot, as in deepstruc_list.py."""
    return 0.0 if row["before"] else 1 / (row["tied"] + 1)


def ensemble_shares(rows: list[dict]) -> str:
    """Return how well types' shares are found where a sample has two types."""
    two = [
        (row["shares"].get(kind, [0.0, 0.0, 0.0]), share)
        for row in rows
        if row["part"] == "two" and "shares" in row
        for kind, share in row["types"].items()
    ]
    return markdown(
        [
            ["what", "shares", "figure"],
            share("within 0.1 of the truth", [abs(one[0] - true) < 0.1 for one, true in two]),
            share("within their 90 % interval", [one[1] <= true <= one[2] for one, true in two]),
        ]
    )


def percent(holds: list) -> str:
    """Return a share in per cent; a dash where there are none."""
    return f"{100 * np.mean(holds):.0f} %" if holds else "–"


def share(what: str, holds: list[bool]) -> list[str]:
    """Return a line: of how many cases a claim holds."""
    return [what, str(len(holds)), f"{100 * np.mean(holds):.1f} %" if holds else "–"]


def spread(what: str, values: list[float], at: float) -> list[str]:
    """Return a line: the median of values, and what a part of them do not exceed."""
    word = "last" if at == 1.0 else f"{100 * at:g} %"
    figure = f"median {np.median(values):.3g}, {word} {np.quantile(values, at):.3g}" if values else "–"
    return [what, str(len(values)), figure]


def tests(rows: list[dict], names: tuple[str, ...]) -> str:
    """Return a table of the t-tests over seeds, and in words how many there are and how many of them stand out.

    Not over structures, which are stretched copies of a few shapes and do not count one by one.
    """
    lines = [[*(name.replace("_", " ") for name in names), "measure", "difference", "p, seeds"]]
    chosen = [row for row in rows if row["metric"].startswith("t_test_")]
    ps = []
    for key, group in grouped(chosen, (*names, "metric")).items():
        over = [row["p"] for row in group if row["seed"] is None and row["p"] is not None]
        ps += over
        measure = MEASURES[key[-1].removeprefix("t_test_")]
        single = [row for row in group if row["seed"] is not None]
        lines.append([*map(shown, key[:-1]), measure, value(single), shown(over[0]) if over else "–"])
    return markdown(lines) + (f"\n\n{counted(ps)}" if ps else "")


def counted(ps: list[float]) -> str:
    """Return in words how many comparisons there are, and how many have a small p, one by one and all together."""
    each, level = sum(p < LEVEL for p in ps), LEVEL / len(ps)
    return (
        f"Comparisons: {len(ps)}. p is below {LEVEL} in {each}, where chance alone gives about "
        f"{LEVEL * len(ps):.2g}, and below {LEVEL} / {len(ps)} = {level:.1g}, which allows for their number, in "
        f"{sum(p < level for p in ps)}."
    )


def by_model(rows: list[dict]) -> str:
    """Return each measure, of whatever name, by split, model and latent dimension."""
    columns = grouped(rows, ("split", "model", "latent"))
    lines = [["measure", *(", ".join(name(part, index) for index, part in enumerate(key)) for key in columns)]]
    for metric in dict.fromkeys(row["metric"] for row in rows):
        each = [value([row for row in group if row["metric"] == metric]) for group in columns.values()]
        lines.append([metric.replace("_", " "), *each])
    return markdown(lines)


def saxs_sphere(rows: list[dict]) -> str:
    """Return bias, spread, error bars and coverage of the slides' sphere, a line a model and value."""
    lines = [["model", "sets", "value", "mean", "off", "spread", "mean error", "90 % holds", "sphere told"]]
    for (model,), some in grouped(rows, ("model",)).items():
        for of, truth in (("radius", 34.907), ("pd", 0.062)):
            values = np.array([row[of] for row in some])
            errors = np.array([row[f"{of}_error"] or np.nan for row in some])
            held = np.mean([row[f"{of}_held"] for row in some])
            told = np.mean([row["body"] == "sphere" for row in some])
            numbers = (
                f"{x:.4f}" for x in (values.mean(), values.mean() - truth, values.std(ddof=1), np.nanmean(errors))
            )
            lines.append([model, str(len(some)), of, *numbers, f"{held:.1%}", f"{told:.0%}"])
    lines.append(["the slides", "1", "radius", "34.907", "–", "–", "0.071", "–", "–"])
    lines.append(["the slides", "1", "pd", "0.062", "–", "–", "0.004", "–", "–"])
    return markdown(lines)


def saxs_round_robin(rows: list[dict]) -> str:
    """Return errors and counts for samples of one population, of two, and all."""
    head = "populations, samples, counted right, mean off (median), means within 1 %, width off (median)"
    lines = [[*head.split(", "), "overall radius held", "overall pd held"]]
    for label, wanted in (("one", (1,)), ("two", (2,)), ("all", (1, 2))):
        some = [row for row in rows if row["populations"] in wanted]
        right = [row for row in some if row["told"] == row["populations"]]
        means, widths = (np.abs([x for row in right for x in row[f"{of}_off"]]) for of in ("mean", "width"))
        held = [f"{np.mean([row[f'{of}_held'] for row in some]):.0%}" for of in ("radius", "pd")]
        counted = f"{len(right) / max(len(some), 1):.1%}"
        off = f"{np.median(means):.2%}", f"{np.mean(means < 0.01):.0%}", f"{np.median(widths):.1%}"
        lines.append([label, str(len(some)), counted, *off, *held])
    return markdown(lines)


def saxs_shapes(rows: list[dict]) -> str:
    """Return false certainty, what can be told, and whether p_body can be believed."""
    within = [row for row in rows if row["sphere_above"] < 9]
    clear = [row for row in rows if row["wrong_above"] > 20]
    false = [row["told"] not in (row["truth"], "not determined") for row in within]
    lines = [
        ["what", "cases", "figure"],
        share("sphere within the noise: a wrong body told", false),
        share("best wrong body 20 above: right body first", [row["first"] == row["truth"] for row in clear]),
    ]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        some = [row["first"] == row["truth"] for row in rows if low <= row["p_first"] < high]
        lines += [share(f"p_body {low:g} to {min(high, 1.0):g}: right body first", some)] if some else []
    return markdown(lines)


def columns(*tables: str) -> Callable[[list[dict]], str]:
    """Return what makes tables of some columns, each of those rows that have the first of them."""

    def made(rows: list[dict]) -> str:
        return "\n\n".join(plain([row for row in rows if one.split()[0] in row], one.split()) for one in tables)

    return made


def plain(rows: list[dict], names: list[str]) -> str:
    """Return some columns of rows as they are."""
    lines = [[name.replace("_", " ") for name in names]]
    lines += [[f"{x:.4g}" if isinstance(x := row.get(name), float) else shown(x) for name in names] for row in rows]
    return markdown(lines)


def name(part, index: int) -> str:
    """Return a column's part: the third is the latent dimension."""
    return f"H = {part}" if index == 2 else shown(part)


def shown(item) -> str:
    """Return a cell's text."""
    if item is None:
        return "–"
    if isinstance(item, bool):
        return "yes" if item else "no"
    return f"{item:.2g}" if isinstance(item, float) else str(item)


def markdown(lines: Table) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


TABLES: dict[str, tuple[str, Callable[[list[dict]], str]]] = {
    "table1": ("table1_reconstruction", table1),
    "ablation": ("pdf_loss_ablation", ablation),
    "figure1": ("figure1_interpolation", by_model),
    "figure7": ("figure7_latent", by_model),
    "benchmark_refinement": (
        "benchmark_refinement",
        columns(
            "fits_per_second engine what batch seconds first_call_seconds ms_per_fit converged largest_excess",
            "file screened fitted refined most_atoms seconds_screening seconds rw_best",
        ),
    ),
    "measured_pdfs": (
        "measured_pdfs",
        columns(
            "file status type family cluster n_atoms diameter size_seen rw rw_second ties nearest_neighbour metal_bond",
            "file message",
            "file uiso uiso_error delta2 delta2_error qmin qmin_error qmin_origin qmax independent seconds types",
        ),
    ),
    "benchmark_saxs": (
        "benchmark_saxs",
        columns("body curves sizes q us_a_curve sasmodels_us_a_curve times first_call deviation"),
    ),
    "trust": ("trust", trust),
    "classifying": ("classifying", classifying),
    "classifying_stream": ("classifying", classifying_stream),
    "classifying_outside": ("classifying", classifying_outside),
    "screening": ("screening", screening),
    "deepstruc_list": ("deepstruc_list", deepstruc_list),
    "ensembles": ("ensembles", ensembles),
    "ensemble_shares": ("ensembles", ensemble_shares),
    "ensembles_searched": ("ensembles_searched", ensembles),
    "benchmark_sites": (
        "benchmark_sites",
        columns("atoms sites functions ms_a_step single_moves_a_second exchanges_a_second floor_ms times_the_floor"),
    ),
    "solving": ("solving", solving),
    "solving_kinds": ("solving", solving_kinds),
    "saxs_sphere": ("saxs_sphere", saxs_sphere),
    "saxs_round_robin": ("saxs_round_robin", saxs_round_robin),
    "saxs_shapes": ("saxs_shapes", saxs_shapes),
    "benchmark_saxs_fits": (
        "benchmark_saxs_fits",
        columns("part series files fits_a_second results_a_second fits_first results_first"),
    ),
    "benchmark_ensembles": (
        "benchmark_ensembles",
        columns(
            "part columns seconds first",
            "files columns files_a_second first mean_off width_off mean_within_3 width_within_15",
        ),
    ),
    "calibration": (
        "measured_pdfs_calibration",
        columns("noise draws coverage coverage_error size coverage_all_points first rw_true rw_best independent"),
    ),
    "relax_refit": (
        "relax_refit",
        columns("curve draws rw_ideal rw_relaxed difference difference_spread weight_relaxed rw_coordinates moved"),
    ),
}
"""Marker in the README: the experiment whose rows are shown, and how."""


def written(text: str, results: Path) -> str:
    """Return the text with each table made anew from the rows in a folder.

    Raises:
        ValueError: where a marker is missing.
    """
    for marker, (experiment, table) in TABLES.items():
        path = results / f"{experiment}.jsonl"
        if path.exists():
            made = table([json.loads(line) for line in path.read_text("utf-8").splitlines()])
        else:
            made = f"not run yet: `python experiments/{experiment}.py`"
        pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"Expected <!-- {marker} --> and <!-- end --> in the README, got none; add them.")
        text = pattern.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text, count=1)
    return text


def main() -> None:
    """Write the README's tables."""
    files.write_text(README, written(README.read_text("utf-8"), HERE / "results"))


if __name__ == "__main__":
    main()
