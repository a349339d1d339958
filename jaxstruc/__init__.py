"""Atomic structures of nanoparticles from measured pair distribution functions (PDFs), and PDFs of structures, in JAX.

    data = jaxstruc.read("sample.gr")
    result = jaxstruc.solve(data, element="Pt")

The other functions are `read_all`, `classify`, `mine`, `refine`, `saxs`, `simulate`, `simulate_saxs` and `load`.
Importing the package is quick, because a function and its modules are loaded when they are first used.
"""

import importlib
import os

__version__ = "0.1.0"

# On some processors XLA logs errors of several kB for each program that it loads from the cache, although the program
# was compiled on the same processor. The variable is read when jaxlib is loaded.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_PLACES = {
    "read": "jaxstruc.api",
    "read_all": "jaxstruc.api",
    "solve": "jaxstruc.api",
    "mine": "jaxstruc.api",
    "refine": "jaxstruc.api",
    "saxs": "jaxstruc.api",
    "classify": "jaxstruc.api",
    "simulate": "jaxstruc.scattering.simulate",
    "simulate_saxs": "jaxstruc.small_angle.simulate",
    "load": "jaxstruc.report.folder",
    **dict.fromkeys(
        (
            *("SolveOptions", "MineOptions", "RefineOptions", "ClassifyOptions", "DataOptions", "CurveOptions"),
            *("FitOptions", "LibraryOptions", "RelaxOptions", "NetworkOptions"),
        ),
        "jaxstruc.options.pdf",
    ),
    **dict.fromkeys(("SaxsOptions", "QOptions", "SizeOptions", "SimulateSaxsOptions"), "jaxstruc.options.small_angle"),
    **dict.fromkeys(("SimulateOptions", "GenerateOptions"), "jaxstruc.options.simulation"),
    **dict.fromkeys(("TrainOptions", "TrainClassifierOptions"), "jaxstruc.options.training"),
    "Measurement": "jaxstruc.io.measurement",
    "PdfResult": "jaxstruc.pdf.result",
    "Result": "jaxstruc.result",
    "SaxsResult": "jaxstruc.small_angle.result",
}
"""Module in which each public name is defined."""
__all__ = list(_PLACES)


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module 'jaxstruc' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
