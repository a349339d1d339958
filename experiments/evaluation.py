"""Measures of the agreement of reconstructed structures with the true ones, as in KDD 2020, and controls.

The evaluation repeats what a user does. The network gets only the PDF. One draw from the prior is decoded, trilaterated
and scaled by the decoded radius (`propose`). The PDF of this structure is then simulated and compared with the input.
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

from jaxstruc.clusters.cluster import MIN_ATOM_DISTANCE, from_ase
from jaxstruc.clusters.lattices import is_connected
from jaxstruc.network.cvae import dataset, propose, representation
from jaxstruc.network.cvae.dataset import Dataset
from jaxstruc.network.cvae.model import CVAE
from jaxstruc.network.cvae.propose import MIN_PRESENCE, Proposals
from jaxstruc.scattering import form_factors, pair_distribution
from jaxstruc.scattering.pair_distribution import Grid

MAX_DISTANCE = 80.0
"""Longest distance in Å in a reconstruction. Measures of a reconstruction with longer distances are NaN."""
RECONSTRUCTION_GRID = Grid(**{**vars(dataset.PDF_GRID), "max_distance": MAX_DISTANCE})
MAX_SOLVED_ERROR = 0.1
"""Largest coordinate error of a solved structure, in Å. Its number of atoms must also be exact."""
MAX_FRAMES = 400
"""Maximum number of triangles of atoms from which alignments start. Each is also mirrored."""
N_COMPARED_ATOMS = 16
"""Number of atoms by which starts are compared."""
N_REFINED_STARTS = 4
"""Number of starts that are refined until they converge."""
MAX_ASSIGNMENTS, N_ALIGNMENTS = 20, 5
"""Maximum number of assignments from each start, and number of reweighted alignments after each assignment."""


class StructureBatch(NamedTuple):
    """A batch of reconstructed structures."""

    positions: Float[Array, "batch atom 3"]
    """Positions of the atoms, in Å."""
    mask: Bool[Array, "batch atom"]


@partial(jax.jit, static_argnames=("network", "draw"))
def reconstruct(params: Any, pdf: Float[Array, "batch r"], key: Array, *, network: CVAE, draw: bool) -> StructureBatch:
    """Return the structure that the network reconstructs from each PDF, each with its own draw.

    Args:
        params: Parameters of the network.
        pdf: G(r) on `dataset.PDF_GRID`.
        key: Random key of the draws.
        network: Autoencoder.
        draw: Whether latent vectors are drawn at random, see `propose.propose_structures`.
    """
    propose_structure = partial(propose.propose_structures, network=network, draw=draw)
    proposals = jax.vmap(propose_structure, (None, 0, 0))(params, pdf, jax.random.split(key, len(pdf)))
    return structures_from_proposals(jax.tree.map(lambda column: column[:, 0], proposals))


def structures_from_proposals(proposals: Proposals) -> StructureBatch:
    """Return the positions of proposals and the mask of the atoms that are present."""
    return StructureBatch(proposals.positions, proposals.weights > MIN_PRESENCE)


def select_conditions(data: Dataset, pdf_indices: np.ndarray) -> dataset.Conditions:
    """Return the conditions of the PDFs with these indices."""
    return jax.tree.map(lambda column: column[pdf_indices], data.conditions)


@jax.jit
def simulate_structures(structures: StructureBatch, conditions: dataset.Conditions) -> Float[Array, "batch r"]:
    """Return G(r) of each structure with the Uiso, delta2 and qdamp of its PDF, over the whole Q range of KDD 2020."""

    def structure_pdf(positions, mask, conditions):
        n_atoms = jnp.maximum(jnp.sum(mask, keepdims=True), 1).astype(positions.dtype)
        pair_distances = pair_distribution.pair_distances_from_positions(positions, mask, RECONSTRUCTION_GRID)
        return pair_distribution.pdf(
            pair_distances,
            form_factors.UNIT_COEFFICIENTS,
            n_atoms,
            dataset.instrument_from_conditions(conditions),
            RECONSTRUCTION_GRID,
        )

    return jax.vmap(structure_pdf)(*structures, conditions)


def agreement_measures(
    pdf: np.ndarray, rebuilt_pdf: np.ndarray, target_structures: StructureBatch, rebuilt_structures: StructureBatch
) -> dict[str, np.ndarray]:
    """Return the measures of each structure by their names in the rows.

    - `r_p`: mean squared error of G(r). This interpretation of the R_p of KDD 2020 agrees with the numbers there.
    - `r_l2`: R_p by the formula printed in the paper.
    - `rw` and `rw_scaled`: Rw with scale 1 and with the best scale.
    - `pearson`: Pearson correlation of the PDFs.
    - `error`: mean coordinate error in Å.
    - `count_exact`: whether the number of atoms is exact.
    - `solved`: whether the number of atoms is exact and the error is below `MAX_SOLVED_ERROR`.
    """
    scales = np.sum(pdf * rebuilt_pdf, axis=1) / np.maximum(np.sum(rebuilt_pdf**2, axis=1), 1e-12)
    batched_rw = jax.vmap(rw, (0, 0, None))
    reference, reconstruction, scaled_reconstruction = (
        jnp.asarray(array) for array in (pdf, rebuilt_pdf, scales[:, None] * rebuilt_pdf)
    )
    unit_weights = jnp.ones(pdf.shape[-1])
    pairs = list(zip(host_positions(target_structures), host_positions(rebuilt_structures), strict=True))
    coordinate_errors = np.array([coordinate_error(*pair) for pair in pairs])
    is_count_exact = np.array([len(reference) == len(reconstruction) for reference, reconstruction in pairs])
    return {
        "r_p": np.mean((pdf - rebuilt_pdf) ** 2, axis=1),
        "r_l2": np.linalg.norm(pdf - rebuilt_pdf, axis=1),
        "rw": np.asarray(batched_rw(reference, reconstruction, unit_weights)),
        "rw_scaled": np.asarray(batched_rw(reference, scaled_reconstruction, unit_weights)),
        "pearson": np.asarray(jax.vmap(pearson_correlation)(reference, reconstruction)),
        "error": coordinate_errors,
        "count_exact": is_count_exact,
        "solved": is_count_exact & (coordinate_errors < MAX_SOLVED_ERROR),
    }


def host_positions(structures: StructureBatch) -> list[Float[np.ndarray, "atom 3"]]:
    """Return the positions of the atoms of each structure, in Å, as NumPy arrays."""
    return [positions[mask] for positions, mask in zip(*map(np.asarray, structures), strict=True)]


def coordinate_error(
    true_positions: Float[np.ndarray, "atom 3"], found_positions: Float[np.ndarray, "atom 3"]
) -> float:
    r"""Return the mean distance of atoms from their true positions, in Å, for the best rotation, mirror and pairing.

    Each atom of the smaller structure is paired with one of the larger structure. The unpaired atoms are left out. The
    result is the minimum of $\frac{1}{n} \sum_i |Q x_i + t - y_{p(i)}|$ over pairings p, rotations and mirrors Q, and
    shifts t. The search begins with the most promising of the starts in `_alignment_starts`. It alternates pairing
    (Hungarian algorithm, doi 10.1109/TAES.2016.140952) and alignment (Kabsch, doi 10.1107/S0567739476001873, with
    weights of the inverse distances). The result is NaN if there are no atoms.
    """
    small_positions, large_positions = sorted(
        (np.asarray(true_positions, float), np.asarray(found_positions, float)), key=len
    )
    if len(small_positions) == 0:
        return float("nan")
    tree = KDTree(large_positions)
    compared_positions = small_positions[
        np.linspace(0, len(small_positions) - 1, min(N_COMPARED_ATOMS, len(small_positions))).astype(int)
    ]
    rotations, shifts = _alignment_starts(small_positions, large_positions)
    start_errors = tree.query(compared_positions @ rotations + shifts[:, None])[0].mean(axis=1)
    best_error = np.inf
    for start in np.argsort(start_errors, kind="stable")[:N_REFINED_STARTS]:
        best_error = min(best_error, _paired_error(small_positions @ rotations[start] + shifts[start], large_positions))
        if best_error < 1e-6:
            break
    return float(best_error)


def true_structures(data: Dataset, rows: np.ndarray, *, max_atoms: int) -> StructureBatch:
    """Return the true structures of the PDFs with these indices, with atoms sorted as for the network."""
    shape_indices, shape_rows = np.unique(data.shape_index[rows], return_inverse=True)
    ordered_structures = []
    for index in shape_indices:
        cluster = from_ase(data.shapes[index].to_ase("Au", 1.0), n_rows=max_atoms)
        ordered_structures.append(representation.order_atoms(cluster))
    positions = np.stack([np.asarray(structure.positions) for structure in ordered_structures])[shape_rows]
    masks = np.stack([np.asarray(structure.mask) for structure in ordered_structures])[shape_rows]
    return StructureBatch(jnp.asarray(positions * data.bond[rows, None, None], jnp.float32), jnp.asarray(masks))


def nearest_training_structures(
    data: Dataset, train_rows: np.ndarray, rows: np.ndarray, *, max_atoms: int
) -> StructureBatch:
    """Return, for each PDF, the structure of the most similar training PDF, as a control without a network."""
    training_pdfs = np.asarray(dataset.normalise(jnp.asarray(data.pdf[train_rows])))
    target_pdfs = np.asarray(dataset.normalise(jnp.asarray(data.pdf[rows])))
    return true_structures(data, train_rows[np.argmax(target_pdfs @ training_pdfs.T, axis=1)], max_atoms=max_atoms)


def is_valid_structure(positions: np.ndarray, mask: np.ndarray, bond: float) -> bool:
    """Return whether a structure is connected, has at least two atoms, and no distance below 0.85 bond lengths."""
    present_positions = positions[mask]
    if len(present_positions) < 2 or not np.isfinite(present_positions).all():
        return False
    return bool(
        pdist(present_positions).min() >= MIN_ATOM_DISTANCE * bond and is_connected(present_positions, bond=bond)
    )


def rw(observed: Float[Array, " r"], calculated: Float[Array, " r"], weights: Float[Array, " r"]) -> Float[Array, ""]:
    r"""Return $R_w = \sqrt{\sum w (G_o - G_c)^2 / \sum w G_o^2}$, which is 0 for a perfect fit.

    Args:
        observed: G(r) of the data.
        calculated: G(r) of a model on the same points.
        weights: Weight of each point: 1 in the range that is compared, and 0 outside.
    """
    misfit = jnp.sum(weights * (observed - calculated) ** 2)
    total = jnp.sum(weights * observed**2)
    return jnp.sqrt(misfit / jnp.where(total > 0, total, 1.0))


def pearson_correlation(observed: Float[Array, " r"], calculated: Float[Array, " r"]) -> Float[Array, ""]:
    """Return the correlation coefficient of two curves, from -1 to 1, or 0 if one of them is constant."""
    observed_deviation, calculated_deviation = observed - jnp.mean(observed), calculated - jnp.mean(calculated)
    norms = jnp.sqrt(jnp.sum(observed_deviation**2) * jnp.sum(calculated_deviation**2))
    return jnp.sum(observed_deviation * calculated_deviation) / jnp.where(norms > 0, norms, 1.0)


def _paired_error(positions: np.ndarray, large_positions: np.ndarray) -> float:
    """Return the mean distance of pairs, after pairing and alignment have alternated until it no longer decreases."""
    min_error = np.inf
    for _ in range(MAX_ASSIGNMENTS):
        separations = cdist(positions, large_positions)
        rows, columns = linear_sum_assignment(separations)
        pair_separations = separations[rows, columns]
        if pair_separations.mean() > min_error - 1e-7:
            break
        min_error = pair_separations.mean()
        target = large_positions[columns]
        for _ in range(N_ALIGNMENTS):
            rotation, shift = _alignment(
                positions, target, 1 / np.maximum(np.linalg.norm(positions - target, axis=1), 1e-6)
            )
            positions = positions @ rotation + shift
    return min_error


def _alignment(positions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation, possibly mirrored, and the shift after it that minimise the weighted squares."""
    weight_shares = weight / weight.sum()
    centroid, target_centroid = weight_shares @ positions, weight_shares @ target
    left_vectors, _, right_vectors = np.linalg.svd(
        (weight_shares[:, None] * (positions - centroid)).T @ (target - target_centroid)
    )
    return left_vectors @ right_vectors, target_centroid - centroid @ (left_vectors @ right_vectors)


