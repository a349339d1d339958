"""The columns of summary.csv, and the row of a result in it."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.parameters import FIT_PARAMETERS, UNITS
from jaxstruc.pdf.distribution import Distribution
from jaxstruc.pdf.result import PdfResult
from jaxstruc.result import Candidate, Result
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.small_angle.shape_parameters import SHAPE_PARAMETERS

Row = dict[str, Any]

VALUE_COLUMNS = tuple(word for name in FIT_PARAMETERS for word in (name, f"{name}_error"))
NOTE_COLUMNS = ("draws", "radius", "stress", "rw_unmoved", "moved")
"""Columns of numbers that only some candidates have.

- `draws`, `radius` and `stress` describe a structure that the network drew: the number of equal draws, which were
  merged, the predicted radius in Å, and the root mean square error of the distances between the placed atoms, in units
  of the radius.
- `rw_unmoved` and `moved` describe a fit of the positions of atoms: the Rw before this fit, and the root mean square
  displacement of the atoms in Å."""
STRUCTURE_COLUMNS = "file status type type_probability n_atoms n_low n_high diameter rw".split()
SIZE_COLUMNS = "mean_diameter mean_diameter_low mean_diameter_high width width_low width_high".split()
SUMMARY_COLUMNS = (
    *STRUCTURE_COLUMNS,
    "sample",
    *SIZE_COLUMNS,
    *"message stem frame description source family recipe rw_holdout rw_holdout_single rw_ensemble".split(),
    *"qmin qmin_error qmin_origin rw_second weight ties types".split(),
    *"diameter_low diameter_high hexagonal hexagonal_low hexagonal_high".split(),
    *VALUE_COLUMNS,
    *"relaxation_low relaxation_high".split(),
    *"qdamp_origin qmax rmin rmax sigma_g sigma_g_origin averaged neighbour_rw neighbour_type".split(),
    *"diameter_estimate independent rw_unmoved moved".split(),
    *(f"share_{name}{end}" for name in sorted(set(FAMILY_TYPES.values())) for end in ("", "_low", "_high")),
    *"classifier_types n_screened effective_samples seed model seconds version sha256".split(),
)
"""Columns of `solve` and `mine`. Sizes are in Å. `_low` and `_high` are the ends of 90 % intervals over all candidates.

- `stem` is the name of the files of results, and `frame` is the number of the curve in a file with several curves.
- `type` is that of the most probable structure. If `sample` is distribution, it is the type with the largest share of
  the atoms, and `type_probability` and `types` are the shares.
- `sample` to `width_high`, and the shares of atoms by type, describe the sample as a distribution of particles.
- `recipe` is the rule that builds the structure within its `family`.
- `rw_holdout` is the mean Rw of predictions. The model that `sample` names is fitted up to a cut in r, and it predicts
  G(r) beyond the cut. `rw_holdout_single` is the mean Rw of the predictions of the best single cluster. Searched
  clusters are among them only at the cuts that the decision needs.
- `qmin_origin` and `qdamp_origin` are the origins of these settings, e.g. inferred from the data. `qmin_error` is empty
  unless qmin was inferred.
- `sigma_g` is the root mean square of the standard errors of G(r), and `sigma_g_origin` names their column. Both are
  empty if the file has no errors, or if they are constant.
- `neighbour_rw` and `neighbour_type` are those of the best structure of the curve before (`--from-neighbour`).
- `averaged` is the number of repeated curves that were averaged; empty if the curve is a single one.
- `types` has the sum of the weights of each type, unless `sample` is distribution. `ties` is the number of candidates
  in the 90 % set, which is the smallest set with 90 % of the weight.
