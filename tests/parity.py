"""What sasmodels 1.1.0 computed (tests/golden/sasmodels/curves.npz, see tools/make_parity.py), computed here."""

from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxstruc.options.small_angle import SimulateSaxsOptions
from jaxstruc.scattering import curved, particle, smallangle, structure_factor
from jaxstruc.scattering.size_distributions import SizeDistribution, sasmodels_distribution
from jaxstruc.scattering.smallangle import Sample

GOLDEN = Path(__file__).parent / "golden" / "sasmodels" / "curves.npz"
SAMPLE = Sample(contrast=130.0 - 9.5)
EDGES = {
    "cube": 60.0,
    "octahedron": 50 * np.sqrt(2),
    "truncated octahedron": 50 * np.sqrt(2) / 3,
    "cuboctahedron": 50 / np.sqrt(2),
    "tetrahedron": 60 * 4 / np.sqrt(6),
    "truncated tetrahedron": 60 * 4 / np.sqrt(6) / 3,
    "hexagonal prism": 40.0,
}
"""Å, of the cases."""


def curve(name, q):
    """Return I(Q) of a case, in double precision, by the forward model and sasmodels' own distributions."""
    first, *rest = name.split(" ")
    if name == "hard spheres":
        return structure_factor.hard_spheres(q, 35.0, 0.3)
    if first == "core_shell":
        outer = sasmodels_distribution("gaussian", 38.0, 3.0 / 38.0) if rest else single(38.0)  # cores of 30 ± 3 Å
        return smallangle.intensity(q, smallangle.core_shell(8.0, core=130.0 - 9.5, shell=20.0 - 9.5), outer, Sample())
    if first in ("spheroid", "cylinder"):
        return of_aspect(q, first, float(rest[0]))
    if first == "sphere":
        return spheres(q, rest)
    body, size = (name, None) if name in EDGES else (name.rsplit(" ", 2)[0], name.split(" ")[-2:])
    radius = EDGES[body] / particle.bodies()[body].edge
    sizes = single(radius) if size is None else sasmodels_distribution(size[0], radius, float(size[1]))
    return smallangle.intensity(q, particle.of_table(particle.table(body)), sizes, SAMPLE)


def single(radius):
    """Return one size."""
    return SizeDistribution(np.array([radius]), np.ones(1))


def spheres(q, words):
    """Return I(Q) of spheres of 35 Å."""
    ball = smallangle.form_factor("sphere", SimulateSaxsOptions())
    if words == ["smeared"]:
        sizes = sasmodels_distribution("gaussian", 35.0, 0.062)
        return smallangle.intensity(q, ball, sizes, SAMPLE, dq=0.05 * q)
    if words in (["crowded"], ["decoupled"]):
        interaction = {"crowded": "effective", "decoupled": "decoupling"}[words[0]]
        structure = partial(smallangle.STRUCTURES[interaction], fraction=0.2)
        sizes = sasmodels_distribution("gaussian", 35.0, 0.1)
        return smallangle.intensity(q, ball, sizes, SAMPLE._replace(scale=0.2), structure=structure)
    kind, pd = words or ("none", 0)
    name = {"rectangle": "uniform"}.get(kind, kind)
    sizes = single(35.0) if kind == "none" else sasmodels_distribution(name, 35.0, float(pd))
    return smallangle.intensity(q, ball, sizes, SAMPLE)


def of_aspect(q, kind, aspect):
    """Return I(Q) of a body of revolution, the shorter of its axes 20 Å or the longer 40."""
    volume = {
        ("spheroid", 0.5): 4 / 3 * np.pi * 20 * 40**2,
        ("spheroid", 3.0): 4 / 3 * np.pi * 60 * 20**2,
        ("cylinder", 0.25): np.pi * 40**2 * 20,
        ("cylinder", 2.0): np.pi * 20**2 * 80,
    }[kind, aspect]
    radius = np.cbrt(volume / (4 / 3 * np.pi))
    squares = getattr(curved, kind)(q[:, None] * radius, aspect)
    return smallangle.dressed(q, smallangle.averaged(squares, single(radius)), SAMPLE)


def golden():
    """Return the referee's curves by name, q among them."""
    with np.load(GOLDEN) as archive:
        return {key: archive[key] for key in archive.files if key != "meta"}


def deviation(ours, theirs):
    """Return the worst relative deviation, and the worst over what is above a tenth of the mean about it."""
    apart = np.abs(np.asarray(ours) - theirs)
    return float((apart / np.abs(theirs)).max())


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    curves = golden()
    q = jnp.asarray(curves.pop("q"))
    for name, theirs in curves.items():
        ours = np.asarray(curve(name, q))
        apart = np.abs(ours / theirs - 1)
        print(f"{name:36s} {apart.max():.1e} at q {q[apart.argmax()]:.3f}; below 0.4 {apart[q < 0.4].max():.1e}")
