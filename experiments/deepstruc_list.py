"""Claim: a PDF tells which of DeepStruc's 3743 structures it is of, with noise too: a look, and fits of the best few.

    python experiments/deepstruc_list.py                   (a quarter of an hour on one core: all parts)
    python experiments/deepstruc_list.py listed --every 10 (a part, of every tenth structure)
    python experiments/deepstruc_list.py --quick           (few PDFs, nothing is written)

The list: 197 distinct shapes of seven types, 5 to 200 atoms, each with 19 bond lengths, which are twice the metallic
radii of 28 metals (Digital Discovery 2, 69 (2023), doi 10.1039/D2DD00086E). The instruments are MetalFinder's, drawn
evenly: qmin 0 to 2, qmax 12 to 25, qdamp 0.01 to 0.04 1/Å, which are told, as it is told them; Biso 0.1 to 1 Å², which
is not; delta2 is 2 Å², and not told. A PDF of each structure, r 1.5 to 30 Å, on a scale that is not known, with white
noise on F(Q) as in `solving.py`. MetalFinder (gradient-boosted trees) names 83.87 % without noise, has 95.95 % among
its first three and 97.89 % among its first five, at 3.8 ms a PDF.

A look compares the sine transforms of data and structures, all by a matrix product, at a few Uiso and qdamp; scale,
Uiso and delta2 of the best `FITTED` are fitted, and Rw is their order. What has the truth's Rw to `TIE` is tied with
it, and a tie is broken by lot: of two, the first is right with one half.

listed: the structures, without noise, with 5 and with 10 %. between: bond lengths drawn evenly in their range, not
known, so that stretch is fitted too; right is the shape. all: as listed, of few PDFs, with every structure fitted.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import measured_pdfs
import numpy as np
import rows
import solving
from ase import Atoms
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.cluster.cubic import BodyCenteredCubic, FaceCenteredCubic, SimpleCubic
from ase.lattice.hexagonal import HexagonalClosedPacked
from jaxtyping import Array, Float, Int
from scipy.spatial.distance import pdist

from jaxstruc.inference import fit, target
from jaxstruc.inference.target import Basis
from jaxstruc.scattering import form_factors, templates
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.templates import Span, Template
from jaxstruc.structures import shapes
from jaxstruc.structures.atoms import Cluster
from jaxstruc.structures.distances import Histogram, distinct

RESULTS = Path(__file__).parent / "results" / "deepstruc_list.jsonl"
METALS = "Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Tc Ru Rh Pd Ag Cd Hf Ta W Re Os Ir Pt Au Hg".split()
ATOMS = 5, 200
FCC, HCP = math.sqrt(2), (1.0, 1.633)
"""Lattice constants, in bonds."""
QMIN, QMAX, QDAMP, BISO = (0.0, 2.0), (12.0, 25.0), (0.01, 0.04), (0.1, 1.0)
"""1/Å, and Å²: MetalFinder's."""
DELTA2 = 2.0
"""Å²"""
RMAX, RSTEP = 30.0, 0.1
"""Å. Curves end at 25 1/Å, so that a point every 0.125 Å says all."""
SEED = 7000
SPAN = Span(36.0, 28.0)
"""Å and 1/Å: of the tables."""
GRID = np.arange(0.0, QMAX[1] + 1e-6, 0.05)
"""1/Å. Of the look."""
LOOKED = (0.0017, 0.0034, 0.0062, 0.0105)
"""Å². Uiso of the look."""
DAMPED = (0.014, 0.021, 0.029, 0.036)
"""1/Å. qdamp of the look."""
FITTED = 32
"""Structures fitted of those looked at."""
TIE = 1e-5
"""Rw, by which tied structures may differ."""
APART = 1.008
"""Ratio of the bond lengths that `between` looks at."""
BATCH, BLOCK = 64, 512
"""Structures, or PDFs, in a product; and PDFs whose orders are kept."""


BY_NOISE = ("noise", "before", "tied", "type_before", "looked", "rw", "rw_other")
"""What of a PDF's row depends on its noise."""


class Part(NamedTuple):
    """PDFs of one kind."""

    noises: tuple[float, ...]
    every: int = 1
    """Of the structures, one of so many."""
    between: bool = False
    """Whether bond lengths are drawn."""
    fitted: int = FITTED