- `hexagonal` is the share of hexagonal layers of the best structure.
- `relaxation_low` and `relaxation_high` include the error of the potential, which `relaxation_error` does not.
- `diameter_estimate` is the diameter at which the signal in G(r) ends, before any fit.
- `independent` is the effective number of independent points of the residual.
- `classifier_types` has the probabilities of types that the classifier predicts before any fit. `n_screened` is the
  number of clusters of the library that the classifier selected. `effective_samples` is the effective sample size of
  1000 draws from the prediction after the fits have reweighted them."""
REFINE_SUMMARY_COLUMNS = tuple(
    name
    for name in SUMMARY_COLUMNS
    if name not in ("sample", *SIZE_COLUMNS, "rw_holdout", "rw_holdout_single", "rw_ensemble", "seed", "model")
    and not name.startswith("neighbour_")
    and name not in ("classifier_types", "n_screened", "effective_samples")
    and not name.startswith("share_")
)
"""Columns of `refine`, which fits no distribution and uses no classifier."""
CLASSIFY_SUMMARY_COLUMNS = (
    *(name for name in STRUCTURE_COLUMNS if name != "rw"),
    *"width width_low width_high message stem frame diameter_low diameter_high".split(),
    *(f"{name}{end}" for name in ("hexagonal", "aspect", "stretch") for end in ("", "_low", "_high")),
    "distance",
    *(f"p_{name}" for name in sorted(set(FAMILY_TYPES.values()))),
    *"qmin qmax qdamp averaged model seconds version sha256".split(),
)
"""Columns of `classify`: medians with 90 % intervals, and the probability of each type. `distance` is the distance from
the PDFs of the training, of which 95 % have a distance below 1."""
SHAPE_COLUMNS = tuple(dict.fromkeys(parameter.name for parameter in SHAPE_PARAMETERS.values()))
"""Parameters of the shape of some bodies: aspect ratio, thickness of the shell, and volume fraction of hard spheres."""
SAXS_SUMMARY_COLUMNS = (
    *"file status body p_body n_populations distribution".split(),
    *"radius radius_low radius_high pd pd_low pd_high".split(),
    *SIZE_COLUMNS,
    *"chi2 message stem frame radius_error pd_error r_eq r_eq_low r_eq_high".split(),
    *"rw scale scale_error background background_error power_scale power_scale_error".split(),
    *(f"{name}_{k}{end}" for k in (1, 2, 3) for name in ("radius", "pd", "share") for end in ("", "_error")),
    *(f"{name}{end}" for name in SHAPE_COLUMNS for end in ("", "_error", "_low", "_high")),
    *"median sigma best types weight ties points noise_scale noise_inferred smeared qmin qmax background_scale".split(),
    *"averaged seconds version sha256".split(),
)
"""Columns of `saxs`. Sizes are in Å. `_low` and `_high` are the ends of 90 % intervals over all fits.

- `body` is "not determined" if several bodies are likely. `best` is the most probable body, `p_body` is its probability
  among the compared bodies, and `types` has the probabilities of all.
- `n_populations` is the number of populations that the data separate.
- `radius`, `pd` (standard deviation over mean) and `r_eq` (radius of the sphere of equal volume) are number-weighted
  values of the best fit. `mean_diameter` and `width` are volume-weighted.
- `radius_1`, `pd_1` and `share_1` (share of the volume) to `radius_3`, `pd_3` and `share_3` belong to two or three
  populations.
- `aspect_ratio` (spheroid, cylinder), `shell_thickness` in Å (core-shell) and `volume_fraction` (hard-sphere) are
  parameters of the best body.
