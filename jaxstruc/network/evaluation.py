"""How well structures reconstructed from PDFs agree with the true ones: the KDD 2020 paper's measures, and controls.

Everything goes by what a user would have: the PDF goes in; one draw from the prior, decoded, trilaterated and scaled by
the decoded radius comes out (`propose`); its PDF is simulated anew. No label enters.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist, pdist

from jaxstruc.network import dataset, propose, representation
from jaxstruc.network.dataset import Dataset
from jaxstruc.network.model import CVAE
from jaxstruc.network.propose import PRESENT, Proposals
from jaxstruc.scattering import curves, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.structures.atoms import CLOSEST, from_ase
from jaxstruc.structures.lattices import connected

LONGEST = 80.0
"""Å. Longest distance in a reconstruction; a longer one makes its measures NaN."""
GRID = Grid(**{**vars(dataset.GRID), "longest": LONGEST})
SOLVED = 0.1
"""Å. A structure is solved where its count of atoms is exact and its coordinate error below this."""
FRAMES = 400
"""Most triangles of atoms tried as a start of an alignment, each mirrored too."""
LOOKED_AT = 16
"""Atoms by which starts are compared."""
REFINED = 4
"""Starts that are followed to their end."""
ROUNDS, TURNS = 20, 5
"""Most assignments from a start, and reweighted alignments for each."""


class Structures(NamedTuple):
    """A batch of reconstructed structures."""

    positions: Float[Array, "batch atom 3"]
    """Å"""
    mask: Bool[Array, "batch atom"]


@partial(jax.jit, static_argnames=("network", "draw"))
def reconstruct(params: Any, pdf: Float[Array, "batch r"], key: Array, *, network: CVAE, draw: bool) -> Structures:
    """Return the structure that the network makes of each PDF, each with a draw of its own.

    Args:
        params: of the network.
        pdf: G(r) on `dataset.GRID`.
        key: of the draws.
        network: the autoencoder.
        draw: as in `propose`.
    """
    one = partial(propose.propose, network=network, draw=draw)
    found = jax.vmap(one, (None, 0, 0))(params, pdf, jax.random.split(key, len(pdf)))
    return shown(jax.tree.map(lambda column: column[:, 0], found))


def shown(found: Proposals) -> Structures:
    """Return the atoms that are there."""
    return Structures(found.positions, found.weights > PRESENT)


@jax.jit
def simulate(structures: Structures, conditions: dataset.Conditions) -> Float[Array, "batch r"]:
    """Return G(r) of each structure with the Uiso, delta2 and qdamp of its PDF, on the paper's whole Q range."""

    def one(positions, mask, conditions):
        count = jnp.maximum(jnp.sum(mask, keepdims=True), 1).astype(positions.dtype)
        gathered = curves.gather(positions, mask, GRID)
        return curves.pdf(gathered, form_factors.UNIT, count, dataset.instrument_of(conditions), GRID)

    return jax.vmap(one)(*structures, conditions)


def measures(pdf: np.ndarray, rebuilt: np.ndarray, true: Structures, found: Structures) -> dict[str, np.ndarray]:
    """Return each measure of each structure, by the names of the results' rows.

    r_p: mean squared error of G(r), the one reading of the paper's R_p that fits its numbers; r_l2: its formula as
    printed; rw, with scale 1, and rw_scaled, with the best scale; pearson; error, of coordinates in Å; count_exact;
    solved: the count exact and the error below `SOLVED`.
    """
    scales = np.sum(pdf * rebuilt, axis=1) / np.maximum(np.sum(rebuilt**2, axis=1), 1e-12)
    each_rw = jax.vmap(rw, (0, 0, None))
    one, two, scaled = (jnp.asarray(each) for each in (pdf, rebuilt, scales[:, None] * rebuilt))
    ones = jnp.ones(pdf.shape[-1])
    pairs = list(zip(there(true), there(found), strict=True))
    error = np.array([coordinate_error(*pair) for pair in pairs])
    exact = np.array([len(one) == len(two) for one, two in pairs])
    return {
        "r_p": np.mean((pdf - rebuilt) ** 2, axis=1),
        "r_l2": np.linalg.norm(pdf - rebuilt, axis=1),
        "rw": np.asarray(each_rw(one, two, ones)),
        "rw_scaled": np.asarray(each_rw(one, scaled, ones)),
        "pearson": np.asarray(jax.vmap(pearson)(one, two)),
        "error": error,
        "count_exact": exact,
        "solved": exact & (error < SOLVED),
    }