PARTS = {
    "listed": Part((0.0, 0.05, 0.1)),
    "between": Part((0.0, 0.05), every=10, between=True),
    "all": Part((0.0, 0.05), every=60, fitted=3743),
}


class Pdf(NamedTuple):
    """A simulated PDF."""

    shape: int
    length: int
    """Of the structure; -1 where it is not of the list."""
    given: dict[str, float]
    """bond, qmin, qmax, qdamp, biso."""
    curves: dict[float, Float[np.ndarray, " r"]]
    """G(r) by noise."""


class Structures(NamedTuple):
    """What PDFs are compared with; a structure is a shape with a bond length."""

    shape: Int[np.ndarray, " structure"]
    bond: Float[np.ndarray, " structure"]
    """Å"""
    tables: Template
    waves: Float[Array, "qdamp uiso structure q"]
    """The sine transform of the structures' curves over r, by the qdamp and Uiso of the look."""


def listed() -> Iterator[Cluster]:
    """Yield the clusters of DeepStruc's grids with bond length 1, equal ones among them.

    Octahedra come before the cuts of fcc, and sc before bcc, as the list counts what they share.
    """
    layers = list(itertools.combinations_with_replacement(range(1, 11), 3))
    pqr = list(itertools.product(range(1, 6), range(1, 6), range(6)))
    for length in range(2, 8):
        yield Cluster("octahedron", f"{length}", Octahedron("Au", length, latticeconstant=FCC).positions)
    for name, make, constant in (
        ("sc", SimpleCubic, 1.0), ("bcc", BodyCenteredCubic, 1.0), ("fcc", FaceCenteredCubic, FCC),
    ):  # fmt: skip
        yield from _grid(name, partial(_cut, make, constant), layers)
    yield from _grid("hcp", lambda *size: HexagonalClosedPacked("Au", size=size, latticeconstant=HCP), layers)
    yield from _grid("decahedron", lambda *each: Decahedron("Au", *each, latticeconstant=FCC), pqr)
    for number in range(2, 5):
        yield Cluster("icosahedron", f"{number}", Icosahedron("Au", number, latticeconstant=FCC).positions)


def _cut(make: Callable[..., Atoms], constant: float, *layers: int) -> Atoms:
    return make("Au", shapes.SURFACES, layers, latticeconstant=constant)


def _grid(name: str, make: Callable[..., Atoms], numbers: Sequence[tuple[int, ...]]) -> Iterator[Cluster]:
    """Yield the clusters of three numbers each that are not too large; those of greater numbers hold those of less."""
    large: list[tuple[int, ...]] = []
    for asked in numbers:
        if any(all(np.greater_equal(asked, known)) for known in large):
            continue
        x = make(*asked).positions
        if len(x) > ATOMS[1]:
            large.append(asked)
        else:
            yield Cluster(name, " ".join(map(str, asked)), x)


@cache
def every_shape() -> tuple[Cluster, ...]:
    """Return the 197 distinct shapes, by number of atoms."""
    return tuple(shapes.distinct([one for one in listed() if ATOMS[0] <= len(one.positions) <= ATOMS[1]]))


@cache
def lengths() -> tuple[float, ...]:
    """Return the 19 distinct bond lengths, in Å."""
    return tuple(sorted({round(form_factors.tabulated_bond_length(metal), 4) for metal in METALS}))


def twins() -> int:
    """Return of how many structures another has all distances equal, to 0.001 Å."""
    each = [np.sort(pdist(one.positions)) for one in every_shape()]
    found: set[tuple[int, float]] = set()
    for (i, one), (j, other) in itertools.combinations(enumerate(each), 2):
        if len(one) == len(other):
            for a, b in itertools.product(lengths(), lengths()):
                if abs(a * one - b * other).max() < 1e-3:
                    found |= {(i, a), (j, b)}
    return len(found)


