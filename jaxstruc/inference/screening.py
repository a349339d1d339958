r"""Which of thousands of candidates are worth fitting, and the size seen in the data.

Every candidate is tried, roughly: its distances stand in even bins, so that the curves of all are one matrix product,
$C = H K$, with K the curve that a pair at each bin's distance gives in the basis of the target. Of a few stretches and
vibrations the best is taken, and from there one Gauss-Newton step in stretch, Uiso and delta2, for which the
derivatives of K serve. Those with the least misfit left are fitted.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.inference.target import STRETCH, Basis
from jaxstruc.inference.values import TRIED, Values
from jaxstruc.scattering import debye
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.parameters import PARAMETERS
from jaxstruc.scattering.templates import SHORT, Span
from jaxstruc.structures.library import WIDTH, Library

SCREENED, AT_A_GLANCE = 1500, 300
"""Candidates chosen to be fitted; and where a classifier has named what is probable."""
TRIED_FURTHER = 5000
"""Candidates that a judge tries at each cut."""
VIBRATIONS = (0.006, 0.018)
"""Å². Uiso of the rough tries."""
STEP = (0.012, 1.2, 0.24)
"""Longest Gauss-Newton step: in stretch, in parts of Uiso, and in delta2 in squared bonds."""
RIDGE = 1e-6
"""Relative, on the normal equations of the step."""
CHUNK = 1024
"""Candidates at a time."""
SMOOTHED = 1.0
"""Å, over which the power of G(r) is averaged for the particle's size."""


class Bins(NamedTuple):
    """The distances of candidates in even bins, all in one matrix."""

    rows: np.ndarray
    """[candidate] indices into the library."""
    weight: Float[Array, "candidate bin"]
    """Pairs an atom, at multiples of `library.WIDTH` bonds. Padded with zeros to whole chunks."""


def bins(library: Library, rows: np.ndarray, *, bond: float, span: Span) -> Bins:
    """Return the distances of candidates in even bins; number, mean and variance of each bin's distances are kept.

    Args:
        library: the candidates.
        rows: indices of those to be screened.
        bond: nearest-neighbour distance, in Å.
        span: what the fit covers.
    """
    size = 16 * math.ceil((span.longest / bond / WIDTH + 2) / 16)
    owner = np.repeat(np.arange(len(library.atoms)), np.diff(library.bins))
    where = np.full(len(library.atoms), -1)
    where[rows] = np.arange(len(rows))
    place = np.rint(library.mean / WIDTH).astype(np.intp)
    kept = np.flatnonzero((where[owner] >= 0) & (library.mean * bond < span.longest) & (place < size - 1))
    owner, place = owner[kept], place[kept]
    off = library.mean[kept] / WIDTH - place
    second = off**2 + library.variance[kept] / WIDTH**2
    weight = library.weight[kept] / library.atoms[owner]
    found = np.zeros(CHUNK * math.ceil(len(rows) / CHUNK) * size, np.float32)
    at = where[owner] * size + place
    for shift, share in ((0, 1 - second), (1, (second + off) / 2), (-1, (second - off) / 2)):
        found[at + shift] += (weight * share).astype(np.float32)  # a candidate has a bin once
    return Bins(np.asarray(rows), jnp.asarray(found.reshape(-1, size)))


def misfits(
    candidates: Bins, basis: Basis, *, without: Float[np.ndarray, "basis wave"] | None = None
) -> Float[np.ndarray, " candidate"]:
    """Return about the Rw that each candidate's fit will have.

    Args:
        candidates: of `bins`.
        basis: the data, of a target.
        without: waves that are left out of data and model, orthonormal.
    """
    waves = np.zeros((basis.data.shape[0], 0)) if without is None else without
    left_out = jnp.asarray(np.pad(waves, ((0, 0), (0, -waves.shape[1] % 16))), jnp.float32)
    tries, count = _tries(basis), len(candidates.rows)
    seen = np.asarray(_scan(candidates.weight, basis, left_out, tries))[:, :count]
    best, explained = seen.argmax(axis=0), seen.max(axis=0)
    for at in np.unique(best):
        rows = np.flatnonzero(best == at)
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            filled = np.concatenate([some, np.full(CHUNK - len(some), some[-1])])
            stepped = np.asarray(_stepped(candidates.weight[filled], basis, left_out, tries[at]))
            explained[some] = np.maximum(explained[some], stepped[: len(some)])
    data = np.asarray(basis.data - left_out @ (left_out.T @ basis.data), float)
    left = data @ data + float(basis.rest) - explained
    return np.sqrt(np.maximum(left, 0.0) / float(basis.norm))


