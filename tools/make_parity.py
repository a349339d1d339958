"""Write reference curves I(Q) of sasmodels 1.1.0 for bodies, size distributions and smearing.

    python tools/make_parity.py            (takes a minute; needs sasmodels and a C compiler)

The curves are written to tests/golden/sasmodels/curves.npz. Orientation averages use more points than by default: 150
Gauss points for each angle in models written in C, and 20 000 directions in models written in Python.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxstruc import files

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "sasmodels" / "curves.npz"
Q = np.geomspace(0.002, 0.8, 60)
"""Values of Q, in 1/Å."""
CONTRAST = {"sld": 130.0, "sld_solvent": 9.5}
GAUSS_POINTS, N_DIRECTIONS = 150, 20000
"""Number of Gauss points for each angle, and number of directions, in orientation averages."""
C_AVERAGED_MODELS = ("ellipsoid", "cylinder", "rectangular_prism", "truncated_octahedron")
"""Models whose orientation averages are computed in C."""
PYTHON_AVERAGED_MODELS = ("tetrahedron", "truncated_tetrahedron", "prism")
"""Models whose orientation averages are computed in Python."""
RELATIVE_DQ = 0.05
"""Standard deviation of Q relative to Q, for the smeared curve."""
SPHERE = {"radius": 35.0}
PRISM = {"n_sides": 6, "radius_average": 40 * np.sqrt(1.5 * np.sqrt(3) / np.pi), "length": 80.0}
CORE_SHELL = {"radius": 30.0, "thickness": 8.0, "sld_core": 130.0, "sld_shell": 20.0, "sld_solvent": 9.5}


def distribution_parameters(name: str, distribution: str, pd: float) -> dict:
    """Return sasmodels' parameters of the distribution of a length, with its default number of points."""
    points, n_sigma = {"gaussian": (35, 3), "rectangle": (35, 3**0.5)}.get(distribution, (80, 8))
    return {f"{name}_pd": pd, f"{name}_pd_type": distribution, f"{name}_pd_n": points, f"{name}_pd_nsigma": n_sigma}


CASES = {
    "sphere": ("sphere", SPHERE),
    **{
        f"sphere {kind} {pd}": ("sphere", SPHERE | distribution_parameters("radius", kind, pd))
        for kind, pd in [
            ("gaussian", 0.062),
            ("gaussian", 0.2),
            ("lognormal", 0.1),
            ("lognormal", 0.5),
            ("schulz", 0.1),
            ("schulz", 0.3),
            ("rectangle", 0.15),
        ]
    },
    "core_shell": ("core_shell_sphere", CORE_SHELL),
    "core_shell gaussian 0.1": ("core_shell_sphere", CORE_SHELL | distribution_parameters("radius", "gaussian", 0.1)),
    "spheroid 0.5": ("ellipsoid", {"radius_polar": 20.0, "radius_equatorial": 40.0}),
    "spheroid 3": ("ellipsoid", {"radius_polar": 60.0, "radius_equatorial": 20.0}),
    "cylinder 0.25": ("cylinder", {"radius": 40.0, "length": 20.0}),
    "cylinder 2": ("cylinder", {"radius": 20.0, "length": 80.0}),
    "cube": ("rectangular_prism", {"length_a": 60.0, "b2a_ratio": 1.0, "c2a_ratio": 1.0}),
    "cube gaussian 0.1": (
        "rectangular_prism",
        {"length_a": 60.0, "b2a_ratio": 1.0, "c2a_ratio": 1.0} | distribution_parameters("length_a", "gaussian", 0.1),
    ),
    "octahedron": ("truncated_octahedron", {"radius_a": 50.0, "truncation": 0.0}),
    "truncated octahedron": ("truncated_octahedron", {"radius_a": 50.0, "truncation": 1 / 3}),
    "truncated octahedron lognormal 0.1": (
        "truncated_octahedron",
        {"radius_a": 50.0, "truncation": 1 / 3} | distribution_parameters("radius_a", "lognormal", 0.1),
    ),
    "cuboctahedron": ("truncated_octahedron", {"radius_a": 50.0, "truncation": 0.5}),
    "tetrahedron": ("tetrahedron", {"radius": 60.0}),
    "truncated tetrahedron": ("truncated_tetrahedron", {"radius": 60.0, "truncation": 1 / 3}),
    "hexagonal prism": ("prism", PRISM),
    "hard spheres": ("hardsphere", {"radius_effective": 35.0, "volfraction": 0.3}),
    "sphere crowded": (
        "sphere@hardsphere",
        SPHERE | {"volfraction": 0.2} | distribution_parameters("radius", "gaussian", 0.1),
    ),
    "sphere decoupled": (
        "sphere@hardsphere",
        SPHERE | {"volfraction": 0.2, "structure_factor_mode": 1} | distribution_parameters("radius", "gaussian", 0.1),
    ),
    "sphere smeared": ("sphere", SPHERE | distribution_parameters("radius", "gaussian", 0.062)),
}
"""Model and parameters of sasmodels for each curve."""


def sasmodels_curve(name: str) -> np.ndarray:
    """Return I(Q) of one of `CASES`, computed by sasmodels."""
    from sasmodels import core, direct_model, generate, resolution

    model, parameters = CASES[name]
    has_own_contrast = model in ("core_shell_sphere", "hardsphere")
    common_parameters = {"scale": 1.0, "background": 0.0} | ({} if has_own_contrast else CONTRAST)
    info = core.load_model_info(model)
    if model in PYTHON_AVERAGED_MODELS:
        module = importlib.import_module(f"sasmodels.models.{model}")
        values = module.Iq(Q, *CONTRAST.values(), *parameters.values(), npoints_fibonacci=N_DIRECTIONS)
        return values / module.form_volume(*parameters.values())
    if model in C_AVERAGED_MODELS:
        generate.set_integration_size(info, GAUSS_POINTS)
    compiled_model = core.build_model(info, dtype="double", platform="dll")
    q = Q
    if name.endswith("smeared"):
        smear = resolution.Pinhole1D(Q, RELATIVE_DQ * Q, q_calc=np.linspace(1e-4, 1.2, 12000))
        q = smear.q_calc
    values = direct_model.call_kernel(compiled_model.make_kernel([q]), common_parameters | parameters, cutoff=0.0)
    return smear.apply(values) if name.endswith("smeared") else values


def main() -> None:
    """Compute all cases and write their curves."""
    import sasmodels

    reference_curves: dict[str, Any] = {name: sasmodels_curve(name) for name in CASES}
    meta = json.dumps({"program": "sasmodels", "version": sasmodels.__version__})
    with files.atomic_replacement(GOLDEN) as path, path.open("wb") as stream:
        np.savez_compressed(stream, q=Q, meta=meta, **reference_curves)


if __name__ == "__main__":
    main()