def there(structures: Structures) -> list[Float[np.ndarray, "atom 3"]]:
    """Return the positions of each structure's atoms, in Å, on the host."""
    return [positions[mask] for positions, mask in zip(*map(np.asarray, structures), strict=True)]


def coordinate_error(true: Float[np.ndarray, "atom 3"], found: Float[np.ndarray, "atom 3"]) -> float:
    r"""Return the mean distance of atoms from their true places, in Å, turned, mirrored and paired to fit best.

    Each atom of the smaller structure has one of the larger for itself; the others of the larger do not count. What is
    minimised, over pairings p, rotations and mirrors Q and shifts t, is $\frac{1}{n} \sum_i |Q x_i + t - y_{p(i)}|$:
    from the most promising starts (`_starts`), pairing (Hungarian algorithm, doi 10.1109/TAES.2016.140952) and
    alignment (Kabsch, doi 10.1107/S0567739476001873, weighed by the inverse distances) take turns. NaN without atoms.
    """
    small, large = sorted((np.asarray(true, float), np.asarray(found, float)), key=len)
    if len(small) == 0:
        return float("nan")
    tree = KDTree(large)
    seen = small[np.linspace(0, len(small) - 1, min(LOOKED_AT, len(small))).astype(int)]
    turns, shifts = _starts(small, large)
    promise = tree.query(seen @ turns + shifts[:, None])[0].mean(axis=1)
    best = np.inf
    for start in np.argsort(promise, kind="stable")[:REFINED]:
        best = min(best, _paired_error(small @ turns[start] + shifts[start], large))
        if best < 1e-6:
            break
    return float(best)


def truth(data: Dataset, rows: np.ndarray, *, atoms: int) -> Structures:
    """Return the true structures of some PDFs, in the network's order of atoms."""
    shapes, places = np.unique(data.shape[rows], return_inverse=True)
    ordered = []
    for index in shapes:
        cluster = from_ase(data.shapes[index].atoms("Au", 1.0), size=atoms)
        ordered.append(representation.ordered(cluster))
    positions = np.stack([np.asarray(each.positions) for each in ordered])[places]
    masks = np.stack([np.asarray(each.mask) for each in ordered])[places]
    return Structures(jnp.asarray(positions * data.bond[rows, None, None], jnp.float32), jnp.asarray(masks))


def nearest_template(data: Dataset, train: np.ndarray, rows: np.ndarray, *, atoms: int) -> Structures:
    """Return, for each PDF, the structure of the training PDF most like it: the control that learns nothing."""
    templates = np.asarray(dataset.normalised(data.pdf[train]))
    asked = np.asarray(dataset.normalised(data.pdf[rows]))
    return truth(data, train[np.argmax(asked @ templates.T, axis=1)], atoms=atoms)


def valid(positions: np.ndarray, mask: np.ndarray, bond: float) -> bool:
    """Return whether a structure could be one: in one piece, no distance under 0.85 bonds, at least two atoms."""
    there = positions[mask]
    if len(there) < 2 or not np.isfinite(there).all():
        return False
    return bool(pdist(there).min() >= CLOSEST * bond and connected(there, bond=bond))


def rw(observed: Float[Array, " r"], calculated: Float[Array, " r"], weights: Float[Array, " r"]) -> Float[Array, ""]:
    r"""Return $R_w = \sqrt{\sum w (G_o - G_c)^2 / \sum w G_o^2}$, 0 for a perfect fit.

    Args:
        observed: measured G(r).
        calculated: G(r) of a model, on the same points.
        weights: of each point; 1 within the range that counts, 0 outside it.
    """
    misfit = jnp.sum(weights * (observed - calculated) ** 2)
    total = jnp.sum(weights * observed**2)
    return jnp.sqrt(misfit / jnp.where(total > 0, total, 1.0))


def pearson(observed: Float[Array, " r"], calculated: Float[Array, " r"]) -> Float[Array, ""]:
    """Return the correlation coefficient of two curves, from -1 to 1; 0 where one of them is constant."""
    one, two = observed - jnp.mean(observed), calculated - jnp.mean(calculated)
    lengths = jnp.sqrt(jnp.sum(one**2) * jnp.sum(two**2))
    return jnp.sum(one * two) / jnp.where(lengths > 0, lengths, 1.0)