def misfits_about(candidates: Bins, basis: Basis, values: Values) -> Float[np.ndarray, " candidate"]:
    """Return about the Rw that each candidate's fit will have, by one Gauss-Newton step from values.

    Args:
        candidates: of `bins`, or some of these.
        basis: the data, of a target.
        values: of a like fit, stretch, Uiso and delta2 of it.
    """
    count, none = len(candidates.rows), jnp.zeros((basis.data.shape[0], 0))
    about = jnp.stack([jnp.asarray(x, jnp.float32) for x in (values.stretch, values.uiso, values.delta2)])
    steps = range(0, len(candidates.weight), CHUNK)
    explained = np.concatenate(
        [np.asarray(_stepped(candidates.weight[start : start + CHUNK], basis, none, about)) for start in steps]
    )[:count]
    data = np.asarray(basis.data, float)
    return np.sqrt(np.maximum(data @ data + float(basis.rest) - explained, 0.0) / float(basis.norm))


def some(candidates: Bins, rows: np.ndarray) -> Bins:
    """Return those candidates that are of some rows of their library."""
    kept = np.flatnonzero(np.isin(candidates.rows, rows))
    chunks = 1 << (math.ceil(max(len(kept), 1) / CHUNK) - 1).bit_length()  # few compilations
    filled = np.pad(kept, (0, min(chunks * CHUNK, len(candidates.weight)) - len(kept)), mode="edge")
    return Bins(candidates.rows[kept], candidates.weight[filled])


def chosen(candidates: Bins, misfit: Float[np.ndarray, " candidate"], *, most: int) -> np.ndarray:
    """Return the candidates with the least misfits, as indices into their library, in its order.

    Args:
        candidates: of `bins`.
        misfit: of `misfits`.
        most: their number.
    """
    return np.sort(candidates.rows[np.argsort(misfit, kind="stable")[:most]])


class Seen(NamedTuple):
    """A particle's size as the power of the data shows it."""

    diameter: float
    """Å"""
    reached: bool
    """Whether the data reach beyond it."""
    end: float
    """Å. Where the signal sinks into the noise."""


def seen(r: np.ndarray, g: np.ndarray, *, bond: float, qdamp: float) -> Seen:
    r"""Return the particle's diameter, and where the signal sinks into noise.

    The power of G(r) in a sphere falls as the square of $\gamma(r) = 1 - 3r/2D + r^3/2D^3$, the share of points whose
    neighbour at r is in the sphere too, and of the resolution's envelope; below it lies even noise. The D with the
    least squares of the logarithm is taken. (For gamma: A. Guinier, G. Fournet, Small-angle scattering, 1955.)

    Args:
        r: in Å.
        g: G(r), in 1/Å².
        bond: nearest-neighbour distance, in Å.
        qdamp: in 1/Å.
    """
    kept = r > 0.8 * bond
    step = (r[-1] - r[0]) / (len(r) - 1)
    window = np.hanning(2 * max(1, round(SMOOTHED * bond / 2.8 / step)) + 1)
    every = max(1, int(0.1 * SMOOTHED / step))
    power = np.convolve(g[kept] ** 2, window / window.sum(), "same")[::every]
    place = r[kept][::every]
    power = np.maximum(power, 1e-6 * power.max())
    best, end = (math.inf, 0.0), float(place[-1])
    for size in np.arange(2 * bond, 1.5 * place[-1], 0.25):
        within = np.clip(1 - 1.5 * place / size + 0.5 * (place / size) ** 3, 0, None) * (place < size)
        shape = (within * np.exp(-0.5 * (place * qdamp) ** 2)) ** 2
        for share in (0.0, *np.geomspace(1e-4, 0.3, 12)):
            logarithm = np.log(shape + share + 1e-6)
            misfit = float(np.var(np.log(power) - logarithm))
            if misfit < best[0]:
                best, above = (misfit, float(size)), np.flatnonzero(shape > max(share, 1e-6))
                end = float(place[above[-1]]) if len(above) else float(place[0])
    return Seen(best[1], bool(best[1] < place[-1] - 2.0), end)


