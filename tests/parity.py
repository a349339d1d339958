"""What sasmodels 1.1.0 computed (tests/golden/sasmodels/curves.npz, see tools/make_parity.py), computed here."""

from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxstruc.scattering import curved, particle, repulsion, sizes, smallangle, smearing
from jaxstruc.scattering.sizes import Sizes
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
    """Return I(Q) of a case, in double precision."""
    first, *rest = name.split(" ")
    if name == "hard spheres":
        return repulsion.hard_spheres(q, 35.0, 0.3)
    if first == "core_shell":
        return core_shell(q, sizes.referee("gaussian", 30.0, 0.1) if rest else single(30.0))
    if first in ("spheroid", "cylinder"):
        return of_aspect(q, first, float(rest[0]))
    if first == "sphere":
        return sphere(q, rest)
    body, size = (name, None) if name in EDGES else (name.rsplit(" ", 2)[0], name.split(" ")[-2:])
    radius = EDGES[body] / particle.bodies()[body].edge
    several = single(radius) if size is None else sizes.referee(size[0], radius, float(size[1]))
    return smallangle.intensity(q, particle.table(body), several, SAMPLE)


def single(radius):
    """Return one size."""
    return Sizes(np.array([radius]), np.ones(1))


def sphere(q, words):
    """Return I(Q) of spheres of 35 Å, by their formula where they are alone."""
    ball = particle.table("sphere")
    if words == ["smeared"]:
        at = smearing.places(q, 0.05 * q, count=201, reach=smearing.REFEREE)
        values = spheres(at, sizes.referee("gaussian", 35.0, 0.062))
        return smearing.smeared(values, reach=smearing.REFEREE)
    if words in (["crowded"], ["decoupled"]):
        several, way = sizes.referee("gaussian", 35.0, 0.1), dict(crowded="effective").get(words[0], words[0])
        structure = partial(getattr(repulsion, way), fraction=0.2)
        return smallangle.intensity(q, ball, several, SAMPLE._replace(scale=0.2), structure=structure)
    kind, pd = words or ("none", 0)
    name = {"rectangle": "uniform"}.get(kind, kind)
    return spheres(q, single(35.0) if kind == "none" else sizes.referee(name, 35.0, float(pd)))


def spheres(q, several):
    """Return I(Q) by the sphere's formula."""
    return smallangle.dressed(q, smallangle.averaged(curved.sphere(q[..., None] * several.radius), several), SAMPLE)


def core_shell(q, cores):
    """Return I(Q) of cores in a shell of 8 Å."""
    outer = cores.radius + 8.0
    squares = curved.core_shell(q[:, None] * outer, 8.0 / outer, 130.0 - 9.5, 20.0 - 9.5)
    return smallangle.averaged(squares, Sizes(outer, cores.weight))


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
