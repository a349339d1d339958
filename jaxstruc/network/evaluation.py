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
from scipy.spatial.distance import pdist

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
    printed; rw, with scale 1, and rw_scaled, with the best scale; pearson; mae, of coordinates in Å; count_exact.
    """
    scales = np.sum(pdf * rebuilt, axis=1) / np.maximum(np.sum(rebuilt**2, axis=1), 1e-12)
    each_rw = jax.vmap(rw, (0, 0, None))
    one, two, scaled = (jnp.asarray(each) for each in (pdf, rebuilt, scales[:, None] * rebuilt))
    ones = jnp.ones(pdf.shape[-1])
    return {
        "r_p": np.mean((pdf - rebuilt) ** 2, axis=1),
        "r_l2": np.linalg.norm(pdf - rebuilt, axis=1),
        "rw": np.asarray(each_rw(one, two, ones)),
        "rw_scaled": np.asarray(each_rw(one, scaled, ones)),
        "pearson": np.asarray(jax.vmap(pearson)(one, two)),
        "mae": np.array([coordinate_error(*row) for row in zip(*map(np.asarray, (*true, *found)), strict=True)]),
        "count_exact": np.asarray(true.mask).sum(axis=1) == np.asarray(found.mask).sum(axis=1),
    }


def coordinate_error(
    true: Float[np.ndarray, "atom 3"], true_mask, found: Float[np.ndarray, "atom 3"], found_mask
) -> float:
    """Return the mean distance of atoms from their true places, in Å, turned or mirrored to fit best.

    Atoms go by their order, which is outward from the centre in both; where the counts differ, the first of the longer
    list are compared.
    """
    count = min(int(true_mask.sum()), int(found_mask.sum()))
    if count == 0:
        return float("nan")
    one, two = true[true_mask][:count], found[found_mask][:count]
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    left, _, right = np.linalg.svd(two.T @ one)
    return float(np.mean(np.linalg.norm(two @ (left @ right) - one, axis=1)))


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
