"""The cases of sasmodels 1.1.0 in tests/golden/sasmodels/curves.npz (see tools/make_parity.py), as in jaxstruc."""

from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxstruc.options.small_angle import SimulateSaxsOptions
from jaxstruc.small_angle import form_factors, simulate, structure_factor
from jaxstruc.small_angle.simulate import CurveScale
from jaxstruc.small_angle.size_distributions import SizeFractions, sasmodels_distribution

GOLDEN = Path(__file__).parent / "golden" / "sasmodels" / "curves.npz"
SAMPLE = CurveScale(contrast=130.0 - 9.5)
EDGE_LENGTHS = {
    "cube": 60.0,
    "octahedron": 50 * np.sqrt(2),
    "truncated octahedron": 50 * np.sqrt(2) / 3,
    "cuboctahedron": 50 / np.sqrt(2),
    "tetrahedron": 60 * 4 / np.sqrt(6),
    "truncated tetrahedron": 60 * 4 / np.sqrt(6) / 3,
    "hexagonal prism": 40.0,
}
"""Edge length of the polyhedra, in Å."""


def case_intensity(name, q):
    """Return I(Q) of a case in double precision with the size distributions of sasmodels."""
    shape, *modifiers = name.split(" ")
    if name == "hard spheres":
        return structure_factor.hard_spheres(q, 35.0, 0.3)
    if shape == "core_shell":
        outer_radii = (
            sasmodels_distribution("gaussian", 38.0, 3.0 / 38.0) if modifiers else single_size(38.0)
        )  # cores of 30 ± 3 Å
        return simulate.intensity(
            q, simulate.core_shell(8.0, core=130.0 - 9.5, shell=20.0 - 9.5), outer_radii, CurveScale()
        )
    if shape in ("spheroid", "cylinder"):
        return revolution_body_intensity(q, shape, float(modifiers[0]))
    if shape == "sphere":
        return sphere_intensity(q, modifiers)
    body, distribution = (name, None) if name in EDGE_LENGTHS else (name.rsplit(" ", 2)[0], name.split(" ")[-2:])
    radius = EDGE_LENGTHS[body] / form_factors.named_bodies()[body].shortest_edge
    sizes = (
        single_size(radius)
        if distribution is None
        else sasmodels_distribution(distribution[0], radius, float(distribution[1]))
    )
    return simulate.intensity(q, form_factors.of_table(form_factors.named_table(body)), sizes, SAMPLE)


def single_size(radius):
    """Return a distribution with only one size."""
    return SizeFractions(np.array([radius]), np.ones(1))


def sphere_intensity(q, modifiers):
    """Return I(Q) of spheres with a radius of 35 Å."""
    form_factor = simulate.form_factor("sphere", SimulateSaxsOptions())
    if modifiers == ["smeared"]:
        sizes = sasmodels_distribution("gaussian", 35.0, 0.062)
        return simulate.intensity(q, form_factor, sizes, SAMPLE, dq=0.05 * q)
    if modifiers in (["crowded"], ["decoupled"]):
        interaction = {"crowded": "effective", "decoupled": "decoupling"}[modifiers[0]]
        structure = partial(simulate.STRUCTURE_FACTORS[interaction], fraction=0.2)
        sizes = sasmodels_distribution("gaussian", 35.0, 0.1)
        return simulate.intensity(q, form_factor, sizes, SAMPLE._replace(scale=0.2), structure=structure)
    sasmodels_name, pd = modifiers or ("none", 0)
    distribution_name = {"rectangle": "uniform"}.get(sasmodels_name, sasmodels_name)
    sizes = (
        single_size(35.0) if sasmodels_name == "none" else sasmodels_distribution(distribution_name, 35.0, float(pd))
    )
    return simulate.intensity(q, form_factor, sizes, SAMPLE)


def revolution_body_intensity(q, shape, aspect_ratio):
    """Return I(Q) of the body of revolution with this aspect ratio among the cases of sasmodels."""
    volume = {
        ("spheroid", 0.5): 4 / 3 * np.pi * 20 * 40**2,
        ("spheroid", 3.0): 4 / 3 * np.pi * 60 * 20**2,
        ("cylinder", 0.25): np.pi * 40**2 * 20,
        ("cylinder", 2.0): np.pi * 20**2 * 80,
    }[shape, aspect_ratio]
    radius = np.cbrt(volume / (4 / 3 * np.pi))
    squared_amplitudes = getattr(form_factors, shape)(q[:, None] * radius, aspect_ratio)
    return simulate.with_background(q, simulate.mean_over_sizes(squared_amplitudes, single_size(radius)), SAMPLE)


def golden_curves():
    """Return the curves of sasmodels by name, and q."""
    with np.load(GOLDEN) as archive:
        return {key: archive[key] for key in archive.files if key != "meta"}


def deviation(computed, reference):
    """Return the largest relative deviation."""
    difference = np.abs(np.asarray(computed) - reference)
    return float((difference / np.abs(reference)).max())


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    reference_curves = golden_curves()
    q = jnp.asarray(reference_curves.pop("q"))
    for name, reference in reference_curves.items():
        computed = np.asarray(case_intensity(name, q))
        relative_deviation = np.abs(computed / reference - 1)
        worst_q, low_q_deviation = q[relative_deviation.argmax()], relative_deviation[q < 0.4].max()
        print(f"{name:36s} {relative_deviation.max():.1e} at q {worst_q:.3f}; below 0.4 {low_q_deviation:.1e}")