def _paired_error(moved: np.ndarray, large: np.ndarray) -> float:
    """Return the mean distance of pairs after pairing and alignment have taken turns until it falls no more."""
    least = np.inf
    for _ in range(ROUNDS):
        between = cdist(moved, large)
        rows, columns = linear_sum_assignment(between)
        apart = between[rows, columns]
        if apart.mean() > least - 1e-7:
            break
        least = apart.mean()
        goal = large[columns]
        for _ in range(TURNS):
            turn, shift = _alignment(moved, goal, 1 / np.maximum(np.linalg.norm(moved - goal, axis=1), 1e-6))
            moved = moved @ turn + shift
    return least


def _alignment(moved: np.ndarray, goal: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation or mirrored rotation, and the shift after it, of weighed least squares."""
    share = weight / weight.sum()
    one, two = share @ moved, share @ goal
    left, _, right = np.linalg.svd((share[:, None] * (moved - one)).T @ (goal - two))
    return left @ right, two - one @ (left @ right)


def _starts(small: np.ndarray, large: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations, mirrored ones among them, and shifts that may lay one structure upon another.

    By the order of atoms, by the principal axes with all their signs, and by a wide triangle of atoms of the smaller
    laid upon the triangles of the larger most like it: one of them is right where the structures agree, however
    symmetric they are and whatever atoms the smaller lacks.
    """
    by_order = _alignment(small, large[: len(small)], np.ones(len(small)))
    one, two = small.mean(axis=0), large.mean(axis=0)
    axes, others = np.linalg.eigh(np.cov(small.T, ddof=0))[1], np.linalg.eigh(np.cov(large.T, ddof=0))[1]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    turns = [by_order[0][None], (axes * signs[:, None]) @ others.T]
    shifts = [by_order[1][None], two - one @ turns[1]]
    if len(small) > 2:
        corners = _wide_triangle(small)
        like = _triangles_like(small[corners], large)
        frame = _frames(small[corners][None])
        for mirror in (1, -1):
            turn = np.swapaxes(frame, 1, 2) @ (np.array([1, 1, mirror])[:, None] * _frames(large[like]))
            turns.append(turn)
            shifts.append(large[like].mean(axis=1) - small[corners].mean(axis=0) @ turn)
    return np.concatenate(turns), np.concatenate(shifts)


def _wide_triangle(positions: np.ndarray) -> list[int]:
    """Return an atom far out, that farthest from it, and that farthest from the line between them."""
    first = int(np.argmax(np.linalg.norm(positions - positions.mean(axis=0), axis=1)))
    second = int(np.argmax(np.linalg.norm(positions - positions[first], axis=1)))
    along = positions[second] - positions[first]
    along /= max(np.linalg.norm(along), 1e-9)
    return [first, second, int(np.argmax(np.linalg.norm(np.cross(positions - positions[first], along), axis=1)))]


def _triangles_like(triangle: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the ordered triples of atoms whose distances are most like a triangle's, at most `FRAMES`."""
    between = cdist(positions, positions)
    sides = cdist(triangle, triangle)
    unlike = np.abs(between - sides[0, 1]) + 1e9 * np.eye(len(positions))
    pairs = np.argsort(unlike, axis=None, kind="stable")[:FRAMES]
    first, second = np.unravel_index(pairs, between.shape)
    third = np.abs(between[first] - sides[0, 2]) + np.abs(between[second] - sides[1, 2])
    third[np.arange(len(first)), first] = third[np.arange(len(first)), second] = 1e9
    worst = unlike[first, second][:, None] + third
    chosen = np.argsort(worst, axis=None, kind="stable")[:FRAMES]
    pair, last = np.unravel_index(chosen, worst.shape)
    return np.stack([first[pair], second[pair], last], axis=1)


def _frames(triangles: np.ndarray) -> np.ndarray:
    """Return the orthonormal frames [..., axis, 3] of triangles: along the first side, across it, and upright."""
    along, other = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    upright = np.cross(along, other)
    along, upright = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (along, upright))
    return np.stack([along, np.cross(upright, along), upright], axis=1)