def simulated(number: int, asked: Part) -> Pdf:
    """Return the PDF of a structure of the list, by its number."""
    shape, length = divmod(number, len(lengths()))
    rng = np.random.default_rng([SEED, number])
    qmin, qmax, qdamp, biso = (rng.uniform(*limits) for limits in (QMIN, QMAX, QDAMP, BISO))
    bond = rng.uniform(lengths()[0], lengths()[-1]) if asked.between else lengths()[length]
    values = {
        "qmin": qmin, "qmax": qmax, "qdamp": qdamp, "uiso": biso / (8 * np.pi**2), "delta2": DELTA2,
        "stretch": bond / solving.BOND,
    }  # fmt: skip
    q, f = solving.waves(every_shape()[shape].positions, values)
    curves = {noise: solving.seen(q, f, qdamp, noise, RMAX, rng)[1][::2] for noise in asked.noises}
    given = {"bond": bond, "qmin": qmin, "qmax": qmax, "qdamp": qdamp, "biso": biso}
    return Pdf(shape, -1 if asked.between else length, given, curves)


def points() -> Float[np.ndarray, " r"]:
    """Return r of the curves, in Å."""
    return np.arange(1.5, RMAX + 1e-6, RSTEP)


def structures(bonds: Sequence[float]) -> Structures:
    """Return all shapes with each of some bond lengths."""
    kept = [distinct(one.positions, digits=5) for one in every_shape()]
    size = max(len(one.mean) for one in kept)
    weight, mean = (np.zeros((len(kept), size), np.float32) for _ in range(2))
    mean[:] = 1.0
    for row, one in enumerate(kept):
        weight[row, : len(one.mean)], mean[row, : len(one.mean)] = one.weight, one.mean
    atoms = np.array([one.atoms for one in kept], np.float32)
    nearest = np.array([one.mean.min() for one in kept], np.float32)
    shape, length = (x.ravel() for x in np.indices((len(kept), len(bonds))))
    bond = np.asarray(bonds, float)[length]
    windows, tables, waves = _windows(), [], []
    for start in range(0, len(shape), BATCH):
        some = np.arange(start, start + BATCH).clip(max=len(shape) - 1)
        scale = jnp.asarray(bond[some], jnp.float32)
        bins = weight[shape[some]], mean[shape[some]] * scale[:, None], np.zeros((BATCH, size), np.float32)
        one = _tabled(Histogram(*bins, atoms[shape[some]]), nearest[shape[some]] * scale, windows)
        tables.append(one[0])
        waves.append(one[1])
    return Structures(
        shape, bond, jax.tree.map(lambda *x: jnp.concatenate(x)[: len(shape)], *tables),
        jnp.concatenate(waves, axis=2)[:, :, : len(shape)],
    )  # fmt: skip


def _sines() -> Float[np.ndarray, "r q"]:
    return np.sin(points()[:, None] * GRID)


def _windows() -> Float[np.ndarray, "qdamp q q"]:
    """Return what takes F(Q) to the sine transform of its curve over r, for each qdamp of the look."""
    sines, damping = _sines(), np.exp(-0.5 * (points() * np.array(DAMPED)[:, None]) ** 2)
    share = measured_pdfs.transform(GRID, points(), qdamp=0.0)
    return np.stack([(sines.T * one) @ share for one in damping]).astype(np.float32)


@jax.jit
def _tabled(bins: Histogram, nearest: Float[Array, " structure"], windows) -> tuple[Template, Array]:
    """Return tables of structures, and their waves."""
    tables = jax.vmap(lambda one, bond: templates.template(one, bond, span=SPAN))(bins, nearest)
    delta2 = jnp.asarray(DELTA2 / 2, jnp.float32)

    def wave(table, uiso):
        return templates.reduced_structure_function(table, Instrument(uiso=uiso, delta2=delta2), jnp.asarray(GRID))

    found = jax.vmap(jax.vmap(wave, (0, None)), (None, 0))(tables, jnp.asarray(LOOKED, jnp.float32))
    return tables, jnp.einsum("usq,dpq->dusp", found, windows)


def looked(curves: Float[np.ndarray, "pdf r"], given: list[dict[str, float]], among: Structures) -> np.ndarray:
    """Return the structures by their misfit at a look, best first: [pdf, structure]."""
    low, high, qdamp = (np.array([one[name] for one in given])[:, None] for name in ("qmin", "qmax", "qdamp"))
    half = (GRID[1] - GRID[0]) / 2
    weight = ((np.minimum(GRID + half, high) - np.maximum(GRID - half, low)) / (2 * half)).clip(0, 1)
    data = curves @ _sines()
    nearest, order = abs(qdamp - DAMPED).argmin(axis=1), np.zeros((len(curves), len(among.shape)), np.int32)
    for at in np.unique(nearest):
        alike = np.flatnonzero(nearest == at)
        for start in range(0, len(alike), BATCH):
            some = alike[start : start + BATCH]
            filled = np.pad(some, (0, BATCH - len(some)), mode="edge")
            share = _explained(among.waves, at, *(jnp.asarray(x[filled], jnp.float32) for x in (weight, data)))
            order[some] = np.argsort(-np.asarray(share)[: len(some)], axis=1, kind="stable")
    return order


