"""Results of small angles as tables: a row a file, a row a fit, and a report for a person."""

from typing import Any

import numpy as np

from jaxstruc.inference.result import Candidate, Result

Row = dict[str, Any]

SUMMARY = (
    *"file status body p_body distribution radius radius_error pd pd_error".split(),
    *"r_eq r_eq_low r_eq_high chi2 message".split(),
    *"radius_low radius_high pd_low pd_high mean_diameter mean_low mean_high width width_low width_high".split(),
    *"rw scale scale_error background background_error power_scale power_scale_error".split(),
    *(f"{name}_{k}{end}" for k in (1, 2) for name in ("radius", "pd", "share") for end in ("", "_error")),
    *"median sigma best types weight ties points noise_scale noise_inferred smeared qmin qmax background_scale".split(),
    *"seconds version sha256".split(),
)
"""Columns of summary.csv of small angles. `body` is "not determined" where several are likely, `best` the likeliest,
`p_body` its probability among those asked, `types` that of each. `radius`, `pd` (standard deviation over mean) and
`r_eq` are of the number of particles, in Å, of the best fit; `mean_diameter` and `width` of their volume; `_low` and
`_high` 90 % intervals over all fits. `radius_1`, ... of two populations, `share_1` of the volume. `median` and `sigma`
(of ln R) are a lognormal's, as sasmodels has it. `chi2` a degree of freedom; `noise_scale` of the noise's variance."""
CANDIDATES = (
    *"rank body distribution weight in_90 chi2 rw radius radius_error pd pd_error r_eq mean_diameter width".split(),
    *"scale scale_error background background_error power_scale power_scale_error median sigma".split(),
    *(f"{name}_{k}{end}" for k in (1, 2) for name in ("radius", "pd", "share") for end in ("", "_error")),
    *"converged remark".split(),
)
"""Columns of candidates/STEM.csv of small angles, by weight."""
SHOWN = 5
"""Fits in the report."""
STRONG = 0.5
"""Correlation from which it is told."""


def row(result: Result) -> Row:
    """Return a small-angle result's row of the summary, typed."""
    found: Row = {"file": result.name, "status": result.status, "message": result.message, "sha256": result.sha256}
    found |= result.given | result.facts | {"version": result.versions.get("jaxstruc", "")}
    if result.candidates:
        best = result.candidates[0]
        found |= _fit(best) | {"ties": result.ties, "distribution": best.family, "best": best.type}
        found |= {"body": result.body, "p_body": result.types[best.type]}
        found["types"] = ", ".join(f"{name} {share:.2f}" for name, share in result.types.items() if share >= 0.005)
    for name, one in result.intervals.items():
        ends = {"mean_diameter": "mean"}.get(name, name)
        found |= {name: one.value, f"{ends}_low": one.low, f"{ends}_high": one.high}
    return {name: found[name] for name in SUMMARY if name in found}


def candidates(result: Result) -> list[Row]:
    """Return a row for each body and distribution, best first."""
    found = [
        _fit(one)
        | {"rank": place, "body": one.type, "distribution": one.family, "remark": one.remark}
        | {"in_90": "yes" if one.in_90 else "no", "converged": "yes" if one.converged else "no"}
        for place, one in enumerate(result.candidates, start=1)
    ]
    return [{name: line[name] for name in CANDIDATES if name in line} for line in found]


def _fit(one: Candidate) -> Row:
    """Return what summary and table of fits share."""
    found: Row = {"rw": one.rw, "weight": one.weight, **one.notes}
    found |= {"mean_diameter": one.notes.get("mean_volume"), "width": one.notes.get("width_volume")}
    for name, value in one.values.items():
        found[name] = value.value
        if value.error is not None:
            found[f"{name}_error"] = value.error
    return found


def headline(result: Result) -> str:
    """Return the same of small angles."""
    best, radius, pd = result.best, result.intervals["radius"], result.intervals["pd"]
    text = f"{result.name}: {'weak: ' if result.status == 'weak' else ''}{result.body}, {best.family}, "
    text += f"radius {radius.value:.4g} Å ({radius.low:.4g} to {radius.high:.4g}), "
    text += f"pd {pd.value:.3g} ({pd.low:.3g} to {pd.high:.3g}), chi2 {best.notes['chi2']:.3g}"
    return text + (f" ({result.message})" if result.message else "")


def short(result: Result) -> str:
    """Return a report of small angles: file, program, model, range, smearing, chi-squared, each value, correlations."""
    best, q = result.best, np.asarray(result.q)
    lines = [headline(result), ""]
    noise = "inferred" if result.facts.get("noise_inferred") else "of the file"
    facts = {
        "program": f"jaxstruc {result.versions.get('jaxstruc', '')}",
        "model": f"{best.type}, {best.family} distribution of sizes, weight {best.weight:.3g}",
        "Q range": f"{q[0]:.4g} to {q[-1]:.4g} 1/Å, {len(q)} points",
        "smearing": "pinhole, dQ of the file" if result.facts.get("smeared") else "none",
        "noise": noise,
        "chi2/(points - parameters)": f"{best.notes['chi2']:.4g}",
    }
    if "contrast" in result.facts:
        facts["contrast"] = (
            f"{result.facts['contrast']:.4g} 10⁻⁶/Å² in {result.facts['solvent']}; scale: share of volume"
        )
    facts["unit of I"] = result.facts.get("intensity_unit") or "not said"
    lines += [f"  {name:27s} {text}" for name, text in facts.items()]
    for name, value in best.values.items():
        error = f" ± {value.error:.2g}" if value.error is not None else _without_error(name, best)
        lines.append(f"  {name:27s} {value.value:.5g}{error} {value.unit}".rstrip())
    for name in ("median", "sigma"):
        if name in best.notes:
            lines.append(f"  {name:27s} {best.notes[name]:.5g} (lognormal, as sasmodels has it)")
    strong = _strong(result)
    lines += [f"  {'correlations':27s} {', '.join(strong)}"] if strong else []
    lines.append("")
    for place, one in enumerate(result.candidates[:SHOWN], start=1):
        radius, pd = one.values["radius"].value, one.values["pd"].value
        lines.append(
            f"{place:3d}  chi2 {one.notes['chi2']:.4g}  weight {one.weight:6.3f}  radius {radius:.4g} Å  pd {pd:.3g}  "
            f"{one.type}, {one.family}"
        )
    if len(result.candidates) > SHOWN:
        lines.append(f"     ... {result.fitted} fitted, {result.ties} in the 90 % set")
    return "\n".join(lines)


def _without_error(name: str, best: Candidate) -> str:
    """Return why a value has no error: it is held, at its bound, or of a free distribution, whose draws tell it."""
    if best.family == "free":
        return ""
    return " (at its bound)" if name.split("_")[0] in best.remark else " (fixed)"


def _strong(result: Result) -> list[str]:
    """Return the correlations of the best fit's values that are strong."""
    matrix = result.best.correlation
    if matrix is None:
        return []
    pairs = [(a, b) for a in range(len(matrix)) for b in range(a) if abs(matrix[a, b]) > STRONG]
    return [f"{result.free[b]} {result.free[a]} {matrix[a, b]:.2f}" for a, b in pairs]