def _tries(basis: Basis) -> Float[Array, "try 3"]:
    """Return stretch, Uiso and delta2 of the rough tries."""
    stretch = jnp.clip(basis.stretch * jnp.asarray(TRIED), STRETCH[0] + 0.005, STRETCH[1] - 0.005)
    delta2 = PARAMETERS["delta2"].start * basis.bond**2
    return jnp.stack([jnp.stack([s, jnp.asarray(uiso, s.dtype), delta2]) for uiso in VIBRATIONS for s in stretch])


def _kernel(values: Float[Array, " 3"], basis: Basis, left_out, size: int) -> Float[Array, "bin basis"]:
    """Return the curve that a pair at each bin's distance gives, in the basis."""
    stretch, uiso, delta2 = values
    distance = jnp.maximum(jnp.arange(size) * (WIDTH * basis.bond), SHORT)
    bracket = debye.width_bracket(Instrument(delta2=delta2, qbroad=basis.qbroad), distance * stretch)
    damping = jnp.exp(-uiso * basis.q**2 * jnp.maximum(bracket, 0.0)[:, None])
    f = damping * jnp.sin(basis.q * (distance * stretch)[:, None]) / (distance * stretch)[:, None]
    curve = jnp.matmul(f, basis.design, precision="highest") * jnp.exp(-0.5 * (basis.radius * basis.qdamp) ** 2)
    curve -= (curve @ basis.smooth) @ basis.smooth.T
    return curve - (curve @ left_out) @ left_out.T


def _explained(
    curve: Float[Array, "*batch basis"], data: Float[Array, " basis"], basis: Basis
) -> Float[Array, "*batch"]:
    """Return by how much a curve with its best scale, 0 or more, lowers the squares."""
    square, along = jnp.sum(curve**2, axis=-1), curve @ data
    scale = jnp.clip(along / jnp.where(square > 0, square, 1.0), *basis.scales)
    return scale * (2 * along - scale * square)


@jax.jit
def _scan(weight, basis: Basis, left_out, tries) -> Float[Array, "try candidate"]:
    """Return what each try explains of the data, for each candidate."""
    data = basis.data - left_out @ (left_out.T @ basis.data)

    def one(values):
        return _explained(weight @ _kernel(values, basis, left_out, weight.shape[1]), data, basis)

    return jax.lax.map(one, tries)


@jax.jit
def _stepped(weight, basis: Basis, left_out, values) -> Float[Array, " candidate"]:
    """Return what is explained after one Gauss-Newton step from values."""
    data = basis.data - left_out @ (left_out.T @ basis.data)
    make = partial(_kernel, basis=basis, left_out=left_out, size=weight.shape[1])
    longest = jnp.asarray(STEP) * jnp.stack([jnp.ones(()), values[1], basis.bond**2])
    kernels = jnp.concatenate([make(values)[None], jnp.moveaxis(jax.jacfwd(make)(values) * longest, -1, 0)])
    columns = jnp.moveaxis(jnp.einsum("nk,ikb->inb", weight, kernels), 0, 1)
    normal = jnp.einsum("nib,njb->nij", columns, columns)
    normal += RIDGE * normal[:, :1, :1] * jnp.eye(normal.shape[1])
    found = jnp.linalg.solve(normal, (columns @ data)[..., None])[..., 0]
    step = jnp.clip(found[:, 1:] / jnp.maximum(found[:, :1], 1e-9), -1.0, 1.0)
    return _explained(columns[:, 0] + jnp.einsum("ni,nib->nb", step, columns[:, 1:]), data, basis)
