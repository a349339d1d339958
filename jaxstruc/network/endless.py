r"""An endless stream of simulated PDFs with their truths, made on the device: never the same twice, nothing is stored.

The PDFs of a step follow from a seed and the step's number. The curve of each bin of distances is made once for all the
PDFs that share an instrument and vibrations, so that a PDF costs two rows of matrix products:

$F(Q) = \sum_k h_k \frac{\sin Qr_k}{r_k} e^{-\sigma_k^2Q^2/2}$ with $h_k$ the ordered pairs an atom in bin k, and
$G(r) = \frac{2}{\pi} \int F(Q) \sin Qr\, dQ\; e^{-q_\mathrm{damp}^2r^2/2}$ (P. Debye, Ann. Phys. 351, 809 (1915);
C. L. Farrow, S. J. L. Billinge, Acta Cryst. A65, 232 (2009)). G(r) stands on even steps of ln r in nominal bonds: there
a stretch is a shift. Lengths in Å unless in bonds.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

import jaxstruc
from jaxstruc import files
from jaxstruc.network import stock
from jaxstruc.network.stock import BIN, BINS, COUNT, Samples, Stock
from jaxstruc.structures.cuts import TYPES

POINTS, NEAR, FAR = 448, 0.7, 12.5
"""Points of the curve, and the first and last r in nominal bonds."""
R = np.exp(np.linspace(math.log(NEAR), math.log(FAR), POINTS)).astype(np.float32)
WAVES = 288
"""Values of Q, for r up to some 36 Å."""
EACH = 32
"""PDFs of an instrument."""
RANGES = {
    "bond": (2.3, 3.4),  # Å
    "stretch": (0.96, 1.04),
    "uiso": (0.0015, 0.03),  # Å², even in the logarithm
    "delta2": (0.0, 0.8),  # bonds²
    "qmin": (0.0, 2.5),  # 1/Å
    "qmax": (10.0, 30.0),  # 1/Å
    "qdamp": (0.0, 0.08),  # 1/Å
    "qbroad": (0.0, 0.02),  # 1/Å
    "noise": (
        0.0,
        0.15,
    ),  # white noise on F(Q), relative to its root mean square, each point of a 0.02 1/Å grid; squared
    "background": (0.0, 0.3),  # of the root mean square of G
    "offset": (0.0, 0.5),  # of that of F: what a wrong normalisation leaves at low Q and below the first bond
    "rmin": (0.0, 2.2),  # Å
    "rmax": (12.0, 40.0),  # Å
}
"""Drawn evenly unless said. "squared": the square of an even number, so that little noise is as common as much."""
OWN = ("bond", "stretch", "uiso", "delta2", "qmin", "qmax", "qdamp", "qbroad")
"""Of these, what PDFs of an instrument share."""
CLEAN, SILENT, WHOLE, KNOWN = 0.4, 0.15, 0.4, 0.6
"""Shares of PDFs without background and offset, without noise, with all of r, and told their true qmin, and qdamp."""
STRANGE = 0.12
"""Share of PDFs that are not what they are told to be: of two types of particles, or with a wrong qmax."""
BLEND, WRONG = (0.3, 0.7), (0.1, 0.25)
"""The share of the first of two particles; by how much the logarithm of a wrong qmax is off."""
QDAMP, LOWER = 0.03, 1.0
"""1/Å. What is told of qdamp where it is not known; by how much too low a qmin is told at most."""
TOLD = ("qmin", "qmax", "qdamp", "rmin", "rmax")
"""What the network is told, in bonds to their powers."""
VALUES = (*stock.VALUES, "stretch")
"""Numbers to be found."""


class Truths(NamedTuple):
    """What samples are; NaN where it does not hold or the atoms do not show it."""

    type: Int[Array, " pdf"]
    """Place in `cuts.TYPES`; -1 where the atoms do not show it."""
    values: Float[Array, "pdf value"]
    """As `VALUES`."""


class Shared(NamedTuple):
    """An instrument, vibrations and bonds; units as in `RANGES`."""

    bond: Array
    stretch: Array
    uiso: Array
    delta2: Array
    qmin: Array
    qmax: Array
    qdamp: Array
    qbroad: Array


class Batch(NamedTuple):
    """PDFs as the network sees them, and their truths."""

    pdf: Float[Array, "pdf r"]
    """At `R`, divided by its root mean square over what is seen, 0 elsewhere."""
    seen: Bool[Array, "pdf r"]
    told: Float[Array, "pdf told"]
    truths: Truths
    source: Int[Array, " pdf"]
    noise: Float[Array, " pdf"]
    strange: Bool[Array, " pdf"]
    """Whether it is not what it is told to be; its truths are left out."""


def batch(key: Array, own: Stock, *, strange: float = STRANGE) -> Batch:
    """Return the PDFs of a step.

    Args:
        key: of the seed and the step: `jax.random.fold_in(jax.random.key(seed), step)`.
        own: what samples are made from.
        strange: share of PDFs that are not what they are told to be.
    """
    draw, instrument = jax.random.split(key)
    return measured(instrument, stock.samples(draw, own), strange=strange)


def write(own: Stock, path: Path, *, seed: int, steps: int, progress: Callable[[int, int, str], None]) -> None:
    """Write the first steps of a seed to HDF5; the file appears whole or not at all."""
    made = jax.jit(batch)
    with files.replacing(path) as part, h5py.File(part, "w") as file:
        file.attrs.update(
            {"seed": seed, "jaxstruc": jaxstruc.__version__, "types": TYPES, "values": VALUES, "told": TOLD}
        )
        file["r"] = R
        for step in range(steps):
            found = made(jax.random.fold_in(jax.random.key(seed), step), own)
            group = file.create_group(f"{step:06d}")
            columns = found._asdict() | {"type": found.truths.type, "values": found.truths.values}
            for name, column in columns.items():
                if name != "truths":
                    group[name] = np.asarray(column)
            progress(step + 1, steps, "")


def measured(key: Array, samples: Samples, *, strange: float) -> Batch:
    """Return the PDFs of `COUNT` samples, each group of `EACH` with an instrument of its own."""
    grouped = jax.tree.map(lambda column: column.reshape(-1, EACH, *column.shape[1:]), samples)
    keys = jax.random.split(key, COUNT // EACH)
    found = jax.lax.map(lambda each: _group(*each, strange=strange), (keys, grouped))
    return jax.tree.map(lambda column: column.reshape(-1, *column.shape[2:]), found)


def scattered(histogram: Float[Array, "pdf bin"], shared: Shared) -> Float[Array, "pdf q"]:
    """Return F(Q) at `waves`, in 1/Å."""
    return histogram @ _bins(waves(shared), shared)


def transformed(f: Float[Array, "pdf q"], shared: Shared) -> Float[Array, "pdf r"]:
    """Return G(r) at `R` nominal bonds, in 1/Å²."""
    r, step = R * shared.bond, (shared.qmax - shared.qmin) / WAVES
    return 2 / jnp.pi * step * f @ jnp.sin(waves(shared)[:, None] * r) * jnp.exp(-0.5 * (shared.qdamp * r) ** 2)


def waves(shared: Shared) -> Float[Array, " q"]:
    """Return the middles of `WAVES` even parts of the range of Q, in 1/Å."""
    return shared.qmin + (shared.qmax - shared.qmin) * (jnp.arange(WAVES) + 0.5) / WAVES


def shown(g: Array, r: Array, rmin: Array, rmax: Array) -> tuple[Array, Array]:
    """Return PDFs as the network sees them, over their root mean square, and where there are data."""
    seen = (r >= rmin[:, None]) & (r <= rmax[:, None])
    g = jnp.where(seen, g, 0.0)
    square = (g**2).sum(axis=1, keepdims=True) / jnp.maximum(seen.sum(axis=1, keepdims=True), 1)
    return g / jnp.sqrt(jnp.where(square > 0, square, 1.0)), seen


def told(bond, qmin, qmax, qdamp, rmin, rmax) -> Float[Array, "pdf told"]:
    """Return what the network is told, each about 1: in bonds to their powers; the end of r is at most that of `R`."""
    ends = jnp.minimum(rmax / bond, FAR)
    return jnp.stack([qmin * bond / 5, qmax * bond / 60, qdamp * bond / 0.1, rmin / bond, ends / FAR], axis=-1)


def _group(key: Array, samples: Samples, *, strange: float) -> Batch:
    """Return the PDFs of samples with one instrument."""
    shared_key, each, noise, low, smooth, known_key, odd = jax.random.split(key, 7)
    shared = _instrument(shared_key)
    blended, qmax = _strange(odd, samples.type, shared.qmax, strange)
    histogram = samples.histogram * blended[:, None] + jnp.roll(samples.histogram, 1, axis=0) * (1 - blended[:, None])
    told_wrong = (blended < 1) | (qmax != shared.qmax)
    one = _drawn(each, ("noise", "background", "offset", "rmin", "rmax"), (EACH,))
    chance = jax.random.uniform(jax.random.fold_in(each, 1), (3, EACH))
    level = jnp.where(chance[0] < SILENT, 0.0, one["noise"] ** 2 / RANGES["noise"][1])
    dirty = jnp.where(chance[1] < CLEAN, 0.0, 1.0)
    rmax = jnp.where(chance[2] < WHOLE, RANGES["rmax"][1], one["rmax"])
    f = scattered(histogram, shared)
    white = jax.random.normal(noise, f.shape) * jnp.sqrt(0.02 * WAVES / (shared.qmax - shared.qmin))
    off = (dirty * one["offset"])[:, None] * _slow(low, waves(shared))
    g = transformed(f + _size(f) * (level[:, None] * white + off), shared)
    g = g + (dirty * one["background"])[:, None] * _size(g) * _smooth(smooth, jnp.asarray(R) * shared.bond)
    known = jax.random.uniform(known_key, (2, EACH)) < KNOWN
    lower = jax.random.uniform(jax.random.fold_in(known_key, 1), (EACH,), maxval=LOWER)
    qmin = jnp.where(known[0], shared.qmin, jnp.maximum(shared.qmin - lower, 0.0))
    qdamp = jnp.where(known[1], shared.qdamp, QDAMP)
    pdf, seen = shown(g, jnp.asarray(R) * shared.bond, one["rmin"], rmax)
    stretch = jnp.full((EACH, 1), shared.stretch)
    return Batch(
        pdf,
        seen,
        told(shared.bond, qmin, qmax, qdamp, one["rmin"], rmax),
        Truths(
            jnp.where(told_wrong, -1, samples.type),
            jnp.where(told_wrong[:, None], jnp.nan, jnp.concatenate([samples.values, stretch], axis=1)),
        ),
        samples.source,
        level,
        told_wrong,
    )


def _strange(key: Array, type_: Array, qmax: Array, share: float) -> tuple[Array, Array]:
    """Return the share of the first of two particles, 1 for most, and the qmax that is told, for most the true one."""
    which, much, way = jax.random.uniform(key, (3, len(type_)))
    other = jnp.roll(type_, 1)
    two = (which < share / 2) & (type_ >= 0) & (other >= 0) & (type_ != other)
    blended = jnp.where(two, BLEND[0] + much * (BLEND[1] - BLEND[0]), 1.0)
    off = jnp.exp(WRONG[0] + much * (WRONG[1] - WRONG[0]))
    low, high = RANGES["qmax"]
    up = jnp.where(way < 0.5, qmax / off < low, qmax * off < high)
    return blended, jnp.where(which > 1 - share / 2, qmax * jnp.where(up, off, 1 / off), qmax)


def _instrument(key: Array) -> Shared:
    """Return what PDFs of an instrument share, drawn at random."""
    drawn = _drawn(key, OWN, ())
    low, high = map(math.log, RANGES["uiso"])
    part = (drawn["uiso"] - RANGES["uiso"][0]) / (RANGES["uiso"][1] - RANGES["uiso"][0])
    return Shared(**drawn | {"uiso": jnp.exp(low + part * (high - low))})


def _size(curves: Float[Array, "pdf x"]) -> Float[Array, "pdf 1"]:
    """Return root mean squares."""
    return jnp.sqrt(jnp.mean(curves**2, axis=1, keepdims=True))


def _bins(q: Array, shared: Shared) -> Float[Array, "bin q"]:
    """Return F(Q) of each bin for one ordered pair an atom; the width of bins is taken out again."""
    length = shared.bond * shared.stretch
    bonds = jnp.maximum(jnp.arange(BINS), 1) * BIN
    distance = bonds * length
    variance = 2 * shared.uiso * (jnp.maximum(1 - shared.delta2 / bonds**2, 0.05) + (shared.qbroad * distance) ** 2)
    wave = jnp.sin(distance[:, None] * q) * jnp.exp(-0.5 * variance[:, None] * q**2)
    return wave / distance[:, None] / jnp.sinc(q * BIN * length / (2 * jnp.pi)) ** 2


def _slow(key: Array, q: Array) -> Float[Array, "pdf q"]:
    """Return what a wrong normalisation leaves in F(Q): a rise at low Q, and waves of r below the first bond."""
    low, shift, far = jax.random.split(key, 3)
    r = jax.random.uniform(far, (EACH, 2, 1), maxval=1.4)
    phase = jax.random.uniform(shift, (EACH, 2, 1), maxval=2 * jnp.pi)
    rise = jax.random.normal(low, (EACH, 1)) * jnp.exp(-((q / 1.5) ** 2))
    return rise + jnp.cos(r * q + phase).sum(axis=1) / 2


def _smooth(key: Array, r: Array) -> Float[Array, "pdf r"]:
    """Return a smooth background of G(r): waves longer than any bond."""
    long, shift = jax.random.split(key)
    wave = 2 * jnp.pi / jax.random.uniform(long, (EACH, 2, 1), minval=8.0, maxval=40.0)
    return jnp.cos(wave * r + jax.random.uniform(shift, (EACH, 2, 1), maxval=2 * jnp.pi)).sum(axis=1)


def _drawn(key: Array, names: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Array]:
    """Return values drawn evenly from their ranges."""
    keys = jax.random.split(key, len(names))
    return {
        name: jax.random.uniform(k, shape, minval=RANGES[name][0], maxval=RANGES[name][1])
        for name, k in zip(names, keys, strict=True)
    }
