"""A small library, its classes, and curves of mixtures of its clusters, in NumPy, for tests of ensembles."""

import itertools
from functools import lru_cache

import numpy as np
from simulated import BOND

from jaxstruc.inference import candidates, judge, mixture, screening, target
from jaxstruc.inference.candidates import Candidates
from jaxstruc.scattering.templates import Span
from jaxstruc.structures import classes, families, library

R = np.arange(1.5, 26.001, 0.05)
SPAN = Span(28.0, 24.0)
SETTINGS = {"qmin": 1.0, "qmax": 18.0, "qdamp": 0.03, "qbroad": 0.0}
NAMES = ("stretch", "uiso", "delta2")
SIZE, LEAST = 256, 128
"""To which targets are padded: as `samples` does, so that one compilation serves all tests."""


@lru_cache(maxsize=1)
def own():
    """Return fcc spheres and icosahedral ones of 30 to 500 atoms."""
    fcc = (one for one in families.fcc(30, 500) if "sphere" in one.label)
    several = (itertools.islice(fcc, 250), families.icosahedra(30, 500))
    return library.collect(itertools.chain(*several))


@lru_cache(maxsize=1)
def classed():
    listed = own()
    every = np.arange(len(listed.atoms))
    return classes.classes(listed, every, np.array([classes.PACKINGS[family] for family in listed.families], object))


@lru_cache(maxsize=1)
def mixed():
    return mixture.mixture(classed(), bond=BOND, span=SPAN)


def sizes():
    """Return the diameters of spheres of the clusters' volumes, in Å."""
    listed = own()
    return classes.size(listed, np.arange(len(listed.atoms))) * BOND


def drawn(rng, *, mean, width, families=("fcc",), count=60):
    """Return rows of the library whose sizes follow a lognormal."""
    rows = np.flatnonzero(np.isin(own().families, families))
    spread = np.sqrt(np.log1p(width**2))
    wanted = mean * np.exp(spread * rng.normal(size=count) - spread**2 / 2)
    return np.array([rows[np.argmin(abs(np.log(sizes()[rows] / size)))] for size in wanted])


def curve(rows, *, noise=0.0, seed=0, uiso=0.008, delta2=2.0, stretch=1.0, contraction=0.0):
    """Return G(r) of a mixture in which each row has the same share of atoms; in double precision."""
    listed, q = own(), np.linspace(SETTINGS["qmin"], SETTINGS["qmax"], 851)
    f = np.zeros(q.size)
    rows, counts = np.unique(rows, return_counts=True)
    for row, count in zip(rows, counts, strict=True):
        table = library.table(listed, int(row))
        unit = BOND * stretch * (1 - contraction / sizes()[row])
        mean = table.mean.astype(float) * unit
        variance = 2 * uiso * np.maximum(1 - delta2 / mean**2, 0) + table.variance * unit**2
        waves = np.sin(q[:, None] * mean) * np.exp(-0.5 * variance * q[:, None] ** 2)
        f += count / counts.sum() * waves @ (table.weight / mean / table.atoms)
    f = f + noise * np.sqrt(np.mean(f**2)) * np.random.default_rng(seed).normal(size=q.size)
    share = np.full(q.size, q[1] - q[0])
    share[[0, -1]] /= 2
    return 2 / np.pi * np.sin(R[:, None] * q) @ (share * f) * np.exp(-0.5 * (R * SETTINGS["qdamp"]) ** 2)


def goal(g, rmax=20.0):
    kept = rmax + 1e-9 >= R
    return target.target(R[kept], g[kept], **SETTINGS, bond=BOND, span=SPAN, size=SIZE, least=LEAST)


def best(g, rmax=20.0):
    """Return the best single cluster's row and values, and all fits as a pool."""
    to = goal(g, rmax)
    pool = candidates.pool([Candidates("library", own(), np.arange(len(own().atoms)))])
    fits = candidates.fit_all(pool, to)
    order = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf))
    return pool.chosen(order), candidates.rows(fits, order)


def judged(g, *, end=None, **more):
    """Return the judgement of a curve."""
    pool, fits = best(g)
    listed = pool.groups[0]
    bins = screening.bins(own(), listed.rows, bond=BOND, span=SPAN)
    end = end or screening.seen(R, g, bond=BOND, qdamp=SETTINGS["qdamp"]).end
    sample = judge.Sample(R, g, goal(g), end, SPAN, SIZE, LEAST)
    first = pool.entry(0)[1]
    return judge.judge(
        sample, mixed(), values=candidates.rows(fits.values, 0), size=float(sizes()[first]), listed=[(listed, bins)],
        rivals=pool.chosen(np.arange(4)), free=("scale", *NAMES), **more,
    )  # fmt: skip