@jax.jit
def _explained(waves, at, weight, data) -> Float[Array, "pdf structure"]:
    """Return by how much each structure with its best scale, 0 or more, lowers the squares, at its best Uiso."""
    own = waves[at].reshape(-1, waves.shape[-1])
    along, square = (weight * data) @ own.T, weight @ (own**2).T
    share = jnp.maximum(along, 0.0) ** 2 / jnp.maximum(square, 1e-12)
    return share.reshape(len(data), waves.shape[1], -1).max(axis=1)


def fitted(curve, given: dict[str, float], chosen: np.ndarray, among: Structures, free: tuple[str, ...]) -> np.ndarray:
    """Return Rw of fits of some structures to a PDF."""
    told = jnp.asarray([given[name] for name in ("qmin", "qmax", "qdamp")], jnp.float32)
    data, found = jnp.asarray(curve, jnp.float32), []
    for start in range(0, len(chosen), BATCH):
        some = chosen[start : start + BATCH]
        filled = np.pad(some, (0, -len(some) % FITTED), mode="edge")
        found.append(np.asarray(_fits(among.tables, jnp.asarray(filled), data, told, free=free))[: len(some)])
    return np.concatenate(found)


@partial(jax.jit, static_argnames="free")
def _fits(tables: Template, chosen, data, told, *, free: tuple[str, ...]) -> Float[Array, " structure"]:
    some = jax.tree.map(lambda column: column[chosen], tables)
    return fit.refine_all(some, _basis(data, *told), free=free).rw


def _basis(data, qmin, qmax, qdamp) -> Basis:
    """Return the target of a PDF whose basis is its points: no time goes into a better one."""
    r = points()
    x, share = np.polynomial.legendre.leggauss(target.points(RMAX, QMIN[0], QMAX[1], SPAN))
    q = qmin + (qmax - qmin) * jnp.asarray((x + 1) / 2, jnp.float32)
    design = (qmax - qmin) / np.pi * jnp.asarray(share, jnp.float32)[:, None] * jnp.sin(q[:, None] * r)
    one = jnp.ones((), jnp.float32)
    return Basis(
        q=q, design=design, radius=jnp.asarray(r, jnp.float32), smooth=jnp.zeros((len(r), 0), jnp.float32), data=data,
        norm=data @ data, rest=0 * one, independent=(r[-1] - r[0]) * (qmax - qmin) / np.pi, stretch=one,
        bond=2.5 * one, qdamp=qdamp, qbroad=0 * one, scales=jnp.asarray((target.LEAST_SCALE, jnp.inf), jnp.float32),
        span=SPAN,
    )  # fmt: skip


def within(row: dict[str, Any], first: int) -> float:
    """Return how likely the truth is among the first so many, ties broken by lot."""
    return min(max((first - row["before"]) / (row["tied"] + 1), 0.0), 1.0)


def rank(misfit: np.ndarray, right: np.ndarray, names: np.ndarray) -> tuple[int, int]:
    """Return how many other names are better than the right one, and how many as good.

    All others are better where it is not fitted.

    Args:
        misfit: of each structure; infinite where it was not fitted.
        right: whether a structure has the right name.
        names: of each structure; that with the least misfit counts.
    """
    own = misfit[right].min(initial=np.inf)
    if not np.isfinite(own):
        return len(set(names[~right].tolist())), 0
    better, level = (set(names[~right & (misfit < own + sign * TIE)].tolist()) for sign in (-1, 1))
    return len(better), len(level - better)