- `median` (of R) and `sigma` (of ln R) are the parameters of a lognormal distribution, as in sasmodels.
- `chi2` is divided by the number of degrees of freedom. `noise_scale` is the factor on the variance of the noise."""
COLUMN_UNITS = UNITS | {
    name: "Å" for name in "diameter mean_diameter diameter_estimate radius r_eq shell_thickness median moved".split()
} | {"seconds": "s"}  # fmt: skip
"""Units of columns. The ends of an interval, the error and the value of one population have the unit of the value."""
MIN_SHARE = 0.02
"""Smallest share or probability of a type that texts and figures show."""
MIN_TYPE_WEIGHT = 0.005
"""Smallest sum of weights of a type that the column `types` shows."""


@singledispatch
def row(result: Result, columns: Sequence[str] = SUMMARY_COLUMNS) -> Row:
    """Return the row of a result in the summary. Missing cells are left out.

    Args:
        result: Result of one measurement.
        columns: Columns of the summary.
    """
    raise TypeError(f"Expected a PdfResult or SaxsResult, got {type(result).__name__}; load it again.")


@row.register
def _(result: PdfResult, columns: Sequence[str] = SUMMARY_COLUMNS) -> Row:
    cells = _common_cells(result) | {f"{setting.name}_origin": setting.origin for setting in result.settings}
    cells |= {f"p_{name}": probability for name, probability in result.types.items()}
    if result.candidates:
        cells |= candidate_cells(result.best) | {"ties": result.ties}
        if len(result.candidates) > 1:
            cells["rw_second"] = result.candidates[1].rw
    if result.types:
        cells |= {"type": result.type, "type_probability": result.type_probability, "types": _type_weights(result)}
    for name, interval in result.intervals.items():
        ends = {"n_atoms": "n"}.get(name, name)
        cells |= {f"{ends}_low": interval.low, f"{ends}_high": interval.high if math.isfinite(interval.high) else None}
        if name == "hexagonal" or not result.candidates:
            cells[name] = interval.value
    cells |= _sample_cells(result.ensemble) if result.ensemble else {}
    if prior := result.classifier_prior:
        cells |= {"classifier_types": likely_types(prior.types), "n_screened": prior.n_screened}
        cells["effective_samples"] = prior.effective_samples
    return {name: cells[name] for name in columns if name in cells}


@row.register
def _(result: SaxsResult, columns: Sequence[str] = SAXS_SUMMARY_COLUMNS) -> Row:
    cells = _common_cells(result)
    if result.candidates:
        best = result.best
        cells |= fit_cells(best) | {"ties": result.ties, "distribution": best.family, "best": best.type}
        cells |= {"body": result.body, "p_body": result.types[best.type], "types": _type_weights(result)}
    for name, interval in result.intervals.items():
        cells |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: cells[name] for name in columns if name in cells}


def unit(column: str) -> str:
    """Return the unit of a column, e.g. "Å" for mean_diameter_low; empty if it has none."""
    name = re.sub(r"(_low|_high|_error)$", "", column)
    return COLUMN_UNITS.get(name) or COLUMN_UNITS.get(re.sub(r"_[123]$", "", name), "")


def likely_types(types: Mapping[str, float]) -> str:
    """Return the likely types with their probabilities, the largest first."""
    return ", ".join(f"{name} {probability:.2f}" for name, probability in types.items() if probability >= MIN_SHARE)


def shape_text(result: SaxsResult) -> str:
    """Return the shape parameter of the best body with its interval, as the end of a sentence, or ""."""
    intervals = [(name, result.intervals[name]) for name in SHAPE_COLUMNS if name in result.intervals]
    return "".join(
        f", {name} {interval.value:.3g} ({interval.low:.3g} to {interval.high:.3g}) {unit(name)}".rstrip()
        for name, interval in intervals
    )


def candidate_cells(candidate: Candidate) -> Row:
    """Return the cells of a candidate that the summary and the table of candidates share."""
    names = ("description", "source", "type", "family", "recipe", "n_atoms", "diameter", "rw", "weight")
    notes = {name: candidate.notes[name] for name in NOTE_COLUMNS if name in candidate.notes}
    return {name: getattr(candidate, name) for name in names} | _values(candidate) | notes


def fit_cells(candidate: Candidate) -> Row:
    """Return the cells of a SAXS fit that the summary and the table of candidates share."""
    cells: Row = {"rw": candidate.rw, "weight": candidate.weight, **candidate.notes}
    cells |= {"mean_diameter": candidate.notes.get("mean_volume"), "width": candidate.notes.get("width_volume")}
    return cells | _values(candidate)


def _values(candidate: Candidate) -> Row:
    """Return the values of the fit of a candidate, with their errors."""
    errors = {f"{name}_error": value.error for name, value in candidate.values.items() if value.error is not None}
    return {name: value.value for name, value in candidate.values.items()} | errors


def _common_cells(result: Result) -> Row:
    """Return the cells that results from PDFs and from SAXS share."""
    cells: Row = {"file": result.name, "status": result.status, "message": result.message, "sha256": result.sha256}
    cells |= result.settings_by_name | ({} if result.frame is None else {"frame": result.frame})
    return cells | result.facts | {"version": result.versions.get("jaxstruc", "")}


def _type_weights(result: Result) -> str:
    """Return the names of the types or bodies, each with the sum of the weights of its candidates."""
    return ", ".join(f"{name} {share:.2f}" for name, share in result.types.items() if share >= MIN_TYPE_WEIGHT)


def _sample_cells(ensemble: Distribution) -> Row:
    """Return the cells that describe the sample as a distribution of particles."""
    cells: Row = {"sample": ensemble.sample, "rw_ensemble": ensemble.rw}
    cells |= {"rw_holdout": ensemble.rw_holdout, "rw_holdout_single": ensemble.rw_holdout_single}
    intervals = {"mean_diameter": ensemble.mean_diameter, "width": ensemble.width}
    intervals |= {f"share_{name}": share for name, share in ensemble.type_shares.items()}
    for name, interval in intervals.items():
        cells |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return cells
