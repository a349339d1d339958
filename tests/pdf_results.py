"""A PDF result made by hand, for tests of tables and texts."""

import numpy as np

from jaxstruc.io.measurement import Setting
from jaxstruc.pdf.result import PdfResult
from jaxstruc.result import Candidate, Value


def candidate(rw=0.1, weight=0.75, **overrides):
    """Return a candidate that is an octahedron of 146 atoms."""
    values = {"scale": Value(1.0, 0.01, ""), "uiso": Value(0.008, None, "Å²"), "qdamp": Value(0.03, None, "1/Å")}
    fields = {
        "source": "library", "type": "fcc", "family": "octahedron", "recipe": "length 6", "n_atoms": 146,
        "diameter": 19.5, "rw": rw, "weight": weight, "in_90": True, "converged": True, "remark": "", "values": values,
        "correlation": np.array([[1, 0.5], [0.5, 1]]), "description": "octahedron, 146 atoms, 19.5 x 11.3 Å",
    }  # fmt: skip
    return Candidate(**fields | overrides)


def result():
    """Return a result of two candidates."""
    return PdfResult(
        "in/a.gr", "ff", "Pt", "solved", "say <this>", (candidate(), candidate(0.2, 0.25, notes={"draws": 3})),
        n_fitted=40, ties=2, types={"fcc": 0.75, "hcp": 0.25, "bcc": 0.001}, free=("scale", "uiso"),
        settings=(Setting("qmin", 0.8, "header"), Setting("rmin", 1.5, "default")),
        facts={"seconds": 1.5, "seed": 0, "diameter_estimate": 20.0}, versions={"jaxstruc": "0.1.0"},
    )  # fmt: skip