def found(pdfs: list[Pdf], noise: float, among: Structures, asked: Part) -> tuple[list[dict[str, Any]], dict]:
    """Return a row a PDF, and the core's times of a look and of fits, in ms a PDF."""
    free = ("scale", "stretch", "uiso", "delta2") if asked.between else ("scale", "uiso", "delta2")
    kinds = np.array([one.family for one in every_shape()])[among.shape]
    kept, spent = [], np.zeros(2)
    for start in range(0, len(pdfs), BLOCK):
        some = pdfs[start : start + BLOCK]
        begun = time.process_time()
        orders = looked(np.stack([one.curves[noise] for one in some]), [one.given for one in some], among)
        spent[0] += time.process_time() - begun
        for one, order in zip(some, orders, strict=True):
            begun = time.process_time()
            own = _first_of_each(order, among.shape) if asked.between else order
            chosen, misfit = own[: asked.fitted], np.full(len(order), np.inf)
            misfit[chosen] = fitted(one.curves[noise], one.given, chosen, among, free)
            spent[1] += time.process_time() - begun
            kept.append(_row(one, noise, misfit, own, among, kinds))
    look, fits = 1e3 * spent / len(pdfs)
    return kept, {"ms_look": round(look, 2), "ms_fits": round(fits, 2), "fits": asked.fitted}


def _first_of_each(order: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the best structure of each name, best first."""
    return order[np.sort(np.unique(names[order], return_index=True)[1])]


def _row(one: Pdf, noise: float, misfit: np.ndarray, order: np.ndarray, among: Structures, kinds: np.ndarray) -> dict:
    """Return what is kept of a PDF; the rank of the structure is that of the shape where its length is not listed."""
    shape, own = every_shape()[one.shape], among.shape == one.shape
    right = own if one.length < 0 else own & np.isclose(among.bond, one.given["bond"])
    before, tied = rank(misfit, right, among.shape if one.length < 0 else np.arange(len(misfit)))
    return {
        "noise": noise, "type": shape.family, "shape": shape.label, "atoms": len(shape.positions),
        **{name: round(value, 3) for name, value in one.given.items()},
        "before": before, "tied": tied, "type_before": rank(misfit, kinds == shape.family, kinds)[0],
        "looked": int(right[order].argmax()),
        "rw": _rounded(misfit[right].min()), "rw_other": _rounded(misfit[~right].min()),
    }  # fmt: skip


def _rounded(rw: float) -> float | None:
    return round(float(rw), 5) if np.isfinite(rw) else None


def main(words: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run what is asked for, and return the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--every", type=int, help="of the structures, one of so many")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="few PDFs, nothing is written")
    asked = parser.parse_args(words)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    told = {"commit": rows.commit(), **rows.environment(), "twins": twins()}
    lines = asked.out.read_text("utf-8").splitlines() if asked.out.exists() and not asked.quick else []
    kept = [json.loads(line) for line in lines]
    for part in asked.parts or (["listed"] if asked.quick else list(PARTS)):
        own = PARTS[part]
        if asked.quick or asked.every:
            own = own._replace(every=400 if asked.quick else asked.every)
        kept = [row for row in kept if row["part"] != part] + list(ran(part, own, told))
        if not asked.quick:
            rows.write_lines(kept, asked.out)
    return kept


def ran(part: str, asked: Part, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part: that of the run for each noise, and one a PDF, with lists of what each noise gave."""
    begun = time.perf_counter()
    ratio = round(np.log(lengths()[-1] / lengths()[0]) / np.log(APART)) + 1
    among = structures(np.geomspace(lengths()[0], lengths()[-1], ratio) if asked.between else lengths())
    jax.block_until_ready(among.waves)
    tables = round(time.perf_counter() - begun, 1)
    offset = asked.every // 2
    pdfs = [simulated(n, asked) for n in range(offset, len(every_shape()) * len(lengths()), asked.every)]
    every = []
    for noise in asked.noises:
        found(pdfs[:1], noise, among, asked)  # compiles, and is not timed
        each, spent = found(pdfs, noise, among, asked)
        share = {f"top{k}": round(np.mean([within(row, k) for row in each]), 5) for k in (1, 3, 5)}
        run = {"part": part, "noise": noise, "pdfs": len(each), **share, **spent, "s_tables": tables, **told}
        rows.show(run)
        yield run
        every.append(each)
    for same in zip(*every, strict=True):
        yield {"part": part} | {key: [row[key] for row in same] if key in BY_NOISE else same[0][key] for key in same[0]}


if __name__ == "__main__":
    main()