def _alignment_starts(small_positions: np.ndarray, large_positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (some of them mirrored) and shifts that may superpose one structure on another.

    They follow from the order of the atoms, from equal axes of both structures, and from the principal axes with all
    signs. Others follow from a wide triangle of atoms of the smaller structure and the most similar triangles of the
    larger one.
    """
    order_alignment = _alignment(
        small_positions, large_positions[: len(small_positions)], np.ones(len(small_positions))
    )
    small_centroid, large_centroid = small_positions.mean(axis=0), large_positions.mean(axis=0)
    small_axes, large_axes = (
        np.linalg.eigh(np.cov(small_positions.T, ddof=0))[1],
        np.linalg.eigh(np.cov(large_positions.T, ddof=0))[1],
    )
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    rotations = [order_alignment[0][None], np.eye(3)[None], (small_axes * signs[:, None]) @ large_axes.T]
    shifts = [order_alignment[1][None], *(large_centroid - small_centroid @ rotation for rotation in rotations[1:])]
    if len(small_positions) > 2:
        corners = _wide_triangle(small_positions)
        similar_triangles = _similar_triangles(small_positions[corners], large_positions)
        frame = _triangle_frames(small_positions[corners][None])
        for mirror_sign in (1, -1):
            frame_rotations = np.swapaxes(frame, 1, 2) @ (
                np.array([1, 1, mirror_sign])[:, None] * _triangle_frames(large_positions[similar_triangles])
            )
            rotations.append(frame_rotations)
            shifts.append(
                large_positions[similar_triangles].mean(axis=1)
                - small_positions[corners].mean(axis=0) @ frame_rotations
            )
    all_rotations, all_shifts = np.concatenate(rotations), np.concatenate(shifts)
    is_rotation = np.abs(np.abs(np.linalg.det(all_rotations)) - 1) < 1e-6  # atoms on a line have no frame
    return all_rotations[is_rotation], all_shifts[is_rotation]


def _wide_triangle(positions: np.ndarray) -> list[int]:
    """Return an outer atom, the atom farthest from it, and the atom farthest from the line through both."""
    first_atom = int(np.argmax(np.linalg.norm(positions - positions.mean(axis=0), axis=1)))
    second_atom = int(np.argmax(np.linalg.norm(positions - positions[first_atom], axis=1)))
    direction = positions[second_atom] - positions[first_atom]
    direction /= max(np.linalg.norm(direction), 1e-9)
    return [
        first_atom,
        second_atom,
        int(np.argmax(np.linalg.norm(np.cross(positions - positions[first_atom], direction), axis=1))),
    ]


def _similar_triangles(triangle: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return at most `MAX_FRAMES` ordered triples of atoms whose distances are most similar to those of a triangle."""
    separations = cdist(positions, positions)
    sides = cdist(triangle, triangle)
    side_mismatch = np.abs(separations - sides[0, 1]) + 1e9 * np.eye(len(positions))
    pair_order = np.argsort(side_mismatch, axis=None, kind="stable")[:MAX_FRAMES]
    first_atoms, second_atoms = np.unravel_index(pair_order, separations.shape)
    third_mismatch = np.abs(separations[first_atoms] - sides[0, 2]) + np.abs(separations[second_atoms] - sides[1, 2])
    third_mismatch[np.arange(len(first_atoms)), first_atoms] = third_mismatch[
        np.arange(len(first_atoms)), second_atoms
    ] = 1e9
    triangle_mismatch = side_mismatch[first_atoms, second_atoms][:, None] + third_mismatch
    triangle_order = np.argsort(triangle_mismatch, axis=None, kind="stable")[:MAX_FRAMES]
    pair_rows, third_atoms = np.unravel_index(triangle_order, triangle_mismatch.shape)
    return np.stack([first_atoms[pair_rows], second_atoms[pair_rows], third_atoms], axis=1)


def _triangle_frames(triangles: np.ndarray) -> np.ndarray:
    """Return orthonormal frames [..., axis, 3] of triangles: the first axis is along a side, the last is the normal."""
    first_axis, second_side = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    third_axis = np.cross(first_axis, second_side)
    first_axis, third_axis = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (first_axis, third_axis)
    )
    return np.stack([first_axis, np.cross(third_axis, first_axis), third_axis], axis=1)
