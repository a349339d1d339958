"""Fits that start from the answer for the curve before, in addition to those from scratch."""

from typing import Any

import numpy as np

from jaxstruc.io.measurement import Measurement
from jaxstruc.options.pdf import RefineOptions
from jaxstruc.pdf.plan import PdfPlan
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import solve_measurements
from jaxstruc.pdf.sources import file_source

NEIGHBOUR_KEY = "neighbour"
"""Name of the fact that identifies the curve before."""


def neighbour_facts(measurement: Measurement, previous: PdfResult, plan: PdfPlan) -> dict[str, Any]:
    """Return Rw and type of the best structure of the curve before, after a fit to this curve.

    All structures that the result of the curve before stores are fitted, and the best of them counts.

    Args:
        measurement: Measurement with all settings.
        previous: Result from scratch of the curve before.
        plan: Plan of the run, whose options of the fit are used.
    """
    structures = [candidate.atoms for candidate in previous.candidates if candidate.atoms is not None]
    _, source = file_source(structures)
    options = RefineOptions(data=plan.data, fit=plan.fit, curve=plan.curve)
    refine_plan = PdfPlan(plan.element, (source,), options, screen_candidates=False, max_written=1)
    (result,) = solve_measurements([measurement], refine_plan)
    facts: dict[str, Any] = {NEIGHBOUR_KEY: neighbour_key(previous)}
    if result.candidates and np.isfinite(result.best.rw):
        facts |= {"neighbour_rw": result.best.rw, "neighbour_type": result.best.type}
    return facts


def neighbour_key(result: PdfResult) -> str:
    """Return the name of a result by which a later run recognises it: the checksum of its file and its curve."""
    return f"{result.sha256}/{result.frame or ''}"
